//! The README's table of limits, held to what a client reads: what is allowed is taken, what is
//! beyond it is told in the table's words, and what is counted is counted.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::timeout;

use crate::common::{Frame, Server, Stomp};
use crate::sockjs::Http;

const README: &str = include_str!("../../README.md");

/// Limits that are told in an ERROR frame.
struct Case {
    key: &'static str,
    settings: &'static str,
    /// What is taken, and answered by these commands.
    at_limit: Vec<String>,
    past_it: String,
    /// The counter, in the counters of `/topic/$sys/broker`.
    counter: &'static str,
}

#[tokio::test]
async fn each_limit_that_is_told_in_an_error_is_taken_and_told_as_the_table_says() {
    let table = table();
    join_all(cases().into_iter().map(|case| is_taken_and_told(&table, case))).await;
}

async fn is_taken_and_told(table: &BTreeMap<&str, &str>, case: Case) {
    let Case { key, settings, at_limit, past_it, counter } = case;
    let server = Server::start(1, &format!("metrics.enabled = false\n{settings}"));
    let mut client = Stomp::open(server.address).await;
    let is_of_connect = key == "stomp.limits.unconnected_frame_bytes";
    if !is_of_connect {
        client = client.connected().await;
    }
    for frame in at_limit {
        client.send(&frame).await;
    }
    client.send("UNSUBSCRIBE\nid:none\nreceipt:taken\n\n\0").await;
    let taken = until(&mut client, &["RECEIPT", "ERROR"]).await;
    assert_eq!(taken.header("receipt-id"), Some("taken"), "{key}: {taken:?}");
    if is_of_connect {
        client = Stomp::open(server.address).await;
    }
    client.send(&past_it).await;
    told(&server, table, key, &mut client, counter).await;
}

