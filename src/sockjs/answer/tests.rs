use http::Method;

use super::super::Transports;
use super::*;

#[test]
fn info_says_what_the_service_offers() {
    // sockjs-protocol InfoTest test_basic, test_disabled_websocket
    let parsed = |settings: &Settings| -> serde_json::Value {
        serde_json::from_str(&info(settings, 4_294_967_295)).expect("JSON")
    };
    let expected = serde_json::json!({
        "websocket": true, "origins": ["*:*"], "cookie_needed": false, "entropy": 4_294_967_295_u32,
    });
    assert_eq!(parsed(&Settings::conformance()), expected);
    let other = Settings {
        transports: Transports::ALL.without(Transport::WebSocket),
        cookie_needed: true,
        base_url: Some("/b".into()),
        ..Settings::conformance()
    };
    let expected = serde_json::json!({
        "websocket": false, "origins": ["*:*"], "cookie_needed": true, "entropy": 4_294_967_295_u32, "base_url": "/b",
    });
    assert_eq!(parsed(&other), expected);
}

#[test]
fn the_greeting_and_what_is_not_found_are_plain_text_without_a_cookie() {
    // sockjs-protocol test_greeting
    for route in [Route::Greeting, Route::NotFound] {
        assert_eq!(headers(&cookie_needed(), &route, &[]), ["content-type: text/plain; charset=UTF-8"]);
    }
}

#[test]
fn the_iframe_page_is_cached_for_a_year() {
    // sockjs-protocol IframePage
    assert_eq!(
        headers(&cookie_needed(), &Route::Iframe, &[]),
        [
            "cache-control: public, max-age=31536000",
            "content-security-policy: frame-ancestors *",
            "content-type: text/html; charset=UTF-8",
            "expires: Fri, 01 Jan 2027 00:00:00 GMT",
            "x-content-type-options: nosniff",
        ]
    );
}

#[test]
fn the_iframe_page_says_who_may_frame_it() {
    let policy = |frame_ancestors: &[&str]| {
        let listed = frame_ancestors.iter().map(|&origin| origin.to_owned()).collect();
        let settings = Settings { frame_ancestors: Some(listed), ..Settings::conformance() };
        headers(&settings, &Route::Iframe, &[])[1].clone()
    };
    assert_eq!(policy(&[]), "content-security-policy: frame-ancestors 'self'");
    assert_eq!(
        policy(&["https://a.example", "https://b.example:8443"]),
        "content-security-policy: frame-ancestors https://a.example https://b.example:8443"
    );
}

#[test]
fn the_script_of_the_iframe_is_cached_for_a_year() {
    assert_eq!(
        headers(&cookie_needed(), &Route::Script, &[]),
        [
            "cache-control: public, max-age=31536000",
            "content-type: text/javascript; charset=UTF-8",
            "expires: Fri, 01 Jan 2027 00:00:00 GMT",
            "x-content-type-options: nosniff",
        ]
    );
    assert!(CLIENT.starts_with(b"/* sockjs-client v1.6.1"));
    assert_eq!(client_url("/live/ws"), "/live/ws/sockjs.min.js?v=1.6.1");
}

#[test]
fn the_iframe_page_is_that_of_the_protocol() {
    let page = iframe_page("http://x/\"s.js");
    assert!(page.starts_with("<!DOCTYPE html>\n<html>\n<head>\n  <meta http-equiv=\"X-UA-Compatible\""));
    assert!(page.contains("\n    document.domain = document.domain;\n    SockJS.bootstrap_iframe();\n"));
    assert!(page.contains("\n  <script src=\"http://x/&quot;s.js\"></script>\n"));
    assert!(page.ends_with("</body>\n</html>"));
}

#[test]
fn a_page_that_the_client_has_is_not_sent_again() {
    // sockjs-protocol test_cacheability
    let tag = etag(iframe_page("/s.js").as_bytes());
    assert_eq!(tag, etag(iframe_page("/s.js").as_bytes()));
    assert_eq!(etag(b""), "\"cbf29ce484222325\"");
    assert_eq!(etag(b"a"), "\"af63dc4c8601ec8c\"");
    let asks = |value: &str| is_not_modified(&request(&[("if-none-match", value)]), &tag);
    assert!(asks(&tag) && asks("*") && asks(&format!("\"x\", W/{tag}")));
    assert!(!asks("\"x\"") && !is_not_modified(&HeaderMap::new(), &tag));
}

