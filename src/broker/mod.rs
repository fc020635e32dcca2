//! The broker: who wants what, who may do what, and the bounded places where messages wait.
//!
//! What lives here: matching, mailboxes, a shard's routing table, the interest of shards in
//! destinations, permissions and counters. What does not: sockets, tasks, wire formats.

pub mod access;
pub mod acl;
pub mod address;
pub mod app;
pub mod auth;
pub mod handle;
pub mod history;
pub mod inbox;
pub mod interest;
pub mod mailbox;
pub mod pace;
pub mod pattern;
pub mod post;
pub mod queue;
pub mod refusals;
pub mod router;
pub mod selector;
pub mod stats;
pub mod topic;

pub use handle::{Broker, BrokerError, Settings};
