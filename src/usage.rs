//! What this process has used of the machine.

use serde::{Deserialize, Serialize};

/// CPU time and memory of this process.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time in user mode since the process started, in seconds.
    pub cpu_user_s: f64,
    /// CPU time in the kernel since the process started, in seconds.
    pub cpu_system_s: f64,
    /// Resident memory now, in bytes.
    pub rss_bytes: u64,
    /// The largest resident memory so far, in bytes.
    pub rss_bytes_max: u64,
}

impl Usage {
    /// Reads it; none where the system has no `/proc`.
    pub fn now() -> Option<Usage> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        Usage::parse(&stat, &std::fs::read_to_string("/proc/self/status").ok()?)
    }

    fn parse(stat: &str, status: &str) -> Option<Usage> {
        let ticks_per_s = rustix::param::clock_ticks_per_second() as f64;
        // Fields are counted from the one behind the parenthesised name, which may hold spaces.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let seconds = |field: usize| Some(fields.get(field)?.parse::<f64>().ok()? / ticks_per_s);
        let bytes = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key))?;
            Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
        };
        Some(Usage {
            cpu_user_s: seconds(11)?,
            cpu_system_s: seconds(12)?,
            rss_bytes: bytes("VmRSS:")?,
            rss_bytes_max: bytes("VmHWM:")?,
        })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn cpu_times_are_found_behind_a_name_with_spaces_and_parentheses() {
        let ticks_per_s = rustix::param::clock_ticks_per_second() as f64;
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 75 0 0 20 0 1 0 5 1 1";
        let usage = Usage::parse(stat, "VmHWM:\t 20 kB\nVmRSS:\t 10 kB\n").unwrap();
        assert_eq!(
            (usage.cpu_user_s, usage.cpu_system_s),
            (250.0 / ticks_per_s, 75.0 / ticks_per_s)
        );
        assert_eq!((usage.rss_bytes, usage.rss_bytes_max), (10_240, 20_480));
        assert_eq!(Usage::parse("7 (a) S 1", ""), None);
    }

    #[test]
    fn work_shows_as_user_time_and_memory_as_resident() {
        let before = Usage::now().unwrap();
        let mut x = 1u64;
        let memory = vec![1u8; 64 << 20];
        while Usage::now().unwrap().cpu_user_s - before.cpu_user_s < 0.05 {
            x = (0..1_000_000).fold(x, |x, i| std::hint::black_box(x.wrapping_mul(31) + i));
        }
        let after = Usage::now().unwrap();
        assert!(after.rss_bytes_max >= before.rss_bytes + (memory.len() as u64) / 2);
        assert!(after.rss_bytes <= after.rss_bytes_max);
        std::hint::black_box((x, memory));
    }
}
