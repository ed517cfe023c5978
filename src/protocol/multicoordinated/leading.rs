//! The leader: which round stands, and what is done when one does not get on (§4.3, §4.5).
//!
//! A leader begins with a single-coordinated round for all instances that may be open, closes these, and then
//! opens the rounds that the experiment file asks for, from a fresh instance on. Rounds change where instances
//! do: Phase 1 of the next round runs while the last instance of the one before still takes commands, and so
//! nobody waits for it.
//!
//! After a collision the instance is closed in a single-coordinated round of its own (§4.2), and those that follow
//! stay single-coordinated, or have fewer coordinators (§4.5), until interfering commands have not met for a
//! while.

use std::time::Duration;

use super::instance::Phase1;
use super::message::MulticoordinatedMessage;
use super::names::Run;
use super::options::Rounds;
use super::round::{RType, Round};
use super::{Effects, Multicoordinated};
use crate::command::NodeId;
use crate::mutants::mutant;
use crate::protocol::Time;
use crate::protocol::quorum::{NodeSet, majority};

/// The longest time that the leader waits before it opens the chosen rounds again, as a multiple of the first.
const RETURN_GROWTH_MAX: u32 = 32;

/// What a leader has in mind.
#[derive(Clone, Hash, Debug)]
pub(super) struct Leading {
    /// The last round that it has opened for all instances from one on.
    round: Round,
    /// When interfering commands of different proposers met last.
    conflict: Time,
    /// How long that must be ago.
    return_after: Duration,
    /// When the chosen rounds were opened last.
    returned: Time,
    /// How many coordinators a multicoordinated round has, at most.
    coordinators_max: usize,
}

/// How often the patience with an instance doubles, at most.
const ATTEMPTS_MAX: u32 = 5;

impl Multicoordinated {
    /// Compares Ω's output with what it was.
    pub(super) fn look_for_leader(&mut self, out: &mut Effects<Self>) {
        if self.election.leader() != self.leader {
            self.leader = self.election.leader();
            self.counters.elections += 1;
        }
        // Who does not hear a majority could not begin a round, and would only be in the way of others.
        if self.leader != self.me || !self.election.hears_majority() {
            self.leading = None;
            self.opening =
                self.opening.take().filter(|(phase1, _)| phase1.round.creator != self.me);
            return;
        }
        if self.leading.is_some() {
            return;
        }
        if self.may_adopt() {
            self.begin_to_lead(self.standing.0);
        } else {
            self.take_over(out);
        }
    }

    /// Whether the round that stands goes on under another leader: "a single failure will not require immediate round
    /// change" (§4.1). It does as long as its coordinators have a quorum, and this replica is one of them.
    fn may_adopt(&self) -> bool {
        let (round, _) = self.standing;
        let begun = self.coordinating.is_some_and(|(begun, _)| begun == round);
        let up = round.coordinators.minus(self.suspects());
        round.kind == RType::Multi
            && begun
            && round.major == self.major
            && round == self.highest_standing
            && up.len() >= round.coordinator_quorum()
    }

    fn begin_to_lead(&mut self, round: Round) {
        let return_after = Duration::from_millis(self.options.return_after_ms);
        self.leading = Some(Leading {
            round,
            conflict: Time(0),
            return_after,
            returned: Time(0),
            coordinators_max: usize::from(self.cluster.size),
        });
    }

    /// Begins to lead, or begins anew: with a single-coordinated round for everything that is open.
    fn take_over(&mut self, out: &mut Effects<Self>) {
        self.join_major(self.highest.major, out);
        let round = self.fresh_single();
        self.begin_to_lead(round);
        self.counters.takeovers += 1;
        self.open_round(round, self.executing, out);
    }

    fn fresh_minor(&self) -> u32 {
        // Three above: those between are where collisions may lead, from a fast round to an uncoordinated one and from
        // there to a single-coordinated one. That one may have begun, and no round begins twice.
        let same_major = self.highest.major == self.major;
        if same_major {
            self.highest.minor.saturating_add(if mutant!(RoundBegunTwice) { 2 } else { 3 })
        } else {
            1
        }
    }

