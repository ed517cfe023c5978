//! Runs an experiment on this machine: replicas and load generators as processes, one run after the
//! other, and everything that is known of them in the results directory.
//!
//! | file | job |
//! | --- | --- |
//! | `processes` | identities, ports, cluster file; starts the workers and ends them |
//! | `session` | one run: connect, measure the network, apply load, collect |
//! | `gather` | what was collected, as entries of the summary |
//! | `verdict` | linearizability, convergence, and what voids a run |
//! | `progress` | what a person sees meanwhile |

mod gather;
mod processes;
mod progress;
mod session;
pub mod verdict;

use std::path::{Path, PathBuf};

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::LocalSet;

use self::progress::Progress;
use self::session::{Session, Setting};
use super::file::Experiment;
use super::plan::Plan;
use crate::results::{Manifest, ResultsError, RunDirectory, RunSummary, Summary};

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
    /// What it measured.
    pub summary: Summary,
}

/// Runs all runs of `experiment` and leaves their results in `out`.
pub fn run(experiment: &Experiment, out: &Path) -> Result<Finished, RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| RunError::Worker(format!("tokio: {e}")))?;
    let mut interrupts = Interrupts::listen(&runtime)?;
    let directory = RunDirectory::create(out, &experiment.name)?;
    directory.write_experiment(&experiment.to_yaml())?;
    let mut collected = Collected::new(&directory, experiment);
    let interrupted = || RunError::Interrupted(directory.path().to_owned());
    let outcome = LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            outcome = run_all(experiment, &directory, &mut collected) => outcome,
            () = interrupts.any() => Err(interrupted()),
        }
    });
    // A checker that was interrupted is not waited for.
    runtime.shutdown_background();
    outcome?;
    let summary = Summary::new(collected.runs);
    let mut manifest = collected.manifest;
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
    fn new(directory: &RunDirectory, experiment: &Experiment) -> Self {
        let mut manifest = Manifest::collect(directory.path());
        manifest.seeds.push(experiment.seed);
        "quic".clone_into(&mut manifest.backend);
        Collected { manifest, runs: Vec::new(), timeline: Vec::new() }
    }
}

async fn run_all(
    experiment: &Experiment,
    directory: &RunDirectory,
    collected: &mut Collected,
) -> Result<(), RunError> {
    let plan = Plan::of(experiment);
    let identities = processes::identities(experiment)?;
    let progress = Progress::new(experiment, plan.runs.len());
    for (index, run) in plan.runs.iter().enumerate() {
        let setting = Setting { experiment, run, directory, identities: &identities };
        progress.start(index, setting.label(), run.repeat);
        let outcome = Session::start(&setting, &progress).await?.conduct(&progress).await?;
        progress.say("checking");
        let checked = gather::check(&setting, &outcome.reports).await;
        gather::gather(&setting, outcome, checked, collected)?;
        if let Some(last) = collected.runs.last() {
            progress.finished(last);
        }
    }
    Ok(())
}
