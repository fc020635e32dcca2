//! [`EventIo`]: a response of Server-Sent Events as a session's transport.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

use crate::message::{Framing, Image};
use crate::net::io::{Close, Ended, Incoming, MessageIo, Written};
use crate::sockjs::octets::Octets;
use crate::sockjs::service::{Flow, Writer};
use crate::stream::EVENT_FRAMING;

/// The session's end of the response. What waits is written in one piece, of octets that all
/// listeners share; more is taken only when HTTP has taken that.
pub(super) struct EventIo(pub(super) Writer);

impl MessageIo for EventIo {
    fn framing(&self) -> &'static dyn Framing {
        &EVENT_FRAMING
    }

    fn transport(&self) -> &'static str {
        "event-stream"
    }

    fn try_write(&self, queue: &mut VecDeque<Image>) -> io::Result<Written> {
        if queue.is_empty() || !self.0.is_taken() {
            return Ok(Written { bytes: 0, is_blocked: !queue.is_empty(), is_cut: false });
        }
        let octets: Octets = queue.drain(..).flat_map(|image| [image.head, image.tail]).collect();
        let bytes = octets.len();
        self.0.write(octets);
        Ok(Written { bytes, is_blocked: false, is_cut: false })
    }

    fn withdraw(&self) {
        self.0.withdraw();
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.poll_flow(cx) {
            Flow::Waiting { .. } => Poll::Pending,
            Flow::Taken => Poll::Ready(Ok(())),
            Flow::Over { .. } => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn is_two_way(&self) -> bool {
        false
    }

    fn poll_read(&self, cx: &mut Context<'_>) -> Poll<Incoming> {
        match self.0.poll_flow(cx) {
            Flow::Waiting { .. } | Flow::Taken => Poll::Pending,
            Flow::Over { .. } => Poll::Ready(Incoming::Ended(Ended::Closed)),
        }
    }

    fn farewell(&self, _close: &Close, queue: &mut VecDeque<Image>) {
        self.0.write(queue.drain(..).flat_map(|image| [image.head, image.tail]).collect());
        self.0.end();
    }
}

impl Drop for EventIo {
    fn drop(&mut self) {
        self.0.end();
    }
}
