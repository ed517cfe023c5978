//! One process as its driver keeps it: the core, its log, its timers and what waits for the disk.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::BytesMut;

use super::{Given, Modelled, Nudge, Setup};
use crate::command::{Command, CommandId, NodeId, Outcome};
use crate::kv::{Executed, Store};
use crate::protocol::{Batch, Destination, Effect, Effects, Input, Protocol, Time, WriteId};
use crate::wire::Wire;

/// The replicated state at one process, and the commands that made it.
#[derive(Clone, Default, Debug)]
pub(super) struct Replicated {
    store: Store,
    pub executed: Vec<Command>,
    /// How many batches these came in.
    batches: u64,
}

/// The store is a function of what was executed.
impl Hash for Replicated {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.executed.hash(state);
    }
}

impl PartialEq for Replicated {
    fn eq(&self, other: &Self) -> bool {
        self.executed == other.executed
    }
}

impl Eq for Replicated {}

impl Replicated {
    /// Executes a command, and says what became of it.
    pub fn execute(&mut self, command: &Command) -> Executed<'_> {
        self.executed.push(command.clone());
        self.store.execute(command)
    }
}

/// A message on its way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Flight<M> {
    pub from: NodeId,
    pub to: NodeId,
    pub message: M,
    /// The replicated state that comes with it.
    pub state: Option<Arc<Replicated>>,
}

/// What became of a command that was executed.
#[derive(Clone, Debug)]
pub(super) enum Done {
    Applied(Outcome),
    Repeated(Outcome),
    Forgotten,
}

/// What the invariants are told of, in the order in which it happened.
#[derive(Debug)]
pub(super) enum Seen<P: Protocol> {
    Asked(Command),
    Appended(P::Record),
    Durable(P::Record),
    /// Crashed; its log as it will find it.
    Crashed(Vec<P::Record>),
    /// A message left, when this many records were durable.
    Sent(P::Message, usize),
    /// A batch is about to be executed, behind this many others.
    Delivered(u64, Batch),
    Executed(Command, Done),
    /// A core that holds the state itself says what a command returned.
    Decided(CommandId, Outcome),
    Answered(CommandId, Outcome),
    /// The replicated state was replaced by this one.
    Replaced(Arc<Replicated>),
}

/// What one process did, from an input until it was quiet again.
#[derive(Debug)]
pub(super) struct Turn<P: Protocol> {
    pub seen: Vec<Seen<P>>,
    pub sent: Vec<Flight<P::Message>>,
}

impl<P: Protocol> Default for Turn<P> {
    fn default() -> Self {
        Turn { seen: Vec::new(), sent: Vec::new() }
    }
}

/// A record, and the replicated state that was stored with it if there was one.
type Stored<R> = (R, Option<Arc<Replicated>>);

/// One process and what surrounds it.
#[derive(Clone)]
pub(super) struct Node<P: Protocol> {
    me: NodeId,
    /// Whether it may crash, and read its log.
    crashes: bool,
    pub core: P,
    state: Replicated,
    log: Vec<Stored<P::Record>>,
    /// How many records of the log are of earlier lives.
    log_before: usize,
    durable: WriteId,
    /// Messages that wait for a write to be durable.
    held: Vec<(WriteId, Destination, P::Message)>,
    armed: BTreeSet<P::Timer>,
    clock: Time,
    /// Whose clients are connected here and not answered.
    clients: BTreeSet<CommandId>,
    /// Empty between turns; it numbers the writes of this life.
    effects: Effects<P>,
}

impl<P: Modelled> Hash for Node<P> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.me.hash(state);
        self.core.hash(state);
        self.core.hash_sharing(state);
        self.state.hash(state);
        let unread = if self.crashes { 0 } else { self.durable.0 as usize };
        self.log[unread..].hash(state);
        let base = if P::NUMBERS_WRITES { 0 } else { self.durable.0 };
        if P::NUMBERS_WRITES {
            (self.log_before, self.durable).hash(state);
        }
        self.pending().count().hash(state);
        for (after, to, message) in &self.held {
            (after.0 - base, to, message).hash(state);
        }
        self.clock.hash(state);
        self.armed.hash(state);
        self.clients.hash(state);
    }
}

impl<P: Modelled> Node<P> {
    /// Starts for the first time.
    pub fn start(me: NodeId, setup: &Setup<P>, crashes: bool) -> (Self, Turn<P>) {
        let (mut node, mut turn) = (Node::new(me, setup, Vec::new()), Turn::default());
        node.crashes = crashes;
        node.step(setup, Input::Started, None, &mut turn);
        (node, turn)
    }

