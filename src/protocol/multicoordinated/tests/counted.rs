//! What a tally counts, against the specification: ⊔ of the ⊓ of every quorum, by the operators of `structs`.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::command::{ClientId, Command, CommandId, Key, NodeId, Operation};
use crate::mutants::{Mutant, with};
use crate::protocol::multicoordinated::classes::ClassIndex;
use crate::protocol::multicoordinated::names::Name;
use crate::protocol::multicoordinated::options::Structure as Interference;
use crate::protocol::multicoordinated::structs::{History, Interferes, Proposal, Structure};
use crate::protocol::multicoordinated::tally::Tally;
use crate::protocol::quorum::NodeSet;

type Named = Proposal<Name, Command>;
type Whole = History<Named>;

/// What some sources have, and in which order their votes came.
struct Case {
    /// By source: its history, as a sequence.
    said: Vec<Vec<Named>>,
    /// Sources, each as often as it votes.
    turns: Vec<usize>,
    pool: Vec<Named>,
}

/// What was compared, so that nobody takes nothing for a success.
#[derive(Default)]
struct Compared {
    lubs: usize,
    longer_than_one_glb: usize,
    incompatible: usize,
    stuck: usize,
    not_stuck: usize,
    seen: usize,
}

fn operation(random: &mut StdRng) -> Operation {
    let key = Key::register(random.random_range(0..2));
    match random.random_range(0..5) {
        0 | 1 => Operation::Get { key },
        2 | 3 => Operation::Add { key, amount: 1 },
        _ => {
            let from = random.random_range(0..3);
            let to = (from + random.random_range(1..3)) % 3;
            Operation::Transfer { from: Key::account(from), to: Key::account(to), amount: 1 }
        }
    }
}

/// Of few proposers, so that some have several.
fn pool(random: &mut StdRng) -> Vec<Named> {
    let mut next = [Name::first_of_life(1); 3];
    (0..random.random_range(1..7))
        .map(|sequence| {
            let proposer = random.random_range(0..3u8);
            let number = next[usize::from(proposer)];
            next[usize::from(proposer)] += 1;
            let id = CommandId { client: ClientId(u64::from(proposer)), sequence };
            let command = Command { id, answered_below: 0, operation: operation(random) };
            Proposal { name: Name { proposer: NodeId(proposer), number }, command }
        })
        .collect()
}

/// Histories as far apart as it comes: some in one order but for an exchange, some in any.
fn draw(seed: u64) -> Case {
    let random = &mut StdRng::seed_from_u64(seed);
    let mut pool = pool(random);
    let is_calm = random.random_bool(0.6);
    let mut said = Vec::new();
    for _ in 0..random.random_range(1..6) {
        let mut order = pool.clone();
        if !is_calm {
            order.shuffle(random);
        } else if random.random_bool(0.5) {
            let (a, b) = (random.random_range(0..order.len()), random.random_range(0..order.len()));
            order.swap(a, b);
        }
        let kept = if random.random_bool(0.5) { 1.0 } else { 0.7 };
        order.retain(|_| random.random_bool(kept));
        said.push(order);
    }
    let mut turns: Vec<usize> = Vec::new();
    for (source, order) in said.iter().enumerate() {
        turns.extend(order.iter().map(|_| source));
    }
    turns.shuffle(random);
    pool.shuffle(random);
    Case { said, turns, pool }
}

impl Case {
    fn size(&self) -> usize {
        self.said.len()
    }

    /// The tally of all votes, and what it said was agreed on, in turn.
    fn counted(&self, quorum: usize) -> (Tally, Vec<Named>) {
        let (mut tally, mut classes) = (Tally::new(5, quorum), ClassIndex::default());
        let (mut agreed, mut next) = (Vec::new(), vec![0; self.size()]);
        for &source in &self.turns {
            let named = &self.said[source][next[source]];
            next[source] += 1;
            let touches = classes.of(&named.command, Interference::History);
            let from = NodeId(source as u8);
            let voted = tally.vote(from, named.name, touches).expect("it is the first time");
            assert_eq!(tally.vote(from, named.name, touches), None, "once is enough");
            if voted.is_agreed {
                agreed.push(named.clone());
            }
        }
        (tally, agreed)
    }

    /// All sets of so many sources.
    fn quorums(&self, quorum: usize) -> Vec<Vec<usize>> {
        let sets = 0..1u32 << self.size();
        let members = |set: u32| (0..self.size()).filter(|at| set & 1 << at != 0).collect();
        sets.map(members).filter(|set: &Vec<usize>| set.len() == quorum).collect()
    }

    fn agrees(&self, quorum: usize, whole: &[Whole], compared: &mut Compared) -> bool {
        let (_, agreed) = self.counted(quorum);
        let glb = |set: &Vec<usize>| Whole::glb_of(set.iter().map(|at| &whole[*at]));
        let glbs: Vec<Whole> = self.quorums(quorum).iter().map(glb).collect();
        let Some(lub) = Whole::lub_of(&glbs) else {
            compared.incompatible += 1;
            return true;
        };
        compared.lubs += usize::from(!lub.is_empty());
        compared.longer_than_one_glb += usize::from(glbs.iter().all(|glb| *glb != lub));
        agreed.len() == lub.len() && Whole::of(&agreed) == lub
    }

