use bytes::Buf;
use proptest::prelude::*;

use super::super::frame::Close;
use super::*;
use crate::message::Image;

#[test]
fn xhr_ends_each_frame_with_a_newline() {
    // sockjs-protocol XhrPolling test_transport, test_close_frame
    assert_eq!(wrapped(&ReceiverKind::Xhr, Frame::Open), "o\n");
    assert_eq!(wrapped(&ReceiverKind::Xhr, Frame::Heartbeat), "h\n");
    assert_eq!(wrapped(&ReceiverKind::Xhr, messages(&["x", "y"])), "a[\"x\",\"y\"]\n");
    assert_eq!(wrapped(&ReceiverKind::XhrStreaming, Frame::Close(Close::GO_AWAY)), "c[3000,\"Go away!\"]\n");
}

#[test]
fn xhr_streaming_begins_with_2048_h() {
    // sockjs-protocol XhrStreaming test_transport
    let prelude = ReceiverKind::XhrStreaming.prelude().expect("it has one");
    assert_eq!(prelude, format!("{}\n", "h".repeat(2048)));
}

#[test]
fn eventsource_wraps_frames_as_events() {
    // sockjs-protocol EventSource test_transport
    let kind = ReceiverKind::EventSource;
    assert_eq!(kind.prelude().expect("it has one"), "\r\n");
    assert_eq!(wrapped(&kind, Frame::Open), "data: o\r\n\r\n");
    assert_eq!(wrapped(&kind, messages(&["  \0\n\r "])), "data: a[\"  \\u0000\\n\\r \"]\r\n\r\n");
}

#[test]
fn eventsource_percent_encodes_what_decode_uri_or_the_event_stream_would_take() {
    let kind = ReceiverKind::EventSource;
    assert_eq!(wrapped(&kind, messages(&["100%"])), "data: a[\"100%25\"]\r\n\r\n");
}

#[test]
fn htmlfile_wraps_frames_as_scripts() {
    // sockjs-protocol HtmlFile test_transport
    let kind = ReceiverKind::HtmlFile(callback("callback"));
    assert_eq!(wrapped(&kind, Frame::Open), "<script>\np(\"o\");\n</script>\r\n");
    assert_eq!(wrapped(&kind, messages(&["x"])), "<script>\np(\"a[\\\"x\\\"]\");\n</script>\r\n");
}

#[test]
fn a_message_cannot_end_the_script_of_htmlfile() {
    let kind = ReceiverKind::HtmlFile(callback("c"));
    let script = wrapped(&kind, messages(&["</script>"]));
    assert_eq!(script, "<script>\np(\"a[\\\"\\u003c/script>\\\"]\");\n</script>\r\n");
}

#[test]
fn htmlfile_begins_with_a_page_of_more_than_1024_octets() {
    // sockjs-protocol HtmlFile test_transport
    let page = ReceiverKind::HtmlFile(callback("_jp.a1")).prelude().expect("it has one");
    let page = std::str::from_utf8(&page).expect("text");
    assert!(page.len() > 1024 && page.ends_with("\r\n\r\n"), "{} octets", page.len());
    assert!(page.starts_with("<!doctype html>\n<html><head>\n"));
    assert!(page.contains("\n    var c = parent._jp.a1;\n    c.start();\n"));
    assert!(page.trim().ends_with("</script>"));
}

#[test]
fn jsonp_calls_back_with_the_frame_as_a_string() {
    // sockjs-protocol JsonPolling test_transport
    let kind = ReceiverKind::Jsonp(callback("callback"));
    assert_eq!(wrapped(&kind, Frame::Open), "/**/callback(\"o\");\r\n");
    assert_eq!(wrapped(&kind, messages(&["x"])), "/**/callback(\"a[\\\"x\\\"]\");\r\n");
    assert_eq!(wrapped(&kind, Frame::Close(Close::GO_AWAY)), "/**/callback(\"c[3000,\\\"Go away!\\\"]\");\r\n");
}

#[test]
fn only_polling_receivers_have_no_prelude_and_end_after_a_frame() {
    for (kind, streams) in [
        (ReceiverKind::Xhr, false),
        (ReceiverKind::Jsonp(callback("c")), false),
        (ReceiverKind::XhrStreaming, true),
        (ReceiverKind::EventSource, true),
        (ReceiverKind::HtmlFile(callback("c")), true),
    ] {
        assert_eq!((kind.streams(), kind.prelude().is_some()), (streams, streams), "{kind:?}");
    }
}

#[test]
fn a_large_message_is_shared_and_a_small_one_joined() {
    let large = Image { head: Bytes::from("\""), tail: Bytes::from(vec![b'x'; 4096]) };
    let mut octets = ReceiverKind::XhrStreaming.wrap(Frame::Messages(vec![large.clone()]), Quoting::Json);
    octets.advance(3);
    assert_eq!(octets.chunk().as_ptr(), large.tail.as_ptr());
    let small = ReceiverKind::XhrStreaming.wrap(messages(&["x"]), Quoting::Json);
    assert_eq!(small.chunk().len(), small.len());
}

