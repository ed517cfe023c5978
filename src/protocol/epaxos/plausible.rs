//! Which messages a replica takes from another one. The transport says who sent a message, not whether
//! it makes sense; what does not is ignored: it indexes tables.

use super::deps::{Attributes, Deps, PerNode};
use super::epochs::{Change, Replacement};
use super::message::{EpaxosMessage, ExecutedSet, Initial, InstanceId, Phase, Proposal, Vote};
use crate::command::NodeId;
use crate::protocol::ballot::Round;

impl EpaxosMessage {
    /// Whether a replica in its right mind, in a cluster of `size`, could have sent it as `from`:
    ///
    /// - Every replica that it names exists, and what has one entry for each replica has `size` of them.
    /// - Dependencies are named in order, each once, none below the prefix; executed instances as well.
    /// - A command is not empty, and its owner is in its fast quorum.
    /// - A ballot is used by its owner: the first of an epoch by that of the instance, in Accepts and PreAccepts
    ///   only.
    /// - A vote, and nothing else, has attributes.
    pub fn is_plausible(&self, from: NodeId, size: u8) -> bool {
        let judge = Judge { from, size };
        let owner = self.id().map(|id| id.owner);
        judge.knows(from) && owner.is_none_or(|owner| judge.knows(owner)) && judge.allows(self)
    }
}

/// What a message is judged by.
#[derive(Clone, Copy)]
struct Judge {
    from: NodeId,
    size: u8,
}

impl Judge {
    /// All but what [`EpaxosMessage::is_plausible`] has looked at: that the owner exists.
    fn allows(self, message: &EpaxosMessage) -> bool {
        match message {
            EpaxosMessage::PreAccept { id, initial, .. } => {
                self.from == id.owner && self.initial(*id, initial)
            }
            EpaxosMessage::PreAcceptOk { attributes, uncommitted, .. } => {
                attributes.as_ref().is_none_or(|found| self.attributes(found))
                    && self.instances(uncommitted)
            }
            EpaxosMessage::Accept { id, ballot, proposal, attributes, beyond } => {
                (self.owns(*ballot) || ballot.in_epoch() == 0 && self.from == id.owner)
                    && self.choice(proposal.as_ref(), attributes)
                    && self.instances(beyond)
            }
            EpaxosMessage::AcceptOk { beyond, .. } => self.instances(beyond),
            EpaxosMessage::Commit { proposal, attributes, .. } => {
                self.choice(proposal.as_ref(), attributes)
            }
            EpaxosMessage::Prepare { ballot, .. } => self.owns(*ballot),
            EpaxosMessage::PrepareOk { id, vote, initial, .. } => {
                self.vote(vote) && initial.as_ref().is_none_or(|initial| self.initial(*id, initial))
            }
            EpaxosMessage::TentativePreAccept { id, ballot, initial, attributes } => {
                self.owns(*ballot) && self.initial(*id, initial) && self.attributes(attributes)
            }
            EpaxosMessage::TentativePreAcceptOk { conflicts, .. } => {
                conflicts.iter().all(|conflict| self.knows(conflict.id.owner))
            }
            EpaxosMessage::Deferred { evidence, attributes, .. } => {
                evidence.is_within(self.size) && self.attributes(attributes)
            }
            EpaxosMessage::Heartbeat { executed, forgettable, .. } => {
                self.per_node(executed) && self.per_node(forgettable)
            }
            EpaxosMessage::Lagging { executed, known } => {
                self.per_node(executed) && self.per_node(known)
            }
            EpaxosMessage::State { executed, forgotten, .. } => {
                executed.len() == usize::from(self.size)
                    && executed.iter().all(is_in_order)
                    && self.per_node(forgotten)
            }
            EpaxosMessage::Join { ballot, replacement } => {
                self.owns(*ballot) && replacement.is_none_or(|it| self.replacement(it))
            }
            EpaxosMessage::JoinOk { vote, fence, .. } => {
                vote.as_ref().is_none_or(|(_, change)| self.change(change)) && self.per_node(fence)
            }
            EpaxosMessage::Begin { ballot, change } => self.owns(*ballot) && self.change(change),
            EpaxosMessage::Epochs { changes } => changes.iter().all(|change| self.change(change)),
            EpaxosMessage::Nack { .. }
            | EpaxosMessage::HeartbeatOk { .. }
            | EpaxosMessage::JoinNack { .. }
            | EpaxosMessage::BeginOk { .. } => true,
        }
    }

    fn knows(self, node: NodeId) -> bool {
        node.0 < self.size
    }

    fn owns(self, ballot: Round) -> bool {
        ballot.owner(self.size) == Some(self.from)
    }

