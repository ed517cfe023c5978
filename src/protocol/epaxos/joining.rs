//! Joining and rejoining (§5.5): a new replica takes the place of another while all others go on.
//!
//! As in the paper, a replica that is new, or has lost its memory, comes with an identity that was never
//! used, and a new epoch begins with it; who has heard of that votes in nothing new of the epoch that ends, so
//! that one that was excluded cannot act. Two things are done in another way:
//!
//! - *The members decide* what the paper leaves to "a configuration service or a human": which epoch comes next,
//!   with whom, and from which instances on. It is one decision of single-decree Paxos among the members of the
//!   ending epoch. Whoever joins a ballot (**Join**, **JoinOK**) names the first instance of every row that it
//!   knows nothing of, its *fence*, and votes in none from there on until it knows the decision. What a majority's
//!   fences come to is proposed (**Begin**, **BeginOK**): an instance is of the ending epoch if it is below the
//!   highest fence of its row. No other can have been decided in it, as any quorum shares a replica with that
//!   majority, which knew of it or has not voted. So what others recorded of it is dropped, and the owner
//!   proposes its command again.
//! - *A barrier* instead of waiting: all commands of the new epoch depend on all instances of the ones before.
//!   So which commands of two epochs come first is not a matter of who has seen what: quorums of two epochs need
//!   not intersect, each recovery looks at one epoch's votes only, and the new replica may vote at once, before
//!   it knows what was decided without it. In the paper it must first learn all that F+1 replicas know of.
//!
//! What is open in the epoch that ends is decided by its own members, less those that crashed: one that is
//! replaced though it is up had better stay up until who joined takes requests. If who wanted to
//! join is not heard of again, another member ends the ballot: with its proposal, if that may have been
//! accepted; else the next epoch begins with the same members.
//!
//! With sequence numbers, those of an epoch are above all of the one before, so that the barrier orders
//! components, too. For that no vote in the epoch that ends names an instance of the next: that one depends on
//! it already.

use std::time::Duration;

use super::Epaxos;
use super::deps::PerNode;
use super::epochs::{Change, Replacement};
use super::instances::Instance;
use super::keeping::RETRY_DOUBLINGS_MAX;
use super::message::{EpaxosMessage, EpaxosRecord, InstanceId};
use crate::command::{Command, NodeId};
use crate::mutants::mutant;
use crate::protocol::ballot::Round;
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Destination, Effect, Effects, Time};

/// What a replica has promised about the next epoch, and does about it.
#[derive(Clone, Hash, Debug, Default)]
pub struct Joining {
    /// The highest ballot joined, or used.
    pub promised: Round,
    /// The last vote.
    pub vote: Option<(Round, Change)>,
    /// By replica: from which number on this one votes in no instance of the ending epoch.
    pub fence: Option<PerNode>,
    /// When something last happened to it.
    since: Time,
    /// What this replica does to get it decided.
    work: Option<Deciding>,
    /// The highest ballot that somebody has joined instead of this replica's.
    refused: Round,
    /// How many ballots this replica has begun.
    tries: u32,
}

/// A decision on the next epoch that this replica leads.
#[derive(Clone, Hash, Debug)]
struct Deciding {
    ballot: Round,
    replacement: Option<Replacement>,
    /// Who has joined.
    joined: NodeSet,
    /// The highest vote among them, and the highest fences.
    vote: Option<(Round, Change)>,
    fence: PerNode,
    /// What is to be accepted, once a majority has joined, and by whom it is.
    proposed: Option<Change>,
    accepted: NodeSet,
}

impl Epaxos {
    /// Whether this replica is a member of the latest epoch.
    pub fn is_member(&self) -> bool {
        self.epochs.members().contains(self.me)
    }

    /// Whom this replica tells that it is up: the other members; if it is none itself, everybody, as the
    /// members may be others than it knows.
    pub(super) fn audience(&self) -> NodeSet {
        let everybody = NodeSet::all(self.cluster.size).without(self.me);
        if self.is_member() { self.others() } else { everybody }
    }

    /// Whom this replica is to replace, as long as it is not, and was never, a member.
    pub fn wants_to_replace(&self) -> Option<NodeId> {
        self.options.replaces.filter(|_| !self.epochs.has_known(self.me))
    }

    /// Whether this replica votes in an instance, as far as its epoch goes.
    pub(super) fn may_vote(&self, id: InstanceId) -> bool {
        self.epochs.voters(id).contains(self.me) && !self.is_fenced(id)
    }

    fn is_fenced(&self, id: InstanceId) -> bool {
        let fence = self.joining.fence.as_ref().filter(|_| !mutant!(FenceIgnored));
        fence.is_some_and(|fence| id.number >= fence[usize::from(id.owner.0)])
    }

