//! One instance: a history that is agreed on, up to the checkpoint that closes it.
//!
//! (Lamport §6.3: "the *i*th instance of the generalized Paxos algorithm … choose the history *v_i • C*".)
//!
//! A replica plays four parts in it, and each has its variables here, named as in §3.2; and it has a *mirror*
//! of the value of every coordinator and of every acceptor, as far as it has heard of it. So a 1b need say no
//! more of *vval* than how long it is.

use std::collections::VecDeque;

use super::classes::ClassIndex;
use super::message::Vote;
use super::names::{Name, NameMap, Names, Run};
use super::round::Round;
use super::tally::Tally;
use crate::command::NodeId;
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Time, WriteId};

/// A history that only grows, until a checkpoint ends it.
#[derive(Clone, Hash, Debug, Default)]
pub struct Value {
    /// Its commands.
    pub names: Names,
    /// Whether the checkpoint follows.
    pub is_closed: bool,
}

impl Value {
    /// How long it is; a checkpoint counts as one.
    pub fn length(&self) -> u64 {
        self.names.len() + u64::from(self.is_closed)
    }

    /// The first so many of it, in which a checkpoint counts as one.
    #[must_use]
    pub fn prefix(&self, length: u64) -> Value {
        let names = self.names.between(0, length.min(self.names.len())).collect();
        Value { names, is_closed: self.is_closed && length >= self.length() }
    }
}

/// What is known of the value of one coordinator or acceptor.
#[derive(Clone, Hash, Debug)]
pub struct Mirror {
    /// The latest round of which something was heard.
    pub round: Round,
    /// Its value there, from the beginning.
    pub value: Value,
    /// Of a coordinator: how much *Phase2Start* picked. Of an acceptor in a single-coordinated round: how much
    /// of the coordinator's value it has accepted.
    pub mark: u64,
    /// How many of the names are counted.
    pub counted: u64,
}

impl Default for Mirror {
    fn default() -> Self {
        Mirror { round: Round::ZERO, value: Value::default(), mark: 0, counted: 0 }
    }
}

impl Mirror {
    /// A later round begins.
    pub fn follow(&mut self, round: Round) {
        if round > self.round {
            *self = Mirror { round, ..Mirror::default() };
        }
    }

    /// The value goes on with `names` from position `base` on. False if something before that is missing.
    pub fn extend(&mut self, base: u64, names: &[Run], closes: bool) -> bool {
        let have = self.value.names.len();
        if base > have {
            return false;
        }
        let mut skip = have - base;
        for run in names {
            let count = u64::from(run.count);
            if skip < count {
                self.value.names.push(run.part(skip, count));
            }
            skip = skip.saturating_sub(count);
        }
        self.value.is_closed |= closes;
        true
    }

    /// How much of *vval* an acceptor is known to have accepted.
    pub fn accepted(&self) -> u64 {
        self.mark.max(self.value.length())
    }
}

/// *Phase 1* of a round, at one of its coordinators.
#[derive(Clone, Hash, Debug)]
pub struct Phase1 {
    /// The round.
    pub round: Round,
    /// By acceptor: what it has accepted, once it has joined the round.
    pub promises: Vec<Option<Vec<Vote>>>,
    /// When it was asked for last.
    pub asked: Time,
}

impl Phase1 {
    /// Nobody has answered yet.
    pub fn new(round: Round, size: usize, asked: Time) -> Phase1 {
        Phase1 { round, promises: vec![None; size], asked }
    }

    /// Who has answered.
    pub fn promised(&self) -> NodeSet {
        let all = (0..).map(NodeId).zip(&self.promises);
        all.filter(|(_, promise)| promise.is_some()).map(|(node, _)| node).collect()
    }
}

/// The coordinator's variables.
#[derive(Clone, Hash, Debug)]
pub struct Coordinated {
    /// *crnd*
    pub crnd: Round,
    /// *cval*
    pub cval: Value,
    /// How much of it *Phase2Start* picked.
    pub start: u64,
    /// What is in it.
    pub contains: NameMap<bool>,
    /// How much of it was sent.
    pub sent: u64,
    /// How many of the learned commands were put into it for want of their own proposals.
    pub covered: u64,
}

/// The acceptor's variables.
#[derive(Clone, Hash, Debug)]
pub struct Accepted {
    /// *rnd*, unless a round for all instances from some point on is above it.
    pub rnd: Round,
    /// *vrnd*
    pub vrnd: Round,
    /// *vval*
    pub vval: Value,
    /// What is in it.
    pub contains: NameMap<bool>,
    /// How much of it was written to the log, and by which write.
    pub written: u64,
    /// That write.
    pub edge: WriteId,
    /// In a multicoordinated round: commands that coordinator quorums agree on, and that others were asked to
    /// accept; with their nodes in the tally.
    pub deferred: VecDeque<(Name, u32)>,
}

