//! What shards say to each other about queues.

use super::inbox::Item;
use super::queue::{Asker, Consumer, Request, message_bytes};
use crate::message::Delivery;

/// One thing said, in the order of saying.
#[derive(Debug)]
pub enum Post {
    /// To a queue's home.
    Request(Request),
    /// To a consumer's shard; at most as many as the consumer has room for.
    Deliver(Consumer, Delivery),
    /// To an asker's shard; at most one for each open ticket.
    Answer(Asker),
}

impl Item for Post {
    fn bytes(&self) -> usize {
        match self {
            Self::Request(Request::Send { message, .. }) => message_bytes(message),
            Self::Request(_) | Self::Deliver(..) | Self::Answer(_) => 0,
        }
    }
}
