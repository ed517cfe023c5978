//! The same cores in virtual time.
//!
//! *The problem:* the mistakes of a consensus protocol show in schedules that no test bench produces on
//! request. *The idea:* cores, sessions and clients are state machines that know no clock, network or
//! disk, so all of these can be simulated, from one seed, faster than real time, and any run can be had
//! again by its seed.
//!
//! What is real: the protocol core, the key-value store with its sessions, the codec of every message,
//! the clients with their retries, the checker of histories. What is simulated: the network (`network`),
//! the disk under the log (`node`), the clock of each replica (`clock`), and what befalls them
//! ([`faults`]).
//!
//! | file | job |
//! | --- | --- |
//! | `world` | the queue of events; what happens next |
//! | `drive` | one replica's turn: inputs, effects, durability, crashes |
//! | `node`, `site` | one replica; one site's clients |
//! | `network`, `clock`, `trace` | as they say |
//! | `caught` | a panic as a violation |
//! | [`predict`] | one run of an experiment, for its latencies |
//! | [`faults`] | what may befall a run, and how it ends |
//! | [`script`] | a run by hand |
//! | [`scenario`] | what a seed stands for |
//! | [`explore`] | many seeds; what a failure is |
//! | [`console`] | what a person sees of an exploration |
//! | [`hunt`] | whether mutants are seen |
//! | [`exhaustive`] | every interleaving of a small configuration |
//! | [`shrink`] | the part of a scenario that a failure needs |

use std::fmt::{Debug, Display};

use crate::check::invariants::Invariants;
use crate::command::NodeId;
use crate::load::plan::Retries;
use crate::load::seed::ClientRng;
use crate::protocol::Protocol;
use crate::wire::Wire;

mod caspaxos;
mod caught;
mod clock;
pub mod console;
mod drive;
mod epaxos;
pub mod exhaustive;
pub mod explore;
pub mod faults;
pub mod hunt;
mod multicoordinated;
mod network;
mod node;
mod paxos;
pub mod predict;
pub mod scenario;
pub mod script;
pub mod shrink;
mod site;
#[cfg(test)]
mod tests;
mod trace;
mod world;

pub use network::{Manner, NetworkPlan};
pub use node::DiskPlan;
pub use trace::{Digest, Trace};
pub use world::{SiteSetup, World, WorldSetup};

/// What the simulator must know of a protocol beside its core.
pub trait Subject:
    Protocol<Message: Wire + Display, Record: Display, Options: Clone + Debug> + Debug + 'static
{
    /// Its name on the command line.
    const MODE: &'static str;

    /// Sizes of clusters that the explorer draws from, each as often as it stands here.
    const SIZES: [u8; 8];

    /// How many replicas that may yet join the explorer puts beside them, each as often as it stands here.
    const SPARES: &'static [u8] = &[0];

    /// Whether an operator may change the members while it runs.
    const MEMBERS_CHANGE: bool = false;

    /// Whether an operation may touch two keys.
    const TRANSFERS: bool = true;

    /// Where clients may send a command again.
    const RETRIES: Retries = Retries::AnyReplica;

    /// What must hold after every step.
    type Invariants: Invariants<Self>;

    /// Options for a run of the explorer, from all that the experiment file may choose, with
    /// timeouts that suit messages of a few ms.
    fn draw_options(size: u8, rng: &mut ClientRng) -> Self::Options;

    /// The options of a spare that is started in place of another replica. Not asked for without spares.
    fn joining(options: Self::Options, _leaver: NodeId) -> Self::Options {
        options
    }
}
