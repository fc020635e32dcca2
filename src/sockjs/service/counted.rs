//! What is counted, for each transport: sessions, messages, octets.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use super::addresses::Seat;
use crate::message::{Framing, Image};
use crate::net::io::{Close, Incoming, MessageIo, Written};
use crate::sockjs::Transport;

/// The counters of one shard's sessions, or the sum of several, by transport.
#[derive(Debug, Default)]
pub struct Counters([Counts; Transport::ALL.len()]);

/// The counters of one transport. Messages are the application's, octets those of their images.
#[derive(Debug, Default)]
struct Counts {
    opened: AtomicU64,
    open: AtomicU64,
    messages_in: AtomicU64,
    bytes_in: AtomicU64,
    messages_out: AtomicU64,
    bytes_out: AtomicU64,
}

/// What the counters of one transport stand at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// Sessions that were ever opened.
    pub opened: u64,
    /// Sessions that are open now.
    pub open: u64,
    /// Messages from clients.
    pub messages_in: u64,
    /// Their octets.
    pub bytes_in: u64,
    /// Messages to clients.
    pub messages_out: u64,
    /// Their octets, as they were framed.
    pub bytes_out: u64,
}

impl Counters {
    /// What those of one transport stand at.
    pub fn read(&self, transport: Transport) -> Reading {
        let counts = self.of(transport);
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Reading {
            opened: value(&counts.opened),
            open: value(&counts.open),
            messages_in: value(&counts.messages_in),
            bytes_in: value(&counts.bytes_in),
            messages_out: value(&counts.messages_out),
            bytes_out: value(&counts.bytes_out),
        }
    }

    fn of(&self, transport: Transport) -> &Counts {
        &self.0[transport as usize]
    }
}

impl Reading {
    /// The sum, counter by counter.
    pub fn plus(self, other: Self) -> Self {
        Self {
            opened: self.opened + other.opened,
            open: self.open + other.open,
            messages_in: self.messages_in + other.messages_in,
            bytes_in: self.bytes_in + other.bytes_in,
            messages_out: self.messages_out + other.messages_out,
            bytes_out: self.bytes_out + other.bytes_out,
        }
    }
}

/// A connection whose messages are counted while it is open.
pub(super) struct Counted<T> {
    io: T,
    transport: Transport,
    counters: Arc<Counters>,
    /// Given back with the connection.
    _seat: Option<Seat>,
}

impl<T> Counted<T> {
    pub(super) fn new(io: T, transport: Transport, counters: &Arc<Counters>, seat: Option<Seat>) -> Self {
        let counts = counters.of(transport);
        add(&counts.opened, 1);
        add(&counts.open, 1);
        Self { io, transport, counters: Arc::clone(counters), _seat: seat }
    }
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        self.counters.of(self.transport).open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T: MessageIo> MessageIo for Counted<T> {
    fn framing(&self) -> &'static dyn Framing {
        self.io.framing()
    }

    fn transport(&self) -> &'static str {
        self.transport.name()
    }

    fn try_write(&self, queue: &mut VecDeque<Image>) -> io::Result<Written> {
        let before = queue.len();
        let written = self.io.try_write(queue)?;
        let counts = self.counters.of(self.transport);
        add(&counts.messages_out, (before - queue.len()) as u64);
        add(&counts.bytes_out, written.bytes as u64);
        Ok(written)
    }

    fn try_write_one(&self, image: &mut Image) -> io::Result<Written> {
        let written = self.io.try_write_one(image)?;
        let counts = self.counters.of(self.transport);
        add(&counts.messages_out, u64::from(image.is_empty()));
        add(&counts.bytes_out, written.bytes as u64);
        Ok(written)
    }

    fn withdraw(&self) {
        self.io.withdraw();
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_write_ready(cx)
    }

    fn is_two_way(&self) -> bool {
        self.io.is_two_way()
    }

    fn poll_read(&self, cx: &mut Context<'_>) -> Poll<Incoming> {
        let polled = self.io.poll_read(cx);
        if let Poll::Ready(Incoming::Octets(octets)) = &polled {
            let counts = self.counters.of(self.transport);
            add(&counts.messages_in, 1);
            add(&counts.bytes_in, octets.len() as u64);
        }
        polled
    }

    fn is_behind(&self) -> bool {
        self.io.is_behind()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.io.poll_timeout()
    }

    fn handle_timeout(&self, now: Instant) -> Option<Incoming> {
        self.io.handle_timeout(now)
    }

    fn farewell(&self, close: &Close, queue: &mut VecDeque<Image>) {
        self.io.farewell(close, queue);
    }

    fn close_our_side(&self) {
        self.io.close_our_side();
    }
}

/// Each shard has counters of its own, so that no two threads contend for one.
fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
