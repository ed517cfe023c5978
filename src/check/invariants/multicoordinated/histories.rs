//! Values as they grow: a command with all that comes before it is one number.
//!
//! The *past* of a command in a history is the set of the commands that come before it and interfere with it, each
//! with its own past. It never changes once the command is there. Two histories have the same order of what leads
//! to a command if and only if it has the same past in both. So v ⊑ w if w has every command of v with the same past;
//! v ⊓ w is what both have with the same past; and what of several histories a quorum has in common is what so many
//! have with the same past.
//!
//! A past is kept as a hash. The specification of all this is [`structs`], and the tests hold it to that.
//!
//! [`structs`]: crate::protocol::multicoordinated::structs

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use smallvec::SmallVec;

use crate::command::{Command, Key};
use crate::protocol::multicoordinated::names::Name;
use crate::protocol::multicoordinated::options::Structure;
use crate::protocol::multicoordinated::structs::{Access, Interferes};

/// What values are made of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Element {
    /// A command, by its name.
    Command(Name),
    /// The command that interferes with all, and ends the value.
    Checkpoint,
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Command(name) => name.fmt(f),
            Element::Checkpoint => f.write_str("checkpoint"),
        }
    }
}

/// What comes before an element of a history and interferes with it, with all that comes before that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Past(u64);

/// An element with its past.
pub(super) type Placed = (Element, Past);

/// What a command touches.
pub(super) type Touches = SmallVec<[(Key, Access); 2]>;

/// What a command touches; any two that are to be in sequence touch the same.
pub(super) fn touches(command: &Command, structure: Structure) -> Touches {
    match structure {
        Structure::History => command.touches().collect(),
        Structure::Sequence => [(Key(0), Access::Writes)].into_iter().collect(),
    }
}

/// The last elements of a history that touch a key: a write, and the reads since.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct End {
    write: Option<Placed>,
    reads: Vec<Placed>,
}

/// A history, with the order in which its elements were appended.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Grown {
    order: Vec<Placed>,
    /// Where in the order each stands.
    places: BTreeMap<Element, usize>,
    ends: BTreeMap<Key, End>,
}

impl Grown {
    /// How many elements it has.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Its elements from a position on, in order.
    pub(super) fn from(&self, position: usize) -> &[Placed] {
        self.order.get(position..).unwrap_or_default()
    }

    /// The element at a position.
    pub(super) fn at(&self, position: usize) -> Option<Element> {
        self.order.get(position).map(|(element, _)| *element)
    }

    /// Where an element with this past stands, if it has it.
    pub(super) fn place(&self, (element, past): Placed) -> Option<usize> {
        let place = *self.places.get(&element)?;
        (self.order[place].1 == past).then_some(place)
    }

    /// Whether it has the element with this past.
    pub(super) fn has(&self, placed: Placed) -> bool {
        self.place(placed).is_some()
    }

    /// Whether it has the element.
    pub(super) fn contains(&self, element: Element) -> bool {
        self.places.contains_key(&element)
    }

    /// Becomes v • C, which must not be in it.
    pub(super) fn append(&mut self, element: Element, touches: &Touches) -> Placed {
        let placed = (element, self.past_at_the_end(element, touches));
        for (key, access) in touches {
            let end = self.ends.entry(*key).or_default();
            match access {
                Access::Reads => end.reads.push(placed),
                Access::Writes => *end = End { write: Some(placed), reads: Vec::new() },
            }
        }
        self.places.insert(element, self.order.len());
        self.order.push(placed);
        placed
    }

    /// What comes right before an element at the end says the rest.
    fn past_at_the_end(&self, element: Element, touches: &Touches) -> Past {
        let mut before: Vec<Placed> = match element {
            Element::Checkpoint => self.order.clone(),
            Element::Command(_) => Vec::new(),
        };
        for (key, access) in touches {
            let Some(end) = self.ends.get(key) else { continue };
            before.extend(end.write);
            if *access == Access::Writes {
                before.extend(&end.reads);
            }
        }
        before.sort_unstable();
        before.dedup();
        let mut hasher = DefaultHasher::new();
        before.hash(&mut hasher);
        Past(hasher.finish())
    }
}
