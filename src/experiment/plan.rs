//! The runs of an experiment, and what a person should know before starting them.

use std::fmt::{self, Display, Write as _};
use std::time::Duration;

use super::file::modes::{
    DEPENDENCIES, FAST_PATHS, READS, RECOVERIES, REPLIES, ROUNDS, STRUCTURES, VARIANTS, word_for,
};
use super::file::{Experiment, Fault, Mode, Network, Shaping};
use super::units::{format_bandwidth, format_bytes, format_duration, format_rate, format_share};
use crate::cluster::ProtocolChoice;
use crate::load::plan::{Arrival, KeyChoice, OperationMix};
use crate::load::workload::Kind;
use crate::protocol::multicoordinated::options::{MulticoordinatedOptions, QuorumSizes, Rounds};
use crate::results::Point;

/// One run: one mode, at one point, once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// The mode, by its place in [`Experiment::modes`].
    pub mode: usize,
    /// What is varied; nothing if the file sweeps nothing.
    pub point: Point,
    /// Which point that is, from 0: its place in the sweep's points.
    pub point_index: usize,
    /// Which repetition, counted from 0.
    pub repeat: u32,
    /// What the run's random choices start from. All modes of a repetition get the same load, at each
    /// point.
    pub seed: u64,
}

/// The runs of an experiment in their order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The runs.
    pub runs: Vec<Run>,
}

impl Plan {
    /// Each repetition runs every mode at every point. Modes take turns at a point, and another one begins
    /// than at the point before and in the repetition before: what drifts on the machine meets all modes
    /// alike.
    pub fn of(experiment: &Experiment) -> Plan {
        let modes = experiment.modes.len();
        let mut points: Vec<_> = experiment.sweep.points.iter().map(|it| &it.values).collect();
        let nothing = Point::new();
        if points.is_empty() {
            points.push(&nothing);
        }
        let mut runs = Vec::new();
        for repeat in 0..experiment.phases.repeat {
            for (point_index, point) in points.iter().enumerate() {
                let first = repeat as usize + point_index;
                let seed = run_seed(experiment.seed, repeat);
                let run = |turn| {
                    let (mode, point) = ((first + turn) % modes, (*point).clone());
                    Run { mode, point, point_index, repeat, seed }
                };
                runs.extend((0..modes).map(run));
            }
        }
        Plan { runs }
    }

    /// How long all runs apply load. Starting, stopping and checking come on top.
    pub fn load_duration(&self, experiment: &Experiment) -> Duration {
        let each = experiment.phases.warmup.saturating_add(experiment.phases.measure);
        each.saturating_mul(u32::try_from(self.runs.len()).unwrap_or(u32::MAX))
    }
}

