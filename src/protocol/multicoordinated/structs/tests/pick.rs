//! ProvedSafe: what is picked, and that it loses nothing that was chosen.

use proptest::prelude::*;

use super::commands::{Clashing, Edit, clashing, edited, edits, some_clashing};
use crate::command::NodeId;
use crate::protocol::multicoordinated::structs::safe::glbs;
use crate::protocol::multicoordinated::structs::{
    History, Sequence, Single, Structure, Voted, proved_safe,
};

type Votes<S> = Vec<Voted<u32, S>>;

fn vote<S: Structure>(acceptor: u8, vrnd: u32, vval: &S) -> Voted<u32, S> {
    Voted { acceptor: NodeId(acceptor), vrnd, vval: vval.clone() }
}

/// ⟨C⟩ and ⟨D⟩, with C ≍ D.
fn one_and_other() -> [History<Clashing>; 2] {
    let alphabet = clashing(2, 1);
    [0, 1].map(|i| History::of(&alphabet[i..=i]))
}

#[test]
fn after_a_fast_round_what_four_of_five_accepted_is_not_lost_by_subsets_of_n_less_2e() {
    // F = 2, E = 1. C was chosen at a1 to a4; a5 has D; the new round hears a3, a4 and a5.
    let [c, d] = one_and_other();
    let votes = [vote(2, 1, &c), vote(3, 1, &c), vote(4, 1, &d)];
    let safe = proved_safe(&votes, 5, |_| 4).unwrap();
    assert_eq!(safe.gamma.len(), 2);
    assert!(safe.gamma.contains(&c) && safe.gamma.contains(&History::bottom()));
    assert_eq!(safe.values.len(), 1);
    assert_eq!(safe.values[0], c);
    assert!(safe.allows(&c) && !safe.allows(&d) && !safe.allows(&History::bottom()));
    let printed = glbs(&[&c, &c, &d], 5 - 2);
    assert_eq!(printed, [History::bottom()], "n − 2E");
}

#[test]
fn only_votes_of_the_highest_round_count() {
    let [c, d] = one_and_other();
    let votes = [vote(0, 7, &d), vote(1, 8, &c), vote(2, 7, &d)];
    let safe = proved_safe(&votes, 5, |k| if *k == 8 { 3 } else { 4 }).unwrap();
    assert_eq!(safe.values, [c]);
}

#[test]
fn after_majorities_the_pick_is_the_lub_of_all_votes() {
    let alphabet = clashing(3, 0b001);
    let [a, ab, c] = [&alphabet[..1], &alphabet[..2], &alphabet[2..]].map(History::of);
    let votes = [vote(0, 3, &a), vote(1, 3, &c), vote(2, 3, &ab)];
    let safe = proved_safe(&votes, 5, |_| 3).unwrap();
    assert_eq!(safe.values, [History::of(&alphabet)]);
}

#[test]
fn where_too_few_voted_for_a_quorum_any_of_their_values_will_do() {
    let [c, d] = one_and_other();
    let votes = [vote(0, 3, &c), vote(1, 3, &d), vote(2, 2, &c), vote(3, 0, &d)];
    let safe = proved_safe(&votes, 5, |_| 4).unwrap();
    assert_eq!(safe.gamma, []);
    assert_eq!(safe.values, [c.clone(), d.clone()]);
    assert!(safe.allows(&c) && safe.allows(&d) && !safe.allows(&History::bottom()));
}

#[test]
fn quorums_that_are_too_small_for_a_fast_round_are_found_out() {
    let [c, d] = one_and_other();
    let votes = [vote(0, 1, &c), vote(1, 1, &d)];
    let unsafe_ = proved_safe(&votes, 3, |_| 2).unwrap_err();
    assert_eq!(unsafe_.gamma, [c, d]);
    assert!(unsafe_.to_string().starts_with("incompatible values may have been chosen: [History"));
}

#[test]
#[should_panic(expected = "2 acceptors may miss a quorum of 3 among 5")]
fn promises_of_less_than_a_quorum_are_refused() {
    let [c, _] = one_and_other();
    let _ = proved_safe(&[vote(0, 1, &c), vote(1, 1, &c)], 5, |_| 3);
}

#[test]
#[should_panic(expected = "an acceptor votes once")]
fn an_acceptor_that_is_counted_twice_is_refused() {
    let [c, _] = one_and_other();
    let _ = proved_safe(&[vote(0, 1, &c), vote(0, 1, &c), vote(1, 1, &c)], 5, |_| 3);
}

/// All quorums of at least so many of n acceptors, as bits.
fn quorums(n: usize, size: usize) -> impl Iterator<Item = u32> {
    (0..1u32 << n).filter(move |set| set.count_ones() as usize >= size)
}

