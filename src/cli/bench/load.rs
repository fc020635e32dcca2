//! The scenarios: who connects, who sends what when, and what arrives.

use std::cell::RefCell;
use std::error::Error;
use std::io::{self, IsTerminal, Write as _};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::{CreationError, Histogram};
use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{sleep, sleep_until, timeout};

use super::client::Client;
use super::process::{Usage, usage};
use super::report::{Broker, Latency, Report};
use super::{LoadArgs, Transport};
use crate::net::clock;

/// Sends to `topics` topics with the subscribers spread over them; `stalled` of these never read.
pub(super) async fn fanout(args: &LoadArgs, topics: usize, stalled: usize) -> Result<String, Box<dyn Error>> {
    let empty = args.pid.and_then(usage);
    let clients = connect_all(args).await?;
    let arrivals = Arrivals::new()?;
    let destination =
        |topic: usize| if topics == 1 { args.destination.clone() } else { format!("{}.{topic}", args.destination) };
    let subscribed = subscribe_all(args, clients, |number| destination(number % topics)).await?;
    let mut held = Vec::new();
    for (number, client) in subscribed.into_iter().enumerate() {
        // The last ones, so that the readers are spread evenly.
        if number >= args.subscribers - stalled.min(args.subscribers) {
            held.push(client);
        } else {
            spawn_local(receive(client, Rc::clone(&arrivals)));
        }
    }
    let readers = args.subscribers - held.len();
    let before = args.pid.and_then(usage);
    let own = usage(std::process::id());
    let begin = clock::now();
    let messages = publish_all(args, topics, readers, &arrivals, destination).await?;
    let took = clock::now() - begin;
    drop(held);
    let arrivals = arrivals.state.borrow();
    let expected = messages * readers as u64 / topics as u64;
    let deliveries = arrivals.deliveries;
    let report = Report {
        scenario: "fanout",
        connections: args.subscribers,
        seconds: took.as_secs_f64(),
        messages,
        deliveries,
        deliveries_per_second: deliveries as f64 / took.as_secs_f64(),
        megabytes_per_second: (deliveries * args.size as u64) as f64 / 1e6 / took.as_secs_f64(),
        latency_ms: Latency::of(&arrivals.latency_us),
        lost: expected.saturating_sub(deliveries),
        duplicated: arrivals.duplicated,
        reordered: arrivals.reordered,
        lost_subscribers: arrivals.lost_subscribers,
        broker: broker(args, before, empty, took, deliveries),
        client_cores: cores(own, took),
    };
    Ok(report.print(args.json)?)
}

/// Connects, subscribes, and looks what that costs at rest.
pub(super) async fn idle(args: &LoadArgs) -> Result<String, Box<dyn Error>> {
    let empty = args.pid.and_then(usage);
    let clients = connect_all(args).await?;
    let clients = subscribe_all(args, clients, |_| args.destination.clone()).await?;
    let arrivals = Arrivals::new()?;
    for client in clients {
        spawn_local(receive(client, Rc::clone(&arrivals)));
    }
    let before = args.pid.and_then(usage);
    let own = usage(std::process::id());
    let begin = clock::now();
    sleep(args.duration()).await;
    let took = clock::now() - begin;
    let report = quiet("idle", args, took, broker(args, before, empty, took, 0), cores(own, took));
    Ok(report.print(args.json)?)
}

/// Connects as fast as it goes, and looks how long that takes.
pub(super) async fn connect(args: &LoadArgs) -> Result<String, Box<dyn Error>> {
    let empty = args.pid.and_then(usage);
    let own = usage(std::process::id());
    let begin = clock::now();
    let clients = connect_all(args).await?;
    let took = clock::now() - begin;
    let report = quiet("connect", args, took, broker(args, empty, empty, took, clients.len() as u64), cores(own, took));
    Ok(report.print(args.json)?)
}

fn quiet(scenario: &'static str, args: &LoadArgs, took: Duration, broker: Option<Broker>, client_cores: f64) -> Report {
    Report {
        scenario,
        connections: args.subscribers,
        seconds: took.as_secs_f64(),
        messages: 0,
        deliveries: 0,
        deliveries_per_second: 0.0,
        megabytes_per_second: 0.0,
        latency_ms: None,
        lost: 0,
        duplicated: 0,
        reordered: 0,
        lost_subscribers: 0,
        broker,
        client_cores,
    }
}

