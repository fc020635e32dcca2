//! How bad a log line is, by its name or by its text.

/// A level's name as lines carry it: lower case, one spelling for `warn`, `error` and `fatal`.
/// `None` for what is no name: empty, longer than 32 octets, or with other than ASCII letters.
pub fn named(name: &str) -> Option<String> {
    let is_name = (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(|octet| octet.is_ascii_alphabetic());
    is_name.then(|| {
        let lower = name.to_ascii_lowercase();
        known(&lower).map_or(lower, str::to_owned)
    })
}

/// The level that a plain line states: the first word that is a level's name, among the first
/// octets of the line; `info` where there is none.
pub fn detect(line: &str) -> &'static str {
    let mut end = line.len().min(LOOKED_AT_BYTES);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    let words = line[..end].split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    let mut stated = words.filter_map(|word| {
        // A word of a sentence is no level: "no error" is, as syslog and most libraries write
        // it, neither in capitals nor in front.
        let is_marked = word.bytes().all(|octet| octet.is_ascii_uppercase());
        let is_capitalised = word.len() > 2 && word.bytes().skip(1).all(|octet| octet.is_ascii_lowercase());
        let level = known(&word.to_ascii_lowercase())?;
        (is_marked || (is_capitalised && is_delimited(line, word))).then_some(level)
    });
    stated.next().unwrap_or("info")
}

/// Whether the word stands in brackets, or a colon or bar follows it, or it is the first.
fn is_delimited(line: &str, word: &str) -> bool {
    let at = word.as_ptr() as usize - line.as_ptr() as usize;
    let before = line[..at].chars().next_back();
    let after = line[at + word.len()..].chars().next();
    let is_bracketed =
        matches!((before, after), (Some('['), Some(']')) | (Some('<'), Some('>')) | (Some('('), Some(')')));
    let is_head = matches!(after, Some(':' | '|' | ']')) || (before == Some('=') || before == Some('"'));
    is_bracketed || is_head
}

fn known(lower: &str) -> Option<&'static str> {
    Some(match lower {
        "trace" | "finest" | "finer" => "trace",
        "debug" | "dbg" | "fine" => "debug",
        "info" | "information" | "informational" | "inf" => "info",
        "notice" => "notice",
        "warn" | "warning" | "wrn" => "warn",
        "error" | "err" | "severe" => "error",
        "fatal" | "critical" | "crit" | "panic" | "alert" | "emerg" | "emergency" => "fatal",
        _ => return None,
    })
}

const MAX_NAME_BYTES: usize = 32;
/// Time stamps and names come first, then the level.
const LOOKED_AT_BYTES: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_level_are_one_and_others_are_kept() {
        for (name, level) in
            [("WARNING", "warn"), ("Warn", "warn"), ("err", "error"), ("CRITICAL", "fatal"), ("audit", "audit")]
        {
            assert_eq!(named(name).as_deref(), Some(level));
        }
        for name in ["", "a b", "1", &"x".repeat(33)] {
            assert_eq!(named(name), None, "{name}");
        }
        assert_eq!(named(&"x".repeat(32)), Some("x".repeat(32)));
    }

    #[test]
    fn a_plain_line_states_its_level_in_many_ways() {
        for (line, level) in [
            ("2026-01-12 14:23:15,789 ERROR [main] c.e.Db - lost", "error"),
            ("[2026-01-12T14:23:15Z WARN  app] slow", "warn"),
            ("Jan 12 14:23:15 host app[17]: warning: disk is full", "warn"),
            ("[error] 17#0: *1 open() failed", "error"),
            ("14:23:15 (lmgrd) CRITICAL no license", "fatal"),
            ("E0112 no such word", "info"),
            ("level=debug msg=x", "debug"),
            ("all is well, no error here", "info"),
            ("Error: it broke", "error"),
            ("DEBUGGING the thing", "info"),
            ("", "info"),
        ] {
            assert_eq!(detect(line), level, "{line}");
        }
    }

    #[test]
    fn only_the_head_of_a_line_is_looked_at() {
        let head = "é".repeat(80);
        assert_eq!(detect(&format!("{head} ERROR")), "info");
        assert_eq!(detect(&format!("{} ERROR", "x".repeat(150))), "error");
    }
}
