//! Explicit Prepare (§6.2, steps 1 to 5): deciding an instance whose owner may have failed.
//!
//! The rules are those of the corrected protocols (Sutra 2019; Ryabinin, Gotsman, Sutra, "Making Democracy
//! Work", OPODIS 2025), numbered as they are evaluated:
//!
//! 1. somebody has committed: that. It answers the Prepare with a Commit;
//! 2. somebody has accepted: what was accepted in the highest ballot *of a vote*;
//! 3. the owner has answered: a no-op, as it joined the ballot without having decided;
//! 4. too few votes speak for a fast commit: a no-op;
//! 5. otherwise the fast commit is possible, and is tried (`validation`).

use super::Epaxos;
use super::deps::Attributes;
use super::message::{EpaxosMessage, EpaxosRecord, Initial, InstanceId, Phase, Proposal};
use super::options::FastPath;
use super::work::{Answer, Preparing, Suspicion, Work};
use crate::command::NodeId;
use crate::mutants::mutant;
use crate::protocol::ballot::Round;
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Effects, Time};

/// What the answers to a Prepare come to.
enum Found {
    /// This was accepted, or must have been committed if anything was.
    Accept(Proposal, Attributes),
    /// Nothing can have been committed.
    Nothing,
    /// This may have been committed on the fast path.
    Possible(Suspicion),
}

impl Epaxos {
    /// Step 1: Prepare, with a ballot above all that this replica has met.
    pub(super) fn recover_instance(&mut self, now: Time, id: InstanceId, out: &mut Effects<Self>) {
        let (me, size) = (self.me, self.cluster.size);
        if !self.may_vote(id) {
            // Those who vote in it recover it.
            return;
        }
        let first = Round::first_of(self.epochs.of(id));
        let Some(instance) = self.rows.make(id, now) else { return };
        if instance.is_committed() || instance.executed {
            return;
        }
        self.counters.recoveries += 1;
        let met = instance.ballot.max(instance.refused.unwrap_or_default()).max(first);
        let ballot = met.next_owned(me, size);
        instance.ballot = ballot;
        instance.refused = None;
        instance.recoveries += 1;
        instance.since = now;
        let preparing = Preparing { ballot, answers: Vec::new(), began: now };
        instance.work = Some(Box::new(Work::Preparing(preparing)));
        // Durable before anybody hears of it: the ballot is never used again.
        let edge = out.persist(EpaxosRecord::Joined { id, ballot });
        out.send_to(self.other_voters(id), EpaxosMessage::Prepare { id, ballot }, edge);
        self.answer_prepare(me, (id, ballot), edge, out);
    }

    /// Somebody recovers an instance.
    pub(super) fn on_prepare(
        &mut self,
        now: Time,
        from: NodeId,
        id: InstanceId,
        ballot: Round,
        out: &mut Effects<Self>,
    ) {
        if self.is_forgotten(id) {
            return Self::nack_forgotten(from, (id, ballot), out);
        }
        let Some(instance) = self.rows.make(id, now) else { return };
        if instance.is_committed() {
            return self.tell_commit(from, id, out);
        }
        if instance.ballot > ballot && !mutant!(StalePrepareAnswered) {
            let promised = Some(instance.ballot);
            return out.send(from, EpaxosMessage::Nack { id, ballot, promised });
        }
        if instance.ballot < ballot {
            // The ballot joined, and nothing else.
            instance.ballot = ballot;
            if mutant!(SingleBallot) {
                instance.vote_ballot = ballot;
            }
            instance.work = None;
            instance.since = now;
            out.persist(EpaxosRecord::Joined { id, ballot });
        }
        let edge = match mutant!(PrepareOkBeforeDurable) {
            true => crate::protocol::WriteId(0),
            false => out.last_write(),
        };
        self.answer_prepare(from, (id, ballot), edge, out);
    }

