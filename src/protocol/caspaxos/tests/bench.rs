//! Several cores on a bench. Messages lie on the table until the test delivers them; disks are durable at once,
//! unless the test holds one up; timers run out, replicas crash and time passes when the test says so. Two states
//! under one ballot end the test.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::command::{ClientId, Command, CommandId, Key, NodeId, Operation, Outcome, Value};
use crate::protocol::caspaxos::ballot::Ballot;
use crate::protocol::caspaxos::message::{CaspaxosMessage, CaspaxosRecord, Change};
use crate::protocol::caspaxos::options::CaspaxosOptions;
use crate::protocol::caspaxos::registers::Register;
use crate::protocol::caspaxos::state::State;
use crate::protocol::caspaxos::{Caspaxos, CaspaxosTimer};
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Cluster, Effect, Effects, Input, Message, Protocol, Time, WriteId};

/// Messages after which a bench is at rest, unless replicas answer each other for ever.
const SETTLED_AFTER: usize = 20_000;

/// Rounds of timers after which what was asked for is done, unless it never is.
const ROUNDS: usize = 60;

/// A message on its way.
#[derive(Clone)]
pub(super) struct Flying {
    from: NodeId,
    to: NodeId,
    pub(super) message: CaspaxosMessage,
}

/// One place on the bench.
struct Place {
    /// None while it is down.
    core: Option<Caspaxos>,
    effects: Effects<Caspaxos>,
    log: Vec<CaspaxosRecord>,
    /// What is written and not durable, while the disk is held up; and what waits for it.
    unsynced: Option<Vec<Effect<Caspaxos>>>,
    durable: WriteId,
}

/// The cores, and what is between them.
pub(super) struct Bench {
    cluster: Cluster,
    options: CaspaxosOptions,
    places: Vec<Place>,
    flying: Vec<Flying>,
    /// What was proposed in each ballot of each register.
    proposed: BTreeMap<(Key, Ballot), State>,
    answers: Vec<(CommandId, Outcome)>,
    asked: Vec<Command>,
    now: Time,
}

pub(super) fn key(n: u64) -> Key {
    Key::register(n)
}

pub(super) fn value(byte: u8) -> Value {
    Value::from_slice(&[byte])
}

/// A number as [`Operation::Add`] writes it.
pub(super) fn number(n: u64) -> Value {
    Value::from_slice(&n.to_le_bytes())
}

pub(super) fn put(n: u64, byte: u8) -> Operation {
    Operation::Put { key: key(n), value: value(byte) }
}

pub(super) fn get(n: u64) -> Operation {
    Operation::Get { key: key(n) }
}

pub(super) fn add(n: u64) -> Operation {
    Operation::Add { key: key(n), amount: 1 }
}

pub(super) fn delete(n: u64) -> Operation {
    Operation::Delete { key: key(n) }
}

/// What a get, an add or a delete returns.
#[expect(clippy::unnecessary_wraps, reason = "as outcomes are compared")]
pub(super) fn found(held: Option<Value>) -> Option<Outcome> {
    Some(Outcome::Found(held))
}

pub(super) fn ballot(counter: u64, proposer: u8) -> Ballot {
    Ballot::new(0, counter, NodeId(proposer))
}

pub(super) fn state(value: Option<Value>) -> State {
    State { value, ..State::default() }
}

/// A change of the first register.
pub(super) fn change(ballot: Ballot, value: Option<Value>) -> Change {
    Change { key: key(1), ballot, state: state(value) }
}

pub(super) fn set(nodes: impl IntoIterator<Item = u8>) -> NodeSet {
    nodes.into_iter().map(NodeId).collect()
}

impl Bench {
    /// Replicas that are up.
    pub(super) fn new(size: u8, options: CaspaxosOptions) -> Bench {
        Bench::with_spares((size, 0), options)
    }

