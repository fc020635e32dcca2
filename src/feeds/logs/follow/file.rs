//! [`Followed`]: one file that is read as it grows.

use std::fs::{File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::super::UNKNOWN_SOURCE;
use super::super::entry::is_source;
use super::super::lines::Lines;
use super::PIECE_BYTES;

/// A file, whatever it is called: its device and inode, which are not used again while it is open.
pub(super) type Id = (u64, u64);

pub(super) struct Followed {
    /// The place that it has, or had until it was rotated.
    pub(super) path: PathBuf,
    pub(super) id: Id,
    /// Whether its end was reached when it was looked at last.
    pub(super) is_drained: bool,
    /// Since when no pattern finds it.
    pub(super) gone: Option<Instant>,
    file: File,
    source: String,
    offset: u64,
    /// Its length, as far as it was ever seen.
    length: u64,
    /// The first octets, and the last that were read: by them a copy is known, and that the file
    /// was truncated though it has grown past the offset again.
    head: Vec<u8>,
    tail: Vec<u8>,
    lines: Lines,
}

impl Followed {
    pub(super) fn open(path: &Path, place: &Path, from_start: bool) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        let offset = if from_start { 0 } else { last_line(&mut file, metadata.len())? };
        let name = place.file_name().map(|name| name.to_string_lossy().into_owned());
        let source = name.filter(|name| is_source(name)).unwrap_or_else(|| UNKNOWN_SOURCE.to_owned());
        let mut followed = Self {
            path: place.to_owned(),
            id: id(&metadata),
            is_drained: false,
            gone: None,
            file,
            source,
            offset,
            length: offset,
            head: Vec::new(),
            tail: Vec::new(),
            lines: Lines::default(),
        };
        followed.file.seek(SeekFrom::Start(offset))?;
        followed.head = octets(&followed.file, 0, offset.min(MARK_BYTES));
        followed.tail = octets(&followed.file, offset.saturating_sub(MARK_BYTES), offset.min(MARK_BYTES));
        Ok(followed)
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads on, up to a bound so that others get their turn; answers how many octets.
    pub(super) fn read(&mut self, buffer: &mut [u8], mut line: impl FnMut(&str, &str)) -> io::Result<usize> {
        let mut octets = 0;
        while octets < TURN_BYTES {
            let read = match self.file.read(buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.is_drained = read == 0;
            if read == 0 {
                break;
            }
            let piece = &buffer[..read];
            let room = usize::try_from(MARK_BYTES.saturating_sub(self.offset)).unwrap_or(0);
            self.head.extend_from_slice(&piece[..room.min(read)]);
            keep_last(&mut self.tail, piece);
            self.offset += read as u64;
            octets += read;
            self.lines.take(piece, |text| line(&self.source, text));
        }
        self.length = self.length.max(self.offset);
        Ok(octets)
    }

    /// Whether what was read last is not there any more.
    pub(super) fn is_truncated(&mut self) -> bool {
        let Ok(metadata) = self.file.metadata() else { return false };
        let is_truncated = metadata.len() < self.offset || self.is_other(&self.file);
        if !is_truncated {
            self.length = metadata.len();
        }
        is_truncated
    }

    /// A copy of what this file was before it was truncated, to be read from where this one was;
    /// `None` if it is none, or has no more.
    pub(super) fn resumed(&self, copy: &Path) -> io::Result<Option<Self>> {
        let file = File::open(copy)?;
        let head = octets(&file, 0, self.head.len() as u64);
        if self.offset == 0 || file.metadata()?.len() < self.offset || head != self.head || self.is_other(&file) {
            return Ok(None);
        }
        let mut copy = Self::open(copy, &self.path, true)?;
        copy.file.seek(SeekFrom::Start(self.offset))?;
        (copy.offset, copy.length) = (self.offset, self.offset);
        (copy.head, copy.tail) = (self.head.clone(), self.tail.clone());
        copy.lines = self.lines.clone();
        Ok(Some(copy))
    }

    /// Begins anew at the start; answers how many octets are known to be lost unless a copy has
    /// them: the unfinished line's, and those that were seen and not read.
    pub(super) fn restart(&mut self) -> u64 {
        let unfinished = self.lines.forget() as u64;
        let unread = self.length.saturating_sub(self.offset);
        (self.offset, self.length, self.is_drained) = (0, 0, false);
        self.head.clear();
        self.tail.clear();
        // A file that can be read can be read from its start.
        let _ = self.file.seek(SeekFrom::Start(0));
        unfinished + unread
    }

    /// Ends the unfinished line: nothing more comes of it.
    pub(super) fn flush(&mut self, mut line: impl FnMut(&str, &str)) {
        self.lines.flush(|text| line(&self.source, text));
    }

    fn is_other(&self, file: &File) -> bool {
        octets(file, self.offset - self.tail.len() as u64, self.tail.len() as u64) != self.tail
    }
}

pub(super) fn id(metadata: &Metadata) -> Id {
    (metadata.dev(), metadata.ino())
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

/// That part of a file, as far as it can be read; its place for reading stays.
fn octets(file: &File, from: u64, count: u64) -> Vec<u8> {
    let mut octets = vec![0; usize::try_from(count.min(MARK_BYTES)).unwrap_or(0)];
    match file.read_exact_at(&mut octets, from) {
        Ok(()) => octets,
        Err(_) => Vec::new(),
    }
}

/// Appends, and keeps the last [`MARK_BYTES`].
fn keep_last(tail: &mut Vec<u8>, piece: &[u8]) {
    let most = usize::try_from(MARK_BYTES).unwrap_or(0);
    let piece = &piece[piece.len().saturating_sub(most)..];
    let over = (tail.len() + piece.len()).saturating_sub(most);
    tail.drain(..over);
    tail.extend_from_slice(piece);
}

/// How much of one file is read before others get their turn.
pub(super) const TURN_BYTES: usize = 512 * 1024;

/// By so many octets what was read is known again.
const MARK_BYTES: u64 = 256;
