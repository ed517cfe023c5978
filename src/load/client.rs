//! All clients of a site, as a pure state machine: no clock, no socket, no task.
//!
//! *Inputs:* a scheduled arrival, a reply, a connection made or lost, a tick. Each brings the time,
//! in ns on the run's clock. *Outputs:* commands for a replica, and what began and ended
//! ([`Output`]). Equal inputs give equal outputs.
//!
//! **Sessions.** Each client numbers its commands without gaps and says with each which of its
//! earlier ones are all settled. A retry is the same command under the same id, whatever replica it
//! goes to, so it takes effect once. When the window ([`SESSION_WINDOW`]) is full or no replica is
//! connected, operations wait in the client's queue; their latency counts from the schedule all the
//! same.
//!
//! An operation may be two commands, one after the other ([`Kind::Increment`]): the second is sent when
//! the first is answered, and has its place in the window from the beginning. Its latency is that of
//! both; if the outcome of either is unknown, so is that of the whole.
//!
//! **Replicas** are tried in the order given, nearest first. A command goes to the first that is
//! connected and not *suspected*: a replica is suspected when a command's retry time ran out and
//! nothing at all was heard from it since that command was sent. While the first connected replica
//! is suspected, one outstanding command is copied to it every `retry_after`; any reply or a new
//! connection clears it, and it is preferred again. More copies could keep a slow cluster busy with
//! nothing else for ever.
//!
//! **Retries.** Unanswered for `retry_after`, a command goes to the next replica in order; the wait
//! doubles each time, up to [`BACKOFF_MAX`] times. A lost connection resends at once what was last
//! sent over it.
//!
//! With [`Retries::SameReplica`] a command that was sent never goes to another replica, nor over
//! another connection. A retry repeats it where it is, so that a lost request is no lost operation;
//! when its connection is lost, nobody will ever answer it: it is *settled*, and its operation is an
//! error with an unknown outcome. What is copied to a suspected replica is one of those that it was
//! sent before: there is one, or nothing would have made it suspected.
//!
//! **Refusals.** A replica that is no member any more refuses commands one by one ([`Outcome::Refused`]) and answers
//! those that it has begun. A refused command has taken effect nowhere and never will, so what it was to do goes to
//! another replica under a new id; so do all new ones. When nothing is left to be answered, the clients have left
//! ([`Clients::has_left`]): the connection is of no more use, and a new one tells whether the replica takes requests
//! again.
//!
//! **Timeouts.** Unanswered `timeout` after its schedule, an operation is an error with an unknown
//! outcome. Its retries go on, so that the sequence stays dense and the window moves; a later answer
//! is not recorded. A closed loop starts another operation in its place. A replica may also answer
//! that nobody knows the outcome ([`Outcome::Unknown`]): an error at once, and settled.
//!
//! [`SESSION_WINDOW`]: crate::command::SESSION_WINDOW

use super::output::{Answer, Begun, Continued, End, Ended, Output, Seen};
use super::plan::{Arrival, LoadPlan, Retries};
use super::seed::{Stream, mix, site_seed};
use super::session::{Entry, QUEUE_MAX, Queued, Session, State};
use super::workload::{
    BadPlan, CLIENTS_PER_SITE_MAX, Choice, ClientWorkload, Intent, Kind, Workload, refuse,
};
use crate::command::{ClientId, Command, NodeId, Outcome, SESSION_WINDOW};
use crate::wire::Reply;

/// The longest wait between retries, as a multiple of `retry_after`.
pub const BACKOFF_MAX: u64 = 32;

/// Low bits of a client id that hold the client's number at its site.
const CLIENT_BITS: u32 = 16;

/// Who the clients are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SiteIdentity {
    /// The site's name.
    pub name: String,
    /// Its place among the run's sites, below [`super::workload::SITES_MAX`].
    pub index: usize,
    /// What makes this run's sessions different from those of any other run against the same
    /// replicas.
    pub run_nonce: u64,
}

