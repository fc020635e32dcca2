//! Tokens expire: what the client hears, and when.

use super::*;

/// A session of ann whose token has `seconds` left.
fn expiring(seconds: u64, headers: &str) -> Peer {
    let mut peer = Peer::new(settings());
    peer.send(&format!("CONNECT\naccept-version:1.2\nhost:h\n{headers}\n\0"));
    let reply = ann_until(&peer, seconds);
    peer.reply(0, reply);
    peer.actions();
    assert!(peer.session.is_connected());
    peer
}

fn ann_until(peer: &Peer, seconds: u64) -> Reply {
    until(peer, "ann", seconds)
}

fn until(peer: &Peer, name: &str, seconds: u64) -> Reply {
    let expires_at = Some(peer.now + Duration::from_secs(seconds));
    Reply::Authenticated { principal: Principal::User(name.into()), expires_at }
}

/// What leaves at `seconds` after the start, as text.
fn at(peer: &mut Peer, start: Instant, seconds: u64) -> String {
    peer.now = start + Duration::from_secs(seconds);
    peer.session.handle_timeout(peer.now);
    texts(peer)
}

fn texts(peer: &mut Peer) -> String {
    let text = |action| {
        if let Action::Transmit(image) = action {
            return String::from_utf8_lossy(&[&image.head[..], &image.tail[..]].concat()).into_owned();
        }
        format!("{action:?}")
    };
    peer.actions().into_iter().map(text).collect()
}

#[test]
fn at_exp_the_session_ends_with_an_error_that_says_so_and_not_before() {
    let mut peer = expiring(100, "heart-beat:0,0\n");
    let start = peer.now;
    assert_eq!(peer.session.poll_timeout(), Some(start + Duration::from_secs(100)));
    assert_eq!(at(&mut peer, start, 99), "");
    let last = at(&mut peer, start, 100);
    assert!(last.starts_with("ERROR\nmessage:Session expired\n"), "{last}");
    assert!(last.contains("the token has expired; connect again with a new one"), "{last}");
    assert!(last.ends_with("Close(PolicyViolation)"), "{last}");
}

#[test]
fn nothing_is_delivered_or_taken_between_exp_and_the_timer() {
    let message = || Message::new(MessageId(1), publication("/topic/a", &[], "x"), 0, None);
    let delivery = || Delivery {
        subscription: SubscriptionId(0),
        message: Arc::new(message()),
        retained: false,
        dropped: 0,
        count: 0,
    };
    let subscribed = || {
        let mut peer = expiring(100, "");
        peer.send("SUBSCRIBE\nid:s\ndestination:/topic/a\n\n\0");
        peer.reply(1, Reply::Done);
        peer.actions();
        peer
    };
    let mut peer = subscribed();
    let exp = peer.now + Duration::from_secs(100);
    assert!(peer.session.delivery_image(exp - Duration::from_millis(1), delivery()).is_some());
    assert!(peer.session.delivery_image(exp, delivery()).is_none());
    assert!(texts(&mut peer).contains("Session expired"));
    let mut peer = subscribed();
    peer.now += Duration::from_secs(100);
    peer.send("SEND\ndestination:/topic/a\n\nx\0");
    let last = texts(&mut peer);
    assert!(last.starts_with("ERROR\nmessage:Session expired\n") && !last.contains("Publish"), "{last}");
}

#[test]
fn what_was_not_yet_carried_out_is_not_done_in_the_name_of_an_expired_session() {
    let mut peer = expiring(100, "");
    peer.send("BEGIN\ntransaction:t\nreceipt:b\n\n\0SEND\ntransaction:t\ndestination:/topic/a\n\n1\0");
    peer.send("SUBSCRIBE\nid:s\ndestination:/topic/a\n\n\0UNSUBSCRIBE\nid:s\n\n\0");
    peer.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0SEND\ndestination:/topic/a\n\n2\0");
    // The driver waits for room meanwhile, and takes no action.
    peer.now += Duration::from_secs(100);
    peer.session.handle_timeout(peer.now);
    let left = texts(&mut peer);
    let order = ["RECEIPT\nreceipt-id:b\n", "Unsubscribe", "ERROR\nmessage:Session expired\n", "Close"];
    let found: Vec<usize> = order.iter().filter_map(|part| left.find(part)).collect();
    assert!(found.len() == order.len() && found.is_sorted(), "{left}");
    for (kind, part) in
        [("SUBSCRIBE", "Subscribe {"), ("COMMIT", "Commit"), ("SEND", "Publish"), ("its receipt", "c\n\n\0")]
    {
        assert!(!left.contains(part), "{kind} is carried out: {left}");
    }
    // Other errors take nothing back.
    let mut peer = Peer::connected("1.2");
    peer.send("SEND\ndestination:/topic/a\n\n1\0NONSENSE\n\n\0");
    assert_eq!(peer.session.poll_action(), Some(publish(1, "/topic/a", "1")));
}

