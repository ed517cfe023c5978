//! Whether the replicas have the same state, from what they say when all are asked.

use super::RunError;
use super::session::Line;
use crate::experiment::file::{Fault, FaultKind};
use crate::replica::control::{Members, Status};

/// What the replicas say at one look.
#[derive(Default)]
pub(super) struct Look {
    said: Vec<(String, Status)>,
    /// Who says nothing, and why.
    silent: Vec<(String, RunError)>,
}

impl Look {
    pub(super) async fn at(lines: Vec<Line>) -> Look {
        let mut look = Look::default();
        for line in lines {
            match line.status().await {
                Ok(status) => look.said.push((line.name, status)),
                Err(error) => look.silent.push((line.name, error)),
            }
        }
        look
    }

    /// What the furthest knows of the members; none where nobody chooses them.
    fn members(&self) -> Option<&Members> {
        let known = self.said.iter().filter_map(|(_, status)| status.membership.as_ref());
        known.max_by_key(|known| known.epoch)
    }

    fn is_member(&self, name: &str) -> bool {
        self.members().is_none_or(|known| known.members.iter().any(|member| member == name))
    }

    /// Those that must have the same state. Who is no member need not, though it may not have been told.
    pub(super) fn judged(&self) -> impl Iterator<Item = &(String, Status)> {
        self.said.iter().filter(|(name, status)| status.takes_requests && self.is_member(name))
    }

    /// Why members say nothing.
    pub(super) fn silent_members(&self) -> impl Iterator<Item = String> {
        self.silent.iter().filter(|(name, _)| self.is_member(name)).map(|(_, why)| why.to_string())
    }

    fn is_changing(&self) -> bool {
        self.members().is_some_and(Members::is_changing)
    }

    /// Whether all members that live have said the same state, and no change of members is under way.
    pub(super) fn agrees(&self) -> bool {
        let state = |(_, status): &(String, Status)| (status.applied, status.digest.clone());
        let mut states = self.judged().map(state);
        let Some(first) = states.next() else { return false };
        states.all(|state| state == first)
            && !self.is_changing()
            && self.silent_members().next().is_none()
    }

    /// Whether the members have the same state; none if that is not known, or if they are too few to reach it:
    /// without a majority nobody can bring the others up to date, and that they differ says nothing.
    pub(super) fn verdict(&self, sites: usize) -> Option<bool> {
        if self.agrees() {
            return Some(true);
        }
        let members = self.members().map_or(sites, |known| known.members.len());
        let known = !self.is_changing() && self.silent_members().next().is_none();
        (known && self.judged().count() > members / 2).then_some(false)
    }

    /// What the last of the faults that choose members has not brought about, if anything.
    pub(super) fn misses(&self, faults: &[Fault]) -> Option<String> {
        let changes = |fault: &&Fault| {
            matches!(fault.kind, FaultKind::Join { .. } | FaultKind::Members { .. })
        };
        let last = faults.iter().rfind(changes)?;
        let FaultKind::Members { members: wanted } = &last.kind else { return None };
        let known = self.members()?;
        let same = known.members.len() == wanted.len()
            && known.members.iter().all(|name| wanted.contains(name));
        (!same || known.is_changing()).then(|| {
            format!("`{}` is not settled: the members are {}", last.kind, known.members.join(" "))
        })
    }
}
