//! The page at `/`, embedded in the binary.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode, header};
use rust_embed::RustEmbed;
use warp::filters::BoxedFilter;
use warp::{Filter, Reply};

use super::Site;

/// The built page, which may be missing where the binary was built without Node.
#[derive(RustEmbed)]
#[folder = "console/dist"]
#[allow_missing = true]
struct Dist;

/// `GET /` and what the page loads.
pub(super) fn routes(site: &Site) -> BoxedFilter<(warp::reply::Response,)> {
    let settings: Arc<str> = settings(site).into();
    warp::path::full()
        .and(warp::get().or(warp::head()).unify())
        .and(warp::header::optional::<String>("if-none-match"))
        .and_then(move |path: warp::path::FullPath, known: Option<String>| {
            let settings = Arc::clone(&settings);
            async move { answer(path.as_str(), known.as_deref(), &settings).ok_or_else(warp::reject::not_found) }
        })
        .boxed()
}

/// What the page has to know before it is let in, and so cannot ask for: where STOMP is spoken, where the metrics
/// are and how often they come.
fn settings(site: &Site) -> String {
    let metrics = site.events.as_ref().map(|(_, destination)| destination.as_str());
    let period_ms = u64::try_from(site.metrics_period.as_millis()).unwrap_or(u64::MAX);
    serde_json::json!({"mount": &*site.mount, "metrics": metrics, "periodMs": period_ms}).to_string()
}

/// Puts the settings into the page's `<meta>` that waits for them.
fn told(page: &[u8], settings: &str) -> Vec<u8> {
    let escaped = settings.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    String::from_utf8_lossy(page).replacen(UNTOLD, &UNTOLD.replace("\"\"", &format!("\"{escaped}\"")), 1).into_bytes()
}

fn answer(path: &str, known: Option<&str>, settings: &str) -> Option<warp::reply::Response> {
    let name = match path {
        "/" => "index.html",
        _ => path.strip_prefix('/')?,
    };
    let Some(file) = Dist::get(name) else {
        return (path == "/").then(|| warp::reply::html(HOW_TO_BUILD).into_response());
    };
    let mut etag = hex(&file.metadata.sha256_hash()[..16]);
    let mut body = file.data.into_owned();
    if name == "index.html" {
        let mut hasher = DefaultHasher::new();
        settings.hash(&mut hasher);
        etag = format!("{etag}-{:016x}", hasher.finish());
        body = told(&body, settings);
    }
    let etag = format!("\"{etag}\"");
    if known == Some(etag.as_str()) {
        body.clear();
    }
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
    set(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
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

/// As Vite leaves it in the page.
const UNTOLD: &str = "name=\"stompbox-settings\" content=\"\"";

/// The page talks to its own server, and nobody puts it into a frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

const HOW_TO_BUILD: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>stompbox</title>\
<body style=\"font-family:sans-serif;max-width:40em;margin:4em auto;padding:0 1em\">\
<h1>stompbox is running</h1>\
<p>This binary was built without its page. Install Node.js, then run <code>make run</code> in the source tree: \
it builds the page and puts it into the binary.</p>\
<p>Everything else is here: STOMP at <code>/ws</code>, <a href=\"/api/v1/metrics\">the metrics</a>, \
<a href=\"/api/v1/events\">the events</a>.</p></body></html>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_cannot_leave_its_attribute() {
        let page = format!("<meta {UNTOLD} /><p>");
        let told = told(page.as_bytes(), r#"{"metrics":"/topic/<a>&"}"#);
        assert_eq!(
            String::from_utf8_lossy(&told),
            "<meta name=\"stompbox-settings\" content=\"{&quot;metrics&quot;:&quot;/topic/&lt;a>&amp;&quot;}\" /><p>"
        );
    }

    #[test]
    fn other_settings_are_another_page_to_a_cache() {
        if Dist::get("index.html").is_none() {
            return;
        }
        let etag = |settings| answer("/", None, settings).map(|response| response.headers()[header::ETAG].clone());
        assert_eq!(etag("{}"), etag("{}"));
        assert_ne!(etag("{}"), etag("{\"mount\":\"/live\"}"));
    }
}
