//! One STOMP client, as plain as can be.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::scan::{Scanner, TEXT, masked};
use super::{HeartBeat, LoadArgs, Target, Transport, progress};

/// A connected client: what it receives.
pub(super) struct Client {
    sender: Sender,
    scanner: Scanner,
    /// Octets received since they were asked for.
    octets: u64,
    /// The beginnings of frames that came together and were not asked for yet.
    frames: VecDeque<Bytes>,
}

/// What it sends. All clones are one.
#[derive(Clone)]
pub(super) struct Sender {
    line: Rc<Line>,
    way: Way,
}

/// What answers pings and what publishes write in turns, so that neither stands within a frame
/// of the other.
struct Line {
    stream: TcpStream,
    turn: Mutex<()>,
}

/// Whether this broker answers SUBSCRIBE with RECEIPT; not all do. Of all clients of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Receipts {
    /// None was waited for to its end yet.
    #[default]
    Unknown,
    Sent,
    Missing,
}

#[derive(Clone)]
enum Way {
    WebSocket { is_sockjs: bool },
    Tcp,
    Xhr(Rc<Xhr>),
}

struct Xhr {
    target: Target,
    source: Option<IpAddr>,
    path: String,
}

impl Client {
    /// Connects and waits for CONNECTED.
    pub(super) async fn connect(args: &LoadArgs, number: usize) -> io::Result<Self> {
        if args.deflate && args.transport != Transport::Ws {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "--deflate goes with --transport ws alone"));
        }
        let source = (!args.source.is_empty()).then(|| args.source[number % args.source.len()]);
        let stream = within("there was no connection", tcp(&args.target, source)).await?;
        // Unlike those of another run that is not over yet.
        let name = format!("bench{}-{number}", std::process::id());
        let (way, scanner, early) = match args.transport {
            Transport::Ws => {
                let early = shake_hands(&stream, &args.target, &args.path, args.deflate).await?;
                (Way::WebSocket { is_sockjs: false }, Scanner::raw(), early)
            }
            Transport::SockjsWebsocket => {
                let path = format!("{}/000/{name}/websocket", args.path);
                let early = shake_hands(&stream, &args.target, &path, false).await?;
                (Way::WebSocket { is_sockjs: true }, Scanner::sockjs_websocket(), early)
            }
            Transport::SockjsXhrStreaming => {
                let path = format!("{}/000/{name}", args.path);
                let xhr = Rc::new(Xhr { target: args.target.clone(), source, path });
                let early = xhr.open(&stream).await?;
                (Way::Xhr(xhr), Scanner::sockjs_streaming(), early)
            }
            Transport::Tcp => (Way::Tcp, Scanner::stream(), Vec::new()),
        };
        let sender = Sender { line: Rc::new(Line { stream, turn: Mutex::new(()) }), way };
        let mut client = Self { sender, scanner, octets: 0, frames: VecDeque::new() };
        client.scan(&early)?;
        let HeartBeat { send, receive } = client.sender.heart_beat(args);
        let host = &args.host;
        let mut connect = format!("CONNECT\naccept-version:1.0,1.1,1.2\nhost:{host}\nheart-beat:{send},{receive}\n");
        for (name, value) in [("login", &args.login), ("passcode", &args.passcode)] {
            if let Some(value) = value {
                connect += &format!("{name}:{value}\n");
            }
        }
        client.sender.send(&[&format!("{connect}\n\0")]).await?;
        let answer = within("CONNECT was not answered", client.next()).await?;
        if answer.starts_with(b"CONNECTED") { Ok(client) } else { Err(unexpected(&answer)) }
    }

    /// Subscribes and waits until that is live; where a broker sends no receipts, for a while.
    pub(super) async fn subscribe(
        &mut self,
        id: &str,
        destination: &str,
        overflow: Option<&str>,
        receipts: &Cell<Receipts>,
    ) -> io::Result<()> {
        let overflow = overflow.map_or_else(String::new, |overflow| format!("overflow:{overflow}\n"));
        let frame = format!("SUBSCRIBE\nid:{id}\ndestination:{destination}\nreceipt:s\n{overflow}\n\0");
        self.sender.send(&[&frame]).await?;
        if receipts.get() == Receipts::Unknown
            && let Ok(received) = timeout(RECEIPT_PATIENCE, self.receipt()).await
        {
            receipts.set(Receipts::Sent);
            return received;
        }
        match receipts.get() {
            Receipts::Sent => within("SUBSCRIBE has no RECEIPT", self.receipt()).await,
            Receipts::Unknown => {
                receipts.set(Receipts::Missing);
                progress("this broker sends no RECEIPT for SUBSCRIBE: from here on none is waited for\n");
                Ok(())
            }
            Receipts::Missing => Ok(()),
        }
    }

    async fn receipt(&mut self) -> io::Result<()> {
        loop {
            let answer = self.next().await?;
            match answer.as_ref() {
                frame if frame.starts_with(b"RECEIPT") => return Ok(()),
                frame if frame.starts_with(b"ERROR") => return Err(unexpected(&answer)),
                _ => {}
            }
        }
    }

    /// How many octets it received since the last call.
    pub(super) fn take_octets(&mut self) -> u64 {
        std::mem::take(&mut self.octets)
    }

    /// What it sends by.
    pub(super) fn sender(&self) -> &Sender {
        &self.sender
    }

    /// The beginning of the next frame; heart-beats are passed over.
    pub(super) async fn next(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Ok(frame);
            }
            let mut frames = VecDeque::new();
            self.read(&mut |frame| frames.push_back(Bytes::copy_from_slice(frame))).await?;
            self.frames = frames;
        }
    }

    /// Waits for octets and shows the beginnings of the frames that they complete, if any.
    ///
    /// # Cancel safety
    /// A cancelled call loses nothing.
    pub(super) async fn read(&mut self, found: &mut impl FnMut(&[u8])) -> io::Result<()> {
        for frame in self.frames.drain(..) {
            found(&frame);
        }
        let line = &self.sender.line;
        line.stream.readable().await?;
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(BUFFER_BYTES, 0);
            match line.stream.try_read(buffer) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.octets += count as u64;
                    self.scanner.feed(&buffer[..count], found)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                Err(error) => Err(error),
            }
        })?;
        if !self.scanner.reply.is_empty() {
            line.write(&std::mem::take(&mut self.scanner.reply)).await?;
        }
        if std::mem::take(&mut self.scanner.is_over)
            && let Way::Xhr(xhr) = &self.sender.way
        {
            line.write(xhr.request("xhr_streaming").as_bytes()).await?;
        }
        Ok(())
    }

    fn scan(&mut self, octets: &[u8]) -> io::Result<()> {
        self.scanner.feed(octets, &mut |frame| self.frames.push_back(Bytes::copy_from_slice(frame)))
    }
}