#[tokio::test]
async fn a_client_that_lets_its_time_pass_is_told_as_the_table_says() {
    let table = table();
    for (key, is_connected, counter) in
        [("stomp.connect_timeout", false, "limits.connect_timeout"), ("limits.idle", true, "limits.idle")]
    {
        let server = Server::start(1, &format!("metrics.enabled = false\n{key} = \"300ms\""));
        let mut client = Stomp::open(server.address).await;
        if is_connected {
            client = client.connected().await;
        }
        told(&server, &table, key, &mut client, counter).await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_told_as_the_table_says() {
    let table = table();
    for (key, settings, counter) in [
        ("mailbox.messages", "mailbox.messages = 50", "slow_consumers"),
        ("mailbox.bytes", "mailbox.bytes = \"256KiB\"", "slow_consumers"),
        (
            "mailbox.total_bytes",
            "mailbox.bytes = \"64MiB\"\nmailbox.total_bytes = \"1MiB\"",
            "limits.mailbox_total_bytes",
        ),
    ] {
        let server = Server::start(1, &format!("metrics.enabled = false\n{settings}"));
        let mut client = Stomp::open_narrow(server.address).await.connected().await;
        client.subscribe("s", "/topic/a", "").await;
        let mut publisher = Stomp::connect(server.address).await;
        for _ in 0..600 {
            publisher.publish("/topic/a", "", &"x".repeat(4096)).await;
        }
        publisher.settled().await;
        told(&server, &table, key, &mut client, counter).await;
    }
}

#[tokio::test]
async fn sessions_beyond_those_of_an_address_or_a_user_and_connects_too_often_are_told_as_the_table_says() {
    let table = table();
    let settings = "metrics.enabled = false\nauth.anonymous = true\nauth.tokens = [{ name = \"ann\", token = \"t\" }]";
    for (key, limit) in [("limits.sessions_per_user", 1), ("limits.connects_per_minute", 2)] {
        let server = Server::start(2, &format!("{settings}\n{key} = {limit}"));
        let mut open = Vec::new();
        for _ in 0..limit {
            let mut client = Stomp::open(server.address).await;
            client.send("CONNECT\naccept-version:1.2\nhost:h\ntoken:t\n\n\0").await;
            assert_eq!(client.frame().await.command, "CONNECTED", "{key}");
            open.push(client);
        }
        let mut past_it = Stomp::open(server.address).await;
        past_it.send("CONNECT\naccept-version:1.2\nhost:h\ntoken:t\n\n\0").await;
        let error = past_it.frame().await;
        assert_eq!(seen(&error, past_it.closed().await.0), in_table(&table, key, &error), "{key}");
        let watcher = open.last_mut().unwrap();
        watcher.subscribe("s", "/topic/$sys/broker", "").await;
        let counters: Value = serde_json::from_str(&watcher.frame().await.body).unwrap();
        assert_eq!(counters["limits"][key.trim_start_matches("limits.")], 1, "{counters}");
    }
    // Many sessions may share one connection.
    let key = "limits.connections_per_address";
    let server = Server::start(1, &format!("metrics.enabled = false\n{key} = 2"));
    let mut http = Http::open(server.address).await;
    for session in ["a", "b", "c"] {
        assert_eq!(http.post(&format!("/ws/0/{session}/xhr"), "").await, (200, "o\n".into()));
    }
    let (_, told) = http.post("/ws/0/c/xhr", "").await;
    assert!(told.starts_with("a[\"ERROR\\nmessage:Limit exceeded\\n"), "{told}");
    let (_, closed) = http.post("/ws/0/c/xhr", "").await;
    assert!(closed.starts_with("c[1008,"), "{closed}");
    assert!(table[key].contains("ERROR `Limit exceeded`, 1008"));
}

#[tokio::test]
async fn requests_past_a_limit_of_http_are_answered_as_the_table_says() {
    let table = table();
    let server = Server::start(
        1,
        "metrics.period = \"1h\"\nsockjs.payload_bytes = \"128KiB\"\nsockjs.sessions = 2\nserver.http_body_bytes = 1024\n\
         stomp.limits.body_bytes = 1024\nsockjs.inbox_bytes = \"128KiB\"\nserver.http_head_bytes = \"8KiB\"\n\
         server.http_body_timeout = \"300ms\"\nserver.http_header_timeout = \"300ms\"",
    );
    let spaces = |size: usize| format!("[{}]", " ".repeat(size - 2));
    for session in ["a", "b"] {
        assert_eq!(Http::open(server.address).await.post(&format!("/ws/0/{session}/xhr"), "").await.0, 200);
    }
    for (key, path, at_limit, past_it) in [
        ("sockjs.payload_bytes", "/ws/0/a/xhr_send", spaces(128 * 1024), spaces(128 * 1024 + 1)),
        ("server.http_body_bytes", "/api/v1/events/batch", spaces(1024), spaces(1025)),
    ] {
        let (taken, _) = Http::open(server.address).await.post(path, &at_limit).await;
        assert!(matches!(taken, 204 | 400), "{key}: {taken}");
        let (refused, _) = Http::open(server.address).await.post(path, &past_it).await;
        assert_eq!(refused, 413, "{key}");
        assert!(table[key].contains("413"), "{key}: {}", table[key]);
    }
    assert_eq!(Http::open(server.address).await.post("/ws/0/c/xhr", "").await.0, 503);
    assert!(table["sockjs.sessions"].starts_with("503"));

    let mut long = Http::open(server.address).await;
    long.write(&format!("GET /ws HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(8192))).await;
    assert_eq!(long.answer().await.0, 431);
    assert!(table["server.http_head_bytes"].starts_with("431"));
    let mut stalls = Http::open(server.address).await;
    stalls.write("POST /api/v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n[").await;
    assert_eq!(stalls.answer().await.0, 408);
    assert!(table["server.http_body_timeout"].starts_with("408"));
    let mut begins = Http::open(server.address).await;
    begins.write("GET / HT").await;
    let mut keeps = Http::open(server.address).await;
    assert_eq!(keeps.post("/ws/0/none/xhr_send", "[]").await.0, 404);
    for client in [&mut begins, &mut keeps] {
        assert_eq!(client.closed().await, "");
    }
    assert!(table["server.http_header_timeout"].starts_with("the connection is closed"));
    let counters = counters(&server).await;
    let http = ["http_head_bytes", "http_body_bytes", "http_body_timeout", "http_header_timeout"];
    for key in http.into_iter().chain(["payload_bytes", "sessions"]) {
        assert_eq!(counters["limits"][key], 1, "{key} {counters}");
    }
}

#[tokio::test]
async fn pages_of_other_origins_and_sessions_and_messages_past_a_limit_of_sockjs_are_counted() {
    let settings = "metrics.enabled = false\nsockjs.origins = [\"https://a.example\"]\nsockjs.sessions_per_address = 3\n\
                    sockjs.payload_bytes = \"1200KiB\"";
    let server = Server::start(1, settings);
    let mut watcher = watcher(&server).await;
    let mut long = Stomp::connect(server.address).await;
    let mut foreign = Http::open(server.address).await;
    for path in ["/ws/0/a/xhr", "/stream/logs"] {
        let method = if path.starts_with("/ws") { "POST" } else { "GET" };
        let head = "Host: a\r\nOrigin: https://b.example\r\nContent-Length: 0";
        foreign.write(&format!("{method} {path} HTTP/1.1\r\n{head}\r\n\r\n")).await;
        assert_eq!(foreign.answer().await.0, 403, "{path}");
    }
    assert_eq!(Http::open(server.address).await.post("/ws/0/a/xhr", "").await.0, 200);
    assert_eq!(Http::open(server.address).await.post("/ws/0/b/xhr", "").await.0, 429);
    long.send(&"\n".repeat(1200 * 1024 + 1)).await;
    assert_eq!(long.closed().await.0, 1009);
    let counters = snapshot(&mut watcher).await;
    for (key, count) in [("origins", 2), ("sessions_per_address", 1), ("payload_bytes", 1)] {
        assert_eq!(counters["limits"][key], count, "{key} {counters}");
    }
}

/// The next two things that the client is told: an ERROR and the close, in the words of the table.
async fn told(server: &Server, table: &BTreeMap<&str, &str>, key: &str, client: &mut Stomp, counter: &str) {
    let error = until(client, &["ERROR"]).await;
    assert_eq!(seen(&error, client.closed().await.0), in_table(table, key, &error), "{key}: {}", error.body);
    let counters = counters(server).await;
    let counted = counter.split('.').fold(&counters, |counters, name| &counters[name]);
    assert_eq!(counted, 1, "{key}: {counters}");
}

fn seen(error: &Frame, code: u16) -> String {
    format!("ERROR `{}`, {code}", error.header("message").unwrap())
}

/// What the table says of that limit, as far as it is in the form of [`seen`].
fn in_table(table: &BTreeMap<&str, &str>, key: &str, error: &Frame) -> String {
    let cell = table[key];
    let (_, rest) = cell.split_once("ERROR ").unwrap_or_else(|| panic!("{key}: {cell:?} beside {error:?}"));
    let end = rest.match_indices(", ").map(|(at, _)| at).nth(1).unwrap_or(rest.len());
    format!("ERROR {}", &rest[..end])
}

/// The next frame of one of those commands.
async fn until(client: &mut Stomp, commands: &[&str]) -> Frame {
    loop {
        let frame = client.frame().await;
        if commands.contains(&frame.command.as_str()) {
            return frame;
        }
    }
}

async fn counters(server: &Server) -> Value {
    snapshot(&mut watcher(server).await).await
}

async fn watcher(server: &Server) -> Stomp {
    let mut watcher = Stomp::connect(server.address).await;
    watcher.subscribe("s", "/topic/$sys/broker", "").await;
    watcher
}

/// The counters of the second that begins, at least.
async fn snapshot(watcher: &mut Stomp) -> Value {
    while timeout(Duration::ZERO, watcher.frame()).await.is_ok() {}
    loop {
        // It must not be idle itself.
        watcher.send("\n").await;
        if let Ok(snapshot) = timeout(Duration::from_millis(50), watcher.frame()).await {
            return serde_json::from_str(&snapshot.body).unwrap();
        }
    }
}

/// Each limit of the README's table, with its last cell; that of "the same" is the one above.
fn table() -> BTreeMap<&'static str, &'static str> {
    let below = README.lines().skip_while(|line| *line != "## Limits and guarantees").skip(1);
    let mut last = "";
    let mut table = BTreeMap::new();
    for row in below.take_while(|line| !line.starts_with('#')).filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches(['|', ' ']).split(" | ").collect();
        last = if cells[2].starts_with("the same") && !cells[2].contains("ERROR") { last } else { cells[2] };
        table.insert(cells[0].trim_matches('`'), last);
    }
    table
}

fn cases() -> Vec<Case> {
    let x = |count: usize| "x".repeat(count);
    let send = |headers: &str, body: &str| format!("SEND\ndestination:/topic/a\n{headers}\n{body}\0");
    let to = |queue: &str, size: usize| format!("SEND\ndestination:/queue/{queue}\n\n{}\0", x(size));
    let retain = |topic: &str, size: usize| format!("SEND\ndestination:/topic/{topic}\nretain:true\n\n{}\0", x(size));
    let headers = |count: usize| (0..count).map(|n| format!("h{n}:1\n")).collect::<String>();
    let subscribe = |id: &str| format!("SUBSCRIBE\nid:{id}\ndestination:/topic/a\nack:client\n\n\0");
    let begin = |name: &str| format!("BEGIN\ntransaction:{name}\n\n\0");
    let connect = |size: usize| {
        let frame = |padding: usize| format!("{}x:{}\n\n\0", &CONNECT[..CONNECT.len() - 2], x(padding));
        // The blank line and the NUL are not counted.
        frame(size - frame(0).len() + 2)
    };
    let case = |key, settings, at_limit, past_it, counter| Case { key, settings, at_limit, past_it, counter };
    let mut cases = vec![
        case("stomp.limits.command_bytes", "", vec![], format!("{}\n\n\0", x(33)), "limits.command_bytes"),
        case(
            "stomp.limits.headers",
            "stomp.limits.headers = 8",
            vec![send(&headers(7), "")],
            send(&headers(8), ""),
            "limits.headers",
        ),
        case(
            "stomp.limits.header_line_bytes",
            "stomp.limits.header_line_bytes = 512",
            vec![send(&format!("h:{}\n", x(510)), "")],
            send(&format!("h:{}\n", x(511)), ""),
            "limits.header_line_bytes",
        ),
        case(
            "stomp.limits.head_bytes",
            "stomp.limits.head_bytes = \"1KiB\"\nstomp.limits.header_line_bytes = 512",
            vec![send(&format!("h:{}\ni:{}\n", x(508), x(484)), "")],
            send(&format!("h:{}\ni:{}\n", x(508), x(485)), ""),
            "limits.head_bytes",
        ),
        case(
            "stomp.limits.body_bytes",
            "stomp.limits.body_bytes = \"1KiB\"",
            vec![send("", &x(1024))],
            send("", &x(1025)),
            "limits.body_bytes",
        ),
        case(
            "stomp.limits.unconnected_frame_bytes",
            "stomp.limits.unconnected_frame_bytes = 600",
            vec![connect(600)],
            connect(601),
            "limits.unconnected_frame_bytes",
        ),
        case(
            "stomp.limits.subscriptions",
            "stomp.limits.subscriptions = 2",
            vec![subscribe("1"), subscribe("2")],
            subscribe("3"),
            "limits.subscriptions",
        ),
        case(
            "stomp.limits.unacked",
            "stomp.limits.unacked = 2",
            vec![subscribe("1"), send("", "a"), send("", "b")],
            send("", "c"),
            "limits.unacked",
        ),
        case(
            "stomp.limits.transactions",
            "stomp.limits.transactions = 1",
            vec![begin("t")],
            begin("u"),
            "limits.transactions",
        ),
        case(
            "stomp.limits.transaction_actions",
            "stomp.limits.transaction_actions = 2",
            vec![begin("t"), send("transaction:t\n", ""), send("transaction:t\n", "")],
            send("transaction:t\n", ""),
            "limits.transaction_actions",
        ),
        case(
            "stomp.limits.transaction_bytes",
            "stomp.limits.transaction_bytes = \"1KiB\"",
            vec![begin("t"), send("transaction:t\n", &x(900))],
            send("transaction:t\n", &x(900)),
            "limits.transaction_bytes",
        ),
        case(
            "topics.retained",
            "topics.retained = 2",
            vec![retain("a", 1), retain("b", 1), retain("a", 1)],
            retain("c", 1),
            "refused",
        ),
        case(
            "topics.retained_bytes",
            "topics.retained_bytes = 1024",
            vec![retain("a", 1000), retain("b", 24)],
            retain("c", 1),
            "refused",
        ),
        case("queues.messages", "queues.messages = 2", vec![to("a", 1), to("a", 1), to("b", 1)], to("a", 1), "refused"),
        case("queues.bytes", "queues.bytes = \"2KiB\"", vec![to("a", 600), to("b", 600)], to("a", 600), "refused"),
        case(
            "queues.total_bytes",
            "queues.bytes = \"2KiB\"\nqueues.total_bytes = \"2KiB\"",
            vec![to("a", 600)],
            to("b", 600),
            "refused",
        ),
        case("queues.queues", "queues.queues = 2", vec![to("a", 1), to("b", 1), to("a", 1)], to("c", 1), "refused"),
    ];
    for (key, settings) in [
        ("limits.session_messages_per_second", "limits.session_messages_per_second = 10\nlimits.exceeded = \"error\""),
        ("limits.address_messages_per_second", "limits.address_messages_per_second = 10\nlimits.exceeded = \"error\""),
    ] {
        cases.push(case(key, settings, vec![send("", "").repeat(10)], send("", "").repeat(100), "limits.rate"));
    }
    for (key, settings) in [
        ("limits.session_bytes_per_second", "limits.session_bytes_per_second = \"64KiB\"\nlimits.exceeded = \"error\""),
        ("limits.address_bytes_per_second", "limits.address_bytes_per_second = \"64KiB\"\nlimits.exceeded = \"error\""),
    ] {
        cases.push(case(key, settings, vec![send("", &x(60_000))], send("", &x(60_000)).repeat(10), "limits.rate"));
    }
    cases
}

const CONNECT: &str = "CONNECT\naccept-version:1.2\nhost:h\n\n\0";