    /// Whether this replica has executed all that the latest epoch stands on.
    pub(super) fn has_passed_barrier(&self) -> bool {
        let mut rows = self.rows.iter().zip(self.epochs.barrier());
        rows.all(|((_, row), first)| row.executed_below() >= *first)
    }

    /// Whether this replica knows of an epoch, and has executed all that was decided in those before.
    pub fn has_closed_before(&self, epoch: u16) -> bool {
        self.epochs.latest() >= epoch && self.has_passed_barrier()
    }

    /// Whether a message about an instance is of the epoch that the instance belongs to, and from and to
    /// replicas that vote in it. Who is behind is told.
    pub(super) fn is_of_its_epoch(
        &mut self,
        from: NodeId,
        message: &EpaxosMessage,
        out: &mut Effects<Self>,
    ) -> bool {
        let (Some(id), Some(epoch)) = (message.id(), message.epoch()) else { return true };
        let belongs = self.epochs.of(id);
        if epoch < belongs && !mutant!(OldEpochHeard) {
            self.tell_epochs(from, out);
            return false;
        }
        // Of an epoch that this replica has not heard of: its next heartbeat will show that.
        if epoch > belongs {
            return false;
        }
        // A decision is true whoever tells it.
        if !self.epochs.voters(id).contains(from)
            && !matches!(message, EpaxosMessage::Commit { .. })
        {
            return false;
        }
        if message.asks_for_vote() && !self.may_vote(id) {
            if self.rows.get(id).is_some_and(Instance::is_committed) {
                self.tell_commit(from, id, out);
            }
            return false;
        }
        true
    }

    /// Looks at what is to be done about the next epoch.
    pub(super) fn look_at_joining(&mut self, now: Time, out: &mut Effects<Self>) {
        self.is_live |= self.is_member() && self.has_passed_barrier();
        if !self.hears_majority() {
            // Its ballots would only keep the members from proposing, and it would not hear what comes of them.
            return;
        }
        let waited = now.since(self.joining.since);
        if self.is_member() {
            if self.joining.fence.is_some() && waited >= self.patience_with_joiner() {
                self.decide_epoch(now, None, out);
            }
            return;
        }
        let Some(leaver) = self.wants_to_replace() else { return };
        if !self.epochs.has_known(leaver) {
            // Whoever said so knows of an epoch that this replica is yet to be told of.
            return;
        }
        if !self.epochs.members().contains(leaver) {
            let epoch = self.epochs.latest();
            let why = format!("{leaver} is no member any more, since epoch {epoch} at the latest");
            return out.push(Effect::GiveUp(why));
        }
        if self.joining.tries == 0 || waited >= self.patience_with_answers() {
            let replacement = Replacement { joiner: self.me, leaver };
            self.decide_epoch(now, Some(replacement), out);
        }
    }

    /// How long who wants to join waits for the members: each time twice as long, so that rivals come apart.
    fn patience_with_answers(&self) -> Duration {
        let doublings = self.joining.tries.saturating_sub(1).min(RETRY_DOUBLINGS_MAX);
        Duration::from_millis(self.options.recover_ms) * 2u32.pow(doublings)
    }

    /// How long who wants to join is waited for: the members take turns.
    fn patience_with_joiner(&self) -> Duration {
        let before = self.epochs.members().iter().take_while(|node| *node != self.me).count();
        Duration::from_millis(self.options.recover_ms) * (2 + before as u32)
    }

    /// Begins a ballot for the decision on the next epoch.
    fn decide_epoch(
        &mut self,
        now: Time,
        replacement: Option<Replacement>,
        out: &mut Effects<Self>,
    ) {
        if !self.epochs.may_follow(replacement) {
            return;
        }
        let met = self.joining.promised.max(self.joining.refused);
        let met = met.max(Round::first_of(self.epochs.latest() + 1));
        let ballot = met.next_owned(self.me, self.cluster.size);
        self.joining.tries += 1;
        self.joining.since = now;
        self.joining.work = Some(Deciding {
            ballot,
            replacement,
            joined: NodeSet::default(),
            vote: None,
            fence: PerNode::from_elem(0, usize::from(self.cluster.size)),
            proposed: None,
            accepted: NodeSet::default(),
        });
        self.promise(now, ballot, out);
        // Durable before anybody hears of it: the ballot is never used again.
        let message = EpaxosMessage::Join { ballot, replacement };
        out.send_to(self.audience(), message, out.last_write());
        if self.is_member() {
            self.answer_join(self.me, ballot, out);
        }
    }

