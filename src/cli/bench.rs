//! `stompbox bench`: a load generator for any STOMP broker, and the floor to hold it against.

mod arrivals;
mod body;
mod client;
mod floor;
mod load;
mod process;
mod publish;
mod report;

mod scan;
mod ticks;

use std::cell::Cell;
use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::io::{self, IsTerminal as _, Write as _};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;
use std::thread::LocalKey;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use tokio::runtime;
use tokio::task::LocalSet;

use self::body::BodyKind;
use crate::net::clock;

/// What `bench` takes.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    scenario: Scenario,
}

/// What can be measured.
#[derive(Debug, Subcommand)]
enum Scenario {
    /// One topic, many subscribers.
    Fanout(LoadArgs),
    /// Many topics with a few subscribers each.
    Pubsub(LoadArgs),
    /// Connections that only stand: memory and CPU at rest.
    Idle(LoadArgs),
    /// Connections made one after the other.
    Connect(LoadArgs),
    /// One topic, some of whose subscribers do not read.
    Slow(LoadArgs),
    /// A periodic broadcast: how long after the whole period of the wall clock it comes.
    Ticks(LoadArgs),
    /// A bare loop that writes finished frames: run it, and the scenarios above against it.
    Floor(FloorArgs),
}

/// What a scenario takes.
#[derive(Debug, Clone, Args)]
struct LoadArgs {
    /// The broker: a name or an address, and the port.
    #[arg(long, default_value = "127.0.0.1:8080")]
    target: Target,
    /// The virtual host that CONNECT names; RabbitMQ's is /, and most others take any.
    #[arg(long, default_value = "/")]
    host: String,
    /// The path of the WebSocket or SockJS mount.
    #[arg(long, default_value = "/ws")]
    path: String,
    /// How subscribers connect.
    #[arg(long, value_enum, default_value_t = Transport::Ws)]
    transport: Transport,
    /// Subscribers, all topics together; in `idle` and `connect`, connections.
    #[arg(long, default_value_t = 1000)]
    subscribers: usize,
    /// Publishers.
    #[arg(long, default_value_t = 1)]
    publishers: usize,
    /// Topics, in `pubsub`.
    #[arg(long, default_value_t = 100)]
    topics: usize,
    /// Octets of a body, at least 60; of metrics, 1000.
    #[arg(long, default_value_t = 1000)]
    size: usize,
    /// What stands in a body; it matters to what compresses.
    #[arg(long, value_enum, default_value_t = BodyKind::Plain)]
    body: BodyKind,
    /// Messages a second of all publishers together; without it, flat out: the next burst, to
    /// each topic, when all subscribers have the last.
    #[arg(long, value_parser = above_zero)]
    rate: Option<f64>,
    /// Messages of one burst to one topic, flat out; they leave in one write.
    #[arg(long, default_value_t = 1)]
    burst: usize,
    /// How long to measure, in seconds.
    #[arg(long, default_value_t = 10.0, value_parser = above_zero)]
    duration: f64,
    /// Different subscription ids.
    #[arg(long, default_value_t = 1)]
    ids: usize,
    /// Subscribers that do not read, in `slow`.
    #[arg(long, default_value_t = 10)]
    stalled: usize,
    /// Offers permessage-deflate, with `ws` alone. Sends are not compressed.
    #[arg(long)]
    deflate: bool,
    /// The `overflow` header of the subscriptions.
    #[arg(long)]
    overflow: Option<String>,
    /// Milliseconds from one broadcast to the next, in `ticks`.
    #[arg(long, default_value_t = 1000)]
    period: u64,
    /// Sends one message at the end of `idle`, and looks at the memory after it.
    #[arg(long)]
    broadcast: bool,
    /// What CONNECT says in `heart-beat`: how often clients send and want to hear, in
    /// milliseconds.
    #[arg(long, default_value = "10000,10000")]
    heart_beat: HeartBeat,
    /// The destination, or its beginning in `pubsub`.
    #[arg(long, default_value = "/topic/bench")]
    destination: String,
    /// The user name for CONNECT.
    #[arg(long)]
    login: Option<String>,
    /// The password for CONNECT.
    #[arg(long)]
    passcode: Option<String>,
    /// Addresses to connect from, in turn; one has some 28,000 ports.
    #[arg(long, value_delimiter = ',')]
    source: Vec<IpAddr>,
    /// The broker's process on this machine: its CPU and memory are measured.
    #[arg(long)]
    pid: Option<u32>,
    /// Prints the result as JSON.
    #[arg(long)]
    json: bool,
}

