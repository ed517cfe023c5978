//! The replicated state machine: a key-value store with client sessions.
//!
//! [`Store::execute`] is deterministic. A command takes effect at most once, however often it is
//! executed: the store keeps, for every session, which sequences it has executed and the outcomes
//! that the client has not yet acknowledged ([`crate::command::Command::answered_below`]).
//!
//! *Bounded:* a session keeps one slot per sequence between the first that is not both executed
//! and answered, and the newest executed; clients keep within
//! [`crate::command::SESSION_WINDOW`]. Replicas admit at most [`SESSIONS_MAX`] sessions at the
//! edge, so that no order of execution can make two replicas differ over it.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

use crate::command::{
    APPENDED_BYTES_MAX, ClientId, Command, CommandId, Key, Operation, Outcome, Value,
};
use crate::mutants::mutant;

/// The balance of an account that no transfer has touched.
pub const OPENING_BALANCE: u64 = 1000;

/// How many sessions a replica admits.
pub const SESSIONS_MAX: usize = 1 << 16;

/// What [`Store::execute`] made of a command.
#[derive(Debug, PartialEq, Eq)]
pub enum Executed<'a> {
    /// First execution.
    Applied(&'a Outcome),
    /// It had been executed; this is the outcome of that time.
    Repeated(&'a Outcome),
    /// It had been executed and its client has acknowledged the answer.
    Forgotten,
}

impl<'a> Executed<'a> {
    /// What to answer the client; none if it knows.
    pub fn outcome(&self) -> Option<&'a Outcome> {
        match self {
            Executed::Repeated(_) if mutant!(RepeatedNotAnswered) => None,
            Executed::Applied(outcome) | Executed::Repeated(outcome) => Some(outcome),
            Executed::Forgotten => None,
        }
    }
}

/// One sequence of a session. `Missing` can only stand between executed ones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Slot {
    Missing,
    Executed(Outcome),
    Answered,
}

/// What the store remembers of one client. `slots[0]` has sequence `base`; all before are executed
/// and answered.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Session {
    pub(crate) base: u64,
    pub(crate) answered_below: u64,
    pub(crate) slots: VecDeque<Slot>,
}

impl Session {
    /// Forgets the outcomes below `answered_below`, and the slots that are done with.
    fn acknowledge(&mut self, answered_below: u64) {
        while self.answered_below < answered_below {
            let offset = self.answered_below.max(self.base) - self.base;
            match self.slots.get_mut(offset as usize) {
                None => self.answered_below = answered_below,
                Some(slot) => {
                    // A missing one was answered by another replica and comes here later.
                    if !matches!(slot, Slot::Missing) {
                        *slot = Slot::Answered;
                    }
                    self.answered_below = self.base + offset + 1;
                }
            }
        }
        while self.slots.front().is_some_and(|slot| self.is_done(slot)) {
            self.slots.pop_front();
            self.base += 1;
        }
    }

    /// Whether the first slot is executed and answered. What is executed here after its answer was
    /// acknowledged, because another replica gave it, is done as soon as it is executed.
    fn is_done(&self, first: &Slot) -> bool {
        match first {
            Slot::Missing => mutant!(WindowSlidOverGap),
            Slot::Executed(_) => self.base < self.answered_below,
            Slot::Answered => true,
        }
    }

    /// The slot of `sequence`, made if need be; `None` if it is done with.
    fn slot(&mut self, sequence: u64) -> Option<&mut Slot> {
        let offset = sequence.checked_sub(self.base)? as usize;
        while self.slots.len() <= offset {
            self.slots.push_back(Slot::Missing);
        }
        if mutant!(OutcomeOfAnother) && matches!(self.slots[offset], Slot::Executed(_)) {
            return self.slots.back_mut();
        }
        Some(&mut self.slots[offset])
    }
}

/// What a driver must know of the replicated state, be it a [`Store`] or a core's own.
pub trait Replicated {
    /// How much it holds; equal where the digests are.
    fn applied(&self) -> u64;

