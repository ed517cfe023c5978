//! Ballots: (counter, proposer), unique to one attempt of one proposer.

use std::fmt;

use crate::command::NodeId;

/// A ballot number (§2.1): a counter and the proposer's id, which breaks ties. Above both stands the epoch
/// of the configuration in which it is used, so that the ballots of a configuration are above all of the one
/// before ([`super::members`]).
///
/// In 64 bits, the most significant first: epoch 16, counter 40, proposer 8. A million attempts a second use
/// up 40 bits in twelve days.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Ballot(pub u64);

const PROPOSER_BITS: u32 = 8;
const COUNTER_BITS: u32 = 40;

/// The highest counter.
pub const COUNTER_MAX: u64 = (1 << COUNTER_BITS) - 1;

impl Ballot {
    /// Before all others; nobody uses it.
    pub const ZERO: Ballot = Ballot(0);

    /// The ballot of these parts; the counter must be at least 1 and at most [`COUNTER_MAX`].
    pub fn new(epoch: u16, counter: u64, proposer: NodeId) -> Ballot {
        assert!((1..=COUNTER_MAX).contains(&counter), "counter {counter}");
        let epoch = u64::from(epoch) << (COUNTER_BITS + PROPOSER_BITS);
        Ballot(epoch | counter << PROPOSER_BITS | u64::from(proposer.0))
    }

    /// The configuration's epoch.
    pub fn epoch(self) -> u16 {
        (self.0 >> (COUNTER_BITS + PROPOSER_BITS)) as u16
    }

    /// The counter; 0 only of [`Ballot::ZERO`].
    pub fn counter(self) -> u64 {
        self.0 >> PROPOSER_BITS & COUNTER_MAX
    }

    /// Whose it is.
    pub fn proposer(self) -> NodeId {
        NodeId(self.0 as u8)
    }

    /// Whether it is none.
    pub fn is_zero(self) -> bool {
        self == Ballot::ZERO
    }
}

impl fmt::Display for Ballot {
    /// `3.p1`, and with its epoch `2:3.p1`; `-` for none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.epoch() {
            _ if self.is_zero() => f.write_str("-"),
            0 => write!(f, "{}.{}", self.counter(), self.proposer()),
            epoch => write!(f, "{epoch}:{}.{}", self.counter(), self.proposer()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballots_compare_by_epoch_then_counter_then_proposer() {
        let b = |epoch, counter, proposer| Ballot::new(epoch, counter, NodeId(proposer));
        let ascending = [
            Ballot::ZERO,
            b(0, 1, 0),
            b(0, 1, 200),
            b(0, 2, 0),
            b(0, COUNTER_MAX, 255),
            b(1, 1, 0),
            b(u16::MAX, COUNTER_MAX, 1),
        ];
        assert!(ascending.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_ballot_has_the_parts_that_it_was_made_of() {
        let ballot = Ballot::new(7, 1 << 39, NodeId(12));
        assert_eq!((ballot.epoch(), ballot.counter(), ballot.proposer()), (7, 1 << 39, NodeId(12)));
        assert_eq!(ballot.to_string(), "7:549755813888.p12");
        assert_eq!(Ballot::new(0, 3, NodeId(1)).to_string(), "3.p1");
        assert_eq!(Ballot::ZERO.to_string(), "-");
    }
}
