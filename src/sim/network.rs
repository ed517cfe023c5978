//! The simulated network: when each copy of what is sent arrives, if any does.
//!
//! Two manners. As *streams*, what the replicas really use: everything arrives, in the order sent
//! within a lane; a lost packet is sent again and holds up what follows it in its lane; what stays at
//! its place meets no network. As *datagrams*, what the contract with the cores allows
//! ([`crate::protocol`]): anything may be lost, duplicated, delayed or reordered.

use rand::RngExt;
use smallvec::SmallVec;

use crate::load::seed::{ClientRng, generator};

/// Parts of a round trip after which QUIC takes a packet for lost (RFC 9002 §6.1.2: 9/8).
const LOSS_DETECTED_AFTER: f64 = 9.0 / 8.0;

/// A message that overtakes is early by up to this part of the time one way, or by this much: as the
/// shaper does it.
const OVERTAKE_PART: u64 = 4;
const OVERTAKE_NS_MIN: u64 = 1_000_000;

/// What the ways between hosts are like.
#[derive(Clone, PartialEq, Debug)]
pub struct NetworkPlan {
    /// The time one way between two places, in ns: `one_way_ns[from][to]`.
    pub one_way_ns: Vec<Vec<u64>>,
    /// What is added to it for each message, drawn evenly up to this, in ns.
    pub jitter_ns: u64,
    /// The share of messages lost, 0 to 1.
    pub loss: f64,
    /// The share of messages sent early by up to a quarter of that time or 1 ms, so that they
    /// overtake, 0 to 1.
    pub reorder: f64,
    /// Each way's rate in bits a second; none for no limit.
    pub bandwidth_bps: Option<u64>,
    /// What becomes of what is lost.
    pub manner: Manner,
}

/// What the network promises.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Manner {
    /// Ordered lanes; nothing is lost for good.
    Streams {
        /// Lanes between two hosts.
        lanes: u64,
    },
    /// Nothing.
    Datagrams {
        /// The share of messages that arrive twice, 0 to 1.
        duplicates: f64,
        /// The share of messages that take up to 20 times as long, 0 to 1.
        stragglers: f64,
    },
}

/// How many times the usual delay a straggler takes, at most.
const STRAGGLERS_TAKE: u64 = 20;

/// When the copies of a message arrive, in ns.
pub(super) type Arrivals = SmallVec<[u64; 2]>;

/// One way between two hosts.
#[derive(Clone, Debug)]
struct Way {
    /// Whether both ends are at one place.
    is_local: bool,
    one_way_ns: u64,
    rng: ClientRng,
    busy_until_ns: u64,
    /// When the last message of each lane arrives.
    last_ns: Vec<u64>,
}

/// All ways. Hosts are the replicas, then the sites' load generators.
#[derive(Clone, Debug)]
pub(super) struct Network {
    plan: NetworkPlan,
    hosts: usize,
    ways: Vec<Way>,
}

impl Network {
    /// `places` says where each host is. Each way draws its own random numbers, so that what happens
    /// on one does not depend on the others.
    pub(super) fn new(plan: NetworkPlan, places: &[usize], seed: u64) -> Self {
        let hosts = places.len();
        let lanes = match plan.manner {
            Manner::Streams { lanes } => lanes as usize,
            Manner::Datagrams { .. } => 0,
        };
        let way = |index: usize| {
            let (from, to) = (places[index / hosts], places[index % hosts]);
            Way {
                is_local: from == to,
                one_way_ns: plan.one_way_ns[from][to],
                rng: generator(seed, index as u64),
                busy_until_ns: 0,
                last_ns: vec![0; lanes],
            }
        };
        Network { ways: (0..hosts * hosts).map(way).collect(), hosts, plan }
    }

    /// How the network is meant to be.
    pub(super) fn plan_mut(&mut self) -> &mut NetworkPlan {
        &mut self.plan
    }

    /// When the copies of a message of `bytes` that leaves now arrive.
    pub(super) fn send(
        &mut self,
        now_ns: u64,
        (from, to): (usize, usize),
        lane: u64,
        bytes: usize,
    ) -> Arrivals {
        let back_ns = self.ways[to * self.hosts + from].one_way_ns;
        let way = &mut self.ways[from * self.hosts + to];
        let plan = &self.plan;
        // Nor does the shaper touch what stays at its place.
        if way.is_local && matches!(plan.manner, Manner::Streams { .. }) {
            return SmallVec::from_slice(&[now_ns + way.one_way_ns]);
        }
        let left_ns = way.transmit(now_ns, bytes, plan.bandwidth_bps);
        match plan.manner {
            Manner::Streams { lanes } => {
                let rtt_ns = (way.one_way_ns + back_ns) as f64;
                let mut due_ns = left_ns + way.travel(plan);
                while way.chance(plan.loss) {
                    due_ns += (rtt_ns * LOSS_DETECTED_AFTER) as u64;
                }
                let last_ns = &mut way.last_ns[(lane % lanes) as usize];
                *last_ns = due_ns.max(*last_ns);
                SmallVec::from_slice(&[*last_ns])
            }
            Manner::Datagrams { duplicates, stragglers } => {
                let copies = 1 + usize::from(way.chance(duplicates));
                let mut arrivals = Arrivals::new();
                for _ in 0..copies {
                    let mut delay_ns = way.travel(plan);
                    if way.chance(stragglers) {
                        delay_ns += way.rng.random_range(0..=delay_ns * STRAGGLERS_TAKE);
                    }
                    if !way.chance(plan.loss) {
                        arrivals.push(left_ns + delay_ns);
                    }
                }
                arrivals
            }
        }
    }
}

