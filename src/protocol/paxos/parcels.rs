//! Sets of parcels: what makes delivery at most once (total order broadcast, validity ii).

use std::collections::BTreeSet;

use super::message::ParcelId;

/// The parcels of one origin that were delivered (or queued), by number.
///
/// *Bounded:* numbers are dense, so all but the out-of-order ones collapse into `floor`. A later
/// incarnation replaces an earlier one, whose stragglers count as held: their origin has forgotten
/// them, and their clients retry. All processes deliver in the same order, so all agree on that.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
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
        if self.contains(id) {
            return false;
        }
        if id.number == self.floor {
            self.floor += 1;
            while self.above.remove(&self.floor) {
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
    fn stragglers_of_an_earlier_incarnation_are_not_new() {
        let mut set = ParcelSet::default();
        assert!(set.insert(id(1, 0)) && set.insert(id(2, 0)));
        assert!(!set.insert(id(1, 1)) && !set.insert(id(2, 0)));
    }
}
