//! What a replica knows of each instance: the paper's `commands[Q][j]` (§5.1), one dense row a replica.

use std::collections::VecDeque;

use super::conflicts::Keys;
use super::deps::Attributes;
use super::execution::Visit;
use super::message::{Initial, InstanceId, Phase, Proposal, Vote};
use super::work::Work;
use crate::command::NodeId;
use crate::mutants::mutant;
use crate::protocol::ballot::Round;
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Batch, Time};

/// Instances of one replica that another keeps records of, at most. What is further ahead is ignored:
/// who lags by so much is sent the state.
pub const INSTANCES_MAX: u64 = 1 << 18;

/// One instance at one replica.
///
/// *Durable before any reply:* `ballot`, the vote (`vote_ballot`, `phase`, `proposal`, `attributes`) and
/// `initial`. Two ballots, because one cannot serve as both: with a single one, a later Prepare makes an
/// old vote look recent (Sutra, "On the Correctness of Egalitarian Paxos", 2019).
#[derive(Clone, Hash, Debug)]
pub struct Instance {
    /// *bal*: the highest ballot joined.
    pub ballot: Round,
    /// *abal*: the ballot of the last vote. To join a ballot leaves it alone.
    pub vote_ballot: Round,
    /// How far it has come.
    pub phase: Phase,
    /// What was voted for, or is committed; none before.
    pub proposal: Option<Proposal>,
    /// With which attributes.
    pub attributes: Option<Attributes>,
    /// What the owner proposed at ballot 0. Never overwritten.
    pub initial: Option<Initial>,
    /// The keys of its command, as the index of conflicts knows them.
    pub keys: Keys,
    /// Committed, and no crash of this replica can undo that: it may be told, and executed.
    pub final_here: bool,
    /// Whether it is executed.
    pub executed: bool,
    /// When it became known here, or something last happened to it.
    pub since: Time,
    /// What this replica does to get it committed.
    pub work: Option<Box<Work>>,
    /// The highest ballot that somebody has joined instead of this replica's.
    pub refused: Option<Round>,
    /// It is this replica's own, committed and not executed, and keeps others from its keys.
    pub holds: bool,
    /// How often this replica has begun to recover it.
    pub recoveries: u32,
    /// Another recoverer waits for others before it decides this one: for which vote, and on whose.
    pub deferral: Option<(NodeSet, Attributes)>,
    /// Accept-Deps: who had accepted, and what it knew then beyond the attributes.
    pub beyond: Vec<(NodeId, Vec<InstanceId>)>,
    /// Where a search for components met it.
    pub visit: Visit,
    /// Roots of searches that wait until it is committed.
    pub waiters: Vec<InstanceId>,
}

impl Default for Instance {
    fn default() -> Self {
        Instance {
            ballot: Round(0),
            vote_ballot: Round(0),
            phase: Phase::Initial,
            proposal: None,
            attributes: None,
            initial: None,
            keys: Keys::default(),
            final_here: false,
            executed: false,
            since: Time(0),
            work: None,
            refused: None,
            holds: false,
            recoveries: 0,
            deferral: None,
            beyond: Vec::new(),
            visit: Visit::default(),
            waiters: Vec::new(),
        }
    }
}

impl Instance {
    /// Whether it is decided.
    pub fn is_committed(&self) -> bool {
        self.phase == Phase::Committed
    }

    /// Whether it is decided to be nothing.
    pub fn is_nop(&self) -> bool {
        self.is_committed() && self.proposal == Some(Proposal::Nop)
    }

    /// Whether this replica knows nothing of it but, perhaps, a ballot.
    pub fn is_unknown(&self) -> bool {
        self.phase == Phase::Initial && self.initial.is_none() && !self.executed
    }

    /// The vote as PrepareOK reports it.
    pub fn vote(&self) -> Vote {
        let proposal = match (&self.proposal, &self.initial) {
            (Some(Proposal::Command(_)), Some(_)) => None,
            (proposal, _) => proposal.clone(),
        };
        let attributes = self.attributes.clone();
        Vote { phase: self.phase, ballot: self.vote_ballot, proposal, attributes }
    }

    /// The command of this instance, if it is known. There is only one that it can ever be.
    pub fn command(&self) -> Option<&Batch> {
        match (&self.initial, &self.proposal) {
            (Some(initial), _) => Some(&initial.command),
            (None, Some(Proposal::Command(command))) => Some(command),
            (None, _) => None,
        }
    }

    /// What a message or record means that names no proposal: the command on record.
    pub fn resolve(&self, proposal: Option<Proposal>) -> Option<Proposal> {
        proposal.or_else(|| self.command().cloned().map(Proposal::Command))
    }

    /// What a record must say of a proposal: nothing of the command that is on record.
    pub fn unless_on_record(&self, proposal: &Proposal) -> Option<Proposal> {
        let on_record = *proposal != Proposal::Nop && self.command().is_some();
        (!on_record).then(|| proposal.clone())
    }
}

/// All instances of one owner that a replica has records of.
#[derive(Clone, Hash, Debug, Default)]
pub struct Row {
    /// The first instance with a record: all before are executed, and forgotten.
    base: u64,
    /// All before are executed.
    executed_below: u64,
    /// The decisions on all before are on record, or were.
    known_below: u64,
    slots: VecDeque<Instance>,
}

impl Row {
    /// The first instance with a record.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The first instance that is not executed.
    pub fn executed_below(&self) -> u64 {
        self.executed_below
    }

