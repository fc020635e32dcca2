//! One STOMP client, as plain as can be.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::{LoadArgs, Transport};

/// A connected client.
pub(super) struct Client {
    wire: Wire,
    /// Frames that came together and were not asked for yet.
    frames: VecDeque<Bytes>,
}

enum Wire {
    WebSocket(Box<WebSocketStream<TcpStream>>, Framing),
    Tcp(TcpStream, BytesMut),
    XhrStreaming(Box<Xhr>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Raw,
    SockJs,
}

struct Xhr {
    receiver: TcpStream,
    received: BytesMut,
    head_is_read: bool,
    lines: BytesMut,
    target: SocketAddr,
    source: Option<IpAddr>,
    path: String,
}

impl Client {
    /// Connects and waits for CONNECTED.
    pub(super) async fn connect(args: &LoadArgs, number: usize) -> io::Result<Self> {
        let source = (!args.source.is_empty()).then(|| args.source[number % args.source.len()]);
        let wire = match args.transport {
            Transport::Ws => Wire::web_socket(args, source, &args.path, Framing::Raw).await?,
            Transport::SockjsWebsocket => {
                let path = format!("{}/000/{number}/websocket", args.path);
                Wire::web_socket(args, source, &path, Framing::SockJs).await?
            }
            Transport::SockjsXhrStreaming => Wire::XhrStreaming(Box::new(Xhr::open(args, source, number).await?)),
            Transport::Tcp => Wire::Tcp(tcp(args.target, source).await?, BytesMut::new()),
        };
        let mut client = Self { wire, frames: VecDeque::new() };
        let mut connect = format!("CONNECT\naccept-version:1.2\nhost:{}\nheart-beat:0,10000\n", args.target.ip());
        for (name, value) in [("login", &args.login), ("passcode", &args.passcode)] {
            if let Some(value) = value {
                connect += &format!("{name}:{value}\n");
            }
        }
        client.send(&[&format!("{connect}\n\0")]).await?;
        let answer = client.next().await?;
        if answer.starts_with(b"CONNECTED") { Ok(client) } else { Err(unexpected(&answer)) }
    }

    /// Subscribes and waits until that is live.
    pub(super) async fn subscribe(&mut self, id: &str, destination: &str, overflow: Option<&str>) -> io::Result<()> {
        let overflow = overflow.map_or_else(String::new, |overflow| format!("overflow:{overflow}\n"));
        let frame = format!("SUBSCRIBE\nid:{id}\ndestination:{destination}\nreceipt:s\n{overflow}\n\0");
        self.send(&[&frame]).await?;
        loop {
            let answer = self.next().await?;
            match answer.as_ref() {
                frame if frame.starts_with(b"RECEIPT") => return Ok(()),
                frame if frame.starts_with(b"ERROR") => return Err(unexpected(&answer)),
                _ => {}
            }
        }
    }

    /// Sends frames, all at once.
    pub(super) async fn send(&mut self, frames: &[&str]) -> io::Result<()> {
        match &mut self.wire {
            Wire::WebSocket(socket, framing) => {
                for frame in frames {
                    let text = match framing {
                        Framing::Raw => (*frame).to_owned(),
                        Framing::SockJs => serde_json::to_string(&[frame])?,
                    };
                    socket.feed(Message::text(text)).await.map_err(broken)?;
                }
                socket.flush().await.map_err(broken)
            }
            Wire::Tcp(stream, _) => stream.write_all(frames.concat().as_bytes()).await,
            Wire::XhrStreaming(xhr) => xhr.send(frames).await,
        }
    }

    /// The next frame; heart-beats are passed over.
    ///
    /// # Cancel safety
    /// A cancelled call loses nothing.
    pub(super) async fn next(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Ok(frame);
            }
            match &mut self.wire {
                Wire::WebSocket(socket, framing) => {
                    let message = socket.next().await.ok_or(io::ErrorKind::UnexpectedEof)?.map_err(broken)?;
                    match (message, *framing) {
                        (Message::Text(text), Framing::SockJs) => unquote(text.as_bytes(), &mut self.frames)?,
                        (Message::Text(text), Framing::Raw) => self.frames.push_back(text.into()),
                        (Message::Binary(octets), _) => self.frames.push_back(octets),
                        (Message::Close(frame), _) => {
                            return Err(io::Error::other(format!("the broker closed: {frame:?}")));
                        }
                        (Message::Ping(_) | Message::Pong(_) | Message::Frame(_), _) => {}
                    }
                }
                Wire::Tcp(stream, buffer) => {
                    if let Some(frame) = split_frame(buffer) {
                        self.frames.push_back(frame);
                    } else if stream.read_buf(buffer).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Wire::XhrStreaming(xhr) => xhr.read(&mut self.frames).await?,
            }
            self.frames.retain(|frame| frame.as_ref() != b"\n");
        }
    }
}

