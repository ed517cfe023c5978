//! What a file sweeps: how it is read, written and changed by `--set`.

use std::path::Path;

use paxbench::experiment::file::{BadExperiment, Experiment, Override, Sweep};
use paxbench::experiment::plan::{Plan, describe};
use paxbench::load::plan::{Arrival, KeyChoice};

const FILE: &str = "
name: swept
modes: [paxos, epaxos]
network: { sites: [a, b, c], shaping: none }
workload: { keys: { conflict: 5%, own_keys: 10 }, operations: { put: 50%, get: 50% } }
phases: { repeat: 2 }
";

fn read(sweep: &str, set: &[&str]) -> Result<Experiment, BadExperiment> {
    let text = format!("{FILE}sweep: {sweep}\n");
    let set: Vec<Override> = set.iter().map(|set| set.parse().unwrap()).collect();
    Experiment::parse("swept.yaml", &text, Path::new("."), &set)
}

fn parsed(sweep: &str, set: &[&str]) -> Experiment {
    read(sweep, set).unwrap_or_else(|e| panic!("{e}"))
}

fn complaint(sweep: &str, set: &[&str]) -> String {
    read(sweep, set).map_or_else(|bad| bad.to_string(), |_| "nothing is wrong".to_owned())
}

fn conflicts(experiment: &Experiment) -> Vec<(f64, u64)> {
    let keys = |point: usize| match experiment.at(point).workload.keys {
        KeyChoice::Conflict { share, own_keys } => (share, own_keys),
        other => panic!("{other:?}"),
    };
    (0..experiment.sweep.points.len()).map(keys).collect()
}

#[test]
fn each_value_stands_where_set_would_put_it_and_all_else_is_as_the_file_says() {
    let experiment = parsed("{ workload.keys.conflict: [0%, 2%, 100%] }", &[]);
    assert_eq!(conflicts(&experiment), [(0.0, 10), (0.02, 10), (1.0, 10)]);
    for (index, share) in ["0%", "2%", "100%"].into_iter().enumerate() {
        let set = format!("workload.keys.conflict={share}");
        assert_eq!(*experiment.at(index), parsed("{}", &[&set]));
        let values = &experiment.sweep.points[index].values;
        assert_eq!(*values, [("workload.keys.conflict".to_owned(), share.to_owned())].into());
    }
    let mut first = experiment.clone();
    first.sweep = Sweep::default();
    assert_eq!(first, *experiment.at(0), "what is not swept is read of the first point");
}

#[test]
fn a_file_without_a_sweep_has_no_points_and_is_its_own_only_point() {
    for nothing in ["{}", "[]"] {
        let experiment = parsed(nothing, &[]);
        assert!(experiment.sweep.points.is_empty() && experiment.sweep.paths.is_empty());
        assert_eq!(*experiment.at(0), experiment);
        assert_eq!(Plan::of(&experiment).runs.len(), 4);
    }
}

#[test]
fn two_paths_are_swept_each_value_with_each_the_first_fastest() {
    let sweep =
        "{ workload.keys.conflict: [0%, 2%], workload.arrival: [{ closed: 1 }, { open: 9/s }] }";
    let experiment = parsed(sweep, &[]);
    let points = experiment.sweep.points.iter().map(|point| &point.values);
    let words = points.map(|values| values.values().map(String::as_str).collect::<Vec<_>>());
    let expected = [
        ["{ closed: 1 }", "0%"],
        ["{ closed: 1 }", "2%"],
        ["{ open: 9/s }", "0%"],
        ["{ open: 9/s }", "2%"],
    ];
    assert_eq!(words.collect::<Vec<_>>(), expected);
    assert_eq!(experiment.at(1).workload.arrival, Arrival::Closed { outstanding: 1 });
    assert_eq!(experiment.at(2).workload.arrival, Arrival::Constant { rate_per_s: 9.0 });
    assert_eq!(Plan::of(&experiment).runs.len(), 2 * 4 * 2);
}

