//! The messages of `paxos` as bytes.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::{Malformed, Reader, Wire, decode_bool, decode_list, encode_list, within_bounds};
use crate::command::NodeId;
use crate::protocol::Batch;
use crate::protocol::ballot::Round;
use crate::protocol::paxos::ParcelSet;
use crate::protocol::paxos::message::{Decided, MsgSet, Parcel, ParcelId, PaxosMessage, Written};

/// Bytes of the shortest parcel, value and ParcelSet.
const PARCEL_BYTES_MIN: usize = 17;
const VALUE_BYTES_MIN: usize = 4;
const WRITTEN_BYTES_MIN: usize = 20;
const PARCEL_SET_BYTES_MIN: usize = 16;

impl Wire for Parcel {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.id.origin.0);
        out.put_u32_le(self.id.incarnation);
        out.put_u64_le(self.id.number);
        self.commands.encode(out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let origin = NodeId(from.u8()?);
        let id = ParcelId { origin, incarnation: from.u32()?, number: decode_number(from)? };
        Ok(Parcel { id, commands: Batch::decode(from)? })
    }
}

impl Wire for MsgSet {
    fn encode(&self, out: &mut BytesMut) {
        encode_list(self, out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Arc::from(decode_list(from, PARCEL_BYTES_MIN)?))
    }
}

impl Wire for Written {
    fn encode(&self, out: &mut BytesMut) {
        encode_round(self.write, self.instance, out);
        self.value.encode(out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (write, instance) = decode_round(from)?;
        Ok(Written { instance, write, value: MsgSet::decode(from)? })
    }
}

impl Wire for Decided {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.round.0);
        out.put_u64_le(self.from);
        out.put_u64_le(self.below);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (round, first) = decode_round(from)?;
        let decided = Decided { round, from: first, below: decode_number(from)? };
        if decided.from < decided.below { Ok(decided) } else { Err(Malformed("decision: empty")) }
    }
}

impl Wire for ParcelSet {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.incarnation);
        out.put_u64_le(self.floor);
        out.put_u32_le(self.above.len() as u32);
        for number in &self.above {
            out.put_u64_le(*number);
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (incarnation, floor) = (from.u32()?, decode_number(from)?);
        let above = (0..from.count(8)?).map(|_| decode_number(from)).collect::<Result<_, _>>()?;
        Ok(ParcelSet { incarnation, floor, above })
    }
}

impl Wire for PaxosMessage {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            PaxosMessage::Heartbeat { epoch, next_batch, written_below, hears_majority } => {
                out.put_u8(0);
                out.put_u32_le(*epoch);
                out.put_u64_le(*next_batch);
                out.put_u64_le(*written_below);
                out.put_u8(u8::from(*hears_majority));
            }
            PaxosMessage::Forward(parcel) => {
                out.put_u8(1);
                parcel.encode(out);
            }
            PaxosMessage::Read { round, instance, onwards } => {
                out.put_u8(2);
                encode_round(*round, *instance, out);
                out.put_u8(u8::from(*onwards));
            }
            PaxosMessage::AckRead { round, instance, next_batch, written } => {
                out.put_u8(3);
                encode_round(*round, *instance, out);
                out.put_u64_le(*next_batch);
                encode_list(written, out);
            }
            PaxosMessage::Write { round, instance, value, decided } => {
                out.put_u8(if decided.is_some() { 5 } else { 4 });
                encode_round(*round, *instance, out);
                if let Some(decided) = decided {
                    decided.encode(out);
                }
                value.encode(out);
            }
            PaxosMessage::AckWrite { round, instance, permission } => {
                out.put_u8(6);
                encode_round(*round, *instance, out);
                out.put_u8(u8::from(*permission));
            }
            PaxosMessage::Nack { round, instance, promised } => {
                out.put_u8(7);
                encode_round(*round, *instance, out);
                out.put_u64_le(promised.0);
            }
            PaxosMessage::Decision(decided) => {
                out.put_u8(8);
                decided.encode(out);
            }
            PaxosMessage::Lagging { next_batch } => {
                out.put_u8(9);
                out.put_u64_le(*next_batch);
            }
            PaxosMessage::Update { from, values } => {
                out.put_u8(10);
                out.put_u64_le(*from);
                encode_list(values, out);
            }
            PaxosMessage::State { next_batch, delivered } => {
                out.put_u8(11);
                out.put_u64_le(*next_batch);
                encode_list(delivered, out);
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match from.u8()? {
            0 => PaxosMessage::Heartbeat {
                epoch: from.u32()?,
                next_batch: decode_number(from)?,
                written_below: decode_number(from)?,
                hears_majority: decode_bool(from)?,
            },
            1 => PaxosMessage::Forward(Parcel::decode(from)?),
            2 => {
                let (round, instance) = decode_round(from)?;
                PaxosMessage::Read { round, instance, onwards: decode_bool(from)? }
            }
            3 => {
                let (round, instance) = decode_round(from)?;
                let next_batch = decode_number(from)?;
                let written = decode_list(from, WRITTEN_BYTES_MIN)?;
                PaxosMessage::AckRead { round, instance, next_batch, written }
            }
            kind @ (4 | 5) => {
                let (round, instance) = decode_round(from)?;
                let decided = if kind == 5 { Some(Decided::decode(from)?) } else { None };
                PaxosMessage::Write { round, instance, value: MsgSet::decode(from)?, decided }
            }
            6 => {
                let (round, instance) = decode_round(from)?;
                PaxosMessage::AckWrite { round, instance, permission: decode_bool(from)? }
            }
            7 => {
                let (round, instance) = decode_round(from)?;
                PaxosMessage::Nack { round, instance, promised: Round(decode_number(from)?) }
            }
            8 => PaxosMessage::Decision(Decided::decode(from)?),
            9 => PaxosMessage::Lagging { next_batch: decode_number(from)? },
            10 => PaxosMessage::Update {
                from: decode_number(from)?,
                values: decode_list(from, VALUE_BYTES_MIN)?,
            },
            11 => PaxosMessage::State {
                next_batch: decode_number(from)?,
                delivered: decode_list(from, PARCEL_SET_BYTES_MIN)?,
            },
            _ => return Err(Malformed("paxos message: unknown kind")),
        })
    }
}

