//! The compressors that all WebSockets of a shard take in turn.
//!
//! Nothing is remembered from one message to the next, so that none of them is anybody's own:
//! a compressor holds some 300 KB, which no connection could keep. libdeflate finds more than
//! zlib does in the same time, but takes no piece of a message after another and refers back as
//! far as it likes: a long message is cut into pieces that know nothing of each other, and for a
//! small window there is zlib.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::LocalKey;

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};
use libdeflater::{CompressionLvl, Compressor};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{BlockBoundaryState, DecompressorOxide, decompress};

/// A message on its way, compressed as RFC 7692 section 7.2.1 says, a piece at a time.
pub(super) struct Deflating {
    message: Bytes,
    used: usize,
    piece_bytes: usize,
    level: u8,
    window_bits: u8,
    out: Vec<u8>,
}

impl Deflating {
    pub(super) fn new(message: Bytes, level: u8, window_bits: u8) -> Self {
        let pieces = message.len().div_ceil(PIECE_BYTES).max(1);
        let piece_bytes = message.len().div_ceil(pieces);
        Self { message, used: 0, piece_bytes, level, window_bits, out: Vec::new() }
    }

    /// Compresses the next piece, and takes it from `budget`. At the end it gives the message, or
    /// `None` where that became no shorter.
    pub(super) fn step(&mut self, budget: &mut usize) -> Step {
        let end = self.message.len().min(self.used + self.piece_bytes);
        let piece = &self.message[self.used..end];
        *budget = budget.saturating_sub(piece.len().max(1));
        // A broken compressor costs what it would have saved, and not the connections.
        let compress = || compress(piece, self.level, self.window_bits, &mut self.out);
        let is_well = !piece.is_empty() && catch_unwind(AssertUnwindSafe(compress)).ok().flatten().is_some();
        self.used = end;
        // What begins with noise is taken for noise.
        if !is_well || self.out.len() - FLUSHED.len() >= self.used {
            return Step::Done(None);
        }
        if self.used < self.message.len() {
            return Step::More;
        }
        self.out.truncate(self.out.len() - FLUSHED.len());
        self.out.shrink_to_fit();
        Step::Done(Some(std::mem::take(&mut self.out).into()))
    }
}

/// What a step came to.
pub(super) enum Step {
    More,
    Done(Option<Bytes>),
}

/// Compresses a message at once; `None` where that makes it no shorter.
pub(super) fn deflate(message: &Bytes, level: u8, window_bits: u8) -> Option<Bytes> {
    let mut deflating = Deflating::new(message.clone(), level, window_bits);
    loop {
        if let Step::Done(compressed) = deflating.step(&mut 0) {
            return compressed;
        }
    }
}

/// Appends a piece, and what ends a flush.
fn compress(piece: &[u8], level: u8, window_bits: u8, out: &mut Vec<u8>) -> Option<()> {
    if window_bits == FULL_WINDOW_BITS {
        compress_in_full_window(piece, level, out)
    } else {
        compress_in_small_window(piece, level, window_bits, out)
    }
}

fn compress_in_full_window(piece: &[u8], level: u8, out: &mut Vec<u8>) -> Option<()> {
    let mut compressor =
        taken(&COMPRESSOR, level).or_else(|| Some(Compressor::new(CompressionLvl::new(level.into()).ok()?)))?;
    let begin = out.len();
    out.resize(begin + compressor.deflate_compress_bound(piece.len()), 0);
    let size = compressor.deflate_compress(piece, &mut out[begin..]).ok()?;
    COMPRESSOR.set(Some((level, compressor)));
    out.truncate(begin + size);
    let spare_bits = leave_open(&mut out[begin..], piece)?;
    // RFC 1951 section 3.2.4: three bits of zeros begin an empty stored block.
    if spare_bits < 3 {
        out.push(0);
    }
    out.extend(FLUSHED);
    Some(())
}

/// Makes the last block of a DEFLATE stream one that more may follow; answers how many bits of
/// its last octet are left. RFC 7692 section 7.2.3.4 would let a last block stand, and clients
/// there are that refuse it. Blocks begin anywhere, and only who reads them knows where: what they
/// say is held against what they are to say.
fn leave_open(stream: &mut [u8], expected: &[u8]) -> Option<u8> {
    let flags = TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let mut read = vec![0; expected.len()];
    let (mut read_bytes, mut used) = (0, 0);
    let mut block = BlockBoundaryState::default();
    loop {
        // RFC 1951 section 3.2.3: the first bit of a block says whether it is the last.
        let at = if block.num_bits == 0 { used } else { used - 1 };
        let first_bit = 1 << ((8 - block.num_bits) % 8);
        let is_last = stream.get(at)? & first_bit != 0;
        stream[at] &= !first_bit;
        block.bit_buf = if block.num_bits == 0 { 0 } else { stream[at] >> (8 - block.num_bits) };
        let mut reader = DecompressorOxide::from_block_boundary_state(&block);
        let (status, octets_in, octets_out) = decompress(&mut reader, &stream[used..], &mut read, read_bytes, flags);
        if status != TINFLStatus::BlockBoundary {
            return None;
        }
        (used, read_bytes) = (used + octets_in, read_bytes + octets_out);
        block = reader.block_boundary_state()?;
        if is_last {
            return (used == stream.len() && read == expected).then_some(block.num_bits);
        }
    }
}

