//! The REST API of the event metrics.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::info;
use warp::filters::BoxedFilter;
use warp::path::FullPath;
use warp::reject::Reject;
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use super::{Site, auth, sources};
use crate::broker::Broker;
use crate::broker::auth::{Attempt, AuthError, Identity};
use crate::feeds::events::{Events, Health, PageRequest, Rejected, Running};
use crate::feeds::metrics::moment;
use crate::feeds::{logs, metrics};
use crate::message::{Destination, Operation};
use crate::net::http::{PeerAddress, PeerSubject, RequestBodyError};
use crate::sockjs::service::Reached;

/// Why a request was not answered as it wished.
#[derive(Debug)]
enum Refused {
    TooLarge { max: usize },
    BrokenOff,
    Stalled,
    Unauthorized,
    Forbidden { reason: String },
    LoginsBusy,
    LoginsFailed { retry_after: Duration },
}

impl Reject for Refused {}

/// All of `/api/v1`.
pub(super) fn routes(site: &Site) -> BoxedFilter<(Response,)> {
    let base = warp::path("api").and(warp::path("v1"));
    let guarded = base.and(guard(site));
    let sources = sources::routes(site);
    let Some((events, destination)) = &site.events else { return guarded.and(sources).boxed() };
    let api = Api {
        events: Arc::clone(events),
        destination: destination.clone(),
        broker: site.broker.clone(),
        large: Arc::new(Semaphore::new(1)),
    };
    let open = base.and(status_routes());
    let of_events = event_routes(&api, site.max_body_bytes).or(metrics_routes(&api)).unify().boxed();
    open.or(guarded.and(of_events.or(sources).unify())).unify().boxed()
}

/// Makes an answer of what no route took.
pub(super) async fn on_rejection(rejection: Rejection) -> Result<Response, Infallible> {
    let (status, message) = if let Some(refused) = rejection.find::<Refused>() {
        match refused {
            Refused::TooLarge { max } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is too large: at most {max} octets are allowed (http_body_bytes)"),
            ),
            Refused::Stalled => (StatusCode::REQUEST_TIMEOUT, "the body took too long to come".into()),
            Refused::BrokenOff => (StatusCode::BAD_REQUEST, "the body broke off".into()),
            Refused::Forbidden { reason } => (StatusCode::FORBIDDEN, reason.clone()),
            Refused::Unauthorized => (StatusCode::UNAUTHORIZED, "Access refused".into()),
            Refused::LoginsBusy => {
                (StatusCode::SERVICE_UNAVAILABLE, "too many logins wait to be checked; try again later".into())
            }
            Refused::LoginsFailed { .. } => (StatusCode::TOO_MANY_REQUESTS, auth::TOO_MANY.into()),
        }
    } else if rejection.is_not_found() {
        (StatusCode::NOT_FOUND, "there is nothing here".into())
    } else if rejection.find::<warp::reject::MethodNotAllowed>().is_some() {
        (StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method".into())
    } else {
        (StatusCode::BAD_REQUEST, "the request is not understood".into())
    };
    let mut response = error(status, &message);
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        response.extensions_mut().insert(Reached("http_body_bytes"));
    }
    if status == StatusCode::UNAUTHORIZED {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer, Basic realm=\"stompbox\""));
    }
    if let Some(Refused::LoginsFailed { retry_after }) = rejection.find::<Refused>() {
        response.headers_mut().insert(header::RETRY_AFTER, auth::seconds(*retry_after));
    }
    Ok(response)
}

/// What a path takes that was asked with another method: the value of `allow`.
pub(super) fn allowed(path: &str) -> HeaderValue {
    HeaderValue::from_static(match path.trim_end_matches('/') {
        "/api/v1/events" | "/api/v1/licenses" => "GET, HEAD, POST",
        "/api/v1/events/batch" | "/api/v1/metrics/reset" | "/api/v1/logs" => "POST",
        _ => "GET, HEAD",
    })
}

#[derive(Clone)]
struct Api {
    events: Arc<Events>,
    destination: Destination,
    broker: Broker,
    /// Whose large body is taken.
    large: Arc<Semaphore>,
}

/// What load balancers ask; needs no credentials.
fn status_routes() -> BoxedFilter<(Response,)> {
    let health = warp::path!("events" / "health").map(|| reply(StatusCode::OK, &Health::up(moment().wall)));
    let test = warp::path!("events" / "test").map(|| reply(StatusCode::OK, &Running::default()));
    get().and(health.or(test).unify()).boxed()
}

