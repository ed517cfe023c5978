//! Who is up, what is late, what may be forgotten, and who lags (§5.4).
//!
//! # Forgetting
//!
//! A replica may forget *R.j* once it has executed it, nobody asks for it any more, and *no recovery needs
//! to know that it was there*. The last is the hard part: a command γ that interferes with *R.j* may have been
//! committed on the fast path, at an owner that died with it, and whoever recovers γ asks whether
//! something is in the way. The rule:
//!
//! - Replica *t* tells *s*, with every heartbeat, below which number of each row *s* may forget as far as *t*
//!   is concerned: what all that are up have executed, as long as they do not lag by more than
//!   [`EpaxosOptions::log_instances_max`], but nothing that is not covered by the attributes of a γ that *t*
//!   knows and *s* has not executed (`forgettable_for`).
//! - *s* forgets what a majority, itself among it, lets it forget; what all that are up let it, as long as they
//!   do not lag by more than that. So what is kept is bounded when a replica dies, or lags.
//! - *t* remembers, durably, what it has let others forget (`allowed`), and its later votes cover that.
//!
//! So if *s* has forgotten something that the attributes of γ do not cover, and has not executed γ, then γ was
//! not committed on the fast path with these attributes: its fast quorum shares a replica *t* with the majority
//! that let *s* forget; *t* had not voted for them before it did, as it would have held *s* back, and has not
//! since, as its vote would cover what is forgotten. A TentativePreAccept is answered with that.
//!
//! A replica that was behind what others forgot is sent the replicated state, and waits for it: attributes name
//! a prefix that must be executed first, and what a proposer has forgotten is below it.
//!
//! [`EpaxosOptions::log_instances_max`]: super::options::EpaxosOptions::log_instances_max

use std::time::Duration;

use super::Epaxos;
use super::deps::PerNode;
use super::instances::{INSTANCES_MAX, Instance, Row};
use super::message::{EpaxosMessage, EpaxosRecord, EpaxosTimer, ExecutedSet, InstanceId, Proposal};
use super::work::Work;
use crate::command::{Command, NodeId};
use crate::mutants::mutant;
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Effect, Effects, Time};

/// Bytes of commands in the answer to one Lagging, unless a single command is larger. Who lacks more is sent
/// the state as well.
const CATCH_UP_BYTES_MAX: usize = 1 << 20;

/// Instances looked at for what holds another replica back; if there are more, it may forget nothing.
const HELD_MAX: usize = 1 << 14;

/// Recoveries begun in one look.
const RECOVERIES_MAX: usize = 256;

/// How often the time between two recoveries of an instance, or two attempts to join, doubles, at most.
pub(super) const RETRY_DOUBLINGS_MAX: u32 = 4;

/// How much longer than one whose owner is suspected an instance of an owner that is up is left alone.
const PATIENCE_WITH_LIVE: u32 = 4;

/// What is known of another replica.
#[derive(Clone, Hash, Debug)]
pub struct Peer {
    /// When it was heard last.
    heard: Time,
    /// It has been silent for too long.
    suspected: bool,
    /// It has let a fast quorum wait, and has not answered a heartbeat since.
    pub missed: bool,
    /// The smoothed round-trip time.
    pub rtt_ns: Option<u64>,
    /// By replica: what it has executed, as it said last.
    executed: PerNode,
    /// By replica: what it lets this one forget.
    forgettable: PerNode,
    /// When it was sent the state.
    state_sent: Option<Time>,
}

impl Peer {
    /// One of `size` replicas, of which nothing is known.
    pub fn new(size: usize) -> Peer {
        let zeros = PerNode::from_elem(0, size);
        Peer {
            heard: Time(0),
            suspected: false,
            missed: false,
            rtt_ns: None,
            executed: zeros.clone(),
            forgettable: zeros,
            state_sent: None,
        }
    }

    /// Whether it had better not be waited for.
    pub fn is_out(&self) -> bool {
        self.suspected || self.missed
    }

    /// Whether it has executed all of these, as it said last.
    pub fn has_executed(&self, below: &PerNode) -> bool {
        self.executed.iter().zip(below).all(|(executed, below)| executed >= below)
    }

    /// A message of it has come.
    pub fn heard(&mut self, now: Time) {
        self.heard = now;
        self.suspected = false;
    }
}

