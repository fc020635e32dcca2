//! The `stompbox` program.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use stompbox::app::App;
use stompbox::cli::{self, Cli, Command, ServeArgs};
use tokio::runtime;

/// What a crowd of connections leaves is given back to the system within seconds (its background thread
/// does that); glibc keeps it for good. A connection at rest is smaller, too.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => serve(&args),
        Command::HashPassword(args) => args.run().and_then(|hash| print(&hash)),
        Command::Bench(args) => args.run().and_then(|report| print(&report)),
        Command::Check(args) => args.run(std::env::vars_os()).and_then(|text| print(&text)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be done if standard error is gone, too
            let _ = writeln!(std::io::stderr(), "stompbox: {error}");
            ExitCode::from(2)
        }
    }
}

fn serve(args: &ServeArgs) -> Result<(), Box<dyn Error>> {
    let config = args.load(std::env::vars_os())?;
    cli::log::start(&config.log, config.logs.own)?;
    let app = App::bind(config, args.demo)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    // From here on, before anyone is told that it listens, a signal ends it in good order.
    let _entered = runtime.enter();
    let stop = cli::signal::stop();
    let reloader = app.reloader();
    let hangups = cli::signal::each_hangup(move || args.reload(&reloader));
    Ok(runtime.block_on(async {
        tokio::select! {
            done = app.run(stop) => done,
            never = hangups => match never {},
        }
    })?)
}

fn print(text: &str) -> Result<(), Box<dyn Error>> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
