//! What the file demands of the results, and the exit code that a run's end means.

use std::time::Duration;

use super::file::Thresholds;
use crate::cli::ExitCode;
use crate::results::{Linearizable, SiteSummary, Summary};

/// Every threshold that a run missed, in a line each.
pub fn missed(thresholds: &Thresholds, summary: &Summary) -> Vec<String> {
    let mut lines = Vec::new();
    for run in &summary.runs {
        let name = run.name();
        for site in &run.sites {
            let Some(latency) = site.latency_ms else { continue };
            let limits = [
                ("p50", thresholds.p50, latency.p50),
                ("p99", thresholds.p99, latency.p99),
                ("p99.9", thresholds.p99_9, latency.p99_9),
            ];
            for (which, limit, measured_ms) in limits {
                let over = limit.map(ms).filter(|limit_ms| measured_ms > *limit_ms);
                lines.extend(over.map(|limit_ms| {
                    let (at, op) = (&site.site, &site.op);
                    format!(
                        "{name}: {which} of {op} at {at} is {measured_ms:.1} ms, over {limit_ms} ms"
                    )
                }));
            }
        }
        let whole = run.sites.iter().filter(|site| site.op == SiteSummary::ALL);
        let errors: u64 = whole.map(|site| site.errors).sum();
        let over = thresholds.errors.filter(|limit| errors > *limit);
        lines.extend(over.map(|limit| format!("{name}: {errors} errors, over {limit}")));
    }
    lines
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The exit code of a finished experiment. A history that was to be checked and is not known to be
/// linearizable is no success, nor are replicas of which nobody knows whether they agree.
pub fn exit_code(summary: &Summary, thresholds_missed: bool) -> ExitCode {
    let any = |test: &dyn Fn(&crate::results::Verdict) -> bool| {
        summary.runs.iter().any(|run| test(&run.verdict))
    };
    if any(&|verdict| verdict.is_violation()) {
        ExitCode::Violation
    } else if any(&|verdict| verdict.void.is_some()) {
        ExitCode::Void
    } else if any(&|verdict| {
        verdict.linearizable == Linearizable::Unknown || verdict.converged.is_none()
    }) {
        ExitCode::CouldNotRun
    } else if thresholds_missed {
        ExitCode::ThresholdMissed
    } else {
        ExitCode::Done
    }
}
