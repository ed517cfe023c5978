//! What the end-to-end tests share: an experiment in a directory of its own, the driver as a
//! process, and what `/proc` knows of its workers.
#![allow(dead_code, reason = "each test program uses its part")]

pub mod by_hand;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use paxbench::results::{Linearizable, Results, RunSummary};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

pub const PAXBENCH: &str = env!("CARGO_BIN_EXE_paxbench");
pub const REPLICA: &str = env!("CARGO_BIN_EXE_paxbench-replica");
pub const LOAD: &str = env!("CARGO_BIN_EXE_paxbench-load");

/// Nothing that works takes longer, even on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// How often something is looked at that does not announce itself.
const LOOK: Duration = Duration::from_millis(10);

static ALONE: Mutex<()> = Mutex::new(());

/// Clusters must not fight for the processor: whoever holds this has it.
pub fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks until `look` finds something; fails the test rather than wait for ever.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(LOOK);
    }
}

/// Three sites within 16 ms, all six operations.
pub const EXPERIMENT: &str = "
name: e2e
seed: 11
modes: [{ mode: paxos, leader: oslo }]
network:
  sites: [oslo, rome, cairo]
  rtt:
    source: made up for a test
    sites: [oslo, rome, cairo]
    rtt_ms: { oslo: { rome: 10, cairo: 16 }, rome: { cairo: 12 } }
workload:
  clients_per_site: 4
  arrival: { open: 100/s }
  operations: { put: 20%, get: 20%, cas: 20%, rmw: 20%, delete: 10%, transfer: 10% }
  keys: { uniform: 20 }
  retry_after: 1s
  timeout: 8s
phases: { warmup: 200ms, measure: 1500ms, repeat: 1 }
";

/// A directory with an experiment file, a place for results, and one for temporary files.
pub struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    pub fn new() -> Lab {
        let lab = Lab { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(lab.temporary()).unwrap();
        std::fs::write(lab.path("e2e.yaml"), EXPERIMENT).unwrap();
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn temporary(&self) -> PathBuf {
        self.path("tmp")
    }

    pub fn out(&self) -> PathBuf {
        self.path("out")
    }

    /// Starts `paxbench` in a process group of its own.
    pub fn paxbench(&self, arguments: &[&str]) -> Driver {
        let file = |name: &str| File::create(self.path(name)).unwrap();
        let child = Command::new(PAXBENCH)
            .args(arguments)
            .current_dir(self.dir.path())
            .env("TMPDIR", self.temporary())
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .process_group(0)
            .spawn()
            .unwrap();
        Driver { child, dir: self.dir.path().to_owned() }
    }

    /// Starts the experiment, with some values changed.
    pub fn run(&self, overrides: &[&str]) -> Driver {
        let set = overrides.iter().flat_map(|value| ["--set", value]);
        let arguments: Vec<&str> =
            ["run", "e2e.yaml", "--out", "out"].into_iter().chain(set).collect();
        self.paxbench(&arguments)
    }

    /// Runs the experiment, with some values changed, to its end: it is verified, and leaves nothing behind.
    pub fn results_of(&self, overrides: &[&str]) -> Results {
        let ended = self.run(overrides).wait();
        let results = ended.succeeded(&self.finished());
        self.is_clean();
        results
    }

    /// The directories of results: finished ones, and those that are not.
    pub fn results(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(self.out().join("e2e")) else {
            return Default::default();
        };
        entries
            .map(|entry| entry.unwrap().path())
            .partition(|path| path.extension().is_none_or(|end| end != "partial"))
    }

    /// The one finished directory.
    pub fn finished(&self) -> PathBuf {
        let (finished, partial) = self.results();
        assert!(partial.is_empty(), "{partial:?}");
        let [one] = <[PathBuf; 1]>::try_from(finished).unwrap();
        one
    }

    /// Waits until the load generators have opened their histories, which they do when they are told to run.
    pub fn await_load(&self) {
        wait_for("the load", || {
            let (_, partial) = self.results();
            let files = std::fs::read_dir(partial.first()?.join("history")).ok()?;
            (files.count() == 3).then_some(())
        });
    }

    /// The replica's process.
    pub fn replica(&self, name: &str) -> Worker {
        let found = self.processes().into_iter().find(|w| w.is_replica && w.name == name);
        found.unwrap_or_else(|| panic!("no replica {name}"))
    }

    /// Kills a replica a second after the load has begun; returns when the driver has noticed.
    pub fn kill_under_load(&self, driver: &Driver, victim: &str) {
        self.await_load();
        std::thread::sleep(Duration::from_secs(1));
        self.replica(victim).kill();
        wait_for("its burial", || {
            (self.processes().len() == 5 && driver.zombies() == 0).then_some(())
        });
    }

    /// No process of this lab runs, none is a zombie, and no temporary file is left.
    pub fn is_clean(&self) {
        wait_for("the workers' end", || self.processes().is_empty().then_some(()));
        let left: Vec<_> = std::fs::read_dir(self.temporary()).unwrap().collect();
        assert!(left.is_empty(), "left in the temporary directory: {left:?}");
    }

    /// The workers whose cluster file is in this lab, whoever their parent is.
    pub fn processes(&self) -> Vec<Worker> {
        let dir = self.dir.path().to_str().unwrap();
        workers().into_iter().filter(|worker| worker.config.starts_with(dir)).collect()
    }
}

/// By site, the longest time in ms without a completion between its first and its last.
pub fn gaps_ms(results: &Results) -> BTreeMap<String, i64> {
    let mut busy: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for row in results.timeline().unwrap() {
        if row.completed > 0 {
            busy.entry(row.site).or_default().push(row.t_ms);
        }
    }
    let gap = |times: &[i64]| times.windows(2).map(|pair| pair[1] - pair[0] - 100).max();
    busy.into_iter().map(|(site, times)| (site, gap(&times).unwrap_or(i64::MAX))).collect()
}

/// After a replica's death the clients of no other site waited longer than this for any answer.
pub fn no_other_site_waits(results: &Results, victim: &str, longest_ms: i64) {
    let gaps_ms = gaps_ms(results);
    let mut others = gaps_ms.iter().filter(|(site, _)| **site != victim);
    assert!(
        gaps_ms.len() > 1 && others.all(|(_, gap)| *gap <= longest_ms),
        "{victim} dies: {gaps_ms:?}"
    );
}

/// A worker process, as `/proc` shows it.
#[derive(Clone, PartialEq, Debug)]
pub struct Worker {
    pub pid: i32,
    /// The replica's node or the load generator's site.
    pub name: String,
    pub is_replica: bool,
    pub config: PathBuf,
}

impl Worker {
    pub fn kill(&self) {
        signal(self.pid, Signal::KILL);
    }
}

pub fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

fn workers() -> Vec<Worker> {
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(worker).collect()
}

/// The process, if it is a worker. A zombie has no command line.
fn worker(pid: i32) -> Option<Worker> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<&str> = line.split(|b| *b == 0).filter_map(|w| str::from_utf8(w).ok()).collect();
    let [program, "--config", config, kind @ ("--node" | "--site"), name, ..] = words[..] else {
        return None;
    };
    program.contains("paxbench-").then(|| Worker {
        pid,
        name: name.to_owned(),
        is_replica: kind == "--node",
        config: config.into(),
    })
}

