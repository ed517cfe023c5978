//! What a process has TO-Delivered, and what it knows to be decided beyond that.
//!
//! *Bounded:* the log keeps what a live process may still ask for, at most
//! `log_instances_max` instances and [`LOG_BYTES_MAX`] bytes; who lags behind it is sent the state.

use std::collections::{BTreeMap, VecDeque};

use super::message::{MsgSet, ParcelId, msg_set_bytes};
use super::parcels::ParcelSet;
use super::register::REGISTERS_MAX;
use crate::mutants::mutant;

/// Bytes of delivered values kept for processes that lag.
pub const LOG_BYTES_MAX: usize = 128 << 20;

/// The paper's TO_delivered, AwaitingToBeDelivered and nextBatch.
#[derive(Clone, Hash, Debug)]
pub struct Deliveries {
    /// The instance of `log[0]`.
    base: u64,
    /// Delivered values, in order.
    log: VecDeque<MsgSet>,
    log_bytes: usize,
    /// Decided values of later instances, while an earlier one is missing.
    awaiting: BTreeMap<u64, MsgSet>,
    /// Delivered parcels, by origin.
    delivered: Vec<ParcelSet>,
}

impl Deliveries {
    /// Nothing delivered, in a cluster of `size`.
    pub fn new(size: u8) -> Self {
        Deliveries {
            base: 0,
            log: VecDeque::new(),
            log_bytes: 0,
            awaiting: BTreeMap::new(),
            delivered: vec![ParcelSet::default(); usize::from(size)],
        }
    }

    /// How many delivered instances the log still holds.
    pub fn log_length(&self) -> usize {
        self.log.len()
    }

    /// The first instance that is not delivered.
    pub fn next_batch(&self) -> u64 {
        self.base + self.log.len() as u64
    }

    /// The delivered parcels, by origin.
    pub fn delivered(&self) -> &[ParcelSet] {
        &self.delivered
    }

    /// Marks a parcel as delivered; says whether it had not been.
    pub fn deliver(&mut self, id: ParcelId) -> bool {
        self.delivered[usize::from(id.origin.0)].insert(id) || mutant!(ParcelDeliveredTwice)
    }

    /// Notes a decision. Two decisions of one instance must agree: that is what consensus is for.
    pub fn decide(&mut self, instance: u64, value: MsgSet) {
        let known = match instance.checked_sub(self.base) {
            None => return,
            Some(offset) => self.log.get(offset as usize).or_else(|| self.awaiting.get(&instance)),
        };
        if let Some(known) = known {
            assert!(*known == value, "agreement violated: two values decided in {instance}");
        } else if instance - self.next_batch() < REGISTERS_MAX {
            self.awaiting.insert(instance, value);
        }
    }

    /// Moves the next decided value to the log, if it is there.
    pub fn next_ready(&mut self) -> Option<(u64, MsgSet)> {
        let instance = self.next_batch();
        let value = match mutant!(DeliveredOutOfOrder) {
            true => self.awaiting.pop_first()?.1,
            false => self.awaiting.remove(&instance)?,
        };
        self.log_bytes += msg_set_bytes(&value);
        self.log.push_back(value.clone());
        Some((instance, value))
    }

    /// The undecided instances before the last one that is decided, and before `below`.
    pub fn gaps(&self, below: u64) -> impl Iterator<Item = u64> + use<> {
        let end = self.awaiting.keys().next_back().copied().unwrap_or(0).max(below);
        let end = end.min(self.next_batch() + REGISTERS_MAX);
        let undecided = |i: &u64| !self.awaiting.contains_key(i);
        let gaps: Vec<u64> = (self.next_batch()..end).filter(undecided).collect();
        gaps.into_iter()
    }

    /// Whether an instance is decided as far as this process knows.
    pub fn is_decided(&self, instance: u64) -> bool {
        instance < self.next_batch() || self.awaiting.contains_key(&instance)
    }

    /// The first instance from `from` on that this process does not know to be decided.
    pub fn first_undecided(&self, from: u64) -> u64 {
        let mut instance = from.max(self.next_batch());
        while self.awaiting.contains_key(&instance) {
            instance += 1;
        }
        instance
    }

    /// Delivered values from `from` on, up to about `bytes_max` but at least one; none if the log no
    /// longer reaches that far back.
    pub fn values(&self, from: u64, bytes_max: usize) -> Option<Vec<MsgSet>> {
        let skip = from.checked_sub(self.base)? as usize;
        let mut bytes = 0;
        let within = |value: &&MsgSet| {
            let first = bytes == 0;
            bytes += msg_set_bytes(value);
            first || bytes <= bytes_max
        };
        Some(self.log.iter().skip(skip).take_while(within).cloned().collect())
    }

    /// Drops values below `floor`, and the oldest beyond the bounds.
    pub fn truncate(&mut self, floor: u64, instances_max: usize) {
        while self.base < floor || self.log.len() > instances_max || self.log_bytes > LOG_BYTES_MAX
        {
            let Some(value) = self.log.pop_front() else { return };
            self.log_bytes -= msg_set_bytes(&value);
            self.base += 1;
        }
    }

    /// The values that are decided but not next.
    pub fn awaiting(&self) -> impl Iterator<Item = &MsgSet> {
        self.awaiting.values()
    }

    /// Takes over from a state transfer: all below `next_batch` is delivered.
    pub fn install(&mut self, next_batch: u64, delivered: Vec<ParcelSet>) {
        self.base = next_batch;
        self.log.clear();
        self.log_bytes = 0;
        self.awaiting = self.awaiting.split_off(&next_batch);
        if !mutant!(DeliveredNotInstalled) {
            self.delivered = delivered;
        }
    }
}
