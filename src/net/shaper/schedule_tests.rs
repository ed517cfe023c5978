use super::*;

const MS: u64 = 1_000_000;

fn there() -> SocketAddr {
    "10.0.0.1:7000".parse().unwrap()
}

fn schedule(shape: LinkShape) -> Schedule {
    let mut schedule = Schedule::new(7);
    schedule.add_link(shape);
    schedule.add_route(there(), 0);
    schedule
}

fn delayed(delay_ms: f64) -> LinkShape {
    LinkShape { delay_ms, ..LinkShape::default() }
}

/// Sends `count` datagrams of ten bytes in one transmission, numbered from `first`.
fn send(schedule: &mut Schedule, now_ns: u64, first: u8, count: u8) -> Fate {
    let contents: Vec<u8> = (first..first + count).flat_map(|number| [number; 10]).collect();
    let segment_size = (count > 1).then_some(10);
    let ecn = Some(EcnCodepoint::Ect0);
    let transmit =
        Transmit { destination: there(), ecn, contents: &contents, segment_size, src_ip: None };
    schedule.take_in(now_ns, &transmit)
}

fn arrivals(schedule: &mut Schedule, now_ns: u64) -> Vec<(u64, u8)> {
    let mut parcels = Vec::new();
    schedule.take_out(now_ns, usize::MAX, &mut parcels);
    let numbers = |parcel: &Parcel| -> Vec<(u64, u8)> {
        parcel.contents.chunks(10).map(|datagram| (parcel.due_ns, datagram[0])).collect()
    };
    parcels.iter().flat_map(numbers).collect()
}

#[test]
fn a_datagram_is_due_after_the_delay_and_not_before() {
    let mut schedule = schedule(delayed(25.0));
    assert_eq!(send(&mut schedule, 5, 1, 1), Fate::Taken);
    assert_eq!(schedule.next_due_ns(), Some(25 * MS + 5));
    assert_eq!(arrivals(&mut schedule, 25 * MS + 4), []);
    assert_eq!(arrivals(&mut schedule, 25 * MS + 5), [(25 * MS + 5, 1)]);
    assert_eq!((schedule.bytes(), schedule.next_due_ns()), (0, None));
}

#[test]
fn unknown_addresses_and_plain_links_are_not_held_up() {
    let mut plain = schedule(LinkShape::default());
    assert_eq!(send(&mut plain, 0, 1, 1), Fate::Direct);
    let mut unknown = Schedule::new(7);
    assert_eq!(send(&mut unknown, 0, 1, 1), Fate::Direct);
}

#[test]
fn an_ipv4_address_that_an_ipv6_socket_writes_is_the_same_address() {
    let mut schedule = schedule(delayed(1.0));
    let destination = "[::ffff:10.0.0.1]:7000".parse().unwrap();
    let (contents, ecn) = (&[0; 10][..], None);
    let transmit = Transmit { destination, ecn, contents, segment_size: None, src_ip: None };
    assert_eq!(schedule.take_in(0, &transmit), Fate::Taken);
}

#[test]
fn a_batch_stays_one_parcel_with_its_mark_and_segments() {
    let mut schedule = schedule(delayed(1.0));
    send(&mut schedule, 0, 1, 4);
    let mut parcels = Vec::new();
    schedule.take_out(MS, usize::MAX, &mut parcels);
    assert_eq!(parcels.len(), 1);
    let transmit = parcels[0].transmit();
    assert_eq!((transmit.segment_size, transmit.ecn), (Some(10), Some(EcnCodepoint::Ect0)));
    assert_eq!(transmit.contents.len(), 40);
}

#[test]
fn datagrams_keep_their_order_even_when_the_delay_shrinks() {
    let mut schedule = schedule(delayed(50.0));
    send(&mut schedule, 0, 1, 2);
    schedule.set_shape(0, delayed(10.0));
    send(&mut schedule, MS, 3, 1);
    send(&mut schedule, 45 * MS, 4, 1);
    let order: Vec<u8> = arrivals(&mut schedule, 100 * MS).iter().map(|a| a.1).collect();
    assert_eq!(order, [1, 2, 3, 4]);
}

#[test]
fn loss_takes_the_stated_share_and_spares_the_rest_of_a_batch() {
    let mut schedule = schedule(LinkShape { loss: 0.1, ..delayed(1.0) });
    for _ in 0..2000 {
        send(&mut schedule, 0, 1, 10);
    }
    let arrived = arrivals(&mut schedule, MS).len();
    assert_eq!(arrived as u64 + schedule.counts().lost, 20_000);
    // Five standard deviations of a binomial of 20,000 at 0.1 are 212.
    assert!((1788..=2212).contains(&schedule.counts().lost), "{:?}", schedule.counts());
}

