//! The table of mutants, and which one runs.

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;

/// Where a mutant lives, and so which checks are to see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// The core [`crate::protocol::paxos`]: its invariants, and progress.
    Paxos,
    /// The core [`crate::protocol::epaxos`]: its invariants, and progress.
    Epaxos,
    /// The core [`crate::protocol::caspaxos`]: its invariants, linearizability, and progress.
    Caspaxos,
    /// The core [`crate::protocol::multicoordinated`]: its invariants, and progress.
    Multicoordinated,
    /// Client sessions: exactly-once, and every command answered.
    Sessions,
    /// What operations do, the same wrong thing at all replicas: linearizability alone.
    Store,
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Room::Paxos => "paxos",
            Room::Epaxos => "epaxos",
            Room::Caspaxos => "caspaxos",
            Room::Multicoordinated => "multicoordinated",
            Room::Sessions => "sessions",
            Room::Store => "store",
        })
    }
}

pub use self::table::Mutant;

/// Makes the enum of a table: identifier, name, room, the rule, and where the rule comes from.
macro_rules! mutants {
    ($($id:ident $name:literal $room:ident $rule:literal $citation:literal;)+) => {
        /// One deliberate bug, called after what it does wrong.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Mutant {
            $(#[doc = concat!("Breaks the rule: ", $rule, " (", $citation, ")")] $id,)+
        }

        impl Mutant {
            /// Every mutant, in the order of the table.
            pub fn all() -> &'static [Mutant] {
                &[$(Mutant::$id),+]
            }

            /// Its name on command lines and in tables.
            pub fn name(self) -> &'static str {
                match self { $(Mutant::$id => $name,)+ }
            }

            /// Where it lives.
            pub fn room(self) -> Room {
                match self { $(Mutant::$id => Room::$room,)+ }
            }

            /// The protocol under which it is hunted, as the command line calls it. Clients and the
            /// store are the same under each: theirs are hunted under one.
            pub fn mode(self) -> &'static str {
                match self.room() {
                    Room::Paxos | Room::Sessions | Room::Store => "paxos",
                    Room::Epaxos => "epaxos",
                    Room::Caspaxos => "caspaxos",
                    Room::Multicoordinated => "multicoordinated",
                }
            }

            /// The rule that it breaks, in one sentence.
            pub fn rule(self) -> &'static str {
                match self { $(Mutant::$id => $rule,)+ }
            }

            /// Where the rule comes from.
            pub fn citation(self) -> &'static str {
                match self { $(Mutant::$id => $citation,)+ }
            }
        }
    };
}

mod table;

thread_local! {
    static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Puts back what was active before, also when what ran panics.
struct Restore(Option<Mutant>);

impl Drop for Restore {
    fn drop(&mut self) {
        ACTIVE.set(self.0);
    }
}

/// Runs `run` as this mutant: on this thread, until it returns or panics.
pub fn with<T>(mutant: Mutant, run: impl FnOnce() -> T) -> T {
    let _restore = Restore(ACTIVE.replace(Some(mutant)));
    run()
}

/// Whether this thread runs as this mutant.
pub fn is_active(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mutant {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Mutant::all().iter().map(|mutant| mutant.name()).collect::<Vec<_>>();
        let found = Mutant::all().iter().find(|mutant| mutant.name() == name);
        found
            .copied()
            .ok_or_else(|| format!("no mutant `{name}`; known are {}", known().join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// `TwoWords` as `two-words`.
    fn kebab(id: &str) -> String {
        let mut name = String::new();
        for letter in id.chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    #[test]
    fn every_mutant_is_found_by_its_name_and_says_what_it_breaks() {
        let names: BTreeSet<_> = Mutant::all().iter().map(|mutant| mutant.name()).collect();
        assert_eq!(names.len(), Mutant::all().len());
        for mutant in Mutant::all() {
            assert_eq!(mutant.name(), kebab(&format!("{mutant:?}")));
            assert_eq!(mutant.name().parse(), Ok(*mutant));
            assert!(mutant.rule().ends_with('.') && !mutant.citation().is_empty(), "{mutant}");
        }
    }

    /// All code below a folder.
    fn code(folder: &Path) -> String {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let texts = entries.map(|path| match path.is_dir() {
            true => code(&path),
            false => fs::read_to_string(path).unwrap(),
        });
        texts.collect()
    }

    #[test]
    fn every_mutant_is_planted() {
        let code = code(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
        for mutant in Mutant::all() {
            assert!(code.contains(&format!("mutant!({mutant:?})")), "{mutant} is nowhere");
        }
    }

    #[test]
    fn an_unknown_name_is_told_the_known_ones() {
        let error = "promise-kept".parse::<Mutant>().unwrap_err();
        assert!(error.starts_with("no mutant `promise-kept`; known are stale-read-answered, "));
    }

    #[test]
    fn a_mutant_runs_on_its_thread_until_it_returns_or_panics() {
        let (one, other) = (Mutant::GapNeverFilled, Mutant::NackIgnored);
        with(one, || {
            with(other, || assert!(is_active(other) && !is_active(one)));
            let panics = std::panic::catch_unwind(|| with(other, || panic!("as mutants do")));
            assert!(panics.is_err() && is_active(one));
            std::thread::spawn(move || assert!(!is_active(one))).join().unwrap();
        });
        assert!(!is_active(one));
    }
}
