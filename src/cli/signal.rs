//! The signals that stop the program.

use std::future::pending;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

/// Resolves at Ctrl-C or SIGTERM.
pub async fn stop() {
    tokio::select! {
        () = one(SignalKind::interrupt(), "SIGINT") => {}
        () = one(SignalKind::terminate(), "SIGTERM") => {}
    }
}

async fn one(kind: SignalKind, name: &'static str) {
    match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
            info!(signal = name, "asked to stop");
        }
        Err(error) => {
            error!(signal = name, %error, "this signal cannot be listened for");
            pending().await
        }
    }
}
