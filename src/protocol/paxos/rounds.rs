//! Register and consensus over messages: READ, WRITE and their answers (Figs 5, 6, 12, 20, 21).

use std::sync::Arc;
use std::time::Duration;

use super::consensus::{Progress, Proposal};
use super::leader::{ReadOnwards, Reading};
use super::message::{Decided, MsgSet, PaxosMessage, PaxosRecord, PaxosTimer, Written};
use super::register::{REGISTERS_MAX, ReadAnswer, WriteAnswer};
use super::{Paxos, Variant};
use crate::command::NodeId;
use crate::mutants::mutant;
use crate::protocol::ballot::Round;
use crate::protocol::{Effect, Effects, Time, WriteId};

/// Requests sent again in one go, at most.
const RETRANSMITTED_MAX: usize = 64;

impl Paxos {
    /// READ(k): promise, store, acknowledge.
    pub(super) fn on_read(
        &mut self,
        from: NodeId,
        round: Round,
        instance: u64,
        onwards: bool,
        out: &mut Effects<Self>,
    ) {
        if !onwards && instance < self.deliveries.next_batch() {
            return self.tell_decided(from, instance, out);
        }
        let answer = if onwards {
            self.registers.read_onwards(round)
        } else {
            self.registers.read(round, instance)
        };
        match answer {
            ReadAnswer::Promised => {
                let only = (!onwards).then_some(instance);
                let record = PaxosRecord::Read { instance: only, round };
                let stored = !mutant!(ReadNotStored);
                let edge = if stored { out.persist(record) } else { out.last_write() };
                let edge = if mutant!(AckReadBeforeDurable) { WriteId(0) } else { edge };
                let written = match only {
                    _ if mutant!(AckReadWithoutValue) => Vec::new(),
                    Some(instance) => self.registers.written_at(instance).into_iter().collect(),
                    None => self.registers.written(instance),
                };
                let next_batch = self.deliveries.next_batch();
                let ack = PaxosMessage::AckRead { round, instance, next_batch, written };
                self.reply(from, ack, edge, out);
            }
            ReadAnswer::Nack(promised) => self.nack(from, round, instance, promised, out),
            ReadAnswer::Full => self.counters.refused_full += 1,
        }
    }

    /// WRITE(k, v): take, store, acknowledge.
    pub(super) fn on_write(
        &mut self,
        from: NodeId,
        round: Round,
        instance: u64,
        value: MsgSet,
        out: &mut Effects<Self>,
    ) {
        if instance < self.deliveries.next_batch() {
            return self.tell_decided(from, instance, out);
        }
        match self.registers.write(round, instance, &value) {
            WriteAnswer::Stored { permission } => {
                let record = PaxosRecord::Write { instance, round, value };
                let stored = !mutant!(WriteNotStored);
                let edge = if stored { out.persist(record) } else { out.last_write() };
                let edge = if mutant!(AckWriteBeforeDurable) { WriteId(0) } else { edge };
                let ack = PaxosMessage::AckWrite { round, instance, permission };
                self.reply(from, ack, edge, out);
                if let Some(value) = self.registers.decided_value(instance) {
                    self.decide(instance, value, out);
                }
            }
            WriteAnswer::Held { permission } => {
                let ack = PaxosMessage::AckWrite { round, instance, permission };
                let edge = if mutant!(ReAckBeforeDurable) { WriteId(0) } else { out.last_write() };
                self.reply(from, ack, edge, out);
            }
            WriteAnswer::Nack(promised) => self.nack(from, round, instance, promised, out),
            WriteAnswer::Full => self.counters.refused_full += 1,
        }
    }

    fn nack(
        &mut self,
        from: NodeId,
        round: Round,
        instance: u64,
        promised: Round,
        out: &mut Effects<Self>,
    ) {
        let nack = PaxosMessage::Nack { round, instance, promised };
        self.reply(from, nack, out.last_write(), out);
    }

