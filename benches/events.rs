//! How long taking one event lasts, alone and beside payloads that are made without a pause.
//!
//! `cargo bench --bench events`: two threads take events, each of which is timed; where a third
//! makes payloads, it does so all the time instead of once a period. The row without it tells what
//! the machine itself adds: a thread that loses its core stands for milliseconds whatever it does.
//! `waits` has nothing of that: it counts how often a thread gave its core up to wait for a lock.
//! The last row is `Metrics::record` of events that are parsed already: a copy of three names and
//! the one lock it takes, which is held for less than the whole.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench prints, and stops where its own input is wrong"
)]

use std::fs;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chrono::Utc;
use hdrhistogram::Histogram;
use stompbox::feeds::events::{Event, Events, Metrics, Moment, Profile, Settings};

fn main() {
    // What `cargo test --benches` asks for: that it runs.
    let seconds = if std::env::args().any(|arg| arg == "--bench") { 5 } else { 0 };
    println!("{} users, {} types, {} sources; microseconds", USERS, TYPES, SOURCES);
    println!("| | events | payloads | p50 | p99 | p99.9 | p99.99 | max | waits |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for payloads in [false, true] {
        run(payloads, Duration::from_secs(seconds));
    }
    record(Duration::from_secs(seconds));
}

fn record(time: Duration) {
    let metrics = Metrics::new(settings(), now());
    let parsed: Vec<Event> = (0..BODIES).map(|n| Event::parse(event(n).as_bytes(), now().wall).unwrap()).collect();
    let mut taken = Histogram::<u64>::new(3).unwrap();
    let (begun, waited) = (Instant::now(), waits());
    loop {
        for some in parsed.chunks(1000) {
            for event in some {
                let before = now();
                metrics.record(event, before);
                taken.record(u64::try_from(before.steady.elapsed().as_nanos()).unwrap()).unwrap();
            }
            // Counts what waits: without it this thread would run ahead until it has to wait.
            metrics.overflow();
        }
        if begun.elapsed() >= time {
            break;
        }
    }
    row("recording alone, one thread", &taken, 0, waits() - waited);
}

fn row(name: &str, taken: &Histogram<u64>, payloads: u64, waited: u64) {
    let us = |nanos: u64| nanos as f64 / 1000.0;
    let at = |quantile| us(taken.value_at_quantile(quantile));
    println!(
        "| {name} | {} | {payloads} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {waited} |",
        taken.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(0.9999),
        us(taken.max()),
    );
}

fn now() -> Moment {
    Moment { wall: Utc::now(), steady: Instant::now() }
}

fn settings() -> Settings {
    Settings {
        profile: Profile::Documented,
        event_types: 1000,
        sources: 1000,
        users: 100_000,
        recent_events: 10_000,
        recent_bytes: 16 << 20,
    }
}

fn run(payloads: bool, time: Duration) {
    let events = Events::new(settings(), now());
    for n in 0..USERS {
        events.accept_json(event(n).as_bytes(), now()).unwrap();
    }
    let (ended, made, begin) = (AtomicBool::new(false), AtomicU64::new(0), Barrier::new(RECORDERS + 1));
    let mut waited = 0;
    let mut all = Histogram::<u64>::new(3).unwrap();
    thread::scope(|scope| {
        let recorders: Vec<_> = (0..RECORDERS as u64)
            .map(|recorder| {
                let (events, ended, begin) = (&events, &ended, &begin);
                scope.spawn(move || {
                    let bodies: Vec<String> = (0..BODIES).map(|n| event(n * 7 + recorder)).collect();
                    let mut taken = Histogram::<u64>::new(3).unwrap();
                    begin.wait();
                    let waited = waits();
                    loop {
                        for body in &bodies {
                            let before = now();
                            events.accept_json(body.as_bytes(), before).unwrap();
                            taken.record(u64::try_from(before.steady.elapsed().as_nanos()).unwrap()).unwrap();
                        }
                        if ended.load(Ordering::Relaxed) {
                            return (taken, waits() - waited);
                        }
                    }
                })
            })
            .collect();
        if payloads {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    events.snapshot(now());
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        begin.wait();
        thread::sleep(time);
        ended.store(true, Ordering::Relaxed);
        for recorder in recorders {
            let (taken, waits) = recorder.join().unwrap();
            all.add(taken).unwrap();
            waited += waits;
        }
    });
    let name = if payloads { "beside endless payloads" } else { "alone" };
    row(name, &all, made.load(Ordering::Relaxed), waited);
}

/// How often this thread has waited so far, for anything; zero where the system does not tell.
fn waits() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let waits = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    waits.map_or(0, |waits| waits.trim().parse().unwrap())
}

fn event(n: u64) -> String {
    format!(
        r#"{{"eventType":"type.{}","source":"service-{}","userId":"user_{}","severity":"INFO","metadata":{{"latency":{}}}}}"#,
        n % TYPES,
        n % SOURCES,
        n % USERS,
        n % 997
    )
}

const RECORDERS: usize = 2;
const BODIES: u64 = 10_000;
const USERS: u64 = 100_000;
const TYPES: u64 = 300;
const SOURCES: u64 = 50;
