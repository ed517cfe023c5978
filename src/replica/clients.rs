//! Connections of load generators: commands in, replies out.

use std::cell::Cell;
use std::rc::Rc;

use quinn::Connection;

use super::inbox::{Arrival, ConnectionId, Inbox};
use crate::cluster::TransportOptions;
use crate::command::Command;
use crate::net::{FrameReader, NetError, Stream, accept_lane, open_lanes};
use crate::protocol::Protocol;
use crate::wire::{FRAME_BYTES_MAX, Wire};

thread_local! {
    static NEXT_ID: Cell<u64> = const { Cell::new(0) };
}

/// Serves one load generator until its connection is lost.
pub(super) async fn serve<P: Protocol + 'static>(
    connection: Connection,
    name: String,
    options: TransportOptions,
    inbox: Rc<Inbox<P>>,
) {
    let id = ConnectionId(NEXT_ID.get());
    NEXT_ID.set(id.0 + 1);
    let reason = match open_lanes(&connection, &options).await {
        Ok(lanes) => {
            inbox.push(Arrival::ClientConnected { connection: connection.clone(), id, lanes });
            let reason = read_lanes(&connection, id, &inbox).await;
            inbox.push(Arrival::ClientGone { id });
            reason
        }
        Err(reason) => reason,
    };
    tracing::info!(name, %reason, "client gone");
}

/// Starts a reader for each lane that the client opens; returns when the connection is lost.
async fn read_lanes<P: Protocol + 'static>(
    connection: &Connection,
    id: ConnectionId,
    inbox: &Rc<Inbox<P>>,
) -> NetError {
    loop {
        match accept_lane(connection, FRAME_BYTES_MAX).await {
            Ok(reader) => {
                tokio::task::spawn_local(read_commands(reader, id, inbox.clone()));
            }
            Err(reason) => return reason,
        }
    }
}

async fn read_commands<P: Protocol>(
    mut reader: FrameReader,
    id: ConnectionId,
    inbox: Rc<Inbox<P>>,
) {
    loop {
        let outcome = reader
            .read(|frame| {
                inbox.push_command(id, Command::decode_whole(frame)?);
                Ok(())
            })
            .await;
        inbox.wake();
        match outcome {
            Ok(Stream::Open) => {}
            Ok(Stream::Closed) => return,
            // Whoever accepts the lanes learns of a lost connection, too, and says so.
            Err(error) => return tracing::debug!(%error, "a client's lane ended"),
        }
    }
}
