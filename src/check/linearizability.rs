//! The verdict: could the store have done these operations one at a time, each between its
//! invocation and its response?
//!
//! For commands on several keys that is strict serialisability; the page of [`crate::check`] gives
//! the argument.

mod accounts;
mod explain;
mod partition;
mod per_object;
mod register;
pub(crate) mod search;
#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use self::partition::{Partition, partitions};
use self::register::Stop;
use self::search::{Budget, NEVER};
use super::history::History;
use crate::command::Key;

/// What the checker may use before it gives up with [`Verdict::Unknown`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes for the situations that searches remember, over all threads.
    pub memory_bytes: u64,
    /// Time for all partitions together. Explaining a violation may take up to as much again, and so
    /// may looking at each key alone; each is given 20 s at most.
    pub time: Duration,
    /// Threads that check partitions; 0 takes one a core.
    pub threads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { memory_bytes: 1 << 30, time: Duration::from_secs(300), threads: 0 }
    }
}

/// Whether a history is linearizable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is.
    Valid,
    /// It is not.
    Invalid(Violation),
    /// The limits were reached first; says which, and where. This is no success.
    Unknown(String),
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Verdict::Valid => "valid",
            Verdict::Invalid(_) => "invalid",
            Verdict::Unknown(_) => "unknown",
        })
    }
}

/// Operations that no order explains.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The key, or the accounts that transfers connect.
    pub keys: Vec<Key>,
    /// What is wrong, in a sentence.
    pub summary: String,
    /// The operations that show it, one a line, in the order in which they began.
    pub operations: Vec<String>,
    /// How many other keys, or groups of accounts, are not linearizable either.
    pub others: usize,
    /// Where transfers connect the keys: what [`per_object`] says of the history, and so whether
    /// it is only the commands on several keys that have no order.
    pub alone: Option<Box<Verdict>>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<String> = self.keys.iter().map(Key::to_string).collect();
        write!(f, "{}: {}", keys.join(", "), self.summary)?;
        for operation in &self.operations {
            write!(f, "\n  {operation}")?;
        }
        if self.others > 0 {
            write!(f, "\n({} more keys are not linearizable)", self.others)?;
        }
        match self.alone.as_deref() {
            None => Ok(()),
            Some(Verdict::Valid) => f.write_str(
                "\neach key alone is linearizable: the commands on several keys are not strictly serialisable",
            ),
            Some(Verdict::Invalid(Violation { keys, summary, .. })) => {
                write!(f, "\nnot even each key alone is linearizable; {}: {summary}", keys[0])
            }
            Some(Verdict::Unknown(why)) => {
                write!(f, "\nwhether each key alone is linearizable is not known: {why}")
            }
        }
    }
}

/// Decides whether a history is linearizable, each command on several keys being one operation on
/// all of them: strictly serialisable, that is.
pub fn check(history: &History, limits: &Limits) -> Verdict {
    let partitions = partitions(history);
    let stops = check_all(history, &partitions, limits);
    let mut verdict = conclude(history, &partitions, &stops, limits);
    if let Verdict::Invalid(violation) = &mut verdict
        && violation.keys.len() > 1
    {
        // What passed passes key by key too.
        let stopped = stops.iter().map(|(index, _)| &partitions[*index]);
        let limits = Limits { time: limits.time.min(EXPLAIN_TIME_MAX), ..*limits };
        violation.alone = Some(Box::new(check_keys_alone(history, stopped, &limits)));
    }
    verdict
}

/// Decides whether a history is linearizable for each key alone, which commands on several keys
/// make weaker than [`check`]: all that [`check`] calls valid is valid.
///
/// For this a transfer is two operations that know nothing of each other, the payer's side and the
/// receiver's, each with what its outcome says of that account's balance.
pub fn per_object(history: &History, limits: &Limits) -> Verdict {
    check_keys_alone(history, &partitions(history), limits)
}

fn check_keys_alone<'a>(
    history: &History,
    partitions: impl IntoIterator<Item = &'a Partition>,
    limits: &Limits,
) -> Verdict {
    let partitions = partitions.into_iter();
    let alone: Vec<Partition> = partitions.flat_map(|part| part.keys_alone(history)).collect();
    let stops = check_all(history, &alone, limits);
    conclude(history, &alone, &stops, limits)
}

/// The verdict that follows from the partitions that did not pass.
fn conclude(
    history: &History,
    partitions: &[Partition],
    stops: &[(usize, Stop)],
    limits: &Limits,
) -> Verdict {
    let invalid = stops.iter().filter(|(_, stop)| matches!(stop, Stop::Fault(_)));
    if let Some((index, Stop::Fault(fault))) = invalid.clone().next() {
        let budget = Budget {
            memory_bytes: limits.memory_bytes,
            deadline: Instant::now() + limits.time.min(EXPLAIN_TIME_MAX),
        };
        let mut violation = explain::explain(history, &partitions[*index], fault, budget);
        violation.others = invalid.count() - 1;
        return Verdict::Invalid(violation);
    }
    match stops.first() {
        Some((index, Stop::OverBudget(spent))) => {
            let first = partitions[*index].keys[0];
            let undecided = stops.len();
            Verdict::Unknown(format!("{undecided} keys undecided; {first}: {spent}"))
        }
        _ => Verdict::Valid,
    }
}

/// How long the search for a small explanation may take.
const EXPLAIN_TIME_MAX: Duration = Duration::from_secs(20);

/// Checks all partitions and returns those that did not pass, in order.
fn check_all(history: &History, partitions: &[Partition], limits: &Limits) -> Vec<(usize, Stop)> {
    let deadline = Instant::now() + limits.time;
    let threads = match limits.threads {
        0 => std::thread::available_parallelism().map_or(1, NonZero::get),
        threads => threads,
    };
    let threads = threads.min(partitions.len()).max(1);
    let budget = Budget { memory_bytes: limits.memory_bytes / threads as u64, deadline };
    // The longest first: they decide when the last thread is done.
    let mut order: Vec<usize> = (0..partitions.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(partitions[index].ops.len()));
    let next = AtomicUsize::new(0);
    let stops = Mutex::new(Vec::new());
    let work = || {
        while let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(stop) = partitions[index].check(history, NEVER, budget) {
                stops.lock().expect("no thread panics while it pushes").push((index, stop));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let mut stops = stops.into_inner().expect("no thread panics while it pushes");
    stops.sort_unstable_by_key(|(index, _)| *index);
    stops
}
