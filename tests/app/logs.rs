//! Log lines from those who send them to those who listen.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::common::{Server, Stomp};

#[tokio::test]
async fn lines_over_rest_reach_subscribers_as_the_documented_object() {
    let server = Server::start(2, "metrics.enabled = false");
    let mut all = Stomp::connect(server.address).await;
    all.subscribe("l", "/topic/logs", "").await;
    let mut errors = Stomp::connect(server.address).await;
    errors.subscribe("l", "/topic/logs", "selector:level = 'error' AND source = 'db'\n").await;
    let line = json!({"timestamp": "2024-01-15T10:30:45.123Z", "level": "WARN", "message": "at 90%",
        "source": "license-server", "metadata": {"used": 90}});
    let (status, answer) = post(&server, &line.to_string()).await;
    assert_eq!((status, &answer["status"], &answer["accepted"]), (202, &json!("accepted"), &json!(1)));
    let message = all.frame().await;
    assert_eq!(message.header("content-type"), Some("application/json"));
    assert_eq!((message.header("level"), message.header("source")), (Some("warn"), Some("license-server")));
    assert_eq!(
        message.body,
        r#"{"type":"log","timestamp":"2024-01-15T10:30:45.123Z","level":"warn","message":"at 90%","source":"license-server","metadata":{"used":90}}"#
    );
    let batch = json!([{"message": "a"}, {"message": 1}, {"message": "b", "level": "error", "source": "db"}]);
    let (status, answer) = post(&server, &batch.to_string()).await;
    assert_eq!((status, &answer["status"]), (202, &json!("partial")));
    assert_eq!(answer["errors"], json!([{"index": 1, "errors": {"message": "must be a string"}}]));
    for text in ["a", "b"] {
        assert_eq!(object(&all.frame().await.body)["message"], text);
    }
    assert_eq!(object(&errors.frame().await.body)["message"], "b");
    let (status, answer) = post(&server, "{}").await;
    assert_eq!(status, 400);
    assert_eq!(
        answer,
        json!({"status": "error", "message": "Validation failed", "errors": {"message": "is required"}})
    );
}

#[tokio::test]
async fn lines_over_stomp_reach_subscribers_and_a_wrong_one_is_an_error() {
    let server = Server::start(2, "metrics.enabled = false");
    let mut listener = Stomp::connect(server.address).await;
    listener.subscribe("l", "/topic/logs", "").await;
    let mut client = Stomp::connect(server.address).await;
    client.publish("/app/logs", "receipt:1\n", r#"[{"message":"a"},{"message":"b","level":"debug"}]"#).await;
    assert_eq!(client.frame().await.header("receipt-id"), Some("1"));
    for (text, level) in [("a", "info"), ("b", "debug")] {
        let line = object(&listener.frame().await.body);
        assert_eq!(
            (&line["message"], &line["level"], &line["source"]),
            (&json!(text), &json!(level), &json!("unknown"))
        );
    }
    client.publish("/app/logs", "receipt:2\n", r#"{"level":"error"}"#).await;
    let error = client.frame().await;
    assert_eq!((error.command.as_str(), error.header("receipt-id")), ("ERROR", Some("2")));
    assert!(error.body.contains("Validation failed: message is required"), "{}", error.body);
}

#[tokio::test]
async fn nobody_sends_lines_without_credentials_where_there_are_users() {
    let server = Server::start(1, "auth.users = [{ name = \"ann\", passcode = \"a\" }]");
    let (status, answer) = post(&server, r#"{"message":"x"}"#).await;
    assert_eq!((status, &answer["message"]), (401, &json!("Access refused")));
}

async fn post(server: &Server, body: &str) -> (u16, Value) {
    let answer = Client::new().post(server.url("/api/v1/logs")).body(body.to_owned()).send().await.unwrap();
    (answer.status().as_u16(), object(&answer.text().await.unwrap()))
}

fn object(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

#[tokio::test]
async fn what_is_written_to_a_followed_file_reaches_subscribers_across_its_rotation() {
    let folder = std::env::temp_dir().join(format!("stompbox-tail-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("app.log");
    fs::write(&path, "old\n").unwrap();
    let pattern = folder.join("*.log");
    let settings = format!(
        "metrics.enabled = false\nlogs.tail = [\"{}\"]\nmailbox.messages = 100000\nmailbox.bytes = \"64MiB\"",
        pattern.display()
    );
    let server = Server::start(2, &settings);
    let mut client = Stomp::connect(server.address).await;
    client.subscribe("l", "/topic/logs", "").await;
    let append = |text: &str| {
        let mut file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    // Its end is where it was when it was found, which may be a moment after the start.
    append("level=error msg=first service=api\n");
    let first = loop {
        match timeout(Duration::from_millis(300), client.frame()).await {
            Ok(frame) => break frame,
            Err(_) => append("level=error msg=first service=api\n"),
        }
    };
    let line = object(&first.body);
    assert_eq!((&line["level"], &line["message"], &line["source"]), (&json!("error"), &json!("first"), &json!("api")));
    let numbered = |from: usize| (from..from + LINES).map(|n| format!("line {n}\n")).collect::<String>();
    append(&numbered(0));
    fs::rename(&path, folder.join("app.1")).unwrap();
    append(&numbered(LINES));
    let mut next = 0;
    while next < 2 * LINES {
        let line = object(&client.frame().await.body);
        if line["message"] != "first" {
            assert_eq!((&line["message"], &line["source"]), (&json!(format!("line {next}")), &json!("app.log")));
            next += 1;
        }
    }
    drop(server);
    fs::remove_dir_all(&folder).unwrap();
}

const LINES: usize = 20_000;
