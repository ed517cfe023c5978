//! Messages of a proposer that are under way: who has answered, who refused what, who is asked again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::message::CaspaxosMessage;
use super::works::Phase;
use super::{Caspaxos, CaspaxosTimer};
use crate::command::NodeId;
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Effect, Effects, Time};

/// How often a message whose work is done is looked at before it is forgotten: late answers still count for the
/// next Prepare that it brought, and for a removal.
const LOOKS_MAX: u8 = 2;

/// What a message is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Kind {
    Prepare,
    Accept,
    /// An Accept of tombstones, which every acceptor is to confirm.
    Collect,
    Read,
}

/// One message under way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Flight {
    pub(super) kind: Kind,
    /// The works that it is about, in the order of the message.
    pub(super) works: Arc<[u32]>,
    /// Whom it was sent to.
    pub(super) to: NodeSet,
    /// Who has answered, wholly.
    pub(super) answered: NodeSet,
    /// Who has answered in part, and up to which place.
    parts: BTreeMap<NodeId, usize>,
    /// Who refused one of the works, by its place; those that nobody refused are not here.
    pub(super) refused: BTreeMap<u32, NodeSet>,
    /// Whether a quorum has answered.
    pub(super) is_chosen: bool,
    /// Whether they are enough for the Prepare that it brings, too.
    pub(super) is_prepared: bool,
    pub(super) sent: Time,
    pub(super) looks: u8,
    pub(super) message: CaspaxosMessage,
}

/// All of them, by number.
#[derive(Clone, Default, Hash, Debug)]
pub(super) struct Flights {
    pub(super) all: BTreeMap<u64, Flight>,
    /// Whether the timer runs.
    is_armed: bool,
}

impl Flight {
    /// Who refused the work at this place.
    pub(super) fn refused_by(&self, place: u32) -> NodeSet {
        self.refused.get(&place).copied().unwrap_or_default()
    }

    /// Notes an answer; says whether it is the first of this replica.
    pub(super) fn note(&mut self, from: NodeId) -> bool {
        self.to.contains(from) && self.answered.insert(from)
    }

    /// Notes a part of an answer, about so many works from the one at `first` on; says which places it is the
    /// first to tell of. A part that comes before an earlier one is not taken: when this replica is asked
    /// again, it answers all again.
    pub(super) fn note_part(
        &mut self,
        from: NodeId,
        first: u32,
        count: usize,
    ) -> Option<Range<usize>> {
        let (first, end) = (first as usize, (first as usize).saturating_add(count));
        if !self.to.contains(from) || self.answered.contains(from) || end > self.works.len() {
            return None;
        }
        let known = self.parts.get(&from).copied().unwrap_or(0);
        if first > known || end <= known {
            return None;
        }
        if end == self.works.len() {
            self.parts.remove(&from);
            self.answered.insert(from);
        } else {
            self.parts.insert(from, end);
        }
        Some(known..end)
    }

    /// Whether all that were asked have said something of the work at this place.
    pub(super) fn is_answered_by_all(&self, place: usize) -> bool {
        let has_told = |node| self.parts.get(&node).is_some_and(|told| *told > place);
        self.to.minus(self.answered).iter().all(has_told)
    }
}

impl Caspaxos {
    /// Sends a message about some works, this replica included.
    pub(super) fn launch(
        &mut self,
        now: Time,
        (kind, batch): (Kind, u64),
        works: Vec<u32>,
        (to, message): (NodeSet, CaspaxosMessage),
        out: &mut Effects<Self>,
    ) {
        self.ask(to, message.clone(), out);
        let flight = Flight {
            kind,
            works: works.into(),
            to,
            answered: NodeSet::default(),
            parts: BTreeMap::new(),
            refused: BTreeMap::new(),
            is_chosen: false,
            is_prepared: false,
            sent: now,
            looks: 0,
            message,
        };
        self.flights.all.insert(batch, flight);
        self.arm_resend(out);
    }

    fn arm_resend(&mut self, out: &mut Effects<Self>) {
        if self.flights.is_armed || self.flights.all.is_empty() {
            return;
        }
        self.flights.is_armed = true;
        let resend = Duration::from_millis(self.options.resend_ms);
        out.push(Effect::Arm(CaspaxosTimer::Resend, resend / 2..resend));
    }

    /// A quorum has answered a message: says whether it is the first time, and notes how long that took. What was
    /// asked again and again tells how long somebody was away, not how far it is.
    pub(super) fn note_quorum(&mut self, now: Time, batch: u64) -> bool {
        let Some(flight) = self.flights.all.get_mut(&batch) else { return false };
        let is_first = !std::mem::replace(&mut flight.is_chosen, true);
        if is_first && flight.looks < LOOKS_MAX {
            self.round_trip = (self.round_trip * 7 + now.since(flight.sent)) / 8;
        }
        is_first
    }

    /// Whether a message is what a work waits for.
    pub(super) fn awaits(&self, work: u32, batch: u64) -> bool {
        let of_this = self.works.get(work).filter(|work| work.batch == batch);
        of_this.is_some_and(|work| !matches!(work.phase, Phase::Ready | Phase::BackingOff))
    }

    /// Asks again who has not answered; gives up what somebody refused and nobody decided.
    pub(super) fn on_resend_timer(&mut self, now: Time, out: &mut Effects<Self>) {
        self.flights.is_armed = false;
        let patience = Duration::from_millis(self.options.resend_ms) / 2;
        let old = self.flights.all.iter().filter(|(_, flight)| now.since(flight.sent) >= patience);
        for batch in old.map(|(batch, _)| *batch).collect::<Vec<_>>() {
            self.look_again(now, batch, out);
        }
        self.arm_resend(out);
    }

    fn look_again(&mut self, now: Time, batch: u64, out: &mut Effects<Self>) {
        let Some(flight) = self.flights.all.get(&batch) else { return };
        let (kind, works) = (flight.kind, flight.works.clone());
        let in_doubt: Vec<u32> = match kind {
            Kind::Read => works.to_vec(),
            _ => flight.refused.keys().map(|place| works[*place as usize]).collect(),
        };
        for work in in_doubt {
            if self.awaits(work, batch) {
                self.lose(now, work, out);
            }
        }
        let is_open = works.iter().any(|work| self.awaits(*work, batch));
        let Some(flight) = self.flights.all.get_mut(&batch) else { return };
        flight.looks = flight.looks.saturating_add(1);
        let silent = flight.to.minus(flight.answered);
        if is_open {
            let message = flight.message.clone();
            self.counters.resends += 1;
            self.ask(silent, message, out);
        } else if silent.is_empty() || flight.looks >= LOOKS_MAX {
            self.flights.all.remove(&batch);
            if kind == Kind::Collect && !silent.is_empty() {
                self.note_silence();
            }
        }
    }
}
