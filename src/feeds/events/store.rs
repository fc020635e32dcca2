//! The most recent events, for the queries.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::event::{Event, FieldErrors, Rfc3339, Severity};
use super::intake::{Accepted, EventId, Rejected};
use super::{Settings, lock};

/// Keeps events as finished JSON, the newest at the back, up to a count and a number of octets.
///
/// A query never holds the lock for longer than [`PIECE`] events take, so that no sender waits
/// for one who looks through all of them.
#[derive(Debug)]
pub(super) struct Store {
    max_events: usize,
    max_bytes: usize,
    kept: Mutex<Kept>,
}

impl Store {
    pub(super) fn new(settings: &Settings) -> Self {
        let kept = Kept { events: VecDeque::with_capacity(settings.recent_events.min(AT_ONCE)), ..Kept::default() };
        Self { max_events: settings.recent_events, max_bytes: settings.recent_bytes, kept: Mutex::new(kept) }
    }

    /// Keeps the event and drops the oldest beyond the limits. An event that alone is larger
    /// than all octets allowed is not kept, and drops nothing.
    pub(super) fn push(&self, event: Event, accepted: &Accepted) {
        let Some(stored) = Stored::new(event, accepted) else { return };
        if self.max_events == 0 || stored.bytes() > self.max_bytes {
            return;
        }
        // Freed after the lock.
        let mut dropped = Vec::new();
        let mut kept = lock(&self.kept);
        kept.push(stored);
        while kept.events.len() > self.max_events || kept.bytes > self.max_bytes {
            dropped.extend(kept.drop_oldest());
        }
    }

    /// The event of that id as JSON, while it is kept.
    pub(super) fn by_id(&self, event_id: &str) -> Option<Stored> {
        let kept = lock(&self.kept);
        let number = kept.numbers.get(&EventId::parse(event_id)?)?;
        let at = usize::try_from(number.checked_sub(kept.dropped)?).ok()?;
        kept.events.get(at).cloned()
    }

    /// One page of those of that type, or of all, that were kept when it was asked for.
    pub(super) fn page(&self, event_type: Option<&str>, request: PageRequest) -> Page {
        let skip = request.page.saturating_mul(request.size);
        let Some(name) = event_type else {
            let kept = lock(&self.kept);
            let content = kept.events.iter().rev().skip(skip).take(request.size).cloned().collect();
            let total = kept.events.len();
            drop(kept);
            return Page::new(content, request, total);
        };
        let (mut content, mut total) = (Vec::new(), 0);
        let mut before = u64::MAX;
        loop {
            let (piece, from) = lock(&self.kept).piece(before);
            for event in piece.into_iter().rev().filter(|event| event.0.event_type == name) {
                if total >= skip && content.len() < request.size {
                    content.push(event);
                }
                total += 1;
            }
            match from {
                Some(from) => before = from,
                None => return Page::new(content, request, total),
            }
        }
    }
}

/// Which page of how many entries is wanted; as parsed, within the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    page: usize,
    size: usize,
}

impl PageRequest {
    /// Parses the query parameters `page` (from 0; default 0) and `size` (1 to 100; default 20); an
    /// empty one is its default, as with Spring.
    ///
    /// # Errors
    /// Each parameter that is no number or out of its range, with the reason.
    pub fn parse(page: Option<&str>, size: Option<&str>) -> Result<Self, Rejected> {
        let number = |text: Option<&str>, default| match text.map(str::trim) {
            None | Some("") => Some(default),
            Some(text) => text.parse::<usize>().ok(),
        };
        let mut errors = FieldErrors::default();
        let page = number(page, 0).filter(|page| *page <= MAX_PAGE);
        if page.is_none() {
            errors.add("page", format!("must be a number from 0 to {MAX_PAGE}"));
        }
        let size = number(size, DEFAULT_SIZE).filter(|size| (1..=MAX_SIZE).contains(size));
        if size.is_none() {
            errors.add("size", format!("must be a number from 1 to {MAX_SIZE}"));
        }
        match (page, size) {
            (Some(page), Some(size)) => Ok(Self { page, size }),
            _ => Err(errors.into()),
        }
    }
}

