use super::*;

#[test]
fn send_publishes_with_the_senders_headers_and_its_receipt_waits() {
    let mut peer = Peer::connected("1.2");
    peer.send("SEND\ndestination:/app/a\nreceipt:r1\ncontent-type:text/plain\nx-y:a\\cb\ncontent-length:2\n\nhi\0");
    let headers = [("content-type", "text/plain"), ("x-y", "a:b")];
    let publication = publication("/app/a", &headers, "hi");
    assert_eq!(peer.actions(), [Action::Publish { ticket: Ticket(1), publication }]);
    peer.reply(1, Reply::Done);
    assert_eq!(peer.actions(), [receipt("r1")]);
}

#[test]
fn receipts_keep_the_order_of_the_frames() {
    let mut peer = Peer::connected("1.2");
    peer.send("SEND\ndestination:/app/a\nreceipt:r:1\n\n\0SEND\ndestination:/app/b\nreceipt:r2\n\n\0");
    peer.send("UNSUBSCRIBE\nid:none\nreceipt:r3\n\n\0");
    assert_eq!(peer.actions(), [publish(1, "/app/a", ""), publish(2, "/app/b", "")]);
    peer.reply(2, Reply::Done);
    assert_eq!(peer.actions(), []);
    peer.reply(1, Reply::Done);
    assert_eq!(peer.actions(), [receipt("r\\c1"), receipt("r2"), receipt("r3")]);
    peer.reply(1, Reply::Done);
    peer.reply(99, Reply::Done);
    assert_eq!(peer.actions(), []);
}

#[test]
fn reading_stops_while_too_many_tickets_are_open() {
    let mut peer = Peer::connected("1.2");
    for _ in 0..3 {
        peer.send("SEND\ndestination:/app/a\n\n\0");
    }
    assert!(peer.session.wants_read());
    peer.send("SEND\ndestination:/app/a\n\n\0SEND\ndestination:/app/b\n\n\0");
    assert!(!peer.session.wants_read());
    assert_eq!(peer.actions().len(), 4);
    peer.reply(1, Reply::Done);
    assert_eq!(peer.actions(), [publish(5, "/app/b", "")]);
    assert!(!peer.session.wants_read());
    peer.reply(2, Reply::Done);
    assert!(peer.session.wants_read());
}

#[test]
fn a_refused_send_ends_the_session_and_says_why() {
    let mut peer = Peer::connected("1.2");
    peer.send("SEND\ndestination:/queue/a\nreceipt:r1\n\n\0");
    peer.actions();
    peer.refuse(1, 404, "no such destination; allowed are /topic/NAME and /app/NAME");
    peer.assert_ended(
        "message:Refused\nreceipt-id:r1",
        "SEND refused: no such destination; allowed are /topic/NAME and /app/NAME",
        CloseReason::PolicyViolation,
    );
}

#[test]
fn a_refusal_waits_for_the_receipts_before_it() {
    let mut peer = Peer::connected("1.2");
    peer.send("SEND\ndestination:/app/a\nreceipt:r1\n\n\0SEND\ndestination:/app/b\n\n\0");
    peer.actions();
    peer.refuse(2, 503, "full");
    assert_eq!(peer.actions(), []);
    peer.reply(1, Reply::Done);
    assert_eq!(
        peer.actions(),
        [receipt("r1"), error("message:Refused", "SEND refused: full"), Action::Close(CloseReason::TryAgainLater)]
    );
}

#[test]
fn bad_destinations_are_named() {
    for (destination, body) in [
        ("", "a destination must not be empty"),
        ("topic/a", "a destination begins with /, as in /topic/NAME or /app/NAME"),
        ("/topic/a\\nb", "the destination holds a control character at octet 8"),
    ] {
        for command in ["SEND", "SUBSCRIBE"] {
            let mut peer = Peer::connected("1.2");
            peer.send(&format!("{command}\nid:1\ndestination:{destination}\n\n\0"));
            peer.assert_ended("message:Bad destination", &format!("{command}: {body}"), CloseReason::ProtocolError);
        }
    }
}

