//! One core, stepped by hand: each test is a schedule that once went wrong, or that the paper's printed
//! rules get wrong.

use std::sync::Arc;
use std::time::Duration;

use super::{Variant, options};
use crate::command::{ClientId, Command, CommandId, Key, NodeId, Operation, Value};
use crate::protocol::ballot::Round;
use crate::protocol::paxos::consensus::{Progress, Proposal};
use crate::protocol::paxos::message::{
    MsgSet, Parcel, ParcelId, PaxosMessage, PaxosRecord, PaxosTimer, Written,
};
use crate::protocol::paxos::register::{REGISTERS_MAX, Registers};
use crate::protocol::paxos::{OWN_BYTES_MAX, ParcelSet, Paxos, PaxosOptions};
use crate::protocol::{Cluster, Destination, Effect, Effects, Input, Protocol, Time, WriteId};

/// A core of three, its clock and the number of its last write.
struct Script {
    core: Paxos,
    effects: Effects<Paxos>,
    now: Time,
}

type Sent = (Destination, PaxosMessage, Option<WriteId>);

impl Script {
    fn new(me: u8, variant: Variant, log: Vec<PaxosRecord>) -> Script {
        let options = PaxosOptions { leader: 0, ..options(variant) };
        let core = Paxos::recover(NodeId(me), Cluster::of(3), options, log.into_iter());
        Script { core, effects: Effects::default(), now: Time(0) }
    }

    fn started(me: u8, variant: Variant) -> Script {
        let mut script = Script::new(me, variant, Vec::new());
        script.step(Input::Started);
        script
    }

    /// What is sent because of one input.
    fn step(&mut self, input: Input<Paxos>) -> Vec<Sent> {
        self.core.step(self.now, input, &mut self.effects);
        self.core.step(self.now, Input::TurnEnded, &mut self.effects);
        let sent = self.effects.drain().filter_map(|effect| match effect {
            Effect::Send { to, message, after } => Some((to, message, after)),
            _ => None,
        });
        sent.collect()
    }

    fn hear(&mut self, from: u8, message: PaxosMessage) -> Vec<Sent> {
        self.step(Input::Message { from: NodeId(from), message })
    }

    fn synced(&mut self) -> Vec<Sent> {
        let last = self.effects.last_write();
        self.step(Input::Durable(last))
    }

    fn fire(&mut self, timer: PaxosTimer) -> Vec<Sent> {
        self.now = self.now.after(Duration::from_millis(150));
        self.step(Input::Timer(timer))
    }

    fn ask(&mut self, bytes: usize) -> Vec<Sent> {
        self.step(Input::Requests(vec![command(bytes)]))
    }

    /// Hears that a process has delivered so much, and that its registers hold nothing beyond.
    fn heartbeat(&mut self, from: u8, epoch: u32, next_batch: u64) -> Vec<Sent> {
        let (written_below, hears_majority) = (next_batch, true);
        self.hear(
            from,
            PaxosMessage::Heartbeat { epoch, next_batch, written_below, hears_majority },
        )
    }

    /// Hears that a process has delivered nothing, and that its registers hold values.
    fn heartbeat_of_a_holder(&mut self, from: u8, written_below: u64) -> Vec<Sent> {
        let (epoch, next_batch, hears_majority) = (1, 0, true);
        self.hear(
            from,
            PaxosMessage::Heartbeat { epoch, next_batch, written_below, hears_majority },
        )
    }
}

fn command(bytes: usize) -> Command {
    let value = Value::from_vec(vec![0; bytes]);
    let id = CommandId { client: ClientId(1), sequence: 0 };
    Command { id, answered_below: 0, operation: Operation::Put { key: Key::register(0), value } }
}

fn value(origin: u8, number: u64) -> MsgSet {
    let id = ParcelId { origin: NodeId(origin), incarnation: 1, number };
    Arc::from([Parcel { id, commands: Arc::from([command(1)]) }])
}

fn ack_read(round: Round, instance: u64, next_batch: u64, found: &[(u64, MsgSet)]) -> PaxosMessage {
    let written = |(instance, value): &(u64, MsgSet)| Written {
        instance: *instance,
        write: Round(2),
        value: value.clone(),
    };
    let written = found.iter().map(written).collect();
    PaxosMessage::AckRead { round, instance, next_batch, written }
}

/// Rounds and instances of the READs among what was sent.
fn reads(sent: &[Sent]) -> Vec<(Round, u64)> {
    let read = |(_, message, _): &Sent| match message {
        PaxosMessage::Read { round, instance, .. } => Some((*round, *instance)),
        _ => None,
    };
    sent.iter().filter_map(read).collect()
}

