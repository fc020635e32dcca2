//! Memory and payload do not grow with what is sent.

use serde_json::json;

use super::super::{Overflow, Profile, Settings};
use super::{Feed, settings};

#[test]
fn names_beyond_the_limit_count_as_other() {
    let feed = Feed::with(Settings { event_types: 2, sources: 1, ..settings(Profile::Documented) });
    for (event_type, source) in
        [("a", "x"), ("b", "x"), ("c", "y"), ("other", "other"), ("d", "x"), ("c", "y"), ("a", "z")]
    {
        feed.send(
            0,
            &json!({"eventType": event_type, "source": source, "severity": "ERROR", "metadata": {"latency": 8}}),
        );
    }
    let payload = feed.payload(0);
    assert_eq!(payload["eventsByType"], json!({"a": 2, "b": 1, "other": 4}));
    assert_eq!(payload["eventsBySource"], json!({"x": 3, "other": 4}));
    assert_eq!(payload["errorMetrics"]["errorsByType"], json!({"a": 2, "b": 1, "other": 4}));
    assert_eq!(payload["latencyMetrics"]["byType"]["other"]["avg"], 8.0);
    assert_eq!(payload["summary"]["uniqueEventTypes"], 5);
    assert_eq!(payload["summary"]["uniqueSources"], 4);
    assert_eq!(feed.events.overflow(), Overflow { event_types: 4, sources: 4, users: 0 });
}

#[test]
fn own_name_other_takes_no_place() {
    let feed = Feed::with(Settings { event_types: 1, ..settings(Profile::Documented) });
    for name in ["other", "a", "other"] {
        feed.send(0, &json!({"eventType": name, "source": "s"}));
    }
    let payload = feed.payload(0);
    assert_eq!(payload["eventsByType"], json!({"a": 1, "other": 2}));
    assert_eq!(payload["summary"]["uniqueEventTypes"], 2);
}

#[test]
fn limits_of_zero_count_all_as_other_and_follow_nobody() {
    let zero = Settings { event_types: 0, sources: 0, users: 0, ..settings(Profile::Documented) };
    let feed = Feed::with(zero);
    feed.send(0, &json!({"eventType": "a", "source": "b", "userId": "u"}));
    let payload = feed.payload(0);
    assert_eq!(payload["eventsByType"], json!({"other": 1}));
    assert_eq!(payload["eventsBySource"], json!({"other": 1}));
    assert_eq!((&payload["topUsers"], &payload["summary"]["uniqueUsers"]), (&json!([]), &json!(1)));
    assert_eq!(feed.events.overflow(), Overflow { event_types: 1, sources: 1, users: 1 });
}

#[test]
fn payload_does_not_grow_with_the_names_sent() {
    for profile in [Profile::Documented, Profile::Dashboard] {
        let feed = Feed::with(Settings { event_types: 20, sources: 10, users: 10, ..settings(profile) });
        let send = |n: usize| {
            let name = |kind: char| format!("{kind}{n:06}");
            feed.send(0, &json!({"eventType": name('t'), "source": name('s'), "userId": name('u')}));
        };
        (0..30).for_each(send);
        let before = feed.events.snapshot(feed.clock.at(0)).len();
        (30..3000).for_each(send);
        let after = feed.events.snapshot(feed.clock.at(0)).len();
        // Only digits of counts.
        assert!(after < before + 200, "{before} {after}");
    }
}

#[test]
fn users_beyond_the_limit_are_estimated() {
    let feed = Feed::with(Settings { users: 256, ..settings(Profile::Dashboard) });
    for n in 0..2560 {
        feed.send(0, &json!({"eventType": "a", "source": "b", "userId": format!("u{n}")}));
    }
    let users = feed.payload(0)["userMetrics"].clone();
    let unique = users["totalUniqueUsers"].as_f64().unwrap();
    // Six standard errors of 1/√256.
    assert!((unique / 2560.0 - 1.0).abs() < 6.0 / 16.0, "{unique}");
    assert_eq!(users["totalUniqueUsers"], users["activeUsersLast1Hour"]);
}

#[test]
fn names_need_no_manners() {
    let feed = Feed::documented();
    for name in ["__proto__", "\u{0}\u{7}\"\\", "😀", "</script>", "{\"a\":1}"] {
        feed.send(0, &json!({"eventType": name, "source": name, "userId": name}));
        let payload = feed.payload(0);
        assert_eq!((&payload["eventsByType"][name], &payload["eventsBySource"][name]), (&json!(1), &json!(1)));
    }
}
