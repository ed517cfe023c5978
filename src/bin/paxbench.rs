//! `paxbench`: runs experiments, checks them and draws them.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::Parser;
use paxbench::cli::{
    self, Action, ExitCode, ExperimentArgs, ExploreArgs, MembersArgs, ModeName, ModelArgs, Mutants,
    Paxbench, RunArgs,
};
use paxbench::cluster::ClusterFile;
use paxbench::experiment::file::{BadExperiment, Experiment};
use paxbench::experiment::plan::{Plan, describe};
use paxbench::experiment::run::{self, verdict};
use paxbench::experiment::thresholds;
use paxbench::mutants;
use paxbench::net::{Existing, generate};
use paxbench::operator::{Operator, OperatorError, Wish};
use paxbench::protocol::caspaxos::Caspaxos;
use paxbench::protocol::epaxos::Epaxos;
use paxbench::protocol::multicoordinated::Multicoordinated;
use paxbench::protocol::paxos::Paxos;
use paxbench::replica::DRIVER_NAME;
use paxbench::report;
use paxbench::results::{Backend, Linearizable, Results};
use paxbench::sim::Subject;
use paxbench::sim::console;
use paxbench::sim::exhaustive::{self, Limits, Modelled};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Loads longer than this are asked about, where there is a person to ask.
const LONG: std::time::Duration = std::time::Duration::from_secs(15 * 60);

/// Seeds within which a mutant must die.
const MUTANT_SEEDS_MAX: u64 = 20_000;

/// What a shell calls a process that an interrupt ended is 128 more than its number.
const SIGINT: i32 = 2;

/// What went wrong, in as many lines as there are problems, and the exit code.
struct Failure(Vec<String>, ExitCode);

impl Failure {
    fn could_not_run(why: impl ToString) -> Failure {
        Failure(vec![why.to_string()], ExitCode::CouldNotRun)
    }
}

impl From<BadExperiment> for Failure {
    fn from(bad: BadExperiment) -> Failure {
        Failure(bad.problems.iter().map(ToString::to_string).collect(), ExitCode::BadUsage)
    }
}

fn main() -> std::process::ExitCode {
    if let Some(worker) = paxbench::worker::called() {
        return worker();
    }
    let outcome = match Paxbench::parse().action {
        Action::Run(args) => run(&args),
        Action::Validate(args) => validate(&args),
        Action::Check(args) => check(&args.directory),
        Action::Model(args) => match args.mode {
            ModeName::Paxos => model::<Paxos>(&args),
            ModeName::Epaxos => model::<Epaxos>(&args),
            ModeName::Caspaxos => model::<Caspaxos>(&args),
            ModeName::Multicoordinated => model::<Multicoordinated>(&args),
        },
        Action::Report(args) => redraw(&args.directories),
        Action::Explore(args) => match args.mode {
            ModeName::Paxos => explore::<Paxos>(&args),
            ModeName::Epaxos => explore::<Epaxos>(&args),
            ModeName::Caspaxos => explore::<Caspaxos>(&args),
            ModeName::Multicoordinated => explore::<Multicoordinated>(&args),
        },
        Action::Certs(args) => certs(&args.out, &args.cluster),
        Action::Members(args) => members(&args),
        Action::Completions(args) => write(|out| {
            cli::write_completions(args.shell, out);
            Ok(())
        }),
        Action::Man(args) => write(|out| cli::write_man(args.page, out)),
    };
    match outcome {
        Ok(code) => code.into(),
        Err(Failure(lines, code)) => {
            for line in lines {
                cli::complain(&line);
            }
            code.into()
        }
    }
}

fn write(page: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    page(&mut text).map_err(Failure::could_not_run)?;
    say(String::from_utf8_lossy(&text))?;
    Ok(ExitCode::Done)
}

/// Writes to standard output. A reader that has gone away, such as `head`, wants no more, and what is
/// done is done all the same.
fn say(text: impl AsRef<str>) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_ref().as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::could_not_run(format!("standard output: {e}")))
        }
        _ => Ok(()),
    }
}

fn read(args: &ExperimentArgs) -> Result<Experiment, Failure> {
    Ok(Experiment::read(&args.file, &args.overrides)?)
}

