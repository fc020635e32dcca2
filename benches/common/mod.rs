//! What is measured, for `stomp`, which takes the time, and `instructions`, which counts them.

use bytes::Bytes;
use stompbox::broker::pattern::Separators;
use stompbox::broker::router::{ConnectionKey, Route, Router};
use stompbox::config::Config;
use stompbox::message::{Destination, Message, MessageId, Overflow, Publication, SubscriptionId};
use stompbox::stomp::encode::encode;
use stompbox::stomp::{Command, Decoder, Frame, Limits, Version};

/// Decodes one frame that comes in pieces.
pub(crate) fn decode(frame: &Bytes, piece: usize, limits: &Limits) -> Frame {
    let mut decoder = Decoder::new(limits);
    decoder.set_version(Version::V1_2);
    let mut at = 0;
    while at < frame.len() {
        let end = frame.len().min(at + piece);
        decoder.push(frame.slice(at..end));
        at = end;
        if let Some(frame) = decoder.next().expect("the frame is correct") {
            return frame;
        }
    }
    panic!("the frame is whole");
}

/// A SEND.
pub(crate) fn send(body: &[u8], with_length: bool) -> Vec<u8> {
    let mut headers = vec![
        ("destination".into(), "/topic/metrics".into()),
        ("content-type".into(), "application/json".into()),
        ("receipt".into(), "message-12".into()),
    ];
    if with_length {
        headers.push(("content-length".into(), body.len().to_string().into()));
    }
    let frame = Frame { command: Command::Send, headers, body: Bytes::copy_from_slice(body) };
    encode(&frame, Some(Version::V1_2))
}

/// A message with that body.
pub(crate) fn message(destination: &str, body: &Bytes) -> Message {
    let destination = Destination::parse(destination).expect("the name is correct");
    let headers = vec![("content-type".into(), "application/json".into())];
    Message::new(MessageId(1), Publication { destination, headers, body: body.clone() }, 1_700_000_000_000, None)
}

/// As many octets of what metrics look like.
pub(crate) fn json(size: usize) -> Vec<u8> {
    r#"{"eventType":"login","count":12345,"latency":3.25},"#.bytes().cycle().take(size).collect()
}

/// The limits as they are without settings.
pub(crate) fn limits() -> Limits {
    Config::from_toml("").expect("the defaults are correct").stomp.limits
}

/// 1,000 topics with 10 subscribers each.
pub(crate) fn exact_routes() -> Router {
    router((0..10_000).map(|n| format!("/topic/exact.{}", n % 1000)))
}

/// 10,000 patterns, of which one matches a message to `/topic/77.a`, and ten look at another word.
pub(crate) fn pattern_routes() -> Router {
    let all = (0..10).map(|n| format!("/topic/*.{n}"));
    router((0..9_990).map(|n| format!("/topic/{n}.*")).chain(all))
}

fn router(destinations: impl Iterator<Item = String>) -> Router {
    let mut router = Router::new(Separators::default());
    for (place, destination) in (0..).zip(destinations) {
        let destination = Destination::parse(&destination).expect("the name is correct");
        let connection = ConnectionKey { place, turn: 0 };
        let route = Route { connection, subscription: SubscriptionId(0), overflow: Overflow::Close, seen: None };
        router.subscribe(&destination, None, route);
    }
    router
}

/// How many routes a message to `destination` has.
pub(crate) fn routes(router: &Router, message: &Message) -> usize {
    let mut count = 0;
    router.route(&message.destination, |_, lists| count += lists.iter().map(|routes| routes.len()).sum::<usize>());
    count
}
