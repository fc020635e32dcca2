//! What publishers and subscribers see.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::common::{PATIENCE, Server, Stomp};

#[tokio::test]
async fn a_subscriber_gets_what_is_sent_after_its_receipt_and_a_sender_its_receipt() {
    for shards in [1, 2] {
        let server = Server::start(shards, "metrics.enabled = false");
        let mut subscriber = Stomp::connect(server.address).await;
        subscriber.subscribe("a", "/topic/a", "").await;
        let mut publisher = Stomp::connect(server.address).await;
        publisher.publish("/topic/a", "receipt:sent\nx:y\n", "hello").await;
        let receipt = publisher.frame().await;
        assert_eq!((receipt.command.as_str(), receipt.header("receipt-id")), ("RECEIPT", Some("sent")));
        let message = subscriber.frame().await;
        assert_eq!(message.command, "MESSAGE");
        let header = |name| message.header(name);
        assert_eq!(
            (header("subscription"), header("destination"), header("x")),
            (Some("a"), Some("/topic/a"), Some("y"))
        );
        assert_eq!((header("receipt"), message.body.as_str()), (None, "hello"));
        subscriber.send("UNSUBSCRIBE\nid:a\nreceipt:gone\n\n\0").await;
        assert_eq!(subscriber.frame().await.header("receipt-id"), Some("gone"));
        publisher.publish("/topic/a", "", "nobody").await;
        publisher.settled().await;
        subscriber.settled().await;
        subscriber.send("DISCONNECT\nreceipt:bye\n\n\0").await;
        assert_eq!(subscriber.frame().await.header("receipt-id"), Some("bye"));
    }
}

