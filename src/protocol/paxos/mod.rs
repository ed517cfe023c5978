//! Leader-based Paxos, built from the modules of "Deconstructing Paxos" (Boichat, Dutta, Frølund,
//! Guerraoui).
//!
//! *The problem:* processes that may crash, and messages that may be lost, must deliver the same
//! commands in the same order. *The one idea:* cut Paxos along three abstractions, each with a
//! specification of its own, and the order broadcast on top of them hardly changes from one variant to
//! the next:
//!
//! | module | abstraction | specification |
//! | --- | --- | --- |
//! | [`register`] | round-based register: stores and locks a value | §3.1 |
//! | [`consensus`] | round-based consensus: agrees on one value | §3.2 |
//! | [`election`](crate::protocol::election) | weak leader election: somebody leads in the end | §3.3 |
//! | `broadcast`, `leader`, `deliveries` | total order broadcast | §3.4 |
//! | `rounds` | register and consensus put to work over messages | Figs 5, 6, 12, 20, 21 |
//!
//! *A command's way:* a process puts what it received in one turn into a [`message::Parcel`] and
//! forwards it to the leader. The leader proposes parcels, several together, in the next consensus
//! instance: WRITE to all, ackWRITE from a majority, DECISION to all. Every process delivers the
//! instances in order and each parcel once. [`Variant`] says when a READ must come before the WRITE.
//!
//! *What is bounded:* registers by [`register::REGISTERS_MAX`] and [`register::REGISTER_BYTES_MAX`], the
//! log by what live processes have delivered (`deliveries`), running proposals by
//! [`PaxosOptions::pipeline`] or by what a new leader found in the registers, parcels of other processes
//! that arrive before this one leads by [`EARLY_PARCELS_MAX`], a process' own undelivered parcels by
//! [`OWN_BYTES_MAX`], and so what a leader has to propose by that of all processes.
//!
//! *After a crash:* a process comes back with what it had stored ([`message::PaxosRecord`]), under a new
//! incarnation. It never uses a round again: its own register had promised the round durably before
//! the READ left, and the next one is above all that the register promised.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::deliveries::Deliveries;
use self::leader::Leading;
use self::message::{Decided, MsgSet, Parcel, PaxosMessage, PaxosRecord, PaxosTimer};
use self::register::Registers;
use super::ballot::Round;
use super::election::Election;
use super::quorum::NodeSet;
use super::{Batch, Cluster, Effect, Effects, Input, Protocol, Time, WriteId};
use crate::command::{Command, NodeId};
use crate::mutants::mutant;

mod broadcast;
pub mod consensus;
mod deliveries;
mod display;
mod leader;
pub mod message;
mod modelled;
mod parcels;
pub mod register;
mod rounds;
#[cfg(test)]
mod tests;

use self::parcels::Early;
pub use self::parcels::{EARLY_PARCELS_MAX, ParcelSet};

/// What the experiment file may choose for `paxos`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PaxosOptions {
    /// When the leader may write without reading first.
    pub variant: Variant,
    /// The replica that leads as long as it is up, by its place in the cluster file.
    pub leader: u8,
    /// Consensus instances that may run at once; 1 is the paper's *consecutive*.
    pub pipeline: usize,
    /// Commands in one instance at most.
    pub batch: usize,
    /// A replica says that it is alive this often, in ms.
    pub heartbeat_ms: u64,
    /// A replica that is silent for this long is suspected, in ms, until it proves the suspicion wrong.
    pub election_timeout_ms: u64,
    /// What is unanswered for this long is sent again, in ms.
    pub retransmit_ms: u64,
    /// Decided instances kept for replicas that lag, at most.
    pub log_instances_max: usize,
}

/// When the leader may write to the register of an instance without reading it first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// Never: a read and a write round for each instance (Figure 6).
    Regular,
    /// When the write of the instance before it returned the permission (§6.4, Figures 20 to 22):
    /// one round trip, consecutive instances.
    Fall,
    /// After one read for all instances from some point on: one round trip, any number of instances
    /// at once.
    #[default]
    Multi,
}

impl Default for PaxosOptions {
    fn default() -> Self {
        PaxosOptions {
            variant: Variant::Multi,
            leader: 0,
            pipeline: 256,
            batch: 4096,
            heartbeat_ms: 100,
            election_timeout_ms: 1000,
            retransmit_ms: 1000,
            log_instances_max: 65_536,
        }
    }
}

/// Bytes of a process' own parcels that are not delivered, unless a single one is larger. Requests
/// beyond it are dropped: clients ask again, and to ask again during a long election makes more.
pub const OWN_BYTES_MAX: usize = 64 << 20;