    /// Whether every quorum has somebody who cannot have a command any more as others have it: it is not awaited, or
    /// `can_follow` says so of its history and of the others' as far as the command. Where nobody of a quorum has it,
    /// nothing is said against it.
    fn is_stuck(
        &self,
        quorum: usize,
        whole: &[Whole],
        (named, awaited): (&Named, NodeSet),
        can_follow: fn(&Whole, &Whole, &Named) -> bool,
    ) -> bool {
        let may_agree = |set: &Vec<usize>| {
            let (have, lack): (Vec<usize>, Vec<usize>) =
                set.iter().partition(|at| whole[**at].contains(named));
            let all_awaited = lack.iter().all(|at| awaited.contains(NodeId(*at as u8)));
            let same = || {
                let common = Whole::glb_of(have.iter().map(|at| &whole[*at]));
                let past = past(&common, named);
                common.contains(named)
                    && lack.iter().all(|at| can_follow(&whole[*at], &past, named))
            };
            all_awaited && (have.is_empty() || same())
        };
        !self.quorums(quorum).iter().any(may_agree)
    }

    /// Whether the tally is stuck where every quorum is, whoever is still awaited.
    fn sticks(&self, quorum: usize, whole: &[Whole], compared: &mut Compared) -> bool {
        let (tally, _) = self.counted(quorum);
        (0..1u64 << self.size()).map(NodeSet::from_bits).all(|awaited| {
            self.pool.iter().all(|named| {
                let asked = (named, awaited);
                let is_stuck = self.is_stuck(quorum, whole, asked, comes_before);
                let truly =
                    self.is_stuck(quorum, whole, asked, |one, past, _| one.is_compatible(past));
                assert!(truly || !is_stuck, "what is stuck is stuck");
                let count = if is_stuck { &mut compared.stuck } else { &mut compared.not_stuck };
                *count += 1;
                tally.is_stuck(named.name, awaited) == is_stuck
            })
        })
    }

    /// Whether a collision is seen in what votes dispute no later than with the vote that makes a quorum impossible.
    fn is_timely(&self, quorum: usize, compared: &mut Compared) -> bool {
        let (mut tally, mut classes) = (Tally::new(5, quorum), ClassIndex::default());
        let mut said: Vec<Vec<Named>> = vec![Vec::new(); self.size()];
        let all = NodeSet::all(self.size() as u8);
        for &source in &self.turns {
            let named = &self.said[source][said[source].len()];
            said[source].push(named.clone());
            let touches = classes.of(&named.command, Interference::History);
            let from = NodeId(source as u8);
            let voted = tally.vote(from, named.name, touches).expect("it is the first time");
            let seen = voted.is_disputed
                && tally.disputed(from, voted.node).any(|name| tally.is_stuck(name, all));
            if seen {
                compared.seen += 1;
                return true;
            }
            let whole: Vec<Whole> = said.iter().map(Whole::of).collect();
            let is_stuck =
                |named: &Named| self.is_stuck(quorum, &whole, (named, all), comes_before);
            if self.pool.iter().any(is_stuck) {
                return false;
            }
        }
        true
    }
}

/// A history as far as one of its commands.
fn past(history: &Whole, named: &Named) -> Whole {
    let mut kept: Vec<&Named> = Vec::new();
    for command in history.commands().iter().rev() {
        let is_it = command.name == named.name;
        let leads = kept.iter().any(|after| after.interferes(command));
        if is_it || leads {
            kept.push(command);
        }
    }
    Whole::of(kept.into_iter().rev())
}

/// Whether all in one's history that interferes with a command comes before it in another's, as it does in the one's.
/// Two histories may still be incompatible for what comes before the command, which is seen when it is voted for.
fn comes_before(one: &Whole, past: &Whole, named: &Named) -> bool {
    let common = one.glb(past);
    one.commands()
        .iter()
        .filter(|command| command.interferes(named))
        .all(|command| common.contains(command))
}

/// The first seed, with a quorum size, that a tally is wrong with, and what is wrong.
fn first_wrong(seeds: u64, compared: &mut Compared) -> Option<(u64, usize, &'static str)> {
    for seed in 0..seeds {
        let case = draw(seed);
        let whole: Vec<Whole> = case.said.iter().map(Whole::of).collect();
        for quorum in 1..=case.size() {
            let wrong = if !case.agrees(quorum, &whole, compared) {
                "agrees on something else"
            } else if !case.sticks(quorum, &whole, compared) {
                "is stuck elsewhere"
            } else if !case.is_timely(quorum, compared) {
                "sees a collision late"
            } else {
                continue;
            };
            return Some((seed, quorum, wrong));
        }
    }
    None
}

#[test]
fn a_tally_agrees_on_the_lub_of_the_glbs_of_all_quorums_and_is_stuck_where_none_can() {
    let mut compared = Compared::default();
    assert_eq!(first_wrong(400, &mut compared), None, "the seed, the size of quorums");
    let Compared { lubs, longer_than_one_glb, incompatible, stuck, not_stuck, seen } = compared;
    assert!(lubs > 300, "{lubs}");
    assert!(longer_than_one_glb > 50, "{longer_than_one_glb}: one quorum would do");
    assert!(incompatible > 50, "{incompatible}: they never differ");
    assert!(seen > 200, "{seen}: collisions");
    assert!(stuck > 1000 && not_stuck > 1000, "{stuck}, {not_stuck}");
}

#[test]
fn a_tally_that_leaves_out_predecessors_is_told_from_one_that_does_not() {
    for mutant in [Mutant::PredecessorsIgnored, Mutant::WritesUnordered, Mutant::ReadsUnordered] {
        let wrong = with(mutant, || first_wrong(400, &mut Compared::default()));
        assert!(wrong.is_some(), "{mutant:?}");
    }
}
