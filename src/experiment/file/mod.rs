//! The experiment file: what to run, on which network, with which load.
//!
//! [`Experiment::read`] reads it strictly: whatever is unknown, in a wrong unit or impossible is a
//! [`Problem`] with its place and its remedy, and all problems are reported at once. What the file
//! leaves out gets its default; [`Experiment::to_yaml`] writes the whole. Where the file sweeps something,
//! the experiment is that of its first point, and [`Experiment::at`] has the others.

use std::fmt;
use std::path::Path;
use std::time::Duration;

pub use faults::{Fault, FaultKind};
pub use published::{
    Published, PublishedLatency, PublishedUnavailability, PublishedValues, Statistic,
};
pub use read::Problem;
pub use sweep::{Sweep, SweepPoint, Swept};
pub use tree::Override;

use super::bounds;
use super::network::{Matrix, not_yaml};
use crate::cluster::{ProtocolChoice, ShapingPlan, TransportOptions};
use crate::load::plan::{Arrival, KeyChoice, LoadPlan, OperationMix};
use crate::load::workload::Kind;
use read::Report;
use tree::{Document, Origin};

mod faults;
pub(super) mod modes;
mod published;
pub(crate) mod read;
mod sections;
mod sweep;
pub(crate) mod tree;
mod write;

/// An experiment with every default filled in.
#[derive(Clone, PartialEq, Debug)]
pub struct Experiment {
    /// Its name: the results stand in a folder of that name.
    pub name: String,
    /// What all random choices start from.
    pub seed: u64,
    /// What is compared; at least one, labels distinct.
    pub modes: Vec<Mode>,
    /// Sites and what lies between them.
    pub network: Network,
    /// What the clients do.
    pub workload: Workload,
    /// How long and how often.
    pub phases: Phases,
    /// Where replicas keep their log.
    pub storage: Storage,
    /// What is done to the replicas meanwhile, in the order of time.
    pub faults: Vec<Fault>,
    /// What others published, to stand beside what is measured.
    pub published: Vec<Published>,
    /// What is varied from run to run. All else here is as it is at the first point.
    pub sweep: Sweep,
    /// How QUIC is used.
    pub transport: TransportOptions,
    /// How the recorded histories are checked.
    pub check: Check,
    /// What the results must keep to.
    pub thresholds: Thresholds,
}

/// A protocol with its options, under a name of its own.
#[derive(Clone, PartialEq, Debug)]
pub struct Mode {
    /// What results and figures call it.
    pub label: String,
    /// The protocol and its options.
    pub protocol: ProtocolChoice,
}

/// Sites and what lies between them. There is one replica at each site.
#[derive(Clone, PartialEq, Debug)]
pub struct Network {
    /// The sites, in the order of the replicas.
    pub sites: Vec<String>,
    /// The sites at which a spare may be started by hand, to join in place of a replica; in the order of
    /// the spares.
    pub spares: Vec<String>,
    /// Round-trip times between just these sites, in their order. There is none only if nothing
    /// shapes the network and the file does not say what to expect of it.
    pub rtt: Option<Matrix>,
    /// Each datagram is delayed by up to this much more.
    pub jitter: Duration,
    /// The share of datagrams lost, 0 to 1.
    pub loss: f64,
    /// The share of datagrams that overtake others, 0 to 1.
    pub reorder: f64,
    /// Each link's rate in bits a second; none for no limit.
    pub bandwidth_bps: Option<u64>,
    /// What makes the network so.
    pub shaping: Shaping,
}

impl Network {
    /// The spares' names: each is called like its site, with the next number that is free.
    pub fn spare_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::with_capacity(self.spares.len());
        for site in &self.spares {
            let mut numbered = (2..).map(|number| format!("{site}-{number}"));
            let free = numbered.find(|name| !self.sites.contains(name) && !names.contains(name));
            names.extend(free);
        }
        names
    }
}

/// What imitates the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shaping {
    /// Each process delays what it sends.
    Endpoint,
    /// Nothing: the network is as it is.
    None,
}

/// What the clients do.
#[derive(Clone, PartialEq, Debug)]
pub struct Workload {
    /// Client sessions at each site.
    pub clients_per_site: usize,
    /// When operations start.
    pub arrival: Arrival,
    /// Which operations.
    pub operations: OperationMix,
    /// Which keys.
    pub keys: KeyChoice,
    /// Bytes of a written value.
    pub value_bytes: usize,
    /// An operation unanswered for this long is an error.
    pub timeout: Duration,
    /// An operation unanswered for this long is tried at the next replica, or again where it was sent to
    /// ([`ProtocolChoice::retries`]).
    pub retry_after: Duration,
}

