//! A change is applied once, however often it is tried.

use super::bench::{Bench, add, delete, found, get, number, put, value};
use crate::command::{Key, Operation, Outcome};
use crate::mutants::{Mutant, with};
use crate::protocol::caspaxos::CaspaxosTimer;
use crate::protocol::caspaxos::options::CaspaxosOptions;

/// p0 increments; p1 alone hears its Accept. p2's Prepare makes the answer come too late, and p0 tries again.
fn an_increment_that_one_other_acceptor_has(bench: &mut Bench) -> crate::command::CommandId {
    let asked = bench.ask(0, add(1));
    bench.prepare(0, 1);
    bench.lose(0, 2);
    let late = bench.take("Accept", 0, 1);
    // p2 promises itself, and p1 it: what p0's Accept does at p1 is decided by who comes first.
    bench.arrive(late);
    bench.lose(1, 0);
    asked
}

#[test]
fn an_increment_tried_again_is_applied_once_and_its_first_outcome_is_told() {
    let mut bench = Bench::three();
    let asked = an_increment_that_one_other_acceptor_has(&mut bench);
    // p2 reads what p0 left at p1, and writes it.
    assert_eq!(bench.done(2, get(1), &[1, 2]), Outcome::Found(Some(number(1))));
    bench.live_on(&[0, 1, 2]);
    bench.live_on(&[0, 1, 2]);
    assert_eq!(bench.answer(asked), found(None), "what it found the first time");
    assert_eq!(bench.counter(0, "applied_before"), 1);
    assert_eq!(bench.done(1, get(1), &[0, 1, 2]), Outcome::Found(Some(number(1))));
}

#[test]
fn an_attempt_that_nobody_built_on_is_applied_again() {
    let mut bench = Bench::three();
    let asked = bench.ask(0, add(1));
    bench.prepare(0, 1);
    // Nobody but p0 itself hears the Accept, and p0 not of what the others do meanwhile.
    bench.lose_all();
    assert_eq!(bench.done(2, add(1), &[1, 2]), Outcome::Found(None));
    bench.live_on(&[0, 1, 2]);
    bench.live_on(&[0, 1, 2]);
    assert_eq!(bench.answer(asked), found(Some(number(1))));
    assert_eq!(bench.done(1, get(1), &[0, 1, 2]), Outcome::Found(Some(number(2))));
}

#[test]
fn what_several_proposers_have_built_on_since_still_tells_that_it_took_effect() {
    let mut bench = Bench::three();
    let asked = an_increment_that_one_other_acceptor_has(&mut bench);
    for proposer in [2, 1, 2, 1] {
        bench.done(proposer, add(1), &[1, 2]);
    }
    bench.live_on(&[0, 1, 2]);
    bench.live_on(&[0, 1, 2]);
    assert_eq!(bench.answer(asked), found(None));
    assert_eq!(bench.done(1, get(1), &[0, 1, 2]), Outcome::Found(Some(number(5))));
}

#[test]
fn a_client_that_asks_the_same_replica_again_is_answered_once_it_is_applied() {
    let mut bench = Bench::three();
    let asked = bench.ask(0, add(1));
    bench.ask_again(0, asked);
    assert_eq!(bench.answers(asked), 0);
    bench.settle(&[0, 1, 2]);
    assert_eq!(bench.answers(asked), 1);
    bench.ask_again(0, asked);
    assert_eq!((bench.answers(asked), bench.answer(asked)), (2, found(None)));
    assert_eq!(bench.done(0, get(1), &[0, 1, 2]), Outcome::Found(Some(number(1))));
}

#[test]
fn a_rejected_cas_is_written_back_before_it_is_reported() {
    let mut bench = Bench::three();
    // p0's put is at p1 alone (p0 crashes): it was not chosen.
    bench.ask(0, put(1, 7));
    bench.prepare(0, 1);
    bench.carry("Accept", 0, 1);
    bench.crash(0);
    bench.lose_all();
    let cas = Operation::Cas { key: Key::register(1), expected: None, value: value(9) };
    let asked = bench.ask(2, cas);
    // p1 has promised p0's next ballot: a conflict, and once more.
    bench.prepare(2, 1);
    bench.pass(500);
    bench.fire(2, CaspaxosTimer::Resend);
    bench.lose_all();
    bench.fire(2, CaspaxosTimer::Backoff);
    bench.prepare(2, 1);
    assert_eq!(bench.answer(asked), None, "what it found may not have been chosen");
    assert_eq!(bench.held(2, 1), Some(value(7)), "so it is written");
    bench.accept(2, 1);
    assert_eq!(bench.answer(asked), found(Some(value(7))));
}

