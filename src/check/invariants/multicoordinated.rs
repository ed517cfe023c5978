//! The invariants of Multicoordinated Paxos' proof (appendix A of its paper), as what one sees of a run: every record
//! that a replica stores, every message that leaves it, and what it has learned.
//!
//! The proof is about a *ballot array*, which says what each acceptor has accepted in each round; *maxTried*, which
//! says what was sent to be accepted; and *learned* (A.2). Records are the ballot array, 2a messages are what was
//! tried. Here each instance has its own (Lamport §6.3).
//!
//! | file | what |
//! | --- | --- |
//! | this one | what is seen, and which invariants it may violate |
//! | `agreement.rs` | one instance: *maxTried*, the ballot array, what is chosen |
//! | `processes.rs` | one process: *MCount*, *rnd*, *learned* |
//! | `proposed.rs` | *propCmd* |
//! | `histories.rs` | values, as they grow |

use std::collections::BTreeMap;

use self::agreement::{Agreement, Part};
use self::processes::{Learned, Process};
use self::proposed::Proposed;
use super::{Held, Invariants, hold};
use crate::command::NodeId;
use crate::protocol::multicoordinated::Multicoordinated;
use crate::protocol::multicoordinated::instance::Value;
use crate::protocol::multicoordinated::message::{
    MulticoordinatedMessage, MulticoordinatedRecord, Progress, Vote,
};
use crate::protocol::multicoordinated::names::{Name, Run};
use crate::protocol::multicoordinated::options::{QuorumSizes, Structure};
use crate::protocol::multicoordinated::round::{RType, Round};
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Batch, Cluster};

mod agreement;
mod histories;
mod processes;
mod proposed;
#[cfg(test)]
mod tests;

/// What the experiment file chose.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Chosen {
    quorums: QuorumSizes,
    structure: Structure,
}

/// What was seen of a run.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MulticoordinatedInvariants {
    cluster: Cluster,
    /// Seen at the first step of all.
    chosen: Option<Chosen>,
    proposed: Proposed,
    /// The coordinators of each round.
    coordinators: BTreeMap<Round, NodeSet>,
    /// The fast rounds that were begun with ⊥, and from which instance on.
    any: BTreeMap<Round, u64>,
    instances: BTreeMap<u64, Agreement>,
    processes: Vec<Process>,
}

/// A part of a stream: where it begins, its names, and whether the checkpoint follows.
type Said<'a> = (u64, &'a [Run], bool);

impl MulticoordinatedInvariants {
    fn process(&mut self, node: NodeId) -> &mut Process {
        &mut self.processes[usize::from(node.0)]
    }

    fn agreement(&mut self, instance: u64) -> &mut Agreement {
        self.instances.entry(instance).or_default()
    }

    fn structure(&self) -> Structure {
        self.chosen.map_or(Structure::History, |chosen| chosen.structure)
    }

    fn quorum(&self, round: Round) -> usize {
        let QuorumSizes { classic, fast } = self.chosen.expect("a step was taken").quorums;
        if round.is_fast() { fast } else { classic }
    }

    fn part(
        &self,
        instance: u64,
        (base, names, closes): Said<'_>,
    ) -> Result<Part, super::Violation> {
        let elements = self.proposed.elements(instance, names, closes, self.structure())?;
        Ok((base, elements))
    }

    /// Nobody but who creates a round is the first to speak in it, unless it follows a collision in the one before
    /// (§4.2). And "no two rounds differ in *S* alone" (§4.4): its coordinator quorums intersect only if all mean the
    /// same.
    fn rounds_are_their_creators(&mut self, node: NodeId, round: Round) -> Held {
        if let Some(known) = self.coordinators.get(&round) {
            return hold(*known == round.coordinators, "one set of coordinators", || {
                format!("{round} has {known:?} and {:?}", round.coordinators)
            });
        }
        let follows = |before: &Round| {
            let (creator, minor) = (before.creator, before.minor.saturating_add(1));
            (before.major, minor, creator) == (round.major, round.minor, round.creator)
        };
        let is_due = node == round.creator || self.coordinators.keys().any(follows);
        self.coordinators.insert(round, round.coordinators);
        hold(is_due, "rounds are their creators'", || format!("{node} begins {round}"))
    }

    /// *Phase2Start*, *Phase2aClassic*: only a coordinator of the round sends 2a messages.
    fn coordinates(&mut self, node: NodeId, round: Round) -> Held {
        self.rounds_are_their_creators(node, round)?;
        let process = self.process(node);
        process.mcount_is_durable(node, round)?;
        process.acts_in_rounds_of_its_life(node, round)?;
        let is_one = round.coordinators.contains(node) && round.kind != RType::Uncoordinated;
        hold(is_one, "coordinators coordinate", || format!("{node} sends a 2a of {round}"))
    }