    /// ackREAD(k), of one instance or of all onwards.
    pub(super) fn on_ack_read(
        &mut self,
        now: Time,
        from: NodeId,
        (round, instance): (Round, u64),
        next_batch: u64,
        written: Vec<Written>,
        out: &mut Effects<Self>,
    ) {
        let size = self.cluster.size;
        let Some(leading) = &mut self.leading else { return };
        if let ReadOnwards::Running(reading) = &mut leading.read {
            let in_use = reading.round == round || mutant!(StaleReadOnwardsAckCounted);
            if in_use && reading.on_ack(from, next_batch, written, size) {
                self.on_read_onwards(now, out);
            }
            return;
        }
        let Some(proposal) = leading.proposal(instance) else { return };
        let found = written.into_iter().find(|w| w.instance == instance);
        let found = found.map(|w| (w.write, w.value));
        if let Progress::Write(value) = proposal.on_ack_read(from, round, found, size) {
            proposal.sent = now;
            self.write(round, instance, value, out);
        }
    }

    /// ackWRITE(k): with a majority, decided.
    pub(super) fn on_ack_write(
        &mut self,
        now: Time,
        from: NodeId,
        (round, instance): (Round, u64),
        permission: bool,
        out: &mut Effects<Self>,
    ) {
        let size = self.cluster.size;
        let Some(leading) = &mut self.leading else { return };
        let Some(proposal) = leading.proposal(instance) else { return };
        let progress = proposal.on_ack_write(from, round, permission, size);
        if let Progress::Committed { value, permission } = progress {
            let found = !Arc::ptr_eq(&value, &proposal.init);
            let unasked = mutant!(CommitTakenForPermission);
            let permitted = (permission || unasked) && self.options.variant == Variant::Fall;
            leading.fast = permitted.then_some(instance + 1);
            self.announce_later(round, instance);
            self.decide(instance, value, out);
            if found && self.reads_each_instance() && !unasked {
                self.probe(now, out);
            }
        }
    }

    /// nack(k): a higher round is about. Waits a while, so that duels end, and proposes again.
    pub(super) fn on_nack(
        &mut self,
        round: Round,
        instance: u64,
        promised: Round,
        out: &mut Effects<Self>,
    ) {
        self.highest = self.highest.max(promised);
        if mutant!(NackIgnored) {
            return;
        }
        let Some(leading) = &mut self.leading else { return };
        let aborted = match &leading.read {
            ReadOnwards::Running(reading) => reading.round == round,
            ReadOnwards::Done(done) => *done == round,
            ReadOnwards::None => leading.proposal(instance).is_some_and(|p| p.on_nack(round)),
        };
        if !aborted {
            return;
        }
        if self.options.variant == Variant::Multi {
            leading.abort_all();
        }
        self.counters.aborts += 1;
        let pause = Duration::from_millis(self.options.heartbeat_ms);
        out.push(Effect::Arm(PaxosTimer::Propose, pause / 4..pause * 2));
    }

    /// Proposes again what was aborted.
    pub(super) fn on_propose_timer(&mut self, now: Time, out: &mut Effects<Self>) {
        if mutant!(AbortedForGood) {
            return;
        }
        let Some(leading) = &mut self.leading else { return };
        if self.options.variant == Variant::Multi {
            if leading.read == ReadOnwards::None {
                self.start_read_onwards(now, out);
            }
            return;
        }
        let proposals = leading.proposals().filter(|(_, proposal)| proposal.is_aborted());
        let aborted: Vec<_> = proposals.map(|(i, proposal)| (i, proposal.init.clone())).collect();
        for (instance, init) in aborted {
            self.propose_by_reading(now, instance, init, out);
        }
    }

    /// `propose(k, init)` with a read of this instance.
    pub(super) fn propose_by_reading(
        &mut self,
        now: Time,
        instance: u64,
        init: MsgSet,
        out: &mut Effects<Self>,
    ) {
        // A round that is not promised here could be used twice.
        debug_assert!(self.registers.has_place(instance), "{instance} has no register");
        let round = self.next_round(self.registers.promised(instance));
        let Some(leading) = &mut self.leading else { return };
        leading.run(instance, Proposal::reading(round, init, now));
        self.counters.reads += 1;
        self.broadcast_read(round, instance, false, out);
    }

    /// READ(k) to all, this process first: the round is durable here before anybody else hears of it,
    /// so that no restart uses it again.
    fn broadcast_read(
        &mut self,
        round: Round,
        instance: u64,
        onwards: bool,
        out: &mut Effects<Self>,
    ) {
        self.on_read(self.me, round, instance, onwards, out);
        let read = PaxosMessage::Read { round, instance, onwards };
        if mutant!(ReadLeavesBeforeItsPromise) {
            return out.broadcast(read);
        }
        out.broadcast_after_writes(read);
    }

