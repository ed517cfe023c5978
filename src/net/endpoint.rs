//! One UDP port that makes and takes connections.
//!
//! Both sides of every connection show a certificate signed by the cluster's authority, and only
//! TLS 1.3 is spoken. What a connection is for ([`Purpose`]) is agreed in the handshake; whether
//! that name may have that purpose is asked of the owner of the port. The accepting side opens
//! with a greeting on a stream of its own, so that [`Endpoint::connect`] returns only when it was
//! really let in: a TLS 1.3 client otherwise believes so before its certificate was looked at.
//!
//! Connections do not resume, send no data in the handshake and do not move to another address.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quinn::congestion::{BbrConfig, ControllerFactory, CubicConfig};
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, ClientConfig, Connecting, Connection, ConnectionError, EndpointConfig,
    IdleTimeout, Incoming, MtuDiscoveryConfig, Runtime, ServerConfig, TokioRuntime,
    TransportConfig, VarInt,
};
use rustls::crypto::tls13::OkmBlock;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use tokio::sync::Mutex;
use tokio::task::{JoinError, JoinSet};

use super::identity::{certificate_name, dns_name, hkdf, provider};
use super::{Identity, NetError, Shaper};
use crate::cluster::{Congestion, TransportOptions};

/// How long a handshake may take; a slower one is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes under way at a time; more are refused, and their clients try again.
const HANDSHAKES_MAX: usize = 64;
/// From so many handshakes on, a client must first show that it receives at its address.
const HANDSHAKES_UNPROVEN_MAX: usize = 16;
/// Connection attempts that may wait for the owner to look, and bytes kept for each.
const INCOMING_MAX: usize = 256;
const INCOMING_BYTES_MAX: u64 = 64 << 10;
/// Streams that the other side may have open besides its lanes.
const STREAMS_SPARE: usize = 8;
/// The most lanes that a connection may have.
const LANES_MAX: usize = 64;
/// Bytes unread or on their way in one stream: 50 MB/s at a round trip of 300 ms.
const STREAM_WINDOW_BYTES: u32 = 16 << 20;
/// The same for all streams of a connection together.
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// Bytes written but not yet acknowledged, of all streams of a connection together.
const SEND_WINDOW_BYTES: u64 = 32 << 20;
/// What a round trip is taken to be before the first is measured: a lost first packet is sent
/// again after three of these.
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// What we ask the system to hold for the socket, each way; it may give less.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;
/// The one byte of the greeting.
const GREETING: u8 = 0x50;

/// Why a connection was closed, as the other side sees it.
pub(super) mod close_code {
    /// All is done.
    pub(crate) const DONE: u32 = 0;
    /// The name may not connect for this purpose.
    pub(crate) const REFUSED: u32 = 1;
    /// Something was sent that must not be.
    pub(crate) const MALFORMED: u32 = 2;
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Purpose {
    /// Protocol messages between replicas.
    Peer,
    /// Commands from a load generator and their replies.
    Client,
    /// Requests of the driver.
    Control,
    /// Requests of an operator, who may be there beside the driver.
    Operator,
}

impl Purpose {
    const ALL: [Purpose; 4] = [Purpose::Peer, Purpose::Client, Purpose::Control, Purpose::Operator];

    /// What the handshake calls it; the number is the version of what follows.
    fn alpn(self) -> &'static [u8] {
        match self {
            Purpose::Peer => b"paxbench-peer/1",
            Purpose::Client => b"paxbench-client/1",
            Purpose::Control => b"paxbench-control/1",
            Purpose::Operator => b"paxbench-operator/1",
        }
    }

    fn of(alpn: &[u8]) -> Option<Purpose> {
        Purpose::ALL.into_iter().find(|purpose| purpose.alpn() == alpn)
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Purpose::Peer => "peer",
            Purpose::Client => "client",
            Purpose::Control => "control",
            Purpose::Operator => "operator",
        })
    }
}

/// A connection that was let in.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub connection: Connection,
    /// What it is for.
    pub purpose: Purpose,
    /// Who it is, as its certificate says.
    pub name: String,
}

/// Whether there is a connection, and it is not lost.
pub fn is_open(connection: Option<&Connection>) -> bool {
    connection.is_some_and(|connection| connection.close_reason().is_none())
}

