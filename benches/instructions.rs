//! The same pieces as in `stomp`, each alone and a given number of times, so that
//! `instructions.sh` can count what one costs.
//!
//!   instructions            names them and runs each once
//!   instructions NAME COUNT

#![expect(clippy::expect_used, reason = "a measurement, which stops where its own input is wrong")]
#![expect(clippy::print_stdout, reason = "it names what it measures")]

#[path = "common/mod.rs"]
mod common;

use std::hint::black_box;

use bytes::Bytes;
use common::{decode, exact_routes, json, limits, message, pattern_routes, routes, send};
use stompbox::message::{Framing, Plain};
use stompbox::net::websocket::WebSocketFraming;
use stompbox::sockjs::frame::quote_into;
use stompbox::sockjs::framing::SOCKJS_WEBSOCKET;
use stompbox::stomp::Version;
use stompbox::stomp::encode::{Own, message_image};

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    let wanted = args.next();
    let count: usize = args.next().map_or(1, |count| count.parse().expect("the count is a number"));
    for (name, prepare) in PIECES {
        if wanted.is_none() {
            println!("{name}");
        }
        if wanted.as_deref().is_none_or(|wanted| wanted == name) {
            let mut run = prepare();
            for _ in 0..count {
                run();
            }
        }
    }
}

type Prepare = fn() -> Box<dyn FnMut()>;

const PIECES: [(&str, Prepare); 14] = [
    ("decode-30KB-whole", || decoding(30_000, usize::MAX)),
    ("decode-30KB-in-64B", || decoding(30_000, 64)),
    ("decode-100B-whole", || decoding(100, usize::MAX)),
    ("first-image-100B-websocket", || first_image(100, &WebSocketFraming)),
    ("first-image-30KB-websocket", || first_image(30_000, &WebSocketFraming)),
    ("first-image-30KB-sockjs", || first_image(30_000, &SOCKJS_WEBSOCKET)),
    ("next-image-100B-websocket", || next_image(100, &WebSocketFraming, None)),
    ("next-image-30KB-websocket", || next_image(30_000, &WebSocketFraming, None)),
    ("next-image-30KB-sockjs", || next_image(30_000, &SOCKJS_WEBSOCKET, None)),
    ("own-head-30KB-tcp", || next_image(30_000, &Plain, Some(7))),
    ("route-10000-by-name", || {
        let (router, message) = (exact_routes(), message("/topic/exact.77", &Bytes::new()));
        Box::new(move || assert_eq!(routes(&router, black_box(&message)), 10))
    }),
    ("route-10000-patterns", || {
        let (router, message) = (pattern_routes(), message("/topic/77.a", &Bytes::new()));
        Box::new(move || assert_eq!(routes(&router, black_box(&message)), 1))
    }),
    ("quote-30KB-of-JSON", || quoting(json(30_000))),
    ("quote-30KB-of-text", || quoting(vec![b'x'; 30_000])),
];

fn decoding(size: usize, piece: usize) -> Box<dyn FnMut()> {
    let (frame, limits) = (Bytes::from(send(&json(size), true)), limits());
    let piece = piece.min(frame.len());
    Box::new(move || {
        black_box(decode(black_box(&frame), piece, &limits));
    })
}

fn first_image(size: usize, framing: &'static dyn Framing) -> Box<dyn FnMut()> {
    let body = Bytes::from(json(size));
    Box::new(move || {
        let message = message("/topic/metrics", &body);
        black_box(message_image(&message, framing, Version::V1_2, OWN));
    })
}

fn next_image(size: usize, framing: &'static dyn Framing, ack: Option<u64>) -> Box<dyn FnMut()> {
    let message = message("/topic/metrics", &Bytes::from(json(size)));
    Box::new(move || {
        black_box(message_image(black_box(&message), framing, Version::V1_2, Own { ack, ..OWN }));
    })
}

fn quoting(text: Vec<u8>) -> Box<dyn FnMut()> {
    let text = String::from_utf8(text).expect("the text is UTF-8");
    let mut out = Vec::new();
    Box::new(move || {
        out.clear();
        quote_into(&mut out, black_box(&text));
        black_box(out.len());
    })
}

const OWN: Own<'static> = Own { subscription: "sub-0", ack: None, retained: false, dropped: 0, count: 0 };