    /// A proposal that writes at once: by permission, or after a read onwards.
    pub(super) fn propose_by_writing(
        &mut self,
        now: Time,
        round: Round,
        instance: u64,
        value: MsgSet,
        out: &mut Effects<Self>,
    ) {
        let Some(leading) = &mut self.leading else { return };
        leading.run(instance, Proposal::writing(round, value.clone(), now));
        self.counters.writes_without_read += 1;
        self.write(round, instance, value, out);
    }

    /// WRITE(k, v) to all, with the decisions at hand.
    fn write(&mut self, round: Round, instance: u64, value: MsgSet, out: &mut Effects<Self>) {
        self.counters.writes += 1;
        let decided = self.announce.pop();
        out.broadcast(PaxosMessage::Write { round, instance, value: value.clone(), decided });
        self.on_write(self.me, round, instance, value, out);
    }

    /// Reads all instances that are not delivered, in a new round.
    pub(super) fn start_read_onwards(&mut self, now: Time, out: &mut Effects<Self>) {
        let round = self.next_round(self.registers.highest());
        let instance = self.deliveries.next_batch();
        let Some(leading) = &mut self.leading else { return };
        leading.read = ReadOnwards::Running(Reading::new(round, instance, now));
        self.counters.reads += 1;
        self.broadcast_read(round, instance, true, out);
    }

    /// A majority has answered the read onwards: writes what it found, and may write from now on.
    fn on_read_onwards(&mut self, now: Time, out: &mut Effects<Self>) {
        let Some(leading) = &mut self.leading else { return };
        let ReadOnwards::Running(reading) = std::mem::replace(&mut leading.read, ReadOnwards::None)
        else {
            return;
        };
        let (round, (decided_below, informant)) = (reading.round, reading.decided_below);
        let mut first = decided_below.max(self.deliveries.next_batch());
        if mutant!(DeliveredInstancesRewritten) {
            first = self.deliveries.next_batch();
        }
        let values = match mutant!(FoundValuesForgotten) {
            true => Vec::new(),
            false => reading.values(first),
        };
        leading.read = ReadOnwards::Done(round);
        leading.next = first;
        leading.requeue(self.deliveries.delivered(), &values);
        for (instance, value) in (first..).zip(values) {
            if value.is_empty() && mutant!(GapsLeftOpen) {
                continue;
            }
            self.propose_by_writing(now, round, instance, value, out);
        }
        if let Some(informant) = informant {
            self.note_ahead(decided_below, informant, out);
        }
    }

    /// Starts proposals while there is room (task *launch*).
    pub(super) fn launch(&mut self, now: Time, out: &mut Effects<Self>) {
        let pipeline = match self.options.variant {
            Variant::Fall => 1,
            Variant::Regular | Variant::Multi => self.options.pipeline,
        };
        let (reads_each, batch) = (self.reads_each_instance(), self.options.batch);
        while let Some(leading) = &mut self.leading {
            let round_read = match leading.read {
                ReadOnwards::Done(round) => Some(round),
                _ if reads_each => None,
                _ => return,
            };
            let instance = self.deliveries.first_undecided(leading.next);
            let unpromised = reads_each && !self.registers.has_place(instance);
            if unpromised || !leading.has_room(pipeline) {
                return;
            }
            let Some(value) = leading.next_value(batch) else { return };
            let any = leading.fast.is_some() && mutant!(PermissionForAnyInstance);
            let permitted = any || leading.fast == Some(instance);
            // The paper's process i, counted from 1, writes by permission in round i.
            let fast_round = permitted.then_some(Round(u64::from(self.me.0) + 1));
            match round_read.or(fast_round) {
                Some(round) => self.propose_by_writing(now, round, instance, value, out),
                None => self.propose_by_reading(now, instance, value, out),
            }
        }
    }

    /// A new leader that reads each instance proposes nothing in one window of instances, so that what
    /// the last leader had decided there is learned even if no further command comes. It moves the
    /// window on for as long as it learns something.
    pub(super) fn probe(&mut self, now: Time, out: &mut Effects<Self>) {
        if mutant!(OthersDecisionsNotLearned) {
            return;
        }
        let window = if self.options.variant == Variant::Fall { 1 } else { self.options.pipeline };
        let first = self.deliveries.next_batch();
        for instance in first..first + (window as u64).min(REGISTERS_MAX) {
            // What is known to be decided would get no further answer.
            let Some(leading) = &mut self.leading else { return };
            if leading.proposal(instance).is_none() && !self.deliveries.is_decided(instance) {
                self.propose_by_reading(now, instance, Arc::from([]), out);
            }
        }
    }

