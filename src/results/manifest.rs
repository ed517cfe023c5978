//! `manifest.json`: under which circumstances a run was made.

use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{Environment, Result};

/// What runs an experiment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// Processes of this machine that talk QUIC, in real time: everything is measured.
    #[default]
    Quic,
    /// The same protocols and clients simulated in virtual time: everything is predicted.
    Sim,
}

impl Backend {
    /// The word that stands in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Backend::Quic => "quic",
            Backend::Sim => "sim",
        }
    }
}

/// `manifest.json`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the format: 1.
    pub schema: u32,
    /// The program and the machine.
    #[serde(flatten)]
    pub environment: Environment,
    /// The command line, with the program's name.
    pub command_line: Vec<String>,
    /// What the random choices started from: the experiment's seed, then those made from it.
    pub seeds: Vec<u64>,
    /// Which kind of run it was.
    pub backend: Backend,
    /// Round-trip times between sites, asked for and, where there was something to measure, measured.
    pub rtt: Vec<LinkRtt>,
    /// How late the shaper of each process sent what it delayed.
    pub shaper: Vec<ShaperLateness>,
    /// When the run began.
    pub started: jiff::Timestamp,
    /// When it ended; none in a run that did not.
    pub finished: Option<jiff::Timestamp>,
    /// What a reader should know besides, one sentence each.
    pub notes: Vec<String>,
}

/// The round-trip time between two sites.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LinkRtt {
    /// The run in which it was measured ([`super::RunSummary::file_stem`]); none if it holds for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// One end.
    pub from: String,
    /// The other end.
    pub to: String,
    /// What the file asks for, in ms; none where the network is taken as it is.
    pub asked_ms: Option<f64>,
    /// Measured before the load, in ms.
    pub before: Option<RttMs>,
    /// Measured after the load, in ms.
    pub after: Option<RttMs>,
}

/// Measured round-trip times, in ms.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct RttMs {
    /// How many were measured.
    pub count: u64,
    /// The smallest.
    pub min: f64,
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
}

/// How late a process's shaper sent datagrams, against their due time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ShaperLateness {
    /// The run, as in [`LinkRtt::run`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The process's name.
    pub process: String,
    /// Datagrams (or batches of them) that were delayed.
    pub count: u64,
    /// The median, in µs.
    pub p50_us: f64,
    /// The 99th percentile, in µs.
    pub p99_us: f64,
    /// The largest, in µs.
    pub max_us: f64,
}

impl Manifest {
    /// The manifest of a run that starts now: this program on this machine, its command line, the
    /// disk of `directory`. Network, shaper, seeds and notes are still to be filled in.
    pub fn collect(directory: &Path, backend: Backend) -> Manifest {
        Manifest {
            schema: 1,
            environment: Environment::collect(directory),
            command_line: std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect(),
            seeds: Vec::new(),
            backend,
            rtt: Vec::new(),
            shaper: Vec::new(),
            started: jiff::Timestamp::now(),
            finished: None,
            notes: Vec::new(),
        }
    }

    /// Reads `manifest.json`.
    pub fn read(path: &Path) -> Result<Manifest> {
        super::directory::read_json(path)
    }
}
