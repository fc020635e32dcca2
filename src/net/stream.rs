//! What the transports over a TCP stream share: [`Stream`], with TLS or without, one read buffer
//! a shard, and vectored writes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read as _};
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::io::Written;
use super::limits::Seat;
use super::tls::{Identity, TlsStream};
use crate::message::Image;

/// An accepted socket, with TLS or without.
#[derive(Debug)]
pub struct Stream {
    kind: Kind,
    /// The connection's place among all, as long as it is open.
    seat: Option<Seat>,
}

#[derive(Debug)]
enum Kind {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Speaks TLS if there is an identity to show.
    ///
    /// # Errors
    /// As [`TlsStream::new`].
    pub(super) fn new(socket: TcpStream, identity: Option<&Identity>, seat: Option<Seat>) -> io::Result<Self> {
        let kind = match identity {
            None => Kind::Plain(socket),
            Some(identity) => Kind::Tls(Box::new(TlsStream::new(socket, identity)?)),
        };
        Ok(Self { kind, seat })
    }

    /// Whether TLS is spoken here.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self.kind, Kind::Tls(_))
    }

    /// Whether TLS is spoken here, but not by the peer, as its first octets showed. It can be
    /// told so; nothing else may be done for it.
    pub(super) fn lacks_tls(&self) -> bool {
        matches!(&self.kind, Kind::Tls(stream) if stream.is_plain())
    }

    /// Whom the certificate names that the peer has shown and TLS has verified.
    pub(super) fn subject(&self) -> Option<Arc<str>> {
        match &self.kind {
            Kind::Plain(_) => None,
            Kind::Tls(stream) => stream.subject(),
        }
    }

    /// A socket that speaks no TLS.
    pub(super) fn plain(socket: TcpStream, seat: Option<Seat>) -> Self {
        Self { kind: Kind::Plain(socket), seat }
    }

    /// The socket itself, where no TLS is in between.
    pub(super) fn into_plain(self) -> Result<(TcpStream, Option<Seat>), Self> {
        match self.kind {
            Kind::Plain(socket) => Ok((socket, self.seat)),
            kind @ Kind::Tls(_) => Err(Self { kind, seat: self.seat }),
        }
    }

    /// As [`poll_read_most`], as much as the buffer takes; with TLS, a violation of it is [`io::ErrorKind::InvalidData`].
    pub(super) fn poll_read<T>(&self, cx: &mut Context<'_>, take: impl FnOnce(&mut [u8]) -> T) -> Poll<io::Result<T>> {
        self.poll_read_most(cx, READ_BUFFER_BYTES, take)
    }

    /// As [`Stream::poll_read`], but at most `max` octets of the socket's.
    pub(super) fn poll_read_most<T>(
        &self,
        cx: &mut Context<'_>,
        max: usize,
        take: impl FnOnce(&mut [u8]) -> T,
    ) -> Poll<io::Result<T>> {
        match &self.kind {
            Kind::Plain(socket) => poll_read_most(socket, cx, max, take),
            Kind::Tls(stream) => stream.poll_read_most(cx, max, take),
        }
    }

    /// As [`try_write`]; with TLS, an empty queue may leave it blocked.
    pub(super) fn try_write(&self, queue: &mut VecDeque<Image>) -> io::Result<Written> {
        match &self.kind {
            Kind::Plain(socket) => try_write(socket, queue),
            Kind::Tls(stream) => stream.try_write(queue),
        }
    }

    /// As [`Stream::try_write`], for one image.
    pub(super) fn try_write_one(&self, image: &mut Image) -> io::Result<Written> {
        match &self.kind {
            Kind::Plain(socket) => try_write_one(socket, image),
            Kind::Tls(stream) => {
                let mut queue = VecDeque::from([std::mem::take(image)]);
                let written = stream.try_write(&mut queue)?;
                *image = queue.pop_front().unwrap_or_default();
                Ok(written)
            }
        }
    }

    /// Writes of `slices` what the socket takes now.
    pub(super) fn poll_write_slices(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &self.kind {
            Kind::Plain(socket) => poll_write_slices(socket, cx, slices),
            Kind::Tls(stream) => stream.poll_write_slices(cx, slices),
        }
    }

    /// Ready when nothing that was taken waits for the socket.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.kind {
            Kind::Plain(_) => Poll::Ready(Ok(())),
            Kind::Tls(stream) => stream.poll_flush(cx),
        }
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.kind {
            Kind::Plain(socket) => socket.poll_write_ready(cx),
            Kind::Tls(stream) => stream.poll_write_ready(cx),
        }
    }

    /// Says that nothing more comes, behind all that was taken already.
    pub(super) fn close_our_side(&self) {
        match &self.kind {
            Kind::Plain(socket) => close_our_side(socket),
            Kind::Tls(stream) => stream.close_our_side(),
        }
    }
}

