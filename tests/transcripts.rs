//! Interesting runs, a line an event: what a change of a protocol does to them shows in a diff.
//!
//! `UPDATE_TRANSCRIPTS=1 cargo test --test transcripts` writes them anew; review the difference.

use std::path::Path;

use paxbench::command::NodeId;
use paxbench::protocol::paxos::{Paxos, PaxosOptions, Variant};
use paxbench::sim::faults::Cut;
use paxbench::sim::script::Script;

/// Heartbeats and their timers go on all the time, and say nothing else here.
const OMITTED: [&str; 2] = ["heartbeat(", "timer Heartbeat"];

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

fn compare(name: &str, script: &Script<Paxos>) {
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
