//! A message as octets on the wire: how a transport wraps it, and the finished images that all who get it
//! share.

use std::fmt;
use std::sync::{Mutex, OnceLock, TryLockError};

use bytes::{Buf as _, Bytes};

/// Octets ready for the socket: a head that may be this subscriber's own and a tail that is
/// shared. Either may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// Goes first.
    pub head: Bytes,
    /// Follows the head.
    pub tail: Bytes,
}

impl Image {
    /// Octets on the wire.
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Image {
    /// Takes off so many octets, at most [`Image::len`].
    pub fn advance(&mut self, octets: usize) {
        let of_head = octets.min(self.head.len());
        self.head.advance(of_head);
        if octets > of_head {
            self.tail.advance(octets - of_head);
        }
    }

    /// The same in one piece, if it is small enough for a copy to cost less than a second piece
    /// does in every write.
    fn joined(self) -> Self {
        if self.tail.is_empty() || self.len() > JOINED_BYTES {
            return self;
        }
        [&self.head[..], &self.tail].concat().into()
    }
}

impl From<Vec<u8>> for Image {
    fn from(head: Vec<u8>) -> Self {
        Bytes::from(head).into()
    }
}

impl From<Bytes> for Image {
    fn from(head: Bytes) -> Self {
        Self { head, tail: Bytes::new() }
    }
}

/// How a transport wraps the octets of one message.
///
/// An image is built in two steps, so that what follows a subscriber's own head is wrapped
/// once for all: first [`Framing::tail`], then [`Framing::head`] with the wrapped tail.
pub trait Framing: fmt::Debug + Sync {
    /// Which row of the image cache is this framing's, below [`FRAMINGS`]. Two framings
    /// share a row only if they wrap alike.
    fn row(&self) -> usize;

    /// Whether octets that are not UTF-8 can be carried.
    fn carries_binary(&self) -> bool;

    /// Wraps the shared end of a message. `is_text` is whether head and tail are UTF-8.
    fn tail(&self, tail: &Bytes, is_text: bool) -> Tail;

    /// As [`Framing::tail`], in steps, where all at once would keep others waiting.
    fn making(&self, _tail: &Bytes, _is_text: bool) -> Option<Box<dyn Making>> {
        None
    }

    /// Whether [`Framing::making`] is to be asked for an end of so many octets.
    fn takes_steps(&self, _octets: usize) -> bool {
        false
    }

    /// Wraps the beginning of a message that ends with that wrapped tail.
    fn head(&self, head: &[u8], tail: &Tail, is_text: bool) -> Bytes;

    /// Wraps a message that is nobody else's.
    fn whole(&self, octets: &[u8], is_text: bool) -> Image {
        let tail = self.tail(&Bytes::new(), is_text);
        Image { head: self.head(octets, &tail, is_text), tail: tail.octets }
    }
}

/// A wrapped end in the making.
pub trait Making: Send {
    /// Goes on, and takes from `budget` the octets it came through; gives what is made at last. It
    /// goes on where anything is left of the budget.
    fn advance(&mut self, budget: &mut usize) -> Option<Tail>;
}

/// The wrapped end of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tail {
    /// What goes to the socket.
    pub octets: Bytes,
    /// Whether the framing compressed it, as it does where that makes it shorter.
    pub is_compressed: bool,
}

impl From<Bytes> for Tail {
    fn from(octets: Bytes) -> Self {
        Self { octets, is_compressed: false }
    }
}

/// No framing at all: STOMP over TCP, and the scripts that test sessions.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

impl Framing for Plain {
    fn row(&self) -> usize {
        0
    }

    fn carries_binary(&self) -> bool {
        true
    }

    fn tail(&self, tail: &Bytes, _is_text: bool) -> Tail {
        tail.clone().into()
    }

    fn head(&self, head: &[u8], _tail: &Tail, _is_text: bool) -> Bytes {
        Bytes::copy_from_slice(head)
    }
}

/// How many framings there can be that do not compress.
pub const PLAIN_FRAMINGS: usize = 8;

/// How many framings there can be: each plain one may be compressed with one of two windows.
pub const FRAMINGS: usize = 3 * PLAIN_FRAMINGS;

/// How many dialects of the wire format there can be (the versions' escaping rules).
pub const DIALECTS: usize = 3;

