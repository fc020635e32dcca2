//! Log lines from those who send them to those who listen.

use reqwest::Client;
use serde_json::{Value, json};

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
