//! A made-up run's directory for tests of readers, tables and figures. No number in it was measured.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use paxbench::results::{
    Backend, Cost, HistogramName, IntervalLog, LatencyHistogram, Linearizable, LinkRtt, Manifest,
    ReplicaCounters, ReplicaFileName, RttMs, RunDirectory, RunSummary, ShaperLateness, SiteSummary,
    Summary, TimelineRow, Traffic, Unavailability, Unit, Verdict, new_histogram,
};

/// What to make up.
pub struct Sample {
    pub labels: Vec<&'static str>,
    pub backend: Backend,
    /// The text of `experiment.yaml`.
    pub experiment: &'static str,
    pub sites: Vec<&'static str>,
    pub points: Vec<u32>,
    /// The path that is swept, and the unit of its values.
    pub swept: (&'static str, &'static str),
    /// The point whose runs are void.
    pub void_at: Option<usize>,
    pub repeats: usize,
    pub measure_s: u32,
    pub verdict: Verdict,
    /// Nothing completes at any site from 4 s to 4.8 s, and at the last site until 7 s.
    pub crash: bool,
    /// What each operation takes beyond the bound, in ms.
    pub overhead_ms: f64,
    /// By how much the usual excess over both is multiplied.
    pub slow: f64,
    /// Seconds of load before the measured phase, in the timeline only.
    pub warmup_s: i64,
    /// Failed operations of each site and operation.
    pub errors: u64,
    /// What clients saw of faults, in every run.
    pub unavailability: Vec<Unavailability>,
}

pub fn valid() -> Verdict {
    Verdict {
        linearizable: Linearizable::Valid,
        converged: Some(true),
        schedule_lag_p99_9_ms: Some(0.21),
        void: None,
    }
}

impl Default for Sample {
    fn default() -> Sample {
        Sample {
            labels: vec!["epaxos", "paxos"],
            backend: Backend::Quic,
            experiment: "name: sample\nseed: 7\nmodes: [epaxos, paxos]\n",
            sites: vec!["virginia", "california", "oregon", "tokyo", "ireland"],
            points: vec![200],
            swept: ("workload.arrival.open", "/s"),
            void_at: None,
            repeats: 2,
            measure_s: 10,
            verdict: valid(),
            crash: false,
            overhead_ms: 0.3,
            slow: 1.0,
            warmup_s: 0,
            errors: 0,
            unavailability: Vec::new(),
        }
    }
}

/// A small generator of numbers in 0..1, the same every time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Exponential, of mean 1.
    fn gap(&mut self) -> f64 {
        -(1.0 - self.next()).ln()
    }
}

/// One site of one run: what completed in each tenth of a second, by operation, in µs.
struct SiteRun {
    tenths: Vec<BTreeMap<&'static str, Vec<u64>>>,
    bound_ms: f64,
}

const OPS: [&str; 2] = ["get", "put"];

impl Sample {
    /// Writes the directory under `base` and returns its final path.
    pub fn write(&self, base: &Path) -> PathBuf {
        let directory = RunDirectory::create(base, "sample").unwrap();
        self.fill(&directory);
        directory.finish().unwrap()
    }

    /// Writes everything, without finishing.
    pub fn fill(&self, directory: &RunDirectory) {
        let (mut runs, mut timeline) = (Vec::new(), Vec::new());
        for (label_index, label) in self.labels.iter().enumerate() {
            for (point_index, rate) in self.points.iter().enumerate() {
                for repeat in 0..self.repeats {
                    let mut run = self.run(label, point_index, *rate, repeat);
                    for (site_index, site) in self.sites.iter().enumerate() {
                        let seed = (label_index * 1000 + point_index * 100 + repeat * 10) as u64;
                        let made = self.site_run(label_index, site_index, *rate, seed);
                        write_site(directory, &mut run, site, &made, self.errors);
                        timeline.extend(timeline_of(&run, site, &made, self.warmup_s));
                    }
                    let all = run.sites.iter().filter(|s| s.op == "all").map(|s| s.count);
                    run.throughput_per_s = all.sum::<u64>() as f64 / f64::from(self.measure_s);
                    self.write_replicas(directory, &run);
                    runs.push(run);
                }
            }
        }
        directory.write_summary(&Summary::new(runs)).unwrap();
        directory.write_timeline(&timeline).unwrap();
        directory.write_experiment(self.experiment).unwrap();
        directory.write_manifest(&self.manifest(directory.path())).unwrap();
    }

