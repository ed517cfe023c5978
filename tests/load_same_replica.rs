//! The clients where a command may go to one replica only, over one connection.

mod load_common;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use load_common::*;
use paxbench::check::history::Stage;
use paxbench::command::{Command, CommandId, NodeId, Operation, Outcome};
use paxbench::kv::Replicated;
use paxbench::load::history::completion;
use paxbench::load::output::{End, Ended};
use paxbench::load::plan::{Arrival, LoadPlan, Retries};
use paxbench::load::workload::{Intent, Kind};
use paxbench::wire::Reply;

fn same(arrival: Arrival) -> LoadPlan {
    LoadPlan { retries: Retries::SameReplica, ..plan(arrival) }
}

/// The processes of operations whose outcome is unknown.
fn dead(log: &Log) -> HashSet<u64> {
    let process = |(_, _, ending): &(u64, u64, Ending)| match ending {
        Ending::Unknown { process } => Some(*process),
        _ => None,
    };
    log.ended.iter().filter_map(process).collect()
}

/// How often each process began an operation.
fn uses(log: &Log) -> HashMap<u64, usize> {
    let mut uses = HashMap::new();
    for begun in &log.began {
        *uses.entry(begun.process).or_default() += 1;
    }
    uses
}

#[test]
fn no_failure_sends_a_command_to_two_replicas_or_over_two_connections() {
    let (mut lost, mut retries, mut moved_else) = (0, 0, 0);
    for seed in 0..150 {
        let mut world = chaotic_world(seed, |plan| plan.retries = Retries::SameReplica);
        world.begin();
        world.run_until(6 * SECOND);
        world.clients.stop_issuing();
        world.run_until(100 * SECOND);
        assert_eq!(world.log.moved, 0, "seed {seed}");
        assert_eq!((world.clients.pending(), world.clients.unanswered()), (0, 0), "seed {seed}");
        let unsent = world.log.ended.iter().filter(|(_, _, e)| *e == Ending::Unsent).count();
        assert_eq!(world.log.ended.len(), world.log.began.len() + unsent, "seed {seed}");
        let (applied, unknown) = (world.store.applied() as usize, world.log.unknown());
        let began = world.log.began.len();
        assert!((began - unknown..=began).contains(&applied), "seed {seed}");
        assert_eq!(dead(&world.log).len(), unknown, "seed {seed}: such a process ends there");
        let counters = world.clients.counters();
        assert_eq!((counters.resends, counters.bad_replies), (0, 0), "seed {seed}");
        lost += counters.lost;
        retries += counters.retries;
        let mut else_world = chaotic_world(seed, |_| ());
        else_world.run_until(6 * SECOND);
        moved_else += else_world.log.moved;
    }
    assert!(lost > 1000 && retries > 1000 && moved_else > 1000, "{lost} {retries} {moved_else}");
}

#[test]
fn a_lost_connection_ends_its_commands_at_once_and_a_closed_loop_goes_on_elsewhere() {
    let silent = Box::new(|now: u64, to: NodeId, _: &Command| (to.0 == 1).then_some(now + 5 * MS));
    let world = World::new(&same(Arrival::Closed { outstanding: 3 }), silent);
    let mut world = all_connected(world).change(50 * MS, Change::Lost(0));
    world.begin();
    world.run_until(49 * MS);
    assert_eq!((world.log.sent.len(), world.log.ended.len()), (12, 0));
    world.run_until(50 * MS);
    assert_eq!((world.log.unknown(), world.clients.counters().lost), (12, 12));
    assert!(world.log.ended.iter().all(|(scheduled, now, _)| (*scheduled, *now) == (0, 50 * MS)));
    assert_eq!((world.clients.pending(), world.clients.unanswered()), (12, 12));
    let before: HashSet<CommandId> = world.log.sent[..12].iter().map(|(_, c)| c.id).collect();
    for (to, command) in &world.log.sent[12..] {
        assert!(*to == NodeId(1) && !before.contains(&command.id));
        assert!(command.answered_below >= 1, "the window moved: {command:?}");
    }
    world.run_until(SECOND);
    assert_eq!(world.log.unknown(), 12, "replica 1 answers");
    let uses = uses(&world.log);
    assert!(dead(&world.log).iter().all(|process| uses[process] == 1));
}

#[test]
fn without_another_connection_operations_wait_and_those_that_were_sent_are_not_sent_again() {
    let world = World::new(&same(Arrival::Closed { outstanding: 3 }), steady(5 * MS));
    let world = world.change(0, Change::Connected(0)).change(2 * MS, Change::Lost(0));
    let mut world = world.change(60 * MS, Change::Connected(0));
    world.begin();
    world.run_until(59 * MS);
    assert_eq!((world.log.sent.len(), world.log.unknown()), (12, 12));
    assert_eq!((world.clients.pending(), world.clients.unanswered()), (12, 12));
    world.run_until(60 * MS);
    assert_eq!((world.log.sent.len(), world.log.moved), (24, 0));
}

