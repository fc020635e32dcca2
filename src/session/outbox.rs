//! The one ordered queue of what a session asks, for sessions of every protocol.

use std::collections::VecDeque;

use super::Action;
use crate::message::Image;

/// Actions in their order. The first has a place of its own, so that one delivery to an idle
/// session takes no memory; an empty queue holds none.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    first: Option<Action>,
    rest: VecDeque<Action>,
}

impl Outbox {
    pub(crate) fn push(&mut self, action: Action) {
        if self.is_empty() {
            self.first = Some(action);
        } else {
            self.rest.push_back(action);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty()
    }

    pub(crate) fn poll(&mut self) -> Option<Action> {
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
    pub(crate) fn withdraw(&mut self) {
        let stays =
            |action: &Action| matches!(action, Action::Transmit(_) | Action::Unsubscribe { .. } | Action::Close(_));
        self.first = self.first.take().filter(stays);
        self.rest.retain(stays);
        if self.first.is_none() {
            self.first = self.rest.pop_front();
        }
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Image> {
        let next = self.first.as_ref().or_else(|| self.rest.front())?;
        if !matches!(next, Action::Transmit(_)) {
            return None;
        }
        let Action::Transmit(image) = self.poll()? else { return None };
        Some(image)
    }
}
