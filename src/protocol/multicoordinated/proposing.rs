//! The proposer: *Propose* (§3.2), and the choice of quorums (§4.1).

use std::sync::Arc;

use super::instance::Instance;
use super::message::MulticoordinatedMessage;
use super::names::Run;
use super::proposals::Parcel;
use super::round::RType;
use super::{Effects, Multicoordinated, OWN_BYTES_MAX, Own};
use crate::command::{Command, NodeId, Operation};
use crate::mutants::mutant;
use crate::protocol::Batch;
use crate::protocol::quorum::NodeSet;

/// Bytes that are proposed together, at most, unless a single command is longer.
const PARCEL_BYTES_MAX: usize = 256 << 10;

impl Multicoordinated {
    /// Clients ask.
    pub(super) fn on_requests(&mut self, commands: Vec<Command>) {
        for command in commands {
            let bytes = command.bytes();
            if self.own_bytes > 0 && self.own_bytes + bytes > OWN_BYTES_MAX {
                self.counters.requests_dropped += 1;
                continue;
            }
            self.own_bytes += bytes;
            self.requests.push(command);
        }
    }

    /// The turn ends: what was asked for in it is proposed.
    pub(super) fn propose(&mut self, out: &mut Effects<Self>) {
        let requests = std::mem::take(&mut self.requests);
        if requests.is_empty() {
            return;
        }
        if !self.options.balance {
            let all = NodeSet::all(self.cluster.size);
            self.propose_group(requests, (all, all), out);
            return;
        }
        let groups = usize::from(self.cluster.size);
        let mut by_group: Vec<Vec<Command>> = vec![Vec::new(); groups];
        for command in requests {
            by_group[group(&command.operation, groups)].push(command);
        }
        for (group, commands) in by_group.into_iter().enumerate() {
            if !commands.is_empty() {
                let quorums = self.quorums_of(group);
                self.propose_group(commands, quorums, out);
            }
        }
    }

    /// The coordinator quorum and the acceptor quorum of a group of keys: those from some place on, in a circle,
    /// without who seems to be down. So each of n takes its share of a quorum's size over n.
    fn quorums_of(&self, group: usize) -> (NodeSet, NodeSet) {
        let (round, _) = self.standing;
        let everybody = NodeSet::all(self.cluster.size);
        let up = |set: NodeSet| set.minus(self.suspects());
        let acceptors = match round.is_fast() {
            true => circle(up(everybody), group, self.quorums.fast),
            false => circle(up(everybody), group, self.quorums.classic),
        };
        let coordinators = match round.kind {
            RType::Multi => circle(up(round.coordinators), group, round.coordinator_quorum()),
            RType::Fast | RType::Uncoordinated | RType::Single => Some(everybody),
        };
        (coordinators.unwrap_or(everybody), acceptors.unwrap_or(everybody))
    }

    /// In parcels that fit a message.
    fn propose_group(
        &mut self,
        mut commands: Vec<Command>,
        (coordinators, acceptors): (NodeSet, NodeSet),
        out: &mut Effects<Self>,
    ) {
        while !commands.is_empty() {
            let mut bytes = 0;
            let fits = |command: &&Command| {
                bytes += command.bytes();
                bytes <= PARCEL_BYTES_MAX
            };
            let count = commands.iter().take_while(fits).count().max(1);
            let rest = commands.split_off(count);
            self.propose_together(Arc::from(commands), coordinators, acceptors, out);
            commands = rest;
        }
    }

    fn propose_together(
        &mut self,
        commands: Batch,
        coordinators: NodeSet,
        acceptors: NodeSet,
        out: &mut Effects<Self>,
    ) {
        let (instance, first) = (self.proposing, self.next_number);
        let count = commands.len() as u64;
        self.next_number += count;
        self.counters.proposed += count;
        let own = Own { first, count, left: count, instance, sent: self.now, repeated: false };
        self.own.push_back(own);
        let message = MulticoordinatedMessage::Propose {
            instance,
            first,
            commands: commands.clone(),
            coordinators,
            acceptors,
        };
        // Numbers are of this life only once its MCount is on disk.
        let edge =
            if mutant!(ProposedBeforeBirth) { crate::protocol::WriteId(0) } else { self.born };
        out.push(crate::protocol::Effect::Send {
            to: crate::protocol::Destination::Others,
            message,
            after: Some(edge),
        });
        self.on_propose(self.me, instance, (first, commands), (coordinators, acceptors), out);
    }

