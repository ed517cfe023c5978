//! Egalitarian Paxos. Under construction: the types of its messages so far.

pub mod deps;
mod display;
pub mod message;
pub mod options;
mod plausible;
