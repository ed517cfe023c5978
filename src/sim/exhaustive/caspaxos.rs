//! The configurations of `caspaxos`: three acceptors, two of them proposers too, one register.

use std::hash::Hasher;
use std::time::Duration;

use super::{Configuration, Given, Modelled, Nudge, Setup, command};
use crate::check::invariants::caspaxos::CaspaxosInvariants;
use crate::command::NodeId;
use crate::protocol::Cluster;
use crate::protocol::caspaxos::message::CaspaxosMessage;
use crate::protocol::caspaxos::options::CaspaxosOptions;
use crate::protocol::caspaxos::{Caspaxos, CaspaxosTimer};

const P0: NodeId = NodeId(0);
const P1: NodeId = NodeId(1);

impl Modelled for Caspaxos {
    type Invariants = CaspaxosInvariants;

    fn configurations() -> Vec<Configuration<Self>> {
        vec![duel()]
    }

    /// To compare is to find out who lags.
    fn is_left_out(message: &CaspaxosMessage) -> bool {
        matches!(message, CaspaxosMessage::Compare { .. } | CaspaxosMessage::Digests { .. })
    }

    /// Nothing depends on what is one in memory.
    fn hash_sharing(&self, _: &mut impl Hasher) {}

    fn ignores_for_ever(&self, from: NodeId, message: &CaspaxosMessage) -> bool {
        Caspaxos::ignores_for_ever(self, from, message)
    }
}

fn duel() -> Configuration<Caspaxos> {
    let options = CaspaxosOptions { resend_ms: 0, collect_ms: 0, ..CaspaxosOptions::default() };
    let tries = |node| Nudge {
        name: "tries again",
        node,
        after: Duration::ZERO,
        inputs: vec![Given::Timer(CaspaxosTimer::Backoff)],
        times: 1,
    };
    Configuration {
        name: "duel".to_owned(),
        about: "two proposers change one register",
        setup: Setup { cluster: Cluster::of(3), options, slow_disks: Vec::new(), cut: Vec::new() },
        settled: true,
        asks: vec![(P0, command(0)), (P1, command(1))],
        nudges: vec![tries(P0), tries(P1)],
        crashes: Vec::new(),
        repetitions: 0,
        completes: false,
    }
}