fn encode_round(round: Round, instance: u64, out: &mut BytesMut) {
    out.put_u64_le(round.0);
    out.put_u64_le(instance);
}

fn decode_round(from: &mut Reader<'_>) -> Result<(Round, u64), Malformed> {
    Ok((Round(decode_number(from)?), decode_number(from)?))
}

fn decode_number(from: &mut Reader<'_>) -> Result<u64, Malformed> {
    within_bounds(from.u64()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::command::{ClientId, Command, CommandId, Key, Operation};

    fn parcel(number: u64) -> Parcel {
        let id = CommandId { client: ClientId(3), sequence: number };
        let operation = Operation::Get { key: Key::register(number) };
        let command = Command { id, answered_below: number, operation };
        let id = ParcelId { origin: NodeId(1), incarnation: 2, number };
        Parcel { id, commands: Arc::from([command]) }
    }

    fn one_of_each() -> Vec<PaxosMessage> {
        let value: MsgSet = Arc::from([parcel(1), parcel(2)]);
        let (round, instance) = (Round(9), 8);
        let decided = Decided { round, from: 3, below: 5 };
        let written = vec![Written { instance: 7, write: Round(4), value: value.clone() }];
        let set = ParcelSet { incarnation: 2, floor: 4, above: [6, 9].into() };
        vec![
            PaxosMessage::Heartbeat {
                epoch: 1,
                next_batch: 2,
                written_below: 3,
                hears_majority: true,
            },
            PaxosMessage::Forward(parcel(5)),
            PaxosMessage::Read { round, instance, onwards: true },
            PaxosMessage::AckRead { round, instance, next_batch: 3, written },
            PaxosMessage::Write { round, instance, value: value.clone(), decided: None },
            PaxosMessage::Write { round, instance, value: value.clone(), decided: Some(decided) },
            PaxosMessage::AckWrite { round, instance, permission: true },
            PaxosMessage::Nack { round, instance, promised: Round(12) },
            PaxosMessage::Decision(decided),
            PaxosMessage::Lagging { next_batch: 4 },
            PaxosMessage::Update { from: 2, values: vec![value, Arc::from([])] },
            PaxosMessage::State { next_batch: 4, delivered: vec![set, ParcelSet::default()] },
        ]
    }

    #[test]
    fn every_message_reads_back_as_written_and_no_prefix_of_it_does() {
        for message in one_of_each() {
            let mut out = BytesMut::new();
            message.encode(&mut out);
            assert_eq!(PaxosMessage::decode_whole(&out).unwrap(), message);
            for cut in 0..out.len() {
                assert!(PaxosMessage::decode_whole(&out[..cut]).is_err(), "{message:?} at {cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = PaxosMessage::decode_whole(&bytes);
        }

        #[test]
        fn a_flipped_byte_never_panics(at in 0usize..100, with in any::<u8>(), which in 0usize..12) {
            let mut out = BytesMut::new();
            one_of_each()[which].encode(&mut out);
            let at = at % out.len();
            out[at] ^= with;
            let _ = PaxosMessage::decode_whole(&out);
        }
    }
}
