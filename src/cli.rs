//! The command lines of the three binaries: what `--help`, the man pages and the completions say
//! all comes from here.
//!
//! Bad usage ends a binary with [`ExitCode::BadUsage`], as clap does by itself.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::num::NonZero;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Command, CommandFactory, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

use crate::experiment::file::Override;
use crate::experiment::units::parse_duration;
use crate::mutants::Mutant;
use crate::results::Backend;
use crate::sim::faults::FaultClass;
use crate::worker::Failure;

/// What a binary's end means to a script.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum ExitCode {
    /// Done, and what was to be verified is.
    Done = 0,
    /// It could not run: a file could not be written, a process did not start.
    CouldNotRun = 1,
    /// The command line or a file is wrong; the message says where.
    BadUsage = 2,
    /// A history is not linearizable, or replicas differ.
    Violation = 3,
    /// The results mean nothing: the load generator could not keep its schedule, or the network was
    /// not what the file says.
    Void = 4,
    /// The results are good, but miss a threshold that the file states.
    ThresholdMissed = 5,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code as u8)
    }
}

/// Ends a worker: says on standard error what went wrong, if anything did.
pub fn report(outcome: Result<(), Failure>) -> std::process::ExitCode {
    match outcome {
        Ok(()) => ExitCode::Done.into(),
        Err(Failure { why, bad_usage }) => {
            complain(&why);
            if bad_usage { ExitCode::BadUsage.into() } else { ExitCode::CouldNotRun.into() }
        }
    }
}

