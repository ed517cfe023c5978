//! `summary.json` and `summary.csv`: what each run measured, what it cost, and its verdict.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    HistogramName, LatencyHistogram, Result, ResultsError, Unavailability, Unit, file_name_part,
};

/// The version of the format, in `schema`.
const SCHEMA: u32 = 1;

/// `summary.json`: one entry per mode, sweep point and repeat.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// The version of the format: 1.
    pub schema: u32,
    /// The runs, in the order in which they were made.
    pub runs: Vec<RunSummary>,
}

/// One run: one mode at one sweep point, once.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RunSummary {
    /// The protocol's mode: `paxos`, `epaxos`, `multicoordinated` or `caspaxos`.
    pub mode: String,
    /// What figures and tables call this mode with its options; unique among the file's modes.
    pub label: String,
    /// The mode's options.
    #[serde(default)]
    pub options: serde_json::Value,
    /// What the sweep set, by path; empty without a sweep.
    #[serde(default)]
    pub point: serde_json::Value,
    /// Which sweep point this is, from 0; 0 without a sweep. Files are named by it.
    #[serde(default)]
    pub point_index: usize,
    /// Which repeat this is, from 0.
    pub repeat: usize,
    /// One entry per site and operation, and one per site with the operation `all`.
    pub sites: Vec<SiteSummary>,
    /// Completed operations a second at all sites together, in the measured phase.
    pub throughput_per_s: f64,
    /// What an operation cost.
    pub cost: Cost,
    /// What was done to the replicas meanwhile, in the order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultMark>,
    /// What clients saw of it: one entry a fault; empty in runs of versions that did not look.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unavailability: Vec<Unavailability>,
    /// Whether the numbers may be believed.
    pub verdict: Verdict,
}

/// Something that was done to a replica, or to all, during a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FaultMark {
    /// When, in ms since the measured phase began.
    pub t_ms: i64,
    /// What, as figures call it.
    pub what: String,
    /// Which replica a fault befell then; none where one ended, or where it befalls the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<String>,
    /// Whether a fault began then, and not ended.
    #[serde(default)]
    pub begins: bool,
}

/// One operation at one site.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SiteSummary {
    /// The site.
    pub site: String,
    /// `put`, `get`, …; or `all`, from the merged histograms of them.
    pub op: String,
    /// Completed operations.
    pub count: u64,
    /// Operations that failed or were not answered in time.
    pub errors: u64,
    /// The least latency that the run's RTT matrix and the mode's quorums allow here, in ms; none
    /// where it is not known or, for `all`, where the operations differ.
    pub bound_ms: Option<f64>,
    /// None when nothing completed.
    pub latency_ms: Option<LatencyMs>,
}

impl SiteSummary {
    /// The name of the entry that holds all operations of a site.
    pub const ALL: &'static str = "all";

    /// The summary of what `histogram` recorded, in `unit`.
    pub fn of(
        site: &str,
        op: &str,
        histogram: &LatencyHistogram,
        unit: Unit,
        errors: u64,
        bound_ms: Option<f64>,
    ) -> SiteSummary {
        SiteSummary {
            site: site.to_owned(),
            op: op.to_owned(),
            count: histogram.len(),
            errors,
            bound_ms,
            latency_ms: LatencyMs::of(histogram, unit),
        }
    }
}

/// Latencies in ms.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct LatencyMs {
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The 99.9th percentile.
    pub p99_9: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// The largest, to the histogram's precision.
    pub max: f64,
}

impl LatencyMs {
    /// The percentiles of a histogram whose values are in `unit`; none if it is empty.
    pub fn of(histogram: &LatencyHistogram, unit: Unit) -> Option<LatencyMs> {
        if histogram.is_empty() {
            return None;
        }
        // to the nanosecond: more digits say nothing, and fewer come back exactly from JSON
        let ms = |value: f64| (unit.to_ms(value) * 1e6).round() / 1e6;
        let at = |quantile: f64| ms(histogram.value_at_quantile(quantile) as f64);
        Some(LatencyMs {
            p50: at(0.50),
            p90: at(0.90),
            p99: at(0.99),
            p99_9: at(0.999),
            mean: ms(histogram.mean()),
            max: ms(histogram.max() as f64),
        })
    }
}

/// What a completed operation cost, over all processes of the run.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// CPU time of replicas and load generators, in µs; none where there is no CPU to measure (the
    /// simulator).
    pub cpu_us_per_op: Option<f64>,
    /// CPU time of the replicas alone, in µs.
    #[serde(default)]
    pub cpu_replicas_us_per_op: Option<f64>,
    /// CPU time of the load generators alone, in µs.
    #[serde(default)]
    pub cpu_clients_us_per_op: Option<f64>,
    /// Messages that replicas sent to each other.
    pub messages_per_op: f64,
    /// Bytes that replicas sent to each other.
    pub bytes_per_op: f64,
    /// Forced writes.
    pub syncs_per_op: f64,
}

