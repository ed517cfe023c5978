//! The experiment file, as users meet it: the files of `configs/`, bad files and what is said of
//! them, `--set`, and the written copy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use paxbench::cluster::{Congestion, ProtocolChoice, TransportOptions};
use paxbench::experiment::file::{
    Check, Experiment, Fault, FaultKind, LogKind, Mode, Network, Override, Phases, Published,
    PublishedLatency, PublishedUnavailability, PublishedValues, Shaping, Statistic, Storage, Sweep,
    Thresholds, Workload,
};
use paxbench::experiment::network::Matrix;
use paxbench::experiment::plan::{Plan, describe};
use paxbench::load::plan::{Arrival, KeyChoice, OperationMix, Values};
use paxbench::load::workload::Kind;
use paxbench::protocol::caspaxos::options::{CaspaxosOptions, Reads};
use paxbench::protocol::epaxos::options::{
    Dependencies, EpaxosOptions, FastPath, QuorumChoice, ReplyAt,
};
use paxbench::protocol::multicoordinated::options::{
    MulticoordinatedOptions, Recovery, Rounds, Structure,
};
use paxbench::protocol::paxos::{PaxosOptions, Variant};
use proptest::prelude::*;

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{folder}: {e}"));
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    files.sort();
    files
}

/// What a user reads of a bad file, newline at the end.
fn complaint(path: &Path) -> String {
    match Experiment::read(path, &[]) {
        Ok(_) => "nothing is wrong\n".to_owned(),
        Err(bad) => format!("{bad}\n"),
    }
}

