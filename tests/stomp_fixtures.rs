//! Runs every octet case of `fixtures/stomp` through the decoder: whole, octet by octet, and
//! with more behind it.
//!
//! `NAME.bytes` is what comes, `NAME.expect` what the decoder makes of it. Names that begin
//! with `connect-` come before CONNECTED, when the version is not known; those that begin
//! with `incomplete-` end in the middle of a frame. With `STOMP_FIXTURES=write` in the
//! environment missing `.expect` files are written, to be read before they are committed.

#![expect(clippy::unwrap_used, reason = "a test's own functions; a panic names the case")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use stompbox::stomp::{Decoder, Frame, Limits, Version};

#[test]
fn every_1_0_case_decodes_as_expected_however_it_is_cut() {
    run("1.0", Version::V1_0);
}

#[test]
fn every_1_1_case_decodes_as_expected_however_it_is_cut() {
    run("1.1", Version::V1_1);
}

#[test]
fn every_1_2_case_decodes_as_expected_however_it_is_cut() {
    run("1.2", Version::V1_2);
}

fn run(folder: &str, version: Version) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/stomp").join(folder);
    let mut cases = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "bytes") {
            continue;
        }
        cases += 1;
        check(&path, version);
    }
    assert!(cases >= 15, "{folder:?} holds only {cases} cases");
}

fn check(path: &Path, version: Version) {
    let name = path.file_stem().unwrap().to_str().unwrap();
    let version = if name.starts_with("connect-") { None } else { Some(version) };
    let octets = fs::read(path).unwrap();
    let whole = decode([Bytes::from(octets.clone())], version);
    let expect = path.with_extension("expect");
    if !expect.exists() && std::env::var("STOMP_FIXTURES").is_ok_and(|value| value == "write") {
        fs::write(&expect, &whole).unwrap();
    }
    assert_eq!(whole, fs::read_to_string(&expect).unwrap(), "{path:?}, whole");
    let single = octets.iter().map(|octet| Bytes::copy_from_slice(&[*octet]));
    assert_eq!(decode(single, version), whole, "{path:?}, octet by octet");
    if !name.starts_with("incomplete-") {
        let trailing = [&octets[..], b"\nACK\nid:1\n\n\0"].concat();
        let more = if whole.contains("error: ") { "" } else { "ACK\n  \"id\": \"1\"\n" };
        assert_eq!(decode([Bytes::from(trailing)], version), format!("{whole}{more}"), "{path:?}, with more behind it");
    }
}

fn decode(pieces: impl IntoIterator<Item = Bytes>, version: Option<Version>) -> String {
    let mut decoder = Decoder::new(&LIMITS);
    if let Some(version) = version {
        decoder.set_version(version);
    }
    let mut text = String::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => show(&mut text, &frame),
                Ok(None) => break,
                Err(error) => writeln!(text, "error: {error}").unwrap(),
            }
        }
    }
    text
}

fn show(text: &mut String, frame: &Frame) {
    writeln!(text, "{}", frame.command).unwrap();
    for (name, value) in &frame.headers {
        writeln!(text, "  {name:?}: {value:?}").unwrap();
    }
    if !frame.body.is_empty() {
        writeln!(text, "  {} octets: {}", frame.body.len(), frame.body.escape_ascii()).unwrap();
    }
}

/// Small, so that the cases at a limit and one past it can be read.
const LIMITS: Limits = Limits {
    command_bytes: 12,
    headers: 4,
    header_line_bytes: 40,
    head_bytes: 120,
    body_bytes: 100,
    unconnected_frame_bytes: 80,
    subscriptions: 0,
    unacked: 0,
    transactions: 0,
    transaction_actions: 0,
    transaction_bytes: 0,
    open_tickets: 0,
};