fn broker(
    args: &LoadArgs,
    before: Option<Usage>,
    empty: Option<Usage>,
    took: Duration,
    deliveries: u64,
) -> Option<Broker> {
    Some(Broker::new(before?, usage(args.pid?)?, empty?, took, deliveries, args.subscribers))
}

fn cores(before: Option<Usage>, took: Duration) -> f64 {
    let cpu = usage(std::process::id()).zip(before).map(|(after, before)| after.cpu.saturating_sub(before.cpu));
    cpu.unwrap_or_default().as_secs_f64() / took.as_secs_f64()
}

async fn connect_all(args: &LoadArgs) -> io::Result<Vec<Client>> {
    in_parallel(args.subscribers, "connected", |number| {
        let args = args.clone();
        async move { Client::connect(&args, number).await }
    })
    .await
}

async fn subscribe_all(
    args: &LoadArgs,
    clients: Vec<Client>,
    destination: impl Fn(usize) -> String,
) -> io::Result<Vec<Client>> {
    let mut clients: Vec<Option<Client>> = clients.into_iter().map(Some).collect();
    in_parallel(clients.len(), "subscribed", |number| {
        let client = clients[number].take();
        let (id, destination) = (format!("sub-{}", number % args.ids.max(1)), destination(number));
        let overflow = args.overflow.clone();
        async move {
            let mut client = client.ok_or(io::ErrorKind::NotFound)?;
            client.subscribe(&id, &destination, overflow.as_deref()).await?;
            Ok(client)
        }
    })
    .await
}

/// Runs that many tasks, a bounded number at a time, and keeps the order of their results.
async fn in_parallel<T: 'static, F: Future<Output = io::Result<T>> + 'static>(
    count: usize,
    what: &str,
    mut task: impl FnMut(usize) -> F,
) -> io::Result<Vec<T>> {
    let mut running = JoinSet::new();
    let mut done: Vec<Option<T>> = (0..count).map(|_| None).collect();
    let mut next = 0;
    for finished in 0..count {
        while next < count && running.len() < PARALLEL {
            let number = next;
            let task = task(number);
            running.spawn_local(async move { (number, task.await) });
            next += 1;
        }
        if let Some(joined) = running.join_next().await {
            let (number, result) = joined.map_err(io::Error::other)?;
            done[number] = Some(result?);
        }
        if finished % 500 == 0 {
            progress(&format!("{what} {finished} of {count}"));
        }
    }
    progress(&format!("{what} {count} of {count}"));
    Ok(done.into_iter().flatten().collect())
}

