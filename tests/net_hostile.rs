//! Whoever is not who they must be, or sends what they must not, is refused, and the healthy
//! connection beside them goes on.

mod net_common;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use net_common::{Cluster, any_port, run};
use paxbench::net::{
    Accepted, Endpoint, FrameReader, LaneSender, NetError, Purpose, Refusals, accept_lane,
    open_lanes,
};
use paxbench::wire::Malformed;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, ConnectionError};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

/// `virginia`, which lets `tokyo` be a peer and `load-virginia` a client, and reads frames of at
/// most 1000 bytes that must begin with a 7; and a healthy connection from `tokyo`.
struct Scene {
    cluster: Cluster,
    virginia: Endpoint,
    address: SocketAddr,
    tokyo: Endpoint,
    lane: LaneSender,
    healthy: Option<FrameReader>,
    others: Rc<RefCell<Vec<Accepted>>>,
}

fn allow(purpose: Purpose, name: &str) -> Result<(), String> {
    match (purpose, name) {
        (Purpose::Peer, "tokyo") | (Purpose::Client, "load-virginia") => Ok(()),
        _ => Err(format!("{name} may not be a {purpose}")),
    }
}

fn check(body: &[u8]) -> Result<(), Malformed> {
    if body.first() == Some(&7) { Ok(()) } else { Err(Malformed("test frame")) }
}

impl Scene {
    async fn new() -> Scene {
        let cluster = Cluster::new(&["virginia", "tokyo", "load-virginia"]);
        let virginia = cluster.endpoint("virginia");
        let address = virginia.local_address().unwrap();
        let tokyo = cluster.endpoint("tokyo");
        let (accepted, connection) =
            tokio::join!(virginia.accept(allow), tokyo.connect(address, "virginia", Purpose::Peer));
        let accepted = accepted.unwrap();
        assert_eq!((accepted.purpose, accepted.name.as_str()), (Purpose::Peer, "tokyo"));
        let lane = open_lanes(&connection.unwrap(), &cluster.options()).await.unwrap().remove(0);
        lane.push(|body| body.put_u8(7));
        let healthy = Some(accept_lane(&accepted.connection, 1000).await.unwrap());

        let others = Rc::new(RefCell::new(vec![accepted]));
        tokio::task::spawn_local({
            let (virginia, others) = (virginia.clone(), others.clone());
            async move {
                while let Ok(accepted) = virginia.accept(allow).await {
                    others.borrow_mut().push(accepted);
                }
            }
        });
        Scene { cluster, virginia, address, tokyo, lane, healthy, others }
    }

    async fn still_works(&mut self) {
        for _ in 0..100 {
            self.lane.push(|body| body.put_bytes(7, 500));
        }
        let reader = self.healthy.as_mut().unwrap();
        let mut seen = 0;
        while seen < 100 {
            let read = reader.read(|body| {
                seen += usize::from(body.len() == 500);
                check(body)
            });
            tokio::time::timeout(Duration::from_secs(10), read).await.unwrap().unwrap();
        }
    }

    async fn refused_as(&mut self, refusals: Refusals) {
        self.still_works().await;
        // The client may learn of its refusal before the owner's task has counted it.
        while self.virginia.refusals() == Refusals::default() {
            tokio::task::yield_now().await;
        }
        assert_eq!(self.virginia.refusals(), refusals);
        assert_eq!(self.others.borrow().len(), 1, "nobody else was let in");
    }

    /// What `virginia` says of a client with these certificates that itself trusts anybody.
    async fn try_as(&self, credentials: Option<Credentials>, alpn: &str) -> String {
        let client = hostile_client(credentials, alpn);
        let connecting = client.connect(self.address, "virginia").unwrap();
        let connection = match connecting.await {
            Ok(connection) => connection,
            Err(e) => return e.to_string(),
        };
        connection.closed().await.to_string()
    }
}

type Credentials = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

const PEER: &str = "paxbench-peer/1";

const BAD_HANDSHAKE: Refusals = Refusals { handshake: 1, slow: 0, name: 0, busy: 0 };
const BAD_NAME: Refusals = Refusals { handshake: 0, slow: 0, name: 1, busy: 0 };

fn credentials_of(cluster: &Cluster, name: &str) -> Credentials {
    let path = |end: &str| cluster.dir().join(format!("{name}{end}"));
    let certificate = CertificateDer::from_pem_file(path(".pem")).unwrap();
    (vec![certificate], PrivateKeyDer::from_pem_file(path(".key.pem")).unwrap())
}

/// Credentials that the cluster's authority signed, changed by `change`.
fn signed(cluster: &Cluster, change: impl FnOnce(&mut rcgen::CertificateParams)) -> Credentials {
    let read = |name: &str| std::fs::read_to_string(cluster.dir().join(name)).unwrap();
    let ca_key = rcgen::KeyPair::from_pem(&read("ca.key.pem")).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read("ca.pem"), ca_key).unwrap();
    let mut params = rcgen::CertificateParams::new(["tokyo".to_owned()]).unwrap();
    change(&mut params);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    (vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

fn expire(params: &mut rcgen::CertificateParams) {
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
}

#[derive(Debug)]
struct TrustAnybody;

impl ServerCertVerifier for TrustAnybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn hostile_client(credentials: Option<Credentials>, alpn: &str) -> quinn::Endpoint {
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustAnybody));
    let mut tls = match credentials {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let config = QuicClientConfig::try_from(tls).unwrap();
    let mut client = quinn::Endpoint::client(any_port()).unwrap();
    client.set_default_client_config(quinn::ClientConfig::new(Arc::new(config)));
    client
}

