//! A run by hand: who asks when, who crashes, which links are cut. For tests that want one certain
//! run, and for the transcripts that people review.
//!
//! Everything takes a constant time, disks none; each site's clients use the replica of its number and
//! ask again only when told to. What is random are the delays that a core leaves open, from the seed.

use std::time::Duration;

use super::Subject;
use super::drive::Ending;
use super::faults::{Cut, Fault, FaultKind, Faults};
use super::network::{Manner, NetworkPlan};
use super::node::DiskPlan;
use super::site::Operations;
use super::trace::Trace;
use super::world::{SiteSetup, World, WorldSetup};
use crate::check::history::OperationRecord;
use crate::check::invariants::Held;
use crate::command::NodeId;
use crate::load::plan::{Arrival, KeyChoice, LoadPlan, OperationMix, Retries};
use crate::protocol::quorum::NodeSet;

const MS: u64 = 1_000_000;

/// A patience that no run lasts for.
const NEVER: Duration = Duration::from_secs(1_000_000);

/// A run under way. It panics as soon as an invariant does not hold.
pub struct Script<P: Subject> {
    world: World<P>,
    operations: Operations,
}

/// An operation of a script.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Its place among all operations of the run.
    index: usize,
}

impl<P: Subject> Script<P> {
    /// `size` replicas, every message taking `one_way_ms`, with one site at each; nothing was asked.
    pub fn new(size: u8, options: P::Options, one_way_ms: u64, seed: u64) -> Self {
        Script::noted((size, 0), options, one_way_ms, seed, (rmw_only(), Trace::Off))
    }

    /// As [`Script::new`], with a transcript.
    pub fn traced(size: u8, options: P::Options, one_way_ms: u64, seed: u64) -> Self {
        Script::traced_mix(size, options, one_way_ms, seed, rmw_only())
    }

    /// As [`Script::traced`], with clients that ask for operations of this mix, drawn from the seed.
    pub fn traced_mix(
        size: u8,
        options: P::Options,
        one_way_ms: u64,
        seed: u64,
        operations: OperationMix,
    ) -> Self {
        Script::noted(
            (size, 0),
            options,
            one_way_ms,
            seed,
            (operations, Trace::Text(String::new())),
        )
    }

    /// As [`Script::traced`], with so many spares, each at a place of its own.
    pub fn traced_with_spares(
        (size, spares): (u8, u8),
        options: P::Options,
        one_way_ms: u64,
        seed: u64,
    ) -> Self {
        let noted = (rmw_only(), Trace::Text(String::new()));
        Script::noted((size, spares), options, one_way_ms, seed, noted)
    }

    fn noted(
        (size, spares): (u8, u8),
        options: P::Options,
        one_way_ms: u64,
        seed: u64,
        (mix, trace): (OperationMix, Trace),
    ) -> Self {
        let places = usize::from(size + spares);
        let apart_ns = |a: usize, b: usize| if a == b { 0 } else { one_way_ms * MS };
        let row = |a: usize| (0..places).map(|b| apart_ns(a, b)).collect();
        let operations = Operations::default();
        let site = |place: usize| {
            let name = format!("s{place}");
            SiteSetup {
                place,
                replicas: vec![NodeId(place as u8)],
                schedule: Box::new(std::iter::empty()),
                history: Some(operations.sink(&name)),
                recorder: None,
                name,
            }
        };
        let world = World::new(WorldSetup {
            seed,
            places: (0..places).collect(),
            spares,
            options,
            network: NetworkPlan {
                one_way_ns: (0..places).map(row).collect(),
                jitter_ns: 0,
                loss: 0.0,
                reorder: 0.0,
                bandwidth_bps: None,
                manner: Manner::Datagrams { duplicates: 0.0, stragglers: 0.0 },
            },
            disk: DiskPlan::Synced { sync_ns: 0..0 },
            load: LoadPlan { operations: mix, ..load(seed) },
            sites: (0..places).map(site).collect(),
            faults: Faults::default(),
            trace,
            checked: true,
        });
        let world = world.expect("the load can be carried out");
        Script { world, operations }
    }

    /// A client of this replica asks for its next operation, now, on the one key that all share: an rmw,
    /// unless the script has another mix, so that all interfere.
    pub fn ask(&mut self, node: u8) -> Asked {
        let index = self.operations.history().operations.len();
        self.world.with_clients(usize::from(node), |clients, now_ns, outputs| {
            clients.arrive(now_ns, now_ns, outputs);
        });
        Asked { index }
    }

    /// The clients of every replica that is up lose their connection and make a new one, now, over
    /// which they send again what was not answered.
    pub fn ask_again(&mut self) {
        for site in 0..self.world.sites.len() {
            let node = NodeId(site as u8);
            if self.world.core(node).is_some() {
                self.world.with_clients(site, |clients, now_ns, outputs| {
                    clients.disconnected(now_ns, node, outputs);
                    clients.connected(now_ns, node, outputs);
                });
            }
        }
    }

    /// Time passes.
    pub fn run_for(&mut self, ms: u64) {
        let end_ns = self.world.now_ns + ms * MS;
        keeps(self.world.run_until(end_ns, |_| false));
    }

