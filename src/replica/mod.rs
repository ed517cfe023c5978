//! Drives one core over the network and the log: the replica process.
//!
//! Everything runs on one thread. Reader tasks decode what arrives into the inbox; the loop takes
//! all that is there in one *turn*, steps the core through it, carries out the effects, and flushes
//! once to each peer and client. So batches grow with the load and nothing waits for a tick.
//!
//! | file | job |
//! | --- | --- |
//! | `inbox` | what waits for the loop |
//! | `turn` | the loop: inputs, effects, timers, execution, replies |
//! | `peers` | connections to the other replicas: who dials, greeting, state transfer |
//! | `sessions` | whose commands are taken, and where replies go |
//! | `clients` | connections of load generators |
//! | `control` | what the driver may ask |
//! | `place` | which identity of the cluster file it is, and in whose place it joins |
//! | `traffic` | counters |

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use quinn::Connection;

use crate::cluster::{ClusterFile, ProtocolChoice};
use crate::command::NodeId;
use crate::net::{Accepted, Endpoint, Identity, Purpose, Shaper, is_open};
use crate::protocol::caspaxos::Caspaxos;
use crate::protocol::epaxos::Epaxos;
use crate::protocol::multicoordinated::Multicoordinated;
use crate::protocol::paxos::Paxos;
use crate::protocol::{Cluster, Protocol};
use crate::wire::Wire;
use crate::worker::Ending;

mod clients;
pub mod control;
mod inbox;
mod peers;
mod place;
pub mod sessions;
pub(crate) mod traffic;
mod turn;

use self::control::Controls;
use self::inbox::Inbox;
use self::peers::Peers;
use self::place::Place;
use self::turn::Replica;

/// The name under which the driver identifies itself, and an operator.
pub const DRIVER_NAME: &str = "driver";

/// Operators that may be connected at a time.
const OPERATORS_MAX: usize = 4;

/// Why a replica cannot run, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The cluster file does not name it.
    #[error("{file}: no replica is called `{name}`; the replicas are: {known}")]
    Unknown {
        /// The cluster file.
        file: String,
        /// The name that was asked for.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// The network cannot be used.
    #[error(transparent)]
    Net(#[from] crate::net::NetError),
    /// The cluster file cannot be used.
    #[error(transparent)]
    File(#[from] crate::cluster::BadClusterFile),
    /// The options name a leader that does not exist.
    #[error("{0}: protocol.leader is {1}; write the place of a replica in the list, from 0")]
    NoLeader(String, u8),
    /// The options contradict each other, or the number of replicas.
    #[error("{0}: protocol: {1}")]
    BadOptions(String, String),
    /// It is said of the wrong replica in whose place it joins, or not said of the right one.
    #[error("{0}: {1}")]
    BadReplaces(String, String),
    /// A replica that keeps its log in memory came back: it may have forgotten a promise.
    #[error(
        "`{by}` remembers an earlier start of this replica, whose memory log is lost: it may not vote \
         again in this cluster; {instead}"
    )]
    Forgetful {
        /// Who remembers.
        by: String,
        /// What to do instead.
        instead: String,
    },
    /// There is nothing for it to do in its cluster.
    #[error("`{name}` cannot take part: {why}; let another spare join, in place of a member")]
    GivenUp {
        /// Which replica.
        name: String,
        /// Why.
        why: String,
    },
}

impl Ending for ReplicaError {
    fn is_bad_usage(&self) -> bool {
        matches!(
            self,
            ReplicaError::Unknown { .. }
                | ReplicaError::File(_)
                | ReplicaError::NoLeader(..)
                | ReplicaError::BadOptions(..)
                | ReplicaError::BadReplaces(..)
        )
    }
}

