//! What a review of the core found: each test is a schedule that went wrong.

use std::sync::Arc;

use super::super::Epaxos;
use super::super::deps::{Attributes, Deps, PerNode};
use super::super::instances::INSTANCES_MAX;
use super::super::message::{EpaxosMessage, EpaxosRecord, ExecutedSet, Initial, InstanceId, Phase};
use super::super::options::{EpaxosOptions, FastPath, QuorumChoice};
use crate::command::{ClientId, Command, CommandId, Key, NodeId, Operation, Value};
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Cluster, Effect, Effects, Input, Protocol, Time};

fn id(owner: u8, number: u64) -> InstanceId {
    InstanceId { owner: NodeId(owner), number }
}

fn put(sequence: u64, key: u32) -> Command {
    let operation =
        Operation::Put { key: Key::register(key.into()), value: Value::from([1u8].as_slice()) };
    Command { id: CommandId { client: ClientId(1), sequence }, answered_below: 0, operation }
}

/// Cores whose writes are durable at once; messages wait until they are delivered by name.
struct Net {
    cores: Vec<Epaxos>,
    effects: Vec<Effects<Epaxos>>,
    sent: Vec<(u8, u8, EpaxosMessage)>,
    states: usize,
    now: Time,
}

impl Net {
    fn new(size: u8, options: &EpaxosOptions) -> Net {
        let core = |me| {
            Epaxos::recover(NodeId(me), Cluster::of(size), options.clone(), std::iter::empty())
        };
        let effects = (0..size).map(|_| Effects::default()).collect();
        let cores = (0..size).map(core).collect();
        Net { cores, effects, sent: Vec::new(), states: 0, now: Time(1) }
    }

    fn step(&mut self, node: u8, input: Input<Epaxos>) {
        let (core, out) =
            (&mut self.cores[usize::from(node)], &mut self.effects[usize::from(node)]);
        core.step(self.now, input, out);
        self.settle(node);
    }

    fn settle(&mut self, node: u8) {
        let n = self.cores.len() as u8;
        for _ in 0..4 {
            let (core, out) =
                (&mut self.cores[usize::from(node)], &mut self.effects[usize::from(node)]);
            for effect in out.drain() {
                match effect {
                    Effect::Send { to, message, .. } => {
                        for other in (0..n).filter(|o| to.includes(NodeId(node), NodeId(*o))) {
                            self.sent.push((node, other, message.clone()));
                        }
                    }
                    Effect::SendState { .. } => self.states += 1,
                    _ => {}
                }
            }
            let durable = out.last_write();
            core.step(self.now, Input::Durable(durable), out);
            core.step(self.now, Input::TurnEnded, out);
        }
    }

    fn ask(&mut self, node: u8, command: Command) {
        self.step(node, Input::Requests(vec![command]));
    }

    fn message(&mut self, from: u8, to: u8, message: EpaxosMessage) {
        self.step(to, Input::Message { from: NodeId(from), message });
    }

    /// Delivers what was sent about an instance from one replica to another, of these kinds.
    fn deliver(&mut self, from: u8, to: u8, about: InstanceId, kind: &str) {
        use crate::protocol::Message;
        let all = std::mem::take(&mut self.sent);
        let (due, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|(f, t, m)| {
            *f == from && *t == to && m.id() == Some(about) && m.kind() == kind
        });
        self.sent = kept;
        assert!(!due.is_empty(), "no {kind} about {about:?} from {from} to {to}: {:?}", self.sent);
        for (from, to, message) in due {
            self.message(from, to, message);
        }
    }

    fn recover(&mut self, node: u8, about: InstanceId) {
        let (core, out) =
            (&mut self.cores[usize::from(node)], &mut self.effects[usize::from(node)]);
        core.recover_instance(self.now, about, out);
        self.settle(node);
    }

    fn fall_back(&mut self, node: u8, about: InstanceId) {
        let (core, out) =
            (&mut self.cores[usize::from(node)], &mut self.effects[usize::from(node)]);
        core.fall_back(self.now, about, out);
        self.settle(node);
    }

    fn phase(&self, node: u8, about: InstanceId) -> Phase {
        self.cores[usize::from(node)].rows.get(about).unwrap().phase
    }