/// Mixes the repetition into the seed (the finaliser of SplitMix64), so that neighbouring seeds and
/// repetitions have nothing in common.
fn run_seed(seed: u64, repeat: u32) -> u64 {
    let mut z =
        seed.wrapping_add(u64::from(repeat).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The plan in words, as `paxbench validate` prints it.
pub fn describe(experiment: &Experiment) -> String {
    let plan = Plan::of(experiment);
    let mut text = format!(
        "{}: {}, {} of load; starting, stopping and checking each run comes on top\n",
        experiment.name,
        counted(plan.runs.len(), "run"),
        person_duration(plan.load_duration(experiment)),
    );
    let mut line = |title: &str, what: &dyn Display| {
        writeln!(text, "  {title:<12}{what}").expect("a string takes what is written");
    };
    for mode in &experiment.modes {
        line("mode", &ModeInWords { mode, sites: &experiment.network.sites });
    }
    for swept in &experiment.sweep.paths {
        line("sweep", &format!("{}: {}", swept.path, swept.words().join(", ")));
    }
    line("sites", &experiment.network.sites.join(", "));
    if !experiment.network.spares.is_empty() {
        line("spares", &spares_in_words(&experiment.network));
    }
    for (title, words) in VARIABLE {
        line(title, &at_first(experiment, words));
    }
    line("phases", &phases_in_words(experiment));
    line("faults", &faults_in_words(experiment));
    let checked = if experiment.check.history {
        "every operation is recorded, the history checked for linearizability"
    } else {
        "no history: the verdict will be `unchecked`"
    };
    line("check", &checked);
    line("thresholds", &thresholds_in_words(experiment));
    text.push_str(&bounds_table(experiment));
    text
}

/// Says something of an experiment.
type Words = fn(&Experiment) -> String;

/// What a sweep may vary, in words.
const VARIABLE: [(&str, Words); 6] = [
    ("network", network_in_words),
    ("clients", clients_in_words),
    ("arrival", arrival_in_words),
    ("operations", |experiment| operations_in_words(experiment.workload.operations)),
    ("keys", |experiment| keys_in_words(experiment.workload.keys)),
    ("values", |experiment| format_bytes(experiment.workload.value_bytes as u64)),
];

/// Whether the words differ from point to point.
fn varies(experiment: &Experiment, words: impl Fn(&Experiment) -> String) -> bool {
    let first = words(experiment);
    experiment.sweep.points.iter().any(|point| words(&point.experiment) != first)
}

/// The words for the first point; where others differ they say so.
fn at_first(experiment: &Experiment, words: impl Fn(&Experiment) -> String) -> String {
    let first = words(experiment);
    if varies(experiment, words) { format!("at the first point {first}") } else { first }
}

fn phases_in_words(experiment: &Experiment) -> String {
    let phases = experiment.phases;
    let repeats = counted(phases.repeat as usize, "repeat");
    let (warmup, measure) = (format_duration(phases.warmup), format_duration(phases.measure));
    let points = match experiment.sweep.points.len() {
        0 => String::new(),
        points => format!(" at each of {}", counted(points, "point")),
    };
    format!("{warmup} warm-up, {measure} measured, {repeats} of each mode{points}")
}

fn faults_in_words(experiment: &Experiment) -> String {
    let fault = |fault: &Fault| {
        let lasts = fault.kind.lasts().map(|lasts| format!(" for {}", format_duration(lasts)));
        format!("{}{} at {}", fault.kind, lasts.unwrap_or_default(), format_duration(fault.at))
    };
    let faults: Vec<String> = experiment.faults.iter().map(fault).collect();
    if faults.is_empty() { "none".to_owned() } else { faults.join(", ") }
}

fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// Whole seconds as hours, minutes and seconds; anything shorter exactly.
fn person_duration(duration: Duration) -> String {
    if duration < Duration::from_secs(60) || duration.subsec_nanos() != 0 {
        return format_duration(duration);
    }
    let (hours, minutes, seconds) =
        (duration.as_secs() / 3600, duration.as_secs() / 60 % 60, duration.as_secs() % 60);
    let parts = [(hours, "h"), (minutes, "min"), (seconds, "s")];
    let parts = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n} {unit}"));
    parts.collect::<Vec<_>>().join(" ")
}

struct ModeInWords<'a> {
    mode: &'a Mode,
    sites: &'a [String],
}

impl Display for ModeInWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, ", self.mode.label, self.mode.protocol.name())?;
        match &self.mode.protocol {
            ProtocolChoice::Paxos(options) => {
                let leader = &self.sites[usize::from(options.leader)];
                let variant = word_for(&VARIANTS, options.variant);
                write!(f, "leader {leader}, variant {variant}")?;
                write!(f, ", pipeline {}, batch {}", options.pipeline, options.batch)
            }
            ProtocolChoice::Epaxos(options) => {
                let fast_path = word_for(&FAST_PATHS, options.fast_path);
                let thrifty = if options.thrifty { "thrifty" } else { "not thrifty" };
                let dependencies = word_for(&DEPENDENCIES, options.dependencies);
                let reply = word_for(&REPLIES, options.reply);
                write!(f, "fast path {fast_path}, {thrifty}, dependencies {dependencies}")?;
                write!(f, ", reply {reply}, window {}, batch {}", options.window, options.batch)
            }
            ProtocolChoice::Multicoordinated(options) => {
                multicoordinated_in_words(options, self.sites, f)
            }
            ProtocolChoice::Caspaxos(options) => {
                let n = self.sites.len();
                let (prepare, accept) = options.quorums(n);
                let trips =
                    if options.one_round_trip { "one round trip" } else { "two round trips" };
                let reads = word_for(&READS, options.reads);
                write!(f, "prepare {prepare} of {n}, accept {accept} of {n}, {trips}")?;
                write!(f, ", reads {reads}, batch {}", options.batch)
            }
        }
    }
}

