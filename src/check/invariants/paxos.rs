//! The lemmas of "Deconstructing Paxos", as what one sees of a run: every record that a process
//! stores and every message that leaves it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Held, Invariants, hold};
use crate::command::NodeId;
use crate::protocol::ballot::Round;
use crate::protocol::paxos::message::{MsgSet, Parcel, ParcelId, PaxosMessage, PaxosRecord};
use crate::protocol::paxos::{ParcelSet, Paxos};
use crate::protocol::quorum::{NodeSet, majority};
use crate::protocol::{Batch, Cluster};

/// An operation that a process stored: what its acknowledgement stands on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Stored {
    Incarnation(u32),
    Read(Option<u64>, Round),
    Write(u64, Round),
}

/// One process' log as far as the invariants need it.
#[derive(Clone, Hash, Default, Debug)]
struct Log {
    /// Where each operation was first stored.
    stored: BTreeMap<Stored, usize>,
    /// The value of each instance's last write.
    values: BTreeMap<u64, MsgSet>,
    /// The highest round stored for each instance, and for all onwards.
    promised: BTreeMap<Option<u64>, Round>,
    /// The writes that found neither their instance nor the next one written.
    first_in_two: BTreeSet<(u64, Round)>,
    length: usize,
}

impl Log {
    /// Whether an operation is among the first `durable` records.
    fn has(&self, stored: Stored, durable: usize) -> bool {
        self.stored.get(&stored).is_some_and(|at| *at < durable)
    }

    /// Whether a durable record forbids the process to use the round again.
    fn holds_round(&self, round: Round, instance: u64, durable: usize) -> bool {
        let reads = [Stored::Read(None, round), Stored::Read(Some(instance), round)];
        reads.iter().any(|stored| self.has(*stored, durable))
    }

    fn append(&mut self, record: &PaxosRecord) -> Held {
        let position = self.length;
        self.length += 1;
        let stored = match record {
            PaxosRecord::Incarnation(number) => Stored::Incarnation(*number),
            PaxosRecord::Read { instance, round } => {
                self.rounds_rise(*instance, *round)?;
                Stored::Read(*instance, *round)
            }
            PaxosRecord::Write { instance, round, value } => {
                self.rounds_rise(Some(*instance), *round)?;
                let held = |instance| self.values.contains_key(&instance);
                if !held(*instance) && !held(*instance + 1) {
                    self.first_in_two.insert((*instance, *round));
                }
                self.values.insert(*instance, value.clone());
                Stored::Write(*instance, *round)
            }
            PaxosRecord::Delivered { .. } | PaxosRecord::Installed { .. } => return Ok(()),
        };
        self.stored.entry(stored).or_insert(position);
        Ok(())
    }

    /// Round-based register, *read-write-commit* (§3.1): once a process has answered round *k*, it
    /// answers none below.
    fn rounds_rise(&mut self, instance: Option<u64>, round: Round) -> Held {
        let own = self.promised.get(&instance).copied().unwrap_or_default();
        let onwards = self.promised.get(&None).copied().unwrap_or_default();
        let before = own.max(onwards);
        self.promised.insert(instance, before.max(round));
        hold(before <= round, "read-write-commit", || {
            format!("{round:?} is taken after {before:?} (instance {instance:?})")
        })
    }
}

/// What is remembered of a run.
#[derive(Clone, Hash, Debug)]
pub struct PaxosInvariants {
    size: u8,
    logs: Vec<Log>,
    /// What was written, or sent to be written, in each round of each instance.
    written: BTreeMap<(u64, Round), MsgSet>,
    /// Who has stored that durably.
    holders: BTreeMap<(u64, Round), NodeSet>,
    /// The value that a majority stored in one round, or that a process delivered.
    decided: BTreeMap<u64, MsgSet>,
    /// Who wrote an instance without reading, by permission.
    fast: BTreeMap<u64, NodeId>,
    /// The first instance that nobody has delivered.
    ordered_below: u64,
    /// What every process must execute, in this order, as far as it gets.
    order: Vec<Batch>,
    /// The parcels in it.
    ordered: BTreeSet<ParcelId>,
    /// The latest incarnation of each origin in it.
    latest: BTreeMap<NodeId, u32>,
    /// What each parcel that left its origin carries.
    parcels: BTreeMap<ParcelId, Parcel>,
    /// The latest incarnation of each process that anybody may have heard of; 0 if there is none.
    born: Vec<u32>,
}

