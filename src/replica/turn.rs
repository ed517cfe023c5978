//! The loop: one turn takes what has arrived, steps the core, and carries out what follows.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn::Connection;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustc_hash::FxHashMap;

use super::control::Members;
use super::inbox::{Arrival, ConnectionId, Inbox};
use super::peers::Peers;
use super::sessions::Sessions;
use super::traffic::Tally;
use crate::cluster::ClusterFile;
use crate::command::{Command, CommandId, Outcome};
use crate::kv::{Replicated, Store};
use crate::net::{LaneSender, turn_away};
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Destination, Effect, Effects, Input, Message, Protocol, Time, WriteId};
use crate::results::ReplicaCounters;
use crate::usage::Usage;
use crate::wire::{Wire, encode_reply, frame};

/// A load generator's connection, and the replies of this turn.
struct Client {
    connection: Connection,
    lanes: Vec<(LaneSender, BytesMut)>,
}

/// One core with its state, timers, clients and counters.
pub(super) struct Replica<P: Protocol> {
    core: P,
    store: Store,
    file: Rc<ClusterFile>,
    peers: Rc<Peers<P>>,
    inbox: Rc<Inbox<P>>,
    effects: Effects<P>,
    timers: Vec<(P::Timer, Instant)>,
    rng: StdRng,
    epoch: Instant,
    clients: FxHashMap<ConnectionId, Client>,
    sessions: Sessions<ConnectionId>,
    arrivals: Vec<Arrival<P>>,
    commands: Vec<(ConnectionId, Command)>,
    scratch: BytesMut,
    started: bool,
    /// Whether the core takes requests, as of the last look, and whether it ever did.
    serves: bool,
    has_served: bool,
    /// How many epochs had begun at the last look.
    epochs: u64,
    /// Why it has nothing more to do here.
    given_up: Option<String>,
    sent: Tally,
    received: Tally,
    turns: u64,
    batches: u64,
    decided: u64,
    writes: u64,
    /// The last write that the core was not yet told is durable.
    written: Option<WriteId>,
    rss_bytes_start: u64,
    marked: Usage,
}

/// Answers a client, if it is connected here.
fn answer(
    sessions: &Sessions<ConnectionId>,
    clients: &mut FxHashMap<ConnectionId, Client>,
    id: CommandId,
    outcome: &Outcome,
) {
    let Some(to) = sessions.connection_of(id.client) else { return };
    let Some(client) = clients.get_mut(&to) else { return };
    let lane = (id.sequence % client.lanes.len() as u64) as usize;
    frame(&mut client.lanes[lane].1, |out| encode_reply(id, outcome, out));
}

/// Runs turns: on arrivals and when timers run out. Returns only if there is nothing more to do for this
/// replica, with the reason.
pub(super) async fn run<P: Protocol + 'static>(
    replica: Rc<RefCell<Replica<P>>>,
    inbox: Rc<Inbox<P>>,
    peers: Rc<Peers<P>>,
) -> String
where
    P::Message: Wire,
{
    peers.welcomed().await;
    replica.borrow_mut().start();
    loop {
        let next_timer = replica.borrow().next_timer();
        tokio::select! {
            () = inbox.arrived() => {}
            () = tokio::time::sleep_until(next_timer.into()) => {}
        }
        replica.borrow_mut().turn();
        if let Some(why) = replica.borrow_mut().given_up.take() {
            return why;
        }
    }
}

