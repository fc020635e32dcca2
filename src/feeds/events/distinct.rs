//! How many different names there were, and how many of them lately, in bounded memory.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

/// Keeps the smallest hashes (k minimum values), each with the time it was last seen.
///
/// Exact up to `sample` names. Beyond, the kept ones are a fair sample of all: the estimate's
/// standard error is 1/√sample, 1 % with 10,000. The hash is keyed at random, so nobody can
/// choose names that spoil it. About 40 octets a name.
#[derive(Debug)]
pub(super) struct Distinct {
    sample: usize,
    key: RandomState,
    // Up to one more than the sample: the largest only says how far the sample reaches.
    seen: BTreeMap<u64, u64>,
}

impl Distinct {
    /// `sample` is raised to 256, below which the estimate is worth little.
    pub(super) fn new(sample: usize) -> Self {
        Self { sample: sample.max(MIN_SAMPLE), key: RandomState::new(), seen: BTreeMap::new() }
    }

    /// Notes a name at that second since the start.
    pub(super) fn note(&mut self, name: &str, second: u64) {
        let hash = self.key.hash_one(name);
        if self.seen.len() > self.sample && self.seen.last_key_value().is_some_and(|(last, _)| hash > *last) {
            return;
        }
        let last_seen = self.seen.entry(hash).or_default();
        *last_seen = second.max(*last_seen);
        if self.seen.len() > self.sample + 1 {
            self.seen.pop_last();
        }
    }

    /// Different names so far.
    pub(super) fn total(&self) -> u64 {
        self.since(0)
    }

    /// Different names seen in that second since the start or later.
    pub(super) fn since(&self, second: u64) -> u64 {
        let seen = self.seen.values().take(self.sample).filter(|last_seen| **last_seen >= second).count();
        match self.seen.last_key_value() {
            Some((bound, _)) if self.seen.len() > self.sample => scaled(seen, *bound),
            _ => seen as u64,
        }
    }
}

/// As many of all hashes as there are `seen` ones below `bound`.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate; float casts saturate"
)]
fn scaled(seen: usize, bound: u64) -> u64 {
    (seen as f64 * (u64::MAX as f64 / bound as f64)).round() as u64
}

const MIN_SAMPLE: usize = 256;
