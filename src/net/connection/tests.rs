use std::rc::Rc;

use super::*;
use crate::net::tcp::Tcp;
use crate::net::websocket::RawWebSocket;
use crate::stomp;

/// Bounds, so that a field more does not make them wrong at once.
#[test]
fn a_connection_holds_what_its_documentation_says() {
    let documented = |what: &str| -> usize {
        let line = DOCUMENTATION.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("no {what}"));
        let number: String =
            line.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        number.parse().unwrap()
    };
    let mut wrong = Vec::new();
    for (what, size) in [
        ("| `Connection<stomp::Session>`", size_of::<Connection<stomp::Session>>() + RC_COUNTS),
        ("| `stomp::Session`:", size_of::<stomp::Session>()),
        ("| `stomp::Decoder`", size_of::<stomp::Decoder>()),
        ("| `RawWebSocket`", size_of::<RawWebSocket>()),
        ("TCP has `Tcp`", size_of::<Tcp>()),
        ("| `Connection::run`", size_of_future(Connection::run)),
        ("| `Sleep`", size_of::<tokio::time::Sleep>()),
        ("| `Route`", size_of::<Route>()),
        ("| the connection's own note", size_of::<(SubscriptionId, Destination)>()),
    ] {
        let told = documented(what);
        if !(size..size + 96).contains(&told) {
            wrong.push(format!("{what} is told as {told} octets and has {size}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn size_of_future<F: Future>(_: impl FnOnce(Rc<Connection>) -> F) -> usize {
    size_of::<F>()
}

const DOCUMENTATION: &str = include_str!("../connection.rs");

/// What `Rc` puts in front.
const RC_COUNTS: usize = 16;
