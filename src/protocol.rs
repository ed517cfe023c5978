//! The contract between a protocol core and whatever drives it.
//!
//! A core is a pure state machine: [`Protocol::step`] takes one [`Input`] and appends [`Effect`]s.
//! It knows no clock, socket, disk, thread or source of randomness: time is an argument, a timer's
//! delay is a range from which the driver picks, and durability is an edge between effects (`after`
//! in [`Effect::Send`]). The same core runs over QUIC ([`crate::replica`]), in virtual time and in
//! the model checker.
//!
//! *What a driver owes a core:* inputs one at a time; [`Input::TurnEnded`] after each batch of them;
//! effects carried out in order; no message sent before the write it waits for is durable;
//! [`Input::Durable`] once it is. *What it does not owe:* any message may be lost, duplicated,
//! delayed or reordered.

use std::fmt::{self, Debug};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use self::quorum::NodeSet;
use crate::command::{Command, CommandId, NodeId, Outcome};
use crate::kv::Replicated;

pub mod ballot;
pub mod caspaxos;
pub mod election;
pub mod epaxos;
pub mod multicoordinated;
pub mod paxos;
pub mod quorum;
mod show;

/// A reading of the driver's clock: nanoseconds since a moment that the driver chose. Clocks of
/// two replicas have nothing in common.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(pub u64);

impl Time {
    /// The time `d` later.
    #[must_use]
    pub fn after(self, d: Duration) -> Time {
        Time(self.0.saturating_add(d.as_nanos() as u64))
    }

    /// How long after `earlier` this is; zero if it is before.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A write to the log, numbered by the core from 1 upwards. Writes become durable in order, so one
/// number says it for all below it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct WriteId(pub u64);

/// Commands that travel, are stored and are executed together. Cheap to clone.
pub type Batch = Arc<[Command]>;

/// What a core is told about its cluster.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Cluster {
    /// How many replicas there are, with those that may yet join.
    pub size: u8,
    /// How many of them, the last ones, are no members at first: identities under which a new replica may
    /// join.
    pub spares: u8,
}

impl Cluster {
    /// A cluster whose members stay the same.
    pub fn of(size: u8) -> Cluster {
        Cluster { size, spares: 0 }
    }

    /// How many members it has, at any time.
    pub fn members(self) -> usize {
        usize::from(self.size - self.spares)
    }

    /// All replicas.
    pub fn nodes(self) -> impl Iterator<Item = NodeId> {
        (0..self.size).map(NodeId)
    }

    /// All replicas but `me`.
    pub fn others(self, me: NodeId) -> impl Iterator<Item = NodeId> {
        self.nodes().filter(move |node| *node != me)
    }
}

/// Who the members of a cluster are whose members an operator chooses while it runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Membership {
    /// How many changes there have been; one under way counts.
    pub epoch: u64,
    /// The members; while a change is under way, those to be.
    pub members: NodeSet,
    /// The members before, while a change is under way.
    pub before: Option<NodeSet>,
    /// The members that an operator has asked this replica for, as long as it pursues that.
    pub wanted: Option<NodeSet>,
}

/// What a driver must know of a message beside its bytes.
pub trait Message: Clone + Debug {
    /// The message's name in the paper, for counters and transcripts.
    fn kind(&self) -> &'static str;

    /// Messages of one lane arrive in the order sent, as long as the connection lasts; messages of
    /// different lanes do not wait for each other. The driver takes it modulo its number of lanes.
    fn lane(&self) -> u64;

    /// Whether the replicated state comes with it, as [`Effect::SendState`] sends it.
    fn brings_state(&self) -> bool;
}

/// One protocol core.
pub trait Protocol: Sized {
    /// What the experiment file may choose.
    type Options;
    /// What replicas send each other.
    type Message: Message;
    /// What a core may be woken for. Arming a timer again replaces it.
    type Timer: Copy + Eq + Debug;
    /// What must survive a crash.
    type Record: Clone + Debug;

    /// Those of the counters that say how things stand, not how often something happened: sums of
    /// them over replicas or runs mean nothing.
    const GAUGES: &'static [&'static str];

    /// Whether a replica that takes no more requests goes on with those that it took, and refuses others one by one
    /// ([`Outcome::Refused`]). Else its clients leave at once, and ask another replica for the same again.
    const FINISHES_REQUESTS: bool = false;

    /// The state at start, from what was durable: nothing at the first start.
    fn recover(
        me: NodeId,
        cluster: Cluster,
        options: Self::Options,
        log: impl Iterator<Item = Self::Record>,
    ) -> Self;

    /// Takes one input and appends what follows from it to `out`.
    fn step(&mut self, now: Time, input: Input<Self>, out: &mut Effects<Self>);

    /// Whether it takes clients' requests. Else they had better ask another replica: this one has not joined
    /// yet, or has been replaced.
    fn takes_requests(&self) -> bool {
        true
    }

    /// Who the members are, as far as is known here. None if no operator can choose them.
    fn membership(&self) -> Option<Membership> {
        None
    }

    /// The replicated state, if the core holds it itself; else its driver does.
    fn replicated(&self) -> Option<&dyn Replicated> {
        None
    }

    /// A few numbers about what the core did, by name, for the counters of a run.
    fn counters(&self) -> Vec<(&'static str, u64)>;
}

