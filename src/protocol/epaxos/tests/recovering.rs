//! Recovery, branch by branch (§6.2): p2 recovers an instance of p0, and the test says what the others
//! answer. In a cluster of five *Q* is p2 and two others.

use super::bench::{Bench, after, batch, command, id, options, write};
use crate::command::NodeId;
use crate::protocol::ballot::Round;
use crate::protocol::epaxos::deps::Attributes;
use crate::protocol::epaxos::message::{
    Conflict, EpaxosMessage, EpaxosTimer, Initial, InstanceId, Phase, Proposal, Vote,
};
use crate::protocol::epaxos::options::FastPath;
use crate::protocol::epaxos::work::{Suspicion, Work};
use crate::protocol::quorum::NodeSet;

/// The instance that p2 recovers.
fn x() -> InstanceId {
    id(0, 0)
}

fn nodes(nodes: &[u8]) -> NodeSet {
    nodes.iter().map(|node| NodeId(*node)).collect()
}

/// What p0 proposed: no dependencies, the quorum {p0, p1, p2} where that is named.
fn initial(fast_path: FastPath, size: u8) -> Initial {
    let quorum = if fast_path.names_quorum() { nodes(&[0, 1, 2]) } else { NodeSet::all(size) };
    Initial { command: batch(100, write(0)), attributes: after(size, &[]), quorum }
}

/// One recovery under way.
struct Recovery {
    bench: Bench,
    size: u8,
    fast_path: FastPath,
    ballot: Round,
}

impl Recovery {
    /// p2 has not heard of the instance.
    fn of_unknown(fast_path: FastPath, size: u8) -> Recovery {
        Recovery::begun(Bench::new(size, options(fast_path)), fast_path, size)
    }

    /// p2 has pre-accepted it as proposed.
    fn of_pre_accepted(fast_path: FastPath, size: u8) -> Recovery {
        let mut bench = Bench::new(size, options(fast_path));
        let initial = initial(fast_path, size);
        bench.hear(2, 0, EpaxosMessage::PreAccept { id: x(), epoch: 0, initial });
        Recovery::begun(bench, fast_path, size)
    }

    fn begun(mut bench: Bench, fast_path: FastPath, size: u8) -> Recovery {
        let ballot = bench.recover(2, x());
        Recovery { bench, size, fast_path, ballot }
    }

    /// p2 stands at the TentativePreAccept, which p3 and p4 are asked.
    fn validating(fast_path: FastPath) -> Recovery {
        let mut recovery = Recovery::of_pre_accepted(fast_path, 5);
        recovery.answers(3, &none());
        recovery.answers(4, &none());
        assert_eq!(recovery.suspicion().answered, nodes(&[2, 3, 4]));
        recovery
    }

    /// p2 waits for p4.0, which p4 has reported.
    fn deferring(fast_path: FastPath) -> Recovery {
        let mut recovery = Recovery::validating(fast_path);
        recovery.reports(3, &[]);
        recovery.reports(4, &[(id(4, 0), false)]);
        assert!(matches!(recovery.work(), Work::Deferring(_)));
        recovery
    }

    /// A replica answers the Prepare.
    fn answers(&mut self, from: u8, vote: &Vote) {
        let known = vote.phase != Phase::Initial;
        let message = EpaxosMessage::PrepareOk {
            id: x(),
            ballot: self.ballot,
            vote: vote.clone(),
            initial: known.then(|| initial(self.fast_path, self.size)),
        };
        self.bench.hear(2, from, message);
    }

    /// A replica answers the TentativePreAccept: what is in the way, and whether it is committed.
    fn reports(&mut self, from: u8, found: &[(InstanceId, bool)]) {
        let conflict =
            |(id, committed): &(InstanceId, bool)| Conflict { id: *id, committed: *committed };
        let conflicts = found.iter().map(conflict).collect();
        let ballot = self.ballot;
        let message = EpaxosMessage::TentativePreAcceptOk { id: x(), ballot, conflicts };
        self.bench.hear(2, from, message);
    }

    /// A command that interferes is committed with these dependencies, or a no-op.
    fn commits(&mut self, other: InstanceId, with: Option<&[InstanceId]>) {
        let command = Proposal::Command(batch(200 + other.number, write(0)));
        let proposal = Some(if with.is_some() { command } else { Proposal::Nop });
        let attributes = after(self.size, with.unwrap_or_default());
        self.bench.hear(2, 3, EpaxosMessage::Commit { id: other, epoch: 0, proposal, attributes });
    }

