//! [`Limiter`]: how much one client, one address and all together may have of the server.
//!
//! It is asked when a connection begins, at CONNECT and at the end; only where a rate is set it is
//! asked for each message, too, and then by atomics that a session, or an address, has for itself.

mod rates;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(super) use self::rates::Rates;
use self::rates::{Bucket, bucket};
use super::live::Live;
use crate::address::limited_as;
use crate::broker::interest::Shards;
use crate::broker::stats::Tally;
use crate::session::Exceeded;

/// What one client, one address and all together may have. Zero is no limit, unless it says
/// something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// Connections of all together; zero: as many as the system gives descriptors for.
    pub connections: usize,
    /// Connections of one address, and sessions of one address.
    pub connections_per_address: usize,
    /// Sessions of one named user.
    pub sessions_per_user: usize,
    /// CONNECTs of one address in a minute.
    pub connects_per_minute: u32,
    /// What one session may send.
    pub session: Rate,
    /// What all of one address together may send.
    pub address: Rate,
    /// Whether who sends more gets an ERROR; otherwise it is not read for as long as it takes.
    pub ends: bool,
    /// How long a session may send nothing at all, not even a heart-beat.
    pub idle: Duration,
    /// Octets that may wait for all clients together.
    pub waiting_bytes: usize,
}

/// What may be sent in a second; zero: any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rate {
    /// SEND frames.
    pub messages: u32,
    /// Octets, of all frames.
    pub bytes: u32,
}

/// Counts connections, sessions and attempts, over all shards. Clones share it.
#[derive(Clone, Default)]
pub struct Limiter(Arc<Inner>);

#[derive(Default)]
struct Inner {
    settings: Live<Settings>,
    descriptors: usize,
    connections: AtomicUsize,
    outside: AtomicUsize,
    addresses: Mutex<HashMap<IpAddr, Arc<Address>>>,
    users: Mutex<HashMap<Box<str>, usize>>,
    /// Octets that wait for the clients of each shard.
    waiting: Slots,
    reached: Arc<Tally>,
}

/// Each shard writes its own.
struct Slots([AtomicUsize; Shards::MAX]);

impl Default for Slots {
    fn default() -> Self {
        Self([const { AtomicUsize::new(0) }; Shards::MAX])
    }
}

/// What one address has now, and what it may send.
struct Address {
    connections: AtomicUsize,
    sessions: AtomicUsize,
    buckets: Live<Buckets>,
}

/// What one address may send. A session keeps those that it began with.
struct Buckets {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    connects: Option<Bucket>,
}

impl Limiter {
    /// Begins with these settings, and that many descriptors for connections; `reached` counts
    /// how often a limit was.
    pub fn new(settings: Settings, descriptors: usize, reached: Arc<Tally>) -> Self {
        let settings = Live::new(settings);
        Self(Arc::new(Inner { settings, descriptors, reached, ..Inner::default() }))
    }

    /// Takes other settings; those who are connected keep their rates.
    pub fn set(&self, settings: Settings) {
        // Nobody comes anew meanwhile.
        let mut addresses = self.0.addresses();
        let before = self.settings();
        self.0.settings.set(settings);
        if (before.address, before.connects_per_minute) != (settings.address, settings.connects_per_minute) {
            addresses.retain(|_, address| Arc::strong_count(address) > 1);
            addresses.values().for_each(|address| address.buckets.set(Buckets::new(&settings)));
        }
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        self.0.settings.get()
    }

    /// A place for a connection of that address; `None` counts for all together alone.
    ///
    /// # Errors
    /// The limit that leaves no place.
    pub(super) fn enter(&self, address: Option<IpAddr>) -> Result<Seat, Exceeded> {
        let settings = self.settings();
        let max = match settings.connections {
            0 => self.0.descriptors,
            max => max.min(self.0.descriptors),
        };
        take(&self.0.connections, max).map_err(|max| self.reached(Exceeded::Connections { max }))?;
        let mut seat = Seat { limiter: self.clone(), address: None };
        if let Some(address) = address {
            seat.count_for(address)?;
        }
        Ok(seat)
    }

    /// A descriptor for one who has no place and is to be told so; `None`: too many have one.
    pub(super) fn stay_outside(&self) -> Option<Outside> {
        take(&self.0.outside, MAX_OUTSIDE).ok().map(|()| Outside(Arc::clone(&self.0)))
    }

    fn reached(&self, exceeded: Exceeded) -> Exceeded {
        self.note(exceeded.name());
        exceeded
    }

    /// Counts a limit that was reached.
    pub(super) fn note(&self, limit: &'static str) {
        self.0.reached.add(limit);
    }

    /// Notes how much waits for a shard's clients.
    pub(super) fn set_waiting(&self, shard: usize, bytes: usize) {
        if let Some(slot) = self.0.waiting.0.get(shard) {
            slot.store(bytes, Ordering::Relaxed);
        }
    }

    /// Whether too much waits for all clients together, and for this shard's no less than for
    /// another's: then it is to shed some. Answers how much all may have.
    pub(super) fn overfull(&self, shard: usize) -> Option<usize> {
        let max = self.settings().waiting_bytes;
        let waiting = || self.0.waiting.0.iter().map(|slot| slot.load(Ordering::Relaxed));
        let is_over = max > 0 && waiting().sum::<usize>() > max;
        let own = self.0.waiting.0.get(shard).map_or(0, |slot| slot.load(Ordering::Relaxed));
        (is_over && waiting().max() == Some(own)).then_some(max)
    }