/// Says on standard error what went wrong. Nobody may be listening: the exit code counts.
pub fn complain(why: &str) {
    let _ = writeln!(io::stderr(), "error: {why}");
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done and verified
  1  could not run, or not to the end
  2  bad usage or a bad file
  3  a consistency violation was found
  4  the run is void: the load generator could not keep its schedule, or the network was not
     what the file says
  5  a threshold that the file states was missed";

/// Measures the Paxos family of consensus protocols over real networks.
///
/// An experiment file says which protocols, on which network, under which load. `paxbench run` starts
/// the replicas and load generators, measures, checks every history for linearizability, and reports.
#[derive(Clone, Debug, Parser)]
#[command(name = "paxbench", version, propagate_version = true, after_help = EXIT_CODES)]
pub struct Paxbench {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// The commands of `paxbench`.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Run an experiment and report.
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Say what is wrong with an experiment file, or what it would run.
    #[command(after_help = VALIDATE_EXAMPLES)]
    Validate(ExperimentArgs),
    /// Check a finished run again, from its recorded histories.
    #[command(after_help = "Example:\n  paxbench check results/quickstart/20261120T204300Z")]
    Check(CheckArgs),
    /// Explore every interleaving of small configurations of a protocol.
    #[command(after_help = MODEL_EXAMPLES)]
    Model(ModelArgs),
    /// Draw the tables and figures of finished runs again, from their stored data.
    #[command(after_help = "Example:\n  paxbench report results/quickstart/20261120T204300Z")]
    Report(ReportArgs),
    /// Run a protocol through random fault schedules in virtual time, and check it at every step.
    #[command(after_help = EXPLORE_EXAMPLES)]
    Explore(ExploreArgs),
    /// Make the identities of a cluster: its authority and one certificate for each process.
    #[command(after_help = "Example:\n  paxbench certs --cluster cluster.yaml --out certs")]
    Certs(CertsArgs),
    /// Show the members of a running cluster, or change them. Only where mode `caspaxos` runs.
    #[command(after_help = MEMBERS_EXAMPLES)]
    Members(MembersArgs),
    /// Print a shell's completions.
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
    /// Print a manual page.
    #[command(after_help = "Examples:\n  paxbench man | man -l -\n  paxbench man run | man -l -")]
    Man(ManArgs),
}

const RUN_EXAMPLES: &str = "\
Examples:
  paxbench run configs/quickstart.yaml
  paxbench run configs/quickstart.yaml --set phases.repeat=1 --set modes.0.leader=tokyo
  paxbench run configs/quickstart.yaml --set workload.arrival.open=500/s --out /tmp/results
  paxbench run configs/quickstart.yaml --backend sim
  paxbench run configs/soak.yaml --dry-run";

const EXPLORE_EXAMPLES: &str = "\
Examples:
  paxbench explore --mode paxos --seeds 0..10000
  paxbench explore --mode paxos --seeds 0..1000 --faults crashes,cuts --twice
  paxbench explore --mode paxos --seed 4711 --shrink --trace
  paxbench explore --mode paxos --mutant all        (built with --features mutants)

Exit codes:
  0  no seed failed; with --mutant and no --seed, every mutant was killed
  1  interrupted, or the checks do not see what they must: a planted bug or a mutant lives
  2  bad usage
  3  a seed failed";

const VALIDATE_EXAMPLES: &str = "\
Examples:
  paxbench validate configs/quickstart.yaml
  paxbench validate configs/quickstart.yaml --set 'workload.arrival={closed: 1}'";

const MODEL_EXAMPLES: &str = "\
Examples:
  paxbench model --mode paxos
  paxbench model --mode paxos --configuration takeover-multi --states-max 1000000

Exit codes:
  0  all is explored, and all is well
  1  a configuration has more states than --states-max
  2  bad usage
  3  a state violates an invariant; the way to it is printed";

const MEMBERS_EXAMPLES: &str = "\
Examples:
  paxbench members --config cluster.yaml
  paxbench members --config cluster.yaml --set virginia,tokyo,ireland,virginia-2

Exit codes:
  0  shown; with --set, every new member says that the change is settled
  1  nobody answers, or the change is not settled in time: it may be asked again
  2  bad usage, a bad file, or a name that is not in it";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  paxbench completions bash > ~/.local/share/bash-completion/completions/paxbench
  paxbench completions zsh > ~/.zfunc/_paxbench
  paxbench completions fish > ~/.config/fish/completions/paxbench.fish";

/// An experiment file and changes to it.
#[derive(Clone, Debug, Args)]
pub struct ExperimentArgs {
    /// The experiment file.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Change one value of the file, such as phases.repeat=1; may be given again.
    ///
    /// The path is made of keys, and of numbers from 0 for the entries of lists. The value is YAML:
    /// a word, a quantity with its unit, or a whole map in quotes.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub overrides: Vec<Override>,
}

/// Arguments of `paxbench run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// What to run.
    #[command(flatten)]
    pub experiment: ExperimentArgs,
    /// Whether the run is measured, or predicted.
    #[arg(long, value_enum, default_value_t)]
    pub backend: Backend,
    /// Where results go: into NAME/TIMESTAMP in this directory.
    #[arg(long, value_name = "DIR", default_value = "results", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
    /// Print the plan and run nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask before a long run.
    #[arg(long)]
    pub yes: bool,
}

/// Arguments of `paxbench check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// A run's directory, with `summary.json` and `history/`.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
}

/// Arguments of `paxbench model`.
#[derive(Clone, Debug, Args)]
pub struct ModelArgs {
    /// The protocol.
    #[arg(long, value_name = "MODE")]
    pub mode: ModeName,
    /// Only the configuration of this name. A name that does not exist is answered with all names.
    #[arg(long, value_name = "NAME")]
    pub configuration: Option<String>,
    /// Give up a configuration that has more states than this. A million takes up to 3 GB.
    #[arg(long, value_name = "N", default_value_t = 5_000_000)]
    #[arg(value_parser = parse_positive, allow_negative_numbers = true)]
    pub states_max: usize,
}

/// Arguments of `paxbench report`.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// Directories of runs, each with its `summary.json`.
    ///
    /// Where one experiment was both measured and simulated, the reports compare the two: with the
    /// first directory given here that fits, else with the newest beside the run's own.
    #[arg(value_name = "DIR", required = true, value_hint = ValueHint::DirPath)]
    pub directories: Vec<PathBuf>,
}

