//! Rounds: `⟨MCount:mCount, Id, RType, S⟩` (§4.4).

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use crate::command::NodeId;
use crate::protocol::quorum::{NodeSet, majority};

/// *RType*: who may put commands into a round's values.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RType {
    /// Its creator begins it, then acceptors take proposals from proposers.
    Fast,
    /// The same, but each acceptor is a coordinator quorum by itself, and begins it for itself: what
    /// uncoordinated recovery leads to (§4.2).
    Uncoordinated,
    /// A majority of its coordinators.
    Multi,
    /// Its creator alone.
    Single,
}

/// A round. Two rounds are compared by all but *S*, which comes with them as information: no two rounds
/// differ in *S* alone.
///
/// Who creates one never does so twice with the same fields: *MCount* is above that of its life before the
/// last crash, and within a life *mCount* rises. The one exception is [`Round::next`], which is a
/// function of the round before it.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// *MCount*: rises when a replica restarts. Replicas have it on disk.
    pub major: u32,
    /// *mCount*.
    pub minor: u32,
    /// *Id*: who created it.
    pub creator: NodeId,
    /// *RType*.
    pub kind: RType,
    /// *S*: its coordinators.
    pub coordinators: NodeSet,
}

impl Round {
    /// The round before all others, in which nothing happens.
    pub const ZERO: Round = Round::first_of(0);

    /// The round before all others of an *MCount*.
    pub const fn first_of(major: u32) -> Round {
        Round {
            major,
            minor: 0,
            creator: NodeId(0),
            kind: RType::Fast,
            coordinators: NodeSet::NONE,
        }
    }

    /// A single-coordinated round.
    pub fn single(major: u32, minor: u32, creator: NodeId) -> Round {
        let coordinators = [creator].into_iter().collect();
        Round { major, minor, creator, kind: RType::Single, coordinators }
    }

    /// Whether it is the round before all others.
    pub fn is_zero(&self) -> bool {
        *self == Round::ZERO
    }

    /// Whether acceptors take proposals from proposers in it.
    pub fn is_fast(&self) -> bool {
        matches!(self.kind, RType::Fast | RType::Uncoordinated)
    }

    /// How many of its coordinators are a quorum.
    pub fn coordinator_quorum(&self) -> usize {
        match self.kind {
            RType::Multi => majority(self.coordinators.len()),
            RType::Fast | RType::Uncoordinated | RType::Single => 1,
        }
    }

    /// *i + 1*: where a collision in this round leads (§4.2). Everybody must come to the same without a word.
    /// `uncoordinated` is for a first collision in a fast round.
    #[must_use]
    pub fn next(&self, uncoordinated: bool, acceptors: NodeSet) -> Round {
        let minor = self.minor.saturating_add(1);
        match self.kind {
            RType::Fast if uncoordinated => {
                Round { minor, kind: RType::Uncoordinated, coordinators: acceptors, ..*self }
            }
            _ => Round::single(self.major, minor, self.creator),
        }
    }

    fn key(&self) -> (u32, u32, NodeId, RType) {
        (self.major, self.minor, self.creator, self.kind)
    }
}

impl PartialEq for Round {
    fn eq(&self, other: &Round) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Round {}

impl PartialOrd for Round {
    fn partial_cmp(&self, other: &Round) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Round {
    /// Lexicographic; the appendix' ≺ is not (B.5 compares the second field even where the first decides).
    fn cmp(&self, other: &Round) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Hash for Round {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(major: u32, minor: u32, creator: u8, kind: RType) -> Round {
        let coordinators = NodeSet::all(3);
        Round { major, minor, creator: NodeId(creator), kind, coordinators }
    }

    #[test]
    fn rounds_are_ordered_by_their_fields_from_the_first_to_the_last() {
        let ascending = [
            Round::ZERO,
            round(0, 1, 2, RType::Single),
            round(0, 2, 0, RType::Fast),
            round(0, 2, 0, RType::Uncoordinated),
            round(0, 2, 0, RType::Multi),
            round(0, 2, 0, RType::Single),
            round(0, 2, 1, RType::Fast),
            round(1, 0, 0, RType::Fast),
            round(1, 1, 0, RType::Fast),
        ];
        for pair in ascending.windows(2) {
            assert!(pair[0] < pair[1], "{pair:?}");
        }
        assert!(round(1, 0, 0, RType::Fast) > round(0, 9, 9, RType::Single));
    }

    #[test]
    fn the_set_of_coordinators_tells_no_rounds_apart() {
        let one = round(1, 2, 0, RType::Multi);
        assert_eq!(one, Round { coordinators: NodeSet::NONE, ..one });
    }

    #[test]
    fn the_next_round_is_the_creators_own_and_above() {
        for kind in [RType::Fast, RType::Uncoordinated, RType::Multi, RType::Single] {
            let one = round(3, 4, 1, kind);
            let next = one.next(false, NodeSet::all(3));
            assert_eq!(next, Round::single(3, 5, NodeId(1)));
            assert!(next > one && next.coordinators.iter().eq([NodeId(1)]));
        }
        let fast = round(3, 4, 1, RType::Fast);
        let again = fast.next(true, NodeSet::all(5));
        assert!(again.kind == RType::Uncoordinated && again > fast && again.is_fast());
        assert_eq!(again.coordinators.len(), 5);
        assert_eq!(again.next(true, NodeSet::all(5)).kind, RType::Single);
    }

    #[test]
    fn any_two_coordinator_quorums_of_a_round_intersect() {
        for n in 1..=9 {
            let many = Round { coordinators: NodeSet::all(n), ..round(1, 1, 0, RType::Multi) };
            assert!(2 * many.coordinator_quorum() > usize::from(n));
        }
    }
}
