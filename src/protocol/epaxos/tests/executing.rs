//! The executor against an oracle that sees the whole graph at once, and what it costs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::bench::id;
use crate::protocol::Time;
use crate::protocol::epaxos::deps::{Attributes, Deps};
use crate::protocol::epaxos::execution::Executor;
use crate::protocol::epaxos::instances::Rows;
use crate::protocol::epaxos::message::{InstanceId, Phase};

/// What every instance depends on.
type Graph = BTreeMap<InstanceId, Attributes>;

/// One executor, and what it has let out.
struct Run {
    rows: Rows,
    executor: Executor,
    order: Vec<InstanceId>,
}

impl Run {
    fn new(size: u8) -> Run {
        Run { rows: Rows::new(size), executor: Executor::default(), order: Vec::new() }
    }

    fn commit(&mut self, id: InstanceId, attributes: &Attributes) {
        let instance = self.rows.make(id, Time(0)).expect("it has a place");
        instance.phase = Phase::Committed;
        instance.final_here = true;
        instance.attributes = Some(attributes.clone());
        self.executor.committed(id);
        self.executor.run(&mut self.rows, &mut self.order);
    }
}

fn attributes(size: u8, seq: u64, prefix: &[u64], ids: Vec<InstanceId>) -> Attributes {
    let mut deps = Deps { ids, ..Deps::none(size) };
    deps.prefix.iter_mut().zip(prefix).for_each(|(mine, below)| *mine = *below);
    deps.tidy();
    Attributes { seq, deps: Arc::new(deps) }
}

/// Every dependency by name.
fn named(graph: &Graph, of: InstanceId) -> Vec<InstanceId> {
    graph.keys().filter(|other| **other != of && graph[&of].deps.covers(**other)).copied().collect()
}

/// Tarjan's algorithm as in the textbook: it recurs, and sees the whole graph.
#[derive(Default)]
struct Oracle {
    index: BTreeMap<InstanceId, usize>,
    low: BTreeMap<InstanceId, usize>,
    stack: Vec<InstanceId>,
    components: Vec<Vec<InstanceId>>,
}

impl Oracle {
    /// The components, what they depend on first, each in its order.
    fn components(graph: &Graph) -> Vec<Vec<InstanceId>> {
        let mut oracle = Oracle::default();
        for id in graph.keys() {
            if !oracle.index.contains_key(id) {
                oracle.visit(graph, *id);
            }
        }
        for component in &mut oracle.components {
            component.sort_by_key(|id| (graph[id].seq, id.number, id.owner));
        }
        oracle.components
    }

    fn visit(&mut self, graph: &Graph, id: InstanceId) {
        let index = self.index.len();
        self.index.insert(id, index);
        self.low.insert(id, index);
        self.stack.push(id);
        for other in named(graph, id) {
            if !self.index.contains_key(&other) {
                self.visit(graph, other);
                self.low.insert(id, self.low[&id].min(self.low[&other]));
            } else if self.stack.contains(&other) {
                self.low.insert(id, self.low[&id].min(self.index[&other]));
            }
        }
        if self.low[&id] == index {
            let first = self.stack.iter().position(|other| *other == id).expect("it is on it");
            self.components.push(self.stack.split_off(first));
        }
    }
}

/// Instances with everything that they reach, themselves included.
fn closures(graph: &Graph) -> BTreeMap<InstanceId, BTreeSet<InstanceId>> {
    let reach = |id: &InstanceId| {
        let (mut reached, mut open) = (BTreeSet::from([*id]), vec![*id]);
        while let Some(at) = open.pop() {
            open.extend(named(graph, at).into_iter().filter(|other| reached.insert(*other)));
        }
        (*id, reached)
    };
    graph.keys().map(reach).collect()
}

const SIZE: u8 = 3;
const PER_ROW: u64 = 7;

