//! Processes that may talk to each other do: frames, control requests, restarts, overflow.

mod net_common;

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use net_common::{Cluster, allow_all, numbered, run};
use paxbench::net::{Endpoint, NetError, Purpose, Stream, accept_lane, open_lanes, request, serve};
use paxbench::wire::{FRAME_BYTES_MAX, frame};
use serde::{Deserialize, Serialize};

#[test]
fn peers_exchange_frames_on_all_lanes_in_order() {
    run(async {
        let cluster = Cluster::new(&["virginia", "tokyo"]);
        let (there, here) = cluster.connected("virginia", "tokyo").await;
        let options = cluster.options();
        let lanes = open_lanes(&here, &options).await.unwrap();
        for (index, lane) in lanes.iter().enumerate() {
            for number in 0..1000 {
                lane.push(|body| {
                    body.put_u64_le(index as u64);
                    body.put_u64_le(number);
                    body.put_bytes(7, (number % 300) as usize);
                });
            }
        }
        for index in 0..options.lanes as u64 {
            let mut reader = accept_lane(&there, FRAME_BYTES_MAX).await.unwrap();
            let mut expected = 0;
            while expected < 1000 {
                let read = reader.read(|body| {
                    assert_eq!(body[..8], index.to_le_bytes());
                    assert_eq!(body[8..16], u64::to_le_bytes(expected));
                    assert_eq!(body.len(), 16 + (expected % 300) as usize);
                    expected += 1;
                    Ok(())
                });
                assert_eq!(read.await.unwrap(), Stream::Open);
            }
        }
    });
}

#[test]
fn a_frame_much_longer_than_a_packet_arrives_whole() {
    run(async {
        let cluster = Cluster::new(&["virginia", "tokyo"]);
        let (there, here) = cluster.connected("virginia", "tokyo").await;
        let lanes = open_lanes(&here, &cluster.options()).await.unwrap();
        let length = 3 << 20;
        let mut frames = BytesMut::new();
        frame(&mut frames, |body| body.put_bytes(1, length));
        frame(&mut frames, |body| body.put_bytes(2, 5));
        lanes[0].send(&frames.freeze());
        let mut reader = accept_lane(&there, FRAME_BYTES_MAX).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < 2 {
            reader
                .read(|body| {
                    seen.push((body[0], body.len()));
                    Ok(())
                })
                .await
                .unwrap();
        }
        assert_eq!(seen, [(1, length), (2, 5)]);
    });
}

#[test]
fn a_lane_whose_handles_are_dropped_sends_what_is_queued_and_ends() {
    run(async {
        let cluster = Cluster::new(&["virginia", "tokyo"]);
        let (there, here) = cluster.connected("virginia", "tokyo").await;
        let lanes = open_lanes(&here, &cluster.options()).await.unwrap();
        lanes[0].push(|body| body.put_u8(9));
        drop(lanes);
        let mut reader = accept_lane(&there, FRAME_BYTES_MAX).await.unwrap();
        let mut seen = 0;
        while reader
            .read(|_| {
                seen += 1;
                Ok(())
            })
            .await
            .unwrap()
            == Stream::Open
        {}
        assert_eq!(seen, 1);
    });
}

#[derive(Serialize, Deserialize)]
struct Ask {
    number: u64,
}

#[test]
fn a_control_request_is_answered_or_refused_with_the_reason() {
    run(async {
        let cluster = Cluster::new(&["virginia", "driver"]);
        let (there, here) = cluster.connected("virginia", "driver").await;
        tokio::task::spawn_local(async move {
            let _ = serve(&there, |ask: Ask| async move {
                match ask.number {
                    0 => Err("zero cannot be halved here".to_owned()),
                    n => Ok(n / 2),
                }
            })
            .await;
        });
        let half: u64 = request(&here, &Ask { number: 84 }).await.unwrap();
        assert_eq!(half, 42);
        let error = request::<_, u64>(&here, &Ask { number: 0 }).await.unwrap_err();
        assert_eq!(error.to_string(), "zero cannot be halved here");
        let error = request::<_, u64>(&here, &"no such request").await.unwrap_err();
        assert!(error.to_string().starts_with("the request is not understood"), "{error}");
        let long = "x".repeat(2 << 20);
        let error = request::<_, u64>(&here, &long).await.unwrap_err();
        assert!(matches!(error, NetError::TooLong { .. }), "{error}");
    });
}

