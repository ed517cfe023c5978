//! Each invariant can be violated; and pasts say what the specification of command structures says.

mod histories;

use std::sync::Arc;

use super::*;
use crate::check::invariants::Violation;
use crate::command::{ClientId, Command, CommandId, Key, Operation, Value as Bytes};

const P0: NodeId = NodeId(0);
const P1: NodeId = NodeId(1);
const P2: NodeId = NodeId(2);

/// The name of a command: its proposer's `number`-th in its first life.
fn name(proposer: NodeId, number: u64) -> Name {
    Name { proposer, number: Name::first_of_life(1) + number }
}

fn runs(names: &[Name]) -> Vec<Run> {
    names.iter().map(|name| Run::of(*name)).collect()
}

/// All commands interfere.
fn batch(client: u64) -> Batch {
    let value = Bytes::from_slice(&client.to_le_bytes());
    let id = CommandId { client: ClientId(client), sequence: 0 };
    let operation = Operation::Put { key: Key(0), value };
    Arc::from([Command { id, answered_below: 0, operation }])
}

fn round(minor: u32, creator: NodeId, kind: RType) -> Round {
    let coordinators = match kind {
        RType::Single | RType::Fast => [creator].into_iter().collect(),
        RType::Multi | RType::Uncoordinated => NodeSet::all(3),
    };
    Round { major: 1, minor, creator, kind, coordinators }
}

/// A run of three processes, as the invariants see it.
#[derive(Clone)]
struct Seen {
    invariants: MulticoordinatedInvariants,
    /// Where the next record of an acceptor and a round begins.
    lengths: BTreeMap<(NodeId, Round), u64>,
}

impl Seen {
    /// Three processes have begun to live, and proposed a command each: A, B and C. Their rounds are known.
    fn new() -> Seen {
        let mut invariants = MulticoordinatedInvariants::new(Cluster::of(3));
        let quorums = QuorumSizes { classic: 2, fast: 3 };
        invariants.chosen = Some(Chosen { quorums, structure: Structure::History });
        let mut seen = Seen { invariants, lengths: BTreeMap::new() };
        for (minor, creator) in (2..=6).flat_map(|minor| [P0, P1].map(|node| (minor, node))) {
            for kind in [RType::Single, RType::Multi, RType::Fast, RType::Uncoordinated] {
                for major in [1, 2] {
                    let round = Round { major, ..round(minor, creator, kind) };
                    seen.invariants.rounds_are_their_creators(creator, round).unwrap();
                }
            }
        }
        for node in [P0, P1, P2] {
            seen.writes(node, &MulticoordinatedRecord::Major(1)).unwrap();
            seen.proposes(node, 0, u64::from(node.0)).unwrap();
        }
        for node in [P0, P1, P2] {
            seen.has_commands(node);
        }
        seen
    }

    /// A, B and C are in its log.
    fn has_commands(&mut self, node: NodeId) {
        let commands =
            [A, B, C].map(|name| (name.proposer, name.number, batch(u64::from(name.proposer.0))));
        self.invariants.process(node).log_commands(&commands);
    }

    fn sends(&mut self, node: NodeId, message: &MulticoordinatedMessage) -> Held {
        self.invariants.on_sent(node, message, 0)
    }

    /// A record that is durable at once.
    fn writes(&mut self, node: NodeId, record: &MulticoordinatedRecord) -> Held {
        self.invariants.on_record(node, record)?;
        self.invariants.on_durable(node, record)
    }

    fn proposes(&mut self, node: NodeId, number: u64, client: u64) -> Held {
        let all = NodeSet::all(3);
        let propose = MulticoordinatedMessage::Propose {
            instance: 0,
            first: name(node, number).number,
            commands: batch(client),
            coordinators: all,
            acceptors: all,
        };
        self.sends(node, &propose)
    }

