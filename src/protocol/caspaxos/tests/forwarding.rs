//! Who loses leaves its commands to the winner: what is done once, by whom, and what nobody knows.

use super::bench::{Bench, add, ballot, found, get, number, put, set};
use crate::command::{ClientId, Command, CommandId, Operation, Outcome};
use crate::mutants::{Mutant, with};
use crate::protocol::caspaxos::CaspaxosTimer;
use crate::protocol::caspaxos::members::MEMBERS_KEY;
use crate::protocol::caspaxos::message::{CaspaxosMessage, Fate};
use crate::protocol::caspaxos::options::{CaspaxosOptions, Reads};

const ALL: [u8; 3] = [0, 1, 2];

fn options() -> CaspaxosOptions {
    CaspaxosOptions { forward_after: 1, ..CaspaxosOptions::default() }
}

/// p0 and p2 increment one register. p2 is faster, so p0's Forward is on its way.
fn p0_loses(bench: &mut Bench) -> [CommandId; 2] {
    let winners = bench.ask(2, add(1));
    bench.carry("Prepare", 2, 0);
    bench.carry("Prepare", 2, 1);
    let losers = bench.ask(0, add(1));
    bench.prepare(0, 1);
    assert_eq!((bench.count("Forward"), bench.counter(0, "forwarded")), (1, 1));
    [losers, winners]
}

/// What the register comes to, in the end.
fn sum(bench: &mut Bench) -> Outcome {
    (0..4).for_each(|_| bench.live_on(&ALL));
    bench.done(1, get(1), &ALL)
}

fn is(n: u64) -> Outcome {
    Outcome::Found(Some(number(n)))
}

/// Whether a schedule that goes well without it fails under a mutant.
fn tells(mutant: Mutant, run: impl Fn()) {
    run();
    let run = std::panic::AssertUnwindSafe(|| with(mutant, run));
    assert!(std::panic::catch_unwind(run).is_err(), "the schedule tells");
}

#[test]
fn who_loses_leaves_its_command_to_the_winner_which_does_it_with_its_own() {
    let mut bench = Bench::new(3, options());
    let [losers, winners] = p0_loses(&mut bench);
    bench.settle(&ALL);
    assert_eq!(bench.answer(winners), found(None));
    assert_eq!(bench.answer(losers), found(Some(number(1))));
    assert_eq!((bench.counter(2, "hosted"), bench.core(0).works().count()), (1, 0));
    assert_eq!((bench.counter(2, "answered"), bench.counter(0, "answered")), (1, 1));
    assert_eq!(sum(&mut bench), is(2));
}

#[test]
fn without_the_option_nothing_is_forwarded() {
    let mut bench = Bench::three();
    bench.ask(2, add(1));
    bench.carry("Prepare", 2, 0);
    bench.carry("Prepare", 2, 1);
    bench.ask(0, add(1));
    bench.prepare(0, 1);
    assert_eq!((bench.counter(0, "losses"), bench.count("Forward")), (1, 0));
}

#[test]
fn what_follows_goes_straight_to_the_winner() {
    let mut bench = Bench::new(3, options());
    p0_loses(&mut bench);
    bench.settle(&ALL);
    let next = bench.ask(0, add(1));
    assert_eq!((bench.count("Forward"), bench.count("Prepare")), (1, 0));
    bench.settle(&ALL);
    assert_eq!(bench.answer(next), found(Some(number(2))));
}

#[test]
fn a_forward_that_comes_twice_is_taken_once_and_answered_again() {
    tells(Mutant::ForwardTakenTwice, || {
        let mut bench = Bench::new(3, options());
        let [losers, _] = p0_loses(&mut bench);
        let forward = bench.take("Forward", 0, 2);
        bench.arrive(forward.clone());
        bench.arrive(forward.clone());
        assert_eq!(bench.count("Forwarded"), 1, "under way");
        bench.settle(&[1, 2]);
        bench.lose(2, 0);
        assert_eq!(bench.answer(losers), None);
        bench.arrive(forward);
        bench.carry("Forwarded", 2, 0);
        assert_eq!(bench.answer(losers), found(Some(number(1))));
        assert_eq!(sum(&mut bench), is(2));
    });
}

/// p2 has done it, and crashes before anybody hears of it.
fn the_winner_crashes() {
    let mut bench = Bench::new(3, options());
    let [losers, _] = p0_loses(&mut bench);
    let forward = bench.take("Forward", 0, 2);
    bench.arrive(forward.clone());
    bench.settle(&[1, 2]);
    bench.lose_all();
    bench.crash(2);
    bench.restart(2);
    bench.arrive(forward);
    bench.carry("Forwarded", 2, 0);
    bench.settle(&ALL);
    assert_eq!(bench.answer(losers), Some(Outcome::Unknown));
    assert_eq!((bench.counter(0, "unknown"), bench.counter(2, "hosted")), (1, 0));
    assert_eq!(sum(&mut bench), is(2));
}

