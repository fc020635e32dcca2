//! Files that grow, are renamed, truncated and removed; time is an argument.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use super::file::TURN_BYTES;
use super::*;

#[test]
fn a_file_is_followed_from_its_end_with_its_unfinished_line_whole() {
    let room = Room::new();
    room.append("a.log", "old\nunfini");
    let mut follower = room.follower(false);
    assert_eq!(room.texts(&mut follower, 0), [""; 0]);
    room.append("a.log", "shed\nnew\n");
    assert_eq!(room.texts(&mut follower, 100), ["unfinished", "new"]);
    room.append("b.log", "later\n");
    assert_eq!(room.texts(&mut follower, 300), ["later"], "what appears later comes from its start");
}

#[test]
fn a_file_is_followed_from_its_start_where_that_is_asked_for() {
    let room = Room::new();
    room.append("a.log", "ERROR one\n\ntwo\n");
    let mut entries = Vec::new();
    room.follower(true).step(clock::now(), |batch| entries.extend(batch));
    let all: Vec<_> = entries.iter().map(|e| (e.source.as_str(), e.level.as_str(), e.message.as_str())).collect();
    assert_eq!(all, [("a.log", "error", "ERROR one"), ("a.log", "info", "two")]);
}

#[test]
fn a_renamed_file_is_read_to_its_end_before_the_one_in_its_place() {
    let room = Room::new();
    room.append("a.log", "1\n");
    let mut follower = room.follower(true);
    assert_eq!(room.texts(&mut follower, 0), ["1"]);
    let mut writer = OpenOptions::new().append(true).open(room.path("a.log")).unwrap();
    writer.write_all(b"2\n").unwrap();
    fs::rename(room.path("a.log"), room.path("a.1")).unwrap();
    // More than one turn, so that the new file would be read in between.
    writer.write_all("x\n".repeat(TURN_BYTES).as_bytes()).unwrap();
    room.append("a.log", "last\n");
    let texts = room.texts(&mut follower, 300);
    assert_eq!((texts[0].as_str(), texts.len()), ("2", TURN_BYTES + 2));
    assert_eq!(texts.last().map(String::as_str), Some("last"));
    // Its writer goes on for a moment.
    writer.write_all(b"straggler").unwrap();
    assert_eq!(room.texts(&mut follower, 600), [""; 0]);
    assert_eq!(room.texts(&mut follower, 6_000), ["straggler"], "the unfinished line comes when it is let go");
    assert_eq!(follower.files.len(), 1);
}

#[test]
fn a_renamed_file_that_a_pattern_still_finds_is_not_read_again() {
    let room = Room::new();
    room.append("a.log", "1\n");
    let mut follower = room.follower(true);
    assert_eq!(room.texts(&mut follower, 0), ["1"]);
    fs::rename(room.path("a.log"), room.path("a.old.log")).unwrap();
    room.append("a.log", "2\n");
    for ms in [300, 10_000, 20_000] {
        assert_eq!(room.texts(&mut follower, ms), ["2"; 1][..usize::from(ms == 300)]);
    }
}

#[test]
fn a_truncated_file_is_read_from_its_start_and_what_is_known_to_be_lost_is_counted() {
    let room = Room::new();
    room.append("a.log", "one\npart");
    let mut follower = room.follower(true);
    assert_eq!(room.texts(&mut follower, 0), ["one"]);
    fs::write(room.path("a.log"), "two\n").unwrap();
    assert_eq!(room.texts(&mut follower, 100), ["two"]);
    assert_eq!((follower.stats.truncations.value(), follower.stats.lost_bytes.value()), (1, 4));
    fs::write(room.path("a.log"), "longer than it was before\n").unwrap();
    assert_eq!(
        room.texts(&mut follower, 200),
        ["longer than it was before"],
        "though it has grown past its old length"
    );
    assert_eq!((follower.stats.truncations.value(), follower.stats.lost_bytes.value()), (2, 4));
}

