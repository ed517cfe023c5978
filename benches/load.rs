//! What an operation costs on the client's side: the state machine alone, and with the transport.
//!
//! `cargo bench --bench load` prints nanoseconds per operation, and for the loopback run the CPU
//! time of clients and their trivial replicas together.
#![allow(clippy::print_stdout, missing_docs, reason = "a program that prints its figures")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use paxbench::cluster::TransportOptions;
use paxbench::command::{ClientId, Command, CommandId, NodeId, Outcome};
use paxbench::load::Target;
use paxbench::load::client::{Clients, SiteIdentity};
use paxbench::load::history::{HistorySink, completion, first_part, invocation};
use paxbench::load::output::{Begun, Continued, Ended, Output};
use paxbench::load::plan::{Arrival, KeyChoice, LoadPlan, OperationMix, Retries};
use paxbench::load::recorder::{Phases, Recorder};
use paxbench::load::run::{RunClock, SiteRunner, SiteSetup, monotonic_ns};
use paxbench::net::{Endpoint, Existing, Identity, Stream, accept_lane, generate, open_lanes};
use paxbench::wire::{FRAME_BYTES_MAX, Reader, Reply, Wire, encode_reply, first_frame, frame};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CLIENTS: usize = 10;
const OUTSTANDING: usize = 100;

fn plan(arrival: Arrival, operations: OperationMix) -> LoadPlan {
    LoadPlan {
        clients_per_site: CLIENTS,
        arrival,
        operations,
        keys: KeyChoice::Conflict { share: 0.02, own_keys: 1000 },
        value_bytes: 16,
        warmup: Duration::from_secs(1),
        measure: Duration::from_secs(4),
        retry_after: Duration::from_secs(1),
        retries: Retries::default(),
        timeout: Duration::from_secs(5),
        seed: 7,
        record_history: false,
    }
}

fn puts() -> OperationMix {
    OperationMix { put: 1.0, ..OperationMix::default() }
}

fn half() -> OperationMix {
    OperationMix { put: 0.5, get: 0.5, ..OperationMix::default() }
}

fn site() -> SiteIdentity {
    SiteIdentity { name: "tokyo".to_owned(), index: 0, run_nonce: 1 }
}

/// Takes what the clients put out as the runner does, less the network.
struct Sink {
    frames: BytesMut,
    recorder: Recorder,
    history: Option<Box<dyn HistorySink>>,
}

impl Output for Sink {
    fn send(&mut self, _: NodeId, command: &Command) {
        frame(&mut self.frames, |body| command.encode(body));
    }

    fn began(&mut self, begun: &Begun) {
        if let Some(history) = &mut self.history {
            history.write(&invocation(begun)).expect("memory");
        }
    }

    fn continued(&mut self, continued: &Continued<'_>) {
        self.recorder.continued(continued);
        if let Some(history) = &mut self.history {
            history.write(&first_part(continued)).expect("memory");
        }
    }

    fn ended(&mut self, ended: &Ended<'_>) {
        self.recorder.ended(ended);
        if let Some(history) = &mut self.history
            && let Some(event) = completion(ended)
        {
            history.write(&event).expect("memory");
        }
    }
}

/// The answer to the command of a frame, taken from its first bytes: no more work than that.
fn answer(body: &[u8]) -> (CommandId, Outcome) {
    let mut reader = Reader::new(body);
    let client = ClientId(reader.u64().expect("a command"));
    let sequence = reader.u64().expect("a command");
    reader.u16().expect("a command");
    let is_put = reader.u8().expect("a command") == 1;
    let outcome = if is_put { Outcome::Done } else { Outcome::Found(None) };
    (CommandId { client, sequence }, outcome)
}

/// A closed loop in which every reply follows in batches; the time of making replies is measured
/// apart and taken off.
fn state_machine(operations: OperationMix, history: Option<Box<dyn HistorySink>>) -> (f64, f64) {
    const ROUNDS: u64 = 3000;
    let plan = plan(Arrival::Closed { outstanding: OUTSTANDING }, operations);
    let mut clients = Clients::new(&plan, &site(), &[NodeId(0)]).expect("a good plan");
    let phases = Phases { start_ns: 0, measure_ns: 0, end_ns: u64::MAX };
    let mut sink = Sink { frames: BytesMut::new(), recorder: Recorder::new(phases), history };
    clients.connected(0, NodeId(0), &mut sink);
    clients.start(0, &mut sink);
    let (mut count, mut in_clients, mut in_service) = (0_u64, Duration::ZERO, Duration::ZERO);
    for round in 1..=ROUNDS {
        let began = Instant::now();
        let mut replies = BytesMut::new();
        let frames = std::mem::take(&mut sink.frames);
        let mut at = 0;
        while let Ok(Some(body)) = first_frame(&frames[at..], FRAME_BYTES_MAX) {
            let (id, outcome) = answer(body);
            at += body.len() + 4;
            frame(&mut replies, |out| encode_reply(id, &outcome, out));
        }
        sink.frames = BytesMut::with_capacity(frames.len());
        in_service += began.elapsed();
        let began = Instant::now();
        let now_ns = round * 1_000_000;
        let mut at = 0;
        while let Ok(Some(body)) = first_frame(&replies[at..], FRAME_BYTES_MAX) {
            at += body.len() + 4;
            let reply = Reply::decode_whole(body).expect("a reply");
            clients.reply(now_ns, NodeId(0), &reply, &mut sink);
            count += 1;
        }
        clients.tick(now_ns, &mut sink);
        in_clients += began.elapsed();
    }
    assert_eq!(count, ROUNDS * (CLIENTS * OUTSTANDING) as u64);
    let per_op = |time: Duration| time.as_nanos() as f64 / count as f64;
    (per_op(in_clients), per_op(in_service))
}