    /// *Propose* arrives, at everybody: those who are asked to forward or accept it do, the others keep it.
    pub(super) fn on_propose(
        &mut self,
        proposer: NodeId,
        instance: u64,
        (first, commands): (u64, Batch),
        (coordinators, acceptors): (NodeSet, NodeSet),
        out: &mut Effects<Self>,
    ) {
        if !self.is_open(instance) {
            self.help(proposer, instance, out);
            return;
        }
        self.open(instance);
        // Its proposer knows that the instances before are closed, or will be.
        self.propose_in(instance);
        let run = Run { proposer, first, count: commands.len() as u32 };
        let name = super::names::Name { proposer, number: first };
        let me = self.me;
        let parcel = Parcel {
            first,
            commands,
            instance,
            coordinators,
            acceptors,
            classes: Vec::new(),
            is_logged: false,
        };
        let is_new = self.proposals.insert(proposer, parcel);
        let mut before = (NodeSet::NONE, NodeSet::NONE);
        if !is_new {
            let Some(held) = self.proposals.find_mut(name) else { return };
            if held.first != first || held.instance != instance {
                return;
            }
            before = (held.coordinators, held.acceptors);
            held.coordinators = held.coordinators.or(coordinators);
            held.acceptors = held.acceptors.or(acceptors);
        }
        let is_repeated =
            self.options.balance && coordinators.and(acceptors) == NodeSet::all(self.cluster.size);
        if coordinators.minus(before.0).contains(me) {
            self.forward_proposal(instance, run, is_repeated);
        }
        if acceptors.minus(before.1).contains(me) {
            self.accept_proposal(instance, run, is_repeated, out);
            if is_repeated {
                self.accept_deferred(instance);
            } else if !is_new {
                self.accept_deferred_of(instance, run);
            }
        }
        if is_new {
            self.await_commands(instance, run);
            let directly = !coordinators.is_empty();
            self.note_arrived(run, directly, out);
            self.go_on(instance, out);
        }
    }

    /// The commands of these names, proposed in this instance, have come.
    pub(super) fn await_commands(&mut self, instance: u64, run: Run) {
        let now = self.now;
        let Some(held) = self.instance_mut(instance) else { return };
        let is_learned = |name: &super::names::Name| held.learned.contains.get(*name);
        let count = run.names().filter(|name| !is_learned(name)).count();
        held.await_commands(count as u64, now);
    }

    /// Commands that another replica proposed, from one who has them.
    pub(super) fn on_commands(
        &mut self,
        (proposer, instance): (NodeId, u64),
        (first, commands): (u64, Batch),
        out: &mut Effects<Self>,
    ) {
        let nobody = NodeSet::NONE;
        self.on_propose(proposer, instance, (first, commands), (nobody, nobody), out);
    }

    /// A command of this replica's is learned.
    pub(super) fn note_learned(&mut self, number: u64) {
        let at = self.own.partition_point(|own| own.first + own.count <= number);
        if let Some(own) = self.own.get_mut(at).filter(|own| own.first <= number) {
            own.left -= 1;
            let name = super::names::Name { proposer: self.me, number };
            if let Some(command) = self.proposals.command(name) {
                self.own_bytes = self.own_bytes.saturating_sub(command.bytes());
            }
        }
        while self.own.front().is_some_and(|own| own.left == 0) {
            self.own.pop_front();
        }
    }

    /// An instance is closed: what this replica proposed in it, and is not in it, is proposed anew in a later one.
    pub(super) fn propose_again(&mut self, instance: u64, out: &mut Effects<Self>) {
        let mut again = Vec::new();
        for own in std::mem::take(&mut self.own) {
            if own.instance > instance {
                self.own.push_back(own);
                continue;
            }
            for name in own.run(self.me).names() {
                let learned = |held: &Instance| held.learned.contains.get(name);
                let is_learned = self.instance(own.instance).is_some_and(learned);
                let command = self.proposals.command(name).filter(|_| !is_learned);
                again.extend(command.cloned());
            }
        }
        if !again.is_empty() && !mutant!(LeftBehind) {
            self.counters.proposed_again += again.len() as u64;
            let mut requests = std::mem::take(&mut self.requests);
            again.append(&mut requests);
            self.requests = again;
            self.propose(out);
        }
    }

