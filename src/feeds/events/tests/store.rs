//! The recent events.

use serde_json::{Value, json};

use super::super::{PageRequest, Profile, Settings};
use super::{Feed, plain, settings};

#[test]
fn stored_event_has_every_field() {
    let feed = Feed::documented();
    let full = json!({"eventType": "a", "source": "b", "timestamp": "2026-01-12T13:00:00+00:00", "userId": "u",
        "sessionId": "s", "severity": "error", "tags": {"k": "v"}, "metadata": {"latency": "5", "n": [1, {}]}});
    let id = send(&feed, &full);
    let stored: Value = serde_json::from_str(feed.events.by_id(&id).unwrap().json()).unwrap();
    assert_eq!(
        stored,
        json!({"eventId": id, "eventType": "a", "source": "b", "timestamp": "2026-01-12T13:00:00.000Z",
            "receivedAt": "2026-01-12T14:00:00.000Z", "userId": "u", "sessionId": "s", "severity": "ERROR",
            "tags": {"k": "v"}, "metadata": {"latency": "5", "n": [1, {}]}})
    );
    let id = send(&feed, &plain());
    assert_eq!(
        feed.events.by_id(&id).unwrap().json(),
        format!(
            r#"{{"eventId":"{id}","eventType":"user.login","source":"auth-service","timestamp":"2026-01-12T14:00:00.000Z","receivedAt":"2026-01-12T14:00:00.000Z","userId":null,"sessionId":null,"severity":"INFO","tags":{{}},"metadata":{{}}}}"#
        )
    );
    assert!(feed.events.by_id("evt_0").is_none());
}

#[test]
fn page_has_the_shape_of_spring_newest_first() {
    let feed = Feed::documented();
    numbered(&feed, 5);
    let page = page(&feed, "1", "2");
    assert_eq!(numbers(&page), [2, 1]);
    let mut page = page;
    page["content"] = json!([]);
    assert_eq!(
        page,
        json!({"content": [], "totalElements": 5, "totalPages": 3, "number": 1, "size": 2,
            "first": false, "last": false, "numberOfElements": 2, "empty": false})
    );
}

#[test]
fn first_last_and_beyond_are_told() {
    let feed = Feed::documented();
    let flags = |page: &Value| ["first", "last", "empty"].map(|flag| page[flag].as_bool().unwrap());
    assert_eq!(flags(&page(&feed, "0", "2")), [true, true, true]);
    numbered(&feed, 4);
    assert_eq!(flags(&page(&feed, "0", "2")), [true, false, false]);
    assert_eq!(flags(&page(&feed, "1", "2")), [false, true, false]);
    let beyond = page(&feed, "2147483647", "100");
    assert_eq!(flags(&beyond), [false, true, true]);
    assert_eq!((&beyond["totalElements"], &beyond["totalPages"]), (&json!(4), &json!(1)));
}

#[test]
fn page_of_a_type_holds_only_that_type() {
    let feed = Feed::documented();
    for n in 0..6 {
        let name = if n % 3 == 0 { "third" } else { "rest" };
        send(&feed, &json!({"eventType": name, "source": "s", "metadata": {"n": n}}));
    }
    let request = PageRequest::parse(None, None).unwrap();
    let third = serde_json::to_value(feed.events.page_of_type("third", request)).unwrap();
    assert_eq!((numbers(&third), &third["totalElements"], &third["size"]), (vec![3, 0], &json!(2), &json!(20)));
    let none = serde_json::to_value(feed.events.page_of_type("none", request)).unwrap();
    assert_eq!((&none["totalElements"], &none["totalPages"], &none["empty"]), (&json!(0), &json!(0), &json!(true)));
}

#[test]
fn page_parameters_out_of_range_are_refused() {
    for (page, size) in
        [(None, None), (Some("0"), Some("1")), (Some("2147483647"), Some("100")), (Some(" 1 "), Some(""))]
    {
        assert!(PageRequest::parse(page, size).is_ok(), "{page:?} {size:?}");
    }
    let why = |page, size| PageRequest::parse(page, size).unwrap_err().errors.to_string();
    let (page, size) = ("page must be a number from 0 to 2147483647", "size must be a number from 1 to 100");
    assert_eq!(why(Some("-1"), None), page);
    assert_eq!(why(Some("2147483648"), None), page);
    assert_eq!(why(None, Some("0")), size);
    assert_eq!(why(None, Some("101")), size);
    assert_eq!(why(Some("one"), Some("-")), format!("{page}; {size}"));
}

#[test]
fn oldest_goes_when_one_too_many_comes() {
    let feed = Feed::with(Settings { recent_events: 3, ..settings(Profile::Documented) });
    let ids = numbered(&feed, 3);
    assert!(ids.iter().all(|id| feed.events.by_id(id).is_some()));
    let fourth = numbered(&feed, 1).remove(0);
    let kept: Vec<_> = ids.iter().map(|id| feed.events.by_id(id).is_some()).collect();
    assert_eq!(kept, [false, true, true]);
    assert!(feed.events.by_id(&fourth).unwrap().json().contains(&fourth));
    assert_eq!(numbers(&page(&feed, "0", "20")), [0, 2, 1]);
}

#[test]
fn oldest_goes_when_the_octets_are_used_up() {
    // Its JSON, its type, and 200 for the tables.
    let one = {
        let feed = Feed::documented();
        let id = numbered(&feed, 1).remove(0);
        feed.events.by_id(&id).unwrap().json().len() + "numbered".len() + 200
    };
    for (bytes, kept) in [(2 * one, 2), (2 * one - 1, 1), (one, 1), (one - 1, 0), (0, 0)] {
        let feed = Feed::with(Settings { recent_bytes: bytes, ..settings(Profile::Documented) });
        numbered(&feed, 3);
        assert_eq!(page(&feed, "0", "20")["totalElements"], kept, "{bytes}");
    }
}

#[test]
fn event_too_large_to_keep_drops_nothing_and_counts() {
    let feed = Feed::with(Settings { recent_bytes: 1000, ..settings(Profile::Documented) });
    send(&feed, &plain());
    send(&feed, &json!({"eventType": "a", "source": "b", "metadata": {"x": "y".repeat(2000)}}));
    assert_eq!(page(&feed, "0", "20")["totalElements"], 1);
    assert_eq!(feed.payload(0)["summary"]["totalEvents"], 2);
}

#[test]
fn nothing_is_kept_where_the_setting_is_zero() {
    let feed = Feed::with(Settings { recent_events: 0, ..settings(Profile::Documented) });
    send(&feed, &plain());
    assert_eq!(page(&feed, "0", "20")["totalElements"], 0);
}

fn send(feed: &Feed, event: &Value) -> String {
    feed.events.accept_json(event.to_string().as_bytes(), feed.clock.at(0)).unwrap().event_id
}

fn numbered(feed: &Feed, count: usize) -> Vec<String> {
    let event = |n| json!({"eventType": "numbered", "source": "s", "metadata": {"n": n}});
    (0..count).map(|n| send(feed, &event(n))).collect()
}

fn numbers(page: &Value) -> Vec<u64> {
    let events = page["content"].as_array().unwrap();
    events.iter().map(|event| event["metadata"]["n"].as_u64().unwrap()).collect()
}

fn page(feed: &Feed, page: &str, size: &str) -> Value {
    let request = PageRequest::parse(Some(page), Some(size)).unwrap();
    serde_json::to_value(feed.events.page(request)).unwrap()
}
