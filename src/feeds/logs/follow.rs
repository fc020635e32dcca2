//! Followed files: what is written to them becomes log lines, across their rotation.
//!
//! One thread reads all of them. It waits while those who publish do, so nothing is left out: the
//! files are the buffer. A file is known by its device and inode: renamed, it is read to its end
//! before the one that took its place, and those that had that place in between are looked for
//! under its rotated names. Truncated, it is read from its start, once the rest of what was there
//! is read from the copy that was made of it; what is known to be lost otherwise is counted.

mod file;
mod rotated;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use chrono::Utc;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use self::file::{Followed, Id, id};
use super::entry::LogEntry;
use super::parse::Parser;
use super::{DESTINATION, publish};
use crate::broker::Broker;
use crate::broker::stats::FileStats;
use crate::message::Destination;
use crate::net::clock;

/// Which files are followed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Paths with `*`, `?`, `[…]` and `**`.
    pub patterns: Vec<String>,
    /// Whether files that are there at the start are read from their start. Those that appear
    /// later always are.
    pub from_start: bool,
    /// How their lines are written.
    pub parser: Parser,
    /// How many files are followed at once.
    pub files: usize,
}

/// Follows the files and publishes their lines; never ends while the files can be followed.
pub async fn run(broker: Broker, settings: Settings) {
    let Ok(destination) = Destination::parse(DESTINATION) else { return };
    let (sender, mut batches) = mpsc::channel(BATCHES);
    let mut follower = Follower::new(settings, Arc::clone(&broker.stats().files));
    let reading = thread::Builder::new().name("logs".into()).spawn(move || follower.run(&sender));
    if let Err(error) = reading {
        return error!(%error, "no thread for the followed files");
    }
    while let Some(batch) = batches.recv().await {
        publish(&broker, &destination, batch).await;
    }
}

struct Follower {
    settings: Settings,
    /// In the order in which they were found.
    files: Vec<Followed>,
    buffer: Vec<u8>,
    is_full: bool,
    scanned: Option<Scanned>,
    stats: Arc<FileStats>,
}

/// When files were looked for last, by the clock that files have, too.
#[derive(Clone, Copy)]
struct Scanned {
    at: Instant,
    wall: SystemTime,
}

impl Follower {
    fn new(settings: Settings, stats: Arc<FileStats>) -> Self {
        Self { settings, files: Vec::new(), buffer: vec![0; PIECE_BYTES], is_full: false, scanned: None, stats }
    }

    fn run(&mut self, sender: &mpsc::Sender<Vec<LogEntry>>) {
        while !sender.is_closed() {
            let mut is_taken = true;
            let was_idle = self.step(clock::now(), |batch| is_taken = is_taken && sender.blocking_send(batch).is_ok());
            if was_idle {
                thread::sleep(PAUSE);
            }
        }
    }

    /// Looks for files where it is time, and reads a piece of each; answers whether there was
    /// nothing to read.
    fn step(&mut self, now: Instant, mut take: impl FnMut(Vec<LogEntry>)) -> bool {
        if self.scanned.is_none_or(|scanned| now.saturating_duration_since(scanned.at) >= SCAN) {
            let wall = SystemTime::now();
            self.scan(now);
            self.scanned = Some(Scanned { at: now, wall });
        }
        let mut was_idle = true;
        for at in 0..self.files.len() {
            let (before, rest) = self.files.split_at_mut(at);
            let Some(file) = rest.first_mut() else { break };
            // What took a renamed file's place comes after it.
            if before.iter().any(|other| !other.is_drained && other.path == file.path) {
                continue;
            }
            if file.is_truncated() {
                self.on_truncated(at);
                was_idle = false;
                continue;
            }
            let mut batch = Vec::new();
            let parser = self.settings.parser;
            let read = file.read(&mut self.buffer, |source, line| {
                if !line.is_empty() {
                    batch.push(parser.parse(line, Utc::now(), source));
                }
                if batch.len() == BATCH {
                    take(std::mem::take(&mut batch));
                }
            });
            if !batch.is_empty() {
                take(batch);
            }
            match read {
                Ok(octets) => was_idle &= octets == 0,
                Err(error) => {
                    warn!(path = %file.path.display(), %error, "a followed file cannot be read");
                    file.is_drained = true;
                }
            }
        }
        self.let_go(now, take);
        was_idle
    }

