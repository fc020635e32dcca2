//! Octets in several pieces that go out as one.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// What one response gets at once: pieces of shared memory, written without joining them.
///
/// As a [`Buf`] it is one piece of an HTTP body, so a chunked response carries it in one chunk.
#[derive(Debug, Clone, Default)]
pub struct Octets {
    pieces: VecDeque<Bytes>,
    len: usize,
}

impl Octets {
    /// Adds a piece at the end; an empty one is nothing.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// The same as one chunk of HTTP's chunked coding; of nothing: nothing.
    // RFC 9112 section 7.1: a chunk of no octets would end the body.
    pub fn into_chunk(mut self) -> Self {
        if self.is_empty() {
            return self;
        }
        let head = format!("{:x}\r\n", self.len);
        self.len += head.len();
        self.pieces.push_front(head.into());
        self.push(Bytes::from_static(b"\r\n"));
        self
    }

    /// How many octets are left.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none are left.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Buf for Octets {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn advance(&mut self, mut count: usize) {
        count = count.min(self.len);
        self.len -= count;
        while let Some(front) = self.pieces.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.pieces.pop_front();
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.pieces);
        filled.map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }
}

impl FromIterator<Bytes> for Octets {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let mut octets = Self::default();
        pieces.into_iter().for_each(|piece| octets.push(piece));
        octets
    }
}

impl From<Bytes> for Octets {
    fn from(piece: Bytes) -> Self {
        Self::from_iter([piece])
    }
}

/// Equal octets are equal, however they are cut into pieces.
impl PartialEq for Octets {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.pieces.iter().flatten().eq(other.pieces.iter().flatten())
    }
}

impl Eq for Octets {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_consumed_across_their_borders() {
        let mut octets: Octets = ["ab", "", "cde", "f"].into_iter().map(Bytes::from).collect();
        assert_eq!((octets.len(), octets.chunk()), (6, &b"ab"[..]));
        octets.advance(3);
        assert_eq!((octets.remaining(), octets.chunk()), (3, &b"de"[..]));
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(octets.chunks_vectored(&mut slices), 2);
        assert_eq!(octets.copy_to_bytes(3), "def");
        assert!(octets.is_empty() && octets.chunk().is_empty());
    }

    #[test]
    fn a_chunk_says_its_length_and_nothing_makes_no_chunk() {
        let chunk = |text: String| {
            let mut octets = Octets::from(Bytes::from(text)).into_chunk();
            octets.copy_to_bytes(octets.len())
        };
        assert_eq!(chunk("abc".into()), "3\r\nabc\r\n");
        assert_eq!(chunk("x".repeat(255)), format!("ff\r\n{}\r\n", "x".repeat(255)));
        assert_eq!(chunk(String::new()), "");
    }

    #[test]
    fn the_cut_does_not_count() {
        let cut: Octets = ["a", "bc"].into_iter().map(Bytes::from).collect();
        assert_eq!(cut, Octets::from(Bytes::from("abc")));
        assert_ne!(cut, Octets::from(Bytes::from("abd")));
    }
}
