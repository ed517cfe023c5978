//! The configurations of `caspaxos`: one register. There are three acceptors, p0 and p1 propose; or two, where members
//! change.
//!
//! Timers: where two propose, the one that waits after a loss tries again; and a proposer gives up what it has
//! waited for too long. Time stands still, and nobody has any patience. Repair and removal take place where the
//! configuration says so, and what a change of members asks for again is never lost.
//!
//! A replica that crashes for good is one whose messages are all lost from some moment on, which every
//! configuration allows for. Who crashes comes back at once, and its clients do not ask again.

use std::hash::Hasher;
use std::time::Duration;

use super::{Configuration, Given, KEY, Modelled, Nudge, Setup, command, command_to, none};
use crate::check::invariants::caspaxos::CaspaxosInvariants;
use crate::command::{Command, NodeId, Operation};
use crate::protocol::Cluster;
use crate::protocol::caspaxos::message::{CaspaxosMessage, Part};
use crate::protocol::caspaxos::options::{CaspaxosOptions, Reads};
use crate::protocol::caspaxos::registers::bucket_of;
use crate::protocol::caspaxos::{Caspaxos, CaspaxosTimer};

const P0: NodeId = NodeId(0);
const P1: NodeId = NodeId(1);
const P2: NodeId = NodeId(2);

impl Modelled for Caspaxos {
    const NUMBERS_WRITES: bool = false;

    type Invariants = CaspaxosInvariants;

    fn configurations() -> Vec<Configuration<Self>> {
        let mut all = vec![solo(), duel(), plain(duel()), duel_both(), plain(duel_both())];
        all.extend([again(), repeated(), promised(), unknown(), lost(), unknown_all()]);
        all.extend([proposer_crashes(), proposer_crashes_all(), reborn(), acceptor_crashes()]);
        all.extend([removal(), removal_raced(), removal_late(), revival(), oblivion()]);
        all.extend([read(), reads(), read_all(), copies()]);
        all.extend([forward(), forward_twice(), forward_crashes()]);
        all.extend([join(), replace(), replaced(), replace_both(), back(), rejoin()]);
        all.push(replace_one_of_two());
        all
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
        setup: Setup {
            cluster: Cluster::of(3),
            options,
            slow_disks: Vec::new(),
            cut: Vec::new(),
            lost: none,
        },
        settled: true,
        before: Vec::new(),
        asks: Vec::new(),
        nudges: Vec::new(),
        crashes: Vec::new(),
        repetitions: 0,
        completes: false,
    }
}

/// One that differs in its name and in what it is about, to be changed further.
fn like(
    other: Configuration<Caspaxos>,
    name: &str,
    about: &'static str,
) -> Configuration<Caspaxos> {
    Configuration { name: name.to_owned(), about, ..other }
}

fn get(client: u64) -> Command {
    command_to(client, Operation::Get { key: KEY })
}

fn delete(client: u64) -> Command {
    command_to(client, Operation::Delete { key: KEY })
}

fn asked(node: NodeId, command: Command) -> (NodeId, Given<Caspaxos>) {
    (node, Given::Asked(command))
}

fn solo() -> Configuration<Caspaxos> {
    let mut solo = base("solo", "one proposer, two commands, no failure");
    solo.asks = vec![(P0, command(0)), (P0, command(1))];
    solo.completes = true;
    solo
}

fn duel() -> Configuration<Caspaxos> {
    let mut duel = base("duel", "two proposers change one register, and one tries again");
    duel.asks = vec![(P0, command(0)), (P1, command(1))];
    duel.nudges = vec![tries(P0, 1)];
    duel
}

fn duel_both() -> Configuration<Caspaxos> {
    let about = "two proposers change one register, and both try again";
    let mut both = like(duel(), "duel-both", about);
    both.nudges.push(tries(P1, 1));
    both
}

