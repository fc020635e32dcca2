//! What an event may be, and what its sender is told.

use serde_json::{Value, json};

use super::super::{Event, FieldErrors, Severity};
use super::{Clock, plain, wall};

#[test]
fn full_event_is_read() {
    let event = parse(&json!({
        "eventType": "user.login", "source": "auth-service", "timestamp": "2026-01-12T15:59:59.250+02:00",
        "userId": "u1", "sessionId": "s1", "severity": "warning", "tags": {"a": "b"},
        "metadata": {"latency": 12.5, "x": [1]}, "unknown": {"ignored": true},
    }))
    .unwrap();
    assert_eq!(event.event_type, "user.login");
    assert_eq!(event.source, "auth-service");
    assert_eq!(event.timestamp, Some(wall("2026-01-12T13:59:59.250Z")));
    assert_eq!((event.user_id.as_deref(), event.session_id.as_deref()), (Some("u1"), Some("s1")));
    assert_eq!(event.severity, Severity::Warning);
    assert_eq!(event.tags.get("a").map(String::as_str), Some("b"));
    assert_eq!(event.metadata.get("x"), Some(&json!([1])));
    assert_eq!(event.latency(Clock::new().0.wall).map(|latency| latency.micros()), Some(12_500));
}

#[test]
fn null_or_blank_optional_field_is_absent() {
    let event = parse(&json!({
        "eventType": "a", "source": "b", "timestamp": null, "userId": null, "sessionId": " ",
        "severity": null, "tags": null, "metadata": {"latency": null},
    }))
    .unwrap();
    assert_eq!(event, parse(&json!({"eventType": "a", "source": "b", "metadata": {"latency": null}})).unwrap());
    assert_eq!((event.timestamp, event.user_id, event.session_id), (None, None, None));
    assert_eq!(event.severity, Severity::Info);
}

#[test]
fn all_wrong_fields_are_told_at_once() {
    let errors = parse(&json!({
        "eventType": 7, "source": "  ", "timestamp": "yesterday", "userId": true, "sessionId": [],
        "severity": "FATAL", "tags": {"n": 1, "ok": "x"}, "metadata": {"latency": "NaN"},
    }))
    .unwrap_err();
    let told: Vec<_> = errors.iter().collect();
    assert_eq!(
        told,
        [
            ("eventType", "must be a string"),
            ("metadata.latency", "must be finite"),
            ("sessionId", "must be a string"),
            ("severity", "must be one of INFO, WARNING, ERROR, CRITICAL"),
            ("source", "must not be blank"),
            ("tags.n", "must be a string"),
            ("timestamp", "must be a date and time of RFC 3339, such as 2026-01-12T14:23:15.789Z"),
            ("userId", "must be a string"),
        ]
    );
}

#[test]
fn required_fields_are_required() {
    for event in [json!({}), json!({"eventType": null, "source": null})] {
        let errors = parse(&event).unwrap_err();
        assert_eq!(errors.to_string(), "eventType is required; source is required");
    }
}

#[test]
fn severity_is_read_in_any_case() {
    for (text, severity) in [
        ("INFO", Severity::Info),
        ("Warning", Severity::Warning),
        ("error", Severity::Error),
        ("cRITICAL", Severity::Critical),
    ] {
        assert_eq!(parse(&with("severity", &json!(text))).unwrap().severity, severity);
    }
    for value in [json!("WARN"), json!(""), json!(3), json!({})] {
        assert_eq!(reason("severity", &value), "must be one of INFO, WARNING, ERROR, CRITICAL");
    }
}

