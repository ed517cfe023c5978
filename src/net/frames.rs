//! Frames of [`crate::wire`] on streams.
//!
//! A *lane* is one ordered stream in one direction. What is sent waits in the lane's queue until
//! its task hands all of it to QUIC at once, so that everything said in one turn of the loop shares
//! packets. The queue is bounded: what does not fit is dropped in whole frames and counted, as a
//! network would drop it, and the protocols repair it as they repair any loss.
//!
//! QUIC keeps each write until it is acknowledged, and looks for the bytes of a packet through all
//! of them from the oldest: many small writes on their way at a long round trip cost time in
//! proportion to their number. One flush a turn keeps it low; lanes divide it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::Notify;

use super::NetError;
use super::endpoint::close_code;
use crate::cluster::TransportOptions;
use crate::wire::{FRAME_HEADER_BYTES, Malformed, first_frame, frame};

/// Bytes that are sent as they are, not copied behind what is queued already.
const CHUNK_BYTES_MIN: usize = 16 << 10;
/// Received pieces that are looked at in one turn.
const CHUNKS_READ_MAX: usize = 64;
/// A reader's buffer for straddling frames is given back when it has grown beyond this.
const STRADDLE_BYTES_KEPT: usize = 256 << 10;

/// What a lane could not send.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LaneCounts {
    /// Frames dropped because the queue was full or the connection was lost before.
    pub frames_dropped: u64,
    /// Their bytes.
    pub bytes_dropped: u64,
    /// Bytes that were still queued when the connection was lost. (What QUIC had taken and the
    /// other side had not received is lost too, and not counted.)
    pub bytes_lost: u64,
}

/// Sends frames on one lane. Clones are the same lane; when the last is dropped, what is queued is
/// still sent, and then the stream ends.
#[derive(Clone)]
pub struct LaneSender {
    lane: Rc<Lane>,
    _handle: Rc<Handle>,
}

struct Lane {
    queue: RefCell<Queue>,
    wake: Notify,
}

struct Handle(Rc<Lane>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.queue.borrow_mut().ended = true;
        self.0.wake.notify_one();
    }
}

struct Queue {
    /// Older than `tail`.
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    /// Of all that QUIC has not taken.
    bytes: usize,
    bytes_max: usize,
    /// No handle is left.
    ended: bool,
    /// The connection is lost.
    lost: bool,
    counts: LaneCounts,
}

impl LaneSender {
    /// Starts a lane on `stream`. Must be called where [`tokio::task::spawn_local`] works.
    pub fn new(stream: SendStream, queue_bytes_max: usize) -> LaneSender {
        let queue = RefCell::new(Queue {
            chunks: VecDeque::new(),
            tail: BytesMut::new(),
            bytes: 0,
            bytes_max: queue_bytes_max,
            ended: false,
            lost: false,
            counts: LaneCounts::default(),
        });
        let lane = Rc::new(Lane { queue, wake: Notify::new() });
        tokio::task::spawn_local(write_queue(lane.clone(), stream));
        LaneSender { _handle: Rc::new(Handle(lane.clone())), lane }
    }

    /// Appends one frame, whose body `write` makes, and has it sent.
    pub fn push(&self, write: impl FnOnce(&mut BytesMut)) {
        self.lane.queue.borrow_mut().push(write);
        self.lane.wake.notify_one();
    }

    /// Has whole frames sent, which [`frame`] made. What is short is copied, so that one buffer may
    /// be sent to many peers.
    pub fn send(&self, frames: &Bytes) {
        self.lane.queue.borrow_mut().append(frames);
        self.lane.wake.notify_one();
    }

    /// Bytes that QUIC has not taken yet.
    pub fn queued_bytes(&self) -> usize {
        self.lane.queue.borrow().bytes
    }

    /// Whether a write has not failed yet.
    pub fn is_open(&self) -> bool {
        !self.lane.queue.borrow().lost
    }

    /// What could not be sent so far.
    pub fn counts(&self) -> LaneCounts {
        self.lane.queue.borrow().counts
    }
}

