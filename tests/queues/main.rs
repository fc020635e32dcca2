//! Queues, private destinations and selectors, with real sockets and two shards.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions; a panic names the case")]

mod binary;
mod client;
#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "each test has use for a part of it")]
mod common;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use client::{Client, with_metrics, with_server};
use tokio::sync::Mutex;

#[test]
fn a_queue_keeps_what_is_sent_and_each_message_goes_to_one_consumer() {
    with_server("", |address| async move {
        let mut sender = Client::connect(address).await;
        for body in ["1", "2"] {
            sender.ask("SEND\ndestination:/queue/a", body).await;
        }
        let mut consumers = Vec::new();
        for _ in 0..4 {
            let mut consumer = Client::connect(address).await;
            let head = "SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\nprefetch-count:1";
            consumer.ask(head, "").await;
            consumers.push(consumer);
        }
        for body in ["3", "4"] {
            sender.ask("SEND\ndestination:/queue/a", body).await;
        }
        for (consumer, body) in consumers.iter_mut().zip(["1", "2", "3", "4"]) {
            let message = consumer.message().await;
            assert_eq!((message.body.as_str(), message.header("redelivered")), (body, None));
            assert_eq!(message.header("destination"), Some("/queue/a"));
        }
    });
}

#[test]
fn one_senders_messages_come_in_their_order_however_fast_it_sends() {
    with_server("", |address| async move {
        for shards_apart in 0..4 {
            let mut consumer = Client::connect(address).await;
            consumer.ask(&format!("SUBSCRIBE\nid:s\ndestination:/queue/{shards_apart}"), "").await;
            let mut sender = Client::connect(address).await;
            for number in 0..500 {
                sender.send(&format!("SEND\ndestination:/queue/{shards_apart}\n\n{number}\0")).await;
            }
            for number in 0..500 {
                let message = consumer.message().await;
                assert_eq!((message.body.as_str(), message.header("redelivered")), (number.to_string().as_str(), None));
            }
        }
    });
}

#[test]
fn a_message_waits_no_longer_than_its_ttl() {
    with_server("", |address| async move {
        let mut client = Client::connect(address).await;
        client.ask("SEND\ndestination:/queue/a\nexpires:1", "old").await;
        client.ask("SEND\ndestination:/queue/a\nttl:60000", "new").await;
        client.ask("SUBSCRIBE\nid:s\ndestination:/queue/a", "").await;
        assert_eq!(client.message().await.body, "new");
    });
}

