//! The WAN shaper: makes the datagrams that leave a process arrive as over a wide-area network.
//!
//! It stands between QUIC and the UDP socket. A datagram to a known member is delayed by half the
//! round trip between the two sites, so that a round trip takes the whole; it may be delayed more,
//! lost, sent early so that it overtakes, held up by a link's rate, or dropped because the way is
//! cut. Nothing is done to what arrives, but that it is dropped while the process is isolated. What is due later waits in a heap (`schedule`), from which a thread of its own sends: the
//! runtime's thread may be busy when something is due, and its timers are too coarse. The thread
//! sleeps on a timer file descriptor and never spins, because several processes share a core; it
//! learns how long waking takes, and sets its alarm that much earlier (at most 0.1 ms).
//! Datagrams that nothing is done to go out directly.
//!
//! How late each parcel is (sent against due; early counts as zero) is recorded; a run can tell from it whether its
//! network was the one it asked for.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use hdrhistogram::Histogram;
use quinn::udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use super::NetError;
use super::clock::{Alarm, now_ns};
use crate::cluster::{ClusterFile, ShapingPlan};

mod schedule;

use schedule::{Counts, Fate, Parcel, Schedule};

/// The longest delay that can be asked for.
const DELAY_MS_MAX: f64 = 60_000.0;
/// Parcels taken out under one lock: the runtime's thread must not wait long for it.
const PARCELS_A_TURN: usize = 32;
/// The thread is at work and looks at the schedule again before it sleeps.
const AWAKE: u64 = 0;
/// The thread wakes before something is due by what waking usually takes, but by no more than this.
const LEAD_NS_MAX: u64 = 100_000;
/// How fast it learns what waking takes: so much a time.
const LEAD_STEP_NS: u64 = 500;
/// Lateness is recorded up to so many microseconds.
const LATE_US_MAX: u64 = 60_000_000;
/// How long a full socket is waited for before a parcel is dropped.
const SOCKET_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// What the way to one site does to datagrams, in this direction.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkShape {
    /// Each is delayed by this, in ms: half a round trip.
    pub delay_ms: f64,
    /// And by up to this much more, uniformly, in ms. Datagrams that QUIC hands over together share
    /// the draw; those handed over at different times may overtake each other.
    pub jitter_ms: f64,
    /// The share lost, 0 to 1.
    pub loss: f64,
    /// The share sent early by up to a quarter of the delay or 1 ms, so that it overtakes, 0 to 1.
    pub reorder: f64,
    /// The rate in bits a second; none for no limit. What would wait longer than 100 ms (or behind
    /// more than 64 KiB, if that is more) is dropped.
    pub bandwidth_bps: Option<u64>,
}

impl LinkShape {
    /// Whether it does nothing.
    pub fn is_plain(&self) -> bool {
        *self == LinkShape::default()
    }

    fn check(&self) -> Result<(), String> {
        let within = |key: &str, value: f64, most: f64, unit: &str| {
            // Also refuses what is not a number.
            if (0.0..=most).contains(&value) {
                return Ok(());
            }
            Err(format!("{key} is {value}; it must be between 0 and {most}{unit}"))
        };
        within("the delay", self.delay_ms, DELAY_MS_MAX, " ms")?;
        within("jitter_ms", self.jitter_ms, DELAY_MS_MAX, " ms")?;
        within("loss", self.loss, 1.0, "")?;
        within("reorder", self.reorder, 1.0, "")?;
        match self.bandwidth_bps {
            Some(bps) if bps < 1000 => {
                Err(format!("bandwidth_bps is {bps}; it must be at least 1000"))
            }
            _ => Ok(()),
        }
    }
}

