//! One table from a method and a path below the mount to what answers it.

use std::borrow::Cow;
use std::ops::ControlFlow;

use http::Method;

use super::framing::{Callback, CallbackError, ReceiverKind};
use super::{Settings, Transport};

/// What answers a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route<'a> {
    /// 200 with the greeting.
    Greeting,
    /// 200 with the iframe page, or 304.
    Iframe,
    /// 200 with sockjs-client for the iframe page, or 304.
    Script,
    /// 200 with what the service offers.
    Info,
    /// 204; the methods are what `Access-Control-Allow-Methods` says.
    Options {
        /// As in `OPTIONS, POST`.
        methods: &'static str,
    },
    /// A response that receives frames of the session, which it may open.
    Receive {
        /// The session's name.
        session: &'a str,
        /// Which transport.
        transport: ReceiveTransport,
    },
    /// A body with messages for the session, which must exist.
    Send {
        /// The session's name.
        session: &'a str,
        /// Which transport.
        transport: SendTransport,
    },
    /// A websocket with SockJS frames; a session of its own, whatever its name.
    WebSocket,
    /// A websocket without SockJS.
    RawWebSocket,
    /// 404.
    NotFound,
    /// 405 with this `Allow`.
    MethodNotAllowed {
        /// As in `OPTIONS, POST`.
        allow: String,
    },
}

impl<'a> Route<'a> {
    /// Finds the route of a path below the mount, which is empty for the mount itself.
    /// `is_upgrade` is whether the request asks for a websocket. What the settings do not offer
    /// is not there.
    pub fn of(method: &Method, path: &'a str, is_upgrade: bool, settings: &Settings) -> Self {
        let (place, session) = Place::of(path, is_upgrade);
        let mut rows = TABLE.iter().filter(|row| row.place == place && row.is_offered(settings));
        let found = rows.try_fold(String::new(), |allow, row| match allow.as_str() {
            _ if row.method == *method => ControlFlow::Break(row.answer),
            "" => ControlFlow::Continue(row.method.to_string()),
            _ => ControlFlow::Continue(format!("{allow}, {}", row.method)),
        });
        match found {
            ControlFlow::Break(answer) => answer.route(session),
            ControlFlow::Continue(allow) if allow.is_empty() => Self::NotFound,
            ControlFlow::Continue(allow) => Self::MethodNotAllowed { allow },
        }
    }
}

/// A transport by which a client receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiveTransport {
    /// `xhr`
    Xhr,
    /// `xhr_streaming`
    XhrStreaming,
    /// `eventsource`
    EventSource,
    /// `htmlfile`
    HtmlFile,
    /// `jsonp`
    Jsonp,
}

impl ReceiveTransport {
    /// The `Content-Type` of the response.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Xhr | Self::XhrStreaming | Self::Jsonp => "application/javascript; charset=UTF-8",
            // Without a charset, which changes nothing: a stream of events is always UTF-8.
            Self::EventSource => "text/event-stream",
            Self::HtmlFile => "text/html; charset=UTF-8",
        }
    }

    /// Whether it takes frame after frame in one response.
    pub fn streams(self) -> bool {
        match self {
            Self::Xhr | Self::Jsonp => false,
            Self::XhrStreaming | Self::EventSource | Self::HtmlFile => true,
        }
    }

    /// Which transport it is part of.
    pub fn transport(self) -> Transport {
        match self {
            Self::Xhr => Transport::Xhr,
            Self::XhrStreaming => Transport::XhrStreaming,
            Self::EventSource => Transport::EventSource,
            Self::HtmlFile => Transport::HtmlFile,
            Self::Jsonp => Transport::Jsonp,
        }
    }

    /// What kind of receiver the request is, with the callback that its query names where the
    /// transport needs one.
    ///
    /// # Errors
    /// The callback is missing or no name; answered with 500.
    pub fn kind(self, query: &str) -> Result<ReceiverKind, CallbackError> {
        let callback = || Callback::parse(callback_parameter(query).as_deref());
        Ok(match self {
            Self::Xhr => ReceiverKind::Xhr,
            Self::XhrStreaming => ReceiverKind::XhrStreaming,
            Self::EventSource => ReceiverKind::EventSource,
            Self::HtmlFile => ReceiverKind::HtmlFile(callback()?),
            Self::Jsonp => ReceiverKind::Jsonp(callback()?),
        })
    }
}

