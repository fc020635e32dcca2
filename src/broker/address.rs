//! What `/user/…` and `/temp-queue/…` stand for: names that one client writes and all of the
//! broker can tell apart.
//!
//! | written | by | stands for |
//! |---|---|---|
//! | `/user/queue/NAME` | SUBSCRIBE of ann | `/user/ann/queue/NAME` |
//! | `/user/ann/queue/NAME` | SEND | itself |
//! | `/temp-queue/NAME` | its session | `/temp-queue/KEY/NAME`; KEY is the session's, and cannot be guessed |
//! | `/temp-queue/KEY/NAME` | SEND | itself |
//!
//! `/temp-topic` is as `/temp-queue`: ActiveMQ's clients write it. `/user/topic/NAME` is as `/user/queue/NAME`: every session of the user gets each message.
//! Characters of a user's name that mean something in a destination are written `%2F`.

use std::fmt::Write as _;

use percent_encoding::percent_decode_str;

use super::BrokerError;
use super::pattern::{Pattern, Separators};
use crate::message::{Destination, DestinationKind, Principal};

/// Where a SUBSCRIBE to `destination` listens; `key` gives the session's own key.
///
/// # Errors
/// It is not a form that a client may subscribe to.
pub fn subscribed(
    destination: &Destination,
    principal: &Principal,
    key: impl FnOnce() -> Box<str>,
) -> Result<Destination, BrokerError> {
    match destination.kind() {
        DestinationKind::Topic | DestinationKind::Queue | DestinationKind::App | DestinationKind::Unknown => {
            Ok(destination.clone())
        }
        DestinationKind::User => {
            let rest = &destination.as_str()[USER.len()..];
            if !is_user_name(rest) {
                return Err(BrokerError::BadUserDestination(destination.clone()));
            }
            let Some(name) = principal.name() else { return Err(BrokerError::NeedsUser(destination.clone())) };
            parse(destination, &format!("{USER}{}/{rest}", encoded(name)))
        }
        DestinationKind::TempQueue => own(destination, key()),
    }
}

/// Where a SEND to `destination` goes; `key` gives the session's own key.
///
/// # Errors
/// It is not a form that a client may send to.
pub fn sent(destination: &Destination, key: impl FnOnce() -> Box<str>) -> Result<Destination, BrokerError> {
    match destination.kind() {
        DestinationKind::Topic | DestinationKind::Queue | DestinationKind::App | DestinationKind::Unknown => {
            Ok(destination.clone())
        }
        DestinationKind::User => {
            let (name, rest) = destination.as_str()[USER.len()..].split_once('/').unwrap_or_default();
            if name.is_empty() || !is_user_name(rest) {
                return Err(BrokerError::BadUserDestination(destination.clone()));
            }
            let name = percent_decode_str(name).decode_utf8_lossy();
            parse(destination, &format!("{USER}{}/{rest}", encoded(&name)))
        }
        DestinationKind::TempQueue if is_own_temp_queue(destination.as_str()) => own(destination, key()),
        DestinationKind::TempQueue => Ok(destination.clone()),
    }
}

/// Whether `name` is that of a temporary queue as its own session writes it.
pub fn is_own_temp_queue(name: &str) -> bool {
    own_temp_queue(name).is_some()
}

/// Its first word, slashes included, and its own name.
fn own_temp_queue(name: &str) -> Option<(&str, &str)> {
    let first = TEMP_QUEUES.into_iter().find(|first| name.starts_with(first))?;
    let (first, own) = name.split_at(first.len());
    (!own.is_empty() && !own.contains('/')).then_some((first, own))
}

fn own(destination: &Destination, key: Box<str>) -> Result<Destination, BrokerError> {
    match own_temp_queue(destination.as_str()) {
        Some((first, name)) if Pattern::of(destination, Separators::Both).is_none() => {
            parse(destination, &format!("{first}{key}/{name}"))
        }
        _ => Err(BrokerError::BadTempQueue(destination.clone())),
    }
}

