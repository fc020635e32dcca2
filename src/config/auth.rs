//! `[auth]`: from what is written to what the broker knows of those who come.

use super::ConfigError;
use super::check::repeated;
use super::path::Path;
use super::raw::{self, Secret};
use super::sources::Merged;
use super::texts;
use crate::broker::auth::{Digest, Limits, Password, Settings};
use crate::message::User;

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
        certificates: [&merged.raw.server.tls_client_ca, &merged.raw.tcp.tls_client_ca].iter().any(|ca| !ca.is_empty()),
        limits: Limits {
            running: raw.checks,
            waiting: raw.checks_waiting,
            waiting_per_address: raw.checks_waiting_per_address,
        },
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

fn roles(written: &[String]) -> Vec<Box<str>> {
    written.iter().map(|role| role.as_str().into()).collect()
}
