//! Experiments in virtual time, from the file to the report, as a person runs them.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Ended, Lab, totals, wait_for};
use paxbench::check::history::read_history;
use paxbench::results::{Backend, Linearizable, Results, RunSummary, SiteSummary};
use rustix::process::Signal;

/// The parts of 1 by which a percentile may be off: the histograms keep three digits.
const RESOLUTION: f64 = 0.005;

/// What stands in the directory of one simulated run of `paxos` at three sites.
const FILES: [&str; 14] = [
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
];

/// So little load that operations seldom wait for each other, for so long that medians are of many.
const CALM: [&str; 2] =
    ["workload.arrival={ open: 2/s, distribution: poisson }", "phases.measure=100s"];

fn start(lab: &Lab, file: &str, changes: &[&str]) -> common::Driver {
    let set = changes.iter().flat_map(|change| ["--set", change]);
    let arguments = ["run", file, "--backend", "sim", "--out", "out"].into_iter().chain(set);
    lab.paxbench(&arguments.collect::<Vec<_>>())
}

fn simulate(lab: &Lab, changes: &[&str]) -> Ended {
    start(lab, "e2e.yaml", changes).wait()
}

/// Its only run, which is as good as a run can be.
fn the_run(results: &Results) -> &RunSummary {
    let [run] = &results.summary.runs[..] else { panic!("{:?}", results.summary) };
    let verdict = &run.verdict;
    assert_eq!(verdict.linearizable, Linearizable::Valid, "{:?}", results.manifest.notes);
    assert_eq!((verdict.converged, verdict.void.as_deref()), (Some(true), None));
    run
}

/// Simulates in a laboratory of its own; what came of it.
fn simulated(changes: &[&str]) -> RunSummary {
    let lab = Lab::new();
    let ended = simulate(&lab, changes);
    assert_eq!(ended.code(), 0, "{ended:?}");
    the_run(&Results::read(&lab.finished()).unwrap()).clone()
}

/// Of each site: its bound, its median and its 99th percentile, in ms.
fn latencies(run: &RunSummary) -> BTreeMap<&str, [f64; 3]> {
    let whole = run.sites.iter().filter(|site| site.op == SiteSummary::ALL);
    let numbers = |site: &SiteSummary| {
        let latency = site.latency_ms.expect("something completed");
        [site.bound_ms.expect("every site has a bound"), latency.p50, latency.p99]
    };
    whole.map(|site| (site.site.as_str(), numbers(site))).collect()
}

fn medians_are_the_bounds(run: &RunSummary) {
    let sites = latencies(run);
    assert!(!sites.is_empty());
    for (site, [bound_ms, p50_ms, _]) in sites {
        let off = (p50_ms - bound_ms).abs() / bound_ms;
        assert!(off < RESOLUTION, "{}: {site}: {p50_ms} ms, bound {bound_ms} ms", run.options);
    }
}

fn files_under(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_under(&path)) } else { found.push(path) }
    }
    found
}

/// All files by their name in the directory, but those that tell the time of day.
fn timeless_files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let name = |path: &Path| path.strip_prefix(dir).unwrap().to_owned();
    let files = files_under(dir).into_iter();
    let files = files.map(|path| (name(&path), std::fs::read(&path).unwrap()));
    let tells_time = |path: &Path| path == "manifest.json" || path == "report.html";
    files.filter(|(path, _)| !tells_time(path)).collect()
}

fn says(lab: &Lab, command: &str, dir: &Path, words: &[&str]) {
    let ended = lab.paxbench(&[command, dir.to_str().unwrap()]).wait();
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(words.iter().all(|word| ended.stdout.contains(word)), "{words:?}: {ended:?}");
}

