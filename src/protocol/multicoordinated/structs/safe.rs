//! *ProvedSafe*: the values that a round may begin with (Lamport §5.2, Definition 5; Multicoordinated Paxos
//! §3.3.2).
//!
//! A quorum Q of acceptors has promised to accept nothing below a round. Let k be the highest round in which
//! one of them accepted something. What was chosen below k is a prefix of whatever was accepted at k. What was, or
//! still may be, chosen at k is a prefix of what all of a k-quorum accepted there. Such a quorum takes at least
//! *t = |Q| + |k-quorum| − n* of its acceptors from Q, each of which has accepted something at k. So the glb of the
//! values of any t of those that voted at k may have been chosen, and each must be a prefix of what is picked.
//!
//! The Multicoordinated Paxos paper has n − 2F for t, which is the same while |Q| is n − F, and n − 2E for a
//! fast k. The latter is what two fast quorums have in common; but Q is no fast quorum, and with
//! n − E − F < n − 2E a value that was chosen may be lost. With n = 5, F = 2, E = 1 it is.

use std::fmt;

use super::Structure;
use crate::command::NodeId;
use crate::protocol::quorum::NodeSet;

/// What an acceptor of Q says in its 1b.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Voted<R, S> {
    /// Who says it.
    pub acceptor: NodeId,
    /// *vrnd*
    pub vrnd: R,
    /// *vval*
    pub vval: S,
}

/// What comes of the 1b's of a quorum.
#[derive(Clone, PartialEq, Debug)]
pub struct ProvedSafe<S> {
    /// Γ: the values that may have been chosen at k, each with all its prefixes. Empty if too few voted at k.
    pub gamma: Vec<S>,
    /// The values that may be picked, at least one, each with all that extend it: ⊔Γ, or, where Γ is empty, what
    /// any acceptor accepted at k.
    pub values: Vec<S>,
}

impl<S: Structure> ProvedSafe<S> {
    /// Whether a round may begin with a value.
    pub fn allows(&self, value: &S) -> bool {
        self.values.iter().any(|safe| safe.is_prefix_of(value))
    }
}

/// Γ is not compatible. At a fast k its quorums do not meet their requirement (n > 2E + F), at a classic one
/// acceptors have accepted incompatible values. In a correct run it does not happen (Lamport §5.2,
/// Proposition 3).
#[derive(Clone, PartialEq, Debug)]
pub struct Incompatible<S> {
    /// Γ
    pub gamma: Vec<S>,
}

impl<S: fmt::Debug> fmt::Display for Incompatible<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "incompatible values may have been chosen: {:?}", self.gamma)
    }
}

impl<S: fmt::Debug> std::error::Error for Incompatible<S> {}

/// The values that are safe after the 1b's of exactly the quorum Q, of `n` acceptors. `quorum` is how many are
/// a quorum of a round.
///
/// # Panics
///
/// If the votes are not those of a quorum: an acceptor twice, or so few that a k-quorum may be without them.
pub fn proved_safe<R: Ord, S: Structure>(
    votes: &[Voted<R, S>],
    n: usize,
    quorum: impl Fn(&R) -> usize,
) -> Result<ProvedSafe<S>, Incompatible<S>> {
    let acceptors: NodeSet = votes.iter().map(|vote| vote.acceptor).collect();
    assert_eq!(acceptors.len(), votes.len(), "an acceptor votes once");
    let k = votes.iter().map(|vote| &vote.vrnd).max().expect("a quorum is not empty");
    let voted: Vec<&S> = votes.iter().filter(|vote| vote.vrnd == *k).map(|v| &v.vval).collect();
    let met = votes.len() + quorum(k);
    assert!(met > n, "{} acceptors may miss a quorum of {} among {n}", votes.len(), quorum(k));
    let gamma = glbs(&voted, met - n);
    if gamma.is_empty() {
        return Ok(ProvedSafe { gamma, values: voted.into_iter().cloned().collect() });
    }
    match S::lub_of(&gamma) {
        Some(lub) => Ok(ProvedSafe { gamma, values: vec![lub] }),
        None => Err(Incompatible { gamma }),
    }
}

/// The glbs of all so many of some values, each once. There are many subsets: this is for few acceptors.
pub(super) fn glbs<S: Structure>(values: &[&S], size: usize) -> Vec<S> {
    assert!(size > 0 && values.len() <= 16, "{size} of {} values", values.len());
    let mut glbs = Vec::new();
    for subset in 0..1u32 << values.len() {
        if subset.count_ones() as usize != size {
            continue;
        }
        let chosen = (0..values.len()).filter(|i| subset & 1 << i != 0);
        let glb = S::glb_of(chosen.map(|i| values[i]));
        if !glbs.contains(&glb) {
            glbs.push(glb);
        }
    }
    glbs
}
