//! A run's directory: every file comes back as it was written, and nothing half-done passes.

mod report_sample;

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use paxbench::results::{
    Backend, HistogramName, IntervalLog, LatencyMs, Manifest, ReplicaFileName, Results,
    RunDirectory, Summary, SummaryRow, TimelineRow, Unit, new_histogram,
};
use report_sample::{Sample, counters};

#[test]
fn summary_manifest_and_timeline_come_back_as_they_were_written() {
    let base = tempfile::tempdir().unwrap();
    let path = Sample::default().write(base.path());
    let results = Results::read(&path).unwrap();

    let again = RunDirectory::create(base.path(), "again").unwrap();
    again.write_summary(&results.summary).unwrap();
    again.write_manifest(&results.manifest).unwrap();
    again.write_experiment(&results.experiment).unwrap();
    again.write_timeline(&results.timeline().unwrap()).unwrap();
    let again = again.finish().unwrap();

    for file in ["summary.json", "summary.csv", "manifest.json", "experiment.yaml", "timeline.csv"]
    {
        let text = |directory: &Path| fs::read_to_string(directory.join(file)).unwrap();
        assert!(text(&path) == text(&again), "{file}");
    }
    let rows = SummaryRow::read(&again.join("summary.csv")).unwrap();
    assert_eq!(rows, results.summary.rows());
    assert_eq!(rows.len(), 2 * 2 * 5 * 3, "labels, repeats, sites, and two operations and all");
    assert_eq!(
        TimelineRow::read(&again.join("timeline.csv")).unwrap(),
        results.timeline().unwrap()
    );
}

#[test]
fn counters_of_a_replica_come_back_as_they_were_written() {
    let base = tempfile::tempdir().unwrap();
    let path = Sample { repeats: 1, ..Sample::default() }.write(base.path());
    let name = ReplicaFileName {
        label: "paxos".to_owned(),
        point_index: 0,
        repeat: 0,
        node: "tokyo".to_owned(),
    };
    let expected = counters("paxos", "tokyo", false);
    assert_eq!(Results::read(&path).unwrap().replica(&name).unwrap(), expected);
}

#[test]
fn an_interval_log_comes_back_as_it_was_written() {
    let began = SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_123);
    for unit in [Unit::Nanoseconds, Unit::Microseconds] {
        let mut log = IntervalLog::new(unit, began);
        for second in 0..3 {
            let mut histogram = new_histogram();
            histogram.record_n(72_000_000 + second, 5 + second).unwrap();
            log.push(Duration::from_secs(second), IntervalLog::STEP, histogram);
        }
        log.push(Duration::from_secs(3), Duration::from_millis(500), new_histogram());
        let text = log.encode();
        let back = IntervalLog::decode(&text).unwrap();
        assert_eq!((back.unit, back.intervals().count()), (unit, 4));
        assert!(back.intervals().eq(log.intervals()));
        let off = back.began.duration_since(began).unwrap_or_else(|e| e.duration());
        assert!(off < Duration::from_millis(1), "began {off:?} off");
        assert_eq!(back.merged().len(), 5 + 6 + 7);
    }
}

#[test]
fn a_cut_interval_log_is_refused() {
    let mut log = IntervalLog::new(Unit::Nanoseconds, SystemTime::UNIX_EPOCH);
    let mut histogram = new_histogram();
    histogram.record(1_000_000).unwrap();
    log.push(Duration::ZERO, IntervalLog::STEP, histogram);
    let text = log.encode();
    assert!(IntervalLog::decode(&text[..text.len() - 9]).is_err());
}

