//! The states of the cluster, breadth-first.
//!
//! Processes, messages and turns are numbered as they are met, and each turn of each process is taken
//! once. A state is the numbers of its processes and of the messages on their way, what is left of
//! the budgets, and what the invariants remember.

use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::rc::Rc;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::fingerprint::{fingerprint, fingerprint_of};
use super::judge::Judge;
use super::node::{Flight, Node, Seen, Turn};
use super::{Configuration, Limits, Modelled, Outcome, Verdict};
use crate::check::invariants::{Violation, hold};
use crate::command::NodeId;
use crate::protocol::{Protocol, WriteId};
use crate::sim::caught::caught;

/// One step of the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    /// A message arrives.
    Deliver(u32),
    /// A message arrives, and will once more.
    Repeat(u32),
    /// A process' writes are durable up to this one.
    Sync(NodeId, u16),
    /// What the configuration grants a few times; by its place among all that it grants.
    Spend(u8),
}

/// What happens to one process, with its number: what a turn depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Cause {
    Flight(u32),
    Sync(u16),
    Spend(u8),
    /// By its place among what happens before.
    Before(u8),
}

/// A turn that was taken.
struct Taken<P: Protocol> {
    /// What the process became.
    next: u32,
    /// The numbers of the messages that left.
    sent: SmallVec<[u32; 4]>,
    seen: Vec<Seen<P>>,
    /// Whether nothing came of it.
    idle: bool,
    /// Whether nothing ever will, as what arrives came too late.
    spent: bool,
}

/// What the invariants remember, and its fingerprint.
struct Judged<P: Modelled>(Rc<Judge<P::Invariants>>, u128);

impl<P: Modelled> Judged<P> {
    fn new(judge: Judge<P::Invariants>) -> Self {
        let print = fingerprint_of(&judge);
        Judged(Rc::new(judge), print)
    }
}

impl<P: Modelled> Clone for Judged<P> {
    fn clone(&self) -> Self {
        Judged(self.0.clone(), self.1)
    }
}

/// A state of the cluster.
struct State<P: Modelled> {
    nodes: SmallVec<[u32; 5]>,
    /// Sorted.
    network: SmallVec<[u32; 16]>,
    /// How often each thing that the configuration grants may still happen.
    left: SmallVec<[u8; 16]>,
    judged: Judged<P>,
    /// Its place in the order of discovery.
    index: u32,
}

impl<P: Modelled> State<P> {
    fn fingerprint(&self) -> u128 {
        fingerprint(|state| {
            (&self.nodes, &self.network, &self.left, self.judged.1).hash(state);
        })
    }

    fn send(&mut self, flights: &[u32]) {
        self.network.extend_from_slice(flights);
        self.network.sort_unstable();
    }
}