/// What is to be done about an instance that is not committed.
enum Due {
    /// The fast quorum is not waited for any longer.
    Fallback,
    /// What was not answered is asked again.
    AskAgain,
    /// The deferral is told again.
    SayAgain,
    /// It is recovered, perhaps once more.
    Recover,
}

impl Epaxos {
    pub(super) fn on_started(&mut self, now: Time, out: &mut Effects<Self>) {
        for peer in &mut self.peers {
            peer.heard = now;
        }
        // What others lead is theirs to end; what this replica led before a crash it recovers soon.
        for owner in self.cluster.others(self.me) {
            self.rows.of_mut(owner).heard_of(now);
        }
        self.execute(out);
        self.on_heartbeat_timer(now, out);
        self.arm_check(out);
    }

    fn arm_check(&self, out: &mut Effects<Self>) {
        let period = Duration::from_millis(self.options.heartbeat_ms);
        out.push(Effect::Arm(EpaxosTimer::Check, period..period * 2));
    }

    pub(super) fn on_heartbeat_timer(&mut self, now: Time, out: &mut Effects<Self>) {
        let patience = Duration::from_millis(self.options.suspect_ms);
        for peer in &mut self.peers {
            peer.suspected = now.since(peer.heard) >= patience;
        }
        self.forget();
        let told: Vec<_> =
            self.audience().iter().map(|node| (node, self.forgettable_for(node))).collect();
        let before = self.allowed.clone();
        for (_, below) in &told {
            raise(&mut self.allowed, below);
        }
        if self.allowed != before && !mutant!(AllowedNotStored) {
            out.persist(EpaxosRecord::Forgettable { below: self.allowed.clone() });
        }
        for (node, forgettable) in told {
            self.say_up(node, forgettable, now, out);
        }
        let period = Duration::from_millis(self.options.heartbeat_ms);
        out.push(Effect::Arm(EpaxosTimer::Heartbeat, period..period));
    }

    fn say_up(&self, to: NodeId, forgettable: PerNode, now: Time, out: &mut Effects<Self>) {
        let (epoch, executed) = (self.epochs.latest(), self.executed_below());
        let message = EpaxosMessage::Heartbeat { epoch, executed, forgettable, sent_ns: now.0 };
        out.send_after(to, message, out.last_write());
    }

    pub(super) fn on_heartbeat(
        &mut self,
        now: Time,
        from: NodeId,
        epoch: u16,
        (executed, forgettable): (PerNode, PerNode),
        sent_ns: u64,
        out: &mut Effects<Self>,
    ) {
        if epoch < self.epochs.latest() {
            self.tell_epochs(from, out);
        } else if epoch > self.epochs.latest() {
            // That shows the other that this replica is behind.
            let nothing = || PerNode::from_elem(0, executed.len());
            self.say_up(from, nothing(), now, out);
        }
        let peer = &mut self.peers[usize::from(from.0)];
        // After a restart it may have executed less than before.
        peer.executed = executed;
        raise(&mut peer.forgettable, &forgettable);
        out.send(from, EpaxosMessage::HeartbeatOk { sent_ns });
    }

    pub(super) fn on_heartbeat_ok(&mut self, now: Time, from: NodeId, sent_ns: u64) {
        let peer = &mut self.peers[usize::from(from.0)];
        peer.missed = false;
        let sample = now.since(Time(sent_ns)).as_nanos() as u64;
        peer.rtt_ns = Some(match peer.rtt_ns {
            Some(rtt_ns) => rtt_ns - rtt_ns / 8 + sample / 8,
            None => sample,
        });
    }

    /// By replica: below which number this one has executed all instances.
    pub(super) fn executed_below(&self) -> PerNode {
        self.rows.iter().map(|(_, row)| row.executed_below()).collect()
    }

    /// By replica: below which number this one knows the decisions on all instances.
    fn known_below(&mut self) -> PerNode {
        let nodes = self.cluster.nodes();
        nodes.map(|node| self.rows.of_mut(node).known_below()).collect()
    }

    /// By replica: what lies so far back that nobody who lags makes this one keep it.
    fn beyond_what_is_kept(&self) -> PerNode {
        let kept_max = self.options.log_instances_max as u64;
        self.executed_below().iter().map(|below| below.saturating_sub(kept_max)).collect()
    }

