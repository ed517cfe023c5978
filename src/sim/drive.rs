//! One replica's turn, as [`crate::replica`] takes it, with a disk that takes its time and a process
//! that may end at any point.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Subject;
use super::node::{Arrival, DiskPlan, Entry};
use super::trace::At;
use super::world::{Event, World};
use crate::check::invariants::executions::Applied;
use crate::check::invariants::{Held, Invariants};
use crate::command::{Command, CommandId, NodeId, Outcome};
use crate::protocol::{Batch, Destination, Effect, Input, Message, Protocol, WriteId};
use crate::wire::{Reader, Reply, Wire, decode_store, encode_store};

/// A replicated state on its way: encoded, and what the invariants know of it.
#[derive(Debug)]
pub(super) struct Transferred {
    bytes: Bytes,
    applied: Applied,
    batches: u64,
}

/// How a process ends.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Ending {
    /// The share of the records under way to the disk that get there, 0 to 1.
    pub(super) survives: f64,
    /// When it comes back, in ns from then; none if it does not.
    pub(super) down_ns: Option<u64>,
}

impl<P: Subject> World<P> {
    pub(super) fn node_mut(&mut self, node: NodeId) -> &mut super::node::Node<P> {
        &mut self.nodes[usize::from(node.0)]
    }

    /// Starts a replica that is down, unless its disk does not let it, or nobody has said whom it replaces.
    pub(super) fn start(&mut self, node: NodeId) {
        let (cluster, options) = (self.cluster, self.options.clone());
        let slot = self.node_mut(node);
        if slot.is_up() || slot.is_gone() || slot.disk.full || slot.waits(cluster) {
            return;
        }
        let options = match slot.replaces {
            Some(leaver) => P::joining(options, leaver),
            None => options,
        };
        let first = slot.life == 0;
        slot.recover(cluster, options);
        slot.turn_is_due = false;
        slot.busy_until_ns = 0;
        if !first {
            self.renew_clock(node);
            self.announce_link(node, true);
            self.note(At::One(usize::from(node.0)), format_args!("starts again"));
        }
        self.call_turn(node);
    }

    /// Takes all that has arrived.
    pub(super) fn turn(&mut self, node: NodeId, life: u32) -> Held {
        let now_ns = self.now_ns;
        let slot = self.node_mut(node);
        if slot.life != life || !slot.is_up() {
            return Ok(());
        }
        if slot.busy_until_ns > now_ns {
            let due_ns = slot.busy_until_ns;
            self.schedule(due_ns, Event::Turn { node, life });
            return Ok(());
        }
        if let Some(up_to) = slot.disk.synced.take() {
            self.synced(node, life, up_to)?;
        }
        let first = self.next_number();
        let slot = self.node_mut(node);
        if !slot.is_up() {
            return Ok(());
        }
        slot.turn_is_due = false;
        slot.busy_until_ns = now_ns + slot.turn_ns;
        slot.counts.turns += 1;
        let written = slot.disk.written();
        for arrival in std::mem::take(&mut slot.arrivals) {
            self.take(node, arrival)?;
        }
        self.settle(node)?;
        if self.node_mut(node).disk.lost {
            return self.crash(node, Ending { survives: 0.0, down_ns: None });
        }
        self.begin_sync(node)?;
        self.look_at_service(node);
        let slot = self.node_mut(node);
        if slot.disk.written() > written
            && let Some(ending) = slot.crashes_at_a_write.take()
        {
            self.crash_within(node, ending, first)?;
        }
        Ok(())
    }

    /// Clients hear of it when a replica comes to take their requests, or to take them no longer; the latter
    /// from its refusals, if it finishes what it took.
    fn look_at_service(&mut self, node: NodeId) {
        let slot = self.node_mut(node);
        let serves = slot.core.as_ref().is_some_and(P::takes_requests);
        let changed = std::mem::replace(&mut slot.serves, serves) != serves;
        if changed && (serves || !P::FINISHES_REQUESTS) {
            self.announce_link(node, serves);
        }
    }