    fn on_2a(
        &mut self,
        node: NodeId,
        (round, instance): (Round, u64),
        start: u64,
        said: Said<'_>,
    ) -> Held {
        self.coordinates(node, round)?;
        let part = self.part(instance, said)?;
        self.agreement(instance).one_value_per_coordinator((round, node), start, &part)
    }

    /// *Phase2Start* of a fast round with ⊥, for an instance and all after it, by its creator.
    fn on_2a_any(&mut self, node: NodeId, round: Round, from: u64) -> Held {
        self.coordinates(node, round)?;
        let known = *self.any.entry(round).or_insert(from);
        hold(known == from && round.kind == RType::Fast, "one value per coordinator", || {
            format!("{node} begins {round} from i{known} on, and from i{from} on")
        })?;
        let mut later = self.instances.range(from..);
        later.try_for_each(|(_, agreement)| agreement.nothing_is_chosen_below((round, node)))
    }

    /// *Phase1b*: a promise tells what was accepted in all the instances that it is about.
    fn on_1b(
        &mut self,
        node: NodeId,
        round: Round,
        (first, onwards): (u64, bool),
        votes: &[Vote],
    ) -> Held {
        self.rounds_are_their_creators(node, round)?;
        let process = self.process(node);
        process.mcount_is_durable(node, round)?;
        process.acts_in_rounds_of_its_life(node, round)?;
        process.promise(round, first, onwards);
        for (instance, agreement) in self.instances.range(first..) {
            if onwards || *instance == first {
                let vote = votes.iter().find(|vote| vote.instance == *instance);
                agreement.votes_are_told_as_they_are((round, node), vote)?;
            }
        }
        Ok(())
    }

    fn on_2b(&mut self, node: NodeId, (round, instance): (Round, u64), said: Said<'_>) -> Held {
        self.process(node).mcount_is_durable(node, round)?;
        self.agreement(instance).durable_before_told((round, node), said)
    }

    fn on_2b_prefix(&mut self, node: NodeId, (round, instance): (Round, u64), length: u64) -> Held {
        self.process(node).mcount_is_durable(node, round)?;
        self.agreement(instance).length_is_durable((round, node), length)
    }

    /// Of a single-coordinated round, a heartbeat says what a 2b says.
    fn on_progress(&mut self, node: NodeId, progress: &Progress) -> Held {
        let (round, length) = progress.accepted;
        match length {
            0 => Ok(()),
            _ => self.agreement(progress.instance).length_is_durable((round, node), length),
        }
    }

    /// *Phase2bClassic*, *Phase2bFast*: an acceptor accepts.
    fn on_accepted(
        &mut self,
        node: NodeId,
        (round, instance): (Round, u64),
        said: Said<'_>,
    ) -> Held {
        self.rounds_are_their_creators(node, round)?;
        let part = self.part(instance, said)?;
        let process = self.process(node);
        process.acts_in_rounds_of_its_life(node, round)?;
        process.accepts_nothing_below_its_promise(node, instance, round)?;
        let at = (round, node);
        let is_first = !self.agreement(instance).has_accepted(at);
        if is_first {
            self.fast_rounds_are_begun(node, instance, round)?;
        }
        let agreement = self.agreement(instance);
        agreement.votes_grow(at, &part)?;
        if is_first {
            agreement.accepted_values_are_safe(at)?;
        }
        agreement.accepted_values_were_tried(at, part.0 as usize)
    }

    /// *Phase2bFast* is enabled only once the acceptor has accepted what the round's creator has begun with.
    fn fast_rounds_are_begun(&mut self, node: NodeId, instance: u64, round: Round) -> Held {
        let with_nothing = self.any.get(&round).is_some_and(|from| *from <= instance);
        let is_begun = with_nothing || self.agreement(instance).is_begun(round);
        hold(round.kind != RType::Fast || is_begun, "fast rounds are begun", || {
            format!("{node} accepts in {round} of i{instance}, which nobody has begun")
        })
    }

    /// *maxTried* invariant, part 2 (A.2), where something is chosen after a higher round has begun with ⊥.
    fn nothing_is_begun_without(&self, instance: u64) -> Held {
        let agreement = &self.instances[&instance];
        let begun = self.any.iter().filter(|(_, from)| **from <= instance);
        let mut begun = begun.map(|(round, _)| (*round, round.creator));
        begun.try_for_each(|at| agreement.nothing_is_chosen_below(at))
    }

