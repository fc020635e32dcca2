//! The rules of RFC 6455 one by one, in the order of Autobahn's case groups, as a client meets
//! them: what it sends, and every octet that comes back until the end.

use std::future::{pending, poll_fn};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

// Cases 1.*
#[tokio::test]
async fn a_message_comes_back_as_it_was_in_each_form_of_its_length() {
    for len in [0, 1, 125, 126, 127, 128, 65_535, 65_536] {
        for opcode in [TEXT, BINARY] {
            let payload = vec![if opcode == TEXT { b'*' } else { 0xfe }; len];
            assert_eq!(answers(&[(opcode, &payload)]).await, unmasked(&[(opcode, &payload)]), "{len}");
        }
    }
}

// Cases 2.1–2.4, 2.6, 2.9–2.11
#[tokio::test]
async fn a_ping_is_answered_with_its_octets_and_a_pong_not_at_all() {
    let long = [0xfe; 125];
    let pings = [&b""[..], b"Hello", &[0, 0xff], &long, b"1", b"2", b"3"];
    let sent: Vec<_> = pings.iter().flat_map(|ping| [(PONG, &b"unasked"[..]), (PING, ping)]).collect();
    let pongs: Vec<_> = pings.iter().map(|ping| (PONG, *ping)).collect();
    assert_eq!(answers(&sent).await, unmasked(&pongs));
}

// Cases 2.5, 7.3.6
#[tokio::test]
async fn a_control_frame_of_126_octets_is_1002() {
    for opcode in [PING, PONG, CLOSE] {
        assert_eq!(refusal(&[(opcode, &[0xfe; 126])]).await, 1002, "{opcode:x}");
    }
}

// Cases 3.*
#[tokio::test]
async fn a_reserved_bit_is_1002_in_each_kind_of_frame_after_what_came_before() {
    for bits in 1..8_u8 {
        for opcode in [TEXT, BINARY, PING, PONG, CLOSE] {
            let octets = answers(&[(TEXT, b"before"), (opcode | bits << 4, b""), (PING, b"after")]).await;
            let before = unmasked(&[(TEXT, b"before")]);
            assert!(octets.starts_with(&before), "{bits} {opcode:x}");
            assert_eq!(close_code(&octets[before.len()..]), 1002, "{bits} {opcode:x}");
        }
    }
}

// Cases 4.*
#[tokio::test]
async fn each_reserved_opcode_is_1002() {
    for opcode in (3..8).chain(11..16) {
        for payload in [&b""[..], b"reserved"] {
            assert_eq!(refusal(&[(FINAL | opcode, payload), (PING, b"after")]).await, 1002, "{opcode}");
        }
    }
}

// Cases 5.1, 5.2
#[tokio::test]
async fn a_fragment_of_a_control_frame_is_1002() {
    for opcode in [PING, PONG, CLOSE] {
        assert_eq!(refusal(&[(opcode & !FINAL, b"a"), (CONTINUATION, b"b")]).await, 1002, "{opcode:x}");
    }
}

// Cases 5.3–5.8, 5.19, 5.20
#[tokio::test]
async fn a_ping_between_fragments_is_answered_before_their_message() {
    let sent = [(TEXT & !FINAL, &b"a"[..]), (PING, b"1"), (0, b"b"), (0, b""), (PING, b"2"), (CONTINUATION, b"c")];
    assert_eq!(answers(&sent).await, unmasked(&[(PONG, b"1"), (PONG, b"2"), (TEXT, b"abc")]));
    let sent = [(BINARY & !FINAL, &[0xff][..]), (CONTINUATION, &[0xfe])];
    assert_eq!(answers(&sent).await, unmasked(&[(BINARY, &[0xff, 0xfe])]));
}

// Cases 5.9–5.17
#[tokio::test]
async fn a_continuation_of_nothing_is_1002() {
    for first in [0, CONTINUATION] {
        assert_eq!(refusal(&[(first, b"a"), (TEXT, b"b")]).await, 1002);
        let octets = answers(&[(TEXT, b"whole"), (first, b"a"), (TEXT, b"b")]).await;
        assert_eq!(close_code(&octets[2 + 5..]), 1002);
    }
}

// Case 5.18
#[tokio::test]
async fn a_message_within_a_message_is_1002() {
    for opcode in [TEXT, BINARY] {
        assert_eq!(refusal(&[(TEXT & !FINAL, b"a"), (opcode, b"b")]).await, 1002);
    }
}

