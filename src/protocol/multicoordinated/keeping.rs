//! What keeps replicas together: who is up, what was missed, who lags, what a crash leaves.

use std::time::Duration;

use super::instance::Value;
use super::message::{
    MulticoordinatedMessage, MulticoordinatedRecord, MulticoordinatedTimer, Progress, Stream,
};
use super::names::{Name, Run};
use super::proposals::Parcel;
use super::round::{RType, Round};
use super::{Effects, INSTANCES_KEPT, Multicoordinated, Told, parts};
use crate::command::NodeId;
use crate::mutants::mutant;
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Batch, Effect};

/// Instances that a heartbeat tells of, at most.
const PROGRESS_MAX: u64 = 3;

/// Parcels that another replica is told of at a time because they are not learned.
const TOLD_MAX: usize = 16;

/// Runs of names that are asked for at a time.
const WANTED_MAX: usize = 256;

impl Multicoordinated {
    /// What is not learned after this long is asked for again.
    pub(super) fn fallback(&self) -> Duration {
        Duration::from_millis(self.options.fallback_ms)
    }

    pub(super) fn on_heartbeat_timer(&mut self, out: &mut Effects<Self>) {
        self.election.on_tick(self.now);
        self.executed_below[usize::from(self.me.0)] = self.executing;
        let last = (self.base + self.instances.len() as u64).min(self.executing + PROGRESS_MAX);
        let open = (self.executing..last).filter_map(|instance| self.progress(instance));
        let message = MulticoordinatedMessage::Heartbeat {
            life: self.life,
            major: self.major,
            hears_majority: self.election.hears_majority(),
            executed_below: self.executing,
            standing: self.standing,
            open: open.collect(),
        };
        out.broadcast_after_writes(message);
        self.look_for_leader(out);
        let period = Duration::from_millis(self.options.heartbeat_ms);
        out.push(Effect::Arm(MulticoordinatedTimer::Heartbeat, period..period));
    }

    /// How far an instance has come here: what is on disk of *vval*, and what was sent of *cval*.
    fn progress(&self, instance: u64) -> Option<Progress> {
        let held = self.instance(instance)?;
        let accepted = (held.accepted.vrnd, held.accepted.written);
        let coordinated = held.coordinated.as_ref();
        let coordinated =
            coordinated.filter(|coordinated| coordinated.crnd.kind != RType::Uncoordinated);
        let sent = coordinated
            .map_or((Round::ZERO, 0), |coordinated| (coordinated.crnd, coordinated.sent));
        Some(Progress { instance, rnd: self.rnd(instance), accepted, sent })
    }

    pub(super) fn on_heartbeat(
        &mut self,
        from: NodeId,
        (life, major, hears_majority): (u32, u32, bool),
        executed_below: u64,
        (standing, open): ((Round, u64), Vec<Progress>),
        out: &mut Effects<Self>,
    ) {
        let now = self.now;
        self.election.on_heartbeat(now, from, life, hears_majority);
        self.executed_below[usize::from(from.0)] = executed_below;
        self.look_for_leader(out);
        self.on_major_of(major, out);
        self.forget();
        if executed_below > self.executing {
            self.lag(out);
        }
        for progress in open {
            let (round, first) = standing;
            // Who has just restarted knows no standing round yet.
            let knows = round.minor > 0;
            if knows && (progress.rnd != round || progress.instance < first) {
                self.note_ending(progress.instance, progress.rnd);
            }
            self.on_progress(from, progress, out);
        }
    }

