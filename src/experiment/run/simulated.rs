//! One run in virtual time.

use super::RunError;
use super::setting::{Outcome, Setting};

/// Plays the replicas and clients of one run in virtual time.
pub(super) fn conduct(setting: &Setting<'_>) -> Result<Outcome, RunError> {
    let run = setting.run_name();
    Err(RunError::Worker(format!("{run}: this version has no simulator; use --backend quic")))
}
