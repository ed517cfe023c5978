//! The properties of EPaxos (§4, §5.6 of its paper), and of its corrected recovery, as what one sees of a
//! run: every record that a replica stores and every message that leaves it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Held, Invariants, hold};
use crate::command::NodeId;
use crate::protocol::ballot::Round;
use crate::protocol::epaxos::Epaxos;
use crate::protocol::epaxos::deps::{Attributes, PerNode};
use crate::protocol::epaxos::epochs::{Change, Epochs};
use crate::protocol::epaxos::message::{
    EpaxosMessage, EpaxosRecord, Initial, InstanceId, Phase, Proposal,
};
use crate::protocol::quorum::{NodeSet, majority};
use crate::protocol::{Batch, Cluster};

/// What is chosen in an instance, or voted for.
type Tuple = (Proposal, Attributes);

/// What one replica's log says of one instance. Places are counted among the records of the instance: how
/// those of different instances lie between each other makes no difference.
#[derive(Clone, Hash, Debug, Default)]
struct Logged {
    /// How many records there are, and how many of them are durable.
    length: usize,
    durable: usize,
    joined: Round,
    voted: Round,
    initial: Option<Initial>,
    command: Option<Batch>,
    /// The attributes of its vote at ballot 0.
    pre_accepted: Option<Attributes>,
    accepted: BTreeMap<Round, Tuple>,
    committed: bool,
    /// Where each kind of record stands first: PreAccepted, Tentative, Committed.
    at: [Option<usize>; 3],
    /// Where a ballot was joined or accepted first.
    joined_at: BTreeMap<Round, usize>,
    accepted_at: BTreeMap<Round, usize>,
}

const PRE_ACCEPTED: usize = 0;
const TENTATIVE: usize = 1;
const COMMITTED: usize = 2;

impl Logged {
    fn resolve(&self, proposal: Option<&Proposal>) -> Option<Proposal> {
        proposal.cloned().or_else(|| self.command.clone().map(Proposal::Command))
    }
}

/// One replica's log as far as the invariants need it.
#[derive(Clone, Hash, Debug)]
struct Log {
    instances: BTreeMap<InstanceId, Logged>,
    /// What others may be let forget, as far as it is durable.
    allowed: Option<Vec<u64>>,
    /// The epochs that it knows, and from where on it votes in nothing more of the latest.
    epochs: Epochs,
    fence: Option<PerNode>,
    /// The ballots for the next epochs that it has joined or voted in, as far as they are durable.
    promised: Round,
    begin_accepted: Round,
}

impl Log {
    fn new(cluster: Cluster) -> Log {
        Log {
            instances: BTreeMap::new(),
            allowed: None,
            epochs: Epochs::new(cluster),
            fence: None,
            promised: Round(0),
            begin_accepted: Round(0),
        }
    }
}

/// What is remembered of a run.
#[derive(Clone, Hash, Debug)]
pub struct EpaxosInvariants {
    cluster: Cluster,
    /// All epochs that have begun anywhere.
    epochs: Epochs,
    /// How each ballot for the beginning of an epoch wants it to begin, and whose votes for that are durable.
    begins: BTreeMap<Round, (Change, NodeSet)>,
    logs: Vec<Log>,
    /// What the owner of each instance proposed.
    proposed: BTreeMap<InstanceId, Initial>,
    /// What each ballot of an instance asked to accept.
    asked: BTreeMap<(InstanceId, Round), Tuple>,
    /// Durable votes at ballot 0, and by Accepts: whose.
    pre_accepted: BTreeMap<InstanceId, BTreeMap<NodeId, Attributes>>,
    accepted: BTreeMap<(InstanceId, Round), BTreeSet<NodeId>>,
    /// What is committed.
    committed: BTreeMap<InstanceId, Tuple>,
}

impl EpaxosInvariants {
    /// *Consistency* (Theorem 2), of the whole tuple (Lemma 1): two replicas never have different commands,
    /// or attributes, committed for the same instance.
    fn consistency(&mut self, id: InstanceId, tuple: &Tuple) -> Held {
        let first = self.committed.entry(id).or_insert_with(|| tuple.clone());
        hold(first == tuple, "consistency", || format!("{id:?} commits {first:?} and {tuple:?}"))
    }

