//! What follows from the modes of an experiment file: their options, their load, their bounds.

use std::path::Path;

use paxbench::cluster::ProtocolChoice;
use paxbench::experiment::file::{Experiment, Mode};
use paxbench::experiment::plan::describe;
use paxbench::load::plan::Retries;
use paxbench::load::workload::Kind;
use paxbench::protocol::caspaxos::options::{CaspaxosOptions, Reads};

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

#[test]
fn each_mode_has_its_own_way_of_trying_again() {
    let experiment = parsed(&format!("name: n\nmodes: [paxos, epaxos, caspaxos]\n{THREE_SITES}\n"));
    let retries = |mode| experiment.load_plan(mode, 1).retries;
    let retries: Vec<_> = experiment.modes.iter().map(retries).collect();
    assert_eq!(retries, [Retries::AnyReplica, Retries::AnyReplica, Retries::SameReplica]);
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
