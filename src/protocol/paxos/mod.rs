//! Leader-based Paxos, deconstructed.

use serde::{Deserialize, Serialize};

/// What the experiment file may choose for `paxos`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PaxosOptions {
    /// When the leader may write without reading first.
    pub variant: Variant,
    /// The replica that leads as long as it is up, by its place in the cluster file.
    pub leader: u8,
    /// Consensus instances that may run at once; 1 is the paper's *consecutive*.
    pub pipeline: usize,
    /// Commands in one instance at most.
    pub batch: usize,
    /// A replica says that it is alive this often, in ms.
    pub heartbeat_ms: u64,
    /// A replica that is silent for this long is suspected, in ms, until it proves the suspicion wrong.
    pub election_timeout_ms: u64,
    /// What is unanswered for this long is sent again, in ms.
    pub retransmit_ms: u64,
    /// Decided instances kept for replicas that lag, at most.
    pub log_instances_max: usize,
}

/// When the leader may write to the register of an instance without reading it first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// Never: a read and a write round for each instance (Figure 6).
    Regular,
    /// When the write of the instance before it returned the permission (§6.4, Figures 20 to 22):
    /// one round trip, consecutive instances.
    Fall,
    /// After one read for all instances from some point on: one round trip, any number of instances
    /// at once.
    #[default]
    Multi,
}

impl Default for PaxosOptions {
    fn default() -> Self {
        PaxosOptions {
            variant: Variant::Multi,
            leader: 0,
            pipeline: 256,
            batch: 4096,
            heartbeat_ms: 100,
            election_timeout_ms: 1000,
            retransmit_ms: 1000,
            log_instances_max: 65_536,
        }
    }
}
