//! One core and what it is told, message by message: rules of which a published algorithm, or an earlier version of
//! this one, had the wrong one.

use std::sync::Arc;

use crate::command::{ClientId, Command, CommandId, Key, NodeId, Operation};
use crate::mutants::{Mutant, with};
use crate::protocol::multicoordinated::Multicoordinated;
use crate::protocol::multicoordinated::instance::Instance;
use crate::protocol::multicoordinated::message::{MulticoordinatedMessage, Vote};
use crate::protocol::multicoordinated::names::{Name, Run};
use crate::protocol::multicoordinated::options::{MulticoordinatedOptions, Rounds};
use crate::protocol::multicoordinated::round::{RType, Round};
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Cluster, Effect, Effects, Input, Protocol, Time};
use crate::sim::script::Script;

/// A replica whose disk is durable at once. What it sends goes nowhere but onto a list.
struct One {
    core: Multicoordinated,
    effects: Effects<Multicoordinated>,
    sent: Vec<MulticoordinatedMessage>,
}

impl One {
    fn new(me: u8, size: u8, options: MulticoordinatedOptions) -> One {
        let cluster = Cluster { size, spares: 0 };
        let core = Multicoordinated::recover(NodeId(me), cluster, options, std::iter::empty());
        let mut one = One { core, effects: Effects::default(), sent: Vec::new() };
        one.input(Input::Started);
        one
    }

    fn hear(&mut self, from: u8, message: MulticoordinatedMessage) {
        assert!(message.is_plausible(NodeId(from), self.core.cluster.size), "{message}");
        self.input(Input::Message { from: NodeId(from), message });
    }

    fn input(&mut self, input: Input<Multicoordinated>) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            for input in [input, Input::TurnEnded] {
                self.core.step(Time(0), input, &mut self.effects);
            }
            let effects: Vec<_> = self.effects.drain().collect();
            for effect in effects {
                match effect {
                    Effect::Persist { id, .. } => next = Some(Input::Durable(id)),
                    Effect::Send { message, .. } => self.sent.push(message),
                    _ => {}
                }
            }
        }
    }

    fn held(&self) -> &Instance {
        self.core.instance(0).expect("it is held")
    }

    /// *vval*
    fn accepted(&self) -> Vec<Name> {
        self.held().accepted.vval.names.iter().collect()
    }

    fn has_promised(&self, to: Round) -> bool {
        let is_it = |message: &MulticoordinatedMessage| matches!(message, MulticoordinatedMessage::Phase1b { round, .. } if *round == to);
        self.sent.iter().any(is_it)
    }
}

fn set(nodes: impl IntoIterator<Item = u8>) -> NodeSet {
    nodes.into_iter().map(NodeId).collect()
}

/// The first command that a replica proposes in its first life.
fn name(proposer: u8) -> Name {
    Name { proposer: NodeId(proposer), number: Name::first_of_life(1) }
}

fn runs(names: impl IntoIterator<Item = Name>) -> Vec<Run> {
    names.into_iter().map(Run::of).collect()
}

/// An addition to the one register, in instance 0.
fn propose(proposer: u8, coordinators: NodeSet, acceptors: NodeSet) -> MulticoordinatedMessage {
    propose_to(0, proposer, coordinators, acceptors)
}

/// An addition to a register.
fn propose_to(
    register: u64,
    proposer: u8,
    coordinators: NodeSet,
    acceptors: NodeSet,
) -> MulticoordinatedMessage {
    let id = CommandId { client: ClientId(u64::from(proposer)), sequence: 0 };
    let operation = Operation::Add { key: Key::register(register), amount: 1 };
    MulticoordinatedMessage::Propose {
        instance: 0,
        first: name(proposer).number,
        commands: Arc::from(vec![Command { id, answered_below: 0, operation }]),
        coordinators,
        acceptors,
    }
}

fn begin(round: Round, onwards: bool) -> MulticoordinatedMessage {
    MulticoordinatedMessage::Phase1a { round, instance: 0, onwards }
}

