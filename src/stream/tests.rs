//! Messages for the tests of this folder.

use crate::message::{Destination, Message, MessageId, Publication};

pub(super) fn message(topic: &str, headers: &[(&str, &str)], body: &str) -> Message {
    let publication = Publication {
        destination: Destination::parse(topic).unwrap(),
        headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        body: body.to_owned().into(),
    };
    Message::new(MessageId(7), publication, 1234, None)
}

pub(super) fn log(level: &str, source: &str, text: &str) -> Message {
    let timestamp = "2024-01-15T10:30:45.123Z";
    let object = serde_json::json!({
        "type": "log", "timestamp": timestamp, "level": level, "message": text, "source": source
    });
    message("/topic/logs", &[], &object.to_string())
}