    /// A 2a from the beginning of the value on, of which so much was picked.
    fn tries(&mut self, (round, node): (Round, NodeId), start: u64, names: &[Name]) -> Held {
        self.sends(node, &a2(round, start, 0, names, false))
    }

    fn accepted(
        &mut self,
        (round, node): (Round, NodeId),
        names: &[Name],
    ) -> MulticoordinatedRecord {
        let base = self.lengths.entry((node, round)).or_default();
        let record = accepted(round, *base, names, false);
        *base += names.len() as u64;
        record
    }

    fn accepts(&mut self, at: (Round, NodeId), names: &[Name]) -> Held {
        let record = self.accepted(at, names);
        self.writes(at.1, &record)
    }

    /// A single-coordinated round in which p1 and p2 have accepted A: it is chosen.
    fn with_a_chosen() -> Seen {
        let (mut seen, first) = (Seen::new(), round(2, P0, RType::Single));
        seen.tries((first, P0), 0, &[A]).unwrap();
        seen.accepts((first, P1), &[A]).unwrap();
        seen.accepts((first, P2), &[A]).unwrap();
        seen
    }

    fn closes(&mut self, node: NodeId, instance: u64, names: &[Name]) -> Held {
        let (names, commands) = (runs(names), Vec::new());
        self.writes(node, &MulticoordinatedRecord::Executed { instance, names, commands })
    }

    fn installs(&mut self, node: NodeId, names: &[Name]) -> Held {
        let names = runs(names);
        self.writes(node, &MulticoordinatedRecord::Installed { instance: 0, names })
    }

    fn learns(&mut self, node: NodeId, names: &[Name], is_closed: bool) -> Held {
        let names = runs(names).into_iter().collect();
        self.invariants.on_learned(node, 0, &Value { names, is_closed })
    }
}

const LIFE: u64 = 1 << 32;
const A: Name = Name { proposer: P0, number: LIFE };
const B: Name = Name { proposer: P1, number: LIFE };
const C: Name = Name { proposer: P2, number: LIFE };

fn a2(
    round: Round,
    start: u64,
    base: u64,
    names: &[Name],
    closes: bool,
) -> MulticoordinatedMessage {
    let names = runs(names);
    MulticoordinatedMessage::Phase2a { round, instance: 0, start, base, names, closes }
}

fn accepted(round: Round, base: u64, names: &[Name], closes: bool) -> MulticoordinatedRecord {
    let (names, commands) = (runs(names), Vec::new());
    MulticoordinatedRecord::Accepted { instance: 0, round, base, names, closes, commands }
}

fn b1(round: Round, votes: &[(Round, u64)]) -> MulticoordinatedMessage {
    let vote = |(vrnd, length): &(Round, u64)| Vote { instance: 0, vrnd: *vrnd, length: *length };
    let votes = votes.iter().map(vote).collect();
    MulticoordinatedMessage::Phase1b { round, instance: 0, onwards: false, votes }
}

fn b2(round: Round, names: &[Name], closes: bool) -> MulticoordinatedMessage {
    let names = runs(names);
    MulticoordinatedMessage::Phase2b { round, instance: 0, base: 0, names, closes }
}

/// Which invariant is violated.
fn broken(held: Held) -> &'static str {
    let Violation { invariant, .. } = held.expect_err("a violation");
    invariant
}

