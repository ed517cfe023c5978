//! TentativePreAccept and deferral (§6.2, steps 6 and 7): whether a fast commit that nobody alive has
//! seen was possible.
//!
//! If γ was committed on the fast path with the attributes that the evidence shows, then no interfering
//! command can be committed that neither depends on γ nor is among γ's dependencies. So the recoverer
//! shows γ to all of *Q*: each records it, so that later commands see it, and names the commands that
//! are in the way. If there are none, γ is accepted with these attributes; if one is committed, γ was not;
//! if one is not, then its fate comes first, unless its owner must have been in γ's fast quorum, and
//! would have made it depend on γ.
//!
//! Two recoveries may wait for each other. Each says so (`Deferred`) with the votes that it stands on; they
//! cannot both be right, and whoever sees that gives in.

use super::Epaxos;
use super::deps::Attributes;
use super::instances::Instance;
use super::message::{Conflict, EpaxosMessage, EpaxosRecord, Initial, InstanceId, Phase, Proposal};
use super::options::FastPath;
use super::work::{Deferring, Suspicion, Validating, Work};
use crate::command::NodeId;
use crate::mutants::mutant;
use crate::protocol::ballot::Round;
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Effects, Time};

/// What is known of an instance that a recovery waits for.
enum Fate {
    /// It is no longer in the way.
    Harmless,
    /// It shows that the fast commit did not happen.
    Contradicts,
    /// Not decided yet.
    Open,
    /// It is decided, and how cannot be told from here.
    Unclear,
}

impl Epaxos {
    /// Step 6: TentativePreAccept to all that answered the Prepare.
    pub(super) fn validate(
        &mut self,
        now: Time,
        id: InstanceId,
        suspicion: Suspicion,
        out: &mut Effects<Self>,
    ) {
        self.counters.tentative += 1;
        let (me, ballot) = (self.me, suspicion.ballot);
        let (initial, attributes) = (suspicion.initial.clone(), suspicion.attributes.clone());
        let to = suspicion.answered.without(me);
        let Some(instance) = self.rows.get_mut(id) else { return };
        let heard = NodeSet::default();
        let work = Validating { suspicion, heard, conflicts: Vec::new(), began: now };
        instance.work = Some(Box::new(Work::Validating(work)));
        let (command, votes) = (initial.clone(), attributes.clone());
        let message = EpaxosMessage::TentativePreAccept { id, ballot, initial, attributes };
        out.send_to(to, message, out.last_write());
        self.on_tentative_pre_accept(now, me, (id, ballot), (command, votes), out);
    }

    /// Step 6 at a replica that is asked: what is in the way; and the command is recorded, without a vote.
    pub(super) fn on_tentative_pre_accept(
        &mut self,
        now: Time,
        from: NodeId,
        (id, ballot): (InstanceId, Round),
        (initial, attributes): (Initial, Attributes),
        out: &mut Effects<Self>,
    ) {
        if self.is_forgotten(id) {
            return Self::nack_forgotten(from, (id, ballot), out);
        }
        if !self.has_places(&attributes) || !self.has_places(&initial.attributes) {
            return;
        }
        let Some(instance) = self.rows.make(id, now) else { return };
        if instance.is_committed() {
            return self.tell_commit(from, id, out);
        }
        if instance.ballot != ballot {
            let promised = Some(instance.ballot);
            return self.reply(
                from,
                EpaxosMessage::Nack { id, ballot, promised },
                out.last_write(),
                out,
            );
        }
        if instance.keys.is_empty() && mutant!(TentativeNotSeen) {
            instance.keys = self.conflicts.keys(&initial.command);
        }
        self.index(id, &initial.command);
        let executed = self.rows.is_executed(id);
        // The state that came from elsewhere holds it: it was committed, and nobody of Q has accepted it, so
        // it was on the fast path.
        let conflicts = match executed {
            true => Some(Vec::new()),
            false => self.in_the_way(id, &initial, &attributes),
        };
        let Some(conflicts) = conflicts else { return };
        self.record_initial(now, id, initial, out);
        let message = EpaxosMessage::TentativePreAcceptOk { id, ballot, conflicts };
        self.reply(from, message, out.last_write(), out);
    }

