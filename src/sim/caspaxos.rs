//! `caspaxos` in the simulator.

use rand::RngExt;

use super::Subject;
use crate::check::invariants::caspaxos::CaspaxosInvariants;
use crate::command::NodeId;
use crate::load::plan::Retries;
use crate::load::seed::ClientRng;
use crate::protocol::caspaxos::Caspaxos;
use crate::protocol::caspaxos::options::{CaspaxosOptions, Reads};
use crate::protocol::quorum::majority;

impl Subject for Caspaxos {
    const MODE: &'static str = "caspaxos";

    const SIZES: [u8; 8] = [3, 3, 3, 5, 4, 4, 7, 1];

    const SPARES: &'static [u8] = &[0, 0, 0, 0, 0, 0, 1, 1, 2, 2];

    const MEMBERS_CHANGE: bool = true;

    const TRANSFERS: bool = false;

    const RETRIES: Retries = Retries::SameReplica;

    type Invariants = CaspaxosInvariants;

    fn draw_options(size: u8, rng: &mut ClientRng) -> CaspaxosOptions {
        let one_of =
            |rng: &mut ClientRng, choices: &[usize]| choices[rng.random_range(0..choices.len())];
        // Any sizes that intersect, and still are there when a minority is gone.
        let usual = majority(usize::from(size)) as u8;
        let (prepare, accept) = match rng.random_range(0..3) {
            0 => (usual, size + 1 - usual),
            1 => (size + 1 - usual, usual),
            _ => (0, 0),
        };
        CaspaxosOptions {
            prepare,
            accept,
            one_round_trip: rng.random_bool(0.8),
            reads: if rng.random_bool(0.4) { Reads::Clean } else { Reads::Change },
            batch: one_of(rng, &[1, 3, 4096]),
            resend_ms: 100,
            backoff_max_ms: 300,
            repair_ms: 100,
            collect_ms: one_of(rng, &[0, 60, 200]) as u64,
            replaces: None,
            forward_after: one_of(rng, &[0, 0, 1, 2, 3]) as u8,
        }
    }

    fn joining(options: CaspaxosOptions, leaver: NodeId) -> CaspaxosOptions {
        CaspaxosOptions { replaces: Some(leaver), ..options }
    }
}
