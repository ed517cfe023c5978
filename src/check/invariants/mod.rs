//! What must hold after every step, whatever the schedule: safety, as functions that only look.
//!
//! Each invariant is one function, named as its paper names the property and citing where. Some are
//! the same for every protocol ([`executions`]); the others are a protocol's own, and see every
//! record that a process writes and every message that leaves it ([`Invariants`]). The simulator
//! and the exhaustive models call them; a violation ends the run.
//!
//! | file | whose |
//! | --- | --- |
//! | `executions.rs` | every protocol: what replicas execute, and what clients are told |
//! | `answers.rs` | protocols whose processes execute nothing: what clients are told |
//! | `caspaxos.rs` | `caspaxos`: ballots, acceptors, ancestors |
//! | `epaxos.rs` | `epaxos`: instances, votes, dependencies |
//! | `multicoordinated.rs` | `multicoordinated`: ballot arrays, safe values |
//! | `paxos.rs` | `paxos`: registers, consensus, total order broadcast |

use std::fmt;

use crate::command::NodeId;
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Batch, Cluster, Protocol};

pub mod answers;
pub mod caspaxos;
pub mod epaxos;
pub mod executions;
pub mod multicoordinated;
pub mod paxos;

/// An invariant that does not hold.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Violation {
    /// Which one: the name of its function, in words.
    pub invariant: &'static str,
    /// What contradicts it.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// Whether all is well.
pub type Held = Result<(), Violation>;

/// Says that an invariant is violated unless `holds`.
pub(crate) fn hold(holds: bool, invariant: &'static str, what: impl FnOnce() -> String) -> Held {
    if holds { Ok(()) } else { Err(Violation { invariant, what: what() }) }
}

/// The invariants of one protocol, with what they remember of a run. They never change what they
/// watch.
pub trait Invariants<P: Protocol>: Clone {
    /// Nothing has happened yet.
    fn new(cluster: Cluster) -> Self;

    /// A process appends a record to its log.
    fn on_record(&mut self, node: NodeId, record: &P::Record) -> Held;

    /// A record that was appended is durable.
    fn on_durable(&mut self, node: NodeId, record: &P::Record) -> Held;

    /// A process crashed; `left` is its whole log, as it will find it.
    fn on_crash<'a>(&mut self, node: NodeId, left: impl Iterator<Item = &'a P::Record>) -> Held
    where
        P::Record: 'a;

    /// A message leaves a process whose log has `durable` durable records.
    fn on_sent(&mut self, node: NodeId, message: &P::Message, durable: usize) -> Held;

    /// A process executes a batch; `position` counts those that its state holds already.
    fn on_executed(&mut self, node: NodeId, position: u64, batch: &Batch) -> Held;

    /// A process has taken a step.
    fn on_step(&mut self, node: NodeId, core: &P) -> Held;

    /// Whether a process is one of those that must come to know everything. Others join, or leave.
    fn is_member(&self, _node: NodeId) -> bool {
        true
    }

    /// Whether all can go on if the disks of these processes are gone. `settled` are those that are up, with
    /// all that they have written durable. Asked only where processes may join.
    fn tolerates<'a>(&self, _gone: NodeSet, _settled: impl Iterator<Item = (NodeId, &'a P)>) -> bool
    where
        P: 'a,
    {
        true
    }

    /// What a process still owes once all messages arrive and nobody crashes any more; none if
    /// nothing. Every process comes to that in the end.
    fn owes(&self, node: NodeId, core: &P) -> Option<String>;

    /// The run is over and everything mended: whether a process that is up has what it must.
    fn at_the_end(&self, _node: NodeId, _core: &P) -> Held {
        Ok(())
    }
}
