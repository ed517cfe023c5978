//! Many seeds: each is run to its end, and judged.
//!
//! A run has two phases. In the *storm* faults befall it; whatever happens, no invariant may be
//! violated. Then all is mended, and the run must become *live*: every command of every client is
//! answered, and all replicas that can still take part reach the same state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::Subject;
use super::caught::caught;
use super::faults::FaultClass;
use super::node::{DiskPlan, Node};
use super::scenario::Scenario;
use super::site::{Operations, Site};
use super::trace::{Digest, Trace};
use super::world::{SiteSetup, World, WorldSetup};
use crate::check::invariants::{Held, Invariants, Violation, hold};
use crate::check::{self, Limits, Verdict};
use crate::command::NodeId;
use crate::load::plan::Retries;

/// How long a run may take to become live after all is mended, in ns. Clients wait up to 32 times
/// their patience between retries, and one command a round trip may be all that the options allow.
const LIVE_WITHIN_NS: u64 = 300_000_000_000;

/// Events between two looks whether a run is live.
const EVENTS_A_LOOK: u64 = 64;

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Runs.
    pub runs: u64,
    /// Events handled.
    pub events: u64,
    /// Simulated time, in ns.
    pub simulated_ns: u64,
    /// Operations that clients asked for.
    pub operations: u64,
    /// Faults that began.
    pub faults: u64,
    /// What happened how often, as the cores count it, by name, summed over runs; of the last life of
    /// each replica. [`crate::protocol::Protocol::GAUGES`] are no such counts.
    pub reached: BTreeMap<&'static str, u64>,
}

impl Stats {
    /// Adds another run's, or many's.
    pub fn add(&mut self, other: &Stats) {
        self.runs += other.runs;
        self.events += other.events;
        self.simulated_ns += other.simulated_ns;
        self.operations += other.operations;
        self.faults += other.faults;
        for (name, count) in &other.reached {
            *self.reached.entry(name).or_default() += count;
        }
    }
}

/// A run from its start to its verdict.
#[derive(Debug)]
pub struct Judged {
    /// What happened, as asked for.
    pub trace: Trace,
    /// What it did, as far as it got.
    pub stats: Stats,
    /// What is wrong.
    pub verdict: Held,
}

/// A seed that fails.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which.
    pub seed: u64,
    /// Why.
    pub violation: Violation,
}

/// Runs a scenario and judges it. A core that panics has failed.
pub fn judge<P: Subject>(scenario: &Scenario<P>, trace: Trace) -> Judged {
    let (mut world, operations) = build(scenario, trace);
    let verdict = caught(|| conduct(scenario, &mut world, &operations));
    Judged { stats: stats(scenario, &world), trace: std::mem::take(&mut world.trace), verdict }
}

fn build<P: Subject>(scenario: &Scenario<P>, trace: Trace) -> (World<P>, Operations) {
    let (operations, size) = (Operations::default(), scenario.size + scenario.spares);
    let sites = (0..scenario.sites).map(|site| {
        let due: Vec<u64> =
            scenario.schedule.iter().filter(|s| s.site == site).map(|s| s.at_ns).collect();
        let name = format!("s{site}");
        SiteSetup {
            history: Some(operations.sink(&name)),
            name,
            place: site,
            replicas: (0..size).map(|i| NodeId((site as u8 + i) % size)).collect(),
            schedule: Box::new(due.into_iter()),
            recorder: None,
        }
    });
    let setup = WorldSetup {
        seed: scenario.seed,
        places: (0..usize::from(size)).collect(),
        spares: scenario.spares,
        options: scenario.options.clone(),
        network: scenario.network.clone(),
        disk: scenario.disk.clone(),
        load: scenario.load.clone(),
        sites: sites.collect(),
        faults: scenario.faults.clone(),
        trace,
        checked: true,
    };
    (World::new(setup).expect("scenarios have loads that can be carried out"), operations)
}

fn conduct<P: Subject>(
    scenario: &Scenario<P>,
    world: &mut World<P>,
    operations: &Operations,
) -> Held {
    world.begin();
    world.run_until(scenario.storm_ns, |_| false)?;
    world.heal();
    world.run_until(scenario.storm_ns + LIVE_WITHIN_NS, |world| {
        world.events.is_multiple_of(EVENTS_A_LOOK) && lacks(world).is_none()
    })?;
    liveness(world)?;
    durability(world)?;
    linearizability(operations)
}

/// What is left to do before a run is live.
fn lacks<P: Subject>(world: &World<P>) -> Option<String> {
    // Where commands stay with a replica, those of one that stays apart have no answer.
    let hopeless = world.plight.apart().filter(|_| P::RETRIES == Retries::SameReplica);
    let unanswered = |site: &Site| match hopeless {
        None => site.clients.unanswered(),
        Some(apart) => site.clients.unanswered() - site.clients.unanswered_by(apart),
    };
    let unanswered: u64 = world.sites.iter().map(unanswered).sum();
    if unanswered > 0 {
        return Some(format!("{unanswered} commands are not answered"));
    }
    if !world.has_converged() {
        let state = |node: &Node<P>| (node.me, node.standing());
        let states: Vec<_> = world.reachable().map(state).collect();
        return Some(format!("replicas differ: (which, (holds, digest)) {states:?}"));
    }
    world.lasting().find_map(|node| {
        let Some(core) = &node.core else { return Some(format!("{} is not up", node.me)) };
        if !node.arrivals.is_empty() {
            // Perhaps its start: its state is empty until it has executed what its log holds.
            return Some(format!("{} has not taken its turn", node.me));
        }
        world.invariants.owes(node.me, core)
    })
}

