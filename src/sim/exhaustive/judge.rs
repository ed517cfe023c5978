//! Everything that must hold, with what it remembers of the run.

use crate::check::invariants::answers::Answers;
use crate::check::invariants::executions::{Applied, Executions};
use crate::check::invariants::{Held, Invariants, Violation};
use crate::command::{Command, NodeId};
use crate::kv::Executed;
use crate::protocol::{Cluster, Protocol};

use super::node::{Done, Replicated, Seen};

/// The invariants of the protocol and of every protocol. What they remember tells states apart: a
/// state is where a run stands together with what it must be true to.
#[derive(Clone, Hash)]
pub(super) struct Judge<I> {
    protocol: I,
    executions: Executions,
    applied: Vec<Applied>,
    /// Of cores that hold the replicated state themselves; else it stays empty.
    answers: Answers,
}

impl<I> Judge<I> {
    /// Nothing has happened yet.
    pub fn new<P: Protocol>(cluster: Cluster) -> Self
    where
        I: Invariants<P>,
    {
        let applied = vec![Applied::default(); usize::from(cluster.size)];
        let (executions, answers) = (Executions::default(), Answers::default());
        Judge { protocol: I::new(cluster), executions, applied, answers }
    }

    /// What a process did; `core` is what it became by that.
    pub fn see<P: Protocol>(&mut self, node: NodeId, seen: &[Seen<P>], core: &P) -> Held
    where
        I: Invariants<P>,
    {
        seen.iter().try_for_each(|seen| self.see_one(node, seen))?;
        if core.replicated().is_some() {
            seen.iter().try_for_each(|seen| self.see_answer(seen))?;
        }
        self.protocol.on_step(node, core)
    }

    fn see_one<P: Protocol>(&mut self, node: NodeId, seen: &Seen<P>) -> Held
    where
        I: Invariants<P>,
    {
        match seen {
            Seen::Asked(command) => {
                self.executions.on_asked(command);
                Ok(())
            }
            Seen::Appended(record) => self.protocol.on_record(node, record),
            Seen::Durable(record) => self.protocol.on_durable(node, record),
            Seen::Crashed(left) => self.protocol.on_crash(node, left.iter()),
            Seen::Sent(message, durable) => self.protocol.on_sent(node, message, *durable),
            Seen::Executed(command, done) => {
                let executed = match done {
                    Done::Applied(outcome) => Executed::Applied(outcome),
                    Done::Repeated(outcome) => Executed::Repeated(outcome),
                    Done::Forgotten => Executed::Forgotten,
                };
                let applied = &mut self.applied[usize::from(node.0)];
                self.executions.on_executed(node, command, &executed, applied)
            }
            Seen::Delivered(position, batch) => self.protocol.on_executed(node, *position, batch),
            Seen::Decided(id, outcome) => self.executions.on_decided(*id, outcome),
            Seen::Answered(id, outcome) => {
                self.executions.on_answered(*id);
                self.executions.on_replied(*id, outcome)
            }
            Seen::Replaced(state) => {
                self.applied[usize::from(node.0)] = applied_in(node, state)?;
                Ok(())
            }
        }
    }

    /// What the client of a core that holds the replicated state itself is told.
    fn see_answer<P: Protocol>(&mut self, seen: &Seen<P>) -> Held {
        match seen {
            Seen::Asked(command) => self.answers.on_asked(command),
            Seen::Answered(id, outcome) => return self.answers.on_answered(*id, outcome),
            _ => {}
        }
        Ok(())
    }

    /// Nothing more can happen: all that was asked has taken effect at every process; or, of cores that hold the
    /// replicated state themselves, was answered, and every process has what it must.
    pub fn at_the_end<'a, P: Protocol + 'a>(
        &self,
        asked: impl Iterator<Item = &'a Command> + Clone,
        mut cores: impl Iterator<Item = (NodeId, &'a P)> + Clone,
    ) -> Held
    where
        I: Invariants<P>,
    {
        if !cores.clone().all(|(_, core)| core.replicated().is_some()) {
            return self.all_have_executed(asked);
        }
        self.answers.at_the_end()?;
        cores.try_for_each(|(node, core)| {
            let what = |owed| format!("{node} is not done: {owed}");
            self.protocol.owes(node, core).map_or(Ok(()), |owed| {
                Err(Violation { invariant: "termination", what: what(owed) })
            })?;
            self.protocol.at_the_end(node, core)
        })
    }

    fn all_have_executed<'a>(&self, asked: impl Iterator<Item = &'a Command> + Clone) -> Held {
        for (node, applied) in (0..).map(NodeId).zip(&self.applied) {
            self.executions.at_the_end(node, applied)?;
            if let Some(missing) = asked.clone().find(|command| !applied.contains(command.id)) {
                let what = format!("{node} never executes {:?}", missing.id);
                return Err(Violation { invariant: "termination", what });
            }
        }
        Ok(())
    }
}

/// What the invariants know of a state, from the commands that made it.
fn applied_in(node: NodeId, state: &Replicated) -> Result<Applied, Violation> {
    let (mut run, mut applied) = (Executions::default(), Applied::default());
    let mut again = Replicated::default();
    for command in &state.executed {
        run.on_asked(command);
        run.on_executed(node, command, &again.execute(command), &mut applied)?;
    }
    Ok(applied)
}
