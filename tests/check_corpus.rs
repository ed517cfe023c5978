//! Small histories, named by what they show, and the verdict that each must get.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use paxbench::check::history::{Call, Completion, OperationRecord, Reply, Seen};
use paxbench::check::linearizability::per_object;
use paxbench::check::{History, Limits, Verdict, check, read_history};
use paxbench::command::Key;
use paxbench::kv::OPENING_BALANCE;

fn corpus(kind: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories").join(kind);
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .expect("the corpus is there")
        .map(|entry| entry.expect("the corpus is readable").path())
        .collect();
    files.sort();
    files
}

fn history(file: &Path) -> History {
    read_history(&[file]).unwrap_or_else(|error| panic!("{error}"))
}

fn verdict(file: &Path) -> Verdict {
    check(&history(file), &Limits::default())
}

fn verdict_alone(file: &Path) -> Verdict {
    per_object(&history(file), &Limits::default())
}

/// The names of the histories whose verdict is not as wanted.
fn misjudged(
    kind: &str,
    judge: fn(&Path) -> Verdict,
    wanted: impl Fn(&Verdict) -> bool,
) -> Vec<String> {
    let judged = corpus(kind).into_iter().map(|file| (judge(&file), file));
    judged
        .filter(|(verdict, _)| !wanted(verdict))
        .map(|(verdict, file)| format!("{}: {verdict:?}", file.display()))
        .collect()
}

