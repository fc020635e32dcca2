//! `[auth]`: from what is written to what the broker knows of those who come.

use std::sync::Arc;

use super::ConfigError;
use super::check::repeated;
use super::path::Path;
use super::raw::{self, Secret};
use super::sources::Merged;
use super::texts;
use crate::broker::acl::Rule;
use crate::broker::auth::jwt::{self, Algorithm, KeyError, Keys, Source};
use crate::broker::auth::{Digest, Limits, Password, Settings};
use crate::message::{Grant, Operation, User};
use crate::net::fetch::Url;

pub(super) fn auth(merged: &Merged) -> Result<Settings, ConfigError> {
    let raw = &merged.raw.auth;
    let users = raw.users.iter().enumerate();
    let tokens = raw.tokens.iter().map(|token| (&token.name, &token.token, &token.token_sha256, &token.roles));
    let keys = raw.api_keys.iter().map(|key| (&key.name, &key.key, &key.key_sha256, &key.roles));
    Ok(Settings {
        anonymous: raw.anonymous,
        users: users.map(|(n, user)| named(merged, n, user)).collect::<Result<_, _>>()?,
        tokens: holders(merged, "auth.tokens", "token", tokens)?,
        api_keys: holders(merged, "auth.api_keys", "key", keys)?,
        jwt: jwt(merged)?,
        certificates: [&merged.raw.server.tls_client_ca, &merged.raw.tcp.tls_client_ca].iter().any(|ca| !ca.is_empty()),
        rules: raw.rules.iter().map(rule).collect(),
        limits: Limits {
            running: raw.checks,
            waiting: raw.checks_waiting,
            waiting_per_address: raw.checks_waiting_per_address,
        },
        failures_per_minute: raw.failures_per_minute,
    })
}

fn named(merged: &Merged, n: usize, raw: &raw::User) -> Result<(User, Password), ConfigError> {
    let path = Path::of("auth.users").index(n);
    let password = match (&raw.passcode, &raw.password_hash) {
        (Some(passcode), None) => Password::plain(passcode.expose()),
        (None, Some(hash)) => Password::hashed(hash.expose())
            .map_err(|_| merged.refuse(&path.key("password_hash"), texts::PASSWORD_HASH.allowed))?,
        (Some(_), Some(_)) => return Err(merged.refuse(&path.key("passcode"), "absent where password_hash stands")),
        (None, None) => return Err(merged.missing(&path.key("passcode"), "there, or password_hash in its place")),
    };
    Ok((User::new(&raw.name, roles(&raw.roles), Vec::new()), password))
}

type Holder<'a> = (&'a String, &'a Option<Secret>, &'a Option<Secret>, &'a Vec<String>);

fn holders<'a>(
    merged: &Merged,
    list: &str,
    key: &str,
    entries: impl Iterator<Item = Holder<'a>>,
) -> Result<Vec<(User, Digest)>, ConfigError> {
    let digest_key = format!("{key}_sha256");
    let mut holders = Vec::new();
    for (n, (name, secret, digest, own_roles)) in entries.enumerate() {
        let path = Path::of(list).index(n);
        let digest = match (secret, digest) {
            (Some(secret), None) => Digest::of(secret.expose()),
            (None, Some(digest)) => Digest::parse(digest.expose())
                .ok_or_else(|| merged.refuse(&path.key(&digest_key), texts::SHA256.allowed))?,
            (Some(_), Some(_)) => {
                return Err(merged.refuse(&path.key(key), format!("absent where {digest_key} stands")));
            }
            (None, None) => return Err(merged.missing(&path.key(key), format!("there, or {digest_key} in its place"))),
        };
        holders.push((User::new(name, roles(own_roles), Vec::new()), digest));
    }
    let digests: Vec<String> = holders.iter().map(|(_, digest)| digest.to_string()).collect();
    if let Some((first, again)) = repeated(digests.iter().map(String::as_str)) {
        let path = Path::of(list).index(again).key(key);
        return Err(merged.refuse(&path, format!("unique, and {list}[{first}] has it too")));
    }
    Ok(holders)
}

fn rule(raw: &raw::AccessRule) -> Rule {
    Rule {
        users: raw.users.clone(),
        roles: raw.roles.clone(),
        anonymous: raw.anonymous,
        grant: Grant {
            allow: raw.allow,
            operations: raw.operations.iter().filter_map(|word| Operation::of_word(word)).collect(),
            destinations: raw.destinations.iter().map(|text| text.as_str().into()).collect(),
        },
    }
}

/// Whether there is anything that tokens could be checked with.
pub(super) fn has_keys(raw: &raw::Jwt) -> bool {
    [&raw.secret_file, &raw.key_file, &raw.jwks_file, &raw.jwks_url].iter().any(|place| !place.is_empty())
}

fn jwt(merged: &Merged) -> Result<Option<jwt::Settings>, ConfigError> {
    let raw = &merged.raw.auth.jwt;
    if !has_keys(raw) {
        return Ok(None);
    }
    let secret = keys(merged, "auth.jwt.secret_file", &raw.secret_file, |octets| Keys::of_secret(&octets))?;
    let public =
        keys(merged, "auth.jwt.key_file", &raw.key_file, |octets| Keys::of_pem(&String::from_utf8_lossy(&octets)))?;
    let set = keys(merged, "auth.jwt.jwks_file", &raw.jwks_file, |octets| Keys::of_jwks(&octets, true))?;
    Ok(Some(jwt::Settings {
        algorithms: raw.algorithms.iter().filter_map(|name| Algorithm::of_name(name)).collect(),
        keys: secret.and(public).and(set),
        source: source(merged, raw)?,
        issuers: raw.issuers.clone(),
        audiences: raw.audiences.clone(),
        leeway: raw.leeway.0,
        names: jwt::Names {
            name: raw.name_claim.clone(),
            roles: raw.roles_claim.clone(),
            rules: raw.rules_claim.clone(),
        },
    }))
}

fn keys(
    merged: &Merged,
    key: &str,
    file: &str,
    read: impl FnOnce(Vec<u8>) -> Result<Keys, KeyError>,
) -> Result<Keys, ConfigError> {
    if file.is_empty() {
        return Ok(Keys::default());
    }
    let path = Path::of(key);
    let octets = std::fs::read(file).map_err(|error| merged.refuse_file(&path, format!("cannot be read: {error}")))?;
    read(octets).map_err(|error| merged.refuse_file(&path, error.to_string()))
}

fn source(merged: &Merged, raw: &raw::Jwt) -> Result<Option<Source>, ConfigError> {
    if raw.jwks_url.is_empty() {
        return Ok(None);
    }
    let roots = (!raw.jwks_roots.is_empty()).then(|| raw.jwks_roots.as_ref());
    let url = Url::new(&raw.jwks_url, roots)
        .map_err(|error| merged.refuse_file(&Path::of("auth.jwt.jwks_roots"), error.to_string()))?;
    let (refresh, min_interval) = (raw.jwks_refresh.0, raw.jwks_min_interval.0);
    let (url, fetch) = (raw.jwks_url.as_str().into(), Arc::new(url));
    let roots = raw.jwks_roots.as_str().into();
    Ok(Some(Source { url, roots, fetch, refresh, min_interval, known: Arc::default() }))
}

fn roles(written: &[String]) -> Vec<Box<str>> {
    written.iter().map(|role| role.as_str().into()).collect()
}
