//! The attempt of a proposer on a register (§2.2, left to right): Prepare, f, Accept; or Accept at once where the
//! last Accept has brought the promises (§2.2.1).

use std::sync::Arc;
use std::time::Duration;

use super::ballot::Ballot;
use super::bundles::bundles;
use super::flights::Kind;
use super::members::Configuration;
use super::message::{CaspaxosMessage, Change, Promise};
use super::options::Reads;
use super::registers::NO_WORK;
use super::state::{Marks, State};
use super::works::{Attempt, Errand, Phase, Work};
use super::{Caspaxos, CaspaxosTimer};
use crate::command::{Key, NodeId, Outcome};
use crate::mutants::mutant;
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Effect, Effects, Time};

/// Attempts of a change whose end is unknown, at most. Beyond that nobody will know.
const ATTEMPTS_MAX: usize = 64;

/// Commands are composed into one change as long as what they return is not more than about so many bytes: each may
/// return what the register holds.
const OUTCOMES_BYTES_MAX: usize = 64 << 20;

/// The wait after a loss is doubled so often at most.
const DOUBLINGS_MAX: u8 = 12;

impl Caspaxos {
    /// Begins what is ready, and sends what this turn has made ready.
    pub(super) fn begin_attempts(&mut self, now: Time, out: &mut Effects<Self>) {
        let (mut prepares, mut reads) = (Vec::new(), Vec::new());
        while let Some(index) = self.ready.pop() {
            if self.leaves_instead(now, index) {
                self.end(index);
            } else {
                self.begin(index, &mut prepares, &mut reads, out);
            }
        }
        for prepares in bundles(prepares) {
            self.send_prepare(now, prepares, out);
        }
        for reads in bundles(reads) {
            self.send_read(now, reads, out);
        }
        for changes in bundles(std::mem::take(&mut self.changes)) {
            self.send_accept(now, Kind::Accept, changes, out);
        }
        for changes in bundles(std::mem::take(&mut self.last_changes)) {
            self.send_accept(now, Kind::Collect, changes, out);
        }
    }

    fn begin(
        &mut self,
        index: u32,
        prepares: &mut Vec<u32>,
        reads: &mut Vec<u32>,
        out: &mut Effects<Self>,
    ) {
        let Some(work) = self.works.get_mut(index) else { return };
        if work.commands.is_empty() {
            let held = self.registers.at_mut(work.place).state.value.as_ref();
            let room = OUTCOMES_BYTES_MAX / held.map_or(1, |value| value.len().max(1));
            let count = work.waiting.len().min(self.options.batch).min(room.max(1));
            work.commands.extend(work.waiting.drain(..count));
        }
        if work.is_done() {
            return self.end(index);
        }
        let register = self.registers.at_mut(work.place);
        let clean = self.options.reads == Reads::Clean && work.only_reads() && work.reads < 2;
        let prepared = register.is_prepared
            && register.promise.epoch() == self.configuration.epoch
            && self.options.one_round_trip;
        if clean {
            reads.push(index);
        } else if mutant!(PromiseUsedTwice) && !work.earlier.is_empty() {
            let (ballot, base, state) = (work.ballot, register.accepted, register.state.clone());
            self.propose(index, ballot, (base, &state), Ballot::ZERO, out);
        } else if prepared {
            // One ballot, one value: whatever becomes of this attempt, the promise is used up.
            register.is_prepared = false;
            let (ballot, base, state) =
                (register.promise, register.accepted, register.state.clone());
            self.counters.one_round_trip += 1;
            self.propose(index, ballot, (base, &state), Ballot::ZERO, out);
        } else {
            prepares.push(index);
        }
    }

