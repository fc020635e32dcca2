use proptest::prelude::*;

use super::*;
use crate::stomp::encode::encode;

#[test]
fn a_body_that_is_most_of_one_piece_is_a_slice_of_it() {
    for head in ["SEND\n\n", "SEND\ncontent-length:100\n\n"] {
        let piece = Bytes::from([head.as_bytes(), &[b'x'; 100], b"\0\n\n"].concat());
        let mut decoder = decoder(Version::V1_2);
        decoder.push(piece.clone());
        let body = decoder.next().unwrap().unwrap().body;
        assert_eq!((body.as_ptr(), body.len()), (piece[head.len()..].as_ptr(), 100));
    }
}

#[test]
fn a_small_body_keeps_nothing_of_a_large_piece_in_memory() {
    for head in ["SEND\n\n", "SEND\ncontent-length:100\n\n"] {
        let piece = Bytes::from([head.as_bytes(), &[b'x'; 100], b"\0", &[b'\n'; 200]].concat());
        let mut decoder = decoder(Version::V1_2);
        for _ in 0..2 {
            decoder.push(piece.clone());
            let frame = decoder.next().unwrap().unwrap();
            assert_eq!(frame.body, [b'x'; 100][..]);
            assert_eq!(decoder.next(), Ok(None));
            assert!(piece.is_unique());
        }
    }
}

#[test]
fn an_idle_decoder_holds_no_memory_of_what_passed() {
    let piece = Bytes::from(b"SEND\n\nhello\0\n".to_vec());
    let mut decoder = decoder(Version::V1_2);
    decoder.push(piece.clone());
    while decoder.next().unwrap().is_some() {}
    assert!(piece.is_unique());
    assert_eq!(decoder.waiting_bytes(), 0);
}

#[test]
fn after_an_error_nothing_comes_any_more() {
    let mut decoder = decoder(Version::V1_2);
    decoder.push(Bytes::from_static(b"what\n\n\0SEND\n\n\0"));
    assert_eq!(decoder.next(), Err(DecodeError::UnknownCommand { command: "what".into() }));
    decoder.push(Bytes::from_static(b"SEND\n\n\0"));
    assert_eq!(decoder.next(), Ok(None));
}

#[test]
fn the_version_holds_from_where_it_was_set() {
    let mut decoder = Decoder::new(&LIMITS);
    decoder.push(Bytes::from_static(b"CONNECT\r\npasscode:a\\cb\r\n\r\n\0SEND\nfoo:a\\cb\n\n\0"));
    assert_eq!(decoder.next().unwrap().unwrap().header("passcode"), Some("a\\cb"));
    decoder.set_version(Version::V1_1);
    assert_eq!(decoder.next().unwrap().unwrap().header("foo"), Some("a:b"));
}

#[test]
fn memory_for_a_promised_body_is_not_taken_before_its_first_octet() {
    let mut decoder = decoder(Version::V1_2);
    decoder.push(Bytes::from_static(b"SEND\ncontent-length:1000\n\n"));
    assert_eq!(decoder.next(), Ok(None));
    let State::Body(body) = &decoder.state else { panic!("{decoder:?}") };
    assert_eq!(body.earlier.capacity(), 0);
}

#[test]
fn a_long_quote_is_clipped() {
    let mut decoder = decoder(Version::V1_2);
    decoder.push(Bytes::from(format!("SEND\n{}\n\n\0", "é".repeat(100))));
    assert_eq!(decoder.next(), Err(DecodeError::NotAHeader { line: format!("{}…", "é".repeat(64)).into() }));
}

