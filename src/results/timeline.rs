//! `timeline.csv`: what happened when.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Result;

/// A row of `timeline.csv`: one site of one run in one tenth of a second.
///
/// Rows in which nothing happened may be left out: readers take them as zero completions between a
/// run's first and last row.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TimelineRow {
    /// When the tenth began, in ms since the measured phase began; negative in the warm-up.
    pub t_ms: i64,
    /// The protocol's mode.
    pub mode: String,
    /// As [`super::RunSummary::label`].
    pub label: String,
    /// As [`super::RunSummary::point_index`].
    pub point_index: usize,
    /// Which repeat, from 0.
    pub repeat: usize,
    /// The site.
    pub site: String,
    /// Operations that completed in it.
    pub completed: u64,
    /// Operations that failed or ran out of time in it.
    pub failed: u64,
    /// The median latency of those that completed, in ms; none if none did.
    pub p50_ms: Option<f64>,
    /// Their 99th percentile, in ms.
    pub p99_ms: Option<f64>,
    /// The largest, in ms.
    pub max_ms: Option<f64>,
}

impl TimelineRow {
    /// How much time a row covers, in ms.
    pub const STEP_MS: i64 = 100;

    /// Reads `timeline.csv`.
    pub fn read(path: &Path) -> Result<Vec<TimelineRow>> {
        super::directory::read_csv(path)
    }
}
