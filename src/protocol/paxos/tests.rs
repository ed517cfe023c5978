//! The modules together, in runs that are certain: agreement, order and progress. What random
//! schedules show is in [`crate::sim`].

mod scripted;

use super::{Paxos, PaxosOptions, Variant};
use crate::command::NodeId;
use crate::sim::faults::Cut;
use crate::sim::script::{Asked, Script};

const VARIANTS: [Variant; 3] = [Variant::Regular, Variant::Fall, Variant::Multi];

fn options(variant: Variant) -> PaxosOptions {
    PaxosOptions {
        variant,
        pipeline: 8,
        heartbeat_ms: 20,
        election_timeout_ms: 200,
        retransmit_ms: 100,
        ..PaxosOptions::default()
    }
}

/// Every message takes 5 ms, whatever a seed may draw.
fn script(size: u8, options: PaxosOptions) -> Script<Paxos> {
    Script::new(size, options, 5, 7)
}

fn ms_since(run: &Script<Paxos>, since_ms: u64, asked: Asked) -> u64 {
    run.answered_ms(asked).expect("it is answered") - since_ms
}

fn ms_until_answered(run: &mut Script<Paxos>, node: u8) -> u64 {
    let since_ms = run.now_ms();
    let asked = run.ask(node);
    run.run_for(200);
    ms_since(run, since_ms, asked)
}

#[test]
fn a_stable_period_costs_one_round_trip_beyond_the_way_to_the_leader_and_regular_two() {
    // Forward, write, ack, decision are four; regular adds read and ack.
    for (variant, expected_ms) in
        [(Variant::Multi, 20), (Variant::Fall, 20), (Variant::Regular, 30)]
    {
        let mut run = script(5, options(variant));
        run.run_for(300);
        ms_until_answered(&mut run, 3);
        assert_eq!(ms_until_answered(&mut run, 3), expected_ms, "{variant:?}");
        assert_eq!(ms_until_answered(&mut run, 0), expected_ms - 10, "{variant:?} at the leader");
    }
}

#[test]
fn a_command_in_a_stable_period_costs_the_messages_of_the_paper() {
    for (variant, reads) in [(Variant::Multi, 0), (Variant::Fall, 0), (Variant::Regular, 10)] {
        let mut run = script(3, options(variant));
        run.run_for(500);
        ms_until_answered(&mut run, 0);
        run.forget_sent();
        for _ in 0..5 {
            ms_until_answered(&mut run, 0);
        }
        assert_eq!((run.sent("read"), run.sent("ack_read")), (reads, reads), "{variant:?}");
        assert_eq!((run.sent("write"), run.sent("ack_write")), (10, 10), "{variant:?}");
        assert_eq!(run.sent("decision"), 10, "{variant:?}: nothing to ride on");
    }
}

#[test]
fn the_fall_variant_writes_by_permission_and_reads_again_after_a_change_of_leader() {
    let mut run = script(3, options(Variant::Fall));
    run.run_for(300);
    for _ in 0..4 {
        ms_until_answered(&mut run, 1);
    }
    assert_eq!(run.counter(0, "reads"), 1);
    assert_eq!(run.counter(0, "writes_without_read"), 4);
    run.crash(0);
    run.run_for(500);
    for _ in 0..4 {
        ms_until_answered(&mut run, 1);
    }
    assert_eq!(run.counter(1, "reads"), 1, "the probe");
    assert_eq!(run.counter(1, "writes_without_read"), 4);
}

#[test]
fn one_process_alone_decides() {
    let mut run = script(1, options(Variant::Multi));
    run.run_for(50);
    ms_until_answered(&mut run, 0);
    assert_eq!(run.counter(0, "instances"), 1);
}

#[test]
fn a_new_leader_takes_over_within_the_election_timeout_and_loses_nothing() {
    for variant in VARIANTS {
        let mut run = script(5, options(variant));
        run.run_for(300);
        for i in 0..50 {
            run.ask(1 + i % 4);
            run.run_for(1);
        }
        run.crash(0);
        let crashed_ms = run.now_ms();
        let late = run.ask(2);
        run.run_for(1000);
        assert!(run.all_answered(), "{variant:?}");
        let gap_ms = ms_since(&run, crashed_ms, late);
        assert!((150..320).contains(&gap_ms), "{variant:?}: {gap_ms} ms without a leader");
        assert!(run.has_converged(), "{variant:?}");
    }
}

