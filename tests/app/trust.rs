//! Who may come in, and what they may do, over real sockets.

use stompbox::broker::auth::hash_password;

use super::common::{Server, Stomp};

#[tokio::test]
async fn a_user_with_a_hashed_password_is_let_in_with_it_alone_over_stomp_and_rest() {
    let hash = hash_password("correct horse").unwrap();
    let server = Server::start(1, &format!("auth.users = [{{ name = \"ann\", password_hash = \"{hash}\" }}]"));
    let connected = connect(&server, "login:ann\npasscode:correct horse\n").await.frame().await;
    assert_eq!((connected.command.as_str(), connected.header("user-name")), ("CONNECTED", Some("ann")));
    for wrong in ["login:ann\npasscode:correct\n", "login:bob\npasscode:correct horse\n", "login:ann\n"] {
        let mut client = connect(&server, wrong).await;
        let error = client.frame().await;
        assert_eq!(error.header("message"), Some("Access refused"), "{wrong}");
        assert_eq!(error.body, "the credentials were not accepted");
        assert_eq!(client.closed().await.0, 1008);
    }
    let rest = |password: &'static str| {
        reqwest::Client::new().get(server.url("/api/v1/metrics")).basic_auth("ann", Some(password)).send()
    };
    assert_eq!(rest("correct horse").await.unwrap().status(), 200);
    assert_eq!(rest("wrong").await.unwrap().status(), 401);
}

#[tokio::test]
async fn frames_that_come_while_credentials_are_checked_wait_in_their_order() {
    let hash = hash_password("pw").unwrap();
    let server = Server::start(1, &format!("auth.users = [{{ name = \"ann\", password_hash = \"{hash}\" }}]"));
    let mut client = Stomp::open(server.address).await;
    client
        .send(
            "CONNECT\naccept-version:1.2\nhost:a\nlogin:ann\npasscode:pw\n\n\0\
             SUBSCRIBE\nid:a\ndestination:/queue/a\nreceipt:1\n\n\0",
        )
        .await;
    client.send("SEND\ndestination:/queue/a\nreceipt:2\n\nx\0").await;
    let mut commands = Vec::new();
    for _ in 0..4 {
        commands.push(client.frame().await.command);
    }
    assert_eq!(commands[..2], ["CONNECTED", "RECEIPT"]);
    assert!(commands[2..].contains(&"MESSAGE".into()), "{commands:?}");
}

#[tokio::test]
async fn a_flood_of_passwords_is_told_to_come_again() {
    let hash = hash_password("pw").unwrap();
    let settings =
        format!("auth.users = [{{ name = \"ann\", password_hash = \"{hash}\" }}]\nauth.checks_waiting_per_address = 1");
    let server = Server::start(1, &settings);
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Stomp::open(server.address).await);
    }
    for client in &mut clients {
        client.send("CONNECT\naccept-version:1.2\nhost:a\nlogin:ann\npasscode:pw\n\n\0").await;
    }
    let (mut connected, mut busy) = (0, 0);
    for client in &mut clients {
        let frame = client.frame().await;
        if frame.command == "CONNECTED" {
            connected += 1;
        } else {
            assert_eq!(frame.header("message"), Some("Too many logins"));
            assert_eq!(frame.body, "too many logins wait to be checked; try again later");
            assert_eq!(client.closed().await.0, 1013);
            busy += 1;
        }
    }
    assert!(connected >= 1 && busy >= 1, "{connected} {busy}");
}

async fn connect(server: &Server, credentials: &str) -> Stomp {
    let mut client = Stomp::open(server.address).await;
    client.send(&format!("CONNECT\naccept-version:1.2\nhost:a\n{credentials}\n\0")).await;
    client
}
