//! Scripts: what is asked, and exactly what the queues put out.

use super::*;
use crate::message::Publication;

const SETTINGS: Settings = Settings {
    limits: Limits { queues: 3, messages: 4, bytes: 4000, total_bytes: 8000, drops_oldest: false },
    max_deliveries: 3,
    prefetch_count: 64,
    ttl_ms: 0,
};

#[test]
fn messages_wait_in_order_while_nobody_listens() {
    let mut broker = Script::new();
    broker.send_all("/queue/a", 1..=3);
    assert_eq!(broker.outputs(), "");
    broker.subscribe("/queue/a", 1, 64);
    assert_eq!(broker.outputs(), "1<1 1<2 1<3");
}

#[test]
fn each_message_goes_to_one_consumer_in_turn() {
    let mut broker = Script::new();
    broker.subscribe("/queue/a", 1, 64);
    broker.subscribe("/queue/a", 2, 64);
    broker.subscribe("/queue/a", 3, 64);
    broker.send_all("/queue/a", 1..=4);
    assert_eq!(broker.outputs(), "1<1 2<2 3<3 1<4");
}

#[test]
fn a_consumer_gets_its_prefetch_count_and_not_one_more() {
    let mut broker = Script::new();
    broker.subscribe("/queue/a", 1, 2);
    broker.send_all("/queue/a", 1..=4);
    assert_eq!(broker.outputs(), "1<1 1<2");
    broker.settle("/queue/a", 1, 2, Outcome::Accepted);
    assert_eq!(broker.outputs(), "1<3");
    broker.settle("/queue/a", 1, 2, Outcome::Accepted);
    assert_eq!(broker.outputs(), "", "a second ACK of the same message gives no room");
}

#[test]
fn a_consumer_with_room_is_never_passed_over() {
    let mut broker = Script::new();
    broker.subscribe("/queue/a", 1, 1);
    broker.subscribe("/queue/a", 2, 9);
    broker.send_all("/queue/a", 1..=3);
    assert_eq!(broker.outputs(), "1<1 2<2 2<3");
    broker.settle("/queue/a", 1, 1, Outcome::Accepted);
    broker.send_all("/queue/a", 4..=5);
    assert_eq!(broker.outputs(), "2<4 1<5");
}

#[test]
fn what_is_leaving_for_a_consumer_that_ended_is_nobody_elses() {
    let mut broker = Script::new();
    broker.subscribe("/queue/a", 1, 9);
    broker.send_all("/queue/a", 1..=4);
    broker.outputs();
    broker.unsubscribe_while("/queue/a", 1, &[3, 4], &[1, 2]);
    broker.subscribe("/queue/a", 2, 9);
    assert_eq!(broker.outputs(), "2<3 2<4");
    broker.settle("/queue/a", 1, 1, Outcome::Accepted);
    // The connection broke before the other had left.
    broker.unsubscribe("/queue/a", 1, &[]);
    assert_eq!(broker.outputs(), "2<2#2");
}

#[test]
fn what_a_consumer_leaves_behind_returns_to_the_front_in_its_order() {
    let mut broker = Script::new();
    broker.subscribe("/queue/a", 1, 3);
    broker.send_all("/queue/a", 1..=4);
    assert_eq!(broker.outputs(), "1<1 1<2 1<3");
    broker.settle("/queue/a", 1, 2, Outcome::Accepted);
    assert_eq!(broker.outputs(), "1<4");
    broker.unsubscribe("/queue/a", 1, &[]);
    broker.send("/queue/a", 5);
    assert_eq!(broker.outputs(), "");
    broker.subscribe("/queue/a", 2, 64);
    assert_eq!(broker.outputs(), "2<1#2 2<3#2 2<4#2 2<5");
    assert_eq!(broker.queues.take_counts().redelivered, 3);
}