#[test]
fn a_simulated_run_leaves_everything_but_what_only_processes_have() {
    let lab = Lab::new();
    let ended = simulate(&lab, &[]);
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.stdout.starts_with("Predicted in virtual time"), "{ended:?}");
    assert!(ended.stdout.contains("report.html") && ended.stderr.lines().count() == 2);
    lab.is_clean();
    let dir = lab.finished();
    for file in FILES {
        let length = std::fs::metadata(dir.join(file)).map_or(0, |file| file.len());
        assert!(length > 0, "{file} is missing or empty");
    }
    let results = Results::read(&dir).unwrap();
    manifest_is_of_a_simulation(&results);
    let run = the_run(&results);
    medians_are_the_bounds(run);
    assert_eq!(totals(run), (450, 0), "an open schedule offers what the file says");
    let cost = run.cost;
    let cpu = [cost.cpu_us_per_op, cost.cpu_replicas_us_per_op, cost.cpu_clients_us_per_op];
    assert_eq!(cpu, [None; 3]);
    assert!(cost.messages_per_op > 1.0 && cost.bytes_per_op > 1.0);
    let text = std::fs::read_to_string(dir.join("summary.json")).unwrap();
    assert!(text.contains(r#""cpu_us_per_op": null"#), "{text}");
    histories_are_json_lines(&dir);

    says(&lab, "check", &dir, &["paxos, repeat 1: valid, replicas converged"]);
    for file in ["report.html", "figures/latency.svg"] {
        std::fs::remove_file(dir.join(file)).unwrap();
    }
    says(&lab, "report", &dir, &["report.html"]);
    assert!(dir.join("report.html").exists() && dir.join("figures/latency.svg").exists());
}

/// It says what was asked of the network, and that nothing was measured of it.
fn manifest_is_of_a_simulation(results: &Results) {
    let manifest = &results.manifest;
    assert_eq!(manifest.backend, Backend::Sim);
    assert!(manifest.finished.is_some() && manifest.shaper.is_empty() && manifest.notes.is_empty());
    let asked: Vec<_> = manifest.rtt.iter().map(|link| link.asked_ms).collect();
    assert_eq!(asked, [Some(10.0), Some(16.0), Some(12.0)]);
    assert!(manifest.rtt.iter().all(|link| (link.before, link.after) == (None, None)));
}

fn histories_are_json_lines(dir: &Path) {
    let files = files_under(&dir.join("history"));
    assert_eq!(files.len(), 3);
    for file in &files {
        let text = zstd::decode_all(&std::fs::read(file).unwrap()[..]).unwrap();
        let lines = str::from_utf8(&text).unwrap().lines();
        let events = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let timed = events.filter(|event| event["time"].is_u64() && event["type"].is_string());
        assert_eq!(timed.count(), 2 * 170, "1.7 s of 100/s, asked and answered");
    }
    assert_eq!(read_history(&files).unwrap().operations.len(), 3 * 170);
}

#[test]
fn every_variant_takes_at_the_median_what_the_network_alone_allows() {
    for variant in ["multi", "fall", "regular"] {
        let mode = format!("modes.0.variant={variant}");
        let [rate, long] = CALM;
        medians_are_the_bounds(&simulated(&[&mode, rate, long]));
    }
}

/// In variant fall the clients of a closed loop always wait for each other's instances.
#[test]
fn a_closed_loop_takes_what_the_network_alone_allows_as_well() {
    for variant in ["multi", "regular"] {
        let mode = format!("modes.0.variant={variant}");
        let run = simulated(&[&mode, "workload.arrival={ closed: 1 }", "phases.measure=5s"]);
        medians_are_the_bounds(&run);
        assert_eq!(run.verdict.schedule_lag_p99_9_ms, None, "there is no schedule");
        // Each client asks again when it was answered.
        let rate = |[bound_ms, ..]: &[f64; 3]| 4.0 * 1e3 / bound_ms;
        let most: f64 = latencies(&run).values().map(rate).sum();
        let share = run.throughput_per_s / most;
        assert!((0.95..=1.001).contains(&share), "{} of {most}/s", run.throughput_per_s);
    }
}

#[test]
fn an_increment_is_one_operation_that_takes_twice_what_the_network_allows_a_command() {
    let lab = Lab::new();
    let mix = "workload.operations={ increment: 50%, put: 50% }";
    let [rate, long] = CALM;
    let ended = simulate(&lab, &[mix, rate, long]);
    assert_eq!(ended.code(), 0, "{ended:?}");
    let dir = lab.finished();
    let results = Results::read(&dir).unwrap();
    let (mut increments, mut puts) = (0, 0);
    for rows in the_run(&results).sites.chunks(3) {
        let [put, increment, all] = rows else { panic!("{rows:?}") };
        assert_eq!((put.op.as_str(), increment.op.as_str()), ("put", "increment"));
        assert_eq!(all.bound_ms, put.bound_ms, "that of the shortest operation");
        assert_eq!(increment.bound_ms, put.bound_ms.map(|ms| 2.0 * ms));
        for row in [put, increment] {
            let (p50_ms, bound_ms) = (row.latency_ms.unwrap().p50, row.bound_ms.unwrap());
            let off = (p50_ms - bound_ms).abs() / bound_ms;
            assert!(off < RESOLUTION, "{row:?}");
        }
        (puts, increments) = (puts + put.count, increments + increment.count);
        assert_eq!(all.count, put.count + increment.count);
    }
    let warmup: u64 = 3 * 2 * 2;
    let files = files_under(&dir.join("history"));
    let commands = read_history(&files).unwrap().operations.len() as u64;
    assert!((puts + 2 * increments..=puts + 2 * (increments + warmup)).contains(&commands));
    says(&lab, "check", &dir, &["valid"]);
}

#[test]
fn registers_that_are_added_or_appended_to_are_checked_as_any() {
    for made in ["add", "append"] {
        let mix = format!("workload.operations={{ {made}: 60%, get: 30%, delete: 10% }}");
        let run = simulated(&[&mix, "workload.keys={ uniform: 5 }"]);
        assert!(run.sites.iter().any(|site| site.op == made && site.count > 50), "{run:?}");
    }
}

/// Where clients write their own keys; without the single round trip, or with quorums of the file's choice, as well.
#[test]
fn caspaxos_takes_at_the_median_what_the_network_alone_allows() {
    let keys = "workload.keys={ conflict: 0%, own_keys: 2 }";
    let [rate, long] = CALM;
    for (options, operations) in [
        ("{ mode: caspaxos }", "{ put: 40%, get: 40%, cas: 20% }"),
        ("{ mode: caspaxos, accept: 3, prepare: 1 }", "{ put: 100% }"),
        ("{ mode: caspaxos, one_round_trip: false }", "{ put: 50%, get: 50% }"),
        ("{ mode: caspaxos, prepare: 3, reads: clean }", "{ put: 10%, get: 90% }"),
        ("{ mode: caspaxos }", "{ increment: 100% }"),
    ] {
        let mode = format!("modes=[{options}]");
        let operations = format!("workload.operations={operations}");
        let run = simulated(&[&mode, &operations, keys, rate, long]);
        for operation in ["put", "get", "increment"] {
            let of_site = |site: &&SiteSummary| site.op == operation;
            for site in run.sites.iter().filter(of_site) {
                let (bound_ms, p50_ms) = (site.bound_ms.unwrap(), site.latency_ms.unwrap().p50);
                let off = (p50_ms - bound_ms).abs() / bound_ms;
                assert!(off < RESOLUTION, "{options}: {site:?}");
            }
        }
    }
}

#[test]
fn the_same_command_leaves_the_same_bytes_and_another_seed_does_not() {
    let rough = ["network.jitter=3ms", "network.loss=1%", "phases.repeat=2"];
    let run = |changes: &[&str]| {
        let lab = Lab::new();
        let ended = simulate(&lab, &[&rough, changes].concat());
        assert_eq!(ended.code(), 0, "{ended:?}");
        timeless_files(&lab.finished())
    };
    let (first, second, other) = (run(&[]), run(&[]), run(&["seed=12"]));
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    let differ = |a: &BTreeMap<PathBuf, Vec<u8>>, b: &BTreeMap<PathBuf, Vec<u8>>| {
        let paths = a.keys().filter(|path| a.get(*path) != b.get(*path));
        paths.cloned().collect::<Vec<_>>()
    };
    assert!(first.len() > 40, "{:?}", first.keys());
    assert_eq!(differ(&first, &second), Vec::<PathBuf>::new());
    let differing = differ(&first, &other);
    for file in ["summary.json", "timeline.csv", "history/paxos-0-1-rome.jsonl.zst"] {
        assert!(differing.contains(&PathBuf::from(file)), "{differing:?}");
    }
    let repeats = ["history/paxos-0-0-rome.jsonl.zst", "history/paxos-0-1-rome.jsonl.zst"];
    let [one, other] = repeats.map(|name| &first[Path::new(name)]);
    assert_ne!(one, other, "repeats start from seeds of their own");
}

/// A lost packet of a stream is sent again 9/8 of a round trip later; the leader is at Oslo.
#[test]
fn loss_shows_in_the_tail_and_not_in_the_median() {
    let run = simulated(&["network.loss=2%", CALM[0], CALM[1]]);
    let sites = latencies(&run);
    for (site, rtt_ms) in [("rome", 10.0), ("cairo", 16.0)] {
        let [bound_ms, p50_ms, p99_ms] = sites[site];
        assert!(p99_ms >= bound_ms + rtt_ms, "{site}: {:?}", sites[site]);
        assert!((p50_ms - bound_ms) / bound_ms < RESOLUTION, "{site}: {:?}", sites[site]);
    }
}

/// A message takes up to 8 ms longer, evenly. Rome's request and the leader's answer come after 8 ms
/// at the median; what the leader waits for is the faster of two ways there and back.
#[test]
fn jitter_shows_in_the_median() {
    let run = simulated(&["network.jitter=8ms", CALM[0], CALM[1]]);
    let sites = latencies(&run);
    for (site, later_ms) in [("oslo", 2.0..10.0), ("rome", 10.0..18.0), ("cairo", 10.0..18.0)] {
        let [bound_ms, p50_ms, p99_ms] = sites[site];
        let later = p50_ms - bound_ms;
        assert!(later_ms.contains(&later) && p99_ms > p50_ms, "{site}: {:?}", sites[site]);
    }
}

/// 1000 bytes take 8 ms at 1 Mbit/s: once on the way to the majority, and from Rome and Cairo once
/// before, on the way to the leader at Oslo.
#[test]
fn a_narrow_network_shows_in_the_median() {
    let load = ["workload.operations={ put: 100% }", "workload.value=1000B"];
    let run = simulated(&["network.bandwidth=1Mbit/s", load[0], load[1], CALM[0], CALM[1]]);
    let sites = latencies(&run);
    for (site, times) in [("oslo", 1.0), ("rome", 2.0), ("cairo", 2.0)] {
        let [bound_ms, p50_ms, _] = sites[site];
        let later_ms = p50_ms - bound_ms;
        let payload_ms = 8.0 * times;
        assert!((payload_ms..payload_ms + 4.0).contains(&later_ms), "{site}: {:?}", sites[site]);
    }
}

#[test]
fn thirteen_sites_on_five_continents_are_simulated_in_seconds() {
    let lab = Lab::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/planet.yaml");
    let ended = start(&lab, file, &[]).wait();
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.after < Duration::from_secs(30), "{ended:?}");
    let planet = std::fs::read_dir(lab.out().join("planet")).unwrap().next().unwrap().unwrap();
    let results = Results::read(&planet.path()).unwrap();
    assert_eq!(results.summary.runs.len(), 3);
    for run in &results.summary.runs {
        assert_eq!(latencies(run).len(), 13);
        medians_are_the_bounds(run);
    }
}