fn forward(
    round: Round,
    base: u64,
    names: impl IntoIterator<Item = Name>,
) -> MulticoordinatedMessage {
    let names = runs(names);
    MulticoordinatedMessage::Phase2a { round, instance: 0, start: 0, base, names, closes: false }
}

fn multi(coordinators: NodeSet) -> Round {
    Round { major: 1, minor: 3, creator: NodeId(0), kind: RType::Multi, coordinators }
}

/// It counts as one in a value's length. So the first of two names and the checkpoint would be as long as both names,
/// which is what was picked.
#[test]
fn a_checkpoint_does_not_stand_for_names_that_are_missing_before_it() {
    let all = NodeSet::all(3);
    let mut one = One::new(1, 3, MulticoordinatedOptions::default());
    let round = Round::single(1, 3, NodeId(0));
    one.hear(0, begin(round, false));
    one.hear(0, propose(0, all, all));
    let whole = MulticoordinatedMessage::Phase2a {
        round,
        instance: 0,
        start: 2,
        base: 0,
        names: runs([name(0), name(2)]),
        closes: true,
    };
    one.hear(0, whole);
    assert_eq!(one.accepted(), [], "nothing less than what was picked is safe");
    assert!(!one.held().accepted.vval.is_closed);
    one.hear(2, propose(2, all, all));
    assert_eq!(one.accepted(), [name(0), name(2)]);
    assert!(one.held().accepted.vval.is_closed && one.held().accepted.vrnd == round);
}

/// p2 is not among the acceptors that the command was meant for. Then p2 joins a higher round, and after that it is
/// asked, too.
fn deferred_and_promised() -> One {
    let mut one = One::new(2, 3, MulticoordinatedOptions { balance: true, ..Default::default() });
    let (some, all) = (set([0, 1]), NodeSet::all(3));
    let (round, next) = (multi(all), Round::single(1, 4, NodeId(0)));
    one.hear(0, begin(round, true));
    one.hear(0, propose(0, some, some));
    one.hear(0, forward(round, 0, [name(0)]));
    one.hear(1, forward(round, 0, [name(0)]));
    let deferred = one.held().accepted.deferred.iter().map(|(name, _)| *name);
    assert!(deferred.eq([name(0)]), "it is left to the others");
    assert_eq!(one.accepted(), []);
    one.hear(0, begin(next, false));
    assert!(one.has_promised(next));
    one.hear(0, propose(0, all, all));
    one
}

#[test]
fn what_was_left_to_other_acceptors_is_not_accepted_after_a_promise() {
    assert_eq!(deferred_and_promised().accepted(), []);
    let breaks = with(Mutant::DeferredDespitePromise, deferred_and_promised);
    assert_eq!(breaks.accepted(), [name(0)], "the schedule leads there");
}

/// Without a promise it is accepted as soon as it is asked for.
#[test]
fn what_was_left_to_other_acceptors_is_accepted_when_it_is_asked_for() {
    let mut one = One::new(2, 3, MulticoordinatedOptions { balance: true, ..Default::default() });
    let (some, all) = (set([0, 1]), NodeSet::all(3));
    one.hear(0, begin(multi(all), true));
    one.hear(0, propose(0, some, some));
    one.hear(0, forward(multi(all), 0, [name(0)]));
    one.hear(1, forward(multi(all), 0, [name(0)]));
    assert_eq!(one.accepted(), []);
    one.hear(0, propose(0, all, all));
    assert_eq!(one.accepted(), [name(0)]);
}

