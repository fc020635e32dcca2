//! The strings among the settings: what each must look like.

use std::net::{IpAddr, SocketAddr};

use croner::parser::{CronParser, Seconds};
use tracing_subscriber::EnvFilter;

use ipnet::IpNet;

use super::rules::Text;
use crate::broker::auth::jwt::Algorithm;
use crate::broker::auth::{Digest, Password};
use crate::broker::pattern::{Pattern, Separators};
use crate::feeds::alerts::Metric;
use crate::message::{Destination, DestinationKind, MAX_DESTINATION_BYTES, Operation};
use crate::sockjs::Transport;

pub(super) const LISTEN: Text = Text {
    allowed: "an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080",
    accepts: |text| text.parse::<SocketAddr>().is_ok(),
};

pub(super) const TCP_LISTEN: Text = Text {
    allowed: "an IP address and a port, such as 127.0.0.1:61613, or an empty string",
    accepts: |text| text.is_empty() || text.parse::<SocketAddr>().is_ok(),
};

pub(super) const PEM_FILE: Text =
    Text { allowed: "the path of a PEM file, or an empty string", accepts: |text| !text.contains(char::is_control) };

pub(super) const ABSOLUTE_PATH: Text = Text {
    allowed: "an absolute path such as /var",
    accepts: |text| text.starts_with('/') && !text.contains(char::is_control),
};

pub(super) const GLOB: Text = Text {
    allowed: "a path that may have *, ?, [...] and **, such as /var/log/app/*.log",
    accepts: |text| is_line(text) && glob::Pattern::new(text).is_ok(),
};

pub(super) const ARGUMENT: Text = Text {
    allowed: "a string that is not empty, the first one a program",
    accepts: |text| !text.is_empty() && !text.contains('\0'),
};

pub(super) const METRIC: Text = Text {
    allowed: "events.rate, events.error_rate, events.latency, system.cpu, system.memory, system.disk, connections, \
              licenses.utilization, licenses.available, licenses.FEATURE.utilization or licenses.FEATURE.available",
    accepts: |text| is_line(text) && Metric::parse(text).is_some(),
};

pub(super) const NETWORK: Text =
    Text { allowed: "an IP address or a network such as 10.0.0.0/8", accepts: |text| network(text).is_some() };

/// A network, or the one of a single address.
pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

pub(super) const LOG_LEVEL: Text = Text {
    allowed: "off, error, warn, info, debug or trace, or a list such as info,stompbox::stomp=debug",
    accepts: is_log_filter,
};

pub(super) const HOST: Text =
    Text { allowed: "a host name of 1 to 255 characters without spaces", accepts: |text| is_word(text) };

pub(super) const PATH: Text =
    Text { allowed: "a path such as /ws or /live/ws: a slash before each part, and none at the end", accepts: is_path };

pub(super) const BASE_URL: Text = Text {
    allowed: "a URL that begins with http://, https:// or /",
    accepts: |text| is_word(text) && ["http://", "https://", "/"].iter().any(|start| text.starts_with(start)),
};

pub(super) const ORIGIN: Text = Text {
    allowed: "an origin as browsers send it, such as https://example.org or http://localhost:3000, or * for all",
    accepts: |text| text == "*" || is_origin(text),
};

pub(super) const ANCESTOR: Text = Text {
    allowed: "an origin such as https://example.org, or * for all",
    accepts: |text| text == "*" || is_origin(text),
};

pub(super) const TRANSPORT: Text = Text {
    allowed: "one of websocket, raw-websocket, xhr, xhr_streaming, eventsource, htmlfile, jsonp",
    accepts: |text| Transport::of_name(text).is_some(),
};

pub(super) const LOGIN: Text = Text {
    allowed: "a name of 1 to 255 octets without colons and control characters",
    // RFC 7617 2: HTTP Basic ends the user name at the first colon
    accepts: |text| is_line(text) && !text.contains(':'),
};

pub(super) const SECRET: Text = Text { allowed: "a string that is not empty", accepts: |text| !text.is_empty() };