/// The finished images of one message.
///
/// Wrapped tails have a fixed place each; whole images are kept for the first few
/// subscription names (nearly every browser subscribes as `sub-0`), and later names get a
/// head of their own in front of the shared tail. Reading takes no lock.
#[derive(Default)]
pub struct ImageCache {
    tails: OnceLock<Box<[OnceLock<Tails>; FRAMINGS]>>,
    making: Mutex<Vec<InTheMaking>>,
    whole: [OnceLock<Box<CachedImage>>; WHOLE_IMAGES],
    envelopes: [OnceLock<Box<CachedImage>>; ENVELOPES],
}

/// A framing's tails are there only once it is in use: most messages leave in one or two.
type Tails = Box<[OnceLock<Tail>; DIALECTS]>;

/// Of which row and dialect it will be the tail.
type InTheMaking = ((usize, usize), Box<dyn Making>);

struct CachedImage {
    row: usize,
    dialect: usize,
    subscription: Box<str>,
    image: Image,
}

impl ImageCache {
    /// The shared tail in that framing and dialect, built at the first call.
    pub fn tail(&self, row: usize, dialect: usize, build: impl FnOnce() -> Tail) -> &Tail {
        let tails = self.tails.get_or_init(Box::default);
        tails[row].get_or_init(Box::default)[dialect].get_or_init(build)
    }

    /// Goes on making the shared tail, as far as `budget` goes, or begins to where `begin` says that
    /// it takes steps; answers whether the way is clear for [`ImageCache::tail`].
    pub fn prepare(
        &self,
        row: usize,
        dialect: usize,
        budget: &mut usize,
        begin: impl FnOnce() -> Option<Box<dyn Making>>,
    ) -> bool {
        let is_there = || self.tails.get().and_then(|tails| tails[row].get()?[dialect].get()).is_some();
        if is_there() {
            return true;
        }
        if *budget == 0 {
            return false;
        }
        let mut making = match self.making.try_lock() {
            Ok(making) => making,
            // Another shard is at it.
            Err(TryLockError::WouldBlock) => return false,
            Err(TryLockError::Poisoned(_)) => return true,
        };
        let known = making.iter().position(|(of, _)| *of == (row, dialect));
        // It may have been done while the lock was taken.
        if known.is_none() && is_there() {
            return true;
        }
        let at = match known {
            Some(at) => at,
            None => {
                let Some(begun) = begin() else { return true };
                making.push(((row, dialect), begun));
                making.len() - 1
            }
        };
        while *budget > 0 {
            if let Some(tail) = making[at].1.advance(budget) {
                making.swap_remove(at);
                self.tail(row, dialect, || tail);
                return true;
            }
        }
        false
    }

    /// The whole image for a subscription of that name; built, and kept while there is room,
    /// at the first call.
    pub fn whole(&self, row: usize, dialect: usize, subscription: &str, build: impl FnOnce() -> Image) -> Image {
        cached(&self.whole, row, dialect, subscription, build)
    }

    /// The whole image in a protocol whose octets are the same for every subscriber. `dialect`
    /// is the protocol's own number for how it writes it, with no bound.
    pub fn envelope(&self, row: usize, dialect: usize, build: impl FnOnce() -> Image) -> Image {
        cached(&self.envelopes, row, dialect, "", build)
    }

    /// Takes from `budget` what it costs to make an envelope of so many octets, where it takes long
    /// and is not there; answers whether it is to be made in this turn.
    pub fn prepare_envelope(&self, framing: &dyn Framing, dialect: usize, octets: usize, budget: &mut usize) -> bool {
        let row = framing.row();
        let is_it = |cached: &CachedImage| cached.row == row && cached.dialect == dialect;
        if !framing.takes_steps(octets) || self.envelopes.iter().filter_map(OnceLock::get).any(|cached| is_it(cached)) {
            return true;
        }
        let is_in_budget = *budget > 0;
        *budget = budget.saturating_sub(octets);
        is_in_budget
    }
}

fn cached(
    slots: &[OnceLock<Box<CachedImage>>],
    row: usize,
    dialect: usize,
    subscription: &str,
    build: impl FnOnce() -> Image,
) -> Image {
    let mut build = Some(build);
    for slot in slots {
        let cached = slot.get_or_init(|| {
            let image = build.take().map_or_else(Image::default, |build| build().joined());
            Box::new(CachedImage { row, dialect, subscription: subscription.into(), image })
        });
        if cached.row == row && cached.dialect == dialect && *cached.subscription == *subscription {
            return cached.image.clone();
        }
    }
    build.map_or_else(Image::default, |build| build())
}

