//! What the aggregator knew at one moment, and the figures both payloads derive from it alike.

use std::time::Duration;

use chrono::{DateTime, Timelike as _, Utc};
use serde::Serialize;

use super::Moment;
use super::event::Severity;
use super::latency::LatencySummary;
use super::names::NamedRow;
use super::top_users::TopUser;
use super::windows::{Sum, per_second, percent};

/// All counts at one moment. Seconds are those since the start or the last reset.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    pub(super) now: DateTime<Utc>,
    /// The running second; it is also how many are complete.
    pub(super) second: u64,
    /// How much of the running second is over.
    pub(super) into_second: Duration,
    /// In the order of [`Severity::ALL`].
    pub(super) by_severity: [u64; 4],
    pub(super) unique_types: u64,
    pub(super) unique_sources: u64,
    pub(super) types: Vec<NamedRow>,
    pub(super) sources: Vec<NamedRow>,
    pub(super) users: Users,
    pub(super) overall: LatencySummary,
    /// Of the running minute and the four before it.
    pub(super) recent_latency: LatencySummary,
    // Windows end with the running second; the day's are whole minutes.
    pub(super) last_minute: Sum,
    pub(super) last_5_minutes: Sum,
    pub(super) last_15_minutes: Sum,
    pub(super) last_hour: Sum,
    pub(super) last_day: Sum,
    pub(super) last_10_complete: u64,
    pub(super) last_30_complete: u64,
    pub(super) previous_30_complete: u64,
    /// Most events in one second.
    pub(super) peak: u64,
    /// The event that made it so; the start before the first.
    pub(super) peak_at: DateTime<Utc>,
}

impl Reading {
    /// The end of the second that runs `now`, on either clock: until then the same counts make the
    /// same figures.
    pub(super) fn good_until(&self, now: Moment) -> Moment {
        let into_wall_second = Duration::from_nanos(u64::from(now.wall.nanosecond() % NANOS));
        Moment {
            wall: now.wall + (SECOND - into_wall_second),
            steady: now.steady + SECOND.saturating_sub(self.into_second),
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.by_severity.iter().sum()
    }

    pub(super) fn errors(&self) -> u64 {
        let counted = Severity::ALL.into_iter().zip(self.by_severity);
        counted.filter(|(severity, _)| severity.is_error()).map(|(_, count)| count).sum()
    }

    /// Errors in percent of all events since the start.
    pub(super) fn error_rate(&self) -> f64 {
        percent(self.errors(), self.total())
    }

    /// Events per second over the last ten complete seconds (fewer after a start; zero in the
    /// first second): steady enough to read, and at zero ten seconds after the last event.
    pub(super) fn current_rate(&self) -> f64 {
        per_second(self.last_10_complete, self.second.min(10))
    }

    /// Events per second since the start; the first second counts as a whole one.
    pub(super) fn average_rate(&self) -> f64 {
        per_second(self.total(), self.second.max(1))
    }

    /// Events per second over the last hour, or since the start where that is less.
    pub(super) fn hour_rate(&self) -> f64 {
        per_second(self.last_hour.events, self.second.clamp(1, 3600))
    }

    /// Events per second over the last day, or since the start where that is less.
    pub(super) fn day_rate(&self) -> f64 {
        per_second(self.last_day.events, self.second.clamp(1, 86_400))
    }

    /// The last 30 complete seconds against the 30 before; up to 10 % either way is stable, and
    /// so is the first minute, which has nothing to compare with.
    pub(super) fn trend(&self) -> Trend {
        let (last, previous) = (u128::from(self.last_30_complete) * 100, u128::from(self.previous_30_complete));
        if self.second < 60 {
            Trend::Stable
        } else if last > previous * 110 {
            Trend::Increasing
        } else if last < previous * 90 {
            Trend::Decreasing
        } else {
            Trend::Stable
        }
    }
}

/// Who sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Users {
    pub(super) unique: u64,
    pub(super) last_hour: u64,
    pub(super) last_day: u64,
    pub(super) top: Vec<TopUser>,
}

/// Where the rate is going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Trend {
    Increasing,
    Decreasing,
    Stable,
}

/// Events by severity, all four always there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) struct BySeverity {
    pub(super) info: u64,
    pub(super) warning: u64,
    pub(super) error: u64,
    pub(super) critical: u64,
}

impl From<[u64; 4]> for BySeverity {
    fn from([info, warning, error, critical]: [u64; 4]) -> Self {
        Self { info, warning, error, critical }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const NANOS: u32 = 1_000_000_000;
