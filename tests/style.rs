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

/// Hash tables that are looked into and never iterated, but to sort what they hold: their order shows nowhere.
/// The file, the table, and all that may be done with it.
const LOOKED_INTO: [(&str, &str, &[&str]); 4] = [
    ("epaxos/conflicts.rs", "self.slots", &[".entry(", ".get(", ".remove(", ".len("]),
    ("multicoordinated/classes.rs", "self.places", &[".entry(", ".len("]),
    ("caspaxos/registers.rs", "self.places", &[".insert(", ".get(", ".remove(", ".len("]),
    ("caspaxos/sessions.rs", "self.clients", &[".entry(", ".get(", ".get_mut(", ".len("]),
];

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

/// Whether a line holds a word that is not the end of a longer one, but for a table's name.
fn holds_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        word.starts_with("Hash") || !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
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
            let a_table = LOOKED_INTO.iter().any(|(file, ..)| path.ends_with(file));
            let looked_into = a_table && line.contains("FxHashMap");
            for word in words.iter().filter(|word| holds_word(line, word) && !looked_into) {
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
    for (file, table, allowed) in LOOKED_INTO {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/protocol").join(file);
        let text = fs::read_to_string(path).unwrap();
        let uses: Vec<_> = code(&text).filter(|(_, line)| line.contains(table)).collect();
        assert!(!uses.is_empty());
        // Sorted at once, the order is that of the keys.
        let fine = |line: &str| {
            allowed.iter().any(|call| line.contains(call)) || line.contains(".iter().collect();")
        };
        let other = uses.iter().find(|(_, line)| !fine(line));
        assert_eq!(other, None);
    }
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