    /// Takes the commands that a record brings. What a process has proposed itself is out once it is durable.
    fn on_commands(
        &mut self,
        node: NodeId,
        instance: u64,
        brought: &[(NodeId, u64, Batch)],
        is_durable: bool,
    ) -> Held {
        for (proposer, number, commands) in brought {
            let first = Name { proposer: *proposer, number: *number };
            if node == *proposer {
                self.proposed.propose(first, instance, commands, is_durable)?;
            } else {
                self.proposed.are_as_proposed(first, instance, commands)?;
            }
        }
        Ok(())
    }

    /// An instance is closed, and executed in this order: that is what is chosen in it.
    fn on_closed(&mut self, node: NodeId, instance: u64, names: &[Run]) -> Held {
        let executing = self.process(node).executing;
        hold(instance == executing, "instances in order", || {
            format!("{node} closes i{instance}, and has executed all below i{executing}")
        })?;
        let (_, elements) = self.part(instance, (0, names, true))?;
        let who = (node, instance);
        let chosen = self.instances.get(&instance).map(Agreement::chosen);
        let mut closed = Learned::default();
        for element in &elements {
            closed.learned_is_chosen(who, element, chosen)?;
        }
        let process = self.process(node);
        process.executing = instance + 1;
        process
            .learned
            .remove(&instance)
            .map_or(Ok(()), |before| closed.learned_only_grows(who, &before))
    }

    /// The state was replaced by one in which these commands of an instance are executed.
    fn on_installed(&mut self, node: NodeId, instance: u64, names: &[Run]) -> Held {
        let (_, elements) = self.part(instance, (0, names, false))?;
        let chosen = self.instances.get(&instance).map(Agreement::chosen);
        let mut executed = Learned::default();
        for element in &elements {
            executed.learned_is_chosen((node, instance), element, chosen)?;
        }
        self.process(node).install(instance);
        Ok(())
    }

    /// What a process has learned since it was looked at last.
    fn on_learned(&mut self, node: NodeId, instance: u64, learned: &Value) -> Held {
        let mut known = self.process(node).learned.remove(&instance).unwrap_or_default();
        let (have, length) = (known.len() as u64, learned.length());
        hold(have <= length, "learned only grows", || {
            format!("{node} has learned {length} elements of i{instance}, before that {have}")
        })?;
        let names: Vec<Run> = learned.names.between(have, learned.names.len()).collect();
        let (_, elements) = self.part(instance, (have, &names, learned.is_closed))?;
        let chosen = self.instances.get(&instance).map(Agreement::chosen);
        for element in &elements {
            known.learned_is_chosen((node, instance), element, chosen)?;
        }
        if let Some(before) = known.before.take() {
            known.learned_only_grows((node, instance), &before)?;
        }
        self.process(node).learned.insert(instance, known);
        Ok(())
    }

    /// A log as a crash has left it.
    fn recall(&mut self, node: NodeId, record: &MulticoordinatedRecord) -> Held {
        match record {
            MulticoordinatedRecord::Major(major) => self.process(node).recall_major(*major),
            MulticoordinatedRecord::Accepted { instance, round, base, names, closes, commands } => {
                self.process(node).log_commands(commands);
                let part = self.part(*instance, (*base, names, *closes))?;
                self.agreement(*instance).recall((*round, node), &part);
            }
            MulticoordinatedRecord::Executed { instance, commands, .. } => {
                self.process(node).log_commands(commands);
                self.process(node).executing = instance + 1;
            }
            MulticoordinatedRecord::Installed { instance, names } => {
                self.process(node).log_effects(names);
                self.process(node).executing = *instance;
            }
        }
        Ok(())
    }
}

impl Invariants<Multicoordinated> for MulticoordinatedInvariants {
    fn new(cluster: Cluster) -> Self {
        MulticoordinatedInvariants {
            cluster,
            chosen: None,
            proposed: Proposed::default(),
            coordinators: BTreeMap::new(),
            any: BTreeMap::new(),
            instances: BTreeMap::new(),
            processes: vec![Process::default(); usize::from(cluster.size)],
        }
    }

    fn on_record(&mut self, node: NodeId, record: &MulticoordinatedRecord) -> Held {
        match record {
            MulticoordinatedRecord::Major(major) => self.process(node).mcount_rises(node, *major),
            MulticoordinatedRecord::Accepted { instance, round, base, names, closes, commands } => {
                self.on_commands(node, *instance, commands, false)?;
                self.process(node).log_commands(commands);
                self.on_accepted(node, (*round, *instance), (*base, names, *closes))?;
                self.process(node).logs_what_it_accepts(node, names)
            }
            MulticoordinatedRecord::Executed { instance, names, commands } => {
                self.on_commands(node, *instance, commands, false)?;
                self.process(node).log_commands(commands);
                self.on_closed(node, *instance, names)
            }
            MulticoordinatedRecord::Installed { instance, names } => {
                self.process(node).log_effects(names);
                self.on_installed(node, *instance, names)
            }
        }
    }

