//! Changes of the members, step by step.

use super::bench::{Bench, add, delete, found, get, key, number, put, set, value};
use crate::command::Outcome;
use crate::mutants::{Mutant, with};
use crate::protocol::caspaxos::CaspaxosTimer;
use crate::protocol::caspaxos::ballot::Ballot;
use crate::protocol::caspaxos::message::{CaspaxosMessage, Rest};
use crate::protocol::caspaxos::options::CaspaxosOptions;

/// Three members, and a spare that is up.
fn three_and_a_spare() -> Bench {
    let mut bench = Bench::with_spares((3, 1), CaspaxosOptions::default());
    bench.restart(3);
    bench
}

fn epochs(bench: &Bench, nodes: &[u8]) -> Vec<u16> {
    nodes.iter().map(|node| bench.core(*node).configuration().epoch).collect()
}

/// These replicas go on until all are in this epoch.
fn reach(bench: &mut Bench, epoch: u16, among: &[u8]) {
    for _ in 0..20 {
        bench.settle(among);
        if epochs(bench, among).iter().all(|at| *at == epoch) {
            return;
        }
        bench.live_on(among);
    }
    panic!("{:?}\n{}", epochs(bench, among), bench.table());
}

#[test]
fn a_fourth_acceptor_holds_all_that_was_chosen_before_it_counts() {
    let mut bench = three_and_a_spare();
    for register in 0..50 {
        bench.done(0, put(register, register as u8), &[0, 1, 2]);
    }
    bench.want_members(0, set(0..4));
    reach(&mut bench, 2, &[0, 1, 2, 3]);
    assert_eq!(bench.core(0).configuration().new.members, set(0..4));
    assert!((0..50).all(|register| bench.held(3, register) == Some(value(register as u8))));
    assert_eq!(bench.done(3, get(7), &[1, 2, 3]), Outcome::Found(Some(value(7))));
}

/// An answer to a repair of the same epoch arrives while the new acceptor still asks for all.
#[test]
fn an_answer_about_some_buckets_does_not_end_a_rescan() {
    let run = || {
        let mut bench = three_and_a_spare();
        bench.done(0, put(1, 7), &[0, 1, 2]);
        bench.want_members(0, set(0..4));
        bench.settle(&[0, 1, 2]);
        // The spare answers that it is there, and hears of the joint configuration.
        bench.exchange(["WhichConfiguration", "Configure"], 0, 3);
        bench.settle(&[0, 1, 2]);
        bench.carry("Configure", 0, 3);
        assert_eq!(epochs(&bench, &[3]), [1]);
        bench.lose_all();
        for from in [0, 1] {
            let removals = bench.core(3).registers().removals();
            let (epoch, rest) = (1, Rest::Buckets);
            let (floor, copies) = (Ballot::ZERO, Vec::new());
            let copies = CaspaxosMessage::Copies { removals, epoch, rest, floor, copies };
            bench.hear(3, from, copies);
        }
        bench.count("Merged")
    };
    assert_eq!(run(), 0);
    assert!(with(Mutant::RepairEndsRescan, run) > 0);
}

/// p2 is away while it is replaced, and while a register is removed; then it is a member again.
#[test]
fn who_missed_a_change_in_which_it_left_and_came_back_forgets_what_it_held() {
    let run = || {
        let mut bench = three_and_a_spare();
        bench.done(0, put(1, 7), &[0, 1, 2]);
        bench.settle(&[0, 1, 2]);
        assert_eq!(bench.held(2, 1), Some(value(7)));
        bench.want_members(0, set([0, 1, 3]));
        reach(&mut bench, 2, &[0, 1, 3]);
        bench.done(0, delete(1), &[0, 1, 3]);
        bench.collect(&[0, 1, 3]);
        assert!([0, 1, 3].iter().all(|node| bench.register(*node, 1).is_none()));
        bench.lose_all();
        bench.want_members(0, set([0, 1, 2]));
        reach(&mut bench, 4, &[0, 1, 2, 3]);
        bench.repair(&[0, 1, 2]);
        bench.held(0, 1)
    };
    assert_eq!(run(), None);
    assert_eq!(with(Mutant::StaleRegistersKept, run), Some(value(7)));
}