/// What the coordinator of the next round begins with: how much it picked, and its whole value. Of five acceptors p0
/// to p3 have accepted p3's command in a fast round, which chooses it with E = 1; p4 has that of p0. The
/// coordinator, p4, hears of p2, p3 and itself.
fn pick_of_three() -> (u64, Vec<Name>) {
    let (all, nobody) = (NodeSet::all(5), NodeSet::NONE);
    let mut one = One::new(4, 5, MulticoordinatedOptions::default());
    let (creator, coordinators) = (NodeId(4), set([4]));
    let fast = Round { major: 1, minor: 3, creator, kind: RType::Fast, coordinators };
    let next = Round::single(1, 4, creator);
    one.hear(4, MulticoordinatedMessage::Phase2aAny { round: fast, instance: 0 });
    one.hear(0, propose(0, all, all));
    one.hear(3, propose(3, nobody, nobody));
    assert_eq!(one.accepted(), [name(0)]);
    let names = runs([name(3)]);
    let accepted = MulticoordinatedMessage::Phase2b {
        round: fast,
        instance: 0,
        base: 0,
        names,
        closes: false,
    };
    let promise = MulticoordinatedMessage::Phase1b {
        round: next,
        instance: 0,
        onwards: false,
        votes: vec![Vote { instance: 0, vrnd: fast, length: 1 }],
    };
    one.hear(4, begin(next, false));
    for acceptor in [2, 3] {
        one.hear(acceptor, accepted.clone());
        assert!(one.held().coordinated.is_none(), "two promises are no quorum");
        one.hear(acceptor, promise.clone());
    }
    let begun = one.held().coordinated.as_ref().expect("three are a quorum");
    assert_eq!(begun.crnd, next);
    (begun.start, begun.cval.names.iter().collect())
}

/// n − 2E of them, as §3.3.2 has it, would be all three; and what these have in common is nothing.
#[test]
fn what_a_fast_round_has_chosen_is_picked_if_only_two_of_the_quorum_have_it() {
    assert_eq!(pick_of_three(), (1, vec![name(3), name(0)]));
    let lost = with(Mutant::IntersectionTooLarge, pick_of_three);
    assert_eq!(lost, (0, vec![name(0), name(3)]), "what was chosen comes second");
}

/// p1 has seen that the two coordinators that were asked disagree.
fn collided(round: Round) -> One {
    let all = NodeSet::all(3);
    let mut one = One::new(1, 3, MulticoordinatedOptions { balance: true, ..Default::default() });
    one.hear(0, begin(round, true));
    one.hear(0, propose(0, set([0, 1]), all));
    one.hear(2, propose(2, set([0, 1]), all));
    one.hear(0, forward(round, 0, [name(0), name(2)]));
    one.hear(1, forward(round, 0, [name(2), name(0)]));
    one
}

/// Nobody needs to notice that nothing is learned.
#[test]
fn who_sees_a_collision_joins_the_next_round_at_once() {
    let round = multi(NodeSet::all(3));
    let next = round.next(false, NodeSet::all(3));
    assert!(collided(round).has_promised(next));
    assert!(!with(Mutant::CollisionIgnored, || collided(round)).has_promised(next));
}

/// After the collision the third coordinator forwards one of the two commands: now there is a quorum for it.
fn collided_and_then_agreed() -> One {
    let round = multi(NodeSet::all(3));
    let mut one = collided(round);
    one.hear(2, forward(round, 0, [name(0)]));
    one
}

/// The appendix has it otherwise: there *rnd* is the round of the collision (B.5), and the next one's coordinator,
/// which knows only that nothing was accepted, may choose another command.
#[test]
fn who_has_seen_a_collision_accepts_nothing_more_in_its_round() {
    let one = collided_and_then_agreed();
    assert_eq!((one.accepted(), one.held().accepted.vrnd), (vec![], Round::ZERO));
    let breaks = with(Mutant::CollisionJoinsThisRound, collided_and_then_agreed);
    assert_eq!(breaks.accepted(), [name(0)], "the schedule leads there");
}

/// p1 is a coordinator, and hears of the round only when others have accepted something in it.
fn begun_late() -> One {
    let (all, round) = (NodeSet::all(3), multi(NodeSet::all(3)));
    let mut one = One::new(1, 3, MulticoordinatedOptions::default());
    one.hear(0, propose(0, all, all));
    for acceptor in [0, 2] {
        let names = runs([name(0)]);
        let accepted =
            MulticoordinatedMessage::Phase2b { round, instance: 0, base: 0, names, closes: false };
        let votes = vec![Vote { instance: 0, vrnd: round, length: 1 }];
        one.hear(acceptor, accepted);
        one.hear(
            acceptor,
            MulticoordinatedMessage::Phase1b { round, instance: 0, onwards: true, votes },
        );
    }
    one
}

