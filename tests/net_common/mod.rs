//! What the tests of `net` share: a cluster of endpoints on loopback.
#![allow(dead_code, reason = "each test program uses its part")]

use std::future::Future;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use paxbench::cluster::{ClusterFile, Member, ShapingPlan, TransportOptions};
use paxbench::net::{Endpoint, Existing, Identity, Purpose, Shaper, ShaperControl, generate};
use quinn::Connection;

/// Runs a test as a process of paxbench runs: on one thread, with local tasks; fails it rather
/// than hang.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let limited = async { tokio::time::timeout(Duration::from_secs(60), test).await };
    runtime.block_on(local.run_until(limited)).expect("the test hangs");
}

#[allow(clippy::unnecessary_wraps, reason = "the shape that `accept` wants")]
pub fn allow_all(_: Purpose, _: &str) -> Result<(), String> {
    Ok(())
}

/// A body of `length` bytes that begins with `number`.
pub fn numbered(body: &mut BytesMut, number: u8, length: usize) {
    body.put_u8(number);
    body.put_bytes(0, length - 1);
}

#[derive(Clone)]
pub struct Cluster {
    dir: Arc<tempfile::TempDir>,
    pub options: TransportOptions,
}

impl Cluster {
    pub fn new(names: &[&str]) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        generate(dir.path(), &names, Existing::Refuse).unwrap();
        Cluster { dir: Arc::new(dir), options: TransportOptions { lanes: 4, ..Default::default() } }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn options(&self) -> TransportOptions {
        self.options.clone()
    }

    pub fn identity(&self, name: &str) -> Identity {
        Identity::load(self.dir(), name).unwrap()
    }

    pub fn endpoint(&self, name: &str) -> Endpoint {
        Endpoint::bind(&self.identity(name), any_port(), &self.options, None).unwrap()
    }

    /// A connection from `client` to `server`: the server's end and the client's. Both endpoints
    /// live on in the background.
    pub async fn connected(&self, server: &str, client: &str) -> (Connection, Connection) {
        let (server_end, client_end) = (self.endpoint(server), self.endpoint(client));
        join(&server_end, server, &client_end).await
    }
}

impl Cluster {
    /// Starts an endpoint that accepts everything, on a runtime of its own, and returns what makes
    /// it vanish without a word, as a killed process does.
    pub fn start_on_a_thread(&self, name: &str) -> (SocketAddr, impl FnOnce()) {
        let (cluster, name) = (self.clone(), name.to_owned());
        let (address_sender, address) = mpsc::channel();
        let (crash, crashed) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let endpoint = cluster.endpoint(&name);
                address_sender.send(endpoint.local_address().unwrap()).unwrap();
                let accept_all = async {
                    let mut kept = Vec::new();
                    while let Ok(accepted) = endpoint.accept(allow_all).await {
                        kept.push(accepted);
                    }
                };
                tokio::select! {
                    () = accept_all => {}
                    _ = crashed => {}
                }
            });
        });
        let crash = move || {
            crash.send(()).unwrap();
            thread.join().unwrap();
        };
        (address.recv().unwrap(), crash)
    }
}

/// Connects two endpoints.
pub async fn join(
    server: &Endpoint,
    server_name: &str,
    client: &Endpoint,
) -> (Connection, Connection) {
    let address = server.local_address().unwrap();
    let (accepted, connected) =
        tokio::join!(server.accept(allow_all), client.connect(address, server_name, Purpose::Peer));
    (accepted.unwrap().connection, connected.unwrap())
}

pub fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Sends back what comes on every stream that the other side opens.
pub fn echo(connection: &Connection) {
    let connection = connection.clone();
    tokio::task::spawn_local(async move {
        while let Ok((mut send, mut receive)) = connection.accept_bi().await {
            tokio::task::spawn_local(async move {
                while let Ok(Some(chunk)) = receive.read_chunk(usize::MAX, true).await {
                    if send.write_chunk(chunk.bytes).await.is_err() {
                        return;
                    }
                }
                let _ = send.finish();
            });
        }
    });
}

/// Replicas `a` in virginia and `b` in tokyo, at ports that were free a moment ago.
pub fn cluster_file(rtt_ms: f64) -> ClusterFile {
    let held = [0, 1].map(|_| UdpSocket::bind(any_port()).unwrap());
    let member = |index: usize, name: &str, site: &str| Member {
        name: name.to_owned(),
        site: site.to_owned(),
        address: held[index].local_addr().unwrap(),
    };
    let sites = ["virginia", "tokyo"].map(str::to_owned).to_vec();
    let shaping = ShapingPlan {
        sites,
        rtt_ms: vec![vec![0.0, rtt_ms], vec![rtt_ms, 0.0]],
        jitter_ms: 0.0,
        loss: 0.0,
        reorder: 0.0,
        bandwidth_bps: None,
        seed: 7,
    };
    let replicas = vec![member(0, "a", "virginia"), member(1, "b", "tokyo")];
    let text = r#"{"name": "test", "certs": "", "replicas": [], "loads": [],
        "protocol": {"mode": "paxos"}}"#;
    let empty: ClusterFile = serde_json::from_str(text).unwrap();
    ClusterFile { replicas, shaping: Some(shaping), ..empty }
}

/// Two endpoints with shaped links between them.
pub struct Shaped {
    cluster: Cluster,
    pub a: Endpoint,
    pub b: Endpoint,
    pub a_control: ShaperControl,
    pub b_control: ShaperControl,
    pub options: TransportOptions,
}

impl Shaped {
    pub fn new(rtt_ms: f64, change: impl FnOnce(&mut ShapingPlan)) -> Shaped {
        let cluster = Cluster::new(&["a", "b", "driver"]);
        let mut file = cluster_file(rtt_ms);
        change(file.shaping.as_mut().unwrap());
        let open = |index: usize| {
            let member = &file.replicas[index];
            let shaper = Shaper::for_member(&file, &member.name).unwrap().unwrap();
            let control = shaper.control();
            let identity = cluster.identity(&member.name);
            let options = &cluster.options;
            let endpoint =
                Endpoint::bind(&identity, member.address, options, Some(shaper)).unwrap();
            (endpoint, control)
        };
        let ((a, a_control), (b, b_control)) = (open(0), open(1));
        Shaped { a, b, a_control, b_control, options: cluster.options(), cluster }
    }

    /// An endpoint that is no member.
    pub fn outsider(&self) -> Endpoint {
        self.cluster.endpoint("driver")
    }

    /// A connection from `a` to `b`: the end of `b` and that of `a`.
    pub async fn connected(&self) -> (Connection, Connection) {
        join(&self.b, "b", &self.a).await
    }
}