fn asked_for_updates(sent: &[Sent]) -> Vec<Destination> {
    let lagging = |(_, message, _): &&Sent| matches!(message, PaxosMessage::Lagging { .. });
    sent.iter().filter(lagging).map(|(to, ..)| *to).collect()
}

/// A round that was in use before a crash is not used again.
#[test]
fn a_restarted_process_uses_no_round_that_it_had_promised_or_written() {
    let read = |instance| PaxosRecord::Read { instance, round: Round(7) };
    let write = PaxosRecord::Write { instance: 0, round: Round(7), value: value(0, 0) };
    for (variant, record) in [
        (Variant::Regular, read(Some(0))),
        (Variant::Fall, read(Some(0))),
        (Variant::Multi, read(None)),
        (Variant::Regular, write.clone()),
        (Variant::Fall, write.clone()),
        (Variant::Multi, write),
    ] {
        let mut script = Script::new(0, variant, vec![record]);
        script.core.leader = NodeId(0);
        let sent = script.step(Input::Started);
        assert_eq!(reads(&sent)[0], (Round(10), 0), "{variant:?}: above 7, owned by process 1");
        assert!(
            sent.iter()
                .all(|(_, m, after)| reads(&[(Destination::Others, m.clone(), None)]).is_empty()
                    || after.is_some())
        );
    }
}

/// A fast value at a minority and a regular one of round n+1 at a majority. Tagged n+1, as Fig. 20
/// line 32 prints it, the fast value would look as recent as the decided one.
#[test]
fn a_fast_value_at_a_minority_never_outranks_a_decided_regular_one() {
    let mut registers: Vec<_> = (0..3).map(|_| Registers::new(3)).collect();
    let (fast, regular) = (value(1, 0), value(0, 0));
    registers[2].write(Round(2), 0, &fast);
    for node in [0, 1] {
        registers[node].read(Round(4), 0);
        registers[node].write(Round(4), 0, &regular);
    }
    let mut proposal = Proposal::reading(Round(5), value(1, 9), Time(0));
    let mut progress = Progress::None;
    for node in [2, 1] {
        registers[node].read(Round(5), 0);
        let written = registers[node].written_at(0).map(|w| (w.write, w.value));
        progress = proposal.on_ack_read(NodeId(node as u8), Round(5), written, 3);
    }
    assert_eq!(progress, Progress::Write(regular));
}

#[test]
fn no_parcel_leaves_before_its_incarnation_is_durable_not_even_to_a_new_leader() {
    let mut script = Script::started(2, Variant::Multi);
    let mut sent = script.ask(1);
    // p0 has restarted: p1 leads from now on.
    sent.extend(script.heartbeat(0, 2, 0));
    sent.extend(script.fire(PaxosTimer::Retransmit));
    let forwards: Vec<_> =
        sent.iter().filter(|(_, m, _)| matches!(m, PaxosMessage::Forward(_))).collect();
    assert_eq!(forwards.len(), 3, "at first, to the new leader, again");
    assert!(forwards.iter().all(|(_, _, after)| *after == Some(WriteId(1))), "{forwards:?}");
}

#[test]
fn a_read_that_is_sent_again_still_waits_for_its_promise() {
    for variant in [Variant::Regular, Variant::Multi] {
        let mut script = Script::started(0, variant);
        let sent = script.fire(PaxosTimer::Retransmit);
        assert!(!reads(&sent).is_empty());
        assert!(sent.iter().all(|(_, _, after)| after.is_some()), "{variant:?}: {sent:?}");
    }
}

#[test]
fn what_was_decided_beyond_a_gap_is_delivered_when_a_state_fills_the_gap() {
    let mut script = Script::started(2, Variant::Multi);
    script.hear(0, PaxosMessage::Update { from: 5, values: vec![value(0, 0)] });
    let delivered = vec![ParcelSet::default(); 3];
    script.hear(0, PaxosMessage::State { next_batch: 5, delivered });
    assert_eq!(script.core.deliveries.next_batch(), 6);
}

#[test]
fn a_process_that_misses_the_last_instance_asks_another_when_its_informant_is_gone() {
    let mut script = Script::started(2, Variant::Multi);
    script.heartbeat(0, 1, 1);
    assert_eq!(asked_for_updates(&script.fire(PaxosTimer::CatchUp)), [Destination::One(NodeId(0))]);
    script.heartbeat(1, 1, 1);
    assert_eq!(asked_for_updates(&script.fire(PaxosTimer::CatchUp)), [Destination::One(NodeId(1))]);
}

