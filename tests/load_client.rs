//! The clients against replicas that all know what has taken effect.

mod load_common;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::time::Duration;

use load_common::*;
use paxbench::command::{Command, CommandId, NodeId, Outcome, SESSION_WINDOW};
use paxbench::kv::{Executed, Replicated, Store};
use paxbench::load::client::{Clients, SiteIdentity};
use paxbench::load::plan::{Arrival, OperationMix};
use paxbench::load::recorder::{Phases, Recorder};
use paxbench::wire::Reply;

#[test]
fn a_stall_of_a_second_shows_in_every_operation_that_was_scheduled_in_it() {
    let mut plan = plan(Arrival::Constant { rate_per_s: 1000.0 });
    plan.retry_after = Duration::from_secs(2);
    let stall = 3 * SECOND..4 * SECOND;
    let stalled = stall.clone();
    let service = Box::new(move |now: u64, _: NodeId, _: &Command| {
        Some(if stalled.contains(&now) { stalled.end + MS } else { now + MS })
    });
    let mut world = all_connected(World::new(&plan, service));
    world.run_until(6 * SECOND);
    let (log, record, _) = world.finish();
    let hit: Vec<_> = log.ended.iter().filter(|(s, _, _)| stall.contains(s)).collect();
    assert_eq!(hit.len(), 1000);
    for (scheduled_ns, ended_ns, _) in hit {
        assert_eq!(*ended_ns, stall.end + MS, "scheduled at {scheduled_ns}");
    }
    let latencies: Vec<u64> = record
        .operations
        .iter()
        .flat_map(|o| o.latency.0.iter().flat_map(|(v, n)| vec![*v; *n as usize]))
        .collect();
    assert_eq!(latencies.len(), 5000);
    // Latencies in the stall fall evenly from 1001 ms to 1 ms: half of its 1000 are over 501 ms.
    let slow = latencies.iter().filter(|l| **l > 501 * MS).count();
    assert!((498..=502).contains(&slow), "{slow} slow operations");
}

#[test]
fn latency_counts_from_the_schedule_even_if_the_generator_is_late() {
    let mut plan = plan(Arrival::Constant { rate_per_s: 1000.0 });
    plan.warmup = Duration::ZERO;
    let mut clients = clients(&plan);
    let mut log = Log::default();
    let mut recorder = Recorder::new(Phases { start_ns: 0, measure_ns: 0, end_ns: SECOND });
    clients.connected(0, NodeId(0), &mut log);
    recorder.handled(70 * MS, 20 * MS);
    clients.arrive(70 * MS, 20 * MS, &mut log);
    let command = log.sent[0].1.clone();
    let mut store = Store::default();
    let Executed::Applied(outcome) = store.execute(&command) else { panic!("the first time") };
    let reply = Reply { id: command.id, outcome: outcome.clone() };
    log.recorder = Some(recorder);
    clients.reply(80 * MS, NodeId(0), &reply, &mut log);
    let record = log.recorder.take().unwrap().finish();
    let near = |value: f64, wanted: f64| (value / wanted - 1.0).abs() < 0.001;
    assert!(near(record.operations[0].latency_ms.unwrap().p50, 60.0));
    assert!(near(record.operations[0].service_ms.unwrap().p50, 10.0));
    assert!(near(record.schedule_lag_ms.unwrap().p99_9, 50.0));
}