fn hostile_server((chain, key): Credentials) -> quinn::Endpoint {
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    tls.alpn_protocols = vec![PEER.as_bytes().to_vec()];
    let config = QuicServerConfig::try_from(tls).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(config));
    quinn::Endpoint::server(config, any_port()).unwrap()
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    run(async {
        let mut scene = Scene::new().await;
        let foreign = credentials_of(&Cluster::new(&["tokyo"]), "tokyo");
        let answer = scene.try_as(Some(foreign), PEER).await;
        assert!(answer.contains("certificate"), "{answer}");
        scene.refused_as(BAD_HANDSHAKE).await;
    });
}

#[test]
fn an_expired_certificate_is_refused() {
    run(async {
        let mut scene = Scene::new().await;
        let expired = signed(&scene.cluster, expire);
        let answer = scene.try_as(Some(expired), PEER).await;
        assert!(answer.contains("certificate") && answer.contains("expired"), "{answer}");
        scene.refused_as(BAD_HANDSHAKE).await;
    });
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    run(async {
        let mut scene = Scene::new().await;
        let answer = scene.try_as(None, PEER).await;
        assert!(answer.contains("certificate"), "{answer}");
        scene.refused_as(BAD_HANDSHAKE).await;
    });
}

#[test]
fn a_client_that_speaks_another_protocol_is_refused() {
    run(async {
        let mut scene = Scene::new().await;
        let credentials = credentials_of(&scene.cluster, "tokyo");
        let answer = scene.try_as(Some(credentials), "h3").await;
        assert!(answer.contains("known protocol"), "{answer}");
        scene.refused_as(BAD_HANDSHAKE).await;
    });
}

#[test]
fn a_load_generator_cannot_be_a_peer_and_is_told_so() {
    run(async {
        let mut scene = Scene::new().await;
        let load = scene.cluster.endpoint("load-virginia");
        let error = load.connect(scene.address, "virginia", Purpose::Peer).await.unwrap_err();
        let NetError::Refused { reason, .. } = &error else { panic!("{error}") };
        assert_eq!(reason, "load-virginia may not be a peer");
        scene.refused_as(BAD_NAME).await;
        load.connect(scene.address, "virginia", Purpose::Client).await.unwrap();
    });
}

#[test]
fn a_certificate_with_two_names_is_refused() {
    run(async {
        let mut scene = Scene::new().await;
        let two = signed(&scene.cluster, |params| {
            params.subject_alt_names =
                ["tokyo", "oregon"].map(|n| rcgen::SanType::DnsName(n.try_into().unwrap())).into();
        });
        let answer = scene.try_as(Some(two), PEER).await;
        assert!(answer.contains("exactly one DNS name"), "{answer}");
        scene.refused_as(BAD_NAME).await;
    });
}

#[test]
fn a_server_that_bears_another_name_or_an_expired_or_foreign_certificate_is_not_trusted() {
    run(async {
        let mut scene = Scene::new().await;
        let error = scene.tokyo.connect(scene.address, "oregon", Purpose::Peer).await.unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");

        let foreign = credentials_of(&Cluster::new(&["virginia"]), "virginia");
        let expired = signed(&scene.cluster, |params| {
            params.subject_alt_names =
                vec![rcgen::SanType::DnsName("virginia".try_into().unwrap())];
            expire(params);
        });
        for credentials in [foreign, expired] {
            let server = hostile_server(credentials);
            let address = server.local_addr().unwrap();
            tokio::task::spawn_local(async move {
                while let Some(incoming) = server.accept().await {
                    let _ = incoming.await;
                }
            });
            let error = scene.tokyo.connect(address, "virginia", Purpose::Peer).await.unwrap_err();
            assert!(matches!(error, NetError::Connect { .. }), "{error}");
            assert!(error.to_string().contains("certificate"), "{error}");
        }
        scene.still_works().await;
    });
}

#[test]
fn random_bytes_on_the_port_harm_nobody() {
    run(async {
        use rand::{Rng, RngExt, SeedableRng};
        let mut scene = Scene::new().await;
        let mut random = rand::rngs::StdRng::seed_from_u64(7);
        let socket = std::net::UdpSocket::bind(any_port()).unwrap();
        for round in 0..50 {
            for _ in 0..40 {
                let mut bytes = vec![0; random.random_range(1..1400)];
                random.fill_bytes(&mut bytes);
                if round % 2 == 0 && bytes.len() > 5 {
                    // The look of a first packet of QUIC version 1.
                    bytes[..5].copy_from_slice(&[0xc0, 0, 0, 0, 1]);
                }
                socket.send_to(&bytes, scene.address).unwrap();
            }
            scene.still_works().await;
        }
        assert_eq!(scene.others.borrow().len(), 1);
    });
}

