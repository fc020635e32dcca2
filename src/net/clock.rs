//! The one clock. Sessions get `now` as an argument from here.

use std::time::Instant;

/// Now, on the clock that tests can pause.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
