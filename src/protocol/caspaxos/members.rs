//! Who the acceptors are, and which of them are a quorum (§2.2.2).
//!
//! *Steps.* From the acceptors S to S' a cluster goes through a joint configuration, as the paper's: while it
//! lasts, Prepares still ask a quorum of S, and Accepts need a quorum of S and one of S'. Then what S has
//! chosen before is copied to S' ("rescan"). Then S' is alone. For S' = S and one more this is the paper's
//! "accept set first, prepare set last"; the other way round for one less.
//!
//! *"All proposers".* The paper has every proposer told before a step is done, also one that is stopped. Here
//! configurations have an epoch, which stands first in every ballot. An acceptor that knows of an epoch takes
//! no ballot of an earlier one, and tells who comes with it. So a proposer that was not told can do no harm:
//! a quorum of S in the new epoch leaves none of the old.
//!
//! *Which configuration follows which* is decided in a register like any other, [`MEMBERS_KEY`], by a
//! compare-and-set; it is copied with the others. So two operators cannot lead a cluster two ways, and whoever
//! finds a change half done can go on with it.

use super::options::CaspaxosOptions;
use crate::command::{Key, NodeId, Value};
use crate::mutants::mutant;
use crate::protocol::Cluster;
use crate::protocol::quorum::{NodeSet, majority};

/// The register that holds the configuration. No client can name it: it is an account.
pub const MEMBERS_KEY: Key = Key(u64::MAX);

/// Acceptors, and how many of them are a quorum.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Group {
    /// Who.
    pub members: NodeSet,
    /// How many confirm a Prepare.
    pub prepare: u8,
    /// How many confirm an Accept.
    pub accept: u8,
}

impl Group {
    /// With majorities as quorums.
    pub fn of(members: NodeSet) -> Group {
        let enough = majority(members.len()) as u8;
        Group { members, prepare: enough, accept: enough }
    }

    fn has(&self, size: u8, confirmed: NodeSet) -> bool {
        confirmed.and(self.members).len() >= usize::from(size)
    }

    /// Whether every prepare quorum has one of these.
    fn meets_every_prepare_quorum(&self, some: NodeSet) -> bool {
        let without = self.members.minus(some).len();
        without < usize::from(self.prepare)
    }

    /// Whether its quorums intersect, and there are as many members as they need.
    pub fn is_sound(&self) -> bool {
        let (n, p, a) = (self.members.len(), usize::from(self.prepare), usize::from(self.accept));
        (1..=n).contains(&p) && (1..=n).contains(&a) && p + a > n
    }
}

/// A configuration.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Configuration {
    /// The configurations are counted: 0 is the one of the cluster file.
    pub epoch: u16,
    /// The acceptors before, while a change is under way.
    pub old: Option<Group>,
    /// The acceptors, or those to be.
    pub new: Group,
}

impl Configuration {
    /// That of the cluster file.
    pub fn first(cluster: Cluster, options: &CaspaxosOptions) -> Configuration {
        let members = NodeSet::all(cluster.members() as u8);
        let (prepare, accept) = options.quorums(cluster.members());
        let new = Group { members, prepare: prepare as u8, accept: accept as u8 };
        Configuration { epoch: 0, old: None, new }
    }

    /// The joint configuration that leads to these members.
    #[must_use]
    pub fn towards(&self, members: NodeSet) -> Configuration {
        Configuration { epoch: self.epoch + 1, old: Some(self.new), new: Group::of(members) }
    }

    /// What follows a joint configuration.
    #[must_use]
    pub fn settled(&self) -> Configuration {
        Configuration { epoch: self.epoch + 1, old: None, new: self.new }
    }

    /// Whether a change is under way.
    pub fn is_joint(&self) -> bool {
        self.old.is_some()
    }

    /// Whether there are epochs left for a change.
    pub fn may_change(&self) -> bool {
        !self.is_joint() && self.epoch < u16::MAX - 1
    }

    /// Whether there is an epoch left for what a joint configuration leads to.
    fn may_settle_later(&self) -> bool {
        !self.is_joint() || self.epoch < u16::MAX
    }

    /// All acceptors, old and new.
    pub fn members(&self) -> NodeSet {
        self.old.map_or(NodeSet::default(), |old| old.members).or(self.new.members)
    }

    /// Who is asked to Prepare: while a change is under way, those before.
    pub fn preparers(&self) -> NodeSet {
        self.preparing().members
    }