    fn replacement(self, Replacement { joiner, leaver }: Replacement) -> bool {
        self.knows(joiner) && self.knows(leaver) && joiner != leaver
    }

    fn change(self, change: &Change) -> bool {
        change.replacement.is_none_or(|it| self.replacement(it)) && self.per_node(&change.from)
    }

    fn per_node(self, numbers: &PerNode) -> bool {
        numbers.len() == usize::from(self.size)
    }

    fn instances(self, ids: &[InstanceId]) -> bool {
        ids.iter().all(|id| self.knows(id.owner))
    }

    fn deps(self, Deps { prefix, settled, ids }: &Deps) -> bool {
        self.per_node(prefix)
            && self.per_node(settled)
            && self.instances(ids)
            && ids.is_sorted_by(|a, b| a < b)
            && ids.iter().all(|id| id.number >= prefix[usize::from(id.owner.0)])
    }

    fn attributes(self, attributes: &Attributes) -> bool {
        self.deps(&attributes.deps)
    }

    fn initial(self, id: InstanceId, initial: &Initial) -> bool {
        !initial.command.is_empty()
            && self.attributes(&initial.attributes)
            && initial.quorum.is_within(self.size)
            && initial.quorum.contains(id.owner)
    }

    fn choice(self, proposal: Option<&Proposal>, attributes: &Attributes) -> bool {
        proposal.is_none_or(is_nop_or_some_command) && self.attributes(attributes)
    }

    fn vote(self, vote: &Vote) -> bool {
        match &vote.attributes {
            None => vote.phase == Phase::Initial && vote.proposal.is_none(),
            Some(attributes) => {
                vote.phase != Phase::Initial && self.choice(vote.proposal.as_ref(), attributes)
            }
        }
    }
}

fn is_nop_or_some_command(proposal: &Proposal) -> bool {
    match proposal {
        Proposal::Command(command) => !command.is_empty(),
        Proposal::Nop => true,
    }
}

