//! Several cores on a bench. Messages lie on the table until the test delivers them; disks are durable at
//! once; timers run out, replicas crash and time passes when the test says so. Two decisions for one
//! instance, and two interfering commands that do not see each other, end the test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::command::{ClientId, Command, CommandId, Key, NodeId, Operation, Value};
use crate::protocol::ballot::Round;
use crate::protocol::epaxos::Epaxos;
use crate::protocol::epaxos::deps::{Attributes, Deps};
use crate::protocol::epaxos::instances::Instance;
use crate::protocol::epaxos::message::{
    EpaxosMessage, EpaxosRecord, EpaxosTimer, InstanceId, Proposal,
};
use crate::protocol::epaxos::options::{EpaxosOptions, FastPath, QuorumChoice};
use crate::protocol::{Batch, Cluster, Effect, Effects, Input, Message, Protocol, Time};

/// Messages after which a bench is at rest, unless replicas answer each other for ever.
const SETTLED_AFTER: usize = 20_000;

/// A message on its way, and the state that comes with it.
#[derive(Clone)]
struct Flying {
    from: NodeId,
    to: NodeId,
    message: EpaxosMessage,
    state: Vec<u64>,
}

/// One place on the bench.
struct Place {
    /// None while it is down.
    core: Option<Epaxos>,
    effects: Effects<Epaxos>,
    log: Vec<EpaxosRecord>,
    /// The replicated state: the clients of the commands that it executed, in order.
    state: Vec<u64>,
    /// The state that it was sent last, as the disk holds it.
    installed: Vec<u64>,
    /// The state that came with the message of this step.
    arriving: Vec<u64>,
    /// In whose place it was started, if it is a spare.
    replaces: Option<NodeId>,
    /// Why it has ended.
    gave_up: Option<String>,
}

/// The cores, and what is between them.
pub(super) struct Bench {
    cluster: Cluster,
    options: EpaxosOptions,
    places: Vec<Place>,
    flying: Vec<Flying>,
    decided: BTreeMap<InstanceId, (Proposal, Attributes)>,
    now: Time,
    clients: u64,
}

/// All replicas are asked; quorums are the next places, or as `near` says.
pub(super) fn options(fast_path: FastPath) -> EpaxosOptions {
    EpaxosOptions {
        fast_path,
        thrifty: false,
        quorum: QuorumChoice::Nearest,
        ..EpaxosOptions::default()
    }
}

pub(super) fn id(owner: u8, number: u64) -> InstanceId {
    InstanceId { owner: NodeId(owner), number }
}

/// A client's only command.
pub(super) fn command(client: u64, operation: Operation) -> Command {
    let id = CommandId { client: ClientId(client), sequence: 0 };
    Command { id, answered_below: 0, operation }
}

pub(super) fn write(key: u64) -> Operation {
    Operation::Put { key: Key::register(key), value: Value::new() }
}

pub(super) fn read(key: u64) -> Operation {
    Operation::Get { key: Key::register(key) }
}

pub(super) fn batch(client: u64, operation: Operation) -> Batch {
    Arc::from([command(client, operation)])
}

/// Attributes that name these instances.
pub(super) fn after(size: u8, ids: &[InstanceId]) -> Attributes {
    let mut deps = Deps { ids: ids.to_vec(), ..Deps::none(size) };
    deps.tidy();
    Attributes { seq: 0, deps: Arc::new(deps) }
}

impl Bench {
    /// Replicas that are up; what they said of it has gone by.
    pub(super) fn new(size: u8, options: EpaxosOptions) -> Bench {
        Bench::with_spares((size, 0), options)
    }

    /// So many members that are up, and spares that are not.
    pub(super) fn with_spares((members, spares): (u8, u8), options: EpaxosOptions) -> Bench {
        let size = members + spares;
        let cluster = Cluster { size, spares };
        let place = |_| Place {
            core: None,
            effects: Effects::default(),
            log: Vec::new(),
            state: Vec::new(),
            installed: Vec::new(),
            arriving: Vec::new(),
            replaces: None,
            gave_up: None,
        };
        let mut bench = Bench {
            cluster,
            options,
            places: (0..size).map(place).collect(),
            flying: Vec::new(),
            decided: BTreeMap::new(),
            now: Time(0),
            clients: 0,
        };
        (0..members).for_each(|node| bench.restart(node));
        bench.lose_all();
        bench
    }

