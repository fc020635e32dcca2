//! Who may come in, and what they may do, over real sockets.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::json;
use stompbox::broker::auth::hash_password;
use tokio::net::TcpStream;

use super::common::{Server, Stomp};

#[tokio::test]
async fn a_user_with_a_hashed_password_is_let_in_with_it_alone_over_stomp_and_rest() {
    let hash = hash_password("correct horse").unwrap();
    let server = Server::start(1, &format!("auth.users = [{{ name = \"ann\", password_hash = \"{hash}\" }}]"));
    let connected = connect(&server, "login:ann\npasscode:correct horse\n").await.frame().await;
    assert_eq!((connected.command.as_str(), connected.header("user-name")), ("CONNECTED", Some("ann")));
    for wrong in ["login:ann\npasscode:correct\n", "login:bob\npasscode:correct horse\n", "login:ann\n"] {
        let mut client = connect(&server, wrong).await;
        let error = client.frame().await;
        assert_eq!(error.header("message"), Some("Access refused"), "{wrong}");
        assert_eq!(error.body, "the credentials were not accepted");
        assert_eq!(client.closed().await.0, 1008);
    }
    let rest = |password: &'static str| {
        reqwest::Client::new().get(server.url("/api/v1/metrics")).basic_auth("ann", Some(password)).send()
    };
    assert_eq!(rest("correct horse").await.unwrap().status(), 200);
    assert_eq!(rest("wrong").await.unwrap().status(), 401);
}

#[tokio::test]
async fn frames_that_come_while_credentials_are_checked_wait_in_their_order() {
    let hash = hash_password("pw").unwrap();
    let server = Server::start(1, &format!("auth.users = [{{ name = \"ann\", password_hash = \"{hash}\" }}]"));
    let mut client = Stomp::open(server.address).await;
    client
        .send(
            "CONNECT\naccept-version:1.2\nhost:a\nlogin:ann\npasscode:pw\n\n\0\
             SUBSCRIBE\nid:a\ndestination:/queue/a\nreceipt:1\n\n\0",
        )
        .await;
    client.send("SEND\ndestination:/queue/a\nreceipt:2\n\nx\0").await;
    let mut commands = Vec::new();
    for _ in 0..4 {
        commands.push(client.frame().await.command);
    }
    assert_eq!(commands[..2], ["CONNECTED", "RECEIPT"]);
    assert!(commands[2..].contains(&"MESSAGE".into()), "{commands:?}");
}

#[tokio::test]
async fn logins_that_fail_count_whichever_way_they_come_and_one_too_many_is_told_so() {
    let server = Server::start(
        1,
        "auth.failures_per_minute = 4\nauth.tokens = [{ name = \"ann\", token = \"t\" }]\n\
         auth.api_keys = [{ name = \"ci\", key = \"k\" }]",
    );
    let connect = |token: &str| format!("CONNECT\naccept-version:1.2\nhost:a\ntoken:{token}\n\n\0");
    let get = |path: &str, token: &str| reqwest::Client::new().get(server.url(path)).bearer_auth(token).send();
    let (mut inside, mut subscriber) = (Stomp::open(server.address).await, Stomp::open(server.address).await);
    for client in [&mut inside, &mut subscriber] {
        client.send(&connect("t")).await;
        assert_eq!(client.frame().await.command, "CONNECTED");
    }
    let mut guesser = Stomp::open(server.address).await;
    guesser.send(&connect("no")).await;
    assert_eq!(guesser.frame().await.header("message"), Some("Access refused"));
    let subscribe = |id: u8| format!("SUBSCRIBE\nid:{id}\ndestination:/topic/a\ntoken:no\nreceipt:{id}\n\n\0");
    subscriber.send(&subscribe(1)).await;
    assert_eq!(subscriber.frame().await.header("status"), Some("403"));
    assert_eq!(subscriber.frame().await.command, "RECEIPT");
    assert_eq!(get("/api/v1/metrics", "no").await.unwrap().status(), 401);
    assert_eq!(get("/stream/metrics", "no").await.unwrap().status(), 401);

    for path in ["/api/v1/metrics", "/stream/metrics"] {
        let response = get(path, "t").await.unwrap();
        assert_eq!(response.status(), 429, "{path}");
        let seconds: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
    }
    let mut late = Stomp::open(server.address).await;
    late.send(&connect("t")).await;
    subscriber.send(&subscribe(2)).await;
    for mut client in [late, subscriber] {
        assert_eq!(client.frame().await.header("message"), Some("Too many logins"));
        assert_eq!(client.closed().await.0, 1013);
    }
    inside.subscribe("s", "/topic/$sys/broker", "").await;
    let counters: serde_json::Value = serde_json::from_str(&inside.frame().await.body).unwrap();
    assert_eq!(counters["limits"]["failures_per_minute"], 4, "{counters}");
}

