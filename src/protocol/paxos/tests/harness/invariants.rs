//! What must hold after every step, however the schedule went: the assertions that the paper's
//! lemmas amount to. One observer sees every record that a process writes and every message that
//! leaves it.

use std::collections::{BTreeMap, BTreeSet};

use crate::command::NodeId;
use crate::protocol::Batch;
use crate::protocol::ballot::Round;
use crate::protocol::paxos::ParcelSet;
use crate::protocol::paxos::message::{MsgSet, ParcelId, PaxosMessage, PaxosRecord};
use crate::protocol::quorum::{NodeSet, majority};

/// An operation that a process stored: what its acknowledgement stands on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Stored {
    Incarnation(u32),
    Read(Option<u64>, Round),
    Write(u64, Round),
}

/// One process' log as far as the invariants need it.
#[derive(Default)]
struct Log {
    /// Where each operation was first stored.
    stored: BTreeMap<Stored, usize>,
    /// The value of each instance's last write.
    values: BTreeMap<u64, MsgSet>,
    /// The highest round stored for each instance, and for all onwards.
    promised: BTreeMap<Option<u64>, Round>,
    length: usize,
}

impl Log {
    fn append(&mut self, record: &PaxosRecord) {
        let (stored, instance, round) = match record {
            PaxosRecord::Incarnation(n) => (Stored::Incarnation(*n), None, Round(0)),
            PaxosRecord::Read { instance, round } => {
                (Stored::Read(*instance, *round), *instance, *round)
            }
            PaxosRecord::Write { instance, round, value } => {
                self.values.insert(*instance, value.clone());
                (Stored::Write(*instance, *round), Some(*instance), *round)
            }
            _ => {
                self.length += 1;
                return;
            }
        };
        let before = self.promised.entry(instance).or_default();
        assert!(*before <= round || round == Round(0), "{record:?} after {before:?}");
        *before = (*before).max(round);
        self.stored.entry(stored).or_insert(self.length);
        self.length += 1;
    }

    fn has(&self, stored: Stored, durable: usize) -> bool {
        self.stored.get(&stored).is_some_and(|at| *at < durable)
    }

    /// Whether a durable record forbids the process to use the round again.
    fn holds_round(&self, round: Round, instance: u64, durable: usize) -> bool {
        [Stored::Read(None, round), Stored::Read(Some(instance), round)]
            .iter()
            .any(|stored| self.has(*stored, durable))
    }
}

/// Sees everything; remembers what must stay unique.
pub struct Observer {
    size: u8,
    logs: Vec<Log>,
    /// What was written, or sent to be written, in each round of each instance.
    written: BTreeMap<(u64, Round), MsgSet>,
    /// Who has stored that durably.
    holders: BTreeMap<(u64, Round), NodeSet>,
    /// The value that a majority stored in one round, or that a process delivered.
    decided: BTreeMap<u64, MsgSet>,
    /// Who wrote without reading, by permission.
    fast: BTreeMap<u64, (NodeId, MsgSet)>,
    /// The order of delivery: what every process must execute, as far as it gets.
    order: Vec<Batch>,
    ordered_below: u64,
    seen: BTreeSet<ParcelId>,
    incarnations: BTreeMap<NodeId, u32>,
    /// What each parcel that left its origin carries.
    parcels: BTreeMap<ParcelId, Batch>,
}

impl Observer {
    pub fn new(size: u8) -> Self {
        Observer {
            size,
            logs: (0..size).map(|_| Log::default()).collect(),
            written: BTreeMap::new(),
            holders: BTreeMap::new(),
            decided: BTreeMap::new(),
            fast: BTreeMap::new(),
            order: Vec::new(),
            ordered_below: 0,
            seen: BTreeSet::new(),
            incarnations: BTreeMap::new(),
            parcels: BTreeMap::new(),
        }
    }

    /// How many instances some process has delivered.
    pub fn delivered(&self) -> u64 {
        self.ordered_below
    }

    /// A process appends to its log.
    pub fn on_record(&mut self, node: u8, record: &PaxosRecord) {
        if let PaxosRecord::Write { instance, round, value } = record {
            self.note_written(*instance, *round, value);
        }
        let log = &mut self.logs[usize::from(node)];
        log.append(record);
        if let PaxosRecord::Delivered { instance, value } = record {
            let held = || log.values.get(instance).expect("stored before it is left out").clone();
            let value = value.clone().unwrap_or_else(held);
            self.note_decided(*instance, &value);
            self.note_order(*instance, &value);
        }
    }

