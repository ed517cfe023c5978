//! One instance: the ballot array, what coordinators have tried, and what is chosen (A.1, A.2).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::histories::{Element, Grown, Placed, Touches};
use crate::check::invariants::{Held, hold};
use crate::command::NodeId;
use crate::protocol::multicoordinated::message::Vote;
use crate::protocol::multicoordinated::names::Run;
use crate::protocol::multicoordinated::round::{RType, Round};

/// *cval* of a coordinator in a round, as its 2a messages say.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Tried {
    /// How much of it *Phase2Start* picked.
    start: usize,
    value: Grown,
}

impl Tried {
    /// Whether all of what was picked is known.
    fn is_begun(&self) -> bool {
        self.value.len() >= self.start
    }

    fn has_picked(&self, placed: Placed) -> bool {
        self.value.place(placed).is_some_and(|place| place < self.start)
    }
}

/// *bA_a\[m\]* (Definition 2): what an acceptor has accepted in a round.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Accepted {
    value: Grown,
    /// How much of it is durable.
    durable: usize,
}

/// What was seen of one instance.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Agreement {
    tried: BTreeMap<(Round, NodeId), Tried>,
    accepted: BTreeMap<(Round, NodeId), Accepted>,
    /// What is chosen in each round.
    chosen: BTreeMap<Round, BTreeSet<Placed>>,
    /// ⊔ of all that is chosen.
    lub: Grown,
}

/// A part of a value: where it begins, and its elements with what they touch.
pub(super) type Part = (u64, Vec<(Element, Touches)>);

/// Who says something in a round.
pub(super) type At = (Round, NodeId);

const SAFE_PICKS: &str = "picked values are safe";
const SAFE_VOTES: &str = "accepted values are safe";
const TRIED: &str = "accepted values were tried";
const DURABLE: &str = "durable before told";

/// A value goes on with this part; what of that is there already is the same. Else what contradicts it.
fn extend(value: &mut Grown, (base, elements): &Part) -> Result<(), String> {
    let base = *base as usize;
    if base > value.len() {
        return Err(format!("{} elements are there, and it goes on from {base}", value.len()));
    }
    for (place, (element, touches)) in (base..).zip(elements) {
        match value.at(place) {
            Some(before) if before == *element => {}
            Some(before) => return Err(format!("{before} was at {place}, now it is {element}")),
            None if value.contains(*element) => return Err(format!("{element} is there twice")),
            None if value.contains(Element::Checkpoint) => {
                return Err(format!("{element} comes after the checkpoint"));
            }
            None => drop(value.append(*element, touches)),
        }
    }
    Ok(())
}

impl Agreement {
    /// ⊔ of all that is chosen.
    pub(super) fn chosen(&self) -> &Grown {
        &self.lub
    }

    fn chosen_below(&self, round: Round) -> impl Iterator<Item = (Round, Placed)> {
        let below = self.chosen.range(..round);
        below.flat_map(|(round, placed)| placed.iter().map(|placed| (*round, *placed)))
    }

    /// *Phase2Start* happens once in a round, and *Phase2aClassic* appends (§3.2): a coordinator sends one growing value
    /// in a round, however often, and over all its lives.
    pub(super) fn one_value_per_coordinator(&mut self, at: At, start: u64, part: &Part) -> Held {
        let start = start as usize;
        let is_new = !self.tried.contains_key(&at);
        let tried = self.tried.entry(at).or_default();
        tried.start = if is_new { start } else { tried.start };
        let was_begun = !is_new && tried.is_begun();
        let extended = extend(&mut tried.value, part);
        let same = extended.is_ok() && tried.start == start;
        hold(same, "one value per coordinator", || {
            format!("{} in {}: picked {} and {start}; {extended:?}", at.1, at.0, tried.start)
        })?;
        if was_begun || !tried.is_begun() { Ok(()) } else { self.picked_values_are_safe(at) }
    }

    /// *maxTried* invariant, part 2 (A.2): what *Phase2Start* picks extends all that is chosen in lower rounds.
    fn picked_values_are_safe(&self, at: At) -> Held {
        let tried = &self.tried[&at];
        let lost = self.chosen_below(at.0).find(|(_, placed)| !tried.has_picked(*placed));
        hold(lost.is_none(), SAFE_PICKS, || begins_without(at, lost))
    }

    /// The same of a round that begins with ⊥.
    pub(super) fn nothing_is_chosen_below(&self, at: At) -> Held {
        let lost = self.chosen_below(at.0).next();
        hold(lost.is_none(), SAFE_PICKS, || begins_without(at, lost))
    }

    /// *vrnd* never decreases (A.1; §4.4 across restarts), and *vval* only grows within a round.
    pub(super) fn votes_grow(&mut self, at: At, part: &Part) -> Held {
        let latest = self.rounds_of(at.1).last();
        hold(latest.is_none_or(|latest| latest <= at.0), "votes grow", || {
            format!("{} accepts in {} after {latest:?}", at.1, at.0)
        })?;
        let value = &mut self.accepted.entry(at).or_default().value;
        let have = value.len();
        let extended = extend(value, part);
        hold(part.0 as usize == have && extended.is_ok(), "votes grow", || {
            let (round, node) = at;
            format!("{node} has {have} in {round}, and goes on from {}: {extended:?}", part.0)
        })
    }