impl PaxosInvariants {
    fn log(&self, node: NodeId) -> &Log {
        &self.logs[usize::from(node.0)]
    }

    /// Round-based register, *read-commit* and *write-commit* (§3.1): a round of an instance has one
    /// value, over all registers and all time. What they return would not be well defined otherwise.
    fn one_value_per_round(&mut self, instance: u64, round: Round, value: &MsgSet) -> Held {
        let first = self.written.entry((instance, round)).or_insert_with(|| value.clone());
        hold(first == value, "one value per round", || {
            format!("{round:?} of instance {instance} writes {first:?} and {value:?}")
        })
    }

    /// Round-based consensus, *agreement* (§3.2): what a majority has written in one round, and what
    /// a process delivers, is one value for ever.
    fn agreement(&mut self, instance: u64, value: &MsgSet) -> Held {
        let first = self.decided.entry(instance).or_insert_with(|| value.clone());
        hold(first == value, "agreement", || {
            format!("instance {instance} decides {first:?} and {value:?}")
        })
    }

    /// Round-based consensus, *validity* (§3.2): what is decided was proposed by somebody.
    fn validity(&self, instance: u64, value: &MsgSet) -> Held {
        let mut written = self.written.range((instance, Round(0))..=(instance, Round(u64::MAX)));
        hold(written.any(|(_, written)| written == value), "validity", || {
            format!("instance {instance} delivers {value:?}, which nobody has written")
        })
    }

    /// Total order broadcast, *total order* (§3.4): instances are delivered in their order.
    fn total_order(&mut self, node: NodeId, instance: u64, value: &MsgSet) -> Held {
        let next = self.ordered_below;
        if instance == next {
            self.ordered_below += 1;
            value.iter().for_each(|parcel| self.extend_order(parcel));
        }
        hold(instance <= next, "total order", || {
            format!("{node} delivers instance {instance}, but nobody has delivered {next}")
        })
    }

    /// A parcel comes into the order where it is delivered first, unless its origin had started again
    /// by then.
    fn extend_order(&mut self, parcel: &Parcel) {
        let latest = self.latest.entry(parcel.id.origin).or_default();
        *latest = (*latest).max(parcel.id.incarnation);
        if parcel.id.incarnation == *latest && self.ordered.insert(parcel.id) {
            self.order.push(parcel.commands.clone());
        }
    }

    /// Total order broadcast, *validity* (§3.4): each parcel is delivered once, where the order has it.
    fn delivered_once(&self, node: NodeId, position: u64, batch: &Batch) -> Held {
        let expected = self.order.get(position as usize);
        hold(expected == Some(batch), "validity", || {
            format!("{node} delivers {batch:?} as number {position} instead of {expected:?}")
        })
    }

    /// The write quorums of every two rounds intersect its read quorums (§4.1): a decision stands
    /// only on a majority of durable writes of one round, or on another decision.
    fn quorum_intersection(&self, instance: u64, value: &MsgSet) -> Held {
        let quorum = majority(usize::from(self.size));
        let mut rounds = self.holders.range((instance, Round(0))..=(instance, Round(u64::MAX)));
        let held = rounds.any(|(at, holders)| {
            holders.len() >= quorum && self.written.get(at).is_some_and(|v| v == value)
        });
        hold(held, "quorum intersection", || {
            format!("instance {instance} delivers {value:?}, which no majority has stored")
        })
    }

    /// Figures 12 and 13: what an acknowledgement promises is durable before it leaves.
    fn durable_before_acknowledged(
        &self,
        node: NodeId,
        message: &PaxosMessage,
        durable: usize,
    ) -> Held {
        let log = self.log(node);
        let safe = match message {
            PaxosMessage::AckRead { round, instance, .. } => {
                log.holds_round(*round, *instance, durable)
            }
            PaxosMessage::AckWrite { round, instance, .. } => {
                log.has(Stored::Write(*instance, *round), durable)
            }
            PaxosMessage::Heartbeat { epoch, .. } => log.has(Stored::Incarnation(*epoch), durable),
            PaxosMessage::Forward(parcel) => {
                log.has(Stored::Incarnation(parcel.id.incarnation), durable)
            }
            _ => true,
        };
        hold(safe, "durable before acknowledged", || format!("{node} sends {message:?} too early"))
    }

