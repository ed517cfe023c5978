//! The coordinator: *Phase2Start* with *ProvedSafe*, and *Phase2aClassic* (§3.2, §3.3.2).

use super::instance::{Coordinated, Phase1, Value};
use super::message::{MulticoordinatedMessage, Stream, Vote};
use super::names::{Name, NameMap, Names, Run};
use super::round::{RType, Round};
use super::tally::Tally;
use super::{Effects, Multicoordinated};
use crate::command::NodeId;
use crate::mutants::mutant;
use crate::protocol::quorum::NodeSet;

/// One acceptor's vote, with the value that it stands for.
struct Known {
    acceptor: NodeId,
    vote: Vote,
    value: Value,
}

impl Multicoordinated {
    /// An acceptor has joined a round that this replica coordinates, or has created.
    pub(super) fn on_1b(
        &mut self,
        from: NodeId,
        round: Round,
        (instance, onwards): (u64, bool),
        votes: Vec<Vote>,
        out: &mut Effects<Self>,
    ) {
        self.note_round(round);
        // Who knows of instances far ahead of this replica's knows better how to go on.
        let is_open = |instance: u64| self.is_open(instance.max(self.base));
        let is_near = is_open(instance) && votes.iter().all(|vote| is_open(vote.instance));
        if !self.coordinates(round) || round.major < self.life || !is_near {
            return;
        }
        // It has MCount on disk before it acts in a round, so that it never does so again in a later life.
        self.join_major(round.major, out);
        let fresh = Phase1::new(round, usize::from(self.cluster.size), self.now);
        // A promise tells what was accepted before the round: later ones are none.
        let late = votes.iter().filter(|vote| vote.vrnd >= round).map(|vote| vote.instance).max();
        let late = late.filter(|_| !mutant!(VotesOfThisRoundPicked));
        if onwards {
            let instance = late.map_or(instance, |late| instance.max(late + 1));
            if self.coordinating.is_some_and(|(begun, _)| begun >= round) {
                return;
            }
            let (phase1, from_instance) = self.opening.get_or_insert((fresh.clone(), instance));
            if phase1.round < round {
                (*phase1, *from_instance) = (fresh, instance);
            }
            if phase1.round == round {
                *from_instance = instance.max(*from_instance);
                phase1.promises[usize::from(from.0)] = Some(votes);
                self.start_onwards(out);
            }
            return;
        }
        self.note_ending(instance, round);
        let Some(held) = self.instance_mut(instance) else { return };
        if held.crnd() >= round || late.is_some() {
            return;
        }
        let phase1 = held.phase1.get_or_insert_with(|| fresh.clone());
        if phase1.round < round {
            *phase1 = fresh;
        }
        if phase1.round == round {
            phase1.promises[usize::from(from.0)] = Some(votes);
            self.start_instance(instance, out);
        }
    }

    /// Whether this replica has something to do in a round: as one of its coordinators, or as its creator.
    pub(super) fn coordinates(&self, round: Round) -> bool {
        round.coordinators.contains(self.me) || round.creator == self.me
    }

    /// How many 1b messages *Phase2Start* needs.
    fn promises_needed(&self) -> usize {
        if mutant!(OnePromiseTooFew) { self.quorums.classic - 1 } else { self.quorums.classic }
    }

    /// *Phase2Start* of a round for one instance, if a quorum has joined it and all it voted for is known here.
    pub(super) fn start_instance(&mut self, instance: u64, out: &mut Effects<Self>) {
        let Some(held) = self.instance(instance) else { return };
        let Some(phase1) = &held.phase1 else { return };
        let round = phase1.round;
        if phase1.promised().len() < self.promises_needed() || held.crnd() >= round {
            return;
        }
        let promises = phase1.promises.clone();
        let Some(promises) = self.known_promises(promises, out) else { return };
        let Some(picked) = self.pick(instance, &promises) else { return };
        if let Some(held) = self.instance_mut(instance) {
            held.phase1 = None;
        }
        self.counters.rounds_begun += 1;
        self.begin_value(instance, round, picked, out);
    }

