//! A new replica takes the place of another while there is load: of one that has died, and of one that
//! only seemed to.

mod common;

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::by_hand::{ByHand, Drive, SITES, answered, errors, on_one_thread, plan};
use common::{Lab, REPLICA, alone, wait_for};
use paxbench::load::plan::{KeyChoice, LoadPlan};
use paxbench::load::report::SiteReport;
use paxbench::net::{NetError, Purpose};
use paxbench::results::Linearizable;
use rustix::process::Signal;

const EPAXOS: &str = r#"{"mode": "epaxos"}"#;

fn long_plan(measure: Duration) -> LoadPlan {
    let keys = KeyChoice::Uniform { keys: 200 };
    LoadPlan { retry_after: Duration::from_millis(300), keys, ..plan(measure) }
}

/// Every operation was answered, in one order, and these replicas agree on it.
async fn unharmed(drive: &Drive<'_>, reports: &[SiteReport], replicas: &[usize]) {
    let checked = drive.check(reports);
    assert_eq!(checked.linearizable, Linearizable::Valid, "{:?}", checked.why);
    assert_eq!(reports.iter().map(errors).sum::<u64>(), 0);
    assert!(reports.iter().all(|report| answered(report) > 0));
    drive.converged(replicas).await;
}

async fn counter(drive: &Drive<'_>, replica: usize, name: &str) -> u64 {
    let status = drive.status(replica).await.expect("a live replica answers");
    status.core.iter().find(|(counter, _)| counter == name).expect("counted").1
}

/// The one line with which a replica has ended.
fn error_line(said: &str) -> &str {
    let errors: Vec<_> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    let [line] = errors[..] else { panic!("not one line: {said}") };
    line
}

#[test]
fn after_a_spare_has_joined_another_member_may_die() {
    let _alone = alone();
    on_one_thread(async {
        let cluster =
            ByHand::with_spares(10.0, long_plan(Duration::from_secs(12)), EPAXOS, &["oslo"]);
        cluster.start_all();
        let drive = cluster.drive().await;
        let replacing = async {
            drive.under_load().await;
            cluster.kill(0);
            let started = cluster.start_spare("oslo-2", "oslo");
            let spare = drive.joined(&cluster.file.spares[0], started).await;
            cluster.kill(1);
            // Two of the three members are left; one of them is the spare.
            drive.goes_on(600).await;
            // The clients of oslo are back where it is near.
            assert!(counter(&drive, spare, "proposed").await > 0);
            assert!(cluster.said(started).contains("joined; takes requests"));
            spare
        };
        let (reports, spare) = tokio::join!(drive.run(), replacing);
        unharmed(&drive, &reports, &[2, spare]).await;
    });
}

