//! [`Proxies`]: whose word counts for where a client comes from, and how they give it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::HeaderMap;
use ipnet::IpNet;
use ppp::{v1, v2};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The proxies in front of the server, and the header in which they name the client.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// Where they are.
    pub trusted: Vec<IpNet>,
    /// Whether it is `Forwarded` (RFC 7239); otherwise `X-Forwarded-For`. One only: a proxy that
    /// writes the one lets a client's own words in the other pass.
    pub writes_forwarded: bool,
}

impl Proxies {
    /// Whether that address is one of them.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|net| net.contains(&address))
    }

    /// Where the client of a request is: what the proxy nearest to it says, as far as each that
    /// passed it on is trusted.
    pub fn client(&self, headers: &HeaderMap, peer: SocketAddr) -> SocketAddr {
        if !self.trusts(peer.ip()) {
            return peer;
        }
        let name = if self.writes_forwarded { "forwarded" } else { "x-forwarded-for" };
        // The client's own octets, whatever they are, do not hide what stands behind them.
        let values = headers.get_all(name).into_iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let values: Vec<_> = values.collect();
        let hops: Vec<&str> = values.iter().flat_map(|value| value.split(',')).collect();
        let mut client = peer;
        for hop in hops.into_iter().rev() {
            let named = if self.writes_forwarded { forwarded_for(hop) } else { Some(hop) };
            let Some(address) = named.and_then(address) else { return client };
            client = address;
            if !self.trusts(client.ip()) {
                return client;
            }
        }
        client
    }
}

/// What `for` says in one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<&str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    Some(value.trim_matches('"'))
}

/// An address with or without a port; IPv6 with or without brackets.
fn address(written: &str) -> Option<SocketAddr> {
    let written = written.trim();
    let without_brackets = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(written);
    let ip = without_brackets.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 0));
    ip.or_else(|| written.parse().ok())
}

/// Reads the header of the PROXY protocol, version 1 or 2, and no octet more; answers where the
/// client is, which is `peer` where the proxy speaks for itself.
///
/// # Errors
/// It does not come in time, or is none.
pub(super) async fn read_header(socket: &mut TcpStream, peer: SocketAddr) -> io::Result<SocketAddr> {
    timeout(HEADER_TIMEOUT, read(socket, peer)).await.map_err(|_| io::ErrorKind::TimedOut)?
}

async fn read(socket: &mut TcpStream, peer: SocketAddr) -> io::Result<SocketAddr> {
    let mut header = vec![0; SIGNATURE.len()];
    socket.read_exact(&mut header).await?;
    if header == SIGNATURE {
        header.resize(V2_HEAD_BYTES, 0);
        socket.read_exact(&mut header[SIGNATURE.len()..]).await?;
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if length > MAX_V2_BYTES {
            return Err(invalid("its header is too long"));
        }
        header.resize(V2_HEAD_BYTES + length, 0);
        socket.read_exact(&mut header[V2_HEAD_BYTES..]).await?;
        return of_v2(&header, peer);
    }
    if !header.starts_with(b"PROXY ") {
        return Err(invalid("it sends no header of the PROXY protocol"));
    }
    while !header.ends_with(b"\r\n") {
        if header.len() >= MAX_V1_BYTES {
            return Err(invalid("its header is too long"));
        }
        header.push(socket.read_u8().await?);
    }
    of_v1(&header, peer)
}

fn of_v1(header: &[u8], peer: SocketAddr) -> io::Result<SocketAddr> {
    let header = v1::Header::try_from(header).map_err(|_| invalid("its header is broken"))?;
    Ok(match header.addresses {
        v1::Addresses::Tcp4(of) => (of.source_address, of.source_port).into(),
        v1::Addresses::Tcp6(of) => (of.source_address, of.source_port).into(),
        v1::Addresses::Unknown => peer,
    })
}

