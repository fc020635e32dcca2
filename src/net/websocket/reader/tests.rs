use std::future::poll_fn;

use super::super::compressing::deflated;
use super::*;
use proptest::prelude::*;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

#[test]
fn a_message_arrives_whole_in_any_cut() {
    let mut octets = frame(TEXT, "grüße".as_bytes());
    octets.extend(frame(BINARY, &[0xff; 300]));
    octets.extend(frame(0x89, b"ping"));
    let expected = [
        Event::Text(Bytes::from("grüße")),
        Event::Binary(Bytes::from(vec![0xff; 300])),
        Event::Ping(Bytes::from("ping")),
    ];
    assert_eq!(read(&octets, octets.len()), Ok(expected.to_vec()));
    assert_eq!(read(&octets, 1), Ok(expected.to_vec()));
}

#[test]
fn fragments_are_joined_and_control_frames_may_come_between() {
    let mut octets = frame(0x01, b"a");
    octets.extend(frame(0x89, b"p"));
    octets.extend(frame(0x00, b"b"));
    octets.extend(frame(0x80, b"c"));
    let expected = [Event::Ping(Bytes::from("p")), Event::Text(Bytes::from("abc"))];
    assert_eq!(read(&octets, octets.len()), Ok(expected.to_vec()));
}

#[test]
fn what_the_protocol_forbids_is_refused() {
    let unmasked = [TEXT, 1, b'a'];
    let cases: [(&str, Vec<u8>); 11] = [
        ("unmasked", unmasked.to_vec()),
        ("reserved bit", frame(TEXT | 0x40, b"a")),
        ("reserved data opcode", frame(0x83, b"a")),
        ("reserved control opcode", frame(0x8b, b"a")),
        ("fragmented ping", frame(0x09, b"a")),
        ("ping of 126", frame(0x89, &[0; 126])),
        ("continuation of nothing", frame(0x80, b"a")),
        ("text within a message", [frame(0x01, b"a"), frame(TEXT, b"b")].concat()),
        ("close of one octet", frame(0x88, &[3])),
        ("close code 1005", frame(0x88, &1005_u16.to_be_bytes())),
        ("close code 2999", frame(0x88, &2999_u16.to_be_bytes())),
    ];
    for (name, octets) in cases {
        let code = read(&octets, octets.len()).map_err(|violation| violation.close_code());
        assert_eq!(code, Err(1002), "{name}");
    }
}

#[test]
fn frames_that_end_no_message_are_counted() {
    let octets = [frame(0x01, b"a"), frame(0x00, b""), frame(0x8a, b""), frame(0x80, b"b"), frame(TEXT, b"")];
    let mut octets = octets.concat();
    assert_eq!(Reader::new(100).feed(&mut octets, &mut VecDeque::new()), Ok(3));
}

#[test]
fn frames_that_end_no_message_are_counted_behind_a_large_one_too() {
    let pongs = frame(0x8a, b"").repeat(100);
    let mut octets = [compressed(&[b'a'; TURN_BYTES]), pongs.clone()].concat();
    let mut reader = Reader::new(TURN_BYTES).inflating();
    let mut events = VecDeque::new();
    assert_eq!(reader.feed(&mut octets, &mut events), Ok(0));
    assert!(reader.is_behind());
    assert_eq!(reader.resume(&mut events), Ok((pongs.len(), 100)));
}

#[test]
fn a_ping_of_125_octets_is_taken() {
    assert_eq!(read(&frame(0x89, &[7; 125]), 9), Ok(vec![Event::Ping(Bytes::from(vec![7; 125]))]));
}

#[test]
fn text_that_is_not_utf8_is_refused_as_soon_as_the_wrong_octet_is_there() {
    assert_eq!(read(&frame(TEXT, &[0xc3]), 100), Err(Violation::NotUtf8));
    let mut reader = Reader::new(100);
    let mut events = VecDeque::new();
    let mut octets = frame(0x01, &[b'a', 0xf4, 0x90]);
    assert_eq!(reader.feed(&mut octets, &mut events), Err(Violation::NotUtf8));
    assert_eq!(read(&[frame(0x01, &[0xc3]), frame(0x80, &[0xbc])].concat(), 100), Ok(vec![Event::Text("ü".into())]));
}

#[test]
fn a_message_of_the_limit_is_taken_and_one_octet_more_is_not() {
    assert!(read(&frame(BINARY, &[0; 1000]), 100).is_ok());
    assert_eq!(read(&frame(BINARY, &[0; 1001]), 100), Err(Violation::TooLong { size: 1001, max: 1000 }));
    let fragments = [frame(0x02, &[0; 600]), frame(0x80, &[0; 401])].concat();
    assert_eq!(read(&fragments, 100), Err(Violation::TooLong { size: 1001, max: 1000 }));
}