#[test]
fn what_never_reached_the_socket_was_not_delivered() {
    let mut broker = Script::new();
    broker.subscribe("/queue/a", 1, 3);
    broker.send_all("/queue/a", 1..=3);
    broker.outputs();
    broker.unsubscribe("/queue/a", 1, &[2, 3]);
    broker.subscribe("/queue/a", 2, 64);
    assert_eq!(broker.outputs(), "2<1#2 2<2 2<3");
}

#[test]
fn a_rejected_message_is_delivered_again_before_younger_ones() {
    let mut broker = Script::new();
    broker.subscribe("/queue/a", 1, 1);
    broker.send_all("/queue/a", 1..=2);
    assert_eq!(broker.outputs(), "1<1");
    broker.settle("/queue/a", 1, 1, Outcome::Rejected);
    assert_eq!(broker.outputs(), "1<1#2");
}

#[test]
fn a_message_rejected_max_deliveries_times_is_a_dead_letter() {
    let mut broker = Script::new();
    broker.subscribe("/queue/a", 1, 1);
    broker.send("/queue/a", 1);
    assert_eq!(broker.outputs(), "1<1");
    broker.settle("/queue/a", 1, 1, Outcome::Rejected);
    assert_eq!(broker.outputs(), "1<1#2");
    broker.settle("/queue/a", 1, 1, Outcome::Rejected);
    assert_eq!(broker.outputs(), "1<1#3");
    broker.settle("/queue/a", 1, 1, Outcome::Rejected);
    assert_eq!(broker.outputs(), "");
    let dead = broker.drain("/queue/DLQ.a");
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].header("dead-letter-reason"), Some("max-deliveries"));
    assert_eq!(dead[0].header("dead-letter-deliveries"), Some("3"));
    assert_eq!(dead[0].header("original-destination"), Some("/queue/a"));
    assert_eq!(dead[0].header("kind"), Some("test"));
}

#[test]
fn a_consumer_that_dies_on_a_message_does_not_get_it_for_ever() {
    let mut broker = Script::new();
    broker.send("/queue/a", 1);
    for consumer in 1..=3 {
        broker.subscribe("/queue/a", consumer, 1);
        broker.unsubscribe("/queue/a", consumer, &[]);
    }
    assert_eq!(broker.outputs(), "1<1 2<1#2 3<1#3");
    broker.subscribe("/queue/a", 4, 1);
    assert_eq!(broker.outputs(), "");
    assert_eq!(broker.drain("/queue/DLQ.a").len(), 1);
}

#[test]
fn a_refused_message_is_a_dead_letter_at_once_and_a_refused_dead_letter_is_gone() {
    let mut broker = Script::new();
    broker.subscribe("/queue/a", 1, 1);
    broker.send("/queue/a", 1);
    broker.outputs();
    broker.settle("/queue/a", 1, 1, Outcome::Refused);
    broker.subscribe("/queue/DLQ.a", 2, 1);
    assert_eq!(broker.outputs(), "2<1");
    for count in 2..=5 {
        broker.settle("/queue/DLQ.a", 2, 1, Outcome::Rejected);
        assert_eq!(broker.outputs(), format!("2<1#{count}"), "a dead letter is rejected as often as one likes");
    }
    broker.settle("/queue/DLQ.a", 2, 1, Outcome::Refused);
    assert_eq!(broker.outputs(), "");
    let counts = broker.queues.take_counts();
    assert_eq!((counts.dead_letters, counts.discarded), (1, 1));
    assert_eq!(broker.ledger.total(), (0, Depth::default()));
}

#[test]
fn the_settlement_of_another_consumer_is_ignored() {
    let mut broker = Script::new();
    broker.subscribe("/queue/a", 1, 1);
    broker.subscribe("/queue/a", 2, 1);
    broker.send_all("/queue/a", 1..=3);
    assert_eq!(broker.outputs(), "1<1 2<2");
    broker.settle("/queue/a", 2, 1, Outcome::Accepted);
    broker.settle("/queue/b", 1, 1, Outcome::Accepted);
    assert_eq!(broker.outputs(), "");
}

