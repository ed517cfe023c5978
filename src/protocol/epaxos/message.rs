//! What the replicas of `epaxos` send each other, store and wait for.

use super::deps::{Attributes, PerNode};
use super::epochs::{Change, Replacement};
use crate::command::NodeId;
use crate::protocol::ballot::Round;
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Batch, Message};

/// An instance, the paper's *R.i*: the `number`-th command that `owner` proposed, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InstanceId {
    /// *R*
    pub owner: NodeId,
    /// *i*
    pub number: u64,
}

/// What may be chosen in an instance: the paper's γ, or a no-op.
///
/// The unit is what one replica's clients asked for in one turn: a command that touches all their keys.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Proposal {
    /// These commands, in this order.
    Command(Batch),
    /// Nothing.
    Nop,
}

/// What the owner of an instance proposed at ballot 0. No later ballot changes it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Initial {
    /// The command.
    pub command: Batch,
    /// Its attributes, as the owner computed them.
    pub attributes: Attributes,
    /// Its fast quorum, the owner included. All replicas, where the variant names none.
    pub quorum: NodeSet,
}

/// How far an instance has come at one replica.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// No vote.
    Initial,
    /// A vote at ballot 0, by a PreAccept.
    PreAccepted,
    /// A vote by an Accept.
    Accepted,
    /// Final.
    Committed,
}

/// A replica's last vote in an instance, as PrepareOK reports it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Vote {
    /// How far it has come.
    pub phase: Phase,
    /// The ballot of the vote, *abal*: 0 by a PreAccept. To join a higher ballot does not change it.
    pub ballot: Round,
    /// What was voted for. None stands for the initial command, and for no vote.
    pub proposal: Option<Proposal>,
    /// With which attributes; none without a vote.
    pub attributes: Option<Attributes>,
}

/// An interfering instance that a TentativePreAccept ran into.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Conflict {
    /// Which.
    pub id: InstanceId,
    /// Whether it is committed where it was found.
    pub committed: bool,
}

