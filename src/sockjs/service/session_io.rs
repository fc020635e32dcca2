//! [`HttpSession`]: a session over HTTP with its responses, its application and its time.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::body::{Flow, Writer};
use super::farewells::{Farewells, Owed};
use super::owner::Owner;
use crate::message::{Framing, Image};
use crate::net::clock;
use crate::net::io::{Close, Ended, Incoming, MessageIo, Written};
use crate::sockjs::framing::ReceiverKind;
use crate::sockjs::{Action, InboxFull, ReceiverId, Session, Settings};

/// A session that lives on this shard.
pub(super) struct HttpSession {
    pub(super) owner: Owner,
    session: RefCell<Session>,
    responses: RefCell<Vec<(ReceiverId, Writer)>>,
    next_receiver: Cell<u64>,
    /// Payloads that wait for room in the inbox, in their order, each with its request.
    waiting: RefCell<VecDeque<Delivery>>,
    /// The mark of what was taken last.
    taken: Cell<Option<Mark>>,
    driver: RefCell<Option<Waker>>,
    /// When the driver's timer goes off.
    armed: Cell<Option<Instant>>,
    application: RefCell<Option<Waker>>,
    /// Whether the application waits until more can be sent.
    wants_room: Cell<bool>,
    is_lost: Cell<bool>,
    said_farewell: Cell<bool>,
    ended: Cell<bool>,
    farewells: Arc<Farewells>,
    owed: RefCell<Option<Owed>>,
}

/// The messages of one request.
pub(super) struct Delivery {
    pub(super) messages: Vec<String>,
    /// Only where its client tells its requests apart.
    pub(super) mark: Option<Mark>,
    /// Told what became of them, while its request is there.
    pub(super) reply: oneshot::Sender<Result<(), SendError>>,
}

/// What one request is known by, when it comes again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    /// Of its query and body.
    pub(super) request: u64,
    /// Of the client's address and port.
    pub(super) connection: u64,
}

impl Mark {
    /// A browser repeats a request over another connection, the one it had being broken. What comes
    /// over the same one is a second request, sent within the same millisecond.
    fn repeats(self, taken: Self) -> bool {
        self.request == taken.request && self.connection != taken.connection
    }
}

/// Why a session did not take messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendError {
    UnknownSession,
    NotYours,
    Busy,
}

impl HttpSession {
    pub(super) fn new(settings: &Settings, owner: Owner, farewells: Arc<Farewells>) -> Rc<Self> {
        Rc::new(Self {
            owner,
            session: RefCell::new(Session::new(settings, clock::now())),
            responses: RefCell::default(),
            next_receiver: Cell::new(0),
            waiting: RefCell::default(),
            taken: Cell::new(None),
            driver: RefCell::default(),
            armed: Cell::new(None),
            application: RefCell::default(),
            wants_room: Cell::new(false),
            is_lost: Cell::new(false),
            said_farewell: Cell::new(false),
            ended: Cell::new(false),
            farewells,
            owed: RefCell::default(),
        })
    }

    /// Whether it is over, though its driver may not have forgotten it yet.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Attaches a response.
    pub(super) fn handle_attach(&self, kind: ReceiverKind, body: Writer) {
        let id = ReceiverId(self.next_receiver.get());
        self.next_receiver.set(id.0 + 1);
        self.responses.borrow_mut().push((id, body));
        self.session.borrow_mut().handle_attach(clock::now(), id, kind);
        self.perform();
        wake(&self.driver);
    }

    /// Takes messages, or keeps them until there is room.
    pub(super) fn handle_delivery(&self, delivery: Delivery) {
        // Who no longer waits was told that they were not taken.
        self.waiting.borrow_mut().retain(|delivery| !delivery.reply.is_closed());
        if self.waiting.borrow().len() >= MAX_WAITING {
            let _ = delivery.reply.send(Err(SendError::Busy));
            return;
        }
        self.waiting.borrow_mut().push_back(delivery);
        self.take_waiting();
    }