/// Closes a connection that was let in and may stay no longer; the other side is told why.
pub fn turn_away(connection: &Connection, reason: &str) {
    connection.close(close_code::REFUSED.into(), reason.as_bytes());
}

/// How many connection attempts were not let in, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Refusals {
    /// The handshake failed: no certificate, a foreign or expired one, or no known purpose.
    pub handshake: u64,
    /// The handshake took too long.
    pub slow: u64,
    /// The certificate was good, but its name may not connect for this purpose.
    pub name: u64,
    /// Too many handshakes were under way.
    pub busy: u64,
}

type Handshake = (SocketAddr, Result<Connection, HandshakeError>);

enum HandshakeError {
    Slow,
    Failed(ConnectionError),
}

/// One UDP port that makes and takes connections. Clones are the same port.
#[derive(Clone)]
pub struct Endpoint {
    inner: Rc<Inner>,
}

struct Inner {
    quinn: quinn::Endpoint,
    clients: [ClientConfig; 4],
    handshakes: Mutex<JoinSet<Handshake>>,
    refusals: Cell<Refusals>,
}

impl Endpoint {
    /// Opens the port, and has everything that leaves it shaped by `shaper` if there is one. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// If the address cannot be listened on, or QUIC cannot have these options.
    pub fn bind(
        identity: &Identity,
        address: SocketAddr,
        options: &TransportOptions,
        shaper: Option<Shaper>,
    ) -> Result<Endpoint, NetError> {
        let transport = Arc::new(transport_config(options)?);
        let socket = bind_socket(address)?;
        let socket = match shaper {
            Some(shaper) => shaper.wrap(socket),
            None => TokioRuntime.wrap_udp_socket(socket),
        };
        let failed = |e: std::io::Error| NetError::Bind { address, what: e.to_string() };
        let quinn = quinn::Endpoint::new_with_abstract_socket(
            endpoint_config(identity, options)?,
            Some(server_config(identity, &transport)),
            socket.map_err(failed)?,
            Arc::new(TokioRuntime),
        )
        .map_err(failed)?;
        let clients = Purpose::ALL.map(|purpose| client_config(identity, &transport, purpose));
        let (handshakes, refusals) = (Mutex::default(), Cell::default());
        Ok(Endpoint { inner: Rc::new(Inner { quinn, clients, handshakes, refusals }) })
    }

    /// The address that is listened on, with the port that the system chose if asked for port 0.
    pub fn local_address(&self) -> Result<SocketAddr, NetError> {
        self.inner.quinn.local_addr().map_err(|e| NetError::Lost(e.to_string()))
    }

    /// How many connection attempts were not let in so far.
    pub fn refusals(&self) -> Refusals {
        self.inner.refusals.get()
    }

    /// Waits for the next connection that `allow` lets in; an error of `allow` is the reason that
    /// the other side is told. Handshakes go on side by side. One caller at a time; dropping the
    /// future loses nothing.
    ///
    /// # Errors
    /// Only if the endpoint is closed.
    pub async fn accept(
        &self,
        allow: impl Fn(Purpose, &str) -> Result<(), String>,
    ) -> Result<Accepted, NetError> {
        let mut handshakes = self.inner.handshakes.lock().await;
        loop {
            tokio::select! {
                incoming = self.inner.quinn.accept() => {
                    self.admit(incoming.ok_or(NetError::Closed)?, &mut handshakes);
                }
                Some(done) = handshakes.join_next() => {
                    if let Some(accepted) = self.judge(done, &allow) {
                        return Ok(accepted);
                    }
                }
            }
        }
    }

    fn admit(&self, incoming: Incoming, handshakes: &mut JoinSet<Handshake>) {
        let under_way = handshakes.len();
        if under_way >= HANDSHAKES_MAX {
            self.count(|refusals| &mut refusals.busy, incoming.remote_address(), "busy");
            incoming.refuse();
        } else if under_way >= HANDSHAKES_UNPROVEN_MAX && !incoming.remote_address_validated() {
            // An unproven address may always be asked to prove itself, so this cannot fail.
            let _ = incoming.retry();
        } else {
            let address = incoming.remote_address();
            match incoming.accept() {
                Ok(connecting) => drop(handshakes.spawn(handshake(address, connecting))),
                Err(e) => self.count(|refusals| &mut refusals.handshake, address, &e.to_string()),
            }
        }
    }

