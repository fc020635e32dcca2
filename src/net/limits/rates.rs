//! [`Rates`]: how fast one session may send.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::{Buckets, Settings};
use crate::net::clock;
use crate::session::Exceeded;

/// What bounds one session's sending: its own buckets and those of its address.
pub(in crate::net) struct Rates {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    address: Arc<Buckets>,
    ends: bool,
    /// What was taken already and is to be waited for: of the session's buckets for messages and
    /// octets, and of its address's.
    owed: [u32; 4],
    until: Option<Instant>,
    idle: Duration,
    heard: Instant,
}

impl Rates {
    pub(super) fn new(settings: &Settings, address: Arc<Buckets>) -> Option<Box<Self>> {
        let (messages, bytes) = (bucket(settings.session.messages, 1), bucket(settings.session.bytes, 1));
        let of_address = address.messages.is_some() || address.bytes.is_some();
        let is_bounded = messages.is_some() || bytes.is_some() || of_address || !settings.idle.is_zero();
        let rates = || Self {
            messages,
            bytes,
            address,
            ends: settings.ends,
            owed: [0; 4],
            until: None,
            idle: settings.idle,
            heard: clock::now(),
        };
        is_bounded.then(|| Box::new(rates()))
    }

    /// Counts octets that came.
    ///
    /// # Errors
    /// There were too many, and that ends the session.
    pub(in crate::net) fn on_bytes(&mut self, now: Instant, bytes: usize) -> Result<(), Exceeded> {
        self.heard = now;
        self.owe([1, 3], bytes);
        self.settle()
    }

    /// Counts messages that the session sends.
    ///
    /// # Errors
    /// As [`Rates::on_bytes`].
    pub(in crate::net) fn on_messages(&mut self, messages: usize) -> Result<(), Exceeded> {
        self.owe([0, 2], messages);
        self.settle()
    }

    /// Whether the session is to wait; the driver asks again at [`Rates::deadline`].
    pub(in crate::net) fn waits(&self) -> bool {
        self.until.is_some()
    }

    pub(in crate::net) fn deadline(&self) -> Option<Instant> {
        // Who is not read cannot be heard.
        self.until.or_else(|| (!self.idle.is_zero()).then(|| self.heard + self.idle))
    }

    /// Does what is due.
    ///
    /// # Errors
    /// The session has sent nothing for too long.
    pub(in crate::net) fn handle_timeout(&mut self, now: Instant) -> Result<(), Exceeded> {
        if self.until.is_some_and(|until| until <= now) {
            self.until = None;
            self.settle()?;
            if !self.waits() {
                self.heard = now;
            }
        }
        if !self.idle.is_zero() && !self.waits() && now.duration_since(self.heard) >= self.idle {
            return Err(Exceeded::Idle { after: self.idle });
        }
        Ok(())
    }

    fn owe(&mut self, places: [usize; 2], count: usize) {
        for place in places {
            self.owed[place] = self.owed[place].saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }

    /// Pays what is owed, or waits until more of it can be paid. In parts, so that one who owes
    /// much does not wait for a whole bucket that others of its address never leave full.
    fn settle(&mut self) -> Result<(), Exceeded> {
        if self.until.is_some() {
            return Ok(());
        }
        let buckets = [&self.messages, &self.bytes, &self.address.messages, &self.address.bytes];
        let words = [("messages", "session"), ("octets", "session"), ("messages", "address"), ("octets", "address")];
        for ((owed, bucket), (what, of)) in self.owed.iter_mut().zip(buckets).zip(words) {
            let Some(bucket) = bucket else {
                *owed = 0;
                continue;
            };
            while *owed > 0 {
                let part = (*owed).min(bucket.part());
                match bucket.take(part) {
                    Ok(()) => *owed -= part,
                    Err(_) if self.ends => return Err(Exceeded::Rate { per_second: bucket.burst.get(), what, of }),
                    Err(until) => {
                        self.until = self.until.max(Some(until));
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

/// So many in a time, by the generic cell rate algorithm; as many may come at once.
pub(super) struct Bucket {
    limiter: RateLimiter<NotKeyed, InMemoryState, ServerClock>,
    burst: NonZeroU32,
    /// When it is full again, whatever was taken.
    full_at: Mutex<Option<Instant>>,
    fills_in: Duration,
}

pub(super) fn bucket(count: u32, seconds: u64) -> Option<Bucket> {
    let burst = NonZeroU32::new(count)?;
    let each = Duration::from_nanos((seconds * 1_000_000_000 / u64::from(count)).max(1));
    let quota = Quota::with_period(each)?.allow_burst(burst);
    let limiter = RateLimiter::direct_with_clock(quota, ServerClock);
    Some(Bucket { limiter, burst, full_at: Mutex::default(), fills_in: Duration::from_secs(seconds) })
}

impl Bucket {
    /// Takes that many, at most a whole bucket; otherwise says when they will be there.
    pub(super) fn take(&self, count: u32) -> Result<(), Instant> {
        let Some(count) = NonZeroU32::new(count.min(self.burst.get())) else { return Ok(()) };
        *self.full_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock::now() + self.fills_in);
        match self.limiter.check_n(count) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(not_until.earliest_possible()),
            Err(_) => Err(clock::now()),
        }
    }

    /// How much is taken of it at once.
    fn part(&self) -> u32 {
        (self.burst.get() / PARTS).max(1)
    }

    /// Whether nothing is taken of it, so that a new one would do as well.
    pub(super) fn is_full(&self) -> bool {
        let full_at = *self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        full_at.is_none_or(|at| at <= clock::now())
    }
}

/// How many times in a second one who waits looks whether more is there.
const PARTS: u32 = 8;

/// The server's clock, which tests can pause.
#[derive(Debug, Clone, Copy)]
struct ServerClock;

impl Clock for ServerClock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        clock::now()
    }
}
