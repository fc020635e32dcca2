//! What differs between two sets of settings.

use toml::Value;

use super::raw::Raw;

/// The keys whose values differ, in the order of the alphabet. What holds secrets is compared as
/// a whole, and named so.
pub(super) fn changes(old: &Raw, new: &Raw) -> Vec<String> {
    let mut keys = Vec::new();
    if let (Ok(old), Ok(new)) = (Value::try_from(old), Value::try_from(new)) {
        collect("", &old, &new, &mut keys);
    }
    // Written as TOML, two secrets look the same.
    if old.auth != new.auth && !keys.iter().any(|key| key.starts_with("auth")) {
        keys.push("auth".to_owned());
    }
    keys
}

fn collect(key: &str, old: &Value, new: &Value, keys: &mut Vec<String>) {
    match (old, new) {
        (Value::Table(old), Value::Table(new)) => {
            let mut names: Vec<_> = old.keys().chain(new.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                match (old.get(name), new.get(name)) {
                    (Some(old), Some(new)) => collect(&key, old, new, keys),
                    _ => keys.push(key),
                }
            }
        }
        _ if old != new => keys.push(key.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn what_differs_is_named_by_its_key_and_a_secret_by_its_table() {
        let config = |text: &str| Config::from_toml(text).unwrap();
        let old = config("server.shards = 1\nauth.users = [{ name = \"ann\", passcode = \"a\" }]");
        assert_eq!(old.changes_from(&old), [""; 0]);
        let new =
            config("server.shards = 2\nstomp.limits.headers = 9\nauth.users = [{ name = \"ann\", passcode = \"b\" }]");
        assert_eq!(new.changes_from(&old), ["server.shards", "stomp.limits.headers", "auth"]);
        let added = config("server.shards = 1\nsockjs.base_url = \"/x\"");
        assert_eq!(added.changes_from(&old), ["auth.users", "sockjs.base_url"]);
    }
}
