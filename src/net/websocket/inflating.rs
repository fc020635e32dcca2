//! The decompressors that all WebSockets of a shard take in turn.
//!
//! Nothing is remembered from one message to the next, so that none of them is anybody's own: each
//! holds 40 KB, which no connection could keep. One that has more to do than one turn allows takes
//! one along while it has the shard's [`Permit`]; one that waits for that holds only what it was sent.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

/// A message on its way, decompressed as RFC 7692 section 7.2.2 says: as much at a time as others
/// can wait for, and of one that becomes too long, no more than is allowed.
#[derive(Debug)]
pub(super) struct Inflating {
    decompressor: Decompress,
    out: Vec<u8>,
    max: usize,
    /// How much was taken of what follows each message.
    end_used: usize,
    /// How many final blocks there were.
    streams: usize,
}

/// Why a message cannot be decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InflateError {
    /// It is not what DEFLATE makes.
    Invalid,
    /// It becomes longer than allowed.
    TooLong,
}

impl Inflating {
    /// Begins a message that may become so long.
    pub(super) fn new(max: usize) -> Self {
        let mut decompressor = DECOMPRESSOR.take().unwrap_or_else(|| Decompress::new(false));
        decompressor.reset(false);
        Self { decompressor, out: Vec::new(), max, end_used: 0, streams: 0 }
    }

    /// What there is of it.
    pub(super) fn octets(&self) -> &[u8] {
        &self.out
    }

    /// Takes from the front of `message`, its rest, which is not empty at the beginning, and of
    /// `budget` what that costs; answers whether it is whole. It is not where nothing is left of
    /// the budget.
    ///
    /// # Errors
    /// It is broken, or too long.
    pub(super) fn advance(&mut self, message: &mut &[u8], budget: &mut usize) -> Result<bool, InflateError> {
        while *budget > 0 {
            if self.step(message, budget)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn step(&mut self, message: &mut &[u8], budget: &mut usize) -> Result<bool, InflateError> {
        let is_end = message.is_empty();
        let most = budget.div_ceil(COST_OF_INPUT);
        let input = if is_end { &END[self.end_used..] } else { &message[..message.len().min(most)] };
        let (was_in, was_out, had) = (self.decompressor.total_in(), self.decompressor.total_out(), self.out.len());
        let room = self.make_room(message.len()).min(*budget);
        self.out.resize(had + room, 0);
        let status = self.decompressor.decompress(input, &mut self.out[had..], FlushDecompress::Sync);
        let used = usize::try_from(self.decompressor.total_in() - was_in).unwrap_or(0);
        let made = usize::try_from(self.decompressor.total_out() - was_out).unwrap_or(0);
        self.out.truncate(had + made);
        if is_end {
            self.end_used += used;
        } else {
            *message = &message[used..];
        }
        *budget = budget.saturating_sub(made + used * COST_OF_INPUT);
        if self.out.len() > self.max {
            return Err(InflateError::TooLong);
        }
        match status.map_err(|_| InflateError::Invalid)? {
            // RFC 7692 section 7.2.3.4: a final block does not end the message.
            Status::StreamEnd => {
                *budget = budget.saturating_sub(COST_OF_STREAM);
                self.decompressor.reset(false);
                self.streams += 1;
                if self.streams > MAX_STREAMS {
                    return Err(InflateError::Invalid);
                }
                Ok(self.end_used == END.len())
            }
            // It was cut off in the middle of a block.
            Status::Ok | Status::BufError if used == 0 && made == 0 => Err(InflateError::Invalid),
            Status::Ok | Status::BufError => Ok(false),
        }
    }

    /// How much more the memory holds that the message has, or gets where it is full.
    fn make_room(&mut self, message_bytes: usize) -> usize {
        let had = self.out.len();
        if had == self.out.capacity() {
            let usual = message_bytes.saturating_mul(USUAL_RATIO).clamp(FIRST_BYTES, READ_BYTES);
            let more = if had == 0 { usual } else { had };
            self.out.reserve_exact(more.min(self.max.saturating_add(1) - had));
        }
        self.out.capacity() - had
    }

    /// The whole message.
    pub(super) fn finish(mut self) -> Bytes {
        DECOMPRESSOR.set(Some(self.decompressor));
        self.out.shrink_to_fit();
        self.out.into()
    }

    /// Gives back what it took, with nothing to show for it.
    pub(super) fn abandon(self) {
        DECOMPRESSOR.set(Some(self.decompressor));
    }
}

/// The right to make more of a message than its beginning. One connection of a shard has it at a
/// time, for a time: a few octets from each of many could become all the memory there is, and who is
/// not read from any more would keep it from all others. Whose time is over keeps what it has made
/// and waits again: another of those a second is the worst that can be.
#[derive(Debug)]
pub(super) struct Permit {
    held: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
    /// Until it was granted for the first time.
    granted: Option<oneshot::Receiver<()>>,
    /// Its time runs from the grant, whether its connection notes that or not.
    _lasts: AbortOnDropHandle<()>,
}

impl Permit {
    /// Takes it where nobody has it or waits for it; else it waits.
    pub(super) fn ask() -> Self {
        let permits = PERMITS.with(Arc::clone);
        let free = Arc::clone(&permits).try_acquire_owned().ok();
        let (grant, granted) = oneshot::channel();
        let granted = free.is_none().then_some(granted);
        let held = Arc::new(Mutex::new(free));
        let lasts = {
            let (held, waits) = (Arc::clone(&held), granted.is_some());
            async move {
                if waits {
                    let permit = permits.acquire_owned().await.ok();
                    *lock(&held) = permit;
                    let _ = grant.send(());
                }
                sleep(PERMIT_LASTS).await;
                drop(lock(&held).take());
            }
        };
        Self { held, granted, _lasts: AbortOnDropHandle::new(tokio::spawn(lasts)) }
    }

    /// Whether its connection may go on.
    pub(super) fn is_held(&self) -> bool {
        lock(&self.held).is_some()
    }

    /// Ready as long as it is held. Where its time was over before all was done, it is asked for anew.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(granted) = &mut self.granted {
                let is_granted = ready!(Pin::new(granted).poll(cx)).is_ok();
                self.granted = None;
                if !is_granted {
                    // The runtime ends, and all that runs in it.
                    return Poll::Ready(());
                }
            }
            if self.is_held() {
                return Poll::Ready(());
            }
            *self = Self::ask();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // At once, and not only when the runtime comes to end the task: the same connection may ask again.
        drop(lock(&self.held).take());
    }
}

