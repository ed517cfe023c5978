//! The models are as large as they are known to be, and the alarm rings for what is broken.

mod broken;

use self::broken::{
    Broken, COUNTS_TWICE, FORGETS, FORGETS_PROMISES, How, IGNORES_ALL, KEEPS_DECISIONS, PANICS,
    REFUSES_STATE, SENDS_AT_ONCE,
};
use super::*;
use crate::mutants::{Mutant, with};
use crate::protocol::caspaxos::Caspaxos;
use crate::protocol::epaxos::Epaxos;
use crate::protocol::multicoordinated::Multicoordinated;
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
fn are_exhausted_and_as_large_as_ever<P: Modelled>(pinned: &[Size]) {
    let found = pinned.iter().map(|(name, ..)| {
        let outcome = exhaust(&configuration::<P>(name), LIMITS);
        let Outcome { states, transitions, depth, verdict } = outcome;
        assert_eq!(verdict, Verdict::Exhausted, "{name}");
        (*name, states, transitions, depth)
    });
    let changed: Vec<Size> = found.filter(|size| !pinned.contains(size)).collect();
    assert!(changed.is_empty(), "of other sizes: {changed:#?}");
}

#[test]
fn the_models_of_paxos_are_exhausted_and_have_as_many_states_as_ever() {
    are_exhausted_and_as_large_as_ever::<Paxos>(&PAXOS);
}

#[test]
fn the_models_of_epaxos_are_exhausted_and_have_as_many_states_as_ever() {
    are_exhausted_and_as_large_as_ever::<Epaxos>(&EPAXOS);
}

#[test]
fn the_models_of_caspaxos_are_exhausted_and_have_as_many_states_as_ever() {
    are_exhausted_and_as_large_as_ever::<Caspaxos>(&CASPAXOS);
}

#[test]
fn the_models_of_multicoordinated_are_exhausted_and_have_as_many_states_as_ever() {
    are_exhausted_and_as_large_as_ever::<Multicoordinated>(&MULTICOORDINATED);
}

