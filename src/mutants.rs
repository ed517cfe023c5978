//! Deliberate bugs, one for each rule that matters, to see that tests would notice.
//!
//! A *mutant* is the program with one rule broken. Each stands in the code where its rule does, as a
//! condition `mutant!`, and in one table with the rule in words and where it comes from
//! (`Mutant`). Random schedules must tell every mutant from the program: one that survives shows
//! what the schedules, or what is checked of them, leave out.
//!
//! Not here is what changes nothing that a specification speaks of, as another rule covers it:
//!
//! - *Permission is given where this instance or the next holds a value, or is what one of several
//!   acknowledgements says, or is computed anew for a repeated write* (Fig. 20 lines 21 and 33). A
//!   leader that commits what it found probes, and so reads, the next instance; what is left is the
//!   one process whose own value was decided, and a computation anew says no.
//! - *A fast write does not raise the promise to n+1* (Fig. 20 line 32). Regular rounds begin there,
//!   and one process has the permission: no round in between exists.
//! - *A DECISION is taken from a process that does not own its round.* None is ever sent.
//! - *A state is installed without its record, or what was delivered is not read back.* The process
//!   comes back with less of the order, which it is sent again; its registers' log is whole.
//! - *Parcels are not sent to a new leader, logs are cut behind processes that lag, decisions are not
//!   announced, late readers are not told.* Retransmission, the state, and catching up do the same
//!   later.
//! - *The election ignores epochs* (Fig. 28). Who recovered then leads at once instead of later.
//! - *A new leader does not probe, or does not hear how far others have written.* Each finds what the
//!   other leaves. Without either, nobody does: that is a mutant.
//! - *A command that another replica answered is not executed where it comes later.* A total order
//!   leaves no room for that; protocols that order only what interferes will need it.
//!
//! Of EPaxos, likewise:
//!
//! - *A late owner is not listened to* (Ryabinin, Gotsman, Sutra). What is being tried is tried to its
//!   end, and is right or wrong by what is in the way.
//! - *What a member of the fast quorum has proposed is awaited instead of held against the fast commit*
//!   (§6.2 step 7 c). Once it is decided, it says the same.
//! - *A deferred recovery is not begun again.* What it waits for is recovered itself, and then it goes on.
//!
//! And of EPaxos what the schedules hardly reach. These break rules that matter, and no seed has shown it
//! yet: a gap of the schedules or of what is checked.
//!
//! - *The lowest vote wins* (§6.2 step 2). It takes two ballots, each accepted by some, the higher of them
//!   committed where nobody hears of it.
//! - *Accept-Deps says nothing of what is known beyond the attributes* (§6.1). It is one variant of five, and
//!   takes a recovery of a command that a committed one with a higher sequence number does not depend on.
//! - *What is forgotten is not held against a fast commit, or a replica comes back without what it let
//!   others forget.* It takes a recovery of a command older than what was executed by a majority since;
//!   `protocol/epaxos/tests/keeping.rs` has both.
//! - *A replica forgets before it has executed all that earlier epochs decided* (§5.5). It takes such a
//!   recovery across the beginning of an epoch.
//! - *A member that has voted in another's ballot for the next epoch goes on with its own lower one.* It takes
//!   two that decide at once, and an answer that is late; `protocol/epaxos/tests/joining.rs` has it step by step.
//! - *Who has not caught up itself lets another join* (§5.5). The schedules need 7,405 seeds for it, too many for
//!   every run; `protocol/epaxos/tests/reviewed_joining.rs` has it.
//! - *Who does not hear a majority goes on trying to join.* It tries ever more seldom, and the members end each of
//!   its ballots: they are slow, and seldom too slow.
//!
//! Of CASPaxos, what another rule covers:
//!
//! - *A removal does not fast-forward the counter of who carries it out.* The floor refuses its next
//!   ballot, and that conflict does.
//! - *Who uses the promise that an Accept brought does not note that it is used.* Its own acceptor takes the Accept
//!   at once, and that takes the promise away. Two mutants stand for what is left: an attempt that is begun again in
//!   its own ballot, and a promise that survives what another has written.
//! - *Who lost against a rival does not wait for it, or does not leap.* It loses more often; it gets there.
//!
//! And of CASPaxos what the schedules rarely show, or never did. Each has a schedule of its own in
//! `protocol/caspaxos/tests/`, and those marked † an exhausted configuration (`sim::exhaustive`), too:
//!
//! - *A promise does not survive a crash* †. It takes a crash between a Prepare and an older Accept that is still
//!   on its way: 3,897 seeds.
//! - *An attempt is applied again though the register was removed in between.* A command must be in doubt for as long
//!   as a deletion and a removal take, which every acceptor must confirm: 10,848 seeds.
//! - *An answer of a repair ends a rescan.* Both must be under way at once. No seed below 20,000.
//! - *A clean read asks too few* †. It is wrong only where prepare quorums are larger than accept quorums; of the
//!   sizes that schedules draw, with four replicas. No seed below 20,000.
//! - *An old answer brings back what was removed* †. It must be on its way for as long as a removal takes, and that
//!   waits for the one whom it is sent to. No seed below 20,000.
//! - *A conflict does not fast-forward the counter.* Nothing wrong comes of it; who loses leaps twice as far each
//!   time, and is above the others after some losses. No seed below 20,000; the schedule counts the losses.
//! - *A copy below a promise counts for a clean read; a register that is only looked for has no floor; copies of who has
//!   left are taken.* All three were found by reading. Each takes a message that is late by as much as a removal or
//!   a repair takes, and then somebody who looks just there. No seed below 20,000.
//! - *An accept quorum brings the promises of a prepare quorum.* It matters where prepare quorums are larger, as with
//!   clean reads. No seed below 20,000.
//!
//! Of Multicoordinated Paxos what no seed below 2,000 shows; each has a schedule in `protocol/multicoordinated/tests/`:
//!
//! - *A picked closed instance is begun with nothing; a round begins twice; a collision cuts a pick short; names are
//!   accepted without their commands.* Found by reading, and by seeds far above. Each takes rounds of two kinds, or two
//!   leaders, that meet in one instance.
//! - *What was accepted in a round is taken for a promise to it.* It takes a coordinator that is late by a round trip.
//! - *A collision is ignored; predecessors are not forwarded; a round without a quorum is kept.* They cost time only, as
//!   the leader looks for what is stuck.
//!
//! Of the operations: `increment` is a get and then a put. Nothing says that what is put follows from what was got,
//! so a client that puts something else breaks no rule that a history could show; `tests/load_increment.rs` looks at
//! what it sends.
//!
//! *In a normal build* `mutant!` is the literal `false`, and the table is empty. With tests
//! or the feature `mutants` it asks which mutant the thread runs (`with`). That is thread-local on
//! purpose, although no core may know its thread: a mutant stands for another program text, which is
//! the same throughout a run, and not for state that the program reads. Two runs of one mutant on one
//! schedule are as equal as two runs of the program, and tests that run side by side do not meet.

#[cfg(not(any(test, feature = "mutants")))]
mod absent;
#[cfg(any(test, feature = "mutants"))]
mod registry;

#[cfg(not(any(test, feature = "mutants")))]
pub use self::absent::{Mutant, with};
#[cfg(any(test, feature = "mutants"))]
pub use self::registry::{Mutant, Room, is_active, with};

/// Whether the mutant of this name is the program that runs.
#[cfg(any(test, feature = "mutants"))]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutants::is_active($crate::mutants::Mutant::$name)
    };
}

/// No mutant runs.
#[cfg(not(any(test, feature = "mutants")))]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
}

pub(crate) use mutant;
