//! What a seed stands for: a cluster, its options, a network, a load, and what befalls them. Plain
//! data, drawn beforehand; the run draws nothing but delays.
//!
//! Seeds differ in what can happen at all (a *swarm*): a run in which everything goes wrong at once
//! rarely gets far enough for the rare mistakes.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use rand::RngExt;

use super::Subject;
use super::faults::{Cut, Fault, FaultClass, FaultKind, Faults};
use super::network::{Manner, NetworkPlan};
use super::node::DiskPlan;
use crate::command::NodeId;
use crate::load::plan::{Arrival, KeyChoice, LoadPlan, OperationMix};
use crate::load::seed::{ClientRng, generator};
use crate::protocol::quorum::{NodeSet, majority};

const MS: u64 = 1_000_000;

/// A scheduled operation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Scheduled {
    /// When, in ns.
    pub at_ns: u64,
    /// At which site.
    pub site: usize,
}

/// What one seed stands for.
#[derive(Debug)]
pub struct Scenario<P: Subject> {
    /// The seed; delays are drawn from it too.
    pub seed: u64,
    /// How many replicas are members at first.
    pub size: u8,
    /// How many may yet join.
    pub spares: u8,
    /// The core's options.
    pub options: P::Options,
    /// The network; place *i* is where replica *i* is.
    pub network: NetworkPlan,
    /// The disks.
    pub disk: DiskPlan,
    /// How many sites; site *i* is at place *i*.
    pub sites: usize,
    /// What the clients do.
    pub load: LoadPlan,
    /// When.
    pub schedule: Vec<Scheduled>,
    /// What befalls the run.
    pub faults: Faults,
    /// When all is mended, in ns.
    pub storm_ns: u64,
}

impl<P: Subject> Clone for Scenario<P> {
    /// By hand: a core itself need not be cloned.
    fn clone(&self) -> Self {
        Scenario {
            options: self.options.clone(),
            network: self.network.clone(),
            disk: self.disk.clone(),
            load: self.load.clone(),
            schedule: self.schedule.clone(),
            faults: self.faults.clone(),
            ..*self
        }
    }
}

impl<P: Subject> Scenario<P> {
    /// The scenario of a seed; nothing befalls it but faults of these classes.
    pub fn draw(seed: u64, allowed: &BTreeSet<FaultClass>) -> Self {
        let rng = &mut generator(seed, 0);
        // From a stream of its own: without spares a seed stands for the same whether there may be any.
        let joining = &mut generator(seed, 1);
        let may_join = allowed.contains(&FaultClass::Joins);
        let spares = if may_join { one_of(joining, P::SPARES) } else { 0 };
        let size = one_of(rng, &P::SIZES);
        let sites = rng.random_range(1..=usize::from(size).min(3));
        let storm_ns = rng.random_range(600..3000) * MS;
        let allowed = || allowed.iter().copied().filter(|class| *class != FaultClass::Joins);
        let classes: Vec<FaultClass> =
            allowed().filter(|_| rng.random_range(0..100) < 55).collect();
        // Few operations leave the moments bare in which nothing new covers up what was missed.
        let operations = one_of(rng, &[3, 10, 40, 100, 200]);
        let operations = rng.random_range(1..=operations);
        let mut schedule: Vec<Scheduled> = (0..operations)
            .map(|_| Scheduled {
                at_ns: rng.random_range(0..storm_ns),
                site: rng.random_range(0..sites),
            })
            .collect();
        schedule.sort_unstable();
        let may = |which| allowed().any(|class| class == which);
        let (disks_fail, cuts_last) = (may(FaultClass::Disks), may(FaultClass::Cuts));
        let joins =
            Joins { spares, disks_fail, cuts_last, by_operator: P::MEMBERS_CHANGE, rng: joining };
        Scenario {
            seed,
            size,
            spares,
            options: P::draw_options(size, rng),
            network: draw_network(size + spares, &classes, rng),
            disk: DiskPlan::Synced { sync_ns: draw_sync_ns(rng) },
            sites,
            load: draw_load::<P>(seed, schedule.len(), rng),
            schedule,
            faults: draw_faults((size, joins), sites, storm_ns, &classes, rng),
            storm_ns,
        }
    }
}

fn one_of<T: Copy>(rng: &mut ClientRng, choices: &[T]) -> T {
    choices[rng.random_range(0..choices.len())]
}

fn draw_sync_ns(rng: &mut ClientRng) -> std::ops::Range<u64> {
    let longest_ms = one_of(rng, &[0, 1, 5, 20]);
    0..longest_ms * MS
}

