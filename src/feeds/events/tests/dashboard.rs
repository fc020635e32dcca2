//! The dashboard's payload, number by number, and its thresholds.

use serde_json::{Value, json};

use super::{Feed, error_event, with_latency};

#[test]
fn payload_of_five_events_is_as_computed_by_hand() {
    let feed = Feed::dashboard();
    let login = |user: &str, ms: f64| json!({"eventType": "user.login", "source": "auth-service", "userId": user, "metadata": {"latency": ms}});
    feed.send(5000, &login("ann", 10.0));
    feed.send(5100, &login("bob", 20.0));
    feed.send(5200, &login("bob", 30.0));
    let mut failed = error_event();
    failed["metadata"] = json!({"latency": 40});
    feed.send(6000, &failed);
    feed.send(6100, &json!({"eventType": "api.slow", "source": "api-gateway"}));
    let row = |event_type, count, ms| json!({"type": event_type, "count": count, "avgLatency": ms});
    let (login, failed) = (row("user.login", 3, 20.0), row("payment.failed", 1, 40.0));
    let source = |count, health, ms, errors, rate| json!({"count": count, "health": health, "avgLatency": ms, "errorCount": errors, "errorRate": rate});
    // 5 events in 12 complete seconds; 1 of 5 is an error; latencies 10, 20, 30, 40.
    let expected = json!({
        "summary": {"totalEvents": 5, "uniqueSources": 3, "uniqueEventTypes": 3, "uniqueUsers": 2,
            "systemHealth": "critical", "lastUpdated": "2026-01-12T14:00:12Z"},
        "throughput": {
            "current": {"perSecond": 0.5, "perMinute": 5, "perHour": 5, "perDay": 5},
            "peak": {"value": 3.0, "timestamp": "2026-01-12T14:00:05.200Z"},
            "average": {"last1Hour": 0.42, "last24Hours": 0.42}},
        "timeWindows": {"last1Minute": 5, "last5Minutes": 5, "last15Minutes": 5, "last1Hour": 5, "last24Hours": 5},
        "eventsByType": {
            "user.login": {"count": 3, "percentage": 60.0, "avgLatency": 20.0},
            "payment.failed": {"count": 1, "percentage": 20.0, "avgLatency": 40.0},
            "api.slow": {"count": 1, "percentage": 20.0, "avgLatency": 0.0}},
        "eventsBySource": {
            "auth-service": source(3, "healthy", 20.0, 0, 0.0),
            "payment-service": source(1, "down", 40.0, 1, 100.0),
            "api-gateway": source(1, "healthy", 0.0, 0, 0.0)},
        "eventsBySeverity": {"INFO": 4, "WARNING": 0, "ERROR": 1, "CRITICAL": 0},
        "userMetrics": {"totalUniqueUsers": 2, "activeUsersLast1Hour": 2, "activeUsersLast24Hours": 2,
            "topActiveUsers": [{"userId": "bob", "eventCount": 2}, {"userId": "ann", "eventCount": 1}]},
        "topEvents": {
            "mostFrequent": [login, row("api.slow", 1, 0.0), failed],
            "fastest": [login, failed], "slowest": [failed, login]},
        "errorAnalysis": {"totalErrors": 1, "errorRate": 20.0,
            "errorsByType": [{"name": "payment.failed", "count": 1, "percentage": 100.0}],
            "errorsBySource": [{"name": "payment-service", "count": 1, "percentage": 100.0}]},
        // 20000 µs lies in the bucket 19968..=20095.
        "performance": {"avgLatency": 25.0, "p50": 20.0, "p95": 40.0, "p99": 40.0, "maxLatency": 40.0, "minLatency": 10.0},
        "anomalies": [{"severity": "critical", "type": "high_error_rate",
            "message": "20 % of the events of the last 5 minutes are errors (above 10 %)",
            "threshold": 10.0, "currentValue": 20.0, "detectedAt": "2026-01-12T14:00:12.900Z"}],
    });
    assert_eq!(feed.payload(12_900), expected);
}

#[test]
fn system_health_turns_above_five_and_ten_percent() {
    for (errors, health, anomaly) in [
        (0, "healthy", None),
        (50, "healthy", None),
        (51, "degraded", Some(("warning", 5.0, 5.1))),
        (100, "degraded", Some(("warning", 5.0, 10.0))),
        (101, "critical", Some(("critical", 10.0, 10.1))),
    ] {
        let feed = with_errors(errors);
        let payload = feed.payload(1000);
        assert_eq!(payload["summary"]["systemHealth"], health, "{errors}");
        assert_eq!(grade(&payload, "high_error_rate"), anomaly.map(|(s, t, v)| (s.into(), t, v)), "{errors}");
    }
}

