//! Replays what stompjs and stomp.py said to a broker, as `fixtures/clients` recorded it: the
//! answers of today's server are those of the recording, but for names and numbers that differ
//! in each run.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions; a panic names the line")]

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use stompbox::app::App;
use stompbox::config::Config;
use stompbox::stomp::encode::encode;
use stompbox::stomp::{Command, Decoder, Frame, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

#[test]
fn stompjs_is_answered_as_recorded() {
    replay_all("stompjs");
}

#[test]
fn stomp_py_is_answered_as_recorded() {
    replay_all("stomp.py");
}

fn replay_all(client: &str) {
    for version in [Version::V1_0, Version::V1_1, Version::V1_2] {
        let name = format!("{client}-{}.ndjson", version.as_str());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(20), replay(&name, version)).await.expect(&name);
        });
    }
}

async fn replay(name: &str, version: Version) {
    let config = "server.listen = \"127.0.0.1:0\"\ntcp.listen = \"127.0.0.1:0\"\nmetrics.enabled = false";
    let app = App::bind(Config::from_toml(config).unwrap(), false).unwrap();
    let mut stream = TcpStream::connect(app.tcp_address().unwrap()).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let run = tokio::spawn(app.run(async move {
        let _ = stopped.await;
    }));
    let (mut said, mut recorded) = (Reader::new(version), Reader::new(version));
    let mut numbers = HashMap::new();
    for (from, octets) in lines(name) {
        if from == "client" {
            stream.write_all(&renumbered(&octets, version, &numbers)).await.unwrap();
            continue;
        }
        for expected in recorded.read(octets.into()) {
            let actual = said.next(&mut stream).await;
            numbers.extend(expected.header("message-id").zip(actual.header("message-id")).map(owned));
            assert_eq!(comparable(actual), comparable(expected), "{name}");
        }
    }
    drop(stream);
    drop(stop);
    run.await.unwrap().unwrap();
}

/// Each line of a recording: who spoke, and the octets.
fn lines(name: &str) -> Vec<(String, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/clients").join(name);
    let text = fs::read_to_string(&path).unwrap();
    let line = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let octets = line["octets"].as_str().unwrap().chars().map(|c| u8::try_from(c).unwrap()).collect();
        (line["from"].as_str().unwrap().to_owned(), octets)
    };
    text.lines().map(line).collect()
}

/// The client's octets, byte for byte, but where they name a message: that has another number now.
fn renumbered(octets: &[u8], version: Version, numbers: &HashMap<String, String>) -> Vec<u8> {
    let mut frames = Reader::new(version).read(Bytes::copy_from_slice(octets));
    match frames.first_mut() {
        Some(frame) if matches!(frame.command, Command::Ack | Command::Nack) => {
            for (_, value) in frame.headers.iter_mut().filter(|(name, _)| &**name == "message-id") {
                *value = numbers[&**value].as_str().into();
            }
            encode(frame, Some(version))
        }
        _ => octets.to_vec(),
    }
}

fn owned((recorded, now): (&str, &str)) -> (String, String) {
    (recorded.to_owned(), now.to_owned())
}

/// What stays the same from run to run and from release to release.
fn comparable(mut frame: Frame) -> Frame {
    frame.headers.retain(|(name, _)| !["session", "server", "message-id", "timestamp"].contains(&&**name));
    frame
}

struct Reader {
    decoder: Decoder,
    frames: VecDeque<Frame>,
}

impl Reader {
    fn new(version: Version) -> Self {
        let config = Config::from_toml("").unwrap();
        let mut decoder = Decoder::new(&config.stomp.limits);
        decoder.set_version(version);
        Self { decoder, frames: VecDeque::new() }
    }

    fn read(&mut self, octets: Bytes) -> Vec<Frame> {
        self.decoder.push(octets);
        std::iter::from_fn(|| self.decoder.next().unwrap()).collect()
    }

    async fn next(&mut self, stream: &mut TcpStream) -> Frame {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return frame;
            }
            let mut octets = Vec::new();
            assert_ne!(stream.read_buf(&mut octets).await.unwrap(), 0, "the server closed");
            let frames = self.read(octets.into());
            self.frames.extend(frames);
        }
    }
}
