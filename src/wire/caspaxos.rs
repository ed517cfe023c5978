//! The messages of `caspaxos` as bytes. One message carries a whole turn's attempts, so what is written for each
//! register is what counts: its key, its ballot and its state, in as few appends as can be.

use bytes::{BufMut, BytesMut};

use super::{
    COMMAND_BYTES_MIN, Malformed, Reader, Wire, decode_list, decode_value, encode_list,
    encode_value,
};
use crate::command::{Key, NodeId};
use crate::protocol::caspaxos::ballot::Ballot;
use crate::protocol::caspaxos::members::{Configuration, Group};
use crate::protocol::caspaxos::message::{
    CaspaxosMessage, Change, Fate, Part, Promise, Rest, Seen,
};
use crate::protocol::caspaxos::state::{Marks, State};
use crate::protocol::quorum::NodeSet;

const KEY_BYTES: usize = 8;
const BALLOT_BYTES: usize = 8;
const STATE_BYTES_MIN: usize = 1;
const CHANGE_BYTES_MIN: usize = KEY_BYTES + BALLOT_BYTES + STATE_BYTES_MIN;
const CONFLICT_BYTES: usize = 4 + BALLOT_BYTES;

/// Bits of a state's first byte.
const HAS_VALUE: u8 = 1;
const HAS_MARKS: u8 = 2;

mod tag {
    pub(super) const PREPARE: u8 = 0;
    pub(super) const PROMISE: u8 = 1;
    pub(super) const ACCEPT: u8 = 2;
    pub(super) const ACCEPTED: u8 = 3;
    pub(super) const READ: u8 = 4;
    pub(super) const READ_OK: u8 = 5;
    pub(super) const REMOVE: u8 = 6;
    pub(super) const REMOVED: u8 = 7;
    pub(super) const COMPARE: u8 = 8;
    pub(super) const DIGESTS: u8 = 9;
    pub(super) const PULL_BUCKETS: u8 = 10;
    pub(super) const PULL_FROM: u8 = 11;
    pub(super) const COPIES: u8 = 12;
    pub(super) const CONFIGURE: u8 = 13;
    pub(super) const WHICH_CONFIGURATION: u8 = 14;
    pub(super) const MERGED: u8 = 15;
    pub(super) const REPLACE: u8 = 16;
    pub(super) const FORWARD: u8 = 17;
    pub(super) const FORWARDED: u8 = 18;
}

impl Wire for Key {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.0);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Key(from.u64()?))
    }
}

impl Wire for Ballot {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.0);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let ballot = Ballot(from.u64()?);
        let exists = ballot.is_zero() || ballot.counter() > 0;
        if exists { Ok(ballot) } else { Err(Malformed("ballot: no counter")) }
    }
}

impl Wire for (Key, Ballot) {
    fn encode(&self, out: &mut BytesMut) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((Key::decode(from)?, Ballot::decode(from)?))
    }
}

/// Appends what is in `head` and then the state: its first byte is the last of the head.
fn encode_with_state<const N: usize>(mut head: [u8; N], state: &State, out: &mut BytesMut) {
    let has_marks = state.marks.iter().len() > 0;
    head[N - 1] = u8::from(state.value.is_some()) * HAS_VALUE + u8::from(has_marks) * HAS_MARKS;
    out.put_slice(&head);
    if let Some(value) = &state.value {
        encode_value(value, out);
    }
    if has_marks {
        out.put_u8(state.marks.iter().len() as u8);
        for mark in state.marks.iter() {
            mark.encode(out);
        }
    }
}

impl Wire for State {
    fn encode(&self, out: &mut BytesMut) {
        encode_with_state([0], self, out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let has = from.u8()?;
        if has > HAS_VALUE + HAS_MARKS {
            return Err(Malformed("state"));
        }
        let value = if has & HAS_VALUE == 0 { None } else { Some(decode_value(from)?) };
        let marks = if has & HAS_MARKS == 0 { Marks::default() } else { decode_marks(from)? };
        Ok(State { value, marks })
    }
}

/// At least one, each of another proposer, in their order.
fn decode_marks(from: &mut Reader<'_>) -> Result<Marks, Malformed> {
    let count = from.u8()?;
    let mut marks: Vec<Ballot> = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        marks.push(Ballot::decode(from)?);
    }
    let in_order = marks.is_sorted_by(|a, b| a.proposer() < b.proposer());
    let exist = marks.iter().all(|mark| !mark.is_zero()) && count > 0;
    if in_order && exist { Ok(Marks::of(marks)) } else { Err(Malformed("marks")) }
}

