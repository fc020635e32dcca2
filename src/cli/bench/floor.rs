//! The floor: a bare loop over epoll that writes a finished frame to each socket.
//!
//! It speaks as much STOMP over WebSocket, SockJS or TCP as the scenarios need, to one topic, and
//! nothing more: what a broker costs beyond it is its own.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::message::{FRAMINGS, Framing, Plain};
use crate::net::websocket::WebSocketFraming;
use crate::net::websocket::reader::{Event, Reader};
use crate::sockjs::framing::{SOCKJS_WEBSOCKET, websocket_text};
use crate::sockjs::{frame, payload};

/// Serves until the process is ended.
///
/// `batched`: what came together leaves together, in one write for each subscriber.
pub(super) fn run(address: SocketAddr, batched: bool) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut listener = TcpListener::bind(address)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut peers: Slab<Peer> = Slab::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        poll.poll(&mut events, None)?;
        let mut sends = Vec::new();
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let place = peers.vacant_entry();
                    poll.registry().register(&mut stream, Token(place.key()), Interest::READABLE)?;
                    place.insert(Peer::new(stream));
                }
            } else if let Some(peer) = peers.get_mut(event.token().0)
                && !peer.read(&mut buffer, &mut sends)
            {
                peers.remove(event.token().0);
            }
        }
        for bodies in sends.chunks(if batched { sends.len().max(1) } else { 1 }) {
            broadcast(&mut peers, bodies);
        }
    }
}

/// The finished frames for each framing, and one write for each subscriber.
fn broadcast(peers: &mut Slab<Peer>, bodies: &[Vec<u8>]) {
    let mut images: [Option<Vec<u8>>; FRAMINGS] = Default::default();
    for (_, peer) in peers.iter_mut().filter(|(_, peer)| peer.is_subscribed) {
        let framing = peer.framing;
        let image = images[framing.row()].get_or_insert_with(|| {
            let message = |body: &Vec<u8>| {
                let head = format!("MESSAGE\nsubscription:sub-0\nmessage-id:1\ncontent-length:{}\n\n", body.len());
                whole(framing, &[head.as_bytes(), body, b"\0"].concat())
            };
            bodies.iter().flat_map(message).collect()
        });
        peer.write(image);
    }
}

struct Peer {
    stream: TcpStream,
    phase: Phase,
    framing: &'static dyn Framing,
    reader: Reader,
    is_subscribed: bool,
    /// A stream's octets that are no whole frame yet.
    rest: Vec<u8>,
}

#[derive(PartialEq, Eq)]
enum Phase {
    New,
    WebSocket,
    Tcp,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            phase: Phase::New,
            framing: &Plain,
            reader: Reader::new(16 << 20),
            is_subscribed: false,
            rest: Vec::new(),
        }
    }

    /// Answers whether the peer is still there.
    fn read(&mut self, buffer: &mut [u8], sends: &mut Vec<Vec<u8>>) -> bool {
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            };
            let octets = &mut buffer[..count];
            if self.phase == Phase::New {
                self.phase = if octets.starts_with(b"GET ") { Phase::WebSocket } else { Phase::Tcp };
                if self.phase == Phase::WebSocket {
                    self.shake_hands(octets);
                    continue;
                }
            }
            if self.phase == Phase::Tcp {
                self.rest.extend_from_slice(octets);
                while let Some(end) = self.rest.iter().position(|octet| *octet == 0) {
                    let frame: Vec<u8> = self.rest.drain(..=end).collect();
                    self.on_frame(&frame, sends);
                }
                continue;
            }
            let mut events = std::collections::VecDeque::new();
            if self.reader.feed(octets, &mut events).is_err() {
                return false;
            }
            for event in events {
                match event {
                    Event::Text(text) if self.framing.row() == SOCKJS_WEBSOCKET.row() => {
                        for message in payload::websocket(&text).unwrap_or_default() {
                            self.on_frame(message.as_bytes(), sends);
                        }
                    }
                    Event::Text(text) | Event::Binary(text) => self.on_frame(&text, sends),
                    Event::Ping(_) | Event::Pong => {}
                    Event::Close(_) => return false,
                }
            }
        }
    }

    fn shake_hands(&mut self, request: &[u8]) {
        let request = String::from_utf8_lossy(request);
        let key = request
            .lines()
            .find_map(|line| line.to_ascii_lowercase().starts_with("sec-websocket-key:").then(|| line[18..].trim()));
        let accept = derive_accept_key(key.unwrap_or("").as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
        );
        self.write(answer.as_bytes());
        self.framing = &WebSocketFraming;
        let path = request.split(' ').nth(1).unwrap_or("");
        if path.matches('/').count() > 2 {
            self.framing = &SOCKJS_WEBSOCKET;
            self.write(&websocket_text(frame::Frame::Open));
        }
    }

    fn on_frame(&mut self, frame: &[u8], sends: &mut Vec<Vec<u8>>) {
        let answer: &[u8] = match frame {
            _ if frame.starts_with(b"CONNECT") => b"CONNECTED\nversion:1.2\n\n\0",
            _ if frame.starts_with(b"SUBSCRIBE") => {
                self.is_subscribed = true;
                b"RECEIPT\nreceipt-id:s\n\n\0"
            }
            _ if frame.starts_with(b"SEND") => {
                let body = frame.windows(2).position(|window| window == b"\n\n").map_or(0, |at| at + 2);
                sends.push(frame[body..frame.len().saturating_sub(1)].to_vec());
                return;
            }
            _ => return,
        };
        self.write(&whole(self.framing, answer));
    }

    /// What the socket does not take is waited for: a floor measures work, not patience.
    fn write(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            match self.stream.write(octets) {
                Ok(count) => octets = &octets[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(_) => return,
            }
        }
    }
}

fn whole(framing: &'static dyn Framing, octets: &[u8]) -> Vec<u8> {
    let image = framing.whole(octets, true);
    [&image.head[..], &image.tail].concat()
}

const LISTENER: Token = Token(usize::MAX);
