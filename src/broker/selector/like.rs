//! `LIKE`: a pattern over texts, in which `%` is any characters and `_` one.

use memchr::memmem::Finder;

/// A pattern that is ready to be looked for: in one pass over the text for all of it, however it is
/// made.
#[derive(Debug, Clone)]
pub(super) struct Like {
    pattern: String,
    escape: Option<char>,
    /// What stands between the `%`; one alone where there is none.
    parts: Vec<Part>,
}

impl PartialEq for Like {
    fn eq(&self, other: &Self) -> bool {
        (&self.pattern, self.escape) == (&other.pattern, other.escape)
    }
}

impl Like {
    /// Takes a pattern with its escape character; answers why not.
    pub(super) fn parse(pattern: String, escape: Option<char>) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut part = Vec::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            match c {
                _ if Some(c) == escape => match chars.next() {
                    Some(c) => part.push(Some(c)),
                    None => return Err(format!("the pattern ends with its escape character {c:?}")),
                },
                '%' => parts.push(Part::of(&std::mem::take(&mut part))?),
                '_' => part.push(None),
                _ => part.push(Some(c)),
            }
        }
        parts.push(Part::of(&part)?);
        Ok(Self { pattern, escape, parts })
    }

    pub(super) fn pattern(&self) -> &str {
        &self.pattern
    }

    pub(super) fn escape(&self) -> Option<char> {
        self.escape
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let [first, between @ .., last] = &self.parts[..] else {
            return self.parts[0].behind_prefix(text) == Some("");
        };
        let Some(mut rest) = first.behind_prefix(text) else { return false };
        // The earliest place for each leaves most to those behind it.
        for part in between {
            let Some(behind) = part.behind_first(rest) else { return false };
            rest = behind;
        }
        last.is_suffix(rest)
    }
}

/// What has to stand together.
#[derive(Debug, Clone)]
enum Part {
    Text(Box<Finder<'static>>),
    WithBlanks(Blanks),
}

/// Characters with `_` among them: `None`.
#[derive(Debug, Clone)]
struct Blanks {
    chars: Vec<Option<char>>,
    /// For each character, in their order, at which places it may stand, a bit for each; all others may at
    /// those of a `_`.
    places: Vec<(char, u64)>,
    blanks: u64,
}

impl Part {
    fn of(chars: &[Option<char>]) -> Result<Self, String> {
        if let Some(text) = chars.iter().copied().collect::<Option<String>>() {
            return Ok(Self::Text(Box::new(Finder::new(&text).into_owned())));
        }
        if chars.len() > MAX_WITH_BLANKS {
            let count = chars.len();
            return Err(format!(
                "{count} characters stand together with _ among them; at most {MAX_WITH_BLANKS} may, between two %"
            ));
        }
        let blanks = chars.iter().enumerate().filter(|(_, c)| c.is_none()).map(|(at, _)| 1 << at).sum();
        let mut known: Vec<char> = chars.iter().copied().flatten().collect();
        known.sort_unstable();
        known.dedup();
        let places_of = |c: char| {
            let own = chars.iter().enumerate().filter(|(_, own)| **own == Some(c)).map(|(at, _)| 1_u64 << at);
            (c, blanks | own.sum::<u64>())
        };
        let places = known.into_iter().map(places_of).collect();
        Ok(Self::WithBlanks(Blanks { chars: chars.to_vec(), places, blanks }))
    }

    /// What is left of a text that begins with it.
    fn behind_prefix<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self {
            Self::Text(own) => text.as_bytes().strip_prefix(own.needle()).map(|rest| end(text, rest.len())),
            Self::WithBlanks(own) => {
                let mut chars = text.chars();
                let is_so = own.chars.iter().all(|own| chars.next().is_some_and(|c| own.is_none_or(|own| own == c)));
                is_so.then_some(chars.as_str())
            }
        }
    }

    fn is_suffix(&self, text: &str) -> bool {
        match self {
            Self::Text(own) => text.as_bytes().ends_with(own.needle()),
            Self::WithBlanks(own) => {
                let mut chars = text.chars().rev();
                own.chars.iter().rev().all(|own| chars.next().is_some_and(|c| own.is_none_or(|own| own == c)))
            }
        }
    }

    /// What is left of a text behind the first place where it stands.
    fn behind_first<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self {
            Self::Text(own) => {
                let at = own.find(text.as_bytes())?;
                Some(end(text, text.len() - at - own.needle().len()))
            }
            Self::WithBlanks(own) => own.behind_first(text),
        }
    }
}

impl Blanks {
    fn places_of(&self, c: char) -> u64 {
        let known = self.places.binary_search_by_key(&c, |(known, _)| *known);
        known.map_or(self.blanks, |at| self.places[at].1)
    }

    /// A bit for each place up to which the last characters of the text fit: one shift a character.
    fn behind_first<'a>(&self, text: &'a str) -> Option<&'a str> {
        let whole = 1 << (self.chars.len() - 1);
        let mut fits: u64 = 0;
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            fits = ((fits << 1) | 1) & self.places_of(c);
            if fits & whole != 0 {
                return Some(chars.as_str());
            }
        }
        None
    }
}

/// The last octets of a text, which begin with a character.
fn end(text: &str, len: usize) -> &str {
    text.get(text.len() - len..).unwrap_or_default()
}

/// As many as a word has bits.
const MAX_WITH_BLANKS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_characters_with_blanks_among_them_as_a_word_has_bits() {
        let pattern = |count: usize| format!("%{}_%", "a".repeat(count - 1));
        let like = Like::parse(pattern(64), None).unwrap();
        assert!(like.matches(&"a".repeat(64)) && !like.matches(&"a".repeat(63)));
        assert!(like.matches(&format!("b{}é", "a".repeat(63))));
        let reason = "65 characters stand together with _ among them; at most 64 may, between two %";
        assert_eq!(Like::parse(pattern(65), None), Err(reason.into()));
        assert!(Like::parse("a".repeat(1000), None).is_ok());
    }

    #[test]
    fn patterns_made_to_blow_up_take_one_pass_over_the_text() {
        let text = "a".repeat(8000);
        let likes = [
            format!("%{}b", "a".repeat(1000)),
            format!("{}b", "%a".repeat(400)),
            format!("%{}_b%", "a".repeat(62)),
            format!("%{}b%", "_".repeat(60)),
        ];
        let likes = likes.map(|pattern| Like::parse(pattern, None).unwrap());
        for _ in 0..10 {
            assert!(likes.iter().all(|like| !like.matches(&text)));
        }
    }
}
