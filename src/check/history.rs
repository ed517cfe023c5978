//! Histories: what every client asked, what it was answered, and when.
//!
//! A history is kept as JSON lines, compressed with zstd, one event a line:
//!
//! ```json
//! {"process":3,"type":"ok","f":"rmw","key":"k7","value":{"new":9,"old":4},"time":1500,"site":"tokyo"}
//! ```
//!
//! A *process* does one operation at a time: an `invoke`, then one of `ok`, `fail` (it took no
//! effect) or `info` (nobody knows whether it took or will take effect; the process ends there).
//! Times are nanoseconds since the start of the run on a clock that all sites share. Written values
//! are *tokens*: numbers that no other operation of the run writes.
//!
//! | `f` | value of `invoke` | value of `ok` |
//! | --- | --- | --- |
//! | `put` | token | the same token |
//! | `get` | null | token or null |
//! | `rmw` | new token | `{"new":n,"old":o\|null}` |
//! | `add` | amount | `{"amount":n,"old":o\|null}`; it left `o + n`, wrapped to 64 bits |
//! | `append` | new token | `{"new":n,"old":o\|null}`, or `{"new":n,"full":o}`: it did not fit |
//! | `delete` | null | the old token or null |
//! | `cas` | `{"expected":e\|null,"new":n}` | the same with `"found":f\|null` |
//! | `transfer` (key: the payer) | `{"to":"a2","amount":5}` | the same with `"moved":true\|false,"from_balance":x,"to_balance":y`, the balances after it |
//!
//! Tokens of a register that is added to are its numbers. One that is appended to holds a list, and its
//! token follows from those of the list: [`appended`].
//!
//! `fail` and `info` repeat the value of their `invoke`, or say null. Bytes that are no token are
//! written as the string `"corrupt:<hex>"`; no linearizable history holds one.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

pub use read::{HistoryReader, read_history};
pub use write::HistoryWriter;

use super::linearizability::search::mix;
use crate::command::Key;

/// What an operation asked for. Values are tokens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Call {
    /// Writes a register.
    Put {
        /// What it writes.
        value: u64,
    },
    /// Reads a register.
    Get,
    /// Writes a register that holds what is expected.
    Cas {
        /// What the register must hold; `None` is absent.
        expected: Option<u64>,
        /// What it then writes.
        new: u64,
    },
    /// Replaces a register's value and returns the one before.
    Rmw {
        /// What it writes.
        new: u64,
    },
    /// Adds to a register's number, 0 if it is absent, and returns what it held.
    Add {
        /// How much.
        amount: u64,
    },
    /// Appends to a register's list and returns what it held.
    Append {
        /// What it appends.
        new: u64,
    },
    /// Makes a register absent and returns what it held.
    Delete,
    /// Moves an amount from the account that is the operation's key to another.
    Transfer {
        /// The account that receives.
        to: Key,
        /// How much.
        amount: u64,
    },
}

impl Call {
    /// The name of the function in the history format.
    pub fn function(&self) -> &'static str {
        match self {
            Call::Put { .. } => "put",
            Call::Get => "get",
            Call::Cas { .. } => "cas",
            Call::Rmw { .. } => "rmw",
            Call::Add { .. } => "add",
            Call::Append { .. } => "append",
            Call::Delete => "delete",
            Call::Transfer { .. } => "transfer",
        }
    }
}

/// What a client saw in a register.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Seen {
    /// Nothing: the register was absent.
    Absent,
    /// A token.
    Token(u64),
    /// Bytes that are no token.
    Corrupt(Box<[u8]>),
}

impl From<Option<u64>> for Seen {
    fn from(token: Option<u64>) -> Self {
        token.map_or(Seen::Absent, Seen::Token)
    }
}

/// What an operation was answered.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Reply {
    /// A put: done.
    Done,
    /// A get, cas, rmw, add, append or delete: what the register held before.
    Found(Seen),
    /// An append: what the register holds, which is as long as it may be. Nothing was appended.
    Full(Seen),
    /// A transfer: the balances after it.
    Balances {
        /// Whether the amount was moved.
        moved: bool,
        /// The payer's balance afterwards.
        from: u64,
        /// The receiver's balance afterwards.
        to: u64,
    },
}

/// The token of a list to which the token `new` was appended; `before` is that of the list before.
/// Different lists have different tokens with near certainty: they are mixed to 64 bits.
pub fn appended(before: Option<u64>, new: u64) -> u64 {
    mix(mix(before.unwrap_or(0)).wrapping_add(new))
}

/// Which step of its operation an event is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Stage {
    /// The client asked.
    Invoke,
    /// The client was answered.
    Ok(Reply),
    /// The operation took no effect and never will.
    Fail,
    /// The client gave up waiting: it may have taken effect, may yet, or never.
    Info,
}

/// One line of a history, less the site, which the writer knows.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Event {
    /// Who. Unique in a run, across all sites.
    pub process: u64,
    /// When, in nanoseconds since the run's start.
    pub time_ns: u64,
    /// On which key.
    pub key: Key,
    /// The operation, the same at every stage.
    pub call: Call,
    /// Which step of it.
    pub stage: Stage,
}

/// How an operation ended.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Completion {
    /// It was answered.
    Ok(Reply),
    /// It took no effect.
    Failed,
    /// Unknown: `info`, or still open when the history ended.
    Unknown,
}

/// An operation from its invocation to its response.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct OperationRecord {
    /// Who asked.
    pub process: u64,
    /// Where: an index into [`History::sites`].
    pub site: u16,
    /// The key; for a transfer the payer.
    pub key: Key,
    /// What was asked.
    pub call: Call,
    /// When it was asked, in nanoseconds since the run's start.
    pub invoke_ns: u64,
    /// When it was answered; `None` if its outcome is unknown.
    pub response_ns: Option<u64>,
    /// How it ended.
    pub completion: Completion,
}

/// The operations of a run, in the order in which the files invoke them.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct History {
    /// All operations.
    pub operations: Vec<OperationRecord>,
    /// Names of the sites.
    pub sites: Vec<Arc<str>>,
}

impl History {
    /// The index of a site, added if it is new; `None` when there are 65,536 already.
    pub fn site(&mut self, name: &str) -> Option<u16> {
        let known = self.sites.iter().position(|site| &**site == name);
        let index = known.unwrap_or(self.sites.len());
        let id = u16::try_from(index).ok()?;
        if known.is_none() {
            self.sites.push(name.into());
        }
        Some(id)
    }
}

/// What is wrong with a history's file, where, and how to mend it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryError {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1; `None` if no line could be read.
    pub line: Option<u64>,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.message)
    }
}

impl std::error::Error for HistoryError {}
