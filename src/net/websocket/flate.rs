//! The compressors and the decompressor that all WebSockets of a shard take in turn.
//!
//! Nothing is remembered from one message to the next, so that none of them is anybody's own:
//! a compressor holds some 300 KB and a decompressor 40 KB, which no connection could keep.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Why a message cannot be decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InflateError {
    /// It is not what DEFLATE makes.
    Invalid,
    /// It becomes longer than allowed.
    TooLong,
}

/// Compresses a message as RFC 7692 section 7.2.1 says; `None` where that makes it no shorter.
pub(super) fn deflate(message: &[u8], level: u8, window_bits: u8) -> Option<Bytes> {
    let key = (level, window_bits);
    let known = COMPRESSORS.with_borrow_mut(|compressors| {
        let at = compressors.iter().position(|(of, _)| *of == key)?;
        Some(compressors.swap_remove(at).1)
    });
    let mut compressor =
        known.unwrap_or_else(|| Compress::new_with_window_bits(Compression::new(level.into()), false, window_bits));
    // A broken compressor costs what it would have saved, and not the connections.
    let compressed = catch_unwind(AssertUnwindSafe(|| compress(&mut compressor, message))).ok()??;
    // Reset with output that had no room yet, zlib-rs would put it before the next message's: only
    // one that has given all is used again.
    COMPRESSORS.with_borrow_mut(|compressors| compressors.push((key, compressor)));
    (compressed.len() < message.len()).then(|| compressed.into())
}

fn compress(compressor: &mut Compress, message: &[u8]) -> Option<Vec<u8>> {
    compressor.reset();
    let mut out = Vec::with_capacity(message.len() + message.len() / 4 + FIRST_BYTES);
    compressor.compress_vec(message, &mut out, FlushCompress::Sync).ok()?;
    let is_whole = compressor.total_in() == message.len() as u64 && out.len() < out.capacity();
    if !is_whole || !out.ends_with(&FLUSHED) {
        return None;
    }
    out.truncate(out.len() - FLUSHED.len());
    out.shrink_to_fit();
    Some(out)
}

/// Decompresses a message as RFC 7692 section 7.2.2 says, to at most `max` octets: of what
/// becomes longer, no more than that is ever held.
///
/// # Errors
/// It is broken, or too long.
pub(super) fn inflate(message: &[u8], max: usize) -> Result<Bytes, InflateError> {
    if message.is_empty() {
        return Ok(Bytes::new());
    }
    let known = DECOMPRESSOR.take();
    let mut decompressor = known.unwrap_or_else(|| Decompress::new(false));
    decompressor.reset(false);
    let first = message.len().saturating_mul(USUAL_RATIO).max(FIRST_BYTES);
    let mut out = Vec::with_capacity(first.min(max.saturating_add(1)));
    let mut has_ended = false;
    for input in [message, &FLUSHED, &FINAL] {
        has_ended = take(&mut decompressor, input, &mut out, max)?;
    }
    // Anything else was cut off in the middle of a block.
    if !has_ended {
        return Err(InflateError::Invalid);
    }
    DECOMPRESSOR.set(Some(decompressor));
    out.shrink_to_fit();
    Ok(out.into())
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

/// Gives all of `input` to the decompressor; answers whether that was the end of its stream.
fn take(decompressor: &mut Decompress, mut input: &[u8], out: &mut Vec<u8>, max: usize) -> Result<bool, InflateError> {
    loop {
        if out.len() == out.capacity() {
            out.reserve_exact(out.len().min(max - out.len()).max(1));
        }
        let (had, was_in) = (out.len(), decompressor.total_in());
        let status = decompressor.decompress_vec(input, out, FlushDecompress::Sync);
        let used = usize::try_from(decompressor.total_in() - was_in).unwrap_or(0);
        input = &input[used..];
        if out.len() > max {
            return Err(InflateError::TooLong);
        }
        match status.map_err(|_| InflateError::Invalid)? {
            // RFC 7692 section 7.2.3.4: a final block does not end the message.
            Status::StreamEnd => {
                decompressor.reset(false);
                if input.is_empty() {
                    return Ok(true);
                }
            }
            Status::Ok | Status::BufError if out.len() == out.capacity() => {}
            Status::Ok | Status::BufError if input.is_empty() => return Ok(false),
            Status::Ok | Status::BufError if used == 0 && out.len() == had => return Err(InflateError::Invalid),
            Status::Ok | Status::BufError => {}
        }
    }
}

/// RFC 7692 section 7.2.1: what ends each flush, and is not sent.
const FLUSHED: [u8; 4] = [0, 0, 0xff, 0xff];

/// A last block with nothing in it: taken as the end only where one may begin.
const FINAL: [u8; 2] = [3, 0];

const USUAL_RATIO: usize = 4;
const FIRST_BYTES: usize = 64;

thread_local! {
    static COMPRESSORS: RefCell<Vec<((u8, u8), Compress)>> = const { RefCell::new(Vec::new()) };
    static DECOMPRESSOR: Cell<Option<Decompress>> = const { Cell::new(None) };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            let octets = deflate(&vec![b'a'; size], 6, 15).unwrap();
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
    fn what_would_become_no_shorter_is_not_compressed() {
        let mut noise = vec![0; 5000];
        getrandom::fill(&mut noise).unwrap();
        assert_eq!(deflate(&noise, 9, 15), None);
        assert_eq!(deflate(b"", 9, 15), None);
    }

    #[test]
    fn noise_leaves_nothing_in_the_compressor_for_the_next_message() {
        let mut noise = vec![0; 40_000];
        getrandom::fill(&mut noise).unwrap();
        for turn in 0..400 {
            let size = turn * 100;
            assert_eq!(deflate(&noise[..size], 6, 15), None);
            let text = "text ".repeat(turn + 20);
            let octets = deflate(text.as_bytes(), 6, 15).unwrap();
            assert_eq!(inflate(&octets, text.len()), Ok(Bytes::from(text)));
        }
        COMPRESSORS.with_borrow(|compressors| assert_eq!(compressors.len(), 1));
    }

    #[test]
    fn a_small_window_is_kept_to() {
        let mut message = vec![0; 600];
        getrandom::fill(&mut message).unwrap();
        message.extend(message.clone());
        assert!(deflate(&message, 9, 15).is_some_and(|octets| octets.len() < 700));
        // its repetition is farther away than 512 octets
        assert_eq!(deflate(&message, 9, 9), None);
    }

    proptest! {
        #[test]
        fn what_is_compressed_reads_the_same(text in "[a-c]{0,3000}", level in 1_u8..=9, window_bits in 9_u8..=15) {
            if let Some(octets) = deflate(text.as_bytes(), level, window_bits) {
                prop_assert_eq!(inflate(&octets, text.len()), Ok(Bytes::from(text)));
            }
        }

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
