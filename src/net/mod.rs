//! Sockets and tasks: shards, transports, and the task that drives a session.
//!
//! What lives here: everything that knows tokio and a socket but no HTTP route. What does
//! not: what a frame means (`stomp`), who gets a message (`broker`), the REST API (`http`).

pub mod accept;
pub mod clock;
pub mod connection;
pub mod descriptors;
pub mod fanout;
pub mod fetch;
pub mod http;
pub mod io;
pub mod limits;
pub mod live;
pub mod proxy;
mod queueing;
pub mod shard;
pub mod stream;
pub mod tcp;
mod timer;
pub mod tls;
mod turn;
pub mod websocket;