fn compress_in_small_window(piece: &[u8], level: u8, window_bits: u8, out: &mut Vec<u8>) -> Option<()> {
    let mut compressor = taken(&SMALL_COMPRESSOR, (level, window_bits))
        .unwrap_or_else(|| Compress::new_with_window_bits(Compression::new(level.into()), false, window_bits));
    compressor.reset();
    out.reserve(piece.len() + piece.len() / 4 + FIRST_BYTES);
    compressor.compress_vec(piece, out, FlushCompress::Sync).ok()?;
    let is_whole = compressor.total_in() == piece.len() as u64 && out.len() < out.capacity();
    if !is_whole || !out.ends_with(&FLUSHED) {
        return None;
    }
    // Reset with output that had no room yet, zlib-rs would put it before the next piece's: only
    // one that has given all is used again.
    SMALL_COMPRESSOR.set(Some(((level, window_bits), compressor)));
    Some(())
}

fn taken<K: PartialEq, C>(kept: &'static LocalKey<Cell<Option<(K, C)>>>, key: K) -> Option<C> {
    kept.take().filter(|(of, _)| *of == key).map(|(_, compressor)| compressor)
}

/// What is compressed at once: it takes less than a millisecond up to level 7, and a larger piece
/// would become little shorter.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// 32 KiB, as far as DEFLATE refers back.
const FULL_WINDOW_BITS: u8 = 15;

/// RFC 7692 section 7.2.1: what ends each flush, and is not sent.
const FLUSHED: [u8; 4] = [0, 0, 0xff, 0xff];

const FIRST_BYTES: usize = 64;

thread_local! {
    // One each: a server has one level, and one small window.
    static COMPRESSOR: Cell<Option<(u8, Compressor)>> = const { Cell::new(None) };
    static SMALL_COMPRESSOR: Cell<Option<((u8, u8), Compress)>> = const { Cell::new(None) };
}

/// As [`deflate`], of octets that are only lent.
#[cfg(test)]
pub(super) fn deflated(message: &[u8], level: u8, window_bits: u8) -> Option<Bytes> {
    deflate(&Bytes::copy_from_slice(message), level, window_bits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::inflating::inflate;
    use super::*;

    #[test]
    fn what_would_become_no_shorter_is_not_compressed() {
        for (size, window_bits) in [(5000, 15), (200_000, 15), (5000, 9), (200_000, 9)] {
            assert_eq!(deflated(&noise(size), 9, window_bits), None, "{size}");
        }
        assert_eq!(deflated(b"", 9, 15), None);
    }

    #[test]
    fn noise_leaves_nothing_in_the_compressor_for_the_next_message() {
        let noise = noise(40_000);
        for window_bits in [9, 15] {
            for turn in 0..100 {
                let size = turn * 400;
                assert_eq!(deflated(&noise[..size], 6, window_bits), None);
                let text = "text ".repeat(turn + 20);
                let octets = deflated(text.as_bytes(), 6, window_bits).unwrap();
                assert_eq!(inflate(&octets, text.len()), Ok(Bytes::from(text)));
            }
        }
    }

    #[test]
    fn a_small_window_is_kept_to() {
        let noise = noise(600);
        let message = [&noise[..], &noise].concat();
        assert!(deflated(&message, 9, 15).is_some_and(|octets| octets.len() < 700));
        // its repetition is farther away than 512 octets
        assert_eq!(deflated(&message, 9, 9), None);
    }

    #[test]
    fn a_message_of_any_number_of_pieces_reads_the_same() {
        for size in [PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES + 3] {
            let message: Vec<u8> = (0..).flat_map(|n: u32| format!("{n},").into_bytes()).take(size).collect();
            for window_bits in [9, 15] {
                let octets = deflated(&message, 6, window_bits).unwrap();
                assert_eq!(inflate(&octets, size), Ok(Bytes::from(message.clone())), "{size}");
            }
        }
    }

    #[test]
    fn no_block_says_that_it_is_the_last() {
        // One block, and many: text and noise by turns are compressed each by its own code.
        let many: Vec<u8> = (0..6).flat_map(|_| [b"text, and more text ".repeat(400), noise(8000)].concat()).collect();
        for message in [&b"text".repeat(100), &many] {
            let mut reader = flate2::Decompress::new(false);
            let mut read = Vec::with_capacity(message.len() + 1);
            let octets = [&deflated(message, 6, 15).unwrap()[..], &FLUSHED].concat();
            let status = reader.decompress_vec(&octets, &mut read, flate2::FlushDecompress::Sync).unwrap();
            // A last block would have been StreamEnd.
            assert_eq!((status, &read), (flate2::Status::Ok, message));
            assert_eq!(reader.total_in(), octets.len() as u64);
        }
    }

    proptest! {
        #[test]
        fn what_is_compressed_reads_the_same(text in "[a-c]{0,3000}", level in 1_u8..=9, window_bits in 9_u8..=15) {
            if let Some(octets) = deflated(text.as_bytes(), level, window_bits) {
                prop_assert_eq!(inflate(&octets, text.len()), Ok(Bytes::from(text)));
            }
        }

        #[test]
        fn a_stream_that_does_not_say_what_it_should_is_not_taken(mut octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(leave_open(&mut octets, b"something else"), None);
        }
    }

    fn noise(size: usize) -> Vec<u8> {
        let mut noise = vec![0; size];
        getrandom::fill(&mut noise).unwrap();
        noise
    }
}
