//! What is fuzzed: each function takes any bytes, and panics exactly if a decoder is wrong.
//!
//! A decoder must refuse or understand its bytes without a panic, and what it understood must read
//! back as itself once it is written again.

use std::fmt::Debug;

use bytes::BytesMut;
use paxbench::command::{Command, NodeId};
use paxbench::protocol::epaxos::message::EpaxosMessage;
use paxbench::protocol::multicoordinated::message::MulticoordinatedMessage;
use paxbench::protocol::paxos::message::PaxosMessage;
use paxbench::protocol::paxos::{Paxos, PaxosOptions};
use paxbench::protocol::{Cluster, Effects, Input, Protocol, Time};
use paxbench::wire::{Reader, Reply, Wire, decode_store, encode_store};

fn reads_back<T: Wire + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let read = T::decode_whole(bytes).ok()?;
    let mut written = BytesMut::new();
    read.encode(&mut written);
    assert_eq!(T::decode_whole(&written).as_ref(), Ok(&read));
    Some(read)
}

/// A message between replicas of `paxos`; one that decodes is also taken by a leader and by a follower.
pub fn peer_message(bytes: &[u8]) {
    let Some(message) = reads_back::<PaxosMessage>(bytes) else { return };
    for me in [NodeId(0), NodeId(2)] {
        let cluster = Cluster::of(3);
        let log = std::iter::empty();
        let mut core = Paxos::recover(me, cluster, PaxosOptions::default(), log);
        let mut effects = Effects::default();
        core.step(Time(0), Input::Started, &mut effects);
        core.step(Time(0), Input::Durable(effects.last_write()), &mut effects);
        for time in [1, 2] {
            let (from, message) = (NodeId(1), message.clone());
            core.step(Time(time), Input::Message { from, message }, &mut effects);
            core.step(Time(time), Input::TurnEnded, &mut effects);
        }
    }
}

/// A message between replicas of `epaxos`; one that decodes is judged and shown.
pub fn epaxos_message(bytes: &[u8]) {
    let Some(message) = reads_back::<EpaxosMessage>(bytes) else { return };
    for size in [3, 9] {
        message.is_plausible(NodeId(1), size);
    }
    assert!(!message.to_string().contains('\n'));
}

/// A message between replicas of `multicoordinated`; one that decodes is judged and shown.
pub fn multicoordinated_message(bytes: &[u8]) {
    let Some(message) = reads_back::<MulticoordinatedMessage>(bytes) else { return };
    for size in [3, 9] {
        message.is_plausible(NodeId(1), size);
    }
    assert!(!message.to_string().contains('\n'));
}

/// A client's command.
pub fn command(bytes: &[u8]) {
    reads_back::<Command>(bytes);
}

/// A replica's answer to a client.
pub fn reply(bytes: &[u8]) {
    reads_back::<Reply>(bytes);
}

/// The replicated state, as state transfer delivers it.
pub fn store_state(bytes: &[u8]) {
    let Ok(store) = decode_store(&mut Reader::new(bytes)) else { return };
    let mut written = BytesMut::new();
    encode_store(&store, &mut written);
    assert_eq!(decode_store(&mut Reader::new(&written)), Ok(store));
}