    /// §4.1: a round belongs to one process, which promises it durably before anybody hears of it,
    /// so that no restart uses it twice.
    fn rounds_are_their_owners(
        &self,
        node: NodeId,
        message: &PaxosMessage,
        durable: usize,
    ) -> Held {
        let (round, instance, fast) = match message {
            PaxosMessage::Read { round, instance, .. } => (*round, *instance, false),
            PaxosMessage::Write { round, instance, .. } => {
                (*round, *instance, self.is_fast(*round))
            }
            _ => return Ok(()),
        };
        let owned = round.owner(self.size) == Some(node);
        let promised = fast || self.log(node).holds_round(round, instance, durable);
        hold(owned && promised, "rounds are their owners'", || {
            format!("{node} uses {round:?}: owned {owned}, durably promised {promised}")
        })
    }

    /// §6.4: at most one process has the permission to write an instance without reading it.
    fn one_permission(&mut self, node: NodeId, instance: u64) -> Held {
        let first = *self.fast.entry(instance).or_insert(node);
        hold(first == node, "one permission", || {
            format!("{first} and {node} both write instance {instance} by permission")
        })
    }

    /// Fig. 20 line 33: a process gives the permission where its register, and that of the next
    /// instance, held nothing.
    fn permission_is_due(&self, node: NodeId, instance: u64, round: Round) -> Held {
        let due = self.log(node).first_in_two.contains(&(instance, round));
        hold(due, "permission is due", || {
            format!("{node} gives permission behind instance {instance} in {round:?}")
        })
    }

    /// §6.4: who writes an instance without reading has the permission of a majority, given in one
    /// round of the instance before it.
    fn permission_of_a_majority(&self, node: NodeId, instance: u64) -> Held {
        let before = instance.checked_sub(1);
        let gave = |at: &(u64, Round)| {
            self.logs.iter().filter(|log| log.first_in_two.contains(at)).count()
        };
        let held = before.is_some_and(|before| {
            let mut rounds = self.written.range((before, Round(0))..=(before, Round(u64::MAX)));
            rounds.any(|(at, _)| gave(at) >= majority(usize::from(self.size)))
        });
        hold(held, "permission of a majority", || {
            format!("{node} writes instance {instance} without a read")
        })
    }

    /// Total order broadcast, *validity* (§3.4): a parcel's name stands for one content.
    fn one_parcel_per_name(&mut self, parcel: &Parcel) -> Held {
        let first = self.parcels.entry(parcel.id).or_insert_with(|| parcel.clone());
        hold(first == parcel, "one parcel per name", || format!("{first:?} and {parcel:?}"))
    }

    /// A process starts each time under a new incarnation, which names its parcels apart.
    fn incarnations_are_new(&mut self, node: NodeId, number: u32) -> Held {
        let latest = &mut self.born[usize::from(node.0)];
        let new = *latest < number;
        *latest = number.max(*latest);
        hold(new, "incarnations are new", || format!("{node} starts as {number} again"))
    }

    /// The parcels that a process has sent off in its latest incarnation and that nobody has delivered.
    fn undelivered(&self, node: NodeId) -> u64 {
        let incarnation = self.born[usize::from(node.0)];
        let first = ParcelId { origin: node, incarnation, number: 0 };
        let sent = self.parcels.range(first..=ParcelId { number: u64::MAX, ..first });
        sent.filter(|(id, _)| !self.ordered.contains(id)).count() as u64
    }

    fn is_fast(&self, round: Round) -> bool {
        round.0 <= u64::from(self.size)
    }
}