/// Reads what is there, at most `max` octets, into the shard's buffer and shows it to `take`; 0
/// octets are the end.
pub(super) fn poll_read_most<T>(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    max: usize,
    take: impl FnOnce(&mut [u8]) -> T,
) -> Poll<io::Result<T>> {
    READ_BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(READ_BUFFER_BYTES, 0);
        let buffer = &mut buffer[..max.min(READ_BUFFER_BYTES)];
        loop {
            ready!(stream.poll_read_ready(cx))?;
            let mut count = 0;
            let read = stream.try_io(Interest::READABLE, || {
                count = (&*SockRef::from(stream)).read(buffer)?;
                // A socket that gave less has no more, and is asked again when there is.
                if cfg!(unix) && (1..buffer.len()).contains(&count) {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(())
            });
            match read {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                Err(_) if count == 0 => {}
                _ => return Poll::Ready(Ok(take(&mut buffer[..count]))),
            }
        }
    })
}

/// Says that nothing more comes.
pub(super) fn close_our_side(socket: &TcpStream) {
    // Nothing is left to be done if the peer is gone, too.
    let _ = SockRef::from(socket).shutdown(Shutdown::Write);
}

/// Writes of `slices` what the socket takes now.
pub(super) fn poll_write_slices(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match stream.try_write_vectored(slices) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            written => return Poll::Ready(written),
        }
    }
}

/// Writes from the front of `queue` with as few calls as it takes.
pub(super) fn try_write(stream: &TcpStream, queue: &mut VecDeque<Image>) -> io::Result<Written> {
    let (mut bytes, mut is_cut) = (0, false);
    while !queue.is_empty() {
        match with_slices(queue.iter(), |slices| stream.try_write_vectored(slices)) {
            Ok(written) => {
                bytes += written;
                is_cut = advance(queue, written);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Written { bytes, is_blocked: true, is_cut });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Written { bytes, is_blocked: false, is_cut: false })
}

/// Writes what the socket takes of one image.
fn try_write_one(stream: &TcpStream, image: &mut Image) -> io::Result<Written> {
    let mut bytes = 0;
    while !image.is_empty() {
        let written = if image.tail.is_empty() {
            stream.try_write(&image.head)
        } else {
            stream.try_write_vectored(&[IoSlice::new(&image.head), IoSlice::new(&image.tail)])
        };
        match written {
            Ok(written) => {
                bytes += written;
                image.advance(written);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Written { bytes, is_blocked: true, is_cut: bytes > 0 });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Written { bytes, is_blocked: false, is_cut: false })
}

/// Shows the first of `images` as a vectored write wants them.
pub(super) fn with_slices<'a, T>(
    images: impl Iterator<Item = &'a Image>,
    write: impl FnOnce(&[IoSlice<'_>]) -> T,
) -> T {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let parts = images.flat_map(|image| [&image.head, &image.tail]).filter(|part| !part.is_empty());
    let mut count = 0;
    for (slice, part) in slices.iter_mut().zip(parts) {
        *slice = IoSlice::new(part);
        count += 1;
    }
    write(&slices[..count])
}

/// Takes off what was written, and images that are empty; answers whether some of what was
/// written is of the front that is left.
pub(super) fn advance(queue: &mut VecDeque<Image>, mut written: usize) -> bool {
    while let Some(front) = queue.front_mut() {
        if front.len() > written {
            front.advance(written);
            return written > 0;
        }
        written -= front.len();
        queue.pop_front();
    }
    false
}

/// Linux takes 1024 at most; beyond some dozens a longer call saves nothing.
const MAX_SLICES: usize = 64;

pub(super) const READ_BUFFER_BYTES: usize = 64 * 1024;

thread_local! {
    /// One read buffer for all connections of a shard: between two reads none keeps anything.
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_partial_write_leaves_the_rest_in_order() {
        let image = |head, tail| Image { head: Bytes::from_static(head), tail: Bytes::from_static(tail) };
        let mut queue = VecDeque::from([image(b"abc", b""), image(b"", b""), image(b"de", b"fgh")]);
        assert!(advance(&mut queue, 4));
        assert_eq!(queue, [image(b"e", b"fgh")]);
        assert!(advance(&mut queue, 2));
        assert_eq!(queue, [image(b"", b"gh")]);
        assert!(!advance(&mut queue, 2));
        assert!(queue.is_empty());
    }

    #[test]
    fn an_image_of_which_nothing_is_written_is_not_cut() {
        let image = |head| Image { head: Bytes::from_static(head), tail: Bytes::new() };
        let mut queue = VecDeque::from([image(b""), image(b"abc"), image(b""), image(b"de")]);
        assert!(!advance(&mut queue, 0));
        assert!(!advance(&mut queue, 3));
        assert_eq!(queue, [image(b"de")]);
    }
}