    fn send_prepare(&mut self, now: Time, works: Vec<u32>, out: &mut Effects<Self>) {
        let batch = self.next_counter(out);
        let ballot = Ballot::new(self.configuration.epoch, batch, self.me);
        let mut keys = Vec::with_capacity(works.len());
        for index in &works {
            let Some(work) = self.works.get_mut(*index) else { continue };
            work.ballot = ballot;
            work.batch = batch;
            work.phase = Phase::Preparing {
                promised: NodeSet::default(),
                refused: NodeSet::default(),
                base: Ballot::ZERO,
                state: State::default(),
                floor: Ballot::ZERO,
            };
            keys.push(work.key);
        }
        self.counters.two_round_trips += works.len() as u64;
        let (keys, to): (Arc<[Key]>, _) = (keys.into(), self.configuration.preparers());
        let phase_us = self.round_trip.as_micros().min(u128::from(u32::MAX)) as u32;
        let message = CaspaxosMessage::Prepare { batch, ballot, phase_us, keys: keys.clone() };
        self.launch(now, (Kind::Prepare, batch), works, (to, message), out);
        if to.contains(self.me) {
            self.on_prepare(self.me, batch, ballot, &keys, out);
        }
    }

    /// An acceptor answers a Prepare.
    pub(super) fn on_promise(
        &mut self,
        now: Time,
        from: NodeId,
        (batch, first): (u64, u32),
        floor: Ballot,
        promises: Vec<Promise>,
        out: &mut Effects<Self>,
    ) {
        // Whatever it answers: to know of a higher ballot is never wrong.
        for promise in &promises {
            if let Promise::Conflict(seen) = promise {
                self.fast_forward(*seen);
            }
        }
        let Some(flight) = self.flights.all.get_mut(&batch) else { return };
        if flight.kind != Kind::Prepare {
            return;
        }
        let Some(places) = flight.note_part(from, first, promises.len()) else { return };
        let (works, answered) = (flight.works.clone(), flight.answered);
        let finished = answered == flight.to;
        if self.configuration.is_prepare_quorum(answered) {
            self.note_quorum(now, batch);
        }
        let promises = promises.into_iter().skip(places.start - first as usize);
        for (place, promise) in places.zip(promises) {
            let index = works[place];
            if let Promise::Conflict(_) = promise {
                self.counters.conflicts += 1;
                let flight = self.flights.all.get_mut(&batch).expect("it is under way");
                flight.refused.entry(place as u32).or_default().insert(from);
            }
            if self.awaits(index, batch) {
                self.take_promise(now, index, from, floor, promise, out);
            }
        }
        if finished {
            self.flights.all.remove(&batch);
        }
    }

    fn take_promise(
        &mut self,
        now: Time,
        index: u32,
        from: NodeId,
        its_floor: Ballot,
        promise: Promise,
        out: &mut Effects<Self>,
    ) {
        let configuration = self.configuration;
        let Some(work) = self.works.get_mut(index) else { return };
        let ballot = work.ballot;
        let Phase::Preparing { promised, refused, base, state, floor } = &mut work.phase else {
            return;
        };
        match promise {
            Promise::Conflict(seen) => {
                refused.insert(from);
                work.rival = work.rival.max(seen);
                if !configuration.can_prepare_without(*refused) {
                    self.lose(now, index, out);
                }
                return;
            }
            Promise::Accepted { ballot, state: accepted } => {
                promised.insert(from);
                *floor = its_floor.max(*floor);
                let higher = ballot > *base;
                let taken = if mutant!(LowestBallotWins) { !higher } else { higher };
                if taken || promised.len() == 1 {
                    (*base, *state) = (ballot, accepted);
                }
            }
        }
        if configuration.is_prepare_quorum(*promised) || mutant!(OnePromiseIsEnough) {
            let (base, state, floor) = (*base, std::mem::take(state), *floor);
            self.propose(index, ballot, (base, &state), floor, out);
        }
    }

