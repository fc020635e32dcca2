//! The accept loop's one step, and what every accepted socket is given.

use std::cell::Cell;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::clock;
use super::limits::{self, Limiter, Seat};
use super::live::Live;
use super::proxy::{self, Proxies};
use super::stream::Stream;
use super::tls::Identity;
use crate::session::Exceeded;

/// What an accepted socket needs to know from the settings.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long octets may stay unacknowledged before the peer is taken for gone; zero: as
    /// long as the system pleases, which is a quarter of an hour on Linux.
    pub dead_peer_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { dead_peer_timeout: Duration::from_secs(60) }
    }
}

/// A listening socket, and what its connections are given.
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// With it TLS is spoken, from the next connection on.
    pub identity: Live<Option<Identity>>,
    /// For every socket.
    pub settings: Settings,
    /// Who may come.
    pub limiter: Limiter,
    /// Whose word counts for where a client comes from.
    pub proxies: Live<Proxies>,
    /// Whether those begin each connection with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

impl Listener {
    /// One without TLS, and with no limit on those who come.
    pub fn plain(socket: TcpListener) -> Self {
        let limiter = Limiter::new(limits::Settings::default(), usize::MAX, Arc::default());
        Self {
            socket,
            identity: Live::default(),
            settings: Settings::default(),
            limiter,
            proxies: Live::default(),
            proxy_protocol: false,
        }
    }
}

/// A listener at work.
pub(super) struct Acceptor {
    listener: Listener,
    refusal: fn(&Exceeded) -> String,
    last_warning: Cell<Option<Instant>>,
    lingering: TaskTracker,
    /// Connections whose header of the PROXY protocol has come.
    announced: (mpsc::Sender<Arrived>, mpsc::Receiver<Arrived>),
}

/// A socket, whence it came, and its place; it counts for no address where a proxy did not say.
type Arrived = (TcpStream, SocketAddr, Result<Seat, Exceeded>);

impl Acceptor {
    /// `refusal` is what those read who find no place, where no TLS is in between.
    pub(super) fn new(listener: Listener, refusal: fn(&Exceeded) -> String) -> Self {
        Self {
            listener,
            refusal,
            last_warning: Cell::new(None),
            lingering: TaskTracker::new(),
            announced: mpsc::channel(MAX_ANNOUNCING),
        }
    }

    /// The next connection; `None` after `shutdown`.
    pub(super) async fn accept(&mut self, shutdown: &CancellationToken) -> Option<(Stream, SocketAddr)> {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.socket.accept() => accepted,
                Some(arrived) = self.announced.1.recv() => match self.open(arrived) {
                    Some(opened) => return Some(opened),
                    None => continue,
                },
                () = shutdown.cancelled() => return None,
            };
            match accepted {
                Ok((socket, peer)) => {
                    self.prepare(&socket, peer);
                    let is_proxy = self.listener.proxies.get().trusts(peer.ip());
                    match self.listener.limiter.enter((!is_proxy).then(|| peer.ip())) {
                        Ok(seat) if is_proxy && self.listener.proxy_protocol => self.await_header(socket, peer, seat),
                        seat => {
                            if let Some(opened) = self.open((socket, peer, seat)) {
                                return Some(opened);
                            }
                        }
                    }
                }
                // One client's trouble, which must not hold up the others.
                Err(error) if is_of_one_client(error.kind()) => {
                    debug!(%error, "a connection broke before it was accepted");
                }
                Err(error) => {
                    self.warn(&error);
                    // Out of descriptors, most likely: the next try would fail at once, for ever.
                    tokio::select! {
                        () = tokio::time::sleep(BACK_OFF) => {}
                        () = shutdown.cancelled() => return None,
                    }
                }
            }
        }
    }

    /// Puts TLS on where that is spoken, if it has a place.
    fn open(&self, (socket, peer, seat): Arrived) -> Option<(Stream, SocketAddr)> {
        let identity = self.listener.identity.get();
        match seat {
            Ok(seat) => Stream::new(socket, identity.as_ref().as_ref(), Some(seat))
                .inspect_err(|error| warn!(%peer, %error, "no TLS"))
                .ok()
                .map(|stream| (stream, peer)),
            Err(exceeded) => {
                self.refuse(socket, peer, exceeded, identity.is_some());
                None
            }
        }
    }

    /// Nobody else waits meanwhile. So many at once are enough: a proxy sends it first of all.
    fn await_header(&self, mut socket: TcpStream, peer: SocketAddr, mut seat: Seat) {
        let Ok(place) = self.announced.0.clone().try_reserve_owned() else {
            self.listener.limiter.note("proxy_headers");
            if self.may_log() {
                warn!(%peer, "a proxy's connection is given up: {MAX_ANNOUNCING} others have not said who their client is");
            }
            return;
        };
        self.lingering.spawn_local(async move {
            match proxy::read_header(&mut socket, peer).await {
                Ok(client) => {
                    let counted = if client == peer { Ok(()) } else { seat.count_for(client.ip()) };
                    drop(place.send((socket, client, counted.map(|()| seat))));
                }
                Err(error) => warn!(%peer, %error, "a proxy's connection is given up"),
            }
        });
    }

    /// Says why and closes. A few are read to their end, so that no reset overtakes the words.
    fn refuse(&self, socket: TcpStream, peer: SocketAddr, exceeded: Exceeded, is_tls: bool) {
        if self.may_log() {
            warn!(%peer, "a connection was turned away: {exceeded}");
        }
        if is_tls {
            return;
        }
        let Some(outside) = self.listener.limiter.stay_outside() else { return };
        // Who has just come has room for it.
        if socket.try_write((self.refusal)(&exceeded).as_bytes()).is_ok() {
            let _ = SockRef::from(&socket).shutdown(Shutdown::Write);
            self.lingering.spawn_local(async move {
                let read = async {
                    let mut octets = [0; 512];
                    while socket.readable().await.is_ok() {
                        match socket.try_read(&mut octets) {
                            Ok(0) => break,
                            Err(error) if error.kind() != io::ErrorKind::WouldBlock => break,
                            Ok(_) | Err(_) => {}
                        }
                    }
                };
                let _ = tokio::time::timeout(LINGER, read).await;
                drop(outside);
            });
        }
    }

    fn prepare(&self, stream: &TcpStream, peer: SocketAddr) {
        let socket = SockRef::from(stream);
        // So that a client whose heart-beats are off does not leave a dead socket.
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4).with_retries(4);
        let limit = Some(self.listener.settings.dead_peer_timeout).filter(|limit| !limit.is_zero());
        let set = [
            ("TCP_NODELAY", stream.set_nodelay(true)),
            ("SO_KEEPALIVE", socket.set_tcp_keepalive(&keepalive)),
            ("TCP_USER_TIMEOUT", limit.map_or(Ok(()), |limit| socket.set_tcp_user_timeout(Some(limit)))),
        ];
        for (option, set) in set {
            if let Err(error) = set {
                debug!(%peer, %error, option, "the socket does not take this option");
            }
        }
    }

    fn warn(&self, error: &io::Error) {
        if self.may_log() {
            warn!(%error, "cannot accept connections; those that are open go on");
        }
    }

    /// At once the first time, and at most every [`QUIET`] after that.
    fn may_log(&self) -> bool {
        let now = clock::now();
        let may = self.last_warning.get().is_none_or(|last| now.duration_since(last) >= QUIET);
        if may {
            self.last_warning.set(Some(now));
        }
        may
    }
}

