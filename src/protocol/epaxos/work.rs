//! What a replica does to get an instance committed: as its owner, or as the one that recovers it.

use super::deps::Attributes;
use super::message::{Conflict, Initial, InstanceId, Proposal, Vote};
use crate::command::NodeId;
use crate::protocol::Time;
use crate::protocol::ballot::Round;
use crate::protocol::quorum::NodeSet;

/// The phase that this replica leads.
#[derive(Clone, Hash, Debug)]
pub enum Work {
    /// Phase 1, of its own instance.
    PreAccepting(PreAccepting),
    /// Paxos-Accept.
    Accepting(Accepting),
    /// Explicit Prepare.
    Preparing(Preparing),
    /// TentativePreAccept (§6.2 step 6).
    Validating(Validating),
    /// Recovery is deferred (§6.2 step 7e).
    Deferring(Deferring),
}

/// An answer to a PreAccept.
#[derive(Clone, Hash, Debug)]
pub struct PreAcceptVote {
    /// Whose.
    pub node: NodeId,
    /// The attributes; none if they are the owner's.
    pub attributes: Option<Attributes>,
    /// The dependencies that it does not know to be committed.
    pub uncommitted: Vec<InstanceId>,
}

impl PreAcceptVote {
    /// The attributes in full.
    pub fn says(&self, initial: &Initial) -> Attributes {
        self.attributes.clone().unwrap_or_else(|| initial.attributes.clone())
    }
}

/// Phase 1 at the owner.
#[derive(Clone, Hash, Debug)]
pub struct PreAccepting {
    /// The ballot: the first of its epoch.
    pub ballot: Round,
    /// Who was asked.
    pub asked: NodeSet,
    /// The answers, in the order in which they came.
    pub votes: Vec<PreAcceptVote>,
    /// When it began.
    pub began: Time,
    /// Whether the quorum is no longer waited for.
    pub late: bool,
}

/// Paxos-Accept at whoever leads it.
#[derive(Clone, Hash, Debug)]
pub struct Accepting {
    /// The ballot.
    pub ballot: Round,
    /// What is to be accepted.
    pub proposal: Proposal,
    /// With which attributes.
    pub attributes: Attributes,
    /// Who knows the command, and need not be sent it.
    pub informed: NodeSet,
    /// Who was asked.
    pub asked: NodeSet,
    /// Who has accepted.
    pub accepted: NodeSet,
    /// When it was asked last.
    pub asked_at: Time,
}

/// Explicit Prepare at the recoverer.
#[derive(Clone, Hash, Debug)]
pub struct Preparing {
    /// The ballot.
    pub ballot: Round,
    /// The answers, in the order in which they came.
    pub answers: Vec<Answer>,
    /// When it began.
    pub began: Time,
}

/// An answer to a Prepare.
#[derive(Clone, Hash, Debug)]
pub struct Answer {
    /// Whose.
    pub node: NodeId,
    /// Its last vote.
    pub vote: Vote,
    /// What the owner proposed, if it knows.
    pub initial: Option<Initial>,
}

/// A command that may have been committed on the fast path, and with what.
#[derive(Clone, Hash, Debug)]
pub struct Suspicion {
    /// The ballot.
    pub ballot: Round,
    /// What the owner proposed.
    pub initial: Initial,
    /// The attributes that it may have been committed with.
    pub attributes: Attributes,
    /// *Q*: who answered the Prepare.
    pub answered: NodeSet,
    /// *R*: whose votes speak for it.
    pub evidence: NodeSet,
}

/// TentativePreAccept at the recoverer.
#[derive(Clone, Hash, Debug)]
pub struct Validating {
    /// What is suspected.
    pub suspicion: Suspicion,
    /// Who of *Q* has answered.
    pub heard: NodeSet,
    /// What is in the way, ascending.
    pub conflicts: Vec<Conflict>,
    /// When it began.
    pub began: Time,
}

/// A deferred recovery.
#[derive(Clone, Hash, Debug)]
pub struct Deferring {
    /// What is suspected.
    pub suspicion: Suspicion,
    /// What must be decided first.
    pub awaits: Vec<InstanceId>,
    /// When it began, or was said last.
    pub said_at: Time,
    /// When it began.
    pub began: Time,
}

impl Work {
    /// The fast commit that is tried, or whose recovery is deferred.
    pub fn suspicion(&self) -> Option<&Suspicion> {
        match self {
            Work::Validating(work) => Some(&work.suspicion),
            Work::Deferring(work) => Some(&work.suspicion),
            _ => None,
        }
    }

    /// The ballot; of Phase 1 the first of the epoch.
    pub fn ballot(&self) -> Round {
        match self {
            Work::PreAccepting(work) => work.ballot,
            Work::Accepting(work) => work.ballot,
            Work::Preparing(work) => work.ballot,
            Work::Validating(work) => work.suspicion.ballot,
            Work::Deferring(work) => work.suspicion.ballot,
        }
    }
}
