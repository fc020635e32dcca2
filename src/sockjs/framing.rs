//! How each transport wraps frames: prefixes, preludes, content types, and the images that a
//! broker shares between subscribers.

use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::frame::{Frame, escape_into};
use super::octets::Octets;
use super::quoting::{AT_ONCE_BYTES, Quoting, TailQuoting};
use crate::message::{Framing, Making, Tail};

/// What an HTTP response that receives frames is: how it wraps them and how it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiverKind {
    /// `xhr`: one frame.
    Xhr,
    /// `xhr_streaming`: frames up to the response limit.
    XhrStreaming,
    /// `eventsource`: frames up to the response limit.
    EventSource,
    /// `htmlfile`: a page of scripts up to the response limit.
    HtmlFile(Callback),
    /// `jsonp`: a script of one frame.
    Jsonp(Callback),
}

impl ReceiverKind {
    /// Whether it takes frame after frame; else it ends after one.
    pub fn streams(&self) -> bool {
        match self {
            Self::Xhr | Self::Jsonp(_) => false,
            Self::XhrStreaming | Self::EventSource | Self::HtmlFile(_) => true,
        }
    }

    /// What goes before the first frame, as a chunk of its own. It does not count towards the
    /// response limit.
    pub fn prelude(&self) -> Option<Bytes> {
        match self {
            Self::Xhr | Self::Jsonp(_) => None,
            Self::XhrStreaming => Some(Bytes::from_static(&XHR_STREAMING_PRELUDE)),
            // An Opera that is long gone needed a line before the first event.
            Self::EventSource => Some(Bytes::from_static(b"\r\n")),
            Self::HtmlFile(callback) => Some(htmlfile_page(callback)),
        }
    }

    /// How it wants messages quoted.
    pub fn quoting(&self) -> Quoting {
        match self {
            Self::Xhr | Self::XhrStreaming => Quoting::Json,
            Self::EventSource => Quoting::Event,
            Self::HtmlFile(_) | Self::Jsonp(_) => Quoting::Script,
        }
    }

    /// Wraps one frame, whose messages are `quoted` already. Where that is as the transport wants
    /// them, their octets are shared, not copied.
    pub fn wrap(&self, frame: Frame, quoted: Quoting) -> Octets {
        let wanted = self.quoting();
        let is_quoted = matches!(frame, Frame::Messages(_));
        let mut pieces = frame.into_pieces();
        if !is_quoted {
            pieces = pieces.into_iter().map(|piece| wanted.quote(piece)).collect();
        } else if quoted != wanted {
            pieces = pieces.into_iter().map(|piece| wanted.quote(quoted.unquote(piece))).collect();
        }
        match self {
            Self::Xhr | Self::XhrStreaming => surrounded("", pieces, "\n"),
            Self::EventSource => surrounded("data: ", pieces, "\r\n\r\n"),
            Self::HtmlFile(_) => surrounded("<script>\np(\"", pieces, "\");\n</script>\r\n"),
            // The comment keeps the response from being taken for a Flash film.
            Self::Jsonp(callback) => surrounded(&format!("/**/{callback}(\""), pieces, "\");\r\n"),
        }
    }
}

/// The name of a script's function that takes frames: 1 to 32 of `[a-zA-Z0-9-_.]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback(Arc<str>);

impl Callback {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// A name that is missing, too long or could be more than a name.
    pub fn parse(name: Option<&str>) -> Result<Self, CallbackError> {
        // sockjs-protocol test_no_callback
        let name = name.filter(|name| !name.is_empty()).ok_or(CallbackError::Missing)?;
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !is_name || name.len() > CALLBACK_BYTES {
            return Err(CallbackError::Invalid);
        }
        Ok(Self(name.into()))
    }
}

impl fmt::Display for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a callback's name was refused; the display is the body of the 500 that answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// There was none.
    #[error("\"callback\" parameter required")]
    Missing,
    /// It was too long or no name.
    #[error("invalid \"callback\" parameter")]
    Invalid,
}

/// SockJS on a websocket: each message is one final, unmasked text frame `a["…"]`.
#[derive(Debug, Clone, Copy)]
pub struct SockJsWebSocket;

/// The one [`SockJsWebSocket`].
pub static SOCKJS_WEBSOCKET: SockJsWebSocket = SockJsWebSocket;

impl Framing for SockJsWebSocket {
    fn row(&self) -> usize {
        3
    }

    fn carries_binary(&self) -> bool {
        false
    }

    fn tail(&self, tail: &Bytes, _is_text: bool) -> Tail {
        let mut out = Vec::with_capacity(tail.len() + tail.len() / 8 + 2);
        escape_into(&mut out, &String::from_utf8_lossy(tail));
        out.extend_from_slice(b"\"]");
        without_slack(out).into()
    }

    fn making(&self, tail: &Bytes, _is_text: bool) -> Option<Box<dyn Making>> {
        Some(Box::new(TailQuoting::new(tail, escape_into, "\"]")))
    }

    fn takes_steps(&self, octets: usize) -> bool {
        octets > AT_ONCE_BYTES
    }

