//! Every interleaving of a small configuration.
//!
//! # The problem
//!
//! A protocol that is wrong is wrong in a schedule that nobody thought of. Random schedules find many
//! such faults; that there are none they cannot show, not even for three processes and two commands.
//!
//! # The idea
//!
//! Small configurations have finitely many states, so visit all of them. The processes are the cores
//! themselves ([`Protocol`]), driven as [`crate::replica`] drives them; nothing is specified a second
//! time. In each state everything that may happen next is tried, and after each step everything in
//! [`crate::check::invariants`] must hold. States are visited breadth-first, so what is found is found
//! on a shortest path.
//!
//! # What is modelled
//!
//! | of | what may happen |
//! | --- | --- |
//! | network | a message on its way is delivered at any time, or never: loss, delay and reordering are the same as to go on without it. Twice, where the configuration grants a repetition |
//! | disk | a write is durable at once, or at any time later where the configuration says that the disk is slow; every prefix of the log on its own |
//! | crash | at any time, as often as granted. What is not durable is lost, the process recovers from what is left, and so do the clients' connections |
//! | clients | each command is asked for once, at its process, at any time |
//! | time | stands still, but for the nudges of the configuration: time passes at one process, and it is given timers that run out, and messages that come late. That is how a process comes to suspect another |
//! | messages | go through the codec, and so share no memory with what the sender keeps |
//! | links | all work, but for those that the configuration cuts, and messages that it loses, to make the model smaller |
//!
//! # What is not
//!
//! - *More of everything:* more processes, commands, crashes and timeouts than the configuration has.
//!   What goes wrong in a consensus protocol tends to go wrong with three processes, two commands and
//!   two leaders; larger clusters are for the random simulator.
//! - *Heartbeats* and such ([`Modelled::is_left_out`]): what only says that time passes.
//! - *Several inputs in one turn:* each input is followed by [`Input::TurnEnded`].
//! - *Liveness*, but for one thing: where nothing was lost and nothing more can happen, all that was
//!   asked has taken effect everywhere, or was answered by a core that holds the state itself
//!   ([`Configuration::completes`]).
//!
//! # Why it is fast enough
//!
//! A process' step depends on its own state and its input alone. So each step of each process is taken
//! once and remembered (`explore.rs`); a state of the cluster is a few numbers, and to go from one to
//! the next is to look things up. Five reductions, which lose nothing:
//!
//! - A step that changes nothing at its process and says nothing is not taken. It could only lead to
//!   the state without the message, and whatever can happen there can happen here.
//! - A message that its receiver will ignore whatever happens is taken off the network
//!   ([`Modelled::ignores_for_ever`], which says why, and which is held to it where it can be seen).
//! - What a process counts ([`Protocol::counters`]) does not tell states apart, as no step looks at it.
//! - Nor does what is durable in the log of a process that the configuration never lets crash: nothing
//!   else reads it.
//! - Nor do the numbers of writes, where a core and its invariants look at nothing but their order
//!   ([`Modelled::NUMBERS_WRITES`]).
//!
//! *Bounded:* by the number of states ([`Limits`]). To reach that bound is [`Verdict::Unfinished`],
//! which is not a success.
//!
//! | file | does |
//! | --- | --- |
//! | `node.rs` | one process and its driver |
//! | `judge.rs` | the invariants, told what was seen |
//! | `explore.rs` | the states of the cluster, breadth-first |
//! | `fingerprint.rs` | 128-bit fingerprints |
//! | `paxos.rs`, `epaxos.rs`, `caspaxos.rs`, `multicoordinated.rs` | the configurations of each protocol |
//! | `report.rs` | the table of `paxbench model` |

use std::fmt::Display;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::check::invariants::{Invariants, Violation};
use crate::command::{ClientId, Command, CommandId, Key, NodeId, Operation, Value};
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Cluster, Protocol};
use crate::wire::Wire;

mod caspaxos;
mod epaxos;
mod explore;
mod fingerprint;
mod judge;
mod multicoordinated;
mod node;
mod paxos;
pub mod report;
#[cfg(test)]
mod tests;

pub use self::explore::exhaust;

#[cfg(doc)]
use crate::protocol::Input;

/// A protocol with small configurations to exhaust.
pub trait Modelled:
    Protocol<Options: Clone, Message: Wire + Eq + Hash + Display, Timer: Ord + Hash, Record: Hash>
    + Clone
    + Hash
{
    /// Whether the numbers of writes tell states apart. They do not where a core and its invariants look at
    /// nothing but the order of writes.
    const NUMBERS_WRITES: bool = true;

    /// What must hold after every step.
    type Invariants: Invariants<Self> + Hash;

    /// The configurations, by name.
    fn configurations() -> Vec<Configuration<Self>>;

    /// Whether messages of this kind are never delivered, because the configurations say by nudges
    /// what they would say.
    fn is_left_out(message: &Self::Message) -> bool;

    /// Feeds what a core's behaviour depends on beside what `Hash` sees: which of its values are one
    /// in memory.
    fn hash_sharing(&self, state: &mut impl Hasher);

    /// Whether this process ignores a message, now and whatever comes, unless it crashes. It may say no
    /// where that is true.
    fn ignores_for_ever(&self, from: NodeId, message: &Self::Message) -> bool;
}

