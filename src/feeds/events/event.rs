//! One event as a client sends it: JSON in, checked fields or a reason per field out.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Datelike, TimeDelta, Timelike as _, Utc};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::latency::Micros;

/// An event whose every field has been checked.
///
/// Fields that the protocol does not name are ignored. A key that occurs twice counts with its
/// last value, as with Jackson. An optional field that is JSON `null` is absent, and so is a
/// blank `userId` or `sessionId`.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What happened, not blank, at most 255 octets.
    pub event_type: String,
    /// Who says so, not blank, at most 255 octets.
    pub source: String,
    /// When it happened; absent: when it is received.
    pub timestamp: Option<DateTime<Utc>>,
    /// Whom it concerns, at most 255 octets.
    pub user_id: Option<String>,
    /// In which session, at most 255 octets.
    pub session_id: Option<String>,
    /// How bad it is; default INFO.
    pub severity: Severity,
    /// At most 64 names with their values.
    pub tags: BTreeMap<String, String>,
    /// Anything; `latency` within it is the event's latency.
    pub metadata: Map<String, Value>,
    /// `metadata.latency`, where given.
    stated_latency: Option<Micros>,
}

impl Event {
    /// Parses the JSON of one event that arrives at the time `now`.
    ///
    /// # Errors
    /// All fields that are wrong, each with its reason; `body` where it is not one JSON object.
    pub fn parse(json: &[u8], now: DateTime<Utc>) -> Result<Self, FieldErrors> {
        match serde_json::from_slice(json) {
            Ok(value) => Self::from_value(value, now),
            Err(error) => Err(FieldErrors::body(json_reason(&error))),
        }
    }

    /// Checks the fields of an event that is parsed already.
    ///
    /// # Errors
    /// All fields that are wrong, each with its reason.
    pub fn from_value(value: Value, now: DateTime<Utc>) -> Result<Self, FieldErrors> {
        let Value::Object(fields) = value else {
            return Err(FieldErrors::body("must be a JSON object".into()));
        };
        let mut checks = Checks { fields, errors: FieldErrors::default() };
        let event_type = checks.required("eventType");
        let source = checks.required("source");
        let timestamp = checks.timestamp(now);
        let user_id = checks.optional("userId");
        let session_id = checks.optional("sessionId");
        let severity = checks.severity();
        let tags = checks.tags();
        let (metadata, stated_latency) = checks.metadata();
        match (event_type, source) {
            (Some(event_type), Some(source)) if checks.errors.is_empty() => Ok(Self {
                event_type,
                source,
                timestamp,
                user_id,
                session_id,
                severity,
                tags,
                metadata,
                stated_latency,
            }),
            _ => Err(checks.errors),
        }
    }

    /// The latency of an event received at that time: the stated one, else the age of its
    /// timestamp where that is positive. At most a hundred years.
    pub fn latency(&self, received_at: DateTime<Utc>) -> Option<Micros> {
        let age = || (received_at - self.timestamp?).num_microseconds().and_then(|us| u64::try_from(us).ok());
        self.stated_latency.or_else(|| age().filter(|us| *us > 0).map(Micros::saturating))
    }
}

/// How bad an event is. ERROR and CRITICAL count as errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// As it should be.
    Info,
    /// Worth a look.
    Warning,
    /// Failed.
    Error,
    /// Failed badly.
    Critical,
}

impl Severity {
    /// All of them, mildest first.
    pub const ALL: [Self; 4] = [Self::Info, Self::Warning, Self::Error, Self::Critical];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }

    /// Whether it counts as an error.
    pub fn is_error(self) -> bool {
        matches!(self, Self::Error | Self::Critical)
    }
}

/// What is wrong with an event: field → reason, in the order of the names.
///
/// `body` is the whole of what was sent; `tags.NAME` and `metadata.latency` are within.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct FieldErrors(BTreeMap<String, String>);

impl FieldErrors {
    /// One reason that concerns all of what was sent.
    pub(in crate::feeds) fn body(reason: String) -> Self {
        Self::one("body", reason)
    }

    /// One field's reason.
    pub(super) fn one(field: &str, reason: String) -> Self {
        Self(BTreeMap::from([(field.to_owned(), reason)]))
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The reason for that field.
    pub fn reason(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(String::as_str)
    }

    /// Each field with its reason.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(field, reason)| (field.as_str(), reason.as_str()))
    }

