//! What a second reader found, each as the shortest schedule that shows it.

use super::bench::{Bench, ballot, delete, get, put, set, value};
use crate::command::{Key, NodeId, Operation, Outcome};
use crate::mutants::{Mutant, with};
use crate::protocol::caspaxos::CaspaxosTimer;
use crate::protocol::caspaxos::ballot::{Ballot, COUNTER_MAX};
use crate::protocol::caspaxos::members::{Configuration, Group};
use crate::protocol::caspaxos::message::{CaspaxosMessage, Promise};
use crate::protocol::caspaxos::options::{CaspaxosOptions, Reads};
use crate::protocol::quorum::NodeSet;

fn clean() -> CaspaxosOptions {
    CaspaxosOptions { reads: Reads::Clean, ..CaspaxosOptions::default() }
}

/// p1 copies what p0 alone has accepted, after it has promised a higher ballot to p2: with p0 that is an accept
/// quorum that holds the same. But p2 has read p1 before, and what it writes next does not descend from it.
#[test]
fn what_was_copied_below_a_promise_is_not_taken_for_chosen_by_a_read() {
    let run = || {
        let mut bench = Bench::new(3, clean());
        bench.ask(0, put(1, 7));
        bench.prepare(0, 1);
        bench.lose_all();
        let write = bench.ask(2, Operation::Rmw { key: Key::register(1), value: value(9) });
        bench.prepare(2, 1);
        let accept = bench.take("Accept", 2, 1);
        bench.lose_all();
        bench.repair(&[0, 1]);
        assert_eq!(bench.held(1, 1), Some(value(7)));
        bench.lose_all();
        let read = bench.ask(1, get(1));
        bench.exchange(["Read", "ReadOk"], 1, 0);
        bench.crash(0);
        bench.lose_all();
        bench.arrive(accept);
        bench.carry("Accepted", 1, 2);
        assert_eq!(bench.answer(write), Some(Outcome::Found(None)), "it is before p0's");
        (0..4).for_each(|_| bench.live_on(&[1, 2]));
        bench.answer(read)
    };
    assert_eq!(run(), Some(Outcome::Found(Some(value(9)))));
    let before = Some(Outcome::Found(Some(value(7))));
    assert_eq!(with(Mutant::BorrowedCopiesCount, run), before, "which nobody else will ever see");
}

/// A client's command makes a place for the register, and nothing is promised there yet.
#[test]
fn a_delayed_accept_is_refused_where_a_removed_register_is_only_looked_for() {
    let run = || {
        let mut bench = Bench::new(3, clean());
        bench.ask(0, put(1, 42));
        bench.prepare(0, 1);
        let delayed = bench.take("Accept", 0, 2);
        bench.settle(&[0, 1]);
        bench.lose_all();
        bench.done(1, delete(1), &[0, 1, 2]);
        bench.collect(&[0, 1, 2]);
        assert!((0..3).all(|node| bench.register(node, 1).is_none()));
        bench.ask(2, get(1));
        bench.arrive(delayed);
        bench.held(2, 1)
    };
    assert_eq!(run(), None, "it was deleted");
    assert_eq!(with(Mutant::BlankPlaceBypassesFloor, run), Some(value(42)));
}

/// p3 is no acceptor any more when the register is removed; what it says of an earlier time arrives late.
#[test]
fn what_who_left_still_holds_is_not_copied() {
    let run = || {
        let mut bench = Bench::new(4, CaspaxosOptions::default());
        bench.done(0, put(1, 7), &[0, 1, 2, 3]);
        bench.done(0, put(2, 7), &[0, 1, 2]);
        bench.lose_all();
        let mut late = None;
        for _ in 0..3 {
            bench.fire(0, CaspaxosTimer::Repair);
            if bench.table().contains("p0 -> p3 Compare") {
                bench.carry("Compare", 0, 3);
                late = Some(bench.take("Digests", 3, 0));
            }
            bench.lose_all();
        }
        bench.want_members(0, set([0, 1, 2]));
        bench.settle(&[0, 1, 2, 3]);
        (0..4).for_each(|_| bench.live_on(&[0, 1, 2, 3]));
        let epochs = (0..4).map(|node| bench.core(node).configuration().epoch);
        assert_eq!(epochs.collect::<Vec<_>>(), [2; 4]);
        bench.done(0, delete(1), &[0, 1, 2]);
        bench.lose_all();
        bench.collect(&[0, 1, 2]);
        assert!(bench.register(0, 1).is_none());
        bench.repair(&[0, 1, 2]);
        bench.arrive(late.expect("p0 compares with each in turn"));
        bench.settle(&[0, 1, 2, 3]);
        bench.held(0, 1)
    };
    assert_eq!(run(), None, "it was deleted");
    assert_eq!(with(Mutant::CopiesOfLeaversTaken, run), Some(value(7)));
}

/// One turn of p0: the promise that makes a prepare quorum, then the timers. The attempt is given up and begun
/// again, and its first Accept leaves nevertheless, behind the second Prepare.
#[test]
fn an_attempt_is_not_given_up_before_its_accept_is_sent() {
    let mut bench = Bench::new(7, CaspaxosOptions::default());
    bench.ask(6, put(1, 6));
    bench.carry("Prepare", 6, 4);
    bench.lose_all();
    let asked = bench.ask(0, put(1, 1));
    for node in [1, 2, 4] {
        bench.prepare(0, node);
    }
    bench.carry("Prepare", 0, 3);
    let last = bench.take("Promise", 3, 0);
    bench.lose_all();
    bench.pass(500);
    bench.arrive_in_turn(last);
    bench.fire_in_turn(0, CaspaxosTimer::Resend);
    bench.fire_in_turn(0, CaspaxosTimer::Backoff);
    bench.end_turn(0);
    for node in [1, 2, 3, 5] {
        bench.accept(0, node);
    }
    assert_eq!(bench.answer(asked), Some(Outcome::Done));
    assert_eq!(bench.counter(0, "losses"), 0);
}

#[test]
fn a_conflict_in_an_absurd_ballot_is_not_believed() {
    let mut bench = Bench::three();
    let asked = bench.ask(0, put(1, 1));
    let absurd = Ballot::new(0, COUNTER_MAX, NodeId(1));
    for from in [1, 2] {
        let promises = vec![Promise::Conflict(absurd)];
        bench.hear(
            0,
            from,
            CaspaxosMessage::Promise { batch: 1, floor: absurd, first: 0, promises },
        );
    }
    bench.fire(0, CaspaxosTimer::Backoff);
    bench.settle(&[0, 1, 2]);
    assert_eq!(bench.answer(asked), Some(Outcome::Done));
    assert_eq!(bench.counter(0, "implausible"), 2);
    assert!(bench.register(0, 1).unwrap().promise < ballot(100, 0));
}

#[test]
fn there_is_no_epoch_after_the_last() {
    let group = Group::of(NodeSet::all(3));
    let mut bench = Bench::three();
    let joint = Configuration { epoch: u16::MAX, old: Some(group), new: group };
    bench.hear(0, 1, CaspaxosMessage::Configure(joint));
    assert_eq!(bench.core(0).configuration().epoch, 0, "none could follow");
    let last = Configuration { epoch: u16::MAX, old: None, new: group };
    bench.hear(0, 1, CaspaxosMessage::Configure(last));
    assert_eq!(bench.core(0).configuration().epoch, u16::MAX);
    bench.want_members(0, set([0, 1]));
    bench.hear(0, 2, CaspaxosMessage::Configure(last));
    bench.hear(0, 1, CaspaxosMessage::Configure(last));
    assert_eq!(bench.core(0).configuration(), &last);
}