    /// The recovery of another instance is deferred at p4.
    fn defers(&mut self, other: InstanceId, evidence: &[u8], deps: &[InstanceId]) {
        let (evidence, attributes) = (nodes(evidence), after(self.size, deps));
        self.bench.hear(
            2,
            4,
            EpaxosMessage::Deferred { id: other, epoch: 0, evidence, attributes },
        );
    }

    fn work(&self) -> &Work {
        self.bench.instance(2, x()).work.as_deref().expect("p2 leads")
    }

    fn suspicion(&self) -> &Suspicion {
        match self.work() {
            Work::Validating(work) => &work.suspicion,
            Work::Deferring(work) => &work.suspicion,
            other => panic!("nothing is suspected: {other:?}"),
        }
    }

    /// What p2 asks to accept; none if it does not.
    fn accepting(&self) -> Option<(&Proposal, &Attributes)> {
        match self.work() {
            Work::Accepting(work) if work.ballot == self.ballot => {
                Some((&work.proposal, &work.attributes))
            }
            _ => None,
        }
    }

    #[track_caller]
    fn asks_for_nop(&self) {
        let nothing = after(self.size, &[]);
        assert_eq!(self.accepting(), Some((&Proposal::Nop, &nothing)));
    }

    #[track_caller]
    fn asks_for_command(&self, deps: &[InstanceId]) {
        let command = Proposal::Command(initial(self.fast_path, self.size).command);
        assert_eq!(self.accepting(), Some((&command, &after(self.size, deps))));
    }
}

fn none() -> Vote {
    Vote { phase: Phase::Initial, ballot: Round(0), proposal: None, attributes: None }
}

fn pre_accepted(size: u8, deps: &[InstanceId]) -> Vote {
    let attributes = Some(after(size, deps));
    Vote { phase: Phase::PreAccepted, ballot: Round(0), proposal: None, attributes }
}

fn accepted(ballot: u64, proposal: Option<Proposal>, deps: &[InstanceId]) -> Vote {
    let attributes = Some(after(5, deps));
    Vote { phase: Phase::Accepted, ballot: Round(ballot), proposal, attributes }
}

const BOTH: [FastPath; 2] = [FastPath::FixedQuorum, FastPath::Published];

#[test]
fn of_several_accepted_values_that_of_the_highest_ballot_is_accepted_again() {
    let nop = accepted(2, Some(Proposal::Nop), &[]);
    let [lower, higher] = [1, 2].map(|ballot| accepted(ballot, None, &[id(ballot as u8, 7)]));
    for fast_path in BOTH {
        for first_is_p3 in [true, false] {
            let [a, b] = if first_is_p3 { [3, 4] } else { [4, 3] };
            let mut recovery = Recovery::of_pre_accepted(fast_path, 5);
            recovery.answers(a, &lower);
            recovery.answers(b, &nop);
            recovery.asks_for_nop();
            let mut recovery = Recovery::of_pre_accepted(fast_path, 5);
            recovery.answers(a, &higher);
            recovery.answers(b, &accepted(1, Some(Proposal::Nop), &[]));
            recovery.asks_for_command(&[id(2, 7)]);
            let mut recovery = Recovery::of_unknown(fast_path, 5);
            recovery.answers(a, &lower);
            recovery.answers(b, &higher);
            recovery.asks_for_command(&[id(2, 7)]);
        }
    }
}

#[test]
fn an_owner_that_answers_has_not_decided_and_will_not() {
    for fast_path in BOTH {
        let mut recovery = Recovery::of_pre_accepted(fast_path, 5);
        recovery.answers(1, &pre_accepted(5, &[]));
        recovery.answers(0, &pre_accepted(5, &[]));
        recovery.asks_for_nop();
        let mut recovery = Recovery::of_pre_accepted(fast_path, 5);
        recovery.answers(0, &accepted(0, None, &[id(3, 1)]));
        recovery.answers(1, &none());
        recovery.asks_for_command(&[id(3, 1)]);
    }
}

