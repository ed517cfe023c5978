//! Codec and framing of everything that crosses a connection: fixed little-endian fields, or varints
//! where numbers are many and mostly small, written and read by hand, because this is on the path of
//! every command.
//!
//! A *frame* is a `u32` length and that many bytes. Lengths are checked before anything is
//! allocated; what does not decode to the last byte is [`Malformed`], and closes its connection.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use crate::command::VALUE_BYTES_MAX;
use crate::command::{ClientId, Command, CommandId, Key, Operation, Outcome, Value};
use crate::protocol::Batch;

mod caspaxos;
mod epaxos;
mod multicoordinated;
mod paxos;
mod state;

pub use state::{decode_store, encode_store};

/// The longest frame, in bytes, without its length.
pub const FRAME_BYTES_MAX: usize = 32 << 20;

/// Bytes of a frame's length.
pub const FRAME_HEADER_BYTES: usize = 4;

/// Bytes that are not what they should be; says what was being read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(pub &'static str);

/// What can be written to and read from a frame.
pub trait Wire: Sized {
    /// Appends the encoding.
    fn encode(&self, out: &mut BytesMut);

    /// Reads one back; leaves `from` behind it.
    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed>;

    /// Reads one that must fill `bytes` exactly.
    fn decode_whole(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode(&mut reader)?;
        if reader.is_empty() { Ok(value) } else { Err(Malformed("frame: bytes left over")) }
    }
}

/// Appends a frame whose body `write` makes.
pub fn frame(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32_le(0);
    write(out);
    let length = out.len() - start - FRAME_HEADER_BYTES;
    assert!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes is over the limit");
    out[start..start + FRAME_HEADER_BYTES].copy_from_slice(&(length as u32).to_le_bytes());
}

/// The first whole frame's body in `bytes`, if there is one, and an error as soon as its length is
/// known to be over the limit.
pub fn first_frame(bytes: &[u8], bytes_max: usize) -> Result<Option<&[u8]>, Malformed> {
    let Some((header, rest)) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*header) as usize;
    if length > bytes_max {
        return Err(Malformed("frame: length over the limit"));
    }
    Ok(rest.get(..length))
}

/// Reads fields off the front of a frame.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `length` bytes.
    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) =
            self.rest.split_at_checked(length).ok_or(Malformed("frame: cut short"))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Malformed("frame: cut short"))?;
        self.rest = rest;
        Ok(*head)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A count of things that take at least `bytes_each` bytes, refused if they cannot be there:
    /// what makes it safe to allocate for them.
    pub fn count(&mut self, bytes_each: usize) -> Result<usize, Malformed> {
        let count = self.u32()?;
        self.holds(u64::from(count), bytes_each)
    }

    /// As [`Reader::count`], of a count that was written as a varint.
    pub fn short_count(&mut self, bytes_each: usize) -> Result<usize, Malformed> {
        let count = self.varint()?;
        self.holds(count, bytes_each)
    }

    fn holds(&self, count: u64, bytes_each: usize) -> Result<usize, Malformed> {
        if count.saturating_mul(bytes_each as u64) > self.rest.len() as u64 {
            return Err(Malformed("count: more than the frame holds"));
        }
        Ok(count as usize)
    }

    /// The next number in LEB128: seven bits a byte, the lowest first. Only the shortest form of a
    /// number is taken, so that it has one encoding.
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let (padded, cut_off) = (byte == 0 && shift > 0, byte > 1 && shift == 63);
                return if padded || cut_off { Err(Malformed("varint")) } else { Ok(value) };
            }
        }
        Err(Malformed("varint: too long"))
    }
}

/// Bytes of the longest varint.
const VARINT_BYTES_MAX: usize = 10;

fn encode_varint(mut number: u64, out: &mut BytesMut) {
    let (mut bytes, mut last) = ([0; VARINT_BYTES_MAX], 0);
    while number >= 0x80 {
        bytes[last] = number as u8 | 0x80;
        number >>= 7;
        last += 1;
    }
    bytes[last] = number as u8;
    out.put_slice(&bytes[..=last]);
}