#[test]
fn a_run_in_which_all_is_well_violates_nothing() {
    let mut seen = Seen::with_a_chosen();
    let (first, multi) = (round(2, P0, RType::Single), round(4, P1, RType::Multi));
    seen.sends(
        P1,
        &MulticoordinatedMessage::Phase2bPrefix { round: first, instance: 0, length: 1 },
    )
    .unwrap();
    seen.learns(P1, &[A], false).unwrap();
    seen.sends(P1, &b1(multi, &[(first, 1)])).unwrap();
    seen.sends(P2, &b1(multi, &[(first, 1)])).unwrap();
    for node in [P0, P1] {
        seen.tries((multi, node), 1, &[A, B]).unwrap();
    }
    seen.tries((multi, P2), 1, &[A, C]).unwrap();
    for node in [P0, P2] {
        seen.accepts((multi, node), &[A, B]).unwrap();
        seen.sends(node, &b2(multi, &[A, B], false)).unwrap();
    }
    seen.learns(P1, &[A, B], false).unwrap();
    let last = round(6, P0, RType::Single);
    seen.sends(P0, &a2(last, 2, 0, &[A, B, C], true)).unwrap();
    for node in [P0, P1] {
        seen.writes(node, &accepted(last, 0, &[A, B], false)).unwrap();
        seen.writes(node, &accepted(last, 2, &[C], true)).unwrap();
    }
    seen.learns(P2, &[A, B, C], true).unwrap();
    seen.closes(P1, 0, &[A, B, C]).unwrap();
    seen.closes(P2, 0, &[A, B, C]).unwrap();
}

#[test]
fn a_name_stands_for_one_command() {
    let mut seen = Seen::new();
    seen.proposes(P0, 0, 0).unwrap();
    assert_eq!(broken(seen.proposes(P0, 0, 7)), "one command per name");
}

/// Of what only the proposer knew, and lost, nobody has heard: it may use the names again.
#[test]
fn a_crash_undoes_what_nobody_has_heard_of() {
    let mut seen = Seen::new();
    let record = |client| MulticoordinatedRecord::Accepted {
        instance: 0,
        round: round(2, P0, RType::Uncoordinated),
        base: 0,
        names: runs(&[name(P0, 5)]),
        closes: false,
        commands: vec![(P0, name(P0, 5).number, batch(client))],
    };
    seen.invariants.on_record(P0, &record(7)).unwrap();
    let left = [MulticoordinatedRecord::Major(1)];
    seen.invariants.on_crash(P0, left.iter()).unwrap();
    let mut again = seen.clone();
    seen.writes(P0, &MulticoordinatedRecord::Major(2)).unwrap();
    assert_eq!(broken(seen.writes(P0, &record(8))), "rounds of this life");
    again.invariants.process(P0).mcount_rises(P0, 2).unwrap();
    again.invariants.on_commands(P0, 0, &[(P0, name(P0, 5).number, batch(8))], true).unwrap();
    let durable = again.invariants.on_commands(P0, 0, &[(P0, name(P0, 5).number, batch(9))], true);
    assert_eq!(broken(durable), "one command per name");
}

#[test]
fn a_value_has_only_commands_that_were_proposed() {
    let first = round(2, P0, RType::Single);
    let mut seen = Seen::new();
    assert_eq!(broken(seen.tries((first, P0), 0, &[name(P0, 9)])), "nontriviality");
    let uncoordinated = round(2, P0, RType::Uncoordinated);
    assert_eq!(broken(seen.accepts((uncoordinated, P1), &[name(P0, 9)])), "nontriviality");
    let commands = MulticoordinatedMessage::Commands {
        proposer: P0,
        instance: 0,
        first: A.number,
        commands: batch(9),
    };
    assert_eq!(broken(seen.sends(P1, &commands)), "nontriviality");
}

#[test]
fn names_are_of_a_life_that_is_on_disk() {
    let mut seen = Seen::new();
    seen.invariants.on_crash(P0, std::iter::empty()).unwrap();
    assert_eq!(broken(seen.proposes(P0, 1, 7)), "names are of this life");
    seen.invariants.on_record(P0, &MulticoordinatedRecord::Major(1)).unwrap();
    assert_eq!(broken(seen.proposes(P0, 1, 7)), "names are of this life");
    seen.invariants.on_durable(P0, &MulticoordinatedRecord::Major(1)).unwrap();
    seen.proposes(P0, 1, 7).unwrap();
}

