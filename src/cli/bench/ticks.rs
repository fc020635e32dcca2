//! How punctual a periodic broadcast is.

use std::cell::Cell;
use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::client::Client;
use super::report::Latency;
use super::{HeartBeat, LoadArgs, progress};

/// Listens for the duration and says how long after the whole period of the wall clock each
/// message came; broker and listener must have the same clock, as on one machine.
pub(super) async fn ticks(args: &LoadArgs) -> Result<String, Box<dyn Error>> {
    let period = Duration::from_millis(args.period.max(1));
    // Nobody would send the heart-beats.
    let quiet = LoadArgs { heart_beat: HeartBeat { send: 0, ..args.heart_beat }, ..args.clone() };
    let mut client = Client::connect(&quiet, 0).await?;
    client.subscribe("ticks", &args.destination, None, &Cell::default()).await?;
    // Of microseconds.
    let mut offsets = Histogram::<u64>::new(3)?;
    let mut last = None;
    let (mut missed, mut doubled) = (0, 0);
    let end = Instant::now() + args.duration();
    while let Ok(frame) = timeout_at(end, client.next()).await {
        let frame = frame?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        if frame.starts_with(b"ERROR") {
            return Err(String::from_utf8_lossy(&frame).into());
        }
        if frame.windows(RETAINED.len()).any(|window| window == RETAINED) {
            continue;
        }
        let (number, offset) = place(now, period);
        offsets.record(u64::try_from(offset.as_micros())?)?;
        match last.map(|last| number.saturating_sub(last)) {
            Some(0) => doubled += 1,
            Some(steps) => missed += steps - 1,
            None => {}
        }
        last = Some(number);
        progress(&format!("{} ticks", offsets.len()));
    }
    progress("");
    let Some(Latency { p50, p95, p99, max }) = Latency::of(&offsets) else {
        return Err(format!("nothing came on {} in {:?}", args.destination, args.duration()).into());
    };
    let ticks = offsets.len();
    if args.json {
        let offset_ms = json!({"p50": p50, "p95": p95, "p99": p99, "max": max});
        let report =
            json!({"scenario": "ticks", "ticks": ticks, "offset_ms": offset_ms, "missed": missed, "doubled": doubled});
        return Ok(format!("{report}\n"));
    }
    let offset = format!("{p50:.2}, {p95:.2}, {p99:.2}, {max:.2} ms");
    let rows = [
        ("ticks", ticks.to_string()),
        ("offset p50, p95, p99, max", offset),
        ("missed, doubled", format!("{missed}, {doubled}")),
    ];
    Ok(rows.iter().map(|(name, value)| format!("{name:<28} {value}\n")).collect())
}

/// In which period since the Unix epoch that is, and how long after its beginning.
fn place(now: Duration, period: Duration) -> (u64, Duration) {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
    (micros(now) / micros(period), Duration::from_micros(micros(now) % micros(period)))
}

const RETAINED: &[u8] = b"\nretained:true\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_counts_from_the_whole_period() {
        let (second, tenth) = (Duration::from_secs(1), Duration::from_millis(100));
        assert_eq!(place(Duration::from_millis(7_000), second), (7, Duration::ZERO));
        assert_eq!(place(Duration::from_millis(7_999), second), (7, Duration::from_millis(999)));
        assert_eq!(place(Duration::from_millis(7_999), tenth), (79, Duration::from_millis(99)));
    }
}
