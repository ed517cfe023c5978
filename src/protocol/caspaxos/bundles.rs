//! How much one message carries. A turn of the proposer may begin more than a frame holds: it is sent as several
//! messages, each a flight of its own. An acceptor is asked by who cannot know how much it holds: it answers in
//! parts, each of which says from which place of the question on.

use super::ballot::Ballot;
use super::message::{Change, Promise, Seen};
use super::state::State;

/// Registers of one message, at most.
pub const BUNDLE_REGISTERS_MAX: usize = 16_384;

/// Bytes of states in one message, about: a bundle that reaches it takes no more, so one value may go beyond.
pub const BUNDLE_BYTES_MAX: usize = 4 << 20;

/// What a register takes in a message beside its state, at most, in bytes.
const HEAD_BYTES: usize = 24;

/// What is sent about one register.
pub(super) trait Item {
    /// The bytes that it takes, about: never less.
    fn bytes(&self) -> usize;
}

impl Item for State {
    fn bytes(&self) -> usize {
        let marks = self.marks.iter().len() * size_of::<Ballot>();
        HEAD_BYTES + self.value.as_ref().map_or(0, smallvec::SmallVec::len) + marks
    }
}

impl Item for Change {
    fn bytes(&self) -> usize {
        self.state.bytes()
    }
}

impl Item for Promise {
    fn bytes(&self) -> usize {
        match self {
            Promise::Accepted { state, .. } => state.bytes(),
            Promise::Conflict(_) => HEAD_BYTES,
        }
    }
}

impl Item for Seen {
    fn bytes(&self) -> usize {
        match self {
            Seen::Other { state, .. } => state.bytes(),
            Seen::Same | Seen::Borrowed => HEAD_BYTES,
        }
    }
}

/// A work by its place, of which only the key is sent.
impl Item for u32 {
    fn bytes(&self) -> usize {
        HEAD_BYTES
    }
}

/// A work and what it changes.
impl Item for (u32, Change) {
    fn bytes(&self) -> usize {
        self.1.bytes()
    }
}

/// Splits what is to be sent into what one message each may carry, in the same order; nothing into nothing.
pub(super) fn bundles<T: Item>(mut items: Vec<T>) -> Vec<Vec<T>> {
    let mut bundles = Vec::new();
    while let Some(end) = end_of_first(&items) {
        let rest = items.split_off(end);
        bundles.push(std::mem::replace(&mut items, rest));
    }
    if !items.is_empty() {
        bundles.push(items);
    }
    bundles
}

/// How many items the first bundle has; none if all fit into one.
fn end_of_first<T: Item>(items: &[T]) -> Option<usize> {
    let mut bytes = 0;
    let full = items.iter().take(BUNDLE_REGISTERS_MAX).position(|item| {
        bytes += item.bytes();
        bytes >= BUNDLE_BYTES_MAX
    });
    let end = full.map_or(BUNDLE_REGISTERS_MAX, |last| last + 1);
    (end < items.len()).then_some(end)
}

/// The same for an answer, which names the place of each part's first item in the question.
pub(super) fn parts<T: Item>(items: Vec<T>) -> impl Iterator<Item = (u32, Vec<T>)> {
    let mut next = 0;
    bundles(items).into_iter().map(move |part| {
        let first = next;
        next += part.len() as u32;
        (first, part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{VALUE_BYTES_MAX, Value};

    fn seen(bytes: usize) -> Seen {
        let value = Some(Value::from_elem(0, bytes));
        Seen::Other { ballot: Ballot::ZERO, state: State { value, ..State::default() } }
    }

    #[test]
    fn what_fits_into_a_message_is_one() {
        assert!(bundles(Vec::<u32>::new()).is_empty());
        let few: Vec<u32> = (0..BUNDLE_REGISTERS_MAX as u32).collect();
        assert_eq!(bundles(few.clone()), [few]);
    }

    #[test]
    fn more_registers_than_a_message_holds_are_several_in_the_same_order() {
        let many: Vec<u32> = (0..=2 * BUNDLE_REGISTERS_MAX as u32).collect();
        let sizes: Vec<usize> = bundles(many.clone()).iter().map(Vec::len).collect();
        assert_eq!(sizes, [BUNDLE_REGISTERS_MAX, BUNDLE_REGISTERS_MAX, 1]);
        assert_eq!(bundles(many.clone()).concat(), many);
    }

    #[test]
    fn a_part_is_full_with_its_bytes_and_says_where_it_begins() {
        let few_bytes = std::iter::repeat_with(|| Seen::Same).take(5);
        let answer: Vec<Seen> = (0..10).map(|_| seen(VALUE_BYTES_MAX)).chain(few_bytes).collect();
        let parts: Vec<_> = parts(answer.clone()).collect();
        let firsts: Vec<u32> = parts.iter().map(|(first, _)| *first).collect();
        assert_eq!(firsts, [0, 4, 8]);
        assert_eq!(parts.into_iter().flat_map(|(_, part)| part).collect::<Vec<_>>(), answer);
    }
}
