//! TLS over a socket, with the readiness of a socket: `TlsStream`, and the [`Identity`] it shows.
//!
//! rustls does TLS and touches no socket; here its records meet one. The handshake happens on
//! the way, within the first reads: who waits for it is whoever waits for the first octets.

mod client;
mod identity;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice, Read as _, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConnection;
use socket2::SockRef;
use tokio::net::TcpStream;

pub use self::client::Authority;
pub use self::identity::{FileError, Identity, IdentityError};
use super::io::Written;
use super::stream;
use crate::message::Image;

/// The server's end of TLS over a socket.
///
/// ```text
/// Opening ── a TLS record ──→ Tls ── a violation ──→ Failed: alert sent, the rest is discarded
///    └────── anything else ──→ Plain: octets pass as they are, so that the peer can be told
/// ```
pub(super) struct TlsStream {
    socket: TcpStream,
    tls: RefCell<ServerConnection>,
    phase: Cell<Phase>,
    peer_closed: Cell<bool>,
    /// Whether our side is closed as soon as all records are written.
    is_closing: Cell<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Tls,
    Plain,
    Failed,
}

impl TlsStream {
    /// Puts TLS on a socket that nobody has read from.
    ///
    /// # Errors
    /// rustls does not take its settings.
    pub(super) fn new(socket: TcpStream, identity: &Identity) -> io::Result<Self> {
        let mut tls = ServerConnection::new(identity.settings()).map_err(io::Error::other)?;
        tls.set_buffer_limit(Some(RECORDS_BYTES));
        Ok(Self {
            socket,
            tls: RefCell::new(tls),
            phase: Cell::new(Phase::Opening),
            peer_closed: Cell::new(false),
            is_closing: Cell::new(false),
        })
    }

    /// Whether the peer's first octets were no TLS. What is read then is what it sent.
    pub(super) fn is_plain(&self) -> bool {
        self.phase.get() == Phase::Plain
    }

    /// Whom the certificate names that the peer has shown; `None` without one, or before the end
    /// of the handshake.
    pub(super) fn subject(&self) -> Option<Arc<str>> {
        let tls = self.tls.borrow();
        if tls.is_handshaking() {
            return None;
        }
        client::subject(tls.peer_certificates()?.first()?)
    }

