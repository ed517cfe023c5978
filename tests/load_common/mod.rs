//! The clients in virtual time, against a service whose delays and failures the test decides.

#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use paxbench::check::history::{Event as HistoryEvent, HistoryWriter};
use paxbench::check::{History, read_history};
use paxbench::command::{Command, CommandId, NodeId, Outcome};
use paxbench::kv::{Executed, Store};
use paxbench::load::arrival::Schedule;
use paxbench::load::client::{Clients, SiteIdentity};
use paxbench::load::history::{completion, first_part, invocation};
use paxbench::load::output::{Answer, Begun, Continued, End, Ended, Output, Seen};
use paxbench::load::plan::{Arrival, KeyChoice, LoadPlan, OperationMix, Retries};
use paxbench::load::recorder::{Phases, Record, Recorder};
use paxbench::wire::Reply;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MS;

pub fn plan(arrival: Arrival) -> LoadPlan {
    LoadPlan {
        clients_per_site: 4,
        arrival,
        operations: OperationMix { put: 0.5, get: 0.3, cas: 0.1, rmw: 0.1, ..Default::default() },
        keys: KeyChoice::Conflict { share: 0.1, own_keys: 10 },
        value_bytes: 16,
        warmup: Duration::from_secs(1),
        measure: Duration::from_secs(5),
        retry_after: Duration::from_millis(400),
        retries: Retries::default(),
        timeout: Duration::from_secs(3),
        seed: 7,
        record_history: false,
    }
}

pub fn site(name: &str, index: usize) -> SiteIdentity {
    SiteIdentity { name: name.to_owned(), index, run_nonce: 99 }
}

pub fn clients(plan: &LoadPlan) -> Clients {
    Clients::new(plan, &site("tokyo", 0), &[NodeId(0), NodeId(1), NodeId(2)]).unwrap()
}

/// What the clients put out.
#[derive(Default)]
pub struct Log {
    pub sent: Vec<(NodeId, Command)>,
    pub began: Vec<Begun>,
    pub ended: Vec<(u64, u64, Ending)>,
    pub recorder: Option<Recorder>,
    /// Operations whose first part was answered.
    pub continued: usize,
    pub history: Vec<HistoryEvent>,
    /// How often each replica was connected and disconnected so far.
    pub changes: [u32; 3],
    /// Over which connection each command was sent first.
    pub over: HashMap<CommandId, (NodeId, u32)>,
    /// Commands that were sent over another connection as well.
    pub moved: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    Answered { process: u64, sent_ns: u64, corrupt: bool },
    Unknown { process: u64 },
    Unsent,
}

impl Output for Log {
    fn send(&mut self, to: NodeId, command: &Command) {
        assert!(command.is_well_formed(), "{command:?}");
        let connection = (to, self.changes[usize::from(to.0)]);
        let first = *self.over.entry(command.id).or_insert(connection);
        self.moved += u64::from(first != connection);
        self.sent.push((to, command.clone()));
    }

    fn continued(&mut self, continued: &Continued<'_>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.continued(continued);
        }
        self.continued += 1;
        self.history.push(first_part(continued));
    }

    fn began(&mut self, begun: &Begun) {
        self.history.push(invocation(begun));
        self.began.push(*begun);
    }

    fn ended(&mut self, ended: &Ended<'_>) {
        self.history.extend(completion(ended));
        if let Some(recorder) = &mut self.recorder {
            recorder.ended(ended);
        }
        let ending = match ended.end {
            End::Answered { process, sent_ns, answer, .. } => {
                let corrupt = matches!(answer, Answer::Found(Seen::Corrupt(_)));
                Ending::Answered { process, sent_ns, corrupt }
            }
            End::Unknown { process, .. } => Ending::Unknown { process },
            End::Unsent => Ending::Unsent,
        };
        self.ended.push((ended.scheduled_ns, ended.now_ns, ending));
    }
}

