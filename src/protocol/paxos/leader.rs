//! The leader's part of total order broadcast (Fig. 9, tasks *launch* and *propose*).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::consensus::Proposal;
use super::message::{MsgSet, Parcel, Written, msg_set_bytes};
use super::parcels::ParcelSet;
use super::register::REGISTERS_MAX;
use crate::command::NodeId;
use crate::mutants::mutant;
use crate::protocol::Time;
use crate::protocol::ballot::Round;
use crate::protocol::quorum::{NodeSet, majority};

/// Bytes of one proposed value, unless a single parcel is larger.
pub const PROPOSAL_BYTES_MAX: usize = 1 << 20;

/// Bytes of all values that are being decided.
pub const PROPOSALS_BYTES_MAX: usize = 8 << 20;

/// What a process keeps while it takes itself for the leader.
#[derive(Clone, Hash, Debug)]
pub struct Leading {
    /// Parcels to propose, the paper's TO_undelivered.
    pub undelivered: VecDeque<Parcel>,
    /// Parcels that are delivered, being decided, or in `undelivered`.
    queued: Vec<ParcelSet>,
    /// The paper's K: the next instance to propose in.
    pub next: u64,
    /// Running proposals, by instance.
    proposals: BTreeMap<u64, Proposal>,
    proposals_bytes: usize,
    /// Where it stands with reading all instances onwards.
    pub read: ReadOnwards,
    /// The first instance not delivered, as of the last look for gaps.
    pub stuck_at: Option<u64>,
    /// The instance that may be written without reading, by permission (§6.4).
    pub fast: Option<u64>,
}

/// The read of all instances from one on, which lets later writes go without one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ReadOnwards {
    /// Not read, or no longer valid.
    None,
    /// Waits for ackREADs.
    Running(Reading),
    /// Done in this round.
    Done(Round),
}

/// A running read onwards.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reading {
    /// Its round.
    pub round: Round,
    /// Its first instance.
    pub from: u64,
    /// When it was last sent.
    pub sent: Time,
    acks: NodeSet,
    /// The highest next_batch of the answers, and whose it is.
    pub decided_below: (u64, Option<NodeId>),
    /// The value of the highest write, by instance.
    found: BTreeMap<u64, (Round, MsgSet)>,
}

impl Reading {
    /// A read in `round` of all instances not delivered.
    pub fn new(round: Round, from: u64, now: Time) -> Self {
        let (acks, found) = (NodeSet::default(), BTreeMap::new());
        Reading { round, from, sent: now, acks, decided_below: (from, None), found }
    }

    /// ackREAD(k); says whether a majority has answered.
    pub fn on_ack(
        &mut self,
        from: NodeId,
        next_batch: u64,
        written: Vec<Written>,
        size: u8,
    ) -> bool {
        self.acks.insert(from);
        if next_batch > self.decided_below.0 {
            self.decided_below = (next_batch, Some(from));
        }
        // A register is no further ahead of what its process has delivered.
        let end = self.from.max(next_batch).saturating_add(REGISTERS_MAX);
        for Written { instance, write, value } in written.into_iter().filter(|w| w.instance < end) {
            let found = self.found.entry(instance).or_insert_with(|| (write, value.clone()));
            if (found.0 < write) ^ mutant!(LowestWriteRecovered) {
                *found = (write, value);
            }
        }
        let quorum = majority(usize::from(size)) - usize::from(mutant!(ReadOnwardsQuorumTooSmall));
        self.acks.len() >= quorum
    }

    /// Whether this process has answered.
    pub fn has_answer_of(&self, node: NodeId) -> bool {
        self.acks.contains(node)
    }

    /// What was found.
    fn found(&self) -> impl Iterator<Item = &MsgSet> {
        self.found.values().map(|(_, value)| value)
    }

    /// What must be written from instance `first` on: what was found, and nothing in the gaps.
    pub fn values(mut self, first: u64) -> Vec<MsgSet> {
        let end = self.found.keys().next_back().map_or(0, |last| last + 1);
        let mut value = |instance| self.found.remove(&instance).map(|(_, value)| value);
        (first..end).map(|i| value(i).unwrap_or_else(|| Arc::from([]))).collect()
    }
}

impl Leading {
    /// Starts behind what is delivered.
    pub fn new(delivered: &[ParcelSet], next: u64) -> Self {
        Leading {
            undelivered: VecDeque::new(),
            queued: delivered.to_vec(),
            next,
            proposals: BTreeMap::new(),
            proposals_bytes: 0,
            read: ReadOnwards::None,
            stuck_at: None,
            fast: None,
        }
    }