    /// *Phase2Start* of a round for all instances from one on.
    pub(super) fn start_onwards(&mut self, out: &mut Effects<Self>) {
        let Some((phase1, from)) = &self.opening else { return };
        let (round, from) = (phase1.round, *from);
        if phase1.promised().len() < self.promises_needed() {
            return;
        }
        let promises = phase1.promises.clone();
        let Some(promises) = self.known_promises(promises, out) else { return };
        let all = promises.iter().flatten().flatten();
        let last = all.map(|vote| vote.instance).filter(|instance| *instance >= from).max();
        let voted: Vec<u64> = (from.max(self.base)..last.map_or(0, |last| last + 1)).collect();
        let mut picks = Vec::new();
        for instance in &voted {
            picks.push(self.pick(*instance, &promises));
        }
        if picks.iter().any(Option::is_none) {
            return;
        }
        self.opening = None;
        // Instances before it stay in the round that they are in.
        for instance in self.executing..from {
            let _ = self.forwarding(instance);
        }
        let fresh = last.map_or(from, |last| last + 1);
        self.coordinating = Some((round, from));
        self.fresh = if mutant!(PickedTakenForFresh) { from } else { fresh };
        self.counters.rounds_begun += 1;
        for (instance, picked) in voted.iter().zip(picks.into_iter().flatten()) {
            // It may have begun this round there, or a later one, for that instance alone.
            let has_begun = self.instance(*instance).is_some_and(|held| held.crnd() >= round);
            if !has_begun || mutant!(RoundBegunTwice) {
                self.begin_value(*instance, round, picked, out);
            }
        }
        if round.kind == RType::Fast && round.creator == self.me {
            let message = MulticoordinatedMessage::Phase2aAny { round, instance: fresh };
            self.tell_all(message, self.major_edge, out);
        }
        let open = fresh.max(self.base)..self.base + self.instances.len() as u64;
        open.for_each(|instance| self.append_pending(instance));
        self.on_opened(round, from, fresh, out);
    }

    /// The coordinator's value in a new round: what was picked, and then what was proposed. A single-coordinated
    /// round that takes over an instance closes it.
    fn begin_value(&mut self, instance: u64, round: Round, picked: Value, out: &mut Effects<Self>) {
        // Only single-coordinated rounds take over what is closed; the leader begins one in time.
        let is_stranger = !round.coordinators.contains(self.me);
        if is_stranger || picked.is_closed && round.kind != RType::Single {
            return;
        }
        let size = self.cluster.size;
        let start = if mutant!(PickNotMarked) { 0 } else { picked.length() };
        let mut contains = NameMap::new(size);
        picked.names.iter().for_each(|name| {
            contains.set(name, true);
        });
        let Some(held) = self.instance_mut(instance) else { return };
        held.coordinated =
            Some(Coordinated { crnd: round, cval: picked, start, contains, sent: 0, covered: 0 });
        match round.kind {
            RType::Single => {
                self.append_pending(instance);
                self.close(instance);
            }
            RType::Multi => self.append_pending(instance),
            RType::Fast => self.send_cval(instance, true, out),
            RType::Uncoordinated => self.accept_own(instance, round, out),
        }
    }

    /// Uncoordinated recovery: each acceptor accepts its own pick, and what was proposed in an order that is the
    /// same everywhere.
    fn accept_own(&mut self, instance: u64, round: Round, out: &mut Effects<Self>) {
        self.append_pending(instance);
        if self.rnd(instance) > round {
            return;
        }
        let Some(coordinated) = self.instance(instance).and_then(|held| held.coordinated.as_ref())
        else {
            return;
        };
        let names: Vec<Name> = coordinated.cval.names.iter().collect();
        if self.instance(instance).is_some_and(|held| held.accepted.vrnd < round) {
            self.begin_vote(instance, round, out);
            self.join(instance, round, out);
            for name in names {
                self.accept(instance, name);
            }
        }
    }

