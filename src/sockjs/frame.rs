//! The frames of SockJS and the quoting of what they carry.

use bytes::Bytes;

use crate::message::Image;

/// What a server sends to a client: one unit of the protocol, before a transport wraps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// `o`: the session is open.
    Open,
    /// `h`: nothing happened for a while.
    Heartbeat,
    /// `a[…]`: messages, each already a JSON string, in the order of sending.
    Messages(Vec<Image>),
    /// `c[code,"reason"]`: the session is closed.
    Close(Close),
}

impl Frame {
    /// The frame's octets in order, as pieces that share the messages' memory. No piece ends
    /// within a character.
    pub fn into_pieces(self) -> Vec<Bytes> {
        match self {
            Self::Open => vec![Bytes::from_static(b"o")],
            Self::Heartbeat => vec![Bytes::from_static(b"h")],
            Self::Close(close) => vec![close.0],
            Self::Messages(messages) => {
                let mut pieces = Vec::with_capacity(messages.len() * 3 + 1);
                for (n, message) in messages.into_iter().enumerate() {
                    pieces.push(Bytes::from_static(if n == 0 { b"a[" } else { b"," }));
                    pieces.extend([message.head, message.tail]);
                }
                pieces.push(Bytes::from_static(b"]"));
                pieces
            }
        }
    }
}

/// A close frame, kept as octets because it is repeated to every later receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close(Bytes);

impl Close {
    /// The application is done: `c[3000,"Go away!"]`.
    pub const GO_AWAY: Self = Self(Bytes::from_static(b"c[3000,\"Go away!\"]"));
    /// A websocket message was no JSON: `c[3000,"Broken framing."]`.
    pub const BROKEN_FRAMING: Self = Self(Bytes::from_static(b"c[3000,\"Broken framing.\"]"));
    /// A second receiver came: `c[2010,"Another connection still open"]`.
    pub const ANOTHER_CONNECTION: Self = Self(Bytes::from_static(b"c[2010,\"Another connection still open\"]"));
    /// The receiver vanished: `c[1002,"Connection interrupted"]`.
    pub const INTERRUPTED: Self = Self(Bytes::from_static(b"c[1002,\"Connection interrupted\"]"));

    /// Makes the frame of a code and a reason.
    pub fn new(code: u16, reason: &str) -> Self {
        let mut octets = format!("c[{code},").into_bytes();
        quote_into(&mut octets, reason);
        octets.push(b']');
        Self(octets.into())
    }

    /// The frame as it leaves on a websocket.
    pub fn octets(&self) -> &Bytes {
        &self.0
    }
}

/// Appends a text as a JSON string, quotation marks included.
pub fn quote_into(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escape_into(out, text);
    out.push(b'"');
}

/// Appends a text as the inside of a JSON string.
///
/// Besides what JSON demands, U+200C–200F, U+2028–202F, U+2060–206F, U+FFF0–FFFF and all
/// beyond the BMP leave as `\uXXXX`. One pass; what needs no escape is copied in runs.
pub fn escape_into(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + bytes.len() / 8);
    let mut copied = 0;
    let mut at = 0;
    while at < bytes.len() {
        let class = CLASSES[usize::from(bytes[at])];
        if class == PLAIN {
            at += 1;
            continue;
        }
        let width = match class {
            BMP_SUSPECT if !is_mangled(bytes, at) => {
                at += 3;
                continue;
            }
            BMP_SUSPECT => 3,
            ASTRAL => 4,
            _ => 1,
        };
        out.extend_from_slice(&bytes[copied..at]);
        match class {
            BMP_SUSPECT | ASTRAL => escape_wide(out, bytes, at),
            HEX => escape_unit(out, u16::from(bytes[at])),
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
        at += width;
        copied = at;
    }
    out.extend_from_slice(&bytes[copied..]);
}

// sockjs-protocol escapable_by_server, test_xhr_server_encodes
fn is_mangled(bytes: &[u8], at: usize) -> bool {
    match (bytes[at], bytes.get(at + 1), bytes.get(at + 2)) {
        // U+200C–200F and U+2028–202F
        (0xe2, Some(0x80), Some(last)) => matches!(last, 0x8c..=0x8f | 0xa8..=0xaf),
        // U+2060–206F
        (0xe2, Some(0x81), Some(last)) => matches!(last, 0xa0..=0xaf),
        // U+FFF0–FFFF
        (0xef, Some(0xbf), Some(last)) => *last >= 0xb0,
        _ => false,
    }
}

fn escape_wide(out: &mut Vec<u8>, bytes: &[u8], at: usize) {
    let tail = |n: usize| bytes.get(at + n).map_or(0, |byte| u32::from(byte & 0x3f));
    let lead = u32::from(bytes[at]);
    if lead < 0xf0 {
        let unit = (lead & 0x0f) << 12 | tail(1) << 6 | tail(2);
        escape_unit(out, unit as u16);
    } else {
        let code = (lead & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3);
        let offset = code.wrapping_sub(0x1_0000);
        escape_unit(out, 0xd800 | (offset >> 10 & 0x3ff) as u16);
        escape_unit(out, 0xdc00 | (offset & 0x3ff) as u16);
    }
}