    fn on_durable(&mut self, node: NodeId, record: &MulticoordinatedRecord) -> Held {
        match record {
            MulticoordinatedRecord::Major(major) => {
                self.process(node).store_major(*major);
                Ok(())
            }
            MulticoordinatedRecord::Accepted { instance, round, base, names, closes, commands } => {
                self.on_commands(node, *instance, commands, true)?;
                let part = self.part(*instance, (*base, names, *closes))?;
                let quorum = self.quorum(*round);
                self.agreement(*instance).store((*round, node), &part, quorum)?;
                self.nothing_is_begun_without(*instance)
            }
            MulticoordinatedRecord::Executed { instance, commands, .. } => {
                self.on_commands(node, *instance, commands, true)
            }
            MulticoordinatedRecord::Installed { .. } => Ok(()),
        }
    }

    fn on_crash<'a>(
        &mut self,
        node: NodeId,
        mut left: impl Iterator<Item = &'a MulticoordinatedRecord>,
    ) -> Held {
        self.process(node).crash();
        self.instances.values_mut().for_each(|agreement| agreement.forget(node));
        left.try_for_each(|record| self.recall(node, record))?;
        self.proposed.crash(node);
        Ok(())
    }

    fn on_sent(&mut self, node: NodeId, message: &MulticoordinatedMessage, _: usize) -> Held {
        match message {
            MulticoordinatedMessage::Propose { instance, first, commands, .. } => {
                let first = Name { proposer: node, number: *first };
                self.process(node).names_are_of_its_life(node, first)?;
                self.proposed.propose(first, *instance, commands, true)
            }
            MulticoordinatedMessage::Commands { proposer, instance, first, commands } => {
                let first = Name { proposer: *proposer, number: *first };
                self.proposed.are_as_proposed(first, *instance, commands)
            }
            MulticoordinatedMessage::Phase1a { round, .. } => {
                self.rounds_are_their_creators(node, *round)?;
                self.process(node).mcount_is_durable(node, *round)
            }
            MulticoordinatedMessage::Phase1b { round, instance, onwards, votes } => {
                self.on_1b(node, *round, (*instance, *onwards), votes)
            }
            MulticoordinatedMessage::Phase2a { round, instance, start, base, names, closes } => {
                self.on_2a(node, (*round, *instance), *start, (*base, names, *closes))
            }
            MulticoordinatedMessage::Phase2aAny { round, instance } => {
                self.on_2a_any(node, *round, *instance)
            }
            MulticoordinatedMessage::Phase2b { round, instance, base, names, closes } => {
                self.on_2b(node, (*round, *instance), (*base, names, *closes))
            }
            MulticoordinatedMessage::Phase2bPrefix { round, instance, length } => {
                self.on_2b_prefix(node, (*round, *instance), *length)
            }
            MulticoordinatedMessage::Heartbeat { open, .. } => {
                open.iter().try_for_each(|progress| self.on_progress(node, progress))
            }
            _ => Ok(()),
        }
    }

    fn on_executed(&mut self, _: NodeId, _: u64, _: &Batch) -> Held {
        Ok(())
    }

    fn on_step(&mut self, node: NodeId, core: &Multicoordinated) -> Held {
        let size = usize::from(self.cluster.size);
        self.chosen.get_or_insert_with(|| {
            let options = core.options();
            Chosen { quorums: options.quorums(size), structure: options.structure }
        });
        let mut instance = self.process(node).executing;
        while let Some(held) = core.instance(instance) {
            let learned = &held.learned.value;
            let known = self.process(node).learned.get(&instance);
            if known.map_or(0, Learned::len) as u64 != learned.length() {
                self.on_learned(node, instance, learned)?;
            }
            instance += 1;
        }
        Ok(())
    }

    /// *Liveness* (§2.3): what its clients have asked for is learned, and what is learned is executed.
    fn owes(&self, node: NodeId, core: &Multicoordinated) -> Option<String> {
        let executing = self.processes[usize::from(node.0)].executing;
        let held = core.instance(executing);
        let (learned, executed) =
            held.map_or((0, 0), |held| (held.learned.value.names.len(), held.learned.executed));
        let late = || {
            format!("it has learned {learned} commands of i{executing}, and executed {executed}")
        };
        core.undone().or_else(|| (executed < learned).then(late))
    }
}
