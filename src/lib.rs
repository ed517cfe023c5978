//! `paxbench` measures the Paxos family of consensus protocols over real networks.

pub mod check;
pub mod cli;
pub mod cluster;
pub mod command;
pub mod experiment;
pub mod kv;
pub mod load;
pub mod net;
pub mod protocol;
pub mod replica;
pub mod report;
pub mod usage;
pub mod wire;
pub mod worker;
