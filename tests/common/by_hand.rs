//! A cluster whose workers a person starts, and the library as its driver.

use std::cell::RefCell;
use std::fs::File;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use paxbench::cluster::{ClusterFile, Member, ShapingPlan, TransportOptions};
use paxbench::experiment::file::Check;
use paxbench::experiment::run::verdict::{Checked, check_files};
use paxbench::load::plan::{Arrival, KeyChoice, LoadPlan, OperationMix, Retries};
use paxbench::load::report::SiteReport;
use paxbench::load::run::monotonic_ns;
use paxbench::load::serve::{LoadAnswer, LoadAsk};
use paxbench::net::{Endpoint, Existing, Identity, Purpose, generate, request};
use paxbench::replica::control::{Answer, Ask, Status};
use quinn::Connection;
use rustix::process::Signal;

use super::{LIMIT, LOAD, REPLICA};

pub const SITES: [&str; 3] = ["oslo", "rome", "cairo"];

/// Runs a test on one thread with local tasks, as the processes of paxbench run.
pub fn on_one_thread<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let limited = async { tokio::time::timeout(LIMIT, test).await };
    runtime.block_on(local.run_until(limited)).expect("the test hangs")
}

pub fn plan(measure: Duration) -> LoadPlan {
    LoadPlan {
        clients_per_site: 4,
        arrival: Arrival::Constant { rate_per_s: 100.0 },
        operations: OperationMix {
            put: 0.2,
            get: 0.2,
            cas: 0.2,
            rmw: 0.2,
            delete: 0.1,
            transfer: 0.1,
            ..OperationMix::default()
        },
        keys: KeyChoice::Uniform { keys: 20 },
        value_bytes: 16,
        warmup: Duration::from_millis(200),
        measure,
        retry_after: Duration::from_secs(1),
        retries: Retries::default(),
        timeout: Duration::from_secs(8),
        seed: 5,
        record_history: true,
    }
}

/// The files of a cluster in a directory, and the workers that were started.
pub struct ByHand {
    dir: tempfile::TempDir,
    pub file: ClusterFile,
    started: RefCell<Vec<Child>>,
}

