//! What a sender is told: accepted or refused, one event or a batch.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::event::{FieldErrors, Rfc3339, json_reason};

/// An event that was counted; serialises to the body of the 202.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// `evt_` and 32 hexadecimal digits, unique and not to be guessed.
    pub event_id: String,
    /// As it was sent.
    pub event_type: String,
    /// The server's time.
    pub received_at: DateTime<Utc>,
}

impl Serialize for Accepted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("eventId", &self.event_id)?;
        map.serialize_entry("eventType", &self.event_type)?;
        map.serialize_entry("status", "accepted")?;
        map.serialize_entry("receivedAt", &Rfc3339(self.received_at))?;
        map.end()
    }
}

/// What was sent is refused; serialises to the body of the 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{MESSAGE}: {errors}")]
pub struct Rejected {
    /// Every field that is wrong, with the reason.
    pub errors: FieldErrors,
}

impl From<FieldErrors> for Rejected {
    fn from(errors: FieldErrors) -> Self {
        Self { errors }
    }
}

impl Serialize for Rejected {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("status", "error")?;
        map.serialize_entry("message", MESSAGE)?;
        map.serialize_entry("errors", &self.errors)?;
        map.end()
    }
}

/// What became of a batch, in its order; serialises to `{"status","accepted","rejected","results"}`.
///
/// `status` is `accepted`, `partial` or `error`; a result is the body that the event alone
/// would have been answered with, and its `index`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchOutcome {
    /// One for each event.
    pub results: Vec<Result<Accepted, Rejected>>,
}

impl BatchOutcome {
    /// How many were counted.
    pub fn accepted(&self) -> usize {
        self.results.iter().filter(|result| result.is_ok()).count()
    }
}

impl Serialize for BatchOutcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let accepted = self.accepted();
        let rejected = self.results.len() - accepted;
        let status = match (accepted, rejected) {
            (_, 0) => "accepted",
            (0, _) => "error",
            _ => "partial",
        };
        let results = self.results.iter().enumerate().map(|(index, result)| match result {
            Ok(accepted) => Indexed { index, accepted: Some(accepted), rejected: None },
            Err(rejected) => Indexed { index, accepted: None, rejected: Some(rejected) },
        });
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("status", status)?;
        map.serialize_entry("accepted", &accepted)?;
        map.serialize_entry("rejected", &rejected)?;
        map.serialize_entry("results", &results.collect::<Vec<_>>())?;
        map.end()
    }
}

/// What became of a body that may be one event or a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// It was one event.
    One(Accepted),
    /// It was an array.
    Batch(BatchOutcome),
}

/// Whether the JSON is an array, or wants to be one.
pub(in crate::feeds) fn is_array(json: &[u8]) -> bool {
    json.trim_ascii_start().first() == Some(&b'[')
}

/// Takes a batch apart into the JSON of what it holds; `what` names that.
pub(in crate::feeds) fn split<'a>(json: &'a [u8], what: &str) -> Result<Vec<&'a RawValue>, FieldErrors> {
    if json.len() > MAX_BATCH_BYTES {
        return Err(FieldErrors::body(format!("must be at most {MAX_BATCH_BYTES} octets, has {}", json.len())));
    }
    if !is_array(json) && serde_json::from_slice::<serde::de::IgnoredAny>(json).is_ok() {
        return Err(FieldErrors::body(format!("must be a JSON array of {what}")));
    }
    let items: Items<'_> = serde_json::from_slice(json).map_err(|error| FieldErrors::body(json_reason(&error)))?;
    match items {
        Items::TooMany => Err(FieldErrors::body(format!("must hold at most {MAX_BATCH} {what}"))),
        Items::All(events) if events.is_empty() => Err(FieldErrors::body("must hold at least one entry".into())),
        Items::All(events) => Ok(events),
    }
}

/// Makes the names of events: a secret-keyed hash of a counter, so neither order nor number can
/// be read from them.
#[derive(Debug, Default)]
pub(super) struct EventIds {
    keys: [RandomState; 2],
    next: AtomicU64,
}

impl EventIds {
    pub(super) fn next(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let [a, b] = &self.keys;
        format!("{EVENT_ID}{:016x}{:016x}", a.hash_one(number), b.hash_one(number))
    }
}

/// The number that an event's name is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EventId(u128);

impl EventId {
    /// Of a name that [`EventIds`] could have made, to the letter.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let digits = name.strip_prefix(EVENT_ID).filter(|digits| digits.len() == 32)?;
        let is_digit = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
        if !digits.bytes().all(is_digit) {
            return None;
        }
        u128::from_str_radix(digits, 16).ok().map(Self)
    }
}

#[derive(Serialize)]
struct Indexed<'a> {
    index: usize,
    #[serde(flatten)]
    accepted: Option<&'a Accepted>,
    #[serde(flatten)]
    rejected: Option<&'a Rejected>,
}

/// The elements of an array, or the fact that it has too many: those beyond take no memory.
enum Items<'a> {
    All(Vec<&'a RawValue>),
    TooMany,
}

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ItemsVisitor)
    }
}

struct ItemsVisitor;

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Items<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut events = Vec::new();
        while let Some(event) = seq.next_element::<&RawValue>()? {
            if events.len() == MAX_BATCH {
                while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                return Ok(Items::TooMany);
            }
            events.push(event);
        }
        Ok(Items::All(events))
    }
}

/// Events of one batch, as the public API documents it.
const MAX_BATCH: usize = 1000;
/// Octets of one batch: 8 KiB for each event of a full one.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
const EVENT_ID: &str = "evt_";
const MESSAGE: &str = "Validation failed";