    /// *ProvedSafe* for the acceptors that have answered: none if not all is known here of what they voted for.
    fn pick(&mut self, instance: u64, promises: &[Option<Vec<Vote>>]) -> Option<Value> {
        let q = promises.iter().flatten().count();
        let vote_of =
            |votes: &Vec<Vote>| votes.iter().find(|vote| vote.instance == instance).copied();
        let votes: Vec<(NodeId, Vote)> = (0..)
            .map(NodeId)
            .zip(promises)
            .filter_map(|(acceptor, votes)| Some((acceptor, vote_of(votes.as_ref()?)?)))
            .collect();
        let highest = votes.iter().map(|(_, vote)| vote.vrnd).max();
        let lowest = votes.iter().map(|(_, vote)| vote.vrnd).min();
        let Some(k) = (if mutant!(LowestVoteCounts) { lowest } else { highest }) else {
            return Some(Value::default());
        };
        let voters = votes.into_iter().filter(|(_, vote)| vote.vrnd == k);
        let mut known = Vec::new();
        for (acceptor, vote) in voters {
            let value = self.value_of_vote(acceptor, &vote)?;
            known.push(Known { acceptor, vote, value });
        }
        self.proved_safe(instance, k, q, known)
    }

    /// The promises of those acceptors whose votes are known here with their commands, as far as *ProvedSafe* needs
    /// them; others are asked to say again. None if that is no quorum.
    fn known_promises(
        &mut self,
        mut promises: Vec<Option<Vec<Vote>>>,
        out: &mut Effects<Self>,
    ) -> Option<Vec<Option<Vec<Vote>>>> {
        while let Some((acceptor, vote)) = self.unknown_vote(&promises) {
            if self.value_of_vote(acceptor, &vote).is_some() {
                let now = self.now;
                self.instance_mut(vote.instance)?.block(now);
            } else {
                let held = self.instance_mut(vote.instance)?;
                let mirror = &held.acceptors[usize::from(acceptor.0)];
                let has = if mirror.round == vote.vrnd { mirror.value.names.len() } else { 0 };
                self.want(acceptor, Stream::Acceptor, (vote.vrnd, vote.instance), has, out);
            }
            promises[usize::from(acceptor.0)] = None;
        }
        let enough = promises.iter().flatten().count() >= self.promises_needed();
        enough.then_some(promises)
    }

    /// A vote of the highest round of an instance whose value is not known here, or not with all its commands: others may
    /// be unable to tell later what is behind the names.
    fn unknown_vote(&self, promises: &[Option<Vec<Vote>>]) -> Option<(NodeId, Vote)> {
        let all = || {
            (0..).map(NodeId).zip(promises).flat_map(|(acceptor, votes)| {
                votes.iter().flatten().map(move |vote| (acceptor, *vote))
            })
        };
        all().find(|(acceptor, vote)| {
            let higher = |other: &Vote| other.instance == vote.instance && other.vrnd > vote.vrnd;
            let is_highest = !all().any(|(_, other)| higher(&other));
            let is_held = vote.instance >= self.base;
            is_held && is_highest && !self.knows_vote(*acceptor, vote)
        })
    }

    fn knows_vote(&self, acceptor: NodeId, vote: &Vote) -> bool {
        let Some(value) = self.value_of_vote(acceptor, vote) else { return false };
        let knows = |run: &Run| self.proposals.known(*run) == run.count;
        value.names.runs().iter().all(knows) || mutant!(NamesAccepted)
    }

    /// The value that a vote stands for, if it is known.
    fn value_of_vote(&self, acceptor: NodeId, vote: &Vote) -> Option<Value> {
        if vote.length == 0 {
            return Some(Value::default());
        }
        let held = self.instance(vote.instance)?;
        if acceptor == self.me && held.accepted.vrnd == vote.vrnd {
            return Some(held.accepted.vval.prefix(vote.length));
        }
        held.value_of(acceptor, vote)
    }