#[test]
fn subscribe_carries_all_that_it_says() {
    let mut peer = Peer::connected("1.2");
    peer.send(
        "SUBSCRIBE\nid:sub-0\ndestination:/topic/*\nack:client-individual\noverflow:latest\nselector:a = 1\n\
         prefetch-count:5\nAuthorization:Bearer t\nx:y\nreceipt:r\n\n\0",
    );
    let expected = Subscription {
        ack: AckMode::ClientIndividual,
        overflow: Overflow::Latest,
        selector: Some("a = 1".into()),
        prefetch_count: Some(5),
        credentials: Some(Credentials::Token("t".into())),
        headers: vec![("x".into(), "y".into())],
        ..subscription(0, "sub-0", "/topic/*")
    };
    assert_eq!(peer.actions(), [subscribe(1, expected)]);
    peer.reply(1, Reply::Done);
    assert_eq!(peer.actions(), [receipt("r")]);
}

#[test]
fn headers_of_subscribe_mean_something_or_are_refused() {
    for (header, body) in [
        ("ack:never", "SUBSCRIBE has ack:\"never\"; allowed is auto, client or client-individual"),
        ("overflow:x", "SUBSCRIBE has overflow:\"x\"; allowed is close, drop-oldest or latest"),
        ("prefetch-count:0", "SUBSCRIBE has prefetch-count:\"0\"; allowed is a number of messages, at least 1"),
    ] {
        let mut peer = Peer::connected("1.2");
        peer.send(&format!("SUBSCRIBE\nid:1\ndestination:/topic/a\n{header}\n\n\0"));
        peer.assert_ended("message:Bad header", body, CloseReason::ProtocolError);
    }
}

#[test]
fn required_headers_are_missed() {
    for (frame, version, header) in [
        ("SEND", "1.0", "destination"),
        ("SUBSCRIBE", "1.0", "destination"),
        ("SUBSCRIBE\ndestination:/topic/a", "1.1", "id"),
        ("UNSUBSCRIBE\ndestination:/topic/a", "1.1", "id"),
        ("UNSUBSCRIBE", "1.0", "id"),
        ("ACK", "1.0", "message-id"),
        ("ACK\nmessage-id:1", "1.1", "subscription"),
        ("NACK\nsubscription:1", "1.1", "message-id"),
        ("NACK", "1.2", "id"),
        ("BEGIN", "1.0", "transaction"),
        ("COMMIT", "1.1", "transaction"),
        ("ABORT", "1.2", "transaction"),
        // STOMP 1.2 "STOMP Frames": header names are case sensitive.
        ("SEND\nDestination:/topic/a", "1.2", "destination"),
        ("SUBSCRIBE\nID:1\ndestination:/topic/a", "1.2", "id"),
    ] {
        let mut peer = Peer::connected(version);
        peer.send(&format!("{frame}\nreceipt:r\n\n\0"));
        let command = frame.lines().next().unwrap();
        let body = format!("{command} needs the header {header}");
        peer.assert_ended("message:Missing header\nreceipt-id:r", &body, CloseReason::ProtocolError);
    }
}

#[test]
fn an_id_is_one_subscriptions_alone() {
    let mut peer = Peer::connected("1.2");
    peer.send("SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0");
    peer.actions();
    peer.send("SUBSCRIBE\nid:1\ndestination:/topic/b\n\n\0");
    let body = "there is a subscription \"1\" already; each needs an id of its own";
    peer.assert_ended("message:Duplicate subscription", body, CloseReason::ProtocolError);
}

#[test]
fn subscriptions_are_bounded() {
    let mut peer = Peer::connected("1.2");
    for n in 0..3 {
        peer.send(&format!("SUBSCRIBE\nid:{n}\ndestination:/topic/a\n\n\0"));
        peer.reply(n + 1, Reply::Done);
    }
    assert_eq!((peer.actions().len(), peer.session.subscriptions()), (3, 3));
    peer.send("SUBSCRIBE\nid:3\ndestination:/topic/a\n\n\0");
    let body = "this would be subscription 4 of the session; at most 3 are allowed";
    peer.assert_ended("message:Limit exceeded", body, CloseReason::PolicyViolation);
}