#[test]
fn a_consumer_that_does_not_read_does_not_keep_the_queue_from_another() {
    with_server("[queues]\nprefetch_count = 4", |address| async move {
        let subscribe = "SUBSCRIBE\nid:s\ndestination:/queue/a";
        let mut deaf = Client::connect(address).await;
        deaf.ask(&format!("{subscribe}\nack:client"), "").await;
        let mut consumer = Client::connect(address).await;
        consumer.ask(subscribe, "").await;
        let mut sender = Client::connect(address).await;
        for number in 0..100 {
            sender.ask("SEND\ndestination:/queue/a", &number.to_string()).await;
        }
        let mut bodies = Vec::new();
        for _ in 0..96 {
            bodies.push(consumer.message().await.body);
        }
        deaf.kill();
        for _ in 0..4 {
            let message = consumer.message().await;
            assert_eq!(message.header("redelivered"), Some("true"));
            bodies.push(message.body);
        }
        bodies.sort_by_key(|body| body.parse::<u32>().unwrap());
        assert_eq!(bodies, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
    });
}

#[test]
fn what_a_lost_consumer_had_is_delivered_again_in_order_and_says_so() {
    with_server("", |address| async move {
        let subscribe = "SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual";
        let mut first = Client::connect(address).await;
        first.ask(subscribe, "").await;
        let mut sender = Client::connect(address).await;
        for body in ["1", "2", "3"] {
            sender.ask("SEND\ndestination:/queue/a", body).await;
        }
        for _ in 0..3 {
            first.message().await;
        }
        first.kill();
        let mut second = Client::connect(address).await;
        second.ask(subscribe, "").await;
        for body in ["1", "2", "3"] {
            let message = second.message().await;
            assert_eq!(message.body, body);
            assert_eq!((message.header("redelivered"), message.header("delivery-count")), (Some("true"), Some("2")));
            second.ack(&message).await;
        }
        second.disconnect().await;
        let mut third = Client::connect(address).await;
        third.ask(subscribe, "").await;
        sender.ask("SEND\ndestination:/queue/a", "4").await;
        assert_eq!(third.message().await.body, "4");
    });
}

#[test]
fn a_nack_redelivers_and_one_without_requeue_makes_a_dead_letter() {
    with_server("[queues]\nmax_deliveries = 2", |address| async move {
        let mut client = Client::connect(address).await;
        client.ask("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client", "").await;
        client.ask("SUBSCRIBE\nid:d\ndestination:/queue/DLQ.a", "").await;
        client.ask("SEND\ndestination:/queue/a", "often").await;
        for count in [None, Some("2")] {
            let message = client.message().await;
            assert_eq!(message.header("delivery-count"), count);
            client.ask(&format!("NACK\nid:{}", message.header("ack").unwrap()), "").await;
        }
        let dead = client.message().await;
        assert_eq!((dead.header("subscription"), dead.body.as_str()), (Some("d"), "often"));
        assert_eq!(dead.header("dead-letter-reason"), Some("max-deliveries"));
        client.ask("SEND\ndestination:/queue/a", "bad").await;
        let message = client.message().await;
        client.ask(&format!("NACK\nrequeue:false\nid:{}", message.header("ack").unwrap()), "").await;
        let dead = client.message().await;
        assert_eq!((dead.header("dead-letter-reason"), dead.body.as_str()), (Some("rejected"), "bad"));
        assert_eq!(dead.header("original-destination"), Some("/queue/a"));
    });
}

#[test]
fn a_transaction_of_sends_and_acks_is_done_whole_or_not_at_all() {
    with_server("[queues]\nmessages = 2", |address| async move {
        let mut client = Client::connect(address).await;
        client.ask("SUBSCRIBE\nid:s\ndestination:/queue/in\nack:client", "").await;
        client.ask("SEND\ndestination:/queue/in", "job").await;
        let job = client.message().await;
        let id = job.header("ack").unwrap();
        client.ask("BEGIN\ntransaction:t", "").await;
        client.ask(&format!("ACK\nid:{id}\ntransaction:t"), "").await;
        for (queue, body) in [("out", "1"), ("out", "2"), ("other", "3")] {
            client.ask(&format!("SEND\ndestination:/queue/{queue}\ntransaction:t"), body).await;
        }
        client.ask("COMMIT\ntransaction:t", "").await;
        client.disconnect().await;

        let mut client = Client::connect(address).await;
        client.ask("BEGIN\ntransaction:t", "").await;
        client.ask("SEND\ndestination:/queue/other\ntransaction:t", "4").await;
        client.ask("SEND\ndestination:/queue/out\ntransaction:t", "5").await;
        client.send("COMMIT\ntransaction:t\n\n\0").await;
        let error = "COMMIT refused: /queue/out is full: it holds 2 messages (queues.messages)";
        assert_eq!(client.error().await, error);

        let mut client = Client::connect(address).await;
        for queue in ["in", "out", "other"] {
            client.ask(&format!("SUBSCRIBE\nid:{queue}\ndestination:/queue/{queue}"), "").await;
        }
        let mut bodies = Vec::new();
        for _ in 0..3 {
            bodies.push(client.message().await.body);
        }
        client.ask("SEND\ndestination:/queue/other", "last").await;
        bodies.push(client.message().await.body);
        assert_eq!(bodies, ["1", "2", "3", "last"]);
    });
}

// STOMP 1.2 "COMMIT": a transaction is atomic.
#[test]
fn whatever_refuses_one_part_of_a_transaction_nothing_of_it_is_done() {
    let settings = "[queues]\nmessages = 2\n[topics]\nretained = 2\n[metrics]\nenabled = true";
    with_metrics(settings, |address| async move {
        // The metrics have the first place among the retained values.
        let mut first = Client::connect(address).await;
        first.ask("SUBSCRIBE\nid:s\ndestination:/topic/metrics", "").await;
        first.message().await;
        let mut other = Client::connect(address).await;
        other.ask("SEND\ndestination:/topic/kept\nretain:true", "first").await;
        for queue in ["in", "out"] {
            other.ask(&format!("SUBSCRIBE\nid:{queue}\ndestination:/queue/{queue}\nack:client-individual"), "").await;
        }
        other.ask("SUBSCRIBE\nid:news\ndestination:/topic/news", "").await;
        for (last, reason) in [
            (
                "destination:/topic/more\nretain:true\n\nx",
                "no room for another retained value; send one with an \
                empty body to forget it",
            ),
            (
                "destination:/app/nothing\n\nx",
                "nothing handles /app/nothing; there are /app/events, /app/logs, /app/metrics, \
                /app/subscribe",
            ),
            ("destination:/app/events\n\n{\"source\":\"s\"}", "Validation failed: eventType is required"),
            (
                "destination:/app/events\n\n[{\"eventType\":\"t\",\"source\":\"s\"},{\"source\":\"s\"}]",
                "Validation failed: eventType is required",
            ),
            ("destination:/app/metrics\n\nx", "/app/metrics is asked by SUBSCRIBE; events go to /app/events"),
            ("destination:/topic/*\n\nx", "/topic/* is a pattern; a message goes to one destination"),
            (
                "destination:/elsewhere\n\nx",
                "unknown destination /elsewhere; allowed are /topic/NAME, /queue/NAME, \
                /app/NAME, /user/queue/NAME and /temp-queue/NAME",
            ),
            ("destination:/topic/$sys/broker\n\nx", "anonymous may not send to /topic/$sys/broker"),
            ("destination:/user/ann/queue/a\n\nx", "anonymous may not send to /user/ann/queue/a"),
            (
                "destination:/queue/late\nttl:soon\n\nx",
                "header ttl:soon is not good; allowed is a number of \
                milliseconds",
            ),
        ] {
            let mut client = Client::connect(address).await;
            client.ask("SUBSCRIBE\nid:s\ndestination:/queue/todo\nack:client", "").await;
            client.ask("SEND\ndestination:/queue/todo", "job").await;
            let job = client.message().await;
            client.ask("BEGIN\ntransaction:t", "").await;
            client.ask(&format!("ACK\ntransaction:t\nid:{}", job.header("ack").unwrap()), "").await;
            let event = r#"{"eventType":"t","source":"s"}"#;
            for (destination, body) in [("queue/out", "a"), ("topic/news", "b"), ("app/events", event)] {
                client.ask(&format!("SEND\ntransaction:t\ndestination:/{destination}"), body).await;
            }
            client.ask("SEND\ntransaction:t\nretain:true\ndestination:/topic/kept", "second").await;
            client.send(&format!("SEND\ntransaction:t\n{last}\0")).await;
            client.send("COMMIT\ntransaction:t\n\n\0").await;
            assert_eq!(client.error().await, format!("COMMIT refused: {reason}"));

            // The job waits again, and that is all that there is.
            let mut next = Client::connect(address).await;
            next.ask("SUBSCRIBE\nid:s\ndestination:/queue/todo", "").await;
            assert_eq!(next.message().await.header("redelivered"), Some("true"), "{last}");
            // Its end may be seen late: it is not to take the next round's job with it.
            next.ask("UNSUBSCRIBE\nid:s", "").await;
            next.ask("SUBSCRIBE\nid:k\ndestination:/topic/kept", "").await;
            assert_eq!(next.message().await.body, "first", "{last}");
            next.ask("SUBSCRIBE\nid:m\ndestination:/app/metrics", "").await;
            let metrics: serde_json::Value = serde_json::from_str(&next.message().await.body).unwrap();
            assert_eq!(metrics["summary"]["totalEvents"], 0, "{last}");
            next.ask("SEND\ndestination:/topic/news", "mark").await;
            assert_eq!(other.message().await.body, "mark", "{last}");
            other.ask("SEND\ndestination:/queue/out", "mark").await;
            let mark = other.message().await;
            assert_eq!(mark.body, "mark", "{last}");
            other.ack(&mark).await;
        }
    });
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    with_server("[queues]\nmessages = 1", |address| async move {
        let full = "SEND refused: /queue/a is full: it holds 1 messages (queues.messages)";
        let pattern = "SUBSCRIBE refused: /queue/* is a pattern; a queue is subscribed to by its name";
        let selector =
            "SUBSCRIBE refused: selector, column 4: expected a header, a text, a number, TRUE, FALSE, NULL or (";
        let temp = "SUBSCRIBE refused: /temp-queue/x/y is not a temporary queue of this session; one is \
                    /temp-queue/NAME, NAME one word";
        let unacked = "SUBSCRIBE refused: the session's subscriptions may have 4096 unacknowledged messages \
                       (stomp.limits.unacked); none are left for this one";
        for (frames, error) in [
            ("SEND\ndestination:/queue/a\n\n\0SEND\ndestination:/queue/a\n\n\0", full),
            ("SUBSCRIBE\nid:s\ndestination:/queue/*\n\n\0", pattern),
            ("SUBSCRIBE\nid:s\ndestination:/topic/a\nselector:a =\n\n\0", selector),
            ("SUBSCRIBE\nid:s\ndestination:/temp-queue/x/y\n\n\0", temp),
            (
                "SUBSCRIBE\nid:s\ndestination:/queue/b\nack:client\nprefetch-count:4096\n\n\0\
                 SUBSCRIBE\nid:t\ndestination:/queue/c\nack:client\n\n\0",
                unacked,
            ),
        ] {
            let mut client = Client::connect(address).await;
            client.send(frames).await;
            assert_eq!(client.error().await, error);
        }
        let mut client = Client::connect(address).await;
        client.send("SEND\ndestination:/topic/$sys/broker\n\n\0").await;
        assert_eq!(client.error().await, "SEND refused: anonymous may not send to /topic/$sys/broker");
        let mut client = Client::connect(address).await;
        client.send("SUBSCRIBE\nid:s\ndestination:/user/queue/a\n\n\0").await;
        let refusal = client.message().await;
        assert_eq!(refusal.header("status"), Some("403"));
        assert_eq!(
            refusal.body,
            "/user/queue/a belongs to a user, and this connection has none; CONNECT with credentials"
        );
    });
}

#[test]
fn a_reply_comes_to_the_temporary_queue_of_who_asked() {
    with_server("", |address| async move {
        let mut service = Client::connect(address).await;
        service.ask("SUBSCRIBE\nid:s\ndestination:/queue/rpc", "").await;
        let mut asker = Client::connect(address).await;
        asker.ask("SEND\ndestination:/queue/rpc\nreply-to:/temp-queue/answers\ncorrelation-id:7", "question").await;
        let question = service.message().await;
        let reply_to = question.header("reply-to").unwrap();
        assert_ne!(reply_to, "/temp-queue/answers");
        let mut stranger = Client::connect(address).await;
        stranger.ask("SUBSCRIBE\nid:s\ndestination:/temp-queue/answers", "").await;
        service.ask(&format!("SEND\ndestination:{reply_to}\ncorrelation-id:7"), "answer").await;
        let answer = asker.message().await;
        assert_eq!(answer.header("subscription"), Some("/temp-queue/answers"));
        assert_eq!(answer.header("destination"), Some("/temp-queue/answers"));
        assert_eq!((answer.header("correlation-id"), answer.body.as_str()), (Some("7"), "answer"));
        asker.disconnect().await;
        service.ask(&format!("SEND\ndestination:{reply_to}"), "too late").await;
        stranger.ask("SEND\ndestination:/temp-queue/answers", "own").await;
        assert_eq!(stranger.message().await.body, "own");
    });
}

#[test]
fn a_users_message_reaches_all_sessions_of_the_user_and_nobody_else() {
    let users = "auth.users = [{ name = \"ann\", passcode = \"a\" }, { name = \"b/b\", passcode = \"b\" }]";
    with_server(users, |address| async move {
        let mut anns = Vec::new();
        for _ in 0..4 {
            let mut ann = Client::connect_as(address, "login:ann\npasscode:a\n").await;
            ann.ask("SUBSCRIBE\nid:s\ndestination:/user/queue/news", "").await;
            anns.push(ann);
        }
        let mut bob = Client::connect_as(address, "login:b/b\npasscode:b\n").await;
        bob.ask("SUBSCRIBE\nid:s\ndestination:/user/queue/*", "").await;
        bob.ask("SEND\ndestination:/user/ann/queue/news", "for ann").await;
        bob.ask("SEND\ndestination:/user/b%2Fb/queue/news", "for bob").await;
        for ann in &mut anns {
            let message = ann.message().await;
            assert_eq!((message.header("destination"), message.body.as_str()), (Some("/user/queue/news"), "for ann"));
        }
        assert_eq!(bob.message().await.body, "for bob");
    });
}

#[test]
fn selectors_choose_on_topics_and_queues() {
    with_server("", |address| async move {
        let mut client = Client::connect(address).await;
        client.ask("SUBSCRIBE\nid:red\ndestination:/topic/a\nselector:colour = 'red'", "").await;
        client.ask("SUBSCRIBE\nid:big\ndestination:/queue/a\nselector:size > 5", "").await;
        for (destination, header) in
            [("/topic/a", "colour:blue"), ("/topic/a", "colour:red"), ("/queue/a", "size:5"), ("/queue/a", "size:6")]
        {
            client.ask(&format!("SEND\ndestination:{destination}\n{header}"), header).await;
        }
        let mut got = [client.message().await.body, client.message().await.body];
        got.sort();
        assert_eq!(got, ["colour:red", "size:6"]);
        client.ask("SUBSCRIBE\nid:rest\ndestination:/queue/a", "").await;
        assert_eq!(client.message().await.body, "size:5");
    });
}

#[test]
fn words_are_parted_as_the_setting_says() {
    for (separator, expected) in [("both", "a"), (".", "a/b"), ("/", "a.b")] {
        with_server(&format!("[topics]\nseparator = \"{separator}\""), |address| async move {
            let mut client = Client::connect(address).await;
            for name in ["a.b", "a/b", "a"] {
                client.ask(&format!("SEND\nretain:true\ndestination:/topic/{name}"), name).await;
            }
            client.ask("SUBSCRIBE\nid:s\ndestination:/topic/*", "").await;
            let mut got = Vec::new();
            while got.last().is_none_or(|body| body != "a") {
                got.push(client.message().await.body);
            }
            assert_eq!(got.first().map(String::as_str), Some(expected), "{separator}");
            // A wildcard that is none with this separator is a name.
            let mark = if separator == "/" { "/topic/x.*" } else { "/topic/x.y" };
            client.ask(&format!("SUBSCRIBE\nid:t\ndestination:{mark}"), "").await;
            client.ask(&format!("SEND\ndestination:{mark}"), "mark").await;
            let mark = loop {
                let message = client.message().await;
                if message.header("subscription") == Some("t") {
                    break message.body;
                }
            };
            assert_eq!(mark, "mark");
        });
    }
}

#[test]
fn the_brokers_counters_come_each_second_to_who_asks_for_them_by_name() {
    with_server("", |address| async move {
        let mut client = Client::connect(address).await;
        client.ask("SEND\ndestination:/queue/deep", "x").await;
        client.ask("SUBSCRIBE\nid:all\ndestination:/topic/#", "").await;
        client.ask("SUBSCRIBE\nid:sys\ndestination:/topic/$sys/broker", "").await;
        for _ in 0..2 {
            let message = loop {
                let message = client.message().await;
                if message.header("subscription") == Some("sys") {
                    break message;
                }
                assert_eq!(message.header("destination"), Some("/topic/system"), "a pattern leaves $sys out");
            };
            let counters: serde_json::Value = serde_json::from_str(&message.body).unwrap();
            assert_eq!(counters["connections"], 1);
            let sessions = counters["sessions"].as_object().unwrap();
            assert_eq!(sessions.values().filter_map(serde_json::Value::as_u64).sum::<u64>(), 1);
            assert_eq!(counters["queues"]["deepest"][0]["destination"], "/queue/deep");
            assert_eq!(counters["queues"]["messages"], 1);
        }
    });
}

/// Two consumers are killed again and again, at any moment, while four senders send; in the
/// end every message has been acknowledged once, or is in the dead-letter queue, and none of
/// one sender came out of order but those that were delivered before.
#[test]
fn no_message_is_lost_when_consumers_are_killed_under_load() {
    with_server("[queues]\nmax_deliveries = 1000000", |address| async move {
        let acked: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
        let done = Arc::new(AtomicU64::new(0));
        let senders: Vec<_> = (0..SENDERS).map(|n| tokio::spawn(send_all(address, n))).collect();
        let consumers: Vec<_> = (0..2)
            .map(|seed| tokio::spawn(consume_and_die(address, seed, Arc::clone(&acked), Arc::clone(&done))))
            .collect();
        for sender in senders {
            sender.await.unwrap();
        }
        let mut deaths = 0;
        for consumer in consumers {
            deaths += consumer.await.unwrap();
        }
        let acked = acked.lock().await;
        assert_eq!(acked.len() as u64, SENDERS * MESSAGES);
        let twice: Vec<_> = acked.iter().filter(|(_, count)| **count != 1).collect();
        assert!(twice.is_empty(), "acknowledged more than once: {twice:?}");
        assert!(deaths >= 10, "only {deaths} deaths");
    });
}

async fn send_all(address: SocketAddr, sender: u64) {
    let mut client = Client::connect(address).await;
    for number in 0..MESSAGES {
        client.ask("SEND\ndestination:/queue/load", &format!("{sender} {number}")).await;
    }
    client.disconnect().await;
}

/// Consumes until all is acknowledged, and dies every few messages; answers how often it died.
async fn consume_and_die(
    address: SocketAddr,
    seed: u64,
    acked: Arc<Mutex<HashMap<String, u32>>>,
    done: Arc<AtomicU64>,
) -> u32 {
    let mut random = Random(seed + 1);
    let mut deaths = 0;
    loop {
        let mut client = Client::connect(address).await;
        client.ask("SUBSCRIBE\nid:s\ndestination:/queue/load\nack:client-individual\nprefetch-count:8", "").await;
        let life = random.below(60);
        let mut last: HashMap<String, u64> = HashMap::new();
        for _ in 0..life {
            if done.load(Ordering::SeqCst) == SENDERS * MESSAGES {
                return deaths;
            }
            let Ok(message) = tokio::time::timeout(std::time::Duration::from_millis(200), client.message()).await
            else {
                continue;
            };
            let (sender, number) = message.body.split_once(' ').unwrap();
            let number: u64 = number.parse().unwrap();
            let is_again = message.header("redelivered").is_some();
            let before = last.insert(sender.to_owned(), number);
            assert!(is_again || before.is_none_or(|before| before < number), "{sender}: {number} after {before:?}");
            if random.below(8) == 0 {
                // Left unacknowledged, it comes again when this one dies.
                continue;
            }
            client.ack(&message).await;
            *acked.lock().await.entry(message.body.clone()).or_default() += 1;
            done.fetch_add(1, Ordering::SeqCst);
        }
        deaths += 1;
        if random.below(2) == 0 { client.kill() } else { client.disconnect().await }
    }
}

/// The same lives and deaths in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

const SENDERS: u64 = 4;
const MESSAGES: u64 = 250;
