//! The README's tables of settings and limits name what `fixtures/stompbox.toml` names, with
//! the same defaults, and its table of conformance names tests that there are. That the file has
//! every setting at its default is `config`'s own test.

#![expect(clippy::unwrap_used, reason = "a test's own functions; a panic names the line")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const README: &str = include_str!("../README.md");
const SAMPLE: &str = include_str!("../fixtures/stompbox.toml");

#[test]
fn the_settings_table_names_every_key_with_its_default_and_no_other() {
    let sample = sample();
    let table = table("### Settings");
    let in_table: BTreeSet<&str> = table.iter().map(|row| row.key.as_str()).collect();
    let in_sample: BTreeSet<&str> = sample.keys().map(String::as_str).collect();
    assert_eq!(in_table.difference(&in_sample).collect::<Vec<_>>(), [&""; 0], "in the README alone");
    assert_eq!(in_sample.difference(&in_table).collect::<Vec<_>>(), [&""; 0], "in the file alone");
    assert_eq!(in_table.len(), table.len(), "a key stands twice");
    for row in table {
        if let Default::Value(value) = &sample[&row.key] {
            assert_eq!(&row.default, value, "{}", row.key);
        }
        assert!(!row.last.is_empty(), "{} has no meaning", row.key);
    }
}

#[test]
fn the_limits_table_names_every_limit_of_stomp_and_each_with_its_default() {
    let sample = sample();
    let table = table("## Limits and guarantees");
    for row in &table {
        assert_eq!(sample.get(&row.key), Some(&Default::Value(row.default.clone())), "{}", row.key);
        assert!(!row.last.is_empty(), "{}: nothing says what the client sees", row.key);
    }
    for limit in sample.keys().filter(|key| key.starts_with("stomp.limits.") || key.starts_with("mailbox.")) {
        assert!(table.iter().any(|row| row.key == *limit), "{limit} is not in the table of limits");
    }
}

#[test]
fn every_limit_of_the_table_has_a_test() {
    let sources = sources();
    for (_, test) in LIMITS_ELSEWHERE {
        assert!(sources.iter().any(|source| source.contains(&format!("fn {test}("))), "there is no {test}");
    }
    for Row { key, .. } in table("## Limits and guarantees") {
        let is_provoked = LIMITS_TABLE.contains(&format!("\"{key}\""));
        assert!(is_provoked || LIMITS_ELSEWHERE.iter().any(|(of, _)| *of == key), "{key} has no test");
    }
}

/// Provokes most limits, and reads what the table says of them.
const LIMITS_TABLE: &str = include_str!("app/limits_table.rs");

/// Limits, or what is said of them beside an ERROR, that other tests provoke.
const LIMITS_ELSEWHERE: [(&str, &str); 17] = [
    ("stomp.limits.open_tickets", "reading_stops_while_too_many_tickets_are_open"),
    ("mailbox.messages", "each_overflow_does_what_it_says_and_nobody_else_notices"),
    ("limits.connections", "connections_of_all_and_of_an_address_end_at_the_limit_and_begin_again_below_it"),
    ("limits.connections", "a_peer_for_whom_there_is_no_place_is_told_so"),
    ("limits.connections", "a_peer_for_whom_there_is_no_place_is_closed"),
    (
        "limits.session_messages_per_second",
        "who_sends_faster_than_it_may_is_told_or_read_more_slowly_and_nothing_is_lost",
    ),
    ("limits.address_bytes_per_second", "octets_beyond_the_rate_of_an_address_are_waited_for"),
    ("queues.messages", "a_full_queue_gives_up_its_oldest_where_that_is_the_setting"),
    ("sockjs.payload_bytes", "a_message_of_the_limit_is_taken_and_one_octet_more_closes_with_1009_and_the_reason"),
    ("sockjs.payload_bytes", "a_message_of_the_limit_when_decompressed_is_taken_and_one_octet_more_is_1009"),
    ("sockjs.inbox_bytes", "a_client_that_only_sends_is_bounded"),
    ("sockjs.sessions_per_address", "an_address_has_only_so_many_sessions"),
    ("auth.failures_per_minute", "logins_that_fail_count_whichever_way_they_come_and_one_too_many_is_told_so"),
    ("auth.checks_waiting", "a_flood_of_passwords_is_told_to_come_later"),
    ("auth.checks_waiting_per_address", "a_flood_of_passwords_is_told_to_come_again"),
    ("server.http_header_timeout", "a_head_that_comes_octet_by_octet_is_cut_off_in_time"),
    ("server.dead_peer_timeout", "an_accepted_socket_notices_a_peer_that_vanished"),
];

