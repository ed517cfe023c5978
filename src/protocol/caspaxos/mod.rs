//! CASPaxos: a replicated register per key, without a log.
//!
//! (D. Rystsov, "CASPaxos: Replicated State Machines without logs", 2018.)
//!
//! # The problem
//!
//! Replicated state machines are built from a log: an array of consensus instances, an order of commands, a
//! leader to keep it short. Where the state is a set of registers that share nothing, none of that is needed.
//!
//! # The idea
//!
//! Synod decides a value once. Let a proposer write, in its second phase, not the value that it found in the
//! first but a *function* of it. Then the register can be rewritten for ever: each accepted state comes of an
//! earlier one, and of any two acknowledged changes one is a descendant of the other (Theorem 1).
//!
//! # The roles
//!
//! Every replica is proposer and acceptor. Clients send a change to a proposer.
//!
//! ```text
//!   proposer                                acceptors
//!      │  Prepare(b) ───────────────────────────▶│   promise b, unless b is not the highest seen
//!      │◀─────────────── Promise(accepted, state)│
//!      │  new = f(state of the highest ballot)   │
//!      │  Accept(b, new, next) ─────────────────▶│   accept, and promise next
//!      │◀──────────────────────────── Accepted   │
//!      │  … f'(new): Accept(next, …)             │   one round trip from here on (§2.2.1)
//! ```
//!
//! | file | job |
//! | --- | --- |
//! | [`ballot`], [`message`], [`state`] | the vocabulary |
//! | [`registers`] | the acceptor's table: promise, accept, copy, remove |
//! | `accepting` | its messages |
//! | `forwarding`, `hosting` | who loses leaves its commands to the winner; who wins does them |
//! | [`works`] | what the proposer does on each register |
//! | `proposing` | the attempt: both phases, conflict, backoff |
//! | `flights` | messages under way: who has answered, who is asked again |
//! | `bundles` | how much one message carries |
//! | `reading` | gets that write nothing |
//! | [`sessions`] | commands are begun once |
//! | [`members`] | configurations and their quorums |
//! | `changing` | from one configuration to the next |
//! | `copying` | who lags, or is new, is sent what it lacks |
//! | `collecting` | deleted registers are removed |
//!
//! # Beyond the paper
//!
//! *A change is applied once.* An attempt whose Accept was sent may have taken effect, whatever became of it. So
//! a register's state says which attempt of each proposer was the last among its ancestors ([`state::Marks`]);
//! whoever tries again looks there first.
//!
//! *One ballot, one value.* The promise for the next ballot is used once, and dropped with any doubt about the
//! attempt that brought it.
//!
//! *Contention ends.* The paper waits for a random time. Here who loses too often also leaves its clients' commands to
//! the winner, if the file says so (`forwarding`).
//!
//! *Rejected changes are written.* What a compare-and-set found may not have been chosen, until a state that
//! comes of it is.

use std::collections::VecDeque;
use std::time::Duration;

use crate::command::{ClientId, Command, Key, NodeId, Outcome};
use crate::kv::Replicated;
use crate::mutants::mutant;
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Cluster, Effect, Effects, Input, Membership, Protocol, Time, WriteId};

pub mod ballot;
pub mod members;
pub mod message;
pub mod options;
pub mod registers;
pub mod sessions;
pub mod state;
pub mod works;

mod accepting;
mod bundles;
mod changing;
mod collecting;
mod copying;
mod display;
mod flights;
mod forwarding;
mod hosting;
mod modelled;
mod plausible;
mod proposing;
mod reading;
#[cfg(test)]
mod tests;

use self::ballot::Ballot;
use self::changing::Changing;
use self::collecting::Collecting;
use self::flights::Flights;
use self::forwarding::Forwarding;
use self::hosting::Hosting;
use self::members::Configuration;
use self::message::{CaspaxosMessage, CaspaxosRecord, Change};
use self::options::CaspaxosOptions;
use self::registers::{NO_WORK, Registers};
use self::sessions::{Arrived, Sessions};
use self::works::{Work, Works};