#[test]
fn info_is_never_cached_and_open_to_other_origins() {
    // sockjs-protocol InfoTest test_basic
    assert_eq!(
        headers(&cookie_needed(), &Route::Info, &[("origin", "http://a")]),
        [
            "access-control-allow-credentials: true",
            "access-control-allow-origin: http://a",
            "cache-control: no-store, no-cache, no-transform, must-revalidate, max-age=0",
            "content-type: application/json; charset=UTF-8",
            "vary: Origin",
        ]
    );
}

#[test]
fn options_are_cached_and_name_the_methods() {
    // sockjs-protocol verify_options, test_options_null_origin
    let route = Route::of(&Method::OPTIONS, "/a/b/xhr", false, &Settings::conformance());
    assert_eq!(
        headers(&Settings::conformance(), &route, &[("origin", "null")]),
        [
            "access-control-allow-credentials: true",
            "access-control-allow-methods: OPTIONS, POST",
            "access-control-allow-origin: null",
            "access-control-max-age: 31536000",
            "cache-control: public, max-age=31536000",
            "expires: Fri, 01 Jan 2027 00:00:00 GMT",
            "vary: Origin",
        ]
    );
}

#[test]
fn without_an_origin_all_are_allowed_without_credentials() {
    // sockjs-protocol verify_cors
    assert_eq!(
        headers(&Settings::conformance(), &receive(ReceiveTransport::Xhr), &[]),
        [
            "access-control-allow-origin: *",
            "cache-control: no-store, no-cache, no-transform, must-revalidate, max-age=0",
            "content-type: application/javascript; charset=UTF-8",
            "vary: Origin",
        ]
    );
}

#[test]
fn requested_headers_are_echoed_unless_empty() {
    // sockjs-protocol test_request_headers_cors
    let route = receive(ReceiveTransport::XhrStreaming);
    let asked = headers(&Settings::conformance(), &route, &[("access-control-request-headers", "a, b, c")]);
    assert!(asked.contains(&"access-control-allow-headers: a, b, c".to_owned()));
    let empty = headers(&Settings::conformance(), &route, &[("access-control-request-headers", "")]);
    assert!(!empty.iter().any(|header| header.starts_with("access-control-allow-headers")));
}

#[test]
fn an_origin_that_is_not_listed_gets_no_permission() {
    let listed = Settings { origins: vec!["https://a.example".into()], ..Settings::conformance() };
    let allowed = |origin| is_allowed_origin(&listed, &request(&[("origin", origin)]));
    assert!(allowed("https://a.example") && allowed("https://A.example"));
    assert!(!allowed("https://b.example") && !allowed("null") && !allowed("https://a.example.evil"));
    assert!(is_allowed_origin(&listed, &HeaderMap::new()));
    let answer = headers(&listed, &receive(ReceiveTransport::Xhr), &[("origin", "https://b.example")]);
    assert!(!answer.iter().any(|header| header.starts_with("access-control-")), "{answer:?}");
    let any = Settings { origins: vec!["*".into()], ..Settings::conformance() };
    assert!(is_allowed_origin(&any, &request(&[("origin", "https://b.example")])));
}

#[test]
fn each_receiver_has_its_content_type_and_is_never_cached() {
    for (transport, content_type) in [
        (ReceiveTransport::Xhr, "application/javascript; charset=UTF-8"),
        (ReceiveTransport::XhrStreaming, "application/javascript; charset=UTF-8"),
        (ReceiveTransport::EventSource, "text/event-stream"),
        (ReceiveTransport::HtmlFile, "text/html; charset=UTF-8"),
        (ReceiveTransport::Jsonp, "application/javascript; charset=UTF-8"),
    ] {
        let answer = headers(&Settings::conformance(), &receive(transport), &[]);
        assert!(answer.contains(&format!("content-type: {content_type}")), "{transport:?}");
        assert!(answer.contains(&format!("cache-control: {NOT_CACHED}")), "{transport:?}");
        let is_nosniff = answer.contains(&"x-content-type-options: nosniff".to_owned());
        let is_held_back = !answer.contains(&"x-accel-buffering: no".to_owned());
        assert_eq!(is_held_back, matches!(transport, ReceiveTransport::Xhr | ReceiveTransport::Jsonp), "{transport:?}");
        let is_named_by_pages = matches!(transport, ReceiveTransport::Jsonp | ReceiveTransport::HtmlFile);
        assert_eq!(is_nosniff, is_named_by_pages, "{transport:?}");
    }
}

