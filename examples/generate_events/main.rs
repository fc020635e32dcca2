//! Writes `fixtures/events.ndjson`, the recorded event stream that demos and tests play.
//!
//! `cargo run --example generate_events`; the same file each time, on each machine.

mod stream;

use std::path::Path;
use std::{fs, io};

fn main() -> io::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/events.ndjson");
    fs::write(path, stream::recording())
}
