//! The load generator over QUIC on loopback, against replicas that share one store: what any
//! perfect replication would look like to it.

mod net_common;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use net_common::{Cluster, allow_all, run};
use paxbench::check::history::{Event, HistoryWriter, Stage};
use paxbench::check::{Limits, Verdict, check, read_history};
use paxbench::cluster::TransportOptions;
use paxbench::command::{Command, NodeId};
use paxbench::kv::{Executed, Replicated, Store};
use paxbench::load::Target;
use paxbench::load::client::SiteIdentity;
use paxbench::load::history::HistorySink;
use paxbench::load::plan::{Arrival, KeyChoice, LoadPlan, OperationMix, Retries};
use paxbench::load::report::SiteReport;
use paxbench::load::run::{RunClock, RunError, SiteRunner, SiteSetup, monotonic_ns};
use paxbench::net::{Endpoint, FrameReader, LaneSender, Stream, accept_lane, open_lanes};
use paxbench::wire::{FRAME_BYTES_MAX, Wire, encode_reply};

const NAMES: [&str; 3] = ["virginia", "tokyo", "ireland"];

/// A replica that executes at once on the store it shares with the others.
#[derive(Clone)]
struct Replica {
    store: Rc<RefCell<Store>>,
    connections: Rc<RefCell<Vec<quinn::Connection>>>,
    /// It takes commands and says nothing.
    mute: Rc<Cell<bool>>,
    /// It answers every read of an existing value with a flipped bit.
    corrupts: Rc<Cell<bool>>,
    served: Rc<Cell<u64>>,
}

impl Replica {
    fn start(endpoint: Endpoint, options: TransportOptions, store: &Rc<RefCell<Store>>) -> Replica {
        let replica = Replica {
            store: store.clone(),
            connections: Rc::default(),
            mute: Rc::default(),
            corrupts: Rc::default(),
            served: Rc::default(),
        };
        let here = replica.clone();
        tokio::task::spawn_local(async move {
            while let Ok(accepted) = endpoint.accept(allow_all).await {
                here.connections.borrow_mut().push(accepted.connection.clone());
                let (here, options) = (here.clone(), options.clone());
                tokio::task::spawn_local(here.serve(accepted.connection, options));
            }
        });
        replica
    }

    async fn serve(self, connection: quinn::Connection, options: TransportOptions) {
        let Ok(lanes) = open_lanes(&connection, &options).await else { return };
        let lanes = Rc::new(lanes);
        while let Ok(lane) = accept_lane(&connection, FRAME_BYTES_MAX).await {
            tokio::task::spawn_local(self.clone().read(lane, lanes.clone()));
        }
    }

    async fn read(self, mut lane: FrameReader, lanes: Rc<Vec<LaneSender>>) {
        let each = |body: &[u8]| {
            let command = Command::decode_whole(body)?;
            self.answer(&command, &lanes);
            Ok(())
        };
        while let Ok(Stream::Open) = lane.read(each).await {}
    }

    fn answer(&self, command: &Command, lanes: &[LaneSender]) {
        let mut store = self.store.borrow_mut();
        let outcome = match store.execute(command) {
            Executed::Applied(outcome) | Executed::Repeated(outcome) => outcome.clone(),
            Executed::Forgotten => return,
        };
        self.served.set(self.served.get() + 1);
        if self.mute.get() {
            return;
        }
        let outcome = if self.corrupts.get() { corrupted(outcome) } else { outcome };
        let lane = &lanes[command.id.client.0 as usize % lanes.len()];
        lane.push(|body| encode_reply(command.id, &outcome, body));
    }

    fn disconnect_all(&self) {
        for connection in self.connections.borrow_mut().drain(..) {
            connection.close(9_u32.into(), b"the test says so");
        }
    }
}

fn corrupted(outcome: paxbench::command::Outcome) -> paxbench::command::Outcome {
    use paxbench::command::Outcome;
    match outcome {
        Outcome::Found(Some(mut value)) => {
            value[3] ^= 1;
            Outcome::Found(Some(value))
        }
        other => other,
    }
}

fn plan(arrival: Arrival) -> LoadPlan {
    LoadPlan {
        clients_per_site: 4,
        arrival,
        operations: OperationMix {
            put: 0.3,
            get: 0.3,
            cas: 0.1,
            rmw: 0.1,
            delete: 0.1,
            transfer: 0.1,
            ..OperationMix::default()
        },
        keys: KeyChoice::Conflict { share: 0.2, own_keys: 4 },
        value_bytes: 24,
        warmup: Duration::from_millis(300),
        measure: Duration::from_secs(1),
        retry_after: Duration::from_millis(200),
        retries: Retries::default(),
        timeout: Duration::from_secs(2),
        seed: 3,
        record_history: true,
    }
}

/// Three replicas and a load generator's endpoint.
struct Setting {
    replicas: Vec<Replica>,
    targets: Vec<Target>,
    endpoint: Endpoint,
    options: TransportOptions,
    store: Rc<RefCell<Store>>,
}