#[test]
fn only_who_asked_is_warned_a_minute_before() {
    let mut quiet = expiring(100, "heart-beat:0,0\n");
    let start = quiet.now;
    assert_eq!(at(&mut quiet, start, 50), "");
    let mut peer = expiring(100, "heart-beat:0,0\ntoken-refresh:true\n");
    let start = peer.now;
    assert_eq!(peer.session.poll_timeout(), Some(start + Duration::from_secs(40)));
    assert_eq!(at(&mut peer, start, 39), "");
    assert_eq!(
        at(&mut peer, start, 40),
        "MESSAGE\nsubscription:/user/queue/$auth\nmessage-id:token-expiring\ndestination:/user/queue/$auth\n\
         content-type:application/json\ncontent-length:45\n\n\
         {\"type\":\"token-expiring\",\"expiresInMs\":60000}\0"
    );
    assert_eq!(at(&mut peer, start, 41), "", "once");
    assert!(at(&mut peer, start, 100).contains("Session expired"));
}

#[test]
fn the_warning_goes_to_the_subscription_there_and_again_to_one_that_comes_late() {
    let mut peer = expiring(30, "heart-beat:0,0\ntoken-refresh:true\n");
    let start = peer.now;
    assert!(
        at(&mut peer, start, 0).contains("subscription:/user/queue/$auth\n"),
        "at once: less than a minute is left"
    );
    peer.send("SUBSCRIBE\nid:mine\ndestination:/user/queue/$auth\n\n\0");
    texts(&mut peer);
    peer.reply(1, Reply::Done);
    let warning = texts(&mut peer);
    assert!(warning.starts_with("MESSAGE\nsubscription:mine\n") && warning.contains(":30000}"), "{warning}");
}

#[test]
fn a_new_token_of_the_same_client_extends_the_session_in_place() {
    let mut peer = expiring(100, "heart-beat:0,0\ntoken-refresh:true\n");
    let start = peer.now;
    assert!(at(&mut peer, start, 40).contains("token-expiring"));
    peer.send("SEND\ndestination:/app/$auth\nreceipt:r\n\nnew-token\n\0");
    let Some(Action::Authenticate { ticket, credentials, .. }) = peer.session.poll_action() else { panic!() };
    assert_eq!(credentials, Some(Credentials::Token("new-token".into())));
    let reply = ann_until(&peer, 3600);
    peer.reply(ticket.0, reply);
    assert_eq!(texts(&mut peer), "RECEIPT\nreceipt-id:r\n\n\0");
    assert_eq!(at(&mut peer, start, 100), "");
    assert!(at(&mut peer, start, 40 + 3540).contains("token-expiring"), "it is warned anew");
    assert!(at(&mut peer, start, 40 + 3600).contains("Session expired"));
}

#[test]
fn a_new_token_may_stand_in_a_header_and_never_expire() {
    let mut peer = expiring(100, "heart-beat:0,0\n");
    let start = peer.now;
    peer.send("SEND\ndestination:/app/$auth\nAuthorization:Bearer t2\n\n\0");
    let Some(Action::Authenticate { ticket, credentials, .. }) = peer.session.poll_action() else { panic!() };
    assert_eq!(credentials, Some(Credentials::Token("t2".into())));
    peer.reply(ticket.0, Reply::Authenticated { principal: Principal::User("ann".into()), expires_at: None });
    assert_eq!(at(&mut peer, start, 1000), "");
    assert_eq!(peer.session.poll_timeout(), None);
}

#[test]
fn a_new_token_of_somebody_else_or_a_bad_one_ends_the_session() {
    for (name, text) in
        [(Some("bob"), "not for the principal of this session"), (None, "credentials were not accepted")]
    {
        let mut peer = expiring(100, "");
        peer.send("SEND\ndestination:/app/$auth\nreceipt:r\n\nt\0");
        peer.actions();
        let reply = match name {
            Some(name) => until(&peer, name, 100),
            None => Reply::Refused(Refusal::new(401, "Access refused")),
        };
        peer.reply(1, reply);
        let last = texts(&mut peer);
        assert!(last.starts_with("ERROR\nmessage:Access refused\nreceipt-id:r\n") && last.contains(text), "{last}");
        assert!(last.ends_with("Close(PolicyViolation)"), "{last}");
    }
}

#[test]
fn a_new_token_does_not_wait_in_a_transaction() {
    let mut peer = expiring(100, "");
    peer.send("BEGIN\ntransaction:t\n\n\0SEND\ndestination:/app/$auth\ntransaction:t\n\nx\0");
    let last = texts(&mut peer);
    assert!(last.contains("message:Bad header") && last.contains("a token counts at once"), "{last}");
}
