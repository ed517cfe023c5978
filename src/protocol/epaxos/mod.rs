//! Egalitarian Paxos (Moraru, Andersen, Kaminsky, "A Proof of Correctness for Egalitarian Paxos",
//! CMU-PDL-13-111), with the corrections that the years since have brought.
//!
//! *The problem:* with a leader, every command travels to one place, waits there, and stops when it
//! crashes. *The one idea:* every replica orders its own clients' commands, each in an [`instance`] of
//! its own, and agrees with the others not on a place in one order but on what a command *depends on*.
//! Commands that do not interfere depend on nothing and commit after one round trip to a fast quorum.
//!
//! *A command's way:* what a replica's clients asked for in one turn becomes the command γ of its next
//! instance *R.i*, with the dependencies that it knows of; **PreAccept** asks others for those that they
//! know of. If a fast quorum agrees ([`options::FastPath`] says on what), γ is committed; if not, their
//! union goes through **Paxos-Accept**. **Commit** tells everybody. Whoever has committed γ and all that it
//! depends on executes it, in the order that the graph of dependencies gives.
//!
//! | module | what | paper |
//! | --- | --- | --- |
//! | `proposing`, `commit` | Phase 1, Paxos-Accept, Commit | §5.1, §6.1 |
//! | `recovery`, `validation` | Explicit Prepare, TentativePreAccept, deferral | §6.2 |
//! | [`execution`] | strongly connected components | §5.2 |
//! | [`conflicts`], [`deps`] | what interferes, and how it is written down | §4, §5.3 |
//! | `keeping` | who is up, what may be forgotten, who lags | §5.4 |
//! | [`epochs`], `joining` | who the members are, and how that changes | §5.5 |
//! | [`instances`], `work` | what a replica knows, and what it does about it | |
//!
//! # Where this departs from the paper
//!
//! - *Two ballots* an instance, `bal` (joined) and `abal` (voted), where the paper has one, which loses
//!   decisions (Sutra 2019).
//! - *Recovery decides a no-op* where the paper starts Phase 1 anew; the owner, or the client, proposes
//!   the command again. Ballot 0 alone computes dependencies, and its proposal is kept beside the votes.
//! - *A TentativePreAccept is no vote.* It records the command, so that later ones see it, and says what
//!   is in the way. The paper leaves open whether it updates the ballot of the vote.
//! - *The fast quorum travels with the command* where recovery must know it (steps 7c to 7e need it).
//! - *Sequence numbers* are an option: who is answered after execution needs none (§7).
//! - *A fast commit is durable at its owner before anybody hears of it.* Else an owner that restarts would
//!   speak for an instance that it had decided.
//!
//! # What is bounded
//!
//! A replica's own unexecuted instances by [`EpaxosOptions::window`], and with them all chains and cycles;
//! what waits for a place among them by [`REQUEST_BYTES_MAX`]; records of instances by what a majority has
//! executed (`keeping`); keys in the index by those records.
//!
//! [`instance`]: instances::Instance

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use self::conflicts::Conflicts;
use self::deps::PerNode;
use self::epochs::Epochs;
use self::execution::Executor;
use self::instances::{Row, Rows};
use self::joining::Joining;
use self::keeping::Peer;
use self::message::{EpaxosMessage, EpaxosRecord, EpaxosTimer, InstanceId, Proposal};
use self::options::EpaxosOptions;
use super::quorum::{NodeSet, majority};
use super::{Cluster, Effect, Effects, Input, Protocol, Time, WriteId};
use crate::command::{Command, NodeId};
use crate::mutants::mutant;

mod commit;
pub mod conflicts;
pub mod deps;
mod display;
pub mod epochs;
pub mod execution;
pub mod instances;
mod joining;
mod keeping;
pub mod message;
mod modelled;
pub mod options;
mod plausible;
mod proposing;
mod recovered;
mod recovery;
#[cfg(test)]
mod tests;
mod validation;
mod work;

/// Bytes of requests that wait for a place in the window, unless a single one is larger. Requests beyond
/// it are dropped: clients ask again.
pub const REQUEST_BYTES_MAX: usize = 64 << 20;

