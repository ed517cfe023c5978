//! What an exhaustive exploration must know of a replica beside what it does.

use super::Epaxos;
use super::instances::Instance;
use super::message::{EpaxosMessage, InstanceId, Phase};
use super::work::Work;
use crate::command::NodeId;
use crate::protocol::ballot::Round;

impl Epaxos {
    /// Whether this replica ignores a message, now and whatever comes, unless it crashes. It may say no
    /// where that is true.
    ///
    /// - *Answers* are looked at by the work of their instance and ballot alone. A replica asks in ballot 0
    ///   in an own instance, once, when it gives it its number; and in each higher ballot once, in a
    ///   recovery: the next one is above what it has joined. What a work has looked at, or left behind
    ///   on its way from Prepare to Accept, it does not look at again.
    /// - *Commits* say nothing of what is committed: that is final.
    ///
    /// All else is answered, or changes what is known here. A command that is proposed again, because
    /// recovery made its instance a no-op, has a new instance, which no earlier answer is about.
    ///
    /// When a replica was heard last is noted of every message, and that it is not suspected. In the models
    /// time stands still and nobody is suspected, so neither changes.
    pub fn ignores_for_ever(&self, from: NodeId, message: &EpaxosMessage) -> bool {
        // Who sends what is of an earlier epoch is told.
        if let (Some(id), Some(epoch)) = (message.id(), message.epoch())
            && epoch < self.epochs.of(id)
        {
            return false;
        }
        match message {
            EpaxosMessage::Commit { id, .. } => {
                self.rows.get(*id).is_some_and(Instance::is_committed)
            }
            EpaxosMessage::PreAcceptOk { id, .. } => {
                self.has_asked(*id) && !self.awaits_pre_accept_ok(from, *id)
            }
            EpaxosMessage::AcceptOk { id, ballot, .. }
            | EpaxosMessage::PrepareOk { id, ballot, .. }
            | EpaxosMessage::TentativePreAcceptOk { id, ballot, .. }
            | EpaxosMessage::Nack { id, ballot, .. } => {
                self.has_asked(*id)
                    && self.work_of(*id, *ballot).is_none_or(|work| is_past(work, from, message))
            }
            _ => false,
        }
    }

    /// Whether an instance is not one that this replica will yet begin.
    fn has_asked(&self, id: InstanceId) -> bool {
        id.owner != self.me || id.number < self.next
    }

    fn awaits_pre_accept_ok(&self, from: NodeId, id: InstanceId) -> bool {
        let Some(instance) = self.rows.get(id) else { return false };
        let open = instance.ballot.in_epoch() == 0 && instance.phase == Phase::PreAccepted;
        let Some(Work::PreAccepting(work)) = instance.work.as_deref() else { return false };
        open && work.votes.iter().all(|vote| vote.node != from)
    }

    /// The work that looks at answers of this ballot.
    fn work_of(&self, id: InstanceId, ballot: Round) -> Option<&Work> {
        let work = self.rows.get(id)?.work.as_deref();
        work.filter(|work| work.ballot() == ballot)
    }
}

/// Whether a work has had this answer of this replica, or has gone on without it.
fn is_past(work: &Work, from: NodeId, message: &EpaxosMessage) -> bool {
    match (message, work) {
        (EpaxosMessage::AcceptOk { .. }, Work::Accepting(work)) => work.accepted.contains(from),
        (EpaxosMessage::PrepareOk { .. }, Work::Preparing(work)) => {
            work.answers.iter().any(|answer| answer.node == from)
        }
        (EpaxosMessage::PrepareOk { id, vote, .. }, Work::Validating(_) | Work::Deferring(_)) => {
            vote.phase != Phase::Accepted && from != id.owner
        }
        (EpaxosMessage::TentativePreAcceptOk { .. }, Work::Validating(work)) => {
            work.heard.contains(from)
        }
        (EpaxosMessage::PrepareOk { .. }, Work::Accepting(_))
        | (EpaxosMessage::TentativePreAcceptOk { .. }, Work::Deferring(_) | Work::Accepting(_)) => {
            true
        }
        _ => false,
    }
}
