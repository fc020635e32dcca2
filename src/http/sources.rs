//! The REST API of what is fed in beside events: log lines.

use bytes::Bytes;
use chrono::Utc;
use http::StatusCode;
use warp::Filter as _;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::Site;
use super::api::{body, error, reply};
use crate::broker::Broker;
use crate::feeds::logs;
use crate::message::Destination;

/// What stands below `/api/v1`, for those who are let in.
pub(super) fn routes(site: &Site) -> BoxedFilter<(Response,)> {
    let broker = site.broker.clone();
    let log_lines = warp::path!("logs").and(warp::post()).and(body(site.max_body_bytes));
    log_lines.then(move |body: Bytes| take_logs(broker.clone(), body)).boxed()
}

async fn take_logs(broker: Broker, body: Bytes) -> Response {
    let outcome = match logs::accept(&body, Utc::now(), logs::UNKNOWN_SOURCE) {
        Ok(outcome) => outcome,
        Err(rejected) => return reply(StatusCode::BAD_REQUEST, &rejected),
    };
    let Ok(destination) = Destination::parse(logs::DESTINATION) else {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "log lines have no destination");
    };
    let status = if outcome.accepted() == 0 { StatusCode::BAD_REQUEST } else { StatusCode::ACCEPTED };
    let answer = reply(status, &outcome);
    logs::publish(&broker, &destination, outcome.into_entries()).await;
    answer
}
