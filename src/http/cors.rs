//! Which pages of other origins may use the REST API.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};

use super::Body;

/// The origins whose pages may; empty: all. Cheap to clone.
#[derive(Clone)]
pub(super) struct Cors {
    origins: Arc<[String]>,
}

impl Cors {
    /// Those of the settings, where `*` stands for all.
    pub(super) fn new(origins: &[String]) -> Self {
        let is_any = origins.iter().any(|origin| origin == "*");
        Self { origins: if is_any { Arc::default() } else { origins.into() } }
    }

    /// The answer to a browser that asks for a page's leave, or for a page that has none; `None`:
    /// the request is to be carried out.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let origin = request.headers().get(header::ORIGIN)?;
        if !self.allows(origin) {
            return Some(refused());
        }
        let is_preflight = request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        is_preflight.then(|| {
            let mut response = preflight("GET, HEAD, POST", request.headers());
            self.tell(Some(origin.clone()), response.headers_mut());
            response
        })
    }

    /// Tells the browser that a page of that origin may read the response.
    pub(super) fn tell(&self, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = origin.filter(|origin| self.allows(origin)) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let is_listed = |allowed: &String| origin.as_bytes().eq_ignore_ascii_case(allowed.as_bytes());
        self.origins.is_empty() || self.origins.iter().any(is_listed)
    }
}

/// What a page may send: those methods, and every header it asks for, as none of them gives it
/// more than it has. Libraries add headers of their own, which no list foresees.
pub(super) fn preflight(methods: &'static str, request: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::whole(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    if let Some(names) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    response
}

fn refused() -> Response<Body> {
    let mut response = Response::new(Body::whole(Bytes::from_static(REFUSED)));
    *response.status_mut() = StatusCode::FORBIDDEN;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

const REFUSED: &[u8] = br#"{"status":"error","message":"this origin is not allowed (server.cors_origins)"}"#;
