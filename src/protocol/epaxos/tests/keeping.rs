//! What is kept, what is forgotten, and who is sent the state.

use std::sync::Arc;

use super::bench::{Bench, after, batch, id, options, read, write};
use crate::command::{Key, NodeId, Operation, Value};
use crate::protocol::ballot::Round;
use crate::protocol::epaxos::Epaxos;
use crate::protocol::epaxos::message::{Conflict, EpaxosMessage, Initial};
use crate::protocol::epaxos::options::{Dependencies, EpaxosOptions, FastPath};
use crate::protocol::quorum::NodeSet;

/// Records of instances that a replica keeps.
fn kept(core: &Epaxos) -> u64 {
    core.rows.iter().map(|(_, row)| row.end() - row.base()).sum()
}

fn forgettable(bench: &Bench, at: u8, by: u8) -> Vec<u64> {
    bench.core(at).forgettable_for(NodeId(by)).to_vec()
}

#[test]
fn all_that_everybody_has_executed_is_forgotten_and_leaves_the_index_empty() {
    for dependencies in [Dependencies::Explicit, Dependencies::Prefix] {
        let usual = options(FastPath::FixedQuorum);
        let mut bench = Bench::new(3, EpaxosOptions { dependencies, ..usual });
        for round in 0..5 {
            for node in 0..3 {
                bench.ask(node, if round % 2 == 0 { write(0) } else { read(u64::from(node)) });
            }
            bench.settle(&[0, 1, 2]);
        }
        assert!((0..3).all(
            |node| bench.core(node).conflicts.key_count() == 3 && kept(bench.core(node)) == 15
        ));
        // What is executed is told, then what may be forgotten is.
        (0..3).for_each(|_| bench.beat(&[0, 1, 2]));
        for node in 0..3 {
            assert_eq!(
                (kept(bench.core(node)), bench.core(node).conflicts.key_count()),
                (0, 0),
                "p{node}"
            );
        }
        let late = bench.ask(0, write(0));
        bench.settle(&[0, 1, 2]);
        assert!(bench.deps(late).covers(id(2, 4)), "what is forgotten is covered all the same");
    }
}

/// p1 proposes γ before it hears of p0.0, and p0 votes for it: as long as p2 has not executed γ, whoever
/// recovers it may ask p2 what is in the way.
#[test]
fn what_a_command_does_not_cover_is_kept_by_whoever_has_not_executed_that_command() {
    let mut bench = Bench::new(3, options(FastPath::FixedQuorum));
    let gamma = bench.ask(1, write(0));
    let x = bench.ask(0, write(1));
    bench.exchange(["PreAccept", "PreAcceptOK"], x, 0, 1);
    bench.deliver("Commit", x, 0, 1);
    bench.deliver("Commit", x, 0, 2);
    bench.deliver("PreAccept", gamma, 1, 0);
    bench.lose_all();
    bench.beat(&[0, 1, 2]);
    assert_eq!(forgettable(&bench, 0, 2), [0, 0, 0], "γ does not cover p0.0");
    // γ is committed, and p2 hears of it last.
    bench.pass(500);
    bench.live_on(&[0, 1], 500);
    assert!(bench.core(0).has_executed(gamma) && !bench.core(2).has_executed(gamma));
    bench.beat(&[0, 1, 2]);
    assert_eq!(forgettable(&bench, 0, 2), [0, 0, 0]);
    assert_eq!(forgettable(&bench, 0, 1), [1, 0, 0], "p1 has executed it");
    bench.live_on(&[0, 1, 2], 1000);
    bench.beat(&[0, 1, 2]);
    assert!(bench.core(2).has_executed(gamma));
    assert_eq!(forgettable(&bench, 0, 2), [1, 1, 0]);
}

/// p1 is shown γ of p0 by a recovery, after it has forgotten p2.0: γ interferes with it, perhaps. A fast
/// quorum would have covered it, or p1 would have it on record.
#[test]
fn what_is_forgotten_and_not_covered_is_held_against_a_fast_commit() {
    let mut bench = Bench::new(3, options(FastPath::FixedQuorum));
    let forgotten = bench.ask(2, write(0));
    bench.settle(&[0, 1, 2]);
    (0..3).for_each(|_| bench.beat(&[0, 1, 2]));
    assert_eq!(kept(bench.core(1)), 0);
    for (number, covered) in [(0, 0), (1, 1)] {
        let gamma = id(0, number);
        let mut attributes = after(3, &[]);
        Arc::make_mut(&mut attributes.deps).settled[2] = covered;
        let command = batch(100 + number, write(number));
        let quorum = NodeSet::all(3);
        let initial = Initial { command, attributes: attributes.clone(), quorum };
        let ballot = Round(0).next_owned(NodeId(2), 3);
        bench.hear(1, 2, EpaxosMessage::Prepare { id: gamma, ballot });
        let shown = EpaxosMessage::TentativePreAccept { id: gamma, ballot, initial, attributes };
        bench.hear(1, 2, shown);
        let answers = bench.sent("TentativePreAcceptOK", gamma, 1, 2);
        let held_against = vec![Conflict { id: forgotten, committed: true }];
        let conflicts = if covered == 0 { held_against } else { Vec::new() };
        let expected = EpaxosMessage::TentativePreAcceptOk { id: gamma, ballot, conflicts };
        assert_eq!(answers, Some(&expected), "covered below {covered}");
    }
}