    pub(super) fn fresh_single(&self) -> Round {
        Round::single(self.major, self.fresh_minor(), self.me)
    }

    /// *Phase1a* of a round for all instances from one on.
    fn open_round(&mut self, round: Round, from: u64, out: &mut Effects<Self>) {
        self.note_round(round);
        let size = usize::from(self.cluster.size);
        // It covers what was begun for single instances.
        let covered = self.instances.iter_mut().skip(from.saturating_sub(self.base) as usize);
        covered.for_each(|held| held.phase1 = None);
        self.opening = Some((Phase1::new(round, size, self.now), from));
        if let Some(leading) = &mut self.leading {
            leading.round = round;
        }
        let message = MulticoordinatedMessage::Phase1a { round, instance: from, onwards: true };
        self.tell_all(message, self.major_edge, out);
    }

    /// A round for all instances from one on is begun; from `fresh` on nothing was voted for. Its creator closes all
    /// that comes before it, or was found.
    pub(super) fn on_opened(
        &mut self,
        round: Round,
        from: u64,
        fresh: u64,
        out: &mut Effects<Self>,
    ) {
        if round.creator != self.me {
            return;
        }
        self.counters.standing = u64::from(round.kind as u8);
        let takes_over = from == self.executing;
        for instance in self.executing..fresh {
            // What was picked closed is closed in a round of its own.
            let begun = self.instance(instance).is_some_and(|held| held.crnd() == round);
            if takes_over || instance < from || !begun {
                self.end_instance(instance, out);
            }
        }
        self.return_to_chosen(out);
    }

    /// Closes an instance: in the round that it is in, if that is this replica's own single-coordinated one, else in a
    /// round of its own.
    fn end_instance(&mut self, instance: u64, out: &mut Effects<Self>) {
        self.open(instance);
        self.append_pending(instance);
        self.close(instance);
        let Some(held) = self.instance(instance) else { return };
        let is_closing =
            held.coordinated.as_ref().is_some_and(|coordinated| coordinated.cval.is_closed);
        let is_pending = held.phase1.as_ref().is_some_and(|phase1| phase1.round.creator == self.me);
        if !is_closing && !is_pending && !held.learned.value.is_closed {
            let next = self.next_round(self.rnd(instance));
            let own = next.creator == self.me && next.kind == RType::Single;
            let round = if own && next > self.rnd(instance) { next } else { self.fresh_single() };
            self.recover_from_scratch(instance, round, out);
        }
    }

    /// *Phase1a* of a round for one instance, by its creator.
    pub(super) fn recover_from_scratch(
        &mut self,
        instance: u64,
        round: Round,
        out: &mut Effects<Self>,
    ) {
        let is_covered = self
            .opening
            .as_ref()
            .is_some_and(|(opening, from)| opening.round.creator == self.me && instance >= *from);
        if round.creator != self.me || is_covered {
            return;
        }
        self.note_round(round);
        let phase1 = Phase1::new(round, usize::from(self.cluster.size), self.now);
        let Some(held) = self.instance_mut(instance) else { return };
        if held.phase1.as_ref().is_some_and(|running| running.round >= round)
            || held.crnd() >= round
        {
            return;
        }
        held.phase1 = Some(phase1);
        self.counters.recoveries += 1;
        let message = MulticoordinatedMessage::Phase1a { round, instance, onwards: false };
        self.tell_all(message, self.major_edge, out);
    }

    /// The round that the experiment file asks for, if enough replicas are up for it.
    fn chosen_round(&self) -> Option<Round> {
        let up = NodeSet::all(self.cluster.size).minus(self.suspects());
        let (major, minor, creator) = (self.major, self.fresh_minor(), self.me);
        let (kind, coordinators) = match self.options.rounds {
            Rounds::Single => return None,
            Rounds::Fast => {
                let enough = up.len() >= self.quorums.fast;
                (RType::Fast, enough.then(|| [creator].into_iter().collect())?)
            }
            Rounds::Multi => (RType::Multi, self.coordinators_among(up)?),
        };
        Some(Round { major, minor, creator, kind, coordinators })
    }

