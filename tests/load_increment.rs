//! Increments: a get, then a put of the next value, measured as one operation.

mod load_common;

use std::collections::HashSet;
use std::time::Duration;

use load_common::*;
use paxbench::check::history::{Call, Stage};
use paxbench::check::{Limits, Verdict, check};
use paxbench::command::{Command, NodeId, Operation, Outcome, SESSION_WINDOW};
use paxbench::load::plan::{Arrival, KeyChoice, LoadPlan, OperationMix, Retries};
use paxbench::load::recorder::{Phases, Recorder};
use paxbench::wire::Reply;

const INCREMENTS: OperationMix = OperationMix {
    increment: 1.0,
    put: 0.0,
    get: 0.0,
    cas: 0.0,
    rmw: 0.0,
    delete: 0.0,
    transfer: 0.0,
    add: 0.0,
    append: 0.0,
};

fn increments(arrival: Arrival) -> LoadPlan {
    let keys = KeyChoice::Conflict { share: 0.0, own_keys: 1 };
    LoadPlan { operations: INCREMENTS, keys, ..plan(arrival) }
}

#[test]
fn a_closed_loop_reads_and_writes_back_its_next_value_and_counts_both_as_one() {
    let mut plan = increments(Arrival::Closed { outstanding: 1 });
    plan.clients_per_site = 1;
    let mut world = all_connected(World::new(&plan, steady(5 * MS)));
    world.begin();
    world.run_until(2 * SECOND);
    world.clients.stop_issuing();
    world.run_until(3 * SECOND);
    let (log, record, clients) = world.finish();
    assert_eq!((log.ended.len(), log.continued, log.began.len()), (201, 201, 402));
    assert!(log.ended.iter().all(|(scheduled, now, _)| now - scheduled == 10 * MS));
    assert_eq!((clients.pending(), clients.unanswered()), (0, 0));
    let calls: Vec<(u64, Call)> = log.history.iter().map(|e| (e.process, e.call)).collect();
    let mut last = None;
    for calls in calls.chunks(4) {
        assert!(calls.iter().all(|(process, _)| *process == calls[0].0));
        let [(_, Call::Get), (_, Call::Get), (_, Call::Put { value }), (_, put)] = *calls else {
            panic!("{calls:?}")
        };
        assert_eq!(put, Call::Put { value });
        assert_eq!(last.replace(value).unwrap_or(value - 1) + 1, value, "the next value");
    }
    let [measured] = &record.operations[..] else { panic!("one kind of operation") };
    assert_eq!(measured.op, "increment");
    assert_eq!(measured.count + record.warmup_completed, 201);
    let near = |ms: f64, wanted: f64| (ms / wanted - 1.0).abs() < 0.002;
    assert!(near(measured.latency_ms.unwrap().p50, 10.0));
    assert!(near(measured.service_ms.unwrap().p50, 10.0), "from the first sending of the get");
    assert_eq!(check(&history(&log), &Limits::default()), Verdict::Valid);
}

#[test]
fn with_any_choice_of_keys_the_second_command_writes_the_key_that_the_first_read() {
    let choices = [
        KeyChoice::Conflict { share: 0.5, own_keys: 3 },
        KeyChoice::Uniform { keys: 4 },
        KeyChoice::Zipf { keys: 10, theta: 0.9 },
    ];
    let arrivals = [Arrival::Poisson { rate_per_s: 500.0 }, Arrival::Closed { outstanding: 3 }];
    for (keys, arrival) in choices.into_iter().flat_map(|k| arrivals.map(|a| (k, a))) {
        let plan = LoadPlan { keys, ..increments(arrival) };
        let mut world = all_connected(World::new(&plan, steady(7 * MS)));
        world.begin();
        world.run_until(6 * SECOND);
        let (log, record, _) = world.finish();
        assert!(log.ended.len() > 2000 && record.warmup_errors == 0, "{keys:?}");
        assert!(log.ended.iter().all(|(.., e)| matches!(e, Ending::Answered { .. })), "{keys:?}");
        let mut tokens = HashSet::new();
        for begun in log.history.windows(2).filter(|pair| pair[1].stage == Stage::Invoke) {
            let Call::Put { value } = begun[1].call else { continue };
            assert_eq!((begun[0].key, begun[0].process), (begun[1].key, begun[1].process));
            assert!(tokens.insert(value), "tokens are unique");
        }
        assert_eq!(tokens.len(), log.ended.len());
        assert_eq!(check(&history(&log), &Limits::default()), Verdict::Valid);
    }
}

