//! `paxbench explore`: what a person sees of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::ops::Range;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Subject;
use super::explore::{Exploration, Explored, Failure, canary, explore, judge};
use super::faults::FaultClass;
use super::hunt::{hunt_all, table};
use super::scenario::Scenario;
use super::shrink::{Shrunk, shrink};
use super::trace::Trace;
use crate::mutants::Mutant;

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
    /// The checks do not see what they must see: they prove nothing.
    Deaf,
}

/// Runs mutants, each until a seed kills it, and tells how long that took.
pub fn hunt<P: Subject>(mutants: &[Mutant], seeds_max: u64, threads: Option<usize>) -> Told {
    let threads = threads.unwrap_or_else(cores);
    let hunted = hunt_all::<P>(mutants, seeds_max, threads);
    let all_dead = hunted.iter().all(|fared| fared.killed.is_some());
    let end = if all_dead { End::Clean } else { End::Deaf };
    Told { text: table(&hunted, seeds_max), end }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Looks whether the alarm rings, then runs all seeds.
pub fn run<P: Subject>(wish: &Wish) -> Told {
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
    let bar = progress_bar(wish.seeds.end - wish.seeds.start);
    let started = Instant::now();
    let explored = explore::<P>(&exploration, |so_far| {
        bar.set_position(so_far.stats.runs);
        if so_far.failed > 0 {
            bar.set_message(format!("{} failed", so_far.failed));
        }
        true
    });
    bar.finish_and_clear();
    let text = tell::<P>(wish, &explored, canary, started.elapsed());
    Told { text, end: if explored.failed == 0 { End::Clean } else { End::Failed } }
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
    let simulated_s = stats.simulated_ns as f64 / 1e9;
    let mut text = format!(
        "{}: {} seeds, {} operations, {} faults, {} events in {:.1} s; {simulated_s:.0} s \
         simulated, {:.0} a second\n",
        P::MODE,
        stats.runs,
        stats.operations,
        stats.faults,
        stats.events,
        took.as_secs_f64(),
        simulated_s / took.as_secs_f64(),
    );
    let _ = writeln!(text, "canary: lying disks were noticed at seed {canary}");
    let reached: Vec<String> =
        stats.reached.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let _ = writeln!(text, "reached: {}", reached.join(", "));
    if explored.failed == 0 {
        let _ = writeln!(text, "no violation");
        return text;
    }
    let _ = writeln!(text, "{} of {} seeds FAILED", explored.failed, stats.runs);
    for failure in &explored.failures {
        let _ = write!(text, "{}", tell_failure::<P>(wish, failure));
    }
    text
}

fn tell_failure<P: Subject>(wish: &Wish, failure: &Failure) -> String {
    let Failure { seed, violation } = failure;
    let all = FaultClass::value_variants().len() == wish.faults.len();
    let faults = if all { String::new() } else { format!(" --faults {}", names(&wish.faults)) };
    format!(
        "seed {seed}: {violation}\n  again: paxbench explore --mode {} --seed {seed}{faults} \
         --shrink --trace\n",
        P::MODE
    )
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