    /// The coordinators of a multicoordinated round: the chosen ones, or others in place of so many of them that no
    /// quorum would be left.
    fn coordinators_among(&self, up: NodeSet) -> Option<NodeSet> {
        let chosen: NodeSet = match self.options.coordinators.is_empty() {
            true => NodeSet::all(self.cluster.size),
            false => self.options.coordinators.iter().map(|node| NodeId(*node)).collect(),
        };
        let most = self.leading.as_ref().map_or(usize::MAX, |leading| leading.coordinators_max);
        let chosen = if most < chosen.len() { self.nearest(chosen, most) } else { chosen };
        if chosen.and(up).len() >= majority(chosen.len()) {
            return Some(chosen);
        }
        let spare = up.minus(chosen);
        let missing = chosen.minus(up).len();
        let set: NodeSet = chosen.and(up).iter().chain(spare.iter().take(missing)).collect();
        (set.len() > 1).then_some(set)
    }

    /// So many of a set, this replica first.
    fn nearest(&self, set: NodeSet, count: usize) -> NodeSet {
        let me = Some(self.me).filter(|me| set.contains(*me));
        me.into_iter().chain(set.without(self.me).iter()).take(count).collect()
    }

    /// Opens the chosen rounds, if other rounds stand and nothing speaks against it.
    fn return_to_chosen(&mut self, out: &mut Effects<Self>) {
        let now = self.now;
        let Some(leading) = &self.leading else { return };
        let stands = leading.round.kind;
        let wanted = match self.options.rounds {
            Rounds::Single => RType::Single,
            Rounds::Multi => RType::Multi,
            Rounds::Fast => RType::Fast,
        };
        let all = usize::from(self.cluster.size);
        let is_less = leading.coordinators_max < all;
        let quiet =
            leading.conflict == Time(0) || now.since(leading.conflict) >= leading.return_after;
        if self.opening.is_some() || (stands == wanted && !is_less) || !quiet {
            return;
        }
        if let Some(leading) = &mut self.leading {
            leading.coordinators_max = all;
        }
        let Some(round) = self.chosen_round() else { return };
        if let Some(leading) = &mut self.leading {
            leading.returned = now;
        }
        let from = self.fresh_instance();
        self.open_round(round, from, out);
    }

    /// The first instance in which nothing can have happened.
    fn fresh_instance(&self) -> u64 {
        let held = self.base + self.instances.len() as u64;
        held.max(self.proposing + 1)
    }

    /// After a collision in a round that stands: what follows has fewer coordinators, down to one.
    pub(super) fn settle_after_collision(
        &mut self,
        instance: u64,
        round: Round,
        out: &mut Effects<Self>,
    ) {
        let now = self.now;
        let usual = Duration::from_millis(self.options.return_after_ms);
        let shrink = self.options.shrink;
        let Some(leading) = &mut self.leading else { return };
        leading.conflict = now.max(Time(1));
        if leading.round != round || round.kind == RType::Single {
            return;
        }
        let soon = now.since(leading.returned) < leading.return_after * 4;
        leading.return_after = match soon {
            true => (leading.return_after * 2).min(usual * RETURN_GROWTH_MAX),
            false => usual,
        };
        leading.coordinators_max = round.coordinators.len() / 2;
        let may_shrink = shrink && round.kind == RType::Multi && leading.coordinators_max > 1;
        let fewer = if may_shrink { self.chosen_round() } else { None };
        let round = fewer.unwrap_or_else(|| self.fresh_single());
        self.open_round(round, instance + 1, out);
    }

    /// Whether the leader waits for conflicts to cease.
    pub(super) fn watches_conflicts(&self) -> bool {
        self.options.rounds != Rounds::Single && self.leading.is_some()
    }

