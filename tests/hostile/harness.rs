//! A server of its own, a well-behaved client beside an attack, and what both measure.

use std::ffi::OsString;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::program::Program;

/// One at a time: another attack's load would be taken for this one's.
static ONE: Mutex<()> = Mutex::new(());

/// Runs an attack beside a well-behaved client. The client's 99th percentile, the median of
/// several windows, must stay within three times what it was before in the same run, or below
/// what [`scheduling`] alone may take; three tries are given for the same reason. The server's
/// memory must stay below the bound, and it must serve to the end.
///
/// `attack` says by its sender that it is in full swing, and goes on until it is dropped.
pub(crate) fn withstands<F>(
    settings: &[(&str, &str)],
    bound_mib: u64,
    attack: impl Fn(SocketAddr, oneshot::Sender<()>) -> F + Clone + Send + 'static,
) where
    F: Future<Output = ()>,
{
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut told = String::new();
    for _ in 0..3 {
        let server = Program::serve(program(), &[QUIET, settings].concat());
        let (quiet, attacked) = run(server.address, attack.clone());
        let peak_mib = server.memory_kib("VmHWM:") / 1024;
        assert!(peak_mib < bound_mib, "the server took {peak_mib} MiB; {bound_mib} were the bound");
        let allowed = (quiet * 3).max(scheduling());
        println!("p99 {quiet:?} before, {attacked:?} under attack; {peak_mib} MiB at most");
        if attacked <= allowed {
            return;
        }
        told += &format!("p99 was {quiet:?} before and {attacked:?} under attack\n");
    }
    panic!("{told}");
}

/// Half a minute after it is done, no more than so many MiB are left of what the crowd took.
pub(crate) fn memory_comes_back(left_mib: u64, crowd: impl AsyncFnOnce(SocketAddr)) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Program::serve(program(), QUIET);
    let before = server.memory_kib("VmRSS:");
    runtime().block_on(crowd(server.address));
    let done = Instant::now();
    let left = loop {
        let left = server.memory_kib("VmRSS:").saturating_sub(before);
        if left <= left_mib * 1024 || done.elapsed() > Duration::from_secs(30) {
            break left;
        }
        thread::sleep(Duration::from_millis(250));
    };
    let peak = server.memory_kib("VmHWM:") - before;
    println!("{left} KiB left of {peak} KiB after {:?}", done.elapsed());
    assert!(left <= left_mib * 1024, "{left} KiB are left of {peak} KiB");
}

/// What is attacked: the build that `STOMPBOX_BIN` names, which tests/run.sh makes the one for release.
fn program() -> OsString {
    std::env::var_os("STOMPBOX_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_stompbox").into())
}

const QUIET: &[(&str, &str)] =
    &[("STOMPBOX_METRICS__ENABLED", "false"), ("STOMPBOX_LOG__LEVEL", "stompbox::app=info,error")];

/// Alone, a round trip takes some 200 µs. The attackers are on the same cores as the server, two
/// perhaps, and each of what is runnable there, other programs included, keeps a core for some 3 ms
/// before it gives way. Without optimization all takes many times as long.
fn scheduling() -> Duration {
    let is_optimized = std::env::var_os("STOMPBOX_BIN").is_some() || !cfg!(debug_assertions);
    Duration::from_millis(if is_optimized { 20 } else { 100 })
}

