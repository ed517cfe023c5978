//! What the experiment file may choose for `caspaxos`.

use serde::{Deserialize, Serialize};

use crate::command::NodeId;
use crate::protocol::quorum::majority;

/// What the experiment file may choose for `caspaxos`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaspaxosOptions {
    /// How many acceptors must confirm a Prepare; 0 for a majority.
    pub prepare: u8,
    /// How many acceptors must confirm an Accept; 0 for a majority.
    pub accept: u8,
    /// Whether an Accept carries the next Prepare (§2.2.1), so that a proposer which goes on writing a
    /// register needs one round trip.
    pub one_round_trip: bool,
    /// How a get is carried out.
    pub reads: Reads,
    /// Commands on one register that are composed into one change, at most.
    pub batch: usize,
    /// Who has not answered for this long is asked again, in ms.
    pub resend_ms: u64,
    /// A proposer that lost against another waits for a random time before it tries again: at first up to
    /// about a round trip, which it measures, twice as long each time, at most this, in ms.
    pub backoff_max_ms: u64,
    /// After so many losses in a row on a register a proposer sends the commands that wait there to the one that
    /// won, and for a while all that follow; 0 for never.
    pub forward_after: u8,
    /// How often two replicas compare what they hold, in ms: who lags is sent what it lacks.
    pub repair_ms: u64,
    /// A register without a value that nobody has touched for this long is removed, in ms; 0 for never.
    pub collect_ms: u64,
    /// Of a replica that is not a member: which one it is to replace. Never in a file; whoever starts the
    /// replica says it.
    #[serde(skip)]
    pub replaces: Option<NodeId>,
}

/// How a get is carried out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reads {
    /// As the change x → x (§2.2): it writes. One round trip for who wrote the register last, else two.
    #[default]
    Change,
    /// Acceptors are asked what they hold. If an accept quorum says the same, that was chosen, and nothing
    /// is written: one round trip for everybody. Else once more, then as a change: up to four round trips
    /// where others write meanwhile.
    Clean,
}

impl Default for CaspaxosOptions {
    fn default() -> Self {
        CaspaxosOptions {
            prepare: 0,
            accept: 0,
            one_round_trip: true,
            reads: Reads::default(),
            batch: 4096,
            resend_ms: 500,
            backoff_max_ms: 1000,
            forward_after: 0,
            repair_ms: 500,
            collect_ms: 1000,
            replaces: None,
        }
    }
}

impl CaspaxosOptions {
    /// The sizes of the prepare and accept quorums among `n` acceptors.
    pub fn quorums(&self, n: usize) -> (usize, usize) {
        let size = |chosen: u8| if chosen == 0 { majority(n) } else { usize::from(chosen) };
        (size(self.prepare), size(self.accept))
    }

    /// Whether they are quorums of `n` acceptors; else why not, and what to write.
    ///
    /// # Errors
    /// If a prepare and an accept quorum need not intersect, or are more than there are.
    pub fn check(&self, n: usize) -> Result<(), String> {
        let (prepare, accept) = self.quorums(n);
        if prepare > n || accept > n {
            let more = prepare.max(accept);
            return Err(format!(
                "a quorum of {more} needs more than {n} acceptors; write {n} or less"
            ));
        }
        if prepare + accept <= n {
            let enough = n + 1 - prepare;
            return Err(format!(
                "a prepare quorum of {prepare} and an accept quorum of {accept} of {n} need not intersect; \
                 write accept: {enough} or more"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorums_that_need_not_intersect_are_refused_with_a_remedy() {
        let options = |prepare, accept| CaspaxosOptions { prepare, accept, ..Default::default() };
        for n in 1..=9 {
            options(0, 0).check(n).expect("majorities intersect");
        }
        options(2, 3).check(4).expect("the paper's example");
        options(3, 1).check(3).expect("read all, write one");
        let why = options(2, 2).check(4).unwrap_err();
        assert!(why.contains("write accept: 3 or more"), "{why}");
        assert!(options(4, 1).check(3).unwrap_err().contains("3 acceptors"));
    }
}
