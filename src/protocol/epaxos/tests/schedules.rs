//! Published counter-examples, and those found when the rules were explored: schedules under which EPaxos,
//! or a fork of it, decides twice, loses an order or stops.
//!
//! Ballots are those that these cores pick; what matters of the published ones is their order.

use super::bench::{Bench, after, id, options, write};
use crate::command::NodeId;
use crate::protocol::ballot::Round;
use crate::protocol::epaxos::instances::Instance;
use crate::protocol::epaxos::message::{EpaxosMessage, EpaxosTimer, InstanceId, Phase, Proposal};
use crate::protocol::epaxos::options::{Dependencies, EpaxosOptions, FastPath};
use crate::protocol::quorum::NodeSet;

const PRE_ACCEPT: [&str; 2] = ["PreAccept", "PreAcceptOK"];
const ACCEPT: [&str; 2] = ["Accept", "AcceptOK"];
const PREPARE: [&str; 2] = ["Prepare", "PrepareOK"];
const TENTATIVE: [&str; 2] = ["TentativePreAccept", "TentativePreAcceptOK"];

/// Fast quorums in which each replica prefers the others in this order.
fn near(fast_path: FastPath, orders: &[&[u8]]) -> EpaxosOptions {
    let near = orders.iter().map(|order| order.to_vec()).collect();
    EpaxosOptions { near, ..options(fast_path) }
}

/// E1 (the shortest failure of the rules with one ballot variable: N=3, one command, a named quorum). p2's
/// first recovery joins its ballot alone, so that its pre-accept looks later than p1's accept to whoever
/// ranks votes by ballots joined, or ranks pre-accepts among them.
#[test]
fn e1_an_accept_at_ballot_0_is_found_beside_a_pre_accept_whose_replica_joined_later() {
    let mut bench = Bench::new(3, options(FastPath::FixedQuorum));
    let x = bench.ask(0, write(0));
    bench.exchange(PRE_ACCEPT, x, 0, 2);
    // The quorum {p0, p1} is not waited for any longer: a majority will do.
    bench.pass(500);
    bench.fire(0, EpaxosTimer::Check);
    bench.exchange(ACCEPT, x, 0, 1);
    assert!(bench.instance(0, x).final_here);
    bench.recover(2, x);
    bench.lose_all();
    bench.recover(2, x);
    bench.lose_of(0);
    bench.settle(&[1, 2]);
    assert_eq!(*bench.deps(x), *after(3, &[]).deps);
    assert!(bench.instance(2, x).final_here);
}

/// E2 (one ballot variable, N=5, one command, the published fast path). p4 accepts x in a low ballot; p1's
/// no-op is decided in a higher one; p2 starts a ballot that only p4 joins, and then one that finds both. With
/// one variable p4's vote looks like the later one, and x is decided, too.
#[test]
fn e2_a_vote_is_ranked_by_its_own_ballot_and_not_by_what_its_replica_joined_since() {
    let mut bench = Bench::new(5, options(FastPath::Published));
    let x = bench.ask(0, write(0));
    bench.deliver("PreAccept", x, 0, 4);
    bench.deliver("PreAccept", x, 0, 1);
    let first = bench.recover(4, x);
    bench.exchange(PREPARE, x, 4, 2);
    bench.exchange(PREPARE, x, 4, 3);
    bench.exchange(TENTATIVE, x, 4, 2);
    bench.exchange(TENTATIVE, x, 4, 3);
    assert_eq!(vote(bench.instance(4, x)), (Phase::Accepted, first));
    bench.deliver("Prepare", x, 4, 1);
    bench.lose_all();
    let second = bench.recover(1, x);
    bench.exchange(PREPARE, x, 1, 0);
    bench.exchange(PREPARE, x, 1, 3);
    bench.exchange(ACCEPT, x, 1, 0);
    bench.exchange(ACCEPT, x, 1, 3);
    assert!(bench.is_nop(x), "its owner had not decided");
    bench.lose_all();
    let third = bench.recover(2, x);
    bench.deliver("Prepare", x, 2, 4);
    bench.lose_all();
    assert!(bench.recover(2, x) > third && third > second && second > first);
    bench.exchange(PREPARE, x, 2, 0);
    bench.exchange(PREPARE, x, 2, 4);
    bench.settle(&[0, 2, 4]);
    assert!([0, 2, 4].into_iter().all(|node| bench.instance(node, x).is_nop()));
}

