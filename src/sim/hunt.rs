//! Do the checks see what they are for? Each mutant ([`crate::mutants`]) must fail within some seeds.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// How mutants are hunted.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// The seeds that each is run with, until one fails.
    pub seeds: Range<u64>,
    /// What may befall a run.
    pub faults: BTreeSet<FaultClass>,
    /// Mutants that are hunted at the same time.
    pub threads: usize,
}

impl Hunt {
    /// Hunts all of them; in the order given.
    pub fn all<P: Subject>(&self, mutants: &[Mutant]) -> Vec<Hunted> {
        let next = AtomicUsize::new(0);
        let take = || mutants.get(next.fetch_add(1, Ordering::Relaxed));
        let work = || std::iter::from_fn(take).map(|one| self.one::<P>(*one)).collect::<Vec<_>>();
        let mut hunted: Vec<Hunted> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads.max(1)).map(|_| scope.spawn(work)).collect();
            let done = threads.into_iter().map(|thread| thread.join().expect("panics are caught"));
            done.flatten().collect()
        });
        let place = |fared: &Hunted| mutants.iter().position(|mutant| *mutant == fared.mutant);
        hunted.sort_by_key(place);
        hunted
    }

    fn one<P: Subject>(&self, mutant: Mutant) -> Hunted {
        let fails = |seed: u64| {
            let scenario = Scenario::<P>::draw(seed, &self.faults);
            let violation = with(mutant, || judge(&scenario, Trace::Off)).verdict.err()?;
            Some(Failure { seed, violation })
        };
        Hunted { mutant, killed: self.seeds.clone().find_map(fails) }
    }
}

/// The table of a hunt.
pub fn table(hunted: &[Hunted], seeds: &Range<u64>) -> String {
    let rows = hunted.iter().map(|fared| {
        let (name, room) = (fared.mutant.name(), fared.mutant.room().to_string());
        if let Some(Failure { seed, violation }) = &fared.killed {
            let tried = seed - seeds.start + 1;
            line(name, &room, &tried.to_string(), &seed.to_string(), violation.invariant)
        } else {
            let tried = seeds.end - seeds.start;
            line(name, &room, &tried.to_string(), "-", "SURVIVES")
        }
    });
    let mut text = line("mutant", "room", "seeds", "by seed", "by invariant");
    text.extend(rows);
    let dead = hunted.iter().filter(|fared| fared.killed.is_some()).count();
    let _ = writeln!(text, "{dead} of {} mutants killed", hunted.len());
    text
}

fn line(mutant: &str, room: &str, seeds: &str, by_seed: &str, by_invariant: &str) -> String {
    format!("{mutant:<36}{room:<18}{seeds:>6}{by_seed:>9}  {by_invariant}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::invariants::Violation;

    #[test]
    fn the_table_counts_the_seeds_and_names_the_one_that_kills() {
        let violation = Violation { invariant: "agreement", what: "two values".to_owned() };
        let [dead, alive, ..] = Mutant::all() else { panic!("there are mutants in tests") };
        let hunted = [
            Hunted { mutant: *dead, killed: Some(Failure { seed: 107, violation }) },
            Hunted { mutant: *alive, killed: None },
        ];
        let text = table(&hunted, &(100..120));
        let words: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["mutant", "room", "seeds", "by", "seed", "by", "invariant"]);
        let room = dead.room().to_string();
        assert_eq!(words[1], [dead.name(), &room, "8", "107", "agreement"]);
        assert_eq!(words[2], [alive.name(), &room, "20", "-", "SURVIVES"]);
        assert_eq!(text.lines().last(), Some("1 of 2 mutants killed"));
    }

    #[test]
    fn no_name_is_wider_than_its_column() {
        let widths = |mutant: &Mutant| (mutant.name().len(), mutant.room().to_string().len());
        assert!(Mutant::all().iter().map(widths).all(|(name, room)| name < 36 && room < 18));
    }
}
