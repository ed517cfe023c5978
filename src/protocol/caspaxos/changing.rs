//! From one configuration to the next ([`super::members`]), while load runs.
//!
//! 1. The register [`MEMBERS_KEY`] is changed from the configuration to the joint one, as any register is.
//! 2. Once that is chosen, everybody is told. An acceptor that is told takes no ballot of an earlier epoch.
//! 3. Each new acceptor copies what those before hold, from so many of them that nothing chosen can be missing, and
//!    says so. (Clients' changes go on meanwhile, with quorums of both.)
//! 4. When enough have, the register is changed to the new configuration, and everybody is told.
//!
//! Each step is begun again from time to time by whoever has a goal, and the last by every member: who asked
//! may be gone. To do a step twice does no harm.

use std::cmp::Ordering;
use std::time::Duration;

use super::members::{Configuration, MEMBERS_KEY};
use super::message::{CaspaxosMessage, CaspaxosRecord, Part, Rest};
use super::works::{Errand, Phase};
use super::{Caspaxos, CaspaxosTimer};
use crate::command::NodeId;
use crate::mutants::mutant;
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Effect, Effects};

/// How often the new members are called before a change is given up that has not begun.
const CALLS_MAX: u8 = 20;

/// The members that an operator wants.
#[derive(Clone, Hash, Debug)]
struct Goal {
    members: NodeSet,
    /// Which of them have answered: a change towards members that are not there would stop everything.
    answered: NodeSet,
    calls: u8,
}

/// How far a change is.
#[derive(Clone, Default, Hash, Debug)]
pub(super) struct Changing {
    /// The members that an operator has asked this replica for.
    goal: Option<Goal>,
    /// Who has copied what the configuration before this one may have chosen.
    merged: NodeSet,
    /// Whose records were copied here, wholly.
    copied: NodeSet,
    is_armed: bool,
}

impl Caspaxos {
    /// Whether clients' commands are taken: of a member, and of one to be once it holds what was chosen before.
    pub(super) fn is_serving(&self) -> bool {
        let now = |old: &super::members::Group| old.members.contains(self.me);
        let will = self.configuration.new.members.contains(self.me);
        match &self.configuration.old {
            None => will,
            Some(old) => now(old) || will && self.changing.merged.contains(self.me),
        }
    }

    /// An operator wants these members.
    pub(super) fn on_change_members(&mut self, members: NodeSet, out: &mut Effects<Self>) {
        if !members.is_empty() && members.is_within(self.cluster.size) {
            let answered = NodeSet::default();
            self.changing.goal = Some(Goal { members, answered, calls: 0 });
            self.pursue_goal(out);
            self.arm_change(out);
        }
    }

    /// A replica wants to be a member in place of another.
    pub(super) fn on_replace(&mut self, joiner: NodeId, leaver: NodeId, out: &mut Effects<Self>) {
        let members = self.configuration.members();
        if members.contains(joiner) || !members.contains(leaver) {
            return self.answer(joiner, CaspaxosMessage::Configure(self.configuration), out);
        }
        let is_free = !self.configuration.is_joint() && self.changing.goal.is_none();
        if !is_free || !members.contains(self.me) {
            return;
        }
        let mut members = members.without(leaver);
        members.insert(joiner);
        self.on_change_members(members, out);
    }

    /// Does what there is to do, and looks again after a while.
    pub(super) fn go_on_changing(&mut self, out: &mut Effects<Self>) {
        self.changing.is_armed = false;
        self.ask_to_replace(out);
        self.pursue_goal(out);
        if self.configuration.is_joint() {
            let others = self.configuration.members();
            self.tell_configuration(others, out);
            self.rescan(out);
            self.settle_if_merged();
        }
        self.arm_change(out);
    }

    fn arm_change(&mut self, out: &mut Effects<Self>) {
        let is_joining = self.wants_to_replace().is_some();
        let busy = self.configuration.is_joint() || self.changing.goal.is_some() || is_joining;
        if busy && !self.changing.is_armed {
            self.changing.is_armed = true;
            let again = Duration::from_millis(self.options.resend_ms);
            out.push(Effect::Arm(CaspaxosTimer::Change, again / 2..again));
        }
    }

    /// Whom this replica was started to replace, as far as is known here.
    pub fn wants_to_replace(&self) -> Option<NodeId> {
        let members = self.configuration.members();
        let known = self.configuration.epoch == 0;
        let wanted = self.options.replaces.filter(|leaver| known || members.contains(*leaver));
        wanted.filter(|_| !members.contains(self.me) && self.configuration.epoch < u16::MAX - 1)
    }