#[test]
fn retries_under_loss_never_make_a_second_command_and_sequences_stay_dense() {
    let plan = plan(Arrival::Poisson { rate_per_s: 2000.0 });
    // Two of three sendings are lost, by a rule that hits retries as well.
    let mut count = 0_u64;
    let service = Box::new(move |now: u64, _: NodeId, _: &Command| {
        count += 1;
        (count.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62 == 0).then_some(now + 2 * MS)
    });
    let mut world = all_connected(World::new(&plan, service));
    world.run_until(6 * SECOND);
    world.clients.stop_issuing();
    world.run_until(2000 * SECOND);
    assert!(world.log.ended.iter().all(|(_, _, ending)| *ending != Ending::Unsent));
    let issued = world.log.began.len() as u64;
    assert_eq!(world.store.applied(), issued, "each operation took effect exactly once");
    let counters = world.clients.counters();
    assert!(counters.retries > issued, "{counters:?}");
    let mut operations: HashMap<CommandId, Command> = HashMap::new();
    for (_, command) in &world.log.sent {
        let first = operations.entry(command.id).or_insert_with(|| command.clone());
        assert_eq!(first.operation, command.operation, "one id, one operation");
    }
    let mut next: HashMap<_, u64> = HashMap::new();
    let mut ids: Vec<_> = operations.keys().copied().collect();
    ids.sort();
    for id in ids {
        let expected = next.entry(id.client).or_default();
        assert_eq!(id.sequence, *expected);
        *expected += 1;
    }
    assert_eq!(next.len(), 4);
}

#[test]
fn a_full_window_holds_commands_back_and_their_latency_still_counts_from_the_schedule() {
    let mut plan = plan(Arrival::Constant { rate_per_s: 20_000.0 });
    plan.clients_per_site = 1;
    plan.timeout = Duration::from_secs(10);
    plan.retry_after = Duration::from_secs(10);
    let release = 1500 * MS;
    let service = Box::new(move |now: u64, _: NodeId, _: &Command| Some(now.max(release) + MS));
    let mut world = all_connected(World::new(&plan, service));
    world.run_until(release - MS);
    assert_eq!(world.log.sent.len() as u64, SESSION_WINDOW);
    assert!(world.clients.pending() > SESSION_WINDOW);
    world.run_until(release + 3 * MS);
    let held = world.log.ended.iter().filter_map(|(s, e, ending)| match ending {
        Ending::Answered { sent_ns, .. } if *sent_ns > s + MS => Some((*s, *e, *sent_ns)),
        _ => None,
    });
    let held: Vec<_> = held.collect();
    assert!(held.len() > 10_000, "{}", held.len());
    let recorder = world.log.recorder.take().unwrap();
    let record = recorder.finish();
    let latest = record.operations.iter().filter_map(|o| o.latency_ms).map(|l| l.max);
    let service = record.operations.iter().filter_map(|o| o.service_ms).map(|l| l.p50);
    assert!(latest.fold(0.0, f64::max) > 480.0);
    assert!(service.fold(f64::MAX, f64::min) < 1000.0);
}

#[test]
fn an_operation_beyond_the_queues_bound_is_an_error_at_once_and_is_never_sent() {
    let mut plan = plan(Arrival::Constant { rate_per_s: 1.0 });
    plan.clients_per_site = 1;
    let mut clients = clients(&plan);
    let mut log = Log::default();
    for at in 0..20_000 {
        clients.arrive(at, at, &mut log);
    }
    assert!(log.sent.is_empty() && log.began.is_empty());
    assert_eq!(log.ended.len(), 20_000 - (1 << 14));
    assert!(log.ended.iter().all(|(_, _, ending)| *ending == Ending::Unsent));
    clients.tick(4 * SECOND, &mut log);
    assert_eq!(log.ended.len(), 20_000, "what waited was given up after the timeout");
    assert_eq!(clients.pending(), 0);
}