fn lock(held: &Mutex<Option<OwnedSemaphorePermit>>) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first octets, `max` at most, of what the beginning of a compressed message decompresses to.
pub(super) fn beginning(message: &[u8], max: usize) -> Vec<u8> {
    let mut decompressor = DECOMPRESSOR.take().unwrap_or_else(|| Decompress::new(false));
    decompressor.reset(false);
    let mut out = Vec::with_capacity(max);
    // What is broken shows where it breaks: what was before it is right.
    let is_well = decompressor.decompress_vec(message, &mut out, FlushDecompress::Sync).is_ok();
    DECOMPRESSOR.set(is_well.then_some(decompressor));
    out.truncate(max);
    out
}

/// What is made of messages while they are read, and of one in a turn: less than half a
/// millisecond of work, whatever is in them.
pub(super) const READ_BYTES: usize = 128 * 1024;
pub(super) const TURN_BYTES: usize = 256 * 1024;

/// The largest message takes some milliseconds, beside much else a few times that.
const PERMIT_LASTS: Duration = Duration::from_secs(1);

/// What an octet costs that is read, and a stream that ends, in octets that are made.
const COST_OF_INPUT: usize = 8;
const COST_OF_STREAM: usize = 16 * 1024;

/// How many final blocks a message may have, with the one that ends it: each sets the decompressor
/// up anew, which takes some 10 µs and as little as two octets.
const MAX_STREAMS: usize = 1024;

/// RFC 7692 section 7.2.2: what follows each message, and a last block with nothing in it, which is
/// taken as the end only where one may begin.
const END: [u8; 6] = [0, 0, 0xff, 0xff, 3, 0];

const USUAL_RATIO: usize = 4;
const FIRST_BYTES: usize = 64;

thread_local! {
    static DECOMPRESSOR: Cell<Option<Decompress>> = const { Cell::new(None) };
    static PERMITS: Arc<Semaphore> = Arc::new(Semaphore::new(1));
}