    /// Asks one after the other, so that they do not all propose the same; also who is no member as far as is
    /// known here: those that are may all have gone since.
    fn ask_to_replace(&mut self, out: &mut Effects<Self>) {
        let Some(leaver) = self.wants_to_replace() else { return };
        self.asked = self.asked.wrapping_add(1);
        let others: Vec<NodeId> = self.cluster.others(self.me).collect();
        let after = out.last_write();
        out.send_after(others[self.asked % others.len()], CaspaxosMessage::Replace(leaver), after);
    }

    /// Somebody may have decided on a configuration and ended before it told anybody: what this acceptor holds
    /// says so. To write it again tells whether it was chosen, or makes it so.
    pub(super) fn look_for_lost_change(&mut self) {
        let register = self.registers.get(MEMBERS_KEY);
        let held = register.and_then(|r| Configuration::from_value(r.state.value.as_deref()?));
        if held.is_some_and(|held| held.epoch > self.configuration.epoch) {
            self.configure(self.configuration);
        }
    }

    /// Goes on towards the members that were asked for: calls them, and begins once they have answered.
    fn pursue_goal(&mut self, out: &mut Effects<Self>) {
        let now = self.configuration;
        let Some(goal) = &mut self.changing.goal else { return };
        if !now.may_change() {
            return;
        }
        if now.new.members == goal.members || goal.calls == CALLS_MAX {
            self.changing.goal = None;
            return;
        }
        goal.calls += 1;
        goal.answered.insert(self.me);
        let silent = goal.members.minus(goal.answered);
        out.send_to(silent, CaspaxosMessage::WhichConfiguration, out.last_write());
        self.begin_if_answered();
    }

    /// Step 1 of the paper, "turn on the acceptor": all that are new have answered, and enough of the others.
    fn begin_if_answered(&mut self) {
        let now = self.configuration;
        let Some(goal) = self.changing.goal.as_ref().filter(|_| now.may_change()) else { return };
        let to = now.towards(goal.members);
        let are_there = goal.members.minus(now.new.members).minus(goal.answered).is_empty();
        if are_there && to.settled().is_accept_quorum(goal.answered) {
            self.configure(to);
        }
    }

    /// A replica has said in which configuration it is.
    fn note_answered(&mut self, from: NodeId) {
        if let Some(goal) = &mut self.changing.goal
            && goal.answered.insert(from)
        {
            self.begin_if_answered();
        }
    }

    /// Begins to put another configuration in the place of this one.
    fn configure(&mut self, to: Configuration) {
        let from = self.configuration;
        let index = self.work_on(MEMBERS_KEY);
        if let Some(work) = self.works.get_mut(index)
            && work.errand.is_none()
        {
            work.errand = Some(Box::new(Errand::Configure { from, to }));
        }
    }

    fn tell_configuration(&mut self, whom: NodeSet, out: &mut Effects<Self>) {
        let message = CaspaxosMessage::Configure(self.configuration);
        out.send_to(whom.without(self.me), message, out.last_write());
    }

    /// A configuration was chosen; says `from`.
    pub(super) fn on_configure(
        &mut self,
        from: NodeId,
        configuration: Configuration,
        out: &mut Effects<Self>,
    ) {
        self.note_answered(from);
        match configuration.epoch.cmp(&self.configuration.epoch) {
            Ordering::Equal => return,
            Ordering::Less if from == self.me => return,
            Ordering::Less => {
                return self.answer(from, CaspaxosMessage::Configure(self.configuration), out);
            }
            Ordering::Greater => {}
        }
        let everybody = self.configuration.members().or(configuration.members());
        self.enter(configuration);
        out.persist(CaspaxosRecord::Configured(configuration));
        self.begin_anew(out);
        self.tell_configuration(everybody, out);
        self.rescan(out);
        self.pursue_goal(out);
        self.arm_change(out);
    }

    /// From now on ballots of earlier epochs are refused here.
    pub(super) fn enter(&mut self, configuration: Configuration) {
        let stayed = self.configuration.leaves_member(self.me, &configuration);
        let is_member = configuration.members().contains(self.me);
        if is_member && !stayed && !mutant!(StaleRegistersKept) {
            // What is here is of an earlier membership, and may be older than what was removed since.
            self.forget_registers();
        }
        self.configuration = configuration;
        (self.changing.merged, self.changing.copied) = (NodeSet::default(), NodeSet::default());
    }

    fn forget_registers(&mut self) {
        self.registers.clear();
        for (index, key) in self.works.iter().map(|(i, w)| (i, w.key)).collect::<Vec<_>>() {
            let place = self.registers.place_or_make(key);
            self.registers.at_mut(place).work = index;
            if let Some(work) = self.works.get_mut(index) {
                work.place = place;
            }
        }
    }