/// Whether a run's numbers may be believed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// What the checker said of the history.
    pub linearizable: Linearizable,
    /// Whether all replicas ended in the same state; none if that was not looked at.
    pub converged: Option<bool>,
    /// How late operations started against their schedule: the 99.9th percentile, in ms. None for
    /// closed loops, which have no schedule.
    pub schedule_lag_p99_9_ms: Option<f64>,
    /// Why the run is void, if it is: the load generator or the network was not what the file says.
    #[serde(default)]
    pub void: Option<String>,
}

/// What the checker said of a history.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Linearizable {
    /// It is linearizable.
    Valid,
    /// It is not.
    Invalid,
    /// The checker gave up.
    Unknown,
    /// No history was recorded or checked.
    Unchecked,
}

impl Linearizable {
    /// The word that stands in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Linearizable::Valid => "valid",
            Linearizable::Invalid => "invalid",
            Linearizable::Unknown => "unknown",
            Linearizable::Unchecked => "unchecked",
        }
    }
}

impl Verdict {
    /// Everything that speaks against the run, one phrase each; empty if nothing does.
    pub fn objections(&self) -> Vec<String> {
        let mut found = Vec::new();
        match self.linearizable {
            Linearizable::Valid => {}
            Linearizable::Invalid => found.push("NOT LINEARIZABLE".to_owned()),
            Linearizable::Unknown => found.push("linearizability unknown".to_owned()),
            Linearizable::Unchecked => found.push("linearizability unchecked".to_owned()),
        }
        match self.converged {
            Some(true) => {}
            Some(false) => found.push("REPLICAS DIFFER".to_owned()),
            None => found.push("convergence unchecked".to_owned()),
        }
        found.extend(self.void.iter().map(|why| format!("VOID: {why}")));
        found
    }

    /// Whether a violation of consistency was found.
    pub fn is_violation(&self) -> bool {
        self.linearizable == Linearizable::Invalid || self.converged == Some(false)
    }
}

impl RunSummary {
    /// What files and the manifest call the run: `MODE-POINT-REPEAT`.
    pub fn file_stem(&self) -> String {
        let label = file_name_part(&self.label, &[]);
        format!("{label}-{}-{}", self.point_index, self.repeat)
    }

    /// What people call the run: the mode, what the sweep set, which repeat.
    pub fn name(&self) -> String {
        run_name(&self.label, &self.point_words(), self.repeat)
    }

    /// What the sweep set: each path and its value in words, in the order of the paths' names.
    pub fn point_values(&self) -> Point {
        let words = |value: &serde_json::Value| match value {
            serde_json::Value::String(s) => s.clone(),
            other => other.to_string(),
        };
        let point = self.point.as_object().into_iter().flatten();
        point.map(|(path, value)| (path.clone(), words(value))).collect()
    }

    /// The name of the log of one of its entries.
    pub fn histogram_name(&self, site: &SiteSummary) -> HistogramName {
        HistogramName {
            label: self.label.clone(),
            point_index: self.point_index,
            repeat: self.repeat,
            site: site.site.clone(),
            op: site.op.clone(),
        }
    }

    /// The entry of a site that holds all its operations.
    pub fn all_of(&self, site: &str) -> Option<&SiteSummary> {
        self.sites.iter().find(|s| s.site == site && s.op == SiteSummary::ALL)
    }

    /// The sites, in the order in which they first appear.
    pub fn site_names(&self) -> Vec<&str> {
        in_order(self.sites.iter().map(|s| s.site.as_str()))
    }

    /// The sweep point in words, such as `workload.arrival.open = 100/s`; empty without a sweep.
    pub fn point_words(&self) -> String {
        point_words(&self.point_values())
    }
}

/// What a sweep sets at a point: values in words, by key path.
pub type Point = BTreeMap<String, String>;

/// The point in words, such as `workload.arrival.open = 100/s`; empty without a sweep.
pub fn point_words(point: &Point) -> String {
    let parts: Vec<_> = point.iter().map(|(path, value)| format!("{path} = {value}")).collect();
    parts.join(", ")
}

/// What people call a run; `repeat` counts from 0.
pub fn run_name(label: &str, point: &str, repeat: usize) -> String {
    let point = if point.is_empty() { String::new() } else { format!(", {point}") };
    format!("{label}{point}, repeat {}", repeat + 1)
}

impl Summary {
    /// A summary of these runs, in the present version of the format.
    pub fn new(runs: Vec<RunSummary>) -> Summary {
        Summary { schema: SCHEMA, runs }
    }

