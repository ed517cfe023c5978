//! What a review of the changes of members found: each test is a schedule that went wrong.

use super::bench::{Bench, options, write};
use crate::command::NodeId;
use crate::protocol::Cluster;
use crate::protocol::ballot::Round;
use crate::protocol::epaxos::deps::PerNode;
use crate::protocol::epaxos::epochs::{Change, Replacement};
use crate::protocol::epaxos::message::{EpaxosMessage, EpaxosTimer};
use crate::protocol::epaxos::options::{EpaxosOptions, FastPath, ReplyAt};

/// Members 0 to 2, and 3 that wants to join in the place of 2.
fn three_and_a_joiner() -> Bench {
    let options = EpaxosOptions { replaces: Some(NodeId(2)), ..options(FastPath::FixedQuorum) };
    Bench::of(Cluster { size: 4, spares: 1 }, options)
}

/// 0 leads a ballot that has been overtaken when its last answer comes: it has voted in a higher one since,
/// and that vote, by which the other was decided, must not be lost.
#[test]
fn who_leads_a_ballot_and_votes_in_a_higher_one_does_not_go_on_with_its_own() {
    let mut bench = three_and_a_joiner();
    // Only 0 knows of it: its fence is another than those of the others.
    bench.ask(0, write(7));
    bench.lose_all();
    bench.fire(3, EpaxosTimer::Check);
    bench.carry("Join", 3, 0);
    bench.carry("Join", 3, 1);
    bench.lose_all();
    // The joiner is not heard of any more: 0 ends its ballot, and 1 does.
    bench.pass(4_000);
    bench.fire(0, EpaxosTimer::Check);
    bench.carry("Join", 0, 2);
    bench.fire(1, EpaxosTimer::Check);
    bench.carry("Join", 1, 2);
    bench.carry("JoinOK", 2, 1);
    bench.carry("Begin", 1, 0);
    bench.carry("BeginOK", 0, 1);
    assert_eq!(bench.core(1).epochs.latest(), 1, "0 and 1 have accepted");
    // Now 2's answer to 0 arrives, and 1 is gone.
    bench.carry("JoinOK", 2, 0);
    bench.lose_of(1);
    bench.pass(5_000);
    bench.fire(0, EpaxosTimer::Check);
    bench.settle(&[0, 2]);
    let (here, there) = (bench.core(0).epochs.changes(), bench.core(1).epochs.changes());
    assert_eq!(here, there, "one decision an epoch");
}

/// Who wants to join asks again and again, and hears no answer: its way back is cut. The members do not wait
/// for it for ever.
#[test]
fn a_joiner_that_hears_nobody_does_not_keep_the_members_from_going_on() {
    let mut bench = three_and_a_joiner();
    let replacement = Some(Replacement { joiner: NodeId(3), leaver: NodeId(2) });
    let mut ballot = Round::first_of(1);
    for _ in 0..30 {
        bench.pass(1_000);
        ballot = Round(ballot.0 + 4).next_owned(NodeId(3), 4);
        for member in 0..3 {
            bench.hear(member, 3, EpaxosMessage::Join { ballot, replacement });
        }
        bench.lose_all();
        bench.beat(&[0, 1, 2]);
        bench.live_on(&[0, 1, 2], 0);
        bench.lose_all();
    }
    assert!(bench.core(0).epochs.latest() > 0, "the members end it");
}

/// A command of the epoch that ends is voted on by a replica that is in the next one: it is answered before
/// another is asked for, and must be executed before it.
#[test]
fn a_late_vote_in_the_epoch_that_ended_leaves_the_barrier_in_order() {
    let near =
        [[1, 4, 2, 3, 5], [2, 3, 0, 4, 5], [0, 1, 3, 4, 5], [2, 5, 0, 1, 4], [0, 1, 2, 3, 5]];
    let options = EpaxosOptions {
        replaces: Some(NodeId(4)),
        near: near.iter().map(|order| order.to_vec()).collect(),
        reply: ReplyAt::Committed,
        ..options(FastPath::AcceptDeps)
    };
    let mut bench = Bench::of(Cluster { size: 6, spares: 1 }, options);
    let old = bench.ask(0, write(7));
    // 5 joins in the place of 4; of 0 and 4 nobody is told.
    bench.fire(5, EpaxosTimer::Check);
    for step in ["Join", "Begin"] {
        for member in [0, 2, 3] {
            bench.carry(step, 5, member);
        }
        for member in [0, 2, 3] {
            bench.carry(&format!("{step}OK"), member, 5);
        }
    }
    for member in [1, 2, 3] {
        bench.carry("Epochs", 5, member);
    }
    // 1 proposes in the new epoch, and votes for 0's command of the old one then.
    let between = bench.ask(1, write(7));
    bench.exchange(["PreAccept", "PreAcceptOK"], old, 0, 4);
    bench.exchange(["PreAccept", "PreAcceptOK"], old, 0, 1);
    assert!(bench.decided(old).is_some(), "its client is answered");
    // Only then the last client asks.
    let new = bench.ask(3, write(7));
    for member in [2, 5] {
        bench.exchange(["PreAccept", "PreAcceptOK"], new, 3, member);
    }
    assert!(bench.decided(new).is_some(), "its client is answered");
    for member in [2, 3] {
        bench.exchange(["PreAccept", "PreAcceptOK"], between, 1, member);
    }
    bench.settle(&[0, 1, 2, 3]);
    let state = bench.state(3);
    let place = |client: u64| state.iter().position(|it| *it == client).expect("it is executed");
    assert!(place(0) < place(2), "what was answered first is executed first: {state:?}");
}

/// Members 0 to 2; 3 has taken the place of 2, and has nothing of what was decided before. 4 comes.
fn three_and_one_that_has_joined(replaces: u8) -> Bench {
    let options =
        EpaxosOptions { replaces: Some(NodeId(replaces)), ..options(FastPath::FixedQuorum) };
    let mut bench = Bench::of(Cluster { size: 5, spares: 2 }, options);
    bench.ask(0, write(7));
    bench.settle(&[0, 1]);
    let replacement = Some(Replacement { joiner: NodeId(3), leaver: NodeId(2) });
    let change = Change { replacement, from: PerNode::from_slice(&[1, 0, 0, 0, 0]) };
    for member in [0, 1, 3] {
        bench.hear(member, 2, EpaxosMessage::Epochs { changes: vec![change.clone()] });
    }
    bench.lose_all();
    bench
}

/// §5.5: Join goes to replicas "that are not themselves in the process of joining". If such a one counted,
/// one seat after the other could be filled anew while nobody has the state but who is replaced next.
#[test]
fn who_has_not_caught_up_lets_nobody_join() {
    let mut bench = three_and_one_that_has_joined(1);
    assert!(!bench.core(3).has_passed_barrier());
    let replacement = Some(Replacement { joiner: NodeId(4), leaver: NodeId(1) });
    let ballot = Round::first_of(2).next_owned(NodeId(4), 5);
    bench.hear(3, 4, EpaxosMessage::Join { ballot, replacement });
    assert!(bench.core(3).joining.fence.is_none(), "it answers later");
}

/// 4 comes for 3, of which it has not heard yet that it is a member.
#[test]
fn who_replaces_one_that_has_joined_waits_until_it_hears_of_it() {
    let mut bench = three_and_one_that_has_joined(3);
    bench.fire(4, EpaxosTimer::Check);
    for _ in 0..5 {
        bench.beat(&[0, 1, 3, 4]);
        bench.live_on(&[0, 1, 3, 4], 100);
    }
    assert!(bench.core(4).is_member());
}
