//! Messages and records in one line each, for transcripts that people read and compare: instances as
//! `p0.7`, ballots as `b4`, all instances of a replica below a number as `p0<3`. Of a list the first few
//! are shown, and how many more there are.

use std::fmt::{Display, Formatter, Result};

use super::deps::{Attributes, Deps, PerNode};
use super::epochs::{Change, Replacement};
use super::message::{
    Conflict, EpaxosMessage, EpaxosRecord, ExecutedSet, Initial, InstanceId, Phase, Proposal, Vote,
};
use crate::command::NodeId;
use crate::protocol::ballot::Round;
use crate::protocol::quorum::NodeSet;
use crate::protocol::show::few;
use crate::protocol::{Batch, Message};

/// For each of `numbers` that is not 0, which replica's it is.
fn below(numbers: impl Iterator<Item = u64>) -> Vec<InstanceId> {
    let named = (0..).map(NodeId).zip(numbers);
    named.map(|(owner, number)| InstanceId { owner, number }).filter(|id| id.number > 0).collect()
}

/// As `p0<3`.
fn bound(id: &InstanceId, f: &mut Formatter<'_>) -> Result {
    write!(f, "{}<{}", id.owner, id.number)
}

fn bounds(numbers: &PerNode, f: &mut Formatter<'_>) -> Result {
    few(f, ("[", "]"), below(numbers.iter().copied()).iter(), bound)
}

fn executed_below(numbers: &PerNode, f: &mut Formatter<'_>) -> Result {
    f.write_str("executed ")?;
    bounds(numbers, f)
}

/// A list that is left out, with what announces it, if it is empty.
fn listed<T: Display>(f: &mut Formatter<'_>, before: &str, items: &[T]) -> Result {
    if items.is_empty() {
        return Ok(());
    }
    f.write_str(before)?;
    few(f, ("[", "]"), items.iter(), Display::fmt)
}

fn commands(command: &Batch, f: &mut Formatter<'_>) -> Result {
    few(f, ("[", "]"), command.iter(), Display::fmt)
}

/// Of replicas, which are few, none is left out.
fn nodes(set: NodeSet, f: &mut Formatter<'_>) -> Result {
    let names: Vec<String> = set.iter().map(|node| node.to_string()).collect();
    write!(f, "{{{}}}", names.join(", "))
}

/// A proposal, unless the receiver has recorded it, and its attributes.
fn choice(proposal: Option<&Proposal>, attributes: &Attributes, f: &mut Formatter<'_>) -> Result {
    match proposal {
        None => {}
        Some(Proposal::Nop) => f.write_str("nop ")?,
        Some(Proposal::Command(command)) => {
            commands(command, f)?;
            f.write_str(" ")?;
        }
    }
    attributes.fmt(f)
}

/// As the bound below which all are executed, and how many are beyond it.
fn executed_sets(sets: &[ExecutedSet], f: &mut Formatter<'_>) -> Result {
    few(f, ("[", "]"), sets.iter().enumerate(), |(owner, set), f| {
        write!(f, "p{owner}<{}", set.below)?;
        if set.above.is_empty() { Ok(()) } else { write!(f, "+{}", set.above.len()) }
    })
}

fn installed(executed: &[ExecutedSet], forgotten: &PerNode, f: &mut Formatter<'_>) -> Result {
    f.write_str("executed ")?;
    executed_sets(executed, f)?;
    f.write_str(", forgotten ")?;
    bounds(forgotten, f)
}

/// The attributes that a replica votes for; none are the owner's.
fn voted_for(attributes: Option<&Attributes>, f: &mut Formatter<'_>) -> Result {
    match attributes {
        None => f.write_str("as proposed"),
        Some(attributes) => attributes.fmt(f),
    }
}

/// What one replica knows beyond the attributes.
fn beyond_of(node: NodeId, ids: &[InstanceId], f: &mut Formatter<'_>) -> Result {
    write!(f, ", {node} beyond ")?;
    few(f, ("[", "]"), ids.iter(), Display::fmt)
}

impl Display for InstanceId {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}.{}", self.owner, self.number)
    }
}

impl Display for Conflict {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}{}", self.id, if self.committed { " committed" } else { "" })
    }
}

/// As `b4`; beyond the first epoch as `b1.4`.
struct Ballot(Round);

impl Display for Ballot {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0.epoch() {
            0 => write!(f, "b{}", self.0.0),
            epoch => write!(f, "b{epoch}.{}", self.0.in_epoch()),
        }
    }
}

