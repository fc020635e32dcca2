use std::time::Duration;

use super::rules::{Kind, RULES};
use super::*;
use crate::broker::auth::{Digest, Password};
use crate::sockjs::ResponseLimit;

const SAMPLE: &str = include_str!("../../fixtures/stompbox.toml");

#[test]
fn the_sample_file_says_the_defaults() {
    let sample = Config::from_toml(SAMPLE).unwrap();
    assert_eq!(sample.written, raw::Raw::default());
}

#[test]
fn the_sample_file_has_every_setting_and_what_it_may_be() {
    for rule in RULES {
        let (table, key) = rule.key.trim_end_matches("[]").rsplit_once('.').unwrap_or(("", rule.key));
        let section = section(table);
        match rule.key.split_once("[].") {
            Some((_, key)) => {
                assert!(section.contains(&format!("#   {key}: {}\n", rule.kind)), "{}", rule.key);
                assert!(section.contains(&format!("{key} = ")), "{}", rule.key);
            }
            None if rule.key == "schedule" || rule.key == "alerts" => {
                assert!(section.contains(&format!("# [[{}]]", rule.key)));
            }
            None => assert!(section.contains(&format!("\n{key} = ")) || section.contains(&format!("\n# {key} = "))),
        }
        assert!(section.contains(&format!("# Allowed: {}\n", rule.kind)) || rule.key.contains("[]"), "{}", rule.key);
    }
}

/// The part of the sample file about a table.
fn section(table: &str) -> &'static str {
    let name = table
        .trim_end_matches("[]")
        .trim_end_matches(".users")
        .trim_end_matches(".tokens")
        .trim_end_matches(".api_keys")
        .trim_end_matches(".rules");
    if name.is_empty() || name == "schedule" || name == "alerts" {
        return SAMPLE.split_once("recent_bytes = ").unwrap().1;
    }
    let rest = SAMPLE.split_once(&format!("\n[{name}]\n")).unwrap().1;
    let end = rest.find("\n[").unwrap_or(rest.len());
    &SAMPLE[SAMPLE.len() - rest.len() - 1..SAMPLE.len() - rest.len() + end]
}

#[test]
fn there_is_a_rule_for_every_setting_and_a_setting_for_every_rule() {
    let all = raw::Raw {
        server: raw::Server { cors_origins: Some(vec!["*".into()]), ..Default::default() },
        sockjs: raw::SockJs { base_url: Some("/".into()), ..Default::default() },
        ..load(EVERYTHING).written
    };
    let mut keys = Vec::new();
    leaves("", &toml::Value::try_from(all).unwrap(), &mut keys);
    let mut rules: Vec<_> = RULES.iter().filter(|r| !matches!(r.kind, Kind::Tables)).map(|r| r.key).collect();
    keys.sort();
    keys.dedup();
    rules.sort_unstable();
    assert_eq!(keys, rules);
}