/// E3 (Sutra 2019, his counter-example: N=3, two commands), in numbers from 0: c1 is pre-accepted at p2 only;
/// p0 proposes c2, which p2 pre-accepts after c1. p2 recovers and accepts that alone; p1 recovers with p0 and
/// decides; p0 recovers twice with p2, which reports its old vote again. Where the paper starts Phase 1 anew
/// in p1's recovery and comes to no dependencies, these rules come to a no-op.
#[test]
fn e3_sutras_two_commands_are_decided_once() {
    let mut bench = Bench::new(3, near(FastPath::FixedQuorum, &[&[2, 1], &[0, 2], &[0, 1]]));
    let first = bench.ask(2, write(0));
    let x = bench.ask(0, write(0));
    bench.deliver("PreAccept", x, 0, 2);
    let low = bench.recover(2, x);
    bench.exchange(PREPARE, x, 2, 1);
    bench.exchange(TENTATIVE, x, 2, 1);
    let voted = bench.instance(2, x);
    assert_eq!(vote(voted), (Phase::Accepted, low));
    assert_eq!(voted.attributes, Some(after(3, &[first])));
    bench.lose_all();
    bench.recover(1, x);
    bench.exchange(PREPARE, x, 1, 0);
    bench.exchange(ACCEPT, x, 1, 0);
    assert!(bench.is_nop(x));
    bench.lose_all();
    bench.recover(0, x);
    bench.deliver("Prepare", x, 0, 2);
    bench.lose_all();
    bench.recover(0, x);
    bench.settle(&[0, 2]);
    assert!([0, 2].into_iter().all(|node| bench.instance(node, x).is_nop()));
    assert!(bench.instance(0, id(0, 1)).final_here, "its owner has proposed it again");
}

fn vote(instance: &Instance) -> (Phase, Round) {
    (instance.phase, instance.vote_ballot)
}

/// x reaches p2 only. y reaches p3 and p4, and is committed by its owner p1, which does not know x.
fn two_that_do_not_see_each_other() -> (Bench, [InstanceId; 2]) {
    let mut bench = Bench::new(5, options(FastPath::Published));
    let x = bench.ask(0, write(0));
    let y = bench.ask(1, write(0));
    bench.deliver("PreAccept", x, 0, 2);
    bench.exchange(PRE_ACCEPT, y, 1, 3);
    bench.exchange(PRE_ACCEPT, y, 1, 4);
    assert_eq!(*bench.deps(y), *after(5, &[]).deps);
    bench.lose_of(0);
    (bench, [x, y])
}

/// E4 (N=5, the published fast path; its explorer found that two to three runs in a hundred need it). What p2
/// knows would do for x without dependencies, and y is committed without x: the TentativePreAccept finds y.
#[test]
fn e4_a_fast_commit_that_contradicts_another_is_seen_before_it_is_completed() {
    for committed_at_p3 in [false, true] {
        let (mut bench, [x, y]) = two_that_do_not_see_each_other();
        if committed_at_p3 {
            bench.deliver("Commit", y, 1, 3);
        }
        bench.lose_of(1);
        bench.recover(2, x);
        bench.settle(&[2, 3, 4]);
        assert!(bench.is_nop(x), "known as committed: {committed_at_p3}");
    }
}

/// E5 (N=5, the published fast path): two recoveries that find each other's command, with quorums that
/// lack both owners. Each must see that the other's owner would have been in its command's fast quorum.
#[test]
fn e5_two_recoveries_that_find_each_others_command_do_not_wait_for_each_other() {
    let mut bench = Bench::new(5, options(FastPath::Published));
    let x = bench.ask(0, write(0));
    let y = bench.ask(1, write(0));
    bench.deliver("PreAccept", x, 0, 2);
    bench.deliver("PreAccept", y, 1, 3);
    bench.crash(0);
    bench.crash(1);
    bench.lose_all();
    bench.recover(2, x);
    bench.recover(3, y);
    bench.settle(&[2, 3, 4]);
    assert!(bench.is_nop(x) && bench.is_nop(y));
    let deferred = [2, 3].map(|node| bench.core(node).counters.deferred);
    assert_eq!(deferred, [0, 0]);
}

/// E6 (an issue of celeritasdb: N=3, not thrifty, "identical replies"). p1 knows b and p2 knows c; either
/// answer alone would make a quorum with the owner, and once that is gone the two look alike. The quorum that
/// the command names tells which of them was heard.
#[test]
fn e6_answers_that_differ_at_the_two_survivors_are_told_apart() {
    for (recoverer, answers) in [(1, [1, 2]), (1, [2, 1]), (2, [1, 2]), (2, [2, 1])] {
        let mut bench = Bench::new(3, options(FastPath::FixedQuorum));
        let b = bench.ask(1, write(0));
        let c = bench.ask(2, write(0));
        let x = bench.ask(0, write(0));
        assert_eq!(bench.instance(0, x).initial.as_ref().map(|i| i.quorum), Some(set(&[0, 1])));
        for node in answers {
            bench.exchange(PRE_ACCEPT, x, 0, node);
        }
        assert_eq!(bench.deps(x).ids, [b], "c is not what the quorum reports");
        bench.crash(0);
        bench.lose_all();
        bench.recover(recoverer, x);
        bench.settle(&[1, 2]);
        // p2 may have to give up the quorum of c first, which p0 was in.
        bench.live_on(&[1, 2], 500);
        assert!([1, 2].into_iter().all(|node| bench.instance(node, x).final_here));
        assert_eq!(bench.deps(x).ids, [b], "as the owner had committed it");
        assert!(bench.is_nop(c) || bench.deps(c).covers(x), "c was in the way");
    }
}

fn set(nodes: &[u8]) -> NodeSet {
    nodes.iter().map(|node| NodeId(*node)).collect()
}

