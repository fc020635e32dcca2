//! A queue's consumers, and whose turn it is.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::Consumer;
use super::backlog::Place;
use crate::broker::selector::Selector;
use crate::message::Message;

/// The consumers; those with room stand in a ring.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    all: HashMap<Consumer, State>,
    ring: VecDeque<Consumer>,
    /// How many do not take every message.
    choosy: usize,
}

/// What a consumer takes.
#[derive(Debug)]
pub(super) struct Taste {
    pub(super) selector: Option<Arc<Selector>>,
    pub(super) takes_binary: bool,
}

impl Taste {
    fn is_choosy(&self) -> bool {
        self.selector.is_some() || !self.takes_binary
    }

    /// What a look counts for; a selector may take a hundred microseconds.
    fn steps(&self) -> usize {
        if self.selector.is_some() { SELECTOR_STEPS } else { 1 }
    }

    fn takes(&self, message: &Message) -> bool {
        (self.takes_binary || message.is_text())
            && self.selector.as_ref().is_none_or(|selector| selector.matches(message))
    }
}

#[derive(Debug)]
struct State {
    prefetch_count: u32,
    unsettled: u32,
    taste: Taste,
    /// Nothing that waits before this place is what it selects.
    seen: Place,
    /// Whether it stands in the ring.
    has_turn: bool,
}

impl Consumers {
    pub(super) fn add(&mut self, consumer: Consumer, prefetch_count: u32, taste: Taste) {
        self.choosy += usize::from(taste.is_choosy());
        let state =
            State { prefetch_count: prefetch_count.max(1), unsettled: 0, taste, seen: Place(0), has_turn: true };
        if self.all.insert(consumer, state).is_none() {
            self.ring.push_back(consumer);
        }
    }

    pub(super) fn remove(&mut self, consumer: Consumer) {
        if let Some(state) = self.all.remove(&consumer) {
            self.choosy -= usize::from(state.taste.is_choosy());
            if state.has_turn {
                self.ring.retain(|other| *other != consumer);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        !self.ring.is_empty()
    }

    /// One message less is the consumer's.
    pub(super) fn on_settled(&mut self, consumer: Consumer) {
        if let Some(state) = self.all.get_mut(&consumer) {
            state.unsettled = state.unsettled.saturating_sub(1);
            if !std::mem::replace(&mut state.has_turn, true) {
                self.ring.push_back(consumer);
            }
        }
    }

    /// A message waits again, behind which some may have looked already.
    pub(super) fn on_put_back(&mut self, place: Place) {
        if self.choosy > 0 {
            for state in self.all.values_mut() {
                state.seen = state.seen.min(place);
            }
        }
    }

    /// Where to begin looking for a message that somebody with room may want.
    pub(super) fn first_unseen(&self) -> Place {
        if self.choosy == 0 {
            return Place(0);
        }
        self.ring.iter().filter_map(|consumer| Some(self.all.get(consumer)?.seen)).min().unwrap_or_default()
    }

    /// Gives a message to the next in turn who has room and wants it. Each look takes steps, and the
    /// one that takes the last is the last: who looked in vain does not look again.
    pub(super) fn choose(&mut self, place: Place, message: &Message, steps: &mut usize) -> Option<Consumer> {
        let mut chosen = None;
        for (at, consumer) in self.ring.iter().enumerate() {
            let Some(state) = self.all.get_mut(consumer).filter(|state| state.seen <= place) else { continue };
            if !state.taste.is_choosy() {
                chosen = Some(at);
                break;
            }
            *steps = steps.saturating_sub(state.taste.steps());
            if state.taste.takes(message) {
                chosen = Some(at);
                break;
            }
            state.seen = Place(place.0 + 1);
            if *steps == 0 {
                break;
            }
        }
        let consumer = self.ring.remove(chosen?)?;
        let state = self.all.get_mut(&consumer)?;
        state.unsettled += 1;
        state.has_turn = state.unsettled < state.prefetch_count;
        if state.has_turn {
            self.ring.push_back(consumer);
        }
        Some(consumer)
    }
}

const SELECTOR_STEPS: usize = 32;
