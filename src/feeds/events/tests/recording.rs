//! The recorded stream, its generator and its reader.

use serde_json::Value;

use super::super::replay::{self, ReplayError};
use super::Feed;

#[path = "../../../../examples/generate_events/stream.rs"]
mod stream;

#[test]
fn generator_writes_the_committed_file() {
    assert!(stream::recording() == RECORDING, "run: cargo run --example generate_events");
}

#[test]
fn recording_is_ten_minutes_of_five_services_below_one_and_a_half_megabytes() {
    assert!(RECORDING.len() < 1_500_000);
    let events = replay::parse(RECORDING).unwrap();
    assert!((4800..7200).contains(&events.len()), "{}", events.len());
    assert!(events[0].at_ms < 5000 && (595_000..600_000).contains(&events.last().unwrap().at_ms));
    let feed = Feed::documented();
    for event in &events {
        assert!(!event.event.contains("timestamp"));
        feed.events.accept_json(event.event.as_bytes(), feed.clock.at(event.at_ms)).unwrap();
    }
    let payload = feed.payload(600_000);
    let count = |name: &str| payload["summary"][name].as_u64().unwrap();
    assert_eq!((count("totalEvents"), count("uniqueSources")), (events.len() as u64, 5));
    assert!((24..60).contains(&count("uniqueEventTypes")) && (50..=200).contains(&count("uniqueUsers")));
}

#[test]
fn incident_shows_and_passes() {
    let feed = Feed::dashboard();
    let mut events = replay::parse(RECORDING).unwrap().into_iter().peekable();
    let mut seen = |until_ms: u64| {
        while let Some(event) = events.next_if(|event| event.at_ms < until_ms) {
            feed.events.accept_json(event.event.as_bytes(), feed.clock.at(event.at_ms)).unwrap();
        }
        let payload = feed.payload(until_ms);
        let anomalies = payload["anomalies"].as_array().unwrap();
        anomalies.iter().map(|anomaly| anomaly["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(seen(240_000), Vec::<String>::new());
    assert_eq!(seen(390_000), ["high_error_rate", "high_latency"]);
    seen(600_000);
    // Five quiet minutes later nothing is left of it.
    assert_eq!(seen(900_000), Vec::<String>::new());
}

#[test]
fn recorded_line_is_offset_and_event() {
    let events = replay::parse("{\"at_ms\": 0, \"event\": {\"a\": [1, 2]}}\n\n{\"event\":{},\"at_ms\":7}\r\n").unwrap();
    let read: Vec<_> = events.iter().map(|event| (event.at_ms, event.event)).collect();
    assert_eq!(read, [(0, "{\"a\": [1, 2]}"), (7, "{}")]);
    assert_eq!(replay::parse("").unwrap(), []);
}

#[test]
fn line_that_is_no_recording_is_named() {
    for text in ["{\"at_ms\":1,\"event\":{}}\nnonsense", "{\"at_ms\":1,\"event\":{}}\n{\"event\":{}}"] {
        let error = replay::parse(text).unwrap_err();
        assert!(matches!(error, ReplayError::Form { line: 2, .. }), "{error}");
        assert!(error.to_string().starts_with("line 2 is not {\"at_ms\":…,\"event\":…}: "), "{error}");
    }
    assert!(matches!(replay::parse("{\"at_ms\":-1,\"event\":{}}"), Err(ReplayError::Form { line: 1, .. })));
}

#[test]
fn recording_that_goes_back_in_time_is_refused() {
    let error = replay::parse("{\"at_ms\":5,\"event\":{}}\n{\"at_ms\":5,\"event\":{}}\n{\"at_ms\":4,\"event\":{}}")
        .unwrap_err();
    assert_eq!(error, ReplayError::Order { line: 3, at_ms: 4 });
    assert_eq!(error.to_string(), "line 3 goes back in time to 4 ms");
}

#[test]
fn recorded_payload_has_no_number_that_is_not_finite() {
    for feed in [Feed::documented(), Feed::dashboard()] {
        for event in replay::parse(RECORDING).unwrap().iter().take(500) {
            feed.events.accept_json(event.event.as_bytes(), feed.clock.at(event.at_ms)).unwrap();
        }
        // serde_json writes a number that is not finite as null.
        assert!(!has_null(&feed.payload(60_000)));
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

const RECORDING: &str = include_str!("../../../../fixtures/events.ndjson");
