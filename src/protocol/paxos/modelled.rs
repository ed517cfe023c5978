//! What an exhaustive exploration must know of a process beside what it does.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::Paxos;
use super::leader::{Leading, ReadOnwards};
use super::message::{MsgSet, PaxosMessage};
use crate::command::NodeId;
use crate::protocol::ballot::Round;

impl Paxos {
    /// Feeds to `state` which of the values that this process holds are one in memory. It tells by
    /// that whether a value is the one that it proposed or stored itself, so two processes whose
    /// values are equal may still differ in it. `Hash` alone does not see it.
    pub fn hash_sharing(&self, state: &mut impl Hasher) {
        let read_here = self.to_self.iter().flat_map(|(_, message)| match message {
            PaxosMessage::AckRead { written, .. } => written.as_slice(),
            _ => &[],
        });
        let held = self.registers.values().chain(self.deliveries.awaiting());
        let held = held.chain(self.leading.iter().flat_map(Leading::values));
        let mut seen: Vec<&MsgSet> = Vec::new();
        for value in held.chain(read_here.map(|written| &written.value)) {
            let first = seen.iter().position(|other| Arc::ptr_eq(other, value));
            first.hash(state);
            seen.push(value);
        }
    }

    /// Whether this process ignores a message, now and whatever comes, unless it crashes. It may say
    /// no where that is true.
    ///
    /// - *Answers* are looked at by the proposal, or the read onwards, of their round alone. A process
    ///   uses each regular round of an instance once in its life: the next one is above what its own
    ///   register has promised. Fast rounds are left out of this.
    /// - *Requests* in an instance that was delivered are answered only to who may not know that.
    /// - *Decisions* of what was delivered here say nothing beyond that their sender knows them.
    ///
    /// What is delivered, and what others are known to know, only grows where no heartbeat says less:
    /// the models deliver none from a process that sends requests or decisions.
    pub fn ignores_for_ever(&self, from: NodeId, message: &PaxosMessage) -> bool {
        // Any input lets it go on with what it has told itself.
        if self.to_self.front().is_some_and(|(after, _)| *after <= self.durable) {
            return false;
        }
        let next_batch = self.deliveries.next_batch();
        let knows_below = self.decided_at[usize::from(from.0)];
        match message {
            PaxosMessage::AckRead { round, instance, .. } => {
                !self.is_fast(*round) && !self.awaits_read(from, *round, *instance)
            }
            PaxosMessage::AckWrite { round, instance, .. } => {
                !self.is_fast(*round) && !self.awaits_write(from, *round, *instance)
            }
            PaxosMessage::Nack { round, instance, promised } => {
                !self.is_fast(*round)
                    && *promised <= self.highest
                    && !self.may_abort(*round, *instance)
            }
            PaxosMessage::Read { instance, onwards: false, .. }
            | PaxosMessage::Write { instance, decided: None, .. } => {
                *instance < next_batch.min(knows_below)
            }
            PaxosMessage::Decision(decided) => decided.below <= next_batch.min(knows_below),
            _ => false,
        }
    }

    fn is_fast(&self, round: Round) -> bool {
        round.0 <= u64::from(self.cluster.size)
    }

    fn awaits_read(&self, from: NodeId, round: Round, instance: u64) -> bool {
        let Some(leading) = &self.leading else { return false };
        if let ReadOnwards::Running(reading) = &leading.read {
            return reading.round == round;
        }
        leading.running(instance).is_some_and(|proposal| {
            let reads = proposal.value_written().is_none() && !proposal.is_aborted();
            proposal.round == round && reads && !proposal.has_answer_of(from)
        })
    }

    fn awaits_write(&self, from: NodeId, round: Round, instance: u64) -> bool {
        let proposal = self.leading.as_ref().and_then(|leading| leading.running(instance));
        proposal.is_some_and(|proposal| {
            let writes = proposal.value_written().is_some();
            proposal.round == round && writes && !proposal.has_answer_of(from)
        })
    }

    /// Whether a nack of this round aborts something.
    fn may_abort(&self, round: Round, instance: u64) -> bool {
        let Some(leading) = &self.leading else { return false };
        match &leading.read {
            ReadOnwards::Running(reading) => reading.round == round,
            ReadOnwards::Done(done) => *done == round,
            ReadOnwards::None => leading
                .running(instance)
                .is_some_and(|proposal| proposal.round == round && !proposal.is_aborted()),
        }
    }
}
