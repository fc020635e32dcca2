//! Credentials are checked off the shard: the connection waits, unread, and its shard's others
//! go on.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tracing::info;

use super::{Connection, State, wake};
use crate::broker::BrokerError;
use crate::broker::auth::{Attempt, AuthError, Identity};
use crate::broker::handle::now_ms;
use crate::message::{Credentials, Principal};
use crate::session::{Refusal, Reply, Subscription, Ticket, Trouble};

/// A check that runs; nothing else of the session is done meanwhile.
pub(super) struct Checking {
    ticket: Ticket,
    purpose: Purpose,
    check: Pin<Box<dyn Future<Output = Result<Identity, AuthError>>>>,
}

/// What the credentials came for.
pub(super) enum Purpose {
    /// CONNECT.
    Connect,
    /// A SUBSCRIBE with credentials of its own.
    Subscribe(Box<Subscription>),
}

/// When the proofs that a session stands on expire.
#[derive(Clone, Copy, Default)]
pub(super) struct Expiry {
    /// Whether the client has shown who it is.
    is_known: bool,
    /// That of the client itself.
    own: Option<Instant>,
    /// The earliest of those that came with a SUBSCRIBE.
    lent: Option<Instant>,
}

impl Expiry {
    pub(super) fn at(&self) -> Option<Instant> {
        [self.own, self.lent].into_iter().flatten().min()
    }
}

impl Connection {
    pub(super) fn authenticate(
        &self,
        state: &mut State,
        ticket: Ticket,
        purpose: Purpose,
        credentials: Option<Credentials>,
    ) {
        let attempt = Attempt { credentials, peer: self.peer };
        let check = Box::pin(self.broker().authenticate(attempt));
        state.checking = Some(Box::new(Checking { ticket, purpose, check }));
    }

    pub(super) fn poll_checking(&self, state: &mut State, now: Instant, cx: &mut Context<'_>) {
        if state.session.is_closed() {
            state.checking = None;
        }
        let Some(checking) = &mut state.checking else { return };
        let Poll::Ready(checked) = checking.check.as_mut().poll(cx) else { return };
        let Some(checking) = state.checking.take() else { return };
        let Checking { ticket, purpose, .. } = *checking;
        match purpose {
            Purpose::Connect => self.on_connect_checked(state, now, ticket, checked),
            Purpose::Subscribe(subscription) => {
                self.on_subscriber_checked(state, now, ticket, checked, &subscription);
            }
        }
    }

    fn on_connect_checked(
        &self,
        state: &mut State,
        now: Instant,
        ticket: Ticket,
        checked: Result<Identity, AuthError>,
    ) {
        let transport = self.io.transport();
        let reply = match checked {
            Ok(Identity { principal, expires_at_ms }) => {
                let expires_at = expires_at_ms.map(|at_ms| instant(now, at_ms));
                let what = if state.expiry.is_known { "goes on with a new token" } else { "connected" };
                info!(connection = self.id, transport, %principal, expires_at_ms, "{what}");
                if !state.expiry.is_known {
                    self.count_user(state, &principal);
                }
                state.expiry = Expiry { is_known: true, own: expires_at, ..state.expiry };
                Reply::Authenticated { principal, expires_at }
            }
            Err(error) => {
                self.broker().stats().refused.add(1);
                info!(connection = self.id, transport, ?error, "access refused");
                Reply::Refused(refusal(error))
            }
        };
        state.session.handle_reply(now, ticket, reply);
    }

    /// Ends a session whose time is up; nothing is written for it from then on, though its timer
    /// may be late, and what still waits for room is not done in its client's name.
    pub(super) fn expire(state: &mut State, now: Instant) {
        if state.expiry.at().is_none_or(|at| at > now) {
            return;
        }
        state.publishing = None;
        if !state.session.is_closed() {
            state.session.handle_trouble(now, Trouble::Expired);
            wake(state);
        }
    }

    /// Who subscribes: the session's principal, or whom the SUBSCRIBE's own credentials name.
    fn on_subscriber_checked(
        &self,
        state: &mut State,
        now: Instant,
        ticket: Ticket,
        checked: Result<Identity, AuthError>,
        subscription: &Subscription,
    ) {
        let principal = match checked {
            // Without users there is nobody to be named.
            Ok(Identity { principal: Principal::Anonymous, .. }) => state.session.principal().clone(),
            Ok(Identity { principal, expires_at_ms }) => {
                let until = expires_at_ms.map(|at_ms| instant(now, at_ms));
                state.expiry.lent = [state.expiry.lent, until].into_iter().flatten().min();
                principal
            }
            Err(AuthError::Refused) => return self.refuse(state, now, ticket, &BrokerError::AccessRefused),
            Err(AuthError::Busy | AuthError::Unavailable) => {
                return self.refuse(state, now, ticket, &BrokerError::LoginsBusy);
            }
        };
        self.subscribe_as(state, now, ticket, subscription, &principal);
    }
}

/// That time of the wall clock, on the one that only goes forward.
fn instant(now: Instant, at_ms: u64) -> Instant {
    let left = Duration::from_millis(at_ms.saturating_sub(now_ms()));
    now.checked_add(left.min(FAR)).unwrap_or(now)
}

/// Far beyond any session, and within what clocks can add.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

fn refusal(error: AuthError) -> Refusal {
    match error {
        AuthError::Refused => Refusal::new(401, "Access refused"),
        AuthError::Busy => Refusal::new(429, "too many logins wait to be checked; try again later"),
        AuthError::Unavailable => Refusal::new(503, "credentials cannot be checked now; try again later"),
    }
}