/// What the clients did beside their operations.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, serde::Serialize, serde::Deserialize)]
pub struct ClientCounters {
    /// Commands sent again because their retry time ran out.
    pub retries: u64,
    /// Commands sent again because a connection was lost.
    pub resends: u64,
    /// Copies of commands sent to a suspected replica, to see whether it is back.
    pub probes: u64,
    /// Times a replica became suspected.
    pub suspicions: u64,
    /// Replies to commands that were answered before.
    pub duplicate_replies: u64,
    /// First replies to operations that had been given up.
    pub late_replies: u64,
    /// Replies that nobody knows the outcome.
    pub unknown_replies: u64,
    /// Commands that a replica refused, and that went to another.
    #[serde(default)]
    pub refused: u64,
    /// Commands that ended with their connection, unanswered.
    pub lost: u64,
    /// Replies to commands that were never sent, or with an outcome of the wrong kind. Not counted
    /// as answers.
    pub bad_replies: u64,
}

/// One replica, as the clients see it.
#[derive(Debug)]
struct Link {
    node: NodeId,
    connected: bool,
    suspected: bool,
    /// Whether it has refused a command over this connection: it takes no more.
    refuses: bool,
    heard_ns: u64,
    /// When a command was last copied to it while it was suspected.
    probed_ns: u64,
}

impl Link {
    /// A replica with no connection yet.
    fn new(node: NodeId) -> Self {
        Link { node, connected: false, suspected: false, refuses: false, heard_ns: 0, probed_ns: 0 }
    }
}

/// All clients of a site.
#[derive(Debug)]
pub struct Clients {
    sessions: Vec<Session>,
    workload: Workload,
    /// In the order of preference.
    links: Vec<Link>,
    /// The index in `links` that new commands go to.
    target: Option<usize>,
    retries: Retries,
    retry_after_ns: u64,
    timeout_ns: u64,
    closed: Option<usize>,
    issuing: bool,
    /// Who gets the next scheduled operation.
    turn: usize,
    pending: u64,
    processes: Processes,
    counters: ClientCounters,
}

impl Clients {
    /// The clients of `site`; `replicas` are all it may use, nearest first. None is connected yet.
    pub fn new(plan: &LoadPlan, site: &SiteIdentity, replicas: &[NodeId]) -> Result<Self, BadPlan> {
        check(plan)?;
        let workload = Workload::new(plan, site.index)?;
        let sessions_seed = mix(site_seed(plan.seed, &site.name, Stream::Sessions)
            ^ mix(site.run_nonce ^ ((site.index as u64) << 48)));
        let session = |index: usize| {
            let id = ClientId(sessions_seed >> CLIENT_BITS << CLIENT_BITS | index as u64);
            Session::new(id, ClientWorkload::new(&workload, plan.seed, &site.name, index))
        };
        let link = |node: &NodeId| Link::new(*node);
        Ok(Clients {
            sessions: (0..plan.clients_per_site).map(session).collect(),
            links: replicas.iter().map(link).collect(),
            target: None,
            retries: plan.retries,
            retry_after_ns: plan.retry_after.as_nanos() as u64,
            timeout_ns: plan.timeout.as_nanos() as u64,
            closed: match plan.arrival {
                Arrival::Closed { outstanding } => Some(outstanding),
                Arrival::Constant { .. } | Arrival::Poisson { .. } => None,
            },
            issuing: true,
            turn: 0,
            pending: 0,
            processes: Processes::new(site.index),
            counters: ClientCounters::default(),
            workload,
        })
    }

    /// How often [`Clients::tick`] wants to be called, in ns: retries and timeouts are late by no
    /// more than this.
    pub fn tick_period_ns(&self) -> u64 {
        (self.retry_after_ns.min(self.timeout_ns) / 16).max(1_000_000)
    }

    /// Operations that were scheduled and are neither answered nor given up.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Commands that a replica may yet answer, given up or not, and operations that wait to be sent.
    pub fn unanswered(&self) -> u64 {
        let of = |session: &Session| session.unanswered() + session.queue.len() as u64;
        self.sessions.iter().map(of).sum()
    }

    /// Those of them that were last sent to this replica.
    pub fn unanswered_by(&self, replica: NodeId) -> u64 {
        self.sessions.iter().map(|session| session.unanswered_by(replica)).sum()
    }

    /// Whether a connected replica has refused a command, and has answered all others.
    pub fn has_left(&self, replica: NodeId) -> bool {
        let of_it = self.links.iter().find(|link| link.node == replica);
        of_it.is_some_and(|link| link.connected && link.refuses) && self.unanswered_by(replica) == 0
    }

