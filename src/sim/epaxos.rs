//! `epaxos` in the simulator.

use rand::RngExt;

use super::Subject;
use crate::check::invariants::epaxos::EpaxosInvariants;
use crate::command::NodeId;
use crate::load::seed::ClientRng;
use crate::protocol::epaxos::Epaxos;
use crate::protocol::epaxos::options::{
    Dependencies, EpaxosOptions, FastPath, QuorumChoice, ReplyAt,
};

impl Subject for Epaxos {
    const MODE: &'static str = "epaxos";

    const SIZES: [u8; 8] = [3, 3, 3, 5, 5, 5, 7, 9];

    const SPARES: &'static [u8] = &[0, 0, 0, 0, 0, 0, 1, 1, 2, 2];

    type Invariants = EpaxosInvariants;

    fn draw_options(size: u8, rng: &mut ClientRng) -> EpaxosOptions {
        let fast_path = match rng.random_range(0..if size <= 7 { 6 } else { 2 }) {
            0 => FastPath::Published,
            1 => FastPath::Simplified,
            2 => FastPath::DepsCommitted,
            3 => FastPath::AcceptDeps,
            _ => FastPath::FixedQuorum,
        };
        let explicit = fast_path.has_seq() || rng.random_bool(0.5);
        let one_of =
            |rng: &mut ClientRng, choices: &[usize]| choices[rng.random_range(0..choices.len())];
        EpaxosOptions {
            fast_path,
            thrifty: rng.random_bool(0.5),
            quorum: match rng.random_bool(0.5) {
                true => QuorumChoice::Nearest,
                false => QuorumChoice::Measured,
            },
            near: Vec::new(),
            dependencies: if explicit { Dependencies::Explicit } else { Dependencies::Prefix },
            reply: match fast_path.has_seq() && rng.random_bool(0.5) {
                true => ReplyAt::Committed,
                false => ReplyAt::Executed,
            },
            window: one_of(rng, &[1, 4, 256]),
            hold: rng.random_bool(0.7),
            batch: one_of(rng, &[1, 3, 4096]),
            heartbeat_ms: 20,
            suspect_ms: 200,
            fallback_ms: 60,
            recover_ms: 200,
            // Short logs, so that who lags is sent the state.
            log_instances_max: one_of(rng, &[3, 20, 65_536]),
            replaces: None,
        }
    }

    fn joining(options: EpaxosOptions, leaver: NodeId) -> EpaxosOptions {
        EpaxosOptions { replaces: Some(leaver), ..options }
    }
}