#[test]
fn a_forward_is_not_taken_by_a_later_life_of_the_winner() {
    tells(Mutant::ForwardTakenByLaterLife, the_winner_crashes);
}

#[test]
fn what_an_earlier_life_of_the_winner_may_have_taken_is_not_done_at_home() {
    tells(Mutant::ForgottenForwardFreed, the_winner_crashes);
}

/// p2 is no member when the Forward comes first, and again one when it comes again.
#[test]
fn what_was_refused_is_done_at_home_and_not_taken_when_it_comes_again() {
    tells(Mutant::RefusalForgotten, || {
        let mut bench = Bench::new(3, options());
        let [losers, _] = p0_loses(&mut bench);
        let forward = bench.take("Forward", 0, 2);
        let among = |bench: &mut Bench, members: &[u8]| {
            bench.want_members(1, set(members.iter().copied()));
            (0..6).for_each(|_| bench.live_on(&ALL));
        };
        among(&mut bench, &[0, 1]);
        bench.arrive(forward.clone());
        bench.carry("Forwarded", 2, 0);
        (0..2).for_each(|_| bench.live_on(&ALL));
        assert_eq!(bench.answer(losers), found(Some(number(1))), "it is done at home");
        assert_eq!(bench.counter(0, "forwarded_in_vain"), 1);
        among(&mut bench, &ALL);
        bench.arrive(forward);
        assert_eq!(sum(&mut bench), is(2));
    });
}

/// p0's Accept is at p0 alone, and nobody knows what will become of it.
#[test]
fn a_command_of_which_an_accept_was_sent_is_not_forwarded() {
    tells(Mutant::ForwardedThoughInDoubt, || {
        let mut bench = Bench::new(3, options());
        let asked = bench.ask(0, add(1));
        bench.prepare(0, 1);
        bench.lose(0, 1);
        bench.ask(2, get(1));
        bench.carry("Prepare", 2, 0);
        bench.accept(0, 2);
        let behind = bench.ask(0, add(1));
        bench.pass(500);
        bench.fire(0, CaspaxosTimer::Resend);
        assert_eq!(bench.counter(0, "losses"), 1);
        assert_eq!(bench.counter(0, "forwarded"), 1, "what came after it is");
        bench.settle(&ALL);
        (0..4).for_each(|_| bench.live_on(&ALL));
        assert!(bench.answer(asked).is_some() && bench.answer(behind).is_some());
        assert_eq!(sum(&mut bench), is(2));
    });
}

/// p1 is faster than p2, which has a command of its own and one of p0's client.
#[test]
fn what_was_forwarded_is_not_forwarded_again() {
    let mut bench = Bench::new(3, options());
    (0..4).for_each(|_| assert_eq!(bench.done(1, put(2, 1), &ALL), Outcome::Done));
    let [losers, winners] = p0_loses(&mut bench);
    bench.carry("Forward", 0, 2);
    bench.lose_all();
    let third = bench.ask(1, add(1));
    bench.carry("Prepare", 1, 0);
    bench.carry("Prepare", 1, 2);
    bench.pass(500);
    bench.fire(2, CaspaxosTimer::Resend);
    bench.prepare(2, 0);
    bench.prepare(2, 1);
    assert_eq!((bench.counter(2, "losses"), bench.counter(2, "forwarded")), (1, 1), "its own");
    assert_eq!(bench.core(2).works().count(), 1, "its guest's is left");
    bench.settle(&ALL);
    (0..4).for_each(|_| bench.live_on(&ALL));
    for asked in [losers, winners, third] {
        assert!(bench.answer(asked).is_some_and(|outcome| outcome != Outcome::Unknown));
    }
    assert_eq!(sum(&mut bench), is(3));
}

#[test]
fn a_winner_that_says_nothing_is_asked_again_some_times_and_then_the_outcome_is_unknown() {
    let mut bench = Bench::new(3, options());
    let [losers, _] = p0_loses(&mut bench);
    let mut sent = 0;
    while bench.answer(losers).is_none() {
        sent += bench.count("Forward");
        bench.lose_all();
        bench.pass(500);
        bench.fire(0, CaspaxosTimer::Forward);
    }
    assert_eq!((sent, bench.answer(losers)), (5, Some(Outcome::Unknown)));
    // Nor is it believed to win any more.
    let next = bench.ask(0, add(1));
    assert_eq!((bench.count("Forward"), bench.answers(losers)), (0, 1));
    (0..4).for_each(|_| bench.live_on(&[0, 1]));
    assert_eq!(bench.answer(next), found(None));
}

