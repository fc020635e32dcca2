//! Lines of files: what is in them, by the way they are written.

use chrono::{DateTime, Datelike as _, Utc};
use serde_json::{Map, Value};

use super::entry::LogEntry;
use super::level;

/// How the lines of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parser {
    /// By each line itself: an object is JSON, a `level=` or `msg=` pair is logfmt, else plain.
    Auto,
    /// One JSON object a line; a line that is none is plain.
    Json,
    /// `key=value` pairs; a line that has none is plain.
    Logfmt,
    /// Text, whose level is looked for.
    Plain,
}

impl Parser {
    /// Reads one line that was found at the time `now` in the file called `source`.
    pub fn parse(self, line: &str, now: DateTime<Utc>, source: &str) -> LogEntry {
        let structured = match self {
            Self::Json => json(line),
            Self::Logfmt => logfmt(line),
            Self::Auto => json(line).or_else(|| logfmt(line).filter(is_telling)),
            Self::Plain => None,
        };
        structured.map_or_else(|| plain(line, now, source), |fields| entry(fields, line, now, source))
    }
}

fn plain(line: &str, now: DateTime<Utc>, source: &str) -> LogEntry {
    let metadata = Map::new();
    let level = level::detect(line).to_owned();
    LogEntry { timestamp: now, level, message: line.to_owned(), source: source.to_owned(), metadata }
}

fn json(line: &str) -> Option<Map<String, Value>> {
    match serde_json::from_str(line.trim()) {
        Ok(Value::Object(fields)) => Some(fields),
        Ok(_) | Err(_) => None,
    }
}

/// Whether it is more than a sentence with an equals sign in it.
fn is_telling(fields: &Map<String, Value>) -> bool {
    LEVELS.iter().chain(MESSAGES).any(|name| fields.contains_key(*name))
}

/// `key=value key="a \"quoted\" value" flag`; `None` where nothing is a pair.
fn logfmt(line: &str) -> Option<Map<String, Value>> {
    let mut fields = Map::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let (value, after) = match after.strip_prefix('=') {
            None => (None, after),
            Some(after) if after.starts_with('"') => {
                let (value, after) = quoted(after)?;
                (Some(value), after)
            }
            Some(after) => {
                let end = after.find(char::is_whitespace).unwrap_or(after.len());
                let (value, after) = after.split_at(end);
                (Some(value.to_owned()), after)
            }
        };
        if let Some(value) = value.filter(|_| !key.is_empty()) {
            fields.insert(key.to_owned(), Value::String(value));
        }
        rest = after.trim_start();
    }
    (!fields.is_empty()).then_some(fields)
}

/// The text in front, which begins with a quote, and what follows it; `None` where it does not end.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                other => value.push(other),
            },
            _ => value.push(c),
        }
    }
    None
}

/// Puts the usual names of fields to their use; what is left is metadata.
fn entry(mut fields: Map<String, Value>, line: &str, now: DateTime<Utc>, source: &str) -> LogEntry {
    let mut take = |names: &[&str], reads: &dyn Fn(&Value) -> bool| {
        let name = names.iter().find(|name| fields.get(**name).is_some_and(reads))?;
        fields.remove(*name)
    };
    let timestamp = take(TIMES, &|value| time(value, now).is_some()).and_then(|value| time(&value, now)).unwrap_or(now);
    let level = take(LEVELS, &|value| level_of(value).is_some()).and_then(|value| level_of(&value));
    let message = take(MESSAGES, &|value| value.is_string());
    let own_source = take(SOURCES, &|value| value.as_str().is_some_and(super::entry::is_source));
    let text = |value: Option<Value>| value.and_then(|value| value.as_str().map(str::to_owned));
    let metadata = match fields.remove("metadata") {
        Some(Value::Object(inner)) if fields.is_empty() => inner,
        Some(other) => {
            fields.insert("metadata".into(), other);
            fields
        }
        None => fields,
    };
    LogEntry {
        timestamp,
        level: level.unwrap_or_else(|| "info".to_owned()),
        message: text(message).unwrap_or_else(|| line.to_owned()),
        source: text(own_source).unwrap_or_else(|| source.to_owned()),
        metadata,
    }
}

/// A name, or a number as pino and bunyan write it.
fn level_of(value: &Value) -> Option<String> {
    if let Some(name) = value.as_str() {
        return level::named(name);
    }
    let name = match value.as_u64()? {
        10 => "trace",
        20 => "debug",
        30 => "info",
        40 => "warn",
        50 => "error",
        60 => "fatal",
        _ => return None,
    };
    Some(name.to_owned())
}