fn validate(args: &ExperimentArgs) -> Result<ExitCode, Failure> {
    say(describe(&read(args)?))?;
    Ok(ExitCode::Done)
}

fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let experiment = read(&args.experiment)?;
    if let Some(why) = run::unfit(&experiment, args.backend) {
        let line = format!("{}: {why}", args.experiment.file.display());
        return Err(Failure(vec![line], ExitCode::BadUsage));
    }
    if args.dry_run {
        say(describe(&experiment))?;
        return Ok(ExitCode::Done);
    }
    if !args.yes && args.backend == Backend::Quic && !agreed(&experiment) {
        return Err(Failure::could_not_run("not run: it was not agreed to"));
    }
    let finished = run::run(&experiment, &args.out, args.backend);
    let finished = finished.map_err(Failure::could_not_run)?;
    let paths = report::write_report(&finished.directory, &[]).map_err(Failure::could_not_run)?;
    if args.backend == Backend::Sim {
        say("Predicted in virtual time; nothing was measured.\n")?;
    }
    let tables = report::tables(&finished.directory).map_err(Failure::could_not_run)?;
    say(format!("{tables}\n"))?;
    let missed = thresholds::missed(&experiment.thresholds, &finished.summary);
    for line in &missed {
        say(format!("threshold missed: {line}\n"))?;
    }
    say(format!("{}\n", paths.html.display()))?;
    Ok(thresholds::exit_code(&finished.summary, !missed.is_empty()))
}

/// Asks before a long load, if there is somebody to ask.
fn agreed(experiment: &Experiment) -> bool {
    let load = Plan::of(experiment).load_duration(experiment);
    if load <= LONG || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return true;
    }
    eprint!("This applies load for {} min. Go on? [y/N] ", load.as_secs() / 60);
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn check(directory: &Path) -> Result<ExitCode, Failure> {
    let results = Results::read(directory).map_err(Failure::could_not_run)?;
    let experiment = Experiment::parse("experiment.yaml", &results.experiment, directory, &[])?;
    let mut worst = ExitCode::Done;
    for run in &results.summary.runs {
        let checked = verdict::check_again(&results, run, &experiment.check);
        let converged = verdict::converged_again(&results, run);
        let converged = match converged {
            Ok(converged) => converged,
            Err(why) => return Err(Failure::could_not_run(why)),
        };
        let words = match converged {
            Some(true) => "replicas converged",
            Some(false) => "REPLICAS DIFFER",
            None => "convergence unknown",
        };
        let word = checked.linearizable.as_str();
        say(format!("{}: {word}, {words}\n", run.name()))?;
        if let Some(why) = &checked.why {
            say(format!("{why}\n"))?;
        }
        worst = worst.max(match (checked.linearizable, converged) {
            (Linearizable::Invalid, _) | (_, Some(false)) => ExitCode::Violation,
            (Linearizable::Valid, Some(true)) => ExitCode::Done,
            _ => ExitCode::CouldNotRun,
        });
    }
    Ok(worst)
}

/// Explores configurations one after the other: each takes as much memory as it may.
fn model<P: Modelled>(args: &ModelArgs) -> Result<ExitCode, Failure> {
    let chosen = exhaustive::report::chosen::<P>(args.configuration.as_deref())
        .map_err(|why| Failure(vec![why], ExitCode::BadUsage))?;
    say(exhaustive::report::head())?;
    let mut worst = ExitCode::Done;
    for configuration in &chosen {
        let started = Instant::now();
        let outcome = exhaustive::exhaust(configuration, Limits { states_max: args.states_max });
        say(exhaustive::report::row(&configuration.name, &outcome, started.elapsed()))?;
        worst = worst.max(exhaustive::report::exit_code(&outcome.verdict));
    }
    Ok(worst)
}

fn redraw(directories: &[PathBuf]) -> Result<ExitCode, Failure> {
    for directory in directories {
        let paths = report::write_report(directory, directories).map_err(Failure::could_not_run)?;
        let tables = report::tables(directory).map_err(Failure::could_not_run)?;
        say(format!("{tables}\n"))?;
        say(format!("{}\n", paths.html.display()))?;
    }
    Ok(ExitCode::Done)
}

