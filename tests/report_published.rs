//! What was published stands beside what is measured, and what clients saw of faults is told.

mod report_sample;

use std::fs;
use std::path::Path;

use paxbench::report::{tables, write_report};
use paxbench::results::{SiteSilence, Unavailability};
use report_sample::Sample;

const EXPERIMENT: &str = "
name: sample
modes: [epaxos, paxos]
published:
  - source: a paper, section 3.2
    what: an iteration
    values:
      - { mode: epaxos, system: Gryadka, site: virginia, p50: 72500us }
      - { mode: paxos, system: etcd, site: virginia, p50: 1341ms }
      - { mode: paxos, site: tokyo, p50: 230ms }
      - { system: MongoDB, site: tokyo, p50: 366ms }
  - source: a paper, section 3.3
    what: the leader is isolated
    values:
      - { system: etcd, protocol: Raft, unavailability: 1s }
      - { system: Gryadka, unavailability: 0s }
";

fn silence(site: &str, longest_ms: f64, usual_ms: Option<f64>, cut_short: bool) -> SiteSilence {
    SiteSilence {
        site: site.to_owned(),
        longest_ms,
        cut_short,
        usual_ms,
        tolerance_ms: 100.0,
        unavailable_ms: SiteSilence::judge(longest_ms, usual_ms, 100.0),
        resolution_ms: 0.0,
    }
}

fn seen(fault: &str, sites: [SiteSilence; 2]) -> Unavailability {
    let sites = sites.into();
    Unavailability {
        fault: fault.to_owned(),
        replica: fault.ends_with(" tokyo").then(|| "tokyo".to_owned()),
        from_ms: 4000,
        to_ms: 7000,
        sites,
    }
}

fn sample() -> Sample {
    let isolated =
        [silence("virginia", 31.0, Some(20.0), false), silence("tokyo", 1204.0, Some(25.0), false)];
    let crashed =
        [silence("virginia", 812.0, Some(20.0), false), silence("tokyo", 3000.0, Some(25.0), true)];
    let changed =
        [silence("virginia", 300.0, Some(20.0), false), silence("tokyo", 912.0, Some(25.0), false)];
    let unknown = [silence("virginia", 812.0, None, false), silence("tokyo", 10.0, None, false)];
    Sample {
        labels: vec!["epaxos", "paxos"],
        experiment: EXPERIMENT,
        sites: vec!["virginia", "tokyo"],
        repeats: 1,
        unavailability: vec![
            seen("isolate tokyo", isolated),
            seen("crash tokyo", crashed),
            seen("pause tokyo", unknown),
            seen("members virginia", changed),
        ],
        ..Sample::default()
    }
}

/// The cells of the lines that begin so; two spaces or more part them.
fn lines<'a>(text: &'a str, beginning: &str) -> Vec<Vec<&'a str>> {
    let lines = text.lines().filter(|line| line.trim_start().starts_with(beginning));
    let cells = |line: &'a str| -> Vec<&'a str> {
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
    };
    lines.map(cells).collect()
}

#[test]
fn the_table_of_faults_tells_who_waited_for_how_long_and_what_was_published() {
    let dir = tempfile::tempdir().unwrap();
    let text = tables(&sample().write(dir.path())).unwrap();
    let (_, text) = text.split_once("\nUnavailability\n").expect("a table of faults");
    let (text, _) = text.split_once("\nAn iteration").expect("then what was published");
    for mode in ["epaxos", "paxos"] {
        let expected = [
            vec![mode, "isolate tokyo", "1.20 s", "0", "–"],
            vec![mode, "crash tokyo", "≥ 3.00 s", "0.81 s (virginia)", "–"],
            vec![mode, "pause tokyo", "–", "–", "–"],
            vec![mode, "members virginia", "–", "0.91 s (tokyo)", "–"],
        ];
        assert_eq!(lines(text, mode), expected);
    }
    assert_eq!(lines(text, "etcd"), [["etcd (Raft)", "the leader is isolated", "–", "–", "1 s"]]);
    assert_eq!(lines(text, "Gryadka")[0][4], "0 s");
    assert!(text.contains("a paper, section 3.3"), "{text}");
}

