//! The configurations of `paxos`: three processes, of which p0 leads and has led for a while.
//!
//! One consensus instance at a time (`pipeline` 1), so that commands compete for it. In `regular` and
//! `fall` a new leader proposes nothing first, in the next instance, and that competes with what its
//! predecessor has written there; in `multi` a command that the new leader is asked for does.
//!
//! Timers: the heartbeat timer where a process comes to suspect another, the propose timer after an
//! abort. Never: the retransmit timer, as nothing is lost for good, and what it repeats changes a
//! register once.

use std::hash::Hasher;
use std::time::Duration;

use super::{Configuration, Given, Modelled, Nudge, Setup, command, none};
use crate::check::invariants::paxos::PaxosInvariants;
use crate::command::NodeId;
use crate::protocol::Cluster;
use crate::protocol::paxos::message::{PaxosMessage, PaxosTimer};
use crate::protocol::paxos::{Paxos, PaxosOptions, Variant};

const SIZE: u8 = 3;
const LEADER: NodeId = NodeId(0);
const SECOND: NodeId = NodeId(1);
const THIRD: NodeId = NodeId(2);

impl Modelled for Paxos {
    type Invariants = PaxosInvariants;

    fn configurations() -> Vec<Configuration<Self>> {
        let each = |variant| {
            let (stable, takeover) = (stable(variant), takeover(variant));
            [stable, takeover, duel(variant), leader_crashes(variant), follower_crashes(variant)]
        };
        let mut all: Vec<_> =
            [Variant::Regular, Variant::Fall, Variant::Multi].into_iter().flat_map(each).collect();
        all.push(repetition());
        all.push(state_transfer());
        all
    }

    /// Heartbeats say that their sender is up, and how far it is. The nudges say the first.
    fn is_left_out(message: &PaxosMessage) -> bool {
        matches!(message, PaxosMessage::Heartbeat { .. })
    }

    fn hash_sharing(&self, state: &mut impl Hasher) {
        Paxos::hash_sharing(self, state);
    }

    fn ignores_for_ever(&self, from: NodeId, message: &PaxosMessage) -> bool {
        Paxos::ignores_for_ever(self, from, message)
    }
}

/// What all configurations have in common.
fn base(kind: &str, variant: Variant, about: &'static str) -> Configuration<Paxos> {
    let word = match variant {
        Variant::Regular => "regular",
        Variant::Fall => "fall",
        Variant::Multi => "multi",
    };
    let options = PaxosOptions { variant, pipeline: 1, ..PaxosOptions::default() };
    let cluster = Cluster::of(SIZE);
    Configuration {
        name: format!("{kind}-{word}"),
        about,
        setup: Setup { cluster, options, slow_disks: Vec::new(), cut: Vec::new(), lost: none },
        settled: true,
        before: Vec::new(),
        asks: Vec::new(),
        nudges: Vec::new(),
        crashes: Vec::new(),
        repetitions: 0,
        completes: false,
    }
}

fn stable(variant: Variant) -> Configuration<Paxos> {
    Configuration {
        asks: vec![(LEADER, command(0)), (SECOND, command(1))],
        completes: true,
        ..base("stable", variant, "nobody is suspected, and clients of two processes ask")
    }
}

fn repetition() -> Configuration<Paxos> {
    let about = "nobody is suspected, and the network delivers any two messages twice";
    let mut repetition = Configuration { about, repetitions: 2, ..stable(Variant::Multi) };
    repetition.name = repetition.name.replace("stable", "repetition");
    repetition
}

fn takeover(variant: Variant) -> Configuration<Paxos> {
    let about = "another process leads, while the leader's value is written here and there";
    let mut takeover = base("takeover", variant, about);
    takeover.asks.push((LEADER, command(0)));
    takeover.nudges.push(takes_over());
    match variant {
        Variant::Multi => takeover.nudges[0].inputs.push(Given::Asked(command(1))),
        // The rest sends more, and would be too large: the old leader hears nothing of the new one, or
        // the new one nothing of the old one.
        Variant::Regular => takeover.setup.cut.push((SECOND, LEADER)),
        Variant::Fall => takeover.setup.cut.push((LEADER, SECOND)),
    }
    takeover
}

/// The leader and the one that takes over; in the variants that read each instance, and so send more,
/// neither hears the other.
fn rivals(kind: &str, variant: Variant, about: &'static str) -> Configuration<Paxos> {
    let mut rivals = base(kind, variant, about);
    rivals.asks.push((LEADER, command(0)));
    rivals.nudges.push(takes_over());
    if variant != Variant::Multi {
        rivals.setup.cut = vec![(LEADER, SECOND), (SECOND, LEADER)];
    }
    rivals
}

fn duel(variant: Variant) -> Configuration<Paxos> {
    let about = "the leader that was taken over proposes again, in a higher round";
    let mut duel = rivals("duel", variant, about);
    duel.nudges.push(Nudge {
        name: "proposes again",
        node: LEADER,
        after: Duration::from_millis(2 * PaxosOptions::default().heartbeat_ms),
        inputs: vec![Given::Timer(PaxosTimer::Propose)],
        times: 1,
    });
    duel
}

fn leader_crashes(variant: Variant) -> Configuration<Paxos> {
    let about = "the leader crashes at any edge of its log, and another leads";
    let mut crashes = rivals("leader-crashes", variant, about);
    crashes.crashes.push(LEADER);
    crashes.setup.slow_disks.push(LEADER);
    crashes
}

fn follower_crashes(variant: Variant) -> Configuration<Paxos> {
    let about = "the process that both leaders need crashes at any edge of its log";
    let mut crashes = rivals("follower-crashes", variant, about);
    crashes.crashes.push(THIRD);
    crashes.setup.slow_disks.push(THIRD);
    crashes
}

/// The logs are so short that who lags is sent the state; it crashes at any edge of taking it in.
fn state_transfer() -> Configuration<Paxos> {
    let nudge = |name, node, timer| {
        let after = Duration::from_millis(PaxosOptions::default().heartbeat_ms);
        Nudge { name, node, after, inputs: vec![Given::Timer(timer)], times: 1 }
    };
    let about = "the logs are so short that who lags is sent the state, and crashes with it";
    let mut transfer = base("state-transfer", Variant::Multi, about);
    transfer.setup.options.log_instances_max = 0;
    transfer.asks.push((LEADER, command(0)));
    transfer.nudges.push(nudge("truncates its log", LEADER, PaxosTimer::Heartbeat));
    transfer.nudges.push(nudge("asks for what it misses", THIRD, PaxosTimer::CatchUp));
    transfer.crashes.push(THIRD);
    transfer.setup.slow_disks.push(THIRD);
    transfer
}

/// p1 hears nothing of p0 for longer than its patience, but a heartbeat of p2: the first that p2 ever
/// sent, late.
fn takes_over() -> Nudge<Paxos> {
    let (next_batch, written_below) = (0, 0);
    let message =
        PaxosMessage::Heartbeat { epoch: 1, next_batch, written_below, hears_majority: true };
    Nudge {
        name: "suspects p0, and leads",
        node: SECOND,
        after: Duration::from_millis(PaxosOptions::default().election_timeout_ms + 1),
        inputs: vec![Given::Message { from: THIRD, message }, Given::Timer(PaxosTimer::Heartbeat)],
        times: 1,
    }
}
