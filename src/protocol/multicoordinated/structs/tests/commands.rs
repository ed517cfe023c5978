//! Commands to test with, and alphabets of them.

use proptest::prelude::*;

use crate::protocol::multicoordinated::structs::{Access, Identity, Interferes};

/// A command of an arbitrary symmetric relation: it interferes with the ids whose bits are set. Each pair is a
/// class of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Clashing {
    pub id: u8,
    pub with: u32,
}

impl Identity for Clashing {
    type Id = u8;

    fn identity(&self) -> u8 {
        self.id
    }
}

impl Interferes for Clashing {
    type Class = (u8, u8);

    fn touches(&self) -> impl Iterator<Item = ((u8, u8), Access)> {
        let others = (0..32).filter(|other| *other != self.id && self.with & 1 << other != 0);
        others.map(|other| ((self.id.min(other), self.id.max(other)), Access::Writes))
    }
}

/// How many symmetric relations there are on so many commands.
pub fn relations(size: u8) -> u32 {
    1 << (size * size.saturating_sub(1) / 2)
}

/// An alphabet with the relation of a number: a bit for each pair.
pub fn clashing(size: u8, relation: u32) -> Vec<Clashing> {
    let mut alphabet: Vec<_> = (0..size).map(|id| Clashing { id, with: 0 }).collect();
    let pairs = (0..size).flat_map(|a| (a + 1..size).map(move |b| (a, b)));
    for (bit, (a, b)) in pairs.enumerate() {
        if relation & 1 << bit != 0 {
            alphabet[usize::from(a)].with |= 1 << b;
            alphabet[usize::from(b)].with |= 1 << a;
        }
    }
    alphabet
}

/// A command that reads and writes keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keyed {
    pub id: u8,
    pub touches: &'static [(char, Access)],
}

impl Identity for Keyed {
    type Id = u8;

    fn identity(&self) -> u8 {
        self.id
    }
}

impl Interferes for Keyed {
    type Class = char;

    fn touches(&self) -> impl Iterator<Item = (char, Access)> {
        self.touches.iter().copied()
    }
}

const R: Access = Access::Reads;
const W: Access = Access::Writes;

/// What can be done to the keys x and y: gets, puts, and what touches both.
pub const KINDS: [&[(char, Access)]; 7] = [
    &[('x', R)],
    &[('x', W)],
    &[('y', R)],
    &[('y', W)],
    &[('x', W), ('y', W)],
    &[('x', R), ('y', W)],
    &[],
];

/// An alphabet of such kinds.
pub fn keyed(kinds: impl IntoIterator<Item = usize>) -> Vec<Keyed> {
    let touches = kinds.into_iter().map(|kind| KINDS[kind]);
    (0..).zip(touches).map(|(id, touches)| Keyed { id, touches }).collect()
}

/// So many commands of a random relation, or of random kinds.
pub fn some_clashing(size: u8) -> impl Strategy<Value = Vec<Clashing>> {
    (0..relations(size)).prop_map(move |relation| clashing(size, relation))
}

pub fn some_keyed(size: usize) -> impl Strategy<Value = Vec<Keyed>> {
    proptest::collection::vec(0..KINDS.len(), size).prop_map(keyed)
}

/// One edit of a sequence.
#[derive(Clone, Copy, Debug)]
pub enum Edit {
    Swap(usize),
    Remove(usize),
    Cut(usize),
    Append(usize),
}

pub fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        3 => any::<usize>().prop_map(Edit::Swap),
        1 => any::<usize>().prop_map(Edit::Remove),
        2 => any::<usize>().prop_map(Edit::Cut),
        3 => any::<usize>().prop_map(Edit::Append),
    ];
    proptest::collection::vec(edit, 0..5)
}

/// A sequence near to another: two random ones have too little in common to tell anything of.
pub fn edited<C: Identity>(sequence: &[C], edits: &[Edit], alphabet: &[C]) -> Vec<C> {
    let mut made = sequence.to_vec();
    for edit in edits {
        let len = made.len();
        match *edit {
            Edit::Swap(at) if len > 1 => made.swap(at % (len - 1), at % (len - 1) + 1),
            Edit::Remove(at) if len > 0 => drop(made.remove(at % len)),
            Edit::Cut(at) if len > 0 => made.truncate(len - at % len.min(3)),
            Edit::Append(at) => {
                let new = &alphabet[at % alphabet.len()];
                made.retain(|command| command.identity() != new.identity());
                made.push(new.clone());
            }
            _ => {}
        }
    }
    made
}

/// All sequences of different commands of an alphabet, the empty one first.
pub fn sequences<C: Identity>(alphabet: &[C]) -> Vec<Vec<C>> {
    let mut all = vec![Vec::<C>::new()];
    let mut next = 0;
    while next < all.len() {
        for command in alphabet {
            if all[next].iter().all(|there| there.identity() != command.identity()) {
                let mut longer = all[next].clone();
                longer.push(command.clone());
                all.push(longer);
            }
        }
        next += 1;
    }
    all
}