#[test]
fn too_few_votes_for_a_fast_commit_make_a_no_op() {
    for fast_path in BOTH {
        let mut recovery = Recovery::of_unknown(fast_path, 5);
        recovery.answers(1, &none());
        recovery.answers(3, &none());
        recovery.asks_for_nop();
    }
    // Of the quorum, p1 was not reached: the owner cannot have heard from it.
    let mut recovery = Recovery::of_pre_accepted(FastPath::FixedQuorum, 5);
    recovery.answers(1, &none());
    recovery.answers(3, &pre_accepted(5, &[]));
    recovery.asks_for_nop();
    // Its members see it in different ways.
    let mut recovery = Recovery::of_pre_accepted(FastPath::FixedQuorum, 5);
    recovery.answers(1, &pre_accepted(5, &[id(1, 0)]));
    recovery.answers(3, &pre_accepted(5, &[]));
    recovery.asks_for_nop();
    // Nobody but the owner proposed exactly this.
    let mut recovery = Recovery::of_unknown(FastPath::Published, 5);
    recovery.answers(1, &pre_accepted(5, &[id(1, 0)]));
    recovery.answers(3, &pre_accepted(5, &[id(1, 0)]));
    recovery.asks_for_nop();
}

/// Of seven replicas a fast quorum is five: of four that answer two must have voted for it.
#[test]
fn seven_replicas_need_the_votes_of_two() {
    for second in [none(), pre_accepted(7, &[])] {
        let mut recovery = Recovery::of_pre_accepted(FastPath::Published, 7);
        recovery.answers(3, &none());
        recovery.answers(4, &none());
        recovery.answers(5, &second);
        match second.phase {
            Phase::Initial => recovery.asks_for_nop(),
            _ => assert_eq!(recovery.suspicion().evidence, nodes(&[2, 5])),
        }
    }
}

/// The explorer found it: PreAccepts that went to all let others than the named quorum vote, too, and they
/// may see more. That says nothing of what the quorum reported.
#[test]
fn votes_of_replicas_beyond_the_named_quorum_do_not_spoil_its_evidence() {
    for order in [[3, 4], [4, 3]] {
        let mut recovery = Recovery::of_pre_accepted(FastPath::FixedQuorum, 5);
        for node in order {
            recovery.answers(node, &pre_accepted(5, &[id(node, 0)]));
        }
        let suspicion = recovery.suspicion();
        assert_eq!(suspicion.attributes, after(5, &[]));
        assert_eq!((suspicion.evidence, suspicion.answered), (nodes(&[2]), nodes(&[2, 3, 4])));
    }
    // Nor do they make it.
    let mut recovery = Recovery::of_unknown(FastPath::FixedQuorum, 5);
    recovery.answers(3, &pre_accepted(5, &[]));
    recovery.answers(4, &pre_accepted(5, &[]));
    recovery.asks_for_nop();
}

/// What all members but the owner report may be more than it proposed: that is committed then.
#[test]
fn the_named_quorum_may_have_agreed_on_more_than_was_proposed() {
    let mut recovery = Recovery::of_unknown(FastPath::FixedQuorum, 3);
    let mut quorum = initial(FastPath::FixedQuorum, 3);
    quorum.quorum = nodes(&[0, 1]);
    let vote = pre_accepted(3, &[id(1, 0)]);
    let (ballot, initial) = (recovery.ballot, Some(quorum));
    recovery.bench.hear(2, 1, EpaxosMessage::PrepareOk { id: x(), ballot, vote, initial });
    assert_eq!(recovery.suspicion().attributes, after(3, &[id(1, 0)]));
    recovery.reports(1, &[]);
    recovery.asks_for_command(&[id(1, 0)]);
}

#[test]
fn without_conflict_the_suspected_attributes_are_accepted_once_all_have_answered() {
    for fast_path in BOTH {
        let mut recovery = Recovery::validating(fast_path);
        recovery.reports(3, &[]);
        recovery.reports(3, &[]);
        assert!(matches!(recovery.work(), Work::Validating(_)), "p4 has not answered");
        recovery.reports(1, &[]);
        assert!(matches!(recovery.work(), Work::Validating(_)), "p1 was not asked");
        recovery.reports(4, &[]);
        recovery.asks_for_command(&[]);
    }
}