    fn answer_prepare(
        &mut self,
        to: NodeId,
        (id, ballot): (InstanceId, Round),
        after: crate::protocol::WriteId,
        out: &mut Effects<Self>,
    ) {
        let Some(instance) = self.rows.get(id) else { return };
        let message = EpaxosMessage::PrepareOk {
            id,
            ballot,
            vote: instance.vote(),
            initial: instance.initial.clone(),
        };
        self.reply(to, message, after, out);
    }

    /// An answer to this replica's Prepare.
    pub(super) fn on_prepare_ok(
        &mut self,
        now: Time,
        (id, ballot): (InstanceId, Round),
        answer: Answer,
        out: &mut Effects<Self>,
    ) {
        let majority = self.majority();
        let Some(instance) = self.rows.get_mut(id) else { return };
        let Some(work) = instance.work.as_deref_mut().filter(|work| work.ballot() == ballot) else {
            return;
        };
        if let Work::Preparing(work) = work {
            if work.answers.iter().all(|other| other.node != answer.node) {
                work.answers.push(answer);
            }
            if work.answers.len() >= majority {
                let answers = std::mem::take(&mut work.answers);
                self.evaluate(now, (id, ballot), &answers, out);
            }
        } else if work.suspicion().is_some_and(|it| !it.answered.contains(answer.node)) {
            self.on_late_answer(now, (id, ballot), &answer, out);
        }
    }

    /// Steps 2 to 5, once, with a majority's answers.
    fn evaluate(
        &mut self,
        now: Time,
        (id, ballot): (InstanceId, Round),
        answers: &[Answer],
        out: &mut Effects<Self>,
    ) {
        let informed = answers.iter().filter(|answer| answer.knows_command());
        let informed = informed.map(|answer| answer.node).collect();
        match self.found((id, ballot), answers) {
            Found::Accept(proposal, attributes) => {
                self.start_accept(now, (id, ballot), (proposal, attributes), informed, out);
            }
            Found::Nothing => self.accept_nop(now, (id, ballot), out),
            Found::Possible(suspicion) => self.validate(now, id, suspicion, out),
        }
    }

    fn found(&self, (id, ballot): (InstanceId, Round), answers: &[Answer]) -> Found {
        let accepted = answers.iter().filter(|answer| answer.vote.phase == Phase::Accepted);
        if let Some(highest) = accepted.max_by_key(|answer| answer.vote.ballot)
            && let Some((proposal, attributes)) = highest.voted()
        {
            return Found::Accept(proposal, attributes);
        }
        let owner_joined = answers.iter().any(|answer| answer.node == id.owner);
        if owner_joined && !mutant!(OwnerIgnoredInRecovery) {
            return Found::Nothing;
        }
        let Some((initial, attributes, evidence)) = self.evidence(answers) else {
            return Found::Nothing;
        };
        if self.options.fast_path == FastPath::Simplified || mutant!(EvidenceBelieved) {
            // A majority, the owner included, has computed them: nothing can be missing.
            return Found::Accept(Proposal::Command(initial.command), attributes);
        }
        let answered = answers.iter().map(|answer| answer.node).collect();
        Found::Possible(Suspicion { ballot, initial, attributes, answered, evidence })
    }