/// What has no effect in the chosen rounds is left out.
fn multicoordinated_in_words(
    options: &MulticoordinatedOptions,
    sites: &[String],
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let site = |place: &u8| sites[usize::from(*place)].as_str();
    let (n, rounds) = (sites.len(), word_for(&ROUNDS, options.rounds));
    let QuorumSizes { classic, fast } = options.quorums(n);
    write!(f, "rounds {rounds}, leader {}", site(&options.leader))?;
    match options.rounds {
        Rounds::Fast => write!(f, ", fast {fast} of {n}")?,
        Rounds::Multi if options.coordinators.is_empty() => f.write_str(", coordinators all")?,
        Rounds::Multi => {
            let coordinators: Vec<&str> = options.coordinators.iter().map(site).collect();
            write!(f, ", coordinators [{}]", coordinators.join(", "))?;
        }
        Rounds::Single => {}
    }
    write!(f, ", classic {classic} of {n}")?;
    if options.rounds != Rounds::Single {
        write!(f, ", recovery {}", word_for(&RECOVERIES, options.recovery))?;
    }
    for (word, is_so) in [("balanced", options.balance), ("shrinking", options.shrink)] {
        if is_so {
            write!(f, ", {word}")?;
        }
    }
    write!(f, ", structure {}", word_for(&STRUCTURES, options.structure))
}

fn spares_in_words(network: &Network) -> String {
    let spares = network.spare_names().into_iter().zip(&network.spares);
    let spares: Vec<_> = spares.map(|(name, site)| format!("{name} at {site}")).collect();
    format!("{}; each run says how to start one, nobody else does", spares.join(", "))
}

fn network_in_words(experiment: &Experiment) -> String {
    let network = &experiment.network;
    if network.shaping == Shaping::None {
        return "as it is: nothing is delayed or lost on purpose".to_owned();
    }
    let source = network.rtt.as_ref().map_or("", |matrix| &matrix.source);
    let mut parts = vec![format!("delayed by each process; times from {source}")];
    if network.jitter > Duration::ZERO {
        parts.push(format!("jitter {}", format_duration(network.jitter)));
    }
    for (what, share) in [("lost", network.loss), ("reordered", network.reorder)] {
        if share > 0.0 {
            parts.push(format!("{} {what}", format_share(share)));
        }
    }
    if let Some(bits_per_s) = network.bandwidth_bps {
        parts.push(format!("{} a link", format_bandwidth(bits_per_s)));
    }
    parts.join("; ")
}

fn clients_in_words(experiment: &Experiment) -> String {
    let (each, sites) = (experiment.workload.clients_per_site, experiment.network.sites.len());
    format!("{each} at each of {}, {} in all", counted(sites, "site"), each * sites)
}

fn arrival_in_words(experiment: &Experiment) -> String {
    let sites = experiment.network.sites.len();
    let open = |rate_per_s: f64, spaced: &str| {
        let all = format_rate(rate_per_s * sites as f64);
        format!("{} a site, {spaced}; {all} in all", format_rate(rate_per_s))
    };
    match experiment.workload.arrival {
        Arrival::Constant { rate_per_s } => open(rate_per_s, "evenly spaced"),
        Arrival::Poisson { rate_per_s } => open(rate_per_s, "with random gaps (Poisson)"),
        Arrival::Closed { outstanding } => {
            let all = outstanding * experiment.workload.clients_per_site * sites;
            format!("closed loop: {outstanding} outstanding a client, {all} in all")
        }
    }
}

