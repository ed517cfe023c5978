//! The clients over the network and the wall clock: one thread, tokio's current-thread runtime,
//! inside a [`tokio::task::LocalSet`].
//!
//! Replies go straight from the stream into the clients, and what the clients send goes straight
//! into the lane's queue; the lane hands all that one wake produced to QUIC at once.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::arrival::Schedule;
use super::client::{Clients, SiteIdentity};
use super::history::{HistorySink, completion, first_part, invocation};
use super::links::{Target, keep_connected};
use super::output::{Begun, Continued, Ended, Output};
use super::plan::LoadPlan;
use super::recorder::{Phases, Recorder};
use super::report::{Resources, SiteReport};
use super::workload::BadPlan;
use crate::cluster::TransportOptions;
use crate::command::{Command, NodeId};
use crate::net::{Endpoint, LaneSender, NetError, PreciseTimer};
use crate::usage::Usage;
use crate::wire::{Reply, Wire};

/// Arrivals closer than this share a wake: at high rates a wake for each would cost more than the
/// operation. Their latency counts from the schedule all the same.
pub const COALESCE_NS: u64 = 100_000;

/// Arrivals handled before other tasks get their turn.
const ARRIVALS_A_TURN: usize = 1024;

/// The run's clock: nanoseconds since the run's start, the same at all sites.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunClock {
    start_ns: u64,
}

impl RunClock {
    /// Starts when the machine's monotonic clock shows `start_ns`: exact for all processes of one
    /// machine.
    pub fn starting_at_monotonic(start_ns: u64) -> Self {
        RunClock { start_ns }
    }

    /// Starts at this time of day: for sites on several machines, as well as their clocks agree.
    pub fn starting_at(start: SystemTime) -> Self {
        let now_ns = monotonic_ns();
        let start_ns = match start.duration_since(SystemTime::now()) {
            Ok(ahead) => now_ns.saturating_add(ahead.as_nanos() as u64),
            Err(past) => now_ns.saturating_sub(past.duration().as_nanos() as u64),
        };
        RunClock { start_ns }
    }

    /// Nanoseconds since the start; 0 before it.
    pub fn now_ns(&self) -> u64 {
        monotonic_ns().saturating_sub(self.start_ns)
    }

    /// The instant at which the clock shows `at_ns`.
    fn instant(self, at_ns: u64) -> Instant {
        let ahead_ns = (self.start_ns + at_ns).saturating_sub(monotonic_ns());
        Instant::now() + Duration::from_nanos(ahead_ns)
    }
}

/// The machine's monotonic clock, in ns: what [`RunClock::starting_at_monotonic`] counts from.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Why a site could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan cannot be carried out.
    #[error(transparent)]
    Plan(#[from] BadPlan),
    /// Replicas could not be reached in time; names each and why.
    #[error("not connected within {} s: {missing}; are they running?", limit.as_secs_f64())]
    NotConnected {
        /// How long was waited.
        limit: Duration,
        /// Which replicas, and the last error of each.
        missing: String,
    },
    /// The history could not be written.
    #[error("history: cannot write: {0}; is the disk full?")]
    History(io::Error),
    /// A timer could not be made.
    #[error("timer: {0}; raise the limit of open files")]
    Timer(io::Error),
}

/// What a site needs to run.
#[derive(Clone, Debug)]
pub struct SiteSetup {
    /// What to do.
    pub plan: LoadPlan,
    /// Who does it.
    pub site: SiteIdentity,
    /// The replicas, nearest first, with those that may join.
    pub replicas: Vec<Target>,
    /// How QUIC is used.
    pub transport: TransportOptions,
}

/// Counts so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// On the run's clock; 0 before the start.
    pub now_ns: u64,
    /// Operations answered in time, warm-up included.
    pub completed: u64,
    /// Operations that were not.
    pub errors: u64,
    /// Operations under way or waiting to be sent.
    pub pending: u64,
    /// Replicas that are connected.
    pub connected: usize,
}

/// The clients and where their outputs go.
pub(super) struct Core {
    clients: Clients,
    wires: Wires,
    clock: Option<RunClock>,
    wake: Rc<Notify>,
    /// No operation starts any more.
    draining: bool,
    reconnects: u64,
}

