//! One log line, checked, and the message it becomes.

use bytes::Bytes;
use chrono::{DateTime, Datelike as _, Utc};
use serde::Serialize;
use serde_json::{Map, Value};

use super::super::events::{FieldErrors, MAX_AHEAD, Rfc3339, json_reason};
use super::level;
use crate::message::{Destination, Header, Publication};

/// A log line.
#[derive(Debug, Clone, PartialEq)]
pub struct LogEntry {
    /// When it was written.
    pub timestamp: DateTime<Utc>,
    /// How bad it is: lower case; `warn`, `error` and `fatal` in these spellings.
    pub level: String,
    /// What it says, at most 1 MiB.
    pub message: String,
    /// Who wrote it, at most 255 octets without control characters.
    pub source: String,
    /// Anything more.
    pub metadata: Map<String, Value>,
}

impl LogEntry {
    /// Parses the JSON of one entry that arrives at the time `now`; `source` is for one that
    /// names none.
    ///
    /// # Errors
    /// All fields that are wrong, each with its reason.
    pub fn parse(json: &[u8], now: DateTime<Utc>, source: &str) -> Result<Self, FieldErrors> {
        match serde_json::from_slice(json) {
            Ok(Value::Object(fields)) => Self::from_fields(fields, now, source),
            Ok(_) => Err(FieldErrors::body("must be a JSON object".into())),
            Err(error) => Err(FieldErrors::body(json_reason(&error))),
        }
    }

    fn from_fields(mut fields: Map<String, Value>, now: DateTime<Utc>, source: &str) -> Result<Self, FieldErrors> {
        let mut errors = FieldErrors::default();
        let mut take = |name: &str| fields.remove(name).filter(|value| !value.is_null());
        let timestamp = match take("timestamp") {
            None => now,
            Some(value) => timestamp(&value, now).unwrap_or_else(|reason| {
                errors.add("timestamp", reason);
                now
            }),
        };
        let level = match take("level") {
            None => "info".to_owned(),
            Some(value) => value.as_str().and_then(level::named).unwrap_or_else(|| {
                errors.add("level", "must be a word of 1 to 32 letters, such as info, warn or error");
                String::new()
            }),
        };
        let message = match take("message") {
            None => {
                errors.add("message", "is required");
                String::new()
            }
            Some(Value::String(message)) => {
                if message.trim().is_empty() {
                    errors.add("message", "must not be blank");
                } else if message.len() > MAX_MESSAGE_BYTES {
                    let reason = format!("must be at most {MAX_MESSAGE_BYTES} octets, has {}", message.len());
                    errors.add("message", reason);
                }
                message
            }
            Some(_) => {
                errors.add("message", "must be a string");
                String::new()
            }
        };
        let source = match take("source") {
            None => source.to_owned(),
            Some(Value::String(source)) if is_source(&source) => source,
            Some(_) => {
                errors.add("source", "must be a string of 1 to 255 octets without control characters");
                String::new()
            }
        };
        let metadata = match take("metadata") {
            None => Map::new(),
            Some(Value::Object(metadata)) => metadata,
            Some(_) => {
                errors.add("metadata", "must be an object");
                Map::new()
            }
        };
        if errors.is_empty() { Ok(Self { timestamp, level, message, source, metadata }) } else { Err(errors) }
    }

    /// The message for all who listen, with its level and source as headers for selectors.
    pub fn publication(&self, destination: &Destination) -> Publication {
        let headers: Vec<Header> = vec![
            ("content-type".into(), "application/json".into()),
            ("level".into(), self.level.as_str().into()),
            ("source".into(), self.source.as_str().into()),
        ];
        Publication { destination: destination.clone(), headers, body: self.json() }
    }

    fn json(&self) -> Bytes {
        let Self { timestamp, level, message, source, metadata } = self;
        let written = Written { kind: "log", timestamp: Rfc3339(*timestamp), level, message, source, metadata };
        // Texts and maps with text keys always serialise.
        serde_json::to_vec(&written).unwrap_or_default().into()
    }
}

/// Whether that may stand as a source.
pub(super) fn is_source(source: &str) -> bool {
    (1..=MAX_SOURCE_BYTES).contains(&source.len()) && !source.contains(char::is_control)
}

fn timestamp(value: &Value, now: DateTime<Utc>) -> Result<DateTime<Utc>, &'static str> {
    let parsed = value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    let at = parsed.ok_or("must be a date and time of RFC 3339, such as 2026-01-12T14:23:15.789Z")?.with_timezone(&Utc);
    if at.year() < 1970 {
        Err("must not be before 1970")
    } else if at - now > MAX_AHEAD {
        Err("must not be more than 24 hours in the future")
    } else {
        Ok(at)
    }
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: Rfc3339,
    level: &'a str,
    message: &'a str,
    source: &'a str,
    metadata: &'a Map<String, Value>,
}

/// Octets of one line.
pub(super) const MAX_MESSAGE_BYTES: usize = 1 << 20;
const MAX_SOURCE_BYTES: usize = 255;
