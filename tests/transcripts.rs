//! Interesting runs, a line an event: what a change of a protocol does to them shows in a diff.
//!
//! `UPDATE_TRANSCRIPTS=1 cargo test --test transcripts` writes them anew; review the difference.

use std::path::Path;

use paxbench::command::NodeId;
use paxbench::load::plan::OperationMix;
use paxbench::protocol::caspaxos::Caspaxos;
use paxbench::protocol::caspaxos::options::CaspaxosOptions;
use paxbench::protocol::epaxos::Epaxos;
use paxbench::protocol::epaxos::options::{EpaxosOptions, QuorumChoice};
use paxbench::protocol::multicoordinated::Multicoordinated;
use paxbench::protocol::multicoordinated::options::{MulticoordinatedOptions, Recovery, Rounds};
use paxbench::protocol::paxos::{Paxos, PaxosOptions, Variant};
use paxbench::protocol::quorum::NodeSet;
use paxbench::sim::Subject;
use paxbench::sim::faults::Cut;
use paxbench::sim::script::Script;

/// Heartbeats and their timers go on all the time, and say nothing else here.
const OMITTED: [&str; 8] = [
    "heartbeat(",
    "timer Heartbeat",
    "Heartbeat(",
    "HeartbeatOK(",
    "timer Check",
    "timer Repair",
    "timer Collect",
    "Compare",
];

fn options(variant: Variant) -> PaxosOptions {
    PaxosOptions {
        variant,
        heartbeat_ms: 50,
        election_timeout_ms: 200,
        retransmit_ms: 400,
        // A window as small as a page.
        pipeline: 2,
        ..PaxosOptions::default()
    }
}

fn compare<P: Subject>(name: &str, script: &Script<P>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/transcripts/{name}.txt"));
    let text = script.transcript(&OMITTED);
    if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    let place = text.lines().zip(known.lines()).position(|(now, before)| now != before);
    assert!(
        text == known,
        "{} differs from line {} on; if that is meant, run with UPDATE_TRANSCRIPTS=1\n{text}",
        path.display(),
        place.map_or(text.lines().count().min(known.lines().count()), |line| line) + 1
    );
}

/// A first command finds the leader ready: forward, WRITE, ackWRITE, DECISION. The second overlaps.
#[test]
fn a_stable_round_trip() {
    let mut script = Script::<Paxos>::traced(3, options(Variant::Multi), 10, 1);
    script.run_for(100);
    let first = script.ask(1);
    script.run_for(5);
    let second = script.ask(0);
    script.run_for(60);
    assert_eq!(script.answered_ms(first), Some(140));
    assert_eq!(script.answered_ms(second), Some(125));
    assert!(script.has_converged());
    compare("a_stable_round_trip", &script);
}

/// The leader's value reaches one other process; then the leader is gone for good. The next leader
/// must find that value and decide it before its own.
#[test]
fn a_leader_takes_over_a_half_accepted_value() {
    for (variant, name) in [
        (Variant::Multi, "a_leader_takes_over_a_half_accepted_value"),
        (Variant::Regular, "a_leader_takes_over_a_half_accepted_value_regular"),
    ] {
        let mut script = Script::<Paxos>::traced(3, options(variant), 10, 1);
        script.run_for(100);
        if variant == Variant::Regular {
            script.ask(0);
            script.run_for(15);
        }
        script.cut(Cut::OneWay(NodeId(0), NodeId(1)));
        script.cut(Cut::OneWay(NodeId(2), NodeId(0)));
        if variant == Variant::Multi {
            script.ask(0);
        }
        script.run_for(15);
        script.crash(0);
        let own = script.ask(1);
        script.run_for(500);
        assert!(script.answered_ms(own).is_some());
        assert!(script.counter(1, "instances") >= 2, "the found value, and its own");
        compare(name, &script);
    }
}

/// The old leader is cut off and keeps proposing; the others elect a new one. When the cut is mended,
/// the old one learns what was decided, and its command is decided after that.
#[test]
fn two_leaders() {
    let mut script = Script::<Paxos>::traced(3, options(Variant::Multi), 10, 1);
    script.run_for(100);
    script.cut(Cut::Alone(NodeId(0)));
    let old = script.ask(0);
    script.run_for(400);
    assert_eq!(script.counter(1, "leader"), 1);
    let new = script.ask(1);
    script.run_for(100);
    assert!(script.answered_ms(new).is_some() && script.answered_ms(old).is_none());
    script.mend();
    script.run_for(1500);
    // The old one's command came to it with the state; its client would have to ask again.
    assert!(script.has_converged() && script.counter(0, "instances") == 3);
    compare("two_leaders", &script);
}