    /// Applies f to the state that a prepare quorum has reported, which was accepted in `base`. If an earlier
    /// attempt is among its ancestors, what it returned stands, and the state is written as it is: until
    /// something that comes of it is accepted by a quorum, it may not have been chosen.
    fn propose(
        &mut self,
        index: u32,
        ballot: Ballot,
        (base, state): (Ballot, &State),
        floor: Ballot,
        out: &mut Effects<Self>,
    ) {
        let Some(work) = self.works.get_mut(index) else { return };
        let born = base.is_zero();
        let marks = if born { Marks::forgetting(floor) } else { state.marks.after(base, self.me) };
        let took_effect =
            if mutant!(RetryAppliedAgain) { None } else { work.took_effect(base, state) };
        let value = match took_effect {
            Some(attempt) => {
                work.outcomes = attempt.outcomes.clone();
                self.counters.applied_before += 1;
                state.value.clone()
            }
            None if work.is_forgotten(marks.forgotten()) && !mutant!(ForgottenAppliedAgain) => {
                return self.give_up(index, out);
            }
            None => work.apply(state),
        };
        let first = || Configuration::first(self.cluster, &self.options);
        let Some((value, kind)) = run_errand(work, value, first) else {
            // A register that somebody has written meanwhile is not removed; nothing else was asked.
            return self.finish(index, out);
        };
        work.phase = Phase::Accepting;
        // It awaits nothing until its Accept is sent: late answers to its Prepare, or none, do not end it.
        (work.ballot, work.base, work.batch) = (ballot, base, 0);
        let change = Change { key: work.key, ballot, state: State { value, marks } };
        match kind {
            Kind::Collect => self.last_changes.push((index, change)),
            _ => self.changes.push((index, change)),
        }
    }

    fn send_accept(
        &mut self,
        now: Time,
        kind: Kind,
        changes: Vec<(u32, Change)>,
        out: &mut Effects<Self>,
    ) {
        let batch = self.next_counter(out);
        let piggybacks = kind == Kind::Accept && self.options.one_round_trip;
        let next = match piggybacks {
            true => Ballot::new(self.configuration.epoch, batch, self.me),
            false => Ballot::ZERO,
        };
        let (works, changes): (Vec<u32>, Vec<Change>) = changes.into_iter().unzip();
        for index in &works {
            if let Some(work) = self.works.get_mut(*index) {
                work.batch = batch;
            }
        }
        self.counters.changes += works.len() as u64;
        let (changes, to): (Arc<[Change]>, _) = (changes.into(), self.configuration.members());
        let message = CaspaxosMessage::Accept { batch, next, changes: changes.clone() };
        self.launch(now, (kind, batch), works, (to, message), out);
        if to.contains(self.me) {
            self.on_accept(self.me, batch, next, &changes, out);
        }
    }

    /// An acceptor answers an Accept.
    pub(super) fn on_accepted(
        &mut self,
        now: Time,
        from: NodeId,
        batch: u64,
        conflicts: &[(u32, Ballot)],
        out: &mut Effects<Self>,
    ) {
        for (_, seen) in conflicts {
            self.fast_forward(*seen);
        }
        let Some(flight) = self.flights.all.get_mut(&batch) else { return };
        let is_accept = matches!(flight.kind, Kind::Accept | Kind::Collect);
        let within = conflicts.iter().all(|(place, _)| (*place as usize) < flight.works.len());
        if !is_accept || !within || !flight.note(from) {
            return;
        }
        for (place, seen) in conflicts {
            flight.refused.entry(*place).or_default().insert(from);
            let work = self.works.get_mut(flight.works[*place as usize]);
            if let Some(work) = work.filter(|work| work.batch == batch) {
                work.rival = work.rival.max(*seen);
            }
        }
        self.counters.conflicts += conflicts.len() as u64;
        self.look_at_accepts(now, batch, out);
        let Some(flight) = self.flights.all.get(&batch) else { return };
        let early = flight.is_chosen && mutant!(RemovedWithoutFullQuorum);
        if flight.answered == flight.to || early {
            if flight.kind == Kind::Collect {
                self.begin_removal(batch, out);
            }
            self.flights.all.remove(&batch);
        }
    }

