//! The scenarios: who connects, who subscribes to what, and what is measured.

use std::cell::Cell;
use std::error::Error;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{sleep, timeout};

use super::arrivals::{Arrivals, receive};
use super::body::Bodies;
use super::client::{Client, Receipts, Sender};
use super::process::{Usage, usage};
use super::publish::{Topics, publish_all};
use super::report::{Broker, Client as ClientCost, Latency, Report};
use super::{LoadArgs, progress};
use crate::net::clock;

/// Sends to `topics` topics with the subscribers spread over them; `stalled` of these never read.
pub(super) async fn fanout(
    scenario: &'static str,
    args: &LoadArgs,
    topics: usize,
    stalled: usize,
) -> Result<String, Box<dyn Error>> {
    let bodies = Bodies::new(args.body, args.size)?;
    let empty = args.pid.and_then(usage);
    let clients = connect_all(args).await?;
    let name =
        |topic: usize| if topics == 1 { args.destination.clone() } else { format!("{}.{topic}", args.destination) };
    let mut topics = Topics { names: (0..topics).map(name).collect(), readers: vec![0; topics] };
    let subscribed = subscribe_all(args, clients, |number| topics.names[number % topics.names.len()].clone()).await?;
    spawn_local(beat(args.clone(), subscribed.iter().map(|client| client.sender().clone()).collect()));
    let arrivals = Arrivals::new()?;
    let mut held = Vec::new();
    // The last ones do not read, so that the readers are spread evenly.
    let readers = args.subscribers.saturating_sub(stalled);
    for (number, client) in subscribed.into_iter().enumerate() {
        if number < readers {
            let topic = number % topics.names.len();
            topics.readers[topic] += 1;
            spawn_local(receive(client, Rc::clone(&arrivals)));
        } else {
            held.push(client);
        }
    }
    let before = args.pid.and_then(usage);
    let own = usage(std::process::id());
    let begin = clock::now();
    let ticker = spawn_local(tell(Rc::clone(&arrivals), begin));
    let sent = publish_all(args, &bodies, &topics, &arrivals).await?;
    let took = clock::now() - begin;
    ticker.abort();
    progress("");
    let deliveries = arrivals.deliveries();
    let state = arrivals.state.borrow();
    let report = Report {
        messages: sent.messages,
        deliveries,
        deliveries_per_second: deliveries as f64 / took.as_secs_f64(),
        megabytes_per_second: (deliveries * args.size as u64) as f64 / 1e6 / took.as_secs_f64(),
        octets_per_delivery: (deliveries > 0).then(|| arrivals.octets() as f64 / deliveries as f64),
        latency_ms: Latency::of(&state.latency_us),
        lost: arrivals.lost(sent.expected),
        duplicated: state.duplicated,
        reordered: state.reordered,
        lost_subscribers: state.lost_subscribers,
        broker: broker(args, before, empty, took, (sent.messages, deliveries)),
        client: ClientCost::new(own, usage(std::process::id()), took, deliveries),
        ..Report::quiet(scenario, args.subscribers, took)
    };
    drop(held);
    Ok(report.print(args.json)?)
}

/// Connects, subscribes, and looks what that costs at rest; and, if asked, what is left of one
/// broadcast.
pub(super) async fn idle(args: &LoadArgs) -> Result<String, Box<dyn Error>> {
    let bodies = Bodies::new(args.body, args.size)?;
    let empty = args.pid.and_then(usage);
    let clients = connect_all(args).await?;
    let clients = subscribe_all(args, clients, |_| args.destination.clone()).await?;
    spawn_local(beat(args.clone(), clients.iter().map(|client| client.sender().clone()).collect()));
    let arrivals = Arrivals::new()?;
    for client in clients {
        spawn_local(receive(client, Rc::clone(&arrivals)));
    }
    let before = args.pid.and_then(usage);
    let own = usage(std::process::id());
    let begin = clock::now();
    while clock::now() - begin < args.duration() {
        progress(&format!("{} connections at rest, {:.0} s", args.subscribers, (clock::now() - begin).as_secs_f64()));
        sleep(args.duration().saturating_sub(clock::now() - begin).min(Duration::from_secs(1))).await;
    }
    let took = clock::now() - begin;
    let mut report = Report {
        broker: broker(args, before, empty, took, (0, 0)),
        client: ClientCost::new(own, usage(std::process::id()), took, 0),
        ..Report::quiet("idle", args.subscribers, took)
    };
    if args.broadcast {
        let once = LoadArgs { rate: Some(1.0), duration: 0.5, ..args.clone() };
        let topics = Topics { names: vec![args.destination.clone()], readers: vec![args.subscribers as u64] };
        let sent = publish_all(&once, &bodies, &topics, &arrivals).await?;
        sleep(SETTLE).await;
        report.messages = sent.messages;
        report.deliveries = arrivals.deliveries();
        report.lost = arrivals.lost(sent.expected);
        let after = broker(args, before, empty, took, (0, 0));
        report.kib_per_connection_after_broadcast = after.map(|broker| broker.resident_kib_per_connection);
    }
    report.lost_subscribers = arrivals.state.borrow().lost_subscribers;
    progress("");
    Ok(report.print(args.json)?)
}

