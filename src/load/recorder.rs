//! Records latencies, per operation: histograms a second, the timeline in tenths of a second, the
//! schedule's lag.
//!
//! An operation belongs to the warm-up or to the measured phase by its *scheduled* time. Intervals
//! and the timeline say what *completed* in them, so a stall shows as a gap and then as long
//! latencies. Latency is *response time*, from the schedule; *service time*, from the first sending,
//! is kept beside it.

use super::output::{Answer, Continued, End, Ended, Seen};
use super::report::{
    ErrorCounts, HistogramCounts, IntervalCounts, OperationReport, TimelineBucket,
};
use super::workload::{KINDS, Kind};
use crate::results::{LatencyHistogram, LatencyMs, Unit, new_histogram};

/// The length of a bucket of the timeline, in ns.
pub const BUCKET_NS: u64 = 100_000_000;

/// The length of an interval of the histogram logs, in ns.
pub const INTERVAL_NS: u64 = 1_000_000_000;

/// The run's phases, in ns on the run's clock. Operations are scheduled from `start_ns` to
/// `end_ns`; those from `measure_ns` on are measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Phases {
    /// The warm-up begins.
    pub start_ns: u64,
    /// The measured phase begins.
    pub measure_ns: u64,
    /// No operation is scheduled from here on.
    pub end_ns: u64,
}

impl Phases {
    fn measures(&self, scheduled_ns: u64) -> bool {
        (self.measure_ns..self.end_ns).contains(&scheduled_ns)
    }
}

/// Takes what ended and makes a report of it.
#[derive(Debug)]
pub struct Recorder {
    phases: Phases,
    operations: [OperationRecord; KINDS],
    lag: LatencyHistogram,
    timeline: Timeline,
    interval: u64,
    warmup_completed: u64,
    warmup_errors: u64,
    completed_in_window: u64,
}

#[derive(Debug)]
struct OperationRecord {
    kind: Kind,
    latency: LatencyHistogram,
    current: LatencyHistogram,
    service: LatencyHistogram,
    intervals: Vec<IntervalCounts>,
    errors: ErrorCounts,
    corrupt: u64,
}

impl Recorder {
    /// An empty record of a run with these phases.
    pub fn new(phases: Phases) -> Self {
        Recorder {
            phases,
            operations: Kind::ALL.map(OperationRecord::new),
            lag: new_histogram(),
            timeline: Timeline::new(phases.start_ns),
            interval: 0,
            warmup_completed: 0,
            warmup_errors: 0,
            completed_in_window: 0,
        }
    }

    /// The run's phases.
    pub fn phases(&self) -> Phases {
        self.phases
    }

    /// The generator handled at `now_ns` what was scheduled for `scheduled_ns`. What waits after
    /// that for a full window or a lost connection is the service's delay, not the generator's.
    pub fn handled(&mut self, now_ns: u64, scheduled_ns: u64) {
        if self.phases.measures(scheduled_ns) {
            record(&mut self.lag, now_ns.saturating_sub(scheduled_ns));
        }
    }

    /// An operation ended.
    pub fn ended(&mut self, ended: &Ended<'_>) {
        self.advance(ended.now_ns);
        let latency_ns = ended.now_ns.saturating_sub(ended.scheduled_ns);
        let measured = self.phases.measures(ended.scheduled_ns);
        let operation = &mut self.operations[ended.kind as usize];
        match &ended.end {
            End::Answered { sent_ns, answer, .. } => {
                self.timeline.completed(latency_ns);
                let window = self.phases.measure_ns..self.phases.end_ns;
                self.completed_in_window += u64::from(window.contains(&ended.now_ns));
                self.warmup_completed += u64::from(!measured);
                operation.corrupt += u64::from(is_corrupt(answer));
                if measured {
                    record(&mut operation.current, latency_ns);
                    record(&mut operation.service, ended.now_ns.saturating_sub(*sent_ns));
                }
            }
            End::Unknown { .. } | End::Unsent => {
                self.timeline.failed();
                self.warmup_errors += u64::from(!measured);
                if measured {
                    operation.errors.count(&ended.end);
                }
            }
        }
    }

    /// The first part of an operation was answered: it is counted with the second, but what it was
    /// answered is not forgotten.
    pub fn continued(&mut self, continued: &Continued<'_>) {
        let operation = &mut self.operations[continued.kind as usize];
        operation.corrupt += u64::from(is_corrupt(&continued.answer));
    }

    /// Closes the intervals and buckets that are over at `now_ns`.
    fn advance(&mut self, now_ns: u64) {
        self.timeline.advance(now_ns);
        let interval = now_ns.saturating_sub(self.phases.measure_ns) / INTERVAL_NS;
        if interval > self.interval {
            let start_ns = self.interval * INTERVAL_NS;
            for operation in &mut self.operations {
                operation.close_interval(start_ns);
            }
            self.interval = interval;
        }
    }

    /// Operations that ended so far: completed in the measured phase or in the warm-up, and errors.
    pub fn counts(&self) -> (u64, u64) {
        let measured = |o: &OperationRecord| o.latency.len() + o.current.len();
        let completed: u64 = self.operations.iter().map(measured).sum();
        let errors: u64 = self.operations.iter().map(|o| o.errors.total()).sum();
        (completed + self.warmup_completed, errors + self.warmup_errors)
    }