#[test]
fn every_good_history_is_valid() {
    assert!(corpus("good").len() >= 24);
    let wrong = misjudged("good", verdict, |verdict| *verdict == Verdict::Valid);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_bad_history_is_invalid() {
    assert!(corpus("bad").len() >= 39);
    let wrong = misjudged("bad", verdict, |verdict| matches!(verdict, Verdict::Invalid(_)));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_good_history_is_valid_for_each_key_alone() {
    let wrong = misjudged("good", verdict_alone, |verdict| *verdict == Verdict::Valid);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The bad histories in which no key alone shows that anything is wrong.
const BAD_ONLY_ACROSS_KEYS: [&str; 2] = [
    "read_of_two_accounts_sees_the_later_update_only.jsonl",
    "three_transfers_in_a_circle_through_real_time.jsonl",
];

#[test]
fn two_bad_histories_are_valid_for_each_key_alone() {
    let mut valid = Vec::new();
    for file in corpus("bad") {
        match verdict_alone(&file) {
            Verdict::Valid => valid.extend(file.file_name().map(OsStr::to_owned)),
            Verdict::Invalid(_) => {}
            Verdict::Unknown(why) => panic!("{}: {why}", file.display()),
        }
    }
    assert_eq!(valid, BAD_ONLY_ACROSS_KEYS);
}

/// What `check` says of a bad history, in words.
fn told(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories/bad").join(name);
    let Verdict::Invalid(violation) = verdict(&file) else { panic!("{name} passed") };
    violation.to_string()
}

#[test]
fn a_circle_is_told_with_all_its_transfers() {
    let text = told("three_transfers_in_a_circle_through_real_time.jsonl");
    for part in ["a1  transfer of 100 from a1 to a2", "a2  transfer of 100", "a3  transfer of 100"]
    {
        assert!(text.contains(&format!("\n  {part}")), "{part}: {text}");
    }
}

#[test]
fn the_verdict_says_whether_each_key_alone_is_linearizable() {
    for name in BAD_ONLY_ACROSS_KEYS {
        let text = told(name);
        let end = "\neach key alone is linearizable: \
                   the commands on several keys are not strictly serialisable";
        assert!(text.ends_with(end), "{name}: {text}");
    }
    let text = told("three_transfers_in_a_circle_and_two_against_the_clock.jsonl");
    let end = "\nnot even each key alone is linearizable; a2: ";
    assert!(text.contains(end), "{text}");
    let text = told("stale_read.jsonl");
    assert!(!text.contains("alone"), "only one key is concerned: {text}");
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
    let text = told("stale_read.jsonl");
    let start = "k1: get by process 7 at virginia returned 41 at 4.000–5.000 ms, \
                 but 44 had been written and acknowledged before it began";
    assert!(text.starts_with(start), "{text}");
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

const MS: u64 = 1_000_000;

/// A number that looks random, below `sides`.
fn roll(seed: &mut u64, sides: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % sides
}

/// The transfers of a store that executes them one after the other, one a millisecond, but shows
/// it on the upper half of its accounts `lag_ms` later. A transfer begins before it shows on the
/// first of its accounts and ends after it shows on both: so each account alone keeps real time.
fn lagging_store(accounts: u64, transfers: u64, lag_ms: u64) -> History {
    let mut history = History::default();
    let site = history.site("here").expect("the first site");
    let mut balances = vec![OPENING_BALANCE; accounts as usize];
    let mut seed = accounts;
    for process in 0..transfers {
        let from = roll(&mut seed, accounts);
        let to = (from + 1 + roll(&mut seed, accounts - 1)) % accounts;
        let amount = 1 + roll(&mut seed, 100);
        let moved = balances[from as usize] >= amount;
        if moved {
            balances[from as usize] -= amount;
            balances[to as usize] += amount;
        }
        let shows = [from, to].map(|account| {
            let lags = account >= accounts / 2;
            (process + 10 + if lags { lag_ms } else { 0 }) * MS
        });
        let invoke_ns = shows[0].min(shows[1]) - roll(&mut seed, 4 * MS);
        let response_ns = shows[0].max(shows[1]) + roll(&mut seed, 4 * MS);
        let (payer, receiver) = (balances[from as usize], balances[to as usize]);
        history.operations.push(OperationRecord {
            process,
            site,
            key: Key::account(from),
            call: Call::Transfer { to: Key::account(to), amount },
            invoke_ns,
            response_ns: Some(response_ns),
            completion: Completion::Ok(Reply::Balances { moved, from: payer, to: receiver }),
        });
    }
    history
}

/// Exchanges the times of a transfer in the middle and the next one that has the same payer, began
/// after it ended and found another balance.
fn exchange_two(history: &mut History) {
    let middle = history.operations.len() / 2;
    let early = history.operations[middle].clone();
    let is_late = |record: &OperationRecord| {
        record.key == early.key
            && early.response_ns.is_some_and(|end| end < record.invoke_ns)
            && record.completion != early.completion
    };
    let late = (middle..history.operations.len())
        .find(|&index| is_late(&history.operations[index]))
        .expect("accounts pay again and again");
    let times = |record: &OperationRecord| (record.invoke_ns, record.response_ns);
    let (early_times, late_times) = (times(&early), times(&history.operations[late]));
    for (index, times) in [(middle, late_times), (late, early_times)] {
        let record = &mut history.operations[index];
        (record.invoke_ns, record.response_ns) = times;
    }
}

/// The verdicts as a whole and for each key alone.
fn both(history: &History) -> [Verdict; 2] {
    [check(history, &Limits::default()), per_object(history, &Limits::default())]
}

#[test]
fn a_store_whose_accounts_keep_one_time_passes_both_checks() {
    for accounts in [4, 7, 16] {
        let history = lagging_store(accounts, 2_000, 0);
        assert_eq!(both(&history), [Verdict::Valid, Verdict::Valid], "{accounts} accounts");
    }
}

#[test]
fn a_store_of_which_half_lags_passes_for_each_key_alone_only() {
    for accounts in [4, 7, 16] {
        let [whole, alone] = both(&lagging_store(accounts, 2_000, 20));
        assert_eq!(alone, Verdict::Valid, "{accounts} accounts");
        let Verdict::Invalid(violation) = whole else { panic!("{accounts} accounts: {whole:?}") };
        assert_eq!(violation.alone.as_deref(), Some(&Verdict::Valid), "{violation}");
    }
}

#[test]
fn a_store_that_turns_two_transfers_of_one_account_round_fails_both_checks() {
    for accounts in [4, 7, 16] {
        for lag_ms in [0, 20] {
            let mut history = lagging_store(accounts, 2_000, lag_ms);
            exchange_two(&mut history);
            let verdicts = both(&history);
            let invalid = |verdict| matches!(verdict, &Verdict::Invalid(_));
            assert!(verdicts.iter().all(invalid), "{accounts} accounts, {lag_ms} ms: {verdicts:?}");
        }
    }
}
