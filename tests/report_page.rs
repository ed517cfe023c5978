//! Figures and the page of a made-up run.

mod report_sample;

use std::fs;
use std::path::{Path, PathBuf};

use paxbench::report::table::summary_table;
use paxbench::report::{ReportPaths, write_report};
use paxbench::results::{Linearizable, Results, Verdict};
use report_sample::{Sample, valid};
use resvg::usvg;

/// The colour of warnings in figures, as usvg writes it.
const WARNING: &str = "#b00020";

/// Where pictures are left for a person to look at; the last ones stay.
fn gallery(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report").join(name);
    if path.exists() {
        fs::remove_dir_all(&path).unwrap();
    }
    path
}

fn report(name: &str, sample: &Sample) -> ReportPaths {
    write_report(&sample.write(&gallery(name)), &[]).unwrap()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_good_run_is_drawn_whole_and_without_a_warning() {
    let paths = report("good", &Sample { crash: true, ..Sample::default() });
    let names: Vec<_> =
        paths.svg.iter().map(|p| p.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["latency.svg", "cdf.svg", "timeline-epaxos.svg", "timeline-paxos.svg"]);
    for (svg, png) in paths.svg.iter().zip(&paths.png) {
        let text = read(svg);
        // no text is left that would need a font, and nothing is fetched
        assert!(!text.contains("<text") && !text.contains("href=") && !text.contains("url("));
        assert!(!text.contains(WARNING), "{}", svg.display());
        let tree = usvg::Tree::from_str(&text, &usvg::Options::default()).unwrap();
        assert!((tree.size().width() - 672.0).abs() < 0.5, "7 inches of 96 px");
        let bytes = fs::read(png).unwrap();
        let bitmap = resvg::tiny_skia::Pixmap::decode_png(&bytes).unwrap();
        assert_eq!(bitmap.width(), 2016, "288 dots an inch");
    }
    let html = read(&paths.html);
    assert!(html.contains("banner good") && !html.contains("banner bad"), "verdict");
}

/// Every figure of a run with this verdict warns in its picture and in its words, and so does the
/// page.
fn warns(name: &str, verdict: Verdict, word: &str, banner: &str) {
    let paths = report(name, &Sample { repeats: 1, verdict, ..Sample::default() });
    assert!(!paths.svg.is_empty());
    for svg in &paths.svg {
        let text = read(svg);
        assert!(text.contains(WARNING), "{}: nothing has the colour of warnings", svg.display());
        let words = text.split("<desc>").nth(1).and_then(|t| t.split("</desc>").next()).unwrap();
        assert!(words.contains(word), "{words}");
    }
    let html = read(&paths.html);
    let head = html.split("<main>").next().unwrap();
    assert!(head.contains(word) && head.contains(&format!("banner {banner}")), "{name}");
}

#[test]
fn a_run_that_is_not_linearizable_says_so_in_every_figure() {
    let verdict = Verdict { linearizable: Linearizable::Invalid, ..valid() };
    warns("invalid", verdict, "NOT LINEARIZABLE", "bad");
}

#[test]
fn a_run_that_was_not_checked_says_so_in_every_figure() {
    let verdict = Verdict { linearizable: Linearizable::Unchecked, converged: None, ..valid() };
    warns("unchecked", verdict, "linearizability unchecked; convergence unchecked", "doubtful");
}

#[test]
fn a_run_whose_checker_gave_up_says_so_in_every_figure() {
    let verdict = Verdict { linearizable: Linearizable::Unknown, ..valid() };
    warns("unknown", verdict, "linearizability unknown", "doubtful");
}

#[test]
fn a_run_whose_replicas_differ_says_so_in_every_figure() {
    warns("differ", Verdict { converged: Some(false), ..valid() }, "REPLICAS DIFFER", "bad");
}

#[test]
fn a_void_run_says_so_in_every_figure() {
    let void = Some("the load generator was 12 ms late".to_owned());
    warns("void", Verdict { void, ..valid() }, "VOID: the load generator was 12 ms late", "bad");
}

#[test]
fn hostile_names_are_escaped_in_page_and_figures() {
    let sample = Sample {
        labels: vec!["<script>alert(1)</script>"],
        sites: vec!["\"><img src=x onerror=alert(2)>", "a&b"],
        repeats: 1,
        ..Sample::default()
    };
    let paths = report("hostile", &sample);
    let html = read(&paths.html);
    assert!(!html.contains("<script") && !html.contains("<img"));
    assert!(html.contains("&lt;script&gt;alert(1)") && html.contains("a&amp;b"));
    for svg in &paths.svg {
        let text = read(svg);
        assert!(!text.contains("<script") && !text.contains("<img"));
        assert!(usvg::Tree::from_str(&text, &usvg::Options::default()).is_ok());
    }
}

#[test]
fn the_page_needs_nothing_else() {
    let html = read(&report("alone", &Sample::default()).html);
    for word in ["<script", "<link", " src=", "@import", "url(", "href=", "http-equiv"] {
        assert!(!html.contains(word), "{word}");
    }
    assert_eq!(html.matches("<figure").count(), 4);
    assert_eq!(html.matches("<svg").count(), 4);
}

#[test]
fn a_sweep_has_a_figure_of_latency_against_throughput() {
    let sample = Sample {
        labels: vec!["epaxos", "paxos", "caspaxos"],
        sites: vec!["virginia", "oregon", "ireland"],
        points: vec![100, 200, 400, 800],
        repeats: 1,
        measure_s: 3,
        ..Sample::default()
    };
    let paths = report("sweep", &sample);
    assert!(paths.svg[0].ends_with("sweep.svg"));
    assert_eq!(paths.svg.len(), 1 + 4 * (2 + 3));
    assert!(read(&paths.html).contains("workload.arrival.open = 400/s"));
}

#[test]
fn a_run_in_which_nothing_completed_can_be_drawn() {
    let paths = report("nothing", &Sample { points: vec![0], repeats: 1, ..Sample::default() });
    assert_eq!(paths.svg.len(), 4);
    assert!(!read(&paths.html).contains("NaN"));
}

#[test]
fn an_unfinished_run_gets_no_report() {
    let base = gallery("unfinished");
    let directory = paxbench::results::RunDirectory::create(&base, "sample").unwrap();
    Sample { repeats: 1, ..Sample::default() }.fill(&directory);
    let error = write_report(directory.path(), &[]).unwrap_err().to_string();
    assert!(error.contains("never finished"), "{error}");
    assert!(!directory.path().join("report.html").exists());
}

#[test]
fn redrawing_gives_the_same_files() {
    let directory = Sample { repeats: 1, ..Sample::default() }.write(&gallery("again"));
    let first = write_report(&directory, &[]).unwrap();
    let files = |paths: &ReportPaths| {
        let all = paths.svg.iter().chain(&paths.png).chain([&paths.html]);
        all.map(|path| fs::read(path).unwrap()).collect::<Vec<_>>()
    };
    let before = files(&first);
    assert!(before == files(&write_report(&directory, &[]).unwrap()));
}

#[test]
fn the_table_is_aligned_and_shows_what_is_over_the_bound() {
    let sample = Sample { labels: vec!["paxos"], ..Sample::default() };
    let results = Results::read(&sample.write(&gallery("table"))).unwrap();
    let table = summary_table(&results.summary);
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("paxos · repeat 1 · 1,000.0 ops/s · linearizable"), "{table}");
    let block = &lines[1..7];
    let width = block[0].chars().count();
    assert!(block.iter().all(|line| line.chars().count() == width), "{table}");
    assert!(block[1].trim_start().starts_with("virginia"), "{table}");
    let tokyo: Vec<_> = block[4].split_whitespace().collect();
    assert_eq!((tokyo[0], tokyo[1], tokyo[5]), ("tokyo", "2,000", "113.00"), "{table}");
    let over = tokyo[3].parse::<f64>().unwrap() - 113.0;
    assert!((tokyo[6].parse::<f64>().unwrap() - over).abs() < 0.011, "{table}");
}

