//! A command that tells of licences, run on a schedule; it may hang, fail or flood.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{Licenses, lmstat};
use crate::broker::Broker;

/// What is run, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The program and its arguments; no shell looks at them.
    pub command: Vec<String>,
    /// From the end of one run to the begin of the next.
    pub interval: Duration,
    /// How long one may take before it is killed.
    pub timeout: Duration,
}

/// Runs the command at once and then each interval; never ends.
pub async fn run(broker: Broker, licenses: Arc<Licenses>, settings: Settings) {
    loop {
        match output(&settings).await {
            Ok(output) => {
                let pools = lmstat::parse(&output);
                debug!(pools = pools.len(), "the licence command told of pools");
                if pools.is_empty() {
                    warn!("the licence command told of no pools");
                } else if let Err(refused) = licenses.update(pools) {
                    warn!(%refused, "the licence command told of too many pools");
                } else {
                    licenses.publish(&broker, Utc::now()).await;
                }
            }
            Err(error) => warn!(%error, "the licence command failed"),
        }
        tokio::time::sleep(settings.interval).await;
    }
}

/// What it prints.
async fn output(settings: &Settings) -> Result<String, CommandError> {
    let Some((program, arguments)) = settings.command.split_first() else { return Err(CommandError::None) };
    let mut command = Command::new(program);
    // Dropped, it is killed: a run that hangs, and one at the server's end.
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(CommandError::Spawn)?;
    let stdout = child.stdout.take();
    let run = async {
        let output = match stdout {
            Some(stdout) => read(stdout).await?,
            None => Vec::new(),
        };
        let status = child.wait().await.map_err(CommandError::Read)?;
        if status.success() { Ok(output) } else { Err(CommandError::Failed(status.to_string())) }
    };
    let finished = timeout(settings.timeout, run).await;
    let output = finished.map_err(|_| CommandError::TooLong(settings.timeout)).and_then(|output| output);
    if output.is_err() {
        // Already ended, it cannot be killed.
        let _ = child.kill().await;
    }
    output.map(|output| String::from_utf8_lossy(&output).into_owned())
}

async fn read(stdout: impl AsyncRead + Unpin) -> Result<Vec<u8>, CommandError> {
    let mut output = Vec::new();
    stdout.take(MAX_OUTPUT_BYTES + 1).read_to_end(&mut output).await.map_err(CommandError::Read)?;
    if output.len() as u64 > MAX_OUTPUT_BYTES { Err(CommandError::Flooded) } else { Ok(output) }
}

/// Why a run told nothing.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("there is none")]
    None,
    #[error("it cannot be started: {0}")]
    Spawn(std::io::Error),
    #[error("its output cannot be read: {0}")]
    Read(std::io::Error),
    #[error("it ended with {0}")]
    Failed(String),
    #[error("it took longer than {0:?} (licenses.timeout) and was killed")]
    TooLong(Duration),
    #[error("it printed more than {MAX_OUTPUT_BYTES} octets and was killed")]
    Flooded,
}

/// Thousands of features with their users.
const MAX_OUTPUT_BYTES: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_that_hangs_fails_or_floods_is_ended_and_named() {
        for (script, seconds, reason) in [
            ("sleep 60", 0, "it took longer than 300ms (licenses.timeout) and was killed"),
            ("exit 3", 20, "it ended with exit status: 3"),
            ("yes", 20, "it printed more than 4194304 octets and was killed"),
        ] {
            let error = output(&settings(&["sh", "-c", script], seconds)).await.unwrap_err();
            assert_eq!(error.to_string(), reason, "{script}");
        }
        let error = output(&settings(&["/no/such/program"], 20)).await.unwrap_err();
        assert!(error.to_string().starts_with("it cannot be started: "), "{error}");
    }

    #[tokio::test]
    async fn what_a_command_prints_is_read() {
        assert_eq!(output(&settings(&["echo", "a b"], 20)).await.unwrap(), "a b\n");
    }

    fn settings(command: &[&str], seconds: u64) -> Settings {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        let timeout = Duration::from_millis(seconds * 1000 + 300);
        Settings { command, interval: Duration::from_secs(1), timeout }
    }
}
