//! A turn of `caspaxos` over registers whose values together are more than a frame holds: replicas on a bench, and
//! between them the frames that a network would carry.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use paxbench::command::{
    ClientId, Command, CommandId, Key, NodeId, Operation, Outcome, VALUE_BYTES_MAX, Value,
};
use paxbench::protocol::caspaxos::message::CaspaxosMessage;
use paxbench::protocol::caspaxos::options::{CaspaxosOptions, Reads};
use paxbench::protocol::caspaxos::{Caspaxos, CaspaxosTimer};
use paxbench::protocol::{Cluster, Effect, Effects, Input, Message, Protocol, Time, WriteId};
use paxbench::wire::{FRAME_BYTES_MAX, Wire, first_frame, frame};

const REGISTERS: u64 = 64;

/// What a message may come to: a bundle, and the last value in it.
const MESSAGE_BYTES_MAX: usize = FRAME_BYTES_MAX / 4;

struct Replica {
    core: Caspaxos,
    effects: Effects<Caspaxos>,
    durable: WriteId,
}

/// What is on its way between replicas, as bytes.
struct Flying {
    from: usize,
    to: usize,
    kind: &'static str,
    frame: Bytes,
}

struct Bench {
    replicas: Vec<Replica>,
    flying: VecDeque<Flying>,
    /// Who is cut off.
    cut: Option<usize>,
    answers: Vec<(CommandId, Outcome)>,
    /// The kinds of all messages, in the order sent.
    sent: Vec<&'static str>,
    asked: u64,
}

/// The value of a register after so many rounds of writing.
fn value(register: u64, round: u64) -> Value {
    let mut value = Value::from_elem(register as u8, VALUE_BYTES_MAX);
    value[0] = round as u8;
    value
}

impl Bench {
    fn new(options: &CaspaxosOptions) -> Bench {
        let replica = |me| {
            let (cluster, options) = (Cluster::of(3), options.clone());
            let core = Caspaxos::recover(NodeId(me), cluster, options, std::iter::empty());
            Replica { core, effects: Effects::default(), durable: WriteId(0) }
        };
        let mut bench = Bench {
            replicas: (0..3).map(replica).collect(),
            flying: VecDeque::new(),
            cut: None,
            answers: Vec::new(),
            sent: Vec::new(),
            asked: 0,
        };
        (0..3).for_each(|node| bench.step(node, Input::Started));
        bench
    }

    fn step(&mut self, node: usize, input: Input<Caspaxos>) {
        let Replica { core, effects, .. } = &mut self.replicas[node];
        core.step(Time(0), input, effects);
        loop {
            let Replica { core, effects, .. } = &mut self.replicas[node];
            core.step(Time(0), Input::TurnEnded, effects);
            let effects: Vec<_> = effects.drain().collect();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.effect(node, effect);
            }
            let Replica { core, effects, durable } = &mut self.replicas[node];
            core.step(Time(0), Input::Durable(*durable), effects);
        }
    }

    fn effect(&mut self, node: usize, effect: Effect<Caspaxos>) {
        match effect {
            Effect::Persist { id, .. } => self.replicas[node].durable = id,
            Effect::Answer { id, outcome } => self.answers.push((id, outcome)),
            Effect::Send { to, message, .. } => {
                let mut framed = BytesMut::new();
                frame(&mut framed, |out| message.encode(out));
                assert!(framed.len() <= MESSAGE_BYTES_MAX, "{} bytes: {message}", framed.len());
                let framed = framed.freeze();
                for receiver in (0..3).filter(|n| to.includes(NodeId(node as u8), NodeId(*n as u8)))
                {
                    let (kind, frame) = (message.kind(), framed.clone());
                    self.sent.push(kind);
                    self.flying.push_back(Flying { from: node, to: receiver, kind, frame });
                }
            }
            _ => {}
        }
    }

    fn next(&mut self) -> Option<Flying> {
        let cut = self.cut;
        loop {
            let flying = self.flying.pop_front()?;
            if cut != Some(flying.from) && cut != Some(flying.to) {
                return Some(flying);
            }
        }
    }

    fn arrive(&mut self, flying: &Flying) {
        let body = first_frame(&flying.frame, FRAME_BYTES_MAX).unwrap().expect("it is whole");
        let message = CaspaxosMessage::decode_whole(body).unwrap();
        let from = NodeId(flying.from as u8);
        self.step(flying.to, Input::Message { from, message });
    }

    /// In one turn a replica is asked for this of every register, each by another client; says what it answers.
    fn turn(&mut self, node: usize, operation: impl Fn(u64) -> Operation) -> Vec<Outcome> {
        self.ask(node, operation);
        let mut outcomes = self.settle();
        if outcomes.is_empty() {
            // Its first ballots were too low.
            self.step(node, Input::Timer(CaspaxosTimer::Backoff));
            outcomes = self.settle();
        }
        outcomes
    }

    fn ask(&mut self, node: usize, operation: impl Fn(u64) -> Operation) {
        self.sent.clear();
        let command = |register| {
            let id = CommandId { client: ClientId(self.asked + register), sequence: 0 };
            Command { id, answered_below: 0, operation: operation(register) }
        };
        let commands = (0..REGISTERS).map(command).collect();
        self.asked += REGISTERS;
        self.step(node, Input::Requests(commands));
    }

    /// All that is on its way arrives.
    fn settle(&mut self) -> Vec<Outcome> {
        while let Some(flying) = self.next() {
            self.arrive(&flying);
        }
        self.answers.sort_by_key(|(id, _)| id.client);
        std::mem::take(&mut self.answers).into_iter().map(|(_, outcome)| outcome).collect()
    }

    fn sent(&self, kind: &str) -> usize {
        self.sent.iter().filter(|sent| **sent == kind).count()
    }
}