    /// A digest of what it holds: equal states have equal digests, whatever led there.
    fn digest(&self) -> u64;

    /// How many sessions it knows.
    fn session_count(&self) -> usize;

    /// The first sequence of this client that may be new to it, or none if it does not know the client.
    fn next_expected(&self, client: ClientId) -> Option<u64>;

    /// Whether a client that it does not know may begin with any sequence: what it asked before went elsewhere, and
    /// nothing of it will come here.
    fn begins_anywhere(&self) -> bool {
        false
    }
}

/// What an operation leaves in a register.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Left<'a> {
    /// What it held before.
    Same,
    /// This, which came with the operation.
    Holds(&'a Value),
    /// This, which was made of what it held before.
    Made(Value),
    /// Nothing.
    Nothing,
}

/// What an operation on one register leaves there: a function of what it held `before`, without side
/// effects. Its outcome is [`Outcome::Done`] for a put; else what the register held before.
pub fn left_by<'a>(operation: &'a Operation, before: Option<&Value>) -> Left<'a> {
    match operation {
        Operation::Get { .. } | Operation::Transfer { .. } => Left::Same,
        Operation::Put { value, .. } | Operation::Rmw { value, .. } => Left::Holds(value),
        Operation::Cas { expected, value, .. } => {
            let found = before == expected.as_ref();
            if found || mutant!(CasIgnoresExpected) { Left::Holds(value) } else { Left::Same }
        }
        Operation::Add { amount, .. } => {
            let before = before.filter(|_| !mutant!(AddIgnoresHeld));
            Left::Made(sum(before, *amount))
        }
        Operation::Append { value, .. } => {
            let before = before.filter(|_| !mutant!(AppendReplaces));
            let before = before.map_or(&[][..], |before| before);
            let bytes = before.len() + value.len();
            if bytes > APPENDED_BYTES_MAX {
                return Left::Same;
            }
            let mut whole = Value::with_capacity(bytes);
            let in_front = mutant!(AppendInFront);
            let (first, last) = if in_front { (&value[..], before) } else { (before, &value[..]) };
            whole.extend_from_slice(first);
            whole.extend_from_slice(last);
            Left::Made(whole)
        }
        Operation::Delete { .. } if mutant!(DeleteLeavesValue) => Left::Same,
        Operation::Delete { .. } => Left::Nothing,
    }
}

/// A value whose number is greater by `amount`; bytes behind the number stay.
fn sum(before: Option<&Value>, amount: u64) -> Value {
    let mut value = before.map_or(Value::new(), |before| Value::from_slice(before));
    value.resize(value.len().max(size_of::<u64>()), 0);
    if let Some(number) = value.first_chunk_mut() {
        *number = u64::from_le_bytes(*number).wrapping_add(amount).to_le_bytes();
    }
    value
}

/// What an operation on one register returns that held `before`.
pub fn outcome_of(operation: &Operation, before: Option<Value>) -> Outcome {
    match operation {
        Operation::Put { .. } => Outcome::Done,
        Operation::Rmw { value, .. } if mutant!(RmwReturnsNew) => {
            Outcome::Found(Some(value.clone()))
        }
        Operation::Add { amount, .. } if mutant!(AddReturnsNew) => {
            Outcome::Found(Some(sum(before.as_ref(), *amount)))
        }
        _ => Outcome::Found(before),
    }
}

/// The state: registers, accounts, sessions, and a running digest of the first two.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Store {
    pub(crate) registers: FxHashMap<Key, Value>,
    pub(crate) accounts: FxHashMap<Key, u64>,
    pub(crate) sessions: FxHashMap<ClientId, Session>,
    digest: u64,
    applied: u64,
}