impl Drop for ByHand {
    fn drop(&mut self) {
        for child in self.started.get_mut() {
            // One that has ended already is what most tests want.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl ByHand {
    /// Three replicas at equal distances, `rtt_ms` apart; 0 for no shaping.
    pub fn new(rtt_ms: f64, plan: LoadPlan) -> ByHand {
        let paxos = r#"{"mode": "paxos", "election_timeout_ms": 500}"#;
        ByHand::with_spares(rtt_ms, plan, paxos, &[])
    }

    /// Three replicas that run a protocol, and a spare called `SITE-2` at each of some sites.
    pub fn with_spares(rtt_ms: f64, plan: LoadPlan, protocol: &str, spares: &[&str]) -> ByHand {
        let dir = tempfile::tempdir().unwrap();
        let mut names: Vec<String> = SITES.map(str::to_owned).to_vec();
        names.extend(SITES.map(|site| format!("load-{site}")));
        names.extend(spares.iter().map(|site| format!("{site}-2")));
        names.push("driver".to_owned());
        generate(&dir.path().join("certs"), &names, Existing::Refuse).unwrap();
        let held: Vec<UdpSocket> =
            names.iter().map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let member_at = |index: usize, site: &str| Member {
            name: names[index].clone(),
            site: site.to_owned(),
            address: held[index].local_addr().unwrap(),
        };
        let member = |index: usize| member_at(index, SITES[index % 3]);
        let row = |a: usize| (0..3).map(|b| if a == b { 0.0 } else { rtt_ms }).collect();
        let shaping = ShapingPlan {
            sites: SITES.map(str::to_owned).to_vec(),
            rtt_ms: (0..3).map(row).collect(),
            jitter_ms: 0.0,
            loss: 0.0,
            reorder: 0.0,
            bandwidth_bps: None,
            seed: 7,
        };
        let file = ClusterFile {
            name: "by-hand".to_owned(),
            certs: "certs".into(),
            replicas: (0..3).map(member).collect(),
            spares: (6..).zip(spares).map(|(index, site)| member_at(index, site)).collect(),
            loads: (3..6).map(member).collect(),
            transport: TransportOptions::default(),
            shaping: (rtt_ms > 0.0).then_some(shaping),
            protocol: serde_json::from_str(protocol).unwrap(),
            load: Some(plan),
        };
        let cluster = ByHand { dir, file, started: RefCell::default() };
        std::fs::write(cluster.config(), serde_yaml::to_string(&cluster.file).unwrap()).unwrap();
        cluster
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn config(&self) -> PathBuf {
        self.dir().join("cluster.yaml")
    }

    pub fn certs(&self) -> PathBuf {
        self.dir().join("certs")
    }

    /// Starts a worker; its place among those that were started.
    fn start(&self, program: &str, arguments: &[&str]) -> usize {
        let mut started = self.started.borrow_mut();
        let log = File::create(self.dir().join(format!("{}.log", started.len()))).unwrap();
        let child = Command::new(program)
            .arg("--config")
            .arg(self.config())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        started.push(child);
        started.len() - 1
    }

    pub fn start_replica(&self, name: &str) -> usize {
        self.start(REPLICA, &["--node", name])
    }

    /// Starts a spare that joins in place of another.
    pub fn start_spare(&self, name: &str, replaces: &str) -> usize {
        self.start(REPLICA, &["--node", name, "--replaces", replaces])
    }

    /// Starts all replicas, in the file's order, then all load generators.
    pub fn start_all(&self) {
        for site in SITES {
            self.start_replica(site);
        }
        for site in SITES {
            self.start(LOAD, &["--site", site]);
        }
    }

    pub fn kill(&self, index: usize) {
        let child = &mut self.started.borrow_mut()[index];
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn signal(&self, index: usize, which: Signal) {
        super::signal(self.pid(index) as i32, which);
    }

    pub fn is_running(&self, index: usize) -> bool {
        self.started.borrow_mut()[index].try_wait().unwrap().is_none()
    }

    pub fn pid(&self, index: usize) -> u32 {
        self.started.borrow()[index].id()
    }

    /// Waits for the end of a worker: its exit code, and what it said.
    pub async fn ended(&self, index: usize) -> (Option<i32>, String) {
        loop {
            let status = self.started.borrow_mut()[index].try_wait().unwrap();
            if let Some(status) = status {
                return (status.code(), self.said(index));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn said(&self, index: usize) -> String {
        std::fs::read_to_string(self.dir().join(format!("{index}.log"))).unwrap()
    }

    pub fn identity(&self, name: &str) -> Identity {
        Identity::load(&self.certs(), name).unwrap()
    }

    /// An endpoint that bears a name of the cluster.
    pub fn endpoint(&self, name: &str) -> Endpoint {
        let any = "127.0.0.1:0".parse().unwrap();
        Endpoint::bind(&self.identity(name), any, &TransportOptions::default(), None).unwrap()
    }

    /// Connects to everybody as the driver; returns when all replicas take part.
    pub async fn drive(&self) -> Drive<'_> {
        let endpoint = self.endpoint("driver");
        let members = self.file.replicas.iter().chain(&self.file.loads);
        let mut connections = Vec::new();
        for member in members {
            let all_run = || {
                let count = self.started.borrow().len();
                let dead = (0..count).find(|index| !self.is_running(*index));
                assert_eq!(dead.map(|index| self.said(index)), None);
            };
            connections.push(control(&endpoint, member, all_run).await);
        }
        let drive = Drive { cluster: self, endpoint, connections: RefCell::new(connections) };
        for replica in 0..3 {
            while !drive.status(replica).await.unwrap().ready {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        drive
    }
}

/// Connects to a worker, which may still be starting, as the driver; `look` is called between attempts.
async fn control(endpoint: &Endpoint, member: &Member, look: impl Fn()) -> Connection {
    loop {
        let attempt = endpoint.connect(member.address, &member.name, Purpose::Control);
        match tokio::time::timeout(Duration::from_secs(1), attempt).await {
            Ok(Ok(connection)) => return connection,
            Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(_) => {}
        }
        look();
    }
}

async fn status_over(connection: &Connection) -> Option<Status> {
    match request(connection, &Ask::Status).await {
        Ok(Answer::Status(status)) => Some(status),
        _ => None,
    }
}

/// The driver's connections: replicas, then load generators, then spares that have joined.
pub struct Drive<'a> {
    cluster: &'a ByHand,
    endpoint: Endpoint,
    connections: RefCell<Vec<Connection>>,
}

impl Drive<'_> {
    pub async fn status(&self, replica: usize) -> Option<Status> {
        let connection = self.connections.borrow()[replica].clone();
        status_over(&connection).await
    }

    /// Waits until a spare that was started takes requests; its place among the connections.
    pub async fn joined(&self, spare: &Member, started: usize) -> usize {
        let runs = || assert!(self.cluster.is_running(started), "{}", self.cluster.said(started));
        let connection = control(&self.endpoint, spare, runs).await;
        while !status_over(&connection).await.is_some_and(|status| status.takes_requests) {
            runs();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.connections.borrow_mut().push(connection);
        self.connections.borrow().len() - 1
    }

    /// Connects to a spare that was started; its place among the connections.
    pub async fn connected(&self, spare: &Member) -> usize {
        let connection = control(&self.endpoint, spare, || ()).await;
        self.connections.borrow_mut().push(connection);
        self.connections.borrow().len() - 1
    }

    /// Waits until so many more operations have been answered.
    pub async fn goes_on(&self, operations: u64) {
        let enough = self.progress().await + operations;
        while self.progress().await < enough {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn loads(&self) -> Vec<Connection> {
        self.connections.borrow()[3..6].to_vec()
    }

    fn history(&self, site: &str) -> PathBuf {
        self.cluster.dir().join(format!("{site}.jsonl.zst"))
    }

    /// Runs the plan at all sites; their reports.
    pub async fn run(&self) -> Vec<SiteReport> {
        let loads = self.loads();
        for load in &loads {
            let ask = LoadAsk::Connect { limit: Duration::from_secs(20) };
            let _: LoadAnswer = request(load, &ask).await.unwrap();
        }
        let start_ns = monotonic_ns() + 300_000_000;
        let asks = loads.iter().zip(SITES).map(|(load, site)| {
            let ask = LoadAsk::Run { start_ns, history: Some(self.history(site)) };
            let load = load.clone();
            tokio::task::spawn_local(async move { request(&load, &ask).await })
        });
        let mut reports = Vec::new();
        for ask in asks.collect::<Vec<_>>() {
            match ask.await.unwrap() {
                Ok(LoadAnswer::Report(report)) => reports.push(*report),
                other => panic!("{other:?}"),
            }
        }
        reports
    }

    /// Waits until operations have been answered.
    pub async fn under_load(&self) {
        while self.progress().await == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Leaves the workers to the next driver.
    pub async fn leave(self) {
        self.endpoint.shut_down().await;
    }

    /// Operations answered so far, at all sites.
    pub async fn progress(&self) -> u64 {
        let mut completed = 0;
        for load in &self.loads() {
            match request(load, &LoadAsk::Progress).await {
                Ok(LoadAnswer::Progress(progress)) => completed += progress.completed,
                other => panic!("{other:?}"),
            }
        }
        completed
    }

    /// What the checker says of the recorded history.
    pub fn check(&self, reports: &[SiteReport]) -> Checked {
        let files = SITES.map(|site| self.history(site));
        let count = |report: &SiteReport| (report.site.clone(), answered(report));
        let counts: Vec<_> = reports.iter().map(count).collect();
        let limits =
            Check { history: true, memory_bytes: 1 << 30, timeout: Duration::from_secs(30) };
        check_files(&files, &counts, &limits)
    }

    /// Waits until these replicas have the same state.
    pub async fn converged(&self, replicas: &[usize]) {
        loop {
            let mut states = Vec::new();
            for replica in replicas {
                let status = self.status(*replica).await.expect("a live replica answers");
                states.push((status.applied, status.digest));
            }
            if states.iter().all(|state| *state == states[0]) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Operations of a site that were answered, warm-up included.
pub fn answered(report: &SiteReport) -> u64 {
    report.operations.iter().map(|op| op.count).sum::<u64>() + report.warmup_completed
}

/// Operations of a site that were not.
pub fn errors(report: &SiteReport) -> u64 {
    report.operations.iter().map(|op| op.errors.total()).sum::<u64>() + report.warmup_errors
}
