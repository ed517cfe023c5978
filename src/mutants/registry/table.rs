//! The table: each mutant with its room, the rule that it breaks, and where that comes from.

use super::Room;

// Sections and figures are those of "Deconstructing Paxos"; "Ongaro" is the dissertation.
mutants! {
    // The register.
    StaleReadAnswered "stale-read-answered" Paxos
        "A register answers no READ below a round that it has promised or written."
        "Fig. 5 line 21";
    StaleReadOnwardsAnswered "stale-read-onwards-answered" Paxos
        "A higher round in any instance forbids to read all instances onwards."
        "Fig. 5 line 21";
    StaleWriteTaken "stale-write-taken" Paxos
        "A register takes no WRITE below a round that it has promised or written."
        "Fig. 5 line 27";
    EqualRoundRefused "equal-round-refused" Paxos
        "Only a higher round forbids a WRITE: what was read in a round is written in it."
        "§3.1, read-write-abort; Fig. 5 line 27";
    PromiseNotKept "promise-not-kept" Paxos
        "A register keeps the round in which it answered a READ."
        "Fig. 5 line 24";
    OnwardsPromiseNotKept "onwards-promise-not-kept" Paxos
        "A register keeps the round in which it answered a READ of all instances onwards."
        "Fig. 5 line 24";
    OnwardsPromiseOnlyWhereWritten "onwards-promise-only-where-written" Paxos
        "A READ onwards is also promised for instances that hold no value yet."
        "§4.1, for all instances onwards";
    DecisionOfAnyRound "decision-of-any-round" Paxos
        "A decision speaks of what its round wrote, not of what another round left here."
        "§3.2, agreement; Fig. 9 line 35";
    PermissionDespiteNext "permission-despite-next" Paxos
        "No permission is given for an instance that holds a value."
        "Fig. 20 line 33";
    PermissionGrantedLater "permission-granted-later" Paxos
        "A write that is held is acknowledged with the permission of the first time."
        "Fig. 20 line 33; Fig. 11";
    FastTagRaised "fast-tag-raised" Paxos
        "A fast value keeps its own round as its tag."
        "Fig. 20 line 32, whose print says n+1";

    // Messages and what is durable before them.
    ReadNotStored "read-not-stored" Paxos
        "A promise is stored before it is acknowledged."
        "Fig. 12 line 24";
    WriteNotStored "write-not-stored" Paxos
        "A value is stored before it is acknowledged."
        "Fig. 12 line 31";
    AckReadBeforeDurable "ack-read-before-durable" Paxos
        "ackREAD leaves once the promise is durable."
        "Fig. 12 lines 24 and 25";
    AckWriteBeforeDurable "ack-write-before-durable" Paxos
        "ackWRITE leaves once the value is durable."
        "Fig. 12 lines 31 and 32";
    ReAckBeforeDurable "re-ack-before-durable" Paxos
        "A repeated WRITE is acknowledged no sooner than the first one."
        "Fig. 11; Fig. 12 line 32";
    OwnAckBeforeDurable "own-ack-before-durable" Paxos
        "A process counts its own acknowledgement once what it stands on is durable."
        "Fig. 12";
    ReadLeavesBeforeItsPromise "read-leaves-before-its-promise" Paxos
        "A READ leaves once its own process has durably promised the round."
        "§4.1: no round is used twice";
    ReadSentAgainBeforeItsPromise "read-sent-again-before-its-promise" Paxos
        "A READ that is sent again waits for its promise as the first one does."
        "§4.1; Fig. 11";
    ForwardBeforeBirth "forward-before-birth" Paxos
        "A parcel leaves once the incarnation in its name is durable."
        "§3.4, validity";
    AckReadWithoutValue "ack-read-without-value" Paxos
        "ackREAD says what the register holds."
        "Fig. 5 line 25; §3.1, read-commit";
    InitSentAgain "init-sent-again" Paxos
        "A WRITE that is sent again carries the value of the first, which a read may have found."
        "Fig. 6 lines 5 and 6; Fig. 11";
    RoundsNotSentAgain "rounds-not-sent-again" Paxos
        "READs and WRITEs are sent until they are answered."
        "Fig. 11";
    NackIgnored "nack-ignored" Paxos
        "A nack aborts the proposal."
        "Fig. 5 lines 9 and 16";
    AbortedForGood "aborted-for-good" Paxos
        "A leader whose proposal was aborted proposes again, until one commits."
        "Fig. 9 lines 30 to 34";
    RoundReused "round-reused" Paxos
        "A process proposes in a round above all that it has met."
        "Fig. 9 line 34";
    RoundOfAnotherUsed "round-of-another-used" Paxos
        "A round belongs to one process."
        "§4.1";

    // Consensus.
    OwnValueInsteadOfFound "own-value-instead-of-found" Paxos
        "A value that the read found is written, and one's own only if it found none."
        "Fig. 6 line 5";
    LowestWriteChosen "lowest-write-chosen" Paxos
        "Of the values found, the one of the highest write is chosen."
        "Fig. 5 line 11";
    ReadQuorumTooSmall "read-quorum-too-small" Paxos
        "A read waits for a majority."
        "Fig. 5 line 7";
    WriteQuorumTooSmall "write-quorum-too-small" Paxos
        "A write waits for a majority."
        "Fig. 5 line 15";
    DuplicateAckCounted "duplicate-ack-counted" Paxos
        "A majority is one of processes: an acknowledgement that comes twice counts once."
        "Fig. 5 lines 7 and 15; §2.2";
    StaleAckCounted "stale-ack-counted" Paxos
        "Only acknowledgements of the round in use count."
        "Fig. 5 lines 7 and 15";
    CommitTakenForPermission "commit-taken-for-permission" Paxos
        "The next instance is written without a read only by permission."
        "§6.4; Fig. 20 line 33, Fig. 22";
    PermissionOfTheLast "permission-of-the-last" Paxos
        "All of the majority that a write waits for must give the permission."
        "§6.4; Fig. 20";
    PermissionForAnyInstance "permission-for-any-instance" Paxos
        "Permission is for the one instance after the write that returned it."
        "§6.4; Fig. 22";

    // The leader.
    ReadOnwardsQuorumTooSmall "read-onwards-quorum-too-small" Paxos
        "A read onwards waits for a majority."
        "Fig. 5 line 7";
    StaleReadOnwardsAckCounted "stale-read-onwards-ack-counted" Paxos
        "Only acknowledgements of the round in use count, of a read onwards too."
        "Fig. 5 line 7";
    LowestWriteRecovered "lowest-write-recovered" Paxos
        "Of the values that a read onwards finds, the one of the highest write is chosen."
        "Fig. 5 line 11";
    FoundValuesForgotten "found-values-forgotten" Paxos
        "What a read onwards finds is written."
        "Fig. 6 line 5";
    DeliveredInstancesRewritten "delivered-instances-rewritten" Paxos
        "An instance that somebody who answers has delivered is not empty, but decided."
        "§3.1, write-commit; Fig. 9 line 41";
    GapsLeftOpen "gaps-left-open" Paxos
        "A new leader decides the instances between those that its read found, too."
        "§3.4, termination";
    AbortedParcelsLost "aborted-parcels-lost" Paxos
        "What an aborted proposal wanted to decide is proposed again."
        "Fig. 9 lines 16 and 21";
    BeatenParcelsLost "beaten-parcels-lost" Paxos
        "What did not get into its instance, because another value did, is proposed again."
        "Fig. 9 lines 16 and 21";
    OwnParcelsNotProposed "own-parcels-not-proposed" Paxos
        "A process that begins to lead proposes what it has received itself."
        "Fig. 9 lines 22 to 25";
    OthersDecisionsNotLearned "others-decisions-not-learned" Paxos
        "A leader learns what others have decided, even if no command comes."
        "§3.4, agreement; Fig. 9 line 16";
    GapNeverFilled "gap-never-filled" Paxos
        "A leader decides what keeps later decisions from being delivered."
        "§3.4, termination";

    // Delivery.
    ParcelDeliveredTwice "parcel-delivered-twice" Paxos
        "Of a decided value, what is delivered already is left out."
        "Fig. 9 line 8";
    StragglerDelivered "straggler-delivered" Paxos
        "Once a later incarnation's parcel is delivered, an earlier one's is not."
        "§3.4, validity, after a restart";
    SetsNotCollapsed "sets-not-collapsed" Paxos
        "The sets of delivered parcels keep only what is out of order."
        "everything is bounded";
    DeliveredOutOfOrder "delivered-out-of-order" Paxos
        "An instance is delivered after all before it."
        "Fig. 9 lines 39 to 45";
    OwnForgottenByNumber "own-forgotten-by-number" Paxos
        "A parcel of an earlier incarnation that is delivered is not this one's of that number."
        "§3.4, termination, after a restart";
    OwnParcelsNotSentAgain "own-parcels-not-sent-again" Paxos
        "A parcel is sent to the leader until it is delivered."
        "Fig. 11; §3.4, termination";
    LagNeverTold "lag-never-told" Paxos
        "A process that lags says so."
        "Fig. 9 line 43";
    OneInformantOnly "one-informant-only" Paxos
        "A process that lags and is not answered asks another."
        "§3.4, agreement";
    NoStateSent "no-state-sent" Paxos
        "A process that lags behind the log is sent the state."
        "§3.4, agreement";
    StateStoredBeforeInstalled "state-stored-before-installed" Paxos
        "The record of an installed state is stored with that state, not with the one before."
        "Fig. 13 line 10";
    DeliveredNotInstalled "delivered-not-installed" Paxos
        "A state comes with the parcels that it holds: they are not delivered again."
        "Fig. 9 line 8; Fig. 13 line 51";
    NothingDeliveredAfterInstall "nothing-delivered-after-install" Paxos
        "What was decided beyond the gap that a state fills is delivered with it."
        "Fig. 9 line 12";

    // Recovery.
    IncarnationNotRaised "incarnation-not-raised" Paxos
        "A process comes back under a new incarnation."
        "§3.4, validity; Fig. 28";
    ReplayNotExecuted "replay-not-executed" Paxos
        "A process comes back with what it had delivered."
        "Fig. 13";
    ReplayedBesideState "replayed-beside-state" Paxos
        "What an installed state holds is not executed again after a restart."
        "Fig. 13; §3.4, validity";
    PromisesForgotten "promises-forgotten" Paxos
        "A process comes back with the rounds that it promised."
        "Fig. 12 line 35";
    WritesForgotten "writes-forgotten" Paxos
        "A process comes back with the values that it took."
        "Fig. 12 line 35";

    // Election.
    SuspectedForGood "suspected-for-good" Paxos
        "A process that is heard again is suspected no longer."
        "§3.3; Fig. 28";
    NobodySuspected "nobody-suspected" Paxos
        "A process that is silent for too long is suspected."
        "§3.3; Fig. 28";
    MinorityLeads "minority-leads" Paxos
        "A process that does not hear a majority is not elected."
        "§3.3";

    // EPaxos. Sections are those of its proof; "Sutra" is "On the Correctness of Egalitarian Paxos".
    SingleBallot "single-ballot" Epaxos
        "To join a ballot leaves the ballot of the last vote alone."
        "Sutra 2019; §6.2 step 2";
    OwnerIgnoredInRecovery "owner-ignored-in-recovery" Epaxos
        "An owner that joins a ballot without having decided shows that nothing was decided."
        "§6.2 step 3; Ryabinin, Gotsman, Sutra 2025";

    // Phase 1 and Commit.
    FastQuorumTooSmall "fast-quorum-too-small" Epaxos
        "A fast quorum has F + floor((F+1)/2) replicas, or all but one."
        "§6.1, §5.1";
    FastThoughDisagreed "fast-though-disagreed" Epaxos
        "A command commits after one round trip only if its fast quorum says the same."
        "§5.1 line 12, §6.1";
    VoteLeftOutOfUnion "vote-left-out-of-union" Epaxos
        "What is accepted depends on all that any of the votes depends on."
        "§5.1 line 16";
    InitialAnnounced "initial-announced" Epaxos
        "A Commit carries the attributes that were accepted, not those first proposed."
        "§5.1 line 25";
    MinorityCommits "minority-commits" Epaxos
        "A majority accepts before a command is committed."
        "§5.1 line 23";
    VoteRecomputed "vote-recomputed" Epaxos
        "A replica votes once: a PreAccept that is repeated is answered as the first was."
        "§5.6, Lemma 1";
    PreAcceptAfterPrepare "pre-accept-after-prepare" Epaxos
        "A replica that has joined a higher ballot takes no PreAccept."
        "§6.2 step 1";
    AcceptBelowJoined "accept-below-joined" Epaxos
        "A replica takes no Accept below the ballot that it has joined."
        "§5.1 line 21; Sutra 2019";
    SeqNotRaised "seq-not-raised" Epaxos
        "Who votes raises the sequence number above those of all that interferes."
        "§5.1 line 7";
    DepsCommittedNotAsked "deps-committed-not-asked" Epaxos
        "A fast quorum knows the dependencies of what it commits to be committed."
        "§6.1, FP-deps-committed";

    // What interferes.
    LatestWriteAlone "latest-write-alone" Epaxos
        "A command depends on all interfering ones, not on the latest alone."
        "§4, §5.1 line 3";
    WritesIgnoreReads "writes-ignore-reads" Epaxos
        "A write interferes with reads of its key."
        "§4";
    ExecutedNotNamed "executed-not-named" Epaxos
        "A command names what it comes after, though its owner has executed that."
        "§5.1 line 3";

    // Recovery.
    StalePrepareAnswered "stale-prepare-answered" Epaxos
        "A Prepare below the ballot that is joined is refused."
        "§6.2 step 1";
    EvidenceNotRequired "evidence-not-required" Epaxos
        "A fast commit is possible only if all but e of those that answer have voted for it."
        "§6.2 step 4; Ryabinin, Gotsman, Sutra 2025";
    OutsidersAreEvidence "outsiders-are-evidence" Epaxos
        "Who is not in the fast quorum that a command names says nothing about its fast commit."
        "§6.2 step 4";
    EvidenceBelieved "evidence-believed" Epaxos
        "What may have been committed on the fast path is tried before it is accepted."
        "§6.2 step 6";
    ConflictsIgnored "conflicts-ignored" Epaxos
        "What is in the way of a fast commit is heeded."
        "§6.2 step 7";
    CommittedConflictIgnored "committed-conflict-ignored" Epaxos
        "A committed command that is in the way shows that the fast commit did not happen."
        "§6.2 step 7 b";
    TentativeNotSeen "tentative-not-seen" Epaxos
        "Who answers a TentativePreAccept has later commands depend on it."
        "§6.2 step 6";

    // What is durable.
    ProposedBeforeDurable "proposed-before-durable" Epaxos
        "A PreAccept leaves once the proposal is durable: its number is not used again."
        "§5.4; §5.6, Lemma 1";
    NumberReused "number-reused" Epaxos
        "An owner that restarts goes on after the instances that it has proposed."
        "§5.4; §5.6, Lemma 1";
    FastCommitToldEarly "fast-commit-told-early" Epaxos
        "A fast commit is durable at its owner before anybody hears of it."
        "§5.4; §6.2 step 3";
    AcceptOkBeforeDurable "accept-ok-before-durable" Epaxos
        "AcceptOK leaves once the vote is durable."
        "§5.4";
    PrepareOkBeforeDurable "prepare-ok-before-durable" Epaxos
        "A ballot is durably joined before a Prepare is answered."
        "§5.4";
    JoinedNotReplayed "joined-not-replayed" Epaxos
        "A replica comes back with the ballots that it has joined."
        "§5.4; Sutra 2019";
    PreAcceptedNotReplayed "pre-accepted-not-replayed" Epaxos
        "A replica comes back with its votes."
        "§5.4";

    // Forgetting and lagging.
    ForgetsAlone "forgets-alone" Epaxos
        "What is executed is forgotten once a majority lets it go."
        "§5.4; §6.2 step 6";
    VotesWithoutFloors "votes-without-floors" Epaxos
        "Who has let others forget something votes for nothing that does not come after it."
        "§6.2 step 6";
    AllowedNotStored "allowed-not-stored" Epaxos
        "What others are let forget is durable before they hear of it."
        "§5.4; §6.2 step 6";
    TakenOverNotNamed "taken-over-not-named" Epaxos
        "A proposal comes after all that came with the state."
        "§5.1 line 3";
    ExecutedKept "executed-kept" Epaxos
        "What is not in the state that is taken over is executed again."
        "§5.2";
    LaggingNotAnswered "lagging-not-answered" Epaxos
        "Who lags is told what it misses."
        "§5.4";

    // Execution.
    ComponentUnsorted "component-unsorted" Epaxos
        "A component is executed in the order of sequence numbers and instances."
        "§5.2 step 4";
    UncommittedPassedOver "uncommitted-passed-over" Epaxos
        "A command waits until all that it depends on is committed."
        "§5.2 steps 1 and 2";
    LowNotPassedOn "low-not-passed-on" Epaxos
        "What reaches each other is one component."
        "§5.2 step 2";
    NopExecuted "nop-executed" Epaxos
        "A no-op does nothing, whatever was proposed in its place."
        "§6.2 step 5";

    // Joining and rejoining.
    FenceIgnored "fence-ignored" Epaxos
        "Who has joined a ballot for the next epoch votes in nothing new of this one."
        "§5.5";
    OldEpochHeard "old-epoch-heard" Epaxos
        "A message of an epoch that an instance does not belong to says nothing of it."
        "§5.5";
    VotesOutliveEpoch "votes-outlive-epoch" Epaxos
        "What came too late for its epoch is dropped."
        "§5.5";
    NoBarrier "no-barrier" Epaxos
        "All commands of an epoch depend on all instances of the ones before."
        "§5.5";
    LaterEpochNamed "later-epoch-named" Epaxos
        "A command depends on none of a later epoch."
        "§5.5";
    EpochVoteIgnored "epoch-vote-ignored" Epaxos
        "How an epoch begins is decided once."
        "§5.5";
    FenceNotReplayed "fence-not-replayed" Epaxos
        "A replica comes back with what it has promised for the next epoch."
        "§5.5";

    // Progress.
    NoFallback "no-fallback" Epaxos
        "A fast quorum that does not answer is not waited for."
        "§6.1";

    // CASPaxos.
    FloorNotAsked "floor-not-asked" Caspaxos
        "A register that is absent counts as having promised the floor."
        "§3.1; Rystsov's later text: a delayed Accept must not bring back what was removed";
    BlankPlaceBypassesFloor "blank-place-bypasses-floor" Caspaxos
        "A register that is only looked for here counts as absent, too."
        "§3.1, the same; found by review";
    FloorNotRaised "floor-not-raised" Caspaxos
        "To remove a tombstone raises the floor to its ballot."
        "§3.1, the same";
    RemovedThoughRewritten "removed-though-rewritten" Caspaxos
        "A register is removed only if its ballot is intact."
        "§3.1 step (c)";
    RemovedWithoutFullQuorum "removed-without-full-quorum" Caspaxos
        "A tombstone is removed once every acceptor has it."
        "§3.1 step (a)";
    PromiseIgnoredByPrepare "promise-ignored-by-prepare" Caspaxos
        "A Prepare at or below the promise is a conflict."
        "§2.2 row 3";
    PromiseIgnoredByAccept "promise-ignored-by-accept" Caspaxos
        "An Accept below the promise is a conflict."
        "§2.2 row 5";
    PromiseErasedTooEarly "promise-erased-too-early" Caspaxos
        "What was accepted stands for the promise that it erases."
        "§2.2 row 5";
    AcceptorPromisesForgotten "acceptor-promises-forgotten" Caspaxos
        "A promise survives a crash."
        "§2.2 row 3: persists";
    CountersForgotten "counters-forgotten" Caspaxos
        "A counter is never used twice, also not after a crash."
        "§2.1: unique increasing update IDs";
    CounterNotForwarded "counter-not-forwarded" Caspaxos
        "A conflict fast-forwards the counter."
        "§2.1";
    NextNotPromised "next-not-promised" Caspaxos
        "Who accepts promises the next ballot, too."
        "§2.2.1";
    NextNotPromisedForCopies "next-not-promised-for-copies" Caspaxos
        "Who holds a copy of what it is to accept promises the next ballot, too."
        "§2.2.1 with repair: seed 2197";
    PromiseUsedTwice "promise-used-twice" Caspaxos
        "One ballot, one value: the promise that an Accept brought is used once."
        "§2.2.1; the one-round-trip cache kept after a conflict or a timeout";
    PromiseOfAnotherUsed "promise-of-another-used" Caspaxos
        "What another proposer writes takes the promise away: the one that is there now is its own."
        "§2.2.1; the one-round-trip cache kept though another has written";
    AcceptQuorumPrepares "accept-quorum-prepares" Caspaxos
        "The promises that an Accept brought are as many as those of a Prepare."
        "§2.2.1 with quorums of other sizes";
    LowestBallotWins "lowest-ballot-wins" Caspaxos
        "f is applied to the state with the highest ballot."
        "§2.2 row 4";
    OnePromiseIsEnough "one-promise-is-enough" Caspaxos
        "f waits for a prepare quorum."
        "§2.2 row 4";
    OneAcceptedIsEnough "one-accepted-is-enough" Caspaxos
        "A client is told once an accept quorum has confirmed."
        "§2.2 row 6";
    RetryAppliedAgain "retry-applied-again" Caspaxos
        "An attempt that is among the ancestors is not applied again."
        "§2.2: a change is one link of the chain";
    ForgottenAppliedAgain "forgotten-applied-again" Caspaxos
        "Where the marks were removed with the register, nobody knows whether an attempt took effect."
        "§3.1 with the same";
    RetriedCommandBegunAgain "retried-command-begun-again" Caspaxos
        "A command that is under way is not begun again."
        "sessions: Ongaro 2014, §6.3";
    ReadAsksTooFew "read-asks-too-few" Caspaxos
        "A clean read hears one of every accept quorum."
        "RMWPaxos: consistent quorums";
    ReadNeedNotAgree "read-need-not-agree" Caspaxos
        "A clean read returns what an accept quorum holds."
        "RMWPaxos: consistent quorums";
    BorrowedCopiesCount "borrowed-copies-count" Caspaxos
        "Who copied a state below its promise does not count for its having been chosen."
        "RMWPaxos: consistent quorums, with repair; found by review";
    PreparesAskNewMembers "prepares-ask-new-members" Caspaxos
        "While members change, Prepares ask the old ones."
        "§2.2.2 step order";
    AcceptsSkipOldMembers "accepts-skip-old-members" Caspaxos
        "While members change, Accepts need a quorum of the old ones."
        "§2.2.2";
    AcceptsSkipNewMembers "accepts-skip-new-members" Caspaxos
        "While members change, Accepts need a quorum of the new ones."
        "§2.2.2 step 2";
    SettledWithoutRescan "settled-without-rescan" Caspaxos
        "The old members are left once the new ones hold what was chosen."
        "§2.2.2 step 3";
    RescanAsksTooFew "rescan-asks-too-few" Caspaxos
        "A rescan copies from as many as a prepare quorum of the old members."
        "§2.2.2 step 3";
    RepairEndsRescan "repair-ends-rescan" Caspaxos
        "A rescan ends with the last of all registers, not with an answer about some."
        "§2.2.2 step 3 with repair: seed 18937";
    OldEpochsAccepted "old-epochs-accepted" Caspaxos
        "Who knows of a configuration takes no ballot of an earlier one."
        "§2.2.2: connect to each proposer";
    ConfigurationOverwritten "configuration-overwritten" Caspaxos
        "A configuration replaces the one that it was made from."
        "§2.2.2; two operators";
    StaleRegistersKept "stale-registers-kept" Caspaxos
        "Who becomes a member again forgets what it held before."
        "§2.2.2 with §3.1";
    OldCopiesTaken "old-copies-taken" Caspaxos
        "An old answer does not bring back what was removed."
        "§2.2.2 with §3.1";
    CopiesOfLeaversTaken "copies-of-leavers-taken" Caspaxos
        "Copies are taken from acceptors only: who has left may hold what was removed since."
        "§2.2.2 with §3.1; found by review";
    ForwardedThoughInDoubt "forwarded-though-in-doubt" Caspaxos
        "A command of which an Accept was sent is not forwarded."
        "forwarding: a command is applied once";
    ForwardTakenTwice "forward-taken-twice" Caspaxos
        "A Forward is taken once however often it comes."
        "forwarding: a command is applied once";
    ForwardTakenByLaterLife "forward-taken-by-later-life" Caspaxos
        "A Forward is taken by the life of the winner whose ballot it names."
        "forwarding: what was taken is lost in a crash";
    ForgottenForwardFreed "forgotten-forward-freed" Caspaxos
        "What an earlier life of the winner may have taken is not done at home."
        "forwarding: what was taken is lost in a crash";
    RefusalForgotten "refusal-forgotten" Caspaxos
        "A Forward that was refused is not taken when it comes again."
        "forwarding: a command is applied once";

    // Multicoordinated Paxos. Sections are those of Camargos, Schmidt and Pedone; items those of its known slips.
    OneCoordinatorIsEnough "one-coordinator-is-enough" Multicoordinated
        "An acceptor accepts what every coordinator of a quorum has forwarded."
        "§3.2, Phase2bClassic";
    FastRoundLearnedTooEarly "fast-round-learned-too-early" Multicoordinated
        "In a fast round a command is learned from n − E acceptors."
        "§3.3, Learn; Assumption 2";
    LearnedFromTooFew "learned-from-too-few" Multicoordinated
        "A command is learned from a quorum of acceptors."
        "§3.2, Learn";
    OnePromiseTooFew "one-promise-too-few" Multicoordinated
        "Phase2Start waits for 1b messages from a quorum."
        "§3.2, Phase2Start";
    IntersectionTooLarge "intersection-too-large" Multicoordinated
        "Of a k-quorum, |Q| + |k-quorum| − n acceptors are in Q, and no more can be relied on."
        "§3.3.2; item 2: |Q| − E";
    LowestVoteCounts "lowest-vote-counts" Multicoordinated
        "ProvedSafe looks at the votes of the highest round."
        "§3.3.2";
    RoundOfAnotherCreated "round-of-another-created" Multicoordinated
        "Rounds are created by who they are named after."
        "§4.4";
    RoundBegunTwice "round-begun-twice" Multicoordinated
        "A coordinator begins a round once in an instance."
        "§3.2, Phase2Start";
    PickLeftForACollision "pick-left-for-a-collision" Multicoordinated
        "Who sees a collision takes all of what was picked before it joins the next round."
        "§4.2";
    NamesAccepted "names-accepted" Multicoordinated
        "What is accepted is in the log with its command: a pick waits for it, or leaves out who cannot tell it."
        "§4.2; Generalized Paxos, §4";
    PickedTakenForFresh "picked-taken-for-fresh" Multicoordinated
        "A value that was picked closed is left to a single-coordinated round, and not begun with nothing."
        "§3.2, Phase2Start";
    VotesOfThisRoundPicked "votes-of-this-round-picked" Multicoordinated
        "What was accepted in a round is no promise for it."
        "§3.2, Phase1b";
    PickNotMarked "pick-not-marked" Multicoordinated
        "A value of a round that lacks some of what Phase2Start picked is not accepted."
        "§3.2, Phase2Start";
    PartOfThePickAccepted "part-of-the-pick-accepted" Multicoordinated
        "An acceptor accepts no less than what Phase2Start picked."
        "§3.2, Phase2bClassic";
    VrndNotUpdated "vrnd-not-updated" Multicoordinated
        "Who accepts a value in a round sets vrnd to it."
        "§3.2, Phase2bClassic";
    LowRoundJoined "low-round-joined" Multicoordinated
        "A 1a below rnd is refused."
        "§3.2, Phase1b";
    DeferredDespitePromise "deferred-despite-promise" Multicoordinated
        "What was left to other acceptors is not accepted in a round below rnd."
        "§3.2, Phase2bClassic; found by schedules";
    LowRoundAccepted "low-round-accepted" Multicoordinated
        "A 2a below rnd is refused."
        "§3.2, Phase2bClassic";
    CollisionIgnored "collision-ignored" Multicoordinated
        "A collision leads to the next round."
        "§4.2";
    CollisionJoinsThisRound "collision-joins-this-round" Multicoordinated
        "Who sees a collision has joined the next round when it says so."
        "§4.2; item 4";
    PredecessorsIgnored "predecessors-ignored" Multicoordinated
        "Histories agree on a command if the same interfering commands come before it."
        "§3.3.1; item 1";
    WritesUnordered "writes-unordered" Multicoordinated
        "A command comes after the last write to what it touches."
        "§3.3.1";
    ReadsUnordered "reads-unordered" Multicoordinated
        "A write comes after the reads of what it touches."
        "§3.3.1";
    DuplicatesForwarded "duplicates-forwarded" Multicoordinated
        "A command that is in a history already is left out."
        "§3.3, the operator •";
    PredecessorsNotForwarded "predecessors-not-forwarded" Multicoordinated
        "Who is asked to forward a command late forwards what was learned before it."
        "§4.1; rules, section 5";
    PredecessorsNotAccepted "predecessors-not-accepted" Multicoordinated
        "Who is asked to accept a command late accepts what comes before it."
        "§4.1; rules, section 5";
    RoundKeptWithoutQuorum "round-kept-without-quorum" Multicoordinated
        "The leader replaces a round of which too few coordinators or acceptors are left."
        "§4.3";
    LeftBehind "left-behind" Multicoordinated
        "What is proposed in an instance and not in it when it is closed is proposed again."
        "Lamport §6.3";
    AcceptedBeforeDurable "accepted-before-durable" Multicoordinated
        "2b leaves once the value is durable."
        "§4.4";
    OwnVoteBeforeDurable "own-vote-before-durable" Multicoordinated
        "A replica counts its own 2b once the value is durable."
        "§4.4";
    ProposedBeforeBirth "proposed-before-birth" Multicoordinated
        "A proposal leaves once the life in its name is durable."
        "§4.4, incarnations";
    MajorNotRaised "major-not-raised" Multicoordinated
        "Who restarts goes to a higher MCount."
        "§4.4";
    MajorForgotten "major-forgotten" Multicoordinated
        "MCount survives a crash."
        "§4.4";
    VotesForgotten "votes-forgotten" Multicoordinated
        "vrnd and vval survive a crash."
        "§4.4";

    // Client sessions.
    RepeatedNotAnswered "repeated-not-answered" Sessions
        "A command that is repeated is answered again: the first answer may be lost."
        "Ongaro §6.3";
    FirstConnectionKept "first-connection-kept" Sessions
        "A client is answered over the connection that it last used."
        "replica/sessions.rs";
    DuplicateApplied "duplicate-applied" Sessions
        "A command takes effect once, however often it is executed."
        "Ongaro §6.3";
    OutcomeForgottenEarly "outcome-forgotten-early" Sessions
        "An outcome is kept until its client has said that it knows it."
        "Ongaro §6.3";
    OutcomeOfAnother "outcome-of-another" Sessions
        "A command that is repeated returns its own outcome."
        "Ongaro §6.3";
    WindowSlidOverGap "window-slid-over-gap" Sessions
        "A session forgets sequences from its first one on, and none that it has not executed."
        "Ongaro §6.3";
    SessionsShared "sessions-shared" Sessions
        "Each client has a session of its own."
        "Ongaro §6.3";
    SessionsNotTransferred "sessions-not-transferred" Sessions
        "The sessions are part of the replicated state: they go where it goes."
        "Ongaro §6.3";
    UnansweredAcknowledged "unanswered-acknowledged" Sessions
        "A client acknowledges the outcomes below its first unanswered command, and no others."
        "Ongaro §6.3";

    // What operations do.
    CasIgnoresExpected "cas-ignores-expected" Store
        "A cas writes only where it finds what it expects."
        "command.rs";
    RmwReturnsNew "rmw-returns-new" Store
        "An rmw returns what the register held before."
        "command.rs";
    DeleteLeavesValue "delete-leaves-value" Store
        "After a delete the register is absent."
        "command.rs";
    AddIgnoresHeld "add-ignores-held" Store
        "An add makes of a number the one that is greater by the amount."
        "command.rs";
    AddReturnsNew "add-returns-new" Store
        "An add returns what the register held before."
        "command.rs";
    AppendReplaces "append-replaces" Store
        "An append leaves what was there, and the new bytes behind it."
        "command.rs";
    AppendInFront "append-in-front" Store
        "What is appended last stands last."
        "command.rs";
    TransferOverdraws "transfer-overdraws" Store
        "A transfer moves nothing if the payer holds too little."
        "command.rs";
    TransferLosesMoney "transfer-loses-money" Store
        "What the payer loses, the receiver gains."
        "command.rs";
}