/// Where outputs go: lanes, the recorder, the history.
struct Wires {
    /// By the replica's number; empty if it is not connected.
    lanes: Vec<Vec<LaneSender>>,
    recorder: Option<Recorder>,
    history: Option<Box<dyn HistorySink>>,
    history_error: Option<io::Error>,
    dropped: u64,
    last_error: Vec<Option<NetError>>,
    ever_connected: Vec<bool>,
}

impl Output for Wires {
    fn send(&mut self, to: NodeId, command: &Command) {
        let lanes = &self.lanes[usize::from(to.0)];
        // Commands of one client keep to one lane, and with it their order.
        let Some(lane) = lanes.get(command.id.client.0 as usize % lanes.len().max(1)) else {
            return;
        };
        lane.push(|body| command.encode(body));
    }

    fn began(&mut self, begun: &Begun) {
        if self.history.is_some() {
            self.write(&invocation(begun));
        }
    }

    fn continued(&mut self, continued: &Continued<'_>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.continued(continued);
        }
        if self.history.is_some() {
            self.write(&first_part(continued));
        }
    }

    fn ended(&mut self, ended: &Ended<'_>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.ended(ended);
        }
        if self.history.is_some()
            && let Some(event) = completion(ended)
        {
            self.write(&event);
        }
    }
}

impl Wires {
    /// Writes an event; after an error nothing more, and the run fails at its end.
    fn write(&mut self, event: &crate::check::history::Event) {
        let Some(history) = &mut self.history else { return };
        if let Err(error) = history.write(event) {
            self.history_error = Some(error);
            self.history = None;
        }
    }

    fn count_dropped(&mut self, node: NodeId) {
        let lanes = self.lanes[usize::from(node.0)].drain(..);
        self.dropped += lanes.map(|lane| lane.counts().frames_dropped).sum::<u64>();
    }
}

impl Core {
    pub(super) fn now_ns(&self) -> u64 {
        self.clock.map_or(0, |clock| clock.now_ns())
    }

    pub(super) fn reply(&mut self, now_ns: u64, from: NodeId, reply: &Reply) {
        self.clients.reply(now_ns, from, reply, &mut self.wires);
    }

    pub(super) fn connected(&mut self, node: NodeId, lanes: Vec<LaneSender>) {
        let index = usize::from(node.0);
        self.wires.lanes[index] = lanes;
        self.wires.last_error[index] = None;
        self.reconnects +=
            u64::from(std::mem::replace(&mut self.wires.ever_connected[index], true));
        self.clients.connected(self.now_ns(), node, &mut self.wires);
        self.wake.notify_one();
    }

    pub(super) fn disconnected(&mut self, node: NodeId) {
        self.wires.count_dropped(node);
        self.clients.disconnected(self.now_ns(), node, &mut self.wires);
    }

    /// Whether a connection is of no more use: the replica takes no more commands, and has answered all.
    pub(super) fn has_left(&self, node: NodeId) -> bool {
        self.clients.has_left(node)
    }

    pub(super) fn failed(&mut self, node: NodeId, error: NetError) {
        self.wires.last_error[usize::from(node.0)] = Some(error);
    }

    /// Tells the runner that nothing is left to wait for.
    pub(super) fn wake_if_idle(&self) {
        if self.draining && self.clients.pending() == 0 {
            self.wake.notify_one();
        }
    }

    fn progress(&self) -> Progress {
        let (completed, errors) = self.wires.recorder.as_ref().map_or((0, 0), Recorder::counts);
        let connected = self.wires.lanes.iter().filter(|lanes| !lanes.is_empty()).count();
        let pending = self.clients.pending();
        Progress { now_ns: self.now_ns(), completed, errors, pending, connected }
    }
}

/// Looks at a run and stops it, from beside it.
#[derive(Clone)]
pub struct RunHandle {
    core: Rc<RefCell<Core>>,
    stopped: Rc<Cell<bool>>,
}

impl RunHandle {
    /// Counts so far.
    pub fn progress(&self) -> Progress {
        self.core.borrow().progress()
    }

    /// Ends the run as soon as possible; what is outstanding counts as not answered.
    pub fn stop(&self) {
        self.stopped.set(true);
        self.core.borrow().wake.notify_one();
    }
}

/// One site's load generator.
pub struct SiteRunner {
    setup: SiteSetup,
    core: Rc<RefCell<Core>>,
    stopped: Rc<Cell<bool>>,
    wake: Rc<Notify>,
    links: Vec<JoinHandle<()>>,
}

