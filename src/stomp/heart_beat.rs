//! Heart-beats: what both sides promised, and when the next one is due.

use std::time::{Duration, Instant};

use super::Settings;

/// What a client wrote in `heart-beat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offer {
    /// How often it can send; zero: never.
    pub send: Duration,
    /// How often it wants to hear; zero: never.
    pub receive: Duration,
}

impl Offer {
    // STOMP 1.2 "Heart-beating": a missing header is 0,0.
    /// Reads `cx,cy` in milliseconds; `None` if it is not that.
    pub fn parse(value: Option<&str>) -> Option<Self> {
        let Some(value) = value else { return Some(Self::default()) };
        let (send, receive) = value.split_once(',')?;
        Some(Self { send: milliseconds(send)?, receive: milliseconds(receive)? })
    }
}

/// The two clocks of a connected session.
#[derive(Debug)]
pub struct HeartBeat {
    send_every: Duration,
    receive_every: Duration,
    patience: Duration,
    last_sent: Instant,
    last_heard: Instant,
    paused_since: Option<Instant>,
}

impl HeartBeat {
    /// No heart-beats: the state before CONNECTED.
    pub fn off(now: Instant) -> Self {
        Self {
            send_every: Duration::ZERO,
            receive_every: Duration::ZERO,
            patience: Duration::ZERO,
            last_sent: now,
            last_heard: now,
            paused_since: None,
        }
    }

    /// Starts both clocks by what client and settings agree on.
    pub fn start(&mut self, now: Instant, offer: Offer, settings: &Settings) {
        self.send_every = agreed(settings.heart_beat_send, offer.receive);
        self.receive_every = agreed(offer.send, settings.heart_beat_receive);
        let tolerance = if settings.heart_beat_tolerance >= 1.0 { settings.heart_beat_tolerance } else { 1.0 };
        let patience = self.receive_every.as_secs_f64() * tolerance;
        self.patience = Duration::try_from_secs_f64(patience).unwrap_or(LONGEST).min(LONGEST);
        self.last_sent = now;
        self.last_heard = now;
        self.paused_since = None;
    }

    /// What was agreed: the server's own interval and the client's; zero: never.
    pub fn agreed(&self) -> (Duration, Duration) {
        (self.send_every, self.receive_every)
    }

    /// Octets left.
    pub fn on_sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    // STOMP 1.2 "Heart-beating": any new data received counts.
    /// Octets came.
    pub fn on_heard(&mut self, now: Instant) {
        self.last_heard = now;
        if let Some(since) = &mut self.paused_since {
            *since = now;
        }
    }

    /// The session stopped reading, or reads again: the time between is not the client's silence.
    pub fn on_reading(&mut self, now: Instant, reads: bool) {
        match (self.paused_since, reads) {
            (None, false) => self.paused_since = Some(now),
            (Some(since), true) => {
                self.last_heard += now.saturating_duration_since(since);
                self.paused_since = None;
            }
            (None, true) | (Some(_), false) => {}
        }
    }

    /// When a heart-beat must leave if nothing else does.
    pub fn send_at(&self) -> Option<Instant> {
        if self.send_every.is_zero() { None } else { self.last_sent.checked_add(self.send_every) }
    }

    /// When the client counts as gone.
    pub fn silent_at(&self) -> Option<Instant> {
        if self.receive_every.is_zero() || self.paused_since.is_some() {
            return None;
        }
        self.last_heard.checked_add(self.patience)
    }

    /// How long nothing came.
    pub fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_heard)
    }
}

// STOMP 1.2 "Heart-beating": if either is 0 there are none, otherwise the larger counts.
fn agreed(can_send: Duration, wants: Duration) -> Duration {
    if can_send.is_zero() || wants.is_zero() { Duration::ZERO } else { can_send.max(wants) }
}

fn milliseconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    let is_number = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    let number: u64 = if is_number { text.parse().ok()? } else { return None };
    Some(Duration::from_millis(number).min(LONGEST))
}

/// Instants far beyond this may not exist.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_two_numbers_of_milliseconds() {
        let ms = Duration::from_millis;
        assert_eq!(Offer::parse(None), Some(Offer::default()));
        assert_eq!(Offer::parse(Some("5000,20")), Some(Offer { send: ms(5000), receive: ms(20) }));
        assert_eq!(Offer::parse(Some("0, 0")), Some(Offer::default()));
        for wrong in ["", "5", "5,", ",5", "-1,5", "+1,5", "5,5,5", "a,b", "1.5,2", "99999999999999999999,0"] {
            assert_eq!(Offer::parse(Some(wrong)), None, "{wrong}");
        }
        assert_eq!(Offer::parse(Some("18446744073709551615,0")).map(|o| o.send), Some(LONGEST));
    }

    #[test]
    fn the_larger_interval_counts_and_zero_is_none() {
        let ms = Duration::from_millis;
        assert_eq!(agreed(ms(10), ms(20)), ms(20));
        assert_eq!(agreed(ms(30), ms(20)), ms(30));
        assert_eq!(agreed(ms(0), ms(20)), ms(0));
        assert_eq!(agreed(ms(10), ms(0)), ms(0));
    }
}