impl Store {
    /// Applies `command` unless it was applied before, and says what it returned the first time.
    pub fn execute(&mut self, command: &Command) -> Executed<'_> {
        let CommandId { client, sequence } = command.id;
        let client = if mutant!(SessionsShared) { ClientId(0) } else { client };
        let session = self.sessions.entry(client).or_default();
        let early = mutant!(OutcomeForgottenEarly);
        session.acknowledge(if early { sequence } else { command.answered_below });
        let Some(slot) = session.slot(sequence) else { return Executed::Forgotten };
        if mutant!(DuplicateApplied) {
            *slot = Slot::Missing;
        }
        match slot {
            Slot::Answered => Executed::Forgotten,
            Slot::Executed(outcome) => Executed::Repeated(outcome),
            Slot::Missing => {
                let state = State {
                    registers: &mut self.registers,
                    accounts: &mut self.accounts,
                    digest: &mut self.digest,
                };
                let outcome = state.apply(&command.operation);
                self.applied += 1;
                *slot = Slot::Executed(outcome);
                let Slot::Executed(outcome) = slot else { unreachable!("just written") };
                Executed::Applied(outcome)
            }
        }
    }

    /// Rebuilds a store from its parts, as state transfer delivers them.
    pub(crate) fn from_parts(
        registers: FxHashMap<Key, Value>,
        accounts: FxHashMap<Key, u64>,
        sessions: FxHashMap<ClientId, Session>,
        applied: u64,
    ) -> Self {
        let digest = registers.iter().map(|(k, v)| mark(*k, v.as_slice())).fold(0, add)
            ^ accounts.iter().map(|(k, v)| mark(*k, v)).fold(0, add);
        Store { registers, accounts, sessions, digest, applied }
    }
}

impl Replicated for Store {
    /// How many commands have taken effect.
    fn applied(&self) -> u64 {
        self.applied
    }

    /// Of all registers and accounts, whatever the order of the commands that led there.
    fn digest(&self) -> u64 {
        self.digest
    }

    fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// The first that is not known to be both executed and answered.
    fn next_expected(&self, client: ClientId) -> Option<u64> {
        self.sessions.get(&client).map(|session| session.base)
    }
}

fn add(a: u64, b: u64) -> u64 {
    a ^ b
}

/// The part of the digest that one entry makes: its hash, mixed so that exclusive or over entries
/// is a fair digest of the set.
fn mark(key: Key, value: impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    (key, value).hash(&mut hasher);
    let mut x = hasher.finish();
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The part of the store that operations see.
struct State<'a> {
    registers: &'a mut FxHashMap<Key, Value>,
    accounts: &'a mut FxHashMap<Key, u64>,
    digest: &'a mut u64,
}

