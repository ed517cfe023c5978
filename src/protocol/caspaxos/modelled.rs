//! What an exhaustive exploration must know of a replica beside what it does.

use std::hash::{Hash, Hasher};

use super::Caspaxos;
use super::message::CaspaxosMessage;
use crate::command::NodeId;

/// Counters and what was measured change nothing that it does. (Time stands still in a model.)
impl Hash for Caspaxos {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.me, self.configuration, &self.registers).hash(state);
        let mut works: Vec<_> = self.works.iter().map(|(_, work)| work).collect();
        works.sort_unstable_by_key(|work| work.key);
        works.hash(state);
        (self.ready.len(), self.backing_off.len(), &self.changes, &self.last_changes).hash(state);
        (&self.flights, self.counter, self.reserved, self.durable, &self.to_self).hash(state);
        (&self.collecting, &self.changing, self.asked).hash(state);
        self.sessions.hash(state);
    }
}

impl Caspaxos {
    /// Whether this replica ignores a message, now and whatever comes, unless it crashes. It may say no where
    /// that is true: answers to what is no longer under way are ignored but for the ballots in them.
    pub fn ignores_for_ever(&self, _from: NodeId, message: &CaspaxosMessage) -> bool {
        let is_over = |batch: &u64| !self.flights.all.contains_key(batch) && *batch <= self.counter;
        match message {
            CaspaxosMessage::Promise { batch, .. }
            | CaspaxosMessage::Accepted { batch, .. }
            | CaspaxosMessage::ReadOk { batch, .. } => is_over(batch),
            _ => false,
        }
    }
}