#[test]
fn a_round_has_one_set_of_coordinators() {
    let mut seen = Seen::new();
    let multi = round(2, P0, RType::Multi);
    seen.tries((multi, P0), 0, &[A]).unwrap();
    let fewer = Round { coordinators: [P1].into_iter().collect(), ..multi };
    assert_eq!(broken(seen.tries((fewer, P1), 0, &[A])), "one set of coordinators");
}

/// What is chosen by its name alone is lost when its proposer is.
#[test]
fn what_is_accepted_is_in_the_log_with_its_command() {
    let mut seen = Seen::new();
    seen.invariants.process(P1).crash();
    seen.writes(P1, &MulticoordinatedRecord::Major(2)).unwrap();
    let at = (Round { major: 2, ..round(2, P1, RType::Uncoordinated) }, P1);
    assert_eq!(broken(seen.accepts(at, &[A])), "accepted with its command");
}

/// Whoever sees a collision speaks in the round that follows it.
#[test]
fn a_rounds_creator_is_the_first_to_speak_in_it() {
    let mut seen = Seen::new();
    let another = round(9, P0, RType::Multi);
    assert_eq!(broken(seen.sends(P1, &b1(another, &[]))), "rounds are their creators'");
    let mut seen = Seen::new();
    seen.tries((another, P0), 0, &[A]).unwrap();
    let next = another.next(false, NodeSet::all(3));
    seen.sends(P1, &b1(next, &[])).unwrap();
    let beyond = Round { minor: next.minor + 1, ..next };
    seen.sends(P0, &b1(beyond, &[])).unwrap();
    let strange = Round { creator: P2, ..next };
    assert_eq!(broken(seen.sends(P1, &b1(strange, &[]))), "rounds are their creators'");
}

#[test]
fn only_coordinators_send_2a_messages() {
    let mut seen = Seen::new();
    let first = round(2, P0, RType::Single);
    assert_eq!(broken(seen.tries((first, P1), 0, &[A])), "coordinators coordinate");
}

#[test]
fn a_coordinator_sends_one_value_in_a_round() {
    let first = round(2, P0, RType::Single);
    let mut seen = Seen::new();
    seen.sends(P0, &a2(first, 1, 0, &[A, B], false)).unwrap();
    seen.sends(P0, &a2(first, 1, 1, &[B], true)).unwrap();
    seen.sends(P0, &a2(first, 1, 0, &[A], false)).unwrap();
    let others = [
        ("picks something else", a2(first, 2, 0, &[A], false)),
        ("changes its mind", a2(first, 1, 0, &[B], false)),
        ("leaves something out", a2(first, 1, 4, &[C], false)),
        ("goes on behind the checkpoint", a2(first, 1, 2, &[C], false)),
    ];
    for (what, other) in others {
        assert_eq!(broken(seen.clone().sends(P0, &other)), "one value per coordinator", "{what}");
    }
    let mut twice = Seen::new();
    assert_eq!(broken(twice.tries((first, P0), 0, &[A, A])), "one value per coordinator");
}

/// The disk remembers *MCount*, so that this is the same in a later life.
#[test]
fn a_coordinator_that_was_born_again_acts_in_no_round_of_its_former_life() {
    let first = round(2, P0, RType::Single);
    let mut seen = Seen::new();
    let left = [MulticoordinatedRecord::Major(1)];
    seen.invariants.on_crash(P0, left.iter()).unwrap();
    seen.writes(P0, &MulticoordinatedRecord::Major(2)).unwrap();
    assert_eq!(broken(seen.tries((first, P0), 0, &[A])), "rounds of this life");
    assert_eq!(broken(seen.sends(P0, &b1(first, &[]))), "rounds of this life");
}