    fn judge(
        &self,
        done: Result<Handshake, JoinError>,
        allow: &impl Fn(Purpose, &str) -> Result<(), String>,
    ) -> Option<Accepted> {
        let (address, result) = done.ok()?;
        let connection = match result {
            Ok(connection) => connection,
            Err(HandshakeError::Slow) => {
                self.count(|refusals| &mut refusals.slow, address, "the handshake took too long");
                return None;
            }
            Err(HandshakeError::Failed(e)) => {
                self.count(|refusals| &mut refusals.handshake, address, &e.to_string());
                return None;
            }
        };
        match identify(&connection).and_then(|(purpose, name)| {
            allow(purpose, &name)?;
            greet(&connection)?;
            Ok((purpose, name))
        }) {
            Ok((purpose, name)) => Some(Accepted { connection, purpose, name }),
            Err(reason) => {
                connection.close(close_code::REFUSED.into(), reason.as_bytes());
                self.count(|refusals| &mut refusals.name, address, &reason);
                None
            }
        }
    }

    /// Counts a refusal, and logs it when the count is a power of two: a flood must not become a
    /// flood of lines.
    fn count(&self, which: impl Fn(&mut Refusals) -> &mut u64, from: SocketAddr, reason: &str) {
        let mut refusals = self.inner.refusals.get();
        let count = which(&mut refusals);
        *count += 1;
        if count.is_power_of_two() {
            tracing::warn!(%from, reason, count = *count, "connection refused");
        }
        self.inner.refusals.set(refusals);
    }

    /// Connects to `address`, where `name` must be, for `purpose`; returns when the other side has
    /// let us in.
    ///
    /// # Errors
    /// If nobody answers within 5 s, if the other side's certificate is not good or bears
    /// another name, or if it refuses us, with its reason.
    pub async fn connect(
        &self,
        address: SocketAddr,
        name: &str,
        purpose: Purpose,
    ) -> Result<Connection, NetError> {
        dns_name(name)?;
        let config = self.inner.clients[purpose as usize].clone();
        let failed = |what: String| NetError::Connect { name: name.to_owned(), address, what };
        let connecting = self
            .inner
            .quinn
            .connect_with(config, address, name)
            .map_err(|e| failed(e.to_string()))?;
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, await_greeting(connecting, name)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(GreetingError::Refused(reason))) => {
                Err(NetError::Refused { name: name.to_owned(), address, reason })
            }
            Ok(Err(GreetingError::Failed(what))) => Err(failed(what)),
            Err(_) => Err(failed(format!("no answer within {} s", HANDSHAKE_TIMEOUT.as_secs()))),
        }
    }

    /// Closes all connections and waits until the other sides were told, or could have been.
    pub async fn shut_down(&self) {
        self.inner.quinn.close(close_code::DONE.into(), b"shut down");
        self.inner.quinn.wait_idle().await;
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("refusals", &self.refusals()).finish_non_exhaustive()
    }
}

async fn handshake(address: SocketAddr, connecting: Connecting) -> Handshake {
    let result = match tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Ok(result) => result.map_err(HandshakeError::Failed),
        Err(_) => Err(HandshakeError::Slow),
    };
    (address, result)
}

/// The purpose and the name that the other side's certificate bears.
fn identify(connection: &Connection) -> Result<(Purpose, String), String> {
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    let purpose = data
        .and_then(|data| Purpose::of(data.protocol.as_deref()?))
        .ok_or("the purpose is not known")?;
    Ok((purpose, peer_name(connection)?))
}

fn peer_name(connection: &Connection) -> Result<String, String> {
    let chain = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .ok_or("no certificate was shown")?;
    let certificate = chain.first().ok_or("no certificate was shown")?;
    Ok(certificate_name(certificate)?)
}

/// Sends the greeting. It fits into an empty window, so a client that has no room for it does not
/// keep to the rules, and must not make us wait.
fn greet(connection: &Connection) -> Result<(), String> {
    let mut stream = at_once(connection.open_uni())
        .ok_or("no stream is left for the greeting")?
        .map_err(|e| e.to_string())?;
    at_once(stream.write(&[GREETING]))
        .ok_or("no room is left for the greeting")?
        .map_err(|e| e.to_string())?;
    stream.finish().map_err(|e| e.to_string())
}