#[test]
fn a_lost_connection_moves_outstanding_commands_to_the_next_and_home_is_preferred_again() {
    let mut plan = plan(Arrival::Constant { rate_per_s: 1000.0 });
    plan.retry_after = Duration::from_secs(2);
    let service = steady(5 * MS);
    let world = all_connected(World::new(&plan, service));
    let world = world.change(2 * SECOND + MS / 2, Change::Lost(0));
    let mut world = world.change(3 * SECOND + MS / 2, Change::Connected(0));
    world.run_until(6 * SECOND);
    let by_time = |range: std::ops::Range<u64>| -> HashSet<NodeId> {
        let begun = world.log.began.iter().filter(|b| range.contains(&b.now_ns)).count();
        assert!(begun > 900);
        let sent = world.log.sent.iter().zip(first_sendings(&world.log));
        sent.filter(|(_, at)| at.is_some_and(|at| range.contains(&at))).map(|(s, _)| s.0).collect()
    };
    assert_eq!(by_time(0..2 * SECOND), HashSet::from([NodeId(0)]));
    assert_eq!(by_time(2 * SECOND + MS..3 * SECOND), HashSet::from([NodeId(1)]));
    assert_eq!(by_time(3 * SECOND + MS..6 * SECOND), HashSet::from([NodeId(0)]));
    let counters = world.clients.counters();
    assert!((4..=6).contains(&counters.resends), "5 ms at 1000/s: {counters:?}");
    assert_eq!(counters.retries, 0);
    assert_eq!(world.log.unknown(), 0);
}

/// For each sending the time it began, if it is the first of its command.
fn first_sendings(log: &Log) -> Vec<Option<u64>> {
    let mut begun = log.began.iter();
    let mut known = HashSet::new();
    let first = |id| known.insert(id).then(|| begun.next().unwrap().now_ns);
    log.sent.iter().map(|(_, c)| c.id).map(first).collect()
}

#[test]
fn without_any_connection_operations_wait_and_go_out_with_the_first_one() {
    let plan = plan(Arrival::Constant { rate_per_s: 1000.0 });
    let mut world = World::new(&plan, steady(MS)).change(500 * MS, Change::Connected(2));
    world.run_until(499 * MS);
    assert!(world.log.sent.is_empty());
    world.run_until(502 * MS);
    assert!(world.log.sent.len() >= 500);
    assert!(world.log.ended.len() >= 499);
    let (_, _, clients) = world.finish();
    assert_eq!(clients.pending(), 0);
}

#[test]
fn commands_that_lost_their_last_connection_are_sent_with_the_next_one() {
    let plan = plan(Arrival::Closed { outstanding: 3 });
    let silent = Box::new(|now: u64, to: NodeId, _: &Command| (to.0 == 1).then_some(now + MS));
    let world = World::new(&plan, silent).change(0, Change::Connected(0));
    let world = world.change(50 * MS, Change::Lost(0));
    let mut world = world.change(60 * MS, Change::Connected(1));
    world.clients.start(0, &mut world.log);
    world.run_until(55 * MS);
    assert_eq!(world.log.sent.len(), 12);
    world.run_until(60 * MS);
    let resent: HashSet<_> = world.log.sent[12..].iter().map(|(to, c)| (*to, c.id)).collect();
    let first: HashSet<_> = world.log.sent[..12].iter().map(|(_, c)| (NodeId(1), c.id)).collect();
    assert_eq!(resent, first);
}

#[test]
fn a_replica_that_falls_silent_is_avoided_after_one_retry_time_and_preferred_once_it_speaks() {
    let plan = plan(Arrival::Constant { rate_per_s: 1000.0 });
    let silence = 2 * SECOND..3 * SECOND;
    let quiet = silence.clone();
    let service = Box::new(move |now: u64, to: NodeId, _: &Command| {
        (to.0 != 0 || !quiet.contains(&now)).then_some(now + MS)
    });
    let mut world = all_connected(World::new(&plan, service));
    world.run_until(6 * SECOND);
    let firsts = first_sendings(&world.log);
    let to_home = |range: std::ops::Range<u64>| {
        let sent = world.log.sent.iter().zip(&firsts);
        sent.filter(|((to, _), at)| to.0 == 0 && at.is_some_and(|at| range.contains(&at))).count()
    };
    assert_eq!(to_home(2 * SECOND + 450 * MS..3 * SECOND), 0);
    // Back within one retry time, one tick and one probe's round trip.
    assert!(to_home(3 * SECOND + 440 * MS..4 * SECOND) >= 550);
    let counters = world.clients.counters();
    assert_eq!(counters.suspicions, 1);
    // The explorer found it: a copy each tick kept a slow cluster busy with nothing else for ever.
    assert!((1..=3).contains(&counters.probes), "{counters:?}");
    assert_eq!(world.log.unknown(), 0);
    let slow = world.log.ended.iter().filter(|(s, e, _)| e - s > 300 * MS).count();
    assert!((380..=440).contains(&slow), "{slow} paid for the silence");
}