    /// *Nontriviality* (Theorem 1): what is committed was proposed by the owner, or is nothing. It depends
    /// on all that the owner knew.
    fn nontriviality(&self, id: InstanceId, (proposal, attributes): &Tuple) -> Held {
        let Proposal::Command(command) = proposal else { return Ok(()) };
        let initial = self.proposed.get(&id);
        let held = initial.is_some_and(|initial| {
            initial.command == *command && attributes.deps.contains(&initial.attributes.deps)
        });
        hold(held, "nontriviality", || {
            format!("{id:?} commits {command:?}, proposed was {initial:?}")
        })
    }

    /// Theorem 4, step 1: of two interfering commands that are committed, one depends on the other.
    fn visibility(&self, id: InstanceId, (proposal, attributes): &Tuple) -> Held {
        let Proposal::Command(command) = proposal else { return Ok(()) };
        for (other_id, (other, others)) in &self.committed {
            let Proposal::Command(other) = other else { continue };
            let seen = attributes.deps.covers(*other_id) || others.deps.covers(id);
            if *other_id != id && !seen {
                let apart = !interfere(command, other);
                hold(apart, "visibility", || {
                    format!("{id:?} and {other_id:?} interfere: {attributes:?}, {others:?}")
                })?;
            }
        }
        Ok(())
    }

    /// A commit stands on a fast quorum's durable votes at ballot 0, or on a majority's by Accepts of one
    /// ballot: of the members of the epoch that the instance belongs to.
    fn quorum(&self, id: InstanceId, tuple: &Tuple) -> Held {
        let mut ballots = self.accepted.range((id, Round(0))..=(id, Round(u64::MAX)));
        let voters = self.epochs.voters(id);
        let n = voters.len();
        let slow = ballots.any(|(at, nodes)| {
            let nodes = nodes.iter().filter(|node| voters.contains(**node)).count();
            nodes >= majority(n) && self.asked.get(at) == Some(tuple)
        });
        // The smallest fast quorum of all variants; the owner counts as one of it.
        let smallest = n - (n - majority(n) + 1).div_ceil(2);
        let votes = self.pre_accepted.get(&id).map_or(0, |votes| {
            let same = |(node, vote): &(&NodeId, &Attributes)| {
                **node != id.owner && voters.contains(**node) && **vote == tuple.1
            };
            1 + votes.iter().filter(same).count()
        });
        let fast = tuple.0 != Proposal::Nop && votes >= smallest;
        hold(slow || fast, "quorum", || format!("{id:?} commits {tuple:?}, on {votes} fast votes"))
    }

    /// Each ballot of an instance asks to accept one tuple.
    fn one_tuple_per_ballot(&mut self, id: InstanceId, ballot: Round, tuple: &Tuple) -> Held {
        let first = self.asked.entry((id, ballot)).or_insert_with(|| tuple.clone());
        hold(first == tuple, "one tuple per ballot", || {
            format!("{ballot:?} of {id:?} asks to accept {first:?} and {tuple:?}")
        })
    }

    /// §5.6, Lemma 1 step 2: an owner proposes at most once in an instance.
    fn one_proposal(&mut self, id: InstanceId, initial: &Initial) -> Held {
        let first = self.proposed.entry(id).or_insert_with(|| initial.clone());
        hold(first == initial, "one proposal", || format!("{id:?}: {first:?} and {initial:?}"))
    }

    /// A replica has a decision on record.
    fn on_commit(&mut self, node: NodeId, record: &EpaxosRecord) -> Held {
        let EpaxosRecord::Committed { id, proposal, attributes } = record else { return Ok(()) };
        let logged = self.logs[usize::from(node.0)].instances.get(id);
        let proposal = logged.and_then(|logged| logged.resolve(proposal.as_ref()));
        let Some(proposal) = proposal else {
            return hold(false, "records tell all", || format!("{node}: {record:?}"));
        };
        let tuple = (proposal, attributes.clone());
        self.nontriviality(*id, &tuple)?;
        self.quorum(*id, &tuple)?;
        self.barrier(*id, &tuple)?;
        self.visibility(*id, &tuple)?;
        self.consistency(*id, &tuple)
    }