/// The result of a future if it has one without waiting.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

enum GreetingError {
    Refused(String),
    Failed(String),
}

impl From<ConnectionError> for GreetingError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close)
                if close.error_code == close_code::REFUSED.into() =>
            {
                GreetingError::Refused(String::from_utf8_lossy(&close.reason).into_owned())
            }
            ConnectionError::TimedOut => GreetingError::Failed("no answer".to_owned()),
            other => GreetingError::Failed(other.to_string()),
        }
    }
}

async fn await_greeting(connecting: Connecting, name: &str) -> Result<Connection, GreetingError> {
    let connection = connecting.await?;
    // TLS compares names without regard to letter case; we do not.
    let borne = peer_name(&connection).map_err(GreetingError::Failed)?;
    if borne != name {
        return Err(GreetingError::Failed(format!("the certificate there is {borne:?}'s")));
    }
    let greeting = connection.accept_uni().await?.read_to_end(1).await;
    match greeting {
        Ok(bytes) if bytes == [GREETING] => Ok(connection),
        Ok(_) => Err(GreetingError::Failed("the greeting is not ours".to_owned())),
        Err(quinn::ReadToEndError::Read(quinn::ReadError::ConnectionLost(e))) => Err(e.into()),
        Err(e) => Err(GreetingError::Failed(e.to_string())),
    }
}

fn bind_socket(address: SocketAddr) -> Result<UdpSocket, NetError> {
    let socket = UdpSocket::bind(address).map_err(|e| NetError::Bind {
        address,
        what: match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                "the port is in use; stop the process that has it or choose another".to_owned()
            }
            _ => e.to_string(),
        },
    })?;
    enlarge_buffers(&socket);
    Ok(socket)
}

/// Asks for room for bursts. The system's limit holds unless we may override it; what it gives is
/// enough to work, so a refusal is no error.
fn enlarge_buffers(socket: &UdpSocket) {
    use rustix::net::sockopt;
    #[cfg(target_os = "linux")]
    {
        let _ = sockopt::set_socket_recv_buffer_size(socket, SOCKET_BUFFER_BYTES);
        let _ = sockopt::set_socket_send_buffer_size(socket, SOCKET_BUFFER_BYTES);
        let _ = sockopt::set_socket_recv_buffer_size_force(socket, SOCKET_BUFFER_BYTES);
        let _ = sockopt::set_socket_send_buffer_size_force(socket, SOCKET_BUFFER_BYTES);
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = sockopt::set_socket_recv_buffer_size(socket, SOCKET_BUFFER_BYTES);
        let _ = sockopt::set_socket_send_buffer_size(socket, SOCKET_BUFFER_BYTES);
    }
}

/// Signs the tokens by which a restarted process tells the peers of its predecessor that their
/// connections are gone; the key outlives the process because it comes from the identity.
struct ResetKey(OkmBlock);

impl quinn::crypto::HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(hkdf().hmac_sign(&self.0, data).as_ref());
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), quinn::crypto::CryptoError> {
        let valid = hkdf().hmac_sign(&self.0, data).as_ref() == signature;
        if valid { Ok(()) } else { Err(quinn::crypto::CryptoError) }
    }
}

fn endpoint_config(
    identity: &Identity,
    options: &TransportOptions,
) -> Result<EndpointConfig, NetError> {
    let reset_key = ResetKey(OkmBlock::new(&identity.secret("stateless reset")));
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    let id_key = identity.secret("connection id");
    let id_key = u64::from_le_bytes(*id_key.first_chunk().expect("32 bytes hold 8"));
    config.cid_generator(move || {
        Box::new(quinn_proto::HashedConnectionIdGenerator::from_key(id_key))
    });
    config.max_udp_payload_size(options.mtu_bytes_max.max(1472)).map_err(|_| mtu_error(options))?;
    Ok(config)
}

fn mtu_error(options: &TransportOptions) -> NetError {
    let what = format!("{} is not between 1200 and 65527", options.mtu_bytes_max);
    NetError::Option { key: "mtu_bytes_max", what }
}

