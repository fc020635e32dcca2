//! Where a file goes when it is rotated: `app.log` to `app.log.1`, `app.log-20261121`, `app.1.log`
//! or `app-2026-11-21.log` beside it.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::file::{Id, id};

/// The rotated files of that place which came to be since then, the oldest first, without those
/// that are `known`.
pub(super) fn since(place: &Path, since: SystemTime, known: &dyn Fn(Id) -> bool) -> Vec<PathBuf> {
    let mut found = beside(place, known);
    found.retain(|(_, metadata)| born(metadata) + SLACK >= since);
    found.sort_by_key(|(_, metadata)| (born(metadata), metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)));
    found.into_iter().map(|(path, _)| path).collect()
}

fn beside(place: &Path, known: &dyn Fn(Id) -> bool) -> Vec<(PathBuf, Metadata)> {
    let (Some(folder), Some(name)) = (place.parent(), place.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let of_name = entries.filter(|entry| entry.file_name().to_str().is_some_and(|other| is_rotated(name, other)));
    let found = of_name.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)));
    found.filter(|(_, metadata)| metadata.is_file() && !known(id(metadata))).collect()
}

/// Whether `other` is what a file called `name` becomes.
fn is_rotated(name: &str, other: &str) -> bool {
    if COMPRESSED.iter().any(|end| other.ends_with(end)) {
        return false;
    }
    let (stem, end) = name.rsplit_once('.').unwrap_or((name, ""));
    let of_stem = other.strip_prefix(stem).map(|rest| rest.strip_suffix(end).unwrap_or(rest));
    other.strip_prefix(name).into_iter().chain(of_stem).any(is_age)
}

/// What a rotated name has more than the file's: a number, a time, or a word for it.
fn is_age(more: &str) -> bool {
    let is_of_time = |letter: char| letter.is_ascii_digit() || matches!(letter, '.' | '-' | '_' | ':' | 'T' | 'Z');
    let Some(word) = more.strip_prefix(['.', '-', '_']) else { return false };
    let is_time = word.contains(|letter: char| letter.is_ascii_digit()) && word.chars().all(is_of_time);
    is_time || matches!(word, "old" | "bak" | "prev")
}

/// When a file came to be, or was written to where the file system does not say that.
fn born(metadata: &Metadata) -> SystemTime {
    metadata.created().or_else(|_| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// What cannot be read as lines.
const COMPRESSED: [&str; 4] = [".gz", ".bz2", ".xz", ".zst"];

/// The clock of files goes in steps, and is a little late.
const SLACK: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_names_are_known_and_those_of_other_files_are_not() {
        for other in ["app.log.1", "app.log-20261121", "app.log.old", "app.1", "app.1.log", "app-2026-11-21T10:00.log"]
        {
            assert!(is_rotated("app.log", other), "{other}");
        }
        for other in ["app.log", "app.err", "app.log.1.gz", "apple.log", "app-web.log", "b.log.1", "app.log."] {
            assert!(!is_rotated("app.log", other), "{other}");
        }
        assert!(is_rotated("syslog", "syslog.1") && !is_rotated("syslog", "syslog-ng"));
    }
}
