//! [`Filter`]: which log lines a listener wants.

use std::fmt;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::envelope::Envelope;
use crate::condition::Condition;
use crate::message::Message;

/// Levels, sources and a pattern; what is empty is no restriction.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Lower case, sorted, `warning` as `warn`.
    levels: Vec<String>,
    sources: Vec<String>,
    pattern: Option<Pattern>,
}

/// What must be found in a message.
#[derive(Debug, Clone)]
enum Pattern {
    Substring(String),
    Expression { text: String, regex: Regex },
}

/// Why a filter is none. The text is what the client reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// It is no object.
    #[error("a filter is an object with level, source and pattern, or null for none")]
    NoObject,
    /// It has a field of another name.
    #[error("a filter has no field {0:?}; allowed are level, source and pattern")]
    UnknownField(String),
    /// A field is no text and no list of texts.
    #[error("{field} must be a string or an array of strings, each of 1 to {MAX_WORD_BYTES} octets")]
    NoWords {
        /// `level` or `source`.
        field: &'static str,
    },
    /// A field has too many texts.
    #[error("{field} has {count} entries; at most {MAX_WORDS} are allowed")]
    TooMany {
        /// `level` or `source`.
        field: &'static str,
        /// How many.
        count: usize,
    },
    /// The pattern is no text.
    #[error("pattern must be a string: what the message must hold, or /EXPRESSION/ or /EXPRESSION/i")]
    NoPattern,
    /// The pattern is too long.
    #[error("pattern has {size} octets; at most {MAX_PATTERN_BYTES} are allowed")]
    PatternTooLong {
        /// Its length in octets.
        size: usize,
    },
    /// The expression cannot be read, or is too large when it is compiled.
    #[error("pattern is not a regular expression that is taken here: {0}")]
    BadExpression(String),
}

impl Filter {
    /// Reads a filter of JSON; `null` takes everything.
    ///
    /// # Errors
    /// The first field that is not as it should be.
    pub fn of_json(value: &Value) -> Result<Self, FilterError> {
        let fields = match value {
            Value::Null => return Ok(Self::default()),
            Value::Object(fields) => fields,
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(FilterError::NoObject);
            }
        };
        let mut filter = Self::default();
        for (name, value) in fields {
            match name.as_str() {
                "level" => filter.set_levels(words("level", value)?)?,
                "source" => filter.set_sources(words("source", value)?)?,
                "pattern" => match value {
                    Value::Null => {}
                    Value::String(pattern) => filter.set_pattern(pattern)?,
                    Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                        return Err(FilterError::NoPattern);
                    }
                },
                _ => return Err(FilterError::UnknownField(name.chars().take(32).collect())),
            }
        }
        Ok(filter)
    }

    /// Reads the values of a query, in which commas part the entries of a list; `None` where
    /// the query does not have them.
    ///
    /// # Errors
    /// As [`Filter::of_json`].
    pub fn of_query(level: Option<&str>, source: Option<&str>, pattern: Option<&str>) -> Result<Self, FilterError> {
        let list = |text: Option<&str>| {
            let parts = text.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty());
            parts.map(str::to_owned).collect::<Vec<_>>()
        };
        let mut filter = Self::default();
        filter.set_levels(list(level))?;
        filter.set_sources(list(source))?;
        filter.set_pattern(pattern.unwrap_or_default())?;
        Ok(filter)
    }

    /// Whether it takes everything.
    pub fn is_empty(&self) -> bool {
        self.levels.is_empty() && self.sources.is_empty() && self.pattern.is_none()
    }

    fn set_levels(&mut self, levels: Vec<String>) -> Result<(), FilterError> {
        check("level", &levels)?;
        self.levels = levels.iter().map(|level| plain_level(level)).collect();
        self.levels.sort_unstable();
        self.levels.dedup();
        Ok(())
    }

    fn set_sources(&mut self, mut sources: Vec<String>) -> Result<(), FilterError> {
        check("source", &sources)?;
        sources.sort_unstable();
        sources.dedup();
        self.sources = sources;
        Ok(())
    }

    fn set_pattern(&mut self, text: &str) -> Result<(), FilterError> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(FilterError::PatternTooLong { size: text.len() });
        }
        self.pattern = match expression(text) {
            _ if text.is_empty() => None,
            None => Some(Pattern::Substring(text.into())),
            Some((expression, ignores_case)) => {
                let regex = RegexBuilder::new(expression)
                    .case_insensitive(ignores_case)
                    .size_limit(MAX_EXPRESSION_BYTES)
                    .dfa_size_limit(MAX_EXPRESSION_BYTES)
                    .nest_limit(MAX_NESTING)
                    .build()
                    .map_err(|error| FilterError::BadExpression(one_line(&error)))?;
                Some(Pattern::Expression { text: text.into(), regex })
            }
        };
        Ok(())
    }

    fn takes(&self, envelope: &Envelope) -> bool {
        let is_one_of = |words: &[String], word: &str| words.is_empty() || words.iter().any(|known| known == word);
        let finds = |pattern: &Pattern| match pattern {
            Pattern::Substring(text) => memchr::memmem::find(envelope.message.as_bytes(), text.as_bytes()).is_some(),
            Pattern::Expression { regex, .. } => regex.is_match(&envelope.message),
        };
        is_one_of(&self.levels, &envelope.level)
            && is_one_of(&self.sources, &envelope.source)
            && self.pattern.as_ref().is_none_or(finds)
    }
}

