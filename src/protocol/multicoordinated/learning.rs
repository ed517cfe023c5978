//! The learner: *Learn* (§3.2), the order of execution, and what may be forgotten (Lamport §6.3).

use std::sync::Arc;

use super::message::MulticoordinatedRecord;
use super::names::{Name, Names, Run};
use super::round::{RType, Round};
use super::tally::Tally;
use super::{Effects, Multicoordinated};
use crate::command::{Command, NodeId};
use crate::mutants::mutant;
use crate::protocol::Effect;
use crate::protocol::quorum::NodeSet;

impl Multicoordinated {
    /// *vval* of an acceptor in a single-coordinated round is that much of its coordinator's value.
    pub(super) fn on_2b_prefix(
        &mut self,
        from: NodeId,
        (round, instance): (Round, u64),
        length: u64,
        out: &mut Effects<Self>,
    ) {
        if !self.is_open(instance) {
            return;
        }
        self.note_round(round);
        let Some(held) = self.instance_mut(instance) else { return };
        let mirror = &mut held.acceptors[usize::from(from.0)];
        mirror.follow(round);
        if mirror.round == round {
            mirror.mark = mirror.mark.max(length);
            self.learn_row(instance, round, out);
        }
    }

    /// *vval* of an acceptor goes on.
    pub(super) fn on_2b(
        &mut self,
        from: NodeId,
        (round, instance): (Round, u64),
        (base, names, closes): (u64, &[Run], bool),
        out: &mut Effects<Self>,
    ) {
        if !self.is_open(instance) {
            return;
        }
        self.note_round(round);
        let Some(held) = self.instance_mut(instance) else { return };
        let mirror = &mut held.acceptors[usize::from(from.0)];
        mirror.follow(round);
        if mirror.round != round || !mirror.extend(base, names, closes) {
            return;
        }
        if round.kind == RType::Single {
            self.learn_row(instance, round, out);
        } else {
            self.learn_votes(instance, round, from, out);
        }
        self.start_instance(instance, out);
        self.start_onwards(out);
    }

    /// *Learn* in a single-coordinated round. All values are prefixes of one, so the longest that a quorum has is
    /// the one that the last of the quorum has.
    pub(super) fn learn_row(&mut self, instance: u64, round: Round, out: &mut Effects<Self>) {
        let quorum = if mutant!(LearnedFromTooFew) { 1 } else { self.quorums.classic };
        let Some(held) = self.instance(instance) else { return };
        let of_round = held.acceptors.iter().filter(|mirror| mirror.round == round);
        let mut lengths: Vec<u64> = of_round.map(super::instance::Mirror::accepted).collect();
        if lengths.len() < quorum {
            return;
        }
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        let chosen = lengths[quorum - 1];
        let (counted, done) = held.learned.prefix;
        let from = match counted.cmp(&round) {
            std::cmp::Ordering::Greater => return,
            std::cmp::Ordering::Equal => done,
            std::cmp::Ordering::Less => 0,
        };
        let Some(row) = held.row_of(round) else { return };
        let length = row.names.len();
        let runs: Vec<Run> = row.names.between(from, chosen.min(length)).collect();
        let closes = row.is_closed && chosen > length;
        let mut at = from;
        let mut complete = true;
        for run in runs {
            let known = self.proposals.known(run);
            run.part(0, u64::from(known)).names().for_each(|name| self.learn(instance, name));
            at += u64::from(known);
            if known < run.count {
                complete = false;
                break;
            }
        }
        let now = self.now;
        let Some(held) = self.instance_mut(instance) else { return };
        held.learned.prefix = (round, at);
        if !complete {
            held.block(now);
        }
        if closes && complete {
            self.on_closed(instance, out);
        }
    }

    /// *Learn* in any other round: ⊓ of every quorum.
    pub(super) fn learn_votes(
        &mut self,
        instance: u64,
        round: Round,
        from: NodeId,
        out: &mut Effects<Self>,
    ) {
        let size = self.cluster.size;
        let quorum = match round.is_fast() && !mutant!(FastRoundLearnedTooEarly) {
            true => self.quorums.fast,
            false => self.quorums.classic,
        };
        let Some(held) = self.instance_mut(instance) else { return };
        if held.learned.value.is_closed {
            return;
        }
        if held.votes.as_ref().is_none_or(|(counted, _)| *counted < round) {
            held.votes = Some((round, Tally::new(size, quorum)));
            held.acceptors.iter_mut().for_each(|mirror| mirror.counted = 0);
            for acceptor in self.cluster.nodes().filter(|node| *node != from) {
                self.count_votes(instance, round, acceptor, out);
            }
        }
        self.count_votes(instance, round, from, out);
    }

    fn count_votes(&mut self, instance: u64, round: Round, from: NodeId, out: &mut Effects<Self>) {
        let index = usize::from(from.0);
        let Some(held) = self.instance(instance) else { return };
        let mirror = &held.acceptors[index];
        let current = held.votes.as_ref().is_some_and(|(of, _)| *of == round);
        if mirror.round != round || !current {
            return;
        }
        let counted = mirror.counted;
        let known = self.known_names(mirror, counted);
        let is_blocked = known < mirror.value.names.len();
        let runs: Vec<Run> = mirror.value.names.between(counted, known).collect();
        for name in runs.into_iter().flat_map(Run::names) {
            self.count_vote(instance, round, from, name, out);
        }
        let now = self.now;
        let Some(held) = self.instance_mut(instance) else { return };
        held.acceptors[index].counted = known;
        if is_blocked {
            held.block(now);
        }
    }

