//! A STOMP client on a stream of octets, with TLS or without.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// A client that reads and writes frames as they stand on the wire.
pub(crate) struct Peer<S> {
    pub(crate) stream: S,
    read: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) fn of(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    pub(crate) async fn connected(mut self) -> Self {
        self.send("CONNECT\naccept-version:1.2\nhost:h\n\n\0").await;
        let frame = self.frame().await;
        assert!(frame.starts_with("CONNECTED\nversion:1.2\n"), "{frame}");
        self
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next frame that has no NUL in its body, without its own.
    pub(crate) async fn frame(&mut self) -> String {
        let mut frame = self.until("\0").await;
        frame.pop();
        frame
    }

    pub(crate) async fn until(&mut self, end: &str) -> String {
        let mut looked_at = 0;
        loop {
            if let Some(at) = self.read[looked_at..].windows(end.len()).position(|octets| octets == end.as_bytes()) {
                return String::from_utf8(self.read.drain(..looked_at + at + end.len()).collect()).unwrap();
            }
            looked_at = (self.read.len() + 1).saturating_sub(end.len());
            let count = self.stream.read_buf(&mut self.read).await.unwrap();
            assert_ne!(count, 0, "the server closed after {:?}", self.read.escape_ascii().to_string());
        }
    }

    /// All that comes until the server closes, which with TLS it does as that wants it.
    pub(crate) async fn rest(&mut self) -> String {
        self.stream.read_to_end(&mut self.read).await.unwrap();
        String::from_utf8(std::mem::take(&mut self.read)).unwrap()
    }
}
