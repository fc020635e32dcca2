//! A recorded event stream: one line `{"at_ms": OFFSET, "event": {…}}` for each event.

use serde::Deserialize;
use serde_json::value::RawValue;

/// Reads a recording; each event with its offset from the recording's start, in order.
///
/// Blank lines are skipped. The events themselves are checked when they are sent.
///
/// # Errors
/// The first line that is not of that form, or whose offset is less than the line's before it.
pub fn parse(recording: &str) -> Result<Vec<Recorded<'_>>, ReplayError> {
    let mut events: Vec<Recorded<'_>> = Vec::new();
    for (at, text) in recording.lines().enumerate() {
        if text.trim().is_empty() {
            continue;
        }
        let line = at + 1;
        let Line { at_ms, event } =
            serde_json::from_str(text).map_err(|error| ReplayError::Form { line, reason: error.to_string() })?;
        if events.last().is_some_and(|before| before.at_ms > at_ms) {
            return Err(ReplayError::Order { line, at_ms });
        }
        events.push(Recorded { at_ms, event: event.get() });
    }
    Ok(events)
}

/// One event of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded<'a> {
    /// Milliseconds since the recording's start.
    pub at_ms: u64,
    /// The JSON to send, without a timestamp.
    pub event: &'a str,
}

/// Why a recording cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// A line is no JSON object with `at_ms` and `event`.
    #[error("line {line} is not {{\"at_ms\":…,\"event\":…}}: {reason}")]
    Form {
        /// Counted from 1.
        line: usize,
        /// What the parser says.
        reason: String,
    },
    /// A line's offset is less than its predecessor's.
    #[error("line {line} goes back in time to {at_ms} ms")]
    Order {
        /// Counted from 1.
        line: usize,
        /// Its offset.
        at_ms: u64,
    },
}

#[derive(Deserialize)]
struct Line<'a> {
    at_ms: u64,
    #[serde(borrow)]
    event: &'a RawValue,
}