/// Answers gets after a delay, and puts after another, if at all.
fn apart(get_ns: u64, put_ns: Option<u64>) -> Service {
    Box::new(move |now, _, command| match command.operation {
        Operation::Get { .. } => Some(now + get_ns),
        _ => put_ns.map(|put_ns| now + put_ns),
    })
}

#[test]
fn an_increment_times_out_by_its_schedule_also_in_its_second_part() {
    let mut plan = increments(Arrival::Constant { rate_per_s: 100.0 });
    plan.retry_after = Duration::from_secs(4);
    let mut world = all_connected(World::new(&plan, apart(2 * SECOND, None)));
    world.run_until(6 * SECOND);
    let (log, record, _) = world.finish();
    assert_eq!((log.unknown(), log.ended.len()), (600, 600));
    let late = plan.timeout.as_nanos() as u64 + 250 * MS;
    assert!(log.ended.iter().all(|(scheduled, now, _)| now - scheduled <= late));
    let infos = log.history.iter().filter(|event| event.stage == Stage::Info);
    let (puts, gets): (Vec<_>, Vec<_>) =
        infos.partition(|event| matches!(event.call, Call::Put { .. }));
    assert_eq!((puts.len(), gets.len(), log.continued), (600, 0, 600));
    assert_eq!(record.operations[0].errors.unknown + record.warmup_errors, 600);
    assert_eq!(check(&history(&log), &Limits::default()), Verdict::Valid);
}

#[test]
fn an_increment_whose_read_is_unknown_ends_so_and_writes_nothing() {
    for retries in [Retries::AnyReplica, Retries::SameReplica] {
        let plan = LoadPlan { retries, ..increments(Arrival::Closed { outstanding: 2 }) };
        let mut world = all_connected(World::new(&plan, steady(5 * MS)));
        world.says_unknown =
            |command| command.id.sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60 == 4;
        world.begin();
        world.run_until(2 * SECOND);
        world.clients.stop_issuing();
        world.run_until(3 * SECOND);
        let (log, infos) = (&world.log, |wanted: fn(&Call) -> bool| {
            let is = |event: &&paxbench::check::history::Event| {
                event.stage == Stage::Info && wanted(&event.call)
            };
            world.log.history.iter().filter(is).count()
        });
        let (gets, puts) =
            (infos(|call| *call == Call::Get), infos(|call| matches!(call, Call::Put { .. })));
        assert!(gets > 20 && puts > 20 && gets + puts == log.unknown(), "{gets} {puts}");
        assert_eq!(log.began.len(), log.ended.len() + log.continued);
        assert_eq!(log.continued, log.ended.len() - gets, "no write follows an unknown read");
        assert_eq!((world.clients.pending(), world.clients.unanswered()), (0, 0));
        assert_eq!(check(&history(&world.log), &Limits::default()), Verdict::Valid);
    }
}

#[test]
fn a_late_answer_to_a_read_that_was_given_up_is_followed_by_no_write() {
    let mut plan = increments(Arrival::Constant { rate_per_s: 100.0 });
    plan.retry_after = Duration::from_secs(9);
    let mut world = all_connected(World::new(&plan, apart(5 * SECOND, Some(MS))));
    world.run_until(6 * SECOND);
    let (log, _, clients) = world.finish();
    assert_eq!((log.unknown(), log.continued, log.began.len()), (600, 0, 600));
    assert_eq!((clients.counters().late_replies, clients.unanswered()), (600, 0));
}