/// The explorer found it (seed 16407 of its time): a leader that lagged asked a process that heard
/// nobody, again and again, because that one always claimed to have delivered most.
#[test]
fn a_process_that_lags_asks_the_others_too_when_who_claims_most_does_not_answer() {
    let mut script = Script::started(2, Variant::Regular);
    script.heartbeat(0, 1, 9);
    script.heartbeat(1, 1, 5);
    let asked: Vec<_> = (0..4)
        .flat_map(|_| {
            let sent = script.fire(PaxosTimer::CatchUp);
            script.heartbeat(0, 1, 9);
            asked_for_updates(&sent)
        })
        .collect();
    let [first, second] = [0, 1].map(|node| Destination::One(NodeId(node)));
    assert_eq!(asked, [first, second, first, second]);
}

/// The exhaustive model found it: a leader that refuses its own WRITE, because another has read in a
/// higher round meanwhile, noticed it only with the next input, which could be a heartbeat away.
#[test]
fn a_leader_hears_its_own_nack_in_the_same_turn() {
    let mut script = Script::started(0, Variant::Multi);
    script.ask(1);
    script.synced();
    script.hear(1, PaxosMessage::Read { round: Round(5), instance: 0, onwards: true });
    script.synced();
    script.hear(2, ack_read(Round(4), 0, 0, &[]));
    assert_eq!(script.core.counters.aborts, 1);
}

#[test]
fn messages_that_name_unknown_processes_or_are_not_their_senders_to_send_are_ignored() {
    for me in [0, 2] {
        let mut script = Script::started(me, Variant::Multi);
        script.synced();
        let parcel = |origin| value(origin, 0)[0].clone();
        let (round, instance) = (Round(4), 0);
        script.hear(1, PaxosMessage::Forward(parcel(7)));
        script.hear(1, PaxosMessage::Forward(parcel(2)));
        script.hear(1, PaxosMessage::Update { from: 0, values: vec![value(3, 0)] });
        script.hear(1, PaxosMessage::Write { round, instance, value: value(3, 0), decided: None });
        script.hear(1, ack_read(round, 0, 0, &[(0, value(200, 0))]));
        script.heartbeat(3, 1, 0);
        assert_eq!(script.core.counters.implausible, 6);
        assert_eq!(script.core.deliveries.next_batch(), 0);
    }
}

#[test]
fn an_acknowledgement_that_reports_an_instance_far_beyond_all_registers_is_not_believed() {
    let mut script = Script::started(0, Variant::Multi);
    script.synced();
    let sent = script.hear(1, ack_read(Round(4), 0, 0, &[(1 << 50, value(1, 0))]));
    assert!(sent.is_empty(), "nothing is written: {sent:?}");
    assert!(!script.ask(1).is_empty(), "but it leads");
}

#[test]
fn a_process_reads_no_instance_that_its_own_register_could_not_promise() {
    let mut script = Script::started(0, Variant::Regular);
    let far = REGISTERS_MAX - 1;
    script.hear(1, PaxosMessage::Update { from: far, values: vec![value(1, 0)] });
    assert_eq!(reads(&script.ask(1)), []);
    assert!(script.core.leading.as_ref().is_some_and(|leading| leading.undelivered.len() == 1));
}

#[test]
fn a_probe_goes_on_behind_what_it_finds() {
    let mut script = Script::started(0, Variant::Fall);
    script.synced();
    let sent = script.hear(1, ack_read(Round(4), 0, 0, &[(0, value(2, 0))]));
    assert!(matches!(sent[0].1, PaxosMessage::Write { instance: 0, .. }));
    script.synced();
    let ack = PaxosMessage::AckWrite { round: Round(4), instance: 0, permission: false };
    assert_eq!(reads(&script.hear(1, ack)), [(Round(4), 1)]);

    let mut script = Script::started(0, Variant::Fall);
    let update = PaxosMessage::Update { from: 0, values: vec![value(2, 0)] };
    assert_eq!(reads(&script.hear(1, update)), [(Round(4), 1)]);
}

#[test]
fn a_leader_reads_again_when_who_had_delivered_more_is_gone() {
    let mut script = Script::started(0, Variant::Multi);
    script.synced();
    script.hear(1, ack_read(Round(4), 0, 5, &[]));
    assert_eq!(reads(&script.fire(PaxosTimer::Retransmit)), [], "it may still be on its way");
    assert_eq!(reads(&script.fire(PaxosTimer::Retransmit)), [(Round(7), 0)]);
}

