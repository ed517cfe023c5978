//! `paxbench` measures the Paxos family of consensus protocols over real networks.
//!
//! One idea carries the design: a protocol is a pure state machine, and everything else is a driver of
//! it. This page is the map; each room opens with an essay of its own.
//!
//! ```text
//!   bin/paxbench                      bin/paxbench-replica       bin/paxbench-load
//!        │                                  │                          │
//!   experiment ── report ── operator        │                          │
//!        │           │         └────────────┤                          │
//!        ├───────────┼──── sim ─────────────┤                          │
//!        │           │      │               │                          │
//!        └─ cli      │      ├──── check   replica                      load
//!                    │      │       │       │                          │
//!                    └── results ───┴───────┴─────────── net ──────────┴── wire
//!                                                         │                  │
//!                                                      cluster           protocol
//!                                                                            │
//!                                                                 kv ── command ── mutants
//! ```
//!
//! Arrows run downwards only. `protocol` knows none of its drivers, and `report` reads files only.
//!
//! | room | its one job |
//! | --- | --- |
//! | [`command`] | ids, commands, the interference relation |
//! | [`kv`] | the replicated state machine: a key-value store with client sessions |
//! | [`protocol`] | the contract of a protocol core, and the cores: [`protocol::paxos`], [`protocol::epaxos`], [`protocol::multicoordinated`], [`protocol::caspaxos`] |
//! | [`wire`] | codec and framing of every message |
//! | [`cluster`] | the cluster file: who takes part, and where |
//! | [`net`] | QUIC endpoints, identities (mutual TLS), the WAN shaper |
//! | [`replica`] | drives one core over the network; sessions, counters, the driver's control |
//! | [`load`] | arrival schedules, workloads, clients, recording |
//! | [`check`] | histories and linearizability; invariants |
//! | [`sim`] | drives the same cores in virtual time: one run, many seeds, every interleaving |
//! | [`results`] | the files of a run's directory |
//! | [`experiment`] | the experiment file, the plan, running it on this machine |
//! | [`operator`] | sees and changes the members of a running cluster |
//! | [`report`] | tables, figures, the HTML page |
//! | [`mutants`] | deliberate bugs, planted in the rooms above; none in a normal build |
//! | [`cli`], [`worker`], [`usage`] | command lines; what the workers share; what a process used |

pub mod check;
pub mod cli;
pub mod cluster;
pub mod command;
pub mod experiment;
pub mod kv;
pub mod load;
pub mod mutants;
pub mod net;
pub mod operator;
pub mod protocol;
pub mod replica;
pub mod report;
pub mod results;
pub mod sim;
pub mod usage;
pub mod wire;
pub mod worker;