    fn preparing(&self) -> &Group {
        match &self.old {
            Some(_) if mutant!(PreparesAskNewMembers) => &self.new,
            Some(old) => old,
            None => &self.new,
        }
    }

    /// Whether those who confirmed a Prepare are enough.
    pub fn is_prepare_quorum(&self, confirmed: NodeSet) -> bool {
        let group = self.preparing();
        group.has(group.prepare, confirmed)
    }

    /// Whether those who confirmed an Accept are enough.
    pub fn is_accept_quorum(&self, confirmed: NodeSet) -> bool {
        let old = self.old.filter(|_| !mutant!(AcceptsSkipOldMembers));
        old.is_none_or(|old| old.has(old.accept, confirmed))
            && (self.new.has(self.new.accept, confirmed) || mutant!(AcceptsSkipNewMembers))
    }

    /// Whether a Prepare that these refuse can still be confirmed by enough.
    pub fn can_prepare_without(&self, refused: NodeSet) -> bool {
        self.is_prepare_quorum(self.members().minus(refused))
    }

    /// Whether an Accept that these refuse can still be confirmed by enough.
    pub fn can_accept_without(&self, refused: NodeSet) -> bool {
        self.is_accept_quorum(self.members().minus(refused))
    }

    /// Whether those whose records were copied have, together, everything that the configuration before has
    /// chosen: each of its accept quorums has one of them. All of them have said that they are in this epoch.
    pub fn is_source_quorum(&self, copied: NodeSet) -> bool {
        self.is_prepare_quorum(copied)
    }

    /// Whether enough have copied what was chosen before, so that each prepare quorum of the new members
    /// finds it.
    pub fn may_settle(&self, merged: NodeSet) -> bool {
        self.new.meets_every_prepare_quorum(merged) || mutant!(SettledWithoutRescan)
    }

    /// Whether who knows of this configuration and then of that, and of none in between, was an acceptor all the
    /// time. Members follow members: those of one settled configuration are known here, those of another there;
    /// if they are the same or follow each other, nobody can have left and come back.
    pub fn leaves_member(&self, node: NodeId, then: &Configuration) -> bool {
        let settles = self.epoch + u16::from(self.is_joint());
        let (members, since) = match &then.old {
            Some(old) => (old.members, then.epoch - 1),
            None => (then.new.members, then.epoch),
        };
        let follows = since.saturating_sub(settles) <= 2;
        self.new.members.contains(node) && members.contains(node) && follows
    }

    /// Whether an acceptor in this configuration takes ballots of an epoch: none of an earlier one.
    pub fn takes(&self, epoch: u16) -> bool {
        epoch >= self.epoch || mutant!(OldEpochsAccepted)
    }

    /// Whether it can have come of a cluster of `size`.
    pub fn is_plausible(&self, size: u8) -> bool {
        let sound = |group: &Group| group.is_sound() && group.members.is_within(size);
        sound(&self.new) && self.old.as_ref().is_none_or(sound) && self.may_settle_later()
    }

    /// As the value of [`MEMBERS_KEY`].
    pub fn to_value(self) -> Value {
        let mut value = Value::from_slice(&self.epoch.to_le_bytes());
        for group in self.old.iter().chain([&self.new]) {
            value.extend_from_slice(&group.members.bits().to_le_bytes());
            value.extend_from_slice(&[group.prepare, group.accept]);
        }
        value
    }

