//! Gets that write nothing.

use super::bench::{Bench, found, get, put, value};
use crate::command::Outcome;
use crate::mutants::{Mutant, with};
use crate::protocol::caspaxos::options::{CaspaxosOptions, Reads};

const READ: [&str; 2] = ["Read", "ReadOk"];

fn clean(prepare: u8, accept: u8) -> CaspaxosOptions {
    CaspaxosOptions { prepare, accept, reads: Reads::Clean, ..CaspaxosOptions::default() }
}

#[test]
fn acceptors_that_agree_answer_in_one_round_trip_and_promise_nothing() {
    let mut bench = Bench::new(3, clean(0, 0));
    bench.done(0, put(1, 7), &[0, 1, 2]);
    bench.settle(&[0, 1, 2]);
    let before = (0..3).map(|node| bench.register(node, 1).unwrap().promise).collect::<Vec<_>>();
    let asked = bench.ask(1, get(1));
    assert_eq!(bench.answer(asked), None, "one is no quorum");
    bench.exchange(READ, 1, 2);
    assert_eq!(bench.answer(asked), found(Some(value(7))));
    let after = (0..3).map(|node| bench.register(node, 1).unwrap().promise).collect::<Vec<_>>();
    assert_eq!((before, bench.counter(1, "clean_reads")), (after, 1));
    // So p0 still has its promise.
    bench.done(0, put(1, 8), &[0, 1, 2]);
    assert_eq!(bench.counter(0, "one_round_trip"), 1);
}

#[test]
fn who_lags_does_not_keep_the_others_from_agreeing() {
    let mut bench = Bench::new(3, clean(0, 0));
    bench.done(0, put(1, 7), &[0, 1]);
    bench.lose_all();
    let asked = bench.ask(2, get(1));
    bench.exchange(READ, 2, 0);
    assert_eq!(bench.answer(asked), None, "p0 alone may hold it");
    bench.exchange(READ, 2, 1);
    assert_eq!(bench.answer(asked), found(Some(value(7))));
}

#[test]
fn where_none_agree_it_is_asked_once_more_and_then_changed() {
    let mut bench = Bench::new(3, clean(0, 0));
    bench.ask(0, put(1, 7));
    bench.prepare(0, 1);
    // p0 alone has accepted.
    bench.lose_all();
    let asked = bench.ask(1, get(1));
    for _ in 0..2 {
        assert_eq!((bench.count("Read"), bench.count("Prepare")), (2, 0));
        bench.exchange(READ, 1, 0);
        bench.exchange(READ, 1, 2);
        assert_eq!(bench.answer(asked), None);
    }
    assert_eq!((bench.count("Read"), bench.count("Prepare")), (0, 2));
    assert_eq!(bench.counter(1, "clean_reads_in_vain"), 2);
    (0..3).for_each(|_| bench.live_on(&[0, 1, 2]));
    assert!(bench.answer(asked).is_some());
}

#[test]
fn with_quorums_of_three_and_two_of_four_three_are_asked_and_two_agree() {
    let run = |order: [u8; 2]| {
        let mut bench = Bench::new(4, clean(3, 2));
        bench.ask(0, put(1, 7));
        bench.prepare(0, 1);
        bench.prepare(0, 2);
        bench.accept(0, 1);
        bench.lose_all();
        let asked = bench.ask(2, get(1));
        for node in order {
            bench.exchange(READ, 2, node);
        }
        bench.answer(asked)
    };
    assert_eq!(run([0, 1]), found(Some(value(7))));
    assert_eq!(run([0, 3]), None, "one of three holds it");
    assert_eq!(run([3, 1]), None);
    let told = with(Mutant::ReadNeedNotAgree, || run([0, 3]));
    assert_eq!(told, found(Some(value(7))), "which need never be chosen");
    // Of two that agree on nothing a third may know better.
    let mut bench = Bench::new(4, clean(3, 2));
    let asked = bench.ask(2, get(1));
    bench.exchange(READ, 2, 3);
    assert_eq!(bench.answer(asked), None, "an accept quorum, and no prepare quorum");
    bench.exchange(READ, 2, 0);
    assert_eq!(bench.answer(asked), found(None));
}

/// An accept quorum has the put, and another accept quorum nothing: neither of them is a prepare quorum.
#[test]
fn an_accept_quorum_that_agrees_on_nothing_is_not_enough_where_prepare_quorums_are_larger() {
    let run = || {
        let mut bench = Bench::new(4, clean(3, 2));
        let written = bench.ask(0, put(1, 7));
        bench.prepare(0, 1);
        bench.prepare(0, 2);
        bench.accept(0, 1);
        assert_eq!(bench.answer(written), Some(Outcome::Done));
        bench.lose_all();
        let read = bench.ask(2, get(1));
        bench.exchange(READ, 2, 3);
        bench.answer(read)
    };
    assert_eq!(run(), None);
    assert_eq!(with(Mutant::ReadAsksTooFew, run), found(None), "after the put was acknowledged");
}