    fn record_initial(
        &mut self,
        now: Time,
        id: InstanceId,
        initial: Initial,
        out: &mut Effects<Self>,
    ) {
        let Some(instance) = self.rows.get_mut(id) else { return };
        instance.since = now;
        if instance.initial.is_none() {
            instance.initial = Some(initial.clone());
            out.persist(EpaxosRecord::Tentative { id, initial });
        }
    }

    /// The interfering instances that are not among the dependencies and do not depend on the command
    /// themselves (§6.2 step 6). None if this replica cannot tell yet, because it was sent the state and has
    /// no records of what is in it.
    ///
    /// What is forgotten by the rule (`keeping`) and not covered tells that the fast commit did not happen.
    fn in_the_way(
        &self,
        id: InstanceId,
        initial: &Initial,
        attributes: &Attributes,
    ) -> Option<Vec<Conflict>> {
        let keys = &self.rows.get(id)?.keys;
        let mut found = Vec::new();
        for (owner, row) in self.rows.iter() {
            let place = usize::from(owner.0);
            let covered = attributes.deps.covered_below(place);
            if self.forgotten[place] > covered {
                let id = InstanceId { owner, number: covered };
                found.push(Conflict { id, committed: true });
            } else if row.base() > covered {
                return None;
            }
            for (number, other) in row.from(covered) {
                let other_id = InstanceId { owner, number };
                let interferes = other_id != id && keys.interfere(&other.keys);
                if interferes && self.contradicts((id, initial, attributes), (other_id, other)) {
                    found.push(Conflict { id: other_id, committed: other.is_committed() });
                }
            }
        }
        Some(found)
    }

    /// Whether an interfering instance, as it is known here, does not go with a fast commit.
    fn contradicts(
        &self,
        (id, initial, attributes): (InstanceId, &Initial, &Attributes),
        (other_id, other): (InstanceId, &Instance),
    ) -> bool {
        if other.is_nop() {
            return false;
        }
        // Of an instance that is not committed, what its owner proposed; what it may have been accepted
        // with is no less.
        let initially = || other.initial.as_ref().map(|initial| &initial.attributes);
        let known = match other.is_committed() {
            true => other.attributes.as_ref(),
            false => initially().or(other.attributes.as_ref()),
        };
        let Some(known) = known else { return false };
        if known.deps.covers(id) {
            return false;
        }
        if !attributes.deps.covers(other_id) {
            return true;
        }
        self.contradicts_by_seq((id, initial, attributes), (other_id, other), known)
    }

    /// Step 6 iii (b): a dependency with a sequence number that is not lower. Not if it has the same owner
    /// and is pre-accepted. Under Accept-Deps (step 7' b), a committed one only if one of the fast quorum
    /// is known to have accepted it before it knew the command.
    fn contradicts_by_seq(
        &self,
        (id, initial, attributes): (InstanceId, &Initial, &Attributes),
        (other_id, other): (InstanceId, &Instance),
        known: &Attributes,
    ) -> bool {
        let ordered = !self.options.fast_path.has_seq() || known.seq < attributes.seq;
        // What is only covered was executed by the owner: its number was final, and is lower.
        let named = attributes.deps.ids.binary_search(&other_id).is_ok();
        if ordered || !named {
            return false;
        }
        if !other.is_committed() {
            return other_id.owner != id.owner || other.phase != Phase::PreAccepted;
        }
        let before = |(node, beyond): &(NodeId, Vec<InstanceId>)| {
            initial.quorum.contains(*node) && !beyond.contains(&id)
        };
        self.options.fast_path != FastPath::AcceptDeps || other.beyond.iter().any(before)
    }

