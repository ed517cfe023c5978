//! One simulated replica: the core, its state, its log on a disk, its clock.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::Subject;
use super::clock::Clock;
use super::drive::{Ending, Transferred};
use super::site::Connection;
use crate::check::invariants::executions::Applied;
use crate::command::{Command, NodeId};
use crate::kv::{Replicated, Store};
use crate::load::seed::ClientRng;
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Cluster, Destination, Effects, WriteId};
use crate::replica::sessions::Sessions;
use crate::replica::traffic::Tally;

/// The replicated state, and what the invariants know of it.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) store: Store,
    pub(super) applied: Applied,
    /// Batches executed.
    pub(super) batches: u64,
}

/// A record of the log.
#[derive(Debug)]
pub(super) struct Entry<P: Subject> {
    pub(super) record: P::Record,
    /// The replicated state that was stored with it, if it says that one was installed.
    pub(super) state: Option<State>,
    /// Whether it reads back as it was written.
    pub(super) intact: bool,
}

/// Where the log is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskPlan {
    /// Nowhere: a write is durable as soon as it is said, and nothing is kept.
    Memory,
    /// On a disk that takes as long for each sync. Writes that come meanwhile share the next one.
    Synced {
        /// How long, in ns.
        sync_ns: Range<u64>,
    },
    /// On a disk that says at once that a write is durable and writes it later: beyond what the
    /// protocols are made for. It proves that the checks see a loss.
    Lying,
}

/// The log and its disk.
#[derive(Debug)]
pub(super) struct Disk<P: Subject> {
    pub(super) plan: DiskPlan,
    /// The whole log; the first `before` records are of earlier lives.
    pub(super) log: Vec<Entry<P>>,
    pub(super) before: usize,
    /// What this life was told to be durable.
    pub(super) durable: WriteId,
    /// What the core was told of that, where it is durable at once.
    pub(super) told: WriteId,
    pub(super) syncing: bool,
    /// A sync was done while the process stood still: it hears of it at its next turn.
    pub(super) synced: Option<WriteId>,
    /// A sync takes at least so long, in ns.
    pub(super) slow_ns: u64,
    /// Nothing fits on it any more.
    pub(super) full: bool,
    /// It is gone for good.
    pub(super) lost: bool,
}

impl<P: Subject> Disk<P> {
    fn new(plan: DiskPlan) -> Self {
        Disk {
            plan,
            log: Vec::new(),
            before: 0,
            durable: WriteId(0),
            told: WriteId(0),
            syncing: false,
            synced: None,
            slow_ns: 0,
            full: false,
            lost: false,
        }
    }

    /// The last write of this life.
    pub(super) fn written(&self) -> WriteId {
        WriteId((self.log.len() - self.before) as u64)
    }

    /// How many records are said to be durable, those of earlier lives included.
    pub(super) fn durable_records(&self) -> usize {
        self.before + self.durable.0 as usize
    }

    /// Whether the log can be read back: a broken record with an intact one behind it cannot be a
    /// write that a crash tore.
    pub(super) fn is_corrupt(&self) -> bool {
        let broken = self.log.iter().position(|entry| !entry.intact);
        broken.is_some_and(|broken| self.log[broken..].iter().any(|entry| entry.intact))
    }

    /// Drops what a crash tore: the broken records at the end.
    pub(super) fn drop_torn(&mut self) {
        while self.log.last().is_some_and(|entry| !entry.intact) {
            self.log.pop();
        }
    }
}

/// Something for the next turn.
#[derive(Debug)]
pub(super) enum Arrival<P: Subject> {
    Started,
    Message { from: NodeId, message: P::Message, state: Option<Arc<Transferred>> },
    Commands { connection: Connection, commands: Vec<Command> },
    Timer { timer: P::Timer, armed: u64 },
    Durable(WriteId),
    Members(NodeSet),
}

/// One replica.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub(super) struct Node<P: Subject> {
    pub(super) me: NodeId,
    /// None while it is down.
    pub(super) core: Option<P>,
    pub(super) life: u32,
    /// In whose place it was started, if it is a spare.
    pub(super) replaces: Option<NodeId>,
    /// Whether it was started because an operator wants it, if it is a spare.
    pub(super) is_invited: bool,
    /// Whether clients may connect to it.
    pub(super) serves: bool,
    pub(super) state: State,
    /// The state was taken over just now: the next record says so.
    pub(super) installed: bool,
    pub(super) sessions: Sessions<Connection>,
    pub(super) effects: Effects<P>,
    pub(super) disk: Disk<P>,
    /// Messages that wait for a write.
    pub(super) held: VecDeque<(WriteId, Destination, P::Message)>,
    /// Armed timers, each with the number of its arming and when it is due by the node's clock.
    pub(super) timers: Vec<(P::Timer, u64, crate::protocol::Time)>,
    pub(super) clock: Clock,
    pub(super) rng: ClientRng,
    pub(super) arrivals: Vec<Arrival<P>>,
    pub(super) turn_is_due: bool,
    /// Its next turn begins no sooner, in ns.
    pub(super) busy_until_ns: u64,
    /// How long a turn takes, in ns.
    pub(super) turn_ns: u64,
    /// It crashes as soon as it has written something.
    pub(super) crashes_at_a_write: Option<Ending>,
    pub(super) counts: Counts,
}

