//! `paxbench explore` and `paxbench model`, as a person uses and misuses them.

mod common;

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Driver, Ended, Lab, PAXBENCH, wait_for};
use rustix::process::Signal;

fn paxbench(line: &str) -> Ended {
    Lab::new().paxbench(&line.split(' ').collect::<Vec<_>>()).wait()
}

/// It does what it is told, and says these words on standard output.
fn says(line: &str, code: i32, words: &[&str]) -> String {
    let ended = paxbench(line);
    assert_eq!((ended.code(), ended.stderr.as_str()), (code, ""), "{line}: {ended:?}");
    for word in words {
        assert!(ended.stdout.contains(word), "{line}: `{word}` is not in: {}", ended.stdout);
    }
    ended.stdout
}

/// It is refused as bad usage; the first line of the error has these words.
fn refused(line: &str, words: &[&str]) {
    let ended = paxbench(line);
    assert_eq!((ended.code(), ended.stdout.as_str()), (2, ""), "{line}: {ended:?}");
    let said = ended.stderr.split("\n\n").next().unwrap_or_default();
    assert!(said.starts_with("error: "), "{line}: {said}");
    for word in words {
        assert!(said.contains(word), "{line}: `{word}` is not in: {said}");
    }
}

#[test]
fn an_exploration_without_a_failure_says_what_it_did() {
    let line = "explore --mode paxos --seeds 0..50 --twice";
    let words = [
        "paxos: 50 seeds, ",
        " times as fast\n",
        "canary: a planted bug, disks that lie, was noticed at seed ",
        "reached: ",
        " elections ",
        "no violation; every seed did the same twice\n",
    ];
    let told = says(line, 0, &words);
    assert!(told.lines().all(|line| line.len() <= 100), "{told}");
    says("explore --mode paxos --seeds 3..5 --threads 1 --keep 0", 0, &["paxos: 2 seeds, "]);
}

#[test]
fn faults_can_be_chosen_and_left_out() {
    let calm = "explore --mode paxos --seeds 0..20 --faults none";
    says(calm, 0, &[" 0 faults, ", "no violation\n"]);
    let some = says("explore --mode paxos --seeds 0..20 --faults crashes,cuts", 0, &[]);
    assert!(!some.contains(" 0 faults, "), "{some}");
}

#[test]
fn a_seed_is_told_and_told_again_alike() {
    let line = "explore --mode paxos --seed 3 --trace";
    let first = says(line, 0, &[" replicas, ", "fault at ", "seed 3: no violation\n"]);
    assert!(first.lines().count() > 100, "{first}");
    assert_eq!(paxbench(line).stdout, first);
    let untold = says("explore --mode paxos --seed 3", 0, &["seed 3: no violation\n"]);
    assert!(untold.lines().count() < first.lines().count() / 2, "{untold}");
    says("explore --mode paxos --seed 3 --shrink", 0, &["nothing to shrink"]);
}

#[test]
fn bad_usage_is_answered_with_what_is_wanted() {
    let explore = |rest: &str, words: &[&str]| refused(&format!("explore {rest}"), words);
    let seeds = ["--seeds <A..B>", "two whole numbers A..B, A below B"];
    explore("--mode paxos", &["--seeds <A..B>|--seed <N>|--mutant <NAME>"]);
    for range in ["5..5", "6..5", "a..b", "5", "..", "0..=5", "-1..5"] {
        explore(&format!("--mode paxos --seeds={range}"), &seeds);
    }
    explore("--seeds 0..5", &["--mode <MODE>"]);
    explore("--mode raft --seeds 0..5", &["'raft'", "paxos"]);
    explore("--mode paxos --seeds 0..5 --faults wind", &["'wind'", "loss", "crashes", "none"]);
    explore("--mode paxos --seeds 0..5 --faults=", &["--faults <LIST>", "loss", "none"]);
    explore("--mode paxos --seeds 0..5 --faults loss,,cuts", &["--faults <LIST>", "loss"]);
    explore("--mode paxos --seeds 0..5 --seed 3", &["cannot be used with '--seed <N>'"]);
    for one_seed_only in ["--trace", "--shrink"] {
        let line = format!("--mode paxos --seeds 0..5 {one_seed_only}");
        explore(&line, &[one_seed_only, "cannot be used with", "--seeds <A..B>"]);
    }
    explore("--mode paxos --seed 3 --twice", &["--twice", "--seed <N>"]);
    for count in ["-1", "x", "1.5"] {
        let words = |flag| [flag, "want a whole number, 0 or more"];
        explore(&format!("--mode paxos --seeds 0..5 --keep {count}"), &words("--keep <N>"));
        explore(&format!("--mode paxos --seed {count}"), &words("--seed <N>"));
        let words = |flag| [flag, "want a whole number, 1 or more"];
        explore(&format!("--mode paxos --seeds 0..5 --threads {count}"), &words("--threads <N>"));
        let model = format!("model --mode paxos --states-max {count}");
        refused(&model, &words("--states-max <N>"));
    }
    explore("--mode paxos --seeds 0..5 --threads 0", &["--threads <N>", "1 or more"]);
    refused("model --mode paxos --states-max 0", &["--states-max <N>", "1 or more"]);
}