impl Drop for SiteRunner {
    fn drop(&mut self) {
        for link in &self.links {
            link.abort();
        }
    }
}

impl SiteRunner {
    /// A runner that connects from `endpoint`, beginning now. Must be called where
    /// [`tokio::task::spawn_local`] works.
    pub fn new(endpoint: &Endpoint, setup: SiteSetup) -> Result<Self, RunError> {
        let nodes: Vec<NodeId> = setup.replicas.iter().map(|target| target.node).collect();
        let count = nodes.iter().map(|node| usize::from(node.0) + 1).max().unwrap_or(0);
        let wake = Rc::new(Notify::new());
        let core = Rc::new(RefCell::new(Core {
            clients: Clients::new(&setup.plan, &setup.site, &nodes)?,
            wires: Wires {
                lanes: (0..count).map(|_| Vec::new()).collect(),
                recorder: None,
                history: None,
                history_error: None,
                dropped: 0,
                last_error: (0..count).map(|_| None).collect(),
                ever_connected: vec![false; count],
            },
            clock: None,
            wake: wake.clone(),
            draining: false,
            reconnects: 0,
        }));
        let link = |target: &Target| {
            let (core, options) = (core.clone(), setup.transport.clone());
            tokio::task::spawn_local(keep_connected(
                core,
                endpoint.clone(),
                options,
                target.clone(),
            ))
        };
        let links = setup.replicas.iter().map(link).collect();
        Ok(SiteRunner { core, stopped: Rc::default(), wake, links, setup })
    }

    /// What looks at the run and stops it.
    pub fn handle(&self) -> RunHandle {
        RunHandle { core: self.core.clone(), stopped: self.stopped.clone() }
    }

    /// Waits until every replica that is required is connected.
    ///
    /// # Errors
    /// If that takes longer than `limit`; says which are not, and why.
    pub async fn connect(&self, limit: Duration) -> Result<(), RunError> {
        let all = async {
            while self.missing().next().is_some() {
                self.wake.notified().await;
            }
        };
        if tokio::time::timeout(limit, all).await.is_ok() {
            return Ok(());
        }
        let core = self.core.borrow();
        let why = |t: &Target| match &core.wires.last_error[usize::from(t.node.0)] {
            Some(error) => error.to_string(),
            None => format!("{} at {}: no answer", t.name, t.address),
        };
        let missing: Vec<String> = self.missing().map(why).collect();
        Err(RunError::NotConnected { limit, missing: missing.join("; ") })
    }

    /// The required replicas that are not connected.
    fn missing(&self) -> impl Iterator<Item = &Target> {
        let lacks = |target: &&Target| {
            target.required && self.core.borrow().wires.lanes[usize::from(target.node.0)].is_empty()
        };
        self.setup.replicas.iter().filter(lacks)
    }

    /// Runs warm-up, measured phase and drain, from the start of `clock` on.
    ///
    /// # Errors
    /// If the history cannot be written, or no timer can be made.
    pub async fn run(
        &mut self,
        clock: RunClock,
        history: Option<Box<dyn HistorySink>>,
    ) -> Result<SiteReport, RunError> {
        let mut timer = PreciseTimer::new().map_err(RunError::Timer)?;
        let plan = &self.setup.plan;
        let measure_ns = plan.warmup.as_nanos() as u64;
        let end_ns = measure_ns + plan.measure.as_nanos() as u64;
        let phases = Phases { start_ns: 0, measure_ns, end_ns };
        self.begin(clock, history, phases);
        timer.sleep_until(clock.instant(0)).await;
        self.with_clients(Clients::start);
        let name = &self.setup.site.name;
        let mut pace = Pace {
            schedule: Schedule::new(plan.arrival, plan.seed, name, 0, end_ns),
            phases,
            give_up_ns: end_ns + plan.timeout.as_nanos() as u64,
            arrivals_ns: 0,
            tick_ns: 0,
            tick_period_ns: self.core.borrow().clients.tick_period_ns(),
            usage: None,
            resources: None,
        };
        while !self.stopped.get() {
            let Some(wake_ns) = pace.turn(&mut self.core.borrow_mut()) else { break };
            tokio::select! {
                // The lanes and the readers get their turn even if the next arrival is due.
                () = async {
                    tokio::task::yield_now().await;
                    timer.sleep_until(clock.instant(wake_ns)).await;
                } => {}
                () = self.wake.notified() => {}
            }
        }
        self.end(pace.resources)
    }

