//! Nothing that a peer sends panics, is half counted, or spoils the payload.

use proptest::prelude::*;
use serde_json::Value;

use super::super::Outcome;
use super::{Feed, plain};

proptest! {
    #[test]
    fn any_octets_are_answered(body in prop::collection::vec(any::<u8>(), 0..200)) {
        answered(&Feed::documented(), &body)?;
    }

    #[test]
    fn any_fields_are_answered(fields in prop::collection::vec((key(), json_text(3)), 0..8), array in any::<bool>()) {
        let fields: Vec<_> = fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let event = format!("{{{}}}", fields.join(","));
        let body = if array { format!("[{event},{},{event}]", plain()) } else { event };
        answered(&Feed::dashboard(), body.as_bytes())?;
    }

    #[test]
    fn any_names_are_counted(event_type in "\\PC{1,40}[a-z]", source in "[a-z]\\PC{0,40}", user in any::<String>()) {
        let feed = Feed::documented();
        let event = serde_json::json!({"eventType": event_type, "source": source, "userId": user});
        feed.send(0, &event);
        let payload = feed.payload(0);
        prop_assert_eq!(&payload["eventsByType"][&event_type], 1);
        prop_assert_eq!(&payload["eventsBySource"][&source], 1);
    }
}

/// Sends it, and checks that exactly the accepted ones are counted.
fn answered(feed: &Feed, body: &[u8]) -> Result<(), TestCaseError> {
    let accepted = match feed.events.accept_stomp(body, feed.clock.at(500)) {
        Ok(Outcome::One(_)) => 1,
        Ok(Outcome::Batch(outcome)) => outcome.accepted(),
        Err(rejected) => {
            prop_assert!(!rejected.errors.is_empty());
            0
        }
    };
    let payload: Value = feed.payload(1500);
    prop_assert_eq!(&payload["summary"]["totalEvents"], accepted);
    Ok(())
}

fn key() -> impl Strategy<Value = String> {
    let names = ["eventType", "source", "timestamp", "userId", "sessionId", "severity", "tags", "metadata", "latency"];
    prop_oneof![prop::sample::select(names.to_vec()).prop_map(str::to_owned), "[a-z]{1,3}"]
}

fn json_text(depth: u32) -> impl Strategy<Value = String> {
    let words =
        ["\"a\"", "\"error\"", "\"\"", "null", "true", "-1", "1e308", "12.5", "\"7\"", "\"2026-01-12T13:59:59Z\""];
    let leaf = prop::sample::select(words.to_vec()).prop_map(str::to_owned);
    leaf.prop_recursive(depth, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|values| format!("[{}]", values.join(","))),
            prop::collection::vec((key(), inner), 0..3).prop_map(|fields| {
                let fields: Vec<_> = fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}
