//! Generalized and Multicoordinated Paxos over command histories.
//!
//! (L. Lamport, "Generalized Consensus and Paxos", MSR-TR-2005-33; L. Camargos, R. Schmidt, F. Pedone,
//! "Multicoordinated Paxos", 2006. Sections are the latter's where nothing else is said.)
//!
//! # The problem
//!
//! Commands that do not interfere need no order, so replicas need not agree on a sequence: it is enough that
//! they agree on a *history*, a partial order, which grows for ever. *Fast* rounds then need no leader: acceptors
//! take proposals from proposers, and a command is learned two steps after it was proposed, if what interferes
//! with it arrives in the same order at enough acceptors. Where it does not, acceptors have written for
//! nothing. *Single-coordinated* rounds order everything at one place, which is far away for most, and may crash.
//!
//! # The idea
//!
//! Let several coordinators forward proposals, and acceptors accept what a *quorum* of them has in common. Three
//! steps, as with one coordinator, but no single one is needed; and who disagrees is seen by acceptors before
//! they write.
//!
//! # A command's way
//!
//! ```text
//!   proposer            coordinators             acceptors                learners
//!      │ propose ───────────▶│ cval • C               │                       │
//!      │ propose ─ (fast) ────────────────────────────▶ vval • C              │
//!      │                     │ 2a: cval ─────────────▶│ vval ⊔ ⊓ of a quorum  │
//!      │                     │                        │ 2b: vval ────────────▶│ learned ⊔ ⊓ of a quorum
//! ```
//!
//! Every replica plays all parts. Proposals go to everybody, because everybody executes them; what 2a and 2b
//! messages carry is names, and of these only what is new.
//!
//! | module | what | paper |
//! | --- | --- | --- |
//! | [`round`] | rounds and their types | §4.4 |
//! //! | [`structs`] | command structures: what may be agreed on | Lamport §3 |
//! | [`tally`] | ⊔ of the ⊓ of every quorum | §3.3.1 |
//! | [`instance`] | the variables of all parts | §3.2 |
//! | `proposing` | Propose; the choice of quorums | §3.2, §4.1 |
//! | `coordinating` | Phase2Start, ProvedSafe, Phase2aClassic | §3.2, §3.3.2 |
//! | `accepting` | Phase1b, Phase2bClassic, Phase2bFast; collisions | §3.2, §4.2 |
//! | `learning` | Learn; execution; checkpoints | §3.2, Lamport §6.3 |
//! | `leading` | Phase1a; which rounds stand | §4.3, §4.5 |
//! | `relaying` | commands that come sooner by way of a coordinator | |
//! | `keeping` | what was missed, who lags, what a crash leaves | §4.4 |
//! | [`names`], [`proposals`], [`classes`] | commands by number, and what interferes | |
//!
//! # Where this departs from the paper
//!
//! - *A sequence of instances* (Lamport §6.3): each is closed by a checkpoint, a command that interferes with
//!   all. Only a single-coordinated round proposes it; a fast or multicoordinated round is followed by one for
//!   that instance alone, while the next instance is under way.
//! - *A collision closes its instance* likewise. What follows is decided for the instances that follow.
//! - *A collision is what no quorum can get over.* The paper goes to the next round whenever two coordinators of a
//!   quorum disagree; with three coordinators, two that agree are enough.
//! - *|Q| − E*, not *n − 2E*, acceptors of Q are in any fast quorum (§3.3.2 is right only if |Q| = n − E).
//! - *A collision is joined* as a round: *rnd* is *i + 1* then (the text of §4.2, not B.5).
//! - *Incarnations of coordinators* are their *MCount*: they act in no round of a lower one.
//!
//! # What is bounded
//!
//! An instance by [`options::MulticoordinatedOptions::checkpoint`], about; instances by `INSTANCES_KEPT`
//! behind what is executed, and `INSTANCES_AHEAD` of it; commands that wait here for their clients by
//! [`OWN_BYTES_MAX`].

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use self::instance::{Instance, Phase1, Value};
use self::leading::Leading;
use self::message::{MulticoordinatedMessage, MulticoordinatedRecord, MulticoordinatedTimer};
use self::names::{Name, Run};
use self::options::{MulticoordinatedOptions, QuorumSizes};
use self::proposals::Proposals;
use self::relaying::Relaying;
use self::round::{RType, Round};
use super::election::Election;
use super::{Batch, Cluster, Effect, Effects as AllEffects, Input, Protocol, Time, WriteId};
use crate::command::{Command, NodeId};
use crate::mutants::mutant;