/// What a promise says of the round itself was accepted after the promise: it is not what the round may begin with.
#[test]
fn a_coordinator_that_comes_late_begins_behind_what_was_accepted_in_its_round() {
    let round = multi(NodeSet::all(3));
    let one = begun_late();
    assert_eq!(one.core.coordinating, Some((round, 1)));
    assert!(one.held().coordinated.is_none());
    let breaks = with(Mutant::VotesOfThisRoundPicked, begun_late);
    assert_eq!(breaks.core.coordinating, Some((round, 0)), "the schedule leads there");
}

/// Both of two coordinators are needed. What they picked has p0's command and p1's in common, and p1's comes behind one of
/// p2 at one of them, on which they cannot agree. What p4 has accepted of that.
fn accepted_of_a_pick_that_collides() -> Vec<Name> {
    let (all, round) = (NodeSet::all(5), multi(set([0, 1])));
    let mut one = One::new(4, 5, MulticoordinatedOptions::default());
    one.hear(0, begin(round, true));
    for (proposer, register) in [(0, 0), (1, 1), (2, 2), (3, 2)] {
        one.hear(proposer, propose_to(register, proposer, all, all));
    }
    let value = |start, names: [u8; 4]| {
        let names = runs(names.map(name));
        MulticoordinatedMessage::Phase2a {
            round,
            instance: 0,
            start,
            base: 0,
            names,
            closes: false,
        }
    };
    one.hear(0, value(2, [0, 1, 3, 2]));
    one.hear(1, value(3, [0, 2, 1, 3]));
    let next = round.next(false, all);
    assert!(one.has_promised(next));
    one.accepted()
}

/// Else the next round would be told of the first alone, and what was chosen of the second would be lost.
#[test]
fn a_collision_does_not_cut_a_pick_short() {
    assert_eq!(accepted_of_a_pick_that_collides(), [name(0), name(1)]);
    let cut = with(Mutant::PickLeftForACollision, accepted_of_a_pick_that_collides);
    assert_eq!(cut, [name(0)], "the schedule leads there");
}

/// p0 has asked for promises for all instances; then a collision leads to the same round in the first one. What p0's
/// value in it is at the end.
fn begun_for_one_and_for_all() -> Vec<Name> {
    let (all, round) = (NodeSet::all(3), Round::single(1, 6, NodeId(0)));
    let before = Round { kind: RType::Uncoordinated, ..multi(all) };
    let mut one = One::new(0, 3, MulticoordinatedOptions::default());
    one.hear(0, begin(round, true));
    one.hear(1, propose(1, all, all));
    one.hear(0, begin(round, false));
    let promise =
        |onwards, votes| MulticoordinatedMessage::Phase1b { round, instance: 0, onwards, votes };
    one.hear(1, promise(false, Vec::new()));
    let begun =
        |one: &One| one.held().coordinated.as_ref().map(|held| held.cval.names.iter().collect());
    assert_eq!(begun(&one), Some(vec![name(1)]));
    one.hear(2, propose(2, all, all));
    one.hear(2, promise(true, vec![Vote { instance: 0, vrnd: before, length: 0 }]));
    assert_eq!(one.core.coordinating, Some((round, 0)));
    begun(&one).unwrap_or_default()
}

/// Else some acceptors would go on with one value of the round, and others with another.
#[test]
fn a_round_begins_once_in_an_instance() {
    assert_eq!(begun_for_one_and_for_all(), [name(1)]);
    let twice = with(Mutant::RoundBegunTwice, begun_for_one_and_for_all);
    assert_eq!(twice, [name(1), name(2)], "the schedule leads there");
}

