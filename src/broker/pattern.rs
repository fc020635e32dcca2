//! Destination patterns: `*` is one word; `#`, `**` and a trailing `>` are any words, also none.
//!
//! Words are parted by `/` or `.`, or by one of them alone ([`Separators`]). No wildcard stands for a word that begins with `$`: what the
//! broker says of itself is for those who ask for it by name.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::mem;

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
    pub(super) fn words(self, name: &str) -> impl Iterator<Item = &str> + Clone {
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

    fn words(&self) -> impl Iterator<Item = &str> + Clone {
        self.1.words(self.0.as_str())
    }

    /// The pattern in one way of writing: of wildcards that follow each other, those of one word
    /// first and then one of any words, so that `**/*/**` takes as many steps as `*/**`, which means
    /// the same.
    fn steps(&self) -> Vec<Step<'_>> {
        let mut steps = Vec::new();
        let mut is_any = false;
        let mut words = self.words().peekable();
        while let Some(word) = words.next() {
            match Wildcard::of(word, words.peek().is_none()) {
                Some(Wildcard::AnyWords) => is_any = true,
                Some(Wildcard::OneWord) => steps.push(Step::One),
                None => {
                    if mem::take(&mut is_any) {
                        steps.push(Step::Any);
                    }
                    steps.push(Step::Word(word));
                }
            }
        }
        if is_any {
            steps.push(Step::Any);
        }
        steps
    }

    /// How many words it has; wildcards for any words that follow each other, or others of one word,
    /// are one.
    pub fn word_count(&self) -> usize {
        self.steps().len()
    }

    /// How many wildcards for any words stand before others of its words: each lets a look-up go on
    /// at every word of a name.
    pub fn branches(&self) -> usize {
        let steps = self.steps();
        steps.iter().rev().skip(1).filter(|step| matches!(step, Step::Any)).count()
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
        let (mut pattern, mut name) = (self.words(), self.1.words(destination.as_str()));
        let mut retry = None;
        loop {
            let (mut after, mut rest) = (pattern.clone(), name.clone());
            match (after.next(), rest.next()) {
                (None, None) => return true,
                (Some(word), next) => match (Wildcard::of(word, after.clone().next().is_none()), next) {
                    (Some(Wildcard::AnyWords), _) => {
                        retry = Some((after.clone(), name.clone()));
                        pattern = after;
                        continue;
                    }
                    (_, None) => return false,
                    (wildcard, Some(next)) if takes(wildcard, word, next) => {
                        (pattern, name) = (after, rest);
                        continue;
                    }
                    _ => {}
                },
                (None, Some(_)) => {}
            }
            let Some((after, from)) = &mut retry else { return false };
            if from.next().is_none_or(is_reserved) {
                return false;
            }
            (pattern, name) = (after.clone(), from.clone());
        }
    }
}

/// One word of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step<'a> {
    Word(&'a str),
    One,
    Any,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Values by pattern, found by destination without looking at every pattern.
///
/// A tree of words; a look-up goes through the words of a name once, with all branches that match so
/// far, and reports each value at most once.
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
    /// Whether it is the `any` of another, which any words lead back to.
    is_any: bool,
    /// Whether it is behind another `any`, so that a look-up may come to it at several words.
    is_behind_any: bool,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { value: None, words: HashMap::new(), one: None, any: None, is_any: false, is_behind_any: false }
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
        let mut is_behind_any = false;
        for step in pattern.steps() {
            node = match step {
                Step::Word(word) => node.words.entry(word.into()).or_default(),
                Step::One => node.one.get_or_insert_default(),
                Step::Any => {
                    let made = || Box::new(Node { is_any: true, is_behind_any, ..Node::default() });
                    node.any.get_or_insert_with(made)
                }
            };
            is_behind_any |= step == Step::Any;
        }
        if node.value.is_none() {
            self.len += 1;
        }
        node.value.get_or_insert_default()
    }

    /// Changes the value of that very pattern, and forgets it where `change` answers `false`.
    pub fn update(&mut self, pattern: &Pattern, change: impl FnOnce(&mut T) -> bool) {
        if self.root.update(&pattern.steps(), change) {
            self.len -= 1;
        }
    }

    /// Hands every value whose pattern matches to `found`.
    pub fn matching<'a>(&'a self, destination: &Destination, found: &mut impl FnMut(&'a T)) {
        if self.len == 0 {
            return;
        }
        let (mut active, mut next) = (Vec::new(), Vec::new());
        let words = self.separators.words(destination.as_str());
        // Behind the last word for which no wildcard stands
        let open =
            words.clone().enumerate().filter(|(_, word)| is_reserved(word)).map(|(at, _)| at + 1).last().unwrap_or(0);
        self.root.enter(&mut active, &Staying::default(), open == 0, found);
        for (at, word) in words.enumerate() {
            let is_open = at + 1 >= open;
            let takes_wildcards = !is_reserved(word);
            if takes_wildcards {
                next.extend(active.iter().copied().filter(|node| node.is_any));
            }
            let staying = Staying::of(&next);
            for node in active.drain(..) {
                if let Some(node) = node.words.get(word) {
                    node.enter(&mut next, &staying, is_open, found);
                }
                if takes_wildcards && let Some(one) = &node.one {
                    one.enter(&mut next, &staying, is_open, found);
                }
            }
            mem::swap(&mut active, &mut next);
            if active.is_empty() {
                return;
            }
        }
        active.into_iter().filter_map(|node| node.value.as_ref()).for_each(found);
    }
}