    /// The rounds in which an acceptor has accepted something, ascending.
    fn rounds_of(&self, node: NodeId) -> impl Iterator<Item = Round> {
        self.accepted.keys().filter(move |(_, other)| *other == node).map(|(round, _)| *round)
    }

    /// *bA* invariant, part 1 (A.2): what is accepted extends all that is chosen in lower rounds, from the first record
    /// of a round on.
    pub(super) fn accepted_values_are_safe(&self, at: At) -> Held {
        let value = &self.accepted[&at].value;
        let lost = self.chosen_below(at.0).find(|(_, placed)| !value.has(*placed));
        hold(lost.is_none(), SAFE_VOTES, || accepts_without(at, lost))
    }

    /// *bA* invariant, part 2 (A.2): what is accepted from some place on was tried. In a fast round it begins with
    /// what the creator has begun with.
    pub(super) fn accepted_values_were_tried(&self, at: At, from: usize) -> Held {
        let (round, _) = at;
        let value = &self.accepted[&at].value;
        let of_creator = self.tried.get(&(round, round.creator)).map(|tried| &tried.value);
        match round.kind {
            RType::Single => is_part_of_the_creators(at, (value, from), of_creator),
            RType::Multi => self.is_in_a_quorum_of_coordinators(at, (value, from)),
            RType::Fast => extends_the_beginning(at, value, of_creator),
            RType::Uncoordinated => Ok(()),
        }
    }

    /// *Phase2bClassic* (§3.2): u is ⊓ of the values of a coordinator quorum, so each element is in all of them, with
    /// the same past. As quorums intersect, all values of a round are compatible, too.
    fn is_in_a_quorum_of_coordinators(&self, at: At, (value, from): (&Grown, usize)) -> Held {
        let (round, _) = at;
        let votes = |placed: Placed| {
            let tried = round.coordinators.iter().filter_map(|node| self.tried.get(&(round, node)));
            tried.filter(|tried| tried.value.has(placed)).count()
        };
        let quorum = round.coordinator_quorum();
        let lacks = value.from(from).iter().find(|placed| votes(**placed) < quorum);
        hold(lacks.is_none(), TRIED, || accepts_untried(at, lacks))
    }

    /// Whether the creator of a round has begun it here with a value.
    pub(super) fn is_begun(&self, round: Round) -> bool {
        self.tried.get(&(round, round.creator)).is_some_and(Tried::is_begun)
    }

    /// Whether somebody has accepted something here in a round.
    pub(super) fn has_accepted(&self, at: At) -> bool {
        self.accepted.contains_key(&at)
    }

    /// Takes back what the log of an acceptor says.
    pub(super) fn recall(&mut self, at: At, part: &Part) {
        let accepted = self.accepted.entry(at).or_default();
        // What contradicts itself was seen when it was written.
        let _ = extend(&mut accepted.value, part);
        accepted.durable = accepted.value.len();
    }