#[tokio::test]
async fn a_flood_of_passwords_is_told_to_come_again() {
    let hash = hash_password("pw").unwrap();
    let settings =
        format!("auth.users = [{{ name = \"ann\", password_hash = \"{hash}\" }}]\nauth.checks_waiting_per_address = 1");
    let server = Server::start(1, &settings);
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Stomp::open(server.address).await);
    }
    for client in &mut clients {
        client.send("CONNECT\naccept-version:1.2\nhost:a\nlogin:ann\npasscode:pw\n\n\0").await;
    }
    let (mut connected, mut busy) = (0, 0);
    for client in &mut clients {
        let frame = client.frame().await;
        if frame.command == "CONNECTED" {
            connected += 1;
        } else {
            assert_eq!(frame.header("message"), Some("Too many logins"));
            assert_eq!(frame.body, "too many logins wait to be checked, or have failed; try again later");
            assert_eq!(client.closed().await.0, 1013);
            busy += 1;
        }
    }
    assert!(connected >= 1 && busy >= 1, "{connected} {busy}");
}

#[tokio::test]
async fn a_signed_token_is_taken_from_each_place_that_may_have_one() {
    let server = Server::start(1, &jwt(""));
    let token = signed("ann", 100);
    for headers in [
        format!("Authorization:Bearer {token}\n"),
        format!("X-Authorization:Bearer {token}\n"),
        format!("token:{token}\n"),
        format!("access_token:{token}\n"),
    ] {
        let connected = connect(&server, &headers).await.frame().await;
        assert_eq!(connected.header("user-name"), Some("ann"), "{headers}");
    }
    let stream = TcpStream::connect(server.address).await.unwrap();
    let mut client = Stomp::upgrade(stream, server.address, &format!("/ws?access_token={token}")).await;
    client.send("CONNECT\naccept-version:1.2\nhost:a\n\n\0").await;
    assert_eq!(client.frame().await.header("user-name"), Some("ann"));
    let rest = |token: String| reqwest::Client::new().get(server.url("/api/v1/metrics")).bearer_auth(token).send();
    assert_eq!(rest(token.clone()).await.unwrap().status(), 200);
    for wrong in ["eyJhbGciOiJub25lIn0.e30.", &format!("{token}x"), "x"] {
        assert_eq!(rest(wrong.to_owned()).await.unwrap().status(), 401, "{wrong}");
        let error = connect(&server, &format!("token:{wrong}\n")).await.frame().await;
        assert_eq!(error.header("message"), Some("Access refused"), "{wrong}");
    }
}

#[tokio::test]
async fn a_cookie_named_token_from_another_origins_page_counts_only_where_somebody_can_say_who_they_are() {
    let ask = |server: &Server, path: &str| {
        let request = reqwest::Client::new().get(server.url(path));
        request.header("cookie", "token=x").header("origin", "http://localhost:3000").send()
    };
    let open = Server::start(1, "");
    let closed = Server::start(1, "auth.tokens = [{ name = \"ci\", token = \"t0ken\" }]");
    for path in ["/ws/info", "/api/v1/metrics"] {
        assert_eq!(ask(&open, path).await.unwrap().status(), 200, "{path}");
        assert_eq!(ask(&closed, path).await.unwrap().status(), 403, "{path}");
    }
}