    /// Notes when a command meets one of another proposer that interferes with it and is not learned yet: in other
    /// rounds they would have collided, perhaps.
    pub(super) fn watch_conflicts(&mut self, instance: u64, run: Run) {
        let mut meets = false;
        for name in run.names() {
            let Some(touches) = self.classes(instance, name) else { return };
            for class in touches.classes.into_iter().filter(|class| *class != super::classes::NONE)
            {
                let last = self.last_in_class(instance, class, name, touches.is_read);
                let open = |held: &super::instance::Instance| {
                    last.is_some_and(|(last, reads)| {
                        let both_read = reads && touches.is_read;
                        last.proposer != name.proposer
                            && !both_read
                            && !held.learned.contains.get(last)
                    })
                };
                meets |= self.instance(instance).is_some_and(open);
            }
        }
        let now = self.now;
        if let Some(leading) = self.leading.as_mut().filter(|_| meets) {
            leading.conflict = now.max(Time(1));
            self.counters.conflicts += 1;
        }
    }

    /// A round was refused: somebody is in a higher one.
    pub(super) fn on_too_low(
        &mut self,
        round: Round,
        instance: u64,
        rnd: Round,
        out: &mut Effects<Self>,
    ) {
        self.note_round(rnd);
        self.counters.too_low += 1;
        let outgrown = rnd.major > self.major;
        self.join_major(rnd.major, out);
        if self.leading.is_none() {
            return;
        }
        let is_opening = self.own_opening().is_some_and(|opening| opening == round);
        let stands = self.leading.as_ref().map_or(Round::ZERO, |leading| leading.round);
        if is_opening && rnd > round {
            self.open_again(out);
        } else if outgrown && rnd.major > stands.major {
            self.begin_anew(out);
        }
        let running = self.instance(instance).and_then(|held| held.phase1.as_ref());
        if running.is_some_and(|phase1| phase1.round == round && rnd > round) {
            let fresh = self.fresh_single();
            self.recover_from_scratch(instance, fresh, out);
        }
    }

    /// The round for all instances from one on that this replica has created and not begun. It may be a coordinator of one
    /// that another has created, too, and creates none in that one's name.
    fn own_opening(&self) -> Option<Round> {
        let opening = self.opening.as_ref().map(|(phase1, _)| phase1.round);
        opening.filter(|round| round.creator == self.me || mutant!(RoundOfAnotherCreated))
    }

    /// The round that is being opened is too low: the same once more, above all others.
    fn open_again(&mut self, out: &mut Effects<Self>) {
        let Some((phase1, from)) = &self.opening else { return };
        let (old, from) = (phase1.round, *from);
        let (major, minor) = (self.major, self.fresh_minor());
        self.open_round(Round { major, minor, ..old }, from, out);
    }

    /// Somebody has restarted, and takes part in rounds of a higher *MCount* only (§4.4).
    fn begin_anew(&mut self, out: &mut Effects<Self>) {
        if self.own_opening().is_some() {
            self.open_again(out);
        } else {
            let single = self.fresh_single();
            let round = self.chosen_round().filter(|_| self.stands_as_chosen()).unwrap_or(single);
            let from = self.fresh_instance();
            self.open_round(round, from, out);
        }
    }

    fn stands_as_chosen(&self) -> bool {
        let stands = self.leading.as_ref().map(|leading| leading.round.kind);
        stands.is_some_and(|kind| kind != RType::Single)
    }

    /// A replica says which *MCount* it is at.
    pub(super) fn on_major_of(&mut self, major: u32, out: &mut Effects<Self>) {
        if self.leading.is_none() || major <= self.major {
            return;
        }
        self.join_major(major, out);
        self.begin_anew(out);
    }

    /// From time to time: what does not get on is begun anew.
    pub(super) fn lead(&mut self, out: &mut Effects<Self>) {
        let Some(leading) = &self.leading else { return };
        let round = leading.round;
        let (standing, _) = self.standing;
        if standing > round && standing.creator != self.me || round.major < self.major {
            self.leading = None;
            self.look_for_leader(out);
            return;
        }
        self.join_major(self.highest.major, out);
        self.repeat_1a(out);
        self.replace_round(out);
        self.recover_what_is_stuck(out);
        self.return_to_chosen(out);
    }