impl State<'_> {
    fn apply(self, operation: &Operation) -> Outcome {
        if let Operation::Transfer { from, to, amount } = operation {
            return self.transfer(*from, *to, *amount);
        }
        let key = operation.keys().0;
        // A put or an exchange is written without a look at what was there.
        let before = match operation {
            Operation::Cas { .. } | Operation::Add { .. } | Operation::Append { .. } => {
                self.registers.get(&key)
            }
            _ => None,
        };
        let before = match left_by(operation, before) {
            Left::Same => self.read(key),
            Left::Holds(value) => self.replace(key, Some(value)),
            Left::Made(value) => self.replace(key, Some(&value)),
            Left::Nothing => self.replace(key, None),
        };
        outcome_of(operation, before)
    }

    fn read(&self, key: Key) -> Option<Value> {
        self.registers.get(&key).map(|value| Value::from_slice(value))
    }

    fn replace(self, key: Key, value: Option<&Value>) -> Option<Value> {
        let before = match value {
            Some(value) => {
                *self.digest ^= mark(key, value.as_slice());
                // Copies bytes; `clone` would go through them one by one.
                self.registers.insert(key, Value::from_slice(value))
            }
            None => self.registers.remove(&key),
        };
        if let Some(before) = &before {
            *self.digest ^= mark(key, before.as_slice());
        }
        before
    }

    fn transfer(mut self, from: Key, to: Key, amount: u64) -> Outcome {
        let balance = |key| self.accounts.get(&key).copied().unwrap_or(OPENING_BALANCE);
        let (payer, receiver) = (balance(from), balance(to));
        let overdraft = mutant!(TransferOverdraws).then_some(0);
        let after = payer.checked_sub(amount).or(overdraft).zip(receiver.checked_add(amount));
        let Some((payer, receiver)) = after else {
            return Outcome::Balances { moved: false, from: payer, to: receiver };
        };
        self.set_balance(from, payer);
        if !mutant!(TransferLosesMoney) {
            self.set_balance(to, receiver);
        }
        Outcome::Balances { moved: true, from: payer, to: receiver }
    }

    fn set_balance(&mut self, key: Key, balance: u64) {
        *self.digest ^= mark(key, balance);
        if let Some(before) = self.accounts.insert(key, balance) {
            *self.digest ^= mark(key, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(sequence: u64, answered_below: u64, operation: Operation) -> Command {
        let id = CommandId { client: ClientId(9), sequence };
        Command { id, answered_below, operation }
    }

    fn value(text: &str) -> Value {
        Value::from_slice(text.as_bytes())
    }

    fn rmw(text: &str) -> Operation {
        Operation::Rmw { key: Key::register(1), value: value(text) }
    }

    #[test]
    fn a_command_executed_twice_takes_effect_once_and_repeats_its_outcome() {
        let mut store = Store::default();
        store.execute(&command(0, 0, rmw("a")));
        let found_a = Outcome::Found(Some(value("a")));
        assert_eq!(store.execute(&command(1, 0, rmw("b"))), Executed::Applied(&found_a));
        assert_eq!(store.execute(&command(1, 0, rmw("b"))), Executed::Repeated(&found_a));
        assert_eq!(store.applied(), 2);
        store.execute(&command(2, 2, rmw("c")));
        assert_eq!(store.execute(&command(1, 0, rmw("b"))), Executed::Forgotten);
        assert_eq!(store.registers[&Key::register(1)], value("c"));
    }

    #[test]
    fn a_command_that_another_replica_answered_first_still_takes_effect_here() {
        let mut store = Store::default();
        // 1 says that 0 is answered, but 0 reaches this replica after it.
        store.execute(&command(1, 1, Operation::Get { key: Key::register(2) }));
        assert!(matches!(store.execute(&command(0, 0, rmw("a"))), Executed::Applied(_)));
        assert!(matches!(
            store.execute(&command(0, 0, rmw("a"))),
            Executed::Repeated(_) | Executed::Forgotten
        ));
        assert_eq!(store.applied(), 2);
    }

    #[test]
    fn a_session_forgets_what_its_client_has_acknowledged() {
        let mut store = Store::default();
        for sequence in 0..10_000 {
            store.execute(&command(sequence, sequence.saturating_sub(4), rmw("x")));
        }
        assert!(store.sessions[&ClientId(9)].slots.len() <= 5);
    }

    #[test]
    fn a_command_that_comes_after_its_answer_does_not_hold_up_its_session() {
        let mut store = Store::default();
        for pair in 0..1000 {
            let (early, late) = (2 * pair + 1, 2 * pair);
            store.execute(&command(early, early, rmw("x")));
            store.execute(&command(late, late.saturating_sub(1), rmw("y")));
        }
        assert!(store.sessions[&ClientId(9)].slots.len() <= 4);
        assert_eq!(store.applied(), 2000);
    }

    #[test]
    fn cas_writes_only_where_it_finds_what_it_expects() {
        let mut store = Store::default();
        let key = Key::register(3);
        let cas = |expected: Option<&str>, new: &str| Operation::Cas {
            key,
            expected: expected.map(value),
            value: value(new),
        };
        store.execute(&command(0, 0, cas(None, "a")));
        let outcome = Outcome::Found(Some(value("a")));
        assert_eq!(store.execute(&command(1, 0, cas(Some("z"), "b"))), Executed::Applied(&outcome));
        assert_eq!(store.execute(&command(2, 0, cas(Some("a"), "c"))), Executed::Applied(&outcome));
        assert_eq!(store.registers[&key], value("c"));
    }

    /// What a register holds after some operations, and what the last returned.
    fn after(operations: &[Operation]) -> (Option<Value>, Outcome) {
        let mut store = Store::default();
        let mut last = Outcome::Unknown;
        for (sequence, operation) in (0..).zip(operations) {
            let Executed::Applied(outcome) =
                store.execute(&command(sequence, 0, operation.clone()))
            else {
                panic!("executed once")
            };
            last = outcome.clone();
        }
        let Store { registers, accounts, sessions, .. } = store.clone();
        let rebuilt = Store::from_parts(registers, accounts, sessions, 0);
        assert_eq!(rebuilt.digest(), store.digest(), "the digest follows");
        (store.registers.get(&Key::register(1)).cloned(), last)
    }

    #[test]
    fn add_reads_the_first_eight_bytes_wraps_and_keeps_the_others() {
        let key = Key::register(1);
        let add = |amount| Operation::Add { key, amount };
        let number = |n: u64| Value::from_slice(&n.to_le_bytes());
        assert_eq!(after(&[add(5)]), (Some(number(5)), Outcome::Found(None)));
        let twice = after(&[add(5), add(u64::MAX)]);
        assert_eq!(twice, (Some(number(4)), Outcome::Found(Some(number(5)))));
        assert_eq!(after(&[add(0)]), (Some(number(0)), Outcome::Found(None)), "no longer absent");
        let (left, _) = after(&[rmw("ab"), add(256)]);
        assert_eq!(left.as_deref(), Some(b"ac\0\0\0\0\0\0".as_slice()));
        let (left, _) = after(&[rmw("aaaaaaaatail"), add(1)]);
        assert_eq!(left.as_deref(), Some(b"baaaaaaatail".as_slice()));
    }

    #[test]
    fn append_lengthens_a_value_up_to_its_bound_and_then_leaves_it() {
        let key = Key::register(1);
        let append = |text: &str| Operation::Append { key, value: value(text) };
        assert_eq!(after(&[append("ab")]), (Some(value("ab")), Outcome::Found(None)));
        let twice = after(&[append("ab"), append("cd")]);
        assert_eq!(twice, (Some(value("abcd")), Outcome::Found(Some(value("ab")))));
        let full = "x".repeat(APPENDED_BYTES_MAX - 2);
        let (left, _) = after(&[append(&full), append("yz")]);
        assert_eq!(left.map(|left| left.len()), Some(APPENDED_BYTES_MAX));
        let over = after(&[append(&full), append("xyz")]);
        assert_eq!(over, (Some(value(&full)), Outcome::Found(Some(value(&full)))));
    }

    #[test]
    fn transfers_preserve_the_sum_and_refuse_overdrafts() {
        let mut store = Store::default();
        let transfer =
            |amount| Operation::Transfer { from: Key::account(0), to: Key::account(1), amount };
        let moved = Outcome::Balances { moved: true, from: 400, to: 1600 };
        assert_eq!(store.execute(&command(0, 0, transfer(600))), Executed::Applied(&moved));
        let refused = Outcome::Balances { moved: false, from: 400, to: 1600 };
        assert_eq!(store.execute(&command(1, 0, transfer(600))), Executed::Applied(&refused));
    }

    #[test]
    fn the_digest_depends_on_the_state_and_not_on_the_path_to_it() {
        let put = |key, text: &str| Operation::Put { key: Key::register(key), value: value(text) };
        let mut a = Store::default();
        let mut b = Store::default();
        a.execute(&command(0, 0, put(1, "x")));
        a.execute(&command(1, 0, put(2, "y")));
        b.execute(&command(0, 0, put(2, "z")));
        b.execute(&command(1, 0, put(2, "y")));
        assert_ne!(a.digest(), b.digest());
        b.execute(&command(2, 0, put(1, "x")));
        assert_eq!(a.digest(), b.digest());
        let Store { registers, accounts, sessions, .. } = b.clone();
        assert_eq!(Store::from_parts(registers, accounts, sessions, 3).digest(), b.digest());
    }
}