/// So many counters are reserved in the log at a time. After a crash those that were not used are skipped.
const COUNTERS_RESERVED: u64 = 1 << 20;

/// What a replica may be woken for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CaspaxosTimer {
    /// To ask those again who have not answered.
    Resend,
    /// To ask again what became of what was forwarded.
    Forward,
    /// To try again where others were faster.
    Backoff,
    /// To compare with another replica.
    Repair,
    /// To look for registers to remove.
    Collect,
    /// To go on with a change of members.
    Change,
}

/// What happened how often.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
struct Counters {
    answered: u64,
    changes: u64,
    chosen: u64,
    one_round_trip: u64,
    two_round_trips: u64,
    conflicts: u64,
    losses: u64,
    applied_before: u64,
    unknown: u64,
    forwarded: u64,
    forwarded_again: u64,
    forwarded_in_vain: u64,
    hosted: u64,
    refused: u64,
    clean_reads: u64,
    clean_reads_in_vain: u64,
    resends: u64,
    copied: u64,
    collected: u64,
    removed: u64,
    rescans: u64,
    old_epochs: u64,
    implausible: u64,
}

/// One replica: a proposer and an acceptor.
#[derive(Clone, Debug)]
pub struct Caspaxos {
    me: NodeId,
    cluster: Cluster,
    options: CaspaxosOptions,
    configuration: Configuration,
    registers: Registers,
    sessions: Sessions,
    works: Works,
    /// Works that begin when the turn ends.
    ready: Vec<u32>,
    /// Works that wait for the timer.
    backing_off: Vec<u32>,
    /// Changes of this turn: with the next Prepare, and without.
    changes: Vec<(u32, Change)>,
    last_changes: Vec<(u32, Change)>,
    flights: Flights,
    /// The highest counter that this proposer has used, or heard of.
    counter: u64,
    /// Counters below this one are reserved, once this write is durable.
    reserved: (u64, WriteId),
    durable: WriteId,
    /// What this replica says to itself, until what it waits for is durable.
    to_self: VecDeque<(WriteId, CaspaxosMessage)>,
    /// How long a phase takes of late.
    round_trip: Duration,
    /// How long a phase takes each other proposer, as it said last.
    phases: Vec<Duration>,
    forwarding: Forwarding,
    hosting: Hosting,
    collecting: Collecting,
    changing: Changing,
    /// How often another replica was asked for something that any may do: each in turn.
    asked: usize,
    counters: Counters,
}

impl Protocol for Caspaxos {
    type Options = CaspaxosOptions;
    type Message = CaspaxosMessage;
    type Timer = CaspaxosTimer;
    type Record = CaspaxosRecord;

