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
    /// Those that came with a SUBSCRIBE, where there are any.
    lent: Option<Box<Lent>>,
}

/// Proofs that came with a SUBSCRIBE and count for it alone.
#[derive(Default)]
struct Lent {
    /// The earliest end of one.
    until: Option<Instant>,
    owners: Vec<(SubscriptionId, Principal, Proof)>,
}

impl Standing {
    /// When the first of the proofs expires.
    pub(super) fn until(&self) -> Option<Instant> {
        let lent = self.lent.as_ref().and_then(|lent| lent.until);
        [self.until, lent].into_iter().flatten().min()
    }

    pub(super) fn is_known(&self) -> bool {
        self.proof.is_some()
    }

    /// A subscription has an owner of its own.
    pub(super) fn lend(&mut self, now: Instant, subscription: SubscriptionId, identity: &Identity) {
        let lent = self.lent.get_or_insert_default();
        let until = identity.expires_at_ms.map(|at_ms| instant(now, at_ms));
        lent.until = [lent.until, until].into_iter().flatten().min();
        lent.owners.push((subscription, identity.principal.clone(), identity.proof));
    }

    fn owner(&self, subscription: SubscriptionId) -> Option<(&Principal, Proof)> {
        let mut owners = self.lent.iter().flat_map(|lent| &lent.owners);
        owners.find(|(id, ..)| *id == subscription).map(|(_, principal, proof)| (principal, *proof))
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

    /// Ends the session for what takes its right to anything that waits for it: only what is
    /// being written is finished, for no other frame can stand within one.
    fn end_at_once(&self, state: &mut State, now: Instant, trouble: Trouble) {
        state.publishing = None;
        while state.session.poll_action().is_some() {}
        state.mailbox.clear_octets();
        let kept = if self.io.writes_in_parts() { 1 } else { 0 };
        state.unwritten.truncate(kept);
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
