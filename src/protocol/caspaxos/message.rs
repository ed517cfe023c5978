//! What proposers and acceptors send each other, and what must survive a crash. One message carries the
//! attempts on many registers: whatever a turn of the proposer has begun, or as much of it as one holds.

use std::sync::Arc;

use super::ballot::Ballot;
use super::members::Configuration;
use super::state::State;
use crate::command::{Command, Key, NodeId, Outcome};
use crate::protocol::Message;

/// One register of an Accept.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Change {
    /// Which register.
    pub key: Key,
    /// The attempt's ballot.
    pub ballot: Ballot,
    /// The new state.
    pub state: State,
}

/// What an acceptor says to the Prepare of one register.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Promise {
    /// It promises, and has accepted this; [`Ballot::ZERO`] and ∅ if nothing.
    Accepted {
        /// The ballot of what it has accepted.
        ballot: Ballot,
        /// What.
        state: State,
    },
    /// *Conflict*: it has seen this ballot, which is not below.
    Conflict(Ballot),
}

/// What an acceptor says to the read of one register.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Seen {
    /// It has accepted in the ballot that the proposer named.
    Same,
    /// It holds a copy that does not tell whether it was chosen.
    Borrowed,
    /// It has accepted this.
    Other {
        /// The ballot of what it has accepted; [`Ballot::ZERO`] if nothing.
        ballot: Ballot,
        /// What.
        state: State,
    },
}

/// Which registers are asked for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Part {
    /// Those in these buckets ([`super::registers`]), in ascending order.
    Buckets(Vec<u16>),
    /// All, from this place on.
    From(u32),
}

/// What an answer to a Pull leaves to be asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rest {
    /// Some buckets were asked for, and here they are.
    Buckets,
    /// All were asked for: go on from this place.
    From(u32),
    /// All were asked for, and these are the last.
    Nothing,
}

/// What became of a Forward.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Fate {
    /// It was taken, and is not done.
    UnderWay,
    /// It is done: what some of the commands returned. If there are more, they are in other messages.
    Done {
        /// The place of the first of these in the Forward.
        first: u32,
        /// What they returned, in their order.
        outcomes: Vec<Outcome>,
        /// Whether nobody but the sender of the Forward uses the register any more.
        is_alone: bool,
    },
    /// It was not taken and will not be, whatever else arrives of it.
    Refused {
        /// A ballot of whom the refuser takes for the winner; [`Ballot::ZERO`] if it knows of none.
        winner: Ballot,
    },
    /// It names a ballot that this life of the proposer did not use: what became of it is not known.
    NotThisLife,
}

/// A message.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum CaspaxosMessage {
    /// Phase 1 of an attempt on each of these registers (§2.1).
    Prepare {
        /// The proposer's number for this message, which answers repeat.
        batch: u64,
        /// The ballot, on each register the attempt's own.
        ballot: Ballot,
        /// How long a phase takes the proposer of late, in µs: who loses against it had better wait for so long.
        phase_us: u32,
        /// The registers.
        keys: Arc<[Key]>,
    },
    /// The answer, one for each register, in their order; in parts, if it is too much for one message.
    Promise {
        /// The message's number.
        batch: u64,
        /// The ballots up to which this acceptor has forgotten registers that were removed.
        floor: Ballot,
        /// The place in the Prepare of the first register that this part is about.
        first: u32,
        /// One for each register from there on.
        promises: Vec<Promise>,
    },
    /// Phase 2 of an attempt on each of these registers.
    Accept {
        /// The proposer's number for this message.
        batch: u64,
        /// The Prepare of the proposer's next attempt on each of them (§2.2.1); [`Ballot::ZERO`] for none.
        next: Ballot,
        /// The registers, each once.
        changes: Arc<[Change]>,
    },
    /// The answer: accepted, but for some.
    Accepted {
        /// The message's number.
        batch: u64,
        /// Those in *conflict*, by their place in the message, and the ballots that this acceptor has seen.
        conflicts: Vec<(u32, Ballot)>,
    },
    /// What do you hold? ([`super::options::Reads::Clean`])
    Read {
        /// The proposer's number for this message.
        batch: u64,
        /// The configuration in which it is asked.
        epoch: u16,
        /// The registers, each with the ballot that the proposer itself holds.
        keys: Arc<[(Key, Ballot)]>,
    },
    /// The answer, one for each register, in their order; in parts, if it is too much for one message.
    ReadOk {
        /// The message's number.
        batch: u64,
        /// The place in the Read of the first register that this part is about.
        first: u32,
        /// One for each register from there on.
        seen: Vec<Seen>,
    },
    /// Step (c) of a removal (§3.1): these tombstones are at every acceptor.
    Remove {
        /// Each register and its tombstone's ballot.
        tombstones: Arc<[(Key, Ballot)]>,
    },
    /// They are removed, or something else was there.
    Removed {
        /// As in the Remove.
        tombstones: Arc<[(Key, Ballot)]>,
    },
    /// What does all that you hold come to?
    Compare {
        /// The sender's.
        digest: u64,
    },
    /// Something else: these are the digests of its parts.
    Digests {
        /// One for each bucket.
        buckets: Vec<u64>,
    },
    /// Send what you hold of these registers.
    Pull {
        /// Copied into the answer: how many removals the sender has carried out.
        removals: u64,
        /// The configuration in which it is asked.
        epoch: u16,
        /// Which.
        part: Part,
    },
    /// Here it is.
    Copies {
        /// As in the Pull.
        removals: u64,
        /// As in the Pull.
        epoch: u16,
        /// What is left to be asked.
        rest: Rest,
        /// The ballots up to which the sender has forgotten registers that were removed.
        floor: Ballot,
        /// The registers.
        copies: Vec<Change>,
    },
    /// You have won this register: do these with your own ([`super::options::CaspaxosOptions::forward_after`]).
    Forward {
        /// The sender's number for this message, which answers repeat: one of its counters.
        number: u64,
        /// The last ballot that the receiver was heard to use.
        seen: Ballot,
        /// The sender has the answers to all that it has forwarded to the receiver below this number.
        settled_below: u64,
        /// Commands of the sender's clients, on one register.
        commands: Arc<[Command]>,
    },
    /// What became of a Forward.
    Forwarded {
        /// The message's number.
        number: u64,
        /// What.
        fate: Fate,
    },
    /// This is the configuration.
    Configure(Configuration),
    /// The sender knows of a later configuration than the receiver, or nothing of the receiver's.
    WhichConfiguration,
    /// The sender has copied what an old configuration may have chosen.
    Merged {
        /// The epoch that replaces it.
        epoch: u16,
    },
    /// The sender wants to become a member in place of another.
    Replace(NodeId),
}