/// The messages, in the order in which a command meets them. The ballot of a PreAccept, and of its answer, is
/// the first of an epoch.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum EpaxosMessage {
    /// Phase 1: the owner proposes.
    PreAccept {
        /// The instance.
        id: InstanceId,
        /// The epoch that it belongs to, as its owner knows.
        epoch: u16,
        /// What it proposes.
        initial: Initial,
    },
    /// Phase 1: a replica has recorded the command.
    PreAcceptOk {
        /// The instance.
        id: InstanceId,
        /// As in PreAccept.
        epoch: u16,
        /// The attributes that it votes for; none if they are the owner's.
        attributes: Option<Attributes>,
        /// Those of the dependencies that it does not know to be committed; empty where the variant does
        /// not ask.
        uncommitted: Vec<InstanceId>,
    },
    /// Paxos-Accept.
    Accept {
        /// The instance.
        id: InstanceId,
        /// The ballot.
        ballot: Round,
        /// What to accept; none for the command that the receiver has recorded.
        proposal: Option<Proposal>,
        /// With which attributes.
        attributes: Attributes,
        /// Accept-Deps: the interfering instances that the sender knows beyond the attributes.
        beyond: Vec<InstanceId>,
    },
    /// Paxos-Accept: accepted.
    AcceptOk {
        /// The instance.
        id: InstanceId,
        /// The ballot.
        ballot: Round,
        /// As in Accept.
        beyond: Vec<InstanceId>,
    },
    /// Commit.
    Commit {
        /// The instance.
        id: InstanceId,
        /// The epoch that it belongs to. Who has not heard of that ignores it: no command may come to depend
        /// on one of a later epoch.
        epoch: u16,
        /// What is chosen; none for the command that the receiver has recorded.
        proposal: Option<Proposal>,
        /// With which attributes.
        attributes: Attributes,
    },
    /// Explicit Prepare: somebody recovers the instance.
    Prepare {
        /// The instance.
        id: InstanceId,
        /// Its ballot.
        ballot: Round,
    },
    /// Explicit Prepare: a replica has joined the ballot, and says what it knows.
    PrepareOk {
        /// The instance.
        id: InstanceId,
        /// The ballot.
        ballot: Round,
        /// Its last vote.
        vote: Vote,
        /// What the owner proposed, if it knows.
        initial: Option<Initial>,
    },
    /// A higher ballot forbids it, or the instance is forgotten because it was executed everywhere.
    Nack {
        /// The instance.
        id: InstanceId,
        /// The ballot that was refused.
        ballot: Round,
        /// The ballot that forbids it; none if the instance is forgotten.
        promised: Option<Round>,
    },
    /// §6.2 step 6: would these attributes have been possible?
    TentativePreAccept {
        /// The instance.
        id: InstanceId,
        /// The recoverer's ballot.
        ballot: Round,
        /// What the owner proposed.
        initial: Initial,
        /// The attributes that may have been committed on the fast path.
        attributes: Attributes,
    },
    /// §6.2 step 6: the command is recorded; these are in the way. No conflict is the paper's ACK, any is
    /// its NACK.
    TentativePreAcceptOk {
        /// The instance.
        id: InstanceId,
        /// The ballot.
        ballot: Round,
        /// What is in the way, ascending.
        conflicts: Vec<Conflict>,
    },
    /// §6.2 step 7e: the sender waits for others to be decided before it decides this one.
    Deferred {
        /// The instance.
        id: InstanceId,
        /// The epoch that it belongs to.
        epoch: u16,
        /// The replicas whose votes speak for a fast commit.
        evidence: NodeSet,
        /// The attributes that they voted for.
        attributes: Attributes,
    },
    /// "I am up, and have executed this much."
    Heartbeat {
        /// The latest epoch that the sender knows.
        epoch: u16,
        /// By replica: the sender has executed all its instances with a lower number.
        executed: PerNode,
        /// By replica: the receiver may forget its instances with a lower number, as far as the sender
        /// is concerned.
        forgettable: PerNode,
        /// The sender's clock, in ns.
        sent_ns: u64,
    },
    /// Answers a heartbeat, so that round trips are known.
    HeartbeatOk {
        /// The sender of the heartbeat's clock, as it said.
        sent_ns: u64,
    },
    /// "This is how far I am; tell me what I miss."
    Lagging {
        /// By replica: the sender has executed all its instances with a lower number.
        executed: PerNode,
        /// By replica: the sender knows the decisions on all its instances with a lower number, which is
        /// less where it was sent the state.
        known: PerNode,
    },
    /// The replicated state of a replica that is ahead comes with it.
    State {
        /// The latest epoch that the sender knows.
        epoch: u16,
        /// What the state holds, by replica.
        executed: Vec<ExecutedSet>,
        /// By replica: the sender has forgotten all its instances with a lower number.
        forgotten: PerNode,
    },
    /// §5.5: "let the next epoch begin, with these members". The ballot is of that epoch.
    Join {
        /// The ballot.
        ballot: Round,
        /// Who is to join; none if nobody is, because who wanted to is not heard of again.
        replacement: Option<Replacement>,
    },
    /// §5.5: the sender begins nothing more in the epoch that ends.
    JoinOk {
        /// The ballot.
        ballot: Round,
        /// Its last vote on how the next epoch begins.
        vote: Option<(Round, Change)>,
        /// By replica: it votes in instances of the ending epoch with lower numbers only.
        fence: PerNode,
    },
    /// A higher ballot forbids a Join or a Begin.
    JoinNack {
        /// The ballot that was refused.
        ballot: Round,
        /// The ballot that forbids it.
        promised: Round,
    },
    /// "Let the next epoch begin like this": the Accept of that decision.
    Begin {
        /// The ballot.
        ballot: Round,
        /// How it begins.
        change: Change,
    },
    /// Accepted.
    BeginOk {
        /// The ballot.
        ballot: Round,
    },
    /// How all epochs began so far.
    Epochs {
        /// From epoch 1 on.
        changes: Vec<Change>,
    },
}