/// No Accept brings the next Prepare.
fn plain(like: Configuration<Caspaxos>) -> Configuration<Caspaxos> {
    let mut plain = Configuration { name: format!("plain-{}", like.name), ..like };
    plain.setup.options.one_round_trip = false;
    plain
}

fn again() -> Configuration<Caspaxos> {
    let mut again = like(duel(), "again", "as `duel`, and a client asks twice for the same");
    again.nudges = vec![Nudge {
        name: "client 0 asks, perhaps again",
        node: P0,
        after: Duration::ZERO,
        inputs: vec![Given::Asked(command(0))],
        times: 1,
    }];
    again
}

fn repeated() -> Configuration<Caspaxos> {
    let about = "two proposers, and the network delivers any one message twice";
    let mut repeated = like(duel(), "repeated", about);
    repeated.nudges.clear();
    repeated.repetitions = 1;
    repeated
}

fn promised() -> Configuration<Caspaxos> {
    let about = "as `duel-both`, and one has the promises for its next ballot in hand";
    let mut promised = like(duel_both(), "promised", about);
    promised.before = vec![asked(P0, command(2))];
    promised
}

/// The schedule of one ballot with two values would be one of these. All of it would be too large: p0 sends p1
/// nothing.
fn unknown() -> Configuration<Caspaxos> {
    let about =
        "one with promises in hand gives an attempt up, and tries again with another command";
    let mut unknown = like(duel(), "unknown", about);
    unknown.before = vec![asked(P0, command(2))];
    unknown.asks.push((P0, command(3)));
    unknown.nudges = vec![Nudge { times: 2, ..gives_up(P0) }, tries(P0, 2), tries(P1, 1)];
    unknown.setup.cut = vec![(P0, P1)];
    unknown
}

fn unknown_all() -> Configuration<Caspaxos> {
    let about = "a proposer gives its attempt up, and tries again twice";
    let mut unknown = like(duel(), "unknown-all", about);
    unknown.nudges = vec![gives_up(P0), tries(P0, 2)];
    unknown
}

fn lost() -> Configuration<Caspaxos> {
    let about = "as `unknown-all`, and all that p0 sends p1 is lost";
    let mut lost = like(unknown_all(), "lost", about);
    lost.setup.cut = vec![(P0, P1)];
    lost
}

fn proposer_crashes_all() -> Configuration<Caspaxos> {
    let about = "a proposer with promises in hand crashes at any edge of its log";
    let mut crash = like(duel(), "proposer-crashes-all", about);
    crash.before = vec![asked(P0, command(2))];
    crash.crashes = vec![P0];
    crash.setup.slow_disks = vec![P0];
    crash.nudges = vec![tries(P1, 1)];
    crash
}

fn proposer_crashes() -> Configuration<Caspaxos> {
    let about = "as `proposer-crashes-all`, and all that it sends p1 is lost";
    let mut crash = like(proposer_crashes_all(), "proposer-crashes", about);
    crash.setup.cut = vec![(P0, P1)];
    crash
}

fn reborn() -> Configuration<Caspaxos> {
    let about = "the only proposer crashes at any edge of its log, and another client asks it";
    let mut reborn = base("reborn", about);
    reborn.asks = vec![(P0, command(0)), (P0, command(1))];
    reborn.crashes = vec![P0];
    reborn.setup.slow_disks = vec![P0];
    reborn
}

fn acceptor_crashes() -> Configuration<Caspaxos> {
    let about = "one that only accepts crashes at any edge of its log";
    let mut crash = like(duel(), "acceptor-crashes", about);
    crash.nudges.clear();
    crash.crashes = vec![P2];
    crash.setup.slow_disks = vec![P2];
    crash
}

/// The schedule that brings back what was deleted, by an Accept that comes late, would be one of these.
fn removal() -> Configuration<Caspaxos> {
    let about = "a deleted register is removed while another writes it";
    let mut removal = base("removal", about);
    removal.setup.options.collect_ms = 1;
    removal.before = vec![asked(P0, delete(2))];
    removal.asks = vec![(P1, command(1))];
    removal.nudges = vec![collects(P0)];
    removal
}