    /// What another replica, or this one, may forget as far as this one is concerned.
    pub(super) fn forgettable_for(&self, node: NodeId) -> PerNode {
        let mut limit = self.executed_below();
        let beyond = self.beyond_what_is_kept();
        let others = self.others().iter().map(|other| &self.peers[usize::from(other.0)]);
        for peer in others.filter(|peer| !peer.suspected) {
            let mut executed = peer.executed.clone();
            raise(&mut executed, &beyond);
            lower(&mut limit, &executed);
        }
        let executed = match node == self.me {
            true => self.executed_below(),
            false => self.peers[usize::from(node.0)].executed.clone(),
        };
        let nothing = || PerNode::from_elem(0, executed.len());
        // Of any two replicas one must hold all that the other has forgotten, or neither would take the
        // other's state: who is behind what was let go forgets nothing until it has caught up.
        let mut rows = self.rows.iter().zip(&self.allowed).zip(&executed);
        if rows.any(|(((_, row), allowed), executed)| *executed < row.base().max(*allowed)) {
            return nothing();
        }
        let mut held = 0;
        for (owner, row) in self.rows.iter() {
            for (_, instance) in row.from(executed[usize::from(owner.0)]) {
                held += 1;
                if held > HELD_MAX {
                    return nothing();
                }
                if let Some(covered) = covered_by_command(instance) {
                    lower(&mut limit, &covered);
                }
            }
        }
        limit
    }

    /// Forgets what a majority lets this replica forget, and all others that do not lag too far.
    ///
    /// Nothing while an instance of an earlier epoch may be open: a majority of this one's members need not
    /// share a replica with its fast quorum. All commands of this epoch cover those of earlier ones.
    fn forget(&mut self) {
        if !self.has_passed_barrier() {
            return;
        }
        let own = self.forgettable_for(self.me);
        let beyond = self.beyond_what_is_kept();
        for place in 0..own.len() {
            let others = self.others().iter().map(|node| &self.peers[usize::from(node.0)]);
            let mut let_go: Vec<u64> = others.map(|peer| peer.forgettable[place]).collect();
            let_go.push(own[place]);
            let_go.sort_unstable_by(|a, b| b.cmp(a));
            let by_majority = match mutant!(ForgetsAlone) {
                true => own[place],
                false => let_go[self.majority() - 1].min(own[place]),
            };
            let others = self.others().iter().map(|node| &self.peers[usize::from(node.0)]);
            let live = others.filter(|peer| !peer.suspected).map(|peer| peer.forgettable[place]);
            let by_all_live = live.min().unwrap_or(by_majority).min(by_majority);
            self.forget_below(NodeId(place as u8), by_all_live.max(by_majority.min(beyond[place])));
        }
    }

    fn forget_below(&mut self, owner: NodeId, below: u64) {
        let place = usize::from(owner.0);
        self.forgotten[place] = self.forgotten[place].max(below);
        self.drop_records(owner, below);
    }

    fn drop_records(&mut self, owner: NodeId, below: u64) {
        for (number, instance) in self.rows.of_mut(owner).forget_below(below) {
            if instance.holds {
                self.conflicts.release(&instance.keys);
            }
            self.conflicts.remove(InstanceId { owner, number }, &instance.keys);
        }
    }

    /// Looks at what has been waiting for too long, and at who is ahead.
    pub(super) fn on_check_timer(&mut self, now: Time, out: &mut Effects<Self>) {
        let mut due = Vec::new();
        for (owner, row) in self.rows.iter() {
            for (number, instance) in row.from(row.executed_below()) {
                let id = InstanceId { owner, number };
                if let Some(what) = self.due(now, id, instance) {
                    due.push((id, what));
                }
            }
        }
        if !self.hears_majority() {
            // Its ballots would only stop others, and it would not hear what comes of them.
            due.retain(|(_, what)| !matches!(what, Due::Recover));
        }
        due.truncate(RECOVERIES_MAX);
        for (id, what) in due {
            match what {
                Due::Fallback => self.fall_back(now, id, out),
                Due::AskAgain => self.ask_again(now, id, out),
                Due::SayAgain => self.say_again(now, id, out),
                Due::Recover => self.recover_instance(now, id, out),
            }
        }
        self.look_at_joining(now, out);
        self.catch_up(now, out);
        self.arm_check(out);
    }