/// The `any` nodes that a look-up stays at, so that it does not come to one twice.
struct Staying<T>(HashSet<*const Node<T>>);

impl<T> Default for Staying<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T> Staying<T> {
    fn of(nodes: &[&Node<T>]) -> Self {
        Self(nodes.iter().map(|node| &raw const **node).collect())
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        self.value.is_none() && self.words.is_empty() && self.one.is_none() && self.any.is_none()
    }

    /// Answers whether a value was forgotten; empty branches go with it.
    fn update(&mut self, steps: &[Step<'_>], change: impl FnOnce(&mut T) -> bool) -> bool {
        let Some((step, rest)) = steps.split_first() else {
            let forget = self.value.as_mut().is_some_and(|value| !change(value));
            if forget {
                self.value = None;
            }
            return forget;
        };
        match step {
            Step::One => Self::update_branch(&mut self.one, rest, change),
            Step::Any => Self::update_branch(&mut self.any, rest, change),
            Step::Word(word) => {
                let Some(node) = self.words.get_mut(*word) else { return false };
                let forgotten = node.update(rest, change);
                if node.is_empty() {
                    self.words.remove(*word);
                }
                forgotten
            }
        }
    }

    fn update_branch(branch: &mut Option<Box<Self>>, rest: &[Step<'_>], change: impl FnOnce(&mut T) -> bool) -> bool {
        let Some(node) = branch else { return false };
        let forgotten = node.update(rest, change);
        if node.is_empty() {
            *branch = None;
        }
        forgotten
    }

    /// Comes to a node, and by no words at all to its `any`. Where that ends its patterns, and no word
    /// that is left is for no wildcard (`is_open`), they are found: it need not be stayed at.
    fn enter<'a>(
        &'a self,
        active: &mut Vec<&'a Self>,
        staying: &Staying<T>,
        is_open: bool,
        found: &mut impl FnMut(&'a T),
    ) {
        active.push(self);
        let Some(any) = &self.any else { return };
        match &any.value {
            Some(value) if is_open && !any.is_behind_any && any.words.is_empty() && any.one.is_none() => found(value),
            _ if staying.0.contains(&(&raw const **any)) => {}
            _ => active.push(any),
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
    fn wildcards_that_follow_each_other_are_one_pattern_in_any_order() {
        let mut map = PatternMap::new(Separators::Both);
        for pattern in ["/topic/*/**", "/topic/**/*", "/topic/**/*/**", "/topic/#/*/>"] {
            *map.entry(&pattern_of(pattern).unwrap()) = 1;
            assert_eq!(pattern_of(pattern).unwrap().branches(), 0, "{pattern}");
        }
        assert_eq!(map.len(), 1);
        assert!(matches("/topic/**/*/**", "/topic/a"));
        assert!(!matches("/topic/**/*/**", "/topic"));
        assert_eq!(pattern_of("/topic/**/a/#/b/>").unwrap().branches(), 2);
    }

    #[test]
    fn a_thousand_patterns_made_to_blow_up_are_looked_up_in_one_pass() {
        let mut map: PatternMap<()> = PatternMap::new(Separators::Both);
        for n in 0..1000 {
            let wildcards: String = (0..40).map(|bit| if (n >> (bit % 10)) & 1 == 0 { "/*" } else { "/**" }).collect();
            map.entry(&pattern_of(&format!("/topic{wildcards}/a/{n}/**")).unwrap());
        }
        // A hundred look-ups, each of which would take seconds where every rest of the name is tried.
        let name = destination(&format!("/topic{}", "/a".repeat(120)));
        for _ in 0..100 {
            map.matching(&name, &mut |()| panic!("none matches"));
        }
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
