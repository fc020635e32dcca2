//! Licence pools: how many there are of each feature, and how many are in use.
//!
//! What lives here: the table, and what is published of it. What does not: HTTP.

pub mod command;
mod lmstat;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};

use super::events::{FieldErrors, Rejected, Rfc3339, json_reason};
use super::metrics::publish_patiently;
use crate::broker::Broker;
use crate::message::{Destination, Publication};

/// Where a change of the pools is published.
pub const DESTINATION: &str = "/topic/licenses";

/// The pools that were told of last, by feature. Shared by reference between threads.
#[derive(Debug, Default)]
pub struct Licenses(Mutex<BTreeMap<String, Counts>>);

/// One pool, as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// What is licensed: 1 to 255 octets without control characters.
    pub feature: String,
    /// How many there are.
    pub total: u64,
    /// How many of them are in use; more than there are where the licence allows it.
    pub used: u64,
}

impl Licenses {
    /// Takes pools in the place of what was known of their features.
    ///
    /// # Errors
    /// There would be more than 10,000 features; nothing is taken then.
    pub fn update(&self, pools: Vec<Pool>) -> Result<(), Rejected> {
        let mut known = self.lock();
        let fresh = pools.iter().filter(|pool| !known.contains_key(&pool.feature)).count();
        if known.len() + fresh > MAX_FEATURES {
            return Err(FieldErrors::body(format!("must not make more than {MAX_FEATURES} features")).into());
        }
        known.extend(pools.into_iter().map(|Pool { feature, total, used }| (feature, Counts { total, used })));
        Ok(())
    }

    /// All pools together.
    pub fn summary(&self) -> Usage {
        let known = self.lock();
        let add = |a: Counts, b: &Counts| Counts {
            total: a.total.saturating_add(b.total),
            used: a.used.saturating_add(b.used),
        };
        known.values().fold(Counts::default(), add).into()
    }

    /// The pool of that feature.
    pub fn of(&self, feature: &str) -> Option<Usage> {
        self.lock().get(feature).copied().map(Usage::from)
    }

    /// What is known, for JSON.
    pub fn report(&self, now: DateTime<Utc>) -> impl Serialize + use<> {
        let pools = self.lock().iter().map(|(feature, counts)| PoolUsage::new(feature, *counts)).collect();
        Report { kind: "licenses", timestamp: Rfc3339(now), pools, licenses: self.summary() }
    }