const EVERYTHING: &str = r#"
    [auth]
    users = [{ name = "ann", passcode = "s3cret" }, { name = "bob", password_hash = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$W+dZyc2DYnDWyJHuf9ALSjCS1Bq8qYJcPAEFhyYj6ns", roles = ["a"] }]
    tokens = [{ name = "ci", token = "t0ken" }, { name = "cd", token_sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", roles = ["a"] }]
    rules = [{ users = ["ann"], operations = ["send"], destinations = ["/topic/a"] }]
    api_keys = [{ name = "ci", key = "s3cret" }, { name = "cd", key_sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", roles = ["a"] }]
    [[schedule]]
    name = "n"
    cron = "0 0 * * * *"
    destination = "/topic/a"
    body = "b"
    content_type = "text/plain"
    [[alerts]]
    name = "n"
    metric = "system.cpu"
    above = 1
    for = "1s"
    [[alerts]]
    name = "m"
    metric = "system.cpu"
    below = 1
"#;

fn leaves(key: &str, value: &toml::Value, keys: &mut Vec<String>) {
    if let Some(table) = value.as_table() {
        for (name, value) in table {
            let dot = if key.is_empty() { "" } else { "." };
            leaves(&format!("{key}{dot}{name}"), value, keys);
        }
    } else if let Some(list) = value.as_array().filter(|list| list.first().is_some_and(toml::Value::is_table)) {
        list.iter().for_each(|entry| leaves(&format!("{key}[]"), entry, keys));
    } else {
        keys.push(key.to_owned());
    }
}

fn load(text: &str) -> Config {
    Config::from_toml(text).unwrap()
}

fn error(text: &str) -> String {
    Config::from_toml(text).unwrap_err().to_string()
}

fn error_of(sources: Sources) -> String {
    Config::load(sources).unwrap_err().to_string()
}

fn variable(name: &str, value: &str) -> Sources {
    Sources::default().variables([(name.into(), value.into())])
}

#[test]
fn every_default_arrives_in_the_checked_settings() {
    let config = load("");
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert!((1..=64).contains(&config.server.shards.get()));
    assert_eq!(config.server.drain_timeout, Duration::from_secs(10));
    assert_eq!(config.server.http_body_bytes, 1 << 20);
    assert_eq!(config.tcp.listen.map(|address| address.to_string()).as_deref(), Some("127.0.0.1:61613"));
    assert_eq!(config.log, Log { level: "info".into(), format: LogFormat::Human });
    assert_eq!(config.stomp.heart_beat_send, Duration::from_secs(10));
    assert_eq!(config.stomp.disconnect_timeout, Duration::from_secs(1));
    assert_eq!(config.stomp.refusals, stomp::Refusals::Soft);
    assert_eq!(config.stomp.server.as_deref(), Some(concat!("stompbox/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(config.stomp.limits.command_bytes, 32);
    assert_eq!(config.stomp.limits.transaction_bytes, 4 << 20);
    assert_eq!(config.mailbox, MailboxLimits { messages: 1024, bytes: 1 << 20 });
    assert_eq!(config.topics, Topics { retained: 10_000, retained_bytes: 64 << 20, separators: Separators::Both });
    let limits =
        queue::Limits { queues: 10_000, messages: 10_000, bytes: 64 << 20, total_bytes: 1 << 30, drops_oldest: false };
    assert_eq!(config.queues, queue::Settings { limits, max_deliveries: 10, prefetch_count: 64, ttl_ms: 0 });
    assert_eq!((config.sockjs.path.as_str(), config.sockjs.sessions), ("/ws", 100_000));
    assert_eq!(config.sockjs.service.heartbeat, Duration::from_secs(25));
    assert_eq!(config.sockjs.service.response_limit, ResponseLimit::Auto);
    assert_eq!(config.sockjs.service.transports, sockjs::Transports::ALL);
    assert_eq!((&config.sockjs.service.frame_ancestors, config.sockjs.service.sessions_per_address), (&None, 0));
    assert_eq!(config.websocket.deflate, Some(deflate::Settings { level: 6, min_bytes: 2048 }));
    assert_eq!(config.metrics.period, Duration::from_secs(1));
    assert_eq!(config.metrics.destination.as_str(), "/topic/metrics");
    assert_eq!(config.metrics.events.profile, feeds::events::Profile::Documented);
    assert!(config.auth.users.is_empty() && config.auth.tokens.is_empty() && config.schedule.is_empty());
}

#[test]
fn what_is_written_arrives_in_the_checked_settings() {
    let config = load(
        r#"
        server.shards = 3
        log.format = "json"
        stomp = { refusals = "error", server_header = false, heart_beat_tolerance = 3, hosts = ["a.example"] }
        sockjs = { base_url = "/x", origins = ["https://a.example"] }
        metrics.profile = "dashboard"
        mailbox.bytes = 4096
        "#,
    );
    assert_eq!(config.server.shards.get(), 3);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.stomp.refusals, stomp::Refusals::Error);
    assert_eq!(config.stomp.server, None);
    assert!((config.stomp.heart_beat_tolerance - 3.0).abs() < f64::EPSILON);
    assert_eq!(config.stomp.hosts, ["a.example"]);
    assert_eq!(config.sockjs.service.base_url.as_deref(), Some("/x"));
    assert_eq!(config.sockjs.service.origins, ["https://a.example"]);
    assert_eq!(config.metrics.events.profile, feeds::events::Profile::Dashboard);
    assert_eq!(config.mailbox.bytes, 4096);
    let everything = load(EVERYTHING);
    assert_eq!(everything.auth.users[0], ("ann".into(), Password::plain("s3cret")));
    assert!(everything.auth.users[1].0.has_role("a"));
    assert_eq!(everything.auth.tokens[0], ("ci".into(), Digest::of("t0ken")));
    assert_eq!(everything.auth.api_keys[0], ("ci".into(), Digest::of("s3cret")));
    assert_eq!(everything.schedule[0].destination.as_str(), "/topic/a");
    assert!(!everything.schedule[0].retain);
}

#[test]
fn every_range_ends_where_its_rule_says() {
    for rule in RULES.iter().filter(|rule| !rule.key.contains("[]")) {
        let (good, bad) = match &rule.kind {
            Kind::Count { min, max } => {
                (vec![min.to_string(), max.to_string()], vec![(min - 1).to_string(), (max + 1).to_string()])
            }
            Kind::Size { min, max, or_auto } => {
                let below = min.checked_sub(1).map(|n| n.to_string());
                let mut bad: Vec<_> =
                    below.into_iter().chain([(max + 1).to_string(), "-1".into(), "\"1KB\"".into()]).collect();
                let mut good = vec![min.to_string(), format!("\"{max}\"")];
                if *or_auto { &mut good } else { &mut bad }.push("\"auto\"".into());
                (good, bad)
            }
            Kind::Time { min, max, or_zero } => {
                let ms = |ms: u128| format!("\"{ms}ms\"");
                let mut good = vec![ms(min.as_millis()), ms(max.as_millis())];
                let mut bad = vec![ms(min.as_millis() - 1), ms(max.as_millis() + 1), "5".into()];
                if *or_zero { &mut good } else { &mut bad }.push("\"0s\"".into());
                (good, bad)
            }
            Kind::Ratio { min, max } => {
                (vec![format!("{min:?}"), format!("{max:?}")], vec!["0.99".into(), "10.1".into(), "nan".into()])
            }
            Kind::Flag => (vec!["true".into(), "false".into()], vec!["1".into(), "\"true\"".into()]),
            Kind::Choice(choices) => {
                (choices.iter().map(|c| format!("{c:?}")).collect(), vec!["\"\"".into(), "1".into()])
            }
            Kind::Text(_) | Kind::Texts(_) | Kind::Tables => continue,
        };
        let check = |text: &str| {
            let value = toml::from_str::<toml::Table>(&format!("v = {text}")).unwrap().remove("v").unwrap();
            rules::check(&path::Path::of(rule.key), &value)
        };
        for text in good {
            assert_eq!(check(&text), Ok(()), "{} = {text}", rule.key);
        }
        for text in bad {
            assert!(check(&text).is_err(), "{} = {text}", rule.key);
        }
    }
}

#[test]
fn a_response_limit_is_auto_or_exact() {
    let limit = |value: &str| load(&format!("sockjs.response_limit = {value}")).sockjs.service.response_limit;
    assert_eq!(limit("\"auto\""), ResponseLimit::Auto);
    assert_eq!([limit("4096"), limit("\"4KiB\"")], [ResponseLimit::Bytes(4096); 2]);
    assert_eq!(
        error("sockjs.response_limit = \"some\""),
        "stompbox.toml, line 1, column 8: sockjs.response_limit = \"some\" is refused: it must be a size from 4KiB to \
         1GiB, or auto"
    );
}

#[test]
fn the_transports_offered_are_those_listed_without_the_websockets_that_are_off() {
    use sockjs::Transport::{EventSource, RawWebSocket, WebSocket, Xhr};
    let offered = |text: &str| load(text).sockjs.service.transports;
    let listed = "sockjs.transports = [\"websocket\", \"raw-websocket\", \"xhr\", \"eventsource\"]";
    assert_eq!(offered(listed), [WebSocket, RawWebSocket, Xhr, EventSource].into_iter().collect());
    assert_eq!(offered(&format!("{listed}\nsockjs.websocket = false")), [Xhr, EventSource].into_iter().collect());
    assert_eq!(
        error("sockjs.transports = [\"xhr-streaming\"]"),
        "stompbox.toml, line 1, column 22: sockjs.transports[0] = \"xhr-streaming\" is refused: it must be \
         one of websocket, raw-websocket, xhr, xhr_streaming, eventsource, htmlfile, jsonp"
    );
}

#[test]
fn the_iframe_is_off_unless_enabled_and_names_its_ancestors() {
    let ancestors = |text: &str| load(text).sockjs.service.frame_ancestors;
    assert_eq!(ancestors("sockjs.frame_ancestors = [\"https://a.example\"]"), None);
    assert_eq!(ancestors("sockjs.iframe = true"), Some(vec![]));
    let listed = ancestors("sockjs = { iframe = true, frame_ancestors = [\"https://a.example\", \"*\"] }");
    assert_eq!(listed, Some(vec!["https://a.example".into(), "*".into()]));
    assert!(error("sockjs.frame_ancestors = [\"'self'; x\"]").contains("sockjs.frame_ancestors[0]"));
    assert_eq!(load("sockjs.sessions_per_address = 7").sockjs.service.sessions_per_address, 7);
}

#[test]
fn a_refusal_names_file_line_key_value_and_what_is_allowed() {
    assert_eq!(
        error("[server]\nlisten = \"127.0.0.1:1\"\nshards = 65\n"),
        "stompbox.toml, line 3, column 1: server.shards = 65 is refused: it must be a whole number from 0 to 64"
    );
    assert_eq!(
        error("server.listen = \"here\""),
        "stompbox.toml, line 1, column 8: server.listen = \"here\" is refused: it must be \
         an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080"
    );
    assert_eq!(
        error("\n[sockjs]\nheartbeat = \"soon\""),
        "stompbox.toml, line 3, column 1: sockjs.heartbeat = \"soon\" is refused: it must be a duration from 100ms to 1h"
    );
    assert_eq!(
        error("[stomp.limits]\nbody_bytes = \"1MB\""),
        "stompbox.toml, line 2, column 1: stomp.limits.body_bytes = \"1MB\" is refused: it must be a size from 1KiB to 256MiB"
    );
    assert_eq!(
        error("[stomp]\nhosts = [\"a\",\n \"b c\"]"),
        "stompbox.toml, line 3, column 2: stomp.hosts[1] = \"b c\" is refused: it must be \
         a host name of 1 to 255 characters without spaces"
    );
    assert_eq!(error("server = 1"), "stompbox.toml, line 1, column 1: server = 1 is refused: it must be a table");
    assert_eq!(
        error("[schedule]\nname = \"a\""),
        "stompbox.toml, line 1, column 2: schedule = { name = \"a\" } is refused: it must be a list of tables"
    );
}

#[test]
fn an_unknown_setting_is_named_with_those_there_are() {
    assert_eq!(
        error("[log]\nlevel = \"info\"\nformt = \"json\""),
        "stompbox.toml, line 3, column 1: there is no setting log.formt; allowed here: level, format"
    );
    assert_eq!(
        error("[sever]\nlisten = \"127.0.0.1:1\""),
        "stompbox.toml, line 1, column 2: there is no setting sever; allowed here: \
         server, tcp, limits, log, stomp, mailbox, topics, queues, streams, sockjs, websocket, auth, metrics, logs, system, licenses, alerts, \
         schedule"
    );
    assert_eq!(
        error("[auth]\nusers = [\n{ name = \"a\", passcode = \"s3cret\", role = \"x\" }]"),
        "stompbox.toml, line 3, column 36: there is no setting auth.users[0].role; allowed here: name, passcode, password_hash, roles"
    );
    // A quoted key that looks like a dotted one is stopped by the last check
    assert!(error("\"server.listen\" = \"127.0.0.1:1\"").contains("server.listen"));
}

#[test]
fn a_missing_key_is_named_with_the_line_of_its_entry() {
    assert_eq!(
        error("[[schedule]]\nname = \"a\"\ncron = \"0 0 * * * *\"\ndestination = \"/topic/a\""),
        "stompbox.toml, line 1, column 1: schedule[0].body is missing; it must be a string"
    );
}

#[test]
fn a_file_that_is_not_toml_is_refused_by_line() {
    assert_eq!(
        error("[server]\nlisten = 127.0.0.1:8080\n"),
        "stompbox.toml, line 2, column 15: not valid TOML: invalid float, expected nothing, in: listen = 127.0.0.1:8080"
    );
    let message = error("[log]\n[log]\n");
    assert!(message.starts_with("stompbox.toml, line 2, column 2: not valid TOML: duplicate key"), "{message}");
    for text in ["[auth]\nx = s3cret", "users = [\n{ passcode = s3cret", "x = \"\"\"\ntoken\ns3cret"] {
        assert!(!error(text).contains("s3cret"), "{}", error(text));
    }
}

#[test]
fn an_open_server_listens_on_loopback_unless_told_otherwise() {
    let open = "server.listen = \"0.0.0.0:8080\"\n";
    assert_eq!(
        error(open),
        "stompbox.toml, line 1, column 8: server.listen = \"0.0.0.0:8080\" is refused: it must be a loopback address \
         such as 127.0.0.1:8080 while nobody has to log in: set auth.users, auth.tokens or auth.jwt, or, to let everyone in, \
         server.allow_open = true (--allow-open)"
    );
    load(&format!("{open}server.allow_open = true"));
    load(&format!("{open}auth.users = [{{ name = \"a\", passcode = \"b\" }}]"));
    load(&format!("{open}auth.tokens = [{{ name = \"a\", token = \"b\" }}]"));
    for loopback in ["127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        load(&format!("server.listen = \"{loopback}\""));
    }
}

#[test]
fn what_one_setting_lets_in_the_next_can_hold() {
    assert_eq!(
        error("[stomp.limits]\nbody_bytes = \"8MiB\""),
        "default: sockjs.payload_bytes = \"2MiB\" is refused: it must be at least 8256KiB, \
         which is stomp.limits.head_bytes and body_bytes together (stompbox.toml, line 2, column 1)"
    );
    assert_eq!(
        error("sockjs.payload_bytes = \"3MiB\""),
        "default: sockjs.inbox_bytes = \"2MiB\" is refused: it must be at least 3MiB, which is sockjs.payload_bytes \
         (stompbox.toml, line 1, column 8)"
    );
    assert_eq!(
        error("stomp.limits.head_bytes = \"4KiB\""),
        "stompbox.toml, line 1, column 14: stomp.limits.head_bytes = \"4KiB\" is refused: \
         it must be at least 8KiB, which is stomp.limits.header_line_bytes"
    );
    load("stomp.limits.body_bytes = \"1984KiB\"");
}

#[test]
fn names_and_tokens_are_unique_and_no_error_shows_a_secret() {
    assert_eq!(
        error("[auth]\nusers = [\n{ name = \"ann\", passcode = \"1\" },\n{ name = \"ann\", passcode = \"2\" }]"),
        "stompbox.toml, line 4, column 3: auth.users[1].name = \"ann\" is refused: \
         it must be unique, and auth.users[0] has it too"
    );
    assert_eq!(
        error("[auth]\ntokens = [{ name = \"a\", token = \"t0ken\" }, { name = \"b\", token = \"t0ken\" }]"),
        "stompbox.toml, line 2, column 58: auth.tokens[1].token = *** is refused: \
         it must be unique, and auth.tokens[0] has it too"
    );
    let schedule = "[[schedule]]\nname = \"a\"\ncron = \"0 0 * * * *\"\ndestination = \"/topic/a\"\nbody = \"\"\n";
    assert!(error(&schedule.repeat(2)).starts_with("stompbox.toml, line 7, column 1: schedule[1].name = \"a\""));
    for text in [
        "auth.users = [{ name = \"a\", passcode = \"\" }]",
        "auth.users = [{ name = \"a\", passcode = 53 }]",
        "auth.users = [\"s3cret\"]",
        "auth.users = \"s3cret\"",
        "auth = \"s3cret\"",
    ] {
        assert!(error(text).contains(" = *** is refused"), "{}", error(text));
    }
    assert!(!error_of(variable("STOMPBOX_AUTH__TOKENS", "[{ name = 's3cret'")).contains("s3cret"));
}

#[test]
fn secrets_are_masked_wherever_settings_are_shown() {
    let config = load(EVERYTHING);
    let shown = format!("{config:?} {}", config.to_toml().unwrap());
    assert!(!shown.contains("s3cret") && !shown.contains("t0ken"), "{shown}");
    assert!(config.to_toml().unwrap().contains("passcode = \"***\""));
    assert!(config.to_toml().unwrap().contains("password_hash = \"***\""));
    assert!(config.to_toml().unwrap().contains("token_sha256 = \"***\""));
}

#[test]
fn a_secret_stands_in_the_settings_as_it_is_or_by_its_hash() {
    assert_eq!(
        error("auth.users = [{ name = \"ann\" }]"),
        "stompbox.toml, line 1, column 15: auth.users[0].passcode is missing; it must be there, or password_hash in \
         its place"
    );
    let hash = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$W+dZyc2DYnDWyJHuf9ALSjCS1Bq8qYJcPAEFhyYj6ns";
    assert_eq!(
        error(&format!("auth.users = [{{ name = \"ann\", passcode = \"a\", password_hash = \"{hash}\" }}]")),
        "stompbox.toml, line 1, column 31: auth.users[0].passcode = *** is refused: it must be absent where \
         password_hash stands"
    );
    assert!(error("auth.users = [{ name = \"ann\", password_hash = \"s3cret\" }]").ends_with(
        "auth.users[0].password_hash = *** is refused: it must be an argon2id hash as stompbox \
                 hash-password prints it"
    ));
    assert!(error("auth.tokens = [{ name = \"ci\", token_sha256 = \"s3cret\" }]").ends_with(
        "token_sha256 = *** is refused: it must be the 64 hexadecimal digits that stompbox \
                 hash-password --token prints"
    ));
    // A token and the hash of the same one
    let digest = Digest::of("a");
    let twice =
        format!("auth.tokens = [{{ name = \"a\", token = \"a\" }}, {{ name = \"b\", token_sha256 = \"{digest}\" }}]");
    assert!(error(&twice).contains("auth.tokens[1].token = "), "{}", error(&twice));
}

#[test]
fn what_check_prints_is_a_file_with_the_same_settings() {
    let text = "log.level = \"debug\"\nsockjs.base_url = \"/x\"\nschedule = [{ name = \"a\", cron = \"0 0 * * * *\", destination = \"/topic/a\", body = \"\" }]";
    let config = load(text);
    assert_eq!(load(&config.to_toml().unwrap()).written, config.written);
}

#[test]
fn flags_override_variables_which_override_the_file_which_overrides_defaults() {
    let file = Sources::default().file("a.toml", "[log]\nlevel = \"error\"\nformat = \"json\"\n[server]\nshards = 2");
    let both =
        file.variables([("STOMPBOX_LOG__LEVEL".into(), "warn".into()), ("STOMPBOX_SERVER__SHARDS".into(), "3".into())]);
    let config = Config::load(both.flag("--shards", "server.shards", "4")).unwrap();
    assert_eq!(config.log, Log { level: "warn".into(), format: LogFormat::Json });
    assert_eq!(config.server.shards.get(), 4);
}

#[test]
fn a_variable_takes_lists_and_strings_that_look_like_numbers() {
    let hosts = Config::load(variable("STOMPBOX_STOMP__HOSTS", r#"["a", "b"]"#)).unwrap();
    assert_eq!(hosts.stomp.hosts, ["a", "b"]);
    let users = Config::load(variable("STOMPBOX_AUTH__USERS", r#"[{ name = "1", passcode = "2" }]"#)).unwrap();
    assert_eq!(users.auth.users, [("1".into(), Password::plain("2"))]);
    let size = Config::load(variable("STOMPBOX_MAILBOX__BYTES", "4096")).unwrap();
    assert_eq!(size.mailbox.bytes, 4096);
}

#[test]
fn a_refusal_names_the_variable_or_the_flag() {
    assert_eq!(
        error_of(variable("STOMPBOX_SERVER__SHARDS", "many")),
        "environment variable STOMPBOX_SERVER__SHARDS: server.shards = \"many\" is refused: \
         it must be a whole number from 0 to 64"
    );
    assert_eq!(
        error_of(variable("STOMPBOX_STOMP__HOSTS", "a.example")),
        "environment variable STOMPBOX_STOMP__HOSTS: stomp.hosts = \"a.example\" is refused: \
         it must be a list, each a host name of 1 to 255 characters without spaces"
    );
    // A line break smuggles in no second key
    assert!(error_of(variable("STOMPBOX_SERVER__SHARDS", "1\nx = 2")).contains("it must be a whole number"));
    assert_eq!(
        error_of(Sources::default().flag("--log-format", "log.format", "xml")),
        "flag --log-format: log.format = \"xml\" is refused: it must be \"auto\" or \"human\" or \"json\""
    );
    // Also where only another setting makes it wrong
    assert!(
        error_of(variable("STOMPBOX_SERVER__LISTEN", "0.0.0.0:1"))
            .starts_with("environment variable STOMPBOX_SERVER__LISTEN: server.listen = \"0.0.0.0:1\" is refused")
    );
    assert!(
        error_of(Sources::default().file("a.toml", "").flag("--listen", "server.listen", "0.0.0.0:1"))
            .starts_with("flag --listen: server.listen = ")
    );
}

#[test]
fn the_tcp_listener_is_off_where_empty_and_loopback_while_nobody_has_to_log_in() {
    assert_eq!(load("tcp.listen = \"\"").tcp.listen, None);
    assert!(error("[tcp]\nlisten = \"0.0.0.0:61613\"").starts_with(
        "stompbox.toml, line 2, column 1: tcp.listen = \"0.0.0.0:61613\" is refused: it must be a loopback address"
    ));
    let open = "tcp.listen = \"0.0.0.0:61613\"\n";
    assert!(load(&format!("{open}server.allow_open = true")).tcp.listen.is_some());
    assert!(load(&format!("{open}auth.tokens = [{{ name = \"ci\", token = \"t0ken\" }}]")).tcp.listen.is_some());
}

#[test]
fn tls_takes_a_certificate_and_a_key_or_neither() {
    assert!(load("tcp = { tls_certificate = \"\", tls_key = \"\" }").tcp.identity.is_none());
    assert_eq!(
        error("[tcp]\ntls_certificate = \"a.pem\""),
        "stompbox.toml, line 2, column 1: tcp.tls_certificate = \"a.pem\" is refused: \
         it must be empty while tcp.tls_key is: TLS takes both"
    );
    assert_eq!(
        error_of(variable("STOMPBOX_TCP__TLS_KEY", "a.pem")),
        "environment variable STOMPBOX_TCP__TLS_KEY: tcp.tls_key = \"a.pem\" is refused: \
         it must be empty while tcp.tls_certificate is: TLS takes both"
    );
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf_8_is_refused() {
    let value = std::os::unix::ffi::OsStringExt::from_vec(vec![0xff]);
    assert_eq!(
        error_of(Sources::default().variables([("STOMPBOX_LOG__LEVEL".into(), value)])),
        "environment variable STOMPBOX_LOG__LEVEL: log.level = … is refused: it must be UTF-8"
    );
}

#[test]
fn an_unknown_variable_is_refused_with_those_there_are() {
    assert_eq!(
        error_of(variable("STOMPBOX_LOG__LEVL", "info")),
        "environment variable STOMPBOX_LOG__LEVL: there is no setting log.levl; \
         allowed here: STOMPBOX_LOG__LEVEL, STOMPBOX_LOG__FORMAT"
    );
    let single = error_of(variable("STOMPBOX_SERVER_LISTEN", "127.0.0.1:1"));
    assert!(
        single.contains("allowed here: STOMPBOX_SERVER__…, STOMPBOX_TCP__…, STOMPBOX_LIMITS__…, STOMPBOX_LOG__…, "),
        "{single}"
    );
    assert!(single.ends_with(", STOMPBOX_SCHEDULE"), "{single}");
    assert!(error_of(variable("STOMPBOX_STOMP", "{}")).contains("STOMPBOX_STOMP__LIMITS__…"));
}

#[test]
fn variables_of_others_are_left_alone() {
    for name in [
        "PATH",
        "STOMPBOXES",
        "STOMPBOX_PORT",
        "STOMPBOX_SERVICE_HOST",
        "STOMPBOX_SERVICE_PORT_WS",
        "STOMPBOX_PORT_80_TCP",
    ] {
        Config::load(variable(name, "tcp://10.0.0.1:80")).unwrap();
    }
    assert!(error_of(variable("STOMPBOX_PORTS", "1")).contains("there is no setting ports"));
}

#[test]
fn a_scheduled_body_is_as_long_as_a_frame_may_be() {
    let schedule = |size: usize| {
        let body = "x".repeat(size);
        format!(
            "stomp.limits.body_bytes = 1024\nschedule = [{{ name = \"a\", cron = \"0 0 * * * *\", destination = \"/topic/a\", body = \"{body}\" }}]"
        )
    };
    load(&schedule(1024));
    let message = error(&schedule(1025));
    assert!(message.starts_with("stompbox.toml, line 2, column 75: schedule[0].body = \"xxx"), "{message}");
    assert!(message.ends_with("it must be at most 1KiB long, as stomp.limits.body_bytes says"), "{message}");
    assert!(message.len() < 300, "a long value is cut");
}
