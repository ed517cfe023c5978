//! The WAN shaper: not made yet, so that nobody can have one.

/// What delays a process's datagrams.
#[derive(Debug)]
pub enum Shaper {}
