//! Deleted registers are removed (§3.1).
//!
//! A deletion writes an empty value, the tombstone, with the usual quorum, and is acknowledged. Then, in the
//! background, for registers that were left alone for a while: (a) the tombstone is written again, at *every*
//! acceptor; (b) if one is down, that is tried again later, and with one register at a time until every acceptor has
//! confirmed one: else all tombstones would be written again and again for nothing; (c) every acceptor removes the
//! tombstone if it is still the one of that ballot, and raises its floor ([`super::registers`]).
//!
//! Who has written a tombstone sees to it; if that proposer does not, the others do, in turn.

use std::sync::Arc;
use std::time::Duration;

use super::ballot::Ballot;
use super::message::{CaspaxosMessage, CaspaxosRecord};
use super::registers::{NO_WORK, Register};
use super::works::Errand;
use super::{Caspaxos, CaspaxosTimer};
use crate::command::{Key, NodeId};
use crate::mutants::mutant;
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Effect, Effects};

/// Places of the table that are looked at each time.
const PLACES_A_LOOK: u32 = 16_384;

/// Removals begun each time, at most.
const COLLECTED_A_LOOK: usize = 4096;

/// Looks at the whole table until it is the next member's turn to remove what nobody has removed.
const ROUNDS_A_TURN: u32 = 16;

/// A Remove is sent again so often. Then whoever still has the tombstone begins anew.
const SENT_MAX: u8 = 4;

/// A Remove under way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Removal {
    tombstones: Arc<[(Key, Ballot)]>,
    awaited: NodeSet,
    sent: u8,
}

/// What there is to remove.
#[derive(Clone, Default, Hash, Debug)]
pub(super) struct Collecting {
    removals: Vec<Removal>,
    /// Where the next look begins.
    next_place: u32,
    /// How often the whole table was looked at.
    rounds: u32,
    /// Whether somebody has not answered the last collection, as far as is known.
    somebody_is_silent: bool,
}

impl Caspaxos {
    /// Looks at a part of the table for registers without a value that were left alone since the last look.
    pub(super) fn on_collect_timer(&mut self, out: &mut Effects<Self>) {
        let collect = Duration::from_millis(self.options.collect_ms);
        out.push(Effect::Arm(CaspaxosTimer::Collect, collect / 2..collect));
        self.send_removals_again(out);
        if !self.configuration.members().contains(self.me) || self.configuration.is_joint() {
            return;
        }
        let most = if self.collecting.somebody_is_silent { 1 } else { COLLECTED_A_LOOK };
        let first = self.collecting.next_place;
        let end = self.registers.end().min(first + PLACES_A_LOOK);
        let mut found = Vec::new();
        for place in first..end {
            let Some(register) = self.registers.at(place) else { continue };
            let is_empty = register.state.value.is_none() && register.work == NO_WORK;
            if !is_empty || found.len() == most {
                continue;
            }
            if register.is_idle && self.sees_to(register) {
                found.push(register.key);
            }
            self.registers.at_mut(place).is_idle = true;
        }
        self.collecting.next_place = if end == self.registers.end() { 0 } else { end };
        self.collecting.rounds += u32::from(self.collecting.next_place == 0);
        self.counters.collected += found.len() as u64;
        for key in found {
            let index = self.work_on(key);
            if let Some(work) = self.works.get_mut(index) {
                work.errand = Some(Box::new(Errand::Collect));
            }
        }
    }

    /// Whether it is this replica's turn to remove a register: at first its last proposer's, then each member's.
    fn sees_to(&self, register: &Register) -> bool {
        let members: Vec<NodeId> = self.configuration.members().iter().collect();
        let last = register.accepted.proposer();
        let first = members.iter().position(|member| *member == last).unwrap_or(0);
        let turn = (self.collecting.rounds / ROUNDS_A_TURN) as usize;
        members[(first + turn) % members.len()] == self.me
    }

    /// Somebody has not answered for long: what was collected is not removed.
    pub(super) fn note_silence(&mut self) {
        self.collecting.somebody_is_silent = true;
    }

    /// Every acceptor has answered: those tombstones that none of them refused are everywhere.
    pub(super) fn begin_removal(&mut self, batch: u64, out: &mut Effects<Self>) {
        self.collecting.somebody_is_silent = false;
        let Some(flight) = self.flights.all.get(&batch) else { return };
        let everywhere = self.configuration.members().minus(flight.answered).is_empty()
            || mutant!(RemovedWithoutFullQuorum);
        let CaspaxosMessage::Accept { changes, .. } = &flight.message else { return };
        let changes = changes.iter().zip(0u32..);
        let unrefused = changes.filter(|(_, place)| flight.refused_by(*place).is_empty());
        let tombstones: Arc<[(Key, Ballot)]> =
            unrefused.map(|(change, _)| (change.key, change.ballot)).collect();
        if everywhere && !tombstones.is_empty() {
            self.remove_everywhere(tombstones, out);
        }
    }

    fn remove_everywhere(&mut self, tombstones: Arc<[(Key, Ballot)]>, out: &mut Effects<Self>) {
        let awaited = self.configuration.members().without(self.me);
        self.remove(&tombstones, out);
        self.ask(awaited, CaspaxosMessage::Remove { tombstones: tombstones.clone() }, out);
        if !awaited.is_empty() {
            self.collecting.removals.push(Removal { tombstones, awaited, sent: 1 });
        }
    }

    fn send_removals_again(&mut self, out: &mut Effects<Self>) {
        let mut removals = std::mem::take(&mut self.collecting.removals);
        removals.retain_mut(|removal| {
            removal.sent += 1;
            let message = CaspaxosMessage::Remove { tombstones: removal.tombstones.clone() };
            self.ask(removal.awaited, message, out);
            removal.sent < SENT_MAX
        });
        self.collecting.removals = removals;
    }

    fn remove(&mut self, tombstones: &[(Key, Ballot)], out: &mut Effects<Self>) {
        let intact = |(key, ballot): &(Key, Ballot)| self.registers.remove(*key, *ballot);
        let removed: Vec<(Key, Ballot)> = tombstones.iter().copied().filter(intact).collect();
        self.counters.removed += removed.len() as u64;
        if !removed.is_empty() {
            out.persist(CaspaxosRecord::Removed(removed));
        }
        // So that the next attempt here is above what was removed, and its first Prepare no conflict.
        self.fast_forward(self.registers.floor());
    }

    pub(super) fn on_remove(
        &mut self,
        from: NodeId,
        tombstones: &Arc<[(Key, Ballot)]>,
        out: &mut Effects<Self>,
    ) {
        self.remove(tombstones, out);
        let tombstones = tombstones.clone();
        self.answer(from, CaspaxosMessage::Removed { tombstones }, out);
    }

    /// Whether somebody has not said that it removed these. Each removal is begun once.
    pub(super) fn awaits_removal(&self, tombstones: &[(Key, Ballot)]) -> bool {
        self.collecting.removals.iter().any(|removal| *removal.tombstones == *tombstones)
    }

    pub(super) fn on_removed(&mut self, from: NodeId, tombstones: &Arc<[(Key, Ballot)]>) {
        self.collecting.removals.retain_mut(|removal| {
            if removal.tombstones == *tombstones {
                removal.awaited = removal.awaited.without(from);
            }
            !removal.awaited.is_empty()
        });
    }
}