impl Setting {
    fn new() -> Setting {
        let cluster = Cluster::new(&[NAMES[0], NAMES[1], NAMES[2], "load-virginia"]);
        let store = Rc::new(RefCell::new(Store::default()));
        let (mut replicas, mut targets) = (Vec::new(), Vec::new());
        for (index, name) in NAMES.iter().enumerate() {
            let endpoint = cluster.endpoint(name);
            let address: SocketAddr = endpoint.local_address().unwrap();
            targets.push(Target {
                node: NodeId(index as u8),
                name: (*name).to_owned(),
                address,
                required: true,
            });
            replicas.push(Replica::start(endpoint, cluster.options(), &store));
        }
        let endpoint = cluster.endpoint("load-virginia");
        Setting { replicas, targets, endpoint, options: cluster.options(), store }
    }

    fn site(&self, plan: LoadPlan, name: &str, index: usize) -> SiteRunner {
        let site = SiteIdentity { name: name.to_owned(), index, run_nonce: 1 };
        let (replicas, transport) = (self.targets.clone(), self.options.clone());
        SiteRunner::new(&self.endpoint, SiteSetup { plan, site, replicas, transport }).unwrap()
    }
}

fn soon() -> RunClock {
    RunClock::starting_at_monotonic(monotonic_ns() + 20_000_000)
}

/// A history in memory that the test keeps a hand on.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<Event>>>);

impl HistorySink for Shared {
    fn write(&mut self, event: &Event) -> std::io::Result<()> {
        self.0.borrow_mut().push(event.clone());
        Ok(())
    }

    fn finish(self: Box<Self>) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn stages(&self, wanted: impl Fn(&Stage) -> bool) -> u64 {
        self.0.borrow().iter().filter(|event| wanted(&event.stage)).count() as u64
    }
}

fn totals(report: &SiteReport) -> (u64, u64) {
    let count = report.operations.iter().map(|o| o.count).sum();
    (count, report.operations.iter().map(|o| o.errors.total()).sum())
}

async fn run_one(setting: &Setting, plan: LoadPlan, history: &Shared) -> SiteReport {
    let mut runner = setting.site(plan, "virginia", 0);
    runner.connect(Duration::from_secs(10)).await.unwrap();
    runner.run(soon(), Some(Box::new(history.clone()))).await.unwrap()
}

#[test]
fn an_open_loop_completes_its_schedule_and_its_report_survives_json() {
    run(async {
        let (setting, history) = (Setting::new(), Shared::default());
        let plan = plan(Arrival::Constant { rate_per_s: 2000.0 });
        let report = run_one(&setting, plan, &history).await;
        let (count, errors) = totals(&report);
        assert_eq!((count, errors, report.warmup_completed), (2000, 0, 600));
        assert_eq!(setting.store.borrow().applied(), 2600);
        assert_eq!(history.stages(|s| matches!(s, Stage::Ok(_))), 2600);
        assert!(report.operations.iter().all(|o| o.corrupt == 0));
        assert!(report.schedule_lag_ms.is_some() && report.resources.is_some());
        assert_eq!((report.reconnects, report.dropped, report.stopped), (0, 0, false));
        let completed: u64 = report.timeline.iter().map(|b| b.completed).sum();
        assert_eq!(completed, 2600);
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<SiteReport>(&json).unwrap(), report);
    });
}

#[test]
fn two_sites_histories_are_linearizable_and_lost_connections_do_not_change_that() {
    run(async {
        let setting = Setting::new();
        let clock = soon();
        let mut files = Vec::new();
        let mut runners: Vec<SiteRunner> = (0..2)
            .map(|index| {
                let mut plan = plan(Arrival::Closed { outstanding: 4 });
                plan.operations = OperationMix { put: 0.2, increment: 0.1, ..plan.operations };
                setting.site(plan, NAMES[index], index)
            })
            .collect();
        for runner in &runners {
            runner.connect(Duration::from_secs(10)).await.unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let mut runs = tokio::task::JoinSet::new();
        for (index, mut runner) in runners.drain(..).enumerate() {
            let path = dir.path().join(format!("{index}.jsonl.zst"));
            let file = std::fs::File::create(&path).unwrap();
            let history = HistoryWriter::new(file, NAMES[index]).unwrap();
            files.push(path);
            runs.spawn_local(async move { runner.run(clock, Some(Box::new(history))).await });
        }
        for step in 0..6 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            setting.replicas[step % 3].disconnect_all();
        }
        let mut reports = Vec::new();
        while let Some(report) = runs.join_next().await {
            reports.push(report.unwrap().unwrap());
        }
        for report in &reports {
            let (count, errors) = totals(report);
            assert!(count > 500 && errors == 0, "{count} done, {errors} errors");
            assert!(report.reconnects >= 3, "{}", report.reconnects);
        }
        assert!(reports.iter().any(|r| r.clients.resends > 0));
        let history = read_history(&files).unwrap();
        assert_eq!(history.operations.len() as u64, setting.store.borrow().applied());
        let verdict = check(&history, &Limits::default());
        assert!(matches!(verdict, Verdict::Valid), "{verdict:?}");
    });
}