/// Two modes at two points: each run has files of its own, and what it says of itself is of its point.
#[test]
fn a_sweep_runs_every_mode_at_every_point_and_says_which() {
    let lab = Lab::new();
    let modes = "modes=[{ mode: paxos, leader: oslo }, epaxos]";
    let sweep = "sweep={ workload.arrival.open: [20/s, 100/s] }";
    let measure = "phases.measure=4s";
    let ended = simulate(&lab, &[modes, sweep, measure, "thresholds.p50=1ms"]);
    assert_eq!(ended.code(), 5, "{ended:?}");
    let said = "run 4 of 4: paxos, workload.arrival.open = 100/s, repeat 1\n";
    assert!(ended.stderr.contains(said), "{ended:?}");
    let missed = "threshold missed: epaxos, workload.arrival.open = 20/s, repeat 1: p50 of";
    assert!(ended.stdout.contains(missed), "{ended:?}");
    let dir = lab.finished();
    let results = Results::read(&dir).unwrap();
    let runs: Vec<_> =
        results.summary.runs.iter().map(|run| (run.label.as_str(), run.point_index)).collect();
    assert_eq!(runs, [("paxos", 0), ("epaxos", 0), ("epaxos", 1), ("paxos", 1)]);
    for run in &results.summary.runs {
        let rate = [20, 100][run.point_index];
        let point = serde_json::json!({ "workload.arrival.open": format!("{rate}/s") });
        assert_eq!(run.point, point);
        assert_eq!(totals(run), (3 * 4 * rate, 0), "a schedule of the point's own");
        let stem = run.file_stem();
        for file in [
            format!("histograms/{stem}-oslo-put.hlog"),
            format!("history/{stem}-rome.jsonl.zst"),
            format!("replicas/{stem}-cairo.json"),
        ] {
            assert!(dir.join(&file).exists(), "{file}");
        }
    }
    let timeline = results.timeline().unwrap();
    let completed = |point: usize| -> u64 {
        let rows = timeline.iter().filter(|row| row.point_index == point && row.t_ms >= 0);
        rows.map(|row| row.completed).sum()
    };
    assert!(completed(1) > 4 * completed(0), "{} {}", completed(0), completed(1));
    let said = ["paxos, workload.arrival.open = 20/s, repeat 1: valid, replicas converged"];
    says(&lab, "check", &dir, &said);
    std::fs::remove_dir_all(dir.join("figures")).unwrap();
    says(&lab, "report", &dir, &["epaxos · workload.arrival.open = 100/s · "]);
    for figure in ["sweep-latency", "sweep-cost", "sweep-counters", "sweep-load", "latency-1"] {
        assert!(dir.join(format!("figures/{figure}.png")).exists(), "{figure}");
    }
}

