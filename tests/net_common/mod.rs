//! What the tests of `net` share: a cluster of endpoints on loopback.
#![allow(dead_code, reason = "each test program uses its part")]

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use paxbench::cluster::TransportOptions;
use paxbench::net::{Endpoint, Existing, Identity, Purpose, generate};
use quinn::Connection;

/// Runs a test as a process of paxbench runs: on one thread, with local tasks; fails it rather
/// than hang.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let limited = async { tokio::time::timeout(Duration::from_secs(60), test).await };
    runtime.block_on(local.run_until(limited)).expect("the test hangs");
}

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