    /// Drives the session until it is over.
    pub(super) async fn drive(self: &Rc<Self>) {
        let mut sleep: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|cx| {
            keep_waker(&self.driver, cx);
            loop {
                self.poll_responses(cx);
                self.perform();
                if self.ended.get() {
                    return Poll::Ready(());
                }
                let Some(deadline) = self.session.borrow().poll_timeout() else { return Poll::Pending };
                let timer = sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
                // Every message moves the deadline on: the timer is left where it is and set
                // anew when it goes off.
                if self.armed.get().is_none_or(|armed| deadline < armed) {
                    timer.as_mut().reset(deadline.into());
                    self.armed.set(Some(deadline));
                }
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.armed.set(None);
                self.session.borrow_mut().handle_timeout(clock::now());
            }
        })
        .await;
        for delivery in self.waiting.take() {
            let _ = delivery.reply.send(Err(SendError::UnknownSession));
        }
    }

    /// Tells the session what became of its responses.
    fn poll_responses(&self, cx: &Context<'_>) {
        let now = clock::now();
        let mut responses = self.responses.borrow_mut();
        responses.retain(|(id, body)| {
            let mut session = self.session.borrow_mut();
            match body.poll_flow(cx) {
                Flow::Waiting { has_progress } => {
                    if has_progress {
                        session.handle_receiver_progress(now, *id);
                    }
                    true
                }
                Flow::Taken => {
                    session.handle_receiver_ready(now, *id);
                    true
                }
                Flow::Over { aborted } => {
                    session.handle_detach(now, *id, aborted);
                    false
                }
            }
        });
        if responses.is_empty() {
            *responses = Vec::new();
        }
        drop(responses);
        if self.wants_room.get() && self.session.borrow().wants_messages() {
            self.wants_room.set(false);
            wake(&self.application);
        }
    }

    /// Wakes the driver if time runs out earlier than it knows.
    fn rearm(&self) {
        let deadline = self.session.borrow().poll_timeout();
        if deadline.is_some_and(|deadline| self.armed.get().is_none_or(|armed| deadline < armed)) {
            wake(&self.driver);
        }
    }

    fn perform(&self) {
        let mut next = self.poll_action();
        while let Some(action) = next.take() {
            match action {
                Action::Send { receiver, octets } => {
                    next = self.poll_action();
                    if next == Some(Action::EndReceiver { receiver }) {
                        // In one write with the end.
                        self.with_response(receiver, |body| body.write_last(octets));
                        next = None;
                    } else if self.with_response(receiver, |body| body.write(octets)) == Some(true) {
                        self.session.borrow_mut().handle_receiver_ready(clock::now(), receiver);
                    }
                }
                Action::EndReceiver { receiver } => {
                    self.with_response(receiver, Writer::end);
                }
                // Its opener hands it to the application.
                Action::Opened => {}
                Action::Interrupted => {
                    self.is_lost.set(true);
                    wake(&self.application);
                }
                Action::Ended => {
                    self.ended.set(true);
                    wake(&self.driver);
                }
            }
            if next.is_none() {
                next = self.poll_action();
            }
        }
        let owes_close = self.session.borrow().owes_close();
        let mut owed = self.owed.borrow_mut();
        if owes_close != owed.is_some() {
            *owed = owes_close.then(|| Owed::new(&self.farewells));
        }
    }

    fn poll_action(&self) -> Option<Action> {
        self.session.borrow_mut().poll_action()
    }

    fn with_response<T>(&self, receiver: ReceiverId, act: impl FnOnce(&Writer) -> T) -> Option<T> {
        let responses = self.responses.borrow();
        responses.iter().find(|(id, _)| *id == receiver).map(|(_, body)| act(body))
    }

    fn take_waiting(&self) {
        let now = clock::now();
        let mut waiting = self.waiting.borrow_mut();
        while let Some(Delivery { messages, mark, reply }) = waiting.pop_front() {
            if reply.is_closed() {
                continue;
            }
            // A browser repeats a request by itself when a kept connection broke before the
            // answer came: what was taken must not be taken twice.
            if mark.zip(self.taken.get()).is_some_and(|(mark, taken)| mark.repeats(taken)) {
                let _ = reply.send(Ok(()));
                continue;
            }
            match self.session.borrow_mut().handle_payload(now, messages) {
                Ok(()) => {
                    self.taken.set(mark);
                    let _ = reply.send(Ok(()));
                    wake(&self.application);
                }
                Err(InboxFull(messages)) => {
                    waiting.push_front(Delivery { messages, mark, reply });
                    return;
                }
            }
        }
    }
}

