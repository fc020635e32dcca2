//! What all subscribers together got, and when.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::{CreationError, Histogram};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::client::Client;
use super::progress;
use crate::net::clock;

/// What all subscribers together got.
pub(super) struct Arrivals {
    pub(super) begin: Instant,
    pub(super) state: RefCell<State>,
    deliveries: Cell<u64>,
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
    /// Rising for each publisher.
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
            octets: Cell::new(0),
            wanted: Cell::new(u64::MAX),
            more: Notify::new(),
        }))
    }

    /// How many deliveries came.
    pub(super) fn deliveries(&self) -> u64 {
        self.deliveries.get()
    }

    /// How many octets came, as the socket had them.
    pub(super) fn octets(&self) -> u64 {
        self.octets.get()
    }

    /// Waits until that many deliveries came. What has not come for `patience` is told as lost
    /// in the end.
    pub(super) async fn wait_for(&self, deliveries: u64, patience: Duration) {
        self.wanted.set(deliveries);
        while self.deliveries.get() < deliveries {
            let before = self.deliveries.get();
            if timeout(patience, self.more.notified()).await.is_err() && self.deliveries.get() == before {
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

    fn note(&self, last: &mut Vec<u64>, stamp: Stamp) {
        let now_us = u64::try_from((clock::now() - self.begin).as_micros()).unwrap_or(u64::MAX);
        let mut state = self.state.borrow_mut();
        let publisher = usize::from(stamp.publisher);
        if last.len() <= publisher {
            last.resize(publisher + 1, 0);
        }
        // From 1, so that 0 is none.
        let number = stamp.number + 1;
        match last[publisher] {
            last if number == last => state.duplicated += 1,
            last if number < last => state.reordered += 1,
            _ => last[publisher] = number,
        }
        let _ = state.latency_us.record(now_us.saturating_sub(stamp.intended_us).max(1));
        let deliveries = self.deliveries.get() + 1;
        self.deliveries.set(deliveries);
        if deliveries == self.wanted.get() {
            self.more.notify_one();
        }
    }
}

/// Counts what one subscriber gets, until it is lost.
pub(super) async fn receive(mut client: Client, arrivals: Rc<Arrivals>) {
    let mut last = Vec::new();
    // What it got before was no delivery.
    client.take_octets();
    loop {
        let mut found = |frame: &[u8]| {
            if let Some(stamp) = Stamp::of(frame) {
                arrivals.note(&mut last, stamp);
            }
        };
        if let Err(error) = client.read(&mut found).await {
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
        let mut last = Vec::new();
        for (publisher, number) in [(0, 0), (1, 5), (0, 2), (0, 2), (0, 1), (1, 6)] {
            arrivals.note(&mut last, Stamp { publisher, number, intended_us: 0 });
        }
        let state = arrivals.state.borrow();
        assert_eq!((arrivals.deliveries(), state.duplicated, state.reordered), (6, 1, 1));
    }
}