fn put(round: u64) -> impl Fn(u64) -> Operation {
    move |register| Operation::Put { key: Key::register(register), value: value(register, round) }
}

fn get(register: u64) -> Operation {
    Operation::Get { key: Key::register(register) }
}

fn all_found(round: u64) -> Vec<Outcome> {
    (0..REGISTERS).map(|register| Outcome::Found(Some(value(register, round)))).collect()
}

#[test]
fn a_turn_that_writes_more_than_a_frame_holds_is_several_messages() {
    let mut bench = Bench::new(&CaspaxosOptions::default());
    let done = vec![Outcome::Done; REGISTERS as usize];
    assert_eq!(bench.turn(0, put(1)), done);
    assert_eq!((bench.sent("Prepare"), bench.sent("Accept")), (2, 2 * 16), "what fits is one");
    assert_eq!(bench.turn(0, put(2)), done);
    assert_eq!(bench.sent("Prepare"), 0, "each of them brought the next Prepare");
}

#[test]
fn an_acceptor_that_holds_more_than_a_frame_does_promises_in_parts() {
    let mut bench = Bench::new(&CaspaxosOptions::default());
    bench.turn(0, put(1));
    // p2 knows nothing of this: without p0's promises it would write what is older.
    bench.cut = Some(2);
    bench.turn(0, put(2));
    bench.cut = Some(1);
    assert!(bench.turn(2, get) == all_found(2));
    assert!(bench.sent("Promise") > 8, "{:?}", bench.sent);
}

#[test]
fn an_acceptor_that_holds_more_than_a_frame_does_answers_reads_in_parts() {
    let clean = CaspaxosOptions { reads: Reads::Clean, ..CaspaxosOptions::default() };
    let mut bench = Bench::new(&clean);
    bench.cut = Some(2);
    bench.turn(0, put(1));
    bench.cut = None;
    // p0 and p1 agree, and p2 must hear of every part of both, or of all that it wrote itself.
    assert!(bench.turn(2, get) == all_found(1));
    assert_eq!(bench.sent("Prepare"), 0, "nobody writes, so they agree");
    assert!(bench.sent("ReadOk") > 8, "{:?}", bench.sent);
}

#[test]
fn a_part_of_an_answer_that_is_lost_is_asked_for_again() {
    let mut bench = Bench::new(&CaspaxosOptions::default());
    bench.turn(0, put(1));
    bench.cut = Some(1);
    bench.ask(2, get);
    assert!(bench.settle().is_empty(), "its first ballots are too low");
    bench.step(2, Input::Timer(CaspaxosTimer::Backoff));
    let mut promises = 0;
    while let Some(flying) = bench.next() {
        promises += usize::from(flying.kind == "Promise");
        if flying.kind != "Promise" || promises != 3 {
            bench.arrive(&flying);
        }
    }
    assert!(promises > 8);
    let early = std::mem::take(&mut bench.answers).len();
    assert!(
        early < REGISTERS as usize / 2,
        "{early}: what comes after the third part is not taken"
    );
    let Replica { core, effects, .. } = &mut bench.replicas[2];
    core.step(Time(1_000_000_000), Input::Timer(CaspaxosTimer::Resend), effects);
    bench.step(2, Input::Timer(CaspaxosTimer::Backoff));
    assert_eq!(early + bench.settle().len(), REGISTERS as usize);
}
