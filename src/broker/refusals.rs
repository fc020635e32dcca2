//! [`Refusals`]: how many lines of the log tell of refusals, whoever asks for them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Bounds the lines: a client may be refused as often as it can send, and each line is written
/// where its shard's others wait. Counters count every refusal.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<Second>);

/// One that begins with a line.
#[derive(Debug, Default)]
struct Second {
    ends: Option<Instant>,
    lines: u32,
    left_out: u64,
}

/// Leave to write one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// How many were left out before it, if some were.
    pub left_out: Option<u64>,
}

impl Refusals {
    /// Asks for one line; `None`: this second has had its own.
    pub fn line(&self) -> Option<Line> {
        let now = Instant::now();
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if second.ends.is_none_or(|ends| ends <= now) {
            second.ends = Some(now + SECOND);
            second.lines = 0;
        }
        if second.lines == LINES {
            second.left_out += 1;
            return None;
        }
        second.lines += 1;
        Some(Line { left_out: Some(std::mem::take(&mut second.left_out)).filter(|count| *count > 0) })
    }
}

/// A peer's text as a line of the log has it: no longer than tells what it was.
pub fn clipped(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(CHARACTERS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

const SECOND: Duration = Duration::from_secs(1);

const LINES: u32 = 100;

const CHARACTERS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_has_so_many_lines_and_the_next_says_how_many_were_left_out() {
        let refusals = Refusals::default();
        for _ in 0..LINES {
            assert_eq!(refusals.line(), Some(Line { left_out: None }));
        }
        assert_eq!((refusals.line(), refusals.line()), (None, None));
        tokio::time::advance(SECOND).await;
        assert_eq!(refusals.line(), Some(Line { left_out: Some(2) }));
        assert_eq!(refusals.line(), Some(Line { left_out: None }));
    }

    #[test]
    fn a_text_of_the_limit_is_whole_and_a_longer_one_is_clipped() {
        let whole = "é".repeat(CHARACTERS);
        assert_eq!(clipped(whole.clone()), whole);
        assert_eq!(clipped(format!("{whole}x")), format!("{whole}…"));
    }
}
