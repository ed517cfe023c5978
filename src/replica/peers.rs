//! Connections to the other replicas.
//!
//! Of two replicas the later in the cluster file dials the earlier, again and again with growing
//! pauses. On each connection both greet: a replica says which *start* of it this is, a random number.
//! A peer that remembers another start refuses, because a memory log does not survive a restart: a
//! replica that forgot its promises must not vote. A member takes part once every other one has
//! welcomed it; a spare, which is no member at first, once anybody has.
//!
//! So a spare may take part with some whom others have not met, and come back to those others. Therefore
//! whoever meets a start tells all it is connected with, on each lane before anything else that it sends
//! there later: whoever has learnt that a spare became a member knows which start of it did. What comes
//! from another start, or before the greeting, is not heard. If two starts of a replica were met at
//! different places, neither is heard: one of them has ended, as both listen at one address, and the other
//! has forgotten what it promised.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quinn::Connection;
use rand::Rng;
use tokio::sync::Notify;

use super::inbox::{Arrival, Inbox};
use crate::cluster::ClusterFile;
use crate::command::NodeId;
use crate::kv::Store;
use crate::net::{Endpoint, FrameReader, LaneSender, NetError, Purpose, Stream};
use crate::net::{accept_lane, open_lanes};
use crate::protocol::{Message, Protocol};
use crate::wire::{FRAME_BYTES_MAX, Malformed, Reader, Wire, decode_store, encode_store, frame};

/// The first byte of a frame between replicas.
mod tag {
    pub(super) const MESSAGE: u8 = 0;
    pub(super) const HELLO: u8 = 1;
    pub(super) const WELCOME: u8 = 2;
    pub(super) const FORGETFUL: u8 = 3;
    pub(super) const PING: u8 = 4;
    pub(super) const PONG: u8 = 5;
    pub(super) const STATE: u8 = 6;
    pub(super) const STATE_PIECE: u8 = 7;
    pub(super) const STATE_END: u8 = 8;
    pub(super) const MET: u8 = 9;
}

/// The longest replicated state that is taken, in bytes.
const STATE_BYTES_MAX: usize = 1 << 30;
/// Bytes of one piece of it.
const STATE_PIECE_BYTES: usize = 1 << 20;
/// Pauses between two attempts to connect.
const RECONNECT_MIN: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// Which start of a replica was met.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Start {
    #[default]
    Unmet,
    Met(u64),
    /// Two were, at different places.
    Two,
}

/// The start that greeted on a connection.
type Greeted = Rc<Cell<Option<u64>>>;

/// One other replica.
#[derive(Default)]
struct Peer {
    lanes: RefCell<Vec<LaneSender>>,
    connection: RefCell<Option<Connection>>,
    start: Cell<Start>,
    welcomed_us: Cell<bool>,
    /// Round trips of the pings, in ns, since the last look.
    rtts_ns: RefCell<Vec<u64>>,
}

/// All other replicas, by [`NodeId`]; the entry of this one stays empty.
pub(super) struct Peers<P: Protocol> {
    me: NodeId,
    file: Rc<ClusterFile>,
    inbox: Rc<Inbox<P>>,
    peers: Vec<Peer>,
    start: u64,
    epoch: Instant,
    welcomed: Notify,
    ponged: Notify,
    refused_by: RefCell<Option<String>>,
    refused: Notify,
}

