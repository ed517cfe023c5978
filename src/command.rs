//! Ids, commands and the interference relation.
//!
//! A *command* is what a client asks the replicated service to do: a [`CommandId`], which makes it
//! exactly-once however often it is retried or proposed, and an [`Operation`] on the key-value
//! store of [`crate::kv`]. Two commands *interfere* when the order of their execution can be
//! observed; protocols that exploit commutativity order only those ([`Operation::interferes`]).

use std::fmt;
use std::str::FromStr;

use smallvec::SmallVec;

/// A replica, counted from 0 in the order of the cluster file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u8);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

/// A client session: drawn at random by the client, unique in a cluster's life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId(pub u64);

impl fmt::Display for ClientId {
    /// Its low 16 bits: enough to tell the clients of a transcript apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{:x}", self.0 & 0xffff)
    }
}

/// How far a client's newest command may run ahead of its oldest unanswered one.
///
/// It bounds what a session remembers; replicas refuse a command beyond it
/// ([`Command::is_within_window`]).
pub const SESSION_WINDOW: u64 = 1 << 14;

/// Names a command for ever: the client's session and its position in it.
///
/// A client numbers its commands 0, 1, 2, … without gaps and retries each until it is answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CommandId {
    /// The session.
    pub client: ClientId,
    /// Position in the session, counted from 0.
    pub sequence: u64,
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.client, self.sequence)
    }
}

/// A key of the store. Registers (`k7`) hold opaque values; accounts (`a7`) hold balances, move
/// only by [`Operation::Transfer`] and start at [`crate::kv::OPENING_BALANCE`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key(pub u64);

const ACCOUNT_BIT: u64 = 1 << 63;

impl Key {
    /// The register number `n`.
    pub fn register(n: u64) -> Self {
        Key(n & !ACCOUNT_BIT)
    }

    /// The account number `n`.
    pub fn account(n: u64) -> Self {
        Key(n | ACCOUNT_BIT)
    }

    /// Whether this key names an account.
    pub fn is_account(self) -> bool {
        self.0 & ACCOUNT_BIT != 0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = if self.is_account() { 'a' } else { 'k' };
        write!(f, "{class}{}", self.0 & !ACCOUNT_BIT)
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let number = |digits: &str| digits.parse().map_err(|_| format!("bad key `{s}`"));
        match s.split_at_checked(1) {
            Some(("k", n)) => number(n).map(Key::register),
            Some(("a", n)) => number(n).map(Key::account),
            _ => Err(format!("bad key `{s}`: want k7 (register) or a7 (account)")),
        }
    }
}

/// What a register holds: bytes, up to 16 of them without an allocation.
pub type Value = SmallVec<[u8; 16]>;

/// The longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// How long [`Operation::Append`] makes a value at most, in bytes: what was there is returned each
/// time.
pub const APPENDED_BYTES_MAX: usize = 1 << 12;

/// What a client asks for. Registers are absent until written.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// Reads a register.
    Get {
        /// The register.
        key: Key,
    },
    /// Writes a register.
    Put {
        /// The register.
        key: Key,
        /// What it holds afterwards.
        value: Value,
    },
    /// Writes a register if it holds what is expected, and returns what it held.
    Cas {
        /// The register.
        key: Key,
        /// The value to compare with; `None` expects an absent register.
        expected: Option<Value>,
        /// What it holds afterwards, if the comparison succeeds.
        value: Value,
    },
    /// Read-modify-write: replaces a register's value and returns the one before, in one step.
    Rmw {
        /// The register.
        key: Key,
        /// What it holds afterwards.
        value: Value,
    },
    /// Adds to the number that a register's first 8 bytes are, little-endian, and returns what it
    /// held. Bytes that are not there are zero; the sum wraps.
    Add {
        /// The register.
        key: Key,
        /// How much.
        amount: u64,
    },
    /// Appends to a register's value, unless that would become longer than [`APPENDED_BYTES_MAX`], and
    /// returns what it held.
    Append {
        /// The register.
        key: Key,
        /// What is appended.
        value: Value,
    },
    /// Makes a register absent and returns what it held.
    Delete {
        /// The register.
        key: Key,
    },
    /// Moves an amount between two accounts, unless the first would fall below zero.
    Transfer {
        /// The account that pays.
        from: Key,
        /// The account that receives.
        to: Key,
        /// How much.
        amount: u64,
    },
}

