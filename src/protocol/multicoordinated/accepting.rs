//! The acceptor: *Phase1b*, *Phase2bClassic*, *Phase2bFast* (§3.2), and the collisions that it sees (§4.2).

use std::collections::VecDeque;

use super::instance::Mirror;
use super::message::{MulticoordinatedMessage, MulticoordinatedRecord, Vote};
use super::names::{Name, Run};
use super::round::{RType, Round};
use super::tally::Tally;
use super::{Effects, Multicoordinated};
use crate::command::NodeId;
use crate::mutants::mutant;
use crate::protocol::Batch;
use crate::protocol::quorum::NodeSet;

impl Multicoordinated {
    /// *rnd* of an instance.
    pub(super) fn rnd(&self, instance: u64) -> Round {
        let (round, from) = self.standing;
        let standing = if instance >= from { round } else { Round::first_of(self.life) };
        self.instance(instance).map_or(standing, |held| held.accepted.rnd.max(standing))
    }

    /// Joins a round of an instance, unless it is there already.
    pub(super) fn join(&mut self, instance: u64, round: Round, out: &mut Effects<Self>) {
        self.note_round(round);
        self.join_major(round.major, out);
        let Some(held) = self.instance_mut(instance) else { return };
        held.accepted.rnd = held.accepted.rnd.max(round);
    }

    /// *MCount* is on disk before any message of a round with it leaves (§4.4); the rest of *rnd* never is.
    pub(super) fn join_major(&mut self, major: u32, out: &mut Effects<Self>) {
        if major > self.major {
            self.major = major;
            self.major_edge = out.persist(MulticoordinatedRecord::Major(major));
        }
    }

    /// *Phase1b*: joins a round that is above *rnd*, and says what it has accepted. A 1a that is repeated is
    /// answered again.
    pub(super) fn on_1a(
        &mut self,
        from: NodeId,
        round: Round,
        (instance, onwards): (u64, bool),
        out: &mut Effects<Self>,
    ) {
        if !self.is_open(instance) {
            self.help(from, instance, out);
            return;
        }
        let highest = self.highest_rnd(instance, onwards);
        if round < highest && !mutant!(LowRoundJoined) {
            let message = MulticoordinatedMessage::TooLow { round, instance, rnd: highest };
            self.tell(from, message, self.major_edge, out);
            return;
        }
        if onwards {
            self.join_onwards(instance, round, out);
        } else {
            self.join(instance, round, out);
            self.note_ending(instance, round);
        }
        self.promise(round, (instance, onwards), out);
    }

    /// The highest *rnd* of an instance, or of it and all after it.
    fn highest_rnd(&self, instance: u64, onwards: bool) -> Round {
        if !onwards {
            return self.rnd(instance);
        }
        let later = instance.max(self.base)..self.base + self.instances.len() as u64;
        later.map(|instance| self.rnd(instance)).fold(self.standing.0, Round::max)
    }

    fn join_onwards(&mut self, from: u64, round: Round, out: &mut Effects<Self>) {
        self.note_round(round);
        self.join_major(round.major, out);
        let (before, began) = self.standing;
        if before == round {
            // A promise for more instances, which comes late, holds as well.
            self.standing.1 = began.min(from);
            return;
        }
        // Instances before it stay where they are.
        for instance in began.max(self.base)..from {
            if let Some(held) = self.instance_mut(instance) {
                held.accepted.rnd = held.accepted.rnd.max(before);
            }
        }
        self.standing = (round, from);
        self.highest_standing = self.highest_standing.max(round);
    }

    /// Sends a 1b to all coordinators of the round.
    fn promise(&mut self, round: Round, (instance, onwards): (u64, bool), out: &mut Effects<Self>) {
        self.write_votes(out);
        let last = if onwards { self.base + self.instances.len() as u64 } else { instance + 1 };
        let votes = (instance.max(self.base)..last).filter_map(|instance| self.vote(instance));
        let votes = votes.collect();
        let message = MulticoordinatedMessage::Phase1b { round, instance, onwards, votes };
        // What it says of vval is on disk.
        let edge = out.last_write();
        let mut coordinators = round.coordinators;
        coordinators.insert(round.creator);
        for coordinator in coordinators.iter() {
            self.tell(coordinator, message.clone(), edge, out);
        }
    }