mod accepting;
pub mod classes;
mod coordinating;
mod display;
pub mod instance;
mod keeping;
mod leading;
mod learning;
pub mod message;
mod modelled;
pub mod names;
pub mod options;
mod plausible;
pub mod proposals;
mod proposing;
mod relaying;
pub mod round;
pub mod structs;
pub mod tally;
#[cfg(test)]
mod tests;

/// The effects of this core.
type Effects<P> = AllEffects<P>;

/// Bytes of commands that this replica's clients have asked for and that are not learned, unless a single one is
/// larger. Requests beyond it are dropped: clients ask again.
pub const OWN_BYTES_MAX: usize = 64 << 20;

/// Executed instances that are kept for who lags, at most.
const INSTANCES_KEPT: u64 = 2;

/// Instances after the one that is executed, at most.
const INSTANCES_AHEAD: u64 = 64;

/// Runs of names in one message, at most.
pub const RUNS_MAX: usize = 8192;

/// What another replica has told of an instance that it has learned. Others have other orders, and it may have another
/// in another life; what has come of one without a gap is a history.
#[derive(Clone, Hash, Debug, Default)]
struct Told {
    life: u32,
    instance: u64,
    /// How many commands of its order are learned here.
    taken: u64,
    /// What has come and is not taken, by the position where it begins; and whether the checkpoint follows.
    parts: BTreeMap<u64, (Vec<Run>, bool)>,
}

/// Commands of this replica's clients that it proposed together.
#[derive(Clone, Hash, Debug)]
struct Own {
    first: u64,
    count: u64,
    /// How many are not learned.
    left: u64,
    instance: u64,
    sent: Time,
    /// Whether they were sent to all.
    repeated: bool,
}

/// What happened so far, for the counters of a run.
#[derive(Clone, Copy, Default, Debug)]
struct Counters {
    standing: u64,
    proposed: u64,
    proposed_again: u64,
    forwarded: u64,
    accepted: u64,
    accept_writes: u64,
    learned: u64,
    collisions: u64,
    collision_writes: u64,
    conflicts: u64,
    rounds_begun: u64,
    recoveries: u64,
    stuck: u64,
    replaced: u64,
    takeovers: u64,
    elections: u64,
    checkpoints: u64,
    instances: u64,
    fallbacks: u64,
    too_low: u64,
    wants: u64,
    catch_ups: u64,
    states_sent: u64,
    states_installed: u64,
    implausible: u64,
    requests_dropped: u64,
}

/// What a replica counts is not part of its state: two that differ in nothing else do the same from now on.
impl Hash for Counters {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// One replica.
#[derive(Clone, Debug)]
pub struct Multicoordinated {
    me: NodeId,
    cluster: Cluster,
    options: MulticoordinatedOptions,
    quorums: QuorumSizes,
    now: Time,
    /// *MCount* when this life began: the incarnation of all parts.
    life: u32,
    /// The write that makes it durable.
    born: WriteId,
    /// *MCount*, and the write that makes it durable.
    major: u32,
    major_edge: WriteId,
    /// *rnd* of all instances from one on, unless they have joined a later one.
    standing: (Round, u64),
    /// The fast round in which acceptors take proposals without a value to begin with, from an instance on.
    any: (Round, u64),
    /// The round that this replica coordinates for all instances from one on.
    coordinating: Option<(Round, u64)>,
    /// The first instance of these that it begins with nothing. Of those before, it knows what may be chosen.
    fresh: u64,
    /// The round that it wants to coordinate for all instances from one on.
    opening: Option<(Phase1, u64)>,
    /// The first instance that is held.
    base: u64,
    instances: VecDeque<Instance>,
    /// The first instance that is not executed.
    executing: u64,
    /// The instance that proposals go to.
    proposing: u64,
    proposals: Proposals,
    next_number: u64,
    own: VecDeque<Own>,
    own_bytes: usize,
    /// Commands that arrived in this turn.
    requests: Vec<Command>,
    election: Election,
    leader: NodeId,
    leading: Option<Leading>,
    /// The highest round that anybody has joined for all instances from one on, as far as is known.
    highest_standing: Round,
    /// The highest round that was heard of.
    highest: Round,
    /// What the log says was executed, until it is executed again.
    replay: Vec<Batch>,
    /// Messages of this replica to itself, until what they wait for is durable.
    to_self: VecDeque<(WriteId, MulticoordinatedMessage)>,
    durable: WriteId,
    /// By replica: below which instance it has executed all.
    executed_below: Vec<u64>,
    /// When each replica was last sent the state.
    state_sent: Vec<Option<Time>>,
    /// By replica: of which instance it was told last what is learned, and when.
    learned_sent: Vec<Option<(u64, Time)>>,
    relaying: Relaying,
    /// When this replica last asked for what it lacks.
    lagging_asked: Option<Time>,
    /// How often it has asked for commands, for the rest of an order, and for what is learned: each replica in
    /// turn, and each of these by itself, or two that alternate would always ask the same.
    asked: [usize; 3],
    /// By replica: what it has told of what it has learned.
    told: Vec<Told>,
    counters: Counters,
}

impl Protocol for Multicoordinated {
    type Options = MulticoordinatedOptions;
    type Message = MulticoordinatedMessage;
    type Timer = MulticoordinatedTimer;
    type Record = MulticoordinatedRecord;

