//! How fast histories are written, read and decided: `cargo bench --bench linearizability`.
//!
//! The histories come from a simulated store that is linearizable: clients in a closed loop, each
//! operation taking effect at a random instant between its invocation and its response. The first
//! argument, if any, selects scenarios by name; `OPERATIONS` in the environment sets their length.
#![allow(clippy::print_stdout)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Instant;

use paxbench::check::history::{
    Call, Completion, Event, History, HistoryReader, HistoryWriter, OperationRecord, Reply, Stage,
};
use paxbench::check::{Limits, Verdict, check};
use paxbench::command::Key;
use paxbench::kv::OPENING_BALANCE;

struct Scenario {
    name: &'static str,
    clients: u64,
    keys: u64,
    /// Shares of put, get, rmw, cas, delete, transfer.
    weights: [u64; 6],
    /// Operations in 10,000 whose outcome stays unknown.
    unknown: u64,
}

const SCENARIOS: &[Scenario] = &[
    scenario("100000 keys, put get", 200, 100_000, [5, 5, 0, 0, 0, 0], 0),
    scenario("100000 keys, all operations", 200, 100_000, [3, 4, 1, 1, 1, 1], 10),
    scenario("4 keys, put get", 200, 4, [5, 5, 0, 0, 0, 0], 0),
    scenario("1 key, put get, 50 clients", 50, 1, [5, 5, 0, 0, 0, 0], 0),
    scenario("1 key, rmw", 1000, 1, [0, 0, 1, 0, 0, 0], 0),
    scenario("1 key, put get rmw cas", 1000, 1, [3, 4, 2, 1, 0, 0], 10),
    scenario("4 keys, with deletes", 200, 4, [3, 4, 1, 1, 1, 0], 10),
    scenario("1 key, with deletes, 50 clients", 50, 1, [3, 4, 1, 1, 1, 0], 0),
    scenario("1 key, with deletes, 3000 clients", 3000, 1, [3, 4, 1, 1, 1, 0], 10),
    scenario("1 key, half deletes, 1000 clients", 1000, 1, [2, 3, 1, 1, 7, 0], 10),
    scenario("16 accounts, 50 clients", 50, 1, [0, 0, 0, 0, 0, 1], 0),
    scenario("16 accounts, 50 clients, unknown", 50, 1, [0, 0, 0, 0, 0, 1], 2),
    scenario("16 accounts, 500 clients", 500, 1, [0, 0, 0, 0, 0, 1], 0),
    scenario("16 accounts, 3000 clients", 3000, 1, [0, 0, 0, 0, 0, 1], 0),
];

const fn scenario(
    name: &'static str,
    clients: u64,
    keys: u64,
    weights: [u64; 6],
    unknown: u64,
) -> Scenario {
    Scenario { name, clients, keys, weights, unknown }
}

const ACCOUNTS: u64 = 16;

fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let operations: usize = std::env::var("OPERATIONS")
        .map_or(1_000_000, |text| text.parse().expect("OPERATIONS is a number"));
    for scenario in SCENARIOS {
        if only.as_ref().is_none_or(|only| scenario.name.contains(only)) {
            run(scenario, operations);
        }
    }
    if only.is_none_or(|only| only == "files") {
        files(operations);
    }
}

fn run(scenario: &Scenario, operations: usize) {
    let mut history = simulate(scenario, operations);
    reset_peak();
    let held_mib = peak_mib();
    let started = Instant::now();
    let verdict = check(&history, &limits());
    let seconds = started.elapsed().as_secs_f64();
    let memory_mib = peak_mib() - held_mib;
    println!(
        "{:36} {operations} operations: {:9} in {seconds:7.3} s, {:10.0} op/s, {memory_mib:5.0} MiB beside the history",
        scenario.name,
        name(&verdict),
        operations as f64 / seconds,
    );
    if make_one_read_stale(&mut history) {
        let started = Instant::now();
        let verdict = check(&history, &limits());
        println!(
            "{:36} one wrong answer: {} in {:.3} s",
            "",
            name(&verdict),
            started.elapsed().as_secs_f64()
        );
        assert_ne!(verdict, Verdict::Valid, "a wrong answer was missed");
    }
}

/// The goal for a million operations: under a minute.
fn limits() -> Limits {
    Limits { time: std::time::Duration::from_secs(60), ..Limits::default() }
}

fn name(verdict: &Verdict) -> String {
    serde_json::to_string(verdict).expect("verdicts serialize")
}

/// Gives an operation in the middle an answer that was right long before.
fn make_one_read_stale(history: &mut History) -> bool {
    let half = history.operations.len() / 2;
    let (before, after) = history.operations.split_at_mut(half);
    let answered = |record: &OperationRecord| {
        matches!(record.completion, Completion::Ok(Reply::Found(_) | Reply::Balances { .. }))
    };
    let Some(wrong) = after.iter_mut().find(|record| answered(record)) else { return false };
    let alike = |record: &&OperationRecord| {
        answered(record)
            && record.key == wrong.key
            && record.call.function() == wrong.call.function()
            && record.completion != wrong.completion
    };
    let old = before.iter().take(half / 2).rfind(alike);
    let Some(old) = old else { return false };
    wrong.completion = old.completion.clone();
    true
}

fn dice(seed: &mut u64, sides: u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut x = *seed;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ (x >> 31)) % sides
}