#[test]
fn system_health_is_that_of_the_last_five_minutes() {
    let feed = with_errors(500);
    assert_eq!(feed.payload(299_999)["summary"]["systemHealth"], "critical");
    let payload = feed.payload(300_000);
    assert_eq!(payload["summary"]["systemHealth"], "healthy");
    assert_eq!(payload["anomalies"], json!([]));
    assert_eq!(payload["errorAnalysis"]["errorRate"], 50.0);
}

#[test]
fn source_is_degraded_above_five_percent_and_down_above_ten() {
    for (errors, health) in [(50, "healthy"), (51, "degraded"), (100, "degraded"), (101, "down")] {
        let payload = with_errors(errors).payload(0);
        assert_eq!(payload["eventsBySource"]["payment-service"]["health"], health, "{errors}");
    }
}

#[test]
fn source_is_degraded_above_one_second_and_down_above_five() {
    for (ms, health) in [(1000.0, "healthy"), (1000.001, "degraded"), (5000.0, "degraded"), (5000.001, "down")] {
        let feed = Feed::dashboard();
        feed.send(0, &with_latency(ms));
        assert_eq!(feed.payload(0)["eventsBySource"]["auth-service"]["health"], health, "{ms}");
    }
}

#[test]
fn latency_is_an_anomaly_above_one_second_and_critical_above_five() {
    for (ms, anomaly) in [
        (1000.0, None),
        (1000.001, Some(("warning", 1000.0, 1000.001))),
        (5000.0, Some(("warning", 1000.0, 5000.0))),
        (5000.001, Some(("critical", 5000.0, 5000.001))),
    ] {
        let feed = Feed::dashboard();
        feed.send(0, &with_latency(ms));
        let payload = feed.payload(0);
        assert_eq!(grade(&payload, "high_latency"), anomaly.map(|(s, t, v)| (s.into(), t, v)), "{ms}");
    }
    let feed = Feed::dashboard();
    feed.send(0, &with_latency(2500.0));
    let message = feed.payload(0)["anomalies"][0]["message"].clone();
    assert_eq!(message, "The 95th percentile of latency is 2500 ms (above 1000 ms)");
}

#[test]
fn five_percent_of_slow_events_are_no_anomaly() {
    let feed = Feed::dashboard();
    (0..95).for_each(|_| feed.send(0, &with_latency(1000.0)));
    (0..5).for_each(|_| feed.send(0, &with_latency(2000.0)));
    let payload = feed.payload(0);
    assert_eq!((&payload["performance"]["p95"], grade(&payload, "high_latency")), (&json!(1000.0), None));
}

#[test]
fn thresholds_are_passed_by_what_rounds_to_them() {
    // 1001 of 20,019 are 5.0002 %.
    let feed = Feed::dashboard();
    (0..1001).for_each(|_| feed.send(0, &error_event()));
    feed.plain(0, 19_018);
    let payload = feed.payload(0);
    assert_eq!(payload["errorAnalysis"]["errorRate"], 5.0);
    assert_eq!(payload["summary"]["systemHealth"], "degraded");
    assert!(grade(&payload, "high_error_rate").is_some());
}

#[test]
fn latency_anomaly_passes_with_its_minute() {
    let feed = Feed::dashboard();
    feed.send(59_999, &with_latency(2000.0));
    // The running minute and the four before it.
    assert!(grade(&feed.payload(299_999), "high_latency").is_some());
    assert!(grade(&feed.payload(300_000), "high_latency").is_none());
    assert_eq!(feed.payload(300_000)["performance"]["p95"], 2000.0);
    feed.send(300_000, &with_latency(10.0));
    assert!(grade(&feed.payload(300_000), "high_latency").is_none());
}

#[test]
fn last_minute_above_three_times_the_mean_is_a_spike() {
    // 5 minutes with 100 events: 20 a minute, so 60 in the last minute are none and 61 are one.
    for (last, expected) in [(60, None), (61, Some(("warning".to_owned(), 60.0, 61.0)))] {
        let feed = Feed::dashboard();
        feed.plain(100_000, 100 - last);
        feed.plain(299_000, last);
        assert_eq!(grade(&feed.payload(300_000), "traffic_spike"), expected);
    }
    let feed = Feed::dashboard();
    feed.plain(299_000, 10);
    let message = feed.payload(300_000)["anomalies"][0]["message"].clone();
    assert_eq!(message, "10 events in the last minute, above 3 times the mean of 5 minutes (6)");
}