    /// Takes a record, as it is appended or as a crash has left it.
    fn append(&mut self, node: NodeId, record: &EpaxosRecord) -> Held {
        if let EpaxosRecord::Begun { change } = record {
            return self.begin(node, change);
        }
        let log = &mut self.logs[usize::from(node.0)];
        if let EpaxosRecord::Promised { fence, .. } = record {
            log.fence.clone_from(fence);
        }
        let Some(id) = id_of(record) else { return Ok(()) };
        votes_where_it_may(node, id, record, log)?;
        let logged = log.instances.entry(id).or_default();
        let position = logged.length;
        logged.length += 1;
        match record {
            EpaxosRecord::PreAccepted { initial, attributes, .. } => {
                let free = logged.joined == Round(0) && logged.pre_accepted.is_none();
                hold(free, "ballots rise", || format!("{node} pre-accepts {id:?} late"))?;
                let attributes = attributes.clone().unwrap_or_else(|| initial.attributes.clone());
                logged.pre_accepted = Some(attributes);
                logged.command = Some(initial.command.clone());
                logged.initial = Some(initial.clone());
                logged.at[PRE_ACCEPTED].get_or_insert(position);
            }
            EpaxosRecord::Joined { ballot, .. } => {
                let rises = logged.joined < *ballot && !logged.committed;
                hold(rises, "ballots rise", || format!("{node} joins {ballot:?} of {id:?} late"))?;
                logged.joined = *ballot;
                logged.joined_at.entry(*ballot).or_insert(position);
            }
            EpaxosRecord::Tentative { initial, .. } => {
                logged.command = Some(initial.command.clone());
                logged.initial = Some(initial.clone());
                logged.at[TENTATIVE].get_or_insert(position);
            }
            EpaxosRecord::Accepted { ballot, proposal, attributes, .. } => {
                let rises =
                    logged.joined <= *ballot && logged.voted <= *ballot && !logged.committed;
                hold(rises, "ballots rise", || {
                    format!("{node} accepts {ballot:?} of {id:?} late")
                })?;
                (logged.joined, logged.voted) = (*ballot, *ballot);
                let Some(proposal) = logged.resolve(proposal.as_ref()) else {
                    return hold(false, "records tell all", || format!("{node}: {record:?}"));
                };
                if let Proposal::Command(command) = &proposal {
                    logged.command = Some(command.clone());
                }
                logged.accepted.insert(*ballot, (proposal, attributes.clone()));
                logged.accepted_at.entry(*ballot).or_insert(position);
            }
            EpaxosRecord::Committed { proposal, .. } => {
                hold(!logged.committed, "stability", || format!("{node} commits {id:?} again"))?;
                logged.committed = true;
                if let Some(Proposal::Command(command)) = proposal {
                    logged.command = Some(command.clone());
                }
                logged.at[COMMITTED].get_or_insert(position);
            }
            _ => {}
        }
        Ok(())
    }

    /// An epoch begins at a replica: as it did elsewhere. What is not committed by then and too late for its
    /// epoch counts as never recorded.
    fn begin(&mut self, node: NodeId, change: &Change) -> Held {
        let latest = usize::from(self.logs[usize::from(node.0)].epochs.latest());
        let known = self.epochs.changes().get(latest);
        hold(known.is_none_or(|known| known == change), "one beginning of an epoch", || {
            format!("{node} begins {change:?}, another {known:?}")
        })?;
        if known.is_none() {
            self.decided_beginning(node, change)?;
            self.epochs.push(change.clone());
        }
        let log = &mut self.logs[usize::from(node.0)];
        log.epochs.push(change.clone());
        log.fence = None;
        for (id, logged) in &mut log.instances {
            if id.number >= change.from[usize::from(id.owner.0)] && !logged.committed {
                let (length, durable) = (logged.length, logged.durable);
                *logged = Logged { length, durable, ..Logged::default() };
                self.pre_accepted.entry(*id).or_default().remove(&node);
            }
        }
        Ok(())
    }

