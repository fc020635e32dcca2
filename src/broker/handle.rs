//! [`Broker`]: what sessions, the REST API and the feeds call.

mod sending;

use std::collections::HashMap;
use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tracing::info;

pub use self::sending::Admitted;
use super::access::Access;
use super::acl::Decision;
use super::app::AppHandler;
use super::auth::{Attempt, AuthError, Identity, Proof};
use super::history::{self, History};
use super::inbox::{self, Inbox};
use super::interest::{Interest, Shards};
use super::mailbox;
use super::pace::Paces;
use super::pattern::{Pattern, Separators};
use super::post::Post;
use super::queue::{self, Full, Ledger};
use super::refusals::{Line, Refusals};
use super::selector::SelectorError;
use super::stats::Stats;
use super::topic::{Retained, RetainedLimits};
use crate::message::{Destination, DestinationKind, Message, MessageId, Operation, Principal, Publication};

/// The broker. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

struct Inner {
    interest: Interest,
    /// Interest of those whose transports carry text only, where that refuses other messages.
    text_only: Interest,
    retained: Retained,
    history: History,
    paces: Arc<Paces>,
    inboxes: Box<[Inbox<Arc<Message>>]>,
    posts: Box<[Inbox<Post>]>,
    queues: queue::Settings,
    ledger: Arc<Ledger>,
    handlers: HashMap<&'static str, Arc<dyn AppHandler>>,
    /// What only the server publishes on.
    own_topics: Vec<Destination>,
    access: ArcSwap<Access>,
    reloads: watch::Sender<()>,
    stats: Stats,
    refusals: Refusals,
    sequence: AtomicU64,
    mailbox_limits: mailbox::Limits,
    separators: Separators,
    refuses_binary: bool,
}

/// What a broker needs to know from the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How many shards there are, 1 to [`Shards::MAX`].
    pub shards: usize,
    /// The bounds of each shard's inbox.
    pub inbox: inbox::Limits,
    /// The bounds of each session's mailbox.
    pub mailbox: mailbox::Limits,
    /// The bounds of the retained values.
    pub retained: RetainedLimits,
    /// The bounds of the history of topics.
    pub history: history::Limits,
    /// The topics that are kept from the beginning.
    pub kept_topics: Vec<Destination>,
    /// What all queues have in common.
    pub queues: queue::Settings,
    /// What parts the words of a name.
    pub separators: Separators,
    /// Whether a SEND that is not UTF-8 is refused where a subscriber's transport carries text
    /// only. Default true.
    pub refuses_binary: bool,
}

