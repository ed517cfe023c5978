//! What was seen of one process, beside the instances: its *MCount*, what it has promised, what it has learned.

use std::collections::{BTreeMap, BTreeSet};

use super::histories::{Element, Grown, Touches};
use crate::check::invariants::{Held, hold};
use crate::command::NodeId;
use crate::protocol::Batch;
use crate::protocol::multicoordinated::names::{Name, Run};
use crate::protocol::multicoordinated::round::Round;

/// *learned*, of an instance that is not executed.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Learned {
    value: Grown,
    /// What was learned before the state was replaced, until it is seen what has become of it.
    pub(super) before: Option<Box<Learned>>,
}

/// One process.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Process {
    /// *MCount*: on record, and durable.
    major: u32,
    major_durable: u32,
    /// *MCount* when its life began; none as long as it is not on record.
    life: Option<u32>,
    /// The highest round that its 1b messages have promised for an instance, and for all from one on.
    promised: BTreeMap<u64, Round>,
    promised_onwards: Vec<(Round, u64)>,
    /// It has executed all instances below.
    pub(super) executing: u64,
    pub(super) learned: BTreeMap<u64, Learned>,
    /// Whose commands its log has.
    logged: BTreeSet<Name>,
}

impl Process {
    /// *MCount* only rises, and a life begins with one that is above all before (§4.4).
    pub(super) fn mcount_rises(&mut self, node: NodeId, major: u32) -> Held {
        let before = std::mem::replace(&mut self.major, major);
        self.life.get_or_insert(major);
        hold(before < major, "MCount rises", || format!("{node} writes {major} after {before}"))
    }

    /// *MCount* is durable.
    pub(super) fn store_major(&mut self, major: u32) {
        self.major_durable = self.major_durable.max(major);
    }

    /// A crash: what the log says is all that is left of this.
    pub(super) fn crash(&mut self) {
        (self.major, self.major_durable, self.life) = (0, 0, None);
        self.executing = 0;
        self.learned.clear();
        self.logged.clear();
    }

    /// Its log has these commands, which it has begun to write or has found there.
    pub(super) fn log_commands(&mut self, brought: &[(NodeId, u64, Batch)]) {
        for (proposer, first, commands) in brought {
            let numbers = (*first..).take(commands.len());
            self.logged.extend(numbers.map(|number| Name { proposer: *proposer, number }));
        }
    }

    /// The state that it has taken over came with what these commands have done.
    pub(super) fn log_effects(&mut self, names: &[Run]) {
        self.logged.extend(names.iter().copied().flat_map(Run::names));
    }

    /// "An acceptor accepts a command": that is more than its name, which is of no use to who has to learn it.
    pub(super) fn logs_what_it_accepts(&self, node: NodeId, names: &[Run]) -> Held {
        let missing =
            names.iter().copied().flat_map(Run::names).find(|name| !self.logged.contains(name));
        hold(missing.is_none(), "accepted with its command", || {
            format!("{node} accepts {missing:?}, of which it knows no more than the name")
        })
    }

    /// What the log says of *MCount*.
    pub(super) fn recall_major(&mut self, major: u32) {
        self.major = self.major.max(major);
        self.major_durable = self.major;
    }

    /// "An acceptor writes on disk … only when *MCount* changes" (§4.4): it is there before a message of such a round
    /// leaves.
    pub(super) fn mcount_is_durable(&self, node: NodeId, round: Round) -> Held {
        hold(round.major <= self.major_durable, "durable before told", || {
            format!("{node} speaks in {round}, and has {} on disk", self.major_durable)
        })
    }

    /// Who has restarted acts in no round that its former life may have acted in (§4.4).
    pub(super) fn acts_in_rounds_of_its_life(&self, node: NodeId, round: Round) -> Held {
        let life = self.life;
        hold(life.is_some_and(|life| life <= round.major), "rounds of this life", || {
            format!("{node}, born with MCount {life:?}, acts in {round}")
        })
    }

    /// Names are of the life in which they were proposed, which is on disk.
    pub(super) fn names_are_of_its_life(&self, node: NodeId, first: Name) -> Held {
        let of_life = |life: u32| {
            let row = Name::first_of_life(life)..Name::first_of_life(life + 1);
            row.contains(&first.number) && life <= self.major_durable
        };
        hold(self.life.is_some_and(of_life), "names are of this life", || {
            format!("{node}, born with MCount {:?}, proposes {first}", self.life)
        })
    }

    /// *JoinBallot* (A.2): a 1b has left.
    pub(super) fn promise(&mut self, round: Round, instance: u64, onwards: bool) {
        if onwards {
            let covers = |(other, from): &(Round, u64)| *other >= round && *from <= instance;
            if !self.promised_onwards.iter().any(covers) {
                self.promised_onwards.retain(|(other, from)| *other > round || *from < instance);
                self.promised_onwards.push((round, instance));
            }
        } else {
            let promised = self.promised.entry(instance).or_insert(round);
            *promised = round.max(*promised);
        }
    }

    /// A ballot array's acceptor accepts in no round below the one it is in (Definition 2; *ClassicVote*).
    pub(super) fn accepts_nothing_below_its_promise(
        &self,
        node: NodeId,
        instance: u64,
        round: Round,
    ) -> Held {
        let onwards = self.promised_onwards.iter().filter(|(_, from)| *from <= instance);
        let all = onwards.map(|(promised, _)| promised).chain(self.promised.get(&instance));
        let promised = all.max();
        hold(promised.is_none_or(|promised| *promised <= round), "promises are kept", || {
            format!("{node} accepts in {round} of i{instance}, and has promised {promised:?}")
        })
    }

    /// The instance's part of the state was replaced; what was learned of it is looked at anew.
    pub(super) fn install(&mut self, instance: u64) {
        self.executing = instance;
        self.learned.retain(|learned, _| *learned >= instance);
        if let Some(learned) = self.learned.get_mut(&instance) {
            let before = std::mem::take(learned);
            learned.before = Some(Box::new(before));
        }
    }
}

impl Learned {
    /// How much was seen of it.
    pub(super) fn len(&self) -> usize {
        self.value.len()
    }

    /// *learned* invariant, part 2 (A.2): what is learned is ⊑ ⊔ of what is chosen. So all that is learned anywhere is
    /// compatible (Proposition 3), and closed instances are equal.
    pub(super) fn learned_is_chosen(
        &mut self,
        who: (NodeId, u64),
        (element, touches): &(Element, Touches),
        chosen: Option<&Grown>,
    ) -> Held {
        let (node, instance) = who;
        let is_new = !self.value.contains(*element) && !self.value.contains(Element::Checkpoint);
        hold(is_new, "learned only grows", || {
            format!("{node} learns {element} late in i{instance}")
        })?;
        let placed = self.value.append(*element, touches);
        hold(chosen.is_some_and(|chosen| chosen.has(placed)), "learned values are chosen", || {
            format!("{node} learns {element} in i{instance}, which is not chosen so")
        })
    }

    /// *Stability* (§2.3): what was learned before is in it, in the same order.
    pub(super) fn learned_only_grows(
        &self,
        (node, instance): (NodeId, u64),
        before: &Learned,
    ) -> Held {
        let lost = before.value.from(0).iter().find(|placed| !self.value.has(**placed));
        hold(lost.is_none(), "learned only grows", || {
            format!("{node} had learned {lost:?} in i{instance}")
        })
    }
}
