//! Credentials in HTTP requests: for the REST API, and for a connection that begins as one.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, header};

use crate::message::Credentials;

/// The credentials of a request: `Authorization: Bearer …` or `Basic …`, else the key in
/// `X-API-Key`, else `access_token`, `token` or `api_key` of its query, else the tokens of its
/// cookies, else whom the client's certificate names. Those of another scheme, or broken ones, are
/// none.
pub fn credentials(headers: &HeaderMap, query: &str, subject: Option<Arc<str>>) -> Option<Credentials> {
    found(headers, query, subject.as_deref()).map(|(credentials, _)| credentials)
}

/// Whether a page of another origin may have made a browser send credentials of its user.
/// `reads` is whether a request without an `Origin` would be answered to a page, too, as a script
/// or in a frame; `is_tls`, whether it is known to have come by https.
pub(super) fn may_be_forged(
    headers: &HeaderMap,
    query: &str,
    subject: Option<&str>,
    reads: bool,
    is_tls: bool,
) -> bool {
    if !matches!(found(headers, query, subject), Some((_, Sent::Along))) {
        return false;
    }
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match (text("origin"), text("sec-fetch-site")) {
        (Some(origin), _) => !is_own(origin, text("host").unwrap_or_default(), is_tls),
        (None, Some(site)) => reads && !matches!(site, "same-origin" | "none"),
        (None, None) => false,
    }
}

/// Who put credentials into a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// Whoever made the request: it had to know them.
    Knowing,
    /// A browser puts them in by itself, whatever page asks: a cookie, a certificate, and a
    /// password that its user gave it once.
    Along,
}

/// The credentials that count, and who put them there.
fn found(headers: &HeaderMap, query: &str, subject: Option<&str>) -> Option<(Credentials, Sent)> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| of_authorization(value.to_str().ok()?));
    let header = header.map(|credentials| match credentials {
        Credentials::Password { .. } => (credentials, Sent::Along),
        Credentials::Token(_) | Credentials::ApiKey(_) | Credentials::Certificate(_) => (credentials, Sent::Knowing),
    });
    let said = || of_key(headers).or_else(|| of_query(query)).map(|credentials| (credentials, Sent::Knowing));
    let cookie = || of_cookies(headers).map(|credentials| (credentials, Sent::Along));
    let certificate = || subject.map(|subject| (Credentials::Certificate(subject.to_owned()), Sent::Along));
    header.or_else(said).or_else(cookie).or_else(certificate)
}

/// Whether the origin's host and port are those that the request went to, and its scheme, too,
/// where that is known: anybody on the path writes the pages of http.
fn is_own(origin: &str, host: &str, is_tls: bool) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    if is_tls && !scheme.eq_ignore_ascii_case("https") {
        return false;
    }
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    let bare = |name: &str| name.strip_suffix(default_port).unwrap_or(name).to_ascii_lowercase();
    bare(authority) == bare(host)
}

/// What those read of whose address too many logins failed.
pub(super) const TOO_MANY: &str = "too many logins from this address failed; try again later";

/// The value of `retry-after`, RFC 9110 10.2.3.
pub(super) fn seconds(time: Duration) -> HeaderValue {
    HeaderValue::from(time.as_millis().div_ceil(1000) as u64)
}

fn of_authorization(value: &str) -> Option<Credentials> {
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Credentials::Token(rest.trim().into()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (login, passcode) = decoded.split_once(':')?;
    Some(Credentials::Password { login: login.into(), passcode: passcode.into() })
}

fn of_key(headers: &HeaderMap) -> Option<Credentials> {
    Some(Credentials::ApiKey(headers.get("x-api-key")?.to_str().ok()?.trim().to_owned()))
}

fn of_query(query: &str) -> Option<Credentials> {
    form_urlencoded::parse(query.as_bytes()).find_map(|(name, value)| match name.as_ref() {
        "api_key" => Some(Credentials::ApiKey(value.into_owned())),
        name if TOKEN_NAMES.contains(&name) => Some(Credentials::Token(value.into_owned())),
        _ => None,
    })
}

fn of_cookies(headers: &HeaderMap) -> Option<Credentials> {
    let values = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, token) = pairs.find(|(name, _)| TOKEN_NAMES.contains(name))?;
    Some(Credentials::Token(token.trim_matches('"').into()))
}