    fn head(&self, head: &[u8], tail: &Tail, _is_text: bool) -> Bytes {
        let mut out = vec![0; WEBSOCKET_HEADER_BYTES];
        out.extend_from_slice(b"a[\"");
        escape_into(&mut out, &String::from_utf8_lossy(head));
        // How long the header is depends on what follows it: it is written last, against it.
        let (header, header_len) =
            websocket_header(OPCODE_TEXT, out.len() - WEBSOCKET_HEADER_BYTES + tail.octets.len());
        let start = WEBSOCKET_HEADER_BYTES - header_len;
        out[start..WEBSOCKET_HEADER_BYTES].copy_from_slice(&header[..header_len]);
        Bytes::from(out).slice(start..)
    }
}

/// SockJS over HTTP: each message is one JSON string, to be put between `a[` and `]`.
#[derive(Debug, Clone, Copy)]
pub struct SockJsQuoted;

/// The one [`SockJsQuoted`].
pub static SOCKJS_QUOTED: SockJsQuoted = SockJsQuoted;

impl Framing for SockJsQuoted {
    fn row(&self) -> usize {
        4
    }

    fn carries_binary(&self) -> bool {
        false
    }

    fn tail(&self, tail: &Bytes, _is_text: bool) -> Tail {
        let mut out = Vec::with_capacity(tail.len() + tail.len() / 8 + 1);
        escape_into(&mut out, &String::from_utf8_lossy(tail));
        out.push(b'"');
        without_slack(out).into()
    }

    fn making(&self, tail: &Bytes, _is_text: bool) -> Option<Box<dyn Making>> {
        Some(Box::new(TailQuoting::new(tail, escape_into, "\"")))
    }

    fn takes_steps(&self, octets: usize) -> bool {
        octets > AT_ONCE_BYTES
    }

    fn head(&self, head: &[u8], _tail: &Tail, _is_text: bool) -> Bytes {
        let mut out = vec![b'"'];
        escape_into(&mut out, &String::from_utf8_lossy(head));
        without_slack(out)
    }
}

/// One final, unmasked websocket frame around a SockJS frame that carries no messages.
pub fn websocket_text(frame: Frame) -> Bytes {
    let payload = frame.into_pieces().concat();
    let (header, header_len) = websocket_header(OPCODE_TEXT, payload.len());
    [&header[..header_len], &payload].concat().into()
}

/// The header of a server's final, unmasked websocket frame: the octets and how many of them
/// count (2, 4 or 10).
// RFC 6455 section 5.2
pub(crate) fn websocket_header(opcode: u8, len: usize) -> ([u8; WEBSOCKET_HEADER_BYTES], usize) {
    let mut header = [0; WEBSOCKET_HEADER_BYTES];
    header[0] = 0x80 | opcode & 0x0f;
    match (u16::try_from(len), len) {
        (Ok(_), 0..=125) => {
            header[1] = len as u8;
            (header, 2)
        }
        (Ok(short), _) => {
            header[1] = 126;
            header[2..4].copy_from_slice(&short.to_be_bytes());
            (header, 4)
        }
        (Err(_), _) => {
            header[1] = 127;
            header[2..].copy_from_slice(&(len as u64).to_be_bytes());
            (header, WEBSOCKET_HEADER_BYTES)
        }
    }
}

/// The longest header of a server's websocket frame.
pub(crate) const WEBSOCKET_HEADER_BYTES: usize = 10;

/// Images are kept and counted by their length: what was reserved in vain goes back.
fn without_slack(mut octets: Vec<u8>) -> Bytes {
    octets.shrink_to_fit();
    octets.into()
}

fn surrounded(prefix: &str, pieces: Vec<Bytes>, suffix: &'static str) -> Octets {
    let len = prefix.len() + pieces.iter().map(Bytes::len).sum::<usize>() + suffix.len();
    let suffix = Bytes::from_static(suffix.as_bytes());
    if len <= JOIN_BYTES {
        let mut joined = BytesMut::with_capacity(len);
        joined.put_slice(prefix.as_bytes());
        pieces.iter().for_each(|piece| joined.put_slice(piece));
        joined.put_slice(&suffix);
        return joined.freeze().into();
    }
    let prefix = Bytes::copy_from_slice(prefix.as_bytes());
    [prefix].into_iter().chain(pieces).chain([suffix]).collect()
}

fn htmlfile_page(callback: &Callback) -> Bytes {
    let mut page = format!("{HTMLFILE_HEAD}{callback}{HTMLFILE_TAIL}");
    // A browser shows and runs nothing of a page before it has this much.
    let padding = HTMLFILE_PAGE_BYTES.saturating_sub(page.len());
    page.extend(std::iter::repeat_n(' ', padding));
    page.push_str("\r\n\r\n");
    page.into()
}

// sockjs-protocol HtmlFile.head
const HTMLFILE_HEAD: &str = r#"<!doctype html>
<html><head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
</head><body><h2>Don't panic!</h2>
  <script>
    document.domain = document.domain;
    var c = parent."#;

const HTMLFILE_TAIL: &str = r";
    c.start();
    function p(d) {c.message(d);};
    window.onload = function() {c.stop();};
  </script>
";

const HTMLFILE_PAGE_BYTES: usize = 1024;

/// 2 KiB, before which some browsers show nothing of a response.
const XHR_STREAMING_PRELUDE: [u8; 2049] = {
    let mut prelude = [b'h'; 2049];
    prelude[2048] = b'\n';
    prelude
};

/// Frames up to this size are cheaper to copy into one piece than to send in several.
const JOIN_BYTES: usize = 1024;

/// Names of real clients have about ten octets.
const CALLBACK_BYTES: usize = 32;

const OPCODE_TEXT: u8 = 1;

#[cfg(test)]
mod tests;
