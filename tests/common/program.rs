//! The program in a process of its own, so that its memory, its signals and its exit code can be told.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// A server on a port of its own; it is killed when dropped.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

impl Program {
    /// Starts that program with two shards and without TCP; `variables` are its environment.
    pub(crate) fn serve(program: impl AsRef<OsStr>, variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--shards", "2", "--log-format", "human"])
            .env_clear()
            .env("STOMPBOX_TCP__LISTEN", "")
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "it ended before it listened");
            if let Some((_, address)) = line.trim_end().split_once("listening on http://") {
                break address.parse().unwrap();
            }
        };
        // Whoever logs into a pipe that nobody reads is blocked.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        Self { child, address }
    }

    /// A figure of its memory in KiB: `VmRSS` now, `VmHWM` at most so far.
    pub(crate) fn memory_kib(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(what)).expect("it still runs");
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
