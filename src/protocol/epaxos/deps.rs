//! What a command depends on (§5.1, *deps*), and what follows from it.
//!
//! Keeping only the latest interfering command of a key is not enough: it counts on the *committed*
//! dependencies of that command, and what a replica computed for it need not be those. So dependencies
//! are written down in full, in one of two ways ([`super::options::Dependencies`]), with one meaning:
//!
//! - `prefix[R] = i`: every instance *R.j*, *j* < *i*. It is executed first, or with it.
//! - `ids`: these, too.
//! - `settled[R] = i`: of the instances *R.j*, *j* < *i*, every one that interferes is reachable from the
//!   above through committed commands, as the owner had executed all of them when it proposed. Nothing
//!   waits for them; they are only known not to be missing.
//!
//! An instance for which one of these holds is *covered*. Two interfering commands that are committed
//! must not leave each other uncovered.

use std::sync::Arc;

use smallvec::SmallVec;

use super::message::InstanceId;

/// A number for each replica, in the order of their ids.
pub type PerNode = SmallVec<[u64; 5]>;

/// Dependencies of one command.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Deps {
    /// By replica: depends on all its instances with a lower number.
    pub prefix: PerNode,
    /// By replica: all its interfering instances with a lower number are behind those that are named.
    /// Part of what the owner proposes; who answers it leaves it as it is.
    pub settled: PerNode,
    /// Further instances, ascending, each once, none below `prefix`.
    pub ids: Vec<InstanceId>,
}

/// The attributes of a command (§5.1): what it depends on, and its approximate sequence number, which
/// is 0 where the variant has none.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Attributes {
    /// *seq*
    pub seq: u64,
    /// *deps*
    pub deps: Arc<Deps>,
}

impl Deps {
    /// None, in a cluster of `size` replicas.
    pub fn none(size: u8) -> Deps {
        let zeros = PerNode::from_elem(0, usize::from(size));
        Deps { prefix: zeros.clone(), settled: zeros, ids: Vec::new() }
    }

    /// Whether the command is ordered after this instance, or with it, if they interfere.
    pub fn covers(&self, id: InstanceId) -> bool {
        id.number < self.covered_below(usize::from(id.owner.0))
            || self.ids.binary_search(&id).is_ok()
    }

    /// Below which number all instances of a replica are covered.
    pub fn covered_below(&self, owner: usize) -> u64 {
        self.prefix[owner].max(self.settled[owner])
    }

    /// Adds all that `other` depends on (*Union* of §5.1, line 16). Both answer the same proposal, so
    /// they agree on what is settled.
    pub fn unite(&mut self, other: &Deps) {
        for (mine, theirs) in self.prefix.iter_mut().zip(&other.prefix) {
            *mine = (*mine).max(*theirs);
        }
        self.ids.extend_from_slice(&other.ids);
        self.tidy();
    }

    /// Sorts the instances, and drops those that are named twice or are below the prefix.
    pub fn tidy(&mut self) {
        self.ids.sort_unstable();
        self.ids.dedup();
        let prefix = &self.prefix;
        self.ids.retain(|id| id.number >= prefix[usize::from(id.owner.0)]);
    }

    /// Whether all that `other` depends on is among these.
    pub fn contains(&self, other: &Deps) -> bool {
        let prefixes = self.prefix.iter().zip(&other.prefix).all(|(mine, theirs)| mine >= theirs);
        prefixes && other.ids.iter().all(|id| self.covers(*id))
    }
}

impl Attributes {
    /// Of a no-op: it depends on nothing, and nothing on it.
    pub fn none(size: u8) -> Attributes {
        Attributes { seq: 0, deps: Arc::new(Deps::none(size)) }
    }

    /// Adds what `other` depends on, and takes the higher sequence number (§5.1, lines 16 and 17).
    pub fn unite(&mut self, other: &Attributes) {
        self.seq = self.seq.max(other.seq);
        if !Arc::ptr_eq(&self.deps, &other.deps) && self.deps != other.deps {
            Arc::make_mut(&mut self.deps).unite(&other.deps);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::NodeId;

    fn id(owner: u8, number: u64) -> InstanceId {
        InstanceId { owner: NodeId(owner), number }
    }

    #[test]
    fn an_instance_is_covered_by_a_prefix_by_what_is_settled_or_by_name() {
        let mut deps = Deps::none(3);
        deps.prefix[0] = 4;
        deps.settled[1] = 2;
        deps.ids = vec![id(1, 7), id(2, 0)];
        let covered = [id(0, 3), id(1, 1), id(1, 7), id(2, 0)];
        assert!(covered.into_iter().all(|id| deps.covers(id)));
        let not = [id(0, 4), id(1, 2), id(1, 6), id(1, 8), id(2, 1)];
        assert!(!not.into_iter().any(|id| deps.covers(id)));
    }

    #[test]
    fn a_union_holds_both_once_and_nothing_below_its_prefix() {
        let mut deps = Deps::none(2);
        deps.ids = vec![id(0, 3), id(1, 1)];
        let mut other = Deps::none(2);
        other.prefix[1] = 2;
        other.ids = vec![id(0, 1), id(0, 3)];
        let before = deps.clone();
        deps.unite(&other);
        assert_eq!(deps.ids, [id(0, 1), id(0, 3)]);
        assert_eq!(deps.prefix.as_slice(), [0, 2]);
        assert!(deps.contains(&before) && deps.contains(&other) && !before.contains(&deps));
    }
}
