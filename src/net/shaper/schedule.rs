//! What becomes of each datagram, without sockets, threads or clocks: which are lost, and when the
//! others are due.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};

use quinn::udp::{EcnCodepoint, Transmit};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustc_hash::FxHashMap;

use super::LinkShape;

/// Bytes that may be on their way at a time; more are dropped and counted.
const BYTES_MAX: usize = 64 << 20;
/// What may wait for a link's rate: so many nanoseconds of it, but at least so many bytes.
const RATE_QUEUE_NS: u64 = 100_000_000;
const RATE_QUEUE_BYTES_MIN: u64 = 64 << 10;
/// A datagram that overtakes leaves earlier by up to this share of the delay, or by this much.
const OVERTAKE_SHARE: f64 = 0.25;
const OVERTAKE_NS_MIN: f64 = 1_000_000.0;
/// Buffers kept for reuse.
const SPARE_BUFFERS_MAX: usize = 256;

/// What was done with datagrams so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Counts {
    /// Lost by chance.
    pub lost: u64,
    /// Dropped because the way is cut off, to where it goes or from where it comes.
    pub cut: u64,
    /// Dropped because the link's rate left no room.
    pub rate: u64,
    /// Dropped because too many bytes were on their way.
    pub memory: u64,
    /// Sent early so that they overtake.
    pub overtaking: u64,
}

/// What becomes of a transmission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// Its link does nothing: send it at once.
    Direct,
    /// It was taken in, or dropped.
    Taken,
}

/// One or more datagrams to one destination that are due together.
#[derive(Debug)]
pub(super) struct Parcel {
    pub due_ns: u64,
    sequence: u64,
    pub destination: SocketAddr,
    pub source: Option<IpAddr>,
    pub ecn: Option<EcnCodepoint>,
    pub segment_size: Option<usize>,
    pub contents: Vec<u8>,
}

impl Parcel {
    pub(super) fn transmit(&self) -> Transmit<'_> {
        Transmit {
            destination: self.destination,
            ecn: self.ecn,
            contents: &self.contents,
            segment_size: self.segment_size,
            src_ip: self.source,
        }
    }
}

impl PartialEq for Parcel {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Parcel {}

impl PartialOrd for Parcel {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Parcel {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due_ns, self.sequence).cmp(&(other.due_ns, other.sequence))
    }
}

/// The way to one site.
#[derive(Debug, Default)]
struct Link {
    shape: LinkShape,
    cut: bool,
    /// When its rate is free again.
    busy_until_ns: u64,
    /// When the last datagram that keeps its place in line is due.
    last_due_ns: u64,
}

/// One member's address.
#[derive(Debug)]
struct Route {
    link: usize,
    cut: bool,
    /// Cut off in both directions.
    isolated: bool,
}

/// All datagrams on their way, and what decides over new ones.
#[derive(Debug)]
pub(super) struct Schedule {
    links: Vec<Link>,
    routes: FxHashMap<SocketAddr, Route>,
    parcels: BinaryHeap<Reverse<Parcel>>,
    bytes: usize,
    sequence: u64,
    random: StdRng,
    counts: Counts,
    spare_buffers: Vec<Vec<u8>>,
}

impl Schedule {
    pub(super) fn new(seed: u64) -> Schedule {
        Schedule {
            links: Vec::new(),
            routes: FxHashMap::default(),
            parcels: BinaryHeap::new(),
            bytes: 0,
            sequence: 0,
            random: StdRng::seed_from_u64(seed),
            counts: Counts::default(),
            spare_buffers: Vec::new(),
        }
    }

    pub(super) fn add_link(&mut self, shape: LinkShape) {
        self.links.push(Link { shape, ..Link::default() });
    }

    pub(super) fn add_route(&mut self, address: SocketAddr, link: usize) {
        self.routes.insert(canonical(address), Route { link, cut: false, isolated: false });
    }