/// Name, states, transitions, depth.
type Size = (&'static str, usize, u64, usize);

/// All but `duel-multi`, which takes too long for a test.
const PAXOS: [Size; 16] = [
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
    ("takeover-multi", 110_328, 317_415, 20),
    ("leader-crashes-multi", 245_954, 783_365, 22),
    ("follower-crashes-multi", 233_010, 758_281, 21),
    ("repetition-multi", 21_287, 88_664, 13),
    ("state-transfer-multi", 1_119, 2_705, 13),
];

/// All but `late-published` and those of `all-recovery`, which take too long for a test.
const EPAXOS: [Size; 62] = [
    ("conflict-published", 129, 239, 14),
    ("cycle-published", 7_230, 18_573, 21),
    ("recovery-published", 996, 2_040, 21),
    ("duel-published", 26_807, 87_055, 24),
    ("rivals-published", 8_991, 20_694, 25),
    ("restart-published", 4_018, 9_683, 24),
    ("return-published", 7_020, 19_188, 22),
    ("voter-published", 8_272, 21_516, 22),
    ("remake-published", 9_038, 20_776, 24),
    ("conflict-fixed-quorum", 113, 209, 10),
    ("cycle-fixed-quorum", 5_194, 13_251, 15),
    ("recovery-fixed-quorum", 872, 1_785, 18),
    ("duel-fixed-quorum", 26_807, 87_055, 24),
    ("rivals-fixed-quorum", 12_100, 28_615, 25),
    ("restart-fixed-quorum", 4_018, 9_683, 24),
    ("return-fixed-quorum", 7_122, 19_417, 22),
    ("voter-fixed-quorum", 8_272, 21_516, 22),
    ("remake-fixed-quorum", 9_038, 20_776, 24),
    ("conflict-deps-committed", 169, 316, 12),
    ("cycle-deps-committed", 20_169, 53_484, 21),
    ("recovery-deps-committed", 1_449, 3_013, 21),
    ("duel-deps-committed", 26_807, 87_055, 24),
    ("rivals-deps-committed", 30_474, 77_261, 27),
    ("restart-deps-committed", 4_018, 9_683, 24),
    ("return-deps-committed", 7_122, 19_417, 22),
    ("voter-deps-committed", 8_272, 21_516, 22),
    ("remake-deps-committed", 9_038, 20_776, 24),
    ("conflict-accept-deps", 113, 209, 10),
    ("cycle-accept-deps", 7_258, 19_005, 15),
    ("recovery-accept-deps", 991, 1_971, 18),
    ("duel-accept-deps", 36_781, 116_211, 24),
    ("rivals-accept-deps", 21_068, 47_073, 25),
    ("restart-accept-deps", 5_522, 13_587, 24),
    ("return-accept-deps", 10_334, 32_282, 22),
    ("voter-accept-deps", 12_099, 34_167, 22),
    ("remake-accept-deps", 14_825, 38_075, 24),
    ("conflict-simplified", 129, 239, 14),
    ("cycle-simplified", 12_993, 34_236, 21),
    ("recovery-simplified", 1_050, 2_131, 21),
    ("duel-simplified", 16_936, 56_038, 22),
    ("rivals-simplified", 7_420, 16_539, 23),
    ("restart-simplified", 2_997, 7_138, 22),
    ("return-simplified", 7_020, 19_188, 22),
    ("voter-simplified", 4_299, 11_048, 19),
    ("remake-simplified", 6_410, 15_373, 22),
    ("all-conflict-published", 2_426, 6_580, 16),
    ("pre-conflict-published", 129, 239, 14),
    ("pre-recovery-published", 1_008, 2_056, 21),
    ("rep-conflict-published", 561, 1_499, 14),
    ("rep-recovery-published", 6_751, 18_942, 23),
    ("join-published", 7_879, 22_716, 20),
    ("leave-published", 16_193, 55_224, 26),
    ("late-fixed-quorum", 117_167, 426_853, 26),
    ("all-conflict-fixed-quorum", 1_499, 3_980, 12),
    ("pre-conflict-fixed-quorum", 113, 209, 10),
    ("pre-recovery-fixed-quorum", 884, 1_801, 18),
    ("rep-conflict-fixed-quorum", 435, 1_185, 10),
    ("rep-recovery-fixed-quorum", 5_427, 15_360, 19),
    ("join-fixed-quorum", 7_879, 22_716, 20),
    ("leave-fixed-quorum", 14_501, 48_596, 24),
    ("quit-fixed-quorum", 473_229, 1_440_023, 21),
    ("orphan-fixed-quorum", 366_261, 1_521_472, 32),
];

/// All but `duel-both`, `plain-duel-both`, `unknown-all`, `proposer-crashes-all`, `back` and `replace-one-of-two`,
/// which take too long for a test.
const CASPAXOS: [Size; 28] = [
    ("solo", 533, 1_364, 11),
    ("duel", 201_658, 884_959, 25),
    ("plain-duel", 83_999, 376_539, 24),
    ("again", 17_730, 71_185, 18),
    ("repeated", 43_681, 200_648, 17),
    ("promised", 368_075, 1_740_268, 26),
    ("unknown", 438_587, 1_502_280, 26),
    ("lost", 3_295, 8_218, 18),
    ("proposer-crashes", 20_948, 60_508, 21),
    ("reborn", 202_553, 447_976, 22),
    ("acceptor-crashes", 72_477, 268_943, 21),
    ("removal", 1_000, 2_948, 16),
    ("removal-raced", 50_421, 183_629, 21),
    ("removal-late", 30_776, 84_826, 22),
    ("revival", 35_412, 139_428, 23),
    ("oblivion", 21_943, 50_502, 25),
    ("read", 9_244, 35_214, 23),
    ("reads", 9_377, 29_108, 24),
    ("read-all", 478, 1_234, 14),
    ("copies", 135_370, 584_143, 19),
    ("forward", 3_809, 10_993, 17),
    ("forward-twice", 10_500, 35_354, 16),
    ("forward-crashes", 275_931, 661_437, 24),
    ("join", 15_575, 46_289, 22),
    ("replace", 1_604, 2_864, 20),
    ("replaced", 4_187, 8_999, 22),
    ("replace-both", 70_786, 165_185, 27),
    ("rejoin", 4_975, 13_087, 20),
];

/// All but `acceptor-crashes-single`, `leader-crashes-single`, `check-both-single`, `conflict-multi`, `check-multi`,
/// `takeover-multi`, `anew-multi`, `repeated-both-multi`, `acceptor-crashes-multi`, `leader-crashes-fast`, `silent-fast`,
/// `collision-of-three` and `balance-multi`, which take too long for a test.
const MULTICOORDINATED: [Size; 33] = [
    ("solo-single", 197, 645, 11),
    ("conflict-single", 1_079, 3_331, 13),
    ("check-single", 8_285, 36_518, 15),
    ("takeover-single", 158_925, 922_216, 29),
    ("takeover-both-single", 1_282, 4_354, 16),
    ("duel-single", 116_650, 583_878, 27),
    ("anew-single", 1_011, 3_177, 15),
    ("repeated-single", 1_177, 4_187, 11),
    ("repeated-both-single", 7_950, 25_762, 14),
    ("solo-multi", 2_402, 11_967, 15),
    ("takeover-both-multi", 45_446, 180_243, 22),
    ("duel-multi", 341_229, 1_645_986, 32),
    ("repeated-multi", 22_036, 117_465, 15),
    ("leader-crashes-multi", 43_737, 165_923, 24),
    ("solo-fast", 101, 301, 9),
    ("conflict-fast", 487, 1_166, 10),
    ("check-fast", 3_592, 12_894, 18),
    ("takeover-fast", 44_811, 194_012, 32),
    ("takeover-both-fast", 3_122, 8_573, 19),
    ("duel-fast", 182_731, 843_462, 31),
    ("anew-fast", 70_586, 307_825, 25),
    ("repeated-fast", 521, 1_731, 9),
    ("repeated-both-fast", 2_959, 7_440, 11),
    ("acceptor-crashes-fast", 283_370, 1_097_025, 31),
    ("collision-multi", 59_953, 248_960, 20),
    ("collision-leader", 207_184, 1_088_345, 21),
    ("leader-fast", 32_729, 111_539, 22),
    ("uncoordinated-fast", 70_529, 285_812, 22),
    ("read-fast", 487, 1_166, 10),
    ("replaced-multi", 42_980, 169_237, 23),
    ("late-multi", 75_974, 436_028, 22),
    ("coordinator-crashes", 1_142, 4_019, 13),
    ("coordinator-crashes-both", 28_960, 112_891, 18),
];

#[test]
fn a_model_that_is_larger_than_the_limit_is_not_exhausted() {
    let outcome = exhaust(&configuration::<Paxos>("stable-multi"), Limits { states_max: 1000 });
    assert_eq!(outcome.verdict, Verdict::Unfinished);
    assert!(outcome.states > 1000, "{outcome:?}");
}

#[test]
fn every_configuration_has_a_name_of_its_own() {
    fn have_distinct_names<P: Modelled>() {
        let mut names: Vec<_> = P::configurations().into_iter().map(|one| one.name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
    have_distinct_names::<Paxos>();
    have_distinct_names::<Epaxos>();
    have_distinct_names::<Caspaxos>();
    have_distinct_names::<Multicoordinated>();
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

#[test]
fn a_recoverer_that_is_told_a_wrong_ballot_of_a_vote_is_noticed() {
    let duel = configuration::<Epaxos>("duel-fixed-quorum");
    let Verdict::Violated { violation, path } =
        with(Mutant::SingleBallot, || exhaust(&duel, LIMITS)).verdict
    else {
        panic!("nothing was noticed");
    };
    assert_eq!((violation.invariant, path.len()), ("votes are told as they are", 4), "{path:#?}");
}

/// With three replicas nothing wrong is decided without this rule, and nothing stays undecided for want of
/// it: what is left to find out otherwise takes other steps, and that alone tells.
#[test]
fn a_recoverer_that_does_not_heed_the_owner_takes_other_steps() {
    let (name, states, ..) = EPAXOS[0];
    assert_eq!(name, "conflict-published");
    let size = |name| {
        let configuration = configuration::<Epaxos>(name);
        with(Mutant::OwnerIgnoredInRecovery, || exhaust(&configuration, LIMITS)).states
    };
    assert_eq!(size(name), states, "nobody recovers");
    for (name, states, ..) in EPAXOS.iter().filter(|(name, ..)| name.starts_with("duel")) {
        assert_ne!(size(name), *states, "{name}");
    }
}

/// What an owner of three waits for are the votes that its rule counts: those for what it proposed itself.
#[test]
fn the_simplified_fast_path_of_three_is_given_up_without_a_timer() {
    let outcome = exhaust(&configuration::<Epaxos>("conflict-simplified"), LIMITS);
    assert_eq!(outcome.verdict, Verdict::Exhausted, "all that was asked takes effect");
}

const LINEARIZABILITY: &str = "linearizability";
const DESCENT: &str = "later states descend from what was chosen";
const RISING: &str = "promises only rise";

/// A rule of `caspaxos`, a configuration that is wrong without it, and what is noticed there first.
const BROKEN_RULES: [(Mutant, &str, &str); 29] = [
    (Mutant::OneAcceptedIsEnough, "duel", LINEARIZABILITY),
    (Mutant::RetryAppliedAgain, "duel", LINEARIZABILITY),
    (Mutant::RetryAppliedAgain, "lost", LINEARIZABILITY),
    (Mutant::PromiseIgnoredByPrepare, "duel", RISING),
    (Mutant::PromiseIgnoredByAccept, "duel", DESCENT),
    (Mutant::OnePromiseIsEnough, "duel", DESCENT),
    (Mutant::LowestBallotWins, "duel", DESCENT),
    (Mutant::RetriedCommandBegunAgain, "again", "agreement on outcomes"),
    (Mutant::NextNotPromised, "unknown", DESCENT),
    (Mutant::PromiseUsedTwice, "unknown", "one value per ballot"),
    (Mutant::AcceptorPromisesForgotten, "acceptor-crashes", DESCENT),
    (Mutant::CountersForgotten, "reborn", "one value per ballot"),
    (Mutant::FloorNotAsked, "removal", DESCENT),
    (Mutant::FloorNotRaised, "removal", DESCENT),
    (Mutant::RemovedWithoutFullQuorum, "removal", DESCENT),
    (Mutant::OldCopiesTaken, "revival", DESCENT),
    (Mutant::ReadNeedNotAgree, "reads", LINEARIZABILITY),
    (Mutant::ReadAsksTooFew, "read-all", LINEARIZABILITY),
    (Mutant::NextNotPromisedForCopies, "copies", DESCENT),
    (Mutant::PromiseErasedTooEarly, "copies", RISING),
    (Mutant::ForwardTakenTwice, "forward-twice", "agreement on outcomes"),
    (Mutant::ForgottenForwardFreed, "forward-crashes", LINEARIZABILITY),
    (Mutant::PreparesAskNewMembers, "replaced", DESCENT),
    (Mutant::AcceptsSkipOldMembers, "replace", DESCENT),
    (Mutant::AcceptsSkipNewMembers, "duel", LINEARIZABILITY),
    (Mutant::RescanAsksTooFew, "replace", LINEARIZABILITY),
    (Mutant::SettledWithoutRescan, "back", LINEARIZABILITY),
    (Mutant::OldEpochsAccepted, "back", DESCENT),
    (Mutant::StaleRegistersKept, "rejoin", DESCENT),
];

/// What each of these mutants is noticed by, in its configuration.
fn are_noticed<P: Modelled>(broken: &[(Mutant, &str, &str)]) {
    let differs = broken.iter().filter_map(|(mutant, name, noticed)| {
        let configuration = configuration::<P>(name);
        match with(*mutant, || exhaust(&configuration, LIMITS)).verdict {
            Verdict::Violated { violation, .. } if violation.invariant == *noticed => None,
            verdict => Some(format!("{} in {name}: {verdict:?}", mutant.name())),
        }
    });
    let differs: Vec<String> = differs.collect();
    assert!(differs.is_empty(), "{differs:#?}");
}

#[test]
fn a_rule_of_caspaxos_that_is_broken_is_noticed() {
    are_noticed::<Caspaxos>(&BROKEN_RULES);
}

const CHOSEN: &str = "learned values are chosen";
const DURABLE: &str = "durable before told";
const MCOUNT: &str = "MCount rises";
const OF_THIS_LIFE: &str = "rounds of this life";
const SAFE_PICKS: &str = "picked values are safe";
const TRIED: &str = "accepted values were tried";

/// The same of `multicoordinated`.
const BROKEN_RULES_OF_ROUNDS: [(Mutant, &str, &str); 23] = [
    (Mutant::OneCoordinatorIsEnough, "collision-multi", TRIED),
    (Mutant::FastRoundLearnedTooEarly, "conflict-fast", CHOSEN),
    (Mutant::LearnedFromTooFew, "solo-single", CHOSEN),
    (Mutant::OnePromiseTooFew, "check-single", ASSERTIONS),
    (Mutant::IntersectionTooLarge, "check-single", SAFE_PICKS),
    (Mutant::LowestVoteCounts, "duel-single", SAFE_PICKS),
    (Mutant::PickNotMarked, "check-fast", SAFE_PICKS),
    (Mutant::PartOfThePickAccepted, "check-both-single", "accepted values are safe"),
    (Mutant::VrndNotUpdated, "solo-single", OF_THIS_LIFE),
    (Mutant::LowRoundJoined, "acceptor-crashes-single", OF_THIS_LIFE),
    (Mutant::LowRoundAccepted, "duel-multi", "promises are kept"),
    (Mutant::DeferredDespitePromise, "balance-multi", "promises are kept"),
    (Mutant::PredecessorsIgnored, "collision-multi", TRIED),
    (Mutant::WritesUnordered, "collision-multi", TRIED),
    (Mutant::ReadsUnordered, "read-fast", CHOSEN),
    (Mutant::DuplicatesForwarded, "check-multi", "one value per coordinator"),
    (Mutant::RoundKeptWithoutQuorum, "silent-fast", "termination"),
    (Mutant::AcceptedBeforeDurable, "solo-single", DURABLE),
    (Mutant::OwnVoteBeforeDurable, "duel-single", CHOSEN),
    (Mutant::ProposedBeforeBirth, "leader-crashes-fast", "names are of this life"),
    (Mutant::MajorNotRaised, "solo-single", MCOUNT),
    (Mutant::MajorForgotten, "acceptor-crashes-single", MCOUNT),
    (Mutant::VotesForgotten, "acceptor-crashes-fast", "votes are told as they are"),
];

#[test]
fn a_rule_of_multicoordinated_that_is_broken_is_noticed() {
    are_noticed::<Multicoordinated>(&BROKEN_RULES_OF_ROUNDS);
}

/// Without these rules nothing wrong is decided here; a collision that is ignored is got over by a timer. But other steps
/// are taken, and that tells.
#[test]
fn a_rule_of_multicoordinated_that_only_saves_time_is_noticed_by_other_steps() {
    for (mutant, name) in [
        (Mutant::CollisionIgnored, "collision-multi"),
        (Mutant::VotesOfThisRoundPicked, "late-multi"),
    ] {
        let (_, states, ..) = MULTICOORDINATED.iter().find(|size| size.0 == name).unwrap();
        let configuration = configuration::<Multicoordinated>(name);
        let outcome = with(mutant, || exhaust(&configuration, LIMITS));
        assert_eq!(outcome.verdict, Verdict::Exhausted, "{name}");
        assert_ne!(outcome.states, *states, "{name}");
    }
}

/// The alarm of [`Configuration::completes`], where processes execute nothing.
#[test]
fn a_change_that_is_never_answered_is_noticed() {
    let mut solo = configuration::<Caspaxos>("solo");
    solo.setup.cut.push((NodeId(1), NodeId(0)));
    solo.setup.cut.push((NodeId(2), NodeId(0)));
    let Verdict::Violated { violation, .. } = exhaust(&solo, LIMITS).verdict else {
        panic!("nothing was noticed");
    };
    assert_eq!(violation.invariant, "termination");
}
