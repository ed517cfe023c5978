//! The configurations of `epaxos`: three replicas in a ring, each with the next one in its fast quorum.
//!
//! The commands interfere, so that the order in which a replica hears of them shows in what it votes for.
//! p0 owns the first one; its fast quorum is p0 and p1. p2 learns of it by its commit, or by recovery.
//!
//! Timers: the check timer, where a replica is to look for what is late. Time stands still, and nobody has
//! any patience, so a check finds everything late: it recovers what this replica knows of and does not
//! lead, and asks everybody about what it leads. All times are 0 then, and tell no states apart. Never: the
//! heartbeat timer. Nobody is suspected, and nothing is forgotten.
//!
//! A replica that crashes for good is one whose messages are all lost from some moment on, which every
//! configuration allows for; `restart` and `return` have one that comes back.
//!
//! In `join`, `leave`, `quit` and `orphan` there is a fourth, p3, which may join in p0's place (§5.5).

use std::hash::Hasher;
use std::time::Duration;

use super::{Configuration, Given, Modelled, Nudge, Setup, command, none};
use crate::check::invariants::epaxos::EpaxosInvariants;
use crate::command::NodeId;
use crate::protocol::Cluster;
use crate::protocol::epaxos::Epaxos;
use crate::protocol::epaxos::message::{EpaxosMessage, EpaxosTimer};
use crate::protocol::epaxos::options::{Dependencies, EpaxosOptions, FastPath, QuorumChoice};

const SIZE: u8 = 3;
const P0: NodeId = NodeId(0);
const P1: NodeId = NodeId(1);
const P2: NodeId = NodeId(2);
const P3: NodeId = NodeId(3);

/// The fast paths, as the experiment file calls them.
const PATHS: [(FastPath, &str); 5] = [
    (FastPath::Published, "published"),
    (FastPath::FixedQuorum, "fixed-quorum"),
    (FastPath::DepsCommitted, "deps-committed"),
    (FastPath::AcceptDeps, "accept-deps"),
    (FastPath::Simplified, "simplified"),
];

impl Modelled for Epaxos {
    type Invariants = EpaxosInvariants;

    fn configurations() -> Vec<Configuration<Self>> {
        let mut all: Vec<_> = PATHS.into_iter().flat_map(of_every_path).collect();
        for path in [PATHS[0], PATHS[1]] {
            all.push(late(path));
            for like in [conflict, recovery] {
                all.extend([chatty(like(path)), prefix(like(path)), repeated(like(path))]);
            }
            all.extend([join(path), leave(path)]);
        }
        all.extend([quit(PATHS[1]), orphan(PATHS[1])]);
        all
    }

    /// Heartbeats say that their sender is up, and how far it is.
    fn is_left_out(message: &EpaxosMessage) -> bool {
        matches!(message, EpaxosMessage::Heartbeat { .. } | EpaxosMessage::HeartbeatOk { .. })
    }

    /// A replica compares what it holds by value. Only `Attributes::unite` looks whether two are one in
    /// memory, and comes to the same if they are equal and not one.
    fn hash_sharing(&self, _: &mut impl Hasher) {}

    fn ignores_for_ever(&self, from: NodeId, message: &EpaxosMessage) -> bool {
        Epaxos::ignores_for_ever(self, from, message)
    }
}

