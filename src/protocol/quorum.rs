//! Sets of replicas and their sizes.

use crate::command::NodeId;

/// A set of replicas, as bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct NodeSet(u64);

impl NodeSet {
    /// No replica.
    pub const NONE: NodeSet = NodeSet(0);

    /// All replicas of a cluster of `size`.
    pub fn all(size: u8) -> NodeSet {
        (0..size).map(NodeId).collect()
    }

    /// The replicas that it holds, in their order.
    pub fn iter(self) -> impl Iterator<Item = NodeId> {
        (0..64).map(NodeId).filter(move |node| self.contains(*node))
    }

    /// Those that both hold.
    #[must_use]
    pub fn and(self, other: NodeSet) -> NodeSet {
        NodeSet(self.0 & other.0)
    }

    /// Those that one of them holds.
    #[must_use]
    pub fn or(self, other: NodeSet) -> NodeSet {
        NodeSet(self.0 | other.0)
    }

    /// Those that the other does not hold.
    #[must_use]
    pub fn minus(self, other: NodeSet) -> NodeSet {
        NodeSet(self.0 & !other.0)
    }

    /// All but one replica.
    #[must_use]
    pub fn without(self, node: NodeId) -> NodeSet {
        NodeSet(self.0 & !(1 << node.0))
    }

    /// The set whose members' bits are set: bit 0 for replica 0.
    pub fn from_bits(bits: u64) -> NodeSet {
        NodeSet(bits)
    }

    /// Its members' bits, as in [`NodeSet::from_bits`].
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether all its members are among the `size` replicas of a cluster.
    pub fn is_within(self, size: u8) -> bool {
        self.0.checked_shr(u32::from(size)).is_none_or(|beyond| beyond == 0)
    }

    /// Adds a replica; says whether it was new.
    pub fn insert(&mut self, node: NodeId) -> bool {
        let before = self.0;
        self.0 |= 1 << node.0;
        self.0 != before
    }

    /// Whether it holds the replica.
    pub fn contains(self, node: NodeId) -> bool {
        self.0 & (1 << node.0) != 0
    }

    /// How many it holds.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether it holds none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> NodeSet {
        let mut set = NodeSet::default();
        for node in nodes {
            set.insert(node);
        }
        set
    }
}

/// The size of a majority of `n` replicas: any two of them intersect.
pub fn majority(n: usize) -> usize {
    n / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_two_majorities_intersect_and_one_survives_a_minority_of_crashes() {
        for n in 1..=13 {
            assert!(2 * majority(n) > n);
            assert!(n - (n - 1) / 2 >= majority(n));
        }
    }

    #[test]
    fn a_set_holds_what_was_inserted() {
        let mut set = NodeSet::default();
        assert!(set.is_empty());
        assert!(set.insert(NodeId(3)) && !set.insert(NodeId(3)));
        assert!(set.contains(NodeId(3)) && !set.contains(NodeId(2)));
        assert_eq!(set.len(), 1);
        let four = NodeSet::all(4);
        assert_eq!(four.minus(set).iter().collect::<Vec<_>>(), [0, 1, 2].map(NodeId));
        assert_eq!(four.and(set), set);
        assert_eq!(four.without(NodeId(3)), four.minus(set));
    }

    #[test]
    fn a_set_is_its_bits_and_within_a_cluster_that_has_its_last_member() {
        let set = NodeSet::from_bits(0b1010);
        assert_eq!(set.iter().collect::<Vec<_>>(), [NodeId(1), NodeId(3)]);
        assert_eq!(set.bits(), 0b1010);
        assert!(set.is_within(4) && !set.is_within(3));
        let last = NodeSet::from_bits(1 << 63);
        assert!(last.is_within(64) && last.is_within(200) && !last.is_within(63));
    }
}
