//! The configurations of `caspaxos`: one register, at two or three acceptors; p0 and p1 propose.
//!
//! Timers: where two propose, the one that waits after a loss tries again; and where answers are lost, a proposer
//! gives up what it has waited for too long. Time stands still, and nobody has any patience. Repair and removal
//! take place where the configuration says so.
//!
//! A replica that crashes for good is one whose messages are all lost from some moment on, which every
//! configuration allows for. Who crashes comes back at once, and its clients do not ask again.

use std::hash::Hasher;
use std::time::Duration;

use super::{Configuration, Given, KEY, Modelled, Nudge, Setup, command, command_to};
use crate::check::invariants::caspaxos::CaspaxosInvariants;
use crate::command::{NodeId, Operation};
use crate::protocol::Cluster;
use crate::protocol::caspaxos::message::{CaspaxosMessage, Part};
use crate::protocol::caspaxos::options::{CaspaxosOptions, Reads};
use crate::protocol::caspaxos::registers::bucket_of;
use crate::protocol::caspaxos::{Caspaxos, CaspaxosTimer};

const P0: NodeId = NodeId(0);
const P1: NodeId = NodeId(1);
const P2: NodeId = NodeId(2);
const P3: NodeId = NodeId(3);

impl Modelled for Caspaxos {
    const NUMBERS_WRITES: bool = false;

    type Invariants = CaspaxosInvariants;

    fn configurations() -> Vec<Configuration<Self>> {
        vec![
            solo(), duel(), plain(duel()), promised(), unknown(), plain(unknown()), proposer_crashes(), acceptor_crashes(),
            removal(), read(), reads(), copies(),
            members("grow-1", 1, 1, &[0, 1]),
            members("grow-2", 2, 1, &[0, 1, 2]),
            members("replace-2", 2, 1, &[0, 2]),
        ]
    }

    /// To compare is to find out who lags: the nudges say it.
    fn is_left_out(message: &CaspaxosMessage) -> bool {
        matches!(message, CaspaxosMessage::Compare { .. } | CaspaxosMessage::Digests { .. })
    }

    /// Nothing depends on what is one in memory.
    fn hash_sharing(&self, _: &mut impl Hasher) {}

    fn ignores_for_ever(&self, from: NodeId, message: &CaspaxosMessage) -> bool {
        Caspaxos::ignores_for_ever(self, from, message)
    }
}

/// What all configurations have in common.
fn base(name: &str, about: &'static str) -> Configuration<Caspaxos> {
    let options = CaspaxosOptions { resend_ms: 0, collect_ms: 0, ..CaspaxosOptions::default() };
    Configuration {
        name: name.to_owned(),
        about,
        setup: Setup { cluster: Cluster::of(3), options, slow_disks: Vec::new(), cut: Vec::new() },
        settled: true,
        before: Vec::new(),
        asks: Vec::new(),
        nudges: Vec::new(),
        crashes: Vec::new(),
        repetitions: 0,
        completes: false,
    }
}

fn solo() -> Configuration<Caspaxos> {
    let mut solo = base("solo", "one proposer, two commands");
    solo.asks = vec![(P0, command(0)), (P0, command(1))];
    solo.completes = true;
    solo
}

fn duel() -> Configuration<Caspaxos> {
    let mut duel = base("duel", "two proposers change one register");
    duel.asks = vec![(P0, command(0)), (P1, command(1))];
    duel.nudges = vec![tries(P0, 1), tries(P1, 1)];
    duel
}

/// No Accept brings the next Prepare.
fn plain(like: Configuration<Caspaxos>) -> Configuration<Caspaxos> {
    let mut plain = Configuration { name: format!("plain-{}", like.name), ..like };
    plain.setup.options.one_round_trip = false;
    plain
}

fn promised() -> Configuration<Caspaxos> {
    let about = "as `duel`, and one has the promises for its next ballot";
    let mut promised = Configuration { name: "promised".to_owned(), about, ..duel() };
    promised.before = vec![(P0, Given::Asked(command(2)))];
    promised
}

fn unknown() -> Configuration<Caspaxos> {
    let about = "a proposer gives up its attempt, and tries again";
    let mut unknown = Configuration { name: "unknown".to_owned(), about, ..duel() };
    unknown.nudges = vec![timer("gives up", P0, CaspaxosTimer::Resend, 1), tries(P0, 2)];
    unknown
}

fn proposer_crashes() -> Configuration<Caspaxos> {
    let mut crash = base("proposer-crashes", "a proposer crashes at any edge of its log");
    crash.before = vec![(P0, Given::Asked(command(2)))];
    crash.asks = vec![(P0, command(0)), (P1, command(1))];
    crash.crashes = vec![P0];
    crash.setup.slow_disks = vec![P0];
    crash.nudges = vec![tries(P1, 1)];
    crash
}

fn acceptor_crashes() -> Configuration<Caspaxos> {
    let mut crash = base("acceptor-crashes", "an acceptor crashes at any edge of its log");
    crash.asks = vec![(P0, command(0)), (P1, command(1))];
    crash.crashes = vec![P2];
    crash.setup.slow_disks = vec![P2];
    crash.setup.cut = vec![(P0, P1), (P1, P0)];
    crash
}

fn removal() -> Configuration<Caspaxos> {
    let mut removal = base("removal", "a deleted register is removed while another writes it");
    removal.setup.options.collect_ms = 1;
    removal.before = vec![(P0, Given::Asked(command_to(2, Operation::Delete { key: KEY })))];
    removal.asks = vec![(P1, command(1)), (P0, command(0))];
    removal.nudges = vec![collects(P0)];
    removal
}

