//! A run's directory: the types of every file in it, their writers and their readers.
//!
//! A run writes into `NAME/TIMESTAMP.partial`; the directory takes its final name when everything is
//! in it ([`RunDirectory::finish`]). Each file is written beside its place and renamed, so a reader
//! sees a whole file or none. [`Results::read`] refuses whatever is not finished.
//!
//! | file | type |
//! | --- | --- |
//! | `manifest.json` | [`Manifest`] |
//! | `experiment.yaml` | text |
//! | `summary.json`, `summary.csv` | [`Summary`], [`SummaryRow`] |
//! | `histograms/MODE-POINT-REPEAT-SITE-OP.hlog` | [`IntervalLog`], named by [`HistogramName`] |
//! | `timeline.csv` | [`TimelineRow`] |
//! | `replicas/MODE-POINT-REPEAT-NODE.json` | [`ReplicaCounters`], named by [`ReplicaFileName`] |

mod counters;
mod directory;
mod environment;
mod histograms;
mod manifest;
mod summary;
mod timeline;
mod unavailability;

use std::path::{Path, PathBuf};

pub use counters::{HistoryFileName, ReplicaCounters, ReplicaFileName, Traffic};
pub(crate) use directory::write_atomically;
pub use directory::{Results, RunDirectory};
pub use environment::{CpuFacts, DiskFacts, Environment};
pub use histograms::{HistogramName, IntervalLog, LatencyHistogram, Unit, new_histogram};
pub use manifest::{Backend, LinkRtt, Manifest, RttMs, ShaperLateness};
pub use summary::{
    Cost, FaultMark, LatencyMs, Linearizable, Point, RunSummary, SiteSummary, Summary, SummaryRow,
    Verdict, point_words, run_name,
};
pub use timeline::TimelineRow;
pub use unavailability::{SiteSilence, Unavailability};

/// A file of a run's directory that could not be written or read: one line that says which and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct ResultsError {
    /// The file or directory.
    pub path: PathBuf,
    why: String,
}

impl ResultsError {
    /// An error about `path`; `why` is one line.
    #[expect(clippy::needless_pass_by_value, reason = "errors are handed over, not kept")]
    pub fn new(path: &Path, why: impl ToString) -> ResultsError {
        ResultsError { path: path.to_owned(), why: why.to_string().replace('\n', "; ") }
    }
}

/// Shorthand of this room.
pub type Result<T> = std::result::Result<T, ResultsError>;

/// `name` as a part of a file's name: what is neither a letter, a digit, a dot nor in `also`
/// becomes `_`, and so does a leading dot.
pub(crate) fn file_name_part(name: &str, also: &[char]) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_' || also.contains(&c);
    let part: String = name.chars().map(|c| if keep(c) { c } else { '_' }).collect();
    match part.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => part,
    }
}
