//! Phase 1, Paxos-Accept and Commit (§5.1), with the fast paths of §5 and §6.1.

use std::sync::Arc;

use super::Epaxos;
use super::deps::{Attributes, Deps, PerNode};
use super::instances::{Instance, Row};
use super::message::{EpaxosMessage, EpaxosRecord, Initial, InstanceId, Phase, Proposal};
use super::options::{FastPath, ReplyAt};
use super::work::{Accepting, PreAcceptVote, PreAccepting, Work};
use crate::command::{Command, NodeId};
use crate::mutants::mutant;
use crate::protocol::ballot::Round;
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Effect, Effects, Time, WriteId};

/// What Phase 1 comes to.
enum Phase1 {
    /// More answers may still make a difference.
    Open,
    /// Committed after one round trip.
    Fast(Attributes),
    /// The fast path is out of reach, and a majority has answered: the union of what it says.
    Slow(Attributes),
}

impl Epaxos {
    /// Phase 1, lines 6 to 11.
    pub(super) fn on_pre_accept(
        &mut self,
        now: Time,
        from: NodeId,
        id: InstanceId,
        initial: Initial,
        out: &mut Effects<Self>,
    ) {
        if !self.has_places(&initial.attributes) {
            return;
        }
        let Some(instance) = self.rows.make(id, now) else { return };
        if instance.is_committed() {
            return self.tell_commit(from, id, out);
        }
        let first = Round::first_of(self.epochs.of(id));
        if instance.ballot > first && !mutant!(PreAcceptAfterPrepare) {
            let promised = Some(instance.ballot);
            let nack = EpaxosMessage::Nack { id, ballot: first, promised };
            return self.reply(from, nack, out.last_write(), out);
        }
        let again = mutant!(VoteRecomputed) && instance.phase == Phase::PreAccepted;
        if instance.phase == Phase::Initial || again {
            self.vote(now, id, initial, out);
        }
        // Asked again, it answers as it did the first time.
        self.answer_pre_accept(from, id, out);
    }

    /// Records a command with all that it depends on as far as this replica knows.
    fn vote(&mut self, now: Time, id: InstanceId, initial: Initial, out: &mut Effects<Self>) {
        let keys = self.conflicts.keys(&initial.command);
        let proposed = &initial.attributes.deps;
        let mut local = Deps {
            prefix: self.floors(proposed),
            settled: proposed.settled.clone(),
            ids: Vec::new(),
        };
        self.conflicts.add_known(id, &keys, &mut local);
        let epoch = self.epochs.of(id);
        if !mutant!(LaterEpochNamed) {
            self.epochs.leave_out_later(epoch, &mut local);
        }
        let known = if mutant!(SeqNotRaised) { 0 } else { self.next_seq(epoch, &local.ids) };
        let seq = known.max(initial.attributes.seq);
        let mut attributes = initial.attributes.clone();
        attributes.unite(&Attributes { seq, deps: Arc::new(local) });
        let changed = (attributes != initial.attributes).then(|| attributes.clone());
        self.counters.conflicts += u64::from(changed.is_some());
        self.conflicts.record(id, &keys);
        let instance = self.rows.get_mut(id).expect("it was made for this");
        instance.phase = Phase::PreAccepted;
        instance.proposal = Some(Proposal::Command(initial.command.clone()));
        instance.attributes = Some(attributes);
        instance.initial = Some(initial.clone());
        instance.keys = keys;
        instance.since = now;
        out.persist(EpaxosRecord::PreAccepted { id, initial, attributes: changed });
    }

    /// What a vote must depend on because this replica can no longer tell, or has let others forget, what
    /// was there (`keeping`). Nothing, unless the proposer lags.
    fn floors(&self, proposed: &Deps) -> PerNode {
        let floor = |(owner, row): (NodeId, &Row)| {
            let place = usize::from(owner.0);
            let floor = row.base().max(self.allowed[place]);
            let lags = floor > proposed.covered_below(place) && !mutant!(VotesWithoutFloors);
            if lags { floor } else { proposed.prefix[place] }
        };
        self.rows.iter().map(floor).collect()
    }

