//! Bodies and websocket messages from the client: JSON in, messages out.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, Visitor};

/// Reads the body of an `xhr_send`, whatever its content-type says: a JSON array of strings
/// or one JSON string; an empty array or string holds no messages.
///
/// # Errors
/// A body that is empty or holds no array of strings.
pub fn xhr_send(body: &[u8]) -> Result<Vec<String>, PayloadError> {
    // sockjs-protocol test_invalid_json
    if body.is_empty() {
        return Err(PayloadError::Expected);
    }
    messages(body)
}

/// Reads the body of a `jsonp_send`: the form field `d` if the content-type is that of a
/// form, else the body itself.
///
/// # Errors
/// A body or field that is missing, empty or holds no array of strings.
pub fn jsonp_send(content_type: Option<&str>, body: &[u8]) -> Result<Vec<String>, PayloadError> {
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return xhr_send(body);
    }
    let field = body.split(|&byte| byte == b'&').find_map(|pair| pair.strip_prefix(b"d="));
    xhr_send(&form_decoded(field.unwrap_or_default()))
}

/// Reads one text message of a websocket: a JSON array of strings or one JSON string.
/// An empty one holds no messages.
///
/// # Errors
/// A text that is neither; the session then closes with `c[3000,"Broken framing."]`.
pub fn websocket(text: &[u8]) -> Result<Vec<String>, PayloadError> {
    // sockjs-protocol test_empty_frame
    if text.is_empty() { Ok(Vec::new()) } else { messages(text) }
}

/// Why a payload was refused; the display is the body of the 500 that answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// There was none, or it was JSON of another kind.
    #[error("Payload expected.")]
    Expected,
    /// It was not JSON, or held something other than strings.
    #[error("Broken JSON encoding.")]
    Broken,
}

fn messages(json: &[u8]) -> Result<Vec<String>, PayloadError> {
    // Validated here once: the visitor below takes bytes, which the parser would not check.
    let json = std::str::from_utf8(json).map_err(|_| PayloadError::Broken)?;
    let broken = |_| PayloadError::Broken;
    match json.trim_start().as_bytes().first() {
        Some(b'[') => {
            let texts: Vec<Text> = serde_json::from_str(json).map_err(broken)?;
            Ok(texts.into_iter().map(|text| text.0).collect())
        }
        Some(b'"') => {
            let text: Text = serde_json::from_str(json).map_err(broken)?;
            Ok(if text.0.is_empty() { Vec::new() } else { vec![text.0] })
        }
        _ => {
            let _: IgnoredAny = serde_json::from_str(json).map_err(broken)?;
            Err(PayloadError::Expected)
        }
    }
}

/// A JSON string in which each lone surrogate became U+FFFD: browsers may send them, and the
/// session must live on.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As bytes, a string may hold lone surrogates; as str, the parser refuses them.
        deserializer.deserialize_bytes(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text, E> {
        Ok(Text(match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => without_surrogates(bytes),
        }))
    }
}

fn without_surrogates(bytes: &[u8]) -> String {
    let mut clean = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(0xed, rest) {
        clean.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let width = rest.len().min(3);
        let is_surrogate = rest.get(1).is_some_and(|&second| second >= 0xa0);
        clean.extend_from_slice(if is_surrogate { "\u{fffd}".as_bytes() } else { &rest[..width] });
        rest = &rest[width..];
    }
    clean.extend_from_slice(rest);
    String::from_utf8_lossy(&clean).into_owned()
}

