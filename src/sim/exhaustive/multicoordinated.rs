//! The configurations of `multicoordinated`: three replicas, of which p0 leads. By the time the start is over, the
//! rounds of each configuration's kind stand, and nothing is proposed. Where they are not single-coordinated ones, the
//! first instance, in which the leader began, is closed, and the next one is what is looked at.
//!
//! The commands interfere. Without failures and timers, two of them collide or do not, as they arrive.
//!
//! Timers: the check timer, where a replica is to look for what is late. Time stands still, and in these configurations
//! nobody has any patience, so a leader begins another round for every instance in which something is under way, and
//! what is not answered is repeated; and the heartbeat timer where one comes to suspect another.
//!
//! What is missing of a stream is asked for again after a heartbeat, and there are none. So of more than one command it
//! cannot be said that they take effect everywhere in the end.
//!
//! 2b messages tell learners, and are not answered. Who learns what is chosen is of no consequence for what is, and
//! invariants know what is chosen without that. So in the larger configurations they go to the leader only, who
//! needs them to find out what was accepted. And what is proposed anew in a later instance, because the one that is
//! looked at was closed without it, goes nowhere.
//!
//! A replica that crashes for good is one whose messages are all lost from some moment on, which every configuration
//! allows for. Who crashes comes back at once.

use std::hash::Hasher;
use std::time::Duration;

use super::{Configuration, Given, KEY, Modelled, Nudge, Setup, command, command_to, none};
use crate::check::invariants::multicoordinated::MulticoordinatedInvariants;
use crate::command::{NodeId, Operation};
use crate::protocol::Cluster;
use crate::protocol::multicoordinated::Multicoordinated;
use crate::protocol::multicoordinated::message::{MulticoordinatedMessage, MulticoordinatedTimer};
use crate::protocol::multicoordinated::options::{MulticoordinatedOptions, Recovery, Rounds};
use crate::protocol::multicoordinated::round::{RType, Round};

const SIZE: u8 = 3;
const P0: NodeId = NodeId(0);
const P1: NodeId = NodeId(1);
const P2: NodeId = NodeId(2);

/// The instance that is looked at, where rounds are not single-coordinated.
const LOOKED_AT: u64 = 1;

