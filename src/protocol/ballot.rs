//! Rounds: totally ordered attempts, each owned by one replica.

use crate::command::NodeId;

/// A round of "Deconstructing Paxos" §4.1: replica *i* of *n*, counted from 1, owns the rounds
/// *i*, *i+n*, *i+2n*, …; 0 is before all of them.
///
/// Which replica may use a round is what makes the value of a round unique, so an owner must never
/// use one twice for the same instance, not even across a restart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Round(pub u64);

impl Round {
    /// The owner's least round above `self`.
    #[must_use]
    pub fn next_owned(self, owner: NodeId, size: u8) -> Round {
        let (n, i) = (u64::from(size), u64::from(owner.0) + 1);
        let cycles = if self.0 < i { 0 } else { (self.0 - i) / n + 1 };
        Round(i + cycles * n)
    }

    /// Who owns it; nobody owns round 0.
    pub fn owner(self, size: u8) -> Option<NodeId> {
        (self.0 > 0).then(|| NodeId(((self.0 - 1) % u64::from(size)) as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_owns_the_next_round_it_takes_and_no_other_does() {
        for size in 1..=9 {
            for owner in (0..size).map(NodeId) {
                for round in 0..50 {
                    let next = Round(round).next_owned(owner, size);
                    assert!(next > Round(round) && next.0 <= round + u64::from(size));
                    assert_eq!(next.owner(size), Some(owner));
                }
            }
        }
    }
}
