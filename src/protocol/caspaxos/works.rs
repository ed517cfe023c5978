//! What a proposer is doing: for each register that somebody wants changed, how far the attempt is.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use smallvec::SmallVec;

use super::ballot::Ballot;
use super::members::Configuration;
use super::state::State;
use crate::command::{Command, Key, Operation, Outcome};
use crate::kv::{Left, left_by, outcome_of};
use crate::protocol::quorum::NodeSet;

/// An Accept that was sent and of which nobody knows what became of it: it may yet be found to have taken
/// effect. One that another ballot has overtaken is such a one, too: a single acceptor may have accepted it,
/// and the next proposer may build on that.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Attempt {
    /// Its ballot.
    pub ballot: Ballot,
    /// What the commands return if it took effect.
    pub outcomes: SmallVec<[Outcome; 1]>,
}

/// What the proposer itself wants of a register.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Errand {
    /// The tombstone written at every acceptor (§3.1 step (a)).
    Collect,
    /// One configuration put in the place of another.
    Configure {
        /// What is there.
        from: Configuration,
        /// What is to be there.
        to: Configuration,
    },
}

/// How far an attempt is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// It begins when the turn ends.
    Ready,
    /// Phase 1.
    Preparing {
        /// Who has promised.
        promised: NodeSet,
        /// Who has refused.
        refused: NodeSet,
        /// The highest ballot of what was accepted, of those promises.
        base: Ballot,
        /// What.
        state: State,
        /// Up to where one of them has forgotten removed registers.
        floor: Ballot,
    },
    /// Phase 2.
    Accepting,
    /// Acceptors are asked what they hold.
    Reading {
        /// Who has answered.
        answered: NodeSet,
        /// Who holds `state`.
        agree: NodeSet,
        /// The highest ballot of what was accepted.
        base: Ballot,
        /// What, once somebody has said it.
        state: Option<State>,
    },
    /// Another proposer was faster: wait.
    BackingOff,
}

/// The work on one register.
#[derive(Clone, Debug)]
pub struct Work {
    /// The register.
    pub key: Key,
    /// Its place at the acceptor here.
    pub place: u32,
    /// How far it is.
    pub phase: Phase,
    /// The attempt's ballot.
    pub ballot: Ballot,
    /// The message that it is part of; 0 if that is not sent yet.
    pub batch: u64,
    /// The commands that are composed into the change, in their order.
    pub commands: SmallVec<[Command; 1]>,
    /// What comes after them in the same change.
    pub errand: Option<Box<Errand>>,
    /// What they return if this attempt takes effect.
    pub outcomes: SmallVec<[Outcome; 1]>,
    /// The earlier attempts of the same commands.
    pub earlier: Vec<Attempt>,
    /// What is to come after.
    pub waiting: VecDeque<Command>,
    /// How often others were faster.
    pub losses: u8,
    /// The highest ballot that this attempt was refused for.
    pub rival: Ballot,
    /// How often acceptors were asked in vain what they hold.
    pub reads: u8,
    /// The ballot whose state the attempt changes: for who watches.
    pub base: Ballot,
}

impl Hash for Work {
    /// All but its places in tables, and how long it would wait for whom.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.key, &self.phase, self.ballot, self.batch, &self.commands, &self.errand).hash(state);
        (&self.outcomes, &self.earlier, &self.waiting, self.base).hash(state);
        (self.losses, self.reads).hash(state);
    }
}

impl Work {
    pub(super) fn new(key: Key, place: u32) -> Work {
        Work {
            key,
            place,
            phase: Phase::Ready,
            ballot: Ballot::ZERO,
            batch: 0,
            commands: SmallVec::new(),
            errand: None,
            outcomes: SmallVec::new(),
            earlier: Vec::new(),
            waiting: VecDeque::new(),
            losses: 0,
            rival: Ballot::ZERO,
            reads: 0,
            base: Ballot::ZERO,
        }
    }

    /// Whether it has anything to do.
    pub fn is_done(&self) -> bool {
        self.commands.is_empty() && self.waiting.is_empty() && self.errand.is_none()
    }

    /// Whether nothing but reads is asked for, and none of them was tried as a change.
    pub fn only_reads(&self) -> bool {
        let all = self.commands.iter().all(|command| command.operation.is_read());
        all && !self.commands.is_empty() && self.errand.is_none() && self.earlier.is_empty()
    }

    /// The change function f (§2.2): the commands, one after the other. It notes what they return.
    pub fn apply(&mut self, base: &State) -> Option<crate::command::Value> {
        self.outcomes.clear();
        let mut value = base.value.clone();
        for command in &self.commands {
            let outcome = apply(&command.operation, &mut value);
            self.outcomes.push(outcome);
        }
        value
    }

    /// The earlier attempt that is among the ancestors of a state, which was written in `base`.
    pub fn took_effect(&self, base: Ballot, state: &State) -> Option<&Attempt> {
        let own = self.earlier.first()?.ballot.proposer();
        let last = if base.proposer() == own { Some(base) } else { state.marks.of_proposer(own) };
        self.earlier.iter().find(|attempt| Some(attempt.ballot) == last)
    }

    /// Whether it cannot be told whether an earlier attempt took effect: the register was removed since.
    pub fn is_forgotten(&self, forgotten: Ballot) -> bool {
        self.earlier.first().is_some_and(|attempt| attempt.ballot <= forgotten)
    }
}

/// Applies an operation to a register's value, and says what it returns.
fn apply(operation: &Operation, value: &mut Option<crate::command::Value>) -> Outcome {
    let before = match left_by(operation, value.as_ref()) {
        Left::Same => value.clone(),
        Left::Holds(new) => value.replace(new.clone()),
        Left::Made(new) => value.replace(new),
        Left::Nothing => value.take(),
    };
    outcome_of(operation, before)
}

/// All works of a proposer, each at a place of its own.
#[derive(Clone, Debug, Default)]
pub struct Works {
    all: Vec<Option<Work>>,
    free: Vec<u32>,
}

impl Works {
    /// Begins one.
    pub fn add(&mut self, work: Work) -> u32 {
        if let Some(index) = self.free.pop() {
            self.all[index as usize] = Some(work);
            return index;
        }
        self.all.push(Some(work));
        (self.all.len() - 1) as u32
    }

    /// The work at a place; none if it has ended.
    pub fn get(&self, index: u32) -> Option<&Work> {
        self.all.get(index as usize)?.as_ref()
    }

    /// The same, to go on with it.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Work> {
        self.all.get_mut(index as usize)?.as_mut()
    }

    /// Ends one.
    pub fn remove(&mut self, index: u32) -> Option<Work> {
        let work = self.all.get_mut(index as usize)?.take()?;
        self.free.push(index);
        Some(work)
    }

    /// All, by place.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Work)> {
        let all = self.all.iter().enumerate();
        all.filter_map(|(index, work)| Some((index as u32, work.as_ref()?)))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len() - self.free.len()
    }
}