    pub(super) fn shape(&self, link: usize) -> LinkShape {
        self.links[link].shape
    }

    pub(super) fn set_shape(&mut self, link: usize, shape: LinkShape) {
        self.links[link].shape = shape;
    }

    pub(super) fn set_link_cut(&mut self, link: usize, cut: bool) {
        self.links[link].cut = cut;
    }

    pub(super) fn set_route_cut(&mut self, address: SocketAddr, cut: bool) {
        if let Some(route) = self.routes.get_mut(&canonical(address)) {
            route.cut = cut;
        }
    }

    pub(super) fn set_isolated(&mut self, address: SocketAddr, isolated: bool) {
        if let Some(route) = self.routes.get_mut(&canonical(address)) {
            route.isolated = isolated;
        }
    }

    /// Whether `datagrams` that came from `source` are dropped.
    pub(super) fn drops_from(&mut self, source: SocketAddr, datagrams: usize) -> bool {
        let route = self.routes.get(&canonical(source));
        let drops = route.is_some_and(|route| route.isolated);
        self.counts.cut += if drops { datagrams as u64 } else { 0 };
        drops
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn next_due_ns(&self) -> Option<u64> {
        self.parcels.peek().map(|Reverse(parcel)| parcel.due_ns)
    }

    /// Decides over what is sent at `now_ns`.
    pub(super) fn take_in(&mut self, now_ns: u64, transmit: &Transmit<'_>) -> Fate {
        let Some(route) = self.routes.get(&canonical(transmit.destination)) else {
            return Fate::Direct;
        };
        let (index, link) = (route.link, &self.links[route.link]);
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        if route.cut || route.isolated || link.cut {
            self.counts.cut += transmit.contents.len().div_ceil(segment) as u64;
            return Fate::Taken;
        }
        if link.shape.is_plain() {
            return Fate::Direct;
        }
        let jitter_ns = self.jitter_ns(index);
        if link_splits(&self.links[index].shape) {
            for datagram in transmit.contents.chunks(segment) {
                self.take_in_one(now_ns, jitter_ns, index, transmit, datagram);
            }
        } else {
            self.take_in_whole(now_ns, jitter_ns, index, transmit, segment);
        }
        Fate::Taken
    }

    /// Datagrams that were handed over together stay together: their extra delay is one draw.
    fn jitter_ns(&mut self, link: usize) -> u64 {
        let jitter_ns = ms_to_ns(self.links[link].shape.jitter_ms);
        if jitter_ns == 0 { 0 } else { self.random.random_range(0..=jitter_ns) }
    }

    fn is_lost(&mut self, link: usize) -> bool {
        let loss = self.links[link].shape.loss;
        let lost = loss > 0.0 && self.random.random::<f64>() < loss;
        self.counts.lost += u64::from(lost);
        lost
    }

    /// All datagrams of the transmission that are not lost are due together.
    fn take_in_whole(
        &mut self,
        now_ns: u64,
        jitter_ns: u64,
        link: usize,
        transmit: &Transmit<'_>,
        segment: usize,
    ) {
        let mut contents = self.spare_buffers.pop().unwrap_or_default();
        if self.links[link].shape.loss == 0.0 {
            contents.extend_from_slice(transmit.contents);
        } else {
            for datagram in transmit.contents.chunks(segment) {
                if !self.is_lost(link) {
                    contents.extend_from_slice(datagram);
                }
            }
        }
        let due_ns = now_ns + ms_to_ns(self.links[link].shape.delay_ms) + jitter_ns;
        let due_ns = self.in_line(link, due_ns);
        let segment_size = transmit.segment_size.filter(|&size| size < contents.len());
        self.insert(due_ns, transmit, segment_size, contents);
    }

    fn take_in_one(
        &mut self,
        now_ns: u64,
        jitter_ns: u64,
        link: usize,
        transmit: &Transmit<'_>,
        datagram: &[u8],
    ) {
        if self.is_lost(link) {
            return;
        }
        let Some(sent_ns) = self.pass_rate(link, now_ns, datagram.len()) else {
            self.counts.rate += 1;
            return;
        };
        let shape = self.links[link].shape;
        let delay_ns = ms_to_ns(shape.delay_ms);
        let due_ns = if shape.reorder > 0.0 && self.random.random::<f64>() < shape.reorder {
            self.counts.overtaking += 1;
            let most_ns = (delay_ns as f64 * OVERTAKE_SHARE).max(OVERTAKE_NS_MIN);
            let less_ns = self.random.random::<f64>() * most_ns;
            sent_ns + delay_ns.saturating_sub(less_ns as u64) + jitter_ns
        } else {
            self.in_line(link, sent_ns + delay_ns + jitter_ns)
        };
        let mut contents = self.spare_buffers.pop().unwrap_or_default();
        contents.extend_from_slice(datagram);
        self.insert(due_ns, transmit, None, contents);
    }

    /// When the link has sent `length` bytes more at its rate; none if too much waits already.
    fn pass_rate(&mut self, link: usize, now_ns: u64, length: usize) -> Option<u64> {
        let link = &mut self.links[link];
        let Some(bandwidth_bps) = link.shape.bandwidth_bps else {
            return Some(now_ns);
        };
        let send_ns = |bytes: u64| bytes * 8 * 1_000_000_000 / bandwidth_bps.max(1);
        let start_ns = link.busy_until_ns.max(now_ns);
        if start_ns - now_ns > RATE_QUEUE_NS.max(send_ns(RATE_QUEUE_BYTES_MIN)) {
            return None;
        }
        link.busy_until_ns = start_ns + send_ns(length as u64);
        Some(link.busy_until_ns)
    }

    /// Without jitter a link keeps the order, even where its delay was just made shorter.
    fn in_line(&mut self, link: usize, due_ns: u64) -> u64 {
        let link = &mut self.links[link];
        if link.shape.jitter_ms > 0.0 {
            return due_ns;
        }
        link.last_due_ns = link.last_due_ns.max(due_ns);
        link.last_due_ns
    }

    fn insert(
        &mut self,
        due_ns: u64,
        transmit: &Transmit<'_>,
        segment_size: Option<usize>,
        contents: Vec<u8>,
    ) {
        if contents.is_empty() {
            return self.recycle(contents);
        }
        if self.bytes + contents.len() > BYTES_MAX {
            self.counts.memory +=
                contents.len().div_ceil(segment_size.unwrap_or(usize::MAX)) as u64;
            return self.recycle(contents);
        }
        self.bytes += contents.len();
        self.sequence += 1;
        self.parcels.push(Reverse(Parcel {
            due_ns,
            sequence: self.sequence,
            destination: transmit.destination,
            source: transmit.src_ip,
            ecn: transmit.ecn,
            segment_size,
            contents,
        }));
    }

    /// Moves at most `count_max` parcels that are due at `now_ns` to `out`, in the order in which
    /// they are due.
    pub(super) fn take_out(&mut self, now_ns: u64, count_max: usize, out: &mut Vec<Parcel>) {
        while out.len() < count_max && self.next_due_ns().is_some_and(|due_ns| due_ns <= now_ns) {
            let Some(Reverse(parcel)) = self.parcels.pop() else { return };
            self.bytes -= parcel.contents.len();
            out.push(parcel);
        }
    }

    /// Takes a buffer back.
    pub(super) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare_buffers.len() < SPARE_BUFFERS_MAX {
            buffer.clear();
            self.spare_buffers.push(buffer);
        }
    }
}

/// Whether each datagram of a transmission has a time of its own.
fn link_splits(shape: &LinkShape) -> bool {
    shape.reorder > 0.0 || shape.bandwidth_bps.is_some()
}

fn ms_to_ns(ms: f64) -> u64 {
    (ms * 1e6).round() as u64
}

/// IPv4 as IPv4, however the socket writes it.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