    const GAUGES: &'static [&'static str] = &["leader", "standing"];

    fn recover(
        me: NodeId,
        cluster: Cluster,
        options: MulticoordinatedOptions,
        log: impl Iterator<Item = MulticoordinatedRecord>,
    ) -> Self {
        let mut core = Multicoordinated::new(me, cluster, options);
        log.for_each(|record| core.recall(record));
        core.begin_life();
        core
    }

    fn step(&mut self, now: Time, input: Input<Self>, out: &mut Effects<Self>) {
        self.now = now;
        match input {
            Input::Started => self.on_started(out),
            Input::Message { from, message } => {
                if message.is_plausible(from, self.cluster.size) {
                    self.on_message(from, message, out);
                } else {
                    self.counters.implausible += 1;
                }
            }
            Input::Requests(commands) => self.on_requests(commands),
            Input::Members(_) => {}
            Input::Timer(MulticoordinatedTimer::Heartbeat) => self.on_heartbeat_timer(out),
            Input::Timer(MulticoordinatedTimer::Check) => self.on_check_timer(out),
            Input::Durable(write) => {
                self.durable = self.durable.max(write);
                self.hear_self(out);
            }
            Input::TurnEnded => self.on_turn_ended(out),
        }
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let c = &self.counters;
        vec![
            ("leader", u64::from(self.leader.0)),
            ("standing", c.standing),
            ("proposed", c.proposed),
            ("proposed_again", c.proposed_again),
            ("forwarded", c.forwarded),
            ("accepted", c.accepted),
            ("accept_writes", c.accept_writes),
            ("learned", c.learned),
            ("collisions", c.collisions),
            ("collision_writes", c.collision_writes),
            ("conflicts", c.conflicts),
            ("rounds_begun", c.rounds_begun),
            ("recoveries", c.recoveries),
            ("stuck", c.stuck),
            ("replaced", c.replaced),
            ("takeovers", c.takeovers),
            ("elections", c.elections),
            ("checkpoints", c.checkpoints),
            ("instances", c.instances),
            ("fallbacks", c.fallbacks),
            ("too_low", c.too_low),
            ("wants", c.wants),
            ("catch_ups", c.catch_ups),
            ("states_sent", c.states_sent),
            ("states_installed", c.states_installed),
            ("implausible", c.implausible),
            ("requests_dropped", c.requests_dropped),
        ]
    }
}

