//! Whether a run's numbers may be believed: linearizability, convergence, and what voids it.

use std::path::{Path, PathBuf};

use super::setting::{Outcome, RoundTrips};
use crate::check::history::{Completion, History, OperationRecord, read_history};
use crate::check::{self, Limits};
use crate::experiment::file::{Check, Experiment};
use crate::load::report::HistogramCounts;
use crate::load::workload::Kind;
use crate::results::{
    HistoryFileName, Linearizable, Results, ResultsError, RunSummary, SiteSummary,
};

/// A load generator that handles its schedule later than this, at the 99.9th percentile, did not
/// offer the load that the file says.
pub const SCHEDULE_LAG_P99_9_MS_MAX: f64 = 10.0;
/// The shaper's lateness beyond which the network was not what the file says, at the median and at
/// the 99th percentile of the parcels of one process.
pub const SHAPER_LATENESS_P50_US_MAX: u64 = 500;
/// See [`SHAPER_LATENESS_P50_US_MAX`].
pub const SHAPER_LATENESS_P99_US_MAX: u64 = 5_000;
/// How far a measured median round trip may be from what was asked for: a share of it, and in ms.
pub const RTT_SHARE_MAX: f64 = 0.02;
/// See [`RTT_SHARE_MAX`].
pub const RTT_EXCESS_MS_MAX: f64 = 1.5;

/// What the checker said of a history, and why, if it is not valid.
#[derive(Clone, PartialEq, Debug)]
pub struct Checked {
    /// The verdict.
    pub linearizable: Linearizable,
    /// What is wrong, or why it is not known.
    pub why: Option<String>,
}

/// How many commands an operation of this name is.
pub(super) fn commands_of(op: &str) -> u32 {
    Kind::named(op).map_or(1, Kind::commands)
}

/// Checks the history in `files`, which belong to one run. `counts` says how many commands each
/// site has seen answered, at least: a history that lacks some proves nothing.
pub fn check_files(files: &[PathBuf], counts: &[(String, u64)], limits: &Check) -> Checked {
    let unknown = |why| Checked { linearizable: Linearizable::Unknown, why: Some(why) };
    let history = match read_history(files) {
        Ok(history) => history,
        Err(error) => return unknown(error.to_string()),
    };
    if let Some(why) = lacking(&history, counts) {
        return unknown(why);
    }
    let limits =
        Limits { memory_bytes: limits.memory_bytes, time: limits.timeout, ..Limits::default() };
    match check::check(&history, &limits) {
        check::Verdict::Valid => Checked { linearizable: Linearizable::Valid, why: None },
        check::Verdict::Invalid(violation) => {
            Checked { linearizable: Linearizable::Invalid, why: Some(violation.to_string()) }
        }
        check::Verdict::Unknown(why) => {
            Checked { linearizable: Linearizable::Unknown, why: Some(why) }
        }
    }
}

/// What the history lacks of what was counted, if anything.
fn lacking(history: &History, counts: &[(String, u64)]) -> Option<String> {
    counts.iter().find_map(|(site, count)| {
        let index = history.sites.iter().position(|name| **name == **site);
        let answered = |operation: &&OperationRecord| {
            Some(usize::from(operation.site)) == index
                && matches!(operation.completion, Completion::Ok(_))
        };
        let found = history.operations.iter().filter(answered).count() as u64;
        (found < *count).then(|| {
            format!(
                "the history of {site} has {found} answered operations, but {count} were counted: \
                 its file is not whole"
            )
        })
    })
}

/// The history's files of a run in a finished directory.
pub fn history_files(directory: &Path, run: &RunSummary) -> Vec<PathBuf> {
    let file = |site: &str| HistoryFileName {
        label: run.label.clone(),
        point_index: run.point_index,
        repeat: run.repeat,
        site: site.to_owned(),
    };
    let names = run.site_names().into_iter().map(|site| file(site).to_string());
    names.map(|name| directory.join("history").join(name)).collect()
}

/// Checks a run of a finished directory again.
pub fn check_again(results: &Results, run: &RunSummary, limits: &Check) -> Checked {
    if run.verdict.linearizable == Linearizable::Unchecked {
        let why = "no history was recorded; set check.history: true".to_owned();
        return Checked { linearizable: Linearizable::Unchecked, why: Some(why) };
    }
    let counted = |name: &str| {
        let rows = run.sites.iter().filter(|row| row.site == name && row.op != SiteSummary::ALL);
        rows.map(|row| row.count * u64::from(commands_of(&row.op))).sum()
    };
    let names = run.site_names().into_iter();
    let counts: Vec<_> = names.map(|name| (name.to_owned(), counted(name))).collect();
    check_files(&history_files(&results.path, run), &counts, limits)
}

