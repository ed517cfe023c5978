//! Figures and the page of a made-up run.

mod report_sample;

use std::fs;
use std::path::{Path, PathBuf};

use paxbench::report::table::summary_table;
use paxbench::report::{ReportPaths, write_report};
use paxbench::results::{Backend, Linearizable, Results, Verdict};
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
    let timelines = ["timeline-epaxos.svg", "timeline-paxos.svg"];
    assert_eq!(names[..3], ["latency.svg", "cdf.svg", "load.svg"]);
    assert_eq!(names[3..], timelines);
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

/// What a figure says in words.
fn description(svg: &str) -> &str {
    svg.split("<desc>").nth(1).and_then(|text| text.split("</desc>").next()).unwrap()
}

/// Every figure of a run with this verdict warns in its picture and in its words, and so does the
/// page.
fn warns(name: &str, verdict: Verdict, word: &str, banner: &str) {
    let paths = report(name, &Sample { repeats: 1, verdict, ..Sample::default() });
    assert!(!paths.svg.is_empty());
    for svg in &paths.svg {
        let text = read(svg);
        assert!(text.contains(WARNING), "{}: nothing has the colour of warnings", svg.display());
        let words = description(&text);
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

/// Where the leader's 40,000 sent messages of 10,000 operations are 4 an operation.
#[test]
fn the_load_of_a_leader_stands_beside_that_of_replicas_that_are_alike() {
    let paths = report("load", &Sample::default());
    let text = read(&paths.svg[2]);
    let words = description(&text);
    let leader = "paxos: virginia 4.00 messages sent, 2.10 received, 20.0 µs of CPU time; \
                  california 0.53 messages sent, 1.00 received, 5.9 µs of CPU time;";
    assert!(words.contains(leader), "{words}");
    let alike = "1.22 messages sent, 1.22 received, 8.7 µs of CPU time";
    let of_epaxos = words.split("epaxos: ").nth(1).unwrap().split(" paxos:").next().unwrap();
    assert_eq!(of_epaxos.matches(alike).count(), 5, "{words}");
    assert!(words.contains("mean of 2 repeats") && !words.contains("gone"), "{words}");
}

#[test]
fn a_predicted_load_has_no_cpu_time_and_a_replica_that_is_gone_has_none_at_all() {
    let sample = Sample { backend: Backend::Sim, repeats: 1, ..Sample::default() };
    let directory = sample.write(&gallery("gone"));
    fs::remove_file(directory.join("replicas/paxos-0-0-tokyo.json")).unwrap();
    let text = read(&write_report(&directory, &[]).unwrap().svg[2]);
    let words = description(&text);
    assert!(words.starts_with("Predicted in virtual time. "), "{words}");
    assert!(words.contains("CPU time is not known.") && !words.contains("µs"), "{words}");
    let of_paxos = words.split(" paxos: ").nth(1).unwrap();
    assert!(!of_paxos.contains("tokyo") && of_paxos.contains("ireland"), "{words}");
    assert!(words.contains("tokyo") && words.contains("–: gone at the end."), "{words}");
}

#[test]
fn without_counters_of_the_replicas_their_load_is_not_known() {
    let directory = Sample { repeats: 1, ..Sample::default() }.write(&gallery("no-counters"));
    fs::remove_dir_all(directory.join("replicas")).unwrap();
    let paths = write_report(&directory, &[]).unwrap();
    let text = read(&paths.svg[2]);
    let words = description(&text);
    assert!(words.contains("epaxos: not known. paxos: not known."), "{words}");
    assert!(!read(&paths.html).contains("cores counted"));
}

#[test]
fn the_page_shows_what_the_cores_counted_of_each_mode() {
    let html = read(&report("counted", &Sample::default()).html);
    let section = html.split("cores counted</h2>").nth(1).unwrap();
    let section = section.split("</section>").next().unwrap();
    // 2 repeats of 5 replicas; 24,000 operations.
    let row = "fast</th><td>23,000</td><td>0.9583</td><td>2,300</td><td>2,300</td>";
    assert!(section.contains(row), "{section}");
    assert!(section.contains("Never: recovered.") && section.contains("Never: elections."));
    assert!(!section.contains("leader"), "the leader's place is no count");
}

/// The replicas hold the state themselves: an operation is what they have answered, all of them together.
#[test]
fn the_page_shows_how_often_caspaxos_needed_one_round_trip() {
    let sample = Sample { labels: vec!["caspaxos"], repeats: 1, ..Sample::default() };
    let html = read(&report("counted-caspaxos", &sample).html);
    let section = html.split("cores counted</h2>").nth(1).unwrap();
    let section = section.split("</section>").next().unwrap();
    // 5 replicas; 12,000 operations.
    let row = "chosen</th><td>10,000</td><td>0.8333</td><td>2,000</td><td>2,000</td>";
    assert!(section.contains(row), "{section}");
    for words in [
        "attempts that needed one round trip: 98.22 %;",
        "attempts a change: 1.125;",
        "rounds of clean reads that found the replicas agreed: 95.00 %.",
        "Never: unknown.",
    ] {
        assert!(section.contains(words), "{section}");
    }
    assert!(!section.contains("registers") && !section.contains("round_trip_us"), "{section}");
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
    assert_eq!(html.matches("<figure").count(), 5);
    assert_eq!(html.matches("<svg").count(), 5);
}

#[test]
fn a_sweep_of_the_load_has_a_figure_of_latency_against_throughput() {
    let sample = Sample {
        labels: vec!["epaxos", "paxos", "caspaxos"],
        sites: vec!["virginia", "oregon", "ireland"],
        points: vec![100, 200, 400, 800],
        repeats: 1,
        measure_s: 3,
        ..Sample::default()
    };
    let paths = report("sweep", &sample);
    let names = ["sweep-latency", "sweep-cost", "sweep-counters", "sweep-load"];
    for (path, name) in paths.svg.iter().zip(names) {
        assert!(path.ends_with(format!("{name}.svg")), "{}", path.display());
    }
    assert_eq!(paths.svg.len(), 4 + 4 * (3 + 3));
    let html = read(&paths.html);
    assert!(html.contains("workload.arrival.open = 400/s"));
    assert_eq!(
        html.matches("<details><summary>").count(),
        4 * (3 + 3),
        "open: what shows all points"
    );
}

fn words_of(paths: &ReportPaths, figure: &str) -> String {
    let path = paths.svg.iter().find(|path| path.ends_with(format!("{figure}.svg")));
    description(&read(path.unwrap_or_else(|| panic!("no {figure}")))).to_owned()
}

/// Points are not mixed: the rate of each stands in its number of operations.
#[test]
fn a_sweep_of_anything_shows_latency_cost_and_counters_against_its_values() {
    let sample = Sample {
        sites: vec!["virginia", "oregon", "ireland"],
        swept: ("workload.keys.conflict", "%"),
        points: vec![10, 50, 100],
        void_at: Some(1),
        ..Sample::default()
    };
    let paths = report("swept", &sample);
    assert!(!paths.svg.iter().any(|path| path.ends_with("sweep-load.svg")), "the load is the same");
    let latency = words_of(&paths, "sweep-latency");
    for words in [
        "Swept: workload.keys.conflict.",
        "Hollow: void or not verified.",
        "Warning: epaxos at workload.keys.conflict = 50%, repeat 1: VOID: late.",
        "paxos, operations a second: 10% 30.0, 50% 150.0, 100% 300.0.",
    ] {
        assert!(latency.contains(words), "{words}: {latency}");
    }
    let results = Results::read(paths.html.parent().unwrap()).unwrap();
    let runs: Vec<_> = results.summary.runs.iter().filter(|run| run.label == "epaxos").collect();
    let at_point = |point: usize| {
        let runs: Vec<_> = runs.iter().copied().filter(|run| run.point_index == point).collect();
        let (merged, unit) = results.merged(&runs, &sample.sites).unwrap().unwrap();
        let ms = |quantile| unit.to_ms(merged.value_at_quantile(quantile) as f64);
        format!("{:.1} and {:.1}", ms(0.5), ms(0.99))
    };
    let line = format!(
        "epaxos, median and 99th percentile in ms: 10% {}, 50% {}, 100% {}.",
        at_point(0),
        at_point(1),
        at_point(2)
    );
    assert!(latency.contains(&line), "{line}: {latency}");
    let cost = words_of(&paths, "sweep-cost");
    for words in [
        "epaxos, messages: 10% 6.10, 50% 6.10, 100% 6.10.",
        "epaxos, CPU time (µs): 10% 43.60,",
        "epaxos, writes to the log: 10% 3.00, 50% 6.00, 100% 9.00.",
        "paxos, writes to the log: 10% 1.20, 50% 2.40, 100% 3.60.",
    ] {
        assert!(cost.contains(words), "{words}: {cost}");
    }
    let counters = words_of(&paths, "sweep-counters");
    let line = "epaxos, epaxos: slow: 10% 0.0250, 50% 0.0500, 100% 0.0750.";
    assert!(counters.contains(line) && !counters.contains("paxos, paxos"), "{counters}");
}

#[test]
fn a_sweep_of_modes_whose_cores_count_nothing_that_is_drawn_has_no_such_figure() {
    let sample = Sample {
        labels: vec!["paxos"],
        sites: vec!["virginia", "oregon"],
        backend: Backend::Sim,
        swept: ("workload.value", "B"),
        points: vec![0, 100],
        repeats: 1,
        measure_s: 2,
        ..Sample::default()
    };
    let paths = report("uncounted", &sample);
    assert!(!paths.svg.iter().any(|path| path.ends_with("sweep-counters.svg")));
    let cost = words_of(&paths, "sweep-cost");
    assert!(
        cost.contains("CPU time is not known.") && cost.contains("paxos, messages: 100B 6.10.")
    );
    let latency = words_of(&paths, "sweep-latency");
    assert!(latency.contains("operations a second: 0B 0.0, 100B 200.0."), "{latency}");
}

#[test]
fn a_run_in_which_nothing_completed_can_be_drawn() {
    let paths = report("nothing", &Sample { points: vec![0], repeats: 1, ..Sample::default() });
    assert_eq!(paths.svg.len(), 5);
    let html = read(&paths.html);
    assert!(!html.contains("NaN") && !html.contains("inf"));
    let text = read(&paths.svg[2]);
    let words = description(&text);
    assert!(words.contains("epaxos: nothing completed. paxos: nothing completed."), "{words}");
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
    assert_eq!(paths.svg.len(), 7);
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
    let text = read(&paths.svg[3]);
    assert!(text.contains("of latency 2 s."), "310 s in at most 300 steps");
    assert!(text.len() < 1 << 20, "{} bytes", text.len());
}
