//! Destination patterns: `*` is one word; `#`, `**` and a trailing `>` are any words, also none.
//!
//! Words are parted by `/` or `.`, or by one of them alone ([`Separators`]). No wildcard stands for a word that begins with `$`: what the
//! broker says of itself is for those who ask for it by name.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::message::Destination;

/// What parts the words of a name, behind the first: `/topic/`, `/user/WHO/queue/` and the like
/// are always written with `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Separators {
    /// `/` and `.`.
    #[default]
    Both,
    /// `.`; a `/` is a character like any other.
    Dot,
    /// `/`; a `.` is a character like any other.
    Slash,
}

impl Separators {
    pub(super) fn words(self, name: &str) -> impl Iterator<Item = &str> {
        let name = name.strip_prefix('/').unwrap_or(name);
        let (first, rest, is_separator): (_, _, fn(char) -> bool) = match self {
            Self::Both => (None, name, |c| matches!(c, '/' | '.')),
            Self::Slash => (None, name, |c| c == '/'),
            Self::Dot => {
                let depth = match name.split('/').next() {
                    Some("user") => 3,
                    Some("temp-queue" | "temp-topic") => 2,
                    _ => 1,
                };
                let end = name.match_indices('/').nth(depth - 1).map_or(name.len(), |(at, _)| at);
                (Some(&name[..end]), name.get(end + 1..).unwrap_or_default(), |c| c == '.')
            }
        };
        first.into_iter().chain(rest.split(is_separator))
    }
}

/// A destination that a subscriber may ask for: a name, or a pattern over names.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern(Destination, Separators);

impl Pattern {
    /// Takes `destination` as a pattern if one of its words is a wildcard.
    pub fn of(destination: &Destination, separators: Separators) -> Option<Self> {
        let mut words = separators.words(destination.as_str()).peekable();
        while let Some(word) = words.next() {
            if Wildcard::of(word, words.peek().is_none()).is_some() {
                return Some(Self(destination.clone(), separators));
            }
        }
        None
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.1.words(self.0.as_str())
    }

    /// The pattern as it was written.
    pub fn destination(&self) -> &Destination {
        &self.0
    }

