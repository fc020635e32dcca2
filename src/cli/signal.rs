//! The signals: those that stop the program, and the one that has it read its settings anew.

use std::convert::Infallible;
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

/// Listens from the call on, and calls `act` at each SIGHUP; to be called within a runtime.
pub fn each_hangup(act: impl Fn()) -> impl Future<Output = Infallible> {
    let hangup = listen(SignalKind::hangup(), "SIGHUP");
    async move {
        let Some(mut hangup) = hangup else { return pending().await };
        loop {
            if hangup.recv().await.is_none() {
                pending::<()>().await;
            }
            info!(signal = "SIGHUP", "reading the settings anew");
            act();
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