#[test]
fn an_old_leader_cut_off_decides_nothing_and_follows_once_it_is_back() {
    for variant in VARIANTS {
        let mut run = script(5, options(variant));
        run.run_for(300);
        run.cut(Cut::Split(NodeId(2)));
        for i in 0..20 {
            run.ask(i % 5);
            run.run_for(20);
        }
        run.run_for(1000);
        assert_eq!(run.counter(0, "instances"), run.counter(1, "instances"));
        assert!(run.counter(4, "instances") > run.counter(0, "instances"), "{variant:?}");
        run.mend();
        run.run_for(3000);
        // What a state brought along is answered to the client that asks again.
        run.ask_again();
        run.run_for(500);
        assert!(run.all_answered(), "{variant:?}");
        assert!(run.has_converged(), "{variant:?}");
    }
}

/// The explorer found it (seeds 1328600, 1379426 and 1449298 of its time): a process that led for a
/// moment decided and was cut off for good, and who led before and after, and had noticed nothing,
/// learned of it only with the next command.
#[test]
fn what_a_passing_leader_decided_is_delivered_without_another_command() {
    for variant in VARIANTS {
        let mut run = script(3, options(variant));
        run.run_for(300);
        let known = run.counter(0, "instances");
        run.cut(Cut::Mute(NodeId(0)));
        while run.counter(1, "elections") == 0 {
            run.run_for(1);
        }
        if variant == Variant::Multi {
            // It decides nothing by itself.
            run.ask(1);
        }
        while run.counter(1, "writes") == 0 {
            run.run_for(1);
        }
        // Its WRITE has arrived, and what it makes of the answers nobody will hear.
        run.run_for(6);
        run.mend();
        run.cut(Cut::Mute(NodeId(1)));
        run.run_for(2000);
        let delivered = [0, 1, 2].map(|node| run.counter(node, "instances"));
        assert!(delivered[1] > known, "{variant:?}: {delivered:?}");
        assert_eq!(run.counter(0, "elections"), 0, "{variant:?}: p0 never ceased to lead");
        assert!(delivered.iter().all(|n| *n >= delivered[1]), "{variant:?}: {delivered:?}");
        assert!(run.all_answered() && run.has_converged(), "{variant:?}");
    }
}

/// p2 is cut off while 100 commands are decided, of which logs keep 10, and comes back.
fn one_lags_behind_every_log() -> Script<Paxos> {
    let few = PaxosOptions { log_instances_max: 10, ..options(Variant::Multi) };
    let mut run = script(3, few);
    run.run_for(100);
    run.cut(Cut::Alone(NodeId(2)));
    for _ in 0..100 {
        run.ask(0);
        run.run_for(20);
    }
    run.mend();
    run.run_for(2000);
    run
}

#[test]
fn a_process_that_lags_behind_every_log_is_sent_the_state() {
    let mut run = one_lags_behind_every_log();
    assert_eq!(run.counter(2, "states_installed"), 1);
    assert!(run.has_converged());
    run.ask(2);
    run.run_for(500);
    assert!(run.all_answered() && run.has_converged());
}

#[test]
fn a_process_that_was_sent_the_state_recovers_with_it_and_with_what_it_stored_since() {
    let mut run = one_lags_behind_every_log();
    for _ in 0..5 {
        run.ask(0);
        run.run_for(20);
    }
    assert_eq!(run.counter(2, "states_installed"), 1);
    let delivered = run.counter(2, "instances");
    run.crash(2);
    run.cut(Cut::Alone(NodeId(2)));
    run.restart(2);
    run.run_for(1);
    assert_eq!(run.counter(2, "instances"), delivered, "from its log alone");
    assert!(run.has_converged());
}

#[test]
fn a_process_that_lags_for_less_than_the_election_timeout_is_served_from_the_log() {
    let mut run = script(3, options(Variant::Multi));
    run.run_for(300);
    run.cut(Cut::Alone(NodeId(2)));
    for _ in 0..15 {
        run.ask(0);
        run.run_for(10);
    }
    run.mend();
    run.run_for(500);
    assert_eq!(run.counter(2, "states_installed"), 0);
    assert!(run.has_converged());
}

#[test]
fn logs_are_truncated_behind_what_live_processes_have_delivered() {
    let mut run = script(3, options(Variant::Multi));
    run.run_for(1);
    run.crash(2);
    run.run_for(500);
    for _ in 0..200 {
        run.ask(1);
        run.run_for(5);
    }
    run.run_for(200);
    for node in [0, 1] {
        let (kept, all) = (run.counter(node, "log_instances"), run.counter(node, "instances"));
        assert!(kept < 20 && all > 100, "{kept} instances of {all}");
    }
}