#[test]
fn start_is_no_spike() {
    let feed = Feed::dashboard();
    feed.plain(500, 100);
    for at_ms in [500, 1000, 30_000, 59_999, 60_000, 120_000] {
        assert_eq!(feed.payload(at_ms)["anomalies"], json!([]), "{at_ms}");
    }
}

#[test]
fn anomaly_keeps_the_time_it_was_first_seen_until_it_passes() {
    let detected_at = |payload: &Value| payload["anomalies"][0]["detectedAt"].clone();
    let feed = Feed::dashboard();
    feed.send(0, &error_event());
    assert_eq!(detected_at(&feed.payload(1000)), "2026-01-12T14:00:01.000Z");
    assert_eq!(detected_at(&feed.payload(200_000)), "2026-01-12T14:00:01.000Z");
    assert_eq!(feed.payload(300_000)["anomalies"], json!([]));
    feed.send(400_000, &error_event());
    assert_eq!(detected_at(&feed.payload(401_000)), "2026-01-12T14:06:41.000Z");
}

#[test]
fn averages_are_over_the_window_or_the_time_since_the_start() {
    let feed = Feed::dashboard();
    feed.plain(0, 3600);
    let average = |at_ms| {
        let average = feed.payload(at_ms)["throughput"]["average"].clone();
        (average["last1Hour"].as_f64().unwrap(), average["last24Hours"].as_f64().unwrap())
    };
    assert_eq!(average(0), (3600.0, 3600.0));
    assert_eq!(average(1_800_000), (2.0, 2.0));
    assert_eq!(average(7_200_000), (0.0, 0.5));
    assert_eq!(average(86_400_000), (0.0, 0.0));
}

#[test]
fn users_are_active_for_an_hour_and_a_day() {
    let feed = Feed::dashboard();
    feed.send(0, &json!({"eventType": "a", "source": "b", "userId": "u"}));
    let active = |at_ms| {
        let users = feed.payload(at_ms)["userMetrics"].clone();
        ["totalUniqueUsers", "activeUsersLast1Hour", "activeUsersLast24Hours"].map(|name| users[name].as_u64().unwrap())
    };
    assert_eq!(active(3_599_999), [1, 1, 1]);
    assert_eq!(active(3_600_000), [1, 0, 1]);
    assert_eq!(active(86_399_999), [1, 0, 1]);
    assert_eq!(active(86_400_000), [1, 0, 0]);
}

#[test]
fn tops_are_ten_most_frequent_and_five_fastest_and_slowest() {
    let feed = Feed::dashboard();
    for n in 1..=12_usize {
        for _ in 0..n {
            feed.send(
                0,
                &json!({"eventType": format!("t{n:02}"), "source": format!("s{n:02}"), "severity": "ERROR",
                "metadata": {"latency": n}}),
            );
        }
    }
    let payload = feed.payload(0);
    let names = |list: &Value, key: &str| -> Vec<String> {
        list.as_array().unwrap().iter().map(|entry| entry[key].as_str().unwrap().to_owned()).collect()
    };
    let ten = ["12", "11", "10", "09", "08", "07", "06", "05", "04", "03"];
    let named = |prefix: char, numbers: &[&str]| -> Vec<String> {
        numbers.iter().map(|number| format!("{prefix}{number}")).collect()
    };
    let top = &payload["topEvents"];
    assert_eq!(names(&top["mostFrequent"], "type"), named('t', &ten));
    assert_eq!(names(&top["slowest"], "type"), named('t', &ten[..5]));
    assert_eq!(names(&top["fastest"], "type"), named('t', &["01", "02", "03", "04", "05"]));
    let errors = &payload["errorAnalysis"];
    assert_eq!(names(&errors["errorsByType"], "name"), named('t', &ten));
    assert_eq!(names(&errors["errorsBySource"], "name"), named('s', &ten));
    // 12 of 78.
    assert_eq!(errors["errorsByType"][0]["percentage"], 15.38);
}

/// A thousand events of one source, so many of them errors.
fn with_errors(errors: usize) -> Feed {
    let feed = Feed::dashboard();
    for n in 0..1000 {
        let mut event = error_event();
        event["severity"] = json!(if n < errors { "CRITICAL" } else { "WARNING" });
        feed.send(0, &event);
    }
    feed
}

/// Severity, threshold and value of the anomaly of that type.
fn grade(payload: &Value, kind: &str) -> Option<(String, f64, f64)> {
    let anomaly = payload["anomalies"].as_array().unwrap().iter().find(|anomaly| anomaly["type"] == kind)?;
    let number = |name: &str| anomaly[name].as_f64().unwrap();
    Some((anomaly["severity"].as_str().unwrap().to_owned(), number("threshold"), number("currentValue")))
}