    /// So many members that are up, and spares that are not.
    pub(super) fn with_spares((members, spares): (u8, u8), options: CaspaxosOptions) -> Bench {
        let size = members + spares;
        let place = |_| Place {
            core: None,
            effects: Effects::default(),
            log: Vec::new(),
            unsynced: None,
            durable: WriteId(0),
        };
        let mut bench = Bench {
            cluster: Cluster { size, spares },
            options,
            places: (0..size).map(place).collect(),
            flying: Vec::new(),
            proposed: BTreeMap::new(),
            answers: Vec::new(),
            asked: Vec::new(),
            now: Time(0),
        };
        (0..members).for_each(|node| bench.restart(node));
        bench
    }

    /// Three replicas that never remove registers by themselves.
    pub(super) fn three() -> Bench {
        Bench::new(3, CaspaxosOptions::default())
    }

    /// Starts a replica from its log.
    pub(super) fn restart(&mut self, node: u8) {
        let (cluster, log) = (self.cluster, self.place(node).log.clone());
        let options = self.options.clone();
        let core = Caspaxos::recover(NodeId(node), cluster, options, log.into_iter());
        let place = self.place(node);
        place.core = Some(core);
        (place.effects, place.durable) = (Effects::default(), WriteId(0));
        self.step(node, Input::Started);
    }

    /// Ends a replica, and with it what was not durable; what it sent is still on its way.
    pub(super) fn crash(&mut self, node: u8) {
        let place = self.place(node);
        place.core = None;
        place.unsynced = None;
    }

    /// From now on nothing that this replica writes becomes durable.
    pub(super) fn hold_disk(&mut self, node: u8) {
        self.place(node).unsynced = Some(Vec::new());
    }

    /// What it has written becomes durable, and what waits for that is sent.
    pub(super) fn sync_disk(&mut self, node: u8) {
        let waiting = self.place(node).unsynced.take().expect("it is held up");
        for effect in waiting {
            self.effect(node, effect);
        }
        self.carry_out(node);
    }

    /// A new client of this replica asks.
    pub(super) fn ask(&mut self, node: u8, operation: Operation) -> CommandId {
        self.ask_all(node, vec![operation])[0]
    }

    /// New clients of this replica ask in one turn.
    pub(super) fn ask_all(&mut self, node: u8, operations: Vec<Operation>) -> Vec<CommandId> {
        let first = self.asked.len();
        for operation in operations {
            let id = CommandId { client: ClientId(self.asked.len() as u64), sequence: 0 };
            self.asked.push(Command { id, answered_below: 0, operation });
        }
        let commands = self.asked[first..].to_vec();
        let ids = commands.iter().map(|command| command.id).collect();
        self.step(node, Input::Requests(commands));
        ids
    }

    /// A client asks the same replica again.
    pub(super) fn ask_again(&mut self, node: u8, id: CommandId) {
        let command = self.asked[id.client.0 as usize].clone();
        self.step(node, Input::Requests(vec![command]));
    }

    /// An operator asks this replica for these members.
    pub(super) fn want_members(&mut self, node: u8, members: NodeSet) {
        self.step(node, Input::Members(members));
    }

    /// What a command was answered last; none if it was not.
    pub(super) fn answer(&self, id: CommandId) -> Option<Outcome> {
        let of_it = self.answers.iter().rfind(|(answered, _)| *answered == id);
        of_it.map(|(_, outcome)| outcome.clone())
    }

    /// How often it was answered.
    pub(super) fn answers(&self, id: CommandId) -> usize {
        self.answers.iter().filter(|(answered, _)| *answered == id).count()
    }

    /// Asks, lets these replicas go on until it is answered, and says what it was.
    pub(super) fn done(&mut self, node: u8, operation: Operation, among: &[u8]) -> Outcome {
        let id = self.ask(node, operation);
        for _ in 0..ROUNDS {
            self.settle(among);
            if let Some(outcome) = self.answer(id) {
                return outcome;
            }
            self.live_on(among);
        }
        panic!("never answered:\n{}", self.table());
    }

    /// A message comes that nobody on the bench sent.
    pub(super) fn hear(&mut self, node: u8, from: u8, message: CaspaxosMessage) {
        self.step(node, Input::Message { from: NodeId(from), message });
    }