#[test]
fn a_build_without_mutants_says_how_to_build_one_with_them() {
    if cfg!(feature = "mutants") {
        refused(
            "explore --mode paxos --mutant x",
            &["no mutant `x`; known are", "gap-never-filled"],
        );
        refused("explore --mode paxos --mutant all --seed 3", &["--seed runs one mutant"]);
        let line = "explore --mode paxos --mutant write-quorum-too-small --seeds 0..100";
        let words = ["mutant", "by invariant", "1 of 1 mutants killed", "--seed SEED --mutant"];
        says(line, 0, &words);
        says(&format!("{line} --faults none"), 1, &["SURVIVES", "0 of 1", "--faults none"]);
    } else {
        for name in ["x", "all"] {
            let words = ["--mutant <NAME>", "no mutants", "cargo run --release --features mutants"];
            refused(&format!("explore --mode paxos --mutant {name}"), &words);
        }
    }
}

/// Whether the process does something of its own when it is interrupted, as `/proc` shows it.
fn hears_interrupts(driver: &Driver) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", driver.pid()));
    let status = status.unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (Signal::INT.as_raw() - 1)) != 0)
}

#[test]
fn an_interrupted_exploration_tells_what_it_has_found() {
    for which in [Signal::INT, Signal::TERM] {
        let lab = Lab::new();
        let line = ["explore", "--mode", "paxos", "--seeds", "0..1000000000"];
        let driver = lab.paxbench(&line);
        wait_for("the exploration", || hears_interrupts(&driver).then_some(()));
        driver.signal(which);
        let ended = driver.wait();
        assert_eq!((ended.code(), ended.stderr.as_str()), (1, ""), "{ended:?}");
        assert!(ended.after < Duration::from_secs(10), "{ended:?}");
        let told = &ended.stdout;
        assert!(told.contains("INTERRUPTED after ") && told.contains(" of 1000000000 seeds\n"));
        assert!(told.ends_with("no violation\n"), "{told}");
    }
}

/// Runs with this as standard output; the exit code, and what is said on standard error.
fn run_into(stdout: Stdio, line: &str) -> (Option<i32>, String) {
    let mut command = Command::new(PAXBENCH);
    let child = command.args(line.split(' ')).stdout(stdout).stderr(Stdio::piped()).spawn();
    let output = child.unwrap().wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is_one() {
    let lines = ["explore --mode paxos --seeds 0..5", "explore --mode paxos --seed 3 --trace"];
    for line in lines.into_iter().chain(["model --mode paxos --configuration stable-multi"]) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(run_into(writer.into(), line), (Some(0), String::new()), "{line}");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (code, said) = run_into(full.into(), line);
        assert_eq!((code, said.lines().count()), (Some(1), 1), "{line}: {said}");
        assert!(said.starts_with("error: standard output: "), "{said}");
    }
}

#[test]
fn a_model_is_explored_to_its_end_or_said_not_to_be() {
    let one = "model --mode paxos --configuration stable-multi";
    let told = says(one, 0, &["configuration ", "stable-multi ", "exhausted, all is well\n"]);
    assert_eq!(told.lines().count(), 2, "{told}");
    let words = ["stable-multi ", "NOT EXHAUSTED", "--states-max"];
    says(&format!("{one} --states-max 100"), 1, &words);
    let unknown = "model --mode paxos --configuration triple";
    refused(unknown, &["no configuration `triple`", "stable-multi", "takeover-fall"]);
    refused("model --mode raft", &["'raft'", "paxos"]);
    refused("model", &["--mode <MODE>"]);
}
