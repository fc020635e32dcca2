//! What a session wants done, in one order.

use std::collections::VecDeque;

use crate::message::Image;
use crate::session::Action;

/// Actions in their order; an empty queue holds no memory.
#[derive(Debug, Default)]
pub(super) struct Outbox(VecDeque<Action>);

impl Outbox {
    pub(super) fn push(&mut self, action: Action) {
        self.0.push_back(action);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn poll(&mut self) -> Option<Action> {
        let action = self.0.pop_front()?;
        if self.0.is_empty() {
            self.0 = VecDeque::new();
        }
        Some(action)
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Image> {
        if !matches!(self.0.front()?, Action::Transmit(_)) {
            return None;
        }
        let Action::Transmit(image) = self.poll()? else { return None };
        Some(image)
    }
}