/// Any graph of 21 instances: sparse or dense, by name or prefix, with cycles, sequence numbers that tie.
fn graphs() -> impl Strategy<Value = Graph> {
    let ids: Vec<_> = (0..SIZE).flat_map(|o| (0..PER_ROW).map(move |n| id(o, n))).collect();
    let names = proptest::sample::subsequence(ids.clone(), 0..3);
    let rare = |limit| prop_oneof![4 => Just(0), 1 => 0..=limit];
    let prefix = proptest::array::uniform3(rare(PER_ROW));
    let of_one =
        (0..3u64, prefix, names).prop_map(|(s, prefix, ids)| attributes(SIZE, s, &prefix, ids));
    proptest::collection::vec(of_one, ids.len())
        .prop_map(move |all| ids.iter().copied().zip(all).collect())
}

fn shuffled() -> impl Strategy<Value = Vec<InstanceId>> {
    let ids: Vec<_> = (0..SIZE).flat_map(|o| (0..PER_ROW).map(move |n| id(o, n))).collect();
    Just(ids).prop_shuffle()
}

/// After every commit exactly that is executed whose dependencies, with all of theirs, are committed.
fn executes_what_it_can(graph: &Graph, arrival: &[InstanceId]) -> TestCaseResult {
    let closures = closures(graph);
    let mut run = Run::new(SIZE);
    let mut committed = BTreeSet::new();
    for id in arrival {
        committed.insert(*id);
        run.commit(*id, &graph[id]);
        let ready = committed.iter().filter(|id| closures[id].is_subset(&committed)).count();
        prop_assert_eq!(run.order.len(), ready);
    }
    matches_oracle(graph, &run.order)
}

/// Each instance once, components whole and in their order, what a component depends on before it.
fn matches_oracle(graph: &Graph, order: &[InstanceId]) -> TestCaseResult {
    let place: BTreeMap<_, _> = order.iter().zip(0..).map(|(id, place)| (*id, place)).collect();
    prop_assert_eq!((order.len(), place.len()), (graph.len(), graph.len()));
    let components = Oracle::components(graph);
    let mut of = BTreeMap::new();
    for (number, component) in components.iter().enumerate() {
        let first: usize = place[&component[0]];
        prop_assert_eq!(&order[first..first + component.len()], &component[..]);
        of.extend(component.iter().map(|id| (*id, number)));
    }
    for id in graph.keys() {
        for other in named(graph, *id).into_iter().filter(|other| of[other] != of[id]) {
            prop_assert!(place[&other] < place[id], "{} before {}", id, other);
        }
    }
    Ok(())
}

/// Any two of the same third of the instances interfere: a graph in which one of them knows the other.
fn with_interference(mut graph: Graph, directions: &[bool]) -> Graph {
    let ids: Vec<_> = graph.keys().copied().collect();
    let mut direction = directions.iter().cycle();
    for (position, a) in ids.iter().enumerate() {
        for b in ids[position + 1..].iter().filter(|b| kin(*a) == kin(**b)) {
            let forth = *direction.next().expect("it is endless");
            let (from, to) = if forth { (a, b) } else { (b, a) };
            let deps = Arc::make_mut(&mut graph.get_mut(from).expect("it is there").deps);
            deps.ids.push(*to);
            deps.tidy();
        }
    }
    graph
}

fn kin(id: InstanceId) -> u64 {
    (id.number + u64::from(id.owner.0)) % 3
}

fn order_of(graph: &Graph, arrival: &[InstanceId]) -> Vec<InstanceId> {
    let mut run = Run::new(SIZE);
    for id in arrival {
        run.commit(*id, &graph[id]);
    }
    run.order
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn commits_in_any_order_are_executed_as_the_whole_graph_says(
        graph in graphs(), arrival in shuffled(),
    ) {
        executes_what_it_can(&graph, &arrival)?;
    }

    #[test]
    fn replicas_that_learn_in_different_orders_execute_what_interferes_in_the_same(
        graph in graphs(), arrivals in [shuffled(), shuffled()],
        directions in proptest::collection::vec(any::<bool>(), 16),
    ) {
        let graph = with_interference(graph, &directions);
        let [one, other] = arrivals.map(|arrival| order_of(&graph, &arrival));
        for third in 0..3 {
            let of = |order: &[InstanceId]| -> Vec<_> {
                order.iter().filter(|id| kin(**id) == third).copied().collect()
            };
            prop_assert_eq!(of(&one), of(&other));
        }
    }
}

