//! What can go wrong between two processes, each as one line that says where, what and how to mend.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::wire::Malformed;

/// A failure of this room.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A certificate or key file cannot be used.
    #[error("{}: {what}; {mend}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to do.
        mend: &'static str,
    },
    /// A name that no certificate can bear.
    #[error("name {name:?}: {what}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An address that cannot be listened on.
    #[error("{address}: cannot listen: {what}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        what: String,
    },
    /// A setting that QUIC cannot have.
    #[error("transport.{key}: {what}")]
    Option {
        /// Which key of the cluster file's `transport`.
        key: &'static str,
        /// What is wrong, and what is possible.
        what: String,
    },
    /// Shaping that is impossible.
    #[error("shaping: {0}")]
    Shaping(String),
    /// A connection that could not be made.
    #[error("{name} at {address}: cannot connect: {what}")]
    Connect {
        /// Whom we wanted.
        name: String,
        /// Where.
        address: SocketAddr,
        /// Why not.
        what: String,
    },
    /// The other side does not want us for this purpose, and says why.
    #[error("{name} at {address} refuses: {reason}")]
    Refused {
        /// Who refuses.
        name: String,
        /// Where.
        address: SocketAddr,
        /// The reason it gave.
        reason: String,
    },
    /// A connection that is no more.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The other side sent what it must not; the connection is closed.
    #[error("connection closed: {0}")]
    Malformed(#[from] Malformed),
    /// The endpoint was closed from this side.
    #[error("the endpoint is closed")]
    Closed,
    /// A control request that the other side could not do.
    #[error("{0}")]
    Remote(String),
    /// A control request or response that does not fit its limit.
    #[error("{what} is over the limit of {bytes_max} bytes")]
    TooLong {
        /// Request or response.
        what: &'static str,
        /// The limit, in bytes.
        bytes_max: usize,
    },
}

impl From<quinn::ConnectionError> for NetError {
    fn from(error: quinn::ConnectionError) -> Self {
        NetError::Lost(error.to_string())
    }
}