    /// A place for a session of that address.
    ///
    /// # Errors
    /// The limit that leaves no place.
    pub(super) fn enter_session(&self, address: IpAddr) -> Result<SessionSeat, Exceeded> {
        let settings = self.settings();
        let found = self.0.address(address);
        take(&found.sessions, or_all(settings.connections_per_address))
            .map_err(|max| self.reached(Exceeded::OfAddress { max }))?;
        Ok(SessionSeat { inner: Arc::clone(&self.0), address, found, user: None })
    }
}

impl Inner {
    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<Address>>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn users(&self) -> MutexGuard<'_, HashMap<Box<str>, usize>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn address(&self, address: IpAddr) -> Arc<Address> {
        let mut addresses = self.addresses();
        if addresses.len() >= FORGET_FROM && addresses.len() == addresses.capacity() {
            addresses.retain(|_, found| !found.is_forgettable(1));
        }
        let found =
            addresses.entry(limited_as(address)).or_insert_with(|| Arc::new(Address::new(&self.settings.get())));
        Arc::clone(found)
    }

    /// Forgets an address that has nothing and owes nothing.
    fn forget(&self, address: IpAddr) {
        let mut addresses = self.addresses();
        let address = limited_as(address);
        if addresses.get(&address).is_some_and(|found| found.is_forgettable(2)) {
            addresses.remove(&address);
        }
    }
}

impl Address {
    fn new(settings: &Settings) -> Self {
        Self {
            connections: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
            buckets: Live::new(Buckets::new(settings)),
        }
    }

    /// `holders` are those who have it in hand themselves, the table included.
    fn is_forgettable(self: &Arc<Self>, holders: usize) -> bool {
        Arc::strong_count(self) <= holders && self.buckets.get().are_full()
    }
}

impl Buckets {
    fn new(settings: &Settings) -> Self {
        Self {
            messages: bucket(settings.address.messages, 1),
            bytes: bucket(settings.address.bytes, 1),
            connects: bucket(settings.connects_per_minute, 60),
        }
    }

    fn are_full(&self) -> bool {
        [&self.messages, &self.bytes, &self.connects].into_iter().flatten().all(Bucket::is_full)
    }
}

/// A connection's place, given back when it is dropped.
pub(super) struct Seat {
    limiter: Limiter,
    address: Option<(IpAddr, Arc<Address>)>,
}

impl Seat {
    /// Counts the connection among those of an address; once.
    ///
    /// # Errors
    /// The address has as many as it may.
    pub(super) fn count_for(&mut self, address: IpAddr) -> Result<(), Exceeded> {
        let max = or_all(self.limiter.settings().connections_per_address);
        let found = self.limiter.0.address(address);
        take(&found.connections, max).map_err(|max| self.limiter.reached(Exceeded::OfAddress { max }))?;
        self.address = Some((address, found));
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.limiter.0.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some((address, found)) = &self.address {
            found.connections.fetch_sub(1, Ordering::Relaxed);
            self.limiter.0.forget(*address);
        }
    }
}

/// A descriptor without a place, given back when it is dropped.
pub(super) struct Outside(Arc<Inner>);

impl Drop for Outside {
    fn drop(&mut self) {
        self.0.outside.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A session's place, given back when it is dropped.
pub(super) struct SessionSeat {
    inner: Arc<Inner>,
    address: IpAddr,
    found: Arc<Address>,
    user: Option<Box<str>>,
}

impl SessionSeat {
    /// Counts a CONNECT.
    ///
    /// # Errors
    /// The address has had as many as it may.
    pub(super) fn on_connect(&self) -> Result<(), Exceeded> {
        let per_minute = self.inner.settings.get().connects_per_minute;
        let is_over = self.found.buckets.get().connects.as_ref().is_some_and(|bucket| bucket.take(1).is_err());
        if is_over { Err(Exceeded::Connects { per_minute }) } else { Ok(()) }
    }

    /// Counts the session among those of a user.
    ///
    /// # Errors
    /// The user has as many as it may.
    pub(super) fn on_user(&mut self, user: &str) -> Result<(), Exceeded> {
        if self.user.is_some() {
            return Ok(());
        }
        // Without a limit, too: one may come with other settings.
        let max = or_all(self.inner.settings.get().sessions_per_user);
        let mut users = self.inner.users();
        let count = users.entry(user.into()).or_default();
        if *count >= max {
            return Err(Exceeded::OfUser { max });
        }
        *count += 1;
        drop(users);
        self.user = Some(user.into());
        Ok(())
    }

    /// What bounds how much the session sends; `None`: nothing does.
    pub(super) fn rates(&self) -> Option<Box<Rates>> {
        Rates::new(&self.inner.settings.get(), self.found.buckets.get())
    }
}

impl Drop for SessionSeat {
    fn drop(&mut self) {
        self.found.sessions.fetch_sub(1, Ordering::Relaxed);
        self.inner.forget(self.address);
        if let Some(user) = self.user.take() {
            let mut users = self.inner.users();
            if let Some(count) = users.get_mut(&user) {
                *count -= 1;
                if *count == 0 {
                    users.remove(&user);
                }
            }
        }
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seat")
    }
}

/// Takes one of a count; the error is what there may be.
fn take(count: &AtomicUsize, max: usize) -> Result<(), usize> {
    let more = |count| (count < max).then_some(count + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map(|_| ()).map_err(|_| max)
}

fn or_all(max: usize) -> usize {
    if max == 0 { usize::MAX } else { max }
}

/// From so many addresses on, those with nothing are looked for before the table grows.
const FORGET_FROM: usize = 1024;

/// How many who were turned away are listened to, on all shards and listeners together.
pub(super) const MAX_OUTSIDE: usize = 128;

#[cfg(test)]
mod tests;