    /// Asks for what of a replica's streams has not arrived.
    fn on_progress(&mut self, from: NodeId, progress: Progress, out: &mut Effects<Self>) {
        let Progress { instance, rnd, accepted, sent } = progress;
        if !self.is_open(instance) {
            return;
        }
        self.open(instance);
        self.note_round(rnd);
        let index = usize::from(from.0);
        let Some(held) = self.instance(instance) else { return };
        let (coordinator, acceptor) = (&held.coordinators[index], &held.acceptors[index]);
        let have = |mirror: &super::instance::Mirror, round: Round| {
            if mirror.round == round { mirror.value.length() } else { 0 }
        };
        let has_sent = have(coordinator, sent.0);
        let misses_sent = sent.1 > has_sent && sent.0 >= coordinator.round;
        let (round, length) = accepted;
        let acceptor_has = have(acceptor, round);
        let is_old = length == 0 || round < acceptor.round;
        if misses_sent {
            self.want(from, Stream::Coordinator, (sent.0, instance), has_sent, out);
        }
        if is_old {
            return;
        }
        let Some(held) = self.instance(instance) else { return };
        if round.kind == RType::Single {
            let row = held.row_of(round).map_or(0, Value::length);
            self.on_2b_prefix(from, (round, instance), length, out);
            let creator_silent = self.election.suspects(round.creator) || round.creator == self.me;
            if row < length && creator_silent {
                self.want(from, Stream::Acceptor, (round, instance), 0, out);
            }
        } else if length > acceptor_has {
            self.want(from, Stream::Acceptor, (round, instance), acceptor_has, out);
        }
    }

    /// "Say again."
    pub(super) fn on_want(
        &mut self,
        from: NodeId,
        stream: Stream,
        (round, instance): (Round, u64),
        position: u64,
        out: &mut Effects<Self>,
    ) {
        if stream == Stream::Coordinator {
            self.repeat_cval(from, (round, instance), position, out);
            return;
        }
        let Some(held) = self.instance(instance) else { return };
        let accepted = &held.accepted;
        if accepted.vrnd != round || accepted.written == 0 {
            return;
        }
        let (edge, written) = (accepted.edge, accepted.vval.prefix(accepted.written));
        for (base, names, closes) in
            parts(&written, position.min(written.names.len()), self.options.runs_max)
        {
            let message = MulticoordinatedMessage::Phase2b { round, instance, base, names, closes };
            self.tell(from, message, edge, out);
        }
    }

    /// Asks for the commands of names that have been here for a while without them: another replica each time, as
    /// who named them may be gone.
    pub(super) fn want_commands(&mut self, out: &mut Effects<Self>) {
        let mut names: Vec<Run> = Vec::new();
        for held in
            self.instances.iter().filter(|held| held.is_blocked && !held.learned.value.is_closed)
        {
            for mirror in held.coordinators.iter().chain(&held.acceptors) {
                self.missing_of(mirror, &mut names);
            }
        }
        names.sort_unstable();
        names.dedup();
        let others: Vec<NodeId> = self.cluster.others(self.me).collect();
        if names.is_empty() || others.is_empty() {
            return;
        }
        self.asked[0] += 1;
        self.counters.wants += 1;
        out.send(
            others[self.asked[0] % others.len()],
            MulticoordinatedMessage::WantCommands { names },
        );
    }

    /// The first names of a value whose commands are not here, of those that are not counted yet.
    fn missing_of(&self, mirror: &super::instance::Mirror, missing: &mut Vec<Run>) {
        let mut found = 0;
        for run in mirror.value.names.between(mirror.counted, mirror.value.names.len()) {
            let known = self.proposals.known(run);
            if known < run.count && found < WANTED_MAX {
                missing.push(run.part(u64::from(known), 1));
                found += 1;
            }
        }
    }

    pub(super) fn on_want_commands(
        &mut self,
        from: NodeId,
        names: &[Run],
        out: &mut Effects<Self>,
    ) {
        for run in names {
            let name = Name { proposer: run.proposer, number: run.first };
            let Some(parcel) = self.proposals.find(name) else { continue };
            let (proposer, instance, first) = (run.proposer, parcel.instance, parcel.first);
            let commands = parcel.commands.clone();
            let edge = out.last_write();
            let message = MulticoordinatedMessage::Commands { proposer, instance, first, commands };
            self.tell(from, message, edge, out);
        }
    }

