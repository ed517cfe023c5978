//! What the two worker binaries share: logging, the one-threaded runtime, and when to end.

use std::fmt::Display;
use std::io::Read;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use tracing_subscriber::EnvFilter;

/// Set by the driver for workers that must end when it does: they watch their standard input.
pub const FOLLOW_DRIVER: &str = "PAXBENCH_FOLLOW_DRIVER";

/// Runs a worker until it ends by itself, is told to (SIGTERM, SIGINT), or its driver is gone.
pub fn run<E: Display>(work: impl Future<Output = Result<(), E>>) -> Result<(), String> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_ansi(false).with_target(false).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("tokio: {e}"))?;
    let outcome = LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            outcome = work => outcome.map_err(|e| e.to_string()),
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
