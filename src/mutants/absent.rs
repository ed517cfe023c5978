//! A normal build has no mutants.

use std::fmt;
use std::str::FromStr;

/// There is none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Mutant {}

impl Mutant {
    /// None.
    pub fn all() -> &'static [Mutant] {
        &[]
    }

    /// Its name on command lines and in tables.
    pub fn name(self) -> &'static str {
        match self {}
    }

    /// Where it lives.
    pub fn room(self) -> &'static str {
        match self {}
    }

    /// The protocol under which it is hunted, as the command line calls it.
    pub fn mode(self) -> &'static str {
        match self {}
    }

    /// The rule that it breaks, in one sentence.
    pub fn rule(self) -> &'static str {
        match self {}
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl FromStr for Mutant {
    type Err = String;

    fn from_str(_: &str) -> Result<Self, String> {
        Err("this build has no mutants; cargo run --release --features mutants -- explore …"
            .to_owned())
    }
}

/// Never runs.
pub fn with<T>(mutant: Mutant, _run: impl FnOnce() -> T) -> T {
    match mutant {}
}
