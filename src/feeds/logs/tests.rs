//! What is taken, what it becomes, and what is refused with which words.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{LogEntry, accept};
use crate::message::Destination;

#[test]
fn an_entry_becomes_the_documented_object_with_headers_for_selectors() {
    let entry = parse(&json!({"timestamp": "2024-01-15T11:30:45.1234+01:00", "level": "WARNING", "message": "at 90%",
        "source": "license-server", "metadata": {"used": 9}, "other": 1}));
    let publication = entry.unwrap().publication(&Destination::parse("/topic/logs").unwrap());
    let header = |name| publication.header(name);
    assert_eq!((header("level"), header("source")), (Some("warn"), Some("license-server")));
    assert_eq!(header("content-type"), Some("application/json"));
    let expected = r#"{"type":"log","timestamp":"2024-01-15T10:30:45.123Z","level":"warn","message":"at 90%","source":"license-server","metadata":{"used":9}}"#;
    assert_eq!(publication.body, expected);
}

#[test]
fn what_an_entry_does_not_say_has_its_default() {
    let entry = parse(&json!({"message": "x", "level": null, "metadata": null})).unwrap();
    assert_eq!((entry.level.as_str(), entry.source.as_str(), entry.timestamp), ("info", "test", now()));
    assert!(entry.metadata.is_empty());
}

#[test]
fn each_wrong_field_has_its_reason() {
    let long = |n: usize| "x".repeat(n);
    for (entry, field, reason) in [
        (json!({}), "message", "is required"),
        (json!({"message": " "}), "message", "must not be blank"),
        (json!({"message": 5}), "message", "must be a string"),
        (json!({"message": long((1 << 20) + 1)}), "message", "must be at most 1048576 octets, has 1048577"),
        (
            json!({"message": "x", "level": 3}),
            "level",
            "must be a word of 1 to 32 letters, such as info, warn or error",
        ),
        (json!({"message": "x", "source": long(256)}), "source", SOURCE),
        (json!({"message": "x", "source": ""}), "source", SOURCE),
        (json!({"message": "x", "source": "a\nb"}), "source", SOURCE),
        (json!({"message": "x", "metadata": []}), "metadata", "must be an object"),
        (
            json!({"message": "x", "timestamp": 5}),
            "timestamp",
            "must be a date and time of RFC 3339, such as 2026-01-12T14:23:15.789Z",
        ),
        (json!({"message": "x", "timestamp": "1969-12-31T23:59:59Z"}), "timestamp", "must not be before 1970"),
        (
            json!({"message": "x", "timestamp": "2026-01-13T14:00:01Z"}),
            "timestamp",
            "must not be more than 24 hours in the future",
        ),
        (json!([]), "body", "must be a JSON object"),
    ] {
        let errors = parse(&entry).unwrap_err();
        assert_eq!(errors.reason(field), Some(reason), "{field}");
    }
    assert!(
        parse(&json!({"message": long(1 << 20), "source": long(255), "timestamp": "2026-01-13T14:00:00Z"})).is_ok()
    );
}

#[test]
fn a_batch_takes_what_is_good_and_names_the_rest() {
    let batch = json!([{"message": "a"}, {"message": ""}, {"message": "c"}]);
    let outcome = accept(batch.to_string().as_bytes(), now(), "test").unwrap();
    let answer = serde_json::to_value(&outcome).unwrap();
    assert_eq!(
        answer,
        json!({"status": "partial", "accepted": 2, "rejected": 1, "receivedAt": "2026-01-12T14:00:00.000Z",
            "errors": [{"index": 1, "errors": {"message": "must not be blank"}}]})
    );
    assert_eq!(outcome.into_entries().map(|entry| entry.message).collect::<String>(), "ac");
}

#[test]
fn a_batch_is_of_1_to_1000() {
    let of = |n: usize| Value::from(vec![json!({"message": "x"}); n]).to_string();
    assert_eq!(accept(of(1000).as_bytes(), now(), "test").unwrap().accepted(), 1000);
    let reason = |n: usize| accept(of(n).as_bytes(), now(), "test").unwrap_err().to_string();
    assert_eq!(reason(1001), "Validation failed: body must hold at most 1000 log entries");
    assert!(reason(0).contains("must hold at least one"), "{}", reason(0));
}

fn parse(entry: &Value) -> Result<LogEntry, super::super::events::FieldErrors> {
    LogEntry::parse(entry.to_string().as_bytes(), now(), "test")
}

fn now() -> DateTime<Utc> {
    "2026-01-12T14:00:00Z".parse().unwrap()
}

const SOURCE: &str = "must be a string of 1 to 255 octets without control characters";
