//! The configurations of `multicoordinated`: three replicas, of which p0 leads. By the time the start is over, the
//! rounds of each configuration's kind stand, and nothing is proposed. Where they are not single-coordinated ones, the
//! first instance, in which the leader began, is closed, and the next one is what is looked at.
//!
//! The commands interfere. Without failures and timers, two of them collide or do not, as they arrive.
//!
//! Timers: the check timer, where the leader is to look for what is late. Time stands still, and nobody has any
//! patience, so it begins another round for every instance in which something is under way, and repeats what is not
//! answered; and the heartbeat timer where another comes to lead.
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

use super::{Configuration, Given, Modelled, Nudge, Setup, command, none};
use crate::check::invariants::multicoordinated::MulticoordinatedInvariants;
use crate::command::NodeId;
use crate::protocol::Cluster;
use crate::protocol::multicoordinated::Multicoordinated;
use crate::protocol::multicoordinated::message::{MulticoordinatedMessage, MulticoordinatedTimer};
use crate::protocol::multicoordinated::options::{MulticoordinatedOptions, Recovery, Rounds};
use crate::protocol::multicoordinated::round::Round;

const SIZE: u8 = 3;
const P0: NodeId = NodeId(0);
const P1: NodeId = NodeId(1);
const P2: NodeId = NodeId(2);

/// The instance that is looked at, where rounds are not single-coordinated.
const LOOKED_AT: u64 = 1;

/// The rounds that stand, as the experiment file calls them.
const KINDS: [(Rounds, &str); 3] =
    [(Rounds::Single, "single"), (Rounds::Multi, "multi"), (Rounds::Fast, "fast")];

impl Modelled for Multicoordinated {
    type Invariants = MulticoordinatedInvariants;

    fn configurations() -> Vec<Configuration<Self>> {
        let mut all = Vec::new();
        for kind in KINDS {
            all.extend([
                solo(kind),
                conflict(kind),
                check(kind),
                check_both(kind),
                takeover(kind),
                duel(kind),
                repeated(kind),
            ]);
            all.extend([acceptor_crashes(kind), leader_crashes(kind)]);
        }
        all.extend([collision(), collision_leader(), uncoordinated(), leader()]);
        all
    }

    /// Heartbeats say that their sender is up, and how far it is. The nudges say the first.
    fn is_left_out(message: &MulticoordinatedMessage) -> bool {
        matches!(message, MulticoordinatedMessage::Heartbeat { .. })
    }

    /// Nothing depends on what is one in memory.
    fn hash_sharing(&self, _: &mut impl Hasher) {}

    fn ignores_for_ever(&self, _: NodeId, _: &MulticoordinatedMessage) -> bool {
        false
    }
}

