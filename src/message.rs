//! The nouns that every layer shares: destinations, messages, deliveries, principals.
//!
//! Nothing here knows a protocol, a socket or a task. [`Framing`] is how a transport
//! wraps octets; it stands here so that a session can build a finished [`Image`] without
//! naming the transport it will leave by.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

mod images;
mod principal;

pub use images::{DIALECTS, FRAMINGS, Framing, Image, ImageCache, Making, PLAIN_FRAMINGS, Plain, Tail};
pub use principal::{Credentials, Grant, Operation, Principal, User};

/// A destination name: 1 to 255 octets of UTF-8 without control characters, beginning with `/`.
///
/// Cheap to clone. Whether a name is a topic, a handler of the server or unknown is
/// [`Destination::kind`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination(Arc<str>);

impl Destination {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// A name that is empty, too long, holds a control character or does not begin with `/`.
    pub fn parse(name: &str) -> Result<Self, DestinationError> {
        if name.is_empty() {
            return Err(DestinationError::Empty);
        }
        if name.len() > MAX_DESTINATION_BYTES {
            return Err(DestinationError::TooLong { size: name.len() });
        }
        if let Some(at) = name.find(char::is_control) {
            return Err(DestinationError::ControlCharacter { at });
        }
        if !name.starts_with('/') {
            return Err(DestinationError::NoLeadingSlash);
        }
        Ok(Self(name.into()))
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the name's first word makes of it.
    pub fn kind(&self) -> DestinationKind {
        let rest = &self.0[1..];
        let (first, name) = rest.split_once('/').unwrap_or((rest, ""));
        if name.is_empty() {
            return DestinationKind::Unknown;
        }
        match first {
            "topic" => DestinationKind::Topic,
            "queue" => DestinationKind::Queue,
            "temp-queue" | "temp-topic" => DestinationKind::TempQueue,
            "user" => DestinationKind::User,
            "app" => DestinationKind::App,
            _ => DestinationKind::Unknown,
        }
    }

    /// The name as its receiver knows it: of `/user/WHO/queue/NAME` and `/temp-queue/KEY/NAME`
    /// the second word is left out, since it only says whose it is.
    pub fn shown(&self) -> Cow<'_, str> {
        let (first, second) = self.shown_parts();
        if second.is_empty() { first.into() } else { [first, second].concat().into() }
    }

    fn shown_parts(&self) -> (&str, &str) {
        if !matches!(self.kind(), DestinationKind::User | DestinationKind::TempQueue) {
            return (&self.0, "");
        }
        let word = self.0[1..].find('/').map_or(self.0.len(), |at| at + 1);
        match self.0.get(word + 1..).and_then(|rest| rest.find('/')) {
            Some(at) => (&self.0[..word], &self.0[word + 1 + at..]),
            None => (&self.0, ""),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What a destination means to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DestinationKind {
    /// `/topic/NAME`: every subscriber gets each message.
    Topic,
    /// `/queue/NAME`: each message goes to one subscriber, and waits where there is none.
    Queue,
    /// `/temp-queue/NAME`, for clients of ActiveMQ also `/temp-topic/NAME`: private to a session.
    TempQueue,
    /// `/user/queue/NAME`: all sessions of one user.
    User,
    /// `/app/NAME`: the server's own handlers.
    App,
    /// Anything else; refused with the list of what is allowed.
    Unknown,
}

/// Why a destination name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// The name was empty.
    #[error("a destination must not be empty")]
    Empty,
    /// The name was longer than [`MAX_DESTINATION_BYTES`].
    #[error("the destination is {size} octets long; at most {MAX_DESTINATION_BYTES} are allowed")]
    TooLong {
        /// Its length in octets.
        size: usize,
    },
    /// The name held a control character.
    #[error("the destination holds a control character at octet {at}")]
    ControlCharacter {
        /// The offset in octets.
        at: usize,
    },
    /// The name did not begin with a slash.
    #[error("a destination begins with /, as in /topic/NAME or /app/NAME")]
    NoLeadingSlash,
}

/// The longest destination name, in octets.
pub const MAX_DESTINATION_BYTES: usize = 255;

/// A message's number, unique in this process's life and rising in the order of publishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub u64);

/// A subscription's number within its session: never used twice there, so that a late
/// delivery cannot reach a later subscription that took over the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(pub u32);

/// One header: name and value, unescaped.
pub type Header = (Box<str>, Box<str>);

/// What a publisher hands over, before the broker gave it a number and a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Where to.
    pub destination: Destination,
    /// The sender's own headers, in its order, each name once; without `destination`,
    /// `content-length`, `receipt`, `transaction`.
    pub headers: Vec<Header>,
    /// The body; octets, never assumed to be UTF-8.
    pub body: Bytes,
}

impl Publication {
    /// The value of the first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }
}

/// What the broker routes: immutable, shared by all who receive it.
pub struct Message {
    /// Its number.
    pub id: MessageId,
    /// Where it went.
    pub destination: Destination,
    /// The sender's headers.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Bytes,
    /// When the broker took it, in milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// When it is no longer worth delivering, in milliseconds since the Unix epoch.
    pub expires_at_ms: Option<u64>,
    /// The finished wire images that sessions share.
    pub images: ImageCache,
    is_text: OnceLock<bool>,
    position: AtomicU64,
    view: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Message {
    /// Makes a message of a publication.
    pub fn new(id: MessageId, publication: Publication, timestamp_ms: u64, expires_at_ms: Option<u64>) -> Self {
        Self {
            id,
            destination: publication.destination,
            headers: publication.headers,
            body: publication.body,
            timestamp_ms,
            expires_at_ms,
            images: ImageCache::default(),
            is_text: OnceLock::new(),
            position: AtomicU64::new(0),
            view: OnceLock::new(),
        }
    }

    /// Its number among the messages that are kept for those who were away; 0: it is not.
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// Numbers it, before any shard has it.
    pub fn set_position(&self, position: u64) {
        self.position.store(position, Ordering::Relaxed);
    }

    /// What a protocol reads in the body, worked out once for all who receive it. The first kind
    /// of view that is asked for is kept; another one is `None`.
    pub fn view<T: Any + Send + Sync>(&self, read: impl FnOnce(&Self) -> T) -> Option<&T> {
        self.view.get_or_init(|| Box::new(read(self))).downcast_ref()
    }

    /// The value of the first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }

    /// Whether the body is UTF-8; looked at once per message.
    pub fn is_text(&self) -> bool {
        *self.is_text.get_or_init(|| std::str::from_utf8(&self.body).is_ok())
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} to {}, {} octets)", self.id.0, self.destination, self.body.len())
    }
}

