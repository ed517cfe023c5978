//! Which messages a replica takes from another one. The transport says who sent a message, not whether
//! it makes sense; what does not is ignored: it indexes tables.

use super::message::{MulticoordinatedMessage, Progress, Vote};
use super::names::{Name, Run};
use super::round::{RType, Round};
use crate::command::{Command, NodeId};
use crate::protocol::Batch;
use crate::protocol::quorum::NodeSet;

/// Counts of rounds and lives from here on are not believed: one absurd round would else use up all that there
/// are. Those of lives must leave room in the numbers of names.
const COUNT_BELIEVED: u32 = 1 << 29;

/// Positions in an instance beyond this are not believed; a checkpoint comes long before.
const LENGTH_BELIEVED: u64 = 1 << 32;

impl MulticoordinatedMessage {
    /// Whether a replica in its right mind, in a cluster of `size`, could have sent it as `from`:
    ///
    /// - Every replica that it names exists, and the counts of rounds are no higher than a cluster can have come to.
    /// - Who begins a round is its creator; its values come from its coordinators.
    /// - What is proposed is something, and well formed. Names are of one life.
    /// - The instances of votes and of progress are named in order, each once, none that is not meant.
    /// - Acceptors speak of prefixes in single-coordinated rounds alone, and coordinators make checkpoints in
    ///   these alone.
    pub fn is_plausible(&self, from: NodeId, size: u8) -> bool {
        let judge = Judge { from, size };
        judge.knows(from) && judge.allows(self)
    }
}

/// What a message is judged by.
#[derive(Clone, Copy)]
struct Judge {
    from: NodeId,
    size: u8,
}

impl Judge {
    fn allows(self, message: &MulticoordinatedMessage) -> bool {
        match message {
            MulticoordinatedMessage::Phase1a { round, .. } => {
                // A coordinator that has missed the promises of a round asks for them again.
                let asks_again = round.kind == RType::Multi && self.coordinates(*round);
                self.begun(*round) && (self.from == round.creator || asks_again)
            }
            MulticoordinatedMessage::Phase1b { round, instance, onwards, votes } => {
                self.begun(*round) && self.votes(votes, *instance, *onwards)
            }
            MulticoordinatedMessage::Phase2a { round, start, base, names, closes, .. } => {
                self.begun(*round)
                    && self.coordinates(*round)
                    && *start <= LENGTH_BELIEVED
                    && (!closes || round.kind == RType::Single)
                    && self.part(*base, names)
            }
            MulticoordinatedMessage::Phase2aAny { round, .. } => {
                self.begun(*round) && round.kind == RType::Fast && self.from == round.creator
            }
            MulticoordinatedMessage::Phase2bPrefix { round, length, .. } => {
                self.begun(*round) && round.kind == RType::Single && *length <= LENGTH_BELIEVED
            }
            MulticoordinatedMessage::Phase2b { round, base, names, .. } => {
                self.begun(*round) && self.part(*base, names)
            }
            MulticoordinatedMessage::TooLow { round, rnd, .. } => {
                self.begun(*round) && self.round(*rnd) && rnd >= round
            }
            MulticoordinatedMessage::Want { round, from, .. } => {
                self.begun(*round) && *from <= LENGTH_BELIEVED
            }
            _ => self.allows_general(message),
        }
    }

    /// The same, of the messages that are not of one round.
    fn allows_general(self, message: &MulticoordinatedMessage) -> bool {
        match message {
            MulticoordinatedMessage::Propose {
                first, commands, coordinators, acceptors, ..
            } => {
                self.nodes(*coordinators)
                    && self.nodes(*acceptors)
                    && self.commands(self.from, *first, commands)
            }
            MulticoordinatedMessage::Relay { proposers } => proposers.is_within(self.size),
            MulticoordinatedMessage::WantCommands { names } => {
                !names.is_empty() && self.part(0, names)
            }
            MulticoordinatedMessage::Commands { proposer, first, commands, .. } => {
                self.commands(*proposer, *first, commands)
            }
            MulticoordinatedMessage::Heartbeat {
                life,
                major,
                executed_below,
                standing,
                open,
                ..
            } => {
                *major < COUNT_BELIEVED
                    && life <= major
                    && self.round(standing.0)
                    && open.is_sorted_by(|a, b| a.instance < b.instance)
                    && open.iter().all(|it| it.instance >= *executed_below && self.progress(it))
            }
            MulticoordinatedMessage::Lagging { from, .. } => *from <= LENGTH_BELIEVED,
            MulticoordinatedMessage::Learned { base, names, .. } => self.part(*base, names),
            MulticoordinatedMessage::State { names, .. } => self.part(0, names),
            _ => false,
        }
    }

