//! The body of a response: SockJS's own, or warp's.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::sockjs::octets::Octets;
use crate::sockjs::service;

/// What hyper writes.
pub enum Body {
    /// Frames in shared pieces, or a fixed body.
    SockJs(service::Body),
    /// All else.
    Warp(Pin<Box<dyn http_body::Body<Data = Bytes, Error = warp::Error>>>),
}

impl Body {
    /// One that is there already.
    pub(super) fn whole(octets: Bytes) -> Self {
        Self::SockJs(service::Body::Whole(octets))
    }
}

impl http_body::Body for Body {
    type Data = Octets;
    type Error = warp::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Octets>, warp::Error>>> {
        match self.get_mut() {
            Self::SockJs(body) => {
                let frame = Pin::new(body).poll_frame(cx);
                frame.map(|frame| frame.map(|frame| frame.map_err(|never| match never {})))
            }
            Self::Warp(body) => {
                let frame = body.as_mut().poll_frame(cx);
                frame.map(|frame| frame.map(|frame| frame.map(|frame| frame.map_data(Octets::from))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::SockJs(body) => body.is_end_stream(),
            Self::Warp(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::SockJs(body) => body.size_hint(),
            Self::Warp(body) => body.size_hint(),
        }
    }
}
