use super::*;

fn settlement(subscription: u32, message: u64, accepted: bool) -> Settlement {
    Settlement { subscription: SubscriptionId(subscription), message: MessageId(message), accepted, requeue: !accepted }
}

fn settle(ticket: u64, settlements: &[Settlement]) -> Action {
    Action::Settle { ticket: Ticket(ticket), settlements: settlements.to_vec() }
}

/// Two subscriptions `a` and `b` in that mode; messages 10 and 12 on `a`, 11 on `b`.
fn delivered(version: &str, mode: &str) -> Peer {
    let mut peer = Peer::connected(version);
    for (name, ticket) in [("a", 1), ("b", 2)] {
        peer.send(&format!("SUBSCRIBE\nid:{name}\ndestination:/topic/a\nack:{mode}\n\n\0"));
        peer.reply(ticket, Reply::Done);
    }
    for (subscription, message) in [(0, 10), (1, 11), (0, 12)] {
        peer.deliver(subscription, message);
    }
    let actions = peer.actions();
    assert_eq!(actions.len(), 5, "{actions:?}");
    peer
}

#[test]
fn only_1_2_has_an_ack_header_and_only_where_the_mode_asks() {
    for (version, mode, ack) in [
        ("1.2", "client", "ack:0\n"),
        ("1.2", "client-individual", "ack:0\n"),
        ("1.2", "auto", ""),
        ("1.1", "client", ""),
    ] {
        let mut peer = Peer::connected(version);
        peer.send(&format!("SUBSCRIBE\nid:a\ndestination:/topic/a\nack:{mode}\n\n\0"));
        peer.actions();
        peer.deliver(0, 10);
        let message = format!(
            "MESSAGE\nsubscription:a\n{ack}message-id:10\ndestination:/topic/a\ntimestamp:99\ncontent-length:2\n\nhi\0"
        );
        assert_eq!(peer.actions(), [transmit(&message)]);
    }
}

#[test]
fn an_individual_ack_covers_one_message() {
    let mut peer = delivered("1.2", "client-individual");
    peer.send("ACK\nid:2\nreceipt:r\n\n\0");
    assert_eq!(peer.actions(), [settle(3, &[settlement(0, 12, true)])]);
    peer.reply(3, Reply::Done);
    assert_eq!(peer.actions(), [receipt("r")]);
    assert_eq!(peer.session.unacked(), 2);
}

#[test]
fn a_cumulative_ack_covers_the_earlier_messages_of_its_subscription() {
    let mut peer = delivered("1.2", "client");
    peer.send("ACK\nid:2\n\n\0");
    assert_eq!(peer.actions(), [settle(3, &[settlement(0, 10, true), settlement(0, 12, true)])]);
    assert_eq!(peer.session.unacked(), 1);
}

#[test]
fn nack_asks_for_redelivery_unless_it_says_otherwise() {
    let mut peer = delivered("1.2", "client-individual");
    peer.send("NACK\nid:0\nrequeue:true\n\n\0NACK\nid:1\nrequeue:False\n\n\0");
    let dead = Settlement { requeue: false, ..settlement(1, 11, false) };
    assert_eq!(peer.actions(), [settle(3, &[settlement(0, 10, false)]), settle(4, &[dead])]);
}

#[test]
fn version_1_1_names_message_and_subscription() {
    let mut peer = delivered("1.1", "client");
    peer.send("ACK\nmessage-id:11\nsubscription:b\n\n\0NACK\nmessage-id:12\nsubscription:a\n\n\0");
    assert_eq!(
        peer.actions(),
        [settle(3, &[settlement(1, 11, true)]), settle(4, &[settlement(0, 10, false), settlement(0, 12, false)])]
    );
}

#[test]
fn version_1_0_names_the_message() {
    let mut peer = delivered("1.0", "client");
    peer.send("ACK\nmessage-id:10\n\n\0");
    assert_eq!(peer.actions(), [settle(3, &[settlement(0, 10, true)])]);
}

