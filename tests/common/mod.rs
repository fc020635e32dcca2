//! A server in this process, and a STOMP client over a raw WebSocket.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use socket2::{Domain, Socket, Type};
use stompbox::app::{App, AppError, Reloader};
use stompbox::config::Config;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// A server on a port of its own; it stops when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), AppError>>>,
    shards: usize,
    reloader: Reloader,
}

impl Server {
    /// Starts one with that many shards; `settings` are TOML with dotted keys.
    pub(crate) fn start(shards: usize, settings: &str) -> Self {
        let app = App::bind(config(shards, settings), false).unwrap();
        let (address, reloader) = (app.address(), app.reloader());
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(app.run(async {
                let _ = stopped.await;
            }))
        });
        Self { address, stop: Some(stop), thread: Some(thread), shards, reloader }
    }

    /// Gives it other settings, as SIGHUP does.
    pub(crate) fn reload(&self, settings: &str) {
        self.reloader.reload(config(self.shards, settings));
    }

    /// Asks it to stop, as a signal does.
    pub(crate) fn ask_to_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until it has stopped, well; answers how long that took.
    pub(crate) async fn stopped(mut self) -> Duration {
        let begun = Instant::now();
        self.ask_to_stop();
        let thread = self.thread.take().unwrap();
        tokio::task::spawn_blocking(move || thread.join()).await.unwrap().unwrap().unwrap();
        begun.elapsed()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn config(shards: usize, settings: &str) -> Config {
    let text = format!("server.listen = \"127.0.0.1:0\"\ntcp.listen = \"\"\nserver.shards = {shards}\n{settings}");
    Config::from_toml(&text).unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One frame from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) command: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Frame {
    pub(crate) fn parse(text: &str) -> Self {
        let text = text.strip_suffix('\0').unwrap_or_else(|| panic!("no NUL at the end of {text:?}"));
        let (head, body) = text.split_once("\n\n").unwrap_or_else(|| panic!("no blank line in {text:?}"));
        let mut lines = head.lines();
        let command = lines.next().unwrap().to_owned();
        let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let frame = Self { command, headers: lines.map(|line| header(line).unwrap()).collect(), body: body.to_owned() };
        if let Some(length) = frame.header("content-length") {
            assert_eq!(length, frame.body.len().to_string(), "{text:?}");
        }
        frame
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// A client over a raw WebSocket.
pub(crate) struct Stomp {
    pub(crate) socket: WebSocketStream<TcpStream>,
}

impl Stomp {
    /// A WebSocket, nothing said yet.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::upgrade(TcpStream::connect(address).await.unwrap(), address, "/ws").await
    }

    /// One whose socket takes few octets that are not read.
    pub(crate) async fn open_narrow(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&address.into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self::upgrade(TcpStream::from_std(socket.into()).unwrap(), address, "/ws").await
    }

    pub(crate) async fn upgrade(stream: TcpStream, address: SocketAddr, path: &str) -> Self {
        let (socket, _) = client_async(format!("ws://{address}{path}"), stream).await.unwrap();
        Self { socket }
    }

    /// A session without heart-beats.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::open(address).await.connected().await
    }

    pub(crate) async fn connected(mut self) -> Self {
        self.send("CONNECT\naccept-version:1.2\nhost:test\n\n\0").await;
        assert_eq!(self.frame().await.command, "CONNECTED");
        self
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next text, whatever it is.
    pub(crate) async fn text(&mut self) -> String {
        let message = self.message().await;
        let Message::Text(text) = message else { panic!("no text but {message:?}") };
        text.as_str().to_owned()
    }

    /// The next frame.
    pub(crate) async fn frame(&mut self) -> Frame {
        Frame::parse(&self.text().await)
    }

    /// The code and the reason with which the server closes.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        let message = self.message().await;
        let Message::Close(Some(close)) = message else { panic!("no close but {message:?}") };
        (close.code.into(), close.reason.as_str().to_owned())
    }

    /// The next message that is no ping and no pong: on a busy machine a test is slow enough to get one.
    async fn message(&mut self) -> Message {
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await.expect("the server says something");
            let message = message.unwrap().unwrap();
            if !message.is_ping() && !message.is_pong() {
                return message;
            }
        }
    }

    /// Subscribes and waits for the receipt; retained values come after it.
    pub(crate) async fn subscribe(&mut self, id: &str, destination: &str, headers: &str) {
        self.send(&format!("SUBSCRIBE\nid:{id}\ndestination:{destination}\nreceipt:r-{id}\n{headers}\n\0")).await;
        let receipt = self.frame().await;
        assert_eq!((receipt.command.as_str(), receipt.header("receipt-id")), ("RECEIPT", Some(&*format!("r-{id}"))));
    }

    /// Publishes, unanswered.
    pub(crate) async fn publish(&mut self, destination: &str, headers: &str, body: &str) {
        self.send(&format!("SEND\ndestination:{destination}\n{headers}\n{body}\0")).await;
    }

    /// Waits until the server has dealt with all that was sent.
    pub(crate) async fn settled(&mut self) {
        self.send("UNSUBSCRIBE\nid:none\nreceipt:settled\n\n\0").await;
        assert_eq!(self.frame().await.header("receipt-id"), Some("settled"));
    }
}

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
