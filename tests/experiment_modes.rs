//! What follows from the modes of an experiment file: their options, their load, their bounds.

use std::path::Path;

use paxbench::cluster::ProtocolChoice;
use paxbench::experiment::file::{Experiment, Mode};
use paxbench::experiment::plan::describe;
use paxbench::load::plan::Retries;
use paxbench::load::workload::Kind;
use paxbench::protocol::caspaxos::options::{CaspaxosOptions, Reads};
use paxbench::protocol::multicoordinated::options::{
    MulticoordinatedOptions, Recovery, Rounds, Structure,
};

const THREE_SITES: &str = "network: { sites: [virginia, tokyo, ireland], shaping: none }";

fn parsed(text: &str) -> Experiment {
    Experiment::parse("test", text, Path::new("."), &[]).unwrap_or_else(|e| panic!("{e}"))
}

fn caspaxos(mode: &Mode) -> &CaspaxosOptions {
    let ProtocolChoice::Caspaxos(options) = &mode.protocol else { panic!("{mode:?}") };
    options
}

#[test]
fn caspaxos_takes_every_option() {
    let text = format!(
        "
name: every
modes:
  - mode: caspaxos
    label: all-changed
    prepare: 3
    accept: 1
    one_round_trip: false
    reads: clean
    batch: 8
    resend: 90ms
    backoff_max: 2s
    forward_after: 3
    repair: 1.5s
    collect: 0s
{THREE_SITES}
"
    );
    let expected = CaspaxosOptions {
        prepare: 3,
        accept: 1,
        one_round_trip: false,
        reads: Reads::Clean,
        batch: 8,
        resend_ms: 90,
        backoff_max_ms: 2000,
        forward_after: 3,
        repair_ms: 1500,
        collect_ms: 0,
        replaces: None,
    };
    let experiment = parsed(&text);
    assert_eq!(*caspaxos(&experiment.modes[0]), expected);
    let words = "all-changed: caspaxos, prepare 3 of 3, accept 1 of 3, two round trips, reads clean, batch 8\n";
    assert!(describe(&experiment).contains(words), "{}", describe(&experiment));
}

#[test]
fn caspaxos_stands_beside_paxos_and_its_defaults_are_written_out() {
    let modes = "modes: [paxos, caspaxos, { mode: caspaxos, label: clean, reads: clean }]";
    let experiment = parsed(&format!("name: beside\n{modes}\n{THREE_SITES}\n"));
    assert_eq!(*caspaxos(&experiment.modes[1]), CaspaxosOptions::default());
    let written = experiment.to_yaml();
    let usual = "
- mode: caspaxos
  label: caspaxos
  prepare: majority
  accept: majority
  one_round_trip: true
  reads: change
  batch: 4096
  resend: 500ms
  backoff_max: 1s
  forward_after: 0
  repair: 500ms
  collect: 1s
- mode: caspaxos
  label: clean
";
    assert!(written.contains(usual), "{written}");
    assert_eq!(parsed(&written), experiment);
    let words = "caspaxos: caspaxos, prepare 2 of 3, accept 2 of 3, one round trip, reads change, batch 4096\n";
    assert!(describe(&experiment).contains(words), "{}", describe(&experiment));
}

fn multicoordinated(mode: &Mode) -> &MulticoordinatedOptions {
    let ProtocolChoice::Multicoordinated(options) = &mode.protocol else { panic!("{mode:?}") };
    options
}

#[test]
fn multicoordinated_takes_every_option() {
    let text = format!(
        "
name: every
modes:
  - mode: multicoordinated
    label: all-changed
    rounds: multi
    leader: tokyo
    coordinators: [ireland, tokyo]
    classic: 3
    fast: 3
    balance: true
    recovery: leader
    shrink: true
    structure: sequence
    checkpoint: 8
    return_after: 1.5s
    fallback: 90ms
    heartbeat: 70ms
    election_timeout: 2s
  - {{ mode: multicoordinated, label: fast, rounds: fast, recovery: uncoordinated, fast: 3 }}
  - {{ mode: multicoordinated, label: single, rounds: single, leader: ireland }}
{THREE_SITES}
"
    );
    let expected = MulticoordinatedOptions {
        rounds: Rounds::Multi,
        leader: 1,
        coordinators: vec![2, 1],
        classic: 3,
        fast: 3,
        balance: true,
        recovery: Recovery::Leader,
        shrink: true,
        structure: Structure::Sequence,
        checkpoint: 8,
        return_after_ms: 1500,
        fallback_ms: 90,
        runs_max: 8192,
        heartbeat_ms: 70,
        election_timeout_ms: 2000,
    };
    let experiment = parsed(&text);
    assert_eq!(*multicoordinated(&experiment.modes[0]), expected);
    let fast = multicoordinated(&experiment.modes[1]);
    assert_eq!((fast.rounds, fast.recovery), (Rounds::Fast, Recovery::Uncoordinated));
    assert_eq!(parsed(&experiment.to_yaml()), experiment);
    let plan = describe(&experiment);
    for words in [
        "all-changed: multicoordinated, rounds multi, leader tokyo, coordinators [ireland, tokyo], \
         classic 3 of 3, recovery leader, balanced, shrinking, structure sequence\n",
        "fast: multicoordinated, rounds fast, leader virginia, fast 3 of 3, classic 2 of 3, \
         recovery uncoordinated, structure history\n",
        "single: multicoordinated, rounds single, leader ireland, classic 2 of 3, structure history\n",
    ] {
        assert!(plan.contains(words), "{words}{plan}");
    }
}

