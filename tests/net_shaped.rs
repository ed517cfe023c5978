//! The shaper makes the network that it was asked for.

mod net_common;

use std::time::{Duration, Instant};

use bytes::BufMut;
use net_common::{Shaped, run};
use paxbench::net::{LinkShape, Purpose, Shaper};
use quinn::Connection;

/// Round trips of one datagram each way, in ms, sorted.
async fn round_trips_ms(there: &Connection, here: &Connection, count: usize) -> Vec<f64> {
    net_common::echo(there);
    let (mut send, mut receive) = here.open_bi().await.unwrap();
    let mut times = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        send.write_all(b"ping").await.unwrap();
        let mut back = [0; 4];
        receive.read_exact(&mut back).await.unwrap();
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times
}

#[test]
fn a_round_trip_takes_what_the_matrix_says() {
    run(async {
        let shaped = Shaped::new(20.0, |_| {});
        let (there, here) = shaped.connected().await;
        let times = round_trips_ms(&there, &here, 30).await;
        // Each way may be early by the 0.1 ms that the shaper allows itself for waking.
        assert!(times[0] >= 19.8, "no datagram is earlier: {} ms", times[0]);
        assert!(times[15] < 22.0, "median {} ms", times[15]);
        let report = shaped.a_control.lateness();
        assert!(report.count >= 30, "{report:?}");
        assert_eq!((report.dropped_loss, report.dropped_memory, report.dropped_socket), (0, 0, 0));
    });
}

#[test]
fn a_link_can_be_given_another_shape_while_it_runs() {
    run(async {
        let shaped = Shaped::new(4.0, |_| {});
        let (there, here) = shaped.connected().await;
        let slow = LinkShape { delay_ms: 28.0, ..shaped.a_control.link("tokyo").unwrap() };
        shaped.a_control.set_link("tokyo", slow).unwrap();
        let times = round_trips_ms(&there, &here, 10).await;
        assert!((30.0..33.0).contains(&times[5]), "median {} ms", times[5]);

        let wrong = LinkShape { loss: 1.5, ..slow };
        let error = shaped.a_control.set_link("tokyo", wrong).unwrap_err().to_string();
        assert_eq!(error, "shaping: to tokyo: loss is 1.5; it must be between 0 and 1");
        assert!(shaped.a_control.cut("paris").is_err());
    });
}

#[test]
fn what_is_lost_is_counted_and_quic_repairs_it() {
    run(async {
        let shaped = Shaped::new(2.0, |plan| plan.loss = 0.1);
        let (there, here) = shaped.connected().await;
        net_common::echo(&there);
        let (mut send, mut receive) = here.open_bi().await.unwrap();
        let sent: Vec<u8> = (0..500_000u32).map(|n| (n % 251) as u8).collect();
        let copy = sent.clone();
        let writer = tokio::task::spawn_local(async move {
            send.write_all(&copy).await.unwrap();
            send.finish().unwrap();
        });
        let received = receive.read_to_end(1 << 20).await.unwrap();
        writer.await.unwrap();
        assert!(received == sent, "the stream arrives whole and in order");
        let report = shaped.a_control.lateness();
        assert!(report.dropped_loss >= 10, "{report:?}");
    });
}

#[test]
fn a_cut_stops_the_traffic_and_healing_lets_it_through() {
    run(async {
        let shaped = Shaped::new(2.0, |_| {});
        let (there, here) = shaped.connected().await;
        shaped.a_control.cut("tokyo").unwrap();
        let mut stream = here.open_uni().await.unwrap();
        stream.write_all(b"over the cut").await.unwrap();
        let silence = Duration::from_millis(200);
        assert!(tokio::time::timeout(silence, there.accept_uni()).await.is_err());
        assert!(shaped.a_control.lateness().dropped_cut > 0);

        shaped.a_control.heal("tokyo").unwrap();
        let mut arrived = there.accept_uni().await.unwrap();
        let mut text = [0; 12];
        arrived.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"over the cut");
    });
}