    /// §5.5: an epoch begins as a majority of the members of the one before has durably accepted in one ballot,
    /// with an identity that is new, and nothing that is decided changes its epoch.
    fn decided_beginning(&self, node: NodeId, change: &Change) -> Held {
        let (epochs, members) = (&self.epochs, self.epochs.members());
        let next = epochs.latest() + 1;
        let mut votes = self.begins.range(Round::first_of(next)..Round::first_of(next + 1));
        let chosen = votes.any(|(_, (other, nodes))| {
            other == change && nodes.and(members).len() >= majority(members.len())
        });
        hold(chosen && epochs.may_follow(change.replacement), "beginning of an epoch", || {
            format!("{node} begins {change:?}, voted for was {:?}", self.begins)
        })?;
        let late = |id: &&InstanceId| id.number >= change.from[usize::from(id.owner.0)];
        let late = self.committed.keys().find(late);
        hold(late.is_none(), "what is decided keeps its epoch", || {
            format!("{change:?} begins before {late:?}, which is decided")
        })
    }

    /// All commands of an epoch depend on all instances of the ones before, and where there are sequence numbers,
    /// those of an epoch are above all of the one before and below all of the next (`joining`).
    fn barrier(&self, id: InstanceId, (proposal, attributes): &Tuple) -> Held {
        let epoch = usize::from(self.epochs.of(id));
        let of_epoch = attributes.seq == 0 || usize::from(Round(attributes.seq).epoch()) == epoch;
        hold(of_epoch, "barrier", || format!("{id:?} of epoch {epoch} commits {attributes:?}"))?;
        let change = epoch.checked_sub(1).and_then(|at| self.epochs.changes().get(at));
        let Some(change) = change.filter(|_| *proposal != Proposal::Nop) else { return Ok(()) };
        let mut ends = attributes.deps.prefix.iter().zip(&change.from);
        let covers = ends.all(|(prefix, from)| prefix >= from);
        hold(covers, "barrier", || format!("{id:?} of epoch {epoch} commits {attributes:?}"))
    }

    /// Each ballot for the beginning of an epoch wants one.
    fn one_beginning_per_ballot(&mut self, ballot: Round, change: &Change) -> Held {
        let (first, _) =
            self.begins.entry(ballot).or_insert_with(|| (change.clone(), NodeSet::default()));
        hold(first == change, "one beginning per ballot", || {
            format!("{ballot:?} asks to begin {first:?} and {change:?}")
        })
    }

    /// The next record of an instance, or of what others are let forget, is durable.
    fn store(&mut self, node: NodeId, record: &EpaxosRecord) {
        let log = &mut self.logs[usize::from(node.0)];
        if let Some(id) = id_of(record) {
            log.instances.entry(id).or_default().durable += 1;
        } else if let EpaxosRecord::Forgettable { below } = record {
            log.allowed = Some(below.to_vec());
        } else if let EpaxosRecord::Promised { ballot, .. } = record {
            log.promised = *ballot;
        } else if let EpaxosRecord::BeginAccepted { ballot, .. } = record {
            log.begin_accepted = *ballot;
        }
    }

    /// Whether a message waited for its record, and its instance has come too late for its epoch meanwhile: the
    /// record counts no more, and nobody heeds the message.
    fn is_too_late(&self, node: NodeId, message: &EpaxosMessage) -> bool {
        let epochs = &self.logs[usize::from(node.0)].epochs;
        let belongs = message.id().map(|id| epochs.of(id));
        message.epoch().zip(belongs).is_some_and(|(epoch, belongs)| epoch < belongs)
    }

