//! Processes of `paxos` with a fault around a core that has none.

use std::hash::{Hash, Hasher};

use crate::check::invariants::paxos::PaxosInvariants;
use crate::check::invariants::{Held, Invariants};
use crate::command::NodeId;
use crate::protocol::paxos::message::{PaxosMessage, PaxosRecord, PaxosTimer};
use crate::protocol::paxos::{Paxos, PaxosOptions};
use crate::protocol::{Batch, Cluster, Effect, Effects, Input, Protocol, Time};
use crate::sim::exhaustive::{Configuration, Given, Modelled, Nudge, Setup};

/// The faults, by number: a constant parameter cannot be an enumeration.
pub type How = u8;

/// Answers a write before it has stored it.
pub const SENDS_AT_ONCE: How = 0;
/// Starts with an empty log after a crash.
pub const FORGETS: How = 1;
/// Remembers who it is after a crash, and what was delivered, but no promise and no value.
pub const FORGETS_PROMISES: How = 2;
/// Counts the answer of one process for the other as well.
pub const COUNTS_TWICE: How = 3;
/// Gives up at the first nack.
pub const PANICS: How = 4;
/// Tells nobody what it decided.
pub const KEEPS_DECISIONS: How = 5;
/// Says that it ignores everything.
pub const IGNORES_ALL: How = 6;

/// Gives up when it is to install a state.
pub const REFUSES_STATE: How = 7;

/// A process with a fault.
#[derive(Clone)]
pub struct Broken<const HOW: How> {
    core: Paxos,
    /// Empty between steps.
    effects: Effects<Paxos>,
}

impl<const HOW: How> Hash for Broken<HOW> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.core.hash(state);
    }
}

impl<const HOW: How> Protocol for Broken<HOW> {
    type Options = PaxosOptions;
    type Message = PaxosMessage;
    type Timer = PaxosTimer;
    type Record = PaxosRecord;

    const GAUGES: &'static [&'static str] = Paxos::GAUGES;

    fn recover(
        me: NodeId,
        cluster: Cluster,
        options: PaxosOptions,
        log: impl Iterator<Item = PaxosRecord>,
    ) -> Self {
        let kept = log.filter(|record| match record {
            PaxosRecord::Read { .. } | PaxosRecord::Write { .. } => HOW != FORGETS_PROMISES,
            _ => true,
        });
        let log = kept.take(if HOW == FORGETS { 0 } else { usize::MAX });
        Broken { core: Paxos::recover(me, cluster, options, log), effects: Effects::default() }
    }

    fn step(&mut self, now: Time, input: Input<Self>, out: &mut Effects<Self>) {
        for input in faulty::<HOW>(input) {
            self.core.step(now, input, &mut self.effects);
        }
        for effect in self.effects.drain() {
            match effect {
                Effect::Persist { record, .. } => drop(out.persist(record)),
                Effect::Send { to, message, after } => {
                    let answers = matches!(message, PaxosMessage::AckWrite { .. });
                    let after = after.filter(|_| HOW != SENDS_AT_ONCE || !answers);
                    out.push(Effect::Send { to, message, after });
                }
                Effect::Arm(timer, range) => out.push(Effect::Arm(timer, range)),
                Effect::Disarm(timer) => out.push(Effect::Disarm(timer)),
                Effect::Execute(batch) => out.push(Effect::Execute(batch)),
                Effect::Answer { id, outcome } => out.push(Effect::Answer { id, outcome }),
                Effect::Committed(batch) => out.push(Effect::Committed(batch)),
                Effect::SendState { to, message } => out.push(Effect::SendState { to, message }),
                Effect::InstallState => {
                    assert_ne!(HOW, REFUSES_STATE, "a state");
                    out.push(Effect::InstallState);
                }
                Effect::GiveUp(why) => out.push(Effect::GiveUp(why)),
            }
        }
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.core.counters()
    }
}