    fn knows(self, node: NodeId) -> bool {
        node.0 < self.size
    }

    fn nodes(self, nodes: NodeSet) -> bool {
        nodes.is_within(self.size)
    }

    fn round(self, round: Round) -> bool {
        round.major < COUNT_BELIEVED
            && round.minor < COUNT_BELIEVED
            && self.knows(round.creator)
            && self.nodes(round.coordinators)
    }

    /// A round in which something happens.
    fn begun(self, round: Round) -> bool {
        self.round(round) && round != Round::first_of(round.major)
    }

    /// Whether the sender may put something into the round's values.
    fn coordinates(self, round: Round) -> bool {
        match round.kind {
            RType::Fast | RType::Single => self.from == round.creator,
            RType::Uncoordinated | RType::Multi => round.coordinators.contains(self.from),
        }
    }

    fn votes(self, votes: &[Vote], instance: u64, onwards: bool) -> bool {
        let meant = |vote: &Vote| {
            if onwards { vote.instance >= instance } else { vote.instance == instance }
        };
        votes.is_sorted_by(|a, b| a.instance < b.instance)
            && votes
                .iter()
                .all(|vote| meant(vote) && self.round(vote.vrnd) && vote.length <= LENGTH_BELIEVED)
    }

    fn progress(self, Progress { rnd, accepted, sent, .. }: &Progress) -> bool {
        let reached =
            |(round, length): (Round, u64)| self.round(round) && length <= LENGTH_BELIEVED;
        self.round(*rnd) && reached(*accepted) && reached(*sent) && accepted.0 <= *rnd
    }

    /// Names from a position in an instance on.
    fn part(self, base: u64, names: &[Run]) -> bool {
        let end = names.iter().try_fold(base, |end, run| end.checked_add(u64::from(run.count)));
        end.is_some_and(|end| end <= LENGTH_BELIEVED) && names.iter().all(|run| self.run(*run))
    }

    /// Names of one life of a proposer.
    fn run(self, Run { proposer, first, count }: Run) -> bool {
        let believed = Name::first_of_life(COUNT_BELIEVED);
        let last = (first as u32).checked_add(count.saturating_sub(1));
        self.knows(proposer) && count > 0 && first < believed && last.is_some()
    }

