//! The log: to standard error, for people or as JSON.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use crate::config::{Log, LogFormat};
use crate::feeds::logs::own::OwnLines;

/// Starts the log of this process; with `own`, its warnings are collected as log lines, too.
///
/// # Errors
/// A log was started before, or the level is not a directive.
pub fn start(log: &Log, own: bool) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(&log.level).map_err(|error| LogError(error.to_string()))?;
    let is_terminal = io::stderr().is_terminal();
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(is_terminal);
    let lines = match is_json(log.format, is_terminal) {
        true => lines.json().flatten_event(true).with_filter(filter).boxed(),
        false => lines.with_filter(filter).boxed(),
    };
    let own = own.then(|| OwnLines.with_filter(LevelFilter::WARN));
    let started = tracing_subscriber::registry().with(lines).with(own).try_init();
    started.map_err(|error| LogError(error.to_string()))
}

/// Why the log did not start.
#[derive(Debug, thiserror::Error)]
#[error("the log cannot be started: {0}")]
pub struct LogError(String);

fn is_json(format: LogFormat, is_terminal: bool) -> bool {
    match format {
        LogFormat::Auto => !is_terminal,
        LogFormat::Human => false,
        LogFormat::Json => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_json_where_nobody_reads_along() {
        assert!(!is_json(LogFormat::Auto, true));
        assert!(is_json(LogFormat::Auto, false));
        assert!(!is_json(LogFormat::Human, false));
        assert!(is_json(LogFormat::Json, true));
    }
}