fn is_in_order(set: &ExecutedSet) -> bool {
    set.above.is_sorted_by(|a, b| a < b) && set.above.first().is_none_or(|first| *first > set.below)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::command::{ClientId, Command, CommandId, Key, Operation};
    use crate::protocol::Batch;
    use crate::protocol::epaxos::message::Conflict;
    use crate::protocol::quorum::NodeSet;

    const SIZE: u8 = 3;
    const OWNER: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(2);
    const ID: InstanceId = InstanceId { owner: OWNER, number: 7 };
    /// Of [`OTHER`], in a cluster of [`SIZE`].
    const BALLOT: Round = Round(6);

    fn id(owner: u8, number: u64) -> InstanceId {
        InstanceId { owner: NodeId(owner), number }
    }

    /// Names a replica that is not there.
    fn stray() -> Vec<InstanceId> {
        vec![id(0, 1), id(3, 1)]
    }

    fn command() -> Batch {
        let id = CommandId { client: ClientId(3), sequence: 1 };
        let operation = Operation::Get { key: Key::register(2) };
        Arc::from([Command { id, answered_below: 0, operation }])
    }

    fn numbers(count: usize) -> PerNode {
        PerNode::from_elem(2, count)
    }

    fn deps() -> Deps {
        Deps { prefix: numbers(3), settled: numbers(3), ids: vec![id(0, 2), id(0, 3), id(2, 2)] }
    }

    fn with(deps: Deps) -> Attributes {
        Attributes { seq: 0, deps: Arc::new(deps) }
    }

    fn attributes() -> Attributes {
        with(deps())
    }

    /// Attributes that no replica in its right mind has.
    fn wrong() -> Attributes {
        with(Deps { ids: stray(), ..deps() })
    }

    fn initial() -> Initial {
        let quorum = NodeSet::from_bits(0b110);
        Initial { command: command(), attributes: attributes(), quorum }
    }

    /// One thing at a time is wrong with each.
    fn wrong_initials() -> [Initial; 4] {
        let quorum = NodeSet::from_bits;
        [
            Initial { command: Arc::from([]), ..initial() },
            Initial { attributes: wrong(), ..initial() },
            Initial { quorum: quorum(0b1010), ..initial() },
            Initial { quorum: quorum(0b101), ..initial() },
        ]
    }

    fn empty() -> Proposal {
        Proposal::Command(Arc::from([]))
    }

    fn chosen() -> [Option<Proposal>; 3] {
        [None, Some(Proposal::Nop), Some(Proposal::Command(command()))]
    }

    #[track_caller]
    fn taken(from: NodeId, message: &EpaxosMessage) {
        assert!(message.is_plausible(from, SIZE), "{from}: {message:?}");
    }

    #[track_caller]
    fn refused(from: NodeId, message: &EpaxosMessage) {
        assert!(!message.is_plausible(from, SIZE), "{from}: {message:?}");
    }

    fn commit(attributes: Attributes) -> EpaxosMessage {
        EpaxosMessage::Commit { id: ID, epoch: 0, proposal: None, attributes }
    }

    fn accept(ballot: Round) -> EpaxosMessage {
        let attributes = attributes();
        EpaxosMessage::Accept { id: ID, ballot, proposal: None, attributes, beyond: vec![] }
    }

    #[test]
    fn sender_and_owner_are_replicas_of_the_cluster() {
        let nack = |id| EpaxosMessage::Nack { id, ballot: BALLOT, promised: None };
        taken(OTHER, &nack(id(2, 0)));
        refused(NodeId(SIZE), &nack(id(2, 0)));
        refused(OTHER, &nack(id(SIZE, 0)));
        taken(OTHER, &EpaxosMessage::HeartbeatOk { sent_ns: 1 });
        refused(NodeId(SIZE), &EpaxosMessage::HeartbeatOk { sent_ns: 1 });
    }

    #[test]
    fn dependencies_have_a_number_for_each_replica_and_instances_in_order_not_below_the_prefix() {
        taken(OTHER, &commit(attributes()));
        taken(OTHER, &commit(Attributes::none(SIZE)));
        for count in [0, 2, 4] {
            refused(OTHER, &commit(with(Deps { prefix: numbers(count), ids: vec![], ..deps() })));
            refused(OTHER, &commit(with(Deps { settled: numbers(count), ..deps() })));
        }
        let unsorted = vec![id(0, 3), id(0, 2)];
        let twice = vec![id(0, 2), id(0, 2)];
        let below = vec![id(0, 2), id(2, 1)];
        for ids in [stray(), unsorted, twice, below] {
            refused(OTHER, &commit(with(Deps { ids, ..deps() })));
        }
    }

    #[test]
    fn a_pre_accept_comes_from_its_owner_whole() {
        let pre_accept = |initial| EpaxosMessage::PreAccept { id: ID, epoch: 0, initial };
        taken(OWNER, &pre_accept(initial()));
        refused(OTHER, &pre_accept(initial()));
        for initial in wrong_initials() {
            refused(OWNER, &pre_accept(initial));
        }
    }

    #[test]
    fn an_answer_to_a_pre_accept_names_replicas_that_exist() {
        let ok = |attributes, uncommitted| EpaxosMessage::PreAcceptOk {
            id: ID,
            epoch: 0,
            attributes,
            uncommitted,
        };
        taken(OTHER, &ok(None, vec![]));
        taken(OTHER, &ok(Some(attributes()), vec![id(2, 0), id(0, 9)]));
        refused(OTHER, &ok(Some(wrong()), vec![]));
        refused(OTHER, &ok(None, stray()));
    }

    #[test]
    fn an_accept_comes_from_the_owner_of_its_ballot() {
        taken(OTHER, &accept(BALLOT));
        refused(OWNER, &accept(BALLOT));
        taken(OWNER, &accept(Round(0)));
        refused(OTHER, &accept(Round(0)));
    }

    #[test]
    fn what_is_accepted_and_what_is_known_beyond_it_is_checked() {
        let accept = |proposal, attributes, beyond| EpaxosMessage::Accept {
            id: ID,
            ballot: BALLOT,
            proposal,
            attributes,
            beyond,
        };
        for proposal in chosen() {
            taken(OTHER, &accept(proposal, attributes(), vec![id(0, 0)]));
        }
        refused(OTHER, &accept(Some(empty()), attributes(), vec![]));
        refused(OTHER, &accept(None, wrong(), vec![]));
        refused(OTHER, &accept(None, attributes(), stray()));
        let ok = |beyond| EpaxosMessage::AcceptOk { id: ID, ballot: BALLOT, beyond };
        taken(OTHER, &ok(vec![id(0, 0)]));
        refused(OTHER, &ok(stray()));
    }

    #[test]
    fn a_commit_may_come_from_anybody_but_not_of_an_empty_command() {
        let commit = |proposal| EpaxosMessage::Commit {
            id: ID,
            epoch: 0,
            proposal,
            attributes: attributes(),
        };
        for proposal in chosen() {
            taken(OTHER, &commit(proposal.clone()));
            taken(OWNER, &commit(proposal));
        }
        refused(OTHER, &commit(Some(empty())));
        refused(OTHER, &super::tests::commit(wrong()));
    }

    #[test]
    fn a_prepare_comes_from_the_owner_of_its_ballot_which_is_not_0() {
        let prepare = |ballot| EpaxosMessage::Prepare { id: ID, ballot };
        taken(OTHER, &prepare(BALLOT));
        refused(OWNER, &prepare(BALLOT));
        refused(OWNER, &prepare(Round(0)));
    }

    fn prepare_ok(vote: Vote) -> EpaxosMessage {
        EpaxosMessage::PrepareOk { id: ID, ballot: BALLOT, vote, initial: None }
    }

    fn vote(phase: Phase, attributes: Option<Attributes>) -> Vote {
        Vote { phase, ballot: Round(0), proposal: None, attributes }
    }

    #[test]
    fn a_vote_and_nothing_else_has_attributes_and_a_proposal() {
        taken(OTHER, &prepare_ok(vote(Phase::Initial, None)));
        refused(OTHER, &prepare_ok(vote(Phase::Initial, Some(attributes()))));
        let nop = Some(Proposal::Nop);
        refused(OTHER, &prepare_ok(Vote { proposal: nop, ..vote(Phase::Initial, None) }));
        for phase in [Phase::PreAccepted, Phase::Accepted, Phase::Committed] {
            taken(OTHER, &prepare_ok(vote(phase, Some(attributes()))));
            refused(OTHER, &prepare_ok(vote(phase, None)));
            refused(OTHER, &prepare_ok(vote(phase, Some(wrong()))));
            let voted = vote(phase, Some(attributes()));
            refused(OTHER, &prepare_ok(Vote { proposal: Some(empty()), ..voted }));
        }
    }

    #[test]
    fn what_comes_with_a_vote_is_checked() {
        let prepare_ok = |initial| EpaxosMessage::PrepareOk {
            id: ID,
            ballot: BALLOT,
            vote: vote(Phase::Initial, None),
            initial: Some(initial),
        };
        taken(OTHER, &prepare_ok(initial()));
        for initial in wrong_initials() {
            refused(OTHER, &prepare_ok(initial));
        }
    }

    #[test]
    fn a_tentative_pre_accept_comes_from_the_owner_of_its_ballot_whole() {
        let tentative = |ballot, initial, attributes| EpaxosMessage::TentativePreAccept {
            id: ID,
            ballot,
            initial,
            attributes,
        };
        taken(OTHER, &tentative(BALLOT, initial(), attributes()));
        refused(OWNER, &tentative(BALLOT, initial(), attributes()));
        refused(OWNER, &tentative(Round(0), initial(), attributes()));
        refused(OTHER, &tentative(BALLOT, initial(), wrong()));
        for initial in wrong_initials() {
            refused(OTHER, &tentative(BALLOT, initial, attributes()));
        }
    }

    #[test]
    fn conflicts_and_evidence_are_of_replicas_that_exist() {
        let tried = |id| EpaxosMessage::TentativePreAcceptOk {
            id: ID,
            ballot: BALLOT,
            conflicts: vec![Conflict { id, committed: true }],
        };
        taken(OTHER, &tried(id(0, 1)));
        refused(OTHER, &tried(id(SIZE, 1)));
        let deferred = |bits, attributes| EpaxosMessage::Deferred {
            id: ID,
            epoch: 0,
            evidence: NodeSet::from_bits(bits),
            attributes,
        };
        taken(OTHER, &deferred(0b101, attributes()));
        refused(OTHER, &deferred(0b1001, attributes()));
        refused(OTHER, &deferred(0b101, wrong()));
    }

    #[test]
    fn progress_is_told_of_each_replica() {
        let heartbeat = |executed, forgettable| EpaxosMessage::Heartbeat {
            epoch: 0,
            executed: numbers(executed),
            forgettable: numbers(forgettable),
            sent_ns: 1,
        };
        taken(OTHER, &heartbeat(3, 3));
        let lagging = |executed| {
            let executed = numbers(executed);
            EpaxosMessage::Lagging { known: executed.clone(), executed }
        };
        taken(OTHER, &lagging(3));
        for count in [0, 2, 4] {
            refused(OTHER, &heartbeat(count, 3));
            refused(OTHER, &heartbeat(3, count));
            refused(OTHER, &lagging(count));
        }
    }

    #[test]
    fn state_is_of_each_replica_and_executed_instances_in_order() {
        let state = |executed, forgotten| EpaxosMessage::State { epoch: 0, executed, forgotten };
        let set = |above: &[u64]| ExecutedSet { below: 4, above: above.to_vec() };
        let sets = |above: &[u64]| vec![set(&[]), set(above), set(&[5])];
        taken(OTHER, &state(sets(&[5, 6, 9]), numbers(3)));
        refused(OTHER, &state(sets(&[])[..2].to_vec(), numbers(3)));
        refused(OTHER, &state(vec![set(&[]); 4], numbers(3)));
        refused(OTHER, &state(sets(&[]), numbers(2)));
        for above in [[4, 5], [3, 5], [6, 5], [5, 5]] {
            refused(OTHER, &state(sets(&above), numbers(3)));
        }
    }
}
