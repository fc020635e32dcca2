//! How many were seen in the last hour and the last day, known at once.

/// Counts those who were last seen in each second of a day. The sums of the windows move with it,
/// so neither asking nor noting looks at more than the seconds that passed meanwhile.
///
/// 346 KB, and nothing before the first is seen.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// The running second, the last of both windows.
    now: u64,
    /// Second S at S modulo the day's length; empty before the first.
    seconds: Vec<u32>,
    hour: usize,
    day: usize,
}

impl Activity {
    /// Counts one who was last seen in that second.
    pub(super) fn add(&mut self, second: u64) {
        if self.seconds.is_empty() {
            self.seconds = vec![0; DAY as usize];
        }
        self.move_to(second);
        self.change(second, 1);
    }

    /// Takes one back who was counted in that second.
    pub(super) fn remove(&mut self, second: u64) {
        self.change(second, -1);
    }

    /// Those of the hour and the day that end with that second; with the newest known one, where
    /// that is later.
    pub(super) fn until(&mut self, second: u64) -> (usize, usize) {
        self.move_to(second);
        (self.hour, self.day)
    }

    fn change(&mut self, second: u64, by: i32) {
        let age = self.now.saturating_sub(second);
        if age >= DAY {
            return;
        }
        let by_usize = by as isize;
        if let Some(count) = self.seconds.get_mut((second % DAY) as usize) {
            *count = count.saturating_add_signed(by);
            self.day = self.day.saturating_add_signed(by_usize);
            if age < HOUR {
                self.hour = self.hour.saturating_add_signed(by_usize);
            }
        }
    }

    fn move_to(&mut self, second: u64) {
        if second <= self.now {
            return;
        }
        let (before, now) = (self.now, second);
        // What leaves the hour was within it, and is no later than the last that was seen.
        let left = (before + 1).saturating_sub(HOUR)..(now + 1).saturating_sub(HOUR).min(before + 1);
        self.hour -= self.sum(left.start, left.end, false);
        // The places of the seconds that are new are those of the day before.
        self.day -= self.sum(before + 1, (now + 1).min(before + 1 + DAY), true);
        self.now = now;
    }

    /// The counts of `from..to`, at most a day; they are zero afterwards if `clears`.
    fn sum(&mut self, from: u64, to: u64, clears: bool) -> usize {
        if self.seconds.is_empty() || from >= to {
            return 0;
        }
        let (start, length) = ((from % DAY) as usize, (to - from) as usize);
        let end = start + length;
        let wrapped = end.saturating_sub(DAY as usize);
        let mut sum = 0;
        for range in [start..end - wrapped, 0..wrapped] {
            if let Some(part) = self.seconds.get_mut(range) {
                sum += part.iter().map(|count| *count as usize).sum::<usize>();
                if clears {
                    part.fill(0);
                }
            }
        }
        sum
    }
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_windows_end_with_the_running_second_and_begin_an_hour_and_a_day_before() {
        let mut activity = Activity::default();
        activity.add(10);
        assert_eq!(activity.until(10), (1, 1));
        assert_eq!(activity.until(10 + HOUR - 1), (1, 1));
        assert_eq!(activity.until(10 + HOUR), (0, 1));
        assert_eq!(activity.until(10 + DAY - 1), (0, 1));
        assert_eq!(activity.until(10 + DAY), (0, 0));
        assert_eq!(activity.until(10 + 3 * DAY), (0, 0));
    }

    #[test]
    fn a_late_one_counts_in_its_own_second() {
        let mut activity = Activity::default();
        activity.add(DAY);
        activity.add(DAY - HOUR);
        activity.add(DAY - HOUR + 1);
        activity.add(0);
        activity.add(1);
        assert_eq!(activity.until(5), (2, 4));
        activity.remove(1);
        activity.remove(0);
        activity.remove(DAY - HOUR + 1);
        assert_eq!(activity.until(DAY), (1, 2));
    }

    #[test]
    fn both_windows_are_those_that_a_count_over_all_gives() {
        // A generator of its own, so that each run is the same.
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let (mut activity, mut seen, mut now) = (Activity::default(), Vec::new(), 0);
        for _ in 0..4000 {
            now += [0, 1, 50, 3599, 3600, 3601, 20_000, DAY, DAY + 7][random(9) as usize % (1 + random(9) as usize)];
            if random(4) == 0 && !seen.is_empty() {
                let gone = seen.swap_remove(random(seen.len() as u64) as usize);
                activity.remove(gone);
            } else {
                let second = now.saturating_sub(random(3) * random(5000));
                activity.add(second);
                seen.push(second);
            }
            let within = |seconds| seen.iter().filter(|second| **second + seconds > now).count();
            assert_eq!(activity.until(now), (within(HOUR), within(DAY)), "{now}");
        }
    }
}
