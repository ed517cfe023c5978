//! A sleep for schedules that must be kept to a fraction of a millisecond; tokio's own timers tick
//! once in a millisecond.

use std::io;
use std::time::Instant;

/// Sleeps precisely: a timer file descriptor on Linux, tokio's timer elsewhere.
#[derive(Debug)]
pub struct PreciseTimer {
    #[cfg(target_os = "linux")]
    timer: tokio::io::unix::AsyncFd<super::clock::TimerFd>,
}

impl PreciseTimer {
    /// Makes a timer. Must be called within a tokio runtime with I/O enabled.
    ///
    /// # Errors
    /// If the system gives no more file descriptors.
    #[cfg(target_os = "linux")]
    pub fn new() -> io::Result<PreciseTimer> {
        use rustix::time::TimerfdFlags;
        use tokio::io::Interest;
        let timer = super::clock::TimerFd::new(TimerfdFlags::NONBLOCK)?;
        // SAFETY: the timer owns its one descriptor for as long as it lives, and nothing takes it out.
        let timer =
            unsafe { tokio::io::unix::AsyncFd::register_with_interest(timer, Interest::READABLE) };
        let timer = timer.map_err(|e| io::Error::other(e.to_string()))?;
        Ok(PreciseTimer { timer })
    }

    /// Makes a timer.
    ///
    /// # Errors
    /// None here.
    #[cfg(not(target_os = "linux"))]
    pub fn new() -> io::Result<PreciseTimer> {
        Ok(PreciseTimer {})
    }

    /// Sleeps until `deadline`, never shorter; returns at once if it is past. Dropping the future
    /// is harmless.
    #[cfg(target_os = "linux")]
    pub async fn sleep_until(&mut self, deadline: Instant) {
        let deadline_ns = super::clock::ns_of(deadline);
        if super::clock::now_ns() >= deadline_ns {
            return;
        }
        self.timer.get_ref().arm(deadline_ns);
        loop {
            // Arming again forgot an earlier ring, so nothing needs to be read from the timer; a
            // readiness that tokio remembers from before is cleared and waited for anew.
            match self.timer.readable().await {
                Ok(mut ready) => ready.clear_ready(),
                Err(_) => tokio::time::sleep_until(deadline.into()).await, // the runtime ends
            }
            if super::clock::now_ns() >= deadline_ns {
                return;
            }
        }
    }

    /// Sleeps until `deadline`; returns at once if it is past.
    #[cfg(not(target_os = "linux"))]
    pub async fn sleep_until(&mut self, deadline: Instant) {
        tokio::time::sleep_until(deadline.into()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn it_never_wakes_early_and_mostly_wakes_within_a_millisecond() {
        let mut timer = PreciseTimer::new().unwrap();
        let mut late_us = Vec::new();
        let mut deadline = Instant::now();
        for step in 0..200 {
            deadline = deadline.max(Instant::now()) + Duration::from_micros(100 + step * 10);
            timer.sleep_until(deadline).await;
            let now = Instant::now();
            assert!(now >= deadline);
            late_us.push((now - deadline).as_micros());
        }
        late_us.sort_unstable();
        // Generous, because tests share the machine; tokio's own timer would be later.
        assert!(late_us[100] < 1000, "median {} µs", late_us[100]);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_dropped_sleep_does_not_disturb_the_next() {
        let mut timer = PreciseTimer::new().unwrap();
        let soon = Instant::now() + Duration::from_millis(2);
        let far = Instant::now() + Duration::from_secs(100);
        let dropped = tokio::time::timeout(Duration::from_millis(5), timer.sleep_until(far)).await;
        assert!(dropped.is_err());
        timer.sleep_until(soon).await;
        let later = Instant::now() + Duration::from_millis(2);
        timer.sleep_until(later).await;
        assert!(Instant::now() >= later);
        assert!(later.elapsed() < Duration::from_secs(50));
    }
}
