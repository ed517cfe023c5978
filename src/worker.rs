//! The two workers: their `main`, logging, the one-threaded runtime, and when to end.
//!
//! `paxbench` holds both, too: called by a worker's name it is that worker. So the driver starts the
//! workers of its own version, and one binary is enough to run an experiment.

use std::fmt::Display;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use tracing_subscriber::EnvFilter;

use crate::cli::{self, LoadArgs, ReplicaArgs};

/// What the replica's binary is called.
pub const REPLICA: &str = "paxbench-replica";

/// What the load generator's binary is called.
pub const LOAD: &str = "paxbench-load";

/// Set by the driver for workers that must end when it does: they watch their standard input.
pub const FOLLOW_DRIVER: &str = "PAXBENCH_FOLLOW_DRIVER";

/// The worker that this program was called as, if any.
pub fn called() -> Option<fn() -> ExitCode> {
    let program = std::env::args_os().next()?;
    match Path::new(&program).file_name()?.to_str()? {
        REPLICA => Some(replica),
        LOAD => Some(load),
        _ => None,
    }
}

/// `paxbench-replica`.
pub fn replica() -> ExitCode {
    let ReplicaArgs { config, node, replaces } = ReplicaArgs::parse();
    cli::report(run(async move { crate::replica::run(&config, &node, replaces.as_deref()).await }))
}

/// `paxbench-load`.
pub fn load() -> ExitCode {
    let LoadArgs { config, site } = LoadArgs::parse();
    cli::report(run(async move { crate::load::serve::run(&config, &site).await }))
}

/// An error with which a worker ends.
pub trait Ending: Display {
    /// Whether the command line or a file is wrong, and not what was found when running.
    fn is_bad_usage(&self) -> bool;
}

/// Why a worker ended, in one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What went wrong, where, and how to mend it.
    pub why: String,
    /// See [`Ending::is_bad_usage`].
    pub bad_usage: bool,
}

impl Failure {
    fn of(error: &impl Ending) -> Self {
        Failure { why: error.to_string(), bad_usage: error.is_bad_usage() }
    }
}

/// Runs a worker until it ends by itself, is told to (SIGTERM, SIGINT), or its driver is gone.
fn run<E: Ending>(work: impl Future<Output = Result<(), E>>) -> Result<(), Failure> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A full disk must not end the process: an error of the log would be printed, which panics.
    log.with_ansi(false).with_target(false).log_internal_errors(false).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure { why: format!("tokio: {e}"), bad_usage: false })?;
    let outcome = LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            outcome = work => outcome.map_err(|e| Failure::of(&e)),
            () = told_to_end() => Ok(()),
            () = driver_gone() => Ok(()),
        }
    });
    runtime.shutdown_background();
    outcome
}

async fn told_to_end() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    if std::env::var_os(FOLLOW_DRIVER).is_some() {
        // Ctrl-C reaches the whole group: the driver hears it, too, and ends its workers in order.
        terminate.recv().await;
        return;
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

async fn driver_gone() {
    if std::env::var_os(FOLLOW_DRIVER).is_none() {
        return std::future::pending().await;
    }
    let (gone, hear) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // The driver never writes: whatever comes is the end.
        let _ = std::io::stdin().read(&mut [0]);
        gone.send(())
    });
    let _ = hear.await;
}
