//! Registers that are changed by functions: adds and appends, and what the checker makes of them.

mod load_common;

use load_common::*;
use paxbench::check::history::{Call, Completion, Reply, Seen};
use paxbench::check::{History, Limits, Verdict, check};
use paxbench::command::APPENDED_BYTES_MAX;
use paxbench::load::plan::{Arrival, KeyChoice, LoadPlan, OperationMix, Retries};

fn adds() -> OperationMix {
    OperationMix { add: 0.6, get: 0.3, delete: 0.1, ..OperationMix::default() }
}

fn appends() -> OperationMix {
    OperationMix { append: 0.6, get: 0.3, delete: 0.1, ..OperationMix::default() }
}

fn verdict(history: &History) -> Verdict {
    check(history, &Limits::default())
}

/// The history of a run in which things fail.
fn chaotic(seed: u64, operations: OperationMix, share: f64) -> History {
    let mut world = chaotic_world(seed, |plan| {
        plan.operations = operations;
        plan.keys = KeyChoice::Conflict { share, own_keys: 20 };
        if seed.is_multiple_of(2) {
            plan.retries = Retries::SameReplica;
        }
    });
    world.begin();
    world.run_until(100 * SECOND);
    assert_eq!(world.clients.counters().bad_replies, 0, "seed {seed}");
    history(&world.log)
}

#[test]
fn what_the_store_makes_of_adds_and_appends_is_linearizable_whatever_fails() {
    let only = OperationMix { add: 0.7, get: 0.3, ..OperationMix::default() };
    for (operations, share) in [(only, 0.2), (adds(), 0.05), (appends(), 0.02)] {
        let (mut unknown, mut answered) = (0, 0);
        for seed in 0..40 {
            let history = chaotic(seed, operations, share);
            let verdict = verdict(&history);
            assert_eq!(verdict, Verdict::Valid, "seed {seed}");
            let of = |wanted: fn(&Completion) -> bool| {
                let is = |record: &&paxbench::check::history::OperationRecord| {
                    matches!(record.call, Call::Add { .. } | Call::Append { .. })
                        && wanted(&record.completion)
                };
                history.operations.iter().filter(is).count()
            };
            unknown += of(|completion| *completion == Completion::Unknown);
            answered += of(|completion| matches!(completion, Completion::Ok(_)));
        }
        assert!(unknown > 500 && answered > 5000, "{unknown} of {answered}");
    }
}

/// Some answered operation in the middle whose answer is changed like this.
fn damaged(mut history: History, change: impl Fn(&mut u64)) -> History {
    let middle = history.operations.len() / 2;
    for record in &mut history.operations[middle..] {
        if let Completion::Ok(Reply::Found(Seen::Token(token))) = &mut record.completion {
            change(token);
            return history;
        }
    }
    panic!("nothing was answered")
}

#[test]
fn a_number_or_a_list_that_is_not_what_was_made_of_it_is_no_linearizable_answer() {
    for seed in 0..10 {
        let (numbers, lists) = (chaotic(seed, adds(), 0.02), chaotic(seed, appends(), 0.02));
        let bad =
            [damaged(numbers, |token| *token += 1 << 40), damaged(lists, |token| *token ^= 1)];
        for history in bad {
            let verdict = verdict(&history);
            assert!(matches!(verdict, Verdict::Invalid(_)), "seed {seed}: {verdict:?}");
        }
    }
}

#[test]
fn a_list_that_is_full_stays_as_it_is_and_the_history_says_so() {
    let operations = OperationMix { append: 0.9, get: 0.1, ..OperationMix::default() };
    let keys = KeyChoice::Uniform { keys: 2 };
    let closed = Arrival::Closed { outstanding: 2 };
    let plan = LoadPlan { operations, keys, value_bytes: 100, ..plan(closed) };
    let mut world = all_connected(World::new(&plan, steady(5 * MS)));
    world.begin();
    world.run_until(SECOND);
    world.clients.stop_issuing();
    world.run_until(2 * SECOND);
    let history = history(&world.log);
    let is = |wanted: fn(&Completion) -> bool| {
        let appends = history.operations.iter().filter(|r| matches!(r.call, Call::Append { .. }));
        appends.filter(|record| wanted(&record.completion)).count()
    };
    let made = is(|completion| matches!(completion, Completion::Ok(Reply::Found(_))));
    assert_eq!(made, 2 * (APPENDED_BYTES_MAX / 100));
    assert!(is(|completion| matches!(completion, Completion::Ok(Reply::Full(_)))) > 1000);
    assert_eq!(verdict(&history), Verdict::Valid);
}