fn find_header<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| &**n == name).map(|(_, value)| &**value)
}

/// A message on its way to one subscription.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Whose.
    pub subscription: SubscriptionId,
    /// What.
    pub message: Arc<Message>,
    /// Whether it is a retained value, sent because the subscription is new.
    pub retained: bool,
    /// How many messages of this subscription were dropped right before this one.
    pub dropped: u32,
    /// For a queue's message, which time it is delivered, from 1; 0 for all others.
    pub count: u32,
}

/// What a subscription does when its session's mailbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Overflow {
    /// The session is closed as a slow consumer.
    #[default]
    Close,
    /// The oldest waiting message of the subscription makes room.
    DropOldest,
    /// At most one message per destination waits: the newest.
    Latest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_of_255_octets_is_taken_and_one_of_256_is_not() {
        let name = |size: usize| format!("/topic/{}", "x".repeat(size - "/topic/".len()));
        assert!(Destination::parse(&name(255)).is_ok());
        assert_eq!(Destination::parse(&name(256)), Err(DestinationError::TooLong { size: 256 }));
    }

    #[test]
    fn a_destination_is_not_empty_has_a_leading_slash_and_no_control_character() {
        assert_eq!(Destination::parse(""), Err(DestinationError::Empty));
        assert_eq!(Destination::parse("topic/a"), Err(DestinationError::NoLeadingSlash));
        assert_eq!(Destination::parse("/topic/a\nb"), Err(DestinationError::ControlCharacter { at: 8 }));
    }

    #[test]
    fn the_first_word_makes_the_kind() {
        let kind = |name| Destination::parse(name).map(|d| d.kind());
        assert_eq!(kind("/topic/a"), Ok(DestinationKind::Topic));
        assert_eq!(kind("/app/a"), Ok(DestinationKind::App));
        assert_eq!(kind("/topic/"), Ok(DestinationKind::Unknown));
        assert_eq!(kind("/topical/a"), Ok(DestinationKind::Unknown));
        assert_eq!(kind("/queue/a"), Ok(DestinationKind::Queue));
        assert_eq!(kind("/temp-queue/a"), Ok(DestinationKind::TempQueue));
        assert_eq!(kind("/temp-topic/a"), Ok(DestinationKind::TempQueue));
        assert_eq!(kind("/user/queue/a"), Ok(DestinationKind::User));
    }

    #[test]
    fn a_private_destination_is_shown_without_its_owner() {
        for (name, shown) in [
            ("/topic/a/b", "/topic/a/b"),
            ("/user/ann/queue/a/b", "/user/queue/a/b"),
            ("/temp-queue/0123/a", "/temp-queue/a"),
            ("/temp-queue/a", "/temp-queue/a"),
            ("/temp-topic/0123/a", "/temp-topic/a"),
        ] {
            assert_eq!(Destination::parse(name).unwrap().shown(), shown);
        }
    }

    #[test]
    fn credentials_do_not_show_their_secret() {
        let password = Credentials::Password { login: "ann".into(), passcode: "s3cret".into() };
        let token = Credentials::Token("s3cret".into());
        assert!(!format!("{password:?} {token:?}").contains("s3cret"));
    }
}