fn escape_unit(out: &mut Vec<u8>, unit: u16) {
    let digit = |shift: u32| HEX_DIGITS[usize::from(unit >> shift & 0xf)];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

const PLAIN: u8 = 0;
/// Lead byte of a character that may be one of those that get mangled.
const BMP_SUSPECT: u8 = 1;
/// Lead byte of a character beyond the BMP.
const ASTRAL: u8 = 2;
/// A control character without a short escape.
const HEX: u8 = 3;

/// What each byte asks for: one of the above, or the letter of its short escape.
const CLASSES: [u8; 256] = {
    let mut classes = [PLAIN; 256];
    let mut byte = 0;
    while byte < 0x20 {
        classes[byte] = HEX;
        byte += 1;
    }
    classes[0x08] = b'b';
    classes[0x09] = b't';
    classes[0x0a] = b'n';
    classes[0x0c] = b'f';
    classes[0x0d] = b'r';
    classes[b'"' as usize] = b'"';
    classes[b'\\' as usize] = b'\\';
    classes[0xe2] = BMP_SUSPECT;
    classes[0xef] = BMP_SUSPECT;
    let mut byte = 0xf0;
    while byte <= 0xf4 {
        classes[byte] = ASTRAL;
        byte += 1;
    }
    classes
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_bmp_character_survives_and_the_mangled_ones_leave_escaped() {
        for code in 0..=0xffff_u32 {
            let Some(character) = char::from_u32(code) else { continue };
            let quoted = quoted(&character.to_string());
            assert_eq!(parsed(&quoted), character.to_string(), "U+{code:04X}");
            let must = matches!(code, 0x200c..=0x200f | 0x2028..=0x202f | 0x2060..=0x206f | 0xfff0..=0xffff);
            let short = matches!(code, 0x08 | 0x09 | 0x0a | 0x0c | 0x0d | 0x22 | 0x5c);
            if must || code < 0x20 && !short {
                assert_eq!(quoted, format!("\"\\u{code:04x}\""));
            } else if !short {
                assert_eq!(quoted, format!("\"{character}\""), "U+{code:04X}");
            }
        }
    }

    #[test]
    fn every_escaped_code_unit_is_read_back_by_a_payload() {
        // sockjs-protocol test_xhr_server_decodes
        for unit in 0..=0xffff_u16 {
            let body = format!("[\"\\u{unit:04x}\"]");
            let messages = super::super::payload::xhr_send(body.as_bytes());
            let expected = char::from_u32(unit.into()).unwrap_or('\u{fffd}').to_string();
            assert_eq!(messages, Ok(vec![expected]), "unit {unit:04x}");
        }
    }

    #[test]
    fn the_short_escapes_are_those_of_json() {
        assert_eq!(quoted("\u{8}\t\n\u{c}\r\"\\/"), r#""\b\t\n\f\r\"\\/""#);
    }

    #[test]
    fn a_character_beyond_the_bmp_leaves_as_its_surrogate_pair() {
        assert_eq!(quoted("a\u{10000}b"), r#""a\ud800\udc00b""#);
        assert_eq!(quoted("\u{1f600}"), r#""\ud83d\ude00""#);
        assert_eq!(quoted("\u{10ffff}"), r#""\udbff\udfff""#);
        for code in (0x1_0000..=0x10_ffff).step_by(97) {
            let text = char::from_u32(code).expect("no surrogates there").to_string();
            assert_eq!(parsed(&quoted(&text)), text);
        }
    }

    #[test]
    fn a_close_frame_has_its_code_and_its_quoted_reason() {
        assert_eq!(Close::new(3000, "Go away!"), Close::GO_AWAY);
        assert_eq!(Close::new(2010, "Another connection still open"), Close::ANOTHER_CONNECTION);
        assert_eq!(Close::new(1002, "Connection interrupted"), Close::INTERRUPTED);
        assert_eq!(Close::new(3000, "Broken framing."), Close::BROKEN_FRAMING);
        assert_eq!(Close::new(4001, "a \"b\"").octets(), r#"c[4001,"a \"b\""]"#.as_bytes());
    }

    #[test]
    fn messages_are_joined_by_commas_and_share_their_memory() {
        let image = Image { head: Bytes::from("\"m"), tail: Bytes::from("1\"") };
        let pieces = Frame::Messages(vec![image.clone(), image.clone()]).into_pieces();
        assert_eq!(pieces.concat(), br#"a["m1","m1"]"#);
        assert_eq!(pieces[1].as_ptr(), image.head.as_ptr());
    }

    proptest! {
        #[test]
        fn what_is_quoted_parses_to_itself(text in any::<String>()) {
            prop_assert_eq!(parsed(&quoted(&text)), text);
        }

        #[test]
        fn text_full_of_what_needs_escapes_parses_to_itself(text in "[a-c\"\\\\\n\u{2027}-\u{2030}\u{205f}-\u{2070}\u{ffef}-\u{10001}é漢]*") {
            prop_assert_eq!(parsed(&quoted(&text)), text);
        }
    }

    fn quoted(text: &str) -> String {
        let mut out = Vec::new();
        quote_into(&mut out, text);
        String::from_utf8(out).expect("quoting keeps UTF-8")
    }

    fn parsed(json: &str) -> String {
        serde_json::from_str(json).expect("quoting makes JSON")
    }
}
