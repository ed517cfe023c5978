//! What the replicas of `multicoordinated` send each other, store and wait for.
//!
//! Values are histories, and histories are sent as they grow. A coordinator's *cval* and an acceptor's *vval*
//! are each a stream of names for a round and an instance: a message says from which position on it
//! continues it.

use super::names::Run;
use super::round::Round;
use crate::command::NodeId;
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Batch, Message};

/// The last value that an acceptor has accepted in an instance.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Vote {
    /// The instance.
    pub instance: u64,
    /// *vrnd*
    pub vrnd: Round,
    /// How long *vval* is: the value itself is what the acceptor's 2b messages of that round said. A checkpoint at
    /// its end counts as one.
    pub length: u64,
}

/// How far one instance has come at a replica, for those who may have missed messages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Progress {
    /// The instance.
    pub instance: u64,
    /// *rnd*
    pub rnd: Round,
    /// *vrnd* and the length of *vval*.
    pub accepted: (Round, u64),
    /// *crnd* and the length of *cval*, if the replica has begun a round as coordinator.
    pub sent: (Round, u64),
}

/// Which stream of a replica.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stream {
    /// Its *cval*, by 2a messages.
    Coordinator,
    /// Its *vval*, by 2b messages.
    Acceptor,
}

/// The messages, in the order in which a command meets them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum MulticoordinatedMessage {
    /// *Propose*: the sender's clients ask for these commands; they are called after the sender and `first`,
    /// `first` + 1, …
    Propose {
        /// The instance to put them into.
        instance: u64,
        /// The first one's number.
        first: u64,
        /// The commands.
        commands: Batch,
        /// The coordinators that are asked to forward them; the others keep them only.
        coordinators: NodeSet,
        /// The acceptors that are asked to accept them.
        acceptors: NodeSet,
    },
    /// *Phase1a*
    Phase1a {
        /// The round.
        round: Round,
        /// For this instance,
        instance: u64,
        /// and all after it.
        onwards: bool,
    },
    /// *Phase1b*
    Phase1b {
        /// The round.
        round: Round,
        /// As in the 1a.
        instance: u64,
        /// As in the 1a.
        onwards: bool,
        /// What the sender has accepted in these instances; nothing in those that are not here.
        votes: Vec<Vote>,
    },
    /// *Phase2Start* and *Phase2aClassic*: how *cval* goes on.
    Phase2a {
        /// *crnd*
        round: Round,
        /// The instance.
        instance: u64,
        /// How much of *cval* *Phase2Start* picked, at least: no less may be accepted.
        start: u64,
        /// Where in *cval* `names` begin.
        base: u64,
        /// What follows there.
        names: Vec<Run>,
        /// Whether a checkpoint follows on that.
        closes: bool,
    },
    /// *Phase2Start* of a fast round with ⊥, for an instance and all after it: the acceptors may take
    /// proposals.
    Phase2aAny {
        /// The round.
        round: Round,
        /// The first instance.
        instance: u64,
    },
    /// *Phase2bClassic* of a single-coordinated round: the sender has accepted that much of the coordinator's
    /// *cval*.
    Phase2bPrefix {
        /// *vrnd*
        round: Round,
        /// The instance.
        instance: u64,
        /// How much; a checkpoint counts as one.
        length: u64,
    },
    /// *Phase2bClassic* or *Phase2bFast*: how *vval* goes on.
    Phase2b {
        /// *vrnd*
        round: Round,
        /// The instance.
        instance: u64,
        /// Where in *vval* `names` begin.
        base: u64,
        /// What follows there.
        names: Vec<Run>,
        /// Whether a checkpoint follows on that.
        closes: bool,
    },
    /// "The round is too low" (§4.3).
    TooLow {
        /// The round that was refused.
        round: Round,
        /// The instance.
        instance: u64,
        /// *rnd* of the sender.
        rnd: Round,
    },
    /// "Say again."
    Want {
        /// Which stream of the receiver.
        stream: Stream,
        /// Of which round.
        round: Round,
        /// And instance.
        instance: u64,
        /// From which position on.
        from: u64,
    },
    /// "I have these names, and not their commands."
    WantCommands {
        /// The names.
        names: Vec<Run>,
    },
    /// Proposals of another replica, as it sent them.
    Commands {
        /// Who proposed them.
        proposer: NodeId,
        /// The instance.
        instance: u64,
        /// The first one's number.
        first: u64,
        /// The commands.
        commands: Batch,
    },
    /// "Send me these proposers' commands with your 2a messages: they come later from themselves."
    Relay {
        /// The proposers.
        proposers: NodeSet,
    },
    /// "I am up, and this far."
    Heartbeat {
        /// The sender's life: its *MCount* when it started.
        life: u32,
        /// *MCount* now.
        major: u32,
        /// Whether it hears a majority.
        hears_majority: bool,
        /// It has executed all instances below.
        executed_below: u64,
        /// *rnd* of all instances from one on, unless they have joined a later one.
        standing: (Round, u64),
        /// Its first instances that are not executed.
        open: Vec<Progress>,
    },
    /// "I have executed all instances below this one, and so much of it."
    Lagging {
        /// The instance.
        instance: u64,
        /// How many of its commands the sender was told of.
        from: u64,
    },
    /// What the sender has learned in an instance, in an order in which it may be executed.
    Learned {
        /// The instance.
        instance: u64,
        /// The sender's life: in another it may have another order.
        life: u32,
        /// Where in that order `names` begin.
        base: u64,
        /// What follows there.
        names: Vec<Run>,
        /// Whether a checkpoint follows on that.
        closes: bool,
    },
    /// The replicated state of a replica that is ahead comes with it.
    State {
        /// All instances below are executed in it,
        instance: u64,
        /// and these commands of this one.
        names: Vec<Run>,
    },
}