    fn answer_pre_accept(&mut self, to: NodeId, id: InstanceId, out: &mut Effects<Self>) {
        let Some(instance) = self.rows.get(id) else { return };
        let (Some(attributes), Some(initial)) = (&instance.attributes, &instance.initial) else {
            return;
        };
        if instance.phase != Phase::PreAccepted {
            return;
        }
        let changed = (*attributes != initial.attributes).then(|| attributes.clone());
        let uncommitted = self.uncommitted(attributes);
        let epoch = self.epochs.of(id);
        let message = EpaxosMessage::PreAcceptOk { id, epoch, attributes: changed, uncommitted };
        out.send_after(to, message, out.last_write());
    }

    /// FP-deps-committed: the dependencies that are not known here to be committed.
    fn uncommitted(&self, attributes: &Attributes) -> Vec<InstanceId> {
        if self.options.fast_path != FastPath::DepsCommitted || mutant!(DepsCommittedNotAsked) {
            return Vec::new();
        }
        // Committed, and with a sequence number that these were computed from: not since they were.
        let below = |instance: &Instance| {
            let seq = instance.attributes.as_ref().map_or(u64::MAX, |known| known.seq);
            instance.is_committed() && seq < attributes.seq
        };
        let open = |id: &&InstanceId| {
            let known = self.rows.get(**id);
            let settled = id.number < attributes.deps.settled[usize::from(id.owner.0)];
            !settled && !known.is_some_and(below)
        };
        attributes.deps.ids.iter().filter(open).copied().collect()
    }

    /// Phase 1, lines 12 to 18.
    pub(super) fn on_pre_accept_ok(
        &mut self,
        now: Time,
        from: NodeId,
        id: InstanceId,
        (attributes, uncommitted): (Option<Attributes>, Vec<InstanceId>),
        out: &mut Effects<Self>,
    ) {
        let first = Round::first_of(self.epochs.of(id));
        let Some(instance) = self.rows.get_mut(id) else { return };
        let open = instance.ballot <= first && instance.phase == Phase::PreAccepted;
        let Some(Work::PreAccepting(work)) = instance.work.as_deref_mut() else { return };
        if !open || work.votes.iter().any(|vote| vote.node == from) {
            return;
        }
        work.votes.push(PreAcceptVote { node: from, attributes, uncommitted });
        self.end_phase1(now, id, out);
    }

    /// Goes on if Phase 1 has come to something.
    pub(super) fn end_phase1(&mut self, now: Time, id: InstanceId, out: &mut Effects<Self>) {
        let Some(instance) = self.rows.get(id) else { return };
        let (Some(Work::PreAccepting(work)), Some(initial)) =
            (instance.work.as_deref(), &instance.initial)
        else {
            return;
        };
        let informed = work.votes.iter().map(|vote| vote.node).collect();
        match self.phase1(work, initial) {
            Phase1::Open => {}
            Phase1::Fast(attributes) => {
                self.counters.fast += 1;
                self.commit_fast(now, id, attributes, out);
            }
            Phase1::Slow(attributes) => {
                self.counters.slow += 1;
                let command = Proposal::Command(initial.command.clone());
                let ballot = Round::first_of(self.epochs.of(id));
                self.start_accept(now, (id, ballot), (command, attributes), informed, out);
            }
        }
    }

    fn phase1(&self, work: &PreAccepting, initial: &Initial) -> Phase1 {
        let fast = match self.options.fast_path {
            FastPath::Published => self.agreed_on_initial(work, initial),
            FastPath::FixedQuorum | FastPath::AcceptDeps => {
                agreed_by_quorum(self.me, work, initial)
            }
            FastPath::DepsCommitted => agreed_by_quorum(self.me, work, initial).filter(|agreed| {
                let here = self.uncommitted(agreed);
                let unknown =
                    |id: &&InstanceId| work.votes.iter().all(|vote| vote.uncommitted.contains(id));
                here.iter().find(unknown).is_none()
            }),
            FastPath::Simplified => self.agreed_by_all_but_one(work, initial),
        };
        if let Some(agreed) = fast {
            return Phase1::Fast(agreed);
        }
        let answered = 1 + work.votes.len() >= self.majority();
        if !answered || !(work.late || self.is_fast_path_lost(work, initial)) {
            return Phase1::Open;
        }
        let mut union = initial.attributes.clone();
        let left_out = usize::from(mutant!(VoteLeftOutOfUnion));
        let votes = work.votes.iter().filter_map(|vote| vote.attributes.as_ref());
        for vote in votes.skip(left_out) {
            union.unite(vote);
        }
        Phase1::Slow(union)
    }