/// Whether it is `queue/NAME` or `topic/NAME`.
fn is_user_name(rest: &str) -> bool {
    rest.split_once('/').is_some_and(|(kind, name)| matches!(kind, "queue" | "topic") && !name.is_empty())
}

/// A name as one word of a destination that is no wildcard: only so is a user called `*`, or
/// `ann.queue`, nobody but themselves.
pub(super) fn encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, '/' | '.' | '*' | '#' | '>' | '%') || c.is_control() {
            for octet in c.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a String does not fail.
                let _ = write!(encoded, "%{octet:02X}");
            }
        } else {
            encoded.push(c);
        }
    }
    encoded
}

fn parse(written: &Destination, name: &str) -> Result<Destination, BrokerError> {
    Destination::parse(name).map_err(|_| BrokerError::TooLong(written.clone()))
}

const USER: &str = "/user/";
const TEMP_QUEUES: [&str; 2] = ["/temp-queue/", "/temp-topic/"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_own_destination_is_what_others_send_to() {
        for name in ["ann", "a/b", "a.b", "*", "#", ">", "50%", "ann.queue.x", "Jürgen", "queue"] {
            let own = subscribe(name, "/user/queue/news").unwrap();
            let to = format!("/user/{}/queue/news", encoded(name));
            assert_eq!(sent(&destination(&to), key), Ok(own.clone()), "{name}");
            assert_eq!(own.shown(), "/user/queue/news");
            assert_eq!(Pattern::of(&own, Separators::Both), None, "{name}");
        }
        assert_eq!(sent(&destination("/user/a%2fb/queue/x"), key), subscribe("a/b", "/user/queue/x"));
        assert_ne!(subscribe("ann", "/user/queue/x"), subscribe("ann", "/user/topic/x"));
    }

    #[test]
    fn nobody_subscribes_to_the_destination_of_another() {
        for name in ["/user/bob/queue/news", "/user/*/queue/news", "/user/#", "/user/queue", "/user/queue/"] {
            let error = subscribe("ann", name).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "{name} is not a user's destination; SUBSCRIBE to /user/queue/NAME or /user/topic/NAME for your \
                     own, SEND to /user/WHO/queue/NAME or /user/WHO/topic/NAME"
                )
            );
        }
        let other = destination("/temp-queue/0123/a");
        let error = subscribed(&other, &Principal::Anonymous, key).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/temp-queue/0123/a is not a temporary queue of this session; one is /temp-queue/NAME, NAME one word"
        );
    }

    #[test]
    fn the_anonymous_have_no_destination_of_their_own() {
        let error = subscribed(&destination("/user/queue/a"), &Principal::Anonymous, key).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/user/queue/a belongs to a user, and this connection has none; CONNECT with credentials"
        );
    }

    #[test]
    fn a_temporary_queue_is_its_sessions_own_under_a_key() {
        for kind in ["temp-queue", "temp-topic"] {
            let own = subscribed(&destination(&format!("/{kind}/a")), &Principal::Anonymous, key).unwrap();
            assert_eq!(own.as_str(), format!("/{kind}/k3y/a"));
            assert_eq!(sent(&destination(&format!("/{kind}/a")), key), Ok(own.clone()));
            assert_eq!(sent(&own, || panic!("asked for a key")), Ok(own));
            assert!(subscribed(&destination(&format!("/{kind}/*")), &Principal::Anonymous, key).is_err());
        }
    }

    #[test]
    fn a_name_too_long_with_its_owner_is_refused() {
        let name = destination(&format!("/user/queue/{}", "x".repeat(240)));
        let error = subscribed(&name, &Principal::User("ann".into()), key).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{name} is too long with its owner's name; at most 255 octets are allowed")
        );
    }

    fn subscribe(user: &str, name: &str) -> Result<Destination, BrokerError> {
        subscribed(&destination(name), &Principal::User(user.into()), key)
    }

    fn destination(name: &str) -> Destination {
        Destination::parse(name).unwrap()
    }

    fn key() -> Box<str> {
        "k3y".into()
    }
}
