//! The messages of `multicoordinated` as bytes. Numbers are varints. What is sent for each batch of commands
//! names them by runs, four bytes or some more each, of a round in as many.

use bytes::{BufMut, BytesMut};

use super::{Malformed, Reader, Wire, decode_bool, decode_short_list, within_bounds};
use super::{encode_short_list, encode_varint};
use crate::command::NodeId;
use crate::protocol::multicoordinated::message::{MulticoordinatedMessage, Progress, Stream, Vote};
use crate::protocol::multicoordinated::names::{Name, Run};
use crate::protocol::multicoordinated::round::{RType, Round};
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Batch, Message};

/// Bytes of the shortest run, vote and progress. A round takes at least three.
const RUN_BYTES_MIN: usize = 4;
const VOTE_BYTES_MIN: usize = 5;
const PROGRESS_BYTES_MIN: usize = 9;

/// Bits of a byte that say what kind a round is; the others name its creator.
const KIND_BITS: u32 = 2;
/// Creators are below this, as are all replicas that a [`NodeSet`] holds.
const CREATORS: u8 = 1 << (8 - KIND_BITS);

fn decode_number(from: &mut Reader<'_>) -> Result<u64, Malformed> {
    within_bounds(from.varint()?)
}

fn decode_small(from: &mut Reader<'_>) -> Result<u32, Malformed> {
    u32::try_from(from.varint()?).map_err(|_| Malformed("number: out of range"))
}

/// The number of a name: the life of its proposer, and its place in that. Both are mostly small.
fn encode_place(number: u64, out: &mut BytesMut) {
    encode_varint(number >> u32::BITS, out);
    encode_varint(u64::from(number as u32), out);
}

fn decode_place(from: &mut Reader<'_>) -> Result<u64, Malformed> {
    let (life, place) = (decode_small(from)?, decode_small(from)?);
    within_bounds(Name::first_of_life(life) + u64::from(place))
}

impl Wire for Round {
    /// Kind and creator in a byte; *S* unless it is the creator alone, as in every single-coordinated round.
    fn encode(&self, out: &mut BytesMut) {
        assert!(self.creator.0 < CREATORS, "{} creates a round", self.creator);
        encode_varint(u64::from(self.major), out);
        encode_varint(u64::from(self.minor), out);
        let kind = match self.kind {
            RType::Fast => 0,
            RType::Uncoordinated => 1,
            RType::Multi => 2,
            RType::Single => 3,
        };
        out.put_u8(self.creator.0 << KIND_BITS | kind);
        match self.kind {
            RType::Single => {
                let alone = [self.creator].into_iter().collect();
                assert_eq!(self.coordinators, alone, "of a single-coordinated round");
            }
            _ => self.coordinators.encode(out),
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (major, minor) = (decode_small(from)?, decode_small(from)?);
        let byte = from.u8()?;
        let creator = NodeId(byte >> KIND_BITS);
        let kind = match byte & ((1 << KIND_BITS) - 1) {
            0 => RType::Fast,
            1 => RType::Uncoordinated,
            2 => RType::Multi,
            _ => return Ok(Round::single(major, minor, creator)),
        };
        let coordinators = NodeSet::decode(from)?;
        if coordinators.is_empty() && kind != RType::Fast {
            return Err(Malformed("round: no coordinators"));
        }
        Ok(Round { major, minor, creator, kind, coordinators })
    }
}

impl Wire for Run {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.proposer.0);
        encode_place(self.first, out);
        encode_varint(u64::from(self.count), out);
    }

    /// Those of a run are of one life.
    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (proposer, first) = (NodeId(from.u8()?), decode_place(from)?);
        let count = decode_small(from)?;
        if count == 0 {
            return Err(Malformed("run: empty"));
        }
        if (first as u32).checked_add(count - 1).is_none() {
            return Err(Malformed("run: out of range"));
        }
        Ok(Run { proposer, first, count })
    }
}

