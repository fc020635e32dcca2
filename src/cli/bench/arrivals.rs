//! What all subscribers together got, and when.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::{CreationError, Histogram};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::client::{Client, unexpected};
use super::progress;
use crate::net::clock;

/// What all subscribers together got.
pub(super) struct Arrivals {
    pub(super) begin: Instant,
    pub(super) state: RefCell<State>,
    deliveries: Cell<u64>,
    /// Without what came twice.
    distinct: Cell<u64>,
    octets: Cell<u64>,
    wanted: Cell<u64>,
    more: Notify,
}

pub(super) struct State {
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    pub(super) lost_subscribers: u64,
    pub(super) latency_us: Histogram<u64>,
}

/// What a body begins with, so that its receiver knows what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) publisher: u16,
    /// From 0, one after the other for each publisher and topic.
    pub(super) number: u64,
    /// When it should have been sent, from [`Arrivals::begin`].
    pub(super) intended_us: u64,
}

impl Arrivals {
    pub(super) fn new() -> Result<Rc<Self>, CreationError> {
        // Within a hundredth, up to any time.
        let latency_us = Histogram::<u64>::new(2)?;
        let state = State { duplicated: 0, reordered: 0, lost_subscribers: 0, latency_us };
        Ok(Rc::new(Self {
            begin: clock::now(),
            state: RefCell::new(state),
            deliveries: Cell::new(0),
            distinct: Cell::new(0),
            octets: Cell::new(0),
            wanted: Cell::new(u64::MAX),
            more: Notify::new(),
        }))
    }

    /// How many deliveries came, and came again.
    pub(super) fn deliveries(&self) -> u64 {
        self.deliveries.get()
    }

    /// How many of those that should have come did not; what came twice makes up for none.
    pub(super) fn lost(&self, expected: u64) -> u64 {
        expected.saturating_sub(self.distinct.get())
    }

    /// How many octets came, as the socket had them.
    pub(super) fn octets(&self) -> u64 {
        self.octets.get()
    }

    /// Waits until that many different deliveries came. What has not come for `patience` is told as lost
    /// in the end.
    pub(super) async fn wait_for(&self, deliveries: u64, patience: Duration) {
        self.wanted.set(deliveries);
        while self.distinct.get() < deliveries {
            let before = self.distinct.get();
            if timeout(patience, self.more.notified()).await.is_err() && self.distinct.get() == before {
                return;
            }
        }
    }

    fn on_lost_subscriber(&self, error: &io::Error) {
        let mut state = self.state.borrow_mut();
        // The first tells why; a broker that goes down would fill the screen.
        if state.lost_subscribers == 0 {
            progress(&format!("a subscriber was lost: {error}\n"));
        }
        state.lost_subscribers += 1;
    }

    fn note(&self, seen: &mut Vec<Seen>, stamp: Stamp) {
        let now_us = u64::try_from((clock::now() - self.begin).as_micros()).unwrap_or(u64::MAX);
        let mut state = self.state.borrow_mut();
        let publisher = usize::from(stamp.publisher);
        if seen.len() <= publisher {
            seen.resize_with(publisher + 1, Seen::default);
        }
        let order = seen[publisher].note(stamp.number);
        match order {
            Order::Next => {}
            Order::Late => state.reordered += 1,
            Order::Again => state.duplicated += 1,
        }
        let _ = state.latency_us.record(now_us.saturating_sub(stamp.intended_us).max(1));
        self.deliveries.set(self.deliveries.get() + 1);
        if order != Order::Again {
            self.distinct.set(self.distinct.get() + 1);
            if self.distinct.get() == self.wanted.get() {
                self.more.notify_one();
            }
        }
    }
}

/// What one subscriber has of one publisher.
#[derive(Default)]
struct Seen {
    /// One more than the highest.
    next: u64,
    /// What is missing below that, the oldest first. Beyond [`MAX_GAPS`] the oldest is given up:
    /// it stays lost, and if it comes after all it is told as doubled.
    gaps: VecDeque<Range<u64>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Next,
    /// Something sent later was there before.
    Late,
    Again,
}

impl Seen {
    fn note(&mut self, number: u64) -> Order {
        if number >= self.next {
            if number > self.next {
                self.open(self.gaps.len(), self.next..number);
            }
            self.next = number + 1;
            return Order::Next;
        }
        let Some(at) = self.gaps.iter().position(|gap| gap.contains(&number)) else { return Order::Again };
        let Range { start, end } = self.gaps[at];
        self.gaps.remove(at);
        if number + 1 < end {
            self.open(at, number + 1..end);
        }
        if start < number {
            self.open(at, start..number);
        }
        Order::Late
    }