/// Opens a connection as `load-virginia`, sends `bytes` on a stream, and returns the reader at
/// `virginia` and the connection.
async fn send_raw(scene: &Scene, bytes: &[u8]) -> (FrameReader, Connection) {
    let load = scene.cluster.endpoint("load-virginia");
    let connection = load.connect(scene.address, "virginia", Purpose::Client).await.unwrap();
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(bytes).await.unwrap();
    while scene.others.borrow().len() < 2 {
        tokio::task::yield_now().await;
    }
    let accepted = scene.others.borrow_mut().pop().unwrap();
    (accept_lane(&accepted.connection, 1000).await.unwrap(), connection)
}

async fn is_closed_for(scene: &mut Scene, bytes: &[u8], what: &'static str) {
    let (mut reader, connection) = send_raw(scene, bytes).await;
    let error = loop {
        if let Err(error) = reader.read(check).await {
            break error;
        }
    };
    assert!(matches!(error, NetError::Malformed(Malformed(w)) if w == what), "{error}");
    let ConnectionError::ApplicationClosed(close) = connection.closed().await else {
        panic!("the connection is closed with a code")
    };
    assert_eq!(close.error_code, 2u32.into());
    assert_eq!(close.reason, Bytes::from(format!("malformed {what}")));
    scene.still_works().await;
}

#[test]
fn a_frame_that_claims_four_gibibytes_closes_its_connection_and_no_other() {
    run(async {
        let mut scene = Scene::new().await;
        let bytes = [[0xff; 4], [7; 4]].concat();
        is_closed_for(&mut scene, &bytes, "frame: length over the limit").await;
    });
}

#[test]
fn a_frame_of_garbage_closes_its_connection_and_no_other() {
    run(async {
        let mut scene = Scene::new().await;
        let bytes = [1, 0, 0, 0, 7, 2, 0, 0, 0, 8, 9];
        is_closed_for(&mut scene, &bytes, "test frame").await;
    });
}

#[test]
fn a_stream_that_ends_within_a_frame_closes_its_connection_and_no_other() {
    run(async {
        let mut scene = Scene::new().await;
        let (mut reader, connection) = send_raw(&scene, &[200, 0, 0, 0, 7]).await;
        // Dropping the sender's stream finished it.
        let error = loop {
            if let Err(error) = reader.read(check).await {
                break error;
            }
        };
        assert!(matches!(error, NetError::Malformed(_)), "{error}");
        assert!(matches!(connection.closed().await, ConnectionError::ApplicationClosed(_)));
        scene.still_works().await;
    });
}

#[test]
fn handshakes_that_never_end_delay_nobody_else() {
    run(async {
        let mut scene = Scene::new().await;
        // First packets of handshakes whose senders then say nothing more: caught at a port that
        // does not answer, and sent on.
        let hole = tokio::net::UdpSocket::bind(any_port()).await.unwrap();
        let sender = tokio::net::UdpSocket::bind(any_port()).await.unwrap();
        let client = hostile_client(None, PEER);
        let mut silent = Vec::new();
        for _ in 0..40 {
            silent.push(client.connect(hole.local_addr().unwrap(), "virginia").unwrap());
            let mut first = [0; 1500];
            let length = hole.recv(&mut first).await.unwrap();
            sender.send_to(&first[..length], scene.address).await.unwrap();
        }
        let load = scene.cluster.endpoint("load-virginia");
        let connect = load.connect(scene.address, "virginia", Purpose::Client);
        tokio::time::timeout(Duration::from_secs(1), connect).await.unwrap().unwrap();
        scene.still_works().await;
    });
}

#[test]
fn a_port_in_use_is_an_error_of_one_line_that_names_it() {
    run(async {
        let scene = Scene::new().await;
        let identity = scene.cluster.identity("tokyo");
        let options = scene.cluster.options();
        let error = Endpoint::bind(&identity, scene.address, &options, None).unwrap_err();
        let expected = format!("{}: cannot listen: the port is in use", scene.address);
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert!(!error.to_string().contains('\n'));
    });
}

#[test]
fn options_that_quic_cannot_have_are_refused_by_name() {
    run(async {
        let cluster = Cluster::new(&["tokyo"]);
        let identity = cluster.identity("tokyo");
        let bind = |change: fn(&mut paxbench::cluster::TransportOptions)| {
            let mut options = cluster.options();
            change(&mut options);
            Endpoint::bind(&identity, any_port(), &options, None).unwrap_err().to_string()
        };
        assert!(bind(|o| o.lanes = 0).starts_with("transport.lanes: "));
        assert!(bind(|o| o.mtu_bytes_max = 500).starts_with("transport.mtu_bytes_max: "));
        assert!(bind(|o| o.idle_timeout_ms = 0).starts_with("transport.idle_timeout_ms: "));
        assert!(bind(|o| o.queue_bytes_max = 0).starts_with("transport.queue_bytes_max: "));
    });
}