    /// Asks those again who have not answered a 1a.
    fn repeat_1a(&mut self, out: &mut Effects<Self>) {
        let (now, patience) = (self.now, self.fallback() / 2);
        let mut ask = Vec::new();
        let mut again = |phase1: &mut Phase1, instance: u64, onwards: bool| {
            if now.since(phase1.asked) >= patience {
                phase1.asked = now;
                ask.push((phase1.round, instance, onwards));
            }
        };
        if let Some((phase1, from)) = &mut self.opening {
            // What was executed meanwhile needs no round, and others may have forgotten it.
            *from = (*from).max(self.executing);
            again(phase1, *from, true);
        }
        for (instance, held) in (self.base..).zip(&mut self.instances) {
            if let Some(phase1) = &mut held.phase1 {
                again(phase1, instance, false);
            }
        }
        let me = self.me;
        for (round, instance, onwards) in ask.into_iter().filter(|(round, ..)| round.creator == me)
        {
            self.tell_all(
                MulticoordinatedMessage::Phase1a { round, instance, onwards },
                self.major_edge,
                out,
            );
        }
    }

    /// A replica has missed the round that stands.
    pub(super) fn bring_to_standing(
        &mut self,
        node: NodeId,
        standing: Round,
        out: &mut Effects<Self>,
    ) {
        self.highest_standing = self.highest_standing.max(standing);
        let outgrown = |leading: &Leading| standing > leading.round && standing.creator != self.me;
        if self.leading.as_ref().is_some_and(outgrown) {
            self.note_round(standing);
            self.take_over(out);
            return;
        }
        let Some((round, from)) = self.coordinating else { return };
        let stands = self.leading.as_ref().is_some_and(|leading| leading.round == round);
        if !stands || standing >= round || node == self.me {
            return;
        }
        let instance = from.max(self.executing);
        let message = MulticoordinatedMessage::Phase1a { round, instance, onwards: true };
        self.tell(node, message, self.major_edge, out);
        let (any, instance) = self.any;
        if any == round {
            let message = MulticoordinatedMessage::Phase2aAny { round, instance };
            self.tell(node, message, self.major_edge, out);
        }
    }

    /// The standing round has too few acceptors or coordinators left: another follows (§4.3).
    fn replace_round(&mut self, out: &mut Effects<Self>) {
        let Some(leading) = &self.leading else { return };
        let round = leading.round;
        let up = NodeSet::all(self.cluster.size).minus(self.suspects());
        let enough = match round.kind {
            RType::Single => true,
            RType::Fast | RType::Uncoordinated => up.len() >= self.quorums.fast,
            RType::Multi => round.coordinators.and(up).len() >= round.coordinator_quorum(),
        };
        if enough || mutant!(RoundKeptWithoutQuorum) {
            return;
        }
        self.counters.replaced += 1;
        let single = self.fresh_single();
        self.open_round(single, self.executing, out);
    }

    /// Instances in which nothing was learned for long, although something should be.
    fn recover_what_is_stuck(&mut self, out: &mut Effects<Self>) {
        let (now, patience) = (self.now, self.fallback() * 2);
        let mut stuck = Vec::new();
        for (instance, held) in (self.base..).zip(&self.instances) {
            // A round that comes before the one before it could do anything would keep it from that for ever.
            let patience = patience * (1 << held.attempts.min(ATTEMPTS_MAX));
            let waits = now.since(held.touched) >= patience && !held.learned.value.is_closed;
            let is_open = waits && instance >= self.executing;
            if is_open && (instance < self.proposing || self.has_unlearned(instance)) {
                stuck.push(instance);
            }
        }
        for instance in stuck {
            let Some(held) = self.instance_mut(instance) else { continue };
            held.touched = now;
            held.attempts += 1;
            let round = self.fresh_single();
            self.counters.stuck += 1;
            self.recover_from_scratch(instance, round, out);
        }
    }

    /// An instance of other than single-coordinated rounds is long enough: the leader closes it.
    pub(super) fn ask_for_checkpoint(&mut self, instance: u64, out: &mut Effects<Self>) {
        let checkpoint = self.options.checkpoint as u64;
        let Some(leading) = &self.leading else { return };
        if leading.round.kind == RType::Single {
            return;
        }
        let Some(held) = self.instance(instance) else { return };
        let is_long = held.learned.value.names.len() >= checkpoint;
        let idle = held.phase1.is_none() && !held.is_ending;
        if is_long && idle {
            self.end_instance(instance, out);
        }
    }
}