    /// All attempts begin again, in ballots of the new epoch.
    fn begin_anew(&mut self, out: &mut Effects<Self>) {
        self.flights.all.clear();
        self.forwarding.forget_winners();
        self.changes.clear();
        self.last_changes.clear();
        for index in self.works.iter().map(|(index, _)| index).collect::<Vec<_>>() {
            let waits = |phase: &Phase| matches!(phase, Phase::Ready | Phase::BackingOff);
            let Some(work) = self.works.get_mut(index) else { continue };
            if matches!(work.errand.as_deref(), Some(Errand::Configure { .. })) {
                work.errand = None;
            }
            if !waits(&work.phase) && self.abandon(index, out) {
                self.make_ready(index);
            }
        }
    }

    /// A new acceptor asks those before for what they hold.
    fn rescan(&mut self, out: &mut Effects<Self>) {
        let Some(old) = self.configuration.old else { return };
        let is_new = self.configuration.new.members.contains(self.me);
        if self.changing.merged.contains(self.me) {
            self.tell_merged(out);
        } else if is_new {
            let is_source = old.members.contains(self.me) || mutant!(RescanAsksTooFew);
            if is_source && !self.changing.copied.contains(self.me) {
                self.note_copied(self.me, out);
            }
            for source in old.members.minus(self.changing.copied).iter() {
                self.pull(source, Part::From(0), out);
            }
        }
    }

    /// Whether a rescan here is not done with what another holds.
    pub(super) fn awaits_copies(&self, from: NodeId) -> bool {
        let Some(old) = self.configuration.old else { return false };
        let done = self.changing.merged.contains(self.me) || self.changing.copied.contains(from);
        let is_new = self.configuration.new.members.contains(self.me);
        !done && is_new && old.members.contains(from)
    }

    /// A part of what another holds has arrived.
    pub(super) fn on_rescanned(
        &mut self,
        from: NodeId,
        rest: Rest,
        is_old: bool,
        out: &mut Effects<Self>,
    ) {
        if !self.awaits_copies(from) {
            return;
        }
        match rest {
            // An answer about some buckets says nothing of the others.
            Rest::Buckets if !mutant!(RepairEndsRescan) => {}
            _ if is_old => self.pull(from, Part::From(0), out),
            Rest::From(place) => self.pull(from, Part::From(place), out),
            Rest::Nothing | Rest::Buckets => self.note_copied(from, out),
        }
    }

    /// All that another holds is here now. Once so many were copied that nothing chosen can be missing, that is
    /// written down.
    fn note_copied(&mut self, from: NodeId, out: &mut Effects<Self>) {
        let had_enough = self.configuration.is_source_quorum(self.changing.copied);
        self.changing.copied.insert(from);
        let enough = self.configuration.is_source_quorum(self.changing.copied);
        if had_enough || !enough && !mutant!(RescanAsksTooFew) {
            return;
        }
        let epoch = self.configuration.epoch;
        self.counters.rescans += 1;
        out.persist(CaspaxosRecord::Merged(epoch));
        // Not before it is durable: what was copied must not be lost once the old acceptors are not asked.
        self.answer(self.me, CaspaxosMessage::Merged { epoch }, out);
    }

    fn tell_merged(&mut self, out: &mut Effects<Self>) {
        let message = CaspaxosMessage::Merged { epoch: self.configuration.epoch };
        let others = self.configuration.members().without(self.me);
        out.send_to(others, message, out.last_write());
    }

    /// A new acceptor has copied what was chosen before.
    pub(super) fn on_merged(&mut self, from: NodeId, epoch: u16, out: &mut Effects<Self>) {
        match epoch.cmp(&self.configuration.epoch) {
            Ordering::Greater => self.answer(from, CaspaxosMessage::WhichConfiguration, out),
            Ordering::Less if from == self.me => {}
            Ordering::Less => {
                self.answer(from, CaspaxosMessage::Configure(self.configuration), out);
            }
            Ordering::Equal => {
                self.note_merged(from, epoch);
                if from == self.me {
                    self.tell_merged(out);
                }
            }
        }
        self.settle_if_merged();
    }

    pub(super) fn note_merged(&mut self, who: NodeId, epoch: u16) {
        if epoch == self.configuration.epoch && self.configuration.is_joint() {
            self.changing.merged.insert(who);
        }
    }

    fn settle_if_merged(&mut self) {
        let joint = self.configuration;
        let member = joint.members().contains(self.me);
        if joint.is_joint() && member && joint.may_settle(self.changing.merged) {
            self.configure(joint.settled());
        }
    }

    /// The members that an operator has asked this replica for.
    pub fn goal(&self) -> Option<NodeSet> {
        self.changing.goal.as_ref().map(|goal| goal.members)
    }
}