    /// Queues a parcel to be proposed, unless it was.
    pub fn enqueue(&mut self, parcel: Parcel) {
        if self.mark_queued(&parcel) {
            self.undelivered.push_back(parcel);
        }
    }

    fn mark_queued(&mut self, parcel: &Parcel) -> bool {
        self.queued[usize::from(parcel.id.origin.0)].insert(parcel.id)
    }

    /// Takes parcels for one proposal, up to `commands_max` commands.
    pub fn next_value(&mut self, commands_max: usize) -> Option<MsgSet> {
        let (mut commands, mut bytes, mut parcels) = (0, 0, Vec::new());
        while let Some(parcel) = self.undelivered.front() {
            commands += parcel.commands.len();
            bytes += parcel.bytes();
            if !parcels.is_empty() && (commands > commands_max || bytes > PROPOSAL_BYTES_MAX) {
                break;
            }
            parcels.extend(self.undelivered.pop_front());
        }
        (!parcels.is_empty()).then(|| Arc::from(parcels))
    }

    /// Whether another proposal may run beside the running ones.
    pub fn has_room(&self, pipeline: usize) -> bool {
        self.proposals.len() < pipeline && self.proposals_bytes < PROPOSALS_BYTES_MAX
    }

    /// Runs a proposal, in place of an aborted one if there is one. Its parcels count as queued.
    pub fn run(&mut self, instance: u64, proposal: Proposal) {
        self.proposals_bytes += msg_set_bytes(&proposal.init);
        for parcel in proposal.init.iter() {
            self.queued[usize::from(parcel.id.origin.0)].insert(parcel.id);
        }
        if let Some(before) = self.proposals.insert(instance, proposal) {
            self.proposals_bytes -= msg_set_bytes(&before.init);
        }
        self.next = self.next.max(instance + 1);
    }

    /// The running proposal of an instance.
    pub fn proposal(&mut self, instance: u64) -> Option<&mut Proposal> {
        self.proposals.get_mut(&instance)
    }

    /// The running proposal of an instance, to look at.
    pub fn running(&self, instance: u64) -> Option<&Proposal> {
        self.proposals.get(&instance)
    }

    /// The running proposals, by instance.
    pub fn proposals(&mut self) -> impl Iterator<Item = (u64, &mut Proposal)> {
        self.proposals.iter_mut().map(|(instance, proposal)| (*instance, proposal))
    }

    /// The values of the running proposals and of the running read.
    pub fn values(&self) -> impl Iterator<Item = &MsgSet> {
        let reading = match &self.read {
            ReadOnwards::Running(reading) => Some(reading.found()),
            ReadOnwards::None | ReadOnwards::Done(_) => None,
        };
        let proposed = self.proposals.values().flat_map(Proposal::values);
        proposed.chain(reading.into_iter().flatten())
    }

    /// An instance is decided: ends its proposal, and queues again what that did not get in.
    pub fn end(&mut self, instance: u64, value: &MsgSet) {
        self.next = self.next.max(instance + 1);
        let Some(proposal) = self.proposals.remove(&instance) else { return };
        self.proposals_bytes -= msg_set_bytes(&proposal.init);
        if !Arc::ptr_eq(&proposal.init, value) && !mutant!(BeatenParcelsLost) {
            let won = |mine: &&Parcel| value.iter().any(|parcel| parcel.id == mine.id);
            let missed = proposal.init.iter().filter(|mine| !won(mine));
            self.undelivered.extend(missed.cloned());
        }
    }

    /// A higher round ends all: what was being decided waits for the next read.
    pub fn abort_all(&mut self) {
        let mut parcels: VecDeque<Parcel> = VecDeque::new();
        for (_, proposal) in std::mem::take(&mut self.proposals) {
            if !mutant!(AbortedParcelsLost) {
                parcels.extend(proposal.init.iter().cloned());
            }
        }
        parcels.append(&mut self.undelivered);
        self.undelivered = parcels;
        self.proposals_bytes = 0;
        self.read = ReadOnwards::None;
        self.fast = None;
    }

    /// A read onwards ended: what is recovered or delivered need not be proposed again.
    pub fn requeue(&mut self, delivered: &[ParcelSet], recovered: &[MsgSet]) {
        let parcels = std::mem::take(&mut self.undelivered);
        self.queued = delivered.to_vec();
        for parcel in recovered.iter().flat_map(|value| value.iter()) {
            self.mark_queued(parcel);
        }
        for parcel in parcels {
            self.enqueue(parcel);
        }
    }
}
