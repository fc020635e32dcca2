//! stompbox: a STOMP message broker that browsers can talk to, in one binary.

pub mod app;
pub mod broker;
pub mod cli;
pub mod config;
pub mod feeds;
pub mod http;
pub mod message;
pub mod net;
pub mod sockjs;
pub mod stomp;
