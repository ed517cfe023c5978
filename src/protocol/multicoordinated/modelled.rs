//! What an exhaustive exploration must know of a replica beside what it does.

use std::hash::{Hash, Hasher};

use super::Multicoordinated;
use super::instance::Instance;
use super::message::{MulticoordinatedMessage, Stream};
use super::names::Name;
use super::round::{RType, Round};
use crate::command::NodeId;
use crate::mutants::mutant;
use crate::protocol::WriteId;

/// What no step looks at tells no states apart: what is counted, what time it was, the numbers of writes but for how far
/// those are that are under way, and what is left of rounds that are over.
impl Hash for Multicoordinated {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Every field is named, so that who adds one is asked what it is here.
        let Multicoordinated {
            me,
            cluster: _,
            options: _,
            quorums: _,
            now: _,
            life,
            born,
            major,
            major_edge,
            standing,
            any,
            coordinating,
            fresh,
            opening,
            base,
            instances,
            executing,
            proposing,
            proposals,
            next_number,
            own,
            own_bytes,
            requests,
            election,
            leader,
            leading,
            highest_standing,
            highest,
            replay,
            to_self,
            durable: _,
            executed_below,
            state_sent,
            learned_sent,
            relaying,
            lagging_asked,
            asked,
            told,
            counters: _,
        } = self;
        (me, life, self.under_way(*born), major, self.under_way(*major_edge)).hash(state);
        (standing, any, coordinating, fresh, opening, highest_standing, highest).hash(state);
        (base, executing, proposing, proposals, next_number).hash(state);
        (own, own_bytes, requests, election, leader, leading, replay).hash(state);
        for (after, message) in to_self {
            (self.under_way(*after), message).hash(state);
        }
        (executed_below, state_sent, learned_sent, relaying).hash(state);
        (lagging_asked, asked, told).hash(state);
        for (number, held) in (*base..).zip(instances) {
            self.hash_instance(number, held, state);
        }
    }
}

impl Multicoordinated {
    fn under_way(&self, write: WriteId) -> u64 {
        write.0.saturating_sub(self.durable.0)
    }

    fn hash_instance(&self, number: u64, held: &Instance, state: &mut impl Hasher) {
        let Instance {
            classes: _,
            last,
            coordinated,
            phase1,
            accepted,
            learned,
            coordinators,
            acceptors,
            forwarded,
            votes,
            collided,
            // It follows from what was proposed and learned.
            unlearned: _,
            touched,
            attempts,
            is_blocked,
            is_ending,
        } = held;
        last.hash(state);
        if last.len() > 1 {
            // It goes by the numbers of classes, which the commands know.
            let asked = self.proposals.of(number).map(|(_, parcel)| &parcel.classes);
            asked.for_each(|classes| classes.hash(state));
        }
        (coordinated, phase1, learned, coordinators, acceptors, votes).hash(state);
        (accepted.rnd, accepted.vrnd, &accepted.vval, &accepted.contains).hash(state);
        (accepted.written, self.under_way(accepted.edge), accepted.deferred.len()).hash(state);
        // Coordinators agree on one node of a command at most, so its name is enough.
        accepted.deferred.iter().for_each(|(name, _)| name.hash(state));
        (collided, touched, attempts, is_blocked, is_ending).hash(state);
        // A later round has a tally of its own.
        let rnd = self.rnd(number);
        let is_over = |round: Round| round < rnd && !mutant!(LowRoundAccepted);
        forwarded.as_ref().filter(|(round, _)| !is_over(*round)).hash(state);
    }