impl Wire for Change {
    fn encode(&self, out: &mut BytesMut) {
        let mut head = [0; CHANGE_BYTES_MIN];
        head[..8].copy_from_slice(&self.key.0.to_le_bytes());
        head[8..16].copy_from_slice(&self.ballot.0.to_le_bytes());
        encode_with_state(head, &self.state, out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (key, ballot) = (Key::decode(from)?, Ballot::decode(from)?);
        if ballot.is_zero() {
            return Err(Malformed("change: no ballot"));
        }
        Ok(Change { key, ballot, state: State::decode(from)? })
    }
}

impl Wire for Promise {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Promise::Accepted { ballot, state } => {
                out.put_u8(0);
                ballot.encode(out);
                state.encode(out);
            }
            Promise::Conflict(seen) => {
                out.put_u8(1);
                seen.encode(out);
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        match from.u8()? {
            0 => {
                Ok(Promise::Accepted { ballot: Ballot::decode(from)?, state: State::decode(from)? })
            }
            1 => Ok(Promise::Conflict(Ballot::decode(from)?)),
            _ => Err(Malformed("promise")),
        }
    }
}

impl Wire for Seen {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Seen::Same => out.put_u8(0),
            Seen::Borrowed => out.put_u8(2),
            Seen::Other { ballot, state } => {
                out.put_u8(1);
                ballot.encode(out);
                state.encode(out);
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        match from.u8()? {
            0 => Ok(Seen::Same),
            1 => Ok(Seen::Other { ballot: Ballot::decode(from)?, state: State::decode(from)? }),
            2 => Ok(Seen::Borrowed),
            _ => Err(Malformed("what was seen")),
        }
    }
}

impl Wire for Fate {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Fate::UnderWay => out.put_u8(0),
            Fate::NotThisLife => out.put_u8(1),
            Fate::Refused { winner } => {
                out.put_u8(2);
                winner.encode(out);
            }
            Fate::Done { first, outcomes, is_alone } => {
                out.put_u8(if *is_alone { 4 } else { 3 });
                out.put_u32_le(*first);
                encode_list(outcomes, out);
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match from.u8()? {
            0 => Fate::UnderWay,
            1 => Fate::NotThisLife,
            2 => Fate::Refused { winner: Ballot::decode(from)? },
            kind @ (3 | 4) => {
                let (first, outcomes) = (from.u32()?, decode_list(from, 1)?);
                Fate::Done { first, outcomes, is_alone: kind == 4 }
            }
            _ => return Err(Malformed("fate of a forward")),
        })
    }
}

impl Wire for (u32, Ballot) {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.0);
        self.1.encode(out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((from.u32()?, Ballot::decode(from)?))
    }
}

impl Wire for Group {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.members.bits());
        out.put_u8(self.prepare);
        out.put_u8(self.accept);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let members = NodeSet::from_bits(from.u64()?);
        Ok(Group { members, prepare: from.u8()?, accept: from.u8()? })
    }
}

impl Wire for Configuration {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u16_le(self.epoch);
        self.old.encode(out);
        self.new.encode(out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let epoch = from.u16()?;
        Ok(Configuration { epoch, old: Option::decode(from)?, new: Group::decode(from)? })
    }
}

