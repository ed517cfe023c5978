//! What may befall a run: each fault begins, lasts, and is over; [`World::heal`] ends them all.
//!
//! A fault is plain data, drawn beforehand, so that a failure can be looked for without it
//! ([`super::shrink`]).

use std::fmt;
use std::time::Duration;

use rand::RngExt;

use super::Subject;
use super::clock::Clock;
use super::drive::Ending;
use super::network::{Manner, NetworkPlan};
use super::node::Arrival;
use super::trace::At;
use super::world::{Event, World};
use crate::check::invariants::{Held, Invariants};
use crate::command::NodeId;
use crate::load::seed::ClientRng;
use crate::protocol::Cluster;
use crate::protocol::quorum::{NodeSet, majority};

/// Kinds of faults, by the names of `--faults`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, clap::ValueEnum)]
pub enum FaultClass {
    /// Messages are lost.
    Loss,
    /// Messages arrive twice.
    Duplicates,
    /// Messages are late and overtake each other.
    Delays,
    /// Links are cut: one way, around one replica, between two sides, but for a bridge, but for a
    /// ring of majorities, between a client and a replica.
    Cuts,
    /// Processes end, at any time or just when they write, and come back with what was durable.
    Crashes,
    /// Processes stand still for a while, or take long over everything.
    Pauses,
    /// Disks are slow, full, lose a record, or all of them.
    Disks,
    /// Clocks differ, drift and jump.
    Clocks,
    /// Replicas that are new are started in place of others, be those up or not. Only where a protocol has
    /// room for that.
    Joins,
}

/// Which links do not carry anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// From one replica to another; the other way works.
    OneWay(NodeId, NodeId),
    /// One replica is heard by nobody.
    Mute(NodeId),
    /// One replica hears nobody.
    Deaf(NodeId),
    /// One replica is alone.
    Alone(NodeId),
    /// The replicas below this one are apart from the others.
    Split(NodeId),
    /// As a split, but this one speaks with both sides.
    Bridge(NodeId),
    /// Each replica speaks only with its neighbours in a ring: just so many that they are a majority
    /// with it, and each majority is another one.
    Ring,
    /// A site's clients and a replica do not reach each other.
    Client(usize, NodeId),
}

/// One fault.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum FaultKind {
    /// Links are cut.
    Cut(Cut),
    /// The network is worse than usual: shares of messages lost, doubled and late.
    Weather {
        /// Lost.
        loss: f64,
        /// Doubled.
        duplicates: f64,
        /// Late.
        stragglers: f64,
    },
    /// A process ends, and starts again when the fault is over.
    Crash {
        /// Which.
        node: NodeId,
        /// Whether it waits for a record to be written first.
        at_a_write: bool,
        /// The share of the writes under way that get to the disk.
        survives: f64,
    },
    /// A process stands still.
    Pause(NodeId),
    /// Each turn of a process takes so long, in ns.
    Slow(NodeId, u64),
    /// Each sync of a disk takes so long, in ns.
    SlowDisk(NodeId, u64),
    /// A disk is full: its process ends at the next write, and starts again when there is room.
    FullDisk(NodeId),
    /// A record in the middle of the log is broken. The process ends, and cannot start again.
    CorruptDisk(NodeId),
    /// A process ends, and its disk is gone for good.
    LostDisk(NodeId),
    /// A clock jumps ahead.
    Jump(NodeId, Duration),
    /// A clock runs too fast by so many millionths, or too slow.
    Drift(NodeId, i64),
    /// A spare is started in place of another replica, which may be up.
    Join {
        /// Who joins.
        joiner: NodeId,
        /// Who is to leave.
        leaver: NodeId,
    },
    /// An operator asks a replica for these members, as far as their disks are there.
    Members {
        /// Whom the operator asks.
        asked: NodeId,
        /// Whom it wants.
        members: NodeSet,
    },
}

/// A fault and its time, in ns.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Fault {
    /// When it begins.
    pub at_ns: u64,
    /// How long it lasts.
    pub lasts_ns: u64,
    /// What it is.
    pub kind: FaultKind,
}

/// All that befalls a run.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Faults {
    /// In any order.
    pub list: Vec<Fault>,
    /// Whether each clock starts at a reading of its own.
    pub clocks_differ: bool,
    /// What is never mended: one replica stays apart, and the others must do without it.
    pub lasting: Option<Cut>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |ns: u64| ns / 1_000_000;
        write!(f, "at {} ms for {} ms: {:?}", ms(self.at_ns), ms(self.lasts_ns), self.kind)
    }
}