    /// Whether a majority of the members, itself included if it is one, was heard of late.
    pub(super) fn hears_majority(&self) -> bool {
        let others = self.others().iter().map(|node| &self.peers[usize::from(node.0)]);
        let own = usize::from(self.is_member());
        own + others.filter(|peer| !peer.suspected).count() >= self.majority()
    }

    fn due(&self, now: Time, id: InstanceId, instance: &Instance) -> Option<Due> {
        if instance.is_committed() || instance.executed || !self.may_vote(id) {
            return None;
        }
        let fallback = Duration::from_millis(self.options.fallback_ms);
        let once = Duration::from_millis(self.options.recover_ms);
        // Twice as long each time: rivals come apart.
        let times = 2u32.pow(instance.recoveries.saturating_sub(1).min(RETRY_DOUBLINGS_MAX));
        let retry = once * times;
        let refused = instance.refused.is_some();
        let past = |since: Time, patience: Duration| now.since(since) >= patience;
        match instance.work.as_deref() {
            None => {
                past(instance.since, self.patience(id) + once * (times - 1)).then_some(Due::Recover)
            }
            Some(Work::PreAccepting(work)) if !refused => {
                let late = past(work.began, self.quorum_patience(work.asked));
                (late && !mutant!(NoFallback)).then_some(Due::Fallback)
            }
            Some(Work::PreAccepting(work)) => past(work.began, retry).then_some(Due::Recover),
            Some(Work::Accepting(work)) if refused => {
                past(work.asked_at, retry).then_some(Due::Recover)
            }
            Some(Work::Accepting(work)) => past(work.asked_at, fallback).then_some(Due::AskAgain),
            Some(Work::Preparing(work)) => past(work.began, retry).then_some(Due::Recover),
            Some(Work::Validating(work)) => past(work.began, retry).then_some(Due::Recover),
            Some(Work::Deferring(work)) if past(work.began, retry * 4) => Some(Due::Recover),
            Some(Work::Deferring(work)) => past(work.said_at, fallback).then_some(Due::SayAgain),
        }
    }

    /// How long an instance that this replica does not lead is left alone: the replicas take turns, the
    /// next after the owner first, so that two rarely recover it at once.
    fn patience(&self, id: InstanceId) -> Duration {
        let size = self.cluster.size;
        let mut turn = 0;
        let mut node = id.owner;
        while node != self.me {
            turn += u32::from(!self.peers[usize::from(node.0)].suspected && node != id.owner);
            node = NodeId((node.0 + 1) % size);
        }
        let retry = Duration::from_millis(self.options.recover_ms);
        let first = match self.peers[usize::from(id.owner.0)].suspected {
            _ if id.owner == self.me => retry,
            true => retry / 4,
            false => retry * PATIENCE_WITH_LIVE,
        };
        first + retry / 2 * turn
    }

    /// How long a quorum is waited for: at most as the options say, and not much longer than its members
    /// have taken of late.
    fn quorum_patience(&self, asked: NodeSet) -> Duration {
        let fallback = Duration::from_millis(self.options.fallback_ms);
        let rtt_ns = asked.iter().map(|node| self.peers[usize::from(node.0)].rtt_ns);
        let Some(slowest_ns) = rtt_ns.max().flatten() else { return fallback };
        let pause = Duration::from_millis(2 * self.options.heartbeat_ms);
        fallback.min(Duration::from_nanos(2 * slowest_ns) + pause)
    }

    /// A fast quorum has not answered: everybody is asked, and any majority will do.
    pub(super) fn fall_back(&mut self, now: Time, id: InstanceId, out: &mut Effects<Self>) {
        let (others, epoch) = (self.other_voters(id), self.epochs.of(id));
        let Some(instance) = self.rows.get_mut(id) else { return };
        let Some(initial) = instance.initial.clone() else { return };
        let Some(Work::PreAccepting(work)) = instance.work.as_deref_mut() else { return };
        let answered: NodeSet = work.votes.iter().map(|vote| vote.node).collect();
        let silent = work.asked.minus(answered);
        if !work.late {
            self.counters.fallbacks += 1;
            silent.iter().for_each(|node| self.peers[usize::from(node.0)].missed = true);
        }
        (work.late, work.asked, work.began) = (true, others, now);
        self.counters.retransmissions += 1;
        let message = EpaxosMessage::PreAccept { id, epoch, initial };
        out.send_to(others.minus(answered), message, out.last_write());
        self.end_phase1(now, id, out);
    }