#[test]
fn jitter_adds_up_to_its_bound_uniformly() {
    let mut schedule = schedule(LinkShape { jitter_ms: 4.0, ..delayed(10.0) });
    for _ in 0..4000 {
        send(&mut schedule, 0, 1, 1);
    }
    let extra: Vec<f64> =
        arrivals(&mut schedule, 100 * MS).iter().map(|a| a.0 as f64 / 1e6 - 10.0).collect();
    assert_eq!(extra.len(), 4000);
    assert!(extra.iter().all(|ms| (0.0..=4.0).contains(ms)));
    let mean = extra.iter().sum::<f64>() / 4000.0;
    assert!((1.9..2.1).contains(&mean), "mean {mean} ms");
}

#[test]
fn the_stated_share_overtakes() {
    let mut schedule = schedule(LinkShape { reorder: 0.2, ..delayed(40.0) });
    for number in 0..200 {
        send(&mut schedule, u64::from(number) * MS / 10, number, 1);
    }
    let order: Vec<u8> = arrivals(&mut schedule, 1000 * MS).iter().map(|a| a.1).collect();
    assert_eq!(order.len(), 200);
    let falls = order.windows(2).filter(|pair| pair[0] > pair[1]).count();
    let overtaking = schedule.counts().overtaking;
    assert!((15..=65).contains(&overtaking), "{overtaking}");
    assert!(falls >= 10 && falls as u64 <= overtaking, "{falls} of {overtaking}");
}

#[test]
fn a_rate_spaces_datagrams_and_drops_what_does_not_fit_its_queue() {
    // 80 bits each at 8,000 bits/s: 10 ms each. The queue holds at least 64 KiB.
    let mut schedule = schedule(LinkShape { bandwidth_bps: Some(8_000), ..delayed(5.0) });
    send(&mut schedule, 0, 1, 3);
    let times: Vec<u64> = arrivals(&mut schedule, 100 * MS).iter().map(|a| a.0 / MS).collect();
    assert_eq!(times, [15, 25, 35]);

    for _ in 0..70 {
        send(&mut schedule, 0, 0, 100);
    }
    assert_eq!(schedule.counts().rate, 7003 - (65_536 / 10 + 1));
    // An hour later the queue is empty again.
    send(&mut schedule, 3_600_000 * MS, 1, 1);
    assert_eq!(schedule.counts().rate, 7003 - (65_536 / 10 + 1));
}

#[test]
fn a_cut_drops_everything_until_it_is_healed() {
    let mut schedule = schedule(delayed(1.0));
    schedule.set_link_cut(0, true);
    assert_eq!(send(&mut schedule, 0, 1, 3), Fate::Taken);
    schedule.set_link_cut(0, false);
    schedule.set_route_cut(there(), true);
    send(&mut schedule, 0, 4, 1);
    schedule.set_route_cut(there(), false);
    send(&mut schedule, 0, 5, 1);
    assert_eq!(arrivals(&mut schedule, MS), [(MS, 5)]);
    assert_eq!(schedule.counts().cut, 4);
}

#[test]
fn whoever_is_isolated_from_is_neither_sent_to_nor_heard() {
    let mut schedule = schedule(delayed(1.0));
    schedule.set_isolated(there(), true);
    assert_eq!(send(&mut schedule, 0, 1, 3), Fate::Taken);
    assert!(schedule.drops_from(there(), 2));
    assert!(!schedule.drops_from("127.0.0.1:9".parse().unwrap(), 1), "nobody's address");
    schedule.set_isolated(there(), false);
    assert!(!schedule.drops_from(there(), 1));
    send(&mut schedule, 0, 4, 1);
    assert_eq!(arrivals(&mut schedule, MS), [(MS, 4)]);
    assert_eq!(schedule.counts().cut, 5);
}

#[test]
fn bytes_on_their_way_are_bounded() {
    let mut schedule = schedule(delayed(1000.0));
    let contents = vec![0; 60_000];
    let (destination, segment_size) = (there(), Some(1200));
    let transmit =
        Transmit { destination, ecn: None, contents: &contents, segment_size, src_ip: None };
    for _ in 0..2000 {
        schedule.take_in(0, &transmit);
    }
    assert!(schedule.bytes() <= BYTES_MAX && schedule.bytes() > BYTES_MAX - 60_000);
    let held = schedule.bytes() as u64 / 1200;
    assert_eq!(schedule.counts().memory, 2000 * 50 - held);
}

#[test]
fn the_same_seed_decides_the_same() {
    let decide = |seed| {
        let mut schedule = Schedule::new(seed);
        let shape = LinkShape { loss: 0.3, jitter_ms: 2.0, reorder: 0.1, ..delayed(9.0) };
        schedule.add_link(shape);
        schedule.add_route(there(), 0);
        for number in 0..100 {
            send(&mut schedule, u64::from(number), number, 1);
        }
        arrivals(&mut schedule, 100 * MS)
    };
    assert_eq!(decide(1), decide(1));
    assert_ne!(decide(1), decide(2));
}