impl Fault {
    /// Whose disk it takes for good.
    pub(super) fn loses(&self) -> Option<NodeId> {
        match self.kind {
            FaultKind::LostDisk(node) | FaultKind::CorruptDisk(node) => Some(node),
            _ => None,
        }
    }
}

impl Cut {
    fn cuts(self, from: NodeId, to: NodeId, size: u8) -> bool {
        let (a, b) = (from.0, to.0);
        match self {
            Cut::OneWay(x, y) => from == x && to == y,
            Cut::Mute(x) => from == x,
            Cut::Deaf(x) => to == x,
            Cut::Alone(x) => from == x || to == x,
            Cut::Split(x) => (a < x.0) != (b < x.0),
            Cut::Bridge(x) => from != x && to != x && (a < x.0) != (b < x.0),
            Cut::Ring => {
                let apart = a.abs_diff(b).min(size - a.abs_diff(b));
                usize::from(apart) > majority(usize::from(size)) / 2
            }
            Cut::Client(..) => false,
        }
    }
}

/// The faults of a run, and those that are under way.
#[derive(Debug)]
pub(super) struct Plight {
    cluster: Cluster,
    faults: Faults,
    active: Vec<usize>,
    /// Cuts that a script made.
    by_hand: Vec<Cut>,
    /// The network as it is without faults.
    calm: Option<NetworkPlan>,
    healed: bool,
}

impl Plight {
    pub(super) fn new(cluster: Cluster, faults: Faults) -> Self {
        Plight {
            cluster,
            faults,
            active: Vec::new(),
            by_hand: Vec::new(),
            calm: None,
            healed: false,
        }
    }

    /// When each fault begins, in ns.
    pub(super) fn begins(&self) -> Vec<u64> {
        self.faults.list.iter().map(|fault| fault.at_ns).collect()
    }

    fn active(&self) -> impl Iterator<Item = FaultKind> + '_ {
        self.active.iter().map(|index| self.faults.list[*index].kind)
    }

    pub(super) fn cuts(&self, from: NodeId, to: NodeId) -> bool {
        let size = self.cluster.size;
        let lasting = self.faults.lasting.filter(|_| self.healed);
        let standing = self.by_hand.iter().copied().chain(lasting);
        standing.into_iter().any(|cut| cut.cuts(from, to, size))
            || self
                .active()
                .any(|kind| matches!(kind, FaultKind::Cut(cut) if cut.cuts(from, to, size)))
    }

    pub(super) fn cuts_client(&self, site: usize, node: NodeId) -> bool {
        self.active().any(|kind| kind == FaultKind::Cut(Cut::Client(site, node)))
    }

    pub(super) fn cut_by_hand(&mut self, cut: Cut) {
        self.by_hand.push(cut);
    }

    pub(super) fn mend_by_hand(&mut self) {
        self.by_hand.clear();
    }

    /// How much too fast a replica's clock runs, in millionths.
    pub(super) fn drift_ppm(&self, node: NodeId) -> i64 {
        let drift = |kind| match kind {
            FaultKind::Drift(whose, ppm) if whose == node => Some(ppm),
            _ => None,
        };
        self.active().filter_map(drift).last().unwrap_or(0)
    }

    /// The replica that stays apart when all else is mended.
    pub(super) fn apart(&self) -> Option<NodeId> {
        match self.faults.lasting? {
            Cut::Mute(node) | Cut::Deaf(node) | Cut::Alone(node) => Some(node),
            _ => None,
        }
    }

    /// What a clock reads when its process starts.
    pub(super) fn first_reading(&self, rng: &mut ClientRng) -> u64 {
        const DAY_NS: u64 = 86_400_000_000_000;
        if self.faults.clocks_differ { rng.random_range(0..DAY_NS) } else { 0 }
    }

    pub(super) fn first_clock(&self, rng: &mut ClientRng) -> Clock {
        Clock::new(0, self.first_reading(rng), 0)
    }
}

impl<P: Subject> World<P> {
    /// A fault begins or is over.
    pub(super) fn befall(&mut self, index: usize, begins: bool) -> Held {
        if self.plight.healed {
            return Ok(());
        }
        let fault = self.plight.faults.list[index];
        if begins {
            self.note(At::Nobody, format_args!("begins: {:?}", fault.kind));
            self.plight.active.push(index);
            let end_ns = self.now_ns + fault.lasts_ns;
            self.schedule(end_ns, Event::Fault { index, begins: false });
            return self.begin_fault(fault);
        }
        self.note(At::Nobody, format_args!("is over: {:?}", fault.kind));
        self.plight.active.retain(|active| *active != index);
        self.end_fault(fault.kind);
        Ok(())
    }

