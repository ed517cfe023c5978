//! The round-based register (§3.1, §4.1, Figs 5, 12 and 20): what stores and locks a value.
//!
//! One register an instance, each with two operations, replicated at all processes:
//!
//! - `read(k)` returns `(commit, v)` or aborts; `write(k, v)` commits or aborts.
//! - *Read-write-abort:* if one aborts, an operation with a higher round was invoked.
//! - *Read-write-commit:* if one commits at *k*, no later one commits with a round below *k*.
//! - *Read-commit:* a read at *k* returns what some write at a round up to *k* wrote, or ⊥.
//! - *Write-commit:* if `write(k, v)` commits and nothing is written at *k* or above afterwards, every
//!   read above *k* that commits returns *v*.
//!
//! This file is the part that each process stores; [`super::consensus`] collects the answers of a
//! majority. Three departures from the figures, all with the properties above:
//!
//! - A read may cover all instances from one on (`read_onwards`), as Multi-Paxos does.
//! - A write that is already held is acknowledged again as it was the first time, permission included,
//!   so that retransmission is harmless.
//! - A fast value keeps its own round as its tag, and only the promise is raised to *n*+1: Fig. 20
//!   line 32 as printed would tag it *n*+1, which is also process 1's first regular round.

use std::collections::VecDeque;
use std::sync::Arc;

use super::message::{MsgSet, Written, msg_set_bytes};
use crate::mutants::mutant;
use crate::protocol::ballot::Round;

/// Instances that a process keeps registers for beyond what it has delivered.
pub const REGISTERS_MAX: u64 = 1 << 14;

/// Bytes of values in those registers, beside that of the first; what would exceed them is not
/// acknowledged until deliveries make room. It keeps the answer to a read within one frame.
pub const REGISTER_BYTES_MAX: usize = 24 << 20;

/// One instance's register at this process.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Slot {
    /// The highest round read here alone.
    read: Round,
    /// The round of the value.
    write: Round,
    /// The value; none is ⊥.
    value: Option<MsgSet>,
    /// What the write of the value was told.
    permission: bool,
    /// The value written in this round is decided, should it arrive.
    decided: Option<Round>,
}

/// This process' part of the registers of all instances that it has not delivered.
#[derive(Clone, Hash, Debug)]
pub struct Registers {
    /// How many processes there are: rounds up to it are fast.
    size: u8,
    /// The first instance with a register.
    floor: u64,
    /// The highest round that read all instances onwards.
    read_onwards: Round,
    slots: VecDeque<Slot>,
    bytes: usize,
}

/// How a process answers a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadAnswer {
    /// ackREAD: no lower round will be answered from now on.
    Promised,
    /// nackREAD, and the round that forbids it.
    Nack(Round),
    /// There is no room to keep the promise; the sender will try again.
    Full,
}

/// How a process answers a write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WriteAnswer {
    /// ackWRITE; the value was stored just now.
    Stored {
        /// See [`super::message::PaxosMessage::AckWrite`].
        permission: bool,
    },
    /// ackWRITE; it was stored before.
    Held {
        /// As it was told then.
        permission: bool,
    },
    /// nackWRITE, and the round that forbids it.
    Nack(Round),
    /// There is no room; the sender will try again.
    Full,
}

impl Registers {
    /// Registers of a cluster of `size` processes from instance 0 on, all ⊥.
    pub fn new(size: u8) -> Self {
        Registers { size, floor: 0, read_onwards: Round(0), slots: VecDeque::new(), bytes: 0 }
    }

    /// READ(k) of one instance.
    pub fn read(&mut self, round: Round, instance: u64) -> ReadAnswer {
        let promised = self.promised(instance);
        if promised > round && !mutant!(StaleReadAnswered) {
            return ReadAnswer::Nack(promised);
        }
        let Some(slot) = self.slot(instance) else { return ReadAnswer::Full };
        if !mutant!(PromiseNotKept) {
            slot.read = round;
        }
        ReadAnswer::Promised
    }