    /// What it has accepted in an instance.
    pub(super) fn vote(&self, instance: u64) -> Option<Vote> {
        let accepted = &self.instance(instance)?.accepted;
        let length = accepted.vval.length();
        (!accepted.vrnd.is_zero()).then_some(Vote { instance, vrnd: accepted.vrnd, length })
    }

    /// *cval* of a coordinator goes on.
    pub(super) fn on_2a(
        &mut self,
        from: NodeId,
        (round, instance): (Round, u64),
        start: u64,
        (base, names, closes): (u64, &[Run], bool),
        out: &mut Effects<Self>,
    ) {
        if !self.is_open(instance) {
            self.help(from, instance, out);
            return;
        }
        let rnd = self.rnd(instance);
        let Some(held) = self.instance_mut(instance) else { return };
        let mirror = &mut held.coordinators[usize::from(from.0)];
        mirror.follow(round);
        if mirror.round == round {
            mirror.mark = start;
            let _ = mirror.extend(base, names, closes);
        }
        if closes {
            self.note_ended(instance);
        }
        if round < rnd {
            let message = MulticoordinatedMessage::TooLow { round, instance, rnd };
            self.tell(from, message, self.major_edge, out);
        }
        self.note_round(round);
        self.take_from(instance, from, out);
        if round.kind == RType::Single {
            self.learn_row(instance, round, out);
        }
    }

    /// Accepts what a coordinator's value allows to accept.
    pub(super) fn take_from(&mut self, instance: u64, from: NodeId, out: &mut Effects<Self>) {
        let rnd = self.rnd(instance);
        let Some(held) = self.instance(instance) else { return };
        let round = held.coordinators[usize::from(from.0)].round;
        if round < rnd && !mutant!(LowRoundAccepted) || round.is_zero() {
            return;
        }
        // What is closed has forgotten what interferes, and needs no votes but those of a row.
        let is_over = held.learned.value.is_closed && round.kind != RType::Single;
        if is_over {
            return;
        }
        match round.kind {
            RType::Single => self.take_row(instance, round, out),
            RType::Multi => self.take_quorums(instance, round, from, out),
            RType::Fast => self.take_start(instance, round, out),
            RType::Uncoordinated => {}
        }
    }

    /// *Phase2bClassic* of a single-coordinated round: a coordinator quorum has one member, and its value is
    /// accepted as it grows.
    fn take_row(&mut self, instance: u64, round: Round, out: &mut Effects<Self>) {
        let known = self.known_of(instance, round);
        self.note_blocked(instance, round, known);
        let Some(known) = known else { return };
        let Some(held) = self.instance(instance) else { return };
        let mirror = &held.coordinators[usize::from(round.creator.0)];
        let closes = mirror.value.is_closed && known == mirror.value.names.len();
        let vrnd = held.accepted.vrnd;
        let have = if vrnd == round { held.accepted.vval.names.len() } else { 0 };
        let runs: Vec<Run> = mirror.value.names.between(have, known).collect();
        if vrnd < round {
            self.begin_vote(instance, round, out);
        }
        self.join(instance, round, out);
        let Some(held) = self.instance_mut(instance) else { return };
        let mut count = 0;
        for run in runs {
            count += u64::from(run.count);
            held.accepted.vval.names.push(run);
        }
        held.accepted.vval.is_closed |= closes;
        self.counters.accepted += count;
    }

    /// How much of the value of a round's creator can be accepted: that of which the commands are known, if it
    /// is no less than what *Phase2Start* picked, as nothing less is safe.
    fn known_of(&self, instance: u64, round: Round) -> Option<u64> {
        let held = self.instance(instance)?;
        let mirror = &held.coordinators[usize::from(round.creator.0)];
        let vrnd = held.accepted.vrnd;
        if vrnd > round {
            return None;
        }
        let have = if vrnd == round { held.accepted.vval.names.len() } else { 0 };
        let known = self.known_names(mirror, have);
        // A checkpoint counts only behind all that is before it.
        let closes = mirror.value.is_closed && known == mirror.value.names.len();
        let safe = mutant!(PartOfThePickAccepted) || known + u64::from(closes) >= mirror.mark;
        let begins = mirror.value.length() > 0 || mirror.mark == 0;
        (safe && begins).then_some(known)
    }

