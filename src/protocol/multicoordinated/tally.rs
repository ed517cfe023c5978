//! ⊔ of the ⊓ of every quorum, command by command.
//!
//! # The problem
//!
//! Acceptors take the glb of what a coordinator quorum forwarded, learners that of what an acceptor quorum
//! accepted, and a new round's coordinator that of what every possible quorum left; each time for every
//! quorum there is, and the lub of it all. Histories only grow, so nothing of it need be computed twice.
//!
//! # The idea
//!
//! A history is a set of commands, each with its *predecessors*: the commands before it that interfere with
//! it. A command is in the glb of several histories if it is in each, and is preceded by the same commands
//! in each, these by the same, and so on. So a command together with all that must come before it is a
//! *node*: a name and the nodes of its direct predecessors. Nodes are interned: equal ones are one. Two
//! histories agree on a command if they have it as the same node; and a command is in the glb of some quorum
//! if as many histories as make a quorum have it as the same node. One count for each node replaces the
//! subsets.
//!
//! The direct predecessors of a command in one history follow from the last write to each of its classes and
//! the reads since, which are kept for each history and class. So the cost of a command does not depend on
//! the length of the history.
//!
//! *Down-closed:* who votes for a node has voted for its predecessors. So commands reach the quorum in an
//! order that is a history.
//!
//! *Stuck:* histories that disagree on a command may still leave one of its nodes a quorum. It is a
//! collision once none can have one any more. Who has not voted for a command can still vote for a node of it
//! if all in its history that interferes with the command comes before that node. So ⟨C⟩ and ⟨D⟩ of two
//! sources of which both are needed are a collision at once, before either has the other's command.

use std::hash::{DefaultHasher, Hash, Hasher};

use smallvec::SmallVec;

use super::classes::{Classes, NONE};
use super::names::{Name, NameMap};
use crate::command::NodeId;
use crate::mutants::mutant;
use crate::protocol::quorum::NodeSet;

/// A command with all that must come before it.
#[derive(Clone, Hash, Debug)]
struct Node {
    name: Name,
    /// Direct predecessors, ascending.
    predecessors: SmallVec<[u32; 2]>,
    /// Whose histories have it.
    votes: NodeSet,
    /// The next node of the same command, plus one; 0 if there is none.
    next: u32,
}

/// The end of one history in one class.
#[derive(Clone, Copy, Hash, Debug, Default)]
struct End {
    /// The last write, plus one; 0 if there is none.
    write: u32,
    /// The last of the reads since, by its place in the list, plus one; 0 if there is none.
    read: u32,
}

/// What came of a vote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Voted {
    /// Its node, to be asked for.
    pub node: u32,
    /// Whether just now a quorum agrees.
    pub is_agreed: bool,
    /// Whether histories disagree on the command, or on what comes next to another's last.
    pub is_disputed: bool,
}

/// Several growing histories, and what quorums of them have in common.
#[derive(Clone, Debug)]
pub struct Tally {
    quorum: usize,
    sources: usize,
    /// By command: its first node, plus one.
    first: NameMap<u32>,
    nodes: Vec<Node>,
    /// By node: what its command touches.
    touches: Vec<Classes>,
    /// By class and source.
    ends: Vec<End>,
    /// Reads, each with the one before it in its history and class.
    reads: Vec<(u32, u32)>,
}

/// Which numbers nodes have changes nothing: who has voted for which commands, after which, is all.
impl Hash for Tally {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut names: Vec<u64> = Vec::new();
        for node in &self.nodes {
            let mut before: Vec<u64> =
                node.predecessors.iter().map(|before| names[*before as usize]).collect();
            before.sort_unstable();
            let mut hasher = DefaultHasher::new();
            (node.name, before).hash(&mut hasher);
            names.push(hasher.finish());
        }
        let votes = names.into_iter().zip(self.nodes.iter().map(|node| node.votes.bits()));
        let mut all: Vec<(u64, u64)> = votes.collect();
        all.sort_unstable();
        all.hash(state);
    }
}

impl Tally {
    /// Of so many sources, any `quorum` of which are one.
    pub fn new(size: u8, quorum: usize) -> Tally {
        Tally {
            quorum,
            sources: usize::from(size),
            first: NameMap::new(size),
            nodes: Vec::new(),
            touches: Vec::new(),
            ends: Vec::new(),
            reads: Vec::new(),
        }
    }

    /// A source's history goes on with this command; none if it has the command already.
    pub fn vote(&mut self, source: NodeId, name: Name, touches: Classes) -> Option<Voted> {
        let first = self.first.get(name);
        if self.variants(first).any(|(_, node)| node.votes.contains(source)) {
            return None;
        }
        let predecessors = self.predecessors(source, touches);
        let node = self.intern((name, touches), first, predecessors);
        self.advance(source, touches, node);
        let votes = &mut self.nodes[node as usize].votes;
        votes.insert(source);
        let is_agreed = votes.len() == self.quorum;
        let is_disputed = self.nodes[(self.first.get(name) - 1) as usize].next != 0
            || self.rivals(source, node).next().is_some();
        Some(Voted { node, is_agreed, is_disputed })
    }

