//! The acceptor's messages (§2.2, right to left). What it says leaves once all that it has written is durable.

use std::sync::Arc;

use super::Caspaxos;
use super::ballot::Ballot;
use super::bundles::parts;
use super::message::{CaspaxosMessage, CaspaxosRecord, Change, Promise};
use crate::command::{Key, NodeId};
use crate::mutants::mutant;
use crate::protocol::Effects;

impl Caspaxos {
    /// Whether a message is of this configuration; else tells who sent it, or asks. A message of another
    /// configuration is lost.
    pub(super) fn is_of_this_epoch(
        &mut self,
        from: NodeId,
        epoch: u16,
        out: &mut Effects<Self>,
    ) -> bool {
        if !self.configuration.takes(epoch) {
            self.counters.old_epochs += 1;
            self.answer(from, CaspaxosMessage::Configure(self.configuration), out);
            return false;
        }
        if epoch > self.configuration.epoch {
            self.answer(from, CaspaxosMessage::WhichConfiguration, out);
            return false;
        }
        true
    }

    pub(super) fn on_prepare(
        &mut self,
        from: NodeId,
        batch: u64,
        ballot: Ballot,
        keys: &Arc<[Key]>,
        out: &mut Effects<Self>,
    ) {
        if !self.is_of_this_epoch(from, ballot.epoch(), out) {
            return;
        }
        self.registers.fetch(keys.iter().copied());
        let mut promises = Vec::with_capacity(keys.len());
        let mut promised = Vec::new();
        for key in keys.iter() {
            promises.push(match self.registers.prepare(*key, ballot) {
                Ok(register) => {
                    promised.push(*key);
                    let (ballot, state) = (register.accepted, register.state.clone());
                    Promise::Accepted { ballot, state }
                }
                Err(seen) => Promise::Conflict(seen),
            });
        }
        if !promised.is_empty() {
            let keys = if promised.len() == keys.len() { keys.clone() } else { promised.into() };
            out.persist(CaspaxosRecord::Promised { ballot, keys });
        }
        let floor = self.registers.floor();
        for (first, promises) in parts(promises) {
            self.answer(from, CaspaxosMessage::Promise { batch, floor, first, promises }, out);
        }
    }

    pub(super) fn on_accept(
        &mut self,
        from: NodeId,
        batch: u64,
        next: Ballot,
        changes: &Arc<[Change]>,
        out: &mut Effects<Self>,
    ) {
        let Some(first) = changes.first() else { return };
        if !self.is_of_this_epoch(from, first.ballot.epoch(), out) {
            return;
        }
        let forgets = from != self.me && mutant!(NextNotPromised);
        let next = if forgets { Ballot::ZERO } else { next };
        self.registers.fetch(changes.iter().map(|change| change.key));
        let mut conflicts = Vec::new();
        for (change, place) in changes.iter().zip(0..) {
            if let Err(seen) = self.registers.accept(change, next) {
                conflicts.push((place, seen));
            }
        }
        let (refused, changes) =
            (conflicts.iter().map(|(place, _)| *place).collect(), changes.clone());
        if conflicts.len() < changes.len() {
            out.persist(CaspaxosRecord::Accepted { next, changes, refused });
        }
        self.answer(from, CaspaxosMessage::Accepted { batch, conflicts }, out);
    }
}