/// A parcel of this process that it has not delivered yet.
#[derive(Clone, Hash, Debug)]
struct Own {
    parcel: Parcel,
    sent: Time,
    retransmissions: u32,
}

/// What happened so far, for the counters of a run.
#[derive(Clone, Copy, Default, Debug)]
struct Counters {
    elections: u64,
    reads: u64,
    writes: u64,
    writes_without_read: u64,
    aborts: u64,
    retransmissions: u64,
    refused_full: u64,
    catch_ups: u64,
    states_sent: u64,
    states_installed: u64,
    parcels_repeated: u64,
    implausible: u64,
    requests_dropped: u64,
}

/// What a process counts is not part of its state: two that differ in nothing else do the same from now on.
impl Hash for Counters {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// One process.
#[derive(Clone, Hash, Debug)]
pub struct Paxos {
    me: NodeId,
    cluster: Cluster,
    options: PaxosOptions,
    incarnation: u32,
    /// The write that makes this incarnation durable: no parcel leaves before it.
    born: WriteId,
    registers: Registers,
    election: Election,
    deliveries: Deliveries,
    /// What the log says was delivered, until it is executed again.
    replay: Vec<Batch>,
    /// Acknowledgements of this process to itself, until what they wait for is durable.
    to_self: VecDeque<(WriteId, PaxosMessage)>,
    durable: WriteId,
    /// Commands that arrived in this turn.
    requests: Vec<Command>,
    /// Own parcels from number `own_first` on; none where delivered.
    own: VecDeque<Option<Own>>,
    own_first: u64,
    own_bytes: usize,
    /// The leader, as of the last look.
    leader: NodeId,
    leading: Option<Leading>,
    early: Early,
    /// The highest round heard of in a nack.
    highest: Round,
    /// Decisions not announced yet.
    announce: Vec<Decided>,
    /// The highest next_batch heard of.
    ahead: u64,
    /// The highest written_below heard of.
    written_below: u64,
    /// Who was asked for what is missing here and did not help.
    asked_in_vain: NodeSet,
    /// next_batch when the catch-up timer was armed.
    catch_up_from: Option<u64>,
    /// Below which instance every process is known to know the decisions.
    decided_at: Vec<u64>,
    /// The next_batch of every process, as it said last.
    next_batches: Vec<u64>,
    /// When each process was last sent the state.
    state_sent: Vec<Option<Time>>,
    counters: Counters,
}

impl Protocol for Paxos {
    type Options = PaxosOptions;
    type Message = PaxosMessage;
    type Timer = PaxosTimer;
    type Record = PaxosRecord;

    const GAUGES: &'static [&'static str] = &["leader", "instances", "log_instances"];

    fn recover(
        me: NodeId,
        cluster: Cluster,
        options: PaxosOptions,
        log: impl Iterator<Item = PaxosRecord>,
    ) -> Self {
        let mut recovered = Recovered::new(cluster.size);
        log.for_each(|record| recovered.take(record));
        let Recovered { incarnation, registers, deliveries, replay } = recovered;
        let raised = !mutant!(IncarnationNotRaised);
        let incarnation = if raised { incarnation + 1 } else { incarnation.max(1) };
        let timeout = Duration::from_millis(options.election_timeout_ms);
        let preferred = NodeId(options.leader);
        let election = Election::new(me, cluster.size, preferred, incarnation, timeout);
        let size = usize::from(cluster.size);
        Paxos {
            leader: election.leader(),
            ahead: deliveries.next_batch(),
            written_below: 0,
            asked_in_vain: NodeSet::default(),
            me,
            cluster,
            options,
            incarnation,
            born: WriteId(0),
            registers,
            election,
            deliveries,
            replay,
            to_self: VecDeque::new(),
            durable: WriteId(0),
            requests: Vec::new(),
            own: VecDeque::new(),
            own_first: 0,
            own_bytes: 0,
            leading: None,
            early: Early::default(),
            highest: Round(0),
            announce: Vec::new(),
            catch_up_from: None,
            decided_at: vec![0; size],
            next_batches: vec![0; size],
            state_sent: vec![None; size],
            counters: Counters::default(),
        }
    }

