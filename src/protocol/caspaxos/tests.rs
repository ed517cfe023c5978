//! Tests of the core that need none of its drivers.

mod accepting;
mod applying;
mod bench;
mod changing;
mod forwarding;
mod preparing;
mod reading;
mod removing;
mod reviewed;
