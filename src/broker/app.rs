//! The server's own handlers behind `/app/NAME`.

use bytes::Bytes;

use super::BrokerError;
use crate::message::{Destination, Principal, Publication};

/// What stands behind one `/app/NAME`.
///
/// Called on the sender's shard, in the order of its frames; it must answer at once.
pub trait AppHandler: Send + Sync {
    /// Takes a SEND.
    ///
    /// # Errors
    /// What the sender is told, in the ERROR that ends its connection.
    fn handle_send(&self, principal: &Principal, publication: &Publication) -> Result<AppEffect, BrokerError>;

    /// Whether [`AppHandler::handle_send`], called at once after this, takes all of it: a
    /// transaction asks before anything of it is done.
    ///
    /// # Errors
    /// What the sender is told.
    fn check_send(&self, principal: &Principal, publication: &Publication) -> Result<(), BrokerError>;

    /// Answers a SUBSCRIBE with one message.
    ///
    /// # Errors
    /// What the subscriber is told; where there is never an answer, [`BrokerError::NoAnswer`].
    fn handle_subscribe(&self, principal: &Principal) -> Result<AppAnswer, BrokerError>;

    /// The topic on which the server itself publishes what this handler is about: clients
    /// subscribe to it, and none may send to it. Default: there is none.
    fn own_topic(&self) -> Option<&Destination> {
        None
    }

    /// The topic that its SENDs go on to: they wait while that has no room. Default: there is none.
    fn fed_topic(&self) -> Option<&Destination> {
        None
    }
}

/// What a SEND to a handler causes beyond itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppEffect {
    /// Nothing.
    None,
    /// Messages to all who subscribe to their topics.
    Publish(Vec<Publication>),
    /// The sender's own subscriptions to that destination get a message, and nobody else.
    Deliver(Destination, AppAnswer),
}

/// One message for one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppAnswer {
    /// Its `content-type`.
    pub content_type: &'static str,
    /// Its body.
    pub body: Bytes,
}
