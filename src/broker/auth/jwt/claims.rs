//! What claims say of somebody.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::broker::auth::is_name;
use crate::message::{Destination, Grant, Operation, Principal, User};

/// The names of claims. One with dots is also a way into objects: `realm_access.roles`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The principal's name: a string.
    pub name: String,
    /// The roles: a list of strings, or words in one string; empty: none are read.
    pub roles: String,
    /// What the token allows and refuses by itself, asked before the settings' rules: a list of
    /// `{"allow": true, "operations": ["subscribe"], "destinations": ["/topic/a"]}`; empty: none
    /// is read.
    pub rules: String,
}

/// One of a token's own rules.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(default = "yes")]
    allow: bool,
    operations: Vec<String>,
    destinations: Vec<String>,
}

impl Names {
    pub(super) fn principal(&self, claims: &Map<String, Value>) -> Result<Principal, &'static str> {
        let name = find(claims, &self.name).and_then(Value::as_str).filter(|name| is_name(name));
        let name = name.ok_or("the claim with the name is no name")?;
        let roles = find(claims, &self.roles).map_or_else(Vec::new, roles);
        if roles.len() > MAX_ROLES || !roles.iter().all(|role| is_name(role)) {
            return Err("the claim with the roles has too many, or one that is no role");
        }
        let grants = match find(claims, &self.rules) {
            None => Vec::new(),
            Some(rules) => grants(rules).ok_or("the claim with the rules cannot be read")?,
        };
        Ok(Principal::User(User::new(name, roles, grants)))
    }
}

/// A time of a token in milliseconds since the Unix epoch.
// RFC 7519 2, NumericDate: seconds, perhaps with a fraction
pub(super) fn milliseconds(seconds: &Value) -> Option<u64> {
    match seconds.as_u64() {
        Some(seconds) => seconds.checked_mul(1000),
        None => seconds.as_f64().filter(|seconds| (0.0..1e15).contains(seconds)).map(|seconds| (seconds * 1e3) as u64),
    }
}

/// Whether issuer and audience are what they must be where they are there.
// RFC 7519 4.1.1: iss is a string; 4.1.3: aud is a string or an array of strings
pub(super) fn has_fit_names(claims: &Map<String, Value>) -> bool {
    let is_list = |aud: &Value| aud.as_array().is_some_and(|list| list.iter().all(Value::is_string));
    claims.get("iss").is_none_or(Value::is_string)
        && claims.get("aud").is_none_or(|aud| aud.is_string() || is_list(aud))
}

/// The claim of that very name, or the one that its dots lead to.
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if name.is_empty() {
        return None;
    }
    claims.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        rest.split('.').try_fold(claims.get(first)?, |value, word| value.get(word))
    })
}

fn roles(value: &Value) -> Vec<Box<str>> {
    match value {
        Value::String(words) => words.split_whitespace().map(Into::into).collect(),
        Value::Array(roles) => roles.iter().filter_map(Value::as_str).map(Into::into).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

/// A rule that cannot be read might have refused something: then nothing is allowed.
fn grants(value: &Value) -> Option<Vec<Grant>> {
    let rules: Vec<Rule> = Vec::deserialize(value).ok()?;
    let is_bounded = rules.len() <= MAX_RULES && rules.iter().all(|rule| rule.destinations.len() <= MAX_RULES);
    if !is_bounded {
        return None;
    }
    rules.into_iter().map(Rule::grant).collect()
}

impl Rule {
    fn grant(self) -> Option<Grant> {
        let operation = |word: &String| Operation::of_word(word);
        let destination = |text: String| Destination::parse(&text).is_ok().then(|| text.into());
        Some(Grant {
            allow: self.allow,
            operations: self.operations.iter().map(operation).collect::<Option<_>>()?,
            destinations: self.destinations.into_iter().map(destination).collect::<Option<_>>()?,
        })
    }
}

fn yes() -> bool {
    true
}

/// What one token may bring along stays with its session.
const MAX_ROLES: usize = 256;
const MAX_RULES: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names() -> Names {
        Names { name: "sub".into(), roles: "realm_access.roles".into(), rules: "rules".into() }
    }

    fn principal(claims: &Value) -> Result<Principal, &'static str> {
        names().principal(claims.as_object().unwrap())
    }

    #[test]
    fn name_and_roles_come_from_the_claims_that_the_settings_name() {
        let claims = json!({ "sub": "ann", "realm_access": { "roles": ["a", "b"] } });
        let ann = principal(&claims).unwrap();
        assert_eq!(ann.name(), Some("ann"));
        assert!(ann.user().unwrap().has_role("b") && ann.user().unwrap().grants().is_empty());
        let words = principal(&json!({ "sub": "ann", "realm_access.roles": "a b" })).unwrap();
        assert!(words.user().unwrap().has_role("b"));
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        for claims in [json!({}), json!({ "sub": 1 }), json!({ "sub": "" }), json!({ "sub": "a\nb" })] {
            assert!(principal(&claims).is_err(), "{claims}");
        }
    }

    #[test]
    fn rules_are_read_whole_or_the_token_is_refused() {
        let rules = json!([
            { "allow": false, "operations": ["send"], "destinations": ["/topic/a"] },
            { "operations": ["subscribe", "app"], "destinations": ["/topic/{user}/**", "/app/x"] },
        ]);
        let ann = principal(&json!({ "sub": "ann", "rules": rules })).unwrap();
        let grants = ann.user().unwrap().grants();
        assert!(!grants[0].allow && grants[1].allow);
        assert_eq!(grants[1].operations, [Operation::Subscribe, Operation::App]);
        for rules in [
            json!("x"),
            json!([{ "operations": ["publish"], "destinations": ["/topic/a"] }]),
            json!([{ "operations": ["send"], "destinations": ["topic"] }]),
            json!([{ "operations": ["send"], "destinations": ["/topic/a"], "deny": true }]),
            json!([{ "operations": ["send"] }]),
        ] {
            assert!(principal(&json!({ "sub": "ann", "rules": rules })).is_err(), "{rules}");
        }
    }

    #[test]
    fn what_a_token_brings_along_is_bounded() {
        let roles = |count: usize| json!({ "sub": "ann", "realm_access": { "roles": vec!["r"; count] } });
        assert!(principal(&roles(MAX_ROLES)).is_ok() && principal(&roles(MAX_ROLES + 1)).is_err());
        let rule = json!({ "operations": ["send"], "destinations": ["/topic/a"] });
        let rules = |count: usize| json!({ "sub": "ann", "rules": vec![rule.clone(); count] });
        assert!(principal(&rules(MAX_RULES)).is_ok() && principal(&rules(MAX_RULES + 1)).is_err());
    }

    #[test]
    fn a_time_may_have_a_fraction() {
        assert_eq!(milliseconds(&json!(2)), Some(2000));
        assert_eq!(milliseconds(&json!(2.5)), Some(2500));
        assert_eq!(milliseconds(&json!(-1)), None);
        assert_eq!(milliseconds(&json!("2")), None);
        assert_eq!(milliseconds(&json!(u64::MAX)), None);
    }
}