    /// Notes that commands are missing which a creator's value names.
    fn note_blocked(&mut self, instance: u64, round: Round, known: Option<u64>) {
        let Some(held) = self.instance(instance) else { return };
        let mirror = &held.coordinators[usize::from(round.creator.0)];
        let vrnd = held.accepted.vrnd;
        let have = if vrnd == round { held.accepted.vval.names.len() } else { 0 };
        let known =
            known.unwrap_or_else(|| self.known_names(mirror, have.min(mirror.value.names.len())));
        let missing = mirror.value.names.between(known, known + 1).next();
        self.note_missing(instance, round.creator, missing);
    }

    /// Notes that the command of this name, if there is one, keeps a coordinator's value from being taken.
    fn note_missing(&mut self, instance: u64, coordinator: NodeId, missing: Option<Run>) {
        let Some(missing) = missing else { return };
        let name = Name { proposer: missing.proposer, number: missing.first };
        self.note_waiting(coordinator, name);
        let now = self.now;
        if let Some(held) = self.instance_mut(instance) {
            held.block(now);
        }
    }

    /// How many names of a mirror have known commands, which those before `from` have.
    pub(super) fn known_names(&self, mirror: &Mirror, from: u64) -> u64 {
        let mut known = from;
        for run in mirror.value.names.between(from, mirror.value.names.len()) {
            let part = self.proposals.known(run);
            known += u64::from(part);
            if part < run.count {
                break;
            }
        }
        known
    }

    /// *Phase2bClassic* of a fast round: what its creator begins with.
    fn take_start(&mut self, instance: u64, round: Round, out: &mut Effects<Self>) {
        let Some(held) = self.instance(instance) else { return };
        if held.accepted.vrnd >= round {
            return;
        }
        let known = self.known_of(instance, round);
        self.note_blocked(instance, round, known);
        let Some(known) = known else { return };
        let Some(held) = self.instance(instance) else { return };
        let mirror = &held.coordinators[usize::from(round.creator.0)];
        let runs: Vec<Run> = mirror.value.names.between(0, known).collect();
        self.begin_vote(instance, round, out);
        self.join(instance, round, out);
        runs.into_iter().flat_map(Run::names).for_each(|name| self.accept(instance, name));
        self.take_proposals(instance);
    }

    /// *Phase2bClassic* of a multicoordinated round: ⊓ of what every coordinator quorum has forwarded.
    fn take_quorums(&mut self, instance: u64, round: Round, from: NodeId, out: &mut Effects<Self>) {
        let quorum = match mutant!(OneCoordinatorIsEnough) {
            true => 1,
            false => round.coordinator_quorum(),
        };
        let size = self.cluster.size;
        let Some(held) = self.instance_mut(instance) else { return };
        if held.forwarded.as_ref().is_none_or(|(counted, _)| *counted < round) {
            held.forwarded = Some((round, Tally::new(size, quorum)));
            held.coordinators.iter_mut().for_each(|mirror| mirror.counted = 0);
            for coordinator in round.coordinators.iter().filter(|node| *node != from) {
                self.count_forwarded(instance, round, coordinator, out);
            }
        }
        self.count_forwarded(instance, round, from, out);
    }

    fn count_forwarded(
        &mut self,
        instance: u64,
        round: Round,
        from: NodeId,
        out: &mut Effects<Self>,
    ) {
        let index = usize::from(from.0);
        let Some(held) = self.instance(instance) else { return };
        let mirror = &held.coordinators[index];
        let (counted, start) = (mirror.counted, mirror.mark);
        let current = held.forwarded.as_ref().is_some_and(|(of, _)| *of == round);
        if mirror.round != round || !current || held.accepted.vrnd > round {
            return;
        }
        let known = self.known_names(mirror, counted);
        let missing = mirror.value.names.between(known, known + 1).next();
        self.note_missing(instance, from, missing);
        if known < start {
            return;
        }
        let Some(held) = self.instance(instance) else { return };
        let mirror = &held.coordinators[index];
        let names: Vec<Name> =
            mirror.value.names.between(counted, known).flat_map(Run::names).collect();
        let mut collides = false;
        for (at, name) in (counted..).zip(names) {
            collides |= self.count_one_forwarded(instance, (round, from), name, at < start, out);
        }
        let Some(held) = self.instance_mut(instance) else { return };
        held.coordinators[index].counted = known;
        // Not before all of it is counted: to join the next round is to tell what was accepted in this one, and part
        // of what was picked is not safe.
        if collides && !mutant!(PickLeftForACollision) {
            self.on_collision(instance, round, out);
        }
    }

