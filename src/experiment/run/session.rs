//! One run: its processes, from the first connection to the last answer.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use quinn::Connection;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::RunError;
use super::convergence::Look;
use super::faults::{self, Played, Stage, Victim};
use super::processes::{Worker, cluster_file};
use super::progress::Progress;
use super::setting::{Outcome, RoundTrips, Setting};
use super::spares::Spares;
use crate::cluster::{ClusterFile, Member, TransportOptions};
use crate::load::report::SiteReport;
use crate::load::run::{Progress as LoadProgress, monotonic_ns};
use crate::load::serve::{LoadAnswer, LoadAsk};
use crate::net::{Endpoint, Identity, NetError, Purpose, ShaperReport, request};
use crate::replica::DRIVER_NAME;
use crate::replica::control::{Answer, Ask, Status};
use crate::results::ReplicaCounters;
use crate::worker;

/// How long workers may take to start and to connect.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long replicas may take to reach the same state after the load.
const CONVERGE_LIMIT: Duration = Duration::from_secs(20);
/// How long a worker may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How long a worker whose connection is lost may take to say why.
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(1);
/// How often something is looked at that does not announce itself.
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// Between telling the load generators when to start, and that time.
const START_AHEAD: Duration = Duration::from_millis(500);
/// Pings to each peer, before and after the load.
const PINGS: usize = 25;

/// The driver's connection to somebody, whoever started it.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) connection: Connection,
}

impl Line {
    pub(super) async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        ask: &Q,
    ) -> Result<A, RunError> {
        let refused =
            |why: NetError| RunError::Refused { who: self.name.clone(), why: why.to_string() };
        request(&self.connection, ask).await.map_err(refused)
    }

    pub(super) async fn status(&self) -> Result<Status, RunError> {
        match self.ask(&Ask::Status).await? {
            Answer::Status(status) => Ok(status),
            _ => Err(RunError::Refused {
                who: self.name.clone(),
                why: "it did not say its status".to_owned(),
            }),
        }
    }
}

/// What the cluster file of a run is called.
const CONFIG: &str = "cluster.yaml";

/// A worker that the driver has started, and the connection to it.
struct Controlled {
    worker: Worker,
    line: Line,
}

impl Controlled {
    async fn ask<Q: Serialize, A: DeserializeOwned>(&self, ask: &Q) -> Result<A, RunError> {
        self.line.ask(ask).await
    }

    /// What the process said last, if it has ended or is about to; else the error as it is.
    async fn explain(&mut self, error: RunError) -> RunError {
        if self.line.connection.close_reason().is_none() {
            return error;
        }
        // Its connection may be lost just before it is gone.
        let end = first_end(std::slice::from_mut(self));
        tokio::time::timeout(LAST_WORDS_LIMIT, end).await.map_or(error, RunError::Worker)
    }
}

/// The processes of one run.
pub(super) struct Session<'a> {
    setting: Setting<'a>,
    endpoint: Endpoint,
    replicas: Vec<Controlled>,
    loads: Vec<Controlled>,
    spares: Spares,
    /// Those of them that the driver has started.
    started: Vec<Worker>,
    notes: Vec<String>,
    work: TempDir,
}