/// What a token is called where it has no header of its own.
const TOKEN_NAMES: [&str; 2] = ["access_token", "token"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_basic_and_query_tokens_are_understood() {
        let token = |token: &str| Some(Credentials::Token(token.into()));
        let password = Credentials::Password { login: "ann".into(), passcode: "a:b".into() };
        assert_eq!(of("Bearer abc", ""), token("abc"));
        assert_eq!(of("bearer abc", "token=x"), token("abc"));
        assert_eq!(of("Basic YW5uOmE6Yg==", ""), Some(password));
        assert_eq!(of("", "a=1&access_token=x%20y"), token("x y"));
        assert_eq!(of("", "api_key=k"), Some(Credentials::ApiKey("k".into())));
        assert_eq!(of("Basic !", ""), None);
        assert_eq!(of("Digest x", ""), None);
        assert_eq!(of("", ""), None);
    }

    #[test]
    fn a_cookie_counts_where_nothing_else_is_said() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("a=1; access_token=\"t\""));
        assert_eq!(credentials(&headers, "", None), Some(Credentials::Token("t".into())));
        assert_eq!(credentials(&headers, "token=q", None), Some(Credentials::Token("q".into())));
    }

    #[test]
    fn a_key_in_its_header_comes_before_the_query() {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", HeaderValue::from_static("k"));
        assert_eq!(credentials(&headers, "token=q", None), Some(Credentials::ApiKey("k".into())));
    }

    #[test]
    fn what_a_browser_sends_by_itself_counts_from_its_own_pages_alone() {
        let request = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            headers
        };
        let (cookie, host) = (("cookie", "token=t"), ("host", "a.example"));
        for (pairs, expected) in [
            (&[cookie, host, ("origin", "https://a.example")][..], false),
            (&[cookie, host, ("origin", "https://a.example:443")], false),
            (&[cookie, host, ("origin", "https://A.EXAMPLE")], false),
            (&[cookie, host, ("origin", "https://b.example")], true),
            (&[cookie, host, ("origin", "https://a.example:8443")], true),
            (&[cookie, host, ("origin", "null")], true),
            (&[cookie, host, ("sec-fetch-site", "cross-site")], true),
            (&[cookie, host, ("sec-fetch-site", "same-origin")], false),
            (&[cookie, host], false),
            (&[("cookie", "JSESSIONID=x"), host, ("origin", "https://b.example")], false),
            (&[cookie, host, ("origin", "https://b.example"), ("authorization", "Bearer x")], false),
            (&[cookie, host, ("origin", "https://b.example"), ("x-api-key", "x")], false),
            (&[cookie, host, ("origin", "https://b.example"), ("authorization", "Digest x")], true),
            (&[host, ("origin", "https://b.example"), ("authorization", "Digest x")], false),
            (&[host, ("origin", "https://b.example"), BASIC], true),
            (&[host, ("origin", "https://b.example"), BASIC, ("x-api-key", "x")], true),
            (&[host, ("origin", "https://a.example"), BASIC], false),
            (&[host, ("sec-fetch-site", "cross-site"), BASIC], true),
            (&[host, BASIC], false),
        ] {
            assert_eq!(may_be_forged(&request(pairs), "", None, true, false), expected, "{pairs:?}");
        }
        let foreign = request(&[host, ("origin", "https://b.example")]);
        assert!(may_be_forged(&foreign, "", Some("ann"), false, false));
        assert!(!may_be_forged(&foreign, "token=t", Some("ann"), false, false));
        assert!(!may_be_forged(&request(&[cookie, ("sec-fetch-site", "cross-site")]), "", None, false, false));
    }

    #[test]
    fn a_page_of_http_is_none_of_the_servers_own_where_that_speaks_tls() {
        let from = |origin: &str, is_tls| {
            let mut headers = HeaderMap::new();
            for (name, value) in [("cookie", "token=t"), ("host", "a.example"), ("origin", origin)] {
                headers.insert(name.parse::<header::HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
            }
            may_be_forged(&headers, "", None, true, is_tls)
        };
        assert!(!from("https://a.example", true) && from("http://a.example", true));
        // A proxy in front may have spoken either.
        assert!(!from("https://a.example", false) && !from("http://a.example", false));
    }

    const BASIC: (&str, &str) = ("authorization", "Basic YW5uOmE6Yg==");

    fn of(authorization: &'static str, query: &str) -> Option<Credentials> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static(authorization));
        credentials(&headers, query, None)
    }
}