    const GAUGES: &'static [&'static str] =
        &["registers", "registers_with_value", "epochs", "commands_under_way", "round_trip_us"];

    /// A proposer need not be an acceptor; and what it has begun nobody else can finish.
    const FINISHES_REQUESTS: bool = true;

    fn recover(
        me: NodeId,
        cluster: Cluster,
        options: CaspaxosOptions,
        log: impl Iterator<Item = CaspaxosRecord>,
    ) -> Self {
        let configuration = Configuration::first(cluster, &options);
        let mut core = Caspaxos {
            me,
            cluster,
            options,
            configuration,
            registers: Registers::default(),
            sessions: Sessions::default(),
            works: Works::default(),
            ready: Vec::new(),
            backing_off: Vec::new(),
            changes: Vec::new(),
            last_changes: Vec::new(),
            flights: Flights::default(),
            counter: 0,
            reserved: (0, WriteId(0)),
            durable: WriteId(0),
            to_self: VecDeque::new(),
            round_trip: Duration::from_millis(1),
            phases: vec![Duration::ZERO; usize::from(cluster.size)],
            forwarding: Forwarding::default(),
            hosting: Hosting::default(),
            collecting: Collecting::default(),
            changing: Changing::default(),
            asked: 0,
            counters: Counters::default(),
        };
        log.for_each(|record| core.recall(record));
        core.hosting.begin_life(core.counter);
        core
    }

    fn step(&mut self, now: Time, input: Input<Self>, out: &mut Effects<Self>) {
        match input {
            Input::Started => self.on_started(out),
            Input::Message { from, message } => {
                if message.is_plausible(from, self.cluster.size) {
                    self.on_message(now, from, message, out);
                } else {
                    self.counters.implausible += 1;
                }
            }
            Input::Requests(commands) => {
                self.registers.fetch(commands.iter().map(|command| command.operation.keys().0));
                for command in commands {
                    self.on_request(now, command, out);
                }
            }
            Input::Members(members) => self.on_change_members(members, out),
            Input::Timer(timer) => self.on_timer(now, timer, out),
            Input::Durable(write) => {
                self.durable = self.durable.max(write);
                self.hear_self(now, out);
            }
            Input::TurnEnded => {
                self.hear_self(now, out);
                self.begin_attempts(now, out);
                self.hear_self(now, out);
                self.send_forwards(now, out);
            }
        }
    }

    fn takes_requests(&self) -> bool {
        self.is_serving()
    }

    fn membership(&self) -> Option<Membership> {
        let Configuration { epoch, old, new } = self.configuration;
        Some(Membership {
            epoch: u64::from(epoch),
            members: new.members,
            before: old.map(|old| old.members),
            wanted: self.goal(),
        })
    }

    fn replicated(&self) -> Option<&dyn Replicated> {
        Some(self)
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let c = &self.counters;
        vec![
            ("registers", self.registers.count() as u64),
            ("registers_with_value", self.registers.live()),
            ("epochs", u64::from(self.configuration.epoch)),
            ("commands_under_way", self.sessions.begun()),
            ("round_trip_us", self.round_trip.as_micros() as u64),
            ("answered", c.answered),
            ("changes", c.changes),
            ("chosen", c.chosen),
            ("one_round_trip", c.one_round_trip),
            ("two_round_trips", c.two_round_trips),
            ("conflicts", c.conflicts),
            ("losses", c.losses),
            ("applied_before", c.applied_before),
            ("unknown", c.unknown),
            ("forwarded", c.forwarded),
            ("forwarded_again", c.forwarded_again),
            ("forwarded_in_vain", c.forwarded_in_vain),
            ("hosted", c.hosted),
            ("refused", c.refused),
            ("clean_reads", c.clean_reads),
            ("clean_reads_in_vain", c.clean_reads_in_vain),
            ("resends", c.resends),
            ("copied", c.copied),
            ("collected", c.collected),
            ("removed", c.removed),
            ("rescans", c.rescans),
            ("old_epochs", c.old_epochs),
            ("implausible", c.implausible),
        ]
    }
}

/// The state is in the registers: no driver executes anything.
impl Replicated for Caspaxos {
    /// How many registers have a value.
    fn applied(&self) -> u64 {
        self.registers.live()
    }

    fn digest(&self) -> u64 {
        self.registers.digest()
    }

    fn session_count(&self) -> usize {
        self.sessions.count()
    }

    fn next_expected(&self, client: ClientId) -> Option<u64> {
        self.sessions.base(client)
    }

    /// A command belongs to the proposer that was asked.
    fn begins_anywhere(&self) -> bool {
        true
    }
}

impl Caspaxos {
    /// The acceptor's registers.
    pub fn registers(&self) -> &Registers {
        &self.registers
    }

    /// The proposer's works.
    pub fn works(&self) -> &Works {
        &self.works
    }

    /// The configuration that it knows of.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// How many commands of its clients it has begun and not answered.
    pub fn unanswered(&self) -> u64 {
        self.sessions.begun()
    }