impl<'a> Session<'a> {
    /// Starts all workers, and returns when everybody is connected with everybody.
    pub(super) async fn start(
        setting: &Setting<'a>,
        identities: &Path,
        progress: &Progress,
    ) -> Result<Session<'a>, RunError> {
        let cluster = cluster_file(setting, identities)?;
        let work = tempfile::Builder::new().prefix("paxbench-").tempdir();
        let work = work.map_err(|e| RunError::Worker(format!("temporary directory: {e}")))?;
        let config = work.path().join(CONFIG);
        let text = serde_yaml::to_string(&cluster).map_err(|e| RunError::Worker(e.to_string()))?;
        std::fs::write(&config, text)
            .map_err(|e| RunError::Worker(format!("{}: {e}", config.display())))?;
        let identity = Identity::load(identities, DRIVER_NAME)?;
        let any = (std::net::Ipv4Addr::LOCALHOST, 0).into();
        let endpoint = Endpoint::bind(&identity, any, &TransportOptions::default(), None)?;
        let start = |member: &Member, binary: &str, arguments: &[&str]| {
            let log = setting.log_path(&member.name)?;
            Worker::start(binary, arguments, &member.name, &config, log)
        };
        progress.say("starting replicas");
        let mut workers = Vec::new();
        for member in &cluster.replicas {
            workers.push(start(member, worker::REPLICA, &["--node", &member.name])?);
        }
        let replicas = connect_all(&endpoint, &cluster.replicas, workers).await?;
        let mut session = Session {
            setting: *setting,
            spares: Spares::look_for(&endpoint, &cluster.spares),
            replicas,
            started: Vec::new(),
            loads: Vec::new(),
            endpoint,
            notes: Vec::new(),
            work,
        };
        session.await_ready().await?;
        progress.say("starting load generators");
        let mut workers = Vec::new();
        for member in &cluster.loads {
            workers.push(start(member, worker::LOAD, &["--site", &member.site])?);
        }
        session.connect_loads(&cluster, workers).await?;
        let joins = |spare: &&Member| session.setting.experiment.starts(&spare.name);
        for spare in cluster.spares.iter().filter(|spare| !joins(spare)) {
            progress.tell(&how_to_join(&config, spare));
        }
        Ok(session)
    }

    async fn await_ready(&mut self) -> Result<(), RunError> {
        let deadline = Instant::now() + START_LIMIT;
        let mut looks = tokio::time::interval(LOOK_PERIOD);
        loop {
            looks.tick().await;
            let mut waiting = Vec::new();
            for replica in &mut self.replicas {
                if let Some(end) = replica.worker.ended() {
                    return Err(RunError::Worker(end));
                }
                let state = match replica.line.status().await {
                    Ok(state) => state,
                    Err(error) => return Err(replica.explain(error).await),
                };
                if !state.ready {
                    waiting.push(replica.worker.name.as_str());
                }
            }
            if waiting.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let (names, limit) = (waiting.join(", "), START_LIMIT.as_secs());
                let what = format!("{names}: not connected with all others after {limit} s");
                return Err(RunError::Worker(what));
            }
        }
    }

    async fn connect_loads(
        &mut self,
        cluster: &ClusterFile,
        workers: Vec<Worker>,
    ) -> Result<(), RunError> {
        self.loads = connect_all(&self.endpoint, &cluster.loads, workers).await?;
        let ask = LoadAsk::Connect { limit: START_LIMIT };
        let connected = async {
            for load in &mut self.loads {
                if let Err(error) = load.ask::<_, LoadAnswer>(&ask).await {
                    return Err(load.explain(error).await);
                }
            }
            Ok(())
        };
        tokio::select! {
            outcome = connected => outcome,
            // Nobody can connect with all any more.
            end = first_end(&mut self.replicas) => Err(RunError::Worker(end)),
        }
    }

    /// Measures the network, applies the load, collects, and ends the processes.
    pub(super) async fn conduct(mut self, progress: &Progress) -> Result<Outcome, RunError> {
        progress.say("measuring the network");
        let before = self.measure_round_trips().await;
        let start_ns = monotonic_ns() + START_AHEAD.as_nanos() as u64;
        let phases = self.setting.experiment.phases;
        let began = SystemTime::now() + START_AHEAD + phases.warmup;
        let mut asks = self.run_requests(start_ns)?;
        let load = async {
            let mut reports = Vec::new();
            while let Some(report) = asks.join_next().await {
                reports.push(report.map_err(|e| RunError::Worker(e.to_string()))??);
            }
            Ok::<_, RunError>(reports)
        };
        let (experiment, victims) = (self.setting.experiment, self.victims());
        let plan = experiment.shaping_plan(self.setting.run.seed);
        let measure_ns = start_ns + phases.warmup.as_nanos() as u64;
        let (setting, config) = (self.setting, self.work.path().join(CONFIG));
        let start = |spare: &str, replaced: Option<&str>| {
            let mut arguments = vec!["--node", spare];
            arguments.extend(replaced.into_iter().flat_map(|replaced| ["--replaces", replaced]));
            Worker::start(worker::REPLICA, &arguments, spare, &config, setting.log_path(spare)?)
        };
        let (victims, spares) = (&*victims, self.spares.clone());
        let stage = Stage { victims, spares, plan: plan.as_ref(), start };
        let faults = faults::play(&experiment.faults, stage, measure_ns);
        let watch = self.watch(start_ns, progress);
        let (mut reports, (replicas, mut shapers), Played { marks, started }) =
            match tokio::try_join!(load, watch, faults) {
                Ok(all) => all,
                Err(error) => return Err(self.explain(error).await),
            };
        let sites = &self.setting.experiment.network.sites;
        reports.sort_by_key(|report| sites.iter().position(|site| *site == report.site));
        progress.say("waiting for the replicas to agree");
        let converged = self.await_convergence().await;
        let mut replicas = replicas;
        self.note_final_states(&mut replicas).await;
        let after = self.measure_round_trips().await;
        for load in &self.loads {
            if let LoadAnswer::Shaper(Some(report)) = load.ask(&LoadAsk::Shaper).await? {
                shapers.push((load.worker.name.clone(), report));
            }
        }
        self.started = started;
        self.note_who_did_not_join();
        self.stop().await;
        let notes = std::mem::take(&mut self.notes);
        let outcome = Outcome {
            began,
            reports,
            replicas,
            shapers,
            before,
            after,
            converged,
            faults: marks,
            notes,
        };
        Ok(outcome)
    }

    fn note_who_did_not_join(&mut self) {
        let run = self.setting.run_name();
        let ends = self.started.iter_mut().filter_map(Worker::ended);
        self.notes.extend(ends.map(|end| format!("{run}: {end}")));
    }

    fn victims(&self) -> Vec<Victim> {
        let victim =
            |replica: &Controlled| Victim { line: replica.line.clone(), pid: replica.worker.pid() };
        self.replicas.iter().map(victim).collect()
    }

    /// The requests that start each load generator, to be answered with its report.
    fn run_requests(
        &self,
        start_ns: u64,
    ) -> Result<JoinSet<Result<SiteReport, RunError>>, RunError> {
        let sites = &self.setting.experiment.network.sites;
        let mut asks = JoinSet::new();
        for (load, site) in self.loads.iter().zip(sites) {
            let path = self.setting.history_path(site)?;
            let history = path.map(|path| std::path::absolute(&path).unwrap_or(path));
            let ask = LoadAsk::Run { start_ns, history };
            let Line { connection, name: who } = load.line.clone();
            asks.spawn_local(async move {
                match request(&connection, &ask).await {
                    Ok(LoadAnswer::Report(report)) => Ok(*report),
                    Ok(_) => Err(RunError::Refused { who, why: "no report".to_owned() }),
                    Err(why) => Err(RunError::Refused { who, why: why.to_string() }),
                }
            });
        }
        Ok(asks)
    }

    /// Marks the measured phase at the replicas and takes their counters at its end; meanwhile shows
    /// how far the load is.
    async fn watch(
        &mut self,
        start_ns: u64,
        progress: &Progress,
    ) -> Result<(Vec<ReplicaCounters>, Vec<(String, ShaperReport)>), RunError> {
        let phases = self.setting.experiment.phases;
        let measure_ns = start_ns + phases.warmup.as_nanos() as u64;
        let end_ns = measure_ns + phases.measure.as_nanos() as u64;
        self.show_until(measure_ns, start_ns, progress).await?;
        for replica in self.lines() {
            // One that dies now is noticed and noted when its counters are missing.
            let _ = replica.ask::<_, Answer>(&Ask::Mark).await;
        }
        self.show_until(end_ns, start_ns, progress).await?;
        let (mut replicas, mut shapers) = (Vec::new(), Vec::new());
        for replica in self.lines() {
            if let Ok(Answer::Counters { replica: counters, shaper }) =
                replica.ask(&Ask::Counters).await
            {
                replicas.push(*counters);
                shapers.extend(shaper.map(|report| (replica.name.clone(), report)));
            }
        }
        Ok((replicas, shapers))
    }

    async fn show_until(
        &mut self,
        until_ns: u64,
        start_ns: u64,
        progress: &Progress,
    ) -> Result<(), RunError> {
        let mut before: Option<(u64, u64)> = None;
        loop {
            let now_ns = monotonic_ns();
            if now_ns >= until_ns {
                return Ok(());
            }
            let pause = Duration::from_nanos(until_ns - now_ns).min(Duration::from_secs(1));
            tokio::time::sleep(pause).await;
            self.note_deaths();
            if let Some(end) = self.loads.iter_mut().find_map(|load| load.worker.ended()) {
                return Err(RunError::Worker(end));
            }
            let (mut completed, mut errors) = (0, 0);
            for load in &self.loads {
                if let Ok(LoadAnswer::Progress(LoadProgress { completed: c, errors: e, .. })) =
                    load.ask(&LoadAsk::Progress).await
                {
                    completed += c;
                    errors += e;
                }
            }
            let now_ns = monotonic_ns();
            let rate_per_s = before.map_or(0.0, |(then_ns, then)| {
                completed.saturating_sub(then) as f64 / ((now_ns - then_ns) as f64 / 1e9)
            });
            before = Some((now_ns, completed));
            let since_start = Duration::from_nanos(now_ns.saturating_sub(start_ns));
            progress.load(since_start, completed, errors, rate_per_s);
        }
    }

    /// Replicas that have died during the load are part of what is measured: noted, not fatal.
    fn note_deaths(&mut self) {
        let run = self.setting.run_name();
        self.replicas.retain_mut(|replica| {
            let Some(end) = replica.worker.ended() else { return true };
            self.notes.push(format!("{run}: {end}"));
            false
        });
    }

    /// The replicas that can be asked: those that the driver started and that live, and the spares that a
    /// person started.
    fn lines(&mut self) -> Vec<Line> {
        self.note_deaths();
        let started = self.replicas.iter().map(|replica| replica.line.clone());
        started.chain(self.spares.lines()).collect()
    }

    /// What a dead load generator has to do with an error, if there is one.
    async fn explain(&mut self, error: RunError) -> RunError {
        let who = match &error {
            RunError::Refused { who, .. } => who.clone(),
            _ => return error,
        };
        match self.loads.iter_mut().find(|load| load.worker.name == who) {
            Some(load) => load.explain(error).await,
            None => error,
        }
    }

    async fn look(&mut self) -> Look {
        Look::at(self.lines()).await
    }

    /// Waits until all live members have the same state. What others know is their own affair: who was
    /// replaced learns nothing more.
    async fn await_convergence(&mut self) -> Option<bool> {
        let deadline = Instant::now() + CONVERGE_LIMIT;
        let mut looks = tokio::time::interval(LOOK_PERIOD);
        let mut last = Look::default();
        while Instant::now() < deadline && !self.lines().is_empty() {
            looks.tick().await;
            last = self.look().await;
            if last.agrees() && last.misses(&self.setting.experiment.faults).is_none() {
                break;
            }
        }
        let (run, experiment) = (self.setting.run_name(), self.setting.experiment);
        let said = |why| format!("{run}: a replica did not say its state: {why}");
        self.notes.extend(last.silent_members().map(said));
        if let Some(why) = last.misses(&experiment.faults) {
            self.notes.push(format!("{run}: {why}"));
        }
        last.verdict(experiment.network.sites.len())
    }

    async fn note_final_states(&mut self, counters: &mut [ReplicaCounters]) {
        let look = self.look().await;
        for (name, status) in look.judged() {
            if let Some(counters) = counters.iter_mut().find(|c| c.node == *name) {
                counters.final_applied = Some(status.applied);
                counters.final_digest = Some(status.digest.clone());
            }
        }
    }

    /// Round trips between all pairs of live replicas.
    async fn measure_round_trips(&mut self) -> Vec<RoundTrips> {
        let asks = self.lines().into_iter().map(|Line { connection, name: from }| {
            tokio::task::spawn_local(async move {
                let ask = Ask::MeasureRoundTrips { pings: PINGS };
                (from, request::<_, Answer>(&connection, &ask).await)
            })
        });
        let mut found = Vec::new();
        for ask in asks.collect::<Vec<_>>() {
            let Ok((from, Ok(Answer::RoundTrips(peers)))) = ask.await else { continue };
            let trips = peers.into_iter().filter(|(_, ms)| !ms.is_empty());
            found.extend(trips.map(|(to, ms)| RoundTrips { from: from.clone(), to, ms }));
        }
        found
    }

    /// Ends all processes; who does not end in time is killed.
    async fn stop(&mut self) {
        for load in &self.loads {
            // One that is gone already has nothing to say.
            let _ = load.ask::<_, LoadAnswer>(&LoadAsk::Stop).await;
        }
        for replica in self.lines() {
            let _ = replica.ask::<_, Answer>(&Ask::Stop).await;
        }
        let ended = async {
            let controlled = self.loads.iter_mut().chain(&mut self.replicas);
            for worker in controlled.map(|it| &mut it.worker).chain(&mut self.started) {
                worker.wait().await;
            }
        };
        if tokio::time::timeout(STOP_LIMIT, ended).await.is_err() {
            let run = self.setting.run_name();
            let workers = self.loads.iter_mut().chain(&mut self.replicas);
            let stuck = workers.filter_map(|controlled| match controlled.worker.ended() {
                None => Some(controlled.worker.name.clone()),
                Some(_) => None,
            });
            let said = |name| format!("{run}: {name} did not end when told to and was killed");
            self.notes.extend(stuck.map(said));
        }
    }
}