/// What a replica has let others forget it covers in later votes, after a restart, too.
#[test]
fn votes_cover_what_others_were_let_forget() {
    let mut bench = Bench::new(3, options(FastPath::FixedQuorum));
    // p2 hears of nothing, and is suspected.
    let x = bench.ask(0, write(0));
    bench.settle(&[0, 1]);
    bench.lose_all();
    bench.pass(1000);
    (0..3).for_each(|_| bench.beat(&[0, 1]));
    assert_eq!(kept(bench.core(0)), 0);
    bench.crash(1);
    bench.restart(1);
    bench.lose_all();
    let gamma = bench.ask(2, write(0));
    bench.deliver("PreAccept", gamma, 2, 1);
    let vote = bench.instance(1, gamma).attributes.clone().expect("it votes");
    assert!(vote.deps.covers(x) && vote.deps.prefix[0] == 1);
}

const MANY: u64 = 2_500;

/// Four commands an instance: 10,000 commands.
fn ask_four(bench: &mut Bench, round: u64) {
    let node = (round % 2) as u8;
    bench.ask_all(node, (0..4).map(|n| write((round * 4 + n) % 50)).collect());
}

#[test]
fn memory_stays_flat_when_a_replica_is_dead() {
    let mut bench = Bench::new(3, options(FastPath::FixedQuorum));
    bench.crash(2);
    let mut most = 0;
    for round in 0..MANY {
        ask_four(&mut bench, round);
        bench.settle(&[0, 1]);
        bench.lose_of(2);
        if round % 20 == 0 {
            bench.pass(50);
            bench.beat(&[0, 1]);
        }
        most = most.max(kept(bench.core(0))).max(kept(bench.core(1)));
    }
    // It is suspected after 1000 ms, which are 20 times 20 rounds; then two heartbeats lag behind.
    assert!(most <= 500, "{most}");
    assert!(
        (0..2).all(
            |node| kept(bench.core(node)) <= 60 && bench.core(node).conflicts.key_count() <= 50
        )
    );
    assert_eq!(bench.state(0).len() as u64, MANY * 4);
}

/// Commands that do not interfere may be executed in any order.
fn sorted(state: &[u64]) -> Vec<u64> {
    let mut clients = state.to_vec();
    clients.sort_unstable();
    clients
}

/// p2 says that it is up, and hears nothing: it is not suspected, and must not hold the others back for ever.
#[test]
fn one_that_is_up_and_lags_behind_what_is_kept_is_sent_the_state() {
    for dependencies in [Dependencies::Explicit, Dependencies::Prefix] {
        let few =
            EpaxosOptions { log_instances_max: 10, dependencies, ..options(FastPath::FixedQuorum) };
        let mut bench = Bench::new(3, few);
        for round in 0..200 {
            ask_four(&mut bench, round);
            bench.settle(&[0, 1]);
            bench.lose_of(2);
            bench.pass(50);
            bench.say_up(2);
            bench.beat(&[0, 1]);
            bench.lose_of(2);
        }
        for node in [0, 1] {
            // Ten of each of two rows, and what the last heartbeats have not told.
            assert!(kept(bench.core(node)) <= 28, "p{node} keeps {}", kept(bench.core(node)));
        }
        for _ in 0..4 {
            bench.beat(&[0, 1, 2]);
            bench.live_on(&[0, 1, 2], 1000);
        }
        assert_eq!(bench.core(2).counters.states_installed, 1);
        let own = bench.ask(2, write(0));
        bench.settle(&[0, 1, 2]);
        assert!([0, 1].into_iter().all(|node| bench.core(node).has_executed(own)));
        let states = [0, 1, 2].map(|node| sorted(bench.state(node)));
        assert!(states[0] == states[1] && states[1] == states[2], "{dependencies:?}");
        let executed = bench.state(2).to_vec();
        bench.crash(2);
        bench.restart(2);
        assert_eq!(bench.state(2), executed, "from its log and the state that it was sent");
    }
}

/// Who lags by less is sent what is committed.
#[test]
fn one_that_lags_behind_nothing_that_was_forgotten_is_sent_commits() {
    let mut bench = Bench::new(3, options(FastPath::FixedQuorum));
    for round in 0..20 {
        ask_four(&mut bench, round);
        bench.settle(&[0, 1]);
        bench.lose_of(2);
    }
    for _ in 0..2 {
        bench.beat(&[0, 1, 2]);
        bench.live_on(&[0, 1, 2], 1000);
    }
    assert_eq!(bench.core(2).counters.states_installed, 0);
    assert_eq!(sorted(bench.state(2)), (0..80).collect::<Vec<_>>());
}

/// Nothing is forgotten, but what is missing is long.
#[test]
fn one_that_lacks_much_is_sent_the_state_beside_some_commits() {
    let mut bench = Bench::new(3, options(FastPath::FixedQuorum));
    let value = Value::from_slice(&vec![7; 100_000]);
    for key in 0..30 {
        bench.ask(0, Operation::Put { key: Key::register(key), value: value.clone() });
        bench.settle(&[0, 1]);
        bench.lose_of(2);
    }
    for _ in 0..2 {
        bench.beat(&[0, 1, 2]);
        bench.live_on(&[0, 1, 2], 1000);
    }
    assert_eq!(bench.core(2).counters.states_installed, 1);
    assert_eq!(bench.core(2).counters.catch_ups, 1);
    assert_eq!(sorted(bench.state(2)), (0..30).collect::<Vec<_>>());
}