/// The epoch of what belongs to a later one than the first.
fn in_epoch(epoch: u16, f: &mut Formatter<'_>) -> Result {
    if epoch > 0 { write!(f, ", epoch {epoch}") } else { Ok(()) }
}

impl Display for Replacement {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} for {}", self.joiner, self.leaver)
    }
}

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.replacement {
            Some(replacement) => replacement.fmt(f)?,
            None => f.write_str("nobody new")?,
        }
        f.write_str(" from ")?;
        bounds(&self.from, f)
    }
}

/// How to show what an instance's name stands for.
type Show = fn(&InstanceId, &mut Formatter<'_>) -> Result;

impl Display for Deps {
    /// What is settled only where it exceeds the prefix.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let prefix = below(self.prefix.iter().copied());
        let pairs = self.settled.iter().zip(&self.prefix);
        let settled = below(pairs.map(|(s, p)| if s > p { *s } else { 0 }));
        let groups: [(&str, &[InstanceId], Show); 3] =
            [("", &prefix, bound), ("", &self.ids, Display::fmt), ("settled ", &settled, bound)];
        let mut separator = "{";
        for (before, ids, show) in groups.into_iter().filter(|(_, ids, _)| !ids.is_empty()) {
            write!(f, "{separator}{before}")?;
            few(f, ("", ""), ids.iter(), show)?;
            separator = "; ";
        }
        f.write_str(if separator == "{" { "{}" } else { "}" })
    }
}

impl Display for Attributes {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if self.seq > 0 {
            write!(f, "seq {} ", self.seq)?;
        }
        self.deps.fmt(f)
    }
}

impl Display for Initial {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        commands(&self.command, f)?;
        write!(f, " {} quorum ", self.attributes)?;
        nodes(self.quorum, f)
    }
}

impl Display for Vote {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self.phase {
            Phase::Initial => "no vote",
            Phase::PreAccepted => "pre-accepted",
            Phase::Accepted => "accepted",
            Phase::Committed => "committed",
        })?;
        let Some(attributes) = &self.attributes else { return Ok(()) };
        write!(f, " {} ", Ballot(self.ballot))?;
        choice(self.proposal.as_ref(), attributes, f)
    }
}

impl Display for EpaxosMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}(", self.kind())?;
        if let Some(id) = self.id() {
            id.fmt(f)?;
        }
        fields(self, f)?;
        f.write_str(")")
    }
}

/// All but the kind and the instance.
fn fields(message: &EpaxosMessage, f: &mut Formatter<'_>) -> Result {
    match message {
        EpaxosMessage::PreAccept { epoch, initial, .. } => {
            write!(f, ", {initial}")?;
            in_epoch(*epoch, f)
        }
        EpaxosMessage::PreAcceptOk { epoch, attributes, uncommitted, .. } => {
            f.write_str(", ")?;
            voted_for(attributes.as_ref(), f)?;
            listed(f, ", uncommitted ", uncommitted)?;
            in_epoch(*epoch, f)
        }
        EpaxosMessage::Accept { ballot, proposal, attributes, beyond, .. } => {
            write!(f, ", {}, ", Ballot(*ballot))?;
            choice(proposal.as_ref(), attributes, f)?;
            listed(f, ", beyond ", beyond)
        }
        EpaxosMessage::AcceptOk { ballot, beyond, .. } => {
            write!(f, ", {}", Ballot(*ballot))?;
            listed(f, ", beyond ", beyond)
        }
        EpaxosMessage::Commit { epoch, proposal, attributes, .. } => {
            f.write_str(", ")?;
            choice(proposal.as_ref(), attributes, f)?;
            in_epoch(*epoch, f)
        }
        EpaxosMessage::Prepare { ballot, .. } => write!(f, ", {}", Ballot(*ballot)),
        EpaxosMessage::PrepareOk { ballot, vote, initial, .. } => {
            write!(f, ", {}, {vote}", Ballot(*ballot))?;
            initial.as_ref().map_or(Ok(()), |initial| write!(f, ", initial {initial}"))
        }
        EpaxosMessage::Nack { ballot, promised: Some(promised), .. } => {
            write!(f, ", {}, promised {}", Ballot(*ballot), Ballot(*promised))
        }
        EpaxosMessage::Nack { ballot, promised: None, .. } => {
            write!(f, ", {}, forgotten", Ballot(*ballot))
        }
        EpaxosMessage::TentativePreAccept { ballot, initial, attributes, .. } => {
            write!(f, ", {}, {attributes}, initial {initial}", Ballot(*ballot))
        }
        EpaxosMessage::TentativePreAcceptOk { ballot, conflicts, .. } => {
            write!(f, ", {}", Ballot(*ballot))?;
            listed(f, ", conflicts ", conflicts)
        }
        EpaxosMessage::Deferred { epoch, evidence, attributes, .. } => {
            f.write_str(", evidence ")?;
            nodes(*evidence, f)?;
            write!(f, ", {attributes}")?;
            in_epoch(*epoch, f)
        }
        EpaxosMessage::Heartbeat { epoch, executed, forgettable, sent_ns } => {
            executed_below(executed, f)?;
            f.write_str(", forgettable ")?;
            bounds(forgettable, f)?;
            write!(f, ", sent {sent_ns} ns")?;
            in_epoch(*epoch, f)
        }
        EpaxosMessage::HeartbeatOk { sent_ns } => write!(f, "sent {sent_ns} ns"),
        EpaxosMessage::Lagging { executed, known } => {
            executed_below(executed, f)?;
            write!(f, ", known ")?;
            bounds(known, f)
        }
        EpaxosMessage::State { epoch, executed, forgotten } => {
            installed(executed, forgotten, f)?;
            in_epoch(*epoch, f)
        }
        _ => fields_of_joining(message, f),
    }
}