proptest! {
    #[test]
    fn a_frame_that_is_encoded_decodes_to_itself(frame in frame(), version in version()) {
        let mut decoder = decoder(version);
        decoder.push(Bytes::from(encode(&frame, Some(version))));
        prop_assert_eq!(decoder.next(), Ok(Some(frame)));
        prop_assert_eq!(decoder.next(), Ok(None));
    }

    #[test]
    fn cut_anywhere_is_the_same_as_whole(
        frames in prop::collection::vec(frame(), 1..4),
        version in version(),
        noise in prop::option::of((0.0..1.0f64, any::<u8>())),
        cuts in prop::collection::vec(0.0..1.0f64, 0..12),
    ) {
        let mut octets: Vec<u8> = frames.iter().flat_map(|frame| encode(frame, Some(version))).collect();
        if let Some((at, octet)) = noise {
            let at = position(at, octets.len() - 1);
            octets[at] = octet;
        }
        prop_assert_eq!(cut(&octets, &cuts, version), cut(&octets, &[], version));
    }

    #[test]
    fn garbage_never_panics(
        octets in prop::collection::vec(prop::sample::select(&b"SENDACK\n\n\r\0\0:\\ncx1\xff"[..]), 0..200),
        cuts in prop::collection::vec(0.0..1.0f64, 0..12),
        version in version(),
    ) {
        prop_assert_eq!(cut(&octets, &cuts, version), cut(&octets, &[], version));
    }

    #[test]
    fn a_limit_holds_at_it_and_not_past_it(n in 12..200usize) {
        let fails = |limits: Limits, octets: String| {
            let mut decoder = Decoder::new(&limits);
            decoder.set_version(Version::V1_2);
            decoder.push(Bytes::from(octets));
            decoder.next().is_err()
        };
        let body = |size: usize| format!("SEND\n\n{}\0", "x".repeat(size));
        let counted = |size: usize| format!("SEND\ncontent-length:{size}\n\n{}\0", "x".repeat(size));
        let line = |size: usize| format!("SEND\na:{}\n\n\0", "x".repeat(size - 2));
        let head = |size: usize| format!("SEND\na:{}\n\n\0", "x".repeat(size - 8));
        let count = |size: usize| format!("SEND\n{}\n\0", "a:b\n".repeat(size));
        for (limits, octets) in [
            (Limits { body_bytes: n, ..LIMITS }, &body as &dyn Fn(usize) -> String),
            (Limits { body_bytes: n, ..LIMITS }, &counted),
            (Limits { header_line_bytes: n, ..LIMITS }, &line),
            (Limits { head_bytes: n, ..LIMITS }, &head),
            (Limits { headers: n, ..LIMITS }, &count),
        ] {
            prop_assert!(!fails(limits.clone(), octets(n)), "at {}: {:?}", n, octets(n));
            prop_assert!(fails(limits, octets(n + 1)), "past {}: {:?}", n, octets(n + 1));
        }
    }
}

fn decoder(version: Version) -> Decoder {
    let mut decoder = Decoder::new(&LIMITS);
    decoder.set_version(version);
    decoder
}

fn cut(octets: &[u8], cuts: &[f64], version: Version) -> (Vec<Frame>, Option<DecodeError>) {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| position(*cut, octets.len())).collect();
    ends.push(octets.len());
    ends.sort_unstable();
    let mut decoder = decoder(version);
    let (mut frames, mut from) = (Vec::new(), 0);
    for end in ends {
        decoder.push(Bytes::copy_from_slice(&octets[from..end]));
        from = end;
        loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a test's index"
)]
fn position(part: f64, len: usize) -> usize {
    (part * len as f64) as usize
}

fn version() -> impl Strategy<Value = Version> {
    prop::sample::select(&Version::ALL[..])
}

/// Frames that every version can write: without line ends, and with nothing to trim.
fn frame() -> impl Strategy<Value = Frame> {
    let headers =
        prop::collection::btree_map("[a-zA-Z\\\\é-]{1,6}", "([a-z:\\\\é€]([a-z :\\\\é€]{0,6}[a-z:\\\\])?)?", 0..5);
    (headers, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(headers, body)| {
        let mut frame = headers.iter().fold(Frame::new(Command::Send), |frame, (name, value)| frame.with(name, value));
        frame = frame.with("content-length", &body.len().to_string());
        frame.with_body(body)
    })
}

const LIMITS: Limits = Limits {
    command_bytes: 32,
    headers: 300,
    header_line_bytes: 300,
    head_bytes: 2000,
    body_bytes: 1000,
    unconnected_frame_bytes: 2000,
    subscriptions: 0,
    unacked: 0,
    transactions: 0,
    transaction_actions: 0,
    transaction_bytes: 0,
    open_tickets: 0,
};
