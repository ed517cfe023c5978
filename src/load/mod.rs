//! The load generator: arrival schedules, workloads, clients, recording.
//!
//! The clients are a pure state machine ([`client::Clients`]): time is an argument, randomness
//! comes from the seed, commands and records go to an [`output::Output`]. [`run::SiteRunner`]
//! drives it over QUIC; the simulator drives the same clients in virtual time.
//!
//! | file | its one job |
//! | --- | --- |
//! | `plan` | what a load generator is told to do |
//! | `seed` | streams of random numbers from one seed |
//! | `arrival` | when operations start |
//! | `workload` | which operations, on which keys, with which values |
//! | `session` | one client's outstanding commands |
//! | `client` | all clients of a site: windows, retries, failover, timeouts |
//! | `output` | what the clients put out |
//! | `recorder` | latencies, intervals, the timeline |
//! | `report` | what a site hands to the driver |
//! | `history` | the clients' events, for the checker |
//! | `links` | connections to the replicas |
//! | `run` | the clients over the network and the wall clock |

pub mod arrival;
pub mod client;
pub mod history;
mod links;
pub mod output;
pub mod plan;
pub mod recorder;
pub mod report;
pub mod run;
pub mod seed;
pub mod serve;
pub mod session;
pub mod workload;

pub use links::Target;