    fn take(&mut self, node: NodeId, arrival: Arrival<P>) -> Held {
        match arrival {
            Arrival::Started => self.step(node, Input::Started, None),
            Arrival::Message { from, message, state } => {
                self.step(node, Input::Message { from, message }, state)
            }
            Arrival::Commands { connection, mut commands } => {
                let slot = self.node_mut(node);
                let own = slot.core.as_ref().and_then(P::replicated);
                let (sessions, state) = (&mut slot.sessions, own.unwrap_or(&slot.state.store));
                commands.retain(|command| sessions.admit(connection, command.id, state));
                slot.counts.batches += 1;
                self.step(node, Input::Requests(commands), None)
            }
            Arrival::Timer { timer, armed } => {
                let slot = self.node_mut(node);
                if !slot.timers.iter().any(|(_, number, _)| *number == armed) {
                    return Ok(());
                }
                slot.disarm(timer);
                self.note(At::One(usize::from(node.0)), format_args!("timer {timer:?}"));
                self.step(node, Input::Timer(timer), None)
            }
            Arrival::Durable(write) => self.step(node, Input::Durable(write), None),
            Arrival::Members(members) => self.step(node, Input::Members(members), None),
        }
    }

    /// Ends the turn; repeats while writes become durable at once.
    fn settle(&mut self, node: NodeId) -> Held {
        loop {
            self.step(node, Input::TurnEnded, None)?;
            let disk = &mut self.node_mut(node).disk;
            if disk.told == disk.durable {
                return Ok(());
            }
            disk.told = disk.durable;
            let durable = disk.durable;
            self.step(node, Input::Durable(durable), None)?;
        }
    }

    fn step(&mut self, node: NodeId, input: Input<P>, mut state: Option<Arc<Transferred>>) -> Held {
        let now_ns = self.now_ns;
        let slot = self.node_mut(node);
        let now = slot.clock.read(now_ns);
        let mut effects = std::mem::take(&mut slot.effects);
        let core = slot.core.as_mut().expect("only who is up takes turns");
        core.step(now, input, &mut effects);
        for effect in effects.drain() {
            self.carry_out(node, effect, &mut state)?;
        }
        self.node_mut(node).effects = effects;
        if self.checked {
            let core = self.nodes[usize::from(node.0)].core.as_ref().expect("it is up");
            self.invariants.on_step(node, core)?;
        }
        Ok(())
    }

    fn carry_out(
        &mut self,
        node: NodeId,
        effect: Effect<P>,
        state: &mut Option<Arc<Transferred>>,
    ) -> Held {
        match effect {
            Effect::Persist { id, record } => self.persist(node, id, record),
            Effect::Send { to, message, after } => {
                let slot = self.node_mut(node);
                match after {
                    Some(after) if after > slot.disk.durable => {
                        slot.held.push_back((after, to, message));
                        Ok(())
                    }
                    _ => self.transmit(node, to, &message, None),
                }
            }
            Effect::Arm(timer, range) => {
                self.arm(node, timer, range);
                Ok(())
            }
            Effect::Disarm(timer) => {
                self.node_mut(node).disarm(timer);
                Ok(())
            }
            Effect::Execute(batch) => self.execute_all(node, &batch),
            Effect::Answer { id, outcome } => {
                self.node_mut(node).counts.decided += 1;
                if self.checked {
                    self.executions.on_decided(id, &outcome)?;
                }
                self.tell_outcome(node, id, &outcome)
            }
            Effect::Committed(batch) => batch.iter().try_for_each(|command| {
                let outcome = command.operation.outcome_before_execution();
                outcome.map_or(Ok(()), |outcome| self.tell_outcome(node, command.id, &outcome))
            }),
            Effect::SendState { to, message } => {
                let transferred = self.encode_state(node);
                self.transmit(node, Destination::One(to), &message, Some(transferred))
            }
            Effect::InstallState => {
                let state = state.take().expect("a state came with this step");
                self.install(node, &state);
                Ok(())
            }
            Effect::GiveUp(why) => {
                self.note(At::One(usize::from(node.0)), format_args!("gives up: {why}"));
                // It ends with this turn, for good.
                self.node_mut(node).disk.lost = true;
                Ok(())
            }
        }
    }

    fn persist(&mut self, node: NodeId, id: WriteId, record: P::Record) -> Held {
        self.note(At::One(usize::from(node.0)), format_args!("writes {record}"));
        if self.checked {
            self.invariants.on_record(node, &record)?;
        }
        let slot = self.node_mut(node);
        slot.counts.writes += 1;
        if slot.disk.plan == DiskPlan::Memory {
            slot.disk.durable = id;
            return Ok(());
        }
        let state = std::mem::take(&mut slot.installed).then(|| slot.state.clone());
        slot.disk.log.push(Entry { record, state, intact: true });
        match slot.disk.plan {
            DiskPlan::Lying => self.make_durable(node, id),
            _ => Ok(()),
        }
    }