fn is_of_one_client(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

const BACK_OFF: Duration = Duration::from_millis(100);

/// How long one that was turned away is listened to.
const LINGER: Duration = Duration::from_secs(1);

/// How many connections of proxies may wait for their header on one listener.
const MAX_ANNOUNCING: usize = 256;

const QUIET: Duration = Duration::from_secs(10);

const KEEPALIVE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::task::LocalSet;

    use super::*;
    use crate::broker::stats::Tally;

    #[tokio::test]
    async fn an_accepted_socket_notices_a_peer_that_vanished() {
        let settings = Settings { dead_peer_timeout: Duration::from_secs(7) };
        for (settings, expected) in [(settings, 7), (Settings { dead_peer_timeout: Duration::ZERO }, 0)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let listener = Listener { settings, ..Listener::plain(listener) };
            let mut acceptor = Acceptor::new(listener, ToString::to_string);
            let _client = TcpStream::connect(address).await.unwrap();
            let (stream, _) = acceptor.accept(&CancellationToken::new()).await.unwrap();
            let (socket, _seat) = stream.into_plain().unwrap();
            let socket = SockRef::from(&socket);
            assert_eq!(socket.tcp_user_timeout().unwrap().unwrap_or_default(), Duration::from_secs(expected));
            assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        }
    }

    #[tokio::test]
    async fn a_proxys_connection_has_a_place_before_its_header_comes() {
        let settings = limits::Settings { connections: 1, ..limits::Settings::default() };
        let (mut acceptor, reached, address) = behind_a_proxy(settings).await;
        let never = CancellationToken::new();
        let talk = async {
            let _silent = TcpStream::connect(address).await.unwrap();
            let mut refused = TcpStream::connect(address).await.unwrap();
            let mut said = String::new();
            refused.read_to_string(&mut said).await.unwrap();
            said
        };
        let both = async {
            tokio::select! {
                _ = acceptor.accept(&never) => panic!("nobody has said who it is"),
                said = talk => said,
            }
        };
        let said = LocalSet::new().run_until(both).await;
        assert!(said.contains("has 1 connections"), "{said}");
        assert_eq!(reached.values()["connections"], 1);
    }

    #[tokio::test]
    async fn a_proxys_connection_beyond_those_that_wait_for_their_header_is_closed_and_counted() {
        let (mut acceptor, reached, address) = behind_a_proxy(limits::Settings::default()).await;
        let never = CancellationToken::new();
        let talk = async {
            let mut waiting = Vec::new();
            for _ in 0..MAX_ANNOUNCING {
                waiting.push(TcpStream::connect(address).await.unwrap());
            }
            let mut one_more = TcpStream::connect(address).await.unwrap();
            assert_eq!(one_more.read(&mut [0]).await.unwrap(), 0);
        };
        let both = async {
            tokio::select! {
                _ = acceptor.accept(&never) => panic!("nobody has said who it is"),
                () = talk => {}
            }
        };
        LocalSet::new().run_until(both).await;
        assert_eq!(reached.values()["proxy_headers"], 1);
    }

    async fn behind_a_proxy(settings: limits::Settings) -> (Acceptor, Arc<Tally>, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let reached = Arc::<Tally>::default();
        let limiter = Limiter::new(settings, usize::MAX, Arc::clone(&reached));
        let trusted = vec!["127.0.0.1/32".parse().unwrap()];
        let proxies = Live::new(Proxies { trusted, writes_forwarded: false });
        let listener = Listener { limiter, proxies, proxy_protocol: true, ..Listener::plain(socket) };
        (Acceptor::new(listener, ToString::to_string), reached, address)
    }
}