/// p2 has accepted a value that is closed, in its own round, and maybe others have; what p1 forwards in the
/// multicoordinated round that follows.
fn forwarded_behind_a_checkpoint() -> bool {
    let (all, round) = (NodeSet::all(3), multi(NodeSet::all(3)));
    let closing = Round::single(1, 2, NodeId(2));
    let mut one = One::new(1, 3, MulticoordinatedOptions::default());
    one.hear(2, propose(2, all, all));
    let names = runs([name(2)]);
    one.hear(
        2,
        MulticoordinatedMessage::Phase2b {
            round: closing,
            instance: 0,
            base: 0,
            names,
            closes: true,
        },
    );
    one.hear(0, begin(round, true));
    let votes = vec![Vote { instance: 0, vrnd: closing, length: 2 }];
    one.hear(2, MulticoordinatedMessage::Phase1b { round, instance: 0, onwards: true, votes });
    assert_eq!(one.core.coordinating, Some((round, 0)), "two promises are a quorum");
    one.hear(0, propose(0, all, all));
    let speaks = |message: &MulticoordinatedMessage| {
        matches!(message, MulticoordinatedMessage::Phase2a { instance: 0, .. })
    };
    one.sent.iter().any(speaks)
}

/// Only a single-coordinated round goes on with what is closed; the leader begins one. An earlier version skipped the
/// instance, and then took it for one in which nothing had been accepted.
#[test]
fn a_coordinator_of_many_says_nothing_in_an_instance_that_was_picked_closed() {
    assert!(!forwarded_behind_a_checkpoint());
    assert!(with(Mutant::PickedTakenForFresh, forwarded_behind_a_checkpoint));
}

/// p2 has accepted in a fast round what has not arrived at p1; then both are in the uncoordinated round that follows.
/// What p1 has accepted, before the command arrives and after.
fn accepted_before_the_command() -> [Vec<Name>; 2] {
    let (all, creator) = (NodeSet::all(3), NodeId(0));
    let options = MulticoordinatedOptions { rounds: Rounds::Fast, ..Default::default() };
    let mut one = One::new(1, 3, options);
    let coordinators = set([0]);
    let fast = Round { major: 1, minor: 3, creator, kind: RType::Fast, coordinators };
    let next = fast.next(true, all);
    assert_eq!(next.kind, RType::Uncoordinated);
    let names = runs([name(2)]);
    one.hear(
        2,
        MulticoordinatedMessage::Phase2b {
            round: fast,
            instance: 0,
            base: 0,
            names,
            closes: false,
        },
    );
    one.hear(0, begin(next, false));
    let votes = vec![Vote { instance: 0, vrnd: fast, length: 1 }];
    one.hear(
        2,
        MulticoordinatedMessage::Phase1b { round: next, instance: 0, onwards: false, votes },
    );
    let before = one.accepted();
    one.hear(2, propose(2, all, all));
    [before, one.accepted()]
}

/// Else it would be chosen by its name alone, and lost with its proposer.
#[test]
fn a_pick_of_an_uncoordinated_round_waits_for_its_commands() {
    assert_eq!(accepted_before_the_command(), [vec![], vec![name(2)]]);
    let [before, _] = with(Mutant::NamesAccepted, accepted_before_the_command);
    assert_eq!(before, [name(2)], "the schedule leads there");
}

/// A command may come later than the promises of those who have accepted it. Nothing else would remind of the round but
/// the check timer; found by the models.
#[test]
fn a_round_begins_once_the_commands_that_were_voted_for_are_here() {
    let (all, before) = (NodeSet::all(3), multi(NodeSet::all(3)));
    let round = Round::single(1, 5, NodeId(1));
    let mut one = One::new(1, 3, MulticoordinatedOptions::default());
    for acceptor in [0, 2] {
        let names = runs([name(0)]);
        one.hear(
            acceptor,
            MulticoordinatedMessage::Phase2b {
                round: before,
                instance: 0,
                base: 0,
                names,
                closes: false,
            },
        );
        let votes = vec![Vote { instance: 0, vrnd: before, length: 1 }];
        one.hear(
            acceptor,
            MulticoordinatedMessage::Phase1b { round, instance: 0, onwards: false, votes },
        );
    }
    assert!(one.held().coordinated.is_none());
    one.hear(0, propose(0, all, all));
    let begun = one.held().coordinated.as_ref().expect("two promises are a quorum");
    assert_eq!((begun.crnd, begun.start), (round, 1));
}

