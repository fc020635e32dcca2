use std::rc::Rc;

use super::*;
use crate::net::limits::SessionSeat;
use crate::net::tcp::Tcp;
use crate::stomp;

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
        ("TCP has `Tcp`", size_of::<Tcp>()),
        ("| `SessionSeat`", size_of::<SessionSeat>()),
        ("| `Connection::run`", size_of_future(Connection::run)),
        ("| `Sleep`", size_of::<tokio::time::Sleep>()),
        ("| `Route`", size_of::<Route>()),
        ("| the connection's own note", size_of::<(SubscriptionId, Destination)>()),
    ] {
        let told = documented(what);
        if !(size..size + 8).contains(&told) {
            wrong.push(format!("{what} is told as {told} octets and has {size}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let table = DOCUMENTATION.split("//! |---|---|\n").nth(1).unwrap().lines();
    let rows = table.map_while(|line| line.strip_prefix("//! | ")?.split_once(" | "));
    let octets: Vec<usize> = rows.filter_map(|(octets, _)| octets.parse().ok()).collect();
    assert!(octets.is_sorted_by(|a, b| a >= b), "largest first: {octets:?}");
    assert_eq!(octets.iter().sum::<usize>(), documented("//! That is"));
}

fn size_of_future<F: Future>(_: impl FnOnce(Rc<Connection>) -> F) -> usize {
    size_of::<F>()
}

const DOCUMENTATION: &str = include_str!("../connection.rs");

/// What `Rc` puts in front.
const RC_COUNTS: usize = 16;
