//! Frames to octets, and the images of MESSAGE that sessions share.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;

use super::Version;
use super::escape::{escape, is_writable};
use super::frame::{Command, Escaping, Frame};
use crate::message::{Framing, Image, Message};

/// Writes a frame as it stands, with no header added. A header that the version cannot write
/// (a line end in 1.0, a NUL anywhere) is left out.
pub fn encode(frame: &Frame, version: Option<Version>) -> Vec<u8> {
    let mut writer = Writer::new(frame.command, version);
    for (name, value) in &frame.headers {
        writer.header(name, value);
    }
    writer.finish(&frame.body)
}

/// What stands in front of a message's shared part for one subscriber.
#[derive(Debug, Clone, Copy, Default)]
pub struct Own<'a> {
    /// The client's name of the subscription; empty where 1.0 gave none.
    pub subscription: &'a str,
    /// The `ack` header, for modes that ask.
    pub ack: Option<u64>,
    /// Whether it is a retained value.
    pub retained: bool,
    /// How many messages were dropped right before.
    pub dropped: u32,
    /// Which time a queue's message is delivered; 0 for all others.
    pub count: u32,
}

impl Own<'_> {
    /// Whether every subscriber of that name sees the same octets.
    fn is_common(&self) -> bool {
        self.ack.is_none() && !self.retained && self.dropped == 0 && self.count < 2
    }
}

/// The finished image of a MESSAGE for one subscriber. Where nothing but the subscription's
/// name is the subscriber's own, it comes from the message's cache with no copy.
///
/// A body that is not text leaves in base64 where the framing carries text only; the caller has
/// made sure that this is wanted.
pub fn message_image(message: &Message, framing: &dyn Framing, version: Version, own: Own<'_>) -> Image {
    let build = || {
        let (row, dialect) = (framing.row(), version.dialect());
        let tail = message.images.tail(row, dialect, || {
            let (tail, is_text) = shared_tail(message, framing, version);
            framing.tail(&tail, is_text)
        });
        let is_text = is_encoded(message, framing) || message.is_text();
        Image { head: framing.head(&message_head(version, own), tail, is_text), tail: tail.octets.clone() }
    };
    if own.is_common() {
        message.images.whole(framing.row(), version.dialect(), own.subscription, build)
    } else {
        build()
    }
}

/// Does what takes long for [`message_image`], as far as `budget` goes; answers whether that is done.
pub fn prepare_image(message: &Message, framing: &dyn Framing, version: Version, budget: &mut usize) -> bool {
    let begin = || {
        let (tail, is_text) = shared_tail(message, framing, version);
        framing.making(&tail, is_text)
    };
    !framing.takes_steps(message.body.len()) || message.images.prepare(framing.row(), version.dialect(), budget, begin)
}

fn is_encoded(message: &Message, framing: &dyn Framing) -> bool {
    !framing.carries_binary() && !message.is_text()
}

/// The shared end of a message, and whether it is text.
fn shared_tail(message: &Message, framing: &dyn Framing, version: Version) -> (Bytes, bool) {
    if is_encoded(message, framing) {
        let body = BASE64.encode(&message.body);
        (message_tail(message, version, body.as_bytes(), Some("base64")).into(), true)
    } else {
        (message_tail(message, version, &message.body, None).into(), message.is_text())
    }
}

/// A frame in the making: command, headers in the order of the calls, body.
#[derive(Debug)]
pub(crate) struct Writer {
    out: Vec<u8>,
    escaping: Escaping,
}

impl Writer {
    pub(crate) fn new(command: Command, version: Option<Version>) -> Self {
        let mut out = Vec::with_capacity(FIRST_BYTES);
        out.extend_from_slice(command.as_str().as_bytes());
        out.push(b'\n');
        Self { out, escaping: command.escaping(version) }
    }

    pub(crate) fn header(&mut self, name: &str, value: &str) {
        write_header(&mut self.out, name, value, self.escaping);
    }

    pub(crate) fn finish(mut self, body: &[u8]) -> Vec<u8> {
        self.out.reserve_exact(body.len() + 2);
        self.out.push(b'\n');
        self.out.extend_from_slice(body);
        self.out.push(0);
        self.out
    }
}

fn write_header(out: &mut Vec<u8>, name: &str, value: &str, escaping: Escaping) {
    if is_writable(name, value, escaping) {
        escape(out, name, escaping);
        out.push(b':');
        escape(out, value, escaping);
        out.push(b'\n');
    }
}

fn message_head(version: Version, own: Own<'_>) -> Vec<u8> {
    let mut writer = Writer::new(Command::Message, Some(version));
    if !own.subscription.is_empty() {
        writer.header("subscription", own.subscription);
    }
    if let Some(ack) = own.ack {
        writer.header("ack", &ack.to_string());
    }
    if own.retained {
        writer.header("retained", "true");
    }
    if own.dropped > 0 {
        writer.header("dropped", &own.dropped.to_string());
    }
    if own.count > 1 {
        writer.header("redelivered", "true");
        writer.header("delivery-count", &own.count.to_string());
    }
    writer.out
}

