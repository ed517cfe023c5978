//! What every protocol owes, however it orders commands: the specification of generalized consensus
//! (Lamport, "Generalized Consensus and Paxos", 2005, §2.2: nontriviality, stability, consistency),
//! and of client sessions (Ongaro, "Consensus: Bridging Theory and Practice", 2014, §6.3).

use std::collections::{BTreeMap, BTreeSet};

use super::{Held, hold};
use crate::command::{Command, CommandId, Key, NodeId, Outcome};
use crate::kv::Executed;

/// The order in which the commands on one key took effect, as the first replica to get there says.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct KeyOrder {
    writes: Vec<CommandId>,
    /// How many writes came before each read.
    reads: BTreeMap<CommandId, usize>,
}

/// What one replica's state holds. Goes with the state: into a snapshot, and out of one.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Applied {
    commands: BTreeSet<CommandId>,
    /// How many writes to each key.
    writes: BTreeMap<Key, usize>,
}

impl Applied {
    /// Whether a command has taken effect.
    pub fn contains(&self, id: CommandId) -> bool {
        self.commands.contains(&id)
    }
}

/// What was asked, executed and answered in a run.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Executions {
    asked: BTreeMap<CommandId, Command>,
    orders: BTreeMap<Key, KeyOrder>,
    outcomes: BTreeMap<CommandId, Outcome>,
    /// Answers that left a replica.
    replied: BTreeSet<CommandId>,
    /// Answers that a client has got.
    answered: BTreeSet<CommandId>,
}

impl Executions {
    /// A client asks, perhaps not for the first time.
    pub fn on_asked(&mut self, command: &Command) {
        self.asked.entry(command.id).or_insert_with(|| command.clone());
    }

    /// A replica executes a command; `applied` belongs to its state.
    pub fn on_executed(
        &mut self,
        node: NodeId,
        command: &Command,
        executed: &Executed<'_>,
        applied: &mut Applied,
    ) -> Held {
        self.nontriviality(node, command)?;
        match executed {
            Executed::Applied(outcome) => {
                exactly_once(node, command.id, applied)?;
                self.order_of_interfering_commands(node, command, applied)?;
                self.agreement_on_outcomes(node, command.id, outcome)
            }
            Executed::Repeated(outcome) => {
                repeats_what_it_applied(node, command.id, applied)?;
                self.agreement_on_outcomes(node, command.id, outcome)
            }
            Executed::Forgotten => self.remembers_unanswered_outcomes(node, command.id),
        }
    }

    /// A core that holds the replicated state itself says what a command returned.
    pub fn on_decided(&mut self, id: CommandId, outcome: &Outcome) -> Held {
        let asked = self.asked.contains_key(&id);
        hold(asked, "nontriviality", || format!("{id:?} is answered, which nobody asked for"))?;
        if *outcome == Outcome::Refused {
            return Ok(());
        }
        let known = self.outcomes.entry(id).or_insert_with(|| outcome.clone());
        hold(known == outcome, "agreement on outcomes", || {
            format!("{id:?} returns {outcome:?}, and {known:?} before")
        })
    }

    /// A replica answers a client; whether the answer arrives is another matter.
    pub fn on_replied(&mut self, id: CommandId, outcome: &Outcome) -> Held {
        if *outcome == Outcome::Refused {
            return Ok(());
        }
        self.replied.insert(id);
        self.answers_are_outcomes(id, outcome)
    }

    /// A client has got an answer.
    pub fn on_answered(&mut self, id: CommandId) {
        self.answered.insert(id);
    }

    /// The run is over and the network healed: `applied` belongs to a replica that is up.
    pub fn at_the_end(&self, node: NodeId, applied: &Applied) -> Held {
        self.durability(node, applied)
    }

    /// Generalized consensus, *nontriviality*: only what was proposed is learned.
    fn nontriviality(&self, node: NodeId, command: &Command) -> Held {
        let asked = self.asked.get(&command.id);
        let same = asked.is_some_and(|asked| asked.operation == command.operation);
        hold(same, "nontriviality", || format!("{node} executes {command:?}, asked was {asked:?}"))
    }

    /// Generalized consensus, *consistency* and *stability*: replicas agree on the order of
    /// interfering commands, and what one has learned is a prefix of what it learns later, after a
    /// restart too.
    fn order_of_interfering_commands(
        &mut self,
        node: NodeId,
        command: &Command,
        applied: &mut Applied,
    ) -> Held {
        const NAME: &str = "consistency";
        let (first, second) = command.operation.keys();
        for key in std::iter::once(first).chain(second) {
            let order = self.orders.entry(key).or_default();
            let before = applied.writes.entry(key).or_default();
            if command.operation.is_read() {
                let known = *order.reads.entry(command.id).or_insert(*before);
                hold(known == *before, NAME, || {
                    let id = command.id;
                    format!("{node} reads {key} by {id:?} behind {before} writes, others {known}")
                })?;
                continue;
            }
            match order.writes.get(*before) {
                Some(id) => hold(*id == command.id, NAME, || {
                    let mine = command.id;
                    format!("write {before} of {key} is {mine:?} at {node}, {id:?} at others")
                })?,
                None => order.writes.push(command.id),
            }
            *before += 1;
        }
        Ok(())
    }

    /// Whoever executes a command computes what the others do.
    fn agreement_on_outcomes(&mut self, node: NodeId, id: CommandId, outcome: &Outcome) -> Held {
        let known = self.outcomes.entry(id).or_insert_with(|| outcome.clone());
        hold(known == outcome, "agreement on outcomes", || {
            format!("{id:?} returns {outcome:?} at {node} and {known:?} at others")
        })
    }

