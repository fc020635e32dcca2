//! Escapes in header names and values.

use std::borrow::Cow;

use memchr::memchr;

use super::frame::Escaping;

/// Undoes the escapes of a header's name or value.
///
/// # Errors
/// An escape that the version does not know.
pub fn unescape(text: &str, escaping: Escaping) -> Result<Cow<'_, str>, UndefinedEscape> {
    let (Escaping::V1_1 | Escaping::V1_2) = escaping else { return Ok(Cow::Borrowed(text)) };
    let Some(mut at) = memchr(b'\\', text.as_bytes()) else { return Ok(Cow::Borrowed(text)) };
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        plain.push_str(&rest[..at]);
        let mut after = rest[at + 1..].chars();
        let escaped = after.next();
        // STOMP 1.2 "Value Encoding": undefined escape sequences are fatal.
        plain.push(match escaped {
            Some('n') => '\n',
            Some('c') => ':',
            Some('\\') => '\\',
            Some('r') if escaping == Escaping::V1_2 => '\r',
            _ => return Err(UndefinedEscape { escaped }),
        });
        rest = after.as_str();
        match memchr(b'\\', rest.as_bytes()) {
            Some(next) => at = next,
            None => break,
        }
    }
    plain.push_str(rest);
    Ok(Cow::Owned(plain))
}

/// Appends a header's name or value with its escapes.
pub fn escape(out: &mut Vec<u8>, text: &str, escaping: Escaping) {
    for octet in text.bytes() {
        match (octet, escaping) {
            (_, Escaping::None) => out.push(octet),
            (b'\n', _) => out.extend_from_slice(b"\\n"),
            (b':', _) => out.extend_from_slice(b"\\c"),
            (b'\\', _) => out.extend_from_slice(b"\\\\"),
            (b'\r', Escaping::V1_2) => out.extend_from_slice(b"\\r"),
            _ => out.push(octet),
        }
    }
}

/// Whether a header can be written at all: no version can write a NUL or an empty name, and
/// without escapes neither can line ends be written, nor a colon in a name.
pub fn is_writable(name: &str, value: &str, escaping: Escaping) -> bool {
    let has = |text: &str, octets: &[u8]| text.bytes().any(|octet| octets.contains(&octet));
    if name.is_empty() || has(name, b"\0") || has(value, b"\0") {
        return false;
    }
    escaping != Escaping::None || !(has(name, b"\r\n:") || has(value, b"\r\n"))
}

/// A backslash with something behind it that the version does not define; `None`: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UndefinedEscape {
    /// What stood behind the backslash.
    pub escaped: Option<char>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_knows_its_own_escapes() {
        let plain = |text, escaping| unescape(text, escaping).map(Cow::into_owned);
        assert_eq!(plain(r"a\nb\cc\\d", Escaping::V1_1), Ok("a\nb:c\\d".into()));
        assert_eq!(plain(r"a\r\nb", Escaping::V1_2), Ok("a\r\nb".into()));
        assert_eq!(plain(r"a\rb", Escaping::V1_1), Err(UndefinedEscape { escaped: Some('r') }));
        assert_eq!(plain(r"a\tb", Escaping::V1_2), Err(UndefinedEscape { escaped: Some('t') }));
        assert_eq!(plain(r"a\", Escaping::V1_2), Err(UndefinedEscape { escaped: None }));
        assert_eq!(plain(r"a\é", Escaping::V1_2), Err(UndefinedEscape { escaped: Some('é') }));
        assert_eq!(plain(r"a\tb\", Escaping::None), Ok(r"a\tb\".into()));
    }

    #[test]
    fn an_escaped_backslash_does_not_escape_what_follows() {
        assert_eq!(unescape(r"\\n", Escaping::V1_2).unwrap(), "\\n");
    }

    #[test]
    fn what_is_escaped_is_unescaped_to_itself() {
        for escaping in [Escaping::V1_1, Escaping::V1_2] {
            let mut out = Vec::new();
            escape(&mut out, "a:b\\c\r\nd\\", escaping);
            assert_eq!(unescape(std::str::from_utf8(&out).unwrap(), escaping).unwrap(), "a:b\\c\r\nd\\");
        }
    }

    #[test]
    fn a_header_that_the_dialect_cannot_write_is_known_before() {
        assert!(is_writable("a", "b:c\\", Escaping::None));
        assert!(!is_writable("a", "b\nc", Escaping::None));
        assert!(!is_writable("a", "b\r", Escaping::None));
        assert!(!is_writable("a:", "b", Escaping::None));
        assert!(is_writable("a:\n", "b\n", Escaping::V1_1));
        assert!(!is_writable("a", "\0", Escaping::V1_2));
        assert!(!is_writable("", "b", Escaping::V1_2));
    }
}
