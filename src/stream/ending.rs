//! [`Ending`]: why a session of the JSON protocols ends, as its client reads it.

use std::time::Duration;

use crate::session::{CloseReason, REVOKED, Trouble};

/// What a client is told last, and how the connection closes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ending {
    /// The error's `code`.
    pub(super) code: &'static str,
    /// The error's `message`.
    pub(super) message: String,
    /// What the close code says.
    pub(super) reason: CloseReason,
}

impl Ending {
    /// A client that sent nothing for that long.
    pub(super) fn idle(after: Duration) -> Self {
        let seconds = after.as_secs();
        let message = format!("nothing came for {seconds} seconds; a ping now and then keeps the connection open");
        Self { code: "IDLE_TIMEOUT", message, reason: CloseReason::Disconnect }
    }
}

impl From<Trouble> for Ending {
    fn from(trouble: Trouble) -> Self {
        let (code, message, reason) = match trouble {
            Trouble::SlowConsumer { messages, bytes } => {
                let message = format!("{messages} messages of {bytes} octets wait for you: you read too slowly");
                ("SLOW_CONSUMER", message, CloseReason::PolicyViolation)
            }
            Trouble::Exceeded(exceeded) => (exceeded.code(), exceeded.to_string(), CloseReason::PolicyViolation),
            Trouble::ShuttingDown => {
                let message = "the server is shutting down; connect again later".to_owned();
                ("SHUTTING_DOWN", message, CloseReason::TryAgainLater)
            }
            Trouble::Revoked => ("UNAUTHORIZED", REVOKED.to_owned(), CloseReason::PolicyViolation),
            Trouble::Expired => {
                let message = "the token has expired; connect again with a new one".to_owned();
                ("TOKEN_EXPIRED", message, CloseReason::PolicyViolation)
            }
        };
        Self { code, message, reason }
    }
}