/// What the shaper did so far.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct ShaperReport {
    /// Parcels (datagrams that left together) that were delayed and sent.
    pub count: u64,
    /// Their lateness, sent against due, in microseconds: the median.
    pub p50_us: u64,
    /// 99 % are not later.
    pub p99_us: u64,
    /// 99.9 % are not later.
    pub p99_9_us: u64,
    /// The latest.
    pub max_us: u64,
    /// Datagrams lost by chance, as asked for.
    pub dropped_loss: u64,
    /// Datagrams dropped because their way was cut, as asked for.
    pub dropped_cut: u64,
    /// Datagrams dropped because the link's rate left no room, as asked for.
    pub dropped_rate: u64,
    /// Datagrams dropped because too many bytes were on their way: not as asked for.
    pub dropped_memory: u64,
    /// Parcels that the system refused to send: not as asked for.
    pub dropped_socket: u64,
    /// Datagrams sent early so that they overtake.
    pub overtaking: u64,
    /// Bytes on their way now.
    pub queued_bytes: u64,
}

#[derive(Debug)]
struct State {
    schedule: Schedule,
    lateness_us: Histogram<u64>,
    dropped_socket: u64,
    /// The parcel for which the thread will wake is due then; [`AWAKE`] while it works.
    wakes_for_ns: u64,
    /// What waking takes: the median of what it took.
    lead_ns: u64,
    stopped: bool,
}

impl State {
    fn wake_for(&mut self, due_ns: u64, alarm: &Alarm) {
        self.wakes_for_ns = due_ns;
        alarm.set(due_ns.saturating_sub(self.lead_ns));
    }