    /// The oldest message of this kind from one to the other, which is not on its way any more.
    pub(super) fn take(&mut self, kind: &str, from: u8, to: u8) -> Flying {
        let same = |f: &Flying| (f.from.0, f.to.0, f.message.kind()) == (from, to, kind);
        let Some(position) = self.flying.iter().position(same) else {
            panic!("no {kind} from p{from} to p{to} is on its way:\n{}", self.table());
        };
        self.flying.remove(position)
    }

    /// The oldest message of this kind arrives.
    pub(super) fn carry(&mut self, kind: &str, from: u8, to: u8) {
        let flying = self.take(kind, from, to);
        self.arrive(flying);
    }

    /// Question and answer: the message arrives, and so does what the receiver sends back about it.
    pub(super) fn exchange(&mut self, kinds: [&str; 2], from: u8, to: u8) {
        self.carry(kinds[0], from, to);
        self.carry(kinds[1], to, from);
    }

    pub(super) fn prepare(&mut self, from: u8, to: u8) {
        self.exchange(["Prepare", "Promise"], from, to);
    }

    pub(super) fn accept(&mut self, from: u8, to: u8) {
        self.exchange(["Accept", "Accepted"], from, to);
    }

    /// A message that was taken arrives.
    pub(super) fn arrive(&mut self, Flying { from, to, message }: Flying) {
        if self.places[usize::from(to.0)].core.is_some() {
            self.step(to.0, Input::Message { from, message });
        }
    }

    /// The same, in the middle of a turn: [`Bench::end_turn`] ends it.
    pub(super) fn arrive_in_turn(&mut self, Flying { from, to, message }: Flying) {
        self.input(to.0, Input::Message { from, message });
    }

    pub(super) fn fire_in_turn(&mut self, node: u8, timer: CaspaxosTimer) {
        self.input(node, Input::Timer(timer));
    }

    pub(super) fn end_turn(&mut self, node: u8) {
        self.step(node, Input::TurnEnded);
    }

    /// All that is on its way between these replicas arrives, and what follows from it.
    pub(super) fn settle(&mut self, among: &[u8]) {
        let inside = |f: &Flying| among.contains(&f.from.0) && among.contains(&f.to.0);
        for _ in 0..SETTLED_AFTER {
            let Some(position) = self.flying.iter().position(inside) else { return };
            let flying = self.flying.remove(position);
            self.arrive(flying);
        }
        panic!("they go on and on:\n{}", self.table());
    }

    /// Half a second passes, these replicas look at what waits, and all that they say arrives; what they say
    /// to others is lost.
    pub(super) fn live_on(&mut self, among: &[u8]) {
        self.pass(500);
        for timer in [CaspaxosTimer::Backoff, CaspaxosTimer::Resend, CaspaxosTimer::Change] {
            for node in among {
                self.fire(*node, timer);
                self.settle(among);
            }
        }
        self.lose_all();
    }

    /// These replicas look for registers to remove, until nothing comes of it any more.
    pub(super) fn collect(&mut self, among: &[u8]) {
        for _ in 0..ROUNDS {
            for node in among {
                self.fire(*node, CaspaxosTimer::Collect);
            }
            self.settle(among);
        }
    }

    /// These replicas compare what they hold, in turn, until nothing is left to copy.
    pub(super) fn repair(&mut self, among: &[u8]) {
        for _ in 0..2 * among.len() + 4 {
            for node in among {
                self.fire(*node, CaspaxosTimer::Repair);
            }
            self.settle(among);
        }
    }

    /// All that is on its way is lost.
    pub(super) fn lose_all(&mut self) {
        self.flying.clear();
    }

    /// What is on its way from one to the other is lost.
    pub(super) fn lose(&mut self, from: u8, to: u8) {
        self.flying.retain(|f| (f.from.0, f.to.0) != (from, to));
    }

    /// Messages of this kind on their way.
    pub(super) fn count(&self, kind: &str) -> usize {
        self.flying.iter().filter(|f| f.message.kind() == kind).count()
    }