/// Places a few ms from each other.
fn draw_network(size: u8, classes: &[FaultClass], rng: &mut ClientRng) -> NetworkPlan {
    let far_ns = one_of(rng, &[MS, 10 * MS, 20 * MS]);
    let places = usize::from(size);
    let mut one_way_ns = vec![vec![0; places]; places];
    for (a, b) in (0..places).flat_map(|a| (0..a).map(move |b| (a, b))) {
        let ns = rng.random_range(MS / 10..=far_ns);
        (one_way_ns[a][b], one_way_ns[b][a]) = (ns, ns);
    }
    let has = |class| classes.contains(&class);
    let share =
        |rng: &mut ClientRng, on: bool| if on { one_of(rng, &[0.01, 0.05, 0.15]) } else { 0.0 };
    let manner = Manner::Datagrams {
        duplicates: share(rng, has(FaultClass::Duplicates)),
        stragglers: share(rng, has(FaultClass::Delays)),
    };
    NetworkPlan {
        one_way_ns,
        jitter_ns: rng.random_range(0..=far_ns),
        loss: share(rng, has(FaultClass::Loss)),
        reorder: 0.0,
        bandwidth_bps: None,
        manner,
    }
}

/// Few keys, so that commands interfere; all operations, in shares of which some are none.
fn draw_load<P: Subject>(seed: u64, count: usize, rng: &mut ClientRng) -> LoadPlan {
    // Many that are retried soon could keep a cluster busy that decides one command a round trip.
    let patience_ms: &[u64] = if count > 40 { &[1000] } else { &[100, 300] };
    let mut shares: Vec<u32> = (0..6).map(|_| one_of(rng, &[0, 1, 1, 3])).collect();
    if !P::TRANSFERS {
        shares[5] = 0;
    }
    if shares.iter().all(|share| *share == 0) {
        shares[0] = 1;
    }
    if count > 60 {
        // Many transfers at once are more than the checker can tell.
        shares[5] = 0;
        shares[0] += 1;
    }
    let all: u32 = shares.iter().sum();
    let share = |index: usize| f64::from(shares[index]) / f64::from(all);
    let operations = OperationMix {
        put: share(0),
        get: share(1),
        cas: share(2),
        rmw: share(3),
        delete: share(4),
        transfer: share(5),
        ..OperationMix::default()
    };
    LoadPlan {
        clients_per_site: rng.random_range(1..=4),
        // The schedule is the scenario's own.
        arrival: Arrival::Constant { rate_per_s: 1.0 },
        operations: made_of_what_is_there(operations, count, &mut generator(seed, 2)),
        keys: KeyChoice::Uniform { keys: one_of(rng, &[1, 2, 5]) },
        value_bytes: one_of(rng, &[8, 16, 40]),
        warmup: Duration::ZERO,
        measure: Duration::ZERO,
        retry_after: Duration::from_millis(one_of(rng, patience_ms)),
        retries: P::RETRIES,
        timeout: Duration::from_secs(one_of(rng, &[1, 600, 600, 600])),
        seed,
        record_history: true,
    }
}

/// Operations of a run that adds or appends, at most: of many that nobody answered the checker cannot tell the order.
const MADE_MAX: usize = 24;

/// Now and then registers hold numbers or lists, and what would write a value whole adds or appends. From a stream
/// of its own, as spares are.
fn made_of_what_is_there(mix: OperationMix, count: usize, rng: &mut ClientRng) -> OperationMix {
    let OperationMix { put, cas, rmw, .. } = mix;
    let made = put + cas + rmw;
    let whole = OperationMix { put: 0.0, cas: 0.0, rmw: 0.0, ..mix };
    match rng.random_range(0..20) {
        _ if count > MADE_MAX => mix,
        0 => OperationMix { add: made, ..whole },
        1 => OperationMix { append: made, ..whole },
        _ => mix,
    }
}

/// Draws faults one by one.
struct Drawing<'a> {
    /// Members and spares.
    size: u8,
    sites: usize,
    storm_ns: u64,
    /// Disks that may still be lost: a majority must survive.
    losable: usize,
    rng: &'a mut ClientRng,
    list: Vec<Fault>,
}

/// The spares, and what their part of a scenario is drawn from.
struct Joins<'a> {
    spares: u8,
    /// Whether disks may be lost.
    disks_fail: bool,
    /// Whether somebody may stay apart in the end.
    cuts_last: bool,
    /// Whether an operator may ask for any members.
    by_operator: bool,
    rng: &'a mut ClientRng,
}