    /// Starts a spare in place of another replica.
    pub(super) fn stand_by(&mut self, joiner: u8, leaver: u8) {
        self.place(joiner).replaces = Some(NodeId(leaver));
        self.restart(joiner);
    }

    /// Starts a spare in place of another replica; it looks at once at what there is to do.
    pub(super) fn join(&mut self, joiner: u8, leaver: u8) {
        self.stand_by(joiner, leaver);
        self.fire(joiner, EpaxosTimer::Check);
    }

    /// Why a replica has given up, if it has.
    pub(super) fn gave_up(&self, node: u8) -> Option<&str> {
        self.places[usize::from(node)].gave_up.as_deref()
    }

    /// Starts a replica from its log.
    pub(super) fn restart(&mut self, node: u8) {
        let log = self.place(node).log.clone();
        let replaces = self.place(node).replaces.or(self.options.replaces);
        let (cluster, options) = (self.cluster, EpaxosOptions { replaces, ..self.options.clone() });
        let core = Epaxos::recover(NodeId(node), cluster, options, log.into_iter());
        let place = self.place(node);
        place.core = Some(core);
        place.effects = Effects::default();
        place.state = place.installed.clone();
        self.step(node, Input::Started);
    }

    /// Ends a replica; what it sent is still on its way.
    pub(super) fn crash(&mut self, node: u8) {
        self.place(node).core = None;
    }

    /// A client of this replica asks; the instance that its command goes into.
    pub(super) fn ask(&mut self, node: u8, operation: Operation) -> InstanceId {
        self.ask_all(node, vec![operation])
    }

    /// Several clients ask at once.
    pub(super) fn ask_all(&mut self, node: u8, operations: Vec<Operation>) -> InstanceId {
        let instance = id(node, self.core(node).next);
        let commands = (self.clients..).zip(operations);
        let commands: Vec<_> = commands.map(|(client, op)| command(client, op)).collect();
        self.clients += commands.len() as u64;
        self.step(node, Input::Requests(commands));
        instance
    }

    /// A replica starts to recover an instance.
    pub(super) fn recover(&mut self, node: u8, id: InstanceId) -> Round {
        let now = self.now;
        let place = self.place(node);
        let core = place.core.as_mut().expect("it is up");
        core.recover_instance(now, id, &mut place.effects);
        self.carry_out(node);
        self.instance(node, id).ballot
    }

    /// A message comes that nobody on the bench sent.
    pub(super) fn hear(&mut self, node: u8, from: u8, message: EpaxosMessage) {
        self.step(node, Input::Message { from: NodeId(from), message });
    }

    /// The oldest message of this kind about this instance arrives.
    pub(super) fn deliver(&mut self, kind: &str, about: InstanceId, from: u8, to: u8) {
        let position = self.position(kind, about, from, to);
        let position = position.unwrap_or_else(|| {
            panic!("no {kind} about {about} from p{from} to p{to} is on its way:\n{}", self.table())
        });
        let flying = self.flying.remove(position);
        self.arrive(flying);
    }

    /// The oldest message of this kind arrives, whatever it is about.
    pub(super) fn carry(&mut self, kind: &str, from: u8, to: u8) {
        let carried = self.try_carry(kind, from, to);
        assert!(carried, "no {kind} from p{from} to p{to} is on its way:\n{}", self.table());
    }

    /// The same, if there is one.
    pub(super) fn try_carry(&mut self, kind: &str, from: u8, to: u8) -> bool {
        let same = |f: &Flying| (f.from.0, f.to.0, f.message.kind()) == (from, to, kind);
        let Some(position) = self.flying.iter().position(same) else { return false };
        let flying = self.flying.remove(position);
        self.arrive(flying);
        true
    }

    /// Messages of this kind on their way.
    pub(super) fn count(&self, kind: &str) -> usize {
        self.flying.iter().filter(|f| f.message.kind() == kind).count()
    }

    /// Question and answer: the message arrives, and so does what the receiver sends back about it.
    pub(super) fn exchange(&mut self, kinds: [&str; 2], about: InstanceId, from: u8, to: u8) {
        self.deliver(kinds[0], about, from, to);
        self.deliver(kinds[1], about, to, from);
    }