/// A round, an instance or another number of a protocol; those near the end of the numbers are
/// refused, so that arithmetic on them is safe.
fn within_bounds(number: u64) -> Result<u64, Malformed> {
    if number < 1 << 62 { Ok(number) } else { Err(Malformed("number: out of range")) }
}

fn encode_list<T: Wire>(items: &[T], out: &mut BytesMut) {
    out.put_u32_le(items.len() as u32);
    for item in items {
        item.encode(out);
    }
}

fn decode_list<T: Wire>(from: &mut Reader<'_>, bytes_each: usize) -> Result<Vec<T>, Malformed> {
    let count = from.count(bytes_each)?;
    decode_items(from, count)
}

/// As [`encode_list`], for what is mostly short: the count is a varint.
fn encode_short_list<T: Wire>(items: &[T], out: &mut BytesMut) {
    encode_varint(items.len() as u64, out);
    for item in items {
        item.encode(out);
    }
}

fn decode_short_list<T: Wire>(
    from: &mut Reader<'_>,
    bytes_each: usize,
) -> Result<Vec<T>, Malformed> {
    let count = from.short_count(bytes_each)?;
    decode_items(from, count)
}

fn decode_items<T: Wire>(from: &mut Reader<'_>, count: usize) -> Result<Vec<T>, Malformed> {
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(T::decode(from)?);
    }
    Ok(items)
}

fn decode_bool(from: &mut Reader<'_>) -> Result<bool, Malformed> {
    match from.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed("flag")),
    }
}

impl<T: Wire> Wire for Option<T> {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(u8::from(self.is_some()));
        if let Some(item) = self {
            item.encode(out);
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        if decode_bool(from)? { T::decode(from).map(Some) } else { Ok(None) }
    }
}

fn encode_value(value: &Value, out: &mut BytesMut) {
    out.put_u32_le(value.len() as u32);
    out.put_slice(value);
}

fn decode_value(from: &mut Reader<'_>) -> Result<Value, Malformed> {
    let length = from.u32()? as usize;
    if length > VALUE_BYTES_MAX {
        return Err(Malformed("value: over the limit"));
    }
    Ok(Value::from_slice(from.bytes(length)?))
}

fn encode_optional_value(value: Option<&Value>, out: &mut BytesMut) {
    out.put_u8(u8::from(value.is_some()));
    if let Some(value) = value {
        encode_value(value, out);
    }
}

fn decode_optional_value(from: &mut Reader<'_>) -> Result<Option<Value>, Malformed> {
    if decode_bool(from)? { decode_value(from).map(Some) } else { Ok(None) }
}

