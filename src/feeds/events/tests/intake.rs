//! The answers to a sender.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::super::{Health, Outcome, Running};
use super::{Feed, error_event, plain};

#[test]
fn accepted_event_is_answered_as_documented() {
    let feed = Feed::documented();
    let accepted = feed.events.accept_json(plain().to_string().as_bytes(), feed.clock.at(1789)).unwrap();
    assert!(accepted.event_id.starts_with("evt_") && accepted.event_id.len() == 36, "{}", accepted.event_id);
    assert_eq!(
        serde_json::to_string(&accepted).unwrap(),
        format!(
            r#"{{"eventId":"{}","eventType":"user.login","status":"accepted","receivedAt":"2026-01-12T14:00:01.789Z"}}"#,
            accepted.event_id
        )
    );
}

#[test]
fn refused_event_is_answered_as_documented_and_not_counted() {
    let feed = Feed::documented();
    let rejected = feed.events.accept_json(br#"{"eventType":""}"#, feed.clock.at(0)).unwrap_err();
    assert_eq!(
        serde_json::to_string(&rejected).unwrap(),
        r#"{"status":"error","message":"Validation failed","errors":{"eventType":"must not be blank","source":"is required"}}"#
    );
    assert_eq!(rejected.to_string(), "Validation failed: eventType must not be blank; source is required");
    assert_eq!(feed.payload(0)["summary"]["totalEvents"], 0);
}

#[test]
fn event_ids_are_unique() {
    let feed = Feed::documented();
    let id = || feed.events.accept_json(plain().to_string().as_bytes(), feed.clock.at(0)).unwrap().event_id;
    let ids: HashSet<_> = (0..1000).map(|_| id()).collect();
    assert_eq!(ids.len(), 1000);
}

#[test]
fn valid_events_of_a_batch_count_and_each_has_its_answer() {
    let feed = Feed::documented();
    let batch = json!([plain(), {"eventType": "x"}, error_event(), 7]).to_string();
    let outcome = feed.events.accept_batch_json(batch.as_bytes(), feed.clock.at(0)).unwrap();
    assert_eq!(outcome.accepted(), 2);
    let mut answer = serde_json::to_value(&outcome).unwrap();
    for index in [0, 2] {
        let id = answer["results"][index].as_object_mut().unwrap().remove("eventId").unwrap();
        assert!(feed.events.by_id(id.as_str().unwrap()).is_some());
    }
    let at = "2026-01-12T14:00:00.000Z";
    let failed = "Validation failed";
    assert_eq!(
        answer,
        json!({"status": "partial", "accepted": 2, "rejected": 2, "results": [
            {"index": 0, "eventType": "user.login", "status": "accepted", "receivedAt": at},
            {"index": 1, "status": "error", "message": failed, "errors": {"source": "is required"}},
            {"index": 2, "eventType": "payment.failed", "status": "accepted", "receivedAt": at},
            {"index": 3, "status": "error", "message": failed, "errors": {"body": "must be a JSON object"}},
        ]})
    );
    assert_eq!(feed.payload(0)["summary"]["totalEvents"], 2);
}

#[test]
fn batch_status_says_all_or_none() {
    let feed = Feed::documented();
    let status = |batch: Value| {
        let outcome = feed.events.accept_batch_json(batch.to_string().as_bytes(), feed.clock.at(0)).unwrap();
        serde_json::to_value(outcome).unwrap()["status"].clone()
    };
    assert_eq!(status(json!([plain(), plain()])), "accepted");
    assert_eq!(status(json!([{}, 1])), "error");
}

#[test]
fn batch_is_1000_events_at_most() {
    let feed = Feed::documented();
    let batch = |count: usize| Value::Array(vec![plain(); count]).to_string();
    let outcome = feed.events.accept_batch_json(batch(1000).as_bytes(), feed.clock.at(0)).unwrap();
    assert_eq!(outcome.accepted(), 1000);
    let rejected = feed.events.accept_batch_json(batch(1001).as_bytes(), feed.clock.at(0)).unwrap_err();
    assert_eq!(rejected.errors.to_string(), "body must hold at most 1000 events");
    assert_eq!(feed.payload(0)["summary"]["totalEvents"], 1000);
}

#[test]
fn batch_is_8_mib_at_most() {
    let feed = Feed::documented();
    let mut batch = json!([plain()]).to_string();
    batch.push_str(&" ".repeat(8 * 1024 * 1024 - batch.len()));
    assert!(feed.events.accept_batch_json(batch.as_bytes(), feed.clock.at(0)).is_ok());
    batch.push(' ');
    let rejected = feed.events.accept_batch_json(batch.as_bytes(), feed.clock.at(0)).unwrap_err();
    assert_eq!(rejected.errors.to_string(), "body must be at most 8388608 octets, has 8388609");
}

#[test]
fn what_is_no_batch_is_refused_whole() {
    let feed = Feed::documented();
    for (text, why) in [
        ("[]", "must hold at least one entry"),
        ("{}", "must be a JSON array of events"),
        ("3", "must be a JSON array of events"),
        ("", "is not valid JSON: EOF while parsing a value at line 1 column 0"),
        (r#"[{"eventType":"a","source":"b"},"#, "is not valid JSON: EOF while parsing a value at line 1 column 32"),
        (r#"[{"eventType":"a","source":"b"}]]"#, "is not valid JSON: trailing characters at line 1 column 33"),
    ] {
        let rejected = feed.events.accept_batch_json(text.as_bytes(), feed.clock.at(0)).unwrap_err();
        assert_eq!(rejected.errors.reason("body"), Some(why), "{text}");
    }
    let deep = "[".repeat(100_000);
    assert!(feed.events.accept_batch_json(deep.as_bytes(), feed.clock.at(0)).is_err());
    assert_eq!(feed.payload(0)["summary"]["totalEvents"], 0);
}

#[test]
fn stomp_body_is_one_event_or_an_array() {
    let feed = Feed::documented();
    let send = |text: &str| feed.events.accept_stomp(text.as_bytes(), feed.clock.at(0));
    assert!(matches!(send(&format!(" \n{}", plain())), Ok(Outcome::One(_))));
    let batch = send(&format!("\r\n\t [{},{}]", plain(), plain())).unwrap();
    assert!(matches!(&batch, Outcome::Batch(outcome) if outcome.accepted() == 2));
    assert_eq!(serde_json::to_value(&batch).unwrap()["status"], "accepted");
    assert_eq!(
        send("hello").unwrap_err().errors.to_string(),
        "body is not valid JSON: expected value at line 1 column 1"
    );
    assert_eq!(feed.payload(0)["summary"]["totalEvents"], 3);
}

#[test]
fn health_and_test_are_answered_as_documented() {
    let feed = Feed::documented();
    let health = serde_json::to_string(&Health::up(feed.clock.at(789).wall)).unwrap();
    assert_eq!(health, r#"{"status":"UP","timestamp":"1768226400789"}"#);
    let running = serde_json::to_value(Running::default()).unwrap();
    assert_eq!(running, json!({"status": "running", "service": "stompbox", "version": env!("CARGO_PKG_VERSION")}));
}