/// A page in the shape of Spring Data, newest event first.
///
/// A page beyond the last has empty `content`, as there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    content: Vec<Stored>,
    total_elements: usize,
    total_pages: usize,
    number: usize,
    size: usize,
    first: bool,
    last: bool,
    number_of_elements: usize,
    empty: bool,
}

impl Page {
    fn new(content: Vec<Stored>, request: PageRequest, total_elements: usize) -> Self {
        let PageRequest { page: number, size } = request;
        let total_pages = total_elements.div_ceil(size);
        Self {
            total_elements,
            total_pages,
            number,
            size,
            first: number == 0,
            last: number + 1 >= total_pages,
            number_of_elements: content.len(),
            empty: content.is_empty(),
            content,
        }
    }
}

/// A kept event, cheap to clone; serialises to the JSON of the queries.
#[derive(Debug, Clone)]
pub struct Stored(Arc<Parts>);

impl Stored {
    fn new(event: Event, accepted: &Accepted) -> Option<Self> {
        let view = StoredView {
            event_id: &accepted.event_id,
            event_type: &event.event_type,
            source: &event.source,
            timestamp: Rfc3339(event.timestamp.unwrap_or(accepted.received_at)),
            received_at: Rfc3339(accepted.received_at),
            user_id: event.user_id.as_deref(),
            session_id: event.session_id.as_deref(),
            severity: event.severity,
            tags: &event.tags,
            metadata: &event.metadata,
        };
        let json = serde_json::value::to_raw_value(&view).ok()?;
        let id = EventId::parse(&accepted.event_id)?;
        Some(Self(Arc::new(Parts { json, id, event_type: event.event_type })))
    }

    /// The JSON of the queries: `eventId`, `eventType`, `source`, `timestamp`, `receivedAt`,
    /// `userId` and `sessionId` (null where absent), `severity`, `tags`, `metadata`.
    pub fn json(&self) -> &str {
        self.0.json.get()
    }

    /// What it takes: its JSON, its type, and the tables.
    fn bytes(&self) -> usize {
        self.json().len() + self.0.event_type.len() + TABLE_BYTES
    }
}

impl Serialize for Stored {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.json.serialize(serializer)
    }
}

#[derive(Debug)]
struct Parts {
    json: Box<RawValue>,
    id: EventId,
    event_type: String,
}

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Stored>,
    // Event id → its number in the order of arrival; `dropped` is the number of the oldest kept.
    // A tree, because it grows by no sudden steps.
    numbers: BTreeMap<EventId, u64>,
    dropped: u64,
    bytes: usize,
}

impl Kept {
    fn push(&mut self, event: Stored) {
        self.bytes += event.bytes();
        self.numbers.insert(event.0.id, self.dropped + self.events.len() as u64);
        self.events.push_back(event);
    }

    fn drop_oldest(&mut self) -> Option<Stored> {
        let event = self.events.pop_front()?;
        self.bytes -= event.bytes();
        self.numbers.remove(&event.0.id);
        self.dropped += 1;
        Some(event)
    }

    /// The [`PIECE`] kept events before that number, oldest first, and where to go on; no number
    /// where nothing is before them.
    fn piece(&self, before: u64) -> (Vec<Stored>, Option<u64>) {
        let end = usize::try_from(before.saturating_sub(self.dropped))
            .map_or(self.events.len(), |end| end.min(self.events.len()));
        let start = end.saturating_sub(PIECE);
        let from = (start > 0).then_some(self.dropped + start as u64);
        (self.events.range(start..end).cloned().collect(), from)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StoredView<'a> {
    event_id: &'a str,
    event_type: &'a str,
    source: &'a str,
    timestamp: Rfc3339,
    received_at: Rfc3339,
    user_id: Option<&'a str>,
    session_id: Option<&'a str>,
    severity: Severity,
    tags: &'a BTreeMap<String, String>,
    metadata: &'a Map<String, Value>,
}

const DEFAULT_SIZE: usize = 20;
const MAX_SIZE: usize = 100;
/// Spring's own bound: a page number is a Java int.
const MAX_PAGE: usize = 2_147_483_647;
/// The structures around one event's strings.
const TABLE_BYTES: usize = 200;
/// Events that a query looks at under one lock: some 100 ns.
const PIECE: usize = 32;
/// Events whose places are there from the start.
const AT_ONCE: usize = 16_384;