    fn arm(&mut self, node: NodeId, timer: P::Timer, range: std::ops::Range<std::time::Duration>) {
        let (now_ns, armed) = (self.now_ns, self.next_number());
        let slot = self.node_mut(node);
        let delay = slot.draw_delay(range);
        let reading = slot.clock.read(now_ns).after(delay);
        slot.disarm(timer);
        slot.timers.push((timer, armed, reading));
        let (life, due_ns) = (slot.life, slot.clock.after(now_ns, delay));
        self.schedule(due_ns, Event::Timer { node, life, timer, armed });
    }

    fn execute_all(&mut self, node: NodeId, batch: &Batch) -> Held {
        let state = &mut self.node_mut(node).state;
        state.batches += 1;
        let position = state.batches - 1;
        if self.checked {
            self.invariants.on_executed(node, position, batch)?;
        }
        batch.iter().try_for_each(|command| self.execute(node, command))
    }

    fn execute(&mut self, node: NodeId, command: &Command) -> Held {
        self.note(At::One(usize::from(node.0)), format_args!("executes {command}"));
        let checked = self.checked;
        let slot = &mut self.nodes[usize::from(node.0)];
        slot.counts.decided += 1;
        let executed = slot.state.store.execute(command);
        if checked {
            let applied = &mut slot.state.applied;
            self.executions.on_executed(node, command, &executed, applied)?;
        }
        let Some(outcome) = executed.outcome().cloned() else { return Ok(()) };
        self.tell_outcome(node, command.id, &outcome)
    }

    /// Answers a command's client, if it is connected to this replica.
    fn tell_outcome(&mut self, node: NodeId, id: CommandId, outcome: &Outcome) -> Held {
        let connection = self.node_mut(node).sessions.connection_of(id.client);
        let Some(connection) = connection else { return Ok(()) };
        if self.checked {
            self.executions.on_replied(id, outcome)?;
        }
        let reply = Reply { id, outcome: outcome.clone() };
        self.answer(node, connection, reply);
        Ok(())
    }

    fn encode_state(&mut self, node: NodeId) -> Arc<Transferred> {
        let state = &self.node_mut(node).state;
        let mut bytes = BytesMut::new();
        encode_store(&state.store, &mut bytes);
        let (applied, batches) = (state.applied.clone(), state.batches);
        Arc::new(Transferred { bytes: bytes.freeze(), applied, batches })
    }

    fn install(&mut self, node: NodeId, transferred: &Transferred) {
        let store = decode_store(&mut Reader::new(&transferred.bytes));
        let store = store.expect("what was encoded is decoded");
        self.note(At::One(usize::from(node.0)), format_args!("takes over the state"));
        let slot = self.node_mut(node);
        slot.state.store = store;
        slot.state.applied = transferred.applied.clone();
        slot.state.batches = transferred.batches;
        slot.installed = true;
    }

    /// A message leaves.
    fn transmit(
        &mut self,
        node: NodeId,
        to: Destination,
        message: &P::Message,
        state: Option<Arc<Transferred>>,
    ) -> Held {
        let durable = self.node_mut(node).disk.durable_records();
        if self.checked {
            self.invariants.on_sent(node, message, durable)?;
        }
        self.scratch.clear();
        message.encode(&mut self.scratch);
        let bytes = Bytes::copy_from_slice(&self.scratch);
        self.trace.bytes(&bytes);
        self.note(At::One(usize::from(node.0)), format_args!("sends {message} to {to}"));
        let length = bytes.len() + state.as_ref().map_or(0, |state| state.bytes.len());
        for other in self.cluster.others(node) {
            if !to.includes(node, other) {
                continue;
            }
            let sent = &mut self.node_mut(node).counts.sent;
            sent.count(message.kind(), 1, bytes.len() as u64);
            if self.plight.cuts(node, other) {
                continue;
            }
            let way = (usize::from(node.0), usize::from(other.0));
            for due_ns in self.network.send(self.now_ns, way, message.lane(), length) {
                let (message, state) = (bytes.clone(), state.clone());
                self.schedule(due_ns, Event::Message { to: other, from: node, message, state });
            }
        }
        Ok(())
    }