    /// What the clients did beside their operations.
    pub fn counters(&self) -> ClientCounters {
        self.counters
    }

    /// The replica that new commands go to.
    pub fn target(&self) -> Option<NodeId> {
        Some(self.links[self.target?].node)
    }

    /// Starts a closed loop's operations. An open schedule's start with [`Clients::arrive`].
    pub fn start(&mut self, now_ns: u64, out: &mut impl Output) {
        for _ in 0..self.closed.unwrap_or(0) {
            for client in 0..self.sessions.len() {
                self.issue(client, now_ns, now_ns, out);
            }
        }
    }

    /// An operation was scheduled for `scheduled_ns`, which is now or before. Clients take turns.
    pub fn arrive(&mut self, now_ns: u64, scheduled_ns: u64, out: &mut impl Output) {
        let client = self.turn;
        self.turn = if client + 1 == self.sessions.len() { 0 } else { client + 1 };
        self.issue(client, now_ns, scheduled_ns, out);
    }

    /// Starts no further operation: a closed loop ends.
    pub fn stop_issuing(&mut self) {
        self.issuing = false;
    }

    fn issue(&mut self, client: usize, now_ns: u64, scheduled_ns: u64, out: &mut impl Output) {
        let session = &mut self.sessions[client];
        let choice = session.workload.choose(&self.workload);
        self.pending += 1;
        match self.target {
            Some(target) if session.queue.is_empty() && session.has_room(choice.kind) => {
                self.begin(client, target, now_ns, Queued { scheduled_ns, choice }, out);
            }
            _ if session.queue.len() < QUEUE_MAX => {
                session.queue.push_back(Queued { scheduled_ns, choice });
            }
            _ => {
                self.pending -= 1;
                out.ended(&unsent(now_ns, scheduled_ns, choice));
            }
        }
    }

    /// Sends the first command of an operation.
    fn begin(
        &mut self,
        client: usize,
        target: usize,
        now_ns: u64,
        queued: Queued,
        out: &mut impl Output,
    ) {
        let entry = Entry {
            kind: queued.choice.kind,
            scheduled_ns: queued.scheduled_ns,
            began_ns: now_ns,
            first_sent_ns: now_ns,
            last_sent_ns: now_ns,
            retry_at_ns: now_ns + self.retry_after_ns,
            intent: self.sessions[client].workload.intend(queued.choice),
            process: self.processes.take(),
            replica: Some(self.links[target].node),
            retries: 0,
            state: State::Waiting,
        };
        self.send_new(client, entry, out);
    }

    /// Sends the second command of an operation whose first was answered; without any connection, as
    /// soon as there is one.
    fn go_on(&mut self, client: usize, first: Entry, now_ns: u64, out: &mut impl Output) {
        let entry = Entry {
            first_sent_ns: now_ns,
            last_sent_ns: now_ns,
            retry_at_ns: now_ns + self.retry_after_ns,
            intent: self.sessions[client].workload.write_back(first.intent.key()),
            replica: self.target(),
            retries: 0,
            state: State::Waiting,
            ..first
        };
        self.send_new(client, entry, out);
    }

    fn send_new(&mut self, client: usize, entry: Entry, out: &mut impl Output) {
        let Entry { first_sent_ns, process, intent, replica, .. } = entry;
        out.began(&Begun { now_ns: first_sent_ns, process, intent });
        let session = &mut self.sessions[client];
        let sequence = session.push(entry);
        if let Some(node) = replica {
            out.send(node, &session.command(sequence, self.workload.value_bytes()));
        }
    }

    /// Sends what waits in a client's queue, as far as the window and the connections allow.
    fn send_queued(&mut self, client: usize, now_ns: u64, out: &mut impl Output) {
        while let Some(target) = self.target {
            let session = &mut self.sessions[client];
            let has_room = |queued: &Queued| session.has_room(queued.choice.kind);
            if !session.queue.front().is_some_and(has_room) {
                return;
            }
            let Some(queued) = session.queue.pop_front() else { return };
            self.begin(client, target, now_ns, queued, out);
        }
    }