/// Why the broker did not do what was asked. The text is what the client reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// The destination is of no known kind.
    #[error(
        "unknown destination {0}; allowed are /topic/NAME, /queue/NAME, /app/NAME, /user/queue/NAME and \
         /temp-queue/NAME"
    )]
    UnknownDestination(Destination),
    /// `/app/NAME` with a name that nobody handles.
    #[error("nothing handles {destination}; there are {known}")]
    UnknownHandler {
        /// What was asked for.
        destination: Destination,
        /// What there is, parted by commas.
        known: String,
    },
    /// The rules do not allow it.
    #[error("{principal} may not {what} {destination}")]
    NotAllowed {
        /// Who.
        principal: Principal,
        /// `subscribe to` or `send to`.
        what: &'static str,
        /// Where.
        destination: Destination,
    },
    /// The credentials of a SUBSCRIBE are not good. Says no more, on purpose.
    #[error("the credentials were not accepted")]
    AccessRefused,
    /// Too many credentials wait to be checked, or of that address have failed.
    #[error("too many logins; try again later")]
    TooManyLogins,
    /// The credentials of a SUBSCRIBE cannot be checked now.
    #[error("the credentials cannot be checked now; try again later")]
    LoginsBusy,
    /// A wildcard in a SEND.
    #[error("{0} is a pattern; a message goes to one destination")]
    SendToPattern(Destination),
    /// A header of the broker's own with a value it cannot have.
    #[error("header {name}:{value} is not good; allowed is {allowed}")]
    BadHeader {
        /// The header's name.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// The retained values' bounds are reached.
    #[error("no room for another retained value; send one with an empty body to forget it")]
    RetainedFull,
    /// A wildcard in a SUBSCRIBE to a queue.
    #[error("{0} is a pattern; a queue is subscribed to by its name")]
    QueuePattern(Destination),
    /// A queue's name that leaves no room for that of its dead-letter queue.
    #[error("{0} is too long for a queue; at most 251 octets are allowed")]
    QueueName(Destination),
    /// The queue is full.
    #[error("{0}")]
    QueueFull(#[from] Full),
    /// More prefetched messages than a session may have unacknowledged.
    #[error(
        "the session's subscriptions may have {max} unacknowledged messages (stomp.limits.unacked); none are left for this one"
    )]
    NoPrefetch {
        /// The limit.
        max: usize,
    },
    /// A pattern of more words than one may have.
    #[error("{pattern} has {count} words; a pattern may have {max}")]
    PatternTooLong {
        /// What was asked for.
        pattern: Destination,
        /// How many it has.
        count: usize,
        /// Allowed.
        max: usize,
    },
    /// More wildcards for any words, with others behind them, than a session's patterns may have.
    #[error(
        "{pattern}: the patterns of this session would have {count} wildcards for any words (#, **) before other \
         words; at most {max} are allowed, in all"
    )]
    TooManyBranches {
        /// What was asked for.
        pattern: Destination,
        /// How many they would be.
        count: usize,
        /// Allowed.
        max: usize,
    },
    /// `/user/…` in a form there is not.
    #[error(
        "{0} is not a user's destination; SUBSCRIBE to /user/queue/NAME or /user/topic/NAME for your own, SEND to \
         /user/WHO/queue/NAME or /user/WHO/topic/NAME"
    )]
    BadUserDestination(Destination),
    /// `/user/…` without a name.
    #[error("{0} belongs to a user, and this connection has none; CONNECT with credentials")]
    NeedsUser(Destination),
    /// `/temp-queue/…` in a form there is not.
    #[error("{0} is not a temporary queue of this session; one is /temp-queue/NAME, NAME one word")]
    BadTempQueue(Destination),
    /// There is a subscription to the temporary queue already.
    #[error("{0} has a subscription of this session already")]
    TempQueueTaken(Destination),
    /// A private destination that is too long in full.
    #[error("{0} is too long with its owner's name; at most 255 octets are allowed")]
    TooLong(Destination),
    /// A selector that cannot be read.
    #[error("{0}")]
    Selector(#[from] SelectorError),
    /// A SEND to a topic on which the server itself publishes.
    #[error("no client may send to {0}: the server itself publishes on it")]
    OwnTopic(Destination),
    /// A SUBSCRIBE to a handler that answers none.
    #[error("{0}")]
    NoAnswer(String),
    /// A body that a subscriber's transport cannot carry.
    #[error(
        "the body is not UTF-8, and {0} has a subscriber by SockJS, which carries text only; send text, or have the \
         server set sockjs.binary"
    )]
    NotText(Destination),
    /// A handler did not like the body.
    #[error("{0}")]
    BadBody(String),
}

impl BrokerError {
    /// The nearest HTTP status: what a soft refusal and the REST API say.
    pub fn status(&self) -> u16 {
        match self {
            Self::UnknownDestination(_) | Self::UnknownHandler { .. } | Self::NoAnswer(_) => 404,
            Self::AccessRefused | Self::NotAllowed { .. } | Self::NeedsUser(_) | Self::OwnTopic(_) => 403,
            Self::SendToPattern(_)
            | Self::BadHeader { .. }
            | Self::BadBody(_)
            | Self::QueuePattern(_)
            | Self::QueueName(_)
            | Self::NoPrefetch { .. }
            | Self::TooManyBranches { .. }
            | Self::PatternTooLong { .. }
            | Self::BadUserDestination(_)
            | Self::BadTempQueue(_)
            | Self::TempQueueTaken(_)
            | Self::TooLong(_)
            | Self::Selector(_) => 400,
            Self::NotText(_) => 415,
            Self::TooManyLogins => 429,
            Self::LoginsBusy | Self::QueueFull(_) => 503,
            Self::RetainedFull => 507,
        }
    }
}

