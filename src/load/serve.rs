//! The load generator as a process: it waits for the driver, which says when to start and takes the
//! report, over the same mutual TLS as everything else.

use std::cell::RefCell;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use quinn::Connection;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::Target;
use super::client::SiteIdentity;
use super::history::HistorySink;
use super::plan::{OperationMix, Retries};
use super::report::SiteReport;
use super::run::{Progress, RunClock, RunError, RunHandle, SiteRunner, SiteSetup};
use crate::check::history::HistoryWriter;
use crate::cluster::{BadClusterFile, ClusterFile, Member, ProtocolChoice};
use crate::command::NodeId;
use crate::net::{
    Endpoint, Identity, NetError, Purpose, Shaper, ShaperControl, ShaperReport, is_open,
};
use crate::replica::DRIVER_NAME;
use crate::worker::Ending;

/// A request of the driver.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadAsk {
    /// Wait until all replicas that are members at first are connected, at most so long:
    /// [`LoadAnswer::Done`].
    Connect {
        /// How long.
        limit: Duration,
    },
    /// Run the plan, from when the monotonic clock of this machine shows `start_ns`. Answered at the
    /// end: [`LoadAnswer::Report`].
    Run {
        /// When, in ns.
        start_ns: u64,
        /// Where the history goes, if the plan records one.
        history: Option<PathBuf>,
    },
    /// How far it is: [`LoadAnswer::Progress`].
    Progress,
    /// What the shaper did: [`LoadAnswer::Shaper`].
    Shaper,
    /// End the process: [`LoadAnswer::Done`].
    Stop,
}

/// An answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadAnswer {
    /// It is done.
    Done,
    /// To [`LoadAsk::Run`].
    Report(Box<SiteReport>),
    /// To [`LoadAsk::Progress`].
    Progress(Progress),
    /// To [`LoadAsk::Shaper`]; none without one.
    Shaper(Option<ShaperReport>),
}

/// Why a load generator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The cluster file does not name the site.
    #[error("{file}: no load generator is at site `{site}`; there is one at: {known}")]
    Unknown {
        /// The cluster file.
        file: String,
        /// The site that was asked for.
        site: String,
        /// Those that there are.
        known: String,
    },
    /// The cluster file says nothing of a load.
    #[error("{0}: there is no `load` in it; add one, or let `paxbench run` write the file")]
    NoPlan(String),
    /// The plan does not suit the protocol.
    #[error("{0}: load.{1}")]
    BadPlan(String, String),
    /// The cluster file cannot be used.
    #[error(transparent)]
    File(#[from] BadClusterFile),
    /// The network cannot be used.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The plan cannot be run.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl Ending for LoadError {
    fn is_bad_usage(&self) -> bool {
        matches!(
            self,
            LoadError::Unknown { .. }
                | LoadError::NoPlan(_)
                | LoadError::BadPlan(..)
                | LoadError::File(_)
        )
    }
}

/// What requests act on.
struct Site {
    name: String,
    runner: tokio::sync::Mutex<SiteRunner>,
    handle: RunHandle,
    shaper: Option<ShaperControl>,
    stop: Notify,
}

/// Serves the load generator of `site` until the driver stops it.
pub async fn run(path: &Path, site: &str) -> Result<(), LoadError> {
    let file = ClusterFile::read(path)?;
    let shown = || path.display().to_string();
    let Some(index) = file.loads.iter().position(|member| member.site == site) else {
        let known: Vec<_> = file.loads.iter().map(|member| member.site.as_str()).collect();
        let (site, known) = (site.to_owned(), known.join(", "));
        return Err(LoadError::Unknown { file: shown(), site, known });
    };
    let plan = file.load.clone().ok_or_else(|| LoadError::NoPlan(shown()))?;
    check_plan(plan.retries, plan.operations, &file.protocol)
        .map_err(|why| LoadError::BadPlan(shown(), why))?;
    let me = &file.loads[index];
    let identity = Identity::load(&file.certs, &me.name)?;
    let shaper = Shaper::for_member(&file, &me.name)?;
    let control = shaper.as_ref().map(Shaper::control);
    let endpoint = Endpoint::bind(&identity, me.address, &file.transport, shaper)?;
    let setup = SiteSetup {
        site: SiteIdentity { name: site.to_owned(), index, run_nonce: plan.seed },
        plan,
        replicas: nearest_first(&file, site),
        transport: file.transport.clone(),
    };
    let runner = SiteRunner::new(&endpoint, setup)?;
    let (handle, stop) = (runner.handle(), Notify::new());
    let runner = tokio::sync::Mutex::new(runner);
    let site = Rc::new(Site { name: site.to_owned(), runner, handle, shaper: control, stop });
    let outcome = tokio::select! {
        outcome = accept_driver(&endpoint, &site) => outcome,
        () = site.stop.notified() => Ok(()),
    };
    endpoint.shut_down().await;
    outcome
}

