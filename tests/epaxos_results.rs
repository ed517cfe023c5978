//! EPaxos over the real network: answers are right, and no replica's death stops the others.

mod common;

use common::{Lab, alone};

#[test]
fn contended_keys_are_linearizable_whatever_the_fast_path_and_the_form_of_dependencies() {
    let _alone = alone();
    let lab = Lab::new();
    let modes = "modes=[epaxos, \
        { mode: epaxos, label: published, fast_path: published, thrifty: false }, \
        { mode: epaxos, label: prefix, dependencies: prefix }, \
        { mode: epaxos, label: deps-committed, fast_path: deps-committed, reply: committed }, \
        { mode: epaxos, label: accept-deps, fast_path: accept-deps, reply: committed }, \
        { mode: epaxos, label: simplified, fast_path: simplified, reply: committed }]";
    let results = lab.results_of(&[modes, "phases.measure=1s", "workload.keys.uniform=3"]);
    assert_eq!(results.summary.runs.len(), 6);
    for run in &results.summary.runs {
        let (count, errors) = common::totals(run);
        assert!(count > 200 && errors == 0, "{}: {count} answers, {errors} errors", run.label);
    }
}

#[test]
fn the_death_of_any_replica_stops_no_other_site() {
    let _alone = alone();
    for victim in ["oslo", "rome", "cairo"] {
        let lab = Lab::new();
        let crash = format!("faults=[{{ at: 1s, crash: {victim} }}]");
        let results = lab.results_of(&[
            "modes=[epaxos]",
            "workload.keys.uniform=100000",
            "phases.measure=4s",
            "workload.retry_after=300ms",
            &crash,
        ]);
        let marks = &results.summary.runs[0].faults;
        assert!(marks.len() == 1 && marks[0].t_ms >= 1000, "{marks:?}");
        // A quorum that lost a member is given up after two round trips and two heartbeats.
        common::no_other_site_waits(&results, victim, 400);
        assert_eq!(
            common::totals(&results.summary.runs[0]).1,
            0,
            "no client is left without answer"
        );
    }
}