    /// `by` recovers with the answers of these; it must not decide on a no-op.
    fn recovers_command(&mut self, by: u8, with: &[u8], about: InstanceId) {
        self.recover(by, about);
        for other in with {
            self.deliver(by, *other, about, "Prepare");
        }
        for other in with {
            self.deliver(*other, by, about, "PrepareOK");
        }
        for other in with {
            self.deliver(by, *other, about, "TentativePreAccept");
        }
        for other in with {
            self.deliver(*other, by, about, "TentativePreAcceptOK");
            if self.phase(by, about) == Phase::Accepted {
                break;
            }
        }
        let instance = self.cores[usize::from(by)].rows.get(about).unwrap();
        assert_ne!(
            instance.proposal,
            Some(crate::protocol::epaxos::message::Proposal::Nop),
            "{instance:?}"
        );
    }
}

fn options(fast_path: FastPath, near: &[&[u8]]) -> EpaxosOptions {
    let near = near.iter().map(|order| order.to_vec()).collect();
    EpaxosOptions { fast_path, near, quorum: QuorumChoice::Nearest, ..EpaxosOptions::default() }
}

const NEAR5: &[&[u8]] =
    &[&[1, 2, 3, 4], &[0, 2, 3, 4], &[0, 1, 3, 4], &[0, 1, 2, 4], &[2, 3, 0, 1]];

#[test]
fn d1_a_dependency_committed_after_the_vote_does_not_count_for_fp_deps_committed() {
    let mut net = Net::new(5, &options(FastPath::DepsCommitted, NEAR5));
    let (delta, gamma) = (id(4, 0), id(0, 0));
    net.ask(3, put(0, 7)); // x: only p3 knows it
    net.ask(4, put(1, 7)); // delta, quorum {4, 2, 3}
    net.sent.clear();
    net.fall_back(4, delta);
    for node in [0, 1, 2, 3] {
        net.deliver(4, node, delta, "PreAccept");
    }
    net.ask(0, put(2, 7)); // gamma, quorum {0, 1, 2}
    net.deliver(0, 1, gamma, "PreAccept");
    net.deliver(0, 2, gamma, "PreAccept");
    net.deliver(2, 4, delta, "PreAcceptOK");
    net.deliver(3, 4, delta, "PreAcceptOK");
    net.deliver(4, 2, delta, "Accept");
    net.deliver(4, 3, delta, "Accept");
    net.deliver(2, 4, delta, "AcceptOK");
    net.deliver(3, 4, delta, "AcceptOK");
    net.deliver(4, 0, delta, "Commit");
    net.deliver(4, 3, delta, "Commit");
    net.deliver(1, 0, gamma, "PreAcceptOK");
    net.deliver(2, 0, gamma, "PreAcceptOK");
    if net.phase(0, gamma) == Phase::Committed {
        net.recovers_command(3, &[1, 4], gamma);
    }
}

#[test]
fn d2_a_dependency_that_becomes_a_nop_does_not_undo_a_fast_commit() {
    let mut net = Net::new(3, &options(FastPath::DepsCommitted, &[&[1, 2], &[0, 2], &[0, 1]]));
    let (delta, gamma) = (id(1, 0), id(0, 0));
    net.ask(1, put(0, 7));
    net.sent.clear();
    net.fall_back(1, delta);
    net.deliver(1, 0, delta, "PreAccept");
    net.deliver(1, 2, delta, "PreAccept");
    net.sent.clear();
    net.recover(1, delta); // as after a restart
    net.deliver(1, 0, delta, "Prepare");
    net.deliver(0, 1, delta, "PrepareOK");
    net.deliver(1, 0, delta, "Accept");
    net.cores[1].options.window = 0; // it does not propose it again yet
    net.deliver(0, 1, delta, "AcceptOK");
    assert!(net.cores[1].rows.get(delta).unwrap().is_nop());
    net.ask(0, put(1, 7));
    net.deliver(0, 1, gamma, "PreAccept");
    net.deliver(1, 0, gamma, "PreAcceptOK");
    assert_eq!(net.phase(0, gamma), Phase::Committed);
    net.recovers_command(2, &[1], gamma);
}