type Kind = (Rounds, &'static str);

/// What all configurations have in common.
fn base(name: &str, (rounds, word): Kind, about: &'static str) -> Configuration<Multicoordinated> {
    let options = MulticoordinatedOptions {
        rounds,
        fallback_ms: 0,
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

fn collision() -> Configuration<Multicoordinated> {
    let about = "two interfering commands, and both of two coordinators are a quorum";
    let mut collision = like(conflict(KINDS[1]), "collision-multi", about);
    collision.setup.options.coordinators = vec![0, 1];
    collision
}

fn collision_leader() -> Configuration<Multicoordinated> {
    let about = "as `collision-multi`, and the leader begins the next round";
    let mut collision = like(collision(), "collision-leader", about);
    collision.setup.options.recovery = Recovery::Leader;
    collision
}

fn uncoordinated() -> Configuration<Multicoordinated> {
    let about = "as `conflict-fast`, and a collision leads to an uncoordinated round";
    let mut uncoordinated = like(conflict(KINDS[2]), "uncoordinated-fast", about);
    uncoordinated.setup.options.recovery = Recovery::Uncoordinated;
    uncoordinated
}

fn leader() -> Configuration<Multicoordinated> {
    let about = "as `conflict-fast`, and the leader begins the round after a collision";
    let mut leader = like(conflict(KINDS[2]), "leader-fast", about);
    leader.setup.options.recovery = Recovery::Leader;
    leader
}

fn check(kind: Kind) -> Configuration<Multicoordinated> {
    let about = "one command, and the leader begins another round meanwhile";
    let mut check = base("check", kind, about);
    check.nudges = vec![checks(P0)];
    check.setup.lost = tell_p0;
    check
}

fn check_both(kind: Kind) -> Configuration<Multicoordinated> {
    let about = "two interfering commands, and the leader begins another round meanwhile";
    let mut check = check(kind);
    check.name = format!("check-both-{}", kind.1);
    check.about = about;
    check.asks.push((P1, command(1)));
    check
}

fn takeover(kind: Kind) -> Configuration<Multicoordinated> {
    let mut takeover = base("takeover", kind, "another comes to lead while a command is under way");
    takeover.nudges = vec![takes_over()];
    takeover.setup.lost = tell_p1;
    takeover
}

fn duel(kind: Kind) -> Configuration<Multicoordinated> {
    let about = "as `takeover`, and the leader, which does not hear of the other, begins another round, too";
    let mut duel = takeover(kind);
    duel.name = format!("duel-{}", kind.1);
    duel.about = about;
    duel.nudges.push(checks(P0));
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

fn acceptor_crashes(kind: Kind) -> Configuration<Multicoordinated> {
    let about = "one that does not lead crashes at any edge of its log, and the leader begins another round";
    let mut crash = base("acceptor-crashes", kind, about);
    crash.crashes = vec![P2];
    crash.setup.slow_disks = vec![P2];
    crash.nudges = vec![checks(P0)];
    crash.setup.lost = tell_p0;
    crash
}

fn leader_crashes(kind: Kind) -> Configuration<Multicoordinated> {
    let about = "the leader crashes at any edge of its log, and another comes to lead";
    let mut crash = base("leader-crashes", kind, about);
    crash.crashes = vec![P0];
    crash.setup.slow_disks = vec![P0];
    crash.nudges = vec![takes_over()];
    crash.setup.lost = tell_p1;
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

fn of_later_instances(_: NodeId, _: NodeId, message: &MulticoordinatedMessage) -> bool {
    match message {
        MulticoordinatedMessage::Propose { instance, .. }
        | MulticoordinatedMessage::Phase1a { instance, .. }
        | MulticoordinatedMessage::Phase1b { instance, .. }
        | MulticoordinatedMessage::Phase2a { instance, .. }
        | MulticoordinatedMessage::Phase2aAny { instance, .. }
        | MulticoordinatedMessage::Phase2bPrefix { instance, .. }
        | MulticoordinatedMessage::Phase2b { instance, .. } => *instance > LOOKED_AT,
        _ => false,
    }
}

fn checks(node: NodeId) -> Nudge<Multicoordinated> {
    Nudge {
        name: "looks for what is late",
        node,
        after: Duration::ZERO,
        inputs: vec![Given::Timer(MulticoordinatedTimer::Check)],
        times: 1,
    }
}

/// p1 hears nothing of p0 for longer than its patience, but a heartbeat of p2: the first that p2 ever sent, late. Then
/// it looks for what is late, if only because another has led so far.
fn takes_over() -> Nudge<Multicoordinated> {
    let message = MulticoordinatedMessage::Heartbeat {
        life: 1,
        major: 1,
        hears_majority: true,
        executed_below: 0,
        standing: (Round::first_of(1), 0),
        open: Vec::new(),
    };
    let timeout_ms = MulticoordinatedOptions::default().election_timeout_ms;
    Nudge {
        name: "suspects p0, and leads",
        node: P1,
        after: Duration::from_millis(timeout_ms + 1),
        inputs: vec![
            Given::Message { from: P2, message },
            Given::Timer(MulticoordinatedTimer::Heartbeat),
            Given::Timer(MulticoordinatedTimer::Check),
        ],
        times: 1,
    }
}
