//! Round-based consensus (§3.2, §4.2, Figs 6 and 21): agreement on the value of one instance.
//!
//! `propose(k, init)` returns `(commit, v)` or aborts.
//!
//! - *Validity:* a decided value was proposed.
//! - *Agreement:* no two processes decide differently.
//! - *Termination:* it aborts only if a higher round was proposed; once *k* commits, no round up to
//!   *k* commits afterwards.
//!
//! `fastpropose(k, init)`, *k* ≤ *n*, writes without reading: allowed to the one process that holds the
//! permission for the instance. A proposal after `read_onwards(k)` does the same for all instances.
//!
//! A [`Proposal`] is one run of it: the answers that it collects drive it from reading to writing to
//! committed. It holds no timers and sends nothing; `rounds` carries out its steps.

use super::message::MsgSet;
use crate::command::NodeId;
use crate::mutants::mutant;
use crate::protocol::Time;
use crate::protocol::ballot::Round;
use crate::protocol::quorum::{NodeSet, majority};

/// Where a proposal stands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Phase {
    /// Waits for ackREADs; knows the value of the highest write among them.
    Reading { found: Option<(Round, MsgSet)> },
    /// Waits for ackWRITEs; knows whether all gave permission.
    Writing { value: MsgSet, permission: bool },
    /// A higher round was met; waits to be started again.
    Aborted,
}

/// One process' attempt to decide one instance.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Proposal {
    /// The round in use.
    pub round: Round,
    /// What this process wants decided, the paper's *init*.
    pub init: MsgSet,
    /// When its last request was sent.
    pub sent: Time,
    phase: Phase,
    acks: NodeSet,
}

/// What an answer made of a proposal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Nothing yet.
    None,
    /// A majority read: this value must be written.
    Write(MsgSet),
    /// A majority wrote: it is decided. With permission, the next instance may be written at once.
    Committed {
        /// The decided value.
        value: MsgSet,
        /// The paper's *nextFast*.
        permission: bool,
    },
}

impl Proposal {
    /// `propose(k, init)`: starts by reading.
    pub fn reading(round: Round, init: MsgSet, now: Time) -> Self {
        let phase = Phase::Reading { found: None };
        Proposal { round, init, sent: now, phase, acks: NodeSet::default() }
    }

    /// `fastpropose(k, init)`, or a proposal after a read onwards: starts by writing.
    pub fn writing(round: Round, init: MsgSet, now: Time) -> Self {
        let phase = Phase::Writing { value: init.clone(), permission: true };
        Proposal { round, init, sent: now, phase, acks: NodeSet::default() }
    }

    /// ackREAD(k) with what the sender's register holds.
    pub fn on_ack_read(
        &mut self,
        from: NodeId,
        round: Round,
        written: Option<(Round, MsgSet)>,
        size: u8,
    ) -> Progress {
        let Phase::Reading { found } = &mut self.phase else { return Progress::None };
        let stale = round != self.round && !mutant!(StaleAckCounted);
        if stale || !count(&mut self.acks, from) {
            return Progress::None;
        }
        if let Some((write, value)) = written
            && found
                .as_ref()
                .is_none_or(|(highest, _)| (*highest < write) ^ mutant!(LowestWriteChosen))
        {
            *found = Some((write, value));
        }
        let quorum = majority(usize::from(size)) - usize::from(mutant!(ReadQuorumTooSmall));
        if self.acks.len() < quorum {
            return Progress::None;
        }
        let found = found.take().filter(|_| !mutant!(OwnValueInsteadOfFound));
        let value = found.map_or_else(|| self.init.clone(), |(_, value)| value);
        self.phase = Phase::Writing { value: value.clone(), permission: true };
        self.acks = NodeSet::default();
        Progress::Write(value)
    }

    /// ackWRITE(k).
    pub fn on_ack_write(
        &mut self,
        from: NodeId,
        round: Round,
        permission: bool,
        size: u8,
    ) -> Progress {
        let Phase::Writing { value, permission: all } = &mut self.phase else {
            return Progress::None;
        };
        let stale = round != self.round && !mutant!(StaleAckCounted);
        if stale || !count(&mut self.acks, from) {
            return Progress::None;
        }
        *all = permission && (*all || mutant!(PermissionOfTheLast));
        let quorum = majority(usize::from(size)) - usize::from(mutant!(WriteQuorumTooSmall));
        if self.acks.len() < quorum {
            return Progress::None;
        }
        Progress::Committed { value: value.clone(), permission: *all }
    }