    /// A fast quorum, its owner included, reports what the owner proposed.
    fn agreed_on_initial(&self, work: &PreAccepting, initial: &Initial) -> Option<Attributes> {
        let same = 1 + work.votes.iter().filter(|vote| vote.attributes.is_none()).count();
        (same >= self.fast_quorum()).then(|| initial.attributes.clone())
    }

    /// §5.1 line 12: all but one report the same; with three replicas, what the owner proposed.
    fn agreed_by_all_but_one(&self, work: &PreAccepting, initial: &Initial) -> Option<Attributes> {
        if self.cluster.members() == 3 {
            return self.agreed_on_initial(work, initial);
        }
        let same = |vote: &PreAcceptVote| {
            1 + work.votes.iter().filter(|other| other.attributes == vote.attributes).count()
        };
        let agreed = work.votes.iter().find(|vote| same(vote) >= self.fast_quorum());
        agreed.map(|vote| vote.says(initial))
    }

    /// Whether no further answer can bring the fast path about.
    fn is_fast_path_lost(&self, work: &PreAccepting, initial: &Initial) -> bool {
        let silent = work.asked.len() - work.votes.len().min(work.asked.len());
        let same_as = |vote: &PreAcceptVote| {
            work.votes.iter().filter(|other| other.attributes == vote.attributes).count()
        };
        match self.options.fast_path {
            FastPath::Simplified if self.cluster.members() > 3 => {
                let most = work.votes.iter().map(same_as).max().unwrap_or(0);
                1 + most + silent < self.fast_quorum()
            }
            FastPath::Published | FastPath::Simplified => {
                let same = work.votes.iter().filter(|vote| vote.attributes.is_none()).count();
                1 + same + silent < self.fast_quorum()
            }
            FastPath::FixedQuorum | FastPath::DepsCommitted | FastPath::AcceptDeps => {
                let members =
                    || work.votes.iter().filter(|vote| initial.quorum.contains(vote.node));
                let first = members().next();
                let split =
                    members().any(|vote| Some(&vote.attributes) != first.map(|f| &f.attributes));
                split || members().count() + 1 == initial.quorum.len()
            }
        }
    }

    /// The owner knows that its command is committed; nobody hears of it before that is durable.
    fn commit_fast(
        &mut self,
        now: Time,
        id: InstanceId,
        attributes: Attributes,
        out: &mut Effects<Self>,
    ) {
        let instance = self.rows.get_mut(id).expect("phase 1 has a record");
        instance.phase = Phase::Committed;
        instance.attributes = Some(attributes.clone());
        instance.since = now;
        let record = EpaxosRecord::Committed { id, proposal: None, attributes: attributes.clone() };
        let mut edge = out.persist(record);
        if mutant!(FastCommitToldEarly) {
            edge = WriteId(0);
        }
        let epoch = self.epochs.of(id);
        let own = EpaxosMessage::Commit { id, epoch, proposal: None, attributes };
        self.to_self.push_back((edge, own));
    }

    /// Paxos-Accept, lines 19 and 20.
    pub(super) fn start_accept(
        &mut self,
        now: Time,
        (id, ballot): (InstanceId, Round),
        (proposal, attributes): (Proposal, Attributes),
        informed: NodeSet,
        out: &mut Effects<Self>,
    ) {
        let majority = self.majority();
        let asked = match informed.without(self.me) {
            near if self.options.thrifty && near.len() + 1 >= majority => {
                near.iter().take(majority - 1).collect()
            }
            _ => self.other_voters(id),
        };
        let accepting = Accepting {
            ballot,
            proposal,
            attributes,
            informed,
            asked,
            accepted: NodeSet::default(),
            asked_at: now,
        };
        // The others need not wait for this replica's own vote to be durable.
        let edge = out.last_write();
        self.accept(
            now,
            (id, ballot),
            (accepting.proposal.clone(), accepting.attributes.clone()),
            out,
        );
        self.send_accepts(id, &accepting, edge, out);
        let own = EpaxosMessage::AcceptOk { id, ballot, beyond: self.beyond(id) };
        self.to_self.push_back((out.last_write(), own));
        let Some(instance) = self.rows.get_mut(id) else { return };
        instance.refused = None;
        instance.work = Some(Box::new(Work::Accepting(accepting)));
    }

