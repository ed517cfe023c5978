//! The core alone: what a command costs three processes, without network, execution and clients.
//!
//! Messages are handed over in memory, in order; every write is durable at once. `codec` adds encoding
//! and decoding of each message.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::collections::VecDeque;
use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use paxbench::command::{ClientId, Command, CommandId, Key, NodeId, Operation, Value};
use paxbench::protocol::paxos::message::PaxosMessage;
use paxbench::protocol::paxos::{Paxos, PaxosOptions, Variant};
use paxbench::protocol::{Cluster, Effect, Effects, Input, Protocol, Time};
use paxbench::wire::Wire;

const SIZE: u8 = 3;

/// Three cores and the messages between them.
struct Trio {
    cores: Vec<Paxos>,
    effects: Effects<Paxos>,
    inbox: VecDeque<(NodeId, NodeId, PaxosMessage)>,
    codec: bool,
    scratch: BytesMut,
    executed: u64,
    sequence: u64,
}

impl Trio {
    fn new(variant: Variant, codec: bool) -> Trio {
        let options = PaxosOptions { variant, ..PaxosOptions::default() };
        let cluster = Cluster::of(SIZE);
        let core = |me| Paxos::recover(me, cluster, options, std::iter::empty());
        let mut trio = Trio {
            cores: cluster.nodes().map(core).collect(),
            effects: Effects::default(),
            inbox: VecDeque::new(),
            codec,
            scratch: BytesMut::new(),
            executed: 0,
            sequence: 0,
        };
        for node in cluster.nodes() {
            trio.step(node, Input::Started);
        }
        trio.settle();
        trio
    }

    /// One input and the end of its turn.
    fn step(&mut self, node: NodeId, input: Input<Paxos>) {
        let mut effects = std::mem::take(&mut self.effects);
        let mut input = Some(input);
        while let Some(next) = input.take() {
            let core = &mut self.cores[usize::from(node.0)];
            core.step(Time(0), next, &mut effects);
            core.step(Time(0), Input::TurnEnded, &mut effects);
            for effect in effects.drain() {
                match effect {
                    Effect::Persist { id, .. } => input = Some(Input::Durable(id)),
                    Effect::Send { to, message, .. } => self.inbox.extend(
                        (0..SIZE)
                            .map(NodeId)
                            .filter(|n| to.includes(node, *n))
                            .map(|n| (node, n, message.clone())),
                    ),
                    Effect::Execute(batch) => self.executed += batch.len() as u64,
                    _ => {}
                }
            }
        }
        self.effects = effects;
    }

    fn settle(&mut self) {
        while let Some((from, to, mut message)) = self.inbox.pop_front() {
            if self.codec {
                self.scratch.clear();
                message.encode(&mut self.scratch);
                message = PaxosMessage::decode_whole(&self.scratch).expect("just encoded");
            }
            self.step(to, Input::Message { from, message });
        }
    }

    fn commands(&mut self, count: u64) -> Vec<Command> {
        let first = self.sequence;
        self.sequence += count;
        let command = |sequence| Command {
            id: CommandId { client: ClientId(1), sequence },
            answered_below: sequence,
            operation: Operation::Put {
                key: Key::register(sequence % 100_000),
                value: Value::from_slice(&[7; 16]),
            },
        };
        (first..self.sequence).map(command).collect()
    }

    fn decide(&mut self, at: NodeId, commands: Vec<Command>) -> u64 {
        let before = self.executed;
        self.step(at, Input::Requests(commands));
        self.settle();
        let executed = self.executed - before;
        assert!(executed > 0, "nothing was decided");
        executed
    }
}

fn decide(criterion: &mut Criterion) {
    for (name, codec) in [("core", false), ("codec", true)] {
        let mut group = criterion.benchmark_group(format!("decide/{name}"));
        for variant in [Variant::Multi, Variant::Fall, Variant::Regular] {
            for batch in [1, 16, 256] {
                group.throughput(Throughput::Elements(batch));
                let id = BenchmarkId::new(format!("{variant:?}").to_lowercase(), batch);
                let trio = std::cell::RefCell::new(Trio::new(variant, codec));
                group.bench_function(id, |bencher| {
                    bencher.iter_batched(
                        || trio.borrow_mut().commands(batch),
                        |commands| black_box(trio.borrow_mut().decide(NodeId(1), commands)),
                        BatchSize::SmallInput,
                    );
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, decide);
criterion_main!(benches);
