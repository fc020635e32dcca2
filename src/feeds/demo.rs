//! The demo: a recorded event stream, replayed at its pace, over and over.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info};

use super::events::Events;
use super::events::replay::{self, ReplayError};
use super::metrics::moment;

/// Replays the recording that the binary carries; never ends.
///
/// # Errors
/// The recording is not one.
pub async fn replay(events: Arc<Events>) -> Result<(), ReplayError> {
    let recording = replay::parse(RECORDING)?;
    let length = recording.last().map_or(0, |event| event.at_ms) + PAUSE_MS;
    info!(events = recording.len(), seconds = length / 1000, "the demo replays a recorded event stream");
    let mut begin = tokio::time::Instant::now();
    loop {
        for recorded in &recording {
            tokio::time::sleep_until(begin + Duration::from_millis(recorded.at_ms)).await;
            if let Err(rejected) = events.accept_json(recorded.event.as_bytes(), moment()) {
                debug!(%rejected, "the recording holds an event that is not accepted");
            }
        }
        begin += Duration::from_millis(length);
    }
}

const RECORDING: &str = include_str!("../../fixtures/events.ndjson");

/// Between the last event and the first of the next round.
const PAUSE_MS: u64 = 100;
