//! What the processes of `paxos` send each other, store and wait for.

use std::sync::Arc;

use super::parcels::ParcelSet;
use crate::command::{Command, NodeId};
use crate::protocol::ballot::Round;
use crate::protocol::{Batch, Message};

/// Names a parcel for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ParcelId {
    /// The process that TO-Broadcast it.
    pub origin: NodeId,
    /// How often that process had started, counted from 1: numbers start anew with each.
    pub incarnation: u32,
    /// Position among the origin's parcels of that incarnation, from 0.
    pub number: u64,
}

/// The unit of total order broadcast, the paper's *m*: the commands that one process received in
/// one turn.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Parcel {
    /// Its name.
    pub id: ParcelId,
    /// What it carries, in order.
    pub commands: Batch,
}

impl Parcel {
    /// About how many bytes it takes in a frame or in the log.
    pub fn bytes(&self) -> usize {
        24 + self.commands.iter().map(Command::bytes).sum::<usize>()
    }
}

/// The value of one consensus instance, the paper's *msgSet*. Empty where a leader closed a gap.
pub type MsgSet = Arc<[Parcel]>;

/// About how many bytes a value takes.
pub fn msg_set_bytes(value: &MsgSet) -> usize {
    16 + value.iter().map(Parcel::bytes).sum::<usize>()
}

/// "All instances from `from` to before `below` are decided, on what I wrote in `round`."
///
/// Only its writer may say so of a round: another process that learned the decision elsewhere does
/// not know what that round wrote.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Decided {
    /// The round in which the sender's writes committed.
    pub round: Round,
    /// The first instance.
    pub from: u64,
    /// The instance after the last.
    pub below: u64,
}

/// One instance's register as an acknowledgement of a read reports it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Written {
    /// The instance.
    pub instance: u64,
    /// The round of its last write.
    pub write: Round,
    /// What that wrote.
    pub value: MsgSet,
}

/// The messages, in the order in which a command meets them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PaxosMessage {
    /// Weak leader election: "I am up" (Fig. 28).
    Heartbeat {
        /// The sender's incarnation.
        epoch: u32,
        /// The first instance that the sender has not delivered.
        next_batch: u64,
        /// The instance after the last one that the sender's register holds a value of, or
        /// `next_batch` if none does: somebody proposed that far, and may be gone.
        written_below: u64,
        /// Whether the sender hears a majority, itself included: without it, it cannot lead.
        hears_majority: bool,
    },
    /// Total order broadcast: what a process received goes to the leader (Fig. 9 line 27).
    Forward(Parcel),
    /// Register: READ(k), of one instance, or of it and all after it.
    Read {
        /// The round.
        round: Round,
        /// The instance.
        instance: u64,
        /// Whether all later instances are read too.
        onwards: bool,
    },
    /// Register: ackREAD(k, write, v).
    AckRead {
        /// The round of the read.
        round: Round,
        /// The instance of the read.
        instance: u64,
        /// The first instance that the sender has not delivered. It reports none below.
        next_batch: u64,
        /// Every instance of the read that the sender has a value for.
        written: Vec<Written>,
    },
    /// Register: WRITE(k, v).
    Write {
        /// The round.
        round: Round,
        /// The instance.
        instance: u64,
        /// What to write.
        value: MsgSet,
        /// Decisions that ride along (§6.4).
        decided: Option<Decided>,
    },
    /// Register: ackWRITE(k, permission).
    AckWrite {
        /// The round of the write.
        round: Round,
        /// The instance of the write.
        instance: u64,
        /// Whether this instance and the next held no value before it (Fig. 20 line 33).
        permission: bool,
    },
    /// Register: nackREAD(k) or nackWRITE(k).
    Nack {
        /// The round that was refused.
        round: Round,
        /// The instance.
        instance: u64,
        /// The higher round that the sender has promised or written.
        promised: Round,
    },
    /// Total order broadcast: DECISION.
    Decision(Decided),
    /// Total order broadcast: "I lag", which the paper says by an UPDATE of the last batch delivered
    /// (Fig. 9 line 43).
    Lagging {
        /// The first instance that the sender has not delivered.
        next_batch: u64,
    },
    /// Total order broadcast: UPDATE, decided values of consecutive instances.
    Update {
        /// The first one's instance.
        from: u64,
        /// The values.
        values: Vec<MsgSet>,
    },
    /// Total order broadcast: what comes with the replicated state, for a process that lags behind
    /// every log.
    State {
        /// The first instance that the state does not hold.
        next_batch: u64,
        /// The parcels that it holds, by origin.
        delivered: Vec<ParcelSet>,
    },
}

