//! What other settings do to those who are connected, and what the end of a token does to what waits.

use std::path::Path;

use serde_json::{Value, json};
use stompbox::broker::auth::hash_password;
use stompbox::session::REVOKED;
use tokio::time::timeout;

use crate::common::{PATIENCE, Server, Stomp};
use crate::sockjs::Http;
use crate::trust::{SECRET_FILE, connect, jwt, signed};

#[tokio::test]
async fn a_subscription_that_new_rules_do_not_allow_ends_as_one_that_is_refused_and_the_others_go_on() {
    for refusals in ["soft", "error"] {
        let settings = |rule: &str| {
            format!(
                "stomp.refusals = \"{refusals}\"\nauth.rules = [{rule} {{ {ALLOW}, destinations = [\"/topic/**\", \"/topic/$sys/**\"] }}]"
            )
        };
        let server = Server::start(2, &settings(""));
        let mut ends = Stomp::connect(server.address).await;
        ends.subscribe("a", "/topic/a", "").await;
        ends.subscribe("b", "/topic/b", "").await;
        let mut goes_on = Stomp::connect(server.address).await;
        goes_on.subscribe("b", "/topic/b", "").await;
        server.reload(&settings("{ allow = false, operations = [\"subscribe\"], destinations = [\"/topic/a\"] },"));
        let told = ends.frame().await;
        if refusals == "error" {
            assert_eq!((told.command.as_str(), told.header("message")), ("ERROR", Some("Refused")));
            assert_eq!(told.body, "SUBSCRIBE refused: anonymous may not subscribe to /topic/a");
            assert_eq!(ends.closed().await.0, 1008);
            goes_on.settled().await;
            continue;
        }
        assert_eq!((told.command.as_str(), told.header("subscription")), ("MESSAGE", Some("a")));
        assert_eq!(
            (told.header("status"), told.body.as_str()),
            (Some("403"), "anonymous may not subscribe to /topic/a")
        );
        for destination in ["/topic/a", "/topic/b"] {
            goes_on.publish(destination, "", destination).await;
        }
        assert_eq!(ends.frame().await.body, "/topic/b");
        assert_eq!(goes_on.frame().await.body, "/topic/b");
        goes_on.subscribe("s", "/topic/$sys/broker", "").await;
        let counters: Value = serde_json::from_str(&goes_on.frame().await.body).unwrap();
        assert_eq!(counters["revoked"], json!({"sessions": 0, "subscriptions": 1}));
    }
}

#[tokio::test]
async fn who_is_no_longer_known_is_told_so_and_closed() {
    let users = |more: &str| format!("auth.tokens = [{{ name = \"ann\", token = \"a\" }}{more}]");
    let server = Server::start(2, &format!("{}\nauth.anonymous = true", users(", { name = \"bob\", token = \"b\" }")));
    let mut ann = connect(&server, "token:a\n").await;
    let mut bob = connect(&server, "token:b\n").await;
    let mut nobody = connect(&server, "").await;
    for client in [&mut ann, &mut bob, &mut nobody] {
        assert_eq!(client.frame().await.command, "CONNECTED");
        client.subscribe("t", "/topic/t", "").await;
    }
    server.reload(&users(""));
    for client in [&mut bob, &mut nobody] {
        let error = client.frame().await;
        assert_eq!((error.command.as_str(), error.header("message")), ("ERROR", Some("Access revoked")));
        assert_eq!(error.body, REVOKED);
        assert_eq!(client.closed().await.0, 1008);
    }
    ann.settled().await;
}

#[tokio::test]
async fn who_came_with_a_secret_that_was_exchanged_is_told_so_and_closed_and_the_others_go_on() {
    let [secret, exchanged] = ["secret", "exchanged"].map(|name| {
        let path = std::env::temp_dir().join(format!("stompbox-{name}-{}", std::process::id()));
        std::fs::copy(SECRET_FILE, &path).unwrap();
        path
    });
    std::fs::write(&exchanged, "x".repeat(32)).unwrap();
    let settings = |(password, token, file): (&str, &str, &Path)| {
        format!(
            "auth.users = [{{ name = \"ann\", password_hash = \"{password}\" }}]\n\
             auth.tokens = [{{ name = \"ann\", token = \"{token}\" }}, {{ name = \"bob\", token = \"stays\" }}]\n\
             auth.jwt.secret_file = {file:?}\nauth.jwt.audiences = [\"stompbox\"]"
        )
    };
    let [hash, other_hash] = ["pw", "pw"].map(|password| hash_password(password).unwrap());
    let before = (&*hash, "t", &*secret);
    let jwt = format!("token:{}\n", signed("ann", 100));
    for (shown, after) in [
        ("login:ann\npasscode:pw\n", (&*other_hash, "t", &*secret)),
        ("token:t\n", (&*hash, "u", &*secret)),
        (&*jwt, (&*hash, "t", &*exchanged)),
    ] {
        let server = Server::start(2, &settings(before));
        let mut ends = connect(&server, shown).await;
        let mut stays = connect(&server, "token:stays\n").await;
        for client in [&mut ends, &mut stays] {
            assert_eq!(client.frame().await.command, "CONNECTED");
        }
        server.reload(&settings(before));
        ends.settled().await;
        server.reload(&settings(after));
        let error = ends.frame().await;
        assert_eq!((error.command.as_str(), error.header("message")), ("ERROR", Some("Access revoked")), "{shown}");
        assert_eq!(error.body, REVOKED);
        assert_eq!(ends.closed().await.0, 1008);
        stays.subscribe("s", "/topic/$sys/broker", "").await;
        let counters: Value = serde_json::from_str(&stays.frame().await.body).unwrap();
        assert_eq!(counters["revoked"], json!({"sessions": 1, "subscriptions": 0}), "{shown}");
    }
    for path in [secret, exchanged] {
        std::fs::remove_file(path).unwrap();
    }
}