/// RFC 3339, or seconds or milliseconds since the Unix epoch.
fn time(value: &Value, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let at = match value.as_str() {
        Some(text) => DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc),
        None => {
            let number = value.as_f64().filter(|number| *number > 0.0)?;
            let ms = if number < SECONDS_BELOW { number * 1000.0 } else { number };
            #[expect(clippy::cast_possible_truncation, reason = "float casts saturate, and the range is checked")]
            DateTime::from_timestamp_millis(ms as i64)?
        }
    };
    (at.year() >= 1970 && at - now <= super::super::events::MAX_AHEAD).then_some(at)
}

const TIMES: &[&str] = &["timestamp", "time", "ts", "@timestamp"];
const LEVELS: &[&str] = &["level", "lvl", "severity", "loglevel"];
const MESSAGES: &[&str] = &["message", "msg"];
const SOURCES: &[&str] = &["source", "service", "logger", "app"];
/// As seconds that is the year 5138, as milliseconds 1973.
const SECONDS_BELOW: f64 = 1e11;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_json_line_has_its_fields_under_their_usual_names() {
        let entry = parse(Parser::Json, r#"{"ts":1768226400.5,"lvl":"WARN","msg":"slow","service":"api","ms":7}"#);
        assert_eq!((entry.level.as_str(), entry.message.as_str(), entry.source.as_str()), ("warn", "slow", "api"));
        assert_eq!(entry.timestamp.timestamp_millis(), 1_768_226_400_500);
        assert_eq!(Value::from(entry.metadata), json!({"ms": 7}));
        let entry = parse(Parser::Json, r#"{"time":1768226400123,"level":50,"msg":"x","metadata":{"a":1}}"#);
        assert_eq!((entry.level.as_str(), entry.timestamp.timestamp_millis()), ("error", 1_768_226_400_123));
        assert_eq!(Value::from(entry.metadata), json!({"a": 1}));
        let entry = parse(Parser::Json, r#"{"a":1}"#);
        assert_eq!((entry.message.as_str(), entry.level.as_str()), (r#"{"a":1}"#, "info"));
    }

    #[test]
    fn a_logfmt_line_has_pairs_with_quotes_and_escapes() {
        let entry =
            parse(Parser::Logfmt, r#"time=2026-01-12T13:00:00Z level=error msg="a \"b\"\n" path=/x empty= flag"#);
        assert_eq!((entry.level.as_str(), entry.message.as_str()), ("error", "a \"b\"\n"));
        assert_eq!(Value::from(entry.metadata), json!({"path": "/x", "empty": ""}));
        assert_eq!(entry.timestamp.timestamp(), 1_768_222_800);
        let broken = r#"level=error msg="no end"#;
        assert_eq!(parse(Parser::Logfmt, broken).message, broken);
    }

    #[test]
    fn auto_looks_at_each_line_and_a_line_that_is_not_as_it_should_be_is_plain() {
        assert_eq!(parse(Parser::Auto, r#"{"message":"j","level":"debug"}"#).message, "j");
        assert_eq!(parse(Parser::Auto, "level=warn msg=l").message, "l");
        let sentence = "ERROR: retry in x=5 seconds";
        let entry = parse(Parser::Auto, sentence);
        assert_eq!(
            (entry.message.as_str(), entry.level.as_str(), entry.source.as_str()),
            (sentence, "error", "app.log")
        );
        assert_eq!(parse(Parser::Json, "WARN not json").level, "warn");
        assert_eq!(parse(Parser::Plain, r#"{"level":"error"}"#).message, r#"{"level":"error"}"#);
    }

    #[test]
    fn a_time_that_cannot_be_is_left_where_it_was() {
        let entry = parse(Parser::Json, r#"{"time":"2099-01-01T00:00:00Z","msg":"x"}"#);
        assert_eq!(entry.timestamp, now());
        assert_eq!(Value::from(entry.metadata), json!({"time": "2099-01-01T00:00:00Z"}));
    }

    fn parse(parser: Parser, line: &str) -> LogEntry {
        parser.parse(line, now(), "app.log")
    }

    fn now() -> DateTime<Utc> {
        "2026-01-12T14:00:00Z".parse().unwrap()
    }
}
