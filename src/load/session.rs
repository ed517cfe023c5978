//! One client's outstanding commands: a dense ring from the oldest unsettled sequence to the
//! newest sent, and the operations that wait before it.
//!
//! *Bounded:* the ring by [`SESSION_WINDOW`]; the queue by [`QUEUE_MAX`] and by the timeout, after
//! which what waits in it is given up unsent.

use std::collections::VecDeque;

use super::workload::{Choice, ClientWorkload, Intent, Kind};
use crate::command::{ClientId, Command, CommandId, NodeId, SESSION_WINDOW};
use crate::mutants::mutant;

/// Operations of one client that may wait to be sent; one scheduled beyond it is an error at once.
pub const QUEUE_MAX: usize = 1 << 14;

/// What became of a command so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Neither answered nor given up.
    Waiting,
    /// Counted as an error, but retried until settled, so that the window can move on.
    GivenUp,
    /// Answered, or nobody will answer it; stays in the ring until those before it are settled.
    Settled,
}

/// One command of the ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Which operation it belongs to.
    pub(crate) kind: Kind,
    /// When the operation was scheduled.
    pub(crate) scheduled_ns: u64,
    /// When the operation was first sent.
    pub(crate) began_ns: u64,
    pub(crate) first_sent_ns: u64,
    pub(crate) last_sent_ns: u64,
    pub(crate) retry_at_ns: u64,
    pub(crate) intent: Intent,
    /// The history's process that the operation occupies.
    pub(crate) process: u64,
    /// Where it was sent last; none since that connection was lost.
    pub(crate) replica: Option<NodeId>,
    /// How often the retry time ran out.
    pub(crate) retries: u8,
    pub(crate) state: State,
}

impl Entry {
    /// Whether another command of its operation follows once it is answered.
    pub(crate) fn continues(&self) -> bool {
        self.kind == Kind::Increment && self.intent.kind() == Kind::Get
    }
}

/// A scheduled operation that could not be sent yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queued {
    pub(crate) scheduled_ns: u64,
    pub(crate) choice: Choice,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: ClientId,
    /// The sequence of `ring[0]`: every one below is settled.
    base: u64,
    ring: VecDeque<Entry>,
    /// Commands that will follow those that wait: the window has room for them.
    to_follow: u64,
    pub(crate) queue: VecDeque<Queued>,
    pub(crate) workload: ClientWorkload,
}

impl Session {
    pub(crate) fn new(id: ClientId, workload: ClientWorkload) -> Self {
        let (ring, queue) = (VecDeque::new(), VecDeque::new());
        Session { id, base: 0, ring, to_follow: 0, queue, workload }
    }

    /// Whether the window has room for all commands of an operation.
    pub(crate) fn has_room(&self, kind: Kind) -> bool {
        self.ring.len() as u64 + self.to_follow + u64::from(kind.commands()) <= SESSION_WINDOW
    }

    /// Whether it has room for a command of the ring to be sent once more, as a new one.
    pub(crate) fn has_room_again(&self, entry: &Entry) -> bool {
        let commands = 1 + u64::from(entry.continues());
        self.ring.len() as u64 + self.to_follow + commands <= SESSION_WINDOW
    }

    /// Adds the next command; returns its sequence.
    pub(crate) fn push(&mut self, entry: Entry) -> u64 {
        assert!((self.ring.len() as u64) < SESSION_WINDOW, "the caller checks the window");
        self.to_follow += u64::from(entry.continues());
        self.ring.push_back(entry);
        self.next_sequence() - 1
    }

    /// The oldest unsettled sequence, or the next one if none is outstanding.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        self.base + self.ring.len() as u64
    }

    /// How many commands of the ring are not settled.
    pub(crate) fn unanswered(&self) -> u64 {
        self.ring.iter().filter(|entry| entry.state != State::Settled).count() as u64
    }

    /// How many of these were last sent to this replica.
    pub(crate) fn unanswered_by(&self, replica: NodeId) -> u64 {
        let open = self.ring.iter().filter(|entry| entry.state != State::Settled);
        open.filter(|entry| entry.replica == Some(replica)).count() as u64
    }

    pub(crate) fn entry(&mut self, sequence: u64) -> Option<&mut Entry> {
        self.ring.get_mut(sequence.checked_sub(self.base)? as usize)
    }

    /// A command waits no more; returns it as it was.
    pub(crate) fn leave(&mut self, sequence: u64, state: State) -> Option<Entry> {
        let entry = self.entry(sequence)?;
        let was = *entry;
        entry.state = state;
        self.to_follow -= u64::from(was.state == State::Waiting && was.continues());
        Some(was)
    }

    /// Forgets the settled commands that no other stands before.
    pub(crate) fn advance(&mut self) {
        while self.ring.front().is_some_and(|entry| entry.state == State::Settled) {
            self.ring.pop_front();
            self.base += 1;
        }
    }

    /// The oldest unsettled sequence whose command is as wanted.
    pub(crate) fn oldest(&self, wanted: impl Fn(&Entry) -> bool) -> Option<u64> {
        let open = |entry: &Entry| entry.state != State::Settled && wanted(entry);
        Some(self.base + self.ring.iter().position(open)? as u64)
    }

    /// The command of a sequence in the ring, as every replica may be sent it.
    pub(crate) fn command(&self, sequence: u64, value_bytes: usize) -> Command {
        let entry = &self.ring[(sequence - self.base) as usize];
        Command {
            id: CommandId { client: self.id, sequence },
            answered_below: if mutant!(UnansweredAcknowledged) { sequence } else { self.base },
            operation: entry.intent.operation(value_bytes),
        }
    }

    /// The first command from `sequence` on that waits and whose operation was scheduled at
    /// `scheduled_max_ns` or before. They are not in that order: what is the second of its operation
    /// comes late.
    pub(crate) fn next_overdue(&self, sequence: u64, scheduled_max_ns: u64) -> Option<u64> {
        let overdue =
            |entry: &Entry| entry.state == State::Waiting && entry.scheduled_ns <= scheduled_max_ns;
        let start = (sequence - self.base) as usize;
        Some(sequence + self.ring.iter().skip(start).position(overdue)? as u64)
    }

    /// Takes the operation that waits longest in the queue, if it was scheduled at
    /// `scheduled_max_ns` or before.
    pub(crate) fn give_up_queued(&mut self, scheduled_max_ns: u64) -> Option<Queued> {
        self.queue.front().filter(|queued| queued.scheduled_ns <= scheduled_max_ns)?;
        self.queue.pop_front()
    }

    /// The first unsettled command from `sequence` on that was first sent at `sent_max_ns` or
    /// before and is due for a retry at `now_ns`.
    pub(crate) fn next_to_retry(
        &self,
        sequence: u64,
        sent_max_ns: u64,
        now_ns: u64,
    ) -> Option<u64> {
        let start = (sequence - self.base) as usize;
        let late = |entry: &&Entry| entry.first_sent_ns <= sent_max_ns;
        let due = |entry: &Entry| entry.state != State::Settled && entry.retry_at_ns <= now_ns;
        let offset = self.ring.iter().skip(start).take_while(late).position(due)?;
        Some(sequence + offset as u64)
    }
}
