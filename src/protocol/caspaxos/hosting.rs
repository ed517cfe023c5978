//! Who wins a register takes the commands of those that lost ([`super::forwarding`]): they wait behind its own clients'
//! and are composed into the same changes. It may itself lose; they are never forwarded again.
//!
//! *Once:* a Forward has a number, and is taken once however often it comes. What has become of it is remembered until
//! its sender says that it has the answer. So is that it was not taken: its sender has done the commands itself.
//!
//! *In one life:* a Forward names a ballot of this proposer. One that an earlier life has used may have been taken by
//! that life, of which nothing is known any more.
//!
//! *Bounded:* [`TAKEN_MAX`] Forwards of each other proposer. Sessions are not touched: a client's is where the client
//! is. [`HOSTED_MAX`] registers of which it is known who uses them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Caspaxos;
use super::ballot::Ballot;
use super::forwarding::key_of;
use super::message::{CaspaxosMessage, Fate};
use crate::command::{Command, CommandId, Key, NodeId, Outcome};
use crate::mutants::mutant;
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Effects, Time};

/// Forwards of one proposer that are remembered, at most. Beyond that none is taken, nor refused: it will come again.
const TAKEN_MAX: usize = 4096;

/// Registers of which it is known who uses them, at most.
const HOSTED_MAX: usize = 4096;

/// Bytes of the outcomes in one answer, about.
const OUTCOMES_BYTES_MAX: usize = 1 << 20;

/// What became of a Forward.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Taken {
    /// It was taken: each command's outcome, once there is one, and whether only its sender used the register then.
    Outcomes(Vec<Option<Outcome>>, bool),
    /// It was not, and will not be.
    Refused,
}

/// The Forwards of one other proposer.
#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
struct Origin {
    /// It has the answers of all below this one.
    settled_below: u64,
    taken: BTreeMap<u64, Taken>,
}

/// Who uses a register to which others forward: in this period, and in the one before.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Hosted {
    since: Time,
    users: NodeSet,
    before: NodeSet,
}

/// What others have forwarded here.
#[derive(Clone, Default, Hash, Debug)]
pub(super) struct Hosting {
    /// The counters of this life of the proposer are above this one.
    born: u64,
    origins: BTreeMap<NodeId, Origin>,
    /// Whose commands those are that came from elsewhere and are not done: sender, number, place.
    guests: BTreeMap<CommandId, (NodeId, u64, usize)>,
    hosted: BTreeMap<Key, Hosted>,
}

impl Hosting {
    /// A life begins; all before it used counters up to this one.
    pub(super) fn begin_life(&mut self, counter: u64) {
        self.born = counter;
    }

    /// Whether another proposer has forwarded this command, which is not done.
    pub(super) fn is_guest(&self, id: CommandId) -> bool {
        self.guests.contains_key(&id)
    }

    /// Whether this Forward changes nothing any more.
    pub(super) fn is_settled(&self, from: NodeId, number: u64) -> bool {
        self.origins.get(&from).is_some_and(|origin| number < origin.settled_below)
    }

    /// Whether a proposer has left this register to the one here, lately.
    pub(super) fn has_used(&self, who: NodeId, key: Key) -> bool {
        let hosted = self.hosted.get(&key);
        hosted.is_some_and(|hosted| hosted.users.or(hosted.before).contains(who))
    }
}

impl Hosted {
    /// Of one that comes for the first time, another is believed to be there.
    fn new(now: Time, user: NodeId, other: NodeId) -> Hosted {
        let users = [user, other].into_iter().collect();
        Hosted { since: now, users, before: NodeSet::default() }
    }

    /// Somebody's command arrives. Who has used it is told for a period, at least.
    fn use_by(&mut self, user: NodeId, now: Time, period: Duration) {
        let passed = now.since(self.since);
        if passed > period {
            self.before = if passed > 2 * period { NodeSet::default() } else { self.users };
            (self.since, self.users) = (now, NodeSet::default());
        }
        self.users.insert(user);
    }
}

impl Caspaxos {
    /// A client of this replica uses a register.
    pub(super) fn note_own_use(&mut self, now: Time, command: &Command) {
        if self.hosting.hosted.is_empty() {
            return;
        }
        if let Some(hosted) = self.hosting.hosted.get_mut(&command.operation.keys().0) {
            hosted.use_by(self.me, now, self.options.believed());
        }
    }

    /// Another proposer uses a register here; says whether it alone does. That is believed of whom there is no room
    /// to watch, too: it then tries at home.
    fn note_guest(&mut self, now: Time, from: NodeId, key: Key) -> bool {
        let period = self.options.believed();
        let is_over = |hosted: &Hosted| now.since(hosted.since) > 2 * period;
        let all = &mut self.hosting.hosted;
        if all.get(&key).is_none_or(is_over) {
            if all.len() >= HOSTED_MAX {
                all.retain(|_, hosted| !is_over(hosted));
            }
            if all.len() >= HOSTED_MAX {
                return true;
            }
            all.insert(key, Hosted::new(now, from, self.me));
        }
        let Some(hosted) = all.get_mut(&key) else { return true };
        hosted.use_by(from, now, period);
        hosted.users.or(hosted.before) == std::iter::once(from).collect()
    }