/// p2 is not asked to forward p0's command, which is learned; then it is asked to forward that of p1.
fn asked_for_the_second_only() -> Vec<Name> {
    let (all, round) = (NodeSet::all(3), multi(NodeSet::all(3)));
    let mut one = One::new(2, 3, MulticoordinatedOptions { balance: true, ..Default::default() });
    one.hear(0, begin(round, true));
    let votes = Vec::new();
    one.hear(0, MulticoordinatedMessage::Phase1b { round, instance: 0, onwards: true, votes });
    one.hear(0, propose(0, set([0, 1]), all));
    for acceptor in [0, 1] {
        let names = runs([name(0)]);
        one.hear(
            acceptor,
            MulticoordinatedMessage::Phase2b { round, instance: 0, base: 0, names, closes: false },
        );
    }
    assert_eq!(one.core.learned_names(0), [name(0)]);
    one.hear(1, propose(1, all, all));
    let begun = one.held().coordinated.as_ref().expect("two promises are a quorum");
    begun.cval.names.iter().collect()
}

/// Else its value would be incompatible with those of the others, and what was asked of all would collide.
#[test]
fn a_coordinator_that_is_asked_later_forwards_what_was_learned_before() {
    assert_eq!(asked_for_the_second_only(), [name(0), name(1)]);
    let alone = with(Mutant::PredecessorsNotForwarded, asked_for_the_second_only);
    assert_eq!(alone, [name(1)]);
}

/// One of three acceptors is gone, and all three are a fast quorum. Some time later a command is asked for; whether
/// it is answered after 100 ms, of which three steps take 30.
fn answered_without_a_fast_quorum() -> bool {
    let options = MulticoordinatedOptions {
        rounds: Rounds::Fast,
        election_timeout_ms: 200,
        ..MulticoordinatedOptions::default()
    };
    let mut script = Script::<Multicoordinated>::new(3, options, 10, 1);
    script.run_for(200);
    script.crash(2);
    script.run_for(600);
    let asked = script.ask(1);
    script.run_for(100);
    script.answered_ms(asked).is_some()
}

#[test]
fn a_fast_round_that_has_lost_its_quorum_is_replaced_before_anything_waits() {
    assert!(answered_without_a_fast_quorum());
    assert!(!with(Mutant::RoundKeptWithoutQuorum, answered_without_a_fast_quorum));
}

/// Commands that come after pauses longer than any patience, at all phases of the timer that looks for what is late.
/// Nothing is asked for, or begun, that only helps who is stuck.
#[test]
fn a_command_that_comes_after_a_pause_is_not_late() {
    for rounds in [Rounds::Multi, Rounds::Fast, Rounds::Single] {
        let options = MulticoordinatedOptions { rounds, ..MulticoordinatedOptions::default() };
        let mut script = Script::<Multicoordinated>::new(3, options, 20, 1);
        script.run_for(500);
        script.forget_sent();
        let begun = script.counter(0, "rounds_begun");
        for pause in 0..40 {
            script.run_for(2000 + 7 * pause);
            script.ask((pause % 3) as u8);
        }
        script.run_for(200);
        assert!(script.all_answered());
        let helped = ["Lagging", "Learned", "WantCommands"].map(|kind| script.sent(kind));
        assert_eq!(helped, [0; 3], "{rounds:?}");
        assert_eq!([script.counter(0, "stuck"), script.counter(0, "fallbacks")], [0; 2]);
        assert_eq!(script.counter(0, "rounds_begun"), begun, "{rounds:?}");
    }
}