    /// *ProvedSafe(Q, 1bMsg)*: with t = |Q| + |k-quorum| − n acceptors of Q in any k-quorum, the ⊔ of Γ, which has
    /// the ⊓ of each t voters at k; or any of their values if there are fewer. (§3.3.2 has n − 2E for fast rounds,
    /// which is right only where |Q| = n − E.)
    fn proved_safe(
        &mut self,
        instance: u64,
        k: Round,
        q: usize,
        known: Vec<Known>,
    ) -> Option<Value> {
        let n = usize::from(self.cluster.size);
        let k_quorum = if k.is_fast() { self.quorums.fast } else { self.quorums.classic };
        let t = match mutant!(IntersectionTooLarge) {
            true => (q + k_quorum - n) + 1,
            false => q + k_quorum - n,
        };
        if known.len() < t {
            return known.into_iter().map(|known| known.value).max_by_key(Value::length);
        }
        if k.kind == RType::Single {
            // All are prefixes of one: the t-th longest is the longest that t of them have.
            let mut lengths: Vec<u64> = known.iter().map(|known| known.vote.length).collect();
            lengths.sort_unstable_by(|a, b| b.cmp(a));
            let length = lengths[t - 1];
            let longest = known.into_iter().max_by_key(|known| known.vote.length)?;
            return Some(longest.value.prefix(length));
        }
        let mut tally = Tally::new(self.cluster.size, t);
        let mut names = Names::default();
        for Known { acceptor, value, .. } in known {
            for name in value.names.iter() {
                let Some(touches) = self.classes(instance, name) else {
                    let now = self.now;
                    self.instance_mut(instance)?.block(now);
                    return None;
                };
                let voted = tally.vote(acceptor, name, touches);
                if voted.is_some_and(|voted| voted.is_agreed) {
                    names.push_name(name);
                }
            }
        }
        Some(Value { names, is_closed: false })
    }

    /// The coordinator's variables of an instance, if it may put commands into it: *Phase2Start* is done, and no
    /// later round is known.
    fn forwarding(&mut self, instance: u64) -> Option<&mut Coordinated> {
        let (me, size) = (self.me, self.cluster.size);
        let (onwards, fresh) = (self.coordinating, self.fresh);
        let rnd = self.rnd(instance);
        let held = self.instance_mut(instance)?;
        if let Some((round, _)) = onwards
            && instance >= fresh
            && held.crnd() < round
            && matches!(round.kind, RType::Single | RType::Multi)
            && round.coordinators.contains(me)
        {
            held.coordinated = Some(Coordinated {
                crnd: round,
                cval: Value::default(),
                start: 0,
                contains: NameMap::new(size),
                sent: 0,
                covered: 0,
            });
        }
        let coordinated = held.coordinated.as_mut()?;
        let forwards = coordinated.crnd >= rnd && !coordinated.cval.is_closed;
        (forwards && coordinated.crnd.kind != RType::Fast).then_some(coordinated)
    }

    /// *Phase2aClassic* of all that was proposed and is not in the value.
    pub(super) fn append_pending(&mut self, instance: u64) {
        let me = self.me;
        let Some(coordinated) = self.forwarding(instance) else { return };
        let all = coordinated.crnd.kind != RType::Multi;
        let asked = self.proposals.of(instance);
        let asked = asked.filter(|(_, parcel)| all || parcel.coordinators.contains(me));
        let runs: Vec<Run> = asked.map(|(proposer, parcel)| parcel.run(proposer)).collect();
        for run in runs {
            self.append(instance, run);
        }
    }

    /// *Phase2aClassic*: *cval* • C, for commands that were proposed together. One that is there already is left
    /// out.
    fn append(&mut self, instance: u64, run: Run) {
        let checkpoint = self.options.checkpoint as u64;
        let watches = self.watches_conflicts();
        let Some(coordinated) = self.forwarding(instance) else { return };
        let mut appended: u64 = 0;
        for name in run.names() {
            if !coordinated.contains.set(name, true) || mutant!(DuplicatesForwarded) {
                coordinated.cval.names.push_name(name);
                appended += 1;
            }
        }
        let is_long = coordinated.cval.names.len() >= checkpoint;
        let closes = coordinated.crnd.kind == RType::Single && is_long;
        self.counters.forwarded += appended;
        if watches {
            self.watch_conflicts(instance, run);
        }
        if closes {
            self.close(instance);
        }
    }

    /// A proposal for this coordinator. Who was not asked at first, and is now, forwards what was learned meanwhile
    /// first: what comes before the proposal may be in it.
    pub(super) fn forward_proposal(&mut self, instance: u64, run: Run, is_repeated: bool) {
        if is_repeated && !mutant!(PredecessorsNotForwarded) {
            self.cover(instance);
        }
        self.append(instance, run);
    }