/// What can happen to a core.
#[derive(Debug)]
pub enum Input<P: Protocol> {
    /// The replica is up. The first input.
    Started,
    /// A message arrived.
    Message {
        /// Its sender, as the transport authenticated it.
        from: NodeId,
        /// What it says.
        message: P::Message,
    },
    /// Clients of this replica ask for these commands.
    Requests(Vec<Command>),
    /// An operator wants these replicas, and no others, to be the members. Only where a protocol can change
    /// its members while it runs.
    Members(NodeSet),
    /// An armed timer ran out.
    Timer(P::Timer),
    /// All writes up to this one are durable.
    Durable(WriteId),
    /// No further input is at hand: the moment to send what was held back to be batched.
    TurnEnded,
}

/// What a core asks of its driver.
#[derive(Clone, Debug)]
pub enum Effect<P: Protocol> {
    /// Append a record to the log.
    Persist {
        /// Its number.
        id: WriteId,
        /// What to append.
        record: P::Record,
    },
    /// Send a message to some replicas, never to oneself.
    Send {
        /// To whom.
        to: Destination,
        /// What.
        message: P::Message,
        /// Not before this write is durable.
        after: Option<WriteId>,
    },
    /// Wake the core once, after a delay that the driver draws from the range.
    Arm(P::Timer, Range<Duration>),
    /// Do not wake it for this.
    Disarm(P::Timer),
    /// Apply these commands to the replicated state, in order, and answer those whose clients are
    /// connected here.
    Execute(Batch),
    /// A command of a core that holds the replicated state itself has taken effect, or nobody knows whether
    /// it has ([`Outcome::Unknown`]): answer its client, if it is connected here.
    Answer {
        /// Which.
        id: CommandId,
        /// What it returned.
        outcome: Outcome,
    },
    /// These commands will be executed, whatever happens: answer those whose outcome is known without
    /// that ([`crate::command::Operation::outcome_before_execution`]), as far as their clients are
    /// connected here.
    Committed(Batch),
    /// Send the replicated state, as the effects before this one left it, together with `message`.
    SendState {
        /// To whom.
        to: NodeId,
        /// What the receiver's core is told of it.
        message: P::Message,
    },
    /// Replace the replicated state by the one that came with the message of this step. The record
    /// that says so follows; the state must be durable with it.
    InstallState,
    /// There is nothing for this replica to do in its cluster, for this reason: end.
    GiveUp(String),
}

/// Whom a message goes to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Destination {
    /// One replica.
    One(NodeId),
    /// Some replicas; the sender does not count.
    Some(NodeSet),
    /// All replicas but the sender.
    Others,
}

impl Destination {
    /// Whether a message of `from` goes to `node`.
    pub fn includes(self, from: NodeId, node: NodeId) -> bool {
        match self {
            Destination::One(to) => to == node,
            Destination::Some(set) => node != from && set.contains(node),
            Destination::Others => node != from,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::One(node) => write!(f, "{node}"),
            Destination::Some(set) => {
                for (position, node) in set.iter().enumerate() {
                    write!(f, "{}{node}", if position == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Destination::Others => f.write_str("all others"),
        }
    }
}

/// The effects of one or more steps, in order: a buffer that drivers reuse.
#[derive(Clone, Debug)]
pub struct Effects<P: Protocol> {
    queue: Vec<Effect<P>>,
    last_write: WriteId,
}

impl<P: Protocol> Default for Effects<P> {
    fn default() -> Self {
        Effects { queue: Vec::new(), last_write: WriteId(0) }
    }
}

impl<P: Protocol> Effects<P> {
    /// Takes all effects, in order.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Effect<P>> {
        self.queue.drain(..)
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Appends a record to the log and returns the number that makes it an edge.
    pub fn persist(&mut self, record: P::Record) -> WriteId {
        self.last_write.0 += 1;
        self.queue.push(Effect::Persist { id: self.last_write, record });
        self.last_write
    }

    /// Sends to one replica at once.
    pub fn send(&mut self, to: NodeId, message: P::Message) {
        self.queue.push(Effect::Send { to: Destination::One(to), message, after: None });
    }

    /// Sends to one replica once `after` is durable.
    pub fn send_after(&mut self, to: NodeId, message: P::Message, after: WriteId) {
        let to = Destination::One(to);
        self.queue.push(Effect::Send { to, message, after: Some(after) });
    }

    /// Sends to some replicas once `after` is durable.
    pub fn send_to(&mut self, to: NodeSet, message: P::Message, after: WriteId) {
        if !to.is_empty() {
            let to = Destination::Some(to);
            self.queue.push(Effect::Send { to, message, after: Some(after) });
        }
    }

    /// The last write so far: an edge that covers all of them.
    pub fn last_write(&self) -> WriteId {
        self.last_write
    }

    /// Sends to all other replicas once all writes so far are durable.
    pub fn broadcast_after_writes(&mut self, message: P::Message) {
        let after = Some(self.last_write);
        self.queue.push(Effect::Send { to: Destination::Others, message, after });
    }

    /// Sends to all other replicas at once.
    pub fn broadcast(&mut self, message: P::Message) {
        self.queue.push(Effect::Send { to: Destination::Others, message, after: None });
    }

    /// Any other effect.
    pub fn push(&mut self, effect: Effect<P>) {
        self.queue.push(effect);
    }
}
