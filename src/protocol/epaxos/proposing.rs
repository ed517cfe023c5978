//! What clients ask for goes into new instances: Init, and Phase 1 up to its first message (§5.1, lines 1 to 5).

use std::collections::VecDeque;
use std::sync::Arc;

use super::Epaxos;
use super::deps::{Attributes, Deps, PerNode};
use super::instances::Row;
use super::message::{EpaxosMessage, EpaxosRecord, Initial, InstanceId, Phase, Proposal};
use super::options::QuorumChoice;
use super::work::{PreAccepting, Work};
use crate::command::{Command, NodeId};
use crate::mutants::mutant;
use crate::protocol::ballot::Round;
use crate::protocol::quorum::NodeSet;
use crate::protocol::{Batch, Effects, Protocol, Time, WriteId};

/// Bytes of commands in one instance, unless a single command is larger.
const COMMAND_BYTES_MAX: usize = 256 << 10;

impl Epaxos {
    /// Clients of this replica ask.
    pub(super) fn on_requests(&mut self, commands: Vec<Command>) {
        for command in commands {
            if !self.is_member() || self.request_bytes > super::REQUEST_BYTES_MAX {
                self.counters.requests_dropped += 1;
                continue;
            }
            self.request_bytes += command.bytes();
            self.requests.push_back(command);
        }
    }

    /// Init: the commands that wait go into new instances, as far as the window has room.
    pub(super) fn propose(&mut self, now: Time, out: &mut Effects<Self>) {
        if !self.takes_requests() || self.joining.fence.is_some() {
            return;
        }
        self.set_held_aside();
        while self.unexecuted < self.options.window && !self.requests.is_empty() {
            let number = self.next;
            if !self.rows.of(self.me).has_place(number) {
                return;
            }
            self.next += 1;
            self.unexecuted += 1;
            let command = self.take_batch();
            self.start_phase1(now, InstanceId { owner: self.me, number }, command, out);
        }
    }

    /// What interferes with an own instance that cannot be executed waits until it is.
    fn set_held_aside(&mut self) {
        if self.conflicts.holds_any() {
            let requests = std::mem::take(&mut self.requests);
            let (held, free) = requests.into_iter().partition(|c| self.conflicts.is_held(c));
            self.requests = free;
            self.held.extend::<VecDeque<Command>>(held);
        }
    }

    fn take_batch(&mut self) -> Batch {
        let (mut bytes, mut count) = (0, 0);
        for command in self.requests.iter().take(self.options.batch) {
            bytes += command.bytes();
            if count > 0 && bytes > COMMAND_BYTES_MAX {
                break;
            }
            count += 1;
        }
        let batch: Vec<Command> = self.requests.drain(..count).collect();
        self.request_bytes -= batch.iter().map(Command::bytes).sum::<usize>();
        Arc::from(batch)
    }

    /// Phase 1, lines 1 to 5.
    fn start_phase1(&mut self, now: Time, id: InstanceId, command: Batch, out: &mut Effects<Self>) {
        let keys = self.conflicts.keys(&command);
        let taken_over = |place: usize| match mutant!(TakenOverNotNamed) {
            true => 0,
            false => self.taken_over[place],
        };
        let barrier = |place: usize| match mutant!(NoBarrier) {
            true => 0,
            false => self.epochs.barrier()[place],
        };
        let first = |(owner, row): (NodeId, &Row)| {
            let place = usize::from(owner.0);
            row.base().max(taken_over(place)).max(barrier(place))
        };
        let prefix: PerNode = self.rows.iter().map(first).collect();
        let settled = self.executed_below();
        let mut deps = Deps { prefix, settled, ids: Vec::new() };
        self.conflicts.add_proposed(&keys, &mut deps);
        let epoch = self.epochs.latest();
        let seq = self.next_seq(epoch, &deps.ids);
        self.counters.proposed += 1;
        self.counters.dependencies += deps.ids.len() as u64;
        self.counters.with_dependencies += u64::from(!deps.ids.is_empty());
        let attributes = Attributes { seq, deps: Arc::new(deps) };
        let quorum = self.choose_quorum();
        let named = self.options.fast_path.names_quorum();
        let all = self.epochs.members();
        let initial = Initial {
            command: command.clone(),
            attributes: attributes.clone(),
            quorum: if named { quorum } else { all },
        };
        let asked = if self.options.thrifty { quorum } else { all }.without(self.me);
        let ballot = Round::first_of(epoch);
        let began = PreAccepting { ballot, asked, votes: Vec::new(), began: now, late: false };
        self.conflicts.record(id, &keys);
        let instance = self.rows.make(id, now).expect("propose has seen that it has a place");
        instance.phase = Phase::PreAccepted;
        instance.proposal = Some(Proposal::Command(command));
        instance.attributes = Some(attributes);
        instance.initial = Some(initial.clone());
        instance.keys = keys;
        instance.work = Some(Box::new(Work::PreAccepting(began)));
        // Durable before anybody hears of it: the number is never used again.
        let record = EpaxosRecord::PreAccepted { id, initial: initial.clone(), attributes: None };
        let mut edge = out.persist(record);
        if mutant!(ProposedBeforeDurable) {
            edge = WriteId(0);
        }
        let message = EpaxosMessage::PreAccept { id, epoch, initial };
        out.send_to(asked, message, edge);
    }

    /// A sequence number of an epoch above those of these instances (line 2), and of all earlier epochs; 0
    /// where the variant has none.
    pub(super) fn next_seq(&self, epoch: u16, ids: &[InstanceId]) -> u64 {
        if !self.options.fast_path.has_seq() {
            return 0;
        }
        let seq =
            |id: &InstanceId| self.rows.get(*id).and_then(|i| i.attributes.as_ref()).map(|a| a.seq);
        let least = Round::first_of(epoch).0;
        1 + ids.iter().filter_map(seq).max().unwrap_or(0).max(least)
    }

    /// The fast quorum of the next command (§6.1, *preferred fast-path quorums*).
    fn choose_quorum(&self) -> NodeSet {
        let near = self.options.near.get(usize::from(self.me.0));
        let rank = |node: NodeId| match near {
            Some(near) => near.iter().position(|other| *other == node.0).unwrap_or(near.len()),
            None => usize::from(node.0),
        };
        let measured = self.options.quorum == QuorumChoice::Measured;
        let mut others: Vec<NodeId> = self.others().iter().collect();
        others.sort_by_cached_key(|node| {
            let peer = &self.peers[usize::from(node.0)];
            let rtt_ns = if measured { peer.rtt_ns.unwrap_or(u64::MAX) } else { 0 };
            (peer.is_out() || !peer.has_executed(self.epochs.barrier()), rtt_ns, rank(*node))
        });
        others.truncate(self.fast_quorum() - 1);
        others.into_iter().chain([self.me]).collect()
    }

    /// Commands are proposed again, before all that wait.
    pub(super) fn resubmit_all(&mut self, commands: &[Command]) {
        if !self.is_member() {
            return;
        }
        self.counters.resubmitted += commands.len() as u64;
        for command in commands.iter().rev() {
            self.request_bytes += command.bytes();
            self.requests.push_front(command.clone());
        }
    }
}
