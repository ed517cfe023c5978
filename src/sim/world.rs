//! The queue of events.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rand::RngExt;

use super::Subject;
use super::clock::Clock;
use super::drive::Transferred;
use super::faults::{Faults, Plight};
use super::network::{Network, NetworkPlan};
use super::node::{Arrival, Counts, DiskPlan, Node};
use super::site::{Connection, Link, Outputs, Schedule, Site};
use super::trace::{At, Trace};
use crate::check::invariants::executions::Executions;
use crate::check::invariants::{Held, Invariants};
use crate::command::{Command, NodeId, Outcome};
use crate::load::client::{Clients, SiteIdentity};
use crate::load::history::HistorySink;
use crate::load::plan::LoadPlan;
use crate::load::recorder::Recorder;
use crate::load::seed::generator;
use crate::load::workload::BadPlan;
use crate::protocol::{Cluster, WriteId};
use crate::wire::{Reply, Wire};

/// What can happen next.
#[derive(Debug)]
pub(super) enum Event<P: Subject> {
    Message {
        to: NodeId,
        from: NodeId,
        message: Bytes,
        state: Option<Arc<Transferred>>,
    },
    Commands {
        to: NodeId,
        connection: Connection,
        commands: Vec<Command>,
    },
    Reply {
        connection: Connection,
        from: NodeId,
        reply: Reply,
    },
    Turn {
        node: NodeId,
        life: u32,
    },
    Timer {
        node: NodeId,
        life: u32,
        timer: P::Timer,
        armed: u64,
    },
    Synced {
        node: NodeId,
        life: u32,
        up_to: WriteId,
    },
    /// A client's connection is made or lost.
    Link {
        site: usize,
        node: NodeId,
        up: bool,
    },
    Schedule {
        site: usize,
        at_ns: u64,
    },
    Tick {
        site: usize,
    },
    Restart {
        node: NodeId,
    },
    Fault {
        index: usize,
        begins: bool,
    },
}

/// An event and its time. The number keeps events of one time in the order in which they came about.
#[derive(Debug)]
struct Queued<P: Subject> {
    due_ns: u64,
    number: u64,
    event: Event<P>,
}

impl<P: Subject> PartialEq for Queued<P> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<P: Subject> Eq for Queued<P> {}

impl<P: Subject> PartialOrd for Queued<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P: Subject> Ord for Queued<P> {
    /// The heap gives the greatest: the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due_ns, other.number).cmp(&(self.due_ns, self.number))
    }
}

/// A site's clients.
pub struct SiteSetup {
    /// The site's name.
    pub name: String,
    /// Where it is: a row of [`NetworkPlan::one_way_ns`].
    pub place: usize,
    /// The replicas, nearest first.
    pub replicas: Vec<NodeId>,
    /// When its operations are scheduled; a closed loop needs no schedule.
    pub schedule: Schedule,
    /// Where its history goes.
    pub history: Option<Box<dyn HistorySink>>,
    /// What records its latencies.
    pub recorder: Option<Recorder>,
}

/// All that a simulation starts from.
pub struct WorldSetup<P: Subject> {
    /// What every random choice is drawn from.
    pub seed: u64,
    /// Where each replica is: a row of [`NetworkPlan::one_way_ns`].
    pub places: Vec<usize>,
    /// How many of them, the last ones, are not started before they are to join.
    pub spares: u8,
    /// The options of the core.
    pub options: P::Options,
    /// The network.
    pub network: NetworkPlan,
    /// The disk of each replica.
    pub disk: DiskPlan,
    /// The load, the same at every site.
    pub load: LoadPlan,
    /// The sites.
    pub sites: Vec<SiteSetup>,
    /// What befalls it.
    pub faults: Faults,
    /// Where what happens is noted.
    pub trace: Trace,
    /// Whether invariants are checked after every step. A long run may do without.
    pub checked: bool,
}

/// A simulation under way.
pub struct World<P: Subject> {
    pub(super) now_ns: u64,
    queue: BinaryHeap<Queued<P>>,
    created: u64,
    pub(super) events: u64,
    pub(super) cluster: Cluster,
    pub(super) options: P::Options,
    pub(super) nodes: Vec<Node<P>>,
    pub(super) sites: Vec<Site>,
    pub(super) network: Network,
    pub(super) plight: Plight,
    pub(super) seed: u64,
    pub(super) checked: bool,
    pub(super) invariants: P::Invariants,
    pub(super) executions: Executions,
    pub(super) trace: Trace,
    pub(super) scratch: BytesMut,
}

impl<P: Subject> fmt::Debug for World<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("now_ns", &self.now_ns).finish_non_exhaustive()
    }
}

