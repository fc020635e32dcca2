//! The documented payload, number by number.

use serde_json::json;

use super::{Feed, error_event};

#[test]
fn payload_before_the_first_event_is_all_zero() {
    let feed = Feed::documented();
    let none = json!({"events": 0, "avgLatency": 0.0, "errorRate": 0.0});
    let expected = json!({
        "summary": {"totalEvents": 0, "eventsPerSecond": 0.0, "avgLatency": 0.0, "errorRate": 0.0,
            "uniqueUsers": 0, "uniqueSources": 0, "uniqueEventTypes": 0},
        "eventsByType": {}, "eventsBySource": {},
        "eventsBySeverity": {"INFO": 0, "WARNING": 0, "ERROR": 0, "CRITICAL": 0},
        "latencyMetrics": {
            "overall": {"p50": 0.0, "p95": 0.0, "p99": 0.0, "avg": 0.0, "min": 0.0, "max": 0.0, "sampleCount": 0},
            "byType": {}, "bySource": {}},
        "errorMetrics": {"totalErrors": 0, "errorRate": 0.0, "errorsByType": {}, "errorsBySource": {}},
        "throughput": {"current": 0.0, "peak": 0.0, "avg": 0.0,
            "peakTimestamp": "2026-01-12T14:00:00.000Z", "trend": "stable"},
        "timeWindows": {"last5Minutes": none, "last15Minutes": none, "last1Hour": none},
        "topUsers": [],
    });
    assert_eq!(feed.payload(0), expected);
    // Computed at the start already, so that a GET before the first period has an answer.
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&feed.events.current(feed.clock.at(0))).unwrap(), expected);
}

#[test]
fn payload_of_six_events_is_as_computed_by_hand() {
    let feed = Feed::documented();
    let login = |user: &str, ms: f64| json!({"eventType": "user.login", "source": "auth-service", "userId": user, "metadata": {"latency": ms}});
    feed.send(5000, &login("ann", 10.0));
    feed.send(5100, &login("bob", 20.0));
    feed.send(5200, &error_event());
    let mut failed = error_event();
    failed["severity"] = json!("CRITICAL");
    failed["userId"] = json!("bob");
    failed["metadata"] = json!({"latency": "40"});
    feed.send(5300, &failed);
    feed.send(5400, &json!({"eventType": "api.slow", "source": "api-gateway", "severity": "WARNING"}));
    feed.send(6000, &json!({"eventType": "api.slow", "source": "api-gateway", "userId": "bob"}));

    // Latencies 10, 20, 40: mean 23.333. Percentiles by nearest rank.
    // Complete seconds: 12; the last ten are 2..12 with all 6 events.
    // Errors: 2 of 6 = 33.33 %.
    let all = json!({"events": 6, "avgLatency": 23.333, "errorRate": 33.33});
    let zero = json!({"p50": 0.0, "p95": 0.0, "p99": 0.0, "avg": 0.0});
    let login = json!({"p50": 10.0, "p95": 20.0, "p99": 20.0, "avg": 15.0});
    let failed = json!({"p50": 40.0, "p95": 40.0, "p99": 40.0, "avg": 40.0});
    let expected = json!({
        "summary": {"totalEvents": 6, "eventsPerSecond": 0.6, "avgLatency": 23.333, "errorRate": 33.33,
            "uniqueUsers": 2, "uniqueSources": 3, "uniqueEventTypes": 3},
        "eventsByType": {"user.login": 2, "payment.failed": 2, "api.slow": 2},
        "eventsBySource": {"auth-service": 2, "payment-service": 2, "api-gateway": 2},
        "eventsBySeverity": {"INFO": 3, "WARNING": 1, "ERROR": 1, "CRITICAL": 1},
        "latencyMetrics": {
            "overall": {"p50": 20.0, "p95": 40.0, "p99": 40.0, "avg": 23.333, "min": 10.0, "max": 40.0, "sampleCount": 3},
            "byType": {"user.login": login, "payment.failed": failed, "api.slow": zero},
            "bySource": {"auth-service": login, "payment-service": failed, "api-gateway": zero}},
        "errorMetrics": {"totalErrors": 2, "errorRate": 33.33,
            "errorsByType": {"payment.failed": 2}, "errorsBySource": {"payment-service": 2}},
        "throughput": {"current": 0.6, "peak": 5.0, "avg": 0.5,
            "peakTimestamp": "2026-01-12T14:00:05.400Z", "trend": "stable"},
        "timeWindows": {"last5Minutes": all, "last15Minutes": all, "last1Hour": all},
        "topUsers": [
            {"userId": "bob", "eventCount": 3, "lastSeen": "2026-01-12T14:00:06.000Z"},
            {"userId": "ann", "eventCount": 1, "lastSeen": "2026-01-12T14:00:05.000Z"}],
    });
    assert_eq!(feed.payload(12_900), expected);
}

#[test]
fn keys_come_in_the_documented_order_and_names_sorted() {
    let feed = Feed::documented();
    for name in ["b", "a", "c"] {
        feed.send(0, &json!({"eventType": name, "source": "s"}));
    }
    let payload = String::from_utf8(feed.events.snapshot(feed.clock.at(0)).to_vec()).unwrap();
    let keys = [
        "{\"summary\":{\"totalEvents\":3",
        "\"eventsByType\":{\"a\":1,\"b\":1,\"c\":1}",
        "\"eventsBySource\":{\"s\":3}",
        "\"eventsBySeverity\":{\"INFO\":3,\"WARNING\":0,\"ERROR\":0,\"CRITICAL\":0}",
        "\"latencyMetrics\":{\"overall\":",
        "\"errorMetrics\":",
        "\"throughput\":",
        "\"timeWindows\":",
        "\"topUsers\":[]}",
    ];
    let places: Vec<_> =
        keys.iter().map(|key| payload.find(key).unwrap_or_else(|| panic!("{key} in {payload}"))).collect();
    assert!(places.is_sorted(), "{payload}");
}

#[test]
fn ten_users_with_most_events_are_listed() {
    let feed = Feed::documented();
    for user in 0..11_u64 {
        for _ in 0..=user {
            feed.send(0, &json!({"eventType": "a", "source": "b", "userId": format!("u{user}")}));
        }
    }
    let payload = feed.payload(0);
    let users = payload["topUsers"].as_array().unwrap();
    let listed: Vec<_> = users.iter().map(|user| (user["userId"].as_str().unwrap(), &user["eventCount"])).collect();
    assert_eq!(listed.len(), 10);
    assert_eq!((listed[0], listed[9]), (("u10", &json!(11)), ("u1", &json!(2))));
    assert_eq!(payload["summary"]["uniqueUsers"], 11);
}
