//! One run of an experiment in virtual time: what the network alone makes of it.
//!
//! *Predicted:* the delays, jitter, loss and rate of the network, and what the protocol and the
//! clients make of them. A lost packet of a stream costs a round trip and holds up its lane
//! (`network`). *Not predicted:* the time that processors, queues of the kernel and disks take. So a
//! prediction is a bound from below, and the difference to a measurement is the cost of the machine.
//!
//! *Where it is kinder than the shaper* ([`crate::net`]), which sees datagrams and not messages:
//! headers and QUIC's acknowledgements take no part of the rate; each pair of hosts has a rate of its
//! own, where the shaper gives one to all that a process sends to a site; what waits for the rate is
//! never dropped, so that congestion control has nothing to do; and a loss is noticed as soon as later
//! packets may show it, also when there are none. Where it is harsher: messages that would share a
//! datagram are lost, and delayed, each for itself; and a state that is transferred keeps its place in
//! lane 0, where replicas give it a stream of its own.

use std::time::Duration;

use super::Subject;
use super::faults::Faults;
use super::network::NetworkPlan;
use super::node::DiskPlan;
use super::trace::Trace;
use super::world::{SiteSetup, World, WorldSetup};
use crate::check::invariants::Violation;
use crate::command::NodeId;
use crate::load::arrival::Schedule;
use crate::load::client::Clients;
use crate::load::history::HistorySink;
use crate::load::plan::LoadPlan;
use crate::load::recorder::{Phases, Recorder};
use crate::load::report::SiteReport;
use crate::load::workload::BadPlan;
use crate::results::ReplicaCounters;

/// The replicas have found each other and a leader before the load begins.
const SETTLE_NS: u64 = 5_000_000_000;

/// How long replicas may take to reach the same state after the load, in virtual time.
const CONVERGE_NS: u64 = 20_000_000_000;

/// A site whose latencies are predicted. Its place in the list is its place in the network, where
/// the replica of the same number is too.
pub struct PredictedSite {
    /// Its name, and that of its replica.
    pub name: String,
    /// The replicas, nearest first.
    pub replicas: Vec<NodeId>,
    /// Where its history goes; none if it is not recorded.
    pub history: Option<Box<dyn HistorySink>>,
}

/// What is to be predicted.
pub struct Plan<P: Subject> {
    /// What random choices start from.
    pub seed: u64,
    /// The core's options.
    pub options: P::Options,
    /// The network.
    pub network: NetworkPlan,
    /// What the clients do.
    pub load: LoadPlan,
    /// The sites.
    pub sites: Vec<PredictedSite>,
}

/// A prediction.
#[derive(Debug)]
pub struct Predicted {
    /// What each site's clients saw.
    pub reports: Vec<SiteReport>,
    /// What each replica counted in the measured phase.
    pub replicas: Vec<ReplicaCounters>,
    /// Whether all replicas reached the same state.
    pub converged: bool,
}