/// A cluster's processes and what they are told.
pub struct Setup<P: Protocol> {
    /// How many processes there are.
    pub cluster: Cluster,
    /// What each is told.
    pub options: P::Options,
    /// Links, from one process to another, on which every message is lost once the start is over. That
    /// makes a model smaller, and says nothing of what would have happened otherwise.
    pub cut: Vec<(NodeId, NodeId)>,
    /// Messages, from one process to another, that are lost in the same way, for the same reason.
    pub lost: fn(NodeId, NodeId, &P::Message) -> bool,
    /// Processes whose writes become durable at any time after they were made. With the others they
    /// are durable at once: a late write only makes what waits for it late, which the network does
    /// too, and a crash worse.
    pub slow_disks: Vec<NodeId>,
}

/// A cluster and all that may happen to it.
pub struct Configuration<P: Protocol> {
    /// Its name.
    pub name: String,
    /// What it is about, in a line.
    pub about: &'static str,
    /// The cluster.
    pub setup: Setup<P>,
    /// Whether all messages of the start are delivered, in order, before anything else happens.
    pub settled: bool,
    /// What happens before anything is explored, in this order; all messages of the one are delivered before the
    /// next. Needs `settled`.
    pub before: Vec<(NodeId, Given<P>)>,
    /// What clients ask for, each once, and where.
    pub asks: Vec<(NodeId, Command)>,
    /// Times that pass.
    pub nudges: Vec<Nudge<P>>,
    /// Crashes: each process as often as it is named.
    pub crashes: Vec<NodeId>,
    /// How many messages may be delivered and stay on their way.
    pub repetitions: u8,
    /// Whether all that was asked must have taken effect at every process once nothing more can
    /// happen. It must where no timer is needed for that, as nothing is lost before the end.
    pub completes: bool,
}

/// Time passes at one process, and something comes of it, all at once.
#[derive(Clone, Debug)]
pub struct Nudge<P: Protocol> {
    /// What it is, in a few words.
    pub name: &'static str,
    /// The process.
    pub node: NodeId,
    /// How much time passes there.
    pub after: Duration,
    /// What is given to it then. It happens only while all timers in it are armed.
    pub inputs: Vec<Given<P>>,
    /// How often it happens at most.
    pub times: u8,
}

/// An input of a nudge.
#[derive(Clone, Debug)]
pub enum Given<P: Protocol> {
    /// A message arrives that was sent long ago, as every execution of the configuration sends it.
    Message {
        /// Its sender.
        from: NodeId,
        /// What it says.
        message: P::Message,
    },
    /// An armed timer runs out.
    Timer(P::Timer),
    /// A client of the process asks.
    Asked(Command),
    /// An operator wants these members.
    Members(NodeSet),
}

/// What an exploration may cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// States visited at most. One takes about 60 bytes for good, and some thousand more, for what the
    /// invariants remember, until all that follows from it is known.
    pub states_max: usize,
}

/// What an exploration found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// States visited.
    pub states: usize,
    /// Steps from one state to another, or to the same again.
    pub transitions: u64,
    /// Steps on the shortest path to the state that takes most.
    pub depth: usize,
    /// How it ended.
    pub verdict: Verdict,
}

/// How an exploration ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All states were visited, and all is well in each.
    Exhausted,
    /// There are more states than the limit allows. All is well in those visited.
    Unfinished,
    /// An invariant does not hold, or a core gave up.
    Violated {
        /// What went wrong.
        violation: Violation,
        /// A shortest way there, a line a step.
        path: Vec<String>,
    },
}

/// What [`Setup::lost`] is where all messages of all links may arrive.
fn none<M>(_: NodeId, _: NodeId, _: &M) -> bool {
    false
}

/// The register that all commands are about.
const KEY: Key = Key(0);

/// A client's only command: a change. Any two interfere.
fn command(client: u64) -> Command {
    let value = Value::from_slice(&client.to_le_bytes());
    command_to(client, Operation::Rmw { key: KEY, value })
}

/// A client's only command.
fn command_to(client: u64, operation: Operation) -> Command {
    let id = CommandId { client: ClientId(client), sequence: 0 };
    Command { id, answered_below: 0, operation }
}
