//! Rates, windows and clocks.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::super::Moment;
use super::{Feed, error_event, plain, with_latency};

#[test]
fn current_is_the_mean_of_the_last_ten_complete_seconds() {
    let feed = Feed::documented();
    feed.plain(3500, 40);
    feed.plain(14_999, 10);
    // At 15 s the seconds 5..15 are complete, at 13.9 s the seconds 3..13.
    assert_eq!(current(&feed, 13_999), 4.0);
    assert_eq!(current(&feed, 14_999), 0.0);
    assert_eq!(current(&feed, 15_000), 1.0);
    assert_eq!(current(&feed, 24_999), 1.0);
    assert_eq!(current(&feed, 25_000), 0.0);
}

#[test]
fn current_after_a_start_is_the_mean_of_the_complete_seconds() {
    let feed = Feed::documented();
    feed.plain(100, 6);
    assert_eq!(current(&feed, 999), 0.0);
    assert_eq!(current(&feed, 1000), 6.0);
    assert_eq!(current(&feed, 2000), 3.0);
    assert_eq!(current(&feed, 10_999), 0.6);
    assert_eq!(current(&feed, 11_000), 0.0);
}

#[test]
fn peak_is_the_busiest_second_and_keeps_the_first_of_equals() {
    let feed = Feed::documented();
    feed.plain(1999, 3);
    feed.plain(2000, 2);
    feed.plain(2750, 2);
    feed.plain(9000, 4);
    let throughput = feed.payload(20_000)["throughput"].clone();
    assert_eq!((&throughput["peak"], &throughput["peakTimestamp"]), (&json!(4.0), &json!("2026-01-12T14:00:02.750Z")));
}

#[test]
fn average_is_over_all_time_since_the_start() {
    let feed = Feed::documented();
    feed.plain(0, 7);
    let average = |at_ms| feed.payload(at_ms)["throughput"]["avg"].as_f64().unwrap();
    assert_eq!(average(10), 7.0);
    assert_eq!(average(2000), 3.5);
    assert_eq!(average(3000), 2.33);
    assert_eq!(average(100_000_000), 0.0);
}

#[test]
fn trend_is_stable_up_to_ten_percent() {
    for (previous, last, expected) in [
        (100, 100, "stable"),
        (100, 110, "stable"),
        (100, 111, "increasing"),
        (100, 90, "stable"),
        (100, 89, "decreasing"),
        (0, 0, "stable"),
        (0, 1, "increasing"),
        (1, 0, "decreasing"),
    ] {
        let feed = Feed::documented();
        feed.plain(29_999, previous);
        feed.plain(30_000, last);
        assert_eq!(feed.payload(60_000)["throughput"]["trend"], expected, "{previous} {last}");
    }
}

#[test]
fn trend_needs_a_minute_and_ignores_the_running_second() {
    let feed = Feed::documented();
    feed.plain(30_000, 5);
    assert_eq!(feed.payload(59_999)["throughput"]["trend"], "stable");
    assert_eq!(feed.payload(60_000)["throughput"]["trend"], "increasing");
    // The five are now in the earlier half, and those of this second do not count.
    feed.plain(90_000, 50);
    assert_eq!(feed.payload(90_000)["throughput"]["trend"], "decreasing");
}

#[test]
fn windows_end_with_the_running_second() {
    let feed = Feed::dashboard();
    feed.plain(0, 1);
    for (window, end_ms) in [
        ("last1Minute", 60_000),
        ("last5Minutes", 300_000),
        ("last15Minutes", 900_000),
        ("last1Hour", 3_600_000),
        ("last24Hours", 86_400_000),
    ] {
        assert_eq!(feed.payload(end_ms - 1)["timeWindows"][window], 1, "{window}");
        assert_eq!(feed.payload(end_ms)["timeWindows"][window], 0, "{window}");
    }
}

#[test]
fn windows_have_their_own_latency_and_error_rate() {
    let feed = Feed::documented();
    feed.send(0, &error_event());
    feed.send(0, &with_latency(100.0));
    feed.send(400_000, &with_latency(20.0));
    feed.send(400_000, &with_latency(30.5));
    feed.plain(400_000, 1);
    let windows = feed.payload(400_000)["timeWindows"].clone();
    assert_eq!(windows["last5Minutes"], json!({"events": 3, "avgLatency": 25.25, "errorRate": 0.0}));
    // (100 + 20 + 30.5) / 3 and 1 of 5.
    assert_eq!(windows["last15Minutes"], json!({"events": 5, "avgLatency": 50.167, "errorRate": 20.0}));
    assert_eq!(windows["last1Hour"], windows["last15Minutes"]);
}

#[test]
fn long_idle_time_leaves_nothing_in_the_windows() {
    let feed = Feed::dashboard();
    feed.plain(5000, 3);
    // The same places of the rings, an hour, a day and a year later, without any event between.
    for hours in [1, 24, 24 * 365] {
        let windows = feed.payload(5000 + hours * 3_600_000)["timeWindows"].clone();
        assert_eq!((&windows["last1Minute"], &windows["last1Hour"]), (&json!(0), &json!(0)));
    }
    feed.plain(5000 + 3_600_000, 1);
    let windows = feed.payload(5000 + 3_600_000)["timeWindows"].clone();
    assert_eq!((&windows["last1Hour"], &windows["last24Hours"]), (&json!(1), &json!(4)));
}

