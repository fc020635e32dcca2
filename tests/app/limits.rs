//! Limits beyond one session: each is taken, and one past it is told or waited for.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::common::{PATIENCE, Server, Stomp};
use crate::sockjs::Http;

#[tokio::test]
async fn connections_of_all_and_of_an_address_end_at_the_limit_and_begin_again_below_it() {
    for (limit, text) in [
        ("connections", "the server has 2 connections, as many as it may; try again later\n"),
        ("connections_per_address", "this address has 2 connections, as many as it may\n"),
    ] {
        let server = Server::start(1, &format!("metrics.enabled = false\nlimits.{limit} = 2"));
        let first = Stomp::connect(server.address).await;
        let mut second = Stomp::connect(server.address).await;
        let mut third = Http::open(server.address).await;
        let (status, body) = third.answer().await;
        assert_eq!((status, body.as_str()), (503, text));
        assert_eq!(third.closed().await, "");
        drop(first);
        while get(server.address).await != 200 {}
        second.settled().await;
        second.subscribe("s", "/topic/$sys/broker", "").await;
        let counters: serde_json::Value = serde_json::from_str(&second.frame().await.body).unwrap();
        assert!(counters["limits"][limit].as_u64().unwrap() >= 1, "{counters}");
    }
}

#[tokio::test]
async fn a_user_has_as_many_sessions_as_it_may() {
    let server = Server::start(
        2,
        "metrics.enabled = false\nlimits.sessions_per_user = 1\nauth.tokens = [{ name = \"ann\", token = \"t\" }]",
    );
    let connect = "CONNECT\naccept-version:1.2\nhost:h\nAuthorization:Bearer t\n\n\0";
    let mut first = Stomp::open(server.address).await;
    first.send(connect).await;
    assert_eq!(first.frame().await.command, "CONNECTED");
    let mut second = Stomp::open(server.address).await;
    second.send(connect).await;
    let error = second.frame().await;
    assert_eq!(error.header("message"), Some("Limit exceeded"));
    assert_eq!(error.body, "this user has 1 sessions, as many as it may");
    assert_eq!(second.closed().await.0, 1008);
    first.settled().await;
}

#[tokio::test]
async fn an_address_that_connects_too_often_is_told_so() {
    let server = Server::start(2, "metrics.enabled = false\nlimits.connects_per_minute = 2");
    for _ in 0..2 {
        Stomp::connect(server.address).await;
    }
    let mut third = Stomp::open(server.address).await;
    third.send("CONNECT\naccept-version:1.2\nhost:h\n\n\0").await;
    let error = third.frame().await;
    assert_eq!(error.header("message"), Some("rate"));
    assert_eq!(error.body, "this address may connect 2 times in a minute; try again later");
    assert_eq!(third.closed().await.0, 1013);
}

#[tokio::test]
async fn who_sends_faster_than_it_may_is_told_or_read_more_slowly_and_nothing_is_lost() {
    let limit = "metrics.enabled = false\nlimits.session_messages_per_second = 20\nlimits.exceeded";
    let server = Server::start(1, &format!("{limit} = \"error\""));
    let mut client = Stomp::connect(server.address).await;
    for _ in 0..20 {
        client.publish("/topic/a", "", "x").await;
    }
    client.settled().await;
    for _ in 0..20 {
        client.publish("/topic/a", "", "x").await;
    }
    let error = client.frame().await;
    assert_eq!(
        (error.header("message"), error.body.as_str()),
        (Some("rate"), "this session may send 20 messages in a second")
    );
    assert_eq!(client.closed().await.0, 1008);

    let server = Server::start(1, &format!("{limit} = \"delay\""));
    let mut client = Stomp::connect(server.address).await;
    client.subscribe("s", "/topic/a", "").await;
    let begun = Instant::now();
    for n in 0..40 {
        client.publish("/topic/a", "", &n.to_string()).await;
    }
    for n in 0..40 {
        assert_eq!(client.frame().await.body, n.to_string());
    }
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    client.subscribe("b", "/topic/$sys/broker", "").await;
    let counters: serde_json::Value = serde_json::from_str(&client.frame().await.body).unwrap();
    assert!(counters["limits"]["rate"].as_u64().unwrap() >= 1, "{counters}");
}

