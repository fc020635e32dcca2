//! What a session stands on: who its client has shown to be, for how long that holds, and what
//! happens when it does so no longer.

use std::time::{Duration, Instant};

use tracing::info;

use super::{Connection, State, wake};
use crate::broker::auth::{Identity, Proof};
use crate::broker::handle::now_ms;
use crate::message::{Image, Operation, Principal, SubscriptionId};
use crate::net::clock;
use crate::session::{Refusal, Trouble};

/// The proofs that a session stands on.
#[derive(Default)]
pub(super) struct Standing {
    /// That of the client itself; `None` before it has shown who it is.
    proof: Option<Proof>,
    /// When that expires.
    until: Option<Instant>,
    /// Those that came with SUBSCRIBEs which stand; boxed, since hardly a connection has any.
    lent: Option<Box<Lent>>,
}

#[derive(Default)]
struct Lent(Vec<Loan>);

/// A proof that came with a SUBSCRIBE and counts for it alone.
struct Loan {
    subscription: SubscriptionId,
    owner: Principal,
    proof: Proof,
    until: Option<Instant>,
}

impl Standing {
    /// When the first of the proofs expires.
    pub(super) fn until(&self) -> Option<Instant> {
        self.loans().map(|loan| loan.until).chain([self.until]).flatten().min()
    }

    pub(super) fn is_known(&self) -> bool {
        self.proof.is_some()
    }

    /// A subscription has an owner of its own.
    pub(super) fn lend(&mut self, now: Instant, subscription: SubscriptionId, identity: &Identity) {
        let until = identity.expires_at_ms.map(|at_ms| instant(now, at_ms));
        let owner = identity.principal.clone();
        self.lent.get_or_insert_default().0.push(Loan { subscription, owner, proof: identity.proof, until });
    }

    /// The subscription is no more, or never was.
    pub(super) fn give_back(&mut self, subscription: SubscriptionId) {
        let Some(lent) = &mut self.lent else { return };
        lent.0.retain(|loan| loan.subscription != subscription);
        if lent.0.is_empty() {
            self.lent = None;
        }
    }

    fn owner(&self, subscription: SubscriptionId) -> Option<(&Principal, Proof)> {
        let loan = self.loans().find(|loan| loan.subscription == subscription)?;
        Some((&loan.owner, loan.proof))
    }

    fn loans(&self) -> impl Iterator<Item = &Loan> {
        self.lent.iter().flat_map(|lent| &lent.0)
    }
}

impl Connection {
    /// Who the client is was found out before there was a session.
    pub(in crate::net) fn begin_as(&self, identity: &Identity) {
        let mut state = self.state.borrow_mut();
        self.count_connect(&mut state);
        self.stand_on(&mut state, clock::now(), identity);
    }

    /// The client has shown who it is; answers when that ends.
    pub(super) fn stand_on(&self, state: &mut State, now: Instant, identity: &Identity) -> Option<Instant> {
        // Once: whom it counts for, it counts for to its end.
        self.count_user(state, &identity.principal);
        state.standing.proof = Some(identity.proof);
        state.standing.until = identity.expires_at_ms.map(|at_ms| instant(now, at_ms));
        state.standing.until
    }

    /// Ends a session whose time is up. Nothing else is written for it from then on, though its
    /// timer may be late, and what still waits for room is not done in its client's name.
    pub(super) fn expire(&self, state: &mut State, now: Instant) {
        if state.standing.until().is_some_and(|at| at <= now) {
            state.publishing = None;
            if !state.session.is_closed() {
                self.end_at_once(state, now, Trouble::Expired);
            }
        }
    }

    /// Other users and rules are in force: ends the session of who is no longer known, and
    /// subscriptions that are no longer allowed.
    pub(in crate::net) fn recheck(&self) {
        let now = clock::now();
        let state = &mut *self.state.borrow_mut();
        let Some(proof) = state.standing.proof else { return };
        if state.is_over || state.session.is_closed() {
            return;
        }
        let Some(principal) = self.broker().still(state.session.principal(), proof) else {
            self.broker().stats().revoked_sessions.add(1);
            info!(connection = self.id, principal = %state.session.principal(), "may not connect any more");
            return self.end_at_once(state, now, Trouble::Revoked);
        };
        state.session.handle_principal(principal);
        self.recheck_subscriptions(state, now);
    }

    /// Ends subscriptions that are not allowed any more.
    pub(super) fn recheck_subscriptions(&self, state: &mut State, now: Instant) {
        for (subscription, destination) in state.subscriptions.clone() {
            let checked = match state.standing.owner(subscription) {
                None => self.broker().permit(state.session.principal(), Operation::Subscribe, &destination),
                // Without its owner it has the rights of nobody.
                Some((owner, proof)) => {
                    let owner = self.broker().still(owner, proof).unwrap_or(Principal::Anonymous);
                    self.broker().permit(&owner, Operation::Subscribe, &destination)
                }
            };
            let Err(error) = checked else { continue };
            self.broker().stats().revoked_subscriptions.add(1);
            info!(connection = self.id, reason = %error, "a subscription is ended");
            self.unsubscribe(state, subscription);
            let refusal = Refusal::new(error.status(), error.to_string());
            state.session.handle_revoked(now, subscription, refusal);
            wake(state);
        }
    }

    /// Ends the session for what takes its right to anything that waits for it: only the frame
    /// of which a part has left is finished, for no other can stand within it.
    pub(super) fn end_at_once(&self, state: &mut State, now: Instant, trouble: Trouble) {
        state.publishing = None;
        while state.session.poll_action().is_some() {}
        state.mailbox.clear_octets();
        self.io.withdraw();
        state.unwritten.truncate(usize::from(state.is_cut));
        if let Some(queueing) = &mut state.queueing {
            queueing.on_discarded(state.unwritten.len());
        }
        self.waiting.set_unwritten(state.unwritten.iter().map(Image::len).sum());
        state.session.handle_trouble(now, trouble);
        self.recount(state);
        wake(state);
    }
}

/// That time of the wall clock, on the one that only goes forward.
fn instant(now: Instant, at_ms: u64) -> Instant {
    let left = Duration::from_millis(at_ms.saturating_sub(now_ms()));
    now.checked_add(left.min(FAR)).unwrap_or(now)
}

/// Far beyond any session, and within what clocks can add.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_that_a_subscription_brought_ends_with_the_subscription() {
        let now = clock::now();
        let identity =
            |expires_at_ms| Identity { principal: Principal::Anonymous, proof: Proof::Nothing, expires_at_ms };
        let mut standing = Standing::default();
        standing.lend(now, SubscriptionId(1), &identity(Some(now_ms() + 60_000)));
        standing.lend(now, SubscriptionId(2), &identity(Some(now_ms() + 10_000)));
        assert!(standing.until() <= Some(now + Duration::from_secs(10)));
        standing.give_back(SubscriptionId(2));
        assert!(standing.until() > Some(now + Duration::from_secs(50)) && standing.owner(SubscriptionId(2)).is_none());
        for id in 3..1000 {
            standing.lend(now, SubscriptionId(id), &identity(None));
            standing.give_back(SubscriptionId(id));
        }
        standing.give_back(SubscriptionId(1));
        assert!(standing.until().is_none() && standing.lent.is_none());
    }
}