    /// Whether `destination` is one of the pattern's.
    ///
    /// At most one pass over the destination for each `any words` wildcard, so the cost is the
    /// product of the two lengths at worst.
    pub fn matches(&self, destination: &Destination) -> bool {
        let pattern: Vec<&str> = self.words().collect();
        let name: Vec<&str> = self.1.words(destination.as_str()).collect();
        let wildcard = |at: usize| Wildcard::of(pattern[at], at + 1 == pattern.len());
        let (mut p, mut n) = (0, 0);
        let mut retry = None;
        loop {
            if p < pattern.len() && wildcard(p) == Some(Wildcard::AnyWords) {
                retry = Some((p, n));
                p += 1;
            } else if n == name.len() {
                return pattern.len() == p;
            } else if p < pattern.len() && takes(wildcard(p), pattern[p], name[n]) {
                p += 1;
                n += 1;
            } else if let Some((any, from)) = retry.filter(|(_, from)| !is_reserved(name[*from])) {
                retry = Some((any, from + 1));
                p = any + 1;
                n = from + 1;
            } else {
                return false;
            }
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Values by pattern, found by destination without looking at every pattern.
///
/// A tree of words; a look-up walks only the branches that can match, and reports each value
/// at most once.
#[derive(Debug)]
pub struct PatternMap<T> {
    root: Node<T>,
    len: usize,
    separators: Separators,
}

#[derive(Debug)]
struct Node<T> {
    value: Option<T>,
    words: HashMap<Box<str>, Self>,
    one: Option<Box<Self>>,
    any: Option<Box<Self>>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { value: None, words: HashMap::new(), one: None, any: None }
    }
}

impl<T> PatternMap<T> {
    /// An empty one, for patterns and names with those separators.
    pub fn new(separators: Separators) -> Self {
        Self { root: Node::default(), len: 0, separators }
    }

    /// How many patterns have a value.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no pattern has a value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of that very pattern, made if it was not there.
    pub fn entry(&mut self, pattern: &Pattern) -> &mut T
    where
        T: Default,
    {
        let mut node = &mut self.root;
        let mut words = pattern.words().peekable();
        while let Some(word) = words.next() {
            node = match Wildcard::of(word, words.peek().is_none()) {
                Some(Wildcard::OneWord) => node.one.get_or_insert_default(),
                Some(Wildcard::AnyWords) => node.any.get_or_insert_default(),
                None => node.words.entry(word.into()).or_default(),
            };
        }
        if node.value.is_none() {
            self.len += 1;
        }
        node.value.get_or_insert_default()
    }

    /// Changes the value of that very pattern, and forgets it where `change` answers `false`.
    pub fn update(&mut self, pattern: &Pattern, change: impl FnOnce(&mut T) -> bool) {
        let words: Vec<&str> = pattern.words().collect();
        if self.root.update(&words, change) {
            self.len -= 1;
        }
    }

    /// Hands every value whose pattern matches to `found`.
    pub fn matching<'a>(&'a self, destination: &Destination, found: &mut impl FnMut(&'a T)) {
        if self.len == 0 {
            return;
        }
        let words: Vec<&str> = self.separators.words(destination.as_str()).collect();
        // Which (node, position) pairs were visited: two `any words` wildcards in one pattern
        // would otherwise reach the same node on many ways, exponentially so.
        let mut seen = HashSet::new();
        self.root.matching(&words, found, &mut seen);
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        self.value.is_none() && self.words.is_empty() && self.one.is_none() && self.any.is_none()
    }

    /// Answers whether a value was forgotten; empty branches go with it.
    fn update(&mut self, words: &[&str], change: impl FnOnce(&mut T) -> bool) -> bool {
        let Some((word, rest)) = words.split_first() else {
            let forget = self.value.as_mut().is_some_and(|value| !change(value));
            if forget {
                self.value = None;
            }
            return forget;
        };
        match Wildcard::of(word, rest.is_empty()) {
            Some(Wildcard::OneWord) => Self::update_branch(&mut self.one, rest, change),
            Some(Wildcard::AnyWords) => Self::update_branch(&mut self.any, rest, change),
            None => {
                let Some(node) = self.words.get_mut(*word) else { return false };
                let forgotten = node.update(rest, change);
                if node.is_empty() {
                    self.words.remove(*word);
                }
                forgotten
            }
        }
    }

    fn update_branch(branch: &mut Option<Box<Self>>, rest: &[&str], change: impl FnOnce(&mut T) -> bool) -> bool {
        let Some(node) = branch else { return false };
        let forgotten = node.update(rest, change);
        if node.is_empty() {
            *branch = None;
        }
        forgotten
    }

    fn matching<'a>(&'a self, words: &[&str], found: &mut impl FnMut(&'a T), seen: &mut HashSet<(*const Self, usize)>) {
        if let Some(any) = &self.any {
            for skipped in 0..=words.len() {
                if skipped > 0 && is_reserved(words[skipped - 1]) {
                    break;
                }
                let visit = (&raw const **any, words.len() - skipped);
                if seen.insert(visit) {
                    any.matching(&words[skipped..], found, seen);
                }
            }
        }
        let Some((word, rest)) = words.split_first() else {
            if let Some(value) = &self.value {
                found(value);
            }
            return;
        };
        if let Some(node) = self.words.get(*word) {
            node.matching(rest, found, seen);
        }
        if let Some(one) = &self.one
            && !is_reserved(word)
        {
            one.matching(rest, found, seen);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wildcard {
    OneWord,
    AnyWords,
}

impl Wildcard {
    pub(super) fn of(word: &str, is_last: bool) -> Option<Self> {
        match word {
            "*" => Some(Self::OneWord),
            "#" | "**" => Some(Self::AnyWords),
            ">" if is_last => Some(Self::AnyWords),
            _ => None,
        }
    }
}

/// Whether one word of a pattern that is not any words takes one word of a name.
fn takes(wildcard: Option<Wildcard>, pattern: &str, word: &str) -> bool {
    match wildcard {
        Some(Wildcard::OneWord) => !is_reserved(word),
        Some(Wildcard::AnyWords) | None => pattern == word,
    }
}

/// Whether no wildcard stands for the word.
fn is_reserved(word: &str) -> bool {
    word.starts_with('$')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn destination(name: &str) -> Destination {
        Destination::parse(name).unwrap()
    }

    fn pattern_of(text: &str) -> Option<Pattern> {
        Pattern::of(&destination(text), Separators::Both)
    }

    fn matches(pattern: &str, name: &str) -> bool {
        let pattern = pattern_of(pattern).unwrap();
        let mut map = PatternMap::new(Separators::Both);
        *map.entry(&pattern) = 1;
        let mut count = 0;
        map.matching(&destination(name), &mut |n| count += n);
        let by_map = count == 1;
        assert_eq!(pattern.matches(&destination(name)), by_map, "{pattern:?} {name}");
        assert!(count <= 1, "{pattern:?} was reported {count} times for {name}");
        by_map
    }

    #[test]
    fn a_name_without_wildcard_is_no_pattern() {
        for name in ["/topic/a", "/topic/a*", "/topic/>/a", "/topic/#a", "/topic/***"] {
            assert_eq!(pattern_of(name), None, "{name}");
        }
    }

    #[test]
    fn a_star_is_exactly_one_word() {
        assert!(matches("/topic/*", "/topic/a"));
        assert!(matches("/topic/*.b", "/topic/a/b"));
        assert!(!matches("/topic/*", "/topic/a.b"));
        assert!(!matches("/topic/*/b", "/topic/b"));
    }

    #[test]
    fn hash_double_star_and_trailing_greater_are_any_words_also_none() {
        for any in ["#", "**", ">"] {
            let pattern = format!("/topic/{any}");
            assert!(matches(&pattern, "/topic/a"), "{any}");
            assert!(matches(&pattern, "/topic/a/b.c"), "{any}");
            assert!(!matches(&pattern, "/app/a"), "{any}");
        }
        assert!(matches("/topic/a/#", "/topic/a"));
        assert!(matches("/topic/#/z", "/topic/z"));
        assert!(matches("/topic/#/b/#/z", "/topic/b/b/x/z"));
        assert!(!matches("/topic/#/b/#/z", "/topic/x/z"));
    }

    #[test]
    fn many_wildcards_take_no_exponential_time() {
        let name = format!("/topic{}", "/a".repeat(120));
        assert!(!matches(&format!("/topic{}/b", "/#/a".repeat(50)), &name));
        assert!(matches(&format!("/topic{}/#", "/#/a".repeat(50)), &name));
    }

    #[test]
    fn a_forgotten_pattern_leaves_no_branch_behind() {
        let mut map = PatternMap::new(Separators::Both);
        let names = ["/topic/*/a", "/topic/#", "/topic/#/b.*", "/topic/>"];
        let patterns: Vec<_> = names.iter().map(|n| pattern_of(n).unwrap()).collect();
        for pattern in &patterns {
            *map.entry(pattern) = 1;
        }
        assert_eq!(map.len(), 3, "# and a trailing > are the same pattern");
        for pattern in &patterns {
            map.update(pattern, |_| false);
        }
        assert!(map.is_empty() && map.root.is_empty());
    }

    #[test]
    fn no_wildcard_stands_for_a_word_that_begins_with_a_dollar() {
        let matches = |pattern: &str, name: &str| pattern_of(pattern).unwrap().matches(&destination(name));
        for pattern in ["/topic/*/a", "/topic/#", "/topic/**", "/topic/>", "/topic/*/*"] {
            assert!(!matches(pattern, "/topic/$sys/a"), "{pattern}");
            assert!(matches(pattern, "/topic/sys/a"), "{pattern}");
        }
        assert!(matches("/topic/$sys/#", "/topic/$sys/a"));
        assert!(matches("/topic/#/$sys/*", "/topic/a/b/$sys/a"));
    }

    #[test]
    fn one_separator_alone_leaves_the_other_a_character_like_any_other() {
        for (pattern, name, by_both, by_dot, by_slash) in [
            ("/topic/*", "/topic/a.b", false, false, true),
            ("/topic/*", "/topic/a/b", false, true, false),
            ("/topic/a.*", "/topic/a.b", true, true, false),
            ("/topic/a/*", "/topic/a.b", true, false, false),
            ("/topic/a/*", "/topic/a/b", true, false, true),
            ("/topic/a.#", "/topic/a", true, true, false),
            ("/topic/#", "/topic/a.b/c", true, true, true),
            ("/topic/>", "/topic/$sys/broker", false, false, false),
            ("/user/ann/queue/*", "/user/ann/queue/news", true, true, true),
            ("/user/ann/queue/*", "/user/ann/topic/news", false, false, false),
            ("/user/ann/queue/a.*", "/user/ann/queue/a.b", true, true, false),
        ] {
            for (separators, expected) in
                [(Separators::Both, by_both), (Separators::Dot, by_dot), (Separators::Slash, by_slash)]
            {
                let (name, pattern) = (destination(name), destination(pattern));
                let matched = Pattern::of(&pattern, separators).is_some_and(|pattern| {
                    let mut map = PatternMap::new(separators);
                    *map.entry(&pattern) = 1;
                    let mut found = false;
                    map.matching(&name, &mut |_| found = true);
                    assert_eq!(found, pattern.matches(&name));
                    found
                });
                assert_eq!(matched, expected, "{separators:?} {pattern} {name}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_each_pattern_alone_matches(
            patterns in proptest::collection::vec("/[ab$*#]([/.][ab$*#]){0,5}", 1..12),
            name in "/[ab$]([/.][ab$]){0,6}",
        ) {
            let name = destination(&name);
            let mut map: PatternMap<Vec<Pattern>> = PatternMap::new(Separators::Both);
            let mut expected = Vec::new();
            for pattern in patterns.iter().filter_map(|p| pattern_of(p)) {
                if pattern.matches(&name) {
                    expected.push(format!("{pattern:?}"));
                }
                map.entry(&pattern).push(pattern);
            }
            let mut found = Vec::new();
            map.matching(&name, &mut |ps| found.extend(ps.iter().map(|p| format!("{p:?}"))));
            expected.sort();
            found.sort();
            prop_assert_eq!(found, expected);
        }
    }
}
