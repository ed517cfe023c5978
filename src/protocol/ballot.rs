//! Rounds: totally ordered attempts, each owned by one replica.

use crate::command::NodeId;

/// A round of "Deconstructing Paxos" §4.1: replica *i* of *n*, counted from 1, owns the rounds
/// *i*, *i+n*, *i+2n*, …; 0 is before all of them.
///
/// Which replica may use a round is what makes the value of a round unique, so an owner must never
/// use one twice for the same instance, not even across a restart.
///
/// Where the replicas change, rounds have an *epoch*, in their upper bits: EPaxos §5.5 writes
/// *epoch.i.R*. Those of an epoch are above all of the one before, and begin with one that nobody owns.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Round(pub u64);

/// Bits of a round below its epoch.
const EPOCH_SHIFT: u32 = 48;

impl Round {
    /// The round before all others of an epoch.
    pub fn first_of(epoch: u16) -> Round {
        Round(u64::from(epoch) << EPOCH_SHIFT)
    }

    /// Its epoch.
    pub fn epoch(self) -> u16 {
        (self.0 >> EPOCH_SHIFT) as u16
    }

    /// Which one of its epoch it is, from 0.
    pub fn in_epoch(self) -> u64 {
        self.0 & ((1 << EPOCH_SHIFT) - 1)
    }

    /// The owner's least round of the same epoch above `self`.
    #[must_use]
    pub fn next_owned(self, owner: NodeId, size: u8) -> Round {
        let (n, i, at) = (u64::from(size), u64::from(owner.0) + 1, self.in_epoch());
        let cycles = if at < i { 0 } else { (at - i) / n + 1 };
        Round(Round::first_of(self.epoch()).0 + i + cycles * n)
    }

    /// Who owns it; nobody owns the first of an epoch.
    pub fn owner(self, size: u8) -> Option<NodeId> {
        let at = self.in_epoch();
        (at > 0).then(|| NodeId(((at - 1) % u64::from(size)) as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_owns_the_next_round_it_takes_and_no_other_does() {
        for size in 1..=9 {
            for owner in (0..size).map(NodeId) {
                for round in (0..50).flat_map(|at| [at, Round::first_of(7).0 + at]) {
                    let next = Round(round).next_owned(owner, size);
                    assert!(next > Round(round) && next.0 <= round + u64::from(size));
                    assert_eq!(next.owner(size), Some(owner));
                    assert_eq!(next.epoch(), Round(round).epoch());
                }
            }
        }
    }

    #[test]
    fn the_rounds_of_an_epoch_are_above_those_of_the_one_before_and_nobody_owns_the_first() {
        let first = Round::first_of(2);
        assert_eq!((first.epoch(), first.in_epoch(), first.owner(3)), (2, 0, None));
        assert!(Round(first.0 - 1) < first && Round(first.0 - 1).epoch() == 1);
    }
}
