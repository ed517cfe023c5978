//! The modules together: agreement, order and progress under loss, crashes and duels.

mod harness;
mod mutants;
mod scripted;

use self::harness::{CALM, Faults, World};
use super::{PaxosOptions, Variant};

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

fn ms_until_answered(world: &mut World, node: u8) -> u64 {
    let before = world.now_ms();
    let sequence = world.ask(node);
    world.run_for(200);
    world.answered[&sequence] / 1_000_000 - before
}

#[test]
fn a_stable_period_costs_one_round_trip_beyond_the_way_to_the_leader_and_regular_two() {
    // Every message takes 5 ms: forward, write, ack, decision are four; regular adds read and ack.
    for (variant, expected_ms) in
        [(Variant::Multi, 20), (Variant::Fall, 20), (Variant::Regular, 30)]
    {
        let mut world = World::new(5, options(variant), CALM, 1);
        world.run_for(300);
        ms_until_answered(&mut world, 3);
        let took = ms_until_answered(&mut world, 3);
        assert!((expected_ms..expected_ms + 6).contains(&took), "{variant:?} took {took} ms");
        let at_leader = ms_until_answered(&mut world, 0);
        assert!((expected_ms - 10..expected_ms - 4).contains(&at_leader), "{at_leader} ms");
    }
}

#[test]
fn a_command_in_a_stable_period_costs_the_messages_of_the_paper() {
    for (variant, reads) in [(Variant::Multi, 0), (Variant::Fall, 0), (Variant::Regular, 10)] {
        let mut world = World::new(3, options(variant), CALM, 1);
        world.run_for(500);
        ms_until_answered(&mut world, 0);
        world.sent.clear();
        for _ in 0..5 {
            ms_until_answered(&mut world, 0);
        }
        let sent = |kind| world.sent.get(kind).copied().unwrap_or(0);
        assert_eq!((sent("read"), sent("ack_read")), (reads, reads), "{variant:?}");
        assert_eq!((sent("write"), sent("ack_write")), (10, 10), "{variant:?}");
        assert_eq!(sent("decision"), 10, "{variant:?}: nothing to ride on");
    }
}

#[test]
fn the_fall_variant_writes_by_permission_and_reads_again_after_a_change_of_leader() {
    let mut world = World::new(3, options(Variant::Fall), CALM, 1);
    world.run_for(300);
    for _ in 0..4 {
        ms_until_answered(&mut world, 1);
    }
    let reads = world.counter(0, "reads");
    assert_eq!(world.counter(0, "writes_without_read"), 4);
    world.crash(0);
    world.run_for(500);
    for _ in 0..4 {
        ms_until_answered(&mut world, 1);
    }
    assert_eq!(world.counter(1, "reads"), 1, "the probe");
    assert_eq!(world.counter(1, "writes_without_read"), 4);
    assert_eq!(reads, 1);
}

#[test]
fn one_process_alone_decides() {
    let mut world = World::new(1, options(Variant::Multi), CALM, 1);
    world.run_for(50);
    ms_until_answered(&mut world, 0);
    assert!(world.all_answered());
}

#[test]
fn a_new_leader_takes_over_within_the_election_timeout_and_loses_nothing() {
    for variant in VARIANTS {
        let mut world = World::new(5, options(variant), CALM, 7);
        world.run_for(300);
        for i in 0..50 {
            world.ask(1 + i % 4);
            world.run_for(1);
        }
        world.crash(0);
        let crashed_at = world.now_ms();
        let late = world.ask(2);
        world.run_for(1000);
        assert!(world.all_answered(), "{variant:?}");
        let gap = world.answered[&late] / 1_000_000 - crashed_at;
        assert!((150..320).contains(&gap), "{variant:?}: {gap} ms without a leader");
        world.assert_converged();
    }
}