    /// Another proposer has lost against this one.
    pub(super) fn on_forward(
        &mut self,
        now: Time,
        from: NodeId,
        number: u64,
        (seen, settled_below): (Ballot, u64),
        commands: &Arc<[Command]>,
        out: &mut Effects<Self>,
    ) {
        let origin = self.hosting.origins.entry(from).or_default();
        origin.settled_below = origin.settled_below.max(settled_below);
        origin.taken = origin.taken.split_off(&origin.settled_below);
        if number < origin.settled_below {
            return;
        }
        if origin.taken.contains_key(&number) && !mutant!(ForwardTakenTwice) {
            return self.say_what_became(from, number, out);
        }
        let own = seen.proposer() == self.me && seen.counter() <= self.counter;
        if !own || seen.counter() <= self.hosting.born && !mutant!(ForwardTakenByLaterLife) {
            let fate = Fate::NotThisLife;
            return out.send(from, CaspaxosMessage::Forwarded { number, fate });
        }
        if origin.taken.len() >= TAKEN_MAX {
            return;
        }
        if let Some(winner) = self.refuses(now, from, key_of(commands), seen) {
            let fate = Fate::Refused { winner };
            if !mutant!(RefusalForgotten) {
                self.note_taken(from, number, Taken::Refused);
            }
            return out.send(from, CaspaxosMessage::Forwarded { number, fate });
        }
        self.take_guests(now, from, number, commands);
    }

    /// Who takes no commands refuses; so does who has itself lost the register since, and says to whom. Of two that
    /// forward to each other the one whose ballot is the higher takes.
    fn refuses(&mut self, now: Time, from: NodeId, key: Key, seen: Ballot) -> Option<Ballot> {
        let winner = self.winners_ballot(now, key);
        let lost = !winner.is_zero() && (winner.proposer() != from || winner >= seen);
        (lost || !self.is_serving()).then_some(winner)
    }

    fn note_taken(&mut self, from: NodeId, number: u64, taken: Taken) {
        if let Some(origin) = self.hosting.origins.get_mut(&from) {
            origin.taken.insert(number, taken);
        }
    }

    fn take_guests(&mut self, now: Time, from: NodeId, number: u64, commands: &[Command]) {
        let key = key_of(commands);
        self.forwarding.forget_winner(key);
        let is_alone = self.note_guest(now, from, key);
        self.note_taken(from, number, Taken::Outcomes(vec![None; commands.len()], is_alone));
        for (place, command) in commands.iter().enumerate() {
            self.hosting.guests.insert(command.id, (from, number, place));
        }
        self.counters.hosted += commands.len() as u64;
        let index = self.work_on(key);
        if let Some(work) = self.works.get_mut(index) {
            work.waiting.extend(commands.iter().cloned());
        }
    }

    /// A command is done: whether it was forwarded here, and its outcome is not for a client of this replica.
    pub(super) fn tells_origin(
        &mut self,
        id: CommandId,
        outcome: &Outcome,
        out: &mut Effects<Self>,
    ) -> bool {
        let Some((from, number, place)) = self.hosting.guests.remove(&id) else { return false };
        let origin = self.hosting.origins.get_mut(&from);
        if let Some(Taken::Outcomes(outcomes, _)) = origin.and_then(|o| o.taken.get_mut(&number)) {
            outcomes[place] = Some(outcome.clone());
            if outcomes.iter().all(Option::is_some) {
                self.say_what_became(from, number, out);
            }
        }
        true
    }

    fn say_what_became(&self, from: NodeId, number: u64, out: &mut Effects<Self>) {
        let taken = self.hosting.origins.get(&from).and_then(|origin| origin.taken.get(&number));
        let mut say = |fate| out.send(from, CaspaxosMessage::Forwarded { number, fate });
        match taken {
            None => {}
            Some(Taken::Refused) => say(Fate::Refused { winner: Ballot::ZERO }),
            Some(Taken::Outcomes(outcomes, _)) if outcomes.iter().any(Option::is_none) => {
                say(Fate::UnderWay);
            }
            Some(Taken::Outcomes(outcomes, is_alone)) => {
                let mut rest = outcomes.iter().flatten().zip(0..).peekable();
                while let Some((_, first)) = rest.peek() {
                    let (first, is_alone) = (*first, *is_alone);
                    let outcomes = some_of(&mut rest);
                    say(Fate::Done { first, outcomes, is_alone });
                }
            }
        }
    }
}

/// As many as one answer carries; at least one.
fn some_of<'a>(rest: &mut impl Iterator<Item = (&'a Outcome, u32)>) -> Vec<Outcome> {
    let (mut some, mut bytes) = (Vec::new(), 0);
    while bytes < OUTCOMES_BYTES_MAX
        && let Some((outcome, _)) = rest.next()
    {
        bytes += match outcome {
            Outcome::Found(Some(value)) => value.len(),
            _ => 0,
        };
        some.push(outcome.clone());
    }
    some
}
