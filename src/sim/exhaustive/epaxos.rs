//! The configurations of `epaxos`: three replicas.

use std::hash::Hasher;

use super::{Configuration, Modelled, Setup};
use crate::check::invariants::epaxos::EpaxosInvariants;
use crate::command::{ClientId, Command, CommandId, Key, NodeId, Operation, Value};
use crate::protocol::Cluster;
use crate::protocol::epaxos::Epaxos;
use crate::protocol::epaxos::message::EpaxosMessage;
use crate::protocol::epaxos::options::{EpaxosOptions, FastPath};

const SIZE: u8 = 3;

impl Modelled for Epaxos {
    type Invariants = EpaxosInvariants;

    fn configurations() -> Vec<Configuration<Self>> {
        vec![conflict(FastPath::FixedQuorum), conflict(FastPath::Published)]
    }

    /// Heartbeats say that their sender is up, and how far it is. The nudges say the first.
    fn is_left_out(message: &EpaxosMessage) -> bool {
        matches!(message, EpaxosMessage::Heartbeat { .. } | EpaxosMessage::HeartbeatOk { .. })
    }

    fn hash_sharing(&self, _: &mut impl Hasher) {}

    fn ignores_for_ever(&self, _: NodeId, _: &EpaxosMessage) -> bool {
        false
    }
}

fn conflict(fast_path: FastPath) -> Configuration<Epaxos> {
    let options = EpaxosOptions { fast_path, ..EpaxosOptions::default() };
    let cluster = Cluster { size: SIZE };
    Configuration {
        name: format!("conflict-{fast_path:?}").to_lowercase(),
        about: "two interfering commands at two replicas, no failure",
        setup: Setup { cluster, options, slow_disks: Vec::new(), cut: Vec::new() },
        settled: true,
        asks: vec![(NodeId(0), command(0)), (NodeId(1), command(1))],
        nudges: Vec::new(),
        crashes: Vec::new(),
        repetitions: 0,
        completes: true,
    }
}

/// A client's only command. Any two interfere.
fn command(client: u64) -> Command {
    let value = Value::from_slice(&client.to_le_bytes());
    Command {
        id: CommandId { client: ClientId(client), sequence: 0 },
        answered_below: 0,
        operation: Operation::Rmw { key: Key::register(0), value },
    }
}
