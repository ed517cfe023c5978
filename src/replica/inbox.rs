//! What waits for the loop's next turn.

use std::cell::RefCell;

use quinn::Connection;
use tokio::sync::Notify;

use crate::command::{Command, NodeId};
use crate::kv::Store;
use crate::net::LaneSender;
use crate::protocol::Protocol;
use crate::protocol::quorum::NodeSet;

/// Names a client connection while it lasts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct ConnectionId(pub(super) u64);

/// Something that arrived.
#[derive(Debug)]
pub(super) enum Arrival<P: Protocol> {
    /// A peer's message.
    Message { from: NodeId, message: P::Message, bytes: usize },
    /// A peer's replicated state, and the message that goes with it.
    State { from: NodeId, message: P::Message, store: Box<Store> },
    /// An operator wants these members.
    Members(NodeSet),
    /// A load generator connected; replies go to these lanes.
    ClientConnected { connection: Connection, id: ConnectionId, lanes: Vec<LaneSender> },
    /// It is gone.
    ClientGone { id: ConnectionId },
}

/// Arrivals since the last turn. Readers fill it between turns; each of them reads a bounded piece
/// before it yields, so it stays small.
#[derive(Debug)]
pub(super) struct Inbox<P: Protocol> {
    arrivals: RefCell<Vec<Arrival<P>>>,
    commands: RefCell<Vec<(ConnectionId, Command)>>,
    wake: Notify,
}

impl<P: Protocol> Inbox<P> {
    pub(super) fn new() -> Self {
        let (arrivals, commands) = (RefCell::default(), RefCell::default());
        Inbox { arrivals, commands, wake: Notify::new() }
    }

    pub(super) fn push(&self, arrival: Arrival<P>) {
        self.arrivals.borrow_mut().push(arrival);
        self.wake.notify_one();
    }

    /// A client's command; many come in one piece, so the reader wakes the loop once behind them.
    pub(super) fn push_command(&self, from: ConnectionId, command: Command) {
        self.commands.borrow_mut().push((from, command));
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until something has arrived since the last look, or somebody wakes the loop.
    pub(super) async fn arrived(&self) {
        self.wake.notified().await;
    }

    /// Takes all that has arrived; the buffers are swapped, not freed.
    pub(super) fn take(
        &self,
        arrivals: &mut Vec<Arrival<P>>,
        commands: &mut Vec<(ConnectionId, Command)>,
    ) {
        std::mem::swap(&mut *self.arrivals.borrow_mut(), arrivals);
        std::mem::swap(&mut *self.commands.borrow_mut(), commands);
    }
}
