//! Command histories: sequences of which only the order of interfering commands counts.
//!
//! A history is a directed graph, an edge from each command to those that come after it and interfere with it
//! (Lamport §4.4), and v ⊑ w if v is a part of w that every predecessor of its commands is in. The edges need
//! not be kept. A command's predecessors in a class are all earlier writes of it, and, for a command that
//! writes, all earlier reads. So each class is a chain of writes with unordered reads in between, and *how
//! many* writes and reads come before a command is its *place* in the chain.
//!
//! Places say everything. If each command of v is in w at the same places, v ⊑ w: its writes
//! of a class are numbered 0 to k in both, hence the same; its reads lie between the same writes; and as many
//! reads before a write are the same reads, since those of v are among those of w. Equality is that both ways.
//!
//! Two histories are *compatible* if all common commands have the same predecessors in both, and no private
//! command of one interferes with a private command of the other. (Lamport §4.4 has the common subgraphs
//! identical instead. With A ≍ B that holds of ⟨A, B⟩ and ⟨B⟩, which nothing extends.)
//!
//! In other words: what they have beyond their glb does not interfere. For a common command that is not in it
//! has, in one of the two, a predecessor that is not; there the predecessor is left over, in the other the
//! command is, and they interfere.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::{Access, Interferes, Structure};

/// Commands that touch a class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Count {
    writes: usize,
    reads: usize,
}

impl Count {
    fn add(&mut self, access: Access) {
        match access {
            Access::Reads => self.reads += 1,
            Access::Writes => self.writes += 1,
        }
    }

    fn minus(self, part: Count) -> Count {
        Count { writes: self.writes - part.writes, reads: self.reads - part.reads }
    }

    fn is_none(self) -> bool {
        self == Count::default()
    }

    /// Whether some of these interfere with some of those.
    fn interferes(self, other: Count) -> bool {
        (self.writes > 0 && !other.is_none()) || (other.writes > 0 && !self.is_none())
    }
}

/// A command's predecessors, counted in each class that it touches.
type Places = SmallVec<[Count; 2]>;

/// A command history (Lamport §4.4), in which a command occurs once.
#[derive(Clone, Debug)]
pub struct History<C: Interferes> {
    /// One of the sequences that make this history.
    commands: Vec<C>,
    places: BTreeMap<C::Id, Places>,
    chains: BTreeMap<C::Class, Count>,
}

impl<C: Interferes> History<C> {
    /// How many commands there are.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether it is ⊥.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    fn count(&self, class: &C::Class) -> Count {
        self.chains.get(class).copied().unwrap_or_default()
    }

    /// The places that a command would have at the end.
    fn places_at_end(&self, command: &C) -> Places {
        let place = |(class, access)| match access {
            Access::Reads => Count { reads: 0, ..self.count(&class) },
            Access::Writes => self.count(&class),
        };
        command.touches().map(place).collect()
    }

    fn push(&mut self, command: &C, places: Places) {
        for (class, access) in command.touches() {
            self.chains.entry(class).or_default().add(access);
        }
        self.commands.push(command.clone());
        self.places.insert(command.identity(), places);
    }
}

/// Equal partial orders, however they were made.
impl<C: Interferes> PartialEq for History<C> {
    fn eq(&self, other: &Self) -> bool {
        self.places == other.places
    }
}

impl<C: Interferes> Eq for History<C> {}

impl<C: Interferes> Structure for History<C> {
    type Command = C;

    fn bottom() -> Self {
        History { commands: Vec::new(), places: BTreeMap::new(), chains: BTreeMap::new() }
    }

    fn append(&mut self, command: &C) {
        if !self.contains(command) {
            self.push(command, self.places_at_end(command));
        }
    }

    fn commands(&self) -> &[C] {
        &self.commands
    }

    fn contains(&self, command: &C) -> bool {
        self.places.contains_key(&command.identity())
    }

    fn is_prefix_of(&self, other: &Self) -> bool {
        self.places.iter().all(|(id, places)| other.places.get(id) == Some(places))
    }

    /// In the order of v, keeps what w contains too and of which, in v and in w, all predecessors are kept.
    ///
    /// What is kept is a prefix of both. So a command that it lacks comes, in both, after all of it that
    /// interferes; and if that is as many as come before the command at all, it is all of them.
    fn glb(&self, other: &Self) -> Self {
        let mut kept = Self::bottom();
        for command in &self.commands {
            let (id, places) = (command.identity(), kept.places_at_end(command));
            let has_no_more_in = |history: &Self| history.places.get(&id) == Some(&places);
            if has_no_more_in(self) && has_no_more_in(other) {
                kept.push(command, places);
            }
        }
        kept
    }

    /// What one has beyond the glb interferes with nothing that the other has beyond it.
    fn is_compatible(&self, other: &Self) -> bool {
        let glb = self.glb(other);
        self.chains.iter().all(|(class, mine)| {
            let (theirs, common) = (other.count(class), glb.count(class));
            !mine.minus(common).interferes(theirs.minus(common))
        })
    }

    fn lub(&self, other: &Self) -> Option<Self> {
        if !self.is_compatible(other) {
            return None;
        }
        let mut lub = self.clone();
        lub.append_all(&other.commands);
        assert!(other.is_prefix_of(&lub), "of {self:?} and {other:?} comes {lub:?}");
        Some(lub)
    }
}