/// A whole message at once.
#[cfg(test)]
pub(super) fn inflate(mut message: &[u8], max: usize) -> Result<Bytes, InflateError> {
    if message.is_empty() {
        return Ok(Bytes::new());
    }
    let mut inflating = Inflating::new(max);
    loop {
        let mut budget = TURN_BYTES;
        if inflating.advance(&mut message, &mut budget)? {
            return Ok(inflating.finish());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::poll;
    use proptest::prelude::*;
    use tokio::task::yield_now;
    use tokio::time::{Instant, timeout};

    use super::super::compressing::deflated;
    use super::*;

    /// RFC 7692 section 7.2.3.
    #[test]
    fn the_examples_of_the_specification_are_read() {
        let hello = Bytes::from_static(b"Hello");
        for octets in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ] {
            assert_eq!(inflate(octets, 5), Ok(hello.clone()), "{octets:x?}");
            assert_eq!(inflate(octets, 4), Err(InflateError::TooLong), "{octets:x?}");
        }
        assert_eq!(inflate(&[0x00], 0), Ok(Bytes::new()));
        assert_eq!(inflate(&[], 0), Ok(Bytes::new()));
    }

    #[test]
    fn a_message_of_the_limit_is_read_and_of_one_octet_more_is_not() {
        for size in [63, 64, 65, 256, 4096, 1 << 20] {
            let octets = deflated(&vec![b'a'; size], 6, 15).unwrap();
            assert_eq!(inflate(&octets, size).map(|read| read.len()), Ok(size));
            assert_eq!(inflate(&octets, size - 1), Err(InflateError::TooLong), "{size}");
            assert_eq!(inflate(&octets, usize::MAX / 8).map(|read| read.len()), Ok(size));
        }
    }

    #[test]
    fn what_is_not_deflate_is_refused() {
        assert_eq!(inflate(&[0xff; 20], 1000), Err(InflateError::Invalid));
        // a block of five octets with only four
        assert_eq!(inflate(&[0x00, 0x09, 0x00, 0xf6, 0xff, 0x48, 0x65], 1000), Err(InflateError::Invalid));
    }

    #[test]
    fn what_takes_long_and_becomes_nothing_takes_many_turns() {
        let empty_blocks = [0, 0, 0, 0xff, 0xff].repeat(100_000);
        let ended_streams = [3, 0].repeat(MAX_STREAMS - 1);
        for message in [empty_blocks, ended_streams] {
            let message = [&message[..], &[0]].concat();
            let mut inflating = Inflating::new(1000);
            let mut left = &message[..];
            let turns = (1..).find(|_| {
                let mut budget = TURN_BYTES;
                inflating.advance(&mut left, &mut budget).unwrap()
            });
            assert!(turns >= Some(10), "{turns:?}");
        }
    }

    #[test]
    fn no_turn_makes_more_than_its_budget_however_much_there_is_already() {
        let size = 64 << 20;
        let piece = [&deflated(&vec![b'a'; 1 << 20], 9, 15).unwrap()[..], &END[..4]].concat();
        let message = piece.repeat(size >> 20);
        let message = &message[..message.len() - 4];
        let mut inflating = Inflating::new(usize::MAX / 8);
        let (mut left, mut made, mut is_whole) = (message, 0, false);
        while !is_whole {
            let mut budget = TURN_BYTES;
            is_whole = inflating.advance(&mut left, &mut budget).unwrap();
            let more = inflating.octets().len() - made;
            assert!(more <= TURN_BYTES, "{more} in a turn, after {made}");
            made += more;
        }
        assert_eq!(made, size);
    }

    #[test]
    fn as_many_final_blocks_as_allowed_are_read_and_one_more_is_not() {
        let of_blocks = |count| [&[3, 0].repeat(count)[..], &[0]].concat();
        assert_eq!(inflate(&of_blocks(MAX_STREAMS - 1), 10), Ok(Bytes::new()));
        assert_eq!(inflate(&of_blocks(MAX_STREAMS), 10), Err(InflateError::Invalid));
    }

    #[tokio::test(start_paused = true)]
    async fn one_has_the_permit_at_a_time_and_not_for_ever() {
        let (first, mut second, mut third) = (Permit::ask(), Permit::ask(), Permit::ask());
        assert!(first.is_held());
        assert!(poll!(poll_fn(|cx| second.poll(cx))).is_pending());
        assert!(poll!(poll_fn(|cx| third.poll(cx))).is_pending());
        drop(first);
        poll_fn(|cx| second.poll(cx)).await;
        assert!(poll!(poll_fn(|cx| third.poll(cx))).is_pending());
        let before = Instant::now();
        poll_fn(|cx| third.poll(cx)).await;
        assert_eq!(before.elapsed().as_secs(), PERMIT_LASTS.as_secs());
        // Whose time was over waits again.
        assert!(poll!(poll_fn(|cx| second.poll(cx))).is_pending());
        drop(third);
        poll_fn(|cx| second.poll(cx)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_is_never_polled_does_not_hold_the_permit() {
        let first = Permit::ask();
        let (_deaf, mut next) = (Permit::ask(), Permit::ask());
        // Both wait, in this order.
        assert!(poll!(poll_fn(|cx| next.poll(cx))).is_pending());
        yield_now().await;
        drop(first);
        let before = Instant::now();
        timeout(3 * PERMIT_LASTS, poll_fn(|cx| next.poll(cx))).await.unwrap();
        assert_eq!(before.elapsed().as_secs(), PERMIT_LASTS.as_secs());
    }

    #[tokio::test]
    async fn a_permit_is_free_as_soon_as_it_is_given_back() {
        drop(Permit::ask());
        assert!(Permit::ask().is_held());
    }

    proptest! {
        #[test]
        fn garbage_never_panics_nor_exceeds_the_limit(octets in proptest::collection::vec(any::<u8>(), 0..200), max in 0..500_usize) {
            if let Ok(read) = inflate(&octets, max) {
                prop_assert!(read.len() <= max);
            }
            let hello = inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 5);
            prop_assert_eq!(hello, Ok(Bytes::from_static(b"Hello")));
        }
    }
}