    pub(super) fn begin_fault(&mut self, fault: Fault) -> Held {
        if fault.loses().is_some_and(|node| !self.can_lose(node)) {
            self.note(At::Nobody, format_args!("is not to be: too many would be gone"));
            return Ok(());
        }
        let (now_ns, down_ns) = (self.now_ns, Some(fault.lasts_ns));
        match fault.kind {
            FaultKind::Cut(Cut::Client(site, node)) => self.announce_connection(site, node, false),
            FaultKind::Cut(_) => {}
            FaultKind::Weather { .. } => self.forecast(),
            FaultKind::Crash { node, at_a_write, survives } => {
                let ending = Ending { survives, down_ns };
                if !at_a_write {
                    return self.crash(node, ending);
                }
                self.node_mut(node).crashes_at_a_write = Some(ending);
            }
            FaultKind::Pause(node) => {
                let slot = self.node_mut(node);
                slot.busy_until_ns = slot.busy_until_ns.max(now_ns + fault.lasts_ns);
            }
            FaultKind::Slow(node, turn_ns) => self.node_mut(node).turn_ns = turn_ns,
            FaultKind::SlowDisk(node, sync_ns) => self.node_mut(node).disk.slow_ns = sync_ns,
            FaultKind::FullDisk(node) => self.node_mut(node).disk.full = true,
            FaultKind::CorruptDisk(node) => return self.corrupt(node),
            FaultKind::LostDisk(node) => {
                self.node_mut(node).disk.lost = true;
                return self.crash(node, Ending { survives: 0.0, down_ns: None });
            }
            FaultKind::Jump(node, by) => self.jump(node, by),
            FaultKind::Drift(node, ppm) => self.drift(node, ppm),
            // As if it were never started: members would count on it.
            FaultKind::Join { joiner, .. }
                if P::MEMBERS_CHANGE && self.plight.apart() == Some(joiner) => {}
            FaultKind::Join { joiner, leaver } => {
                self.node_mut(joiner).replaces.get_or_insert(leaver);
                self.start(joiner);
            }
            FaultKind::Members { asked, members } => self.change_members(asked, members),
        }
        Ok(())
    }

    fn end_fault(&mut self, kind: FaultKind) {
        match kind {
            FaultKind::Cut(Cut::Client(site, node)) => self.announce_connection(site, node, true),
            FaultKind::Weather { .. } => self.forecast(),
            FaultKind::Crash { node, .. } => self.node_mut(node).crashes_at_a_write = None,
            FaultKind::Slow(node, _) => self.node_mut(node).turn_ns = 0,
            FaultKind::SlowDisk(node, _) => self.node_mut(node).disk.slow_ns = 0,
            FaultKind::FullDisk(node) => {
                self.node_mut(node).disk.full = false;
                self.start(node);
            }
            FaultKind::Drift(node, _) => self.drift(node, 0),
            FaultKind::Cut(_)
            | FaultKind::Pause(_)
            | FaultKind::CorruptDisk(_)
            | FaultKind::LostDisk(_)
            | FaultKind::Jump(..)
            | FaultKind::Join { .. }
            | FaultKind::Members { .. } => {}
        }
    }

    /// New members are started before anybody is told of them.
    fn change_members(&mut self, asked: NodeId, members: NodeSet) {
        let is_there = |node: &NodeId| !self.nodes[usize::from(node.0)].is_gone();
        let apart = self.plight.apart();
        let members: NodeSet =
            members.iter().filter(is_there).filter(|node| Some(*node) != apart).collect();
        for node in members.iter() {
            self.node_mut(node).is_invited = true;
            self.start(node);
        }
        if !members.is_empty() {
            self.arrive(asked, Arrival::Members(members));
        }
    }

    /// The network as the worst of what is under way makes it.
    fn forecast(&mut self) {
        let plan = self.network.plan_mut();
        let calm = self.plight.calm.get_or_insert_with(|| plan.clone());
        *plan = calm.clone();
        for kind in self.plight.active.iter().map(|index| self.plight.faults.list[*index].kind) {
            let FaultKind::Weather { loss, duplicates, stragglers } = kind else { continue };
            plan.loss = plan.loss.max(loss);
            if let Manner::Datagrams { duplicates: twice, stragglers: late } = &mut plan.manner {
                *twice = twice.max(duplicates);
                *late = late.max(stragglers);
            }
        }
    }

