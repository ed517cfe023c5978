//! What the house asks of its files, where the compiler's lints do not.

use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 800;

/// What would make a core depend on more than its inputs.
const IMPURE: [&str; 12] = [
    "HashMap",
    "HashSet",
    "Instant",
    "SystemTime",
    "std::thread",
    "std::net",
    "std::fs",
    "std::env",
    "tokio",
    "rand::",
    "static mut",
    "thread_local",
];

/// A hash table that is looked into and never iterated: its order shows nowhere. The file, the table, and
/// all that may be done with it.
const LOOKED_INTO: (&str, &str, [&str; 4]) =
    ("epaxos/conflicts.rs", "self.slots", [".entry(", ".get(", ".remove(", ".len("]);

/// Rooms that a core must not know.
const DRIVERS: [&str; 8] = [
    "crate::net",
    "crate::replica",
    "crate::load",
    "crate::wire",
    "crate::check",
    "crate::experiment",
    "crate::report",
    "crate::results",
];

fn sources(below: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(below)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no sources below {below}");
    found
}

/// The lines of a file that are code.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    lines.filter(|(_, line)| !line.starts_with("//"))
}

/// Where one of `words` occurs in the code of the cores, their tests left out.
fn in_cores(words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let is_test = |path: &Path| path.components().any(|part| part.as_os_str() == "tests");
    for path in sources("src/protocol") {
        if is_test(&path) || path.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (number, line) in code(text) {
            let looked_into = path.ends_with(LOOKED_INTO.0) && line.contains("FxHashMap");
            for word in words.iter().filter(|word| line.contains(**word) && !looked_into) {
                found.push(format!("{}:{number}: {word}", path.display()));
            }
        }
    }
    found
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    for folder in ["src", "tests", "benches"] {
        for path in sources(folder) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= LINES_MAX, "{}: {lines} lines", path.display());
        }
    }
}

#[test]
fn cores_know_no_clock_thread_socket_disk_or_chance() {
    assert_eq!(in_cores(&IMPURE), Vec::<String>::new());
}

#[test]
fn a_hash_table_of_a_core_is_never_iterated() {
    let (file, table, allowed) = LOOKED_INTO;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/protocol").join(file);
    let text = fs::read_to_string(path).unwrap();
    let uses: Vec<_> = code(&text).filter(|(_, line)| line.contains(table)).collect();
    assert!(!uses.is_empty());
    let other = uses.iter().find(|(_, line)| !allowed.iter().any(|call| line.contains(call)));
    assert_eq!(other, None);
}

#[test]
fn cores_know_none_of_their_drivers() {
    assert_eq!(in_cores(&DRIVERS), Vec::<String>::new());
}

#[test]
fn nothing_is_left_undone_in_the_code() {
    let marks = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];
    for path in sources("src") {
        let text = fs::read_to_string(&path).unwrap();
        for mark in marks {
            assert!(!text.contains(mark), "{}: {mark}", path.display());
        }
    }
}
