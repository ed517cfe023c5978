//! What an exhaustive exploration must know of a replica beside what it does.

use std::hash::{Hash, Hasher};

use super::Caspaxos;
use super::ballot::Ballot;
use super::flights::{Flight, Kind};
use super::message::{CaspaxosMessage, Change, Promise};
use crate::command::{Key, NodeId};
use crate::mutants::mutant;
use crate::protocol::WriteId;

/// Counters change nothing that it does, and what was measured only how long it waits (time stands still in a
/// model); nor do messages that are over, nor the numbers of writes, but for how far those are that are under way.
impl Hash for Caspaxos {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.me, self.configuration, &self.registers).hash(state);
        let mut works: Vec<_> = self.works.iter().map(|(_, work)| work).collect();
        works.sort_unstable_by_key(|work| work.key);
        works.hash(state);
        (self.ready.len(), self.backing_off.len(), &self.changes, &self.last_changes).hash(state);
        for (batch, flight) in self.flights.all.iter().filter(|(n, f)| !self.is_over(**n, f)) {
            (batch, flight).hash(state);
        }
        let under_way = |write: WriteId| write.0.saturating_sub(self.durable.0);
        (self.counter, self.reserved.0, under_way(self.reserved.1)).hash(state);
        for (after, message) in &self.to_self {
            (under_way(*after), message).hash(state);
        }
        (&self.collecting, &self.changing, self.asked, &self.sessions).hash(state);
        (&self.forwarding, &self.hosting).hash(state);
    }
}

impl Caspaxos {
    /// Whether answers to a message have no effect any more: nothing waits for it, and the next Prepare that it
    /// brings is known to be promised, or used up. It stays so.
    fn is_over(&self, batch: u64, flight: &Flight) -> bool {
        if flight.works.iter().any(|work| self.awaits(*work, batch)) {
            return false;
        }
        match (flight.kind, &flight.message) {
            (Kind::Collect, _) => false,
            (_, CaspaxosMessage::Accept { next, changes, .. }) => {
                next.is_zero() || !changes.iter().any(|change| self.may_prepare(change, *next))
            }
            _ => true,
        }
    }

    /// Whether a quorum's answers would spare the next attempt its Prepare.
    fn may_prepare(&self, change: &Change, next: Ballot) -> bool {
        let register = self.registers.get(change.key);
        register.is_some_and(|register| {
            let promised = register.promise == next && register.accepted == change.ballot;
            promised && !register.is_prepared
        })
    }

    /// Whether this replica ignores a message, now and whatever comes, unless it crashes. It may say no where
    /// that is true.
    pub fn ignores_for_ever(&self, from: NodeId, message: &CaspaxosMessage) -> bool {
        let is_over = |batch: &u64| match self.flights.all.get(batch) {
            Some(flight) => flight.answered.contains(from) || self.is_over(*batch, flight),
            None => *batch <= self.counter,
        };
        // Counters only rise.
        let is_known = |seen: &Ballot| seen.counter() <= self.counter;
        match message {
            CaspaxosMessage::Promise { batch, promises, .. } => {
                let known = |promise: &Promise| match promise {
                    Promise::Conflict(seen) => is_known(seen),
                    Promise::Accepted { .. } => true,
                };
                is_over(batch) && promises.iter().all(known)
            }
            CaspaxosMessage::Accepted { batch, conflicts } => {
                is_over(batch) && conflicts.iter().all(|(_, seen)| is_known(seen))
            }
            CaspaxosMessage::ReadOk { batch, .. } => is_over(batch),
            CaspaxosMessage::Forward { number, .. } => self.hosting.is_settled(from, *number),
            CaspaxosMessage::Forwarded { number, .. } => {
                !self.forwarding.awaits(*number) && *number <= self.counter
            }
            CaspaxosMessage::Removed { tombstones } => !self.awaits_removal(tombstones),
            CaspaxosMessage::Copies { removals, epoch, floor, copies, .. } => {
                *epoch < self.configuration.epoch
                    || *epoch == self.configuration.epoch
                        && !self.awaits_copies(from)
                        && !mutant!(OldCopiesTaken)
                        && (*removals < self.registers.removals() || self.holds(*floor, copies))
            }
            _ => false,
        }
    }

    /// Whether nothing is to be copied from these. Ballots and the floor only rise; where a register is removed,
    /// copies that were asked for before are not taken.
    fn holds(&self, floor: Ballot, copies: &[Change]) -> bool {
        let accepted = |key: Key| self.registers.get(key).map(|register| register.accepted);
        let older = |copy: &Change| accepted(copy.key).is_some_and(|held| held >= copy.ballot);
        floor <= self.registers.floor() && copies.iter().all(older)
    }
}
