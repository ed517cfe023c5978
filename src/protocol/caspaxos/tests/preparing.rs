//! One round trip (§2.2.1): when the Prepare is spared, and when not.

use super::bench::{Bench, add, get, number, put, set};
use crate::command::Outcome;
use crate::mutants::{Mutant, with};
use crate::protocol::caspaxos::options::CaspaxosOptions;

const ALL: [u8; 3] = [0, 1, 2];

/// Whether a change at p0 begins with a Prepare.
fn prepares(bench: &mut Bench) -> bool {
    bench.lose_all();
    let prepares = bench.counter(0, "two_round_trips");
    bench.ask(0, add(1));
    assert_eq!(bench.count("Prepare") > 0, bench.count("Accept") == 0);
    bench.counter(0, "two_round_trips") > prepares
}

fn prepared() -> Bench {
    let mut bench = Bench::three();
    bench.done(0, add(1), &ALL);
    bench.settle(&ALL);
    bench
}

#[test]
fn the_second_change_of_a_proposer_takes_one_round_trip() {
    let mut bench = prepared();
    assert_eq!((bench.counter(0, "two_round_trips"), bench.counter(0, "one_round_trip")), (1, 0));
    let second = bench.ask(0, add(1));
    bench.accept(0, 2);
    assert_eq!(bench.answer(second), Some(Outcome::Found(Some(number(1)))));
    assert_eq!((bench.counter(0, "two_round_trips"), bench.counter(0, "one_round_trip")), (1, 1));
    assert!(!prepares(&mut bench));
}

#[test]
fn without_the_option_each_change_takes_two() {
    let options = CaspaxosOptions { one_round_trip: false, ..CaspaxosOptions::default() };
    let mut bench = Bench::new(3, options);
    bench.done(0, add(1), &ALL);
    assert!(prepares(&mut bench));
}

#[test]
fn another_proposers_prepare_takes_the_promise_away() {
    let mut bench = prepared();
    bench.done(2, get(1), &ALL);
    assert!(prepares(&mut bench));
}

#[test]
fn a_promise_is_used_once_whatever_becomes_of_it() {
    let mut bench = prepared();
    // The Accept gets no answer but a conflict, so the attempt is tried again.
    let asked = bench.ask(0, add(1));
    bench.lose_all();
    bench.done(2, get(1), &[1, 2]);
    let before = bench.counter(0, "two_round_trips");
    (0..3).for_each(|_| bench.live_on(&ALL));
    assert!(bench.answer(asked).is_some() && bench.counter(0, "two_round_trips") > before);
}

#[test]
fn a_quorum_that_accepted_without_the_promise_does_not_spare_the_prepare() {
    // A prepare quorum is all three, an accept quorum each of them.
    let options = CaspaxosOptions { prepare: 3, accept: 1, ..CaspaxosOptions::default() };
    let chosen_with = |late: &[u8]| {
        let mut bench = Bench::new(3, options.clone());
        let asked = bench.ask(0, put(1, 1));
        bench.prepare(0, 1);
        bench.prepare(0, 2);
        assert_eq!(bench.answer(asked), Some(Outcome::Done), "p0 is an accept quorum");
        for node in late {
            bench.accept(0, *node);
        }
        prepares(&mut bench)
    };
    assert!(chosen_with(&[]) && chosen_with(&[1]) && chosen_with(&[2]));
    assert!(!with(Mutant::AcceptQuorumPrepares, || chosen_with(&[])));
    assert!(!chosen_with(&[1, 2]), "late answers count");
}

#[test]
fn a_change_of_members_takes_the_promise_away() {
    let mut bench = Bench::new(4, CaspaxosOptions::default());
    bench.done(0, add(1), &[0, 1, 2, 3]);
    bench.settle(&[0, 1, 2, 3]);
    bench.want_members(0, set(ALL));
    (0..4).for_each(|_| bench.live_on(&[0, 1, 2, 3]));
    assert_eq!(bench.core(0).configuration().epoch, 2);
    assert!(prepares(&mut bench));
}

#[test]
fn a_restart_takes_the_promise_away() {
    let mut bench = prepared();
    bench.crash(0);
    bench.restart(0);
    assert!(prepares(&mut bench));
}

#[test]
fn commands_that_wait_for_the_same_register_go_into_one_change() {
    let mut bench = prepared();
    bench.ask(0, add(1));
    let changes = bench.counter(0, "changes");
    let waiting = bench.ask_all(0, vec![add(1), add(1), get(1)]);
    bench.settle(&ALL);
    let answers: Vec<_> = waiting.iter().map(|id| bench.answer(*id).unwrap()).collect();
    assert_eq!(answers, [2, 3, 4].map(|n| Outcome::Found(Some(number(n)))));
    assert_eq!(bench.counter(0, "changes"), changes + 1);
}

/// By leaps alone it would come there, too, after as many losses as the lead has binary digits.
#[test]
fn a_proposer_that_lags_far_behind_is_above_the_others_with_its_second_ballot() {
    let losses = || {
        let mut bench = Bench::three();
        (0..100).for_each(|byte| assert_eq!(bench.done(0, put(1, byte), &ALL), Outcome::Done));
        bench.settle(&ALL);
        bench.done(2, put(1, 101), &ALL);
        bench.counter(2, "losses")
    };
    assert_eq!(losses(), 1);
    assert!(with(Mutant::CounterNotForwarded, losses) > 4);
}

/// p2 has written since, and p0 has accepted that without having been asked to prepare: the promise that is at p0
/// now is p2's, for p2's next change. The bench would notice a second state in its ballot.
#[test]
fn the_promise_that_another_proposer_has_brought_is_not_used() {
    let run = || {
        let mut bench = prepared();
        // So that p2's ballots are above p0's.
        (0..3).for_each(|byte| assert_eq!(bench.done(2, put(2, byte), &ALL), Outcome::Done));
        bench.lose_all();
        bench.done(2, add(1), &[1, 2]);
        assert_eq!(bench.counter(2, "losses"), 0);
        bench.carry("Accept", 2, 0);
        assert_eq!(bench.held(0, 1), Some(number(2)));
        bench.lose_all();
        bench.ask(0, add(1));
        let prepares = bench.count("Prepare");
        bench.ask(2, add(1));
        prepares
    };
    assert_eq!(run(), 2);
    let mutant = std::panic::catch_unwind(|| with(Mutant::PromiseOfAnotherUsed, run));
    assert!(mutant.is_err(), "the schedule tells");
}