#[test]
fn a_committed_conflict_makes_a_no_op_whatever_else_is_in_the_way() {
    for fast_path in BOTH {
        let mut recovery = Recovery::validating(fast_path);
        recovery.reports(4, &[(id(4, 0), true)]);
        recovery.reports(3, &[(id(3, 0), false)]);
        recovery.asks_for_nop();
    }
}

#[test]
fn a_conflict_whose_owner_must_have_been_in_the_quorum_makes_a_no_op() {
    // It is named in one variant; in the other it answered nobody, and p2's vote alone leaves no choice.
    for fast_path in BOTH {
        let mut recovery = Recovery::validating(fast_path);
        recovery.reports(4, &[(id(1, 0), false)]);
        recovery.reports(3, &[]);
        recovery.asks_for_nop();
    }
    // With a second vote p1 may have been left out.
    let mut recovery = Recovery::of_pre_accepted(FastPath::Published, 5);
    recovery.answers(3, &pre_accepted(5, &[]));
    recovery.answers(4, &none());
    recovery.reports(4, &[(id(1, 0), false)]);
    recovery.reports(3, &[]);
    assert!(matches!(recovery.work(), Work::Deferring(_)));
}

#[test]
fn a_deferral_is_told_to_all_and_starts_the_recovery_of_what_it_waits_for() {
    for fast_path in BOTH {
        let recovery = Recovery::deferring(fast_path);
        for node in [0, 1, 3, 4] {
            let deferred = recovery.bench.sent("Deferred", x(), 2, node);
            let (evidence, attributes) = (nodes(&[2]), after(5, &[]));
            let expected = EpaxosMessage::Deferred { id: x(), epoch: 0, evidence, attributes };
            assert_eq!(deferred, Some(&expected));
            assert!(recovery.bench.sent("Prepare", id(4, 0), 2, node).is_some());
        }
    }
}

#[test]
fn a_deferral_ends_as_what_it_waits_for_is_decided() {
    for fast_path in BOTH {
        let mut recovery = Recovery::deferring(fast_path);
        recovery.commits(id(4, 0), Some(&[]));
        recovery.asks_for_nop();
        let mut recovery = Recovery::deferring(fast_path);
        recovery.commits(id(4, 0), Some(&[x()]));
        recovery.asks_for_command(&[]);
        let mut recovery = Recovery::deferring(fast_path);
        recovery.commits(id(4, 0), None);
        recovery.asks_for_command(&[]);
    }
}

#[test]
fn a_deferral_waits_for_all_that_is_in_the_way_or_for_one_that_contradicts() {
    for (last, contradicts) in [(&[x(), id(4, 0)][..], false), (&[id(4, 0)], true)] {
        let mut recovery = Recovery::validating(FastPath::FixedQuorum);
        recovery.reports(3, &[(id(3, 0), false), (id(4, 0), false)]);
        recovery.reports(4, &[(id(4, 0), false)]);
        recovery.commits(id(4, 0), Some(&[x()]));
        assert!(matches!(recovery.work(), Work::Deferring(_)), "p3.0 is open");
        recovery.commits(id(3, 0), Some(last));
        match contradicts {
            true => recovery.asks_for_nop(),
            false => recovery.asks_for_command(&[]),
        }
    }
}

#[test]
fn of_two_deferrals_the_one_gives_in_that_the_others_votes_speak_against() {
    // p1 is of the quorum of x, and voted for p4.0 without x.
    let mut recovery = Recovery::deferring(FastPath::FixedQuorum);
    recovery.defers(id(4, 0), &[1, 3], &[]);
    recovery.asks_for_nop();
    // Nobody of that quorum did, or it saw x.
    for (evidence, deps) in [(&[3][..], &[][..]), (&[1], &[x()])] {
        let mut recovery = Recovery::deferring(FastPath::FixedQuorum);
        recovery.defers(id(4, 0), evidence, deps);
        assert!(matches!(recovery.work(), Work::Deferring(_)), "{evidence:?} {deps:?}");
    }
    // Without named quorums: two votes and the two that may be missing are more than a majority.
    let mut recovery = Recovery::deferring(FastPath::Published);
    recovery.defers(id(4, 0), &[3], &[]);
    assert!(matches!(recovery.work(), Work::Deferring(_)));
    recovery.defers(id(4, 0), &[1, 3], &[]);
    recovery.asks_for_nop();
}

