//! What this process uses, as Linux says it. Elsewhere nothing is known, and nothing is guessed.

/// CPU time so far.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Usage {
    pub(super) cpu_user_s: f64,
    pub(super) cpu_system_s: f64,
}

/// The unit of CPU times in `/proc`, a constant of Linux's interface on every common architecture.
const TICKS_PER_S: f64 = 100.0;

impl Usage {
    /// What the process used since it began; none if that cannot be read.
    pub(super) fn now() -> Option<Usage> {
        Usage::parse(&std::fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// User and system time are the 14th and 15th field; the 2nd is in parentheses and may hold
    /// anything.
    fn parse(stat: &str) -> Option<Usage> {
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace().skip(11);
        let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS_PER_S);
        Some(Usage { cpu_user_s: seconds()?, cpu_system_s: seconds()? })
    }
}

/// Resident memory, in bytes.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_times_are_found_behind_a_name_with_spaces_and_parentheses() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 75 0 0 20 0 1 0 5 1 1";
        assert_eq!(Usage::parse(stat), Some(Usage { cpu_user_s: 2.5, cpu_system_s: 0.75 }));
        assert_eq!(Usage::parse("7 (a) S 1"), None);
    }
}