#[test]
fn retries_go_round_the_replicas_and_back_off_up_to_their_limit() {
    let mut plan = plan(Arrival::Closed { outstanding: 1 });
    plan.clients_per_site = 1;
    plan.retry_after = Duration::from_millis(100);
    plan.timeout = Duration::from_secs(1000);
    let mut clients = clients(&plan);
    let mut log = Log::default();
    for n in 0..3 {
        clients.connected(0, NodeId(n), &mut log);
    }
    clients.start(0, &mut log);
    let (mut times, mut tried) = (vec![0], vec![log.sent[0].0.0]);
    for tick in 1..20_000 {
        let (before, sent) = (clients.counters().retries, log.sent.len());
        clients.tick(tick * MS, &mut log);
        if clients.counters().retries > before {
            times.push(tick);
            tried.push(log.sent[sent].0.0); // a retry goes out before the tick's probes
        }
    }
    assert_eq!(tried, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]);
    let gaps: Vec<u64> = times.windows(2).map(|w| w[1] - w[0]).collect();
    assert_eq!(gaps, [100, 200, 400, 800, 1600, 3200, 3200, 3200, 3200, 3200]);
    let probes = clients.counters().probes as usize;
    assert_eq!(log.sent.len(), times.len() + probes);
}

#[test]
fn a_timed_out_operation_is_an_error_once_and_its_process_is_never_used_again() {
    let plan = plan(Arrival::Constant { rate_per_s: 500.0 });
    // Every seventh command is answered only after five seconds, whoever is asked.
    let mut slow = HashMap::new();
    let service = Box::new(move |now: u64, _: NodeId, command: &Command| {
        let late = command.id.sequence % 7 == 3;
        let first = *slow.entry(command.id).or_insert(now);
        Some(if late { first.max(now) + 5 * SECOND } else { now + MS })
    });
    let mut world = all_connected(World::new(&plan, service));
    world.run_until(6 * SECOND);
    let (log, record, clients) = world.finish();
    let dead: HashSet<u64> = log
        .ended
        .iter()
        .filter_map(|(_, _, e)| match e {
            Ending::Unknown { process } => Some(*process),
            _ => None,
        })
        .collect();
    assert_eq!(dead.len(), log.unknown(), "a dead process does not time out again");
    assert!((420..=436).contains(&dead.len()), "{} of 3000", dead.len());
    for (scheduled, ended, ending) in &log.ended {
        if let Ending::Unknown { .. } = ending {
            assert!((3 * SECOND..3 * SECOND + 26 * MS).contains(&(ended - scheduled)));
        }
    }
    assert_eq!(log.ended.len(), log.began.len());
    let mut uses: HashMap<u64, u32> = HashMap::new();
    for begun in &log.began {
        *uses.entry(begun.process).or_default() += 1;
    }
    let answered = |p: &u64| {
        log.ended
            .iter()
            .filter(|(_, _, e)| matches!(e, Ending::Answered { process, .. } if process == p))
            .count() as u32
    };
    assert!(dead.iter().all(|p| uses[p] == answered(p) + 1));
    assert_eq!(clients.counters().late_replies as usize, dead.len());
    let errors: u64 = record.operations.iter().map(|o| o.errors.unknown).sum();
    assert_eq!(errors + record.warmup_errors, dead.len() as u64);
}

