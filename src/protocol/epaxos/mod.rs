//! Egalitarian Paxos. Under construction: the types of its messages so far.

pub mod deps;
pub mod message;
pub mod options;
