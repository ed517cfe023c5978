//! Small histories, named by what they show, and the verdict that each must get.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use paxbench::check::history::{Call, Completion, OperationRecord, Reply, Seen};
use paxbench::check::{History, Limits, Verdict, check, read_history};
use paxbench::command::Key;

fn corpus(kind: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories").join(kind);
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .expect("the corpus is there")
        .map(|entry| entry.expect("the corpus is readable").path())
        .collect();
    files.sort();
    files
}

fn verdict(file: &Path) -> Verdict {
    let history = read_history(&[file]).unwrap_or_else(|error| panic!("{error}"));
    check(&history, &Limits::default())
}

/// The names of the histories whose verdict is not as wanted.
fn misjudged(kind: &str, wanted: impl Fn(&Verdict) -> bool) -> Vec<String> {
    let judged = corpus(kind).into_iter().map(|file| (verdict(&file), file));
    judged
        .filter(|(verdict, _)| !wanted(verdict))
        .map(|(verdict, file)| format!("{}: {verdict:?}", file.display()))
        .collect()
}

#[test]
fn every_good_history_is_valid() {
    assert!(corpus("good").len() >= 20);
    let wrong = misjudged("good", |verdict| *verdict == Verdict::Valid);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_bad_history_is_invalid() {
    assert!(corpus("bad").len() >= 31);
    let wrong = misjudged("bad", |verdict| matches!(verdict, Verdict::Invalid(_)));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_bad_history_is_explained_by_some_of_its_operations() {
    for file in corpus("bad") {
        let Verdict::Invalid(violation) = verdict(&file) else { continue };
        let lines = fs::read_to_string(&file).expect("the corpus is readable").lines().count();
        let told = violation.operations.len();
        assert!((1..=lines / 2 + 1).contains(&told), "{}: {violation}", file.display());
    }
}

#[test]
fn a_stale_read_is_told_with_process_site_times_and_both_values() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories/bad/stale_read.jsonl");
    let Verdict::Invalid(violation) = verdict(&file) else { panic!("a stale read passed") };
    let start = "k1: get by process 7 at virginia returned 41 at 4.000–5.000 ms, \
                 but 44 had been written and acknowledged before it began";
    assert!(violation.to_string().starts_with(start), "{violation}");
}

/// Transfers of one coin between accounts, all at once, with answers that no order gives.
fn hard_history() -> History {
    let mut history = History::default();
    let site = history.site("here").expect("the first site");
    for process in 0..40 {
        let (from, to) = (Key::account(2 * process), Key::account(2 * process + 1));
        let last = process == 39;
        // The last pays into the first's account and claims to have left no trace there.
        let to = if last { Key::account(0) } else { to };
        let balance = if last { 5000 } else { 1001 };
        let completion = Completion::Ok(Reply::Balances { moved: true, from: 999, to: balance });
        let call = Call::Transfer { to, amount: 1 };
        let key = from;
        let response_ns = Some(100);
        history.operations.push(OperationRecord {
            process,
            site,
            key,
            call,
            invoke_ns: 0,
            response_ns,
            completion,
        });
    }
    // Transfers of unknown outcome tie all accounts together.
    for process in 0..39 {
        let (key, to) = (Key::account(2 * process + 1), Key::account(2 * process + 2));
        history.operations.push(OperationRecord {
            process: 100 + process,
            site,
            key,
            call: Call::Transfer { to, amount: 1 },
            invoke_ns: 0,
            response_ns: None,
            completion: Completion::Unknown,
        });
    }
    history
}

#[test]
fn a_hard_history_with_little_memory_is_unknown_and_not_valid() {
    let limits = Limits { memory_bytes: 1 << 16, ..Limits::default() };
    let Verdict::Unknown(reason) = check(&hard_history(), &limits) else {
        panic!("decided without memory")
    };
    assert!(reason.contains("memory"), "{reason}");
}

#[test]
fn a_hard_history_with_little_time_is_unknown_and_not_valid() {
    let limits = Limits { time: Duration::from_millis(20), ..Limits::default() };
    let Verdict::Unknown(reason) = check(&hard_history(), &limits) else {
        panic!("decided without time")
    };
    assert!(reason.contains("time"), "{reason}");
}

#[test]
fn an_invalid_key_outweighs_an_undecided_one() {
    let mut history = hard_history();
    history.operations.push(OperationRecord {
        process: 999,
        site: 0,
        key: Key::register(1),
        call: Call::Get,
        invoke_ns: 0,
        response_ns: Some(1),
        completion: Completion::Ok(Reply::Found(Seen::Token(7))),
    });
    let limits = Limits { memory_bytes: 1 << 16, ..Limits::default() };
    assert!(matches!(check(&history, &limits), Verdict::Invalid(_)));
}