/// All of it would be too large: p1 sends p2 nothing.
fn removal_raced() -> Configuration<Caspaxos> {
    let about = "as `removal`, and who removes the register writes it, too";
    let mut raced = like(removal(), "removal-raced", about);
    raced.asks.push((P0, command(0)));
    raced.setup.cut = vec![(P1, P2)];
    raced
}

/// All of it would be too large: p0 sends p1 nothing.
fn removal_late() -> Configuration<Caspaxos> {
    let about = "a register is deleted, removed and written anew while another writes it";
    let mut late = like(removal(), "removal-late", about);
    late.before = vec![asked(P0, command(2))];
    late.asks = vec![(P1, command(1)), (P0, delete(0)), (P0, command(3))];
    late.nudges.push(tries(P1, 1));
    late.setup.cut = vec![(P0, P1)];
    late
}

fn revival() -> Configuration<Caspaxos> {
    let about = "a copy that was asked for before a removal arrives after it";
    let mut revival = like(removal(), "revival", about);
    revival.before = vec![asked(P0, command(2))];
    revival.asks.push((P0, delete(0)));
    revival.nudges.push(pulls(P2, P0));
    revival
}

fn oblivion() -> Configuration<Caspaxos> {
    let about = "a change that may have taken effect is tried again after the register was removed";
    let mut oblivion = like(removal(), "oblivion", about);
    oblivion.setup.cluster = Cluster::of(2);
    oblivion.before.clear();
    oblivion.asks = vec![(P0, command(0)), (P1, delete(1)), (P1, command(2))];
    oblivion.nudges = vec![tries(P0, 1), collects(P1)];
    oblivion
}

fn read() -> Configuration<Caspaxos> {
    let mut read = base("read", "a read that writes nothing, while another writes");
    read.setup.options.reads = Reads::Clean;
    read.asks = vec![(P0, command(0)), (P1, get(1))];
    read
}

/// All of it would be too large: p0 sends p2 nothing.
fn reads() -> Configuration<Caspaxos> {
    let mut reads = like(read(), "reads", "two that read one after the other, or at once");
    reads.asks.push((P2, get(2)));
    reads.setup.cut = vec![(P0, P2)];
    reads
}

fn read_all() -> Configuration<Caspaxos> {
    let about = "as `read`, where one acceptor is enough to write and all are needed to read";
    let mut all = like(read(), "read-all", about);
    (all.setup.options.prepare, all.setup.options.accept) = (3, 1);
    all
}

fn copies() -> Configuration<Caspaxos> {
    let about = "one that has copied what it is asked to accept, and a proposer that counts on it";
    let mut copies = base("copies", about);
    copies.asks = vec![(P0, command(0)), (P0, command(2)), (P1, command(1))];
    copies.nudges = vec![pulls(P2, P0)];
    copies
}

/// All of it would be too large: p0 and p2 do not hear each other.
fn forward() -> Configuration<Caspaxos> {
    let about = "two proposers, and who loses once leaves its command to the other";
    let mut forward = like(duel(), "forward", about);
    forward.setup.options.forward_after = 1;
    forward.setup.cut = vec![(P0, P2), (P2, P0)];
    forward.nudges = vec![timer("asks what became of it", P0, CaspaxosTimer::Forward, 1)];
    forward
}

fn forward_twice() -> Configuration<Caspaxos> {
    let about = "as `forward`, and the network delivers any one message twice";
    let mut twice = like(forward(), "forward-twice", about);
    twice.nudges.clear();
    twice.repetitions = 1;
    twice
}

