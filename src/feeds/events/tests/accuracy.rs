//! What is estimated, against what is exact.

use std::collections::HashMap;

use super::super::distinct::Distinct;
use super::super::latency::{Latencies, LatencySummary, Micros};
use super::super::top_users::TopUsers;
use super::wall;

#[test]
fn percentiles_of_many_different_latencies_are_within_half_a_percent() {
    let mut latencies = Latencies::default();
    for ms in 1..=10_000_u32 {
        latencies.record(Micros::from_ms(ms.into()));
    }
    let summary = latencies.summary();
    for (measured, exact) in [(summary.p50, 5000.0_f64), (summary.p95, 9500.0), (summary.p99, 9900.0)] {
        assert!((measured / exact - 1.0).abs() < 0.004, "{measured} {exact}");
    }
    assert_eq!((summary.min, summary.max, summary.avg, summary.sample_count), (1.0, 10_000.0, 5000.5, 10_000));
}

#[test]
fn percentiles_of_up_to_1024_different_latencies_are_the_samples_of_the_nearest_rank() {
    let of = |samples: &[(f64, usize)]| {
        let mut latencies = Latencies::default();
        for (ms, times) in samples {
            (0..*times).for_each(|_| latencies.record(Micros::from_ms(*ms)));
        }
        let LatencySummary { p50, p95, p99, .. } = latencies.summary();
        (p50, p95, p99)
    };
    assert_eq!(of(&[(10.0, 1), (20.0, 1), (30.0, 1), (40.0, 1)]), (20.0, 40.0, 40.0));
    assert_eq!(of(&[(1000.0, 95), (2000.0, 5)]), (1000.0, 1000.0, 2000.0));
    assert_eq!(of(&[(2000.0, 6), (1000.0, 94)]), (1000.0, 2000.0, 2000.0));
    assert_eq!(of(&[(8.125, 1_000_000)]), (8.125, 8.125, 8.125));
    let each: Vec<_> = (1..=1000).rev().map(|ms| (f64::from(ms), 1)).collect();
    assert_eq!(of(&each), (500.0, 950.0, 990.0));
}

#[test]
fn one_sample_is_every_percentile() {
    let mut latencies = Latencies::default();
    latencies.record(Micros::from_ms(123.456));
    let all = 123.456;
    let expected = LatencySummary { p50: all, p95: all, p99: all, avg: all, min: all, max: all, sample_count: 1 };
    assert_eq!(latencies.summary(), expected);
}

#[test]
fn latency_is_from_zero_to_a_hundred_years() {
    let mut latencies = Latencies::default();
    for ms in [0.0, -1.0, f64::NAN, CENTURY_MS, CENTURY_MS + 1.0, f64::INFINITY] {
        latencies.record(Micros::from_ms(ms));
    }
    let summary = latencies.summary();
    assert_eq!((summary.min, summary.p50, summary.p99, summary.max), (0.0, 0.0, CENTURY_MS, CENTURY_MS));
    assert_eq!((summary.avg, summary.sample_count), (CENTURY_MS / 2.0, 6));
}

#[test]
fn merged_latencies_are_those_of_both() {
    let (mut odd, mut even, mut all) = (Latencies::default(), Latencies::default(), Latencies::default());
    for us in 1..=5000_u64 {
        let latency = Micros::saturating(us * us);
        if us % 2 == 0 { &mut even } else { &mut odd }.record(latency);
        all.record(latency);
    }
    let mut merged = Latencies::default();
    merged.merge(&odd);
    merged.merge(&Latencies::default());
    merged.merge(&even);
    assert_eq!(merged.summary(), all.summary());
}

#[test]
fn distinct_is_exact_up_to_the_sample() {
    let mut distinct = Distinct::with_activity(300);
    for round in 0..3 {
        for n in 0..300 {
            distinct.note(&format!("user_{n}"), round);
        }
    }
    assert_eq!(distinct.total(), 300);
    distinct.note("user_7", 9);
    // All were there in second 2, one of them in second 9.
    assert_eq!((distinct.active(3601), distinct.active(3602)), ((300, 300), (1, 300)));
    assert_eq!((distinct.active(3608), distinct.active(3609)), ((1, 300), (0, 300)));
    assert_eq!((distinct.active(86_401), distinct.active(86_402)), ((0, 300), (0, 1)));
    assert_eq!((distinct.active(86_409), distinct.total()), ((0, 0), 300));
}

#[test]
fn distinct_beyond_the_sample_is_close() {
    let mut distinct = Distinct::with_activity(10_000);
    for n in 0..200_000_u64 {
        distinct.note(&format!("user_{n}"), n / 50_000 * 1200);
    }
    let close = |estimate: u64, exact: f64, error: f64| {
        assert!((estimate as f64 / exact - 1.0).abs() < error, "{estimate} {exact}");
    };
    // Six standard errors: 1/√10000 of all, 1/√2500 of a quarter.
    close(distinct.total(), 200_000.0, 0.06);
    let (hour, day) = distinct.active(6000);
    close(hour, 50_000.0, 0.12);
    assert_eq!(day, distinct.total());
}

#[test]
fn top_users_are_exact_up_to_the_capacity() {
    let mut top = TopUsers::new(3);
    for user in ["c", "a", "b", "a", "b", "a"] {
        top.note(user, wall("2026-01-01T00:00:00Z"));
    }
    assert_eq!(listed(&top, 3), [("a".into(), 3), ("b".into(), 2), ("c".into(), 1)]);
    assert_eq!(listed(&top, 2).len(), 2);
}

#[test]
fn equally_busy_users_stand_in_order_of_arrival() {
    let mut top = TopUsers::new(5);
    for user in ["z", "m", "a"] {
        top.note(user, wall("2026-01-01T00:00:00Z"));
    }
    assert_eq!(listed(&top, 5), [("z".into(), 1), ("m".into(), 1), ("a".into(), 1)]);
}

#[test]
fn newcomer_takes_place_and_count_of_the_least_busy() {
    let mut top = TopUsers::new(2);
    for user in ["a", "a", "a", "b", "c"] {
        top.note(user, wall("2026-01-01T00:00:00Z"));
    }
    assert_eq!(listed(&top, 9), [("a".into(), 3), ("c".into(), 2)]);
}

#[test]
fn count_beyond_the_capacity_is_never_too_low_and_a_busy_user_is_never_lost() {
    const CAPACITY: usize = 50;
    let mut top = TopUsers::new(CAPACITY);
    let mut exact: HashMap<String, u64> = HashMap::new();
    let events = 20_000_u64;
    for n in 0..events {
        // Every fifth event is one of four busy users, the rest never come twice.
        let user = if n % 5 == 0 { format!("busy{}", n / 5 % 4) } else { format!("once{n}") };
        *exact.entry(user.clone()).or_default() += 1;
        top.note(user.as_str(), wall("2026-01-01T00:00:00Z"));
    }
    let followed = listed(&top, CAPACITY);
    assert_eq!(followed.len(), CAPACITY);
    for (user, count) in &followed {
        let exact = exact[user];
        assert!(*count >= exact && *count <= exact + events / CAPACITY as u64, "{user} {count} {exact}");
    }
    for busy in 0..4 {
        assert!(followed[..4].iter().any(|(user, _)| *user == format!("busy{busy}")), "{followed:?}");
    }
}

fn listed(top: &TopUsers, count: usize) -> Vec<(String, u64)> {
    top.top(count).into_iter().map(|user| (user.user_id.to_string(), user.event_count)).collect()
}

const CENTURY_MS: f64 = 100.0 * 365.0 * 86_400_000.0;