#[test]
fn a_full_queue_refuses_the_next_and_names_the_limit() {
    let mut broker = Script::new();
    broker.subscribe("/queue/a", 1, 64);
    broker.send_all("/queue/a", 1..=4);
    let error = broker.try_send("/queue/a", 5, 0).unwrap_err();
    assert_eq!(error.to_string(), "/queue/a is full: it holds 4 messages (queues.messages)");
    broker.settle("/queue/a", 1, 1, Outcome::Accepted);
    broker.send("/queue/a", 5);
    let size = message_bytes(&message("/queue/b", 0, 0, None));
    broker.try_send("/queue/b", 6, 4000 - size).unwrap();
    let error = broker.try_send("/queue/b", 7, 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("/queue/b is full: with {size} octets more it would hold more than 4000 (queues.bytes)")
    );
    let error = broker.try_send("/queue/c", 7, 3999 - size).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the queues are full: with 3999 octets more they would hold more than 8000 (queues.total_bytes)"
    );
    broker.send("/queue/c", 7);
    let error = broker.try_send("/queue/d", 8, 0).unwrap_err();
    assert_eq!(error.to_string(), "there is no room for /queue/d: 3 queues hold messages (queues.queues)");
}

#[test]
fn room_is_reserved_for_all_or_for_none() {
    let ledger = Ledger::new(SETTINGS.limits);
    let (a, b) = (destination("/queue/a"), destination("/queue/b"));
    let five = [(&a, 1), (&b, 1), (&a, 1), (&a, 1), (&a, 1), (&a, 1)];
    assert_eq!(ledger.reserve(five.into_iter()), Err(Full::Messages { queue: a.clone(), max: 4 }));
    assert_eq!(ledger.total(), (0, Depth::default()));
    assert_eq!(ledger.reserve(five[..5].iter().copied()), Ok(()));
    assert_eq!(ledger.total(), (2, Depth { messages: 5, bytes: 5 }));
    assert_eq!(ledger.deepest(1), [(a, Depth { messages: 4, bytes: 4 })]);
}

#[test]
fn a_full_queue_gives_up_its_oldest_where_that_is_the_setting() {
    let limits = Limits { drops_oldest: true, ..SETTINGS.limits };
    let mut broker = Script::with(Settings { limits, ..SETTINGS });
    broker.subscribe("/queue/a", 1, 1);
    broker.send_all("/queue/a", 1..=6);
    assert_eq!(broker.outputs(), "1<1");
    assert_eq!(broker.queues.take_counts().overflow, 2);
    broker.settle("/queue/a", 1, 1, Outcome::Accepted);
    assert_eq!(broker.outputs(), "1<4");
}

#[test]
fn dead_letters_give_up_their_oldest() {
    let mut broker = Script::new();
    broker.subscribe("/queue/a", 1, 1);
    for number in 1..=6 {
        broker.send("/queue/a", number);
        broker.outputs();
        broker.settle("/queue/a", 1, number, Outcome::Refused);
    }
    broker.outputs();
    let dead: Vec<_> = broker.drain("/queue/DLQ.a").iter().map(|message| message.id.0).collect();
    assert_eq!(dead, [3, 4, 5, 6]);
}

#[test]
fn an_expired_message_is_not_delivered_and_leaves_its_room() {
    let mut broker = Script::new();
    broker.send_expiring("/queue/a", 1, 100);
    broker.send_expiring("/queue/a", 2, 101);
    broker.now_ms = 100;
    broker.subscribe("/queue/a", 1, 64);
    assert_eq!(broker.outputs(), "1<2");
    assert_eq!(broker.queues.take_counts().expired, 1);
    broker.send_expiring("/queue/b", 3, 100);
    broker.queues.handle_timeout(99);
    assert_eq!(broker.ledger.total().0, 2);
    broker.queues.handle_timeout(100);
    assert_eq!(broker.ledger.total().0, 1);
    assert_eq!(broker.queues.queues.len(), 1);
}

