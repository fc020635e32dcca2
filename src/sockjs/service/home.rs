//! [`Home`]: the sessions that live on one shard.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error};

use super::body::Writer;
use super::session_io::{HttpSession, SendError};
use super::websocket_io::SockJsWebSocketIo;
use super::{Client, Connections};
use crate::net::http::upgraded;
use crate::net::io::MessageIo;
use crate::net::websocket::{self, RawWebSocket, WebSocket};
use crate::sockjs::Settings;
use crate::sockjs::framing::ReceiverKind;

/// What a request asks of the shard where its session lives.
pub(super) enum Errand {
    /// Take over an upgraded connection.
    Upgrade { on_upgrade: OnUpgrade, framed: bool, client: Client },
    /// Attach a response to a session, which it may open.
    Receive { session: Box<str>, kind: ReceiverKind, body: Writer, client: Client, reply: oneshot::Sender<Admission> },
    /// Give a session messages.
    Send { session: Box<str>, messages: Vec<String>, reply: oneshot::Sender<Result<(), SendError>> },
}

/// Whether a response was attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Attached,
    TooManySessions,
}

/// One shard's sessions; runs on that shard.
pub struct Home {
    pub(super) errands: mpsc::Receiver<Errand>,
    pub(super) settings: Arc<Settings>,
    pub(super) websocket: websocket::Settings,
    pub(super) max_sessions: usize,
}

type Sessions = Rc<RefCell<HashMap<Box<str>, Rc<HttpSession>>>>;

impl Home {
    /// Serves the shard's sessions, handing each connection to `connections`; ends with the
    /// last [`super::Service`].
    pub async fn run(mut self, connections: Rc<dyn Connections>) {
        let sessions = Sessions::default();
        while let Some(errand) = self.errands.recv().await {
            // A session that breaks down must not take the shard's others with it.
            let done = catch_unwind(AssertUnwindSafe(|| self.on_errand(errand, &sessions, &connections)));
            if done.is_err() {
                error!("a request to a session was given up after a panic");
            }
        }
    }

    fn on_errand(&self, errand: Errand, sessions: &Sessions, connections: &Rc<dyn Connections>) {
        match errand {
            Errand::Upgrade { on_upgrade, framed, client } => self.on_upgrade(on_upgrade, framed, client, connections),
            Errand::Receive { session, kind, body, client, reply } => {
                let admission = self.on_receive(sessions, session, kind, body, client, connections);
                // Nobody waits for it where the client has gone meanwhile.
                let _ = reply.send(admission);
            }
            Errand::Send { session, messages, reply } => {
                let found = sessions.borrow().get(&session).cloned();
                match found {
                    Some(found) => found.handle_payload(messages, reply),
                    None => {
                        let _ = reply.send(Err(SendError::UnknownSession));
                    }
                }
            }
        }
    }

    fn on_upgrade(&self, on_upgrade: OnUpgrade, framed: bool, client: Client, connections: &Rc<dyn Connections>) {
        let connections = Rc::clone(connections);
        let heartbeat = self.settings.heartbeat;
        let settings = self.websocket;
        tokio::task::spawn_local(async move {
            match upgraded(on_upgrade).await {
                Ok((stream, read_ahead)) => {
                    let socket = WebSocket::new(stream, &read_ahead, &settings);
                    let io: Box<dyn MessageIo> = match framed {
                        true => Box::new(SockJsWebSocketIo::new(socket, heartbeat)),
                        false => Box::new(RawWebSocket(socket)),
                    };
                    connections.accept(io, client);
                }
                Err(error) => debug!(peer = %client.peer, %error, "the upgrade did not come about"),
            }
        });
    }

    fn on_receive(
        &self,
        sessions: &Sessions,
        name: Box<str>,
        kind: ReceiverKind,
        body: Writer,
        client: Client,
        connections: &Rc<dyn Connections>,
    ) -> Admission {
        let known = sessions.borrow().get(&name).cloned();
        let session = match known {
            Some(session) => session,
            None if sessions.borrow().len() >= self.max_sessions => return Admission::TooManySessions,
            None => {
                let session = HttpSession::new(&self.settings, transport(&kind));
                sessions.borrow_mut().insert(name.clone(), Rc::clone(&session));
                let registered = Registered { name, sessions: Rc::clone(sessions) };
                let (driven, connections) = (Rc::clone(&session), Rc::clone(connections));
                tokio::task::spawn_local(async move {
                    driven.drive(connections, client).await;
                    drop(registered);
                });
                session
            }
        };
        session.handle_attach(kind, body);
        Admission::Attached
    }
}

/// Takes the session out of the table when its driver ends, even by a panic.
struct Registered {
    name: Box<str>,
    sessions: Sessions,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut sessions = self.sessions.borrow_mut();
        sessions.remove(&self.name);
        sessions.shrink_to_quarter();
    }
}

/// The transport's name for logs.
fn transport(kind: &ReceiverKind) -> &'static str {
    match kind {
        ReceiverKind::Xhr => "xhr",
        ReceiverKind::XhrStreaming => "xhr_streaming",
        ReceiverKind::EventSource => "eventsource",
        ReceiverKind::HtmlFile(_) => "htmlfile",
        ReceiverKind::Jsonp(_) => "jsonp",
    }
}

trait Shrink {
    fn shrink_to_quarter(&mut self);
}

impl<K: Eq + std::hash::Hash, V> Shrink for HashMap<K, V> {
    /// Gives memory back after a crowd has left.
    fn shrink_to_quarter(&mut self) {
        if self.capacity() > 1024 && self.len() * 4 < self.capacity() {
            self.shrink_to(self.len() * 2);
        }
    }
}
