//! What interferes, as numbers: the keys that the commands of one instance touch, counted from 0.

use std::hash::{Hash, Hasher};

use rustc_hash::FxHashMap;

use super::options::Structure;
use crate::command::{Command, Key};

/// No class.
pub const NONE: u32 = u32::MAX;

/// What a command touches. Two commands interfere if they share a class, unless both only read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Classes {
    /// One or two classes; the second may be [`NONE`].
    pub classes: [u32; 2],
    /// Whether the command leaves what it touches as it is.
    pub is_read: bool,
}

/// The classes of one instance.
#[derive(Clone, Debug, Default)]
pub struct ClassIndex {
    /// Never iterated, so that its order shows nowhere.
    places: FxHashMap<Key, u32>,
}

/// Which numbers keys have changes nothing.
impl Hash for ClassIndex {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl ClassIndex {
    /// What a command touches.
    pub fn of(&mut self, command: &Command, structure: Structure) -> Classes {
        if structure == Structure::Sequence {
            return Classes { classes: [0, NONE], is_read: false };
        }
        let (first, second) = command.operation.keys();
        let classes = [self.place(first), second.map_or(NONE, |key| self.place(key))];
        Classes { classes, is_read: command.operation.is_read() }
    }

    fn place(&mut self, key: Key) -> u32 {
        let next = self.places.len() as u32;
        *self.places.entry(key).or_insert(next)
    }
}