#[test]
fn mcount_rises() {
    let mut seen = Seen::new();
    seen.writes(P0, &MulticoordinatedRecord::Major(3)).unwrap();
    assert_eq!(broken(seen.writes(P0, &MulticoordinatedRecord::Major(2))), "MCount rises");
    let left = [MulticoordinatedRecord::Major(1), MulticoordinatedRecord::Major(3)];
    seen.invariants.on_crash(P0, left.iter()).unwrap();
    assert_eq!(broken(seen.writes(P0, &MulticoordinatedRecord::Major(3))), "MCount rises");
}

#[test]
fn a_message_of_a_round_leaves_once_its_mcount_is_on_disk() {
    let later = Round { major: 2, ..round(2, P0, RType::Fast) };
    let of_round = [
        MulticoordinatedMessage::Phase1a { round: later, instance: 0, onwards: true },
        b1(later, &[]),
        a2(later, 0, 0, &[A], false),
        MulticoordinatedMessage::Phase2aAny { round: later, instance: 0 },
        b2(later, &[], false),
        MulticoordinatedMessage::Phase2bPrefix { round: later, instance: 0, length: 0 },
    ];
    for message in of_round {
        let mut seen = Seen::new();
        seen.invariants.on_record(P0, &MulticoordinatedRecord::Major(2)).unwrap();
        assert_eq!(broken(seen.clone().sends(P0, &message)), "durable before told", "{message}");
        seen.invariants.on_durable(P0, &MulticoordinatedRecord::Major(2)).unwrap();
        seen.sends(P0, &message).unwrap();
    }
}

#[test]
fn a_round_begins_with_what_is_chosen() {
    let later = round(4, P1, RType::Single);
    let mut seen = Seen::with_a_chosen();
    assert_eq!(broken(seen.clone().tries((later, P1), 0, &[A])), "picked values are safe");
    assert_eq!(broken(seen.clone().tries((later, P1), 1, &[B])), "picked values are safe");
    assert_eq!(broken(seen.clone().tries((later, P1), 2, &[B, A])), "picked values are safe");
    seen.tries((later, P1), 1, &[A, B]).unwrap();
}

#[test]
fn a_fast_round_begins_with_nothing_only_where_nothing_is_chosen() {
    let fast = round(4, P1, RType::Fast);
    let any = |instance| MulticoordinatedMessage::Phase2aAny { round: fast, instance };
    let mut seen = Seen::with_a_chosen();
    assert_eq!(broken(seen.clone().sends(P1, &any(0))), "picked values are safe");
    seen.sends(P1, &any(1)).unwrap();
    assert_eq!(broken(seen.sends(P1, &any(2))), "one value per coordinator");
}

#[test]
fn what_is_chosen_late_is_in_what_began_above_it() {
    let (first, later) = (round(2, P0, RType::Single), round(4, P1, RType::Single));
    let mut seen = Seen::new();
    seen.tries((first, P0), 0, &[A]).unwrap();
    seen.accepts((first, P1), &[A]).unwrap();
    let mut with_another = seen.clone();
    with_another.tries((later, P1), 1, &[B]).unwrap();
    assert_eq!(broken(with_another.accepts((first, P2), &[A])), "picked values are safe");
    let mut with_nothing = seen.clone();
    let fast = round(4, P1, RType::Fast);
    with_nothing
        .sends(P1, &MulticoordinatedMessage::Phase2aAny { round: fast, instance: 0 })
        .unwrap();
    assert_eq!(broken(with_nothing.accepts((first, P2), &[A])), "picked values are safe");
    let uncoordinated = round(4, P1, RType::Uncoordinated);
    seen.accepts((uncoordinated, P0), &[B]).unwrap();
    assert_eq!(broken(seen.accepts((first, P2), &[A])), "accepted values are safe");
}

/// The first record of a round has all of it.
#[test]
fn what_is_accepted_extends_what_is_chosen_below() {
    let later = round(4, P1, RType::Uncoordinated);
    let mut seen = Seen::with_a_chosen();
    assert_eq!(broken(seen.clone().accepts((later, P0), &[B])), "accepted values are safe");
    assert_eq!(broken(seen.clone().accepts((later, P0), &[B, A])), "accepted values are safe");
    seen.accepts((later, P0), &[A, B]).unwrap();
}

