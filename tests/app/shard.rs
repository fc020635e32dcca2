//! One shard with transports that do what a test tells them.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use stompbox::broker::access::Access;
use stompbox::broker::app::{AppAnswer, AppEffect, AppHandler};
use stompbox::broker::topic::RetainedLimits;
use stompbox::broker::{Broker, BrokerError, Settings, history, inbox, mailbox};
use stompbox::config::Config;
use stompbox::message::{Destination, Framing, Image, Plain, Principal, Publication};
use stompbox::net::fanout::Fanout;
use stompbox::net::io::{Close, Ended, Incoming, MessageIo, Written};
use stompbox::net::limits::Limiter;
use stompbox::net::live::Live;
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::common::PATIENCE;
use crate::trust::{jwt, signed};

#[tokio::test(start_paused = true)]
async fn a_panic_in_one_connection_takes_nobody_else_down() {
    in_shard("", async |shard| {
        let [broken, panics_reading, well] = [shard.connect().await, shard.connect().await, shard.connect().await];
        for wire in [&broken, &panics_reading, &well] {
            wire.say("SUBSCRIBE\nid:a\ndestination:/topic/a\nreceipt:r\n\n\0");
            wire.until("receipt-id:r").await;
        }
        broken.panics_writing.set(true);
        panics_reading.panics_reading.set(true);
        panics_reading.wake();
        shard.publish("first");
        well.until("\n\nfirst\0").await;
        shard.until(|broker| broker.stats().connections.value() == 1).await;
        shard.publish("second");
        well.until("\n\nsecond\0").await;
        // Their places in the tables are free, and those who come next find everything in order.
        let next = shard.connect().await;
        next.say("SUBSCRIBE\nid:a\ndestination:/topic/a\nreceipt:r\n\n\0");
        next.until("receipt-id:r").await;
        shard.publish("third");
        next.until("\n\nthird\0").await;
        assert!(!broken.said.borrow().contains("first"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_publisher_who_fills_the_shards_inbox_goes_on_when_there_is_room() {
    in_shard("", async |shard| {
        let [subscriber, publisher] = [shard.connect().await, shard.connect().await];
        subscriber.say("SUBSCRIBE\nid:a\ndestination:/topic/a\nreceipt:r\n\n\0");
        subscriber.until("receipt-id:r").await;
        let burst: String = (0..1000).map(|number| format!("SEND\ndestination:/topic/a\n\n{number}\0")).collect();
        publisher.say(&burst);
        subscriber.until("\n\n999\0").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_no_answers_is_asked_for_no_more_questions() {
    in_shard("", async |shard| {
        let client = shard.connect().await;
        client.say("SUBSCRIBE\nid:a\ndestination:/topic/answers\nreceipt:r\n\n\0");
        client.until("receipt-id:r").await;
        client.is_blocked.set(true);
        for _ in 0..10 {
            client.say(&"SEND\ndestination:/app/ask\n\n\0".repeat(1000));
        }
        // While it is another's turn again and again, nothing more is taken from this one.
        let other = shard.connect().await;
        for _ in 0..100 {
            other.say("UNSUBSCRIBE\nid:x\nreceipt:r\n\n\0");
            other.until("receipt-id:r").await;
        }
        let asked = shard.asked.load(Ordering::SeqCst);
        // 64 KiB of answers of 1 KiB wait, and what was written at once before the socket was full.
        assert!((1..=400).contains(&asked), "{asked} questions were answered");
        client.unblock();
        shard.until(|_| shard.asked.load(Ordering::SeqCst) == 10_000).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn heart_beats_do_not_pile_up_behind_a_blocked_socket() {
    in_shard("stomp.heart_beat_send = \"100ms\"", async |shard| {
        let client = shard.open();
        client.say("CONNECT\naccept-version:1.2\nhost:a\nheart-beat:0,100\n\n\0");
        client.until("CONNECTED").await;
        client.said.borrow_mut().clear();
        tokio::time::sleep(Duration::from_millis(350)).await;
        assert_eq!(client.said.borrow().as_str(), "\n\n\n");
        client.is_blocked.set(true);
        tokio::time::sleep(Duration::from_secs(100)).await;
        client.unblock();
        client.said.borrow_mut().clear();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(client.said.borrow().len() <= 1, "{} heart-beats at once", client.said.borrow().len());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_one_that_is_given_up_is_free_at_once_and_nobody_else_goes_for_it() {
    in_shard("mailbox.total_bytes = \"50KiB\"", async |shard| {
        let [large, small, sender] = [shard.connect().await, shard.connect().await, shard.connect().await];
        for (client, topic) in [(&small, "/topic/small"), (&large, "/topic/large")] {
            client.say(&format!("SUBSCRIBE\nid:a\ndestination:{topic}\nreceipt:r\n\n\0"));
            client.until("receipt-id:r").await;
            // A frame that has begun to leave cannot be taken back, however large it is.
            client.room.set(Some(10));
        }
        for (topic, size) in [("/topic/small", 20 * 1024), ("/topic/large", 40 * 1024)] {
            sender.say(&format!("SEND\ndestination:{topic}\n\n{}\0", "x".repeat(size)));
            sender.say("UNSUBSCRIBE\nid:none\nreceipt:r\n\n\0");
            sender.until("receipt-id:r").await;
        }
        shard.until(|broker| broker.stats().slow_consumers.value() > 0).await;
        large.unblock();
        large.until("farewell").await;
        small.unblock();
        small.say("UNSUBSCRIBE\nid:a\nreceipt:well\n\n\0");
        small.until("receipt-id:well").await;
        assert_eq!(shard.broker.stats().slow_consumers.value(), 1);
        assert_eq!(shard.broker.stats().limits.values(), [("mailbox_total_bytes", 1)].into());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_begun_and_not_completed_counts_for_the_memory_of_all() {
    in_shard("mailbox.total_bytes = \"300KiB\"", async |shard| {
        let [hoards, builds, well] = [shard.connect().await, shard.connect().await, shard.connect().await];
        let send = format!("SEND\ndestination:/topic/a\ntransaction:t\n\n{}\0", "x".repeat(70 * 1024));
        well.say("BEGIN\ntransaction:t\n\n\0");
        well.say(&send);
        hoards.say("BEGIN\ntransaction:t\n\n\0");
        hoards.say(&send.repeat(2));
        builds.say("SEND\ndestination:/topic/a\ncontent-length:1000000\n\n");
        builds.say(&"x".repeat(120 * 1024));
        hoards.until("message:slow consumer").await;
        well.say("COMMIT\ntransaction:t\nreceipt:r\n\n\0");
        well.until("receipt-id:r").await;
        builds.say(&"x".repeat(500_000));
        builds.until("message:slow consumer").await;
        assert_eq!(shard.broker.stats().limits.values(), [("mailbox_total_bytes", 2)].into());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_is_made_to_wait_is_not_silent_and_who_then_is_silent_is_told_so() {
    let settings = "limits.session_messages_per_second = 1\nstomp.heart_beat_receive = \"1s\"";
    in_shard(settings, async |shard| {
        let client = shard.open();
        client.say("CONNECT\naccept-version:1.2\nhost:a\nheart-beat:1000,0\n\n\0");
        client.until("CONNECTED").await;
        let begun = tokio::time::Instant::now();
        let frames: String = (0..10).map(|n| format!("SEND\ndestination:/topic/a\nreceipt:{n}\n\nx\0")).collect();
        client.say(&frames);
        client.until("receipt-id:9\n").await;
        assert!(begun.elapsed() >= Duration::from_secs(9), "{:?}", begun.elapsed());
        client.until("Heart-beat missing").await;
        assert!(begun.elapsed() < Duration::from_secs(13), "{:?}", begun.elapsed());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_its_transport_for_others_is_not_silent_and_who_then_is_silent_is_told_so() {
    in_shard("stomp.heart_beat_receive = \"1s\"", async |shard| {
        let client = shard.open();
        client.say("CONNECT\naccept-version:1.2\nhost:a\nheart-beat:1000,0\n\n\0");
        client.until("CONNECTED").await;
        client.is_behind.set(true);
        tokio::time::sleep(Duration::from_secs(60)).await;
        client.is_behind.set(false);
        client.say("UNSUBSCRIBE\nid:none\nreceipt:r\n\n\0");
        client.until("receipt-id:r").await;
        client.until("Heart-beat missing").await;
    })
    .await;
}

#[tokio::test]
async fn time_passes_for_a_client_that_never_pauses() {
    in_shard("stomp.connect_timeout = \"100ms\"", async |shard| {
        let client = shard.open();
        client.floods.set(true);
        client.wake();
        client.until("Connect timeout").await;
        shard.until(|broker| broker.stats().connections.value() == 0).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_cannot_be_written_to_is_forgotten_although_it_is_not_read() {
    in_shard("", async |shard| {
        let client = shard.connect().await;
        client.say("SUBSCRIBE\nid:a\ndestination:/topic/answers\n\n\0");
        client.is_blocked.set(true);
        client.say(&"SEND\ndestination:/app/ask\n\n\0".repeat(1000));
        shard.until(|_| shard.asked.load(Ordering::SeqCst) > 0).await;
        client.is_lost.set(true);
        client.wake();
        shard.until(|broker| broker.stats().connections.value() == 0).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_acknowledges_nothing_is_closed_by_the_delivery_that_is_too_much() {
    in_shard("stomp.limits.unacked = 2", async |shard| {
        let client = shard.connect().await;
        client.say("SUBSCRIBE\nid:a\ndestination:/topic/a\nack:client\nreceipt:r\n\n\0");
        client.until("receipt-id:r").await;
        for _ in 0..3 {
            shard.publish("x");
        }
        client.until("3 messages would wait for ACK or NACK; at most 2 may").await;
        shard.until(|broker| broker.stats().connections.value() == 0).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_to_a_consumer_that_ended_goes_to_no_other_unless_it_gets_lost() {
    in_shard("", async |shard| {
        for is_lost in [false, true] {
            let [first, second, sender] = [shard.connect().await, shard.connect().await, shard.connect().await];
            let subscribe = "SUBSCRIBE\nid:a\ndestination:/queue/a\nreceipt:r\n\n\0";
            first.say(subscribe);
            first.until("receipt-id:r").await;
            first.is_blocked.set(true);
            // The first is octets when the socket turns out to be blocked; the second is not.
            sender.say("SEND\ndestination:/queue/a\nreceipt:1\n\nwritten\0");
            sender.until("receipt-id:1").await;
            sender.say("SEND\ndestination:/queue/a\nreceipt:2\n\nwaiting\0");
            sender.until("receipt-id:2").await;
            first.say("UNSUBSCRIBE\nid:a\n\n\0");
            second.say(subscribe);
            second.until("\n\nwaiting\0").await;
            if is_lost {
                first.is_lost.set(true);
                first.wake();
                second.until("redelivered:true\ndelivery-count:2").await;
            } else {
                first.unblock();
                first.until("\n\nwritten\0").await;
            }
            shard.until(|broker| broker.ledger().total().0 == 0).await;
            assert_eq!(shard.broker.stats().redelivered.value(), u64::from(is_lost));
            second.say("DISCONNECT\nreceipt:d\n\n\0");
            second.until("receipt-id:d").await;
            assert!(!second.said.borrow().contains("MESSAGE"));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_waits_for_room_is_not_done_in_the_name_of_a_session_that_expired() {
    let settings = jwt("auth.rules = [{ users = [\"ann\"], operations = [\"send\"], destinations = [\"/topic/**\"] }]");
    for expires_in in [5, 3600] {
        in_first_of(2, &settings, async |shard| {
            let client = shard.connect_with(&signed("ann", expires_in)).await;
            // The second shard takes nothing, and is full.
            let slow = Destination::parse("/topic/a").unwrap();
            shard.broker.interest().add(&slow, 1);
            for _ in 0..100 {
                shard.publish("before");
            }
            let send = |to: &str| format!("SEND\ndestination:{to}\ntransaction:t\n\nof the session\0");
            client.say(&["BEGIN\ntransaction:t\n\n\0", &send("/topic/b"), &send("/topic/a")].concat());
            client.say("COMMIT\ntransaction:t\nreceipt:done\n\n\0");
            let published = || shard.broker.stats().published.value();
            let has_expired = expires_in == 5;
            if has_expired {
                client.until("Session expired").await;
            } else {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            assert_eq!(published(), 100);
            shard.broker.inbox(1).try_take(&mut Vec::new(), 100);
            if has_expired {
                shard.until(|broker| broker.stats().connections.value() == 0).await;
                assert_eq!(published(), 100);
            } else {
                client.until("receipt-id:done").await;
                assert_eq!(published(), 102);
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn of_what_waits_at_the_end_of_a_token_only_the_frame_that_has_begun_to_leave_is_finished() {
    let whole = told_to_the_end_of_the_token(None).await;
    let ends: Vec<usize> = whole.match_indices('\0').map(|(at, _)| at + 1).collect();
    let [first, second, third, error] = ends[..] else { panic!("{whole:?}") };
    assert!(whole[third..].starts_with("ERROR\nmessage:Session expired\n") && whole[error..] == *"farewell");
    for (room, end) in [
        (0, 0),
        (1, first),
        (first - 1, first),
        (first, first),
        (first + 1, second),
        (second - 1, second),
        (second, second),
        (second + 1, third),
        (third - 1, third),
    ] {
        let told = told_to_the_end_of_the_token(Some(room)).await;
        assert_eq!(told, [&whole[..end], &whole[third..]].concat(), "{room} octets had left");
    }
}

/// What a client is told that gets three messages at once and takes so many octets of them
/// before its token expires, and all after that; without the times of the messages.
async fn told_to_the_end_of_the_token(room: Option<usize>) -> String {
    let mut told = String::new();
    in_shard(&jwt("auth.rules = [{ operations = [\"subscribe\"], destinations = [\"/topic/**\"] }]"), async |shard| {
        let client = shard.connect_with(&signed("ann", 5)).await;
        client.say("SUBSCRIBE\nid:a\ndestination:/topic/a\nreceipt:r\n\n\0");
        client.until("receipt-id:r").await;
        client.room.set(room);
        for body in ["first", "second", "third"] {
            shard.publish(body);
        }
        if room.is_some() {
            shard.until(|_| client.is_blocked.get()).await;
            shard.publish("late");
            shard.until(|broker| broker.stats().dropped_closed.value() == 1).await;
            client.unblock();
        }
        shard.until(|_| client.said.borrow().ends_with("farewell")).await;
        told = client.said.take();
    })
    .await;
    let times = told.match_indices("timestamp:").map(|(at, name)| at + name.len()).collect::<Vec<_>>();
    for at in times {
        told.replace_range(at..at + "1700000000000".len(), "1700000000000");
    }
    told
}

#[tokio::test(start_paused = true)]
async fn what_a_queue_gave_to_a_session_that_expired_before_any_of_it_left_goes_to_another() {
    for room in [0, 1] {
        in_shard(
            &jwt("auth.rules = [{ operations = [\"subscribe\", \"send\"], destinations = [\"/queue/**\"] }]"),
            async |shard| {
                let expires = shard.connect_with(&signed("ann", 5)).await;
                // A token ends at a whole second.
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                let expiry = Duration::from_millis(5000) - Duration::from_nanos(now.subsec_nanos().into());
                let next = shard.connect_with(&signed("bob", 3600)).await;
                let subscribe = "SUBSCRIBE\nid:a\ndestination:/queue/a\nreceipt:r\n\n\0";
                expires.say(subscribe);
                expires.until("receipt-id:r").await;
                expires.room.set(Some(room));
                next.say("SEND\ndestination:/queue/a\nreceipt:s\n\njob\0");
                next.until("receipt-id:s").await;
                shard.until(|_| expires.is_blocked.get()).await;
                next.say(subscribe);
                next.until("receipt-id:r").await;
                tokio::time::sleep(expiry).await;
                expires.unblock();
                shard.until(|broker| broker.ledger().total().0 == 0).await;
                let got = |wire: &Wire| wire.said.borrow().contains("\n\njob\0");
                assert_eq!((got(&expires), got(&next)), (room > 0, room == 0), "{room} octets had left");
            },
        )
        .await;
    }
}

pub(crate) async fn in_shard(settings: &str, test: impl AsyncFnOnce(&Shard)) {
    in_first_of(1, settings, test).await;
}

/// Only the first of so many shards does anything.
async fn in_first_of(shards: usize, settings: &str, test: impl AsyncFnOnce(&Shard)) {
    let config = Config::from_toml(settings).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let limits = Settings {
        shards,
        inbox: inbox::Limits { messages: 100, bytes: 1 << 20 },
        mailbox: mailbox::Limits { messages: 100, bytes: 1 << 20 },
        retained: RetainedLimits { destinations: 2000, bytes: 1 << 20 },
        history: history::Limits { topics: 2, messages: 8, bytes: 1024 },
        kept_topics: Vec::new(),
        queues: config.queues,
        separators: config.topics.separators,
        refuses_binary: config.sockjs.refuses_binary,
    };
    let handlers: HashMap<&str, Arc<dyn AppHandler>> =
        HashMap::from([("/app/ask", Arc::new(Answers(Arc::clone(&asked))) as Arc<dyn AppHandler>)]);
    let broker = Broker::new(limits, Access::new(config.auth), handlers);
    let limiter = Limiter::new(config.limits, 100, Arc::clone(&broker.stats().limits));
    let fanout = Fanout::limited(0, broker.clone(), Live::new(config.stomp), limiter);
    LocalSet::new()
        .run_until(async {
            tokio::task::spawn_local(Rc::clone(&fanout).run());
            test(&Shard { broker, fanout, asked }).await;
        })
        .await;
}

pub(crate) struct Shard {
    pub(crate) broker: Broker,
    fanout: Rc<Fanout>,
    asked: Arc<AtomicUsize>,
}

impl Shard {
    fn open(&self) -> Rc<Wire> {
        let wire = Rc::new(Wire::default());
        self.fanout.connect(Box::new(WireIo(Rc::clone(&wire))), "127.0.0.1:1", None);
        wire
    }

    pub(crate) async fn connect(&self) -> Rc<Wire> {
        let wire = self.open();
        wire.say("CONNECT\naccept-version:1.2\nhost:a\n\n\0");
        wire.until("CONNECTED").await;
        wire
    }

    async fn connect_with(&self, token: &str) -> Rc<Wire> {
        let wire = self.open();
        wire.say(&format!("CONNECT\naccept-version:1.2\nhost:a\ntoken:{token}\n\n\0"));
        wire.until("CONNECTED").await;
        wire
    }

    pub(crate) fn publish(&self, body: &'static str) {
        let destination = Destination::parse("/topic/a").unwrap();
        self.broker.publish(Publication { destination, headers: Vec::new(), body: body.into() }).unwrap();
    }

    pub(crate) async fn until(&self, mut is_so: impl FnMut(&Broker) -> bool) {
        let so = async {
            while !is_so(&self.broker) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, so).await.expect("it comes to be so");
    }
}

/// Answers each question with 1 KiB to the client's own subscriptions.
struct Answers(Arc<AtomicUsize>);

impl AppHandler for Answers {
    fn handle_send(&self, _principal: &Principal, _publication: &Publication) -> Result<AppEffect, BrokerError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let answer = AppAnswer { content_type: "text/plain", body: Bytes::from(vec![b'x'; 1024]) };
        Ok(AppEffect::Deliver(Destination::parse("/topic/answers").unwrap(), answer))
    }

    fn check_send(&self, _principal: &Principal, _publication: &Publication) -> Result<(), BrokerError> {
        Ok(())
    }

    fn handle_subscribe(&self, _principal: &Principal) -> Result<AppAnswer, BrokerError> {
        Err(BrokerError::NoAnswer("nothing is answered".into()))
    }
}

/// What a test holds of a transport.
#[derive(Default)]
pub(crate) struct Wire {
    incoming: RefCell<VecDeque<Bytes>>,
    pub(crate) said: RefCell<String>,
    is_blocked: Cell<bool>,
    /// Octets that it takes before it is blocked; `None`: any number.
    pub(crate) room: Cell<Option<usize>>,
    is_lost: Cell<bool>,
    floods: Cell<bool>,
    is_behind: Cell<bool>,
    panics_reading: Cell<bool>,
    panics_writing: Cell<bool>,
    connection: RefCell<Option<Waker>>,
    test: RefCell<Option<Waker>>,
}

impl Wire {
    pub(crate) fn say(&self, text: &str) {
        self.incoming.borrow_mut().push_back(Bytes::copy_from_slice(text.as_bytes()));
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.connection.take() {
            waker.wake();
        }
    }

    pub(crate) fn unblock(&self) {
        self.is_blocked.set(false);
        self.wake();
    }

    /// Waits until the server has said `text`, and forgets all that it said.
    pub(crate) async fn until(&self, text: &str) {
        let said = poll_fn(|cx| {
            if self.said.borrow().contains(text) {
                self.said.borrow_mut().clear();
                return Poll::Ready(());
            }
            *self.test.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        });
        assert!(timeout(PATIENCE, said).await.is_ok(), "no {text:?} in {:?}", self.said.borrow());
    }
}

struct WireIo(Rc<Wire>);

impl MessageIo for WireIo {
    fn framing(&self) -> &'static dyn Framing {
        &Plain
    }

    fn transport(&self) -> &'static str {
        "test"
    }

    fn try_write(&self, queue: &mut VecDeque<Image>) -> io::Result<Written> {
        assert!(!self.0.panics_writing.get(), "as the test wants it");
        let (mut bytes, mut is_cut) = (0, false);
        while !self.0.is_blocked.get()
            && let Some(image) = queue.front_mut()
        {
            let room = self.0.room.get().unwrap_or(usize::MAX);
            let taken = image.len().min(room);
            let text = [&image.head[..], &image.tail].concat();
            self.0.said.borrow_mut().push_str(std::str::from_utf8(&text[..taken]).unwrap());
            bytes += taken;
            if taken < image.len() {
                image.advance(taken);
                is_cut = taken > 0;
                self.0.is_blocked.set(true);
                self.0.room.set(None);
            } else {
                queue.pop_front();
                self.0.room.set(self.0.room.get().map(|room| room - taken));
            }
        }
        if let Some(test) = self.0.test.take() {
            test.wake();
        }
        Ok(Written { bytes, is_blocked: !queue.is_empty(), is_cut })
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.is_lost.get() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if !self.0.is_blocked.get() {
            return Poll::Ready(Ok(()));
        }
        *self.0.connection.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_read(&self, cx: &mut Context<'_>) -> Poll<Incoming> {
        assert!(!self.0.panics_reading.get(), "as the test wants it");
        if self.0.is_lost.get() {
            return Poll::Ready(Incoming::Ended(Ended::Lost(io::ErrorKind::ConnectionReset)));
        }
        if self.0.floods.get() {
            return Poll::Ready(Incoming::Octets(Bytes::from_static(b"\n")));
        }
        match self.0.incoming.borrow_mut().pop_front() {
            Some(octets) => Poll::Ready(Incoming::Octets(octets)),
            None => {
                *self.0.connection.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_behind(&self) -> bool {
        self.0.is_behind.get()
    }

    fn farewell(&self, _close: &Close, queue: &mut VecDeque<Image>) {
        queue.push_back(Bytes::from_static(b"farewell").into());
    }
}
