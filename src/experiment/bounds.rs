//! The least latency that a network allows: what its round-trip times and a mode's quorums would
//! cost if computing were free.
//!
//! A client asks the replica at its own site. `kth(k, S)` is the k-th smallest of S; a majority of N
//! replicas has M = N/2 + 1, the sender's own answer, which takes no time, included.

use super::network::Matrix;
use crate::cluster::ProtocolChoice;
use crate::load::workload::Kind;
use crate::protocol::caspaxos::options::{CaspaxosOptions, Reads};
use crate::protocol::epaxos::options::EpaxosOptions;
use crate::protocol::multicoordinated::options::{MulticoordinatedOptions, QuorumSizes, Rounds};
use crate::protocol::paxos::{PaxosOptions, Variant};
use crate::protocol::quorum::majority;

/// The least latency of an operation asked for at `site`, in ms. Sites are counted in the order of
/// the matrix, which has one replica at each.
pub fn bound_ms(protocol: &ProtocolChoice, matrix: &Matrix, site: usize, kind: Kind) -> f64 {
    let command_ms = |is_read: bool| match protocol {
        ProtocolChoice::Paxos(options) => paxos_ms(options, matrix, site),
        ProtocolChoice::Epaxos(options) => epaxos_ms(options, matrix, site),
        ProtocolChoice::Multicoordinated(options) => multicoordinated_ms(options, matrix, site),
        ProtocolChoice::Caspaxos(options) => caspaxos_ms(options, matrix, site, is_read),
    };
    match kind {
        Kind::Increment => command_ms(true) + command_ms(false),
        _ => command_ms(kind == Kind::Get),
    }
}

/// The site asks the leader L, L asks a majority, L answers: `RTT(i,L) + kth(M, {RTT(L,r)})`, with a
/// second round to a majority when each instance is read before it is written.
fn paxos_ms(options: &PaxosOptions, matrix: &Matrix, site: usize) -> f64 {
    let leader = usize::from(options.leader);
    let quorum_ms = kth(majority(matrix.sites.len()), &matrix.rtt_ms[leader]);
    let rounds = match options.variant {
        Variant::Multi | Variant::Fall => 1.0,
        Variant::Regular => 2.0,
    };
    matrix.rtt_ms(site, leader) + rounds * quorum_ms
}

/// The fast path: the site's own replica i proposes, and a fast quorum of Q answers:
/// `kth(Q, {RTT(i,r)})`. Nothing is faster, as its owner waits for so many, whatever they say.
fn epaxos_ms(options: &EpaxosOptions, matrix: &Matrix, site: usize) -> f64 {
    kth(options.fast_path.quorum(matrix.sites.len()), &matrix.rtt_ms[site])
}

/// The site's own replica i proposes and learns. In fast rounds it asks the acceptors, of which a fast quorum of E
/// answers: `kth(E, {RTT(i,a)})`. Else it asks the coordinators, and acceptor a accepts once it has heard from C of
/// them, after `t(a) = kth(C, {owd(i,c) + owd(c,a)})`; i learns from a classic quorum: `kth(M, {t(a) + owd(a,i)})`.
/// In single-coordinated rounds the leader is the only coordinator.
///
/// Where `balance` sends a command to one coordinator quorum and one acceptor quorum, chosen by its key, the bound
/// is that of the best quorums all the same: most commands go to others, and take longer.
fn multicoordinated_ms(options: &MulticoordinatedOptions, matrix: &Matrix, site: usize) -> f64 {
    let replicas = 0..matrix.sites.len();
    let QuorumSizes { classic, fast } = options.quorums(replicas.len());
    let coordinators: Vec<usize> = match options.rounds {
        Rounds::Fast => return kth(fast, &matrix.rtt_ms[site]),
        Rounds::Single => vec![usize::from(options.leader)],
        Rounds::Multi if options.coordinators.is_empty() => replicas.clone().collect(),
        Rounds::Multi => options.coordinators.iter().copied().map(usize::from).collect(),
    };
    let owd_ms = |a, b| matrix.rtt_ms(a, b) / 2.0;
    let accepted_ms = |acceptor| {
        let by = |c: &usize| owd_ms(site, *c) + owd_ms(*c, acceptor);
        kth(majority(coordinators.len()), &coordinators.iter().map(by).collect::<Vec<_>>())
    };
    let learned_ms = |acceptor| accepted_ms(acceptor) + owd_ms(acceptor, site);
    kth(classic, &replicas.map(learned_ms).collect::<Vec<_>>())
}