    /// Sessions: the outcome of a command is kept until its client has said that it knows it.
    fn remembers_unanswered_outcomes(&self, node: NodeId, id: CommandId) -> Held {
        hold(self.answered.contains(&id), "sessions remember outcomes", || {
            format!("{node} has forgotten {id:?}, whose client was never answered")
        })
    }

    /// A client is told what some replica's execution returned, or what any will, and never two things.
    fn answers_are_outcomes(&self, id: CommandId, outcome: &Outcome) -> Held {
        let asked = self.asked.get(&id);
        let early = asked.and_then(|command| command.operation.outcome_before_execution());
        let computed = self.outcomes.get(&id).or(early.as_ref());
        hold(computed == Some(outcome), "answers are outcomes", || {
            format!("the answer to {id:?} is {outcome:?}, computed was {computed:?}")
        })
    }

    /// Nothing that a client was answered is lost, as long as a quorum's disks survive.
    fn durability(&self, node: NodeId, applied: &Applied) -> Held {
        let lost = self.replied.iter().find(|id| !applied.contains(**id));
        hold(lost.is_none(), "durability", || {
            format!("{node} never executes {:?}, which was answered", lost.expect("looked at"))
        })
    }
}

/// Sessions: a command takes effect once in a replica's state, however often it is proposed.
fn exactly_once(node: NodeId, id: CommandId, applied: &mut Applied) -> Held {
    let new = applied.commands.insert(id);
    hold(new, "exactly-once", || format!("{node} applies {id:?} a second time"))
}

/// Sessions: only what took effect has an outcome to repeat.
fn repeats_what_it_applied(node: NodeId, id: CommandId, applied: &Applied) -> Held {
    hold(applied.contains(id), "exactly-once", || {
        format!("{node} repeats the outcome of {id:?}, which it has not applied")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{ClientId, Operation, Value};

    fn command(sequence: u64, operation: Operation) -> Command {
        let id = CommandId { client: ClientId(1), sequence };
        Command { id, answered_below: 0, operation }
    }

    fn put(sequence: u64) -> Command {
        let value = Value::from_slice(&sequence.to_le_bytes());
        command(sequence, Operation::Put { key: Key::register(0), value })
    }

    fn get(sequence: u64) -> Command {
        command(sequence, Operation::Get { key: Key::register(0) })
    }

    const DONE: Outcome = Outcome::Done;
    const ABSENT: Outcome = Outcome::Found(None);

    /// What the first thing to be violated is called.
    fn broken(held: Held) -> &'static str {
        held.expect_err("a violation").invariant
    }

    fn asked(commands: &[Command]) -> Executions {
        let mut executions = Executions::default();
        for command in commands {
            executions.on_asked(command);
        }
        executions
    }

    fn apply(run: &mut Executions, node: u8, command: &Command, state: &mut Applied) -> Held {
        let outcome = if command.operation.is_read() { &ABSENT } else { &DONE };
        run.on_executed(NodeId(node), command, &Executed::Applied(outcome), state)
    }

    #[test]
    fn a_command_that_nobody_asked_for_or_that_was_changed_is_trivial() {
        let mut run = asked(&[put(0)]);
        let mut state = Applied::default();
        assert_eq!(broken(apply(&mut run, 0, &put(1), &mut state)), "nontriviality");
        let forged = Command { operation: get(0).operation, ..put(0) };
        assert_eq!(broken(apply(&mut run, 0, &forged, &mut state)), "nontriviality");
    }

    #[test]
    fn two_orders_of_writes_or_of_a_read_and_a_write_are_inconsistent_two_of_reads_are_not() {
        let commands = [put(0), put(1), get(2), get(3)];
        let mut run = asked(&commands);
        let [a, b, c, d] = commands;
        let mut first = Applied::default();
        for command in [&a, &c, &d, &b] {
            apply(&mut run, 0, command, &mut first).unwrap();
        }
        let mut second = Applied::default();
        for command in [&a, &d, &c, &b] {
            apply(&mut run, 1, command, &mut second).unwrap();
        }
        let mut third = Applied::default();
        assert_eq!(broken(apply(&mut run, 2, &b, &mut third)), "consistency");
        let mut fourth = Applied::default();
        assert_eq!(broken(apply(&mut run, 2, &c, &mut fourth)), "consistency");
    }

    #[test]
    fn a_command_takes_effect_once_in_each_state() {
        let mut run = asked(&[put(0)]);
        let mut state = Applied::default();
        apply(&mut run, 0, &put(0), &mut state).unwrap();
        assert_eq!(broken(apply(&mut run, 0, &put(0), &mut state)), "exactly-once");
        let repeated = Executed::Repeated(&DONE);
        run.on_executed(NodeId(0), &put(0), &repeated, &mut state).unwrap();
        let elsewhere = run.on_executed(NodeId(1), &put(0), &repeated, &mut Applied::default());
        assert_eq!(broken(elsewhere), "exactly-once");
    }

    #[test]
    fn an_outcome_is_kept_until_it_is_answered_and_is_what_was_answered() {
        let mut run = asked(&[put(0)]);
        let mut state = Applied::default();
        apply(&mut run, 0, &put(0), &mut state).unwrap();
        let forgotten = run.on_executed(NodeId(0), &put(0), &Executed::Forgotten, &mut state);
        assert_eq!(broken(forgotten), "sessions remember outcomes");
        assert_eq!(broken(run.on_replied(put(0).id, &ABSENT)), "answers are outcomes");
        run.on_replied(put(0).id, &DONE).unwrap();
        run.on_answered(put(0).id);
        run.on_executed(NodeId(0), &put(0), &Executed::Forgotten, &mut state).unwrap();
        run.at_the_end(NodeId(0), &state).unwrap();
        assert_eq!(broken(run.at_the_end(NodeId(1), &Applied::default())), "durability");
    }
}