/// Of the messages of a decision on the next epoch.
fn fields_of_joining(message: &EpaxosMessage, f: &mut Formatter<'_>) -> Result {
    match message {
        EpaxosMessage::Join { ballot, replacement } => {
            write!(f, "{}", Ballot(*ballot))?;
            replacement.map_or(Ok(()), |replacement| write!(f, ", {replacement}"))
        }
        EpaxosMessage::JoinOk { ballot, vote, fence } => {
            write!(f, "{}, ", Ballot(*ballot))?;
            if let Some((voted, change)) = vote {
                write!(f, "accepted {} {change}, ", Ballot(*voted))?;
            }
            f.write_str("fence ")?;
            bounds(fence, f)
        }
        EpaxosMessage::JoinNack { ballot, promised } => {
            write!(f, "{}, promised {}", Ballot(*ballot), Ballot(*promised))
        }
        EpaxosMessage::Begin { ballot, change } => write!(f, "{}, {change}", Ballot(*ballot)),
        EpaxosMessage::BeginOk { ballot } => write!(f, "{}", Ballot(*ballot)),
        EpaxosMessage::Epochs { changes } => few(f, ("[", "]"), changes.iter(), Display::fmt),
        _ => Ok(()),
    }
}

impl Display for EpaxosRecord {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            EpaxosRecord::PreAccepted { id, initial, attributes } => {
                write!(f, "PreAccepted({id}, {initial}, ")?;
                voted_for(attributes.as_ref(), f)?;
            }
            EpaxosRecord::Joined { id, ballot } => write!(f, "Joined({id}, {}", Ballot(*ballot))?,
            EpaxosRecord::Tentative { id, initial } => write!(f, "Tentative({id}, {initial}")?,
            EpaxosRecord::Accepted { id, ballot, proposal, attributes } => {
                write!(f, "Accepted({id}, {}, ", Ballot(*ballot))?;
                choice(proposal.as_ref(), attributes, f)?;
            }
            EpaxosRecord::AcceptedElsewhere { id, node, beyond } => {
                write!(f, "AcceptedElsewhere({id}")?;
                beyond_of(*node, beyond, f)?;
            }
            EpaxosRecord::Committed { id, proposal, attributes } => {
                write!(f, "Committed({id}, ")?;
                choice(proposal.as_ref(), attributes, f)?;
            }
            EpaxosRecord::Forgettable { below } => {
                f.write_str("Forgettable(")?;
                bounds(below, f)?;
            }
            EpaxosRecord::Installed { executed, forgotten } => {
                f.write_str("Installed(")?;
                installed(executed, forgotten, f)?;
            }
            EpaxosRecord::Promised { ballot, fence } => {
                write!(f, "Promised({}", Ballot(*ballot))?;
                if let Some(fence) = fence {
                    f.write_str(", fence ")?;
                    bounds(fence, f)?;
                }
            }
            EpaxosRecord::BeginAccepted { ballot, change } => {
                write!(f, "BeginAccepted({}, {change}", Ballot(*ballot))?;
            }
            EpaxosRecord::Begun { change } => write!(f, "Begun({change}")?,
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::command::{ClientId, Command, CommandId, Key, Operation};