fn epaxos(size: u8) -> Script<Epaxos> {
    Script::traced(size, epaxos_options(), 10, 1)
}

/// Quorums are the owner and the next places, so that a reader can tell them.
fn epaxos_options() -> EpaxosOptions {
    EpaxosOptions {
        quorum: QuorumChoice::Nearest,
        heartbeat_ms: 50,
        suspect_ms: 200,
        fallback_ms: 100,
        recover_ms: 200,
        ..EpaxosOptions::default()
    }
}

/// PreAccept, PreAcceptOK, Commit: one round trip to the one other of the quorum.
#[test]
fn epaxos_commits_on_the_fast_path() {
    let mut script = epaxos(3);
    script.run_for(100);
    let only = script.ask(0);
    script.run_for(40);
    assert_eq!(script.answered_ms(only), Some(120));
    assert!(script.has_converged());
    compare("epaxos_commits_on_the_fast_path", &script);
}

/// p0 and p2 propose at once. Both are in p0's quorum with p1, which hears of p0.0 first: so p1 and p2
/// differ on p0.0, which takes a second round trip, and p0 and p1 agree on p2.0, which does not.
#[test]
fn epaxos_settles_a_conflict_of_five_in_a_second_round_trip() {
    let mut script = epaxos(5);
    script.run_for(100);
    let slow = script.ask(0);
    let fast = script.ask(2);
    script.run_for(60);
    assert_eq!([0, 2].map(|node| script.counter(node, "slow")), [1, 0]);
    assert!(script.answered_ms(slow).is_some() && script.answered_ms(fast).is_some());
    assert!(script.has_converged());
    compare("epaxos_settles_a_conflict_of_five_in_a_second_round_trip", &script);
}

/// Of three replicas a fast quorum is two: there is nobody whom its other member could contradict. Both
/// commands depend on each other, and are executed together.
#[test]
fn epaxos_stays_fast_in_a_conflict_of_three() {
    let mut script = epaxos(3);
    script.run_for(100);
    let both = [script.ask(0), script.ask(1)];
    script.run_for(40);
    // Committed after one round trip; executed as soon as the other's Commit has come.
    assert_eq!(both.map(|asked| script.answered_ms(asked)), [Some(130), Some(130)]);
    assert_eq!([0, 1].map(|node| script.counter(node, "slow")), [0, 0]);
    assert!(script.has_converged());
    compare("epaxos_stays_fast_in_a_conflict_of_three", &script);
}

/// The owner is gone when its Accepts arrive: what was accepted is found, and accepted again.
#[test]
fn epaxos_recovers_what_was_accepted() {
    let mut script = epaxos(5);
    script.run_for(100);
    script.ask(0);
    script.ask(2);
    script.run_for(25);
    script.crash(0);
    script.run_for(600);
    assert!((1..5).all(|node| script.core(node).open() == 0) && script.has_converged());
    compare("epaxos_recovers_what_was_accepted", &script);
}

/// The owner is gone when the answer to its PreAccept arrives, which would have committed the command. So the
/// recoverer must do so, after it has seen that nothing is in the way.
#[test]
fn epaxos_recovers_what_may_have_been_committed_on_the_fast_path() {
    let mut script = epaxos(3);
    script.run_for(100);
    script.ask(0);
    script.run_for(15);
    script.crash(0);
    script.run_for(600);
    assert!((1..3).all(|node| script.core(node).open() == 0) && script.has_converged());
    assert_eq!(script.counter(1, "tentative") + script.counter(2, "tentative"), 1);
    assert_eq!(script.counter(1, "nops"), 0);
    compare("epaxos_recovers_what_may_have_been_committed_on_the_fast_path", &script);
}

