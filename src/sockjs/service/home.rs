//! [`Home`]: the sessions that live on one shard.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt as _;
use hyper::upgrade::OnUpgrade;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error};

use super::addresses::{Addresses, Seat};
use super::body::Writer;
use super::counted::{Counted, Counters};
use super::farewells::Farewells;
use super::owner::{Fingerprint, Owner};
use super::session_io::{Delivery, HttpSession, SendError, SessionIo};
use super::websocket_io::SockJsWebSocketIo;
use super::{Client, Connections};
use crate::net::http::upgraded;
use crate::net::io::MessageIo;
use crate::net::websocket::deflate::Agreed;
use crate::net::websocket::{self, RawWebSocket, WebSocket};
use crate::sockjs::framing::ReceiverKind;
use crate::sockjs::{Settings, Transport};

/// What a request asks of the shard where its session lives.
pub(super) enum Errand {
    /// Take over an upgraded connection.
    Upgrade(Box<Upgrade>),
    /// Attach a response to a session, which it may open.
    Receive(Box<Receive>),
    /// Give a session messages.
    Send { session: Box<str>, from: Fingerprint, delivery: Delivery },
    /// Say whether a session is there and takes messages of that client.
    Find { session: Box<str>, from: Fingerprint, reply: oneshot::Sender<Result<(), SendError>> },
}

/// A connection that becomes a WebSocket.
pub(super) struct Upgrade {
    pub(super) on_upgrade: OnUpgrade,
    pub(super) transport: Transport,
    pub(super) deflate: Option<Agreed>,
    pub(super) client: Client,
    pub(super) seat: Seat,
}

/// A response that is to be attached.
pub(super) struct Receive {
    pub(super) session: Box<str>,
    pub(super) transport: Transport,
    pub(super) kind: ReceiverKind,
    pub(super) from: Fingerprint,
    pub(super) body: Writer,
    pub(super) client: Client,
    pub(super) reply: oneshot::Sender<Admission>,
}

/// Whether a response was attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Attached,
    NotYours,
    TooManySessions,
    TooManyOfAddress,
    ShuttingDown,
}

/// One shard's sessions; runs on that shard.
pub struct Home {
    pub(super) errands: mpsc::Receiver<Errand>,
    pub(super) settings: Arc<Settings>,
    pub(super) websocket: websocket::Settings,
    pub(super) max_sessions: usize,
    pub(super) counters: Arc<Counters>,
    pub(super) addresses: Arc<Addresses>,
    pub(super) farewells: Arc<Farewells>,
}

/// The live sessions by name. No borrow is held while anything else is called.
#[derive(Clone, Default)]
pub(super) struct Sessions(Rc<RefCell<HashMap<Box<str>, Rc<HttpSession>>>>);

impl Home {
    /// Serves the shard's sessions, handing each connection to `connections`; ends with the
    /// last [`super::Service`].
    pub async fn run(self, connections: Rc<dyn Connections>) {
        self.serve(Sessions::default(), connections).await;
    }

    pub(super) async fn serve(mut self, sessions: Sessions, connections: Rc<dyn Connections>) {
        while let Some(errand) = self.errands.recv().await {
            // A session that breaks down must not take the shard's others with it.
            let done = catch_unwind(AssertUnwindSafe(|| self.on_errand(errand, &sessions, &connections)));
            if done.is_err() {
                error!("a request to a session was given up after a panic");
                connections.handle_panic();
            }
        }
    }

    fn on_errand(&self, errand: Errand, sessions: &Sessions, connections: &Rc<dyn Connections>) {
        match errand {
            Errand::Upgrade(upgrade) => self.on_upgrade(*upgrade, connections),
            Errand::Receive(receive) => self.on_receive(sessions, *receive, connections),
            Errand::Send { session, from, delivery } => match sessions.find_for(&session, from) {
                Ok(found) => found.handle_delivery(delivery),
                Err(error) => refuse(delivery, error),
            },
            // Nobody waits for it where the client has gone meanwhile.
            Errand::Find { session, from, reply } => {
                let _ = reply.send(sessions.find_for(&session, from).map(|_| ()));
            }
        }
    }

