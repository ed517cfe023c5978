//! The index of conflicts: what a command depends on.

use proptest::prelude::*;

use super::bench::{Bench, after, batch, command, id, options, read, write};
use crate::command::{Command, Key, Operation};
use crate::protocol::epaxos::conflicts::{Conflicts, Keys};
use crate::protocol::epaxos::deps::{Deps, PerNode};
use crate::protocol::epaxos::message::{EpaxosMessage, InstanceId, Proposal};
use crate::protocol::epaxos::options::{Dependencies, FastPath};

const SIZE: u8 = 3;

/// An index, and how far each row is executed.
struct Index {
    conflicts: Conflicts,
    settled: PerNode,
}

impl Index {
    fn new(kind: Dependencies) -> Index {
        let settled = PerNode::from_elem(0, usize::from(SIZE));
        Index { conflicts: Conflicts::new(SIZE, kind), settled }
    }

    fn record(&mut self, id: InstanceId, operations: &[Operation]) -> Keys {
        let keys = self.conflicts.keys(&commands(operations));
        self.conflicts.record(id, &keys);
        keys
    }

    /// Records it, and executes it as the next of its row.
    fn execute(&mut self, id: InstanceId, operation: Operation) -> Keys {
        let keys = self.record(id, &[operation]);
        self.conflicts.executed(id, &keys);
        self.settled[usize::from(id.owner.0)] = id.number + 1;
        keys
    }

    /// What a proposer computes.
    fn proposed(&mut self, operations: &[Operation]) -> Deps {
        let keys = self.conflicts.keys(&commands(operations));
        let mut deps = Deps { settled: self.settled.clone(), ..Deps::none(SIZE) };
        self.conflicts.add_proposed(&keys, &mut deps);
        self.conflicts.remove(id(0, u64::MAX), &keys);
        deps
    }

    /// What another replica adds to the proposal of an instance, when its proposer had executed nothing.
    fn known(&mut self, of: InstanceId, operations: &[Operation]) -> Deps {
        let keys = self.conflicts.keys(&commands(operations));
        let mut deps = Deps::none(SIZE);
        self.conflicts.add_known(of, &keys, &mut deps);
        self.conflicts.remove(id(0, u64::MAX), &keys);
        deps
    }
}

fn commands(operations: &[Operation]) -> Vec<Command> {
    operations.iter().map(|operation| command(1, operation.clone())).collect()
}

fn transfer(from: u64, to: u64) -> Operation {
    Operation::Transfer { from: Key::account(from), to: Key::account(to), amount: 1 }
}

#[test]
fn reads_do_not_interfere_with_reads() {
    for kind in [Dependencies::Explicit, Dependencies::Prefix] {
        let mut index = Index::new(kind);
        index.record(id(0, 0), &[read(1)]);
        assert!(!index.proposed(&[read(1)]).covers(id(0, 0)), "{kind:?}");
        assert!(index.proposed(&[write(1)]).covers(id(0, 0)), "{kind:?}");
        index.record(id(1, 0), &[write(1)]);
        assert!(index.proposed(&[read(1)]).covers(id(1, 0)), "{kind:?}");
        assert!(!index.proposed(&[write(2)]).covers(id(1, 0)), "{kind:?}");
    }
}

#[test]
fn a_write_depends_on_the_last_write_that_was_executed_and_on_all_reads_since() {
    let mut index = Index::new(Dependencies::Explicit);
    index.execute(id(0, 0), write(1));
    index.execute(id(1, 0), read(1));
    index.execute(id(0, 1), write(1));
    index.execute(id(1, 1), read(1));
    index.execute(id(2, 0), read(1));
    assert_eq!(index.proposed(&[read(1)]).ids, [id(0, 1)]);
    assert_eq!(index.proposed(&[write(1)]).ids, [id(0, 1), id(1, 1), id(2, 0)]);
    index.record(id(2, 1), &[read(1)]);
    assert_eq!(index.proposed(&[read(1)]).ids, [id(0, 1)]);
    assert_eq!(index.proposed(&[write(1)]).ids, [id(0, 1), id(1, 1), id(2, 0), id(2, 1)]);
    index.execute(id(0, 2), write(1));
    assert_eq!(index.proposed(&[write(1)]).ids, [id(0, 2), id(2, 1)], "it is not executed");
}

#[test]
fn all_that_is_not_executed_is_named_and_not_only_the_latest() {
    let mut index = Index::new(Dependencies::Explicit);
    (0..3).for_each(|number| drop(index.record(id(number as u8, number), &[write(1)])));
    assert_eq!(index.proposed(&[read(1)]).ids, [id(0, 0), id(1, 1), id(2, 2)]);
}

#[test]
fn a_command_on_several_keys_depends_on_what_touches_any_of_them() {
    for kind in [Dependencies::Explicit, Dependencies::Prefix] {
        let mut index = Index::new(kind);
        index.record(id(0, 0), &[transfer(1, 2)]);
        index.record(id(1, 0), &[write(3), write(4)]);
        for other in [transfer(2, 9), transfer(9, 1)] {
            assert!(index.proposed(&[other]).covers(id(0, 0)), "{kind:?}");
        }
        assert!(index.proposed(&[read(5), read(4)]).covers(id(1, 0)), "{kind:?}");
        // Account 1 is not register 1.
        let apart = index.proposed(&[write(1), write(2), transfer(3, 4)]);
        assert!(!apart.covers(id(0, 0)) && !apart.covers(id(1, 0)), "{kind:?}");
    }
    let mut index = Index::new(Dependencies::Explicit);
    index.record(id(0, 0), &[transfer(1, 2)]);
    assert_eq!(index.proposed(&[transfer(2, 1)]).ids, [id(0, 0)], "once");
}