    /// When it is.
    pub fn now_ms(&self) -> u64 {
        self.world.now_ns / MS
    }

    /// When an operation was answered; none if it was not.
    pub fn answered_ms(&self, asked: Asked) -> Option<u64> {
        Some(self.operation(asked).response_ns? / MS)
    }

    fn operation(&self, asked: Asked) -> OperationRecord {
        self.operations.history().operations[asked.index].clone()
    }

    /// Whether every operation was answered.
    pub fn all_answered(&self) -> bool {
        let history = self.operations.history();
        history.operations.iter().all(|operation| operation.response_ns.is_some())
    }

    /// Ends a replica. It keeps what was durable.
    pub fn crash(&mut self, node: u8) {
        let ending = Ending { survives: 0.0, down_ns: None };
        keeps(self.world.crash(NodeId(node), ending));
    }

    /// Starts it again; what its clients wait for is sent again.
    pub fn restart(&mut self, node: u8) {
        self.world.start(NodeId(node));
    }

    /// Starts a spare in place of another replica.
    pub fn join(&mut self, joiner: u8, leaver: u8) {
        self.befall(FaultKind::Join { joiner: NodeId(joiner), leaver: NodeId(leaver) }, 0);
    }

    /// An operator asks this replica for these members; those that are spares are started.
    pub fn change_members(&mut self, asked: u8, members: NodeSet) {
        self.befall(FaultKind::Members { asked: NodeId(asked), members }, 0);
    }

    /// Holds up all that happens at a replica, its timers included.
    pub fn pause(&mut self, node: u8, ms: u64) {
        let kind = FaultKind::Pause(NodeId(node));
        self.befall(kind, ms);
    }

    /// Cuts links until [`Script::mend`].
    pub fn cut(&mut self, cut: Cut) {
        self.world.plight.cut_by_hand(cut);
    }

    /// All links carry messages again.
    pub fn mend(&mut self) {
        self.world.plight.mend_by_hand();
    }

    fn befall(&mut self, kind: FaultKind, ms: u64) {
        let fault = Fault { at_ns: self.world.now_ns, lasts_ns: ms * MS, kind };
        keeps(self.world.begin_fault(fault));
    }

    /// What the core of a replica that is up counts.
    pub fn counter(&self, node: u8, name: &str) -> u64 {
        self.world.counter(NodeId(node), name).expect("it is up and counts that")
    }

    /// The core of a replica that is up.
    pub fn core(&self, node: u8) -> &P {
        self.world.core(NodeId(node)).expect("it is up")
    }

    /// How many messages of a kind were sent, since they were last forgotten.
    pub fn sent(&self, kind: &str) -> u64 {
        let sent = self.world.nodes.iter().flat_map(|node| node.counts.sent.by_name());
        sent.filter(|(name, _)| name == kind).map(|(_, traffic)| traffic.messages).sum()
    }

    /// Forgets what was sent so far.
    pub fn forget_sent(&mut self) {
        self.world.forget_counts();
    }

    /// Whether all replicas that are up have the same state.
    pub fn has_converged(&self) -> bool {
        let up = self.world.nodes.iter().filter(|node| node.is_up());
        let mut states = up.map(super::node::Node::standing);
        let first = states.next();
        states.all(|state| Some(state) == first)
    }

    /// What happened, without the lines that contain one of `omitted`.
    pub fn transcript(&self, omitted: &[&str]) -> String {
        let Trace::Text(text) = &self.world.trace else { return String::new() };
        let shown = |line: &&str| !omitted.iter().any(|word| line.contains(word));
        text.lines().filter(shown).flat_map(|line| [line, "\n"]).collect()
    }
}

/// Rmw commands on one key that are never retried.
pub(super) fn load(seed: u64) -> LoadPlan {
    LoadPlan {
        clients_per_site: 1,
        // Operations are asked for by hand.
        arrival: Arrival::Constant { rate_per_s: 1.0 },
        operations: rmw_only(),
        keys: KeyChoice::Uniform { keys: 1 },
        value_bytes: 8,
        warmup: Duration::ZERO,
        measure: Duration::ZERO,
        retry_after: NEVER,
        retries: Retries::default(),
        timeout: NEVER,
        seed,
        record_history: true,
    }
}

fn rmw_only() -> OperationMix {
    OperationMix { rmw: 1.0, ..OperationMix::default() }
}

fn keeps(held: Held) {
    if let Err(violation) = held {
        panic!("{violation}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::paxos::{Paxos, PaxosOptions};

    #[test]
    fn what_is_under_way_over_a_connection_that_is_lost_does_not_arrive() {
        let mut script = Script::<Paxos>::new(3, PaxosOptions::default(), 5, 1);
        script.run_for(3000);
        let asked = script.ask(0);
        script.world.link(0, NodeId(0), false);
        // The next connection is made after 50 ms.
        script.run_for(45);
        assert!(script.world.nodes.iter().all(|node| node.standing().0 == 0));
        script.run_for(1000);
        assert!(script.answered_ms(asked).is_some(), "it is sent again over the next one");
    }
}