impl Operation {
    /// The keys that the operation touches: one, or two for a transfer.
    pub fn keys(&self) -> (Key, Option<Key>) {
        match *self {
            Operation::Get { key }
            | Operation::Put { key, .. }
            | Operation::Cas { key, .. }
            | Operation::Rmw { key, .. }
            | Operation::Add { key, .. }
            | Operation::Append { key, .. }
            | Operation::Delete { key } => (key, None),
            Operation::Transfer { from, to, .. } => (from, Some(to)),
        }
    }

    /// Whether the operation leaves every key as it was, whatever the state.
    pub fn is_read(&self) -> bool {
        matches!(self, Operation::Get { .. })
    }

    /// What executing the operation will return, if that is the same in every state: of a put.
    pub fn outcome_before_execution(&self) -> Option<Outcome> {
        matches!(self, Operation::Put { .. }).then_some(Outcome::Done)
    }

    /// The interference relation: they touch a common key, and not both only read.
    pub fn interferes(&self, other: &Operation) -> bool {
        if self.is_read() && other.is_read() {
            return false;
        }
        let (a, b) = self.keys();
        let (c, d) = other.keys();
        a == c || Some(a) == d || b == Some(c) || (b.is_some() && b == d)
    }
}

impl fmt::Display for Operation {
    /// What is done to which keys; no values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Get { key } => write!(f, "get {key}"),
            Operation::Put { key, .. } => write!(f, "put {key}"),
            Operation::Cas { key, .. } => write!(f, "cas {key}"),
            Operation::Rmw { key, .. } => write!(f, "rmw {key}"),
            Operation::Add { key, .. } => write!(f, "add {key}"),
            Operation::Append { key, .. } => write!(f, "append {key}"),
            Operation::Delete { key } => write!(f, "delete {key}"),
            Operation::Transfer { from, to, .. } => write!(f, "transfer {from} {to}"),
        }
    }
}

/// An operation with the id that makes it exactly-once.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Command {
    /// Names the command.
    pub id: CommandId,
    /// Every command of this session with a lower sequence has been answered; its answer may be
    /// forgotten.
    pub answered_below: u64,
    /// What to do.
    pub operation: Operation,
}

impl Command {
    /// Whether the command keeps to [`SESSION_WINDOW`] and its fields agree. Replicas refuse others.
    pub fn is_within_window(&self) -> bool {
        self.answered_below <= self.id.sequence
            && self.id.sequence - self.answered_below < SESSION_WINDOW
    }

    /// Whether every field is one that the store accepts: keys of the right class, values within
    /// [`VALUE_BYTES_MAX`], sequence within the window.
    pub fn is_well_formed(&self) -> bool {
        let classes_agree = match self.operation {
            Operation::Transfer { from, to, .. } => {
                from.is_account() && to.is_account() && from != to
            }
            _ => !self.operation.keys().0.is_account(),
        };
        let short = |value: &Value| value.len() <= VALUE_BYTES_MAX;
        let values_fit = match &self.operation {
            Operation::Put { value, .. }
            | Operation::Rmw { value, .. }
            | Operation::Append { value, .. } => short(value),
            Operation::Cas { expected, value, .. } => {
                short(value) && expected.as_ref().is_none_or(short)
            }
            _ => true,
        };
        classes_agree && values_fit && self.is_within_window()
    }
}

impl Command {
    /// About how many bytes it takes in a frame or in the log.
    pub fn bytes(&self) -> usize {
        let payload = match &self.operation {
            Operation::Put { value, .. }
            | Operation::Rmw { value, .. }
            | Operation::Append { value, .. } => value.len(),
            Operation::Cas { expected, value, .. } => {
                value.len() + expected.as_ref().map_or(0, Value::len)
            }
            _ => 16,
        };
        40 + payload
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.operation)
    }
}

