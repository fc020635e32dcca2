//! Gauges, licences and what the server says of itself.

use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::common::{Server, Stomp};

#[tokio::test]
async fn the_gauges_come_while_somebody_listens_as_the_documented_object() {
    let server = Server::start(2, "metrics.enabled = false\nsystem.interval = \"200ms\"");
    let pools = json!([{"feature": "cad", "total": 100, "used": 75}]);
    assert_eq!(post(&server, "/api/v1/licenses", &pools.to_string()).await.0, 202);
    let mut client = Stomp::connect(server.address).await;
    client.subscribe("s", "/topic/system", "").await;
    for _ in 0..2 {
        let message = client.frame().await;
        assert_eq!(message.header("content-type"), Some("application/json"));
        let gauges = object(&message.body);
        assert_eq!(gauges["type"], "metrics");
        let number = |path: &str| gauges.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path}"));
        assert!(number("/system/cpu/cores") >= 1.0 && number("/system/cpu/usage") <= 100.0, "{gauges}");
        for space in ["memory", "disk"] {
            let of = |field: &str| number(&format!("/system/{space}/{field}"));
            assert!((of("used") + of("available") - of("total")).abs() < 1.0 && of("percentage") <= 100.0, "{gauges}");
        }
        assert_eq!(gauges["licenses"], json!({"total": 100, "used": 75, "available": 25, "utilization": 75.0}));
        assert_eq!(gauges["connections"]["active"], 1);
    }
    let (status, now) = get(&server, "/api/metrics").await;
    assert_eq!((status, &now["type"], &now["licenses"]["used"]), (200, &json!("metrics"), &json!(75)));
}

#[tokio::test]
async fn licence_pools_are_published_at_each_change_and_told_on_request() {
    let server = Server::start(1, "metrics.enabled = false");
    let mut client = Stomp::connect(server.address).await;
    client.subscribe("l", "/topic/licenses", "").await;
    let (status, answer) = post(&server, "/api/v1/licenses", r#"{"feature":"cad","total":4,"used":1}"#).await;
    assert_eq!((status, answer), (202, json!({"status": "accepted", "accepted": 1})));
    let message = object(&client.frame().await.body);
    let pool = json!({"feature": "cad", "total": 4, "used": 1, "available": 3, "utilization": 25.0});
    assert_eq!((&message["type"], &message["pools"]), (&json!("licenses"), &json!([pool])));
    assert_eq!(get(&server, "/api/v1/licenses").await.1["pools"], json!([pool]));
    let (status, refused) = post(&server, "/api/v1/licenses", r#"{"feature":"cad","total":4}"#).await;
    assert_eq!(status, 400);
    assert_eq!(refused["errors"], json!({"used": "must be a whole number that is not negative"}));
}

#[tokio::test]
async fn health_is_open_to_all_and_the_rest_to_those_who_may_come_in() {
    let server = Server::start(1, "auth.tokens = [{ name = \"ci\", token = \"t\" }]");
    let (status, health) = get(&server, "/api/health").await;
    assert_eq!(
        (status, &health["status"], &health["version"]),
        (200, &json!("healthy"), &json!(env!("CARGO_PKG_VERSION")))
    );
    assert!(health["uptime"].is_u64() && health["timestamp"].is_string());
    for path in ["/api/status", "/api/server-info", "/api/metrics"] {
        assert_eq!(get(&server, path).await.0, 401, "{path}");
    }
    let (code, status) = get(&server, "/api/status?token=t").await;
    assert_eq!((code, &status["status"], &status["active_connections"]), (200, &json!("running"), &json!(0)));
    let (code, info) = get(&server, "/api/server-info?token=t").await;
    assert_eq!((code, &info["name"], &info["endpoints"]["stomp"]), (200, &json!("stompbox"), &json!("/ws")));
}

async fn post(server: &Server, path: &str, body: &str) -> (u16, Value) {
    let answer = Client::new().post(server.url(path)).body(body.to_owned()).send().await.unwrap();
    (answer.status().as_u16(), object(&answer.text().await.unwrap()))
}

async fn get(server: &Server, path: &str) -> (u16, Value) {
    let answer = timeout(Duration::from_secs(20), Client::new().get(server.url(path)).send()).await.unwrap().unwrap();
    (answer.status().as_u16(), object(&answer.text().await.unwrap()))
}

fn object(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

#[tokio::test]
async fn an_alert_is_published_once_when_raised_and_once_when_cleared() {
    let server = Server::start(
        1,
        "metrics.enabled = false\nalerts = [{ name = \"few\", metric = \"licenses.cad.utilization\", above = 90, \
         hysteresis = 5, severity = \"critical\" }]",
    );
    let mut client = Stomp::connect(server.address).await;
    client.subscribe("a", "/topic/alerts", "selector:severity = 'critical'\n").await;
    for (used, state) in [(95, "raised"), (80, "cleared")] {
        let pool = json!({"feature": "cad", "total": 100, "used": used}).to_string();
        assert_eq!(post(&server, "/api/v1/licenses", &pool).await.0, 202);
        let message = client.frame().await;
        assert_eq!(message.header("state"), Some(state));
        let alert = object(&message.body);
        assert_eq!(
            (&alert["type"], &alert["severity"], &alert["source"]),
            (&json!("alert"), &json!("critical"), &json!("stompbox"))
        );
        assert_eq!((&alert["metadata"]["value"], &alert["metadata"]["name"]), (&json!(f64::from(used)), &json!("few")));
        let report = get(&server, "/api/v1/alerts").await.1;
        let active = usize::from(state == "raised");
        assert_eq!((report["active"].as_array().map(Vec::len), &report["recent"][0]), (Some(active), &alert));
        assert_eq!(get(&server, "/api/health").await.1["active_alerts"], active);
    }
}

#[tokio::test]
async fn the_licence_commands_output_is_taken() {
    let server = Server::start(
        1,
        &format!("metrics.enabled = false\nlicenses.command = [\"cat\", \"{LMSTAT}\"]\nlicenses.interval = \"1s\""),
    );
    let mut client = Stomp::connect(server.address).await;
    client.subscribe("l", "/topic/licenses", "").await;
    let message = object(&client.frame().await.body);
    assert_eq!(message["licenses"], json!({"total": 265, "used": 16, "available": 249, "utilization": 6.04}));
    assert_eq!(message["pools"].as_array().map(Vec::len), Some(4));
}

const LMSTAT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/lmstat/two-vendors.txt");