/// What a node did since the mark, as [`crate::results::ReplicaCounters`] reports it.
#[derive(Clone, Default, Debug)]
pub(super) struct Counts {
    pub(super) sent: Tally,
    pub(super) received: Tally,
    pub(super) turns: u64,
    pub(super) batches: u64,
    pub(super) decided: u64,
    pub(super) writes: u64,
    pub(super) syncs: u64,
}

impl<P: Subject> Node<P> {
    /// A replica that has not started yet.
    pub(super) fn new(me: NodeId, disk: DiskPlan, clock: Clock, rng: ClientRng) -> Self {
        Node {
            me,
            core: None,
            life: 0,
            replaces: None,
            is_invited: false,
            serves: false,
            state: State::default(),
            installed: false,
            sessions: Sessions::default(),
            effects: Effects::default(),
            disk: Disk::new(disk),
            held: VecDeque::new(),
            timers: Vec::new(),
            clock,
            rng,
            arrivals: Vec::new(),
            turn_is_due: false,
            busy_until_ns: 0,
            turn_ns: 0,
            crashes_at_a_write: None,
            counts: Counts::default(),
        }
    }

    /// How much its replicated state holds, and its digest.
    pub(super) fn standing(&self) -> (u64, u64) {
        let own = self.core.as_ref().and_then(P::replicated);
        let state: &dyn Replicated = own.unwrap_or(&self.state.store);
        (state.applied(), state.digest())
    }

    pub(super) fn is_up(&self) -> bool {
        self.core.is_some()
    }

    /// Whether it is a spare that nobody has called for.
    pub(super) fn waits(&self, cluster: Cluster) -> bool {
        let is_spare = usize::from(self.me.0) >= cluster.members();
        is_spare && self.replaces.is_none() && !self.is_invited
    }

    /// Whether it can never take part again.
    pub(super) fn is_gone(&self) -> bool {
        self.disk.lost || self.disk.is_corrupt()
    }

    /// Begins a life with what the disk has kept.
    pub(super) fn recover(&mut self, cluster: Cluster, options: P::Options) {
        self.disk.drop_torn();
        let records = self.disk.log.iter().map(|entry| entry.record.clone());
        let core = P::recover(self.me, cluster, options, records);
        self.serves = core.takes_requests();
        self.core = Some(core);
        let stored = self.disk.log.iter().rev().find_map(|entry| entry.state.clone());
        self.state = stored.unwrap_or_default();
        self.disk.before = self.disk.log.len();
        self.disk.durable = WriteId(0);
        self.disk.told = WriteId(0);
        self.disk.syncing = false;
        self.disk.synced = None;
        self.installed = false;
        self.effects = Effects::default();
        self.sessions = Sessions::default();
        self.timers.clear();
        self.arrivals = vec![Arrival::Started];
    }

    /// Ends a life: of the records that are not durable, the first `kept` survive, and `torn` says
    /// whether the next one does in part.
    pub(super) fn crash(&mut self, kept: usize, torn: bool) {
        self.core = None;
        self.serves = false;
        self.life += 1;
        self.arrivals.clear();
        self.held.clear();
        self.timers.clear();
        let durable = if self.disk.plan == DiskPlan::Lying {
            // What it said was not so.
            self.disk.before
        } else {
            self.disk.durable_records()
        };
        let whole = (durable + kept).min(self.disk.log.len());
        self.disk.log.truncate(whole + usize::from(torn));
        if torn && let Some(entry) = self.disk.log.get_mut(whole) {
            entry.intact = false;
        }
        self.disk.syncing = false;
        self.crashes_at_a_write = None;
    }

    pub(super) fn disarm(&mut self, timer: P::Timer) {
        self.timers.retain(|(armed, ..)| *armed != timer);
    }

    /// How long the next sync takes, in ns.
    pub(super) fn draw_sync_ns(&mut self) -> u64 {
        let DiskPlan::Synced { sync_ns } = &self.disk.plan else { return 0 };
        let range = sync_ns.clone();
        draw_ns(&mut self.rng, range).max(self.disk.slow_ns)
    }

    /// How long a timer of this range waits by the node's clock.
    pub(super) fn draw_delay(&mut self, range: Range<Duration>) -> Duration {
        let (low, high) = (range.start.as_nanos() as u64, range.end.as_nanos() as u64);
        Duration::from_nanos(draw_ns(&mut self.rng, low..high))
    }
}

fn draw_ns(rng: &mut ClientRng, range: Range<u64>) -> u64 {
    use rand::RngExt;
    if range.is_empty() { range.start } else { rng.random_range(range) }
}