#[test]
fn a_reader_between_messages_holds_no_memory() {
    let mut reader = Reader::new(100_000);
    let mut events = VecDeque::new();
    let mut octets = frame(BINARY, &[0; 50_000]);
    for piece in octets.chunks_mut(1000) {
        reader.feed(piece, &mut events).unwrap();
    }
    assert_eq!(events.len(), 1);
    assert_eq!((reader.message.capacity(), reader.control.capacity()), (0, 0));
}

#[test]
fn a_length_that_was_only_announced_takes_little_memory() {
    let mut reader = Reader::new(usize::MAX);
    let mut head = vec![BINARY, 0x80 | 127];
    head.extend((1_u64 << 40).to_be_bytes());
    head.extend([1, 2, 3, 4, 5]);
    reader.feed(&mut head, &mut VecDeque::new()).unwrap();
    assert!(reader.message.capacity() <= 2 * ANNOUNCED_BYTES);
}

/// "Hello", as RFC 7692 section 7.2.3.1 has it.
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

// RFC 7692 section 7.2.3.1
#[test]
fn a_compressed_message_arrives_whole_in_one_frame_or_in_fragments() {
    let whole = frame(0xc1, &HELLO);
    let fragments = [frame(0x41, &HELLO[..3]), frame(0x89, b"p"), frame(0x80, &HELLO[3..])].concat();
    let (hello, ping) = (Event::Text(Bytes::from("Hello")), Event::Ping(Bytes::from("p")));
    for cut in [1, 2, 100] {
        assert_eq!(inflate(&whole, cut), Ok(vec![hello.clone()]));
        assert_eq!(inflate(&fragments, cut), Ok(vec![ping.clone(), hello.clone()]));
    }
    let plain_and_compressed = [frame(TEXT, b"plain"), whole, frame(TEXT, b"plain")].concat();
    let plain = Event::Text(Bytes::from("plain"));
    assert_eq!(inflate(&plain_and_compressed, 100), Ok(vec![plain.clone(), hello, plain]));
}

#[test]
fn a_compressed_message_without_octets_is_empty() {
    assert_eq!(inflate(&frame(0xc1, b""), 100), Ok(vec![Event::Text(Bytes::new())]));
    assert_eq!(inflate(&[frame(0x42, b""), frame(0x80, b"")].concat(), 100), Ok(vec![Event::Binary(Bytes::new())]));
}

// RFC 7692 section 6.1
#[test]
fn only_the_first_frame_of_a_message_may_say_that_it_is_compressed() {
    for octets in [[frame(0x41, &HELLO), frame(0xc0, &[])].concat(), frame(0xc9, b"p"), frame(0xc8, &[])] {
        assert_eq!(inflate(&octets, 100).unwrap_err().close_code(), 1002);
    }
    assert_eq!(read(&frame(0xc1, &HELLO), 100).unwrap_err().close_code(), 1002);
    assert_eq!(inflate(&frame(0xa1, &HELLO), 100).unwrap_err().close_code(), 1002);
}

#[test]
fn compressed_text_must_be_utf8_and_compressed_by_deflate() {
    // "\xff" stored
    let stored = [0x00, 0x01, 0x00, 0xfe, 0xff, 0xff, 0x00];
    assert_eq!(inflate(&frame(0xc1, &stored), 100), Err(Violation::NotUtf8));
    assert_eq!(inflate(&[frame(0x41, &stored[..2]), frame(0x80, &stored[2..])].concat(), 100), Err(Violation::NotUtf8));
    assert_eq!(inflate(&frame(0xc2, &stored), 100), Ok(vec![Event::Binary(Bytes::from_static(b"\xff"))]));
    assert_eq!(inflate(&frame(0xc1, &[0xff; 9]), 100).unwrap_err().close_code(), 1007);
}

#[test]
fn a_message_over_the_limit_when_decompressed_is_refused_without_being_held() {
    for (size, is_taken) in [(1000, true), (1001, false), (1 << 24, false)] {
        let bomb = deflated(&vec![b'a'; size], 9, 15).unwrap();
        let read = inflate(&frame(0xc1, &bomb[..bomb.len().min(0xffff)]), 100);
        assert_eq!(read.is_ok(), is_taken, "{size}");
        assert!(is_taken || read.unwrap_err().close_code() == 1009);
    }
    let mut reader = Reader::new(1000).inflating();
    let mut head = vec![0xc1, 0x80 | 126, 0x10, 0x00, 0, 0, 0, 0];
    assert_eq!(reader.feed(&mut head, &mut VecDeque::new()).unwrap_err().close_code(), 1009);
}

#[test]
fn a_message_that_takes_long_is_read_in_turns_and_what_came_after_it_follows() {
    let size = 5 * TURN_BYTES;
    let text = "grüße ".repeat(size / 8);
    let octets = [compressed(text.as_bytes()), frame(TEXT, b"after"), frame(0x88, b"")].concat();
    let expected = [Event::Text(text.into()), Event::Text("after".into()), Event::Close(None)];
    let mut reader = Reader::new(size).inflating();
    let mut events = VecDeque::new();
    reader.feed(&mut octets.clone(), &mut events).unwrap();
    let mut turns = 0;
    while reader.is_behind() {
        assert!(events.is_empty());
        turns += 1;
        reader.resume(&mut events).unwrap();
    }
    assert!(turns >= 3, "{turns}");
    assert_eq!(events, expected);
    assert_eq!(read_by(Reader::new(size).inflating(), &octets, 100), Ok(expected.to_vec()));
}

