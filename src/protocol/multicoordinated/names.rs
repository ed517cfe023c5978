//! Names of proposed commands, and sequences, maps and sets of them that need no hashing.
//!
//! A proposer numbers its commands, and what travels and is compared are these numbers: a history is a
//! sequence of [`Run`]s, each as many commands as a proposer proposed in a row. Numbers of one life of a
//! proposer are dense, so maps are arrays.

use std::collections::VecDeque;
use std::hash::Hash;

use crate::command::NodeId;

/// Bits of a number below the life of its proposer.
const LIFE_SHIFT: u32 = 32;

/// Names a proposed command for ever: the proposer's `number`-th. The upper half of the number is the
/// proposer's life, its *MCount* when it started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Name {
    /// Who proposed it.
    pub proposer: NodeId,
    /// Which of its proposals.
    pub number: u64,
}

impl Name {
    /// The first number of a life.
    pub fn first_of_life(life: u32) -> u64 {
        u64::from(life) << LIFE_SHIFT
    }
}

fn life(number: u64) -> u64 {
    number >> LIFE_SHIFT
}

/// Names in a row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Run {
    /// Who proposed them.
    pub proposer: NodeId,
    /// The first one's number.
    pub first: u64,
    /// How many there are, at least one.
    pub count: u32,
}

impl Run {
    /// One name.
    pub fn of(name: Name) -> Run {
        Run { proposer: name.proposer, first: name.number, count: 1 }
    }

    /// The names, in order.
    pub fn names(self) -> impl Iterator<Item = Name> {
        let Run { proposer, first, count } = self;
        (first..first + u64::from(count)).map(move |number| Name { proposer, number })
    }

    /// Whether a name is one of them.
    pub fn contains(self, name: Name) -> bool {
        let end = self.first + u64::from(self.count);
        name.proposer == self.proposer && (self.first..end).contains(&name.number)
    }

    /// Those from the `skip`-th on, at most `count`.
    #[must_use]
    pub fn part(self, skip: u64, count: u64) -> Run {
        let left = u64::from(self.count) - skip;
        Run { first: self.first + skip, count: left.min(count) as u32, ..self }
    }

    fn continues(self, last: Run) -> bool {
        let next = last.first + u64::from(last.count);
        self.proposer == last.proposer
            && self.first == next
            && last.count.checked_add(self.count).is_some()
    }
}

/// A sequence of names, as runs: any representation of a history (§3.3.1).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Names {
    runs: Vec<Run>,
    /// Where each run ends.
    ends: Vec<u64>,
}

impl Names {
    /// How many names there are.
    pub fn len(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The runs, in order.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Appends a run.
    pub fn push(&mut self, run: Run) {
        debug_assert!(run.count > 0, "a run holds something");
        let end = self.len() + u64::from(run.count);
        match (self.runs.last_mut(), self.ends.last_mut()) {
            (Some(last), Some(last_end)) if run.continues(*last) => {
                last.count += run.count;
                *last_end = end;
            }
            _ => {
                self.runs.push(run);
                self.ends.push(end);
            }
        }
    }

    /// Appends one name.
    pub fn push_name(&mut self, name: Name) {
        self.push(Run::of(name));
    }

    /// The runs from one position to another.
    pub fn between(&self, from: u64, to: u64) -> impl Iterator<Item = Run> {
        let first = self.ends.partition_point(|end| *end <= from);
        let mut at = from;
        (first..self.runs.len()).map_while(move |index| {
            if at >= to {
                return None;
            }
            let begin = if index == 0 { 0 } else { self.ends[index - 1] };
            let part = self.runs[index].part(at - begin, to - at);
            at += u64::from(part.count);
            Some(part)
        })
    }

    /// All names, in order.
    pub fn iter(&self) -> impl Iterator<Item = Name> {
        self.runs.iter().flat_map(|run| run.names())
    }
}

impl FromIterator<Run> for Names {
    fn from_iter<I: IntoIterator<Item = Run>>(runs: I) -> Names {
        let mut names = Names::default();
        runs.into_iter().for_each(|run| names.push(run));
        names
    }
}

/// Values of one life of one proposer, from a number on.
#[derive(Clone, Hash, Debug)]
struct Segment<T> {
    first: u64,
    items: VecDeque<T>,
}

/// A map from names; what was never set is `T::default()`.
#[derive(Clone, Hash, Debug)]
pub struct NameMap<T> {
    /// By proposer: its lives, ascending; mostly one.
    rows: Vec<Vec<Segment<T>>>,
}

impl<T: Copy + Default> NameMap<T> {
    /// An empty map of the names of so many proposers.
    pub fn new(size: u8) -> NameMap<T> {
        NameMap { rows: (0..size).map(|_| Vec::new()).collect() }
    }

