//! A cluster under load goes on unharmed whoever else turns up: strangers, impostors, clients that
//! send what they must not, a replica that forgot its promises, a second driver.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use common::alone;
use common::by_hand::{ByHand, Drive, answered, errors, on_one_thread, plan};
use paxbench::command::{ClientId, Command, CommandId, Key, Operation, Value};
use paxbench::load::plan::{KeyChoice, OperationMix};
use paxbench::load::report::SiteReport;
use paxbench::net::{NetError, Purpose, open_lanes};
use paxbench::results::Linearizable;
use paxbench::wire::Wire;
use quinn::crypto::rustls::QuicClientConfig;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

const ALPN: &[u8] = b"paxbench-client/1";

/// The run has answered all that was offered, in one order, and the replicas agree on it.
async fn unharmed(drive: &Drive<'_>, reports: &[SiteReport], replicas: &[usize]) {
    let checked = drive.check(reports);
    assert_eq!(checked.linearizable, Linearizable::Valid, "{:?}", checked.why);
    assert_eq!(reports.iter().map(errors).sum::<u64>(), 0);
    assert!(reports.iter().map(answered).sum::<u64>() > 0);
    drive.converged(replicas).await;
}

/// What the replica says of a client with this certificate, if any, that trusts the cluster.
async fn try_with(cluster: &ByHand, credentials: Option<(&str, &ByHand)>) -> String {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cluster.certs().join("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut tls = match credentials {
        None => builder.with_no_client_auth(),
        Some((name, of)) => {
            let path = |end: &str| of.certs().join(format!("{name}{end}"));
            let certificate = CertificateDer::from_pem_file(path(".pem")).unwrap();
            let key = PrivateKeyDer::from_pem_file(path(".key.pem")).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let config = QuicClientConfig::try_from(tls).unwrap();
    let mut client = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    client.set_default_client_config(quinn::ClientConfig::new(Arc::new(config)));
    match client.connect(cluster.file.replicas[0].address, "oslo").unwrap().await {
        Ok(connection) => connection.closed().await.to_string(),
        Err(error) => error.to_string(),
    }
}

async fn strangers_are_refused(cluster: &ByHand) {
    let other = ByHand::new(0.0, plan(Duration::ZERO));
    for credentials in [None, Some(("load-oslo", &other)), Some(("driver", &other))] {
        let said = try_with(cluster, credentials).await;
        assert!(said.contains("certificate"), "{said}");
    }
}

/// Nobody may be what its name does not say.
async fn impostors_are_refused(cluster: &ByHand) {
    let tries = [
        ("load-oslo", Purpose::Peer),
        ("load-oslo", Purpose::Control),
        ("load-oslo", Purpose::Operator),
        ("rome", Purpose::Operator),
        ("rome", Purpose::Client),
        ("rome", Purpose::Control),
        ("driver", Purpose::Peer),
        ("driver", Purpose::Client),
    ];
    for (name, purpose) in tries {
        let endpoint = cluster.endpoint(name);
        for (member, known) in [(&cluster.file.replicas[0], true), (&cluster.file.loads[0], false)]
        {
            if (name, purpose, known) == ("rome", Purpose::Peer, true) {
                continue;
            }
            match endpoint.connect(member.address, &member.name, purpose).await {
                Err(NetError::Refused { reason, .. }) => assert!(reason.contains(name), "{reason}"),
                other => panic!("{name} as {purpose} of {}: {other:?}", member.name),
            }
        }
    }
}

/// Datagrams of noise, half of them dressed up as the beginning of a connection.
async fn noise(address: SocketAddr) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    let mut datagram = [0; 1400];
    for n in 0..10_000 {
        let length = rng.random_range(1..datagram.len());
        rng.fill_bytes(&mut datagram[..length]);
        if n % 2 == 0 && length > 5 {
            datagram[..5].copy_from_slice(&[0xc0, 0, 0, 0, 1]);
        }
        // The system may drop it, as it may drop any datagram.
        let _ = socket.send_to(&datagram[..length], address);
        if n % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// What the replica says to an authorised client that sends these bytes.
async fn send_raw(cluster: &ByHand, bytes: &[u8]) -> String {
    let endpoint = cluster.endpoint("load-oslo");
    let member = &cluster.file.replicas[0];
    let connection = endpoint.connect(member.address, &member.name, Purpose::Client).await.unwrap();
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(bytes).await.unwrap();
    connection.closed().await.to_string()
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes
}

fn command(client: u64, sequence: u64, answered_below: u64, operation: Operation) -> Vec<u8> {
    let id = CommandId { client: ClientId(client), sequence };
    let mut body = BytesMut::new();
    Command { id, answered_below, operation }.encode(&mut body);
    framed(&body)
}

fn get(key: Key) -> Operation {
    Operation::Get { key }
}

fn put(key: Key) -> Operation {
    Operation::Put { key, value: Value::from_slice(&[7; 16]) }
}

async fn what_must_not_be_sent_ends_the_connection(cluster: &ByHand) {
    let mut rng = StdRng::seed_from_u64(2);
    let mut garbage = [0; 600];
    rng.fill_bytes(&mut garbage);
    let (account, register) = (Key::account(1), Key::register(1));
    let transfer = |from, to| Operation::Transfer { from, to, amount: 1 };
    let bad: [(&str, Vec<u8>); 9] = [
        ("4 GiB", u32::MAX.to_le_bytes().to_vec()),
        ("garbage", framed(&garbage)),
        ("an empty frame", framed(&[])),
        ("beyond the window", command(1, 1 << 14, 0, get(register))),
        ("window below zero", framed(&[&[0; 16][..], &[1, 0, 0], &[0; 8]].concat())),
        ("an account put", command(1, 0, 0, put(account))),
        ("a register's transfer", command(1, 0, 0, transfer(register, account))),
        ("a transfer to itself", command(1, 0, 0, transfer(account, account))),
        ("bytes left over", {
            let mut body = command(1, 0, 0, get(register)).split_off(4);
            body.push(0);
            framed(&body)
        }),
    ];
    for (what, bytes) in bad {
        let said = tokio::time::timeout(Duration::from_secs(10), send_raw(cluster, &bytes)).await;
        let said = said.unwrap_or_else(|_| panic!("{what}: still connected"));
        assert!(said.contains("code 2"), "{what}: {said}");
    }
}

/// Well-formed commands that would cost a careless replica all its memory: of sessions that say that
/// they are at number 2⁴⁰. They are not answered, and the connection goes on.
async fn sequences_far_ahead_are_ignored(cluster: &ByHand) {
    let endpoint = cluster.endpoint("load-oslo");
    let member = &cluster.file.replicas[0];
    let connection = endpoint.connect(member.address, &member.name, Purpose::Client).await.unwrap();
    let lanes = open_lanes(&connection, &cluster.file.transport).await.unwrap();
    for client in 100..110 {
        let sequence = 1 << 40;
        lanes[0].push(|out| out.put_slice(&command(client, sequence, sequence, get(Key(1)))[4..]));
    }
    // A good one behind them is answered, so that they were looked at.
    lanes[0].push(|out| out.put_slice(&command(99, 0, 0, get(Key::register(9)))[4..]));
    let mut replies = connection.accept_uni().await.unwrap();
    let mut header = [0; 12];
    replies.read_exact(&mut header).await.unwrap();
    assert_eq!(u64::from_le_bytes(header[4..].try_into().unwrap()), 99);
}

/// A client that sends half a frame and waits, and one that asks and never reads.
async fn clients_that_dawdle(cluster: &ByHand) -> Vec<quinn::Connection> {
    let member = &cluster.file.replicas[1];
    let mut kept = Vec::new();
    for what in ["half a frame", "no reading"] {
        let endpoint = cluster.endpoint("load-rome");
        let connection =
            endpoint.connect(member.address, &member.name, Purpose::Client).await.unwrap();
        let mut stream = connection.open_uni().await.unwrap();
        if what == "half a frame" {
            stream.write_all(&[100, 0, 0, 0, 1, 2, 3]).await.unwrap();
        } else {
            let frames: Vec<u8> =
                (0..5000).flat_map(|n| command(98, n, 0, get(Key::register(9)))).collect();
            stream.write_all(&frames).await.unwrap();
        }
        std::mem::forget(stream);
        kept.push(connection);
    }
    kept
}

fn resident_mb(cluster: &ByHand, index: usize) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", cluster.pid(index))).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn a_cluster_under_attack_serves_its_clients_and_nobody_else() {
    let _alone = alone();
    on_one_thread(async {
        let cluster = ByHand::new(10.0, plan(Duration::from_secs(5)));
        cluster.start_all();
        let drive = cluster.drive().await;
        let attacks = async {
            let dawdlers = clients_that_dawdle(&cluster).await;
            strangers_are_refused(&cluster).await;
            impostors_are_refused(&cluster).await;
            what_must_not_be_sent_ends_the_connection(&cluster).await;
            sequences_far_ahead_are_ignored(&cluster).await;
            noise(cluster.file.replicas[0].address).await;
            let during = drive.progress().await;
            assert!(during > 0, "the attacks came while there was load");
            dawdlers
        };
        let (reports, _dawdlers) = tokio::join!(drive.run(), attacks);
        for index in 0..6 {
            assert!(cluster.is_running(index), "{}", cluster.said(index));
            assert!(!cluster.said(index).contains("panicked"), "{}", cluster.said(index));
        }
        for replica in 0..3 {
            let mb = resident_mb(&cluster, replica);
            assert!(mb < 200, "replica {replica} holds {mb} MB");
        }
        unharmed(&drive, &reports, &[0, 1, 2]).await;
    });
}

#[test]
fn a_replica_that_forgot_its_promises_is_refused_and_the_others_go_on() {
    let _alone = alone();
    for (victim, name) in [(2, "cairo"), (0, "oslo")] {
        on_one_thread(async {
            let cluster = ByHand::new(10.0, plan(Duration::from_secs(4)));
            cluster.start_all();
            let drive = cluster.drive().await;
            let restart = async {
                drive.under_load().await;
                cluster.kill(victim);
                let again = cluster.start_replica(name);
                cluster.ended(again).await
            };
            let (reports, (code, said)) = tokio::join!(drive.run(), restart);
            assert_eq!(code, Some(1), "{said}");
            let errors: Vec<_> = said.lines().filter(|l| l.starts_with("error: ")).collect();
            let [line] = errors[..] else { panic!("not one line: {said}") };
            assert!(line.contains("remembers an earlier start of this replica"), "{line}");
            let live: Vec<usize> = (0..3).filter(|replica| *replica != victim).collect();
            assert!(live.iter().all(|replica| cluster.is_running(*replica)));
            unharmed(&drive, &reports, &live).await;
        });
    }
}

#[test]
fn operations_that_are_retried_before_they_can_be_answered_take_effect_once() {
    let _alone = alone();
    on_one_thread(async {
        let mut plan = plan(Duration::from_secs(2));
        plan.retry_after = Duration::from_millis(50);
        plan.operations = OperationMix { rmw: 0.5, transfer: 0.5, ..OperationMix::default() };
        plan.keys = KeyChoice::Uniform { keys: 3 };
        let cluster = ByHand::new(100.0, plan);
        cluster.start_all();
        let drive = cluster.drive().await;
        let reports = drive.run().await;
        for report in &reports {
            assert!(report.clients.retries > 100, "{:?}", report.clients);
        }
        let duplicates: u64 = reports.iter().map(|r| r.clients.duplicate_replies).sum();
        assert!(duplicates > 0, "no command was executed twice, so nothing was shown");
        unharmed(&drive, &reports, &[0, 1, 2]).await;
        let executed = drive.status(0).await.unwrap().applied;
        assert_eq!(executed, reports.iter().map(answered).sum::<u64>());
    });
}

#[test]
fn a_second_driver_waits_until_the_first_is_gone() {
    let _alone = alone();
    on_one_thread(async {
        let cluster = ByHand::new(0.0, plan(Duration::from_secs(1)));
        cluster.start_all();
        let drive = cluster.drive().await;
        let second = cluster.endpoint("driver");
        let members = [&cluster.file.replicas[0], &cluster.file.loads[0]];
        for member in members {
            match second.connect(member.address, &member.name, Purpose::Control).await {
                Err(NetError::Refused { reason, .. }) => {
                    assert!(reason.contains("another driver is here"), "{reason}");
                }
                other => panic!("{other:?}"),
            }
        }
        drive.leave().await;
        for member in members {
            while second.connect(member.address, &member.name, Purpose::Control).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
}
