//! The cores alone: what a command costs three replicas, without network, executor and clients.
//!
//! `cargo bench --bench cores` measures all; `-- caspaxos` those whose name has it. Messages are handed over in
//! memory, in order; every write is durable at once. `codec` adds encoding and decoding of each message.
//! Commands are puts of 16 bytes to keys that nobody else writes, 100,000 of each site.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use paxbench::command::{ClientId, Command, CommandId, Key, NodeId, Operation, Value};
use paxbench::protocol::caspaxos::Caspaxos;
use paxbench::protocol::caspaxos::options::CaspaxosOptions;
use paxbench::protocol::paxos::{Paxos, PaxosOptions, Variant};
use paxbench::protocol::{Cluster, Effect, Effects, Input, Protocol, Time};
use paxbench::wire::Wire;

const SIZE: u8 = 3;

/// The keys of a site.
const KEYS: u64 = 100_000;

/// Three cores and the messages between them.
struct Trio<P: Protocol> {
    cores: Vec<P>,
    effects: Effects<P>,
    inbox: VecDeque<(NodeId, NodeId, P::Message)>,
    codec: bool,
    scratch: BytesMut,
    done: u64,
    sequence: u64,
}

impl<P> Trio<P>
where
    P: Protocol<Message: Wire, Options: Clone>,
{
    fn new(options: &P::Options, codec: bool) -> Trio<P> {
        let cluster = Cluster::of(SIZE);
        let core = |me| P::recover(me, cluster, options.clone(), std::iter::empty());
        let mut trio = Trio {
            cores: cluster.nodes().map(core).collect(),
            effects: Effects::default(),
            inbox: VecDeque::new(),
            codec,
            scratch: BytesMut::new(),
            done: 0,
            sequence: 0,
        };
        for node in cluster.nodes() {
            trio.step(node, Input::Started);
        }
        trio.settle();
        trio
    }

    /// One input and the end of its turn.
    fn step(&mut self, node: NodeId, input: Input<P>) {
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
                    Effect::Execute(batch) => self.done += batch.len() as u64,
                    Effect::Answer { .. } => self.done += 1,
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
                message = P::Message::decode_whole(&self.scratch).expect("just encoded");
            }
            self.step(to, Input::Message { from, message });
        }
    }

    /// The next commands of a site's client.
    fn commands(&mut self, count: u64) -> (NodeId, Vec<Command>) {
        let first = self.sequence;
        self.sequence += count;
        let site = NodeId((first / count % u64::from(SIZE)) as u8);
        let command = |sequence: u64| Command {
            id: CommandId { client: ClientId(u64::from(site.0)), sequence },
            answered_below: sequence,
            operation: Operation::Put {
                // Far from each other in the tables, as the keys of many clients are.
                key: Key::register(
                    sequence.wrapping_mul(0x9e37_79b1) % KEYS + u64::from(site.0) * KEYS,
                ),
                value: Value::from_slice(&[7; 16]),
            },
        };
        (site, (first..self.sequence).map(command).collect())
    }

    fn decide(&mut self, (at, commands): (NodeId, Vec<Command>)) -> u64 {
        let before = self.done;
        self.step(at, Input::Requests(commands));
        self.settle();
        let done = self.done - before;
        assert!(done > 0, "nothing was decided");
        done
    }
}

fn decide<P>(criterion: &mut Criterion, name: &str, options: &P::Options)
where
    P: Protocol<Message: Wire, Options: Clone>,
{
    for (what, codec) in [("core", false), ("codec", true)] {
        let mut group = criterion.benchmark_group(format!("{name}/{what}"));
        for batch in [1, 16, 256] {
            group.throughput(Throughput::Elements(batch));
            let trio = RefCell::new(Trio::<P>::new(options, codec));
            // Every key is written once before.
            for _ in 0..2 * u64::from(SIZE) * KEYS / 256 {
                let commands = trio.borrow_mut().commands(256);
                trio.borrow_mut().decide(commands);
            }
            group.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
                bencher.iter_batched(
                    || trio.borrow_mut().commands(batch),
                    |commands| black_box(trio.borrow_mut().decide(commands)),
                    BatchSize::SmallInput,
                );
            });
        }
        group.finish();
    }
}

fn all(criterion: &mut Criterion) {
    for variant in [Variant::Multi, Variant::Fall, Variant::Regular] {
        let name = format!("paxos-{variant:?}").to_lowercase();
        decide::<Paxos>(criterion, &name, &PaxosOptions { variant, ..PaxosOptions::default() });
    }
    decide::<Caspaxos>(criterion, "caspaxos", &CaspaxosOptions::default());
}

criterion_group!(benches, all);
criterion_main!(benches);