    /// What an answer promises is durable before it leaves.
    fn durable_before_answered(&self, node: NodeId, message: &EpaxosMessage) -> Held {
        let Some(id) = message.id() else {
            self.durable_before_joined(node, message)?;
            return self.durable_before_let_go(node, message);
        };
        let log = &self.logs[usize::from(node.0)];
        let unknown = Logged::default();
        let logged = log.instances.get(&id).unwrap_or(&unknown);
        let has = |at: Option<usize>| at.is_some_and(|at| at < logged.durable);
        let joined = |ballot: &Round| {
            let at = |map: &BTreeMap<Round, usize>| has(map.get(ballot).copied());
            at(&logged.joined_at) || at(&logged.accepted_at)
        };
        let safe = match message {
            EpaxosMessage::PreAccept { .. } | EpaxosMessage::PreAcceptOk { .. } => {
                has(logged.at[PRE_ACCEPTED])
            }
            EpaxosMessage::Prepare { ballot, .. } | EpaxosMessage::PrepareOk { ballot, .. } => {
                joined(ballot)
            }
            EpaxosMessage::Accept { ballot, .. } => ballot.in_epoch() == 0 || joined(ballot),
            EpaxosMessage::AcceptOk { ballot, .. } => has(logged.accepted_at.get(ballot).copied()),
            EpaxosMessage::TentativePreAcceptOk { .. } => {
                has(logged.at[TENTATIVE]) || has(logged.at[PRE_ACCEPTED])
            }
            EpaxosMessage::Commit { .. } => has(logged.at[COMMITTED]) || self.is_chosen_slowly(id),
            _ => true,
        };
        hold(safe, "durable before answered", || format!("{node} sends {message:?} too early"))
    }

    /// Whether a majority has accepted what is committed: then whoever says so loses nothing by a crash.
    fn is_chosen_slowly(&self, id: InstanceId) -> bool {
        let mut ballots = self.accepted.range((id, Round(0))..=(id, Round(u64::MAX)));
        ballots.any(|(_, nodes)| nodes.len() >= majority(self.epochs.members().len()))
    }

    /// A ballot for the next epoch is on record before anybody hears of it, and a vote in it.
    fn durable_before_joined(&self, node: NodeId, message: &EpaxosMessage) -> Held {
        let log = &self.logs[usize::from(node.0)];
        let safe = match message {
            EpaxosMessage::Join { ballot, .. } => log.promised >= *ballot,
            EpaxosMessage::JoinOk { ballot, fence, .. } => {
                // If it knows of the next epoch by now, the votes that the fence is about are of no use.
                let known = log.epochs.latest() >= ballot.epoch();
                let joined = log.promised.max(log.begin_accepted) >= *ballot;
                joined && (known || log.fence.as_ref() == Some(fence))
            }
            EpaxosMessage::BeginOk { ballot } => log.begin_accepted >= *ballot,
            _ => true,
        };
        hold(safe, "durable before answered", || format!("{node} sends {message:?} too early"))
    }

    /// What a replica lets others forget is durable before they hear of it (`keeping`).
    fn durable_before_let_go(&self, node: NodeId, message: &EpaxosMessage) -> Held {
        let EpaxosMessage::Heartbeat { forgettable, .. } = message else { return Ok(()) };
        let stored = &self.logs[usize::from(node.0)].allowed;
        let allowed = |place: usize| stored.as_ref().map_or(0, |below| below[place]);
        let within = (0..forgettable.len()).all(|place| forgettable[place] <= allowed(place));
        hold(within, "durable before let go", || {
            format!("{node} sends {message:?}, and has stored {stored:?}")
        })
    }

