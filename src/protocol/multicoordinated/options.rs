//! What the experiment file may choose for `multicoordinated`.

use serde::{Deserialize, Serialize};

use super::RUNS_MAX;
use crate::protocol::quorum::majority;

/// What the experiment file may choose for `multicoordinated`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MulticoordinatedOptions {
    /// The rounds that the leader opens as long as nothing speaks against them.
    pub rounds: Rounds,
    /// The replica that leads as long as it is up, by its place in the cluster file.
    pub leader: u8,
    /// The coordinators of multicoordinated rounds, by their places in the cluster file; none for all
    /// replicas. Any majority of them is a coordinator quorum.
    pub coordinators: Vec<u8>,
    /// How many acceptors are a quorum of a classic round; 0 for a majority.
    pub classic: u8,
    /// How many acceptors are a quorum of a fast round; 0 for the least that the quorum requirement
    /// allows beside `classic`.
    pub fast: u8,
    /// Whether a command goes to one coordinator quorum and one acceptor quorum, chosen by its key (§4.1), and to
    /// all others only if it is not learned in time. Else to all of them, and the fastest quorums count.
    pub balance: bool,
    /// What follows when acceptors or coordinators have put interfering commands in different orders.
    pub recovery: Recovery,
    /// Whether rounds with fewer coordinators come between a collision in a multicoordinated round and
    /// single-coordinated rounds (§4.5).
    pub shrink: bool,
    /// Which commands interfere.
    pub structure: Structure,
    /// Commands after which an instance is closed by a checkpoint (Lamport §6.3), about.
    pub checkpoint: usize,
    /// How long no two interfering commands must have met before the leader opens the chosen rounds again
    /// after a collision, in ms. It doubles with each collision that comes soon after.
    pub return_after_ms: u64,
    /// What is not learned after this long is sent to all quorums, and after twice as long the leader begins
    /// another round, in ms.
    pub fallback_ms: u64,
    /// How many runs of names a message carries at most. Fewer than usual help nobody but who checks what becomes of
    /// values that need several.
    pub runs_max: usize,
    /// A replica says that it is alive this often, in ms.
    pub heartbeat_ms: u64,
    /// A replica that is silent for this long is suspected, in ms, until it proves the suspicion wrong.
    pub election_timeout_ms: u64,
}

/// The kinds of rounds that may be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rounds {
    /// Acceptors take proposals from proposers: Generalized Paxos.
    Fast,
    /// One coordinator, as in classic Paxos.
    Single,
    /// Several coordinators, of which a quorum must agree.
    #[default]
    Multi,
}

/// How a collision is resolved (§4.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recovery {
    /// Who sees it goes to the next round, which is single-coordinated, as if asked to: two more steps.
    #[default]
    Coordinated,
    /// In a fast round the next one is fast, and each acceptor its own coordinator: one more step, and perhaps
    /// another collision, which is resolved by the other way.
    Uncoordinated,
    /// The leader begins the next round from scratch: four more steps.
    Leader,
}

/// Which commands interfere, and so what is agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Structure {
    /// Those that touch a common key, unless both read: command histories.
    #[default]
    History,
    /// Any two: sequences, as Paxos and Fast Paxos agree on.
    Sequence,
}

impl Default for MulticoordinatedOptions {
    fn default() -> Self {
        MulticoordinatedOptions {
            rounds: Rounds::default(),
            leader: 0,
            coordinators: Vec::new(),
            classic: 0,
            fast: 0,
            balance: false,
            recovery: Recovery::default(),
            shrink: false,
            structure: Structure::default(),
            checkpoint: 65_536,
            return_after_ms: 1000,
            fallback_ms: 500,
            runs_max: RUNS_MAX,
            heartbeat_ms: 50,
            election_timeout_ms: 1000,
        }
    }
}

/// Acceptor quorums: any so many acceptors.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct QuorumSizes {
    /// Of a classic round, n − F.
    pub classic: usize,
    /// Of a fast round, n − E.
    pub fast: usize,
}

impl MulticoordinatedOptions {
    /// The sizes of quorums of `n` acceptors.
    pub fn quorums(&self, n: usize) -> QuorumSizes {
        let classic = if self.classic == 0 { majority(n) } else { usize::from(self.classic) };
        let least = |fast: &usize| meet(n, classic, *fast);
        let fast = match self.fast {
            0 => (classic.min(n)..n).find(least).unwrap_or(n),
            chosen => usize::from(chosen),
        };
        QuorumSizes { classic, fast }
    }

    /// Whether they meet the quorum requirements (Assumptions 1 and 2); else why not, and what to write.
    ///
    /// # Errors
    /// If two quorums need not intersect, or are more than there are.
    pub fn check(&self, n: usize) -> Result<(), String> {
        let QuorumSizes { classic, fast } = self.quorums(n);
        if !(1..=RUNS_MAX).contains(&self.runs_max) {
            return Err(format!(
                "a message carries 1 to {RUNS_MAX} runs of names, not {}",
                self.runs_max
            ));
        }
        if classic > n || fast > n {
            let more = classic.max(fast);
            return Err(format!(
                "a quorum of {more} needs more than {n} acceptors; write {n} or less"
            ));
        }
        if 2 * classic <= n {
            let enough = majority(n);
            return Err(format!(
                "two classic quorums of {classic} of {n} need not intersect; write classic: {enough} or more"
            ));
        }
        if !meet(n, classic, fast) {
            let enough = (1..=n).find(|fast| meet(n, classic, *fast)).unwrap_or(n);
            return Err(format!(
                "a classic quorum of {classic} and two fast quorums of {fast} of {n} need not have an acceptor in \
                 common; write fast: {enough} or more"
            ));
        }
        Ok(())
    }
}

/// Assumption 2: any quorum meets the intersection of any two fast ones.
fn meet(n: usize, classic: usize, fast: usize) -> bool {
    classic.min(fast) + 2 * fast > 2 * n
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(classic: u8, fast: u8) -> MulticoordinatedOptions {
        MulticoordinatedOptions { classic, fast, ..Default::default() }
    }

    #[test]
    fn fast_quorums_beside_majorities_are_the_least_that_meet() {
        let fast = |n| options(0, 0).quorums(n).fast;
        let three_quarters = |n: usize| (3 * n).div_ceil(4);
        for n in 1..=13 {
            options(0, 0).check(n).expect("the defaults meet");
            assert_eq!(fast(n), three_quarters(n), "of {n}");
        }
        assert_eq!([3, 5, 7].map(fast), [3, 4, 6]);
    }

    #[test]
    fn one_size_for_both_is_more_than_two_thirds() {
        for n in 1..=13_usize {
            let size = 2 * n / 3 + 1;
            options(size as u8, size as u8).check(n).expect("more than two thirds");
            let less = size - 1;
            if less > 0 {
                assert!(options(less as u8, less as u8).check(n).is_err(), "{less} of {n}");
            }
        }
    }

    #[test]
    fn quorums_that_need_not_intersect_are_refused_with_a_remedy() {
        let why = options(2, 0).check(5).unwrap_err();
        assert!(why.contains("write classic: 3 or more"), "{why}");
        let why = options(3, 3).check(5).unwrap_err();
        assert!(why.contains("write fast: 4 or more"), "{why}");
        assert!(options(6, 0).check(5).unwrap_err().contains("5 acceptors"));
    }
}
