//! The simulator's findings, and whether it would find anything: all seeds of continuous integration
//! are clean, every mutant dies, and a failure is told, repeated and shrunk as promised.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use clap::ValueEnum;

use super::Subject;
use super::caught::{ASSERTIONS, caught};
use super::explore::{Exploration, Explored, canary, explore, judge};
use super::faults::FaultClass;
use super::hunt::{Hunt, table};
use super::scenario::Scenario;
use super::shrink::shrink;
use super::trace::{Digest, Trace};
use crate::check::invariants::{Held, Violation};
use crate::load::plan::OperationMix;
use crate::mutants::{Mutant, Room, with};
use crate::protocol::caspaxos::Caspaxos;
use crate::protocol::epaxos::Epaxos;
use crate::protocol::multicoordinated::Multicoordinated;
use crate::protocol::paxos::Paxos;

fn all_faults() -> BTreeSet<FaultClass> {
    FaultClass::value_variants().iter().copied().collect()
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn drawn(seed: u64) -> Scenario<Paxos> {
    Scenario::draw(seed, &all_faults())
}

fn failures(explored: &Explored) -> String {
    let mut text = format!("{} of {} seeds fail", explored.failed, explored.stats.runs);
    for failure in &explored.failures {
        let _ = write!(text, "\nseed {}: {}", failure.seed, failure.violation);
    }
    text
}

/// Whether the seeds of continuous integration are clean, each done twice; and whether they reach what
/// faults must bring about for a clean run to mean something.
fn is_clean_and_reaches<P: Subject>(rare: &[&'static str]) {
    let exploration = Exploration {
        seeds: 0..1000,
        faults: all_faults(),
        threads: threads(),
        twice: true,
        keep: 10,
        stop_at_first: false,
    };
    let explored = explore::<P>(&exploration, |_| true);
    assert_eq!((explored.stats.runs, explored.failed), (1000, 0), "{}", failures(&explored));
    let reached = explored.stats.reached;
    let unreached: Vec<_> = rare.iter().filter(|name| reached[**name] < 10).collect();
    assert!(unreached.is_empty(), "hardly ever: {unreached:?} of {reached:?}");
    assert_eq!(reached["implausible"], 0, "no process takes another for a liar");
}

#[test]
fn every_seed_of_ci_is_clean_and_does_the_same_twice_under_paxos() {
    is_clean_and_reaches::<Paxos>(&[
        "elections",
        "aborts",
        "writes_without_read",
        "retransmissions",
        "catch_ups",
        "states_sent",
        "states_installed",
        "parcels_repeated",
    ]);
}

#[test]
fn every_seed_of_ci_is_clean_and_does_the_same_twice_under_epaxos() {
    is_clean_and_reaches::<Epaxos>(&[
        "fast",
        "slow",
        "conflicts",
        "in_cycles",
        "fallbacks",
        "recoveries",
        "recovered",
        "nops",
        "resubmitted",
        "tentative",
        "deferred",
        "nacks",
        "catch_ups",
        "states_sent",
        "states_installed",
        "epochs",
    ]);
}

#[test]
fn every_seed_of_ci_is_clean_and_does_the_same_twice_under_caspaxos() {
    is_clean_and_reaches::<Caspaxos>(&[
        "one_round_trip",
        "two_round_trips",
        "conflicts",
        "losses",
        "applied_before",
        "clean_reads",
        "clean_reads_in_vain",
        "resends",
        "copied",
        "collected",
        "removed",
        "rescans",
        "old_epochs",
        "forwarded",
        "forwarded_again",
        "forwarded_in_vain",
        "hosted",
    ]);
}

#[test]
fn every_seed_of_ci_is_clean_and_does_the_same_twice_under_multicoordinated() {
    is_clean_and_reaches::<Multicoordinated>(&[
        "forwarded",
        "accepted",
        "collisions",
        "collision_writes",
        "conflicts",
        "proposed_again",
        "checkpoints",
        "recoveries",
        "stuck",
        "replaced",
        "takeovers",
        "too_low",
        "fallbacks",
        "wants",
        "catch_ups",
        "states_sent",
        "states_installed",
    ]);
}

/// Half of the time goes to the few that take thousands of seeds: they show how much a clean thousand
/// leaves out.
#[test]
fn every_mutant_dies() {
    let mutants = Mutant::all();
    let seen_by_cores = mutants.iter().filter(|mutant| mutant.room() != Room::Store).count();
    assert!(seen_by_cores >= 30, "{seen_by_cores}");
    let hunt = Hunt { seeds: 0..20_000, faults: all_faults(), threads: threads() };
    let of = |mode: &str| -> Vec<Mutant> {
        mutants.iter().copied().filter(|mutant| mutant.mode() == mode).collect()
    };
    let mut hunted = hunt.all::<Paxos>(&of(Paxos::MODE));
    hunted.extend(hunt.all::<Epaxos>(&of(Epaxos::MODE)));
    let alive = hunted.iter().any(|fared| fared.killed.is_none());
    let others = of(Caspaxos::MODE).len() + of(Multicoordinated::MODE).len();
    assert!(hunted.len() + others == mutants.len() && !alive, "{}", table(&hunted, &hunt.seeds));
}

/// Those that too few schedules show for every run. The first two took 3,897 and 10,848 seeds; the others none below
/// 20,000 has shown, the last three none below 3,000. Without the fast-forward a proposer that leaps comes there, too.
/// Each has a schedule of its own among the tests of the core.
const RARE: [Mutant; 13] = [
    Mutant::AcceptorPromisesForgotten,
    Mutant::ForgottenAppliedAgain,
    Mutant::RepairEndsRescan,
    Mutant::ReadAsksTooFew,
    Mutant::OldCopiesTaken,
    Mutant::CounterNotForwarded,
    Mutant::BorrowedCopiesCount,
    Mutant::BlankPlaceBypassesFloor,
    Mutant::CopiesOfLeaversTaken,
    Mutant::AcceptQuorumPrepares,
    Mutant::NextNotPromisedForCopies,
    Mutant::RefusalForgotten,
    Mutant::ReadNeedNotAgree,
];

#[test]
fn every_mutant_of_caspaxos_dies_but_those_that_schedules_rarely_show() {
    let of = |mutant: &&Mutant| mutant.mode() == Caspaxos::MODE && !RARE.contains(mutant);
    let mutants: Vec<Mutant> = Mutant::all().iter().filter(of).copied().collect();
    let hunt = Hunt { seeds: 0..3_000, faults: all_faults(), threads: threads() };
    let hunted = hunt.all::<Caspaxos>(&mutants);
    let alive = hunted.iter().any(|fared| fared.killed.is_none());
    assert!(hunted.len() == mutants.len() && !alive, "{}", table(&hunted, &hunt.seeds));
}

/// Those that no test of a core plants.
fn without_a_schedule(core: &str, rare: &[Mutant]) -> Vec<Mutant> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/protocol/{core}/tests"));
    let files = std::fs::read_dir(tests).unwrap().map(|entry| entry.unwrap().path());
    let text: String = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let planted = |mutant: &Mutant| text.contains(&format!("(Mutant::{mutant:?}, "));
    rare.iter().copied().filter(|mutant| !planted(mutant)).collect()
}

#[test]
fn what_schedules_rarely_show_has_a_schedule_of_its_own() {
    assert_eq!(without_a_schedule("caspaxos", &RARE), []);
    assert_eq!(without_a_schedule("multicoordinated", &RARE_OF_MULTICOORDINATED), []);
}

/// Those of `multicoordinated` that no seed below 2,000 shows. The first five take a rare meeting of rounds; the last three cost time and nothing else, as the
/// leader begins a new round wherever nothing is learned for long. Each has a schedule of its own among the tests of the
/// core.
const RARE_OF_MULTICOORDINATED: [Mutant; 8] = [
    Mutant::PickedTakenForFresh,
    Mutant::RoundBegunTwice,
    Mutant::PickLeftForACollision,
    Mutant::NamesAccepted,
    Mutant::VotesOfThisRoundPicked,
    Mutant::CollisionIgnored,
    Mutant::PredecessorsNotForwarded,
    Mutant::RoundKeptWithoutQuorum,
];

#[test]
fn every_mutant_of_multicoordinated_dies_but_those_that_schedules_rarely_show() {
    let of = |mutant: &&Mutant| {
        mutant.mode() == Multicoordinated::MODE && !RARE_OF_MULTICOORDINATED.contains(mutant)
    };
    let mutants: Vec<Mutant> = Mutant::all().iter().filter(of).copied().collect();
    assert!(mutants.len() >= 12, "{}", mutants.len());
    let hunt = Hunt { seeds: 0..2_000, faults: all_faults(), threads: threads() };
    let hunted = hunt.all::<Multicoordinated>(&mutants);
    let alive = hunted.iter().any(|fared| fared.killed.is_none());
    assert!(hunted.len() == mutants.len() && !alive, "{}", table(&hunted, &hunt.seeds));
}

/// The checks see that disks lie.
#[test]
fn the_canary_dies() {
    assert!(canary::<Paxos>(200).is_some());
    assert!(canary::<Epaxos>(200).is_some());
    assert!(canary::<Caspaxos>(200).is_some());
    assert!(canary::<Multicoordinated>(200).is_some());
}

fn size(scenario: &Scenario<Paxos>) -> usize {
    scenario.faults.list.len() + scenario.schedule.len()
}

#[test]
fn a_failure_shrinks_to_a_smaller_scenario_that_fails_alike() {
    let mutant = Mutant::WritesForgotten;
    let mut invariants = BTreeSet::new();
    for scenario in (0..30).map(drawn) {
        let judged = with(mutant, || judge(&scenario, Trace::Off));
        let Err(Violation { invariant, .. }) = judged.verdict else { continue };
        let shrunk = with(mutant, || shrink(scenario.clone())).expect("it fails");
        let again = with(mutant, || judge(&shrunk.scenario, Trace::Off));
        assert_eq!(shrunk.violation.invariant, invariant, "seed {}", scenario.seed);
        assert_eq!(again.verdict, Err(shrunk.violation), "what is left fails as it says");
        assert!(size(&shrunk.scenario) < size(&scenario), "{}", shrunk.scenario);
        let Scenario { faults, schedule, .. } = &shrunk.scenario;
        assert!(faults.list.iter().all(|fault| scenario.faults.list.contains(fault)));
        assert!(schedule.iter().all(|asked| scenario.schedule.contains(asked)));
        assert_eq!(judge(&shrunk.scenario, Trace::Off).verdict, Ok(()), "it is the mutant's");
        invariants.insert(invariant);
    }
    assert!(invariants.len() > 1, "only {invariants:?}: any failure would be alike");
}

#[test]
fn a_seed_that_does_not_fail_does_not_shrink() {
    assert!(shrink(drawn(0)).is_none());
}

fn digest(scenario: &Scenario<Paxos>) -> Digest {
    match judge(scenario, Trace::Digest(Digest::default())).trace {
        Trace::Digest(digest) => digest,
        other => panic!("asked for a digest, got {other:?}"),
    }
}

fn transcript(scenario: &Scenario<Paxos>) -> String {
    match judge(scenario, Trace::Text(String::new())).trace {
        Trace::Text(text) => text,
        other => panic!("asked for a transcript, got {other:?}"),
    }
}

#[test]
fn a_run_has_one_digest_and_another_seed_has_another() {
    let scenarios = [0, 1, 2].map(drawn);
    let digests: BTreeSet<_> = scenarios.iter().map(|one| digest(one).to_string()).collect();
    assert_eq!(digests.len(), scenarios.len(), "{digests:?}");
    assert!(scenarios.iter().all(|one| digests.contains(&digest(one).to_string())));
}

/// Longer values look the same in a transcript, and nothing takes longer for them.
#[test]
fn a_byte_of_a_message_that_no_transcript_shows_changes_the_digest() {
    let mut scenario = (0..100).map(drawn).find(|scenario| scenario.size > 1).expect("many");
    scenario.load.operations = OperationMix { put: 1.0, ..OperationMix::default() };
    let mut longer = scenario.clone();
    longer.load.value_bytes += 1;
    assert_eq!(transcript(&scenario), transcript(&longer));
    assert_ne!(digest(&scenario), digest(&longer));
}

/// A process that forgot what it wrote does not find what its log says was delivered.
#[test]
fn a_core_that_panics_has_failed_and_says_where_and_why() {
    let panics = |seed: &u64| {
        let judged = with(Mutant::WritesForgotten, || judge(&drawn(*seed), Trace::Off));
        judged.verdict.err().filter(|violation| violation.invariant == ASSERTIONS)
    };
    let violation = (0..100).find_map(|seed| panics(&seed)).expect("it panics soon");
    let Violation { what, .. } = violation;
    assert!(what.contains("the log holds what it says was delivered"), "{what}");
    assert!(what.contains("src/protocol/paxos/mod.rs"), "{what}");
}

#[test]
fn what_is_caught_is_the_panic_or_the_outcome_and_nothing_of_an_earlier_one() {
    let said = |run: fn() -> Held| caught(run).map_err(|violation| violation.what);
    let first = said(|| panic!("one {}", 1)).unwrap_err();
    let second = said(|| panic!("two")).unwrap_err();
    assert!(first.ends_with("one 1") && first.contains(file!()), "{first}");
    assert!(second.ends_with("two") && !second.contains("one"), "{second}");
    let violated = Violation { invariant: "agreement", what: "none".to_owned() };
    assert_eq!(caught(|| Err::<(), _>(violated.clone())), Err(violated));
    assert_eq!(caught(|| Ok(7)), Ok(7));
}