    fn step(&mut self, now: Time, input: Input<Self>, out: &mut Effects<Self>) {
        match input {
            Input::Started => self.on_started(now, out),
            Input::Message { from, message } => {
                if message.is_plausible(from, self.cluster.size) {
                    self.on_message(now, from, message, out);
                } else {
                    self.counters.implausible += 1;
                }
            }
            Input::Requests(mut commands) => self.requests.append(&mut commands),
            Input::Members(_) => {}
            Input::Timer(timer) => self.on_timer(now, timer, out),
            Input::Durable(write) => self.on_durable(now, write, out),
            Input::TurnEnded => {
                // What waits for a write that was durable already; and again for what the turn's end
                // has this process say to itself: a nack of its own write would else be heard late.
                self.on_durable(now, self.durable, out);
                self.on_turn_ended(now, out);
                self.on_durable(now, self.durable, out);
            }
        }
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let c = &self.counters;
        vec![
            ("leader", u64::from(self.leader.0)),
            ("instances", self.deliveries.next_batch()),
            ("log_instances", self.deliveries.log_length() as u64),
            ("elections", c.elections),
            ("reads", c.reads),
            ("writes", c.writes),
            ("writes_without_read", c.writes_without_read),
            ("aborts", c.aborts),
            ("retransmissions", c.retransmissions),
            ("refused_full", c.refused_full),
            ("catch_ups", c.catch_ups),
            ("states_sent", c.states_sent),
            ("states_installed", c.states_installed),
            ("parcels_repeated", c.parcels_repeated),
            ("implausible", c.implausible),
            ("requests_dropped", c.requests_dropped),
        ]
    }
}

/// What a log says (Figs 12 and 13, *upon recovery*).
struct Recovered {
    incarnation: u32,
    registers: Registers,
    deliveries: Deliveries,
    replay: Vec<Batch>,
}

impl Recovered {
    fn new(size: u8) -> Self {
        Recovered {
            incarnation: 0,
            registers: Registers::new(size),
            deliveries: Deliveries::new(size),
            replay: Vec::new(),
        }
    }

    /// Takes one record into the state. All operations were possible when they were stored, in this
    /// order, so they are now.
    fn take(&mut self, record: PaxosRecord) {
        let promise = matches!(record, PaxosRecord::Read { .. }) && mutant!(PromisesForgotten);
        let value = matches!(record, PaxosRecord::Write { .. }) && mutant!(WritesForgotten);
        if promise || value {
            return;
        }
        match record {
            PaxosRecord::Incarnation(number) => self.incarnation = number,
            PaxosRecord::Read { instance: Some(instance), round } => {
                self.registers.read(round, instance);
            }
            PaxosRecord::Read { instance: None, round } => {
                self.registers.read_onwards(round);
            }
            PaxosRecord::Write { instance, round, value } => {
                self.registers.write(round, instance, &value);
            }
            PaxosRecord::Delivered { instance, value } => {
                let held = || self.registers.written_at(instance).map(|written| written.value);
                let value = value.or_else(held);
                self.deliver(instance, value.expect("the log holds what it says was delivered"));
            }
            PaxosRecord::Installed { next_batch, delivered } => {
                if !mutant!(ReplayedBesideState) {
                    self.replay.clear();
                }
                self.deliveries.install(next_batch, delivered);
                self.registers.drop_below(next_batch);
            }
        }
    }

    fn deliver(&mut self, instance: u64, value: MsgSet) {
        self.deliveries.decide(instance, value);
        while let Some((_, value)) = self.deliveries.next_ready() {
            for parcel in value.iter() {
                if self.deliveries.deliver(parcel.id) {
                    self.replay.push(parcel.commands.clone());
                }
            }
        }
        self.registers.drop_below(self.deliveries.next_batch());
    }
}

impl Paxos {
    /// The parcels that this process has delivered, by origin.
    pub fn delivered_parcels(&self) -> &[ParcelSet] {
        self.deliveries.delivered()
    }

    /// The first instance that this process has not delivered.
    pub fn next_batch(&self) -> u64 {
        self.deliveries.next_batch()
    }

    /// How many parcels of its own this process has broadcast and not delivered.
    pub fn undelivered_own(&self) -> u64 {
        self.own.iter().flatten().count() as u64
    }

    fn on_started(&mut self, now: Time, out: &mut Effects<Self>) {
        let edge = out.persist(PaxosRecord::Incarnation(self.incarnation));
        self.born = if mutant!(ForwardBeforeBirth) { WriteId(0) } else { edge };
        for commands in std::mem::take(&mut self.replay) {
            if mutant!(ReplayNotExecuted) {
                continue;
            }
            out.push(Effect::Execute(commands));
        }
        self.election.start(now);
        self.on_heartbeat_timer(now, out);
        let retransmit = Duration::from_millis(self.options.retransmit_ms);
        out.push(Effect::Arm(PaxosTimer::Retransmit, retransmit / 2..retransmit));
        self.on_leader_changed(now, out);
    }