#[test]
fn a_message_is_shared_by_all_receivers_of_a_kind() {
    for kind in [
        ReceiverKind::Xhr,
        ReceiverKind::XhrStreaming,
        ReceiverKind::EventSource,
        ReceiverKind::HtmlFile(callback("c")),
        ReceiverKind::Jsonp(callback("c")),
    ] {
        let body = Bytes::from("50 % of \"<b>\" ".repeat(400));
        let framing = kind.quoting().framing();
        let tail = framing.tail(&body, true);
        let image = Image { head: framing.head(b"m", &tail, true), tail: tail.octets };
        let wrapped_alone = wrapped(&kind, messages(&[&format!("m{}", std::str::from_utf8(&body).expect("text"))]));
        let mut octets = kind.wrap(Frame::Messages(vec![image.clone()]), kind.quoting());
        assert_eq!(octets.clone().copy_to_bytes(octets.len()), wrapped_alone, "{kind:?}");
        while octets.chunk().len() < image.tail.len() {
            octets.advance(octets.chunk().len());
        }
        assert_eq!(octets.chunk().as_ptr(), image.tail.as_ptr(), "{kind:?}");
    }
}

#[test]
fn a_callback_is_1_to_32_letters_digits_dashes_underscores_and_dots() {
    let long = "x".repeat(33);
    for name in ["callback", "_jp.aB3-x", &long[..32]] {
        assert_eq!(Callback::parse(Some(name)).expect(name).to_string(), name);
    }
    for name in [&long, "a b", "a(", "a;", "é", "a\n"] {
        assert_eq!(Callback::parse(Some(name)).unwrap_err().to_string(), "invalid \"callback\" parameter", "{name}");
    }
    for name in [None, Some("")] {
        assert_eq!(Callback::parse(name).unwrap_err().to_string(), "\"callback\" parameter required");
    }
}

#[test]
fn a_websocket_header_has_2_4_or_10_octets() {
    let header = |len| {
        let (octets, count) = websocket_header(OPCODE_TEXT, len);
        octets[..count].to_vec()
    };
    assert_eq!(header(0), [0x81, 0]);
    assert_eq!(header(125), [0x81, 125]);
    assert_eq!(header(126), [0x81, 126, 0, 126]);
    assert_eq!(header(65535), [0x81, 126, 0xff, 0xff]);
    assert_eq!(header(65536), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn a_control_frame_is_one_websocket_text_frame() {
    assert_eq!(websocket_text(Frame::Open), &b"\x81\x01o"[..]);
    assert_eq!(websocket_text(Frame::Close(Close::GO_AWAY)), &b"\x81\x12c[3000,\"Go away!\"]"[..]);
}

#[test]
fn a_websocket_image_is_one_text_frame_of_its_head_and_its_tail() {
    for len in [0, 10, 110, 117, 118, 119, 65_000, 65_526, 65_527, 65_528, 70_000] {
        let body = Bytes::from("x".repeat(len));
        let tail = SOCKJS_WEBSOCKET.tail(&body, true);
        let head = SOCKJS_WEBSOCKET.head(b"a\n\n", &tail, true);
        let payload = format!("a[\"a\\n\\n{}\"]", "x".repeat(len));
        let (header, count) = websocket_header(OPCODE_TEXT, payload.len());
        assert_eq!([head, tail.octets].concat(), [&header[..count], payload.as_bytes()].concat(), "{len}");
    }
}

#[test]
fn the_framings_have_rows_of_their_own_and_carry_no_binary() {
    assert_eq!((SOCKJS_WEBSOCKET.row(), SOCKJS_QUOTED.row()), (3, 4));
    assert!(!SOCKJS_WEBSOCKET.carries_binary() && !SOCKJS_QUOTED.carries_binary());
}

#[test]
fn octets_that_are_no_text_still_make_json() {
    let image = SOCKJS_QUOTED.whole(b"a\xff", false);
    assert_eq!([image.head, image.tail].concat(), "\"a\u{fffd}\"".replace('\u{fffd}', "\\ufffd").as_bytes());
}

proptest! {
    #[test]
    fn a_quoted_image_parses_to_its_head_and_tail(head in any::<String>(), tail in any::<String>()) {
        let quoted_tail = SOCKJS_QUOTED.tail(&Bytes::from(tail.clone()), true);
        let quoted_head = SOCKJS_QUOTED.head(head.as_bytes(), &quoted_tail, true);
        let parsed: String = serde_json::from_slice(&[quoted_head, quoted_tail.octets].concat()).expect("JSON");
        prop_assert_eq!(parsed, head + &tail);
    }

    #[test]
    fn what_a_script_gets_parses_to_the_frame(text in any::<String>()) {
        let kind = ReceiverKind::Jsonp(callback("c"));
        let script = wrapped(&kind, messages(&[&text]));
        let string = script.trim_start_matches("/**/c(").trim_end_matches(");\r\n");
        let frame: String = serde_json::from_str(string).expect("a JSON string");
        let array: Vec<String> = serde_json::from_str(frame.trim_start_matches('a')).expect("a JSON array");
        prop_assert_eq!(array, [text]);
    }
}

fn messages(texts: &[&str]) -> Frame {
    Frame::Messages(texts.iter().map(|text| SOCKJS_QUOTED.whole(text.as_bytes(), true)).collect())
}

fn callback(name: &str) -> Callback {
    Callback::parse(Some(name)).expect("a name")
}

fn wrapped(kind: &ReceiverKind, frame: Frame) -> String {
    let mut octets = kind.wrap(frame, Quoting::Json);
    let len = octets.len();
    String::from_utf8(octets.copy_to_bytes(len).into()).expect("text")
}