    /// Registers of all Accepts on their way to a replica.
    pub(super) fn proposed_to(&self, node: u8) -> usize {
        let changes = |f: &Flying| match &f.message {
            CaspaxosMessage::Accept { changes, .. } if f.to.0 == node => changes.len(),
            _ => 0,
        };
        self.flying.iter().map(changes).sum()
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now = self.now.after(Duration::from_millis(ms));
    }

    pub(super) fn fire(&mut self, node: u8, timer: CaspaxosTimer) {
        self.step(node, Input::Timer(timer));
    }

    /// The core of a replica that is up.
    pub(super) fn core(&self, node: u8) -> &Caspaxos {
        self.places[usize::from(node)].core.as_ref().expect("it is up")
    }

    /// What a replica that is up counts.
    pub(super) fn counter(&self, node: u8, name: &str) -> u64 {
        let counters = self.core(node).counters();
        counters.iter().find(|(known, _)| *known == name).expect("it counts that").1
    }

    /// A register as an acceptor has it; none if it is absent.
    pub(super) fn register(&self, node: u8, n: u64) -> Option<&Register> {
        self.core(node).registers().get(key(n))
    }

    /// The value that an acceptor has accepted.
    pub(super) fn held(&self, node: u8, n: u64) -> Option<Value> {
        self.register(node, n)?.state.value.clone()
    }

    fn place(&mut self, node: u8) -> &mut Place {
        &mut self.places[usize::from(node)]
    }

    pub(super) fn table(&self) -> String {
        let line = |f: &Flying| format!("{} -> {} {}\n", f.from, f.to, f.message);
        self.flying.iter().map(line).collect()
    }

    fn input(&mut self, node: u8, input: Input<Caspaxos>) {
        let now = self.now;
        let Place { core, effects, .. } = self.place(node);
        core.as_mut().expect("it is up").step(now, input, effects);
    }

    fn step(&mut self, node: u8, input: Input<Caspaxos>) {
        self.input(node, input);
        self.input(node, Input::TurnEnded);
        self.carry_out(node);
    }

    /// Carries out what a core asks for, and what follows once that is durable.
    fn carry_out(&mut self, node: u8) {
        loop {
            let effects: Vec<_> = self.place(node).effects.drain().collect();
            for effect in effects {
                self.effect(node, effect);
            }
            let durable = self.place(node).durable;
            self.input(node, Input::Durable(durable));
            self.input(node, Input::TurnEnded);
            if self.place(node).effects.is_empty() {
                return;
            }
        }
    }

    fn effect(&mut self, node: u8, effect: Effect<Caspaxos>) {
        let place = self.place(node);
        let waits = match &effect {
            Effect::Persist { .. } => true,
            Effect::Send { after, .. } => after.is_some_and(|after| after > place.durable),
            _ => false,
        };
        if let Some(unsynced) = place.unsynced.as_mut().filter(|_| waits) {
            return unsynced.push(effect);
        }
        match effect {
            Effect::Persist { id, record } => {
                place.durable = id;
                place.log.push(record);
            }
            Effect::Send { to, message, .. } => {
                self.note_proposed(&message);
                let nodes = self.cluster.nodes().filter(|n| to.includes(NodeId(node), *n));
                for to in nodes {
                    let message = message.clone();
                    self.flying.push(Flying { from: NodeId(node), to, message });
                }
            }
            Effect::Answer { id, outcome } => self.answers.push((id, outcome)),
            Effect::Arm(..) | Effect::Disarm(_) => {}
            other => unreachable!("its driver holds no state: {other:?}"),
        }
    }

    /// One ballot, one state.
    fn note_proposed(&mut self, message: &CaspaxosMessage) {
        let CaspaxosMessage::Accept { changes, .. } = message else { return };
        for Change { key, ballot, state } in changes.iter() {
            let before = self.proposed.entry((*key, *ballot)).or_insert_with(|| state.clone());
            assert_eq!(before, state, "two states of {key} in {ballot}");
        }
    }
}