    const ID: InstanceId = InstanceId { owner: NodeId(0), number: 7 };
    const B: Round = Round(4);

    fn id(owner: u8, number: u64) -> InstanceId {
        InstanceId { owner: NodeId(owner), number }
    }

    fn gets(count: u64) -> Batch {
        let get = |sequence| Command {
            id: CommandId { client: ClientId(1), sequence },
            answered_below: 0,
            operation: Operation::Get { key: Key::register(0) },
        };
        (0..count).map(get).collect()
    }

    fn deps(prefix: &[u64], settled: &[u64], ids: &[InstanceId]) -> Deps {
        Deps { prefix: prefix.into(), settled: settled.into(), ids: ids.to_vec() }
    }

    fn on(ids: &[InstanceId]) -> Attributes {
        Attributes { seq: 0, deps: Arc::new(deps(&[0; 3], &[0; 3], ids)) }
    }

    fn initial() -> Initial {
        let quorum = NodeSet::from_bits(0b101);
        Initial { command: gets(1), attributes: on(&[id(1, 4)]), quorum }
    }

    fn command() -> Proposal {
        Proposal::Command(gets(1))
    }

    fn executed() -> Vec<ExecutedSet> {
        let loose = ExecutedSet { below: 4, above: vec![6, 7] };
        vec![loose, ExecutedSet { below: 2, above: vec![] }, ExecutedSet::default()]
    }

    fn assert_texts<T: Display>(texts: Vec<(T, &str)>) {
        for (shown, text) in texts {
            assert_eq!(shown.to_string(), text);
        }
    }

    #[test]
    fn dependencies_by_prefix_by_name_and_settled_where_that_exceeds_the_prefix() {
        let ids = [id(1, 4), id(2, 0)];
        let many: Vec<_> = (0..5).map(|number| id(0, number)).collect();
        assert_texts(vec![
            (Deps::none(3), "{}"),
            (deps(&[0; 3], &[0; 3], &ids), "{p1.4, p2.0}"),
            (deps(&[3, 0, 0], &[0; 3], &ids), "{p0<3; p1.4, p2.0}"),
            (deps(&[3, 0, 1], &[3, 2, 0], &[]), "{p0<3, p2<1; settled p1<2}"),
            (deps(&[0; 3], &[2, 0, 0], &ids), "{p1.4, p2.0; settled p0<2}"),
            (deps(&[0; 3], &[0; 3], &many), "{p0.0, p0.1, p0.2, +2}"),
            (deps(&[1; 5], &[2; 5], &[]), "{p0<1, p1<1, p2<1, +2; settled p0<2, p1<2, p2<2, +2}"),
        ]);
        let attributes = Attributes { seq: 9, ..on(&ids) };
        assert_eq!(attributes.to_string(), "seq 9 {p1.4, p2.0}");
        let quorum = NodeSet::from_bits(0b1_1111);
        let wide = Initial { command: gets(5), attributes: on(&[]), quorum };
        let commands = "[c1.0 get k0, c1.1 get k0, c1.2 get k0, +2]";
        assert_eq!(wide.to_string(), format!("{commands} {{}} quorum {{p0, p1, p2, p3, p4}}"));
    }

    #[test]
    fn messages_of_the_common_case_in_one_line() {
        let (ballot, beyond) = (Round(0), vec![id(2, 5)]);
        let ok = |attributes, uncommitted| EpaxosMessage::PreAcceptOk {
            id: ID,
            epoch: 0,
            attributes,
            uncommitted,
        };
        let accept = |proposal, beyond| EpaxosMessage::Accept {
            id: ID,
            ballot,
            proposal,
            attributes: on(&[id(1, 4)]),
            beyond,
        };
        let accept_ok = |beyond| EpaxosMessage::AcceptOk { id: ID, ballot, beyond };
        let commit = |proposal| EpaxosMessage::Commit {
            id: ID,
            epoch: 0,
            proposal,
            attributes: on(&[id(1, 4)]),
        };
        assert_texts(vec![
            (
                EpaxosMessage::PreAccept { id: ID, epoch: 0, initial: initial() },
                "PreAccept(p0.7, [c1.0 get k0] {p1.4} quorum {p0, p2})",
            ),
            (
                EpaxosMessage::PreAccept { id: ID, epoch: 2, initial: initial() },
                "PreAccept(p0.7, [c1.0 get k0] {p1.4} quorum {p0, p2}, epoch 2)",
            ),
            (ok(None, vec![]), "PreAcceptOK(p0.7, as proposed)"),
            (
                ok(Some(on(&beyond)), beyond.clone()),
                "PreAcceptOK(p0.7, {p2.5}, uncommitted [p2.5])",
            ),
            (accept(None, vec![]), "Accept(p0.7, b0, {p1.4})"),
            (
                accept(Some(command()), beyond.clone()),
                "Accept(p0.7, b0, [c1.0 get k0] {p1.4}, beyond [p2.5])",
            ),
            (accept_ok(vec![]), "AcceptOK(p0.7, b0)"),
            (accept_ok(beyond), "AcceptOK(p0.7, b0, beyond [p2.5])"),
            (commit(None), "Commit(p0.7, {p1.4})"),
            (commit(Some(Proposal::Nop)), "Commit(p0.7, nop {p1.4})"),
        ]);
    }

