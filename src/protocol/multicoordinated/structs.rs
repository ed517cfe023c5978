//! Command structures: what is agreed on, as a specification.
//!
//! (L. Lamport, "Generalized Consensus and Paxos", 2005, §4; Multicoordinated Paxos §2.3.1.)
//!
//! # The problem
//!
//! Consensus chooses one command, and a replicated state machine a sequence of them. Of commands that commute no
//! order is needed, so agreement on a sequence is agreement on too much.
//!
//! # The idea
//!
//! Let values grow: a *c-struct* is ⊥ or what `•` made of a c-struct and a command. Then *v ⊑ w*, "w extends
//! v", if commands appended to v make w. What learners know need not be equal, only *compatible*: extended by
//! some common c-struct. Paxos asks no more of c-structs than the axioms CS0 to CS4, and these are what the
//! tests of this module are about:
//!
//! | axiom | |
//! | --- | --- |
//! | CS0 | v • C is a c-struct |
//! | CS1 | every c-struct is ⊥ • σ, σ some commands in turn |
//! | CS2 | ⊑ is a partial order |
//! | CS3 | v ⊓ w exists, and if they are compatible v ⊔ w, of the same commands; who is compatible with both is so with v ⊔ w |
//! | CS4 | what compatible v and w both contain, v ⊓ w contains |
//!
//! | file | job |
//! | --- | --- |
//! | this one | the operators; c-structs in which every two commands interfere |
//! | [`history`] | command histories: only commands that interfere are ordered |
//! | [`safe`] | ProvedSafe: which values a round may begin with |
//!
//! # What it is for
//!
//! Replicas and invariants that know a value only by what was added to it last are checked against this module.
//! So it keeps whole values, and where it could be fast or plain it is plain; but `append` and `contains` look at the
//! keys of their command only, and the operators walk over their values once.

pub mod history;
pub mod safe;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Debug;

pub use history::History;
pub use safe::{Incompatible, ProvedSafe, Voted, proved_safe};

use crate::command::{Command, CommandId, Key};

/// A c-struct set (Lamport §4.2).
pub trait Structure: Clone + PartialEq + Debug {
    /// *Cmd*
    type Command;

    /// ⊥
    fn bottom() -> Self;

    /// Becomes v • C.
    fn append(&mut self, command: &Self::Command);

    /// Some σ such that v = ⊥ • σ (CS1).
    fn commands(&self) -> &[Self::Command];

    /// Whether v contains C: it is ⊥ • σ for a σ in which C occurs.
    fn contains(&self, command: &Self::Command) -> bool;

    /// v ⊑ w
    fn is_prefix_of(&self, other: &Self) -> bool;

    /// v ⊓ w: the longest prefix of both.
    #[must_use]
    fn glb(&self, other: &Self) -> Self;

    /// Whether something extends both.
    fn is_compatible(&self, other: &Self) -> bool;

    /// v ⊔ w: the shortest that extends both, if anything does.
    fn lub(&self, other: &Self) -> Option<Self>;

    /// Becomes v • σ.
    fn append_all<'a>(&mut self, commands: impl IntoIterator<Item = &'a Self::Command>)
    where
        Self::Command: 'a,
    {
        commands.into_iter().for_each(|command| self.append(command));
    }

    /// ⊥ • σ
    fn of<'a>(commands: impl IntoIterator<Item = &'a Self::Command>) -> Self
    where
        Self::Command: 'a,
    {
        let mut made = Self::bottom();
        made.append_all(commands);
        made
    }

    /// ⊓S
    ///
    /// # Panics
    ///
    /// If S is empty: everything would be a lower bound.
    fn glb_of<'a>(structures: impl IntoIterator<Item = &'a Self>) -> Self
    where
        Self: 'a,
    {
        let mut structures = structures.into_iter();
        let first = structures.next().expect("no c-structs have no glb").clone();
        structures.fold(first, |glb, next| glb.glb(next))
    }

    /// ⊔S, if S is compatible; ⊥ if it is empty. By CS3 it is enough to look at the lub so far: it is
    /// compatible with whatever all its parts are compatible with.
    fn lub_of<'a>(structures: impl IntoIterator<Item = &'a Self>) -> Option<Self>
    where
        Self: 'a,
    {
        structures.into_iter().try_fold(Self::bottom(), |lub, next| lub.lub(next))
    }
}

/// Commands that are told apart by an id. Lamport's uid (§4.4): a command that is proposed again is the same one.
pub trait Identity: Clone + Debug {
    /// What names a command for ever.
    type Id: Clone + Ord + Debug;

    /// Its name. Who bears the same name is the same command.
    fn identity(&self) -> Self::Id;
}

/// What a command does to a class.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Access {
    /// It interferes with those that write the class.
    Reads,
    /// It interferes with all that touch the class.
    Writes,
}

/// ≍, the interference relation (Lamport §4.4), by classes: two commands interfere if they touch a class that
/// one of them writes. Every symmetric relation is of this form, if need be with a class for each pair.
pub trait Interferes: Identity {
    /// What commands have in common, as a key of the store.
    type Class: Clone + Ord + Debug;

