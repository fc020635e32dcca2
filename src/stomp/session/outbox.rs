//! The one ordered queue of actions.

use std::collections::VecDeque;

use crate::message::Image;
use crate::session::Action;

/// Actions in their order. The first has a place of its own, so that one delivery to an idle
/// session takes no memory; an empty queue holds none.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    first: Option<Action>,
    rest: VecDeque<Action>,
}

impl Outbox {
    pub(super) fn push(&mut self, action: Action) {
        if self.is_empty() {
            self.first = Some(action);
        } else {
            self.rest.push_back(action);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty()
    }

    pub(super) fn poll(&mut self) -> Option<Action> {
        if let Some(action) = self.first.take() {
            return Some(action);
        }
        let action = self.rest.pop_front()?;
        if self.rest.is_empty() {
            self.rest = VecDeque::new();
        }
        Some(action)
    }

    /// Takes back what was to be done and is not yet; what is to be said, and to end, stays.
    pub(super) fn withdraw(&mut self) {
        let stays =
            |action: &Action| matches!(action, Action::Transmit(_) | Action::Unsubscribe { .. } | Action::Close(_));
        self.first = self.first.take().filter(stays);
        self.rest.retain(stays);
        if self.first.is_none() {
            self.first = self.rest.pop_front();
        }
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Image> {
        let next = self.first.as_ref().or_else(|| self.rest.front())?;
        if !matches!(next, Action::Transmit(_)) {
            return None;
        }
        let Action::Transmit(image) = self.poll()? else { return None };
        Some(image)
    }
}