    /// Ends the works of an Accept that a quorum has confirmed, and those that none can confirm any more.
    fn look_at_accepts(&mut self, now: Time, batch: u64, out: &mut Effects<Self>) {
        let configuration = self.configuration;
        let Some(answered) = self.flights.all.get(&batch).map(|flight| flight.answered) else {
            return;
        };
        let is_quorum = configuration.is_accept_quorum(answered) || mutant!(OneAcceptedIsEnough);
        let is_first = is_quorum && self.note_quorum(now, batch);
        let Some(flight) = self.flights.all.get_mut(&batch) else { return };
        let brought = match &flight.message {
            CaspaxosMessage::Accept { next, .. } => *next,
            _ => Ballot::ZERO,
        };
        let is_prepared = |confirmed: NodeSet| {
            configuration.is_prepare_quorum(confirmed) || mutant!(AcceptQuorumPrepares)
        };
        let prepares = is_quorum && !brought.is_zero() && is_prepared(answered);
        let newly_prepared = prepares && !std::mem::replace(&mut flight.is_prepared, prepares);
        // What nobody refused is done all at once; of the rest each is looked at with each answer.
        let places: Vec<u32> = if is_first || newly_prepared {
            (0..flight.works.len() as u32).collect()
        } else {
            flight.refused.keys().copied().collect()
        };
        let (works, all_refused) = (flight.works.clone(), flight.refused.clone());
        for place in places {
            let refused = all_refused.get(&place).copied().unwrap_or_default();
            let (index, confirmed) = (works[place as usize], answered.minus(refused));
            let is_chosen =
                configuration.is_accept_quorum(confirmed) || mutant!(OneAcceptedIsEnough);
            if prepares && is_chosen && is_prepared(confirmed) {
                self.note_prepared(index, (batch, place), brought);
            }
            if !self.awaits(index, batch) {
                continue;
            }
            if is_chosen {
                self.counters.chosen += 1;
                self.finish(index, out);
            } else if !configuration.can_accept_without(refused) {
                self.lose(now, index, out);
            }
        }
    }

    /// A prepare quorum has accepted a change and promised the next ballot on its register.
    fn note_prepared(&mut self, index: u32, (batch, at): (u64, u32), next: Ballot) {
        let work = self.works.get(index).filter(|work| work.batch == batch);
        let (place, ballot) = if let Some(work) = work {
            (Some(work.place), work.ballot)
        } else {
            // The work is done; the quorum of the Prepare is the larger one.
            let flight = self.flights.all.get(&batch);
            let Some(CaspaxosMessage::Accept { changes, .. }) = flight.map(|f| &f.message) else {
                return;
            };
            let change = &changes[at as usize];
            (self.registers.place(change.key), change.ballot)
        };
        let Some(place) = place else { return };
        let register = self.registers.at_mut(place);
        if register.promise == next && register.accepted == ballot {
            register.is_prepared = true;
        }
    }

    /// The change was chosen: its clients are told.
    pub(super) fn finish(&mut self, index: u32, out: &mut Effects<Self>) {
        let Some(work) = self.works.get_mut(index) else { return };
        let (commands, outcomes) =
            (std::mem::take(&mut work.commands), std::mem::take(&mut work.outcomes));
        assert_eq!(commands.len(), outcomes.len(), "each command has an outcome");
        let errand = work.errand.take();
        work.earlier.clear();
        (work.losses, work.reads) = (0, 0);
        for (command, outcome) in commands.into_iter().zip(outcomes) {
            self.tell(command.id, outcome, out);
        }
        self.go_on(index);
        if let Some(Errand::Configure { to, .. }) = errand.as_deref() {
            self.on_configure(self.me, *to, out);
        }
    }

    /// Nobody knows, or will know, whether an attempt took effect.
    fn give_up(&mut self, index: u32, out: &mut Effects<Self>) {
        let Some(work) = self.works.get_mut(index) else { return };
        let commands = std::mem::take(&mut work.commands);
        work.outcomes.clear();
        work.earlier.clear();
        work.errand = None;
        for command in commands {
            self.tell(command.id, Outcome::Unknown, out);
        }
        self.go_on(index);
    }

    fn go_on(&mut self, index: u32) {
        if self.works.get(index).is_some_and(Work::is_done) {
            self.end(index);
        } else {
            self.make_ready(index);
        }
    }

    /// The work begins an attempt when the turn ends.
    pub(super) fn make_ready(&mut self, index: u32) {
        if let Some(work) = self.works.get_mut(index) {
            work.phase = Phase::Ready;
            self.ready.push(index);
        }
    }