#[test]
fn the_table_warns_of_a_void_run() {
    let verdict = Verdict { void: Some("asked 50 ms, got 61 ms".to_owned()), ..valid() };
    let sample = Sample { labels: vec!["paxos"], repeats: 1, verdict, ..Sample::default() };
    let results = Results::read(&sample.write(&gallery("void-table"))).unwrap();
    let table = summary_table(&results.summary);
    assert!(table.contains("  ! VOID: asked 50 ms, got 61 ms\n"), "{table}");
    assert!(!table.contains("converged"), "{table}");
}

#[test]
fn long_tails_many_sites_and_long_names_are_drawn() {
    let sample = Sample {
        labels: vec!["epaxos", "paxos leader=virginia", "caspaxos", "multicoordinated rounds=fast"],
        sites: vec![
            "us-east-1-virginia",
            "us-west-1",
            "oregon",
            "tokyo",
            "ireland",
            "sydney",
            "mumbai",
            "saopaulo",
            "frankfurt",
        ],
        slow: 40.0,
        warmup_s: 2,
        errors: 3,
        crash: true,
        ..Sample::default()
    };
    let paths = report("many", &sample);
    assert_eq!(paths.svg.len(), 6);
    // 3 of each of 4 modes, 2 repeats, 9 sites and 2 operations
    assert!(read(&paths.svg[0]).contains("; 432 failed."));
}

#[test]
fn a_long_run_shows_its_latencies_in_longer_steps() {
    let sample = Sample {
        labels: vec!["paxos"],
        repeats: 1,
        points: vec![20],
        measure_s: 310,
        slow: 8.0,
        crash: true,
        ..Sample::default()
    };
    let paths = report("long", &sample);
    let text = read(&paths.svg[2]);
    assert!(text.contains("of latency 2 s."), "310 s in at most 300 steps");
    assert!(text.len() < 1 << 20, "{} bytes", text.len());
}
