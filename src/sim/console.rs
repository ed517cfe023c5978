//! `paxbench explore`: what a person sees of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Subject;
use super::explore::{Exploration, Explored, Failure, Stats, canary, explore, judge};
use super::faults::FaultClass;
use super::hunt::{Hunt, table};
use super::scenario::Scenario;
use super::shrink::{Shrunk, shrink};
use super::trace::Trace;
use crate::mutants::Mutant;

/// The width of what is printed.
const COLUMNS: usize = 100;

/// Seeds within which the canary must fail.
const CANARY_SEEDS: u64 = 200;

/// What `paxbench explore` is asked to do.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Which seeds.
    pub seeds: Range<u64>,
    /// What may befall a run.
    pub faults: BTreeSet<FaultClass>,
    /// Threads; as many as processors if none.
    pub threads: Option<usize>,
    /// Whether each seed is run twice and must do the same.
    pub twice: bool,
    /// Failures that are told in full.
    pub keep: usize,
}

impl Wish {
    fn seed_count(&self) -> u64 {
        self.seeds.end - self.seeds.start
    }

    /// Whether nobody ended it before its last seed.
    fn is_done(&self, explored: &Explored) -> bool {
        explored.stats.runs == self.seed_count()
    }
}

/// What came of it, in words, and whether all was well.
#[derive(Clone, Debug)]
pub struct Told {
    /// For standard output.
    pub text: String,
    /// What the exit code says.
    pub end: End,
}

/// How an exploration ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// No seed failed.
    Clean,
    /// A seed failed.
    Failed,
    /// A person ended it; no seed had failed so far.
    Interrupted,
    /// The checks do not see what they must see: they prove nothing.
    Deaf,
}

/// Runs mutants, each until a seed kills it, and tells how many seeds that took.
pub fn hunt<P: Subject>(
    mutants: &[Mutant],
    seeds: &Range<u64>,
    faults: &BTreeSet<FaultClass>,
    threads: Option<usize>,
) -> Told {
    let threads = threads.unwrap_or_else(cores);
    let hunt = Hunt { seeds: seeds.clone(), faults: faults.clone(), threads };
    let hunted = hunt.all::<P>(mutants);
    let all_dead = hunted.iter().all(|fared| fared.killed.is_some());
    let end = if all_dead { End::Clean } else { End::Deaf };
    let mut text = table(&hunted, seeds);
    let _ = writeln!(text, "again: {}", replay::<P>("SEED --mutant MUTANT", faults));
    Told { text, end }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Looks whether the alarm rings, then runs all seeds, or as many as it can before `stop` is set.
pub fn run<P: Subject>(wish: &Wish, stop: &AtomicBool) -> Told {
    let Some(canary) = canary::<P>(CANARY_SEEDS) else {
        let text = format!(
            "the canary lives: disks that lie were not noticed in {CANARY_SEEDS} seeds, so the \
             checks prove nothing\n"
        );
        return Told { text, end: End::Deaf };
    };
    let exploration = Exploration {
        seeds: wish.seeds.clone(),
        faults: wish.faults.clone(),
        threads: wish.threads.unwrap_or_else(cores),
        twice: wish.twice,
        keep: wish.keep,
        stop_at_first: false,
    };
    let bar = progress_bar(wish.seed_count());
    let started = Instant::now();
    let explored = explore::<P>(&exploration, |so_far| {
        bar.set_position(so_far.stats.runs);
        if so_far.failed > 0 {
            bar.set_message(format!("{} failed", so_far.failed));
        }
        !stop.load(Ordering::Relaxed)
    });
    bar.finish_and_clear();
    let text = tell::<P>(wish, &explored, canary, started.elapsed());
    let end = match explored.failed {
        0 if wish.is_done(&explored) => End::Clean,
        0 => End::Interrupted,
        _ => End::Failed,
    };
    Told { text, end }
}

fn progress_bar(seeds: u64) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {eta} left  {msg}");
    let style = style.expect("a template that is known to be right");
    ProgressBar::with_draw_target(Some(seeds), target).with_style(style)
}

