//! Connections to the replicas: kept up, and made again when they are lost.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::run::Core;
use crate::cluster::TransportOptions;
use crate::command::NodeId;
use crate::net::{Endpoint, FrameReader, NetError, Purpose, Stream, accept_lane, open_lanes};
use crate::wire::{FRAME_BYTES_MAX, Malformed, Reader, Reply, Wire};

/// A replica to connect to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Its number in the cluster.
    pub node: NodeId,
    /// Its name, as its certificate says it.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it is waited for before a run; else it is used whenever it lets clients in.
    pub required: bool,
}

/// The first wait before another attempt; it doubles up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_millis(10);
const WAIT_MAX: Duration = Duration::from_millis(500);

/// The first attempts may take this long; a replica that comes back meanwhile is asked anew, and not
/// only when the handshake's own retransmissions have backed off. It doubles, so that a slow
/// handshake gets its time.
const ATTEMPT_MIN: Duration = Duration::from_secs(1);

/// Keeps one replica connected for as long as it is not dropped.
pub(super) async fn keep_connected(
    core: Rc<RefCell<Core>>,
    endpoint: Endpoint,
    options: TransportOptions,
    target: Target,
) {
    let (mut wait, mut limit) = (WAIT_MIN, ATTEMPT_MIN);
    loop {
        let attempt = tokio::time::timeout(limit, connect(&core, &endpoint, &options, &target));
        match attempt.await {
            Ok(Ok(connection)) => {
                let reason = serve(&core, connection, target.node).await;
                core.borrow_mut().disconnected(target.node);
                tracing::warn!(replica = %target.name, %reason, "connection lost");
                (wait, limit) = (WAIT_MIN, ATTEMPT_MIN);
            }
            Ok(Err(error)) => {
                tracing::debug!(replica = %target.name, %error, "not connected");
                core.borrow_mut().failed(target.node, error);
            }
            Err(_) => limit = limit.saturating_mul(2),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}

async fn connect(
    core: &RefCell<Core>,
    endpoint: &Endpoint,
    options: &TransportOptions,
    target: &Target,
) -> Result<quinn::Connection, NetError> {
    let connection = endpoint.connect(target.address, &target.name, Purpose::Client).await?;
    let lanes = open_lanes(&connection, options).await?;
    core.borrow_mut().connected(target.node, lanes);
    Ok(connection)
}

/// Reads replies until the connection is lost; says why it was.
async fn serve(core: &Rc<RefCell<Core>>, connection: quinn::Connection, node: NodeId) -> NetError {
    loop {
        match accept_lane(&connection, FRAME_BYTES_MAX).await {
            // It ends with the connection, which it closes if it reads what it must not.
            Ok(lane) => {
                let (core, connection) = (core.clone(), connection.clone());
                drop(tokio::task::spawn_local(read_replies(core, lane, (connection, node))));
            }
            Err(reason) => return reason,
        }
    }
}

async fn read_replies(
    core: Rc<RefCell<Core>>,
    mut lane: FrameReader,
    (connection, node): (quinn::Connection, NodeId),
) {
    loop {
        // One reading of the clock for all that arrived together, after it arrived.
        let mut now_ns = None;
        let read = lane.read(|body| {
            let mut core = core.borrow_mut();
            let now_ns = *now_ns.get_or_insert_with(|| core.now_ns());
            each_reply(body, |reply| core.reply(now_ns, node, &reply))
        });
        match read.await {
            Ok(Stream::Open) => {
                core.borrow().wake_if_idle();
                if core.borrow().has_left(node) {
                    return connection.close(0u32.into(), b"asks another replica");
                }
            }
            Ok(Stream::Closed) => return,
            Err(error) => return tracing::debug!(%error, "a lane of replies ended"),
        }
    }
}

/// A frame holds one reply or more.
fn each_reply(body: &[u8], mut take: impl FnMut(Reply)) -> Result<(), Malformed> {
    let mut reader = Reader::new(body);
    loop {
        take(Reply::decode(&mut reader)?);
        if reader.is_empty() {
            return Ok(());
        }
    }
}