    /// Whether so many disks are left without this one that all can go on. Where the members stay, scenarios see
    /// to that; where they do not, it depends on who is a member by now.
    fn can_lose(&self, node: NodeId) -> bool {
        let is_gone = |slot: &&super::node::Node<P>| slot.is_gone() || slot.me == node;
        let gone = self.nodes.iter().filter(is_gone).map(|slot| slot.me).chain(self.plight.apart());
        let settled = self.nodes.iter().filter(|slot| slot.disk.durable == slot.disk.written());
        let settled = settled.filter_map(|slot| Some((slot.me, slot.core.as_ref()?)));
        self.cluster.spares == 0 || self.invariants.tolerates(gone.collect(), settled)
    }

    /// Breaks a record that another durable one follows, so that whoever reads the log sees that it
    /// is no write torn by a crash.
    fn corrupt(&mut self, node: NodeId) -> Held {
        self.crash(node, Ending { survives: 0.0, down_ns: None })?;
        let slot = self.node_mut(node);
        slot.disk.drop_torn();
        let records = slot.disk.log.len();
        if records < 2 {
            slot.disk.lost = true;
            return Ok(());
        }
        let broken = slot.rng.random_range(0..records - 1);
        slot.disk.log[broken].intact = false;
        Ok(())
    }

    /// A clock jumps ahead: timers may be due at once.
    fn jump(&mut self, node: NodeId, by: Duration) {
        let now_ns = self.now_ns;
        self.node_mut(node).clock.jump(now_ns, by);
        self.wake_by_clock(node);
    }

    /// A clock runs on at another rate.
    fn drift(&mut self, node: NodeId, ppm: i64) {
        let now_ns = self.now_ns;
        self.node_mut(node).clock.drift(now_ns, ppm);
        self.wake_by_clock(node);
    }

    /// Timers are due when the clock, as it is now, reads what they were armed for.
    fn wake_by_clock(&mut self, node: NodeId) {
        let now_ns = self.now_ns;
        let slot = self.node_mut(node);
        let (clock, life) = (slot.clock, slot.life);
        for (timer, armed, reading) in slot.timers.clone() {
            let due_ns = clock.when(now_ns, reading);
            self.schedule(due_ns, Event::Timer { node, life, timer, armed });
        }
    }

    /// Ends all that befalls the run: the network is calm, and who can starts again.
    pub fn heal(&mut self) {
        self.note(At::Nobody, format_args!("all is mended"));
        for kind in self.plight.active().collect::<Vec<_>>() {
            self.end_fault(kind);
        }
        self.plight.active.clear();
        self.plight.healed = true;
        let plan = self.network.plan_mut();
        plan.loss = 0.0;
        if let Manner::Datagrams { duplicates, stragglers } = &mut plan.manner {
            (*duplicates, *stragglers) = (0.0, 0.0);
        }
        let now_ns = self.now_ns;
        for node in self.cluster.nodes() {
            let slot = self.node_mut(node);
            slot.crashes_at_a_write = None;
            if slot.busy_until_ns > now_ns {
                slot.busy_until_ns = now_ns;
                slot.turn_is_due = false;
                self.call_turn(node);
            }
            self.start(node);
        }
    }

    /// The replicas that are up once all is mended, and can be reached.
    pub(super) fn lasting(&self) -> impl Iterator<Item = &super::node::Node<P>> {
        let apart = self.plight.apart();
        self.nodes.iter().filter(move |node| {
            !node.waits(self.cluster) && !node.is_gone() && Some(node.me) != apart
        })
    }

