//! The clients' events, for the checker: an `invoke` when a command is first sent, an `ok` when it
//! is answered, an `info` when its outcome will not be known.

use std::io::{self, Write};

use super::output::{Answer, Begun, Continued, End, Ended, Seen};
use super::workload::Intent;
use crate::check::history::{self, Call, Event, HistoryWriter, Stage};

/// Where events go.
pub trait HistorySink {
    /// Takes one event.
    fn write(&mut self, event: &Event) -> io::Result<()>;

    /// No event follows.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

impl<W: Write> HistorySink for HistoryWriter<W> {
    fn write(&mut self, event: &Event) -> io::Result<()> {
        HistoryWriter::write(self, event)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        HistoryWriter::finish(*self).map(drop)
    }
}

/// Keeps the events; for tests and the simulator.
impl HistorySink for Vec<Event> {
    fn write(&mut self, event: &Event) -> io::Result<()> {
        self.push(event.clone());
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

/// What the history calls an operation.
fn call_of(intent: &Intent) -> Call {
    match *intent {
        Intent::Get { .. } => Call::Get,
        Intent::Put { token, .. } => Call::Put { value: token },
        Intent::Cas { expected, token, .. } => Call::Cas { expected, new: token },
        Intent::Rmw { token, .. } => Call::Rmw { new: token },
        Intent::Delete { .. } => Call::Delete,
        Intent::Add { amount, .. } => Call::Add { amount },
        Intent::Append { token, .. } => Call::Append { new: token },
        Intent::Transfer { to, amount, .. } => Call::Transfer { to, amount },
    }
}

fn reply_of(answer: &Answer<'_>) -> history::Reply {
    match *answer {
        Answer::Done => history::Reply::Done,
        Answer::Found(seen) => history::Reply::Found(seen_in(seen)),
        Answer::Full(seen) => history::Reply::Full(seen_in(seen)),
        Answer::Balances { moved, from, to } => history::Reply::Balances { moved, from, to },
    }
}

fn seen_in(seen: Seen<'_>) -> history::Seen {
    match seen {
        Seen::Absent => history::Seen::Absent,
        Seen::Token(token) => history::Seen::Token(token),
        Seen::Corrupt(bytes) => history::Seen::Corrupt(bytes.into()),
    }
}

/// The event of a command that is sent for the first time.
pub fn invocation(begun: &Begun) -> Event {
    event(begun.process, begun.now_ns, &begun.intent, Stage::Invoke)
}

/// The event of the first part of an operation, which was answered.
pub fn first_part(continued: &Continued<'_>) -> Event {
    let Continued { now_ns, process, intent, answer, .. } = continued;
    event(*process, *now_ns, intent, Stage::Ok(reply_of(answer)))
}

/// The event of an operation that is over, or of its second part; none if it was never sent.
pub fn completion(ended: &Ended<'_>) -> Option<Event> {
    match &ended.end {
        End::Answered { process, intent, answer, .. } => {
            Some(event(*process, ended.now_ns, intent, Stage::Ok(reply_of(answer))))
        }
        End::Unknown { process, intent } => {
            Some(event(*process, ended.now_ns, intent, Stage::Info))
        }
        End::Unsent => None,
    }
}

fn event(process: u64, time_ns: u64, intent: &Intent, stage: Stage) -> Event {
    Event { process, time_ns, key: intent.key(), call: call_of(intent), stage }
}