/// A record of the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum CaspaxosRecord {
    /// This proposer uses counters below this one only.
    Counters(u64),
    /// It promised this ballot on these registers.
    Promised {
        /// The ballot.
        ballot: Ballot,
        /// The registers.
        keys: Arc<[Key]>,
    },
    /// It accepted these changes, but for some, and promised `next` on the same registers.
    Accepted {
        /// As in the Accept.
        next: Ballot,
        /// As in the Accept.
        changes: Arc<[Change]>,
        /// Those that it refused, by their place.
        refused: Vec<u32>,
    },
    /// It copied these from others.
    Copied {
        /// The registers.
        copies: Vec<Change>,
        /// What is forgotten from now on.
        floor: Ballot,
    },
    /// It removed these tombstones.
    Removed(Vec<(Key, Ballot)>),
    /// It is in this configuration.
    Configured(Configuration),
    /// It has copied all that the configuration before this epoch may have chosen.
    Merged(u16),
}

impl Message for CaspaxosMessage {
    fn kind(&self) -> &'static str {
        match self {
            CaspaxosMessage::Prepare { .. } => "Prepare",
            CaspaxosMessage::Promise { .. } => "Promise",
            CaspaxosMessage::Accept { .. } => "Accept",
            CaspaxosMessage::Accepted { .. } => "Accepted",
            CaspaxosMessage::Read { .. } => "Read",
            CaspaxosMessage::ReadOk { .. } => "ReadOk",
            CaspaxosMessage::Remove { .. } => "Remove",
            CaspaxosMessage::Removed { .. } => "Removed",
            CaspaxosMessage::Compare { .. } => "Compare",
            CaspaxosMessage::Digests { .. } => "Digests",
            CaspaxosMessage::Pull { .. } => "Pull",
            CaspaxosMessage::Copies { .. } => "Copies",
            CaspaxosMessage::Forward { .. } => "Forward",
            CaspaxosMessage::Forwarded { .. } => "Forwarded",
            CaspaxosMessage::Configure(_) => "Configure",
            CaspaxosMessage::WhichConfiguration => "WhichConfiguration",
            CaspaxosMessage::Merged { .. } => "Merged",
            CaspaxosMessage::Replace(_) => "Replace",
        }
    }

    /// Registers share nothing, so no message has to wait for another.
    fn lane(&self) -> u64 {
        match self {
            CaspaxosMessage::Prepare { batch, .. }
            | CaspaxosMessage::Promise { batch, .. }
            | CaspaxosMessage::Accept { batch, .. }
            | CaspaxosMessage::Accepted { batch, .. }
            | CaspaxosMessage::Read { batch, .. }
            | CaspaxosMessage::ReadOk { batch, .. } => *batch,
            CaspaxosMessage::Forward { number, .. } | CaspaxosMessage::Forwarded { number, .. } => {
                *number
            }
            _ => 0,
        }
    }

    fn brings_state(&self) -> bool {
        false
    }
}
