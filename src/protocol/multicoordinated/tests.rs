//! Tests of the parts against what specifies them, and of one core by scripts.

mod counted;
mod scripted;