#[test]
fn percentiles_of_two_sites_come_from_the_merged_histogram() {
    let base = tempfile::tempdir().unwrap();
    let path = Sample { repeats: 1, ..Sample::default() }.write(base.path());
    let results = Results::read(&path).unwrap();
    let run = &results.summary.runs[1];
    assert_eq!(run.label, "paxos");

    let p90_of = |sites: &[&str]| {
        let (histogram, unit) = results.merged(&[run], sites).unwrap().unwrap();
        LatencyMs::of(&histogram, unit).unwrap().p90
    };
    let (near, far) = (p90_of(&["virginia"]), p90_of(&["tokyo"]));
    let both = p90_of(&["virginia", "tokyo"]);
    assert!(far - near > 100.0, "{near} {far}");
    // a tenth of all is a fifth of the far ones: beyond their bound, where no average gets
    assert!(both > 219.0, "{both} is not the 90th percentile of both; {near} and {far} apart");
}

#[test]
fn a_run_that_was_not_finished_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let directory = RunDirectory::create(base.path(), "cut").unwrap();
    let refusal = |path: &Path| Results::read(path).unwrap_err().to_string();
    assert!(refusal(directory.path()).contains("never finished"));

    Sample { repeats: 1, ..Sample::default() }.fill(&directory);
    assert!(refusal(directory.path()).contains("never finished"), "though all is in it");
    let moved = base.path().join("moved");
    fs::rename(directory.path(), &moved).unwrap();
    assert!(Results::read(&moved).is_ok());
    let summary = fs::read(moved.join("summary.json")).unwrap();
    fs::write(moved.join("summary.json"), &summary[..summary.len() / 2]).unwrap();
    assert!(refusal(&moved).contains("summary.json"));
    fs::remove_file(moved.join("summary.json")).unwrap();
    assert!(refusal(&moved).contains("summary.json"));
}

#[test]
fn finishing_without_a_summary_is_refused_and_keeps_the_partial_name() {
    let base = tempfile::tempdir().unwrap();
    let directory = RunDirectory::create(base.path(), "cut").unwrap();
    directory.write_manifest(&Manifest::collect(base.path(), Backend::Quic)).unwrap();
    let partial = directory.path().to_owned();
    let error = directory.finish().unwrap_err().to_string();
    assert!(error.contains("summary.json") && !error.contains('\n'), "{error}");
    assert!(partial.exists() && !partial.with_extension("").exists());
}

#[test]
fn a_summary_of_another_schema_or_without_runs_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let file = base.path().join("summary.json");
    for (text, word) in [
        (r#"{"schema":2,"runs":[]}"#, "schema 2"),
        (r#"{"schema":1,"runs":[]}"#, "no run"),
        (r#"{"schema":1,"runs":[{"mode":7}]}"#, "runs[0].mode"),
        (r#"{"schema":1,"runs":[]}}"#, "trailing"),
    ] {
        fs::write(&file, text).unwrap();
        let error = Summary::read(&file).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("summary.json"), "{error}");
    }
}

#[test]
fn a_write_error_names_the_file_in_one_line() {
    let base = tempfile::tempdir().unwrap();
    let directory = RunDirectory::create(base.path(), "gone").unwrap();
    fs::remove_dir(directory.path()).unwrap();
    let error = directory.write_experiment("name: gone\n").unwrap_err().to_string();
    assert!(error.contains("experiment.yaml") && !error.contains('\n'), "{error}");
}

#[test]
fn a_failed_write_leaves_no_half_written_file() {
    // a directory where the file should go makes the last step, the renaming, fail
    let base = tempfile::tempdir().unwrap();
    let directory = RunDirectory::create(base.path(), "full").unwrap();
    fs::create_dir_all(directory.path().join("experiment.yaml/in-the-way")).unwrap();
    assert!(directory.write_experiment("name: full\n").is_err());
    let left: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["experiment.yaml"], "the temporary file is gone");
}

#[test]
fn two_runs_in_one_second_get_directories_of_their_own() {
    let base = tempfile::tempdir().unwrap();
    let sample = Sample { labels: vec!["paxos"], repeats: 1, measure_s: 1, ..Sample::default() };
    let mut paths: Vec<_> = (0..3).map(|_| sample.write(base.path())).collect();
    paths.dedup();
    assert_eq!(paths.len(), 3);
}

#[test]
fn a_name_that_leaves_the_base_directory_is_refused() {
    let base = tempfile::tempdir().unwrap();
    for name in ["", "..", "a/b", ".hidden", "a\nb"] {
        let error = RunDirectory::create(base.path(), name).unwrap_err().to_string();
        assert!(error.contains("mend `name`"), "{name}: {error}");
    }
}

#[test]
fn a_second_log_of_the_same_name_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let directory = RunDirectory::create(base.path(), "twice").unwrap();
    let log = IntervalLog::new(Unit::Microseconds, SystemTime::UNIX_EPOCH);
    let name = |label: &str| HistogramName {
        label: label.to_owned(),
        point_index: 0,
        repeat: 0,
        site: "tokyo".to_owned(),
        op: "put".to_owned(),
    };
    directory.write_histogram(&name("a b"), &log).unwrap();
    let error = directory.write_histogram(&name("a_b"), &log).unwrap_err().to_string();
    assert!(error.contains("already"), "{error}");
}

