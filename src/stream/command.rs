//! What a client of a log or metric stream may say, and what is wrong with the rest.

use std::time::Duration;

use serde_json::Value;

use super::INTERVALS;
use super::filter::{Filter, FilterError};

/// One thing that a client wants.
#[derive(Debug)]
pub(super) enum Command {
    /// `subscribe` with or without a filter, and `filter`: from now on, these log lines.
    Filter(Filter),
    /// `configure`: metrics that often.
    Interval(Duration),
    /// `ping`.
    Ping,
}

/// What is wrong. The display is the error's `message`.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error("this is not JSON: {0}")]
    Syntax(String),
    #[error("a request is a JSON object such as {{\"action\":\"ping\"}}")]
    NoObject,
    #[error("the action {0} is not known; allowed are subscribe, filter, configure and ping")]
    UnknownAction(String),
    #[error("{0}")]
    Filter(#[from] FilterError),
    #[error("filter needs a field filter: an object, or null for none")]
    NoFilter,
    #[error(
        "interval must be a whole number of milliseconds from {} to {}", INTERVALS.0.as_millis(), INTERVALS.1.as_millis()
    )]
    Interval,
}

impl CommandError {
    /// The error's `code`.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Syntax(_) | Self::NoObject => "INVALID_JSON",
            Self::UnknownAction(_) => "UNKNOWN_ACTION",
            Self::Filter(_) | Self::NoFilter => "INVALID_FILTER",
            Self::Interval => "INVALID_INTERVAL",
        }
    }
}

impl Command {
    pub(super) fn parse(octets: &[u8]) -> Result<Self, CommandError> {
        let value: Value = serde_json::from_slice(octets).map_err(|error| CommandError::Syntax(error.to_string()))?;
        let Value::Object(fields) = value else { return Err(CommandError::NoObject) };
        match fields.get("action") {
            Some(Value::String(action)) => match action.as_str() {
                "ping" => Ok(Self::Ping),
                "subscribe" => Ok(Self::Filter(Filter::of_json(fields.get("filter").unwrap_or(&Value::Null))?)),
                "filter" => Ok(Self::Filter(Filter::of_json(fields.get("filter").ok_or(CommandError::NoFilter)?)?)),
                "configure" => interval(fields.get("interval")).map(Self::Interval).ok_or(CommandError::Interval),
                other => Err(CommandError::UnknownAction(format!("{:?}", clipped(other)))),
            },
            Some(other) => Err(CommandError::UnknownAction(clipped(&other.to_string()))),
            None => Err(CommandError::UnknownAction("(none)".into())),
        }
    }
}

/// A number of milliseconds that is an interval.
fn interval(value: Option<&Value>) -> Option<Duration> {
    let number = value?;
    let ms =
        number.as_u64().or_else(|| number.as_f64().filter(|ms| ms.fract() == 0.0 && *ms >= 0.0).map(|ms| ms as u64));
    ms.map(Duration::from_millis).filter(|interval| (INTERVALS.0..=INTERVALS.1).contains(interval))
}

/// The beginning of what a client wrote.
pub(super) fn clipped(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_has_its_code_and_says_what_is_allowed() {
        for (text, code, message) in [
            ("", "INVALID_JSON", "this is not JSON: EOF while parsing a value at line 1 column 0"),
            ("{", "INVALID_JSON", "this is not JSON: EOF while parsing an object at line 1 column 1"),
            ("[]", "INVALID_JSON", r#"a request is a JSON object such as {"action":"ping"}"#),
            (
                "{}",
                "UNKNOWN_ACTION",
                "the action (none) is not known; allowed are subscribe, filter, configure and ping",
            ),
            (
                r#"{"action":"fly"}"#,
                "UNKNOWN_ACTION",
                "the action \"fly\" is not known; allowed are subscribe, filter, configure and ping",
            ),
            (
                r#"{"action":7}"#,
                "UNKNOWN_ACTION",
                "the action 7 is not known; allowed are subscribe, filter, configure and ping",
            ),
            (r#"{"action":"filter"}"#, "INVALID_FILTER", "filter needs a field filter: an object, or null for none"),
            (
                r#"{"action":"subscribe","filter":7}"#,
                "INVALID_FILTER",
                "a filter is an object with level, source and pattern, or null for none",
            ),
            (
                r#"{"action":"configure"}"#,
                "INVALID_INTERVAL",
                "interval must be a whole number of milliseconds from 100 to 3600000",
            ),
        ] {
            let error = Command::parse(text.as_bytes()).unwrap_err();
            assert_eq!((error.code(), error.to_string().as_str()), (code, message), "{text}");
        }
        assert_eq!(Command::parse(&[0xff]).unwrap_err().code(), "INVALID_JSON");
        assert_eq!(Command::parse("[".repeat(1000).as_bytes()).unwrap_err().code(), "INVALID_JSON");
    }

    #[test]
    fn an_interval_is_taken_at_its_bounds_and_not_one_past_them() {
        let is_taken = |ms: &str| {
            let text = format!(r#"{{"action":"configure","interval":{ms}}}"#);
            matches!(Command::parse(text.as_bytes()), Ok(Command::Interval(_)))
        };
        assert!(is_taken("100") && is_taken("3600000") && is_taken("5000.0"));
        for ms in ["99", "3600001", "-1", "100.5", "\"500\"", "null", "1e300"] {
            assert!(!is_taken(ms), "{ms}");
        }
    }
}