    fn ask_again(&mut self, now: Time, id: InstanceId, out: &mut Effects<Self>) {
        let others = self.other_voters(id);
        let Some(instance) = self.rows.get_mut(id) else { return };
        let Some(Work::Accepting(work)) = instance.work.as_deref_mut() else { return };
        (work.asked, work.asked_at) = (others, now);
        self.counters.retransmissions += 1;
        let work = work.clone();
        self.send_accepts(id, &work, out.last_write(), out);
    }

    fn say_again(&mut self, now: Time, id: InstanceId, out: &mut Effects<Self>) {
        let Some(instance) = self.rows.get_mut(id) else { return };
        let Some(Work::Deferring(work)) = instance.work.as_deref_mut() else { return };
        work.said_at = now;
        self.say_deferred(id, out);
    }

    /// Asks for what is missing here, if others are ahead and nothing has happened since the last look.
    fn catch_up(&mut self, now: Time, out: &mut Effects<Self>) {
        if now.since(self.looked) < Duration::from_millis(self.options.recover_ms / 2) {
            return;
        }
        self.looked = now;
        let known = self.known_below();
        let stuck: Vec<usize> =
            (0..known.len()).filter(|place| self.progress[*place] == known[*place]).collect();
        self.progress.clone_from(&known);
        let ahead = |node: &NodeId| {
            let theirs = &self.peers[usize::from(node.0)].executed;
            stuck.iter().any(|place| theirs[*place] > known[*place])
        };
        let informants: NodeSet = self.others().iter().filter(ahead).collect();
        if informants.minus(self.asked_in_vain).is_empty() {
            self.asked_in_vain = NodeSet::default();
        }
        if let Some(informant) = informants.minus(self.asked_in_vain).iter().next() {
            self.asked_in_vain.insert(informant);
            self.ask_for_missing(informant, out);
        }
    }

    /// Asks one replica for what is missing here.
    pub(super) fn ask_for_missing(&mut self, from: NodeId, out: &mut Effects<Self>) {
        self.counters.catch_ups += 1;
        let (executed, known) = (self.executed_below(), self.known_below());
        out.send(from, EpaxosMessage::Lagging { executed, known });
    }

    /// Another replica lags: it gets what is committed here, or the state.
    pub(super) fn on_lagging(
        &mut self,
        now: Time,
        from: NodeId,
        (executed, known): (&PerNode, &PerNode),
        out: &mut Effects<Self>,
    ) {
        let lacks = |(owner, row): (NodeId, &Row)| {
            let below = executed[usize::from(owner.0)];
            below < row.base() || row.from(below).any(|(_, i)| i.executed && !i.is_committed())
        };
        if mutant!(LaggingNotAnswered) {
            return;
        }
        if self.rows.iter().any(lacks) {
            return self.send_state(now, from, out);
        }
        let (missing, is_all) = self.missing_above(known);
        for id in missing {
            self.tell_commit(from, id, out);
        }
        if !is_all {
            // It would take many rounds.
            self.send_state(now, from, out);
        }
    }

    /// What is decided here from these numbers on, as far as one answer holds it, and whether that is all.
    fn missing_above(&self, known: &PerNode) -> (Vec<InstanceId>, bool) {
        let (mut bytes, mut missing) = (0, Vec::new());
        for (owner, row) in self.rows.iter() {
            let decided =
                row.from(known[usize::from(owner.0)]).filter(|(_, instance)| instance.final_here);
            for (number, instance) in decided {
                if bytes >= CATCH_UP_BYTES_MAX {
                    return (missing, false);
                }
                bytes += 64 + instance.command().map_or(0, |c| c.iter().map(Command::bytes).sum());
                missing.push(InstanceId { owner, number });
            }
        }
        (missing, true)
    }

    fn send_state(&mut self, now: Time, to: NodeId, out: &mut Effects<Self>) {
        let pause = Duration::from_millis(self.options.recover_ms);
        let sent = &mut self.peers[usize::from(to.0)].state_sent;
        if sent.is_some_and(|sent| now.since(sent) < pause) {
            return;
        }
        *sent = Some(now);
        self.counters.states_sent += 1;
        let set = |(_, row): (NodeId, &Row)| ExecutedSet {
            below: row.executed_below(),
            above: row.executed_above(),
        };
        let executed = self.rows.iter().map(set).collect();
        let (epoch, forgotten) = (self.epochs.latest(), self.forgotten.clone());
        let message = EpaxosMessage::State { epoch, executed, forgotten };
        out.push(Effect::SendState { to, message });
    }