    /// A vote reported to a recoverer is the one in the log: to join a ballot has changed nothing of it.
    fn votes_are_told_as_they_are(&self, node: NodeId, message: &EpaxosMessage) -> Held {
        let EpaxosMessage::PrepareOk { id, ballot, vote, .. } = message else { return Ok(()) };
        let unknown = Logged::default();
        let logged = self.logs[usize::from(node.0)].instances.get(id).unwrap_or(&unknown);
        let joined = [&logged.joined_at, &logged.accepted_at];
        let joined = joined.iter().filter_map(|at| at.get(ballot)).min().copied().unwrap_or(0);
        let before = |at: &usize| *at < joined;
        let earlier = |above: Round| {
            logged.accepted_at.iter().any(|(other, at)| *other > above && before(at))
        };
        let same = match vote.phase {
            Phase::Initial => {
                !logged.at[PRE_ACCEPTED].as_ref().is_some_and(before)
                    && logged.accepted_at.values().all(|at| !before(at))
            }
            Phase::PreAccepted => {
                vote.attributes == logged.pre_accepted
                    && vote.ballot == Round(0)
                    && logged.accepted_at.values().all(|at| !before(at))
            }
            Phase::Accepted => {
                let accepted = logged.accepted.get(&vote.ballot);
                vote.attributes.as_ref() == accepted.map(|(_, attributes)| attributes)
                    && !earlier(vote.ballot)
            }
            Phase::Committed => false,
        };
        hold(same, "votes are told as they are", || format!("{node} tells {vote:?} of {id:?}"))
    }
}

/// §5.5: a replica votes in instances of the epochs of which it is a member, and, once it has joined a ballot for
/// the next epoch, in none of the latest that it had not met by then.
fn votes_where_it_may(node: NodeId, id: InstanceId, record: &EpaxosRecord, log: &Log) -> Held {
    if matches!(record, EpaxosRecord::Committed { .. } | EpaxosRecord::AcceptedElsewhere { .. }) {
        return Ok(());
    }
    hold(log.epochs.voters(id).contains(node), "members vote", || {
        format!("{node} writes {record:?}, and is no member of that epoch")
    })?;
    let fenced = log.fence.as_ref().filter(|fence| id.number >= fence[usize::from(id.owner.0)]);
    hold(fenced.is_none(), "fence", || format!("{node} writes {record:?} beyond {fenced:?}"))
}

fn id_of(record: &EpaxosRecord) -> Option<InstanceId> {
    match record {
        EpaxosRecord::PreAccepted { id, .. }
        | EpaxosRecord::Joined { id, .. }
        | EpaxosRecord::Tentative { id, .. }
        | EpaxosRecord::Accepted { id, .. }
        | EpaxosRecord::AcceptedElsewhere { id, .. }
        | EpaxosRecord::Committed { id, .. } => Some(*id),
        EpaxosRecord::Forgettable { .. }
        | EpaxosRecord::Installed { .. }
        | EpaxosRecord::Promised { .. }
        | EpaxosRecord::BeginAccepted { .. }
        | EpaxosRecord::Begun { .. } => None,
    }
}

/// Whether two commands interfere: some of one with some of the other.
fn interfere(command: &Batch, other: &Batch) -> bool {
    command.iter().any(|a| other.iter().any(|b| a.operation.interferes(&b.operation)))
}

impl Invariants<Epaxos> for EpaxosInvariants {
    fn new(cluster: Cluster) -> Self {
        EpaxosInvariants {
            epochs: Epochs::new(cluster),
            logs: vec![Log::new(cluster); usize::from(cluster.size)],
            begins: BTreeMap::new(),
            cluster,
            proposed: BTreeMap::new(),
            asked: BTreeMap::new(),
            pre_accepted: BTreeMap::new(),
            accepted: BTreeMap::new(),
            committed: BTreeMap::new(),
        }
    }

    fn on_record(&mut self, node: NodeId, record: &EpaxosRecord) -> Held {
        self.append(node, record)?;
        match record {
            // What an owner has not stored durably it may propose again, differently.
            EpaxosRecord::PreAccepted { id, initial, .. } if node != id.owner => {
                self.one_proposal(*id, initial)
            }
            EpaxosRecord::Accepted { id, ballot, .. } => {
                let logged = &self.logs[usize::from(node.0)].instances[id];
                let tuple = logged.accepted[ballot].clone();
                self.one_tuple_per_ballot(*id, *ballot, &tuple)
            }
            // What an owner alone knows is committed when nothing can undo it.
            EpaxosRecord::Committed { id, .. }
                if node == id.owner && !self.is_chosen_slowly(*id) =>
            {
                Ok(())
            }
            EpaxosRecord::Committed { .. } => self.on_commit(node, record),
            EpaxosRecord::BeginAccepted { ballot, change } => {
                self.one_beginning_per_ballot(*ballot, change)
            }
            _ => Ok(()),
        }
    }

