//! The way to a value within the settings: `schedule[0].cron`.

use std::fmt;

use toml::Value;
use toml::de::{DeArray, DeTable, DeValue};

/// The keys and positions that lead to a value; empty for the whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Path {
    /// The path of a dotted key without positions, such as `server.listen`.
    pub(super) fn of(key: &str) -> Self {
        Self(key.split('.').map(|key| Step::Key(key.to_owned())).collect())
    }

    /// This path and one key more.
    pub(super) fn key(&self, key: &str) -> Self {
        self.then(Step::Key(key.to_owned()))
    }

    /// This path and one position more.
    pub(super) fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// This path without its last step; `None` for the whole.
    pub(super) fn parent(&self) -> Option<Self> {
        let (_, parents) = self.0.split_last()?;
        Some(Self(parents.to_vec()))
    }

    /// The path with each position left open, as rules are named: `schedule[].cron`.
    pub(super) fn pattern(&self) -> String {
        self.written(|_| String::new())
    }

    /// The dotted keys before the first position: what a merged value is found by.
    pub(super) fn root(&self) -> String {
        let keys = self.0.iter().map_while(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        });
        keys.collect::<Vec<_>>().join(".")
    }

    /// The value at this path.
    pub(super) fn value_in<'a>(&self, all: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(all, |value, step| match step {
            Step::Key(key) => value.get(key),
            Step::Index(index) => value.get(index),
        })
    }

    /// Line and column, from 1, of the value in a TOML text, or of the innermost table or
    /// list around it that is there.
    pub(super) fn find_in(&self, text: &str) -> Option<(usize, usize)> {
        let document = DeTable::parse(text).ok()?;
        let mut found = None;
        let mut table = Some(document.get_ref());
        let mut list = None;
        for step in &self.0 {
            let (start, value) = match step {
                Step::Key(key) => {
                    let Some((key, value)) = table.and_then(|table| table.get_key_value(key.as_str())) else { break };
                    (key.span().start, value.get_ref())
                }
                Step::Index(index) => {
                    let Some(value) = list.and_then(|list: &DeArray<'_>| list.get(*index)) else { break };
                    (value.span().start, value.get_ref())
                }
            };
            found = Some(line_and_column(text, start));
            table = DeValue::as_table(value);
            list = DeValue::as_array(value);
        }
        found
    }

    fn written(&self, index: impl Fn(usize) -> String) -> String {
        let mut text = String::new();
        for step in &self.0 {
            match step {
                Step::Key(key) if text.is_empty() => text.push_str(key),
                Step::Key(key) => text.extend([".", key]),
                Step::Index(n) => text.extend(["[", &index(*n), "]"]),
            }
        }
        text
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written(|n| n.to_string()))
    }
}

/// Line and column, from 1, of an offset in octets; columns count characters.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_with_its_positions_or_without() {
        let path = Path::of("auth.users").index(1).key("name");
        assert_eq!(path.to_string(), "auth.users[1].name");
        assert_eq!(path.pattern(), "auth.users[].name");
        assert_eq!(path.root(), "auth.users");
        assert_eq!(path.parent(), Some(Path::of("auth.users").index(1)));
        assert_eq!(Path::default().parent(), None);
    }

    #[test]
    fn a_value_is_found_in_tables_inline_tables_and_lists_of_tables() {
        let text = "# é\n[auth]\nusers = [\n  { name = \"ann\" },\n  { name = \"bob\" },\n]\n[[schedule]]\nname = \"a\"\n\n[[schedule]]\n  cron = \"x\"\n";
        assert_eq!(Path::of("auth.users").index(1).key("name").find_in(text), Some((5, 5)));
        assert_eq!(Path::of("schedule").index(1).key("cron").find_in(text), Some((11, 3)));
        assert_eq!(Path::of("schedule").index(1).key("body").find_in(text), Some((10, 1)));
        assert_eq!(Path::of("server.listen").find_in(text), None);
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(line_and_column("a\né = 1", 4), (2, 2));
        assert_eq!(line_and_column("a", 99), (1, 2));
    }
}