    pub(in crate::feeds) fn add(&mut self, field: &str, reason: impl Into<String>) {
        self.0.insert(field.to_owned(), reason.into());
    }
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (field, reason)) in self.iter().enumerate() {
            write!(f, "{}{field} {reason}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// RFC 3339 in UTC with milliseconds and `Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::feeds) struct Rfc3339(pub(in crate::feeds) DateTime<Utc>);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why serde_json refused, in words for the sender.
pub(in crate::feeds) fn json_reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.starts_with("recursion limit exceeded") {
        return "is nested too deeply: at most 127 levels".into();
    }
    format!("is not valid JSON: {text}")
}

struct Checks {
    fields: Map<String, Value>,
    errors: FieldErrors,
}

impl Checks {
    fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    fn required(&mut self, name: &str) -> Option<String> {
        let Some(value) = self.take(name) else {
            self.errors.add(name, "is required");
            return None;
        };
        let text = self.text(name, value)?;
        if text.trim().is_empty() {
            self.errors.add(name, "must not be blank");
            return None;
        }
        Some(text)
    }

    fn optional(&mut self, name: &str) -> Option<String> {
        let value = self.take(name)?;
        self.text(name, value).filter(|text| !text.trim().is_empty())
    }

    fn text(&mut self, name: &str, value: Value) -> Option<String> {
        let Value::String(text) = value else {
            self.errors.add(name, "must be a string");
            return None;
        };
        if text.len() > MAX_NAME_BYTES {
            self.errors.add(name, format!("must be at most {MAX_NAME_BYTES} octets, has {}", text.len()));
            return None;
        }
        Some(text)
    }

    fn timestamp(&mut self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let value = self.take("timestamp")?;
        let parsed = value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        let Some(at) = parsed.map(|at| without_leap_second(at.with_timezone(&Utc))) else {
            let reason = "must be a date and time of RFC 3339, such as 2026-01-12T14:23:15.789Z";
            self.errors.add("timestamp", reason);
            return None;
        };
        if at.year() < 1970 {
            self.errors.add("timestamp", "must not be before 1970");
        } else if at - now > MAX_AHEAD {
            self.errors.add("timestamp", "must not be more than 24 hours in the future");
        }
        Some(at)
    }

    fn severity(&mut self) -> Severity {
        let Some(value) = self.take("severity") else {
            return Severity::Info;
        };
        let named =
            |name: &str| Severity::ALL.into_iter().find(|severity| severity.as_str().eq_ignore_ascii_case(name));
        value.as_str().and_then(named).unwrap_or_else(|| {
            self.errors.add("severity", "must be one of INFO, WARNING, ERROR, CRITICAL");
            Severity::Info
        })
    }

    fn tags(&mut self) -> BTreeMap<String, String> {
        let entries = match self.take("tags") {
            None => return BTreeMap::new(),
            Some(Value::Object(entries)) => entries,
            Some(_) => {
                self.errors.add("tags", "must be an object of strings");
                return BTreeMap::new();
            }
        };
        if entries.len() > MAX_TAGS {
            self.errors.add("tags", format!("must be at most {MAX_TAGS}, are {}", entries.len()));
            return BTreeMap::new();
        }
        let mut tags = BTreeMap::new();
        for (name, value) in entries {
            if let Value::String(value) = value {
                tags.insert(name, value);
            } else {
                self.errors.add(&format!("tags.{}", shown(&name)), "must be a string");
            }
        }
        tags
    }

    fn metadata(&mut self) -> (Map<String, Value>, Option<Micros>) {
        let metadata = match self.take("metadata") {
            None => return (Map::new(), None),
            Some(Value::Object(metadata)) => metadata,
            Some(_) => {
                self.errors.add("metadata", "must be an object");
                return (Map::new(), None);
            }
        };
        match metadata.get("latency").map_or(Ok(None), latency_of) {
            Ok(latency) => (metadata, latency),
            Err(reason) => {
                self.errors.add("metadata.latency", reason);
                (metadata, None)
            }
        }
    }
}

/// A name of the sender's own choice, fit for one line of an error or of the log.
fn shown(name: &str) -> String {
    let end = if name.chars().nth(MAX_SHOWN).is_some() { "…" } else { "" };
    let start: String = name.chars().take(MAX_SHOWN).collect();
    format!("{}{end}", start.escape_debug())
}

/// What states no number states nothing.
fn latency_of(value: &Value) -> Result<Option<Micros>, &'static str> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse::<f64>().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    match number {
        Some(ms) if !ms.is_finite() => Err("must be finite"),
        Some(ms) if ms < 0.0 => Err("must not be negative"),
        number => Ok(number.map(Micros::from_ms)),
    }
}

/// The second after the minute for `:60`, which JavaScript's Date does not read.
fn without_leap_second(at: DateTime<Utc>) -> DateTime<Utc> {
    let nanos = i64::from(at.nanosecond()) - 1_000_000_000;
    if nanos < 0 { at } else { at.with_nanosecond(0).unwrap_or(at) + TimeDelta::nanoseconds(1_000_000_000 + nanos) }
}

const MAX_NAME_BYTES: usize = 255;
const MAX_TAGS: usize = 64;
/// Characters of a tag's name in a reason.
const MAX_SHOWN: usize = 64;
pub(in crate::feeds) const MAX_AHEAD: TimeDelta = TimeDelta::hours(24);