#[test]
fn timestamp_is_from_1970_to_24_hours_ahead() {
    // The clock stands at 2026-01-12T14:00:00Z.
    for at in ["1970-01-01T00:00:00Z", "1999-12-31T23:59:59.999+14:00", "2026-01-13T14:00:00Z"] {
        assert!(parse(&with("timestamp", &json!(at))).is_ok(), "{at}");
    }
    assert_eq!(reason("timestamp", &json!("1969-12-31T23:59:59.999Z")), "must not be before 1970");
    let ahead = "must not be more than 24 hours in the future";
    assert_eq!(reason("timestamp", &json!("2026-01-13T14:00:00.001Z")), ahead);
    assert_eq!(reason("timestamp", &json!("9999-12-31T23:59:59Z")), ahead);
    let form = "must be a date and time of RFC 3339, such as 2026-01-12T14:23:15.789Z";
    for value in [json!(""), json!("2026-01-12"), json!("2026-01-12T14:00:00"), json!("2026-02-30T00:00:00Z")] {
        assert_eq!(reason("timestamp", &value), form);
    }
    assert_eq!(reason("timestamp", &json!(1_768_226_400_000_u64)), form);
}

#[test]
fn a_leap_second_is_the_one_after_it() {
    for (text, at) in [
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2016-12-31T23:59:60.25Z", "2017-01-01T00:00:00.25Z"),
        ("2016-12-31T23:59:59.75Z", "2016-12-31T23:59:59.75Z"),
    ] {
        assert_eq!(parse(&with("timestamp", &json!(text))).unwrap().timestamp, Some(wall(at)));
    }
}

#[test]
fn names_are_255_octets_at_most() {
    for field in ["eventType", "source", "userId", "sessionId"] {
        assert!(parse(&with(field, &json!("x".repeat(255)))).is_ok());
        assert_eq!(reason(field, &json!("x".repeat(256))), "must be at most 255 octets, has 256");
        // 128 characters of two octets each.
        assert_eq!(reason(field, &json!("é".repeat(128))), "must be at most 255 octets, has 256");
    }
}

#[test]
fn tags_are_64_strings_at_most() {
    let tags = |count: usize| (0..count).map(|n| (format!("t{n}"), json!("v"))).collect::<serde_json::Map<_, _>>();
    assert_eq!(parse(&with("tags", &Value::Object(tags(64)))).unwrap().tags.len(), 64);
    assert_eq!(reason("tags", &Value::Object(tags(65))), "must be at most 64, are 65");
    for value in [json!([]), json!("a"), json!(1), json!(false)] {
        assert_eq!(reason("tags", &value), "must be an object of strings");
    }
    let errors = parse(&with("tags", &json!({"a": null}))).unwrap_err();
    assert_eq!(errors.to_string(), "tags.a must be a string");
    // What the log shows of it stays short, and on one line.
    for (name, shown) in [
        ("a\nb\u{1b}[31m".to_owned(), "a\\nb\\u{1b}[31m".to_owned()),
        ("é".repeat(64), "é".repeat(64)),
        ("é".repeat(65), format!("{}…", "é".repeat(64))),
    ] {
        let errors = parse(&with("tags", &json!({ name: 1 }))).unwrap_err();
        assert_eq!(errors.to_string(), format!("tags.{shown} must be a string"));
    }
}

#[test]
fn metadata_is_an_object() {
    for value in [json!([]), json!("a"), json!(1)] {
        assert_eq!(reason("metadata", &value), "must be an object");
    }
}

#[test]
fn stated_latency_is_a_number_of_milliseconds() {
    for (value, us) in [
        (json!(0), 0),
        (json!(12), 12_000),
        (json!(0.25), 250),
        (json!("12.5"), 12_500),
        (json!(" 7 "), 7000),
        (json!("1e3"), 1_000_000),
        (json!(90_000_000), 90_000_000_000),
        (json!(1e300), 3_153_600_000_000_000),
    ] {
        let event = parse(&with("metadata", &json!({"latency": value}))).unwrap();
        assert_eq!(event.latency(Clock::new().0.wall).map(|latency| latency.micros()), Some(us), "{value}");
    }
    for (value, why) in [
        (json!("NaN"), "must be finite"),
        (json!("inf"), "must be finite"),
        (json!("-infinity"), "must be finite"),
        (json!(-0.001), "must not be negative"),
        (json!("-1"), "must not be negative"),
    ] {
        let errors = parse(&with("metadata", &json!({"latency": value}))).unwrap_err();
        assert_eq!(errors.reason("metadata.latency"), Some(why), "{value}");
    }
}

