//! What was published wrong, and what was published right though it looks otherwise.

use std::slice;

use super::commands::{Clashing, clashing, relations, sequences};
use super::graph::{Graph, private_interfere, relation};
use super::universe::ids;
use crate::protocol::multicoordinated::structs::{History, Identity, Interferes, Structure};

/// Lamport §4.4, as printed: "the subgraphs consisting of the nodes they have in common are identical", and nothing
/// private interferes.
fn compatible_as_printed(v: &[Clashing], w: &[Clashing], alphabet: &[Clashing]) -> bool {
    let (v, w) = (Graph::of(v), Graph::of(w));
    v.on(&w.nodes) == w.on(&v.nodes) && !private_interfere(&v, &w, relation(alphabet))
}

/// As it should be: common nodes have the same predecessors.
fn compatible_as_corrected(v: &[Clashing], w: &[Clashing], alphabet: &[Clashing]) -> bool {
    let (v, w) = (Graph::of(v), Graph::of(w));
    v.nodes.intersection(&w.nodes).all(|node| v.predecessors(*node) == w.predecessors(*node))
        && !private_interfere(&v, &w, relation(alphabet))
}

fn without(sequence: &[Clashing], at: usize) -> Vec<Clashing> {
    [&sequence[..at], &sequence[at + 1..]].concat()
}

/// *Prefix* (Multicoordinated Paxos §3.3.1). What *Descendants* are it does not say.
fn prefix_as_printed(h: &[Clashing], i: &[Clashing], transitive: bool) -> Vec<Clashing> {
    let Some((head, tail)) = h.split_first() else { return Vec::new() };
    let at = i.iter().position(|command| command.id == head.id);
    match at.filter(|at| !i[..*at].iter().any(|earlier| head.interferes(earlier))) {
        Some(at) => {
            let rest = prefix_as_printed(tail, &without(i, at), transitive);
            [vec![head.clone()], rest].concat()
        }
        None => prefix_as_printed(&without_descendants(head, tail, transitive), i, transitive),
    }
}

fn without_descendants(head: &Clashing, tail: &[Clashing], transitive: bool) -> Vec<Clashing> {
    let mut dropped = vec![head.clone()];
    let mut kept = Vec::new();
    for command in tail {
        let ancestors = if transitive { &dropped[..] } else { &dropped[..1] };
        let descends = ancestors.iter().any(|dropped| dropped.interferes(command));
        let into = if descends { &mut dropped } else { &mut kept };
        into.push(command.clone());
    }
    kept
}

/// *AreCompatible* (Multicoordinated Paxos §3.3.1).
fn are_compatible_as_printed(h: &[Clashing], i: &[Clashing], a: &[Clashing]) -> bool {
    let Some((head, tail)) = h.split_first() else { return true };
    let at = i.iter().position(|command| command.id == head.id);
    let before = &i[..at.unwrap_or(i.len())];
    if before.iter().any(|earlier| head.interferes(earlier)) {
        return false;
    }
    match at {
        Some(_) if a.iter().any(|ancestor| head.interferes(ancestor)) => false,
        Some(at) => are_compatible_as_printed(tail, &without(i, at), a),
        None => are_compatible_as_printed(tail, i, &[a, slice::from_ref(head)].concat()),
    }
}

fn history(sequence: &[&Clashing]) -> History<Clashing> {
    History::of(sequence.iter().copied())
}

/// Calls back with two sequences, for all of up to four commands and every relation; of equivalent ones one.
fn for_all_pairs(mut check: impl FnMut(&[Clashing], &[Clashing], &[Clashing])) {
    for (size, relation) in (2..=4).flat_map(|size| (0..relations(size)).map(move |r| (size, r))) {
        let alphabet = clashing(size, relation);
        let mut histories: Vec<History<Clashing>> = Vec::new();
        for sequence in sequences(&alphabet) {
            let history = History::of(&sequence);
            if !histories.contains(&history) {
                histories.push(history);
            }
        }
        for v in &histories {
            for w in &histories {
                check(v.commands(), w.commands(), &alphabet);
            }
        }
    }
}

#[test]
fn a_command_and_the_same_after_one_that_interferes_are_incompatible_whatever_lamport_4_4_says() {
    let alphabet = clashing(2, 1);
    let [a, b] = [&alphabet[0], &alphabet[1]];
    assert!(compatible_as_printed(&alphabet, &alphabet[1..], &alphabet));
    let (both, one) = (history(&[a, b]), history(&[b]));
    assert!(!both.is_compatible(&one) && !one.is_compatible(&both));
    assert_eq!(both.lub(&one), None);
    assert_eq!(both.glb(&one), History::bottom());
}

#[test]
fn the_printed_rule_finds_too_much_compatible_and_never_too_little() {
    let (mut pairs, mut wrong) = (0, 0);
    for_all_pairs(|v, w, alphabet| {
        let printed = compatible_as_printed(v, w, alphabet);
        let compatible = History::of(v).is_compatible(&History::of(w));
        assert!(printed || !compatible, "{v:?} and {w:?}");
        assert_eq!(compatible_as_corrected(v, w, alphabet), compatible);
        pairs += 1;
        wrong += usize::from(printed != compatible);
    });
    assert_eq!((pairs, wrong), (86_663, 20_390));
}

#[test]
fn a_glb_that_drops_direct_descendants_only_keeps_a_command_without_its_predecessor() {
    // A ≍ B ≍ C. ⟨A, B, C⟩ loses A, and B with it; C came after B.
    let alphabet = clashing(3, 0b101);
    let [a, b, c] = [&alphabet[0], &alphabet[1], &alphabet[2]];
    assert!(a.interferes(b) && b.interferes(c) && !a.interferes(c));
    let other = slice::from_ref(c);
    assert_eq!(prefix_as_printed(&alphabet, other, false), other);
    assert_eq!(prefix_as_printed(&alphabet, other, true), []);
    assert_eq!(history(&[a, b, c]).glb(&history(&[c])), History::bottom());
}

#[test]
fn the_printed_operators_are_right_where_descendants_are_transitive() {
    let mut wrong = 0;
    for_all_pairs(|v, w, _| {
        let (one, other) = (History::of(v), History::of(w));
        let glb = one.glb(&other);
        assert_eq!(History::of(&prefix_as_printed(v, w, true)), glb);
        wrong += usize::from(History::of(&prefix_as_printed(v, w, false)) != glb);
        assert_eq!(are_compatible_as_printed(v, w, &[]), one.is_compatible(&other));
    });
    assert_eq!(wrong, 4446);
}

#[test]
fn reads_that_a_write_came_after_are_its_predecessors_though_reads_do_not_interfere() {
    // As many reads before the write are not the same reads.
    let alphabet = super::commands::keyed([0, 0, 1]);
    let [r, s, w] = [&alphabet[0], &alphabet[1], &alphabet[2]];
    let (one, other) = (History::of([r, w]), History::of([s, w]));
    assert!(!one.is_compatible(&other));
    assert_eq!(one.glb(&other), History::bottom());
    let (before, after) = (History::of([r, w]), History::of([w, s]));
    assert!(!before.is_compatible(&after));
    assert!(History::of([r]).is_compatible(&History::of([s])));
    assert_eq!(History::of([r, s]), History::of([s, r]));
    assert_eq!(ids(&History::of([r, s, w]).glb(&History::of([s, w]))), [s.identity()]);
}