/// The sets that a process keeps of delivered parcels hold nothing beyond what is out of order.
fn sets_are_collapsed(node: NodeId, sets: &[ParcelSet]) -> Held {
    let loose = |set: &&ParcelSet| set.above.first().is_some_and(|lowest| *lowest <= set.floor);
    let found = sets.iter().find(loose);
    hold(found.is_none(), "sets are collapsed", || format!("{node} keeps {found:?}"))
}

impl Invariants<Paxos> for PaxosInvariants {
    fn new(cluster: Cluster) -> Self {
        PaxosInvariants {
            size: cluster.size,
            logs: vec![Log::default(); usize::from(cluster.size)],
            written: BTreeMap::new(),
            holders: BTreeMap::new(),
            decided: BTreeMap::new(),
            fast: BTreeMap::new(),
            ordered_below: 0,
            order: Vec::new(),
            ordered: BTreeSet::new(),
            latest: BTreeMap::new(),
            parcels: BTreeMap::new(),
            born: vec![0; usize::from(cluster.size)],
        }
    }

    fn on_record(&mut self, node: NodeId, record: &PaxosRecord) -> Held {
        self.logs[usize::from(node.0)].append(record)?;
        match record {
            PaxosRecord::Incarnation(_)
            | PaxosRecord::Read { .. }
            | PaxosRecord::Installed { .. } => Ok(()),
            PaxosRecord::Write { instance, round, value } => {
                self.one_value_per_round(*instance, *round, value)
            }
            PaxosRecord::Delivered { instance, value } => {
                let held = || self.log(node).values.get(instance).cloned();
                let value = value.clone().or_else(held);
                let value = value.expect("a value is stored before its record leaves it out");
                self.validity(*instance, &value)?;
                self.quorum_intersection(*instance, &value)?;
                self.agreement(*instance, &value)?;
                self.total_order(node, *instance, &value)
            }
        }
    }

    fn on_durable(&mut self, node: NodeId, record: &PaxosRecord) -> Held {
        let (instance, round) = match record {
            PaxosRecord::Incarnation(number) => return self.incarnations_are_new(node, *number),
            PaxosRecord::Write { instance, round, .. } => (*instance, *round),
            _ => return Ok(()),
        };
        let holders = self.holders.entry((instance, round)).or_default();
        holders.insert(node);
        if holders.len() < majority(usize::from(self.size)) {
            return Ok(());
        }
        let value = self.written[&(instance, round)].clone();
        self.agreement(instance, &value)
    }

    fn on_crash<'a>(&mut self, node: NodeId, left: impl Iterator<Item = &'a PaxosRecord>) -> Held {
        let log = &mut self.logs[usize::from(node.0)];
        *log = Log::default();
        for record in left {
            log.append(record)?;
        }
        Ok(())
    }

    fn on_sent(&mut self, node: NodeId, message: &PaxosMessage, durable: usize) -> Held {
        self.durable_before_acknowledged(node, message, durable)?;
        self.rounds_are_their_owners(node, message, durable)?;
        match message {
            PaxosMessage::Write { round, instance, value, .. } => {
                if self.is_fast(*round) {
                    self.one_permission(node, *instance)?;
                    self.permission_of_a_majority(node, *instance)?;
                }
                self.one_value_per_round(*instance, *round, value)
            }
            PaxosMessage::AckWrite { round, instance, permission: true } => {
                self.permission_is_due(node, *instance, *round)
            }
            PaxosMessage::Forward(parcel) => self.one_parcel_per_name(parcel),
            _ => Ok(()),
        }
    }

    fn on_executed(&mut self, node: NodeId, position: u64, batch: &Batch) -> Held {
        self.delivered_once(node, position, batch)
    }

    /// Total order broadcast, *termination* and *agreement* (§3.4): what a process has broadcast and
    /// what anybody has delivered, it delivers.
    fn owes(&self, node: NodeId, core: &Paxos) -> Option<String> {
        let own = core.undelivered_own().max(self.undelivered(node));
        let behind = self.ordered_below - core.next_batch().min(self.ordered_below);
        (own + behind > 0).then(|| {
            format!("{node} has not delivered {own} parcels of its own and {behind} instances")
        })
    }

    fn on_step(&mut self, node: NodeId, core: &Paxos) -> Held {
        sets_are_collapsed(node, core.delivered_parcels())
    }
}