    /// The votes that speak for a fast commit, if there are enough of them: what was proposed, what would
    /// have been committed, and whose they are.
    fn evidence(&self, answers: &[Answer]) -> Option<(Initial, Attributes, NodeSet)> {
        let initial = answers.iter().find_map(|answer| answer.initial.clone())?;
        let absent_max = self.options.fast_path.absent_max(self.cluster.members());
        let mut needed = answers.len() - absent_max.min(answers.len());
        if mutant!(EvidenceNotRequired) {
            needed = 1;
        }
        let voted = |answer: &&Answer, attributes: &Attributes| {
            answer.vote.phase == Phase::PreAccepted
                && answer.vote.attributes.as_ref() == Some(attributes)
        };
        let for_these = |attributes: &Attributes| -> NodeSet {
            answers.iter().filter(|a| voted(a, attributes)).map(|a| a.node).collect()
        };
        match self.options.fast_path {
            FastPath::Published => {
                let evidence = for_these(&initial.attributes);
                let attributes = initial.attributes.clone();
                (evidence.len() >= needed).then_some((initial, attributes, evidence))
            }
            FastPath::FixedQuorum | FastPath::DepsCommitted | FastPath::AcceptDeps => {
                let speaks = |node| initial.quorum.contains(node) || mutant!(OutsidersAreEvidence);
                let members = answers.iter().filter(|answer| speaks(answer.node));
                let members: NodeSet = members.map(|answer| answer.node).collect();
                let first = answers.iter().find(|answer| members.contains(answer.node))?;
                let attributes = first.vote.attributes.clone()?;
                // Others may have been asked, too, and see it in another way.
                let agreed =
                    for_these(&attributes).and(members) == members || mutant!(EvidenceNotRequired);
                agreed.then_some((initial, attributes, members))
            }
            FastPath::Simplified => {
                let candidates =
                    answers.iter().filter_map(|answer| answer.vote.attributes.as_ref());
                let mut candidates = candidates
                    .filter(|c| self.cluster.members() > 3 || **c == initial.attributes)
                    .filter(|c| for_these(c).len() >= needed);
                let attributes = candidates.next()?.clone();
                let evidence = for_these(&attributes);
                Some((initial, attributes, evidence))
            }
        }
    }

    /// Decides that nothing was decided.
    pub(super) fn accept_nop(
        &mut self,
        now: Time,
        (id, ballot): (InstanceId, Round),
        out: &mut Effects<Self>,
    ) {
        let nothing = (Proposal::Nop, Attributes::none(self.cluster.size));
        self.start_accept(now, (id, ballot), nothing, NodeSet::default(), out);
    }

    /// An answer from beyond *Q*, while a fast commit is being tried or its recovery is deferred.
    fn on_late_answer(
        &mut self,
        now: Time,
        (id, ballot): (InstanceId, Round),
        answer: &Answer,
        out: &mut Effects<Self>,
    ) {
        if answer.vote.phase == Phase::Accepted {
            if let Some(voted) = answer.voted() {
                self.start_accept(now, (id, ballot), voted, NodeSet::default(), out);
            }
        } else if answer.node == id.owner {
            self.accept_nop(now, (id, ballot), out);
        }
    }

    /// Somebody has joined a higher ballot, or has forgotten the instance.
    pub(super) fn on_nack(
        &mut self,
        from: NodeId,
        (id, ballot): (InstanceId, Round),
        promised: Option<Round>,
        out: &mut Effects<Self>,
    ) {
        let Some(instance) = self.rows.get_mut(id) else { return };
        let current = instance.work.as_ref().is_some_and(|work| work.ballot() == ballot);
        if !current || instance.is_committed() {
            return;
        }
        self.counters.nacks += 1;
        match promised {
            Some(promised) => instance.refused = instance.refused.max(Some(promised)),
            // It was executed there, and by a majority: this replica lags.
            None => self.ask_for_missing(from, out),
        }
    }

    /// Says that an instance is forgotten.
    pub(super) fn nack_forgotten(
        to: NodeId,
        (id, ballot): (InstanceId, Round),
        out: &mut Effects<Self>,
    ) {
        out.send(to, EpaxosMessage::Nack { id, ballot, promised: None });
    }

    /// Whether the record of an instance is gone.
    pub(super) fn is_forgotten(&self, id: InstanceId) -> bool {
        id.number < self.rows.of(id.owner).base()
    }
}

impl Answer {
    /// Whether its sender has the command on record.
    fn knows_command(&self) -> bool {
        self.initial.is_some() || matches!(self.vote.proposal, Some(Proposal::Command(_)))
    }

    /// What it voted for, in full.
    fn voted(&self) -> Option<(Proposal, Attributes)> {
        let on_record = || self.initial.as_ref().map(|i| Proposal::Command(i.command.clone()));
        let proposal = self.vote.proposal.clone().or_else(on_record)?;
        Some((proposal, self.vote.attributes.clone()?))
    }
}