/// The children of a process that have ended and were not collected.
pub fn zombies_of(parent: u32) -> usize {
    let stats = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok());
    let zombie = |stat: &String| {
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<_> = after_name.split_whitespace().take(2).collect();
        fields == ["Z", &parent.to_string()]
    };
    stats.filter(zombie).count()
}

/// A running `paxbench`.
pub struct Driver {
    child: Child,
    dir: PathBuf,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // A test that failed leaves it running; its workers follow it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a `paxbench` ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub after: Duration,
}

impl Driver {
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn signal(&self, which: Signal) {
        signal(self.pid(), which);
    }

    pub fn signal_group(&self, which: Signal) {
        kill_process_group(Pid::from_raw(self.pid()).unwrap(), which).unwrap();
    }

    pub fn wait(mut self) -> Ended {
        let start = Instant::now();
        let status = wait_for("the end of paxbench", || self.child.try_wait().unwrap());
        let read = |name: &str| std::fs::read_to_string(self.dir.join(name)).unwrap();
        Ended { status, stdout: read("stdout"), stderr: read("stderr"), after: start.elapsed() }
    }

    pub fn zombies(&self) -> usize {
        zombies_of(self.child.id())
    }
}

impl Ended {
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// It failed with this code, and said so in one line, which has these words.
    pub fn failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code(), code, "{self:?}");
        let errors: Vec<_> = self.stderr.lines().filter(|l| !l.starts_with("run 1 of ")).collect();
        let [line] = errors[..] else { panic!("not one line: {errors:#?}") };
        assert!(line.starts_with("error: "), "{line}");
        for word in words {
            assert!(line.contains(word), "`{word}` is not in: {line}");
        }
    }

    /// It ran; the machine may have been too busy for its numbers, but not for its verdict.
    pub fn succeeded(&self, results: &Path) -> Results {
        assert!(self.code() == 0 || self.code() == 4, "{self:?}");
        let results = Results::read(results).unwrap();
        let notes = &results.manifest.notes;
        for run in &results.summary.runs {
            assert_eq!(run.verdict.linearizable, Linearizable::Valid, "{notes:?}");
            assert_eq!(run.verdict.converged, Some(true), "{notes:?}");
        }
        let void = results.summary.runs.iter().filter_map(|run| run.verdict.void.as_deref());
        let void: Vec<&str> = void.collect();
        assert_eq!(self.code() == 4, !void.is_empty(), "{self:?}");
        assert!(void.iter().all(|why| is_noise(why)), "{void:?}");
        results
    }
}

/// Whether a run is void only because the machine was busy.
fn is_noise(why: &str) -> bool {
    ["handled their schedule", "µs late at the median", "the round trip from"]
        .iter()
        .any(|phrase| why.contains(phrase))
}

/// Operations of all sites of a run that were answered, and those that were not.
pub fn totals(run: &RunSummary) -> (u64, u64) {
    let all = run.sites.iter().filter(|site| site.op == "all");
    all.fold((0, 0), |(count, errors), site| (count + site.count, errors + site.errors))
}

/// Completions at all sites in each tenth of a second, by its start in ms.
pub fn completions(results: &Results) -> Vec<(i64, u64)> {
    let mut sums = std::collections::BTreeMap::new();
    for row in results.timeline().unwrap() {
        *sums.entry(row.t_ms).or_insert(0) += row.completed;
    }
    sums.into_iter().collect()
}

/// The longest time in ms without a completion, between the first and the last of them.
pub fn longest_gap_ms(results: &Results) -> i64 {
    let sums = completions(results).into_iter();
    let busy: Vec<i64> = sums.filter(|(_, count)| *count > 0).map(|(t_ms, _)| t_ms).collect();
    busy.windows(2).map(|pair| pair[1] - pair[0] - 100).max().unwrap_or(i64::MAX)
}