    /// What was recorded.
    pub fn finish(mut self) -> Record {
        let start_ns = self.interval * INTERVAL_NS;
        for operation in &mut self.operations {
            operation.close_interval(start_ns);
        }
        let before_ns = self.phases.measure_ns - self.phases.start_ns;
        Record {
            operations: self.operations.into_iter().filter_map(OperationRecord::report).collect(),
            schedule_lag_ms: LatencyMs::of(&self.lag, Unit::Nanoseconds),
            schedule_lag: HistogramCounts::of(&self.lag),
            timeline: self.timeline.finish(before_ns),
            warmup_completed: self.warmup_completed,
            warmup_errors: self.warmup_errors,
            completed_in_window: self.completed_in_window,
        }
    }
}

/// Everything that a [`Recorder`] has to say.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    /// One entry per operation that occurred in the measured phase.
    pub operations: Vec<OperationReport>,
    /// How late the generator was; none if nothing was scheduled.
    pub schedule_lag_ms: Option<LatencyMs>,
    /// The same, to be merged.
    pub schedule_lag: HistogramCounts,
    /// Completions in tenths of a second.
    pub timeline: Vec<TimelineBucket>,
    /// Completed operations that were scheduled in the warm-up.
    pub warmup_completed: u64,
    /// Errors among operations that were scheduled in the warm-up.
    pub warmup_errors: u64,
    /// Operations that completed during the measured phase, whenever they were scheduled.
    pub completed_in_window: u64,
}

fn is_corrupt(answer: &Answer<'_>) -> bool {
    matches!(answer, Answer::Found(Seen::Corrupt(_)) | Answer::Full(Seen::Corrupt(_)))
}

/// Histograms grow as needed, so any value fits.
fn record(histogram: &mut LatencyHistogram, value_ns: u64) {
    histogram.record(value_ns).expect("a histogram that resizes takes any value");
}

impl OperationRecord {
    fn new(kind: Kind) -> Self {
        OperationRecord {
            kind,
            latency: new_histogram(),
            current: new_histogram(),
            service: new_histogram(),
            intervals: Vec::new(),
            errors: ErrorCounts::default(),
            corrupt: 0,
        }
    }

    /// Keeps the interval in a small form: a histogram of every second of an hour would be large.
    fn close_interval(&mut self, start_ns: u64) {
        if self.current.is_empty() {
            return;
        }
        let counts = HistogramCounts::of(&self.current);
        self.intervals.push(IntervalCounts { start_ns, length_ns: INTERVAL_NS, counts });
        self.latency.add(&self.current).expect("a histogram that resizes takes any value");
        self.current.reset();
    }

    fn report(self) -> Option<OperationReport> {
        let nothing = self.latency.is_empty() && self.errors.total() == 0 && self.corrupt == 0;
        (!nothing).then(|| OperationReport {
            op: self.kind.name().to_owned(),
            count: self.latency.len(),
            errors: self.errors,
            corrupt: self.corrupt,
            latency_ms: LatencyMs::of(&self.latency, Unit::Nanoseconds),
            service_ms: LatencyMs::of(&self.service, Unit::Nanoseconds),
            latency: HistogramCounts::of(&self.latency),
            service: HistogramCounts::of(&self.service),
            intervals: self.intervals,
        })
    }
}

/// Completions in tenths of a second from the start of the warm-up to the last end, without gaps.
#[derive(Debug)]
struct Timeline {
    start_ns: u64,
    buckets: Vec<TimelineBucket>,
    current: LatencyHistogram,
    failed: u64,
}

impl Timeline {
    fn new(start_ns: u64) -> Self {
        Timeline { start_ns, buckets: Vec::new(), current: new_histogram(), failed: 0 }
    }

    fn completed(&mut self, latency_ns: u64) {
        record(&mut self.current, latency_ns);
    }

    fn failed(&mut self) {
        self.failed += 1;
    }

    fn advance(&mut self, now_ns: u64) {
        let bucket = now_ns.saturating_sub(self.start_ns) / BUCKET_NS;
        while (self.buckets.len() as u64) < bucket {
            self.close();
        }
    }

    fn close(&mut self) {
        let latency = LatencyMs::of(&self.current, Unit::Nanoseconds);
        self.buckets.push(TimelineBucket {
            t_ms: (self.buckets.len() as u64 * (BUCKET_NS / 1_000_000)) as i64,
            completed: self.current.len(),
            failed: std::mem::take(&mut self.failed),
            p50_ms: latency.map(|l| l.p50),
            p99_ms: latency.map(|l| l.p99),
            max_ms: latency.map(|l| l.max),
        });
        if !self.current.is_empty() {
            self.current.reset();
        }
    }

    /// The buckets, by their time since the measured phase began.
    fn finish(mut self, before_measure_ns: u64) -> Vec<TimelineBucket> {
        self.close();
        for bucket in &mut self.buckets {
            bucket.t_ms -= (before_measure_ns / 1_000_000) as i64;
        }
        self.buckets
    }
}