#[test]
fn an_unknown_message_is_an_error() {
    for (version, frame, id) in [
        ("1.2", "ACK\nid:3", "3"),
        ("1.2", "ACK\nid:+1", "+1"),
        ("1.2", "NACK\nid:", ""),
        ("1.1", "ACK\nmessage-id:10\nsubscription:b", "10"),
        ("1.1", "ACK\nmessage-id:10\nsubscription:c", "10"),
        ("1.0", "ACK\nmessage-id:13", "13"),
    ] {
        let mut peer = delivered(version, "client");
        peer.send(&format!("{frame}\nreceipt:r\n\n\0"));
        let body = format!("{} names {id:?}, which no delivered message waits for", frame.lines().next().unwrap());
        peer.assert_ended("message:Unknown message\nreceipt-id:r", &body, CloseReason::ProtocolError);
    }
}

#[test]
fn a_message_is_acknowledged_once() {
    let mut peer = delivered("1.2", "client");
    peer.send("ACK\nid:0\n\n\0");
    peer.actions();
    peer.send("ACK\nid:0\n\n\0");
    let body = "ACK names \"0\", which no delivered message waits for";
    peer.assert_ended("message:Unknown message", body, CloseReason::ProtocolError);
}

#[test]
fn waiting_messages_are_bounded() {
    let mut peer = delivered("1.2", "client");
    peer.deliver(0, 13);
    assert_eq!((peer.actions().len(), peer.session.unacked()), (1, 4));
    peer.deliver(0, 14);
    let body = "5 messages would wait for ACK or NACK; at most 4 may";
    peer.assert_ended("message:Limit exceeded", body, CloseReason::PolicyViolation);
}

#[test]
fn an_ended_subscription_waits_for_nothing() {
    let mut peer = delivered("1.2", "client");
    peer.send("UNSUBSCRIBE\nid:a\n\n\0");
    assert_eq!(peer.actions(), [Action::Unsubscribe { subscription: SubscriptionId(0) }]);
    assert_eq!(peer.session.unacked(), 1);
}

#[test]
fn a_transaction_holds_acknowledgements_and_abort_gives_them_back() {
    let mut peer = delivered("1.2", "client");
    peer.send("BEGIN\ntransaction:t\n\n\0ACK\nid:2\ntransaction:t\n\n\0");
    assert_eq!((peer.actions(), peer.session.unacked()), (vec![], 3));
    peer.send("ABORT\ntransaction:t\nreceipt:r\n\n\0ACK\nid:0\n\n\0");
    assert_eq!(peer.actions(), [receipt("r"), settle(4, &[settlement(0, 10, true)])]);
    assert_eq!(peer.session.unacked(), 2);
    peer.send("BEGIN\ntransaction:t\n\n\0NACK\nid:2\ntransaction:t\n\n\0COMMIT\ntransaction:t\n\n\0");
    let actions = vec![TransactionAction::Settle(vec![settlement(0, 12, false)])];
    assert_eq!(peer.actions(), [Action::Commit { ticket: Ticket(5), actions }]);
    assert_eq!(peer.session.unacked(), 1);
}

#[test]
fn what_abort_gives_back_stands_in_the_order_of_delivery() {
    let mut peer = delivered("1.2", "client");
    peer.send("BEGIN\ntransaction:t\n\n\0ACK\nid:2\ntransaction:t\n\n\0");
    peer.deliver(0, 13);
    peer.actions();
    peer.send("ABORT\ntransaction:t\n\n\0ACK\nid:3\n\n\0");
    let settled = [10, 12, 13].map(|message| settlement(0, message, true));
    assert_eq!(peer.actions(), [settle(3, &settled)]);
    peer.send("ACK\nid:1\n\n\0");
    assert_eq!(peer.actions(), [settle(4, &[settlement(1, 11, true)])]);
}

#[test]
fn abort_gives_nothing_back_to_a_subscription_that_ended() {
    let mut peer = delivered("1.2", "client");
    peer.send(
        "BEGIN\ntransaction:t\n\n\0ACK\nid:2\ntransaction:t\n\n\0UNSUBSCRIBE\nid:a\n\n\0ABORT\ntransaction:t\n\n\0",
    );
    assert_eq!(peer.session.unacked(), 1);
}