/// Sends until the time is over; answers how many messages, after the last has arrived.
async fn publish_all(
    args: &LoadArgs,
    topics: usize,
    readers: usize,
    arrivals: &Arrivals,
    destination: impl Fn(usize) -> String,
) -> Result<u64, Box<dyn Error>> {
    let mut publishers = Vec::new();
    let of_publisher = LoadArgs { transport: publisher_transport(args.transport), ..args.clone() };
    for number in 0..args.publishers.max(1) {
        publishers.push(Client::connect(&of_publisher, args.subscribers + number).await?);
    }
    let begin = clock::now();
    let end = begin + args.duration();
    let per_message = (readers / topics) as u64;
    let mut sent = 0_u64;
    while clock::now() < end {
        let intended = match args.rate {
            Some(rate) => begin + Duration::from_secs_f64(sent as f64 / rate),
            None => clock::now(),
        };
        sleep_until(intended.into()).await;
        let burst = if args.rate.is_some() { 1 } else { args.burst.max(1) as u64 };
        let frames: Vec<String> = (sent..sent + burst)
            .map(|number| {
                let topic = number as usize % topics;
                frame(
                    args,
                    &destination(topic),
                    number / topics as u64,
                    intended.saturating_duration_since(arrivals.begin),
                )
            })
            .collect();
        let publisher = sent as usize % topics % publishers.len();
        publishers[publisher].send(&frames.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        sent += burst;
        if args.rate.is_none() {
            arrivals.wait_for(sent * per_message, PATIENCE).await;
        }
        if sent.is_multiple_of(64) {
            progress(&format!("sent {sent}"));
        }
    }
    arrivals.wait_for(sent * per_message, PATIENCE).await;
    progress("");
    Ok(sent)
}

/// Publishers speak what is cheapest where the broker has it.
fn publisher_transport(transport: Transport) -> Transport {
    match transport {
        Transport::SockjsWebsocket | Transport::SockjsXhrStreaming => Transport::SockjsWebsocket,
        Transport::Ws => Transport::Ws,
        Transport::Tcp => Transport::Tcp,
    }
}

/// A SEND whose body begins with its number and its intended time, and goes on as JSON would.
fn frame(args: &LoadArgs, destination: &str, number: u64, intended: Duration) -> String {
    let mut body = format!("{{\"n\":\"{number:016x}{:016x}\",\"data\":[", intended.as_micros());
    let mut value = 0;
    while body.len() + 30 < args.size {
        body += &format!("{{\"name\":\"m{value}\",\"v\":{value}}},");
        value += 1;
    }
    while body.len() + 3 < args.size {
        body.push('0');
    }
    body += "0]}";
    format!("SEND\ndestination:{destination}\ncontent-type:application/json\ncontent-length:{}\n\n{body}\0", body.len())
}

/// What all subscribers together got.
struct Arrivals {
    begin: Instant,
    state: RefCell<State>,
    more: Notify,
}

struct State {
    deliveries: u64,
    duplicated: u64,
    reordered: u64,
    lost_subscribers: u64,
    latency_us: Histogram<u64>,
    wanted: u64,
}

impl Arrivals {
    fn new() -> Result<Rc<Self>, CreationError> {
        // Within a hundredth, up to any time.
        let latency_us = Histogram::<u64>::new(2)?;
        let state =
            State { deliveries: 0, duplicated: 0, reordered: 0, lost_subscribers: 0, latency_us, wanted: u64::MAX };
        Ok(Rc::new(Self { begin: clock::now(), state: RefCell::new(state), more: Notify::new() }))
    }

    async fn wait_for(&self, deliveries: u64, patience: Duration) {
        self.state.borrow_mut().wanted = deliveries;
        let arrived = async {
            while self.state.borrow().deliveries < deliveries {
                self.more.notified().await;
            }
        };
        // What has not come by then is told as lost.
        let _ = timeout(patience, arrived).await;
    }

    fn on_lost_subscriber(&self, error: &io::Error) {
        let mut state = self.state.borrow_mut();
        // The first tells why; a broker that goes down would fill the screen.
        if state.lost_subscribers == 0 {
            progress(&format!("a subscriber was lost: {error}\n"));
        }
        state.lost_subscribers += 1;
    }

    fn note(&self, last: &mut Option<u64>, number: u64, intended_us: u64) {
        let now_us = u64::try_from((clock::now() - self.begin).as_micros()).unwrap_or(u64::MAX);
        let mut state = self.state.borrow_mut();
        match *last {
            Some(last) if number == last => state.duplicated += 1,
            Some(last) if number < last => state.reordered += 1,
            _ => *last = Some(number),
        }
        state.deliveries += 1;
        let _ = state.latency_us.record(now_us.saturating_sub(intended_us).max(1));
        if state.deliveries == state.wanted {
            self.more.notify_one();
        }
    }
}

async fn receive(mut client: Client, arrivals: Rc<Arrivals>) {
    let mut last = None;
    loop {
        match client.next().await {
            Ok(frame) => {
                if let Some((number, intended_us)) = stamp(&frame) {
                    arrivals.note(&mut last, number, intended_us);
                }
            }
            Err(error) => return arrivals.on_lost_subscriber(&error),
        }
    }
}

/// The number and the intended time of a message.
fn stamp(frame: &Bytes) -> Option<(u64, u64)> {
    if !frame.starts_with(b"MESSAGE") {
        return None;
    }
    let head = frame.windows(2).position(|window| window == b"\n\n")? + 2;
    let digits = std::str::from_utf8(frame.get(head + 6..head + 38)?).ok()?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some((number(&digits[..16])?, number(&digits[16..])?))
}

/// On a terminal, one line that is written over.
fn progress(text: &str) {
    let mut stderr = io::stderr();
    if stderr.is_terminal() || text.ends_with('\n') {
        let _ = write!(stderr, "\r\x1b[K{text}");
    }
}

/// Connections that are made at the same time.
const PARALLEL: usize = 100;

/// How long the last messages may take.
const PATIENCE: Duration = Duration::from_secs(30);