impl Wire for CaspaxosMessage {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            CaspaxosMessage::Prepare { batch, ballot, phase_us, keys } => {
                put(tag::PREPARE, *batch, out);
                ballot.encode(out);
                out.put_u32_le(*phase_us);
                encode_list(keys, out);
            }
            CaspaxosMessage::Promise { batch, floor, first, promises } => {
                put(tag::PROMISE, *batch, out);
                floor.encode(out);
                out.put_u32_le(*first);
                encode_list(promises, out);
            }
            CaspaxosMessage::Accept { batch, next, changes } => {
                put(tag::ACCEPT, *batch, out);
                next.encode(out);
                encode_list(changes, out);
            }
            CaspaxosMessage::Accepted { batch, conflicts } => {
                put(tag::ACCEPTED, *batch, out);
                encode_list(conflicts, out);
            }
            CaspaxosMessage::Read { batch, epoch, keys } => {
                put(tag::READ, *batch, out);
                out.put_u16_le(*epoch);
                encode_list(keys, out);
            }
            CaspaxosMessage::ReadOk { batch, first, seen } => {
                put(tag::READ_OK, *batch, out);
                out.put_u32_le(*first);
                encode_list(seen, out);
            }
            _ => self.encode_rare(out),
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kind = from.u8()?;
        Ok(match kind {
            tag::PREPARE => CaspaxosMessage::Prepare {
                batch: from.u64()?,
                ballot: Ballot::decode(from)?,
                phase_us: from.u32()?,
                keys: decode_list(from, KEY_BYTES)?.into(),
            },
            tag::PROMISE => CaspaxosMessage::Promise {
                batch: from.u64()?,
                floor: Ballot::decode(from)?,
                first: from.u32()?,
                promises: decode_list(from, 1 + BALLOT_BYTES)?,
            },
            tag::ACCEPT => CaspaxosMessage::Accept {
                batch: from.u64()?,
                next: Ballot::decode(from)?,
                changes: decode_list(from, CHANGE_BYTES_MIN)?.into(),
            },
            tag::ACCEPTED => CaspaxosMessage::Accepted {
                batch: from.u64()?,
                conflicts: decode_list(from, CONFLICT_BYTES)?,
            },
            tag::READ => CaspaxosMessage::Read {
                batch: from.u64()?,
                epoch: from.u16()?,
                keys: decode_list(from, KEY_BYTES + BALLOT_BYTES)?.into(),
            },
            tag::READ_OK => CaspaxosMessage::ReadOk {
                batch: from.u64()?,
                first: from.u32()?,
                seen: decode_list(from, 1)?,
            },
            _ => decode_rare(kind, from)?,
        })
    }
}

fn put(tag: u8, batch: u64, out: &mut BytesMut) {
    out.put_u8(tag);
    out.put_u64_le(batch);
}

impl CaspaxosMessage {
    fn encode_rare(&self, out: &mut BytesMut) {
        match self {
            CaspaxosMessage::Remove { tombstones } => {
                out.put_u8(tag::REMOVE);
                encode_list(tombstones, out);
            }
            CaspaxosMessage::Removed { tombstones } => {
                out.put_u8(tag::REMOVED);
                encode_list(tombstones, out);
            }
            CaspaxosMessage::Compare { digest } => put(tag::COMPARE, *digest, out),
            CaspaxosMessage::Digests { buckets } => {
                out.put_u8(tag::DIGESTS);
                out.put_u16_le(buckets.len() as u16);
                for digest in buckets {
                    out.put_u64_le(*digest);
                }
            }
            CaspaxosMessage::Pull { removals, epoch, part: Part::Buckets(buckets) } => {
                put(tag::PULL_BUCKETS, *removals, out);
                out.put_u16_le(*epoch);
                out.put_u16_le(buckets.len() as u16);
                for bucket in buckets {
                    out.put_u16_le(*bucket);
                }
            }
            CaspaxosMessage::Pull { removals, epoch, part: Part::From(place) } => {
                put(tag::PULL_FROM, *removals, out);
                out.put_u16_le(*epoch);
                out.put_u32_le(*place);
            }
            CaspaxosMessage::Copies { removals, epoch, rest, floor, copies } => {
                put(tag::COPIES, *removals, out);
                out.put_u16_le(*epoch);
                match rest {
                    Rest::Buckets => out.put_u8(0),
                    Rest::Nothing => out.put_u8(1),
                    Rest::From(place) => {
                        out.put_u8(2);
                        out.put_u32_le(*place);
                    }
                }
                floor.encode(out);
                encode_list(copies, out);
            }
            CaspaxosMessage::Configure(configuration) => {
                out.put_u8(tag::CONFIGURE);
                configuration.encode(out);
            }
            CaspaxosMessage::WhichConfiguration => out.put_u8(tag::WHICH_CONFIGURATION),
            CaspaxosMessage::Merged { epoch } => {
                out.put_u8(tag::MERGED);
                out.put_u16_le(*epoch);
            }
            CaspaxosMessage::Replace(leaver) => {
                out.put_u8(tag::REPLACE);
                out.put_u8(leaver.0);
            }
            CaspaxosMessage::Forward { number, seen, settled_below, commands } => {
                put(tag::FORWARD, *number, out);
                seen.encode(out);
                out.put_u64_le(*settled_below);
                commands.encode(out);
            }
            CaspaxosMessage::Forwarded { number, fate } => {
                put(tag::FORWARDED, *number, out);
                fate.encode(out);
            }
            _ => unreachable!("written by encode"),
        }
    }
}

