//!
//! | file | job |
//! | --- | --- |
//! | `identity` | makes and loads the certificates by which processes know each other |
//! | `endpoint` | one UDP port: mutual TLS, who may connect for what, the transport's settings |
//! | `frames` | sends and receives [`crate::wire`] frames on streams, with bounded queues |
//! | `control` | one JSON request and its response on a stream of their own |

mod control;
mod endpoint;
mod error;
mod frames;
mod identity;
mod shaper;

pub use control::{REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, request, serve};
pub use endpoint::{Accepted, Endpoint, Purpose, Refusals};
pub use error::NetError;
pub use frames::{FrameReader, LaneCounts, LaneSender, Stream, accept_lane, open_lanes};
pub use identity::{Existing, Identity, generate};
pub use shaper::Shaper;
