//! What is known of the program and the machine. What cannot be found out is none, not a guess.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The program and the machine of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Environment {
    /// The version of paxbench.
    pub version: String,
    /// The commit that it was built from; none if it was not built in a repository.
    pub commit: Option<String>,
    /// Whether its sources differed from that commit.
    pub dirty: Option<bool>,
    /// The compiler.
    pub toolchain: Option<String>,
    /// `release` or `debug`; figures of a debug build mean little.
    pub profile: String,
    /// The kernel's name and release.
    pub kernel: String,
    /// The processors.
    pub cpu: CpuFacts,
    /// Memory of the machine, in bytes.
    pub memory_bytes: Option<u64>,
    /// Where the results lie.
    pub disk: Option<DiskFacts>,
}

/// The processors.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CpuFacts {
    /// What the first one calls itself.
    pub model: Option<String>,
    /// How many this process may use.
    pub count: Option<usize>,
}

/// A mounted file system.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DiskFacts {
    /// The device, as the kernel's mount table names it.
    pub device: String,
    /// The kind of file system.
    pub file_system: String,
}

impl Environment {
    /// Looks at this program and this machine; `directory` says which disk is meant.
    pub fn collect(directory: &Path) -> Environment {
        let uname = rustix::system::uname();
        let word = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
        Environment {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("PAXBENCH_COMMIT").map(str::to_owned),
            dirty: option_env!("PAXBENCH_DIRTY").map(|d| d == "true"),
            toolchain: option_env!("PAXBENCH_RUSTC").map(str::to_owned),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            kernel: format!("{} {}", word(uname.sysname()), word(uname.release())),
            cpu: CpuFacts {
                model: cpu_model(),
                count: std::thread::available_parallelism().ok().map(usize::from),
            },
            memory_bytes: memory_bytes(),
            disk: disk_of(directory),
        }
    }
}

/// The value of a line `NAME : VALUE` in a file of `/proc`.
fn proc_value(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let value = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    };
    text.lines().find_map(value)
}

fn cpu_model() -> Option<String> {
    proc_value("/proc/cpuinfo", "model name")
}

fn memory_bytes() -> Option<u64> {
    let total = proc_value("/proc/meminfo", "MemTotal")?;
    let kib: u64 = total.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The mount whose mount point is the longest prefix of `directory`.
fn disk_of(directory: &Path) -> Option<DiskFacts> {
    let directory = fs::canonicalize(directory).ok()?;
    let table = fs::read_to_string("/proc/self/mounts").ok()?;
    disk_in(&table, &directory)
}

fn disk_in(mounts: &str, directory: &Path) -> Option<DiskFacts> {
    let mounted = |line: &str| {
        let mut words = line.split(' ').map(unescape_mount);
        let (device, at, file_system) = (words.next()?, words.next()?, words.next()?);
        let depth = Path::new(&at).components().count();
        directory.starts_with(&at).then_some((depth, DiskFacts { device, file_system }))
    };
    // a later mount at the same place hides an earlier one: max_by_key returns the last
    mounts.lines().filter_map(mounted).max_by_key(|(depth, _)| *depth).map(|(_, disk)| disk)
}

/// The mount table writes a space as `\040`.
fn unescape_mount(word: &str) -> String {
    word.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_the_deepest_mount_above_the_directory() {
        let table = "/dev/a / ext4 rw 0 0\n/dev/b /data xfs rw 0 0\n/dev/c /data\\040set btrfs rw 0 0\n\
                     tmpfs /data/x tmpfs rw 0 0\n/dev/d /data/x zfs rw 0 0\n";
        let device = |path: &str| disk_in(table, Path::new(path)).map(|disk| disk.device);
        assert_eq!(device("/home").as_deref(), Some("/dev/a"));
        assert_eq!(device("/data/y").as_deref(), Some("/dev/b"));
        assert_eq!(device("/data set/y").as_deref(), Some("/dev/c"));
        assert_eq!(device("/data/x/z").as_deref(), Some("/dev/d"));
        assert_eq!(device("relative"), None);
    }
}
