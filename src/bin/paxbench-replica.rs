//! `paxbench-replica`: hosts one replica.

use std::process::ExitCode;

use clap::Parser;
use paxbench::cli::{self, ReplicaArgs};
use paxbench::{replica, worker};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let ReplicaArgs { config, node } = ReplicaArgs::parse();
    let outcome = worker::run(async move { replica::run(&config, &node).await });
    cli::report(outcome)
}
