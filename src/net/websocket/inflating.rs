//! The decompressor that all WebSockets of a shard take in turn.
//!
//! Nothing is remembered from one message to the next, so that it is nobody's own: it holds
//! 40 KB, which no connection could keep.

use std::cell::Cell;

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};

/// Why a message cannot be decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InflateError {
    /// It is not what DEFLATE makes.
    Invalid,
    /// It becomes longer than allowed.
    TooLong,
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
    static DECOMPRESSOR: Cell<Option<Decompress>> = const { Cell::new(None) };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::compressing::deflate;
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