/// Lamport's Definition 5, word for word.
fn definition_5<S: Structure>(votes: &Votes<S>, n: usize, quorum: usize) -> Option<Vec<S>> {
    let k = votes.iter().map(|vote| vote.vrnd).max()?;
    let within = |vote: &&Voted<u32, S>, r: u32| r & 1 << vote.acceptor.0 != 0;
    let all_voted = |r: &u32| votes.iter().filter(|v| within(v, *r)).all(|vote| vote.vrnd == k);
    let glb = |r| S::glb_of(votes.iter().filter(|v| within(v, r)).map(|vote| &vote.vval));
    let gamma: Vec<S> = quorums(n, quorum).filter(all_voted).map(glb).collect();
    if gamma.is_empty() {
        let voted = votes.iter().filter(|vote| vote.vrnd == k);
        return Some(voted.map(|vote| vote.vval.clone()).collect());
    }
    S::lub_of(&gamma).map(|lub| vec![lub])
}

/// A value is chosen if all of a quorum accepted it or more: the greatest of each quorum (Definition 2).
fn chosen<S: Structure>(accepted: &Votes<S>, round: u32, quorum: usize) -> Vec<S> {
    let voted: Vec<&S> =
        accepted.iter().filter(|vote| vote.vrnd == round).map(|vote| &vote.vval).collect();
    if voted.len() < quorum { Vec::new() } else { glbs(&voted, quorum) }
}

/// n, F and E with n > 2F and n > 2E + F.
const SIZES: [(usize, usize, usize); 5] = [(3, 1, 0), (4, 1, 1), (5, 2, 1), (5, 1, 1), (7, 2, 2)];

/// What happened: in round 1 each acceptor took commands in some order of its own, and some did not vote at all.
#[derive(Clone, Debug)]
struct Happened {
    sizes: (usize, usize, usize),
    alphabet: Vec<Clashing>,
    /// Of each acceptor: whether it voted, and how its value differs from that of the others.
    acceptors: Vec<(bool, Vec<Edit>)>,
}

fn happened() -> impl Strategy<Value = Happened> {
    let acceptor = (proptest::bool::weighted(0.9), prop_oneof![Just(Vec::new()), edits()]);
    let acceptors = proptest::collection::vec(acceptor, 7);
    let sizes = proptest::sample::select(&SIZES[..]);
    (sizes, some_clashing(5), acceptors).prop_map(|(sizes, alphabet, mut acceptors)| {
        acceptors.truncate(sizes.0);
        Happened { sizes, alphabet, acceptors }
    })
}

impl Happened {
    fn accepted<S: Structure<Command = Clashing>>(&self) -> Votes<S> {
        let common = &self.alphabet[..3];
        let value = |edits| S::of(&edited(common, edits, &self.alphabet));
        let votes = (0..).zip(&self.acceptors).map(|(acceptor, (voted, edits))| {
            if *voted { vote(acceptor, 1, &value(edits)) } else { vote(acceptor, 0, &S::bottom()) }
        });
        votes.collect()
    }

    /// Propositions 2 and 3 (Lamport §5.2): what a fast round chose is in every pick, and there always is a pick.
    fn nothing_is_lost<S: Structure<Command = Clashing>>(&self) {
        let (n, f, e) = self.sizes;
        let accepted = self.accepted::<S>();
        let chosen = chosen(&accepted, 1, n - e);
        for q in quorums(n, n - f) {
            let votes: Votes<S> =
                accepted.iter().filter(|vote| q & 1 << vote.acceptor.0 != 0).cloned().collect();
            let size = |k: &u32| if *k == 1 { n - e } else { n };
            let safe = proved_safe(&votes, n, size).expect("Γ is compatible");
            let k = votes.iter().map(|vote| vote.vrnd).max().unwrap();
            assert_eq!(definition_5(&votes, n, size(&k)), Some(safe.values.clone()));
            for (value, safe) in chosen.iter().flat_map(|v| safe.values.iter().map(move |s| (v, s)))
            {
                assert!(value.is_prefix_of(safe), "{value:?} was chosen, {safe:?} is picked");
            }
        }
    }

    /// Where Γ is not compatible, Definition 5 has no value either.
    fn classic_is_as_defined<S: Structure<Command = Clashing>>(&self) {
        let (n, f, _) = self.sizes;
        let accepted = self.accepted::<S>();
        for q in quorums(n, n - f) {
            let votes: Votes<S> =
                accepted.iter().filter(|vote| q & 1 << vote.acceptor.0 != 0).cloned().collect();
            let safe = proved_safe(&votes, n, |_| n - f);
            assert_eq!(definition_5(&votes, n, n - f), safe.ok().map(|safe| safe.values));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_fast_round_chose_is_a_prefix_of_every_pick(happened in happened()) {
        happened.nothing_is_lost::<History<_>>();
        happened.nothing_is_lost::<Sequence<_>>();
        happened.nothing_is_lost::<Single<_>>();
    }

    #[test]
    fn subsets_of_the_least_size_pick_what_definition_5_does(happened in happened()) {
        happened.classic_is_as_defined::<History<_>>();
        happened.classic_is_as_defined::<Sequence<_>>();
        happened.classic_is_as_defined::<Single<_>>();
    }
}