    fn begin(&self, clock: RunClock, history: Option<Box<dyn HistorySink>>, phases: Phases) {
        let mut core = self.core.borrow_mut();
        core.clock = Some(clock);
        core.wires.recorder = Some(Recorder::new(phases));
        core.wires.history = history;
    }

    fn with_clients<T>(&self, act: impl FnOnce(&mut Clients, u64, &mut Wires) -> T) -> T {
        let core = &mut *self.core.borrow_mut();
        let now_ns = core.now_ns();
        act(&mut core.clients, now_ns, &mut core.wires)
    }

    fn end(&self, resources: Option<Resources>) -> Result<SiteReport, RunError> {
        self.with_clients(Clients::finish);
        let core = &mut *self.core.borrow_mut();
        let history = core.wires.history.take();
        let finished = history.map_or(Ok(()), HistorySink::finish);
        if let Some(error) = core.wires.history_error.take().or(finished.err()) {
            return Err(RunError::History(error));
        }
        let record = core.wires.recorder.take().expect("set when the run began").finish();
        let (site, measure) = (&self.setup.site.name, self.setup.plan.measure);
        let open: u64 =
            core.wires.lanes.iter().flatten().map(|lane| lane.counts().frames_dropped).sum();
        Ok(SiteReport {
            reconnects: core.reconnects,
            dropped: core.wires.dropped + open,
            resources,
            stopped: self.stopped.get(),
            ..SiteReport::of(site, measure, record, core.clients.counters())
        })
    }
}

/// What is due when.
struct Pace {
    schedule: Schedule,
    phases: Phases,
    give_up_ns: u64,
    /// When arrivals were handled last.
    arrivals_ns: u64,
    tick_ns: u64,
    tick_period_ns: u64,
    usage: Option<Usage>,
    resources: Option<Resources>,
}

impl Pace {
    /// Does what is due; the time of the next turn, or none if the run is over.
    fn turn(&mut self, core: &mut Core) -> Option<u64> {
        let now_ns = core.now_ns();
        self.arrivals(core, now_ns);
        if now_ns >= self.tick_ns {
            core.clients.tick(now_ns, &mut core.wires);
            self.tick_ns = now_ns + self.tick_period_ns;
        }
        self.sample(now_ns);
        if now_ns >= self.phases.end_ns {
            core.clients.stop_issuing();
            core.draining = true;
            let issued = self.schedule.next_ns().is_none();
            if (issued && core.clients.pending() == 0) || now_ns >= self.give_up_ns {
                return None;
            }
        }
        Some(self.next_ns(now_ns))
    }

    fn arrivals(&mut self, core: &mut Core, now_ns: u64) {
        for _ in 0..ARRIVALS_A_TURN {
            let Some(scheduled_ns) = self.schedule.take_due(now_ns) else { return };
            self.arrivals_ns = now_ns;
            if let Some(recorder) = &mut core.wires.recorder {
                recorder.handled(now_ns, scheduled_ns);
            }
            core.clients.arrive(now_ns, scheduled_ns, &mut core.wires);
        }
    }

    /// Reads what the process used at both ends of the measured phase.
    fn sample(&mut self, now_ns: u64) {
        if now_ns >= self.phases.measure_ns && self.usage.is_none() {
            self.usage = Usage::now();
        }
        if now_ns >= self.phases.end_ns && self.resources.is_none() {
            self.resources = Usage::now().zip(self.usage).map(|(end, start)| Resources {
                cpu_user_s: end.cpu_user_s - start.cpu_user_s,
                cpu_system_s: end.cpu_system_s - start.cpu_system_s,
                rss_bytes: end.rss_bytes,
            });
        }
    }

    fn next_ns(&self, now_ns: u64) -> u64 {
        let phase_ns = [self.phases.measure_ns, self.phases.end_ns, self.give_up_ns];
        let phase_ns = phase_ns.into_iter().find(|at| *at > now_ns).unwrap_or(u64::MAX);
        let arrival_ns = match self.schedule.next_ns() {
            Some(at) => at.max(self.arrivals_ns + COALESCE_NS),
            None => u64::MAX,
        };
        arrival_ns.min(self.tick_ns).min(phase_ns)
    }
}