/// Connects as fast as it goes, and looks how long that takes.
pub(super) async fn connect(args: &LoadArgs) -> Result<String, Box<dyn Error>> {
    let empty = args.pid.and_then(usage);
    let own = usage(std::process::id());
    let begin = clock::now();
    let mut latency_us = Histogram::<u64>::new(2)?;
    let clients = in_parallel(args.subscribers, "connected", |number| {
        let args = args.clone();
        async move {
            let begin = clock::now();
            Client::connect(&args, number).await.map(|client| (client, clock::now() - begin))
        }
    })
    .await?;
    let took = clock::now() - begin;
    for (_, took) in &clients {
        let _ = latency_us.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1));
    }
    let count = clients.len() as u64;
    progress("");
    let report = Report {
        connections_per_second: Some(count as f64 / took.as_secs_f64()),
        latency_ms: Latency::of(&latency_us),
        broker: broker(args, empty, empty, took, (0, count)),
        client: ClientCost::new(own, usage(std::process::id()), took, count),
        ..Report::quiet("connect", args.subscribers, took)
    };
    Ok(report.print(args.json)?)
}

fn broker(
    args: &LoadArgs,
    before: Option<Usage>,
    empty: Option<Usage>,
    took: Duration,
    messages_and_deliveries: (u64, u64),
) -> Option<Broker> {
    Some(Broker::new(before?, usage(args.pid?)?, empty?, took, messages_and_deliveries, args.subscribers))
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
    let receipts = Rc::new(Cell::new(Receipts::default()));
    let subscribed = in_parallel(clients.len(), "subscribed", |number| {
        let client = clients[number].take();
        let (id, destination) = (format!("sub-{}", number % args.ids.max(1)), destination(number));
        let (overflow, receipts) = (args.overflow.clone(), Rc::clone(&receipts));
        async move {
            let mut client = client.ok_or(io::ErrorKind::NotFound)?;
            client.subscribe(&id, &destination, overflow.as_deref(), &receipts).await?;
            Ok(client)
        }
    })
    .await?;
    if receipts.get() == Receipts::Missing {
        sleep(SETTLE).await;
    }
    Ok(subscribed)
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
    let mut finished = 0;
    while finished < count {
        while next < count && running.len() < PARALLEL {
            let number = next;
            let task = task(number);
            running.spawn_local(async move { (number, task.await) });
            next += 1;
        }
        if let Ok(Some(joined)) = timeout(Duration::from_secs(1), running.join_next()).await {
            let (number, result) = joined.map_err(io::Error::other)?;
            let result = result.map_err(|error| io::Error::other(format!("connection {number}: {error}")))?;
            done[number] = Some(result);
            finished += 1;
            if finished % 100 != 0 {
                continue;
            }
        }
        progress(&format!("{what} {finished} of {count}"));
    }
    progress(&format!("{what} {count} of {count}"));
    Ok(done.into_iter().flatten().collect())
}

/// Sends the heart-beats that all clients promised, spread over the time.
async fn beat(args: LoadArgs, senders: Vec<Sender>) {
    let promised: Vec<_> = senders.into_iter().filter(|sender| sender.heart_beat(&args).send > 0).collect();
    let every = Duration::from_millis(args.heart_beat.send).mul_f64(0.8);
    if promised.is_empty() {
        return;
    }
    let turns = (every.as_secs_f64() / BEAT_TURN.as_secs_f64()).max(1.0) as usize;
    for turn in (0..turns).cycle() {
        sleep(BEAT_TURN).await;
        for sender in promised.iter().skip(turn).step_by(turns) {
            // Its reader tells if it is lost.
            let _ = sender.send(&["\n"]).await;
        }
    }
}

/// Tells how far it is, each second.
async fn tell(arrivals: Rc<Arrivals>, begin: Instant) {
    loop {
        sleep(Duration::from_secs(1)).await;
        let seconds = (clock::now() - begin).as_secs_f64();
        let deliveries = arrivals.deliveries();
        let rate = deliveries as f64 / seconds;
        progress(&format!("{seconds:.0} s, {deliveries} deliveries, {rate:.0}/s"));
    }
}

/// Connections that are made at the same time.
const PARALLEL: usize = 100;

const BEAT_TURN: Duration = Duration::from_millis(50);

/// How long a broker may take to give memory back, or to subscribe without a receipt.
const SETTLE: Duration = Duration::from_secs(2);