/// Streams of random numbers of a run.
#[derive(Clone, Copy)]
pub(super) enum Draw {
    Network = 1,
    Node = 2,
}

/// How often a client's connection is tried, and how long it takes to notice that one is lost, in ns.
const LINK_DELAY_NS: u64 = 50_000_000;

impl<P: Subject> World<P> {
    /// A world at time 0, in which everybody is about to start.
    ///
    /// # Errors
    /// If the load cannot be carried out.
    pub fn new(setup: WorldSetup<P>) -> Result<Self, BadPlan> {
        let cluster = Cluster { size: setup.places.len() as u8, spares: setup.spares };
        let hosts: Vec<usize> =
            setup.places.iter().copied().chain(setup.sites.iter().map(|site| site.place)).collect();
        let mut world = World {
            now_ns: 0,
            queue: BinaryHeap::new(),
            created: 0,
            events: 0,
            network: Network::new(setup.network, &hosts, stream(setup.seed, Draw::Network)),
            plight: Plight::new(cluster, setup.faults),
            nodes: Vec::new(),
            sites: Vec::new(),
            options: setup.options,
            seed: setup.seed,
            checked: setup.checked,
            invariants: P::Invariants::new(cluster),
            executions: Executions::default(),
            trace: setup.trace,
            scratch: BytesMut::new(),
            cluster,
        };
        world.trace.head(usize::from(cluster.size));
        for node in cluster.nodes() {
            let mut rng = generator(stream(setup.seed, Draw::Node), u64::from(node.0));
            let clock = world.plight.first_clock(&mut rng);
            world.nodes.push(Node::new(node, setup.disk.clone(), clock, rng));
            world.start(node);
        }
        for (index, site) in setup.sites.into_iter().enumerate() {
            world.add_site(index, site, &setup.load)?;
        }
        for (index, at_ns) in world.plight.begins().into_iter().enumerate() {
            world.schedule(at_ns, Event::Fault { index, begins: true });
        }
        Ok(world)
    }

    fn add_site(&mut self, index: usize, setup: SiteSetup, load: &LoadPlan) -> Result<(), BadPlan> {
        let identity = SiteIdentity { name: setup.name, index, run_nonce: self.seed };
        let clients = Clients::new(load, &identity, &setup.replicas)?;
        let SiteSetup { history, recorder, .. } = setup;
        self.sites.push(Site {
            index,
            tick_period_ns: clients.tick_period_ns(),
            clients,
            schedule: setup.schedule.peekable(),
            links: vec![Link::default(); usize::from(self.cluster.size)],
            outputs: Outputs { commands: Vec::new(), history, history_error: None, recorder },
        });
        for node in setup.replicas {
            self.schedule(0, Event::Link { site: index, node, up: true });
        }
        self.schedule(0, Event::Tick { site: index });
        Ok(())
    }

    /// Starts the closed loops, and the schedules.
    pub fn begin(&mut self) {
        for index in 0..self.sites.len() {
            self.with_clients(index, Clients::start);
            self.schedule_arrivals(index);
        }
    }

    pub(super) fn schedule(&mut self, due_ns: u64, event: Event<P>) {
        let number = self.created;
        self.created += 1;
        self.queue.push(Queued { due_ns: due_ns.max(self.now_ns), number, event });
    }

    /// A number that no other event has.
    pub(super) fn next_number(&self) -> u64 {
        self.created
    }

