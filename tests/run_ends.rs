//! However a run ends, it says so in one line and with its own exit code, and nothing of it stays.

mod common;

use std::fs::File;
use std::io::Write;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::by_hand::{ByHand, plan};
use common::{Driver, LOAD, Lab, PAXBENCH, REPLICA, Worker, alone, wait_for};
use rustix::process::Signal;

/// A run that would last a minute, once load is applied; and its six workers.
fn long_run(lab: &Lab) -> (Driver, Vec<Worker>) {
    let driver = lab.run(&["phases.measure=60s"]);
    lab.await_load();
    let workers = lab.processes();
    assert_eq!(workers.len(), 6);
    (driver, workers)
}

/// Not even as a zombie.
fn are_gone(workers: &[Worker]) {
    for worker in workers {
        assert!(!Path::new(&format!("/proc/{}", worker.pid)).exists(), "{worker:?} is there");
    }
}

fn nothing_is_finished(lab: &Lab) {
    let (finished, partial) = lab.results();
    assert!(finished.is_empty(), "{finished:?}");
    for partial in partial {
        let ended = lab.paxbench(&["check", partial.to_str().unwrap()]).wait();
        ended.failed(1, &["never finished"]);
    }
}

/// A way to end a driver, and its name.
type Way = (&'static str, fn(&Driver));

#[test]
fn an_interrupted_run_ends_at_once_and_leaves_nothing_behind() {
    let _alone = alone();
    let ways: [Way; 4] = [
        ("Ctrl-C", |driver| driver.signal_group(Signal::INT)),
        ("an interrupt of the driver alone", |driver| driver.signal(Signal::INT)),
        ("a polite kill", |driver| driver.signal(Signal::TERM)),
        ("a terminal that is closed", |driver| driver.signal_group(Signal::HUP)),
    ];
    for (way, interrupt) in ways {
        let lab = Lab::new();
        let (driver, workers) = long_run(&lab);
        interrupt(&driver);
        let ended = driver.wait();
        ended.failed(1, &["interrupted", ".partial"]);
        assert!(ended.after < Duration::from_secs(5), "{way}: {:?}", ended.after);
        are_gone(&workers);
        lab.is_clean();
        nothing_is_finished(&lab);
    }
}

#[test]
fn a_run_that_is_interrupted_while_it_starts_leaves_nothing_behind() {
    let _alone = alone();
    let lab = Lab::new();
    let driver = lab.run(&[]);
    wait_for("the first worker", || lab.processes().first().map(|_| ()));
    driver.signal_group(Signal::INT);
    driver.wait().failed(1, &["interrupted"]);
    lab.is_clean();
    nothing_is_finished(&lab);
}

#[test]
fn workers_end_when_their_driver_is_killed() {
    let _alone = alone();
    let lab = Lab::new();
    let (driver, _) = long_run(&lab);
    driver.signal(Signal::KILL);
    assert_eq!(driver.wait().status.code(), None);
    wait_for("the workers' end", || lab.processes().is_empty().then_some(()));
    nothing_is_finished(&lab);
}

#[test]
fn a_worker_that_dies_too_early_is_named_at_once() {
    let _alone = alone();
    let lab = Lab::new();
    let driver = lab.run(&[]);
    wait_for("cairo", || lab.processes().into_iter().find(|w| w.name == "cairo")).kill();
    let ended = driver.wait();
    ended.failed(1, &["cairo ended", "SIGKILL"]);
    assert!(ended.after < Duration::from_secs(10), "{ended:?}");
    lab.is_clean();

    let lab = Lab::new();
    let (driver, workers) = long_run(&lab);
    workers.iter().find(|w| w.name == "rome" && !w.is_replica).unwrap().kill();
    let ended = driver.wait();
    ended.failed(1, &["load-rome ended", "SIGKILL"]);
    assert!(ended.after < Duration::from_secs(5), "{ended:?}");
    lab.is_clean();
    nothing_is_finished(&lab);
}

#[test]
fn what_cannot_be_run_is_said_in_one_line_before_anything_starts() {
    let _alone = alone();
    let lab = Lab::new();
    let text = format!("{}\nthroughput: 7\n", common::EXPERIMENT);
    std::fs::write(lab.path("unknown.yaml"), text).unwrap();
    std::fs::write(lab.path("a-file"), "").unwrap();
    let run = |arguments: &[&str]| lab.paxbench(&[&["run"], arguments].concat()).wait();
    run(&["unknown.yaml"]).failed(2, &["unknown.yaml", "throughput"]);
    run(&["no-such.yaml"]).failed(2, &["no-such.yaml", "cannot read"]);
    run(&["."]).failed(2, &["cannot read"]);
    run(&["e2e.yaml", "--set", "phases.measure=1"]).failed(2, &["phases.measure"]);
    run(&["e2e.yaml", "--out", "a-file"]).failed(1, &["a-file"]);
    run(&["e2e.yaml", "--out", "/proc/paxbench"]).failed(1, &["/proc/paxbench"]);
    assert!(lab.results().1.is_empty());
    lab.is_clean();
}

#[test]
fn one_binary_alone_runs_an_experiment() {
    let _alone = alone();
    let lab = Lab::new();
    let lonely = lab.path("paxbench");
    std::fs::hard_link(PAXBENCH, &lonely)
        .or_else(|_| std::fs::copy(PAXBENCH, &lonely).map(drop))
        .unwrap();
    let output = Command::new(&lonely)
        .args(["run", "e2e.yaml", "--out", "out", "--set", "phases.measure=1s"])
        .current_dir(lab.path("."))
        .env("TMPDIR", lab.temporary())
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(matches!(output.status.code(), Some(0 | 4)), "{errors}");
    assert!(errors.contains("linearizable, converged") || errors.contains("VOID"), "{errors}");
    lab.is_clean();
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is_one() {
    let lab = Lab::new();
    let validate = |stdout: Stdio| {
        let child = Command::new(PAXBENCH)
            .args(["validate", "e2e.yaml"])
            .current_dir(lab.path("."))
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn();
        let output = child.unwrap().wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(validate(writer.into()), (Some(0), String::new()));
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (code, said) = validate(full.into());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("error: standard output: ") && said.lines().count() == 1, "{said}");
}

/// A small disk of its own for the results; taken away again when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf) -> Option<SmallDisk> {
        std::fs::create_dir(&at).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
            .arg(&at)
            .stderr(Stdio::null())
            .status();
        mount.is_ok_and(|status| status.success()).then_some(SmallDisk(at))
    }

    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_fills_up_ends_the_run_with_an_error_and_loses_no_process() {
    let _alone = alone();
    let lab = Lab::new();
    let Some(disk) = SmallDisk::mount(lab.out()) else {
        return eprintln!("skipped: a tmpfs cannot be mounted here");
    };
    let driver = lab.run(&["phases.measure=2s"]);
    lab.await_load();
    disk.fill();
    // What the others say of this no longer fits into their logs.
    lab.processes()
        .iter()
        .find(|worker| worker.name == "cairo" && worker.is_replica)
        .unwrap()
        .kill();
    driver.wait().failed(1, &["load-", "history: cannot write", "is the disk full?"]);
    lab.is_clean();
    nothing_is_finished(&lab);
}

/// What a worker says that is started with these arguments, and its exit code.
fn worker_says(program: &str, config: &Path, name: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(program).arg("--config").arg(config).args(name).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let errors: Vec<_> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    let [line] = errors[..] else { panic!("not one line: {said}") };
    (output.status.code(), line.to_owned())
}

#[test]
fn a_worker_that_cannot_start_says_why_in_one_line() {
    let cluster = ByHand::new(0.0, plan(Duration::from_secs(1)));
    let config = cluster.config();
    let refused = |program, name: &[&str], code, words: &[&str]| {
        let (found, line) = worker_says(program, &config, name);
        assert_eq!(found, Some(code), "{line}");
        assert!(words.iter().all(|word| line.contains(word)), "{words:?} are not in: {line}");
    };
    let (replica, load) = (cluster.file.replicas[0].address, cluster.file.loads[0].address);
    let held = [replica, load].map(|address| UdpSocket::bind(address).unwrap());
    let oslo: [&[&str]; 2] = [&["--node", "oslo"], &["--site", "oslo"]];
    refused(REPLICA, oslo[0], 1, &[&replica.to_string(), "the port is in use"]);
    refused(LOAD, oslo[1], 1, &[&load.to_string(), "the port is in use"]);
    drop(held);
    refused(REPLICA, &["--node", "paris"], 2, &["`paris`", "oslo, rome, cairo"]);
    refused(LOAD, &["--site", "paris"], 2, &["`paris`", "oslo, rome, cairo"]);

    std::fs::remove_file(cluster.certs().join("oslo.key.pem")).unwrap();
    refused(REPLICA, oslo[0], 1, &["oslo.key.pem", "paxbench certs"]);
    std::fs::remove_file(cluster.certs().join("load-oslo.pem")).unwrap();
    refused(LOAD, oslo[1], 1, &["load-oslo.pem", "paxbench certs"]);
    std::fs::remove_dir_all(cluster.certs()).unwrap();
    refused(REPLICA, oslo[0], 1, &["ca.pem", "paxbench certs"]);

    std::fs::write(&config, "replicas: 7\n").unwrap();
    refused(REPLICA, oslo[0], 2, &["cluster.yaml"]);
    std::fs::remove_file(&config).unwrap();
    refused(REPLICA, oslo[0], 2, &["cluster.yaml"]);
    refused(LOAD, oslo[1], 2, &["cluster.yaml"]);
}

#[test]
fn a_replica_whose_options_do_not_fit_the_cluster_says_so_in_one_line() {
    let mut cluster = ByHand::new(0.0, plan(Duration::from_secs(1)));
    for (protocol, word) in [
        (r#"{"mode": "paxos", "leader": 3}"#, "protocol.leader is 3"),
        (r#"{"mode": "epaxos", "reply": "committed"}"#, "write `fast_path: deps-committed`"),
        (r#"{"mode": "epaxos", "near": [[1, 3], [0, 2], [0, 1]]}"#, "all others"),
    ] {
        cluster.file.protocol = serde_json::from_str(protocol).unwrap();
        std::fs::write(cluster.config(), serde_yaml::to_string(&cluster.file).unwrap()).unwrap();
        let (code, line) = worker_says(REPLICA, &cluster.config(), &["--node", "oslo"]);
        assert_eq!(code, Some(2), "{line}");
        assert!(line.contains("cluster.yaml: protocol") && line.contains(word), "{line}");
    }
}

#[test]
fn an_experiment_without_round_trip_times_cannot_be_simulated() {
    let lab = Lab::new();
    for dry in [&["--dry-run"][..], &[]] {
        let changes = ["--set", "network.shaping=none", "--backend", "sim", "--out", "out"];
        let arguments: Vec<&str> =
            ["run", "e2e.yaml"].iter().chain(&changes).chain(dry).copied().collect();
        let why = "e2e.yaml: the simulator needs round-trip times; set network.shaping: endpoint \
                   and network.rtt";
        lab.paxbench(&arguments).wait().failed(2, &[why]);
        assert!(!lab.out().exists(), "nothing was run");
    }
}