    /// A coordinator has put a command into its value; `is_picked` says that *Phase2Start* did. Whether that is a
    /// collision.
    fn count_one_forwarded(
        &mut self,
        instance: u64,
        (round, from): (Round, NodeId),
        name: Name,
        is_picked: bool,
        out: &mut Effects<Self>,
    ) -> bool {
        let Some(touches) = self.classes(instance, name) else { return false };
        let Some(held) = self.instance_mut(instance) else { return false };
        let Some((_, tally)) = &mut held.forwarded else { return false };
        let Some(voted) = tally.vote(from, name, touches) else { return false };
        let collides = voted.is_disputed && self.is_collision(instance, round, (from, voted.node));
        if collides && mutant!(PickLeftForACollision) {
            self.on_collision(instance, round, out);
        }
        if !voted.is_agreed || self.rnd(instance) > round {
            return collides;
        }
        let Some(held) = self.instance(instance) else { return collides };
        if held.accepted.vrnd < round {
            self.begin_vote(instance, round, out);
            self.join(instance, round, out);
        }
        self.accept_or_defer(instance, name, voted.node, is_picked);
        collides
    }

    /// Whether a coordinators' dispute that this vote has led to cannot be settled by who has not spoken yet.
    fn is_collision(&self, instance: u64, round: Round, (from, node): (NodeId, u32)) -> bool {
        let forwarded = self.instance(instance).and_then(|held| held.forwarded.as_ref());
        let Some((_, tally)) = forwarded else { return false };
        let up = round.coordinators.minus(self.suspects());
        tally.disputed(from, node).any(|name| {
            let asked = self.proposals.find(name).map(|parcel| parcel.coordinators);
            let asked = asked.filter(|set| !set.is_empty()).unwrap_or(round.coordinators);
            tally.is_stuck(name, asked.and(up))
        })
    }

    /// A coordinator quorum agrees on a command. Who was not asked to accept it does not, unless it must be there
    /// for what was picked, or for what comes after it.
    fn accept_or_defer(&mut self, instance: u64, name: Name, node: u32, is_picked: bool) {
        let me = self.me;
        let balance = self.options.balance;
        let asked = self
            .proposals
            .find(name)
            .is_none_or(|parcel| !balance || parcel.acceptors.contains(me));
        let Some(held) = self.instance_mut(instance) else { return };
        if !asked && !is_picked {
            held.accepted.deferred.push_back((name, node));
            return;
        }
        let lacks = |before: Name| !held.accepted.contains.get(before);
        let tally = held.forwarded.as_ref().map(|(_, tally)| tally);
        let waits = !held.accepted.deferred.is_empty()
            && tally.is_some_and(|tally| tally.names_before(node).any(lacks));
        if waits && !mutant!(PredecessorsNotAccepted) {
            self.accept_deferred(instance);
        }
        self.accept(instance, name);
    }

    /// Accepts what it had left to others, in an order in which it may.
    pub(super) fn accept_deferred(&mut self, instance: u64) {
        let rnd = self.rnd(instance);
        let Some(held) = self.instance_mut(instance) else { return };
        // A round that was joined since forbids it.
        if rnd > held.accepted.vrnd && !mutant!(DeferredDespitePromise) {
            return;
        }
        for (name, _) in std::mem::take(&mut held.accepted.deferred) {
            self.accept(instance, name);
        }
    }

    /// Accepts those of them which, as it turns out, it was asked to accept itself.
    pub(super) fn accept_deferred_of(&mut self, instance: u64, run: Run) {
        let Some(held) = self.instance_mut(instance) else { return };
        let deferred = std::mem::take(&mut held.accepted.deferred);
        let (asked, others): (VecDeque<_>, VecDeque<_>) =
            deferred.into_iter().partition(|(name, _)| run.contains(*name));
        held.accepted.deferred = others;
        let rnd = self.rnd(instance);
        let is_over = |held: &super::instance::Instance| rnd > held.accepted.vrnd;
        if self.instance(instance).is_none_or(is_over) {
            return;
        }
        for (name, node) in asked {
            self.accept_or_defer(instance, name, node, false);
        }
    }