#[test]
fn a_replica_that_was_replaced_while_it_stood_still_gets_nothing_decided() {
    let _alone = alone();
    on_one_thread(async {
        let cluster =
            ByHand::with_spares(10.0, long_plan(Duration::from_secs(10)), EPAXOS, &["cairo"]);
        cluster.start_all();
        let drive = cluster.drive().await;
        let replacing = async {
            drive.under_load().await;
            cluster.signal(0, Signal::STOP);
            let started = cluster.start_spare("cairo-2", "oslo");
            let spare = drive.joined(&cluster.file.spares[0], started).await;
            drive.goes_on(100).await;
            cluster.signal(0, Signal::CONT);
            while drive.status(0).await.expect("it is awake").takes_requests {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let decided =
                async || counter(&drive, 0, "fast").await + counter(&drive, 0, "slow").await;
            let before = decided().await;
            clients_go_elsewhere(&cluster).await;
            drive.goes_on(300).await;
            assert_eq!(decided().await, before);
            spare
        };
        let (reports, spare) = tokio::join!(drive.run(), replacing);
        let said = cluster.said(0);
        assert!(said.contains("no member any more; takes no more requests"), "{said}");
        assert!(cluster.is_running(0), "{said}");
        unharmed(&drive, &reports, &[1, 2, spare]).await;
    });
}

/// Replica 0 was replaced: it lets no client in, and the load generator that had been connected to it was
/// told why it must go.
async fn clients_go_elsewhere(cluster: &ByHand) {
    let (endpoint, oslo) = (cluster.endpoint("load-oslo"), &cluster.file.replicas[0]);
    match endpoint.connect(oslo.address, &oslo.name, Purpose::Client).await {
        Err(NetError::Refused { reason, .. }) => {
            assert!(reason.contains("`oslo` is no member any more"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    let load_oslo = SITES.len();
    assert!(
        cluster.said(load_oslo).contains("`oslo` is no member any more"),
        "{}",
        cluster.said(load_oslo)
    );
}

#[test]
fn a_spare_has_one_life_and_a_member_is_replaced_once() {
    let _alone = alone();
    on_one_thread(async {
        let spares = ["oslo", "rome"];
        let cluster = ByHand::with_spares(10.0, long_plan(Duration::from_secs(1)), EPAXOS, &spares);
        cluster.start_all();
        let drive = cluster.drive().await;
        let oslo_2 = cluster.start_spare("oslo-2", "cairo");
        drive.joined(&cluster.file.spares[0], oslo_2).await;
        let replaced_again = cluster.start_spare("rome-2", "cairo");
        let (code, said) = cluster.ended(replaced_again).await;
        assert_eq!(code, Some(1), "{said}");
        let line = error_line(&said);
        assert!(line.contains("`rome-2` cannot take part: cairo is no member any more"), "{line}");

        cluster.kill(oslo_2);
        let again = cluster.start_spare("oslo-2", "cairo");
        let (code, said) = cluster.ended(again).await;
        assert_eq!(code, Some(1), "{said}");
        let line = error_line(&said);
        assert!(line.contains("remembers an earlier start of this replica"), "{line}");
        assert!(line.contains("(rome-2) with --replaces oslo-2"), "{line}");
    });
}

/// Starts the spare as the driver says it can be; its output goes to the file `spare`.
fn start_as_told(lab: &Lab, name: &str) -> Child {
    let told = format!("{name} can join: paxbench-replica ");
    let said = || std::fs::read_to_string(lab.path("stderr")).unwrap();
    let line = wait_for("the way to join", || {
        said().lines().find_map(|line| line.strip_prefix(&told).map(str::to_owned))
    });
    let output = File::create(lab.path("spare")).unwrap();
    let mut command = Command::new(REPLICA);
    command.args(line.split(' ')).stdin(Stdio::null()).stderr(output).spawn().unwrap()
}

#[test]
fn a_run_ends_well_though_a_replica_was_replaced_and_is_still_there() {
    let _alone = alone();
    let lab = Lab::new();
    let driver = lab.run(&[
        "modes=[epaxos]",
        "network.spares=[oslo]",
        "phases.measure=8s",
        "workload.retry_after=300ms",
    ]);
    lab.await_load();
    let replaced = lab.replica("oslo").pid;
    common::signal(replaced, Signal::STOP);
    let mut spare = start_as_told(&lab, "oslo-2");
    wait_for("the spare", || {
        let said = std::fs::read_to_string(lab.path("spare")).unwrap();
        said.contains("joined; takes requests").then_some(())
    });
    common::signal(replaced, Signal::CONT);
    let ended = driver.wait();
    let dir = lab.finished();
    let results = ended.succeeded(&dir);
    assert!(spare.wait().unwrap().success(), "the driver ends it with the others");
    lab.is_clean();
    assert!(results.manifest.notes.is_empty(), "{:?}", results.manifest.notes);
    let run = &results.summary.runs[0];
    assert_eq!(common::totals(run).1, 0);
    let replicas = results.replicas(run).unwrap();
    let states = replicas.iter().map(|r| (r.node.as_str(), r.final_digest.is_some()));
    let expected = [("oslo", false), ("rome", true), ("cairo", true), ("oslo-2", true)];
    assert_eq!(states.collect::<Vec<_>>(), expected);
    let checked = lab.paxbench(&["check", dir.to_str().unwrap()]).wait();
    assert_eq!(checked.code(), 0, "{checked:?}");
    assert!(checked.stdout.contains("replicas converged"), "{checked:?}");
}

/// What a replica says that is started with these arguments, and its exit code.
fn replica_says(cluster: &ByHand, arguments: &[&str]) -> (Option<i32>, String) {
    let config = cluster.config();
    let output =
        Command::new(REPLICA).arg("--config").arg(config).args(arguments).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), error_line(&said).to_owned())
}

#[test]
fn whoever_joins_in_the_wrong_way_is_told_in_one_line() {
    let spared = ByHand::with_spares(0.0, plan(Duration::ZERO), EPAXOS, &["oslo", "rome"]);
    let plain = ByHand::with_spares(0.0, plan(Duration::ZERO), EPAXOS, &[]);
    let (paxos, paxos_spared) = (ByHand::new(0.0, plan(Duration::ZERO)), r#"{"mode": "paxos"}"#);
    let paxos_spared = ByHand::with_spares(0.0, plan(Duration::ZERO), paxos_spared, &["rome"]);
    let cases: [(&ByHand, &[&str], &str); 8] = [
        (
            &spared,
            &["--node", "oslo-2"],
            "`oslo-2` is a spare and joins in place of another; add --replaces with one of: oslo, rome, \
             cairo, rome-2",
        ),
        (
            &spared,
            &["--node", "oslo", "--replaces", "rome"],
            "`oslo` is a member at first, and only a spare joins in place of another; remove --replaces, \
             or write --node with one of: oslo-2, rome-2",
        ),
        (
            &spared,
            &["--node", "oslo-2", "--replaces", "paris"],
            "`paris` is no other replica that `oslo-2` could replace; write --replaces with one of: oslo, \
             rome, cairo, rome-2",
        ),
        (&spared, &["--node", "oslo-2", "--replaces", "oslo-2"], "`oslo-2` is no other replica"),
        (
            &spared,
            &["--node", "paris", "--replaces", "oslo"],
            "no replica is called `paris`; the replicas are: oslo, rome, cairo, oslo-2, rome-2",
        ),
        (&plain, &["--node", "oslo", "--replaces", "rome"], "or add `spares` to the file"),
        (
            &paxos,
            &["--node", "oslo", "--replaces", "rome"],
            "mode paxos cannot change its members; remove --replaces, or write mode epaxos or caspaxos",
        ),
        (
            &paxos_spared,
            &["--node", "rome-2", "--replaces", "rome"],
            "protocol: mode paxos cannot change its members, and the file has `spares`; remove them, or \
             write mode epaxos or caspaxos",
        ),
    ];
    for (cluster, arguments, words) in cases {
        let (code, line) = replica_says(cluster, arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {line}");
        assert!(line.contains("cluster.yaml: ") && line.contains(words), "{arguments:?}: {line}");
    }
}