impl<P: Protocol + 'static> Replica<P>
where
    P::Message: Wire,
{
    pub(super) fn new(
        core: P,
        file: Rc<ClusterFile>,
        peers: Rc<Peers<P>>,
        inbox: Rc<Inbox<P>>,
    ) -> Self {
        let serves = core.takes_requests();
        Replica {
            core,
            store: Store::default(),
            file,
            peers,
            inbox,
            effects: Effects::default(),
            timers: Vec::new(),
            rng: StdRng::from_rng(&mut rand::rng()),
            epoch: Instant::now(),
            clients: FxHashMap::default(),
            sessions: Sessions::default(),
            arrivals: Vec::new(),
            commands: Vec::new(),
            scratch: BytesMut::new(),
            started: false,
            serves,
            has_served: serves,
            epochs: 0,
            given_up: None,
            sent: Tally::default(),
            received: Tally::default(),
            turns: 0,
            batches: 0,
            decided: 0,
            writes: 0,
            written: None,
            rss_bytes_start: 0,
            marked: Usage::default(),
        }
    }

    fn now(&self) -> Time {
        Time(self.epoch.elapsed().as_nanos() as u64)
    }

    fn start(&mut self) {
        tracing::info!(member = self.serves, "connected; taking part");
        self.started = true;
        self.step(Input::Started, None);
        self.settle();
        self.flush();
    }

    pub(super) fn started(&self) -> bool {
        self.started
    }

    /// The replicated state.
    pub(super) fn state(&self) -> &dyn Replicated {
        self.core.replicated().unwrap_or(&self.store)
    }

    pub(super) fn core(&self) -> &P {
        &self.core
    }

    /// Who the members are, by their names; none if no operator can choose them.
    pub(super) fn membership(&self) -> Option<Members> {
        let known = self.core.membership()?;
        let names = |set: Option<NodeSet>| self.file.names_of(set.unwrap_or_default());
        Some(Members {
            epoch: known.epoch,
            members: names(Some(known.members)),
            before: names(known.before),
            wanted: names(known.wanted),
        })
    }

    /// Has the next turn tell the core that an operator wants these members.
    pub(super) fn change_members(&self, names: &[String]) -> Result<(), String> {
        if !self.file.protocol.can_choose_members() {
            return Err(self.file.protocol.refuses_members());
        }
        self.inbox.push(Arrival::Members(self.file.named(names)?));
        Ok(())
    }

    /// Why clients had better ask another replica, if they had.
    pub(super) fn refusal(&self) -> Option<String> {
        let name = self.peers.name();
        if self.core.takes_requests() {
            None
        } else if self.has_served {
            Some(format!("`{name}` is no member any more; ask the other replicas"))
        } else {
            Some(format!("`{name}` is no member yet; ask the other replicas"))
        }
    }

    /// Notices when the members change: clients leave a replica that was replaced, at once or as soon as they hear
    /// that it refuses what they ask.
    fn look_at_membership(&mut self) {
        let Some(epochs) = self.epochs_begun() else { return };
        if epochs > self.epochs {
            tracing::info!(epoch = epochs, "a new epoch begins");
            self.epochs = epochs;
        }
        let served = std::mem::replace(&mut self.serves, self.core.takes_requests());
        if self.serves && !served {
            self.has_served = true;
            tracing::info!("joined; takes requests");
        }
        if served && !self.serves {
            tracing::warn!("no member any more; takes no more requests");
            if !P::FINISHES_REQUESTS {
                self.dismiss_clients();
            }
        }
    }

    /// How many changes of members there have been; none if there cannot be any.
    fn epochs_begun(&self) -> Option<u64> {
        if let Some(known) = self.core.membership() {
            return Some(known.epoch);
        }
        if self.file.spares.is_empty() {
            return None;
        }
        let counters = self.core.counters();
        counters.iter().find(|(name, _)| *name == "epochs").map(|(_, n)| *n)
    }

    fn dismiss_clients(&mut self) {
        let why = self.refusal().unwrap_or_default();
        for (id, client) in self.clients.drain() {
            turn_away(&client.connection, &why);
            self.sessions.forget(id);
        }
    }

    /// When the next timer runs out.
    fn next_timer(&self) -> Instant {
        let far = || Instant::now() + Duration::from_secs(3600);
        self.timers.iter().map(|(_, due)| *due).min().unwrap_or_else(far)
    }

    fn turn(&mut self) {
        self.turns += 1;
        let (mut arrivals, mut commands) =
            (std::mem::take(&mut self.arrivals), std::mem::take(&mut self.commands));
        self.inbox.take(&mut arrivals, &mut commands);
        for arrival in arrivals.drain(..) {
            self.take(arrival);
        }
        self.request(&mut commands);
        self.run_timers();
        self.settle();
        self.flush();
        self.look_at_membership();
        (self.arrivals, self.commands) = (arrivals, commands);
    }

    fn take(&mut self, arrival: Arrival<P>) {
        match arrival {
            Arrival::Message { from, message, bytes } => {
                self.received.count(message.kind(), 1, bytes as u64);
                self.step(Input::Message { from, message }, None);
            }
            Arrival::State { from, message, store } => {
                self.received.count(message.kind(), 1, 0);
                self.step(Input::Message { from, message }, Some(*store));
            }
            Arrival::Members(members) => self.step(Input::Members(members), None),
            // It was let in just before this replica was replaced.
            Arrival::ClientConnected { connection, .. } if !self.serves => {
                turn_away(&connection, &self.refusal().unwrap_or_default());
            }
            Arrival::ClientConnected { connection, id, lanes } => {
                let lanes = lanes.into_iter().map(|lane| (lane, BytesMut::new())).collect();
                self.clients.insert(id, Client { connection, lanes });
            }
            Arrival::ClientGone { id } => {
                self.clients.remove(&id);
                self.sessions.forget(id);
            }
        }
    }

    /// Hands the clients' commands to the core.
    fn request(&mut self, commands: &mut Vec<(ConnectionId, Command)>) {
        if !self.serves && !P::FINISHES_REQUESTS {
            commands.clear();
        }
        if commands.is_empty() {
            return;
        }
        let mut accepted = Vec::with_capacity(commands.len());
        let state = self.core.replicated().unwrap_or(&self.store);
        for (from, command) in commands.drain(..) {
            if self.sessions.admit(from, command.id, state) {
                accepted.push(command);
            }
        }
        self.batches += 1;
        self.step(Input::Requests(accepted), None);
    }

    fn run_timers(&mut self) {
        let now = Instant::now();
        while let Some(due) = self.timers.iter().position(|(_, due)| *due <= now) {
            let (timer, _) = self.timers.swap_remove(due);
            self.step(Input::Timer(timer), None);
        }
    }

    /// Ends the turn; repeats while writes become durable, which with a memory log is at once.
    fn settle(&mut self) {
        loop {
            let now = self.now();
            self.core.step(now, Input::TurnEnded, &mut self.effects);
            self.carry_out(None);
            let Some(durable) = self.written.take() else { return };
            self.step(Input::Durable(durable), None);
        }
    }

    fn step(&mut self, input: Input<P>, state: Option<Store>) {
        let now = self.now();
        self.core.step(now, input, &mut self.effects);
        if state.is_some() {
            // It belongs to this very step.
            self.carry_out(state);
        }
    }

    /// Carries out all effects.
    fn carry_out(&mut self, mut state: Option<Store>) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain() {
            match effect {
                // The memory log: durable as soon as it is said.
                Effect::Persist { id, .. } => {
                    self.writes += 1;
                    self.written = Some(id);
                }
                Effect::Send { to, message, after: _ } => self.send(to, &message),
                Effect::Arm(timer, range) => {
                    let delay = match range.is_empty() {
                        true => range.start,
                        false => self.rng.random_range(range),
                    };
                    self.disarm(timer);
                    self.timers.push((timer, Instant::now() + delay));
                }
                Effect::Disarm(timer) => self.disarm(timer),
                Effect::Execute(batch) => self.execute(&batch),
                Effect::Answer { id, outcome } => {
                    self.decided += 1;
                    answer(&self.sessions, &mut self.clients, id, &outcome);
                }
                Effect::Committed(batch) => self.answer_committed(&batch),
                Effect::SendState { to, message } => {
                    self.peers.send_state(to, &message, &self.store);
                    self.sent.count(message.kind(), 1, 0);
                }
                Effect::InstallState => {
                    self.store = state.take().expect("a state came with this step");
                }
                Effect::GiveUp(why) => self.given_up = Some(why),
            }
        }
        self.effects = effects;
    }

    fn disarm(&mut self, timer: P::Timer) {
        self.timers.retain(|(armed, _)| *armed != timer);
    }

    fn send(&mut self, to: Destination, message: &P::Message) {
        let encoded = Peers::<P>::encode(message, &mut self.scratch);
        let peers = self.peers.clone();
        let mut count = 0;
        let targets = 0..self.file.identity_count() as u8;
        for node in targets.map(crate::command::NodeId) {
            if to.includes(peers.me(), node) && peers.send(node, message.lane(), &encoded) {
                count += 1;
            }
        }
        self.sent.count(message.kind(), count, count * encoded.len() as u64);
    }

    /// Applies commands, and answers those whose clients are connected here.
    fn execute(&mut self, batch: &[Command]) {
        self.decided += batch.len() as u64;
        for command in batch {
            if let Some(outcome) = self.store.execute(command).outcome() {
                answer(&self.sessions, &mut self.clients, command.id, outcome);
            }
        }
    }

    /// Answers the commands whose outcome is known before they are executed.
    fn answer_committed(&mut self, batch: &[Command]) {
        for command in batch {
            if let Some(outcome) = command.operation.outcome_before_execution() {
                answer(&self.sessions, &mut self.clients, command.id, &outcome);
            }
        }
    }

    fn flush(&mut self) {
        for client in self.clients.values_mut() {
            for (lane, replies) in &mut client.lanes {
                if !replies.is_empty() {
                    lane.send(&replies.split().freeze());
                }
            }
        }
    }

    /// The measured phase begins: what is counted from now on is its cost.
    pub(super) fn mark(&mut self) {
        self.marked = Usage::now().unwrap_or_default();
        self.rss_bytes_start = self.marked.rss_bytes;
        (self.sent, self.received) = (Tally::default(), Tally::default());
        (self.turns, self.batches, self.decided, self.writes) = (0, 0, 0, 0);
    }

    /// What was counted since the mark.
    pub(super) fn counters(&self, name: &str) -> ReplicaCounters {
        let usage = Usage::now();
        let mut core: std::collections::BTreeMap<String, u64> =
            self.core.counters().into_iter().map(|(key, n)| (key.to_owned(), n)).collect();
        core.insert("log_records".to_owned(), self.writes);
        core.insert("frames_dropped".to_owned(), self.peers.frames_dropped());
        ReplicaCounters {
            node: name.to_owned(),
            sent: self.sent.by_name().collect(),
            received: self.received.by_name().collect(),
            frames_sent: self.sent.total_messages(),
            frames_received: self.received.total_messages(),
            turns: self.turns,
            batches: self.batches,
            syncs: 0,
            decisions: self.decided,
            executed: self.state().applied(),
            cpu_user_s: usage.map(|usage| usage.cpu_user_s - self.marked.cpu_user_s),
            cpu_system_s: usage.map(|usage| usage.cpu_system_s - self.marked.cpu_system_s),
            rss_bytes_start: usage.map(|_| self.rss_bytes_start),
            rss_bytes_end: usage.map(|usage| usage.rss_bytes),
            rss_bytes_max: usage.map(|usage| usage.rss_bytes_max),
            final_applied: None,
            final_digest: None,
            core,
        }
    }
}