#[test]
fn multicoordinated_stands_beside_paxos_and_its_defaults_are_written_out() {
    let modes =
        "modes: [paxos, multicoordinated, { mode: multicoordinated, label: fast, rounds: fast }]";
    let experiment = parsed(&format!("name: beside\n{modes}\n{THREE_SITES}\n"));
    assert_eq!(*multicoordinated(&experiment.modes[1]), MulticoordinatedOptions::default());
    let written = experiment.to_yaml();
    let usual = "
- mode: multicoordinated
  label: multicoordinated
  rounds: multi
  leader: virginia
  coordinators: all
  classic: majority
  fast: least
  balance: false
  recovery: coordinated
  shrink: false
  structure: history
  checkpoint: 65536
  return_after: 1s
  fallback: 500ms
  heartbeat: 50ms
  election_timeout: 1s
- mode: multicoordinated
  label: fast
";
    assert!(written.contains(usual), "{written}");
    assert_eq!(parsed(&written), experiment);
    let words = "multicoordinated: multicoordinated, rounds multi, leader virginia, coordinators all, \
                 classic 2 of 3, recovery coordinated, structure history\n";
    assert!(describe(&experiment).contains(words), "{}", describe(&experiment));
}

/// What the driver writes for replicas is what they read.
#[test]
fn multicoordinated_comes_through_a_cluster_file() {
    let coordinators = vec![0, 2];
    let options = MulticoordinatedOptions { coordinators, ..MulticoordinatedOptions::default() };
    let protocol = ProtocolChoice::Multicoordinated(options);
    let text = serde_yaml::to_string(&protocol).unwrap();
    assert!(text.starts_with("mode: multicoordinated\n"), "{text}");
    assert_eq!(serde_yaml::from_str::<ProtocolChoice>(&text).unwrap(), protocol);
    let unknown = "{ mode: multicoordinated, quorum: 2 }";
    assert!(serde_yaml::from_str::<ProtocolChoice>(unknown).is_err());
    assert!(protocol.has_transfers() && !protocol.can_change_members());
}

#[test]
fn each_mode_has_its_own_way_of_trying_again() {
    let modes = "[paxos, epaxos, multicoordinated, caspaxos]";
    let experiment = parsed(&format!("name: n\nmodes: {modes}\n{THREE_SITES}\n"));
    let retries = |mode| experiment.load_plan(mode, 1).retries;
    let retries: Vec<_> = experiment.modes.iter().map(retries).collect();
    let [any, same] = [Retries::AnyReplica, Retries::SameReplica];
    assert_eq!(retries, [any, any, any, same]);
}

/// Where reads and writes have different bounds, all operations together have the lesser.
#[test]
fn the_bound_of_a_site_is_that_of_its_shortest_operation() {
    let text = "
name: n
modes: [{ mode: caspaxos, one_round_trip: false, reads: clean }]
network: { sites: [a, b, c], rtt: { source: s, sites: [a, b, c], rtt_ms: { a: { b: 10, c: 20 }, b: { c: 30 } } } }
workload: { operations: ";
    for (operations, bounds) in [
        ("{ get: 100% } }", [10.0, 10.0, 20.0]),
        ("{ get: 1%, put: 99% } }", [10.0, 10.0, 20.0]),
        ("{ put: 50%, increment: 50% } }", [20.0, 20.0, 40.0]),
        ("{ increment: 100% } }", [30.0, 30.0, 60.0]),
    ] {
        let experiment = parsed(&format!("{text}{operations}"));
        let mode = &experiment.modes[0];
        let least = (0..3).map(|site| experiment.least_bound_ms(mode, site).unwrap());
        assert_eq!(least.collect::<Vec<_>>(), bounds, "{operations}");
        assert_eq!(experiment.bound_ms(mode, 2, Kind::Put), Some(40.0));
        assert!(describe(&experiment).contains(&format!("{:.1}", bounds[2])));
    }
}
