//! What the wire format costs: decoding in several cuts, building images, quoting for SockJS.
//!
//! A body in 1-octet pieces is measured in two sizes: four times the octets must take four
//! times as long, with and without `content-length`.

#![expect(clippy::expect_used, reason = "a measurement, which stops where its own input is wrong")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stompbox::message::{Destination, Framing, Message, MessageId, Plain, Publication};
use stompbox::net::websocket::WebSocketFraming;
use stompbox::sockjs::frame::quote_into;
use stompbox::stomp::encode::{Own, encode, message_image};
use stompbox::stomp::{Command, Decoder, Frame, Limits, Version};

fn decoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    let frame = Bytes::from(send(&json(30_000), true));
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("30 KB whole", |b| b.iter(|| decode(&frame, frame.len())));
    group.bench_function("30 KB in 64 B pieces", |b| b.iter(|| decode(&frame, 64)));
    let small = Bytes::from(send(&json(100), true));
    group.throughput(Throughput::Bytes(small.len() as u64));
    group.bench_function("100 B whole", |b| b.iter(|| decode(&small, small.len())));
    group.finish();
}

fn decoding_by_octets(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode in 1 B pieces");
    group.sample_size(10);
    for (name, with_length) in [("content-length", true), ("no content-length", false)] {
        for size in [1 << 18, 1 << 20] {
            let frame = Bytes::from(send(&json(size), with_length));
            group.throughput(Throughput::Bytes(frame.len() as u64));
            group.bench_with_input(BenchmarkId::new(name, size), &frame, |b, frame| b.iter(|| decode(frame, 1)));
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
                b.iter_batched(|| message(&body), |message| image(&message), BatchSize::SmallInput);
            });
            let message = message(&body);
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

fn decode(frame: &Bytes, piece: usize) -> Frame {
    let mut decoder = Decoder::new(&LIMITS);
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

fn send(body: &[u8], with_length: bool) -> Vec<u8> {
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

fn message(body: &Bytes) -> Message {
    let destination = Destination::parse("/topic/metrics").expect("the name is correct");
    let headers = vec![("content-type".into(), "application/json".into())];
    Message::new(MessageId(1), Publication { destination, headers, body: body.clone() }, 1_700_000_000_000, None)
}

/// As many octets of what metrics look like.
fn json(size: usize) -> Vec<u8> {
    r#"{"eventType":"login","count":12345,"latency":3.25},"#.bytes().cycle().take(size).collect()
}

const LIMITS: Limits = Limits {
    command_bytes: 32,
    headers: 128,
    header_line_bytes: 8 << 10,
    head_bytes: 64 << 10,
    body_bytes: 1 << 20,
    unconnected_frame_bytes: 64 << 10,
    subscriptions: 1024,
    unacked: 4096,
    transactions: 16,
    transaction_actions: 1024,
    transaction_bytes: 4 << 20,
    open_tickets: 64,
};

criterion_group!(benches, decoding, decoding_by_octets, encoding, quoting);
criterion_main!(benches);
