//! What must hold of `caspaxos`: the steps of the proof (Rystsov, appendix A), and what its premises are.

use std::collections::{BTreeMap, BTreeSet};

use super::{Held, Invariants, hold};
use crate::command::{Key, NodeId};
use crate::protocol::Cluster;
use crate::protocol::caspaxos::Caspaxos;
use crate::protocol::caspaxos::ballot::Ballot;
use crate::protocol::caspaxos::members::{Configuration, Group};
use crate::protocol::caspaxos::message::{CaspaxosMessage, CaspaxosRecord, Change};
use crate::protocol::caspaxos::state::State;
use crate::protocol::caspaxos::works::Phase;
use crate::protocol::quorum::NodeSet;

/// An attempt that was accepted, or may be.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Attempted {
    /// None while only its proposer was seen with it.
    state: Option<State>,
    /// The ballot whose state it changes, once the proposer has been seen with it.
    base: Option<Ballot>,
    /// Who has accepted it durably.
    accepted_by: NodeSet,
    is_chosen: bool,
}

/// What an acceptor was seen with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Acceptor {
    promise: Ballot,
    accepted: Ballot,
}

/// What was seen of a run.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CaspaxosInvariants {
    cluster: Cluster,
    attempts: BTreeMap<(Key, Ballot), Attempted>,
    /// The highest tombstone of each register that was removed somewhere.
    removed: BTreeMap<Key, Ballot>,
    acceptors: BTreeMap<(NodeId, Key), Acceptor>,
    /// How often each acceptor has forgotten everything, or lost what was not durable.
    epochs: Vec<u16>,
    configurations: BTreeMap<u16, Configuration>,
    /// The one that each process was in last.
    known: BTreeMap<NodeId, Configuration>,
    /// Members that somebody has wanted.
    wanted: BTreeSet<u64>,
    /// Attempts whose acceptors have changed since the last look.
    touched: BTreeSet<(Key, Ballot)>,
}

impl Invariants<Caspaxos> for CaspaxosInvariants {
    fn new(cluster: Cluster) -> Self {
        CaspaxosInvariants {
            cluster,
            attempts: BTreeMap::new(),
            removed: BTreeMap::new(),
            acceptors: BTreeMap::new(),
            epochs: vec![0; usize::from(cluster.size)],
            configurations: BTreeMap::new(),
            known: BTreeMap::new(),
            wanted: BTreeSet::new(),
            touched: BTreeSet::new(),
        }
    }

    fn on_record(&mut self, _node: NodeId, record: &CaspaxosRecord) -> Held {
        accepted_in(record).into_iter().try_for_each(|change| self.one_value_per_ballot(change))
    }

    fn on_durable(&mut self, node: NodeId, record: &CaspaxosRecord) -> Held {
        for change in accepted_in(record) {
            let name = (change.key, change.ballot);
            let attempt = self.attempts.entry(name).or_default();
            if !attempt.is_chosen {
                attempt.accepted_by.insert(node);
                self.touched.insert(name);
            }
        }
        if let CaspaxosRecord::Removed(tombstones) = record {
            for (key, ballot) in tombstones {
                let removed = self.removed.entry(*key).or_default();
                *removed = (*removed).max(*ballot);
            }
        }
        Ok(())
    }