fn run<F>(
    address: SocketAddr,
    attack: impl Fn(SocketAddr, oneshot::Sender<()>) -> F + Send + 'static,
) -> (Duration, Duration)
where
    F: Future<Output = ()>,
{
    let (stop, stopped) = oneshot::channel::<()>();
    let (in_swing, swings) = oneshot::channel();
    let (begin, begins) = oneshot::channel::<()>();
    let attacker = thread::spawn(move || {
        // They stand for peers elsewhere: what they take of the cores themselves is not the server's doing.
        rustix::process::nice(19).unwrap();
        runtime().block_on(async {
            begins.await.unwrap();
            tokio::select! {
                () = attack(address, in_swing) => {}
                _ = stopped => {}
            }
        });
    });
    let measured = runtime().block_on(async {
        let mut client = Client::connect(address).await;
        let quiet = client.measure(6).await;
        begin.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(60), swings).await.unwrap().expect("the attack comes about");
        let attacked = client.measure(8).await;
        (quiet, attacked)
    });
    drop(stop);
    attacker.join().unwrap();
    measured
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A client over TCP that publishes to itself, and keeps to every rule.
struct Client {
    stream: tokio::io::BufReader<TcpStream>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let stream = web_socket(address, "").await;
        let mut client = Self { stream: tokio::io::BufReader::new(stream) };
        client.send("CONNECT\naccept-version:1.2\nhost:h\n\n\0").await;
        assert!(client.message().await.starts_with("CONNECTED\n"));
        client.send("SUBSCRIBE\nid:me\ndestination:/topic/well-behaved\nreceipt:r\n\n\0").await;
        assert!(client.message().await.starts_with("RECEIPT\n"));
        client
    }

    /// The median of the windows' 99th percentiles.
    async fn measure(&mut self, windows: usize) -> Duration {
        let mut percentiles = Vec::new();
        for _ in 0..windows {
            let end = Instant::now() + Duration::from_millis(200);
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let begun = Instant::now();
                self.send("SEND\ndestination:/topic/well-behaved\n\nx\0").await;
                let message = tokio::time::timeout(Duration::from_secs(10), self.message()).await.unwrap();
                assert!(message.starts_with("MESSAGE\n"), "{message}");
                latencies.push(begun.elapsed());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            latencies.sort_unstable();
            percentiles.push(latencies[latencies.len() * 99 / 100]);
        }
        percentiles.sort_unstable();
        percentiles[percentiles.len() / 2]
    }

    async fn send(&mut self, text: &str) {
        self.stream.get_mut().write_all(&frame(0x81, text.as_bytes())).await.unwrap();
    }

    /// The next text; pings are left unanswered, for a run is short.
    async fn message(&mut self) -> String {
        loop {
            let opcode = self.stream.read_u8().await.unwrap() & 0x0f;
            let length = match self.stream.read_u8().await.unwrap() {
                126 => usize::from(self.stream.read_u16().await.unwrap()),
                127 => usize::try_from(self.stream.read_u64().await.unwrap()).unwrap(),
                length => usize::from(length),
            };
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload).await.unwrap();
            if opcode == 1 {
                return String::from_utf8(payload).unwrap();
            }
        }
    }
}

/// A WebSocket after its handshake.
pub(crate) async fn web_socket(address: SocketAddr, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
    stream
}

/// A session over a WebSocket, without heart-beats.
pub(crate) async fn session(address: SocketAddr) -> TcpStream {
    let mut stream = web_socket(address, "").await;
    send(&mut stream, "CONNECT\naccept-version:1.2\nhost:h\n\n\0").await;
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.unwrap();
    let length = if head[1] == 126 { usize::from(stream.read_u16().await.unwrap()) } else { usize::from(head[1]) };
    let mut text = vec![0; length];
    stream.read_exact(&mut text).await.unwrap();
    assert!(text.starts_with(b"CONNECTED\n"));
    stream
}

pub(crate) async fn send(stream: &mut TcpStream, text: &str) {
    // Who was thrown out meanwhile has lost, and that is well.
    let _ = stream.write_all(&frame(0x81, text.as_bytes())).await;
}

/// A client's frame; its mask is zero, so that the payload stands as it is.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut octets = vec![first];
    match payload.len() {
        length @ 0..=125 => octets.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            octets.push(0x80 | 126);
            octets.extend((length as u16).to_be_bytes());
        }
        length => {
            octets.push(0x80 | 127);
            octets.extend((length as u64).to_be_bytes());
        }
    }
    octets.extend([0; 4]);
    octets.extend(payload);
    octets
}