impl Wire for Operation {
    fn encode(&self, out: &mut BytesMut) {
        // One append for both fields: appends are what encoding costs.
        let mut head = [0; 9];
        head[0] = match self {
            Operation::Get { .. } => 0,
            Operation::Put { .. } => 1,
            Operation::Cas { .. } => 2,
            Operation::Rmw { .. } => 3,
            Operation::Delete { .. } => 4,
            Operation::Transfer { .. } => 5,
            Operation::Add { .. } => 6,
            Operation::Append { .. } => 7,
        };
        head[1..].copy_from_slice(&self.keys().0.0.to_le_bytes());
        out.put_slice(&head);
        match self {
            Operation::Get { .. } | Operation::Delete { .. } => {}
            Operation::Put { value, .. }
            | Operation::Rmw { value, .. }
            | Operation::Append { value, .. } => encode_value(value, out),
            Operation::Add { amount, .. } => out.put_u64_le(*amount),
            Operation::Cas { expected, value, .. } => {
                encode_optional_value(expected.as_ref(), out);
                encode_value(value, out);
            }
            Operation::Transfer { to, amount, .. } => {
                out.put_u64_le(to.0);
                out.put_u64_le(*amount);
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kind = from.u8()?;
        let key = Key(from.u64()?);
        Ok(match kind {
            0 => Operation::Get { key },
            1 => Operation::Put { key, value: decode_value(from)? },
            2 => {
                let expected = decode_optional_value(from)?;
                Operation::Cas { key, expected, value: decode_value(from)? }
            }
            3 => Operation::Rmw { key, value: decode_value(from)? },
            4 => Operation::Delete { key },
            5 => {
                let to = Key(from.u64()?);
                Operation::Transfer { from: key, to, amount: from.u64()? }
            }
            6 => Operation::Add { key, amount: from.u64()? },
            7 => Operation::Append { key, value: decode_value(from)? },
            _ => return Err(Malformed("operation: unknown kind")),
        })
    }
}

/// Bytes of the shortest command.
const COMMAND_BYTES_MIN: usize = 27;

impl Wire for Command {
    fn encode(&self, out: &mut BytesMut) {
        let mut head = [0; 18];
        head[..8].copy_from_slice(&self.id.client.0.to_le_bytes());
        head[8..16].copy_from_slice(&self.id.sequence.to_le_bytes());
        // Within the window, so that 16 bits hold it; a command outside it was refused at the edge.
        let ahead = (self.id.sequence - self.answered_below) as u16;
        head[16..].copy_from_slice(&ahead.to_le_bytes());
        out.put_slice(&head);
        self.operation.encode(out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let client = ClientId(from.u64()?);
        let sequence = from.u64()?;
        let ahead = u64::from(from.u16()?);
        let answered_below =
            sequence.checked_sub(ahead).ok_or(Malformed("command: window below zero"))?;
        let id = CommandId { client, sequence };
        let command = Command { id, answered_below, operation: Operation::decode(from)? };
        if command.is_well_formed() { Ok(command) } else { Err(Malformed("command")) }
    }
}

impl Wire for Batch {
    fn encode(&self, out: &mut BytesMut) {
        encode_list(self, out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Arc::from(decode_list(from, COMMAND_BYTES_MIN)?))
    }
}

impl Wire for Outcome {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Outcome::Done => out.put_u8(0),
            Outcome::Unknown => out.put_u8(4),
            Outcome::Refused => out.put_u8(5),
            Outcome::Found(value) => {
                out.put_u8(1);
                encode_optional_value(value.as_ref(), out);
            }
            Outcome::Balances { moved, from, to } => {
                out.put_u8(if *moved { 3 } else { 2 });
                out.put_u64_le(*from);
                out.put_u64_le(*to);
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match from.u8()? {
            0 => Outcome::Done,
            4 => Outcome::Unknown,
            5 => Outcome::Refused,
            1 => Outcome::Found(decode_optional_value(from)?),
            kind @ (2 | 3) => {
                let payer = from.u64()?;
                Outcome::Balances { moved: kind == 3, from: payer, to: from.u64()? }
            }
            _ => return Err(Malformed("outcome: unknown kind")),
        })
    }
}

/// A replica's answer to a client's command. (The command itself travels as [`Command`].)
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Which command.
    pub id: CommandId,
    /// What it returned.
    pub outcome: Outcome,
}

impl Wire for Reply {
    fn encode(&self, out: &mut BytesMut) {
        encode_reply(self.id, &self.outcome, out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let client = ClientId(from.u64()?);
        let id = CommandId { client, sequence: from.u64()? };
        Ok(Reply { id, outcome: Outcome::decode(from)? })
    }
}

/// Appends the encoding of a [`Reply`] whose outcome is borrowed.
pub fn encode_reply(id: CommandId, outcome: &Outcome, out: &mut BytesMut) {
    out.put_u64_le(id.client.0);
    out.put_u64_le(id.sequence);
    outcome.encode(out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::from_vec)
    }

    fn any_operation() -> impl Strategy<Value = Operation> {
        let key = || any::<u64>().prop_map(Key::register);
        prop_oneof![
            key().prop_map(|key| Operation::Get { key }),
            key().prop_map(|key| Operation::Delete { key }),
            (key(), any_value()).prop_map(|(key, value)| Operation::Put { key, value }),
            (key(), any_value()).prop_map(|(key, value)| Operation::Rmw { key, value }),
            (key(), any::<u64>()).prop_map(|(key, amount)| Operation::Add { key, amount }),
            (key(), any_value()).prop_map(|(key, value)| Operation::Append { key, value }),
            (key(), prop::option::of(any_value()), any_value())
                .prop_map(|(key, expected, value)| Operation::Cas { key, expected, value }),
            (0..9u64, 10..20u64, any::<u64>()).prop_map(|(from, to, amount)| {
                Operation::Transfer { from: Key::account(from), to: Key::account(to), amount }
            }),
        ]
    }

