//! EPaxos over the real network: answers are right, and no replica's death stops the others.

mod common;

use std::collections::BTreeMap;

use common::{Lab, alone};
use paxbench::results::Results;

/// By site, the longest time in ms without a completion between its first and its last.
fn gaps_ms(results: &Results) -> BTreeMap<String, i64> {
    let mut busy: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for row in results.timeline().unwrap() {
        if row.completed > 0 {
            busy.entry(row.site).or_default().push(row.t_ms);
        }
    }
    let gap = |times: &[i64]| times.windows(2).map(|pair| pair[1] - pair[0] - 100).max();
    busy.into_iter().map(|(site, times)| (site, gap(&times).unwrap_or(i64::MAX))).collect()
}

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
    let ended = lab.run(&[modes, "phases.measure=1s", "workload.keys.uniform=3"]).wait();
    let results = ended.succeeded(&lab.finished());
    lab.is_clean();
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
        let ended = lab
            .run(&[
                "modes=[epaxos]",
                "workload.keys.uniform=100000",
                "phases.measure=4s",
                "workload.retry_after=300ms",
                &crash,
            ])
            .wait();
        let results = ended.succeeded(&lab.finished());
        lab.is_clean();
        let marks = &results.summary.runs[0].faults;
        assert!(marks.len() == 1 && marks[0].t_ms >= 1000, "{marks:?}");
        let gaps_ms = gaps_ms(&results);
        let others = gaps_ms.iter().filter(|(site, _)| **site != victim);
        let longest = others.map(|(_, gap_ms)| *gap_ms).max().unwrap();
        // A quorum that lost a member is given up after two round trips and two heartbeats.
        assert!(longest <= 400, "{victim} dies: {gaps_ms:?}");
        assert_eq!(
            common::totals(&results.summary.runs[0]).1,
            0,
            "no client is left without answer"
        );
    }
}