fn read() -> Configuration<Caspaxos> {
    let mut read = base("read", "a read that writes nothing, while another writes");
    read.setup.options.reads = Reads::Clean;
    read.asks = vec![(P0, command(0)), (P1, command_to(1, Operation::Get { key: KEY }))];
    read
}

fn reads() -> Configuration<Caspaxos> {
    let mut reads = Configuration { name: "reads".to_owned(), ..read() };
    reads.asks.push((P2, command_to(2, Operation::Get { key: KEY })));
    reads
}

fn copies() -> Configuration<Caspaxos> {
    let mut copies = base("copies", "who holds a copy is asked to accept it");
    copies.asks = vec![(P0, command(0)), (P0, command(2)), (P1, command(1))];
    copies.setup.cut = vec![(P0, P1), (P1, P0)];
    copies.nudges = vec![pulls(P2, P0)];
    copies
}

fn members(name: &str, members: u8, spares: u8, goal: &[u8]) -> Configuration<Caspaxos> {
    let mut change = base(name, "members change while one writes");
    change.setup.cluster = Cluster { size: members + spares, spares };
    let wanted = goal.iter().map(|node| NodeId(*node)).collect();
    change.nudges = vec![Nudge {
        name: "an operator wants other members",
        node: P0,
        after: Duration::ZERO,
        inputs: vec![Given::Members(wanted)],
        times: 1,
    }];
    change.asks = vec![(NodeId(members - 1), command(1))];
    let _ = P3;
    change
}

/// Another asks for what a replica holds, to repair what it lacks.
fn pulls(puller: NodeId, from: NodeId) -> Nudge<Caspaxos> {
    let part = Part::Buckets(vec![bucket_of(KEY) as u16]);
    let message = CaspaxosMessage::Pull { removals: 0, epoch: 0, part };
    Nudge {
        name: "is asked for copies",
        node: from,
        after: Duration::ZERO,
        inputs: vec![Given::Message { from: puller, message }],
        times: 1,
    }
}

/// Twice: what was not touched in between is removed.
fn collects(node: NodeId) -> Nudge<Caspaxos> {
    let look = || Given::Timer(CaspaxosTimer::Collect);
    Nudge {
        name: "looks for what is deleted",
        node,
        after: Duration::ZERO,
        inputs: vec![look(), look()],
        times: 1,
    }
}

fn tries(node: NodeId, times: u8) -> Nudge<Caspaxos> {
    timer("tries again", node, CaspaxosTimer::Backoff, times)
}

fn timer(name: &'static str, node: NodeId, timer: CaspaxosTimer, times: u8) -> Nudge<Caspaxos> {
    Nudge { name, node, after: Duration::ZERO, inputs: vec![Given::Timer(timer)], times }
}

// SCRATCH
#[cfg(test)]
pub(super) fn parse(spec: &str) -> Configuration<Caspaxos> {
    let mut c = base(spec, "scratch");
    let node = |s: &str| NodeId(s.parse().unwrap());
    let cmd = |s: &str| {
        let client: u64 = s[2..].parse().unwrap();
        let op = match &s[1..2] {
            "r" => command(client),
            "d" => command_to(client, Operation::Delete { key: KEY }),
            "g" => command_to(client, Operation::Get { key: KEY }),
            _ => panic!(),
        };
        (node(&s[..1]), op)
    };
    for part in spec.split_whitespace() {
        let (k, v) = part.split_once('=').unwrap_or((part, ""));
        match k {
            "cluster" => c.setup.cluster = Cluster { size: v[..1].parse().unwrap(), spares: v[1..].parse().unwrap() },
            "plain" => c.setup.options.one_round_trip = false,
            "clean" => c.setup.options.reads = Reads::Clean,
            "collect" => c.setup.options.collect_ms = 1,
            "before" => for b in v.split(',') {
                if let Some(x) = b.strip_prefix('M') {
                    c.before.push((node(&x[..1]), Given::Members(x[1..].chars().map(|c| NodeId(c as u8 - 48)).collect())));
                } else if let Some(x) = b.strip_prefix('C') {
                    c.before.push((node(&x[..1]), Given::Timer(CaspaxosTimer::Collect)));
                } else { let (n, o) = cmd(b); c.before.push((n, Given::Asked(o))); }
            },
            "asks" => c.asks = v.split(',').map(cmd).collect(),
            "cut" => c.setup.cut = v.split(',').map(|l| (node(&l[..1]), node(&l[1..]))).collect(),
            "crash" => c.crashes = v.split(',').map(node).collect(),
            "slow" => c.setup.slow_disks = v.split(',').map(node).collect(),
            "rep" => c.repetitions = v.parse().unwrap(),
            "completes" => c.completes = true,
            "nudges" => for n in v.split(',') {
                let who = node(&n[1..2]);
                let times = || n[2..].parse().unwrap();
                c.nudges.push(match &n[..1] {
                    "B" => tries(who, times()),
                    "R" => timer("gives up", who, CaspaxosTimer::Resend, times()),
                    "T" => timer("goes on", who, CaspaxosTimer::Change, times()),
                    "L" => timer("looks once", who, CaspaxosTimer::Collect, times()),
                    "C" => Nudge { times: times(), ..collects(who) },
                    "P" => pulls(who, node(&n[2..3])),
                    "M" => Nudge { inputs: vec![Given::Members(n[2..].chars().map(|c| NodeId(c as u8 - 48)).collect())], ..timer("wants", who, CaspaxosTimer::Change, 1) },
                    _ => panic!(),
                });
            },
            _ => panic!("{part}"),
        }
    }
    c
}
