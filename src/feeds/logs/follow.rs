//! Followed files: what is written to them becomes log lines, across their rotation.
//!
//! One thread reads all of them. It waits while those who publish do, so nothing is left out: the
//! files are the buffer. A file is known by its device and inode: renamed, it is read to its end
//! before the one that took its place; truncated, it is read from its start.

use std::fs::{File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::entry::{LogEntry, is_source};
use super::lines::Lines;
use super::parse::Parser;
use super::{DESTINATION, UNKNOWN_SOURCE, publish};
use crate::broker::Broker;
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
    let mut follower = Follower::new(settings);
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
    scanned: Option<Instant>,
}

struct Followed {
    /// Where it was found.
    path: PathBuf,
    id: (u64, u64),
    file: File,
    source: String,
    offset: u64,
    lines: Lines,
    /// Whether its end was reached when it was looked at last.
    is_drained: bool,
    /// Since when no pattern finds it.
    gone: Option<Instant>,
}

impl Follower {
    fn new(settings: Settings) -> Self {
        Self { settings, files: Vec::new(), buffer: vec![0; PIECE_BYTES], is_full: false, scanned: None }
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
        if self.scanned.is_none_or(|at| now.saturating_duration_since(at) >= SCAN) {
            self.scan(now);
            self.scanned = Some(now);
        }
        let mut was_idle = true;
        for at in 0..self.files.len() {
            let (before, rest) = self.files.split_at_mut(at);
            let Some(file) = rest.first_mut() else { break };
            // What took a renamed file's place comes after it.
            if before.iter().any(|other| !other.is_drained && other.path == file.path) {
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
        if self.files.len() >= self.settings.files {
            if !std::mem::replace(&mut self.is_full, true) {
                warn!(files = self.settings.files, path = %path.display(), "not followed: logs.files is used up");
            }
            return;
        }
        let from_start = !is_first || self.settings.from_start;
        match Followed::open(path, from_start) {
            Ok(file) => {
                info!(path = %path.display(), from = file.offset, "following");
                self.files.push(file);
            }
            Err(error) => warn!(path = %path.display(), %error, "cannot be followed"),
        }
    }

    /// Lets go of files that no pattern finds any more, once their writers had time to end.
    fn let_go(&mut self, now: Instant, mut take: impl FnMut(Vec<LogEntry>)) {
        let parser = self.settings.parser;
        self.files.retain_mut(|file| {
            let is_over = file.gone.is_some_and(|since| now.saturating_duration_since(since) >= GRACE);
            if !(is_over && file.is_drained) {
                return true;
            }
            let source = file.source.clone();
            file.lines.flush(|line| take(vec![parser.parse(line, Utc::now(), &source)]));
            info!(path = %file.path.display(), "not followed any more");
            self.is_full = false;
            false
        });
    }
}

impl Followed {
    fn open(path: &Path, from_start: bool) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        let offset = if from_start { 0 } else { last_line(&mut file, metadata.len())? };
        file.seek(SeekFrom::Start(offset))?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let source = name.filter(|name| is_source(name)).unwrap_or_else(|| UNKNOWN_SOURCE.to_owned());
        let lines = Lines::default();
        Ok(Self {
            path: path.to_owned(),
            id: id(&metadata),
            file,
            source,
            offset,
            lines,
            is_drained: false,
            gone: None,
        })
    }

    /// Reads on, up to a bound so that others get their turn; answers how many octets.
    fn read(&mut self, buffer: &mut [u8], mut line: impl FnMut(&str, &str)) -> io::Result<usize> {
        let mut octets = 0;
        while octets < TURN_BYTES {
            let read = match self.file.read(buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if read == 0 {
                self.is_drained = true;
                return self.look_for_truncation().map(|()| octets);
            }
            self.is_drained = false;
            self.offset += read as u64;
            octets += read;
            self.lines.take(&buffer[..read], |text| line(&self.source, text));
        }
        Ok(octets)
    }

    fn look_for_truncation(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        if length < self.offset {
            let octets = self.lines.forget();
            let path = self.path.display();
            warn!(%path, octets, "truncated: an unfinished line of so many octets is lost, and what was not read yet");
            self.offset = 0;
            self.file.seek(SeekFrom::Start(0))?;
            self.is_drained = false;
        }
        Ok(())
    }
}

/// Where the unfinished line at the end begins, so that it comes whole; the end where that is not
/// among the last octets.
fn last_line(file: &mut File, length: u64) -> io::Result<u64> {
    let from = length.saturating_sub(PIECE_BYTES as u64);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(length - from).read_to_end(&mut tail)?;
    let newline = memchr::memrchr(b'\n', &tail).map(|at| from + at as u64 + 1);
    Ok(newline.unwrap_or(if from == 0 { 0 } else { length }))
}

fn id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

const PIECE_BYTES: usize = 64 * 1024;
const TURN_BYTES: usize = 512 * 1024;
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