#[test]
fn a_manifest_says_what_is_known_of_program_and_machine() {
    let manifest = Manifest::collect(&std::env::temp_dir(), Backend::Quic);
    assert_eq!(manifest.environment.version, env!("CARGO_PKG_VERSION"));
    assert!(manifest.environment.toolchain.is_some_and(|t| t.starts_with("rustc ")));
    assert!(!manifest.command_line.is_empty());
    if cfg!(target_os = "linux") {
        assert!(manifest.environment.memory_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(manifest.environment.kernel.starts_with("Linux "));
    }
}

#[test]
fn a_log_that_does_not_hold_what_the_summary_counts_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let sample = Sample { labels: vec!["paxos"], repeats: 1, ..Sample::default() };
    let path = sample.write(base.path());
    let log = path.join("histograms/paxos-0-0-tokyo-put.hlog");
    let text = fs::read_to_string(&log).unwrap();
    let fewer: Vec<_> = text.lines().take(text.lines().count() - 1).collect();
    fs::write(&log, fewer.join("\n") + "\n").unwrap();
    let results = Results::read(&path).unwrap();
    let run = &results.summary.runs[0];
    assert!(results.merged(&[run], &["oregon"]).is_ok());
    let error = results.merged(&[run], &["tokyo"]).unwrap_err().to_string();
    assert!(error.contains("tokyo-put.hlog") && error.contains("the summary has"), "{error}");
}

proptest::proptest! {
    #[test]
    fn any_latencies_keep_their_counts_and_percentiles_in_a_log(
        seconds in proptest::collection::vec(
            proptest::collection::vec(0_u64..u64::MAX / 2, 0..20), 0..6)
    ) {
        let mut log = IntervalLog::new(Unit::Nanoseconds, SystemTime::UNIX_EPOCH);
        for (second, values) in seconds.iter().enumerate() {
            let mut histogram = new_histogram();
            for value in values {
                histogram.record(*value).unwrap();
            }
            log.push(Duration::from_secs(second as u64), IntervalLog::STEP, histogram);
        }
        let back = IntervalLog::decode(&log.encode()).unwrap();
        proptest::prop_assert_eq!(back.merged().len(), seconds.iter().flatten().count() as u64);
        let of = |log: &IntervalLog| LatencyMs::of(&log.merged(), log.unit);
        proptest::prop_assert_eq!(of(&back), of(&log));
    }

    #[test]
    fn no_bytes_make_the_reader_of_a_log_panic(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)
    ) {
        let header = b"#[Unit: nanoseconds]\n0.000,1.000,1.000,";
        let _ = IntervalLog::decode(&bytes);
        let _ = IntervalLog::decode(&[header.as_slice(), &bytes, b"\n"].concat());
    }
}