    /// *vval* • C
    pub(super) fn accept(&mut self, instance: u64, name: Name) {
        let rnd = self.rnd(instance);
        let Some(held) = self.instance_mut(instance) else { return };
        // The mutants that break the rule are for the checks of the outcome to find.
        let broken =
            [mutant!(DeferredDespitePromise), mutant!(LowRoundAccepted), mutant!(VrndNotUpdated)];
        let in_order = rnd <= held.accepted.vrnd || broken.contains(&true);
        assert!(in_order, "accepts in {}, and has joined {rnd}", held.accepted.vrnd);
        if !held.accepted.contains.set(name, true) {
            held.accepted.vval.names.push_name(name);
            self.counters.accepted += 1;
        }
    }

    /// The first value of a round takes the place of the one before.
    pub(super) fn begin_vote(&mut self, instance: u64, round: Round, out: &mut Effects<Self>) {
        self.write_votes(out);
        self.count_lost(instance);
        let size = self.cluster.size;
        let Some(held) = self.instance_mut(instance) else { return };
        let accepted = &mut held.accepted;
        if !mutant!(VrndNotUpdated) {
            accepted.vrnd = round;
        }
        accepted.vval = super::instance::Value::default();
        accepted.contains = super::names::NameMap::new(size);
        accepted.written = 0;
        accepted.deferred.clear();
    }

    /// What was written to disk and could not be learned in its round.
    fn count_lost(&mut self, instance: u64) {
        let Some(held) = self.instance(instance) else { return };
        let Some((round, tally)) = &held.votes else { return };
        if *round != held.accepted.vrnd {
            return;
        }
        let up = NodeSet::all(self.cluster.size).minus(self.suspects());
        let lost = |name: &Name| !held.learned.contains.get(*name) && tally.is_stuck(*name, up);
        let lost = held.accepted.vval.names.iter().filter(lost).count() as u64;
        self.counters.collision_writes += lost;
    }

    /// *Phase2Start* of a fast round with ⊥: from this instance on, acceptors take proposals.
    pub(super) fn on_2a_any(&mut self, round: Round, from: u64, out: &mut Effects<Self>) {
        if !self.is_open(from.max(self.base)) {
            return;
        }
        let rnd = self.highest_rnd(from, true);
        if round < rnd {
            let message = MulticoordinatedMessage::TooLow { round, instance: from, rnd };
            self.tell(round.creator, message, self.major_edge, out);
            return;
        }
        self.join_onwards(from, round, out);
        self.any = (round, from);
        let open = from.max(self.base)..self.base + self.instances.len() as u64;
        open.for_each(|instance| self.take_fast(instance, out));
    }

    /// Whether the acceptor takes proposals in an instance.
    fn is_fast(&self, instance: u64) -> bool {
        let rnd = self.rnd(instance);
        let begun = self.instance(instance).is_some_and(|held| held.accepted.vrnd == rnd);
        rnd.is_fast() && (begun || self.any.0 == rnd && instance >= self.any.1)
    }

    /// *Phase2bFast* of all proposals that are here.
    pub(super) fn take_fast(&mut self, instance: u64, out: &mut Effects<Self>) {
        if self.is_fast(instance) {
            self.begin_fast(instance, out);
            self.take_proposals(instance);
        }
    }

    fn begin_fast(&mut self, instance: u64, out: &mut Effects<Self>) {
        let rnd = self.rnd(instance);
        let vrnd = self.instance(instance).map(|held| held.accepted.vrnd);
        if vrnd.is_some_and(|vrnd| vrnd < rnd) {
            self.begin_vote(instance, rnd, out);
        }
    }

    pub(super) fn take_proposals(&mut self, instance: u64) {
        let me = self.me;
        let asked = self.proposals.of(instance).filter(|(_, parcel)| parcel.acceptors.contains(me));
        let runs: Vec<Run> = asked.map(|(proposer, parcel)| parcel.run(proposer)).collect();
        runs.into_iter().flat_map(Run::names).for_each(|name| self.accept(instance, name));
    }

