//! The axioms (Lamport §4.2 and §C.1) of c-structs too large to look at all: of three drawn at random, two of them
//! made from the first.

use std::fmt::Debug;

use proptest::prelude::*;

use super::commands::{Edit, edited, edits, some_clashing, some_keyed};
use crate::protocol::multicoordinated::structs::{
    History, Identity, Interferes, Sequence, Single, Structure,
};

/// An alphabet, and three sequences of it.
#[derive(Clone, Debug)]
struct Drawn<C> {
    alphabet: Vec<C>,
    sequences: [Vec<C>; 3],
}

fn drawn<C: Interferes>(
    alphabet: impl Strategy<Value = Vec<C>>,
) -> impl Strategy<Value = Drawn<C>> {
    let made = |alphabet: Vec<C>, mut one: Vec<C>, length: usize, edits: &[Vec<Edit>; 2]| {
        one.truncate(length);
        let [other, third] = [0, 1].map(|i| edited(&one, &edits[i], &alphabet));
        Drawn { alphabet, sequences: [one, other, third] }
    };
    alphabet.prop_flat_map(move |alphabet| {
        let one = Just(alphabet.clone()).prop_shuffle();
        let drawn = (Just(alphabet.clone()), one, 0..=alphabet.len(), [edits(), edits()]);
        drawn.prop_map(move |(alphabet, one, length, edits)| made(alphabet, one, length, &edits))
    })
}

/// Whether one is made of commands that another contains.
fn is_of<S: Structure>(structure: &S, commands: &[&S::Command]) -> bool
where
    S::Command: Identity,
{
    let ids: Vec<_> = commands.iter().map(|command| command.identity()).collect();
    structure.commands().iter().all(|command| ids.contains(&command.identity()))
}

fn cs0_and_cs1<S: Structure>(v: &S, command: &S::Command) {
    let mut appended = v.clone();
    appended.append(command);
    assert!(v.is_prefix_of(&appended) && appended.contains(command));
    assert_eq!(S::of(appended.commands()), appended);
    let once = appended.clone();
    appended.append(command);
    assert_eq!(appended, once, "a duplicate is ignored");
    assert_eq!(S::of([]), S::bottom());
}

fn cs2<S: Structure>(u: &S, v: &S, w: &S) {
    assert!(v.is_prefix_of(v) && S::bottom().is_prefix_of(v));
    assert_eq!(v.is_prefix_of(w) && w.is_prefix_of(v), v == w);
    assert!(!(u.is_prefix_of(v) && v.is_prefix_of(w)) || u.is_prefix_of(w));
    // "iff there exists a c-seq σ such that w = v • σ", and if one does, then w's commands in turn are one.
    let mut extended = v.clone();
    extended.append_all(w.commands());
    assert_eq!(v.is_prefix_of(w), extended == *w);
}

fn cs3<S: Structure>(u: &S, v: &S, w: &S)
where
    S::Command: Identity,
{
    let all: Vec<_> = v.commands().iter().chain(w.commands()).collect();
    let glb = v.glb(w);
    assert_eq!(glb, w.glb(v));
    assert!(glb.is_prefix_of(v) && glb.is_prefix_of(w) && is_of(&glb, &all));
    let below = u.glb(v);
    assert!(!below.is_prefix_of(w) || below.is_prefix_of(&glb));
    let lub = v.lub(w);
    assert_eq!(lub, w.lub(v));
    assert_eq!(lub.is_some(), v.is_compatible(w));
    let Some(lub) = lub else { return };
    assert!(v.is_prefix_of(&lub) && w.is_prefix_of(&lub) && is_of(&lub, &all));
    let above = u.lub(v).filter(|above| w.is_prefix_of(above));
    assert!(above.is_none_or(|above| lub.is_prefix_of(&above)));
    assert_eq!(u.is_compatible(&lub), u.is_compatible(v) && u.is_compatible(w));
    assert_eq!(u.lub(&lub), S::lub_of([u, v, w]));
}

fn cs4<S: Structure>(v: &S, w: &S, command: &S::Command) {
    let both = v.contains(command) && w.contains(command);
    assert!(!(v.is_compatible(w) && both) || v.glb(w).contains(command));
}

fn glb_and_lub_of_many_are_bounds<S: Structure>(structures: &[S; 3]) {
    let [u, v, w] = structures;
    assert_eq!(S::glb_of(structures), u.glb(&v.glb(w)));
    assert_eq!(S::lub_of([]), Some(S::bottom()));
    let compatible = u.is_compatible(v) && v.is_compatible(w) && w.is_compatible(u);
    let lub = S::lub_of(structures);
    assert_eq!(lub.is_some(), compatible);
    assert!(lub.is_none_or(|lub| structures.iter().all(|part| part.is_prefix_of(&lub))));
}

fn all_axioms_hold<S: Structure>(drawn: &Drawn<S::Command>)
where
    S::Command: Identity,
{
    let structures: [S; 3] = [0, 1, 2].map(|i| S::of(&drawn.sequences[i]));
    for (one, other, third) in [(0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1)] {
        let [u, v, w] = [&structures[one], &structures[other], &structures[third]];
        cs2(u, v, w);
        cs3(u, v, w);
        for command in &drawn.alphabet {
            cs0_and_cs1(v, command);
            cs4(v, w, command);
        }
    }
    glb_and_lub_of_many_are_bounds(&structures);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn histories_of_any_relation_satisfy_the_axioms(drawn in drawn(some_clashing(7))) {
        all_axioms_hold::<History<_>>(&drawn);
    }

    #[test]
    fn histories_of_reads_and_writes_satisfy_the_axioms(drawn in drawn(some_keyed(9))) {
        all_axioms_hold::<History<_>>(&drawn);
    }

    #[test]
    fn sequences_satisfy_the_axioms(drawn in drawn(some_clashing(6))) {
        all_axioms_hold::<Sequence<_>>(&drawn);
    }

    #[test]
    fn single_commands_satisfy_the_axioms(drawn in drawn(some_clashing(4))) {
        all_axioms_hold::<Single<_>>(&drawn);
    }
}

#[test]
#[should_panic(expected = "no c-structs have no glb")]
fn nothing_has_no_glb() {
    Single::<super::commands::Keyed>::glb_of([]);
}