/// E7 (the smallest failure of "the latest interfering command": N=3, nothing fails). p1 proposes x and then
/// hears of z, by its Commit only; y reaches p1 next. Who takes z for all that matters leaves x and y
/// without an order.
#[test]
fn e7_a_command_depends_on_more_than_the_latest_one_that_interferes() {
    for dependencies in [Dependencies::Explicit, Dependencies::Prefix] {
        let quorums = near(FastPath::FixedQuorum, &[&[2, 1], &[0, 2], &[1, 0]]);
        let mut bench = Bench::new(3, EpaxosOptions { dependencies, ..quorums });
        let z = bench.ask(0, write(0));
        let x = bench.ask(1, write(0));
        bench.exchange(PRE_ACCEPT, x, 1, 0);
        bench.deliver("PreAccept", z, 0, 2);
        let y = bench.ask(2, write(0));
        bench.deliver("PreAcceptOK", z, 2, 0);
        bench.deliver("Commit", z, 0, 1);
        bench.exchange(PRE_ACCEPT, y, 2, 1);
        // The bench ends the test if two of them do not see each other.
        assert!(bench.deps(x).covers(z) && bench.deps(y).covers(z) && bench.deps(y).covers(x));
        bench.settle(&[0, 1, 2]);
        let order = bench.state(0).to_vec();
        assert_eq!(order.len(), 3);
        assert!([1, 2].into_iter().all(|node| bench.state(node) == order), "{dependencies:?}");
    }
}

/// E8. What a replica computed for a PreAccept is its vote: asked again, it says the same, although it knows
/// more by then.
#[test]
fn e8_a_repeated_pre_accept_gets_the_stored_answer() {
    let mut bench = Bench::new(3, options(FastPath::FixedQuorum));
    let before = bench.ask(1, write(0));
    let x = bench.ask(0, write(0));
    let initial = bench.instance(0, x).initial.clone().expect("its owner proposed it");
    bench.deliver("PreAccept", x, 0, 1);
    let first = bench.sent("PreAcceptOK", x, 1, 0).cloned().expect("it answers");
    let later = bench.ask(1, write(0));
    assert!(bench.instance(1, later).attributes.as_ref().is_some_and(|a| a.deps.covers(x)));
    bench.lose_all();
    bench.hear(1, 0, EpaxosMessage::PreAccept { id: x, epoch: 0, initial });
    assert_eq!(bench.sent("PreAcceptOK", x, 1, 0), Some(&first));
    let EpaxosMessage::PreAcceptOk { attributes: Some(attributes), .. } = first else {
        panic!("it knew one: {first}")
    };
    assert_eq!(attributes.deps.ids, [before]);
}

/// E9. A Prepare raises the ballot and nothing else, in memory and in the log, in every phase of a vote.
#[test]
fn e9_a_ballot_joined_survives_a_crash_and_changes_no_vote() {
    for accepted in [false, true] {
        let mut bench = Bench::new(3, options(FastPath::FixedQuorum));
        let x = bench.ask(0, write(0));
        bench.deliver("PreAccept", x, 0, 1);
        if accepted {
            let (proposal, attributes) = (Some(Proposal::Nop), after(3, &[]));
            let (ballot, beyond) = (Round(3), Vec::new());
            let accept = EpaxosMessage::Accept { id: x, ballot, proposal, attributes, beyond };
            bench.hear(1, 2, accept);
        }
        let before = bench.instance(1, x).vote();
        assert_eq!(before.ballot, Round(if accepted { 3 } else { 0 }));
        bench.hear(1, 2, EpaxosMessage::Prepare { id: x, ballot: Round(6) });
        assert_eq!(bench.instance(1, x).vote(), before);
        bench.crash(1);
        bench.restart(1);
        assert_eq!((bench.instance(1, x).ballot, bench.instance(1, x).vote()), (Round(6), before));
        bench.lose_all();
        bench.hear(1, 2, EpaxosMessage::Prepare { id: x, ballot: Round(3) });
        let nack = EpaxosMessage::Nack { id: x, ballot: Round(3), promised: Some(Round(6)) };
        assert_eq!(bench.sent("NACK", x, 1, 2), Some(&nack));
        assert!(bench.recover(1, x) > Round(6), "its own next ballot is above it, too");
    }
}

/// E10. A Commit names no ballot: who has joined a higher one takes it all the same, and gives up what
/// it was doing.
#[test]
fn e10_a_commit_is_taken_by_whoever_has_joined_another_ballot() {
    let mut bench = Bench::new(3, options(FastPath::FixedQuorum));
    let x = bench.ask(0, write(0));
    bench.exchange(PRE_ACCEPT, x, 0, 1);
    bench.recover(1, x);
    bench.hear(2, 1, EpaxosMessage::Prepare { id: x, ballot: Round(5) });
    for node in [1, 2] {
        bench.deliver("Commit", x, 0, node);
        let instance = bench.instance(node, x);
        assert!(instance.final_here && instance.executed && instance.work.is_none(), "p{node}");
    }
    bench.settle(&[1, 2]);
    assert_eq!(bench.state(1), bench.state(2));
}