impl Condition for Filter {
    fn matches(&self, message: &Message) -> bool {
        Envelope::of(message).is_some_and(|envelope| self.takes(envelope))
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pattern = match &self.pattern {
            None => "",
            Some(Pattern::Substring(text) | Pattern::Expression { text, .. }) => text,
        };
        write!(f, "level {:?} source {:?} pattern {pattern:?}", self.levels, self.sources)
    }
}

/// A level as it is compared: lower case, and the two ways of writing `warn` as one.
pub(super) fn plain_level(level: &str) -> String {
    let level = level.to_lowercase();
    if level == "warning" { "warn".into() } else { level }
}

/// `/…/` and `/…/i` are expressions.
fn expression(pattern: &str) -> Option<(&str, bool)> {
    let rest = pattern.strip_prefix('/')?;
    let (expression, ignores_case) = match rest.strip_suffix("/i") {
        Some(expression) => (expression, true),
        None => (rest.strip_suffix('/')?, false),
    };
    (!expression.is_empty()).then_some((expression, ignores_case))
}

fn words(field: &'static str, value: &Value) -> Result<Vec<String>, FilterError> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(word) => Ok(vec![word.clone()]),
        Value::Array(list) => {
            if list.len() > MAX_WORDS {
                return Err(FilterError::TooMany { field, count: list.len() });
            }
            let word = |value: &Value| value.as_str().map(str::to_owned).ok_or(FilterError::NoWords { field });
            list.iter().map(word).collect()
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(FilterError::NoWords { field }),
    }
}

fn check(field: &'static str, words: &[String]) -> Result<(), FilterError> {
    if words.len() > MAX_WORDS {
        return Err(FilterError::TooMany { field, count: words.len() });
    }
    match words.iter().all(|word| (1..=MAX_WORD_BYTES).contains(&word.len())) {
        true => Ok(()),
        false => Err(FilterError::NoWords { field }),
    }
}

/// The library draws the place over several lines; the last says what it is.
fn one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// Levels, and sources, of one filter.
pub const MAX_WORDS: usize = 64;

/// Octets of a level or source in a filter.
pub const MAX_WORD_BYTES: usize = 255;

/// Octets of a pattern as it is written.
pub const MAX_PATTERN_BYTES: usize = 512;

/// Octets of a compiled expression, and of what it remembers while it searches.
const MAX_EXPRESSION_BYTES: usize = 256 * 1024;