    fn scan(&mut self, now: Instant) {
        let is_first = self.scanned.is_none();
        for file in &mut self.files {
            file.gone.get_or_insert(now);
        }
        for pattern in self.settings.patterns.clone() {
            // Patterns are checked with the settings.
            let Ok(paths) = glob::glob(&pattern) else { continue };
            // What cannot be looked into now may be later.
            for path in paths.flatten() {
                self.find(&path, is_first);
            }
        }
    }

    fn find(&mut self, path: &Path, is_first: bool) {
        let Ok(metadata) = path.metadata() else { return };
        if !metadata.is_file() {
            return;
        }
        if let Some(known) = self.files.iter_mut().find(|file| file.id == id(&metadata)) {
            known.gone = None;
            return;
        }
        if !self.has_room(path) {
            return;
        }
        // Opened before what was missed is looked for: a file that is rotated away between the
        // look at its place and this is among that.
        let opened = Followed::open(path, path, !is_first || self.settings.from_start);
        if let Some(scanned) = self.scanned.filter(|_| self.files.iter().any(|file| file.path == path)) {
            let is_opened = |of| opened.as_ref().is_ok_and(|file| file.id == of);
            for missed in rotated::since(path, scanned.wall, &|of| is_opened(of) || self.knows(of)) {
                self.follow(Followed::open(&missed, path, true), &missed);
            }
        }
        self.follow(opened, path);
    }

    fn knows(&self, of: Id) -> bool {
        self.files.iter().any(|file| file.id == of)
    }

    /// Whether one more can be followed; says once where it cannot.
    fn has_room(&mut self, path: &Path) -> bool {
        let is_full = self.files.len() >= self.settings.files;
        if is_full && !std::mem::replace(&mut self.is_full, true) {
            warn!(files = self.settings.files, path = %path.display(), "not followed: logs.files is used up");
        }
        !is_full
    }

    fn follow(&mut self, opened: io::Result<Followed>, path: &Path) {
        match opened {
            Ok(file) if self.knows(file.id) || !self.has_room(path) => {}
            Ok(file) => {
                info!(path = %path.display(), from = file.offset(), "following");
                self.files.push(file);
            }
            Err(error) => warn!(path = %path.display(), %error, "cannot be followed"),
        }
    }

    /// Goes on at the start, after the rest of what was there where a copy of it is found.
    fn on_truncated(&mut self, at: usize) {
        self.stats.truncations.add(1);
        let Some(file) = self.files.get(at) else { return };
        let path = file.path.clone();
        let known = |of: Id| self.knows(of);
        let copies = rotated::since(&path, SystemTime::UNIX_EPOCH, &known);
        let resumed = |(n, copy): (usize, &PathBuf)| Some((n, file.resumed(copy).ok().flatten()?));
        let found = copies.iter().enumerate().rev().find_map(resumed);
        let Some(file) = self.files.get_mut(at) else { return };
        let lost = file.restart();
        if let Some((n, copy)) = found {
            info!(path = %path.display(), "truncated: the rest of it is read from its copy");
            // It was filled and truncated again before this look.
            let whole = copies.iter().skip(n + 1).filter_map(|copy| Followed::open(copy, &path, true).ok());
            let copies: Vec<_> = std::iter::once(copy).chain(whole).collect();
            self.files.splice(at..at, copies);
            return;
        }
        self.stats.lost_bytes.add(lost);
        let path = path.display();
        warn!(%path, octets = lost, "truncated without a copy: what was not read yet is lost, at least so many octets");
    }

    /// Lets go of files that no pattern finds any more, once their writers had time to end.
    fn let_go(&mut self, now: Instant, mut take: impl FnMut(Vec<LogEntry>)) {
        let parser = self.settings.parser;
        self.files.retain_mut(|file| {
            let is_over = file.gone.is_some_and(|since| now.saturating_duration_since(since) >= GRACE);
            if !(is_over && file.is_drained) {
                return true;
            }
            file.flush(|source, line| take(vec![parser.parse(line, Utc::now(), source)]));
            info!(path = %file.path.display(), "not followed any more");
            self.is_full = false;
            false
        });
    }
}

const PIECE_BYTES: usize = 64 * 1024;
/// Lines that are handed over together, and how often that may wait.
const BATCH: usize = 256;
const BATCHES: usize = 8;
/// How long after a file's end it is looked at again.
const PAUSE: Duration = Duration::from_millis(50);
const SCAN: Duration = Duration::from_millis(200);
/// How long a writer may go on with a file that was renamed away.
const GRACE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