/// What the configuration grants.
enum Granted<'a, P: Protocol> {
    Ask(&'a (NodeId, crate::command::Command)),
    Nudge(&'a super::Nudge<P>),
    Crash(NodeId),
    Repetition,
}

/// What the budgets of a state are for, in order, with how often each is granted.
fn granted<P: Protocol>(configuration: &Configuration<P>) -> Vec<(Granted<'_, P>, u8)> {
    let asks = configuration.asks.iter().map(|ask| (Granted::Ask(ask), 1));
    let nudges = configuration.nudges.iter().map(|nudge| (Granted::Nudge(nudge), nudge.times));
    let crashes = configuration.crashes.iter().map(|node| (Granted::Crash(*node), 1));
    let repetitions = (Granted::Repetition, configuration.repetitions);
    asks.chain(nudges).chain(crashes).chain([repetitions]).collect()
}

/// What a turn came to, or what went wrong in it.
type Tried<T> = Result<T, Violation>;

/// Visits all states of a configuration.
pub fn exhaust<P: Modelled>(configuration: &Configuration<P>, limits: Limits) -> Outcome {
    let mut explorer = Explorer::new(configuration);
    let verdict = match explorer.start() {
        Err(violation) => Verdict::Violated { violation, path: Vec::new() },
        Ok(first) => explorer.run(first, limits),
    };
    Outcome {
        states: explorer.visited.len(),
        transitions: explorer.transitions,
        depth: explorer.depth,
        verdict,
    }
}

/// The tables of an exploration.
struct Explorer<'a, P: Modelled> {
    configuration: &'a Configuration<P>,
    granted: Vec<(Granted<'a, P>, u8)>,
    flights: Vec<Flight<P::Message>>,
    flight_numbers: FxHashMap<Flight<P::Message>, u32>,
    nodes: Vec<Node<P>>,
    node_numbers: FxHashMap<u128, u32>,
    turns: Vec<Taken<P>>,
    turn_numbers: FxHashMap<(u32, Cause), u32>,
    /// What the invariants made of a turn, for the states of one depth.
    judged: FxHashMap<(u128, u32), Judged<P>>,
    visited: FxHashSet<u128>,
    /// How each state was first reached: from which one, and by what.
    reached: Vec<(u32, Action)>,
    transitions: u64,
    depth: usize,
    /// Whether the start is over.
    settled: bool,
}

impl<'a, P: Modelled> Explorer<'a, P> {
    fn new(configuration: &'a Configuration<P>) -> Self {
        Explorer {
            configuration,
            granted: granted(configuration),
            flights: Vec::new(),
            flight_numbers: FxHashMap::default(),
            nodes: Vec::new(),
            node_numbers: FxHashMap::default(),
            turns: Vec::new(),
            turn_numbers: FxHashMap::default(),
            judged: FxHashMap::default(),
            visited: FxHashSet::default(),
            reached: Vec::new(),
            transitions: 0,
            depth: 0,
            settled: false,
        }
    }

    /// All processes start; if the configuration says so, all they send arrives.
    fn start(&mut self) -> Tried<State<P>> {
        let setup = &self.configuration.setup;
        let mut judge = Judge::new(setup.cluster);
        let mut state = State {
            nodes: SmallVec::new(),
            network: SmallVec::new(),
            left: self.granted.iter().map(|(_, times)| *times).collect(),
            judged: Judged::new(judge.clone()),
            index: 0,
        };
        for me in setup.cluster.nodes() {
            let crashes = self.configuration.crashes.contains(&me);
            let (mut node, mut turn) = caught(|| Ok(Node::start(me, setup, crashes)))?;
            // The start is not what is explored: disks are quick.
            while let Some(last) = node.pending().last() {
                let more = caught(|| Ok(node.sync(setup, last)))?;
                turn.seen.extend(more.seen);
                turn.sent.extend(more.sent);
            }
            judge.see(me, &turn.seen, &node.core)?;
            state.nodes.push(self.number_node(node));
            let sent: Vec<u32> = turn.sent.into_iter().map(|f| self.number_flight(f)).collect();
            state.send(&sent);
        }
        state.judged = Judged::new(judge);
        if self.configuration.settled {
            state = self.settle(state)?;
        }
        for (place, (node, _)) in self.configuration.before.iter().enumerate() {
            let number = self.turn(state.nodes[usize::from(node.0)], Cause::Before(place as u8))?;
            state = self.after(&state, *node, number)?;
            state = self.settle(state)?;
        }
        self.settled = true;
        Ok(state)
    }

    /// Lets all messages arrive.
    fn settle(&mut self, mut state: State<P>) -> Tried<State<P>> {
        while let Some(action) = self.to_settle(&state) {
            if let Some(next) = self.step(&state, action)? {
                state = next;
            } else if let Action::Deliver(flight) = action {
                state.network.retain(|other| *other != flight);
            }
            self.judged.clear();
        }
        Ok(state)
    }

    /// What is to happen next for the start to be over.
    fn to_settle(&self, state: &State<P>) -> Option<Action> {
        let cluster = self.configuration.setup.cluster;
        let pending = |node: NodeId| {
            let last = self.nodes[state.nodes[usize::from(node.0)] as usize].pending().last()?;
            Some(Action::Sync(node, last.0 as u16))
        };
        let first = state.network.first().map(|flight| Action::Deliver(*flight));
        cluster.nodes().find_map(pending).or(first)
    }

    /// Visits everything that follows from `first`.
    fn run(&mut self, first: State<P>, limits: Limits) -> Verdict {
        self.visited.insert(first.fingerprint());
        self.reached.push((0, Action::Spend(0)));
        let mut frontier = vec![first];
        while !frontier.is_empty() {
            let mut next = Vec::new();
            for state in frontier.drain(..) {
                if let Err(violated) = self.expand(&state, &mut next) {
                    return violated;
                }
                if self.visited.len() > limits.states_max {
                    return Verdict::Unfinished;
                }
            }
            self.judged.clear();
            self.depth += usize::from(!next.is_empty());
            frontier = next;
        }
        Verdict::Exhausted
    }

    /// Takes every step from a state, and notes the new states among where they lead.
    fn expand(&mut self, state: &State<P>, next: &mut Vec<State<P>>) -> Result<(), Verdict> {
        let before = self.transitions;
        for action in self.actions(state) {
            let stepped = self.step(state, action);
            let violated = |violation| {
                let mut path = self.path(state.index);
                path.push(self.words(action));
                Verdict::Violated { violation, path }
            };
            let Some(mut after) = stepped.map_err(violated)? else { continue };
            self.transitions += 1;
            if self.visited.insert(after.fingerprint()) {
                after.index = self.reached.len() as u32;
                self.reached.push((state.index, action));
                next.push(after);
            }
        }
        if self.transitions == before && self.configuration.completes {
            let asked = self.configuration.asks.iter().map(|(_, command)| command);
            let numbers = (0..).map(NodeId).zip(&state.nodes);
            let cores = numbers.map(|(node, at)| (node, &self.nodes[*at as usize].core));
            let ended = state.judged.0.at_the_end(asked, cores);
            let violated =
                |violation| Verdict::Violated { violation, path: self.path(state.index) };
            ended.map_err(violated)?;
        }
        Ok(())
    }

    /// Everything that may happen in a state.
    fn actions(&self, state: &State<P>) -> Vec<Action> {
        let mut flights = state.network.clone();
        flights.dedup();
        let mut actions: Vec<_> = flights.iter().map(|flight| Action::Deliver(*flight)).collect();
        for (place, (granted, _)) in self.granted.iter().enumerate() {
            if state.left[place] == 0 {
                continue;
            }
            match granted {
                Granted::Repetition => {
                    actions.extend(flights.iter().map(|flight| Action::Repeat(*flight)));
                }
                Granted::Nudge(nudge) if !self.node(state, nudge.node).can_be_nudged(nudge) => {}
                _ => actions.push(Action::Spend(place as u8)),
            }
        }
        for node in &self.configuration.setup.slow_disks {
            let pending = self.node(state, *node).pending();
            actions.extend(pending.map(|WriteId(upto)| Action::Sync(*node, upto as u16)));
        }
        actions
    }

    fn node(&self, state: &State<P>, node: NodeId) -> &Node<P> {
        &self.nodes[state.nodes[usize::from(node.0)] as usize]
    }

    /// Takes a step; none if nothing comes of it.
    fn step(&mut self, state: &State<P>, action: Action) -> Tried<Option<State<P>>> {
        let (node, cause) = self.cause(action);
        let number = self.turn(state.nodes[usize::from(node.0)], cause)?;
        if self.turns[number as usize].idle {
            return Ok(None);
        }
        let mut after = self.after(state, node, number)?;
        match action {
            Action::Deliver(flight) => {
                let position = after.network.iter().position(|other| *other == flight);
                after.network.remove(position.expect("on its way"));
            }
            Action::Repeat(_) => *after.left.last_mut().expect("the repetitions") -= 1,
            Action::Sync(..) => {}
            Action::Spend(place) => after.left[usize::from(place)] -= 1,
        }
        if self.settled {
            self.drop_spent(&mut after);
        }
        Ok(Some(after))
    }

    /// What a turn of a process makes of a state.
    fn after(&mut self, state: &State<P>, node: NodeId, number: u32) -> Tried<State<P>> {
        let judged = self.judge(node, &state.judged, number)?;
        let turn = &self.turns[number as usize];
        let (nodes, network) = (state.nodes.clone(), state.network.clone());
        let mut after = State { nodes, network, left: state.left.clone(), judged, index: 0 };
        after.nodes[usize::from(node.0)] = turn.next;
        after.send(&turn.sent);
        Ok(after)
    }

    /// Takes messages off the network that are lost on their link, or that their receivers ignore for
    /// ever: without them, states that differ in nothing else are one. What goes wrong in looking ahead
    /// goes wrong once the message is delivered.
    fn drop_spent(&mut self, state: &mut State<P>) {
        let mut kept = SmallVec::new();
        for number in &state.network {
            let Flight { from, to, ref message, .. } = self.flights[*number as usize];
            let setup = &self.configuration.setup;
            if setup.cut.contains(&(from, to)) || (setup.lost)(from, to, message) {
                continue;
            }
            let turn = self.turn(state.nodes[usize::from(to.0)], Cause::Flight(*number));
            if !turn.is_ok_and(|turn| self.turns[turn as usize].spent) {
                kept.push(*number);
            }
        }
        state.network = kept;
    }

    /// Whether a process says that it ignores what arrives for ever. To begin with, it must ignore it
    /// now. A crash would make it forget why.
    fn is_spent(&self, node: u32, cause: Cause, idle: bool) -> Tried<bool> {
        let Cause::Flight(flight) = cause else { return Ok(false) };
        let Flight { from, to, message, .. } = &self.flights[flight as usize];
        let core = &self.nodes[node as usize].core;
        let crashes = self.configuration.crashes.contains(to);
        let spent = !crashes && core.ignores_for_ever(*from, message);
        hold(idle || !spent, "what is ignored is ignored", || {
            format!("{to} said that it ignores {message:?}")
        })?;
        Ok(spent)
    }

    /// Where an action happens, and what it is to the process there.
    fn cause(&self, action: Action) -> (NodeId, Cause) {
        match action {
            Action::Deliver(flight) | Action::Repeat(flight) => {
                (self.flights[flight as usize].to, Cause::Flight(flight))
            }
            Action::Sync(node, upto) => (node, Cause::Sync(upto)),
            Action::Spend(place) => {
                let node = match &self.granted[usize::from(place)].0 {
                    Granted::Ask((node, _)) | Granted::Crash(node) => node,
                    Granted::Nudge(nudge) => &nudge.node,
                    Granted::Repetition => unreachable!("spent by Repeat"),
                };
                (*node, Cause::Spend(place))
            }
        }
    }

    /// The turn that a process takes for a cause: from memory, or by the core.
    fn turn(&mut self, before: u32, cause: Cause) -> Tried<u32> {
        if let Some(number) = self.turn_numbers.get(&(before, cause)) {
            return Ok(*number);
        }
        let mut node = self.nodes[before as usize].clone();
        let Turn { seen, sent } = caught(|| Ok(self.take(&mut node, cause)))?;
        let sent: SmallVec<_> = sent.into_iter().map(|f| self.number_flight(f)).collect();
        let next = self.number_node(node);
        let idle = next == before && seen.is_empty() && sent.is_empty();
        let spent = self.is_spent(before, cause, idle)?;
        let number = self.turns.len() as u32;
        self.turns.push(Taken { next, sent, seen, idle, spent });
        self.turn_numbers.insert((before, cause), number);
        Ok(number)
    }

    fn take(&self, node: &mut Node<P>, cause: Cause) -> Turn<P> {
        let setup = &self.configuration.setup;
        match cause {
            Cause::Flight(flight) => node.receive(setup, &self.flights[flight as usize]),
            Cause::Sync(upto) => node.sync(setup, WriteId(u64::from(upto))),
            Cause::Before(place) => {
                node.give(setup, &self.configuration.before[usize::from(place)].1)
            }
            Cause::Spend(place) => match self.granted[usize::from(place)].0 {
                Granted::Ask((_, command)) => node.ask(setup, command),
                Granted::Nudge(nudge) => node.nudge(setup, nudge),
                Granted::Crash(_) => node.crash(setup),
                Granted::Repetition => unreachable!("spent by Repeat"),
            },
        }
    }

    /// What the invariants make of a turn.
    fn judge(&mut self, node: NodeId, before: &Judged<P>, turn: u32) -> Tried<Judged<P>> {
        match self.judged.entry((before.1, turn)) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(unknown) => {
                let mut judge = Judge::clone(&before.0);
                let turn = &self.turns[turn as usize];
                let core = &self.nodes[turn.next as usize].core;
                caught(|| judge.see(node, &turn.seen, core))?;
                Ok(unknown.insert(Judged::new(judge)).clone())
            }
        }
    }

    fn number_flight(&mut self, flight: Flight<P::Message>) -> u32 {
        let next = self.flights.len() as u32;
        let flights = &mut self.flights;
        *self.flight_numbers.entry(flight).or_insert_with_key(|flight| {
            flights.push(flight.clone());
            next
        })
    }

    fn number_node(&mut self, node: Node<P>) -> u32 {
        let next = self.nodes.len() as u32;
        let nodes = &mut self.nodes;
        *self.node_numbers.entry(fingerprint_of(&node)).or_insert_with(|| {
            nodes.push(node);
            next
        })
    }

    /// How a state was reached, in words.
    fn path(&self, mut index: u32) -> Vec<String> {
        let mut path = Vec::new();
        while index > 0 {
            let (before, action) = self.reached[index as usize];
            path.push(self.words(action));
            index = before;
        }
        path.reverse();
        path
    }

    fn words(&self, action: Action) -> String {
        match action {
            Action::Deliver(flight) => self.flight_words(flight),
            Action::Repeat(flight) => format!("{}, and stays", self.flight_words(flight)),
            Action::Sync(node, upto) => format!("{node}: write {upto} is durable"),
            Action::Spend(place) => match &self.granted[usize::from(place)].0 {
                Granted::Ask((node, command)) => {
                    format!("{node}: client {} asks", command.id.client.0)
                }
                Granted::Nudge(nudge) => format!("{}: {}", nudge.node, nudge.name),
                Granted::Crash(node) => format!("{node}: crashes and recovers"),
                Granted::Repetition => unreachable!("spent by Repeat"),
            },
        }
    }

    fn flight_words(&self, number: u32) -> String {
        let Flight { from, to, message, .. } = &self.flights[number as usize];
        format!("{from} → {to}: {message}")
    }
}
