//! Joining (§5.5), step by step: what random schedules, or a second look, have shown to go wrong.

use super::bench::{Bench, after, batch, id, options, write};
use crate::command::NodeId;
use crate::protocol::ballot::Round;
use crate::protocol::epaxos::deps::{Attributes, PerNode};
use crate::protocol::epaxos::message::{EpaxosMessage, EpaxosTimer, ExecutedSet, Proposal};
use crate::protocol::epaxos::options::FastPath;

/// Three members, and spares.
fn three(spares: u8, fast_path: FastPath) -> Bench {
    Bench::with_spares((3, spares), options(fast_path))
}

/// Who joins gets all that it needs from these two members; what it said to the third is still on its way.
fn decide(bench: &mut Bench, joiner: u8, members: [u8; 2]) {
    for kinds in [["Join", "JoinOK"], ["Begin", "BeginOK"]] {
        for member in members {
            bench.carry(kinds[0], joiner, member);
            bench.carry(kinds[1], member, joiner);
        }
    }
}

#[test]
fn who_joins_catches_up_and_takes_the_place_of_the_other() {
    let mut bench = three(1, FastPath::FixedQuorum);
    for _ in 0..3 {
        bench.ask(0, write(0));
        bench.settle(&[0, 1, 2]);
    }
    bench.crash(2);
    bench.join(3, 2);
    bench.settle(&[0, 1, 3]);
    let after = bench.ask(1, write(0));
    bench.settle(&[0, 1, 3]);
    bench.beat(&[0, 1, 3]);
    (0..3).for_each(|_| bench.live_on(&[0, 1, 3], 1000));
    assert!(bench.core(3).is_member() && !bench.core(0).epochs.members().contains(NodeId(2)));
    assert_eq!(bench.deps(after).prefix.as_slice()[0], 3, "all that was before");
    assert_eq!(bench.state(3), [0, 1, 2, 3]);
    bench.ask(3, write(0));
    bench.settle(&[0, 1, 3]);
    assert_eq!(bench.state(0), [0, 1, 2, 3, 4]);
}

/// It is heard and hears nobody: it would keep everybody from proposing with one ballot after the other.
#[test]
fn a_joiner_that_hears_nobody_does_not_hold_up_the_others_for_ever() {
    let mut bench = three(1, FastPath::FixedQuorum);
    bench.join(3, 0);
    (0..3).for_each(|member| bench.carry("Join", 3, member));
    bench.lose_all();
    assert!(bench.core(1).joining.fence.is_some());
    for half_seconds in 0..20 {
        bench.pass(500);
        let used = bench.core(3).joining.promised;
        for node in 0..4 {
            bench.fire(node, EpaxosTimer::Heartbeat);
            bench.fire(node, EpaxosTimer::Check);
        }
        let tries = bench.core(3).joining.promised > used;
        assert!(!tries || half_seconds < 2, "it has noticed by now that it hears nobody");
        bench.lose_to(3);
        bench.settle(&[0, 1, 2]);
    }
    bench.ask(0, write(0));
    bench.settle(&[0, 1, 2]);
    assert_eq!(bench.state(1), [0]);
}

#[test]
fn who_wants_to_join_tries_ever_more_seldom() {
    let mut bench = three(1, FastPath::FixedQuorum);
    bench.join(3, 0);
    let mut tried = Vec::new();
    for second in 1..=20 {
        bench.lose_all();
        bench.pass(1000);
        bench.fire(3, EpaxosTimer::Check);
        if bench.count("Join") > 0 {
            tried.push(second);
        }
    }
    assert_eq!(tried, [1, 3, 7, 15], "so that rivals come apart");
}

/// The second spare starts with what the file says: there p3 is no member.
#[test]
fn who_replaces_one_that_has_joined_is_told_of_that_before_it_gives_up() {
    let mut bench = three(2, FastPath::FixedQuorum);
    bench.join(3, 0);
    bench.settle(&[0, 1, 2, 3]);
    bench.join(4, 3);
    assert_eq!(bench.gave_up(4), None);
    bench.beat(&[0, 1, 2, 4]);
    bench.live_on(&[1, 2, 4], 1000);
    assert!(bench.core(4).is_member() && bench.core(1).epochs.latest() == 2);
}

#[test]
fn who_wants_to_replace_one_that_is_no_member_any_more_gives_up() {
    let mut bench = three(2, FastPath::FixedQuorum);
    bench.join(3, 0);
    bench.settle(&[0, 1, 2, 3]);
    bench.join(4, 0);
    bench.settle(&[0, 1, 2, 3, 4]);
    bench.fire(4, EpaxosTimer::Check);
    let why = bench.gave_up(4).expect("there is nothing for it to do");
    assert_eq!(why, "p0 is no member any more, since epoch 1 at the latest");
}

