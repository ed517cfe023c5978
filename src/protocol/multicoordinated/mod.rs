//! Generalized and Multicoordinated Paxos over command histories.

mod display;
pub mod message;
pub mod names;
pub mod options;
mod plausible;
pub mod round;
