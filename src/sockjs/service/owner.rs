//! [`Owner`]: to whom a session belongs, so that whoever learns its name cannot take it over.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU64;

use http::{HeaderMap, header};

use crate::sockjs::Transport;

/// What a request tells about who sent it: keyed digests, so that no secret is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint {
    origin: Option<NonZeroU64>,
    authorization: Option<NonZeroU64>,
}

impl Fingerprint {
    pub(super) fn of(request: &HeaderMap, hasher: &RandomState) -> Self {
        let digest = |name| {
            let value = request.get(name)?;
            Some(NonZeroU64::new(hasher.hash_one(value.as_bytes())).unwrap_or(NonZeroU64::MIN))
        };
        Self { origin: digest(header::ORIGIN), authorization: digest(header::AUTHORIZATION) }
    }
}

/// Who opened a session, and how.
pub(super) struct Owner {
    pub(super) transport: Transport,
    /// Browsers send none with a GET to their page's own origin, so it may come with a later
    /// request; from then on it holds.
    origin: Cell<Option<NonZeroU64>>,
    authorization: Option<NonZeroU64>,
}

impl Owner {
    pub(super) fn new(transport: Transport, opener: Fingerprint) -> Self {
        Self { transport, origin: Cell::new(opener.origin), authorization: opener.authorization }
    }

    /// Whether a receiver may attach. The transport counts too: only a script or an iframe asks
    /// for another page without naming its origin, and must not do so for a session that was
    /// opened otherwise.
    pub(super) fn admits_receiver(&self, transport: Transport, from: Fingerprint) -> bool {
        let is_alike = transport == self.transport || names_origin(transport) && names_origin(self.transport);
        // The same page asks the same way: with an origin each time or never.
        let is_newly_named = self.origin.get().is_none() && from.origin.is_some();
        is_alike && !is_newly_named && self.admits(from)
    }

    /// Whether a request may send for the session. One without an origin is from no other page.
    pub(super) fn admits(&self, from: Fingerprint) -> bool {
        if from.authorization != self.authorization {
            return false;
        }
        match (self.origin.get(), from.origin) {
            (Some(own), Some(other)) => own == other,
            (None, Some(_)) => {
                self.origin.set(from.origin);
                true
            }
            (_, None) => true,
        }
    }
}

/// Whether a browser names the origin of a page that uses it from elsewhere.
fn names_origin(transport: Transport) -> bool {
    matches!(transport, Transport::Xhr | Transport::XhrStreaming | Transport::EventSource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_belongs_to_the_origin_authorization_and_transport_that_opened_it() {
        let owner = Owner::new(Transport::Xhr, of(Some("https://a"), Some("Bearer x")));
        assert!(owner.admits(of(Some("https://a"), Some("Bearer x"))));
        assert!(owner.admits(of(None, Some("Bearer x"))));
        assert!(!owner.admits(of(Some("https://b"), Some("Bearer x"))));
        assert!(!owner.admits(of(Some("https://a"), Some("Bearer y"))));
        assert!(!owner.admits(of(Some("https://a"), None)));
        assert!(owner.admits_receiver(Transport::Xhr, of(None, Some("Bearer x"))));
        assert!(owner.admits_receiver(Transport::XhrStreaming, of(None, Some("Bearer x"))));
        assert!(!owner.admits_receiver(Transport::Jsonp, of(None, Some("Bearer x"))));
        assert!(!owner.admits_receiver(Transport::HtmlFile, of(None, Some("Bearer x"))));
        let script = Owner::new(Transport::Jsonp, of(None, None));
        assert!(script.admits_receiver(Transport::Jsonp, of(None, None)));
        assert!(!script.admits_receiver(Transport::Xhr, of(None, None)));
        let anonymous = Owner::new(Transport::Xhr, of(None, None));
        assert!(!anonymous.admits(of(None, Some("Bearer x"))));
    }

    #[test]
    fn the_first_origin_holds() {
        let owner = Owner::new(Transport::EventSource, of(None, None));
        assert!(!owner.admits_receiver(Transport::EventSource, of(Some("https://b"), None)));
        assert!(owner.admits(of(Some("https://a"), None)));
        assert!(!owner.admits(of(Some("https://b"), None)));
        assert!(owner.admits(of(None, None)));
    }

    fn of(origin: Option<&'static str>, authorization: Option<&'static str>) -> Fingerprint {
        let mut headers = HeaderMap::new();
        let mut put = |name, value: Option<&'static str>| {
            if let Some(value) = value {
                headers.insert(name, http::HeaderValue::from_static(value));
            }
        };
        put(header::ORIGIN, origin);
        put(header::AUTHORIZATION, authorization);
        thread_local!(static HASHER: RandomState = RandomState::new());
        HASHER.with(|hasher| Fingerprint::of(&headers, hasher))
    }
}