/// With `PAXBENCH_BLESS=1` the expectations are written instead: read the difference before you
/// commit it.
#[test]
fn every_bad_file_is_refused_in_the_words_beside_it() {
    let files = yaml_files("tests/bad_files");
    assert!(files.len() >= 20, "only {} bad files", files.len());
    let mut wrong = Vec::new();
    for file in &files {
        let (said, beside) = (complaint(file), file.with_extension("expected"));
        if std::env::var_os("PAXBENCH_BLESS").is_some() {
            std::fs::write(&beside, &said).unwrap();
        }
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        if said != expected {
            wrong.push(format!("{}\nsaid:\n{said}expected:\n{expected}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_complaint_names_a_place_and_a_remedy() {
    for file in yaml_files("tests/bad_files") {
        for line in complaint(&file).lines() {
            let numbers = line.splitn(4, ':').skip(1).take(2);
            let has_place = numbers.clone().count() == 2
                && numbers.clone().all(|n| n.parse::<usize>().is_ok_and(|n| n > 0));
            assert!(has_place, "{line}");
            let remedy = ["write ", "remove ", "mend "].iter().any(|verb| line.contains(verb));
            assert!(remedy, "{line}");
        }
    }
}

fn paxos(mode: &Mode) -> PaxosOptions {
    let ProtocolChoice::Paxos(options) = mode.protocol else { panic!("{mode:?}") };
    options
}

fn epaxos(mode: &Mode) -> &EpaxosOptions {
    let ProtocolChoice::Epaxos(options) = &mode.protocol else { panic!("{mode:?}") };
    options
}

#[test]
fn every_file_of_configs_is_valid_and_has_a_plan() {
    let files = yaml_files("configs");
    for name in ["quickstart", "throughput", "soak", "planet", "caspaxos"] {
        assert!(files.iter().any(|file| file.ends_with(format!("{name}.yaml"))), "{name}");
    }
    for file in files {
        let experiment = Experiment::read(&file, &[]).unwrap_or_else(|e| panic!("{e}"));
        assert!(!Plan::of(&experiment).runs.is_empty());
        assert!(describe(&experiment).starts_with(&experiment.name));
    }
}

#[test]
fn every_network_of_configs_serves_an_experiment_at_all_its_sites() {
    let files = yaml_files("configs/networks");
    assert!(files.len() >= 5);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let sites = text.lines().find(|line| line.starts_with("sites: ")).unwrap();
        let path = file.file_name().unwrap().to_string_lossy();
        let text = format!("name: n\nmodes: [paxos]\nnetwork:\n  {sites}\n  rtt: {path}\n");
        let experiment = Experiment::parse("test", &text, Path::new("configs/networks"), &[])
            .unwrap_or_else(|e| panic!("{e}"));
        let matrix = experiment.network.rtt.as_ref().unwrap();
        assert!(matrix.sites.len() >= 3 && !matrix.source.is_empty());
    }
}

#[test]
fn the_quickstart_means_what_its_comments_say() {
    let experiment = Experiment::read(Path::new("configs/quickstart.yaml"), &[]).unwrap();
    let load = experiment.load_plan(&experiment.modes[0], 11);
    assert_eq!(load.arrival, Arrival::Constant { rate_per_s: 200.0 });
    assert_eq!((load.clients_per_site, load.value_bytes, load.seed), (10, 16, 11));
    assert_eq!((load.operations.put, load.operations.get), (0.5, 0.5));
    assert_eq!(load.keys, KeyChoice::Conflict { share: 0.02, own_keys: 1000 });
    assert_eq!((load.warmup, load.measure), (Duration::from_secs(2), Duration::from_secs(10)));
    assert!(load.record_history);
    let shaping = experiment.shaping_plan(3).unwrap();
    assert_eq!(shaping.sites, ["virginia", "california", "oregon", "tokyo", "ireland"]);
    assert_eq!(shaping.rtt_ms[0], [0.0, 60.0, 73.0, 152.0, 71.0]);
    assert_eq!((shaping.jitter_ms, shaping.loss, shaping.seed), (0.0, 0.0, 3));
    let mode = &experiment.modes[0];
    let bounds: Vec<_> =
        (0..5).map(|site| experiment.least_bound_ms(mode, site).unwrap()).collect();
    assert_eq!(bounds, [71.0, 131.0, 144.0, 223.0, 142.0]);
    assert_eq!(Plan::of(&experiment).runs.len(), 3);
}

#[test]
fn the_planet_is_led_from_where_its_thirteen_sites_wait_least_on_average() {
    let experiment = Experiment::read(Path::new("configs/planet.yaml"), &[]).unwrap();
    let mean_ms = |leader: usize| {
        let options = PaxosOptions { leader: leader as u8, ..PaxosOptions::default() };
        let mode = Mode { label: String::new(), protocol: ProtocolChoice::Paxos(options) };
        let bounds = (0..13).map(|site| experiment.least_bound_ms(&mode, site).unwrap());
        bounds.sum::<f64>() / 13.0
    };
    let best = (0..13).min_by(|a, b| mean_ms(*a).total_cmp(&mean_ms(*b))).unwrap();
    let options = paxos(&experiment.modes[0]);
    assert_eq!((usize::from(options.leader), experiment.network.sites.len()), (best, 13));
    assert_eq!(experiment.network.sites[best], "south-carolina");
    assert_eq!(format!("{:.1}", mean_ms(best)), "223.2", "as its comment says");
}

#[test]
fn without_a_shaper_there_is_neither_a_plan_for_it_nor_a_bound() {
    let experiment = Experiment::read(Path::new("configs/throughput.yaml"), &[]).unwrap();
    assert_eq!(experiment.shaping_plan(1), None);
    assert_eq!(experiment.least_bound_ms(&experiment.modes[0], 0), None);
    assert!(!experiment.load_plan(&experiment.modes[0], 1).record_history);
    assert!(describe(&experiment).contains("not known"));
}

const THREE_SITES: &str = "network: { sites: [virginia, tokyo, ireland], shaping: none }";

fn parsed(text: &str) -> Experiment {
    Experiment::parse("test", text, Path::new("."), &[]).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn epaxos_takes_every_option() {
    let text = format!(
        "
name: every
modes:
  - mode: epaxos
    label: all-changed
    fast_path: accept-deps
    thrifty: false
    quorum: nearest
    dependencies: explicit
    reply: committed
    window: 7
    hold: false
    batch: 8
    heartbeat: 90ms
    suspect: 2s
    fallback: 300ms
    recover: 1.5s
    log_instances_max: 9
  - {{ mode: epaxos, label: prefix, dependencies: prefix, fast_path: published }}
{THREE_SITES}
"
    );
    let experiment = parsed(&text);
    assert_eq!(experiment.modes[0].label, "all-changed");
    let expected = EpaxosOptions {
        replaces: None,
        fast_path: FastPath::AcceptDeps,
        thrifty: false,
        quorum: QuorumChoice::Nearest,
        near: Vec::new(),
        dependencies: Dependencies::Explicit,
        reply: ReplyAt::Committed,
        window: 7,
        hold: false,
        batch: 8,
        heartbeat_ms: 90,
        suspect_ms: 2000,
        fallback_ms: 300,
        recover_ms: 1500,
        log_instances_max: 9,
    };
    assert_eq!(*epaxos(&experiment.modes[0]), expected);
    let prefix = epaxos(&experiment.modes[1]);
    let chosen = (prefix.dependencies, prefix.fast_path);
    assert_eq!(chosen, (Dependencies::Prefix, FastPath::Published));
}

/// The form of the file in which modes are compared, and its copy with every default.
#[test]
fn epaxos_stands_beside_paxos_and_its_defaults_are_written_out() {
    let modes = "modes: [epaxos, { mode: epaxos, label: epaxos-prefix, dependencies: prefix, \
                 thrifty: false }, { mode: paxos, leader: virginia }]";
    let experiment = parsed(&format!("name: beside\n{modes}\n{THREE_SITES}\n"));
    let labels: Vec<_> = experiment.modes.iter().map(|mode| mode.label.as_str()).collect();
    assert_eq!(labels, ["epaxos", "epaxos-prefix", "paxos"]);
    assert_eq!(*epaxos(&experiment.modes[0]), EpaxosOptions::default());
    assert_eq!(paxos(&experiment.modes[2]), PaxosOptions::default());
    let written = experiment.to_yaml();
    let usual = "
- mode: epaxos
  label: epaxos
  fast_path: fixed-quorum
  thrifty: true
  quorum: measured
  dependencies: explicit
  reply: executed
  window: 256
  hold: true
  batch: 4096
  heartbeat: 50ms
  suspect: 1s
  fallback: 500ms
  recover: 1s
  log_instances_max: 65536
- mode: epaxos
  label: epaxos-prefix
";
    assert!(written.contains(usual), "{written}");
    assert_eq!(parsed(&written), experiment);
    let words = "epaxos: epaxos, fast path fixed-quorum, thrifty, dependencies explicit, reply \
                 executed, window 256, batch 4096\n";
    let plan = describe(&experiment);
    assert!(plan.contains(words) && plan.contains("fixed-quorum, not thrifty, dep"), "{plan}");
}

/// What the driver writes for replicas is what they read.
#[test]
fn epaxos_and_who_is_near_come_through_a_cluster_file() {
    let options = EpaxosOptions {
        near: vec![vec![1, 2], vec![0, 2], vec![1, 0]],
        ..EpaxosOptions::default()
    };
    let protocol = ProtocolChoice::Epaxos(options);
    let text = serde_yaml::to_string(&protocol).unwrap();
    assert!(text.starts_with("mode: epaxos\n"), "{text}");
    assert_eq!(serde_yaml::from_str::<ProtocolChoice>(&text).unwrap(), protocol);
    assert!(serde_yaml::from_str::<ProtocolChoice>("{ mode: epaxos, nearest: [] }").is_err());
}

#[test]
fn a_spare_is_called_like_its_site_with_the_next_number_that_is_free() {
    let network =
        "network: { sites: [rome, rome-2, oslo], spares: [rome, oslo, rome], shaping: none }";
    let experiment = parsed(&format!("name: spared\nmodes: [epaxos]\n{network}\n"));
    assert_eq!(experiment.network.spare_names(), ["rome-3", "oslo-2", "rome-4"]);
    let plan = describe(&experiment);
    assert!(
        plan.contains("  spares      rome-3 at rome, oslo-2 at oslo, rome-4 at rome; "),
        "{plan}"
    );
    assert!(experiment.to_yaml().contains("  spares:\n  - rome\n  - oslo\n  - rome\n"));
}

#[test]
fn set_reaches_into_an_epaxos_mode_that_the_file_only_names() {
    let experiment = with_set(&["modes=[epaxos]", "modes.0.fast_path=simplified"]).unwrap();
    assert_eq!(epaxos(&experiment.modes[0]).fast_path, FastPath::Simplified);
}

fn with_set(changes: &[&str]) -> Result<Experiment, String> {
    let overrides: Vec<Override> =
        changes.iter().map(|change| change.parse()).collect::<Result<_, String>>()?;
    Experiment::read(Path::new("configs/quickstart.yaml"), &overrides).map_err(|e| e.to_string())
}

#[test]
fn set_changes_values_adds_keys_and_replaces_maps_in_order() {
    let experiment = with_set(&[
        "phases.repeat=1",
        "workload.arrival.open=500/s",
        "modes.0.leader=tokyo",
        "thresholds.p99=400ms",
        "workload.keys={ zipf: { n: 10, theta: 0.5 } }",
        "network.sites=[tokyo, oregon, ireland]",
        "seed=1",
        "seed=2",
    ])
    .unwrap();
    assert_eq!((experiment.phases.repeat, experiment.seed), (1, 2));
    assert_eq!(experiment.workload.arrival, Arrival::Constant { rate_per_s: 500.0 });
    assert_eq!(experiment.workload.keys, KeyChoice::Zipf { keys: 10, theta: 0.5 });
    assert_eq!(experiment.thresholds.p99, Some(Duration::from_millis(400)));
    let options = paxos(&experiment.modes[0]);
    assert_eq!(options.leader, 0, "tokyo is the first site now");
    assert_eq!(experiment.network.rtt.unwrap().rtt_ms[1], [101.0, 0.0, 127.0]);
}

#[test]
fn set_reaches_into_a_mode_that_the_file_only_names() {
    let change = "modes.0.leader=two".parse().unwrap();
    let experiment = Experiment::read(Path::new("configs/throughput.yaml"), &[change]).unwrap();
    let options = paxos(&experiment.modes[0]);
    assert_eq!(options.leader, 1);
}

#[test]
fn what_is_wrong_with_a_set_is_said_of_the_set() {
    for (change, expected) in [
        (
            "phases.repeats=1",
            "--set phases.repeats=1: phases.repeats: unknown key `repeats`; write repeat instead",
        ),
        (
            "workload.arrival.open=500",
            "--set workload.arrival.open=500: workload.arrival.open: `500` has no unit; write 500/s instead",
        ),
        (
            "modes.0.leader=london",
            "--set modes.0.leader=london: modes.0.leader: unknown site `london`; write one of \
             virginia, california, oregon, tokyo, ireland instead",
        ),
        (
            "modes.3.leader=tokyo",
            "--set modes.3.leader=tokyo: the list there has no `3`; write 0, its only entry, instead",
        ),
        (
            "name.first=a",
            "--set name.first=a: the file has `quickstart` there, which has no `first`; write \
             name={ first: … } instead",
        ),
        (
            "workload={ value: 1B }",
            "--set workload={ value: 1B }: workload.value: 1B is less than 8B; write 8B or more instead",
        ),
        (
            "phases.repeat",
            "no `=` in `phases.repeat`; write a path and a value such as phases.repeat=1",
        ),
        (
            "phases..repeat=1",
            "the path of `phases..repeat=1` has an empty step; write a path and a value such as \
             phases.repeat=1",
        ),
    ] {
        assert_eq!(with_set(&[change]).unwrap_err(), expected);
    }
}

#[test]
fn a_missing_experiment_file_is_said_in_one_line() {
    let said = complaint(Path::new("configs/no-such-file.yaml"));
    assert_eq!(
        said,
        "configs/no-such-file.yaml: cannot read the experiment file: No such file or directory \
         (os error 2); give the path of one\n"
    );
}

fn durations() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (1u64..1 << 40).prop_map(Duration::from_nanos),
        (1u64..10_000).prop_map(Duration::from_secs)
    ]
}

fn arrivals() -> impl Strategy<Value = Arrival> {
    prop_oneof![
        (0.001..1e7f64).prop_map(|rate_per_s| Arrival::Constant { rate_per_s }),
        (0.001..1e7f64).prop_map(|rate_per_s| Arrival::Poisson { rate_per_s }),
        (1usize..16_384).prop_map(|outstanding| Arrival::Closed { outstanding }),
    ]
}

fn mixes() -> impl Strategy<Value = OperationMix> {
    let weights = (prop::array::uniform9(0u32..1000), 0..3);
    weights.prop_filter_map("all zero", |(mut weights, held)| {
        // Numbers are added to, lists appended to, all else writes whole values.
        let writes = |kind: Kind| match kind {
            Kind::Get | Kind::Delete | Kind::Transfer => None,
            Kind::Add => Some(1),
            Kind::Append => Some(2),
            _ => Some(0),
        };
        let others = Kind::ALL.into_iter().zip(&mut weights);
        others
            .filter(|(kind, _)| writes(*kind).is_some_and(|of| of != held))
            .for_each(|(_, weight)| *weight = 0);
        let sum: u32 = weights.iter().sum();
        let shares = weights.map(|weight| f64::from(weight) / f64::from(sum));
        (sum > 0).then(|| OperationMix::of(shares))
    })
}

fn key_choices() -> impl Strategy<Value = KeyChoice> {
    prop_oneof![
        (0.0..=1.0f64, 1u64..1 << 32)
            .prop_map(|(share, own_keys)| KeyChoice::Conflict { share, own_keys }),
        (1u64..1 << 48).prop_map(|keys| KeyChoice::Uniform { keys }),
        (1u64..1 << 48, 0.001..10.0f64).prop_map(|(keys, theta)| KeyChoice::Zipf { keys, theta }),
    ]
}

fn workloads() -> impl Strategy<Value = Workload> {
    let sizes = (1usize..5000, 8usize..1 << 20);
    (sizes, arrivals(), mixes(), key_choices(), durations(), durations()).prop_map(
        |((clients_per_site, value_bytes), arrival, operations, keys, timeout, retry_after)| {
            let lists = operations.values() == Some(Values::Lists);
            Workload {
                clients_per_site,
                arrival,
                operations,
                keys,
                value_bytes: if lists { value_bytes.min(1 << 12) } else { value_bytes },
                timeout,
                retry_after,
            }
        },
    )
}

fn paxos_options(sites: u8) -> impl Strategy<Value = PaxosOptions> {
    let variants = prop_oneof![Just(Variant::Multi), Just(Variant::Fall), Just(Variant::Regular)];
    let options = (variants, 0..sites, 1usize..1 << 20, 1usize..1 << 20, 1u64..5000, 1u64..100_000);
    options.prop_map(|(variant, leader, pipeline, batch, heartbeat_ms, ms)| {
        let pipeline = if variant == Variant::Fall { 1 } else { pipeline };
        let election_timeout_ms = heartbeat_ms + ms;
        let log_instances_max = batch;
        PaxosOptions {
            variant,
            leader,
            pipeline,
            batch,
            heartbeat_ms,
            election_timeout_ms,
            retransmit_ms: ms,
            log_instances_max,
        }
    })
}

fn epaxos_options(sites: u8) -> impl Strategy<Value = EpaxosOptions> {
    let fast_paths = prop::sample::select(vec![
        FastPath::Published,
        FastPath::FixedQuorum,
        FastPath::DepsCommitted,
        FastPath::AcceptDeps,
        FastPath::Simplified,
    ]);
    let sizes = (1usize..1 << 20, 1usize..1 << 20, 1usize..1 << 32);
    let times_ms = (1u64..5000, 1u64..100_000, 1u64..100_000, 1u64..100_000);
    let choices = (fast_paths, any::<[bool; 5]>());
    let options = (choices, sizes, times_ms).prop_map(
        |((fast_path, [thrifty, near, prefix, early, hold]), (window, batch, kept), times_ms)| {
            let (heartbeat_ms, more_ms, fallback_ms, recover_ms) = times_ms;
            EpaxosOptions {
                replaces: None,
                fast_path,
                thrifty,
                quorum: if near { QuorumChoice::Nearest } else { QuorumChoice::Measured },
                near: Vec::new(),
                dependencies: if prefix { Dependencies::Prefix } else { Dependencies::Explicit },
                reply: if early { ReplyAt::Committed } else { ReplyAt::Executed },
                window,
                hold,
                batch,
                heartbeat_ms,
                suspect_ms: heartbeat_ms + more_ms,
                fallback_ms,
                recover_ms,
                log_instances_max: kept,
            }
        },
    );
    let fits = move |options: &EpaxosOptions| options.check(usize::from(sites)).is_ok();
    options.prop_filter("contradictory", fits)
}

fn caspaxos_options(sites: u8) -> impl Strategy<Value = CaspaxosOptions> {
    let sizes = (0..=sites, 0..=sites, 1usize..1 << 20, any::<u8>());
    let times_ms = (1u64..5000, 1u64..100_000, 1u64..100_000, 0u64..100_000);
    let options = (sizes, any::<[bool; 2]>(), times_ms).prop_map(
        |((prepare, accept, batch, forward_after), [one_round_trip, clean], times_ms)| {
            let (resend_ms, backoff_max_ms, repair_ms, collect_ms) = times_ms;
            CaspaxosOptions {
                prepare,
                accept,
                one_round_trip,
                reads: if clean { Reads::Clean } else { Reads::Change },
                batch,
                resend_ms,
                backoff_max_ms,
                forward_after,
                repair_ms,
                collect_ms,
                replaces: None,
            }
        },
    );
    let fits = move |options: &CaspaxosOptions| options.check(usize::from(sites)).is_ok();
    options.prop_filter("quorums need not intersect", fits)
}

fn multicoordinated_options(sites: u8) -> impl Strategy<Value = MulticoordinatedOptions> {
    let rounds = prop::sample::select(vec![Rounds::Fast, Rounds::Single, Rounds::Multi]);
    let places: Vec<u8> = (0..sites).collect();
    let coordinators = prop::sample::subsequence(places, 0..=usize::from(sites)).prop_shuffle();
    let choices = (rounds, any::<[bool; 4]>(), coordinators);
    let sizes = (0..sites, 0..=sites, 0..=sites, 1usize..1 << 24);
    let times_ms = (1u64..100_000, 1u64..100_000, 1u64..5000, 1u64..100_000);
    let options = (choices, sizes, times_ms).prop_map(
        |((rounds, [balance, recovers, shrink, sequence], coordinators), sizes, times_ms)| {
            let (leader, classic, fast, checkpoint) = sizes;
            let (return_after_ms, fallback_ms, heartbeat_ms, more_ms) = times_ms;
            let multi = rounds == Rounds::Multi;
            MulticoordinatedOptions {
                rounds,
                leader,
                coordinators: if multi { coordinators } else { Vec::new() },
                classic,
                fast,
                balance: balance && rounds != Rounds::Single,
                recovery: match rounds {
                    _ if recovers => Recovery::Leader,
                    Rounds::Fast => Recovery::Uncoordinated,
                    _ => Recovery::Coordinated,
                },
                shrink: shrink && multi,
                structure: if sequence { Structure::Sequence } else { Structure::History },
                checkpoint,
                return_after_ms,
                fallback_ms,
                runs_max: MulticoordinatedOptions::default().runs_max,
                heartbeat_ms,
                election_timeout_ms: heartbeat_ms + more_ms,
            }
        },
    );
    let fits = move |options: &MulticoordinatedOptions| options.check(usize::from(sites)).is_ok();
    options.prop_filter("quorums need not intersect", fits)
}

/// Modes for so many sites: `epaxos` among them where it can run.
fn modes(sites: u8) -> impl Strategy<Value = Vec<Mode>> {
    let paxos = paxos_options(sites).prop_map(ProtocolChoice::Paxos).boxed();
    let caspaxos = caspaxos_options(sites).prop_map(ProtocolChoice::Caspaxos).boxed();
    let multicoordinated = multicoordinated_options(sites);
    let multicoordinated = multicoordinated.prop_map(ProtocolChoice::Multicoordinated).boxed();
    let protocol = match EpaxosOptions::default().check(usize::from(sites)) {
        Ok(()) => {
            let epaxos = epaxos_options(sites).prop_map(ProtocolChoice::Epaxos);
            prop_oneof![paxos, epaxos, multicoordinated, caspaxos].boxed()
        }
        Err(_) => prop_oneof![paxos, multicoordinated, caspaxos].boxed(),
    };
    prop::collection::vec(protocol, 1..4).prop_map(|all| {
        let mode = |(n, protocol)| Mode { label: format!("mode-{n}"), protocol };
        all.into_iter().enumerate().map(mode).collect()
    })
}

fn matrices(sites: usize) -> impl Strategy<Value = Matrix> {
    prop::collection::vec(0.001..1000.0f64, sites * sites).prop_map(move |times| {
        let rtt = |a: usize, b: usize| {
            if a == b { 0.0 } else { times[a.min(b) * sites + a.max(b)] }
        };
        Matrix {
            source: "a test: with \"quotes\", and # marks".to_owned(),
            sites: (0..sites).map(|n| format!("site-{n}")).collect(),
            rtt_ms: (0..sites).map(|a| (0..sites).map(|b| rtt(a, b)).collect()).collect(),
        }
    })
}

fn networks(sites: usize) -> impl Strategy<Value = Network> {
    let shares = (0.0..1.0f64, 0.0..1.0f64);
    let shaped = (matrices(sites), durations(), shares, prop::option::of(1u64..1 << 50));
    let shaped = shaped.prop_map(|(matrix, jitter, (loss, reorder), bandwidth_bps)| Network {
        spares: Vec::new(),
        sites: matrix.sites.clone(),
        rtt: Some(matrix),
        jitter,
        loss,
        reorder,
        bandwidth_bps,
        shaping: Shaping::Endpoint,
    });
    let plain = prop::option::of(matrices(sites)).prop_map(move |rtt| Network {
        sites: (0..sites).map(|n| format!("site-{n}")).collect(),
        spares: Vec::new(),
        rtt,
        jitter: Duration::ZERO,
        loss: 0.0,
        reorder: 0.0,
        bandwidth_bps: None,
        shaping: Shaping::None,
    });
    prop_oneof![shaped, plain]
}

fn transports() -> impl Strategy<Value = TransportOptions> {
    let numbers = (1usize..=64, 2400u64..1 << 32, 1200u16..65_527);
    (numbers, 1u32..10_000, 1usize << 16..1 << 40, 1u64..1_000_000).prop_map(
        |((lanes, initial_window_bytes, mtu_bytes_max), ack, queue_bytes_max, idle_timeout_ms)| {
            TransportOptions {
                lanes,
                initial_window_bytes,
                congestion: if ack % 2 == 0 { Congestion::Cubic } else { Congestion::Bbr },
                mtu_bytes_max,
                ack_after_packets: ack,
                queue_bytes_max,
                idle_timeout_ms,
            }
        },
    )
}

fn checks() -> impl Strategy<Value = (Check, Thresholds)> {
    let limits = prop::array::uniform3(prop::option::of(durations()));
    let check = (any::<bool>(), 1u64 << 20..1 << 50, durations());
    (check, limits, prop::option::of(any::<u64>())).prop_map(
        |((history, memory_bytes, timeout), [p50, p99, p99_9], errors)| {
            (Check { history, memory_bytes, timeout }, Thresholds { p50, p99, p99_9, errors })
        },
    )
}

/// At most one a replica, within the measured phase.
fn faults(sites: &[String], measure: Duration) -> impl Strategy<Value = Vec<Fault>> + use<> {
    let sites = sites.to_vec();
    let fault = move |replica: String| {
        (0u32..500, 1u32..499, 0u32..4).prop_map(move |(at, lasts, kind)| {
            let share = |thousandths| measure / 1000 * thousandths;
            let (replica, lasts, by) = (replica.clone(), share(lasts), Duration::from_millis(30));
            let kind = match kind {
                0 => FaultKind::Crash { replica },
                1 => FaultKind::Pause { replica, lasts },
                2 => FaultKind::Isolate { replica, lasts },
                _ => FaultKind::Slow { replica, by, lasts },
            };
            Fault { at: share(at), kind }
        })
    };
    let some = prop::sample::subsequence(sites.clone(), 0..=sites.len());
    some.prop_flat_map(move |sites| sites.into_iter().map(&fault).collect::<Vec<_>>()).prop_map(
        |mut faults| {
            faults.sort_by_key(|fault| fault.at);
            faults
        },
    )
}

fn with_faults(experiment: Experiment) -> impl Strategy<Value = Experiment> {
    let shaped = experiment.network.shaping == Shaping::Endpoint;
    let shapes =
        |kind: &FaultKind| matches!(kind, FaultKind::Slow { .. } | FaultKind::Isolate { .. });
    faults(&experiment.network.sites, experiment.phases.measure).prop_map(move |mut faults| {
        faults.retain(|fault| shaped || !shapes(&fault.kind));
        let network = &experiment.network;
        faults.extend(network.spare_names().into_iter().map(|spare| {
            let kind = FaultKind::Join { spare, replica: network.sites[0].clone() };
            Fault { at: experiment.phases.measure / 2, kind }
        }));
        if experiment.modes.iter().all(|mode| mode.protocol.can_choose_members()) {
            // Of those that may have crashed none is named; the spares run already.
            let members = network.spare_names();
            let kind = FaultKind::Members { members };
            faults.push(Fault { at: experiment.phases.measure / 2, kind });
        }
        Experiment { faults, ..experiment.clone() }
    })
}

/// Values of one kind, at a site and of a mode.
fn with_published(experiment: Experiment) -> impl Strategy<Value = Experiment> {
    let (site, mode) = (experiment.network.sites[0].clone(), experiment.modes[0].label.clone());
    let durations = proptest::collection::vec((1u64..100_000, any::<bool>()), 1..4);
    (0u32..4, durations).prop_map(move |(kind, durations)| {
        let system = |n: usize| format!("system: {n}");
        let latency = |(n, (us, of_mode)): (usize, &(u64, bool))| PublishedLatency {
            mode: of_mode.then(|| mode.clone()),
            system: Some(system(n)),
            site: site.clone(),
            latency: Duration::from_micros(*us),
        };
        let unavailability = |(n, (ms, named)): (usize, &(u64, bool))| PublishedUnavailability {
            system: system(n),
            protocol: named.then(|| "Raft".to_owned()),
            lasts: Duration::from_millis(ms - 1),
        };
        let numbered = || durations.iter().enumerate();
        let values = match kind {
            0 => PublishedValues::Latency(Statistic::Mean, numbered().map(latency).collect()),
            1 => PublishedValues::Latency(Statistic::P50, numbered().map(latency).collect()),
            2 => PublishedValues::Unavailability(numbered().map(unavailability).collect()),
            _ => return experiment.clone(),
        };
        let (source, what) = ("a paper, §3".to_owned(), "what it did: this".to_owned());
        Experiment { published: vec![Published { source, what, values }], ..experiment.clone() }
    })
}

fn experiments() -> impl Strategy<Value = Experiment> {
    let sized = (1usize..8).prop_flat_map(|sites| (modes(sites as u8), networks(sites)));
    let phases = (0u64..100, durations(), 1u32..10_000);
    (sized, any::<u64>(), workloads(), phases, transports(), checks())
        .prop_map(
            |(
                (modes, mut network),
                seed,
                mut workload,
                (warmup, measure, repeat),
                transport,
                check,
            )| {
                if modes.iter().all(|mode| mode.protocol.can_change_members()) {
                    network.spares = network.sites.iter().rev().cycle().take(4).cloned().collect();
                }
                if !modes.iter().all(|mode| mode.protocol.has_transfers()) {
                    let mix = &mut workload.operations;
                    mix.get += std::mem::take(&mut mix.transfer);
                }
                let warmup = Duration::from_secs(warmup);
                Experiment {
                    name: "generated".to_owned(),
                    seed,
                    modes,
                    network,
                    workload,
                    phases: Phases { warmup, measure, repeat },
                    storage: Storage { log: LogKind::Memory },
                    faults: Vec::new(),
                    published: Vec::new(),
                    sweep: Sweep::default(),
                    transport,
                    check: check.0,
                    thresholds: check.1,
                }
            },
        )
        .prop_flat_map(with_faults)
        .prop_flat_map(with_published)
}

proptest! {
    #[test]
    fn an_experiment_that_is_written_and_read_again_is_the_same(experiment in experiments()) {
        let text = experiment.to_yaml();
        let again = Experiment::parse("copy.yaml", &text, Path::new("/nowhere"), &[]);
        prop_assert_eq!(again.map_err(|e| format!("{e}\n{text}")), Ok(experiment));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "(name|modes|network|sites|: |\\[|\\]|\\{|\\}|,|\n|  |- |&a |\\*a|!t|paxos|5s|-|\"|#|\\PC){0,40}") {
        let _ = Experiment::parse("any", &text, Path::new("."), &[]);
    }
}