    /// Publishes what is known.
    pub async fn publish(&self, broker: &Broker, now: DateTime<Utc>) {
        let body = serde_json::to_vec(&self.report(now)).unwrap_or_default();
        if let Ok(destination) = Destination::parse(DESTINATION) {
            let headers = vec![("content-type".into(), "application/json".into())];
            publish_patiently(broker, Publication { destination, headers, body: body.into() }).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Counts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads one pool, or an array of 1 to 1000 of them.
///
/// # Errors
/// Every field that is wrong; within an array as `INDEX.FIELD`.
pub fn parse(json: &[u8]) -> Result<Vec<Pool>, Rejected> {
    let value = serde_json::from_slice(json).map_err(|error| FieldErrors::body(json_reason(&error)))?;
    let mut errors = FieldErrors::default();
    let pools = match value {
        Value::Object(fields) => vec![pool(fields, "", &mut errors)],
        Value::Array(entries) if (1..=MAX_BATCH).contains(&entries.len()) => {
            let pools = entries.into_iter().enumerate().map(|(at, entry)| match entry {
                Value::Object(fields) => pool(fields, &format!("{at}."), &mut errors),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    errors.add(&at.to_string(), "must be a JSON object");
                    None
                }
            });
            pools.collect()
        }
        Value::Array(_) => return Err(FieldErrors::body(format!("must hold 1 to {MAX_BATCH} pools")).into()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Err(FieldErrors::body("must be a JSON object or an array of them".into()).into());
        }
    };
    if errors.is_empty() { Ok(pools.into_iter().flatten().collect()) } else { Err(errors.into()) }
}

fn pool(fields: Map<String, Value>, path: &str, errors: &mut FieldErrors) -> Option<Pool> {
    let feature = fields.get("feature").and_then(Value::as_str).filter(|feature| is_feature(feature));
    if feature.is_none() {
        errors.add(&format!("{path}feature"), "must be a string of 1 to 255 octets without control characters");
    }
    let mut number = |name: &str| {
        let number = fields.get(name).and_then(Value::as_u64);
        if number.is_none() {
            errors.add(&format!("{path}{name}"), "must be a whole number that is not negative");
        }
        number
    };
    let (total, used) = (number("total"), number("used"));
    Some(Pool { feature: feature?.to_owned(), total: total?, used: used? })
}

fn is_feature(feature: &str) -> bool {
    (1..=255).contains(&feature.len()) && !feature.contains(char::is_control)
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    total: u64,
    used: u64,
}

/// How far licences are used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Usage {
    /// How many there are.
    pub total: u64,
    /// How many are in use.
    pub used: u64,
    /// How many are left.
    pub available: u64,
    /// Percent in use, to two decimals; zero where there are none.
    pub utilization: f64,
}

impl From<Counts> for Usage {
    #[expect(clippy::cast_precision_loss, reason = "a share to two decimals")]
    fn from(Counts { total, used }: Counts) -> Self {
        let share = if total == 0 { 0.0 } else { used as f64 * 100.0 / total as f64 };
        Self { total, used, available: total.saturating_sub(used), utilization: (share * 100.0).round() / 100.0 }
    }
}

#[derive(Serialize)]
struct Report {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: Rfc3339,
    pools: Vec<PoolUsage>,
    licenses: Usage,
}

#[derive(Serialize)]
struct PoolUsage {
    feature: String,
    #[serde(flatten)]
    usage: Usage,
}

impl PoolUsage {
    fn new(feature: &str, counts: Counts) -> Self {
        Self { feature: feature.to_owned(), usage: counts.into() }
    }
}

const MAX_FEATURES: usize = 10_000;
const MAX_BATCH: usize = 1000;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pools_add_up_and_the_newest_word_on_a_feature_counts() {
        let licenses = Licenses::default();
        assert_eq!(licenses.summary(), Usage { total: 0, used: 0, available: 0, utilization: 0.0 });
        let first = br#"[{"feature":"cad","total":60,"used":50},{"feature":"sim","total":3,"used":4}]"#;
        licenses.update(parse(first).unwrap()).unwrap();
        licenses.update(parse(br#"{"feature":"cad","total":97,"used":71}"#).unwrap()).unwrap();
        assert_eq!(licenses.summary(), Usage { total: 100, used: 75, available: 25, utilization: 75.0 });
        assert_eq!(licenses.of("sim"), Some(Usage { total: 3, used: 4, available: 0, utilization: 133.33 }));
        assert_eq!(licenses.of("x"), None);
        let report = serde_json::to_value(licenses.report("2026-01-12T14:00:00Z".parse().unwrap())).unwrap();
        assert_eq!(
            report["pools"][0],
            json!({"feature": "cad", "total": 97, "used": 71, "available": 26, "utilization": 73.2})
        );
        assert_eq!((&report["type"], &report["licenses"]["used"]), (&json!("licenses"), &json!(75)));
    }

    #[test]
    fn each_wrong_field_is_named() {
        let reason = |json: &str, field: &str| {
            parse(json.as_bytes()).unwrap_err().errors.reason(field).map(str::to_owned).unwrap_or_default()
        };
        assert_eq!(
            reason(r#"{"feature":"","total":1,"used":0}"#, "feature"),
            "must be a string of 1 to 255 octets without control characters"
        );
        assert_eq!(
            reason(r#"{"feature":"a","total":-1,"used":0}"#, "total"),
            "must be a whole number that is not negative"
        );
        assert_eq!(
            reason(r#"[{"feature":"a","total":1,"used":0},{"feature":"a","total":1}]"#, "1.used"),
            "must be a whole number that is not negative"
        );
        assert_eq!(reason("[7]", "0"), "must be a JSON object");
        assert_eq!(reason("[]", "body"), "must hold 1 to 1000 pools");
        assert_eq!(reason("7", "body"), "must be a JSON object or an array of them");
        assert!(reason("{", "body").starts_with("is not valid JSON"));
    }

    #[test]
    fn features_are_at_most_ten_thousand() {
        let licenses = Licenses::default();
        let pool = |n: usize| Pool { feature: format!("f{n}"), total: 1, used: 0 };
        licenses.update((0..MAX_FEATURES).map(pool).collect()).unwrap();
        licenses.update(vec![pool(0)]).unwrap();
        let refused = licenses.update(vec![pool(0), pool(MAX_FEATURES)]).unwrap_err();
        assert_eq!(refused.to_string(), "Validation failed: body must not make more than 10000 features");
    }
}