/// With the values that the file has it cannot be read; with those of the sweep it can.
#[test]
fn what_a_value_mends_is_no_problem_and_what_it_breaks_is_its_own() {
    let text = FILE.replace("conflict: 5%, ", "");
    let parse = |sweep: &str| {
        Experiment::parse("f", &format!("{text}sweep: {sweep}\n"), Path::new("."), &[])
    };
    assert!(parse("{}").is_err());
    assert_eq!(conflicts(&parse("{ workload.keys.conflict: [1%] }").unwrap()), [(0.01, 10)]);
    let broken = complaint("{ workload.operations.put: [50%, 60%] }", &[]);
    let expected = "swept.yaml:7:41: workload.operations: the shares add up to 110%; \
                    write shares that add up to 100%";
    assert_eq!(broken, expected);
}

#[test]
fn the_written_copy_sweeps_the_same() {
    for sweep in [
        "{ workload.keys.conflict: [0%, 2%, 100%] }",
        "{ workload.keys: [{ conflict: 2% }, { uniform: 9 }, { zipf: { n: 9, theta: 0.5 } }] }",
        "{ workload.operations: [{ put: 100% }, { append: 100% }], workload.value: [16B, 4KiB] }",
        "{ transport.lanes: [1, 2], workload.clients_per_site: [1, 10], workload.timeout: [1s, 9s] }",
        "{ transport.congestion: [cubic, bbr], workload.arrival.open: [10/s, 0.5/s] }",
    ] {
        let experiment = parsed(sweep, &[]);
        let text = experiment.to_yaml();
        let again = Experiment::parse("copy", &text, Path::new("/nowhere"), &[]);
        assert_eq!(again.unwrap_or_else(|e| panic!("{e}\n{text}")), experiment);
    }
}

#[test]
fn set_changes_a_sweep_as_any_other_part_and_does_not_contradict_it() {
    let sweep = "{ workload.keys.conflict: [0%, 2%] }";
    assert_eq!(parsed(sweep, &["sweep={}"]).sweep.points.len(), 0);
    let other = "sweep={ workload.keys.conflict: [0%, 7%, 9%] }";
    assert_eq!(conflicts(&parsed(sweep, &[other])), [(0.0, 10), (0.07, 10), (0.09, 10)]);
    assert_eq!(
        conflicts(&parsed(sweep, &["workload.keys={ own_keys: 3 }"])),
        [(0.0, 3), (0.02, 3)]
    );

    let said = complaint(sweep, &["workload.keys.conflict=7%"]);
    let expected = "swept.yaml:7:10: sweep.workload.keys.conflict: both this and --set \
                    workload.keys.conflict=7% set it; remove one, or write --set sweep={} as well";
    assert_eq!(said, expected);
    let said = complaint("{}", &["sweep={ workload.keys.conflict: [0%, 101%] }"]);
    let flag = "--set sweep={ workload.keys.conflict: [0%, 101%] }: workload.keys.conflict: ";
    assert!(said.starts_with(flag) && said.lines().count() == 1, "{said}");
}

#[test]
fn the_plan_of_a_sweep_is_described() {
    let text = describe(&parsed("{ workload.keys.conflict: [0%, 2%, 10%] }", &[]));
    assert!(text.starts_with("swept: 12 runs, "), "{text}");
    assert!(text.contains("\n  sweep       workload.keys.conflict: 0%, 2%, 10%\n"), "{text}");
    assert!(text.contains("2 repeats of each mode at each of 3 points\n"), "{text}");
}

#[test]
fn the_example_sweeps_what_its_comments_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/figures/conflict-sweep.yaml");
    let experiment = Experiment::read(&path, &[]).unwrap_or_else(|e| panic!("{e}"));
    let shares: Vec<_> = conflicts(&experiment).into_iter().map(|(share, _)| share).collect();
    assert_eq!(shares, [0.0, 0.02, 0.1, 0.5, 1.0]);
    let plan = Plan::of(&experiment);
    assert_eq!((plan.runs.len(), plan.load_duration(&experiment).as_secs()), (30, 7 * 60));
}
