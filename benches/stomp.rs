//! What the wire format and the routing tables cost: decoding in several cuts, building images,
//! finding subscribers, quoting for SockJS.
//!
//! A body in 1-octet pieces is measured in two sizes: four times the octets must take four
//! times as long, with and without `content-length`.

#![expect(clippy::expect_used, reason = "a measurement, which stops where its own input is wrong")]

#[path = "common/mod.rs"]
mod common;

use std::hint::black_box;

use bytes::Bytes;
use common::{decode, exact_routes, json, limits, message, pattern_routes, routes, send};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stompbox::message::{Framing, Message, Plain};
use stompbox::net::websocket::WebSocketFraming;
use stompbox::sockjs::frame::quote_into;
use stompbox::stomp::Version;
use stompbox::stomp::encode::{Own, message_image};

fn decoding(c: &mut Criterion) {
    let limits = limits();
    let mut group = c.benchmark_group("decode");
    let frame = Bytes::from(send(&json(30_000), true));
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("30 KB whole", |b| b.iter(|| decode(&frame, frame.len(), &limits)));
    group.bench_function("30 KB in 64 B pieces", |b| b.iter(|| decode(&frame, 64, &limits)));
    let small = Bytes::from(send(&json(100), true));
    group.throughput(Throughput::Bytes(small.len() as u64));
    group.bench_function("100 B whole", |b| b.iter(|| decode(&small, small.len(), &limits)));
    group.finish();
}

fn decoding_by_octets(c: &mut Criterion) {
    let limits = limits();
    let mut group = c.benchmark_group("decode in 1 B pieces");
    group.sample_size(10);
    for (name, with_length) in [("content-length", true), ("no content-length", false)] {
        for size in [1 << 18, 1 << 20] {
            let frame = Bytes::from(send(&json(size), with_length));
            group.throughput(Throughput::Bytes(frame.len() as u64));
            group.bench_with_input(BenchmarkId::new(name, size), &frame, |b, frame| {
                b.iter(|| decode(frame, 1, &limits))
            });
        }
    }
    group.finish();
}

fn encoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    for size in [100, 30_000] {
        let body = Bytes::from(json(size));
        group.throughput(Throughput::Bytes(size as u64));
        let framings: [(&str, &dyn Framing); 2] = [("tcp", &Plain), ("websocket", &WebSocketFraming)];
        for (name, framing) in framings {
            let own = Own { subscription: "sub-0", ..Own::default() };
            let image = |message: &Message| message_image(message, framing, Version::V1_2, own);
            group.bench_function(BenchmarkId::new(format!("first image, {name}"), size), |b| {
                b.iter_batched(|| message("/topic/metrics", &body), |message| image(&message), BatchSize::SmallInput);
            });
            let message = message("/topic/metrics", &body);
            group.bench_function(BenchmarkId::new(format!("next image, {name}"), size), |b| b.iter(|| image(&message)));
            let own_head = Own { ack: Some(7), ..own };
            group.bench_function(BenchmarkId::new(format!("own head, {name}"), size), |b| {
                b.iter(|| message_image(&message, framing, Version::V1_2, own_head));
            });
        }
    }
    group.finish();
}

fn quoting(c: &mut Criterion) {
    let mut group = c.benchmark_group("quote");
    for (name, text) in [("JSON", json(30_000)), ("plain text", vec![b'x'; 30_000])] {
        let text = String::from_utf8(text).expect("the text is UTF-8");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("30 KB of {name}"), |b| {
            let mut out = Vec::new();
            b.iter(|| {
                out.clear();
                quote_into(&mut out, black_box(&text));
                out.len()
            });
        });
    }
    group.finish();
}

fn routing(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    for (name, router, destination, count) in [
        ("10,000 by name", exact_routes(), "/topic/exact.77", 10),
        ("10,000 patterns", pattern_routes(), "/topic/77.a", 1),
    ] {
        let message = message(destination, &Bytes::new());
        assert_eq!(routes(&router, &message), count);
        group.bench_function(name, |b| b.iter(|| routes(&router, black_box(&message))));
    }
    group.finish();
}

criterion_group!(benches, decoding, decoding_by_octets, encoding, routing, quoting);
criterion_main!(benches);