/// Runs the replica `name` of the cluster in `file` until the driver stops it. A spare joins in place of
/// `replaces`.
pub async fn run(path: &Path, name: &str, replaces: Option<&str>) -> Result<(), ReplicaError> {
    let file = ClusterFile::read(path)?;
    let place = place::find(path, &file, name, replaces)?;
    let identity = Identity::load(&file.certs, name)?;
    let shaper = Shaper::for_member(&file, name)?;
    let address = file.identity(usize::from(place.me.0)).address;
    let controls = Controls::new(shaper.as_ref());
    let endpoint = Endpoint::bind(&identity, address, &file.transport, shaper)?;
    tracing::info!(name, %address, "listening");
    match file.protocol.clone() {
        ProtocolChoice::Paxos(options) => {
            host::<Paxos>(options, place, file, endpoint, controls).await
        }
        ProtocolChoice::Epaxos(mut options) => {
            options.replaces = place.replaces;
            host::<Epaxos>(options, place, file, endpoint, controls).await
        }
        ProtocolChoice::Multicoordinated(options) => {
            host::<Multicoordinated>(options, place, file, endpoint, controls).await
        }
        ProtocolChoice::Caspaxos(mut options) => {
            options.replaces = place.replaces;
            host::<Caspaxos>(options, place, file, endpoint, controls).await
        }
    }
}

/// Starts a core and connects it with the world.
async fn host<P: Protocol + 'static>(
    options: P::Options,
    Place { me, .. }: Place,
    file: ClusterFile,
    endpoint: Endpoint,
    controls: Controls,
) -> Result<(), ReplicaError>
where
    P::Message: Wire,
{
    let cluster = Cluster { size: file.identity_count() as u8, spares: file.spares.len() as u8 };
    let core = P::recover(me, cluster, options, std::iter::empty());
    let file = Rc::new(file);
    let inbox = Rc::new(Inbox::new());
    let peers = Rc::new(Peers::new(me, file.clone(), inbox.clone()));
    let replica = Replica::new(core, file.clone(), peers.clone(), inbox.clone());
    let replica = Rc::new(RefCell::new(replica));
    let controls = Rc::new(controls);
    peers.dial(&endpoint);
    let stop = controls.stopped();
    let (driver, operators) = (RefCell::new(None::<Connection>), RefCell::new(Vec::new()));
    let allow = |purpose, name: &str| {
        allow(&file, me, purpose, name)?;
        match purpose {
            Purpose::Client => replica.borrow().refusal().map_or(Ok(()), Err),
            Purpose::Control if is_open(driver.borrow().as_ref()) => {
                Err("another driver is here".to_owned())
            }
            Purpose::Operator => {
                operators.borrow_mut().retain(|operator| is_open(Some(operator)));
                let is_full = operators.borrow().len() >= OPERATORS_MAX;
                if is_full { Err("too many operators are here".to_owned()) } else { Ok(()) }
            }
            Purpose::Control | Purpose::Peer => Ok(()),
        }
    };
    let accept = async {
        loop {
            let Accepted { connection, purpose, name } = endpoint.accept(allow).await?;
            match purpose {
                Purpose::Peer => peers.accepted(&name, connection),
                Purpose::Client => {
                    let serving =
                        clients::serve(connection, name, file.transport.clone(), inbox.clone());
                    tokio::task::spawn_local(serving);
                }
                Purpose::Control => {
                    driver.replace(Some(connection.clone()));
                    control::serve(connection, controls.clone(), replica.clone(), peers.clone());
                }
                Purpose::Operator => {
                    operators.borrow_mut().push(connection.clone());
                    control::serve_operator(connection, replica.clone());
                }
            }
        }
    };
    let outcome = tokio::select! {
        error = accept => error,
        by = peers.refused() => {
            Err(ReplicaError::Forgetful { by, instead: place::instead_of(&file, me) })
        }
        why = turn::run(replica.clone(), inbox.clone(), peers.clone()) => {
            let (name, why) = (peers.name().to_owned(), place::with_names(&file, &why));
            Err(ReplicaError::GivenUp { name, why })
        }
        () = stop => Ok(()),
    };
    endpoint.shut_down().await;
    outcome
}

/// Who may connect for what.
fn allow(file: &ClusterFile, me: NodeId, purpose: Purpose, name: &str) -> Result<(), String> {
    let known = match purpose {
        // The later of two replicas dials the earlier.
        Purpose::Peer => {
            let index = file.identity_index(name);
            index.is_some_and(|index| index > usize::from(me.0))
        }
        Purpose::Client => file.loads.iter().any(|member| member.name == name),
        Purpose::Control | Purpose::Operator => name == DRIVER_NAME,
    };
    if known { Ok(()) } else { Err(format!("`{name}` is no {purpose} of this replica")) }
}
