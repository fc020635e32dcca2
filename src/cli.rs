//! The command line: what can be asked for, and how a command's settings are found.

pub mod bench;
pub mod check;
pub mod hash;
pub mod log;
pub mod signal;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::app::Reloader;
use crate::config::{Config, ConfigError, Sources};

/// A STOMP message broker that browsers can talk to.
#[derive(Debug, Parser)]
#[command(name = "stompbox", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the broker.
    Serve(ServeArgs),
    /// Checks settings and prints those in effect as TOML, secrets masked; with --as or
    /// --anonymous, says whether somebody may do something, and by which rule.
    Check(check::CheckArgs),
    /// Hashes a password, a token or an API key for the settings; reads it from standard input.
    HashPassword(hash::HashArgs),
    /// Puts load on a broker and measures it.
    Bench(bench::BenchArgs),
}

/// What `serve` takes.
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// The TOML file with the settings; without it, the defaults.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to listen (server.listen), such as 127.0.0.1:8080.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Where to listen for STOMP over TCP (tcp.listen), such as 127.0.0.1:61613; empty: nowhere.
    #[arg(long, value_name = "ADDR")]
    pub tcp_listen: Option<String>,
    /// Threads that serve connections (server.shards); 0: one per core.
    #[arg(long, value_name = "N")]
    pub shards: Option<String>,
    /// Listens beyond this machine although nobody has to log in (server.allow_open).
    #[arg(long)]
    pub allow_open: bool,
    /// What to log (log.level): off, error, warn, info, debug, trace, or a list for each module.
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// How to log (log.format): auto, human or json.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Replays a recorded stream of events, so that there is something to see.
    #[arg(long)]
    pub demo: bool,
}

impl ServeArgs {
    /// Puts the defaults, the file, the environment and the flags together.
    ///
    /// # Errors
    /// As [`Config::load`], or the file cannot be read.
    pub fn load(&self, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Config, ConfigError> {
        let flags = [
            ("--listen", "server.listen", self.listen.as_deref()),
            ("--tcp-listen", "tcp.listen", self.tcp_listen.as_deref()),
            ("--shards", "server.shards", self.shards.as_deref()),
            ("--allow-open", "server.allow_open", self.allow_open.then_some("true")),
            ("--log-level", "log.level", self.log_level.as_deref()),
            ("--log-format", "log.format", self.log_format.as_deref()),
        ];
        let mut sources = Sources::default().variables(environment);
        if let Some(path) = &self.config {
            sources = sources.read_file(path)?;
        }
        for (flag, key, value) in flags {
            if let Some(value) = value {
                sources = sources.flag(flag, key, value);
            }
        }
        Config::load(sources)
    }
}

impl ServeArgs {
    /// Reads the settings anew and gives them to the server; those that are wrong are logged, and
    /// change nothing.
    pub fn reload(&self, server: &Reloader) {
        match self.load(std::env::vars_os()) {
            Ok(config) => server.reload(config),
            Err(error) => tracing::error!(%error, "the settings stay as they are"),
        }
    }
}

const AFTER_HELP: &str = "Settings come from defaults, then the file, then the environment, then flags. \
    A variable is named after its setting: STOMPBOX_SERVER__LISTEN is server.listen; lists are written as in TOML.";