/// Why a publication was not taken.
#[derive(Debug)]
pub enum PublishError {
    /// It never will be.
    Refused(BrokerError),
    /// A shard's inbox is full: hand it over again after [`Broker::room`].
    Busy(Publication),
}

/// Where a subscription leads.
pub enum Target {
    /// To a topic, or a pattern over topics; so do a user's and a temporary queue's names.
    Topic,
    /// To a queue.
    Queue,
    /// To a handler of the server, which answers once.
    App(Arc<dyn AppHandler>),
}

impl Broker {
    /// Makes a broker with the handlers behind `/app/NAME`.
    pub fn new(settings: Settings, access: Access, handlers: HashMap<&'static str, Arc<dyn AppHandler>>) -> Self {
        let shards = settings.shards.clamp(1, Shards::MAX);
        Self(Arc::new(Inner {
            interest: Interest::new(settings.separators),
            text_only: Interest::new(settings.separators),
            retained: Retained::new(settings.retained, settings.separators),
            history: History::new(settings.history, &format!("{:x}", now_ms()), &settings.kept_topics),
            paces: Arc::default(),
            inboxes: (0..shards).map(|_| Inbox::new(settings.inbox)).collect(),
            posts: (0..shards).map(|_| Inbox::new(settings.inbox)).collect(),
            queues: settings.queues,
            ledger: Arc::new(Ledger::new(settings.queues.limits)),
            own_topics: handlers.values().filter_map(|handler| handler.own_topic().cloned()).collect(),
            handlers,
            access: ArcSwap::from_pointee(access),
            reloads: watch::Sender::new(()),
            stats: Stats::default(),
            refusals: Refusals::default(),
            sequence: AtomicU64::new(1),
            mailbox_limits: settings.mailbox,
            separators: settings.separators,
            refuses_binary: settings.refuses_binary,
        }))
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.0.stats
    }

    /// How many refusals are logged.
    pub fn refusals(&self) -> &Refusals {
        &self.0.refusals
    }

    /// The shards' interest; a shard notes its own there.
    pub fn interest(&self) -> &Interest {
        &self.0.interest
    }

    /// The interest of subscribers whose transports carry text only, if they make a difference.
    pub fn text_only(&self) -> Option<&Interest> {
        self.0.refuses_binary.then_some(&self.0.text_only)
    }

    /// A shard's inbox.
    pub fn inbox(&self, shard: usize) -> &Inbox<Arc<Message>> {
        &self.0.inboxes[shard]
    }

    /// What is said to a shard about queues.
    pub fn posts(&self, shard: usize) -> &Inbox<Post> {
        &self.0.posts[shard]
    }

    /// The shard where a queue lives.
    pub fn home(&self, queue: &Destination) -> usize {
        let mut hasher = DefaultHasher::new();
        queue.hash(&mut hasher);
        usize::try_from(hasher.finish() % self.0.posts.len() as u64).unwrap_or_default()
    }

    /// Posts a request to its queue's home, whether there is room or not: for SENDs
    /// [`Broker::has_room`] is asked before; the others are bounded by what was delivered.
    pub fn post_request(&self, request: queue::Request) {
        self.posts(self.home(request.queue())).post(Post::Request(request));
    }

    /// What all queues have in common.
    pub fn queue_settings(&self) -> &queue::Settings {
        &self.0.queues
    }