/// A transport by which a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendTransport {
    /// `xhr_send`
    Xhr,
    /// `jsonp_send`
    Jsonp,
}

/// A path without its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Base,
    BaseUpgrade,
    Iframe,
    Script,
    Info,
    RawWebSocket,
    Xhr,
    XhrSend,
    XhrStreaming,
    EventSource,
    HtmlFile,
    Jsonp,
    JsonpSend,
    WebSocket,
    Nowhere,
}

impl Place {
    fn of(path: &str, is_upgrade: bool) -> (Self, &str) {
        let place = match path {
            "" | "/" if is_upgrade => Self::BaseUpgrade,
            "" | "/" => Self::Base,
            "/info" => Self::Info,
            "/sockjs.min.js" => Self::Script,
            "/websocket" => Self::RawWebSocket,
            _ if is_iframe(path) => Self::Iframe,
            _ => return Self::of_session(path).unwrap_or((Self::Nowhere, "")),
        };
        (place, "")
    }

    fn of_session(path: &str) -> Option<(Self, &str)> {
        let (server, rest) = path.strip_prefix('/')?.split_once('/')?;
        let (session, transport) = rest.split_once('/')?;
        // sockjs-protocol test_invalidPaths
        if [server, session].iter().any(|part| part.is_empty() || part.contains('.')) {
            return None;
        }
        let place = match transport {
            "xhr" => Self::Xhr,
            "xhr_send" => Self::XhrSend,
            "xhr_streaming" => Self::XhrStreaming,
            "eventsource" => Self::EventSource,
            "htmlfile" => Self::HtmlFile,
            "jsonp" => Self::Jsonp,
            "jsonp_send" => Self::JsonpSend,
            "websocket" => Self::WebSocket,
            _ => return None,
        };
        Some((place, session))
    }
}

// sockjs-protocol test_versionedUrl, test_invalidUrl: versions have dots.
fn is_iframe(path: &str) -> bool {
    let version = path.strip_prefix("/iframe").and_then(|rest| rest.strip_suffix(".html"));
    version.is_some_and(|version| !version.contains('/'))
}

/// The value of `c`, or else of `callback`, percent-decoded.
fn callback_parameter(query: &str) -> Option<Cow<'_, str>> {
    let value = |name| query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name));
    let (_, value) = value("c").or_else(|| value("callback"))?;
    if !value.contains(['%', '+']) {
        return Some(Cow::Borrowed(value));
    }
    let decoded = super::payload::form_decoded(value.as_bytes());
    Some(Cow::Owned(String::from_utf8_lossy(&decoded).into_owned()))
}

struct Row {
    place: Place,
    method: Method,
    answer: Answer,
}

impl Row {
    const fn new(place: Place, method: Method, answer: Answer) -> Self {
        Self { place, method, answer }
    }