/// The session as its application's transport.
pub(super) struct SessionIo(pub(super) Rc<HttpSession>);

impl MessageIo for SessionIo {
    fn framing(&self) -> &'static dyn Framing {
        self.0.session.borrow().quoting().framing()
    }

    fn transport(&self) -> &'static str {
        self.0.owner.transport.name()
    }

    fn try_write(&self, queue: &mut VecDeque<Image>) -> io::Result<Written> {
        let now = clock::now();
        let mut bytes = 0;
        loop {
            let mut session = self.0.session.borrow_mut();
            while session.wants_messages() {
                let Some(image) = queue.pop_front() else { break };
                bytes += image.len();
                session.send(now, image).map_err(|_| io::ErrorKind::BrokenPipe)?;
            }
            drop(session);
            self.0.perform();
            // The socket may have taken it all at once.
            if queue.is_empty() || !self.0.session.borrow().wants_messages() {
                break;
            }
        }
        self.0.rearm();
        Ok(Written { bytes, is_blocked: !queue.is_empty(), is_cut: false })
    }

    fn withdraw(&self) {
        self.0.responses.borrow().iter().for_each(|(_, body)| body.withdraw());
        wake(&self.0.driver);
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.is_lost.get() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if self.0.session.borrow().wants_messages() {
            return Poll::Ready(Ok(()));
        }
        self.0.wants_room.set(true);
        keep_waker(&self.0.application, cx);
        Poll::Pending
    }

    fn poll_read(&self, cx: &mut Context<'_>) -> Poll<Incoming> {
        let message = self.0.session.borrow_mut().poll_incoming();
        if let Some(message) = message {
            self.0.take_waiting();
            return Poll::Ready(Incoming::Octets(message.into()));
        }
        if self.0.is_lost.get() {
            return Poll::Ready(Incoming::Ended(Ended::Lost(io::ErrorKind::ConnectionReset)));
        }
        if self.0.said_farewell.get() {
            return Poll::Ready(Incoming::Ended(Ended::Closed));
        }
        // Messages are held back while many answers wait for a receiver.
        if self.0.session.borrow().queued_bytes() > 0 {
            self.0.wants_room.set(true);
        }
        keep_waker(&self.0.application, cx);
        Poll::Pending
    }

    fn farewell(&self, close: &Close, queue: &mut VecDeque<Image>) {
        let now = clock::now();
        let mut session = self.0.session.borrow_mut();
        // What is left is an ERROR or RECEIPT: the session keeps it for the next receiver.
        for image in queue.drain(..) {
            let _ = session.send(now, image);
        }
        session.close(now, close.sockjs_code, &close.reason);
        drop(session);
        self.0.said_farewell.set(true);
        self.0.perform();
        wake(&self.0.driver);
    }
}

impl Drop for SessionIo {
    fn drop(&mut self) {
        self.0.session.borrow_mut().close(clock::now(), 3000, "Go away!");
        self.0.perform();
        wake(&self.0.driver);
    }
}

fn keep_waker(place: &RefCell<Option<Waker>>, cx: &Context<'_>) {
    let mut place = place.borrow_mut();
    if !place.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *place = Some(cx.waker().clone());
    }
}