#[test]
fn a_selector_takes_what_it_wants_from_anywhere_in_the_queue() {
    let mut broker = Script::new();
    broker.send_all("/queue/a", 1..=4);
    broker.subscribe_with("/queue/a", 1, 64, Some("\"message-id\" = 3"));
    assert_eq!(broker.outputs(), "1<3");
    broker.subscribe_with("/queue/a", 2, 1, Some("\"message-id\" <> 1"));
    assert_eq!(broker.outputs(), "2<2");
    broker.settle("/queue/a", 1, 3, Outcome::Rejected);
    assert_eq!(broker.outputs(), "1<3#2", "what comes back is looked at again");
    broker.settle("/queue/a", 2, 2, Outcome::Accepted);
    assert_eq!(broker.outputs(), "2<4");
    broker.subscribe("/queue/a", 3, 64);
    assert_eq!(broker.outputs(), "3<1");
}

#[test]
fn many_looks_in_vain_are_cut_into_turns() {
    let mut broker = Script::new();
    broker.send_all("/queue/a", 1..=4);
    let selector = Some(Arc::new(Selector::parse("\"message-id\" = 4").unwrap()));
    let (queue, consumer) = (destination("/queue/a"), consumer(1));
    broker.queues.handle_request(Request::Subscribe {
        queue,
        consumer,
        prefetch_count: 1,
        selector,
        takes_binary: true,
        asker: None,
    });
    assert!(broker.queues.dispatch(0, 3));
    assert_eq!(broker.outputs(), "1<4");
}

#[test]
fn looks_of_many_consumers_at_one_message_are_cut_into_turns() {
    let mut broker = Script::new();
    for number in 1..=8 {
        broker.subscribe_with("/queue/a", number, 1, Some(&format!("kind = 'test' AND {number} = 8")));
    }
    let message = message("/queue/a", 1, 0, None);
    broker.queues.handle_request(Request::Send { message: Arc::new(message), asker: None });
    let mut turns = 0;
    while broker.queues.dispatch(0, 64) {
        turns += 1;
    }
    assert_eq!(turns, 4);
    assert_eq!(broker.outputs(), "8<1");
}

#[test]
fn an_answer_leaves_before_what_it_sets_free() {
    let mut broker = Script::new();
    broker.send("/queue/a", 1);
    let asker = Some(Asker { shard: 0, connection: consumer(1).connection, ticket: 7 });
    let (queue, consumer) = (destination("/queue/a"), consumer(1));
    broker.queues.handle_request(Request::Subscribe {
        queue,
        consumer,
        prefetch_count: 1,
        selector: None,
        takes_binary: true,
        asker,
    });
    assert_eq!(broker.outputs(), "!7 1<1");
}

#[test]
fn an_idle_queue_without_consumers_is_forgotten() {
    let mut broker = Script::new();
    broker.send("/queue/a", 1);
    broker.subscribe("/queue/a", 1, 1);
    broker.outputs();
    broker.settle("/queue/a", 1, 1, Outcome::Accepted);
    assert_eq!(broker.queues.queues.len(), 1);
    broker.unsubscribe("/queue/a", 1, &[]);
    broker.outputs();
    assert!(broker.queues.queues.is_empty() && broker.queues.pending.is_empty());
    assert_eq!(broker.ledger.total(), (0, Depth::default()));
    broker.unsubscribe("/queue/a", 1, &[]);
    broker.settle("/queue/a", 1, 1, Outcome::Accepted);
    assert!(broker.queues.queues.is_empty());
}