/// The part that all subscribers of one dialect share: from `message-id` to the NUL.
fn message_tail(message: &Message, version: Version, body: &[u8], encoding: Option<&str>) -> Vec<u8> {
    let escaping = Command::Message.escaping(Some(version));
    let mut out = Vec::with_capacity(body.len() + FIRST_BYTES * 2);
    let mut header = |name: &str, value: &str| write_header(&mut out, name, value, escaping);
    header("message-id", &message.id.0.to_string());
    header("destination", &message.destination.shown());
    header("timestamp", &message.timestamp_ms.to_string());
    header("content-length", &body.len().to_string());
    if let Some(encoding) = encoding {
        header(ENCODING, encoding);
    }
    for (name, value) in &message.headers {
        if !SERVERS_OWN.contains(&&**name) && (encoding.is_none() || **name != *ENCODING) {
            header(name, value);
        }
    }
    out.push(b'\n');
    out.extend_from_slice(body);
    out.push(0);
    out
}

/// Says how a body that the transport cannot carry is encoded; the name is MIME's (RFC 2045).
const ENCODING: &str = "content-transfer-encoding";

/// Headers of a MESSAGE that are the server's word: a sender's of the same name is not
/// repeated, so that none can pose as the server.
pub const SERVERS_OWN: [&str; 13] = [
    "subscription",
    "message-id",
    "destination",
    "ack",
    "content-length",
    "receipt",
    "transaction",
    "timestamp",
    "retained",
    "dropped",
    "status",
    "redelivered",
    "delivery-count",
];

/// Enough for the heads of most control frames.
const FIRST_BYTES: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Destination, MessageId, Plain, Publication};

    fn message(headers: &[(&str, &str)], body: &'static [u8]) -> Message {
        let publication = Publication {
            destination: Destination::parse("/topic/a:b").unwrap(),
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            body: Bytes::from_static(body),
        };
        Message::new(MessageId(7), publication, 1234, None)
    }

    fn image(message: &Message, version: Version, own: Own<'_>) -> String {
        let image = message_image(message, &Plain, version, own);
        String::from_utf8([image.head, image.tail].concat()).unwrap()
    }

    #[test]
    fn each_dialect_writes_the_senders_headers_its_own_way() {
        let message = message(&[("content-type", "text/plain"), ("a:b", "c\r\nd\\"), ("x", "y:z")], b"hi");
        let own = Own { subscription: "sub:0", ..Own::default() };
        assert_eq!(
            image(&message, Version::V1_2, own),
            "MESSAGE\nsubscription:sub\\c0\nmessage-id:7\ndestination:/topic/a\\cb\ntimestamp:1234\ncontent-length:2\n\
             content-type:text/plain\na\\cb:c\\r\\nd\\\\\nx:y\\cz\n\nhi\0"
        );
        assert_eq!(
            image(&message, Version::V1_1, own),
            "MESSAGE\nsubscription:sub\\c0\nmessage-id:7\ndestination:/topic/a\\cb\ntimestamp:1234\ncontent-length:2\n\
             content-type:text/plain\na\\cb:c\r\\nd\\\\\nx:y\\cz\n\nhi\0"
        );
        assert_eq!(
            image(&message, Version::V1_0, own),
            "MESSAGE\nsubscription:sub:0\nmessage-id:7\ndestination:/topic/a:b\ntimestamp:1234\ncontent-length:2\n\
             content-type:text/plain\nx:y:z\n\nhi\0"
        );
    }

    #[test]
    fn a_sender_cannot_pose_as_the_server() {
        let headers: Vec<_> = SERVERS_OWN.iter().map(|name| (*name, "forged")).collect();
        let message = message(&headers, b"");
        let own = Own { subscription: "sub-0", ..Own::default() };
        assert!(!image(&message, Version::V1_2, own).contains("forged"));
    }

    #[test]
    fn flags_and_ack_stand_in_the_subscribers_own_head() {
        let message = message(&[], b"");
        let own = Own { subscription: "s", ack: Some(9), retained: true, dropped: 3, count: 2 };
        let image = message_image(&message, &Plain, Version::V1_2, own);
        assert_eq!(
            image.head,
            "MESSAGE\nsubscription:s\nack:9\nretained:true\ndropped:3\nredelivered:true\ndelivery-count:2\n"
        );
        let again = message_image(&message, &Plain, Version::V1_2, own);
        assert_eq!(image.tail.as_ptr(), again.tail.as_ptr());
    }

    #[test]
    fn what_is_one_subscribers_own_reaches_no_other_of_that_name() {
        let message = message(&[], b"");
        let plain = Own { subscription: "s", ..Own::default() };
        for own in [
            Own { ack: Some(1), ..plain },
            Own { retained: true, ..plain },
            Own { dropped: 1, ..plain },
            Own { count: 2, ..plain },
        ] {
            message_image(&message, &Plain, Version::V1_2, own);
            let other = message_image(&message, &Plain, Version::V1_2, plain);
            let octets = |image: Image| [image.head, image.tail].concat();
            let other = octets(other);
            assert!(other.starts_with(b"MESSAGE\nsubscription:s\nmessage-id:7\n"));
            assert_ne!(octets(message_image(&message, &Plain, Version::V1_2, own)), other);
        }
    }

    #[test]
    fn the_same_name_gets_the_same_octets_and_no_copy() {
        let message = message(&[], b"body");
        let own = Own { subscription: "sub-0", ..Own::default() };
        let first = message_image(&message, &Plain, Version::V1_2, own);
        let second = message_image(&message, &Plain, Version::V1_2, own);
        assert_eq!((first.head.as_ptr(), first.tail.as_ptr()), (second.head.as_ptr(), second.tail.as_ptr()));
    }
}