/// What happened so far, for the counters of a run.
#[derive(Clone, Copy, Default, Debug)]
struct Counters {
    proposed: u64,
    dependencies: u64,
    with_dependencies: u64,
    fast: u64,
    slow: u64,
    conflicts: u64,
    fallbacks: u64,
    recoveries: u64,
    recovered: u64,
    nops: u64,
    tentative: u64,
    deferred: u64,
    nacks: u64,
    resubmitted: u64,
    retransmissions: u64,
    catch_ups: u64,
    states_sent: u64,
    states_installed: u64,
    implausible: u64,
    requests_dropped: u64,
    epochs: u64,
}

/// What a replica counts is not part of its state: two that differ in nothing else do the same from now on.
impl Hash for Counters {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// One replica.
#[derive(Clone, Hash, Debug)]
pub struct Epaxos {
    me: NodeId,
    cluster: Cluster,
    options: EpaxosOptions,
    epochs: Epochs,
    joining: Joining,
    /// It is a member, or was, and had executed all that was decided before it became one.
    is_live: bool,
    rows: Rows,
    conflicts: Conflicts,
    executor: Executor,
    /// What the executor has let out, until it is carried out.
    order: Vec<InstanceId>,
    peers: Vec<Peer>,
    /// The number of the next own instance.
    next: u64,
    /// Own instances that are not executed.
    unexecuted: usize,
    /// Commands that wait for a place in the window.
    requests: VecDeque<Command>,
    request_bytes: usize,
    /// Those of them that interfere with an own instance which cannot be executed yet.
    held: VecDeque<Command>,
    /// Messages of this replica to itself, until what they wait for is durable.
    to_self: VecDeque<(WriteId, EpaxosMessage)>,
    durable: WriteId,
    /// Instances whose recovery is deferred here.
    deferring: Vec<InstanceId>,
    /// Up to where this replica has ever let others forget.
    allowed: PerNode,
    /// Up to where it has forgotten by the rule (`keeping`).
    forgotten: PerNode,
    /// Up to where the replicated state came from another replica: in which order it was executed is not
    /// known here.
    taken_over: PerNode,
    /// Up to where it knew the decisions when it last looked.
    progress: PerNode,
    /// When that was.
    looked: Time,
    /// Who was asked for what is missing here and did not help.
    asked_in_vain: NodeSet,
    counters: Counters,
}

impl Protocol for Epaxos {
    type Options = EpaxosOptions;
    type Message = EpaxosMessage;
    type Timer = EpaxosTimer;
    type Record = EpaxosRecord;

    const GAUGES: &'static [&'static str] = &["component_max"];

    fn recover(
        me: NodeId,
        cluster: Cluster,
        options: EpaxosOptions,
        log: impl Iterator<Item = EpaxosRecord>,
    ) -> Self {
        let mut core = Epaxos::new(me, cluster, options);
        log.for_each(|record| core.replay(record));
        core.replayed();
        core
    }

    fn step(&mut self, now: Time, input: Input<Self>, out: &mut Effects<Self>) {
        match input {
            Input::Started => self.on_started(now, out),
            Input::Message { from, message } => {
                // Nobody can know of an own instance that this replica has not proposed.
                let unborn =
                    message.id().is_some_and(|id| id.owner == self.me && id.number >= self.next);
                if message.is_plausible(from, self.cluster.size) && !unborn {
                    self.peers[usize::from(from.0)].heard(now);
                    self.on_message(now, from, message, out);
                } else {
                    self.counters.implausible += 1;
                }
            }
            Input::Requests(commands) => self.on_requests(commands),
            Input::Timer(EpaxosTimer::Heartbeat) => self.on_heartbeat_timer(now, out),
            Input::Timer(EpaxosTimer::Check) => self.on_check_timer(now, out),
            Input::Members(_) => {}
            Input::Durable(write) => self.on_durable(now, write, out),
            Input::TurnEnded => {
                // What waits for a write that was durable already; and again for what was proposed.
                self.on_durable(now, self.durable, out);
                self.propose(now, out);
                self.on_durable(now, self.durable, out);
            }
        }
    }