    fn count_vote(
        &mut self,
        instance: u64,
        round: Round,
        from: NodeId,
        name: Name,
        out: &mut Effects<Self>,
    ) {
        let Some(touches) = self.classes(instance, name) else { return };
        let Some(held) = self.instance_mut(instance) else { return };
        let Some((_, tally)) = &mut held.votes else { return };
        let Some(voted) = tally.vote(from, name, touches) else { return };
        if voted.is_agreed {
            self.learn(instance, name);
        }
        let is_disputed = voted.is_disputed && round.is_fast();
        if is_disputed && self.is_collision_of_votes(instance, (from, voted.node)) {
            self.on_collision(instance, round, out);
        }
    }

    /// Whether a dispute of acceptors that this vote has led to cannot be settled by who has not voted yet.
    fn is_collision_of_votes(&self, instance: u64, (from, node): (NodeId, u32)) -> bool {
        let votes = self.instance(instance).and_then(|held| held.votes.as_ref());
        let Some((_, tally)) = votes else { return false };
        let everybody = NodeSet::all(self.cluster.size);
        tally.disputed(from, node).any(|name| {
            let asked = self.proposals.find(name).map(|parcel| parcel.acceptors);
            let asked = asked.filter(|set| !set.is_empty()).unwrap_or(everybody);
            tally.is_stuck(name, asked.minus(self.suspects()))
        })
    }

    /// *learned* ⊔ …
    pub(super) fn learn(&mut self, instance: u64, name: Name) {
        let now = self.now;
        let Some(held) = self.instance_mut(instance) else { return };
        if held.learned.contains.set(name, true) {
            return;
        }
        held.learned.value.names.push_name(name);
        held.touched = now;
        held.attempts = 0;
        held.unlearned = held.unlearned.saturating_sub(1);
        if name.proposer == self.me {
            self.note_learned(name.number);
        }
    }

    /// What is learned in an instance, in order.
    pub(super) fn learned_names(&self, instance: u64) -> Vec<Name> {
        self.instance(instance)
            .map(|held| held.learned.value.names.iter().collect())
            .unwrap_or_default()
    }

    /// The checkpoint is learned: nothing more will be.
    pub(super) fn on_closed(&mut self, instance: u64, out: &mut Effects<Self>) {
        let Some(held) = self.instance_mut(instance) else { return };
        if std::mem::replace(&mut held.learned.value.is_closed, true) {
            return;
        }
        self.note_ended(instance);
        self.propose_again(instance, out);
    }

    /// Executes what is learned, instance by instance.
    pub(super) fn execute(&mut self, out: &mut Effects<Self>) {
        loop {
            let instance = self.executing;
            let Some(held) = self.instance_mut(instance) else { return };
            let (from, to) = (held.learned.executed, held.learned.value.names.len());
            held.learned.executed = to;
            let runs: Vec<Run> = held.learned.value.names.between(from, to).collect();
            let closed = held.learned.value.is_closed;
            self.execute_runs(&runs, out);
            if !closed {
                self.ask_for_checkpoint(instance, out);
                return;
            }
            let names: Vec<Run> = self
                .instance(instance)
                .map(|held| held.learned.value.names.runs().to_vec())
                .unwrap_or_default();
            let commands = self.unlogged(&names);
            out.persist(MulticoordinatedRecord::Executed { instance, names, commands });
            self.executing += 1;
            self.counters.instances += 1;
            if let Some(held) = self.instance_mut(instance) {
                held.shrink();
            }
            self.executed_below[usize::from(self.me.0)] = self.executing;
            self.forget();
            // The next one exists from now on.
            let next = self.executing;
            self.open(next);
            self.propose_in(next);
        }
    }

    fn execute_runs(&mut self, runs: &[Run], out: &mut Effects<Self>) {
        let mut loose: Vec<Command> = Vec::new();
        for run in runs {
            let (mut number, end) = (run.first, run.first + u64::from(run.count));
            while number < end {
                let name = Name { proposer: run.proposer, number };
                // It was learned only because its command was known, or came with the state.
                let Some(parcel) = self.proposals.find(name) else { break };
                let to = parcel.end().min(end);
                if number == parcel.first && to == parcel.end() && loose.is_empty() {
                    out.push(Effect::Execute(parcel.commands.clone()));
                } else {
                    let part = (number - parcel.first) as usize..(to - parcel.first) as usize;
                    loose.extend_from_slice(&parcel.commands[part]);
                }
                number = to;
            }
            self.counters.learned += u64::from(run.count);
        }
        if !loose.is_empty() {
            out.push(Effect::Execute(Arc::from(loose)));
        }
    }

    /// Forgets instances that all who are up have executed, and more than that of which there are too many.
    pub(super) fn forget(&mut self) {
        let up = self.cluster.nodes().filter(|node| !self.election.suspects(*node));
        let all = up.map(|node| self.executed_below[usize::from(node.0)]).min().unwrap_or(0);
        let kept = self.executing.saturating_sub(super::INSTANCES_KEPT);
        let below = all.max(kept).min(self.executing);
        if self.base == below {
            return;
        }
        while self.base < below {
            self.instances.pop_front();
            self.base += 1;
        }
        self.proposals.forget_below(self.base);
    }

    /// The commands of an instance that were learned, as an order for others.
    pub(super) fn learned_of(&self, instance: u64) -> Option<&Names> {
        self.instance(instance).map(|held| &held.learned.value.names)
    }
}