#[test]
fn a_late_answer_ends_a_deferral_or_a_trial_if_it_tells_something() {
    for fast_path in BOTH {
        for begin in [Recovery::deferring, Recovery::validating] {
            let mut recovery = begin(fast_path);
            recovery.answers(1, &pre_accepted(5, &[]));
            recovery.answers(4, &accepted(1, Some(Proposal::Nop), &[]));
            assert!(recovery.accepting().is_none(), "p1 tells nothing; p4 has answered before");
            recovery.answers(1, &accepted(1, None, &[id(3, 3)]));
            recovery.asks_for_command(&[id(3, 3)]);
            let mut recovery = begin(fast_path);
            recovery.answers(0, &pre_accepted(5, &[]));
            recovery.asks_for_nop();
        }
    }
}

/// p3 and p4 are shown x, and p2, whose vote was the evidence, is gone with its Accepts.
#[test]
fn a_command_shown_to_a_replica_is_no_vote_of_it_but_is_seen_by_later_ones() {
    let mut bench = Bench::new(5, options(FastPath::Published));
    let x = bench.ask(0, write(0));
    bench.deliver("PreAccept", x, 0, 2);
    bench.crash(0);
    bench.recover(2, x);
    for (question, answer) in
        [("Prepare", "PrepareOK"), ("TentativePreAccept", "TentativePreAcceptOK")]
    {
        bench.exchange([question, answer], x, 2, 3);
        bench.exchange([question, answer], x, 2, 4);
    }
    bench.crash(2);
    bench.lose_all();
    bench.crash(3);
    bench.restart(3);
    let shown = bench.instance(3, x);
    assert!(shown.initial.is_some() && shown.vote() == none());
    // p3 has it from its log, p4 from the message.
    for node in [3, 4] {
        let later = bench.ask(node, write(0));
        assert!(bench.instance(node, later).attributes.as_ref().is_some_and(|a| a.deps.covers(x)));
    }
    bench.recover(3, x);
    bench.settle(&[1, 3, 4]);
    assert!(bench.is_nop(x), "nobody who is left has voted for it");
}

#[test]
fn a_refused_recoverer_tries_again_later_above_the_ballot_that_refused_it() {
    for accepting in [false, true] {
        let mut recovery = Recovery::of_unknown(FastPath::FixedQuorum, 5);
        if accepting {
            recovery.answers(3, &none());
            recovery.answers(4, &none());
            recovery.asks_for_nop();
        }
        let (ballot, promised) = (recovery.ballot, Some(Round(14)));
        recovery.bench.hear(2, 1, EpaxosMessage::Nack { id: x(), ballot, promised });
        recovery.bench.pass(999);
        recovery.bench.fire(2, EpaxosTimer::Check);
        assert_eq!(recovery.bench.instance(2, x()).ballot, ballot, "the other may succeed");
        recovery.bench.pass(1);
        recovery.bench.fire(2, EpaxosTimer::Check);
        assert_eq!(recovery.bench.instance(2, x()).ballot, Round(18));
    }
}

#[test]
fn a_nack_of_an_earlier_ballot_is_none_of_this_one() {
    let mut recovery = Recovery::of_unknown(FastPath::FixedQuorum, 5);
    let earlier = recovery.ballot;
    let ballot = recovery.bench.recover(2, x());
    let promised = Some(Round(99));
    recovery.bench.hear(2, 1, EpaxosMessage::Nack { id: x(), ballot: earlier, promised });
    assert_eq!(recovery.bench.instance(2, x()).refused, None);
    recovery.answers(3, &none());
    recovery.answers(4, &none());
    assert!(matches!(recovery.work(), Work::Preparing(work) if work.ballot == ballot));
}

#[test]
fn a_replica_counts_once_however_often_its_answers_arrive() {
    let mut recovery = Recovery::of_unknown(FastPath::FixedQuorum, 5);
    recovery.answers(3, &none());
    recovery.answers(3, &none());
    assert!(matches!(recovery.work(), Work::Preparing(_)));
    recovery.answers(4, &none());
    let (ballot, beyond) = (recovery.ballot, Vec::new());
    let ok = EpaxosMessage::AcceptOk { id: x(), ballot, beyond };
    recovery.bench.hear(2, 3, ok.clone());
    recovery.bench.hear(2, 3, ok.clone());
    assert_eq!(recovery.bench.decided(x()), None);
    recovery.bench.hear(2, 4, ok);
    assert!(recovery.bench.is_nop(x()));
}

