//! Who lags is sent what it lacks, and who is new everything.
//!
//! *Repair:* from time to time a replica compares the digest of what it holds with another's. If they differ, and
//! nobody writes just now, it asks for the registers in those buckets that differ. A proposer goes on as soon as a
//! quorum has accepted, so this is how the others catch up after a fault. Who was sent something new compares again
//! at once: who has missed much catches up with as many registers a round as a message holds, not a period.
//!
//! *Rescan* (§2.2.2): in a joint configuration each of the new acceptors asks those before for all that they hold.
//!
//! *An old answer* could bring back what was removed in between. So an answer repeats how many removals its asker
//! had carried out when it asked; if that has changed, it is asked again.

use std::time::Duration;

use super::ballot::Ballot;
use super::message::{CaspaxosMessage, CaspaxosRecord, Change, Part, Rest};
use super::registers::{BUCKETS, Register, bucket_of};
use super::{Caspaxos, CaspaxosTimer};
use crate::command::NodeId;
use crate::mutants::mutant;
use crate::protocol::{Effect, Effects};

/// Buckets asked for at a time.
const BUCKETS_A_PULL: usize = 64;

/// Registers in one answer, at most, and their bytes, about.
const COPIES_MAX: usize = 4096;
const COPIES_BYTES_MAX: usize = 4 << 20;

/// The copies of one answer.
#[derive(Default)]
struct Batch {
    copies: Vec<Change>,
    bytes: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.copies.len() >= COPIES_MAX || self.bytes > COPIES_BYTES_MAX
    }

    fn is_overfull(&self) -> bool {
        self.copies.len() >= 2 * COPIES_MAX || self.bytes > 2 * COPIES_BYTES_MAX
    }

    /// Adds what a register holds, if anything was ever accepted.
    fn extend(&mut self, register: Option<&Register>) {
        let Some(register) = register.filter(|register| !register.accepted.is_zero()) else {
            return;
        };
        self.bytes += register.state.value.as_ref().map_or(0, smallvec::SmallVec::len);
        let (key, ballot, state) = (register.key, register.accepted, register.state.clone());
        self.copies.push(Change { key, ballot, state });
    }
}

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
        self.compare(others[self.asked % others.len()], out);
    }

    fn compare(&self, with: NodeId, out: &mut Effects<Self>) {
        out.send(with, CaspaxosMessage::Compare { digest: self.registers.digest() });
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
        if !self.is_of_this_epoch(from, epoch, out) {
            return;
        }
        let (copies, rest) = match part {
            Part::From(first) => self.copies_from(*first),
            Part::Buckets(buckets) => (self.copies_in(buckets), Rest::Buckets),
        };
        let floor = self.registers.floor();
        let message = CaspaxosMessage::Copies { removals, epoch, rest, floor, copies };
        self.answer(from, message, out);
    }

    /// As many registers as there is room for, from a place on.
    fn copies_from(&self, first: u32) -> (Vec<Change>, Rest) {
        let mut batch = Batch::default();
        for place in first..self.registers.end() {
            if batch.is_full() {
                return (batch.copies, Rest::From(place));
            }
            batch.extend(self.registers.at(place));
        }
        (batch.copies, Rest::Nothing)
    }

    /// The registers of as many of these buckets as there is room for. The last of them is sent whole, up to
    /// twice the room: a bucket of which a part is sent differs still, and would be asked for again.
    fn copies_in(&self, buckets: &[u16]) -> Vec<Change> {
        let mut places = vec![Vec::new(); buckets.len()];
        for (place, register) in self.registers.iter() {
            if let Ok(at) = buckets.binary_search(&(bucket_of(register.key) as u16)) {
                places[at].push(place);
            }
        }
        let mut batch = Batch::default();
        for places in places {
            if batch.is_full() {
                break;
            }
            for place in places {
                if batch.is_overfull() {
                    break;
                }
                batch.extend(self.registers.at(place));
            }
        }
        batch.copies
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
        let is_acceptor =
            self.configuration.members().contains(from) || mutant!(CopiesOfLeaversTaken);
        if epoch != self.configuration.epoch || !is_acceptor {
            return;
        }
        let is_old = removals != self.registers.removals() && !mutant!(OldCopiesTaken);
        let news = !is_old && self.take_copies(floor, copies, out);
        if news && rest == Rest::Buckets {
            self.compare(from, out);
        }
        self.on_rescanned(from, rest, is_old, out);
    }

    /// Says whether any of them was newer.
    fn take_copies(
        &mut self,
        floor: Ballot,
        mut copies: Vec<Change>,
        out: &mut Effects<Self>,
    ) -> bool {
        let raised = floor > self.registers.floor();
        copies.retain(|copy| self.registers.copy(copy));
        self.registers.raise_floor(floor);
        self.counters.copied += copies.len() as u64;
        let news = !copies.is_empty();
        if news || raised {
            out.persist(CaspaxosRecord::Copied { copies, floor });
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::CaspaxosOptions;
    use super::super::state::State;
    use super::*;
    use crate::command::{Key, Value};
    use crate::protocol::{Cluster, Destination, Input, Protocol, Time};

    /// Two replicas, of which the first holds so many registers and the second none.
    fn one_lacks_all(registers: u64) -> [Caspaxos; 2] {
        let copy = |n: u64| Change {
            key: Key::register(n),
            ballot: Ballot::new(0, 1 + n, NodeId(0)),
            state: State { value: Some(Value::from_slice(&n.to_le_bytes())), ..State::default() },
        };
        let copies = (0..registers).map(copy).collect();
        let log = [CaspaxosRecord::Copied { copies, floor: Ballot::ZERO }];
        let core = |me, log: &[CaspaxosRecord]| {
            let (cluster, options) = (Cluster::of(2), CaspaxosOptions::default());
            Caspaxos::recover(NodeId(me), cluster, options, log.iter().cloned())
        };
        [core(0, &log), core(1, &[])]
    }

    /// Steps a core, then whom it sends to, until nothing is sent any more; counts the messages.
    fn step(cores: &mut [Caspaxos; 2], at: usize, input: Input<Caspaxos>) -> usize {
        let (mut effects, mut inputs, mut sent) = (Effects::default(), vec![(at, input)], 0);
        while let Some((at, input)) = inputs.pop() {
            cores[at].step(Time(0), input, &mut effects);
            for effect in effects.drain() {
                let Effect::Send { to: Destination::One(to), message, .. } = effect else {
                    continue;
                };
                let (to, from) = (usize::from(to.0), NodeId(at as u8));
                inputs.push((to, Input::Message { from, message }));
                sent += 1;
            }
        }
        sent
    }

    /// A period for each 64 of the buckets would be more than the end of a run is waited for.
    #[test]
    fn who_lacks_much_catches_up_in_the_period_in_which_it_notices() {
        for registers in [1, 3_000, 100_000] {
            let mut cores = one_lacks_all(registers);
            let sent = step(&mut cores, 1, Input::Timer(CaspaxosTimer::Repair));
            assert_eq!((sent, cores[1].registers().live()), (2, 0), "somebody may write just now");
            step(&mut cores, 1, Input::Timer(CaspaxosTimer::Repair));
            assert_eq!(cores[1].registers().live(), registers);
            assert_eq!(cores[1].registers().digest(), cores[0].registers().digest());
        }
    }
}
