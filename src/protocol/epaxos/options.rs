//! What the experiment file may choose for `epaxos`, and the quorums that follow from it.

use serde::{Deserialize, Serialize};

use crate::command::NodeId;
use crate::protocol::quorum::majority;

/// What the experiment file may choose for `epaxos`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EpaxosOptions {
    /// When a command commits after one round trip, and how recovery finds out that it may have.
    pub fast_path: FastPath,
    /// Whether PreAccepts go to a fast quorum only (§6.1), and Accepts to a majority only; the others
    /// are asked when one of those is slow.
    pub thrifty: bool,
    /// Who is in the fast quorum.
    pub quorum: QuorumChoice,
    /// For each replica, all others from the nearest to the farthest, by their place in the cluster
    /// file: the order of [`QuorumChoice::Nearest`], and of [`QuorumChoice::Measured`] until enough is
    /// measured. Whoever plans the run fills it in; empty stands for the order of the places.
    pub near: Vec<Vec<u8>>,
    /// How dependencies are written down.
    pub dependencies: Dependencies,
    /// When a client is answered.
    pub reply: ReplyAt,
    /// A replica's own instances that it has not executed, at most: what bounds chains and cycles.
    pub window: usize,
    /// Whether what interferes with an own instance that others contend for waits until that is executed.
    /// Else a contended key is one cycle that closes only when all windows are full.
    pub hold: bool,
    /// Commands in one instance at most.
    pub batch: usize,
    /// A replica says that it is alive, and how far it is, this often, in ms.
    pub heartbeat_ms: u64,
    /// A replica that is silent for this long is suspected, in ms, until it is heard of again.
    pub suspect_ms: u64,
    /// Who is asked and silent for this long is no longer waited for, in ms: the others are asked.
    pub fallback_ms: u64,
    /// An instance of another replica that is not committed for this long is recovered, in ms; at once
    /// if its owner is suspected.
    pub recover_ms: u64,
    /// Executed instances of each replica that are kept for replicas that lag, at most.
    pub log_instances_max: usize,
    /// Of a replica that is not a member: which one it is to replace (§5.5). Never in a file; whoever starts
    /// the replica says it.
    #[serde(skip)]
    pub replaces: Option<NodeId>,
}

/// When a command commits after one round trip.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FastPath {
    /// When a fast quorum reports exactly the dependencies that the owner proposed: the published
    /// corrected rules. Any fast quorum will do.
    Published,
    /// When all others of a quorum that the command names report the same dependencies, be they more
    /// than the owner proposed. Three replicas never need a second round.
    #[default]
    FixedQuorum,
    /// The paper's own, with sequence numbers: as `FixedQuorum`, and every dependency is known to be
    /// committed by one of the quorum (§6.1, *FP-deps-committed*).
    DepsCommitted,
    /// The paper's own, with sequence numbers: as `FixedQuorum`; Accepts and their answers say which
    /// interfering commands their sender knows (§6.1, *Accept-Deps*). Up to seven replicas.
    AcceptDeps,
    /// The paper's simplified protocol, with sequence numbers (§5): all but one replica report the
    /// same attributes.
    Simplified,
}

/// Who is in the fast quorum of a command.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuorumChoice {
    /// The nearest replicas, always.
    Nearest,
    /// For each command those that have answered fastest of late, and are not suspected.
    #[default]
    Measured,
}

/// How dependencies are written down.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dependencies {
    /// Every interfering instance that its proposer has not executed, one by one.
    #[default]
    Explicit,
    /// For each replica the number below which all its instances are dependencies (§5.3).
    Prefix,
}

/// When a client is answered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplyAt {
    /// When the command is executed, so after all that it depends on is committed: EPaxos-strict (§7).
    #[default]
    Executed,
    /// When it is committed, if its outcome is known by then: a put. What returns a value is answered
    /// when it is executed. Needs sequence numbers (§4, Theorem 5).
    Committed,
}

impl Default for EpaxosOptions {
    fn default() -> Self {
        EpaxosOptions {
            fast_path: FastPath::default(),
            thrifty: true,
            quorum: QuorumChoice::default(),
            near: Vec::new(),
            dependencies: Dependencies::default(),
            reply: ReplyAt::default(),
            window: 256,
            hold: true,
            batch: 4096,
            heartbeat_ms: 50,
            suspect_ms: 1000,
            fallback_ms: 500,
            recover_ms: 1000,
            log_instances_max: 65_536,
            replaces: None,
        }
    }
}

impl FastPath {
    /// Whether commands carry sequence numbers.
    pub fn has_seq(self) -> bool {
        matches!(self, FastPath::DepsCommitted | FastPath::AcceptDeps | FastPath::Simplified)
    }

    /// Whether a command names its fast quorum.
    pub fn names_quorum(self) -> bool {
        matches!(self, FastPath::FixedQuorum | FastPath::DepsCommitted | FastPath::AcceptDeps)
    }

