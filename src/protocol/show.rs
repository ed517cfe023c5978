//! What the one-line texts of all protocols' messages and records have in common.

use std::fmt::{Formatter, Result};

/// Elements shown of a list.
const SHOWN_MAX: usize = 3;

/// The first elements of a list and how many more there are, between two brackets.
pub fn few<T>(
    f: &mut Formatter<'_>,
    (open, close): (&str, &str),
    all: impl ExactSizeIterator<Item = T>,
    show: impl Fn(T, &mut Formatter<'_>) -> Result,
) -> Result {
    let more = all.len().saturating_sub(SHOWN_MAX);
    f.write_str(open)?;
    for (position, one) in all.take(SHOWN_MAX).enumerate() {
        f.write_str(if position == 0 { "" } else { ", " })?;
        show(one, f)?;
    }
    if more > 0 {
        write!(f, ", +{more}")?;
    }
    f.write_str(close)
}