    /// Those of them that must come to the same state: who was replaced, or has not joined, need not.
    pub(super) fn reachable(&self) -> impl Iterator<Item = &super::node::Node<P>> {
        self.lasting().filter(|node| self.invariants.is_member(node.me))
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::DiskPlan;
    use super::super::script::load;
    use super::super::trace::Trace;
    use super::super::world::{SiteSetup, WorldSetup};
    use super::*;
    use crate::protocol::paxos::{Paxos, PaxosOptions};

    const MS: u64 = 1_000_000;

    /// Three replicas, 1 ms apart, whose syncs take 5 ms; one site, which asks for nothing.
    fn world(seed: u64, list: Vec<Fault>) -> World<Paxos> {
        let site = SiteSetup {
            name: "s".to_owned(),
            place: 0,
            replicas: (0..3).map(NodeId).collect(),
            schedule: Box::new(std::iter::empty()),
            history: None,
            recorder: None,
        };
        let network = NetworkPlan {
            one_way_ns: vec![vec![MS; 3]; 3],
            jitter_ns: 0,
            loss: 0.0,
            reorder: 0.0,
            bandwidth_bps: None,
            manner: Manner::Datagrams { duplicates: 0.0, stragglers: 0.0 },
        };
        let options = PaxosOptions { heartbeat_ms: 20, ..PaxosOptions::default() };
        World::new(WorldSetup {
            seed,
            places: vec![0, 1, 2],
            spares: 0,
            options,
            network,
            disk: DiskPlan::Synced { sync_ns: 5 * MS..5 * MS },
            load: load(seed),
            sites: vec![site],
            faults: Faults { list, ..Faults::default() },
            trace: Trace::Off,
            checked: true,
        })
        .expect("a load that can be carried out")
    }

    fn run_to(world: &mut World<Paxos>, ms: u64) {
        world.run_until(ms * MS, |_| false).expect("all invariants hold");
    }

    fn sent(world: &World<Paxos>, node: u8) -> u64 {
        world.nodes[usize::from(node)].counts.sent.total_messages()
    }

    #[test]
    fn a_process_that_stands_still_sends_nothing_of_what_becomes_durable_meanwhile() {
        let pause = Fault { at_ns: MS, lasts_ns: 100 * MS, kind: FaultKind::Pause(NodeId(1)) };
        let mut world = world(1, vec![pause]);
        run_to(&mut world, 100);
        assert!(sent(&world, 0) > 0 && sent(&world, 1) == 0);
        run_to(&mut world, 102);
        assert!(sent(&world, 1) > 0);
    }

    #[test]
    fn a_timer_waits_for_a_clock_that_has_come_to_run_slower() {
        let kind = FaultKind::Drift(NodeId(1), -500_000);
        let mut world = world(1, vec![Fault { at_ns: 6 * MS, lasts_ns: 1000 * MS, kind }]);
        run_to(&mut world, 33);
        let heartbeats = [sent(&world, 1), sent(&world, 2)];
        run_to(&mut world, 35);
        assert!(heartbeats[0] < heartbeats[1] && sent(&world, 1) > heartbeats[0]);
    }

    #[test]
    fn of_what_waits_for_a_record_that_survives_a_crash_any_part_has_left() {
        let mut arrived = std::collections::BTreeSet::new();
        for seed in 0..60 {
            let mut world = world(seed, Vec::new());
            run_to(&mut world, 1);
            let ending = Ending { survives: 0.99, down_ns: None };
            world.crash(NodeId(1), ending).expect("all invariants hold");
            assert_eq!(world.nodes[1].disk.log.len(), 1);
            run_to(&mut world, 4);
            arrived.insert(
                [0, 2].map(|node: usize| world.nodes[node].counts.received.total_messages()),
            );
        }
        let all = [[0, 0], [0, 1], [1, 0], [1, 1]];
        assert!(all.iter().all(|some| arrived.contains(some)), "{arrived:?}");
    }

    #[test]
    fn a_site_that_is_cut_off_connects_anew() {
        let kind = FaultKind::Cut(Cut::Client(0, NodeId(1)));
        let mut world = world(1, vec![Fault { at_ns: MS, lasts_ns: 200 * MS, kind }]);
        let connection = |world: &World<Paxos>| world.sites[0].connection(NodeId(1));
        run_to(&mut world, 0);
        let first = connection(&world);
        run_to(&mut world, 100);
        assert!(first.is_some() && connection(&world).is_none());
        run_to(&mut world, 300);
        assert!(connection(&world).is_some() && connection(&world) != first);
    }

    #[test]
    fn in_a_ring_each_replica_speaks_with_a_majority_that_is_not_its_neighbours() {
        for size in [3, 5, 7] {
            for a in 0..size {
                let speaks = |b: &u8| !Cut::Ring.cuts(NodeId(a), NodeId(*b), size);
                let heard = (0..size).filter(speaks).count();
                assert!(heard >= majority(usize::from(size)), "{a} of {size}: {heard}");
                assert!(size == 3 || heard < usize::from(size), "{a} of {size}: {heard}");
            }
        }
    }

    #[test]
    fn a_bridge_joins_two_sides_that_are_apart() {
        let bridge = Cut::Bridge(NodeId(2));
        assert!(bridge.cuts(NodeId(0), NodeId(4), 5) && bridge.cuts(NodeId(4), NodeId(1), 5));
        assert!(!bridge.cuts(NodeId(0), NodeId(2), 5) && !bridge.cuts(NodeId(2), NodeId(4), 5));
        assert!(!bridge.cuts(NodeId(0), NodeId(1), 5) && !bridge.cuts(NodeId(3), NodeId(4), 5));
    }
}