#[test]
fn a_name_of_251_octets_has_a_dead_letter_queue_and_one_of_252_has_not() {
    let name = |size: usize| destination(&format!("/queue/{}", "x".repeat(size - QUEUE.len())));
    assert!(is_name_short_enough(&name(251)) && !is_name_short_enough(&name(252)));
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Move {
        Send,
        Subscribe(u32),
        Unsubscribe(u32),
        Settle(usize, Outcome),
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let outcome = prop_oneof![Just(Outcome::Accepted), Just(Outcome::Rejected), Just(Outcome::Refused)];
        let one = prop_oneof![
            3 => Just(Move::Send),
            1 => (0..4_u32).prop_map(Move::Subscribe),
            1 => (0..4_u32).prop_map(Move::Unsubscribe),
            4 => (0..8_usize, outcome).prop_map(|(which, outcome)| Move::Settle(which, outcome)),
        ];
        proptest::collection::vec(one, 1..80)
    }

    proptest! {
        /// Every message is accounted for: settled, dead, waiting, or with exactly one consumer;
        /// and a consumer with room and a message that waits are never there together.
        #[test]
        fn no_message_is_lost_or_held_twice(moves in moves()) {
            let limits = Limits { messages: 1000, bytes: 1 << 20, total_bytes: 1 << 20, ..SETTINGS.limits };
            let mut broker = Script::with(Settings { limits, ..SETTINGS });
            let (mut sent, mut accepted) = (0, 0);
            let mut live: HashMap<u32, u32> = HashMap::new();
            let mut held: Vec<(u32, u64)> = Vec::new();
            let mut next = 10;
            for one in moves {
                match one {
                    Move::Send => {
                        sent += 1;
                        broker.send("/queue/a", sent);
                    }
                    Move::Subscribe(slot) => {
                        live.entry(slot).or_insert_with(|| {
                            next += 1;
                            broker.subscribe("/queue/a", next, 2);
                            next
                        });
                    }
                    Move::Unsubscribe(slot) => {
                        if let Some(consumer) = live.remove(&slot) {
                            broker.unsubscribe("/queue/a", consumer, &[]);
                            held.retain(|(of, _)| *of != consumer);
                        }
                    }
                    Move::Settle(which, outcome) if !held.is_empty() => {
                        let (consumer, number) = held.swap_remove(which % held.len());
                        broker.settle("/queue/a", consumer, number, outcome);
                        accepted += u64::from(outcome == Outcome::Accepted);
                    }
                    Move::Settle(..) => {}
                }
                for text in broker.outputs().split_whitespace() {
                    let (consumer, message) = text.split_once('<').unwrap();
                    let number = message.split('#').next().unwrap().parse().unwrap();
                    prop_assert!(!held.iter().any(|(_, other)| *other == number), "held twice");
                    held.push((consumer.parse().unwrap(), number));
                }
                let room = live.values().any(|consumer| held.iter().filter(|(of, _)| of == consumer).count() < 2);
                let is_waiting = broker.queues.queues.get(&destination("/queue/a")).is_some_and(|q| !q.backlog.is_empty());
                prop_assert!(!(room && is_waiting), "somebody starves");
            }
            for consumer in live.into_values() {
                broker.unsubscribe("/queue/a", consumer, &[]);
            }
            let left = broker.drain("/queue/a").len() + broker.drain("/queue/DLQ.a").len();
            prop_assert_eq!(left as u64 + accepted, sent);
        }
    }
}

struct Script {
    queues: Queues,
    ledger: Arc<Ledger>,
    now_ms: u64,
}

impl Script {
    fn new() -> Self {
        Self::with(SETTINGS)
    }

    fn with(settings: Settings) -> Self {
        let ledger = Arc::new(Ledger::new(settings.limits));
        Self { queues: Queues::new(settings, Arc::clone(&ledger)), ledger, now_ms: 0 }
    }

    fn send(&mut self, queue: &str, number: u64) {
        self.try_send(queue, number, 0).unwrap();
    }

    fn send_all(&mut self, queue: &str, numbers: impl Iterator<Item = u64>) {
        for number in numbers {
            self.send(queue, number);
        }
    }

    fn try_send(&mut self, queue: &str, number: u64, size: usize) -> Result<(), Full> {
        self.take(message(queue, number, size, None))
    }