pub(super) const PASSWORD_HASH: Text = Text {
    allowed: "an argon2id hash as stompbox hash-password prints it",
    accepts: |text| Password::hashed(text).is_ok(),
};

pub(super) const SHA256: Text = Text {
    allowed: "the 64 hexadecimal digits that stompbox hash-password --token prints",
    accepts: |text| Digest::parse(text).is_some(),
};

pub(super) const ROLE: Text =
    Text { allowed: "a role of 1 to 255 octets without control characters", accepts: is_line };

pub(super) const OPERATION: Text =
    Text { allowed: "one of subscribe, send, app", accepts: |text| Operation::of_word(text).is_some() };

pub(super) const RULE_PATTERN: Text = Text {
    allowed: "a destination or a pattern, such as /topic/a/** or /user/{user}/queue/*",
    accepts: |text| Destination::parse(text).is_ok(),
};

pub(super) const ALGORITHM: Text =
    Text { allowed: "one of HS256, RS256, ES256, EdDSA", accepts: |text| Algorithm::of_name(text).is_some() };

pub(super) const FILE: Text =
    Text { allowed: "the path of a file, or an empty string", accepts: |text| !text.contains(char::is_control) };

pub(super) const KEYS_URL: Text = Text {
    allowed: "a URL that begins with https:// or http://, or an empty string",
    accepts: |text| text.is_empty() || is_word(text) && ["http://", "https://"].iter().any(|s| text.starts_with(s)),
};

pub(super) const CLAIM: Text = Text { allowed: "a string of 1 to 255 octets", accepts: is_line };

pub(super) const CLAIM_OR_NONE: Text =
    Text { allowed: "a string of at most 255 octets", accepts: |text| text.is_empty() || is_line(text) };

pub(super) const TOPIC: Text = Text {
    allowed: "a destination such as /topic/NAME, and no pattern",
    accepts: |text| Destination::parse(text).is_ok_and(|destination| is_topic(&destination)),
};

pub(super) const NAME: Text =
    Text { allowed: "a name of 1 to 255 octets without control characters", accepts: is_line };

pub(super) const CRON: Text = Text {
    allowed: "a cron pattern of six fields: second, minute, hour, day of month, month, day of week, such as 0 */5 * * * *",
    accepts: is_cron,
};

pub(super) const ANY: Text = Text { allowed: "a string", accepts: |_| true };

pub(super) const HEADER_VALUE: Text = Text { allowed: "a media type such as application/json", accepts: is_line };

fn is_topic(destination: &Destination) -> bool {
    destination.kind() == DestinationKind::Topic && Pattern::of(destination, Separators::Both).is_none()
}

/// One line that is fit for a header, and not too long to be printed.
fn is_line(text: &str) -> bool {
    (1..=MAX_DESTINATION_BYTES).contains(&text.len()) && !text.contains(char::is_control)
}

fn is_word(text: &str) -> bool {
    is_line(text) && !text.contains(char::is_whitespace)
}

fn is_path(text: &str) -> bool {
    let is_part =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
    text.strip_prefix('/').is_some_and(|rest| is_line(text) && rest.split('/').all(is_part))
}

fn is_origin(text: &str) -> bool {
    // RFC 6454 6.2: scheme, host and port in lower case; nothing follows, not even a slash
    text.split_once("://").is_some_and(|(scheme, host)| {
        let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        !scheme.is_empty()
            && scheme.bytes().all(|b| lower(b) || b"+-.".contains(&b))
            && is_word(host)
            && host.bytes().all(|b| lower(b) || b"-._:[]".contains(&b))
    })
}

fn is_log_filter(text: &str) -> bool {
    // EnvFilter takes an unknown word for a module's name, which would hide a misspelt level
    let is_directive = |part: &str| part.contains('=') || is_level(part);
    text.split(',').all(is_directive) && EnvFilter::try_new(text).is_ok()
}

fn is_level(text: &str) -> bool {
    ["off", "error", "warn", "info", "debug", "trace"].iter().any(|level| level.eq_ignore_ascii_case(text))
}