fn server_config(identity: &Identity, transport: &Arc<TransportConfig>) -> ServerConfig {
    let verifier = WebPkiClientVerifier::builder_with_provider(identity.roots.clone(), provider())
        .build()
        .expect("a loaded identity has an authority");
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.certificates.clone(), identity.key.clone_key())
        .expect("a loaded identity's key was checked");
    tls.alpn_protocols = Purpose::ALL.iter().map(|purpose| purpose.alpn().to_vec()).collect();
    // Every handshake shows and checks certificates anew.
    tls.send_tls13_tickets = 0;
    let tls = QuicServerConfig::try_from(tls).expect("the provider has the initial cipher suite");
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config
        .transport_config(transport.clone())
        .migration(false)
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES_MAX);
    config
}

fn client_config(
    identity: &Identity,
    transport: &Arc<TransportConfig>,
    purpose: Purpose,
) -> ClientConfig {
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        .with_root_certificates(identity.roots.clone())
        .with_client_auth_cert(identity.certificates.clone(), identity.key.clone_key())
        .expect("a loaded identity's key was checked");
    tls.alpn_protocols = vec![purpose.alpn().to_vec()];
    tls.resumption = rustls::client::Resumption::disabled();
    let tls = QuicClientConfig::try_from(tls).expect("the provider has the initial cipher suite");
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(transport.clone());
    config
}

fn transport_config(options: &TransportOptions) -> Result<TransportConfig, NetError> {
    check_options(options)?;
    let idle = Duration::from_millis(options.idle_timeout_ms);
    let idle_timeout = IdleTimeout::try_from(idle).map_err(|_| idle_error(options))?;
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(options.ack_after_packets.into());
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(options.mtu_bytes_max);

    let mut config = TransportConfig::default();
    config
        .congestion_controller_factory(congestion_factory(options))
        .ack_frequency_config(Some(acks))
        .mtu_discovery_config(Some(mtu))
        .initial_rtt(INITIAL_RTT)
        // An outage is not congestion: with a window of two packets after it, QUIC's next probe, whose intervals
        // have doubled meanwhile, would be all that is sent for as long as the outage has lasted.
        .persistent_congestion_threshold(u32::MAX)
        .max_idle_timeout(Some(idle_timeout))
        .keep_alive_interval(Some(idle / 4))
        .max_concurrent_uni_streams(VarInt::from((options.lanes + STREAMS_SPARE) as u32))
        .max_concurrent_bidi_streams(VarInt::from(STREAMS_SPARE as u32))
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(CONNECTION_WINDOW_BYTES.into())
        .send_window(SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(None)
        .enable_segmentation_offload(true);
    Ok(config)
}

fn congestion_factory(options: &TransportOptions) -> Arc<dyn ControllerFactory + Send + Sync> {
    let window_bytes = options.initial_window_bytes;
    match options.congestion {
        Congestion::Cubic => {
            let mut config = CubicConfig::default();
            config.initial_window(window_bytes);
            Arc::new(config)
        }
        Congestion::Bbr => {
            let mut config = BbrConfig::default();
            config.initial_window(window_bytes);
            Arc::new(config)
        }
    }
}

fn check_options(options: &TransportOptions) -> Result<(), NetError> {
    let wrong = |key, what| Err(NetError::Option { key, what });
    if !(1..=LANES_MAX).contains(&options.lanes) {
        return wrong("lanes", format!("{} is not between 1 and {LANES_MAX}", options.lanes));
    }
    if !(1200..=65_527).contains(&options.mtu_bytes_max) {
        return Err(mtu_error(options));
    }
    if options.initial_window_bytes < 2400 {
        return wrong("initial_window_bytes", "must be at least 2400, two datagrams".to_owned());
    }
    if options.queue_bytes_max == 0 {
        return wrong("queue_bytes_max", "must be above 0, or nothing can be sent".to_owned());
    }
    if options.idle_timeout_ms < 100 {
        return Err(idle_error(options));
    }
    Ok(())
}

fn idle_error(options: &TransportOptions) -> NetError {
    let what = format!("{} is not between 100 and 2^62", options.idle_timeout_ms);
    NetError::Option { key: "idle_timeout_ms", what }
}
