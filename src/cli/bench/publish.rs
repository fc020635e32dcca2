//! Who sends what when.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep_until;

use super::arrivals::{Arrivals, Stamp};
use super::client::Client;
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
pub(super) async fn publish_all(args: &LoadArgs, topics: &Topics, arrivals: &Rc<Arrivals>) -> io::Result<Sent> {
    let of_publisher = LoadArgs { transport: publisher_transport(args.transport), ..args.clone() };
    let mut publishers = Vec::new();
    for number in 0..args.publishers.clamp(1, usize::from(u16::MAX)) {
        // Who is never read from is sent no heart-beats.
        let quiet = LoadArgs { heart_beat: super::HeartBeat { send: 0, receive: 0 }, ..of_publisher.clone() };
        publishers.push(Client::connect(&quiet, args.subscribers + number).await?);
    }
    let bodies = Body::new(args.size);
    let begin = clock::now();
    let end = begin + args.duration();
    let mut sent = Sent { messages: 0, expected: 0 };
    while clock::now() < end {
        let intended = match args.rate {
            Some(rate) => begin + Duration::from_secs_f64(sent.messages as f64 / rate),
            None => clock::now(),
        };
        sleep_until(intended.into()).await;
        let count = match args.rate {
            Some(_) => 1,
            None => args.burst.max(1) * topics.names.len(),
        };
        let mut frames: Vec<Vec<String>> = vec![Vec::new(); publishers.len()];
        for _ in 0..count {
            let number = sent.messages;
            let topic = number as usize % topics.names.len();
            let publisher = if topics.names.len() == 1 { number as usize } else { topic } % publishers.len();
            let intended_us = u64::try_from((intended - arrivals.begin).as_micros()).unwrap_or(u64::MAX);
            let stamp = Stamp { publisher: u16::try_from(publisher).unwrap_or(0), number, intended_us };
            frames[publisher].push(bodies.frame(&topics.names[topic], stamp));
            sent.messages += 1;
            sent.expected += topics.readers[topic];
        }
        for (publisher, frames) in publishers.iter().zip(&frames) {
            if !frames.is_empty() {
                publisher.sender().send(&frames.iter().map(String::as_str).collect::<Vec<_>>()).await?;
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

/// What stands behind the stamp in each body, as JSON would go on.
struct Body(String);

impl Body {
    fn new(size: usize) -> Self {
        let stamp = Stamp { publisher: 0, number: 0, intended_us: 0 }.write();
        let size = size.saturating_sub(stamp.len());
        let mut body = String::from("\",\"data\":[");
        let mut value = 0;
        while body.len() + 30 < size {
            body += &format!("{{\"name\":\"m{value}\",\"v\":{value}}},");
            value += 1;
        }
        while body.len() + 3 < size {
            body.push('0');
        }
        Self(body + "0]}")
    }

    fn frame(&self, destination: &str, stamp: Stamp) -> String {
        let (stamp, rest) = (stamp.write(), &self.0);
        let length = stamp.len() + rest.len();
        format!(
            "SEND\ndestination:{destination}\ncontent-type:application/json\ncontent-length:{length}\n\n{stamp}{rest}\0"
        )
    }
}

/// How long nothing may come until what is left counts as lost.
const PATIENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_the_size_that_was_asked_for() {
        for size in [60, 100, 1000, 30_000] {
            let frame = Body::new(size).frame("/topic/a", Stamp { publisher: 1, number: 2, intended_us: 3 });
            let (head, body) = frame.split_once("\n\n").unwrap();
            assert!(head.ends_with(&format!("content-length:{size}")), "{head}");
            assert_eq!(body.len(), size + 1);
        }
    }
}
