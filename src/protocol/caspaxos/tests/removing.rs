//! Deletion, and what is left of it (§3.1).

use super::bench::{Bench, ballot, delete, get, put, value};
use crate::command::Outcome;
use crate::mutants::{Mutant, with};
use crate::protocol::caspaxos::CaspaxosTimer;

const ALL: [u8; 3] = [0, 1, 2];

#[test]
fn a_deleted_register_is_removed_everywhere_and_leaves_a_floor() {
    let mut bench = Bench::three();
    bench.done(0, put(1, 7), &ALL);
    assert_eq!(bench.done(0, delete(1), &ALL), Outcome::Found(Some(value(7))));
    bench.collect(&ALL);
    for node in ALL {
        let registers = bench.core(node).registers();
        assert_eq!((registers.count(), registers.removals()), (0, 1));
        assert!(!registers.floor().is_zero());
    }
    assert_eq!(bench.done(1, get(1), &ALL), Outcome::Found(None));
}

#[test]
fn nothing_is_removed_while_an_acceptor_is_down() {
    let mut bench = Bench::three();
    bench.done(0, put(1, 7), &ALL);
    bench.settle(&ALL);
    bench.crash(2);
    bench.done(0, delete(1), &ALL);
    bench.collect(&ALL[..2]);
    assert!(bench.register(0, 1).is_some() && bench.register(1, 1).is_some());
    bench.lose_all();
    bench.restart(2);
    bench.collect(&ALL);
    bench.live_on(&ALL);
    bench.collect(&ALL);
    assert!(ALL.iter().all(|node| bench.register(*node, 1).is_none()));
}

/// A cluster of which one member is down for long would else write every tombstone every other period, for ever.
#[test]
fn tombstones_that_cannot_be_removed_are_not_written_again_and_again() {
    const REGISTERS: usize = 50;
    // Fewer than make it another member's turn.
    const LOOKS: usize = 12;
    let mut bench = Bench::three();
    for register in 0..REGISTERS as u64 {
        bench.done(0, delete(register), &ALL);
    }
    bench.settle(&ALL);
    bench.crash(2);
    bench.lose_all();
    for _ in 0..LOOKS {
        for timer in [CaspaxosTimer::Collect, CaspaxosTimer::Resend] {
            bench.fire(0, timer);
            bench.fire(1, timer);
            bench.settle(&ALL[..2]);
            bench.pass(500);
        }
    }
    // All of them while nobody knows yet that p2 is silent, then one in a look of each of the two.
    let written = bench.proposed_to(2);
    assert!((REGISTERS..=2 * REGISTERS + 2 * LOOKS).contains(&written), "{written}");
    bench.lose_all();
    bench.restart(2);
    for _ in 0..4 {
        for node in ALL {
            bench.fire(node, CaspaxosTimer::Collect);
        }
        bench.settle(&ALL);
    }
    let left = ALL.map(|node| bench.core(node).registers().count());
    assert_eq!(left, [0; 3], "once it is back, the rest goes at once");
}

/// The paper's example, with the messages: Accept(2, 42) is chosen without p2, where it arrives after all was
/// removed.
#[test]
fn a_delayed_accept_does_not_revive_a_removed_register() {
    let run = || {
        let mut bench = Bench::three();
        bench.ask(0, put(1, 42));
        bench.prepare(0, 1);
        let delayed = bench.take("Accept", 0, 2);
        bench.settle(&[0, 1]);
        bench.lose_all();
        bench.done(1, delete(1), &ALL);
        bench.collect(&ALL);
        assert!(ALL.iter().all(|node| bench.register(*node, 1).is_none()));
        bench.arrive(delayed);
        bench.done(1, get(1), &[1, 2])
    };
    assert_eq!(run(), Outcome::Found(None));
    assert_eq!(with(Mutant::FloorNotAsked, run), Outcome::Found(Some(value(42))));
}

/// p0 has not removed its tombstone yet; p2, whose counter is far below, writes what must be above it.
#[test]
fn a_value_written_after_a_removal_is_above_a_tombstone_that_is_left() {
    let run = || {
        let mut bench = Bench::three();
        for byte in 0..5 {
            bench.done(0, put(1, byte), &[0, 1]);
        }
        bench.lose_all();
        bench.done(0, delete(1), &ALL);
        bench.settle(&ALL);
        // The tombstone is everywhere; p0 removes it last.
        let tombstone = bench.register(0, 1).unwrap().accepted;
        for node in [1, 2] {
            let tombstones = [(super::bench::key(1), tombstone)].into();
            let remove = crate::protocol::caspaxos::message::CaspaxosMessage::Remove { tombstones };
            let accepted = bench.register(node, 1).unwrap();
            assert_eq!(accepted.accepted, tombstone);
            bench.hear(node, 0, remove);
        }
        bench.lose_all();
        bench.done(2, put(1, 9), &[1, 2]);
        bench.lose_all();
        bench.done(0, get(1), &[0, 2])
    };
    assert_eq!(run(), Outcome::Found(Some(value(9))));
}

/// No random seed finds this: the answer must stay on its way for as long as a removal takes.
#[test]
fn an_old_answer_does_not_bring_back_what_was_removed_in_between() {
    let run = || {
        let mut bench = Bench::three();
        // p1 lacks the register, and asks for it.
        bench.done(0, put(1, 7), &[0, 2]);
        bench.lose_all();
        let mut old = None;
        for _ in 0..6 {
            bench.fire(1, CaspaxosTimer::Repair);
            if bench.table().contains("p1 -> p2 Compare") {
                bench.exchange(["Compare", "Digests"], 1, 2);
            }
            if bench.count("Pull") > 0 {
                bench.carry("Pull", 1, 2);
                old = Some(bench.take("Copies", 2, 1));
            }
            bench.lose_all();
        }
        bench.done(0, delete(1), &ALL);
        bench.collect(&ALL);
        assert!(ALL.iter().all(|node| bench.register(*node, 1).is_none()));
        bench.arrive(old.expect("it has asked"));
        bench.held(1, 1)
    };
    assert_eq!(run(), None);
    assert_eq!(with(Mutant::OldCopiesTaken, run), Some(value(7)));
}

#[test]
fn who_lags_is_sent_what_it_lacks() {
    let mut bench = Bench::three();
    bench.done(0, put(1, 7), &[0, 1]);
    bench.lose_all();
    assert_eq!(bench.held(2, 1), None);
    bench.repair(&ALL);
    assert_eq!(bench.held(2, 1), Some(value(7)));
    assert!(bench.register(2, 1).unwrap().accepted < ballot(100, 0));
}
