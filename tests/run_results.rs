//! An experiment from the file to the report, with the binaries as a person runs them.

mod common;

use std::io::Read;
use std::path::{Path, PathBuf};

use common::{Lab, alone, longest_gap_ms, totals, wait_for};
use paxbench::check::history::{Completion, OperationRecord, read_history};
use paxbench::experiment::file::Experiment;
use paxbench::results::{Results, RunSummary};

/// What a run's directory holds, for one run of `paxos` at three sites.
const FILES: [&str; 16] = [
    "manifest.json",
    "experiment.yaml",
    "summary.json",
    "summary.csv",
    "histograms/paxos-0-0-oslo-put.hlog",
    "histograms/paxos-0-0-cairo-transfer.hlog",
    "timeline.csv",
    "history/paxos-0-0-rome.jsonl.zst",
    "replicas/paxos-0-0-rome.json",
    "figures/latency.svg",
    "figures/latency.png",
    "figures/timeline-paxos.svg",
    "figures/timeline-paxos.png",
    "report.html",
    "logs/paxos-0-0-oslo.log",
    "logs/paxos-0-0-load-oslo.log",
];

fn files_under(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_under(&path)) } else { found.push(path) }
    }
    found
}

fn histories(dir: &Path) -> Vec<PathBuf> {
    let mut files = files_under(&dir.join("history"));
    files.sort();
    files
}

/// The summary counts what was scheduled in the measured phase; the history has the warm-up, too.
fn counts_agree(dir: &Path, run: &RunSummary) {
    let history = read_history(&histories(dir)).unwrap();
    let answered = |o: &&OperationRecord| matches!(o.completion, Completion::Ok(_));
    let (count, errors) = totals(run);
    let found = history.operations.iter().filter(answered).count() as u64;
    // 100/s at each of three sites: 1.5 s measured, 0.2 s of warm-up.
    assert_eq!(count + errors, 450, "an open schedule offers what the file says");
    assert_eq!(errors, 0);
    assert_eq!(found, 450 + 60);
    for op in ["put", "get", "cas", "rmw", "delete", "transfer"] {
        let summed: u64 = run.sites.iter().filter(|s| s.op == op).map(|s| s.count).sum();
        let in_history = history.operations.iter().filter(|o| o.call.function() == op).count();
        assert!(summed > 0 && summed <= in_history as u64, "{op}: {summed} of {in_history}");
    }
}

fn no_secret_is_kept(dir: &Path) {
    for path in files_under(dir) {
        let bytes = std::fs::read(&path).unwrap();
        let secret = bytes.windows(11).any(|window| window == b"PRIVATE KEY");
        assert!(!secret, "{} holds a private key", path.display());
    }
}

fn check_says(lab: &Lab, dir: &Path, code: i32, words: &[&str]) {
    let ended = lab.paxbench(&["check", dir.to_str().unwrap()]).wait();
    assert_eq!(ended.code(), code, "{ended:?}");
    for word in words {
        assert!(ended.stdout.contains(word), "`{word}` is not in: {}", ended.stdout);
    }
}

/// The first half of a history's lines, compressed as if they were all.
fn without_its_end(compressed: &[u8]) -> Vec<u8> {
    let text = zstd::decode_all(compressed).unwrap();
    let half = text.len() / 2;
    let end = half + text[half..].iter().position(|b| *b == b'\n').unwrap() + 1;
    zstd::encode_all(&text[..end], 3).unwrap()
}

