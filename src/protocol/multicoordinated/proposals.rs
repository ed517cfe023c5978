//! The commands behind the names: what proposers have proposed, as far as it has arrived here.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use super::classes::Classes;
use super::names::{Name, Run};
use crate::command::{Command, NodeId};
use crate::protocol::Batch;
use crate::protocol::quorum::NodeSet;

/// Commands that a proposer proposed together, with names in a row.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// The first one's number.
    pub first: u64,
    /// The commands.
    pub commands: Batch,
    /// The instance that they are for.
    pub instance: u64,
    /// The coordinators that were asked to forward them.
    pub coordinators: NodeSet,
    /// The acceptors that were asked to accept them.
    pub acceptors: NodeSet,
    /// What each command touches; empty until somebody asks.
    pub classes: Vec<Classes>,
    /// Whether the log has the commands.
    pub is_logged: bool,
}

/// Whether somebody has asked what its commands touch changes nothing.
impl Hash for Parcel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.first, &self.commands, self.instance).hash(state);
        (self.coordinators, self.acceptors, self.is_logged).hash(state);
    }
}

impl Parcel {
    /// One past the last number.
    pub fn end(&self) -> u64 {
        self.first + self.commands.len() as u64
    }

    /// All names.
    pub fn run(&self, proposer: NodeId) -> Run {
        Run { proposer, first: self.first, count: self.commands.len() as u32 }
    }

    /// The command of this number, which must be one of them.
    pub fn command(&self, number: u64) -> &Command {
        &self.commands[(number - self.first) as usize]
    }
}

/// All parcels that are here, by proposer and number.
#[derive(Clone, Hash, Debug)]
pub struct Proposals {
    rows: Vec<VecDeque<Parcel>>,
}

impl Proposals {
    /// None yet.
    pub fn new(size: u8) -> Proposals {
        Proposals { rows: vec![VecDeque::new(); usize::from(size)] }
    }

    /// Adds a parcel, unless it is here.
    pub fn insert(&mut self, proposer: NodeId, parcel: Parcel) -> bool {
        let row = &mut self.rows[usize::from(proposer.0)];
        let at = row.partition_point(|held| held.first < parcel.first);
        let before = at.checked_sub(1).map(|before| row[before].end());
        let free = before.is_none_or(|end| end <= parcel.first)
            && row.get(at).is_none_or(|next| parcel.end() <= next.first);
        if free {
            row.insert(at, parcel);
        }
        free
    }

    /// The parcel that has a name.
    pub fn find(&self, name: Name) -> Option<&Parcel> {
        let row = &self.rows[usize::from(name.proposer.0)];
        row.get(position(row, name.number)?)
    }

    /// The parcel that has a name.
    pub fn find_mut(&mut self, name: Name) -> Option<&mut Parcel> {
        let row = &mut self.rows[usize::from(name.proposer.0)];
        let at = position(row, name.number)?;
        row.get_mut(at)
    }

    /// The command of a name.
    pub fn command(&self, name: Name) -> Option<&Command> {
        self.find(name).map(|parcel| parcel.command(name.number))
    }

    /// How many of these names, from the first on, have their commands here.
    pub fn known(&self, run: Run) -> u32 {
        let (mut number, end) = (run.first, run.first + u64::from(run.count));
        while number < end {
            match self.find(Name { proposer: run.proposer, number }) {
                Some(parcel) => number = parcel.end(),
                None => break,
            }
        }
        (number.min(end) - run.first) as u32
    }

    /// Those of an instance, by proposer and number.
    pub fn of(&self, instance: u64) -> impl Iterator<Item = (NodeId, &Parcel)> {
        (0..).map(NodeId).zip(&self.rows).flat_map(move |(proposer, row)| {
            let those = row.iter().filter(move |parcel| parcel.instance == instance);
            those.map(move |parcel| (proposer, parcel))
        })
    }

    /// One past the highest number of a proposer's that is here.
    pub fn end(&self, proposer: NodeId) -> Option<u64> {
        self.rows[usize::from(proposer.0)].back().map(Parcel::end)
    }

    /// Forgets those of earlier instances.
    pub fn forget_below(&mut self, instance: u64) {
        for row in &mut self.rows {
            row.retain(|parcel| parcel.instance >= instance);
        }
    }
}

/// Where in a row the parcel with this number is.
fn position(row: &VecDeque<Parcel>, number: u64) -> Option<usize> {
    // Mostly it is one of the last.
    let at = match row.back() {
        Some(last) if last.first <= number => row.len(),
        _ => row.partition_point(|parcel| parcel.first <= number),
    };
    let at = at.checked_sub(1)?;
    (number < row[at].end()).then_some(at)
}
