//! [`Timer`]: a deadline that moves often.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

use super::clock;

/// One timer of the runtime, armed anew only where the deadline came nearer: that heart-beats
/// move on with every write costs nothing.
#[derive(Default)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: Option<Instant>,
}

impl Timer {
    /// Ready when the deadline is there; never without one.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        loop {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
            if self.armed.is_none_or(|armed| deadline < armed) {
                sleep.as_mut().reset(deadline.into());
                self.armed = Some(deadline);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.armed = None;
            if deadline <= clock::now() {
                return Poll::Ready(());
            }
        }
    }
}