#[test]
fn a_message_carries_its_subscription_and_its_flags() {
    let mut peer = Peer::connected("1.2");
    peer.send("SUBSCRIBE\nid:s\ndestination:/topic/a\n\n\0");
    peer.actions();
    peer.deliver(0, 7);
    peer.deliver_flagged(0, 8, true, 0);
    peer.deliver_flagged(0, 9, false, 2);
    let tail = |id| format!("message-id:{id}\ndestination:/topic/a\ntimestamp:99\ncontent-length:2\n\nhi\0");
    assert_eq!(
        peer.actions(),
        [
            transmit(&format!("MESSAGE\nsubscription:s\n{}", tail(7))),
            transmit(&format!("MESSAGE\nsubscription:s\nretained:true\n{}", tail(8))),
            transmit(&format!("MESSAGE\nsubscription:s\ndropped:2\n{}", tail(9))),
        ]
    );
}

#[test]
fn no_message_comes_after_unsubscribe_nor_reaches_a_later_one_of_that_name() {
    let mut peer = Peer::connected("1.2");
    peer.send("SUBSCRIBE\nid:s\ndestination:/topic/a\n\n\0UNSUBSCRIBE\nid:s\nreceipt:r\n\n\0");
    peer.send("SUBSCRIBE\nid:s\ndestination:/topic/b\n\n\0");
    peer.reply(1, Reply::Done);
    assert_eq!(
        peer.actions(),
        [
            subscribe(1, subscription(0, "s", "/topic/a")),
            Action::Unsubscribe { subscription: SubscriptionId(0) },
            subscribe(3, subscription(1, "s", "/topic/b")),
            receipt("r"),
        ]
    );
    peer.deliver(0, 7);
    assert_eq!(peer.actions(), []);
}

#[test]
fn a_1_0_subscription_needs_no_id() {
    let mut peer = Peer::connected("1.0");
    peer.send("SUBSCRIBE\ndestination: /topic/a\n\n\0SUBSCRIBE\ndestination:/topic/b\n\n\0");
    let expected = [subscribe(1, subscription(0, "", "/topic/a")), subscribe(2, subscription(1, "", "/topic/b"))];
    assert_eq!(peer.actions(), expected);
    peer.deliver(0, 7);
    let message = "MESSAGE\nmessage-id:7\ndestination:/topic/a\ntimestamp:99\ncontent-length:2\n\nhi\0";
    assert_eq!(peer.actions(), [transmit(message)]);
    peer.send("UNSUBSCRIBE\ndestination:/topic/a\n\n\0");
    assert_eq!(peer.actions(), [Action::Unsubscribe { subscription: SubscriptionId(0) }]);
}

#[test]
fn a_1_0_subscription_with_an_id_is_named_in_its_messages_and_ended_by_it() {
    let mut peer = Peer::connected("1.0");
    peer.send("SUBSCRIBE\nid:x\ndestination:/topic/a\n\n\0SUBSCRIBE\nid:y\ndestination:/topic/a\n\n\0");
    peer.actions();
    peer.deliver(1, 7);
    let message = "MESSAGE\nsubscription:y\nmessage-id:7\ndestination:/topic/a\ntimestamp:99\ncontent-length:2\n\nhi\0";
    assert_eq!(peer.actions(), [transmit(message)]);
    peer.send("UNSUBSCRIBE\nid:y\n\n\0");
    assert_eq!(peer.actions(), [Action::Unsubscribe { subscription: SubscriptionId(1) }]);
}

