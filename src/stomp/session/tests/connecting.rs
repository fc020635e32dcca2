use super::*;

fn authenticate(credentials: Option<Credentials>, host: Option<&str>) -> Action {
    Action::Authenticate { ticket: Ticket(0), credentials, host: host.map(Into::into) }
}

fn user(name: &str) -> Reply {
    Reply::Authenticated { principal: Principal::User(name.into()), expires_at: None }
}

#[test]
fn connect_asks_who_it_is_and_connected_answers() {
    let mut peer = Peer::new(settings());
    peer.send("CONNECT\naccept-version:1.0,1.1,1.2\nhost:h\nlogin:ann\npasscode:pw\n\n\0");
    let password = Credentials::Password { login: "ann".into(), passcode: "pw".into() };
    assert_eq!(peer.actions(), [authenticate(Some(password), Some("h"))]);
    assert!(!peer.session.wants_read());
    assert_eq!(peer.due_in(), None);
    peer.reply(0, user("ann"));
    assert_eq!(
        peer.actions(),
        [transmit(
            "CONNECTED\nversion:1.2\nsession:unguessable\nserver:stompbox/0\nheart-beat:10000,10000\nuser-name:ann\n\n\0"
        )]
    );
    assert!(peer.session.wants_read());
    assert_eq!((peer.session.version(), peer.session.frames_in()), (Some(Version::V1_2), 1));
    assert_eq!(peer.session.principal().name(), Some("ann"));
}

#[test]
fn each_version_is_answered_and_none_offered_is_1_0() {
    for (headers, version, beats) in [
        ("", "1.0", "0,0"),
        ("accept-version:1.0\n", "1.0", "0,0"),
        ("accept-version:1.1,1.0\n", "1.1", "10000,10000"),
        ("accept-version:1.2,3.0\n", "1.2", "10000,10000"),
    ] {
        let mut peer = Peer::new(Settings { server: None, ..settings() });
        peer.send(&format!("STOMP\n{headers}\n\0"));
        assert_eq!(peer.actions(), [authenticate(None, None)]);
        peer.reply(0, Reply::Authenticated { principal: Principal::Anonymous, expires_at: None });
        let connected = format!("CONNECTED\nversion:{version}\nsession:unguessable\nheart-beat:{beats}\n\n\0");
        assert_eq!(peer.actions(), [transmit(&connected)]);
    }
}

// STOMP 1.2 "Header receipt": any client frame other than CONNECT.
#[test]
fn a_receipt_on_connect_is_not_answered() {
    let mut peer = Peer::new(settings());
    peer.send("CONNECT\naccept-version:1.2\nhost:h\nreceipt:r\n\n\0");
    peer.actions();
    peer.reply(0, user("ann"));
    assert_eq!(peer.actions().len(), 1, "CONNECTED alone");
}

#[test]
fn no_common_version_is_told_with_the_list() {
    let mut peer = Peer::new(settings());
    peer.send("CONNECT\naccept-version:2.0\n\n\0");
    peer.assert_ended(
        "message:No common version\nversion:1.0,1.1,1.2",
        "none of the versions \"2.0\" is spoken here; supported are 1.0,1.1,1.2",
        CloseReason::ProtocolError,
    );
}

#[test]
fn refused_access_gives_no_hint() {
    let mut peer = Peer::new(settings());
    peer.send("CONNECT\n\n\0");
    peer.actions();
    peer.refuse(0, 401, "no such user");
    peer.assert_ended("message:Access refused", "the credentials were not accepted", CloseReason::PolicyViolation);
}

#[test]
fn an_authenticator_that_fails_is_not_the_clients_fault() {
    let mut peer = Peer::new(settings());
    peer.send("CONNECT\n\n\0");
    peer.actions();
    peer.refuse(0, 503, "database down");
    let body = "the server cannot do this now; try again later";
    peer.assert_ended("message:Unavailable", body, CloseReason::TryAgainLater);
}

#[test]
fn credentials_of_the_upgrade_request_count_where_connect_has_none() {
    let offered = Some(Credentials::Token("cookie".into()));
    let mut peer = Peer::with_framing(settings(), &Plain, offered.clone());
    peer.send("CONNECT\n\n\0");
    assert_eq!(peer.actions(), [authenticate(offered.clone(), None)]);
    let mut peer = Peer::with_framing(settings(), &Plain, offered);
    peer.send("CONNECT\nAuthorization:Bearer own\n\n\0");
    assert_eq!(peer.actions(), [authenticate(Some(Credentials::Token("own".into())), None)]);
}

#[test]
fn a_1_0_login_loses_its_blank_and_a_1_2_passcode_keeps_it() {
    let mut peer = Peer::new(settings());
    peer.send("CONNECT\nlogin: ann\npasscode: pw\n\n\0");
    let password =
        |login: &str, passcode: &str| Some(Credentials::Password { login: login.into(), passcode: passcode.into() });
    assert_eq!(peer.actions(), [authenticate(password("ann", "pw"), None)]);
    let mut peer = Peer::new(settings());
    peer.send("CONNECT\naccept-version:1.2\nlogin:ann\npasscode: pw\n\n\0");
    assert_eq!(peer.actions(), [authenticate(password("ann", " pw"), None)]);
}