type Path = (FastPath, &'static str);

fn of_every_path(path: Path) -> Vec<Configuration<Epaxos>> {
    vec![
        conflict(path),
        cycle(path),
        recovery(path),
        duel(path),
        rivals(path),
        restart(path),
        returns(path),
        voter(path),
        remake(path),
    ]
}

/// What all configurations have in common: p0 is asked.
fn base(kind: &str, (fast_path, word): Path, about: &'static str) -> Configuration<Epaxos> {
    let options = EpaxosOptions {
        fast_path,
        quorum: QuorumChoice::Nearest,
        near: vec![vec![1, 2], vec![2, 0], vec![0, 1]],
        fallback_ms: 0,
        recover_ms: 0,
        ..EpaxosOptions::default()
    };
    let cluster = Cluster::of(SIZE);
    Configuration {
        name: format!("{kind}-{word}"),
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

fn conflict(path: Path) -> Configuration<Epaxos> {
    let about = "two interfering commands at two replicas, no failure";
    let mut conflict = base("conflict", path, about);
    conflict.asks.push((P1, command(1)));
    conflict.completes = true;
    conflict
}

fn cycle(path: Path) -> Configuration<Epaxos> {
    let mut cycle = conflict(path);
    cycle.name = format!("cycle-{}", path.1);
    cycle.about = "an interfering command at each of three replicas, no failure";
    cycle.asks.push((P2, command(2)));
    cycle
}

/// One recovery comes to an end whatever else happens, so that all that was asked takes effect.
fn late(path: Path) -> Configuration<Epaxos> {
    let mut late = conflict(path);
    late.name = format!("late-{}", path.1);
    late.about = "two interfering commands, and the owner of one recovers the other";
    late.nudges.push(checks(P1));
    late
}

/// p2, which is in p1's fast quorum only, recovers what it knows of. The rest would be too large: p0 does not
/// hear it.
fn recovery(path: Path) -> Configuration<Epaxos> {
    let mut recovery = conflict(path);
    recovery.name = format!("recovery-{}", path.1);
    recovery.about = "two interfering commands, and one that owns none recovers what it has met";
    recovery.nudges.push(checks(P2));
    recovery.setup.cut.push((P2, P0));
    recovery.completes = false;
    recovery
}

fn duel(path: Path) -> Configuration<Epaxos> {
    let mut duel = base("duel", path, "two replicas recover an instance of the third");
    duel.nudges = vec![checks(P1), checks(P2)];
    duel
}

/// As `duel`, with a second command. That would be too large: p0 hears nothing, so it commits nothing itself.
fn rivals(path: Path) -> Configuration<Epaxos> {
    let about = "two interfering commands; two replicas recover what the third no longer leads";
    let mut rivals = base("rivals", path, about);
    rivals.asks.push((P1, command(1)));
    rivals.nudges = vec![checks(P1), checks(P2)];
    rivals.setup.cut = vec![(P1, P0), (P2, P0)];
    rivals
}

/// One replica crashes at any edge of its log, and comes back; one recovers.
fn crash(
    kind: &str,
    path: Path,
    (crashes, recovers): (NodeId, NodeId),
    about: &'static str,
) -> Configuration<Epaxos> {
    let mut crash = base(kind, path, about);
    crash.nudges.push(checks(recovers));
    crash.crashes.push(crashes);
    crash.setup.slow_disks.push(crashes);
    crash
}

fn restart(path: Path) -> Configuration<Epaxos> {
    crash(
        "restart",
        path,
        (P0, P1),
        "the owner crashes at any edge of its log, and another recovers",
    )
}

fn returns(path: Path) -> Configuration<Epaxos> {
    crash(
        "return",
        path,
        (P0, P0),
        "the owner crashes at any edge of its log, and recovers its own",
    )
}

fn voter(path: Path) -> Configuration<Epaxos> {
    crash(
        "voter",
        path,
        (P2, P1),
        "one that only votes crashes at any edge of its log in a recovery",
    )
}

fn remake(path: Path) -> Configuration<Epaxos> {
    let about = "a recoverer crashes at any edge of its log";
    crash("remake", path, (P1, P1), about)
}

/// p3 joins in the place of p0, once, and everybody knows what is decided on that by the messages of this one
/// ballot alone.
fn joining(kind: &str, path: Path, about: &'static str) -> Configuration<Epaxos> {
    let mut joining = base(kind, path, about);
    joining.setup.cluster = Cluster { size: SIZE + 1, spares: 1 };
    let options = &mut joining.setup.options;
    options.near = vec![vec![1, 2, 3], vec![2, 0, 3], vec![0, 1, 3], vec![1, 2, 0]];
    options.replaces = Some(P0);
    joining.nudges.push(checks(P3));
    joining
}

fn join(path: Path) -> Configuration<Epaxos> {
    let about = "a command of one that is replaced while it is under way";
    joining("join", path, about)
}

/// All of it would be too large: p0 and p2 do not hear each other, nor p3 p2.
fn leave(path: Path) -> Configuration<Epaxos> {
    let about = "two interfering commands, and the owner of one is replaced";
    let mut leave = joining("leave", path, about);
    leave.asks.push((P1, command(1)));
    leave.setup.cut = vec![(P2, P0), (P0, P2), (P2, P3)];
    leave
}

/// Nobody is asked for anything.
fn quit(path: Path) -> Configuration<Epaxos> {
    let about = "who wants to join is perhaps not heard of again, and another ends that";
    let mut quit = joining("quit", path, about);
    quit.asks.clear();
    quit.nudges.push(checks(P1));
    quit
}

/// All of it would be too large: p0 speaks with p1 only, which does not hear p2.
fn orphan(path: Path) -> Configuration<Epaxos> {
    let about =
        "as `quit`, and one that is to be replaced has a command under way that may be recovered";
    let mut orphan = joining("orphan", path, about);
    orphan.nudges.push(checks(P1));
    orphan.setup.cut = vec![(P0, P2), (P2, P0), (P0, P3), (P3, P0), (P2, P1)];
    orphan
}

/// Everybody is asked at once.
fn chatty(like: Configuration<Epaxos>) -> Configuration<Epaxos> {
    let mut chatty = Configuration { name: format!("all-{}", like.name), ..like };
    chatty.setup.options.thrifty = false;
    chatty
}

/// Dependencies are prefixes.
fn prefix(like: Configuration<Epaxos>) -> Configuration<Epaxos> {
    let mut prefix = Configuration { name: format!("pre-{}", like.name), ..like };
    prefix.setup.options.dependencies = Dependencies::Prefix;
    prefix
}

/// The network delivers any one message twice.
fn repeated(like: Configuration<Epaxos>) -> Configuration<Epaxos> {
    Configuration { name: format!("rep-{}", like.name), repetitions: 1, ..like }
}

fn checks(node: NodeId) -> Nudge<Epaxos> {
    Nudge {
        name: "looks for what is late",
        node,
        after: Duration::ZERO,
        inputs: vec![Given::Timer(EpaxosTimer::Check)],
        times: 1,
    }
}
