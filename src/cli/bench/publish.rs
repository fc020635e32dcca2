//! Who sends what when.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::sleep_until;

use super::arrivals::{Arrivals, Stamp};
use super::body::Bodies;
use super::client::{Client, Sender, unexpected};
use super::{LoadArgs, Transport};
use crate::net::clock;

/// The topics of one run and how many read each.
pub(super) struct Topics {
    pub(super) names: Vec<String>,
    pub(super) readers: Vec<u64>,
}

/// What was sent.
pub(super) struct Sent {
    pub(super) messages: u64,
    /// How many deliveries that should make.
    pub(super) expected: u64,
}

/// Sends until the time is over, and waits for the last to arrive.
///
/// With a rate, one message after the other, topics and publishers in turn. Without, a burst
/// to each topic, all in one write for each publisher, and the next when all have the last.
///
/// # Errors
/// The broker refused a publisher, and says why, or closed its connection.
pub(super) async fn publish_all(
    args: &LoadArgs,
    bodies: &Bodies,
    topics: &Topics,
    arrivals: &Rc<Arrivals>,
) -> io::Result<Sent> {
    let of_publisher = LoadArgs { transport: publisher_transport(args.transport), ..args.clone() };
    let mut publishers = Vec::new();
    let (failed, mut failures) = mpsc::channel(1);
    for number in 0..args.publishers.clamp(1, usize::from(u16::MAX)) {
        // A publisher that has much to send has no time for heart-beats.
        let quiet = LoadArgs { heart_beat: super::HeartBeat { send: 0, receive: 0 }, ..of_publisher.clone() };
        let publisher = Client::connect(&quiet, args.subscribers + number).await?;
        publishers.push(publisher.sender().clone());
        spawn_local(watch(publisher, failed.clone()));
    }
    tokio::select! {
        sent = send_all(args, &publishers, bodies, topics, arrivals) => sent,
        Some(error) = failures.recv() => Err(error),
    }
}

/// Reads what a publisher is told: pings are answered, and an ERROR ends the run.
async fn watch(mut publisher: Client, failed: mpsc::Sender<io::Error>) {
    let error = loop {
        match publisher.next().await {
            Ok(frame) if frame.starts_with(b"ERROR") => break unexpected(&frame),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    // The first tells why.
    let _ = failed.try_send(io::Error::new(error.kind(), format!("a publisher was lost: {error}")));
}

async fn send_all(
    args: &LoadArgs,
    publishers: &[Sender],
    bodies: &Bodies,
    topics: &Topics,
    arrivals: &Rc<Arrivals>,
) -> io::Result<Sent> {
    // For each topic those of each publisher.
    let mut numbers = vec![vec![0; publishers.len()]; topics.names.len()];
    let begin = clock::now();
    let end = begin + args.duration();
    let mut sent = Sent { messages: 0, expected: 0 };
    while clock::now() < end {
        let intended = match args.rate {
            Some(rate) => begin + Duration::from_secs_f64(sent.messages as f64 / rate),
            None => clock::now(),
        };
        if intended >= end {
            break;
        }
        sleep_until(intended.into()).await;
        let count = match args.rate {
            Some(_) => 1,
            None => args.burst.max(1) * topics.names.len(),
        };
        let mut frames: Vec<Vec<String>> = vec![Vec::new(); publishers.len()];
        for _ in 0..count {
            let turn = sent.messages as usize;
            let topic = turn % topics.names.len();
            let publisher = if topics.names.len() == 1 { turn } else { topic } % publishers.len();
            let number = numbers[topic][publisher];
            numbers[topic][publisher] += 1;
            let intended_us = u64::try_from((intended - arrivals.begin).as_micros()).unwrap_or(u64::MAX);
            let stamp = Stamp { publisher: u16::try_from(publisher).unwrap_or(0), number, intended_us };
            frames[publisher].push(bodies.frame(&topics.names[topic], stamp));
            sent.messages += 1;
            sent.expected += topics.readers[topic];
        }
        for (publisher, frames) in publishers.iter().zip(&frames) {
            if !frames.is_empty() {
                publisher.send(&frames.iter().map(String::as_str).collect::<Vec<_>>()).await?;
            }
        }
        if args.rate.is_none() {
            arrivals.wait_for(sent.expected, PATIENCE).await;
        }
    }
    arrivals.wait_for(sent.expected, PATIENCE).await;
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

/// How long nothing may come until what is left counts as lost.
const PATIENCE: Duration = Duration::from_secs(15);
