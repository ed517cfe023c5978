//! The acceptor's rules, register by register.

use super::bench::{Bench, add, ballot, change, found, key, put, value};
use crate::mutants::{Mutant, with};
use crate::protocol::caspaxos::ballot::Ballot;
use crate::protocol::caspaxos::registers::Registers;

const NONE: Ballot = Ballot::ZERO;

#[test]
fn a_ballot_that_is_not_the_highest_seen_is_a_conflict_and_says_with_what() {
    let mut registers = Registers::default();
    registers.prepare(key(1), ballot(3, 1)).unwrap();
    assert_eq!(registers.prepare(key(1), ballot(2, 2)), Err(ballot(3, 1)));
    assert_eq!(registers.accept(&change(ballot(2, 2), Some(value(1))), NONE), Err(ballot(3, 1)));
    registers.accept(&change(ballot(3, 1), Some(value(1))), ballot(5, 1)).unwrap();
    assert_eq!(registers.prepare(key(1), ballot(4, 0)), Err(ballot(5, 1)), "the next is promised");
    assert_eq!(registers.prepare(key(1), ballot(3, 1)), Err(ballot(5, 1)));
}

#[test]
fn what_erases_the_promise_is_what_was_accepted() {
    let mut registers = Registers::default();
    registers.prepare(key(1), ballot(3, 1)).unwrap();
    registers.accept(&change(ballot(3, 1), Some(value(1))), NONE).unwrap();
    assert_eq!(registers.prepare(key(1), ballot(3, 1)), Err(ballot(3, 1)));
    assert_eq!(registers.prepare(key(1), ballot(3, 0)), Err(ballot(3, 1)));
    assert!(registers.prepare(key(1), ballot(3, 2)).is_ok());
}

#[test]
fn repeated_messages_are_answered_alike() {
    let mut registers = Registers::default();
    let first = registers.prepare(key(1), ballot(3, 1)).unwrap().clone();
    assert_eq!(registers.prepare(key(1), ballot(3, 1)), Ok(&first));
    let accept = change(ballot(3, 1), Some(value(1)));
    registers.accept(&accept, ballot(4, 1)).unwrap();
    let once = registers.get(key(1)).cloned();
    registers.accept(&accept, ballot(4, 1)).unwrap();
    assert_eq!(registers.get(key(1)).cloned(), once);
}

#[test]
fn an_accept_that_is_repeated_after_another_promise_is_a_conflict() {
    let mut registers = Registers::default();
    let accept = change(ballot(3, 1), Some(value(1)));
    registers.accept(&accept, ballot(4, 1)).unwrap();
    registers.prepare(key(1), ballot(6, 2)).unwrap();
    assert_eq!(registers.accept(&accept, ballot(4, 1)), Err(ballot(6, 2)));
}

/// Else two proposers hold a promise that both were given after the same state.
#[test]
fn what_was_copied_and_is_then_accepted_promises_the_next_ballot_too() {
    let refuses_what_is_below_next = || {
        let mut registers = Registers::default();
        let first = change(ballot(3, 0), Some(value(7)));
        assert!(registers.copy(&first));
        registers.accept(&first, ballot(5, 0)).unwrap();
        registers.prepare(key(1), ballot(4, 1)).is_err()
    };
    assert!(refuses_what_is_below_next());
    assert!(!with(Mutant::NextNotPromisedForCopies, refuses_what_is_below_next));
}

/// Who was promised has read a state without it.
#[test]
fn what_was_copied_under_the_promise_of_another_is_refused_when_its_accept_comes() {
    let mut registers = Registers::default();
    registers.prepare(key(1), ballot(4, 2)).unwrap();
    let late = change(ballot(3, 0), Some(value(7)));
    assert!(registers.copy(&late), "a copy more does no harm");
    assert_eq!(registers.accept(&late, ballot(5, 0)), Err(ballot(4, 2)));
    assert_eq!(registers.get(key(1)).unwrap().promise, ballot(4, 2));
}

#[test]
fn a_copy_does_not_replace_what_is_newer() {
    let mut registers = Registers::default();
    registers.accept(&change(ballot(3, 0), Some(value(7))), NONE).unwrap();
    let digest = registers.digest();
    assert!(!registers.copy(&change(ballot(2, 1), Some(value(8)))));
    assert!(!registers.copy(&change(ballot(3, 0), Some(value(7)))));
    assert_eq!((registers.digest(), registers.live()), (digest, 1));
}

#[test]
fn a_removed_register_refuses_what_is_not_above_its_tombstone() {
    let mut registers = Registers::default();
    registers.accept(&change(ballot(3, 0), None), NONE).unwrap();
    assert!(!registers.remove(key(1), ballot(2, 0)), "that is another's");
    assert!(registers.remove(key(1), ballot(3, 0)));
    assert!(registers.get(key(1)).is_none());
    assert_eq!(registers.prepare(key(1), ballot(2, 2)), Err(ballot(3, 0)));
    let delayed = change(ballot(2, 1), Some(value(42)));
    assert_eq!(registers.accept(&delayed, NONE), Err(ballot(3, 0)));
    assert_eq!((registers.count(), registers.live(), registers.removals()), (0, 0, 1));
    assert!(registers.prepare(key(1), ballot(4, 0)).is_ok());
}

#[test]
fn a_tombstone_is_not_removed_once_something_higher_is_promised() {
    let mut registers = Registers::default();
    registers.accept(&change(ballot(3, 0), None), NONE).unwrap();
    registers.prepare(key(1), ballot(4, 1)).unwrap();
    assert!(!registers.remove(key(1), ballot(3, 0)));
    assert!(registers.get(key(1)).is_some());
}

#[test]
fn places_of_removed_registers_are_used_again() {
    let mut registers = Registers::default();
    for counter in 1..100 {
        registers.accept(&change(ballot(counter, 0), None), NONE).unwrap();
        assert!(registers.remove(key(1), ballot(counter, 0)));
    }
    assert_eq!((registers.end(), registers.iter().count()), (1, 0));
}

/// p1 promises p2 a ballot, crashes, and hears then of p0's Accept, which is below.
#[test]
fn an_acceptor_that_restarts_keeps_its_promises() {
    let run = || {
        let mut bench = Bench::three();
        // So that p2's ballot is above p0's next one, too.
        for byte in 0..2 {
            bench.done(2, put(2, byte), &[0, 1, 2]);
        }
        bench.lose_all();
        let first = bench.ask(0, add(1));
        bench.prepare(0, 1);
        let late = bench.take("Accept", 0, 1);
        let second = bench.ask(2, add(1));
        bench.prepare(2, 1);
        bench.crash(1);
        bench.restart(1);
        bench.arrive(late);
        bench.carry("Accepted", 1, 0);
        bench.accept(2, 1);
        (bench.answer(first), bench.answer(second))
    };
    assert_eq!(run(), (None, found(None)));
    let both_were_first = (found(None), found(None));
    assert_eq!(with(Mutant::AcceptorPromisesForgotten, run), both_were_first);
}