/// A ballot is used for one value: what became of the first Accept is unknown, so the promise is used up. The
/// bench would notice a second value.
#[test]
fn a_promise_is_not_used_for_a_second_value_when_the_first_got_no_answer() {
    let run = || {
        let mut bench = Bench::three();
        bench.done(0, put(1, 1), &[0, 1, 2]);
        // All have promised the next ballot. Change 1 reaches p1 alone, and nobody refuses it.
        let first = bench.ask(0, put(1, 2));
        bench.carry("Accept", 0, 1);
        bench.lose_all();
        // Change 2 waits for it, and for a client that gives up nothing would go on.
        bench.ask(0, put(1, 3));
        assert_eq!(bench.count("Accept"), 0);
        // A conflict ends change 1.
        bench.ask(2, get(2));
        bench.lose_all();
        bench.done(2, get(1), &[1, 2]);
        bench.live_on(&[0, 1, 2]);
        bench.live_on(&[0, 1, 2]);
        assert!(bench.answer(first).is_some());
        assert_eq!(bench.done(1, get(1), &[0, 1, 2]), Outcome::Found(Some(value(3))));
    };
    run();
    let mutant = std::panic::catch_unwind(|| with(Mutant::PromiseUsedTwice, run));
    assert!(mutant.is_err(), "the schedule tells");
}

#[test]
fn a_proposer_that_restarts_uses_no_ballot_of_its_earlier_life() {
    let run = || {
        let mut bench = Bench::three();
        // p0's first ballot is known to p2 alone, and to what is still on its way to p1.
        bench.ask(0, put(1, 1));
        bench.prepare(0, 2);
        let delayed = bench.take("Accept", 0, 1);
        bench.lose_all();
        // Its disk has lost nothing that it was told is durable.
        bench.crash(0);
        bench.restart(0);
        let before = match &delayed.message {
            crate::protocol::caspaxos::message::CaspaxosMessage::Accept { changes, .. } => {
                changes[0].ballot
            }
            other => panic!("{other}"),
        };
        bench.ask(0, put(1, 2));
        bench.prepare(0, 1);
        assert!(bench.register(1, 1).unwrap().promise > before);
        bench.arrive(delayed);
        assert_eq!(bench.held(1, 1), None, "it is refused");
    };
    run();
    let mutant = std::panic::catch_unwind(|| with(Mutant::CountersForgotten, run));
    assert!(mutant.is_err(), "the schedule tells");
}

#[test]
fn counters_are_reserved_durably_before_a_message_names_one() {
    let mut bench = Bench::new(3, CaspaxosOptions::default());
    bench.crash(0);
    bench.restart(0);
    bench.lose_all();
    bench.crash(1);
    // A disk that is held up from the start.
    bench.hold_disk(1);
    bench.restart(1);
    bench.ask(1, put(1, 1));
    assert_eq!(bench.count("Prepare"), 0);
    bench.sync_disk(1);
    assert_eq!(bench.count("Prepare"), 2);
}

#[test]
fn what_became_of_a_command_whose_register_was_removed_between_its_attempts_is_unknown() {
    let run = || {
        let mut bench = Bench::three();
        let asked = an_increment_that_one_other_acceptor_has(&mut bench);
        assert_eq!(bench.done(2, delete(1), &[1, 2]), Outcome::Found(Some(number(1))));
        // p0 has a work on the register, so it keeps the tombstone; the others remove it.
        bench.collect(&[1, 2, 0]);
        assert!(bench.register(1, 1).is_none() && bench.register(2, 1).is_none());
        bench.done(2, add(1), &[1, 2]);
        bench.settle(&[0, 1, 2]);
        (0..4).for_each(|_| bench.live_on(&[0, 1, 2]));
        let unknown = bench.counter(0, "unknown");
        (bench.answer(asked), unknown, bench.done(1, get(1), &[0, 1, 2]))
    };
    assert_eq!(run(), (Some(Outcome::Unknown), 1, Outcome::Found(Some(number(1)))));
    let once_more = (found(Some(number(1))), 0, Outcome::Found(Some(number(2))));
    assert_eq!(with(Mutant::ForgottenAppliedAgain, run), once_more, "the delete has seen it");
}

/// An early bug: the errand's Accept had no outcomes, and its ballot was found among the ancestors of what was
/// read.
#[test]
fn an_errand_that_is_lost_is_not_taken_for_the_command_that_waits_behind_it() {
    let mut bench = Bench::three();
    bench.done(0, delete(1), &[0, 1, 2]);
    bench.fire(0, CaspaxosTimer::Collect);
    bench.fire(0, CaspaxosTimer::Collect);
    assert_eq!(bench.count("Accept"), 2, "the tombstone's");
    let waiting = bench.ask(0, add(1));
    // p1 has accepted the tombstone, but p0 does not hear of it; then p2 is faster.
    bench.carry("Accept", 0, 1);
    bench.lose_all();
    bench.done(2, get(1), &[1, 2]);
    (0..3).for_each(|_| bench.live_on(&[0, 1, 2]));
    assert_eq!(bench.answer(waiting), found(None));
    assert_eq!(bench.done(1, get(1), &[0, 1, 2]), Outcome::Found(Some(number(1))));
}
