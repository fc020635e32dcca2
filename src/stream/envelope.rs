//! [`Envelope`]: the JSON object that a message is to listeners, read once for all of them.

use std::borrow::Cow;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::filter::plain_level;
use crate::message::Message;

/// A message as listeners of streams get it, and what filters look at.
#[derive(Debug)]
pub struct Envelope {
    /// Which of the kinds it is.
    pub kind: Kind,
    /// A log line's level, lower case, `warn` for both ways of writing it.
    pub level: String,
    /// A log line's source.
    pub source: String,
    /// A log line's text.
    pub message: String,
    /// The object, on one line.
    pub json: Bytes,
}

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `/topic/logs`.
    Log,
    /// `/topic/system`.
    Metrics,
    /// `/topic/alerts`.
    Alert,
}

impl Kind {
    /// The topic that carries them.
    pub fn topic(self) -> &'static str {
        match self {
            Self::Log => "/topic/logs",
            Self::Metrics => "/topic/system",
            Self::Alert => "/topic/alerts",
        }
    }

    /// The object's `type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Metrics => "metrics",
            Self::Alert => "alert",
        }
    }

    fn of(topic: &str) -> Option<Self> {
        [Self::Log, Self::Metrics, Self::Alert].into_iter().find(|kind| kind.topic() == topic)
    }
}

/// The fields that clients rely on.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow, default)]
    level: Cow<'a, str>,
    #[serde(borrow, default)]
    source: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
}

impl Envelope {
    /// That of a message, read at the first call; `None` for one of another topic.
    pub fn of(message: &Message) -> Option<&Self> {
        message.view(Self::read)?.as_ref()
    }

    fn read(message: &Message) -> Option<Self> {
        let kind = Kind::of(message.destination.as_str())?;
        if let Ok(fields) = serde_json::from_slice::<Fields<'_>>(&message.body)
            && fields.kind == kind.name()
            && !fields.timestamp.is_empty()
            && (kind == Kind::Metrics || !fields.message.is_empty())
            && (kind != Kind::Log || !fields.level.is_empty())
            && !message.body.iter().any(|octet| matches!(octet, b'\r' | b'\n'))
        {
            return Some(Self {
                kind,
                level: plain_level(&fields.level),
                source: fields.source.into_owned(),
                message: fields.message.into_owned(),
                json: message.body.clone(),
            });
        }
        Some(Self::made_up(kind, message))
    }

    /// Anyone who may can publish to these topics: what is missing is put there, and what is
    /// no object at all is the text of one.
    fn made_up(kind: Kind, message: &Message) -> Self {
        let mut object = match serde_json::from_slice(&message.body) {
            Ok(Value::Object(object)) => object,
            Ok(_) | Err(_) => {
                let text = String::from_utf8_lossy(&message.body).into_owned();
                Map::from_iter([("message".to_owned(), Value::String(text))])
            }
        };
        object.insert("type".into(), kind.name().into());
        if !object.get("timestamp").is_some_and(Value::is_string) {
            object.insert("timestamp".into(), rfc3339(message.timestamp_ms).into());
        }
        let mut text = |name: &str, other: &str| match object.get(name) {
            Some(Value::String(text)) if !text.is_empty() => text.clone(),
            Some(value) if !value.is_null() && !value.is_string() => {
                let text = value.to_string();
                object.insert(name.into(), text.as_str().into());
                text
            }
            None | Some(_) => {
                let text = message.header(name).unwrap_or(other).to_owned();
                object.insert(name.into(), text.as_str().into());
                text
            }
        };
        let (level, source, message) = match kind {
            Kind::Log => (text("level", "info"), text("source", ""), text("message", "")),
            Kind::Alert => {
                text("severity", "info");
                (String::new(), text("source", ""), text("message", ""))
            }
            Kind::Metrics => Default::default(),
        };
        Self { kind, level: plain_level(&level), source, message, json: Value::Object(object).to_string().into() }
    }
}

/// Something is wrong with what the client sent, or with how it reads.
pub(super) fn error(code: &str, message: &str, now_ms: u64) -> String {
    written(&Told { kind: "error", code: Some(code), message: Some(message), ..Told::at(now_ms) })
}

/// The answer to a ping.
pub(super) fn pong(now_ms: u64) -> String {
    written(&Told { kind: "pong", ..Told::at(now_ms) })
}

/// Some messages are not to be had any more.
pub(super) fn gap(reason: &str, dropped: u32, now_ms: u64) -> String {
    let dropped = (dropped > 0).then_some(dropped);
    written(&Told { kind: "gap", reason: Some(reason), dropped, ..Told::at(now_ms) })
}

/// What the server says of itself; the fields in the order in which they are documented.
#[derive(Default, Serialize)]
struct Told<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    timestamp: String,
}

impl Told<'_> {
    fn at(now_ms: u64) -> Self {
        Self { timestamp: rfc3339(now_ms), ..Self::default() }
    }
}

/// Writing texts and numbers does not fail.
fn written(told: &Told<'_>) -> String {
    serde_json::to_string(told).unwrap_or_default()
}

/// A time in milliseconds since the Unix epoch, in UTC with milliseconds.
pub(super) fn rfc3339(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::message;
    use super::*;

    #[test]
    fn an_object_as_documented_is_sent_as_it_came() {
        let body = r#"{"type":"log","timestamp":"2024-01-15T10:30:45.123Z","level":"Warning","message":"a\"b","source":"s","metadata":{}}"#;
        let message = message("/topic/logs", &[], body);
        let envelope = Envelope::of(&message).unwrap();
        assert_eq!(envelope.json.as_ptr(), message.body.as_ptr());
        assert_eq!((&*envelope.level, &*envelope.source, &*envelope.message), ("warn", "s", "a\"b"));
    }

    #[test]
    fn what_is_missing_is_put_there() {
        let json = |topic, headers, body| {
            let message = message(topic, headers, body);
            serde_json::from_slice::<Value>(&Envelope::of(&message).unwrap().json).unwrap()
        };
        assert_eq!(
            json("/topic/logs", &[("level", "error"), ("source", "x")], "plain text"),
            json!({"type": "log", "timestamp": "1970-01-01T00:00:01.234Z", "level": "error", "source": "x", "message": "plain text"})
        );
        assert_eq!(
            json("/topic/logs", &[], r#"{"message":5,"level":null,"extra":[1]}"#),
            json!({"type": "log", "timestamp": "1970-01-01T00:00:01.234Z", "level": "info", "source": "", "message": "5", "extra": [1]})
        );
        assert_eq!(
            json("/topic/alerts", &[], r#"{"severity":"critical","message":"m"}"#),
            json!({"type": "alert", "timestamp": "1970-01-01T00:00:01.234Z", "severity": "critical", "message": "m", "source": ""})
        );
        assert_eq!(
            json("/topic/system", &[], r#"{"system":{}}"#),
            json!({"type": "metrics", "timestamp": "1970-01-01T00:00:01.234Z", "system": {}})
        );
    }

    #[test]
    fn an_object_of_several_lines_becomes_one_line() {
        let body = "{\"type\":\"log\",\n\"timestamp\":\"t\",\r\n\"level\":\"info\",\"message\":\"m\\n\"}";
        let message = message("/topic/logs", &[], body);
        let envelope = Envelope::of(&message).unwrap();
        assert!(!envelope.json.iter().any(u8::is_ascii_control));
        assert_eq!(envelope.message, "m\n");
    }

    #[test]
    fn other_topics_have_no_envelope() {
        assert!(Envelope::of(&message("/topic/other", &[], "{}")).is_none());
    }
}
