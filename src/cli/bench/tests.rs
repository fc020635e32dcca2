//! Runs against a broker made for it, which does what some brokers do.

use clap::{Args as _, Command, FromArgMatches as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_broker_that_sends_no_receipts_is_measured_nevertheless() {
    let answers = |frame: &str| frame.starts_with("CONNECT").then(|| "CONNECTED\nversion:1.1\n\n\0".into());
    let report = fanout(answers, "").await.unwrap();
    assert!(report.contains("\"messages\":4,\"deliveries\":0") && report.contains("\"lost\":12"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_is_refused_ends_the_run_with_the_reason() {
    let answers = |frame: &str| match frame.split('\n').next() {
        Some("CONNECT") => Some("CONNECTED\nversion:1.2\n\n\0".into()),
        Some("SUBSCRIBE") => Some("RECEIPT\nreceipt-id:s\n\n\0".into()),
        Some("SEND") => Some("ERROR\nmessage:no right to send\n\n\0".into()),
        _ => None,
    };
    let error = fanout(answers, "").await.unwrap_err().to_string();
    assert_eq!(error, "a publisher was lost: the broker answered: ERROR | message:no right to send |  | ");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_does_not_answer_is_given_up_with_a_name_for_it() {
    let error = fanout(|_: &str| None, "").await.unwrap_err().to_string();
    assert_eq!(error, "connection 0: CONNECT was not answered within 30 seconds");
    let answers = |frame: &str| (!frame.starts_with("SUBSCRIBE")).then(|| "CONNECTED\nversion:1.2\n\n\0".into());
    let error = fanout(answers, "--transport ws").await.unwrap_err().to_string();
    assert_eq!(error, "connection 0: the WebSocket handshake was not answered within 30 seconds");
}

#[tokio::test(start_paused = true)]
async fn connect_names_the_host_and_the_versions() {
    let answers = |frame: &str| Some(format!("ERROR\nmessage:{}\n\n\0", frame.replace('\n', ";")));
    let error = fanout(answers, "--host shop").await.unwrap_err().to_string();
    assert!(error.contains("CONNECT;accept-version:1.0,1.1,1.2;host:shop;heart-beat:0,0;;"), "{error}");
}

#[test]
fn without_a_terminal_progress_is_a_line_every_few_seconds() {
    let begin = clock::now();
    let due: Vec<_> = (0..12).filter(|second| is_due(&LAST_LINE, begin + Duration::from_secs(*second))).collect();
    assert_eq!(due, [5, 10]);
}

#[test]
fn a_target_has_a_name_or_an_address() {
    let target: Target = "localhost:8080".parse().unwrap();
    assert_eq!(target.addresses[0], SocketAddr::from(([127, 0, 0, 1], 8080)));
    assert_eq!(target.to_string(), "localhost:8080");
    assert!("localhost".parse::<Target>().unwrap_err().contains("it must be such as localhost:8080"));
}

#[test]
fn what_would_never_send_or_end_is_refused() {
    for text in ["0", "-1", "nan", "inf", "a"] {
        assert!(above_zero(text).is_err(), "{text}");
    }
    assert_eq!(above_zero("0.5"), Ok(0.5));
}

/// Against a broker over TCP that answers each frame as it is told.
async fn fanout(
    answers: impl Fn(&str) -> Option<String> + Copy + 'static,
    more: &str,
) -> Result<String, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let target = listener.local_addr()?;
    let flags = format!(
        "bench --target {target} --transport tcp --subscribers 3 --duration 0.2 --rate 20 --heart-beat 0,0 --json {more}"
    );
    let command = LoadArgs::augment_args(Command::new("bench")).args_override_self(true);
    let args = LoadArgs::from_arg_matches(&command.get_matches_from(flags.split_whitespace()))?;
    let run = async {
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                spawn_local(serve(stream, answers));
            }
        });
        load::fanout("fanout", &args, 1, 0).await
    };
    LocalSet::new().run_until(run).await
}

async fn serve(mut stream: TcpStream, answers: impl Fn(&str) -> Option<String>) -> io::Result<()> {
    let mut octets = Vec::new();
    while stream.read_buf(&mut octets).await? > 0 {
        while let Some(end) = octets.iter().position(|octet| *octet == 0) {
            let frame: Vec<u8> = octets.drain(..=end).collect();
            if let Some(answer) = answers(&String::from_utf8_lossy(&frame[..end])) {
                stream.write_all(answer.as_bytes()).await?;
            }
        }
    }
    Ok(())
}