fn operations_in_words(mix: OperationMix) -> String {
    let used = Kind::ALL.into_iter().zip(mix.shares()).filter(|(_, share)| *share > 0.0);
    let used = used.map(|(kind, share)| format!("{} {}", kind.name(), format_share(share)));
    used.collect::<Vec<_>>().join(", ")
}

fn keys_in_words(keys: KeyChoice) -> String {
    match keys {
        KeyChoice::Conflict { share, own_keys } => format!(
            "{} one key that all share, else one of {own_keys} of the client's own",
            format_share(share)
        ),
        KeyChoice::Uniform { keys } => format!("{keys} keys, all alike"),
        KeyChoice::Zipf { keys, theta } => format!("{keys} keys by Zipf's law, theta {theta}"),
    }
}

fn thresholds_in_words(experiment: &Experiment) -> String {
    let limits = experiment.thresholds;
    let latencies = [("p50", limits.p50), ("p99", limits.p99), ("p99.9", limits.p99_9)];
    let latency = |(name, limit): (&str, Option<Duration>)| {
        limit.map(|limit| format!("{name} at most {}", format_duration(limit)))
    };
    let errors =
        limits.errors.map(|errors| format!("at most {}", counted(errors as usize, "error")));
    let all: Vec<String> = latencies.into_iter().filter_map(latency).chain(errors).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// The least latency at each site, a row a mode.
fn bounds_table(experiment: &Experiment) -> String {
    let sites = &experiment.network.sites;
    if experiment.network.rtt.is_none() {
        return "The least possible latency is not known: the file has no round-trip times.\n"
            .to_owned();
    }
    let labels = experiment.modes.iter().map(|mode| mode.label.chars().count());
    let first = labels.max().unwrap_or(0);
    let all = |experiment: &Experiment| format!("{:?}", bounds_of(experiment));
    let which = if varies(experiment, all) { " at the first point" } else { "" };
    let mut text = format!("The least latency that the network allows{which}, in ms:\n");
    let mut row = |label: &str, cells: &mut dyn Iterator<Item = String>| {
        let _ = write!(text, "  {label:<first$}");
        for (cell, site) in cells.zip(sites) {
            let _ = write!(text, "  {cell:>width$}", width = site.len().max(6));
        }
        text.push('\n');
    };
    row("", &mut sites.iter().cloned());
    for (mode, bounds_ms) in experiment.modes.iter().zip(bounds_of(experiment)) {
        let cell = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("{ms:.1}"));
        row(&mode.label, &mut bounds_ms.into_iter().map(cell));
    }
    text
}