#[test]
fn a_process_has_one_operation_at_a_time() {
    let plan = plan(Arrival::Poisson { rate_per_s: 3000.0 });
    let mut world = all_connected(World::new(&plan, steady(7 * MS)));
    world.run_until(6 * SECOND);
    let mut busy_until: HashMap<u64, u64> = HashMap::new();
    let mut ends: HashMap<u64, BinaryHeap<Reverse<u64>>> = HashMap::new();
    for (_, at, ending) in &world.log.ended {
        if let Ending::Answered { process, .. } = ending {
            ends.entry(*process).or_default().push(Reverse(*at));
        }
    }
    for begun in &world.log.began {
        let free_at = busy_until.get(&begun.process).copied().unwrap_or(0);
        assert!(begun.now_ns >= free_at);
        let end = ends.get_mut(&begun.process).and_then(BinaryHeap::pop);
        busy_until.insert(begun.process, end.map_or(u64::MAX, |Reverse(at)| at));
    }
    assert!(busy_until.len() < 100, "processes are used again: {}", busy_until.len());
}

#[test]
fn a_closed_loop_keeps_exactly_its_number_outstanding() {
    let plan = plan(Arrival::Closed { outstanding: 5 });
    let mut count = 0_u64;
    let uneven = Box::new(move |now: u64, _: NodeId, _: &Command| {
        count += 1;
        Some(now + MS + (count * 7919 % 13) * MS)
    });
    let mut world = all_connected(World::new(&plan, uneven));
    world.begin();
    while world.now_ns < 3 * SECOND {
        assert_eq!(world.clients.pending(), 20);
        assert_eq!(world.log.began.len() - world.log.ended.len(), 20);
        world.step();
    }
    world.clients.stop_issuing();
    world.run_until(4 * SECOND);
    assert_eq!(world.clients.pending(), 0);
}

#[test]
fn a_closed_loop_goes_on_when_its_operations_time_out() {
    let plan = plan(Arrival::Closed { outstanding: 2 });
    let mut world = all_connected(World::new(&plan, Box::new(|_, _, _| None)));
    world.begin();
    world.run_until(7 * SECOND);
    // Eight at the start, eight after three seconds and eight after six.
    assert_eq!((world.log.began.len(), world.log.unknown()), (24, 16));
    assert_eq!(world.clients.pending(), 8);
}

fn commands(seed: u64, nonce: u64, name: &str) -> Vec<(NodeId, Command)> {
    let mut plan = plan(Arrival::Poisson { rate_per_s: 1000.0 });
    plan.seed = seed;
    let mut world = all_connected(World::new(&plan, steady(3 * MS)));
    let site = SiteIdentity { name: name.to_owned(), index: 0, run_nonce: nonce };
    let replicas = [NodeId(0), NodeId(1), NodeId(2)];
    world.clients = Clients::new(&plan, &site, &replicas).unwrap();
    world.run_until(2 * SECOND);
    world.log.sent
}

#[test]
fn equal_seeds_give_equal_commands_and_other_seeds_sites_or_runs_give_others() {
    let first = commands(1, 5, "tokyo");
    assert!(first.len() > 1500);
    assert_eq!(first, commands(1, 5, "tokyo"));
    assert_ne!(first, commands(2, 5, "tokyo"));
    let client = |sent: &[(NodeId, Command)]| sent[0].1.id.client;
    assert_ne!(client(&first), client(&commands(1, 6, "tokyo")));
    assert_ne!(client(&first), client(&commands(1, 5, "ireland")));
}

#[test]
fn an_answer_with_bytes_that_nobody_wrote_is_recorded_as_corrupt() {
    let mut plan = plan(Arrival::Constant { rate_per_s: 1.0 });
    plan.operations = OperationMix { get: 1.0, ..Default::default() };
    plan.warmup = Duration::ZERO;
    let mut clients = clients(&plan);
    let phases = Phases { start_ns: 0, measure_ns: 0, end_ns: SECOND };
    let mut log = Log { recorder: Some(Recorder::new(phases)), ..Log::default() };
    clients.connected(0, NodeId(0), &mut log);
    clients.arrive(0, 0, &mut log);
    let id = log.sent[0].1.id;
    let value = paxbench::command::Value::from_slice(b"sixteen bytes ok");
    let reply = Reply { id, outcome: Outcome::Found(Some(value)) };
    clients.reply(MS, NodeId(0), &reply, &mut log);
    assert!(matches!(log.ended[0].2, Ending::Answered { corrupt: true, .. }));
    let record = log.recorder.take().unwrap().finish();
    assert_eq!(record.operations[0].corrupt, 1);
}