impl Sender {
    /// Sends frames, all in one write.
    pub(super) async fn send(&self, frames: &[&str]) -> io::Result<()> {
        match &self.way {
            Way::WebSocket { is_sockjs: false } => {
                let octets: Vec<u8> = frames.iter().flat_map(|frame| masked(TEXT, frame.as_bytes())).collect();
                self.line.write(&octets).await
            }
            Way::WebSocket { is_sockjs: true } => {
                let mut octets = Vec::new();
                for frame in frames {
                    octets.extend(masked(TEXT, serde_json::to_string(&[frame])?.as_bytes()));
                }
                self.line.write(&octets).await
            }
            Way::Tcp => self.line.write(frames.concat().as_bytes()).await,
            Way::Xhr(xhr) => xhr.send(frames).await,
        }
    }

    /// What it promises and wants: no heart-beats of its own where each would cost a request.
    pub(super) fn heart_beat(&self, args: &LoadArgs) -> HeartBeat {
        let costs_a_request = matches!(self.way, Way::Xhr(_));
        HeartBeat { send: if costs_a_request { 0 } else { args.heart_beat.send }, ..args.heart_beat }
    }
}

impl Line {
    async fn write(&self, octets: &[u8]) -> io::Result<()> {
        let _turn = self.turn.lock().await;
        within("the broker took nothing", write_all(&self.stream, octets)).await
    }
}

impl Xhr {
    fn request(&self, what: &str) -> String {
        format!("POST {}/{what} HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\n\r\n", self.path, self.target)
    }

    /// Opens the session; before `o` it is not there. Answers what was read.
    async fn open(&self, stream: &TcpStream) -> io::Result<Vec<u8>> {
        write_all(stream, self.request("xhr_streaming").as_bytes()).await?;
        let mut is_open = false;
        let read = read_until(stream, "xhr_streaming was not answered", |read| {
            is_open = memchr::memmem::find(read, b"\no\n\r\n").is_some();
            let is_refused = read.len() >= OK.len() && !read.starts_with(OK);
            is_open || is_refused
        })
        .await?;
        if is_open { Ok(read) } else { Err(unexpected(&read)) }
    }

