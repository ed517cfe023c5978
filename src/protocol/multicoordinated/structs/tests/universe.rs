//! All c-structs of a small alphabet, and the axioms of Lamport's §4.2 and §C.1 on all of them. Nothing is
//! taken from the operators: what extends what, and so what is a bound, follows from • and = alone.

use super::commands::{KINDS, clashing, keyed, relations};
use crate::protocol::multicoordinated::structs::{History, Identity, Sequence, Single, Structure};

struct Universe<S: Structure> {
    alphabet: Vec<S::Command>,
    /// All of *Str(Cmd)*, ⊥ first.
    all: Vec<S>,
    /// \[v\]\[C\]: the place of v • C.
    appended: Vec<Vec<usize>>,
    /// \[v\]: the places of all w with v ⊑ w, as bits.
    extensions: Vec<u128>,
    /// \[w\]: the places of all v with v ⊑ w.
    prefixes: Vec<u128>,
}

fn bits(set: u128) -> impl Iterator<Item = usize> {
    (0..128).filter(move |at| set & 1 << at != 0)
}

impl<S: Structure> Universe<S> {
    fn of(alphabet: Vec<S::Command>) -> Self {
        let (mut all, mut appended) = (vec![S::bottom()], Vec::new());
        while let Some(from) = all.get(appended.len()).cloned() {
            let mut successors = Vec::new();
            for command in &alphabet {
                let mut made = from.clone();
                made.append(command);
                successors.push(all.iter().position(|known| *known == made).unwrap_or(all.len()));
                if successors.last() == Some(&all.len()) {
                    all.push(made);
                }
            }
            appended.push(successors);
            assert!(all.len() <= 128, "more than fit into a set");
        }
        let mut extensions = vec![0u128; all.len()];
        for from in (0..all.len()).rev() {
            // v • C is v or was found after it: CS2, or there would be a way back.
            assert!(appended[from].iter().all(|to| *to >= from));
            let beyond = appended[from].iter().fold(0, |beyond, to| beyond | extensions[*to]);
            extensions[from] = beyond | 1 << from;
        }
        let prefixes = (0..all.len())
            .map(|to| (0..=to).fold(0, |set, from| set | (extensions[from] >> to & 1) << from))
            .collect();
        Universe { alphabet, all, appended, extensions, prefixes }
    }

    fn at(&self, structure: &S) -> usize {
        let found = self.all.iter().position(|known| known == structure);
        found.unwrap_or_else(|| panic!("{structure:?} is not constructible"))
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.all.len()).flat_map(|v| (0..self.all.len()).map(move |w| (v, w)))
    }

    fn compatible(&self, v: usize, w: usize) -> bool {
        self.extensions[v] & self.extensions[w] != 0
    }

    /// *Str(P)* for each set P of commands.
    fn constructible(&self) -> Vec<u128> {
        let subsets = 0..1usize << self.alphabet.len();
        let from = |subset: usize| {
            let mut set = 1;
            for v in 0..self.all.len() {
                let of = (0..self.alphabet.len()).filter(|c| subset & 1 << c != 0);
                let reached = of.fold(0, |reached, c| reached | 1 << self.appended[v][c]);
                set |= if set & 1 << v != 0 { reached } else { 0 };
            }
            set
        };
        subsets.map(from).collect()
    }

    /// CS0 and CS1: v • C is a c-struct, and each c-struct is ⊥ and what is said to be in it, in turn.
    fn cs0_and_cs1(&self) {
        for v in &self.all {
            assert_eq!(S::of(v.commands()), *v);
        }
        assert!(self.appended.iter().flatten().all(|to| *to < self.all.len()));
    }

    /// CS2: ⊑ is the order that • makes.
    fn cs2(&self) {
        for (v, w) in self.pairs() {
            let (one, other) = (&self.all[v], &self.all[w]);
            assert_eq!(one == other, v == w);
            let extends = self.extensions[v] & 1 << w != 0;
            assert_eq!(one.is_prefix_of(other), extends, "{one:?} ⊑ {other:?}");
            assert!(!extends || v == w || self.extensions[w] & 1 << v == 0);
        }
    }

    /// CS3, its first two lines: glb and lub are the greatest and least bounds, and of the same commands.
    fn cs3_bounds(&self) {
        let constructible = self.constructible();
        for (v, w) in self.pairs() {
            let (one, other) = (&self.all[v], &self.all[w]);
            let glb = self.at(&one.glb(other));
            assert_eq!(
                self.prefixes[glb],
                self.prefixes[v] & self.prefixes[w],
                "{one:?} ⊓ {other:?}"
            );
            let upper = self.extensions[v] & self.extensions[w];
            assert_eq!(one.is_compatible(other), upper != 0, "{one:?} and {other:?}");
            let lub = one.lub(other).map(|lub| self.at(&lub));
            assert_eq!(lub.map_or(0, |lub| self.extensions[lub]), upper, "{one:?} ⊔ {other:?}");
            for set in constructible.iter().filter(|set| *set & 1 << v != 0 && *set & 1 << w != 0) {
                assert!(set & 1 << glb != 0 && lub.is_none_or(|lub| set & 1 << lub != 0));
            }
        }
    }

    /// CS3, its third line: what is compatible with both is compatible with their lub.
    fn cs3_compatible_with_the_lub(&self) {
        for (v, w) in self.pairs() {
            let Some(lub) = self.all[v].lub(&self.all[w]) else { continue };
            let lub = self.at(&lub);
            for u in 0..self.all.len() {
                let with_both = self.compatible(u, v) && self.compatible(u, w);
                assert!(!with_both || self.compatible(u, lub));
            }
        }
    }

    /// CS4, and what "contains" means: v = ⊥ • σ • C • τ.
    fn cs4(&self) {
        let contain = |c: usize| {
            let just_after = (0..self.all.len()).map(|v| self.appended[v][c]);
            just_after.fold(0, |set, v| set | self.extensions[v])
        };
        for (c, command) in self.alphabet.iter().enumerate() {
            let containing: u128 = contain(c);
            for (v, structure) in self.all.iter().enumerate() {
                assert_eq!(structure.contains(command), containing & 1 << v != 0);
            }
            for (v, w) in bits(containing).flat_map(|v| bits(containing).map(move |w| (v, w))) {
                let glb = self.at(&self.all[v].glb(&self.all[w]));
                assert!(!self.compatible(v, w) || containing & 1 << glb != 0);
            }
        }
    }
}