    fn run(&self, label: &str, point_index: usize, rate: u32, repeat: usize) -> RunSummary {
        let point = match self.points.len() {
            1 => serde_json::json!({}),
            _ => serde_json::json!({ self.swept.0: format!("{rate}{}", self.swept.1) }),
        };
        let void = self.void_at.filter(|at| *at == point_index).map(|_| "late".to_owned());
        let measured = self.backend == Backend::Quic;
        RunSummary {
            faults: Vec::new(),
            unavailability: self.unavailability.clone(),
            mode: label.split(' ').next().unwrap().to_owned(),
            label: label.to_owned(),
            options: serde_json::json!({ "leader": "virginia" }),
            point,
            point_index,
            repeat,
            sites: Vec::new(),
            throughput_per_s: 0.0,
            cost: if rate == 0 { Cost::default() } else { cost(measured) },
            verdict: Verdict { void: self.verdict.void.clone().or(void), ..self.verdict.clone() },
        }
    }

    fn site_run(&self, label: usize, site: usize, rate: u32, seed: u64) -> SiteRun {
        let bounds = [[72.0, 88.0, 72.0, 113.0, 132.0], [72.0, 72.0 + 61.0, 139.0, 219.0, 147.0]];
        let bound_ms = bounds[label % 2][site % 5];
        let mut noise = Noise(seed + site as u64 + 1);
        let tenths = (0..self.measure_s * 10).map(|tenth| {
            let last = site + 1 == self.sites.len();
            let dead = self.crash && tenth >= 40 && (tenth < 48 || last && tenth < 70);
            let mut made: BTreeMap<_, Vec<u64>> = BTreeMap::new();
            for _ in 0..if dead { 0 } else { rate / 10 } {
                let slow_path = if noise.next() < 0.02 { bound_ms * 0.8 } else { 0.0 };
                let ms = bound_ms
                    + self.overhead_ms
                    + slow_path
                    + self.slow * noise.gap() * (0.4 + f64::from(rate) / 500.0);
                let op = OPS[usize::from(noise.next() < 0.5)];
                made.entry(op).or_default().push((ms * 1e3) as u64);
            }
            made
        });
        SiteRun { tenths: tenths.collect(), bound_ms }
    }

    fn write_replicas(&self, directory: &RunDirectory, run: &RunSummary) {
        for node in &self.sites {
            let name = ReplicaFileName {
                label: run.label.clone(),
                point_index: run.point_index,
                repeat: run.repeat,
                node: (*node).to_owned(),
            };
            let leads = !run.mode.starts_with("epaxos") && *node == self.sites[0];
            let mut counters = counters(&run.mode, node, leads);
            if self.points.len() > 1 {
                let more = run.point_index as u64 + 1;
                for name in ["slow", "log_records"] {
                    counters.core.entry(name.to_owned()).and_modify(|count| *count *= more);
                }
            }
            if self.backend == Backend::Sim {
                (counters.cpu_user_s, counters.cpu_system_s) = (None, None);
            }
            directory.write_replica(&name, &counters).unwrap();
        }
    }

    fn manifest(&self, directory: &Path) -> Manifest {
        let mut manifest = Manifest::collect(directory, self.backend);
        manifest.seeds = vec![7];
        manifest.notes = vec!["Made up for a test; nothing was measured.".to_owned()];
        manifest.finished = Some(manifest.started);
        for (i, from) in self.sites.iter().enumerate() {
            for (j, to) in self.sites.iter().enumerate().skip(i + 1) {
                let asked = 40.0 + 17.0 * (i + j) as f64;
                let measured = |more: f64| {
                    (self.backend == Backend::Quic).then_some(RttMs {
                        count: 200,
                        min: asked,
                        p50: asked + more,
                        p99: asked + 3.0 * more,
                    })
                };
                manifest.rtt.push(LinkRtt {
                    run: None,
                    from: (*from).to_owned(),
                    to: (*to).to_owned(),
                    asked_ms: Some(asked),
                    before: measured(0.11),
                    after: measured(0.13),
                });
            }
            if self.backend == Backend::Sim {
                continue;
            }
            manifest.shaper.push(ShaperLateness {
                run: None,
                process: (*from).to_owned(),
                count: 12_345,
                p50_us: 41.0,
                p99_us: 88.5,
                max_us: 410.0,
            });
        }
        manifest
    }
}