#[test]
fn answers_to_messages_are_plain_text_and_never_cached() {
    // sockjs-protocol XhrPolling test_transport, JsonPolling test_transport
    for transport in [SendTransport::Xhr, SendTransport::Jsonp] {
        let answer = headers(&Settings::conformance(), &Route::Send { session: "s", transport }, &[]);
        assert!(answer.contains(&format!("content-type: {TEXT}")));
        assert!(answer.contains(&format!("cache-control: {NOT_CACHED}")));
        let is_cors = answer.contains(&"access-control-allow-origin: *".to_owned());
        assert_eq!(is_cors, transport == SendTransport::Xhr);
    }
}

#[test]
fn the_cookie_is_the_clients_own_or_a_dummy() {
    // sockjs-protocol JsessionidCookie
    let cookie = |settings: &Settings, route: &Route<'_>, fields: &[(&'static str, &str)]| {
        headers(settings, route, fields).into_iter().find(|header| header.starts_with("set-cookie"))
    };
    let transports = [
        receive(ReceiveTransport::Xhr),
        receive(ReceiveTransport::XhrStreaming),
        receive(ReceiveTransport::EventSource),
        receive(ReceiveTransport::HtmlFile),
        receive(ReceiveTransport::Jsonp),
        Route::Send { session: "s", transport: SendTransport::Xhr },
        Route::Send { session: "s", transport: SendTransport::Jsonp },
    ];
    for route in transports {
        let set = |fields: &[(&'static str, &str)]| cookie(&cookie_needed(), &route, fields);
        assert_eq!(set(&[]).as_deref(), Some("set-cookie: JSESSIONID=dummy; Path=/"));
        let own = set(&[("cookie", "a=b; JSESSIONID=abcdef; c=d")]);
        assert_eq!(own.as_deref(), Some("set-cookie: JSESSIONID=abcdef; Path=/"));
        assert_eq!(set(&[("cookie", "JSESSIONID=")]).as_deref(), Some("set-cookie: JSESSIONID=dummy; Path=/"));
        assert_eq!(cookie(&Settings::conformance(), &route, &[("cookie", "JSESSIONID=abcdef")]), None);
    }
    assert_eq!(cookie(&cookie_needed(), &Route::Info, &[]), None);
}

#[test]
fn a_wrong_method_gets_allow_and_nothing_else() {
    // sockjs-protocol verify405
    let route = Route::of(&Method::GET, "/a/b/xhr", false, &Settings::conformance());
    assert_eq!(headers(&cookie_needed(), &route, &[]), ["allow: OPTIONS, POST"]);
}

#[test]
fn an_upgrade_needs_both_headers() {
    // sockjs-protocol test_httpMethod, test_invalidConnectionHeader, test_firefox_602_connection_header
    let check = |fields: &[(&'static str, &str)]| check_upgrade(&request(fields)).map_err(|error| error.to_string());
    assert_eq!(check(&[("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade")]), Ok(()));
    assert_eq!(check(&[]), Err("Can \"Upgrade\" only to \"WebSocket\".".into()));
    assert_eq!(
        check(&[("upgrade", "h2c"), ("connection", "Upgrade")]),
        Err("Can \"Upgrade\" only to \"WebSocket\".".into())
    );
    let stripped = check(&[("upgrade", "WebSocket"), ("connection", "close")]);
    assert_eq!(stripped, Err("\"Connection\" must be \"Upgrade\".".into()));
}

fn receive(transport: ReceiveTransport) -> Route<'static> {
    Route::Receive { session: "s", transport }
}

/// All headers of the answer, sorted; the artificial day is 1 January 2026.
fn headers(settings: &Settings, route: &Route<'_>, fields: &[(&'static str, &str)]) -> Vec<String> {
    let now = DateTime::from_timestamp(1_767_225_600, 0).expect("a time");
    let mut answer = HeaderMap::new();
    put_headers(route, settings, now, &request(fields), &mut answer);
    let line = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().expect("text"));
    let mut lines: Vec<_> = answer.iter().map(line).collect();
    lines.sort();
    lines
}

fn request(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut request = HeaderMap::new();
    for (name, value) in fields {
        request.append(*name, HeaderValue::from_str(value).expect("a value"));
    }
    request
}

fn cookie_needed() -> Settings {
    Settings { cookie_needed: true, ..Settings::conformance() }
}