/// A leader that has read and found nothing, and whose clients ask for nothing.
fn idle_leader(variant: Variant) -> Script {
    let mut script = Script::started(0, variant);
    script.synced();
    for instance in 0..if variant == Variant::Multi { 1 } else { 8 } {
        script.hear(1, ack_read(Round(4), instance, 0, &[]));
        script.synced();
        let ack = PaxosMessage::AckWrite { round: Round(4), instance, permission: false };
        script.hear(1, ack);
    }
    assert_eq!(script.fire(PaxosTimer::Retransmit), []);
    assert_eq!(script.fire(PaxosTimer::Retransmit), []);
    script
}

#[test]
fn a_leader_reads_what_another_process_holds_beyond_all_that_it_knows() {
    for variant in [Variant::Regular, Variant::Fall] {
        let mut script = idle_leader(variant);
        let next = script.core.next_batch();
        script.heartbeat_of_a_holder(2, next + 2);
        let read = reads(&script.fire(PaxosTimer::Retransmit));
        assert_eq!(read, [(Round(4), next), (Round(4), next + 1)], "{variant:?}");
    }
}

#[test]
fn a_leader_that_has_read_all_writes_what_another_process_holds_and_reads_again_if_refused() {
    let mut script = idle_leader(Variant::Multi);
    script.heartbeat_of_a_holder(2, 1);
    assert_eq!(writes(&script.fire(PaxosTimer::Retransmit)), [(0, vec![])]);
    script.hear(2, PaxosMessage::Nack { round: Round(4), instance: 0, promised: Round(8) });
    assert_eq!(reads(&script.fire(PaxosTimer::Propose)), [(Round(10), 0)]);
    script.synced();
    let (round, instance, next_batch) = (Round(10), 0, 0);
    let written = vec![Written { instance, write: Round(8), value: value(1, 0) }];
    let sent = script.hear(2, PaxosMessage::AckRead { round, instance, next_batch, written });
    assert_eq!(writes(&sent), [(0, vec![1])]);
}

/// Else it would read again and again for as long as no command came.
#[test]
fn a_value_that_no_majority_holds_is_not_looked_for_again() {
    for variant in [Variant::Regular, Variant::Fall, Variant::Multi] {
        let mut script = idle_leader(variant);
        let next = script.core.next_batch();
        script.heartbeat_of_a_holder(2, next + 1);
        script.fire(PaxosTimer::Retransmit);
        script.synced();
        script.hear(1, ack_read(Round(4), next, next, &[]));
        script.synced();
        let (round, instance) = (Round(4), next);
        script.hear(1, PaxosMessage::AckWrite { round, instance, permission: false });
        assert_eq!(script.core.next_batch(), next + 1, "{variant:?}");
        assert_eq!(script.fire(PaxosTimer::Retransmit), [], "{variant:?}");
        assert_eq!(script.fire(PaxosTimer::Retransmit), [], "{variant:?}");
    }
}

#[test]
fn a_leader_decides_what_another_process_wrote_to_its_own_register() {
    let (round, instance) = (Round(5), 8);
    let mut script = idle_leader(Variant::Regular);
    script.hear(1, PaxosMessage::Write { round, instance, value: value(1, 0), decided: None });
    assert_eq!(reads(&script.fire(PaxosTimer::Retransmit)), [(Round(7), instance)]);
}

#[test]
fn a_delivery_ends_the_proposal_of_an_instance_that_was_known_to_be_decided_before() {
    let mut script = Script::started(0, Variant::Multi);
    script.synced();
    let (first, second) = (value(2, 0), value(2, 1));
    script.hear(1, PaxosMessage::Update { from: 1, values: vec![second.clone()] });
    script.hear(1, ack_read(Round(4), 0, 0, &[(0, first), (1, second)]));
    let ack = |instance| PaxosMessage::AckWrite { round: Round(4), instance, permission: false };
    script.hear(1, ack(0));
    script.hear(2, ack(0));
    assert_eq!(script.core.deliveries.next_batch(), 2);
    let leading = script.core.leading.as_mut().expect("it leads");
    assert_eq!(leading.proposals().count(), 0);
}

#[test]
fn a_proposal_skips_instances_that_are_known_to_be_decided() {
    let mut script = Script::started(0, Variant::Fall);
    script.synced();
    script.hear(1, PaxosMessage::Update { from: 1, values: vec![value(1, 0)] });
    script.hear(1, ack_read(Round(4), 0, 0, &[]));
    script.synced();
    script.hear(1, PaxosMessage::AckWrite { round: Round(4), instance: 0, permission: true });
    assert_eq!(reads(&script.ask(1)), [(Round(4), 2)]);
}

