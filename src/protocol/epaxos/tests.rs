//! Tests of the core that need none of its drivers.

mod bench;
mod executing;
mod interfering;
mod joining;
mod keeping;
mod recovering;
mod reviewed;
mod reviewed_joining;
mod schedules;
