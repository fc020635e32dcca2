//! Much work for one client is done in turns, between which the shard serves its others.

use crate::shard::{Wire, in_shard};

#[tokio::test(start_paused = true)]
async fn the_retained_values_of_a_pattern_come_in_turns_and_in_their_order() {
    in_shard("", async |shard| {
        let [client, other] = [shard.connect().await, shard.connect().await];
        for n in 0..1000 {
            other.say(&format!("SEND\ndestination:/topic/r/{n}\nretain:true\n\n{n:04}\0"));
        }
        served(&other).await;
        client.say("SUBSCRIBE\nid:a\ndestination:/topic/r/*\nreceipt:r\n\n\0");
        served(&other).await;
        let before = bodies(&client);
        assert!((1..1000).contains(&before.len()), "{} at once", before.len());
        shard.until(|_| bodies(&client).len() == 1000).await;
        assert!(bodies(&client).is_sorted());
        assert!(client.said.borrow().starts_with("RECEIPT"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_subscriptions_of_one_client_get_a_message_in_turns() {
    in_shard("", async |shard| {
        let [client, other] = [shard.connect().await, shard.connect().await];
        for n in 0..1000 {
            client.say(&format!("SUBSCRIBE\nid:{n}\ndestination:/topic/#\noverflow:drop-oldest\n\n\0"));
        }
        served(&client).await;
        shard.publish("once");
        shard.until(|_| !bodies(&client).is_empty()).await;
        served(&other).await;
        shard.until(|_| bodies(&client).len() == 1000).await;
        assert_eq!(shard.broker.stats().delivered.value(), 1000);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_message_larger_than_the_mailbox_reaches_all_subscriptions_of_a_client() {
    in_shard("", async |shard| {
        let [client, sender] = [shard.connect().await, shard.connect().await];
        for id in ["a", "b", "c"] {
            client.say(&format!("SUBSCRIBE\nid:{id}\ndestination:/topic/a\n\n\0"));
        }
        served(&client).await;
        let body = "x".repeat((1 << 20) - 100);
        sender.say(&format!("SEND\ndestination:/topic/a\n\n{body}\0SEND\ndestination:/topic/a\n\n{body}\0"));
        shard.until(|broker| broker.stats().delivered.value() == 6).await;
        assert_eq!(bodies(&client).len(), 6);
        assert_eq!(shard.broker.stats().slow_consumers.value(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_session_has_so_many_wildcards_for_any_words_before_others_and_no_more() {
    in_shard("", async |shard| {
        let client = shard.connect().await;
        for n in 0..32 {
            client.say(&format!("SUBSCRIBE\nid:{n}\ndestination:/topic/#/{n}/**/a\n\n\0"));
        }
        client.say("SUBSCRIBE\nid:last\ndestination:/topic/a/#\nselector: \n\n\0");
        served(&client).await;
        let long = shard.connect().await;
        long.say(&format!("SUBSCRIBE\nid:a\ndestination:/topic{}\n\n\0", "/*".repeat(15)));
        served(&long).await;
        long.say(&format!("SUBSCRIBE\nid:b\ndestination:/topic{}\n\n\0", "/*".repeat(16)));
        long.until("has 17 words; a pattern may have 16").await;
        client.say("SUBSCRIBE\nid:more\ndestination:/topic/#/a\n\n\0");
        client.until("the patterns of this session would have 65 wildcards for any words (#, **) before other words; at most 64 are allowed").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn after_a_burst_the_latest_is_what_a_woken_client_gets_next() {
    in_shard("", async |shard| {
        let [client, sender] = [shard.connect().await, shard.connect().await];
        client.say("SUBSCRIBE\nid:a\ndestination:/topic/a\noverflow:latest\nreceipt:r\n\n\0");
        client.until("receipt-id:r").await;
        client.room.set(Some(15_000));
        let send = |n: u32| format!("SEND\ndestination:/topic/a\n\n{n}{}\0", "x".repeat(10_000));
        sender.say(&(0..8).map(send).collect::<String>());
        served(&sender).await;
        sender.say(&send(8));
        served(&sender).await;
        client.unblock();
        shard.until(|_| bodies(&client).len() == 3).await;
        let first: Vec<char> = bodies(&client).iter().filter_map(|body| body.chars().next()).collect();
        assert_eq!(first, ['0', '1', '8']);
        assert!(client.said.borrow().contains("dropped:6\n"));
    })
    .await;
}

/// Waits until the client has an answer to what it says now.
async fn served(client: &Wire) {
    client.say("UNSUBSCRIBE\nid:none\nreceipt:served\n\n\0");
    client.until("receipt-id:served").await;
}

/// The bodies of the MESSAGEs that it was told.
fn bodies(client: &Wire) -> Vec<String> {
    let said = client.said.borrow();
    let frames = said.split('\0').filter(|frame| frame.trim_start().starts_with("MESSAGE"));
    frames.filter_map(|frame| frame.split_once("\n\n")).map(|(_, body)| body.to_owned()).collect()
}