#[test]
fn a_pre_accept_that_comes_after_a_prepare_is_refused() {
    let mut bench = Bench::new(3, options(FastPath::FixedQuorum));
    let x = bench.ask(0, write(0));
    bench.hear(1, 2, EpaxosMessage::Prepare { id: x, ballot: Round(3) });
    bench.deliver("PreAccept", x, 0, 1);
    assert_eq!(bench.instance(1, x).vote(), none());
    let nack = EpaxosMessage::Nack { id: x, ballot: Round(0), promised: Some(Round(3)) };
    assert_eq!(bench.sent("NACK", x, 1, 0), Some(&nack));
    assert_eq!(bench.sent("PreAcceptOK", x, 1, 0), None);
    // Whoever sent the Prepare is gone; the owner recovers its own instance and proposes it again.
    bench.deliver("NACK", x, 1, 0);
    bench.lose_all();
    for _ in 0..4 {
        bench.live_on(&[0, 1], 1000);
    }
    assert!(bench.is_nop(x));
    assert_eq!(bench.deps(id(0, 1)).ids, []);
}

/// A sequence of numbers that looks like chance.
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

/// Two commands, two recoverers of each, an owner that crashes at any moment, messages in any order: the
/// bench ends the test at two decisions or an order lost. Then all live replicas decide.
#[test]
fn recoverers_that_compete_decide_once_and_in_the_end() {
    for (fast_path, size) in [3, 5].into_iter().flat_map(|size| BOTH.map(|path| (path, size))) {
        for seed in 0..150 {
            let mut chance = seed;
            let mut bench = Bench::new(size, options(fast_path));
            let all: Vec<u8> = (0..size).collect();
            let commands = [bench.ask(0, write(0)), bench.ask(size - 1, write(0))];
            let crash_at = next(&mut chance) % 12;
            for step in 0..60 {
                if step == crash_at {
                    bench.crash(0);
                }
                if step > crash_at && next(&mut chance).is_multiple_of(8) {
                    let node = 1 + next(&mut chance) % (usize::from(size) - 1);
                    bench.recover(node as u8, commands[next(&mut chance) % 2]);
                }
                bench.deliver_any(&all, next(&mut chance));
            }
            let live: Vec<u8> = (1..size).collect();
            for _ in 0..8 {
                bench.live_on(&live, 1500);
            }
            for node in &live {
                let of_p0 = bench.core(*node).rows.get(commands[0]);
                let known = of_p0.is_none_or(|instance| instance.executed);
                assert!(
                    known && bench.core(*node).open() == 0,
                    "{fast_path:?} {size} {seed}: p{node}"
                );
                assert_eq!(bench.state(*node), bench.state(live[0]), "{fast_path:?} {size} {seed}");
            }
        }
    }
}

/// Who asks again gets the decision, whatever it asks.
#[test]
fn every_question_about_a_decided_instance_is_answered_with_the_decision() {
    let mut bench = Bench::new(3, options(FastPath::FixedQuorum));
    let x = bench.ask(0, write(0));
    let initial = bench.instance(0, x).initial.clone().expect("its owner proposed it");
    bench.exchange(["PreAccept", "PreAcceptOK"], x, 0, 1);
    let (attributes, ballot, beyond) = (after(3, &[]), Round(3), Vec::new());
    let questions = [
        EpaxosMessage::Prepare { id: x, ballot },
        EpaxosMessage::TentativePreAccept {
            id: x,
            ballot,
            initial,
            attributes: attributes.clone(),
        },
        EpaxosMessage::Accept { id: x, ballot, proposal: Some(Proposal::Nop), attributes, beyond },
    ];
    for question in questions {
        bench.lose_all();
        bench.hear(0, 2, question.clone());
        assert!(bench.sent("Commit", x, 0, 2).is_some(), "{question}");
    }
    assert!(!bench.is_nop(x));
    assert_eq!(command(0, write(0)).id.client.0, bench.state(0)[0]);
}
