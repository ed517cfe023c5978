//! What a site hands to the driver: everything that its summary, histogram logs and timeline need,
//! in one JSON document.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::client::ClientCounters;
use super::output::End;
use super::recorder::Record;
use crate::results::{IntervalLog, LatencyHistogram, LatencyMs, Unit, new_histogram};

/// What one load generator measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SiteReport {
    /// The site.
    pub site: String,
    /// The length of the measured phase, in seconds.
    pub measure_s: f64,
    /// Operations that completed during the measured phase, whenever they were scheduled.
    pub completed_in_window: u64,
    /// The same, a second.
    pub throughput_per_s: f64,
    /// One entry per operation that occurred in the measured phase.
    pub operations: Vec<OperationReport>,
    /// How late the generator handled what was scheduled in the measured phase. The run is void if
    /// this is large. None in a closed loop.
    pub schedule_lag_ms: Option<LatencyMs>,
    /// The same, in ns, to be merged.
    pub schedule_lag: HistogramCounts,
    /// Completions in tenths of a second, warm-up and drain included.
    pub timeline: Vec<TimelineBucket>,
    /// Completed operations that were scheduled in the warm-up.
    pub warmup_completed: u64,
    /// Errors among operations that were scheduled in the warm-up.
    pub warmup_errors: u64,
    /// What the clients did beside their operations, in the whole run.
    pub clients: ClientCounters,
    /// Connections made after the first one to each replica, in the whole run.
    pub reconnects: u64,
    /// Commands that the transport dropped because a replica did not take them, in the whole run.
    pub dropped: u64,
    /// What the process used in the measured phase; none where it cannot be measured.
    pub resources: Option<Resources>,
    /// Whether the run was stopped before its end; what is here is then partial.
    pub stopped: bool,
}

impl SiteReport {
    /// The report of a record; what only the run knows is left empty.
    pub fn of(site: &str, measure: Duration, record: Record, clients: ClientCounters) -> Self {
        let measure_s = measure.as_secs_f64();
        SiteReport {
            site: site.to_owned(),
            measure_s,
            completed_in_window: record.completed_in_window,
            throughput_per_s: if measure_s > 0.0 {
                record.completed_in_window as f64 / measure_s
            } else {
                0.0
            },
            operations: record.operations,
            schedule_lag_ms: record.schedule_lag_ms,
            schedule_lag: record.schedule_lag,
            timeline: record.timeline,
            warmup_completed: record.warmup_completed,
            warmup_errors: record.warmup_errors,
            clients,
            reconnects: 0,
            dropped: 0,
            resources: None,
            stopped: false,
        }
    }
}

/// One operation in the measured phase.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OperationReport {
    /// `put`, `get`, …
    pub op: String,
    /// How many were answered in time.
    pub count: u64,
    /// Those that were not.
    pub errors: ErrorCounts,
    /// Answers, warm-up included, with bytes that no client wrote.
    pub corrupt: u64,
    /// Response time, from the schedule; none if nothing completed.
    pub latency_ms: Option<LatencyMs>,
    /// Service time, from the first sending.
    pub service_ms: Option<LatencyMs>,
    /// Response times in ns, to be merged.
    pub latency: HistogramCounts,
    /// Service times in ns, to be merged.
    pub service: HistogramCounts,
    /// Response times by the second in which the operations completed; seconds without any are left
    /// out. Together they are `latency`.
    pub intervals: Vec<IntervalCounts>,
}

impl OperationReport {
    /// The log of this operation; `began` is when the measured phase began.
    pub fn interval_log(&self, began: SystemTime) -> IntervalLog {
        let mut log = IntervalLog::new(Unit::Nanoseconds, began);
        for interval in &self.intervals {
            let start = Duration::from_nanos(interval.start_ns);
            let length = Duration::from_nanos(interval.length_ns);
            log.push(start, length, interval.counts.histogram());
        }
        log
    }
}

/// Operations that were not answered in time.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct ErrorCounts {
    /// Sent, with an unknown outcome: most were not answered in time.
    pub unknown: u64,
    /// Never sent: the client's window was full, or no replica was connected.
    pub unsent: u64,
}

impl ErrorCounts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.unknown + self.unsent
    }

    pub(crate) fn count(&mut self, end: &End<'_>) {
        match end {
            End::Answered { .. } => {}
            End::Unknown { .. } => self.unknown += 1,
            End::Unsent => self.unsent += 1,
        }
    }
}

/// A histogram as its recorded values and how often each occurs: small, exact to the histogram's
/// own precision, and mergeable by recording it into another.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct HistogramCounts(pub Vec<(u64, u64)>);

impl HistogramCounts {
    /// The counts of a histogram.
    pub fn of(histogram: &LatencyHistogram) -> Self {
        let recorded = histogram.iter_recorded();
        HistogramCounts(recorded.map(|v| (v.value_iterated_to(), v.count_at_value())).collect())
    }

    /// Adds the counts to a histogram that resizes.
    pub fn add_to(&self, histogram: &mut LatencyHistogram) {
        for (value, count) in &self.0 {
            histogram.record_n(*value, *count).expect("a histogram that resizes takes any value");
        }
    }

    /// A histogram with these counts.
    pub fn histogram(&self) -> LatencyHistogram {
        let mut histogram = new_histogram();
        self.add_to(&mut histogram);
        histogram
    }
}

/// What completed in one interval.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IntervalCounts {
    /// When it began, in ns since the measured phase began.
    pub start_ns: u64,
    /// Its length, in ns.
    pub length_ns: u64,
    /// The latencies of what completed in it, in ns.
    pub counts: HistogramCounts,
}

/// A tenth of a second.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct TimelineBucket {
    /// When it began, in ms since the measured phase began; negative in the warm-up.
    pub t_ms: i64,
    /// Operations that completed in it.
    pub completed: u64,
    /// Operations that became errors in it.
    pub failed: u64,
    /// The median latency of those that completed, in ms; none if none did.
    pub p50_ms: Option<f64>,
    /// Their 99th percentile, in ms.
    pub p99_ms: Option<f64>,
    /// The largest, in ms.
    pub max_ms: Option<f64>,
}

/// What a process used.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct Resources {
    /// CPU time in user mode, in seconds.
    pub cpu_user_s: f64,
    /// CPU time in the kernel, in seconds.
    pub cpu_system_s: f64,
    /// Resident memory at the end of the measured phase, in bytes.
    pub rss_bytes: u64,
}