    /// An acceptor has crashed, and knows nothing.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.accepted.retain(|(_, other), _| *other != node);
    }

    /// A part of what an acceptor has accepted is durable. What a quorum has of it is *chosen* (Definition 3).
    pub(super) fn store(&mut self, at: At, part: &Part, quorum: usize) -> Held {
        let (round, _) = at;
        let Some(accepted) = self.accepted.get_mut(&at) else { return Ok(()) };
        let from = part.0 as usize;
        accepted.durable = accepted.durable.max(from + part.1.len());
        let stored = accepted.value.from(from).to_vec();
        for (placed, (_, touches)) in stored.into_iter().zip(&part.1) {
            if self.holders(round, placed) >= quorum
                && self.chosen.entry(round).or_default().insert(placed)
            {
                self.chosen_values_are_compatible(round, placed, touches)?;
                self.what_is_above_extends(round, placed)?;
            }
        }
        Ok(())
    }

    /// How many acceptors durably have an element in a round, with this past.
    fn holders(&self, round: Round, placed: Placed) -> usize {
        let all = self.accepted.range((round, NodeId(0))..=(round, NodeId(u8::MAX)));
        let has = |accepted: &Accepted| {
            accepted.value.place(placed).is_some_and(|place| place < accepted.durable)
        };
        all.filter(|(_, accepted)| has(accepted)).count()
    }

    /// Proposition 1 (A.1): the values that are chosen are compatible, over all rounds.
    fn chosen_values_are_compatible(
        &mut self,
        round: Round,
        placed: Placed,
        touches: &Touches,
    ) -> Held {
        let (element, _) = placed;
        // What comes before it was chosen before it. If that is not all that it meets here, they do not fit together.
        let same = match self.lub.contains(element) {
            true => self.lub.has(placed),
            false => self.lub.append(element, touches) == placed,
        };
        hold(same, "chosen values are compatible", || {
            format!("{element} is chosen in {round}, and does not fit to {:?}", self.chosen)
        })
    }

    /// Both invariants' safety, where the choice comes after what is accepted or picked in higher rounds.
    fn what_is_above_extends(&self, round: Round, placed: Placed) -> Held {
        let above = (Bound::Excluded((round, NodeId(u8::MAX))), Bound::Unbounded);
        let lost = Some((round, placed));
        for (at, accepted) in self.accepted.range(above) {
            hold(accepted.value.has(placed), SAFE_VOTES, || accepts_without(*at, lost))?;
        }
        for (at, tried) in self.tried.range(above).filter(|(_, tried)| tried.is_begun()) {
            hold(tried.has_picked(placed), SAFE_PICKS, || begins_without(*at, lost))?;
        }
        Ok(())
    }

    /// *Phase2bClassic*, *Phase2bFast* (§4.4): a 2b says what its sender has durably accepted.
    pub(super) fn durable_before_told(
        &self,
        at: At,
        (base, names, closes): (u64, &[Run], bool),
    ) -> Held {
        let commands = names.iter().copied().flat_map(Run::names).map(Element::Command);
        let elements = commands.chain(closes.then_some(Element::Checkpoint));
        let known = self.accepted.get(&at);
        let has = |place| known.filter(|known| place < known.durable)?.value.at(place);
        let lacks =
            (base as usize..).zip(elements).find(|(place, said)| has(*place) != Some(*said));
        hold(lacks.is_none(), DURABLE, || format!("{} says {lacks:?} in {}", at.1, at.0))
    }

    /// The same, of how much was accepted.
    pub(super) fn length_is_durable(&self, at: At, length: u64) -> Held {
        let durable = self.accepted.get(&at).map_or(0, |known| known.durable);
        hold(length as usize <= durable, DURABLE, || {
            format!("{} says that it has {length} in {}, {durable} are durable", at.1, at.0)
        })
    }

    /// *Phase1b* (§3.2): *vrnd* and *vval* are the last that the acceptor has accepted below the round, durably.
    pub(super) fn votes_are_told_as_they_are(&self, at: At, vote: Option<&Vote>) -> Held {
        let (round, node) = at;
        // Whoever is told of this round's votes, or later ones, knows that it is no promise.
        let vote = match vote {
            Some(vote) if vote.vrnd >= round => return Ok(()),
            other => other,
        };
        let latest = self.rounds_of(node).filter(|other| *other < round).last();
        let begun = vote.filter(|vote| latest < Some(vote.vrnd) && vote.length == 0);
        if let Some(vote) = begun {
            return self.nothing_is_chosen_below((vote.vrnd, node));
        }
        let told = vote.map(|vote| (vote.vrnd, vote.length as usize));
        let known = latest.map(|latest| {
            let accepted = &self.accepted[&(latest, node)];
            (latest, accepted.durable, accepted.value.len())
        });
        let same = told.map(|(vrnd, length)| (vrnd, length, length)) == known;
        hold(same, "votes are told as they are", || {
            format!("{node} promises {round} and tells {vote:?}; durable, accepted: {known:?}")
        })
    }
}

/// With one coordinator, a coordinator quorum's value is its value, which is accepted from the beginning on.
fn is_part_of_the_creators(at: At, (value, from): (&Grown, usize), tried: Option<&Grown>) -> Held {
    let tried = |place| tried.and_then(|tried| tried.at(place));
    let mut fresh = (from..).zip(value.from(from));
    let lacks = fresh.find(|(place, (element, _))| tried(*place) != Some(*element));
    hold(lacks.is_none(), TRIED, || accepts_untried(at, lacks.map(|(_, placed)| placed)))
}

fn extends_the_beginning(at: At, value: &Grown, begun: Option<&Grown>) -> Held {
    let lacks = begun.and_then(|begun| begun.from(0).iter().find(|placed| !value.has(**placed)));
    hold(lacks.is_none(), TRIED, || {
        let lacks = lacks.map(|(element, _)| element.to_string()).unwrap_or_default();
        format!("{} accepts in {} without {lacks}, which the round began with", at.1, at.0)
    })
}

fn begins_without((round, node): At, lost: Option<(Round, Placed)>) -> String {
    format!("{node} begins {round} without {}", chosen(lost))
}

fn accepts_without((round, node): At, lost: Option<(Round, Placed)>) -> String {
    format!("{node} accepts in {round} without {}", chosen(lost))
}

fn chosen(lost: Option<(Round, Placed)>) -> String {
    let words = |(round, (element, _)): (Round, Placed)| format!("{element}, chosen in {round}");
    lost.map(words).unwrap_or_default()
}

fn accepts_untried((round, node): At, lacks: Option<&Placed>) -> String {
    let element = lacks.map(|(element, _)| element.to_string()).unwrap_or_default();
    format!("{node} accepts {element} in {round}, which no coordinator quorum has sent so")
}