fn is_cron(text: &str) -> bool {
    // As tokio-cron-scheduler reads it, so that what passes here starts there
    let parser = CronParser::builder().seconds(Seconds::Required).dom_and_dow(true).build();
    parser.parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(text: Text, accepted: &[&str], refused: &[&str]) {
        for sample in accepted {
            assert!((text.accepts)(sample), "{sample:?} is {}", text.allowed);
        }
        for sample in refused {
            assert!(!(text.accepts)(sample), "{sample:?} is not {}", text.allowed);
        }
    }

    #[test]
    fn an_address_is_an_ip_address_with_a_port() {
        each(
            LISTEN,
            &["127.0.0.1:8080", "[::1]:0", "0.0.0.0:65535"],
            &["", ":8080", "localhost:8080", "127.0.0.1:65536"],
        );
    }

    #[test]
    fn the_tcp_listener_has_an_address_or_none() {
        each(TCP_LISTEN, &["127.0.0.1:61613", "[::1]:0", ""], &[" ", "off", ":61613", "127.0.0.1"]);
    }

    #[test]
    fn a_pem_file_has_a_path_on_one_line_or_none() {
        each(
            PEM_FILE,
            &["", "tls/key.pem", "/etc/a b/é.pem"],
            &["\0", "key.pem\n", "-----BEGIN PRIVATE KEY-----\nMC4"],
        );
    }

    #[test]
    fn an_absolute_path_begins_with_a_slash() {
        each(ABSOLUTE_PATH, &["/", "/var/é b"], &["", "var", "./a", "/a\nb"]);
    }

    #[test]
    fn patterns_arguments_and_metrics_have_their_shape() {
        each(GLOB, &["/var/log/*.log", "a", "/a/**/[ab]?"], &["", "/a/***", "/a/[", "a\nb"]);
        each(ARGUMENT, &["lmstat", "-a", " "], &["", "a\0"]);
        each(METRIC, &["system.cpu", "licenses.cad.available"], &["", "cpu", "licenses.cad"]);
    }

    #[test]
    fn a_misspelt_log_level_is_not_taken_for_a_module() {
        each(
            LOG_LEVEL,
            &["off", "INFO", "info,stompbox::stomp=debug", "warn,stompbox=trace"],
            &["", "inof", "info,", "stompbox=loud", "info,stompbox", "info, stompbox=trace"],
        );
    }

    #[test]
    fn a_path_has_parts_and_no_slash_at_the_end() {
        each(PATH, &["/ws", "/live/ws-1", "/a.b_c~d"], &["", "/", "ws", "/ws/", "/a//b", "/a b", "/a?b", "/a%20"]);
    }

    #[test]
    fn an_origin_is_a_scheme_a_host_and_perhaps_a_port() {
        each(
            ORIGIN,
            &["https://example.org", "http://localhost:3000", "http://[::1]:80", "*"],
            &["", "example.org", "https://", "://a", "https://example.org/", "https://Example.org"],
        );
    }

    #[test]
    fn a_login_fits_http_basic() {
        each(LOGIN, &["ann", "Änne B.", &"x".repeat(255)], &["", "a:b", "a\nb", &"x".repeat(256)]);
    }

    #[test]
    fn a_cron_pattern_has_seconds() {
        each(
            CRON,
            &["0 */5 * * * *", "*/1 * * * * *", "0 30 2 * * MON-FRI"],
            &["", "*/5 * * * *", "61 * * * * *", "soon"],
        );
    }

    #[test]
    fn urls_hosts_topics_and_secrets_have_their_shape() {
        each(BASE_URL, &["https://a.example/ws", "/ws"], &["", "a.example", "http://a b"]);
        each(HOST, &["a.example", "/"], &["", "a b", "a\n"]);
        each(
            TOPIC,
            &["/topic/a"],
            &["/topic/", "/app/a", "topic/a", "/queue/a", "/topic/*", "/topic/a.#", "/topic/a/>"],
        );
        each(SECRET, &["x"], &[""]);
        each(HEADER_VALUE, &["text/plain;charset=utf-8"], &["", "a\r\nb"]);
    }
}
