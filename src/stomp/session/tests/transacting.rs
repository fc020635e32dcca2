use super::*;

fn commit(ticket: u64, bodies: &[&str]) -> Action {
    let part = |body: &&str| TransactionAction::Publish(publication("/app/a", &[], body));
    Action::Commit { ticket: Ticket(ticket), actions: bodies.iter().map(part).collect() }
}

fn send_in(transaction: &str, body: &str) -> String {
    format!("SEND\ndestination:/app/a\ntransaction:{transaction}\n\n{body}\0")
}

#[test]
fn commit_carries_all_out_in_order_and_its_receipt_waits() {
    let mut peer = Peer::connected("1.2");
    peer.send("BEGIN\ntransaction:t\nreceipt:b\n\n\0");
    peer.send("SEND\ndestination:/app/a\ntransaction:t\nreceipt:s\n\n1\0");
    peer.send(&send_in("t", "2"));
    assert_eq!(peer.actions(), [receipt("b"), receipt("s")]);
    peer.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0");
    assert_eq!(peer.actions(), [commit(3, &["1", "2"])]);
    peer.reply(3, Reply::Done);
    assert_eq!(peer.actions(), [receipt("c")]);
}

#[test]
fn open_transactions_do_not_mix() {
    let mut peer = Peer::connected("1.1");
    peer.send("BEGIN\ntransaction:t\n\n\0BEGIN\ntransaction:u\n\n\0");
    peer.send(&[send_in("t", "1"), send_in("u", "2"), send_in("t", "3")].concat());
    peer.send("SEND\ndestination:/app/a\n\nnow\0COMMIT\ntransaction:u\n\n\0ABORT\ntransaction:t\nreceipt:r\n\n\0");
    assert_eq!(peer.actions(), [publish(1, "/app/a", "now"), commit(2, &["2"])]);
    peer.reply(1, Reply::Done);
    peer.reply(2, Reply::Done);
    assert_eq!(peer.actions(), [receipt("r")]);
}

#[test]
fn an_empty_commit_needs_no_broker() {
    let mut peer = Peer::connected("1.0");
    peer.send("BEGIN\ntransaction:t\n\n\0COMMIT\ntransaction:t\nreceipt:c\n\n\0");
    assert_eq!(peer.actions(), [receipt("c")]);
}

#[test]
fn a_refused_commit_ends_the_session() {
    let mut peer = Peer::connected("1.2");
    peer.send("BEGIN\ntransaction:t\n\n\0");
    peer.send(&send_in("t", "1"));
    peer.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0");
    peer.actions();
    peer.refuse(1, 403, "not there");
    peer.assert_ended("message:Refused\nreceipt-id:c", "COMMIT refused: not there", CloseReason::PolicyViolation);
}

#[test]
fn a_transaction_is_begun_once_and_known_when_named() {
    let mut peer = Peer::connected("1.2");
    peer.send("BEGIN\ntransaction:t\n\n\0BEGIN\ntransaction:t\n\n\0");
    peer.assert_ended(
        "message:Duplicate transaction",
        "the transaction \"t\" is open already",
        CloseReason::ProtocolError,
    );
    for frame in ["SEND\ndestination:/app/a", "ACK\nid:0", "NACK\nid:0", "COMMIT", "ABORT"] {
        let mut peer = Peer::connected("1.2");
        peer.send(&format!("{frame}\ntransaction:t\nreceipt:r\n\n\0"));
        let command = frame.lines().next().unwrap();
        let body = format!("{command} names the transaction \"t\", which is not open");
        peer.assert_ended("message:Unknown transaction\nreceipt-id:r", &body, CloseReason::ProtocolError);
    }
}

#[test]
fn open_transactions_are_bounded() {
    let mut peer = Peer::connected("1.2");
    peer.send("BEGIN\ntransaction:1\n\n\0BEGIN\ntransaction:2\n\n\0");
    assert_eq!(peer.actions(), []);
    peer.send("BEGIN\ntransaction:3\n\n\0");
    let body = "this would be open transaction 3 of the session; at most 2 are allowed";
    peer.assert_ended("message:Limit exceeded", body, CloseReason::PolicyViolation);
}

#[test]
fn actions_of_a_transaction_are_bounded() {
    let mut peer = Peer::connected("1.2");
    peer.send("BEGIN\ntransaction:t\n\n\0");
    peer.send(&send_in("t", "").repeat(3));
    assert_eq!(peer.actions(), []);
    peer.send(&send_in("t", ""));
    let body = "the transaction would have 4 actions; at most 3 are allowed";
    peer.assert_ended("message:Limit exceeded", body, CloseReason::PolicyViolation);
}

#[test]
fn octets_of_a_transaction_are_bounded() {
    let mut peer = Peer::connected("1.2");
    peer.send("BEGIN\ntransaction:t\n\n\0");
    // destination:/app/a is 17 octets without its colon, transaction:t 12.
    peer.send(&send_in("t", &"x".repeat(200 - 29)));
    assert_eq!(peer.actions(), []);
    peer.send(&send_in("t", ""));
    let body = "the transaction would hold 229 octets; at most 200 are allowed";
    peer.assert_ended("message:Limit exceeded", body, CloseReason::PolicyViolation);
}

#[test]
fn commit_is_refused_where_what_it_acknowledges_has_gone_back() {
    for (destination, is_refused) in [("/queue/a", true), ("/topic/a", false)] {
        let mut peer = Peer::connected("1.2");
        peer.send(&format!("SUBSCRIBE\nid:s\nack:client\ndestination:{destination}\n\n\0"));
        peer.reply(1, Reply::Done);
        peer.deliver(0, 1);
        peer.send("BEGIN\ntransaction:t\n\n\0ACK\nid:0\ntransaction:t\n\n\0");
        peer.send("UNSUBSCRIBE\nid:s\n\n\0");
        peer.actions();
        peer.send("COMMIT\ntransaction:t\n\n\0");
        if is_refused {
            peer.assert_ended(
                "message:Unknown message",
                "COMMIT of the transaction \"t\", which acknowledges messages of a subscription that has ended: they \
                 have gone back to their queue",
                CloseReason::ProtocolError,
            );
        } else {
            assert_eq!(peer.actions().len(), 1);
        }
    }
}
