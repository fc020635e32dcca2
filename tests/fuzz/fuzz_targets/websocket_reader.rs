#![no_main]

#[path = "../targets.rs"]
#[allow(dead_code, reason = "each program runs one target of all")]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::websocket_reader(data));
