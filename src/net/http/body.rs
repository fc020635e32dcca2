//! Bodies of requests and responses as the server watches them.

use std::error::Error;
use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

use super::io::Busy;
use crate::net::limits::Limiter;

/// The body of a request, which has to come within a time.
pub struct RequestBody {
    incoming: Incoming,
    limit: Duration,
    limiter: Limiter,
    /// Runs from the first octets that had to be waited for.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, limit: Duration, limiter: Limiter) -> Self {
        Self { incoming, limit, limiter, deadline: None }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let body = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut body.incoming).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(RequestBodyError::Broken)));
        }
        let deadline = body.deadline.get_or_insert_with(|| Box::pin(sleep(body.limit)));
        match deadline.as_mut().poll(cx) {
            Poll::Ready(()) => {
                body.limiter.note("http_body_timeout");
                Poll::Ready(Some(Err(RequestBodyError::TooSlow { limit: body.limit })))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Why a request's body did not come whole.
#[derive(Debug, thiserror::Error)]
pub enum RequestBodyError {
    /// The connection broke, or the peer broke HTTP's rules.
    #[error("the body broke off: {0}")]
    Broken(hyper::Error),
    /// It took longer than it may.
    #[error("the body took longer than {} ms", limit.as_millis())]
    TooSlow {
        /// The limit.
        limit: Duration,
    },
}

impl RequestBodyError {
    /// Whether that error, or what it came from, says that a body took too long.
    pub fn is_too_slow(error: &(dyn Error + 'static)) -> bool {
        let mut next = Some(error);
        while let Some(error) = next {
            if matches!(error.downcast_ref::<Self>(), Some(Self::TooSlow { .. })) {
                return true;
            }
            next = error.source();
        }
        false
    }
}

/// A response's body, and the sign that its request is still under way.
pub(super) struct ResponseBody<B> {
    kind: Kind<B>,
    _busy: Busy,
}

enum Kind<B> {
    Handlers(B),
    Own(Option<Bytes>),
}

impl<B> ResponseBody<B> {
    pub(super) fn new(body: B, busy: Busy) -> Self {
        Self { kind: Kind::Handlers(body), _busy: busy }
    }

    /// The server's own words.
    pub(super) fn own(text: &'static str, busy: Busy) -> Self {
        Self { kind: Kind::Own(Some(Bytes::from_static(text.as_bytes()))), _busy: busy }
    }
}

impl<B: Body<Data: From<Bytes>> + Unpin> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match &mut self.kind {
            Kind::Handlers(body) => Pin::new(body).poll_frame(cx),
            Kind::Own(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text.into())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Handlers(body) => body.is_end_stream(),
            Kind::Own(text) => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Handlers(body) => body.size_hint(),
            Kind::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestBody(within {:?})", self.limit)
    }
}