    fn is_offered(&self, settings: &Settings) -> bool {
        let offers = |transport| settings.transports.has(transport);
        match self.place {
            Place::Iframe | Place::Script => settings.frame_ancestors.is_some(),
            Place::BaseUpgrade | Place::RawWebSocket => offers(Transport::RawWebSocket),
            Place::WebSocket => offers(Transport::WebSocket),
            Place::Xhr => offers(Transport::Xhr),
            Place::XhrStreaming => offers(Transport::XhrStreaming),
            Place::EventSource => offers(Transport::EventSource),
            Place::HtmlFile => offers(Transport::HtmlFile),
            Place::Jsonp | Place::JsonpSend => offers(Transport::Jsonp),
            Place::XhrSend => [Transport::Xhr, Transport::XhrStreaming, Transport::EventSource, Transport::HtmlFile]
                .into_iter()
                .any(offers),
            Place::Base | Place::Info | Place::Nowhere => true,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Greeting,
    Iframe,
    Script,
    Info,
    Options(&'static str),
    Receive(ReceiveTransport),
    Send(SendTransport),
    WebSocket,
    RawWebSocket,
}

impl Answer {
    fn route(self, session: &str) -> Route<'_> {
        match self {
            Self::Greeting => Route::Greeting,
            Self::Iframe => Route::Iframe,
            Self::Script => Route::Script,
            Self::Info => Route::Info,
            Self::Options(methods) => Route::Options { methods },
            Self::Receive(transport) => Route::Receive { session, transport },
            Self::Send(transport) => Route::Send { session, transport },
            Self::WebSocket => Route::WebSocket,
            Self::RawWebSocket => Route::RawWebSocket,
        }
    }
}

static TABLE: [Row; 18] = {
    use Answer::{Options, Receive, Send};
    use ReceiveTransport as Transport;
    [
        Row::new(Place::Base, Method::GET, Answer::Greeting),
        Row::new(Place::BaseUpgrade, Method::GET, Answer::RawWebSocket),
        Row::new(Place::Iframe, Method::GET, Answer::Iframe),
        Row::new(Place::Script, Method::GET, Answer::Script),
        Row::new(Place::Info, Method::OPTIONS, Options("OPTIONS, GET")),
        Row::new(Place::Info, Method::GET, Answer::Info),
        Row::new(Place::RawWebSocket, Method::GET, Answer::RawWebSocket),
        Row::new(Place::Xhr, Method::OPTIONS, Options("OPTIONS, POST")),
        Row::new(Place::Xhr, Method::POST, Receive(Transport::Xhr)),
        Row::new(Place::XhrSend, Method::OPTIONS, Options("OPTIONS, POST")),
        Row::new(Place::XhrSend, Method::POST, Send(SendTransport::Xhr)),
        Row::new(Place::XhrStreaming, Method::OPTIONS, Options("OPTIONS, POST")),
        Row::new(Place::XhrStreaming, Method::POST, Receive(Transport::XhrStreaming)),
        Row::new(Place::EventSource, Method::GET, Receive(Transport::EventSource)),
        Row::new(Place::HtmlFile, Method::GET, Receive(Transport::HtmlFile)),
        Row::new(Place::Jsonp, Method::GET, Receive(Transport::Jsonp)),
        Row::new(Place::JsonpSend, Method::POST, Send(SendTransport::Jsonp)),
        Row::new(Place::WebSocket, Method::GET, Answer::WebSocket),
    ]
};

#[cfg(test)]
mod tests {
    use super::super::Transports;
    use super::*;

    #[test]
    fn the_mount_greets() {
        // sockjs-protocol test_greeting
        assert_eq!(get(""), Route::Greeting);
        assert_eq!(get("/"), Route::Greeting);
        assert_eq!(route(Method::POST, "/"), allow("GET"));
    }

    #[test]
    fn an_upgrade_at_the_mount_is_a_raw_websocket_where_they_are_offered() {
        assert_eq!(Route::of(&Method::GET, "", true, &Settings::conformance()), Route::RawWebSocket);
        assert_eq!(Route::of(&Method::GET, "/", true, &Settings::conformance()), Route::RawWebSocket);
        assert_eq!(Route::of(&Method::GET, "", true, &without(&[Transport::RawWebSocket])), Route::NotFound);
    }

    #[test]
    fn unknown_paths_are_not_found() {
        // sockjs-protocol test_notFound
        for path in ["/a", "/a.html", "//", "///", "/a/a", "/a/a/", "/a/", "/a/a/xhr/", "/a/a/b/xhr", "/a/a/XHR"] {
            assert_eq!(get(path), Route::NotFound, "{path}");
            assert_eq!(route(Method::POST, path), Route::NotFound, "{path}");
        }
    }

    #[test]
    fn the_iframe_has_any_version_in_its_name() {
        // sockjs-protocol test_simpleUrl, test_versionedUrl
        let versions = ["", "-a", "-", "-0.1.2", "-0.1.2abc-dirty.2144"];
        for path in versions.map(|version| format!("/iframe{version}.html")) {
            assert_eq!(get(&path), Route::Iframe, "{path}");
        }
        assert_eq!(route(Method::POST, "/iframe.html"), allow("GET"));
    }

    #[test]
    fn what_is_nearly_the_iframe_is_not_found() {
        // sockjs-protocol test_invalidUrl
        for path in
            ["/iframe.htm", "/iframe", "/IFRAME.HTML", "/IFRAME", "/iframe.HTML", "/iframe.xml", "/iframe-/.html"]
        {
            assert_eq!(get(path), Route::NotFound, "{path}");
        }
    }

    #[test]
    fn info_is_got_and_asked_for_its_options() {
        // sockjs-protocol InfoTest
        assert_eq!(get("/info"), Route::Info);
        assert_eq!(route(Method::OPTIONS, "/info"), Route::Options { methods: "OPTIONS, GET" });
        assert_eq!(route(Method::POST, "/info"), allow("OPTIONS, GET"));
    }

    #[test]
    fn each_transport_has_its_method() {
        let receive = |transport| Route::Receive { session: "s", transport };
        let send = |transport| Route::Send { session: "s", transport };
        assert_eq!(route(Method::POST, "/0/s/xhr"), receive(ReceiveTransport::Xhr));
        assert_eq!(route(Method::POST, "/0/s/xhr_streaming"), receive(ReceiveTransport::XhrStreaming));
        assert_eq!(get("/0/s/eventsource"), receive(ReceiveTransport::EventSource));
        assert_eq!(get("/0/s/htmlfile"), receive(ReceiveTransport::HtmlFile));
        assert_eq!(get("/0/s/jsonp"), receive(ReceiveTransport::Jsonp));
        assert_eq!(route(Method::POST, "/0/s/xhr_send"), send(SendTransport::Xhr));
        assert_eq!(route(Method::POST, "/0/s/jsonp_send"), send(SendTransport::Jsonp));
        assert_eq!(get("/0/s/websocket"), Route::WebSocket);
        assert_eq!(get("/websocket"), Route::RawWebSocket);
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        // sockjs-protocol test_invalidMethod
        for (method, path, methods) in [
            (Method::GET, "/0/s/xhr", "OPTIONS, POST"),
            (Method::GET, "/0/s/xhr_streaming", "OPTIONS, POST"),
            (Method::PUT, "/0/s/xhr_send", "OPTIONS, POST"),
            (Method::POST, "/0/s/eventsource", "GET"),
            (Method::POST, "/0/s/htmlfile", "GET"),
            (Method::POST, "/0/s/jsonp", "GET"),
            (Method::GET, "/0/s/jsonp_send", "POST"),
            (Method::POST, "/0/s/websocket", "GET"),
            (Method::POST, "/websocket", "GET"),
        ] {
            assert_eq!(route(method, path), allow(methods), "{path}");
        }
    }

    #[test]
    fn each_xhr_path_answers_options() {
        // sockjs-protocol XhrPolling test_options, XhrStreaming test_options
        for path in ["/abc/abc/xhr", "/abc/abc/xhr_send", "/abc/abc/xhr_streaming"] {
            assert_eq!(route(Method::OPTIONS, path), Route::Options { methods: "OPTIONS, POST" }, "{path}");
        }
    }

    #[test]
    fn what_is_not_offered_is_not_found() {
        let of =
            |method: &Method, path, settings: &Settings| Route::of(method, path, false, settings) == Route::NotFound;
        for (transport, path) in [
            (Transport::RawWebSocket, "/websocket"),
            (Transport::WebSocket, "/0/s/websocket"),
            (Transport::Xhr, "/0/s/xhr"),
            (Transport::XhrStreaming, "/0/s/xhr_streaming"),
            (Transport::EventSource, "/0/s/eventsource"),
            (Transport::HtmlFile, "/0/s/htmlfile"),
            (Transport::Jsonp, "/0/s/jsonp"),
            (Transport::Jsonp, "/0/s/jsonp_send"),
        ] {
            for method in [Method::GET, Method::POST, Method::OPTIONS] {
                assert!(of(&method, path, &without(&[transport])), "{path}");
                assert!(!of(&method, path, &Settings::conformance()), "{path}");
            }
        }
    }

    #[test]
    fn xhr_send_is_there_while_one_of_its_receivers_is() {
        use Transport::{EventSource, HtmlFile, Xhr, XhrStreaming};
        let found = |left_out: &[Transport]| Route::of(&Method::POST, "/0/s/xhr_send", false, &without(left_out));
        assert_ne!(found(&[Xhr, XhrStreaming, EventSource]), Route::NotFound);
        assert_ne!(found(&[XhrStreaming, EventSource, HtmlFile]), Route::NotFound);
        assert_eq!(found(&[Xhr, XhrStreaming, EventSource, HtmlFile]), Route::NotFound);
    }

    #[test]
    fn the_iframe_and_its_script_are_off_unless_enabled() {
        let off = Settings { frame_ancestors: None, ..Settings::conformance() };
        for path in ["/iframe.html", "/iframe-1.6.1.html", "/sockjs.min.js"] {
            assert_eq!(Route::of(&Method::GET, path, false, &off), Route::NotFound, "{path}");
        }
        assert_eq!(get("/sockjs.min.js"), Route::Script);
    }

    #[test]
    fn server_and_session_are_anything_without_a_dot() {
        // sockjs-protocol test_anyValue, test_invalidPaths, test_ignoringServerId
        for (path, session) in [("/_/_/xhr", "_"), ("/1/1/xhr", "1"), ("/abc_i-j%20/abc_i-j%20/xhr", "abc_i-j%20")] {
            let expected = Route::Receive { session, transport: ReceiveTransport::Xhr };
            assert_eq!(route(Method::POST, path), expected);
        }
        for suffix in ["//", "/a./a", "/a/a.", "/./.", "/", "///"] {
            let path = format!("{suffix}/xhr");
            assert_eq!(route(Method::POST, &path), Route::NotFound, "{path}");
            assert_eq!(get(&path), Route::NotFound, "{path}");
        }
    }

    #[test]
    fn the_callback_is_c_or_callback_percent_decoded() {
        // sockjs-protocol HtmlFile test_transport, test_no_callback
        let kind = |query| ReceiveTransport::Jsonp.kind(query);
        let named = |name| Callback::parse(Some(name)).map(ReceiverKind::Jsonp);
        assert_eq!(kind("c=%63allback"), named("callback"));
        assert_eq!(kind("t=1&callback=x"), named("x"));
        assert_eq!(kind("callback=x&c=y"), named("y"));
        assert_eq!(kind(""), Err(CallbackError::Missing));
        assert_eq!(kind("c="), Err(CallbackError::Missing));
        assert_eq!(kind("c=a%28b"), Err(CallbackError::Invalid));
        assert_eq!(ReceiveTransport::HtmlFile.kind("d=x"), Err(CallbackError::Missing));
        assert_eq!(ReceiveTransport::Xhr.kind(""), Ok(ReceiverKind::Xhr));
    }

    fn get(path: &str) -> Route<'_> {
        route(Method::GET, path)
    }

    fn route(method: Method, path: &str) -> Route<'_> {
        Route::of(&method, path, false, &Settings::conformance())
    }

    fn without(left_out: &[Transport]) -> Settings {
        let transports = left_out.iter().fold(Transports::ALL, |set, &transport| set.without(transport));
        Settings { transports, ..Settings::conformance() }
    }

    fn allow(methods: &str) -> Route<'static> {
        Route::MethodNotAllowed { allow: methods.to_owned() }
    }
}
