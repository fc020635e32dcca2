//! How many different names there were, and how many of them lately, in bounded memory.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use super::activity::Activity;

/// Keeps the smallest hashes (k minimum values), each with the time it was last seen.
///
/// Exact up to `sample` names. Beyond, the kept ones are a fair sample of all: the estimate's
/// standard error is 1/√sample, 1 % with 10,000. The hash is keyed at random, so nobody can
/// choose names that spoil it. About 40 octets a name. A tree, because it grows by no sudden steps.
#[derive(Debug)]
pub(super) struct Distinct {
    sample: usize,
    key: RandomState,
    // Up to one more than the sample: the largest only says how far the sample reaches.
    seen: BTreeMap<u64, u64>,
    /// Of the sample.
    activity: Option<Activity>,
}

impl Distinct {
    /// `sample` is raised to 256, below which the estimate is worth little.
    pub(super) fn new(sample: usize) -> Self {
        Self { sample: sample.max(MIN_SAMPLE), key: RandomState::new(), seen: BTreeMap::new(), activity: None }
    }

    /// One that also knows how many names were there lately.
    pub(super) fn with_activity(sample: usize) -> Self {
        Self { activity: Some(Activity::default()), ..Self::new(sample) }
    }

    /// Notes a name at that second since the start.
    pub(super) fn note(&mut self, name: &str, second: u64) {
        let hash = self.key.hash_one(name);
        let bound = self.bound();
        if bound.is_some_and(|bound| hash > bound) {
            return;
        }
        if let Some(last_seen) = self.seen.get_mut(&hash) {
            let before = std::mem::replace(last_seen, second.max(*last_seen));
            if let Some(activity) = self.activity.as_mut().filter(|_| bound != Some(hash)) {
                activity.remove(before);
                activity.add(second.max(before));
            }
            return;
        }
        self.seen.insert(hash, second);
        if let Some(activity) = &mut self.activity {
            activity.add(second);
        }
        if bound.is_some() {
            self.seen.pop_last();
        }
        // The largest has just become the bound, and leaves the sample for it.
        if self.seen.len() > self.sample
            && let (Some(activity), Some((_, second))) = (&mut self.activity, self.seen.last_key_value())
        {
            activity.remove(*second);
        }
    }

    /// Different names so far.
    pub(super) fn total(&self) -> u64 {
        self.scaled(self.seen.len().min(self.sample))
    }

    /// Different names seen in the last hour and in the last day, of which that second since the
    /// start is the last; zero where nobody keeps account of that.
    pub(super) fn active(&mut self, second: u64) -> (u64, u64) {
        let (hour, day) = self.activity.as_mut().map_or((0, 0), |activity| activity.until(second));
        (self.scaled(hour), self.scaled(day))
    }

    fn bound(&self) -> Option<u64> {
        self.seen.last_key_value().filter(|_| self.seen.len() > self.sample).map(|(bound, _)| *bound)
    }

    /// As many of all hashes as there are `seen` ones below the bound.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate; float casts saturate"
    )]
    fn scaled(&self, seen: usize) -> u64 {
        self.bound().map_or(seen as u64, |bound| (seen as f64 * (u64::MAX as f64 / bound as f64)).round() as u64)
    }
}

const MIN_SAMPLE: usize = 256;
