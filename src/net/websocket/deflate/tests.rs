use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::WebSocketFraming;
use super::super::reader::{Event, Reader};
use super::*;
use crate::sockjs::framing::SOCKJS_WEBSOCKET;

const SETTINGS: Settings = Settings { level: 6, min_bytes: 100 };

fn answer(offers: &[&'static str]) -> Option<String> {
    let mut headers = HeaderMap::new();
    for offer in offers {
        headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(offer));
    }
    negotiate(&headers, SETTINGS).map(|(_, value)| value.to_str().unwrap().to_owned())
}

/// The answer, without what is always in it.
fn agreed(offer: &'static str) -> Option<String> {
    let answer = answer(&[offer])?;
    let rest = answer.strip_prefix("permessage-deflate; server_no_context_takeover; client_no_context_takeover");
    Some(rest.unwrap().to_owned())
}

#[test]
fn what_browsers_offer_is_agreed_on_without_context_takeover() {
    assert_eq!(agreed("permessage-deflate; client_max_window_bits").as_deref(), Some(""));
    assert_eq!(agreed("permessage-deflate").as_deref(), Some(""));
    assert_eq!(
        agreed(
            "permessage-deflate;server_no_context_takeover;client_no_context_takeover;client_max_window_bits=\"10\""
        )
        .as_deref(),
        Some("")
    );
}

// RFC 7692 section 7.1.2.1
#[test]
fn a_window_of_the_servers_is_answered_with_the_same_or_less() {
    for (offered, answered) in [("15", 15), ("14", 9), ("9", 9), ("8", 8), ("\"15\"", 15)] {
        let offer = format!("permessage-deflate; server_max_window_bits={offered}").leak();
        assert_eq!(agreed(offer), Some(format!("; server_max_window_bits={answered}")), "{offered}");
    }
}

// RFC 7692 section 7.1
#[test]
fn an_offer_with_a_parameter_that_is_unknown_wrong_or_doubled_is_declined() {
    for parameter in [
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=08",
        "server_max_window_bits=+9",
        "client_max_window_bits=",
        "client_max_window_bits=7",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "client_no_context_takeover; client_no_context_takeover",
        "client_max_window_bits=10; client_max_window_bits",
        "mux",
        "",
    ] {
        assert_eq!(agreed(format!("permessage-deflate; {parameter}").leak()), None, "{parameter}");
    }
    assert_eq!(agreed("x-webkit-deflate-frame"), None);
    assert_eq!(answer(&[]), None);
}

#[test]
fn the_first_offer_that_can_be_met_is_taken() {
    let second = "permessage-deflate; foo=\"a,b;c\", permessage-deflate; server_max_window_bits=9, permessage-deflate";
    assert_eq!(agreed(second).as_deref(), None.or(Some("; server_max_window_bits=9")));
    assert!(answer(&["permessage-bzip2", "permessage-deflate"]).is_some());
}

#[test]
fn a_message_is_its_head_stored_and_its_tail_compressed_and_reads_as_it_was() {
    for window in [Window::Full, Window::Small] {
        let framing = Agreed { settings: SETTINGS, window }.framing(&WebSocketFraming);
        let body = Bytes::from("abcdefgh ".repeat(1000));
        let tail = framing.tail(&body, true);
        assert!(tail.is_compressed && tail.octets.len() < 500);
        for head in [0, 1, 40, 0xffff, 0x1_0000, 200_000] {
            let head = "h".repeat(head);
            let image = [framing.head(head.as_bytes(), &tail, true), tail.octets.clone()].concat();
            assert_eq!(image[0], 0xc1);
            let expected = Bytes::from([head.as_bytes(), &body].concat());
            assert_eq!(read(&image), [Event::Text(expected)]);
        }
    }
}

#[test]
fn a_tail_that_is_made_in_steps_is_the_one_that_is_made_at_once() {
    let framing = Agreed { settings: SETTINGS, window: Window::Full }.framing(&WebSocketFraming);
    let mut noise = vec![0; 200_000];
    getrandom::fill(&mut noise).unwrap();
    for (body, steps) in [("abcdefgh ".repeat(50_000).into_bytes(), 7), (noise, 1), (vec![b'a'; 100], 1)] {
        let body = Bytes::from(body);
        assert!(framing.takes_steps(body.len()));
        let mut making = framing.making(&body, true).unwrap();
        let made = (1..).find_map(|step| Some((making.advance(&mut 1)?, step))).unwrap();
        let plain = WebSocketFraming.tail(&body, true);
        let compressed = compressing::deflate(&plain.octets, SETTINGS.level, 15);
        let at_once = compressed.map_or(plain, |octets| Tail { octets, is_compressed: true });
        assert_eq!(made, (at_once, steps));
    }
    assert!(!framing.takes_steps(99) && framing.making(&vec![b'a'; 99].into(), true).is_none());
}