/// Waits until one of the workers has ended, and says which.
async fn first_end(workers: &mut [Controlled]) -> String {
    let mut looks = tokio::time::interval(LOOK_PERIOD);
    loop {
        looks.tick().await;
        if let Some(end) = workers.iter_mut().find_map(|controlled| controlled.worker.ended()) {
            return end;
        }
    }
}

/// What a person is told who may want a spare to join: the command line, for the replica of its site.
fn how_to_join(config: &Path, Member { name, site, .. }: &Member) -> String {
    let config = config.display();
    format!(
        "{name} can join: {} --config {config} --node {name} --replaces {site}",
        worker::REPLICA
    )
}

/// Connects to each worker, trying again until it listens, it ends, or time is up.
async fn connect_all(
    endpoint: &Endpoint,
    members: &[Member],
    workers: Vec<Worker>,
) -> Result<Vec<Controlled>, RunError> {
    let mut controlled = Vec::new();
    for (member, mut worker) in members.iter().zip(workers) {
        let deadline = Instant::now() + START_LIMIT;
        let connection = loop {
            let attempt = endpoint.connect(member.address, &member.name, Purpose::Control);
            match tokio::time::timeout(Duration::from_secs(1), attempt).await {
                Ok(Ok(connection)) => break connection,
                Ok(Err(error)) if Instant::now() > deadline => return Err(error.into()),
                Ok(Err(_)) | Err(_) => {}
            }
            if let Some(end) = worker.ended() {
                return Err(RunError::Worker(end));
            }
            if Instant::now() > deadline {
                let what = format!("{} does not answer after {START_LIMIT:?}", member.name);
                return Err(RunError::Worker(what));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let line = Line { name: worker.name.clone(), connection };
        controlled.push(Controlled { worker, line });
    }
    Ok(controlled)
}
