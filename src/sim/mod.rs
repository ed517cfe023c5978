//! Clusters in one process and in virtual time.

pub mod exhaustive;