#[tokio::test]
async fn a_session_ends_with_its_token_unless_a_new_one_comes() {
    let server = Server::start(1, &jwt(""));
    let mut ends = connect(&server, &format!("token:{}\n", signed("ann", 3))).await;
    let mut stays = connect(&server, &format!("token-refresh:true\ntoken:{}\n", signed("ann", 30))).await;
    assert_eq!(ends.frame().await.command, "CONNECTED");
    assert_eq!(stays.frame().await.command, "CONNECTED");
    let warning = stays.frame().await;
    assert_eq!((warning.command.as_str(), warning.header("destination")), ("MESSAGE", Some("/user/queue/$auth")));
    stays.subscribe("mine", "/user/queue/$auth", "").await;
    assert_eq!(stays.frame().await.header("subscription"), Some("mine"));
    stays.send(&format!("SEND\ndestination:/app/$auth\nreceipt:r\n\n{}\0", signed("ann", 100))).await;
    assert_eq!(stays.frame().await.header("receipt-id"), Some("r"));
    let error = ends.frame().await;
    assert_eq!((error.command.as_str(), error.header("message")), ("ERROR", Some("Session expired")));
    assert_eq!(ends.closed().await.0, 1008);
    stays.settled().await;
    let other = format!("SEND\ndestination:/app/$auth\n\n{}\0", signed("bob", 100));
    stays.send(&other).await;
    assert_eq!(stays.frame().await.header("message"), Some("Access refused"));
}

#[tokio::test]
async fn a_subscription_on_a_token_of_its_own_does_not_outlive_it() {
    let server = Server::start(1, &jwt("auth.anonymous = true"));
    let mut client = Stomp::connect(server.address).await;
    client.subscribe("s", "/topic/a", &format!("token:{}\n", signed("ann", 1))).await;
    assert_eq!(client.frame().await.header("message"), Some("Session expired"));
}

#[tokio::test]
async fn the_example_of_rules_starts_and_its_rules_hold() {
    let server = Server::start(1, include_str!("../../fixtures/rules.toml"));
    let mut ann = connect(&server, "login:ann\npasscode:example\n").await;
    assert_eq!(ann.frame().await.command, "CONNECTED");
    let mut nobody = Stomp::connect(server.address).await;
    nobody.subscribe("p", "/topic/public/**", "").await;
    for refused in ["/topic/**", "/topic/notices", "/queue/work/a"] {
        nobody.send(&format!("SUBSCRIBE\nid:x\ndestination:{refused}\n\n\0")).await;
        let notice = nobody.frame().await;
        assert_eq!((notice.command.as_str(), notice.header("status")), ("MESSAGE", Some("403")), "{refused}");
        assert_eq!(notice.body, format!("anonymous may not subscribe to {refused}"));
    }
    ann.publish("/topic/public/news", "", "hello").await;
    assert_eq!(nobody.frame().await.body, "hello");
    nobody.publish("/topic/public/news", "", "hello").await;
    assert_eq!(nobody.frame().await.header("message"), Some("Refused"));
    let events = |token: Option<&'static str>| {
        let request = reqwest::Client::new().post(server.url("/api/v1/events"));
        let request = request.json(&json!({ "eventType": "a", "source": "b" }));
        token.into_iter().fold(request, |request, token| request.bearer_auth(token)).send()
    };
    assert_eq!(events(Some("example")).await.unwrap().status(), 202);
    assert_eq!(events(None).await.unwrap().status(), 403);
}

/// Settings for tokens of [`signed`].
pub(crate) fn jwt(more: &str) -> String {
    format!("auth.jwt.secret_file = \"{SECRET_FILE}\"\nauth.jwt.audiences = [\"stompbox\"]\n{more}")
}

/// A token of `name` that expires in so many seconds.
pub(crate) fn signed(name: &str, seconds: u64) -> String {
    let exp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + seconds;
    let claims = json!({ "sub": name, "aud": "stompbox", "exp": exp });
    let encoded = |text: &[u8]| URL_SAFE_NO_PAD.encode(text);
    let input = format!("{}.{}", encoded(br#"{"alg":"HS256"}"#), encoded(claims.to_string().as_bytes()));
    let secret = std::fs::read_to_string(SECRET_FILE).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.trim_end().as_bytes());
    format!("{input}.{}", encoded(hmac::sign(&key, input.as_bytes()).as_ref()))
}

pub(crate) const SECRET_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/jwt/secret");

pub(crate) async fn connect(server: &Server, credentials: &str) -> Stomp {
    let mut client = Stomp::open(server.address).await;
    client.send(&format!("CONNECT\naccept-version:1.2\nhost:a\n{credentials}\n\0")).await;
    client
}
