//! Scripts: what comes, at what time, and exactly what the session asks for.

use std::time::Duration;

use super::*;
use crate::message::{Destination, Image, Message, MessageId, Overflow, Plain, Publication, SubscriptionId, Tail};
use crate::stomp::Limits;

mod acknowledging;
mod connecting;
mod ending;
mod expiring;
mod messaging;
mod properties;
mod transacting;

#[test]
fn a_session_is_small() {
    // Of this, the decoder has 210 (limits 48, octets in flight 100), the clocks 96, the place of
    // the next action 90, and the empty ends of queues and tables 150. A connected session with
    // one subscription and nothing in flight holds besides: 40 octets of the subscription, its
    // name, and the session's id.
    let size = size_of::<Session>();
    assert!(size <= 656, "{size}");
}

#[test]
fn a_quiet_session_holds_no_buffers() {
    let mut peer = Peer::connected("1.2");
    peer.send("SUBSCRIBE\nid:s\ndestination:/topic/a\nreceipt:r\n\n\0");
    peer.reply(1, Reply::Done);
    peer.actions();
    let text = format!("{:?}", peer.session);
    assert!(text.contains("waiting: [], waiting_bytes: 0, state: Head(Head { earlier: [], lines: 0"), "{text}");
    assert!(text.contains("outbox: Outbox { first: None, rest: [] }"), "{text}");
}

/// A client, a broker and a clock in one hand.
pub(super) struct Peer {
    pub(super) session: Session,
    pub(super) now: Instant,
}

impl Peer {
    pub(super) fn new(settings: Settings) -> Self {
        Self::with_framing(settings, &Plain, None)
    }

    pub(super) fn with_framing(
        settings: Settings,
        framing: &'static dyn Framing,
        offered: Option<Credentials>,
    ) -> Self {
        let now = epoch();
        Self { session: Session::new(Arc::new(settings), framing, "unguessable".into(), offered, now), now }
    }

    pub(super) fn connected(version: &str) -> Self {
        Self::connected_with(version, settings(), "")
    }

    /// Connected as an anonymous client; `headers` are more lines of CONNECT.
    pub(super) fn connected_with(version: &str, settings: Settings, headers: &str) -> Self {
        let mut peer = Self::new(settings);
        peer.connect(version, headers);
        peer
    }

    pub(super) fn connect(&mut self, version: &str, headers: &str) {
        self.send(&format!("CONNECT\naccept-version:{version}\nhost:h\n{headers}\n\0"));
        self.reply(0, Reply::Authenticated { principal: Principal::Anonymous, expires_at: None });
        let actions = self.actions();
        assert_eq!(actions.len(), 2, "{actions:?}");
        assert!(self.session.is_connected());
    }

    pub(super) fn send(&mut self, text: &str) {
        self.session.handle_bytes(self.now, Bytes::copy_from_slice(text.as_bytes()));
    }

    pub(super) fn reply(&mut self, ticket: u64, reply: Reply) {
        self.session.handle_reply(self.now, Ticket(ticket), reply);
    }

    pub(super) fn refuse(&mut self, ticket: u64, status: u16, reason: &str) {
        self.reply(ticket, Reply::Refused(Refusal::new(status, reason)));
    }

    pub(super) fn deliver(&mut self, subscription: u32, message: u64) {
        self.deliver_flagged(subscription, message, false, 0);
    }

    pub(super) fn deliver_flagged(&mut self, subscription: u32, message: u64, retained: bool, dropped: u32) {
        let message = Arc::new(Message::new(MessageId(message), publication("/topic/a", &[], "hi"), 99, None));
        let delivery = Delivery { subscription: SubscriptionId(subscription), message, retained, dropped, count: 0 };
        self.session.handle_delivery(self.now, delivery);
    }

    pub(super) fn sleep(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.session.handle_timeout(self.now);
    }

    /// Milliseconds until the session wants to be called.
    pub(super) fn due_in(&self) -> Option<u128> {
        self.session.poll_timeout().map(|at| at.saturating_duration_since(self.now).as_millis())
    }

    /// All actions that wait, each image in one piece.
    pub(super) fn actions(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some(action) = self.session.poll_action() {
            actions.push(match action {
                Action::Transmit(image) => {
                    Action::Transmit(Image::from(Bytes::from([image.head, image.tail].concat())))
                }
                other @ (Action::Authenticate { .. }
                | Action::Publish { .. }
                | Action::Subscribe { .. }
                | Action::Unsubscribe { .. }
                | Action::Settle { .. }
                | Action::Commit { .. }
                | Action::CatchUp { .. }
                | Action::Pace { .. }
                | Action::Close(_)) => other,
            });
        }
        actions
    }

    /// The session has ended with this ERROR and nothing else.
    #[track_caller]
    pub(super) fn assert_ended(&mut self, headers: &str, body: &str, reason: CloseReason) {
        assert_eq!(self.actions(), [error(headers, body), Action::Close(reason)]);
        assert!(self.session.is_closed() && !self.session.wants_read());
        assert_eq!(self.session.poll_timeout(), None);
        self.send("SEND\ndestination:/topic/a\n\n\0");
        self.sleep(1_000_000);
        assert_eq!(self.actions(), []);
    }
}

pub(super) fn transmit(text: &str) -> Action {
    Action::Transmit(Image::from(Bytes::copy_from_slice(text.as_bytes())))
}

pub(super) fn receipt(id: &str) -> Action {
    transmit(&format!("RECEIPT\nreceipt-id:{id}\n\n\0"))
}

/// An ERROR; `headers` are the first lines of it.
pub(super) fn error(headers: &str, body: &str) -> Action {
    transmit(&format!("ERROR\n{headers}\ncontent-type:text/plain\ncontent-length:{}\n\n{body}\0", body.len()))
}

pub(super) fn publication(destination: &str, headers: &[(&str, &str)], body: &str) -> Publication {
    Publication {
        destination: Destination::parse(destination).unwrap(),
        headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

pub(super) fn publish(ticket: u64, destination: &str, body: &str) -> Action {
    Action::Publish { ticket: Ticket(ticket), publication: publication(destination, &[], body) }
}

pub(super) fn subscription(id: u32, name: &str, destination: &str) -> Subscription {
    let destination = Destination::parse(destination).unwrap();
    Subscription { name: name.into(), ..Subscription::new(SubscriptionId(id), destination) }
}

pub(super) fn subscribe(ticket: u64, subscription: Subscription) -> Action {
    Action::Subscribe { ticket: Ticket(ticket), subscription: Box::new(subscription) }
}

pub(super) fn settings() -> Settings {
    Settings {
        limits: Limits {
            command_bytes: 32,
            headers: 16,
            header_line_bytes: 300,
            head_bytes: 1000,
            body_bytes: 1000,
            unconnected_frame_bytes: 500,
            subscriptions: 3,
            unacked: 4,
            transactions: 2,
            transaction_actions: 3,
            transaction_bytes: 200,
            open_tickets: 4,
        },
        heart_beat_send: Duration::from_secs(10),
        heart_beat_receive: Duration::from_secs(10),
        heart_beat_tolerance: 2.0,
        connect_timeout: Duration::from_secs(10),
        disconnect_timeout: Duration::from_secs(1),
        strict_host: false,
        hosts: Vec::new(),
        refusals: Refusals::Soft,
        encodes_binary: false,
        server: Some("stompbox/0".into()),
    }
}

#[expect(clippy::disallowed_methods, reason = "any moment will do; none is compared with the clock")]
fn epoch() -> Instant {
    Instant::now()
}
