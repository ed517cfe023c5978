//! Total order broadcast (§3.4, §4.4, Fig. 9).
//!
//! - *Termination:* what a process TO-Broadcasts and does not crash, it TO-Delivers.
//! - *Agreement:* what one process delivers, every correct one delivers.
//! - *Validity:* only what was broadcast is delivered, and at most once.
//! - *Total order:* if one process delivers *m'* before *m*, whoever delivers *m* has delivered *m'*.
//!
//! Three things that the figure leaves to its assumption of endless broadcasts are done explicitly:
//! the last decision of a burst is announced when the turn ends; a new leader learns what its
//! predecessor had decided; and a process that lags asks for what it misses.

use std::sync::Arc;
use std::time::Duration;

use super::leader::Leading;
use super::message::{Decided, MsgSet, Parcel, ParcelId, PaxosMessage, PaxosRecord, PaxosTimer};
use super::register::REGISTERS_MAX;
use super::{OWN_BYTES_MAX, Own, ParcelSet, Paxos};
use crate::command::{Command, NodeId};
use crate::mutants::mutant;
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Batch, Effect, Effects, Time};

/// Bytes of decided values in one UPDATE, unless a single value is larger.
const UPDATE_BYTES_MAX: usize = 1 << 20;

/// Bytes of commands in one parcel, unless a single command is larger.
const PARCEL_BYTES_MAX: usize = 256 << 10;

/// How often the patience with an own parcel doubles, at most.
const OWN_PATIENCE_DOUBLINGS_MAX: u32 = 4;

/// Own parcels looked at for retransmission in one go.
const OWN_RETRANSMITTED_MAX: usize = 256;

impl Paxos {
    /// The turn is over: what came in becomes parcels, the leader proposes, decisions go out.
    pub(super) fn on_turn_ended(&mut self, now: Time, out: &mut Effects<Self>) {
        if !self.requests.is_empty() {
            let requests = std::mem::take(&mut self.requests);
            for commands in into_batches(requests, self.options.batch) {
                self.broadcast(now, commands, out);
            }
        }
        if self.leading.is_some() {
            self.launch(now, out);
            self.announce(out);
        }
    }

    /// TO-Broadcast(m).
    fn broadcast(&mut self, now: Time, commands: Batch, out: &mut Effects<Self>) {
        if self.own_bytes > OWN_BYTES_MAX {
            self.counters.requests_dropped += commands.len() as u64;
            return;
        }
        let number = self.own_first + self.own.len() as u64;
        let id = ParcelId { origin: self.me, incarnation: self.incarnation, number };
        let parcel = Parcel { id, commands };
        self.own_bytes += parcel.bytes();
        self.own.push_back(Some(Own { parcel: parcel.clone(), sent: now, retransmissions: 0 }));
        match &mut self.leading {
            Some(leading) => leading.enqueue(parcel),
            None => out.send_after(self.leader, PaxosMessage::Forward(parcel), self.born),
        }
    }

    /// Another process' parcel. Who does not lead yet keeps it in case it is about to.
    pub(super) fn on_forward(&mut self, parcel: Parcel) {
        match &mut self.leading {
            Some(leading) => leading.enqueue(parcel),
            None => self.early.push(parcel),
        }
    }

    /// Another process leads from now on: it gets all that is not delivered (Fig. 9, *launch*).
    pub(super) fn on_leader_changed(&mut self, now: Time, out: &mut Effects<Self>) {
        self.announce.clear();
        if self.leader != self.me {
            self.leading = None;
            for own in self.own.iter_mut().flatten() {
                (own.sent, own.retransmissions) = (now, 0);
                let forward = PaxosMessage::Forward(own.parcel.clone());
                out.send_after(self.leader, forward, self.born);
            }
            return;
        }
        let next_batch = self.deliveries.next_batch();
        let mut leading = Leading::new(self.deliveries.delivered(), next_batch);
        let own = self.own.iter().flatten().filter(|_| !mutant!(OwnParcelsNotProposed));
        let own = own.map(|own| own.parcel.clone());
        for parcel in own.chain(self.early.take()) {
            leading.enqueue(parcel);
        }
        self.leading = Some(leading);
        if self.reads_each_instance() {
            self.probe(now, out);
        } else {
            self.start_read_onwards(now, out);
        }
    }

