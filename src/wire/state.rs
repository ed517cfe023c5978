//! The replicated state as bytes, for state transfer.
//!
//! Entries are sorted, so that equal states have equal bytes.

use std::collections::VecDeque;

use bytes::{BufMut, BytesMut};
use rustc_hash::FxHashMap;

use super::{Malformed, Reader, Wire, decode_value, encode_value};
use crate::command::{ClientId, Key, Outcome};
use crate::kv::{Replicated, Session, Slot, Store};
use crate::mutants::mutant;

/// Appends the whole store: registers, accounts, sessions.
pub fn encode_store(store: &Store, out: &mut BytesMut) {
    out.put_u64_le(store.applied());
    encode_sorted(&store.registers, out, encode_value);
    encode_sorted(&store.accounts, out, |balance, out| out.put_u64_le(*balance));
    encode_sorted(&store.sessions, out, encode_session);
}

/// Reads a store back.
pub fn decode_store(from: &mut Reader<'_>) -> Result<Store, Malformed> {
    let applied = from.u64()?;
    let registers = decode_map(from, 4, Key, decode_value)?;
    let accounts = decode_map(from, 8, Key, decode_balance)?;
    let mut sessions = decode_map(from, 20, ClientId, decode_session)?;
    if mutant!(SessionsNotTransferred) {
        sessions.clear();
    }
    Ok(Store::from_parts(registers, accounts, sessions, applied))
}

/// A map's key as it travels.
trait Id: Copy + Ord {
    fn number(self) -> u64;
}

impl Id for Key {
    fn number(self) -> u64 {
        self.0
    }
}

impl Id for ClientId {
    fn number(self) -> u64 {
        self.0
    }
}

fn encode_sorted<K: Id, V>(
    map: &FxHashMap<K, V>,
    out: &mut BytesMut,
    write: impl Fn(&V, &mut BytesMut),
) {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| **key);
    out.put_u32_le(entries.len() as u32);
    for (key, value) in entries {
        out.put_u64_le(key.number());
        write(value, out);
    }
}

fn decode_map<K: std::hash::Hash + Eq, V>(
    from: &mut Reader<'_>,
    value_bytes_min: usize,
    key: impl Fn(u64) -> K,
    value: impl Fn(&mut Reader<'_>) -> Result<V, Malformed>,
) -> Result<FxHashMap<K, V>, Malformed> {
    let count = from.count(8 + value_bytes_min)?;
    let mut map = FxHashMap::with_capacity_and_hasher(count, rustc_hash::FxBuildHasher);
    for _ in 0..count {
        if map.insert(key(from.u64()?), value(from)?).is_some() {
            return Err(Malformed("state: an entry twice"));
        }
    }
    Ok(map)
}

fn decode_balance(from: &mut Reader<'_>) -> Result<u64, Malformed> {
    from.u64()
}

fn encode_session(session: &Session, out: &mut BytesMut) {
    out.put_u64_le(session.base);
    out.put_u64_le(session.answered_below);
    out.put_u32_le(session.slots.len() as u32);
    for slot in &session.slots {
        match slot {
            Slot::Missing => out.put_u8(0),
            Slot::Answered => out.put_u8(1),
            Slot::Executed(outcome) => {
                out.put_u8(2);
                outcome.encode(out);
            }
        }
    }
}

fn decode_session(from: &mut Reader<'_>) -> Result<Session, Malformed> {
    let (base, answered_below) = (from.u64()?, from.u64()?);
    let count = from.count(1)?;
    let mut slots = VecDeque::with_capacity(count);
    for _ in 0..count {
        slots.push_back(match from.u8()? {
            0 => Slot::Missing,
            1 => Slot::Answered,
            2 => Slot::Executed(Outcome::decode(from)?),
            _ => return Err(Malformed("state: session slot")),
        });
    }
    Ok(Session { base, answered_below, slots })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, CommandId, Operation, Value};

    #[test]
    fn a_store_read_back_is_equal_and_knows_its_sessions() {
        let mut store = Store::default();
        for sequence in 0..100 {
            let key = Key::register(sequence % 7);
            let value = Value::from_vec(vec![sequence as u8; sequence as usize]);
            let operation = match sequence % 3 {
                0 => Operation::Transfer { from: Key::account(0), to: Key::account(1), amount: 3 },
                1 => Operation::Get { key },
                _ => Operation::Put { key, value },
            };
            let id = CommandId { client: ClientId(sequence % 2), sequence: sequence / 2 };
            let answered_below = (sequence / 2).saturating_sub(3);
            store.execute(&Command { id, answered_below, operation });
        }
        let mut bytes = BytesMut::new();
        encode_store(&store, &mut bytes);
        let read = decode_store(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(read, store);
        for cut in 0..bytes.len() {
            assert!(decode_store(&mut Reader::new(&bytes[..cut])).is_err());
        }
    }
}
