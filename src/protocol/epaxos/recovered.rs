//! What a log says (§5.4): the state after a restart.
//!
//! Every record is taken as it was when it was stored, in the same order. Nothing is led any more: an own
//! instance that was not committed is recovered like another's, in a higher ballot, because what was
//! proposed to others in ballot 0 beyond the log is not known.

use super::Epaxos;
use super::message::{EpaxosRecord, InstanceId, Phase, Proposal};
use crate::mutants::mutant;
use crate::protocol::Time;
use crate::protocol::ballot::Round;

impl Epaxos {
    /// Takes one record into the state.
    pub(super) fn replay(&mut self, record: EpaxosRecord) {
        match record {
            EpaxosRecord::PreAccepted { id, initial, attributes } => {
                let command = Proposal::Command(initial.command.clone());
                if let Some(instance) = self.rows.on_record(id, Time(0)) {
                    if !mutant!(PreAcceptedNotReplayed) {
                        instance.phase = Phase::PreAccepted;
                    }
                    instance.attributes = Some(attributes.unwrap_or(initial.attributes.clone()));
                    instance.initial = Some(initial);
                    self.set_proposal(id, command);
                }
                self.note_own(id);
            }
            EpaxosRecord::Joined { id, ballot } => {
                if let Some(instance) = self.rows.on_record(id, Time(0))
                    && !mutant!(JoinedNotReplayed)
                {
                    instance.ballot = ballot;
                }
            }
            EpaxosRecord::Tentative { id, initial } => {
                let command = initial.command.clone();
                if let Some(instance) = self.rows.on_record(id, Time(0)) {
                    instance.initial = Some(initial);
                }
                self.index(id, &command);
            }
            EpaxosRecord::Accepted { id, ballot, proposal, attributes } => {
                self.replay_vote(id, Some(ballot), proposal, attributes);
            }
            EpaxosRecord::AcceptedElsewhere { id, node, beyond } => {
                if let Some(instance) = self.rows.on_record(id, Time(0)) {
                    instance.beyond.push((node, beyond));
                }
            }
            EpaxosRecord::Committed { id, proposal, attributes } => {
                self.replay_vote(id, None, proposal, attributes);
                self.executor.committed(id);
            }
            EpaxosRecord::Forgettable { below } => self.allowed = below,
            EpaxosRecord::Installed { executed, forgotten } => {
                self.install(Time(0), &executed, &forgotten);
            }
            EpaxosRecord::Promised { ballot, fence } => {
                if !mutant!(FenceNotReplayed) {
                    self.joining.promised = ballot;
                    self.joining.fence = fence;
                }
            }
            EpaxosRecord::BeginAccepted { ballot, change } => {
                self.joining.promised = ballot;
                self.joining.vote = Some((ballot, change));
            }
            EpaxosRecord::Begun { change } => drop(self.enter_epoch(Time(0), change)),
        }
    }

    /// A vote by an Accept in a ballot, or a decision.
    fn replay_vote(
        &mut self,
        id: InstanceId,
        accepted: Option<Round>,
        proposal: Option<Proposal>,
        attributes: super::deps::Attributes,
    ) {
        let Some(instance) = self.rows.on_record(id, Time(0)) else { return };
        if let Some(ballot) = accepted {
            (instance.ballot, instance.vote_ballot) = (ballot, ballot);
            instance.phase = Phase::Accepted;
        } else {
            instance.phase = Phase::Committed;
            instance.final_here = true;
        }
        if accepted.is_some() || instance.attributes.as_ref() != Some(&attributes) {
            instance.beyond.clear();
        }
        instance.attributes = Some(attributes);
        let proposal = instance.resolve(proposal);
        self.set_proposal(id, proposal.expect("the log holds the command of which it is a vote"));
    }

    /// An own number is never used again.
    fn note_own(&mut self, id: InstanceId) {
        if id.owner == self.me && !mutant!(NumberReused) {
            self.next = self.next.max(id.number + 1);
        }
    }

    /// The log is at its end.
    pub(super) fn replayed(&mut self) {
        self.count_unexecuted();
        self.is_live = self.is_member() && (self.is_live || self.has_passed_barrier());
    }
}