    /// As [`stream::poll_read_most`]. A violation of TLS is [`io::ErrorKind::InvalidData`], said once;
    /// after that nothing comes but the end.
    pub(super) fn poll_read_most<T>(
        &self,
        cx: &mut Context<'_>,
        max: usize,
        take: impl FnOnce(&mut [u8]) -> T,
    ) -> Poll<io::Result<T>> {
        PLAINTEXT.with_borrow_mut(|plaintext| {
            loop {
                // Answers of the handshake: nobody else writes while it is under way.
                if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
                    return Poll::Ready(Err(error));
                }
                if self.peer_closed.get() {
                    return Poll::Ready(Ok(take(&mut [])));
                }
                plaintext.clear();
                match ready!(stream::poll_read_most(&self.socket, cx, max, |octets| self.on_octets(octets, plaintext)))?
                {
                    Err(error) => return Poll::Ready(Err(error)),
                    Ok(()) if !plaintext.is_empty() => return Poll::Ready(Ok(take(plaintext))),
                    Ok(()) => {}
                }
            }
        })
    }

    /// As [`stream::try_write`]; blocked, too, while records wait for the socket.
    pub(super) fn try_write(&self, queue: &mut VecDeque<Image>) -> io::Result<Written> {
        match self.phase.get() {
            Phase::Plain => return stream::try_write(&self.socket, queue),
            Phase::Failed => queue.clear(),
            Phase::Opening | Phase::Tls => {}
        }
        let (mut bytes, mut is_cut) = (0, false);
        loop {
            let is_flushed = self.flush()?;
            stream::advance(queue, 0);
            if queue.is_empty() || !is_flushed {
                return Ok(Written { bytes, is_blocked: !is_flushed, is_cut });
            }
            let images = queue.iter().take(in_one_record(queue));
            let taken = stream::with_slices(images, |slices| self.tls.borrow_mut().writer().write_vectored(slices))?;
            if taken == 0 {
                return Ok(Written { bytes, is_blocked: true, is_cut });
            }
            bytes += taken;
            is_cut = stream::advance(queue, taken);
        }
    }

    /// As [`stream::poll_write_slices`]; what was taken may wait as records.
    pub(super) fn poll_write_slices(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.phase.get() {
            Phase::Plain => return stream::poll_write_slices(&self.socket, cx, slices),
            Phase::Failed => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Phase::Opening | Phase::Tls => {}
        }
        ready!(self.poll_flush(cx))?;
        let taken = self.tls.borrow_mut().writer().write_vectored(slices)?;
        self.flush()?;
        Poll::Ready(Ok(taken))
    }

    /// Ready when all records are written and more would be taken.
    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_plain() {
            return self.socket.poll_write_ready(cx);
        }
        ready!(self.poll_flush(cx))?;
        // What comes ends the handshake, and wakes the task that reads.
        let waits_for_peer = self.phase.get() != Phase::Failed && self.tls.borrow().is_handshaking();
        if waits_for_peer { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// Closes our side as soon as all records are written.
    pub(super) fn close_our_side(&self) {
        self.is_closing.set(true);
        self.say_goodbye();
    }

    // RFC 8446 section 6.1: each party must send close_notify before it closes its write side
    fn say_goodbye(&self) {
        if matches!(self.phase.get(), Phase::Opening | Phase::Tls) {
            self.tls.borrow_mut().send_close_notify();
        }
        // A socket that is broken tells so to the one who reads.
        let _ = self.flush();
    }

    /// Takes what the socket gave; 0 octets are the end. Without close_notify they are, too: a
    /// frame that was cut off has no NUL, so nothing can be mistaken for the whole.
    fn on_octets(&self, octets: &[u8], plaintext: &mut Vec<u8>) -> io::Result<()> {
        let Some(first) = octets.first() else {
            self.peer_closed.set(true);
            return Ok(());
        };
        if self.phase.get() == Phase::Opening {
            self.phase.set(if *first == HANDSHAKE { Phase::Tls } else { Phase::Plain });
        }
        match self.phase.get() {
            Phase::Plain => plaintext.extend_from_slice(octets),
            Phase::Failed => {}
            Phase::Opening | Phase::Tls => self.on_records(octets, plaintext)?,
        }
        Ok(())
    }

    fn on_records(&self, mut records: &[u8], plaintext: &mut Vec<u8>) -> io::Result<()> {
        let mut tls = self.tls.borrow_mut();
        // Piece by piece: rustls takes no more than it has room for.
        while !records.is_empty() && tls.read_tls(&mut records)? > 0 {
            let state = tls.process_new_packets().map_err(|error| {
                self.phase.set(Phase::Failed);
                io::Error::new(io::ErrorKind::InvalidData, error)
            })?;
            let start = plaintext.len();
            plaintext.resize(start + state.plaintext_bytes_to_read(), 0);
            tls.reader().read_exact(&mut plaintext[start..])?;
            if state.peer_has_closed() {
                self.peer_closed.set(true);
                break;
            }
        }
        Ok(())
    }

    /// Ready when no record waits for the socket.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.flush()? {
            ready!(self.socket.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the records that wait; answers whether none is left.
    fn flush(&self) -> io::Result<bool> {
        if !self.is_plain() {
            let mut tls = self.tls.borrow_mut();
            while tls.wants_write() {
                match tls.write_tls(&mut Records(&self.socket)) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
        }
        if self.is_closing.get() {
            // Nothing is left to be done if the peer is gone, too.
            let _ = SockRef::from(&self.socket).shutdown(Shutdown::Write);
        }
        Ok(true)
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        self.say_goodbye();
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsStream({:?}, {:?})", self.socket, self.phase.get())
    }
}

/// How many images from the front are encrypted at once: what is a record cannot be taken back
/// where its session ends, so it is either the rest of one image or no more than a record holds.
fn in_one_record(queue: &VecDeque<Image>) -> usize {
    let mut bytes = 0;
    let fitting = queue.iter().take_while(|image| {
        bytes += image.len();
        bytes <= RECORD_BYTES
    });
    fitting.count().max(1)
}

/// The socket as rustls writes to it.
struct Records<'a>(&'a TcpStream);

impl Write for Records<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.try_write(octets)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// RFC 8446 section 5.1: the plaintext of a record.
const RECORD_BYTES: usize = 16 * 1024;

/// What may wait as records, and before the end of the handshake as it is. More would only
/// stand behind what the socket does not take anyway.
const RECORDS_BYTES: usize = 64 * 1024;

/// RFC 8446 section 5.1: the content type of a ClientHello. No frame and no HTTP request begins so.
const HANDSHAKE: u8 = 0x16;

thread_local! {
    /// One buffer for all connections of a shard, as for what is read. It holds no more than one
    /// read and the record that was begun before it.
    static PLAINTEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

#[cfg(test)]
mod tests;