#[test]
fn what_comes_behind_connect_waits_for_the_answer() {
    let mut peer = Peer::new(settings());
    peer.send("CONNECT\naccept-version:1.2\r\n\r\n\0SEND\ndestination:/app/a\\cb\n\nx\0");
    peer.send("SEND\ndestination:/app/c\n\ny\0");
    assert_eq!(peer.actions(), [authenticate(None, None)]);
    assert_eq!(peer.session.frames_in(), 1);
    peer.reply(0, user("ann"));
    let actions = peer.actions();
    assert_eq!(actions[1..], [publish(1, "/app/a:b", "x"), publish(2, "/app/c", "y")]);
}

#[test]
fn what_waits_for_the_answer_is_bounded() {
    let mut peer = Peer::new(settings());
    peer.send("CONNECT\n\n\0");
    peer.actions();
    peer.send(&"x".repeat(2000));
    assert_eq!(peer.actions(), []);
    peer.send("x");
    assert_eq!(peer.actions(), []);
    peer.send("x");
    let size = 2001 + size_of::<Bytes>() + 1;
    let body = format!("{size} octets wait for the broker; at most 2000 may");
    peer.assert_ended("message:Limit exceeded", &body, CloseReason::InternalError);
}

#[test]
fn the_first_frame_must_be_connect() {
    let mut peer = Peer::new(settings());
    peer.send("SEND\ndestination:/app/a\nreceipt:7\n\nx\0");
    let body = "SEND came before CONNECTED; the first frame is CONNECT or STOMP";
    peer.assert_ended("message:Not connected\nreceipt-id:7", body, CloseReason::ProtocolError);
}

#[test]
fn the_first_frame_must_come_in_time() {
    let mut peer = Peer::new(settings());
    assert_eq!(peer.due_in(), Some(10_000));
    peer.send("CONNECT\n");
    peer.sleep(9_999);
    assert_eq!(peer.actions(), []);
    peer.sleep(1);
    peer.assert_ended("message:Connect timeout", "no CONNECT came within 10000 ms", CloseReason::PolicyViolation);
}

#[test]
fn a_second_connect_is_an_error() {
    for command in ["CONNECT", "STOMP"] {
        let mut peer = Peer::connected("1.2");
        peer.send(&format!("{command}\n\n\0"));
        let body = format!("{command} came on a connection that is connected already");
        peer.assert_ended("message:Already connected", &body, CloseReason::ProtocolError);
    }
}

#[test]
fn a_missing_host_is_refused_only_where_strict() {
    let mut peer = Peer::new(Settings { strict_host: true, ..settings() });
    peer.send("CONNECT\naccept-version:1.2\n\n\0");
    peer.assert_ended("message:Missing header", "CONNECT needs the header host", CloseReason::ProtocolError);
    let mut peer = Peer::new(Settings { strict_host: true, ..settings() });
    peer.send("CONNECT\n\n\0");
    assert_eq!(peer.actions(), [authenticate(None, None)], "1.0 has no host");
}

#[test]
fn an_unknown_host_is_refused() {
    let hosts = Settings { hosts: vec!["Known".into()], ..settings() };
    let mut peer = Peer::new(hosts.clone());
    peer.send("CONNECT\nhost:known\n\n\0");
    assert_eq!(peer.actions(), [authenticate(None, Some("known"))]);
    let mut peer = Peer::new(hosts);
    peer.send("CONNECT\nhost:other\n\n\0");
    let body = "the host \"other\" is not served here";
    peer.assert_ended("message:Unknown host", body, CloseReason::PolicyViolation);
}

#[test]
fn a_heart_beat_header_that_is_no_pair_of_numbers_is_refused() {
    let mut peer = Peer::new(settings());
    peer.send("CONNECT\naccept-version:1.1\nheart-beat:soon\n\n\0");
    let body = "CONNECT has heart-beat:\"soon\"; allowed is two numbers of milliseconds, as in 10000,10000";
    peer.assert_ended("message:Bad header", body, CloseReason::ProtocolError);
}

#[test]
fn octets_that_are_no_frame_end_the_session_before_connected_too() {
    let mut peer = Peer::new(settings());
    peer.send("GET / HTTP/1.1\r\nhost:x\r\n\r\n");
    let body = "unknown command \"GET / HTTP/1.1\"; commands are upper case, as in SEND or SUBSCRIBE";
    peer.assert_ended("message:Malformed frame", body, CloseReason::ProtocolError);
}

#[test]
fn a_frame_before_connected_has_its_own_limit() {
    let mut peer = Peer::new(settings());
    peer.send("CONNECT\ncontent-length:600\n\n");
    let body = "the frame has 628 octets or more; at most 500 are allowed before CONNECTED";
    peer.assert_ended("message:Malformed frame", body, CloseReason::ProtocolError);
}

#[test]
fn a_name_that_connected_cannot_carry_is_left_out() {
    let mut peer = Peer::new(settings());
    peer.send("CONNECT\naccept-version:1.2\n\n\0");
    peer.actions();
    peer.reply(0, user("ann\nserver:forged"));
    assert!(!format!("{:?}", peer.actions()).contains("forged"));
}