impl fmt::Debug for LaneSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneSender").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl Queue {
    fn push(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let start = self.tail.len();
        frame(&mut self.tail, write);
        let length = self.tail.len() - start;
        if self.lost || self.bytes + length > self.bytes_max {
            self.tail.truncate(start);
            self.counts.frames_dropped += 1;
            self.counts.bytes_dropped += length as u64;
        } else {
            self.bytes += length;
        }
    }

    fn append(&mut self, frames: &Bytes) {
        let room = if self.lost { 0 } else { self.bytes_max - self.bytes };
        let fits = if frames.len() <= room { frames.len() } else { self.drop_beyond(frames, room) };
        if fits >= CHUNK_BYTES_MIN {
            self.close_tail();
            self.chunks.push_back(frames.slice(..fits));
        } else {
            self.tail.extend_from_slice(&frames[..fits]);
        }
        self.bytes += fits;
    }

    /// Counts the frames that do not fit into `room`; the length of those that do.
    fn drop_beyond(&mut self, frames: &[u8], room: usize) -> usize {
        let (mut fits, mut at) = (0, 0);
        while at < frames.len() {
            let body = first_frame(&frames[at..], usize::MAX).ok().flatten();
            let body = body.expect("only whole frames are sent");
            at += FRAME_HEADER_BYTES + body.len();
            if at <= room {
                fits = at;
            } else {
                self.counts.frames_dropped += 1;
            }
        }
        self.counts.bytes_dropped += (frames.len() - fits) as u64;
        fits
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
    }

    fn lose(&mut self) {
        self.lost = true;
        self.counts.bytes_lost += self.bytes as u64;
        self.bytes = 0;
        self.chunks = VecDeque::new();
        self.tail = BytesMut::new();
    }
}

/// Hands what is queued to QUIC until the lane ends or the connection is lost.
async fn write_queue(lane: Rc<Lane>, mut stream: SendStream) {
    let mut batch = Vec::new();
    loop {
        let ended = {
            let mut queue = lane.queue.borrow_mut();
            queue.close_tail();
            batch.extend(queue.chunks.drain(..));
            queue.ended
        };
        if !batch.is_empty() {
            if write_batch(&lane, &mut stream, &mut batch).await.is_err() {
                return lane.queue.borrow_mut().lose();
            }
        } else if ended {
            // Fails only if the connection is lost, and then there is nobody left to tell.
            let _ = stream.finish();
            return;
        } else {
            lane.wake.notified().await;
        }
    }
}

async fn write_batch(
    lane: &Lane,
    stream: &mut SendStream,
    batch: &mut Vec<Bytes>,
) -> Result<(), quinn::WriteError> {
    let mut rest = &mut batch[..];
    while !rest.is_empty() {
        let written = stream.write_chunks(rest).await?;
        lane.queue.borrow_mut().bytes -= written.bytes;
        rest = &mut rest[written.chunks..];
    }
    batch.clear();
    Ok(())
}

/// Opens the lanes of a connection towards the other side, as many as `options` says.
///
/// # Errors
/// If the connection is lost.
pub async fn open_lanes(
    connection: &Connection,
    options: &TransportOptions,
) -> Result<Vec<LaneSender>, NetError> {
    let mut lanes = Vec::with_capacity(options.lanes);
    for _ in 0..options.lanes {
        lanes.push(LaneSender::new(connection.open_uni().await?, options.queue_bytes_max));
    }
    Ok(lanes)
}

/// Waits for the next lane that the other side opens, in the order in which it does.
///
/// # Errors
/// If the connection is lost.
pub async fn accept_lane(
    connection: &Connection,
    frame_bytes_max: usize,
) -> Result<FrameReader, NetError> {
    let stream = connection.accept_uni().await?;
    Ok(FrameReader::new(connection.clone(), stream, frame_bytes_max))
}

/// Whether more may come on a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// More may come.
    Open,
    /// The other side ended the stream after what was read.
    Closed,
}

/// Reads frames off one stream.
pub struct FrameReader {
    connection: Connection,
    stream: RecvStream,
    frame_bytes_max: usize,
    chunks: Box<[Bytes]>,
    /// The beginning of a frame whose end has not arrived.
    straddle: BytesMut,
}

impl FrameReader {
    /// Reads frames of at most `frame_bytes_max` bytes off `stream` of `connection`.
    pub fn new(connection: Connection, stream: RecvStream, frame_bytes_max: usize) -> FrameReader {
        let chunks = vec![Bytes::new(); CHUNKS_READ_MAX].into_boxed_slice();
        FrameReader { connection, stream, frame_bytes_max, chunks, straddle: BytesMut::new() }
    }