    /// DECISION: the values are in the registers, or on their way.
    pub(super) fn on_decision(&mut self, from: NodeId, decided: Decided, out: &mut Effects<Self>) {
        let Decided { round, from: first, below } = decided;
        if round.owner(self.cluster.size) != Some(from) {
            return;
        }
        let next_batch = self.deliveries.next_batch();
        for instance in first.max(next_batch)..below.min(next_batch + REGISTERS_MAX) {
            if let Some(value) = self.registers.decide(round, instance) {
                self.decide(instance, value, out);
            }
        }
        self.note_ahead(below, from, out);
    }

    /// An instance is decided: delivers all that is next.
    pub(super) fn decide(&mut self, instance: u64, value: MsgSet, out: &mut Effects<Self>) {
        if let Some(leading) = &mut self.leading {
            leading.end(instance, &value);
        }
        self.deliveries.decide(instance, value);
        self.deliver_ready(out);
    }

    /// Delivers the decided instances that are next.
    fn deliver_ready(&mut self, out: &mut Effects<Self>) {
        let before = self.deliveries.next_batch();
        while let Some((instance, value)) = self.deliveries.next_ready() {
            let held = self.registers.holds(instance, &value);
            let stored = (!held).then(|| value.clone());
            out.persist(PaxosRecord::Delivered { instance, value: stored });
            if let Some(leading) = &mut self.leading {
                leading.end(instance, &value);
            }
            self.deliver(&value, out);
        }
        if self.deliveries.next_batch() > before {
            self.registers.drop_below(self.deliveries.next_batch());
        }
    }

    /// TO-Deliver: the parcels in the order that the value gives them, each once.
    fn deliver(&mut self, value: &MsgSet, out: &mut Effects<Self>) {
        for parcel in value.iter() {
            if self.deliveries.deliver(parcel.id) {
                out.push(Effect::Execute(parcel.commands.clone()));
            } else {
                self.counters.parcels_repeated += 1;
            }
            self.forget_own(parcel.id);
        }
    }

    fn forget_own(&mut self, id: ParcelId) {
        let mine = id.incarnation == self.incarnation || mutant!(OwnForgottenByNumber);
        if id.origin != self.me || !mine {
            return;
        }
        let offset = id.number.checked_sub(self.own_first);
        if let Some(own) = offset.and_then(|offset| self.own.get_mut(offset as usize)) {
            let bytes = own.take().map_or(0, |own| own.parcel.bytes());
            self.own_bytes -= bytes;
        }
        while matches!(self.own.front(), Some(None)) {
            self.own.pop_front();
            self.own_first += 1;
        }
    }

    /// Somebody has delivered up to `next_batch`, or said that it is decided.
    pub(super) fn note_ahead(&mut self, next_batch: u64, whose: NodeId, out: &mut Effects<Self>) {
        let decided_at = &mut self.decided_at[usize::from(whose.0)];
        *decided_at = next_batch.max(*decided_at);
        self.ahead = self.ahead.max(next_batch);
        if self.ahead > self.deliveries.next_batch() && self.catch_up_from.is_none() {
            self.catch_up_from = Some(self.deliveries.next_batch());
            // Long enough for what is on its way, even if a lost packet holds it up.
            let pause = Duration::from_millis(self.options.retransmit_ms);
            out.push(Effect::Arm(PaxosTimer::CatchUp, pause / 2..pause));
        }
    }