/// Termination: once messages arrive and processes stay up, every command is answered and every
/// replica gets to know it ("Deconstructing Paxos" §3.4, *termination* and *agreement*).
fn liveness<P: Subject>(world: &World<P>) -> Held {
    let lacks = lacks(world);
    hold(lacks.is_none(), "liveness", || {
        let after_s = LIVE_WITHIN_NS / 1_000_000_000;
        format!("{after_s} s after all was mended, {}", lacks.unwrap_or_default())
    })
}

fn durability<P: Subject>(world: &World<P>) -> Held {
    world.reachable().try_for_each(|node| {
        let Some(core) = &node.core else { return Ok(()) };
        world.invariants.at_the_end(node.me, core)?;
        match core.replicated() {
            // What it holds is its own invariants' to judge.
            Some(_) => Ok(()),
            None => world.executions.at_the_end(node.me, &node.state.applied),
        }
    })
}

/// The clients' history has one order in which every answer is right.
fn linearizability(operations: &Operations) -> Held {
    let limits = Limits { memory_bytes: 256 << 20, time: Duration::from_secs(600), threads: 1 };
    let verdict = check::check(&operations.history(), &limits);
    hold(verdict == Verdict::Valid, "linearizability", || match verdict {
        Verdict::Valid => String::new(),
        Verdict::Invalid(violation) => violation.to_string(),
        Verdict::Unknown(why) => format!("unknown: {why}"),
    })
}

fn stats<P: Subject>(scenario: &Scenario<P>, world: &World<P>) -> Stats {
    let mut reached = BTreeMap::new();
    for core in world.nodes.iter().filter_map(|node| node.core.as_ref()) {
        let counters = core.counters().into_iter();
        for (name, count) in counters.filter(|(name, _)| !P::GAUGES.contains(name)) {
            *reached.entry(name).or_default() += count;
        }
    }
    Stats {
        runs: 1,
        events: world.events,
        simulated_ns: world.now_ns,
        operations: scenario.schedule.len() as u64,
        faults: scenario.faults.list.len() as u64,
        reached,
    }
}

/// What an exploration is to do.
#[derive(Clone, Debug)]
pub struct Exploration {
    /// Which seeds.
    pub seeds: std::ops::Range<u64>,
    /// What may befall a run.
    pub faults: BTreeSet<FaultClass>,
    /// Threads that run seeds.
    pub threads: usize,
    /// Whether each seed is run twice and must do the same, byte for byte.
    pub twice: bool,
    /// Failures kept; the others are only counted.
    pub keep: usize,
    /// Stops at the first failure.
    pub stop_at_first: bool,
}

/// What an exploration found.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// What the runs did.
    pub stats: Stats,
    /// How many failed.
    pub failed: u64,
    /// The failures with the lowest seeds, in their order.
    pub failures: Vec<Failure>,
}

/// Runs all seeds; `progress` hears of each, in any order, and says whether to go on.
pub fn explore<P: Subject>(
    exploration: &Exploration,
    mut progress: impl FnMut(&Explored) -> bool,
) -> Explored {
    let next = AtomicU64::new(exploration.seeds.start);
    let (sender, results) = mpsc::sync_channel(64);
    let mut explored = Explored::default();
    std::thread::scope(|scope| {
        for _ in 0..exploration.threads.max(1) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let inside = exploration.seeds.contains(&seed);
                    if !inside || sender.send((seed, one::<P>(exploration, seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        // Dropped when somebody wants no more: then the threads end.
        for (seed, judged) in results {
            explored.take(exploration, seed, judged);
            let enough = exploration.stop_at_first && explored.failed > 0;
            if !progress(&explored) || enough {
                return;
            }
        }
    });
    explored
}

impl Explored {
    fn take(&mut self, exploration: &Exploration, seed: u64, judged: Judged) {
        self.stats.add(&judged.stats);
        let Err(violation) = judged.verdict else { return };
        self.failed += 1;
        self.failures.push(Failure { seed, violation });
        self.failures.sort_by_key(|failure| failure.seed);
        self.failures.truncate(exploration.keep);
    }
}

fn one<P: Subject>(exploration: &Exploration, seed: u64) -> Judged {
    let scenario = Scenario::<P>::draw(seed, &exploration.faults);
    if !exploration.twice {
        return judge(&scenario, Trace::Off);
    }
    let digest = || Trace::Digest(Digest::default());
    let (first, mut second) = (judge(&scenario, digest()), judge(&scenario, digest()));
    if let (Trace::Digest(a), Trace::Digest(b)) = (&first.trace, &second.trace) {
        let ends = [&first.verdict, &second.verdict];
        let same = hold(a == b && ends[0] == ends[1], "determinism", || {
            format!("two runs of the seed: {a} and {b}, {ends:?}")
        });
        second.verdict = second.verdict.and(same);
    }
    second
}

/// The seeds that it takes until the checks see that disks lie; none if they do not see it within
/// `seeds`. It proves in every exploration that the alarm rings.
pub fn canary<P: Subject>(seeds: u64) -> Option<u64> {
    let classes = BTreeSet::from([FaultClass::Crashes, FaultClass::Loss]);
    (0..seeds).find(|seed| {
        let mut scenario = Scenario::<P>::draw(*seed, &classes);
        scenario.disk = DiskPlan::Lying;
        judge(&scenario, Trace::Off).verdict.is_err()
    })
}
