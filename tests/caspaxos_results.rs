//! CASPaxos over the real network: answers are right, no replica's death stops the others, and who was cut off
//! catches up.

mod common;

use std::collections::BTreeMap;

use common::{Lab, alone};
use paxbench::results::{Results, RunSummary, SiteSummary};

/// All operations but transfers, which touch two keys.
const OPERATIONS: &str =
    "workload.operations={ put: 30%, get: 30%, cas: 20%, rmw: 10%, delete: 10% }";

/// The parts of 1 by which a percentile may be off: the histograms keep three digits.
const RESOLUTION: f64 = 0.005;

/// What the cores of a run's replicas counted, all together.
fn counted(results: &Results, run: &RunSummary) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for replica in results.replicas(run).unwrap() {
        for (name, count) in replica.core {
            *sums.entry(name).or_default() += count;
        }
    }
    sums
}

/// No site's median is below what the network allows.
fn bounds_hold(run: &RunSummary) {
    let whole = run.sites.iter().filter(|site| site.op == SiteSummary::ALL);
    for site in whole {
        let (bound_ms, latency) = (site.bound_ms.unwrap(), site.latency_ms.unwrap());
        assert!(latency.p50 >= bound_ms * (1.0 - RESOLUTION), "{}: {site:?}", run.label);
    }
}

/// How busy the machine is shows in latencies, and not in how often a proposer needed a Prepare.
#[test]
fn who_wrote_a_key_last_writes_it_again_in_one_round_trip() {
    let _alone = alone();
    let lab = Lab::new();
    let modes = "modes=[caspaxos, { mode: caspaxos, label: cold, one_round_trip: false }]";
    let operations = "workload.operations={ put: 50%, get: 50% }";
    let keys = "workload.keys={ conflict: 0%, own_keys: 3 }";
    let results = lab.results_of(&[modes, operations, keys]);
    let [warm, cold] = &results.summary.runs[..] else { panic!("{:?}", results.summary) };
    for run in [warm, cold] {
        assert_eq!(common::totals(run), (450, 0), "an open schedule offers what the file says");
        bounds_hold(run);
    }
    let warm = counted(&results, warm);
    // Three keys of each of twelve clients are written for the first time.
    assert!(warm["two_round_trips"] <= 2 * 36 && warm["one_round_trip"] >= 300, "{warm:?}");
    let cold = counted(&results, cold);
    assert!(cold["one_round_trip"] == 0 && cold["two_round_trips"] >= 300, "{cold:?}");
    assert_eq!((warm["unknown"], cold["unknown"]), (0, 0));
}

#[test]
fn keys_of_all_sites_are_linearizable_whatever_the_options() {
    let _alone = alone();
    let lab = Lab::new();
    let modes = "modes=[caspaxos, \
        { mode: caspaxos, label: clean, reads: clean, batch: 2 }, \
        { mode: caspaxos, label: read-all, prepare: 3, accept: 1, collect: 0s }, \
        { mode: caspaxos, label: write-all, prepare: 1, accept: 3, one_round_trip: false }]";
    let results = lab.results_of(&[modes, OPERATIONS, "workload.keys.uniform=30"]);
    assert_eq!(results.summary.runs.len(), 4);
    for run in &results.summary.runs {
        let (count, _) = common::totals(run);
        assert!(count > 200, "{}: {count} answers", run.label);
        bounds_hold(run);
    }
}

#[test]
fn the_death_of_any_replica_stops_no_other_site() {
    let _alone = alone();
    for victim in ["oslo", "cairo"] {
        let lab = Lab::new();
        let crash = format!("faults=[{{ at: 1s, crash: {victim} }}]");
        let keys = "workload.keys={ conflict: 0% }";
        let results =
            lab.results_of(&["modes=[caspaxos]", OPERATIONS, keys, "phases.measure=3s", &crash]);
        // Nobody waits for it, and nobody's round trip is longer than 16 ms.
        common::no_other_site_waits(&results, victim, 400);
        let run = &results.summary.runs[0];
        let lost = run.sites.iter().filter(|site| site.op == SiteSummary::ALL && site.errors > 0);
        assert!(lost.clone().all(|site| site.site == victim), "{:?}", lost.collect::<Vec<_>>());
    }
}

#[test]
fn who_was_cut_off_from_thousands_of_changes_has_the_same_state_soon_after() {
    let _alone = alone();
    let lab = Lab::new();
    let results = lab.results_of(&[
        "modes=[caspaxos]",
        "workload.operations={ put: 100% }",
        "workload.keys={ conflict: 0%, own_keys: 100000 }",
        "workload.arrival.open=2000/s",
        "phases.measure=4s",
        "faults=[{ at: 500ms, isolate: cairo, for: 3s }]",
    ]);
    let copied = counted(&results, &results.summary.runs[0])["copied"];
    let states = results.final_states(&results.summary.runs[0]).unwrap();
    let (registers, _) = states[0].clone().expect("all are there at the end");
    assert!(registers > 8000 && states.iter().all(|state| *state == states[0]), "{states:?}");
    // What it lacks is sent once nobody writes there any more: most of it when the load has ended.
    assert!(copied < registers, "{copied} of {registers}");
}

#[test]
fn a_spare_takes_the_place_of_a_dead_replica_and_ends_in_the_same_state() {
    let _alone = alone();
    let lab = Lab::new();
    let results = lab.results_of(&[
        "modes=[caspaxos]",
        OPERATIONS,
        "network.spares=[oslo]",
        "workload.keys={ conflict: 5%, own_keys: 20 }",
        "phases.measure=6s",
        "faults=[{ at: 1s, crash: oslo }, { at: 2s, join: oslo-2, replaces: oslo }, \
             { at: 5s, crash: rome }]",
    ]);
    let run = &results.summary.runs[0];
    let states = results.final_states(run).unwrap();
    assert_eq!(states.iter().flatten().count(), 2, "oslo-2 and cairo are left: {states:?}");
    // Two of the three members of now, of which one is the spare, go on without rome.
    let late = |row: &paxbench::results::TimelineRow| row.t_ms >= 5500 && row.site == "cairo";
    let completed: u64 =
        results.timeline().unwrap().iter().filter(|row| late(row)).map(|row| row.completed).sum();
    assert!(completed > 10, "{completed}");
}
