//! What a second reader found, each as the shortest schedule that shows it.

use super::bench::{Bench, ballot, delete, get, put, set, value};
use crate::command::{Key, NodeId, Operation, Outcome};
use crate::protocol::caspaxos::CaspaxosTimer;
use crate::protocol::caspaxos::ballot::{Ballot, COUNTER_MAX};
use crate::protocol::caspaxos::members::{Configuration, Group};
use crate::protocol::caspaxos::message::{CaspaxosMessage, Promise};
use crate::protocol::caspaxos::options::{CaspaxosOptions, Reads};
use crate::protocol::quorum::NodeSet;

fn clean() -> CaspaxosOptions {
    CaspaxosOptions { reads: Reads::Clean, ..CaspaxosOptions::default() }
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
    [1, 2, 4].iter().for_each(|node| bench.prepare(0, *node));
    bench.carry("Prepare", 0, 3);
    let last = bench.take("Promise", 3, 0);
    bench.lose_all();
    bench.pass(500);
    bench.arrive_in_turn(last);
    bench.fire_in_turn(0, CaspaxosTimer::Resend);
    bench.fire_in_turn(0, CaspaxosTimer::Backoff);
    bench.end_turn(0);
    [1, 2, 3, 5].iter().for_each(|node| bench.accept(0, *node));
    assert_eq!(bench.answer(asked), Some(Outcome::Done));
    assert_eq!(bench.counter(0, "losses"), 0);
}
