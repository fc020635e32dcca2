//! What stands in a message.

use std::fmt::Write as _;

use clap::ValueEnum;

use super::arrivals::Stamp;

/// What stands in a body behind its stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum BodyKind {
    /// Names and rising numbers: cheap, the same in each message, and unlike life to a compressor.
    Plain,
    /// Event types with counts, errors and latencies to three decimals, all different, as in the
    /// metrics feed's payload.
    Metrics,
}

/// What stands behind the stamp in each body, as JSON would go on.
///
/// There are [`METRICS`] of metrics, in turn: a broker compresses each message by itself, and to
/// make a new one each time would be the generator's limit.
#[derive(Debug)]
pub(super) struct Bodies(Vec<String>);

impl Bodies {
    /// # Errors
    /// No such body is that small.
    pub(super) fn new(kind: BodyKind, size: usize) -> Result<Self, String> {
        let stamp = Stamp { publisher: 0, number: 0, intended_us: 0 }.write();
        let least = if kind == BodyKind::Plain { 60 } else { 1000 };
        if size < least {
            return Err(format!("--size {size} is refused: such a body has at least {least} octets"));
        }
        let size = size - stamp.len();
        Ok(Self(match kind {
            BodyKind::Plain => vec![plain(size)],
            BodyKind::Metrics => (1..=METRICS).map(|seed| metrics(size, &mut Random(seed))).collect(),
        }))
    }

    pub(super) fn frame(&self, destination: &str, stamp: Stamp) -> String {
        let (rest, stamp) = (&self.0[stamp.number as usize % self.0.len()], stamp.write());
        let length = stamp.len() + rest.len();
        format!(
            "SEND\ndestination:{destination}\ncontent-type:application/json\ncontent-length:{length}\n\n{stamp}{rest}\0"
        )
    }
}

fn plain(size: usize) -> String {
    let mut body = String::from("\",\"data\":[");
    let mut value = 0;
    while body.len() + 30 < size {
        body += &format!("{{\"name\":\"m{value}\",\"v\":{value}}},");
        value += 1;
    }
    while body.len() + 3 < size {
        body.push('1');
    }
    body + "0]}"
}

/// The documented profile of the metrics feed, with as many event types as there is room for.
fn metrics(size: usize, random: &mut Random) -> String {
    let mut types = Types::default();
    let rate = format!("{:.2}", random.up_to(900.0));
    let begin = format!(
        "\",\"summary\":{{\"totalEvents\":{},\"eventsPerSecond\":{rate},\"avgLatency\":{:.3}}},\"eventsByType\":{{",
        random.next() % 10_000_000,
        random.up_to(80.0)
    );
    let len = |types: &Types| begin.len() + types.len() + END.len();
    for number in 0.. {
        let before = types.clone();
        types.push(number, random);
        if len(&types) > size {
            types = before;
            break;
        }
    }
    // Digits that nothing shortens, so that what fills up does not flatter.
    let rest: String = (len(&types)..size).map(|_| char::from(b'1' + (random.next() % 9) as u8)).collect();
    let Types { counts, latencies, errors } = types;
    format!("{begin}{counts}{LATENCIES}{latencies}{ERRORS}{errors}{REST}{rest}0}}")
}

#[derive(Default, Clone)]
struct Types {
    counts: String,
    latencies: String,
    errors: String,
}

impl Types {
    fn len(&self) -> usize {
        self.counts.len() + self.latencies.len() + self.errors.len()
    }

    fn push(&mut self, number: usize, random: &mut Random) {
        let (what, how) = (WHAT[number % WHAT.len()], HOW[number / WHAT.len() % HOW.len()]);
        // From the second time round with a number, as versions and regions have.
        let again = number / (WHAT.len() * HOW.len());
        let name = if again == 0 { format!("{what}.{how}") } else { format!("{what}.{how}.{again}") };
        let comma = if number == 0 { "" } else { "," };
        let p50 = 2.0 + random.up_to(90.0);
        let p95 = p50 * (1.5 + random.up_to(3.0));
        let p99 = p95 * (1.1 + random.up_to(2.0));
        let avg = p50 * (1.0 + random.up_to(0.6));
        let (count, errors) = (random.next() % 100_000, random.next() % 300);
        let _ = write!(self.counts, "{comma}\"{name}\":{count}");
        let _ = write!(
            self.latencies,
            "{comma}\"{name}\":{{\"p50\":{p50:.3},\"p95\":{p95:.3},\"p99\":{p99:.3},\"avg\":{avg:.3}}}"
        );
        let _ = write!(self.errors, "{comma}\"{name}\":{errors}");
    }
}

/// The same in each run: xorshift64, Marsaglia 2003.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // A small seed shows in the first numbers' low bits.
        self.0 >> 11
    }

    fn up_to(&mut self, most: f64) -> f64 {
        most * (self.next() % 1_000_000) as f64 / 1e6
    }
}

const METRICS: u64 = 32;

const LATENCIES: &str = "},\"latencyMetrics\":{\"byType\":{";

const ERRORS: &str = "}},\"errorMetrics\":{\"errorsByType\":{";

const REST: &str = "}},\"rest\":";

/// All that stands behind the first part, without the types.
const END: &str = "},\"latencyMetrics\":{\"byType\":{}},\"errorMetrics\":{\"errorsByType\":{}},\"rest\":0}";

const WHAT: [&str; 12] = [
    "order", "page", "user", "payment", "cart", "search", "session", "report", "invoice", "license", "backup", "upload",
];

const HOW: [&str; 10] =
    ["created", "viewed", "updated", "deleted", "failed", "started", "completed", "expired", "approved", "rejected"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_json_of_the_size_that_was_asked_for() {
        for (kind, size) in [
            (BodyKind::Plain, 60),
            (BodyKind::Plain, 100),
            (BodyKind::Plain, 1000),
            (BodyKind::Plain, 30_000),
            (BodyKind::Metrics, 1000),
            (BodyKind::Metrics, 1001),
            (BodyKind::Metrics, 30_000),
            (BodyKind::Metrics, 100_000),
        ] {
            let bodies = Bodies::new(kind, size).unwrap();
            for number in 0..METRICS {
                let frame = bodies.frame("/topic/a", Stamp { publisher: 1, number, intended_us: 3 });
                let (head, body) = frame.split_once("\n\n").unwrap();
                assert!(head.ends_with(&format!("content-length:{size}")), "{head}");
                assert_eq!(body.len(), size + 1);
                let json: serde_json::Value = serde_json::from_str(body.trim_end_matches('\0')).unwrap();
                assert!(json["n"].is_string());
            }
        }
    }

    #[test]
    fn a_size_below_the_smallest_body_is_refused() {
        assert_eq!(
            Bodies::new(BodyKind::Plain, 59).unwrap_err(),
            "--size 59 is refused: such a body has at least 60 octets"
        );
        assert!(Bodies::new(BodyKind::Metrics, 999).is_err());
    }
}
