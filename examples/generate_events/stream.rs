//! Ten minutes of five services, made up: one line for each event.
//!
//! Integers only and one fixed seed, so that the file is the same octets on each machine. From
//! 4:00 to 6:30 the payment-service is in trouble: its latency rises fortyfold and most
//! payments fail; its neighbours notice.

use std::fmt::Write;

/// The whole recording.
pub(crate) fn recording() -> String {
    let mut dice = Dice(0x5EED_0F57_0B0C);
    let mut lines = String::new();
    let mut at_ms = 0;
    loop {
        at_ms += dice.gap_ms(at_ms);
        if at_ms >= TEN_MINUTES_MS {
            return lines;
        }
        line(&mut lines, &mut dice, at_ms);
    }
}

fn line(lines: &mut String, dice: &mut Dice, at_ms: u64) {
    let kind = dice.kind();
    let trouble = trouble_percent(at_ms);
    let hit = match kind.service {
        "payment-service" => trouble,
        "order-service" | "api-gateway" => trouble / 6,
        _ => 0,
    };
    let failed = dice.percent() < hit * 85 / 100;
    let severity = match kind.severity {
        "INFO" | "WARNING" if failed && dice.percent() < 15 => "CRITICAL",
        "INFO" | "WARNING" if failed => "ERROR",
        usual => usual,
    };
    let event_type = if failed { kind.when_failed } else { kind.event_type };
    // Up to fortyfold at the height of it.
    let latency_us = dice.latency_us(kind.median_us) * (100 + hit * 39) / 100;
    let user = dice.user();
    let region = ["eu-west", "us-east", "ap-south"][dice.below(3)];
    // Writing to a String cannot fail.
    let _ = write!(
        lines,
        r#"{{"at_ms": {at_ms}, "event": {{"eventType":"{event_type}","source":"{}","severity":"{severity}""#,
        kind.service
    );
    if kind.has_user {
        let _ = write!(lines, r#","userId":"user_{user:04}""#);
    }
    if kind.has_user && dice.percent() < 60 {
        let _ = write!(lines, r#","sessionId":"s-{:06x}""#, user * 7919);
    }
    let _ = write!(lines, r#","tags":{{"region":"{region}"}}"#);
    let _ = writeln!(lines, r#","metadata":{{"latency":{}.{:02}}}}}}}"#, latency_us / 1000, latency_us % 1000 / 10);
}

/// How bad it is: 0 up to 4:00, 100 from 4:30 to 6:00, 0 again from 6:30 on.
fn trouble_percent(at_ms: u64) -> u64 {
    match at_ms {
        240_000..270_000 => (at_ms - 240_000) / 300,
        270_000..360_000 => 100,
        360_000..390_000 => 100 - (at_ms - 360_000) / 300,
        _ => 0,
    }
}

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn percent(&mut self) -> u64 {
        self.next() % 100
    }

    /// About exponential with a mean of 85 to 150 ms, as the hum of the day rises and falls.
    fn gap_ms(&mut self, at_ms: u64) -> u64 {
        let wave = |period: u64| {
            let phase = at_ms % period * 200 / period;
            phase.min(200 - phase)
        };
        let mean = 150 - (wave(97_000) * 40 + wave(31_000) * 25) / 100;
        mean * self.quantile(&EXPONENTIAL) / 1000
    }

    /// About log-normal around the median; one in a hundred above sevenfold.
    fn latency_us(&mut self, median_us: u64) -> u64 {
        median_us * self.quantile(&LOG_NORMAL) / 1000
    }

    /// A value of the distribution whose quantiles stand in the table, in thousandths.
    fn quantile(&mut self, table: &[u64; 11]) -> u64 {
        let at = self.below(10);
        let (low, high) = (table[at], table[at + 1]);
        if at < 9 {
            return low + self.next() % (high - low + 1);
        }
        // The tail: thinner and thinner towards the last value.
        let mut reach = high - low;
        for _ in 0..2 {
            reach = self.next() % (reach + 1);
        }
        low + reach
    }

    fn kind(&mut self) -> &'static Kind {
        let total: usize = KINDS.iter().map(|kind| kind.weight).sum();
        let mut left = self.below(total);
        for kind in &KINDS {
            if left < kind.weight {
                return kind;
            }
            left -= kind.weight;
        }
        &KINDS[0]
    }

    /// One of 150; the lower the number the busier.
    fn user(&mut self) -> usize {
        let bound = 1 + self.below(150);
        1 + self.below(bound)
    }
}

struct Kind {
    service: &'static str,
    event_type: &'static str,
    when_failed: &'static str,
    severity: &'static str,
    weight: usize,
    median_us: u64,
    has_user: bool,
}

#[rustfmt::skip]
const fn kind(
    service: &'static str, event_type: &'static str, when_failed: &'static str,
    severity: &'static str, weight: usize, median_us: u64, has_user: bool,
) -> Kind {
    Kind { service, event_type, when_failed, severity, weight, median_us, has_user }
}

const TEN_MINUTES_MS: u64 = 600_000;

/// Quantiles 0, 10 … 100 % of the exponential distribution with mean 1000.
const EXPONENTIAL: [u64; 11] = [0, 105, 223, 357, 511, 693, 916, 1204, 1609, 2303, 7000];

/// Quantiles 0, 10 … 100 % of a log-normal distribution with median 1000 and σ 0.7.
const LOG_NORMAL: [u64; 11] = [250, 408, 555, 693, 837, 1000, 1194, 1443, 1803, 2452, 12_000];

#[rustfmt::skip]
const KINDS: [Kind; 30] = [
    kind("auth-service", "user.login", "user.login_failed", "INFO", 90, 9_000, true),
    kind("auth-service", "user.logout", "user.logout", "INFO", 45, 3_000, true),
    kind("auth-service", "user.login_failed", "user.login_failed", "WARNING", 9, 11_000, true),
    kind("auth-service", "user.registered", "user.registered", "INFO", 8, 35_000, true),
    kind("auth-service", "token.refreshed", "token.refreshed", "INFO", 70, 2_500, true),
    kind("auth-service", "password.reset", "password.reset", "INFO", 3, 28_000, true),
    kind("auth-service", "account.locked", "account.locked", "ERROR", 1, 6_000, true),
    kind("payment-service", "payment.authorized", "payment.failed", "INFO", 60, 42_000, true),
    kind("payment-service", "payment.completed", "payment.failed", "INFO", 55, 65_000, true),
    kind("payment-service", "payment.failed", "payment.failed", "ERROR", 2, 80_000, true),
    kind("payment-service", "payment.refunded", "refund.failed", "INFO", 5, 70_000, true),
    kind("payment-service", "card.verified", "provider.timeout", "INFO", 40, 25_000, true),
    kind("payment-service", "fraud.suspected", "fraud.suspected", "WARNING", 2, 30_000, true),
    kind("api-gateway", "api.request", "api.error", "INFO", 200, 6_000, true),
    kind("api-gateway", "api.slow", "api.error", "WARNING", 6, 400_000, true),
    kind("api-gateway", "api.error", "api.error", "ERROR", 3, 15_000, false),
    kind("api-gateway", "rate.limited", "rate.limited", "WARNING", 7, 1_000, true),
    kind("api-gateway", "cache.hit", "cache.hit", "INFO", 80, 400, false),
    kind("api-gateway", "cache.miss", "cache.miss", "INFO", 25, 1_200, false),
    kind("order-service", "cart.updated", "cart.updated", "INFO", 65, 7_000, true),
    kind("order-service", "order.created", "order.failed", "INFO", 40, 18_000, true),
    kind("order-service", "order.paid", "order.failed", "INFO", 34, 14_000, true),
    kind("order-service", "order.shipped", "order.shipped", "INFO", 15, 12_000, true),
    kind("order-service", "order.cancelled", "order.cancelled", "WARNING", 4, 13_000, true),
    kind("order-service", "inventory.low", "inventory.low", "WARNING", 3, 5_000, false),
    kind("notification-service", "email.sent", "email.sent", "INFO", 45, 55_000, true),
    kind("notification-service", "email.bounced", "email.bounced", "WARNING", 2, 60_000, true),
    kind("notification-service", "push.sent", "push.sent", "INFO", 50, 20_000, true),
    kind("notification-service", "sms.sent", "sms.sent", "INFO", 12, 90_000, true),
    kind("notification-service", "queue.drained", "queue.drained", "INFO", 6, 1_500, false),
];