    /// This replica has executed less than another.
    fn lag(&mut self, out: &mut Effects<Self>) {
        if self.lagging_asked.is_some_and(|asked| self.now.since(asked) < self.fallback() / 4) {
            return;
        }
        self.lagging_asked = Some(self.now);
        self.counters.catch_ups += 1;
        let instance = self.executing;
        let ahead = |node: &NodeId| self.executed_below[usize::from(node.0)] > instance;
        let ahead: Vec<NodeId> = self.cluster.others(self.me).filter(ahead).collect();
        if ahead.is_empty() {
            return;
        }
        self.asked[1] += 1;
        let other = ahead[self.asked[1] % ahead.len()];
        let from = self.told_by(other, instance);
        out.send(other, MulticoordinatedMessage::Lagging { instance, from });
    }

    /// Commands are known in the instance that is to be executed next, and none was learned for long: others may
    /// have learned them by votes that will not come here any more. Or nobody else has these commands: their proposer
    /// may be gone, and who coordinates may know nothing of them.
    pub(super) fn ask_for_learned(&mut self, out: &mut Effects<Self>) {
        let (now, patience) = (self.now, self.fallback() * 2);
        let instance = self.executing;
        let Some(held) = self.instance(instance) else { return };
        if now.since(held.touched) < patience || !self.has_unlearned(instance) {
            return;
        }
        let others: Vec<NodeId> = self.cluster.others(self.me).collect();
        if !others.is_empty() {
            self.asked[2] += 1;
            let other = others[self.asked[2] % others.len()];
            let from = self.told_by(other, instance);
            out.send(other, MulticoordinatedMessage::Lagging { instance, from });
            self.on_want_commands(other, &self.unlearned_of(instance), out);
        }
    }

    /// Whether commands of an instance are known that are not learned.
    pub(super) fn has_unlearned(&self, instance: u64) -> bool {
        let Some(held) = self.instance(instance) else { return false };
        let unlearned = |name: &Name| !held.learned.contains.get(*name);
        debug_assert_eq!(
            self.count_unlearned(instance),
            held.unlearned,
            "what has come is counted"
        );
        let mut accepted = held.acceptors.iter().flat_map(|mirror| mirror.value.names.iter());
        held.unlearned > 0 || accepted.any(|name| unlearned(&name))
    }

    /// Some of the commands of an instance that are here and not learned, by a name of each parcel.
    fn unlearned_of(&self, instance: u64) -> Vec<Run> {
        let Some(held) = self.instance(instance).filter(|held| held.unlearned > 0) else {
            return Vec::new();
        };
        let all = self.proposals.of(instance).map(|(proposer, parcel)| parcel.run(proposer));
        let late = all.filter(|run| run.names().any(|name| !held.learned.contains.get(name)));
        late.map(|run| run.part(0, 1)).take(TOLD_MAX).collect()
    }

    fn count_unlearned(&self, instance: u64) -> u64 {
        let runs = self.proposals.of(instance).map(|(proposer, parcel)| parcel.run(proposer));
        let is_learned = |name: &Name| {
            self.instance(instance).is_some_and(|held| held.learned.contains.get(*name))
        };
        runs.flat_map(Run::names).filter(|name| !is_learned(name)).count() as u64
    }

    /// Another replica lags: it is sent what was learned in the instance, or the state if that is forgotten.
    pub(super) fn on_lagging(
        &mut self,
        from: NodeId,
        instance: u64,
        position: u64,
        out: &mut Effects<Self>,
    ) {
        if instance > self.executing {
            return;
        }
        if instance >= self.base {
            // It is long, and may still be on its way.
            let told = self.learned_sent[usize::from(from.0)];
            let now = self.now;
            let recently = |at: crate::protocol::Time| now.since(at) < self.fallback() / 2;
            if told.is_some_and(|(to, at)| to == instance && recently(at)) {
                return;
            }
            self.learned_sent[usize::from(from.0)] = Some((instance, now));
            let Some(held) = self.instance(instance) else { return };
            let parts = parts(&held.learned.value, position, self.options.runs_max);
            let life = self.life;
            for (base, names, closes) in parts {
                self.on_want_commands(from, &self.parcels_of(&names), out);
                let message =
                    MulticoordinatedMessage::Learned { instance, life, base, names, closes };
                self.tell(from, message, out.last_write(), out);
            }
            return;
        }
        let index = usize::from(from.0);
        let recently = |at: crate::protocol::Time| self.now.since(at) < self.fallback();
        if self.state_sent[index].is_some_and(recently) {
            return;
        }
        self.state_sent[index] = Some(self.now);
        self.counters.states_sent += 1;
        let instance = self.executing;
        let executed = self.instance(instance).map_or(0, |held| held.learned.executed);
        let names = self.learned_of(instance).map(|names| names.between(0, executed).collect());
        let message = MulticoordinatedMessage::State { instance, names: names.unwrap_or_default() };
        out.push(Effect::SendState { to: from, message });
    }