#[tokio::test]
async fn octets_beyond_the_rate_of_an_address_are_waited_for() {
    let server = Server::start(2, "metrics.enabled = false\nlimits.address_bytes_per_second = \"64KiB\"");
    let mut clients = [Stomp::connect(server.address).await, Stomp::connect(server.address).await];
    let begun = Instant::now();
    for client in &mut clients {
        client.publish("/topic/a", "", &"x".repeat(60_000)).await;
    }
    for client in &mut clients {
        client.settled().await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_session_that_sends_nothing_is_closed_as_idle() {
    let server = Server::start(1, "metrics.enabled = false\nlimits.idle = \"300ms\"");
    let mut client = Stomp::connect(server.address).await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.send("\n").await;
    }
    let error = client.frame().await;
    assert_eq!((error.header("message"), error.body.as_str()), (Some("Idle"), "nothing came within 300 ms"));
    assert_eq!(client.closed().await.0, 1008);
}

#[tokio::test]
async fn where_too_much_waits_for_all_together_the_largest_consumer_goes_first() {
    let server = Server::start(2, "metrics.enabled = false\nmailbox.bytes = \"64MiB\"\nmailbox.total_bytes = \"4MiB\"");
    let body = "x".repeat(100_000);
    let mut small = Stomp::open_narrow(server.address).await.connected().await;
    small.subscribe("s", "/topic/small", "").await;
    let mut large = Stomp::open_narrow(server.address).await.connected().await;
    large.subscribe("s", "/topic/large", "").await;
    let mut publisher = Stomp::connect(server.address).await;
    for _ in 0..20 {
        publisher.publish("/topic/small", "", &body).await;
    }
    for _ in 0..60 {
        publisher.publish("/topic/large", "", &body).await;
    }
    publisher.settled().await;
    let error = loop {
        let frame = large.frame().await;
        if frame.command == "ERROR" {
            break frame;
        }
    };
    assert_eq!(error.header("message"), Some("slow consumer"));
    assert!(error.body.ends_with("that is more than of others, and all together may have 4194304"), "{}", error.body);
    assert_eq!(large.closed().await.0, 1008);
    for _ in 0..20 {
        assert_eq!(small.frame().await.body.len(), body.len());
    }
    small.settled().await;
}

/// Its limit on open files is far below what it keeps for itself.
#[tokio::test]
async fn a_server_out_of_descriptors_neither_spins_nor_stops_and_serves_again() {
    let command = "ulimit -n 48; exec \"$0\" serve --listen 127.0.0.1:0 --shards 2 --log-format human";
    let mut child = Command::new("sh")
        .args(["-c", command, env!("CARGO_BIN_EXE_stompbox")])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("STOMPBOX_TCP__LISTEN", "")
        .env("STOMPBOX_METRICS__ENABLED", "false")
        .env("STOMPBOX_SERVER__HTTP_HEADER_TIMEOUT", "5m")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    let address: SocketAddr = loop {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended before it listened");
        if let Some((_, address)) = line.trim_end().split_once("listening on http://") {
            break address.parse().unwrap();
        }
    };
    let reader = std::thread::spawn(move || {
        let mut rest = String::new();
        log.read_to_string(&mut rest).unwrap();
        rest
    });
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(TcpStream::connect(address).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = cpu_ticks(child.id());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ticks = cpu_ticks(child.id()) - before;
    // A hundred are a second.
    assert!(ticks < 30, "{ticks} ticks of CPU in a second of waiting");
    drop(crowd);
    let begun = Instant::now();
    while get(address).await != 200 {
        assert!(begun.elapsed() < PATIENCE, "it does not serve again");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let log = reader.join().unwrap();
    assert!(log.contains("cannot accept connections") || log.contains("a connection was turned away"), "{log}");
    assert!(log.lines().count() < 50, "{log}");
}

/// The status of a request; 0 where the connection breaks.
async fn get(address: SocketAddr) -> u16 {
    let ask = async {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0))
    };
    tokio::time::timeout(Duration::from_secs(2), ask).await.map_or(0, |status| status.unwrap_or(0))
}

fn cpu_ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
