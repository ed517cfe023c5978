//! Which messages a replica takes from another one. The transport says who sent a message, not whether it makes
//! sense; what does not is ignored.

use super::ballot::{Ballot, COUNTER_MAX};
use super::forwarding::FORWARDED_MAX;
use super::message::{CaspaxosMessage, Change, Fate, Part, Promise};
use super::registers::BUCKETS;
use crate::command::{Command, NodeId};

/// Counters above this are not believed: one absurd ballot would else use up all that there are.
const COUNTER_BELIEVED: u64 = COUNTER_MAX / 2;

impl CaspaxosMessage {
    /// Whether a replica in its right mind, in a cluster of `size`, could have sent it as `from`:
    ///
    /// - Who prepares or proposes does so in ballots of its own, all of one epoch, and says what comes next in one
    ///   above them.
    /// - Counters are no higher than a cluster can have come to.
    /// - What is forwarded are clients' commands on one register, each once, under a number that its sender has used.
    /// - Configurations are sound, name replicas that there are, and leave an epoch for what must follow.
    pub fn is_plausible(&self, from: NodeId, size: u8) -> bool {
        let own = |ballot: Ballot| is_believable(ballot) && ballot.proposer() == from;
        from.0 < size
            && match self {
                CaspaxosMessage::Prepare { ballot, keys, .. } => own(*ballot) && !keys.is_empty(),
                CaspaxosMessage::Promise { floor, promises, .. } => {
                    is_believable_or_none(*floor) && promises.iter().all(is_believable_promise)
                }
                CaspaxosMessage::Accept { next, changes, .. } => {
                    let epoch = changes.first().map(|change| change.ballot.epoch());
                    let fits = |change: &Change| {
                        own(change.ballot) && Some(change.ballot.epoch()) == epoch
                    };
                    let above = |change: &Change| next.is_zero() || change.ballot < *next;
                    (next.is_zero() || own(*next) && Some(next.epoch()) == epoch)
                        && epoch.is_some()
                        && changes.iter().all(|change| fits(change) && above(change))
                }
                CaspaxosMessage::Accepted { conflicts, .. } => {
                    conflicts.iter().all(|(_, seen)| is_believable(*seen))
                }
                CaspaxosMessage::Copies { floor, copies, .. } => {
                    is_believable_or_none(*floor)
                        && copies.iter().all(|copy| is_believable(copy.ballot))
                }
                CaspaxosMessage::Remove { tombstones } => {
                    tombstones.iter().all(|(_, ballot)| is_believable(*ballot))
                }
                CaspaxosMessage::Forward { number, seen, settled_below, commands } => {
                    is_believable(*seen)
                        && (1..=COUNTER_BELIEVED).contains(number)
                        && settled_below <= number
                        && are_forwardable(commands)
                }
                CaspaxosMessage::Forwarded { fate: Fate::Done { first, outcomes, .. }, .. } => {
                    !outcomes.is_empty() && *first as usize + outcomes.len() <= FORWARDED_MAX
                }
                CaspaxosMessage::Forwarded { fate: Fate::Refused { winner }, .. } => {
                    is_believable_or_none(*winner)
                }
                CaspaxosMessage::Digests { buckets } => buckets.len() == BUCKETS,
                CaspaxosMessage::Pull { part: Part::Buckets(buckets), .. } => {
                    buckets.is_sorted() && buckets.iter().all(|b| usize::from(*b) < BUCKETS)
                }
                CaspaxosMessage::Configure(configuration) => configuration.is_plausible(size),
                CaspaxosMessage::Replace(leaver) => leaver.0 < size && *leaver != from,
                _ => true,
            }
    }
}

fn are_forwardable(commands: &[Command]) -> bool {
    let key = commands.first().map(|command| command.operation.keys());
    let of_one_register = |command: &Command| Some(command.operation.keys()) == key;
    let mut ids: Vec<_> = commands.iter().map(|command| command.id).collect();
    ids.sort_unstable();
    (1..=FORWARDED_MAX).contains(&commands.len())
        && key.is_some_and(|(key, second)| !key.is_account() && second.is_none())
        && commands.iter().all(|command| of_one_register(command) && command.is_well_formed())
        && ids.is_sorted_by(|a, b| a < b)
}

fn is_believable_promise(promise: &Promise) -> bool {
    match promise {
        Promise::Accepted { ballot, .. } => is_believable_or_none(*ballot),
        Promise::Conflict(seen) => is_believable(*seen),
    }
}

fn is_believable_or_none(ballot: Ballot) -> bool {
    ballot.is_zero() || is_believable(ballot)
}

fn is_believable(ballot: Ballot) -> bool {
    (1..=COUNTER_BELIEVED).contains(&ballot.counter())
}