/// The executed instances of one replica.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct ExecutedSet {
    /// All with a lower number.
    pub below: u64,
    /// And these, ascending, none equal to `below`.
    pub above: Vec<u64>,
}

/// What must survive a crash.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum EpaxosRecord {
    /// A vote at ballot 0; of the owner itself, its proposal.
    PreAccepted {
        /// The instance.
        id: InstanceId,
        /// What the owner proposed.
        initial: Initial,
        /// The attributes voted for; none if they are the owner's.
        attributes: Option<Attributes>,
    },
    /// A ballot is joined. It changes no vote.
    Joined {
        /// The instance.
        id: InstanceId,
        /// The ballot.
        ballot: Round,
    },
    /// A command is recorded for a recovery, without a vote.
    Tentative {
        /// The instance.
        id: InstanceId,
        /// What the owner proposed.
        initial: Initial,
    },
    /// A vote by an Accept.
    Accepted {
        /// The instance.
        id: InstanceId,
        /// The ballot.
        ballot: Round,
        /// What was accepted; none for the command on record.
        proposal: Option<Proposal>,
        /// With which attributes.
        attributes: Attributes,
    },
    /// Accept-Deps: who had accepted, and what it knew then.
    AcceptedElsewhere {
        /// The instance.
        id: InstanceId,
        /// Who.
        node: NodeId,
        /// The interfering instances that it knew beyond the attributes.
        beyond: Vec<InstanceId>,
    },
    /// A decision.
    Committed {
        /// The instance.
        id: InstanceId,
        /// What is chosen; none for the command on record.
        proposal: Option<Proposal>,
        /// With which attributes.
        attributes: Attributes,
    },
    /// Up to where others were allowed to forget.
    Forgettable {
        /// By replica: all its instances with a lower number.
        below: PerNode,
    },
    /// The replicated state was replaced by one that holds this.
    Installed {
        /// What it holds, by replica.
        executed: Vec<ExecutedSet>,
        /// By replica: forgotten below.
        forgotten: PerNode,
    },
    /// A ballot for the beginning of the next epoch is joined, or used by this replica itself.
    Promised {
        /// The ballot.
        ballot: Round,
        /// By replica: from which number on it votes in no instance of the ending epoch. None if it is no
        /// member.
        fence: Option<PerNode>,
    },
    /// A vote on how the next epoch begins.
    BeginAccepted {
        /// The ballot.
        ballot: Round,
        /// How it begins.
        change: Change,
    },
    /// The next epoch has begun.
    Begun {
        /// How.
        change: Change,
    },
}

/// What a replica may be woken for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EpaxosTimer {
    /// Time for the next heartbeat.
    Heartbeat,
    /// Time to look who has been silent, and what has been waiting for too long.
    Check,
}

impl Message for EpaxosMessage {
    fn kind(&self) -> &'static str {
        match self {
            EpaxosMessage::PreAccept { .. } => "PreAccept",
            EpaxosMessage::PreAcceptOk { .. } => "PreAcceptOK",
            EpaxosMessage::Accept { .. } => "Accept",
            EpaxosMessage::AcceptOk { .. } => "AcceptOK",
            EpaxosMessage::Commit { .. } => "Commit",
            EpaxosMessage::Prepare { .. } => "Prepare",
            EpaxosMessage::PrepareOk { .. } => "PrepareOK",
            EpaxosMessage::Nack { .. } => "NACK",
            EpaxosMessage::TentativePreAccept { .. } => "TentativePreAccept",
            EpaxosMessage::TentativePreAcceptOk { .. } => "TentativePreAcceptOK",
            EpaxosMessage::Deferred { .. } => "Deferred",
            EpaxosMessage::Heartbeat { .. } => "Heartbeat",
            EpaxosMessage::HeartbeatOk { .. } => "HeartbeatOK",
            EpaxosMessage::Lagging { .. } => "Lagging",
            EpaxosMessage::State { .. } => "State",
            EpaxosMessage::Join { .. } => "Join",
            EpaxosMessage::JoinOk { .. } => "JoinOK",
            EpaxosMessage::JoinNack { .. } => "JoinNACK",
            EpaxosMessage::Begin { .. } => "Begin",
            EpaxosMessage::BeginOk { .. } => "BeginOK",
            EpaxosMessage::Epochs { .. } => "Epochs",
        }
    }

    fn lane(&self) -> u64 {
        self.id().map_or(0, |id| id.number)
    }

    fn brings_state(&self) -> bool {
        matches!(self, EpaxosMessage::State { .. })
    }
}