#[test]
fn what_is_small_or_becomes_no_shorter_leaves_as_it_is() {
    let framing = Agreed { settings: SETTINGS, window: Window::Full }.framing(&WebSocketFraming);
    let mut noise = vec![0; 1000];
    getrandom::fill(&mut noise).unwrap();
    for (body, is_text) in [(vec![b'x'; 99], true), (noise, false)] {
        let tail = framing.tail(&body.clone().into(), is_text);
        assert_eq!(tail, Tail::from(Bytes::from(body.clone())));
        assert_eq!(framing.head(b"a", &tail, is_text), WebSocketFraming.head(b"a", &tail, is_text));
        assert_eq!(framing.whole(&body, is_text), WebSocketFraming.whole(&body, is_text));
    }
    assert!(framing.tail(&vec![b'x'; 100].into(), true).is_compressed);
}

#[test]
fn what_is_quoted_in_steps_is_compressed_in_steps_after_that() {
    let framing = Agreed { settings: SETTINGS, window: Window::Full }.framing(&SOCKJS_WEBSOCKET);
    let body = Bytes::from("\"abcdefgh\" ".repeat(20_000));
    let mut making = framing.making(&body, true).unwrap();
    let made = std::iter::repeat_with(|| making.advance(&mut 1)).find_map(|made| made).unwrap();
    let quoted = SOCKJS_WEBSOCKET.tail(&body, true).octets;
    let octets = compressing::deflate(&quoted, SETTINGS.level, 15).unwrap();
    assert_eq!(made, Tail { octets, is_compressed: true });
}

#[test]
fn what_takes_steps_is_not_compressed_at_once() {
    let framing = Agreed { settings: SETTINGS, window: Window::Full }.framing(&WebSocketFraming);
    for (size, is_compressed) in [(compressing::PIECE_BYTES, true), (compressing::PIECE_BYTES + 1, false)] {
        let body = vec![b'x'; size];
        assert_eq!(framing.tail(&body.clone().into(), true).is_compressed, is_compressed, "{size}");
        assert_eq!(framing.whole(&body, true) != WebSocketFraming.whole(&body, true), is_compressed, "{size}");
    }
}

#[test]
fn a_window_of_256_octets_has_no_compressor() {
    let framing = Agreed { settings: SETTINGS, window: Window::None }.framing(&WebSocketFraming);
    assert_eq!(framing.row(), WebSocketFraming.row());
}

#[test]
fn the_framing_of_one_agreement_is_made_once_and_each_has_a_row_of_its_own() {
    let framing = |window| Agreed { settings: SETTINGS, window }.framing(&WebSocketFraming);
    assert!(std::ptr::addr_eq(framing(Window::Full), framing(Window::Full)));
    let rows = [WebSocketFraming.row(), framing(Window::Full).row(), framing(Window::Small).row()];
    assert!(rows[0] < rows[1] && rows[1] < rows[2] && rows[2] < crate::message::FRAMINGS);
}

proptest! {
    #[test]
    fn a_whole_message_reads_as_it_was(text in "[a-d]{0,2000}", is_text: bool) {
        let framing = Agreed { settings: SETTINGS, window: Window::Full }.framing(&WebSocketFraming);
        let image = framing.whole(text.as_bytes(), is_text);
        let octets = Bytes::from(text);
        let expected = if is_text { Event::Text(octets) } else { Event::Binary(octets) };
        prop_assert_eq!(read(&[image.head, image.tail].concat()), [expected]);
    }
}

/// As a client would have sent it, with a mask of zeros.
fn read(image: &[u8]) -> Vec<Event> {
    let (_, payload) = unframed(image);
    let head_len = image.len() - payload.len();
    let mut octets = [&image[..head_len], &[0; 4], payload].concat();
    octets[1] |= 0x80;
    let mut events = VecDeque::new();
    let mut reader = Reader::new(1 << 20).inflating();
    reader.feed(&mut octets, &mut events).unwrap();
    while reader.is_behind() {
        reader.resume(&mut events).unwrap();
    }
    events.into()
}
