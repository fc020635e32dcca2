//! Who may do what: rules, the first of which that fits decides.

use std::fmt;

use super::address::encoded;
use super::pattern::{Separators, Wildcard};
use crate::message::{Destination, DestinationKind, Grant, Operation, Principal};

/// Whom a rule is about, and what it says. Who is none of these is not meant; a rule that names
/// nobody is about everybody, those without a name included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Names of users; `*`: all that have one.
    pub users: Vec<String>,
    /// Roles, one of which is enough.
    pub roles: Vec<String>,
    /// Those without a name.
    pub anonymous: bool,
    /// What it says.
    pub grant: Grant,
}

/// The rules in their order, behind what always holds:
///
/// - Nobody publishes what is the broker's own to say: `/topic/$sys/**`, a user's `$…`.
/// - `/user/**` needs a name; one's own `/user/queue/$auth` is always open.
/// - A temporary queue's full name is known only to those it was told, who may use it.
///
/// Then come the rules of the principal's own token, then these. Where one of both lists has
/// any, nothing else is allowed. Without any, everyone may SUBSCRIBE to `/topic/**` and call
/// `/app/**`; SEND to `/topic/**` is open only while no authentication is configured; queues and
/// `/user/**` are for named users, queues also for everyone while no authentication is configured.
#[derive(Debug, Clone, Default)]
pub struct Acl {
    /// Whether nobody has to say who they are.
    pub open: bool,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// What was decided, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// By what.
    pub by: Because,
}

/// What decided. `Display` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// The rule at that place of the settings, from 0.
    Rule(usize),
    /// The rule at that place of the token, from 0.
    TokenRule(usize),
    /// There are rules, and none fits.
    NoRule,
    /// There are no rules: what holds without any.
    Default,
    /// What holds whatever the rules say.
    Always,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(n) => write!(f, "auth.rules[{n}]"),
            Self::TokenRule(n) => write!(f, "rule {n} of the token"),
            Self::NoRule => f.write_str("no rule fits"),
            Self::Default => f.write_str("the default without rules"),
            Self::Always => f.write_str("what holds whatever the rules say"),
        }
    }
}

impl Acl {
    /// Whether `principal` may do that, and by what. `destination` is a full name; on SUBSCRIBE
    /// it may be a pattern, which is allowed where one rule covers all of it and none before
    /// that refuses any of it.
    pub fn decide(
        &self,
        principal: &Principal,
        operation: Operation,
        destination: &Destination,
        separators: Separators,
    ) -> Decision {
        let operation = if destination.kind() == DestinationKind::App { Operation::App } else { operation };
        if let Some(allowed) = always(principal, operation, destination) {
            return Decision { allowed, by: Because::Always };
        }
        let is_subscribe = operation == Operation::Subscribe;
        let asked = Words::of(destination.as_str(), separators, is_subscribe, false);
        let own = principal.user().map_or(&[][..], |user| user.grants());
        let says = |grant: &Grant| verdict(grant, principal, operation, &asked, separators);
        if let Some((n, allowed)) = own.iter().enumerate().find_map(|(n, grant)| Some((n, says(grant)?))) {
            return Decision { allowed, by: Because::TokenRule(n) };
        }
        let fitting = self.rules.iter().enumerate().filter(|(_, rule)| rule.is_about(principal));
        if let Some((n, allowed)) = fitting.into_iter().find_map(|(n, rule)| Some((n, says(&rule.grant)?))) {
            return Decision { allowed, by: Because::Rule(n) };
        }
        if !own.is_empty() || !self.rules.is_empty() {
            return Decision { allowed: false, by: Because::NoRule };
        }
        let allowed = match (operation, destination.kind()) {
            (Operation::Subscribe, DestinationKind::Topic) | (_, DestinationKind::App) => true,
            (Operation::Send | Operation::App, DestinationKind::Topic) => self.open,
            (_, DestinationKind::Queue) => self.open || principal.name().is_some(),
            (_, DestinationKind::User | DestinationKind::TempQueue) => true,
            (_, DestinationKind::Unknown) => false,
        };
        Decision { allowed, by: Because::Default }
    }
}

impl Rule {
    fn is_about(&self, principal: &Principal) -> bool {
        let names_nobody = self.users.is_empty() && self.roles.is_empty() && !self.anonymous;
        names_nobody
            || match principal.user() {
                None => self.anonymous,
                Some(user) => {
                    self.users.iter().any(|name| name == "*" || *name == **user)
                        || self.roles.iter().any(|role| user.has_role(role))
                }
            }
    }
}

