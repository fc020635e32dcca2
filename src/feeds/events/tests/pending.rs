//! What waits between those who record and the one who counts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use serde_json::json;

use super::super::event::Event;
use super::super::pending::{BATCH, MAX_BATCHES, Note, Pending, WAKING_BATCHES};
use super::{Clock, Feed};

#[test]
fn notes_are_taken_in_their_order() {
    let pending = Pending::default();
    (0..3 * BATCH + 1).for_each(|n| push(&pending, note(n)));
    let mut taken = names(pending.pop());
    pending.announce();
    taken.extend(pending.take().into_iter().flat_map(names));
    assert_eq!(taken, (0..3 * BATCH + 1).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(pending.pop().is_empty());
}

#[test]
fn recorder_is_asked_to_count_where_the_most_batches_wait() {
    let pending = Pending::default();
    (0..(MAX_BATCHES + 1) * BATCH - 1).for_each(|n| assert!(!pending.push(note(n))));
    assert!(pending.push(note(0)));
    pending.pop();
    assert!(!pending.push(note(0)));
}

#[test]
fn counter_is_woken_by_some_full_batches_and_by_the_end() {
    let pending = Pending::default();
    let (sender, counted) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            while pending.wait() {
                sender.send(pending.pop().len()).unwrap();
            }
            drop(sender);
        });
        until_asleep(&pending);
        (0..(WAKING_BATCHES + 1) * BATCH - 1).for_each(|n| push(&pending, note(n)));
        for _ in 0..WAKING_BATCHES {
            assert_eq!(counted.recv(), Ok(BATCH));
        }
        pending.close();
        assert!(counted.recv().is_err(), "what fills no batch stays");
    });
}

#[test]
fn counter_sleeps_while_fewer_batches_wait() {
    let pending = Pending::default();
    (0..(WAKING_BATCHES - 1) * BATCH).for_each(|n| push(&pending, note(n)));
    for _ in 0..WAKING_BATCHES - 1 {
        assert!(pending.wait());
        assert_eq!(pending.pop().len(), BATCH);
    }
    let is_enough = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            assert!(pending.wait());
            assert!(is_enough.load(Ordering::SeqCst));
        });
        until_asleep(&pending);
        (0..WAKING_BATCHES * BATCH - 1).for_each(|n| push(&pending, note(n)));
        is_enough.store(true, Ordering::SeqCst);
        push(&pending, note(0));
    });
}

#[test]
fn counter_gives_way_to_who_takes_all() {
    let pending = Pending::default();
    pending.announce();
    (0..BATCH).for_each(|n| push(&pending, note(n)));
    let is_taken = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            assert!(pending.wait());
            assert!(is_taken.load(Ordering::SeqCst));
            assert_eq!(names(pending.pop())[0], "next 0");
        });
        until_asleep(&pending);
        is_taken.store(true, Ordering::SeqCst);
        assert_eq!(pending.take().into_iter().flatten().count(), BATCH);
        (0..WAKING_BATCHES * BATCH).for_each(|n| push(&pending, note_named(&format!("next {n}"))));
    });
}

#[test]
fn more_events_than_may_wait_all_count() {
    let feed = Feed::documented();
    let count = 2 * MAX_BATCHES * BATCH + 1;
    feed.plain(0, count);
    assert_eq!(feed.payload(0)["summary"]["totalEvents"], count);
}

fn push(pending: &Pending, note: Note) {
    assert!(!pending.push(note));
}

fn until_asleep(pending: &Pending) {
    while !pending.is_asleep() {
        thread::yield_now();
    }
}

fn names(batch: Vec<Note>) -> Vec<String> {
    batch.into_iter().map(|note| note.source.into()).collect()
}

fn note(n: usize) -> Note {
    note_named(&n.to_string())
}

fn note_named(source: &str) -> Note {
    let event = json!({"eventType": "user.login", "source": source});
    let now = Clock::new().at(0);
    Note::new(&Event::parse(event.to_string().as_bytes(), now.wall).unwrap(), now)
}