    /// What a name is mapped to.
    pub fn get(&self, name: Name) -> T {
        let Some(segment) = self.segment(name) else { return T::default() };
        let offset = name.number.checked_sub(segment.first);
        let item = offset.and_then(|offset| segment.items.get(offset as usize));
        item.copied().unwrap_or_default()
    }

    /// Maps a name, and returns what it was mapped to before.
    pub fn set(&mut self, name: Name, value: T) -> T {
        std::mem::replace(self.slot(name), value)
    }

    /// Where the value of a name stands.
    pub fn slot(&mut self, name: Name) -> &mut T {
        let row = &mut self.rows[usize::from(name.proposer.0)];
        let at = row.partition_point(|segment| life(segment.first) < life(name.number));
        if row.get(at).is_none_or(|segment| life(segment.first) != life(name.number)) {
            row.insert(at, Segment { first: name.number, items: VecDeque::new() });
        }
        let segment = &mut row[at];
        while name.number < segment.first {
            segment.items.push_front(T::default());
            segment.first -= 1;
        }
        let offset = (name.number - segment.first) as usize;
        if segment.items.len() <= offset {
            segment.items.resize(offset + 1, T::default());
        }
        &mut segment.items[offset]
    }

    fn segment(&self, name: Name) -> Option<&Segment<T>> {
        let row = &self.rows[usize::from(name.proposer.0)];
        row.iter().rev().find(|segment| life(segment.first) == life(name.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(proposer: u8, first: u64, count: u32) -> Run {
        Run { proposer: NodeId(proposer), first, count }
    }

    fn name(proposer: u8, number: u64) -> Name {
        Name { proposer: NodeId(proposer), number }
    }

    #[test]
    fn runs_that_continue_each_other_become_one() {
        let names: Names =
            [run(0, 5, 2), run(0, 7, 1), run(1, 8, 1), run(0, 8, 3)].into_iter().collect();
        assert_eq!(names.runs(), [run(0, 5, 3), run(1, 8, 1), run(0, 8, 3)]);
        assert_eq!(names.len(), 7);
        assert_eq!(names.iter().count(), 7);
    }

    #[test]
    fn a_part_of_a_sequence_is_what_stands_there() {
        let names: Names = [run(0, 0, 3), run(1, 0, 2), run(0, 3, 4)].into_iter().collect();
        let all: Vec<Name> = names.iter().collect();
        for from in 0..=9 {
            for to in from..=9 {
                let part: Vec<Name> = names.between(from, to).flat_map(Run::names).collect();
                assert_eq!(part, all[from as usize..to as usize], "{from}..{to}");
            }
        }
    }

    #[test]
    fn a_map_holds_what_was_set_in_any_order_and_of_any_life() {
        let mut map: NameMap<u32> = NameMap::new(2);
        let later = Name::first_of_life(7);
        for (at, value) in
            [(name(0, 9), 1), (name(0, 4), 2), (name(1, later + 3), 3), (name(1, 0), 4)]
        {
            assert_eq!(map.set(at, value), 0);
        }
        assert_eq!(map.get(name(0, 9)), 1);
        assert_eq!(map.get(name(0, 4)), 2);
        assert_eq!(map.get(name(0, 5)), 0);
        assert_eq!(map.get(name(0, 3)), 0);
        assert_eq!(map.get(name(1, later + 3)), 3);
        assert_eq!(map.get(name(1, 0)), 4);
        assert_eq!(map.set(name(0, 4), 5), 2);
    }
}