    /// A replica answered.
    pub fn reply(&mut self, now_ns: u64, from: NodeId, reply: &Reply, out: &mut impl Output) {
        self.heard(now_ns, from);
        let client = (reply.id.client.0 & ((1 << CLIENT_BITS) - 1)) as usize;
        let known = self.sessions.get_mut(client).filter(|s| s.id == reply.id.client);
        let Some(session) = known.filter(|s| reply.id.sequence < s.next_sequence()) else {
            self.counters.bad_replies += 1;
            return;
        };
        let waiting = session.entry(reply.id.sequence).filter(|e| e.state != State::Settled);
        let Some(entry) = waiting else {
            self.counters.duplicate_replies += 1;
            return;
        };
        if reply.outcome == Outcome::Unknown {
            self.counters.unknown_replies += 1;
            self.counters.late_replies += u64::from(entry.state == State::GivenUp);
            self.settle(client, reply.id.sequence, now_ns, out);
            self.send_queued(client, now_ns, out);
            return;
        }
        if reply.outcome == Outcome::Refused {
            return self.refused(client, reply.id.sequence, (now_ns, from), out);
        }
        let intent = entry.intent;
        let answer = answer_to(intent.kind(), &reply.outcome, &self.workload);
        let Some(answer) = answer else {
            self.counters.bad_replies += 1;
            return;
        };
        learn(session, &intent, answer);
        let Some(entry) = session.leave(reply.id.sequence, State::Settled) else { return };
        session.advance();
        self.answered(client, entry, answer, now_ns, out);
        self.send_queued(client, now_ns, out);
    }

    /// A replica takes no more commands and has not begun this one: its operation goes on as a new command, unless
    /// it was given up. (The old id is spent: whoever has refused it does so for ever, as copies of it may still be
    /// on their way.) Should the window be full, nobody waits for the operation any more.
    fn refused(
        &mut self,
        client: usize,
        sequence: u64,
        (now_ns, from): (u64, NodeId),
        out: &mut impl Output,
    ) {
        if let Some(link) = self.links.iter_mut().find(|link| link.node == from) {
            link.refuses = true;
            self.choose_target();
        }
        self.counters.refused += 1;
        let (target, session) = (self.target(), &mut self.sessions[client]);
        let Some(entry) = session.leave(sequence, State::Settled) else { return };
        session.advance();
        if entry.state == State::Waiting && session.has_room_again(&entry) {
            let (first_sent_ns, retry_at_ns) = (now_ns, now_ns + self.retry_after_ns);
            let again = Entry { first_sent_ns, last_sent_ns: now_ns, retry_at_ns, ..entry };
            let sequence = session.push(Entry { replica: target, retries: 0, ..again });
            if let Some(node) = target {
                out.send(node, &session.command(sequence, self.workload.value_bytes()));
            }
        } else if entry.state == State::Waiting {
            self.end(client, &unknown(now_ns, &entry), out);
        }
        self.send_queued(client, now_ns, out);
    }

    /// A command was answered for the first time: its operation goes on or ends, if it has not been
    /// given up.
    fn answered(
        &mut self,
        client: usize,
        entry: Entry,
        answer: Answer<'_>,
        now_ns: u64,
        out: &mut impl Output,
    ) {
        let Entry { kind, scheduled_ns, began_ns, process, intent, .. } = entry;
        if entry.state == State::GivenUp {
            self.counters.late_replies += 1;
        } else if entry.continues() {
            out.continued(&Continued { now_ns, kind, process, intent, answer });
            self.go_on(client, entry, now_ns, out);
        } else {
            self.processes.give_back(process);
            let end = End::Answered { sent_ns: began_ns, process, intent, answer };
            self.end(client, &Ended { now_ns, scheduled_ns, kind, end }, out);
        }
    }

    /// Nobody will answer a command any more: its operation ends with an unknown outcome, if it has
    /// not ended before.
    fn settle(&mut self, client: usize, sequence: u64, now_ns: u64, out: &mut impl Output) {
        let session = &mut self.sessions[client];
        let Some(entry) = session.leave(sequence, State::Settled) else { return };
        session.advance();
        if entry.state == State::Waiting {
            self.end(client, &unknown(now_ns, &entry), out);
        }
    }