fn decode_names(from: &mut Reader<'_>) -> Result<Vec<Run>, Malformed> {
    decode_short_list(from, RUN_BYTES_MIN)
}

/// How a stream goes on: from where, with what, and whether a checkpoint follows.
fn encode_part(base: u64, names: &[Run], closes: bool, out: &mut BytesMut) {
    encode_varint(base, out);
    encode_short_list(names, out);
    out.put_u8(u8::from(closes));
}

fn decode_part(from: &mut Reader<'_>) -> Result<(u64, Vec<Run>, bool), Malformed> {
    Ok((decode_number(from)?, decode_names(from)?, decode_bool(from)?))
}

/// A round and a number that goes with it: mostly its instance.
impl Wire for (Round, u64) {
    fn encode(&self, out: &mut BytesMut) {
        self.0.encode(out);
        encode_varint(self.1, out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((Round::decode(from)?, decode_number(from)?))
    }
}

impl Wire for Vote {
    fn encode(&self, out: &mut BytesMut) {
        encode_varint(self.instance, out);
        (self.vrnd, self.length).encode(out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (instance, (vrnd, length)) = (decode_number(from)?, Wire::decode(from)?);
        Ok(Vote { instance, vrnd, length })
    }
}

impl Wire for Progress {
    fn encode(&self, out: &mut BytesMut) {
        encode_varint(self.instance, out);
        self.rnd.encode(out);
        self.accepted.encode(out);
        self.sent.encode(out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (instance, rnd) = (decode_number(from)?, Round::decode(from)?);
        Ok(Progress { instance, rnd, accepted: Wire::decode(from)?, sent: Wire::decode(from)? })
    }
}

impl Wire for Stream {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(match self {
            Stream::Coordinator => 0,
            Stream::Acceptor => 1,
        });
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(if decode_bool(from)? { Stream::Acceptor } else { Stream::Coordinator })
    }
}

/// The kind's byte. Those of messages of one round are below [`ROUND_KINDS`].
fn kind(message: &MulticoordinatedMessage) -> u8 {
    match message {
        MulticoordinatedMessage::Phase1a { .. } => 0,
        MulticoordinatedMessage::Phase1b { .. } => 1,
        MulticoordinatedMessage::Phase2a { .. } => 2,
        MulticoordinatedMessage::Phase2aAny { .. } => 3,
        MulticoordinatedMessage::Phase2bPrefix { .. } => 4,
        MulticoordinatedMessage::Phase2b { .. } => 5,
        MulticoordinatedMessage::TooLow { .. } => 6,
        MulticoordinatedMessage::Want { .. } => 7,
        MulticoordinatedMessage::Propose { .. } => 8,
        MulticoordinatedMessage::WantCommands { .. } => 9,
        MulticoordinatedMessage::Commands { .. } => 10,
        MulticoordinatedMessage::Heartbeat { .. } => 11,
        MulticoordinatedMessage::Lagging { .. } => 12,
        MulticoordinatedMessage::Learned { .. } => 13,
        MulticoordinatedMessage::State { .. } => 14,
        MulticoordinatedMessage::Relay { .. } => 15,
    }
}

/// How many kinds of messages are of one round.
const ROUND_KINDS: u8 = 8;

impl Wire for MulticoordinatedMessage {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(kind(self));
        encode_fields(self, out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kind = from.u8()?;
        if kind >= ROUND_KINDS {
            return decode_general(kind, from);
        }
        let (round, instance) = Wire::decode(from)?;
        decode_of_round(kind, round, instance, from)
    }
}

/// All but the kind.
fn encode_fields(message: &MulticoordinatedMessage, out: &mut BytesMut) {
    match message {
        MulticoordinatedMessage::Phase1a { round, instance, onwards } => {
            (*round, *instance).encode(out);
            out.put_u8(u8::from(*onwards));
        }
        MulticoordinatedMessage::Phase1b { round, instance, onwards, votes } => {
            (*round, *instance).encode(out);
            out.put_u8(u8::from(*onwards));
            encode_short_list(votes, out);
        }
        MulticoordinatedMessage::Phase2a { round, instance, start, base, names, closes } => {
            (*round, *instance).encode(out);
            encode_varint(*start, out);
            encode_part(*base, names, *closes, out);
        }
        MulticoordinatedMessage::Phase2aAny { round, instance } => (*round, *instance).encode(out),
        MulticoordinatedMessage::Phase2bPrefix { round, instance, length } => {
            (*round, *instance).encode(out);
            encode_varint(*length, out);
        }
        MulticoordinatedMessage::Phase2b { round, instance, base, names, closes } => {
            (*round, *instance).encode(out);
            encode_part(*base, names, *closes, out);
        }
        MulticoordinatedMessage::TooLow { round, instance, rnd } => {
            (*round, *instance).encode(out);
            rnd.encode(out);
        }
        MulticoordinatedMessage::Want { stream, round, instance, from } => {
            (*round, *instance).encode(out);
            stream.encode(out);
            encode_varint(*from, out);
        }
        _ => encode_general_fields(message, out),
    }
}

/// The same, of the messages that are not of one round.
fn encode_general_fields(message: &MulticoordinatedMessage, out: &mut BytesMut) {
    match message {
        MulticoordinatedMessage::Propose { instance, first, commands, coordinators, acceptors } => {
            encode_varint(*instance, out);
            encode_place(*first, out);
            coordinators.encode(out);
            acceptors.encode(out);
            commands.encode(out);
        }
        MulticoordinatedMessage::WantCommands { names } => encode_short_list(names, out),
        MulticoordinatedMessage::Relay { proposers } => proposers.encode(out),
        MulticoordinatedMessage::Commands { proposer, instance, first, commands } => {
            out.put_u8(proposer.0);
            encode_varint(*instance, out);
            encode_place(*first, out);
            commands.encode(out);
        }
        MulticoordinatedMessage::Heartbeat {
            life,
            major,
            hears_majority,
            executed_below,
            standing,
            open,
        } => {
            encode_varint(u64::from(*life), out);
            encode_varint(u64::from(*major), out);
            out.put_u8(u8::from(*hears_majority));
            encode_varint(*executed_below, out);
            standing.encode(out);
            encode_short_list(open, out);
        }
        MulticoordinatedMessage::Lagging { instance, from } => {
            encode_varint(*instance, out);
            encode_varint(*from, out);
        }
        MulticoordinatedMessage::Learned { instance, life, base, names, closes } => {
            encode_varint(*instance, out);
            encode_varint(u64::from(*life), out);
            encode_part(*base, names, *closes, out);
        }
        MulticoordinatedMessage::State { instance, names } => {
            encode_varint(*instance, out);
            encode_short_list(names, out);
        }
        other => unreachable!("{} was encoded before", other.kind()),
    }
}

/// The messages of one round, behind it and the instance.
fn decode_of_round(
    kind: u8,
    round: Round,
    instance: u64,
    from: &mut Reader<'_>,
) -> Result<MulticoordinatedMessage, Malformed> {
    Ok(match kind {
        0 => MulticoordinatedMessage::Phase1a { round, instance, onwards: decode_bool(from)? },
        1 => {
            let (onwards, votes) = (decode_bool(from)?, decode_short_list(from, VOTE_BYTES_MIN)?);
            MulticoordinatedMessage::Phase1b { round, instance, onwards, votes }
        }
        2 => {
            let (start, (base, names, closes)) = (decode_number(from)?, decode_part(from)?);
            MulticoordinatedMessage::Phase2a { round, instance, start, base, names, closes }
        }
        3 => MulticoordinatedMessage::Phase2aAny { round, instance },
        4 => {
            let length = decode_number(from)?;
            MulticoordinatedMessage::Phase2bPrefix { round, instance, length }
        }
        5 => {
            let (base, names, closes) = decode_part(from)?;
            MulticoordinatedMessage::Phase2b { round, instance, base, names, closes }
        }
        6 => MulticoordinatedMessage::TooLow { round, instance, rnd: Round::decode(from)? },
        7 => {
            let (stream, position) = (Stream::decode(from)?, decode_number(from)?);
            MulticoordinatedMessage::Want { stream, round, instance, from: position }
        }
        _ => return Err(Malformed("multicoordinated message: unknown kind")),
    })
}

/// The messages that are not of one round.
fn decode_general(kind: u8, from: &mut Reader<'_>) -> Result<MulticoordinatedMessage, Malformed> {
    Ok(match kind {
        8 => {
            let (instance, first) = (decode_number(from)?, decode_place(from)?);
            let (coordinators, acceptors) = (NodeSet::decode(from)?, NodeSet::decode(from)?);
            let commands = Batch::decode(from)?;
            MulticoordinatedMessage::Propose { instance, first, commands, coordinators, acceptors }
        }
        9 => MulticoordinatedMessage::WantCommands { names: decode_names(from)? },
        10 => {
            let (proposer, instance) = (NodeId(from.u8()?), decode_number(from)?);
            let (first, commands) = (decode_place(from)?, Batch::decode(from)?);
            MulticoordinatedMessage::Commands { proposer, instance, first, commands }
        }
        15 => MulticoordinatedMessage::Relay { proposers: NodeSet::decode(from)? },
        11 => MulticoordinatedMessage::Heartbeat {
            life: decode_small(from)?,
            major: decode_small(from)?,
            hears_majority: decode_bool(from)?,
            executed_below: decode_number(from)?,
            standing: Wire::decode(from)?,
            open: decode_short_list(from, PROGRESS_BYTES_MIN)?,
        },
        12 => {
            let instance = decode_number(from)?;
            MulticoordinatedMessage::Lagging { instance, from: decode_number(from)? }
        }
        13 => {
            let (instance, life) = (decode_number(from)?, decode_small(from)?);
            let (base, names, closes) = decode_part(from)?;
            MulticoordinatedMessage::Learned { instance, life, base, names, closes }
        }
        14 => {
            let instance = decode_number(from)?;
            MulticoordinatedMessage::State { instance, names: decode_names(from)? }
        }
        _ => return Err(Malformed("multicoordinated message: unknown kind")),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::command::{ClientId, Command, CommandId, Key, Operation};

    const NUMBER_MAX: u64 = (1 << 62) - 1;

    fn commands() -> Batch {
        let id = |sequence| CommandId { client: ClientId(3), sequence };
        let operation = |number| Operation::Get { key: Key::register(number) };
        let get = |n| Command { id: id(n), answered_below: 1, operation: operation(n) };
        Arc::from([get(1), get(2)])
    }

    fn run(proposer: u8, life: u32, place: u64, count: u32) -> Run {
        Run { proposer: NodeId(proposer), first: Name::first_of_life(life) + place, count }
    }

    fn names() -> Vec<Run> {
        vec![run(0, 0, 0, 1), run(2, 7, 70_000, 300), run(1, 1, u64::from(u32::MAX), 1)]
    }

    fn round(kind: RType) -> Round {
        let coordinators = NodeSet::from_bits(0b1_0000_0011);
        Round { major: 1, minor: 300, creator: NodeId(2), kind, coordinators }
    }

    fn rounds() -> Vec<Round> {
        let last = Round { creator: NodeId(63), ..round(RType::Multi) };
        let single = Round::single(u32::MAX, u32::MAX, NodeId(63));
        let mut all = vec![Round::ZERO, Round::first_of(9), last, single];
        all.extend([RType::Fast, RType::Uncoordinated, RType::Multi].map(round));
        all
    }

    fn of_rounds() -> Vec<MulticoordinatedMessage> {
        let (instance, names) = (1000, names());
        let vote = |instance, vrnd| Vote { instance, vrnd, length: 70_000 };
        let mut all = Vec::new();
        for round in rounds() {
            let votes = rounds().into_iter().map(|vrnd| vote(200, vrnd)).collect();
            let part = names.clone();
            all.extend([
                MulticoordinatedMessage::Phase1a { round, instance, onwards: true },
                MulticoordinatedMessage::Phase1b { round, instance, onwards: false, votes },
                MulticoordinatedMessage::Phase2a {
                    round,
                    instance,
                    start: 7,
                    base: NUMBER_MAX,
                    names: part.clone(),
                    closes: true,
                },
                MulticoordinatedMessage::Phase2aAny { round, instance },
                MulticoordinatedMessage::Phase2bPrefix { round, instance, length: 70_000 },
                MulticoordinatedMessage::Phase2b {
                    round,
                    instance,
                    base: 300,
                    names: part,
                    closes: false,
                },
                MulticoordinatedMessage::TooLow { round, instance, rnd: Round::first_of(3) },
            ]);
            for stream in [Stream::Coordinator, Stream::Acceptor] {
                all.push(MulticoordinatedMessage::Want { stream, round, instance, from: 300 });
            }
        }
        all
    }

    fn general() -> Vec<MulticoordinatedMessage> {
        let (instance, names, first) = (1000, names(), Name::first_of_life(2) + 70_000);
        let round = round(RType::Multi);
        let progress = Progress {
            instance,
            rnd: round,
            accepted: (Round::single(1, 2, NodeId(0)), 70_000),
            sent: (Round::ZERO, 0),
        };
        let heartbeat = |open| MulticoordinatedMessage::Heartbeat {
            life: 3,
            major: 300,
            hears_majority: true,
            executed_below: 999,
            standing: (round, 1001),
            open,
        };
        let (coordinators, acceptors) = (NodeSet::all(3), NodeSet::from_bits(u64::MAX));
        vec![
            MulticoordinatedMessage::Propose {
                instance,
                first,
                commands: commands(),
                coordinators,
                acceptors,
            },
            MulticoordinatedMessage::WantCommands { names: names.clone() },
            MulticoordinatedMessage::Relay { proposers: NodeSet::all(3) },
            MulticoordinatedMessage::Commands {
                proposer: NodeId(2),
                instance,
                first,
                commands: commands(),
            },
            heartbeat(vec![]),
            heartbeat(vec![progress; 3]),
            MulticoordinatedMessage::Lagging { instance, from: 70_000 },
            MulticoordinatedMessage::Learned {
                instance,
                life: 3,
                base: 70_000,
                names: names.clone(),
                closes: true,
            },
            MulticoordinatedMessage::Learned {
                instance,
                life: u32::MAX,
                base: 0,
                names: vec![],
                closes: false,
            },
            MulticoordinatedMessage::State { instance, names },
        ]
    }

    fn some_of_each() -> Vec<MulticoordinatedMessage> {
        [of_rounds(), general()].concat()
    }

    fn bytes_of(item: &impl Wire) -> BytesMut {
        let mut out = BytesMut::new();
        item.encode(&mut out);
        out
    }

    /// Two rounds are equal whatever their coordinators; what is written must not be.
    fn reads_back(message: &MulticoordinatedMessage) {
        let bytes = bytes_of(message);
        let read = MulticoordinatedMessage::decode_whole(&bytes).unwrap();
        assert_eq!(&read, message);
        assert_eq!(format!("{read:?}"), format!("{message:?}"));
    }

    #[test]
    fn the_samples_are_of_every_kind() {
        let mut kinds: Vec<u8> = some_of_each().iter().map(kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds, (0..16).collect::<Vec<_>>());
    }

    #[test]
    fn every_message_reads_back_as_written_and_no_prefix_of_it_nor_with_a_byte_more() {
        for message in some_of_each() {
            reads_back(&message);
            let mut out = bytes_of(&message);
            for cut in 0..out.len() {
                let read = MulticoordinatedMessage::decode_whole(&out[..cut]);
                assert!(read.is_err(), "{message:?} at {cut}");
            }
            out.put_u8(0);
            assert!(MulticoordinatedMessage::decode_whole(&out).is_err(), "{message:?} and a byte");
        }
    }

    #[test]
    fn unknown_kinds_and_flags_are_refused() {
        let unknown = Err(Malformed("multicoordinated message: unknown kind"));
        assert_eq!(MulticoordinatedMessage::decode_whole(&[16, 0, 0, 0, 0, 0]), unknown);
        let flag = Malformed("flag");
        // A 1a and a Want of the first round and instance.
        for kind in [0, 7] {
            let bytes = [kind, 0, 0, 0, 0, 0, 2];
            assert_eq!(MulticoordinatedMessage::decode_whole(&bytes), Err(flag));
        }
        assert_eq!(Stream::decode_whole(&[2]), Err(flag));
    }

    #[test]
    fn a_run_is_not_empty_and_of_one_life() {
        for (count, refused) in [(0, "run: empty"), (3, "run: out of range")] {
            let last = run(0, 5, u64::from(u32::MAX) - 1, count);
            assert_eq!(Run::decode_whole(&bytes_of(&last)), Err(Malformed(refused)));
        }
        let last = run(0, 5, u64::from(u32::MAX) - 1, 2);
        assert_eq!(Run::decode_whole(&bytes_of(&last)), Ok(last));
        let all = run(0, 5, 0, u32::MAX);
        assert_eq!(Run::decode_whole(&bytes_of(&all)), Ok(all));
        let over = [&[0, 0, 0][..], &[0xff, 0xff, 0xff, 0xff, 0x1f]].concat();
        assert_eq!(Run::decode_whole(&over), Err(Malformed("number: out of range")));
    }

    #[test]
    fn numbers_that_arithmetic_could_overflow_are_refused() {
        let refused = Err(Malformed("number: out of range"));
        let last = run(0, (1 << 30) - 1, u64::from(u32::MAX), 1);
        assert_eq!((Run::decode_whole(&bytes_of(&last)), last.first), (Ok(last), NUMBER_MAX));
        for first in [NUMBER_MAX + 1, u64::MAX] {
            assert_eq!(Run::decode_whole(&bytes_of(&Run { first, ..last })), refused);
        }
        let lagging =
            |instance, from| bytes_of(&MulticoordinatedMessage::Lagging { instance, from });
        assert!(MulticoordinatedMessage::decode_whole(&lagging(NUMBER_MAX, NUMBER_MAX)).is_ok());
        for number in [NUMBER_MAX + 1, u64::MAX] {
            for bytes in [lagging(number, 0), lagging(0, number)] {
                assert!(MulticoordinatedMessage::decode_whole(&bytes).is_err());
            }
        }
        let mut major = BytesMut::new();
        encode_varint(1 << 32, &mut major);
        major.put_slice(&[0, 0, 0]);
        assert_eq!(Round::decode_whole(&major), Err(Malformed("number: out of range")));
    }

    #[test]
    fn a_round_of_coordinators_has_some_and_one_of_a_single_one_is_its_creators() {
        for kind in [RType::Uncoordinated, RType::Multi] {
            let nobodys = bytes_of(&Round { coordinators: NodeSet::NONE, ..round(kind) });
            assert_eq!(Round::decode_whole(&nobodys), Err(Malformed("round: no coordinators")));
        }
        let single = bytes_of(&Round::single(1, 2, NodeId(3)));
        assert_eq!(single, [1, 2, 3 << 2 | 3].as_slice());
        let coordinators = Round::decode_whole(&single).unwrap().coordinators;
        assert_eq!(coordinators, NodeSet::from_bits(0b1000));
    }

    #[test]
    #[should_panic(expected = "of a single-coordinated round")]
    fn a_single_coordinated_round_of_others_is_not_written() {
        bytes_of(&round(RType::Single));
    }

    #[test]
    fn a_count_that_the_frame_cannot_hold_is_refused_before_allocation() {
        let refused = Err(Malformed("count: more than the frame holds"));
        for count in [3, u64::from(u32::MAX), u64::MAX] {
            let mut tail = BytesMut::new();
            encode_varint(count, &mut tail);
            tail.put_slice(&[0, 0]);
            // The kind and what comes before the count.
            let heads: [&[u8]; 5] = [
                &[1, 0, 0, 0, 0, 0, 0],
                &[2, 0, 0, 0, 0, 0, 0, 0],
                &[9],
                &[11, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                &[14, 0],
            ];
            for head in heads {
                let bytes = [head, &tail].concat();
                assert_eq!(MulticoordinatedMessage::decode_whole(&bytes), refused, "{head:?}");
            }
        }
    }

    #[test]
    fn the_shortest_items_are_as_long_as_their_counts_assume() {
        let single = Round::single(0, 0, NodeId(0));
        let progress =
            Progress { instance: 0, rnd: single, accepted: (single, 0), sent: (single, 0) };
        assert_eq!(bytes_of(&run(0, 0, 0, 1)).len(), RUN_BYTES_MIN);
        let vote = Vote { instance: 0, vrnd: single, length: 0 };
        assert_eq!(bytes_of(&vote).len(), VOTE_BYTES_MIN);
        assert!(bytes_of(&progress).len() >= PROGRESS_BYTES_MIN);
    }

    #[test]
    fn the_messages_of_every_batch_are_short() {
        let (round, single) = (round(RType::Multi), Round::single(1, 1, NodeId(0)));
        let (instance, base, closes) = (20, 60_000, false);
        let names = vec![run(1, 1, 1_000_000, 16)];
        let begin = MulticoordinatedMessage::Phase2b { round, instance, base, names, closes };
        assert_eq!(bytes_of(&begin).len(), 1 + 6 + 1 + 3 + 1 + (1 + 4 + 1) + 1);
        let prefix =
            MulticoordinatedMessage::Phase2bPrefix { round: single, instance, length: 60_000 };
        assert_eq!(bytes_of(&prefix).len(), 1 + 3 + 1 + 3);
    }

    proptest! {
        #[test]
        fn runs_and_rounds_read_back_as_written(
            proposer in any::<u8>(), life in 0..1u32 << 30, place in any::<u32>(),
            count in 1..=u32::MAX, bits in any::<u64>(), counts in any::<(u32, u32)>(),
            creator in 0..CREATORS, kind in 0..4usize,
        ) {
            let count = count.min(u32::MAX - place).max(1);
            let run = run(proposer, life, u64::from(place), count);
            prop_assert_eq!(Run::decode_whole(&bytes_of(&run)), Ok(run));

            let ((major, minor), creator) = (counts, NodeId(creator));
            let kind = [RType::Fast, RType::Uncoordinated, RType::Multi, RType::Single][kind];
            let coordinators = NodeSet::from_bits(bits | 1);
            let round = match kind {
                RType::Single => Round::single(major, minor, creator),
                _ => Round { major, minor, creator, kind, coordinators },
            };
            let read = Round::decode_whole(&bytes_of(&round)).unwrap();
            prop_assert_eq!((read, read.coordinators), (round, round.coordinators));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = MulticoordinatedMessage::decode_whole(&bytes);
        }

        #[test]
        fn a_flipped_byte_never_panics(
            at in 0usize..200, with in any::<u8>(), which in 0usize..256,
        ) {
            let messages = some_of_each();
            let message = &messages[which % messages.len()];
            let mut out = bytes_of(message);
            let at = at % out.len();
            out[at] ^= with;
            if let Ok(other) = MulticoordinatedMessage::decode_whole(&out) {
                reads_back(&other);
            }
        }
    }
}