    /// A nack of round `k`: aborts it. Says whether it was this proposal's.
    pub fn on_nack(&mut self, round: Round) -> bool {
        let mine = round == self.round && self.phase != Phase::Aborted;
        if mine {
            self.phase = Phase::Aborted;
            self.acks = NodeSet::default();
        }
        mine
    }

    /// Whether it waits to be started again with a higher round.
    pub fn is_aborted(&self) -> bool {
        self.phase == Phase::Aborted
    }

    /// The value that is being written, if it has come to that.
    pub fn value_written(&self) -> Option<&MsgSet> {
        match &self.phase {
            Phase::Writing { .. } if mutant!(InitSentAgain) => Some(&self.init),
            Phase::Writing { value, .. } => Some(value),
            _ => None,
        }
    }

    /// What it wants decided, and what it has found or writes.
    pub fn values(&self) -> impl Iterator<Item = &MsgSet> {
        let other = match &self.phase {
            Phase::Reading { found } => found.as_ref().map(|(_, value)| value),
            Phase::Writing { value, .. } => Some(value),
            Phase::Aborted => None,
        };
        std::iter::once(&self.init).chain(other)
    }

    /// Whether this process has answered the current request.
    pub fn has_answer_of(&self, node: NodeId) -> bool {
        self.acks.contains(node)
    }
}

/// Counts an acknowledgement; says whether it is the first of its sender.
fn count(acks: &mut NodeSet, from: NodeId) -> bool {
    // As if a process that there is not had sent it.
    const NOBODY: NodeId = NodeId(63);
    acks.insert(from) || (mutant!(DuplicateAckCounted) && acks.insert(NOBODY))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::protocol::paxos::message::{Parcel, ParcelId};

    fn value(number: u64) -> MsgSet {
        let id = ParcelId { origin: NodeId(0), incarnation: 1, number };
        Arc::from([Parcel { id, commands: Arc::from([]) }])
    }

    #[test]
    fn a_proposal_writes_the_value_of_the_highest_write_it_read_and_else_its_own() {
        let mut p = Proposal::reading(Round(4), value(1), Time(0));
        let k = Round(4);
        assert_eq!(p.on_ack_read(NodeId(0), k, Some((Round(2), value(2))), 5), Progress::None);
        assert_eq!(p.on_ack_read(NodeId(1), k, Some((Round(3), value(3))), 5), Progress::None);
        assert_eq!(p.on_ack_read(NodeId(2), k, None, 5), Progress::Write(value(3)));
        let mut p = Proposal::reading(k, value(1), Time(0));
        assert_eq!(p.on_ack_read(NodeId(0), k, None, 3), Progress::None);
        assert_eq!(p.on_ack_read(NodeId(1), k, None, 3), Progress::Write(value(1)));
    }

    #[test]
    fn a_duplicate_or_stale_acknowledgement_does_not_count() {
        let mut p = Proposal::writing(Round(4), value(1), Time(0));
        assert_eq!(p.on_ack_write(NodeId(0), Round(4), true, 3), Progress::None);
        assert_eq!(p.on_ack_write(NodeId(0), Round(4), true, 3), Progress::None);
        assert_eq!(p.on_ack_write(NodeId(1), Round(1), true, 3), Progress::None);
        assert!(matches!(
            p.on_ack_write(NodeId(1), Round(4), false, 3),
            Progress::Committed { permission: false, .. }
        ));
    }

    #[test]
    fn a_nack_of_the_current_round_aborts_and_a_stale_one_does_not() {
        let mut p = Proposal::writing(Round(4), value(1), Time(0));
        assert!(!p.on_nack(Round(1)) && !p.is_aborted());
        assert!(p.on_nack(Round(4)) && p.is_aborted());
        assert_eq!(p.on_ack_write(NodeId(1), Round(4), true, 1), Progress::None);
    }
}
