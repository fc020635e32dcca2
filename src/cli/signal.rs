//! The signals that stop the program.

use std::future::{Future, pending};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info};

/// Listens from the call on, and resolves at Ctrl-C or SIGTERM; to be called within a runtime.
pub fn stop() -> impl Future<Output = ()> {
    let interrupt = listen(SignalKind::interrupt(), "SIGINT");
    let terminate = listen(SignalKind::terminate(), "SIGTERM");
    async {
        tokio::select! {
            () = one(interrupt, "SIGINT") => {}
            () = one(terminate, "SIGTERM") => {}
        }
    }
}

fn listen(kind: SignalKind, name: &'static str) -> Option<Signal> {
    signal(kind).inspect_err(|error| error!(signal = name, %error, "this signal cannot be listened for")).ok()
}

async fn one(signal: Option<Signal>, name: &'static str) {
    match signal {
        Some(mut signal) => {
            signal.recv().await;
            info!(signal = name, "asked to stop");
        }
        None => pending().await,
    }
}