/// A protocol, by the name that the experiment file gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ModeName {
    /// Leader-based, from the modules of "Deconstructing Paxos".
    Paxos,
    /// Egalitarian Paxos: without a leader.
    Epaxos,
    /// A replicated register per key, without a log.
    Caspaxos,
    /// Generalized and Multicoordinated Paxos.
    Multicoordinated,
}

/// Arguments of `paxbench explore`.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["seeds", "seed", "mutant"]).multiple(true))]
pub struct ExploreArgs {
    /// The protocol.
    #[arg(long, value_name = "MODE")]
    pub mode: ModeName,
    /// The seeds to run, B excluded. A seed stands for one run: its cluster, load and faults.
    #[arg(long, value_name = "A..B", value_parser = parse_seeds)]
    pub seeds: Option<Range<u64>>,
    /// One seed to run again.
    #[arg(long, value_name = "N", conflicts_with = "seeds", value_parser = parse_whole::<u64>)]
    #[arg(allow_negative_numbers = true)]
    pub seed: Option<u64>,
    /// Run a mutant, which is the program with a deliberate bug, until a seed kills it (20000 seeds, if
    /// none are given), or `all` of this protocol's.
    ///
    /// With --seed, run that seed of it. Only in a build with `--features mutants`; a name that does
    /// not exist is answered with all names.
    #[arg(long, value_name = "NAME", value_parser = parse_mutants)]
    pub mutant: Option<Mutants>,
    /// What may befall a run: each seed draws from these. All, if not given; `none` for calm runs.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = fault_parser())]
    pub faults: Option<Vec<FaultChoice>>,
    /// Run every seed twice: both runs must do the same, byte for byte.
    #[arg(long, conflicts_with_all = ["seed", "mutant"])]
    pub twice: bool,
    /// How many seeds run at the same time; as many as there are processors, if not given.
    #[arg(long, value_name = "N", conflicts_with = "seed", value_parser = parse_positive)]
    #[arg(allow_negative_numbers = true)]
    pub threads: Option<usize>,
    /// How many failures are told, the lowest seeds first; all are counted.
    #[arg(long, value_name = "N", default_value_t = 5, conflicts_with_all = ["seed", "mutant"])]
    #[arg(value_parser = parse_whole::<usize>, allow_negative_numbers = true)]
    pub keep: usize,
    /// Print what happens, a line an event and a column a replica. Of one --seed.
    // clap does not demand the seed where it is in conflict with what is given.
    #[arg(long, requires = "seed", conflicts_with = "seeds")]
    pub trace: bool,
    /// Leave out the faults and operations that the failure does not need. Of one --seed.
    #[arg(long, requires = "seed", conflicts_with = "seeds")]
    pub shrink: bool,
}

impl ExploreArgs {
    /// What may befall a run.
    pub fn fault_classes(&self) -> BTreeSet<FaultClass> {
        match &self.faults {
            Some(list) => list.iter().filter_map(|FaultChoice(class)| *class).collect(),
            None => FaultClass::value_variants().iter().copied().collect(),
        }
    }
}

/// An entry of `--faults`: a class of faults, or `none`, which adds nothing to the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultChoice(pub Option<FaultClass>);

fn fault_parser() -> impl TypedValueParser<Value = FaultChoice> {
    let classes = FaultClass::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    let none = PossibleValue::new("none").help("Nothing befalls a run");
    PossibleValuesParser::new(classes.chain([none]))
        .map(|name| FaultChoice(FaultClass::from_str(&name, false).ok()))
}

/// One deliberate bug, or all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mutants(pub Vec<Mutant>);

fn parse_mutants(name: &str) -> Result<Mutants, String> {
    if name == "all" && !Mutant::all().is_empty() {
        return Ok(Mutants(Mutant::all().to_vec()));
    }
    Ok(Mutants(vec![name.parse()?]))
}

fn parse_whole<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "want a whole number, 0 or more".to_owned())
}

fn parse_positive(text: &str) -> Result<usize, String> {
    let number: Option<NonZero<usize>> = text.parse().ok();
    number.map(NonZero::get).ok_or_else(|| "want a whole number, 1 or more".to_owned())
}

