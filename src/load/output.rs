//! What the clients put out: commands, and what began and ended.

use super::workload::{Intent, Kind};
use crate::command::{Command, NodeId};

/// What a register held, by its token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen<'a> {
    /// Nothing.
    Absent,
    /// A value that the load generator makes.
    Token(u64),
    /// Bytes that no client wrote.
    Corrupt(&'a [u8]),
}

impl Seen<'_> {
    pub(super) fn token(self) -> Option<u64> {
        match self {
            Seen::Token(token) => Some(token),
            Seen::Absent | Seen::Corrupt(_) => None,
        }
    }
}

/// What an operation was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer<'a> {
    /// A put: done.
    Done,
    /// A get, cas, rmw, add, append or delete: what the register held before.
    Found(Seen<'a>),
    /// An append to a list that is full: what the register holds.
    Full(Seen<'a>),
    /// A transfer: the balances after it.
    Balances {
        /// Whether the amount was moved.
        moved: bool,
        /// The payer's.
        from: u64,
        /// The receiver's.
        to: u64,
    },
}

/// A command is sent for the first time: an operation begins, or its second part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Begun {
    /// When.
    pub now_ns: u64,
    /// The process of the history that does it.
    pub process: u64,
    /// What it is.
    pub intent: Intent,
}

/// The first command of an operation that is two was answered. Its process goes on with the second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Continued<'a> {
    /// When.
    pub now_ns: u64,
    /// Which operation.
    pub kind: Kind,
    /// The process of the history that did it.
    pub process: u64,
    /// What it was.
    pub intent: Intent,
    /// The answer.
    pub answer: Answer<'a>,
}

/// An operation is over, as far as records go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended<'a> {
    /// When.
    pub now_ns: u64,
    /// When it was scheduled. Latency counts from here.
    pub scheduled_ns: u64,
    /// Which operation.
    pub kind: Kind,
    /// How.
    pub end: End<'a>,
}

/// How an operation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End<'a> {
    /// It was answered in time.
    Answered {
        /// When it was first sent. Service time counts from here.
        sent_ns: u64,
        /// The process of the history that did it.
        process: u64,
        /// What it was, or its second part.
        intent: Intent,
        /// The answer.
        answer: Answer<'a>,
    },
    /// It was sent, and nobody knows whether it takes effect: it was not answered in time, or its
    /// connection was lost where that ends it, or a replica said so.
    Unknown {
        /// The process of the history that did it, and does nothing more.
        process: u64,
        /// What it was, or the part of it that was under way.
        intent: Intent,
    },
    /// It was never sent, because its client's window was full or no replica was connected: it
    /// waited for the timeout, or found the queue full.
    Unsent,
}

/// Where the clients' outputs go.
pub trait Output {
    /// Sends a command to a connected replica. It may be lost.
    fn send(&mut self, to: NodeId, command: &Command);
    /// A command is being sent for the first time; called before the first [`Output::send`].
    fn began(&mut self, begun: &Begun);
    /// The first part of an operation is over; the second begins.
    fn continued(&mut self, continued: &Continued<'_>);
    /// An operation is over.
    fn ended(&mut self, ended: &Ended<'_>);
}