    fn on_upgrade(&self, upgrade: Upgrade, connections: &Rc<dyn Connections>) {
        let Upgrade { on_upgrade, transport, deflate, client, seat } = upgrade;
        let accepting = Rc::clone(connections);
        let counters = Arc::clone(&self.counters);
        let heartbeat = self.settings.heartbeat;
        let settings = self.websocket;
        spawn(connections, async move {
            match upgraded(on_upgrade).await {
                Ok((stream, read_ahead)) => {
                    let socket = WebSocket::new(stream, &read_ahead, &settings, deflate);
                    let io: Box<dyn MessageIo> = if transport == Transport::RawWebSocket {
                        Box::new(Counted::new(RawWebSocket(socket), transport, &counters, Some(seat)))
                    } else {
                        let io = SockJsWebSocketIo::new(socket, heartbeat);
                        Box::new(Counted::new(io, transport, &counters, Some(seat)))
                    };
                    accepting.accept(io, client);
                }
                Err(error) => debug!(peer = %client.peer, %error, "the upgrade did not come about"),
            }
        });
    }

    fn on_receive(&self, sessions: &Sessions, receive: Receive, connections: &Rc<dyn Connections>) {
        let Receive { session: name, transport, kind, from, body, client, reply } = receive;
        let admission = match sessions.find(&name) {
            Some(session) if session.owner.admits_receiver(transport, from) => {
                session.handle_attach(kind, body);
                Admission::Attached
            }
            Some(_) => Admission::NotYours,
            None if self.farewells.is_draining() => Admission::ShuttingDown,
            None if sessions.len() >= self.max_sessions => Admission::TooManySessions,
            None => match self.addresses.enter(&client.peer) {
                Some(seat) => {
                    let session = self.open(sessions, name, Owner::new(transport, from), seat, connections);
                    session.handle_attach(kind, body);
                    let io = Counted::new(SessionIo(session), transport, &self.counters, None);
                    connections.accept(Box::new(io), client);
                    Admission::Attached
                }
                None => Admission::TooManyOfAddress,
            },
        };
        // Nobody waits for it where the client has gone meanwhile.
        let _ = reply.send(admission);
    }

    fn open(
        &self,
        sessions: &Sessions,
        name: Box<str>,
        owner: Owner,
        seat: Seat,
        connections: &Rc<dyn Connections>,
    ) -> Rc<HttpSession> {
        let session = HttpSession::new(&self.settings, owner, Arc::clone(&self.farewells));
        sessions.insert(name.clone(), Rc::clone(&session));
        let registered = Registered { name, session: Rc::clone(&session), sessions: sessions.clone(), _seat: seat };
        spawn(connections, async move {
            registered.session.drive().await;
            drop(registered);
        });
        session
    }
}

/// Runs what belongs to one connection: a panic costs no other.
fn spawn(connections: &Rc<dyn Connections>, task: impl Future<Output = ()> + 'static) {
    let connections = Rc::clone(connections);
    tokio::task::spawn_local(async move {
        if AssertUnwindSafe(task).catch_unwind().await.is_err() {
            error!("a SockJS connection is given up after a panic");
            connections.handle_panic();
        }
    });
}

/// Takes the session out of the table when its driver ends, even by a panic.
struct Registered {
    name: Box<str>,
    session: Rc<HttpSession>,
    sessions: Sessions,
    _seat: Seat,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.sessions.remove(&self.name, &self.session);
    }
}

fn refuse(delivery: Delivery, error: SendError) {
    let _ = delivery.reply.send(Err(error));
}

impl Sessions {
    /// The session of that name, unless it is over.
    fn find(&self, name: &str) -> Option<Rc<HttpSession>> {
        self.0.borrow().get(name).filter(|session| !session.has_ended()).cloned()
    }

    /// As [`Sessions::find`], for a client that wants to send.
    fn find_for(&self, name: &str, from: Fingerprint) -> Result<Rc<HttpSession>, SendError> {
        let found = self.find(name).ok_or(SendError::UnknownSession)?;
        if found.owner.admits(from) { Ok(found) } else { Err(SendError::NotYours) }
    }

    fn len(&self) -> usize {
        self.0.borrow().len()
    }

    fn insert(&self, name: Box<str>, session: Rc<HttpSession>) {
        let former = self.0.borrow_mut().insert(name, session);
        drop(former);
    }

    /// Forgets a session, though not another one that took over its name, and gives memory
    /// back after a crowd has left.
    fn remove(&self, name: &str, session: &Rc<HttpSession>) {
        let mut sessions = self.0.borrow_mut();
        if sessions.get(name).is_some_and(|found| Rc::ptr_eq(found, session)) {
            sessions.remove(name);
        }
        if sessions.capacity() > KEPT_CAPACITY && sessions.len() * 4 < sessions.capacity() {
            let len = sessions.len();
            sessions.shrink_to(len * 2);
        }
    }

    /// How many there are, and for how many there is memory.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.len(), self.0.borrow().capacity())
    }
}

/// Below this many sessions the map's memory does not matter.
const KEPT_CAPACITY: usize = 1024;
