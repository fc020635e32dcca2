use super::*;

#[test]
fn disconnect_is_answered_then_the_peer_may_close_first() {
    let mut peer = Peer::connected("1.2");
    peer.send("SEND\ndestination:/app/a\nreceipt:s\n\n\0DISCONNECT\nreceipt:d\n\n\0SEND\ndestination:/app/b\n\n\0");
    assert_eq!(peer.actions(), [publish(1, "/app/a", "")]);
    assert_eq!(peer.due_in(), None);
    assert!(!peer.session.is_connected() && peer.session.wants_read());
    peer.reply(1, Reply::Done);
    assert_eq!(peer.actions(), [receipt("s"), receipt("d")]);
    assert_eq!(peer.due_in(), Some(1000));
    peer.deliver(0, 1);
    peer.send("SEND\ndestination:/app/c\n\n\0");
    peer.sleep(999);
    assert_eq!(peer.actions(), []);
    peer.sleep(1);
    assert_eq!(peer.actions(), [Action::Close(CloseReason::Disconnect)]);
    assert_eq!((peer.due_in(), peer.session.wants_read()), (None, false));
}

#[test]
fn disconnect_without_receipt_closes_as_well_and_aborts_transactions() {
    let mut peer = Peer::connected("1.2");
    peer.send("BEGIN\ntransaction:t\n\n\0SEND\ndestination:/app/a\ntransaction:t\n\n\0DISCONNECT\n\n\0");
    assert_eq!(peer.actions(), []);
    peer.sleep(1000);
    assert_eq!(peer.actions(), [Action::Close(CloseReason::Disconnect)]);
}

#[test]
fn the_server_beats_when_nothing_else_left() {
    let mut peer = Peer::connected_with("1.2", settings(), "heart-beat:0,15000\n");
    assert_eq!(peer.due_in(), Some(15_000));
    peer.sleep(14_999);
    assert_eq!(peer.actions(), []);
    peer.sleep(1);
    assert_eq!(peer.actions(), [transmit("\n")]);
    assert_eq!(peer.due_in(), Some(15_000));
    peer.sleep(10_000);
    peer.session.handle_transmitted(peer.now);
    assert_eq!(peer.due_in(), Some(15_000));
}

#[test]
fn the_servers_own_interval_is_the_least() {
    let peer = Peer::connected_with("1.1", settings(), "heart-beat:0,1\n");
    assert_eq!(peer.due_in(), Some(10_000));
}

#[test]
fn there_are_no_heart_beats_unless_both_want_them() {
    for (version, headers) in [("1.2", ""), ("1.2", "heart-beat:0,0\n"), ("1.0", "heart-beat:1000,1000\n")] {
        assert_eq!(Peer::connected_with(version, settings(), headers).due_in(), None);
    }
    let off = Settings { heart_beat_send: Duration::ZERO, heart_beat_receive: Duration::ZERO, ..settings() };
    assert_eq!(Peer::connected_with("1.2", off, "heart-beat:1000,1000\n").due_in(), None);
}

#[test]
fn a_silent_client_is_disconnected_after_the_negotiated_time() {
    let mut peer = Peer::connected_with("1.2", settings(), "heart-beat:12000,0\n");
    assert_eq!(peer.due_in(), Some(24_000));
    peer.sleep(23_999);
    peer.send("\n");
    assert_eq!(peer.due_in(), Some(24_000));
    peer.send("SEND\ndest");
    peer.sleep(23_999);
    assert_eq!(peer.actions(), []);
    peer.sleep(1);
    let body = "nothing came for 24000 ms; the client promised a heart-beat every 12000 ms";
    peer.assert_ended("message:Heart-beat missing", body, CloseReason::PolicyViolation);
}

#[test]
fn time_without_reading_is_not_the_clients_silence() {
    let mut peer = Peer::connected_with("1.2", settings(), "heart-beat:10000,0\n");
    peer.sleep(15_000);
    for _ in 0..4 {
        peer.send("SEND\ndestination:/app/a\n\n\0");
    }
    assert_eq!((peer.actions().len(), peer.session.wants_read(), peer.due_in()), (4, false, None));
    peer.sleep(100_000);
    assert_eq!(peer.actions(), []);
    peer.reply(1, Reply::Done);
    assert_eq!(peer.due_in(), Some(20_000));
    peer.sleep(5_000);
    peer.send("SEND\ndestination:/app/a\n\n\0");
    peer.sleep(60_000);
    peer.send("\n");
    peer.sleep(60_000);
    peer.reply(2, Reply::Done);
    assert_eq!(peer.due_in(), Some(20_000));
    peer.sleep(20_000);
    assert_eq!(peer.actions().len(), 3);
}

#[test]
fn the_driver_ends_a_session_with_the_reason() {
    for (error, header, body, reason) in [
        (
            SessionError::SlowConsumer { messages: 1024, bytes: 70_000 },
            "message:slow consumer",
            "slow consumer: 1024 messages of 70000 octets wait for the client; it reads too slowly, \
             or should subscribe with overflow:drop-oldest or overflow:latest",
            CloseReason::PolicyViolation,
        ),
        (
            SessionError::ShuttingDown,
            "message:Server shutting down",
            "the server is shutting down; connect again later",
            CloseReason::TryAgainLater,
        ),
    ] {
        let mut peer = Peer::connected("1.2");
        peer.session.handle_error(peer.now, error.clone());
        peer.session.handle_error(peer.now, error);
        peer.assert_ended(header, body, reason);
    }
}

#[test]
fn close_reasons_have_their_codes() {
    let codes = |reason: CloseReason| (reason.websocket_code(), reason.sockjs_close().0);
    assert_eq!(codes(CloseReason::Disconnect), (1000, 3000));
    assert_eq!(codes(CloseReason::ProtocolError), (1002, 1002));
    assert_eq!(codes(CloseReason::PolicyViolation), (1008, 1008));
    assert_eq!(codes(CloseReason::InternalError), (1011, 1011));
    assert_eq!(codes(CloseReason::TryAgainLater), (1013, 1013));
}

#[test]
fn an_error_of_the_wire_ends_the_session_after_what_came_before() {
    let mut peer = Peer::connected("1.2");
    peer.send("SEND\ndestination:/app/a\n\n\0ACK\nid:1\n\nbody\0and more");
    assert_eq!(peer.session.decoder.waiting_bytes(), 0);
    let body = "ACK must not have a body; only SEND, MESSAGE and ERROR may";
    assert_eq!(
        peer.actions(),
        [publish(1, "/app/a", ""), error("message:Malformed frame", body), Action::Close(CloseReason::ProtocolError)]
    );
    peer.reply(1, Reply::Done);
    assert_eq!(peer.actions(), []);
}

#[test]
fn disconnect_ends_the_subscriptions_at_once() {
    let mut peer = Peer::connected("1.2");
    peer.send("SUBSCRIBE\nid:a\ndestination:/queue/a\n\n\0SUBSCRIBE\nid:b\ndestination:/topic/b\n\n\0");
    peer.reply(1, Reply::Done);
    peer.reply(2, Reply::Done);
    peer.actions();
    peer.send("DISCONNECT\nreceipt:r\n\n\0");
    let ended = |id| Action::Unsubscribe { subscription: SubscriptionId(id) };
    assert_eq!(peer.actions(), [ended(0), ended(1), receipt("r")]);
}
