//! Do the checks see what they are for? Each mutant ([`crate::mutants`]) must fail within some seeds.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::ValueEnum;

use super::Subject;
use super::explore::{Failure, judge};
use super::faults::FaultClass;
use super::scenario::Scenario;
use super::trace::Trace;
use crate::mutants::{Mutant, with};

/// How a mutant fared.
#[derive(Clone, Debug)]
pub struct Hunted {
    /// Which.
    pub mutant: Mutant,
    /// The first seed that killed it; none if it survived.
    pub killed: Option<Failure>,
}

/// Runs seeds from 0 on as this mutant until one fails, at most `seeds_max`.
pub fn hunt<P: Subject>(mutant: Mutant, seeds_max: u64) -> Hunted {
    let faults: BTreeSet<FaultClass> = FaultClass::value_variants().iter().copied().collect();
    let fails = |seed: u64| {
        let scenario = Scenario::<P>::draw(seed, &faults);
        let violation = with(mutant, || judge(&scenario, Trace::Off)).verdict.err()?;
        Some(Failure { seed, violation })
    };
    Hunted { mutant, killed: (0..seeds_max).find_map(fails) }
}

/// Hunts all of them, several at a time; in the order given.
pub fn hunt_all<P: Subject>(mutants: &[Mutant], seeds_max: u64, threads: usize) -> Vec<Hunted> {
    let next = AtomicUsize::new(0);
    let hunted = Mutex::new(Vec::new());
    let note = |index: usize, fared: Hunted| {
        hunted.lock().expect("no thread panics with it").push((index, fared));
    };
    let some = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(mutant) = mutants.get(index) else { return };
            note(index, hunt::<P>(*mutant, seeds_max));
        }
    };
    std::thread::scope(|scope| (0..threads.max(1)).for_each(|_| drop(scope.spawn(some))));
    let mut hunted = hunted.into_inner().expect("no thread panics with it");
    hunted.sort_by_key(|(index, _)| *index);
    hunted.into_iter().map(|(_, fared)| fared).collect()
}

/// The table of a hunt.
pub fn table(hunted: &[Hunted], seeds_max: u64) -> String {
    let mut text = String::new();
    let width = hunted.iter().map(|fared| fared.mutant.name().len()).max().unwrap_or(0);
    for Hunted { mutant, killed } in hunted {
        let room = mutant.room().to_string();
        let fate = match killed {
            Some(Failure { seed, violation }) => {
                format!("{:>6}  {}", seed + 1, violation.invariant)
            }
            None => format!("SURVIVES {seeds_max} seeds"),
        };
        let _ = writeln!(text, "{:<width$}  {room:<8}  {fate}", mutant.name());
    }
    let dead = hunted.iter().filter(|fared| fared.killed.is_some()).count();
    let _ = writeln!(text, "{dead} of {} mutants killed", hunted.len());
    text
}