    /// Step 7, once all of *Q* have answered.
    pub(super) fn on_tentative_pre_accept_ok(
        &mut self,
        now: Time,
        from: NodeId,
        (id, ballot): (InstanceId, Round),
        conflicts: Vec<Conflict>,
        out: &mut Effects<Self>,
    ) {
        let Some(instance) = self.rows.get_mut(id) else { return };
        let Some(Work::Validating(work)) = instance.work.as_deref_mut() else { return };
        if work.suspicion.ballot != ballot || !work.heard.insert(from) {
            return;
        }
        // One that is committed settles it, whatever the others say.
        let settled = conflicts.iter().any(|conflict| conflict.committed);
        work.conflicts.extend(conflicts);
        if settled || work.suspicion.answered.minus(work.heard).is_empty() {
            let (suspicion, mut conflicts) =
                (work.suspicion.clone(), std::mem::take(&mut work.conflicts));
            conflicts.sort_unstable();
            self.conclude(now, id, suspicion, conflicts, out);
        }
    }

    fn conclude(
        &mut self,
        now: Time,
        id: InstanceId,
        suspicion: Suspicion,
        conflicts: Vec<Conflict>,
        out: &mut Effects<Self>,
    ) {
        let at = (id, suspicion.ballot);
        if conflicts.is_empty() || mutant!(ConflictsIgnored) {
            return self.accept_suspected(now, at, suspicion, out);
        }
        let decided = conflicts.iter().any(|conflict| conflict.committed)
            && !mutant!(CommittedConflictIgnored);
        // 7 c is about what is not among the dependencies; one that is may be a no-op yet.
        let apart = |c: &&Conflict| !suspicion.attributes.deps.covers(c.id);
        let mut apart = conflicts.iter().filter(apart);
        let excluded = apart.any(|c| self.owner_took_part(&suspicion, c.id.owner));
        if decided || excluded {
            return self.accept_nop(now, at, out);
        }
        let mut awaits: Vec<_> = conflicts.into_iter().map(|conflict| conflict.id).collect();
        awaits.dedup();
        self.defer(now, id, suspicion, awaits, out);
    }

    /// Step 7 a.
    fn accept_suspected(
        &mut self,
        now: Time,
        at: (InstanceId, Round),
        suspicion: Suspicion,
        out: &mut Effects<Self>,
    ) {
        let Suspicion { initial, attributes, answered, .. } = suspicion;
        let command = Proposal::Command(initial.command);
        self.start_accept(now, at, (command, attributes), answered, out);
    }

    /// Step 7 c: whether a replica must have been in the fast quorum, had there been a fast commit. Then it
    /// has not proposed an interfering command that does not depend on this one.
    fn owner_took_part(&self, suspicion: &Suspicion, owner: NodeId) -> bool {
        if self.options.fast_path.names_quorum() {
            return suspicion.initial.quorum.contains(owner);
        }
        let absent_max = self.options.fast_path.absent_max(self.cluster.members());
        let tight = suspicion.evidence.len() + absent_max == suspicion.answered.len();
        tight && !suspicion.answered.contains(owner)
    }

    /// Step 7 e.
    fn defer(
        &mut self,
        now: Time,
        id: InstanceId,
        suspicion: Suspicion,
        awaits: Vec<InstanceId>,
        out: &mut Effects<Self>,
    ) {
        self.counters.deferred += 1;
        let said = (suspicion.evidence, suspicion.attributes.clone());
        let deferring = Deferring { suspicion, awaits: awaits.clone(), said_at: now, began: now };
        let Some(instance) = self.rows.get_mut(id) else { return };
        instance.work = Some(Box::new(Work::Deferring(deferring)));
        self.deferring.push(id);
        self.say_deferred(id, out);
        for other in awaits {
            let Some(instance) = self.rows.make(other, now) else { continue };
            let leads = instance.work.is_some();
            if !leads && !instance.is_committed() {
                self.recover_instance(now, other, out);
            }
        }
        self.on_deferred(now, id, said, out);
    }