    /// The first instance whose decision is not on record.
    pub fn known_below(&mut self) -> u64 {
        self.known_below = self.known_below.max(self.base);
        while self.get(self.known_below).is_some_and(Instance::is_committed) {
            self.known_below += 1;
        }
        self.known_below
    }

    /// One past the last instance with a record.
    pub fn end(&self) -> u64 {
        self.base + self.slots.len() as u64
    }

    /// An instance, if there is a record of it.
    pub fn get(&self, number: u64) -> Option<&Instance> {
        self.slots.get(number.checked_sub(self.base)? as usize)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut Instance> {
        self.slots.get_mut(number.checked_sub(self.base)? as usize)
    }

    /// Whether an instance may have a record: it is not forgotten, and not too far ahead.
    pub fn has_place(&self, number: u64) -> bool {
        number.checked_sub(self.base).is_some_and(|ahead| ahead < INSTANCES_MAX)
    }

    /// An instance, with a record made if need be, first heard of `now`.
    pub fn make(&mut self, number: u64, now: Time) -> Option<&mut Instance> {
        if self.has_place(number) { self.extend_to(number, now) } else { None }
    }

    /// The same, however far ahead.
    fn extend_to(&mut self, number: u64, now: Time) -> Option<&mut Instance> {
        let offset = number.checked_sub(self.base)? as usize;
        while self.slots.len() <= offset {
            self.slots.push_back(Instance { since: now, ..Instance::default() });
        }
        Some(&mut self.slots[offset])
    }

    /// Whether an instance is executed.
    pub fn is_executed(&self, number: u64) -> bool {
        number < self.executed_below || self.get(number).is_some_and(|i| i.executed)
    }

    /// Notes that an instance is executed.
    pub fn set_executed(&mut self, number: u64) {
        if let Some(instance) = self.get_mut(number) {
            instance.executed = true;
        }
        self.advance();
    }

    fn advance(&mut self) {
        while self.get(self.executed_below).is_some_and(|i| i.executed) {
            self.executed_below += 1;
        }
    }

    /// Executed is exactly this from now on, whether it is on record or not.
    pub fn install(&mut self, below: u64, above: &[u64], now: Time) {
        let last = above.last().map_or(below, |last| last + 1);
        if let Some(last) = last.checked_sub(1) {
            self.make(last, now);
        }
        for (offset, slot) in self.slots.iter_mut().enumerate() {
            let number = self.base + offset as u64;
            let kept = slot.executed && mutant!(ExecutedKept);
            slot.executed = kept || number < below || above.binary_search(&number).is_ok();
        }
        self.executed_below = below;
        self.advance();
    }

    /// What is not committed counts as heard of `now`.
    pub fn heard_of(&mut self, now: Time) {
        self.slots.iter_mut().for_each(|instance| instance.since = now);
    }

    /// The executed instances beyond the first that is not.
    pub fn executed_above(&self) -> Vec<u64> {
        let from = self.executed_below.max(self.base);
        let beyond = (from..self.end()).filter(|n| self.get(*n).is_some_and(|i| i.executed));
        beyond.collect()
    }

    /// Takes out the records of all instances before `base`.
    pub fn forget_below(&mut self, base: u64) -> Vec<(u64, Instance)> {
        let first = self.base;
        let count = base.saturating_sub(first).min(self.slots.len() as u64) as usize;
        let forgotten = (first..).zip(self.slots.drain(..count)).collect();
        self.base = self.base.max(base);
        self.executed_below = self.executed_below.max(base);
        self.advance();
        forgotten
    }

    /// All records with their numbers, from `number` on.
    pub fn from(&self, number: u64) -> impl Iterator<Item = (u64, &Instance)> {
        let first = number.max(self.base);
        let skipped = (first - self.base).min(self.slots.len() as u64) as usize;
        (first..).zip(self.slots.range(skipped..))
    }
}

/// The rows of all replicas, in the order of their ids.
#[derive(Clone, Hash, Debug)]
pub struct Rows(Vec<Row>);

impl Rows {
    /// Empty rows, one a replica.
    pub fn new(size: u8) -> Rows {
        Rows(vec![Row::default(); usize::from(size)])
    }

    /// The row of one owner.
    pub fn of(&self, owner: NodeId) -> &Row {
        &self.0[usize::from(owner.0)]
    }

    /// The same, to change it.
    pub fn of_mut(&mut self, owner: NodeId) -> &mut Row {
        &mut self.0[usize::from(owner.0)]
    }

    /// All rows, by owner.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Row)> {
        (0..).map(NodeId).zip(&self.0)
    }

    /// One instance, if there is a record of it.
    pub fn get(&self, id: InstanceId) -> Option<&Instance> {
        self.of(id.owner).get(id.number)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, id: InstanceId) -> Option<&mut Instance> {
        self.of_mut(id.owner).get_mut(id.number)
    }

    /// One instance, with a record made if need be.
    pub fn make(&mut self, id: InstanceId, now: Time) -> Option<&mut Instance> {
        self.of_mut(id.owner).make(id.number, now)
    }

    /// One instance that the log tells of: it has a record however long the log, unless it is forgotten.
    pub fn on_record(&mut self, id: InstanceId, now: Time) -> Option<&mut Instance> {
        self.of_mut(id.owner).extend_to(id.number, now)
    }

    /// Whether an instance is executed.
    pub fn is_executed(&self, id: InstanceId) -> bool {
        self.of(id.owner).is_executed(id.number)
    }
}
