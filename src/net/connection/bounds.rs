//! What bounds a session from outside: its place among its address's, its rates, and how much
//! waits for it.

use std::cell::Cell;
use std::time::Instant;

use super::{Connection, State};
use crate::message::Principal;
use crate::net::clock;
use crate::net::limits::{Rates, SessionSeat};
use crate::session::{Exceeded, TransactionAction, Trouble};

/// A session's place among others, and its rates where some are set.
#[derive(Default)]
pub(in crate::net) struct Bounds {
    seat: Option<Box<SessionSeat>>,
    rates: Option<Box<Rates>>,
}

impl Bounds {
    /// Who cannot send sends neither too much nor too little.
    pub(in crate::net) fn new(seat: Option<SessionSeat>, can_send: bool) -> Self {
        let rates = seat.as_ref().filter(|_| can_send).and_then(SessionSeat::rates);
        Self { seat: seat.map(Box::new), rates }
    }

    /// Whether the session has sent more than it may, and is to wait.
    pub(super) fn waits(&self) -> bool {
        self.rates.as_ref().is_some_and(|rates| rates.waits())
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.rates.as_ref().and_then(|rates| rates.deadline())
    }
}

/// What waits for a client, as its shard's sum has it; no mailbox has more than these can tell.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    counted: Cell<u32>,
    unwritten: Cell<u32>,
}

impl Waiting {
    pub(super) fn set_unwritten(&self, bytes: usize) {
        self.unwritten.set(u32::try_from(bytes).unwrap_or(u32::MAX));
    }
}

impl Connection {
    pub(super) fn count_bytes(&self, state: &mut State, now: Instant, bytes: usize) {
        self.rate(state, |rates| rates.on_bytes(now, bytes));
    }

    pub(super) fn count_messages(&self, state: &mut State, actions: &[TransactionAction]) {
        let messages = || actions.iter().filter(|action| matches!(action, TransactionAction::Publish(_))).count();
        self.rate(state, |rates| rates.on_messages(messages()));
    }

    pub(super) fn count_connect(&self, state: &mut State) {
        let counted = state.bounds.seat.as_ref().map_or(Ok(()), |seat| seat.on_connect());
        self.check(state, counted);
    }

    pub(super) fn count_user(&self, state: &mut State, principal: &Principal) {
        if let (Some(seat), Some(user)) = (&mut state.bounds.seat, principal.name()) {
            let counted = seat.on_user(user);
            self.check(state, counted);
        }
    }

    pub(super) fn handle_bounds_timeout(&self, state: &mut State, now: Instant) {
        self.rate(state, |rates| rates.handle_timeout(now));
    }

    fn rate(&self, state: &mut State, count: impl FnOnce(&mut Rates) -> Result<(), Exceeded>) {
        let Some(rates) = &mut state.bounds.rates else { return };
        let waited = rates.waits();
        let counted = count(rates);
        if rates.waits() && !waited {
            self.fanout.limiter().note("rate");
        }
        self.check(state, counted);
    }

    fn check(&self, state: &mut State, counted: Result<(), Exceeded>) {
        if let Err(exceeded) = counted
            && !state.session.is_closed()
        {
            self.fanout.limiter().note(exceeded.name());
            self.fail(state, Trouble::Exceeded(exceeded));
        }
    }

    /// Octets that wait for this client.
    pub(in crate::net) fn waiting(&self) -> usize {
        self.waiting.counted.get() as usize
    }

    /// Whether ending it would set something free.
    pub(in crate::net) fn may_be_shed(&self) -> bool {
        let is_open = self.state.try_borrow().is_ok_and(|state| state.ending.is_none() && !state.is_over);
        is_open && self.waiting() > 0
    }

    /// Ends the session, and sets free at once what waits for its client: others would have to go
    /// for what does not leave.
    pub(in crate::net) fn shed(&self, exceeded: Exceeded) {
        let (state, now) = (&mut *self.state.borrow_mut(), clock::now());
        self.end_at_once(state, now, Trouble::Exceeded(exceeded));
        self.perform(state, now);
        self.recount(state);
    }

    /// Counts what the session keeps of its client's, where that is more than usual.
    pub(super) fn count_held(&self, state: &State) {
        if self.waiting() > 0 || held_bytes(state) > 0 {
            self.recount(state);
        }
    }

    /// Counts anew what waits for a client that does not keep up, and what it has begun and not
    /// completed.
    pub(super) fn recount(&self, state: &State) {
        let before = self.waiting.counted.get();
        let waiting = || state.mailbox.bytes().saturating_add(self.waiting.unwritten.get() as usize);
        // What is left of one that ends is gone within a second: others need not go for it.
        let bytes = match (&state.ending, state.is_blocked) {
            (Some(_), _) => 0,
            (None, true) => waiting().saturating_add(held_bytes(state)),
            (None, false) => held_bytes(state),
        };
        let now = u32::try_from(bytes).unwrap_or(u32::MAX);
        if before != now {
            self.waiting.counted.set(now);
            self.fanout.set_waiting(before as usize, now as usize);
        }
    }

    /// Nothing waits for one that is gone.
    pub(super) fn forget_waiting(&self) {
        self.fanout.set_waiting(self.waiting.counted.take() as usize, 0);
    }
}

/// A frame of usual size does not count: most clients have one on its way.
fn held_bytes(state: &State) -> usize {
    Some(state.session.held_bytes()).filter(|bytes| *bytes >= HELD_BYTES).unwrap_or(0)
}

const HELD_BYTES: usize = 64 * 1024;