    /// Asks those who were to be asked and have not accepted.
    pub(super) fn send_accepts(
        &self,
        id: InstanceId,
        work: &Accepting,
        edge: WriteId,
        out: &mut Effects<Self>,
    ) {
        let message = |proposal| EpaxosMessage::Accept {
            id,
            ballot: work.ballot,
            proposal,
            attributes: work.attributes.clone(),
            beyond: self.beyond(id),
        };
        let silent = work.asked.minus(work.accepted);
        let known = match work.proposal {
            Proposal::Command(_) => work.informed,
            Proposal::Nop => NodeSet::default(),
        };
        out.send_to(silent.and(known), message(None), edge);
        out.send_to(silent.minus(known), message(Some(work.proposal.clone())), edge);
    }

    /// Accept-Deps: the interfering instances that this replica knew beyond the attributes when it
    /// accepted.
    fn beyond(&self, id: InstanceId) -> Vec<InstanceId> {
        let told = self.rows.get(id).map_or(&[][..], |instance| &instance.beyond);
        let own = told.iter().find(|(node, _)| *node == self.me);
        own.map(|(_, beyond)| beyond.clone()).unwrap_or_default()
    }

    fn known_beyond(&self, id: InstanceId) -> Vec<InstanceId> {
        let Some(instance) = self.rows.get(id) else { return Vec::new() };
        let Some(attributes) = &instance.attributes else { return Vec::new() };
        let mut known = Deps { ids: Vec::new(), ..(*attributes.deps).clone() };
        self.conflicts.add_all(&instance.keys, &mut known);
        known.ids.retain(|other| *other != id && !attributes.deps.covers(*other));
        known.ids
    }

    /// Paxos-Accept, lines 21 and 22.
    pub(super) fn on_accept(
        &mut self,
        now: Time,
        from: NodeId,
        (id, ballot): (InstanceId, Round),
        (proposal, attributes): (Option<Proposal>, Attributes),
        beyond: Vec<InstanceId>,
        out: &mut Effects<Self>,
    ) {
        if self.is_forgotten(id) {
            return Self::nack_forgotten(from, (id, ballot), out);
        }
        if !self.has_places(&attributes) {
            return;
        }
        let Some(instance) = self.rows.make(id, now) else { return };
        if instance.is_committed() {
            return self.tell_commit(from, id, out);
        }
        if instance.ballot > ballot && !mutant!(AcceptBelowJoined) {
            let promised = Some(instance.ballot);
            let nack = EpaxosMessage::Nack { id, ballot, promised };
            return self.reply(from, nack, out.last_write(), out);
        }
        let repeated = instance.phase == Phase::Accepted && instance.vote_ballot == ballot;
        if !repeated {
            let Some(proposal) = instance.resolve(proposal) else { return };
            instance.work = None;
            self.accept(now, (id, ballot), (proposal, attributes), out);
        }
        self.note_beyond(id, from, beyond, out);
        let message = EpaxosMessage::AcceptOk { id, ballot, beyond: self.beyond(id) };
        let early = mutant!(AcceptOkBeforeDurable);
        out.send_after(from, message, if early { WriteId(0) } else { out.last_write() });
    }

    /// A vote by an Accept, this replica's own too.
    fn accept(
        &mut self,
        now: Time,
        (id, ballot): (InstanceId, Round),
        (proposal, attributes): (Proposal, Attributes),
        out: &mut Effects<Self>,
    ) {
        let Some(instance) = self.rows.get_mut(id) else { return };
        (instance.ballot, instance.vote_ballot) = (ballot, ballot);
        instance.phase = Phase::Accepted;
        instance.since = now;
        let stored = instance.unless_on_record(&proposal);
        let record =
            EpaxosRecord::Accepted { id, ballot, proposal: stored, attributes: attributes.clone() };
        out.persist(record);
        instance.attributes = Some(attributes);
        // What was known when something else was accepted says nothing of this.
        instance.beyond.clear();
        self.set_proposal(id, proposal);
        if self.options.fast_path == FastPath::AcceptDeps {
            let known = self.known_beyond(id);
            self.note_beyond(id, self.me, known, out);
        }
    }

    /// Accept-Deps: what somebody knew when it accepted goes into the log (§6.1).
    fn note_beyond(
        &mut self,
        id: InstanceId,
        node: NodeId,
        beyond: Vec<InstanceId>,
        out: &mut Effects<Self>,
    ) {
        if self.options.fast_path != FastPath::AcceptDeps {
            return;
        }
        let Some(instance) = self.rows.get_mut(id) else { return };
        if instance.beyond.iter().all(|(known, _)| *known != node) {
            instance.beyond.push((node, beyond.clone()));
            out.persist(EpaxosRecord::AcceptedElsewhere { id, node, beyond });
        }
    }