    /// The replicated state of another replica came with this message. It is taken if it is ahead, and
    /// holds all that this replica has forgotten; what it does not hold is executed again.
    pub(super) fn on_state(
        &mut self,
        now: Time,
        executed: Vec<ExecutedSet>,
        forgotten: PerNode,
        out: &mut Effects<Self>,
    ) {
        let rows = || self.rows.iter().zip(&executed);
        let holds = |set: &ExecutedSet, number: u64| {
            number < set.below || set.above.binary_search(&number).is_ok()
        };
        // Without a record of the decision it could not be executed again.
        let holds_all = rows().all(|((_, row), set)| {
            let mut only_there =
                row.from(set.below).filter(|(_, i)| i.executed && !i.is_committed());
            set.below >= row.base() && only_there.all(|(number, _)| holds(set, number))
        });
        let is_ahead = rows().any(|((_, row), set)| set.below > row.executed_below());
        if !holds_all || !is_ahead {
            return;
        }
        self.counters.states_installed += 1;
        out.push(Effect::InstallState);
        out.persist(EpaxosRecord::Installed {
            executed: executed.clone(),
            forgotten: forgotten.clone(),
        });
        self.install(now, &executed, &forgotten);
        self.execute(out);
    }

    /// The replicated state holds exactly what is said from now on.
    pub(super) fn install(&mut self, now: Time, executed: &[ExecutedSet], forgotten: &PerNode) {
        for (place, set) in executed.iter().enumerate() {
            let owner = NodeId(place as u8);
            self.forget_below(owner, forgotten[place]);
            // What is so far behind that it has no place cannot be asked for either.
            self.drop_records(owner, set.below.saturating_sub(INSTANCES_MAX / 2));
            self.rows.of_mut(owner).install(set.below, &set.above, now);
            let end = set.above.last().map_or(set.below, |last| last + 1);
            self.taken_over[place] = self.taken_over[place].max(end);
        }
        self.conflicts.forget_executions();
        self.release_executed();
        self.next = self.next.max(self.rows.of(self.me).end());
        self.count_unexecuted();
        let ready: Vec<InstanceId> = self.committed_and_not_executed().collect();
        for id in ready {
            self.executor.committed(id);
        }
    }

    /// Own instances that the state holds keep others from their keys no longer.
    fn release_executed(&mut self) {
        let row = self.rows.of(self.me);
        let done = row.from(0).filter(|(_, i)| i.executed && i.holds).map(|(number, _)| number);
        for number in done.collect::<Vec<_>>() {
            let Some(instance) = self.rows.of_mut(self.me).get_mut(number) else { continue };
            instance.holds = false;
            self.conflicts.release(&instance.keys);
        }
        self.requests.extend(self.held.drain(..));
    }

    /// What is committed here and waits to be executed.
    pub(super) fn committed_and_not_executed(&self) -> impl Iterator<Item = InstanceId> {
        self.rows.iter().flat_map(|(owner, row)| {
            let ready = row.from(0).filter(|(_, i)| i.final_here && !i.executed);
            ready.map(move |(number, _)| InstanceId { owner, number })
        })
    }

    /// Counts the own instances that are not executed.
    pub(super) fn count_unexecuted(&mut self) {
        let row = self.rows.of(self.me);
        let open = (row.executed_below()..self.next).filter(|number| !row.is_executed(*number));
        self.unexecuted = open.count();
    }
}

/// What a command covers, whose recovery may ask what is in its way; none if there is no such command.
fn covered_by_command(instance: &Instance) -> Option<PerNode> {
    let nothing = matches!(instance.proposal, Some(Proposal::Nop) | None);
    let attributes = instance.attributes.as_ref().filter(|_| !nothing)?;
    let deps = &attributes.deps;
    Some((0..deps.prefix.len()).map(|place| deps.covered_below(place)).collect())
}

pub(super) fn raise(mine: &mut PerNode, theirs: &PerNode) {
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        *mine = (*mine).max(*theirs);
    }
}

fn lower(mine: &mut PerNode, theirs: &PerNode) {
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        *mine = (*mine).min(*theirs);
    }
}