/// What executing a command returned.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// A put: done.
    Done,
    /// A get, cas, rmw, add, append or delete: what the register held before. A cas took effect exactly if this
    /// equals its `expected`.
    Found(Option<Value>),
    /// A transfer: both balances after it. `moved` is false when the payer held too little.
    Balances {
        /// Whether the amount was moved.
        moved: bool,
        /// The payer's balance afterwards.
        from: u64,
        /// The receiver's balance afterwards.
        to: u64,
    },
    /// Nobody knows whether it took effect, and nobody will try again.
    Unknown,
    /// The replica takes no requests any more: it has not begun this one, and never will. Another may be asked.
    Refused,
}

impl Outcome {
    /// Whether it says what executing the command returned.
    pub fn is_known(&self) -> bool {
        !matches!(self, Outcome::Unknown | Outcome::Refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(n: u64) -> Operation {
        Operation::Put { key: Key::register(n), value: Value::from_slice(b"v") }
    }

    fn get(n: u64) -> Operation {
        Operation::Get { key: Key::register(n) }
    }

    fn transfer(a: u64, b: u64) -> Operation {
        Operation::Transfer { from: Key::account(a), to: Key::account(b), amount: 1 }
    }

    #[test]
    fn reads_do_not_interfere_with_reads_and_writes_do() {
        assert!(!get(1).interferes(&get(1)));
        assert!(get(1).interferes(&put(1)) && put(1).interferes(&get(1)));
        assert!(put(1).interferes(&put(1)));
        assert!(!put(1).interferes(&put(2)));
    }

    #[test]
    fn a_transfer_interferes_through_either_key() {
        assert!(transfer(1, 2).interferes(&transfer(2, 3)));
        assert!(transfer(1, 2).interferes(&transfer(3, 1)));
        assert!(transfer(1, 2).interferes(&transfer(3, 2)));
        assert!(!transfer(1, 2).interferes(&transfer(3, 4)));
        assert!(!transfer(1, 2).interferes(&put(1)));
    }

    #[test]
    fn keys_read_back_as_written() {
        for key in [Key::register(7), Key::account(0)] {
            assert_eq!(key.to_string().parse::<Key>().unwrap(), key);
        }
        assert!("7".parse::<Key>().is_err() && "".parse::<Key>().is_err());
    }

    #[test]
    fn commands_are_shown_by_client_sequence_kind_and_keys() {
        let shown = |client, operation| {
            let id = CommandId { client: ClientId(client), sequence: 7 };
            Command { id, answered_below: 0, operation }.to_string()
        };
        let (key, value) = (Key::register(3), Value::from_slice(b"v"));
        assert_eq!(shown(1, get(3)), "c1.7 get k3");
        assert_eq!(shown(0xabcd_ef01_2345_6789, put(3)), "c6789.7 put k3");
        let cas = Operation::Cas { key, expected: None, value: value.clone() };
        assert_eq!(shown(1, cas), "c1.7 cas k3");
        assert_eq!(shown(1, Operation::Rmw { key, value: value.clone() }), "c1.7 rmw k3");
        assert_eq!(shown(1, Operation::Add { key, amount: 5 }), "c1.7 add k3");
        assert_eq!(shown(1, Operation::Append { key, value }), "c1.7 append k3");
        assert_eq!(shown(1, Operation::Delete { key }), "c1.7 delete k3");
        assert_eq!(shown(1, transfer(0, 1)), "c1.7 transfer a0 a1");
    }

    #[test]
    fn commands_outside_the_window_or_class_are_not_well_formed() {
        let id = |sequence| CommandId { client: ClientId(1), sequence };
        let command = |sequence, answered_below, operation| Command {
            id: id(sequence),
            answered_below,
            operation,
        };
        assert!(command(5, 5, get(1)).is_well_formed());
        assert!(!command(5, 6, get(1)).is_well_formed());
        assert!(!command(SESSION_WINDOW, 0, get(1)).is_well_formed());
        assert!(!command(0, 0, transfer(1, 1)).is_well_formed());
        assert!(!command(0, 0, Operation::Get { key: Key::account(1) }).is_well_formed());
    }
}