impl Multicoordinated {
    fn new(me: NodeId, cluster: Cluster, options: MulticoordinatedOptions) -> Self {
        let size = usize::from(cluster.size);
        let timeout = Duration::from_millis(options.election_timeout_ms);
        let preferred = NodeId(options.leader);
        let election = Election::new(me, cluster.size, preferred, 1, timeout);
        Multicoordinated {
            me,
            cluster,
            quorums: options.quorums(size),
            options,
            now: Time(0),
            life: 0,
            born: WriteId(0),
            major: 0,
            major_edge: WriteId(0),
            standing: (Round::ZERO, 0),
            any: (Round::ZERO, 0),
            coordinating: None,
            fresh: 0,
            opening: None,
            base: 0,
            instances: VecDeque::new(),
            executing: 0,
            proposing: 0,
            proposals: Proposals::new(cluster.size),
            next_number: 0,
            own: VecDeque::new(),
            own_bytes: 0,
            requests: Vec::new(),
            leader: election.leader(),
            election,
            leading: None,
            highest_standing: Round::ZERO,
            highest: Round::ZERO,
            replay: Vec::new(),
            to_self: VecDeque::new(),
            durable: WriteId(0),
            executed_below: vec![0; size],
            state_sent: vec![None; size],
            learned_sent: vec![None; size],
            relaying: Relaying::new(cluster.size),
            lagging_asked: None,
            asked: [0; 3],
            told: vec![Told::default(); size],
            counters: Counters::default(),
        }
    }

    /// "During recovery, the acceptor simulates the reception of a 1a message with an *MCount* higher than the one it
    /// has on disk" (§4.4).
    fn begin_life(&mut self) {
        if !mutant!(MajorNotRaised) {
            self.major += 1;
        }
        self.life = self.major;
        self.standing = (Round::first_of(self.major), 0);
        self.highest = self.standing.0;
        self.next_number = Name::first_of_life(self.life);
        let timeout = Duration::from_millis(self.options.election_timeout_ms);
        let preferred = NodeId(self.options.leader);
        self.election = Election::new(self.me, self.cluster.size, preferred, self.life, timeout);
        self.leader = self.election.leader();
        self.open(self.executing);
    }

    fn on_started(&mut self, out: &mut Effects<Self>) {
        self.born = out.persist(MulticoordinatedRecord::Major(self.major));
        self.major_edge = self.born;
        for commands in std::mem::take(&mut self.replay) {
            out.push(Effect::Execute(commands));
        }
        self.election.start(self.now);
        self.on_heartbeat_timer(out);
        self.arm_check(out);
    }

    fn arm_check(&self, out: &mut Effects<Self>) {
        let period = self.fallback() / 4;
        out.push(Effect::Arm(MulticoordinatedTimer::Check, period / 2..period));
    }

    fn on_check_timer(&mut self, out: &mut Effects<Self>) {
        self.lead(out);
        self.coordinate_late(out);
        self.repeat_proposals(out);
        self.adopt_proposals(out);
        self.step_back();
        self.ask_for_learned(out);
        self.want_commands(out);
        self.arm_check(out);
    }

    fn on_turn_ended(&mut self, out: &mut Effects<Self>) {
        self.hear_self(out);
        self.propose(out);
        self.send_cvals(out);
        self.hear_self(out);
        self.write_votes(out);
        self.hear_self(out);
        self.execute(out);
        // What the end of an instance has led to.
        self.send_cvals(out);
        self.hear_self(out);
        self.write_votes(out);
    }

    fn on_message(
        &mut self,
        from: NodeId,
        message: MulticoordinatedMessage,
        out: &mut Effects<Self>,
    ) {
        match message {
            MulticoordinatedMessage::Propose {
                instance,
                first,
                commands,
                coordinators,
                acceptors,
            } => {
                let quorums = (coordinators, acceptors);
                self.on_propose(from, instance, (first, commands), quorums, out);
            }
            MulticoordinatedMessage::Phase1a { round, instance, onwards } => {
                self.on_1a(from, round, (instance, onwards), out);
            }
            MulticoordinatedMessage::Phase1b { round, instance, onwards, votes } => {
                self.on_1b(from, round, (instance, onwards), votes, out);
            }
            MulticoordinatedMessage::Phase2a { round, instance, start, base, names, closes } => {
                self.on_2a(from, (round, instance), start, (base, &names, closes), out);
            }
            MulticoordinatedMessage::Phase2aAny { round, instance } => {
                self.on_2a_any(round, instance, out);
            }
            MulticoordinatedMessage::Phase2bPrefix { round, instance, length } => {
                self.on_2b_prefix(from, (round, instance), length, out);
            }
            MulticoordinatedMessage::Phase2b { round, instance, base, names, closes } => {
                self.on_2b(from, (round, instance), (base, &names, closes), out);
            }
            MulticoordinatedMessage::TooLow { round, instance, rnd } => {
                self.on_too_low(round, instance, rnd, out);
            }
            MulticoordinatedMessage::Want { stream, round, instance, from: position } => {
                self.on_want(from, stream, (round, instance), position, out);
            }
            MulticoordinatedMessage::WantCommands { names } => {
                self.on_want_commands(from, &names, out);
            }
            MulticoordinatedMessage::Relay { proposers } => self.on_relay(from, proposers),
            MulticoordinatedMessage::Commands { proposer, instance, first, commands } => {
                self.on_commands((proposer, instance), (first, commands), out);
            }
            MulticoordinatedMessage::Heartbeat {
                life,
                major,
                hears_majority,
                executed_below,
                standing,
                open,
            } => {
                let progress = (standing, open);
                self.on_heartbeat(
                    from,
                    (life, major, hears_majority),
                    executed_below,
                    progress,
                    out,
                );
                self.bring_to_standing(from, standing.0, out);
            }
            MulticoordinatedMessage::Lagging { instance, from: position } => {
                self.on_lagging(from, instance, position, out);
            }
            MulticoordinatedMessage::Learned { instance, life, base, names, closes } => {
                self.on_learned(from, (life, instance), (base, names, closes), out);
            }
            MulticoordinatedMessage::State { instance, names } => {
                self.on_state(instance, names, out);
            }
        }
    }

