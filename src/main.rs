//! The `stompbox` program.

fn main() {}