fn parse_time(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|bad| bad.to_string())
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |part: &str| part.parse::<u64>().ok();
    let range = text.split_once("..").and_then(|(a, b)| Some(number(a)?..number(b)?));
    range
        .filter(|range| !range.is_empty())
        .ok_or_else(|| "want two whole numbers A..B, A below B, such as 0..1000".to_owned())
}

/// Arguments of `paxbench certs`.
#[derive(Clone, Debug, Args)]
pub struct CertsArgs {
    /// Where the identities go: `ca.pem`, and `NAME.pem` and `NAME.key.pem` for each process.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
    /// The cluster file, which names the processes.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub cluster: PathBuf,
}

/// Arguments of `paxbench members`.
#[derive(Clone, Debug, Args)]
pub struct MembersArgs {
    /// The cluster file; beside it, in its `certs`, the identity `driver`.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
    /// Who is to be a member, and nobody else: names of replicas and spares.
    ///
    /// The new ones must run; a spare is started without --replaces. Whoever is left out stays up and takes no
    /// more requests. To ask again does no harm: a change that is half done goes on.
    #[arg(long = "set", value_name = "NAMES", value_delimiter = ',')]
    pub members: Option<Vec<String>>,
    /// Which replica is asked; the first member that answers, if not given.
    #[arg(long, value_name = "NAME", requires = "members")]
    pub ask: Option<String>,
    /// How long the change may take, such as 60s.
    #[arg(long, value_name = "TIME", default_value = "60s", requires = "members")]
    #[arg(value_parser = parse_time)]
    pub timeout: Duration,
}

/// Arguments of `paxbench completions`.
#[derive(Clone, Copy, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Arguments of `paxbench man`.
#[derive(Clone, Copy, Debug, Args)]
pub struct ManArgs {
    /// Which page: a command's, or a worker's; else the overview.
    #[arg(value_name = "PAGE")]
    pub page: Option<ManPage>,
}

/// The manual's pages beside the overview.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ManPage {
    /// `paxbench run`.
    Run,
    /// `paxbench validate`.
    Validate,
    /// `paxbench check`.
    Check,
    /// `paxbench model`.
    Model,
    /// `paxbench report`.
    Report,
    /// `paxbench explore`.
    Explore,
    /// `paxbench certs`.
    Certs,
    /// `paxbench members`.
    Members,
    /// `paxbench-replica`.
    PaxbenchReplica,
    /// `paxbench-load`.
    PaxbenchLoad,
}

/// Hosts one replica of a cluster.
///
/// It reads the cluster file, loads its identity, connects to the other replicas and serves clients
/// until it is told to stop (SIGTERM, SIGINT). `paxbench run` starts it; a person needs it only to run
/// a cluster by hand.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "paxbench-replica",
    version,
    after_help = "Examples:\n  paxbench-replica --config cluster.yaml --node virginia\n  \
                  paxbench-replica --config cluster.yaml --node virginia-2 --replaces virginia"
)]
pub struct ReplicaArgs {
    /// The cluster file.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
    /// The replica's name in it.
    #[arg(long, value_name = "NAME")]
    pub node: String,
    /// The replica in whose place it joins while the others go on, dead or alive.
    ///
    /// For a spare of the cluster file, which is no member at first. Its name may be used once: it never
    /// joins again, nor does the one that it has replaced. Only the modes
    /// `epaxos` and `caspaxos` can change their members. A spare of `caspaxos` may be started without this:
    /// it waits until `paxbench members` makes it a member.
    #[arg(long, value_name = "NAME")]
    pub replaces: Option<String>,
}

/// Generates the load of one site.
///
/// It reads the cluster file with the load plan in it, connects to the replicas, nearest first, and
/// runs the site's clients. `paxbench run` starts it; a person needs it only to run a cluster by hand.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "paxbench-load",
    version,
    after_help = "Example:\n  paxbench-load --config cluster.yaml --site virginia"
)]
pub struct LoadArgs {
    /// The cluster file.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
    /// The site whose clients it runs.
    #[arg(long, value_name = "NAME")]
    pub site: String,
}

