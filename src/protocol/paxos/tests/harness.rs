//! A few cores, a lossy network and crashes in virtual time, from one seed.

mod invariants;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::invariants::{Observer, assert_collapsed};

use crate::command::{ClientId, Command, CommandId, Key, NodeId, Operation, Value};
use crate::kv::Store;
use crate::protocol::paxos::message::{PaxosMessage, PaxosRecord, PaxosTimer};
use crate::protocol::paxos::{Paxos, PaxosOptions};
use crate::protocol::{
    Batch, Cluster, Destination, Effect, Effects, Input, Message, Protocol, Time, WriteId,
};

/// What can happen next.
enum Event {
    Message { from: NodeId, message: PaxosMessage, state: Option<Snapshot> },
    Timer { timer: PaxosTimer, armed: u64 },
    Durable(WriteId),
    Requests(Vec<Command>),
}

/// The replicated state, and how many parcels it holds.
#[derive(Clone, Default)]
struct Snapshot {
    store: Store,
    executed: usize,
}

/// A record, and the state that was stored with it if there was one.
type Stored = (PaxosRecord, Option<Snapshot>);

/// One process and what surrounds it.
struct Node {
    core: Paxos,
    state: Snapshot,
    effects: Effects<Paxos>,
    timers: Vec<(PaxosTimer, u64)>,
    /// The log; the first `log_before` records are of earlier lives.
    log: Vec<Stored>,
    log_before: usize,
    durable: WriteId,
    held: Vec<(WriteId, Destination, PaxosMessage)>,
    life: u64,
    up: bool,
    /// Nothing happens at this process before, in ns.
    paused_until: u64,
}

/// The network's manners; percentages.
#[derive(Clone, Copy)]
pub struct Faults {
    pub loss: u32,
    pub duplicates: u32,
    pub delay_ms: (u64, u64),
    pub sync_ms: (u64, u64),
}

pub const CALM: Faults = Faults { loss: 0, duplicates: 0, delay_ms: (5, 6), sync_ms: (0, 1) };

/// When, which event in order of creation, at which process, in which of its lives.
type Due = Reverse<(u64, u64, u8, u64)>;

pub struct World {
    pub faults: Faults,
    /// Whether the link from one process to another is cut.
    pub cut: Box<dyn Fn(u8, u8) -> bool>,
    observer: Observer,
    options: PaxosOptions,
    nodes: Vec<Node>,
    queue: BinaryHeap<Due>,
    events: BTreeMap<u64, Event>,
    created: u64,
    now: u64,
    rng: StdRng,
    next_sequence: u64,
    pub sent: BTreeMap<&'static str, u64>,
    /// When each command was first executed at the process that was asked, in ns.
    pub answered: BTreeMap<u64, u64>,
    asked: BTreeMap<u64, u8>,
    /// WRITEs as they were sent: to whom, by whom.
    writes: Vec<(u8, NodeId, PaxosMessage)>,
}

impl World {
    pub fn new(size: u8, options: PaxosOptions, faults: Faults, seed: u64) -> World {
        let mut world = World {
            faults,
            cut: Box::new(|_, _| false),
            observer: Observer::new(size),
            options,
            nodes: (0..size).map(|me| Node::new(me, size, options, Vec::new())).collect(),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            created: 0,
            now: 0,
            rng: StdRng::seed_from_u64(seed),
            next_sequence: 0,
            sent: BTreeMap::new(),
            answered: BTreeMap::new(),
            asked: BTreeMap::new(),
            writes: Vec::new(),
        };
        for node in 0..size {
            world.step(node, Input::Started);
        }
        world
    }