#[test]
fn age_is_the_latency_where_none_is_stated() {
    let received = Clock::new().0.wall;
    let latency = |timestamp: &str, metadata: Value| {
        let mut event = with("timestamp", &json!(timestamp));
        event["metadata"] = metadata;
        parse(&event).unwrap().latency(received).map(|latency| latency.micros())
    };
    assert_eq!(latency("2026-01-12T13:59:59.750Z", json!({})), Some(250_000));
    assert_eq!(latency("2026-01-12T13:59:59.750Z", json!({"latency": 3})), Some(3000));
    assert_eq!(latency("2026-01-12T14:00:00Z", json!({})), None);
    assert_eq!(latency("2026-01-12T14:00:01Z", json!({})), None);
    assert_eq!(latency("1970-01-01T00:00:00Z", json!({})), Some(1_768_226_400_000_000));
    for states_nothing in [json!(null), json!(true), json!("12ms"), json!(""), json!([1]), json!({})] {
        let metadata = json!({"latency": states_nothing});
        assert_eq!(latency("2026-01-12T13:59:59.750Z", metadata), Some(250_000), "{states_nothing}");
    }
    assert_eq!(parse(&plain()).unwrap().latency(received), None);
}

#[test]
fn last_of_equal_keys_counts() {
    let event = parse_text(r#"{"eventType":1,"eventType":"a","source":"b","source":"c"}"#).unwrap();
    assert_eq!((event.event_type.as_str(), event.source.as_str()), ("a", "c"));
}

#[test]
fn body_that_is_no_object_is_refused() {
    for text in ["[]", "1", "null", r#""a""#] {
        assert_eq!(parse_text(text).unwrap_err().to_string(), "body must be a JSON object");
    }
}

#[test]
fn body_that_is_no_json_is_refused() {
    for (text, why) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        (r#"{"eventType":"#, "EOF while parsing a value at line 1 column 13"),
        (r#"{"eventType":"a","source":"b"} x"#, "trailing characters at line 1 column 32"),
        (r#"{"metadata":{"latency":NaN}}"#, "expected value at line 1 column 24"),
        (r#"{"metadata":{"latency":1e999}}"#, "number out of range at line 1 column 28"),
        (r#"{"eventType":"\ud800"}"#, "unexpected end of hex escape at line 1 column 21"),
    ] {
        let errors = parse_text(text).unwrap_err();
        assert_eq!(errors.reason("body"), Some(format!("is not valid JSON: {why}").as_str()), "{text}");
    }
    let errors = Event::parse(b"{\"eventType\":\"\xff\"}", Clock::new().0.wall).unwrap_err();
    assert!(errors.to_string().starts_with("body is not valid JSON: invalid unicode code point"), "{errors}");
}

#[test]
fn nesting_is_127_levels_at_most() {
    // The event and its metadata are the first two.
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels - 2), "]".repeat(levels - 2));
        format!(r#"{{"eventType":"a","source":"b","metadata":{{"x":{open}{close}}}}}"#)
    };
    assert!(parse_text(&nested(127)).is_ok());
    let errors = parse_text(&nested(128)).unwrap_err();
    assert_eq!(errors.to_string(), "body is nested too deeply: at most 127 levels");
    assert!(parse_text(&nested(30_000)).is_err());
}

fn parse(event: &Value) -> Result<Event, FieldErrors> {
    parse_text(&event.to_string())
}

fn parse_text(text: &str) -> Result<Event, FieldErrors> {
    Event::parse(text.as_bytes(), Clock::new().0.wall)
}

/// The plain event with one field set.
fn with(field: &str, value: &Value) -> Value {
    let mut event = plain();
    event[field] = value.clone();
    event
}

/// Why that one field is refused, and that nothing else is.
fn reason(field: &str, value: &Value) -> String {
    let errors = parse(&with(field, value)).unwrap_err();
    assert_eq!(errors.iter().count(), 1, "{errors}");
    errors.reason(field).unwrap().to_owned()
}
