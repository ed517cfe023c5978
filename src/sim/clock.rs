//! A replica's clock: it starts anywhere, runs too fast or too slow, and may jump ahead.

use std::time::Duration;

use crate::protocol::Time;

const MILLION: i128 = 1_000_000;

/// Maps the simulation's time to what one replica reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// A pair of readings from which it runs on: the simulation's, and its own.
    at_ns: u64,
    reads_ns: u64,
    /// Parts per million that it runs too fast.
    drift_ppm: i64,
}

impl Clock {
    /// A clock that reads `reads_ns` now.
    pub(super) fn new(now_ns: u64, reads_ns: u64, drift_ppm: i64) -> Self {
        Clock { at_ns: now_ns, reads_ns, drift_ppm }
    }

    /// What it reads.
    pub(super) fn read(&self, now_ns: u64) -> Time {
        let passed = i128::from(now_ns.saturating_sub(self.at_ns));
        let own = passed * (MILLION + i128::from(self.drift_ppm)) / MILLION;
        Time(self.reads_ns.saturating_add(own as u64))
    }

    /// When, in the simulation's time, it will have advanced by `delay` and no less, unless it jumps.
    pub(super) fn after(&self, now_ns: u64, delay: Duration) -> u64 {
        let own = delay.as_nanos() * MILLION as u128;
        let rate = (MILLION + i128::from(self.drift_ppm)) as u128;
        now_ns.saturating_add(own.div_ceil(rate) as u64)
    }

    /// When, in the simulation's time, it reads `reading`; now, if it already does.
    pub(super) fn when(&self, now_ns: u64, reading: Time) -> u64 {
        self.after(now_ns, reading.since(self.read(now_ns)))
    }

    /// Jumps ahead.
    pub(super) fn jump(&mut self, now_ns: u64, by: Duration) {
        self.reads_ns = self.read(now_ns).after(by).0;
        self.at_ns = now_ns;
    }

    /// Runs on at another rate.
    pub(super) fn drift(&mut self, now_ns: u64, drift_ppm: i64) {
        *self = Clock::new(now_ns, self.read(now_ns).0, drift_ppm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_drifts_jumps_and_never_runs_backwards() {
        let mut clock = Clock::new(1_000_000, 5, 100_000);
        assert_eq!(clock.read(2_000_000), Time(1_100_005));
        clock.jump(2_000_000, Duration::from_nanos(10));
        assert_eq!(clock.read(2_000_000), Time(1_100_015));
        clock.drift(2_000_000, -500_000);
        assert_eq!(clock.read(3_000_000), Time(1_600_015));
        assert_eq!(clock.after(3_000_000, Duration::from_nanos(10)), 3_000_020);
        assert_eq!(clock.when(3_000_000, Time(7)), 3_000_000);
        let fast = Clock::new(0, 0, 700_000);
        let due_ns = fast.after(0, Duration::from_nanos(100));
        assert!(fast.read(due_ns) >= Time(100) && fast.read(due_ns - 1) < Time(100));
    }
}