fn all_axioms_hold<S: Structure>(alphabet: Vec<S::Command>) -> usize {
    let universe = Universe::<S>::of(alphabet);
    universe.cs0_and_cs1();
    universe.cs2();
    universe.cs3_bounds();
    universe.cs3_compatible_with_the_lub();
    universe.cs4();
    universe.all.len()
}

#[test]
fn histories_of_up_to_four_commands_satisfy_the_axioms_whatever_interferes() {
    for size in 0..=4 {
        for relation in 0..relations(size) {
            all_axioms_hold::<History<_>>(clashing(size, relation));
        }
    }
    let (free, ordered) = (clashing(4, 0), clashing(4, relations(4) - 1));
    assert_eq!(all_axioms_hold::<History<_>>(free), 16, "all sets");
    assert_eq!(all_axioms_hold::<History<_>>(ordered), 65, "all sequences");
}

/// Ascending, so that no two alphabets differ in names only.
fn all_kinds(size: usize, from: usize) -> Vec<Vec<usize>> {
    if size == 0 {
        return vec![Vec::new()];
    }
    let longer = |kind| {
        let rests = all_kinds(size - 1, kind);
        rests.into_iter().map(move |rest| [vec![kind], rest].concat())
    };
    (from..KINDS.len()).flat_map(longer).collect()
}

#[test]
fn histories_of_reads_writes_and_transfers_satisfy_the_axioms() {
    for kinds in (1..=4).flat_map(|size| all_kinds(size, 0)) {
        all_axioms_hold::<History<_>>(keyed(kinds));
    }
}

#[test]
fn sequences_and_single_commands_satisfy_the_axioms() {
    for size in 0..=4 {
        let single = all_axioms_hold::<Single<_>>(clashing(size, 0));
        assert_eq!(single, usize::from(size) + 1);
        let sequences = all_axioms_hold::<Sequence<_>>(clashing(size, 0));
        assert_eq!(sequences, [1, 2, 5, 16, 65][usize::from(size)]);
    }
}

#[test]
fn where_all_commands_interfere_histories_are_sequences() {
    let alphabet = clashing(4, relations(4) - 1);
    let histories = Universe::<History<_>>::of(alphabet.clone());
    let sequences = Universe::<Sequence<_>>::of(alphabet);
    assert_eq!(histories.extensions, sequences.extensions);
    for (history, sequence) in histories.all.iter().zip(&sequences.all) {
        assert!(history.commands().iter().eq(sequence.commands()));
    }
}

/// The ids of what a c-struct is made of.
pub fn ids<S: Structure<Command: Identity<Id = u8>>>(structure: &S) -> Vec<u8> {
    structure.commands().iter().map(Identity::identity).collect()
}
