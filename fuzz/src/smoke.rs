//! Feeds every target with damaged encodings and with noise, from a seed: no corpus, no nightly.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use paxbench::command::{ClientId, Command, CommandId, Key, NodeId, Operation, Outcome, Value};
use paxbench::kv::Store;
use paxbench::protocol::Batch;
use paxbench::protocol::ballot::Round;
use paxbench::protocol::epaxos::deps::{Attributes, Deps};
use paxbench::protocol::epaxos::message::{
    Conflict, EpaxosMessage, ExecutedSet, Initial, InstanceId, Phase, Proposal, Vote,
};
use paxbench::protocol::multicoordinated::message::{
    MulticoordinatedMessage, Progress, Stream, Vote as Vote2b,
};
use paxbench::protocol::multicoordinated::names::{Name, Run};
use paxbench::protocol::multicoordinated::round::{RType, Round as RoundOfMany};
use paxbench::protocol::paxos::ParcelSet;
use paxbench::protocol::paxos::message::{
    Decided, MsgSet, Parcel, ParcelId, PaxosMessage, Written,
};
use paxbench::protocol::quorum::NodeSet;
use paxbench::wire::{Reply, Wire, encode_store};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

type Target = (&'static str, fn(&[u8]), Vec<Vec<u8>>);

fn bytes_of(item: &impl Wire) -> Vec<u8> {
    let mut out = BytesMut::new();
    item.encode(&mut out);
    out.to_vec()
}

fn commands() -> Vec<Command> {
    let value = Value::from_slice(b"a value of more than sixteen bytes");
    let (key, account) = (Key::register(7), Key::account);
    let operations = [
        Operation::Get { key },
        Operation::Delete { key },
        Operation::Put { key, value: value.clone() },
        Operation::Rmw { key, value: Value::new() },
        Operation::Add { key, amount: 3 },
        Operation::Append { key, value: value.clone() },
        Operation::Cas { key, expected: Some(value.clone()), value },
        Operation::Transfer { from: account(1), to: account(2), amount: 3 },
    ];
    let id = |sequence| CommandId { client: ClientId(9), sequence };
    let numbered = (5..).zip(operations);
    numbered.map(|(n, operation)| Command { id: id(n), answered_below: 5, operation }).collect()
}

fn messages() -> Vec<PaxosMessage> {
    let id = |number| ParcelId { origin: NodeId(1), incarnation: 2, number };
    let parcel = |number| Parcel { id: id(number), commands: Arc::from(commands()) };
    let value: MsgSet = Arc::from([parcel(0), parcel(1)]);
    let (round, instance) = (Round(5), 3);
    let decided = Some(Decided { round, from: 0, below: 3 });
    let written = vec![Written { instance, write: Round(2), value: value.clone() }];
    let set = ParcelSet { incarnation: 2, floor: 4, above: [6, 9].into() };
    vec![
        PaxosMessage::Heartbeat { epoch: 1, next_batch: 2, written_below: 3, hears_majority: true },
        PaxosMessage::Forward(parcel(2)),
        PaxosMessage::Read { round, instance, onwards: true },
        PaxosMessage::AckRead { round: Round(4), instance: 0, next_batch: 3, written },
        PaxosMessage::Write { round, instance, value: value.clone(), decided },
        PaxosMessage::AckWrite { round, instance, permission: true },
        PaxosMessage::Nack { round: Round(4), instance, promised: Round(9) },
        PaxosMessage::Decision(Decided { round, from: 0, below: 2 }),
        PaxosMessage::Lagging { next_batch: 4 },
        PaxosMessage::Update { from: 0, values: vec![value, Arc::from([])] },
        PaxosMessage::State { next_batch: 4, delivered: vec![set; 3] },
    ]
}

fn epaxos_ordering() -> Vec<EpaxosMessage> {
    let id = InstanceId { owner: NodeId(1), number: 300 };
    let (ballot, beyond) = (Round(5), vec![id; 2]);
    let (initial, attributes) = (initial(), initial().attributes);
    let proposal = Some(Proposal::Command(initial.command.clone()));
    let (answer, uncommitted) = (Some(attributes.clone()), beyond.clone());
    vec![
        EpaxosMessage::PreAccept { id, epoch: 0, initial },
        EpaxosMessage::PreAcceptOk { id, epoch: 0, attributes: answer, uncommitted },
        EpaxosMessage::AcceptOk { id, ballot, beyond: beyond.clone() },
        EpaxosMessage::Commit { id, epoch: 2, proposal: None, attributes: attributes.clone() },
        EpaxosMessage::Accept { id, ballot, proposal, attributes, beyond },
    ]
}

fn initial() -> Initial {
    let mut deps = Deps::none(3);
    deps.prefix[0] = 200;
    deps.settled[2] = 9;
    deps.ids = vec![InstanceId { owner: NodeId(2), number: 70_000 }];
    let attributes = Attributes { seq: 3, deps: Arc::new(deps) };
    Initial { command: Arc::from(commands()), attributes, quorum: NodeSet::from_bits(0b11) }
}

fn epaxos_recovery() -> Vec<EpaxosMessage> {
    let id = InstanceId { owner: NodeId(1), number: 300 };
    let (ballot, initial, attributes) = (Round(5), initial(), initial().attributes);
    let (phase, proposal) = (Phase::Accepted, Some(Proposal::Nop));
    let vote = Vote { phase, ballot, proposal, attributes: Some(attributes.clone()) };
    let (conflicts, evidence) = (vec![Conflict { id, committed: true }], initial.quorum);
    let deferred = attributes.clone();
    vec![
        EpaxosMessage::Prepare { id, ballot },
        EpaxosMessage::PrepareOk { id, ballot, vote, initial: Some(initial.clone()) },
        EpaxosMessage::Nack { id, ballot, promised: Some(Round(9)) },
        EpaxosMessage::TentativePreAccept { id, ballot, initial, attributes },
        EpaxosMessage::TentativePreAcceptOk { id, ballot, conflicts },
        EpaxosMessage::Deferred { id, epoch: 0, evidence, attributes: deferred },
    ]
}

fn epaxos_general() -> Vec<EpaxosMessage> {
    let (executed, sent_ns) = (Deps::none(3).prefix, 1 << 40);
    let (forgettable, forgotten) = (executed.clone(), executed.clone());
    let set = ExecutedSet { below: 4, above: vec![6, 900] };
    vec![
        EpaxosMessage::Lagging { executed: executed.clone(), known: executed.clone() },
        EpaxosMessage::Heartbeat { epoch: 0, executed, forgettable, sent_ns },
        EpaxosMessage::HeartbeatOk { sent_ns },
        EpaxosMessage::State { epoch: 1, executed: vec![set; 3], forgotten },
    ]
}

fn runs() -> Vec<Run> {
    let run = |proposer, place, count| {
        let first = Name::first_of_life(1) + place;
        Run { proposer: NodeId(proposer), first, count }
    };
    vec![run(0, 7, 1), run(2, 70_000, 300)]
}

fn multi_round() -> RoundOfMany {
    let coordinators = NodeSet::from_bits(0b101);
    RoundOfMany { major: 1, minor: 300, creator: NodeId(1), kind: RType::Multi, coordinators }
}

fn multicoordinated_of_rounds() -> Vec<MulticoordinatedMessage> {
    let (round, single) = (multi_round(), RoundOfMany::single(1, 2, NodeId(2)));
    let fast = RoundOfMany { kind: RType::Fast, ..round };
    let (instance, base, names, closes) = (300, 9, runs(), true);
    let votes = [round, single].map(|vrnd| Vote2b { instance, vrnd, length: 9 }).to_vec();
    let (start, part, stream) = (2, names.clone(), Stream::Acceptor);
    vec![
        MulticoordinatedMessage::Phase1a { round, instance, onwards: true },
        MulticoordinatedMessage::Phase1b { round, instance, onwards: true, votes },
        MulticoordinatedMessage::Phase2a { round, instance, start, base, names: part, closes },
        MulticoordinatedMessage::Phase2aAny { round: fast, instance },
        MulticoordinatedMessage::Phase2bPrefix { round: single, instance, length: 9 },
        MulticoordinatedMessage::Phase2b { round, instance, base, names, closes },
        MulticoordinatedMessage::TooLow { round: single, instance, rnd: round },
        MulticoordinatedMessage::Want { stream, round, instance, from: 9 },
    ]
}

fn multicoordinated_general() -> Vec<MulticoordinatedMessage> {
    let (instance, first, base, names) = (300, Name::first_of_life(1) + 7, 9, runs());
    let (proposer, commands) = (NodeId(2), Batch::from(commands()));
    let (coordinators, acceptors) = (NodeSet::all(3), NodeSet::from_bits(0b11));
    let (rnd, proposed) = (multi_round(), commands.clone());
    let progress = Progress { instance, rnd, accepted: (rnd, 9), sent: (RoundOfMany::ZERO, 0) };
    let heartbeat = MulticoordinatedMessage::Heartbeat {
        life: 1,
        major: 2,
        hears_majority: true,
        executed_below: 299,
        standing: (rnd, 301),
        open: vec![progress; 2],
    };
    vec![
        MulticoordinatedMessage::Propose {
            instance,
            first,
            commands: proposed,
            coordinators,
            acceptors,
        },
        MulticoordinatedMessage::WantCommands { names: names.clone() },
        MulticoordinatedMessage::Commands { proposer, instance, first, commands },
        heartbeat,
        MulticoordinatedMessage::Lagging { instance, from: 9 },
        MulticoordinatedMessage::Learned { instance, base, names: names.clone(), closes: true },
        MulticoordinatedMessage::State { instance, names },
    ]
}

fn targets() -> [Target; 6] {
    let mut store = Store::default();
    commands().iter().for_each(|command| drop(store.execute(command)));
    let mut state = BytesMut::new();
    encode_store(&store, &mut state);
    let outcomes =
        [Outcome::Done, Outcome::Found(None), Outcome::Balances { moved: true, from: 1, to: 2 }];
    let id = CommandId { client: ClientId(1), sequence: 2 };
    let replies = outcomes.map(|outcome| bytes_of(&Reply { id, outcome })).to_vec();
    let epaxos = [epaxos_ordering(), epaxos_recovery(), epaxos_general()].concat();
    let epaxos = epaxos.iter().map(bytes_of).collect();
    let multicoordinated = [multicoordinated_of_rounds(), multicoordinated_general()].concat();
    let multicoordinated = multicoordinated.iter().map(bytes_of).collect();
    [
        ("epaxos_message", paxbench_fuzz::epaxos_message, epaxos),
        ("multicoordinated_message", paxbench_fuzz::multicoordinated_message, multicoordinated),
        ("peer_message", paxbench_fuzz::peer_message, messages().iter().map(bytes_of).collect()),
        ("command", paxbench_fuzz::command, commands().iter().map(bytes_of).collect()),
        ("reply", paxbench_fuzz::reply, replies),
        ("store_state", paxbench_fuzz::store_state, vec![state.to_vec()]),
    ]
}

/// A sample with some bytes changed, cut off or put in; now and then noise.
fn damaged(rng: &mut StdRng, samples: &[Vec<u8>]) -> Vec<u8> {
    if rng.random_range(0..8) == 0 {
        return (0..rng.random_range(0..200)).map(|_| rng.random()).collect();
    }
    let mut bytes = samples[rng.random_range(0..samples.len())].clone();
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..4) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.random()),
            2 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0xff][rng.random_range(0..4)],
            _ if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            _ => {}
        }
    }
    bytes
}

fn main() {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |text| text.parse());
    let Ok(seconds) = seconds else {
        eprintln!("smoke: want the seconds for each target as a number");
        std::process::exit(2);
    };
    let mut rng = StdRng::seed_from_u64(1);
    for (name, target, samples) in targets() {
        let (start, mut inputs) = (Instant::now(), 0u64);
        while start.elapsed() < Duration::from_secs(seconds) {
            target(&damaged(&mut rng, &samples));
            inputs += 1;
        }
        println!("{name}: {inputs} inputs, no panic");
    }
}