    fn on_crash<'a>(
        &mut self,
        node: NodeId,
        left: impl Iterator<Item = &'a CaspaxosRecord>,
    ) -> Held {
        let configured = |record: &CaspaxosRecord| match record {
            CaspaxosRecord::Configured(configuration) => Some(*configuration),
            _ => None,
        };
        let first = || self.configurations.get(&0).copied();
        let knows = left.filter_map(configured).last().or_else(first);
        self.known.extend(knows.map(|knows| (node, knows)));
        // What it said is durable; what it did not say may be gone.
        self.acceptors.retain(|(whose, _), _| *whose != node);
        Ok(())
    }

    fn on_sent(&mut self, _node: NodeId, message: &CaspaxosMessage, _durable: usize) -> Held {
        match message {
            CaspaxosMessage::Accept { changes, .. } => {
                changes.iter().try_for_each(|change| self.one_value_per_ballot(change))
            }
            _ => Ok(()),
        }
    }

    fn on_executed(
        &mut self,
        node: NodeId,
        _position: u64,
        batch: &crate::protocol::Batch,
    ) -> Held {
        hold(false, "registers are the state", || format!("{node} executes {batch:?}"))
    }

    fn on_step(&mut self, node: NodeId, core: &Caspaxos) -> Held {
        let configuration = *core.configuration();
        self.known.insert(node, configuration);
        self.one_configuration_per_epoch(node, configuration)?;
        self.promises_and_ballots_only_rise(node, core)?;
        self.wanted.extend(core.goal().map(NodeSet::bits));
        for (_, work) in core.works().iter().filter(|(_, w)| w.phase == Phase::Accepting) {
            self.descends_from_what_was_chosen((work.key, work.ballot), work.base)?;
        }
        let touched = std::mem::take(&mut self.touched);
        touched.into_iter().try_for_each(|name| self.look_whether_chosen(name))
    }

    fn is_member(&self, node: NodeId) -> bool {
        match self.configurations.last_key_value() {
            Some((_, newest)) => newest.members().contains(node),
            None => usize::from(node.0) < self.cluster.members(),
        }
    }

    /// Whether quorums are left of all configurations that may yet be used.
    fn tolerates<'a>(
        &self,
        gone: NodeSet,
        settled: impl Iterator<Item = (NodeId, &'a Caspaxos)>,
    ) -> bool {
        let newest = self.configurations.last_key_value().map(|(_, newest)| *newest);
        let mut usable: Vec<Configuration> = newest.into_iter().collect();
        usable.extend(settled.map(|(_, core)| *core.configuration()));
        // A member that is down may know only of an earlier one, and its acceptors must tell it more.
        let members = newest.map_or(NodeSet::default(), |newest| newest.members()).minus(gone);
        usable.extend(members.iter().filter_map(|member| self.known.get(&member).copied()));
        let wanted = self.wanted.iter().map(|members| Group::of(NodeSet::from_bits(*members)));
        usable.extend(wanted.map(|new| Configuration { epoch: 0, old: None, new }));
        usable.iter().all(|one| one.can_prepare_without(gone) && one.can_accept_without(gone))
    }

    fn owes(&self, node: NodeId, core: &Caspaxos) -> Option<String> {
        if core.unanswered() > 0 || core.works().count() > 0 {
            return Some(format!("{} works are not done", core.works().count()));
        }
        let configuration = core.configuration();
        let newest = self.configurations.values().next_back().unwrap_or(configuration);
        let to_join = core.wants_to_replace().is_some_and(|it| newest.members().contains(it));
        let owes = configuration.is_joint() || to_join && !newest.members().contains(node);
        owes.then(|| format!("a change of members is not done: {configuration}"))
    }

    fn at_the_end(&self, node: NodeId, core: &Caspaxos) -> Held {
        self.keeps_what_was_chosen(node, core)
    }
}

/// The changes that a record says were accepted.
fn accepted_in(record: &CaspaxosRecord) -> Vec<&Change> {
    match record {
        CaspaxosRecord::Accepted { changes, refused, .. } => {
            let all = changes.iter().zip(0..);
            all.filter(|(_, place)| !refused.contains(place)).map(|(change, _)| change).collect()
        }
        _ => Vec::new(),
    }
}

impl CaspaxosInvariants {
    /// What the proof calls s(x): a ballot names one state of a register, wherever it is met. Of the same attempt
    /// all acceptors accept the same.
    fn one_value_per_ballot(&mut self, change: &Change) -> Held {
        let Change { key, ballot, state } = change;
        let attempt = self.attempts.entry((*key, *ballot)).or_default();
        let known = attempt.state.get_or_insert_with(|| state.clone());
        hold(known == state, "one value per ballot", || {
            format!("{key} has {known} and {state} in ballot {ballot}")
        })
    }

    /// "An acceptor doesn't accept messages with lesser ballot numbers than they already saw" (Theorem 3): what it
    /// has promised and accepted only rises, as long as the register is there.
    fn promises_and_ballots_only_rise(&mut self, node: NodeId, core: &Caspaxos) -> Held {
        let epoch = core.configuration().epoch;
        if std::mem::replace(&mut self.epochs[usize::from(node.0)], epoch) != epoch {
            // It may have begun anew.
            self.acceptors.retain(|(whose, _), _| *whose != node);
        }
        let registers = core.registers();
        let floor = registers.floor();
        self.acceptors.retain(|(whose, key), _| *whose != node || registers.get(*key).is_some());
        for (_, register) in registers.iter() {
            let known = self.acceptors.entry((node, register.key)).or_default();
            let seen = register.promise.max(register.accepted);
            let before = known.promise.max(known.accepted);
            hold(
                seen >= before && register.accepted >= known.accepted,
                "promises only rise",
                || {
                    let key = register.key;
                    format!("{node} had seen {before} on {key}, now {seen}; its floor is {floor}")
                },
            )?;
            *known = Acceptor { promise: register.promise, accepted: register.accepted };
        }
        Ok(())
    }