    #[test]
    fn messages_of_a_recovery_in_one_line() {
        let vote = |phase, proposal| {
            let attributes = Some(on(&[id(2, 5)]));
            Vote { phase, ballot: Round(2), proposal, attributes }
        };
        let silent =
            Vote { phase: Phase::Initial, ballot: Round(0), proposal: None, attributes: None };
        let prepared =
            |vote, initial| EpaxosMessage::PrepareOk { id: ID, ballot: B, vote, initial };
        let nack = |promised| EpaxosMessage::Nack { id: ID, ballot: B, promised };
        let tried =
            |conflicts| EpaxosMessage::TentativePreAcceptOk { id: ID, ballot: B, conflicts };
        let conflicts = vec![
            Conflict { id: id(1, 4), committed: false },
            Conflict { id: id(2, 5), committed: true },
        ];
        assert_texts(vec![
            (EpaxosMessage::Prepare { id: ID, ballot: B }, "Prepare(p0.7, b4)"),
            (prepared(silent, None), "PrepareOK(p0.7, b4, no vote)"),
            (
                prepared(vote(Phase::PreAccepted, None), Some(initial())),
                "PrepareOK(p0.7, b4, pre-accepted b2 {p2.5}, \
                 initial [c1.0 get k0] {p1.4} quorum {p0, p2})",
            ),
            (
                prepared(vote(Phase::Accepted, Some(Proposal::Nop)), None),
                "PrepareOK(p0.7, b4, accepted b2 nop {p2.5})",
            ),
            (
                prepared(vote(Phase::Committed, Some(command())), None),
                "PrepareOK(p0.7, b4, committed b2 [c1.0 get k0] {p2.5})",
            ),
            (nack(Some(Round(8))), "NACK(p0.7, b4, promised b8)"),
            (nack(None), "NACK(p0.7, b4, forgotten)"),
            (
                EpaxosMessage::TentativePreAccept {
                    id: ID,
                    ballot: B,
                    initial: initial(),
                    attributes: on(&[]),
                },
                "TentativePreAccept(p0.7, b4, {}, initial [c1.0 get k0] {p1.4} quorum {p0, p2})",
            ),
            (tried(vec![]), "TentativePreAcceptOK(p0.7, b4)"),
            (tried(conflicts), "TentativePreAcceptOK(p0.7, b4, conflicts [p1.4, p2.5 committed])"),
            (
                EpaxosMessage::Deferred {
                    id: ID,
                    epoch: 0,
                    evidence: NodeSet::from_bits(0b11),
                    attributes: on(&[]),
                },
                "Deferred(p0.7, evidence {p0, p1}, {})",
            ),
        ]);
    }

    #[test]
    fn messages_about_all_instances_in_one_line() {
        let below: PerNode = [4, 0, 2].as_slice().into();
        let forgotten: PerNode = [1, 1, 0].as_slice().into();
        assert_texts(vec![
            (
                EpaxosMessage::Heartbeat {
                    epoch: 0,
                    executed: below.clone(),
                    forgettable: forgotten.clone(),
                    sent_ns: 50,
                },
                "Heartbeat(executed [p0<4, p2<2], forgettable [p0<1, p1<1], sent 50 ns)",
            ),
            (EpaxosMessage::HeartbeatOk { sent_ns: 50 }, "HeartbeatOK(sent 50 ns)"),
            (
                EpaxosMessage::Lagging { executed: below.clone(), known: below },
                "Lagging(executed [p0<4, p2<2], known [p0<4, p2<2])",
            ),
            (
                EpaxosMessage::State { epoch: 0, executed: executed(), forgotten },
                "State(executed [p0<4+2, p1<2, p2<0], forgotten [p0<1, p1<1])",
            ),
        ]);
    }