/// What no rule changes.
fn always(principal: &Principal, operation: Operation, destination: &Destination) -> Option<bool> {
    let mut words = destination.as_str().split(['/', '.']).skip(2);
    match destination.kind() {
        DestinationKind::Unknown => Some(false),
        DestinationKind::Topic if operation == Operation::Send && words.next() == Some("$sys") => Some(false),
        DestinationKind::TempQueue => Some(true),
        DestinationKind::User => {
            let Some(name) = principal.name() else { return Some(false) };
            let (who, rest) = destination.as_str()["/user/".len()..].split_once('/').unwrap_or_default();
            let is_brokers = rest.split_once('/').is_some_and(|(_, name)| name.starts_with('$'));
            match operation {
                Operation::Send | Operation::App => is_brokers.then_some(false),
                Operation::Subscribe => (rest == "queue/$auth" && who == encoded(name)).then_some(true),
            }
        }
        DestinationKind::Topic | DestinationKind::Queue | DestinationKind::App => None,
    }
}

/// What a rule says of it; `None`: nothing.
fn verdict(
    grant: &Grant,
    principal: &Principal,
    operation: Operation,
    asked: &Words<'_>,
    separators: Separators,
) -> Option<bool> {
    if !grant.operations.contains(&operation) {
        return None;
    }
    grant.destinations.iter().find_map(|text| {
        let full;
        let mut text: &str = text;
        if text.contains(USER) {
            // As one word that is no wildcard, as in /user/WHO: nobody's name reaches into another's.
            full = text.replace(USER, &encoded(principal.name()?));
            text = &full;
        }
        // A wildcard that refuses stands for what begins with $, too.
        let rule = Words::of(text, separators, true, !grant.allow);
        let fits = rule.covers(asked) || (!grant.allow && rule.overlaps(asked));
        fits.then_some(grant.allow)
    })
}

/// A name or a pattern, taken apart.
struct Words<'a> {
    words: Vec<Word<'a>>,
    /// Whether its wildcards stand for words that begin with `$`.
    takes_reserved: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word<'a> {
    One,
    Any,
    Is(&'a str),
}

impl<'a> Words<'a> {
    fn of(text: &'a str, separators: Separators, has_wildcards: bool, takes_reserved: bool) -> Self {
        let mut words = Vec::new();
        let mut rest = separators.words(text).peekable();
        while let Some(word) = rest.next() {
            let wildcard = if has_wildcards { Wildcard::of(word, rest.peek().is_none()) } else { None };
            words.push(match wildcard {
                Some(Wildcard::OneWord) => Word::One,
                Some(Wildcard::AnyWords) => Word::Any,
                None => Word::Is(word),
            });
        }
        Self { words, takes_reserved }
    }

    /// Whether every name of `other` is one of these; `false` where that is in doubt.
    fn covers(&self, other: &Self) -> bool {
        self.table(other, |own, asked, next| match (own, asked) {
            (Some(Word::Any), asked) => next(1, 0) || (asked.is_some_and(|word| self.stands_for(word)) && next(0, 1)),
            (Some(Word::One), Some(Word::Any)) | (Some(_), None) | (None, Some(_)) => false,
            (Some(Word::One), Some(word)) => self.stands_for(word) && next(1, 1),
            (Some(own), Some(asked)) => own == asked && next(1, 1),
            (None, None) => true,
        })
    }

    /// Whether a name is one of both.
    fn overlaps(&self, other: &Self) -> bool {
        self.table(other, |own, asked, next| match (own, asked) {
            (Some(Word::Any), asked) => {
                next(1, 0)
                    || (asked == Some(Word::Any) && next(0, 1))
                    || (asked.is_some_and(|word| self.stands_for(word)) && next(0, 1))
            }
            (own, Some(Word::Any)) => next(0, 1) || (own.is_some_and(|word| other.stands_for(word)) && next(1, 0)),
            (Some(Word::One), Some(word)) => self.stands_for(word) && next(1, 1),
            (Some(word), Some(Word::One)) => other.stands_for(word) && next(1, 1),
            (Some(own), Some(asked)) => own == asked && next(1, 1),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        })
    }

    fn stands_for(&self, word: Word<'_>) -> bool {
        match word {
            Word::One | Word::Any => true,
            Word::Is(word) => self.takes_reserved || !word.starts_with('$'),
        }
    }

    /// Answers for all pairs of ends, the shortest first, so that the cost is the product of the
    /// two lengths whatever a peer writes; `next` looks that many words ahead.
    fn table(
        &self,
        other: &Self,
        answer: impl Fn(Option<Word<'_>>, Option<Word<'_>>, &dyn Fn(usize, usize) -> bool) -> bool,
    ) -> bool {
        let (rows, columns) = (self.words.len() + 1, other.words.len() + 1);
        let mut known = vec![false; rows * columns];
        for row in (0..rows).rev() {
            for column in (0..columns).rev() {
                let next = |down: usize, right: usize| {
                    let (row, column) = (row + down, column + right);
                    row < rows && column < columns && known[row * columns + column]
                };
                let found = answer(self.words.get(row).copied(), other.words.get(column).copied(), &next);
                known[row * columns + column] = found;
            }
        }
        known[0]
    }
}

/// Stands for the principal's own name.
const USER: &str = "{user}";

#[cfg(test)]
mod tests;
