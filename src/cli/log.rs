//! The log: to standard error, for people or as JSON.

use std::io::{self, IsTerminal, Write};

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
    let is_json = is_json(log.format, is_terminal);
    let lines = fmt::layer().with_writer(move || OneLine { writer: io::stderr(), is_json }).with_ansi(is_terminal);
    let lines = match is_json {
        true => lines.json().flatten_event(true).with_filter(filter).boxed(),
        false => lines.with_filter(filter).boxed(),
    };
    let own = own.then(|| OwnLines.with_filter(LevelFilter::WARN));
    let started = tracing_subscriber::registry().with(lines).with(own).try_init();
    started.map_err(|error| LogError(error.to_string()))
}

/// A writer for which each write is one event, as those of `fmt` are: one line, whatever a peer
/// put into its fields.
struct OneLine<W> {
    writer: W,
    is_json: bool,
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let mut line = String::with_capacity(text.len() + 1);
        for character in text.trim_end_matches('\n').chars() {
            // Colours begin with ESC; the one of a field's text is escaped before it comes here.
            if (character.is_control() && character != '\u{1b}') || matches!(character, '\u{2028}' | '\u{2029}') {
                match self.is_json {
                    // RFC 8259 section 7; none of these takes more than four digits
                    true => line += &format!("\\u{:04x}", u32::from(character)),
                    false => line.extend(character.escape_default()),
                }
            } else {
                line.push(character);
            }
        }
        line.push('\n');
        self.writer.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
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
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_peers_line_breaks_begin_no_line_of_the_log() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let lines = fmt::layer().with_writer(writer(&written, false)).without_time();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            tracing::info!(reason = %PEERS, "refused\n");
        });
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.ends_with("\n") && text.lines().count() == 1, "{text:?}");
        assert!(text.contains("a\\nINFO b\\r\\u{85}\\u{2028}\\u{7f}c"), "{text:?}");
    }

    #[test]
    fn a_line_of_json_is_json_with_what_a_peer_wrote_as_it_is() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let lines = fmt::layer().with_writer(writer(&written, true)).json().flatten_event(true);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            tracing::info!(reason = %PEERS, "refused");
        });
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.ends_with("\n") && !text.trim_end().contains(char::is_control), "{text:?}");
        assert!(!text.contains('\u{2028}'), "{text:?}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["reason"], PEERS);
    }

    const PEERS: &str = "a\nINFO b\r\u{85}\u{2028}\u{7f}c";

    fn writer(written: &Arc<Mutex<Vec<u8>>>, is_json: bool) -> impl Fn() -> OneLine<Written> + use<> {
        let written = Arc::clone(written);
        move || OneLine { writer: Written(Arc::clone(&written)), is_json }
    }

    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn auto_is_json_where_nobody_reads_along() {
        assert!(!is_json(LogFormat::Auto, true));
        assert!(is_json(LogFormat::Auto, false));
        assert!(!is_json(LogFormat::Human, false));
        assert!(is_json(LogFormat::Json, true));
    }
}
