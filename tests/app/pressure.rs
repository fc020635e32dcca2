//! Clients that read too slowly, or not at all.

use std::time::Duration;

use tokio::time::Instant;

use crate::common::{Server, Stomp};

/// More than the kernel takes on both sides for a client that does not read.
const BURST: usize = 600;
const BODY: usize = 4096;
const STEP: usize = 20;

const SETTINGS: &str = "metrics.enabled = false\nmailbox.messages = 50\nmailbox.bytes = \"256KiB\"";

#[tokio::test]
async fn each_overflow_does_what_it_says_and_nobody_else_notices() {
    for shards in [1, 2] {
        let server = Server::start(shards, SETTINGS);
        let mut slow = Vec::new();
        for overflow in ["close", "drop-oldest", "latest"] {
            let mut client = Stomp::open_narrow(server.address).await.connected().await;
            client.subscribe("s", "/topic/a", &format!("overflow:{overflow}\n")).await;
            slow.push((overflow, client));
        }
        let mut reader = Stomp::connect(server.address).await;
        reader.subscribe("r", "/topic/a", "").await;
        let begun = Instant::now();
        let mut publisher = Stomp::connect(server.address).await;
        // In steps that the reader keeps up with, however busy the machine is: with default
        // overflow it would be closed as a slow consumer, too.
        for first in (0..BURST).step_by(STEP) {
            for number in first..first + STEP {
                publisher.publish("/topic/a", "", &body(number)).await;
            }
            for number in first..first + STEP {
                assert_eq!(number_of(&reader.frame().await.body), number);
            }
        }
        publisher.settled().await;
        assert!(begun.elapsed() < Duration::from_secs(15), "the others were held up: {:?}", begun.elapsed());
        for (overflow, client) in slow {
            check_slow(overflow, client).await;
        }
    }
}

/// Reads at last, and looks at each frame: one that was cut by a partial write would be broken.
async fn check_slow(overflow: &str, mut client: Stomp) {
    let mut next = 0;
    loop {
        let frame = client.frame().await;
        if frame.command == "ERROR" {
            assert_eq!(overflow, "close");
            assert_eq!(frame.header("message"), Some("slow consumer"));
            assert!(frame.body.starts_with("slow consumer: 50 messages of "), "{}", frame.body);
            assert_eq!(client.closed().await.0, 1008);
            return;
        }
        let dropped: usize = frame.header("dropped").map_or(0, |dropped| dropped.parse().unwrap());
        assert_eq!(number_of(&frame.body), next + dropped, "{overflow}");
        next += dropped + 1;
        if next == BURST {
            break;
        }
        assert!(overflow != "close" || dropped == 0);
    }
    assert_ne!(overflow, "close");
    client.settled().await;
}

#[tokio::test]
async fn one_client_with_many_subscriptions_to_a_burst_is_no_slow_consumer() {
    let server = Server::start(2, SETTINGS);
    let mut client = Stomp::connect(server.address).await;
    for id in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        client.subscribe(id, "/topic/a", "").await;
    }
    let read = tokio::spawn(async move {
        for _ in 0..8 * 200 {
            assert_eq!(client.frame().await.command, "MESSAGE");
        }
    });
    let mut publisher = Stomp::connect(server.address).await;
    publisher.send(&"SEND\ndestination:/topic/a\n\nx\0".repeat(200)).await;
    read.await.unwrap();
}

#[tokio::test]
async fn a_client_that_asks_and_does_not_read_is_not_listened_to_and_the_others_are() {
    let server = Server::start(1, "metrics.period = \"1h\"");
    let mut greedy = Stomp::open_narrow(server.address).await.connected().await;
    greedy.subscribe("m", "/topic/metrics", "").await;
    let questions = "SEND\ndestination:/app/subscribe\n\n\0".repeat(20_000);
    greedy.send(&questions).await;
    let mut other = Stomp::connect(server.address).await;
    other.settled().await;
    assert_eq!(greedy.frame().await.header("retained"), Some("true"));
    for _ in 0..20_000 {
        assert_eq!(greedy.frame().await.header("destination"), Some("/topic/metrics"));
    }
}

fn body(number: usize) -> String {
    format!("{number}:{}", "x".repeat(BODY))
}

fn number_of(body: &str) -> usize {
    let (number, rest) = body.split_once(':').unwrap();
    assert_eq!(rest.len(), BODY);
    number.parse().unwrap()
}