/// Answers everything at once and keeps nothing.
async fn serve(endpoint: Endpoint, options: TransportOptions, served: Rc<Cell<u64>>) {
    while let Ok(accepted) = endpoint.accept(|_, _| Ok(())).await {
        let connection = accepted.connection;
        let lanes = Rc::new(open_lanes(&connection, &options).await.expect("connected"));
        let served = served.clone();
        tokio::task::spawn_local(async move {
            while let Ok(mut lane) = accept_lane(&connection, FRAME_BYTES_MAX).await {
                let each = |body: &[u8]| {
                    let (id, outcome) = answer(body);
                    served.set(served.get() + 1);
                    lanes[0].push(|out| encode_reply(id, &outcome, out));
                    Ok(())
                };
                while let Ok(Stream::Open) = lane.read(each).await {}
            }
        });
    }
}

async fn loopback(arrival: Arrival) {
    let dir = tempfile::tempdir().expect("a directory");
    let names = ["replica".to_owned(), "load".to_owned()];
    generate(dir.path(), &names, Existing::Refuse).expect("certificates");
    let options = TransportOptions::default();
    let any = "127.0.0.1:0".parse().expect("an address");
    let endpoint = |name: &str| {
        let identity = Identity::load(dir.path(), name).expect("an identity");
        Endpoint::bind(&identity, any, &options, None).expect("a port")
    };
    let replica = endpoint("replica");
    let target = Target {
        node: NodeId(0),
        name: "replica".to_owned(),
        address: replica.local_address().expect("bound"),
        required: true,
    };
    let served = Rc::new(Cell::new(0));
    tokio::task::spawn_local(serve(replica, options.clone(), served.clone()));
    let setup = SiteSetup {
        plan: plan(arrival, half()),
        site: site(),
        replicas: vec![target],
        transport: options.clone(),
    };
    let mut runner = SiteRunner::new(&endpoint("load"), setup).expect("a good plan");
    runner.connect(Duration::from_secs(5)).await.expect("connected");
    let clock = RunClock::starting_at_monotonic(monotonic_ns());
    let report = runner.run(clock, None).await.expect("a run");
    assert!(served.get() >= report.completed_in_window, "each operation was served");
    let used = report.resources.expect("Linux");
    let cpu_s = used.cpu_user_s + used.cpu_system_s;
    println!(
        "loopback {arrival:?}: {:.0} ops/s, {:.2} µs CPU an operation (clients and replica), p50 {:.3} ms, lag p50 and p99.9 {:?} ms",
        report.throughput_per_s,
        cpu_s * 1e6 / report.completed_in_window as f64,
        report.operations[0].latency_ms.map_or(0.0, |l| l.p50),
        report.schedule_lag_ms.map(|l| (l.p50, l.p99_9)),
    );
}

/// Counts events, so that only making them is measured.
struct Counted(Rc<RefCell<VecDeque<u64>>>);

impl HistorySink for Counted {
    fn write(&mut self, event: &paxbench::check::history::Event) -> std::io::Result<()> {
        let mut last = self.0.borrow_mut();
        last.clear();
        last.push_back(event.process);
        Ok(())
    }

    fn finish(self: Box<Self>) -> std::io::Result<()> {
        Ok(())
    }
}

fn main() {
    for (name, mix) in [("put", puts()), ("put and get", half())] {
        let (clients, service) = state_machine(mix, None);
        println!("clients, {name}: {clients:.0} ns an operation (making replies: {service:.0} ns)");
    }
    let (clients, _) = state_machine(half(), Some(Box::new(Counted(Rc::default()))));
    println!("clients, put and get, with history events: {clients:.0} ns an operation");
    let file = tempfile::tempfile().expect("a file");
    let writer = paxbench::check::history::HistoryWriter::new(file, "tokyo").expect("a writer");
    let (clients, _) = state_machine(half(), Some(Box::new(writer)));
    println!("clients, put and get, with a history file: {clients:.0} ns an operation");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    for arrival in [
        Arrival::Closed { outstanding: 100 },
        Arrival::Closed { outstanding: 1000 },
        Arrival::Constant { rate_per_s: 100_000.0 },
        Arrival::Constant { rate_per_s: 1000.0 },
    ] {
        tokio::task::LocalSet::new().block_on(&runtime, loopback(arrival));
    }
}
