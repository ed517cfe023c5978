//! Gets that write nothing ([`super::options::Reads::Clean`]): after the consistent quorums of RMWPaxos
//! (Skrzypczak, Schintke, Schütt, 2020).
//!
//! Acceptors say what they hold. Let R be those that have answered, b the highest ballot among their answers. If
//! R has one of every accept quorum, then no change that was acknowledged before the read began is above b; if
//! those of R that hold b are an accept quorum, what they hold was chosen. Then it may be returned: it writes
//! nothing and disturbs no writer. If they do not agree, somebody is writing.
//!
//! Who holds b as a copy that came after a promise of a higher ballot is not one of R: to whom it has promised
//! may not know of b.

use std::sync::Arc;

use super::Caspaxos;
use super::ballot::Ballot;
use super::bundles::parts;
use super::flights::Kind;
use super::message::{CaspaxosMessage, Seen};
use super::state::State;
use super::works::Phase;
use crate::command::{Key, NodeId};
use crate::mutants::mutant;
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Effects, Time};

impl Caspaxos {
    pub(super) fn send_read(&mut self, now: Time, works: Vec<u32>, out: &mut Effects<Self>) {
        let batch = self.next_counter(out);
        // What an acceptor holds that is none of the configuration is of no use.
        let is_acceptor = self.configuration.members().contains(self.me);
        let mut keys = Vec::with_capacity(works.len());
        for index in &works {
            let Some(work) = self.works.get_mut(*index) else { continue };
            work.batch = batch;
            work.phase = Phase::Reading {
                answered: NodeSet::default(),
                agree: NodeSet::default(),
                base: Ballot::ZERO,
                state: None,
            };
            let accepted = self.registers.at_mut(work.place).accepted;
            keys.push((work.key, if is_acceptor { accepted } else { Ballot::ZERO }));
        }
        let (keys, epoch): (Arc<[(Key, Ballot)]>, _) = (keys.into(), self.configuration.epoch);
        let message = CaspaxosMessage::Read { batch, epoch, keys: keys.clone() };
        let to = self.configuration.members();
        self.launch(now, (Kind::Read, batch), works, (to, message), out);
        if to.contains(self.me) {
            self.on_read(self.me, batch, epoch, &keys, out);
        }
    }

    /// A proposer asks what is held here.
    pub(super) fn on_read(
        &mut self,
        from: NodeId,
        batch: u64,
        epoch: u16,
        keys: &[(Key, Ballot)],
        out: &mut Effects<Self>,
    ) {
        if !self.is_of_this_epoch(from, epoch, out) {
            return;
        }
        let seen = |(key, named): &(Key, Ballot)| {
            let register = self.registers.get(*key);
            if register.is_some_and(|register| register.is_borrowed)
                && !mutant!(BorrowedCopiesCount)
            {
                return Seen::Borrowed;
            }
            let ballot = register.map_or(Ballot::ZERO, |register| register.accepted);
            if ballot == *named && from != self.me {
                return Seen::Same;
            }
            let state = register.map(|register| register.state.clone());
            Seen::Other { ballot, state: state.unwrap_or_default() }
        };
        for (first, seen) in parts(keys.iter().map(seen).collect()) {
            self.answer(from, CaspaxosMessage::ReadOk { batch, first, seen }, out);
        }
    }

    /// An acceptor says what it holds.
    pub(super) fn on_read_ok(
        &mut self,
        now: Time,
        from: NodeId,
        (batch, first): (u64, u32),
        seen: Vec<Seen>,
        out: &mut Effects<Self>,
    ) {
        let Some(flight) = self.flights.all.get_mut(&batch) else { return };
        if flight.kind != Kind::Read {
            return;
        }
        let Some(places) = flight.note_part(from, first, seen.len()) else { return };
        let (works, answered) = (flight.works.clone(), flight.answered);
        let named = match &flight.message {
            CaspaxosMessage::Read { keys, .. } => keys.clone(),
            _ => return,
        };
        let over = answered == flight.to;
        let finished: Vec<bool> = places.clone().map(|at| flight.is_answered_by_all(at)).collect();
        if self.configuration.is_accept_quorum(answered) {
            self.note_quorum(now, batch);
        }
        let seen = seen.into_iter().skip(places.start - first as usize);
        for ((place, seen), finished) in places.zip(seen).zip(finished) {
            let (index, (_, named)) = (works[place], &named[place]);
            if self.awaits(index, batch) && self.take_seen(index, from, seen, *named) {
                self.counters.clean_reads += 1;
                self.finish_read(index, out);
            } else if self.awaits(index, batch) && finished {
                // They disagree: once more, then as a change. Nobody was disturbed, so nobody waits.
                let goes_on = self.abandon(index, out);
                debug_assert!(goes_on, "a read leaves no attempt");
                self.make_ready(index);
            }
        }
        if over {
            self.flights.all.remove(&batch);
        }
    }

    /// Notes what an acceptor holds; says whether that was chosen.
    fn take_seen(&mut self, index: u32, from: NodeId, seen: Seen, named: Ballot) -> bool {
        let configuration = self.configuration;
        let Some(work) = self.works.get_mut(index) else { return false };
        let Phase::Reading { answered, agree, base, state } = &mut work.phase else { return false };
        let (ballot, held) = match seen {
            // As if it had not answered.
            Seen::Borrowed => return false,
            // This replica's own answer says what that is.
            Seen::Same => (named, named.is_zero().then(State::default)),
            Seen::Other { ballot, state } => (ballot, Some(state)),
        };
        if answered.is_empty() || ballot > *base {
            (*base, *agree, *state) = (ballot, NodeSet::default(), None);
        }
        answered.insert(from);
        if ballot == *base {
            agree.insert(from);
            *state = state.take().or(held);
        }
        state.is_some()
            && (configuration.is_prepare_quorum(*answered) || mutant!(ReadAsksTooFew))
            && (configuration.is_accept_quorum(*agree) || mutant!(ReadNeedNotAgree))
    }

    /// Answers gets from a state that was chosen.
    fn finish_read(&mut self, index: u32, out: &mut Effects<Self>) {
        let Some(work) = self.works.get_mut(index) else { return };
        let Phase::Reading { state: Some(state), .. } = &mut work.phase else { return };
        let state = std::mem::take(state);
        work.apply(&state);
        self.finish(index, out);
    }
}