#[test]
fn many_messages_in_one_read_are_read_in_turns() {
    let text = "a".repeat(READ_BYTES / 2);
    let octets = compressed(text.as_bytes()).repeat(30);
    let mut reader = Reader::new(TURN_BYTES).inflating();
    let mut events = VecDeque::new();
    reader.feed(&mut octets.clone(), &mut events).unwrap();
    let mut turns = 1;
    while reader.is_behind() {
        assert!(events.len() <= 4 * turns, "{} events after {turns} turns", events.len());
        reader.resume(&mut events).unwrap();
        turns += 1;
    }
    assert_eq!(Vec::from(events), vec![Event::Text(text.into()); 30]);
}

#[tokio::test]
async fn who_waits_for_the_permit_holds_no_more_than_it_was_sent() {
    let text = "a".repeat(5 * TURN_BYTES);
    let octets = compressed(text.as_bytes());
    let mut events = VecDeque::new();
    let mut readers = [(); 2].map(|()| Reader::new(text.len()).inflating());
    for reader in &mut readers {
        reader.feed(&mut octets.clone(), &mut events).unwrap();
        reader.ask();
    }
    let has_begun = |reader: &Reader| reader.behind.as_ref().is_some_and(|behind| behind.begun.is_some());
    assert!(has_begun(&readers[0]) && !has_begun(&readers[1]));
    for mut reader in readers {
        while reader.is_behind() {
            poll_fn(|cx| reader.poll_turn(cx)).await;
            reader.resume(&mut events).unwrap();
        }
        assert_eq!(events.pop_front(), Some(Event::Text(text.clone().into())));
    }
}

#[test]
fn of_a_message_that_becomes_too_long_nothing_more_is_read() {
    let octets = [compressed(&vec![b'a'; 1 << 20]), frame(TEXT, b"after")].concat();
    let mut reader = Reader::new(TURN_BYTES + 1).inflating();
    let mut events = VecDeque::new();
    reader.feed(&mut octets.clone(), &mut events).unwrap();
    assert!(reader.is_behind());
    let max = TURN_BYTES + 1;
    assert_eq!(reader.resume(&mut events), Err(Violation::TooLong { size: max as u64 + 1, max }));
    assert!(!reader.is_behind() && events.is_empty());
}

#[test]
fn text_that_is_not_utf8_is_refused_in_the_turn_that_comes_to_it() {
    let mut text = vec![b'a'; 9 * TURN_BYTES];
    text[4 * TURN_BYTES] = 0xff;
    let mut reader = Reader::new(text.len()).inflating();
    let mut events = VecDeque::new();
    reader.feed(&mut compressed(&text), &mut events).unwrap();
    while reader.is_behind() {
        if let Err(violation) = reader.resume(&mut events) {
            return assert_eq!(violation, Violation::NotUtf8);
        }
    }
    panic!("{} events", events.len());
}

proptest! {
    #[test]
    fn garbage_never_panics_and_any_cut_reads_the_same(octets in proptest::collection::vec(any::<u8>(), 0..200), cut in 1..200_usize) {
        let whole = read(&octets, 1000);
        prop_assert_eq!(read(&octets, cut).map_err(|v| v.close_code()), whole.map_err(|v| v.close_code()));
    }
}

fn inflate(octets: &[u8], cut: usize) -> Result<Vec<Event>, Violation> {
    read_by(Reader::new(1000).inflating(), octets, cut)
}

fn read(octets: &[u8], cut: usize) -> Result<Vec<Event>, Violation> {
    read_by(Reader::new(1000), octets, cut)
}

fn read_by(mut reader: Reader, octets: &[u8], cut: usize) -> Result<Vec<Event>, Violation> {
    let mut events = VecDeque::new();
    for piece in octets.to_vec().chunks_mut(cut) {
        reader.feed(piece, &mut events)?;
        while reader.is_behind() {
            reader.resume(&mut events)?;
        }
    }
    Ok(events.into())
}

fn compressed(message: &[u8]) -> Vec<u8> {
    frame(0xc1, &deflated(message, 6, 15).unwrap())
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut octets = vec![first];
    match payload.len() {
        len @ 0..=125 => octets.push(0x80 | len as u8),
        len => {
            octets.push(0x80 | 126);
            octets.extend((len as u16).to_be_bytes());
        }
    }
    octets.extend(mask);
    octets.extend(payload.iter().zip(mask.iter().cycle()).map(|(octet, key)| octet ^ key));
    octets
}