    /// Asks for what is missing, unless deliveries went on meanwhile.
    pub(super) fn on_catch_up_timer(&mut self, out: &mut Effects<Self>) {
        let next_batch = self.deliveries.next_batch();
        let stuck = self.catch_up_from.take() == Some(next_batch);
        if !stuck {
            self.asked_in_vain = NodeSet::default();
        } else if let Some(informant) = self.informant()
            && !mutant!(LagNeverTold)
        {
            self.counters.catch_ups += 1;
            out.send(informant, PaxosMessage::Lagging { next_batch });
            self.asked_in_vain.insert(informant);
        }
        self.note_ahead(0, self.me, out);
    }

    /// Whom to ask for what is missing: who has delivered most of those that were not asked in vain,
    /// as they may be gone, or hear nobody. Once all were, it begins anew.
    fn informant(&mut self) -> Option<NodeId> {
        let decided_at = |node: &NodeId| self.decided_at[usize::from(node.0)];
        let next_batch = self.deliveries.next_batch();
        let ahead = || self.cluster.others(self.me).filter(|node| decided_at(node) > next_batch);
        let asked = self.asked_in_vain;
        let others = ahead().filter(|node| !asked.contains(*node) || mutant!(OneInformantOnly));
        if let Some(other) = others.max_by_key(decided_at) {
            return Some(other);
        }
        self.asked_in_vain = NodeSet::default();
        ahead().max_by_key(decided_at)
    }

    /// Another process lags: it gets what the log holds, or the state.
    pub(super) fn on_lagging(
        &mut self,
        now: Time,
        from: NodeId,
        next_batch: u64,
        out: &mut Effects<Self>,
    ) {
        if next_batch >= self.deliveries.next_batch() {
            return;
        }
        if self.deliveries.values(next_batch, 0).is_some() {
            return self.send_update(from, next_batch, out);
        }
        if mutant!(NoStateSent) {
            return;
        }
        let pause = Duration::from_millis(self.options.election_timeout_ms);
        let sent = &mut self.state_sent[usize::from(from.0)];
        if sent.is_some_and(|sent| now.since(sent) < pause) {
            return;
        }
        *sent = Some(now);
        self.counters.states_sent += 1;
        let next_batch = self.deliveries.next_batch();
        let delivered = self.deliveries.delivered().to_vec();
        let message = PaxosMessage::State { next_batch, delivered };
        out.push(Effect::SendState { to: from, message });
    }

    /// UPDATE of one instance, to a process that still reads or writes in it, unless that knows the
    /// decision: its request was merely late, and an answer to each of many late requests would fill
    /// a slow link and make them later still.
    pub(super) fn tell_decided(&mut self, to: NodeId, instance: u64, out: &mut Effects<Self>) {
        if to == self.me || instance < self.decided_at[usize::from(to.0)] {
            return;
        }
        if let Some(values) = self.deliveries.values(instance, 0) {
            out.send(to, PaxosMessage::Update { from: instance, values });
        }
    }

    /// UPDATE of all from `instance` on, as many as one message takes.
    fn send_update(&mut self, to: NodeId, instance: u64, out: &mut Effects<Self>) {
        if let Some(values) = self.deliveries.values(instance, UPDATE_BYTES_MAX) {
            out.send(to, PaxosMessage::Update { from: instance, values });
        }
    }

    /// UPDATE: decided values. Asks for more while it lags.
    pub(super) fn on_update(
        &mut self,
        now: Time,
        from: NodeId,
        first: u64,
        values: Vec<MsgSet>,
        out: &mut Effects<Self>,
    ) {
        let before = self.deliveries.next_batch();
        let below = first.saturating_add(values.len() as u64);
        for (instance, value) in (first..).zip(values) {
            if !self.deliveries.is_decided(instance) {
                self.decide(instance, value, out);
            }
        }
        let next_batch = self.deliveries.next_batch();
        if next_batch > before && next_batch < self.ahead {
            out.send(from, PaxosMessage::Lagging { next_batch });
        }
        if next_batch > before && next_batch >= self.ahead && self.reads_each_instance() {
            self.probe(now, out);
        }
        self.note_ahead(below, from, out);
    }

