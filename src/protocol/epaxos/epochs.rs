//! Who the members are, and since which instances (§5.5).
//!
//! The members of an epoch are as many as those of the one before; at most one is another. Every instance
//! belongs to one epoch, by its number alone: a decision on the next epoch (`joining`) says for each
//! replica which of its instances is the first of it. The quorums of an instance are those of its epoch.

use super::deps::{Deps, PerNode};
use super::message::InstanceId;
use crate::command::NodeId;
use crate::protocol::Cluster;
use crate::protocol::quorum::NodeSet;

/// Epochs at most: they have 16 bits of a ballot.
pub const EPOCH_MAX: u16 = u16::MAX - 1;

/// A replica that joins, and the one in whose place it does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Replacement {
    /// Who joins.
    pub joiner: NodeId,
    /// Who is a member no longer.
    pub leaver: NodeId,
}

/// The step from an epoch to the next.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Change {
    /// Who joins in whose place. None if the members stay: somebody wanted to join, and was not heard of
    /// again.
    pub replacement: Option<Replacement>,
    /// By replica: the first of its instances that belongs to the new epoch.
    pub from: PerNode,
}

/// All epochs so far, from 0.
#[derive(Clone, Hash, Debug)]
pub struct Epochs {
    /// The members of each.
    members: Vec<NodeSet>,
    /// What led to each but the first.
    changes: Vec<Change>,
    /// By replica: the first instance of the latest epoch.
    barrier: PerNode,
}

impl Epochs {
    /// Epoch 0: all but the spares are members.
    pub fn new(cluster: Cluster) -> Epochs {
        Epochs {
            members: vec![NodeSet::all(cluster.members() as u8)],
            changes: Vec::new(),
            barrier: PerNode::from_elem(0, usize::from(cluster.size)),
        }
    }

    /// The latest epoch.
    pub fn latest(&self) -> u16 {
        self.changes.len() as u16
    }

    /// The members of an epoch that has begun.
    pub fn members_of(&self, epoch: u16) -> NodeSet {
        self.members[usize::from(epoch)]
    }

    /// The members of the latest epoch.
    pub fn members(&self) -> NodeSet {
        self.members_of(self.latest())
    }

    /// What led to the latest epoch, one change an epoch.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// By replica: the first of its instances that belongs to the latest epoch. All commands of that epoch
    /// depend on all instances before.
    pub fn barrier(&self) -> &PerNode {
        &self.barrier
    }

    /// The epoch of an instance.
    pub fn of(&self, id: InstanceId) -> u16 {
        let place = usize::from(id.owner.0);
        let later = |change: &Change| id.number >= change.from[place];
        self.changes.iter().rposition(later).map_or(0, |at| at as u16 + 1)
    }

    /// The members of the epoch of an instance: those who vote in it.
    pub fn voters(&self, id: InstanceId) -> NodeSet {
        self.members_of(self.of(id))
    }

    /// Takes out of what an instance of an epoch depends on what belongs to a later one: all of that depends
    /// on it already.
    pub fn leave_out_later(&self, epoch: u16, deps: &mut Deps) {
        let Some(change) = self.changes.get(usize::from(epoch)) else { return };
        for (prefix, first) in deps.prefix.iter_mut().zip(&change.from) {
            *prefix = (*prefix).min(*first);
        }
        deps.ids.retain(|id| id.number < change.from[usize::from(id.owner.0)]);
    }

    /// Whether a replica is or was a member.
    pub fn has_known(&self, node: NodeId) -> bool {
        self.members.iter().any(|members| members.contains(node))
    }

    /// Whether the latest members may be changed in this way: the identity of who joins is new.
    pub fn may_follow(&self, replacement: Option<Replacement>) -> bool {
        let fits =
            |it: Replacement| !self.has_known(it.joiner) && self.members().contains(it.leaver);
        self.latest() < EPOCH_MAX && replacement.is_none_or(fits)
    }

    /// The next epoch begins.
    pub fn push(&mut self, change: Change) {
        let mut members = self.members();
        if let Some(Replacement { joiner, leaver }) = change.replacement {
            members = members.without(leaver);
            members.insert(joiner);
        }
        self.members.push(members);
        self.barrier.clone_from(&change.from);
        self.changes.push(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: Cluster = Cluster { size: 5, spares: 2 };

    fn replacement(joiner: u8, leaver: u8) -> Replacement {
        Replacement { joiner: NodeId(joiner), leaver: NodeId(leaver) }
    }

    fn id(owner: u8, number: u64) -> InstanceId {
        InstanceId { owner: NodeId(owner), number }
    }

    fn nodes(nodes: &[u8]) -> NodeSet {
        nodes.iter().copied().map(NodeId).collect()
    }

    fn twice_changed() -> Epochs {
        let mut epochs = Epochs::new(CLUSTER);
        let from = |numbers: [u64; 5]| PerNode::from_slice(&numbers);
        epochs.push(Change { replacement: Some(replacement(3, 1)), from: from([7, 4, 0, 0, 0]) });
        epochs.push(Change { replacement: Some(replacement(4, 3)), from: from([9, 4, 2, 5, 0]) });
        epochs
    }

    #[test]
    fn an_instance_belongs_to_the_last_epoch_that_begins_no_later() {
        let epochs = twice_changed();
        assert_eq!((epochs.latest(), epochs.members()), (2, nodes(&[0, 2, 4])));
        let epoch_of = [(id(0, 6), 0), (id(0, 7), 1), (id(0, 8), 1), (id(0, 9), 2), (id(4, 0), 2)];
        for (id, epoch) in epoch_of {
            assert_eq!(epochs.of(id), epoch, "{id}");
        }
        assert_eq!(epochs.of(id(1, 3)), 0);
        assert_eq!(epochs.of(id(1, 4)), 2, "no instance of it belongs to epoch 1");
        assert_eq!(epochs.voters(id(0, 6)), nodes(&[0, 1, 2]));
        assert_eq!(epochs.voters(id(0, 8)), nodes(&[0, 3, 2]));
        assert_eq!(epochs.barrier().as_slice(), [9, 4, 2, 5, 0]);
    }

    #[test]
    fn who_was_a_member_never_joins_again_and_only_a_member_is_replaced() {
        let epochs = twice_changed();
        for (joiner, leaver) in [(1, 0), (3, 0), (0, 2)] {
            assert!(!epochs.may_follow(Some(replacement(joiner, leaver))), "{joiner} was a member");
        }
        let fresh = Epochs::new(CLUSTER);
        assert!(fresh.may_follow(Some(replacement(4, 0))) && fresh.may_follow(None));
        assert!(!fresh.may_follow(Some(replacement(4, 3))), "3 is no member");
    }
}