/// The rounds that stand, as the experiment file calls them.
type Kind = (Rounds, &'static str);

const SINGLE: Kind = (Rounds::Single, "single");
const MULTI: Kind = (Rounds::Multi, "multi");
const FAST: Kind = (Rounds::Fast, "fast");

const KINDS: [Kind; 3] = [SINGLE, MULTI, FAST];

impl Modelled for Multicoordinated {
    const NUMBERS_WRITES: bool = false;

    type Invariants = MulticoordinatedInvariants;

    fn configurations() -> Vec<Configuration<Self>> {
        let mut all = Vec::new();
        for kind in KINDS {
            all.extend([solo(kind), conflict(kind), check(kind), takeover(kind)]);
            all.extend([takeover_both(kind), duel(kind), anew(kind)]);
            all.extend([repeated(kind), repeated_both(kind)]);
            all.extend([acceptor_crashes(kind), leader_crashes(kind)]);
        }
        all.extend([
            collision(),
            collision_of_three(),
            collision_leader(),
            leader(),
            uncoordinated(),
            read(),
        ]);
        all.extend([check_both(), replaced(), late(), silent(), balance()]);
        all.extend([coordinator_crashes(), coordinator_crashes_both()]);
        all
    }

    /// Heartbeats say that their sender is up, and how far it is. The nudges say the first.
    fn is_left_out(message: &MulticoordinatedMessage) -> bool {
        matches!(message, MulticoordinatedMessage::Heartbeat { .. })
    }

    /// Nothing depends on what is one in memory.
    fn hash_sharing(&self, _: &mut impl Hasher) {}

    fn ignores_for_ever(&self, from: NodeId, message: &MulticoordinatedMessage) -> bool {
        Multicoordinated::ignores_for_ever(self, from, message)
    }
}

/// What all configurations have in common.
fn base(name: &str, (rounds, word): Kind, about: &'static str) -> Configuration<Multicoordinated> {
    let options = MulticoordinatedOptions {
        rounds,
        fallback_ms: 1,
        return_after_ms: 1_000_000,
        ..MulticoordinatedOptions::default()
    };
    let cluster = Cluster::of(SIZE);
    Configuration {
        name: format!("{name}-{word}"),
        about,
        setup: Setup { cluster, options, slow_disks: Vec::new(), cut: Vec::new(), lost: none },
        settled: true,
        before: Vec::new(),
        asks: vec![(P0, command(0))],
        nudges: Vec::new(),
        crashes: Vec::new(),
        repetitions: 0,
        completes: false,
    }
}

/// One that differs in its name and in what it is about, to be changed further.
fn like(
    other: Configuration<Multicoordinated>,
    name: &str,
    about: &'static str,
) -> Configuration<Multicoordinated> {
    Configuration { name: name.to_owned(), about, ..other }
}

fn solo(kind: Kind) -> Configuration<Multicoordinated> {
    let mut solo = base("solo", kind, "one command, no failure");
    solo.completes = true;
    solo
}

fn conflict(kind: Kind) -> Configuration<Multicoordinated> {
    let mut conflict = base("conflict", kind, "two interfering commands, no failure");
    conflict.asks.push((P1, command(1)));
    conflict.setup.lost = tell_p0;
    conflict
}

fn read() -> Configuration<Multicoordinated> {
    let mut read = like(conflict(FAST), "read-fast", "a read and a write, no failure");
    read.asks = vec![(P0, command(0)), (P1, command_to(1, Operation::Get { key: KEY }))];
    read
}

fn collision() -> Configuration<Multicoordinated> {
    let about = "two interfering commands, and both of two coordinators are a quorum";
    let mut collision = like(conflict(MULTI), "collision-multi", about);
    collision.setup.options.coordinators = vec![0, 1];
    collision
}

/// With two commands two of three always agree. All of it would be too large: p2 accepts nothing in multicoordinated
/// rounds, and does not hear of p1's command.
fn collision_of_three() -> Configuration<Multicoordinated> {
    let about = "three interfering commands, and two of three coordinators are a quorum";
    let mut collision = like(conflict(MULTI), "collision-of-three", about);
    collision.asks.push((P2, command(2)));
    collision.setup.lost = tell_p0_of_a_collision;
    collision
}

fn collision_leader() -> Configuration<Multicoordinated> {
    let about = "as `collision-multi`, and the leader begins the next round";
    let mut collision = like(collision(), "collision-leader", about);
    collision.setup.options.recovery = Recovery::Leader;
    collision
}

fn leader() -> Configuration<Multicoordinated> {
    let about = "as `conflict-fast`, and the leader begins the round after a collision";
    let mut leader = like(conflict(FAST), "leader-fast", about);
    leader.setup.options.recovery = Recovery::Leader;
    leader
}

/// All of it would be too large: p2 hears of no votes, so that it sees no collision.
fn uncoordinated() -> Configuration<Multicoordinated> {
    let about = "as `conflict-fast`, and a collision leads to an uncoordinated round of two";
    let mut uncoordinated = like(conflict(FAST), "uncoordinated-fast", about);
    uncoordinated.setup.options.recovery = Recovery::Uncoordinated;
    uncoordinated.setup.lost = tell_p0_and_p1;
    uncoordinated
}

fn check(kind: Kind) -> Configuration<Multicoordinated> {
    let about = "one command, and the leader begins another round meanwhile";
    let mut check = base("check", kind, about);
    checks(&mut check, P0);
    check.setup.lost = tell_p0;
    check
}

fn check_both() -> Configuration<Multicoordinated> {
    let about = "two interfering commands, and the leader begins another round meanwhile";
    let mut check = like(check(SINGLE), "check-both-single", about);
    check.asks.push((P1, command(1)));
    check
}

fn takeover(kind: Kind) -> Configuration<Multicoordinated> {
    let mut takeover = base("takeover", kind, "another comes to lead while a command is under way");
    takes_over(&mut takeover);
    takeover.setup.lost = tell_p1;
    takeover
}

/// All of it would be too large: p0 and p1 do not hear each other.
fn takeover_both(kind: Kind) -> Configuration<Multicoordinated> {
    let about = "as `takeover`, and who comes to lead has an interfering command";
    let mut takeover = takeover(kind);
    takeover.name = format!("takeover-both-{}", kind.1);
    takeover.about = about;
    takeover.asks.push((P1, command(1)));
    takeover.setup.cut = vec![(P0, P1), (P1, P0)];
    takeover
}

/// It was enough if p2 had restarted.
fn anew(kind: Kind) -> Configuration<Multicoordinated> {
    let about = "the leader hears of a higher MCount while a command is under way, and begins anew";
    let mut anew = base("anew", kind, about);
    anew.asks = vec![(P1, command(1))];
    hears_of_a_higher_mcount(&mut anew);
    anew.setup.lost = tell_p0_of_two;
    two_coordinate(&mut anew);
    anew
}

/// All of it would be too large: of the instance before nothing is said, and p2 alone hears of votes.
fn late() -> Configuration<Multicoordinated> {
    let about = "as `anew-multi` of three coordinators, one of which asks for promises itself";
    let mut late = like(anew(MULTI), "late-multi", about);
    late.asks = vec![(P0, command(0))];
    late.setup.options.coordinators = Vec::new();
    checks(&mut late, P2);
    late.setup.lost = of_the_next_instance;
    late
}

fn replaced() -> Configuration<Multicoordinated> {
    let about = "as `takeover-both-multi`, and who comes to lead does not coordinate";
    let mut replaced = like(takeover_both(MULTI), "replaced-multi", about);
    replaced.setup.options.coordinators = vec![0, 2];
    replaced
}

fn coordinator_crashes() -> Configuration<Multicoordinated> {
    let about = "one of three coordinators crashes at any edge of its log, and the round goes on";
    let mut crash = like(base("", MULTI, about), "coordinator-crashes", about);
    crash.crashes = vec![P2];
    crash.setup.lost = tell_p0;
    crash
}

/// All of it would be too large: p2 does not hear p1.
fn coordinator_crashes_both() -> Configuration<Multicoordinated> {
    let about = "as `coordinator-crashes`, with two interfering commands";
    let mut crash = like(coordinator_crashes(), "coordinator-crashes-both", about);
    crash.asks.push((P1, command(1)));
    crash.setup.cut = vec![(P1, P2)];
    crash
}

/// p2 says nothing as an acceptor.
fn silent() -> Configuration<Multicoordinated> {
    let about = "no fast quorum without one that is silent, until the leader comes to suspect it";
    let mut silent = base("silent", FAST, about);
    silent.asks = vec![(P1, command(1))];
    silent.setup.lost = of_p2;
    silent.completes = true;
    suspects_p2(&mut silent);
    silent
}

fn balance() -> Configuration<Multicoordinated> {
    let about = "a command goes to a quorum, later to all, and the leader begins another round";
    let mut balance = like(check(MULTI), "balance-multi", about);
    balance.setup.options.balance = true;
    balance
}

fn duel(kind: Kind) -> Configuration<Multicoordinated> {
    let about = "as `takeover`, and the leader, which does not hear of the other, begins another round, too";
    let mut duel = takeover(kind);
    duel.name = format!("duel-{}", kind.1);
    duel.about = about;
    checks(&mut duel, P0);
    duel.setup.cut = vec![(P0, P1), (P1, P0)];
    duel.setup.lost = of_later_instances;
    duel
}

fn repeated(kind: Kind) -> Configuration<Multicoordinated> {
    let about = "one command, and the network delivers any one message twice";
    let mut repeated = base("repeated", kind, about);
    repeated.repetitions = 1;
    repeated
}

fn repeated_both(kind: Kind) -> Configuration<Multicoordinated> {
    let about = "two interfering commands, and the network delivers any one message twice";
    let mut repeated = conflict(kind);
    repeated.name = format!("repeated-both-{}", kind.1);
    repeated.about = about;
    repeated.repetitions = 1;
    two_coordinate(&mut repeated);
    repeated
}

/// Three would make it too large.
fn two_coordinate(model: &mut Configuration<Multicoordinated>) {
    model.setup.options.coordinators = vec![0, 1];
}

fn acceptor_crashes(kind: Kind) -> Configuration<Multicoordinated> {
    let about = "one that does not lead crashes at any edge of its log, and the leader begins another round";
    let mut crash = base("acceptor-crashes", kind, about);
    crash.crashes = vec![P2];
    crash.setup.slow_disks = vec![P2];
    checks(&mut crash, P0);
    crash.setup.lost = tell_p0;
    two_coordinate(&mut crash);
    crash
}

/// Of multicoordinated rounds all of it would be too large: p1 does not coordinate, and does not hear p0.
fn leader_crashes(kind: Kind) -> Configuration<Multicoordinated> {
    let about = "the leader crashes at any edge of its log, and another comes to lead";
    let mut crash = base("leader-crashes", kind, about);
    crash.crashes = vec![P0];
    crash.setup.slow_disks = vec![P0];
    takes_over(&mut crash);
    crash.setup.lost = tell_p1;
    if kind == MULTI {
        crash.setup.options.coordinators = vec![0, 2];
        crash.setup.cut = vec![(P0, P1)];
    }
    crash
}

/// 2b messages go to p0 only, and nothing is said of later instances.
fn tell_p0(from: NodeId, to: NodeId, message: &MulticoordinatedMessage) -> bool {
    is_2b(message) && to != P0 || of_later_instances(from, to, message)
}

fn tell_p1(from: NodeId, to: NodeId, message: &MulticoordinatedMessage) -> bool {
    is_2b(message) && to != P1 || of_later_instances(from, to, message)
}

fn is_2b(message: &MulticoordinatedMessage) -> bool {
    let is_prefix = matches!(message, MulticoordinatedMessage::Phase2bPrefix { .. });
    is_prefix || matches!(message, MulticoordinatedMessage::Phase2b { .. })
}

fn tell_p0_of_two(from: NodeId, to: NodeId, message: &MulticoordinatedMessage) -> bool {
    is_2b(message) && to != P0 || of_instances_after_two(from, to, message)
}

fn tell_p0_and_p1(from: NodeId, to: NodeId, message: &MulticoordinatedMessage) -> bool {
    let is_of_p2 = to == P2 && (is_2b(message) || is_1b(message));
    is_of_p2 || of_later_instances(from, to, message)
}

fn tell_p0_of_a_collision(from: NodeId, to: NodeId, message: &MulticoordinatedMessage) -> bool {
    let is_of_p1 = from == P1 && matches!(message, MulticoordinatedMessage::Propose { .. });
    let is_multi = matches!(message, MulticoordinatedMessage::Phase2a { round, .. } if round.kind == RType::Multi);
    let is_too_low = matches!(message, MulticoordinatedMessage::TooLow { .. });
    to == P2 && (is_of_p1 || is_multi) || is_too_low || tell_p0(from, to, message)
}

fn of_the_next_instance(from: NodeId, to: NodeId, message: &MulticoordinatedMessage) -> bool {
    is_2b(message) && to != P2
        || of_instances_after_two(from, to, message)
        || !of_later_instances(from, to, message)
}

fn of_p2(from: NodeId, _: NodeId, message: &MulticoordinatedMessage) -> bool {
    from == P2 && (is_2b(message) || is_1b(message))
}

fn is_1b(message: &MulticoordinatedMessage) -> bool {
    matches!(message, MulticoordinatedMessage::Phase1b { .. })
}

fn of_later_instances(_: NodeId, _: NodeId, message: &MulticoordinatedMessage) -> bool {
    is_after(LOOKED_AT, message)
}

fn of_instances_after_two(_: NodeId, _: NodeId, message: &MulticoordinatedMessage) -> bool {
    is_after(LOOKED_AT + 1, message)
}

fn is_after(last: u64, message: &MulticoordinatedMessage) -> bool {
    match message {
        MulticoordinatedMessage::Propose { instance, .. }
        | MulticoordinatedMessage::Phase1a { instance, .. }
        | MulticoordinatedMessage::Phase1b { instance, .. }
        | MulticoordinatedMessage::Phase2a { instance, .. }
        | MulticoordinatedMessage::Phase2aAny { instance, .. }
        | MulticoordinatedMessage::Phase2bPrefix { instance, .. }
        | MulticoordinatedMessage::Phase2b { instance, .. } => *instance > last,
        _ => false,
    }
}

/// The check timer runs out, and nobody has any patience.
fn checks(model: &mut Configuration<Multicoordinated>, node: NodeId) {
    model.setup.options.fallback_ms = 0;
    model.nudges.push(Nudge {
        name: "looks for what is late",
        node,
        after: Duration::ZERO,
        inputs: vec![Given::Timer(MulticoordinatedTimer::Check)],
        times: 1,
    });
}

/// p1 hears nothing of p0 for longer than its patience, but a heartbeat of p2: the first that p2 ever sent, late. Then
/// it looks for what is late, if only because another has led so far.
fn takes_over(model: &mut Configuration<Multicoordinated>) {
    let message = MulticoordinatedMessage::Heartbeat {
        life: 1,
        major: 1,
        hears_majority: true,
        executed_below: 0,
        standing: (Round::first_of(1), 0),
        open: Vec::new(),
    };
    let timeout_ms = model.setup.options.election_timeout_ms;
    model.setup.options.fallback_ms = 0;
    model.nudges.push(Nudge {
        name: "suspects p0, and leads",
        node: P1,
        after: Duration::from_millis(timeout_ms + 1),
        inputs: vec![
            Given::Message { from: P2, message },
            Given::Timer(MulticoordinatedTimer::Heartbeat),
            Given::Timer(MulticoordinatedTimer::Check),
        ],
        times: 1,
    });
}

/// p0 hears that p2 is at a higher *MCount*.
fn hears_of_a_higher_mcount(model: &mut Configuration<Multicoordinated>) {
    let message = MulticoordinatedMessage::TooLow {
        round: Round::single(1, 1, P0),
        instance: 0,
        rnd: Round::first_of(2),
    };
    model.nudges.push(Nudge {
        name: "hears of a higher MCount",
        node: P0,
        after: Duration::ZERO,
        inputs: vec![Given::Message { from: P2, message }],
        times: 1,
    });
}

/// p0 hears nothing of p2 for longer than its patience, but a heartbeat of p1: the first that p1 ever sent, late.
fn suspects_p2(model: &mut Configuration<Multicoordinated>) {
    let message = MulticoordinatedMessage::Heartbeat {
        life: 1,
        major: 1,
        hears_majority: true,
        executed_below: 0,
        standing: (Round::first_of(1), 0),
        open: Vec::new(),
    };
    let timeout_ms = model.setup.options.election_timeout_ms;
    model.setup.options.fallback_ms = 0;
    model.nudges.push(Nudge {
        name: "suspects p2",
        node: P0,
        after: Duration::from_millis(timeout_ms + 1),
        inputs: vec![
            Given::Message { from: P1, message },
            Given::Timer(MulticoordinatedTimer::Heartbeat),
            Given::Timer(MulticoordinatedTimer::Check),
        ],
        times: 1,
    });
}