    /// Waits for data and calls `each` with the body of every frame that is complete. Dropping the
    /// future loses nothing.
    ///
    /// # Errors
    /// If the connection is lost. If a frame is over the limit, if `each` does not understand it,
    /// or if the stream ends within one: then the connection is closed with that reason.
    pub async fn read(
        &mut self,
        each: impl FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Result<Stream, NetError> {
        let count = match self.stream.read_chunks(&mut self.chunks).await {
            Ok(count) => count,
            Err(quinn::ReadError::ConnectionLost(e)) => return Err(e.into()),
            Err(e) => return Err(NetError::Lost(e.to_string())),
        };
        let result = match count {
            Some(count) => self.split(count, each).map(|()| Stream::Open),
            None if self.straddle.is_empty() => Ok(Stream::Closed),
            None => Err(Malformed("stream: ended within a frame")),
        };
        result.map_err(|malformed| {
            let reason = malformed.to_string();
            self.connection.close(close_code::MALFORMED.into(), reason.as_bytes());
            NetError::Malformed(malformed)
        })
    }

    fn split(
        &mut self,
        count: usize,
        mut each: impl FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        for chunk in &mut self.chunks[..count] {
            let chunk = std::mem::take(chunk);
            split_chunk(&mut self.straddle, &chunk, self.frame_bytes_max, &mut each)?;
        }
        Ok(())
    }
}

impl fmt::Debug for FrameReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameReader").field("stream", &self.stream.id()).finish_non_exhaustive()
    }
}

/// Calls `each` for the frames that are complete with `chunk`; only what straddles two chunks is
/// copied, as it arrives.
fn split_chunk(
    straddle: &mut BytesMut,
    mut chunk: &[u8],
    bytes_max: usize,
    each: &mut impl FnMut(&[u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    while !straddle.is_empty() && !chunk.is_empty() {
        let wanted = match straddle.first_chunk::<FRAME_HEADER_BYTES>() {
            None => FRAME_HEADER_BYTES,
            Some(header) => FRAME_HEADER_BYTES + u32::from_le_bytes(*header) as usize,
        };
        let taken = chunk.len().min(wanted - straddle.len());
        straddle.extend_from_slice(&chunk[..taken]);
        chunk = &chunk[taken..];
        if let Some(body) = first_frame(straddle, bytes_max)? {
            each(body)?;
            straddle.clear();
        }
    }
    while let Some(body) = first_frame(chunk, bytes_max)? {
        each(body)?;
        chunk = &chunk[FRAME_HEADER_BYTES + body.len()..];
    }
    if straddle.is_empty() && straddle.capacity() > STRADDLE_BYTES_KEPT {
        *straddle = BytesMut::new();
    }
    straddle.extend_from_slice(chunk);
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use proptest::prelude::*;

    use super::*;

    fn split_all(bytes: &[u8], cuts: &[usize]) -> Result<(Vec<Vec<u8>>, usize), Malformed> {
        let (mut straddle, mut bodies, mut start) = (BytesMut::new(), Vec::new(), 0);
        for &cut in cuts.iter().chain([&bytes.len()]) {
            let end = cut.clamp(start, bytes.len());
            split_chunk(&mut straddle, &bytes[start..end], 300, &mut |body| {
                bodies.push(body.to_vec());
                Ok(())
            })?;
            start = end;
        }
        Ok((bodies, straddle.len()))
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_wherever_the_chunks_are_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
            mut cuts in prop::collection::vec(0..3000usize, 0..60),
            missing in 0..8usize,
        ) {
            cuts.sort_unstable();
            let mut bytes = BytesMut::new();
            for body in &bodies {
                frame(&mut bytes, |out| out.put_slice(body));
            }
            prop_assert_eq!(split_all(&bytes, &cuts), Ok((bodies.clone(), 0)));

            let last = bodies.last().map_or(0, |body| FRAME_HEADER_BYTES + body.len());
            let missing = missing.min(last);
            let (whole, left) = split_all(&bytes[..bytes.len() - missing], &cuts).unwrap();
            prop_assert_eq!(whole.len(), bodies.len() - usize::from(missing > 0));
            prop_assert_eq!(left, if missing > 0 { last - missing } else { 0 });
        }

        #[test]
        fn a_length_over_the_limit_is_refused_wherever_the_chunks_are_cut(
            length in 301..u32::MAX,
            cuts in prop::collection::vec(0..8usize, 0..4),
        ) {
            let mut bytes = vec![1, 0, 0, 0, 9];
            bytes.extend(length.to_le_bytes());
            let refused = Malformed("frame: length over the limit");
            prop_assert_eq!(split_all(&bytes, &cuts), Err(refused));
        }
    }

    #[test]
    fn what_is_copied_grows_only_with_what_arrived() {
        let mut straddle = BytesMut::new();
        let header = (32u32 << 20).to_le_bytes();
        split_chunk(&mut straddle, &header, 32 << 20, &mut |_| Ok(())).unwrap();
        split_chunk(&mut straddle, &[0; 100], 32 << 20, &mut |_| Ok(())).unwrap();
        assert!(straddle.len() == 104 && straddle.capacity() < 1024);
    }
}