/// Whether the replicas that were there after a run had the same state; none if that is not known.
pub fn converged_again(results: &Results, run: &RunSummary) -> Result<Option<bool>, ResultsError> {
    let states = results.final_states(run)?;
    let known = states.iter().flatten().collect::<Vec<_>>();
    Ok(known.split_first().map(|(first, rest)| rest.iter().all(|state| state == first)))
}

/// The 99.9th percentile of how late all load generators handled their schedule, in ms; none in a
/// closed loop, which has no schedule.
pub(super) fn schedule_lag_p99_9_ms(outcome: &Outcome) -> Option<f64> {
    let mut all = crate::results::new_histogram();
    for report in &outcome.reports {
        report.schedule_lag_ms?;
        HistogramCounts::add_to(&report.schedule_lag, &mut all);
    }
    Some(all.value_at_quantile(0.999) as f64 / 1e6)
}

/// Why the run is void, if it is.
pub(super) fn void(experiment: &Experiment, outcome: &Outcome) -> Option<String> {
    late_schedule(outcome)
        .or_else(|| stopped(outcome))
        .or_else(|| late_shaper(outcome))
        .or_else(|| wrong_network(experiment, &outcome.before))
}

fn late_schedule(outcome: &Outcome) -> Option<String> {
    let lag_ms = schedule_lag_p99_9_ms(outcome).filter(|lag| *lag > SCHEDULE_LAG_P99_9_MS_MAX)?;
    Some(format!(
        "the load generators handled their schedule {lag_ms:.1} ms late (p99.9; \
         {SCHEDULE_LAG_P99_9_MS_MAX} ms are allowed): lower the rate or use a faster machine"
    ))
}

fn stopped(outcome: &Outcome) -> Option<String> {
    let report = outcome.reports.iter().find(|report| report.stopped)?;
    Some(format!("the load generator of {} was stopped before its end", report.site))
}

fn late_shaper(outcome: &Outcome) -> Option<String> {
    outcome.shapers.iter().find_map(|(process, shaper)| {
        let late = shaper.p50_us > SHAPER_LATENESS_P50_US_MAX
            || shaper.p99_us > SHAPER_LATENESS_P99_US_MAX;
        let lost = shaper.dropped_memory + shaper.dropped_socket;
        if late {
            return Some(format!(
                "the shaper of {process} sent {} µs late at the median, {} µs at p99: the machine is \
                 too busy to imitate this network; lower the rate",
                shaper.p50_us, shaper.p99_us
            ));
        }
        (lost > 0).then(|| {
            format!("the shaper of {process} lost {lost} datagrams that it should have sent")
        })
    })
}

fn wrong_network(experiment: &Experiment, measured: &[RoundTrips]) -> Option<String> {
    experiment.shaping_plan(0)?;
    let matrix = experiment.network.rtt.as_ref()?;
    measured.iter().find_map(|trips| {
        let asked_ms = matrix.between(&trips.from, &trips.to)?;
        let median_ms = median(&trips.ms)?;
        let allowed_ms = asked_ms * RTT_SHARE_MAX + RTT_EXCESS_MS_MAX;
        ((median_ms - asked_ms).abs() > allowed_ms).then(|| {
            format!(
                "the round trip from {} to {} is {median_ms:.1} ms instead of {asked_ms:.1} ms",
                trips.from, trips.to
            )
        })
    })
}

/// The median of some numbers.
pub(super) fn median(numbers: &[f64]) -> Option<f64> {
    quantile(numbers, 0.5)
}

/// The least number that a share `q` of them does not exceed.
pub(super) fn quantile(numbers: &[f64], q: f64) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_measured() {
        let numbers = [5.0, 1.0, 3.0, 2.0];
        assert_eq!(median(&numbers), Some(2.0));
        assert_eq!(quantile(&numbers, 0.99), Some(5.0));
        assert_eq!(quantile(&numbers, 0.0), Some(1.0));
        assert_eq!(median(&[]), None);
    }
}