    fn new(me: NodeId, setup: &Setup<P>, log: Vec<Stored<P::Record>>) -> Self {
        let records = log.iter().map(|(record, _)| record.clone());
        let core = P::recover(me, setup.cluster, setup.options.clone(), records);
        let stored = log.iter().rev().find_map(|(_, state)| state.as_deref());
        Node {
            me,
            crashes: true,
            core,
            state: stored.cloned().unwrap_or_default(),
            log_before: log.len(),
            log,
            durable: WriteId(0),
            held: Vec::new(),
            armed: BTreeSet::new(),
            clock: Time(0),
            clients: BTreeSet::new(),
            effects: Effects::default(),
        }
    }

    /// A message arrives.
    pub fn receive(&mut self, setup: &Setup<P>, flight: &Flight<P::Message>) -> Turn<P> {
        let mut turn = Turn::default();
        let message = received(&flight.message);
        let input = Input::Message { from: flight.from, message };
        self.step(setup, input, flight.state.as_ref(), &mut turn);
        turn
    }

    /// A client of this process asks.
    pub fn ask(&mut self, setup: &Setup<P>, command: &Command) -> Turn<P> {
        let mut turn = Turn::default();
        self.asked(setup, command, &mut turn);
        turn
    }

    fn asked(&mut self, setup: &Setup<P>, command: &Command, turn: &mut Turn<P>) {
        turn.seen.push(Seen::Asked(command.clone()));
        self.clients.insert(command.id);
        self.step(setup, Input::Requests(vec![command.clone()]), None, turn);
    }

    /// Time passes here, and something comes of it.
    pub fn nudge(&mut self, setup: &Setup<P>, nudge: &Nudge<P>) -> Turn<P> {
        let mut turn = Turn::default();
        self.clock = self.clock.after(nudge.after);
        nudge.inputs.iter().for_each(|given| self.take(setup, given, &mut turn));
        turn
    }

    /// One input.
    pub fn give(&mut self, setup: &Setup<P>, given: &Given<P>) -> Turn<P> {
        let mut turn = Turn::default();
        self.take(setup, given, &mut turn);
        turn
    }

    fn take(&mut self, setup: &Setup<P>, given: &Given<P>, turn: &mut Turn<P>) {
        let input = match given {
            Given::Message { from, message } => {
                Input::Message { from: *from, message: received(message) }
            }
            Given::Timer(timer) => {
                self.armed.remove(timer);
                Input::Timer(*timer)
            }
            Given::Asked(command) => return self.asked(setup, command, turn),
            Given::Members(members) => Input::Members(*members),
        };
        self.step(setup, input, None, turn);
    }

    /// Whether all timers that a nudge lets run out are armed.
    pub fn can_be_nudged(&self, nudge: &Nudge<P>) -> bool {
        nudge.inputs.iter().all(|given| match given {
            Given::Timer(timer) => self.armed.contains(timer),
            Given::Message { .. } | Given::Asked(_) | Given::Members(_) => true,
        })
    }

    /// Loses what is not durable and starts again, at once: to stay down for a while is to receive
    /// nothing for a while.
    pub fn crash(&mut self, setup: &Setup<P>) -> Turn<P> {
        self.log.truncate(self.log_before + self.durable.0 as usize);
        let log = std::mem::take(&mut self.log);
        let left = log.iter().map(|(record, _)| record.clone()).collect();
        let clock = self.clock;
        *self = Node::new(self.me, setup, log);
        self.clock = clock;
        let state = Seen::Replaced(Arc::new(self.state.clone()));
        let mut turn = Turn { seen: vec![Seen::Crashed(left), state], ..Turn::default() };
        self.step(setup, Input::Started, None, &mut turn);
        turn
    }

    /// Writes that are not durable yet.
    pub fn pending(&self) -> impl Iterator<Item = WriteId> + use<P> {
        (self.durable.0 + 1..=self.effects.last_write().0).map(WriteId)
    }

    /// The log is synced up to a write, and what waited for it leaves.
    pub fn sync(&mut self, setup: &Setup<P>, upto: WriteId) -> Turn<P> {
        let mut turn = Turn::default();
        self.make_durable(setup, upto, &mut turn);
        turn
    }

    fn make_durable(&mut self, setup: &Setup<P>, upto: WriteId, turn: &mut Turn<P>) {
        let from = self.log_before + self.durable.0 as usize;
        let synced = &self.log[from..self.log_before + upto.0 as usize];
        turn.seen.extend(synced.iter().map(|(record, _)| Seen::Durable(record.clone())));
        self.durable = upto;
        for (after, to, message) in std::mem::take(&mut self.held) {
            if after <= upto {
                self.send(setup, to, message, None, turn);
            } else {
                self.held.push((after, to, message));
            }
        }
        self.step(setup, Input::Durable(upto), None, turn);
    }

