//! Messages and records in one line each, for transcripts that people read and compare: rounds as
//! `1:2.p0.multi` (*MCount*, *mCount*, creator, kind), instances as `i0`, names as `p0.1.2` (proposer, its
//! life, place in it), runs of them up to the place that follows the last one, as `p0.1.2..5`. What is found at a
//! position of a stream follows on it, as `7: [p0.1.2]`. Of a list the first few are shown, and how many more
//! there are.

use std::fmt::{Display, Formatter, Result};

use super::message::{MulticoordinatedMessage, MulticoordinatedRecord, Progress, Stream, Vote};
use super::names::{Name, Run};
use super::round::{RType, Round};
use crate::command::NodeId;
use crate::protocol::quorum::NodeSet;
use crate::protocol::show::few;
use crate::protocol::{Batch, Message};

impl Display for RType {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            RType::Fast => "fast",
            RType::Uncoordinated => "uncoordinated",
            RType::Multi => "multi",
            RType::Single => "single",
        })
    }
}

impl Display for Round {
    /// Of one before all others there is nothing else to say.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}:{}", self.major, self.minor)?;
        if *self == Round::first_of(self.major) {
            return Ok(());
        }
        write!(f, ".{}.{}", self.creator, self.kind)
    }
}

/// A number of a name, as life and place.
struct Number(u64);

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}.{}", self.0 >> u32::BITS, self.0 as u32)
    }
}

impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}.{}", self.proposer, Number(self.number))
    }
}

impl Display for Run {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        Name { proposer: self.proposer, number: self.first }.fmt(f)?;
        if self.count == 1 {
            return Ok(());
        }
        write!(f, "..{}", u64::from(self.first as u32) + u64::from(self.count))
    }
}

fn runs(names: &[Run], f: &mut Formatter<'_>) -> Result {
    few(f, ("[", "]"), names.iter(), Display::fmt)
}

/// How a stream goes on.
fn part(base: u64, names: &[Run], closes: bool, f: &mut Formatter<'_>) -> Result {
    write!(f, "{base}: ")?;
    runs(names, f)?;
    f.write_str(if closes { ", checkpoint" } else { "" })
}

fn batch(commands: &Batch, f: &mut Formatter<'_>) -> Result {
    few(f, ("[", "]"), commands.iter(), Display::fmt)
}

/// The commands that a record brings, each batch after its first name.
fn brought(commands: &[(NodeId, u64, Batch)], f: &mut Formatter<'_>) -> Result {
    if commands.is_empty() {
        return Ok(());
    }
    few(f, (", commands [", "]"), commands.iter(), |(proposer, first, commands), f| {
        write!(f, "{} ", Name { proposer: *proposer, number: *first })?;
        batch(commands, f)
    })
}

/// Of replicas, which are few, none is left out.
struct Nodes(NodeSet);

impl Display for Nodes {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let names: Vec<String> = self.0.iter().map(|node| node.to_string()).collect();
        write!(f, "{{{}}}", names.join(", "))
    }
}

/// Which instances a first phase is about.
struct Instances(u64, bool);

impl Display for Instances {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "i{}{}", self.0, if self.1 { " onwards" } else { "" })
    }
}

impl Display for Vote {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "i{}: {} of {}", self.instance, self.length, self.vrnd)
    }
}

impl Display for Progress {
    /// Nothing of what has not begun.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "i{}: in {}", self.instance, self.rnd)?;
        for (what, (round, length)) in [("accepted", self.accepted), ("sent", self.sent)] {
            if !round.is_zero() {
                write!(f, ", {what} {length} of {round}")?;
            }
        }
        Ok(())
    }
}

impl Display for Stream {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Stream::Coordinator => "cval",
            Stream::Acceptor => "vval",
        })
    }
}

impl Display for MulticoordinatedMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}(", self.kind())?;
        fields(self, f)?;
        f.write_str(")")
    }
}