#[test]
fn wall_clock_that_steps_does_not_disturb_rates() {
    for step in [TimeDelta::hours(-2), TimeDelta::days(400)] {
        let feed = Feed::documented();
        feed.plain(1000, 10);
        let stepped = |ms| {
            let Moment { wall, steady } = feed.clock.at(ms);
            Moment { wall: wall + step, steady }
        };
        for _ in 0..20 {
            feed.events.accept_json(plain().to_string().as_bytes(), stepped(2000)).unwrap();
        }
        let payload: Value = serde_json::from_slice(&feed.events.snapshot(stepped(3000))).unwrap();
        assert_eq!(payload["throughput"]["current"], 10.0);
        assert_eq!(payload["throughput"]["avg"], 10.0);
        assert_eq!(payload["timeWindows"]["last5Minutes"]["events"], 30);
        let expected = (stepped(2000).wall).to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        assert_eq!(payload["throughput"]["peakTimestamp"], expected);
    }
}

#[test]
fn event_from_before_the_reset_counts_in_the_first_second() {
    let feed = Feed::documented();
    feed.events.reset(feed.clock.at(5000));
    feed.plain(4000, 2);
    assert_eq!(current(&feed, 6000), 2.0);
}

#[test]
fn straggler_counts_where_its_second_is_still_known() {
    let feed = Feed::documented();
    feed.plain(4000, 1);
    feed.plain(3000, 1);
    assert_eq!(current(&feed, 5000), 0.4);
    // An hour late: its place in the ring belongs to another second by now.
    feed.plain(3_604_000, 1);
    feed.plain(4000, 1);
    let payload = feed.payload(3_604_000);
    assert_eq!(payload["summary"]["totalEvents"], 4);
    assert_eq!(payload["timeWindows"]["last1Hour"]["events"], 1);
}

#[test]
fn who_asks_in_between_gets_every_event_accepted_before() {
    let feed = Feed::documented();
    let empty = feed.events.snapshot(feed.clock.at(1000));
    assert_eq!(feed.events.current(feed.clock.at(1999)), empty, "nothing happened: the octets of the period");
    feed.events.accept_json(error_event().to_string().as_bytes(), feed.clock.at(1600)).unwrap();
    let current: Value = serde_json::from_slice(&feed.events.current(feed.clock.at(1600))).unwrap();
    assert_eq!(current["summary"]["totalEvents"], 1);
}

#[test]
fn who_asks_in_between_gets_the_rates_of_the_second_that_runs() {
    let feed = Feed::documented();
    feed.plain(500, 4);
    for (at, rate) in [(500, 0.0), (999, 0.0), (1000, 4.0), (1999, 4.0), (2000, 2.0)] {
        let current: Value = serde_json::from_slice(&feed.events.current(feed.clock.at(at))).unwrap();
        assert_eq!(current["summary"]["eventsPerSecond"], rate, "{at}");
    }
}

#[test]
fn who_cannot_wait_shares_what_was_made_where_making_takes_more_than_a_fifth_of_a_core() {
    let feed = Feed::documented();
    let payloads = &feed.events.payloads;
    let now = feed.clock.at(0);
    let costly = || {
        std::thread::sleep(Duration::from_millis(1));
        feed.events.payload(now)
    };
    let mut made = 0;
    while payloads.pause(now).is_zero() {
        feed.plain(0, 1);
        payloads.make_in_between(now, true, costly);
        made += 1;
    }
    assert!((1..=100).contains(&made), "{made}");
    feed.plain(0, 1);
    assert_eq!(feed.events.current(now), feed.events.last());
    assert_eq!(total(&feed.events.last()), made);
    // Who can wait gets his own events, and after the pause so do all.
    assert_eq!(total(&feed.events.current_for_all(now)), made + 1);
    feed.plain(0, 1);
    let later = feed.clock.at(u64::try_from(payloads.pause(now).as_millis()).unwrap() + 1);
    assert_eq!(total(&feed.events.current(later)), made + 2);
}

fn total(payload: &[u8]) -> u64 {
    serde_json::from_slice::<Value>(payload).unwrap()["summary"]["totalEvents"].as_u64().unwrap()
}

#[test]
fn reset_starts_anew_and_keeps_the_recent_events() {
    let feed = Feed::documented();
    let mut event = error_event();
    event["userId"] = json!("u");
    let accepted = feed.events.accept_json(event.to_string().as_bytes(), feed.clock.at(100)).unwrap();
    feed.payload(7000);
    let empty = feed.events.reset(feed.clock.at(8000));
    assert_eq!(feed.events.current(feed.clock.at(8000)), empty);
    let empty: Value = serde_json::from_slice(&empty).unwrap();
    let mut fresh = Feed::documented().payload(0);
    fresh["throughput"]["peakTimestamp"] = json!("2026-01-12T14:00:08.000Z");
    assert_eq!(empty, fresh);
    assert!(feed.events.by_id(&accepted.event_id).is_some());
    feed.plain(8500, 4);
    assert_eq!(current(&feed, 9000), 4.0);
}

#[test]
fn events_of_several_threads_all_count() {
    let feed = Feed::documented();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let feed = &feed;
            scope.spawn(move || {
                for n in 0..250 {
                    feed.send(n, &json!({"eventType": format!("t{}", n % 7), "source": format!("s{thread}")}));
                    if n % 50 == 0 {
                        feed.payload(n);
                    }
                }
            });
        }
    });
    let payload = feed.payload(Duration::from_secs(1).as_millis() as u64);
    assert_eq!(payload["summary"]["totalEvents"], 1000);
    for table in ["eventsByType", "eventsBySource", "eventsBySeverity"] {
        let sum: u64 = payload[table].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(sum, 1000, "{table}");
    }
    assert_eq!(payload["throughput"]["current"], 1000.0);
}

fn current(feed: &Feed, at_ms: u64) -> f64 {
    let payload = feed.payload(at_ms);
    assert_eq!(payload["summary"]["eventsPerSecond"], payload["throughput"]["current"]);
    payload["throughput"]["current"].as_f64().unwrap()
}