#[test]
fn replies_that_answer_nothing_are_counted_and_change_nothing() {
    let mut plan = plan(Arrival::Constant { rate_per_s: 1.0 });
    plan.operations = OperationMix { put: 1.0, ..Default::default() };
    let mut clients = clients(&plan);
    let mut log = Log::default();
    clients.connected(0, NodeId(0), &mut log);
    clients.arrive(0, 0, &mut log);
    let id = log.sent[0].1.id;
    let mut reply = |id, outcome| {
        clients.reply(MS, NodeId(0), &Reply { id, outcome }, &mut log);
        (clients.counters().bad_replies, clients.counters().duplicate_replies, log.ended.len())
    };
    let unknown = paxbench::command::ClientId(id.client.0 ^ (1 << 40));
    assert_eq!(reply(CommandId { client: unknown, ..id }, Outcome::Done), (1, 0, 0));
    assert_eq!(reply(CommandId { sequence: 1, ..id }, Outcome::Done), (2, 0, 0));
    assert_eq!(reply(id, Outcome::Found(None)), (3, 0, 0));
    assert_eq!(reply(id, Outcome::Done), (3, 0, 1));
    assert_eq!(reply(id, Outcome::Done), (3, 1, 1));
}

#[test]
fn every_measured_operation_is_counted_once_in_each_of_the_records() {
    let plan = plan(Arrival::Constant { rate_per_s: 1000.0 });
    let mut world = all_connected(World::new(&plan, steady(30 * MS)));
    world.run_until(6 * SECOND);
    let (log, record, _) = world.finish();
    let count: u64 = record.operations.iter().map(|o| o.count).sum();
    assert_eq!((count, record.warmup_completed), (5000, 1000));
    for operation in &record.operations {
        let mut merged = paxbench::results::new_histogram();
        operation.intervals.iter().for_each(|i| i.counts.add_to(&mut merged));
        assert_eq!(merged, operation.latency.histogram());
        let log = operation.interval_log(std::time::SystemTime::UNIX_EPOCH);
        assert_eq!(log.merged(), merged);
    }
    let completed: u64 = record.timeline.iter().map(|b| b.completed).sum();
    assert_eq!(completed, log.ended.len() as u64);
    assert_eq!(record.timeline[0].t_ms, -1000);
    assert!(record.timeline[12..40].iter().all(|b| b.completed == 100));
    // 30 from the warm-up complete in the window, and 30 of the window after it.
    assert_eq!(record.completed_in_window, 5000);
}

#[test]
fn random_failures_neither_lose_nor_double_an_operation() {
    for seed in 0..150 {
        let mut world = chaotic_world(seed, |_| ());
        world.begin();
        while world.now_ns < 6 * SECOND {
            world.step();
            let open = world.clients.pending() as usize + world.log.ended.len();
            let unsent = world.log.ended.iter().filter(|(_, _, e)| *e == Ending::Unsent).count();
            assert!(open >= world.log.began.len() + unsent, "seed {seed}");
        }
        world.clients.stop_issuing();
        world.run_until(100 * SECOND);
        assert_eq!(world.clients.pending(), 0, "seed {seed}");
        let unsent = world.log.ended.iter().filter(|(_, _, e)| *e == Ending::Unsent).count();
        assert_eq!(world.log.ended.len(), world.log.began.len() + unsent, "seed {seed}");
        let applied = world.store.applied() as usize;
        assert_eq!(applied, world.log.began.len(), "seed {seed}: each takes effect once");
        let (counters, late) = (world.clients.counters(), world.log.unknown() as u64);
        assert_eq!((counters.late_replies, counters.bad_replies), (late, 0), "seed {seed}");
    }
}