/// Runs the clients in order of time; an operation takes effect at the instant drawn for it.
fn simulate(scenario: &Scenario, operations: usize) -> History {
    let mut seed = 1;
    let mut history = History::default();
    history.site("here");
    let mut store = Store::default();
    // (time, what, who or which operation): effects and starts in order of time.
    let mut agenda: BinaryHeap<Reverse<(u64, bool, u64)>> = (0..scenario.clients)
        .map(|client| Reverse((dice(&mut seed, 1000), false, client)))
        .collect();
    let mut next_process = scenario.clients;
    while let Some(Reverse((now, is_effect, subject))) = agenda.pop() {
        if is_effect {
            store.take_effect(&mut history.operations[subject as usize]);
            continue;
        }
        if history.operations.len() == operations {
            continue;
        }
        let (key, call) = draw(scenario, &mut seed, &store, history.operations.len() as u64);
        let effect = now + 1 + dice(&mut seed, 1_000_000);
        let unknown = dice(&mut seed, 10_000) < scenario.unknown;
        let response = effect + 1 + dice(&mut seed, 1_000_000);
        if !unknown || dice(&mut seed, 2) == 0 {
            agenda.push(Reverse((effect, true, history.operations.len() as u64)));
        }
        let process = if unknown { next_process } else { subject };
        next_process += u64::from(unknown);
        history.operations.push(OperationRecord {
            process,
            site: 0,
            key,
            call,
            invoke_ns: now,
            response_ns: (!unknown).then_some(response),
            completion: Completion::Unknown,
        });
        agenda.push(Reverse((response + dice(&mut seed, 1000), false, subject)));
    }
    history
}

fn draw(scenario: &Scenario, seed: &mut u64, store: &Store, index: u64) -> (Key, Call) {
    let mut pick = dice(seed, scenario.weights.iter().sum());
    let mut kind = 0;
    while pick >= scenario.weights[kind] {
        pick -= scenario.weights[kind];
        kind += 1;
    }
    let key = Key::register(dice(seed, scenario.keys));
    let new = index + 1;
    let call = match kind {
        0 => Call::Put { value: new },
        1 => Call::Get,
        2 => Call::Rmw { new },
        3 => Call::Cas { expected: store.values.get(&key).copied(), new },
        4 => Call::Delete,
        _ => {
            let from = dice(seed, ACCOUNTS);
            let to = Key::account((from + 1 + dice(seed, ACCOUNTS - 1)) % ACCOUNTS);
            return (Key::account(from), Call::Transfer { to, amount: 1 + dice(seed, 100) });
        }
    };
    (key, call)
}

/// The store behind the simulation: tokens of registers and balances of accounts.
#[derive(Default)]
struct Store {
    values: HashMap<Key, u64>,
}

impl Store {
    fn take_effect(&mut self, record: &mut OperationRecord) {
        let key = record.key;
        let old = self.values.get(&key).copied();
        let reply = match record.call {
            Call::Put { value } => {
                self.values.insert(key, value);
                Reply::Done
            }
            Call::Transfer { to, amount } => self.transfer(key, to, amount),
            Call::Get => Reply::Found(old.into()),
            Call::Rmw { new } => Reply::Found(self.values.insert(key, new).into()),
            Call::Cas { expected, new } => {
                if expected == old {
                    self.values.insert(key, new);
                }
                Reply::Found(old.into())
            }
            Call::Delete => Reply::Found(self.values.remove(&key).into()),
            Call::Add { .. } | Call::Append { .. } => unreachable!("not drawn"),
        };
        if record.response_ns.is_some() {
            record.completion = Completion::Ok(reply);
        }
    }

    fn transfer(&mut self, from: Key, to: Key, amount: u64) -> Reply {
        let balance = |key| self.values.get(&key).copied().unwrap_or(OPENING_BALANCE);
        let (payer, receiver) = (balance(from), balance(to));
        if payer < amount {
            return Reply::Balances { moved: false, from: payer, to: receiver };
        }
        self.values.insert(from, payer - amount);
        self.values.insert(to, receiver + amount);
        Reply::Balances { moved: true, from: payer - amount, to: receiver + amount }
    }
}

/// Times writing and reading of a history.
fn files(operations: usize) {
    let history = simulate(&SCENARIOS[1], operations);
    let events = in_order(&history);
    let started = Instant::now();
    let mut writer = HistoryWriter::new(Vec::new(), "here").expect("memory can be written");
    for event in &events {
        writer.write(event).expect("memory can be written");
    }
    let bytes = writer.finish().expect("memory can be written");
    let count = events.len() as f64;
    println!(
        "write: {:.0} ns/event, {:.1} bytes/event",
        started.elapsed().as_nanos() as f64 / count,
        bytes.len() as f64 / count
    );
    let started = Instant::now();
    let mut reader = HistoryReader::default();
    let lines = zstd::stream::read::Decoder::new(bytes.as_slice()).expect("just written");
    reader.feed("memory".as_ref(), std::io::BufReader::new(lines)).expect("just written");
    let read = reader.finish();
    println!("read: {:.0} ns/event", started.elapsed().as_nanos() as f64 / count);
    assert_eq!(read.operations.len(), history.operations.len());
}

/// The events of a history as they happened.
fn in_order(history: &History) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::with_capacity(history.operations.len() * 2);
    for record in &history.operations {
        let OperationRecord { process, key, call, .. } = *record;
        let event = |time_ns, stage| Event { process, time_ns, key, call, stage };
        events.push(event(record.invoke_ns, Stage::Invoke));
        events.push(match (&record.completion, record.response_ns) {
            (Completion::Ok(reply), Some(end)) => event(end, Stage::Ok(reply.clone())),
            _ => event(record.invoke_ns, Stage::Info),
        });
    }
    events.sort_by_key(|event| event.time_ns);
    events
}

/// The most memory the process has held since [`reset_peak`], in MiB; 0 where the kernel does not
/// say.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|text| text.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// Makes what is held now the most that was held. Where the kernel does not allow it, the peak is
/// that of the whole run.
fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