    /// Small steps up and down settle at the median, whatever a busy machine does now and then.
    fn learn_lead(&mut self, woken_ns: u64) {
        let rang_ns = self.wakes_for_ns.saturating_sub(self.lead_ns);
        self.lead_ns = if woken_ns > rang_ns + self.lead_ns {
            (self.lead_ns + LEAD_STEP_NS).min(LEAD_NS_MAX)
        } else {
            self.lead_ns.saturating_sub(LEAD_STEP_NS)
        };
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    alarm: Alarm,
    sites: Vec<String>,
    members: Vec<(String, SocketAddr)>,
    /// Whom an isolated process exchanges nothing with.
    beyond: Vec<SocketAddr>,
    /// Whether it is; beside the lock, so that receiving takes none of it where nothing is dropped.
    isolated: AtomicBool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shapes what leaves one process; [`super::Endpoint::bind`] takes it.
#[derive(Debug)]
pub struct Shaper {
    shared: Arc<Shared>,
}

impl Shaper {
    /// The shaper of the member called `name`; none if the cluster file asks for no shaping.
    ///
    /// # Errors
    /// If the member or a site is not known, or the plan is impossible.
    pub fn for_member(cluster: &ClusterFile, name: &str) -> Result<Option<Shaper>, NetError> {
        let Some(plan) = &cluster.shaping else { return Ok(None) };
        let members = || cluster.processes();
        let me = members()
            .position(|member| member.name == name)
            .ok_or_else(|| wrong(format!("no member is called {name:?}")))?;
        let my_site = site_index(plan, &members().nth(me).expect("just found").site)?;

        // Members draw differently though they share the seed.
        let mut schedule = Schedule::new(plan.seed.wrapping_add((me as u64 + 1) << 32));
        for site in 0..plan.sites.len() {
            schedule.add_link(planned_shape(plan, my_site, site)?);
        }
        for member in members() {
            schedule.add_route(member.address, site_index(plan, &member.site)?);
        }
        let beyond = beyond(cluster, name);
        let members = members().map(|m| (m.name.clone(), m.address)).collect();
        Ok(Some(Shaper::new(schedule, plan.sites.clone(), members, beyond)?))
    }

    fn new(
        schedule: Schedule,
        sites: Vec<String>,
        members: Vec<(String, SocketAddr)>,
        beyond: Vec<SocketAddr>,
    ) -> Result<Shaper, NetError> {
        let alarm = Alarm::new().map_err(|e| wrong(format!("the system gives no timer: {e}")))?;
        let state = Mutex::new(State {
            schedule,
            lateness_us: Histogram::new_with_bounds(1, LATE_US_MAX, 3).expect("valid bounds"),
            dropped_socket: 0,
            wakes_for_ns: AWAKE,
            lead_ns: 0,
            stopped: false,
        });
        let isolated = AtomicBool::new(false);
        let shared = Shared { state, alarm, sites, members, beyond, isolated };
        Ok(Shaper { shared: Arc::new(shared) })
    }

    /// What changes and observes it while it runs.
    pub fn control(&self) -> ShaperControl {
        ShaperControl { shared: self.shared.clone() }
    }

    /// The socket through which QUIC sends, and the thread that sends later.
    pub(super) fn wrap(self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let sender_socket = socket.try_clone()?;
        let sender_state = UdpSocketState::new(UdpSockRef::from(&sender_socket))?;
        let inner = TokioRuntime.wrap_udp_socket(socket)?;
        let shared = self.shared;
        let sender = Sender { shared: shared.clone(), socket: sender_socket, state: sender_state };
        let thread =
            std::thread::Builder::new().name("shaper".to_owned()).spawn(move || sender.run())?;
        Ok(Arc::new(ShapedSocket { inner, shared, thread: Some(thread) }))
    }
}

fn wrong(what: String) -> NetError {
    NetError::Shaping(what)
}

fn site_index(plan: &ShapingPlan, site: &str) -> Result<usize, NetError> {
    let index = plan.sites.iter().position(|known| known == site);
    index.ok_or_else(|| {
        wrong(format!("no site is called {site:?}; there are {}", plan.sites.join(", ")))
    })
}

/// Where those are whom the member called `name` exchanges nothing with when it is isolated: all other
/// replicas and spares, wherever they are, and the load generators of other sites.
fn beyond(cluster: &ClusterFile, name: &str) -> Vec<SocketAddr> {
    let own_site = cluster.processes().find(|member| member.name == name).map(|me| &me.site);
    let replicas = cluster.identities().filter(|member| member.name != name);
    let loads = cluster.loads.iter().filter(|load| Some(&load.site) != own_site);
    replicas.chain(loads).map(|member| member.address).collect()
}

/// What a plan says of the way from one of its sites to another.
pub(crate) fn planned_shape(
    plan: &ShapingPlan,
    from: usize,
    to: usize,
) -> Result<LinkShape, NetError> {
    let (from_name, to_name) = (&plan.sites[from], &plan.sites[to]);
    let rtt_ms = plan.rtt_ms.get(from).and_then(|row| row.get(to)).ok_or_else(|| {
        wrong(format!("rtt_ms has no value from {from_name} to {to_name}; add a row or column"))
    })?;
    if from == to {
        return Ok(LinkShape::default());
    }
    let shape = LinkShape {
        delay_ms: rtt_ms / 2.0,
        jitter_ms: plan.jitter_ms,
        loss: plan.loss,
        reorder: plan.reorder,
        bandwidth_bps: plan.bandwidth_bps,
    };
    shape.check().map_err(|what| wrong(format!("{from_name} to {to_name}: {what}")))?;
    Ok(shape)
}

/// Changes and observes a shaper while it runs; clones control the same one. Every change holds for
/// what is sent from then on; what is on its way still arrives.
#[derive(Clone, Debug)]
pub struct ShaperControl {
    shared: Arc<Shared>,
}

impl ShaperControl {
    /// What the way to `site` does now.
    ///
    /// # Errors
    /// If the site is not known.
    pub fn link(&self, site: &str) -> Result<LinkShape, NetError> {
        let link = self.link_index(site)?;
        Ok(self.shared.state().schedule.shape(link))
    }

    /// Gives the way to `site` another shape.
    ///
    /// # Errors
    /// If the site is not known, or the shape impossible.
    pub fn set_link(&self, site: &str, shape: LinkShape) -> Result<(), NetError> {
        let link = self.link_index(site)?;
        shape.check().map_err(|what| wrong(format!("to {site}: {what}")))?;
        self.shared.state().schedule.set_shape(link, shape);
        Ok(())
    }

    /// Drops everything to `site` (also to members at our own).
    ///
    /// # Errors
    /// If the site is not known.
    pub fn cut(&self, site: &str) -> Result<(), NetError> {
        let link = self.link_index(site)?;
        self.shared.state().schedule.set_link_cut(link, true);
        Ok(())
    }

    /// Ends [`ShaperControl::cut`].
    ///
    /// # Errors
    /// If the site is not known.
    pub fn heal(&self, site: &str) -> Result<(), NetError> {
        let link = self.link_index(site)?;
        self.shared.state().schedule.set_link_cut(link, false);
        Ok(())
    }

    /// Drops everything to the member called `name`, wherever it is.
    ///
    /// # Errors
    /// If the member is not known.
    pub fn cut_member(&self, name: &str) -> Result<(), NetError> {
        self.set_member_cut(name, true)
    }

    /// Ends [`ShaperControl::cut_member`].
    ///
    /// # Errors
    /// If the member is not known.
    pub fn heal_member(&self, name: &str) -> Result<(), NetError> {
        self.set_member_cut(name, false)
    }

    /// Isolates the process, or ends that: meanwhile it exchanges nothing with any other replica or with
    /// load generators of other sites, in either direction. What it sent before still arrives; what is on
    /// its way to it does not. Who is no member, such as the driver, still reaches it.
    pub fn set_isolated(&self, isolated: bool) {
        let mut state = self.shared.state();
        for address in &self.shared.beyond {
            state.schedule.set_isolated(*address, isolated);
        }
        self.shared.isolated.store(isolated, Ordering::Relaxed);
    }

    /// What the shaper did so far, and how late.
    pub fn lateness(&self) -> ShaperReport {
        let state = self.shared.state();
        let (late, counts) = (&state.lateness_us, state.schedule.counts());
        let Counts { lost, cut, rate, memory, overtaking } = counts;
        ShaperReport {
            count: late.len(),
            p50_us: late.value_at_quantile(0.5),
            p99_us: late.value_at_quantile(0.99),
            p99_9_us: late.value_at_quantile(0.999),
            max_us: late.max(),
            dropped_loss: lost,
            dropped_cut: cut,
            dropped_rate: rate,
            dropped_memory: memory,
            dropped_socket: state.dropped_socket,
            overtaking,
            queued_bytes: state.schedule.bytes() as u64,
        }
    }

    fn link_index(&self, site: &str) -> Result<usize, NetError> {
        let sites = &self.shared.sites;
        sites.iter().position(|known| known == site).ok_or_else(|| {
            wrong(format!("no site is called {site:?}; there are {}", sites.join(", ")))
        })
    }

    fn set_member_cut(&self, name: &str, cut: bool) -> Result<(), NetError> {
        let member = self.shared.members.iter().find(|(known, _)| known == name);
        let (_, address) = member.ok_or_else(|| wrong(format!("no member is called {name:?}")))?;
        self.shared.state().schedule.set_route_cut(*address, cut);
        Ok(())
    }
}

/// What QUIC takes for its socket.
#[derive(Debug)]
struct ShapedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl ShapedSocket {
    /// Moves the first `count` of what was received, less what is dropped, to the front; returns how many
    /// that are.
    fn keep(&self, count: usize, buffers: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> usize {
        let mut state = self.shared.state();
        let mut kept = 0;
        for index in 0..count {
            let RecvMeta { addr, len, stride, .. } = meta[index];
            if !state.schedule.drops_from(addr, len.div_ceil(stride.max(1))) {
                buffers.swap(kept, index);
                meta.swap(kept, index);
                kept += 1;
            }
        }
        kept
    }
}

impl AsyncUdpSocket for ShapedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut state = self.shared.state();
        match state.schedule.take_in(now_ns(), transmit) {
            Fate::Direct => {
                drop(state);
                return self.inner.try_send(transmit);
            }
            Fate::Taken => {}
        }
        match state.schedule.next_due_ns() {
            Some(due_ns) if due_ns < state.wakes_for_ns => {
                state.wake_for(due_ns, &self.shared.alarm);
            }
            _ => {}
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let count = match self.inner.poll_recv(cx, buffers, meta) {
                Poll::Ready(Ok(count)) if self.shared.isolated.load(Ordering::Relaxed) => count,
                other => return other,
            };
            let kept = self.keep(count, buffers, meta);
            if kept > 0 {
                return Poll::Ready(Ok(kept));
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

/// Nothing is sent any more, as when a process ends; the port is free once the thread is gone.
impl Drop for ShapedSocket {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.stopped = true;
        self.shared.alarm.set(now_ns());
        drop(state);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say; a panic of it was reported where it happened.
            let _ = thread.join();
        }
    }
}

/// The thread that sends what is due.
struct Sender {
    shared: Arc<Shared>,
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Sender {
    fn run(&self) {
        let mut parcels = Vec::with_capacity(PARCELS_A_TURN);
        let mut lateness_us = Vec::with_capacity(PARCELS_A_TURN);
        let mut unsent = 0;
        while self.next_turn(&mut parcels, &mut lateness_us, unsent) {
            unsent = 0;
            for parcel in &parcels {
                lateness_us.push(now_ns().saturating_sub(parcel.due_ns) / 1000);
                unsent += u64::from(self.send(parcel).is_err());
            }
        }
    }

    /// Hands in what the last turn did, and takes out what is due; sleeps until something is.
    /// False when the socket is gone.
    fn next_turn(
        &self,
        parcels: &mut Vec<Parcel>,
        lateness_us: &mut Vec<u64>,
        unsent: u64,
    ) -> bool {
        let mut state = self.shared.state();
        state.dropped_socket += unsent;
        for late_us in lateness_us.drain(..) {
            state.lateness_us.saturating_record(late_us);
        }
        for parcel in parcels.drain(..) {
            state.schedule.recycle(parcel.contents);
        }
        while !state.stopped {
            let until_ns = now_ns() + state.lead_ns;
            state.schedule.take_out(until_ns, PARCELS_A_TURN, parcels);
            if !parcels.is_empty() {
                state.wakes_for_ns = AWAKE;
                return true;
            }
            // Set under the lock: an earlier due time that comes meanwhile must win.
            match state.schedule.next_due_ns() {
                Some(due_ns) => state.wake_for(due_ns, &self.shared.alarm),
                None => state.wakes_for_ns = u64::MAX,
            }
            drop(state);
            self.shared.alarm.wait();
            let woken_ns = now_ns();
            state = self.shared.state();
            state.learn_lead(woken_ns);
        }
        false
    }

    fn send(&self, parcel: &Parcel) -> io::Result<()> {
        let socket = UdpSockRef::from(&self.socket);
        match self.state.send(socket, &parcel.transmit()) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], Some(&SOCKET_WAIT))?;
                self.state.send(UdpSockRef::from(&self.socket), &parcel.transmit())
            }
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_isolated_member_keeps_the_load_generator_of_its_site_and_nobody_else() {
        let member = |name: &str, site: &str, port: u16| {
            format!(r#"{{"name": "{name}", "site": "{site}", "address": "127.0.0.1:{port}"}}"#)
        };
        let text = format!(
            r#"{{"name": "n", "certs": "", "protocol": {{"mode": "epaxos"}}, "replicas": [{}, {}],
                "spares": [{}], "loads": [{}, {}]}}"#,
            member("a", "a", 1),
            member("b", "b", 2),
            member("a-2", "a", 3),
            member("load-a", "a", 4),
            member("load-b", "b", 5),
        );
        let cluster: ClusterFile = serde_json::from_str(&text).unwrap();
        let ports = |name| beyond(&cluster, name).iter().map(SocketAddr::port).collect::<Vec<_>>();
        assert_eq!(ports("a"), [2, 3, 5], "not even a spare at its own site");
        assert_eq!(ports("b"), [1, 3, 4]);
        assert_eq!(ports("a-2"), [1, 2, 5]);
    }
}
