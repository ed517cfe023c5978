//! What the proposer remembers of its clients: which of their commands it has begun, and what it answered.
//!
//! A command belongs to the proposer that it was sent to: clients of this mode send it to no other, and not
//! again to a later life of this one. So this need not survive a crash, and no register needs to carry it.
//!
//! *Bounded:* what a client has said to be answered is forgotten; it keeps within
//! [`crate::command::SESSION_WINDOW`].

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use rustc_hash::FxHashMap;

use crate::command::{ClientId, Command, CommandId, Outcome};
use crate::mutants::mutant;

/// A command of a session.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Slot {
    /// It has not arrived.
    Missing,
    /// It is under way.
    Begun,
    Answered(Outcome),
    /// It was not begun, and will not be: its client has asked another proposer.
    Refused,
}

/// The commands of one client, from the first that it has not said to be answered.
#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
struct Session {
    base: u64,
    slots: VecDeque<Slot>,
}

impl Session {
    fn slot(&mut self, sequence: u64) -> Option<&mut Slot> {
        let offset = sequence.checked_sub(self.base)? as usize;
        while self.slots.len() <= offset {
            self.slots.push_back(Slot::Missing);
        }
        self.slots.get_mut(offset)
    }
}

/// What there is to do for a command that arrives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Arrived {
    /// To begin it.
    New,
    /// To answer it again.
    Answered(Outcome),
    /// Nothing: it is under way, or its client has the answer.
    Known,
    /// To tell its client that it is not begun here, now or later.
    Refused,
}

impl Hash for Sessions {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut clients: Vec<_> = self.clients.iter().collect();
        clients.sort_unstable_by_key(|(client, _)| **client);
        clients.hash(state);
    }
}

/// The sessions of one proposer.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    /// Never iterated, so that its order shows nowhere.
    clients: FxHashMap<ClientId, Session>,
    begun: u64,
}

impl Sessions {
    /// How many clients are known.
    pub fn count(&self) -> usize {
        self.clients.len()
    }

    /// How many commands are under way.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// The first command of a client that it has not said to be answered.
    pub fn base(&self, client: ClientId) -> Option<u64> {
        self.clients.get(&client).map(|session| session.base)
    }

    /// A command arrives, perhaps not for the first time. One that is new is begun if this proposer `takes` any.
    pub fn arrive(&mut self, command: &Command, takes: bool) -> Arrived {
        let CommandId { client, sequence } = command.id;
        let session = self.clients.entry(client).or_default();
        while session.base < command.answered_below {
            match session.slots.pop_front() {
                None => session.base = command.answered_below,
                Some(slot) => {
                    session.base += 1;
                    // Its client has given it up.
                    self.begun -= u64::from(slot == Slot::Begun);
                }
            }
        }
        match session.slot(sequence) {
            Some(slot @ Slot::Missing) if !takes => {
                *slot = Slot::Refused;
                Arrived::Refused
            }
            Some(slot @ Slot::Missing) => {
                *slot = Slot::Begun;
                self.begun += 1;
                Arrived::New
            }
            Some(Slot::Begun) if mutant!(RetriedCommandBegunAgain) => Arrived::New,
            None | Some(Slot::Begun) => Arrived::Known,
            Some(Slot::Answered(outcome)) => Arrived::Answered(outcome.clone()),
            Some(Slot::Refused) => Arrived::Refused,
        }
    }

    /// A command is done with.
    pub fn answer(&mut self, id: CommandId, outcome: &Outcome) {
        let session = self.clients.get_mut(&id.client);
        let slot = session.filter(|s| s.base <= id.sequence).and_then(|s| s.slot(id.sequence));
        if let Some(slot) = slot {
            self.begun -= u64::from(*slot == Slot::Begun);
            *slot = Slot::Answered(outcome.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Key, Operation};

    fn command(sequence: u64, answered_below: u64) -> Command {
        let id = CommandId { client: ClientId(4), sequence };
        Command { id, answered_below, operation: Operation::Get { key: Key::register(0) } }
    }

    #[test]
    fn a_command_is_begun_once_and_answered_as_often_as_it_is_asked() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.arrive(&command(0, 0), true), Arrived::New);
        assert_eq!(sessions.arrive(&command(0, 0), true), Arrived::Known);
        assert_eq!(sessions.begun(), 1);
        sessions.answer(command(0, 0).id, &Outcome::Done);
        assert_eq!(sessions.arrive(&command(0, 0), true), Arrived::Answered(Outcome::Done));
        assert_eq!(sessions.arrive(&command(1, 1), true), Arrived::New);
        assert_eq!(
            sessions.arrive(&command(0, 0), true),
            Arrived::Known,
            "its client has the answer"
        );
        assert_eq!((sessions.base(ClientId(4)), sessions.begun()), (Some(1), 1));
    }

    /// Its client may have asked another proposer meanwhile.
    #[test]
    fn what_was_refused_is_never_begun_and_what_was_begun_is_never_refused() {
        let mut sessions = Sessions::default();
        sessions.arrive(&command(0, 0), true);
        assert_eq!(sessions.arrive(&command(0, 0), false), Arrived::Known);
        assert_eq!(sessions.arrive(&command(1, 0), false), Arrived::Refused);
        assert_eq!(sessions.arrive(&command(1, 0), true), Arrived::Refused);
        assert_eq!(sessions.arrive(&command(2, 0), true), Arrived::New);
        sessions.answer(command(0, 0).id, &Outcome::Done);
        assert_eq!(sessions.arrive(&command(0, 0), false), Arrived::Answered(Outcome::Done));
        assert_eq!(sessions.begun(), 1);
    }

    #[test]
    fn what_a_client_has_given_up_is_no_longer_under_way_and_not_begun_again() {
        let mut sessions = Sessions::default();
        sessions.arrive(&command(0, 0), true);
        assert_eq!(sessions.arrive(&command(7, 5), true), Arrived::New);
        assert_eq!(sessions.begun(), 1);
        sessions.answer(command(0, 0).id, &Outcome::Done);
        assert_eq!(sessions.arrive(&command(0, 0), true), Arrived::Known);
        assert_eq!(sessions.begun(), 1);
    }
}
