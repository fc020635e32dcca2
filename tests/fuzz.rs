//! The fuzz targets on stable Rust: the committed corpus, then plain mutations of it.
//!
//! `FUZZ_SECONDS` sets how long all targets take together; `fuzz/README.md` says more.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test's own functions; a panic names the case"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[path = "fuzz/targets.rs"]
mod targets;

#[test]
fn decode_holds_for_any_octets() {
    run("decode", targets::decode);
}

#[test]
fn session_holds_for_any_script() {
    run("session", targets::session);
}

#[test]
fn websocket_reader_holds_for_any_octets() {
    run("websocket_reader", targets::websocket_reader);
}

#[test]
fn sockjs_payload_holds_for_any_octets() {
    run("sockjs_payload", targets::sockjs_payload);
}

fn run(name: &str, target: fn(&[u8])) {
    let corpus = corpus(name);
    assert!(corpus.len() >= 10, "{name} has a corpus of only {}", corpus.len());
    for (path, input) in &corpus {
        guarded(&format!("corpus file {}", path.display()), None, || target(input));
    }
    // One at a time: seconds are wall-clock time.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (seed, time) = seed_and_time();
    let mut mutator = Mutator { state: seed | 1, inputs: corpus.into_iter().map(|(_, input)| input).collect() };
    let start = SystemTime::now();
    let mut runs: u64 = 0;
    while start.elapsed().unwrap_or(time) < time {
        for _ in 0..100 {
            let input = mutator.input();
            let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/fuzz/{name}-{seed}.bytes"));
            guarded(&format!("seed {seed}"), Some((&kept, &input)), || target(&input));
            runs += 1;
        }
    }
    println!("{name}: {runs} inputs, seed {seed}");
}

fn guarded(what: &str, keep: Option<(&Path, &[u8])>, run: impl FnOnce()) {
    let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) else { return };
    eprintln!("{what} fails");
    if let Some((path, input)) = keep {
        fs::create_dir_all(path.parent().expect("the file has a folder")).unwrap();
        fs::write(path, input).unwrap();
        eprintln!("it is kept in {}: {}", path.display(), input.escape_ascii());
    }
    std::panic::resume_unwind(panic);
}

/// Where nobody asks for a time of their own, each run does the same.
fn seed_and_time() -> (u64, Duration) {
    let number = |name| std::env::var(name).ok().map(|text: String| text.parse::<u64>().expect("a whole number"));
    let seconds = number("FUZZ_SECONDS");
    let by_clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::from(since.subsec_nanos()));
    let seed = number("FUZZ_SEED").unwrap_or_else(|| if seconds.is_some() { by_clock() } else { 1 });
    (seed, seconds.map_or(Duration::from_secs(1), |seconds| Duration::from_secs(seconds) / TARGETS))
}

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Makes new inputs of old ones.
struct Mutator {
    state: u64,
    inputs: Vec<Vec<u8>>,
}

impl Mutator {
    fn input(&mut self) -> Vec<u8> {
        let mut input = self.any_input();
        for _ in 0..=self.below(4) {
            self.mutate(&mut input);
        }
        input.truncate(MAX_BYTES);
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let end = (at + self.below(16)).min(input.len());
        match self.below(7) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = self.octet(),
            2 => drop(input.drain(at..end)),
            3 => {
                let token = TOKENS[self.below(TOKENS.len())];
                input.splice(at..at, token.iter().copied());
            }
            4 => {
                let copy = input[at..end].to_vec();
                input.splice(at..at, copy);
            }
            5 => {
                let other = self.any_input();
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => input.insert(at, self.octet()),
        }
    }

    fn any_input(&mut self) -> Vec<u8> {
        let n = self.below(self.inputs.len());
        self.inputs[n].clone()
    }

    fn octet(&mut self) -> u8 {
        self.below(256) as u8
    }

    fn below(&mut self, end: usize) -> usize {
        // Xorshift: enough to choose by
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as usize % end.max(1)
    }
}

/// What parsers take for special.
const TOKENS: [&[u8]; 28] = [
    b"\0",
    b"\n",
    b"\r\n",
    b"\n\n",
    b":",
    b"\\",
    b"\\n",
    b"\\c",
    b"\\r",
    b"\\\\",
    b"\xff",
    b"\xc3\xa9",
    b"\"",
    b"[\"",
    b"\\ud83d",
    b"content-length:",
    b"receipt:r\n",
    b"transaction:t\n",
    b"id:0\n",
    b"destination:/topic/a\n",
    b"ack:client\n",
    b"BEGIN\ntransaction:t\n\n\0",
    b"COMMIT\ntransaction:t\n\n\0",
    b"\xff*\x00\xff",
    b"\xff@\x20\xff",
    b"\xff?\xff",
    b"\xff!\xff",
    b"\x81\x85\x00\x00\x00\x00",
];

const MAX_BYTES: usize = 1024;

const TARGETS: u32 = 4;

static TURN: Mutex<()> = Mutex::new(());