/// Whether the replicas can do what the clients ask for; else which key of the plan is wrong, and what to write.
fn check_plan(
    retries: Retries,
    operations: OperationMix,
    protocol: &ProtocolChoice,
) -> Result<(), String> {
    let mode = protocol.name();
    if retries == Retries::AnyReplica && protocol.retries() == Retries::SameReplica {
        return Err(format!(
            "retries: a replica of mode {mode} does not know which commands another has begun; write \
             same_replica"
        ));
    }
    if operations.transfer > 0.0 && !protocol.has_transfers() {
        return Err(format!(
            "operations.transfer: commands of mode {mode} touch one key each; write 0"
        ));
    }
    Ok(())
}

async fn accept_driver(endpoint: &Endpoint, site: &Rc<Site>) -> Result<(), LoadError> {
    let driving = RefCell::new(None::<Connection>);
    loop {
        let allow = |purpose, name: &str| match purpose == Purpose::Control && name == DRIVER_NAME {
            false => Err(format!("`{name}` is no {purpose} of a load generator")),
            true if is_open(driving.borrow().as_ref()) => Err("another driver is here".to_owned()),
            true => Ok(()),
        };
        let accepted = endpoint.accept(allow).await?;
        driving.replace(Some(accepted.connection.clone()));
        let site = site.clone();
        tokio::task::spawn_local(async move {
            let handle = move |ask| {
                let site = site.clone();
                async move { answer(ask, &site).await }
            };
            if let Err(reason) = crate::net::serve(&accepted.connection, handle).await {
                tracing::debug!(%reason, "the driver is gone");
            }
        });
    }
}

async fn answer(ask: LoadAsk, site: &Site) -> Result<LoadAnswer, String> {
    let busy = |_| "a run is under way".to_owned();
    match ask {
        LoadAsk::Connect { limit } => {
            let runner = site.runner.try_lock().map_err(busy)?;
            runner.connect(limit).await.map_err(|e| e.to_string())?;
            Ok(LoadAnswer::Done)
        }
        LoadAsk::Run { start_ns, history } => {
            let mut runner = site.runner.try_lock().map_err(busy)?;
            let sink = history.map(|path| open_history(&path, site)).transpose()?;
            let clock = RunClock::starting_at_monotonic(start_ns);
            let report = runner.run(clock, sink).await.map_err(|e| e.to_string())?;
            Ok(LoadAnswer::Report(Box::new(report)))
        }
        LoadAsk::Progress => Ok(LoadAnswer::Progress(site.handle.progress())),
        LoadAsk::Shaper => {
            Ok(LoadAnswer::Shaper(site.shaper.as_ref().map(ShaperControl::lateness)))
        }
        LoadAsk::Stop => {
            site.handle.stop();
            site.stop.notify_one();
            Ok(LoadAnswer::Done)
        }
    }
}

fn open_history(path: &Path, site: &Site) -> Result<Box<dyn HistorySink>, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let file = File::create(path).map_err(failed)?;
    Ok(Box::new(HistoryWriter::new(BufWriter::new(file), &site.name).map_err(failed)?))
}

/// The replicas, and the spares, which may never come: nearest first by the matrix; without one the
/// site's own first.
fn nearest_first(file: &ClusterFile, site: &str) -> Vec<Target> {
    let rtt_ms = |member: &Member| {
        let Some(shaping) = &file.shaping else { return f64::from(u8::from(member.site != site)) };
        let place = |site: &str| shaping.sites.iter().position(|name| name == site);
        match place(site).zip(place(&member.site)) {
            Some((a, b)) => shaping.rtt_ms[a][b],
            None => f64::MAX,
        }
    };
    let mut members: Vec<_> = file.identities().enumerate().collect();
    members.sort_by(|(_, a), (_, b)| rtt_ms(a).total_cmp(&rtt_ms(b)));
    let target = |(index, member): (usize, &Member)| Target {
        node: NodeId(index as u8),
        name: member.name.clone(),
        address: member.address,
        required: index < file.replicas.len(),
    };
    members.into_iter().map(target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_ask_only_for_what_the_replicas_can_do() {
        let check = |mode: &str, retries, transfer| {
            let protocol = serde_json::from_value(serde_json::json!({ "mode": mode })).unwrap();
            check_plan(retries, OperationMix { transfer, ..OperationMix::default() }, &protocol)
        };
        assert_eq!(check("epaxos", Retries::AnyReplica, 0.1), Ok(()));
        assert_eq!(check("caspaxos", Retries::SameReplica, 0.0), Ok(()));
        let why = check("caspaxos", Retries::AnyReplica, 0.0).unwrap_err();
        assert!(why.starts_with("retries: ") && why.ends_with("write same_replica"), "{why}");
        let why = check("caspaxos", Retries::SameReplica, 0.1).unwrap_err();
        assert!(why.starts_with("operations.transfer: ") && why.ends_with("write 0"), "{why}");
    }
}