/// A write of two pieces costs about as much more than one of a single piece as a copy of so many
/// octets.
const JOINED_BYTES: usize = 4096;

/// Streams and channels over WebSocket, with compression and without, and over HTTP.
const ENVELOPES: usize = 6;

/// Enough for every framing and version in use at once under one subscription name.
const WHOLE_IMAGES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_built_once_per_framing_dialect_and_name() {
        let cache = ImageCache::default();
        let image = |text: &'static str| Image::from(Bytes::from_static(text.as_bytes()));
        assert_eq!(cache.whole(0, 0, "sub-0", || image("first")), image("first"));
        assert_eq!(cache.whole(0, 0, "sub-0", || image("again")), image("first"));
        assert_eq!(cache.whole(0, 1, "sub-0", || image("other")), image("other"));
        assert_eq!(cache.whole(1, 0, "sub-0", || image("row")), image("row"));
    }

    /// Becomes a tail after so many octets.
    struct Countdown(usize);

    impl Making for Countdown {
        fn advance(&mut self, budget: &mut usize) -> Option<Tail> {
            self.0 -= 1;
            *budget -= 1;
            (self.0 == 0).then(|| Bytes::from_static(b"made").into())
        }
    }

    #[test]
    fn a_tail_is_prepared_as_far_as_the_budget_goes_and_begun_once() {
        let cache = ImageCache::default();
        let begin = || Some(Box::new(Countdown(5)) as Box<dyn Making>);
        assert!(!cache.prepare(1, 0, &mut 3, begin));
        assert!(!cache.prepare(1, 0, &mut 0, || unreachable!()));
        let mut budget = 3;
        assert!(cache.prepare(1, 0, &mut budget, || unreachable!()));
        assert_eq!(budget, 1);
        assert_eq!(cache.tail(1, 0, || unreachable!()).octets, "made");
        assert!(cache.prepare(1, 0, &mut 0, || unreachable!()));
        // What takes no steps is nobody's work but the tail's.
        assert!(cache.prepare(1, 1, &mut 3, || None));
        assert_eq!(cache.tail(1, 1, || Bytes::from_static(b"at once").into()).octets, "at once");
    }

    /// Whatever it is, it takes long.
    #[derive(Debug)]
    struct Slow;

    impl Framing for Slow {
        fn row(&self) -> usize {
            1
        }

        fn carries_binary(&self) -> bool {
            true
        }

        fn takes_steps(&self, _octets: usize) -> bool {
            true
        }

        fn tail(&self, tail: &Bytes, _is_text: bool) -> Tail {
            tail.clone().into()
        }

        fn head(&self, head: &[u8], _tail: &Tail, _is_text: bool) -> Bytes {
            Bytes::copy_from_slice(head)
        }
    }

    #[test]
    fn envelopes_that_take_long_are_made_as_far_as_the_budget_goes() {
        let caches = [ImageCache::default(), ImageCache::default(), ImageCache::default()];
        let mut budget = 30;
        let may: Vec<bool> = caches.iter().map(|cache| cache.prepare_envelope(&Slow, 0, 20, &mut budget)).collect();
        assert_eq!(may, [true, true, false]);
        caches[0].envelope(1, 0, || Image::from(Bytes::from_static(b"made")));
        assert!(caches[0].prepare_envelope(&Slow, 0, 20, &mut 0));
        assert!(!caches[0].prepare_envelope(&Slow, 1, 20, &mut 0));
        assert!(caches[1].prepare_envelope(&Plain, 0, 20, &mut 0));
    }

    #[test]
    fn more_names_than_the_cache_holds_still_get_their_own_image() {
        let cache = ImageCache::default();
        for turn in 0..2 {
            for n in 0..WHOLE_IMAGES + 3 {
                let name = format!("sub-{n}");
                let image = cache.whole(0, 0, &name, || Image::from(Bytes::from(name.clone())));
                assert_eq!(image.head, name.as_bytes(), "turn {turn}");
            }
        }
    }
}
