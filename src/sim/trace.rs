//! What happened, as text for a person or as a digest for a comparison.
//!
//! A transcript has a line an event and a column a replica: `●` acts, `│` is up, `╳` is down; an arrow
//! runs from who sent to who receives.

use std::fmt::{self, Write as _};
use std::hash::Hasher;

use rustc_hash::FxHasher;

/// Width of a replica's column.
const COLUMN: usize = 5;

/// Where what happens is noted.
#[derive(Debug, Default)]
pub enum Trace {
    /// Nowhere.
    #[default]
    Off,
    /// As a digest of everything, bytes of messages included.
    Digest(Digest),
    /// As a transcript.
    Text(String),
}

/// A digest of a sequence of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Digest {
    hash: u64,
    bytes: u64,
}

impl Digest {
    fn add(&mut self, bytes: &[u8]) {
        let mut hasher = FxHasher::default();
        hasher.write_u64(self.hash);
        hasher.write(bytes);
        self.hash = hasher.finish().rotate_left(23) ^ self.bytes;
        self.bytes += bytes.len() as u64;
    }
}

impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text.as_bytes());
        Ok(())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} of {} bytes", self.hash, self.bytes)
    }
}

/// Who takes part in an event.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    /// One replica.
    One(usize),
    /// A message's way.
    Way { from: usize, to: usize },
    /// Nobody in particular.
    Nobody,
}

impl Trace {
    /// Whether anything is noted.
    pub(super) fn is_on(&self) -> bool {
        !matches!(self, Trace::Off)
    }

    /// Adds bytes to the digest, which no transcript would show.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        if let Trace::Digest(digest) = self {
            digest.add(bytes);
        }
    }

    /// Notes an event; `up` says which replicas are.
    pub(super) fn note(
        &mut self,
        now_ns: u64,
        up: impl Iterator<Item = bool>,
        at: At,
        what: fmt::Arguments<'_>,
    ) {
        match self {
            Trace::Off => {}
            Trace::Digest(digest) => {
                let _ = write!(digest, "{now_ns} {at:?} {what}");
            }
            Trace::Text(text) => {
                let up: Vec<bool> = up.collect();
                let (ms, ns) = (now_ns / 1_000_000, now_ns % 1_000_000);
                let columns = columns(&up, at);
                let line = format!("{ms:>7}.{:03}  {columns}  {what}", ns / 1000);
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
    }

    /// The head of a transcript's columns.
    pub(super) fn head(&mut self, replicas: usize) {
        if let Trace::Text(text) = self {
            let names = (0..replicas).map(|node| format!("{:<COLUMN$}", format!("p{node}")));
            let names: String = names.collect();
            let _ = writeln!(text, "    ms       {}", names.trim_end());
        }
    }
}

/// The columns of one line.
fn columns(up: &[bool], at: At) -> String {
    let mut cells: Vec<char> = vec![' '; up.len() * COLUMN];
    for (node, up) in up.iter().enumerate() {
        cells[node * COLUMN] = if *up { '│' } else { '╳' };
    }
    match at {
        At::One(node) => cells[node * COLUMN] = '●',
        At::Way { from, to } => {
            let (first, last) = (from.min(to) * COLUMN, from.max(to) * COLUMN);
            cells[first + 1..last].fill('─');
            cells[from * COLUMN] = '○';
            cells[to * COLUMN] = '●';
            if from < to {
                cells[last - 1] = '▶';
            } else {
                cells[first + 1] = '◀';
            }
        }
        At::Nobody => {}
    }
    cells.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_has_a_column_a_replica_and_an_arrow_a_message() {
        let mut trace = Trace::Text(String::new());
        trace.head(3);
        let up = [true, true, false];
        trace.note(1_500_000, up.into_iter(), At::One(0), format_args!("asks"));
        trace.note(12_000_000, up.into_iter(), At::Way { from: 0, to: 1 }, format_args!("read"));
        trace.note(13_000_000, up.into_iter(), At::Way { from: 1, to: 0 }, format_args!("ack"));
        let Trace::Text(text) = trace else { panic!("a text") };
        let expected = "    ms       p0   p1   p2
      1.500  ●    │    ╳      asks
     12.000  ○───▶●    ╳      read
     13.000  ●◀───○    ╳      ack
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_digest_tells_texts_apart_by_content_and_order() {
        let digest = |parts: &[&str]| {
            let mut digest = Digest::default();
            for part in parts {
                digest.write_str(part).unwrap();
            }
            digest
        };
        assert_eq!(digest(&["a", "b"]), digest(&["a", "b"]));
        assert_ne!(digest(&["a", "b"]), digest(&["b", "a"]));
        assert_ne!(digest(&["a"]), digest(&["ab"]));
    }
}
