//! *propCmd* (A.2): what was proposed, and under which names.

use std::collections::BTreeMap;

use super::histories::{Element, Touches, touches};
use crate::check::invariants::{Held, Violation, hold};
use crate::command::NodeId;
use crate::protocol::Batch;
use crate::protocol::multicoordinated::names::{Name, Run};
use crate::protocol::multicoordinated::options::Structure;

/// Commands that were proposed together.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Parcel {
    commands: Batch,
    instance: u64,
    /// Whether others may have heard of it, or its proposer will find it in its log. If not, a crash undoes it.
    is_out: bool,
}

/// All that was proposed, by first name.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Proposed {
    parcels: BTreeMap<Name, Parcel>,
}

impl Proposed {
    /// *Propose*. A name stands for one command, of one instance, for ever.
    pub(super) fn propose(
        &mut self,
        first: Name,
        instance: u64,
        commands: &Batch,
        is_out: bool,
    ) -> Held {
        let parcel = || Parcel { commands: commands.clone(), instance, is_out };
        let known = self.parcels.entry(first).or_insert_with(parcel);
        known.is_out |= is_out;
        let same = known.instance == instance && is_same(&known.commands, commands);
        hold(same, "one command per name", || {
            format!("{first} is {known:?}, and {commands:?} for i{instance}")
        })
    }

    /// *Nontriviality*: commands that are told of were proposed under these names.
    pub(super) fn are_as_proposed(&self, first: Name, instance: u64, commands: &Batch) -> Held {
        let known = self.parcels.get(&first);
        let same = known
            .is_some_and(|known| known.instance == instance && is_same(&known.commands, commands));
        hold(same, "nontriviality", || {
            format!("{first} is said to be {commands:?} for i{instance}, proposed was {known:?}")
        })
    }

    /// What only the process knew that crashed was never proposed.
    pub(super) fn crash(&mut self, node: NodeId) {
        self.parcels.retain(|first, parcel| parcel.is_out || first.proposer != node);
    }

    /// *Nontriviality* (A.2: values are in *Str(propCmd)*): the elements of a value, with what they touch.
    pub(super) fn elements(
        &self,
        instance: u64,
        names: &[Run],
        closes: bool,
        structure: Structure,
    ) -> Result<Vec<(Element, Touches)>, Violation> {
        let mut elements = Vec::new();
        for name in names.iter().copied().flat_map(Run::names) {
            let touched = self.touches(instance, name, structure);
            let what = || format!("{name} in i{instance}, which nobody has proposed there");
            let touched =
                touched.ok_or_else(|| Violation { invariant: "nontriviality", what: what() })?;
            elements.push((Element::Command(name), touched));
        }
        elements.extend(closes.then(|| (Element::Checkpoint, Touches::new())));
        Ok(elements)
    }

    fn touches(&self, instance: u64, name: Name, structure: Structure) -> Option<Touches> {
        let (first, parcel) = self.parcels.range(..=name).next_back()?;
        let offset = name.number.checked_sub(first.number)? as usize;
        let is_there = first.proposer == name.proposer && parcel.instance == instance;
        let command = parcel.commands.get(offset).filter(|_| is_there)?;
        Some(touches(command, structure))
    }
}

fn is_same(one: &Batch, other: &Batch) -> bool {
    std::sync::Arc::ptr_eq(one, other) || one == other
}
