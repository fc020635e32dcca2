//! The page at `/`, embedded in the binary.

use http::{HeaderValue, Response, StatusCode, header};
use rust_embed::RustEmbed;
use warp::filters::BoxedFilter;
use warp::{Filter, Reply};

/// The built page, which may be missing where the binary was built without Node.
#[derive(RustEmbed)]
#[folder = "console/dist"]
#[allow_missing = true]
struct Dist;

/// `GET /` and what the page loads.
pub(super) fn routes() -> BoxedFilter<(warp::reply::Response,)> {
    warp::path::full()
        .and(warp::get().or(warp::head()).unify())
        .and(warp::header::optional::<String>("if-none-match"))
        .and_then(|path: warp::path::FullPath, known: Option<String>| async move {
            answer(path.as_str(), known.as_deref()).ok_or_else(warp::reject::not_found)
        })
        .boxed()
}

fn answer(path: &str, known: Option<&str>) -> Option<warp::reply::Response> {
    let name = match path {
        "/" => "index.html",
        _ => path.strip_prefix('/')?,
    };
    let Some(file) = Dist::get(name) else {
        return (path == "/").then(|| warp::reply::html(HOW_TO_BUILD).into_response());
    };
    let etag = format!("\"{}\"", hex(&file.metadata.sha256_hash()[..16]));
    let body = if known == Some(etag.as_str()) { Vec::new() } else { file.data.into_owned() };
    let mut response = Response::new(body.into());
    if known == Some(etag.as_str()) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    let mut set = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, content_type(name));
    set(header::ETAG, &etag);
    // Vite names assets by their content; the page itself may change with the next binary.
    set(
        header::CACHE_CONTROL,
        if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" },
    );
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    Some(response)
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

const HOW_TO_BUILD: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>stompbox</title>\
<body style=\"font-family:sans-serif;max-width:40em;margin:4em auto;padding:0 1em\">\
<h1>stompbox is running</h1>\
<p>This binary was built without its page. Install Node.js, then run <code>make run</code> in the source tree: \
it builds the page and puts it into the binary.</p>\
<p>Everything else is here: STOMP at <code>/ws</code>, <a href=\"/api/v1/metrics\">the metrics</a>, \
<a href=\"/api/v1/events\">the events</a>.</p></body></html>";
