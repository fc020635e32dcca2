//! What answers look like around their frames: headers, and the bodies of the fixed pages.

use chrono::{DateTime, Duration, Utc};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::route::{ReceiveTransport, Route, SendTransport};
use super::{Settings, Transport};

/// The body of the greeting.
pub const GREETING: &str = "Welcome to SockJS!\n";

/// The content type of everything that has no other.
pub const TEXT: &str = "text/plain; charset=UTF-8";

/// Puts all headers of a route's answer, but for those of the websocket handshake and the
/// page's [`header::ETAG`], into `answer`. An error that answers instead keeps them and sets
/// its own content type. `now` is wanted for `Expires`.
pub fn put_headers(
    route: &Route<'_>,
    settings: &Settings,
    now: DateTime<Utc>,
    request: &HeaderMap,
    answer: &mut HeaderMap,
) {
    match route {
        Route::Greeting | Route::NotFound => put(answer, header::CONTENT_TYPE, TEXT),
        Route::Iframe => {
            put(answer, header::CONTENT_TYPE, "text/html; charset=UTF-8");
            put(answer, header::CONTENT_SECURITY_POLICY, &frame_ancestors(settings));
            put(answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
            put_cached(now, answer);
        }
        Route::Script => {
            put(answer, header::CONTENT_TYPE, "text/javascript; charset=UTF-8");
            put(answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
            put_cached(now, answer);
        }
        Route::Info => {
            put(answer, header::CONTENT_TYPE, "application/json; charset=UTF-8");
            put(answer, header::CACHE_CONTROL, NOT_CACHED);
            put_cors(settings, request, answer);
        }
        Route::Options { methods } => {
            put(answer, header::ACCESS_CONTROL_ALLOW_METHODS, methods);
            put(answer, header::ACCESS_CONTROL_MAX_AGE, A_YEAR);
            put_cached(now, answer);
            put_cors(settings, request, answer);
        }
        Route::Receive { transport, .. } => put_receiver(*transport, settings, request, answer),
        Route::Send { transport, .. } => {
            // sockjs-protocol XhrPolling test_transport: without it Firefox takes a 204 for XML.
            put(answer, header::CONTENT_TYPE, TEXT);
            put(answer, header::CACHE_CONTROL, NOT_CACHED);
            put_cookie(settings, request, answer);
            if *transport == SendTransport::Xhr {
                put_cors(settings, request, answer);
            }
        }
        Route::WebSocket | Route::RawWebSocket => {}
        Route::MethodNotAllowed { allow } => put(answer, header::ALLOW, allow),
    }
}

/// Whether a page of the request's origin may use the service. Without an origin it is no
/// page and may.
pub fn is_allowed_origin(settings: &Settings, request: &HeaderMap) -> bool {
    let Some(origin) = request.get(header::ORIGIN) else { return true };
    let is_listed = |allowed: &String| allowed == "*" || origin.as_bytes().eq_ignore_ascii_case(allowed.as_bytes());
    settings.origins.is_empty() || settings.origins.iter().any(is_listed)
}

/// Whether a request asks for a websocket.
///
/// # Errors
/// It does not, or a proxy took the `Connection: Upgrade` away.
pub fn check_upgrade(request: &HeaderMap) -> Result<(), UpgradeError> {
    // sockjs-protocol test_httpMethod, test_invalidConnectionHeader, test_firefox_602_connection_header
    if !has_token(request, header::UPGRADE, "websocket") {
        return Err(UpgradeError::NotWebSocket);
    }
    if !has_token(request, header::CONNECTION, "upgrade") {
        return Err(UpgradeError::NoConnection);
    }
    Ok(())
}

/// Why a request cannot become a websocket; the display is the body of the 400 that answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// It does not ask for it.
    #[error("Can \"Upgrade\" only to \"WebSocket\".")]
    NotWebSocket,
    /// Its `Connection` header does not say so.
    #[error("\"Connection\" must be \"Upgrade\".")]
    NoConnection,
}

/// The body of `info`; `entropy` must be fresh and unpredictable.
pub fn info(settings: &Settings, entropy: u32) -> String {
    let mut info = serde_json::json!({
        "websocket": settings.transports.has(Transport::WebSocket),
        "origins": ["*:*"],
        "cookie_needed": settings.cookie_needed,
        "entropy": entropy,
    });
    if let Some(base_url) = &settings.base_url {
        info["base_url"] = base_url.as_str().into();
    }
    info.to_string()
}

/// The page that lets an iframe of this origin talk to the service; `client_url` is where
/// sockjs-client is loaded from.
pub fn iframe_page(client_url: &str) -> String {
    let escaped = client_url.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    format!("{IFRAME_HEAD}{escaped}{IFRAME_TAIL}")
}

/// The `ETag` of a page, quotation marks included; the same in every process.
pub fn etag(page: &[u8]) -> String {
    let fnv1a = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    format!("\"{:016x}\"", page.iter().fold(0xcbf2_9ce4_8422_2325, fnv1a))
}

/// Whether the client has the page with that tag already, to be answered with 304.
pub fn is_not_modified(request: &HeaderMap, etag: &str) -> bool {
    let values = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// sockjs-client 1.6.1 (MIT, its licence is beside it), for the iframe page: a page that is to
/// work behind a bad proxy must not need another host.
pub const CLIENT: &[u8] = include_bytes!("client/sockjs-1.6.1.min.js");

/// Where the iframe page of a service mounted at `mount` loads it from; the query changes with
/// the version, as caches keep it for a year.
pub fn client_url(mount: &str) -> String {
    format!("{mount}/sockjs.min.js?v=1.6.1")
}

fn put_receiver(transport: ReceiveTransport, settings: &Settings, request: &HeaderMap, answer: &mut HeaderMap) {
    put(answer, header::CONTENT_TYPE, transport.content_type());
    put(answer, header::CACHE_CONTROL, NOT_CACHED);
    put_cookie(settings, request, answer);
    if transport.streams() {
        // nginx would hold a stream back until its buffer is full.
        put(answer, HeaderName::from_static("x-accel-buffering"), "no");
    }
    match transport {
        ReceiveTransport::Xhr | ReceiveTransport::XhrStreaming | ReceiveTransport::EventSource => {
            put_cors(settings, request, answer);
        }
        // A page or script that another one names could be taken for something else.
        ReceiveTransport::Jsonp | ReceiveTransport::HtmlFile => {
            put(answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        }
    }
}

// sockjs-protocol verify_cors, test_options_null_origin, test_request_headers_cors
fn put_cors(settings: &Settings, request: &HeaderMap, answer: &mut HeaderMap) {
    put(answer, header::VARY, "Origin");
    if !is_allowed_origin(settings, request) {
        return;
    }
    if let Some(origin) = request.get(header::ORIGIN) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        put(answer, header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
    } else {
        put(answer, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    }
    if let Some(headers) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS).filter(|value| !value.is_empty()) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
    }
}

// sockjs-protocol JsessionidCookie
fn put_cookie(settings: &Settings, request: &HeaderMap, answer: &mut HeaderMap) {
    if !settings.cookie_needed {
        return;
    }
    let values = request.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut cookies = values.flat_map(|value| value.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
    let own = cookies.find(|(name, value)| *name == "JSESSIONID" && !value.is_empty());
    let id = own.map_or("dummy", |(_, value)| value);
    put(answer, header::SET_COOKIE, &format!("JSESSIONID={id}; Path=/"));
}

// sockjs-protocol verify_options, test_cacheability
fn put_cached(now: DateTime<Utc>, answer: &mut HeaderMap) {
    put(answer, header::CACHE_CONTROL, "public, max-age=31536000");
    let expires = now.checked_add_signed(Duration::days(365)).unwrap_or(now);
    put(answer, header::EXPIRES, &expires.format("%a, %d %b %Y %H:%M:%S GMT").to_string());
}

/// Who may frame the iframe page.
fn frame_ancestors(settings: &Settings) -> String {
    let listed = settings.frame_ancestors.as_deref().unwrap_or_default();
    let listed = if listed.is_empty() { "'self'".to_owned() } else { listed.join(" ") };
    format!("frame-ancestors {listed}")
}

/// A value that no header can hold is left out; of the values here none is.
fn put(answer: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.insert(name, value);
    }
}

fn has_token(request: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = request.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

// sockjs-protocol verify_not_cached
const NOT_CACHED: &str = "no-store, no-cache, no-transform, must-revalidate, max-age=0";

const A_YEAR: &str = "31536000";

// sockjs-protocol IframePage.iframe_body
const IFRAME_HEAD: &str = r#"<!DOCTYPE html>
<html>
<head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
  <script src=""#;

const IFRAME_TAIL: &str = r#""></script>
  <script>
    document.domain = document.domain;
    SockJS.bootstrap_iframe();
  </script>
</head>
<body>
  <h2>Don't panic!</h2>
  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>
</body>
</html>"#;

#[cfg(test)]
mod tests;