    fn end(&mut self, index: u32) {
        if let Some(work) = self.works.remove(index) {
            self.registers.at_mut(work.place).work = NO_WORK;
            self.registers.drop_unused(work.place);
        }
    }

    /// Another proposer was faster, or nobody answers: the attempt is over, and its end unknown if its Accept was
    /// sent. The wait is random, so that two proposers do not overtake each other for ever.
    pub(super) fn lose(&mut self, now: Time, index: u32, out: &mut Effects<Self>) {
        if !self.abandon(index, out) {
            return;
        }
        let Some(work) = self.works.get_mut(index) else { return };
        if matches!(work.errand.as_deref(), Some(Errand::Collect)) {
            // Somebody uses the register. To remove it must never be in anybody's way.
            work.errand = None;
            if work.is_done() {
                return self.end(index);
            }
        }
        work.losses = work.losses.saturating_add(1);
        work.phase = Phase::BackingOff;
        let (doublings, rival) = (work.losses.min(DOUBLINGS_MAX), std::mem::take(&mut work.rival));
        self.counters.losses += 1;
        // By the time of the next attempt the rival may have gone on by some changes: leap over them.
        self.counter += 1 << doublings;
        if self.leaves_after_loss(now, index, rival) {
            return self.end(index);
        }
        if self.backing_off.is_empty() {
            let longest = Duration::from_millis(self.options.backoff_max_ms);
            let wait = self.round_trip.saturating_mul(1 << doublings).min(longest);
            let others = self.phase_of(rival).min(longest);
            out.push(Effect::Arm(CaspaxosTimer::Backoff, others..others + wait));
        }
        self.backing_off.push(index);
    }

    /// How long the proposer of a ballot needs for a phase. Who is near the others and has lost against one that
    /// is far lets it come to its end first: else the far one would never get through.
    fn phase_of(&self, ballot: Ballot) -> Duration {
        let known = self.phases.get(usize::from(ballot.proposer().0)).copied();
        known.filter(|_| !ballot.is_zero()).unwrap_or_default()
    }

    /// A proposer says how long a phase takes it.
    pub(super) fn note_rival(&mut self, from: NodeId, phase_us: u32) {
        self.phases[usize::from(from.0)] = Duration::from_micros(u64::from(phase_us));
    }

    /// Ends an attempt without an answer; says whether the work is to go on.
    pub(super) fn abandon(&mut self, index: u32, out: &mut Effects<Self>) -> bool {
        let Some(work) = self.works.get_mut(index) else { return false };
        match work.phase {
            // An errand may be done twice; and what was not sent left nothing anywhere.
            Phase::Accepting if work.commands.is_empty() || work.batch == 0 => {}
            Phase::Accepting => {
                let outcomes = std::mem::take(&mut work.outcomes);
                work.earlier.push(Attempt { ballot: work.ballot, outcomes });
            }
            Phase::Reading { .. } => {
                work.reads += 1;
                self.counters.clean_reads_in_vain += 1;
            }
            _ => {}
        }
        if work.earlier.len() > ATTEMPTS_MAX {
            self.give_up(index, out);
            return false;
        }
        true
    }
}

/// What an errand makes of a register's value, and how it is written; none if there is nothing to write.
fn run_errand(
    work: &mut Work,
    value: Option<crate::command::Value>,
    first: impl FnOnce() -> Configuration,
) -> Option<(Option<crate::command::Value>, Kind)> {
    match work.errand.as_deref_mut() {
        None => Some((value, Kind::Accept)),
        Some(Errand::Collect) if value.is_none() => Some((value, Kind::Collect)),
        Some(Errand::Collect) => {
            work.errand = None;
            (!work.commands.is_empty()).then_some((value, Kind::Accept))
        }
        Some(Errand::Configure { from, to }) => {
            let held = value.as_deref().and_then(Configuration::from_value).unwrap_or_else(first);
            if held != *from && !mutant!(ConfigurationOverwritten) {
                // Somebody else was first: that is what is told.
                *to = held;
                return Some((value, Kind::Accept));
            }
            Some((Some(to.to_value()), Kind::Accept))
        }
    }
}
