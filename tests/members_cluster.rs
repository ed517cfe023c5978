//! An operator changes the members of a cluster while there is load: more, fewer, others in the place of the dead.

mod common;

use std::process::{Output, Stdio};
use std::time::Duration;

use common::by_hand::{ByHand, Drive, answered, errors, on_one_thread, plan};
use common::{Lab, PAXBENCH, alone};
use paxbench::load::plan::{KeyChoice, LoadPlan, OperationMix, Retries};
use paxbench::load::report::SiteReport;
use paxbench::net::{NetError, Purpose, request};
use paxbench::replica::control::{Answer, Ask, Status};
use paxbench::results::Linearizable;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

const CASPAXOS: &str = r#"{"mode": "caspaxos"}"#;

/// One that is killed says nothing: clients send to it until they retry, after 300 ms.
const LOST_BY_A_KILL_MAX: u64 = 80;

fn plan_of_registers(measure: Duration) -> LoadPlan {
    let operations =
        OperationMix { put: 0.3, get: 0.3, cas: 0.2, rmw: 0.2, ..OperationMix::default() };
    let keys = KeyChoice::Uniform { keys: 50 };
    let retry_after = Duration::from_millis(300);
    LoadPlan { operations, keys, retry_after, retries: Retries::SameReplica, ..plan(measure) }
}

fn cluster(measure: Duration, spares: &[&str]) -> ByHand {
    ByHand::with_spares(10.0, plan_of_registers(measure), CASPAXOS, spares)
}