    /// The replicated state of a process that is ahead came with this message.
    pub(super) fn on_state(
        &mut self,
        now: Time,
        next_batch: u64,
        delivered: Vec<ParcelSet>,
        out: &mut Effects<Self>,
    ) {
        if next_batch <= self.deliveries.next_batch()
            || delivered.len() != usize::from(self.cluster.size)
        {
            return;
        }
        self.counters.states_installed += 1;
        let installed = PaxosRecord::Installed { next_batch, delivered: delivered.clone() };
        if mutant!(StateStoredBeforeInstalled) {
            out.persist(installed);
            out.push(Effect::InstallState);
        } else {
            out.push(Effect::InstallState);
            out.persist(installed);
        }
        self.deliveries.install(next_batch, delivered);
        self.registers.drop_below(next_batch);
        let mine = self.deliveries.delivered()[usize::from(self.me.0)].clone();
        let own = self.own.iter().flatten().map(|own| own.parcel.id);
        let delivered: Vec<_> = own.filter(|id| mine.contains(*id)).collect();
        for id in delivered {
            self.forget_own(id);
        }
        // What was decided beyond the gap that the state fills.
        if !mutant!(NothingDeliveredAfterInstall) {
            self.deliver_ready(out);
        }
        if let Some(mut leading) = self.leading.take() {
            // What it was deciding may be decided: it starts over behind the new state.
            leading.abort_all();
            leading.undelivered.into_iter().for_each(|parcel| self.early.push(parcel));
            self.on_leader_changed(now, out);
        }
    }

    /// Drops what all live processes have delivered.
    pub(super) fn truncate(&mut self) {
        let live = self.cluster.others(self.me).filter(|node| !self.election.suspects(*node));
        let floors = live.map(|node| self.next_batches[usize::from(node.0)]);
        let floor = floors.min().unwrap_or(u64::MAX).min(self.deliveries.next_batch());
        self.deliveries.truncate(floor, self.options.log_instances_max);
    }

    /// Sends again what was not answered (Fig. 11).
    pub(super) fn on_retransmit_timer(&mut self, now: Time, out: &mut Effects<Self>) {
        let patience = Duration::from_millis(self.options.retransmit_ms);
        if self.leader != self.me && !mutant!(OwnParcelsNotSentAgain) {
            for own in self.own.iter_mut().take(OWN_RETRANSMITTED_MAX).flatten() {
                // Twice as long each time: what is late because a link is full must not fill it.
                let doublings = own.retransmissions.min(OWN_PATIENCE_DOUBLINGS_MAX);
                if now.since(own.sent) >= patience * 2u32.pow(doublings) {
                    own.sent = now;
                    own.retransmissions += 1;
                    self.counters.retransmissions += 1;
                    let forward = PaxosMessage::Forward(own.parcel.clone());
                    out.send_after(self.leader, forward, self.born);
                }
            }
        }
        self.retransmit_rounds(now, out);
        self.fill_gaps(now, out);
        out.push(Effect::Arm(PaxosTimer::Retransmit, patience / 2..patience));
    }
}

/// Cuts a turn's commands into batches within the bounds of a parcel.
fn into_batches(commands: Vec<Command>, commands_max: usize) -> Vec<Batch> {
    let bytes: usize = commands.iter().map(Command::bytes).sum();
    if commands.len() <= commands_max && bytes <= PARCEL_BYTES_MAX {
        return vec![Arc::from(commands)];
    }
    let (mut batches, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
    for command in commands {
        let more = command.bytes();
        if !batch.is_empty() && (batch.len() == commands_max || bytes + more > PARCEL_BYTES_MAX) {
            batches.push(Arc::from(std::mem::take(&mut batch)));
            bytes = 0;
        }
        bytes += more;
        batch.push(command);
    }
    batches.push(Arc::from(batch));
    batches
}