    /// A name of every parcel that these names are in.
    fn parcels_of(&self, names: &[Run]) -> Vec<Run> {
        let mut found = Vec::new();
        for run in names {
            let (mut number, end) = (run.first, run.first + u64::from(run.count));
            while number < end {
                let name = Name { proposer: run.proposer, number };
                let Some(parcel) = self.proposals.find(name) else {
                    number += 1;
                    continue;
                };
                found.push(Run::of(name));
                number = parcel.end();
            }
        }
        found
    }

    /// What another replica has learned in an instance.
    pub(super) fn on_learned(
        &mut self,
        from: NodeId,
        (life, instance): (u32, u64),
        (base, names, closes): (u64, Vec<Run>, bool),
        out: &mut Effects<Self>,
    ) {
        if instance != self.executing || !self.is_open(instance) {
            return;
        }
        self.open(instance);
        let told = &mut self.told[usize::from(from.0)];
        if (life, instance) < (told.life, told.instance) {
            return;
        }
        if (life, instance) != (told.life, told.instance) {
            *told = Told { life, instance, ..Told::default() };
        }
        told.parts.insert(base, (names, closes));
        self.take_told(from, out);
    }

    /// Takes what has come of another replica's order without a gap, as far as the commands are here.
    fn take_told(&mut self, from: NodeId, out: &mut Effects<Self>) {
        let at = usize::from(from.0);
        let instance = self.told[at].instance;
        loop {
            let Told { taken, parts, .. } = &self.told[at];
            let Some((names, closes)) = parts.get(taken) else { return };
            let learned = self.instance(instance).map(|held| &held.learned.contains);
            let lacks = |name: Name| {
                self.proposals.find(name).is_none() && !learned.is_some_and(|them| them.get(name))
            };
            let is_known = |run: &Run| self.proposals.known(*run) == run.count;
            if names.iter().any(|run| !is_known(run) && run.names().any(lacks)) {
                return;
            }
            let (names, closes) = (names.clone(), *closes);
            for name in names.into_iter().flat_map(Run::names) {
                self.learn(instance, name);
                self.told[at].taken += 1;
            }
            let Told { taken, parts, .. } = &mut self.told[at];
            *parts = parts.split_off(&(*taken + 1));
            if closes {
                self.on_closed(instance, out);
                return;
            }
        }
    }

    /// How much of an instance another replica has told, and need not tell again.
    fn told_by(&self, other: NodeId, instance: u64) -> u64 {
        let told = &self.told[usize::from(other.0)];
        if told.instance == instance { told.taken } else { 0 }
    }

    /// The state of a replica that is ahead has come.
    pub(super) fn on_state(&mut self, instance: u64, names: Vec<Run>, out: &mut Effects<Self>) {
        if instance <= self.executing {
            return;
        }
        out.push(Effect::InstallState);
        let record = MulticoordinatedRecord::Installed { instance, names: names.clone() };
        out.persist(record);
        self.counters.states_installed += 1;
        self.ask_for_answers(instance, &names);
        self.begin_at(instance, &names);
        let before = self.own.iter().map(|own| own.instance).filter(|own| *own < instance).max();
        if let Some(before) = before {
            self.propose_again(before, out);
        }
        self.proposals.forget_below(self.base);
    }