#[test]
fn a_command_that_reads_and_writes_a_key_writes_it() {
    for operations in [[read(1), write(1)], [write(1), read(1)]] {
        let mut index = Index::new(Dependencies::Explicit);
        index.record(id(0, 0), &operations);
        assert_eq!(index.proposed(&[read(1)]).ids, [id(0, 0)]);
    }
}

#[test]
fn an_instance_depends_neither_on_itself_nor_on_what_its_owner_proposed_later() {
    for kind in [Dependencies::Explicit, Dependencies::Prefix] {
        let mut index = Index::new(kind);
        (0..3).for_each(|number| drop(index.record(id(0, number), &[write(1)])));
        index.record(id(1, 5), &[write(1)]);
        let deps = index.known(id(0, 1), &[write(1)]);
        let covered: Vec<_> = (0..3).map(|number| deps.covers(id(0, number))).collect();
        assert_eq!(covered, [true, false, false], "{kind:?}");
        assert!(deps.covers(id(1, 5)), "{kind:?}");
    }
}

#[test]
fn an_index_from_which_all_was_removed_is_empty_and_its_places_are_used_again() {
    for kind in [Dependencies::Explicit, Dependencies::Prefix] {
        let mut index = Index::new(kind);
        for round in 0..3 {
            let kept = [
                (id(0, round), index.execute(id(0, round), write(round))),
                (id(1, round), index.execute(id(1, round), read(round))),
                (id(2, round), index.record(id(2, round), &[write(round), write(9)])),
            ];
            assert_eq!(index.conflicts.key_count(), 2);
            for (id, keys) in kept {
                index.conflicts.remove(id, &keys);
            }
            assert_eq!(index.conflicts.key_count(), 0, "{kind:?}");
            assert_eq!(index.proposed(&[write(round)]).ids, [], "{kind:?}");
        }
    }
}

#[test]
fn a_no_op_leaves_the_index() {
    let mut bench = Bench::new(3, options(FastPath::FixedQuorum));
    let x = bench.ask(0, write(1));
    bench.deliver("PreAccept", x, 0, 1);
    assert_eq!(bench.core(1).conflicts.key_count(), 1);
    let (proposal, attributes) = (Some(Proposal::Nop), after(3, &[]));
    bench.hear(1, 2, EpaxosMessage::Commit { id: x, epoch: 0, proposal, attributes });
    assert_eq!(bench.core(1).conflicts.key_count(), 0);
    let later = bench.ask(1, write(1));
    assert_eq!(bench.instance(1, later).attributes.as_ref().map(|a| a.deps.ids.len()), Some(0));
}

#[test]
fn a_command_is_in_the_index_however_it_became_known() {
    let (proposal, attributes) = (Some(Proposal::Command(batch(7, write(1)))), after(3, &[]));
    let beyond = Vec::new();
    let (p, a) = (proposal.clone(), attributes.clone());
    let ways = [
        EpaxosMessage::Commit { id: id(0, 0), epoch: 0, proposal: p, attributes: a },
        EpaxosMessage::Accept {
            id: id(0, 0),
            ballot: crate::protocol::ballot::Round(1),
            proposal,
            attributes,
            beyond,
        },
    ];
    for message in ways {
        let mut bench = Bench::new(3, options(FastPath::FixedQuorum));
        bench.hear(1, 0, message);
        let later = bench.ask(1, write(1));
        let deps = bench.instance(1, later).attributes.as_ref().map(|a| a.deps.clone());
        assert!(deps.is_some_and(|deps| deps.covers(id(0, 0))));
    }
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let one = prop_oneof![
        (0..3u64).prop_map(read),
        (0..3u64).prop_map(write),
        (0..2u64).prop_map(|from| transfer(from, from + 1)),
    ];
    proptest::collection::vec(one, 1..3)
}

fn interfere(one: &[Operation], other: &[Operation]) -> bool {
    one.iter().any(|a| other.iter().any(|b| a.interferes(b)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Of what interferes both cover everything; by name, nothing else is.
    #[test]
    fn names_and_prefixes_cover_the_same_that_interferes(
        history in proptest::collection::vec((0..SIZE, operations()), 1..12), asked in operations(),
    ) {
        let mut explicit = Index::new(Dependencies::Explicit);
        let mut prefix = Index::new(Dependencies::Prefix);
        let mut next = [0; SIZE as usize];
        let mut recorded = Vec::new();
        for (owner, operations) in history {
            let instance = id(owner, next[usize::from(owner)]);
            next[usize::from(owner)] += 1;
            explicit.record(instance, &operations);
            prefix.record(instance, &operations);
            recorded.push((instance, operations));
        }
        let of = id(0, next[0]);
        let by_name = [explicit.proposed(&asked), explicit.known(of, &asked)];
        let by_prefix = [prefix.proposed(&asked), prefix.known(of, &asked)];
        for (instance, operations) in recorded {
            let conflicts = interfere(&operations, &asked);
            prop_assert!(by_name.iter().all(|deps| deps.covers(instance) == conflicts));
            prop_assert!(!conflicts || by_prefix.iter().all(|deps| deps.covers(instance)));
        }
    }
}
