//! The WebSocket handshake (RFC 6455 section 4.2), as headers in and headers out.

use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::deflate::{self, Agreed};

/// Why a request is no WebSocket handshake. The text is the answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// No `Upgrade: websocket`.
    #[error("Can \"Upgrade\" only to \"WebSocket\".")]
    NoUpgrade,
    /// No `Connection: Upgrade`.
    #[error("\"Connection\" must be \"Upgrade\".")]
    NoConnectionUpgrade,
    /// Another version than 13.
    #[error("\"Sec-WebSocket-Version\" must be 13.")]
    Version,
    /// No `Sec-WebSocket-Key` of 16 octets in base64.
    #[error("\"Sec-WebSocket-Key\" must be 16 octets in base64.")]
    Key,
}

impl HandshakeError {
    /// The answer's status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::NoUpgrade | Self::NoConnectionUpgrade | Self::Key => StatusCode::BAD_REQUEST,
        }
    }
}

/// Whether the request asks for an upgrade to WebSocket at all.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, UPGRADE, "websocket")
}

/// What a handshake came to.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The headers of the 101.
    pub headers: HeaderMap,
    /// How messages are compressed, if the client offered that and the settings have it.
    pub deflate: Option<Agreed>,
}

/// Checks a handshake.
///
/// Of `subprotocols`, the first that the client offers is agreed on.
///
/// # Errors
/// The request is no handshake.
pub fn accept(
    headers: &HeaderMap,
    subprotocols: &[&'static str],
    deflate: Option<deflate::Settings>,
) -> Result<Accepted, HandshakeError> {
    if !is_upgrade(headers) {
        return Err(HandshakeError::NoUpgrade);
    }
    if !has_token(headers, CONNECTION, "upgrade") {
        return Err(HandshakeError::NoConnectionUpgrade);
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(HandshakeError::Version);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| is_key(key.as_bytes())).ok_or(HandshakeError::Key)?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| HandshakeError::Key)?;
    let mut answer = HeaderMap::new();
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(agreed) = subprotocols.iter().find(|name| has_token(headers, SEC_WEBSOCKET_PROTOCOL, name)) {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(agreed));
    }
    let agreed = deflate.and_then(|settings| deflate::negotiate(headers, settings));
    let deflate = agreed.map(|(agreed, answered)| {
        answer.insert(SEC_WEBSOCKET_EXTENSIONS, answered);
        agreed
    });
    Ok(Accepted { headers: answer, deflate })
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// 16 octets are 22 characters of base64 and two of padding.
fn is_key(key: &[u8]) -> bool {
    let is_base64 = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/');
    key.len() == 24 && key[..22].iter().all(is_base64) && &key[22..] == b"=="
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455 section 1.3.
    #[test]
    fn the_handshake_of_the_specification_is_accepted() {
        let answer = accept(&request(&[]), &[], None).unwrap().headers;
        assert_eq!(answer[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!answer.contains_key(SEC_WEBSOCKET_PROTOCOL));
    }

    #[test]
    fn the_first_of_our_subprotocols_that_is_offered_is_agreed_on() {
        let ours = ["v12.stomp", "v11.stomp", "v10.stomp"];
        let agreed = |offered: &'static str| {
            let answer = accept(&request(&[("sec-websocket-protocol", offered)]), &ours, None).unwrap().headers;
            answer.get(SEC_WEBSOCKET_PROTOCOL).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(agreed("v10.stomp, v11.stomp").as_deref(), Some("v11.stomp"));
        assert_eq!(agreed("v10.stomp, v11.stomp, v12.stomp").as_deref(), Some("v12.stomp"));
        assert_eq!(agreed("graphql-ws"), None);
    }

    #[test]
    fn each_missing_part_is_named() {
        let without =
            |name: &'static str, value: &'static str| accept(&request(&[(name, value)]), &[], None).unwrap_err();
        assert_eq!(without("upgrade", "h2c").to_string(), "Can \"Upgrade\" only to \"WebSocket\".");
        assert_eq!(without("connection", "close").to_string(), "\"Connection\" must be \"Upgrade\".");
        assert_eq!(without("sec-websocket-version", "8").status(), 426);
        assert_eq!(without("sec-websocket-key", "short").status(), 400);
    }

    #[test]
    fn firefox_sends_keep_alive_beside_upgrade() {
        assert!(accept(&request(&[("connection", "keep-alive, Upgrade")]), &[], None).is_ok());
    }

    fn request(other: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let usual = [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
        ];
        for (name, value) in usual.iter().chain(other) {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }
}