    fn on_durable(&mut self, node: NodeId, record: &EpaxosRecord) -> Held {
        self.store(node, record);
        match record {
            EpaxosRecord::PreAccepted { id, initial, attributes } => {
                let attributes = attributes.clone().unwrap_or_else(|| initial.attributes.clone());
                self.pre_accepted.entry(*id).or_default().insert(node, attributes);
                return self.one_proposal(*id, initial);
            }
            EpaxosRecord::Accepted { id, ballot, .. } => {
                self.accepted.entry((*id, *ballot)).or_default().insert(node);
            }
            EpaxosRecord::BeginAccepted { ballot, .. } => {
                self.begins.entry(*ballot).and_modify(|(_, nodes)| {
                    nodes.insert(node);
                });
            }
            EpaxosRecord::Committed { .. } => return self.on_commit(node, record),
            _ => {}
        }
        Ok(())
    }

    fn on_crash<'a>(&mut self, node: NodeId, left: impl Iterator<Item = &'a EpaxosRecord>) -> Held {
        self.logs[usize::from(node.0)] = Log::new(self.cluster);
        for record in left {
            self.append(node, record)?;
            self.store(node, record);
        }
        Ok(())
    }

    fn on_sent(&mut self, node: NodeId, message: &EpaxosMessage, _: usize) -> Held {
        if !self.is_too_late(node, message) {
            self.durable_before_answered(node, message)?;
            self.votes_are_told_as_they_are(node, message)?;
        }
        match message {
            EpaxosMessage::PreAccept { id, initial, .. } => self.one_proposal(*id, initial),
            _ => Ok(()),
        }
    }

    fn on_executed(&mut self, _: NodeId, _: u64, _: &Batch) -> Held {
        Ok(())
    }

    fn on_step(&mut self, node: NodeId, core: &Epaxos) -> Held {
        let lost = core.inconsistency();
        hold(lost.is_none(), "state fits together", || format!("{node}: {lost:?}"))
    }

    fn is_member(&self, node: NodeId) -> bool {
        self.epochs.members().contains(node)
    }

    /// A majority of the members of each epoch whose instances may be open: of the latest only, once the members
    /// that are left hold all that was decided before. Who has never joined may yet turn out to have, in the place
    /// of any.
    fn tolerates<'a>(
        &self,
        gone: NodeSet,
        settled: impl Iterator<Item = (NodeId, &'a Epaxos)>,
    ) -> bool {
        let members = self.epochs.members();
        let closed = settled.filter(|(_, core)| core.has_closed_before(self.epochs.latest()));
        let closed: NodeSet = closed.map(|(node, _)| node).collect();
        let lives = |epoch: u16, missing: usize| {
            let voters = self.epochs.members_of(epoch);
            voters.minus(gone).len() >= majority(voters.len()) + missing
        };
        let first =
            if members.minus(gone).minus(closed).is_empty() { self.epochs.latest() } else { 0 };
        let strangers = gone.iter().filter(|node| !self.epochs.has_known(*node)).count();
        (first..=self.epochs.latest()).all(|epoch| lives(epoch, 0))
            && lives(self.epochs.latest(), strangers)
    }

    /// *Liveness* (§4): what is proposed is committed, and executed, by every replica.
    fn owes(&self, node: NodeId, core: &Epaxos) -> Option<String> {
        // If it is to replace one that never joined, it waits for that.
        if core.wants_to_replace().is_some_and(|leaver| self.epochs.has_known(leaver)) {
            return Some(format!("{node} has neither joined nor given up"));
        }
        if !self.is_member(node) {
            return None;
        }
        let missing = self.committed.keys().filter(|id| !core.has_executed(**id)).count();
        let open = core.open();
        (missing + open > 0).then(|| {
            format!("{node} has not executed {missing} committed instances, and {open} are open")
        })
    }
}