#[test]
fn a_softly_refused_subscribe_ends_the_subscription_and_not_the_session() {
    let mut peer = Peer::connected("1.2");
    peer.send("SUBSCRIBE\nid:s\ndestination:/topic/a\nack:client\nreceipt:r\n\n\0");
    peer.actions();
    peer.refuse(1, 403, "not for you");
    let notice = "MESSAGE\nsubscription:s\nack:refused-0\nmessage-id:refused-0\ndestination:/topic/a\nstatus:403\n\
                  content-type:text/plain\ncontent-length:11\n\nnot for you\0";
    assert_eq!(peer.actions(), [transmit(notice), receipt("r")]);
    assert_eq!(peer.session.subscriptions(), 0);
    peer.deliver(0, 1);
    peer.send("ACK\nid:refused-0\nreceipt:a\n\n\0UNSUBSCRIBE\nid:s\n\n\0");
    assert_eq!(peer.actions(), [receipt("a")]);
    assert!(peer.session.is_connected());
}

#[test]
fn a_soft_refusal_of_what_the_client_ended_is_silent() {
    let mut peer = Peer::connected("1.2");
    peer.send("SUBSCRIBE\nid:s\ndestination:/topic/a\nreceipt:r\n\n\0UNSUBSCRIBE\nid:s\n\n\0");
    peer.actions();
    peer.refuse(1, 404, "nothing there");
    assert_eq!(peer.actions(), [receipt("r")]);
}

#[test]
fn a_refused_subscribe_ends_the_session_where_that_is_set_or_the_reason_is_another() {
    for (refusals, status) in [(Refusals::Error, 403), (Refusals::Soft, 400)] {
        let mut peer = Peer::connected_with("1.2", Settings { refusals, ..settings() }, "");
        peer.send("SUBSCRIBE\nid:s\ndestination:/topic/a\nreceipt:r\n\n\0");
        peer.actions();
        peer.refuse(1, status, "no");
        peer.assert_ended("message:Refused\nreceipt-id:r", "SUBSCRIBE refused: no", CloseReason::PolicyViolation);
    }
}

#[test]
fn a_message_that_the_transport_cannot_carry_is_counted_and_not_sent() {
    let mut peer = Peer::with_framing(settings(), &TextOnly, None);
    peer.connect("1.2", "");
    peer.send("SUBSCRIBE\nid:s\ndestination:/topic/a\nack:client\n\n\0");
    peer.actions();
    let publication = Publication { body: Bytes::from_static(b"\xff"), ..publication("/topic/a", &[], "") };
    let message = Arc::new(Message::new(MessageId(1), publication, 0, None));
    let delivery = Delivery { subscription: SubscriptionId(0), message, retained: false, dropped: 0, count: 0 };
    peer.session.handle_delivery(peer.now, delivery);
    assert_eq!((peer.actions(), peer.session.unsendable(), peer.session.unacked()), (vec![], 1, 0));
    peer.deliver(0, 2);
    let message = transmit(
        "MESSAGE\nsubscription:s\nack:0\ndropped:1\nmessage-id:2\ndestination:/topic/a\ntimestamp:99\ncontent-length:2\n\nhi\0",
    );
    assert_eq!((peer.actions(), peer.session.unsendable()), (vec![message], 1));
    peer.deliver(0, 3);
    assert!(!format!("{:?}", peer.actions()).contains("dropped"));
}

#[test]
fn a_body_that_the_transport_cannot_carry_leaves_in_base64_where_that_is_the_setting() {
    let mut peer = Peer::with_framing(Settings { encodes_binary: true, ..settings() }, &TextOnly, None);
    peer.connect("1.2", "");
    peer.send("SUBSCRIBE\nid:s\ndestination:/topic/a\n\n\0");
    peer.actions();
    let headers = [("content-transfer-encoding", "binary"), ("content-type", "image/x")];
    let publication = Publication { body: Bytes::from_static(b"\xff\0\xfe"), ..publication("/topic/a", &headers, "") };
    let message = Arc::new(Message::new(MessageId(1), publication, 0, None));
    let delivery = Delivery { subscription: SubscriptionId(0), message, retained: false, dropped: 0, count: 0 };
    peer.session.handle_delivery(peer.now, delivery);
    let message = transmit(
        "MESSAGE\nsubscription:s\nmessage-id:1\ndestination:/topic/a\ntimestamp:0\ncontent-length:4\n\
         content-transfer-encoding:base64\ncontent-type:image/x\n\n/wD+\0",
    );
    assert_eq!((peer.actions(), peer.session.unsendable()), (vec![message], 0));
}