/// All but the kind.
fn fields(message: &MulticoordinatedMessage, f: &mut Formatter<'_>) -> Result {
    match message {
        MulticoordinatedMessage::Phase1a { round, instance, onwards } => {
            write!(f, "{round}, {}", Instances(*instance, *onwards))?;
            let others = round.kind != RType::Single;
            if others { write!(f, ", coordinators {}", Nodes(round.coordinators)) } else { Ok(()) }
        }
        MulticoordinatedMessage::Phase1b { round, instance, onwards, votes } => {
            write!(f, "{round}, {}, ", Instances(*instance, *onwards))?;
            few(f, ("[", "]"), votes.iter(), Display::fmt)
        }
        MulticoordinatedMessage::Phase2a { round, instance, start, base, names, closes } => {
            write!(f, "{round}, i{instance}, ")?;
            if *start > 0 {
                write!(f, "start {start}, ")?;
            }
            part(*base, names, *closes, f)
        }
        MulticoordinatedMessage::Phase2aAny { round, instance } => {
            write!(f, "{round}, {}", Instances(*instance, true))
        }
        MulticoordinatedMessage::Phase2bPrefix { round, instance, length } => {
            write!(f, "{round}, i{instance}, {length}")
        }
        MulticoordinatedMessage::Phase2b { round, instance, base, names, closes } => {
            write!(f, "{round}, i{instance}, ")?;
            part(*base, names, *closes, f)
        }
        MulticoordinatedMessage::TooLow { round, instance, rnd } => {
            write!(f, "{round}, i{instance}, in {rnd}")
        }
        MulticoordinatedMessage::Want { stream, round, instance, from } => {
            write!(f, "{stream} of {round}, i{instance}, from {from}")
        }
        _ => general_fields(message, f),
    }
}

/// The same, of the messages that are not of one round.
fn general_fields(message: &MulticoordinatedMessage, f: &mut Formatter<'_>) -> Result {
    match message {
        MulticoordinatedMessage::Propose { instance, first, commands, coordinators, acceptors } => {
            write!(f, "i{instance}, {} ", Number(*first))?;
            batch(commands, f)?;
            write!(f, ", coordinators {}, acceptors {}", Nodes(*coordinators), Nodes(*acceptors))
        }
        MulticoordinatedMessage::WantCommands { names } => runs(names, f),
        MulticoordinatedMessage::Relay { proposers } => {
            write!(f, "{}", crate::protocol::Destination::Some(*proposers))
        }
        MulticoordinatedMessage::Commands { proposer, instance, first, commands } => {
            write!(f, "i{instance}, {} ", Name { proposer: *proposer, number: *first })?;
            batch(commands, f)
        }
        MulticoordinatedMessage::Heartbeat {
            life,
            major,
            hears_majority,
            executed_below,
            standing: (round, from),
            open,
        } => {
            let hears = if *hears_majority { "majority" } else { "no majority" };
            write!(f, "life {life}, major {major}, {hears}, executed below i{executed_below}, ")?;
            write!(f, "{round} from i{from} on, ")?;
            few(f, ("[", "]"), open.iter(), Display::fmt)
        }
        MulticoordinatedMessage::Lagging { instance, from } => {
            write!(f, "i{instance}, from {from}")
        }
        MulticoordinatedMessage::Learned { instance, base, names, closes, .. } => {
            write!(f, "i{instance}, ")?;
            part(*base, names, *closes, f)
        }
        MulticoordinatedMessage::State { instance, names } => {
            write!(f, "i{instance}, ")?;
            runs(names, f)
        }
        _ => Ok(()),
    }
}

impl Display for MulticoordinatedRecord {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            MulticoordinatedRecord::Major(major) => write!(f, "Major({major}")?,
            MulticoordinatedRecord::Accepted { instance, round, base, names, closes, commands } => {
                write!(f, "Accepted({round}, i{instance}, ")?;
                part(*base, names, *closes, f)?;
                brought(commands, f)?;
            }
            MulticoordinatedRecord::Executed { instance, names, commands } => {
                write!(f, "Executed(i{instance}, ")?;
                runs(names, f)?;
                brought(commands, f)?;
            }
            MulticoordinatedRecord::Installed { instance, names } => {
                write!(f, "Installed(i{instance}, ")?;
                runs(names, f)?;
            }
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{ClientId, Command, CommandId, Key, Operation};

    const ROUND: Round = Round {
        major: 1,
        minor: 2,
        creator: NodeId(0),
        kind: RType::Multi,
        coordinators: NodeSet::NONE,
    };

    fn round(kind: RType) -> Round {
        Round { kind, coordinators: NodeSet::from_bits(0b1011), ..ROUND }
    }

    fn run(proposer: u8, place: u64, count: u32) -> Run {
        Run { proposer: NodeId(proposer), first: Name::first_of_life(1) + place, count }
    }

