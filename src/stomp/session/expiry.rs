//! A session ends when the proof of who the client is expires, unless a new one comes in time.

use std::time::{Duration, Instant};

use super::credentials::{credentials, of_text};
use super::error::SessionError;
use super::{Phase, Session, take_header};
use crate::message::Principal;
use crate::session::Action;
use crate::stomp::decode_error::clipped;
use crate::stomp::encode::Writer;
use crate::stomp::frame::{Command, Frame};

/// When the session ends, and what the client hears before.
#[derive(Debug)]
pub(super) struct Expiry {
    at: Instant,
    /// Whether the client asked with `token-refresh:true` to be warned.
    wants_warning: bool,
    is_warned: bool,
}

impl Expiry {
    pub(super) fn new(at: Instant, wants_warning: bool) -> Self {
        Self { at, wants_warning, is_warned: false }
    }

    fn warn_at(&self) -> Option<Instant> {
        // One that began less than a minute before its end is warned at once.
        let at = || self.at.checked_sub(WARNING).unwrap_or(self.at);
        (self.wants_warning && !self.is_warned).then(at)
    }

    /// When there is something to do.
    pub(super) fn next(&self) -> Instant {
        self.warn_at().unwrap_or(self.at)
    }
}

impl Session {
    /// Ends the session if its time is up; answers whether it was.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let is_over =
            matches!(self.phase, Phase::Connected) && self.expiry.as_ref().is_some_and(|expiry| expiry.at <= now);
        if is_over {
            self.end(SessionError::Expired, None);
        }
        is_over
    }

    /// Tells the client that its time will soon be up, on `/user/queue/$auth`: to its
    /// subscription there, or, without one, under that name.
    pub(super) fn warn_of_expiry(&mut self, now: Instant) {
        let Some(expiry) = &mut self.expiry else { return };
        if expiry.warn_at().is_none_or(|at| at > now) {
            return;
        }
        expiry.is_warned = true;
        let left = expiry.at.saturating_duration_since(now);
        let subscription = self.subscriptions.by_destination(WARNINGS).map_or(WARNINGS, |entry| &entry.name);
        let body = format!(r#"{{"type":"token-expiring","expiresInMs":{}}}"#, left.as_millis());
        let mut writer = Writer::new(Command::Message, self.version);
        if !subscription.is_empty() {
            writer.header("subscription", subscription);
        }
        writer.header("message-id", "token-expiring");
        writer.header("destination", WARNINGS);
        writer.header("content-type", "application/json");
        writer.header("content-length", &body.len().to_string());
        let frame = writer.finish(body.as_bytes());
        self.transmit(&frame);
    }

    /// A client that subscribes to the warnings after one was given gets it again.
    pub(super) fn on_subscribed(&mut self, now: Instant, destination: &str) {
        if destination == WARNINGS
            && let Some(expiry) = &mut self.expiry
        {
            expiry.is_warned = false;
            self.warn_of_expiry(now);
        }
    }

    /// Whether a SEND brings a new token; then it goes no further.
    pub(super) fn is_refresh(frame: &Frame) -> bool {
        frame.header("destination") == Some(REFRESH)
    }

    /// Takes a new token: in the headers that CONNECT has it in, or as the body.
    pub(super) fn on_refresh(&mut self, frame: &mut Frame) -> Result<(), SessionError> {
        if let Some(value) = frame.header("transaction") {
            let (command, value) = (frame.command, clipped(value));
            let allowed = "none on /app/$auth: a token counts at once";
            return Err(SessionError::BadHeader { command, header: "transaction", value, allowed });
        }
        let of_body =
            || std::str::from_utf8(&frame.body).ok().map(str::trim).filter(|text| !text.is_empty()).map(of_text);
        let credentials = credentials(frame).or_else(of_body);
        let ticket = self.requests.open(Command::Send, take_header(frame, "receipt"), None);
        self.outbox.push(Action::Authenticate { ticket, credentials, host: None });
        Ok(())
    }

    /// The session goes on until the new token expires, if it is the same client's.
    pub(super) fn on_refreshed(&mut self, principal: Principal, expires_at: Option<Instant>, receipt: Option<&str>) {
        if !principal.is_same(&self.principal) {
            return self.end(SessionError::OtherPrincipal, receipt);
        }
        self.principal = principal;
        let wants_warning = self.expiry.as_ref().is_some_and(|expiry| expiry.wants_warning);
        self.expiry = expires_at.map(|at| Box::new(Expiry::new(at, wants_warning)));
        if let Some(receipt) = receipt {
            self.transmit_receipt(receipt);
        }
    }
}

/// Where clients are warned.
const WARNINGS: &str = "/user/queue/$auth";

/// Where they send a new token.
const REFRESH: &str = "/app/$auth";

/// How long before the end.
const WARNING: Duration = Duration::from_secs(60);