    /// Paxos-Accept, lines 23 and 24.
    pub(super) fn on_accept_ok(
        &mut self,
        now: Time,
        from: NodeId,
        (id, ballot): (InstanceId, Round),
        beyond: Vec<InstanceId>,
        out: &mut Effects<Self>,
    ) {
        let majority = self.majority();
        let Some(instance) = self.rows.get_mut(id) else { return };
        let Some(Work::Accepting(work)) = instance.work.as_deref_mut() else { return };
        if work.ballot != ballot || !work.accepted.insert(from) {
            return;
        }
        let enough = work.accepted.len() + usize::from(mutant!(MinorityCommits)) >= majority;
        self.note_beyond(id, from, beyond, out);
        if enough {
            self.commit_accepted(now, id, out);
        }
    }

    fn commit_accepted(&mut self, now: Time, id: InstanceId, out: &mut Effects<Self>) {
        let instance = self.rows.get_mut(id).expect("what was accepted has a record");
        let Some(Work::Accepting(work)) = instance.work.take().map(|work| *work) else { return };
        if work.ballot.in_epoch() > 0 {
            self.counters.recovered += 1;
        }
        let informed = work.informed.or(work.accepted);
        // A majority's votes are durable: the others need not wait for this record.
        let edge = WriteId(0);
        self.learn(now, id, (work.proposal, work.attributes), out);
        self.announce(id, informed, edge, out);
    }

    /// Commit, lines 25 and 26: tells everybody; who is informed knows the command.
    fn announce(
        &mut self,
        id: InstanceId,
        informed: NodeSet,
        edge: WriteId,
        out: &mut Effects<Self>,
    ) {
        let Some(instance) = self.rows.get(id) else { return };
        let (Some(proposal), Some(attributes)) = (&instance.proposal, &instance.attributes) else {
            return;
        };
        let initial = instance.initial.as_ref().filter(|_| mutant!(InitialAnnounced));
        let attributes = initial.map_or(attributes, |initial| &initial.attributes);
        let epoch = self.epochs.of(id);
        let message = |proposal| EpaxosMessage::Commit {
            id,
            epoch,
            proposal,
            attributes: attributes.clone(),
        };
        let informed = if *proposal == Proposal::Nop { NodeSet::default() } else { informed };
        let (brief, full) = (message(None), message(Some(proposal.clone())));
        out.send_to(self.others().and(informed), brief, edge);
        out.send_to(self.others().minus(informed), full, edge);
    }

    /// Commit, line 27. From this replica itself: its fast commit is durable.
    pub(super) fn on_commit(
        &mut self,
        now: Time,
        from: NodeId,
        id: InstanceId,
        (proposal, attributes): (Option<Proposal>, Attributes),
        out: &mut Effects<Self>,
    ) {
        let Some(instance) = self.rows.make(id, now) else { return };
        if from == self.me {
            let work = instance.work.take().map(|work| *work);
            instance.final_here = true;
            if let Some(Work::PreAccepting(work)) = work {
                let informed = work.votes.iter().map(|vote| vote.node).collect();
                self.announce(id, informed, self.durable, out);
            }
            return self.decided(now, id, out);
        }
        if instance.is_committed() {
            return;
        }
        let Some(proposal) = instance.resolve(proposal) else { return };
        if !self.has_places(&attributes) {
            return;
        }
        self.learn(now, id, (proposal, attributes), out);
    }

    /// Records a decision.
    fn learn(
        &mut self,
        now: Time,
        id: InstanceId,
        (proposal, attributes): (Proposal, Attributes),
        out: &mut Effects<Self>,
    ) {
        let Some(instance) = self.rows.get_mut(id) else { return };
        instance.phase = Phase::Committed;
        instance.final_here = true;
        instance.since = now;
        instance.work = None;
        if instance.attributes.as_ref() != Some(&attributes) {
            instance.beyond.clear();
        }
        let stored = instance.unless_on_record(&proposal);
        out.persist(EpaxosRecord::Committed {
            id,
            proposal: stored,
            attributes: attributes.clone(),
        });
        instance.attributes = Some(attributes);
        self.counters.nops += u64::from(proposal == Proposal::Nop);
        self.set_proposal(id, proposal);
        self.decided(now, id, out);
    }

