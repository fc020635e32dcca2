//! The REST API of what is fed in beside events, and what the server says of itself.

use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;
use http::StatusCode;
use warp::Filter as _;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::Site;
use super::api::{body, error, get, guard, reply};
use crate::broker::Broker;
use crate::feeds::alerts::Alerts;
use crate::feeds::licenses::{self, Licenses};
use crate::feeds::logs;
use crate::feeds::status::About;
use crate::feeds::system::Gauges;
use crate::message::Destination;

/// What feeds tell and are told over HTTP. Cheap to clone.
#[derive(Clone)]
pub struct Sources {
    /// The licence pools.
    pub licenses: Arc<Licenses>,
    /// The thresholds.
    pub alerts: Arc<Alerts>,
    /// The machine.
    pub gauges: Gauges,
    /// The server.
    pub about: About,
}

/// What stands below `/api/v1`, for those who are let in.
pub(super) fn routes(site: &Site) -> BoxedFilter<(Response,)> {
    let broker = site.broker.clone();
    let log_lines = warp::path!("logs").and(warp::post()).and(body(site.max_body_bytes));
    let log_lines = log_lines.then(move |body: Bytes| take_logs(broker.clone(), body));
    let (broker, known) = (site.broker.clone(), Arc::clone(&site.sources.licenses));
    let pools = warp::path!("licenses").and(warp::post()).and(body(site.max_body_bytes));
    let pools = pools.then(move |body: Bytes| take_licenses(broker.clone(), Arc::clone(&known), body));
    let known = Arc::clone(&site.sources.licenses);
    let usage = warp::path!("licenses").and(get()).map(move || reply(StatusCode::OK, &known.report(Utc::now())));
    let alerts = Arc::clone(&site.sources.alerts);
    let alerts = warp::path!("alerts").and(get()).map(move || reply(StatusCode::OK, &alerts.report()));
    log_lines.or(pools).unify().or(usage).unify().boxed().or(alerts).unify().boxed()
}

/// What stands below `/api`: the health needs no credentials.
pub(super) fn status_routes(site: &Site) -> BoxedFilter<(Response,)> {
    let (about, broker) = (site.sources.about.clone(), site.broker.clone());
    let alerts = Arc::clone(&site.sources.alerts);
    let health = warp::path!("api" / "health")
        .and(get())
        .map(move || reply(StatusCode::OK, &about.health(&broker, alerts.active())));
    let (about, broker) = (site.sources.about.clone(), site.broker.clone());
    let status = warp::path!("api" / "status").and(get()).and(guard(site));
    let status = status.map(move || reply(StatusCode::OK, &about.status(&broker)));
    let (about, mount) = (site.sources.about.clone(), Arc::clone(&site.mount));
    let info = warp::path!("api" / "server-info").and(get()).and(guard(site));
    let info = info.map(move || reply(StatusCode::OK, &about.server_info(&mount)));
    let gauges = site.sources.gauges.clone();
    let metrics = warp::path!("api" / "metrics").and(get()).and(guard(site));
    let metrics = metrics.then(move || {
        let gauges = gauges.clone();
        async move {
            match gauges.read().await {
                Some(reading) => reply(StatusCode::OK, &reading),
                None => error(StatusCode::SERVICE_UNAVAILABLE, "the machine's gauges cannot be read"),
            }
        }
    });
    health.or(status).unify().or(info).unify().boxed().or(metrics).unify().boxed()
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

async fn take_licenses(broker: Broker, known: Arc<Licenses>, body: Bytes) -> Response {
    let updated = licenses::parse(&body).and_then(|pools| {
        let count = pools.len();
        known.update(pools).map(|()| count)
    });
    match updated {
        Ok(count) => {
            known.publish(&broker, Utc::now()).await;
            reply(StatusCode::ACCEPTED, &serde_json::json!({"status": "accepted", "accepted": count}))
        }
        Err(rejected) => reply(StatusCode::BAD_REQUEST, &rejected),
    }
}