impl Way {
    fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.rng.random::<f64>() < share
    }

    /// How long a message is on its way.
    fn travel(&mut self, plan: &NetworkPlan) -> u64 {
        let most_ns = (self.one_way_ns / OVERTAKE_PART).max(OVERTAKE_NS_MIN);
        let early_ns =
            if self.chance(plan.reorder) { self.rng.random_range(0..=most_ns) } else { 0 };
        let jitter_ns =
            if plan.jitter_ns == 0 { 0 } else { self.rng.random_range(0..=plan.jitter_ns) };
        self.one_way_ns.saturating_sub(early_ns) + jitter_ns
    }

    /// When the last bit of a message leaves.
    fn transmit(&mut self, now_ns: u64, bytes: usize, bandwidth_bps: Option<u64>) -> u64 {
        let Some(bits_per_s) = bandwidth_bps else { return now_ns };
        let takes_ns = bytes as u128 * 8 * 1_000_000_000 / u128::from(bits_per_s);
        self.busy_until_ns = self.busy_until_ns.max(now_ns) + takes_ns as u64;
        self.busy_until_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn plan(manner: Manner) -> NetworkPlan {
        NetworkPlan {
            one_way_ns: vec![vec![0, 10 * MS], vec![10 * MS, 0]],
            jitter_ns: 0,
            loss: 0.0,
            reorder: 0.0,
            bandwidth_bps: None,
            manner,
        }
    }

    const STREAMS: Manner = Manner::Streams { lanes: 2 };

    #[test]
    fn a_message_takes_the_time_one_way_and_none_at_its_own_place() {
        let mut network = Network::new(plan(STREAMS), &[0, 1, 0], 7);
        assert_eq!(network.send(5, (0, 1), 0, 100).as_slice(), [10 * MS + 5]);
        assert_eq!(network.send(5, (0, 2), 0, 100).as_slice(), [5]);
    }

    #[test]
    fn a_stream_at_its_own_place_meets_neither_jitter_nor_loss_nor_a_narrow_way() {
        let plan = NetworkPlan {
            jitter_ns: 8 * MS,
            loss: 0.5,
            bandwidth_bps: Some(1000),
            ..plan(STREAMS)
        };
        let mut network = Network::new(plan, &[0, 1, 0], 7);
        for now_ns in 0..100 {
            assert_eq!(network.send(now_ns, (0, 2), 0, 100).as_slice(), [now_ns]);
        }
        assert!(network.send(5, (0, 1), 0, 100)[0] > 800 * MS);
    }

    #[test]
    fn who_overtakes_is_early_by_a_quarter_at_most() {
        let early = NetworkPlan { reorder: 0.5, ..plan(STREAMS) };
        let mut network = Network::new(early, &[0, 1], 7);
        let due: Vec<u64> = (0..1000).map(|at| network.send(at * MS, (0, 1), at, 1)[0]).collect();
        let took = due.iter().zip(0..).map(|(due, at)| due - at * MS).collect::<Vec<_>>();
        assert!(took.iter().all(|took| (7 * MS + MS / 2..=10 * MS).contains(took)));
        assert!(took.iter().any(|took| *took < 8 * MS));
    }

    #[test]
    fn a_lost_packet_holds_up_its_own_lane_only_and_arrives_in_the_end() {
        let lossy = NetworkPlan { loss: 0.2, ..plan(STREAMS) };
        let mut network = Network::new(lossy, &[0, 1], 7);
        let mut due = [Vec::new(), Vec::new()];
        for now in 0..1000 {
            due[(now % 2) as usize].push(network.send(now, (0, 1), now, 1)[0]);
        }
        assert!(due.iter().all(|lane| lane.is_sorted()), "in order within a lane");
        let all: Vec<u64> = due.concat();
        assert!(!all.is_sorted(), "not across lanes");
        assert!(all.iter().all(|at| *at >= 10 * MS) && all.iter().any(|at| *at > 32 * MS));
    }

    #[test]
    fn a_rate_spaces_messages_by_their_bytes() {
        let narrow = NetworkPlan { bandwidth_bps: Some(8_000_000), ..plan(STREAMS) };
        let mut network = Network::new(narrow, &[0, 1], 7);
        assert_eq!(network.send(0, (0, 1), 0, 1000).as_slice(), [11 * MS]);
        assert_eq!(network.send(0, (0, 1), 0, 1000).as_slice(), [12 * MS]);
    }

    #[test]
    fn datagrams_are_lost_doubled_and_late_about_as_often_as_said() {
        let manner = Manner::Datagrams { duplicates: 0.1, stragglers: 0.1 };
        let wild = NetworkPlan { loss: 0.2, jitter_ns: MS, ..plan(manner) };
        let mut network = Network::new(wild, &[0, 1], 7);
        let sent: Vec<Arrivals> = (0..10_000).map(|_| network.send(0, (0, 1), 0, 1)).collect();
        let share = |wanted: &dyn Fn(&Arrivals) -> bool| {
            sent.iter().filter(|arrivals| wanted(arrivals)).count() as f64 / 10_000.0
        };
        assert!((share(&|a| a.is_empty()) - 0.184).abs() < 0.02);
        assert!((share(&|a| a.len() == 2) - 0.064).abs() < 0.01);
        assert!((share(&|a| a.iter().any(|at| *at > 12 * MS)) - 0.085).abs() < 0.02);
    }
}