fn command(cluster: &ByHand, arguments: &[&str]) -> Command {
    let mut command = Command::new(PAXBENCH);
    command.arg("members").arg("--config").arg(cluster.config()).args(arguments);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn members(cluster: &ByHand, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command(cluster, arguments).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// Has these members, by their places among the drive's connections and their names, and checks that each of them
/// says so.
async fn set(drive: &Drive<'_>, cluster: &ByHand, new: &[(usize, &str)]) {
    let names: Vec<&str> = new.iter().map(|(_, name)| *name).collect();
    let (code, _, told) = members(cluster, &["--set", &names.join(",")]).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("settled in epoch "), "{told}");
    for (place, name) in new {
        let status = drive.status(*place).await.expect("a member answers");
        assert!(status.takes_requests, "{name}");
        let known = status.membership.expect("an operator may choose");
        assert!(!known.is_changing(), "{name}: {known:?}");
        let mut says = known.members.clone();
        says.sort_unstable();
        let mut wanted = names.clone();
        wanted.sort_unstable();
        assert_eq!(says, wanted, "{name}");
    }
}

async fn status_of(drive: &Drive<'_>, place: usize) -> Status {
    drive.status(place).await.expect("it answers")
}

/// The operations were carried out in one order, but for a few that nobody knows about; these replicas agree.
async fn valid(drive: &Drive<'_>, reports: &[SiteReport], lost_max: u64, replicas: &[usize]) {
    let checked = drive.check(reports);
    assert_eq!(checked.linearizable, Linearizable::Valid, "{:?}", checked.why);
    let failed = reports.iter().map(errors).sum::<u64>();
    assert!(failed <= lost_max, "{failed} operations failed");
    assert!(reports.iter().all(|report| answered(report) > 0));
    drive.converged(replicas).await;
}

#[test]
fn three_become_four_five_four_and_three_others_under_load() {
    let _alone = alone();
    on_one_thread(async {
        let cluster = cluster(Duration::from_secs(12), &["oslo", "rome"]);
        cluster.start_all();
        cluster.start_replica("oslo-2");
        cluster.start_replica("rome-2");
        let drive = cluster.drive().await;
        let [oslo, rome, cairo] = [(0, "oslo"), (1, "rome"), (2, "cairo")];
        let changing = async {
            drive.under_load().await;
            let place = drive.connected(&cluster.file.spares[0]).await;
            assert!(!status_of(&drive, place).await.takes_requests, "nobody wants it yet");
            let oslo_2 = (place, "oslo-2");
            let rome_2 = (drive.connected(&cluster.file.spares[1]).await, "rome-2");
            for new in [
                &[oslo, rome, cairo, oslo_2][..],
                &[oslo, rome, cairo, oslo_2, rome_2],
                &[rome, cairo, oslo_2, rome_2],
                &[cairo, oslo_2, rome_2],
            ] {
                set(&drive, &cluster, new).await;
                drive.goes_on(200).await;
            }
            for (place, name) in [oslo, rome] {
                while status_of(&drive, place).await.takes_requests {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                assert!(cluster.said(place).contains("no member any more"), "{name}");
                assert!(cluster.is_running(place), "{name} stays up");
            }
            // With two of these five gone, three that are members are left: of the old ones only one.
            cluster.kill(0);
            cluster.kill(1);
            drive.goes_on(200).await;
            [cairo.0, oslo_2.0, rome_2.0]
        };
        let (reports, left) = tokio::join!(drive.run(), changing);
        // Who is left out finishes what it has begun, and refuses the rest.
        valid(&drive, &reports, 0, &left).await;
        let (code, shown, _) = members(&cluster, &[]).await;
        assert_eq!(code, Some(0), "{shown}");
        assert_eq!(shown.matches("epoch 8: cairo, oslo-2, rome-2\n").count(), 3, "{shown}");
        assert_eq!(shown.matches("  no answer").count(), 2, "{shown}");
    });
}

#[test]
fn a_spare_takes_the_place_of_a_killed_replica() {
    let _alone = alone();
    on_one_thread(async {
        let cluster = cluster(Duration::from_secs(8), &["cairo"]);
        cluster.start_all();
        let drive = cluster.drive().await;
        let replacing = async {
            drive.under_load().await;
            cluster.kill(2);
            cluster.start_replica("cairo-2");
            let place = drive.connected(&cluster.file.spares[0]).await;
            set(&drive, &cluster, &[(0, "oslo"), (1, "rome"), (place, "cairo-2")]).await;
            // One more may die now.
            cluster.kill(0);
            drive.goes_on(300).await;
            place
        };
        let (reports, place) = tokio::join!(drive.run(), replacing);
        valid(&drive, &reports, 2 * LOST_BY_A_KILL_MAX, &[1, place]).await;
    });
}

#[test]
fn an_operator_who_is_interrupted_asks_again_and_another_replica() {
    let _alone = alone();
    on_one_thread(async {
        let cluster = cluster(Duration::from_secs(6), &["oslo"]);
        cluster.start_all();
        let drive = cluster.drive().await;
        let changing = async {
            drive.under_load().await;
            // The spare does not run yet, so the change cannot have begun.
            let wish = ["--set", "oslo,rome,cairo,oslo-2", "--ask", "rome"];
            let mut first = command(&cluster, &wish).stderr(Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(first.stderr.take().unwrap()).lines();
            while lines.next_line().await.unwrap().expect("it asks") != "asked rome" {}
            while status_of(&drive, 1).await.membership.unwrap().wanted.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            first.kill().await.unwrap();
            let (code, _, told) =
                members(&cluster, &[&wish[..2], &["--timeout", "1s"]].concat()).await;
            assert_eq!(code, Some(1), "{told}");
            let line = told.lines().last().unwrap();
            assert!(
                line.starts_with("error: not settled after 1s: epoch 0: oslo, rome, cairo"),
                "{line}"
            );
            assert!(line.contains("oslo-2 (no answer"), "{line}");
            assert!(line.contains("may be asked again"), "{line}");
            cluster.start_replica("oslo-2");
            let place = drive.connected(&cluster.file.spares[0]).await;
            let all = [(0, "oslo"), (1, "rome"), (2, "cairo"), (place, "oslo-2")];
            set(&drive, &cluster, &all).await;
            // Once more, and nothing happens.
            set(&drive, &cluster, &all).await;
            let known = status_of(&drive, place).await.membership.unwrap();
            assert_eq!((known.epoch, known.wanted), (2, vec![]));
            place
        };
        let (reports, place) = tokio::join!(drive.run(), changing);
        valid(&drive, &reports, 0, &[0, 1, 2, place]).await;
    });
}

/// Else one might look for replicas that are up all the while.
#[test]
fn who_has_the_certificates_of_another_cluster_is_told_why_nobody_answers() {
    let _alone = alone();
    on_one_thread(async {
        let cluster = cluster(Duration::from_secs(1), &[]);
        cluster.start_all();
        let _drive = cluster.drive().await;
        let others = ByHand::with_spares(10.0, plan(Duration::from_secs(1)), CASPAXOS, &[]);
        let text = std::fs::read_to_string(cluster.config()).unwrap();
        let text = text.replace("certs: certs", &format!("certs: {}", others.certs().display()));
        std::fs::write(others.config(), text).unwrap();
        let (code, _, told) = members(&others, &[]).await;
        let oslo = format!("oslo at {}: ", cluster.file.replicas[0].address);
        assert_eq!((code, told.lines().count()), (Some(1), 1), "{told}");
        assert!(told.contains(&oslo) && told.contains("invalid peer certificate"), "{told}");
        let wish = ["--set", "oslo,rome", "--timeout", "1s"];
        let (code, _, told) = members(&others, &wish).await;
        let last = told.lines().last().unwrap();
        assert_eq!(code, Some(1), "{told}");
        assert!(last.contains("rome (no answer: ") && last.contains("certificate"), "{told}");
    });
}

#[test]
fn a_cluster_file_with_a_host_name_for_an_address_says_what_to_write() {
    on_one_thread(async {
        let cluster = cluster(Duration::from_secs(1), &[]);
        let text = std::fs::read_to_string(cluster.config()).unwrap();
        let address = cluster.file.replicas[0].address.to_string();
        std::fs::write(cluster.config(), text.replace(&address, "oslo.example:7000")).unwrap();
        let (code, _, told) = members(&cluster, &[]).await;
        let wanted =
            "write an IP address and a port, such as 10.0.0.1:7000, instead of `oslo.example:7000`";
        assert_eq!((code, told.lines().count()), (Some(2), 1), "{told}");
        assert!(told.contains(wanted), "{told}");
    });
}

#[test]
fn an_operator_may_change_members_and_nothing_else() {
    let _alone = alone();
    on_one_thread(async {
        let cluster = cluster(Duration::from_secs(1), &["oslo"]);
        cluster.start_all();
        let drive = cluster.drive().await;
        let (endpoint, oslo) = (cluster.endpoint("driver"), &cluster.file.replicas[0]);
        let connect = || endpoint.connect(oslo.address, &oslo.name, Purpose::Operator);
        let connection = connect().await.unwrap();
        for ask in [Ask::Stop, Ask::Mark, Ask::SetIsolated { isolated: true }] {
            match request::<_, Answer>(&connection, &ask).await {
                Err(NetError::Remote(why)) => assert!(why.contains("only the driver"), "{why}"),
                other => panic!("{ask:?}: {other:?}"),
            }
        }
        for (names, words) in [
            (
                vec!["oslo", "paris"],
                "no replica is called `paris`; the replicas are: oslo, rome, cairo",
            ),
            (vec!["oslo", "oslo"], "`oslo` is named twice"),
            (vec![], "no member is named"),
        ] {
            let members = names.into_iter().map(str::to_owned).collect();
            match request::<_, Answer>(&connection, &Ask::ChangeMembers { members }).await {
                Err(NetError::Remote(why)) => assert!(why.contains(words), "{why}"),
                other => panic!("{words}: {other:?}"),
            }
        }
        let mut others = Vec::new();
        for _ in 0..3 {
            others.push(connect().await.unwrap());
        }
        match connect().await {
            Err(NetError::Refused { reason, .. }) => {
                assert!(reason.contains("too many"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        assert!(drive.status(0).await.is_some(), "the driver is still there");
    });
}

#[test]
fn what_cannot_be_wanted_is_refused_in_one_line() {
    let spared = cluster(Duration::ZERO, &["oslo"]);
    let epaxos = r#"{"mode": "epaxos"}"#;
    let epaxos = ByHand::with_spares(0.0, plan(Duration::ZERO), epaxos, &["oslo"]);
    let paxos = ByHand::new(0.0, plan(Duration::ZERO));
    let cases: [(&ByHand, &[&str], i32, &str); 8] = [
        (
            &spared,
            &["--set", "oslo,paris"],
            2,
            "cluster.yaml: no replica is called `paris`; the replicas are: oslo, rome, cairo, oslo-2",
        ),
        (&spared, &["--set", "oslo,oslo"], 2, "cluster.yaml: `oslo` is named twice; write it once"),
        (&spared, &["--set", ""], 2, "no member is named; write one or more of: oslo, rome, cairo"),
        (
            &spared,
            &["--set", "oslo", "--ask", "load-oslo"],
            2,
            "no replica is called `load-oslo`; the replicas are: oslo, rome, cairo, oslo-2",
        ),
        (
            &epaxos,
            &["--set", "oslo"],
            2,
            "the members of mode epaxos cannot be chosen, and a spare joins in place of another, with \
             --replaces; write mode caspaxos",
        ),
        (&paxos, &[], 2, "the members of mode paxos cannot be chosen; write mode caspaxos"),
        (&spared, &[], 1, "cluster.yaml: no replica answers; oslo at 127.0.0.1:"),
        (
            &spared,
            &["--set", "oslo", "--timeout", "1s"],
            1,
            "not settled after 1s: no replica answers",
        ),
    ];
    for (cluster, arguments, expected, words) in cases {
        let output = std::process::Command::new(PAXBENCH)
            .arg("members")
            .arg("--config")
            .arg(cluster.config())
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(expected), "{arguments:?}: {said}");
        let errors: Vec<_> = said.lines().filter(|line| line.starts_with("error: ")).collect();
        let [line] = errors[..] else { panic!("not one line: {said}") };
        assert!(line.contains(words), "{arguments:?}: {line}");
    }
}

#[test]
fn a_run_changes_its_members_and_is_judged_by_those_that_are_left() {
    let _alone = alone();
    let lab = Lab::new();
    let driver = lab.run(&[
        "modes=[caspaxos]",
        "network.spares=[oslo, rome]",
        "phases.measure=8s",
        "workload.retry_after=300ms",
        "workload.operations={ put: 40%, get: 40%, cas: 20% }",
        "faults=[{ at: 1s, members: [oslo, rome, cairo, oslo-2] }, { at: 3s, crash: oslo }, \
         { at: 4s, members: [rome, cairo, oslo-2, rome-2] }, { at: 6s, members: [cairo, oslo-2, rome-2] }]",
    ]);
    let ended = driver.wait();
    let dir = lab.finished();
    let results = ended.succeeded(&dir);
    lab.is_clean();
    let run = &results.summary.runs[0];
    let marks: Vec<&str> = run.faults.iter().map(|mark| mark.what.as_str()).collect();
    let expected = [
        "members oslo rome cairo oslo-2",
        "crash oslo",
        "members rome cairo oslo-2 rome-2",
        "members cairo oslo-2 rome-2",
    ];
    assert_eq!(marks, expected);
    let notes = &results.manifest.notes;
    assert!(notes.iter().all(|note| note.contains("oslo ended (signal: 9")), "{notes:?}");
    let replicas = results.replicas(run).unwrap();
    let states = replicas.iter().map(|r| (r.node.as_str(), r.final_digest.is_some()));
    let expected = [("rome", false), ("cairo", true), ("oslo-2", true), ("rome-2", true)];
    assert_eq!(states.collect::<Vec<_>>(), expected);
    assert_eq!(replicas[1].core["epochs"], 6);
    let checked = lab.paxbench(&["check", dir.to_str().unwrap()]).wait();
    assert!(checked.stdout.contains("replicas converged"), "{checked:?}");
}
