//! What clients are told has one order: linearizability (Herlihy and Wing, 1990), decided at each answer.
//!
//! For protocols whose processes execute nothing ([`crate::protocol::Protocol::replicated`]): no order of commands
//! is seen anywhere but in what they return. A command without an answer, or of which nobody knows whether it
//! took effect, may take effect at any time or never.
//!
//! *Exact, and so for few commands:* all orders are tried. Long histories are for
//! [`crate::check::linearizability`].

use std::collections::BTreeMap;

use super::{Held, hold};
use crate::command::{Command, CommandId, Key, Outcome, Value};
use crate::kv::{Left, left_by, outcome_of};

/// A command, and when it was asked and answered.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Asked {
    command: Command,
    since: u32,
    /// When, and what; none while nobody knows what it returns.
    answer: Option<(u32, Outcome)>,
}

/// All that was asked, and the answers.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Answers {
    asked: BTreeMap<CommandId, Asked>,
    /// Goes on when something is asked after something was answered: runs that differ only in the order of
    /// commands that overlap are one.
    clock: u32,
    /// Whether something was answered since the clock went on.
    is_answered: bool,
}

impl Answers {
    /// A client asks, perhaps not for the first time.
    pub fn on_asked(&mut self, command: &Command) {
        self.clock += u32::from(std::mem::take(&mut self.is_answered));
        let asked = Asked { command: command.clone(), since: self.clock, answer: None };
        self.asked.entry(command.id).or_insert(asked);
    }

    /// A client is told what its command returned.
    pub fn on_answered(&mut self, id: CommandId, outcome: &Outcome) -> Held {
        let asked = self.asked.get_mut(&id).filter(|_| outcome.is_known());
        let Some(asked) = asked else { return Ok(()) };
        asked.answer = Some((self.clock, outcome.clone()));
        self.is_answered = true;
        let key = asked.command.operation.keys().0;
        self.answers_have_an_order(key)
    }

    /// All that was asked was answered.
    pub fn at_the_end(&self) -> Held {
        let open = self.asked.values().find(|asked| asked.answer.is_none());
        hold(open.is_none(), "termination", || {
            format!("{:?} is never answered", open.expect("looked at").command.id)
        })
    }

    /// Registers share nothing, so each has an order of its own.
    fn answers_have_an_order(&self, key: Key) -> Held {
        let of_key = |asked: &&Asked| asked.command.operation.keys().0 == key;
        let left: Vec<&Asked> = self.asked.values().filter(of_key).collect();
        hold(have_an_order(&left, None), "linearizability", || {
            let told: Vec<String> = left.iter().map(|asked| told(asked)).collect();
            format!("no order of {} explains the answers", told.join(", "))
        })
    }
}

/// Whether those that were answered can follow one another from this value on, with some of the others between.
fn have_an_order(left: &[&Asked], value: Option<&Value>) -> bool {
    let first_answer = left.iter().filter_map(|asked| Some(asked.answer.as_ref()?.0)).min();
    let Some(first_answer) = first_answer else { return true };
    let may_be_next = |asked: &&&Asked| asked.since <= first_answer;
    left.iter().filter(may_be_next).any(|next| {
        let operation = &next.command.operation;
        let returned = outcome_of(operation, value.cloned());
        if next.answer.as_ref().is_some_and(|(_, told)| *told != returned) {
            return false;
        }
        let after = match left_by(operation, value) {
            Left::Same => value.cloned(),
            Left::Holds(new) => Some(new.clone()),
            Left::Made(new) => Some(new),
            Left::Nothing => None,
        };
        let id = next.command.id;
        let rest: Vec<&Asked> =
            left.iter().copied().filter(|other| other.command.id != id).collect();
        have_an_order(&rest, after.as_ref())
    })
}