#[test]
fn what_does_not_fit_a_lane_is_dropped_in_whole_frames_and_counted() {
    run(async {
        let mut cluster = Cluster::new(&["virginia", "tokyo"]);
        cluster.options.queue_bytes_max = 1000;
        let (there, here) = cluster.connected("virginia", "tokyo").await;
        let lanes = open_lanes(&here, &cluster.options()).await.unwrap();
        // Nothing is taken from the queue before this task waits: 104 bytes each, nine fit.
        for number in 0..15 {
            lanes[0].push(|body| numbered(body, number, 100));
        }
        let mut frames = BytesMut::new();
        frame(&mut frames, |body| numbered(body, 100, 50));
        frame(&mut frames, |body| numbered(body, 101, 50));
        lanes[0].send(&frames.freeze());
        assert_eq!(lanes[0].queued_bytes(), 9 * 104 + 54);
        let counts = lanes[0].counts();
        assert_eq!((counts.frames_dropped, counts.bytes_dropped), (7, 6 * 104 + 54));

        let mut reader = accept_lane(&there, FRAME_BYTES_MAX).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < 10 {
            reader
                .read(|body| {
                    seen.push(body[0]);
                    Ok(())
                })
                .await
                .unwrap();
        }
        assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6, 7, 8, 100]);
        lanes[0].push(|body| numbered(body, 42, 100));
        reader
            .read(|body| {
                seen.push(body[0]);
                Ok(())
            })
            .await
            .unwrap();
        assert_eq!(seen.last(), Some(&42));
    });
}

#[test]
fn a_lane_counts_what_it_drops_after_the_connection_is_lost() {
    run(async {
        let cluster = Cluster::new(&["virginia", "tokyo"]);
        let (there, here) = cluster.connected("virginia", "tokyo").await;
        let lanes = open_lanes(&here, &cluster.options()).await.unwrap();
        there.close(0u32.into(), b"done");
        here.closed().await;
        lanes[0].push(|body| numbered(body, 0, 100));
        while lanes[0].is_open() {
            tokio::task::yield_now().await;
        }
        lanes[0].push(|body| numbered(body, 1, 100));
        let counts = lanes[0].counts();
        assert_eq!((counts.bytes_lost, counts.frames_dropped), (104, 1));
        assert_eq!(lanes[0].queued_bytes(), 0);
    });
}

#[test]
fn a_peer_that_restarts_is_reached_again_and_ends_the_old_connection_at_once() {
    run(async {
        let mut cluster = Cluster::new(&["virginia", "tokyo"]);
        // Longer than the test may take: only the restarted process can end the connection.
        cluster.options.idle_timeout_ms = 600_000;
        let tokyo = cluster.endpoint("tokyo");
        let (address, crash) = cluster.start_on_a_thread("virginia");
        let old = tokyo.connect(address, "virginia", Purpose::Peer).await.unwrap();
        crash();

        let identity = cluster.identity("virginia");
        let restarted = Endpoint::bind(&identity, address, &cluster.options, None).unwrap();
        let accept = restarted.accept(allow_all);
        let (accepted, new) =
            tokio::join!(accept, tokyo.connect(address, "virginia", Purpose::Peer));
        assert_eq!(accepted.unwrap().name, "tokyo");
        new.unwrap();

        // Whatever is sent provokes the reset; QUIC itself may have sent something already.
        if let Ok(mut stream) = old.open_uni().await {
            let _ = stream.write_all(b"are you still there?").await;
        }
        let lost = tokio::time::timeout(Duration::from_secs(10), old.closed()).await.unwrap();
        assert_eq!(lost, quinn::ConnectionError::Reset);
    });
}