    /// The commands on which quorums may have become unable to agree by a source's vote for a node: its own, and
    /// the last ones of other histories that are neither before nor after it.
    pub fn disputed(&self, source: NodeId, node: u32) -> impl Iterator<Item = Name> {
        let rivals = self.rivals(source, node).map(|rival| self.nodes[rival as usize].name);
        std::iter::once(self.nodes[node as usize].name).chain(rivals)
    }

    /// Whether no quorum can agree on a command any more, if only these sources may still have it.
    pub fn is_stuck(&self, name: Name, awaited: NodeSet) -> bool {
        let have = self.variants(self.first.get(name)).map(|(_, node)| node.votes);
        let lack = awaited.minus(have.fold(NodeSet::default(), NodeSet::or));
        let may_agree = |(index, node): (u32, &Node)| {
            // Whoever has it has all that comes before it.
            let has_it = node.votes.iter().next();
            let is_before = |end: u32| {
                has_it.is_some_and(|source| self.nodes[end as usize].votes.contains(source))
            };
            let can_still = |source: &NodeId| self.ends_beside(*source, index).all(is_before);
            node.votes.len() + lack.iter().filter(can_still).count() >= self.quorum
        };
        lack.len() < self.quorum && !self.variants(self.first.get(name)).any(may_agree)
    }

    /// The last nodes of other histories that interfere with a node and are neither before nor after it: those of
    /// sources that do not have the node, if the source that has it does not have them.
    fn rivals(&self, source: NodeId, node: u32) -> impl Iterator<Item = u32> {
        let have = self.nodes[node as usize].votes;
        let others =
            (0..self.sources as u8).map(NodeId).filter(move |other| !have.contains(*other));
        let ends = others.flat_map(move |other| self.ends_beside(other, node));
        ends.filter(move |end| !self.nodes[*end as usize].votes.contains(source))
    }

    /// The last nodes of a source's history that interfere with a node.
    fn ends_beside(&self, source: NodeId, node: u32) -> impl Iterator<Item = u32> {
        let touches = self.touches[node as usize];
        let classes = touches.classes.into_iter().filter(|class| *class != NONE);
        classes.flat_map(move |class| {
            let at = class as usize * self.sources + usize::from(source.0);
            let end = self.ends.get(at).copied().unwrap_or_default();
            let first_read = if touches.is_read { 0 } else { end.read };
            let read = |read: u32| Some(self.reads[read.checked_sub(1)? as usize]);
            let reads = std::iter::successors(read(first_read), move |(_, before)| read(*before));
            end.write.checked_sub(1).into_iter().chain(reads.map(|(read, _)| read))
        })
    }

    /// The direct predecessors of a node.
    pub fn names_before(&self, node: u32) -> impl Iterator<Item = Name> {
        let predecessors = &self.nodes[node as usize].predecessors;
        predecessors.iter().map(|node| self.nodes[*node as usize].name)
    }

    fn variants(&self, first: u32) -> impl Iterator<Item = (u32, &Node)> {
        let at = move |next: u32| {
            let index = next.checked_sub(1)?;
            Some((index, &self.nodes[index as usize]))
        };
        std::iter::successors(at(first), move |(_, node)| at(node.next))
    }

    /// What a command that touches these classes comes after in a source's history: the last write to each, and
    /// the reads since unless it only reads itself.
    fn predecessors(&mut self, source: NodeId, touches: Classes) -> SmallVec<[u32; 2]> {
        let mut found = SmallVec::new();
        for class in touches.classes.into_iter().filter(|class| *class != NONE) {
            let end = *self.end(class, source);
            if !mutant!(WritesUnordered) {
                found.extend(end.write.checked_sub(1));
            }
            let mut read = end.read;
            while read != 0 && !touches.is_read && !mutant!(ReadsUnordered) {
                let (node, before) = self.reads[(read - 1) as usize];
                found.push(node);
                read = before;
            }
        }
        if found.len() > 1 {
            found.sort_unstable();
            found.dedup();
        }
        found
    }

    /// The node of a command with these predecessors.
    fn intern(
        &mut self,
        (name, touches): (Name, Classes),
        first: u32,
        predecessors: SmallVec<[u32; 2]>,
    ) -> u32 {
        let anything = mutant!(PredecessorsIgnored);
        let mut last = None;
        for (index, node) in self.variants(first) {
            if node.predecessors == predecessors || anything {
                return index;
            }
            last = Some(index);
        }
        let index = self.nodes.len() as u32;
        self.nodes.push(Node { name, predecessors, votes: NodeSet::default(), next: 0 });
        self.touches.push(touches);
        match last {
            Some(last) => self.nodes[last as usize].next = index + 1,
            None => {
                self.first.set(name, index + 1);
            }
        }
        index
    }

    fn advance(&mut self, source: NodeId, touches: Classes, node: u32) {
        for class in touches.classes.into_iter().filter(|class| *class != NONE) {
            if touches.is_read {
                let before = self.end(class, source).read;
                self.reads.push((node, before));
                self.end(class, source).read = self.reads.len() as u32;
            } else {
                *self.end(class, source) = End { write: node + 1, read: 0 };
            }
        }
    }

    fn end(&mut self, class: u32, source: NodeId) -> &mut End {
        let at = class as usize * self.sources + usize::from(source.0);
        if self.ends.len() <= at {
            self.ends.resize((class as usize + 1) * self.sources, End::default());
        }
        &mut self.ends[at]
    }
}
