//! The messages of `paxos` as bytes.