/// The site's own replica i writes with an accept quorum of A: `kth(A, {RTT(i,a)})`, if it wrote the key last.
/// Who shares keys with other sites pays a prepare quorum before that, as all do without the single round trip;
/// nobody can do with less. A clean read needs one of every accept quorum, and an accept quorum that agrees.
fn caspaxos_ms(options: &CaspaxosOptions, matrix: &Matrix, site: usize, is_read: bool) -> f64 {
    let (prepare, accept) = options.quorums(matrix.sites.len());
    let quorum_ms = |size| kth(size, &matrix.rtt_ms[site]);
    match options.reads {
        Reads::Clean if is_read => quorum_ms(prepare.max(accept)),
        _ if options.one_round_trip => quorum_ms(accept),
        _ => quorum_ms(prepare) + quorum_ms(accept),
    }
}

/// The `k`-th smallest of `values`, counted from 1.
fn kth(k: usize, values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[k - 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::epaxos::options::FastPath;

    const SITES: [&str; 5] = ["virginia", "california", "oregon", "tokyo", "ireland"];

    fn aws_2020() -> Matrix {
        Matrix {
            source: "fantoch, 2020-06-05".to_owned(),
            sites: SITES.map(str::to_owned).to_vec(),
            rtt_ms: vec![
                vec![0.0, 60.0, 73.0, 152.0, 71.0],
                vec![60.0, 0.0, 21.0, 112.0, 141.0],
                vec![73.0, 21.0, 0.0, 101.0, 127.0],
                vec![152.0, 112.0, 101.0, 0.0, 204.0],
                vec![71.0, 141.0, 127.0, 204.0, 0.0],
            ],
        }
    }

    fn bounds_ms(variant: Variant, leader: u8) -> Vec<f64> {
        let protocol =
            ProtocolChoice::Paxos(PaxosOptions { variant, leader, ..PaxosOptions::default() });
        (0..SITES.len()).map(|site| bound_ms(&protocol, &aws_2020(), site, Kind::Put)).collect()
    }

    // From Virginia the answers come after 0 (itself), 60 (CA), 71 (IE), 73 (OR), 152 (JP): the
    // third of five after 71. The way to Virginia and back comes before and after:
    //   VA 0 + 71 = 71, CA 60 + 71 = 131, OR 73 + 71 = 144, JP 152 + 71 = 223, IE 71 + 71 = 142.
    #[test]
    fn paxos_led_from_virginia_is_bounded_by_the_way_to_the_leader_and_its_third_answer() {
        let expected = [71.0, 131.0, 144.0, 223.0, 142.0];
        assert_eq!(bounds_ms(Variant::Multi, 0), expected);
        assert_eq!(bounds_ms(Variant::Fall, 0), expected);
    }

    // One more round of 71: VA 142, CA 202, OR 215, JP 294, IE 213.
    #[test]
    fn the_regular_variant_pays_a_second_round_to_the_majority() {
        assert_eq!(bounds_ms(Variant::Regular, 0), [142.0, 202.0, 215.0, 294.0, 213.0]);
    }

    // From Tokyo: 0, 101 (OR), 112 (CA), 152 (VA), 204 (IE); the third is 112.
    //   VA 152 + 112 = 264, CA 112 + 112 = 224, OR 101 + 112 = 213, JP 112, IE 204 + 112 = 316.
    #[test]
    fn the_bound_moves_with_the_leader() {
        assert_eq!(bounds_ms(Variant::Multi, 3), [264.0, 224.0, 213.0, 112.0, 316.0]);
    }

    // The seed paper's network: West US 2, West Central US, Southeast Asia; led from Southeast Asia.
    // Its answers: 0, 171.4, 191.5; two of three after 171.4. West US 2: 171.4 + 171.4 = 342.8;
    // West Central US: 191.5 + 171.4 = 362.9; Southeast Asia: 171.4.
    #[test]
    fn three_azure_sites_led_from_asia_have_the_published_bounds() {
        let options = PaxosOptions { leader: 2, ..PaxosOptions::default() };
        are_bounds(&ProtocolChoice::Paxos(options), Kind::Put, [342.8, 362.9, 171.4]);
    }

    fn azure() -> Matrix {
        Matrix {
            source: String::new(),
            sites: ["west-us-2", "west-central-us", "southeast-asia"].map(str::to_owned).to_vec(),
            rtt_ms: vec![vec![0.0, 23.7, 171.4], vec![23.7, 0.0, 191.5], vec![171.4, 191.5, 0.0]],
        }
    }

    /// Whether these are the bounds of a kind of operation at the three Azure sites.
    fn are_bounds(protocol: &ProtocolChoice, kind: Kind, expected: [f64; 3]) {
        for (site, expected) in expected.into_iter().enumerate() {
            let ms = bound_ms(protocol, &azure(), site, kind);
            assert!((ms - expected).abs() < 1e-9, "{protocol:?}, {kind:?} at {site}: {ms}");
        }
    }

    fn caspaxos(prepare: u8, accept: u8, one_round_trip: bool, reads: Reads) -> ProtocolChoice {
        let usual = CaspaxosOptions::default();
        let options = CaspaxosOptions { prepare, accept, one_round_trip, reads, ..usual };
        ProtocolChoice::Caspaxos(options)
    }

    // Two of three: the nearest other. So a read, an increment and a write back, two operations, are the
    // published rules' 47.4, 47.4 and 342.8.
    #[test]
    fn caspaxos_at_three_azure_sites_is_bounded_by_the_nearest_other() {
        let usual = ProtocolChoice::Caspaxos(CaspaxosOptions::default());
        for kind in [Kind::Get, Kind::Put, Kind::Cas, Kind::Rmw, Kind::Delete] {
            are_bounds(&usual, kind, [23.7, 23.7, 171.4]);
        }
        are_bounds(&usual, Kind::Increment, [47.4, 47.4, 342.8]);
        are_bounds(&caspaxos(0, 0, true, Reads::Clean), Kind::Get, [23.7, 23.7, 171.4]);
    }

    #[test]
    fn caspaxos_without_its_single_round_trip_pays_both_quorums_but_for_clean_reads() {
        let two = [47.4, 47.4, 342.8];
        are_bounds(&caspaxos(0, 0, false, Reads::Change), Kind::Get, two);
        are_bounds(&caspaxos(0, 0, false, Reads::Change), Kind::Put, two);
        are_bounds(&caspaxos(0, 0, false, Reads::Clean), Kind::Put, two);
        are_bounds(&caspaxos(0, 0, false, Reads::Clean), Kind::Get, [23.7, 23.7, 171.4]);
        are_bounds(&caspaxos(0, 0, false, Reads::Clean), Kind::Increment, [71.1, 71.1, 514.2]);
    }

    // Accepted by one alone, at once, and prepared by all, after 171.4, 191.5 and 191.5.
    #[test]
    fn caspaxos_waits_for_the_quorums_that_the_file_chooses() {
        let all = [171.4, 191.5, 191.5];
        are_bounds(&caspaxos(3, 1, true, Reads::Change), Kind::Put, [0.0; 3]);
        are_bounds(&caspaxos(1, 3, true, Reads::Change), Kind::Put, all);
        for sizes in [(3, 1), (1, 3)] {
            are_bounds(&caspaxos(sizes.0, sizes.1, false, Reads::Change), Kind::Put, all);
            are_bounds(&caspaxos(sizes.0, sizes.1, true, Reads::Clean), Kind::Get, all);
        }
    }

    fn fast_ms(fast_path: FastPath, matrix: &Matrix) -> Vec<f64> {
        let options = EpaxosOptions { fast_path, ..EpaxosOptions::default() };
        let protocol = ProtocolChoice::Epaxos(options);
        (0..matrix.sites.len()).map(|site| bound_ms(&protocol, matrix, site, Kind::Put)).collect()
    }

    // Of five the fast quorum is three, so the third answer counts, one's own included:
    //   VA 0, 60, 71; CA 0, 21, 60; OR 0, 21, 73; JP 0, 101, 112; IE 0, 71, 127.
    #[test]
    fn epaxos_at_five_sites_is_bounded_by_the_third_answer_to_each() {
        for fast_path in [FastPath::Published, FastPath::FixedQuorum, FastPath::AcceptDeps] {
            assert_eq!(fast_ms(fast_path, &aws_2020()), [71.0, 60.0, 73.0, 112.0, 127.0]);
        }
    }

    // All but one answer, so the fourth of five counts:
    //   VA 0, 60, 71, 73; CA 0, 21, 60, 112; OR 0, 21, 73, 101; JP 0, 101, 112, 152; IE 0, 71, 127, 141.
    #[test]
    fn simplified_epaxos_waits_for_all_but_one() {
        let expected = [73.0, 112.0, 101.0, 152.0, 141.0];
        assert_eq!(fast_ms(FastPath::Simplified, &aws_2020()), expected);
    }

    // Of three the nearest other suffices: VA 60 (CA), CA 21 (OR), OR 21 (CA).
    #[test]
    fn epaxos_at_three_sites_is_bounded_by_the_nearest_other() {
        let matrix = aws_2020().of_sites(&SITES.map(str::to_owned)[..3]).unwrap();
        for fast_path in [FastPath::FixedQuorum, FastPath::Simplified] {
            assert_eq!(fast_ms(fast_path, &matrix), [60.0, 21.0, 21.0]);
        }
    }

    // Sites in a row, 10 ms from one to the next. Of seven the fifth answer counts, such as the last of
    // 0, 10, 20, 30, 40 at an end and of 0, 10, 10, 20, 20 in the middle. Of nine the sixth: 0, 10, 20,
    // 30, 40, 50 at an end, 0, 10, 10, 20, 20, 30 in the middle.
    #[test]
    fn epaxos_at_seven_and_nine_sites_waits_for_five_and_six() {
        let in_a_row = |sites: u8| {
            let rtt = |a: u8, b: u8| f64::from(a.abs_diff(b)) * 10.0;
            let matrix = Matrix {
                source: String::new(),
                sites: (0..sites).map(|n| n.to_string()).collect(),
                rtt_ms: (0..sites).map(|a| (0..sites).map(|b| rtt(a, b)).collect()).collect(),
            };
            fast_ms(FastPath::Published, &matrix)
        };
        assert_eq!(in_a_row(7), [40.0, 30.0, 20.0, 20.0, 20.0, 30.0, 40.0]);
        assert_eq!(in_a_row(9), [50.0, 40.0, 30.0, 30.0, 30.0, 30.0, 30.0, 40.0, 50.0]);
    }

    fn multicoordinated_ms(options: MulticoordinatedOptions) -> Vec<f64> {
        let protocol = ProtocolChoice::Multicoordinated(options);
        (0..SITES.len()).map(|site| bound_ms(&protocol, &aws_2020(), site, Kind::Put)).collect()
    }

    fn rounds(rounds: Rounds) -> MulticoordinatedOptions {
        MulticoordinatedOptions { rounds, ..MulticoordinatedOptions::default() }
    }

    // The fast quorum of five is four:
    //   VA 0, 60, 71, 73; CA 0, 21, 60, 112; OR 0, 21, 73, 101; JP 0, 101, 112, 152; IE 0, 71, 127, 141.
    // Five of five are all: VA 152, CA 141, OR 127, JP 204, IE 204.
    #[test]
    fn fast_rounds_are_bounded_by_a_fast_quorum_of_answers() {
        assert_eq!(multicoordinated_ms(rounds(Rounds::Fast)), [73.0, 112.0, 101.0, 152.0, 141.0]);
        let all = MulticoordinatedOptions { fast: 5, ..rounds(Rounds::Fast) };
        assert_eq!(multicoordinated_ms(all), [152.0, 141.0, 127.0, 204.0, 204.0]);
    }

    // One way from Virginia to VA, CA, OR, JP, IE: 0, 30, 36.5, 76, 35.5. So a site hears from the five acceptors
    // after its way to Virginia and, third of five last:
    //   VA  0   + (0, 60, 73, 152, 71)              = 71
    //   CA 30   + (30, 30, 36.5 + 10.5, 132, 106)   = 77
    //   OR 36.5 + (36.5, 30 + 10.5, 36.5, 126.5, 99) = 77
    //   JP 76   + (76, 30 + 56, 87, 76, 137.5)      = 162
    //   IE 35.5 + (35.5, 100.5, 36.5 + 63.5, 178, 35.5) = 135.5
    // Four of five: VA 73, CA 30 + 106 = 136, OR 36.5 + 99 = 135.5, JP 76 + 87 = 163, IE 35.5 + 100.5 = 136.
    #[test]
    fn single_coordinated_rounds_take_three_message_delays() {
        let single = rounds(Rounds::Single);
        assert_eq!(multicoordinated_ms(single.clone()), [71.0, 77.0, 77.0, 162.0, 135.5]);
        let four = MulticoordinatedOptions { classic: 4, ..single };
        assert_eq!(multicoordinated_ms(four), [73.0, 136.0, 135.5, 163.0, 136.0]);
    }

    // Three of the five coordinators. Asked by Virginia, an acceptor has heard from them, by way of
    // VA, CA, OR, JP, IE, after
    //   VA (0, 60, 73, 152, 71) 71; CA (30, 30, 47, 132, 106) 47; OR (36.5, 40.5, 36.5, 126.5, 99) 40.5;
    //   JP (76, 86, 87, 76, 137.5) 86; IE (35.5, 100.5, 100, 178, 35.5) 100
    // and Virginia from the acceptors after 71, 47 + 30, 40.5 + 36.5, 86 + 76, 100 + 35.5: the third is 77. By others:
    //   CA at 47, 60, 66.5, 61, 70.5:    77, 60, 77, 117, 141
    //   OR at 40.5, 66.5, 73, 66.5, 72:  77, 77, 73, 117, 135.5
    //   JP at 86, 61, 66.5, 112, 111.5:  162, 117, 117, 112, 213.5
    //   IE at 100, 70.5, 72, 111.5, 127: 135.5, 141, 135.5, 213.5, 127
    #[test]
    fn multicoordinated_rounds_wait_for_a_coordinator_quorum_at_each_acceptor() {
        let all = rounds(Rounds::Multi);
        assert_eq!(multicoordinated_ms(all.clone()), [77.0, 77.0, 77.0, 117.0, 135.5]);
        let named = MulticoordinatedOptions { coordinators: vec![4, 0, 3, 1, 2], ..all };
        assert_eq!(multicoordinated_ms(named.clone()), [77.0, 77.0, 77.0, 117.0, 135.5]);
        let balanced = MulticoordinatedOptions { balance: true, ..named };
        assert_eq!(multicoordinated_ms(balanced), [77.0, 77.0, 77.0, 117.0, 135.5]);
    }

    // Two of VA, CA and OR. Asked by Virginia, VA has heard from two of them after (0, 60, 73) 60,
    // CA after (30, 30, 47) 30, OR after (36.5, 40.5, 36.5) 36.5, JP (76, 86, 87) 86, IE (35.5, 100.5, 100) 100:
    // Virginia hears after 60, 60, 73, 162, 135.5. By others:
    //   CA at 30, 21, 10.5, 61, 70.5:    60, 21, 21, 117, 141
    //   OR at 36.5, 10.5, 21, 66.5, 72:  73, 21, 21, 117, 135.5
    //   JP at 86, 61, 66.5, 112, 114:    162, 117, 117, 112, 216
    //   IE at 100, 70.5, 72, 114, 127:   135.5, 141, 135.5, 216, 127
    // A single one of them is the leader of single-coordinated rounds.
    #[test]
    fn the_bound_moves_with_the_coordinators() {
        let three =
            MulticoordinatedOptions { coordinators: vec![0, 1, 2], ..rounds(Rounds::Multi) };
        assert_eq!(multicoordinated_ms(three.clone()), [73.0, 60.0, 73.0, 117.0, 135.5]);
        let one = MulticoordinatedOptions { coordinators: vec![3], ..three };
        let led = MulticoordinatedOptions { leader: 3, ..rounds(Rounds::Single) };
        assert_eq!(multicoordinated_ms(one), multicoordinated_ms(led));
    }

    #[test]
    fn a_single_replica_is_bounded_by_nothing() {
        let matrix =
            Matrix { source: String::new(), sites: vec!["a".to_owned()], rtt_ms: vec![vec![0.0]] };
        let protocol = ProtocolChoice::Paxos(PaxosOptions::default());
        assert!(bound_ms(&protocol, &matrix, 0, Kind::Put).abs() < f64::EPSILON);
    }
}
