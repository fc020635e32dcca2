use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::*;

#[tokio::test]
async fn what_the_socket_does_not_take_stays_in_the_queue_but_for_one_record() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let identity = identity(&certificate.pem(), &key.serialize_pem());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    SockRef::from(&socket).set_recv_buffer_size(64 * 1024).unwrap();
    let accepted = listener.accept().await.unwrap().0;
    SockRef::from(&accepted).set_send_buffer_size(64 * 1024).unwrap();
    let server = TlsStream::new(accepted, &identity).unwrap();
    let connector = TlsConnector::from(Arc::new(client));
    let connected = async {
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = connector.connect(name, socket).await.unwrap();
        client.write_all(b"x").await.unwrap();
        client
    };
    let read = poll_fn(|cx| server.poll_read_most(cx, 1024, |octets| octets.len()));
    let (mut client, read) = tokio::join!(connected, read);
    assert_eq!(read.unwrap(), 1);

    for frame_bytes in [700, 30_000] {
        let frame = Image { head: Bytes::from(vec![b'h'; 100]), tail: Bytes::from(vec![b't'; frame_bytes - 100]) };
        let mut queue = VecDeque::from(vec![frame; 16 * 1024 * 1024 / frame_bytes]);
        let (mut taken, mut came) = (0, 0);
        for _ in 0..20 {
            let ready = timeout(Duration::from_secs(10), poll_fn(|cx| server.poll_write_ready(cx)));
            ready.await.unwrap().unwrap();
            let written = server.try_write(&mut queue).unwrap();
            taken += written.bytes;
            assert!(written.is_blocked);
            let mut octets = vec![0; 256 * 1024];
            while taken - came > MAX_HELD.max(frame_bytes) {
                let read = timeout(Duration::from_secs(10), client.read(&mut octets));
                came += read.await.expect("more than one record waits where it cannot be taken back").unwrap();
            }
        }
        // What waits is read, too, so that the next turn begins with nothing.
        queue.clear();
        while came < taken {
            let mut octets = vec![0; 256 * 1024];
            tokio::select! {
                biased;
                Ok(()) = poll_fn(|cx| server.poll_flush(cx)), if server.tls.borrow().wants_write() => {}
                read = timeout(Duration::from_secs(10), client.read(&mut octets)) => came += read.unwrap().unwrap(),
            }
        }
    }
}

fn identity(certificate: &str, key: &str) -> Identity {
    let folder = std::env::temp_dir().join(format!("stompbox-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (of_certificate, of_key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    std::fs::write(&of_certificate, certificate).unwrap();
    std::fs::write(&of_key, key).unwrap();
    let identity = Identity::read(&of_certificate, &of_key, None, None).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    identity
}

/// Plaintext of one record.
const MAX_HELD: usize = 16 * 1024;
