//! When operations start.
//!
//! An open schedule does not know whether earlier operations were answered, so a stalled service
//! cannot thin it out. Latency counts from the scheduled time, however late the operation was sent.

use rand::RngExt;
use rand_distr::{Distribution, Exp1};

use super::plan::Arrival;
use super::seed::{ClientRng, Stream, generator, site_seed};

const NS_PER_S: f64 = 1e9;

/// The scheduled times of one site, in ns on the run's clock, in order. A closed loop has none: its
/// operations start when earlier ones end.
#[derive(Debug)]
pub struct Schedule {
    gaps: Gaps,
    next_ns: Option<u64>,
    start_ns: u64,
    end_ns: u64,
}

/// How the offsets from the schedule's start come about.
#[derive(Debug)]
enum Gaps {
    /// The `index`-th arrival is at `first_ns + index * gap_ns`: computed anew for each, so that
    /// rounding does not add up.
    Constant {
        first_ns: f64,
        gap_ns: f64,
        index: u64,
    },
    Poisson {
        at_ns: f64,
        gap_ns: f64,
        rng: ClientRng,
    },
    Closed,
}

impl Schedule {
    /// The arrivals of `site` within `start_ns..end_ns`. The site's name and the seed set the phase
    /// of an evenly spaced schedule, so that sites do not send at the same instants.
    pub fn new(arrival: Arrival, seed: u64, site: &str, start_ns: u64, end_ns: u64) -> Self {
        let mut rng = generator(site_seed(seed, site, Stream::Arrivals), 0);
        let gaps = match arrival {
            Arrival::Constant { rate_per_s } => {
                let gap_ns = NS_PER_S / rate_per_s;
                let first_ns = rng.random::<f64>() * gap_ns;
                Gaps::Constant { first_ns, gap_ns, index: 0 }
            }
            Arrival::Poisson { rate_per_s } => {
                Gaps::Poisson { at_ns: 0.0, gap_ns: NS_PER_S / rate_per_s, rng }
            }
            Arrival::Closed { .. } => Gaps::Closed,
        };
        let mut schedule = Schedule { gaps, next_ns: None, start_ns, end_ns };
        schedule.advance();
        schedule
    }

    /// The next scheduled time; `None` if none is left.
    pub fn next_ns(&self) -> Option<u64> {
        self.next_ns
    }

    /// Takes the next scheduled time if it is due at `now_ns`.
    pub fn take_due(&mut self, now_ns: u64) -> Option<u64> {
        let due = self.next_ns.filter(|next| *next <= now_ns)?;
        self.advance();
        Some(due)
    }

    fn advance(&mut self) {
        let offset_ns = match &mut self.gaps {
            Gaps::Constant { first_ns, gap_ns, index } => {
                let at = *first_ns + *index as f64 * *gap_ns;
                *index += 1;
                at
            }
            Gaps::Poisson { at_ns, gap_ns, rng } => {
                let gap: f64 = Exp1.sample(rng);
                *at_ns += gap * *gap_ns;
                *at_ns
            }
            Gaps::Closed => f64::INFINITY,
        };
        let at_ns = self.start_ns.saturating_add(offset_ns as u64);
        self.next_ns = Some(at_ns).filter(|at| *at < self.end_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(arrival: Arrival, site: &str) -> Vec<u64> {
        let mut schedule = Schedule::new(arrival, 7, site, 1_000_000_000, 11_000_000_000);
        std::iter::from_fn(|| schedule.take_due(u64::MAX)).collect()
    }

    #[test]
    fn a_constant_schedule_keeps_its_rate_and_its_gap_to_the_nanosecond() {
        let times = all(Arrival::Constant { rate_per_s: 3000.0 }, "tokyo");
        assert_eq!(times.len(), 30_000);
        assert!(times[0] >= 1_000_000_000 && *times.last().unwrap() < 11_000_000_000);
        let drift = times[29_999] as f64 - times[0] as f64 - 29_999.0 * 1e9 / 3000.0;
        assert!(drift.abs() < 2.0, "drift of {drift} ns");
    }

    #[test]
    fn sites_are_shifted_against_each_other() {
        let arrival = Arrival::Constant { rate_per_s: 10.0 };
        assert_ne!(all(arrival, "tokyo")[0], all(arrival, "ireland")[0]);
        assert_eq!(all(arrival, "tokyo"), all(arrival, "tokyo"));
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_spread_of_an_exponential() {
        let times = all(Arrival::Poisson { rate_per_s: 10_000.0 }, "tokyo");
        let gaps: Vec<f64> = times.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean / 100_000.0 - 1.0).abs() < 0.02, "mean {mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "spread {}", variance.sqrt() / mean);
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        let arrival = Arrival::Constant { rate_per_s: 1.0 };
        let mut schedule = Schedule::new(arrival, 7, "tokyo", 0, 10_000_000_000);
        let first = schedule.next_ns().unwrap();
        assert_eq!(schedule.take_due(first - 1), None);
        assert_eq!(schedule.take_due(first), Some(first));
    }

    #[test]
    fn a_closed_loop_schedules_nothing() {
        assert!(all(Arrival::Closed { outstanding: 1 }, "tokyo").is_empty());
    }
}