// Cases 6.1, 6.2, 6.5–6.7, 6.9, 6.11, 6.13, 6.15, 6.17, 6.22, 6.23
#[tokio::test]
async fn every_character_is_taken_wherever_fragments_cut_it() {
    // The first and last of each length, what is around the surrogates, and noncharacters.
    let text = "κόσμε\0\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{fffd}\u{fffe}\u{ffff}\u{10000}\u{1fffe}\u{10ffff}";
    assert_eq!(answers(&[(TEXT, text.as_bytes())]).await, unmasked(&[(TEXT, text.as_bytes())]));
    let mut fragments: Vec<_> = text.as_bytes().chunks(1).map(|octet| (0, octet)).collect();
    fragments[0].0 = TEXT & !FINAL;
    fragments.push((CONTINUATION, b""));
    assert_eq!(answers(&fragments).await, unmasked(&[(TEXT, text.as_bytes())]));
    assert_eq!(answers(&[(TEXT & !FINAL, b""), (0, b""), (CONTINUATION, b"")]).await, unmasked(&[(TEXT, b"")]));
}

// Cases 6.3, 6.6, 6.8, 6.10, 6.12, 6.14, 6.16, 6.18–6.21
#[tokio::test]
async fn each_kind_of_wrong_utf8_is_1007() {
    for wrong in [
        // Continuations of nothing, and none where one must be
        &b"\x80"[..],
        b"\xbf",
        b"\xc3",
        b"\xc3(",
        b"\xe2\x82",
        b"\xe2(\xa1",
        b"\xf0\x90\x80",
        // More octets than it needs
        b"\xc0\x80",
        b"\xc1\xbf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        // Surrogates, alone and in pairs
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xed\xa0\x80\xed\xb0\x80",
        // Beyond U+10FFFF
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xfe",
        b"\xff",
    ] {
        let text = [b"fine ", wrong].concat();
        assert_eq!(refusal(&[(TEXT, &text)]).await, 1007, "{wrong:x?}");
        assert_eq!(refusal(&[(TEXT & !FINAL, &text), (CONTINUATION, b"")]).await, 1007, "{wrong:x?}");
        assert_eq!(answers(&[(BINARY, &text)]).await, unmasked(&[(BINARY, &text)]));
    }
}

// Cases 6.4.*
#[tokio::test]
async fn wrong_utf8_is_1007_before_the_rest_of_its_frame_is_there() {
    let mut octets = masked(TEXT, b"fine \xf4\x90\x80\x80 and more that never comes");
    octets.truncate(octets.len() - 20);
    assert_eq!(close_code(&answers_to(&octets, true).await), 1007);
    let fragment = masked(TEXT & !FINAL, b"fine \xf4\x90");
    assert_eq!(close_code(&answers_to(&fragment, true).await), 1007);
}

// Cases 7.1.*
#[tokio::test]
async fn after_a_close_nothing_more_is_answered() {
    let sent = [(TEXT, &b"before"[..]), (CLOSE, &[0x03, 0xe8]), (TEXT, b"after"), (PING, b""), (CLOSE, b"")];
    assert_eq!(answers(&sent).await, unmasked(&[(TEXT, b"before"), (CLOSE, &[0x03, 0xe8])]));
    // A message that was begun is given up.
    assert_eq!(answers(&[(TEXT & !FINAL, b"a"), (CLOSE, b"")]).await, unmasked(&[(CLOSE, b"")]));
}

// Cases 7.3.1–7.3.5
#[tokio::test]
async fn a_close_is_answered_with_its_code_and_of_one_octet_is_1002() {
    assert_eq!(answers(&[(CLOSE, b"")]).await, unmasked(&[(CLOSE, b"")]));
    assert_eq!(refusal(&[(CLOSE, b"a")]).await, 1002);
    let longest = [&[0x03, 0xe8][..], &[b'*'; 123]].concat();
    for payload in [&b"\x03\xe8"[..], b"\x03\xe8Hello", &longest] {
        assert_eq!(answers(&[(CLOSE, payload)]).await, unmasked(&[(CLOSE, b"\x03\xe8")]));
    }
}

// Case 7.5.1
#[tokio::test]
async fn a_reason_that_is_not_utf8_is_1007() {
    assert_eq!(refusal(&[(CLOSE, b"\x03\xe8\xed\xa0\x80")]).await, 1007);
}

// Cases 7.7.*
#[tokio::test]
async fn each_code_that_a_client_may_close_with_is_echoed() {
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999_u16] {
        let payload = code.to_be_bytes();
        assert_eq!(answers(&[(CLOSE, &payload)]).await, unmasked(&[(CLOSE, &payload)]), "{code}");
    }
}

// Cases 7.9.*, 7.13.*
#[tokio::test]
async fn each_code_that_a_client_must_not_close_with_is_1002() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535_u16] {
        assert_eq!(refusal(&[(CLOSE, &code.to_be_bytes())]).await, 1002, "{code}");
    }
}

