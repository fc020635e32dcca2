//! [`Condition`]: what a subscriber wants of the messages of a destination.

use std::fmt;

use crate::message::Message;

/// A condition on messages that many subscribers may share: a shard asks it once a message for
/// all whose conditions have the same text.
pub trait Condition: fmt::Debug + Send + Sync {
    /// Whether the message is wanted.
    fn matches(&self, message: &Message) -> bool;

    /// The condition in one way of writing: those that mean the same may differ, those that do
    /// not must.
    fn text(&self) -> String;
}