/// The owner restarts before anybody has heard of its command. It does not know what it said in ballot 0, so
/// it makes the instance a no-op and proposes the command again.
#[test]
fn epaxos_makes_a_no_op_and_proposes_again() {
    let mut script = epaxos(3);
    script.run_for(100);
    script.cut(Cut::Alone(NodeId(0)));
    let asked = script.ask(0);
    script.run_for(15);
    script.crash(0);
    script.mend();
    script.run_for(5);
    script.restart(0);
    script.run_for(500);
    assert_eq!((script.counter(0, "nops"), script.counter(0, "resubmitted")), (1, 1));
    assert!(script.answered_ms(asked).is_some() && script.has_converged());
    compare("epaxos_makes_a_no_op_and_proposes_again", &script);
}

/// Two reads and a write at once: the reads do not depend on each other; the write and each read do.
#[test]
fn epaxos_reads_beside_a_write() {
    let mix = OperationMix { get: 0.5, rmw: 0.5, ..OperationMix::default() };
    let mut script = Script::<Epaxos>::traced_mix(3, epaxos_options(), 10, READS_AT_P0_AND_P1, mix);
    script.run_for(100);
    let asked = [0, 1, 2].map(|node| script.ask(node));
    script.run_for(60);
    assert!(asked.into_iter().all(|asked| script.answered_ms(asked).is_some()));
    assert!(script.has_converged());
    compare("epaxos_reads_beside_a_write", &script);
}

/// A seed with which the clients of p0 and p1 read, and that of p2 writes.
const READS_AT_P0_AND_P1: u64 = 2;

/// p2 hears nothing while six commands are executed, of which three are kept: it is sent the state.
#[test]
fn epaxos_sends_the_state_to_one_that_lags() {
    let few = EpaxosOptions { log_instances_max: 3, ..epaxos_options() };
    let mut script = Script::<Epaxos>::traced(3, few, 10, 1);
    script.run_for(100);
    script.cut(Cut::Alone(NodeId(2)));
    for _ in 0..6 {
        script.ask(0);
        script.run_for(50);
    }
    script.run_for(200);
    script.mend();
    script.run_for(400);
    assert_eq!(script.counter(2, "states_installed"), 1);
    assert!(script.has_converged());
    compare("epaxos_sends_the_state_to_one_that_lags", &script);
}

/// p2 has lost its disk. p3, which knows nothing, takes its place with one ballot, and is told what it missed; then
/// its own clients' command is as fast as any.
#[test]
fn epaxos_joins_in_the_place_of_one_that_is_lost() {
    let mut script = Script::<Epaxos>::traced_with_spares((3, 1), epaxos_options(), 10, 1);
    script.run_for(100);
    let before = script.ask(0);
    script.run_for(30);
    script.crash(2);
    script.run_for(20);
    script.join(3, 2);
    script.run_for(450);
    let after = script.ask(3);
    script.run_for(60);
    assert!(script.answered_ms(before).is_some());
    assert_eq!(script.answered_ms(after), Some(620));
    assert!(script.has_converged() && script.core(3).is_member());
    compare("epaxos_joins_in_the_place_of_one_that_is_lost", &script);
}

fn caspaxos_options() -> CaspaxosOptions {
    CaspaxosOptions { resend_ms: 200, repair_ms: 5000, collect_ms: 0, ..CaspaxosOptions::default() }
}

fn caspaxos(size: u8) -> Script<Caspaxos> {
    Script::traced(size, caspaxos_options(), 10, 1)
}

/// Prepare, Promise, Accept, Accepted; then Accept, Accepted. Another proposer begins anew.
#[test]
fn caspaxos_needs_two_round_trips_and_then_one() {
    let mut script = caspaxos(3);
    script.run_for(100);
    let cold = script.ask(0);
    script.run_for(60);
    let warm = script.ask(0);
    script.run_for(40);
    assert_eq!([cold, warm].map(|asked| script.answered_ms(asked)), [Some(140), Some(180)]);
    assert_eq!(["two_round_trips", "one_round_trip"].map(|of| script.counter(0, of)), [1, 1]);
    assert!(script.has_converged());
    compare("caspaxos_needs_two_round_trips_and_then_one", &script);
}

