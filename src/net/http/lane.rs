//! [`Shortcut`]: a way past hyper for what a response streams.
//!
//! A frame that goes through hyper costs two wake-ups, a buffer and a copy of its pieces' list.
//! Between two frames hyper has nothing to write, so the frame's chunk may as well go straight
//! to the socket; only what the socket does not take waits for the connection's own task.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use bytes::Buf;
use tokio::net::TcpStream;

/// A socket without TLS, and who may write to it.
pub(super) struct Lane {
    pub(super) socket: TcpStream,
    phase: AtomicU8,
}

impl Lane {
    pub(super) fn new(socket: TcpStream) -> Arc<Self> {
        Arc::new(Self { socket, phase: AtomicU8::new(HELD) })
    }

    /// hyper writes, or is about to.
    pub(super) fn hold(&self) {
        self.phase.store(HELD, Ordering::Release);
    }

    /// All that hyper wrote has gone to the socket.
    pub(super) fn on_flushed(&self) {
        let _ = self.phase.compare_exchange(SETTLING, OPEN, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Takes the socket back at an upgrade.
    pub(super) fn into_socket(self: Arc<Self>) -> Option<TcpStream> {
        Arc::into_inner(self).map(|lane| lane.socket)
    }
}

/// Who streams a response may write to its connection with it while it is open; an extension of
/// every HTTP/1.1 request whose response can be chunked and is not encrypted.
///
/// What holds for all of it: the body that hyper reads calls [`Shortcut::hold`] whenever it hands
/// hyper anything, its end included, and [`Shortcut::settle`] when it has nothing more for now;
/// and nobody writes while that body is being asked.
#[derive(Clone)]
pub struct Shortcut(Weak<Lane>);

impl Shortcut {
    pub(super) fn new(lane: &Arc<Lane>) -> Self {
        Self(Arc::downgrade(lane))
    }

    /// An open one, as long as the other is there.
    #[cfg(test)]
    pub(crate) fn of(socket: TcpStream) -> (impl Sized, Self) {
        let lane = Lane::new(socket);
        lane.phase.store(OPEN, Ordering::Release);
        let shortcut = Self::new(&lane);
        (lane, shortcut)
    }

    /// The body has handed something to hyper, which has to be written first.
    pub fn hold(&self) {
        if let Some(lane) = self.0.upgrade() {
            lane.hold();
        }
    }

    /// The body has nothing more for hyper: once all is flushed, the shortcut is open.
    pub fn settle(&self) {
        if let Some(lane) = self.0.upgrade() {
            let _ = lane.phase.compare_exchange(HELD, SETTLING, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Whether everything that hyper was handed has left.
    pub fn is_open(&self) -> bool {
        self.0.upgrade().is_some_and(|lane| lane.phase.load(Ordering::Acquire) == OPEN)
    }

    /// Writes of `octets`, whole chunks, what the socket takes now, and removes that.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn try_write(&self, octets: &mut impl Buf) -> io::Result<()> {
        let lane = self.0.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        while octets.has_remaining() {
            match write(&lane.socket, octets) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                written => octets.advance(written?),
            }
        }
        Ok(())
    }

    /// As [`Shortcut::try_write`], and ready when nothing is left.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn poll_write(&self, cx: &mut Context<'_>, octets: &mut impl Buf) -> Poll<io::Result<()>> {
        let lane = self.0.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        while octets.has_remaining() {
            ready!(lane.socket.poll_write_ready(cx))?;
            match write(&lane.socket, octets) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => octets.advance(written?),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Shortcut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shortcut(open: {})", self.is_open())
    }
}

fn write(socket: &TcpStream, octets: &impl Buf) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let count = octets.chunks_vectored(&mut slices);
    socket.try_write_vectored(&slices[..count])
}

/// Frames have fewer pieces than this unless many messages waited.
const SLICES: usize = 64;

/// hyper has octets to write.
const HELD: u8 = 0;
/// hyper was handed all there is, and has not flushed it yet.
const SETTLING: u8 = 1;
/// hyper has nothing to write.
const OPEN: u8 = 2;