#[tokio::test]
async fn a_subscription_on_a_token_that_was_exchanged_ends_and_its_session_goes_on() {
    let settings = |token: &str| {
        format!(
            "auth.anonymous = true\nauth.tokens = [{{ name = \"ann\", token = \"{token}\" }}]\n\
             auth.rules = [{{ {ALLOW}, users = [\"ann\"], destinations = [\"/topic/a\"] }},\n\
             {{ {ALLOW}, destinations = [\"/topic/b\"] }}]"
        )
    };
    let server = Server::start(1, &settings("t"));
    let mut client = Stomp::connect(server.address).await;
    client.subscribe("a", "/topic/a", "token:t\n").await;
    client.subscribe("b", "/topic/b", "token:t\n").await;
    server.reload(&settings("u"));
    assert_eq!(client.frame().await.body, "anonymous may not subscribe to /topic/a");
    client.publish("/topic/b", "", "hello").await;
    assert_eq!(client.frame().await.body, "hello");
}

#[tokio::test]
async fn a_users_new_roles_count_at_once() {
    let settings = |role: &str| {
        format!(
            "auth.tokens = [{{ name = \"ann\", token = \"a\", roles = [\"{role}\"] }}]\n\
             auth.rules = [{{ {ALLOW}, roles = [\"staff\"], destinations = [\"/topic/staff\"] }},\n\
             {{ {ALLOW}, roles = [\"guest\"], destinations = [\"/topic/guests\"] }}]"
        )
    };
    let server = Server::start(1, &settings("staff"));
    let mut ann = connect(&server, "token:a\n").await;
    assert_eq!(ann.frame().await.command, "CONNECTED");
    ann.subscribe("s", "/topic/staff", "").await;
    server.reload(&settings("guest"));
    assert_eq!(ann.frame().await.body, "ann may not subscribe to /topic/staff");
    ann.subscribe("g", "/topic/guests", "").await;
    ann.publish("/topic/guests", "", "hello").await;
    assert_eq!(ann.frame().await.body, "hello");
}

#[tokio::test]
async fn what_a_queue_gave_to_a_consumer_that_may_not_any_more_goes_to_another() {
    let settings = |names: &str| {
        format!(
            "auth.tokens = [{{ name = \"ann\", token = \"a\" }}, {{ name = \"bob\", token = \"b\" }}]\n\
             auth.rules = [{{ {ALLOW}, users = [{names}], destinations = [\"/queue/**\"] }}]"
        )
    };
    let server = Server::start(2, &settings("\"ann\", \"bob\""));
    let mut ann = connect(&server, "token:a\n").await;
    assert_eq!(ann.frame().await.command, "CONNECTED");
    ann.subscribe("q", "/queue/work", "ack:client\n").await;
    ann.publish("/queue/work", "", "job").await;
    assert_eq!(ann.frame().await.body, "job");
    server.reload(&settings("\"bob\""));
    assert_eq!(ann.frame().await.header("status"), Some("403"));
    let mut bob = connect(&server, "token:b\n").await;
    assert_eq!(bob.frame().await.command, "CONNECTED");
    bob.subscribe("q", "/queue/work", "").await;
    assert_eq!(bob.frame().await.body, "job");
}

