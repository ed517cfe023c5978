//! What was measured and what was predicted, side by side: which runs are compared, and what the
//! figures of a prediction say of themselves.

mod report_sample;

use std::fs;
use std::path::{Path, PathBuf};

use paxbench::report::{ReportPaths, write_report};
use paxbench::results::{Backend, RunDirectory, Verdict};
use report_sample::{Sample, valid};

/// The colour of warnings in figures, as usvg writes it.
const WARNING: &str = "#b00020";

/// Where pictures are left for a person to look at; the last ones stay.
fn gallery(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prediction").join(name);
    if path.exists() {
        fs::remove_dir_all(&path).unwrap();
    }
    path
}

fn measured() -> Sample {
    Sample { repeats: 1, measure_s: 3, ..Sample::default() }
}

fn predicted() -> Sample {
    Sample { backend: Backend::Sim, overhead_ms: 0.0, slow: 0.1, ..measured() }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn name_of(directory: &Path) -> &str {
    directory.file_name().unwrap().to_str().unwrap()
}

fn names(paths: &ReportPaths) -> Vec<&str> {
    paths.svg.iter().map(|path| path.file_stem().unwrap().to_str().unwrap()).collect()
}

/// The figures that compare, by their descriptions.
fn comparisons(paths: &ReportPaths) -> Vec<String> {
    let comparing = paths.svg.iter().filter(|path| name_of(path).starts_with("prediction"));
    comparing.map(|path| description(path)).collect()
}

fn description(svg: &Path) -> String {
    let text = read(svg);
    let words = text.split("<desc>").nth(1).and_then(|text| text.split("</desc>").next());
    words.unwrap().to_owned()
}

#[test]
fn a_measured_and_a_predicted_run_of_one_experiment_are_compared_in_both_reports() {
    let base = gallery("both");
    let (quic, sim) = (measured().write(&base), predicted().write(&base));
    for directory in [&quic, &sim] {
        let paths = write_report(directory, &[]).unwrap();
        let all = ["latency", "cdf", "prediction-epaxos", "prediction-paxos", "load"];
        assert_eq!(names(&paths)[..5], all);
        for words in comparisons(&paths) {
            let sources = format!(
                "Measured in {}, predicted in virtual time in {}.",
                name_of(&quic),
                name_of(&sim)
            );
            assert!(words.starts_with(&sources), "{words}");
            assert!(words.contains("virginia: p50 72.") && words.contains("ireland: p50 1"));
        }
        let html = read(&paths.html);
        assert!(html.contains("id=\"prediction-paxos\"") && html.contains(name_of(&quic)));
        assert!(paths.png.iter().any(|path| path.ends_with("prediction-paxos.png")));
    }
}

#[test]
fn the_medians_stand_in_the_order_in_which_the_words_name_them() {
    let base = gallery("medians");
    let slow = Sample { overhead_ms: 1.0, slow: 0.0, labels: vec!["epaxos"], ..measured() };
    slow.write(&base);
    let exact = Sample { slow: 0.0, labels: vec!["epaxos"], ..predicted() };
    let paths = write_report(&exact.write(&base), &[]).unwrap();
    let [words] = &comparisons(&paths)[..] else { panic!("one mode") };
    assert!(words.contains("virginia: p50 73.02 / 72.06 ms (+0.96)."), "{words}");
    assert!(words.contains("p50: measured / predicted (difference)."), "{words}");
}

#[test]
fn a_run_alone_is_compared_with_nothing() {
    for (name, sample) in [("quic-alone", measured()), ("sim-alone", predicted())] {
        let base = gallery(name);
        sample.write(&base);
        let second = sample.write(&base);
        let paths = write_report(&second, &[]).unwrap();
        let all = ["latency", "cdf", "load", "timeline-epaxos", "timeline-paxos"];
        assert_eq!(names(&paths), all);
        assert!(!read(&paths.html).contains("id=\"prediction"));
    }
}

#[test]
fn another_experiment_is_not_compared_even_if_it_is_named() {
    let base = gallery("other");
    let quic = measured().write(&base);
    let other = "name: sample\nseed: 8\nmodes: [epaxos, paxos]\n";
    let sim = Sample { experiment: other, ..predicted() }.write(&base);
    let both = [quic.clone(), sim.clone()];
    for directory in &both {
        assert_eq!(comparisons(&write_report(directory, &both).unwrap()), Vec::<String>::new());
    }
}

#[test]
fn a_named_run_comes_before_the_newest_beside_it() {
    let (base, elsewhere) = (gallery("named"), gallery("elsewhere"));
    let quic = measured().write(&base);
    let (old, new) = (predicted().write(&base), predicted().write(&base));
    let far = predicted().write(&elsewhere);
    let far = {
        // runs of one second have one name: tell this one from its likes
        let renamed = far.with_file_name("far-away");
        fs::rename(far, &renamed).unwrap();
        renamed
    };
    let compared = |others: &[PathBuf]| {
        let words = comparisons(&write_report(&quic, others).unwrap()).remove(0);
        [&old, &new, &far].map(|path| words.contains(&format!("time in {}.", name_of(path))))
    };
    assert_eq!(compared(&[]), [false, true, false]);
    assert_eq!(compared(&[quic.clone(), far.clone(), old.clone()]), [false, false, true]);
    assert_eq!(compared(&[old.clone(), far.clone()]), [true, false, false]);
}

#[test]
fn what_is_not_finished_or_not_whole_is_compared_with_nothing() {
    let base = gallery("partial");
    let quic = measured().write(&base);
    let unfinished = RunDirectory::create(&base, "sample").unwrap();
    predicted().fill(&unfinished);
    let broken = predicted().write(&base);
    fs::remove_dir_all(broken.join("histograms")).unwrap();
    assert_eq!(comparisons(&write_report(&quic, &[broken]).unwrap()), Vec::<String>::new());
}

#[test]
fn what_speaks_against_either_run_stands_in_the_comparison_and_only_there_in_the_others_report() {
    let base = gallery("void");
    let void = Some("the load generator was 12 ms late".to_owned());
    let quic = Sample { verdict: Verdict { void, ..valid() }, ..measured() }.write(&base);
    let sim = predicted().write(&base);
    let expected = "Warning: measured: paxos: VOID: the load generator was 12 ms late.";
    let paths = write_report(&sim, &[]).unwrap();
    for svg in &paths.svg {
        let (text, compares) = (read(svg), name_of(svg).starts_with("prediction"));
        assert_eq!(text.contains(WARNING), compares, "{}", svg.display());
    }
    assert!(comparisons(&paths)[1].contains(expected), "{:?}", comparisons(&paths));
    assert!(read(&paths.html).contains("banner good"));
    assert!(comparisons(&write_report(&quic, &[]).unwrap())[1].contains(expected));

    let verdict = Verdict { converged: None, ..valid() };
    let unchecked = Sample { verdict, ..predicted() }.write(&base);
    let paths = write_report(&quic, &[unchecked]).unwrap();
    let expected = "Warning: predicted: epaxos: convergence unchecked.";
    assert!(comparisons(&paths)[0].contains(expected), "{:?}", comparisons(&paths));
}

#[test]
fn every_figure_and_the_page_of_a_prediction_say_that_it_is_one() {
    let sweep = Sample { points: vec![100, 200], labels: vec!["paxos"], ..predicted() };
    let paths = write_report(&sweep.write(&gallery("said")), &[]).unwrap();
    assert_eq!(paths.svg.len(), 3 + 2 * 4);
    for svg in &paths.svg {
        let words = description(svg);
        assert!(words.starts_with("Predicted in virtual time. "), "{}: {words}", svg.display());
    }
    let html = read(&paths.html);
    let head = html.split("<main>").next().unwrap();
    assert!(head.contains("sim: predicted in virtual time") && head.contains("banner plain"));
    assert!(head.contains("nothing here was measured"));

    let paths = write_report(&measured().write(&gallery("unsaid")), &[]).unwrap();
    assert!(paths.svg.iter().all(|svg| !description(svg).contains("redicted")));
    let html = read(&paths.html);
    assert!(html.contains("quic: measured in real time") && !html.contains("virtual time"));
}

#[test]
fn what_a_prediction_cannot_know_is_a_dash() {
    let sample = Sample { labels: vec!["paxos"], ..predicted() };
    let html = read(&write_report(&sample.write(&gallery("dash")), &[]).unwrap().html);
    let cost = "<td>1,000.0</td><td>–</td><td>–</td><td>–</td><td>6.10</td><td>540</td>";
    assert!(html.contains(cost), "CPU time of a simulation");
    let network = html.split("<h2>Network</h2>").nth(1).unwrap();
    let link = "<td>57.00</td><td>–</td><td>–</td><td>–</td><td>–</td><td>–</td><td>–</td>";
    assert!(network.contains(link), "round trips that were asked for only");
    assert!(!network.contains("Lateness"));
}

/// Pictures for a person to look at.
#[test]
fn comparisons_of_few_and_many_sites_are_drawn() {
    let cities = [
        "singapore",
        "netherlands",
        "sao-paulo",
        "sydney",
        "london",
        "mumbai",
        "south-carolina",
        "tokyo",
        "belgium",
        "taiwan",
        "oregon",
        "frankfurt",
        "iowa",
    ];
    for sites in [3, 5, 13] {
        let base = gallery(&format!("sites-{sites}"));
        let sites = || cities[..sites].to_vec();
        let void = Some("the shaper of tokyo sent 731 µs late at the median".to_owned());
        let verdict = Verdict { void, ..valid() };
        let labels = || vec!["paxos", "multicoordinated rounds=fast"];
        Sample { sites: sites(), labels: labels(), verdict, ..measured() }.write(&base);
        let sim = Sample { sites: sites(), labels: labels(), ..predicted() };
        let paths = write_report(&sim.write(&base), &[]).unwrap();
        assert_eq!(comparisons(&paths).len(), 2);
    }
}
