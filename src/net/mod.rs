//! QUIC endpoints, identities, frames on streams, the WAN shaper and a precise timer.
//!
//! | file | job |
//! | --- | --- |
//! | `identity` | makes and loads the certificates by which processes know each other |
//! | `endpoint` | one UDP port: mutual TLS, who may connect for what, the transport's settings |
//! | `frames` | sends and receives [`crate::wire`] frames on streams, with bounded queues |
//! | `control` | one JSON request and its response on a stream of their own |
//! | `shaper` | delays, loses, reorders and cuts datagrams as a wide-area network would |
//! | `timer` | a sleep that is more precise than tokio's |
//! | `clock` | the monotonic clock in nanoseconds, and alarms on it |

mod clock;
mod control;
mod endpoint;
mod error;
mod frames;
mod identity;
mod shaper;
mod timer;

pub use control::{REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, request, serve};
pub use endpoint::{Accepted, Endpoint, Purpose, Refusals};
pub use error::NetError;
pub use frames::{FrameReader, LaneCounts, LaneSender, Stream, accept_lane, open_lanes};
pub use identity::{Existing, Identity, generate};
pub use shaper::{LinkShape, Shaper, ShaperControl, ShaperReport};
pub use timer::PreciseTimer;