#[test]
fn thresholds_hold_for_predictions_as_well() {
    let lab = Lab::new();
    let ended = simulate(&lab, &["thresholds.p99=20ms"]);
    assert_eq!(ended.code(), 5, "{ended:?}");
    let missed: Vec<_> =
        ended.stdout.lines().filter(|line| line.starts_with("threshold missed: ")).collect();
    assert!(missed.iter().any(|line| line.contains("all at cairo is 26.0 ms, over 20 ms")));
    assert!(!missed.iter().any(|line| line.contains("oslo")), "{missed:?}");
    assert!(Results::read(&lab.finished()).is_ok(), "the results are good");
    let lab = Lab::new();
    assert_eq!(simulate(&lab, &["thresholds={ p99: 27ms, errors: 0 }"]).code(), 0);
}

#[test]
fn an_interrupted_simulation_ends_at_once_and_says_where_what_there_is_stands() {
    for which in [Signal::INT, Signal::TERM] {
        let lab = Lab::new();
        let driver = start(&lab, "e2e.yaml", &["phases.measure=10h"]);
        let histories = |dir: &PathBuf| std::fs::read_dir(dir.join("history")).ok();
        let begun = || {
            let (_, partial) = lab.results();
            partial.first().and_then(histories)?.nth(2).map(drop)
        };
        wait_for("the simulation", begun);
        driver.signal(which);
        let ended = driver.wait();
        ended.failed(1, &["interrupted; what there is stands in out/e2e/", ".partial"]);
        assert!(ended.after < Duration::from_secs(5), "{ended:?}");
        lab.is_clean();
        let (finished, partial) = lab.results();
        let [partial] = &partial[..] else { panic!("{partial:?}") };
        assert!(finished.is_empty() && partial.join("experiment.yaml").exists());
        let check = lab.paxbench(&["check", partial.to_str().unwrap()]).wait();
        check.failed(1, &["never finished"]);
    }
}

#[test]
fn a_network_without_round_trip_times_is_refused_in_one_line() {
    let lab = Lab::new();
    let ended = simulate(&lab, &["network.shaping=none"]);
    ended.failed(2, &["e2e.yaml: ", "needs round-trip times", "network.rtt"]);
    assert!(!lab.out().exists(), "nothing was run");
}
