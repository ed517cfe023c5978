//! The models are as large as they are known to be, and the alarm rings for what is broken.

mod broken;

use self::broken::{
    Broken, COUNTS_TWICE, FORGETS, FORGETS_PROMISES, How, IGNORES_ALL, KEEPS_DECISIONS, PANICS,
    REFUSES_STATE, SENDS_AT_ONCE,
};
use super::*;
use crate::protocol::paxos::Paxos;
use crate::sim::caught::ASSERTIONS;

const LIMITS: Limits = Limits { states_max: 1_000_000 };

fn configuration<P: Modelled>(name: &str) -> Configuration<P> {
    report::chosen(Some(name)).unwrap().pop().unwrap()
}

/// What a faulty process comes to: which invariant it breaks, and on what way.
fn broken<const HOW: How>(name: &str) -> (&'static str, Vec<String>) {
    match exhaust(&configuration::<Broken<HOW>>(name), LIMITS).verdict {
        Verdict::Violated { violation, path } => (violation.invariant, path),
        verdict => panic!("nothing was noticed: {verdict:?}"),
    }
}

/// Every one of these numbers is that of a whole model. One that changes says that the protocol takes
/// other steps than before, or that the model allows others: find out which, then write it down.
#[test]
fn the_models_are_exhausted_and_have_as_many_states_as_ever() {
    for (name, states, transitions, depth) in PINNED {
        let outcome = exhaust(&configuration::<Paxos>(name), LIMITS);
        let expected = Outcome { states, transitions, depth, verdict: Verdict::Exhausted };
        assert_eq!(outcome, expected, "{name}");
    }
}

/// Name, states, transitions, depth.
type Size = (&'static str, usize, u64, usize);

/// All but `duel-multi`, which takes too long for a test.
const PINNED: [Size; 16] = [
    ("stable-regular", 80_530, 198_350, 19),
    ("takeover-regular", 33_985, 89_178, 31),
    ("duel-regular", 1_273, 2_052, 27),
    ("leader-crashes-regular", 1_307, 2_585, 29),
    ("follower-crashes-regular", 3_809, 6_519, 30),
    ("stable-fall", 2_374, 5_210, 13),
    ("takeover-fall", 26_851, 67_823, 20),
    ("duel-fall", 310, 466, 22),
    ("leader-crashes-fall", 939, 1_964, 22),
    ("follower-crashes-fall", 2_355, 4_268, 24),
    ("stable-multi", 1_462, 3_558, 13),
    ("takeover-multi", 111_268, 318_725, 20),
    ("leader-crashes-multi", 245_954, 783_365, 22),
    ("follower-crashes-multi", 234_506, 760_895, 21),
    ("repetition-multi", 21_287, 88_664, 13),
    ("state-transfer-multi", 1_119, 2_705, 13),
];

#[test]
fn a_model_that_is_larger_than_the_limit_is_not_exhausted() {
    let outcome = exhaust(&configuration::<Paxos>("stable-multi"), Limits { states_max: 1000 });
    assert_eq!(outcome.verdict, Verdict::Unfinished);
    assert!(outcome.states > 1000, "{outcome:?}");
}

#[test]
fn every_configuration_has_a_name_of_its_own() {
    let mut names: Vec<_> = Paxos::configurations().into_iter().map(|one| one.name).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn an_acknowledgement_that_leaves_before_its_record_is_durable_is_noticed() {
    let (invariant, path) = broken::<SENDS_AT_ONCE>("leader-crashes-multi");
    assert_eq!((invariant, path.len()), ("durable before acknowledged", 2), "{path:#?}");
}

#[test]
fn a_process_that_forgets_its_log_is_noticed() {
    let (invariant, path) = broken::<FORGETS>("leader-crashes-multi");
    assert_eq!((invariant, path.len()), ("incarnations are new", 2), "{path:#?}");
}

#[test]
fn a_process_that_forgets_its_promises_is_noticed() {
    let (invariant, path) = broken::<FORGETS_PROMISES>("follower-crashes-multi");
    assert_eq!((invariant, path.len()), ("read-write-commit", 6), "{path:#?}");
}

#[test]
fn an_answer_that_counts_twice_is_noticed() {
    let (invariant, path) = broken::<COUNTS_TWICE>("leader-crashes-multi");
    assert_eq!((invariant, path.len()), ("quorum intersection", 3), "{path:#?}");
}

#[test]
fn a_core_that_gives_up_is_noticed() {
    let (invariant, path) = broken::<PANICS>("takeover-multi");
    assert_eq!(invariant, ASSERTIONS);
    assert!(path.last().is_some_and(|last| last.contains("nack")), "{path:#?}");
}

#[test]
fn a_decision_that_nobody_hears_of_is_noticed() {
    let (invariant, path) = broken::<KEEPS_DECISIONS>("stable-multi");
    assert_eq!((invariant, path.len()), ("durability", 9), "{path:#?}");
}

#[test]
fn a_message_that_is_not_ignored_though_its_receiver_said_so_is_noticed() {
    let (invariant, path) = broken::<IGNORES_ALL>("stable-multi");
    assert_eq!((invariant, path.len()), ("what is ignored is ignored", 0), "{path:#?}");
}

#[test]
fn a_process_that_is_sent_the_state_takes_it_in() {
    let (invariant, path) = broken::<{ REFUSES_STATE }>("state-transfer-multi");
    assert_eq!(invariant, ASSERTIONS);
    assert!(path.last().is_some_and(|last| last.contains("state")), "{path:#?}");
}

#[test]
fn a_way_to_a_violation_reads_as_what_happened() {
    let (_, path) = broken::<COUNTS_TWICE>("leader-crashes-multi");
    let expected = [
        "p0: client 0 asks",
        "p0 → p1: write(k4, i0, {p0.1.0 [c0.0 rmw k0]})",
        "p1 → p0: ack_write(k4, i0, permission)",
    ];
    assert_eq!(path, expected);
}
