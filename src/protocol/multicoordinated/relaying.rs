//! Commands that come sooner by way of a coordinator than from their proposer.
//!
//! A proposal goes to everybody, and 2a messages carry names only. In most networks the commands are there
//! before their names; but where the way from a proposer over a coordinator is shorter than the direct one (round
//! trips measured over real networks know no triangle inequality), an acceptor would wait for them. Who has had to
//! do so a few times asks the coordinator to send them along.

use super::message::MulticoordinatedMessage;
use super::names::{Name, Run};
use super::{Effects, Multicoordinated};
use crate::command::NodeId;
use crate::protocol::Time;
use crate::protocol::quorum::NodeSet;

/// A wait shorter than this may have any cause, in ns.
const WAIT_NS_MIN: u64 = 1_000_000;

/// So many waits are no chance.
const WAITS_MIN: u8 = 4;

/// Names that are waited for and remembered, at most.
const WAITING_MAX: usize = 64;

/// Who sends along what.
#[derive(Clone, Hash, Debug)]
pub(super) struct Relaying {
    /// The first name of each coordinator's value whose command is missing, and since when.
    waiting: Vec<(NodeId, Name, Time)>,
    /// By coordinator and proposer: how often this replica has waited.
    waits: Vec<u8>,
    /// By replica: whose commands it is sent along with 2a messages.
    asked: Vec<NodeSet>,
}

impl Relaying {
    /// Nobody yet.
    pub(super) fn new(size: u8) -> Relaying {
        let size = usize::from(size);
        Relaying {
            waiting: Vec::new(),
            waits: vec![0; size * size],
            asked: vec![NodeSet::NONE; size],
        }
    }
}

impl Multicoordinated {
    /// A coordinator's value goes on with a name whose command is missing.
    pub(super) fn note_waiting(&mut self, coordinator: NodeId, name: Name) {
        let relaying = &mut self.relaying;
        let is_known =
            relaying.waiting.iter().any(|(of, other, _)| (*of, *other) == (coordinator, name));
        let has_itself = coordinator == self.me || coordinator == name.proposer;
        if !is_known && !has_itself && relaying.waiting.len() < WAITING_MAX {
            relaying.waiting.push((coordinator, name, self.now));
        }
    }

    /// The commands of these names have arrived; `directly` from their proposer.
    pub(super) fn note_arrived(&mut self, run: Run, directly: bool, out: &mut Effects<Self>) {
        if self.relaying.waiting.is_empty() {
            return;
        }
        let (now, size) = (self.now, usize::from(self.cluster.size));
        let relaying = &mut self.relaying;
        let mut ask = NodeSet::NONE;
        relaying.waiting.retain(|(coordinator, name, since)| {
            if !run.contains(*name) {
                return true;
            }
            let waits = &mut relaying.waits
                [usize::from(coordinator.0) * size + usize::from(run.proposer.0)];
            if directly && now.0.saturating_sub(since.0) >= WAIT_NS_MIN && *waits < WAITS_MIN {
                *waits += 1;
                if *waits == WAITS_MIN {
                    ask.insert(*coordinator);
                }
            }
            false
        });
        let proposers: NodeSet = [run.proposer].into_iter().collect();
        for coordinator in ask.iter() {
            out.send(coordinator, MulticoordinatedMessage::Relay { proposers });
        }
    }

    pub(super) fn on_relay(&mut self, from: NodeId, proposers: NodeSet) {
        let asked = &mut self.relaying.asked[usize::from(from.0)];
        *asked = asked.or(proposers);
    }

    /// Whose commands a replica is sent along with 2a messages.
    pub(super) fn relays_to(&self, node: NodeId) -> NodeSet {
        self.relaying.asked[usize::from(node.0)]
    }

    /// Sends the commands of these names to those who have asked for them.
    pub(super) fn send_along(&mut self, instance: u64, names: &[Run], out: &mut Effects<Self>) {
        for node in self.cluster.others(self.me) {
            let asked = self.relaying.asked[usize::from(node.0)];
            if asked.is_empty() {
                continue;
            }
            for run in names.iter().filter(|run| asked.contains(run.proposer)) {
                self.send_commands(node, instance, *run, out);
            }
        }
    }

    fn send_commands(&self, to: NodeId, instance: u64, run: Run, out: &mut Effects<Self>) {
        let (mut number, end) = (run.first, run.first + u64::from(run.count));
        while number < end {
            let name = Name { proposer: run.proposer, number };
            let Some(parcel) = self.proposals.find(name) else {
                number += 1;
                continue;
            };
            let (proposer, first, commands) = (run.proposer, parcel.first, parcel.commands.clone());
            out.send(to, MulticoordinatedMessage::Commands { proposer, instance, first, commands });
            number = parcel.end();
        }
    }
}