    /// Forces to the disk what is not on it yet, all of it at once.
    fn begin_sync(&mut self, node: NodeId) -> Held {
        let now_ns = self.now_ns;
        let slot = self.node_mut(node);
        let idle = slot.is_up() && !slot.disk.syncing && slot.disk.durable < slot.disk.written();
        if !idle || slot.disk.plan == DiskPlan::Memory {
            return Ok(());
        }
        if slot.disk.full {
            // The replica says so and ends; it comes back once there is room.
            return self.crash(node, Ending { survives: 0.0, down_ns: None });
        }
        slot.disk.syncing = true;
        slot.counts.syncs += 1;
        let (up_to, life, takes_ns) = (slot.disk.written(), slot.life, slot.draw_sync_ns());
        self.schedule(now_ns + takes_ns, Event::Synced { node, life, up_to });
        Ok(())
    }

    /// A sync is done.
    pub(super) fn synced(&mut self, node: NodeId, life: u32, up_to: WriteId) -> Held {
        let now_ns = self.now_ns;
        let slot = self.node_mut(node);
        if slot.life != life || !slot.is_up() {
            return Ok(());
        }
        if slot.busy_until_ns > now_ns {
            slot.disk.synced = Some(up_to);
            self.call_turn(node);
            return Ok(());
        }
        slot.disk.syncing = false;
        slot.disk.told = up_to;
        self.make_durable(node, up_to)?;
        self.begin_sync(node)?;
        self.arrive(node, Arrival::Durable(up_to));
        Ok(())
    }

    /// All writes up to this one are durable: what waited for them leaves.
    fn make_durable(&mut self, node: NodeId, up_to: WriteId) -> Held {
        let slot = &mut self.nodes[usize::from(node.0)];
        let from = slot.disk.durable_records();
        slot.disk.durable = up_to;
        if self.checked {
            for entry in &slot.disk.log[from..slot.disk.durable_records()] {
                self.invariants.on_durable(node, &entry.record)?;
            }
        }
        let held = std::mem::take(&mut slot.held);
        let (ready, later): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|(after, ..)| *after <= up_to);
        slot.held = later.into();
        for (_, to, message) in ready {
            self.transmit(node, to, &message, None)?;
        }
        Ok(())
    }

    /// A process ends between two turns.
    pub(super) fn crash(&mut self, node: NodeId, ending: Ending) -> Held {
        let first = self.next_number();
        self.crash_within(node, ending, first)
    }

    /// A process ends, and with it what was not on the disk. What was under way there may have got
    /// there in part. Of what waited for that, and of what was sent since `first` came about, some has
    /// left and some has not.
    fn crash_within(&mut self, node: NodeId, ending: Ending, first: u64) -> Held {
        let slot = self.node_mut(node);
        if !slot.is_up() {
            return Ok(());
        }
        let lying = slot.disk.plan == DiskPlan::Lying;
        let from = if lying { 0 } else { slot.disk.durable.0 };
        let under_way = slot.disk.written().0.saturating_sub(from);
        let kept = (ending.survives * (under_way + 1) as f64) as u64;
        let kept = kept.min(under_way);
        let torn = kept < under_way;
        if !lying && kept > 0 {
            self.make_durable(node, WriteId(from + kept))?;
        }
        self.hold_back(node, first);
        let at = At::One(usize::from(node.0));
        self.note(at, format_args!("crashes; {kept} of {under_way} writes under way survive"));
        let slot = &mut self.nodes[usize::from(node.0)];
        slot.crash(if lying { kept as usize } else { 0 }, torn);
        if self.checked {
            let left = slot.disk.log.iter().filter(|entry| entry.intact);
            self.invariants.on_crash(node, left.map(|entry| &entry.record))?;
        }
        self.announce_link(node, false);
        if let Some(down_ns) = ending.down_ns {
            self.schedule(self.now_ns + down_ns, Event::Restart { node });
        }
        Ok(())
    }

    /// The core of a replica that is up.
    pub fn core(&self, node: NodeId) -> Option<&P> {
        self.nodes[usize::from(node.0)].core.as_ref()
    }

    /// What a replica that is up counts.
    pub fn counter(&self, node: NodeId, name: &str) -> Option<u64> {
        let counters = self.core(node).map(Protocol::counters)?;
        counters.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}
