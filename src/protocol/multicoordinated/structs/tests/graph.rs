//! Histories as the graphs of Lamport's §4.4, with every operator by its definition: what [`History`] is
//! compared with where there are too many histories to look at all.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::commands::{
    Edit, clashing, edited, edits, relations, sequences, some_clashing, some_keyed,
};
use crate::protocol::multicoordinated::structs::{History, Identity, Interferes, Structure};

/// G(σ), of ids.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Graph {
    pub nodes: BTreeSet<u8>,
    /// All pairs that interfere, the earlier one first.
    pub edges: BTreeSet<(u8, u8)>,
}

impl Graph {
    pub fn of<C: Interferes<Id = u8>>(sequence: &[C]) -> Graph {
        let nodes = sequence.iter().map(Identity::identity).collect();
        let mut edges = BTreeSet::new();
        for (at, later) in sequence.iter().enumerate() {
            let before = sequence[..at].iter().filter(|earlier| earlier.interferes(later));
            edges.extend(before.map(|earlier| (earlier.identity(), later.identity())));
        }
        Graph { nodes, edges }
    }

    pub fn predecessors(&self, node: u8) -> BTreeSet<u8> {
        self.edges.iter().filter(|edge| edge.1 == node).map(|edge| edge.0).collect()
    }

    /// The subgraph with these nodes (§4.1.5).
    pub fn on(&self, nodes: &BTreeSet<u8>) -> Graph {
        let within = |edge: &(u8, u8)| nodes.contains(&edge.0) && nodes.contains(&edge.1);
        Graph {
            nodes: self.nodes.intersection(nodes).copied().collect(),
            edges: self.edges.iter().copied().filter(within).collect(),
        }
    }

    /// A subgraph, with every edge that leads into it (§4.1.5).
    fn is_prefix_of(&self, other: &Graph) -> bool {
        let closed = |edge: &&(u8, u8)| self.nodes.contains(&edge.1);
        self.nodes.is_subset(&other.nodes)
            && other.on(&self.nodes) == *self
            && other.edges.iter().filter(closed).all(|edge| self.nodes.contains(&edge.0))
    }

    /// The common nodes, without those of which a predecessor is missing, until none is. Predecessors must be
    /// the same in both: of two commands in opposite orders each has the other.
    fn glb(&self, other: &Graph) -> Graph {
        let mut nodes: BTreeSet<u8> = self.nodes.intersection(&other.nodes).copied().collect();
        loop {
            let complete = |node: &u8| {
                let before = self.predecessors(*node);
                before == other.predecessors(*node) && before.is_subset(&nodes)
            };
            let kept: BTreeSet<u8> = nodes.iter().copied().filter(complete).collect();
            if kept == nodes {
                return self.on(&nodes);
            }
            nodes = kept;
        }
    }

    /// Their union, if both are prefixes of it and what is private does not interfere.
    fn lub(&self, other: &Graph, interfere: impl Fn(u8, u8) -> bool) -> Option<Graph> {
        let union = Graph {
            nodes: self.nodes.union(&other.nodes).copied().collect(),
            edges: self.edges.union(&other.edges).copied().collect(),
        };
        let possible = self.is_prefix_of(&union)
            && other.is_prefix_of(&union)
            && !private_interfere(self, other, interfere);
        possible.then_some(union)
    }
}

/// Whether a private node of one interferes with a private node of the other.
pub fn private_interfere(v: &Graph, w: &Graph, interfere: impl Fn(u8, u8) -> bool) -> bool {
    let mut mine = v.nodes.difference(&w.nodes);
    mine.any(|a| w.nodes.difference(&v.nodes).any(|b| interfere(*a, *b)))
}

/// The relation of an alphabet, by ids.
pub fn relation<C: Interferes<Id = u8>>(alphabet: &[C]) -> impl Fn(u8, u8) -> bool {
    move |a, b| alphabet[usize::from(a)].interferes(&alphabet[usize::from(b)])
}

/// Lamport's ∼: one is a permutation of the other that keeps the order of all that interferes.
fn equivalent<C: Interferes>(one: &[C], other: &[C]) -> bool {
    let at = |command: &C| other.iter().position(|c| c.identity() == command.identity());
    let places: Option<Vec<usize>> = one.iter().map(at).collect();
    one.len() == other.len()
        && places.is_some_and(|places| {
            (0..one.len())
                .all(|j| (0..j).all(|i| places[i] < places[j] || !one[i].interferes(&one[j])))
        })
}

#[test]
fn sequences_are_the_same_history_if_all_that_interferes_is_in_the_same_order() {
    for relation in 0..relations(4) {
        let sequences = sequences(&clashing(4, relation));
        let histories: Vec<History<_>> = sequences.iter().map(Structure::of).collect();
        for (one, history) in sequences.iter().zip(&histories) {
            for (other, and) in sequences.iter().zip(&histories) {
                assert_eq!(history == and, equivalent(one, other), "{one:?} ∼ {other:?}");
            }
        }
    }
}

/// What proptest is asked for: an alphabet, a sequence of some of it, and what to do to that for another.
type Drawn<C> = (Vec<C>, Vec<C>, Vec<Edit>);

fn drawn<C: Interferes>(
    alphabet: impl Strategy<Value = Vec<C>>,
) -> impl Strategy<Value = Drawn<C>> {
    alphabet.prop_flat_map(|alphabet| {
        let sequence = Just(alphabet.clone()).prop_shuffle();
        let length = 0..=alphabet.len();
        let cut = (sequence, length).prop_map(|(sequence, length)| sequence[..length].to_vec());
        (Just(alphabet), cut, edits())
    })
}

fn operators_are_as_defined<C: Interferes<Id = u8>>((alphabet, one, edits): Drawn<C>) {
    let other = edited(&one, &edits, &alphabet);
    let (v, w): (History<C>, History<C>) = (Structure::of(&one), Structure::of(&other));
    let (one, other) = (Graph::of(&one), Graph::of(&other));
    let graph = |history: &History<C>| Graph::of(history.commands());
    assert_eq!((graph(&v), graph(&w)), (one.clone(), other.clone()));
    assert_eq!(v == w, one == other);
    assert_eq!(v.is_prefix_of(&w), one.is_prefix_of(&other));
    assert_eq!(graph(&v.glb(&w)), one.glb(&other));
    let lub = one.lub(&other, relation(&alphabet));
    assert_eq!(v.is_compatible(&w), lub.is_some());
    assert_eq!(v.lub(&w).as_ref().map(graph), lub);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn operators_on_histories_of_any_relation_are_those_on_their_graphs(
        drawn in drawn(some_clashing(8)),
    ) {
        operators_are_as_defined(drawn);
    }

    #[test]
    fn operators_on_histories_of_reads_and_writes_are_those_on_their_graphs(
        drawn in drawn(some_keyed(12)),
    ) {
        operators_are_as_defined(drawn);
    }
}