    /// The oldest message of this kind about this instance, still on its way.
    pub(super) fn sent(
        &self,
        kind: &str,
        about: InstanceId,
        from: u8,
        to: u8,
    ) -> Option<&EpaxosMessage> {
        let position = self.position(kind, about, from, to)?;
        Some(&self.flying[position].message)
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

    /// Any one of the messages between these replicas arrives; none is left if it is false.
    pub(super) fn deliver_any(&mut self, among: &[u8], choice: usize) -> bool {
        let inside = |f: &Flying| among.contains(&f.from.0) && among.contains(&f.to.0);
        let places: Vec<_> = (0..self.flying.len()).filter(|p| inside(&self.flying[*p])).collect();
        if places.is_empty() {
            return false;
        }
        let flying = self.flying.remove(places[choice % places.len()]);
        self.arrive(flying);
        true
    }

    /// All that is on its way is lost.
    pub(super) fn lose_all(&mut self) {
        self.flying.clear();
    }

    /// What is on its way to a replica is lost.
    pub(super) fn lose_to(&mut self, node: u8) {
        self.flying.retain(|f| f.to.0 != node);
    }

    /// What is on its way to or from a replica is lost.
    pub(super) fn lose_of(&mut self, node: u8) {
        self.flying.retain(|f| f.from.0 != node && f.to.0 != node);
    }

    /// So much time passes, then these replicas look at what waits, and all that they say arrives.
    pub(super) fn live_on(&mut self, among: &[u8], ms: u64) {
        self.pass(ms);
        for node in among {
            self.fire(*node, EpaxosTimer::Check);
        }
        self.settle(among);
    }

    /// These replicas tell each other that they are up, and how far they are.
    pub(super) fn beat(&mut self, among: &[u8]) {
        for node in among {
            self.fire(*node, EpaxosTimer::Heartbeat);
        }
        self.settle(among);
    }

    /// A replica says that it is up, and the others hear that.
    pub(super) fn say_up(&mut self, node: u8) {
        self.fire(node, EpaxosTimer::Heartbeat);
        let up = |f: &Flying| f.from.0 == node && f.message.kind() == "Heartbeat";
        while let Some(position) = self.flying.iter().position(up) {
            let flying = self.flying.remove(position);
            self.arrive(flying);
        }
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now = self.now.after(Duration::from_millis(ms));
    }

    pub(super) fn fire(&mut self, node: u8, timer: EpaxosTimer) {
        self.step(node, Input::Timer(timer));
    }

    /// The core of a replica that is up.
    pub(super) fn core(&self, node: u8) -> &Epaxos {
        self.places[usize::from(node)].core.as_ref().expect("it is up")
    }

    /// What a replica knows of an instance.
    pub(super) fn instance(&self, node: u8, id: InstanceId) -> &Instance {
        self.core(node).rows.get(id).expect("it has a record")
    }

    /// What a replica, or one that crashed, has decided.
    pub(super) fn decided(&self, id: InstanceId) -> Option<&(Proposal, Attributes)> {
        self.decided.get(&id)
    }

    /// Whether it is decided that an instance is nothing.
    pub(super) fn is_nop(&self, id: InstanceId) -> bool {
        matches!(self.decided(id), Some((Proposal::Nop, _)))
    }

    /// With what an instance's command is decided.
    pub(super) fn deps(&self, id: InstanceId) -> &Deps {
        match self.decided(id) {
            Some((Proposal::Command(_), attributes)) => &attributes.deps,
            other => panic!("{id} is not decided to be its command: {other:?}"),
        }
    }

    /// The clients whose commands a replica has executed, in order.
    pub(super) fn state(&self, node: u8) -> &[u64] {
        &self.places[usize::from(node)].state
    }

    /// The durable records of a replica.
    pub(super) fn log(&self, node: u8) -> &[EpaxosRecord] {
        &self.places[usize::from(node)].log
    }

    fn place(&mut self, node: u8) -> &mut Place {
        &mut self.places[usize::from(node)]
    }

    fn position(&self, kind: &str, about: InstanceId, from: u8, to: u8) -> Option<usize> {
        self.flying.iter().position(|f| {
            (f.from.0, f.to.0, f.message.kind(), f.message.id()) == (from, to, kind, Some(about))
        })
    }

    fn table(&self) -> String {
        let line = |f: &Flying| format!("{} -> {} {}\n", f.from, f.to, f.message);
        self.flying.iter().map(line).collect()
    }

    fn arrive(&mut self, flying: Flying) {
        let Flying { from, to, message, state } = flying;
        if self.places[usize::from(to.0)].core.is_some() {
            self.place(to.0).arriving = state;
            self.step(to.0, Input::Message { from, message });
        }
    }

    fn step(&mut self, node: u8, input: Input<Epaxos>) {
        let now = self.now;
        let Place { core, effects, .. } = self.place(node);
        let core = core.as_mut().expect("it is up");
        core.step(now, input, effects);
        core.step(now, Input::TurnEnded, effects);
        self.carry_out(node);
    }

    /// Carries out what a core asks for, and what follows once that is durable.
    fn carry_out(&mut self, node: u8) {
        let (now, logged) = (self.now, self.place(node).log.len());
        while !self.places[usize::from(node)].effects.is_empty() {
            let effects: Vec<_> = self.place(node).effects.drain().collect();
            for effect in effects {
                self.effect(node, effect);
            }
            let Place { core, effects, .. } = self.place(node);
            let core = core.as_mut().expect("it is up");
            core.step(now, Input::Durable(effects.last_write()), effects);
            core.step(now, Input::TurnEnded, effects);
        }
        let committed = |record: &EpaxosRecord| match record {
            EpaxosRecord::Committed { id, .. } => Some(*id),
            _ => None,
        };
        let new: Vec<_> = self.log(node)[logged..].iter().filter_map(committed).collect();
        for id in new {
            self.note_decision(node, id);
        }
    }

    fn effect(&mut self, node: u8, effect: Effect<Epaxos>) {
        match effect {
            Effect::Persist { record, .. } => self.place(node).log.push(record),
            Effect::Send { to, message, .. } => {
                let nodes = self.cluster.nodes().filter(|n| to.includes(NodeId(node), *n));
                for to in nodes.collect::<Vec<_>>() {
                    self.send(node, to, message.clone());
                }
            }
            Effect::SendState { to, message } => self.send(node, to, message),
            Effect::Answer { .. } => unreachable!("its driver holds the state"),
            Effect::Execute(command) => {
                let clients = command.iter().map(|command| command.id.client.0);
                self.place(node).state.extend(clients);
            }
            Effect::InstallState => {
                let place = self.place(node);
                place.installed = std::mem::take(&mut place.arriving);
                place.state = place.installed.clone();
            }
            Effect::Arm(..) | Effect::Disarm(_) | Effect::Committed(_) => {}
            Effect::GiveUp(why) => self.place(node).gave_up = Some(why),
        }
    }

    fn send(&mut self, node: u8, to: NodeId, message: EpaxosMessage) {
        let state =
            if message.brings_state() { self.place(node).state.clone() } else { Vec::new() };
        self.flying.push(Flying { from: NodeId(node), to, message, state });
    }

    /// A replica has decided an instance, as its log says.
    fn note_decision(&mut self, node: u8, id: InstanceId) {
        let Some(instance) = self.core(node).rows.get(id) else { return };
        assert!(instance.final_here, "{id}: what is durable is final");
        let (proposal, attributes) = (instance.proposal.clone(), instance.attributes.clone());
        let tuple = proposal.zip(attributes).expect("it is decided to be something");
        if let Some(decided) = self.decided.get(&id) {
            assert_eq!(*decided, tuple, "{id}: agreement");
        } else {
            self.assert_seen(id, &tuple);
            self.decided.insert(id, tuple);
        }
    }

    /// Of two interfering commands that are decided, one depends on the other.
    fn assert_seen(&self, id: InstanceId, (proposal, attributes): &(Proposal, Attributes)) {
        let Proposal::Command(command) = proposal else { return };
        for (other_id, (other, others)) in &self.decided {
            let Proposal::Command(other) = other else { continue };
            let interfere =
                command.iter().any(|a| other.iter().any(|b| a.operation.interferes(&b.operation)));
            let seen = attributes.deps.covers(*other_id) || others.deps.covers(id);
            assert!(seen || !interfere, "visibility of {id} and {other_id}");
        }
    }
}