    /// An instance is decided here: what waited for that goes on.
    fn decided(&mut self, now: Time, id: InstanceId, out: &mut Effects<Self>) {
        self.resubmit(id);
        self.answer_committed(id, out);
        self.executor.committed(id);
        self.execute(out);
        self.hold(id);
        self.look_at_deferred(now, out);
    }

    /// RequestReply (§5.1, lines 13 and 23): the clients that do not wait for the execution are answered.
    fn answer_committed(&self, id: InstanceId, out: &mut Effects<Self>) {
        let instance = self.rows.get(id).filter(|_| id.owner == self.me);
        if self.options.reply == ReplyAt::Committed
            && let Some(Proposal::Command(command)) = instance.and_then(|i| i.proposal.as_ref())
        {
            out.push(Effect::Committed(command.clone()));
        }
    }

    /// Nothing more is proposed on the keys of an own instance that is committed and cannot be executed,
    /// until it is: others contend for them. Each new command would wait for those that are under way, and
    /// they for it ("EPaxos Revisited" calls it a livelock).
    fn hold(&mut self, id: InstanceId) {
        if id.owner != self.me || !self.options.hold {
            return;
        }
        let Some(instance) = self.rows.get_mut(id) else { return };
        if !instance.executed && !instance.holds {
            instance.holds = true;
            self.conflicts.hold(&instance.keys);
        }
    }

    /// The owner proposes again what recovery has made a no-op.
    fn resubmit(&mut self, id: InstanceId) {
        let Some(instance) = self.rows.get(id).filter(|_| id.owner == self.me) else { return };
        let (true, Some(initial)) = (instance.is_nop(), &instance.initial) else { return };
        let command = initial.command.clone();
        self.resubmit_all(&command);
    }

    /// Sets what was voted for or decided, and keeps the index of conflicts true to it: a command is in it
    /// however it became known, a decided no-op is not.
    pub(super) fn set_proposal(&mut self, id: InstanceId, proposal: Proposal) {
        if let Proposal::Command(command) = &proposal {
            self.index(id, command);
        }
        let Some(instance) = self.rows.get_mut(id) else { return };
        if proposal == Proposal::Nop && instance.is_committed() {
            self.conflicts.remove(id, &std::mem::take(&mut instance.keys));
        }
        instance.proposal = Some(proposal);
    }

    /// Puts the command of an instance into the index, unless it is there.
    pub(super) fn index(&mut self, id: InstanceId, command: &[Command]) {
        let Some(instance) = self.rows.get_mut(id) else { return };
        if instance.keys.is_empty() {
            instance.keys = self.conflicts.keys(command);
            self.conflicts.record(id, &instance.keys);
        }
    }

    /// Tells one replica what is committed.
    pub(super) fn tell_commit(&mut self, to: NodeId, id: InstanceId, out: &mut Effects<Self>) {
        let Some(instance) = self.rows.get(id).filter(|_| to != self.me) else { return };
        let (proposal, attributes) = (instance.proposal.clone(), instance.attributes.clone());
        if let Some(attributes) = attributes {
            let epoch = self.epochs.of(id);
            let message = EpaxosMessage::Commit { id, epoch, proposal, attributes };
            out.send_after(to, message, out.last_write());
        }
    }

    /// Whether all that these attributes name may have a record here. If not, this replica lags so far
    /// that it will be sent the state.
    pub(super) fn has_places(&self, attributes: &Attributes) -> bool {
        let deps = &attributes.deps;
        let below = |(owner, row): (NodeId, &Row)| {
            let below = deps.prefix[usize::from(owner.0)];
            below <= row.base() || row.has_place(below - 1)
        };
        let known = |id: &InstanceId| {
            let row = self.rows.of(id.owner);
            id.number < row.base() || row.has_place(id.number)
        };
        self.rows.iter().all(below) && deps.ids.iter().all(known)
    }
}

/// All others of the quorum that the command names report the same: that.
fn agreed_by_quorum(me: NodeId, work: &PreAccepting, initial: &Initial) -> Option<Attributes> {
    let vote = |node| work.votes.iter().find(|vote| vote.node == node);
    let mut members = initial.quorum.without(me).iter().map(vote);
    let first = members.next()??;
    let agrees = |vote: &PreAcceptVote| vote.attributes == first.attributes;
    let same = members.all(|vote| vote.is_some_and(|v| agrees(v) || mutant!(FastThoughDisagreed)));
    same.then(|| first.says(initial))
}