    fn cover(&mut self, instance: u64) {
        let Some(coordinated) = self.forwarding(instance) else { return };
        let from = coordinated.covered;
        let Some(held) = self.instance(instance) else { return };
        let learned = &held.learned.value.names;
        let runs: Vec<Run> = learned.between(from, learned.len()).collect();
        let covered = learned.len();
        for run in runs {
            self.append(instance, run);
        }
        if let Some(coordinated) = self.forwarding(instance) {
            coordinated.covered = covered;
        }
    }

    /// The checkpoint: a command that interferes with all (Lamport §6.3). Only a single-coordinated round proposes
    /// it, as everywhere else it would collide with all that is under way.
    pub(super) fn close(&mut self, instance: u64) {
        let Some(coordinated) = self.forwarding(instance) else { return };
        if coordinated.crnd.kind == RType::Single {
            coordinated.cval.is_closed = true;
            self.counters.checkpoints += 1;
            self.note_ended(instance);
        }
    }

    /// The turn ends: what was put into values is sent.
    pub(super) fn send_cvals(&mut self, out: &mut Effects<Self>) {
        for instance in self.base..self.base + self.instances.len() as u64 {
            self.send_cval(instance, false, out);
        }
    }

    fn send_cval(&mut self, instance: u64, even_nothing: bool, out: &mut Effects<Self>) {
        let runs_max = self.options.runs_max;
        let Some(held) = self.instance_mut(instance) else { return };
        let Some(coordinated) = &mut held.coordinated else { return };
        let (base, length) = (coordinated.sent, coordinated.cval.length());
        if coordinated.crnd.kind == RType::Uncoordinated || (base >= length && !even_nothing) {
            return;
        }
        coordinated.sent = length;
        let messages = coordinated.messages(instance, base, runs_max);
        let names: Vec<Run> = coordinated.cval.names.between(base, length).collect();
        self.send_along(instance, &names, out);
        for message in messages {
            self.tell_all(message, self.major_edge, out);
        }
    }

    /// Somebody has missed a part of *cval*.
    pub(super) fn repeat_cval(
        &mut self,
        to: NodeId,
        (round, instance): (Round, u64),
        from: u64,
        out: &mut Effects<Self>,
    ) {
        let Some(held) = self.instance(instance) else { return };
        let Some(coordinated) = &held.coordinated else { return };
        if coordinated.crnd != round || coordinated.crnd.kind == RType::Uncoordinated {
            return;
        }
        for message in
            coordinated.messages(instance, from.min(coordinated.sent), self.options.runs_max)
        {
            self.tell(to, message, self.major_edge, out);
        }
    }

    /// A coordinator that has missed the promises of the round that stands asks for them (*Phase1a* is any
    /// coordinator's).
    pub(super) fn coordinate_late(&mut self, out: &mut Effects<Self>) {
        let (round, instance) = self.standing;
        let begun = self.coordinating.is_some_and(|(begun, _)| begun >= round);
        if round.kind == RType::Multi && round.coordinators.contains(self.me) && !begun {
            let instance = instance.max(self.executing);
            let message = MulticoordinatedMessage::Phase1a { round, instance, onwards: true };
            self.tell_all(message, self.major_edge, out);
        }
    }

    /// Who the sender of a stream is asked to say again from a position on.
    pub(super) fn want(
        &mut self,
        whom: NodeId,
        stream: Stream,
        (round, instance): (Round, u64),
        from: u64,
        out: &mut Effects<Self>,
    ) {
        if whom != self.me {
            self.counters.wants += 1;
            out.send(whom, MulticoordinatedMessage::Want { stream, round, instance, from });
        }
    }

    /// Who seems to be down.
    pub(super) fn suspects(&self) -> NodeSet {
        self.cluster.nodes().filter(|node| self.election.suspects(*node)).collect()
    }
}

impl Coordinated {
    /// 2a messages of the value from a position on.
    fn messages(&self, instance: u64, from: u64, runs_max: usize) -> Vec<MulticoordinatedMessage> {
        let (round, start) = (self.crnd, self.start);
        let parts = super::parts(&self.cval, from, runs_max);
        let message = |(base, names, closes)| MulticoordinatedMessage::Phase2a {
            round,
            instance,
            start,
            base,
            names,
            closes,
        };
        parts.into_iter().map(message).collect()
    }
}