/// What the floor takes.
#[derive(Debug, Clone, Args)]
struct FloorArgs {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// Writes all messages that came together in one go, instead of each by itself.
    #[arg(long)]
    batched: bool,
}

/// What CONNECT says in `heart-beat`, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct HeartBeat {
    send: u64,
    receive: u64,
}

impl FromStr for HeartBeat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers =
            text.split_once(',').and_then(|(send, receive)| Some((send.parse().ok()?, receive.parse().ok()?)));
        let (send, receive) = numbers.ok_or("it must be two numbers of milliseconds, such as 10000,10000")?;
        Ok(Self { send, receive })
    }
}

/// Where a broker listens.
#[derive(Debug, Clone)]
struct Target {
    /// As it was given; requests name it.
    name: String,
    /// To be tried one after the other.
    addresses: Vec<SocketAddr>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = text.to_socket_addrs().map_err(|error| format!("{error}; it must be such as localhost:8080"))?;
        let mut addresses: Vec<_> = found.collect();
        // Of a `localhost` that has both, more brokers listen on this one.
        addresses.sort_by_key(SocketAddr::is_ipv6);
        Ok(Self { name: text.to_owned(), addresses })
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn above_zero(text: &str) -> Result<f64, &'static str> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or("it must be a number above 0")
}

/// How a client connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Transport {
    /// STOMP over a plain WebSocket.
    Ws,
    /// STOMP over SockJS, transport websocket.
    SockjsWebsocket,
    /// STOMP over SockJS, transport `xhr_streaming`.
    SockjsXhrStreaming,
    /// STOMP over TCP.
    Tcp,
}

impl BenchArgs {
    /// Runs the scenario and prints what came of it.
    ///
    /// # Errors
    /// The broker cannot be reached, or does not do what STOMP says.
    pub fn run(&self) -> Result<String, Box<dyn Error>> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let local = LocalSet::new();
        match &self.scenario {
            Scenario::Floor(args) => Ok(floor::run(args.listen, args.batched).map(|()| String::new())?),
            Scenario::Fanout(args) => local.block_on(&runtime, load::fanout("fanout", args, 1, 0)),
            Scenario::Pubsub(args) => local.block_on(&runtime, load::fanout("pubsub", args, args.topics.max(1), 0)),
            Scenario::Slow(args) => local.block_on(&runtime, load::fanout("slow", args, 1, args.stalled)),
            Scenario::Idle(args) => local.block_on(&runtime, load::idle(args)),
            Scenario::Ticks(args) => local.block_on(&runtime, ticks::ticks(args)),
            Scenario::Connect(args) => local.block_on(&runtime, load::connect(args)),
        }
    }
}

impl LoadArgs {
    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.duration.clamp(0.1, 86_400.0))
    }
}

/// Tells how far it is. On a terminal, in one line that is written over; elsewhere every few
/// seconds in a line of its own. What ends a line is told at once.
fn progress(text: &str) {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[K{text}");
        let _ = stderr.flush();
    } else if text.ends_with('\n') {
        let _ = stderr.write_all(text.as_bytes());
    } else if !text.is_empty() && is_due(&LAST_LINE, clock::now()) {
        let _ = writeln!(stderr, "{text}");
    }
}

/// Whether the last line was long enough ago; the first is when the run begins.
fn is_due(last: &'static LocalKey<Cell<Option<Instant>>>, now: Instant) -> bool {
    let is_due = last.get().is_some_and(|last| now - last >= LINE_EVERY);
    if is_due || last.get().is_none() {
        last.set(Some(now));
    }
    is_due
}

thread_local! {
    static LAST_LINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

const LINE_EVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