    /// A configuration follows one, and is followed by one.
    fn one_configuration_per_epoch(&mut self, node: NodeId, configuration: Configuration) -> Held {
        let known = *self.configurations.entry(configuration.epoch).or_insert(configuration);
        hold(known == configuration, "one configuration per epoch", || {
            format!("{node} is in {configuration}, others in {known}")
        })
    }

    /// Lemma 2: whatever is accepted above a chosen ballot comes of a state at or above it. Here it is looked at
    /// when an attempt is made, before anybody has accepted it.
    fn descends_from_what_was_chosen(&mut self, name: (Key, Ballot), base: Ballot) -> Held {
        let attempt = self.attempts.entry(name).or_default();
        if attempt.base == Some(base) {
            return Ok(());
        }
        hold(attempt.base.is_none(), "one value per ballot", || {
            format!("{} is changed twice in ballot {}", name.0, name.1)
        })?;
        attempt.base = Some(base);
        let (key, ballot) = name;
        let below = (key, Ballot::ZERO)..(key, ballot);
        let chosen = self.attempts.range(below).rev().find(|(_, attempt)| attempt.is_chosen);
        let Some(((_, chosen), _)) = chosen else { return Ok(()) };
        self.is_ancestor(key, *chosen, ballot)
    }

    /// Theorem 1: of two acknowledged changes one is a descendant of the other.
    fn look_whether_chosen(&mut self, name: (Key, Ballot)) -> Held {
        let (key, ballot) = name;
        let Some(configuration) = self.configurations.get(&ballot.epoch()).copied() else {
            return Ok(());
        };
        let attempt = self.attempts.entry(name).or_default();
        let is_quorum = configuration.is_accept_quorum(attempt.accepted_by);
        if !is_quorum || std::mem::replace(&mut attempt.is_chosen, true) {
            return Ok(());
        }
        let later = self.attempts.range((key, Ballot(ballot.0 + 1))..=(key, Ballot(u64::MAX)));
        let later: Vec<Ballot> = later.map(|((_, later), _)| *later).collect();
        later.into_iter().try_for_each(|later| self.is_ancestor(key, ballot, later))
    }

    /// Whether a change that was chosen is among the ancestors of a later one, or was removed in between.
    fn is_ancestor(&self, key: Key, chosen: Ballot, later: Ballot) -> Held {
        let mut at = later;
        while at > chosen {
            match self.attempts.get(&(key, at)).and_then(|attempt| attempt.base) {
                Some(base) => at = base,
                // Its proposer was not seen with it: it did both in one step, or crashed.
                None => return Ok(()),
            }
        }
        let removed = self.removed.get(&key).copied().unwrap_or_default();
        let was_removed = at.is_zero() && removed >= chosen;
        hold(at == chosen || was_removed, "later states descend from what was chosen", || {
            format!("{later} on {key} comes of {at}; {chosen} was chosen, {removed} removed")
        })
    }

    /// What was chosen is still there in the end, or what has come of it.
    fn keeps_what_was_chosen(&self, node: NodeId, core: &Caspaxos) -> Held {
        // By key the last that was chosen, and whether it or one that came of it is empty.
        let mut last: BTreeMap<Key, (Ballot, bool)> = BTreeMap::new();
        for ((key, ballot), attempt) in &self.attempts {
            let Some(state) = &attempt.state else { continue };
            match last.get_mut(key) {
                _ if attempt.is_chosen => {
                    last.insert(*key, (*ballot, state.value.is_none()));
                }
                Some((_, is_empty)) => *is_empty |= state.value.is_none(),
                None => {}
            }
        }
        last.into_iter().try_for_each(|(key, (chosen, is_empty))| {
            let register = core.registers().get(key);
            let held = register.map_or(Ballot::ZERO, |register| register.accepted);
            let without_value = register.is_none_or(|register| register.state.value.is_none());
            let removed = self.removed.get(&key).copied().unwrap_or_default();
            let gone = without_value && is_empty || held.is_zero() && removed >= chosen;
            hold(held >= chosen || gone, "what was chosen is kept", || {
                format!("{node} holds {held} of {key}, {chosen} was chosen")
            })
        })
    }
}