    /// Joins a ballot; a member votes in nothing more that it has not met by now.
    fn promise(&mut self, now: Time, ballot: Round, out: &mut Effects<Self>) {
        if self.is_member() && self.joining.fence.is_none() {
            self.joining.fence = Some(self.first_unmet());
            // Who wants to join may ask again and again: the members do not wait for it the longer.
            self.joining.since = now;
        }
        self.joining.promised = ballot;
        out.persist(EpaxosRecord::Promised { ballot, fence: self.joining.fence.clone() });
    }

    /// By replica: the first instance that this one knows nothing of, nor of a later one.
    fn first_unmet(&self) -> PerNode {
        let first = |(owner, row): (NodeId, &super::instances::Row)| {
            let own = if owner == self.me { self.next } else { 0 };
            row.end().max(row.executed_below()).max(own)
        };
        let rows = self.rows.iter().map(first).zip(self.epochs.barrier());
        rows.map(|(met, barrier)| met.max(*barrier)).collect()
    }

    /// Whether a message about the next epoch is for this replica; who is behind is told.
    fn is_about_next(&mut self, from: NodeId, ballot: Round, out: &mut Effects<Self>) -> bool {
        if ballot.epoch() <= self.epochs.latest() {
            self.tell_epochs(from, out);
            return false;
        }
        if ballot < self.joining.promised && self.is_member() {
            let promised = self.joining.promised;
            out.send_after(from, EpaxosMessage::JoinNack { ballot, promised }, out.last_write());
            return false;
        }
        ballot.epoch() == self.epochs.latest() + 1 && self.is_member()
    }

    pub(super) fn on_join(
        &mut self,
        now: Time,
        from: NodeId,
        (ballot, replacement): (Round, Option<Replacement>),
        out: &mut Effects<Self>,
    ) {
        // §5.5: replicas "that are not themselves in the process of joining". Else one seat after the other could
        // be filled anew while nobody has the state but who is replaced next.
        let may_end = self.epochs.may_follow(replacement) && self.has_passed_barrier();
        if !self.is_about_next(from, ballot, out) || !may_end {
            return;
        }
        if ballot > self.joining.promised {
            self.joining.work = None;
            self.promise(now, ballot, out);
        }
        self.answer_join(from, ballot, out);
    }

    fn answer_join(&mut self, to: NodeId, ballot: Round, out: &mut Effects<Self>) {
        let Some(fence) = self.joining.fence.clone() else { return };
        let message = EpaxosMessage::JoinOk { ballot, vote: self.joining.vote.clone(), fence };
        self.reply(to, message, out.last_write(), out);
    }

    pub(super) fn on_join_ok(
        &mut self,
        from: NodeId,
        ballot: Round,
        (vote, fence): (Option<(Round, Change)>, &PerNode),
        out: &mut Effects<Self>,
    ) {
        let (majority, members) = (self.majority(), self.epochs.members());
        let Some(work) = self.joining.work.as_mut().filter(|work| work.ballot == ballot) else {
            return;
        };
        if work.proposed.is_some() || !members.contains(from) || !work.joined.insert(from) {
            return;
        }
        if vote.as_ref().map(|(ballot, _)| *ballot) > work.vote.as_ref().map(|(ballot, _)| *ballot)
            && !mutant!(EpochVoteIgnored)
        {
            work.vote = vote;
        }
        super::keeping::raise(&mut work.fence, fence);
        if work.joined.len() < majority {
            return;
        }
        let own = Change { replacement: work.replacement, from: work.fence.clone() };
        let change = work.vote.take().map_or(own, |(_, change)| change);
        work.proposed = Some(change.clone());
        let message = EpaxosMessage::Begin { ballot, change: change.clone() };
        out.send_to(members.without(self.me), message, out.last_write());
        if members.contains(self.me) {
            self.accept_change(self.me, ballot, change, out);
        }
    }

    pub(super) fn on_begin(
        &mut self,
        from: NodeId,
        (ballot, change): (Round, Change),
        out: &mut Effects<Self>,
    ) {
        if !self.is_about_next(from, ballot, out) || !self.epochs.may_follow(change.replacement) {
            return;
        }
        // What this replica leads in a lower ballot must not get its vote any more.
        let work = self.joining.work.take();
        self.joining.work = work.filter(|work| work.ballot >= ballot);
        self.accept_change(from, ballot, change, out);
    }

    fn accept_change(
        &mut self,
        to: NodeId,
        ballot: Round,
        change: Change,
        out: &mut Effects<Self>,
    ) {
        let vote = Some((ballot, change.clone()));
        if self.joining.vote != vote {
            self.joining.promised = ballot;
            self.joining.vote = vote;
            out.persist(EpaxosRecord::BeginAccepted { ballot, change });
        }
        self.reply(to, EpaxosMessage::BeginOk { ballot }, out.last_write(), out);
    }

