//! The bounds of the REST API.

use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::{Server, Stomp};

#[tokio::test]
async fn a_body_of_the_limit_is_taken_and_one_octet_more_is_not_announced_or_chunked() {
    let server = Server::start(2, "server.http_body_bytes = 4096");
    let url = server.url("/api/v1/events");
    let event = |size: usize| {
        let event = r#"{"eventType":"a.b","source":"s"}"#;
        format!("{}{event}", " ".repeat(size - event.len()))
    };
    let client = Client::new();
    let post = |body: String| client.post(&url).body(body).send();
    assert_eq!(text(post(event(4096)).await.unwrap()).await.0, 202);
    let refused = text(post(event(4097)).await.unwrap()).await;
    let expected = "the body is too large: at most 4096 octets are allowed (http_body_bytes)";
    assert_eq!(refused.0, 413);
    assert!(refused.1.contains(expected), "{}", refused.1);
    for (size, status) in [(4096, "202"), (4097, "413")] {
        let half = event(size);
        let (a, b) = half.split_at(2000);
        let chunked = format!("{:x}\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n", a.len(), b.len());
        let request = format!(
            "POST /api/v1/events HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"
        );
        let answer = exchange(&server, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
}

#[tokio::test]
async fn events_that_are_too_deep_or_too_many_are_refused_with_the_reason_and_not_counted() {
    let server = Server::start(1, "metrics.period = \"1h\"");
    let client = Client::new();
    let event = r#"{"eventType":"a.b","source":"s"}"#;
    let deep = |depth: usize| {
        format!(r#"{{"eventType":"a.b","source":"s","metadata":{}1{}}}"#, r#"{"a":"#.repeat(depth), "}".repeat(depth))
    };
    let batch = |count: usize| format!("[{}]", vec![event; count].join(","));
    let post = |path: &str, body: String| client.post(server.url(path)).body(body).send();
    let deep = text(post("/api/v1/events", deep(1000)).await.unwrap()).await;
    assert_eq!(deep.0, 400, "{}", deep.1);
    assert!(deep.1.contains("is nested too deeply: at most 127 levels"), "{}", deep.1);
    let many = text(post("/api/v1/events/batch", batch(1001)).await.unwrap()).await;
    assert_eq!(many.0, 400);
    assert!(many.1.contains("must hold at most 1000 events"), "{}", many.1);
    let page = text(client.get(server.url("/api/v1/events")).send().await.unwrap()).await;
    assert!(!page.1.contains("a.b"), "{}", page.1);
    let thousand = text(post("/api/v1/events/batch", batch(1000)).await.unwrap()).await;
    assert_eq!(thousand.0, 202, "{}", thousand.1);
}

#[tokio::test]
async fn without_credentials_the_api_answers_401_and_health_200() {
    let server = Server::start(1, "auth.tokens = [{ name = \"ci\", token = \"t0ken\" }]");
    let client = Client::new();
    let url = server.url("/api/v1/metrics");
    for (request, status) in [
        (client.get(&url), 401),
        (client.get(&url).bearer_auth("wrong"), 401),
        (client.get(&url).bearer_auth("t0ken"), 200),
        (client.post(server.url("/api/v1/events")).body("{}"), 401),
        (client.get(server.url("/api/v1/events/health")), 200),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status);
        if status == 401 {
            assert_eq!(answer.headers()["www-authenticate"], "Bearer, Basic realm=\"stompbox\"");
        }
    }
}

#[tokio::test]
async fn who_may_subscribe_to_the_metrics_topic_of_the_settings_may_get_the_metrics() {
    let server = Server::start(
        1,
        "metrics.destination = \"/topic/shop/metrics\"\n\
         auth.anonymous = true\n\
         auth.tokens = [{ name = \"ci\", token = \"t0ken\" }]\n\
         [[auth.rules]]\nusers = [\"ci\"]\noperations = [\"subscribe\"]\ndestinations = [\"/topic/shop/metrics\"]",
    );
    let url = server.url("/api/v1/metrics");
    assert_eq!(Client::new().get(&url).bearer_auth("t0ken").send().await.unwrap().status(), 200);
    assert_eq!(Client::new().get(&url).send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn what_get_answers_head_answers_and_another_method_is_told_which_there_are() {
    let server = Server::start(1, "");
    let client = Client::new();
    for path in ["/api/v1/events", "/api/v1/events/type/a", "/api/v1/metrics", "/api/v1/events/health", "/"] {
        let head = client.head(server.url(path)).send().await.unwrap();
        assert_eq!(head.status(), 200, "{path}");
        assert_ne!(head.headers()["content-length"], "0", "{path}");
        assert_eq!(text(head).await.1, "", "{path}");
    }
    for (path, allowed) in [
        ("/api/v1/events", "GET, HEAD, POST"),
        ("/api/v1/events/batch", "POST"),
        ("/api/v1/metrics/reset", "POST"),
        ("/api/v1/metrics", "GET, HEAD"),
    ] {
        let refused = client.delete(server.url(path)).send().await.unwrap();
        assert_eq!(refused.status(), 405, "{path}");
        assert_eq!(refused.headers()["allow"], allowed, "{path}");
    }
}

#[tokio::test]
async fn a_page_may_send_the_headers_it_asks_for_and_one_of_a_foreign_origin_is_told_no_as_json() {
    let page = "https://page.example";
    let server = Server::start(1, &format!("server.cors_origins = [\"{page}\"]"));
    for path in ["/api/v1/events", "/stream/metrics"] {
        let ask = |origin: &str| {
            let names = "pragma, expires, x-request-id, traceparent, x-xsrf-token";
            let request = Client::new().request(Method::OPTIONS, server.url(path)).header("origin", origin);
            let request = request.header("access-control-request-method", "POST");
            request.header("access-control-request-headers", names).send()
        };
        let leave = ask(page).await.unwrap();
        assert_eq!(leave.status(), 204, "{path}");
        assert_eq!(
            leave.headers()["access-control-allow-headers"],
            "pragma, expires, x-request-id, traceparent, x-xsrf-token"
        );
        if path.starts_with("/api") {
            assert_eq!(leave.headers()["access-control-allow-origin"], page);
            let refused = ask("https://other.example").await.unwrap();
            assert_eq!(refused.headers()["content-type"], "application/json");
            let refused = text(refused).await;
            assert_eq!(refused.0, 403);
            assert!(refused.1.contains("this origin is not allowed (server.cors_origins)"), "{}", refused.1);
        }
    }
}

#[tokio::test]
async fn an_event_is_as_large_as_a_body_may_be_and_may_begin_with_a_byte_order_mark() {
    let server = Server::start(1, "metrics.period = \"1h\"");
    let client = Client::new();
    let event =
        |octets: usize| format!(r#"{{"eventType":"a","source":"b","metadata":{{"text":"{}"}}}}"#, "x".repeat(octets));
    let post = |path: &str, body: String| client.post(server.url(path)).body(body).send();
    for octets in [10, 70_000, 1_000_000] {
        let answer = text(post("/api/v1/events", event(octets)).await.unwrap()).await;
        assert_eq!(answer.0, 202, "{}", answer.1);
        let id = answer.1.split('"').find(|word| word.starts_with("evt_")).unwrap();
        let kept = text(client.get(server.url(&format!("/api/v1/events/{id}"))).send().await.unwrap()).await;
        assert!(kept.0 == 200 && kept.1.len() > octets, "{octets}");
    }
    let batch = format!("[{}]", vec![event(10); 1000].join(","));
    for (path, body) in [("/api/v1/events", event(10)), ("/api/v1/events/batch", batch)] {
        let answer = text(post(path, format!("\u{feff}{body}")).await.unwrap()).await;
        assert_eq!(answer.0, 202, "{}", answer.1);
    }
    let metrics = text(client.get(server.url("/api/v1/metrics")).send().await.unwrap()).await;
    assert!(metrics.1.contains("\"totalEvents\":1004"), "{}", metrics.1);
}

#[tokio::test]
async fn events_beyond_the_limits_on_names_are_counted_on_the_brokers_own_topic() {
    let server = Server::start(1, "metrics.event_types = 1\nmetrics.sources = 1\nmetrics.users = 1");
    let event = |name: &str| format!(r#"{{"eventType":"{name}","source":"{name}","userId":"{name}"}}"#);
    let batch = format!("[{}]", ["a", "b", "a", "c"].map(event).join(","));
    Client::new().post(server.url("/api/v1/events/batch")).body(batch).send().await.unwrap();
    let mut listener = Stomp::connect(server.address).await;
    listener.subscribe("s", "/topic/$sys/broker", "").await;
    let counters: Value = serde_json::from_str(&listener.frame().await.body).unwrap();
    // The user of the second event takes the place of the first, and so on.
    assert_eq!(counters["metrics_other"], json!({"event_types": 2, "sources": 2, "users": 3}));
}

async fn text(response: Response) -> (u16, String) {
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn exchange(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_origins_of_the_api_are_those_of_sockjs_unless_it_has_its_own() {
    let (page, dashboard) = ("https://page.example", "https://dashboard.example");
    let sockjs = format!("sockjs.origins = [\"{page}\"]");
    let both = format!("{sockjs}\nserver.cors_origins = [\"{dashboard}\"]");
    let all = format!("{sockjs}\nserver.cors_origins = []");
    for (settings, expected) in [
        ("", [Some("*"), Some("*")]),
        (sockjs.as_str(), [Some(page), None]),
        (&both, [None, Some(dashboard)]),
        (&all, [Some("*"), Some("*")]),
    ] {
        let server = Server::start(1, settings);
        for (origin, expected) in [page, dashboard].into_iter().zip(expected) {
            let request = Client::new().get(server.url("/api/v1/metrics")).header("origin", origin);
            let response = request.send().await.unwrap();
            let allowed = response.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap());
            let expected = expected.map(|told| if told == "*" { [origin, "*"] } else { [told, told] });
            assert_eq!(allowed.is_some(), expected.is_some(), "{settings} {origin}");
            assert!(allowed.is_none_or(|allowed| expected.unwrap().contains(&allowed)), "{settings} {origin}");
            assert_eq!(response.status(), if expected.is_some() { 200 } else { 403 }, "{settings} {origin}");
        }
        let info = Client::new().get(server.url("/ws/info")).header("origin", dashboard).send().await.unwrap();
        let is_open = settings.is_empty();
        assert_eq!(info.headers().contains_key("access-control-allow-origin"), is_open, "{settings}");
    }
}