#[tokio::test]
async fn subscribers_on_all_shards_get_one_publishers_messages_in_order() {
    const MESSAGES: usize = 10_000;
    let server = Server::start(2, "metrics.enabled = false\nmailbox.messages = 20000\nmailbox.bytes = \"64MiB\"");
    // The kernel spreads them by a hash of their ports: that one shard has none is one in 128.
    let mut subscribers = Vec::new();
    for _ in 0..8 {
        let mut subscriber = Stomp::connect(server.address).await;
        subscriber.subscribe("a", "/topic/order", "").await;
        subscribers.push(subscriber);
    }
    let readers: Vec<_> = subscribers
        .into_iter()
        .map(|mut subscriber| {
            tokio::spawn(async move {
                for number in 0..MESSAGES {
                    let text = subscriber.text().await;
                    assert!(text.ends_with(&format!("\n\n{number}\0")), "{text} is not {number}");
                }
            })
        })
        .collect();
    let mut publisher = Stomp::connect(server.address).await;
    for tens in 0..MESSAGES / 10 {
        let frames = (0..10).map(|n| format!("SEND\ndestination:/topic/order\n\n{}\0", tens * 10 + n));
        publisher.send(&frames.collect::<String>()).await;
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test]
async fn a_retained_value_comes_at_once_and_never_twice_while_its_publisher_goes_on() {
    let server = Server::start(2, "metrics.enabled = false");
    let mut publisher = Stomp::connect(server.address).await;
    publisher.publish("/topic/r", "retain:true\nreceipt:0\n", "0").await;
    publisher.frame().await;
    let address = server.address;
    let goes_on = tokio::spawn(async move {
        for number in 1..2000 {
            publisher.publish("/topic/r", "retain:true\n", &number.to_string()).await;
        }
        publisher.settled().await;
    });
    for _ in 0..40 {
        let mut subscriber = Stomp::connect(address).await;
        subscriber.send("SUBSCRIBE\nid:a\ndestination:/topic/r\n\n\0").await;
        let first = subscriber.frame().await;
        assert_eq!(first.header("retained"), Some("true"));
        let mut last: usize = first.body.parse().unwrap();
        while last < 1999 && !goes_on.is_finished() {
            let next = subscriber.frame().await;
            assert_eq!((next.header("retained"), next.body.parse()), (None, Ok(last + 1)));
            last += 1;
            if last.is_multiple_of(50) {
                break;
            }
        }
    }
    goes_on.await.unwrap();
    let mut late = Stomp::connect(address).await;
    late.subscribe("a", "/topic/r", "").await;
    assert_eq!(late.frame().await.body, "1999");
    late.settled().await;
}

#[tokio::test]
async fn a_softly_refused_subscribe_keeps_the_connection() {
    let server = Server::start(1, "");
    let mut client = Stomp::connect(server.address).await;
    client.send("SUBSCRIBE\nid:a\ndestination:/nothing/here\n\n\0").await;
    let refusal = client.frame().await;
    assert_eq!((refusal.command.as_str(), refusal.header("subscription")), ("MESSAGE", Some("a")));
    assert!(matches!(refusal.header("status"), Some("403" | "404")), "{refusal:?}");
    client.settled().await;
}

#[tokio::test]
async fn a_subscribe_may_carry_credentials_of_its_own() {
    let users = "auth.anonymous = true\nauth.tokens = [{ name = \"ann\", token = \"t0ken\" }]";
    let server = Server::start(1, users);
    let mut client = Stomp::connect(server.address).await;
    for (headers, status) in [("", "403"), ("Authorization:Bearer wrong\n", "403")] {
        client.send(&format!("SUBSCRIBE\nid:a\ndestination:/queue/own\n{headers}\n\0")).await;
        let refusal = client.frame().await;
        assert_eq!((refusal.header("subscription"), refusal.header("status")), (Some("a"), Some(status)));
    }
    client.subscribe("a", "/queue/own", "Authorization:Bearer t0ken\n").await;
}

#[tokio::test]
async fn subscribing_to_app_metrics_is_answered_once() {
    let server = Server::start(2, "");
    let mut client = Stomp::connect(server.address).await;
    client.subscribe("m", "/app/metrics", "").await;
    let answer = client.frame().await;
    assert_eq!((answer.command.as_str(), answer.header("content-type")), ("MESSAGE", Some("application/json")));
    assert!(answer.body.starts_with('{'), "{}", answer.body);
    client.settled().await;
}

#[tokio::test]
async fn heart_beats_are_kept_and_a_silent_peer_is_told_and_closed() {
    let server = Server::start(
        1,
        "metrics.enabled = false\nstomp.heart_beat_send = \"50ms\"\nstomp.heart_beat_receive = \"100ms\"\n\
         stomp.heart_beat_tolerance = 2.0",
    );
    let mut client = Stomp::open(server.address).await;
    client.send("CONNECT\naccept-version:1.2\nhost:a\nheart-beat:100,50\n\n\0").await;
    let connected = client.frame().await;
    assert_eq!(connected.header("heart-beat"), Some("50,100"));
    let begun = Instant::now();
    for beat in 1..=8 {
        assert_eq!(client.text().await, "\n");
        assert!(begun.elapsed() >= Duration::from_millis(beat * 50 - 20));
        if beat % 2 == 0 {
            client.send("\n").await;
        }
    }
    let error = loop {
        let text = client.text().await;
        if text != "\n" {
            break crate::common::Frame::parse(&text);
        }
    };
    assert_eq!(error.command, "ERROR");
    assert!(error.body.contains("100 ms"), "{}", error.body);
    assert_eq!(client.closed().await.0, 1008);
}

#[tokio::test]
async fn the_metrics_come_on_the_whole_period_of_the_wall_clock() {
    let server = Server::start(2, "metrics.period = \"500ms\"");
    let mut client = Stomp::connect(server.address).await;
    client.subscribe("m", "/topic/metrics", "").await;
    let retained = client.frame().await;
    assert_eq!(retained.header("retained"), Some("true"));
    let mut offsets = Vec::new();
    for _ in 0..8 {
        let tick = client.frame().await;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        offsets.push(now.as_millis() as u64 % 500);
        assert_eq!(tick.header("retained"), None);
    }
    println!("offsets of the tick in ms: {offsets:?}");
    offsets.sort_unstable();
    // Lenient: other tests have the cores, too. One of eight may be late, none may be early.
    assert!(offsets[6] < 100, "{offsets:?}");
}

#[tokio::test]
async fn nobody_sends_to_the_topic_on_which_the_server_publishes_metrics() {
    let server = Server::start(1, "metrics.destination = \"/topic/numbers\"\nmetrics.period = \"1h\"");
    let mut client = Stomp::connect(server.address).await;
    client.publish("/topic/numbers", "receipt:1\n", "{}").await;
    let error = client.frame().await;
    assert_eq!((error.command.as_str(), error.header("receipt-id")), ("ERROR", Some("1")));
    let reason = "no client may send to /topic/numbers: the server itself publishes on it";
    assert!(error.body.contains(reason), "{}", error.body);
    let mut client = Stomp::connect(server.address).await;
    client.publish("/topic/metrics", "receipt:2\n", "{}").await;
    assert_eq!(client.frame().await.command, "RECEIPT");
    let without = Server::start(1, "metrics.enabled = false\nmetrics.destination = \"/topic/numbers\"");
    let mut client = Stomp::connect(without.address).await;
    client.publish("/topic/numbers", "receipt:3\n", "{}").await;
    assert_eq!(client.frame().await.command, "RECEIPT");
}

#[tokio::test]
async fn a_handler_that_answers_no_subscribe_says_which_one_does() {
    let server = Server::start(1, "metrics.period = \"1h\"");
    let mut client = Stomp::connect(server.address).await;
    for (id, name) in [("e", "/app/events"), ("s", "/app/subscribe")] {
        client.send(&format!("SUBSCRIBE\nid:{id}\ndestination:{name}\n\n\0")).await;
        let refused = client.frame().await;
        assert_eq!((refused.command.as_str(), refused.header("status")), ("MESSAGE", Some("404")));
        let reason =
            format!("{name} takes SENDs and answers no SUBSCRIBE; /app/metrics does, with the metrics as of now");
        assert!(refused.body.contains(&reason), "{}", refused.body);
    }
    client.subscribe("m", "/app/metrics", "").await;
    assert_eq!(client.frame().await.header("subscription"), Some("m"));
}

#[tokio::test]
async fn a_broadcast_by_cron_comes_each_second() {
    let server = Server::start(
        2,
        "metrics.enabled = false\nschedule = [{ name = \"a\", cron = \"* * * * * *\", destination = \"/topic/cron\", \
         body = \"now\", content_type = \"text/plain\" }]",
    );
    let mut client = Stomp::connect(server.address).await;
    client.subscribe("a", "/topic/cron", "").await;
    let begun = Instant::now();
    for _ in 0..2 {
        let broadcast = client.frame().await;
        assert_eq!((broadcast.header("content-type"), broadcast.body.as_str()), (Some("text/plain"), "now"));
    }
    assert!(timeout(PATIENCE, client.frame()).await.is_ok());
    assert!(begun.elapsed() >= Duration::from_millis(900), "three within {:?}", begun.elapsed());
}