    fn takes_requests(&self) -> bool {
        self.is_member() && self.is_live
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let c = &self.counters;
        vec![
            ("proposed", c.proposed),
            ("dependencies", c.dependencies),
            ("with_dependencies", c.with_dependencies),
            ("fast", c.fast),
            ("slow", c.slow),
            ("conflicts", c.conflicts),
            ("fallbacks", c.fallbacks),
            ("recoveries", c.recoveries),
            ("recovered", c.recovered),
            ("nops", c.nops),
            ("tentative", c.tentative),
            ("deferred", c.deferred),
            ("nacks", c.nacks),
            ("resubmitted", c.resubmitted),
            ("retransmissions", c.retransmissions),
            ("catch_ups", c.catch_ups),
            ("states_sent", c.states_sent),
            ("states_installed", c.states_installed),
            ("components", self.executor.counts.components),
            ("component_max", self.executor.counts.component_max),
            ("in_cycles", self.executor.counts.in_cycles),
            ("implausible", c.implausible),
            ("requests_dropped", c.requests_dropped),
            ("epochs", c.epochs),
        ]
    }
}

impl Epaxos {
    fn new(me: NodeId, cluster: Cluster, options: EpaxosOptions) -> Self {
        let size = usize::from(cluster.size);
        let zeros = PerNode::from_elem(0, size);
        let epochs = Epochs::new(cluster);
        Epaxos {
            me,
            cluster,
            is_live: epochs.members().contains(me),
            epochs,
            joining: Joining::default(),
            rows: Rows::new(cluster.size),
            conflicts: Conflicts::new(cluster.size, options.dependencies),
            options,
            executor: Executor::default(),
            order: Vec::new(),
            peers: vec![Peer::new(size); size],
            next: 0,
            unexecuted: 0,
            requests: VecDeque::new(),
            request_bytes: 0,
            held: VecDeque::new(),
            to_self: VecDeque::new(),
            durable: WriteId(0),
            deferring: Vec::new(),
            allowed: zeros.clone(),
            forgotten: zeros.clone(),
            taken_over: zeros.clone(),
            progress: zeros,
            looked: Time(0),
            asked_in_vain: NodeSet::default(),
            counters: Counters::default(),
        }
    }

    /// Whether an instance is executed here.
    pub fn has_executed(&self, id: InstanceId) -> bool {
        self.rows.is_executed(id)
    }

    /// How many instances this replica knows of and has not executed, with the commands that have none yet.
    pub fn open(&self) -> usize {
        let open = |row: &Row| row.from(0).filter(|(_, instance)| !instance.executed).count();
        let rows: usize = self.rows.iter().map(|(_, row)| open(row)).sum();
        rows + self.requests.len() + self.held.len()
    }

    /// What contradicts itself in this replica's state; none if all is well. It looks at everything.
    pub fn inconsistency(&self) -> Option<String> {
        let row = self.rows.of(self.me);
        let open = (row.executed_below()..self.next).filter(|number| !row.is_executed(*number));
        let (open, counted) = (open.count(), self.unexecuted);
        if open != counted {
            return Some(format!("{open} own instances are not executed, counted are {counted}"));
        }
        for (owner, row) in self.rows.iter() {
            for (number, instance) in row.from(row.base()) {
                if instance.vote_ballot > instance.ballot {
                    return Some(format!("{owner}.{number} has voted above its ballot"));
                }
                if instance.final_here && !instance.is_committed() {
                    return Some(format!("{owner}.{number} is final and not committed"));
                }
            }
        }
        None
    }

