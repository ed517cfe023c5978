//! Sets of parcels: what makes delivery at most once (total order broadcast, validity ii). And those
//! that wait for this process to lead.

use std::collections::{BTreeSet, VecDeque};

use super::message::{Parcel, ParcelId};
use crate::mutants::mutant;

/// Parcels kept for the case that this process is about to lead.
pub const EARLY_PARCELS_MAX: usize = 4096;

/// Bytes of those parcels, unless a single one is larger.
pub const EARLY_BYTES_MAX: usize = 16 << 20;

/// Parcels of other processes that take this one for the leader before it does. The oldest go first:
/// their origins send them again.
#[derive(Clone, Hash, Debug, Default)]
pub struct Early {
    parcels: VecDeque<Parcel>,
    bytes: usize,
}

impl Early {
    /// Keeps a parcel, at the expense of the oldest if need be.
    pub fn push(&mut self, parcel: Parcel) {
        self.bytes += parcel.bytes();
        self.parcels.push_back(parcel);
        while self.parcels.len() > EARLY_PARCELS_MAX
            || (self.bytes > EARLY_BYTES_MAX && self.parcels.len() > 1)
        {
            let Some(oldest) = self.parcels.pop_front() else { return };
            self.bytes -= oldest.bytes();
        }
    }

    /// Takes all.
    pub fn take(&mut self) -> VecDeque<Parcel> {
        self.bytes = 0;
        std::mem::take(&mut self.parcels)
    }
}

/// The parcels of one origin that were delivered (or queued), by number.
///
/// *Bounded:* numbers are dense, so all but the out-of-order ones collapse into `floor`. A later
/// incarnation replaces an earlier one, whose stragglers count as held: their origin has forgotten
/// them, and their clients retry. All processes deliver in the same order, so all agree on that.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct ParcelSet {
    /// The origin's latest incarnation seen here.
    pub incarnation: u32,
    /// All numbers below are held.
    pub floor: u64,
    /// Numbers held at or above `floor`.
    pub above: BTreeSet<u64>,
}

impl ParcelSet {
    /// Adds a parcel; says whether it was new.
    pub fn insert(&mut self, id: ParcelId) -> bool {
        if id.incarnation > self.incarnation {
            *self = ParcelSet { incarnation: id.incarnation, ..ParcelSet::default() };
        }
        if id.incarnation < self.incarnation && mutant!(StragglerDelivered) {
            return true;
        }
        if self.contains(id) {
            return false;
        }
        if id.number == self.floor {
            self.floor += 1;
            while !mutant!(SetsNotCollapsed) && self.above.remove(&self.floor) {
                self.floor += 1;
            }
        } else {
            self.above.insert(id.number);
        }
        true
    }

    /// Whether it holds the parcel.
    pub fn contains(&self, id: ParcelId) -> bool {
        id.incarnation < self.incarnation
            || (id.incarnation == self.incarnation
                && (id.number < self.floor || self.above.contains(&id.number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::NodeId;

    fn id(incarnation: u32, number: u64) -> ParcelId {
        ParcelId { origin: NodeId(0), incarnation, number }
    }

    #[test]
    fn each_parcel_is_new_once_in_any_order() {
        let mut set = ParcelSet::default();
        for number in [3, 0, 2, 1, 4] {
            assert!(set.insert(id(1, number)) && !set.insert(id(1, number)));
        }
        assert_eq!((set.floor, set.above.len()), (5, 0));
    }

    #[test]
    fn parcels_that_come_early_are_bounded_by_number_and_bytes() {
        use crate::command::{ClientId, Command, CommandId, Key, Operation, Value};
        let value = Value::from_vec(vec![0; 1 << 20]);
        let operation = Operation::Put { key: Key::register(0), value };
        let command_id = CommandId { client: ClientId(0), sequence: 0 };
        let large = Command { id: command_id, answered_below: 0, operation };
        let mut early = Early::default();
        for number in 0..100 {
            early.push(Parcel { id: id(1, number), commands: [large.clone()].into() });
        }
        let kept = early.take();
        assert_eq!((kept.len(), kept[0].id.number), (15, 85));
        for number in 0..5000 {
            early.push(Parcel { id: id(1, number), commands: [].into() });
        }
        assert_eq!(early.take().len(), EARLY_PARCELS_MAX);
    }

    #[test]
    fn stragglers_of_an_earlier_incarnation_are_not_new() {
        let mut set = ParcelSet::default();
        assert!(set.insert(id(1, 0)) && set.insert(id(2, 0)));
        assert!(!set.insert(id(1, 1)) && !set.insert(id(2, 0)));
    }
}
