//! Who lags is sent what it lacks, and who is new everything.
//!
//! *Repair:* from time to time a replica compares the digest of what it holds with another's. If they differ, and
//! nobody writes just now, it asks for the registers in those buckets that differ. A proposer goes on as soon as a
//! quorum has accepted, so this is how the others catch up after a fault.
//!
//! *Rescan* (§2.2.2): in a joint configuration each of the new acceptors asks those before for all that they hold.
//!
//! *An old answer* could bring back what was removed in between. So an answer repeats how many removals its asker
//! had carried out when it asked; if that has changed, it is asked again.

use std::time::Duration;

use super::ballot::Ballot;
use super::message::{CaspaxosMessage, CaspaxosRecord, Change, Part, Rest};
use super::registers::{BUCKETS, bucket_of};
use super::{Caspaxos, CaspaxosTimer};
use crate::command::NodeId;
use crate::mutants::mutant;
use crate::protocol::{Effect, Effects};

/// Buckets asked for at a time.
const BUCKETS_A_PULL: usize = 16;

/// Registers in one answer, at most, and their bytes, about.
const COPIES_MAX: usize = 4096;
const COPIES_BYTES_MAX: usize = 4 << 20;

impl Caspaxos {
    /// Compares with the next of the other members.
    pub(super) fn on_repair_timer(&mut self, out: &mut Effects<Self>) {
        let repair = Duration::from_millis(self.options.repair_ms);
        out.push(Effect::Arm(CaspaxosTimer::Repair, repair / 2..repair));
        self.registers.tick();
        self.look_for_lost_change();
        let others: Vec<NodeId> = self.configuration.members().without(self.me).iter().collect();
        if others.is_empty() || !self.configuration.members().contains(self.me) {
            return;
        }
        self.asked = self.asked.wrapping_add(1);
        let digest = self.registers.digest();
        out.send(others[self.asked % others.len()], CaspaxosMessage::Compare { digest });
    }

    pub(super) fn on_compare(&mut self, from: NodeId, digest: u64, out: &mut Effects<Self>) {
        if digest != self.registers.digest() {
            let buckets = self.registers.digests().to_vec();
            out.send(from, CaspaxosMessage::Digests { buckets });
        }
    }

    pub(super) fn on_digests(&mut self, from: NodeId, theirs: &[u64], out: &mut Effects<Self>) {
        let own = self.registers.digests();
        let differs = |bucket: &usize| own[*bucket] != theirs[*bucket];
        let quiet = |bucket: &usize| self.registers.is_quiet(*bucket);
        let asked = (0..BUCKETS).filter(differs).filter(quiet).take(BUCKETS_A_PULL);
        let asked: Vec<u16> = asked.map(|bucket| bucket as u16).collect();
        if !asked.is_empty() {
            self.pull(from, Part::Buckets(asked), out);
        }
    }

    pub(super) fn pull(&mut self, from: NodeId, part: Part, out: &mut Effects<Self>) {
        let (removals, epoch) = (self.registers.removals(), self.configuration.epoch);
        let message = CaspaxosMessage::Pull { removals, epoch, part };
        let after = out.last_write();
        out.send_after(from, message, after);
    }

    /// Sends what is held here, to who is in the same configuration.
    pub(super) fn on_pull(
        &mut self,
        from: NodeId,
        removals: u64,
        epoch: u16,
        part: &Part,
        out: &mut Effects<Self>,
    ) {
        if epoch != self.configuration.epoch {
            if epoch > self.configuration.epoch {
                self.answer(from, CaspaxosMessage::WhichConfiguration, out);
            } else {
                self.answer(from, CaspaxosMessage::Configure(self.configuration), out);
            }
            return;
        }
        let first = if let Part::From(place) = part { *place } else { 0 };
        let is_rescan = matches!(part, Part::From(_));
        let mut rest = if is_rescan { Rest::Nothing } else { Rest::Buckets };
        let (mut copies, mut bytes) = (Vec::new(), 0);
        for place in first..self.registers.places() {
            let Some(register) = self.registers.at(place) else { continue };
            let wanted = match part {
                Part::Buckets(buckets) => {
                    buckets.binary_search(&(bucket_of(register.key) as u16)).is_ok()
                }
                Part::From(_) => true,
            };
            if !wanted || register.accepted.is_zero() {
                continue;
            }
            if copies.len() == COPIES_MAX || bytes > COPIES_BYTES_MAX {
                if is_rescan {
                    rest = Rest::From(place);
                }
                break;
            }
            bytes += register.state.value.as_ref().map_or(0, |value| value.len());
            let (key, ballot, state) = (register.key, register.accepted, register.state.clone());
            copies.push(Change { key, ballot, state });
        }
        let floor = self.registers.floor();
        let message = CaspaxosMessage::Copies { removals, epoch, rest, floor, copies };
        self.answer(from, message, out);
    }

    /// Takes what is newer than what is here.
    pub(super) fn on_copies(
        &mut self,
        from: NodeId,
        (removals, epoch): (u64, u16),
        rest: Rest,
        floor: Ballot,
        copies: Vec<Change>,
        out: &mut Effects<Self>,
    ) {
        // Who was an acceptor may hold what was removed since.
        if epoch != self.configuration.epoch || !self.configuration.members().contains(from) {
            return;
        }
        let is_old = removals != self.registers.removals() && !mutant!(OldCopiesTaken);
        if !is_old {
            self.take_copies(floor, copies, out);
        }
        self.on_rescanned(from, rest, is_old, out);
    }

    fn take_copies(&mut self, floor: Ballot, mut copies: Vec<Change>, out: &mut Effects<Self>) {
        let raised = floor > self.registers.floor();
        copies.retain(|copy| self.registers.copy(copy));
        self.registers.raise_floor(floor);
        self.counters.copied += copies.len() as u64;
        if !copies.is_empty() || raised {
            out.persist(CaspaxosRecord::Copied { copies, floor });
        }
    }
}
