//! The messages of `epaxos` as bytes. Numbers are varints: three of the messages are sent for each
//! batch of commands, and name many instances.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::{Malformed, Reader, Wire, decode_bool, decode_short_list, within_bounds};
use super::{encode_short_list, encode_varint};
use crate::command::NodeId;
use crate::protocol::Batch;
use crate::protocol::ballot::Round;
use crate::protocol::epaxos::deps::{Attributes, Deps, PerNode};
use crate::protocol::epaxos::epochs::{Change, Replacement};
use crate::protocol::epaxos::message::{
    Conflict, EpaxosMessage, ExecutedSet, Initial, InstanceId, Phase, Proposal, Vote,
};
use crate::protocol::quorum::NodeSet;

/// Bytes of the shortest number, instance and conflict.
const NUMBER_BYTES_MIN: usize = 1;
const INSTANCE_BYTES_MIN: usize = 2;
const CONFLICT_BYTES_MIN: usize = 3;
/// Of the change to an epoch: that nobody joins, and no number.
const CHANGE_BYTES_MIN: usize = 2;

/// The highest place of a ballot in its epoch that is taken: far from the next epoch.
const IN_EPOCH_MAX: u64 = 1 << 40;

/// What a message carries for each replica, or for some: as many as a byte counts.
fn encode_per_node<T>(items: &[T], out: &mut BytesMut, write: impl Fn(&T, &mut BytesMut)) {
    out.put_u8(items.len() as u8);
    for item in items {
        write(item, out);
    }
}

fn decode_per_node<T, C: FromIterator<T>>(
    from: &mut Reader<'_>,
    read: impl Fn(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<C, Malformed> {
    let count = from.u8()?;
    (0..count).map(|_| read(from)).collect()
}

fn decode_number(from: &mut Reader<'_>) -> Result<u64, Malformed> {
    within_bounds(from.varint()?)
}

fn encode_numbers(numbers: &PerNode, out: &mut BytesMut) {
    encode_per_node(numbers, out, |number, out| encode_varint(*number, out));
}

fn decode_numbers(from: &mut Reader<'_>) -> Result<PerNode, Malformed> {
    decode_per_node(from, decode_number)
}

fn decode_instances(from: &mut Reader<'_>) -> Result<Vec<InstanceId>, Malformed> {
    decode_short_list(from, INSTANCE_BYTES_MIN)
}

impl Wire for Round {
    /// The place in the epoch, and the epoch: both are small.
    fn encode(&self, out: &mut BytesMut) {
        encode_varint(self.in_epoch(), out);
        encode_varint(u64::from(self.epoch()), out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let at = from.varint()?;
        if at > IN_EPOCH_MAX {
            return Err(Malformed("ballot: out of range"));
        }
        Ok(Round(Round::first_of(decode_epoch(from)?).0 + at))
    }
}

fn decode_epoch(from: &mut Reader<'_>) -> Result<u16, Malformed> {
    u16::try_from(from.varint()?).map_err(|_| Malformed("epoch: out of range"))
}

impl Wire for Replacement {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.joiner.0);
        out.put_u8(self.leaver.0);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Replacement { joiner: NodeId(from.u8()?), leaver: NodeId(from.u8()?) })
    }
}

impl Wire for Change {
    fn encode(&self, out: &mut BytesMut) {
        self.replacement.encode(out);
        encode_numbers(&self.from, out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Change { replacement: Option::decode(from)?, from: decode_numbers(from)? })
    }
}

/// A vote on how the next epoch begins.
impl Wire for (Round, Change) {
    fn encode(&self, out: &mut BytesMut) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((Round::decode(from)?, Change::decode(from)?))
    }
}

impl Wire for NodeSet {
    fn encode(&self, out: &mut BytesMut) {
        encode_varint(self.bits(), out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.varint().map(NodeSet::from_bits)
    }
}

impl Wire for InstanceId {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.owner.0);
        encode_varint(self.number, out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(InstanceId { owner: NodeId(from.u8()?), number: decode_number(from)? })
    }
}

