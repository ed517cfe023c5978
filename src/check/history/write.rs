//! Writes events as compressed JSON lines. This is on the load generator's hot path: a line is
//! assembled by hand in a reused buffer, and nothing is allocated per event.

use std::io::{self, Write};

use super::{Call, Event, Reply, Seen, Stage};
use crate::command::Key;

/// Lines gathered before they are handed to the compressor.
const CHUNK_BYTES: usize = 16 << 10;

/// One of zstd's fast settings: `benches/linearizability.rs` prints the time and the bytes per event
/// that come of it. Other settings were not compared.
const ZSTD_LEVEL: i32 = -3;

/// Streams the events of one site into a compressed history.
///
/// Call [`HistoryWriter::finish`] at the end: a history whose writer was only dropped is truncated,
/// and readers say so.
pub struct HistoryWriter<W: Write> {
    encoder: zstd::stream::write::Encoder<'static, W>,
    lines: Vec<u8>,
    /// `,"site":"tokyo"}` and the line's end.
    tail: Vec<u8>,
}

impl<W: Write> HistoryWriter<W> {
    /// A writer for the events of `site`.
    pub fn new(out: W, site: &str) -> io::Result<Self> {
        let encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
        let tail = format!(",\"site\":{}}}\n", serde_json::to_string(site)?).into_bytes();
        Ok(HistoryWriter { encoder, lines: Vec::with_capacity(CHUNK_BYTES + 512), tail })
    }

    /// Appends one event.
    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        push_event(&mut self.lines, event);
        self.lines.extend_from_slice(&self.tail);
        if self.lines.len() >= CHUNK_BYTES {
            self.encoder.write_all(&self.lines)?;
            self.lines.clear();
        }
        Ok(())
    }

    /// Ends the compressed stream and gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.encoder.write_all(&self.lines)?;
        let mut out = self.encoder.finish()?;
        out.flush()?;
        Ok(out)
    }
}

fn push_event(line: &mut Vec<u8>, event: &Event) {
    line.extend_from_slice(b"{\"process\":");
    push_number(line, event.process);
    line.extend_from_slice(match event.stage {
        Stage::Invoke => b",\"type\":\"invoke\",\"f\":\"".as_slice(),
        Stage::Ok(_) => b",\"type\":\"ok\",\"f\":\"",
        Stage::Fail => b",\"type\":\"fail\",\"f\":\"",
        Stage::Info => b",\"type\":\"info\",\"f\":\"",
    });
    line.extend_from_slice(event.call.function().as_bytes());
    line.extend_from_slice(b"\",\"key\":");
    push_key(line, event.key);
    line.extend_from_slice(b",\"value\":");
    match &event.stage {
        Stage::Ok(reply) => push_reply(line, &event.call, reply),
        _ => push_call(line, &event.call),
    }
    line.extend_from_slice(b",\"time\":");
    push_number(line, event.time_ns);
}

/// The value of an `invoke`, `fail` or `info`.
fn push_call(line: &mut Vec<u8>, call: &Call) {
    match *call {
        Call::Put { value: number }
        | Call::Rmw { new: number }
        | Call::Append { new: number }
        | Call::Add { amount: number } => push_number(line, number),
        Call::Get | Call::Delete => line.extend_from_slice(b"null"),
        Call::Cas { .. } | Call::Transfer { .. } => {
            push_fields(line, call);
            line.push(b'}');
        }
    }
}

/// The value of an `ok`: the call, and what it was answered.
fn push_reply(line: &mut Vec<u8>, call: &Call, reply: &Reply) {
    match (call, reply) {
        (Call::Get | Call::Delete, Reply::Found(seen)) => push_seen(line, seen),
        (Call::Rmw { new } | Call::Append { new }, Reply::Found(seen)) => {
            push_replaced(line, (b"{\"new\":", *new), (b",\"old\":", seen));
        }
        (Call::Append { new }, Reply::Full(seen)) => {
            push_replaced(line, (b"{\"new\":", *new), (b",\"full\":", seen));
        }
        (Call::Add { amount }, Reply::Found(seen)) => {
            push_replaced(line, (b"{\"amount\":", *amount), (b",\"old\":", seen));
        }
        (Call::Cas { .. }, Reply::Found(seen)) => {
            push_fields(line, call);
            line.extend_from_slice(b",\"found\":");
            push_seen(line, seen);
            line.push(b'}');
        }
        (Call::Transfer { .. }, Reply::Balances { moved, from, to }) => {
            push_fields(line, call);
            line.extend_from_slice(if *moved { b",\"moved\":true" } else { b",\"moved\":false" });
            line.extend_from_slice(b",\"from_balance\":");
            push_number(line, *from);
            line.extend_from_slice(b",\"to_balance\":");
            push_number(line, *to);
            line.push(b'}');
        }
        (Call::Put { value }, Reply::Done) => push_number(line, *value),
        _ => panic!("a {} cannot be answered {reply:?}", call.function()),
    }
}

/// An object of what was asked for and what was there, each with the bytes before it.
fn push_replaced(line: &mut Vec<u8>, asked: (&[u8], u64), held: (&[u8], &Seen)) {
    line.extend_from_slice(asked.0);
    push_number(line, asked.1);
    line.extend_from_slice(held.0);
    push_seen(line, held.1);
    line.push(b'}');
}

/// The fields of a cas or transfer, its object left open.
fn push_fields(line: &mut Vec<u8>, call: &Call) {
    match *call {
        Call::Cas { expected, new } => {
            line.extend_from_slice(b"{\"expected\":");
            push_token(line, expected);
            line.extend_from_slice(b",\"new\":");
            push_number(line, new);
        }
        Call::Transfer { to, amount } => {
            line.extend_from_slice(b"{\"to\":");
            push_key(line, to);
            line.extend_from_slice(b",\"amount\":");
            push_number(line, amount);
        }
        _ => unreachable!("only cas and transfer have fields"),
    }
}

fn push_seen(line: &mut Vec<u8>, seen: &Seen) {
    match seen {
        Seen::Absent => push_token(line, None),
        Seen::Token(token) => push_number(line, *token),
        Seen::Corrupt(bytes) => {
            line.extend_from_slice(b"\"corrupt:");
            for byte in bytes {
                line.push(b"0123456789abcdef"[usize::from(byte >> 4)]);
                line.push(b"0123456789abcdef"[usize::from(byte & 15)]);
            }
            line.push(b'"');
        }
    }
}

fn push_token(line: &mut Vec<u8>, token: Option<u64>) {
    match token {
        Some(token) => push_number(line, token),
        None => line.extend_from_slice(b"null"),
    }
}

fn push_key(line: &mut Vec<u8>, key: Key) {
    line.extend_from_slice(if key.is_account() { b"\"a" } else { b"\"k" });
    push_number(line, Key::register(key.0).0);
    line.push(b'"');
}

fn push_number(line: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    line.extend_from_slice(&digits[start..]);
}