    fn any_command() -> impl Strategy<Value = Command> {
        (any::<u64>(), any::<u32>(), 0..100u64, any_operation()).prop_map(
            |(client, sequence, ahead, operation)| {
                let sequence = u64::from(sequence);
                Command {
                    id: CommandId { client: ClientId(client), sequence },
                    answered_below: sequence.saturating_sub(ahead),
                    operation,
                }
            },
        )
    }

    fn any_outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            Just(Outcome::Done),
            Just(Outcome::Unknown),
            Just(Outcome::Refused),
            prop::option::of(any_value()).prop_map(Outcome::Found),
            (any::<bool>(), any::<u64>(), any::<u64>())
                .prop_map(|(moved, from, to)| Outcome::Balances { moved, from, to }),
        ]
    }

    proptest! {
        #[test]
        fn commands_and_replies_read_back_as_written(
            commands in prop::collection::vec(any_command(), 0..8),
            outcome in any_outcome(),
        ) {
            let batch: Batch = Arc::from(commands);
            let mut out = BytesMut::new();
            batch.encode(&mut out);
            prop_assert_eq!(&Batch::decode_whole(&out).unwrap(), &batch);

            let id = CommandId { client: ClientId(1), sequence: 2 };
            let reply = Reply { id, outcome };
            let mut out = BytesMut::new();
            reply.encode(&mut out);
            prop_assert_eq!(Reply::decode_whole(&out).unwrap(), reply);
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_decoded_and_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = Batch::decode_whole(&bytes);
            let _ = Reply::decode_whole(&bytes);
            let _ = first_frame(&bytes, 64);
        }

        #[test]
        fn a_varint_reads_back_as_written(number in any::<u64>(), bits in 1..=64u32) {
            let number = number >> (64 - bits);
            let mut out = BytesMut::new();
            encode_varint(number, &mut out);
            let length = (64 - (number | 1).leading_zeros()).div_ceil(7) as usize;
            prop_assert_eq!(out.len(), length);
            let mut reader = Reader::new(&out);
            prop_assert_eq!((reader.varint(), reader.remaining()), (Ok(number), 0));
            prop_assert!(Reader::new(&out[..length - 1]).varint().is_err());
        }
    }

    #[test]
    fn a_varint_has_one_form_and_64_bits() {
        let mut largest = [0xff; VARINT_BYTES_MAX];
        largest[9] = 1;
        assert_eq!(Reader::new(&largest).varint(), Ok(u64::MAX));
        largest[9] = 2;
        let wrong: [&[u8]; 4] = [&largest, &[0x80, 0], &[0xff, 0x80, 0], &[0xff; 11]];
        for bytes in wrong {
            assert!(Reader::new(bytes).varint().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_count_that_the_frame_cannot_hold_is_refused_before_allocation() {
        let bytes = u32::MAX.to_le_bytes();
        assert_eq!(Batch::decode_whole(&bytes), Err(Malformed("count: more than the frame holds")));
        for count in [3, u64::MAX] {
            let mut out = BytesMut::new();
            encode_varint(count, &mut out);
            out.put_u32_le(0);
            let counted = Reader::new(&out).short_count(2);
            assert_eq!(counted, Err(Malformed("count: more than the frame holds")));
        }
    }

    #[test]
    fn a_frame_that_claims_four_gibibytes_is_refused_at_its_header() {
        assert!(first_frame(&u32::MAX.to_le_bytes(), FRAME_BYTES_MAX).is_err());
    }

    #[test]
    fn a_frame_is_returned_once_whole() {
        let mut out = BytesMut::new();
        frame(&mut out, |body| body.put_slice(b"abc"));
        assert_eq!(first_frame(&out, 10).unwrap(), Some(&b"abc"[..]));
        assert_eq!(first_frame(&out[..6], 10).unwrap(), None);
        assert_eq!(first_frame(&out[..3], 10).unwrap(), None);
    }
}
