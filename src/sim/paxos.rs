//! `paxos` in the simulator.

use rand::RngExt;

use super::Subject;
use crate::check::invariants::paxos::PaxosInvariants;
use crate::load::seed::ClientRng;
use crate::protocol::paxos::{Paxos, PaxosOptions, Variant};

impl Subject for Paxos {
    const MODE: &'static str = "paxos";

    const SIZES: [u8; 8] = [3, 3, 3, 5, 5, 4, 7, 1];

    type Invariants = PaxosInvariants;

    fn draw_options(size: u8, rng: &mut ClientRng) -> PaxosOptions {
        let variant = match rng.random_range(0..3) {
            0 => Variant::Regular,
            1 => Variant::Fall,
            _ => Variant::Multi,
        };
        let one_of =
            |rng: &mut ClientRng, choices: &[usize]| choices[rng.random_range(0..choices.len())];
        PaxosOptions {
            variant,
            leader: rng.random_range(0..size),
            pipeline: one_of(rng, &[1, 2, 8, 256]),
            batch: one_of(rng, &[1, 3, 4096]),
            heartbeat_ms: 20,
            election_timeout_ms: 200,
            retransmit_ms: 100,
            // Short logs, so that who lags is sent the state.
            log_instances_max: one_of(rng, &[3, 20, 65_536]),
        }
    }
}