fn event_routes(api: &Api, max_body_bytes: usize) -> BoxedFilter<(Response,)> {
    let with_api = with(api);
    let one = warp::path!("events").and(warp::post()).and(body(max_body_bytes)).and(with_api.clone()).then(
        |body: Bytes, api: Api| {
            take(body, api, |events, body| match events.accept_json(body, moment()) {
                Ok(accepted) => reply(StatusCode::ACCEPTED, &accepted),
                Err(rejected) => reply(StatusCode::BAD_REQUEST, &rejected),
            })
        },
    );
    let batch = warp::path!("events" / "batch").and(warp::post()).and(body(max_body_bytes)).and(with_api.clone()).then(
        |body: Bytes, api: Api| {
            take(body, api, |events, body| match events.accept_batch_json(body, moment()) {
                Ok(outcome) if outcome.accepted() == 0 => reply(StatusCode::BAD_REQUEST, &outcome),
                Ok(outcome) => reply(StatusCode::ACCEPTED, &outcome),
                Err(rejected) => reply(StatusCode::BAD_REQUEST, &rejected),
            })
        },
    );
    let pages = warp::path!("events").and(get()).and(page()).and(with_api.clone()).map(
        |request: Result<PageRequest, Rejected>, api: Api| match request {
            Ok(request) => reply(StatusCode::OK, &api.events.page(request)),
            Err(rejected) => reply(StatusCode::BAD_REQUEST, &rejected),
        },
    );
    let of_type = warp::path!("events" / "type" / String).and(get()).and(page()).and(with_api.clone()).map(
        |name: String, request: Result<PageRequest, Rejected>, api: Api| match request {
            Ok(request) => reply(StatusCode::OK, &api.events.page_of_type(&decoded(&name), request)),
            Err(rejected) => reply(StatusCode::BAD_REQUEST, &rejected),
        },
    );
    let by_id = warp::path!("events" / String).and(get()).and(with_api).map(|id: String, api: Api| {
        match api.events.by_id(&id) {
            Some(event) => json_reply(StatusCode::OK, event.json().to_owned().into()),
            None => error(StatusCode::NOT_FOUND, &format!("there is no recent event {id:?}")),
        }
    });
    one.or(batch).unify().boxed().or(pages.or(of_type).unify().boxed()).unify().or(by_id).unify().boxed()
}

/// Has a large body taken by another thread, one at a time for each shard: it takes milliseconds,
/// for which the shard should not stand.
async fn take(body: Bytes, api: Api, take: impl FnOnce(&Events, &[u8]) -> Response + Send + 'static) -> Response {
    if body.len() <= TAKEN_AT_ONCE {
        return take(&api.events, &body);
    }
    let _turn = api.large.acquire().await;
    let taken = spawn_blocking(move || take(&api.events, &body)).await;
    taken.unwrap_or_else(|_| error(StatusCode::INTERNAL_SERVER_ERROR, "the events could not be taken"))
}

fn metrics_routes(api: &Api) -> BoxedFilter<(Response,)> {
    let metrics = warp::path!("metrics")
        .and(get())
        .and(with(api))
        .then(|api: Api| async move { json_reply(StatusCode::OK, metrics::current(&api.events).await) });
    let reset = warp::path!("metrics" / "reset").and(warp::post()).and(with(api)).then(|api: Api| async move {
        metrics::reset(&api.broker, &api.events, &api.destination).await;
        reply(StatusCode::OK, &json!({"status": "reset"}))
    });
    metrics.or(reset).unify().boxed()
}

pub(super) fn get() -> BoxedFilter<()> {
    warp::get().or(warp::head()).unify().boxed()
}

fn with(api: &Api) -> impl Filter<Extract = (Api,), Error = Infallible> + Clone + use<> {
    let api = api.clone();
    warp::any().map(move || api.clone())
}

/// Lets a request pass whose credentials are good, or where none are needed.
pub(super) fn guard(site: &Site) -> BoxedFilter<()> {
    let broker = site.broker.clone();
    let metrics = site.events.as_ref().map(|(_, destination)| destination.clone());
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::header::headers_cloned()
        .and(query)
        .and(warp::ext::optional::<PeerAddress>())
        .and(warp::ext::optional::<PeerSubject>())
        .and(warp::method())
        .and(warp::path::full())
        .and_then(
            move |headers: HeaderMap,
                  query: String,
                  peer: Option<PeerAddress>,
                  subject: Option<PeerSubject>,
                  method: Method,
                  path: FullPath| {
                let broker = broker.clone();
                let credentials = auth::credentials(&headers, &query, subject.map(|subject| subject.0));
                let peer = peer.map(|peer| peer.0);
                let meant = meaning(&method, path.as_str(), metrics.as_ref());
                let attempt = Attempt { credentials, peer: peer.map(|peer| peer.ip()) };
                async move {
                    let refused = match broker.authenticate(attempt).await {
                        Ok(Identity { principal, .. }) => {
                            let (operation, destination) = meant.ok_or_else(warp::reject::not_found)?;
                            match broker.permit(&principal, operation, &destination) {
                                Ok(()) => return Ok(()),
                                Err(error) => Refused::Forbidden { reason: error.to_string() },
                            }
                        }
                        Err(error) => {
                            info!(peer = peer.map(tracing::field::display), %method, path = path.as_str(), ?error, "access refused");
                            match error {
                                AuthError::Refused => Refused::Unauthorized,
                                AuthError::TooMany { retry_after } => Refused::LoginsFailed { retry_after },
                                AuthError::Busy | AuthError::Unavailable => Refused::LoginsBusy,
                            }
                        }
                    };
                    broker.stats().refused.add(1);
                    Err(warp::reject::custom(refused))
                }
            },
        )
        .untuple_one()
        .boxed()
}