    /// Runs until `end_ns`, or until `done` says so after an event.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn run_until(&mut self, end_ns: u64, mut done: impl FnMut(&Self) -> bool) -> Held {
        while let Some(queued) = self.queue.peek()
            && queued.due_ns <= end_ns
        {
            let Some(Queued { due_ns, event, .. }) = self.queue.pop() else { break };
            self.now_ns = due_ns;
            self.events += 1;
            self.handle(event)?;
            if done(self) {
                return Ok(());
            }
        }
        self.now_ns = self.now_ns.max(end_ns);
        Ok(())
    }

    fn handle(&mut self, event: Event<P>) -> Held {
        match event {
            Event::Turn { node, life } => return self.turn(node, life),
            Event::Synced { node, life, up_to } => return self.synced(node, life, up_to),
            Event::Fault { index, begins } => return self.befall(index, begins),
            Event::Message { to, from, message, state } => self.receive(to, from, &message, state),
            Event::Commands { to, connection, commands } => self.asked(to, connection, commands),
            Event::Reply { connection, from, reply } => self.reply(connection, from, &reply),
            Event::Timer { node, life, timer, armed } => {
                self.timer(node, life, timer, armed);
            }
            Event::Link { site, node, up } => self.link(site, node, up),
            Event::Schedule { site, at_ns } => self.arrivals(site, at_ns),
            Event::Tick { site } => self.tick(site),
            Event::Restart { node } => self.start(node),
        }
        Ok(())
    }

    /// A timer may be due, unless this life has disarmed it or its clock has come to run slower.
    fn timer(&mut self, node: NodeId, life: u32, timer: P::Timer, armed: u64) {
        let slot = &self.nodes[usize::from(node.0)];
        let mut armings = slot.timers.iter().filter(|_| slot.life == life);
        let Some((.., reading)) = armings.find(|(_, number, _)| *number == armed) else { return };
        let due_ns = slot.clock.when(self.now_ns, *reading);
        if due_ns > self.now_ns {
            self.schedule(due_ns, Event::Timer { node, life, timer, armed });
        } else {
            self.arrive(node, Arrival::Timer { timer, armed });
        }
    }

    /// Puts something before a replica's next turn.
    pub(super) fn arrive(&mut self, to: NodeId, arrival: Arrival<P>) {
        let node = &mut self.nodes[usize::from(to.0)];
        if !node.is_up() {
            return;
        }
        node.arrivals.push(arrival);
        self.call_turn(to);
    }

    pub(super) fn call_turn(&mut self, to: NodeId) {
        let node = &mut self.nodes[usize::from(to.0)];
        if !node.turn_is_due {
            node.turn_is_due = true;
            let (life, due_ns) = (node.life, node.busy_until_ns);
            self.schedule(due_ns, Event::Turn { node: to, life });
        }
    }

    fn receive(
        &mut self,
        to: NodeId,
        from: NodeId,
        message: &Bytes,
        state: Option<Arc<Transferred>>,
    ) {
        if !self.nodes[usize::from(to.0)].is_up() {
            return;
        }
        let decoded = P::Message::decode_whole(message).expect("what was encoded is decoded");
        let way = At::Way { from: usize::from(from.0), to: usize::from(to.0) };
        self.note(way, format_args!("{decoded}"));
        self.nodes[usize::from(to.0)].counts.received.count(
            crate::protocol::Message::kind(&decoded),
            1,
            message.len() as u64,
        );
        self.arrive(to, Arrival::Message { from, message: decoded, state });
    }

    /// Nothing arrives over a connection that is lost, or was with an earlier life, as with QUIC.
    fn asked(&mut self, to: NodeId, connection: Connection, commands: Vec<Command>) {
        let life = self.nodes[usize::from(to.0)].life;
        if self.sites[connection.site].reaches(connection, to, life) {
            self.arrive(to, Arrival::Commands { connection, commands });
        }
    }

    fn reply(&mut self, connection: Connection, from: NodeId, reply: &Reply) {
        let site = connection.site;
        if self.sites[site].connection(from) != Some(connection) {
            return;
        }
        if self.checked && reply.outcome != Outcome::Refused {
            self.executions.on_answered(reply.id);
        }
        self.with_clients(site, |clients, now_ns, outputs| {
            clients.reply(now_ns, from, reply, outputs);
        });
        if self.sites[site].clients.has_left(from) {
            self.link(site, from, false);
        }
    }

    pub(super) fn link(&mut self, site: usize, node: NodeId, up: bool) {
        let reachable =
            self.nodes[usize::from(node.0)].serves && !self.plight.cuts_client(site, node);
        let Some(connection) = self.sites[site].connection(node) else {
            if up && reachable {
                let life = self.nodes[usize::from(node.0)].life;
                self.sites[site].connect(node, life);
                self.with_clients(site, |clients, now_ns, outputs| {
                    clients.connected(now_ns, node, outputs);
                });
            }
            return;
        };
        if up {
            return;
        }
        self.sites[site].disconnect(node);
        self.node_mut(node).sessions.forget(connection);
        if reachable {
            self.schedule(self.now_ns + LINK_DELAY_NS, Event::Link { site, node, up: true });
        }
        self.with_clients(site, |clients, now_ns, outputs| {
            clients.disconnected(now_ns, node, outputs);
        });
    }

    fn schedule_arrivals(&mut self, site: usize) {
        if let Some(at_ns) = self.sites[site].schedule.peek().copied() {
            self.schedule(at_ns, Event::Schedule { site, at_ns });
        }
    }

    fn arrivals(&mut self, site: usize, at_ns: u64) {
        while self.sites[site].schedule.next_if(|next| *next <= at_ns).is_some() {
            if let Some(recorder) = &mut self.sites[site].outputs.recorder {
                recorder.handled(self.now_ns, at_ns);
            }
            self.with_clients(site, |clients, now_ns, outputs| {
                clients.arrive(now_ns, at_ns, outputs);
            });
        }
        self.schedule_arrivals(site);
    }

    fn tick(&mut self, site: usize) {
        let period_ns = self.sites[site].tick_period_ns;
        self.schedule(self.now_ns + period_ns, Event::Tick { site });
        self.with_clients(site, Clients::tick);
    }

    /// Lets a site's clients act, and sends what they say.
    pub(super) fn with_clients(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Clients, u64, &mut Outputs),
    ) {
        let now_ns = self.now_ns;
        let site = &mut self.sites[index];
        act(&mut site.clients, now_ns, &mut site.outputs);
        let mut commands = std::mem::take(&mut site.outputs.commands);
        for (to, command) in commands.drain(..) {
            self.ask(index, to, command);
        }
        self.sites[index].outputs.commands = commands;
    }

    fn ask(&mut self, site: usize, to: NodeId, command: Command) {
        if self.checked {
            self.executions.on_asked(&command);
        }
        let at = At::One(usize::from(to.0));
        self.note(at, format_args!("is asked by site {site}: {command}"));
        let Some(connection) = self.sites[site].connection(to) else { return };
        if self.plight.cuts_client(site, to) {
            return;
        }
        self.scratch.clear();
        command.encode(&mut self.scratch);
        let bytes = self.scratch.len();
        let way = (self.nodes.len() + site, usize::from(to.0));
        for due_ns in self.network.send(self.now_ns, way, command.id.client.0, bytes) {
            let commands = vec![command.clone()];
            self.schedule(due_ns, Event::Commands { to, connection, commands });
        }
    }

    /// Sends a replica's answer to a client.
    pub(super) fn answer(&mut self, from: NodeId, connection: Connection, reply: Reply) {
        let site = connection.site;
        if self.plight.cuts_client(site, from) {
            return;
        }
        self.scratch.clear();
        reply.encode(&mut self.scratch);
        self.trace.bytes(&self.scratch);
        let (bytes, lane) = (self.scratch.len(), reply.id.sequence);
        let way = (usize::from(from.0), self.nodes.len() + site);
        for due_ns in self.network.send(self.now_ns, way, lane, bytes) {
            self.schedule(due_ns, Event::Reply { connection, from, reply: reply.clone() });
        }
    }

    /// Of what a process has sent since `first` came about, a share did not leave before it ended.
    pub(super) fn hold_back(&mut self, node: NodeId, first: u64) {
        let sent = |queued: &Queued<P>| {
            queued.number >= first
                && matches!(queued.event, Event::Message { from, .. } | Event::Reply { from, .. }
                    if from == node)
        };
        // Nothing is drawn for nothing.
        if !self.queue.iter().any(sent) {
            return;
        }
        let rng = &mut self.nodes[usize::from(node.0)].rng;
        let share: f64 = rng.random();
        self.queue.retain(|queued| !sent(queued) || rng.random::<f64>() >= share);
    }

    /// Tells all clients, a little later, that a replica is there, or gone.
    pub(super) fn announce_link(&mut self, node: NodeId, up: bool) {
        for site in 0..self.sites.len() {
            self.announce_connection(site, node, up);
        }
    }

    /// Tells a site's clients, a little later, that a replica can be reached, or cannot.
    pub(super) fn announce_connection(&mut self, site: usize, node: NodeId, up: bool) {
        self.schedule(self.now_ns + LINK_DELAY_NS, Event::Link { site, node, up });
    }

    pub(super) fn note(&mut self, at: At, what: fmt::Arguments<'_>) {
        if self.trace.is_on() {
            let up = self.nodes.iter().map(Node::is_up);
            self.trace.note(self.now_ns, up, at, what);
        }
    }

    /// Whether all replicas that can take part have the same state.
    pub(super) fn has_converged(&self) -> bool {
        let mut states = self.reachable().map(Node::standing);
        let Some(first) = states.next() else { return true };
        states.all(|state| state == first)
    }

    /// Begins anew with what every replica counts.
    pub(super) fn forget_counts(&mut self) {
        for node in &mut self.nodes {
            node.counts = Counts::default();
        }
    }

    /// A new clock for a replica that starts.
    pub(super) fn renew_clock(&mut self, node: NodeId) {
        let slot = &mut self.nodes[usize::from(node.0)];
        let reading = self.plight.first_reading(&mut slot.rng);
        slot.clock = Clock::new(self.now_ns, reading, self.plight.drift_ppm(node));
    }
}

/// The seed of one of a run's streams.
pub(super) fn stream(seed: u64, draw: Draw) -> u64 {
    crate::load::seed::mix(seed ^ ((draw as u64) << 56))
}
