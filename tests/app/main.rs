//! The assembled server over real sockets.

#[path = "../common/mod.rs"]
mod common;

mod ending;
mod messages;
mod peers;
mod pressure;
mod process;
mod rest;
mod shard;
mod sockjs;