/// The learner's variables.
#[derive(Clone, Hash, Debug)]
pub struct Learned {
    /// *learned*, in an order in which it may be executed.
    pub value: Value,
    /// What is in it.
    pub contains: NameMap<bool>,
    /// How many of its commands are executed.
    pub executed: u64,
    /// Of the single-coordinated round that is counted: how much of its coordinator's value is learned.
    pub prefix: (Round, u64),
}

/// One instance at one replica.
#[derive(Clone, Hash, Debug)]
pub struct Instance {
    /// What interferes.
    pub classes: ClassIndex,
    /// By class: the last command that this replica forwarded, and whether it reads. Kept only while a leader
    /// waits for conflicts to cease.
    pub last: Vec<Option<(Name, bool)>>,
    /// The coordinator, once it has begun a round.
    pub coordinated: Option<Coordinated>,
    /// A round that it wants to begin for this instance.
    pub phase1: Option<Phase1>,
    /// The acceptor.
    pub accepted: Accepted,
    /// The learner.
    pub learned: Learned,
    /// The value of every coordinator,
    pub coordinators: Vec<Mirror>,
    /// and of every acceptor.
    pub acceptors: Vec<Mirror>,
    /// What coordinator quorums of a multicoordinated round agree on.
    pub forwarded: Option<(Round, Tally)>,
    /// What acceptor quorums of a round agree on.
    pub votes: Option<(Round, Tally)>,
    /// The last round in which a collision was seen.
    pub collided: Round,
    /// How many commands proposed in it are here and not learned.
    pub unlearned: u64,
    /// When something was learned in it, or when something to be learned was first heard of after a time with nothing,
    /// or it began. What waits since then is late.
    pub touched: Time,
    /// How often this replica has begun a round because nothing was learned for long, since something was.
    pub attempts: u32,
    /// Whether names were heard of whose commands are not here.
    pub is_blocked: bool,
    /// Whether the single-coordinated round of this instance only is known of: it will be closed, and commands
    /// had better go to the next.
    pub is_ending: bool,
}

impl Instance {
    /// Nothing has happened in it.
    pub fn new(size: u8, now: Time) -> Instance {
        let mirrors = vec![Mirror::default(); usize::from(size)];
        Instance {
            classes: ClassIndex::default(),
            last: Vec::new(),
            coordinated: None,
            phase1: None,
            accepted: Accepted {
                rnd: Round::ZERO,
                vrnd: Round::ZERO,
                vval: Value::default(),
                contains: NameMap::new(size),
                written: 0,
                edge: WriteId(0),
                deferred: VecDeque::new(),
            },
            learned: Learned {
                value: Value::default(),
                contains: NameMap::new(size),
                executed: 0,
                prefix: (Round::ZERO, 0),
            },
            coordinators: mirrors.clone(),
            acceptors: mirrors,
            forwarded: None,
            votes: None,
            collided: Round::ZERO,
            unlearned: 0,
            attempts: 0,
            touched: now,
            is_blocked: false,
            is_ending: false,
        }
    }

    /// *crnd*, or the round before all others.
    pub fn crnd(&self) -> Round {
        self.coordinated.as_ref().map_or(Round::ZERO, |coordinated| coordinated.crnd)
    }

    /// Something is to be learned: if all that has come so far was, waiting begins now.
    pub fn await_more(&mut self, now: Time) {
        if self.unlearned == 0 {
            self.touched = now;
        }
    }

    /// So many commands have come that are not learned.
    pub fn await_commands(&mut self, count: u64, now: Time) {
        if count > 0 {
            self.await_more(now);
        }
        self.unlearned += count;
    }

    /// Names were heard of whose commands are not here.
    pub fn block(&mut self, now: Time) {
        if !std::mem::replace(&mut self.is_blocked, true) {
            self.await_more(now);
        }
    }

    /// Forgets all but what was learned and accepted, once it is closed and executed.
    pub fn shrink(&mut self) {
        self.forwarded = None;
        self.votes = None;
        self.phase1 = None;
        self.classes = ClassIndex::default();
        self.last = Vec::new();
        self.accepted.deferred = VecDeque::new();
    }

    /// The names that a single-coordinated round's coordinator has put in a row, as far as they are known: from
    /// itself, or from an acceptor that has said what it accepted.
    pub fn row_of(&self, round: Round) -> Option<&Value> {
        let creator = &self.coordinators[usize::from(round.creator.0)];
        let of_round = |mirror: &&Mirror| mirror.round == round;
        let all = self.acceptors.iter().chain([creator]).filter(of_round);
        all.map(|mirror| &mirror.value).max_by_key(|value| value.length())
    }

    /// The value that an acceptor voted for, if it is known.
    pub fn value_of(&self, acceptor: NodeId, vote: &Vote) -> Option<Value> {
        let mirror = &self.acceptors[usize::from(acceptor.0)];
        let said = Some(&mirror.value).filter(|_| mirror.round == vote.vrnd);
        let row = self.row_of(vote.vrnd).filter(|_| vote.vrnd.kind == super::round::RType::Single);
        let known = said.into_iter().chain(row).find(|value| value.length() >= vote.length)?;
        Some(known.prefix(vote.length))
    }
}