#[test]
fn an_old_leader_cut_off_decides_nothing_and_follows_once_it_is_back() {
    for variant in VARIANTS {
        let mut world = World::new(5, options(variant), CALM, 7);
        world.run_for(300);
        world.cut = Box::new(|a, b| (a < 2) != (b < 2));
        for i in 0..20 {
            world.ask(i % 5);
            world.run_for(20);
        }
        world.run_for(1000);
        assert_eq!(world.counter(0, "instances"), world.counter(1, "instances"));
        assert!(world.counter(4, "instances") > world.counter(0, "instances"), "{variant:?}");
        world.cut = Box::new(|_, _| false);
        world.run_for(3000);
        // What a state brought along is answered to the client that asks again.
        world.retry_unanswered();
        world.run_for(500);
        assert!(world.all_answered(), "{variant:?}");
        world.assert_converged();
    }
}

#[test]
fn a_process_that_lags_behind_every_log_is_sent_the_state() {
    let mut few = options(Variant::Multi);
    few.log_instances_max = 10;
    let mut world = World::new(3, few, CALM, 3);
    world.run_for(100);
    world.cut = Box::new(|a, b| a == 2 || b == 2);
    for _ in 0..100 {
        world.ask(0);
        world.run_for(20);
    }
    world.cut = Box::new(|_, _| false);
    world.run_for(2000);
    assert!(world.counter(2, "states_installed") >= 1);
    world.assert_converged();
    world.ask(2);
    world.run_for(500);
    assert!(world.all_answered());
    world.assert_converged();
}

#[test]
fn a_process_that_was_sent_the_state_recovers_with_it_and_with_what_it_stored_since() {
    let mut few = options(Variant::Multi);
    few.log_instances_max = 10;
    let mut world = World::new(3, few, CALM, 3);
    world.run_for(100);
    world.cut = Box::new(|a, b| a == 2 || b == 2);
    for _ in 0..100 {
        world.ask(0);
        world.run_for(20);
    }
    world.cut = Box::new(|_, _| false);
    world.run_for(2000);
    for _ in 0..5 {
        world.ask(0);
        world.run_for(20);
    }
    assert_eq!(world.counter(2, "states_installed"), 1);
    let delivered = world.counter(2, "instances");
    world.crash(2);
    world.cut = Box::new(|_, _| true);
    world.restart(2);
    assert_eq!(world.counter(2, "instances"), delivered, "from its log alone");
    world.assert_converged();
}

#[test]
fn a_process_that_lags_for_less_than_the_election_timeout_is_served_from_the_log() {
    let mut world = World::new(3, options(Variant::Multi), CALM, 3);
    world.run_for(300);
    world.cut = Box::new(|a, b| a == 2 || b == 2);
    for _ in 0..15 {
        world.ask(0);
        world.run_for(10);
    }
    world.cut = Box::new(|_, _| false);
    world.run_for(500);
    assert_eq!(world.counter(2, "states_installed"), 0);
    world.assert_converged();
}

#[test]
fn logs_are_truncated_behind_what_live_processes_have_delivered() {
    let mut world = World::new(3, options(Variant::Multi), CALM, 3);
    world.crash(2);
    world.run_for(500);
    for _ in 0..200 {
        world.ask(1);
        world.run_for(5);
    }
    world.run_for(200);
    for node in [0, 1] {
        assert!(world.log_length(node) < 20, "{} instances kept", world.log_length(node));
    }
}

/// A soak run found it: a follower that had caught up by UPDATE answered each of many late WRITEs with
/// all that it had delivered since, which filled its link to the leader.
#[test]
fn a_late_write_to_a_process_that_has_delivered_is_not_answered_with_the_log() {
    let mut world = World::new(3, options(Variant::Multi), CALM, 3);
    world.run_for(100);
    for _ in 0..50 {
        world.ask(0);
        world.run_for(20);
    }
    world.run_for(500);
    world.sent.clear();
    world.repeat_last_writes(2, 40);
    world.run_for(100);
    assert_eq!(world.sent.get("update"), None);
    assert!(world.all_answered());
}