    /// A client of `node` asks for its next command: an rmw on one key, which interferes with all.
    pub fn ask(&mut self, node: u8) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.asked.insert(sequence, node);
        let command = Command {
            id: CommandId { client: ClientId(1), sequence },
            answered_below: 0,
            operation: Operation::Rmw {
                key: Key::register(0),
                value: Value::from_slice(&sequence.to_le_bytes()),
            },
        };
        self.schedule(0, node, Event::Requests(vec![command]));
        sequence
    }

    /// Asks again for what was not answered, as clients do.
    pub fn retry_unanswered(&mut self) {
        let unanswered: Vec<_> =
            (0..self.next_sequence).filter(|s| !self.answered.contains_key(s)).collect();
        for sequence in unanswered {
            let next = self.next_sequence;
            let node = self.up_at_random();
            self.next_sequence = sequence;
            self.ask(node);
            self.next_sequence = next;
        }
    }

    pub fn up_at_random(&mut self) -> u8 {
        loop {
            let node = self.rng.random_range(0..self.nodes.len());
            if self.nodes[node].up {
                return node as u8;
            }
        }
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    pub fn below(&mut self, bound: u32) -> u32 {
        self.rng.random_range(0..bound)
    }

    pub fn now_ms(&self) -> u64 {
        self.now / 1_000_000
    }

    pub fn run_for(&mut self, ms: u64) {
        let end = self.now + ms * 1_000_000;
        while let Some(Reverse((due, ..))) = self.queue.peek()
            && *due <= end
        {
            let Some(Reverse((due, number, node, life))) = self.queue.pop() else { return };
            self.now = due;
            let slot = &self.nodes[usize::from(node)];
            if slot.up && slot.life == life && slot.paused_until > due {
                self.queue.push(Reverse((slot.paused_until, number, node, life)));
                continue;
            }
            let current = slot.up && slot.life == life;
            let event = self.events.remove(&number).expect("queued once");
            if current {
                self.handle(node, event);
            }
        }
        self.now = end;
    }

    /// Holds up all that happens at a process, its timers included.
    pub fn pause(&mut self, node: u8, ms: u64) {
        self.nodes[usize::from(node)].paused_until = self.now + ms * 1_000_000;
    }

    /// Loses all that was not synced.
    pub fn crash(&mut self, node: u8) {
        let slot = &mut self.nodes[usize::from(node)];
        slot.up = false;
        slot.life += 1;
        slot.log.truncate(slot.log_before + slot.durable.0 as usize);
        let left = slot.log.iter().map(|(record, _)| record);
        self.observer.on_crash(node, left);
    }

    /// Crashes while records are being synced: any number of them may have become durable, and what
    /// waited for them may have left.
    pub fn crash_at_an_edge(&mut self, node: u8) {
        let slot = &self.nodes[usize::from(node)];
        let (low, high) = (slot.durable.0, (slot.log.len() - slot.log_before) as u64);
        let durable = WriteId(self.rng.random_range(low..=high));
        self.make_durable(node, durable);
        self.crash(node);
    }

    pub fn restart(&mut self, node: u8) {
        let size = self.nodes.len() as u8;
        let slot = &mut self.nodes[usize::from(node)];
        let (log, life) = (std::mem::take(&mut slot.log), slot.life);
        *slot = Node::new(node, size, self.options, log);
        slot.life = life;
        self.step(node, Input::Started);
    }

    /// How many instances some process has delivered.
    pub fn delivered(&self) -> u64 {
        self.observer.delivered()
    }

    pub fn is_up(&self, node: u8) -> bool {
        self.nodes[usize::from(node)].up
    }

    pub fn counter(&self, node: u8, name: &str) -> u64 {
        let counters = self.nodes[usize::from(node)].core.counters();
        counters.iter().find(|(n, _)| *n == name).expect("a known counter").1
    }

    /// Delivers the last WRITEs that `node` was sent once more.
    pub fn repeat_last_writes(&mut self, node: u8, count: usize) {
        let last = self.writes.iter().rev().filter(|(to, ..)| *to == node).take(count);
        for (_, from, message) in last.cloned().collect::<Vec<_>>() {
            self.schedule(1_000_000, node, Event::Message { from, message, state: None });
        }
    }

    pub fn log_length(&self, node: u8) -> usize {
        self.nodes[usize::from(node)].core.deliveries.log_length()
    }

    pub fn all_answered(&self) -> bool {
        self.answered.len() as u64 == self.next_sequence
    }

    /// Total order broadcast, *termination* (§3.4): what a process broadcast and did not crash, it has
    /// delivered, whether or not a client asks again.
    pub fn assert_terminated(&self) {
        for (node, slot) in self.nodes.iter().enumerate().filter(|(_, slot)| slot.up) {
            let lost = slot.core.own.iter().flatten().next();
            assert!(lost.is_none(), "p{node} never delivers {lost:?}");
        }
    }

    /// All processes that are up reached the same state.
    pub fn assert_converged(&self) {
        let up: Vec<_> = self.nodes.iter().filter(|node| node.up).collect();
        for node in &up {
            assert_eq!(node.state.store.applied(), up[0].state.store.applied());
            assert_eq!(node.state.store.digest(), up[0].state.store.digest());
        }
    }

    fn handle(&mut self, node: u8, event: Event) {
        match event {
            Event::Message { from, message, state } => {
                self.step_with(node, Input::Message { from, message }, state);
            }
            Event::Timer { timer, armed } => {
                if self.nodes[usize::from(node)].timers.contains(&(timer, armed)) {
                    self.step(node, Input::Timer(timer));
                }
            }
            Event::Durable(id) => {
                let id = id.max(self.nodes[usize::from(node)].durable);
                self.make_durable(node, id);
                self.step(node, Input::Durable(id));
            }
            Event::Requests(commands) => self.step(node, Input::Requests(commands)),
        }
    }

    /// The log is synced up to `id`; what waited for it leaves.
    fn make_durable(&mut self, node: u8, id: WriteId) {
        let slot = &mut self.nodes[usize::from(node)];
        let from = slot.log_before + slot.durable.0 as usize;
        slot.durable = id;
        for (record, _) in &slot.log[from..slot.log_before + id.0 as usize] {
            self.observer.on_durable(node, record);
        }
        self.release(node, id);
    }

    fn release(&mut self, node: u8, id: WriteId) {
        let held = std::mem::take(&mut self.nodes[usize::from(node)].held);
        for (after, to, message) in held {
            if after <= id {
                self.transmit(node, to, message, None);
            } else {
                self.nodes[usize::from(node)].held.push((after, to, message));
            }
        }
    }

    fn step(&mut self, node: u8, input: Input<Paxos>) {
        self.step_with(node, input, None);
    }

    fn step_with(&mut self, node: u8, input: Input<Paxos>, mut state: Option<Snapshot>) {
        let now = Time(self.now);
        let slot = &mut self.nodes[usize::from(node)];
        let mut effects = std::mem::take(&mut slot.effects);
        slot.core.step(now, input, &mut effects);
        slot.core.step(now, Input::TurnEnded, &mut effects);
        let durable = slot.durable;
        let mut wrote = None;
        for effect in effects.drain().collect::<Vec<_>>() {
            match effect {
                Effect::Persist { id, record } => {
                    self.observer.on_record(node, &record);
                    let slot = &mut self.nodes[usize::from(node)];
                    let installed = matches!(record, PaxosRecord::Installed { .. });
                    slot.log.push((record, installed.then(|| slot.state.clone())));
                    wrote = Some(id);
                }
                Effect::Send { to, message, after } => match after {
                    Some(after) if after > durable => {
                        self.nodes[usize::from(node)].held.push((after, to, message));
                    }
                    _ => self.transmit(node, to, message, None),
                },
                Effect::Arm(timer, range) => self.arm(node, timer, range),
                Effect::Disarm(timer) => {
                    self.nodes[usize::from(node)].timers.retain(|(armed, _)| *armed != timer);
                }
                Effect::Execute(batch) => self.execute(node, &batch),
                Effect::SendState { to, message } => {
                    let state = self.nodes[usize::from(node)].state.clone();
                    self.transmit(node, Destination::One(to), message, Some(state));
                }
                Effect::InstallState => {
                    self.nodes[usize::from(node)].state = state.take().expect("came along");
                }
            }
        }
        self.nodes[usize::from(node)].effects = effects;
        self.nodes[usize::from(node)].assert_consistent();
        if let Some(id) = wrote {
            let (low, high) = self.faults.sync_ms;
            let delay = self.rng.random_range(low * 1_000_000..high * 1_000_000);
            self.schedule(delay, node, Event::Durable(id));
        }
    }

    fn execute(&mut self, node: u8, batch: &Batch) {
        let now = self.now;
        let state = &mut self.nodes[usize::from(node)].state;
        self.observer.on_executed(node, state.executed, batch);
        state.executed += 1;
        for command in batch.iter() {
            state.store.execute(command);
            if self.asked.get(&command.id.sequence) == Some(&node) {
                self.answered.entry(command.id.sequence).or_insert(now);
            }
        }
    }

    fn arm(&mut self, node: u8, timer: PaxosTimer, range: Range<Duration>) {
        let (low, high) = (range.start.as_nanos() as u64, range.end.as_nanos() as u64);
        let delay = if low < high { self.rng.random_range(low..high) } else { low };
        let armed = self.created;
        let timers = &mut self.nodes[usize::from(node)].timers;
        timers.retain(|(other, _)| *other != timer);
        timers.push((timer, armed));
        self.schedule(delay, node, Event::Timer { timer, armed });
    }

    fn transmit(
        &mut self,
        from: u8,
        to: Destination,
        message: PaxosMessage,
        state: Option<Snapshot>,
    ) {
        let slot = &self.nodes[usize::from(from)];
        self.observer.on_sent(from, &message, slot.log_before + slot.durable.0 as usize);
        let targets: Vec<u8> = match to {
            Destination::One(node) => vec![node.0],
            Destination::Others => (0..self.nodes.len() as u8).filter(|n| *n != from).collect(),
        };
        for to in targets {
            assert_ne!(to, from, "nobody sends to itself: {message:?}");
            *self.sent.entry(message.kind()).or_default() += 1;
            if matches!(message, PaxosMessage::Write { .. }) {
                self.writes.push((to, NodeId(from), message.clone()));
            }
            let copies = 1 + u32::from(self.chance(self.faults.duplicates));
            for _ in 0..copies {
                if (self.cut)(from, to) || self.chance(self.faults.loss) {
                    continue;
                }
                let (low, high) = self.faults.delay_ms;
                let delay = self.rng.random_range(low * 1_000_000..high * 1_000_000);
                let (from, message, state) = (NodeId(from), message.clone(), state.clone());
                self.schedule(delay, to, Event::Message { from, message, state });
            }
        }
    }

    fn schedule(&mut self, delay: u64, node: u8, event: Event) {
        let number = self.created;
        self.created += 1;
        let life = self.nodes[usize::from(node)].life;
        self.queue.push(Reverse((self.now + delay, number, node, life)));
        self.events.insert(number, event);
    }
}

impl Node {
    fn new(me: u8, size: u8, options: PaxosOptions, log: Vec<Stored>) -> Node {
        let log_before = log.len();
        let records = log.iter().map(|(record, _)| record.clone());
        let core = Paxos::recover(NodeId(me), Cluster { size }, options, records);
        let installed = log.iter().rev().find_map(|(_, state)| state.clone());
        Node {
            core,
            state: installed.unwrap_or_default(),
            effects: Effects::default(),
            timers: Vec::new(),
            log,
            log_before,
            durable: WriteId(0),
            held: Vec::new(),
            life: 0,
            up: true,
            paused_until: 0,
        }
    }

    /// What every table of a core keeps to, whatever happened.
    fn assert_consistent(&self) {
        assert_collapsed(self.core.deliveries.delivered());
    }
}