#[test]
fn a_chosen_configuration_whose_proposer_ended_before_it_told_anybody_is_found_again() {
    let mut bench = three_and_a_spare();
    bench.want_members(0, set(0..4));
    bench.exchange(["WhichConfiguration", "Configure"], 0, 3);
    bench.exchange(["WhichConfiguration", "Configure"], 0, 1);
    bench.prepare(0, 1);
    bench.carry("Accept", 0, 1);
    // An accept quorum holds it, and p0 will never know.
    bench.crash(0);
    bench.lose_all();
    assert_eq!(epochs(&bench, &[1, 2, 3]), [0; 3]);
    (0..4).for_each(|_| bench.fire(1, CaspaxosTimer::Repair));
    reach(&mut bench, 2, &[1, 2, 3]);
    assert_eq!(bench.core(1).configuration().new.members, set(0..4));
}

#[test]
fn an_acceptor_that_knows_of_an_epoch_takes_no_ballot_of_an_earlier_one() {
    let mut bench = three_and_a_spare();
    bench.ask(2, put(1, 7));
    bench.prepare(2, 1);
    let delayed = bench.take("Accept", 2, 1);
    bench.lose_all();
    bench.want_members(0, set([0, 1, 3]));
    reach(&mut bench, 2, &[0, 1, 3]);
    bench.lose_all();
    bench.arrive(delayed);
    assert_eq!(bench.held(1, 1), None);
    assert_eq!(bench.counter(1, "old_epochs"), 1);
    bench.carry("Configure", 1, 2);
    assert_eq!(epochs(&bench, &[2]), [2], "who comes with one is told");
}

#[test]
fn members_that_do_not_answer_are_not_changed_to() {
    let mut bench = Bench::with_spares((3, 1), CaspaxosOptions::default());
    bench.want_members(0, set(0..4));
    for _ in 0..25 {
        bench.live_on(&[0, 1, 2]);
    }
    assert_eq!(epochs(&bench, &[0, 1, 2]), [0; 3]);
    assert_eq!(bench.core(0).goal(), None, "it has given up");
}

#[test]
fn where_a_replica_is_in_a_change_it_is_after_a_restart() {
    let mut bench = three_and_a_spare();
    bench.done(0, put(1, 7), &[0, 1, 2]);
    bench.want_members(0, set(0..4));
    reach(&mut bench, 2, &[0, 1, 2, 3]);
    for node in 0..4 {
        let before = bench.core(node).registers().digest();
        bench.crash(node);
        bench.restart(node);
        assert_eq!(epochs(&bench, &[node]), [2]);
        assert_eq!(bench.core(node).registers().digest(), before);
        assert!(bench.core(node).registers().get(key(1)).is_some());
    }
}

#[test]
fn who_is_left_out_finishes_what_it_has_begun_and_refuses_what_comes_after() {
    let mut bench = three_and_a_spare();
    let prepared = bench.ask(2, put(1, 7));
    bench.lose_all();
    // This one has taken effect, though p2 has not heard of it.
    let accepted = bench.ask(2, add(2));
    bench.prepare(2, 0);
    for node in [0, 1] {
        bench.carry("Accept", 2, node);
    }
    bench.lose_all();
    bench.want_members(0, set([0, 1, 3]));
    reach(&mut bench, 2, &[0, 1, 3]);
    assert_eq!([bench.answer(prepared), bench.answer(accepted)], [None, None]);
    for _ in 0..4 {
        bench.live_on(&[0, 1, 2, 3]);
    }
    assert_eq!(epochs(&bench, &[2]), [2]);
    assert_eq!(bench.answer(prepared), Some(Outcome::Done));
    assert_eq!(bench.answer(accepted), found(None));
    assert_eq!((bench.held(3, 1), bench.held(3, 2)), (Some(value(7)), Some(number(1))));
    let late = bench.ask(2, put(3, 1));
    assert_eq!(bench.answer(late), Some(Outcome::Refused));
    bench.ask_again(2, accepted);
    assert_eq!((bench.answers(accepted), bench.answer(accepted)), (2, found(None)));
    // It takes part again; its client may have asked another meanwhile.
    bench.want_members(0, set(0..4));
    reach(&mut bench, 4, &[0, 1, 2, 3]);
    bench.ask_again(2, late);
    assert_eq!(bench.answer(late), Some(Outcome::Refused));
    assert_eq!(bench.done(2, get(3), &[0, 1, 2, 3]), Outcome::Found(None));
}
