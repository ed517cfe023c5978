//! Pasts say what the specification of command structures says, of all histories of a few commands.

use crate::check::invariants::multicoordinated::histories::{
    Element, Grown, Placed, Touches, touches,
};
use crate::command::{ClientId, Command, CommandId, Key, NodeId, Operation, Value};
use crate::protocol::multicoordinated::names::Name;
use crate::protocol::multicoordinated::options::Structure as Choice;
use crate::protocol::multicoordinated::structs::{History, Proposal, Sequence, Structure};

type Proposed = Proposal<Name, Command>;

/// Two that read a key, two that write it, and one that touches it and another.
fn commands() -> Vec<Proposed> {
    let (key, value) = (Key::account(0), Value::from_slice(b"v"));
    let operations = [
        Operation::Get { key },
        Operation::Get { key },
        Operation::Put { key, value: value.clone() },
        Operation::Transfer { from: key, to: Key::account(1), amount: 1 },
        Operation::Put { key: Key::account(1), value },
    ];
    let named = |(operation, number): (Operation, u64)| {
        let id = CommandId { client: ClientId(number), sequence: 0 };
        let command = Command { id, answered_below: 0, operation };
        Proposal { name: Name { proposer: NodeId(0), number }, command }
    };
    operations.into_iter().zip(0..).map(named).collect()
}

/// All sequences of so many different commands, or less.
fn sequences(most: usize) -> Vec<Vec<Proposed>> {
    let (mut all, mut longest) = (vec![Vec::new()], vec![Vec::new()]);
    for _ in 0..most {
        let longer = longest.iter().flat_map(|before: &Vec<Proposed>| {
            let fresh = commands().into_iter().filter(|command| !before.contains(command));
            fresh.map(|command| before.iter().cloned().chain([command]).collect())
        });
        longest = longer.collect();
        all.extend(longest.iter().cloned());
    }
    all
}

fn grown(sequence: &[Proposed], choice: Choice) -> Grown {
    let mut grown = Grown::default();
    for Proposal { name, command } in sequence {
        grown.append(Element::Command(*name), &touches(command, choice));
    }
    grown
}

/// Whether a value can be added to another as the invariants add what is chosen.
fn fits(one: &Grown, sequence: &[Proposed], choice: Choice) -> bool {
    let other = grown(sequence, choice);
    let mut lub = one.clone();
    let mut all = sequence.iter().zip(other.from(0));
    all.all(|(Proposal { command, .. }, placed)| match lub.contains(placed.0) {
        true => lub.has(*placed),
        false => lub.append(placed.0, &touches(command, choice)) == *placed,
    })
}

fn agree<S: Structure<Command = Proposed>>(choice: Choice) {
    for one in sequences(4) {
        let (v, mine) = (S::of(&one), grown(&one, choice));
        for other in sequences(3) {
            let (w, theirs) = (S::of(&other), grown(&other, choice));
            let common: Vec<Placed> =
                mine.from(0).iter().copied().filter(|placed| theirs.has(*placed)).collect();
            let names: Vec<Element> = common.iter().map(|(element, _)| *element).collect();
            let glb = v.glb(&w);
            let expected: Vec<Element> =
                glb.commands().iter().map(|command| Element::Command(command.name)).collect();
            assert_eq!(names, expected, "⊓ of {one:?} and {other:?}");
            assert_eq!(common.len() == mine.len(), v.is_prefix_of(&w), "{one:?} ⊑ {other:?}");
            let compatible = v.is_compatible(&w);
            assert_eq!(fits(&mine, &other, choice), compatible, "{one:?} and {other:?}");
        }
    }
}

#[test]
fn pasts_are_equal_where_histories_agree() {
    agree::<History<Proposed>>(Choice::History);
}

#[test]
fn pasts_are_equal_where_sequences_agree() {
    agree::<Sequence<Proposed>>(Choice::Sequence);
}

#[test]
fn a_checkpoint_comes_after_everything() {
    let all = sequences(2);
    for (one, other) in all.iter().flat_map(|one| all.iter().map(move |other| (one, other))) {
        let checkpoint = |sequence: &[Proposed]| {
            let mut value = grown(sequence, Choice::History);
            value.append(Element::Checkpoint, &Touches::new())
        };
        let same = History::of(one) == History::of(other);
        assert_eq!(checkpoint(one) == checkpoint(other), same, "{one:?} and {other:?}");
    }
}
