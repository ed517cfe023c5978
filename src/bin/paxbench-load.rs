//! `paxbench-load`: generates the load of one site.

use std::process::ExitCode;

use clap::Parser;
use paxbench::cli::{self, LoadArgs};
use paxbench::{load, worker};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let LoadArgs { config, site } = LoadArgs::parse();
    let outcome = worker::run(async move { load::serve::run(&config, &site).await });
    cli::report(outcome)
}
