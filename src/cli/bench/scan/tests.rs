use super::*;

const MESSAGE: &str = "MESSAGE\nsubscription:sub-0\ncontent-length:60\n\n";

/// A body with a stamp, and quotes and backslashes behind it.
fn body() -> String {
    format!("{{\"n\":\"{:032x}\",\"t\":\"\\\\u00\",\"x\":12}}", 77)
}

fn message() -> String {
    format!("{MESSAGE}{}\0", body())
}

/// The stamp of each frame found, and of the others the first word.
fn scan(mut scanner: Scanner, octets: &[u8], piece: usize) -> Vec<String> {
    let mut found = Vec::new();
    for piece in octets.chunks(piece) {
        scanner
            .feed(piece, &mut |frame| {
                let text = String::from_utf8_lossy(frame);
                let word = text.lines().next().unwrap_or("").to_owned();
                found.push(if text.contains(&format!("{:032x}", 77)) { format!("{word} 77") } else { word });
            })
            .unwrap();
    }
    found
}

fn unmasked(first_octet: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first_octet];
    if payload.len() < 126 {
        frame.push(u8::try_from(payload.len()).unwrap());
    } else {
        frame.push(126);
        frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    }
    [&frame, payload].concat()
}

fn check(scanner: fn() -> Scanner, octets: &[u8], expected: &[&str]) {
    for piece in [1, 2, 3, 7, octets.len()] {
        assert_eq!(scan(scanner(), octets, piece), expected, "in pieces of {piece}");
    }
}

#[test]
fn websocket_messages_are_found_in_any_cut() {
    let long = message() + &"x".repeat(3000);
    let octets = [
        unmasked(TEXT, b"CONNECTED\nversion:1.2\n\n\0"),
        unmasked(TEXT, b"\n"),
        unmasked(0x01, &message().as_bytes()[..50]),
        unmasked(0x89, b"ping"),
        unmasked(0x80, &message().as_bytes()[50..]),
        unmasked(TEXT, b""),
        unmasked(TEXT, long.as_bytes()),
    ];
    check(Scanner::raw, &octets.concat(), &["CONNECTED", "MESSAGE 77", "MESSAGE 77"]);
}

#[test]
fn a_ping_is_answered_and_a_close_tells_its_reason() {
    let mut scanner = Scanner::raw();
    scanner.feed(&unmasked(0x89, b"abc"), &mut |_| {}).unwrap();
    assert_eq!(scanner.reply, masked(PONG, b"abc"));
    let error = scanner.feed(&unmasked(0x88, b"\x03\xe9bye"), &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "the broker closed: 1001 bye");
}

#[test]
fn sockjs_messages_are_found_in_any_cut() {
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    let octets = [
        unmasked(TEXT, b"o"),
        unmasked(TEXT, b"h"),
        unmasked(TEXT, format!("a[{}]", quoted("\n")).as_bytes()),
        unmasked(TEXT, format!("a[{},{}]", quoted("RECEIPT\nreceipt-id:\"\\\n\n\0"), quoted(&message())).as_bytes()),
        unmasked(TEXT, format!("a[{}]", quoted(&(message() + "\n"))).as_bytes()),
    ];
    check(Scanner::sockjs_websocket, &octets.concat(), &["RECEIPT", "MESSAGE 77", "MESSAGE 77"]);
}

#[test]
fn chunks_are_joined_and_the_responses_end_is_told() {
    let line = format!("a[{}]\n", serde_json::to_string(&message()).unwrap());
    let (one, two) = line.split_at(70);
    let chunk = |data: &str| format!("{:x}\r\n{data}\r\n", data.len());
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let octets = head.to_owned() + &chunk(&("h".repeat(2048) + "\n")) + &chunk("o\n") + &chunk(one) + &chunk(two);
    check(Scanner::sockjs_streaming, octets.as_bytes(), &["MESSAGE 77"]);
    let mut scanner = Scanner::sockjs_streaming();
    scanner.feed((octets + "0\r\n\r\n").as_bytes(), &mut |_| {}).unwrap();
    assert!(scanner.is_over);
}

#[test]
fn frames_of_a_stream_end_by_length_or_nul() {
    let counted = format!("MESSAGE\ncontent-length:{}\n\n{}\0x\0", body().len() + 2, body());
    let octets = format!("\n\nCONNECTED\nversion:1.2\n\n\0\n{counted}\nRECEIPT\nreceipt-id:s\n\n\0");
    check(Scanner::stream, octets.as_bytes(), &["CONNECTED", "MESSAGE 77", "RECEIPT"]);
}