/// Rewrites the first register that a `get` found.
fn falsify(path: &Path) {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    zstd::Decoder::new(file).unwrap().read_to_string(&mut text).unwrap();
    let is_read = |line: &&str| {
        line.contains(r#""type":"ok","f":"get""#) && !line.contains(r#""value":null"#)
    };
    let read = text.lines().find(is_read).expect("a get found something");
    let mut event: serde_json::Value = serde_json::from_str(read).unwrap();
    event["value"] = 123_456_789_u64.into();
    let text = text.replacen(read, &event.to_string(), 1);
    std::fs::write(path, zstd::encode_all(text.as_bytes(), 3).unwrap()).unwrap();
}

#[test]
fn an_experiment_leaves_everything_and_its_results_can_be_checked_and_drawn_again() {
    let _alone = alone();
    let lab = Lab::new();
    let driver = lab.run(&[]);
    wait_for("six workers", || (lab.processes().len() == 6).then_some(()));
    let ended = driver.wait();
    let dir = lab.finished();
    let results = ended.succeeded(&dir);
    lab.is_clean();
    assert!(ended.stdout.contains("oslo") && ended.stdout.contains("report.html"), "{ended:?}");
    assert!(!ended.stderr.contains('\u{1b}') && !ended.stderr.contains('\r'), "{ended:?}");
    assert_eq!(
        ended.stderr.lines().count(),
        2,
        "a line at the start, a line at the end: {ended:?}"
    );
    for file in FILES {
        let length = std::fs::metadata(dir.join(file)).map_or(0, |file| file.len());
        assert!(length > 0, "{file} is missing or empty");
    }
    no_secret_is_kept(&dir);
    let asked = Experiment::read(&lab.path("e2e.yaml"), &[]).unwrap();
    assert_eq!(Experiment::read(&dir.join("experiment.yaml"), &[]).unwrap(), asked);
    let [run] = &results.summary.runs[..] else { panic!("{:?}", results.summary) };
    counts_agree(&dir, run);
    assert!(results.manifest.notes.is_empty(), "{:?}", results.manifest.notes);
    assert!(longest_gap_ms(&results) < 1000, "{:?}", common::completions(&results));

    check_says(&lab, &dir, 0, &["valid", "replicas converged"]);
    for file in ["report.html", "figures/latency.svg"] {
        std::fs::remove_file(dir.join(file)).unwrap();
    }
    assert_eq!(lab.paxbench(&["report", dir.to_str().unwrap()]).wait().code(), 0);
    assert!(dir.join("report.html").exists() && dir.join("figures/latency.svg").exists());

    what_was_changed_is_noticed(&lab, &dir);
}

/// The results of a run are changed in ways that a check must notice; each is made good again.
fn what_was_changed_is_noticed(lab: &Lab, dir: &Path) {
    let path = histories(dir).remove(0);
    let whole = std::fs::read(&path).unwrap();

    falsify(&path);
    check_says(lab, dir, 3, &["invalid", "123456789"]);

    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    check_says(lab, dir, 1, &["unknown", "paxos-0-0-"]);
    std::fs::write(&path, b"").unwrap();
    check_says(lab, dir, 1, &["unknown", "paxos-0-0-"]);
    std::fs::write(&path, without_its_end(&whole)).unwrap();
    check_says(lab, dir, 1, &["unknown", "is not whole"]);
    std::fs::remove_file(&path).unwrap();
    check_says(lab, dir, 1, &["unknown", "cannot be read"]);
    std::fs::write(&path, &whole).unwrap();
    check_says(lab, dir, 0, &["valid"]);

    let replica = dir.join("replicas/paxos-0-0-rome.json");
    let counters = std::fs::read_to_string(&replica).unwrap();
    let mut changed: serde_json::Value = serde_json::from_str(&counters).unwrap();
    changed["final_digest"] = "0000000000000000".into();
    std::fs::write(&replica, changed.to_string()).unwrap();
    check_says(lab, dir, 3, &["REPLICAS DIFFER"]);
    std::fs::write(&replica, counters).unwrap();
    assert!(Results::read(dir).is_ok());
}

#[test]
fn the_death_of_a_leader_is_a_gap_of_the_election_timeout_and_that_of_a_follower_none() {
    let _alone = alone();
    for (victim, gap_ms) in [("oslo", 200..2000), ("cairo", 0..300)] {
        let lab = Lab::new();
        let driver = lab.run(&[
            "modes.0.election_timeout=500ms",
            "modes.0.heartbeat=50ms",
            "phases.measure=4s",
            "workload.retry_after=300ms",
        ]);
        lab.kill_under_load(&driver, victim);
        let ended = driver.wait();
        let dir = lab.finished();
        let results = ended.succeeded(&dir);
        lab.is_clean();
        let notes = &results.manifest.notes;
        assert!(notes.iter().any(|n| n.contains(victim) && n.contains("SIGKILL")), "{notes:?}");
        let gap = longest_gap_ms(&results);
        assert!(gap_ms.contains(&gap), "{victim}: {gap} ms; {:?}", common::completions(&results));
        let sums = common::completions(&results);
        let last: u64 = sums.iter().filter(|(t, _)| (3000..4000).contains(t)).map(|(_, n)| n).sum();
        assert!(last > 200, "{victim}: 300/s are offered, {last} in the last second: {sums:?}");
        check_says(&lab, &dir, 0, &["valid", "replicas converged"]);
    }
}

#[test]
fn a_run_without_replicas_left_is_neither_a_success_nor_a_violation() {
    let _alone = alone();
    let lab = Lab::new();
    let driver = lab.run(&["workload.timeout=1s"]);
    lab.await_load();
    lab.processes().iter().filter(|worker| worker.is_replica).for_each(common::Worker::kill);
    let ended = driver.wait();
    // On a crowded machine the load generators may be late as well, which makes the run void.
    assert!(matches!(ended.code(), 1 | 4), "{ended:?}");
    lab.is_clean();
    let results = Results::read(&lab.finished()).unwrap();
    let [run] = &results.summary.runs[..] else { panic!("{:?}", results.summary) };
    assert_eq!(run.verdict.converged, None);
    assert!(totals(run).1 > 0, "{run:?}");
    assert_eq!(results.manifest.notes.len(), 3, "{:?}", results.manifest.notes);
}