fn tell<P: Subject>(wish: &Wish, explored: &Explored, canary: u64, took: Duration) -> String {
    let stats = &explored.stats;
    let (simulated_s, took_s) = (stats.simulated_ns as f64 / 1e9, took.as_secs_f64());
    let mut text = format!(
        "{}: {} seeds, {} operations, {} faults, {} events\n",
        P::MODE,
        stats.runs,
        stats.operations,
        stats.faults,
        stats.events,
    );
    let speed = simulated_s / took_s;
    let _ = writeln!(
        text,
        "time: {simulated_s:.0} s of virtual time in {took_s:.1} s, {speed:.0} times as fast"
    );
    let _ = writeln!(text, "canary: a planted bug, disks that lie, was noticed at seed {canary}");
    text.push_str(&reached(stats));
    if !wish.is_done(explored) {
        let (done, all) = (stats.runs, wish.seed_count());
        let _ = writeln!(text, "INTERRUPTED after {done} of {all} seeds");
    }
    let twice = if wish.twice { "; every seed did the same twice" } else { "" };
    if explored.failed == 0 {
        let _ = writeln!(text, "no violation{twice}");
        return text;
    }
    let _ = writeln!(text, "{} of {} seeds FAILED", explored.failed, stats.runs);
    for failure in &explored.failures {
        let _ = write!(text, "{}", tell_failure::<P>(wish, failure));
    }
    text
}

/// What the cores counted, in lines that fit a terminal: a run that never reaches what it is to test
/// proves little.
fn reached(stats: &Stats) -> String {
    let mut text = String::new();
    let mut line = "reached:".to_owned();
    for (name, count) in &stats.reached {
        let word = format!(" {name} {count},");
        if line.len() + word.len() > COLUMNS {
            let _ = writeln!(text, "{line}");
            line = " ".repeat("reached:".len());
        }
        line.push_str(&word);
    }
    let _ = writeln!(text, "{}", line.trim_end_matches(','));
    text
}

fn tell_failure<P: Subject>(wish: &Wish, failure: &Failure) -> String {
    let Failure { seed, violation } = failure;
    format!("seed {seed}: {violation}\n  again: {}\n", replay::<P>(&seed.to_string(), &wish.faults))
}

/// The command that shows a seed's run again.
fn replay<P: Subject>(seed: &str, faults: &BTreeSet<FaultClass>) -> String {
    let all = FaultClass::value_variants().len() == faults.len();
    let faults = if all { String::new() } else { format!(" --faults {}", names(faults)) };
    format!("paxbench explore --mode {} --seed {seed}{faults} --shrink --trace", P::MODE)
}

/// The classes as `--faults` takes them.
fn names(faults: &BTreeSet<FaultClass>) -> String {
    if faults.is_empty() {
        return "none".to_owned();
    }
    let name = |class: &FaultClass| class.to_possible_value().map(|v| v.get_name().to_owned());
    faults.iter().filter_map(name).collect::<Vec<_>>().join(",")
}

/// Runs one seed again, as it is or as the smallest scenario that fails alike.
pub fn again<P: Subject>(
    seed: u64,
    faults: &BTreeSet<FaultClass>,
    shrunk: bool,
    trace: bool,
) -> Told {
    let mut scenario = Scenario::<P>::draw(seed, faults);
    let mut text = String::new();
    if shrunk {
        match shrink(scenario.clone()) {
            Some(Shrunk { scenario: smaller, runs, .. }) => {
                let _ = writeln!(text, "seed {seed}, shrunk in {runs} runs to:");
                scenario = smaller;
            }
            None => {
                let _ = writeln!(text, "seed {seed} does not fail: there is nothing to shrink");
            }
        }
    }
    let _ = write!(text, "{scenario}");
    let judged = judge(&scenario, if trace { Trace::Text(String::new()) } else { Trace::Off });
    if let Trace::Text(transcript) = judged.trace {
        text.push_str(&transcript);
    }
    match judged.verdict {
        Ok(()) => {
            let _ = writeln!(text, "seed {seed}: no violation");
            Told { text, end: End::Clean }
        }
        Err(violation) => {
            let _ = writeln!(text, "seed {seed}: {violation}");
            Told { text, end: End::Failed }
        }
    }
}