impl PaxosMessage {
    /// Whether every process that it names exists, and a parcel that is forwarded comes from its
    /// origin. What is not plausible is ignored: it indexes tables.
    pub fn is_plausible(&self, from: NodeId, size: u8) -> bool {
        let known = |value: &MsgSet| value.iter().all(|parcel| parcel.id.origin.0 < size);
        from.0 < size
            && match self {
                PaxosMessage::Forward(parcel) => parcel.id.origin == from,
                PaxosMessage::AckRead { written, .. } => written.iter().all(|w| known(&w.value)),
                PaxosMessage::Write { value, .. } => known(value),
                PaxosMessage::Update { values, .. } => values.iter().all(known),
                _ => true,
            }
    }
}

impl Message for PaxosMessage {
    fn kind(&self) -> &'static str {
        match self {
            PaxosMessage::Heartbeat { .. } => "heartbeat",
            PaxosMessage::Forward(_) => "forward",
            PaxosMessage::Read { .. } => "read",
            PaxosMessage::AckRead { .. } => "ack_read",
            PaxosMessage::Write { .. } => "write",
            PaxosMessage::AckWrite { .. } => "ack_write",
            PaxosMessage::Nack { .. } => "nack",
            PaxosMessage::Decision(_) => "decision",
            PaxosMessage::Lagging { .. } => "lagging",
            PaxosMessage::Update { .. } => "update",
            PaxosMessage::State { .. } => "state",
        }
    }

    fn brings_state(&self) -> bool {
        matches!(self, PaxosMessage::State { .. })
    }

    fn lane(&self) -> u64 {
        match self {
            PaxosMessage::Forward(parcel) => parcel.id.number,
            PaxosMessage::Write { instance, .. } | PaxosMessage::AckWrite { instance, .. } => {
                *instance
            }
            PaxosMessage::Decision(decided) => decided.below - 1,
            _ => 0,
        }
    }
}

/// What must survive a crash (Figs 12 and 13).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PaxosRecord {
    /// The process starts for the so-manieth time. Before it sends anything.
    Incarnation(u32),
    /// The register promised a round; for all instances where `instance` is none.
    Read {
        /// The instance, or none for all that have no value yet and later ones.
        instance: Option<u64>,
        /// The round.
        round: Round,
    },
    /// The register took a value.
    Write {
        /// The instance.
        instance: u64,
        /// The round.
        round: Round,
        /// The value.
        value: MsgSet,
    },
    /// An instance was delivered; with its value, unless the register wrote just that.
    Delivered {
        /// The instance.
        instance: u64,
        /// The value.
        value: Option<MsgSet>,
    },
    /// The state of another process was installed: all below `next_batch` is delivered with it.
    ///
    /// The driver stores the replicated state, as the effects before this record left it, together
    /// with the record, and after a crash begins with the state of the last such record. Recovery
    /// needs no record before it but the promises and the values of later instances.
    Installed {
        /// The first instance that the state does not hold.
        next_batch: u64,
        /// The parcels that it holds, by origin.
        delivered: Vec<ParcelSet>,
    },
}

/// What a process waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PaxosTimer {
    /// Time for a heartbeat, and to look who is silent.
    Heartbeat,
    /// Time to send again what is unanswered.
    Retransmit,
    /// Time to propose again after an abort.
    Propose,
    /// Time to ask for what is missing.
    CatchUp,
}