impl Wire {
    async fn web_socket(args: &LoadArgs, source: Option<IpAddr>, path: &str, framing: Framing) -> io::Result<Self> {
        let stream = tcp(args.target, source).await?;
        let config = WebSocketConfig::default().read_buffer_size(16 * 1024).write_buffer_size(0);
        let url = format!("ws://{}{path}", args.target);
        let (socket, _) = client_async_with_config(url, stream, Some(config)).await.map_err(broken)?;
        Ok(Self::WebSocket(Box::new(socket), framing))
    }
}

impl Xhr {
    async fn open(args: &LoadArgs, source: Option<IpAddr>, number: usize) -> io::Result<Self> {
        let path = format!("{}/000/bench{}-{number}", args.path, std::process::id());
        let receiver = tcp(args.target, source).await?;
        let (received, lines) = (BytesMut::new(), BytesMut::new());
        let mut xhr = Self { receiver, received, head_is_read: false, lines, target: args.target, source, path };
        xhr.receive().await?;
        // The prelude and `o`: before them the session is not there.
        while !xhr.lines.starts_with(b"o\n") {
            xhr.fill().await?;
            if let Some(end) = xhr.lines.iter().position(|octet| *octet == b'\n')
                && xhr.lines[0] == b'h'
            {
                xhr.lines.advance(end + 1);
            }
        }
        xhr.lines.advance(2);
        Ok(xhr)
    }

    /// Asks for the next streaming response, on the same connection.
    async fn receive(&mut self) -> io::Result<()> {
        let Self { target, path, .. } = self;
        let request = format!("POST {path}/xhr_streaming HTTP/1.1\r\nhost: {target}\r\ncontent-length: 0\r\n\r\n");
        self.head_is_read = false;
        self.receiver.write_all(request.as_bytes()).await
    }

    /// On a connection of its own, so that one that idles is not counted as the session's.
    async fn send(&mut self, frames: &[&str]) -> io::Result<()> {
        let body = serde_json::to_string(frames)?;
        let Self { target, path, .. } = self;
        let length = body.len();
        let head = format!(
            "POST {path}/xhr_send HTTP/1.1\r\nhost: {target}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        let mut sender = tcp(self.target, self.source).await?;
        sender.write_all((head + &body).as_bytes()).await?;
        let mut answer = Vec::new();
        sender.read_to_end(&mut answer).await?;
        if answer.starts_with(b"HTTP/1.1 204") { Ok(()) } else { Err(unexpected(&answer)) }
    }

    async fn read(&mut self, frames: &mut VecDeque<Bytes>) -> io::Result<()> {
        self.fill().await?;
        while let Some(end) = memchr::memchr(b'\n', &self.lines) {
            let line = self.lines.split_to(end + 1);
            unquote(&line[..end], frames)?;
        }
        Ok(())
    }

    /// Reads and takes the chunks apart.
    async fn fill(&mut self) -> io::Result<()> {
        if self.receiver.read_buf(&mut self.received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !self.head_is_read {
            let Some(end) = self.received.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(()) };
            self.received.advance(end + 4);
            self.head_is_read = true;
        }
        while let Some(end) = self.received.windows(2).position(|window| window == b"\r\n") {
            let size = std::str::from_utf8(&self.received[..end]).ok();
            let size = size.and_then(|size| usize::from_str_radix(size, 16).ok()).ok_or(io::ErrorKind::InvalidData)?;
            if size == 0 {
                // The response limit: its last chunk, and an empty line.
                self.received.clear();
                return self.receive().await;
            }
            if self.received.len() < end + 2 + size + 2 {
                break;
            }
            self.received.advance(end + 2);
            self.lines.extend_from_slice(&self.received.split_to(size));
            self.received.advance(2);
        }
        Ok(())
    }
}

async fn tcp(target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Takes the messages out of a SockJS frame.
fn unquote(frame: &[u8], frames: &mut VecDeque<Bytes>) -> io::Result<()> {
    match frame.split_first() {
        Some((b'a', messages)) => {
            let messages: Vec<String> = serde_json::from_slice(messages)?;
            frames.extend(messages.into_iter().map(Bytes::from));
            Ok(())
        }
        Some((b'c', _)) => Err(unexpected(frame)),
        _ => Ok(()),
    }
}

/// One frame of a stream, by its `content-length` or its NUL.
fn split_frame(buffer: &mut BytesMut) -> Option<Bytes> {
    while buffer.first() == Some(&b'\n') {
        buffer.advance(1);
    }
    let head = buffer.windows(2).position(|window| window == b"\n\n")? + 2;
    let text = std::str::from_utf8(&buffer[..head]).ok()?;
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.parse::<usize>().ok());
    let end = match length {
        Some(length) => head + length,
        None => head + buffer[head..].iter().position(|octet| *octet == 0)?,
    };
    if buffer.len() <= end {
        return None;
    }
    Some(buffer.split_to(end + 1).freeze())
}

fn unexpected(answer: &[u8]) -> io::Error {
    let text = String::from_utf8_lossy(&answer[..answer.len().min(300)]).replace(['\0', '\r'], "").replace('\n', " | ");
    io::Error::other(format!("the broker answered: {text}"))
}

fn broken(error: tungstenite::Error) -> io::Error {
    if let tungstenite::Error::Io(error) = error {
        return error;
    }
    io::Error::other(error)
}