#[test]
fn every_case_and_test_of_the_conformance_tables_exists() {
    for (heading, least) in [("## STOMP conformance", 100), ("## WebSocket conformance", 30)] {
        cases_and_tests_exist(heading, least);
    }
}

/// Of the table below that heading, which has more than so many of them.
fn cases_and_tests_exist(heading: &str, least: usize) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = sources();
    let is_there = |name: &str| {
        ["1.0", "1.1", "1.2"].iter().any(|v| root.join(format!("fixtures/stomp/{v}/{name}.bytes")).exists())
            || [format!("fn {name}("), format!("def {name}("), format!("test('{name}'")]
                .iter()
                .any(|start| sources.iter().any(|source| source.contains(start)))
    };
    let below = README.lines().skip_while(|line| *line != heading).skip(1);
    let rows = below.take_while(|line| !line.starts_with('#')).filter(|line| line.starts_with("| ")).skip(1);
    let cells: Vec<&str> = rows.filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next()).collect();
    let names = cells.iter().flat_map(|cell| cell.split('`').skip(1).step_by(2)).filter(|name| !name.contains('/'));
    let names: BTreeSet<&str> = names.collect();
    assert!(names.len() > least, "only {names:?}");
    let missing: Vec<_> = names.iter().filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "in the table alone: {missing:?}");
}

/// What tests are in.
fn sources() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for folder in ["src", "tests/app", "tests/clients/python", "tests/queues"] {
        read_all(&root.join(folder), folder == "src", &mut sources);
    }
    for folder in ["tests", "tests/clients"] {
        read_all(&root.join(folder), false, &mut sources);
    }
    sources
}

/// The texts in a folder, and where `is_deep` in those below it.
fn read_all(folder: &Path, is_deep: bool, texts: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if is_deep {
                read_all(&path, true, texts);
            }
        } else if path.extension().is_some_and(|extension| ["rs", "py", "mjs"].iter().any(|known| extension == *known))
        {
            texts.push(fs::read_to_string(path).unwrap());
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Default {
    /// As TOML writes it, or `(none)`.
    Value(String),
    /// That of a table's field, which the file tells in words.
    OfField,
}

/// One row of a table whose cells are key, default and something more.
struct Row {
    key: String,
    default: String,
    last: String,
}

/// The rows below that heading that begin with a key, up to the next heading.
fn table(heading: &str) -> Vec<Row> {
    let mut below = README.lines().skip_while(|line| *line != heading);
    assert!(below.next().is_some(), "the README has no {heading:?}");
    let rows: Vec<Row> = below.take_while(|line| !line.starts_with('#')).filter_map(row).collect();
    assert!(!rows.is_empty(), "no table below {heading:?}");
    rows
}

fn row(line: &str) -> Option<Row> {
    let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
    let [key, default, last] = cells[..] else { return None };
    let key = key.strip_prefix('`')?.strip_suffix('`')?;
    Some(Row { key: key.into(), default: default.trim_matches('`').into(), last: last.into() })
}

/// Every key of the sample file with its default: those that are set, those that stand as
/// comments because they have none, and the fields of lists of tables as `LIST[].FIELD`.
fn sample() -> BTreeMap<String, Default> {
    let mut keys = BTreeMap::new();
    let mut section = String::new();
    let mut fields: Vec<&str> = Vec::new();
    let add_list = |keys: &mut BTreeMap<_, _>, list: &str, fields: &mut Vec<&str>| {
        keys.extend(fields.drain(..).map(|field| (format!("{list}[].{field}"), Default::OfField)));
    };
    for line in SAMPLE.lines() {
        if let Some(list) = line.strip_prefix("# [[").and_then(|rest| rest.strip_suffix("]]")) {
            keys.insert(list.to_owned(), Default::Value("[]".into()));
            add_list(&mut keys, list, &mut fields);
            // What follows is an example of its fields.
            section = String::new();
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = format!("{name}.");
        } else if let Some((field, _)) = line.strip_prefix("#   ").and_then(|rest| rest.split_once(": ")) {
            fields.push(field);
        } else if let Some((name, value)) = line.split_once(" = ").filter(|_| !section.is_empty()) {
            let key = |name: &str| format!("{section}{name}");
            match name.strip_prefix("# ") {
                None => {
                    keys.insert(key(name), Default::Value(value.into()));
                    add_list(&mut keys, &key(name), &mut fields);
                }
                Some(name) if !name.contains(' ') => {
                    keys.entry(key(name)).or_insert(Default::Value("(none)".into()));
                }
                Some(_) => {}
            }
        }
    }
    keys
}