#[test]
fn a_member_can_be_cut_off_alone() {
    run(async {
        let shaped = Shaped::new(2.0, |_| {});
        shaped.a_control.cut_member("b").unwrap();
        let address = shaped.b.local_address().unwrap();
        let connect = shaped.a.connect(address, "b", Purpose::Peer);
        assert!(tokio::time::timeout(Duration::from_millis(200), connect).await.is_err());
        shaped.a_control.heal_member("b").unwrap();
        shaped.connected().await;
    });
}

/// `b` sends all the while; its words arrive only when `a` is no longer isolated. Who is no member is heard.
#[test]
fn an_isolated_member_neither_hears_nor_is_heard_but_by_who_is_no_member() {
    run(async {
        let shaped = Shaped::new(2.0, |_| {});
        let (there, here) = shaped.connected().await;
        let driver = shaped.outsider();
        let (driven, drives) = net_common::join(&shaped.a, "a", &driver).await;
        shaped.a_control.set_isolated(true);
        for (from, to) in [(&here, &there), (&there, &here)] {
            let mut stream = from.open_uni().await.unwrap();
            stream.write_all(b"unheard").await.unwrap();
            let silence = Duration::from_millis(200);
            assert!(tokio::time::timeout(silence, to.accept_uni()).await.is_err());
        }
        assert_eq!(shaped.b_control.lateness().dropped_cut, 0, "the other process does nothing");
        assert!(round_trips_ms(&driven, &drives, 10).await[5] < 100.0);

        shaped.a_control.set_isolated(false);
        for to in [&there, &here] {
            let mut text = [0; 7];
            to.accept_uni().await.unwrap().read_exact(&mut text).await.unwrap();
            assert_eq!(&text, b"unheard");
        }
    });
}

#[test]
fn the_port_is_free_again_when_a_shaped_endpoint_is_gone() {
    run(async {
        let shaped = Shaped::new(2.0, |_| {});
        let address = shaped.a.local_address().unwrap();
        let (there, here) = shaped.connected().await;
        let Shaped { a, b, .. } = shaped;
        drop((there, here));
        a.shut_down().await;
        drop((a, b));
        let bound = async {
            while std::net::UdpSocket::bind(address).is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), bound).await.expect("the port stays taken");
    });
}

#[test]
fn a_plan_that_cannot_be_is_refused_with_what_is_wrong() {
    let file = net_common::cluster_file(2.0);
    assert!(Shaper::for_member(&file, "a").unwrap().is_some());
    let error = |file, name| Shaper::for_member(file, name).unwrap_err().to_string();
    assert_eq!(error(&file, "c"), "shaping: no member is called \"c\"");

    let mut unknown = file.clone();
    unknown.replicas[1].site = "paris".to_owned();
    assert!(
        error(&unknown, "a").contains("no site is called \"paris\"; there are virginia, tokyo")
    );
    let mut short = file.clone();
    short.shaping.as_mut().unwrap().rtt_ms[0].truncate(1);
    assert!(error(&short, "a").contains("no value from virginia to tokyo"));
    let mut negative = file.clone();
    negative.shaping.as_mut().unwrap().rtt_ms[0][1] = -3.0;
    assert!(error(&negative, "a").contains("the delay is -1.5"));
    let mut none = file;
    none.shaping = None;
    assert!(Shaper::for_member(&none, "a").unwrap().is_none());
}

#[test]
fn jitter_and_reordering_lose_nothing() {
    run(async {
        let shaped = Shaped::new(10.0, |plan| {
            plan.jitter_ms = 2.0;
            plan.reorder = 0.05;
        });
        let (there, here) = shaped.connected().await;
        let lanes = paxbench::net::open_lanes(&here, &shaped.options).await.unwrap();
        for number in 0..20_000u64 {
            lanes[0].push(|body| {
                body.put_u64_le(number);
                body.put_bytes(0, 56);
            });
        }
        let mut reader = paxbench::net::accept_lane(&there, 1000).await.unwrap();
        let mut expected = 0u64;
        while expected < 20_000 {
            let read = reader.read(|body| {
                assert_eq!(body[..8], expected.to_le_bytes());
                expected += 1;
                Ok(())
            });
            read.await.unwrap();
        }
        let report = shaped.a_control.lateness();
        assert!(report.overtaking > 0, "{report:?}");
    });
}