    fn commands(self, proposer: NodeId, first: u64, commands: &Batch) -> bool {
        u32::try_from(commands.len()).is_ok_and(|count| self.run(Run { proposer, first, count }))
            && commands.iter().all(Command::is_well_formed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::command::{ClientId, CommandId, Key, Operation};
    use crate::protocol::multicoordinated::message::Stream;

    const SIZE: u8 = 3;
    const CREATOR: NodeId = NodeId(1);
    /// Coordinates [`round`]s, and creates none.
    const COORDINATOR: NodeId = NodeId(0);
    const OTHER: NodeId = NodeId(2);
    /// The highest position that is taken.
    const LAST: u64 = LENGTH_BELIEVED;

    fn round(kind: RType) -> Round {
        let coordinators = NodeSet::from_bits(if kind == RType::Single { 0b10 } else { 0b11 });
        Round { major: 1, minor: 2, creator: CREATOR, kind, coordinators }
    }

    /// Rounds that nobody can be in.
    fn wrong_rounds() -> Vec<Round> {
        let round = round(RType::Multi);
        vec![
            Round { creator: NodeId(SIZE), ..round },
            Round { coordinators: NodeSet::from_bits(0b1001), ..round },
            Round { major: COUNT_BELIEVED, ..round },
            Round { minor: COUNT_BELIEVED, ..round },
        ]
    }

    fn run(proposer: u8, first: u64, count: u32) -> Run {
        Run { proposer: NodeId(proposer), first, count }
    }

    fn names() -> Vec<Run> {
        vec![run(0, 5, 2), run(2, 0, 1)]
    }

    /// Names that no proposer gives.
    fn wrong_names() -> Vec<Vec<Run>> {
        let lives = Name::first_of_life(COUNT_BELIEVED);
        let wrong =
            [run(SIZE, 0, 1), run(0, 0, 0), run(0, u64::from(u32::MAX), 2), run(0, lives, 1)];
        wrong.map(|run| [names(), vec![run]].concat()).to_vec()
    }

    fn commands(keys: &[Key]) -> Batch {
        let id = |sequence| CommandId { client: ClientId(3), sequence };
        let get = |(sequence, key)| Command {
            id: id(sequence),
            answered_below: 0,
            operation: Operation::Get { key },
        };
        (1..).zip(keys.iter().copied()).map(get).collect()
    }

    fn taken(from: NodeId, message: &MulticoordinatedMessage) {
        assert!(message.is_plausible(from, SIZE), "{message} from {from}");
    }

    fn refused(from: NodeId, message: &MulticoordinatedMessage) {
        assert!(!message.is_plausible(from, SIZE), "{message} from {from}");
    }

    fn two_a(kind: RType, closes: bool) -> MulticoordinatedMessage {
        let (round, names) = (round(kind), names());
        MulticoordinatedMessage::Phase2a { round, instance: 3, start: 1, base: 2, names, closes }
    }

    #[test]
    fn a_sender_is_a_replica_of_the_cluster() {
        let lagging = MulticoordinatedMessage::Lagging { instance: 3, from: LAST };
        taken(OTHER, &lagging);
        refused(NodeId(SIZE), &lagging);
        refused(OTHER, &MulticoordinatedMessage::Lagging { instance: 3, from: LAST + 1 });
    }

    #[test]
    fn a_round_is_begun_by_its_creator_or_asked_for_again_by_one_of_many_coordinators() {
        for kind in [RType::Fast, RType::Uncoordinated, RType::Multi, RType::Single] {
            let (round, instance) = (round(kind), 3);
            let begins = MulticoordinatedMessage::Phase1a { round, instance, onwards: true };
            taken(CREATOR, &begins);
            if kind == RType::Multi {
                taken(COORDINATOR, &begins);
            } else {
                refused(COORDINATOR, &begins);
            }
            refused(OTHER, &begins);
            let any = MulticoordinatedMessage::Phase2aAny { round, instance };
            refused(COORDINATOR, &any);
            if kind == RType::Fast { taken(CREATOR, &any) } else { refused(CREATOR, &any) }
        }
    }

    #[test]
    fn values_come_from_the_coordinators_of_a_round() {
        for kind in [RType::Uncoordinated, RType::Multi] {
            taken(COORDINATOR, &two_a(kind, false));
            taken(CREATOR, &two_a(kind, false));
            refused(OTHER, &two_a(kind, false));
        }
        for kind in [RType::Fast, RType::Single] {
            taken(CREATOR, &two_a(kind, false));
            refused(COORDINATOR, &two_a(kind, false));
        }
    }

    #[test]
    fn coordinators_make_checkpoints_where_there_is_one_of_them() {
        taken(CREATOR, &two_a(RType::Single, true));
        for kind in [RType::Fast, RType::Uncoordinated, RType::Multi] {
            refused(CREATOR, &two_a(kind, true));
        }
    }

    #[test]
    fn prefixes_are_spoken_of_where_there_is_one_coordinator() {
        let prefix = |kind, length| MulticoordinatedMessage::Phase2bPrefix {
            round: round(kind),
            instance: 3,
            length,
        };
        taken(OTHER, &prefix(RType::Single, LAST));
        refused(OTHER, &prefix(RType::Single, LAST + 1));
        for kind in [RType::Fast, RType::Uncoordinated, RType::Multi] {
            refused(OTHER, &prefix(kind, 1));
        }
    }

    /// Whatever has a round, with one in its place.
    fn in_round(round: Round) -> Vec<MulticoordinatedMessage> {
        let (instance, names, base) = (3, names(), 2);
        let (later, closes) = (Round { minor: 9, ..self::round(RType::Multi) }, false);
        let vote = Vote { instance, vrnd: round, length: 1 };
        let multi = self::round(RType::Multi);
        vec![
            MulticoordinatedMessage::Phase1b { round, instance, onwards: true, votes: vec![] },
            MulticoordinatedMessage::Phase1b {
                round: multi,
                instance,
                onwards: true,
                votes: vec![vote],
            },
            MulticoordinatedMessage::Phase2b { round, instance, base, names, closes },
            MulticoordinatedMessage::TooLow { round, instance, rnd: later },
            MulticoordinatedMessage::TooLow { round: multi, instance, rnd: round },
            MulticoordinatedMessage::Want { stream: Stream::Acceptor, round, instance, from: 1 },
            heartbeat(1, round, vec![]),
            heartbeat(1, multi, vec![Progress { sent: (round, 1), ..progress(3) }]),
            heartbeat(1, multi, vec![Progress { rnd: round, ..progress(3) }]),
        ]
    }

    fn progress(instance: u64) -> Progress {
        let rnd = round(RType::Multi);
        Progress { instance, rnd, accepted: (rnd, 1), sent: (Round::ZERO, 0) }
    }

    fn heartbeat(life: u32, standing: Round, open: Vec<Progress>) -> MulticoordinatedMessage {
        MulticoordinatedMessage::Heartbeat {
            life,
            major: 1,
            hears_majority: true,
            executed_below: 3,
            standing: (standing, 5),
            open,
        }
    }

    #[test]
    fn rounds_are_of_replicas_that_exist_and_no_higher_than_can_be() {
        for message in in_round(round(RType::Multi)) {
            taken(OTHER, &message);
        }
        for wrong in wrong_rounds() {
            for message in in_round(wrong) {
                refused(OTHER, &message);
            }
            let (instance, onwards) = (3, true);
            let begins = MulticoordinatedMessage::Phase1a { round: wrong, instance, onwards };
            refused(wrong.creator, &begins);
            refused(CREATOR, &begins);
        }
    }

    #[test]
    fn nothing_happens_in_the_round_before_all_others() {
        for round in [Round::ZERO, Round::first_of(1)] {
            let instance = 3;
            let all = [
                MulticoordinatedMessage::Phase1a { round, instance, onwards: true },
                MulticoordinatedMessage::Phase2aAny { round, instance },
                MulticoordinatedMessage::Want {
                    stream: Stream::Acceptor,
                    round,
                    instance,
                    from: 1,
                },
            ];
            for message in &all {
                refused(NodeId(0), message);
            }
            taken(OTHER, &heartbeat(1, round, vec![]));
        }
    }

    #[test]
    fn names_are_of_replicas_that_exist_and_of_one_life() {
        let (round, instance, base, closes) = (round(RType::Multi), 3, 2, false);
        let all = |names: Vec<Run>| {
            let part = names.clone();
            [
                MulticoordinatedMessage::Phase2b { round, instance, base, names: part, closes },
                MulticoordinatedMessage::WantCommands { names: names.clone() },
                MulticoordinatedMessage::State { instance, names: names.clone() },
                MulticoordinatedMessage::Learned { instance, life: 1, base, names, closes: true },
            ]
        };
        for message in &all(names()) {
            taken(OTHER, message);
        }
        for wrong in wrong_names() {
            for message in &all(wrong.clone()) {
                refused(OTHER, message);
            }
            let two_a = MulticoordinatedMessage::Phase2a {
                round,
                instance,
                start: 0,
                base,
                names: wrong,
                closes,
            };
            refused(CREATOR, &two_a);
        }
        refused(OTHER, &MulticoordinatedMessage::WantCommands { names: vec![] });
    }

    #[test]
    fn an_instance_is_no_longer_than_can_be() {
        let learned = |base| {
            let names = vec![run(0, 0, 3)];
            MulticoordinatedMessage::Learned { instance: 3, life: 1, base, names, closes: false }
        };
        taken(OTHER, &learned(LAST - 3));
        refused(OTHER, &learned(LAST - 2));
        refused(OTHER, &learned(u64::MAX));
        let round = round(RType::Multi);
        let two_a = |start| MulticoordinatedMessage::Phase2a {
            round,
            instance: 3,
            start,
            base: 0,
            names: vec![],
            closes: false,
        };
        taken(CREATOR, &two_a(LAST));
        refused(CREATOR, &two_a(LAST + 1));
        let want = |from| MulticoordinatedMessage::Want {
            stream: Stream::Coordinator,
            round,
            instance: 3,
            from,
        };
        taken(OTHER, &want(LAST));
        refused(OTHER, &want(LAST + 1));
    }

    #[test]
    fn votes_are_in_order_and_of_the_instances_asked_about() {
        let vrnd = Round::single(1, 1, OTHER);
        let one_b = |onwards, instances: &[u64]| {
            let vote = |instance: &u64| Vote { instance: *instance, vrnd, length: LAST };
            let (round, votes) = (round(RType::Multi), instances.iter().map(vote).collect());
            MulticoordinatedMessage::Phase1b { round, instance: 3, onwards, votes }
        };
        taken(OTHER, &one_b(true, &[3, 4, 9]));
        taken(OTHER, &one_b(false, &[3]));
        for wrong in [&[2, 3][..], &[4, 3], &[3, 3]] {
            refused(OTHER, &one_b(true, wrong));
        }
        refused(OTHER, &one_b(false, &[4]));
        refused(OTHER, &one_b(false, &[3, 4]));
        let vote = Vote { instance: 3, vrnd, length: LAST + 1 };
        let (round, votes) = (round(RType::Multi), vec![vote]);
        let long = MulticoordinatedMessage::Phase1b { round, instance: 3, onwards: true, votes };
        refused(OTHER, &long);
    }

    #[test]
    fn who_finds_a_round_too_low_is_not_in_an_earlier_one() {
        let (round, earlier) = (round(RType::Multi), Round::single(1, 1, OTHER));
        let too_low = |rnd| MulticoordinatedMessage::TooLow { round, instance: 3, rnd };
        taken(OTHER, &too_low(round));
        refused(OTHER, &too_low(earlier));
    }

    #[test]
    fn proposals_are_something_well_formed_and_of_one_life() {
        let nodes = |bits| NodeSet::from_bits(bits);
        let propose = |first, commands, coordinators, acceptors| MulticoordinatedMessage::Propose {
            instance: 3,
            first,
            commands,
            coordinators,
            acceptors,
        };
        let two = commands(&[Key::register(1), Key::register(2)]);
        let bad = commands(&[Key::register(1), Key::account(2)]);
        let (none, last) = (Arc::from([]), Name::first_of_life(2) - 2);
        taken(OTHER, &propose(last, two.clone(), nodes(0b111), nodes(0)));
        for wrong in [
            propose(last + 1, two.clone(), nodes(1), nodes(1)),
            propose(0, Arc::clone(&none), nodes(1), nodes(1)),
            propose(0, bad.clone(), nodes(1), nodes(1)),
            propose(0, two.clone(), nodes(0b1001), nodes(1)),
            propose(0, two.clone(), nodes(1), nodes(0b1001)),
        ] {
            refused(OTHER, &wrong);
        }
        let relayed = |proposer, commands| MulticoordinatedMessage::Commands {
            proposer: NodeId(proposer),
            instance: 3,
            first: 0,
            commands,
        };
        taken(OTHER, &relayed(0, two.clone()));
        for (proposer, commands) in [(SIZE, two), (0, none), (0, bad)] {
            refused(OTHER, &relayed(proposer, commands));
        }
    }

    #[test]
    fn progress_is_of_open_instances_in_order_and_a_life_has_begun() {
        let round = round(RType::Multi);
        let open = |instances: &[u64]| {
            heartbeat(1, round, instances.iter().map(|it| progress(*it)).collect())
        };
        taken(OTHER, &open(&[3, 4, 9]));
        for wrong in [&[2, 3][..], &[4, 3], &[3, 3]] {
            refused(OTHER, &open(wrong));
        }
        refused(OTHER, &heartbeat(2, round, vec![]));
        let ahead = Progress { rnd: Round::ZERO, ..progress(3) };
        refused(OTHER, &heartbeat(1, round, vec![ahead]));
        for (accepted, sent) in [(LAST + 1, 0), (0, LAST + 1)] {
            let (accepted, sent) = ((round, accepted), (round, sent));
            refused(OTHER, &heartbeat(1, round, vec![Progress { accepted, sent, ..progress(3) }]));
        }
    }
}
