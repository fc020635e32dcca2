//! The program itself: its exit codes, and what idle connections cost it.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::Stomp;
use crate::program::Program;

#[test]
fn a_port_in_use_is_one_line_and_exit_code_2() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let first = serve(&[]);
    for address in [address, first.address] {
        let (code, text) = run(&["serve", "--listen", &address.to_string()]);
        let expected = format!(
            "stompbox: cannot listen on {address} (server.listen): the port is in use; stop the other program or choose another with --listen\n"
        );
        assert_eq!((code, text), (Some(2), expected));
    }
}

#[test]
fn a_demo_without_metrics_is_one_line_and_exit_code_2() {
    let file = std::env::temp_dir().join(format!("stompbox-demo-{}.toml", std::process::id()));
    std::fs::write(&file, "server.listen = \"127.0.0.1:0\"\nmetrics.enabled = false").unwrap();
    let (code, text) = run(&["serve", "--demo", "--config", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    let expected = "stompbox: the demo (--demo) needs the event metrics, and metrics.enabled is false\n";
    assert_eq!((code, text.as_str()), (Some(2), expected));
}

#[test]
fn a_missing_file_is_one_line_and_exit_code_2() {
    let (code, text) = run(&["serve", "--config", "no-such-file.toml"]);
    let expected = "stompbox: no-such-file.toml: cannot be read: No such file or directory (os error 2)\n";
    assert_eq!((code, text.as_str()), (Some(2), expected));
}

#[test]
fn a_broadcast_is_logged_at_debug_and_as_json_its_text_is_the_message() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_stompbox"))
        .args(["serve", "--listen", "127.0.0.1:0", "--shards", "1", "--log-format", "json", "--log-level", "debug"])
        .env_clear()
        .env("STOMPBOX_TCP__LISTEN", "")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains("broadcast")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    // Of a name that stands twice, the last counts.
    let fields: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(fields["message"], "broadcast", "{line}");
    assert_eq!(fields["level"], "DEBUG", "{line}");
    assert_eq!(fields["destination"], "/topic/metrics", "{line}");
}

#[tokio::test]
async fn sigterm_and_sigint_end_it_with_0_and_a_word_to_each_client() {
    for signal in ["TERM", "INT"] {
        let process = serve(&[]);
        let mut client = Stomp::connect(process.address).await;
        process.signal(signal);
        let error = client.frame().await;
        assert_eq!((error.command.as_str(), error.header("message")), ("ERROR", Some("Server shutting down")));
        assert_eq!(client.closed().await.0, 1013);
        drop(client);
        assert_eq!(process.exit_code(), Some(0));
    }
}

#[tokio::test]
async fn a_thousand_connections_that_send_nothing_are_closed_and_leave_no_memory_behind() {
    let process = serve(&[
        ("STOMPBOX_STOMP__CONNECT_TIMEOUT", "500ms"),
        ("STOMPBOX_SERVER__HTTP_HEADER_TIMEOUT", "500ms"),
        ("STOMPBOX_LOG__LEVEL", "stompbox::app=info"),
    ]);
    let mut resident = Vec::new();
    for _ in 0..6 {
        crowd(process.address).await;
        resident.push(process.resident_kib());
    }
    // The allocator gives back what is free within some ten seconds.
    let _ = tokio::time::timeout(Duration::from_secs(30), async {
        while process.resident_kib() > resident[0] {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    println!("resident KiB after each crowd: {resident:?}, in the end {}", process.resident_kib());
    assert!(process.resident_kib() <= resident[0], "{} KiB are left; {resident:?}", process.resident_kib());
}

/// Half of them silent from the start, half after the upgrade; waits until all were closed.
async fn crowd(address: SocketAddr) {
    let mut silent = Vec::new();
    let mut upgraded = Vec::new();
    for _ in 0..500 {
        silent.push(tokio::net::TcpStream::connect(address).await.unwrap());
        upgraded.push(Stomp::open(address).await);
    }
    for mut client in upgraded {
        assert_eq!(client.frame().await.header("message"), Some("Connect timeout"));
        assert_eq!(client.closed().await.0, 1008);
    }
    for mut stream in silent {
        let mut answer = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await.unwrap();
    }
}

fn run(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_stompbox"))
        .args(args)
        .env_clear()
        .env("STOMPBOX_TCP__LISTEN", "")
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn serve(variables: &[(&str, &str)]) -> Program {
    Program::serve(env!("CARGO_BIN_EXE_stompbox"), variables)
}

impl Program {
    fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    fn exit_code(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    fn resident_kib(&self) -> u64 {
        // Closing goes on for a moment after the clients saw it.
        let open = || std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count();
        while open() > 64 {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.memory_kib("VmRSS:")
    }
}