/// The input as the process takes it.
fn faulty<const HOW: How>(input: Input<Broken<HOW>>) -> Vec<Input<Paxos>> {
    vec![match input {
        Input::Started => Input::Started,
        Input::Members(members) => Input::Members(members),
        Input::Message { from, message } => {
            if let PaxosMessage::Nack { .. } = message {
                assert_ne!(HOW, PANICS, "a nack");
            }
            let twice = HOW == COUNTS_TWICE && matches!(message, PaxosMessage::AckWrite { .. });
            // Of three processes, the receiver is one and the sender another.
            if twice {
                let all = Cluster::of(3).nodes();
                let each = all.map(|from| Input::Message { from, message: message.clone() });
                return each.collect();
            }
            Input::Message { from, message }
        }
        Input::Requests(commands) => Input::Requests(commands),
        Input::Timer(timer) => Input::Timer(timer),
        Input::Durable(write) => Input::Durable(write),
        Input::TurnEnded => Input::TurnEnded,
    }]
}

/// The invariants of `paxos`, for a process with a fault.
#[derive(Clone, Hash)]
pub struct Same(PaxosInvariants);

impl<const HOW: How> Invariants<Broken<HOW>> for Same {
    fn new(cluster: Cluster) -> Self {
        Same(PaxosInvariants::new(cluster))
    }

    fn on_record(&mut self, node: NodeId, record: &PaxosRecord) -> Held {
        self.0.on_record(node, record)
    }

    fn on_durable(&mut self, node: NodeId, record: &PaxosRecord) -> Held {
        self.0.on_durable(node, record)
    }

    fn on_crash<'a>(&mut self, node: NodeId, left: impl Iterator<Item = &'a PaxosRecord>) -> Held {
        self.0.on_crash(node, left)
    }

    fn on_sent(&mut self, node: NodeId, message: &PaxosMessage, durable: usize) -> Held {
        self.0.on_sent(node, message, durable)
    }

    fn on_executed(&mut self, node: NodeId, position: u64, batch: &Batch) -> Held {
        self.0.on_executed(node, position, batch)
    }

    fn on_step(&mut self, node: NodeId, core: &Broken<HOW>) -> Held {
        self.0.on_step(node, &core.core)
    }

    fn owes(&self, node: NodeId, core: &Broken<HOW>) -> Option<String> {
        self.0.owes(node, &core.core)
    }
}

impl<const HOW: How> Modelled for Broken<HOW> {
    type Invariants = Same;

    fn configurations() -> Vec<Configuration<Self>> {
        Paxos::configurations().into_iter().map(with_fault).collect()
    }

    fn is_left_out(message: &PaxosMessage) -> bool {
        let kept = HOW == KEEPS_DECISIONS && matches!(message, PaxosMessage::Decision(_));
        kept || Paxos::is_left_out(message)
    }

    fn hash_sharing(&self, state: &mut impl Hasher) {
        self.core.hash_sharing(state);
    }

    fn ignores_for_ever(&self, from: NodeId, message: &PaxosMessage) -> bool {
        HOW == IGNORES_ALL || self.core.ignores_for_ever(from, message)
    }
}

/// The same configuration.
fn with_fault<const HOW: How>(right: Configuration<Paxos>) -> Configuration<Broken<HOW>> {
    let Setup { cluster, options, cut, lost, slow_disks } = right.setup;
    let nudges = right.nudges.into_iter().map(|Nudge { name, node, after, inputs, times }| {
        let inputs = inputs.into_iter().map(|given| match given {
            Given::Message { from, message } => Given::Message { from, message },
            Given::Timer(timer) => Given::Timer(timer),
            Given::Asked(command) => Given::Asked(command),
            Given::Members(members) => Given::Members(members),
        });
        Nudge { name, node, after, inputs: inputs.collect(), times }
    });
    Configuration {
        name: right.name,
        about: right.about,
        setup: Setup { cluster, options, cut, lost, slow_disks },
        settled: right.settled,
        before: Vec::new(),
        asks: right.asks,
        nudges: nudges.collect(),
        crashes: right.crashes,
        repetitions: right.repetitions,
        completes: right.completes,
    }
}