#[test]
fn votes_only_grow() {
    let (first, second) = (round(2, P0, RType::Uncoordinated), round(4, P0, RType::Uncoordinated));
    let mut seen = Seen::new();
    seen.accepts((second, P1), &[A, B]).unwrap();
    let others = [
        ("in a lower round", accepted(first, 0, &[A], false)),
        ("again", accepted(second, 0, &[A, B], false)),
        ("with a gap", accepted(second, 3, &[C], false)),
        ("twice", accepted(second, 2, &[A], false)),
    ];
    for (what, other) in others {
        assert_eq!(broken(seen.clone().writes(P1, &other)), "votes grow", "{what}");
    }
    seen.writes(P1, &accepted(second, 2, &[], true)).unwrap();
    assert_eq!(broken(seen.writes(P1, &accepted(second, 3, &[C], false))), "votes grow");
}

/// What was not durable is gone, and what was is not.
#[test]
fn votes_grow_from_where_a_crash_has_left_them() {
    let (first, second) = (round(2, P0, RType::Uncoordinated), round(4, P0, RType::Uncoordinated));
    let mut seen = Seen::new();
    let second = Round { major: 2, ..second };
    let durable = accepted(second, 0, &[A], false);
    seen.writes(P1, &MulticoordinatedRecord::Major(2)).unwrap();
    seen.writes(P1, &durable).unwrap();
    seen.invariants.on_record(P1, &accepted(second, 1, &[B], false)).unwrap();
    let left = [MulticoordinatedRecord::Major(1), durable];
    seen.invariants.on_crash(P1, left.iter()).unwrap();
    seen.writes(P1, &MulticoordinatedRecord::Major(2)).unwrap();
    let mut lower = seen.clone();
    lower.invariants.agreement(0).votes_grow((second, P1), &(1, Vec::new())).unwrap();
    let held = lower.invariants.agreement(0).votes_grow((first, P1), &(0, Vec::new()));
    assert_eq!(broken(held), "votes grow");
    assert_eq!(broken(seen.writes(P1, &accepted(second, 2, &[C], false))), "votes grow");
}

#[test]
fn a_single_coordinated_rounds_values_are_parts_of_its_coordinators() {
    let first = round(2, P0, RType::Single);
    let mut seen = Seen::new();
    seen.tries((first, P0), 0, &[A, B]).unwrap();
    assert_eq!(broken(seen.clone().accepts((first, P1), &[B])), "accepted values were tried");
    assert_eq!(broken(seen.clone().accepts((first, P1), &[A, B, C])), "accepted values were tried");
    let closed = accepted(first, 0, &[A, B], true);
    assert_eq!(broken(seen.clone().writes(P1, &closed)), "accepted values were tried");
    seen.accepts((first, P1), &[A]).unwrap();
    seen.accepts((first, P1), &[B]).unwrap();
}

#[test]
fn a_multicoordinated_rounds_values_are_a_coordinator_quorums() {
    let multi = round(2, P0, RType::Multi);
    let mut seen = Seen::new();
    seen.tries((multi, P0), 0, &[A, B]).unwrap();
    assert_eq!(broken(seen.clone().accepts((multi, P1), &[A])), "accepted values were tried");
    // p2 has both, in another order.
    let mut collision = seen.clone();
    collision.tries((multi, P2), 0, &[B, A]).unwrap();
    for value in [&[A][..], &[B], &[A, B]] {
        let held = collision.clone().accepts((multi, P1), value);
        assert_eq!(broken(held), "accepted values were tried");
    }
    seen.tries((multi, P2), 0, &[A, C]).unwrap();
    seen.accepts((multi, P1), &[A]).unwrap();
    assert_eq!(broken(seen.clone().accepts((multi, P1), &[B])), "accepted values were tried");
    seen.tries((multi, P1), 0, &[A, B]).unwrap();
    seen.accepts((multi, P1), &[B]).unwrap();
}