fn wake(place: &RefCell<Option<Waker>>) {
    if let Some(waker) = &*place.borrow() {
        waker.wake_by_ref();
    }
}

/// Requests of one session that may wait for its inbox.
const MAX_WAITING: usize = 4;

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use super::super::owner::Fingerprint;
    use super::*;
    use crate::sockjs::Transport;

    #[tokio::test]
    async fn a_lost_client_is_told_to_one_who_waits_to_write() {
        let session = new_session();
        let io = SessionIo(Rc::clone(&session));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(io.poll_write_ready(&mut cx).is_pending());
        session.is_lost.set(true);
        assert!(matches!(io.poll_write_ready(&mut cx), Poll::Ready(Err(_))));
    }

    #[tokio::test]
    async fn messages_whose_request_was_given_up_are_not_taken_later() {
        let session = new_session();
        session.session.borrow_mut().handle_attach(clock::now(), ReceiverId(0), ReceiverKind::Xhr);
        let io = SessionIo(Rc::clone(&session));
        let _taken = deliver(&session, &"x".repeat(900), None);
        let given_up = deliver(&session, &"y".repeat(900), None);
        drop(given_up);
        let _waits = deliver(&session, "z", None);
        assert_eq!(first_octets(&io), b"xz");
    }

    #[tokio::test]
    async fn messages_whose_request_is_repeated_over_another_connection_are_taken_once() {
        let session = new_session();
        session.session.borrow_mut().handle_attach(clock::now(), ReceiverId(0), ReceiverKind::Xhr);
        let io = SessionIo(Rc::clone(&session));
        let requests = [
            ("a", Some((1, 1))),
            ("a", Some((1, 2))),
            ("b", Some((2, 2))),
            ("b", Some((2, 2))),
            ("c", None),
            ("c", None),
        ];
        let replies: Vec<_> = requests.into_iter().map(|(text, mark)| deliver(&session, text, mark)).collect();
        assert_eq!(first_octets(&io), b"abbcc");
        for mut reply in replies {
            assert_eq!(reply.try_recv(), Ok(Ok(())));
        }
    }

    #[tokio::test]
    async fn messages_that_were_not_taken_are_taken_from_the_repeated_request() {
        let session = new_session();
        session.session.borrow_mut().handle_attach(clock::now(), ReceiverId(0), ReceiverKind::Xhr);
        let io = SessionIo(Rc::clone(&session));
        let _taken = deliver(&session, &"x".repeat(900), Some((1, 1)));
        let given_up = deliver(&session, &"y".repeat(900), Some((2, 1)));
        drop(given_up);
        let _waits = deliver(&session, &"y".repeat(900), Some((2, 2)));
        assert_eq!(first_octets(&io), b"xy");
    }

    /// Beside it a session has its outbox, its responses, its timer and its two tasks.
    #[test]
    fn a_session_itself_is_small() {
        let size = size_of::<HttpSession>();
        assert!(size <= 600, "{size} octets");
    }

    fn deliver(
        session: &HttpSession,
        text: &str,
        mark: Option<(u64, u64)>,
    ) -> oneshot::Receiver<Result<(), SendError>> {
        let (reply, outcome) = oneshot::channel();
        let mark = mark.map(|(request, connection)| Mark { request, connection });
        session.handle_delivery(Delivery { messages: vec![text.into()], mark, reply });
        outcome
    }

    fn first_octets(io: &SessionIo) -> Vec<u8> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut first_octets = Vec::new();
        while let Poll::Ready(Incoming::Octets(octets)) = io.poll_read(&mut cx) {
            first_octets.push(octets[0]);
        }
        first_octets
    }

    fn new_session() -> Rc<HttpSession> {
        let nobody = Fingerprint::of(&http::HeaderMap::new(), &RandomState::new());
        HttpSession::new(&Settings::conformance(), Owner::new(Transport::Xhr, nobody), Farewells::new(1))
    }
}