#[tokio::test]
async fn an_event_stream_ends_with_its_token_and_with_its_user() {
    let server = Server::start(1, &jwt("auth.tokens = [{ name = \"ann\", token = \"a\" }]"));
    let stream = |token: &str| {
        let request = reqwest::Client::new().get(server.url("/stream/logs")).bearer_auth(token);
        async move {
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 200);
            response
        }
    };
    let expires = stream(&signed("bob", 2)).await;
    timeout(PATIENCE, expires.bytes()).await.expect("it ends").unwrap();
    let ends = stream("a").await;
    server.reload(&jwt(""));
    timeout(PATIENCE, ends.bytes()).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn a_channel_does_not_outlive_the_login_that_may_have_it() {
    let server = Server::start(
        1,
        &format!(
            "auth.tokens = [{{ name = \"ann\", token = \"a\" }}, {{ name = \"bob\", token = \"b\" }}]\n\
         auth.rules = [{{ {ALLOW}, users = [\"ann\"], destinations = [\"/topic/**\"] }}]"
        ),
    );
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let mut client = Stomp::upgrade(stream, server.address, "/ws/channels?token=a").await;
    client.send(r#"{"action":"subscribe","channel":"news"}"#).await;
    assert!(client.text().await.contains("subscription_confirm"));
    client.send(r#"{"type":"auth","id":1,"payload":{"token":"b"}}"#).await;
    assert!(client.text().await.contains("authenticated"));
    let told = client.text().await;
    assert!(told.contains("bob may not subscribe to /topic/news"), "{told}");
}

#[tokio::test]
async fn of_what_waits_when_the_token_expires_nothing_leaves_but_the_error() {
    let server = Server::start(2, &jwt(&format!("auth.rules = [{{ {ALLOW}, destinations = [\"/topic/**\"] }}]")));
    let token = signed("ann", 3);
    let mut slow = Stomp::open_narrow(server.address).await;
    slow.send(&format!("CONNECT\naccept-version:1.2\nhost:a\ntoken:{token}\n\n\0")).await;
    assert_eq!(slow.frame().await.command, "CONNECTED");
    slow.subscribe("a", "/topic/a", "overflow:drop-oldest\n").await;
    let mut reader = connect(&server, &format!("token:{token}\n")).await;
    assert_eq!(reader.frame().await.command, "CONNECTED");
    let mut publisher = connect(&server, &format!("token:{}\n", signed("bob", 100))).await;
    assert_eq!(publisher.frame().await.command, "CONNECTED");
    for n in 0..60 {
        publisher.publish("/topic/a", &format!("receipt:{n}\n"), &"x".repeat(30_000)).await;
        publisher.frame().await;
    }
    // Behind what its socket did not take
    for n in 0..50 {
        slow.send(&format!("UNSUBSCRIBE\nid:none\nreceipt:{n}\n\n\0")).await;
    }
    assert_eq!(reader.frame().await.header("message"), Some("Session expired"));
    let (mut messages, mut last) = (0, slow.frame().await);
    // A RECEIPT comes among them where its shard was slower than this test.
    while last.command != "ERROR" {
        messages += usize::from(last.command == "MESSAGE");
        last = slow.frame().await;
    }
    assert_eq!(last.header("message"), Some("Session expired"));
    assert!((1..60).contains(&messages), "{messages} were on their way already");
    assert_eq!(slow.closed().await.0, 1008);
}

#[tokio::test]
async fn a_client_between_two_polls_gets_nothing_but_the_error_once_its_token_has_expired() {
    let server = Server::start(1, &jwt(&format!("auth.rules = [{{ {ALLOW}, destinations = [\"/topic/**\"] }}]")));
    let token = signed("ann", 2);
    let mut reader = connect(&server, &format!("token:{token}\n")).await;
    assert_eq!(reader.frame().await.command, "CONNECTED");
    let (mut polls, mut sends) = (Http::open(server.address).await, Http::open(server.address).await);
    assert_eq!(polls.post("/ws/0/poll/xhr", "").await.1, "o\n");
    let frames = [
        format!("CONNECT\\naccept-version:1.2\\nhost:a\\ntoken:{token}\\n\\n\\u0000"),
        "SUBSCRIBE\\nid:0\\ndestination:/topic/a\\nreceipt:r\\n\\n\\u0000".into(),
        "SEND\\ndestination:/topic/a\\nreceipt:s\\n\\nsecret\\u0000".into(),
    ];
    for frame in &frames[..2] {
        assert_eq!(sends.post("/ws/0/poll/xhr_send", &format!("[\"{frame}\"]")).await.0, 204);
        assert!(polls.post("/ws/0/poll/xhr", "").await.1.starts_with("a[\""));
    }
    assert_eq!(sends.post("/ws/0/poll/xhr_send", &format!("[\"{}\"]", frames[2])).await.0, 204);
    assert_eq!(reader.frame().await.header("message"), Some("Session expired"));
    let mut told = String::new();
    while !told.contains("c[") {
        told += &polls.post("/ws/0/poll/xhr", "").await.1;
    }
    assert!(told.contains("Session expired"), "{told}");
    assert!(!told.contains("MESSAGE") && !told.contains("RECEIPT"), "{told}");
}

/// Begins a rule that lets somebody do all with a topic.
const ALLOW: &str = "allow = true, operations = [\"subscribe\", \"send\"]";