fn decode_rare(kind: u8, from: &mut Reader<'_>) -> Result<CaspaxosMessage, Malformed> {
    Ok(match kind {
        tag::REMOVE => CaspaxosMessage::Remove {
            tombstones: decode_list(from, KEY_BYTES + BALLOT_BYTES)?.into(),
        },
        tag::REMOVED => CaspaxosMessage::Removed {
            tombstones: decode_list(from, KEY_BYTES + BALLOT_BYTES)?.into(),
        },
        tag::COMPARE => CaspaxosMessage::Compare { digest: from.u64()? },
        tag::DIGESTS => {
            let count = from.u16()?;
            let buckets = (0..count).map(|_| from.u64()).collect::<Result<_, _>>()?;
            CaspaxosMessage::Digests { buckets }
        }
        tag::PULL_BUCKETS => {
            let (removals, epoch, count) = (from.u64()?, from.u16()?, from.u16()?);
            let buckets = (0..count).map(|_| from.u16()).collect::<Result<_, _>>()?;
            CaspaxosMessage::Pull { removals, epoch, part: Part::Buckets(buckets) }
        }
        tag::PULL_FROM => {
            let (removals, epoch) = (from.u64()?, from.u16()?);
            CaspaxosMessage::Pull { removals, epoch, part: Part::From(from.u32()?) }
        }
        tag::COPIES => {
            let (removals, epoch) = (from.u64()?, from.u16()?);
            let rest = match from.u8()? {
                0 => Rest::Buckets,
                1 => Rest::Nothing,
                2 => Rest::From(from.u32()?),
                _ => return Err(Malformed("copies: what is left")),
            };
            CaspaxosMessage::Copies {
                removals,
                epoch,
                rest,
                floor: Ballot::decode(from)?,
                copies: decode_list(from, CHANGE_BYTES_MIN)?,
            }
        }
        tag::CONFIGURE => CaspaxosMessage::Configure(Configuration::decode(from)?),
        tag::WHICH_CONFIGURATION => CaspaxosMessage::WhichConfiguration,
        tag::MERGED => CaspaxosMessage::Merged { epoch: from.u16()? },
        tag::REPLACE => CaspaxosMessage::Replace(NodeId(from.u8()?)),
        tag::FORWARD => CaspaxosMessage::Forward {
            number: from.u64()?,
            seen: Ballot::decode(from)?,
            settled_below: from.u64()?,
            commands: decode_list(from, COMMAND_BYTES_MIN)?.into(),
        },
        tag::FORWARDED => {
            CaspaxosMessage::Forwarded { number: from.u64()?, fate: Fate::decode(from)? }
        }
        _ => return Err(Malformed("message: unknown kind")),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::command::{ClientId, Command, CommandId, Operation, Outcome, Value};

    fn ballot(epoch: u16, counter: u64, proposer: u8) -> Ballot {
        Ballot::new(epoch, counter, NodeId(proposer))
    }

    /// With and without a value, with and without marks.
    fn states() -> Vec<State> {
        let marks = Marks::of([ballot(0, 9, 2), ballot(1, 3, 0)]);
        let values = [None, Some(Value::new()), Some(Value::from_slice(&[7; 40]))];
        let both = |value: Option<Value>| {
            [Marks::default(), marks.clone()].map(|marks| State { value: value.clone(), marks })
        };
        values.into_iter().flat_map(both).collect()
    }

    fn changes() -> Vec<Change> {
        let states = states().into_iter().zip(1..);
        let change = |(state, n)| Change { key: Key(n), ballot: ballot(2, n, 1), state };
        states.map(change).collect()
    }

    fn attempts() -> Vec<CaspaxosMessage> {
        let (batch, ballot, keys) = (1 << 39, ballot(0, 4, 2), [Key(1), Key(u64::MAX)]);
        let named = [(Key(1), ballot), (Key(2), Ballot::ZERO)];
        let accepted = states().into_iter().map(|state| Promise::Accepted { ballot, state });
        let promises = accepted.chain([Promise::Conflict(ballot)]).collect();
        let other = states().into_iter().map(|state| Seen::Other { ballot: Ballot::ZERO, state });
        vec![
            CaspaxosMessage::Prepare { batch, ballot, phase_us: 1_234_567, keys: keys.into() },
            CaspaxosMessage::Promise { batch, floor: Ballot::ZERO, first: 70_000, promises },
            CaspaxosMessage::Accept { batch, next: ballot, changes: changes().into() },
            CaspaxosMessage::Accept { batch, next: Ballot::ZERO, changes: changes().into() },
            CaspaxosMessage::Accepted { batch, conflicts: vec![] },
            CaspaxosMessage::Accepted { batch, conflicts: vec![(0, ballot), (70_000, ballot)] },
            CaspaxosMessage::Read { batch, epoch: 3, keys: named.into() },
            CaspaxosMessage::ReadOk {
                batch,
                first: 3,
                seen: other.chain([Seen::Same, Seen::Borrowed]).collect(),
            },
        ]
    }

    fn copies() -> Vec<CaspaxosMessage> {
        let (removals, epoch) = (1 << 33, 600);
        let mut all: Vec<_> = [Part::Buckets(vec![0, 1023]), Part::From(1 << 30)]
            .map(|part| CaspaxosMessage::Pull { removals, epoch, part })
            .into();
        all.extend([Rest::Buckets, Rest::Nothing, Rest::From(4096)].map(|rest| {
            let (floor, copies) = (ballot(3, 8, 255), changes());
            CaspaxosMessage::Copies { removals, epoch, rest, floor, copies }
        }));
        all.push(CaspaxosMessage::Compare { digest: u64::MAX });
        all.push(CaspaxosMessage::Digests { buckets: vec![5; 1024] });
        all
    }

    fn general() -> Vec<CaspaxosMessage> {
        let tombstones = [(Key(4), ballot(0, 1, 0)), (Key(5), ballot(9, 2, 63))];
        let new = Group::of(NodeSet::from_bits(0b1011));
        let joint = Configuration { epoch: 513, old: Some(Group::of(NodeSet::all(3))), new };
        vec![
            CaspaxosMessage::Remove { tombstones: tombstones.into() },
            CaspaxosMessage::Removed { tombstones: tombstones.into() },
            CaspaxosMessage::Configure(joint),
            CaspaxosMessage::Configure(joint.settled()),
            CaspaxosMessage::WhichConfiguration,
            CaspaxosMessage::Merged { epoch: 7 },
            CaspaxosMessage::Replace(NodeId(2)),
        ]
    }

    fn forwards() -> Vec<CaspaxosMessage> {
        let (number, settled_below, seen) = (1 << 39, 1 << 38, ballot(1, 77, 3));
        let command = |sequence, operation| Command {
            id: CommandId { client: ClientId(u64::MAX), sequence },
            answered_below: sequence / 2,
            operation,
        };
        let (key, value) = (Key::register(9), Value::from_slice(&[3; 20]));
        let commands = [
            command(0, Operation::Get { key }),
            command(9, Operation::Cas { key, expected: None, value: value.clone() }),
        ];
        let outcomes = vec![Outcome::Done, Outcome::Unknown, Outcome::Found(Some(value))];
        let fates = [
            Fate::UnderWay,
            Fate::NotThisLife,
            Fate::Refused { winner: Ballot::ZERO },
            Fate::Refused { winner: seen },
            Fate::Done { first: 0, outcomes: outcomes.clone(), is_alone: false },
            Fate::Done { first: 4095, outcomes, is_alone: true },
        ];
        let forward =
            CaspaxosMessage::Forward { number, seen, settled_below, commands: commands.into() };
        let answers = fates.map(|fate| CaspaxosMessage::Forwarded { number, fate });
        [forward].into_iter().chain(answers).collect()
    }

    fn some_of_each() -> Vec<CaspaxosMessage> {
        [attempts(), copies(), general(), forwards()].concat()
    }

    fn bytes_of(item: &impl Wire) -> BytesMut {
        let mut out = BytesMut::new();
        item.encode(&mut out);
        out
    }

    #[test]
    fn the_samples_are_of_every_kind() {
        let mut kinds: Vec<u8> = some_of_each().iter().map(|m| bytes_of(m)[0]).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds, (0..=tag::FORWARDED).collect::<Vec<_>>());
    }

    #[test]
    fn every_message_reads_back_as_written_and_no_prefix_of_it_nor_with_a_byte_more() {
        for message in some_of_each() {
            let mut out = bytes_of(&message);
            assert_eq!(CaspaxosMessage::decode_whole(&out).unwrap(), message);
            for cut in 0..out.len() {
                let cut_off = CaspaxosMessage::decode_whole(&out[..cut]);
                assert!(cut_off.is_err(), "{message:?} at {cut}");
            }
            out.put_u8(0);
            assert!(CaspaxosMessage::decode_whole(&out).is_err(), "{message:?} and a byte");
        }
    }

    #[test]
    fn what_no_replica_writes_is_refused() {
        let refused = |bytes: &[u8]| CaspaxosMessage::decode_whole(bytes).unwrap_err().0;
        assert_eq!(refused(&[tag::FORWARDED + 1, 0]), "message: unknown kind");
        assert!(State::decode_whole(&[4]).is_err());
        assert!(State::decode_whole(&[HAS_MARKS, 0]).is_err(), "none would not be written");
        let marks = |marks: [Ballot; 2]| {
            let mut out = BytesMut::from(&[HAS_MARKS, 2][..]);
            for mark in marks {
                mark.encode(&mut out);
            }
            State::decode_whole(&out).is_ok()
        };
        assert!(marks([ballot(0, 9, 1), ballot(0, 1, 2)]));
        assert!(!marks([ballot(0, 9, 2), ballot(0, 10, 1)]), "out of order");
        assert!(!marks([ballot(0, 9, 1), ballot(0, 10, 1)]), "two of one proposer");
        assert!(!marks([Ballot::ZERO, ballot(0, 10, 1)]));
        assert!(Ballot::decode_whole(&5u64.to_le_bytes()).is_err(), "no counter");
        assert_eq!(Ballot::decode_whole(&[0; 8]), Ok(Ballot::ZERO));
        assert!(Change::decode_whole(&[0; CHANGE_BYTES_MIN]).is_err(), "no ballot");
        assert!(Promise::decode_whole(&[2; 9]).is_err() && Seen::decode_whole(&[9]).is_err());
        assert!(Fate::decode_whole(&[5]).is_err());
    }

    #[test]
    fn a_count_that_the_frame_cannot_hold_is_refused_before_allocation() {
        for tag in [tag::PREPARE, tag::PROMISE, tag::ACCEPT] {
            let bytes = [&[tag][..], &[0; 16], &[0xff; 8]].concat();
            assert!(CaspaxosMessage::decode_whole(&bytes).is_err(), "{tag}");
        }
        for tag in [tag::ACCEPTED, tag::READ_OK] {
            let bytes = [&[tag][..], &[0; 8], &[0xff; 8]].concat();
            assert!(CaspaxosMessage::decode_whole(&bytes).is_err(), "{tag}");
        }
    }

    #[test]
    fn a_change_of_one_writer_is_its_key_its_ballot_its_value_and_five_bytes() {
        let state = State { value: Some(Value::from_slice(&[1; 16])), marks: Marks::default() };
        let change = Change { key: Key(1), ballot: ballot(0, 1, 0), state };
        assert!(bytes_of(&change).len() <= 8 + 8 + 16 + 5, "{}", bytes_of(&change).len());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = CaspaxosMessage::decode_whole(&bytes);
        }

        #[test]
        fn a_flipped_byte_never_panics(at in 0usize..400, with in any::<u8>(), which in 0usize..64) {
            let messages = some_of_each();
            let mut out = bytes_of(&messages[which % messages.len()]);
            let at = at % out.len();
            out[at] ^= with;
            if let Ok(other) = CaspaxosMessage::decode_whole(&out) {
                prop_assert_eq!(CaspaxosMessage::decode_whole(&bytes_of(&other)), Ok(other));
            }
        }
    }
}