fn cost(measured: bool) -> Cost {
    Cost {
        cpu_us_per_op: measured.then_some(61.04),
        cpu_replicas_us_per_op: measured.then_some(43.6),
        cpu_clients_us_per_op: measured.then_some(17.44),
        messages_per_op: 6.1,
        bytes_per_op: 540.0,
        syncs_per_op: 0.0,
    }
}

/// Of one replica of five, during 10,000 operations of 6.1 messages and 43.6 µs each.
pub fn counters(mode: &str, node: &str, leads: bool) -> ReplicaCounters {
    let (sent, received, cpu_s) = match (mode, leads) {
        ("epaxos", _) => (12_200, 12_200, 0.0872),
        (_, true) => (40_000, 21_000, 0.2),
        (_, false) => (5_250, 10_000, 0.059),
    };
    let core: &[(&str, u64)] = match mode {
        "epaxos" => &[("fast", 2300), ("slow", 100), ("recovered", 0), ("log_records", 12_000)],
        "caspaxos" => &[
            ("answered", 2400),
            ("chosen", 2000),
            ("one_round_trip", 2210),
            ("two_round_trips", 40),
            ("clean_reads", 380),
            ("clean_reads_in_vain", 20),
            ("registers", 100),
            ("round_trip_us", 70_000),
            ("unknown", 0),
        ],
        _ => &[("elections", 0), ("instances", 10_900), ("leader", 3), ("log_records", 4800)],
    };
    let accepts = |messages| {
        BTreeMap::from([("accept".to_owned(), Traffic { messages, bytes: 52 * messages })])
    };
    ReplicaCounters {
        node: node.to_owned(),
        sent: accepts(sent),
        received: accepts(received),
        frames_sent: 7,
        executed: 12_000,
        cpu_user_s: Some(0.75 * cpu_s),
        cpu_system_s: Some(0.25 * cpu_s),
        rss_bytes_max: Some(30 << 20),
        core: core.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        ..ReplicaCounters::default()
    }
}

fn histogram_of<'a>(values: impl Iterator<Item = &'a u64>) -> LatencyHistogram {
    let mut histogram = new_histogram();
    for value in values {
        histogram.record(*value).unwrap();
    }
    histogram
}

/// Writes the logs of a site and adds its entries to the run.
fn write_site(
    directory: &RunDirectory,
    run: &mut RunSummary,
    site: &str,
    made: &SiteRun,
    errors: u64,
) {
    let mut all = new_histogram();
    for op in OPS {
        let mut log = IntervalLog::new(Unit::Microseconds, SystemTime::UNIX_EPOCH);
        for (second, tenths) in made.tenths.chunks(10).enumerate() {
            let values = tenths.iter().filter_map(|t| t.get(op)).flatten();
            let start = Duration::from_secs(second as u64);
            log.push(start, IntervalLog::STEP, histogram_of(values));
        }
        let name = HistogramName {
            label: run.label.clone(),
            point_index: run.point_index,
            repeat: run.repeat,
            site: site.to_owned(),
            op: op.to_owned(),
        };
        directory.write_histogram(&name, &log).unwrap();
        let merged = log.merged();
        all.add(&merged).unwrap();
        let entry = SiteSummary::of(site, op, &merged, log.unit, errors, Some(made.bound_ms));
        run.sites.push(entry);
    }
    let bound = Some(made.bound_ms);
    run.sites.push(SiteSummary::of(
        site,
        "all",
        &all,
        Unit::Microseconds,
        errors * OPS.len() as u64,
        bound,
    ));
}

fn timeline_of(run: &RunSummary, site: &str, made: &SiteRun, warmup_s: i64) -> Vec<TimelineRow> {
    let row = |(tenth, ops): (usize, &BTreeMap<&'static str, Vec<u64>>)| {
        let histogram = histogram_of(ops.values().flatten());
        let at =
            |q: f64| (!histogram.is_empty()).then(|| histogram.value_at_quantile(q) as f64 / 1e3);
        TimelineRow {
            t_ms: tenth as i64 * TimelineRow::STEP_MS - warmup_s * 1000,
            mode: run.mode.clone(),
            label: run.label.clone(),
            point_index: run.point_index,
            repeat: run.repeat,
            site: site.to_owned(),
            completed: histogram.len(),
            failed: u64::from(histogram.is_empty()),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            max_ms: at(1.0),
        }
    };
    made.tenths.iter().enumerate().map(row).collect()
}