    fn names() -> Vec<Run> {
        vec![run(0, 7, 1), run(2, 3, 4)]
    }

    fn gets(count: u64) -> Batch {
        let get = |sequence| Command {
            id: CommandId { client: ClientId(1), sequence },
            answered_below: 0,
            operation: Operation::Get { key: Key::register(0) },
        };
        (0..count).map(get).collect()
    }

    fn assert_texts<T: Display>(texts: Vec<(T, &str)>) {
        for (shown, text) in texts {
            assert_eq!(shown.to_string(), text);
        }
    }

    #[test]
    fn rounds_by_counts_creator_and_kind() {
        let single = Round::single(3, 4, NodeId(2));
        assert_texts(vec![
            (Round::ZERO, "0:0"),
            (Round::first_of(4), "4:0"),
            (round(RType::Fast), "1:2.p0.fast"),
            (round(RType::Uncoordinated), "1:2.p0.uncoordinated"),
            (round(RType::Multi), "1:2.p0.multi"),
            (single, "3:4.p2.single"),
        ]);
    }

    #[test]
    fn names_by_proposer_life_and_place() {
        let number = Name::first_of_life(2) + 5;
        assert_eq!(Name { proposer: NodeId(1), number }.to_string(), "p1.2.5");
        let last = run(0, u64::from(u32::MAX), 1);
        let all = Run { first: 0, count: u32::MAX, ..last };
        assert_texts(vec![
            (run(2, 3, 1), "p2.1.3"),
            (run(2, 3, 4), "p2.1.3..7"),
            (last, "p0.1.4294967295"),
            (all, "p0.0.0..4294967295"),
        ]);
    }

    fn first_phase() -> Vec<(MulticoordinatedMessage, &'static str)> {
        let (round, single, instance) = (round(RType::Multi), Round::single(1, 1, NodeId(2)), 3);
        let vote = |instance| Vote { instance, vrnd: single, length: instance + 10 };
        let b =
            |onwards, votes| MulticoordinatedMessage::Phase1b { round, instance, onwards, votes };
        vec![
            (
                MulticoordinatedMessage::Phase1a { round, instance, onwards: true },
                "1a(1:2.p0.multi, i3 onwards, coordinators {p0, p1, p3})",
            ),
            (
                MulticoordinatedMessage::Phase1a { round: single, instance, onwards: false },
                "1a(1:1.p2.single, i3)",
            ),
            (b(true, vec![]), "1b(1:2.p0.multi, i3 onwards, [])"),
            (b(false, vec![vote(3)]), "1b(1:2.p0.multi, i3, [i3: 13 of 1:1.p2.single])"),
            (
                MulticoordinatedMessage::TooLow { round: single, instance, rnd: round },
                "TooLow(1:1.p2.single, i3, in 1:2.p0.multi)",
            ),
        ]
    }

    fn second_phase() -> Vec<(MulticoordinatedMessage, &'static str)> {
        let (round, single, instance) = (round(RType::Multi), Round::single(1, 1, NodeId(2)), 3);
        let a = |start, base, names, closes| MulticoordinatedMessage::Phase2a {
            round,
            instance,
            start,
            base,
            names,
            closes,
        };
        let b = |base, names, closes| MulticoordinatedMessage::Phase2b {
            round: single,
            instance,
            base,
            names,
            closes,
        };
        let want = |stream| MulticoordinatedMessage::Want { stream, round, instance, from: 9 };
        let fast = self::round(RType::Fast);
        vec![
            (a(0, 0, vec![], false), "2a(1:2.p0.multi, i3, 0: [])"),
            (
                a(2, 9, names(), true),
                "2a(1:2.p0.multi, i3, start 2, 9: [p0.1.7, p2.1.3..7], checkpoint)",
            ),
            (
                MulticoordinatedMessage::Phase2aAny { round: fast, instance },
                "2aAny(1:2.p0.fast, i3 onwards)",
            ),
            (
                MulticoordinatedMessage::Phase2bPrefix { round: single, instance, length: 12 },
                "2bPrefix(1:1.p2.single, i3, 12)",
            ),
            (b(9, names(), false), "2b(1:1.p2.single, i3, 9: [p0.1.7, p2.1.3..7])"),
            (b(9, vec![], true), "2b(1:1.p2.single, i3, 9: [], checkpoint)"),
            (want(Stream::Coordinator), "Want(cval of 1:2.p0.multi, i3, from 9)"),
            (want(Stream::Acceptor), "Want(vval of 1:2.p0.multi, i3, from 9)"),
        ]
    }