    /// Whether this replica ignores a message, now and whatever comes, unless it crashes. It may say no where that is
    /// true.
    ///
    /// - *1b* of a round that has begun here, or that is none of this replica's.
    /// - *2b* of a round below one that their sender has accepted in since.
    /// - *TooLow* of a round whose Phase 1 is over here, or is none of this replica's.
    /// - *Want* of a round that is over here, *Learned* and *State* of what is executed, *Relay* and *Commands* that
    ///   bring nothing new.
    ///
    /// Rounds, once begun, joined or accepted in, only rise, and so does what is executed. Two things are not for ever,
    /// and are left to the configurations. Where proposals go may be set back when a check timer runs out, but not where
    /// there is patience, as time stands still. And instances are forgotten, and who asks for them gets the state: not
    /// before two more are executed, of which the models know nothing.
    ///
    /// 2a messages and 1a messages are never ignored: as soon as their round is too low, their sender is told.
    pub fn ignores_for_ever(&self, from: NodeId, message: &MulticoordinatedMessage) -> bool {
        if !self.is_quiet() {
            return false;
        }
        match message {
            MulticoordinatedMessage::Phase1b { round, instance, onwards, .. } => {
                self.knows(*round)
                    && (!self.takes_part(*round)
                        || match onwards {
                            true => self.has_opened(*round),
                            false => self.has_begun(*round, *instance),
                        })
            }
            MulticoordinatedMessage::Phase2bPrefix { round, instance, .. }
            | MulticoordinatedMessage::Phase2b { round, instance, .. } => {
                let has_moved_on = |held: &Instance| {
                    held.acceptors[usize::from(from.0)].round > *round && self.highest >= *round
                };
                *instance < self.base || self.instance(*instance).is_some_and(has_moved_on)
            }
            MulticoordinatedMessage::TooLow { round, instance, rnd } => {
                self.knows(*rnd) && !self.may_ask_for(*round, *instance)
            }
            MulticoordinatedMessage::Want { stream, round, instance, .. } => {
                let is_over = |held: &Instance| match stream {
                    Stream::Coordinator => held.crnd() > *round,
                    Stream::Acceptor => held.accepted.vrnd > *round,
                };
                *instance < self.base || self.instance(*instance).is_some_and(is_over)
            }
            MulticoordinatedMessage::Relay { proposers } => {
                proposers.minus(self.relays_to(from)).is_empty()
            }
            MulticoordinatedMessage::Commands { proposer, instance, first, .. } => {
                let name = Name { proposer: *proposer, number: *first };
                let same = self
                    .proposals
                    .find(name)
                    .is_some_and(|held| held.first == *first && held.instance == *instance);
                same && self.never_proposes_before(*instance)
            }
            MulticoordinatedMessage::Learned { instance, .. } => *instance < self.executing,
            MulticoordinatedMessage::State { instance, .. } => *instance <= self.executing,
            _ => false,
        }
    }

    /// Whether nothing is left to be done in the next turn, whatever begins it.
    fn is_quiet(&self) -> bool {
        let sent = |held: &Instance| {
            let coordinated = held.coordinated.as_ref();
            coordinated.is_none_or(|coordinated| {
                let sent = coordinated.sent == coordinated.cval.length();
                sent || coordinated.crnd.kind == RType::Uncoordinated
            })
        };
        let quiet = |held: &Instance| {
            let accepted = &held.accepted;
            sent(held) && accepted.written >= accepted.vval.length()
        };
        let next = self.instance(self.executing).map(|held| &held.learned);
        let is_executed = next.is_none_or(|learned| learned.executed == learned.value.length());
        let hears = self.to_self.iter().any(|(after, _)| *after <= self.durable);
        self.requests.is_empty() && !hears && is_executed && self.instances.iter().all(quiet)
    }

    fn knows(&self, round: Round) -> bool {
        round <= self.highest && round.major <= self.major
    }

    /// Whether this life of this replica may act in a round as one of its coordinators, or as its creator.
    fn takes_part(&self, round: Round) -> bool {
        self.coordinates(round) && round.major >= self.life
    }

    fn has_opened(&self, round: Round) -> bool {
        self.coordinating.is_some_and(|(begun, _)| begun >= round)
    }

    /// Whether a round of an instance has begun, and proposals go to the next if they are to.
    fn has_begun(&self, round: Round, instance: u64) -> bool {
        let Some(held) = self.instance(instance) else { return false };
        let is_noted = round.kind != RType::Single
            || held.is_ending && self.never_proposes_before(instance + 1);
        held.crnd() >= round && is_noted
    }

    /// Whether proposals go to this instance or later ones, from now on.
    fn never_proposes_before(&self, instance: u64) -> bool {
        let is_over = instance <= self.executing;
        self.proposing >= instance && (is_over || !self.fallback().is_zero())
    }

    /// Whether this replica asks for promises of a round, or still may.
    fn may_ask_for(&self, round: Round, instance: u64) -> bool {
        let opens = self.opening.as_ref().is_some_and(|(phase1, _)| phase1.round == round);
        let held = self.instance(instance);
        let running = held.and_then(|held| held.phase1.as_ref());
        let asks = opens || running.is_some_and(|phase1| phase1.round == round);
        let has_begun = held.is_some_and(|held| held.crnd() >= round);
        asks || self.takes_part(round) && !(self.has_opened(round) && has_begun)
    }
}