/// How long and how often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Phases {
    /// Load before the measured phase.
    pub warmup: Duration,
    /// The measured phase.
    pub measure: Duration,
    /// How often each mode is run.
    pub repeat: u32,
}

/// Where replicas keep their log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Storage {
    /// Where.
    pub log: LogKind,
}

/// Where a log is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogKind {
    /// In memory: a replica that ends forgets.
    Memory,
}

/// How the recorded histories are checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Check {
    /// Whether every operation is recorded and checked.
    pub history: bool,
    /// What the checker may use, in bytes.
    pub memory_bytes: u64,
    /// How long the checker may take for one run.
    pub timeout: Duration,
}

/// What the results must keep to, at every site and for every operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Thresholds {
    /// Median latency, at most.
    pub p50: Option<Duration>,
    /// 99th percentile, at most.
    pub p99: Option<Duration>,
    /// 99.9th percentile, at most.
    pub p99_9: Option<Duration>,
    /// Failed operations of a run, at most.
    pub errors: Option<u64>,
}

/// A file that cannot be used: everything that is wrong with it, one line each.
#[derive(Debug, thiserror::Error)]
pub struct BadExperiment {
    /// What is wrong, in the order of the file.
    pub problems: Vec<Problem>,
}

impl fmt::Display for BadExperiment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            let end_of_last = if n == 0 { "" } else { "\n" };
            write!(f, "{end_of_last}{problem}")?;
        }
        Ok(())
    }
}

impl Experiment {
    /// Reads the file, with the changes of `overrides` in their order.
    pub fn read(path: &Path, overrides: &[Override]) -> Result<Experiment, BadExperiment> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| {
            let message = format!("cannot read the experiment file: {e}; give the path of one");
            BadExperiment { problems: vec![Problem::of_file(&name, None, message)] }
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Experiment::parse(&name, &text, folder, overrides)
    }

    /// Reads `text`, which messages call `name`; paths in it are relative to `folder`.
    pub fn parse(
        name: &str,
        text: &str,
        folder: &Path,
        overrides: &[Override],
    ) -> Result<Experiment, BadExperiment> {
        let mut document = Document::parse(name, text).map_err(|(place, message)| {
            let problem = Problem::of_file(name, place, not_yaml(&message));
            BadExperiment { problems: vec![problem] }
        })?;
        let mut problems = Vec::new();
        for change in overrides {
            if let Err(message) = document.apply(change) {
                let origin = Origin { words: change.flag(), place: None };
                problems.push(Problem::of_origin(origin, message));
            }
        }
        let report = Report::new(&document);
        let experiment = sections::read_experiment(&report.root(), folder);
        let swept = sweep::read_sweep(&report.root(), overrides);
        let found = report.into_problems();
        let (experiment, found) = match swept {
            Some(swept) if !swept.is_empty() && problems.is_empty() => {
                Experiment::swept(&document, swept, &found, folder)
            }
            _ => (experiment, found),
        };
        problems.extend(found);
        match experiment {
            Some(experiment) if problems.is_empty() => Ok(experiment),
            _ => Err(BadExperiment { problems }),
        }
    }

    /// The experiment at the first point with all points, and the problems that there are at any.
    /// What is wrong with the file as it stands, and not with a value in its place, is no problem.
    fn swept(
        document: &Document,
        swept: Vec<sweep::Read>,
        known: &[Problem],
        folder: &Path,
    ) -> (Option<Experiment>, Vec<Problem>) {
        let (points, problems) = sweep::points(document, &swept, known, folder);
        let first = points.first().map(|point| point.experiment.clone());
        let sweep = Sweep { paths: sweep::paths(swept), points };
        (first.map(|first| Experiment { sweep, ..first }), problems)
    }

    /// The experiment at a point of the sweep; all of it where nothing is swept.
    pub fn at(&self, point_index: usize) -> &Experiment {
        self.sweep.points.get(point_index).map_or(self, |point| &point.experiment)
    }

    /// The whole experiment, every default and the matrix included: reading it gives the same.
    pub fn to_yaml(&self) -> String {
        write::write_experiment(self)
    }

    /// What the replicas are told to run: the mode's protocol, with what follows from the network.
    pub fn protocol(&self, mode: &Mode) -> ProtocolChoice {
        let mut protocol = mode.protocol.clone();
        if let (ProtocolChoice::Epaxos(options), Some(matrix)) = (&mut protocol, &self.network.rtt)
        {
            options.near =
                (0..matrix.sites.len()).map(|site| others_by_distance(matrix, site)).collect();
        }
        protocol
    }