    /// *Phase2bFast* of new proposals. Who was not asked at first, and is now, takes what was learned meanwhile
    /// first: what comes before the proposal may be in it.
    pub(super) fn accept_proposal(
        &mut self,
        instance: u64,
        run: Run,
        is_repeated: bool,
        out: &mut Effects<Self>,
    ) {
        if !self.is_fast(instance) {
            return;
        }
        self.begin_fast(instance, out);
        if is_repeated {
            let learned: Vec<Name> = self.learned_names(instance);
            for name in learned {
                self.accept(instance, name);
            }
        }
        run.names().for_each(|name| self.accept(instance, name));
    }

    /// A collision in a round: whoever sees it acts as if asked to join the next one (§4.2). Not if the leader
    /// is to begin it from scratch.
    pub(super) fn on_collision(&mut self, instance: u64, round: Round, out: &mut Effects<Self>) {
        let Some(held) = self.instance_mut(instance) else { return };
        if held.collided >= round {
            return;
        }
        held.collided = round;
        self.counters.collisions += 1;
        if mutant!(CollisionIgnored) {
            return;
        }
        let next = self.next_round(round);
        if self.leading.is_some() && next.creator != self.me {
            // Its creator does not lead any more, and may be gone.
            let fresh = self.fresh_single();
            self.recover_from_scratch(instance, fresh, out);
        } else if self.options.recovery == super::options::Recovery::Leader {
            self.recover_from_scratch(instance, next, out);
        } else if self.rnd(instance) < next {
            if !mutant!(CollisionJoinsThisRound) {
                self.join(instance, next, out);
            }
            self.note_ending(instance, next);
            self.promise(next, (instance, false), out);
        }
        self.settle_after_collision(instance, round, out);
    }

    /// *i + 1*
    pub(super) fn next_round(&self, round: Round) -> Round {
        let uncoordinated = self.options.recovery == super::options::Recovery::Uncoordinated;
        round.next(uncoordinated, NodeSet::all(self.cluster.size))
    }

    /// The turn ends, or a promise leaves: what was accepted goes to the log, and from there to the learners.
    pub(super) fn write_votes(&mut self, out: &mut Effects<Self>) {
        for instance in self.base..self.base + self.instances.len() as u64 {
            self.write_vote(instance, out);
        }
    }

    fn write_vote(&mut self, instance: u64, out: &mut Effects<Self>) {
        let Some(held) = self.instance(instance) else { return };
        let accepted = &held.accepted;
        let (written, length, round) = (accepted.written, accepted.vval.length(), accepted.vrnd);
        if written >= length {
            return;
        }
        let names: Vec<Run> =
            accepted.vval.names.between(written, accepted.vval.names.len()).collect();
        let closes = accepted.vval.is_closed;
        let commands = self.unlogged(&names);
        self.counters.accept_writes += 1;
        let base = written;
        let edge = out.persist(MulticoordinatedRecord::Accepted {
            instance,
            round,
            base,
            names: names.clone(),
            closes,
            commands,
        });
        if let Some(held) = self.instance_mut(instance) {
            held.accepted.written = length;
            held.accepted.edge = edge;
        }
        let message = match round.kind {
            RType::Single => MulticoordinatedMessage::Phase2bPrefix { round, instance, length },
            _ => MulticoordinatedMessage::Phase2b { round, instance, base, names, closes },
        };
        let edge = if mutant!(AcceptedBeforeDurable) { crate::protocol::WriteId(0) } else { edge };
        self.tell_all(message, edge, out);
    }

    /// The commands of these names that the log does not have.
    pub(super) fn unlogged(&mut self, names: &[Run]) -> Vec<(NodeId, u64, Batch)> {
        let mut commands = Vec::new();
        for run in names {
            let (mut number, end) = (run.first, run.first + u64::from(run.count));
            while number < end {
                let name = Name { proposer: run.proposer, number };
                let Some(parcel) = self.proposals.find_mut(name) else {
                    // It came with the state, as what it has done.
                    number += 1;
                    continue;
                };
                if !std::mem::replace(&mut parcel.is_logged, true) {
                    commands.push((run.proposer, parcel.first, parcel.commands.clone()));
                }
                number = parcel.end();
            }
        }
        commands
    }
}