#[test]
fn a_fast_rounds_values_begin_as_its_creator_began() {
    let fast = round(2, P0, RType::Fast);
    let mut seen = Seen::new();
    assert_eq!(broken(seen.clone().accepts((fast, P1), &[B])), "fast rounds are begun");
    let mut later = seen.clone();
    let any = MulticoordinatedMessage::Phase2aAny { round: fast, instance: 1 };
    later.sends(P0, &any).unwrap();
    assert_eq!(broken(later.accepts((fast, P1), &[B])), "fast rounds are begun");
    seen.tries((fast, P0), 1, &[A]).unwrap();
    assert_eq!(broken(seen.clone().accepts((fast, P1), &[B, A])), "accepted values were tried");
    seen.accepts((fast, P1), &[A, B]).unwrap();
}

/// If quorums of a fast round are too small, two of them choose what does not fit together.
#[test]
fn chosen_values_are_compatible() {
    let uncoordinated = round(2, P0, RType::Uncoordinated);
    let mut seen = Seen::new();
    let quorums = QuorumSizes { classic: 2, fast: 1 };
    seen.invariants.chosen = Some(Chosen { quorums, structure: Structure::History });
    seen.accepts((uncoordinated, P0), &[A, B]).unwrap();
    let mut other = seen.clone();
    assert_eq!(broken(other.accepts((uncoordinated, P1), &[B])), "chosen values are compatible");
    assert_eq!(broken(seen.accepts((uncoordinated, P1), &[A, C])), "chosen values are compatible");
}

#[test]
fn a_2b_says_no_more_than_is_durable() {
    let fast = round(2, P0, RType::Uncoordinated);
    let mut seen = Seen::new();
    let (one, two) = (accepted(fast, 0, &[A], false), accepted(fast, 1, &[B], true));
    let prefix =
        |length| MulticoordinatedMessage::Phase2bPrefix { round: fast, instance: 0, length };
    seen.writes(P1, &one).unwrap();
    seen.invariants.on_record(P1, &two).unwrap();
    let early = [b2(fast, &[A, B], false), b2(fast, &[B], false), prefix(2)];
    for message in early {
        assert_eq!(broken(seen.sends(P1, &message)), "durable before told", "{message}");
    }
    let progress = Progress { instance: 0, rnd: fast, accepted: (fast, 2), sent: (Round::ZERO, 0) };
    let heartbeat = MulticoordinatedMessage::Heartbeat {
        life: 1,
        major: 1,
        hears_majority: true,
        executed_below: 0,
        standing: (Round::ZERO, 0),
        open: vec![progress],
    };
    assert_eq!(broken(seen.sends(P1, &heartbeat)), "durable before told");
    seen.sends(P1, &b2(fast, &[A], false)).unwrap();
    seen.invariants.on_durable(P1, &two).unwrap();
    for message in [b2(fast, &[A, B], true), prefix(3), heartbeat] {
        seen.sends(P1, &message).unwrap();
    }
}

#[test]
fn a_promise_tells_the_last_vote_below_it() {
    let (first, later) = (round(2, P0, RType::Single), round(6, P1, RType::Single));
    let between = round(4, P1, RType::Fast);
    let seen = Seen::with_a_chosen();
    let others = [
        ("nothing", b1(later, &[])),
        ("too little", b1(later, &[(first, 0)])),
        ("too much", b1(later, &[(first, 2)])),
        ("another round", b1(later, &[(between, 1)])),
    ];
    for (what, other) in others {
        let held = seen.clone().sends(P1, &other);
        assert_eq!(broken(held), "votes are told as they are", "{what}");
    }
    seen.clone().sends(P1, &b1(later, &[(first, 1)])).unwrap();
    // It is in a round that began with nothing, though something was chosen.
    let held = seen.clone().sends(P1, &b1(later, &[(between, 0)]));
    assert_eq!(broken(held), "picked values are safe");
    let mut fresh = Seen::new();
    fresh.sends(P1, &b1(later, &[(between, 0)])).unwrap();
    let unwritten = fresh.accepted((between, P1), &[A]);
    let any = MulticoordinatedMessage::Phase2aAny { round: between, instance: 0 };
    let mut late = Seen::new();
    late.sends(P1, &any).unwrap();
    late.invariants.on_record(P1, &unwritten).unwrap();
    let held = late.sends(P1, &b1(later, &[(between, 1)]));
    assert_eq!(broken(held), "votes are told as they are", "what is not durable");
}