#[test]
fn replies_to_a_temporary_queue_come_on_a_subscription_of_its_name() {
    let mut peer = Peer::connected("1.2");
    let queue = Destination::parse("/temp-queue/a").unwrap();
    assert_eq!(peer.session.handle_reply_to(&queue), Ok(Some(SubscriptionId(0))));
    assert_eq!(peer.session.handle_reply_to(&queue), Ok(None));
    peer.deliver(0, 1);
    assert_eq!(
        peer.actions(),
        [transmit(
            "MESSAGE\nsubscription:/temp-queue/a\nmessage-id:1\ndestination:/topic/a\ntimestamp:99\n\
             content-length:2\n\nhi\0"
        )]
    );
}

#[test]
fn a_subscribe_takes_the_place_of_the_subscription_that_reply_to_opened() {
    let mut peer = Peer::connected("1.2");
    let queue = Destination::parse("/temp-queue/a").unwrap();
    assert_eq!(peer.session.handle_reply_to(&queue), Ok(Some(SubscriptionId(0))));
    peer.send("SUBSCRIBE\nid:/temp-queue/a\ndestination:/temp-queue/a\n\n\0");
    assert_eq!(
        peer.actions(),
        [
            Action::Unsubscribe { subscription: SubscriptionId(0) },
            subscribe(1, subscription(1, "/temp-queue/a", "/temp-queue/a"))
        ]
    );
    assert_eq!(peer.session.handle_reply_to(&queue), Ok(None));
}

#[test]
fn a_reply_to_opens_no_more_subscriptions_than_there_may_be() {
    let mut peer = Peer::connected("1.2");
    for n in 0..3 {
        let queue = Destination::parse(&format!("/temp-queue/{n}")).unwrap();
        assert_eq!(peer.session.handle_reply_to(&queue), Ok(Some(SubscriptionId(n))));
    }
    let queue = Destination::parse("/temp-queue/3").unwrap();
    assert_eq!(peer.session.handle_reply_to(&queue), Err(SessionError::TooManySubscriptions { count: 4, max: 3 }));
}

#[test]
fn a_redelivery_says_so_and_how_often() {
    let mut peer = Peer::connected("1.2");
    peer.send("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\n\n\0");
    peer.actions();
    for (count, flags) in [(1, ""), (2, "redelivered:true\ndelivery-count:2\n")] {
        let message = Arc::new(Message::new(MessageId(7), publication("/queue/a", &[], ""), 99, None));
        let delivery = Delivery { subscription: SubscriptionId(0), message, retained: false, dropped: 0, count };
        peer.session.handle_delivery(peer.now, delivery);
        let ack = count - 1;
        let head = format!("MESSAGE\nsubscription:s\nack:{ack}\n{flags}message-id:7\ndestination:/queue/a\n");
        assert_eq!(peer.actions(), [transmit(&format!("{head}timestamp:99\ncontent-length:0\n\n\0"))]);
    }
}

#[derive(Debug)]
struct TextOnly;

impl Framing for TextOnly {
    fn row(&self) -> usize {
        1
    }

    fn carries_binary(&self) -> bool {
        false
    }

    fn tail(&self, tail: &Bytes, _is_text: bool) -> Tail {
        tail.clone().into()
    }

    fn head(&self, head: &[u8], _tail: &Tail, _is_text: bool) -> Bytes {
        Bytes::copy_from_slice(head)
    }
}

#[test]
fn frames_of_the_server_and_of_later_versions_are_refused() {
    for (command, version) in
        [("MESSAGE", "1.2"), ("RECEIPT", "1.1"), ("ERROR", "1.0"), ("CONNECTED", "1.2"), ("NACK", "1.0")]
    {
        let mut peer = Peer::connected(version);
        peer.send(&format!("{command}\n\n\0"));
        let body = format!("{command} is not a client's frame in STOMP {version}");
        peer.assert_ended("message:Unexpected command", &body, CloseReason::ProtocolError);
    }
}