    /// What a load generator is told to do in one run of a mode.
    pub fn load_plan(&self, mode: &Mode, seed: u64) -> LoadPlan {
        let workload = &self.workload;
        LoadPlan {
            clients_per_site: workload.clients_per_site,
            arrival: workload.arrival,
            operations: workload.operations,
            keys: workload.keys,
            value_bytes: workload.value_bytes,
            warmup: self.phases.warmup,
            measure: self.phases.measure,
            retry_after: workload.retry_after,
            retries: mode.protocol.retries(),
            timeout: workload.timeout,
            seed,
            record_history: self.check.history,
        }
    }

    /// Whether the faults start this spare.
    pub fn starts(&self, spare: &str) -> bool {
        let is_it = |fault: &Fault| match &fault.kind {
            FaultKind::Join { spare: it, .. } => it == spare,
            FaultKind::Members { members } => members.iter().any(|it| it == spare),
            _ => false,
        };
        self.faults.iter().any(is_it)
    }

    /// What the shaper is told to imitate in one run; none for a plain socket.
    pub fn shaping_plan(&self, seed: u64) -> Option<ShapingPlan> {
        let network = &self.network;
        match (network.shaping, &network.rtt) {
            (Shaping::Endpoint, Some(matrix)) => Some(ShapingPlan {
                sites: matrix.sites.clone(),
                rtt_ms: matrix.rtt_ms.clone(),
                jitter_ms: network.jitter.as_secs_f64() * 1e3,
                loss: network.loss,
                reorder: network.reorder,
                bandwidth_bps: network.bandwidth_bps,
                seed,
            }),
            _ => None,
        }
    }

    /// The least latency that the network and the mode's quorums allow an operation at a site, in ms;
    /// none if the file does not say what network there is.
    pub fn bound_ms(&self, mode: &Mode, site: usize, kind: Kind) -> Option<f64> {
        let matrix = self.network.rtt.as_ref()?;
        Some(bounds::bound_ms(&mode.protocol, matrix, site, kind))
    }

    /// The least of them over the operations of the workload.
    pub fn least_bound_ms(&self, mode: &Mode, site: usize) -> Option<f64> {
        let kinds = self.workload.operations.kinds();
        kinds.filter_map(|kind| self.bound_ms(mode, site, kind)).min_by(f64::total_cmp)
    }
}

/// All sites but one, the nearest to it first; of two that are as near, the first in the matrix.
fn others_by_distance(matrix: &Matrix, site: usize) -> Vec<u8> {
    let others = matrix.nearest_first(site).into_iter().filter(|other| *other != site);
    others.map(|other| other as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::epaxos::options::EpaxosOptions;

    fn near_of(network: &str) -> Vec<Vec<u8>> {
        let text = format!("name: n\nmodes: [epaxos]\nnetwork: {network}\n");
        let experiment = Experiment::parse("test", &text, Path::new("."), &[]);
        let experiment = experiment.unwrap_or_else(|e| panic!("{e}"));
        let ProtocolChoice::Epaxos(options) = experiment.protocol(&experiment.modes[0]) else {
            panic!("another protocol");
        };
        assert_eq!(options.check(3), Ok(()));
        assert_eq!(experiment.modes[0].protocol, ProtocolChoice::Epaxos(EpaxosOptions::default()));
        options.near
    }

    const MATRIX: &str =
        "{ source: s, sites: [a, b, c], rtt_ms: { a: { b: 20, c: 10 }, b: { c: 20 } } }";

    // From a: c after 10, b after 20. From b: both after 20, so a, which comes first. From c: a, b.
    #[test]
    fn replicas_are_told_who_is_near_and_of_equals_the_first() {
        let near = near_of(&format!("{{ sites: [a, b, c], rtt: {MATRIX} }}"));
        assert_eq!(near, [[2, 1], [0, 2], [0, 1]]);
        let turned = near_of(&format!("{{ sites: [c, b, a], rtt: {MATRIX} }}"));
        assert_eq!(turned, [[2, 1], [0, 2], [0, 1]], "places are those of the experiment");
    }

    #[test]
    fn without_round_trip_times_nobody_is_known_to_be_near() {
        assert!(near_of("{ sites: [a, b, c], shaping: none }").is_empty());
        let expected = format!("{{ sites: [a, b, c], shaping: none, rtt: {MATRIX} }}");
        assert_eq!(near_of(&expected).len(), 3, "the file says what to expect of the network");
    }

    #[test]
    fn the_quickstart_is_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/quickstart.yaml");
        let experiment = Experiment::read(&path, &[]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(experiment.network.sites.len(), 5);
        let again = Experiment::parse("copy", &experiment.to_yaml(), Path::new("."), &[]);
        assert_eq!(again.unwrap_or_else(|e| panic!("{e}")), experiment);
    }
}