    /// From the value of [`MEMBERS_KEY`]; none if it is no configuration.
    pub fn from_value(value: &[u8]) -> Option<Configuration> {
        const GROUP_BYTES: usize = 10;
        let (epoch, groups) = value.split_first_chunk::<2>()?;
        let group = |bytes: &[u8]| {
            let (members, sizes) = bytes.split_first_chunk::<8>()?;
            let members = NodeSet::from_bits(u64::from_le_bytes(*members));
            Some(Group { members, prepare: *sizes.first()?, accept: *sizes.get(1)? })
        };
        let (old, new) = match groups.len() {
            GROUP_BYTES => (None, groups),
            n if n == 2 * GROUP_BYTES => {
                (Some(group(&groups[..GROUP_BYTES])?), &groups[GROUP_BYTES..])
            }
            _ => return None,
        };
        Some(Configuration { epoch: u16::from_le_bytes(*epoch), old, new: group(new)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(nodes: impl IntoIterator<Item = u8>) -> NodeSet {
        nodes.into_iter().map(crate::command::NodeId).collect()
    }

    /// All subsets of five nodes.
    fn subsets() -> impl Iterator<Item = NodeSet> {
        (0..32).map(NodeSet::from_bits)
    }

    fn changes() -> impl Iterator<Item = (Configuration, Configuration)> {
        let sets = || subsets().filter(|set| set.len() >= 2);
        sets().flat_map(move |from| {
            sets().map(move |to| {
                let stable = Configuration { epoch: 4, old: None, new: Group::of(from) };
                (stable, stable.towards(to))
            })
        })
    }

    /// A later attempt must see what an earlier one chose: so in each configuration, and from one to the next.
    #[test]
    fn prepare_quorums_meet_the_accept_quorums_of_their_configuration_and_of_the_one_before() {
        for (stable, joint) in changes() {
            for accepted in subsets() {
                for prepared in subsets() {
                    let meet = !accepted.and(prepared).is_empty();
                    let pairs = [(&stable, &stable), (&stable, &joint), (&joint, &joint)];
                    let settled = joint.settled();
                    let pairs = pairs.into_iter().chain([(&joint, &settled), (&settled, &settled)]);
                    for (before, after) in pairs {
                        let both =
                            before.is_accept_quorum(accepted) && after.is_prepare_quorum(prepared);
                        assert!(!both || meet, "{before:?} {accepted:?}, {after:?} {prepared:?}");
                    }
                }
            }
        }
    }

    /// The rescan carries over what the last but one chose.
    #[test]
    fn who_has_merged_from_a_source_quorum_stands_for_what_was_chosen_before() {
        for (stable, joint) in changes() {
            for (accepted, copied) in subsets().flat_map(|a| subsets().map(move |c| (a, c))) {
                if stable.is_accept_quorum(accepted) && joint.is_source_quorum(copied) {
                    assert!(!accepted.and(copied).is_empty(), "{joint:?} {accepted:?} {copied:?}");
                }
            }
            for (merged, prepared) in subsets().flat_map(|m| subsets().map(move |p| (m, p))) {
                if joint.may_settle(merged) && joint.settled().is_prepare_quorum(prepared) {
                    assert!(!merged.and(prepared).is_empty(), "{joint:?} {merged:?} {prepared:?}");
                }
            }
        }
    }

    #[test]
    fn one_more_acceptor_is_the_papers_accept_quorum_first() {
        let three = Configuration { epoch: 0, old: None, new: Group::of(set(0..3)) };
        let joint = three.towards(set(0..4));
        assert_eq!(joint.preparers(), set(0..3));
        assert!(joint.is_prepare_quorum(set([0, 1])) && !joint.is_prepare_quorum(set([0, 3])));
        assert!(joint.is_accept_quorum(set([0, 1, 3])) && !joint.is_accept_quorum(set([0, 1])));
        assert!(joint.settled().is_prepare_quorum(set([0, 1, 3])));
        assert!(!joint.settled().is_prepare_quorum(set([0, 1])));
    }

    #[test]
    fn who_missed_so_much_that_it_may_have_left_in_between_is_not_taken_for_one_who_stayed() {
        let stable = Configuration { epoch: 2, old: None, new: Group::of(set(0..3)) };
        let next = stable.towards(set(1..4));
        let stays = |from: &Configuration, to: &Configuration| from.leaves_member(NodeId(1), to);
        assert!(stays(&stable, &next) && stays(&next, &next.settled()));
        assert!(stays(&stable, &next.settled()));
        let third = next.settled().towards(set([1, 5]));
        assert!(
            stays(&stable, &third) && stays(&next, &third) && !stays(&stable, &third.settled())
        );
        // p0 left with the first change, p3 came with it.
        assert!(!stable.leaves_member(NodeId(0), &next.settled()));
        assert!(!stable.leaves_member(NodeId(3), &next));
        assert!(next.leaves_member(NodeId(3), &next.settled()));
    }

    #[test]
    fn a_configuration_is_read_back_from_its_value() {
        let stable = Configuration { epoch: 513, old: None, new: Group::of(set([0, 2, 63])) };
        for configuration in
            [stable, stable.towards(set([1, 2])), stable.towards(set(0..5)).settled()]
        {
            assert_eq!(Configuration::from_value(&configuration.to_value()), Some(configuration));
        }
        assert_eq!(Configuration::from_value(b""), None);
        assert_eq!(Configuration::from_value(&[0; 13]), None);
        assert!(
            !Configuration {
                epoch: 0,
                old: None,
                new: Group { accept: 1, ..Group::of(set(0..3)) }
            }
            .is_plausible(3)
        );
        assert!(stable.is_plausible(64) && !stable.is_plausible(63));
    }
}