fn told(asked: &Asked) -> String {
    let Asked { command, since, answer } = asked;
    match answer {
        Some((until, outcome)) => format!("{command} [{since}, {until}] → {outcome:?}"),
        None => format!("{command} [{since}, …)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{ClientId, Operation};

    const KEY: Key = Key(0);

    fn value(n: u64) -> Value {
        Value::from_slice(&n.to_le_bytes())
    }

    fn command(client: u64, operation: Operation) -> Command {
        let id = CommandId { client: ClientId(client), sequence: 0 };
        Command { id, answered_below: 0, operation }
    }

    /// A change of its own client that writes the client's number.
    fn rmw(client: u64) -> Command {
        command(client, Operation::Rmw { key: KEY, value: value(client) })
    }

    fn found(before: Option<u64>) -> Outcome {
        Outcome::Found(before.map(value))
    }

    fn asked(commands: &[Command]) -> Answers {
        let mut answers = Answers::default();
        for command in commands {
            answers.on_asked(command);
        }
        answers
    }

    fn told(answers: &mut Answers, client: u64, before: Option<u64>) -> Held {
        answers.on_answered(rmw(client).id, &found(before))
    }

    fn is_broken(held: Held) -> bool {
        held.is_err_and(|violation| violation.invariant == "linearizability")
    }

    #[test]
    fn two_changes_do_not_replace_the_same() {
        let mut answers = asked(&[rmw(0), rmw(1)]);
        told(&mut answers, 0, None).unwrap();
        assert!(is_broken(told(&mut answers, 1, None)));
        let mut answers = asked(&[rmw(0), rmw(1)]);
        told(&mut answers, 0, None).unwrap();
        told(&mut answers, 1, Some(0)).unwrap();
        answers.at_the_end().unwrap();
    }

    #[test]
    fn what_was_answered_is_seen_by_what_is_asked_later() {
        let mut answers = asked(&[rmw(0)]);
        told(&mut answers, 0, None).unwrap();
        answers.on_asked(&rmw(1));
        assert!(is_broken(told(&mut answers.clone(), 1, None)));
        told(&mut answers, 1, Some(0)).unwrap();
    }

    #[test]
    fn commands_that_overlap_may_have_either_order_and_an_answer_ends_that() {
        let mut answers = asked(&[rmw(0), rmw(1)]);
        told(&mut answers, 1, Some(0)).unwrap();
        answers.on_asked(&rmw(2));
        // 0 came before 1, and so before 2.
        assert!(is_broken(told(&mut answers.clone(), 2, Some(0))));
        told(&mut answers, 2, Some(1)).unwrap();
        told(&mut answers, 0, None).unwrap();
    }

    #[test]
    fn who_has_no_answer_may_have_taken_effect_once_or_not_at_all() {
        for end in [None, Some(Outcome::Unknown), Some(Outcome::Refused)] {
            let mut answers = asked(&[rmw(0)]);
            if let Some(unknown) = &end {
                answers.on_answered(rmw(0).id, unknown).unwrap();
            }
            assert!(answers.at_the_end().is_err());
            for client in 1..=3 {
                answers.on_asked(&rmw(client));
            }
            told(&mut answers, 1, None).unwrap();
            told(&mut answers.clone(), 2, Some(1)).unwrap();
            told(&mut answers, 2, Some(0)).unwrap();
            assert!(is_broken(told(&mut answers, 3, Some(0))), "it took effect twice");
        }
    }

    #[test]
    fn a_deletion_and_a_read_are_explained_too() {
        let deletion = command(1, Operation::Delete { key: KEY });
        let read = command(2, Operation::Get { key: KEY });
        let mut answers = asked(&[rmw(0), deletion.clone()]);
        told(&mut answers, 0, None).unwrap();
        answers.on_answered(deletion.id, &found(Some(0))).unwrap();
        answers.on_asked(&read);
        assert!(is_broken(answers.clone().on_answered(read.id, &found(Some(0)))));
        answers.on_answered(read.id, &found(None)).unwrap();
    }

    #[test]
    fn runs_that_differ_in_the_order_of_what_overlaps_are_one() {
        let mut there = asked(&[rmw(0), rmw(1)]);
        let mut back = asked(&[rmw(1), rmw(0)]);
        for answers in [&mut there, &mut back] {
            told(answers, 0, None).unwrap();
        }
        assert_eq!(there, back);
        back.on_asked(&rmw(2));
        assert_ne!(there, back);
    }
}