fn forward_crashes() -> Configuration<Caspaxos> {
    let about = "as `forward`, and the other crashes at any edge of its log";
    let mut crash = like(forward(), "forward-crashes", about);
    crash.crashes = vec![P1];
    crash.setup.slow_disks = vec![P1];
    crash
}

/// p0 is the only member at first.
fn members(name: &str, wanted: &[u8], about: &'static str) -> Configuration<Caspaxos> {
    let mut members = base(name, about);
    members.setup.cluster = Cluster { size: 2, spares: 1 };
    members.nudges = vec![wants(P0, wanted)];
    members.asks = vec![(P0, command(0))];
    members
}

fn join() -> Configuration<Caspaxos> {
    members("join", &[0, 1], "the only member writes while another joins")
}

fn replace() -> Configuration<Caspaxos> {
    let about = "the only member is replaced, and the new one writes";
    let mut replace = members("replace", &[1], about);
    replace.before = vec![asked(P0, command(2))];
    replace.asks = vec![(P1, command(1))];
    replace
}

fn replaced() -> Configuration<Caspaxos> {
    let about =
        "the only member is replaced, and writes meanwhile what it may finish as a proposer";
    let mut replaced = members("replaced", &[1], about);
    replaced.before = vec![asked(P0, command(2))];
    replaced
}

fn replace_both() -> Configuration<Caspaxos> {
    let mut both = members("replace-both", &[1], "the only member is replaced, and both write");
    both.asks.push((P1, command(1)));
    both
}

fn back() -> Configuration<Caspaxos> {
    let about = "as `replace`, and the first comes back in the place of the other";
    let mut back = members("back", &[1], about);
    back.before = vec![asked(P0, command(2))];
    back.nudges.push(wants(P1, &[0]));
    back
}

fn rejoin() -> Configuration<Caspaxos> {
    let about = "one comes back that holds what was removed while it was no member";
    let mut rejoin = members("rejoin", &[0, 1], about);
    rejoin.setup.cluster = Cluster::of(2);
    rejoin.setup.options.collect_ms = 1;
    let look = || (P0, Given::Timer(CaspaxosTimer::Collect));
    let leaves = (P0, Given::Members([P0].into_iter().collect()));
    rejoin.before = vec![asked(P0, command(2)), leaves, asked(P0, delete(3)), look(), look()];
    rejoin
}

/// All of it would be too large: who leaves and who comes do not hear each other.
fn replace_one_of_two() -> Configuration<Caspaxos> {
    let about = "one of two members is replaced, and writes meanwhile";
    let mut replace = members("replace-one-of-two", &[0, 2], about);
    replace.setup.cluster = Cluster { size: 3, spares: 1 };
    replace.setup.cut = vec![(P1, P2), (P2, P1)];
    replace.before = vec![asked(P0, command(2))];
    replace.asks = vec![(P1, command(1))];
    replace
}

/// Another asks for what a replica holds, as it asks from time to time.
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
        name: "looks twice for what was deleted",
        node,
        after: Duration::ZERO,
        inputs: vec![look(), look()],
        times: 1,
    }
}

fn wants(node: NodeId, members: &[u8]) -> Nudge<Caspaxos> {
    let members = members.iter().map(|member| NodeId(*member)).collect();
    Nudge {
        name: "an operator wants other members",
        node,
        after: Duration::ZERO,
        inputs: vec![Given::Members(members)],
        times: 1,
    }
}

fn tries(node: NodeId, times: u8) -> Nudge<Caspaxos> {
    timer("tries again", node, CaspaxosTimer::Backoff, times)
}

fn gives_up(node: NodeId) -> Nudge<Caspaxos> {
    timer("gives up, or asks again", node, CaspaxosTimer::Resend, 1)
}

fn timer(name: &'static str, node: NodeId, timer: CaspaxosTimer, times: u8) -> Nudge<Caspaxos> {
    Nudge { name, node, after: Duration::ZERO, inputs: vec![Given::Timer(timer)], times }
}