#[test]
fn operations_that_nobody_answers_end_as_info_and_the_run_ends_after_its_timeout() {
    run(async {
        let (setting, history) = (Setting::new(), Shared::default());
        setting.replicas.iter().for_each(|replica| replica.mute.set(true));
        let mut plan = plan(Arrival::Constant { rate_per_s: 100.0 });
        plan.timeout = Duration::from_millis(500);
        let before = std::time::Instant::now();
        let report = run_one(&setting, plan, &history).await;
        assert!(before.elapsed() < Duration::from_millis(2500));
        let (count, errors) = totals(&report);
        assert_eq!((count, errors, report.warmup_errors), (0, 100, 30));
        assert_eq!(history.stages(|s| *s == Stage::Info), 130);
        assert_eq!(setting.store.borrow().applied(), 130, "retries took effect once");
        let served: Vec<u64> = setting.replicas.iter().map(|r| r.served.get()).collect();
        assert!(served[1] > 0 && served[2] > 0, "every replica was tried: {served:?}");
    });
}

#[test]
fn a_mute_replica_costs_one_retry_time_and_the_others_take_over() {
    run(async {
        let (setting, history) = (Setting::new(), Shared::default());
        setting.replicas[0].mute.set(true);
        let plan = plan(Arrival::Constant { rate_per_s: 1000.0 });
        let report = run_one(&setting, plan, &history).await;
        assert_eq!(totals(&report), (1000, 0));
        assert_eq!(report.clients.suspicions, 1);
        let p50 = report.operations.iter().filter_map(|o| o.latency_ms).map(|l| l.p50);
        assert!(p50.fold(0.0, f64::max) < 100.0, "the warm-up paid for it");
    });
}

#[test]
fn flipped_bits_are_recorded_as_corrupt_and_the_checker_refuses_their_history() {
    run(async {
        let setting = Setting::new();
        setting.replicas.iter().for_each(|replica| replica.corrupts.set(true));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("virginia.jsonl.zst");
        let file = std::fs::File::create(&path).unwrap();
        let history = HistoryWriter::new(file, "virginia").unwrap();
        let plan = plan(Arrival::Constant { rate_per_s: 500.0 });
        let mut runner = setting.site(plan, "virginia", 0);
        runner.connect(Duration::from_secs(10)).await.unwrap();
        let report = runner.run(soon(), Some(Box::new(history))).await.unwrap();
        let corrupt: u64 = report.operations.iter().map(|o| o.corrupt).sum();
        assert!(corrupt > 50, "{corrupt}");
        let history = read_history(&[path]).unwrap();
        let seen = history.operations.iter();
        let seen = seen.filter(|o| format!("{:?}", o.completion).contains("Corrupt")).count();
        assert_eq!(seen as u64, corrupt);
        assert!(matches!(check(&history, &Limits::default()), Verdict::Invalid(_)));
    });
}

#[test]
fn a_stopped_run_ends_at_once_and_says_so() {
    run(async {
        let setting = Setting::new();
        let mut long = plan(Arrival::Closed { outstanding: 2 });
        long.measure = Duration::from_secs(1000);
        let mut runner = setting.site(long, "virginia", 0);
        let handle = runner.handle();
        runner.connect(Duration::from_secs(10)).await.unwrap();
        assert_eq!(handle.progress().connected, 3);
        let running =
            tokio::task::spawn_local(async move { runner.run(soon(), None).await.unwrap() });
        while handle.progress().completed < 100 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(handle.progress().pending, 8);
        handle.stop();
        let report = running.await.unwrap();
        assert!(report.stopped);
        assert!(report.warmup_completed >= 100);
    });
}

#[test]
fn a_replica_that_is_not_there_is_named() {
    run(async {
        let mut setting = Setting::new();
        let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        setting.targets[1].address = nobody.local_addr().unwrap();
        let runner = setting.site(plan(Arrival::Closed { outstanding: 2 }), "virginia", 0);
        let error = runner.connect(Duration::from_millis(300)).await.unwrap_err();
        assert!(matches!(error, RunError::NotConnected { .. }));
        let text = error.to_string();
        assert!(text.contains("tokyo at 127.0.0.1") && !text.contains("ireland"), "{text}");
    });
}

#[test]
fn a_history_that_cannot_be_written_fails_the_run() {
    struct Full;
    impl HistorySink for Full {
        fn write(&mut self, _: &Event) -> std::io::Result<()> {
            Err(std::io::ErrorKind::StorageFull.into())
        }

        fn finish(self: Box<Self>) -> std::io::Result<()> {
            Ok(())
        }
    }
    run(async {
        let setting = Setting::new();
        let mut runner = setting.site(plan(Arrival::Constant { rate_per_s: 100.0 }), "virginia", 0);
        runner.connect(Duration::from_secs(10)).await.unwrap();
        let result = runner.run(soon(), Some(Box::new(Full))).await;
        assert!(matches!(result, Err(RunError::History(_))));
    });
}
