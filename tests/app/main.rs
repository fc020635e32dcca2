//! The assembled server over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test stops where its own tools fail, and tells its figures"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/program.rs"]
mod program;

mod deflate;
mod ending;
mod http;
mod limits;
mod limits_table;
mod logs;
mod messages;
mod peers;
mod pressure;
mod process;
mod proxies;
mod published_keys;
mod reloads;
mod rest;
mod shard;
mod slices;
mod sockjs;
mod sources;
mod streams;
mod trust;
mod turns;