/// How far `number` is from `base`, small either way: 0, −1, 1, −2, … become 0, 1, 2, 3, …
fn zigzag(number: u64, base: u64) -> u64 {
    let ahead = number.wrapping_sub(base) as i64;
    ((ahead << 1) ^ (ahead >> 63)) as u64
}

fn undo_zigzag(distance: u64, base: u64) -> u64 {
    let ahead = (distance >> 1) ^ (distance & 1).wrapping_neg();
    base.wrapping_add(ahead)
}

impl Wire for Deps {
    /// What is settled as its distance from the prefix, which has one number for each replica, too.
    fn encode(&self, out: &mut BytesMut) {
        encode_numbers(&self.prefix, out);
        for (settled, prefix) in self.settled.iter().zip(&self.prefix) {
            encode_varint(zigzag(*settled, *prefix), out);
        }
        encode_short_list(&self.ids, out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let prefix = decode_numbers(from)?;
        let mut settled = PerNode::with_capacity(prefix.len());
        for base in &prefix {
            settled.push(within_bounds(undo_zigzag(from.varint()?, *base))?);
        }
        Ok(Deps { prefix, settled, ids: decode_instances(from)? })
    }
}

impl Wire for Attributes {
    fn encode(&self, out: &mut BytesMut) {
        encode_varint(self.seq, out);
        self.deps.encode(out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Attributes { seq: decode_number(from)?, deps: Arc::new(Deps::decode(from)?) })
    }
}

impl Wire for Proposal {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Proposal::Nop => out.put_u8(0),
            Proposal::Command(command) => {
                out.put_u8(1);
                command.encode(out);
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let is_command = decode_bool(from)?;
        Ok(if is_command { Proposal::Command(Batch::decode(from)?) } else { Proposal::Nop })
    }
}

impl Wire for Initial {
    fn encode(&self, out: &mut BytesMut) {
        self.quorum.encode(out);
        self.attributes.encode(out);
        self.command.encode(out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (quorum, attributes) = (NodeSet::decode(from)?, Attributes::decode(from)?);
        Ok(Initial { command: Batch::decode(from)?, attributes, quorum })
    }
}

impl Wire for Vote {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(match self.phase {
            Phase::Initial => 0,
            Phase::PreAccepted => 1,
            Phase::Accepted => 2,
            Phase::Committed => 3,
        });
        self.ballot.encode(out);
        self.proposal.encode(out);
        self.attributes.encode(out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let phase = match from.u8()? {
            0 => Phase::Initial,
            1 => Phase::PreAccepted,
            2 => Phase::Accepted,
            3 => Phase::Committed,
            _ => return Err(Malformed("vote: unknown phase")),
        };
        let (ballot, proposal) = (Round::decode(from)?, Option::decode(from)?);
        Ok(Vote { phase, ballot, proposal, attributes: Option::decode(from)? })
    }
}

impl Wire for Conflict {
    fn encode(&self, out: &mut BytesMut) {
        self.id.encode(out);
        out.put_u8(u8::from(self.committed));
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Conflict { id: InstanceId::decode(from)?, committed: decode_bool(from)? })
    }
}

impl Wire for ExecutedSet {
    fn encode(&self, out: &mut BytesMut) {
        encode_varint(self.below, out);
        encode_varint(self.above.len() as u64, out);
        for number in &self.above {
            encode_varint(*number, out);
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let below = decode_number(from)?;
        let count = from.short_count(NUMBER_BYTES_MIN)?;
        let mut above = Vec::with_capacity(count);
        for _ in 0..count {
            above.push(decode_number(from)?);
        }
        Ok(ExecutedSet { below, above })
    }
}

/// The kind's byte. Those of messages about one instance are below [`INSTANCE_KINDS`].
fn kind(message: &EpaxosMessage) -> u8 {
    match message {
        EpaxosMessage::PreAccept { .. } => 0,
        EpaxosMessage::PreAcceptOk { .. } => 1,
        EpaxosMessage::Accept { .. } => 2,
        EpaxosMessage::AcceptOk { .. } => 3,
        EpaxosMessage::Commit { .. } => 4,
        EpaxosMessage::Prepare { .. } => 5,
        EpaxosMessage::PrepareOk { .. } => 6,
        EpaxosMessage::Nack { .. } => 7,
        EpaxosMessage::TentativePreAccept { .. } => 8,
        EpaxosMessage::TentativePreAcceptOk { .. } => 9,
        EpaxosMessage::Deferred { .. } => 10,
        EpaxosMessage::Heartbeat { .. } => 11,
        EpaxosMessage::HeartbeatOk { .. } => 12,
        EpaxosMessage::Lagging { .. } => 13,
        EpaxosMessage::State { .. } => 14,
        EpaxosMessage::Join { .. } => 15,
        EpaxosMessage::JoinOk { .. } => 16,
        EpaxosMessage::JoinNack { .. } => 17,
        EpaxosMessage::Begin { .. } => 18,
        EpaxosMessage::BeginOk { .. } => 19,
        EpaxosMessage::Epochs { .. } => 20,
    }
}

/// How many kinds of messages are about one instance.
const INSTANCE_KINDS: u8 = 11;

impl Wire for EpaxosMessage {
    /// The kind, the instance if it is about one, and its other fields.
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(kind(self));
        if let Some(id) = self.id() {
            id.encode(out);
        }
        encode_fields(self, out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kind = from.u8()?;
        if kind >= INSTANCE_KINDS {
            return decode_general(kind, from);
        }
        let id = InstanceId::decode(from)?;
        if kind < 5 { decode_ordering(kind, id, from) } else { decode_recovery(kind, id, from) }
    }
}

/// All but the kind and the instance.
fn encode_fields(message: &EpaxosMessage, out: &mut BytesMut) {
    match message {
        EpaxosMessage::PreAccept { epoch, initial, .. } => {
            encode_varint(u64::from(*epoch), out);
            initial.encode(out);
        }
        EpaxosMessage::PreAcceptOk { epoch, attributes, uncommitted, .. } => {
            encode_varint(u64::from(*epoch), out);
            attributes.encode(out);
            encode_short_list(uncommitted, out);
        }
        EpaxosMessage::Accept { ballot, proposal, attributes, beyond, .. } => {
            ballot.encode(out);
            proposal.encode(out);
            attributes.encode(out);
            encode_short_list(beyond, out);
        }
        EpaxosMessage::AcceptOk { ballot, beyond, .. } => {
            ballot.encode(out);
            encode_short_list(beyond, out);
        }
        EpaxosMessage::Commit { epoch, proposal, attributes, .. } => {
            encode_varint(u64::from(*epoch), out);
            proposal.encode(out);
            attributes.encode(out);
        }
        EpaxosMessage::Prepare { ballot, .. } => ballot.encode(out),
        EpaxosMessage::PrepareOk { ballot, vote, initial, .. } => {
            ballot.encode(out);
            vote.encode(out);
            initial.encode(out);
        }
        EpaxosMessage::Nack { ballot, promised, .. } => {
            ballot.encode(out);
            promised.encode(out);
        }
        EpaxosMessage::TentativePreAccept { ballot, initial, attributes, .. } => {
            ballot.encode(out);
            initial.encode(out);
            attributes.encode(out);
        }
        EpaxosMessage::TentativePreAcceptOk { ballot, conflicts, .. } => {
            ballot.encode(out);
            encode_short_list(conflicts, out);
        }
        EpaxosMessage::Deferred { epoch, evidence, attributes, .. } => {
            encode_varint(u64::from(*epoch), out);
            evidence.encode(out);
            attributes.encode(out);
        }
        _ => encode_general_fields(message, out),
    }
}

/// The same, of the messages about no instance.
fn encode_general_fields(message: &EpaxosMessage, out: &mut BytesMut) {
    match message {
        EpaxosMessage::Heartbeat { epoch, executed, forgettable, sent_ns } => {
            encode_varint(u64::from(*epoch), out);
            encode_numbers(executed, out);
            encode_numbers(forgettable, out);
            encode_varint(*sent_ns, out);
        }
        EpaxosMessage::HeartbeatOk { sent_ns } => encode_varint(*sent_ns, out),
        EpaxosMessage::Lagging { executed, known } => {
            encode_numbers(executed, out);
            encode_numbers(known, out);
        }
        EpaxosMessage::State { epoch, executed, forgotten } => {
            encode_varint(u64::from(*epoch), out);
            encode_per_node(executed, out, ExecutedSet::encode);
            encode_numbers(forgotten, out);
        }
        EpaxosMessage::Epochs { changes } => encode_short_list(changes, out),
        _ => encode_joining_fields(message, out),
    }
}

/// The same, of the messages of a decision on the next epoch (§5.5): the ballot, and more.
fn encode_joining_fields(message: &EpaxosMessage, out: &mut BytesMut) {
    match message {
        EpaxosMessage::Join { ballot, replacement } => {
            ballot.encode(out);
            replacement.encode(out);
        }
        EpaxosMessage::JoinOk { ballot, vote, fence } => {
            ballot.encode(out);
            vote.encode(out);
            encode_numbers(fence, out);
        }
        EpaxosMessage::JoinNack { ballot, promised } => {
            ballot.encode(out);
            promised.encode(out);
        }
        EpaxosMessage::Begin { ballot, change } => {
            ballot.encode(out);
            change.encode(out);
        }
        EpaxosMessage::BeginOk { ballot } => ballot.encode(out),
        other => unreachable!("{} was encoded before", crate::protocol::Message::kind(other)),
    }
}

/// The messages of §5.1.
fn decode_ordering(
    kind: u8,
    id: InstanceId,
    from: &mut Reader<'_>,
) -> Result<EpaxosMessage, Malformed> {
    Ok(match kind {
        0 => {
            let epoch = decode_epoch(from)?;
            EpaxosMessage::PreAccept { id, epoch, initial: Initial::decode(from)? }
        }
        1 => {
            let (epoch, attributes) = (decode_epoch(from)?, Option::decode(from)?);
            let uncommitted = decode_instances(from)?;
            EpaxosMessage::PreAcceptOk { id, epoch, attributes, uncommitted }
        }
        2 => {
            let (ballot, proposal) = (Round::decode(from)?, Option::decode(from)?);
            let (attributes, beyond) = (Attributes::decode(from)?, decode_instances(from)?);
            EpaxosMessage::Accept { id, ballot, proposal, attributes, beyond }
        }
        3 => {
            let ballot = Round::decode(from)?;
            EpaxosMessage::AcceptOk { id, ballot, beyond: decode_instances(from)? }
        }
        4 => {
            let (epoch, proposal) = (decode_epoch(from)?, Option::decode(from)?);
            EpaxosMessage::Commit { id, epoch, proposal, attributes: Attributes::decode(from)? }
        }
        _ => return Err(Malformed("epaxos message: unknown kind")),
    })
}

/// The messages of a recovery (§6.2).
fn decode_recovery(
    kind: u8,
    id: InstanceId,
    from: &mut Reader<'_>,
) -> Result<EpaxosMessage, Malformed> {
    if kind == 10 {
        let (epoch, evidence) = (decode_epoch(from)?, NodeSet::decode(from)?);
        let attributes = Attributes::decode(from)?;
        return Ok(EpaxosMessage::Deferred { id, epoch, evidence, attributes });
    }
    let ballot = Round::decode(from)?;
    Ok(match kind {
        5 => EpaxosMessage::Prepare { id, ballot },
        6 => {
            let (vote, initial) = (Vote::decode(from)?, Option::decode(from)?);
            EpaxosMessage::PrepareOk { id, ballot, vote, initial }
        }
        7 => EpaxosMessage::Nack { id, ballot, promised: Option::decode(from)? },
        8 => {
            let (initial, attributes) = (Initial::decode(from)?, Attributes::decode(from)?);
            EpaxosMessage::TentativePreAccept { id, ballot, initial, attributes }
        }
        9 => {
            let conflicts = decode_short_list(from, CONFLICT_BYTES_MIN)?;
            EpaxosMessage::TentativePreAcceptOk { id, ballot, conflicts }
        }
        _ => return Err(Malformed("epaxos message: unknown kind")),
    })
}

/// The messages about no instance.
fn decode_general(kind: u8, from: &mut Reader<'_>) -> Result<EpaxosMessage, Malformed> {
    Ok(match kind {
        11 => {
            let epoch = decode_epoch(from)?;
            let (executed, forgettable) = (decode_numbers(from)?, decode_numbers(from)?);
            EpaxosMessage::Heartbeat { epoch, executed, forgettable, sent_ns: decode_number(from)? }
        }
        12 => EpaxosMessage::HeartbeatOk { sent_ns: decode_number(from)? },
        13 => {
            EpaxosMessage::Lagging { executed: decode_numbers(from)?, known: decode_numbers(from)? }
        }
        14 => {
            let (epoch, executed) =
                (decode_epoch(from)?, decode_per_node(from, ExecutedSet::decode)?);
            EpaxosMessage::State { epoch, executed, forgotten: decode_numbers(from)? }
        }
        20 => EpaxosMessage::Epochs { changes: decode_short_list(from, CHANGE_BYTES_MIN)? },
        _ => decode_joining(kind, from)?,
    })
}

/// The messages of a decision on the next epoch (§5.5).
fn decode_joining(kind: u8, from: &mut Reader<'_>) -> Result<EpaxosMessage, Malformed> {
    let ballot = Round::decode(from)?;
    Ok(match kind {
        15 => EpaxosMessage::Join { ballot, replacement: Option::decode(from)? },
        16 => {
            let vote = Option::decode(from)?;
            EpaxosMessage::JoinOk { ballot, vote, fence: decode_numbers(from)? }
        }
        17 => EpaxosMessage::JoinNack { ballot, promised: Round::decode(from)? },
        18 => EpaxosMessage::Begin { ballot, change: Change::decode(from)? },
        19 => EpaxosMessage::BeginOk { ballot },
        _ => return Err(Malformed("epaxos message: unknown kind")),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::command::{ClientId, Command, CommandId, Key, Operation};

    const NUMBER_MAX: u64 = (1 << 62) - 1;

    fn id(owner: u8, number: u64) -> InstanceId {
        InstanceId { owner: NodeId(owner), number }
    }

    fn numbers(numbers: &[u64]) -> PerNode {
        numbers.into()
    }

    fn command() -> Batch {
        let id = CommandId { client: ClientId(3), sequence: 1 };
        let operation = Operation::Get { key: Key::register(2) };
        Arc::from([Command { id, answered_below: 1, operation }])
    }

    fn attributes() -> Attributes {
        let (prefix, settled) = (numbers(&[3, 400, NUMBER_MAX]), numbers(&[9, 2, 0]));
        let deps = Deps { prefix, settled, ids: vec![id(0, 8), id(1, 70_000)] };
        Attributes { seq: 300, deps: Arc::new(deps) }
    }

    fn initial() -> Initial {
        let quorum = NodeSet::from_bits(0b1_0000_0011);
        Initial { command: command(), attributes: attributes(), quorum }
    }

    fn ordering() -> Vec<EpaxosMessage> {
        let (id, ballot, ids) = (id(2, 1000), Round(300), vec![id(0, 1), id(1, 200)]);
        let attributes = attributes();
        let mut all = vec![
            EpaxosMessage::PreAccept { id, epoch: 2, initial: initial() },
            EpaxosMessage::AcceptOk { id, ballot, beyond: ids.clone() },
        ];
        for answer in [None, Some(attributes.clone())] {
            let uncommitted = ids.clone();
            all.push(EpaxosMessage::PreAcceptOk { id, epoch: 0, attributes: answer, uncommitted });
        }
        for proposal in [None, Some(Proposal::Nop), Some(Proposal::Command(command()))] {
            let attributes = attributes.clone();
            all.push(EpaxosMessage::Commit { id, epoch: 3, proposal, attributes });
        }
        let (proposal, beyond) = (Some(Proposal::Nop), ids);
        all.push(EpaxosMessage::Accept { id, ballot, proposal, attributes, beyond });
        all
    }

    fn recovery() -> Vec<EpaxosMessage> {
        let (id, ballot) = (id(2, 1000), Round(300));
        let attributes = attributes();
        let conflict = |number, committed| Conflict { id: InstanceId { number, ..id }, committed };
        let conflicts = vec![conflict(1, true), conflict(NUMBER_MAX, false)];
        let evidence = NodeSet::from_bits(u64::MAX);
        let mut all = vec![
            EpaxosMessage::Prepare { id, ballot },
            EpaxosMessage::Nack { id, ballot, promised: None },
            EpaxosMessage::Nack { id, ballot, promised: Some(Round(301)) },
            EpaxosMessage::TentativePreAcceptOk { id, ballot, conflicts },
            EpaxosMessage::Deferred { id, epoch: 1, evidence, attributes: attributes.clone() },
        ];
        for phase in [Phase::Initial, Phase::PreAccepted, Phase::Accepted, Phase::Committed] {
            let voted = (phase != Phase::Initial).then(|| attributes.clone());
            let proposal = (phase == Phase::Accepted).then(|| Proposal::Command(command()));
            let vote = Vote { phase, ballot: Round(5), proposal, attributes: voted };
            let initial = (phase == Phase::PreAccepted).then(initial);
            all.push(EpaxosMessage::PrepareOk { id, ballot, vote, initial });
        }
        let initial = initial();
        all.push(EpaxosMessage::TentativePreAccept { id, ballot, initial, attributes });
        all
    }

    fn general() -> Vec<EpaxosMessage> {
        let (executed, forgotten) = (numbers(&[3, 0, 400]), numbers(&[1, 0, 300]));
        let sets = vec![ExecutedSet { below: 4, above: vec![6, 900] }, ExecutedSet::default()];
        let (forgettable, sent_ns) = (forgotten.clone(), 1 << 50);
        vec![
            EpaxosMessage::Lagging { executed: executed.clone(), known: executed.clone() },
            EpaxosMessage::Heartbeat { epoch: 0, executed, forgettable, sent_ns },
            EpaxosMessage::HeartbeatOk { sent_ns },
            EpaxosMessage::State { epoch: 1, executed: sets, forgotten },
        ]
    }

    fn joining() -> Vec<EpaxosMessage> {
        let ballot = Round(Round::first_of(2).0 + 300);
        let replacement = Some(Replacement { joiner: NodeId(3), leaver: NodeId(1) });
        let change = Change { replacement, from: numbers(&[3, 0, 400, 0]) };
        let stay = Change { replacement: None, from: numbers(&[3, 0, 400, 0]) };
        let (fence, promised) = (numbers(&[5, 1, 400, 0]), Round(Round::first_of(2).0 + 302));
        vec![
            EpaxosMessage::Join { ballot, replacement },
            EpaxosMessage::JoinOk { ballot, vote: None, fence: fence.clone() },
            EpaxosMessage::JoinOk { ballot, vote: Some((promised, change.clone())), fence },
            EpaxosMessage::JoinNack { ballot, promised },
            EpaxosMessage::Begin { ballot, change: stay.clone() },
            EpaxosMessage::BeginOk { ballot },
            EpaxosMessage::Epochs { changes: vec![change, stay] },
            EpaxosMessage::Epochs { changes: vec![] },
        ]
    }

    fn some_of_each() -> Vec<EpaxosMessage> {
        [ordering(), recovery(), general(), joining()].concat()
    }

    fn bytes_of(item: &impl Wire) -> BytesMut {
        let mut out = BytesMut::new();
        item.encode(&mut out);
        out
    }

    #[test]
    fn the_samples_are_of_every_kind() {
        let mut kinds: Vec<u8> = some_of_each().iter().map(kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds, (0..21).collect::<Vec<_>>());
        assert!(some_of_each().iter().all(|m| m.id().is_some() == (kind(m) < INSTANCE_KINDS)));
    }

    #[test]
    fn every_message_reads_back_as_written_and_no_prefix_of_it_nor_with_a_byte_more() {
        for message in some_of_each() {
            let mut out = bytes_of(&message);
            assert_eq!(EpaxosMessage::decode_whole(&out).unwrap(), message);
            for cut in 0..out.len() {
                assert!(EpaxosMessage::decode_whole(&out[..cut]).is_err(), "{message:?} at {cut}");
            }
            out.put_u8(0);
            assert!(EpaxosMessage::decode_whole(&out).is_err(), "{message:?} and a byte");
        }
    }

    #[test]
    fn unknown_kinds_phases_and_flags_are_refused() {
        let unknown = Err(Malformed("epaxos message: unknown kind"));
        assert_eq!(EpaxosMessage::decode_whole(&[21, 0, 0, 0]), unknown);
        let vote = Vote::decode_whole(&[4, 0, 0, 0, 0]);
        assert_eq!(vote, Err(Malformed("vote: unknown phase")));
        assert_eq!(Proposal::decode_whole(&[2]), Err(Malformed("flag")));
        assert_eq!(Option::<InstanceId>::decode_whole(&[2, 0, 0]), Err(Malformed("flag")));
    }

    #[test]
    fn numbers_that_arithmetic_could_overflow_are_refused() {
        let refused = Err(Malformed("number: out of range"));
        let last = id(0, NUMBER_MAX);
        assert_eq!(InstanceId::decode_whole(&bytes_of(&last)), Ok(last));
        for number in [NUMBER_MAX + 1, u64::MAX] {
            assert_eq!(InstanceId::decode_whole(&bytes_of(&id(0, number))), refused);
            let set = bytes_of(&ExecutedSet { below: 0, above: vec![1, number] });
            assert_eq!(ExecutedSet::decode_whole(&set), Err(Malformed("number: out of range")));
            let beat = bytes_of(&EpaxosMessage::HeartbeatOk { sent_ns: number });
            assert!(EpaxosMessage::decode_whole(&beat).is_err());
        }
        let ballot = |at: u64, epoch: u64| {
            let mut out = BytesMut::new();
            encode_varint(at, &mut out);
            encode_varint(epoch, &mut out);
            Round::decode_whole(&out)
        };
        assert_eq!(ballot(IN_EPOCH_MAX, 0), Ok(Round(IN_EPOCH_MAX)));
        assert_eq!(ballot(IN_EPOCH_MAX + 1, 0), Err(Malformed("ballot: out of range")));
        assert_eq!(ballot(1, 1 << 16), Err(Malformed("epoch: out of range")));
        let settled = |settled: u64, prefix| {
            let (prefix, settled) = (numbers(&[prefix]), numbers(&[settled]));
            Deps::decode_whole(&bytes_of(&Deps { prefix, settled, ids: vec![] }))
        };
        assert!(settled(NUMBER_MAX, 0).is_ok() && settled(0, NUMBER_MAX).is_ok());
        assert_eq!(settled(NUMBER_MAX + 1, 5), Err(Malformed("number: out of range")));
        assert_eq!(settled(u64::MAX, 0), Err(Malformed("number: out of range")), "one below 0");
        assert_eq!(settled(0, NUMBER_MAX + 1), Err(Malformed("number: out of range")));
    }

    #[test]
    fn a_count_that_the_frame_cannot_hold_is_refused_before_allocation() {
        let refused = Malformed("count: more than the frame holds");
        for count in [3, u64::from(u32::MAX), u64::MAX] {
            let mut tail = BytesMut::new();
            encode_varint(count, &mut tail);
            tail.put_slice(&[0, 0]);
            // The kind, the instance and what comes before the count.
            let heads: [&[u8]; 4] =
                [&[1, 0, 0, 0, 0], &[3, 0, 0, 0, 0], &[9, 0, 0, 0, 0], &[14, 0, 1, 0]];
            for head in heads {
                let bytes = [head, &tail].concat();
                assert_eq!(EpaxosMessage::decode_whole(&bytes), Err(refused), "{head:?}");
            }
            let deps = [&[0], &tail[..]].concat();
            assert_eq!(Deps::decode_whole(&deps), Err(refused));
        }
    }

    #[test]
    fn the_messages_of_every_batch_are_short() {
        let id = id(2, 1_000_000);
        let agreed =
            EpaxosMessage::PreAcceptOk { id, epoch: 1, attributes: None, uncommitted: vec![] };
        assert_eq!(bytes_of(&agreed).len(), 8);
        let near = numbers(&[1_000_000, 1_000_100, 1_000_200]);
        let deps = Deps { settled: near.clone(), prefix: near, ids: vec![] };
        let attributes = Attributes { seq: 0, deps: Arc::new(deps) };
        let commit = EpaxosMessage::Commit { id, epoch: 0, proposal: None, attributes };
        assert_eq!(bytes_of(&commit).len(), 5 + 1 + 1 + 1 + (1 + 3 * 3) + 3 + 1);
    }

    proptest! {
        #[test]
        fn dependencies_read_back_as_written(
            bounds in prop::collection::vec((0..=NUMBER_MAX, 0..=NUMBER_MAX, 0..63u32), 0..10),
            ids in prop::collection::vec((any::<u8>(), 0..=NUMBER_MAX, 0..63u32), 0..10),
        ) {
            let prefix = bounds.iter().map(|(prefix, _, bits)| prefix >> bits).collect();
            let settled = bounds.iter().map(|(_, settled, bits)| settled >> bits).collect();
            let ids = ids.iter().map(|(owner, number, bits)| id(*owner, number >> bits)).collect();
            let deps = Deps { prefix, settled, ids };
            prop_assert_eq!(Deps::decode_whole(&bytes_of(&deps)), Ok(deps));
        }

        #[test]
        fn a_distance_is_undone(number in any::<u64>(), base in any::<u64>(), near in 0..64u64) {
            prop_assert_eq!(undo_zigzag(zigzag(number, base), base), number);
            prop_assert_eq!(zigzag(base.wrapping_add(near), base), 2 * near);
            prop_assert_eq!(zigzag(base.wrapping_sub(near + 1), base), 2 * near + 1);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = EpaxosMessage::decode_whole(&bytes);
        }

        #[test]
        fn a_flipped_byte_never_panics(at in 0usize..200, with in any::<u8>(), which in 0usize..64) {
            let messages = some_of_each();
            let message = &messages[which % messages.len()];
            let mut out = bytes_of(message);
            let at = at % out.len();
            out[at] ^= with;
            if let Ok(other) = EpaxosMessage::decode_whole(&out) {
                prop_assert_eq!(EpaxosMessage::decode_whole(&bytes_of(&other)), Ok(other));
            }
        }
    }
}