/// Why there is no prediction.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// The load cannot be carried out.
    #[error(transparent)]
    Plan(#[from] BadPlan),
    /// A history could not be written.
    #[error("history: cannot write: {0}; is the disk full?")]
    History(#[from] std::io::Error),
    /// The replicas did what they must not.
    #[error("{0}")]
    Violated(Violation),
}

impl From<Violation> for PredictError {
    fn from(violation: Violation) -> Self {
        PredictError::Violated(violation)
    }
}

/// Plays a run.
pub fn predict<P: Subject>(plan: Plan<P>) -> Result<Predicted, PredictError> {
    let load = plan.load.clone();
    let names: Vec<String> = plan.sites.iter().map(|site| site.name.clone()).collect();
    let phases = phases(&load);
    let mut world = build(plan, phases)?;
    world.run_until(phases.start_ns, |_| false)?;
    world.begin();
    world.run_until(phases.measure_ns, |_| false)?;
    // What is counted from now on is the cost of the measured phase.
    world.forget_counts();
    world.run_until(phases.end_ns, |_| false)?;
    let mut replicas: Vec<_> =
        names.iter().zip(0..).map(|(name, node)| world.report(NodeId(node), name)).collect();
    world.drain(phases.end_ns + load.timeout.as_nanos() as u64)?;
    let reports = world.take_reports(&names, load.measure)?;
    let converge_ns = world.now_ns + CONVERGE_NS;
    world.run_until(converge_ns, World::has_converged)?;
    for (counters, node) in replicas.iter_mut().zip(&world.nodes) {
        let (applied, digest) = node.standing();
        counters.final_applied = Some(applied);
        counters.final_digest = Some(format!("{digest:016x}"));
    }
    Ok(Predicted { reports, replicas, converged: world.has_converged() })
}

fn phases(load: &LoadPlan) -> Phases {
    let measure_ns = SETTLE_NS + load.warmup.as_nanos() as u64;
    let end_ns = measure_ns + load.measure.as_nanos() as u64;
    Phases { start_ns: SETTLE_NS, measure_ns, end_ns }
}

fn build<P: Subject>(plan: Plan<P>, phases: Phases) -> Result<World<P>, BadPlan> {
    let load = &plan.load;
    let site = |(place, site): (usize, PredictedSite)| {
        let (start_ns, end_ns) = (phases.start_ns, phases.end_ns);
        let mut due = Schedule::new(load.arrival, load.seed, &site.name, start_ns, end_ns);
        SiteSetup {
            place,
            schedule: Box::new(std::iter::from_fn(move || due.take_due(u64::MAX))),
            recorder: Some(Recorder::new(phases)),
            name: site.name,
            replicas: site.replicas,
            history: site.history,
        }
    };
    let places = (0..plan.sites.len()).collect();
    let sites = plan.sites.into_iter().enumerate().map(site).collect();
    World::new(WorldSetup {
        seed: plan.seed,
        places,
        spares: 0,
        options: plan.options,
        network: plan.network,
        disk: DiskPlan::Memory,
        load: plan.load.clone(),
        sites,
        faults: Faults::default(),
        trace: Trace::Off,
        checked: false,
    })
}

impl<P: Subject> World<P> {
    /// What a replica has counted since the measured phase began.
    fn report(&self, node: NodeId, name: &str) -> ReplicaCounters {
        let slot = &self.nodes[usize::from(node.0)];
        let counts = &slot.counts;
        let core = slot.core.iter().flat_map(P::counters).map(|(key, n)| (key.to_owned(), n));
        let mut core: std::collections::BTreeMap<String, u64> = core.collect();
        core.insert("log_records".to_owned(), counts.writes);
        ReplicaCounters {
            node: name.to_owned(),
            sent: counts.sent.by_name().collect(),
            received: counts.received.by_name().collect(),
            frames_sent: counts.sent.total_messages(),
            frames_received: counts.received.total_messages(),
            turns: counts.turns,
            batches: counts.batches,
            syncs: counts.syncs,
            decisions: counts.decided,
            executed: slot.standing().0,
            core,
            ..ReplicaCounters::default()
        }
    }

    /// Starts no further operation, and waits for those under way, until `give_up_ns`.
    fn drain(&mut self, give_up_ns: u64) -> Result<(), Violation> {
        for site in &mut self.sites {
            site.clients.stop_issuing();
        }
        let idle = |world: &Self| world.sites.iter().all(|site| site.clients.pending() == 0);
        if !idle(self) {
            self.run_until(give_up_ns, idle)?;
        }
        for site in 0..self.sites.len() {
            self.with_clients(site, Clients::finish);
        }
        Ok(())
    }

    fn take_reports(
        &mut self,
        names: &[String],
        measure: Duration,
    ) -> Result<Vec<SiteReport>, std::io::Error> {
        let report = |(site, name): (&mut super::site::Site, &String)| {
            let outputs = &mut site.outputs;
            outputs.history.take().map_or(Ok(()), HistorySink::finish)?;
            if let Some(error) = outputs.history_error.take() {
                return Err(error);
            }
            let record = outputs.recorder.take().expect("each site has one").finish();
            Ok(SiteReport::of(name, measure, record, site.clients.counters()))
        };
        self.sites.iter_mut().zip(names).map(report).collect()
    }
}