    /// Decides the instances that keep later ones from being delivered, once nothing was delivered for
    /// a while: decided by others, said to be decided by somebody who is gone, or written by somebody
    /// who led for a moment and may have decided them. Of each that was decided, some process that is
    /// heard has delivered it or holds its value.
    pub(super) fn fill_gaps(&mut self, now: Time, out: &mut Effects<Self>) {
        let next_batch = self.deliveries.next_batch();
        let Some(leading) = &mut self.leading else { return };
        if leading.stuck_at.replace(next_batch) != Some(next_batch) || mutant!(GapNeverFilled) {
            return;
        }
        let mut written_below = self.written_below.max(self.registers.written_below());
        if mutant!(OthersDecisionsNotLearned) {
            written_below = 0;
        }
        let gaps = self.deliveries.gaps(leading.next.max(self.ahead).max(written_below));
        let idle: Vec<u64> = gaps.filter(|gap| leading.proposal(*gap).is_none()).collect();
        if idle.is_empty() {
            return;
        }
        let round_read = match leading.read {
            ReadOnwards::Done(round) => Some(round),
            _ if self.options.variant == Variant::Multi => return,
            _ => None,
        };
        if round_read.is_some() && idle[0] < leading.next {
            // Decided before what this process has read.
            leading.abort_all();
            return self.start_read_onwards(now, out);
        }
        for instance in idle.into_iter().take(self.options.pipeline) {
            match round_read {
                // If another has written there in a higher round, a nack leads to the next read.
                Some(round) => self.propose_by_writing(now, round, instance, Arc::from([]), out),
                None => self.propose_by_reading(now, instance, Arc::from([]), out),
            }
        }
    }

    /// Notes a decision of this process, to be announced with the next write or when the turn ends.
    fn announce_later(&mut self, round: Round, instance: u64) {
        match self.announce.last_mut() {
            Some(last) if last.round == round && last.below == instance => last.below += 1,
            _ => self.announce.push(Decided { round, from: instance, below: instance + 1 }),
        }
    }

    /// DECISION to all, of what no write carried along.
    pub(super) fn announce(&mut self, out: &mut Effects<Self>) {
        for decided in std::mem::take(&mut self.announce) {
            out.broadcast(PaxosMessage::Decision(decided));
        }
    }

    /// Sends READs and WRITEs again to those who have not answered for a while (Fig. 11): a READ, like
    /// the first time, not before its round is durable here.
    pub(super) fn retransmit_rounds(&mut self, now: Time, out: &mut Effects<Self>) {
        if mutant!(RoundsNotSentAgain) {
            return;
        }
        let patience = Duration::from_millis(self.options.retransmit_ms);
        let edge =
            if mutant!(ReadSentAgainBeforeItsPromise) { WriteId(0) } else { out.last_write() };
        let Some(leading) = &mut self.leading else { return };
        let others = |me: NodeId| self.cluster.others(me);
        if let ReadOnwards::Running(reading) = &mut leading.read
            && now.since(reading.sent) >= patience
        {
            reading.sent = now;
            let (round, instance) = (reading.round, reading.from);
            for node in others(self.me).filter(|node| !reading.has_answer_of(*node)) {
                self.counters.retransmissions += 1;
                let read = PaxosMessage::Read { round, instance, onwards: true };
                out.send_after(node, read, edge);
            }
        }
        let silent = leading
            .proposals()
            .filter(|(_, p)| !p.is_aborted() && now.since(p.sent) >= patience)
            .take(RETRANSMITTED_MAX);
        for (instance, proposal) in silent {
            proposal.sent = now;
            let round = proposal.round;
            let message = match proposal.value_written() {
                Some(value) => {
                    let value = value.clone();
                    PaxosMessage::Write { round, instance, value, decided: None }
                }
                None => PaxosMessage::Read { round, instance, onwards: false },
            };
            for node in others(self.me).filter(|node| !proposal.has_answer_of(*node)) {
                self.counters.retransmissions += 1;
                out.send_after(node, message.clone(), edge);
            }
        }
    }
}