#[test]
fn requests_beyond_the_bound_of_own_parcels_are_dropped_until_some_are_delivered() {
    let mut script = Script::started(1, Variant::Multi);
    let bytes = 1 << 20;
    let parcels = OWN_BYTES_MAX / bytes + 10;
    (0..parcels).for_each(|_| drop(script.ask(bytes)));
    let kept = script.core.own.len();
    assert!(kept < parcels && script.core.counters.requests_dropped == (parcels - kept) as u64);
    let own = script.core.own[0].as_ref().expect("not delivered").parcel.clone();
    script.hear(0, PaxosMessage::Update { from: 0, values: vec![Arc::from([own])] });
    script.ask(1);
    assert_eq!(script.core.own.len(), kept);
}

#[test]
fn a_decision_counts_only_from_the_owner_of_its_round() {
    let mut script = Script::started(2, Variant::Multi);
    let (round, instance) = (Round(4), 0);
    script.hear(0, PaxosMessage::Write { round, instance, value: value(0, 0), decided: None });
    let decided = super::super::message::Decided { round, from: 0, below: 1 };
    script.hear(1, PaxosMessage::Decision(decided));
    assert_eq!(script.core.deliveries.next_batch(), 0);
    script.hear(0, PaxosMessage::Decision(decided));
    assert_eq!(script.core.deliveries.next_batch(), 1);
}

/// Instances that are written, each with the origins of its parcels.
fn writes(sent: &[Sent]) -> Vec<(u64, Vec<u8>)> {
    let write = |(_, message, _): &Sent| match message {
        PaxosMessage::Write { instance, value, .. } => {
            Some((*instance, value.iter().map(|parcel| parcel.id.origin.0).collect()))
        }
        _ => None,
    };
    sent.iter().filter_map(write).collect()
}

#[test]
fn parcels_of_a_proposal_that_another_value_beat_are_proposed_in_the_next_instance() {
    let mut script = Script::started(0, Variant::Multi);
    script.synced();
    script.hear(1, ack_read(Round(4), 0, 0, &[]));
    assert_eq!(writes(&script.ask(1)), [(0, vec![0])]);
    let sent = script.hear(1, PaxosMessage::Update { from: 0, values: vec![value(1, 0)] });
    assert_eq!(writes(&sent), [(1, vec![0])]);
}

#[test]
fn parcels_of_an_aborted_proposal_are_proposed_again_in_the_next_round() {
    let mut script = Script::started(0, Variant::Multi);
    script.synced();
    script.hear(1, ack_read(Round(4), 0, 0, &[]));
    // Its own register refuses, so that no read finds the value again.
    script.hear(1, PaxosMessage::Read { round: Round(5), instance: 0, onwards: true });
    assert_eq!(writes(&script.ask(1)), [(0, vec![0])]);
    script.hear(1, PaxosMessage::Nack { round: Round(4), instance: 0, promised: Round(8) });
    assert_eq!(reads(&script.fire(PaxosTimer::Propose)), [(Round(10), 0)]);
    script.synced();
    let sent = script.hear(1, ack_read(Round(10), 0, 0, &[]));
    assert_eq!(writes(&sent), [(0, vec![0])]);
}

#[test]
fn a_proposer_that_is_behind_is_told_the_value_of_the_instance_that_it_proposes_in() {
    let mut script = Script::started(2, Variant::Multi);
    let values = vec![value(0, 0), value(0, 1)];
    script.hear(0, PaxosMessage::Update { from: 0, values });
    let (round, instance) = (Round(5), 0);
    let write = PaxosMessage::Write { round, instance, value: value(1, 0), decided: None };
    for request in [write, PaxosMessage::Read { round, instance, onwards: false }] {
        let update = PaxosMessage::Update { from: 0, values: vec![value(0, 0)] };
        let told = (Destination::One(NodeId(1)), update, None);
        assert_eq!(script.hear(1, request), [told]);
    }
}

/// A soak run found it: a follower that had caught up by UPDATE answered each of many late WRITEs with
/// all that it had delivered since, which filled its link to the leader.
#[test]
fn a_late_write_to_a_process_that_has_delivered_is_not_answered_with_the_log() {
    let mut script = Script::started(2, Variant::Multi);
    let values: Vec<_> = (0..50).map(|number| value(0, number)).collect();
    script.hear(0, PaxosMessage::Update { from: 0, values: values.clone() });
    script.heartbeat(0, 1, 50);
    for (instance, value) in (10..).zip(values.into_iter().skip(10)) {
        let late = PaxosMessage::Write { round: Round(4), instance, value, decided: None };
        assert_eq!(script.hear(0, late), [], "instance {instance}");
    }
}
