//! The workers as processes of this machine: what they are given, and that none outlives the run.

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::RunError;
use super::setting::Setting;
use crate::cluster::{ClusterFile, Member};
use crate::experiment::file::Experiment;
use crate::net::{Existing, NetError, generate};
use crate::replica::DRIVER_NAME;
use crate::worker::FOLLOW_DRIVER;

/// How much of a dead worker's log is read to find its last words.
const LAST_WORDS_BYTES: u64 = 4096;

/// How long a killed worker is waited for.
const REAP_LIMIT: Duration = Duration::from_secs(1);

/// The name of a site's load generator.
pub(super) fn load_name(site: &str) -> String {
    format!("load-{site}")
}

/// Makes the identities of all runs in a directory that goes away with the returned value.
pub(super) fn identities(experiment: &Experiment) -> Result<TempDir, RunError> {
    let directory = tempfile::Builder::new().prefix("paxbench-").tempdir();
    let directory = directory.map_err(|e| RunError::Worker(format!("temporary directory: {e}")))?;
    let sites = &experiment.network.sites;
    let mut names = sites.clone();
    names.extend(experiment.network.spare_names());
    names.extend(sites.iter().map(|site| load_name(site)));
    names.push(DRIVER_NAME.to_owned());
    generate(directory.path(), &names, Existing::Refuse)?;
    Ok(directory)
}

/// Free ports of the loopback. They are let go again for the workers to take, which could fail if
/// another program were faster; the worker then says so.
fn free_addresses(count: usize) -> Result<Vec<SocketAddr>, RunError> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let failed = |e: std::io::Error| NetError::Bind { address: any, what: e.to_string() };
    let sockets = (0..count).map(|_| UdpSocket::bind(any)).collect::<Result<Vec<_>, _>>();
    let sockets = sockets.map_err(failed)?;
    let addresses = sockets.iter().map(UdpSocket::local_addr).collect::<Result<_, _>>();
    Ok(addresses.map_err(failed)?)
}

/// The cluster file of one run, whose identities stand in a directory.
pub(super) fn cluster_file(
    setting: &Setting<'_>,
    identities: &Path,
) -> Result<ClusterFile, RunError> {
    let experiment = setting.experiment;
    let sites = &experiment.network.sites;
    let spares = &experiment.network.spares;
    let addresses = free_addresses(2 * sites.len() + spares.len())?;
    let member = |name: String, site: &String, address: &SocketAddr| Member {
        name,
        site: site.clone(),
        address: *address,
    };
    let (for_replicas, others) = addresses.split_at(sites.len());
    let (for_loads, for_spares) = others.split_at(sites.len());
    let named = experiment.network.spare_names().into_iter().zip(spares);
    Ok(ClusterFile {
        name: experiment.name.clone(),
        certs: identities.to_owned(),
        replicas: sites.iter().zip(for_replicas).map(|(s, a)| member(s.clone(), s, a)).collect(),
        spares: named.zip(for_spares).map(|((name, s), a)| member(name, s, a)).collect(),
        loads: sites.iter().zip(for_loads).map(|(s, a)| member(load_name(s), s, a)).collect(),
        transport: experiment.transport.clone(),
        shaping: experiment.shaping_plan(setting.run.seed),
        protocol: setting.protocol(),
        load: Some(experiment.load_plan(setting.mode(), setting.run.seed)),
    })
}

/// A worker process. Killed when dropped, and gone then.
pub(super) struct Worker {
    pub(super) name: String,
    log: PathBuf,
    child: Child,
}

impl Worker {
    /// Starts this program by the name of a worker, with its output in the run's `logs/`.
    pub(super) fn start(
        called: &str,
        arguments: &[&str],
        name: &str,
        config: &Path,
        log: PathBuf,
    ) -> Result<Worker, RunError> {
        let failed = |what: String| RunError::Worker(format!("{name}: cannot start: {what}"));
        let program = std::env::current_exe().map_err(|e| failed(e.to_string()))?;
        let output = File::create(&log).map_err(|e| failed(format!("{}: {e}", log.display())))?;
        let errors = output.try_clone().map_err(|e| failed(e.to_string()))?;
        let child = Command::new(&program)
            .arg0(called)
            .arg("--config")
            .arg(config)
            .args(arguments)
            .env(FOLLOW_DRIVER, "1")
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn();
        let child = child.map_err(|e| failed(format!("{}: {e}", program.display())))?;
        Ok(Worker { name: name.to_owned(), log, child })
    }

    /// Its process; none if it is gone.
    pub(super) fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()?).ok()?)
    }

    /// Whether the process is gone, and if so, what it said last.
    pub(super) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        Some(format!("{} ended ({status}): {}", self.name, self.last_words()))
    }

    /// Waits for the end of the process.
    pub(super) async fn wait(&mut self) {
        // An error means that there is nothing to wait for.
        let _ = self.child.wait().await;
    }

    fn last_words(&self) -> String {
        let mut bytes = Vec::new();
        let read = File::open(&self.log).and_then(|log| {
            let length = log.metadata()?.len();
            let mut log = log;
            std::io::Seek::seek(
                &mut log,
                std::io::SeekFrom::Start(length.saturating_sub(LAST_WORDS_BYTES)),
            )?;
            log.read_to_end(&mut bytes)
        });
        let text = String::from_utf8_lossy(&bytes);
        let last = text.lines().rev().find(|line| !line.trim().is_empty());
        match (read, last) {
            (Ok(_), Some(last)) => last.trim().to_owned(),
            _ => format!("it said nothing; see {}", self.log.display()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.child.start_kill().is_err() {
            return;
        }
        // A killed process is gone within a millisecond or two; nobody else would collect it, as the
        // runtime may end next.
        let deadline = Instant::now() + REAP_LIMIT;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
