//! `multicoordinated` in the simulator.

use rand::RngExt;

use super::Subject;
use crate::check::invariants::multicoordinated::MulticoordinatedInvariants;
use crate::load::seed::ClientRng;
use crate::protocol::multicoordinated::Multicoordinated;
use crate::protocol::multicoordinated::options::{
    MulticoordinatedOptions, Recovery, Rounds, Structure,
};

impl Subject for Multicoordinated {
    const MODE: &'static str = "multicoordinated";

    const SIZES: [u8; 8] = [3, 3, 3, 5, 5, 4, 7, 1];

    type Invariants = MulticoordinatedInvariants;

    fn draw_options(size: u8, rng: &mut ClientRng) -> MulticoordinatedOptions {
        let one_of =
            |rng: &mut ClientRng, choices: &[u64]| choices[rng.random_range(0..choices.len())];
        let rounds = match rng.random_range(0..5) {
            0 | 1 => Rounds::Fast,
            2 | 3 => Rounds::Multi,
            _ => Rounds::Single,
        };
        let recovery = match rng.random_range(0..4) {
            0 => Recovery::Leader,
            1 | 2 if rounds == Rounds::Fast => Recovery::Uncoordinated,
            _ => Recovery::Coordinated,
        };
        // Three coordinators of five, as in the paper's example; or all.
        let some = rounds == Rounds::Multi && size > 3 && rng.random_bool(0.5);
        let coordinators = if some { (0..3).collect() } else { Vec::new() };
        // Classic quorums that are there when a minority is gone; fast ones need not be.
        let fast = if rng.random_bool(0.3) { size } else { 0 };
        MulticoordinatedOptions {
            rounds,
            leader: rng.random_range(0..size),
            coordinators,
            classic: 0,
            fast,
            balance: rounds != Rounds::Single && rng.random_bool(0.3),
            recovery,
            shrink: rounds == Rounds::Multi && rng.random_bool(0.5),
            structure: match rng.random_bool(0.8) {
                true => Structure::History,
                false => Structure::Sequence,
            },
            // Short instances, so that many are closed, and who lags is sent the state.
            checkpoint: one_of(rng, &[3, 10, 30, 65_536]) as usize,
            return_after_ms: one_of(rng, &[10, 50, 300]),
            fallback_ms: 100,
            runs_max: one_of(rng, &[5, 20, 8192]) as usize,
            heartbeat_ms: 20,
            election_timeout_ms: 200,
        }
    }
}