#[test]
fn d3_accept_deps_tells_later_commands_of_the_same_owner() {
    let mut net = Net::new(5, &options(FastPath::AcceptDeps, NEAR5));
    let (delta, gamma) = (id(0, 0), id(0, 1));
    net.ask(3, put(0, 7)); // x: only p3 knows it
    net.cores[0].options.near[0] = vec![1, 3, 2, 4];
    net.ask(0, put(1, 7)); // delta, quorum {0, 1, 3}
    net.cores[0].options.near[0] = vec![1, 2, 3, 4];
    net.deliver(0, 1, delta, "PreAccept");
    net.deliver(0, 3, delta, "PreAccept");
    net.ask(0, put(2, 7)); // gamma, quorum {0, 1, 2}
    for node in [1, 2] {
        net.deliver(0, node, gamma, "PreAccept");
        net.deliver(node, 0, gamma, "PreAcceptOK");
    }
    for node in [1, 3] {
        net.deliver(node, 0, delta, "PreAcceptOK");
    }
    for node in [1, 3] {
        net.deliver(0, node, delta, "Accept");
        net.deliver(node, 0, delta, "AcceptOK");
    }
    for node in [1, 3] {
        net.deliver(0, node, delta, "Commit");
    }
    assert_eq!(net.phase(0, gamma), Phase::Committed);
    net.recovers_command(3, &[1, 2], gamma);
}

fn zeros() -> PerNode {
    PerNode::from_elem(0, 3)
}

fn state(sets: [(u64, &[u64]); 3]) -> EpaxosMessage {
    let set = |(below, above): (u64, &[u64])| ExecutedSet { below, above: above.to_vec() };
    EpaxosMessage::State { epoch: 0, executed: sets.map(set).to_vec(), forgotten: zeros() }
}

fn initial(owner: u8, key: u32) -> Initial {
    Initial {
        command: Arc::from([put(u64::from(key), key)]),
        attributes: Attributes { seq: 0, deps: Arc::new(Deps::none(3)) },
        quorum: [NodeId(owner), NodeId(0)].into_iter().collect::<NodeSet>(),
    }
}

#[test]
fn a1_what_the_state_holds_above_a_gap_is_a_dependency() {
    let mut net = Net::new(3, &options(FastPath::FixedQuorum, &[]));
    for (number, key) in [(0, 5), (1, 7)] {
        let message =
            EpaxosMessage::PreAccept { id: id(1, number), epoch: 0, initial: initial(1, key) };
        net.message(1, 0, message);
    }
    net.message(2, 0, state([(0, &[]), (0, &[1]), (1, &[])]));
    for number in [0, 1] {
        let attributes = Attributes::none(3);
        net.message(
            1,
            0,
            EpaxosMessage::Commit { id: id(1, number), epoch: 0, proposal: None, attributes },
        );
    }
    assert_eq!(net.cores[0].rows.of(NodeId(1)).executed_below(), 2);
    net.ask(0, put(9, 7));
    let deps = &net.cores[0].rows.get(id(0, 0)).unwrap().attributes.as_ref().unwrap().deps;
    assert!(deps.prefix[1] > 1 || deps.ids.contains(&id(1, 1)), "{deps:?}");
}

#[test]
fn a2_a_second_state_takes_nothing_away_that_only_the_first_held() {
    let mut net = Net::new(3, &options(FastPath::FixedQuorum, &[]));
    net.message(2, 0, state([(0, &[]), (2, &[]), (0, &[])]));
    net.message(1, 0, state([(0, &[]), (0, &[]), (1, &[])]));
    assert!(net.cores[0].has_executed(id(1, 1)));
}

#[test]
fn a3_who_has_executed_without_records_gives_the_state_to_who_lags() {
    let mut net = Net::new(3, &options(FastPath::FixedQuorum, &[]));
    net.message(2, 0, state([(0, &[]), (2, &[]), (0, &[])]));
    net.message(1, 0, EpaxosMessage::Lagging { executed: zeros(), known: zeros() });
    assert_eq!(net.states, 1);
}

#[test]
fn b1_a_vote_far_into_a_long_log_survives_a_restart() {
    let options = options(FastPath::FixedQuorum, &[]);
    let far = id(1, INSTANCES_MAX);
    let log = (0..=INSTANCES_MAX).map(|number| EpaxosRecord::PreAccepted {
        id: id(1, number),
        initial: initial(1, 7),
        attributes: None,
    });
    let core = Epaxos::recover(NodeId(0), Cluster::of(3), options, log);
    assert!(core.rows.get(far).is_some_and(|instance| instance.phase == Phase::PreAccepted));
}

#[test]
fn c1_three_replicas_of_the_simplified_protocol_do_not_wait_for_a_timer_after_a_conflict() {
    let mut net = Net::new(3, &options(FastPath::Simplified, &[]));
    net.ask(1, put(0, 7));
    net.ask(0, put(1, 7));
    net.deliver(0, 1, id(0, 0), "PreAccept");
    net.deliver(1, 0, id(0, 0), "PreAcceptOK");
    assert_ne!(net.phase(0, id(0, 0)), Phase::PreAccepted);
}