/// Each instance depends on the one before it.
fn chain(length: u64, arrival: impl Iterator<Item = u64>) -> Run {
    let mut run = Run::new(1);
    for number in arrival {
        let before = number.checked_sub(1).map(|before| id(0, before));
        run.commit(id(0, number), &attributes(1, 0, &[], before.into_iter().collect()));
    }
    assert!(run.order.iter().copied().eq((0..length).map(|number| id(0, number))));
    run
}

/// Every second one first, then the others: from the end, and so that chains meet.
fn interleaved(length: u64) -> impl Iterator<Item = u64> {
    let odd = (0..length / 2).rev().map(|half| 2 * half + 1);
    odd.chain((0..length.div_ceil(2)).rev().map(|half| 2 * half))
}

#[test]
fn long_chains_and_cycles_need_no_deep_stack() {
    let length = 100_000;
    chain(length, 0..length);
    chain(length, (0..length).rev());
    // The first depends on the last: one component.
    let mut run = Run::new(1);
    for number in 0..length {
        let before = id(0, number.checked_sub(1).unwrap_or(length - 1));
        run.commit(id(0, number), &attributes(1, 0, &[], vec![before]));
    }
    assert_eq!(run.executor.counts.component_max, length);
    assert!(run.order.iter().copied().eq((0..length).map(|number| id(0, number))));
}

/// Before, each commit at the end of a backlog woke all of it, only to find it blocked by the next: 100
/// times the backlog cost 10,000 times the looks.
#[test]
fn a_command_costs_no_more_looks_in_a_long_backlog_than_in_a_short_one() {
    let per_command = |length: u64, run: Run| run.executor.counts.looks / length;
    for length in [100, 1000, 10_000, 100_000] {
        let backwards = per_command(length, chain(length, (0..length).rev()));
        let meeting = per_command(length, chain(length, interleaved(length)));
        let forwards = per_command(length, chain(length, 0..length));
        assert!(
            forwards <= 8 && backwards <= 12 && meeting <= 16,
            "{length}: {forwards} {backwards} {meeting}"
        );
    }
}

/// Commands on one key: each depends on all that are open. The first is the last to be committed.
#[test]
fn a_backlog_on_one_key_costs_each_of_its_dependencies_a_few_looks() {
    for length in [50, 200, 800] {
        let mut run = Run::new(1);
        let all = |number| (0..number).map(|before| id(0, before)).collect();
        for number in (0..length).rev() {
            run.commit(id(0, number), &attributes(1, 0, &[], all(number)));
        }
        assert_eq!(run.order.len() as u64, length);
        let edges = length * (length - 1) / 2;
        assert!(run.executor.counts.looks <= 4 * edges, "{} of {edges}", run.executor.counts.looks);
    }
}

/// A chain that was committed from its end, each instance blocked by the next: who depends on its end finds
/// the one instance that is missing without going through all of them.
#[test]
fn what_blocks_a_long_chain_is_found_once_and_not_by_everyone_who_waits_for_its_end() {
    for length in [100, 1000, 10_000] {
        let mut run = Run::new(1);
        let on = |number| attributes(1, 0, &[], vec![id(0, number)]);
        for number in (1..length).rev() {
            run.commit(id(0, number), &on(number - 1));
        }
        for number in length..2 * length {
            run.commit(id(0, number), &on(length - 1));
        }
        assert_eq!(run.order, []);
        run.commit(id(0, 0), &attributes(1, 0, &[], Vec::new()));
        assert_eq!(run.order.len() as u64, 2 * length);
        let per_command = run.executor.counts.looks / (2 * length);
        assert!(per_command <= 12, "{length}: {per_command}");
    }
}