    /// These commands of an instance come executed, with another's state. Of this replica's own, which have not been
    /// answered, only another execution, which changes nothing, tells what they returned.
    pub(super) fn ask_for_answers(&mut self, instance: u64, names: &[Run]) {
        let Some(held) = self.instance(instance) else { return };
        let mine = names.iter().filter(|run| run.proposer == self.me).copied();
        let unanswered: Vec<super::names::Name> =
            mine.flat_map(Run::names).filter(|name| !held.learned.contains.get(*name)).collect();
        for name in unanswered {
            let is_waiting = self.own.iter().any(|own| own.run(self.me).contains(name));
            let command = self.proposals.command(name).filter(|_| is_waiting).cloned();
            self.note_learned(name.number);
            self.on_requests(command.into_iter().collect());
        }
    }

    /// What is not learned in time is sent to all, which never leads to another round by itself (§4.1).
    pub(super) fn repeat_proposals(&mut self, out: &mut Effects<Self>) {
        let (now, patience) = (self.now, self.fallback());
        let all = NodeSet::all(self.cluster.size);
        let mut late = Vec::new();
        for own in &mut self.own {
            if own.left > 0 && now.since(own.sent) >= patience {
                own.sent = now;
                own.repeated = true;
                late.push((own.first, own.instance));
            }
        }
        for (first, instance) in late {
            let name = super::names::Name { proposer: self.me, number: first };
            let Some(parcel) = self.proposals.find(name) else { continue };
            let commands = parcel.commands.clone();
            self.counters.fallbacks += 1;
            let message = MulticoordinatedMessage::Propose {
                instance,
                first,
                commands: commands.clone(),
                coordinators: all,
                acceptors: all,
            };
            out.broadcast_after_writes(message);
            self.on_propose(self.me, instance, (first, commands), (all, all), out);
        }
    }
}

impl Multicoordinated {
    /// Nothing happens in the instance that is to be executed next, and nobody has proposed in a later one: it was
    /// taken for closed too early.
    pub(super) fn step_back(&mut self) {
        let (now, patience) = (self.now, self.fallback() * 2);
        let next = self.executing;
        let is_idle = self.instance(next).is_some_and(|held| {
            now.since(held.touched) >= patience && !held.learned.value.is_closed
        });
        let mut later = next + 1..=self.proposing;
        if is_idle && later.all(|instance| self.proposals.of(instance).next().is_none()) {
            self.proposing = next;
        }
    }

    /// Commands that came by way of others, and are not learned for long: their proposer may be gone, or think that
    /// everybody has them. Every replica that may forward or accept them does.
    pub(super) fn adopt_proposals(&mut self, out: &mut Effects<Self>) {
        let (now, patience) = (self.now, self.fallback());
        let mut late: Vec<(u64, Run)> = Vec::new();
        for (instance, held) in (self.base..).zip(&self.instances) {
            let is_late = held.unlearned > 0 && now.since(held.touched) >= patience;
            if instance < self.executing || !is_late {
                continue;
            }
            for (proposer, parcel) in self.proposals.of(instance) {
                let run = parcel.run(proposer);
                if run.names().any(|name| !held.learned.contains.get(name)) {
                    late.push((instance, run));
                }
            }
        }
        for (instance, run) in late {
            self.forward_proposal(instance, run, self.options.balance);
            self.accept_proposal(instance, run, self.options.balance, out);
            self.accept_deferred(instance);
        }
    }
}

impl Own {
    fn run(&self, me: NodeId) -> Run {
        Run { proposer: me, first: self.first, count: self.count as u32 }
    }
}

/// The group of an operation's keys. Interfering commands are in one group, as all accounts are.
fn group(operation: &Operation, groups: usize) -> usize {
    let (key, _) = operation.keys();
    if key.is_account() {
        return 0;
    }
    // The upper bits of a product depend on all of its factor's.
    let mixed = key.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    mixed as usize % groups
}

/// So many of a set, from the `first`-th on, in a circle; none if there are not so many.
fn circle(set: NodeSet, first: usize, count: usize) -> Option<NodeSet> {
    let all: Vec<NodeId> = set.iter().collect();
    (all.len() >= count && count >= 1)
        .then(|| (0..count).map(|step| all[(first + step) % all.len()]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::quorum::majority;

    #[test]
    fn quorums_in_a_circle_share_the_load_evenly() {
        for n in 1..=9_u8 {
            let size = majority(usize::from(n));
            let mut load = vec![0; usize::from(n)];
            for first in 0..usize::from(n) {
                let quorum = circle(NodeSet::all(n), first, size).expect("enough");
                assert_eq!(quorum.len(), size);
                quorum.iter().for_each(|node| load[usize::from(node.0)] += 1);
            }
            assert!(load.iter().all(|count| *count == size));
            // At most 1/2 + 1/n (§4.1).
            assert!(2 * size <= usize::from(n) + 2);
        }
    }
}