    /// Records an end; a closed loop goes on with the next operation.
    fn end(&mut self, client: usize, ended: &Ended<'_>, out: &mut impl Output) {
        self.pending -= 1;
        out.ended(ended);
        if self.closed.is_some() && self.issuing {
            self.issue(client, ended.now_ns, ended.now_ns, out);
        }
    }

    /// A connection with a replica was made, in place of any before. What has none, or waits, is
    /// sent.
    pub fn connected(&mut self, now_ns: u64, node: NodeId, out: &mut impl Output) {
        let Some(link) = self.links.iter_mut().find(|link| link.node == node) else { return };
        *link = Link { connected: true, heard_ns: now_ns, ..Link::new(node) };
        self.choose_target();
        if self.retries == Retries::SameReplica {
            self.settle_what_was_sent_to(node, now_ns, out);
        }
        self.resend_where(now_ns, |replica| replica.is_none(), out);
        for client in 0..self.sessions.len() {
            self.send_queued(client, now_ns, out);
        }
    }

    /// The connection with a replica was lost. What was last sent over it goes to the next, or ends.
    pub fn disconnected(&mut self, now_ns: u64, node: NodeId, out: &mut impl Output) {
        let Some(link) = self.links.iter_mut().find(|link| link.node == node) else { return };
        link.connected = false;
        self.choose_target();
        match self.retries {
            Retries::AnyReplica => {
                self.resend_where(now_ns, |replica| replica == Some(node), out);
            }
            Retries::SameReplica => self.settle_what_was_sent_to(node, now_ns, out),
        }
    }

    /// Settles all that a replica was sent and has not answered.
    fn settle_what_was_sent_to(&mut self, node: NodeId, now_ns: u64, out: &mut impl Output) {
        for client in 0..self.sessions.len() {
            // A closed loop goes on meanwhile: what it sends comes behind these.
            let session = &self.sessions[client];
            for sequence in session.base()..session.next_sequence() {
                let was_sent = |entry: &mut Entry| {
                    entry.state != State::Settled && entry.replica == Some(node)
                };
                if self.sessions[client].entry(sequence).is_some_and(was_sent) {
                    self.counters.lost += 1;
                    self.settle(client, sequence, now_ns, out);
                }
            }
            self.send_queued(client, now_ns, out);
        }
    }

    /// Sends again every outstanding command whose last replica `lost` picks; without any
    /// connection, marks it to be sent once there is one.
    fn resend_where(
        &mut self,
        now_ns: u64,
        lost: impl Fn(Option<NodeId>) -> bool,
        out: &mut impl Output,
    ) {
        let target = self.target();
        for session in &mut self.sessions {
            for sequence in session.base()..session.next_sequence() {
                let Some(entry) = session.entry(sequence) else { continue };
                if entry.state == State::Settled || !lost(entry.replica) {
                    continue;
                }
                entry.replica = target;
                let Some(node) = target else { continue };
                entry.last_sent_ns = now_ns;
                entry.retry_at_ns = now_ns + backoff_ns(self.retry_after_ns, entry.retries);
                self.counters.resends += 1;
                out.send(node, &session.command(sequence, self.workload.value_bytes()));
            }
        }
    }

    fn choose_target(&mut self) {
        let takes = |link: &Link| link.connected && !link.refuses;
        let usable = self.links.iter().position(|link| takes(link) && !link.suspected);
        self.target = usable.or_else(|| self.links.iter().position(takes));
    }

    fn heard(&mut self, now_ns: u64, node: NodeId) {
        let Some(link) = self.links.iter_mut().find(|link| link.node == node) else { return };
        link.heard_ns = now_ns;
        if link.suspected {
            link.suspected = false;
            self.choose_target();
        }
    }

    /// Time passed: gives up what is overdue, sends again what is due.
    pub fn tick(&mut self, now_ns: u64, out: &mut impl Output) {
        for client in 0..self.sessions.len() {
            if let Some(scheduled_max_ns) = now_ns.checked_sub(self.timeout_ns) {
                self.give_up(client, scheduled_max_ns, now_ns, out);
            }
            self.send_queued(client, now_ns, out);
            self.retry(client, now_ns, out);
        }
        self.probe(now_ns, out);
    }