impl EpaxosMessage {
    /// The instance that it is about; none for what is about all of them.
    pub fn id(&self) -> Option<InstanceId> {
        match self {
            EpaxosMessage::PreAccept { id, .. }
            | EpaxosMessage::PreAcceptOk { id, .. }
            | EpaxosMessage::Accept { id, .. }
            | EpaxosMessage::AcceptOk { id, .. }
            | EpaxosMessage::Commit { id, .. }
            | EpaxosMessage::Prepare { id, .. }
            | EpaxosMessage::PrepareOk { id, .. }
            | EpaxosMessage::Nack { id, .. }
            | EpaxosMessage::TentativePreAccept { id, .. }
            | EpaxosMessage::TentativePreAcceptOk { id, .. }
            | EpaxosMessage::Deferred { id, .. } => Some(*id),
            EpaxosMessage::Heartbeat { .. }
            | EpaxosMessage::HeartbeatOk { .. }
            | EpaxosMessage::Lagging { .. }
            | EpaxosMessage::State { .. }
            | EpaxosMessage::Join { .. }
            | EpaxosMessage::JoinOk { .. }
            | EpaxosMessage::JoinNack { .. }
            | EpaxosMessage::Begin { .. }
            | EpaxosMessage::BeginOk { .. }
            | EpaxosMessage::Epochs { .. } => None,
        }
    }

    /// The epoch of what it is about, if it is about one instance, or the next epoch.
    pub fn epoch(&self) -> Option<u16> {
        match self {
            EpaxosMessage::PreAccept { epoch, .. }
            | EpaxosMessage::PreAcceptOk { epoch, .. }
            | EpaxosMessage::Commit { epoch, .. }
            | EpaxosMessage::Deferred { epoch, .. } => Some(*epoch),
            EpaxosMessage::Accept { ballot, .. }
            | EpaxosMessage::AcceptOk { ballot, .. }
            | EpaxosMessage::Prepare { ballot, .. }
            | EpaxosMessage::PrepareOk { ballot, .. }
            | EpaxosMessage::Nack { ballot, .. }
            | EpaxosMessage::TentativePreAccept { ballot, .. }
            | EpaxosMessage::TentativePreAcceptOk { ballot, .. }
            | EpaxosMessage::Join { ballot, .. }
            | EpaxosMessage::JoinOk { ballot, .. }
            | EpaxosMessage::JoinNack { ballot, .. }
            | EpaxosMessage::Begin { ballot, .. }
            | EpaxosMessage::BeginOk { ballot } => Some(ballot.epoch()),
            EpaxosMessage::Heartbeat { .. }
            | EpaxosMessage::HeartbeatOk { .. }
            | EpaxosMessage::Lagging { .. }
            | EpaxosMessage::State { .. }
            | EpaxosMessage::Epochs { .. } => None,
        }
    }

    /// Whether it asks the receiver for a vote, or to remember something, in its instance.
    pub fn asks_for_vote(&self) -> bool {
        matches!(
            self,
            EpaxosMessage::PreAccept { .. }
                | EpaxosMessage::Accept { .. }
                | EpaxosMessage::Prepare { .. }
                | EpaxosMessage::TentativePreAccept { .. }
        )
    }
}