#[test]
fn a_winner_that_is_slow_is_waited_for() {
    let mut bench = Bench::new(3, options());
    let [losers, _] = p0_loses(&mut bench);
    bench.carry("Forward", 0, 2);
    for _ in 0..8 {
        bench.pass(500);
        bench.fire(0, CaspaxosTimer::Forward);
        bench.exchange(["Forward", "Forwarded"], 0, 2);
    }
    assert_eq!(bench.answer(losers), None);
    bench.settle(&ALL);
    assert_eq!(bench.answer(losers), found(Some(number(1))));
}

#[test]
fn a_register_comes_home_when_the_winner_does_not_use_it_any_more() {
    let mut bench = Bench::new(3, options());
    p0_loses(&mut bench);
    bench.settle(&ALL);
    let mut forwarded = 1;
    for _ in 0..5 {
        bench.pass(600);
        bench.ask(0, add(1));
        forwarded += u64::from(bench.count("Forward") > 0);
        bench.settle(&ALL);
    }
    assert_eq!(bench.counter(0, "forwarded"), forwarded);
    assert!((2..6).contains(&forwarded), "{forwarded}");
    assert_eq!((bench.ask(0, add(1)), bench.count("Accept")).1, 2, "in one round trip");
}

#[test]
fn a_change_of_members_ends_who_won() {
    let mut bench = Bench::new(3, options());
    p0_loses(&mut bench);
    bench.settle(&ALL);
    bench.want_members(0, set([0, 1]));
    bench.lose_all();
    bench.pass(10);
    bench.fire(0, CaspaxosTimer::Change);
    bench.settle(&ALL);
    (0..4).for_each(|_| bench.settle(&ALL));
    assert!(bench.core(0).configuration().epoch > 0);
    bench.ask(0, add(1));
    assert_eq!(bench.count("Forward"), 0);
}

#[test]
fn a_read_that_disturbs_nobody_is_not_forwarded() {
    let mut bench = Bench::new(3, CaspaxosOptions { reads: Reads::Clean, ..options() });
    p0_loses(&mut bench);
    bench.settle(&ALL);
    let read = bench.ask(0, get(1));
    assert_eq!((bench.count("Forward"), bench.count("Read")), (0, 2));
    bench.settle(&ALL);
    assert_eq!(bench.answer(read), Some(is(2)));
}

/// Each takes the other for the winner: who does it is decided by their ballots.
#[test]
fn of_two_that_forward_to_each_other_the_one_with_the_lower_ballot_refuses() {
    let mut bench = Bench::new(3, options());
    let [losers, _] = p0_loses(&mut bench);
    let refuse = |seen| {
        let id = CommandId { client: ClientId(1 << 40), sequence: 0 };
        let commands = [Command { id, answered_below: 0, operation: add(1) }];
        CaspaxosMessage::Forward { number: 1, seen, settled_below: 0, commands: commands.into() }
    };
    // p0 takes p2 for the winner, by its ballot 1.p2.
    bench.hear(0, 2, refuse(ballot(1, 0)));
    bench.carry("Forwarded", 0, 2);
    assert_eq!(bench.counter(0, "hosted"), 0);
    bench.settle(&ALL);
    assert!(bench.answer(losers).is_some());
}

#[test]
fn what_no_proposer_forwards_is_not_taken() {
    let mut bench = Bench::new(3, options());
    p0_loses(&mut bench);
    bench.settle(&ALL);
    let command = |sequence, operation| Command {
        id: CommandId { client: ClientId(1 << 40), sequence },
        answered_below: 0,
        operation,
    };
    let members = Operation::Delete { key: MEMBERS_KEY };
    let wrong = [
        vec![],
        vec![command(0, members)],
        vec![command(0, add(1)), command(1, add(2))],
        vec![command(0, add(1)), command(0, put(1, 1))],
        vec![command(1 << 20, add(1))],
    ];
    for (commands, done) in wrong.into_iter().zip(1..) {
        let (number, seen, commands) = (900, ballot(1, 2), commands.into());
        let forward = CaspaxosMessage::Forward { number, seen, settled_below: 0, commands };
        bench.hear(2, 0, forward);
        assert_eq!(bench.counter(2, "implausible"), done);
    }
    let fate = Fate::Done { first: u32::MAX, outcomes: vec![Outcome::Done], is_alone: true };
    bench.hear(0, 2, CaspaxosMessage::Forwarded { number: 1, fate });
    assert_eq!((bench.counter(0, "implausible"), bench.counter(2, "hosted")), (1, 1));
}