    /// Reads `summary.json`; refuses another schema and a summary without runs.
    pub fn read(path: &Path) -> Result<Summary> {
        let summary: Summary = super::directory::read_json(path)?;
        if summary.schema != SCHEMA {
            let why = format!("schema {} is not known; this version reads 1", summary.schema);
            return Err(ResultsError::new(path, why));
        }
        if summary.runs.is_empty() {
            return Err(ResultsError::new(path, "there is no run in it"));
        }
        Ok(summary)
    }

    /// All labels, in the order in which they first appear.
    pub fn labels(&self) -> Vec<&str> {
        in_order(self.runs.iter().map(|r| r.label.as_str()))
    }

    /// All sites, in the order in which they first appear.
    pub fn site_names(&self) -> Vec<&str> {
        in_order(self.runs.iter().flat_map(|r| r.sites.iter().map(|s| s.site.as_str())))
    }

    /// The rows of `summary.csv`: one per run, site and operation.
    pub fn rows(&self) -> Vec<SummaryRow> {
        let rows = |run: &RunSummary| -> Vec<SummaryRow> {
            run.sites.iter().map(|site| SummaryRow::of(run, site)).collect()
        };
        self.runs.iter().flat_map(rows).collect()
    }
}

/// The items without repetitions, in the order in which they first appear.
fn in_order<'a>(items: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found = Vec::new();
    for item in items {
        if !found.contains(&item) {
            found.push(item);
        }
    }
    found
}

/// A row of `summary.csv`. What belongs to the run is repeated in each of its rows.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the types above, by the same names")]
pub struct SummaryRow {
    pub mode: String,
    pub label: String,
    /// As JSON.
    pub options: String,
    /// As JSON.
    pub point: String,
    pub point_index: usize,
    pub repeat: usize,
    pub site: String,
    pub op: String,
    pub count: u64,
    pub errors: u64,
    pub bound_ms: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p90_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub p99_9_ms: Option<f64>,
    pub mean_ms: Option<f64>,
    pub max_ms: Option<f64>,
    pub throughput_per_s: f64,
    pub cpu_us_per_op: Option<f64>,
    pub cpu_replicas_us_per_op: Option<f64>,
    pub cpu_clients_us_per_op: Option<f64>,
    pub messages_per_op: f64,
    pub bytes_per_op: f64,
    pub syncs_per_op: f64,
    pub linearizable: Linearizable,
    pub converged: Option<bool>,
    pub schedule_lag_p99_9_ms: Option<f64>,
    pub void: Option<String>,
}

impl SummaryRow {
    fn of(run: &RunSummary, site: &SiteSummary) -> SummaryRow {
        let latency = site.latency_ms;
        SummaryRow {
            mode: run.mode.clone(),
            label: run.label.clone(),
            options: run.options.to_string(),
            point: run.point.to_string(),
            point_index: run.point_index,
            repeat: run.repeat,
            site: site.site.clone(),
            op: site.op.clone(),
            count: site.count,
            errors: site.errors,
            bound_ms: site.bound_ms,
            p50_ms: latency.map(|l| l.p50),
            p90_ms: latency.map(|l| l.p90),
            p99_ms: latency.map(|l| l.p99),
            p99_9_ms: latency.map(|l| l.p99_9),
            mean_ms: latency.map(|l| l.mean),
            max_ms: latency.map(|l| l.max),
            throughput_per_s: run.throughput_per_s,
            cpu_us_per_op: run.cost.cpu_us_per_op,
            cpu_replicas_us_per_op: run.cost.cpu_replicas_us_per_op,
            cpu_clients_us_per_op: run.cost.cpu_clients_us_per_op,
            messages_per_op: run.cost.messages_per_op,
            bytes_per_op: run.cost.bytes_per_op,
            syncs_per_op: run.cost.syncs_per_op,
            linearizable: run.verdict.linearizable,
            converged: run.verdict.converged,
            schedule_lag_p99_9_ms: run.verdict.schedule_lag_p99_9_ms,
            void: run.verdict.void.clone(),
        }
    }

    /// Reads `summary.csv`.
    pub fn read(path: &Path) -> Result<Vec<SummaryRow>> {
        super::directory::read_csv(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mean is any quotient; the nearest double to its shortest decimal must be found again.
    #[test]
    fn numbers_read_back_from_json_to_the_last_bit() {
        for divisor in 1..20_000_u32 {
            let mean = 1e3 / f64::from(divisor) + 0.1 * f64::from(divisor);
            let latency =
                LatencyMs { p50: mean, p90: mean, p99: mean, p99_9: mean, mean, max: mean };
            let json = serde_json::to_string(&latency).unwrap();
            assert_eq!(serde_json::from_str::<LatencyMs>(&json).unwrap(), latency);
        }
    }
}
