//! [`Position`]: how far a client has read, as the `id` of an event and as `Last-Event-ID`.

use std::fmt;

use crate::session::Since;

/// A place in the order of kept messages.
///
/// Written `EPOCH-NUMBER`, then `.COUNT` for what has no number of its own and came after it, and
/// `m` where the same object follows once more under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position<'a> {
    /// Which process's numbers.
    pub epoch: &'a str,
    /// The number.
    pub number: u64,
    /// How many without a number came after it.
    pub count: u64,
    /// Whether half of it has left.
    pub is_half: bool,
}

impl<'a> Position<'a> {
    /// Reads one; `None` if it is none.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (epoch, rest) = text.trim().rsplit_once('-')?;
        let (rest, is_half) = rest.strip_suffix('m').map_or((rest, false), |rest| (rest, true));
        let (number, count) = rest.split_once('.').unwrap_or((rest, "0"));
        let digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        Some(Self { epoch, number: digits(number)?, count: digits(count)?, is_half })
    }

    /// Where a client that read up to here goes on, in the process of that epoch.
    pub fn since(&self, epoch: &str) -> Since {
        if self.epoch == epoch { Since::After(self.number) } else { Since::Lost }
    }
}

/// What a client's `Last-Event-ID` asks for, and whether the first of it is half there already.
pub fn last_event(id: Option<&str>, epoch: &str) -> (Since, bool) {
    let Some(id) = id.filter(|id| !id.trim().is_empty()) else { return (Since::Now, false) };
    match Position::parse(id).filter(|position| position.epoch == epoch) {
        Some(Position { number, is_half: true, count: 0, .. }) => (Since::After(number.saturating_sub(1)), true),
        Some(position) => (position.since(epoch), false),
        None => (Since::Lost, false),
    }
}

impl fmt::Display for Position<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.number)?;
        if self.count > 0 {
            write!(f, ".{}", self.count)?;
        }
        f.write_str(if self.is_half { "m" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for text in ["19f-7", "19f-7m", "19f-7.3", "19f-7.3m", "a-b-0"] {
            assert_eq!(Position::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "7", "e-", "e-+1", "e-1.", "e-x", "e-99999999999999999999"] {
            assert_eq!(Position::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_last_event_of_another_process_or_of_nobody_is_lost() {
        assert_eq!(last_event(None, "e"), (Since::Now, false));
        assert_eq!(last_event(Some(""), "e"), (Since::Now, false));
        assert_eq!(last_event(Some("e-7"), "e"), (Since::After(7), false));
        assert_eq!(last_event(Some("e-7.2"), "e"), (Since::After(7), false));
        assert_eq!(last_event(Some("e-7.2m"), "e"), (Since::After(7), false));
        assert_eq!(last_event(Some("e-7m"), "e"), (Since::After(6), true));
        assert_eq!(last_event(Some("f-7"), "e"), (Since::Lost, false));
        assert_eq!(last_event(Some("seven"), "e"), (Since::Lost, false));
    }
}