    /// Tells the others that a recovery is deferred, for what, and on which votes.
    pub(super) fn say_deferred(&self, id: InstanceId, out: &mut Effects<Self>) {
        let work = self.rows.get(id).and_then(|instance| instance.work.as_deref());
        let Some(Work::Deferring(work)) = work else { return };
        let evidence = work.suspicion.evidence;
        let attributes = work.suspicion.attributes.clone();
        let epoch = self.epochs.of(id);
        let message = EpaxosMessage::Deferred { id, epoch, evidence, attributes };
        out.send_to(self.other_voters(id), message, out.last_write());
    }

    /// A recovery is deferred, here or elsewhere.
    pub(super) fn on_deferred(
        &mut self,
        now: Time,
        id: InstanceId,
        said: (NodeSet, Attributes),
        out: &mut Effects<Self>,
    ) {
        if let Some(instance) = self.rows.make(id, now) {
            instance.deferral = Some(said);
        }
        self.look_at_deferred(now, out);
    }

    /// Goes on with deferred recoveries whose time has come.
    pub(super) fn look_at_deferred(&mut self, now: Time, out: &mut Effects<Self>) {
        if self.deferring.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.deferring) {
            let work = self.rows.get(id).and_then(|instance| instance.work.as_deref());
            let Some(Work::Deferring(work)) = work else { continue };
            let suspicion = work.suspicion.clone();
            let fates: Vec<Fate> =
                work.awaits.iter().map(|other| self.fate((id, &suspicion), *other)).collect();
            let at = (id, suspicion.ballot);
            if fates.iter().any(|fate| matches!(fate, Fate::Contradicts)) {
                self.accept_nop(now, at, out);
            } else if fates.iter().any(|fate| matches!(fate, Fate::Unclear)) {
                self.recover_instance(now, id, out);
            } else if fates.iter().all(|fate| matches!(fate, Fate::Harmless)) {
                self.accept_suspected(now, at, suspicion, out);
            } else {
                self.deferring.push(id);
            }
        }
    }

    fn fate(&self, (id, suspicion): (InstanceId, &Suspicion), other: InstanceId) -> Fate {
        let Some(instance) = self.rows.get(other) else { return Fate::Unclear };
        if !instance.is_committed() {
            return match &instance.deferral {
                // Its decision is asked for (`catch_up`); to recover it tells nothing.
                _ if instance.executed => Fate::Open,
                Some(said)
                    if !suspicion.attributes.deps.covers(other)
                        && self.gives_in(id, suspicion, said) =>
                {
                    Fate::Contradicts
                }
                _ => Fate::Open,
            };
        }
        let Some(known) = &instance.attributes else { return Fate::Unclear };
        if instance.is_nop() || known.deps.covers(id) || mutant!(CommittedConflictIgnored) {
            return Fate::Harmless;
        }
        if !suspicion.attributes.deps.covers(other) {
            return Fate::Contradicts;
        }
        match self.options.fast_path {
            _ if known.seq < suspicion.attributes.seq => Fate::Harmless,
            FastPath::AcceptDeps => Fate::Unclear,
            _ => Fate::Contradicts,
        }
    }

    /// Step 7 d: whether a deferred recovery that this one waits for shows that this command was not
    /// committed on the fast path.
    fn gives_in(
        &self,
        id: InstanceId,
        suspicion: &Suspicion,
        (evidence, attributes): &(NodeSet, Attributes),
    ) -> bool {
        if self.options.fast_path.names_quorum() {
            let voters = evidence.and(suspicion.initial.quorum);
            return !attributes.deps.covers(id) && !voters.is_empty();
        }
        let n = self.cluster.members();
        let absent_max = self.options.fast_path.absent_max(n);
        evidence.len() + absent_max > self.majority()
    }
}