fn explore<P: Subject>(args: &ExploreArgs) -> Result<ExitCode, Failure> {
    let faults = args.fault_classes();
    let again = |seed| console::again::<P>(seed, &faults, args.shrink, args.trace);
    let mutants = args.mutant.as_ref().map(mutants_of::<P>).transpose()?;
    let told = match (args.seed, mutants.as_deref()) {
        (Some(seed), None) => again(seed),
        (Some(seed), Some(&[mutant])) => mutants::with(mutant, || again(seed)),
        (Some(_), Some(_)) => {
            let why = "--seed runs one mutant: give its name to --mutant".to_owned();
            return Err(Failure(vec![why], ExitCode::BadUsage));
        }
        (None, Some(mutants)) => {
            let seeds = args.seeds.clone().unwrap_or(0..MUTANT_SEEDS_MAX);
            console::hunt::<P>(mutants, &seeds, &faults, args.threads)
        }
        (None, None) => {
            let wish = console::Wish {
                seeds: args.seeds.clone().unwrap_or(0..0),
                faults,
                threads: args.threads,
                twice: args.twice,
                keep: args.keep,
            };
            console::run::<P>(&wish, interrupted()?)
        }
    };
    say(&told.text)?;
    Ok(match told.end {
        console::End::Clean => ExitCode::Done,
        console::End::Failed => ExitCode::Violation,
        console::End::Interrupted | console::End::Deaf => ExitCode::CouldNotRun,
    })
}

/// Those of the mutants that are hunted under this protocol.
fn mutants_of<P: Subject>(Mutants(mutants): &Mutants) -> Result<Vec<mutants::Mutant>, Failure> {
    let own: Vec<_> = mutants.iter().copied().filter(|mutant| mutant.mode() == P::MODE).collect();
    if own.is_empty()
        && let Some(other) = mutants.first()
    {
        let why =
            format!("mutant `{other}` is hunted under another protocol: --mode {}", other.mode());
        return Err(Failure(vec![why], ExitCode::BadUsage));
    }
    Ok(own)
}

/// Set by the first Ctrl-C or polite kill, so that what was found until then is told. The next one
/// ends the process at once.
fn interrupted() -> Result<&'static AtomicBool, Failure> {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    let failed = |e: std::io::Error| Failure::could_not_run(format!("signals: {e}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed)?;
    let hear = |kind| {
        let _inside = runtime.enter();
        signal(kind).map_err(failed)
    };
    let (mut interrupt, mut terminate) =
        (hear(SignalKind::interrupt())?, hear(SignalKind::terminate())?);
    std::thread::spawn(move || {
        runtime.block_on(async {
            for again in [false, true] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                INTERRUPTED.store(true, Ordering::Relaxed);
                if again {
                    std::process::exit(128 + SIGINT);
                }
            }
        });
    });
    Ok(&INTERRUPTED)
}

fn members(args: &MembersArgs) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::could_not_run)?;
    let outcome = tokio::task::LocalSet::new().block_on(&runtime, async {
        let operator = Operator::begin(&args.config)?;
        let outcome = match args.members.clone() {
            None => operator.show().await,
            Some(members) => {
                let wish = Wish { members, ask: args.ask.clone(), timeout: args.timeout };
                operator.change(&wish, note).await.map(|()| String::new())
            }
        };
        operator.leave().await;
        outcome
    });
    let failed = |error: OperatorError| match error.is_bad_usage() {
        true => Failure(vec![error.to_string()], ExitCode::BadUsage),
        false => Failure::could_not_run(error),
    };
    say(outcome.map_err(failed)?)?;
    Ok(ExitCode::Done)
}

/// Says on standard error how far something is. Nobody may be listening, and it goes on all the same.
fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn certs(out: &Path, cluster: &Path) -> Result<ExitCode, Failure> {
    let file = ClusterFile::read(cluster)
        .map_err(|error| Failure(vec![error.to_string()], ExitCode::BadUsage))?;
    let mut names: Vec<String> = file.processes().map(|member| member.name.clone()).collect();
    names.push(DRIVER_NAME.to_owned());
    generate(out, &names, Existing::Refuse).map_err(Failure::could_not_run)?;
    say(format!("{}: an authority and {} identities\n", out.display(), names.len()))?;
    Ok(ExitCode::Done)
}
