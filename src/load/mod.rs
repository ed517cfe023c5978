//! The load generator: arrival schedules, workloads, clients, recording.

pub mod plan;
