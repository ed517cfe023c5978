//! Weak leader election ("Deconstructing Paxos" §3.3, Figs 7 and 28): `leader()` names a process.
//!
//! *Specification:* some correct process is eventually named by every invocation at every correct
//! process. Until then any number of processes may lead: that costs time, never agreement.
//!
//! Ω is built from heartbeats. A process that is silent for longer than its timeout is suspected;
//! one that turns out to be up is granted half as much again. Of the processes not suspected, the
//! leader is the one with the lowest epoch (how often it recovered, Fig. 28), then the one that the
//! experiment prefers, then the lowest number.
//!
//! One rule goes beyond the figure: a process that does not hear a majority says so in its
//! heartbeats and is not elected, as it could not decide anything.

use std::time::Duration;

use crate::command::NodeId;
use crate::mutants::mutant;
use crate::protocol::Time;
use crate::protocol::quorum::majority;

/// The longest that a timeout grows to, as a multiple of the initial one.
const TIMEOUT_GROWTH_MAX: u32 = 16;

/// What is known of one process.
#[derive(Clone, Copy, Hash, Debug)]
struct Peer {
    epoch: u32,
    heard: Time,
    timeout: Duration,
    suspected: bool,
    hears_majority: bool,
}

/// The failure detector's output and the leader that follows from it.
#[derive(Clone, Hash, Debug)]
pub struct Election {
    me: NodeId,
    preferred: NodeId,
    timeout_max: Duration,
    peers: Vec<Peer>,
    leader: NodeId,
}

impl Election {
    /// Trusts everybody at first, so that the preferred process leads from the start.
    pub fn new(me: NodeId, size: u8, preferred: NodeId, epoch: u32, timeout: Duration) -> Self {
        let peer =
            Peer { epoch: 1, heard: Time(0), timeout, suspected: false, hears_majority: true };
        let mut peers = vec![peer; usize::from(size)];
        peers[usize::from(me.0)].epoch = epoch;
        let timeout_max = timeout * TIMEOUT_GROWTH_MAX;
        let mut election = Election { me, preferred, timeout_max, peers, leader: preferred };
        election.elect();
        election
    }

    /// Whom this process takes for the leader.
    pub fn leader(&self) -> NodeId {
        self.leader
    }

    /// Whether a process is suspected to have crashed.
    pub fn suspects(&self, node: NodeId) -> bool {
        self.peers[usize::from(node.0)].suspected
    }

    /// Whether this process hears a majority, itself included.
    pub fn hears_majority(&self) -> bool {
        let up = self.peers.iter().filter(|peer| !peer.suspected).count();
        up >= majority(self.peers.len())
    }

    /// Time starts.
    pub fn start(&mut self, now: Time) {
        for peer in &mut self.peers {
            peer.heard = now;
        }
    }

    /// A heartbeat arrived.
    pub fn on_heartbeat(&mut self, now: Time, from: NodeId, epoch: u32, hears_majority: bool) {
        let timeout_max = self.timeout_max;
        let peer = &mut self.peers[usize::from(from.0)];
        if peer.suspected && !mutant!(SuspectedForGood) {
            peer.suspected = false;
            // A restart explains the silence; anything else was a wrong suspicion.
            if epoch == peer.epoch {
                peer.timeout = (peer.timeout * 3 / 2).min(timeout_max);
            }
        }
        peer.heard = now;
        peer.epoch = peer.epoch.max(epoch);
        peer.hears_majority = hears_majority;
        self.elect();
    }

    /// Suspects who was silent for too long.
    pub fn on_tick(&mut self, now: Time) {
        for (node, peer) in self.peers.iter_mut().enumerate() {
            if node != usize::from(self.me.0) && now.since(peer.heard) > peer.timeout {
                peer.suspected = !mutant!(NobodySuspected);
            }
        }
        let hears_majority = self.hears_majority();
        self.peers[usize::from(self.me.0)].hears_majority = hears_majority;
        self.elect();
    }

    /// Names the first eligible process; keeps the last one when there is none.
    fn elect(&mut self) {
        let size = self.peers.len();
        let rank = |node: usize| (node + size - usize::from(self.preferred.0)) % size;
        let eligible = (0..size).filter(|node| {
            let peer = &self.peers[*node];
            !peer.suspected && (peer.hears_majority || mutant!(MinorityLeads))
        });
        if let Some(first) = eligible.min_by_key(|node| (self.peers[*node].epoch, rank(*node))) {
            self.leader = NodeId(first as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(100);

    fn at(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    fn election(me: u8) -> Election {
        let mut election = Election::new(NodeId(me), 3, NodeId(1), 1, TIMEOUT);
        election.start(at(0));
        election
    }

    #[test]
    fn the_preferred_process_leads_until_it_is_silent_and_again_once_it_is_heard() {
        let mut election = election(0);
        assert_eq!(election.leader(), NodeId(1));
        election.on_heartbeat(at(90), NodeId(2), 1, true);
        election.on_tick(at(101));
        assert_eq!(election.leader(), NodeId(2));
        election.on_heartbeat(at(102), NodeId(1), 1, true);
        assert_eq!(election.leader(), NodeId(1));
    }

    #[test]
    fn a_wrong_suspicion_lengthens_the_timeout_and_a_restart_does_not() {
        let mut election = election(0);
        election.on_tick(at(101));
        election.on_heartbeat(at(110), NodeId(1), 1, true);
        election.on_heartbeat(at(110), NodeId(2), 2, true);
        election.on_tick(at(250));
        assert!(!election.suspects(NodeId(1)) && election.suspects(NodeId(2)));
    }

    #[test]
    fn a_process_that_recovered_gives_way_to_one_that_did_not() {
        let mut election = election(0);
        election.on_heartbeat(at(1), NodeId(1), 2, true);
        assert_eq!(election.leader(), NodeId(2));
    }

    #[test]
    fn a_process_that_hears_no_majority_is_not_elected() {
        let mut election = election(0);
        election.on_heartbeat(at(50), NodeId(1), 1, false);
        election.on_heartbeat(at(50), NodeId(2), 1, true);
        assert_eq!(election.leader(), NodeId(2));
        election.on_tick(at(300));
        assert!(!election.hears_majority());
        assert_eq!(election.leader(), NodeId(2), "nobody is eligible: nothing changes");
    }
}