/// What a request is as an operation, which the rules are asked about: what comes in is a call of
/// the handler that takes the same over STOMP, what goes out is on the topic.
fn meaning(method: &Method, path: &str, metrics: Option<&Destination>) -> Option<(Operation, Destination)> {
    let is_of_logs = path.starts_with("/api/v1/logs");
    let (operation, destination) = match (*method == Method::POST, is_of_logs) {
        (true, true) => (Operation::App, "/app/logs"),
        (true, false) => (Operation::App, "/app/events"),
        (false, true) => (Operation::Subscribe, logs::DESTINATION),
        (false, false) => match metrics {
            Some(destination) => return Some((Operation::Subscribe, destination.clone())),
            None => (Operation::Subscribe, "/topic/metrics"),
        },
    };
    Some((operation, Destination::parse(destination).ok()?))
}

/// The whole body, up to the limit; what is over is not even kept.
pub(super) fn body(max: usize) -> BoxedFilter<(Bytes,)> {
    warp::header::optional::<u64>("content-length")
        .and(warp::body::stream())
        .and_then(move |announced: Option<u64>, stream| async move {
            if announced.is_some_and(|announced| announced > max as u64) {
                discard(std::pin::pin!(stream), max).await;
                return Err(warp::reject::custom(Refused::TooLarge { max }));
            }
            let body = collect(stream, max).await.map_err(warp::reject::custom)?;
            // RFC 8259 8.1: a byte order mark before the JSON may be ignored.
            Ok(body.strip_prefix(BYTE_ORDER_MARK).map_or_else(|| body.clone(), |rest| body.slice_ref(rest)))
        })
        .boxed()
}

async fn collect<B: Buf, E: Error + 'static>(
    stream: impl Stream<Item = Result<B, E>>,
    max: usize,
) -> Result<Bytes, Refused> {
    let mut stream = std::pin::pin!(stream);
    let mut body = BytesMut::new();
    while let Some(piece) = timeout(BODY_WAIT, stream.next()).await.map_err(|_| Refused::Stalled)? {
        let mut piece = piece.map_err(|error| match RequestBodyError::is_too_slow(&error) {
            true => Refused::Stalled,
            false => Refused::BrokenOff,
        })?;
        if body.len() + piece.remaining() > max {
            drop(body);
            discard(stream, max).await;
            return Err(Refused::TooLarge { max });
        }
        body.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
    }
    Ok(body.freeze())
}

/// Reads on and throws away, up to four times the limit: a client that is still writing when the
/// connection closes sees it reset, and never the answer.
async fn discard<B: Buf, E>(mut stream: std::pin::Pin<&mut impl Stream<Item = Result<B, E>>>, max: usize) {
    let mut left = max.saturating_mul(4);
    while let Ok(Some(Ok(piece))) = timeout(BODY_WAIT, stream.next()).await {
        match left.checked_sub(piece.remaining()) {
            Some(fewer) => left = fewer,
            None => return,
        }
    }
}

/// `page` and `size` of the query.
fn page() -> BoxedFilter<(Result<PageRequest, Rejected>,)> {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    query
        .map(|query: String| {
            let value = |wanted: &str| {
                form_urlencoded::parse(query.as_bytes())
                    .find(|(name, _)| name == wanted)
                    .map(|(_, value)| value.into_owned())
            };
            PageRequest::parse(value("page").as_deref(), value("size").as_deref())
        })
        .boxed()
}

/// A path segment without its percent signs.
fn decoded(segment: &str) -> String {
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

pub(super) fn reply(status: StatusCode, body: &impl Serialize) -> Response {
    warp::reply::with_status(warp::reply::json(body), status).into_response()
}

pub(super) fn json_reply(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(super) fn error(status: StatusCode, message: &str) -> Response {
    reply(status, &json!({"status": "error", "message": message}))
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Octets of a body that a shard takes itself, in a tenth of a millisecond: some fifty events.
const TAKEN_AT_ONCE: usize = 8 * 1024;
/// How long the next octets of a body may take to come.
const BODY_WAIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_coming_is_given_up_and_a_slow_one_is_not() {
        let piece = |_| async {
            tokio::time::sleep(BODY_WAIT - Duration::from_millis(1)).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b"x")), ()))
        };
        let slow = stream::unfold((), piece).take(3);
        assert_eq!(collect(slow, 3).await.map_err(|_| ()), Ok(Bytes::from_static(b"xxx")));
        let stops = stream::pending::<Result<Bytes, Infallible>>();
        assert!(matches!(collect(stops, 3).await, Err(Refused::Stalled)));
    }
}