    /// How many of `n` replicas the fast path may do without: *e* = ⌈(F+1)/2⌉ with n = 2F+1; one in the
    /// simplified protocol.
    pub fn absent_max(self, n: usize) -> usize {
        let failures = n - majority(n);
        match self {
            FastPath::Simplified => failures.min(1),
            _ if failures == 0 => 0,
            _ => (failures + 1).div_ceil(2),
        }
    }

    /// The size of a fast quorum of `n` replicas, its owner included: F + ⌊(F+1)/2⌋ (§6.1), or n−1
    /// (§5.1).
    pub fn quorum(self, n: usize) -> usize {
        n - self.absent_max(n)
    }
}

impl EpaxosOptions {
    /// What is wrong with the options for a cluster of `n` replicas, and what to write instead.
    ///
    /// # Errors
    /// One line for the first thing that is wrong.
    pub fn check(&self, n: usize) -> Result<(), String> {
        let wrong = |what: &str| Err(what.to_owned());
        if n.is_multiple_of(2) || !(3..=9).contains(&n) {
            let many = "epaxos needs 3, 5, 7 or 9 replicas";
            return Err(format!("{many}, not {n}; write so many sites, or another mode"));
        }
        if self.fast_path.names_quorum() && n > 7 {
            let path = "fast_path fixed-quorum, deps-committed and accept-deps are proven up to 7 replicas";
            return Err(format!("{path}; write `fast_path: published`"));
        }
        if self.fast_path.has_seq() && self.dependencies == Dependencies::Prefix {
            return wrong(
                "a prefix covers instances that nobody has seen, whose sequence numbers are unknown; \
                 write `dependencies: explicit`, or a fast_path without sequence numbers",
            );
        }
        if self.reply == ReplyAt::Committed && !self.fast_path.has_seq() {
            return wrong(
                "`reply: committed` needs sequence numbers; write `fast_path: deps-committed`, \
                 `accept-deps` or `simplified`",
            );
        }
        if !self.near.is_empty() && !self.near_lists_all_others(n) {
            return wrong(
                "`near` is not, for each replica, a list of all others; write the list or remove `near`",
            );
        }
        Ok(())
    }

    fn near_lists_all_others(&self, n: usize) -> bool {
        let is_whole = |(me, order): (usize, &Vec<u8>)| {
            let mut places: Vec<usize> = order.iter().copied().map(usize::from).collect();
            places.sort_unstable();
            places.into_iter().eq((0..n).filter(|place| *place != me))
        };
        self.near.len() == n && self.near.iter().enumerate().all(is_whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorums_are_those_of_the_paper() {
        let sizes = [3, 5, 7, 9].map(|n| FastPath::FixedQuorum.quorum(n));
        assert_eq!(sizes, [2, 3, 5, 6], "F + floor((F+1)/2)");
        let sizes = [3, 5, 7, 9].map(|n| FastPath::Simplified.quorum(n));
        assert_eq!(sizes, [2, 4, 6, 8], "N-1");
        assert_eq!(FastPath::FixedQuorum.quorum(1), 1);
    }

    #[test]
    fn the_rules_of_recovery_have_room() {
        for n in [3, 5, 7, 9] {
            let (e, f) = (FastPath::Published.absent_max(n), n - majority(n));
            assert!(n >= (2 * e + f - 1).max(2 * f + 1), "{n}");
        }
    }

    #[test]
    fn options_that_contradict_each_other_are_refused_with_a_remedy() {
        let usual = EpaxosOptions::default();
        assert_eq!(usual.check(5), Ok(()));
        assert!(usual.check(4).is_err() && usual.check(11).is_err() && usual.check(9).is_err());
        let committed = EpaxosOptions { reply: ReplyAt::Committed, ..usual.clone() };
        assert!(committed.check(3).is_err());
        let seq = EpaxosOptions { fast_path: FastPath::AcceptDeps, ..committed };
        assert_eq!(seq.check(3), Ok(()));
        let prefix = EpaxosOptions { dependencies: Dependencies::Prefix, ..seq };
        assert!(prefix.check(3).is_err());
    }

    #[test]
    fn the_order_of_distance_lists_all_others_of_each_replica_or_is_absent() {
        let with = |near: &[&[u8]]| EpaxosOptions {
            near: near.iter().map(|order| order.to_vec()).collect(),
            ..EpaxosOptions::default()
        };
        assert_eq!(with(&[&[2, 1], &[0, 2], &[0, 1]]).check(3), Ok(()));
        let short: &[&[u8]] = &[&[2, 1], &[0, 2]];
        let oneself: &[&[u8]] = &[&[2, 1], &[1, 2], &[0, 1]];
        let twice: &[&[u8]] = &[&[1, 1], &[0, 2], &[0, 1]];
        let nobody: &[&[u8]] = &[&[1, 3], &[0, 2], &[0, 1]];
        for near in [short, oneself, twice, nobody] {
            assert!(with(near).check(3).is_err(), "{near:?}");
        }
    }
}