// Cases 9.*, 10.1.1
#[tokio::test]
async fn a_mebibyte_comes_back_whole_in_one_frame_or_in_many() {
    let message = vec![b'*'; 1 << 20];
    let expected = unmasked(&[(TEXT, &message)]);
    for size in [1 << 20, 65_536, 1300, 64] {
        let mut fragments: Vec<_> = message.chunks(size).map(|fragment| (0, fragment)).collect();
        fragments[0].0 = TEXT & !FINAL;
        fragments.last_mut().unwrap().0 |= FINAL;
        assert!(answers(&fragments).await == expected, "{size}");
    }
    assert_eq!(refusal(&[(BINARY, &vec![0; (1 << 20) + 1])]).await, 1009);
}

// RFC 6455 section 5.1; Autobahn masks all it sends
#[tokio::test]
async fn a_frame_without_a_mask_is_1002() {
    assert_eq!(close_code(&answers_to(&unmasked(&[(TEXT, b"a")]), false).await), 1002);
}

/// The code of the close that is all the answer.
async fn refusal(frames: &[(u8, &[u8])]) -> u16 {
    close_code(&answers(frames).await)
}

async fn answers(frames: &[(u8, &[u8])]) -> Vec<u8> {
    let octets: Vec<u8> = frames.iter().flat_map(|(first, payload)| masked(*first, payload)).collect();
    answers_to(&octets, false).await
}

/// What an echo answers to these octets until it ends. `stays`: after them the client sends
/// nothing, and does not end either.
async fn answers_to(octets: &[u8], stays: bool) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    let settings = Settings { max_message_bytes: 1 << 20, ping: Duration::ZERO, deflate: None };
    let socket = WebSocket::new(Stream::plain(socket, None), &[], &settings, None);
    let (mut reading, mut writing) = client.into_split();
    let write = async {
        // A server that refuses closes before it has read all.
        let _ = writing.write_all(octets).await;
        if !stays {
            let _ = writing.shutdown().await;
        }
        writing
    };
    let mut answers = Vec::new();
    let read = async { tokio::join!(write, reading.read_to_end(&mut answers)).1 };
    // Where the client stays the echo has no end.
    let echo = async {
        echo(socket).await;
        pending().await
    };
    let read = tokio::select! {
        read = read => read,
        never = echo => never,
    };
    assert!(read.is_ok() || !answers.is_empty(), "{read:?}");
    answers
}

async fn echo(socket: WebSocket) {
    loop {
        let image = match poll_fn(|cx| socket.poll_event(cx)).await {
            SocketEvent::Text(text) => WebSocketFraming.whole(&text, true),
            SocketEvent::Binary(octets) => WebSocketFraming.whole(&octets, false),
            SocketEvent::Reply(octets) => octets.into(),
            SocketEvent::Ended(Ended::Violation { farewell, .. }) => {
                write(&socket, farewell.into()).await;
                socket.close_our_side();
                // What is unread when a socket is closed takes the farewell with it.
                while !matches!(poll_fn(|cx| socket.poll_event(cx)).await, SocketEvent::Ended(_)) {}
                return;
            }
            SocketEvent::Ended(_) => return,
        };
        write(&socket, image).await;
    }
}

async fn write(socket: &WebSocket, image: Image) {
    let mut queue = VecDeque::from([image]);
    while socket.try_write(&mut queue).unwrap().is_blocked {
        poll_fn(|cx| socket.poll_write_ready(cx)).await.unwrap();
    }
}

fn close_code(octets: &[u8]) -> u16 {
    assert!(octets.len() >= 4 && octets[0] == CLOSE && usize::from(octets[1]) == octets.len() - 2, "{octets:x?}");
    u16::from_be_bytes([octets[2], octets[3]])
}

fn unmasked(frames: &[(u8, &[u8])]) -> Vec<u8> {
    frames.iter().flat_map(|(first, payload)| [&head(*first, payload.len(), 0)[..], payload].concat()).collect()
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut octets = head(first, payload.len(), 0x80);
    octets.extend(mask);
    octets.extend(payload.iter().zip(mask.iter().cycle()).map(|(octet, key)| octet ^ key));
    octets
}

fn head(first: u8, len: usize, mask_bit: u8) -> Vec<u8> {
    let mut head = vec![first];
    match len {
        0..=125 => head.push(mask_bit | len as u8),
        126..=0xffff => {
            head.push(mask_bit | 126);
            head.extend((len as u16).to_be_bytes());
        }
        _ => {
            head.push(mask_bit | 127);
            head.extend((len as u64).to_be_bytes());
        }
    }
    head
}

const FINAL: u8 = 0x80;
const CONTINUATION: u8 = FINAL;
const TEXT: u8 = FINAL | 1;
const BINARY: u8 = FINAL | 2;
const CLOSE: u8 = FINAL | 8;
const PING: u8 = FINAL | 9;
const PONG: u8 = FINAL | 10;