    fn open(&mut self, at: usize, gap: Range<u64>) {
        self.gaps.insert(at, gap);
        if self.gaps.len() > MAX_GAPS {
            self.gaps.pop_front();
        }
    }
}

/// Counts what one subscriber gets, until it is lost.
pub(super) async fn receive(mut client: Client, arrivals: Rc<Arrivals>) {
    let mut seen = Vec::new();
    // What it got before was no delivery.
    client.take_octets();
    loop {
        let mut refused = None;
        let mut found = |frame: &[u8]| {
            if let Some(stamp) = Stamp::of(frame) {
                arrivals.note(&mut seen, stamp);
            } else if frame.starts_with(b"ERROR") {
                refused = Some(unexpected(frame));
            }
        };
        let read = client.read(&mut found).await;
        if let Some(error) = refused.or(read.err()) {
            return arrivals.on_lost_subscriber(&error);
        }
        arrivals.octets.set(arrivals.octets.get() + client.take_octets());
    }
}

impl Stamp {
    /// As a JSON body begins.
    pub(super) fn write(self) -> String {
        format!("{START}{:04x}{:012x}{:016x}", self.publisher, self.number, self.intended_us)
    }

    /// The stamp of a MESSAGE.
    pub(super) fn of(frame: &[u8]) -> Option<Self> {
        if !frame.starts_with(b"MESSAGE") {
            return None;
        }
        let at = memchr::memmem::find(frame, START.as_bytes())? + START.len();
        let digits = std::str::from_utf8(frame.get(at..at + DIGITS)?).ok()?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some(Self {
            publisher: u16::from_str_radix(&digits[..4], 16).ok()?,
            number: number(&digits[4..16])?,
            intended_us: number(&digits[16..])?,
        })
    }
}

const START: &str = "{\"n\":\"";

const DIGITS: usize = 32;

/// Some kilobytes for a subscriber that misses every other message.
const MAX_GAPS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let stamp = Stamp { publisher: 7, number: 1 << 40, intended_us: 123_456_789 };
        let frame = format!("MESSAGE\nsubscription:a\n\n{}\",\"data\":[]}}\0", stamp.write());
        assert_eq!(Stamp::of(frame.as_bytes()), Some(stamp));
        assert_eq!(Stamp::of(b"RECEIPT\n\n\0"), None);
        assert_eq!(Stamp::of(b"MESSAGE\n\n{\"n\":\"12"), None);
    }

    #[test]
    fn what_comes_twice_or_late_is_told_for_each_publisher() {
        let arrivals = Arrivals::new().unwrap();
        let mut seen = Vec::new();
        for (publisher, number) in [(0, 0), (1, 0), (0, 2), (0, 2), (0, 1), (1, 1), (0, 0)] {
            arrivals.note(&mut seen, Stamp { publisher, number, intended_us: 0 });
        }
        let state = arrivals.state.borrow();
        assert_eq!((arrivals.deliveries(), state.duplicated, state.reordered), (7, 2, 1));
        assert_eq!(arrivals.lost(5), 0);
    }

    #[test]
    fn what_comes_twice_does_not_make_up_for_what_is_lost() {
        let arrivals = Arrivals::new().unwrap();
        let mut seen = Vec::new();
        for number in [0, 0, 2] {
            arrivals.note(&mut seen, Stamp { publisher: 0, number, intended_us: 0 });
        }
        assert_eq!((arrivals.deliveries(), arrivals.lost(3), arrivals.state.borrow().duplicated), (3, 1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_twice_is_not_waited_for_as_another() {
        let arrivals = Arrivals::new().unwrap();
        let mut seen = Vec::new();
        let mut note = |number| arrivals.note(&mut seen, Stamp { publisher: 0, number, intended_us: 0 });
        note(0);
        note(0);
        let patience = Duration::from_secs(1);
        assert!(timeout(patience / 2, arrivals.wait_for(2, patience)).await.is_err());
        note(1);
        assert!(timeout(patience / 2, arrivals.wait_for(2, patience)).await.is_ok());
    }

    #[test]
    fn gaps_close_from_both_ends_and_in_the_middle() {
        let mut seen = Seen::default();
        let orders: Vec<_> = [6, 3, 3, 0, 5, 1, 2, 4, 4].map(|number| seen.note(number)).into();
        use Order::{Again, Late, Next};
        assert_eq!(orders, [Next, Late, Again, Late, Late, Late, Late, Late, Again]);
        assert!(seen.gaps.is_empty());
    }

    #[test]
    fn gaps_are_bounded_and_the_oldest_is_given_up() {
        let mut seen = Seen::default();
        for number in 0..10_000 {
            seen.note(2 * number + 1);
        }
        assert_eq!(seen.gaps.len(), MAX_GAPS);
        assert_eq!((seen.note(0), seen.note(19_998)), (Order::Again, Order::Late));
    }
}