    fn on_timer(&mut self, now: Time, timer: PaxosTimer, out: &mut Effects<Self>) {
        match timer {
            PaxosTimer::Heartbeat => self.on_heartbeat_timer(now, out),
            PaxosTimer::Retransmit => self.on_retransmit_timer(now, out),
            PaxosTimer::Propose => self.on_propose_timer(now, out),
            PaxosTimer::CatchUp => self.on_catch_up_timer(out),
        }
    }

    fn on_message(
        &mut self,
        now: Time,
        from: NodeId,
        message: PaxosMessage,
        out: &mut Effects<Self>,
    ) {
        match message {
            PaxosMessage::Heartbeat { epoch, next_batch, written_below, hears_majority } => {
                self.written_below = self.written_below.max(written_below);
                self.election.on_heartbeat(now, from, epoch, hears_majority);
                self.next_batches[usize::from(from.0)] = next_batch;
                // After a restart it may know less than before.
                self.decided_at[usize::from(from.0)] = next_batch;
                self.note_ahead(next_batch, from, out);
                self.look_for_leader(now, out);
            }
            PaxosMessage::Forward(parcel) => self.on_forward(parcel),
            PaxosMessage::Read { round, instance, onwards } => {
                self.on_read(from, round, instance, onwards, out);
            }
            PaxosMessage::AckRead { round, instance, next_batch, written } => {
                self.on_ack_read(now, from, (round, instance), next_batch, written, out);
            }
            PaxosMessage::Write { round, instance, value, decided } => {
                self.on_write(from, round, instance, value, out);
                if let Some(decided) = decided {
                    self.on_decision(from, decided, out);
                }
            }
            PaxosMessage::AckWrite { round, instance, permission } => {
                self.on_ack_write(now, from, (round, instance), permission, out);
            }
            PaxosMessage::Nack { round, instance, promised } => {
                self.on_nack(round, instance, promised, out);
            }
            PaxosMessage::Decision(decided) => self.on_decision(from, decided, out),
            PaxosMessage::Lagging { next_batch } => self.on_lagging(now, from, next_batch, out),
            PaxosMessage::Update { from: first, values } => {
                self.on_update(now, from, first, values, out);
            }
            PaxosMessage::State { next_batch, delivered } => {
                self.on_state(now, next_batch, delivered, out);
            }
        }
    }

    fn on_heartbeat_timer(&mut self, now: Time, out: &mut Effects<Self>) {
        self.election.on_tick(now);
        let message = PaxosMessage::Heartbeat {
            epoch: self.incarnation,
            next_batch: self.deliveries.next_batch(),
            written_below: self.registers.written_below(),
            hears_majority: self.election.hears_majority(),
        };
        // The incarnation is durable before anybody hears of it.
        out.broadcast_after_writes(message);
        self.truncate();
        self.look_for_leader(now, out);
        let period = Duration::from_millis(self.options.heartbeat_ms);
        out.push(Effect::Arm(PaxosTimer::Heartbeat, period..period));
    }

    /// Compares Ω's output with what it was.
    fn look_for_leader(&mut self, now: Time, out: &mut Effects<Self>) {
        if self.election.leader() != self.leader {
            self.counters.elections += 1;
            self.leader = self.election.leader();
            self.on_leader_changed(now, out);
        }
    }

    /// Answers `to`; itself too, once what the answer waits for is durable.
    fn reply(
        &mut self,
        to: NodeId,
        message: PaxosMessage,
        after: WriteId,
        out: &mut Effects<Self>,
    ) {
        if to == self.me {
            self.to_self.push_back((after, message));
        } else {
            out.send_after(to, message, after);
        }
    }

    fn on_durable(&mut self, now: Time, write: WriteId, out: &mut Effects<Self>) {
        self.durable = write;
        let early = mutant!(OwnAckBeforeDurable);
        while self.to_self.front().is_some_and(|(after, _)| *after <= self.durable || early) {
            let Some((_, message)) = self.to_self.pop_front() else { return };
            self.on_message(now, self.me, message, out);
        }
    }

    /// Whether each instance needs a read of its own.
    fn reads_each_instance(&self) -> bool {
        self.options.variant != Variant::Multi
    }

    /// The least round above all that this process has met, and above the fast ones.
    fn next_round(&self, met: Round) -> Round {
        let fast = Round(u64::from(self.cluster.size));
        let met = if mutant!(RoundReused) { fast } else { met.max(self.highest).max(fast) };
        if mutant!(RoundOfAnotherUsed) {
            return Round(met.0 + 1);
        }
        met.next_owned(self.me, self.cluster.size)
    }
}