/// Undoes the encoding of a form's value.
pub(super) fn form_decoded(value: &[u8]) -> Vec<u8> {
    let digit = |at: usize| value.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let mut decoded = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(&byte) = value.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', _, _) => decoded.push(b' '),
            _ => decoded.push(byte),
        }
        at += 1;
    }
    decoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORM: Option<&str> = Some("application/x-www-form-urlencoded; charset=UTF-8");

    #[test]
    fn an_array_of_strings_is_its_messages() {
        assert_eq!(xhr_send(b"[\"a\"]"), ok(&["a"]));
        assert_eq!(xhr_send(b" [ \"a\" , \"\" ] "), ok(&["a", ""]));
    }

    #[test]
    fn an_empty_array_or_string_is_accepted_and_holds_nothing() {
        assert_eq!(xhr_send(b"[]"), ok(&[]));
        assert_eq!(xhr_send(b"\"\""), ok(&[]));
    }

    #[test]
    fn a_single_string_is_one_message() {
        assert_eq!(xhr_send(b"\"a\""), ok(&["a"]));
    }

    #[test]
    fn an_empty_body_is_answered_with_payload_expected() {
        // sockjs-protocol test_invalid_json
        let error = xhr_send(b"").unwrap_err();
        assert_eq!(error.to_string(), "Payload expected.");
    }

    #[test]
    fn bad_json_is_answered_with_broken_json_encoding() {
        // sockjs-protocol test_invalid_json
        for body in ["[\"x", "[\"x\"", "x", " ", "[\"a\",]", "[1]", "[null]", "[[\"a\"]]", "[\"a\"] b", "{\"a\""] {
            let error = xhr_send(body.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), "Broken JSON encoding.", "{body}");
        }
        assert_eq!(xhr_send(b"[\"\xff\"]"), Err(PayloadError::Broken));
    }

    #[test]
    fn json_of_another_kind_is_no_payload() {
        for body in ["null", "1", "true", "{}"] {
            assert_eq!(xhr_send(body.as_bytes()), Err(PayloadError::Expected), "{body}");
        }
    }

    #[test]
    fn each_lone_surrogate_becomes_one_replacement_character() {
        assert_eq!(xhr_send(br#"["a\ud800b"]"#), ok(&["a\u{fffd}b"]));
        assert_eq!(xhr_send(br#"["\udc00\udc00"]"#), ok(&["\u{fffd}\u{fffd}"]));
        assert_eq!(xhr_send(br#"["\ud800\ud83d\ude00\udbff"]"#), ok(&["\u{fffd}\u{1f600}\u{fffd}"]));
        assert_eq!(xhr_send("[\"\\ud800\u{d7ff}é\"]".as_bytes()), ok(&["\u{fffd}\u{d7ff}é"]));
    }

    #[test]
    fn a_form_carries_its_messages_in_the_field_d() {
        // sockjs-protocol JsonPolling test_transport
        assert_eq!(jsonp_send(FORM, b"d=%5B%22x%22%5D"), ok(&["x"]));
        assert_eq!(jsonp_send(FORM, b"p=1&d=[%22a+b%2B%zz%22]&d=q"), ok(&["a b+%zz"]));
        assert_eq!(jsonp_send(FORM, b"d=%5B%22%C3%A9%22%5D"), ok(&["é"]));
    }

    #[test]
    fn a_body_that_is_no_form_is_not_percent_decoded() {
        // sockjs-protocol JsonPolling test_content_types
        assert_eq!(jsonp_send(Some("text/plain"), b"[\"%61bc\"]"), ok(&["%61bc"]));
        assert_eq!(jsonp_send(None, b"[\"a\"]"), ok(&["a"]));
    }

    #[test]
    fn a_form_without_d_is_answered_with_payload_expected() {
        // sockjs-protocol JsonPolling test_invalid_json
        for body in ["", "d=", "p=p"] {
            assert_eq!(jsonp_send(FORM, body.as_bytes()), Err(PayloadError::Expected), "{body}");
        }
        assert_eq!(jsonp_send(Some("text/plain"), b""), Err(PayloadError::Expected));
        assert_eq!(jsonp_send(FORM, b"d=%5B%22x"), Err(PayloadError::Broken));
    }

    #[test]
    fn a_websocket_message_is_an_array_or_a_string_and_an_empty_one_is_ignored() {
        // sockjs-protocol test_empty_frame, test_broken_json
        assert_eq!(websocket(b"[\"a\",\"b\"]"), ok(&["a", "b"]));
        assert_eq!(websocket(b"\"a\""), ok(&["a"]));
        assert_eq!(websocket(b""), ok(&[]));
        assert_eq!(websocket(b"[\"a"), Err(PayloadError::Broken));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (xhr_send(&body), jsonp_send(FORM, &body), websocket(&body));
        }

        #[test]
        fn garbage_of_json_pieces_never_panics(body in r#"([\["\]\\,ud89ac%+=\x00 ]|\\ud[89cd]00|é|\u{1f600}){0,30}"#) {
            let _ = (xhr_send(body.as_bytes()), jsonp_send(FORM, body.as_bytes()));
        }

        #[test]
        fn what_serde_writes_is_read_back(messages in proptest::collection::vec(any::<String>(), 0..5)) {
            let body = serde_json::to_vec(&messages).expect("strings are JSON");
            prop_assert_eq!(xhr_send(&body), Ok(messages));
        }
    }

    fn ok(messages: &[&str]) -> Result<Vec<String>, PayloadError> {
        Ok(messages.iter().map(|&message| message.to_owned()).collect())
    }
}