    /// On a connection of its own, so that one that idles is not counted as the session's.
    async fn send(&self, frames: &[&str]) -> io::Result<()> {
        let body = serde_json::to_string(frames)?;
        let Self { target, path, .. } = self;
        let length = body.len();
        let head = format!(
            "POST {path}/xhr_send HTTP/1.1\r\nhost: {target}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        let mut sender = within("there was no connection", tcp(&self.target, self.source)).await?;
        write_all(&sender, (head + &body).as_bytes()).await?;
        let mut answer = Vec::new();
        within("xhr_send was not answered", sender.read_to_end(&mut answer)).await?;
        if answer.starts_with(b"HTTP/1.1 204") { Ok(()) } else { Err(unexpected(&answer)) }
    }
}

/// Answers what came behind the answer's head.
async fn shake_hands(stream: &TcpStream, target: &Target, path: &str, deflate: bool) -> io::Result<Vec<u8>> {
    let key = generate_key();
    let offer = if deflate { "sec-websocket-extensions: permessage-deflate\r\n" } else { "" };
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {target}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\nsec-websocket-protocol: v12.stomp, v11.stomp, v10.stomp\r\n{offer}\r\n"
    );
    write_all(stream, request.as_bytes()).await?;
    let mut end = 0;
    let mut read = read_until(stream, "the WebSocket handshake was not answered", |read| {
        end = memchr::memmem::find(read, b"\r\n\r\n").map_or(0, |at| at + 4);
        end > 0
    })
    .await?;
    let early = read.split_off(end);
    let accept = derive_accept_key(key.as_bytes());
    let is_accepted = read.starts_with(b"HTTP/1.1 101") && memchr::memmem::find(&read, accept.as_bytes()).is_some();
    if is_accepted { Ok(early) } else { Err(unexpected(&read)) }
}

/// Reads until that is enough; answers all that was read.
async fn read_until(
    stream: &TcpStream,
    or_else: &str,
    mut is_enough: impl FnMut(&[u8]) -> bool,
) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    loop {
        within(or_else, stream.readable()).await?;
        match stream.try_read_buf(&mut read) {
            Ok(0) => return Err(if read.is_empty() { io::ErrorKind::UnexpectedEof.into() } else { unexpected(&read) }),
            Ok(_) if is_enough(&read) => return Ok(read),
            Ok(_) if read.len() > MAX_HEAD_BYTES => return Err(unexpected(&read)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn write_all(stream: &TcpStream, mut octets: &[u8]) -> io::Result<()> {
    while !octets.is_empty() {
        match stream.try_write(octets) {
            Ok(count) => octets = &octets[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn tcp(target: &Target, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let mut result = Err(io::ErrorKind::AddrNotAvailable.into());
    for address in &target.addresses {
        if source.is_none_or(|source| source.is_ipv4() == address.is_ipv4()) {
            result = tcp_to(*address, source).await;
        }
        if result.is_ok() {
            break;
        }
    }
    result
}

async fn tcp_to(target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// So that what a broker leaves unanswered has a name.
async fn within<T>(or_else: &str, answer: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match timeout(PATIENCE, answer).await {
        Ok(answer) => answer,
        Err(_) => {
            let text = format!("{or_else} within {} seconds", PATIENCE.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        }
    }
}

pub(super) fn unexpected(answer: &[u8]) -> io::Error {
    let text = String::from_utf8_lossy(&answer[..answer.len().min(300)]).replace(['\0', '\r'], "").replace('\n', " | ");
    io::Error::other(format!("the broker answered: {text}"))
}

const OK: &[u8] = b"HTTP/1.1 200";

/// For each answer. A hundred connect at the same time, and a broker may think of passwords.
const PATIENCE: Duration = Duration::from_secs(30);

/// For the first RECEIPT: Spring's simple broker, for one, sends none.
const RECEIPT_PATIENCE: Duration = Duration::from_secs(5);

/// The answer to an upgrade, or the prelude of SockJS streaming.
const MAX_HEAD_BYTES: usize = 16 * 1024;

const BUFFER_BYTES: usize = 256 * 1024;

thread_local! {
    /// One for all clients: what is read is looked at and forgotten.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}