    pub(super) fn on_begin_ok(
        &mut self,
        now: Time,
        from: NodeId,
        ballot: Round,
        out: &mut Effects<Self>,
    ) {
        let (majority, members) = (self.majority(), self.epochs.members());
        let Some(work) = self.joining.work.as_mut().filter(|work| work.ballot == ballot) else {
            return;
        };
        if !members.contains(from) || !work.accepted.insert(from) || work.accepted.len() < majority
        {
            return;
        }
        let Some(change) = work.proposed.take() else { return };
        self.begin_epoch(now, change, out);
        let changes = self.epochs.changes().to_vec();
        let (to, after) = (Destination::Others, Some(out.last_write()));
        out.push(Effect::Send { to, message: EpaxosMessage::Epochs { changes }, after });
    }

    pub(super) fn on_join_nack(&mut self, ballot: Round, promised: Round) {
        if self.joining.work.as_ref().is_some_and(|work| work.ballot == ballot) {
            self.joining.refused = self.joining.refused.max(promised);
        }
    }

    /// Tells a replica how all epochs began.
    pub(super) fn tell_epochs(&self, to: NodeId, out: &mut Effects<Self>) {
        if to != self.me {
            let changes = self.epochs.changes().to_vec();
            out.send_after(to, EpaxosMessage::Epochs { changes }, out.last_write());
        }
    }

    pub(super) fn on_epochs(
        &mut self,
        now: Time,
        from: NodeId,
        changes: Vec<Change>,
        out: &mut Effects<Self>,
    ) {
        let known = self.epochs.changes().len();
        for change in changes.into_iter().skip(known) {
            if !self.epochs.may_follow(change.replacement) {
                return;
            }
            self.begin_epoch(now, change, out);
        }
        if self.epochs.changes().len() > known && self.is_member() && !self.is_live {
            self.ask_for_missing(from, out);
        }
    }

    /// The next epoch begins here.
    fn begin_epoch(&mut self, now: Time, change: Change, out: &mut Effects<Self>) {
        out.persist(EpaxosRecord::Begun { change: change.clone() });
        self.counters.epochs += 1;
        let dead = self.enter_epoch(now, change);
        if !self.is_member() {
            return self.retire();
        }
        // The row of each replica must have no gaps: what came too late for its epoch becomes a no-op.
        for (id, command) in dead {
            self.resubmit_all(&command);
            self.recover_instance(now, id, out);
        }
    }

    /// Everything that the latest epoch changes in what is known. The own instances that came too late for
    /// theirs, with their commands.
    pub(super) fn enter_epoch(
        &mut self,
        now: Time,
        change: Change,
    ) -> Vec<(InstanceId, Vec<Command>)> {
        let (from, replacement) = (change.from.clone(), change.replacement);
        self.epochs.push(change);
        let Joining { since, tries, .. } = self.joining;
        self.joining = Joining { since, tries, ..Joining::default() };
        let mut dead = Vec::new();
        for (place, first) in from.iter().enumerate() {
            let owner = NodeId(place as u8);
            // All before are decided in their epochs, be they known here or not.
            if let Some(last) = first.checked_sub(1) {
                self.rows.make(InstanceId { owner, number: last }, now);
            }
            for number in *first..self.rows.of(owner).end() {
                let id = InstanceId { owner, number };
                let dropped = self.drop_votes(now, id);
                dead.extend(dropped.filter(|_| owner == self.me).map(|command| (id, command)));
            }
        }
        if let Some(Replacement { joiner, .. }) = replacement {
            // It gets its time. Who has been silent all along is suspected as before.
            self.peers[usize::from(joiner.0)].heard(now);
        }
        dead
    }

    /// Forgets what was recorded of an instance that came too late for the epoch in which it was proposed.
    /// Its command, if it is known.
    fn drop_votes(&mut self, now: Time, id: InstanceId) -> Option<Vec<Command>> {
        let instance = self.rows.get_mut(id)?;
        if instance.is_committed() || mutant!(VotesOutliveEpoch) {
            return None;
        }
        let (waiters, executed) = (std::mem::take(&mut instance.waiters), instance.executed);
        let nothing = Instance { since: now, waiters, executed, ..Instance::default() };
        let late = std::mem::replace(instance, nothing);
        self.conflicts.remove(id, &late.keys);
        Some(late.command().map(|command| command.to_vec()).unwrap_or_default())
    }

    /// This replica was replaced: its clients ask others.
    fn retire(&mut self) {
        let asked = self.requests.drain(..).chain(self.held.drain(..)).count();
        self.counters.requests_dropped += asked as u64;
        self.request_bytes = 0;
    }
}