    /// All instances below are executed, and these commands of this one.
    fn begin_at(&mut self, instance: u64, names: &[Run]) {
        while self.base < instance && !self.instances.is_empty() {
            self.instances.pop_front();
            self.base += 1;
        }
        self.base = self.base.max(instance);
        self.executing = instance;
        self.proposing = self.proposing.max(instance);
        self.open(instance);
        let Some(held) = self.instance_mut(instance) else { return };
        let mut taken = super::names::Names::default();
        for run in names {
            taken.push(*run);
            run.names().for_each(|name| {
                held.learned.contains.set(name, true);
            });
        }
        // What was learned here and is not in the state comes after it.
        let before = std::mem::take(&mut held.learned.value.names);
        held.learned.executed = taken.len();
        for name in before.iter().filter(|name| !taken_contains(names, *name)) {
            taken.push_name(name);
        }
        held.learned.value.names = taken;
        let (unlearned, now) = (self.count_unlearned(instance), self.now);
        let Some(held) = self.instance_mut(instance) else { return };
        held.unlearned = 0;
        held.await_commands(unlearned, now);
    }

    /// Helps who is about something that is over here.
    pub(super) fn help(&mut self, from: NodeId, instance: u64, out: &mut Effects<Self>) {
        if instance < self.base && from != self.me {
            self.on_lagging(from, instance, 0, out);
        }
    }

    /// Takes back what the log says.
    pub(super) fn recall(&mut self, record: MulticoordinatedRecord) {
        match record {
            MulticoordinatedRecord::Major(major) => {
                if !mutant!(MajorForgotten) {
                    self.major = self.major.max(major);
                }
            }
            MulticoordinatedRecord::Accepted { instance, round, base, names, closes, commands } => {
                self.recall_commands(instance, commands);
                if !mutant!(VotesForgotten) {
                    self.recall_vote(instance, round, base, &names, closes);
                }
            }
            MulticoordinatedRecord::Executed { instance, names, commands } => {
                self.recall_commands(instance, commands);
                let commands = names.iter().copied().flat_map(Run::names);
                let commands = commands.filter_map(|name| self.proposals.command(name).cloned());
                self.replay.push(commands.collect::<Vec<_>>().into());
                self.executing = instance + 1;
                self.begin_at_least(instance + 1);
            }
            MulticoordinatedRecord::Installed { instance, names } => {
                self.replay.clear();
                self.begin_at(instance, &names);
                self.proposals.forget_below(self.base);
            }
        }
    }

    fn begin_at_least(&mut self, executing: u64) {
        self.proposing = self.proposing.max(executing);
        self.open(executing);
        while self.base < executing {
            self.instances.pop_front();
            self.base += 1;
        }
        self.proposals.forget_below(self.base);
    }

    fn recall_commands(&mut self, instance: u64, commands: Vec<(NodeId, u64, Batch)>) {
        let nobody = NodeSet::NONE;
        for (proposer, first, commands) in commands {
            let parcel = Parcel {
                first,
                commands,
                instance,
                coordinators: nobody,
                acceptors: nobody,
                classes: Vec::new(),
                is_logged: true,
            };
            let run = parcel.run(proposer);
            if self.proposals.insert(proposer, parcel) {
                self.open(instance);
                self.await_commands(instance, run);
            }
        }
    }

    fn recall_vote(&mut self, instance: u64, round: Round, base: u64, names: &[Run], closes: bool) {
        self.open(instance);
        let size = self.cluster.size;
        let Some(held) = self.instance_mut(instance) else { return };
        let accepted = &mut held.accepted;
        if accepted.vrnd < round || base == 0 {
            accepted.vrnd = round;
            accepted.vval = Value::default();
            accepted.contains = super::names::NameMap::new(size);
        }
        for run in names {
            accepted.vval.names.push(*run);
            run.names().for_each(|name| {
                accepted.contains.set(name, true);
            });
        }
        accepted.vval.is_closed |= closes;
        accepted.written = accepted.vval.length();
    }

    /// Whether an instance is one that something can still happen in.
    pub(super) fn is_open(&self, instance: u64) -> bool {
        instance >= self.base && instance < self.executing + INSTANCES_KEPT + super::INSTANCES_AHEAD
    }
}

fn taken_contains(names: &[Run], name: Name) -> bool {
    names.iter().any(|run| run.contains(name))
}