    fn change() -> Change {
        let replacement = Some(Replacement { joiner: NodeId(3), leaver: NodeId(1) });
        Change { replacement, from: [4, 0, 2, 0].as_slice().into() }
    }

    #[test]
    fn messages_and_records_of_an_epoch_in_one_line() {
        let ballot = Round(Round::first_of(1).0 + 4);
        let fence: PerNode = [4, 0, 1, 0].as_slice().into();
        let join = |replacement| EpaxosMessage::Join { ballot, replacement };
        let join_ok = |vote| EpaxosMessage::JoinOk { ballot, vote, fence: fence.clone() };
        let stay = Change { replacement: None, ..change() };
        assert_texts(vec![
            (join(change().replacement), "Join(b1.4, p3 for p1)"),
            (join(None), "Join(b1.4)"),
            (join_ok(None), "JoinOK(b1.4, fence [p0<4, p2<1])"),
            (
                join_ok(Some((ballot, change()))),
                "JoinOK(b1.4, accepted b1.4 p3 for p1 from [p0<4, p2<2], fence [p0<4, p2<1])",
            ),
            (
                EpaxosMessage::JoinNack { ballot, promised: Round(ballot.0 + 1) },
                "JoinNACK(b1.4, promised b1.5)",
            ),
            (
                EpaxosMessage::Begin { ballot, change: stay },
                "Begin(b1.4, nobody new from [p0<4, p2<2])",
            ),
            (EpaxosMessage::BeginOk { ballot }, "BeginOK(b1.4)"),
            (
                EpaxosMessage::Epochs { changes: vec![change()] },
                "Epochs([p3 for p1 from [p0<4, p2<2]])",
            ),
        ]);
        let change = change();
        assert_texts(vec![
            (EpaxosRecord::Promised { ballot, fence: None }, "Promised(b1.4)"),
            (
                EpaxosRecord::Promised { ballot, fence: Some(fence) },
                "Promised(b1.4, fence [p0<4, p2<1])",
            ),
            (
                EpaxosRecord::BeginAccepted { ballot, change: change.clone() },
                "BeginAccepted(b1.4, p3 for p1 from [p0<4, p2<2])",
            ),
            (EpaxosRecord::Begun { change }, "Begun(p3 for p1 from [p0<4, p2<2])"),
        ]);
    }

    #[test]
    fn records_in_one_line() {
        let voted =
            |attributes| EpaxosRecord::PreAccepted { id: ID, initial: initial(), attributes };
        let attributes = on(&[id(2, 5)]);
        let below: PerNode = [1, 1, 0].as_slice().into();
        assert_texts(vec![
            (voted(None), "PreAccepted(p0.7, [c1.0 get k0] {p1.4} quorum {p0, p2}, as proposed)"),
            (
                voted(Some(attributes.clone())),
                "PreAccepted(p0.7, [c1.0 get k0] {p1.4} quorum {p0, p2}, {p2.5})",
            ),
            (EpaxosRecord::Joined { id: ID, ballot: B }, "Joined(p0.7, b4)"),
            (
                EpaxosRecord::Tentative { id: ID, initial: initial() },
                "Tentative(p0.7, [c1.0 get k0] {p1.4} quorum {p0, p2})",
            ),
            (
                EpaxosRecord::Accepted {
                    id: ID,
                    ballot: B,
                    proposal: Some(command()),
                    attributes: attributes.clone(),
                },
                "Accepted(p0.7, b4, [c1.0 get k0] {p2.5})",
            ),
            (
                EpaxosRecord::AcceptedElsewhere { id: ID, node: NodeId(1), beyond: vec![id(2, 6)] },
                "AcceptedElsewhere(p0.7, p1 beyond [p2.6])",
            ),
            (
                EpaxosRecord::Committed { id: ID, proposal: Some(Proposal::Nop), attributes },
                "Committed(p0.7, nop {p2.5})",
            ),
            (EpaxosRecord::Forgettable { below: below.clone() }, "Forgettable([p0<1, p1<1])"),
            (
                EpaxosRecord::Installed { executed: executed(), forgotten: below },
                "Installed(executed [p0<4+2, p1<2, p2<0], forgotten [p0<1, p1<1])",
            ),
        ]);
    }
}
