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

/// Forty swaps at once that write five values again and again, so that values tell nothing, and
/// two more that each need the other to come first.
fn hard_history() -> History {
    let mut history = History::default();
    let site = history.site("here").expect("the first site");
    let mut add = |call, found| {
        let process = history.operations.len() as u64;
        history.operations.push(OperationRecord {
            process,
            site,
            key: Key::register(0),
            call,
            invoke_ns: 0,
            response_ns: Some(100),
            completion: Completion::Ok(found),
        });
    };
    let token = |token| Reply::Found(Seen::Token(token));
    add(Call::Put { value: 0 }, Reply::Done);
    for swap in 0..40 {
        add(Call::Rmw { new: (swap + 1 + swap / 5) % 5 }, token(swap % 5));
    }
    add(Call::Rmw { new: 8 }, token(9));
    add(Call::Rmw { new: 9 }, token(8));
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