#[test]
fn what_was_not_read_before_a_file_was_truncated_is_read_from_its_copy() {
    let room = Room::new();
    room.append("a.log", "one\npart");
    fs::write(room.path("a.log.2"), "another\nfile\n").unwrap();
    let mut follower = room.follower(true);
    assert_eq!(room.texts(&mut follower, 0), ["one"]);
    room.append("a.log", "ly\nthree\n");
    fs::copy(room.path("a.log"), room.path("a.log.1")).unwrap();
    fs::write(room.path("a.log"), "four\n").unwrap();
    thread::sleep(Duration::from_millis(15));
    fs::rename(room.path("a.log.1"), room.path("a.log.3")).unwrap();
    fs::copy(room.path("a.log"), room.path("a.log.1")).unwrap();
    fs::write(room.path("a.log"), "five\n").unwrap();
    assert_eq!(room.texts(&mut follower, 100), ["partly", "three", "four", "five"]);
    assert_eq!((follower.stats.truncations.value(), follower.stats.lost_bytes.value()), (1, 0));
    for ms in [1_000, 6_000, 12_000] {
        assert_eq!(room.texts(&mut follower, ms), [""; 0]);
    }
    assert_eq!(follower.files.len(), 1);
}

#[test]
fn files_that_had_a_name_between_two_looks_are_read_in_their_order() {
    let room = Room::new();
    room.append("a.log", "1\n");
    fs::write(room.path("a.log.9"), "old\n").unwrap();
    let mut follower = room.follower(true);
    // So that it is older than the first look by the clock of files, too.
    thread::sleep(Duration::from_millis(50));
    assert_eq!(room.texts(&mut follower, 0), ["1"]);
    for n in 2..6 {
        for of in (1..n).rev() {
            let _ = fs::rename(room.path(&format!("a.log.{of}")), room.path(&format!("a.log.{}", of + 1)));
        }
        fs::rename(room.path("a.log"), room.path("a.log.1")).unwrap();
        room.append("a.log", &format!("{n}\n"));
        thread::sleep(Duration::from_millis(15));
    }
    assert_eq!(room.texts(&mut follower, 300), ["2", "3", "4", "5"]);
    assert_eq!(room.texts(&mut follower, 6_000), [""; 0]);
    assert_eq!(room.texts(&mut follower, 12_000), [""; 0]);
    assert_eq!(follower.files.len(), 1, "those that were rotated are let go");
}

#[test]
fn files_beyond_the_limit_wait_until_others_are_gone() {
    let room = Room::new();
    (0..3).for_each(|n| room.append(&format!("{n}.log"), &format!("{n}\n")));
    let mut follower = room.follower(true);
    follower.settings.files = 2;
    assert_eq!(room.texts(&mut follower, 0), ["0", "1"]);
    fs::remove_file(room.path("0.log")).unwrap();
    assert_eq!(room.texts(&mut follower, 300), [""; 0]);
    room.texts(&mut follower, 6_000);
    assert_eq!(room.texts(&mut follower, 7_000), ["2"]);
}

#[test]
fn a_writer_that_rotates_again_and_again_loses_no_line() {
    const LINES: usize = 200_000;
    let room = Room::new();
    let mut follower = room.follower(true);
    room.append("a.log", "");
    let path = room.path("a.log");
    let writer = thread::spawn(move || {
        let mut file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        for n in 0..LINES {
            if n % 40_000 == 39_999 {
                fs::rename(&path, path.with_extension(format!("{n}"))).unwrap();
                file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
            }
            file.write_all(format!("{n}\n").as_bytes()).unwrap();
        }
    });
    let mut next = 0;
    while next < LINES {
        follower.step(clock::now(), |batch| {
            for entry in batch {
                assert_eq!(entry.message, next.to_string());
                next += 1;
            }
        });
    }
    writer.join().unwrap();
}

/// A folder of its own, removed with its end.
struct Room {
    folder: PathBuf,
    begin: Instant,
}

impl Room {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("stompbox-follow-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Self { folder, begin: clock::now() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn follower(&self, from_start: bool) -> Follower {
        let patterns = vec![self.path("*.log").to_str().unwrap().to_owned()];
        Follower::new(Settings { patterns, from_start, parser: Parser::Auto, files: 100 }, Arc::default())
    }

    /// What is found until there is nothing more, so long after the beginning.
    fn texts(&self, follower: &mut Follower, ms: u64) -> Vec<String> {
        let mut texts = Vec::new();
        let now = self.begin + Duration::from_millis(ms);
        // Twice: what was truncated is read after it was seen.
        for _ in 0..2 {
            while !follower.step(now, |batch| texts.extend(batch.into_iter().map(|entry| entry.message))) {}
        }
        texts
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