    /// What the log says: all was possible when it was written, in this order, so it is now.
    fn recall(&mut self, record: CaspaxosRecord) {
        match record {
            CaspaxosRecord::Counters(below) => {
                let lost = mutant!(CountersForgotten);
                self.counter = if lost { 0 } else { below };
            }
            CaspaxosRecord::Promised { ballot, keys } => {
                for key in keys.iter().filter(|_| !mutant!(AcceptorPromisesForgotten)) {
                    let _ = self.registers.prepare(*key, ballot);
                }
            }
            CaspaxosRecord::Accepted { next, changes, refused } => {
                let taken = changes.iter().zip(0..).filter(|(_, at)| !refused.contains(at));
                for (change, _) in taken {
                    let _ = self.registers.accept(change, next);
                }
            }
            CaspaxosRecord::Copied { copies, floor } => {
                self.registers.raise_floor(floor);
                for copy in &copies {
                    self.registers.copy(copy);
                }
            }
            CaspaxosRecord::Removed(tombstones) => {
                for (key, ballot) in tombstones {
                    self.registers.remove(key, ballot);
                }
            }
            CaspaxosRecord::Configured(configuration) => self.enter(configuration),
            CaspaxosRecord::Merged(epoch) => self.note_merged(self.me, epoch),
        }
    }

    fn on_started(&mut self, out: &mut Effects<Self>) {
        self.reserve_counters(out);
        let repair = Duration::from_millis(self.options.repair_ms);
        out.push(Effect::Arm(CaspaxosTimer::Repair, repair / 2..repair));
        if self.options.collect_ms > 0 {
            let collect = Duration::from_millis(self.options.collect_ms);
            out.push(Effect::Arm(CaspaxosTimer::Collect, collect / 2..collect));
        }
        self.go_on_changing(out);
    }

    fn on_timer(&mut self, now: Time, timer: CaspaxosTimer, out: &mut Effects<Self>) {
        match timer {
            CaspaxosTimer::Resend => self.on_resend_timer(now, out),
            CaspaxosTimer::Forward => self.on_forward_timer(now, out),
            CaspaxosTimer::Backoff => self.ready.append(&mut self.backing_off),
            CaspaxosTimer::Repair => self.on_repair_timer(out),
            CaspaxosTimer::Collect => self.on_collect_timer(out),
            CaspaxosTimer::Change => self.go_on_changing(out),
        }
    }

    fn on_message(
        &mut self,
        now: Time,
        from: NodeId,
        message: CaspaxosMessage,
        out: &mut Effects<Self>,
    ) {
        match message {
            CaspaxosMessage::Prepare { batch, ballot, phase_us, keys } => {
                self.note_rival(from, phase_us);
                self.note_heard(now, from, ballot);
                self.on_prepare(from, batch, ballot, &keys, out);
            }
            CaspaxosMessage::Promise { batch, floor, first, promises } => {
                self.on_promise(now, from, (batch, first), floor, promises, out);
            }
            CaspaxosMessage::Accept { batch, next, changes } => {
                if let Some(first) = changes.first() {
                    self.note_heard(now, from, first.ballot.max(next));
                }
                self.on_accept(from, batch, next, &changes, out);
            }
            CaspaxosMessage::Accepted { batch, conflicts } => {
                self.on_accepted(now, from, batch, &conflicts, out);
            }
            CaspaxosMessage::Read { batch, epoch, keys } => {
                self.on_read(from, batch, epoch, &keys, out);
            }
            CaspaxosMessage::ReadOk { batch, first, seen } => {
                self.on_read_ok(now, from, (batch, first), seen, out);
            }
            CaspaxosMessage::Remove { tombstones } => self.on_remove(from, &tombstones, out),
            CaspaxosMessage::Removed { tombstones } => self.on_removed(from, &tombstones),
            CaspaxosMessage::Compare { digest } => self.on_compare(from, digest, out),
            CaspaxosMessage::Digests { buckets } => self.on_digests(from, &buckets, out),
            CaspaxosMessage::Pull { removals, epoch, part } => {
                self.on_pull(from, removals, epoch, &part, out);
            }
            CaspaxosMessage::Copies { removals, epoch, rest, floor, copies } => {
                self.on_copies(from, (removals, epoch), rest, floor, copies, out);
            }
            CaspaxosMessage::Forward { number, seen, settled_below, commands } => {
                self.on_forward(now, from, number, (seen, settled_below), &commands, out);
            }
            CaspaxosMessage::Forwarded { number, fate } => {
                self.on_forwarded(now, from, number, fate, out);
            }
            CaspaxosMessage::Configure(configuration) => {
                self.on_configure(from, configuration, out);
            }
            CaspaxosMessage::WhichConfiguration => {
                self.answer(from, CaspaxosMessage::Configure(self.configuration), out);
            }
            CaspaxosMessage::Merged { epoch } => self.on_merged(from, epoch, out),
            CaspaxosMessage::Replace(leaver) => self.on_replace(from, leaver, out),
        }
    }

