//! Which commands interfere, and which are the same.

use proptest::prelude::*;

use crate::command::{ClientId, Command, CommandId, Key, Operation, Value};
use crate::protocol::multicoordinated::structs::{History, Interferes, Proposal, Structure};

fn command(sequence: u64, operation: Operation) -> Command {
    let id = CommandId { client: ClientId(1), sequence };
    Command { id, answered_below: 0, operation }
}

fn operations() -> impl Strategy<Value = Operation> {
    // Transfers to oneself too: they are refused before they get here, and must not count a key twice.
    prop_oneof![
        (0..3u64).prop_map(|n| Operation::Get { key: Key::register(n) }),
        (0..3u64).prop_map(|n| Operation::Put { key: Key::register(n), value: Value::new() }),
        (0..3u64).prop_map(|n| Operation::Delete { key: Key::register(n) }),
        (0..3u64, 0..3u64).prop_map(|(from, to)| {
            Operation::Transfer { from: Key::account(from), to: Key::account(to), amount: 1 }
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn commands_interfere_as_their_operations_do(one in operations(), other in operations()) {
        let interfere = one.interferes(&other);
        let (one, other) = (command(0, one), command(1, other));
        prop_assert_eq!(one.interferes(&other), interfere);
        let proposal = |command: &Command| Proposal { name: command.id, command: command.clone() };
        prop_assert_eq!(proposal(&one).interferes(&proposal(&other)), interfere);
        let order = |a, b| History::<Command>::of([a, b]);
        prop_assert_eq!(order(&one, &other) != order(&other, &one), interfere);
    }
}

#[test]
fn a_command_that_is_tried_again_is_the_same() {
    let put = |answered_below| {
        let operation = Operation::Put { key: Key::register(1), value: Value::new() };
        Command { answered_below, ..command(7, operation) }
    };
    assert_eq!(History::<Command>::of([&put(3), &put(5)]).len(), 1);
}

#[test]
fn two_proposals_of_one_command_are_two() {
    let put = command(7, Operation::Put { key: Key::register(1), value: Value::new() });
    let proposals = [1, 2].map(|name| Proposal { name, command: put.clone() });
    assert_eq!(History::of(&proposals).len(), 2);
    let [one, other] = [0, 1].map(|i| History::of(&proposals[i..=i]));
    assert!(!one.is_compatible(&other));
}
