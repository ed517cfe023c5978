//! The monotonic clock in nanoseconds, and alarms on it that are more precise than condition
//! variables and runtimes: a timer file descriptor on Linux, a condition variable elsewhere.

use std::io;
use std::sync::LazyLock;
use std::time::Instant;

/// An instant, and what the clock in nanoseconds said then.
static ANCHOR: LazyLock<(Instant, u64)> = LazyLock::new(|| (Instant::now(), raw_now_ns()));

/// Nanoseconds on the monotonic clock.
pub(super) fn now_ns() -> u64 {
    raw_now_ns()
}

/// The instant on that clock.
pub(super) fn ns_of(instant: Instant) -> u64 {
    let (anchor, anchor_ns) = *ANCHOR;
    match instant.checked_duration_since(anchor) {
        Some(after) => anchor_ns.saturating_add(after.as_nanos() as u64),
        None => anchor_ns.saturating_sub((anchor - instant).as_nanos() as u64),
    }
}

#[cfg(target_os = "linux")]
fn raw_now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(not(target_os = "linux"))]
fn raw_now_ns() -> u64 {
    // Far from zero, so that earlier instants can be expressed.
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    (1 << 60) + START.elapsed().as_nanos() as u64
}

#[cfg(target_os = "linux")]
pub(super) use linux::{Alarm, TimerFd};

#[cfg(not(target_os = "linux"))]
pub(super) use portable::Alarm;

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    use super::io;

    /// A timer as a file that becomes readable. Arming it again forgets that it rang.
    #[derive(Debug)]
    pub(in crate::net) struct TimerFd(OwnedFd);

    impl TimerFd {
        pub(in crate::net) fn new(flags: TimerfdFlags) -> io::Result<TimerFd> {
            let flags = flags | TimerfdFlags::CLOEXEC;
            Ok(TimerFd(timerfd_create(TimerfdClockId::Monotonic, flags)?))
        }

        /// Rings at `at_ns`, at once if that is past.
        pub(in crate::net) fn arm(&self, at_ns: u64) {
            let at_ns = at_ns.max(1); // zero would disarm it
            let it_value = Timespec {
                tv_sec: (at_ns / 1_000_000_000) as i64,
                tv_nsec: (at_ns % 1_000_000_000) as _,
            };
            let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
            let spec = Itimerspec { it_interval, it_value };
            timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &spec)
                .expect("a timer of ours takes every valid time");
        }
    }

    impl AsFd for TimerFd {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    impl AsRawFd for TimerFd {
        fn as_raw_fd(&self) -> RawFd {
            self.0.as_raw_fd()
        }
    }

    /// Wakes one thread at a time that any thread may set.
    #[derive(Debug)]
    pub(in crate::net) struct Alarm(TimerFd);

    impl Alarm {
        pub(in crate::net) fn new() -> io::Result<Alarm> {
            Ok(Alarm(TimerFd::new(TimerfdFlags::empty())?))
        }

        /// Rings at `at_ns`, and not at the time set before.
        pub(in crate::net) fn set(&self, at_ns: u64) {
            self.0.arm(at_ns);
        }

        /// Blocks until it rings; may return early.
        pub(in crate::net) fn wait(&self) {
            let _ = rustix::io::read(&self.0, &mut [0; 8]);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod portable {
    use std::sync::{Condvar, Mutex, PoisonError};
    use std::time::Duration;

    use super::{io, now_ns};

    /// Wakes one thread at a time that any thread may set.
    #[derive(Debug)]
    pub(in crate::net) struct Alarm {
        at_ns: Mutex<u64>,
        changed: Condvar,
    }

    impl Alarm {
        pub(in crate::net) fn new() -> io::Result<Alarm> {
            Ok(Alarm { at_ns: Mutex::new(u64::MAX), changed: Condvar::new() })
        }

        /// Rings at `at_ns`, and not at the time set before.
        pub(in crate::net) fn set(&self, at_ns: u64) {
            *self.at_ns.lock().unwrap_or_else(PoisonError::into_inner) = at_ns;
            self.changed.notify_one();
        }

        /// Blocks until it rings; may return early.
        pub(in crate::net) fn wait(&self) {
            let mut at_ns = self.at_ns.lock().unwrap_or_else(PoisonError::into_inner);
            let left = Duration::from_nanos(at_ns.saturating_sub(now_ns()));
            if !left.is_zero() {
                let waited = self.changed.wait_timeout(at_ns, left);
                at_ns = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            if *at_ns <= now_ns() {
                *at_ns = u64::MAX; // it rang
            }
        }
    }
}