impl<P: Protocol + 'static> Peers<P>
where
    P::Message: Wire,
{
    pub(super) fn new(me: NodeId, file: Rc<ClusterFile>, inbox: Rc<Inbox<P>>) -> Self {
        Peers {
            me,
            inbox,
            peers: file.identities().map(|_| Peer::default()).collect(),
            file,
            start: rand::rng().next_u64(),
            epoch: Instant::now(),
            welcomed: Notify::new(),
            ponged: Notify::new(),
            refused_by: RefCell::new(None),
            refused: Notify::new(),
        }
    }

    /// Which replica this is.
    pub(super) fn me(&self) -> NodeId {
        self.me
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.file.identity(usize::from(self.me.0)).name
    }

    /// Keeps a connection to every earlier replica.
    pub(super) fn dial(self: &Rc<Self>, endpoint: &Endpoint) {
        for index in 0..usize::from(self.me.0) {
            let (peers, endpoint) = (self.clone(), endpoint.clone());
            tokio::task::spawn_local(async move { peers.keep_dialing(index, &endpoint).await });
        }
    }

    async fn keep_dialing(self: Rc<Self>, index: usize, endpoint: &Endpoint) {
        let member = self.file.identity(index);
        let mut pause = RECONNECT_MIN;
        loop {
            match endpoint.connect(member.address, &member.name, Purpose::Peer).await {
                Ok(connection) => {
                    pause = RECONNECT_MIN;
                    self.clone().keep(index, connection).await;
                }
                Err(error) => tracing::debug!(%error, "not connected"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RECONNECT_MAX);
        }
    }

    /// A later replica has dialed.
    pub(super) fn accepted(self: &Rc<Self>, name: &str, connection: Connection) {
        if let Some(index) = self.file.identity_index(name) {
            tokio::task::spawn_local(self.clone().keep(index, connection));
        }
    }

    /// Uses a connection until it is lost.
    async fn keep(self: Rc<Self>, index: usize, connection: Connection) {
        let name = &self.file.identity(index).name;
        let lanes = match open_lanes(&connection, &self.file.transport).await {
            Ok(lanes) => lanes,
            Err(error) => return tracing::debug!(%error, "lost at once"),
        };
        if let Some(first) = lanes.first() {
            first.push(|out| {
                out.put_u8(tag::HELLO);
                out.put_u64_le(self.start);
            });
        }
        for lane in &lanes {
            self.tell_starts(lane);
        }
        self.peers[index].lanes.replace(lanes);
        self.peers[index].connection.replace(Some(connection.clone()));
        tracing::info!(peer = name, "connected");
        let greeted = Greeted::default();
        let reason = loop {
            match accept_lane(&connection, FRAME_BYTES_MAX).await {
                Ok(reader) => {
                    tokio::task::spawn_local(self.clone().read(index, reader, greeted.clone()));
                }
                Err(reason) => break reason,
            }
        };
        tracing::info!(peer = name, %reason, "connection lost");
        let current = self.peers[index].connection.borrow().as_ref().map(Connection::stable_id);
        if current == Some(connection.stable_id()) {
            self.peers[index].lanes.take();
            self.peers[index].connection.take();
        }
    }

    async fn read(self: Rc<Self>, index: usize, mut reader: FrameReader, greeted: Greeted) {
        let mut state = IncomingState::default();
        loop {
            match reader.read(|body| self.on_frame(index, body, &greeted, &mut state)).await {
                Ok(Stream::Open) => {}
                Ok(Stream::Closed) => return,
                Err(error) => return tracing::debug!(%error, "a peer's lane ended"),
            }
        }
    }

    fn on_frame(
        &self,
        index: usize,
        body: &[u8],
        greeted: &Greeted,
        state: &mut IncomingState<P>,
    ) -> Result<(), Malformed> {
        let (&kind, rest) = body.split_first().ok_or(Malformed("peer frame: empty"))?;
        let from = NodeId(index as u8);
        let is_heard =
            greeted.get().is_some_and(|start| self.peers[index].start.get() == Start::Met(start));
        match kind {
            tag::MESSAGE => {
                let message = P::Message::decode_whole(rest)?;
                if message.brings_state() {
                    return Err(Malformed("peer frame: a state's message without the state"));
                }
                if is_heard {
                    self.inbox.push(Arrival::Message { from, message, bytes: rest.len() });
                }
            }
            tag::HELLO => {
                let start = Reader::new(rest).u64()?;
                greeted.set(Some(start));
                self.on_hello(index, start);
            }
            tag::MET => {
                let mut reader = Reader::new(rest);
                self.on_met(index, usize::from(reader.u8()?), reader.u64()?)?;
            }
            tag::WELCOME => {
                self.peers[index].welcomed_us.set(true);
                self.welcomed.notify_one();
            }
            tag::FORGETFUL => {
                self.end_as_forgetful(index);
            }
            tag::PING => self.to_first_lane(index, |out| {
                out.put_u8(tag::PONG);
                out.put_slice(&rest[..rest.len().min(8)]);
            }),
            tag::PONG => {
                let sent_ns = Reader::new(rest).u64()?;
                let rtt_ns = (self.epoch.elapsed().as_nanos() as u64).saturating_sub(sent_ns);
                self.peers[index].rtts_ns.borrow_mut().push(rtt_ns);
                self.ponged.notify_one();
            }
            tag::STATE | tag::STATE_PIECE | tag::STATE_END => {
                let whole = state.on_frame(kind, rest)?;
                if let Some((message, store)) = whole.filter(|_| is_heard) {
                    self.inbox.push(Arrival::State { from, message, store: Box::new(store) });
                }
            }
            _ => return Err(Malformed("peer frame: unknown kind")),
        }
        Ok(())
    }

    /// A peer says which start of it this is.
    fn on_hello(&self, index: usize, start: u64) {
        let known = self.peers[index].start.get();
        if known == Start::Unmet {
            self.meet(index, start);
        }
        let welcome = known == Start::Unmet || known == Start::Met(start);
        self.to_first_lane(index, |out| {
            out.put_u8(if welcome { tag::WELCOME } else { tag::FORGETFUL });
        });
    }

    /// A peer says which start of `index` was met.
    fn on_met(&self, by: usize, index: usize, start: u64) -> Result<(), Malformed> {
        let peer = self.peers.get(index).ok_or(Malformed("met: nobody has this number"))?;
        if index == usize::from(self.me.0) {
            if start != self.start {
                self.end_as_forgetful(by);
            }
            return Ok(());
        }
        match peer.start.get() {
            Start::Unmet => self.meet(index, start),
            Start::Met(known) if known != start => {
                peer.start.set(Start::Two);
                self.to_first_lane(index, |out| out.put_u8(tag::FORGETFUL));
            }
            Start::Met(_) | Start::Two => {}
        }
        Ok(())
    }

    /// Remembers which start of a replica was the first, and tells all others.
    fn meet(&self, index: usize, start: u64) {
        self.peers[index].start.set(Start::Met(start));
        let others = self.peers.iter().enumerate().filter(|(other, _)| *other != index);
        for (_, peer) in others {
            peer.lanes.borrow().iter().for_each(|lane| tell_start(lane, index, start));
        }
    }

    fn tell_starts(&self, lane: &LaneSender) {
        for (index, peer) in self.peers.iter().enumerate() {
            if let Start::Met(start) = peer.start.get() {
                tell_start(lane, index, start);
            }
        }
    }

    fn end_as_forgetful(&self, by: usize) {
        self.refused_by.replace(Some(self.file.identity(by).name.clone()));
        self.refused.notify_one();
    }

    fn to_first_lane(&self, index: usize, write: impl FnOnce(&mut BytesMut)) {
        if let Some(lane) = self.peers[index].lanes.borrow().first() {
            lane.push(write);
        }
    }

    /// Waits until this replica may take part.
    pub(super) async fn welcomed(&self) {
        while !self.is_welcome() {
            self.welcomed.notified().await;
        }
    }

    /// Whether all other members have welcomed this one; a spare, whether anybody has.
    fn is_welcome(&self) -> bool {
        let (me, members) = (usize::from(self.me.0), self.file.replicas.len());
        let mut others = self.peers.iter().enumerate().filter(|(index, _)| *index != me);
        match me < members {
            true => {
                others.take_while(|(index, _)| *index < members).all(|(_, p)| p.welcomed_us.get())
            }
            false => others.any(|(_, peer)| peer.welcomed_us.get()),
        }
    }

    /// Waits until a peer refuses this replica, and says who.
    pub(super) async fn refused(&self) -> String {
        loop {
            self.refused.notified().await;
            if let Some(name) = self.refused_by.take() {
                return name;
            }
        }
    }

    /// The frame of a message, to be sent to any number of peers.
    pub(super) fn encode(message: &P::Message, scratch: &mut BytesMut) -> Bytes {
        frame(scratch, |out| {
            out.put_u8(tag::MESSAGE);
            message.encode(out);
        });
        scratch.split().freeze()
    }

    /// Sends an encoded message on its lane; drops it if there is no connection. Whether there is one.
    pub(super) fn send(&self, to: NodeId, lane: u64, message: &Bytes) -> bool {
        let lanes = self.peers[usize::from(to.0)].lanes.borrow();
        if !lanes.is_empty() {
            lanes[(lane % lanes.len() as u64) as usize].send(message);
        }
        !lanes.is_empty()
    }

    /// Sends the replicated state on a stream of its own, so that it holds up nothing else.
    pub(super) fn send_state(&self, to: NodeId, message: &P::Message, store: &Store) {
        let Some(connection) = self.peers[usize::from(to.0)].connection.borrow().clone() else {
            return;
        };
        let mut frames = BytesMut::new();
        frame(&mut frames, |out| {
            out.put_u8(tag::STATE);
            message.encode(out);
        });
        let mut state = BytesMut::new();
        encode_store(store, &mut state);
        for piece in state.chunks(STATE_PIECE_BYTES) {
            frame(&mut frames, |out| {
                out.put_u8(tag::STATE_PIECE);
                out.put_slice(piece);
            });
        }
        frame(&mut frames, |out| out.put_u8(tag::STATE_END));
        let frames = frames.freeze();
        tokio::task::spawn_local(async move {
            if let Err(error) = send_stream(&connection, frames).await {
                tracing::info!(%error, "the state was not sent");
            }
        });
    }

    /// Sends one ping to every peer.
    pub(super) fn ping(&self) {
        for index in 0..self.peers.len() {
            let sent_ns = self.epoch.elapsed().as_nanos() as u64;
            self.to_first_lane(index, |out| {
                out.put_u8(tag::PING);
                out.put_u64_le(sent_ns);
            });
        }
    }

    /// Waits until every connected peer has answered so many pings since the last look.
    pub(super) async fn ponged(&self, pings: usize) {
        let lacks =
            |peer: &Peer| !peer.lanes.borrow().is_empty() && peer.rtts_ns.borrow().len() < pings;
        while self.peers.iter().any(lacks) {
            self.ponged.notified().await;
        }
    }

    /// The round trips measured since the last look, by peer, in ns.
    pub(super) fn take_rtts_ns(&self) -> Vec<(String, Vec<u64>)> {
        let others = self.peers.iter().enumerate().filter(|(i, _)| *i != usize::from(self.me.0));
        others.map(|(i, peer)| (self.file.identity(i).name.clone(), peer.rtts_ns.take())).collect()
    }

    /// Frames dropped because a peer's queue was full.
    pub(super) fn frames_dropped(&self) -> u64 {
        let lanes = self.peers.iter().map(|peer| peer.lanes.borrow());
        lanes.map(|l| l.iter().map(|lane| lane.counts().frames_dropped).sum::<u64>()).sum()
    }
}

fn tell_start(lane: &LaneSender, index: usize, start: u64) {
    lane.push(|out| {
        out.put_u8(tag::MET);
        out.put_u8(index as u8);
        out.put_u64_le(start);
    });
}

async fn send_stream(connection: &Connection, bytes: Bytes) -> Result<(), NetError> {
    let mut stream = connection.open_uni().await?;
    stream.write_chunk(bytes).await.map_err(|e| NetError::Lost(e.to_string()))?;
    stream.finish().map_err(|e| NetError::Lost(e.to_string()))
}

/// A state that arrives in pieces.
struct IncomingState<P: Protocol> {
    message: Option<P::Message>,
    bytes: BytesMut,
}

impl<P: Protocol> Default for IncomingState<P> {
    fn default() -> Self {
        IncomingState { message: None, bytes: BytesMut::new() }
    }
}

impl<P: Protocol> IncomingState<P>
where
    P::Message: Wire,
{
    /// Takes one piece; returns the state with the last.
    fn on_frame(
        &mut self,
        kind: u8,
        body: &[u8],
    ) -> Result<Option<(P::Message, Store)>, Malformed> {
        if kind == tag::STATE {
            let message = P::Message::decode_whole(body)?;
            if !message.brings_state() {
                return Err(Malformed("state: with a message that brings none"));
            }
            self.message = Some(message);
            self.bytes.clear();
            return Ok(None);
        }
        if self.message.is_none() || self.bytes.len() + body.len() > STATE_BYTES_MAX {
            return Err(Malformed("state: out of order or too long"));
        }
        if kind == tag::STATE_PIECE {
            self.bytes.extend_from_slice(body);
            return Ok(None);
        }
        let bytes = std::mem::take(&mut self.bytes);
        let mut reader = Reader::new(bytes.chunk());
        let store = decode_store(&mut reader)?;
        if !reader.is_empty() {
            return Err(Malformed("state: bytes left over"));
        }
        Ok(self.message.take().map(|message| (message, store)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::paxos::Paxos;
    use crate::protocol::paxos::message::PaxosMessage;

    /// Replica `me` of `a`, `b`, `c` and the spare `d`, connected with nobody.
    fn peers(me: u8) -> Peers<Paxos> {
        let member =
            |name: &str| format!(r#"{{"name": "{name}", "site": "x", "address": "127.0.0.1:1"}}"#);
        let replicas = ["a", "b", "c"].map(member).join(", ");
        let file = format!(
            r#"{{"name": "test", "certs": "", "replicas": [{replicas}], "spares": [{}], "loads": [],
                "protocol": {{"mode": "paxos"}}}}"#,
            member("d")
        );
        Peers::new(NodeId(me), Rc::new(serde_json::from_str(&file).unwrap()), Rc::new(Inbox::new()))
    }

    /// How many messages of replica `from` come through, on a connection where it greeted with this start.
    fn heard(peers: &Peers<Paxos>, from: usize, greeted: Option<u64>) -> usize {
        let mut message = BytesMut::from(&[tag::MESSAGE][..]);
        message.extend_from_slice(&encoded(&PaxosMessage::Lagging { next_batch: 4 }));
        let greeted = Rc::new(Cell::new(greeted));
        peers.on_frame(from, &message, &greeted, &mut IncomingState::default()).unwrap();
        let (mut arrivals, mut commands) = (Vec::new(), Vec::new());
        peers.inbox.take(&mut arrivals, &mut commands);
        arrivals.len()
    }

    #[test]
    fn only_the_start_that_was_met_first_is_heard_wherever_it_was_met() {
        let here = peers(0);
        here.on_hello(3, 7);
        assert_eq!([Some(7), None, Some(8)].map(|start| heard(&here, 3, start)), [1, 0, 0]);

        let told = peers(0);
        told.on_met(1, 3, 7).unwrap();
        told.on_hello(3, 8);
        assert_eq!([Some(7), Some(8)].map(|start| heard(&told, 3, start)), [1, 0]);

        // Somebody else has met an earlier start: what this one promised there is forgotten.
        here.on_met(1, 3, 6).unwrap();
        here.on_hello(3, 7);
        assert_eq!([Some(7), Some(6)].map(|start| heard(&here, 3, start)), [0, 0]);
        assert!(here.on_met(1, 4, 7).is_err(), "nobody has this number");
    }

    #[test]
    fn a_replica_that_hears_of_an_earlier_start_of_itself_is_refused() {
        let spare = peers(3);
        spare.on_met(1, 3, spare.start).unwrap();
        assert_eq!(spare.refused_by.take(), None);
        spare.on_met(1, 3, spare.start ^ 1).unwrap();
        assert_eq!(spare.refused_by.take().as_deref(), Some("b"));
    }

    #[test]
    fn a_member_waits_for_all_members_and_a_spare_for_anybody() {
        let (member, spare) = (peers(1), peers(3));
        for peers in [&member, &spare] {
            assert!(!peers.is_welcome());
            peers.peers[0].welcomed_us.set(true);
        }
        assert!(!member.is_welcome() && spare.is_welcome());
        member.peers[2].welcomed_us.set(true);
        assert!(member.is_welcome(), "no spare is waited for");
    }

    fn encoded(message: &PaxosMessage) -> BytesMut {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        out
    }

    #[test]
    fn a_state_comes_with_its_message_first_and_in_order_or_not_at_all() {
        let message = PaxosMessage::State { next_batch: 4, delivered: Vec::new() };
        let mut bytes = BytesMut::new();
        encode_store(&Store::default(), &mut bytes);

        let mut state = IncomingState::<Paxos>::default();
        assert!(state.on_frame(tag::STATE_PIECE, &bytes).is_err());
        let lagging = encoded(&PaxosMessage::Lagging { next_batch: 4 });
        assert!(state.on_frame(tag::STATE, &lagging).is_err());
        assert!(state.on_frame(tag::STATE, &encoded(&message)).unwrap().is_none());
        assert!(state.on_frame(tag::STATE_PIECE, &bytes).unwrap().is_none());
        let (came, store) = state.on_frame(tag::STATE_END, &[]).unwrap().unwrap();
        assert_eq!((came, store), (message, Store::default()));
        assert!(state.on_frame(tag::STATE_END, &[]).is_err());
    }
}
