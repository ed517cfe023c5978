//! `replicas/*.json`: what each replica counted in the measured phase.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::file_name_part;

/// The counters of one replica.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct ReplicaCounters {
    /// The replica's name.
    pub node: String,
    /// What it sent, by message type.
    pub sent: BTreeMap<String, Traffic>,
    /// What it received, by message type.
    pub received: BTreeMap<String, Traffic>,
    /// Frames it sent: several messages to one peer in one write.
    pub frames_sent: u64,
    /// Frames it received.
    pub frames_received: u64,
    /// Turns of its loop.
    pub turns: u64,
    /// Batches of commands it proposed.
    pub batches: u64,
    /// Forced writes.
    pub syncs: u64,
    /// Commands it learned to be decided.
    pub decisions: u64,
    /// Commands it executed; of a core that holds the replicated state itself, what that has in it.
    pub executed: u64,
    /// CPU time in user mode, in seconds; like the four below none where there is no process to
    /// measure (the simulator) or nothing to measure it with.
    pub cpu_user_s: Option<f64>,
    /// CPU time in the kernel, in seconds.
    pub cpu_system_s: Option<f64>,
    /// Resident memory when the measured phase began, in bytes.
    pub rss_bytes_start: Option<u64>,
    /// Resident memory when the measured phase ended, in bytes.
    pub rss_bytes_end: Option<u64>,
    /// The largest resident memory of the process, in bytes.
    pub rss_bytes_max: Option<u64>,
    /// Commands that had taken effect on its state after the run; none if it was gone by then.
    #[serde(default)]
    pub final_applied: Option<u64>,
    /// The digest of its state after the run, in hexadecimal.
    #[serde(default)]
    pub final_digest: Option<String>,
    /// What the core counts: fast and slow decisions, collisions, recoveries, …
    #[serde(default)]
    pub core: BTreeMap<String, u64>,
}

/// Messages of one type.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Traffic {
    /// How many.
    pub messages: u64,
    /// Their encoded size, without framing and encryption.
    pub bytes: u64,
}

/// The name of a replica's file: `MODE-POINT-REPEAT-NODE.json`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaFileName {
    /// As [`super::RunSummary::label`].
    pub label: String,
    /// As [`super::RunSummary::point_index`].
    pub point_index: usize,
    /// Which repeat, from 0.
    pub repeat: usize,
    /// The replica's name.
    pub node: String,
}

impl fmt::Display for ReplicaFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (label, node) = (file_name_part(&self.label, &[]), file_name_part(&self.node, &['-']));
        write!(f, "{label}-{}-{}-{node}.json", self.point_index, self.repeat)
    }
}

/// The name of a history's file: `LABEL-POINT-REPEAT-SITE.jsonl.zst`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryFileName {
    /// As [`super::RunSummary::label`].
    pub label: String,
    /// As [`super::RunSummary::point_index`].
    pub point_index: usize,
    /// Which repeat, from 0.
    pub repeat: usize,
    /// The site.
    pub site: String,
}

impl HistoryFileName {
    /// The name without its ending.
    pub fn stem(&self) -> String {
        let (label, site) = (file_name_part(&self.label, &[]), file_name_part(&self.site, &['-']));
        format!("{label}-{}-{}-{site}", self.point_index, self.repeat)
    }
}

impl fmt::Display for HistoryFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.jsonl.zst", self.stem())
    }
}