#[test]
fn a_new_connection_in_place_of_one_whose_loss_went_unnoticed_ends_what_was_sent_over_it() {
    let silent = Box::new(|_: u64, _: NodeId, _: &Command| None);
    let world = World::new(&same(Arrival::Closed { outstanding: 2 }), silent);
    let mut world = all_connected(world).change(9 * MS, Change::Connected(0));
    world.begin();
    world.run_until(9 * MS);
    assert_eq!((world.log.unknown(), world.log.sent.len(), world.log.moved), (8, 16, 0));
    assert_eq!(world.clients.unanswered(), 8);
}

#[test]
fn a_lost_request_is_sent_again_to_the_same_replica_and_is_no_lost_operation() {
    let mut plan = same(Arrival::Constant { rate_per_s: 1000.0 });
    plan.timeout = Duration::from_secs(10_000);
    let mut count = 0_u64;
    let service = Box::new(move |now: u64, _: NodeId, _: &Command| {
        count += 1;
        (count.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63 == 0).then_some(now + 2 * MS)
    });
    let mut world = all_connected(World::new(&plan, service));
    world.run_until(6 * SECOND);
    world.clients.stop_issuing();
    world.run_until(2000 * SECOND);
    assert_eq!((world.log.unknown(), world.log.ended.len()), (0, world.log.began.len()));
    assert_eq!(world.store.applied() as usize, world.log.began.len());
    assert!(world.clients.counters().retries > 1000);
    assert!(world.log.sent.iter().all(|(to, _)| *to == NodeId(0)));
}

#[test]
fn a_silent_replica_gets_no_new_commands_and_copies_of_its_own_until_it_speaks() {
    let silence = 2 * SECOND..4 * SECOND;
    let quiet = silence.clone();
    let service = Box::new(move |now: u64, to: NodeId, _: &Command| {
        (to.0 != 0 || !quiet.contains(&now)).then_some(now + MS)
    });
    let mut plan = same(Arrival::Constant { rate_per_s: 1000.0 });
    plan.timeout = Duration::from_secs(100);
    let mut world = all_connected(World::new(&plan, service));
    world.run_until(2 * SECOND + 500 * MS);
    let (sent, probes) = (world.log.sent.len(), world.clients.counters().probes);
    world.run_until(4 * SECOND);
    let first = |index: usize, id: CommandId| {
        !world.log.sent[..index].iter().any(|(_, command)| command.id == id)
    };
    let to_home = (sent..world.log.sent.len()).filter(|at| world.log.sent[*at].0.0 == 0);
    assert!(to_home.clone().all(|at| !first(at, world.log.sent[at].1.id)), "nothing new");
    // A copy each retry time, beside the retries, whose waits double.
    assert!((3..=4).contains(&(world.clients.counters().probes - probes)));
    assert!(to_home.count() > 300);
    world.run_until(20 * SECOND);
    assert_eq!((world.log.moved, world.log.unknown(), world.clients.unanswered()), (0, 0, 0));
    let new = world.log.over.values().filter(|(to, _)| to.0 == 0).count();
    assert!(new > 3900, "{new} of 6000 went to the preferred one");
    assert_eq!(world.clients.counters().suspicions, 1);
}

#[test]
fn a_reply_that_nobody_knows_the_outcome_ends_the_operation_whoever_may_be_asked() {
    for retries in [Retries::AnyReplica, Retries::SameReplica] {
        let plan = LoadPlan { retries, ..plan(Arrival::Closed { outstanding: 2 }) };
        let mut world = all_connected(World::new(&plan, steady(5 * MS)));
        world.says_unknown = |command| command.id.sequence % 5 == 3;
        world.begin();
        world.run_until(2 * SECOND);
        world.clients.stop_issuing();
        world.run_until(3 * SECOND);
        let (unknown, began) = (world.log.unknown(), world.log.began.len());
        assert_eq!((began, unknown), (4 * 802, 4 * 160), "{retries:?}");
        assert_eq!((world.clients.unanswered(), world.clients.pending()), (0, 0));
        let counters = world.clients.counters();
        assert_eq!((counters.unknown_replies, counters.bad_replies), (unknown as u64, 0));
        assert_eq!((counters.retries, counters.late_replies), (0, 0));
        assert_eq!(dead(&world.log).len(), unknown, "such a process does nothing more");
        let last = world.log.sent.iter().map(|(_, command)| command).max_by_key(|c| c.id.sequence);
        let last = last.unwrap();
        assert!(last.id.sequence - last.answered_below <= 2, "the window moves: {last:?}");
        let (_, record, _) = world.finish();
        let errors: u64 = record.operations.iter().map(|op| op.errors.unknown).sum();
        assert_eq!(errors + record.warmup_errors, unknown as u64);
        let completed: u64 = record.operations.iter().map(|op| op.count).sum();
        assert_eq!(completed + record.warmup_completed, (began - unknown) as u64);
    }
}

