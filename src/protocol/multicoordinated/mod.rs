//! Generalized and Multicoordinated Paxos over command histories.

pub mod message;
pub mod names;
pub mod options;
pub mod round;
pub mod structs;
