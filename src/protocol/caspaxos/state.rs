//! What a register holds, and whose changes are in it.

use smallvec::SmallVec;

use super::ballot::Ballot;
use crate::command::{NodeId, Value};

/// What a register holds. The empty state ∅ of the paper has no value; so has a tombstone.
#[derive(PartialEq, Eq, Hash, Debug, Default)]
pub struct State {
    /// The value.
    pub value: Option<Value>,
    /// Whose changes led to it.
    pub marks: Marks,
}

impl Clone for State {
    /// Bytes are copied at once; a [`smallvec::SmallVec`] clones them one by one.
    fn clone(&self) -> Self {
        State { value: self.value.as_deref().map(Value::from_slice), marks: self.marks.clone() }
    }
}

/// For each proposer whose changes led to a state, but the one that wrote it: the ballot of its last one.
///
/// A proposer that does not know what became of its attempt finds here whether the attempt is among the
/// ancestors of what it reads: so a change is applied once however often it is tried. A register that one
/// proposer writes has no marks.
///
/// *Bounded:* by the number of proposers, and one for what was forgotten.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Marks(Option<Box<SmallVec<[Ballot; 4]>>>);

/// Stands for a proposer in the mark that says below which ballot everything was forgotten when the register
/// was removed.
const FORGOTTEN: NodeId = NodeId(u8::MAX);

impl Marks {
    /// These, which must be of different proposers.
    pub fn of(marks: impl IntoIterator<Item = Ballot>) -> Marks {
        let mut marks: SmallVec<[Ballot; 4]> = marks.into_iter().collect();
        marks.sort_unstable_by_key(|mark| mark.proposer());
        if marks.is_empty() { Marks(None) } else { Marks(Some(Box::new(marks))) }
    }

    /// All of them, by proposer.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Ballot> + '_ {
        self.0.as_deref().map_or(&[][..], |marks| &marks[..]).iter().copied()
    }

    /// The last change of a proposer.
    pub fn of_proposer(&self, proposer: NodeId) -> Option<Ballot> {
        self.iter().find(|mark| mark.proposer() == proposer)
    }

    /// Nothing is known of changes in this ballot or below: the register was removed since.
    pub fn forgotten(&self) -> Ballot {
        self.of_proposer(FORGOTTEN).unwrap_or_default()
    }

    /// The marks of what `proposer` makes of a state with these marks, which was written in `base`.
    #[must_use]
    pub fn after(&self, base: Ballot, proposer: NodeId) -> Marks {
        let own = base.proposer() == proposer;
        if self.0.is_none() && own {
            return Marks(None);
        }
        let others = |mark: &Ballot| ![proposer, base.proposer()].contains(&mark.proposer());
        Marks::of(self.iter().filter(others).chain((!own).then_some(base)))
    }

    /// The marks of a register that comes into being, where nothing is known of ballots up to `floor`.
    pub fn forgetting(floor: Ballot) -> Marks {
        if floor.is_zero() {
            return Marks(None);
        }
        Marks::of([Ballot::new(floor.epoch(), floor.counter(), FORGOTTEN)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ballot(counter: u64, proposer: u8) -> Ballot {
        Ballot::new(0, counter, NodeId(proposer))
    }

    #[test]
    fn a_register_with_one_writer_has_no_marks() {
        assert_eq!(Marks::default().after(ballot(1, 1), NodeId(1)), Marks::default());
    }

    #[test]
    fn the_last_change_of_every_other_writer_is_marked() {
        let second = Marks::default().after(ballot(1, 1), NodeId(2));
        assert_eq!(second.of_proposer(NodeId(1)), Some(ballot(1, 1)));
        let third = second.after(ballot(2, 2), NodeId(1));
        assert_eq!(third.iter().collect::<Vec<_>>(), [ballot(2, 2)]);
        let fourth = third.after(ballot(3, 1), NodeId(0));
        assert_eq!(fourth.iter().collect::<Vec<_>>(), [ballot(3, 1), ballot(2, 2)]);
    }

    #[test]
    fn what_was_forgotten_stays_marked_whoever_writes() {
        let born = Marks::forgetting(ballot(7, 2));
        assert!(born.forgotten() > ballot(7, 2) && born.forgotten() < ballot(8, 0));
        let later = born.after(ballot(9, 1), NodeId(3)).after(ballot(10, 3), NodeId(1));
        assert_eq!(later.forgotten(), born.forgotten());
        assert_eq!(Marks::forgetting(Ballot::ZERO), Marks::default());
    }
}