#[test]
fn an_unknown_outcome_after_the_timeout_is_late_and_counts_once() {
    let plan = same(Arrival::Constant { rate_per_s: 1.0 });
    let mut clients = clients(&plan);
    let mut log = Log::default();
    clients.connected(0, NodeId(0), &mut log);
    clients.arrive(0, 0, &mut log);
    let id = log.sent[0].1.id;
    clients.tick(3 * SECOND, &mut log);
    assert_eq!((log.unknown(), clients.unanswered()), (1, 1));
    let reply = Reply { id, outcome: Outcome::Unknown };
    for late in [1, 1] {
        clients.reply(4 * SECOND, NodeId(0), &reply, &mut log);
        assert_eq!((log.ended.len(), clients.unanswered()), (1, 0));
        assert_eq!(clients.counters().late_replies, late);
    }
    assert_eq!(clients.counters().duplicate_replies, 1);
}

#[test]
fn an_unknown_outcome_is_an_info_of_the_history() {
    let key = paxbench::command::Key::register(3);
    let intent = Intent::Put { key, token: 7 };
    let end = End::Unknown { process: 9, intent };
    let event = completion(&Ended { now_ns: 5, scheduled_ns: 1, kind: Kind::Put, end }).unwrap();
    assert_eq!((event.process, event.stage), (9, Stage::Info));
}

fn refusal(id: CommandId) -> Reply {
    Reply { id, outcome: Outcome::Refused }
}

/// What a replica without registers returns.
fn first_answer(command: &Command) -> Reply {
    let is_put = matches!(command.operation, Operation::Put { .. });
    let outcome = if is_put { Outcome::Done } else { Outcome::Found(None) };
    Reply { id: command.id, outcome }
}

#[test]
fn what_a_replica_refuses_goes_to_another_and_what_it_has_begun_is_waited_for() {
    let (mut clients, mut log) =
        (clients(&same(Arrival::Constant { rate_per_s: 1.0 })), Log::default());
    for node in [0, 1] {
        clients.connected(0, NodeId(node), &mut log);
    }
    (0..3).for_each(|_| clients.arrive(0, 0, &mut log));
    let commands: Vec<Command> = log.sent.iter().map(|(_, command)| command.clone()).collect();
    assert!(log.sent.iter().all(|(to, _)| *to == NodeId(0)));
    for _ in 0..2 {
        clients.reply(MS, NodeId(0), &refusal(commands[1].id), &mut log);
        assert_eq!((log.sent.len(), log.sent[3].0), (4, NodeId(1)), "once");
        assert_eq!(log.sent[3].1.operation, commands[1].operation);
        assert_ne!(log.sent[3].1.id, commands[1].id, "no id goes to two replicas");
    }
    assert_eq!(clients.target(), Some(NodeId(1)));
    clients.reply(MS, NodeId(0), &refusal(commands[2].id), &mut log);
    assert!(!clients.has_left(NodeId(0)), "it has begun the first");
    clients.reply(2 * MS, NodeId(0), &first_answer(&commands[0]), &mut log);
    assert!(clients.has_left(NodeId(0)));
    clients.disconnected(3 * MS, NodeId(0), &mut log);
    assert!(!clients.has_left(NodeId(0)));
    let again: Vec<Command> = log.sent[3..].iter().map(|(_, command)| command.clone()).collect();
    for command in &again {
        clients.reply(4 * MS, NodeId(1), &first_answer(command), &mut log);
    }
    assert_eq!((log.began.len(), log.moved), (3, 0));
    assert_eq!((log.ended.len(), log.unknown(), clients.unanswered()), (3, 0, 0));
    assert_eq!(clients.counters().refused, 2);
    clients.connected(5 * MS, NodeId(0), &mut log);
    assert_eq!(clients.target(), Some(NodeId(0)), "it takes requests again");
}

#[test]
fn what_every_connected_replica_refuses_waits_for_one_that_does_not() {
    let (mut clients, mut log) =
        (clients(&same(Arrival::Constant { rate_per_s: 1.0 })), Log::default());
    clients.connected(0, NodeId(0), &mut log);
    clients.arrive(0, 0, &mut log);
    clients.reply(MS, NodeId(0), &refusal(log.sent[0].1.id), &mut log);
    clients.arrive(MS, MS, &mut log);
    assert_eq!((log.sent.len(), clients.target()), (1, None));
    clients.connected(2 * MS, NodeId(2), &mut log);
    assert_eq!(log.sent[1..].iter().map(|(to, _)| to.0).collect::<Vec<_>>(), [2, 2]);
    let first = &log.sent[0].1.operation;
    assert!(log.sent[1..].iter().any(|(_, command)| command.operation == *first));
}

#[test]
fn what_is_refused_after_its_operation_was_given_up_is_settled() {
    let (mut clients, mut log) =
        (clients(&same(Arrival::Constant { rate_per_s: 1.0 })), Log::default());
    for node in [0, 1] {
        clients.connected(0, NodeId(node), &mut log);
    }
    clients.arrive(0, 0, &mut log);
    clients.tick(4 * SECOND, &mut log);
    let sent = log.sent.len();
    clients.reply(5 * SECOND, NodeId(0), &refusal(log.sent[0].1.id), &mut log);
    assert_eq!((log.sent.len(), log.unknown(), clients.unanswered()), (sent, 1, 0));
    assert!(clients.has_left(NodeId(0)));
}
