//! The part of a scenario that a failure needs: faults and operations are left out as long as the
//! same invariant stays violated (Zeller & Hildebrandt, "Simplifying and Isolating Failure-Inducing
//! Input", 2002: ddmin).

use super::Subject;
use super::explore::judge;
use super::scenario::Scenario;
use super::trace::Trace;
use crate::check::invariants::Violation;

/// A scenario that fails, and how.
#[derive(Clone, Debug)]
pub struct Shrunk<P: Subject> {
    /// What is left of it.
    pub scenario: Scenario<P>,
    /// What it violates.
    pub violation: Violation,
    /// How many runs it took.
    pub runs: u64,
}

/// Leaves out what the failure does not need; none if the scenario does not fail.
pub fn shrink<P: Subject>(scenario: Scenario<P>) -> Option<Shrunk<P>> {
    let violation = judge(&scenario, Trace::Off).verdict.err()?;
    let mut shrunk = Shrunk { scenario, violation, runs: 1 };
    loop {
        let before = shrunk.size();
        let faults = shrunk.scenario.faults.list.clone();
        shrunk.leave_out(faults, |scenario, faults| scenario.faults.list = faults);
        let schedule = shrunk.scenario.schedule.clone();
        shrunk.leave_out(schedule, |scenario, schedule| scenario.schedule = schedule);
        shrunk.simplify();
        if shrunk.size() == before {
            return Some(shrunk);
        }
    }
}

impl<P: Subject> Shrunk<P> {
    fn size(&self) -> usize {
        self.scenario.faults.list.len() + self.scenario.schedule.len()
    }

    /// Takes a smaller scenario if it fails alike.
    fn try_instead(&mut self, scenario: Scenario<P>) -> bool {
        self.runs += 1;
        match judge(&scenario, Trace::Off).verdict {
            Err(violation) if violation.invariant == self.violation.invariant => {
                (self.scenario, self.violation) = (scenario, violation);
                true
            }
            _ => false,
        }
    }

    /// Leaves out ever smaller parts of a list.
    fn leave_out<T: Clone>(&mut self, list: Vec<T>, put: impl Fn(&mut Scenario<P>, Vec<T>)) {
        let mut kept = list;
        let mut part = kept.len().div_ceil(2);
        while part > 0 && !kept.is_empty() {
            let mut start = 0;
            while start < kept.len() {
                let end = (start + part).min(kept.len());
                let without = [&kept[..start], &kept[end..]].concat();
                let mut scenario = self.scenario.clone();
                put(&mut scenario, without.clone());
                if self.try_instead(scenario) {
                    kept = without;
                } else {
                    start = end;
                }
            }
            part = if part == 1 { 0 } else { part.div_ceil(2) };
        }
    }

    /// Tries a calmer network, one by one.
    fn simplify(&mut self) {
        let calmer: [fn(&mut Scenario<P>); 5] = [
            |scenario| scenario.faults.lasting = None,
            |scenario| scenario.network.loss = 0.0,
            |scenario| {
                scenario.network.manner =
                    super::Manner::Datagrams { duplicates: 0.0, stragglers: 0.0 }
            },
            |scenario| scenario.network.jitter_ns = 0,
            |scenario| scenario.faults.clocks_differ = false,
        ];
        for change in calmer {
            let mut scenario = self.scenario.clone();
            change(&mut scenario);
            self.try_instead(scenario);
        }
    }
}