    /// READ(k) of all instances onwards. A higher round in any of them forbids it.
    pub fn read_onwards(&mut self, round: Round) -> ReadAnswer {
        let promised = self.highest();
        if promised > round && !mutant!(StaleReadOnwardsAnswered) {
            return ReadAnswer::Nack(promised);
        }
        if mutant!(OnwardsPromiseOnlyWhereWritten) {
            let written = self.slots.iter_mut().filter(|slot| slot.value.is_some());
            written.for_each(|slot| slot.read = round);
        } else if !mutant!(OnwardsPromiseNotKept) {
            self.read_onwards = round;
        }
        ReadAnswer::Promised
    }

    /// Whether an instance may have a register here: it is not delivered, and not too far ahead.
    pub fn has_place(&self, instance: u64) -> bool {
        instance.checked_sub(self.floor).is_some_and(|ahead| ahead < REGISTERS_MAX)
    }

    /// WRITE(k, v).
    pub fn write(&mut self, round: Round, instance: u64, value: &MsgSet) -> WriteAnswer {
        let next_is_empty = self.is_empty(instance + 1) || mutant!(PermissionDespiteNext);
        let permission = self.is_empty(instance) && next_is_empty;
        let promised = self.promised(instance);
        let (fast_rounds, bytes, room) = (Round(u64::from(self.size)), self.bytes, self.room());
        let floor = self.floor;
        let Some(slot) = self.slot(instance) else { return WriteAnswer::Full };
        if slot.write == round && slot.value.is_some() {
            let permission = slot.permission || mutant!(PermissionGrantedLater);
            return WriteAnswer::Held { permission };
        }
        let forbidden = promised > round && !mutant!(StaleWriteTaken);
        if forbidden || (promised == round && mutant!(EqualRoundRefused)) {
            return WriteAnswer::Nack(promised);
        }
        let (old, new) = (slot.value.as_ref().map_or(0, msg_set_bytes), msg_set_bytes(value));
        // The next instance to be delivered always finds room: it is what makes room for others.
        if new > room + old && instance > floor {
            return WriteAnswer::Full;
        }
        slot.write = round;
        slot.value = Some(value.clone());
        slot.permission = permission;
        if round <= fast_rounds {
            slot.read = slot.read.max(Round(fast_rounds.0 + 1));
            if mutant!(FastTagRaised) {
                slot.write = Round(fast_rounds.0 + 1);
            }
        }
        self.bytes = bytes - old + new;
        WriteAnswer::Stored { permission }
    }

    /// Notes that what `round` wrote in an instance is decided; returns the value if it is here.
    pub fn decide(&mut self, round: Round, instance: u64) -> Option<MsgSet> {
        let slot = self.slot(instance)?;
        slot.decided = Some(round);
        self.decided_value(instance)
    }

    /// The value of an instance, if it is known to be decided here.
    pub fn decided_value(&self, instance: u64) -> Option<MsgSet> {
        let slot = self.get(instance)?;
        let any = slot.decided.is_some() && mutant!(DecisionOfAnyRound);
        (any || slot.decided == Some(slot.write)).then(|| slot.value.clone()).flatten()
    }

    /// Every value in instances from `from` on, for ackREAD.
    pub fn written(&self, from: u64) -> Vec<Written> {
        let end = self.floor + self.slots.len() as u64;
        (from.max(self.floor)..end).filter_map(|instance| self.written_at(instance)).collect()
    }

    /// Drops the registers of instances below `floor`: they are decided and delivered here.
    pub fn drop_below(&mut self, floor: u64) {
        let dropped = floor.saturating_sub(self.floor).min(self.slots.len() as u64) as usize;
        for slot in self.slots.drain(..dropped) {
            self.bytes -= slot.value.as_ref().map_or(0, msg_set_bytes);
        }
        self.floor = self.floor.max(floor);
    }

    /// The highest round of any operation that reached this process.
    pub fn highest(&self) -> Round {
        let slots = self.slots.iter().map(|slot| slot.read.max(slot.write));
        slots.max().unwrap_or_default().max(self.read_onwards)
    }