    /// Ends every pending operation as not answered in time: the run is over.
    pub fn finish(&mut self, now_ns: u64, out: &mut impl Output) {
        self.stop_issuing();
        for client in 0..self.sessions.len() {
            self.give_up(client, u64::MAX, now_ns, out);
        }
        assert_eq!(self.pending, 0, "every operation ended once");
    }

    /// Gives up what was scheduled at `scheduled_max_ns` or before: first what was sent, then what
    /// waits in the queue.
    fn give_up(
        &mut self,
        client: usize,
        scheduled_max_ns: u64,
        now_ns: u64,
        out: &mut impl Output,
    ) {
        let mut from = self.sessions[client].base();
        while let Some(sequence) = self.sessions[client].next_overdue(from, scheduled_max_ns) {
            let entry = self.sessions[client].leave(sequence, State::GivenUp);
            self.end(client, &unknown(now_ns, &entry.expect("it waited")), out);
            from = sequence + 1;
        }
        while let Some(queued) = self.sessions[client].give_up_queued(scheduled_max_ns) {
            self.end(client, &unsent(now_ns, queued.scheduled_ns, queued.choice), out);
        }
    }

    fn retry(&mut self, client: usize, now_ns: u64, out: &mut impl Output) {
        let Some(sent_max_ns) = now_ns.checked_sub(self.retry_after_ns) else { return };
        let mut from = self.sessions[client].base();
        while let Some(sequence) = self.sessions[client].next_to_retry(from, sent_max_ns, now_ns) {
            self.retry_one(client, sequence, now_ns, out);
            from = sequence + 1;
        }
    }

    fn retry_one(&mut self, client: usize, sequence: u64, now_ns: u64, out: &mut impl Output) {
        let Some(entry) = self.sessions[client].entry(sequence) else { return };
        let (replica, sent_ns) = (entry.replica, entry.last_sent_ns);
        self.suspect_if_silent(replica, sent_ns);
        let next = match self.retries {
            Retries::AnyReplica => self.next_after(replica),
            Retries::SameReplica => replica,
        };
        let session = &mut self.sessions[client];
        let Some(entry) = session.entry(sequence) else { return };
        entry.retries = entry.retries.saturating_add(1);
        entry.retry_at_ns = now_ns + backoff_ns(self.retry_after_ns, entry.retries);
        entry.replica = next;
        let Some(node) = next else { return };
        entry.last_sent_ns = now_ns;
        self.counters.retries += 1;
        out.send(node, &session.command(sequence, self.workload.value_bytes()));
    }

    fn suspect_if_silent(&mut self, replica: Option<NodeId>, sent_ns: u64) {
        let Some(link) = self.links.iter_mut().find(|link| Some(link.node) == replica) else {
            return;
        };
        if link.connected && !link.suspected && link.heard_ns <= sent_ns {
            link.suspected = true;
            self.counters.suspicions += 1;
            self.choose_target();
        }
    }

    /// The connected replica that follows `replica` in the order of preference, all round; `replica`
    /// itself if it is the only one.
    fn next_after(&self, replica: Option<NodeId>) -> Option<NodeId> {
        let Some(at) = self.links.iter().position(|link| Some(link.node) == replica) else {
            return self.target();
        };
        let count = self.links.len();
        let round = (1..=count).map(|step| &self.links[(at + step) % count]);
        round.into_iter().find(|link| link.connected).map(|link| link.node)
    }

    /// Copies one outstanding command to each suspected replica that would otherwise be preferred.
    fn probe(&mut self, now_ns: u64, out: &mut impl Output) {
        for index in 0..self.target.unwrap_or(0) {
            let Link { node, connected, suspected, refuses, probed_ns, .. } = self.links[index];
            let is_due = now_ns.saturating_sub(probed_ns) >= self.retry_after_ns;
            if !(connected && suspected && !refuses && is_due) {
                continue;
            }
            let Some(command) = self.copy_for(node) else { continue };
            self.links[index].probed_ns = now_ns;
            self.counters.probes += 1;
            out.send(node, &command);
        }
    }