    /// What this replica said to itself and what that waited for is durable.
    fn hear_self(&mut self, now: Time, out: &mut Effects<Self>) {
        while let Some((after, _)) = self.to_self.front()
            && *after <= self.durable
            && let Some((_, message)) = self.to_self.pop_front()
        {
            self.on_message(now, self.me, message, out);
        }
    }

    /// Answers a message, once all that this replica has written is durable.
    fn answer(&mut self, to: NodeId, message: CaspaxosMessage, out: &mut Effects<Self>) {
        let after = out.last_write();
        if to == self.me {
            self.to_self.push_back((after, message));
        } else {
            out.send_after(to, message, after);
        }
    }

    /// A client's command arrives.
    fn on_request(&mut self, now: Time, command: Command, out: &mut Effects<Self>) {
        match self.sessions.arrive(&command, self.is_serving()) {
            Arrived::Known => {}
            Arrived::Refused => {
                self.counters.refused += 1;
                out.push(Effect::Answer { id: command.id, outcome: Outcome::Refused });
            }
            Arrived::Answered(outcome) => out.push(Effect::Answer { id: command.id, outcome }),
            Arrived::New if self.leaves_at_once(now, &command) => {}
            Arrived::New => {
                self.note_own_use(now, &command);
                let work = self.work_on(command.operation.keys().0);
                if let Some(work) = self.works.get_mut(work) {
                    work.waiting.push_back(command);
                }
            }
        }
    }

    /// The work on a register, begun if need be.
    fn work_on(&mut self, key: Key) -> u32 {
        let place = self.registers.place_or_make(key);
        let known = self.registers.at_mut(place).work;
        if known != NO_WORK {
            return known;
        }
        let work = self.works.add(Work::new(key, place));
        self.registers.at_mut(place).work = work;
        self.ready.push(work);
        work
    }

    /// A counter that this proposer has never used, also not in an earlier life.
    fn next_counter(&mut self, out: &mut Effects<Self>) -> u64 {
        self.counter += 1;
        if self.counter >= self.reserved.0 {
            self.reserve_counters(out);
        }
        self.counter
    }

    fn reserve_counters(&mut self, out: &mut Effects<Self>) {
        let below = self.counter + COUNTERS_RESERVED;
        self.reserved = (below, out.persist(CaspaxosRecord::Counters(below)));
    }

    /// *Fast-forward*: the next attempt will be above what was seen.
    fn fast_forward(&mut self, seen: Ballot) {
        if !mutant!(CounterNotForwarded) {
            self.counter = self.counter.max(seen.counter());
        }
    }

    /// Tells a command's client what it returned.
    fn tell(&mut self, id: crate::command::CommandId, outcome: Outcome, out: &mut Effects<Self>) {
        if self.tells_origin(id, &outcome, out) {
            return;
        }
        let is_known = outcome != Outcome::Unknown;
        self.counters.answered += u64::from(is_known);
        self.counters.unknown += u64::from(!is_known);
        self.sessions.answer(id, &outcome);
        out.push(Effect::Answer { id, outcome });
    }

    /// Sends to some replicas, and to itself if it is one of them, once the counters in it are reserved.
    fn ask(&mut self, to: NodeSet, message: CaspaxosMessage, out: &mut Effects<Self>) {
        out.send_to(to.without(self.me), message, self.reserved.1);
    }
}