#[test]
fn a_joiner_that_comes_back_uses_no_ballot_twice() {
    let mut bench = three(1, FastPath::FixedQuorum);
    bench.join(3, 0);
    let first = bench.core(3).joining.promised;
    bench.crash(3);
    bench.restart(3);
    bench.fire(3, EpaxosTimer::Check);
    assert!(bench.core(3).joining.promised > first);
}

/// p0 begins a ballot of its own, as p3 seems to be gone, and gets the answer that completes it when it has
/// voted for what p3 wants after all.
#[test]
fn who_has_voted_in_a_higher_ballot_does_not_vote_in_its_own_lower_one() {
    let mut bench = three(1, FastPath::FixedQuorum);
    bench.join(3, 2);
    bench.carry("Join", 3, 0);
    bench.pass(2000);
    bench.fire(0, EpaxosTimer::Check);
    bench.carry("Join", 0, 1);
    let lower = bench.core(0).joining.promised;
    bench.fire(3, EpaxosTimer::Check);
    let higher = bench.core(3).joining.promised;
    assert!(lower < higher);
    for member in [1, 2] {
        while bench.core(member).joining.promised < higher {
            bench.carry("Join", 3, member);
        }
        while bench.count("Begin") == 0 && bench.try_carry("JoinOK", member, 3) {}
    }
    bench.carry("Begin", 3, 0);
    let vote = bench.core(0).joining.vote.clone();
    assert_eq!(vote.as_ref().map(|(ballot, _)| *ballot), Some(higher));
    bench.carry("JoinOK", 1, 0);
    assert_eq!(bench.core(0).joining.vote, vote);
}

/// p0 votes for a command of epoch 0 when it knows one of epoch 1. That one comes after it by the barrier: it
/// would come before it by its number.
#[test]
fn a_sequence_number_is_below_those_of_the_next_epoch() {
    let mut bench = three(1, FastPath::DepsCommitted);
    let old = bench.ask(2, write(0));
    bench.join(3, 1);
    decide(&mut bench, 3, [0, 2]);
    bench.carry("Epochs", 3, 0);
    let new = bench.ask(0, write(0));
    bench.carry("PreAccept", 2, 0);
    let core = bench.core(0);
    assert_eq!([old, new].map(|id| core.epochs.of(id)), [0, 1]);
    let seq = |id| bench.instance(0, id).attributes.as_ref().map(|it| Round(it.seq).epoch());
    assert_eq!([old, new].map(seq), [Some(0), Some(1)]);
    bench.settle(&[0, 2, 3]);
    (0..3).for_each(|_| bench.live_on(&[0, 2, 3], 1000));
    assert_eq!(bench.state(3), [0, 1]);
}

/// p1 has heard of the decision on a command of epoch 1, and not of that epoch.
#[test]
fn a_sequence_number_is_below_those_of_an_epoch_that_is_not_known_yet() {
    let mut bench = three(1, FastPath::DepsCommitted);
    let old = bench.ask(2, write(0));
    let later = Attributes { seq: Round::first_of(1).0 + 1, ..after(4, &[old]) };
    let proposal = Some(Proposal::Command(batch(7, write(0))));
    bench.hear(1, 0, EpaxosMessage::Commit { id: id(0, 0), epoch: 1, proposal, attributes: later });
    bench.deliver("PreAccept", old, 2, 1);
    let vote = bench.instance(1, old).attributes.clone().expect("it has voted");
    assert_eq!((Round(vote.seq).epoch(), &vote.deps.ids[..]), (0, &[][..]));
}

/// p1 has not heard of epoch 1. What it took of it, its votes in epoch 0 could come to depend on.
#[test]
fn a_state_of_an_epoch_that_is_not_known_yet_is_not_taken() {
    for (epoch, taken) in [(1, 0), (0, 1)] {
        let mut bench = three(1, FastPath::FixedQuorum);
        let set = |below| ExecutedSet { below, above: Vec::new() };
        let executed = [3, 0, 0, 0].map(set).to_vec();
        let forgotten = PerNode::from_elem(0, 4);
        bench.hear(1, 0, EpaxosMessage::State { epoch, executed, forgotten });
        assert_eq!(bench.core(1).counters.states_installed, taken, "epoch {epoch}");
    }
}

/// Its own heartbeat shows that it is behind.
#[test]
fn who_hears_a_heartbeat_of_a_later_epoch_says_at_once_how_far_it_is() {
    for (epoch, answers) in [(1, 1), (0, 0)] {
        let mut bench = three(1, FastPath::FixedQuorum);
        let zeros = || PerNode::from_elem(0, 4);
        let (executed, forgettable) = (zeros(), zeros());
        bench.hear(1, 0, EpaxosMessage::Heartbeat { epoch, executed, forgettable, sent_ns: 0 });
        assert_eq!(bench.count("Heartbeat"), answers, "epoch {epoch}");
    }
}