    /// A process' record became durable.
    pub fn on_durable(&mut self, node: u8, record: &PaxosRecord) {
        let PaxosRecord::Write { instance, round, .. } = record else { return };
        let holders = self.holders.entry((*instance, *round)).or_default();
        holders.insert(NodeId(node));
        if holders.len() >= majority(usize::from(self.size)) {
            let value = self.written[&(*instance, *round)].clone();
            self.note_decided(*instance, &value);
        }
    }

    /// A process crashed; `log` is what is left.
    pub fn on_crash<'a>(&mut self, node: u8, log: impl Iterator<Item = &'a PaxosRecord>) {
        let mut left = Log::default();
        log.for_each(|record| left.append(record));
        self.logs[usize::from(node)] = left;
    }

    /// A message leaves a process that has so many durable records.
    pub fn on_sent(&mut self, node: u8, message: &PaxosMessage, durable: usize) {
        let log = &self.logs[usize::from(node)];
        let (me, fast_rounds) = (NodeId(node), u64::from(self.size));
        match message {
            PaxosMessage::AckRead { round, instance, .. } => {
                assert!(log.holds_round(*round, *instance, durable), "early {message:?}");
            }
            PaxosMessage::AckWrite { round, instance, .. } => {
                let stored = Stored::Write(*instance, *round);
                assert!(log.has(stored, durable), "early {message:?}");
            }
            PaxosMessage::Read { round, instance, .. } => {
                assert_eq!(round.owner(self.size), Some(me), "{message:?}");
                assert!(log.holds_round(*round, *instance, durable), "unpromised {message:?}");
            }
            PaxosMessage::Write { round, instance, value, .. } => {
                assert_eq!(round.owner(self.size), Some(me), "{message:?}");
                if round.0 <= fast_rounds {
                    let first = self.fast.entry(*instance).or_insert_with(|| (me, value.clone()));
                    assert_eq!(*first, (me, value.clone()), "two fast writes in {instance}");
                } else {
                    assert!(log.holds_round(*round, *instance, durable), "unread {message:?}");
                }
                let (round, instance, value) = (*round, *instance, value.clone());
                self.note_written(instance, round, &value);
            }
            PaxosMessage::Forward(parcel) => {
                let born = Stored::Incarnation(parcel.id.incarnation);
                assert!(log.has(born, durable), "{:?} of no durable incarnation", parcel.id);
                let first = self.parcels.entry(parcel.id).or_insert(parcel.commands.clone());
                assert_eq!(*first, parcel.commands, "two parcels are {:?}", parcel.id);
            }
            _ => {}
        }
    }

    /// A process executes what it delivers, as the `position`th.
    pub fn on_executed(&self, node: u8, position: usize, batch: &Batch) {
        let expected = self.order.get(position);
        assert_eq!(expected, Some(batch), "p{node} departs from the order at {position}");
    }

    /// At most one value in a round of an instance, over all registers and all time.
    fn note_written(&mut self, instance: u64, round: Round, value: &MsgSet) {
        let first = self.written.entry((instance, round)).or_insert_with(|| value.clone());
        assert!(first == value, "two values in {round:?} of instance {instance}");
    }

    fn note_decided(&mut self, instance: u64, value: &MsgSet) {
        let first = self.decided.entry(instance).or_insert_with(|| value.clone());
        assert!(first == value, "two decisions of instance {instance}");
    }

    /// Extends the order by an instance that nobody had delivered.
    fn note_order(&mut self, instance: u64, value: &MsgSet) {
        if instance != self.ordered_below {
            assert!(instance < self.ordered_below, "{instance} delivered before its predecessor");
            return;
        }
        self.ordered_below += 1;
        for parcel in value.iter() {
            let latest = self.incarnations.entry(parcel.id.origin).or_default();
            *latest = (*latest).max(parcel.id.incarnation);
            if parcel.id.incarnation == *latest && self.seen.insert(parcel.id) {
                self.order.push(parcel.commands.clone());
            }
        }
    }
}

/// The sets that a process keeps of delivered parcels hold nothing beyond what is out of order.
pub fn assert_collapsed(sets: &[ParcelSet]) {
    for set in sets {
        assert!(set.above.first().is_none_or(|lowest| *lowest > set.floor), "{set:?}");
    }
}