/// The bound of each mode at each site, in ms.
fn bounds_of(experiment: &Experiment) -> Vec<Vec<Option<f64>>> {
    let sites = 0..experiment.network.sites.len();
    let bounds = |mode| sites.clone().map(|site| experiment.least_bound_ms(mode, site)).collect();
    experiment.modes.iter().map(bounds).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn experiment(text: &str) -> Experiment {
        Experiment::parse("test", text, Path::new("."), &[]).unwrap_or_else(|e| panic!("{e}"))
    }

    const TWO_MODES: &str = "
name: two
modes: [paxos, { mode: paxos, label: regular, leader: b, variant: regular }]
network:
  sites: [a, b, c]
  rtt: { source: a test, sites: [a, b, c], rtt_ms: { a: { b: 10, c: 20 }, b: { c: 40 } } }
phases: { warmup: 5s, measure: 25s, repeat: 3 }
";

    #[test]
    fn repetitions_interleave_the_modes_and_take_turns_in_who_comes_first() {
        let plan = Plan::of(&experiment(TWO_MODES));
        let order: Vec<_> = plan.runs.iter().map(|run| (run.repeat, run.mode)).collect();
        assert_eq!(order, [(0, 0), (0, 1), (1, 1), (1, 0), (2, 0), (2, 1)]);
    }

    #[test]
    fn the_modes_of_a_repetition_share_a_seed_and_repetitions_do_not() {
        let plan = Plan::of(&experiment(TWO_MODES));
        let seeds: Vec<u64> = plan.runs.iter().map(|run| run.seed).collect();
        assert!(seeds[0] == seeds[1] && seeds[2] == seeds[3]);
        assert!(seeds[0] != seeds[2] && seeds[2] != seeds[4] && seeds[0] != seeds[4]);
        assert_ne!(run_seed(7, 1), run_seed(8, 0));
    }

    fn swept(sweep: &str) -> Experiment {
        let text = TWO_MODES.replace("repeat: 3", "repeat: 2");
        experiment(&format!("{text}sweep: {sweep}\n"))
    }

    #[test]
    fn every_repetition_runs_every_point_and_at_each_every_mode_in_turn() {
        let plan = Plan::of(&swept("{ workload.keys.conflict: [0%, 2%, 100%] }"));
        let order: Vec<_> =
            plan.runs.iter().map(|run| (run.repeat, run.point_index, run.mode)).collect();
        let first = [(0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0), (0, 2, 0), (0, 2, 1)];
        let second = [(1, 0, 1), (1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 2, 1), (1, 2, 0)];
        assert_eq!(order, [first, second].concat());
        let point =
            |share: &str| Point::from([("workload.keys.conflict".to_owned(), share.to_owned())]);
        assert_eq!((&plan.runs[2].point, &plan.runs[11].point), (&point("2%"), &point("100%")));
        assert!(plan.runs[..6].iter().all(|run| run.seed == plan.runs[0].seed));
        assert_ne!(plan.runs[0].seed, plan.runs[6].seed);
    }

    #[test]
    fn the_plan_of_a_sweep_says_its_points_and_what_varies_with_them() {
        let sweep = "{ workload.keys.conflict: [0%, 2%], workload.value: [16B, 1KiB, 2KiB] }";
        let experiment = swept(sweep);
        let text = describe(&experiment);
        for line in [
            "two: 24 runs, 12 min of load; starting, stopping and checking each run comes on top\n",
            "  sweep       workload.keys.conflict: 0%, 2%\n",
            "  sweep       workload.value: 16B, 1KiB, 2KiB\n",
            "  arrival     200/s a site, evenly spaced; 600/s in all\n",
            "  keys        at the first point 0% one key that all share, else one of 1000 of the",
            "  values      at the first point 16B\n",
            "  phases      5s warm-up, 25s measured, 2 repeats of each mode at each of 6 points\n",
            "The least latency that the network allows, in ms:\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert_eq!(Plan::of(&experiment).load_duration(&experiment), Duration::from_secs(720));
        let increments = "{ workload.operations: [{ get: 100% }, { increment: 100% }] }";
        assert!(describe(&swept(increments)).contains("allows at the first point, in ms:\n"));
    }

    #[test]
    fn durations_are_said_as_people_say_them() {
        let said = |s| person_duration(Duration::from_secs(s));
        assert_eq!(said(36), "36s");
        assert_eq!(said(180), "3 min");
        assert_eq!(said(3725), "1 h 2 min 5 s");
        assert_eq!(person_duration(Duration::from_millis(1500)), "1500ms");
    }

    #[test]
    fn the_plan_says_what_will_run_and_the_bounds_of_each_mode_and_site() {
        let expected = "\
two: 6 runs, 3 min of load; starting, stopping and checking each run comes on top
  mode        paxos: paxos, leader a, variant multi, pipeline 256, batch 4096
  mode        regular: paxos, leader b, variant regular, pipeline 256, batch 4096
  sites       a, b, c
  network     delayed by each process; times from a test
  clients     10 at each of 3 sites, 30 in all
  arrival     200/s a site, evenly spaced; 600/s in all
  operations  put 50%, get 50%
  keys        2% one key that all share, else one of 1000 of the client's own
  values      16B
  phases      5s warm-up, 25s measured, 3 repeats of each mode
  faults      none
  check       every operation is recorded, the history checked for linearizability
  thresholds  none
The least latency that the network allows, in ms:
                a       b       c
  paxos      10.0    20.0    30.0
  regular    30.0    20.0    60.0
";
        assert_eq!(describe(&experiment(TWO_MODES)), expected);
    }
}