fn draw_faults(
    (members, joins): (u8, Joins<'_>),
    sites: usize,
    storm_ns: u64,
    classes: &[FaultClass],
    rng: &mut ClientRng,
) -> Faults {
    let losable = usize::from(members) - majority(usize::from(members));
    let size = members + joins.spares;
    let mut drawing = Drawing { size, sites, storm_ns, losable, rng, list: Vec::new() };
    for class in classes {
        let faults = one_of(drawing.rng, &[2, 4, 12]);
        for _ in 0..drawing.rng.random_range(1..=faults) {
            drawing.draw(*class);
        }
    }
    let deaf = drawing.joins(members, joins);
    let lasting = deaf.or(drawing.lasting(classes));
    let list = drawing.list;
    Faults { list, clocks_differ: classes.contains(&FaultClass::Clocks), lasting }
}

impl Drawing<'_> {
    fn node(&mut self) -> NodeId {
        NodeId(self.rng.random_range(0..self.size))
    }

    fn two_nodes(&mut self) -> (NodeId, NodeId) {
        let a = self.node();
        let others = self.size.max(2) - 1;
        let b = (a.0 + self.rng.random_range(1..=others)) % self.size;
        (a, NodeId(b))
    }

    /// One replica stays apart, if so many may be missing.
    fn lasting(&mut self, classes: &[FaultClass]) -> Option<Cut> {
        if self.losable == 0 || !classes.contains(&FaultClass::Cuts) || self.rng.random() {
            return None;
        }
        let node = self.node();
        Some(one_of(self.rng, &[Cut::Mute(node), Cut::Deaf(node), Cut::Alone(node)]))
    }

    fn draw(&mut self, class: FaultClass) {
        let kind = match class {
            FaultClass::Loss => self.weather(0.5, 0.0, 0.0),
            FaultClass::Duplicates => self.weather(0.0, 0.5, 0.0),
            FaultClass::Delays => self.weather(0.0, 0.0, 0.5),
            FaultClass::Cuts => FaultKind::Cut(self.cut()),
            FaultClass::Crashes => FaultKind::Crash {
                node: self.node(),
                at_a_write: self.rng.random(),
                survives: self.rng.random(),
            },
            FaultClass::Pauses if self.rng.random() => FaultKind::Pause(self.node()),
            FaultClass::Pauses => FaultKind::Slow(self.node(), self.rng.random_range(1..30) * MS),
            FaultClass::Disks => self.disk(),
            FaultClass::Clocks => self.clock(),
            FaultClass::Joins => return,
        };
        let at_ns = self.rng.random_range(0..self.storm_ns);
        // From a message's time to several times what it takes to elect another leader.
        let lasts_ns = one_of(self.rng, &[30, 300, 1500]) * MS;
        let lasts_ns = self.rng.random_range(MS..lasts_ns);
        self.list.push(Fault { at_ns, lasts_ns, kind });
        if class == FaultClass::Crashes && self.rng.random_range(0..12) == 0 {
            self.outage(at_ns, lasts_ns);
        }
    }

    /// Each spare is started in place of a replica that has lost its disk, or of one that is well, which may be
    /// an earlier spare; perhaps of the same as the one before. How many disks may be lost by then is seen when
    /// it is time. One that joins last may never hear anybody again.
    fn joins(&mut self, members: u8, joins: Joins<'_>) -> Option<Cut> {
        let Joins { spares, disks_fail, cuts_last, by_operator, rng } = joins;
        if by_operator && spares > 0 && rng.random() {
            self.changes(rng);
            return None;
        }
        let mut earlier = None;
        for joiner in (members..members + spares).map(NodeId) {
            let (mut leaver, mut at_ns) = self.draw_leaver(joiner, disks_fail, rng);
            let again = earlier.filter(|_| rng.random_range(0..10) < 3);
            if let Some(earlier) = again.filter(|earlier| *earlier != joiner) {
                (leaver, at_ns) = (earlier, rng.random_range(0..self.storm_ns));
            }
            earlier = Some(leaver);
            let at_ns = at_ns.min(self.storm_ns - 1);
            self.list.push(Fault { at_ns, lasts_ns: 0, kind: FaultKind::Join { joiner, leaver } });
            self.befall_joiner(joiner, at_ns, disks_fail, rng);
        }
        let last = self.list.iter_mut().rfind(|f| matches!(f.kind, FaultKind::Join { .. }))?;
        let FaultKind::Join { joiner, .. } = last.kind else { return None };
        // Where a member that answered is counted on, it may not go deaf for good: as if its disk were lost.
        let deaf = cuts_last && rng.random_range(0..10) == 0 && !by_operator;
        deaf.then(|| {
            last.at_ns = self.storm_ns - rng.random_range(MS..100 * MS);
            Cut::Deaf(joiner)
        })
    }

    /// An operator asks for other members, perhaps before the last change is done.
    fn changes(&mut self, rng: &mut ClientRng) {
        for _ in 0..rng.random_range(1..=4) {
            let members: NodeSet = (0..self.size).map(NodeId).filter(|_| rng.random()).collect();
            let asked = NodeId(rng.random_range(0..self.size));
            let at_ns = rng.random_range(0..self.storm_ns);
            let kind = FaultKind::Members { asked, members };
            self.list.push(Fault { at_ns, lasts_ns: 0, kind });
        }
    }

    /// Whom a spare replaces, and when.
    fn draw_leaver(
        &mut self,
        joiner: NodeId,
        disks_fail: bool,
        rng: &mut ClientRng,
    ) -> (NodeId, u64) {
        let at_ns = rng.random_range(0..self.storm_ns);
        let leaver = NodeId(rng.random_range(0..joiner.0));
        if disks_fail && rng.random_range(0..10) < 5 {
            self.list.push(Fault { at_ns, lasts_ns: 0, kind: FaultKind::LostDisk(leaver) });
        }
        let lost = self.list.iter().copied().filter(|f| f.loses().is_some_and(|it| it != joiner));
        let lost: Vec<Fault> = lost.collect();
        if lost.is_empty() || rng.random_range(0..10) < 3 {
            return (leaver, at_ns);
        }
        let fault = one_of(rng, &lost);
        (fault.loses().unwrap_or(leaver), fault.at_ns + rng.random_range(0..500 * MS))
    }

    /// Who joins may crash meanwhile, or be lost.
    fn befall_joiner(&mut self, node: NodeId, at_ns: u64, disks_fail: bool, rng: &mut ClientRng) {
        let at_ns = at_ns + rng.random_range(0..300 * MS);
        let (lasts_ns, kind) = match rng.random_range(0..10) {
            0..3 => {
                let (at_a_write, survives) = (rng.random(), rng.random());
                let lasts_ns = rng.random_range(MS..500 * MS);
                (lasts_ns, FaultKind::Crash { node, at_a_write, survives })
            }
            3 if disks_fail => (0, FaultKind::LostDisk(node)),
            _ => return,
        };
        self.list.push(Fault { at_ns, lasts_ns, kind });
    }

    /// The power fails: all processes end at once.
    fn outage(&mut self, at_ns: u64, lasts_ns: u64) {
        for node in (0..self.size).map(NodeId) {
            let kind = FaultKind::Crash { node, at_a_write: false, survives: self.rng.random() };
            self.list.push(Fault { at_ns, lasts_ns, kind });
        }
    }

    fn weather(&mut self, loss: f64, duplicates: f64, stragglers: f64) -> FaultKind {
        let part: f64 = self.rng.random();
        FaultKind::Weather {
            loss: loss * part,
            duplicates: duplicates * part,
            stragglers: stragglers * part,
        }
    }

    fn cut(&mut self) -> Cut {
        let (a, b) = self.two_nodes();
        let middle = NodeId(self.rng.random_range(1..=(self.size / 2).max(1)));
        match self.rng.random_range(0..8) {
            0 => Cut::OneWay(a, b),
            1 => Cut::Mute(a),
            2 => Cut::Deaf(a),
            3 => Cut::Alone(a),
            4 => Cut::Split(middle),
            5 => Cut::Bridge(NodeId(self.size / 2)),
            6 => Cut::Ring,
            _ => Cut::Client(self.rng.random_range(0..self.sites), a),
        }
    }

    fn disk(&mut self) -> FaultKind {
        let node = self.node();
        match self.rng.random_range(0..6) {
            0 if self.losable > 0 => {
                self.losable -= 1;
                FaultKind::LostDisk(node)
            }
            1 if self.losable > 0 => {
                self.losable -= 1;
                FaultKind::CorruptDisk(node)
            }
            2 | 3 => FaultKind::FullDisk(node),
            _ => FaultKind::SlowDisk(node, self.rng.random_range(10..300) * MS),
        }
    }

    fn clock(&mut self) -> FaultKind {
        let node = self.node();
        if self.rng.random() {
            let by_ms = self.rng.random_range(10..2000);
            return FaultKind::Jump(node, Duration::from_millis(by_ms));
        }
        FaultKind::Drift(node, self.rng.random_range(-500_000..=1_000_000))
    }
}

impl<P: Subject> fmt::Display for Scenario<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} replicas, ", self.size)?;
        if self.spares > 0 {
            write!(f, "{} that may join, ", self.spares)?;
        }
        writeln!(f, "{} sites, {:?}", self.sites, self.options)?;
        let network = &self.network;
        writeln!(
            f,
            "network: jitter {} µs, loss {}, {:?}",
            network.jitter_ns / 1000,
            network.loss,
            network.manner
        )?;
        writeln!(f, "disk: {:?}", self.disk)?;
        writeln!(
            f,
            "load: {} operations by {} clients a site on {:?}, all mended at {} ms",
            self.schedule.len(),
            self.load.clients_per_site,
            self.load.keys,
            self.storm_ns / MS
        )?;
        if let Some(cut) = self.faults.lasting {
            writeln!(f, "never mended: {cut:?}")?;
        }
        for fault in &self.faults.list {
            writeln!(f, "fault {fault}")?;
        }
        Ok(())
    }
}