    /// What the experiment file has chosen.
    pub fn options(&self) -> &MulticoordinatedOptions {
        &self.options
    }

    /// How many commands of its clients are not learned, or not proposed yet.
    pub fn unlearned(&self) -> u64 {
        self.own.iter().map(|own| own.left).sum::<u64>() + self.requests.len() as u64
    }

    /// What it has still to learn, or to begin, as far as it knows; none if nothing.
    pub fn undone(&self) -> Option<String> {
        let behind = self.executed_below.iter().max().is_some_and(|most| *most > self.executing);
        let open = (self.base..).zip(&self.instances).skip_while(|(n, _)| *n < self.executing);
        let unlearned = open.clone().find(|(_, held)| {
            let mut accepted = held.accepted.vval.names.iter();
            accepted.any(|name| !held.learned.contains.get(name))
        });
        if self.unlearned() > 0 {
            let (unlearned, me) = (self.unlearned(), self.me);
            Some(format!("{unlearned} commands of {me}'s clients are not learned"))
        } else if behind {
            Some(format!("instance {} is executed elsewhere", self.executing))
        } else if self.executing < self.proposing {
            Some(format!("instance {} is not closed", self.executing))
        } else if self.opening.as_ref().is_some_and(|(phase1, _)| phase1.round.creator == self.me) {
            Some("it leads, and has not begun its round".to_owned())
        } else {
            unlearned.map(|(instance, _)| {
                format!("what it accepted in instance {instance} is not learned")
            })
        }
    }

    /// Sends to one replica once a write is durable; to itself, too.
    fn tell(
        &mut self,
        to: NodeId,
        message: MulticoordinatedMessage,
        after: WriteId,
        out: &mut Effects<Self>,
    ) {
        if to == self.me {
            self.to_self.push_back((after, message));
        } else {
            out.send_after(to, message, after);
        }
    }

    /// Sends to all replicas once a write is durable, itself included.
    fn tell_all(
        &mut self,
        message: MulticoordinatedMessage,
        after: WriteId,
        out: &mut Effects<Self>,
    ) {
        self.to_self.push_back((after, message.clone()));
        let to = super::Destination::Others;
        out.push(Effect::Send { to, message, after: Some(after) });
    }

    /// Hears what it has said to itself, as far as that is durable.
    fn hear_self(&mut self, out: &mut Effects<Self>) {
        loop {
            let early = mutant!(OwnVoteBeforeDurable);
            let ready = self.to_self.iter().position(|(after, _)| *after <= self.durable || early);
            let Some((_, message)) = ready.and_then(|at| self.to_self.remove(at)) else { return };
            self.on_message(self.me, message, out);
        }
    }

    /// An instance, if it is held.
    pub fn instance(&self, instance: u64) -> Option<&Instance> {
        self.instances.get(instance.checked_sub(self.base)? as usize)
    }

    fn instance_mut(&mut self, instance: u64) -> Option<&mut Instance> {
        if self.is_open(instance) {
            self.open(instance);
        }
        self.instances.get_mut(instance.checked_sub(self.base)? as usize)
    }

