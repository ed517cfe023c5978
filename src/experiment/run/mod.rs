//! Runs an experiment, one run after the other, and leaves everything that is known of the runs in the
//! results directory. Each [`Backend`] takes a setting and hands back an outcome: `session` starts
//! replicas and load generators as processes of this machine, `simulated` plays them in virtual time.
//!
//! | file | job |
//! | --- | --- |
//! | `setting` | what a backend is given and what it hands back |
//! | `processes` | identities, ports, cluster file; starts the workers and ends them |
//! | `session` | one run of them: connect, measure the network, apply load, collect |
//! | `spares` | replicas that a person starts, to join in place of others |
//! | `convergence` | whether the replicas have the same state |
//! | `simulated` | one run in virtual time |
//! | `faults` | what is done to the processes meanwhile |
//! | `gather` | what was collected, as entries of the summary |
//! | `unavailability` | for how long clients got no answer because of a fault |
//! | `verdict` | linearizability, convergence, and what voids a run |
//! | `progress` | what a person sees meanwhile |

mod convergence;
mod faults;
mod gather;
mod processes;
mod progress;
mod session;
mod setting;
mod simulated;
mod spares;
mod unavailability;
pub mod verdict;

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::LocalSet;

use self::progress::Progress;
use self::session::Session;
use self::setting::{Outcome, Setting};
use super::file::{Experiment, Shaping};
use super::plan::Plan;
use crate::results::{Backend, Manifest, ResultsError, RunDirectory, RunSummary, Summary};

/// Why an experiment could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file of the results could not be written.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// The network on this side cannot be used.
    #[error(transparent)]
    Net(#[from] crate::net::NetError),
    /// A worker did not start, or ended when it must not.
    #[error("{0}")]
    Worker(String),
    /// A person or a signal ended it.
    #[error("interrupted; what there is stands in {}", .0.display())]
    Interrupted(PathBuf),
    /// A worker said no.
    #[error("{who}: {why}")]
    Refused {
        /// Who.
        who: String,
        /// Why.
        why: String,
    },
}

/// A finished experiment.
#[derive(Debug)]
pub struct Finished {
    /// Its directory.
    pub directory: PathBuf,
    /// What it measured, or predicts.
    pub summary: Summary,
}

/// Why `backend` cannot run `experiment`, if it cannot: one line that says what to change.
pub fn unfit(experiment: &Experiment, backend: Backend) -> Option<String> {
    let why = if backend != Backend::Sim {
        return None;
    } else if experiment.network.shaping == Shaping::None {
        "the simulator needs round-trip times; set network.shaping: endpoint and network.rtt"
    } else if !experiment.faults.is_empty() {
        "the simulator does not play the faults of a file; remove them, or use --backend quic"
    } else {
        return None;
    };
    Some(why.to_owned())
}

/// Runs all runs of `experiment`, for which `backend` must be fit, and leaves their results in `out`.
pub fn run(experiment: &Experiment, out: &Path, backend: Backend) -> Result<Finished, RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| RunError::Worker(format!("tokio: {e}")))?;
    let mut interrupts = Interrupts::listen(&runtime)?;
    let directory = RunDirectory::create(out, &experiment.name)?;
    directory.write_experiment(&experiment.to_yaml())?;
    let mut collected = Collected::new(&directory, experiment, backend);
    let interrupted = || RunError::Interrupted(directory.path().to_owned());
    let outcome = LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            outcome = run_all(experiment, &directory, &mut collected) => outcome,
            () = interrupts.any() => Err(interrupted()),
        }
    });
    // A simulation or a checker that was interrupted is not waited for.
    runtime.shutdown_background();
    outcome?;
    let summary = Summary::new(collected.runs);
    let mut manifest = collected.manifest;
    if manifest.rtt.is_empty() {
        manifest.rtt = gather::asked_of_network(experiment);
    }
    manifest.finished = Some(jiff::Timestamp::now());
    directory.write_manifest(&manifest)?;
    directory.write_timeline(&collected.timeline)?;
    directory.write_summary(&summary)?;
    Ok(Finished { directory: directory.finish()?, summary })
}

/// Ctrl-C, a polite kill, a terminal that was closed. Heard from before the first process starts:
/// the workers and the identities must go whenever one comes.
struct Interrupts([Signal; 3]);

impl Interrupts {
    fn listen(runtime: &Runtime) -> Result<Self, RunError> {
        let _inside = runtime.enter();
        let failed = |e: std::io::Error| RunError::Worker(format!("signals: {e}"));
        let hear = |kind| signal(kind).map_err(failed);
        let (interrupt, terminate) =
            (hear(SignalKind::interrupt())?, hear(SignalKind::terminate())?);
        Ok(Interrupts([interrupt, terminate, hear(SignalKind::hangup())?]))
    }

    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// What the runs so far have left.
pub(super) struct Collected {
    manifest: Manifest,
    runs: Vec<RunSummary>,
    timeline: Vec<crate::results::TimelineRow>,
}

impl Collected {
    fn new(directory: &RunDirectory, experiment: &Experiment, backend: Backend) -> Self {
        let mut manifest = Manifest::collect(directory.path(), backend);
        manifest.seeds.push(experiment.seed);
        Collected { manifest, runs: Vec::new(), timeline: Vec::new() }
    }
}

async fn run_all(
    experiment: &Experiment,
    directory: &RunDirectory,
    collected: &mut Collected,
) -> Result<(), RunError> {
    let plan = Plan::of(experiment);
    let backend = collected.manifest.backend;
    let progress = Progress::new(experiment, backend, plan.runs.len());
    let driver = Driver::of(experiment, backend)?;
    for (index, run) in plan.runs.iter().enumerate() {
        let setting = Setting { experiment: experiment.at(run.point_index), run, directory };
        progress.start(index, &setting.run_name());
        let outcome = driver.conduct(&setting, &progress).await?;
        progress.say("checking");
        let checked = gather::check(&setting, &outcome.reports).await?;
        let unavailability = unavailability::measure(&setting, &outcome).await?;
        gather::gather(&setting, outcome, checked, unavailability, collected)?;
        if let Some(last) = collected.runs.last() {
            progress.finished(last);
        }
    }
    Ok(())
}

/// A backend with what it keeps for all runs.
enum Driver {
    /// The identities of all processes.
    Quic(TempDir),
    Sim,
}

impl Driver {
    fn of(experiment: &Experiment, backend: Backend) -> Result<Driver, RunError> {
        match backend {
            Backend::Quic => Ok(Driver::Quic(processes::identities(experiment)?)),
            Backend::Sim => Ok(Driver::Sim),
        }
    }

    async fn conduct(
        &self,
        setting: &Setting<'_>,
        progress: &Progress,
    ) -> Result<Outcome, RunError> {
        match self {
            Driver::Quic(identities) => {
                let session = Session::start(setting, identities.path(), progress).await?;
                session.conduct(progress).await
            }
            Driver::Sim => {
                progress.say("simulating");
                simulate(setting).await
            }
        }
    }
}

/// Simulates on a thread of its own, so that a person can interrupt it.
async fn simulate(setting: &Setting<'_>) -> Result<Outcome, RunError> {
    let Setting { experiment, run, directory } = *setting;
    let (experiment, run, directory) = (experiment.clone(), run.clone(), directory.clone());
    let simulating = tokio::task::spawn_blocking(move || {
        simulated::conduct(&Setting { experiment: &experiment, run: &run, directory: &directory })
    });
    let failed = |e| Err(RunError::Worker(format!("the simulator failed: {e}")));
    simulating.await.unwrap_or_else(failed)
}