fn of_v2(header: &[u8], peer: SocketAddr) -> io::Result<SocketAddr> {
    let header = v2::Header::try_from(header).map_err(|_| invalid("its header is broken"))?;
    Ok(match (header.command, header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(of)) => (of.source_address, of.source_port).into(),
        (v2::Command::Proxy, v2::Addresses::IPv6(of)) => (of.source_address, of.source_port).into(),
        (v2::Command::Local, _) | (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => peer,
    })
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// PROXY protocol, section 2.2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_HEAD_BYTES: usize = 16;

/// Section 2.1: the longest line of version 1.
const MAX_V1_BYTES: usize = 107;

/// Addresses and the extensions that proxies send.
const MAX_V2_BYTES: usize = 4096;

const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    const PEER: &str = "10.0.0.1:5000";

    #[test]
    fn the_nearest_address_that_is_not_trusted_is_the_clients() {
        for (header, expected) in [
            ("203.0.113.7", "203.0.113.7:0"),
            // What stands before it, the client may have written itself.
            ("1.1.1.1, 203.0.113.7", "203.0.113.7:0"),
            ("203.0.113.7, 10.9.9.9", "203.0.113.7:0"),
            ("10.9.9.9", "10.9.9.9:0"),
            ("2001:db8::1", "[2001:db8::1]:0"),
            ("[2001:db8::1]:77", "[2001:db8::1]:77"),
            ("203.0.113.7:77", "203.0.113.7:77"),
            ("203.0.113.7, unknown", PEER),
            ("", PEER),
        ] {
            assert_eq!(client(false, "x-forwarded-for", header, PEER), expected.parse().unwrap(), "{header}");
        }
        assert_eq!(client(false, "forwarded", "for=203.0.113.7", PEER), PEER.parse().unwrap());
    }

    #[test]
    fn forwarded_counts_only_where_the_proxies_write_it() {
        for (header, expected) in [
            ("for=203.0.113.7;proto=https;by=10.0.0.1", "203.0.113.7:0"),
            ("for=1.1.1.1, For=\"[2001:db8::1]:77\"", "[2001:db8::1]:77"),
            ("proto=https", PEER),
            ("for=_hidden", PEER),
        ] {
            assert_eq!(client(true, "forwarded", header, PEER), expected.parse().unwrap(), "{header}");
        }
        assert_eq!(client(true, "x-forwarded-for", "203.0.113.7", PEER), PEER.parse().unwrap());
    }

    #[test]
    fn octets_that_are_no_text_do_not_hide_what_the_proxy_says() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_bytes(b"\xff, 203.0.113.7").unwrap());
        let client = proxies(false).client(&headers, PEER.parse().unwrap());
        assert_eq!(client, "203.0.113.7:0".parse().unwrap());
    }

    #[test]
    fn the_word_of_others_does_not_count() {
        let stranger = "192.0.2.1:5000";
        assert_eq!(client(false, "x-forwarded-for", "203.0.113.7", stranger), stranger.parse().unwrap());
        assert!(proxies(false).trusts("::ffff:10.0.0.1".parse().unwrap()));
    }

    #[tokio::test]
    async fn both_versions_of_the_proxy_protocol_are_read_and_no_octet_more() {
        let v2 = |command: u8, family: u8, addresses: &[u8]| {
            let length = (addresses.len() as u16).to_be_bytes();
            [SIGNATURE, &[command, family], &length, addresses].concat()
        };
        let v4 = [203, 0, 113, 7, 10, 0, 0, 2, 0x13, 0x88, 0, 80];
        let v6 = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 16], &[0, 7, 0, 80]].concat();
        for (header, expected) in [
            (b"PROXY TCP4 203.0.113.7 10.0.0.2 5000 80\r\n".to_vec(), Some("203.0.113.7:5000")),
            (b"PROXY TCP6 2001:db8::1 ::1 7 80\r\n".to_vec(), Some("[2001:db8::1]:7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Some(PEER)),
            (v2(0x21, 0x11, &v4), Some("203.0.113.7:5000")),
            (v2(0x21, 0x21, &v6), Some("[2001:db8::1]:7")),
            (v2(0x20, 0, &[]), Some(PEER)),
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), None),
            (b"PROXY TCP4 nonsense\r\n".to_vec(), None),
            (format!("PROXY TCP4 {}\r\n", "1".repeat(200)).into_bytes(), None),
            (v2(0x21, 0x11, &[1, 2]), None),
            (v2(0x21, 0x11, &[0; 5000]), None),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut socket, _) = listener.accept().await.unwrap();
            client.write_all(&header).await.unwrap();
            client.write_all(b"rest").await.unwrap();
            let read = read_header(&mut socket, PEER.parse().unwrap()).await;
            assert_eq!(read.ok(), expected.map(|address| address.parse().unwrap()), "{}", header.escape_ascii());
            if expected.is_some() {
                let mut rest = [0; 4];
                socket.read_exact(&mut rest).await.unwrap();
                assert_eq!(&rest, b"rest");
            }
        }
    }

    fn proxies(writes_forwarded: bool) -> Proxies {
        Proxies { trusted: vec!["10.0.0.0/8".parse().unwrap()], writes_forwarded }
    }

    fn client(writes_forwarded: bool, name: &'static str, header: &'static str, peer: &str) -> SocketAddr {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(header));
        proxies(writes_forwarded).client(&headers, peer.parse().unwrap())
    }
}