    fn send_expiring(&mut self, queue: &str, number: u64, at_ms: u64) {
        self.take(message(queue, number, 0, Some(at_ms))).unwrap();
    }

    fn take(&mut self, message: Message) -> Result<(), Full> {
        self.ledger.reserve([(&message.destination, message_bytes(&message))].into_iter())?;
        self.queues.handle_request(Request::Send { message: Arc::new(message), asker: None });
        self.dispatch();
        Ok(())
    }

    fn subscribe(&mut self, queue: &str, number: u32, prefetch_count: u32) {
        self.subscribe_with(queue, number, prefetch_count, None);
    }

    fn subscribe_with(&mut self, queue: &str, number: u32, prefetch_count: u32, selector: Option<&str>) {
        let selector = selector.map(|text| Arc::new(Selector::parse(text).unwrap()));
        let (queue, consumer) = (destination(queue), consumer(number));
        self.queues.handle_request(Request::Subscribe {
            queue,
            consumer,
            prefetch_count,
            selector,
            takes_binary: true,
            asker: None,
        });
        self.dispatch();
    }

    fn unsubscribe(&mut self, queue: &str, number: u32, unsent: &[u64]) {
        self.unsubscribe_while(queue, number, unsent, &[]);
    }

    fn unsubscribe_while(&mut self, queue: &str, number: u32, unsent: &[u64], leaving: &[u64]) {
        let ids = |numbers: &[u64]| numbers.iter().copied().map(MessageId).collect();
        let (queue, consumer) = (destination(queue), consumer(number));
        let (unsent, leaving) = (ids(unsent), ids(leaving));
        self.queues.handle_request(Request::Unsubscribe { queue, consumer, unsent, leaving });
    }

    fn settle(&mut self, queue: &str, number: u32, message: u64, outcome: Outcome) {
        let outcomes = vec![(MessageId(message), outcome)];
        let (queue, consumer) = (destination(queue), consumer(number));
        self.queues.handle_request(Request::Settle { queue, consumer, outcomes, asker: None });
        self.dispatch();
    }

    fn dispatch(&mut self) {
        while self.queues.dispatch(self.now_ms, 1000) {}
    }

    /// `CONSUMER<MESSAGE#COUNT` for a delivery, the count where it is not the first; `!TICKET`
    /// for an answer. What is for another queue is brought there.
    fn outputs(&mut self) -> String {
        let mut texts = Vec::new();
        self.dispatch();
        while let Some(output) = self.queues.poll_output() {
            match output {
                Output::Deliver(consumer, delivery) => {
                    let (to, id) = (consumer.subscription.0, delivery.message.id.0);
                    let count = if delivery.count == 1 { String::new() } else { format!("#{}", delivery.count) };
                    texts.push(format!("{to}<{id}{count}"));
                }
                Output::Answer(asker) => texts.push(format!("!{}", asker.ticket)),
                Output::Forward(request) => self.queues.handle_request(request),
            }
            self.dispatch();
        }
        texts.join(" ")
    }

    /// All that waits in a queue.
    fn drain(&mut self, queue: &str) -> Vec<Arc<Message>> {
        self.outputs();
        let Some(queue) = self.queues.queues.get_mut(&destination(queue)) else { return Vec::new() };
        std::iter::from_fn(|| queue.backlog.take_oldest()).map(|waiting| waiting.message).collect()
    }
}

fn message(queue: &str, number: u64, size: usize, expires_at_ms: Option<u64>) -> Message {
    let headers = vec![("kind".into(), "test".into())];
    let publication = Publication { destination: destination(queue), headers, body: vec![b'x'; size].into() };
    Message::new(MessageId(number), publication, 0, expires_at_ms)
}

fn consumer(number: u32) -> Consumer {
    let connection = ConnectionKey { place: number, turn: 0 };
    Consumer { shard: 0, connection, subscription: SubscriptionId(number) }
}

fn destination(name: &str) -> Destination {
    Destination::parse(name).unwrap()
}
