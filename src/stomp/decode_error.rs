//! What a peer did wrong on the wire.

use super::frame::Command;

/// Why octets are no frame. The peer is at fault in each case, and nothing after it counts.
///
/// A `size` is the first one past the limit where the whole was not awaited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A command line past its limit.
    #[error("the command line has {size} octets or more; at most {max} are allowed")]
    CommandTooLong {
        /// Octets.
        size: usize,
        /// Octets allowed.
        max: usize,
    },
    /// A header line past its limit.
    #[error("a header line has {size} octets or more; at most {max} are allowed")]
    HeaderTooLong {
        /// Octets.
        size: usize,
        /// Octets allowed.
        max: usize,
    },
    /// Command and headers together past their limit.
    #[error("command and headers have {size} octets or more; at most {max} are allowed")]
    HeadTooLong {
        /// Octets.
        size: usize,
        /// Octets allowed.
        max: usize,
    },
    /// More header lines than allowed.
    #[error("the frame has {count} header lines or more; at most {max} are allowed")]
    TooManyHeaders {
        /// Header lines.
        count: usize,
        /// Header lines allowed.
        max: usize,
    },
    /// A body past its limit.
    #[error("the body has {size} octets or more; at most {max} are allowed")]
    BodyTooLong {
        /// Octets.
        size: usize,
        /// Octets allowed.
        max: usize,
    },
    /// A frame before CONNECTED past its limit.
    #[error("the frame has {size} octets or more; at most {max} are allowed before CONNECTED")]
    FrameTooLongBeforeConnected {
        /// Octets.
        size: usize,
        /// Octets allowed.
        max: usize,
    },
    /// A command that no version knows.
    #[error("unknown command {command:?}; commands are upper case, as in SEND or SUBSCRIBE")]
    UnknownCommand {
        /// Its beginning.
        command: Box<str>,
    },
    /// A header line without a colon, or without a name.
    #[error("the header line {line:?} is not name:value")]
    NotAHeader {
        /// Its beginning.
        line: Box<str>,
    },
    /// A header line that is not UTF-8.
    #[error("the header line {line:?} is not UTF-8")]
    HeaderNotUtf8 {
        /// Its beginning.
        line: Box<str>,
    },
    /// A CR that no LF follows.
    #[error("the header line {line:?} holds a carriage return that no line feed follows; write it as \\r")]
    LoneCarriageReturn {
        /// Its beginning.
        line: Box<str>,
    },
    /// A blank line that ends with CRLF before 1.2.
    #[error("a line ends with CRLF, which came with STOMP 1.2; in 1.0 and 1.1 lines end with LF alone")]
    CrlfBefore1_2,
    /// An escape that the version does not define.
    #[error("the header line {line:?} holds an undefined escape, {}; \\n, \\c, \\\\ and, from 1.2 on, \\r are defined",
        Escape(*escaped))]
    UndefinedEscape {
        /// What stood behind the backslash; `None`: nothing.
        escaped: Option<char>,
        /// The line's beginning.
        line: Box<str>,
    },
    /// A NUL before the blank line.
    #[error("a NUL stands among the headers; a blank line ends them")]
    NulInHead,
    /// A NUL where a command should be.
    #[error("a NUL stands where a command should be; only line ends may follow a frame")]
    NulBeforeHeaders,
    /// A `content-length` that is not a number.
    #[error("content-length is {value:?}, which is not a number of octets")]
    BadContentLength {
        /// Its beginning.
        value: Box<str>,
    },
    /// A body that is not followed by a NUL where `content-length` says.
    #[error("no NUL follows the {length} octets of body that content-length promised")]
    NoNulAfterBody {
        /// The `content-length`.
        length: usize,
    },
    /// A body on a command that carries none.
    #[error("{command} must not have a body; only SEND, MESSAGE and ERROR may")]
    BodyNotAllowed {
        /// The command.
        command: Command,
    },
}

impl DecodeError {
    /// The limit that was reached, as the settings name it.
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::CommandTooLong { .. } => Some("command_bytes"),
            Self::HeaderTooLong { .. } => Some("header_line_bytes"),
            Self::HeadTooLong { .. } => Some("head_bytes"),
            Self::TooManyHeaders { .. } => Some("headers"),
            Self::BodyTooLong { .. } => Some("body_bytes"),
            Self::FrameTooLongBeforeConnected { .. } => Some("unconnected_frame_bytes"),
            Self::UnknownCommand { .. }
            | Self::NotAHeader { .. }
            | Self::HeaderNotUtf8 { .. }
            | Self::LoneCarriageReturn { .. }
            | Self::CrlfBefore1_2
            | Self::UndefinedEscape { .. }
            | Self::NulInHead
            | Self::NulBeforeHeaders
            | Self::BadContentLength { .. }
            | Self::NoNulAfterBody { .. }
            | Self::BodyNotAllowed { .. } => None,
        }
    }
}

struct Escape(Option<char>);

impl std::fmt::Display for Escape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(c) => write!(f, "\\{}", c.escape_default()),
            None => f.write_str("a backslash at the end"),
        }
    }
}

/// The beginning of a text that a peer sent, short enough to be quoted back.
pub(crate) fn clipped(text: &str) -> Box<str> {
    match text.char_indices().nth(QUOTED_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

const QUOTED_CHARS: usize = 64;