#[test]
fn the_window_keeps_a_place_for_the_second_command() {
    let mut plan = increments(Arrival::Constant { rate_per_s: 20_000.0 });
    plan.clients_per_site = 1;
    plan.timeout = Duration::from_secs(100);
    plan.retry_after = Duration::from_secs(10);
    let release = 1500 * MS;
    let service = Box::new(move |now: u64, _: NodeId, _: &Command| Some(now.max(release) + MS));
    let mut world = all_connected(World::new(&plan, service));
    world.run_until(release - MS);
    assert_eq!(world.log.sent.len() as u64, SESSION_WINDOW / 2);
    world.run_until(20 * SECOND);
    let (log, ..) = world.finish();
    assert_eq!((log.ended.len(), log.unknown()), (120_000, 0));
    assert!(log.sent.iter().all(|(_, command)| command.is_within_window()));
}

#[test]
fn the_second_command_waits_for_a_connection_if_there_is_none() {
    let mut clients = clients(&increments(Arrival::Constant { rate_per_s: 1.0 }));
    let mut log = Log::default();
    clients.connected(0, NodeId(0), &mut log);
    clients.arrive(0, 0, &mut log);
    let id = log.sent[0].1.id;
    clients.disconnected(MS, NodeId(0), &mut log);
    // It was on its way already.
    clients.reply(2 * MS, NodeId(0), &Reply { id, outcome: Outcome::Found(None) }, &mut log);
    assert_eq!((log.continued, log.began.len(), log.sent.len()), (1, 2, 1));
    assert_eq!(clients.unanswered(), 1);
    clients.connected(3 * MS, NodeId(1), &mut log);
    let (to, put) = &log.sent[1];
    assert!(matches!(put.operation, Operation::Put { .. }));
    assert_eq!((*to, put.id.sequence, put.answered_below), (NodeId(1), 1, 1));
    let reply = Reply { id: put.id, outcome: Outcome::Done };
    clients.reply(4 * MS, NodeId(1), &reply, &mut log);
    assert!(
        matches!(log.ended[..], [(0, end, Ending::Answered { sent_ns: 0, .. })] if end == 4 * MS)
    );
}

#[test]
fn a_read_of_bytes_that_nobody_wrote_is_counted_as_corrupt() {
    let plan = increments(Arrival::Constant { rate_per_s: 1.0 });
    let (mut clients, phases) =
        (clients(&plan), Phases { start_ns: 0, measure_ns: 0, end_ns: SECOND });
    let mut log = Log { recorder: Some(Recorder::new(phases)), ..Log::default() };
    clients.connected(0, NodeId(0), &mut log);
    clients.arrive(0, 0, &mut log);
    let outcome = Outcome::Found(Some(paxbench::command::Value::from_slice(b"no token")));
    let id = log.sent[0].1.id;
    clients.reply(MS, NodeId(0), &Reply { id, outcome }, &mut log);
    let id = log.sent[1].1.id;
    clients.reply(2 * MS, NodeId(0), &Reply { id, outcome: Outcome::Done }, &mut log);
    let record = log.recorder.take().unwrap().finish();
    assert_eq!((record.operations[0].count, record.operations[0].corrupt), (1, 1));
}

#[test]
fn random_failures_neither_lose_nor_double_an_increment() {
    for seed in 0..120 {
        let retries = if seed % 2 == 0 { Retries::AnyReplica } else { Retries::SameReplica };
        let mut world = chaotic_world(seed, |plan| {
            plan.retries = retries;
            plan.operations = OperationMix { increment: 0.5, rmw: 0.3, put: 0.2, ..INCREMENTS };
        });
        world.begin();
        world.run_until(6 * SECOND);
        world.clients.stop_issuing();
        world.run_until(100 * SECOND);
        assert_eq!((world.clients.pending(), world.clients.unanswered()), (0, 0), "seed {seed}");
        let log = &world.log;
        let unsent = log.ended.iter().filter(|(_, _, e)| *e == Ending::Unsent).count();
        let begun = log.began.len() - log.continued;
        assert_eq!(log.ended.len(), begun + unsent, "seed {seed}");
        if retries == Retries::SameReplica {
            assert_eq!(log.moved, 0, "seed {seed}");
        }
        // Reading it checks that each process does one thing at a time.
        assert_eq!(check(&history(log), &Limits::default()), Verdict::Valid, "seed {seed}");
    }
}
