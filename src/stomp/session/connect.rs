//! CONNECT: version, host, heart-beats, credentials, and the answer.

use std::time::{Duration, Instant};

use super::credentials::credentials;
use super::error::SessionError;
use super::expiry::Expiry;
use super::{Opening, Phase, Session};
use crate::session::{Action, Reply};
use crate::stomp::decode_error::clipped;
use crate::stomp::encode::Writer;
use crate::stomp::frame::{Command, Frame};
use crate::stomp::heart_beat::Offer;
use crate::stomp::version::Version;

impl Session {
    pub(super) fn on_connect(&mut self, frame: &mut Frame) -> Result<(), SessionError> {
        let accept_version = frame.header("accept-version");
        let Some(version) = Version::highest_common(accept_version) else {
            let offered = clipped(accept_version.unwrap_or_default());
            return Err(SessionError::NoCommonVersion { offered });
        };
        let mut offer = Offer::default();
        if version == Version::V1_0 {
            // STOMP 1.0 "CONNECT" writes `login: <username>`: the blank is no part of the value.
            for (_, value) in &mut frame.headers {
                *value = value.trim().into();
            }
        } else {
            let value = frame.header("heart-beat");
            offer = Offer::parse(value).ok_or_else(|| SessionError::BadHeader {
                command: frame.command,
                header: "heart-beat",
                value: clipped(value.unwrap_or_default()),
                allowed: "two numbers of milliseconds, as in 10000,10000",
            })?;
        }
        let host = self.check_host(frame, version)?;
        let credentials = credentials(frame).or_else(|| self.offered.take().map(|offered| *offered));
        self.offered = None;
        let wants_warning = frame.header("token-refresh") == Some("true");
        self.phase = Phase::Authenticating(Box::new(Opening { version, offer, wants_warning }));
        self.deadline = None;
        let ticket = self.requests.open(Command::Connect, None, None);
        self.outbox.push(Action::Authenticate { ticket, credentials, host });
        Ok(())
    }

    // STOMP 1.2 "CONNECT": host is required from 1.1 on; many clients omit it.
    fn check_host(&self, frame: &Frame, version: Version) -> Result<Option<Box<str>>, SessionError> {
        let Some(host) = frame.header("host") else {
            if self.settings.strict_host && version != Version::V1_0 {
                return Err(SessionError::MissingHeader { command: frame.command, header: "host" });
            }
            return Ok(None);
        };
        let hosts = &self.settings.hosts;
        if !hosts.is_empty() && !hosts.iter().any(|served| served.eq_ignore_ascii_case(host)) {
            return Err(SessionError::UnknownHost { host: clipped(host) });
        }
        Ok(Some(host.into()))
    }

    pub(super) fn on_authenticated(&mut self, now: Instant, reply: Reply) {
        let expires_at = match reply {
            Reply::Authenticated { principal, expires_at } => {
                self.principal = principal;
                expires_at
            }
            Reply::Done | Reply::Missed(_) => None,
            Reply::Refused(refusal) => {
                // A server that cannot check says so; one that can says nothing of the reason.
                let error = match refusal.status {
                    429 => SessionError::LoginsBusy,
                    500.. => SessionError::Unavailable,
                    _ => SessionError::AccessRefused,
                };
                return self.end(error, None);
            }
        };
        let Phase::Authenticating(opening) = std::mem::replace(&mut self.phase, Phase::Connected) else { return };
        let Opening { version, offer, wants_warning } = *opening;
        self.expiry = expires_at.map(|at| Box::new(Expiry::new(at, wants_warning)));
        self.version = Some(version);
        self.decoder.set_version(version);
        self.heart_beat.start(now, offer, &self.settings);
        let mut writer = Writer::new(Command::Connected, Some(version));
        writer.header("version", version.as_str());
        writer.header("session", &self.id);
        if let Some(server) = &self.settings.server {
            writer.header("server", server);
        }
        let (send, receive) = match version {
            Version::V1_0 => (Duration::ZERO, Duration::ZERO),
            Version::V1_1 | Version::V1_2 => (self.settings.heart_beat_send, self.settings.heart_beat_receive),
        };
        writer.header("heart-beat", &format!("{},{}", send.as_millis(), receive.as_millis()));
        if let Some(name) = self.principal.name() {
            writer.header("user-name", name);
        }
        self.transmit(&writer.finish(b""));
    }
}