impl Log {
    /// How many operations ended with an unknown outcome.
    pub fn unknown(&self) -> usize {
        self.ended.iter().filter(|(_, _, e)| matches!(e, Ending::Unknown { .. })).count()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Change {
    Connected(u8),
    Lost(u8),
}

pub enum Event {
    Change(Change),
    Tick,
    Reply(NodeId, Reply),
}

/// When a command that was sent to a replica at this time is answered; none if never: then every
/// other time the command is lost, and else its reply.
pub type Service = Box<dyn FnMut(u64, NodeId, &Command) -> Option<u64>>;

/// One site's clients and the service, in virtual time.
pub struct World {
    pub now_ns: u64,
    pub clients: Clients,
    pub schedule: Schedule,
    pub log: Log,
    pub seen: usize,
    pub store: Store,
    pub service: Service,
    /// Whether a command's outcome is not known to whom it is sent.
    pub says_unknown: fn(&Command) -> bool,
    pub events: BTreeMap<(u64, u64), Event>,
    pub serial: u64,
    pub lost: u64,
}

impl World {
    pub fn new(plan: &LoadPlan, service: Service) -> World {
        let end_ns = (plan.warmup + plan.measure).as_nanos() as u64;
        let phases = Phases { start_ns: 0, measure_ns: plan.warmup.as_nanos() as u64, end_ns };
        let mut world = World {
            now_ns: 0,
            clients: clients(plan),
            schedule: Schedule::new(plan.arrival, plan.seed, "tokyo", 0, end_ns),
            log: Log { recorder: Some(Recorder::new(phases)), ..Log::default() },
            seen: 0,
            store: Store::default(),
            service,
            says_unknown: |_| false,
            events: BTreeMap::new(),
            serial: 0,
            lost: 0,
        };
        world.at(0, Event::Tick);
        world
    }

    fn at(&mut self, at_ns: u64, event: Event) {
        self.serial += 1;
        self.events.insert((at_ns, self.serial), event);
    }

    pub fn change(mut self, at_ns: u64, change: Change) -> World {
        self.at(at_ns, Event::Change(change));
        self
    }

    /// The next thing to happen: an arrival or an event.
    pub fn step(&mut self) {
        let event_ns = self.events.keys().next().expect("there is always a tick").0;
        if let Some(scheduled_ns) = self.schedule.take_due(event_ns) {
            self.now_ns = scheduled_ns;
            self.clients.arrive(scheduled_ns, scheduled_ns, &mut self.log);
        } else {
            let ((at_ns, _), event) = self.events.pop_first().unwrap();
            self.now_ns = at_ns;
            self.handle(event);
        }
        self.serve();
    }

    fn handle(&mut self, event: Event) {
        let (now_ns, log) = (self.now_ns, &mut self.log);
        if let Event::Change(Change::Connected(n) | Change::Lost(n)) = event {
            log.changes[usize::from(n)] += 1;
        }
        match event {
            Event::Change(Change::Connected(n)) => self.clients.connected(now_ns, NodeId(n), log),
            Event::Change(Change::Lost(n)) => self.clients.disconnected(now_ns, NodeId(n), log),
            Event::Reply(from, reply) => self.clients.reply(now_ns, from, &reply, log),
            Event::Tick => {
                self.clients.tick(now_ns, log);
                self.at(now_ns + self.clients.tick_period_ns(), Event::Tick);
            }
        }
    }

    /// Executes what was sent, in the order sent, and answers when the service says.
    pub fn serve(&mut self) {
        while self.seen < self.log.sent.len() {
            let (to, command) = self.log.sent[self.seen].clone();
            self.seen += 1;
            let at_ns = (self.service)(self.now_ns, to, &command);
            self.lost += u64::from(at_ns.is_none());
            if at_ns.is_none() && self.lost.is_multiple_of(2) {
                continue;
            }
            let outcome = match self.store.execute(&command) {
                Executed::Applied(outcome) | Executed::Repeated(outcome) => outcome.clone(),
                Executed::Forgotten => continue,
            };
            let Some(at_ns) = at_ns else { continue };
            let outcome = if (self.says_unknown)(&command) { Outcome::Unknown } else { outcome };
            self.at(at_ns, Event::Reply(to, Reply { id: command.id, outcome }));
        }
    }

    /// What is there at the start happens, and clients of a closed loop begin.
    pub fn begin(&mut self) {
        self.run_until(0);
        self.clients.start(0, &mut self.log);
        self.serve();
    }

    pub fn run_until(&mut self, end_ns: u64) {
        while self.events.keys().next().is_some_and(|(at, _)| *at <= end_ns) {
            self.step();
        }
    }

    pub fn finish(mut self) -> (Log, Record, Clients) {
        self.clients.stop_issuing();
        self.run_until(20 * SECOND);
        self.clients.finish(20 * SECOND, &mut self.log);
        let record = self.log.recorder.take().unwrap().finish();
        (self.log, record, self.clients)
    }
}

/// Answers everything after a delay.
pub fn steady(delay_ns: u64) -> Service {
    Box::new(move |now, _, _| Some(now + delay_ns))
}

pub fn all_connected(world: World) -> World {
    (0..3).fold(world, |world, n| world.change(0, Change::Connected(n)))
}

/// A service that loses, delays and doubles at random, and connections that come and go.
pub fn chaotic_world(seed: u64, tune: impl Fn(&mut LoadPlan)) -> World {
    let mut plan = plan(match seed % 3 {
        0 => Arrival::Closed { outstanding: 1 + seed as usize % 7 },
        1 => Arrival::Poisson { rate_per_s: 300.0 },
        _ => Arrival::Constant { rate_per_s: 300.0 },
    });
    plan.seed = seed;
    tune(&mut plan);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut changes = Vec::new();
    for _ in 0..rng.random_range(0..30) {
        let (at, node) = (rng.random_range(0..6 * SECOND), rng.random_range(0..3));
        let change = if rng.random() { Change::Connected(node) } else { Change::Lost(node) };
        changes.push((at, change));
    }
    let (loss, slow) = (rng.random_range(0.0..0.5), rng.random_range(MS..800 * MS));
    let healed_ns = 6 * SECOND;
    let service = Box::new(move |now: u64, _: NodeId, _: &Command| {
        let answered = now > healed_ns || rng.random::<f64>() > loss;
        answered.then(|| now + rng.random_range(MS..slow + MS))
    });
    let world = all_connected(World::new(&plan, service));
    let world = changes.into_iter().fold(world, |world, (at, change)| world.change(at, change));
    (0..3).fold(world, |world, n| world.change(healed_ns, Change::Connected(n)))
}

/// The history that was recorded, through its file.
pub fn history(log: &Log) -> History {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("h.jsonl.zst");
    let mut writer = HistoryWriter::new(std::fs::File::create(&path).unwrap(), "tokyo").unwrap();
    log.history.iter().for_each(|event| writer.write(event).unwrap());
    writer.finish().unwrap();
    read_history(&[path]).unwrap_or_else(|error| panic!("{error}"))
}