    fn general() -> Vec<(MulticoordinatedMessage, &'static str)> {
        let (instance, names, first) = (3, names(), Name::first_of_life(1) + 7);
        vec![
            (
                MulticoordinatedMessage::Propose {
                    instance,
                    first,
                    commands: gets(2),
                    coordinators: NodeSet::from_bits(0b101),
                    acceptors: NodeSet::NONE,
                },
                "propose(i3, 1.7 [c1.0 get k0, c1.1 get k0], coordinators {p0, p2}, acceptors {})",
            ),
            (
                MulticoordinatedMessage::WantCommands { names: vec![run(1, 0, 1); 5] },
                "WantCommands([p1.1.0, p1.1.0, p1.1.0, +2])",
            ),
            (
                MulticoordinatedMessage::Commands {
                    proposer: NodeId(2),
                    instance,
                    first,
                    commands: gets(1),
                },
                "Commands(i3, p2.1.7 [c1.0 get k0])",
            ),
            (MulticoordinatedMessage::Lagging { instance, from: 9 }, "Lagging(i3, from 9)"),
            (
                MulticoordinatedMessage::Learned {
                    life: 1,
                    instance,
                    base: 9,
                    names: names.clone(),
                    closes: true,
                },
                "Learned(i3, 9: [p0.1.7, p2.1.3..7], checkpoint)",
            ),
            (MulticoordinatedMessage::State { instance, names }, "State(i3, [p0.1.7, p2.1.3..7])"),
        ]
    }

    fn heartbeats() -> Vec<(MulticoordinatedMessage, &'static str)> {
        let round = round(RType::Multi);
        let heartbeat = |hears_majority, open| MulticoordinatedMessage::Heartbeat {
            life: 1,
            major: 2,
            hears_majority,
            executed_below: 3,
            standing: (round, 5),
            open,
        };
        let (nothing, rnd) = ((Round::ZERO, 0), round);
        let joined = Progress { instance: 3, rnd, accepted: nothing, sent: nothing };
        let begun = Progress { accepted: (round, 8), sent: (round, 9), instance: 4, ..joined };
        vec![
            (
                heartbeat(false, vec![]),
                "Heartbeat(life 1, major 2, no majority, executed below i3, 1:2.p0.multi from i5 on, [])",
            ),
            (
                heartbeat(true, vec![joined, begun]),
                "Heartbeat(life 1, major 2, majority, executed below i3, 1:2.p0.multi from i5 on, \
                 [i3: in 1:2.p0.multi, \
                 i4: in 1:2.p0.multi, accepted 8 of 1:2.p0.multi, sent 9 of 1:2.p0.multi])",
            ),
        ]
    }

    #[test]
    fn messages_say_what_they_carry() {
        let all = [first_phase(), second_phase(), general(), heartbeats()].concat();
        assert_texts(all);
    }

    #[test]
    fn records_say_what_they_keep() {
        let (instance, names, first) = (3, names(), Name::first_of_life(1) + 7);
        let commands = vec![(NodeId(0), first, gets(1))];
        assert_texts(vec![
            (MulticoordinatedRecord::Major(4), "Major(4)"),
            (
                MulticoordinatedRecord::Accepted {
                    instance,
                    round: round(RType::Multi),
                    base: 9,
                    names: names.clone(),
                    closes: true,
                    commands: commands.clone(),
                },
                "Accepted(1:2.p0.multi, i3, 9: [p0.1.7, p2.1.3..7], checkpoint, \
                 commands [p0.1.7 [c1.0 get k0]])",
            ),
            (
                MulticoordinatedRecord::Executed { instance, names: names.clone(), commands },
                "Executed(i3, [p0.1.7, p2.1.3..7], commands [p0.1.7 [c1.0 get k0]])",
            ),
            (
                MulticoordinatedRecord::Executed { instance, names: vec![], commands: vec![] },
                "Executed(i3, [])",
            ),
            (
                MulticoordinatedRecord::Installed { instance, names },
                "Installed(i3, [p0.1.7, p2.1.3..7])",
            ),
        ]);
    }
}