    /// The highest round that an operation on this instance must reach.
    pub fn promised(&self, instance: u64) -> Round {
        let slot = self.get(instance).map_or(Round(0), |slot| slot.read.max(slot.write));
        slot.max(self.read_onwards)
    }

    /// Whether an instance's register here holds this very value: the same one in memory.
    pub fn holds(&self, instance: u64, value: &MsgSet) -> bool {
        let held = self.get(instance).and_then(|slot| slot.value.as_ref());
        held.is_some_and(|held| Arc::ptr_eq(held, value))
    }

    /// The instance after the last one that holds a value; the first with a register if none does.
    pub fn written_below(&self) -> u64 {
        let last = self.slots.iter().rposition(|slot| slot.value.is_some());
        self.floor + last.map_or(0, |last| last as u64 + 1)
    }

    /// The value in one instance's register, for ackREAD.
    pub fn written_at(&self, instance: u64) -> Option<Written> {
        let slot = self.get(instance)?;
        Some(Written { instance, write: slot.write, value: slot.value.clone()? })
    }

    /// The values that it holds.
    pub fn values(&self) -> impl Iterator<Item = &MsgSet> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref())
    }

    fn room(&self) -> usize {
        REGISTER_BYTES_MAX.saturating_sub(self.bytes)
    }

    fn is_empty(&self, instance: u64) -> bool {
        self.get(instance).is_none_or(|slot| slot.value.is_none())
    }

    fn get(&self, instance: u64) -> Option<&Slot> {
        self.slots.get(instance.checked_sub(self.floor)? as usize)
    }

    /// The register of an instance, made if need be; none if it is delivered or too far ahead.
    fn slot(&mut self, instance: u64) -> Option<&mut Slot> {
        let offset = self.has_place(instance).then(|| instance - self.floor)?;
        while self.slots.len() as u64 <= offset {
            self.slots.push_back(Slot::default());
        }
        Some(&mut self.slots[offset as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::NodeId;
    use crate::protocol::paxos::message::{Parcel, ParcelId};

    fn value(number: u64) -> MsgSet {
        let id = ParcelId { origin: NodeId(0), incarnation: 1, number };
        Arc::from([Parcel { id, commands: Arc::from([]) }])
    }

    #[test]
    fn an_operation_aborts_only_below_a_higher_round() {
        let mut registers = Registers::new(3);
        assert_eq!(registers.read(Round(7), 0), ReadAnswer::Promised);
        assert_eq!(
            registers.read(Round(7), 0),
            ReadAnswer::Promised,
            "a retransmitted read is harmless"
        );
        assert_eq!(registers.read(Round(5), 0), ReadAnswer::Nack(Round(7)));
        assert_eq!(registers.write(Round(5), 0, &value(1)), WriteAnswer::Nack(Round(7)));
        assert_eq!(
            registers.read(Round(5), 1),
            ReadAnswer::Promised,
            "another instance is another register"
        );
        assert!(matches!(registers.write(Round(7), 0, &value(1)), WriteAnswer::Stored { .. }));
    }

    #[test]
    fn what_is_written_ends_behind_the_last_value_that_is_held() {
        let mut registers = Registers::new(3);
        registers.read(Round(4), 9);
        assert_eq!(registers.written_below(), 0);
        registers.write(Round(4), 2, &value(1));
        registers.write(Round(4), 5, &value(2));
        assert_eq!(registers.written_below(), 6);
        registers.drop_below(7);
        assert_eq!(registers.written_below(), 7);
    }

    #[test]
    fn a_read_onwards_covers_instances_without_a_register_yet() {
        let mut registers = Registers::new(3);
        assert_eq!(registers.read_onwards(Round(8)), ReadAnswer::Promised);
        assert_eq!(registers.write(Round(7), 40, &value(1)), WriteAnswer::Nack(Round(8)));
        assert_eq!(registers.read_onwards(Round(7)), ReadAnswer::Nack(Round(8)));
    }

    #[test]
    fn a_repeated_write_repeats_its_permission_even_after_a_higher_read() {
        let mut registers = Registers::new(3);
        assert_eq!(
            registers.write(Round(4), 0, &value(1)),
            WriteAnswer::Stored { permission: true }
        );
        assert_eq!(registers.read(Round(9), 0), ReadAnswer::Promised);
        assert_eq!(registers.write(Round(4), 0, &value(1)), WriteAnswer::Held { permission: true });
        assert_eq!(
            registers.write(Round(9), 0, &value(2)),
            WriteAnswer::Stored { permission: false }
        );
        assert_eq!(registers.write(Round(4), 0, &value(1)), WriteAnswer::Nack(Round(9)));
    }

    #[test]
    fn permission_is_refused_when_the_next_instance_holds_a_value() {
        let mut registers = Registers::new(3);
        registers.write(Round(4), 1, &value(1));
        assert_eq!(
            registers.write(Round(4), 0, &value(2)),
            WriteAnswer::Stored { permission: false }
        );
    }

    /// With the tag that Fig. 20 line 32 prints, the fast value and the regular one would both carry
    /// round n+1.
    #[test]
    fn a_fast_value_never_shares_its_tag_with_a_regular_one() {
        let mut registers = Registers::new(3);
        assert!(matches!(registers.write(Round(2), 0, &value(1)), WriteAnswer::Stored { .. }));
        assert_eq!(registers.written(0)[0].write, Round(2));
        assert_eq!(registers.write(Round(3), 0, &value(2)), WriteAnswer::Nack(Round(4)));
        assert!(matches!(registers.write(Round(4), 0, &value(3)), WriteAnswer::Stored { .. }));
    }

    #[test]
    fn a_decision_that_overtakes_its_write_is_remembered_for_that_round_only() {
        let mut registers = Registers::new(3);
        assert_eq!(registers.decide(Round(7), 0), None);
        registers.write(Round(5), 0, &value(1));
        assert_eq!(registers.decided_value(0), None);
        registers.write(Round(7), 0, &value(2));
        assert_eq!(registers.decided_value(0), Some(value(2)));
    }

    #[test]
    fn the_next_instance_to_be_delivered_finds_room_where_later_ones_do_not() {
        use crate::command::{ClientId, Command, CommandId, Key, Operation, Value};
        let operation = Operation::Put {
            key: Key::register(0),
            value: Value::from_vec(vec![0; REGISTER_BYTES_MAX / 8]),
        };
        let id = CommandId { client: ClientId(0), sequence: 0 };
        let command = Command { id, answered_below: 0, operation };
        let id = ParcelId { origin: NodeId(0), incarnation: 1, number: 0 };
        let large: MsgSet = Arc::from([Parcel { id, commands: Arc::from([command]) }]);
        let mut registers = Registers::new(3);
        let taken = |answer: &WriteAnswer| matches!(answer, WriteAnswer::Stored { .. });
        let answers: Vec<_> = (1..10).map(|i| registers.write(Round(4), i, &large)).collect();
        assert_eq!(answers.iter().filter(|answer| taken(answer)).count(), 7);
        assert_eq!(answers[8], WriteAnswer::Full);
        assert_eq!(registers.write(Round(4), 9, &large), WriteAnswer::Full);
        assert!(taken(&registers.write(Round(4), 0, &large)));
    }

    #[test]
    fn registers_are_bounded_and_shrink_as_instances_are_delivered() {
        let mut registers = Registers::new(3);
        assert_eq!(registers.write(Round(4), REGISTERS_MAX, &value(1)), WriteAnswer::Full);
        assert_eq!(registers.read(Round(4), REGISTERS_MAX), ReadAnswer::Full);
        registers.write(Round(4), 5, &value(1));
        registers.drop_below(6);
        assert_eq!((registers.bytes, registers.slots.len()), (0, 0));
        assert!(matches!(
            registers.write(Round(4), REGISTERS_MAX, &value(1)),
            WriteAnswer::Stored { .. }
        ));
        assert_eq!(registers.write(Round(4), 5, &value(1)), WriteAnswer::Full);
    }
}