/// What must survive a crash.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum MulticoordinatedRecord {
    /// *MCount*: of the rounds joined, and of the replica's life if it has just started.
    Major(u32),
    /// *Phase2b*: how *vval* goes on.
    Accepted {
        /// The instance.
        instance: u64,
        /// *vrnd*
        round: Round,
        /// Where in *vval* `names` begin; 0 where *vrnd* is new.
        base: u64,
        /// What follows there.
        names: Vec<Run>,
        /// Whether a checkpoint follows on that.
        closes: bool,
        /// The commands of those names that no earlier record has, by proposer and first number.
        commands: Vec<(NodeId, u64, Batch)>,
    },
    /// An instance is closed, and executed in this order. Nobody waits for it.
    Executed {
        /// The instance.
        instance: u64,
        /// Its commands, in order.
        names: Vec<Run>,
        /// The commands of those names that no earlier record has.
        commands: Vec<(NodeId, u64, Batch)>,
    },
    /// The replicated state was replaced by one that holds all instances below, and these commands of this one.
    Installed {
        /// The instance.
        instance: u64,
        /// Its commands that are in the state.
        names: Vec<Run>,
    },
}

/// What a replica may be woken for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MulticoordinatedTimer {
    /// Time for the next heartbeat.
    Heartbeat,
    /// Time to look what has been waiting for too long.
    Check,
}

impl Message for MulticoordinatedMessage {
    fn kind(&self) -> &'static str {
        match self {
            MulticoordinatedMessage::Propose { .. } => "propose",
            MulticoordinatedMessage::Phase1a { .. } => "1a",
            MulticoordinatedMessage::Phase1b { .. } => "1b",
            MulticoordinatedMessage::Phase2a { .. } => "2a",
            MulticoordinatedMessage::Phase2aAny { .. } => "2aAny",
            MulticoordinatedMessage::Phase2bPrefix { .. } => "2bPrefix",
            MulticoordinatedMessage::Phase2b { .. } => "2b",
            MulticoordinatedMessage::TooLow { .. } => "TooLow",
            MulticoordinatedMessage::Want { .. } => "Want",
            MulticoordinatedMessage::WantCommands { .. } => "WantCommands",
            MulticoordinatedMessage::Commands { .. } => "Commands",
            MulticoordinatedMessage::Relay { .. } => "Relay",
            MulticoordinatedMessage::Heartbeat { .. } => "Heartbeat",
            MulticoordinatedMessage::Lagging { .. } => "Lagging",
            MulticoordinatedMessage::Learned { .. } => "Learned",
            MulticoordinatedMessage::State { .. } => "State",
        }
    }

    /// Streams go on where they ended, so their parts had better arrive in order.
    fn lane(&self) -> u64 {
        0
    }

    fn brings_state(&self) -> bool {
        matches!(self, MulticoordinatedMessage::State { .. })
    }
}