#[test]
fn promises_are_kept() {
    let (first, later) = (round(2, P0, RType::Uncoordinated), round(4, P1, RType::Single));
    let mut one = Seen::new();
    one.sends(P1, &b1(later, &[])).unwrap();
    assert_eq!(broken(one.accepts((first, P1), &[A])), "promises are kept");
    let mut all = Seen::new();
    for (round, instance) in [(later, 1), (round(3, P1, RType::Single), 0)] {
        let votes = Vec::new();
        let onwards = MulticoordinatedMessage::Phase1b { round, instance, onwards: true, votes };
        all.sends(P1, &onwards).unwrap();
    }
    let process = all.invariants.process(P1);
    process.accepts_nothing_below_its_promise(P1, 0, round(3, P1, RType::Single)).unwrap();
    let held = process.accepts_nothing_below_its_promise(P1, 1, round(3, P1, RType::Single));
    assert_eq!(broken(held), "promises are kept");
    assert_eq!(broken(all.accepts((first, P1), &[A])), "promises are kept");
}

#[test]
fn what_is_learned_is_chosen() {
    let mut seen = Seen::with_a_chosen();
    assert_eq!(broken(seen.clone().learns(P0, &[B], false)), "learned values are chosen");
    assert_eq!(broken(seen.clone().learns(P0, &[A], true)), "learned values are chosen");
    assert_eq!(broken(seen.clone().installs(P0, &[A, B])), "learned values are chosen");
    assert_eq!(broken(seen.clone().closes(P0, 0, &[A])), "learned values are chosen");
    // A was chosen with nothing before it.
    assert_eq!(broken(seen.clone().learns(P0, &[B, A], false)), "learned values are chosen");
    seen.learns(P0, &[A], false).unwrap();
    seen.installs(P1, &[A]).unwrap();
}

#[test]
fn what_is_learned_only_grows() {
    let first = round(2, P0, RType::Single);
    let mut seen = Seen::with_a_chosen();
    seen.sends(P0, &a2(first, 0, 1, &[B], true)).unwrap();
    for node in [P1, P2] {
        seen.writes(node, &accepted(first, 1, &[B], true)).unwrap();
    }
    seen.learns(P0, &[A, B], false).unwrap();
    assert_eq!(broken(seen.clone().learns(P0, &[A], false)), "learned only grows");
    assert_eq!(broken(seen.clone().learns(P0, &[A, B, B], false)), "learned only grows");
    let mut replaced = seen.clone();
    replaced.installs(P0, &[A]).unwrap();
    assert_eq!(broken(replaced.learns(P0, &[A], false)), "learned only grows");
    let mut open = seen.clone();
    let closed = open.closes(P0, 0, &[A]);
    assert_eq!(broken(closed), "learned values are chosen", "the checkpoint comes after B");
    seen.learns(P0, &[A, B], true).unwrap();
    assert_eq!(broken(seen.learns(P0, &[A, B, C], true)), "learned only grows");
}

#[test]
fn instances_are_executed_in_order() {
    let mut seen = Seen::with_a_chosen();
    assert_eq!(broken(seen.closes(P0, 1, &[])), "instances in order");
}