/// p0 and p2 prepare at once: p1 hears of p0 first and then of p2, whose ballot is higher. So p0's Accept is in
/// conflict, and it tries again behind p2.
#[test]
fn caspaxos_lets_one_of_two_proposers_wait() {
    let mut script = caspaxos(3);
    script.run_for(100);
    let both = [script.ask(0), script.ask(2)];
    script.run_for(500);
    assert!(both.iter().all(|asked| script.answered_ms(*asked).is_some()));
    assert!(script.counter(0, "losses") + script.counter(2, "losses") > 0);
    assert!(script.has_converged());
    compare("caspaxos_lets_one_of_two_proposers_wait", &script);
}

/// As above. p0's first command was in an Accept and stays; what p0 is asked next it leaves to p2, which has won.
#[test]
fn caspaxos_leaves_what_is_contended_to_the_winner() {
    let options = CaspaxosOptions { forward_after: 1, ..caspaxos_options() };
    let mut script = Script::<Caspaxos>::traced(3, options, 10, 1);
    script.run_for(100);
    let both = [script.ask(0), script.ask(2)];
    script.run_for(150);
    let next = script.ask(0);
    script.run_for(350);
    assert!([both[0], both[1], next].iter().all(|asked| script.answered_ms(*asked).is_some()));
    assert!(script.counter(0, "forwarded") + script.counter(2, "forwarded") > 0);
    assert!(script.has_converged());
    compare("caspaxos_leaves_what_is_contended_to_the_winner", &script);
}

/// p1 accepts p0's change, and p0 does not hear of it. p2 finds the change and builds on it. When p0 tries again, it
/// finds its own attempt among the ancestors of what it reads: it is told as it was, and not done again.
#[test]
fn caspaxos_does_not_apply_again_what_took_effect() {
    let mut script = caspaxos(3);
    script.run_for(100);
    script.cut(Cut::OneWay(NodeId(0), NodeId(2)));
    let first = script.ask(0);
    script.run_for(25);
    script.cut(Cut::OneWay(NodeId(1), NodeId(0)));
    script.cut(Cut::OneWay(NodeId(2), NodeId(0)));
    script.run_for(10);
    let second = script.ask(2);
    script.run_for(400);
    assert!(script.answered_ms(first).is_none() && script.answered_ms(second).is_some());
    script.mend();
    script.run_for(1500);
    assert!(script.answered_ms(first).is_some());
    assert_eq!((script.counter(0, "applied_before"), script.counter(0, "unknown")), (1, 0));
    assert!(script.has_converged());
    compare("caspaxos_does_not_apply_again_what_took_effect", &script);
}

/// A value, a tombstone; then the tombstone at all three, and then nothing.
#[test]
fn caspaxos_removes_what_was_deleted() {
    let mix = OperationMix { rmw: 0.5, delete: 0.5, ..OperationMix::default() };
    let options = CaspaxosOptions { collect_ms: 300, ..caspaxos_options() };
    let mut script = Script::<Caspaxos>::traced_mix(3, options, 10, WRITES_THEN_DELETES, mix);
    script.run_for(100);
    for _ in 0..2 {
        script.ask(0);
        script.run_for(60);
    }
    script.run_for(1500);
    assert!(script.all_answered() && script.has_converged());
    for node in 0..3 {
        assert_eq!(script.core(node).registers().count(), 0, "at p{node}");
        assert_eq!(script.core(node).registers().removals(), 1);
    }
    compare("caspaxos_removes_what_was_deleted", &script);
}

/// A seed with which the client of p0 writes, and then deletes.
const WRITES_THEN_DELETES: u64 = 1;

/// The joint configuration is written in its register, p3 copies what there is, and the next is written; a client's
/// change goes on meanwhile.
#[test]
fn caspaxos_goes_from_three_members_to_four() {
    let mut script = Script::<Caspaxos>::traced_with_spares((3, 1), caspaxos_options(), 10, 1);
    script.run_for(100);
    let before = script.ask(0);
    script.run_for(60);
    script.change_members(0, NodeSet::all(4));
    script.run_for(70);
    let meanwhile = script.ask(0);
    script.run_for(600);
    assert!((0..4).all(|node| script.core(node).configuration().epoch == 2));
    let after = script.ask(3);
    script.run_for(300);
    for asked in [before, meanwhile, after] {
        assert!(script.answered_ms(asked).is_some());
    }
    assert!(script.has_converged());
    compare("caspaxos_goes_from_three_members_to_four", &script);
}

