//! `paxbench` measures the Paxos family of consensus protocols over real networks.

pub mod command;
pub mod kv;
pub mod protocol;
pub mod wire;