    fn on_message(
        &mut self,
        now: Time,
        from: NodeId,
        message: EpaxosMessage,
        out: &mut Effects<Self>,
    ) {
        if !self.is_of_its_epoch(from, &message, out) {
            return;
        }
        match message {
            EpaxosMessage::PreAccept { id, initial, .. } => {
                self.on_pre_accept(now, from, id, initial, out);
            }
            EpaxosMessage::PreAcceptOk { id, attributes, uncommitted, .. } => {
                self.on_pre_accept_ok(now, from, id, (attributes, uncommitted), out);
            }
            EpaxosMessage::Accept { id, ballot, proposal, attributes, beyond } => {
                self.on_accept(now, from, (id, ballot), (proposal, attributes), beyond, out);
            }
            EpaxosMessage::AcceptOk { id, ballot, beyond } => {
                self.on_accept_ok(now, from, (id, ballot), beyond, out);
            }
            EpaxosMessage::Commit { id, proposal, attributes, .. } => {
                self.on_commit(now, from, id, (proposal, attributes), out);
            }
            EpaxosMessage::Prepare { id, ballot } => self.on_prepare(now, from, id, ballot, out),
            EpaxosMessage::PrepareOk { id, ballot, vote, initial } => {
                let answer = work::Answer { node: from, vote, initial };
                self.on_prepare_ok(now, (id, ballot), answer, out);
            }
            EpaxosMessage::Nack { id, ballot, promised } => {
                self.on_nack(from, (id, ballot), promised, out);
            }
            EpaxosMessage::TentativePreAccept { id, ballot, initial, attributes } => {
                let asked = (initial, attributes);
                self.on_tentative_pre_accept(now, from, (id, ballot), asked, out);
            }
            EpaxosMessage::TentativePreAcceptOk { id, ballot, conflicts } => {
                self.on_tentative_pre_accept_ok(now, from, (id, ballot), conflicts, out);
            }
            EpaxosMessage::Deferred { id, evidence, attributes, .. } => {
                self.on_deferred(now, id, (evidence, attributes), out);
            }
            EpaxosMessage::Heartbeat { epoch, executed, forgettable, sent_ns } => {
                self.on_heartbeat(now, from, epoch, (executed, forgettable), sent_ns, out);
            }
            EpaxosMessage::HeartbeatOk { sent_ns } => self.on_heartbeat_ok(now, from, sent_ns),
            EpaxosMessage::Lagging { executed, known } => {
                self.on_lagging(now, from, (&executed, &known), out);
            }
            EpaxosMessage::State { epoch, executed, forgotten } => {
                if epoch <= self.epochs.latest() {
                    self.on_state(now, executed, forgotten, out);
                }
            }
            EpaxosMessage::Join { ballot, replacement } => {
                self.on_join(now, from, (ballot, replacement), out);
            }
            EpaxosMessage::JoinOk { ballot, vote, fence } => {
                self.on_join_ok(from, ballot, (vote, &fence), out);
            }
            EpaxosMessage::JoinNack { ballot, promised } => self.on_join_nack(ballot, promised),
            EpaxosMessage::Begin { ballot, change } => {
                self.on_begin(from, (ballot, change), out);
            }
            EpaxosMessage::BeginOk { ballot } => self.on_begin_ok(now, from, ballot, out),
            EpaxosMessage::Epochs { changes } => self.on_epochs(now, from, changes, out),
        }
    }

    /// Answers `to`; itself too, once what the answer waits for is durable.
    fn reply(
        &mut self,
        to: NodeId,
        message: EpaxosMessage,
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
        while self.to_self.front().is_some_and(|(after, _)| *after <= self.durable) {
            let Some((_, message)) = self.to_self.pop_front() else { return };
            self.on_message(now, self.me, message, out);
        }
    }

    /// Executes all that can be.
    fn execute(&mut self, out: &mut Effects<Self>) {
        self.executor.run(&mut self.rows, &mut self.order);
        let mut order = std::mem::take(&mut self.order);
        for id in order.drain(..) {
            if id.owner == self.me {
                self.unexecuted -= 1;
            }
            let Some(instance) = self.rows.get_mut(id) else { continue };
            if std::mem::take(&mut instance.holds) {
                self.conflicts.release(&instance.keys);
                self.held.drain(..).rev().for_each(|command| self.requests.push_front(command));
            }
            self.conflicts.executed(id, &instance.keys);
            let command = match &instance.proposal {
                Some(Proposal::Command(command)) => Some(command),
                Some(Proposal::Nop) if mutant!(NopExecuted) => instance.command(),
                _ => None,
            };
            if let Some(command) = command {
                out.push(Effect::Execute(command.clone()));
            }
        }
        self.order = order;
    }

    fn majority(&self) -> usize {
        majority(self.cluster.members())
    }

    fn fast_quorum(&self) -> usize {
        let size = self.options.fast_path.quorum(self.cluster.members());
        if mutant!(FastQuorumTooSmall) { size - 1 } else { size }
    }

    /// The other members of the latest epoch.
    fn others(&self) -> NodeSet {
        self.epochs.members().without(self.me)
    }

    /// The others who vote in an instance.
    fn other_voters(&self, id: InstanceId) -> NodeSet {
        self.epochs.voters(id).without(self.me)
    }
}