    /// Makes room for an instance and all before it.
    fn open(&mut self, instance: u64) {
        while self.base + (self.instances.len() as u64) <= instance {
            self.instances.push_back(Instance::new(self.cluster.size, self.now));
        }
    }

    fn note_round(&mut self, round: Round) {
        self.highest = self.highest.max(round);
    }

    /// A round of this instance alone is known of: if it is single-coordinated, it will close the instance.
    fn note_ending(&mut self, instance: u64, round: Round) {
        let (standing, from) = self.standing;
        if round.kind != RType::Single || instance >= from && round == standing {
            return;
        }
        let Some(held) = self.instance_mut(instance) else { return };
        held.is_ending = true;
        self.note_ended(instance);
    }

    /// Proposals go to later instances.
    fn note_ended(&mut self, instance: u64) {
        let next = instance + 1;
        if self.is_open(next) {
            self.propose_in(next);
        }
    }

    /// Proposals go to this instance from now on. Those before are to be closed: where nothing else was waited for,
    /// waiting begins now.
    fn propose_in(&mut self, mut instance: u64) {
        // Later ones may have been closed before, with nothing in them.
        while self.instance(instance).is_some_and(|held| held.learned.value.is_closed) {
            instance += 1;
        }
        if instance <= self.proposing {
            return;
        }
        if self.is_open(instance) {
            self.open(instance);
        }
        self.proposing = instance;
        let now = self.now;
        for ended in self.executing..instance {
            if let Some(held) = self.instance_mut(ended) {
                held.await_more(now);
            }
        }
    }

    /// What a command of an instance touches; none if it is not known.
    fn classes(&mut self, instance: u64, name: Name) -> Option<classes::Classes> {
        let structure = self.options.structure;
        let parcel = self.proposals.find_mut(name)?;
        if parcel.instance != instance {
            return None;
        }
        let held = self.instances.get_mut(instance.checked_sub(self.base)? as usize)?;
        if parcel.classes.is_empty() {
            let all = parcel.commands.iter();
            parcel.classes = all.map(|command| held.classes.of(command, structure)).collect();
        }
        Some(parcel.classes[(name.number - parcel.first) as usize])
    }

    /// The last command in a class that was forwarded here, of which this one takes the place.
    fn last_in_class(
        &mut self,
        instance: u64,
        class: u32,
        name: Name,
        is_read: bool,
    ) -> Option<(Name, bool)> {
        let held = self.instance_mut(instance)?;
        let at = class as usize;
        if held.last.len() <= at {
            held.last.resize(at + 1, None);
        }
        held.last[at].replace((name, is_read))
    }

    /// Commands have arrived: what waited for them goes on.
    fn go_on(&mut self, instance: u64, out: &mut Effects<Self>) {
        let Some(held) = self.instance_mut(instance) else { return };
        if !std::mem::replace(&mut held.is_blocked, false) {
            return;
        }
        for node in self.cluster.nodes() {
            let Some(held) = self.instance(instance) else { return };
            let index = usize::from(node.0);
            let (said, accepted) = (held.coordinators[index].round, held.acceptors[index].round);
            if !said.is_zero() {
                self.take_from(instance, node, out);
            }
            if accepted.kind == RType::Single && !accepted.is_zero() {
                self.learn_row(instance, accepted, out);
            } else if !accepted.is_zero() {
                self.learn_votes(instance, accepted, node, out);
            }
        }
        // So does a round that could not tell what was voted for.
        self.start_instance(instance, out);
        self.start_onwards(out);
    }
}

/// A value from a position on, in parts that fit a message: where each begins, its names, and whether the checkpoint
/// follows.
fn parts(value: &Value, from: u64, runs_max: usize) -> Vec<(u64, Vec<Run>, bool)> {
    let length = value.names.len();
    let runs: Vec<Run> = value.names.between(from, length).collect();
    let mut base = from.min(length);
    let mut parts = Vec::new();
    for part in runs.chunks(runs_max) {
        let count: u64 = part.iter().map(|run| u64::from(run.count)).sum();
        let closes = value.is_closed && base + count == length;
        parts.push((base, part.to_vec(), closes));
        base += count;
    }
    if parts.is_empty() {
        parts.push((base, Vec::new(), value.is_closed));
    }
    parts
}