/// Writes a shell's completions of `paxbench`.
pub fn write_completions(shell: Shell, out: &mut dyn io::Write) {
    clap_complete::generate(shell, &mut Paxbench::command(), "paxbench", &mut &mut *out);
}

/// Writes a manual page.
pub fn write_man(page: Option<ManPage>, out: &mut dyn io::Write) -> io::Result<()> {
    clap_mangen::Man::new(man_command(page)).render(out)
}

fn man_command(page: Option<ManPage>) -> Command {
    match page {
        None => Paxbench::command(),
        Some(ManPage::PaxbenchReplica) => ReplicaArgs::command(),
        Some(ManPage::PaxbenchLoad) => LoadArgs::command(),
        Some(page) => subcommand(page),
    }
}

/// A command of `paxbench`, named as a page of its own.
fn subcommand(page: ManPage) -> Command {
    let name = page.to_possible_value().map(|value| value.get_name().to_owned());
    let mut all = Paxbench::command();
    all.build();
    let found = all.get_subcommands().find(|command| Some(command.get_name()) == name.as_deref());
    let command = found.cloned().unwrap_or(all);
    let title = format!("paxbench-{}", command.get_name());
    command.display_name(title)
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Paxbench::command().debug_assert();
        ReplicaArgs::command().debug_assert();
        LoadArgs::command().debug_assert();
    }

    #[test]
    fn the_run_command_takes_a_file_and_changes_to_it() {
        let line = ["paxbench", "run", "q.yaml", "--set", "phases.repeat=1", "--set", "seed=9"];
        let Action::Run(run) = Paxbench::try_parse_from(line).unwrap().action else { panic!() };
        assert_eq!(run.experiment.file, PathBuf::from("q.yaml"));
        assert_eq!(run.experiment.overrides.len(), 2);
        assert_eq!(run.out, PathBuf::from("results"));
        assert!(!run.dry_run && !run.yes);
        assert_eq!(run.backend, Backend::Quic);
    }

    #[test]
    fn bad_usage_ends_with_its_own_exit_code() {
        let lines: [&[&str]; 11] = [
            &["paxbench"],
            &["paxbench", "members", "--set", "a,b"],
            &["paxbench", "members", "--config", "c", "--ask", "a"],
            &["paxbench", "members", "--config", "c", "--set", "a", "--timeout", "soon"],
            &["paxbench", "run"],
            &["paxbench", "run", "q.yaml", "--set", "phases.repeat"],
            &["paxbench", "run", "q.yaml", "--backend", "tcp"],
            &["paxbench", "report"],
            &["paxbench", "model"],
            &["paxbench", "model", "--mode", "raft"],
            &["paxbench", "completions", "no-shell"],
        ];
        for line in lines {
            let error = Paxbench::try_parse_from(line).unwrap_err();
            assert_eq!(error.exit_code(), i32::from(ExitCode::BadUsage as u8), "{line:?}");
        }
        let error = LoadArgs::try_parse_from(["paxbench-load", "--config", "c"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MissingRequiredArgument);
    }

    #[test]
    fn completions_exist_for_every_shell_and_know_the_commands() {
        for shell in Shell::value_variants() {
            let mut out = Vec::new();
            write_completions(*shell, &mut out);
            let text = String::from_utf8(out).unwrap();
            assert!(text.contains("validate") && text.contains("dry-run"), "{shell}");
        }
    }

    #[test]
    fn every_manual_page_names_what_it_is_about() {
        let mut out = Vec::new();
        write_man(None, &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("Exit codes"));
        for page in ManPage::value_variants() {
            let mut out = Vec::new();
            write_man(Some(*page), &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            let name = page.to_possible_value().unwrap().get_name().replace("paxbench-", "");
            assert!(
                text.starts_with(".ie") && text.contains(&format!("paxbench\\-{name}")),
                "{text}"
            );
        }
    }
}
