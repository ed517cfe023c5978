//! What a backend is given, and what it hands back. From here on the two backends are alike.

use std::path::PathBuf;
use std::time::SystemTime;

use super::RunError;
use crate::cluster::ProtocolChoice;
use crate::experiment::file::{Experiment, Mode};
use crate::experiment::plan::Run;
use crate::load::report::SiteReport;
use crate::net::ShaperReport;
use crate::results::{
    FaultMark, HistoryFileName, ReplicaCounters, RunDirectory, point_words, run_name,
};

/// What is run.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    /// As it is at the run's point.
    pub(super) experiment: &'a Experiment,
    pub(super) run: &'a Run,
    pub(super) directory: &'a RunDirectory,
}

impl<'a> Setting<'a> {
    pub(super) fn mode(&self) -> &'a Mode {
        &self.experiment.modes[self.run.mode]
    }

    /// What the replicas are told to run.
    pub(super) fn protocol(&self) -> ProtocolChoice {
        self.experiment.protocol(self.mode())
    }

    pub(super) fn label(&self) -> &'a str {
        &self.mode().label
    }

    /// What notes and messages call the run.
    pub(super) fn run_name(&self) -> String {
        run_name(self.label(), &point_words(&self.run.point), self.run.repeat as usize)
    }

    /// Where the history of a site goes; none if no operation is recorded.
    pub(super) fn history_path(&self, site: &str) -> Result<Option<PathBuf>, RunError> {
        if !self.experiment.check.history {
            return Ok(None);
        }
        let directory = self.directory.subdirectory("history")?;
        Ok(Some(directory.join(self.file_name(site).to_string())))
    }

    /// Where the output of a process goes.
    pub(super) fn log_path(&self, process: &str) -> Result<PathBuf, RunError> {
        let stem = self.file_name(process).stem();
        Ok(self.directory.subdirectory("logs")?.join(format!("{stem}.log")))
    }

    fn file_name(&self, site: &str) -> HistoryFileName {
        HistoryFileName {
            label: self.label().to_owned(),
            point_index: self.run.point_index,
            repeat: self.run.repeat as usize,
            site: site.to_owned(),
        }
    }
}

/// The round trips from one replica to another, in ms.
pub(super) struct RoundTrips {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) ms: Vec<f64>,
}

/// What a run has left.
pub(super) struct Outcome {
    /// When the measured phase began. In virtual time that is no time of day:
    /// [`SystemTime::UNIX_EPOCH`].
    pub(super) began: SystemTime,
    /// One for each site, in the experiment's order.
    pub(super) reports: Vec<SiteReport>,
    /// Of the replicas that are still there.
    pub(super) replicas: Vec<ReplicaCounters>,
    /// By process; empty where nothing is delayed in real time.
    pub(super) shapers: Vec<(String, ShaperReport)>,
    /// Before the load; empty where nothing is measured.
    pub(super) before: Vec<RoundTrips>,
    /// After the load; empty where nothing is measured.
    pub(super) after: Vec<RoundTrips>,
    /// Whether the replicas that are still there have the same state; none if that is not known, or
    /// if they are too few to reach it.
    pub(super) converged: Option<bool>,
    /// What was done to the replicas meanwhile.
    pub(super) faults: Vec<FaultMark>,
    pub(super) notes: Vec<String>,
}