    /// The command to copy to a suspected replica: any that is outstanding, as it takes effect once
    /// however many replicas propose it; or one that this replica was sent before.
    fn copy_for(&self, node: NodeId) -> Option<Command> {
        let may_go =
            |entry: &Entry| self.retries == Retries::AnyReplica || entry.replica == Some(node);
        self.sessions.iter().find_map(|session| {
            let sequence = session.oldest(may_go)?;
            Some(session.command(sequence, self.workload.value_bytes()))
        })
    }
}

fn check(plan: &LoadPlan) -> Result<(), BadPlan> {
    if !(1..=CLIENTS_PER_SITE_MAX).contains(&plan.clients_per_site) {
        let what = format!("{}: want 1 to {CLIENTS_PER_SITE_MAX}", plan.clients_per_site);
        return refuse("clients_per_site", what);
    }
    if plan.retry_after.is_zero() || plan.timeout.is_zero() {
        return refuse("retry_after", "it and timeout must be longer than zero");
    }
    match plan.arrival {
        Arrival::Closed { outstanding }
            if !(1..=SESSION_WINDOW as usize).contains(&outstanding) =>
        {
            let what = format!("{outstanding}: want 1 to {SESSION_WINDOW} outstanding a client");
            refuse("arrival.closed.outstanding", what)
        }
        Arrival::Constant { rate_per_s } | Arrival::Poisson { rate_per_s }
            if !(rate_per_s > 0.0 && rate_per_s <= 1e9) =>
        {
            refuse("arrival.rate_per_s", format!("{rate_per_s}: want above 0, at most 1e9"))
        }
        _ => Ok(()),
    }
}

fn backoff_ns(retry_after_ns: u64, retries: u8) -> u64 {
    retry_after_ns.saturating_mul(BACKOFF_MAX.min(1 << retries.min(63)))
}

fn unsent<'a>(now_ns: u64, scheduled_ns: u64, choice: Choice) -> Ended<'a> {
    Ended { now_ns, scheduled_ns, kind: choice.kind, end: End::Unsent }
}

/// The end of an operation that was sent, and whose outcome nobody knows.
fn unknown(now_ns: u64, entry: &Entry) -> Ended<'static> {
    let Entry { kind, scheduled_ns, process, intent, .. } = *entry;
    Ended { now_ns, scheduled_ns, kind, end: End::Unknown { process, intent } }
}

/// The outcome as an answer to a command of this kind; none if it cannot be one.
fn answer_to<'a>(kind: Kind, outcome: &'a Outcome, workload: &Workload) -> Option<Answer<'a>> {
    match (kind, outcome) {
        (Kind::Put, Outcome::Done) => Some(Answer::Done),
        (Kind::Transfer, Outcome::Balances { moved, from, to }) => {
            Some(Answer::Balances { moved: *moved, from: *from, to: *to })
        }
        (Kind::Put | Kind::Transfer, _) => None,
        (Kind::Append, Outcome::Found(Some(list))) if workload.is_full(list) => {
            Some(Answer::Full(seen(list, workload)))
        }
        (_, Outcome::Found(None)) => Some(Answer::Found(Seen::Absent)),
        (_, Outcome::Found(Some(value))) => Some(Answer::Found(seen(value, workload))),
        _ => None,
    }
}

fn seen<'a>(value: &'a [u8], workload: &Workload) -> Seen<'a> {
    workload.token_of(value).map_or(Seen::Corrupt(value), Seen::Token)
}

/// Lets the client remember what it saw, for its later compare-and-sets.
fn learn(session: &mut Session, intent: &Intent, answer: Answer<'_>) {
    match answer {
        Answer::Found(Seen::Corrupt(_)) | Answer::Full(_) | Answer::Balances { .. } => {}
        Answer::Found(seen) => session.workload.learn(intent, seen.token()),
        Answer::Done => session.workload.learn(intent, None),
    }
}

/// The history's processes of a site. A process does one operation at a time, so each outstanding
/// operation occupies one; one whose operation was given up is never used again.
#[derive(Debug)]
struct Processes {
    free: Vec<u64>,
    next: u64,
}

impl Processes {
    /// Sites have disjoint ranges of 2³² processes.
    fn new(site_index: usize) -> Self {
        Processes { free: Vec::new(), next: (site_index as u64) << 32 }
    }

    fn take(&mut self) -> u64 {
        self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }

    fn give_back(&mut self, process: u64) {
        self.free.push(process);
    }
}