    /// The depths of all queues.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.0.ledger
    }

    /// The last messages of the topics that are kept.
    pub fn history(&self) -> &History {
        &self.0.history
    }

    /// How often listeners want the system's gauges.
    pub fn paces(&self) -> &Arc<Paces> {
        &self.0.paces
    }

    /// The bounds of each session's mailbox.
    pub fn mailbox_limits(&self) -> &mailbox::Limits {
        &self.0.mailbox_limits
    }

    /// What parts the words of a name.
    pub fn separators(&self) -> Separators {
        self.0.separators
    }

    /// Takes `destination` as a pattern if it is one.
    pub fn pattern(&self, destination: &Destination) -> Option<Pattern> {
        Pattern::of(destination, self.0.separators)
    }

    /// Who somebody is that wants to come in; counts what is refused.
    ///
    /// # Errors
    /// The credentials are not good, missing, or cannot be checked now.
    pub fn authenticate(
        &self,
        attempt: Attempt,
    ) -> impl Future<Output = Result<Identity, AuthError>> + Send + use<> + 'static {
        let broker = self.clone();
        async move {
            let checked = loop {
                let access = broker.0.access.load_full();
                let checked = access.authenticate(&attempt).await;
                // Who was checked by settings that have been exchanged meanwhile is checked again.
                if Arc::ptr_eq(&access, &broker.0.access.load()) {
                    break checked;
                }
            };
            match checked {
                Ok(_) => {}
                Err(AuthError::Refused) => broker.stats().logins_refused.add(1),
                Err(AuthError::Busy | AuthError::Unavailable) => broker.stats().logins_unchecked.add(1),
                Err(AuthError::TooMany { .. }) => {
                    broker.stats().logins_unchecked.add(1);
                    broker.stats().limits.add("failures_per_minute");
                }
            }
            checked
        }
    }

    /// Whether `principal` may do that with a destination, a full name or, for
    /// [`Operation::Subscribe`], a pattern. What SENDs, SUBSCRIBEs, the REST API and the streams
    /// all go by.
    pub fn may(&self, principal: &Principal, operation: Operation, destination: &Destination) -> Decision {
        self.0.access.load().acl().decide(principal, operation, destination, self.0.separators)
    }

    /// Whether nobody can say who they are: then credentials give nothing.
    pub fn is_open(&self) -> bool {
        self.0.access.load().acl().open
    }

    /// Takes other users and rules from here on, and tells those who keep [`Broker::reloads`].
    pub fn reload(&self, access: Access) {
        self.0.access.store(Arc::new(access));
        self.0.reloads.send_replace(());
    }

    /// Notices each [`Broker::reload`] from now on.
    pub fn reloads(&self) -> watch::Receiver<()> {
        self.0.reloads.subscribe()
    }

    /// As [`Access::still`], by the users of now.
    pub fn still(&self, principal: &Principal, proof: Proof) -> Option<Principal> {
        self.0.access.load().still(principal, proof)
    }

    /// Where a subscription of `principal` to `destination`, a name or a pattern, leads.
    ///
    /// # Errors
    /// The destination is unknown or not allowed.
    pub fn subscribe_target(&self, principal: &Principal, destination: &Destination) -> Result<Target, BrokerError> {
        self.target(principal, Operation::Subscribe, destination)
    }

    /// The retained values that a new subscription to `destination` gets.
    pub fn retained(&self, destination: &Destination) -> Vec<Arc<Message>> {
        self.0.retained.of(destination, now_ms())
    }

    /// Forgets a topic's retained value.
    pub fn forget_retained(&self, destination: &Destination) {
        self.0.retained.forget(destination);
    }

    fn target(
        &self,
        principal: &Principal,
        operation: Operation,
        destination: &Destination,
    ) -> Result<Target, BrokerError> {
        let target = match destination.kind() {
            DestinationKind::Topic | DestinationKind::User | DestinationKind::TempQueue => Target::Topic,
            DestinationKind::Queue => Target::Queue,
            DestinationKind::App => Target::App(self.handler(destination)?),
            DestinationKind::Unknown => return Err(BrokerError::UnknownDestination(destination.clone())),
        };
        if operation == Operation::Send && self.0.own_topics.contains(destination) {
            return Err(BrokerError::OwnTopic(destination.clone()));
        }
        self.permit(principal, operation, destination)?;
        if matches!(target, Target::Queue) {
            if operation == Operation::Subscribe && self.pattern(destination).is_some() {
                return Err(BrokerError::QueuePattern(destination.clone()));
            }
            if !queue::is_name_short_enough(destination) {
                return Err(BrokerError::QueueName(destination.clone()));
            }
        }
        Ok(target)
    }

    /// Whether every shard that a message to `destination` goes to has room for it.
    pub fn has_room(&self, destination: &Destination) -> bool {
        let destination = self.fed(destination);
        match destination.kind() {
            DestinationKind::Queue => self.0.posts[self.home(destination)].has_room(),
            DestinationKind::Topic
            | DestinationKind::User
            | DestinationKind::TempQueue
            | DestinationKind::App
            | DestinationKind::Unknown => {
                self.0.interest.of(destination).iter().all(|shard| self.0.inboxes[shard].has_room())
            }
        }
    }

    /// Makes a message that goes to one subscriber only, outside any topic.
    pub fn private_message(&self, publication: Publication) -> Arc<Message> {
        Arc::new(Message::new(self.next_id(), publication, now_ms(), None))
    }

    /// Resolves when every shard that wants `destination` has room.
    pub fn room(&self, destination: Destination) -> impl Future<Output = ()> + Send + 'static {
        let broker = self.clone();
        let destination = self.fed(&destination).clone();
        async move {
            while destination.kind() == DestinationKind::Queue {
                let posts = &broker.0.posts[broker.home(&destination)];
                let mut room = std::pin::pin!(posts.room());
                room.as_mut().enable();
                if posts.has_room() {
                    return;
                }
                room.await;
            }
            loop {
                let shards = broker.0.interest.of(&destination);
                let Some(full) = shards.iter().find(|shard| !broker.0.inboxes[*shard].has_room()) else { return };
                let inbox = &broker.0.inboxes[full];
                let mut room = std::pin::pin!(inbox.room());
                room.as_mut().enable();
                if !inbox.has_room() {
                    room.await;
                }
            }
        }
    }

    /// Where what is sent to `destination` goes on to.
    fn fed<'a>(&'a self, destination: &'a Destination) -> &'a Destination {
        match destination.kind() {
            DestinationKind::App => {
                self.0.handlers.get(destination.as_str()).and_then(|handler| handler.fed_topic()).unwrap_or(destination)
            }
            DestinationKind::Topic
            | DestinationKind::Queue
            | DestinationKind::User
            | DestinationKind::TempQueue
            | DestinationKind::Unknown => destination,
        }
    }

    fn next_id(&self) -> MessageId {
        MessageId(self.0.sequence.fetch_add(1, Ordering::SeqCst))
    }

    fn handler(&self, destination: &Destination) -> Result<Arc<dyn AppHandler>, BrokerError> {
        self.0.handlers.get(destination.as_str()).cloned().ok_or_else(|| {
            let mut known: Vec<&str> = self.0.handlers.keys().copied().collect();
            known.sort_unstable();
            BrokerError::UnknownHandler { destination: destination.clone(), known: known.join(", ") }
        })
    }

    /// As [`Broker::may`]; a refusal is counted, logged with what decided, and answered.
    ///
    /// # Errors
    /// It is not allowed.
    pub fn permit(
        &self,
        principal: &Principal,
        operation: Operation,
        destination: &Destination,
    ) -> Result<(), BrokerError> {
        let Decision { allowed, by } = self.may(principal, operation, destination);
        if allowed {
            return Ok(());
        }
        self.0.stats.rules_refused.add(1);
        if let Some(Line { left_out }) = self.0.refusals.line() {
            info!(%principal, %operation, %destination, rule = %by, left_out, "refused by the rules");
        }
        let what = match operation {
            Operation::Subscribe => "subscribe to",
            Operation::Send => "send to",
            Operation::App => "call",
        };
        Err(BrokerError::NotAllowed { principal: principal.clone(), what, destination: destination.clone() })
    }
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