#[test]
fn of_several_repeats_the_table_of_faults_tells_the_longest() {
    let dir = tempfile::tempdir().unwrap();
    let path = Sample { repeats: 2, ..sample() }.write(dir.path());
    let file = path.join("summary.json");
    let mut summary: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    // The second repeat of the first mode, its first fault, at tokyo.
    summary["runs"][1]["unavailability"][0]["sites"][1]["unavailable_ms"] = 2500.0.into();
    fs::write(&file, summary.to_string()).unwrap();
    let text = tables(&path).unwrap();
    let (_, text) = text.split_once("\nUnavailability\n").unwrap();
    assert_eq!(lines(text, "epaxos")[0], ["epaxos", "isolate tokyo", "2.50 s", "0", "–"]);
}

#[test]
fn the_table_of_latencies_has_the_published_digits_and_how_far_measured_is_from_predicted() {
    let dir = tempfile::tempdir().unwrap();
    let text = tables(&sample().write(dir.path())).unwrap();
    let (_, text) = text.split_once("An iteration: measured, predicted, published\n").unwrap();
    let virginia = lines(text, "virginia");
    let [epaxos, paxos] = &virginia[..] else { panic!("{text}") };
    assert_eq!((epaxos[1], epaxos[7]), ("epaxos", "72.5 (Gryadka)"));
    assert_eq!((paxos[1], paxos[7]), ("paxos", "1,341 (etcd)"));
    for row in [epaxos, paxos] {
        let number = |column: usize| row[column].replace('−', "-").parse::<f64>().unwrap();
        let (p50, bound, over, share) = (number(3), number(4), number(5), number(6));
        assert_eq!(row[4], "72.00");
        assert!(over > 0.0 && (p50 - bound - over).abs() < 0.011, "{row:?}");
        assert!((over / bound * 100.0 - share).abs() < 0.06, "{row:?}");
    }
    let tokyo = lines(text, "tokyo");
    let published: Vec<_> = tokyo.iter().map(|row| (row[1], row[7])).collect();
    assert_eq!(published, [("epaxos", "–"), ("paxos", "230"), ("MongoDB", "366")]);
}

#[test]
fn the_page_has_both_tables_and_a_figure_with_the_numbers_in_words() {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report").join("published");
    if base.exists() {
        fs::remove_dir_all(&base).unwrap();
    }
    let paths = write_report(&sample().write(&base), &[]).unwrap();
    let page = fs::read_to_string(&paths.html).unwrap();
    for word in ["<h2>Unavailability</h2>", "≥ 3.00 s", "72.5 (Gryadka)", "figures/published.svg"]
    {
        assert!(page.contains(word), "{word}");
    }
    let svg = paths.svg.iter().find(|path| path.ends_with("published.svg")).expect("a figure");
    let svg = fs::read_to_string(svg).unwrap();
    let words = svg.split("<desc>").nth(1).unwrap().split("</desc>").next().unwrap();
    for word in
        ["virginia: epaxos, measured 7", "Gryadka, published 72.5", "MongoDB, published 366"]
    {
        assert!(words.contains(word), "{word}: {words}");
    }
}

#[test]
fn without_faults_and_published_values_there_is_neither() {
    let dir = tempfile::tempdir().unwrap();
    let path = Sample { repeats: 1, ..Sample::default() }.write(dir.path());
    let text = tables(&path).unwrap();
    assert!(!text.contains("Unavailability") && !text.contains("published"), "{text}");
    let paths = write_report(&path, &[]).unwrap();
    let page = fs::read_to_string(&paths.html).unwrap();
    assert!(!page.contains("<h2>Unavailability") && !page.contains("predicted, published"));
    assert!(!paths.svg.iter().any(|path| path.ends_with("published.svg")));
}

#[test]
fn published_values_that_cannot_be_read_are_said_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = sample().write(dir.path());
    let file = path.join("experiment.yaml");
    fs::write(&file, EXPERIMENT.replace("230ms", "230")).unwrap();
    let why = write_report(&path, &[]).unwrap_err().to_string();
    assert!(why.contains("experiment.yaml:10:") && why.contains("has no unit"), "{why}");
    assert_eq!(why.lines().count(), 1);
}
