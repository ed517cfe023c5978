//! Whether storms tell the mutants of `paxos` from `paxos`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{VARIANTS, storm, stormy};
use crate::mutants::Mutant::{
    GapNeverFilled, GapsLeftOpen, LowestWriteChosen, MinorityLeads, NoProbe, NobodySuspected,
    NothingDeliveredAfterInstall, OneInformantOnly, OwnAckBeforeDurable, StaleAckCounted,
};
use crate::mutants::{Mutant, Room, with};

/// Seeds of the storms that a mutant meets, in each variant and with three and five processes.
const SEEDS: u64 = 60;

/// What storms do not show, as they leave nobody down or cut off for good, nobody who crashes again
/// and again, and clients ask for ever; or as it takes more of them than these.
const BEYOND_STORMS: [Mutant; 10] = [
    GapNeverFilled,
    GapsLeftOpen,
    LowestWriteChosen,
    MinorityLeads,
    NoProbe,
    NobodySuspected,
    NothingDeliveredAfterInstall,
    OneInformantOnly,
    OwnAckBeforeDurable,
    StaleAckCounted,
];

fn is_killed(mutant: Mutant) -> bool {
    let mut storms = (0..SEEDS).flat_map(|seed| {
        VARIANTS.into_iter().flat_map(move |variant| [3, 5].map(|size| (variant, size, seed)))
    });
    storms.any(|(variant, size, seed)| {
        let run = || with(mutant, || storm(stormy(variant, seed), size, seed));
        catch_unwind(AssertUnwindSafe(run)).is_err()
    })
}

#[test]
fn storms_kill_the_mutants() {
    let mutants = Mutant::all().iter().filter(|mutant| mutant.room() == Room::Paxos);
    let expected = mutants.filter(|mutant| !BEYOND_STORMS.contains(mutant));
    let alive: Vec<_> = expected.filter(|mutant| !is_killed(**mutant)).collect();
    assert!(alive.is_empty(), "survived all storms: {alive:?}");
}