/// Ways to cut a cluster's links for a while.
fn random_cut(world: &mut World, size: u8) {
    let (a, b) = (world.up_at_random(), world.up_at_random());
    let bridge = size / 2;
    match world.below(5) {
        // One link, one way.
        0 => world.cut = Box::new(move |from, to| from == a && to == b),
        // One process is not heard, or hears nobody.
        1 => world.cut = Box::new(move |from, _| from == a),
        2 => world.cut = Box::new(move |_, to| to == a),
        // Two sides that only one process can speak with.
        3 => {
            world.cut = Box::new(move |from, to| {
                from != bridge && to != bridge && (from < bridge) != (to < bridge)
            });
        }
        // A minority, the first leader in it, and a majority.
        _ => world.cut = Box::new(move |from, to| (from < bridge) != (to < bridge)),
    }
}

/// One disturbance, or the end of one.
fn disturb(world: &mut World, size: u8) {
    let down: Vec<u8> = (0..size).filter(|node| !world.is_up(*node)).collect();
    let minority = usize::from(size - 1) / 2;
    if down.len() < minority && world.chance(8) {
        let node = world.up_at_random();
        world.crash_at_an_edge(node);
    } else if let Some(node) = down.first()
        && world.chance(15)
    {
        world.restart(*node);
    }
    if world.chance(6) {
        random_cut(world, size);
    } else if world.chance(12) {
        world.cut = Box::new(|_, _| false);
    }
    if world.chance(4) {
        let (node, ms) = (world.up_at_random(), world.below(400));
        world.pause(node, u64::from(ms));
    }
    if world.chance(10) {
        world.retry_unanswered();
    }
}

/// Runs a storm of loss, duplicates, reordering, cuts, pauses, crashes and restarts, then a calm phase
/// in which everything must be answered. What must never happen is checked at every step.
fn storm(options: PaxosOptions, size: u8, seed: u64) {
    let faults = Faults { loss: 10, duplicates: 10, delay_ms: (1, 40), sync_ms: (0, 10) };
    let mut world = World::new(size, options, faults, seed);
    for _ in 0..60 {
        let node = world.up_at_random();
        world.ask(node);
        world.run_for(15);
        disturb(&mut world, size);
    }
    world.faults = CALM;
    world.cut = Box::new(|_, _| false);
    for node in 0..size {
        if !world.is_up(node) {
            world.restart(node);
        }
    }
    // What one process delivered, all deliver, though no client asks for anything more.
    world.run_for(4000);
    for node in 0..size {
        let (instances, all) = (world.counter(node, "instances"), world.delivered());
        assert_eq!(instances, all, "{options:?}, seed {seed}: p{node} lags for ever");
    }
    world.assert_terminated();
    for _ in 0..4 {
        world.retry_unanswered();
        world.run_for(1500);
    }
    assert!(world.all_answered(), "{options:?}, {size} processes, seed {seed}: stuck");
    world.assert_converged();
}

/// The options of a storm: every third keeps so short a log that who lags is sent the state.
fn stormy(variant: Variant, seed: u64) -> PaxosOptions {
    let log_instances_max = if seed.is_multiple_of(3) { 3 } else { 65_536 };
    PaxosOptions { log_instances_max, ..options(variant) }
}

#[test]
fn every_variant_keeps_order_and_makes_progress_through_storms() {
    for variant in VARIANTS {
        for seed in 0..100 {
            storm(stormy(variant, seed), 3, seed);
            storm(stormy(variant, seed), 5, seed);
        }
    }
}

/// As many storms as asked for: `PAXOS_STORMS=from..to cargo test --release --lib storms_at -- --ignored`.
#[test]
#[ignore = "minutes long: run it by hand"]
fn storms_at_scale() {
    let range = std::env::var("PAXOS_STORMS").unwrap_or_else(|_| "0..1000".to_owned());
    let (from, to) = range.split_once("..").expect("from..to");
    for seed in from.parse().expect("a number")..to.parse().expect("a number") {
        for variant in VARIANTS {
            storm(stormy(variant, seed), if seed % 2 == 0 { 3 } else { 5 }, seed);
        }
    }
}