    /// One input, the end of the turn, and all effects.
    fn step(
        &mut self,
        setup: &Setup<P>,
        input: Input<P>,
        brought: Option<&Arc<Replicated>>,
        turn: &mut Turn<P>,
    ) {
        self.core.step(self.clock, input, &mut self.effects);
        self.core.step(self.clock, Input::TurnEnded, &mut self.effects);
        let effects: Vec<_> = self.effects.drain().collect();
        let mut installed = false;
        for effect in effects {
            match effect {
                Effect::Persist { record, .. } => {
                    turn.seen.push(Seen::Appended(record.clone()));
                    let with = std::mem::take(&mut installed);
                    self.log.push((record, with.then(|| Arc::new(self.state.clone()))));
                }
                Effect::Send { to, message, after } => match after {
                    Some(after) if after > self.durable => self.held.push((after, to, message)),
                    _ => self.send(setup, to, message, None, turn),
                },
                Effect::Arm(timer, _) => drop(self.armed.insert(timer)),
                Effect::Disarm(timer) => drop(self.armed.remove(&timer)),
                Effect::Execute(batch) => self.execute(&batch, turn),
                Effect::Answer { id, outcome } => {
                    turn.seen.push(Seen::Decided(id, outcome.clone()));
                    if self.clients.remove(&id) {
                        turn.seen.push(Seen::Answered(id, outcome));
                    }
                }
                Effect::Committed(batch) => self.answer_committed(&batch, turn),
                Effect::SendState { to, message } => {
                    let state = Some(Arc::new(self.state.clone()));
                    self.send(setup, Destination::One(to), message, state, turn);
                }
                Effect::InstallState => {
                    let state = brought.expect("the state came with the message");
                    self.state = Replicated::clone(state);
                    turn.seen.push(Seen::Replaced(state.clone()));
                    installed = true;
                }
                Effect::GiveUp(why) => {
                    panic!("{} gives up, though nobody joins in a model: {why}", self.me)
                }
            }
        }
        if let Some(last) = self.pending().last()
            && !setup.slow_disks.contains(&self.me)
        {
            self.make_durable(setup, last, turn);
        }
    }

    fn send(
        &self,
        setup: &Setup<P>,
        to: Destination,
        message: P::Message,
        state: Option<Arc<Replicated>>,
        turn: &mut Turn<P>,
    ) {
        let durable = self.log_before + self.durable.0 as usize;
        turn.seen.push(Seen::Sent(message.clone(), durable));
        if P::is_left_out(&message) {
            return;
        }
        let from = self.me;
        let mut fly = |to: NodeId| {
            assert_ne!(to, from, "nobody sends to itself: {message:?}");
            turn.sent.push(Flight { from, to, message: message.clone(), state: state.clone() });
        };
        match to {
            Destination::One(to) => fly(to),
            Destination::Some(_) | Destination::Others => {
                setup.cluster.nodes().filter(|node| to.includes(from, *node)).for_each(fly);
            }
        }
    }

    fn answer_committed(&mut self, batch: &Batch, turn: &mut Turn<P>) {
        for command in batch.iter() {
            if let Some(outcome) = command.operation.outcome_before_execution()
                && self.clients.remove(&command.id)
            {
                turn.seen.push(Seen::Answered(command.id, outcome));
            }
        }
    }

    fn execute(&mut self, batch: &Batch, turn: &mut Turn<P>) {
        turn.seen.push(Seen::Delivered(self.state.batches, batch.clone()));
        self.state.batches += 1;
        for command in batch.iter() {
            let done = match self.state.execute(command) {
                Executed::Applied(outcome) => Done::Applied(outcome.clone()),
                Executed::Repeated(outcome) => Done::Repeated(outcome.clone()),
                Executed::Forgotten => Done::Forgotten,
            };
            turn.seen.push(Seen::Executed(command.clone(), done.clone()));
            if let Done::Applied(outcome) | Done::Repeated(outcome) = done
                && self.clients.remove(&command.id)
            {
                turn.seen.push(Seen::Answered(command.id, outcome));
            }
        }
    }
}

/// The message as the receiver reads it off the wire. It shares nothing with the sender's, as in a
/// real cluster, and cores may tell: see [`Modelled::hash_sharing`].
fn received<M: Wire>(message: &M) -> M {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes);
    M::decode_whole(&bytes).expect("what was encoded decodes")
}