fn multicoordinated(rounds: Rounds, recovery: Recovery) -> Script<Multicoordinated> {
    let options = MulticoordinatedOptions {
        rounds,
        recovery,
        heartbeat_ms: 50,
        election_timeout_ms: 200,
        fallback_ms: 200,
        ..MulticoordinatedOptions::default()
    };
    let mut script = Script::traced(3, options, 10, 1);
    // The leader closes instance 0, and opens the chosen round from instance 1 on.
    script.run_for(200);
    script
}

/// Propose, 2b: the proposer itself learns that all three have accepted its command, two steps after it was asked.
#[test]
fn multicoordinated_learns_in_two_steps_in_a_fast_round() {
    let mut script = multicoordinated(Rounds::Fast, Recovery::Coordinated);
    let only = script.ask(1);
    script.run_for(40);
    assert_eq!(script.answered_ms(only), Some(220));
    assert_eq!(script.counter(0, "collisions"), 0);
    assert!(script.has_converged());
    compare("multicoordinated_learns_in_two_steps_in_a_fast_round", &script);
}

/// p0 and p1 propose at once, and each accepts its own command first. Whoever sees that joins the next
/// round, whose coordinator, p0, puts both in order and closes the instance.
#[test]
fn multicoordinated_recovers_a_collision_of_a_fast_round() {
    let mut script = multicoordinated(Rounds::Fast, Recovery::Coordinated);
    let both = [script.ask(0), script.ask(1)];
    script.run_for(100);
    assert!(script.counter(0, "collisions") > 0 && script.counter(0, "recoveries") == 0);
    assert!(both.iter().all(|asked| script.answered_ms(*asked).is_some()));
    assert!(script.has_converged());
    compare("multicoordinated_recovers_a_collision_of_a_fast_round", &script);
}

/// The same, but each acceptor is its own coordinator in the next round: all find that nothing was chosen, and
/// accept both commands in the order of their names.
#[test]
fn multicoordinated_recovers_a_collision_without_a_coordinator() {
    let mut script = multicoordinated(Rounds::Fast, Recovery::Uncoordinated);
    let both = [script.ask(0), script.ask(1)];
    script.run_for(100);
    assert!(script.counter(0, "collisions") > 0);
    assert!(both.iter().all(|asked| script.answered_ms(*asked).is_some()));
    assert!(script.has_converged());
    compare("multicoordinated_recovers_a_collision_without_a_coordinator", &script);
}

/// All three propose at once, and each forwards its own command first: no two coordinators agree on what comes first.
/// Acceptors see that in the 2a messages, before they have accepted anything.
#[test]
fn multicoordinated_recovers_a_collision_of_coordinators() {
    let mut script = multicoordinated(Rounds::Multi, Recovery::Coordinated);
    let all = [0, 1, 2].map(|node| script.ask(node));
    script.run_for(100);
    assert!((0..3).all(|node| script.counter(node, "collisions") > 0));
    assert!((0..3).all(|node| script.counter(node, "collision_writes") == 0));
    assert!(all.iter().all(|asked| script.answered_ms(*asked).is_some()));
    assert!(script.has_converged());
    compare("multicoordinated_recovers_a_collision_of_coordinators", &script);
}

/// p0, one of three coordinators and the leader, is gone. The others are a quorum: the next command takes three steps,
/// of which one stays at p1, as the one before; and so does one that is asked for when p1 leads. No round is begun.
#[test]
fn multicoordinated_does_not_miss_a_coordinator() {
    let mut script = multicoordinated(Rounds::Multi, Recovery::Coordinated);
    let before = script.ask(1);
    script.run_for(40);
    script.crash(0);
    let begun = [1, 2].map(|node| script.counter(node, "rounds_begun"));
    script.forget_sent();
    let after = script.ask(1);
    script.run_for(460);
    assert_eq!(script.counter(1, "leader"), 1);
    let later = script.ask(1);
    script.run_for(40);
    let answered = [before, after, later].map(|asked| script.answered_ms(asked));
    assert_eq!(answered, [Some(220), Some(260), Some(720)]);
    assert_eq!([1, 2].map(|node| script.counter(node, "rounds_begun")), begun);
    assert_eq!(script.sent("1a"), 0);
    assert!(script.has_converged());
    compare("multicoordinated_does_not_miss_a_coordinator", &script);
}