    /// The classes that the command touches, each once, and always in the same order.
    fn touches(&self) -> impl Iterator<Item = (Self::Class, Access)>;

    /// ≍
    fn interferes(&self, other: &Self) -> bool {
        self.touches().any(|(class, access)| {
            other.touches().any(|(others, and)| {
                class == others && (access == Access::Writes || and == Access::Writes)
            })
        })
    }
}

impl Identity for Command {
    type Id = CommandId;

    fn identity(&self) -> CommandId {
        self.id
    }
}

/// [`crate::command::Operation::interferes`], class by class.
impl Interferes for Command {
    type Class = Key;

    fn touches(&self) -> impl Iterator<Item = (Key, Access)> {
        let access = if self.operation.is_read() { Access::Reads } else { Access::Writes };
        let (one, other) = self.operation.keys();
        let other = other.filter(|key| *key != one);
        std::iter::once(one).chain(other).map(move |key| (key, access))
    }
}

/// A command under a name that its proposer gave to it. A client that asks two replicas for the same command
/// makes two proposals, and where replicas talk of names only these are two commands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Proposal<N, C> {
    /// The name.
    pub name: N,
    /// The command.
    pub command: C,
}

impl<N: Clone + Ord + Debug, C: Clone + Debug> Identity for Proposal<N, C> {
    type Id = N;

    fn identity(&self) -> N {
        self.name.clone()
    }
}

impl<N: Clone + Ord + Debug, C: Interferes> Interferes for Proposal<N, C> {
    type Class = C::Class;

    fn touches(&self) -> impl Iterator<Item = (C::Class, Access)> {
        self.command.touches()
    }
}

/// Sequences without duplicates (Lamport §4.4): every two commands interfere. ⊑ is "begins", and of two compatible
/// sequences one begins the other.
#[derive(Clone, Debug)]
pub struct Sequence<C: Identity> {
    commands: Vec<C>,
    ids: BTreeSet<C::Id>,
}

impl<C: Identity> Sequence<C> {
    /// How many commands, from the first on, are the same in both.
    fn in_common(&self, other: &Self) -> usize {
        let pairs = self.commands.iter().zip(&other.commands);
        pairs.take_while(|(a, b)| a.identity() == b.identity()).count()
    }
}

impl<C: Identity> PartialEq for Sequence<C> {
    fn eq(&self, other: &Self) -> bool {
        self.commands.len() == other.commands.len() && self.is_prefix_of(other)
    }
}

impl<C: Identity> Eq for Sequence<C> {}

impl<C: Identity> Structure for Sequence<C> {
    type Command = C;

    fn bottom() -> Self {
        Sequence { commands: Vec::new(), ids: BTreeSet::new() }
    }

    fn append(&mut self, command: &C) {
        if self.ids.insert(command.identity()) {
            self.commands.push(command.clone());
        }
    }

    fn commands(&self) -> &[C] {
        &self.commands
    }

    fn contains(&self, command: &C) -> bool {
        self.ids.contains(&command.identity())
    }

    fn is_prefix_of(&self, other: &Self) -> bool {
        self.in_common(other) == self.commands.len()
    }

    fn glb(&self, other: &Self) -> Self {
        Self::of(&self.commands[..self.in_common(other)])
    }

    fn is_compatible(&self, other: &Self) -> bool {
        self.is_prefix_of(other) || other.is_prefix_of(self)
    }

    fn lub(&self, other: &Self) -> Option<Self> {
        let longer = if self.commands.len() < other.commands.len() { other } else { self };
        self.is_compatible(other).then(|| longer.clone())
    }
}

/// A single command or ⊥: consensus (Lamport §4.4, "Commands with ⊥").
#[derive(Clone, Debug)]
pub struct Single<C> {
    first: Option<C>,
}

impl<C: Identity> PartialEq for Single<C> {
    fn eq(&self, other: &Self) -> bool {
        self.first.as_ref().map(C::identity) == other.first.as_ref().map(C::identity)
    }
}

impl<C: Identity> Eq for Single<C> {}

impl<C: Identity> Structure for Single<C> {
    type Command = C;

    fn bottom() -> Self {
        Single { first: None }
    }

    fn append(&mut self, command: &C) {
        self.first.get_or_insert_with(|| command.clone());
    }

    fn commands(&self) -> &[C] {
        self.first.as_slice()
    }

    /// Every command contains every command, "since C = C • ⟨D⟩".
    fn contains(&self, _: &C) -> bool {
        self.first.is_some()
    }

    fn is_prefix_of(&self, other: &Self) -> bool {
        self.first.is_none() || self == other
    }

    fn glb(&self, other: &Self) -> Self {
        if self == other { self.clone() } else { Self::bottom() }
    }

    fn is_compatible(&self, other: &Self) -> bool {
        self.is_prefix_of(other) || other.is_prefix_of(self)
    }

    fn lub(&self, other: &Self) -> Option<Self> {
        let greater = if self.first.is_some() { self } else { other };
        self.is_compatible(other).then(|| greater.clone())
    }
}
