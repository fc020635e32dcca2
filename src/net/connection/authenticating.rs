//! Credentials are checked off the shard: the connection waits, unread, and its shard's others
//! go on.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tracing::info;

use super::{Connection, State};
use crate::broker::BrokerError;
use crate::broker::auth::{Attempt, AuthError, Identity};
use crate::message::{Credentials, Principal};
use crate::session::{Refusal, Reply, Subscription, Ticket};

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
            Ok(identity) => {
                let was_known = state.standing.is_known();
                let expires_at = self.stand_on(state, now, &identity);
                let Identity { principal, expires_at_ms, .. } = identity;
                let what = if was_known { "goes on with a new token" } else { "connected" };
                info!(connection = self.id, transport, %principal, expires_at_ms, "{what}");
                state.session.handle_reply(now, ticket, Reply::Authenticated { principal, expires_at });
                if was_known && !state.session.is_closed() {
                    // The new token may allow less, or be another user's.
                    self.recheck_subscriptions(state, now);
                }
                return;
            }
            Err(error) => {
                self.broker().stats().refused.add(1);
                info!(connection = self.id, transport, ?error, "access refused");
                Reply::Refused(refusal(error))
            }
        };
        state.session.handle_reply(now, ticket, reply);
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
            Ok(identity) => {
                state.standing.lend(now, subscription.id, &identity);
                identity.principal
            }
            Err(AuthError::Refused) => return self.refuse(state, now, ticket, &BrokerError::AccessRefused),
            Err(AuthError::Busy | AuthError::TooMany { .. }) => {
                return self.refuse(state, now, ticket, &BrokerError::TooManyLogins);
            }
            Err(AuthError::Unavailable) => return self.refuse(state, now, ticket, &BrokerError::LoginsBusy),
        };
        self.subscribe_as(state, now, ticket, subscription, &principal);
        if state.subscriptions.iter().all(|(id, _)| *id != subscription.id) {
            state.standing.give_back(subscription.id);
        }
    }
}

fn refusal(error: AuthError) -> Refusal {
    match error {
        AuthError::Refused => Refusal::new(401, "Access refused"),
        AuthError::Busy | AuthError::TooMany { .. } => Refusal::new(429, "too many logins; try again later"),
        AuthError::Unavailable => Refusal::new(503, "credentials cannot be checked now; try again later"),
    }
}