const MAX_NESTING: u32 = 32;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::log;
    use super::*;

    #[test]
    fn a_line_passes_that_is_of_a_level_and_a_source_and_holds_the_pattern() {
        for (filter, passes) in [
            (json!(null), true),
            (json!({}), true),
            (json!({"level": "warn"}), true),
            (json!({"level": "WARNING"}), true),
            (json!({"level": ["error", "warn"]}), true),
            (json!({"level": []}), true),
            (json!({"level": "error"}), false),
            (json!({"source": "license-server"}), true),
            (json!({"source": ["a", "b"]}), false),
            (json!({"pattern": "utilization"}), true),
            (json!({"pattern": "Utilization"}), false),
            (json!({"pattern": "/^License .* at \\d+%$/"}), true),
            (json!({"pattern": "/UTIL/i"}), true),
            (json!({"pattern": "/^utilization/"}), false),
            (json!({"level": "warn", "source": "license-server", "pattern": "at 90"}), true),
            (json!({"level": "warn", "source": "other", "pattern": "at 90"}), false),
        ] {
            let read = Filter::of_json(&filter).unwrap();
            let message = log("warn", "license-server", "License utilization at 90%");
            assert_eq!(Condition::matches(&read, &message), passes, "{filter}");
        }
    }

    #[test]
    fn a_slash_alone_begins_no_expression() {
        for text in ["/", "//", "/var/log", "a/b/"] {
            assert!(expression(text).is_none(), "{text}");
        }
        assert_eq!(expression("/a/b/"), Some(("a/b", false)));
        assert_eq!(expression("/a/i"), Some(("a", true)));
    }

    #[test]
    fn what_is_no_filter_is_named() {
        for (filter, error) in [
            (json!("error"), FilterError::NoObject),
            (json!({"levels": "error"}), FilterError::UnknownField("levels".into())),
            (json!({"level": 3}), FilterError::NoWords { field: "level" }),
            (json!({"level": [3]}), FilterError::NoWords { field: "level" }),
            (json!({"level": ""}), FilterError::NoWords { field: "level" }),
            (json!({"source": "x".repeat(256)}), FilterError::NoWords { field: "source" }),
            (json!({"source": vec!["x"; 65]}), FilterError::TooMany { field: "source", count: 65 }),
            (json!({"pattern": 5}), FilterError::NoPattern),
            (json!({"pattern": "x".repeat(513)}), FilterError::PatternTooLong { size: 513 }),
        ] {
            assert_eq!(Filter::of_json(&filter).unwrap_err(), error, "{filter}");
        }
        assert!(Filter::of_json(&json!({"source": vec!["x".repeat(255); 64], "pattern": "x".repeat(512)})).is_ok());
    }

    #[test]
    fn an_expression_that_cannot_be_read_or_is_too_large_is_refused() {
        let reason = |pattern: &str| Filter::of_json(&json!({"pattern": pattern})).unwrap_err().to_string();
        assert!(reason("/a(/").ends_with("unclosed group"), "{}", reason("/a(/"));
        assert!(reason("/(a{1000}){1000}/").contains("size limit"), "{}", reason("/(a{1000}){1000}/"));
        let nested = format!("/{}a{}/", "(".repeat(40), ")".repeat(40));
        assert!(reason(&nested).contains("nest"), "{}", reason(&nested));
    }

    #[test]
    fn filters_that_mean_the_same_have_one_text() {
        let text = |filter: Value| Filter::of_json(&filter).unwrap().text();
        assert_eq!(
            text(json!({"level": ["warn", "ERROR", "warning"]})),
            Filter::of_query(Some("error, warn"), None, None).unwrap().text()
        );
        assert_ne!(text(json!({"source": "a"})), text(json!({"pattern": "a"})));
        assert_ne!(text(json!({"pattern": "\" a"})), text(json!({"pattern": "a"})));
        assert_ne!(text(json!({"pattern": "/a/"})), text(json!({"pattern": "/a/i"})));
    }
}
