//! The house keeps its order: a file imports only what stands above it, and each outside crate
//! is named in its own room alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test stops where its own tools fail, and tells its figures"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// The rows of the house, the lowest layer first. A module belongs to the row with its longest
/// prefix; it may import from rows above its own in this list, and from its own.
const ROWS: &[&[&str]] = &[
    // L0: nouns
    &["address", "message", "build"],
    &["condition"],
    &["session"],
    // L1: wire formats
    &[
        "stomp::version",
        "stomp::frame",
        "stomp::escape",
        "stomp::decode_error",
        "stomp::decode",
        "stomp::encode",
        "stomp::heart_beat",
    ],
    &["sockjs::octets", "sockjs::frame", "sockjs::framing", "sockjs::payload", "sockjs::route", "sockjs::answer"],
    &["stream::filter", "stream::envelope", "stream::event", "stream::position", "stream::command", "stream::ending"],
    // L2: sessions without a socket; what a folder's own file says is for all of the folder
    &["stomp"],
    &["sockjs"],
    &["stream"],
    // L3: the broker
    &["broker"],
    // L4: sockets and tasks
    &["net"],
    &["sockjs::service"],
    &["net::connection", "net::fanout", "net::queueing"],
    &["feeds"],
    // L5: settings and HTTP
    &["config"],
    &["http"],
    // L6, L7: the program
    &["app"],
    &["cli"],
    &["main"],
];

/// Folders that never name one another, whatever their layers.
const STRANGERS: &[(&str, &[&str])] = &[
    ("stomp", &["sockjs", "stream", "broker", "net"]),
    ("sockjs", &["stomp", "stream", "broker", "net::connection", "net::fanout"]),
    ("stream", &["stomp", "sockjs", "broker", "net"]),
    ("broker", &["stomp", "sockjs", "stream", "net"]),
];

/// Outside crates and the only files or folders that name them.
const HOMES: &[(&str, &[&str])] = &[
    ("nom", &["stomp/decode.rs", "stomp/decode/"]),
    ("dashmap", &["broker/interest.rs"]),
    ("warp", &["http/"]),
    ("tokio_cron_scheduler", &["feeds/schedule.rs"]),
    ("sysinfo", &["feeds/system.rs"]),
    ("flate2", &["net/websocket/compressing.rs", "net/websocket/inflating.rs"]),
    ("libdeflater", &["net/websocket/compressing.rs"]),
    ("miniz_oxide", &["net/websocket/compressing.rs"]),
    ("rustls", &["net/tls.rs", "net/tls/", "net/fetch.rs"]),
    ("jsonwebtoken", &["broker/auth/jwt.rs", "broker/auth/jwt/"]),
    ("argon2", &["broker/auth/passwords.rs"]),
    ("ureq", &["net/fetch.rs"]),
];

/// Files without a socket, a task, a clock or a random source.
const SANS_IO: &[&str] = &[
    "address.rs",
    "message.rs",
    "condition.rs",
    "session.rs",
    "session/",
    "stomp/",
    "stream/",
    "sockjs/frame.rs",
    "sockjs/payload.rs",
    "sockjs/framing.rs",
    "sockjs/route.rs",
    "sockjs/session.rs",
    "sockjs/octets.rs",
    "sockjs/answer.rs",
    "sockjs/transport.rs",
    "broker/pattern.rs",
    "broker/address.rs",
    "broker/mailbox.rs",
    "broker/queue.rs",
    "broker/queue/",
    "broker/selector.rs",
    "broker/selector/",
    "broker/router.rs",
];

/// What those files do not name.
const IO: &[&str] = &[
    "tokio",
    "tokio_util",
    "hyper",
    "socket2",
    "getrandom",
    "rand",
    "RandomState",
    "TcpStream",
    "TcpListener",
    "SystemTime",
    "Instant::now",
    "Utc::now",
    "Local::now",
];

#[test]
fn every_file_imports_only_what_stands_above_it() {
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(own) = row(&source.module) else {
            wrong.push(format!("{}: this module is not in the list of layers", source.name));
            continue;
        };
        for (line, path) in source.imports() {
            let is_own_folder_file = source.module.starts_with(&format!("{}::", folder(&path))) && row_is_folder(&path);
            match row(&path) {
                Some(other) if other <= own || is_own_folder_file => {}
                Some(_) => wrong.push(format!("{}:{line}: crate::{path} stands below this file", source.name)),
                None => wrong.push(format!("{}:{line}: crate::{path} is not in the list of layers", source.name)),
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn folders_that_do_not_know_each_other_name_each_other_nowhere() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (folder, strangers) in STRANGERS.iter().filter(|(folder, _)| is_within(&source.module, folder)) {
            // A session's driver, on the other hand, has to know sockets.
            let strangers = strangers
                .iter()
                .filter(|stranger| !(is_within(&source.module, "sockjs::service") && **stranger == "net"));
            for stranger in strangers {
                let named = source.imports().into_iter().filter(|(_, path)| is_within(path, stranger));
                wrong.extend(named.map(|(line, path)| {
                    format!("{}:{line}: {folder} does not know {stranger}, but names crate::{path}", source.name)
                }));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn each_outside_crate_is_named_in_its_own_room_alone() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (name, homes) in HOMES {
            if homes.iter().any(|home| source.is_in(home)) {
                continue;
            }
            let named = source.lines_with(&format!("{name}::"));
            wrong.extend(
                named.into_iter().map(|line| format!("{}:{line}: only {} names {name}", source.name, homes.join(", "))),
            );
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn sessions_and_wire_formats_name_no_socket_task_clock_or_random_source() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| SANS_IO.iter().any(|home| source.is_in(home))) {
        // A script of a session begins at any instant.
        for name in IO.iter().filter(|name| !(source.is_of_tests() && **name == "Instant::now")) {
            wrong.extend(
                source.lines_with(name).into_iter().map(|line| format!("{}:{line}: names {name}", source.name)),
            );
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn an_upward_import_is_found_however_it_is_written() {
    let source = |text: &str| Source { name: "x".into(), module: "broker::topic".into(), text: text.into() };
    for text in [
        "\nuse crate::net::io;",
        "\nuse crate::{message::Image, net::io};",
        "\nfn f() { crate::net::io() }",
        "\nuse super::super::net::io;",
        "\nuse crate::{\n    message,\n    net::{io},\n};",
    ] {
        let found: Vec<_> = source(text).imports();
        assert!(found.iter().any(|(_, path)| path == "net::io"), "{text}: {found:?}");
    }
    assert_eq!(source("\n\nuse crate::net::io;").imports(), [(3, "net::io".into())]);
    assert_eq!(source("use super::pattern::Pattern;").imports(), [(1, "broker::pattern::Pattern".into())]);
    assert_eq!(source("let x = mycrate::net;").imports(), []);
    assert!(row("net::io") > row("broker::topic") && row("sockjs::service::home") > row("net::io"));
}

/// One file, without its comments.
struct Source {
    /// Its path below `src`.
    name: String,
    /// Its module path, without `crate`; `main` for the program.
    module: String,
    text: String,
}

impl Source {
    fn is_in(&self, home: &str) -> bool {
        let folder_of_file = home.strip_suffix(".rs").map(|stem| format!("{stem}/"));
        self.name == home
            || (home.ends_with('/') && self.name.starts_with(home))
            || folder_of_file.is_some_and(|folder| self.name.starts_with(&folder))
    }

    fn is_of_tests(&self) -> bool {
        self.module.split("::").any(|word| matches!(word, "tests" | "properties"))
    }

    /// The lines that hold `name` as a whole word.
    fn lines_with(&self, name: &str) -> Vec<usize> {
        positions(&self.text, name).map(|at| self.line(at)).collect()
    }

    /// Every module path in it that begins with `crate::` or `super::`, with its line.
    fn imports(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for at in positions(&self.text, "crate::") {
            self.expand(at, &self.text[at + "crate::".len()..], "", &mut found);
        }
        // In a file's inline tests `super` is the file itself.
        let own = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        for at in positions(&self.text[..own], "super::").filter(|at| !self.text[..*at].ends_with("super::")) {
            let mut rest = &self.text[at..];
            let mut base = self.module.as_str();
            while let Some(after) = rest.strip_prefix("super::") {
                rest = after;
                base = base.rsplit_once("::").map_or("", |(parent, _)| parent);
            }
            self.expand(at, rest, base, &mut found);
        }
        found
    }

    fn expand(&self, at: usize, rest: &str, base: &str, found: &mut Vec<(usize, String)>) {
        found.extend(paths(rest).into_iter().map(|path| {
            let path = if base.is_empty() { path } else { format!("{base}::{path}") };
            (self.line(at), path)
        }));
    }

    fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }
}

/// The paths that begin at the text's beginning: one, or those of a group in braces.
fn paths(text: &str) -> Vec<String> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    let prefix = &text[..end];
    let Some(group) = text[end..].strip_prefix('{').filter(|_| prefix.is_empty() || prefix.ends_with("::")) else {
        return vec![prefix.trim_end_matches(':').to_owned()];
    };
    let mut depth = 0;
    let mut items = vec![String::new()];
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => items.push(String::new()),
            _ => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                items.last_mut().unwrap().push(c);
            }
        }
    }
    let items = items.iter().map(|item| item.trim()).filter(|item| !item.is_empty());
    items.flat_map(paths).map(|item| format!("{prefix}{item}")).collect()
}

/// Where `name` stands as a whole word.
fn positions<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).map(|(at, _)| at).filter(move |at| {
        let begins = !text[..*at].ends_with(is_word);
        let ends = name.ends_with(':') || !text[at + name.len()..].starts_with(is_word);
        begins && ends
    })
}

fn row(module: &str) -> Option<usize> {
    let prefixes = ROWS.iter().enumerate().flat_map(|(at, row)| row.iter().map(move |prefix| (at, *prefix)));
    prefixes.filter(|(_, prefix)| is_within(module, prefix)).max_by_key(|(_, prefix)| prefix.len()).map(|(at, _)| at)
}

/// Whether the path is of a folder's own file, whose items all of the folder may use.
fn row_is_folder(path: &str) -> bool {
    row(path) == row(folder(path))
}

fn folder(path: &str) -> &str {
    path.split("::").next().unwrap_or(path)
}

fn is_within(module: &str, prefix: &str) -> bool {
    module.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let sources: Vec<Source> = files.iter().filter_map(|path| source(&root, path)).collect();
    assert!(sources.len() > 50, "the sources were not found");
    sources
}

fn source(root: &Path, path: &Path) -> Option<Source> {
    let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    if name == "lib.rs" {
        return None;
    }
    let module = name.trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
    let text = fs::read_to_string(path).unwrap();
    let without_comments = |line: &str| line.split("//").next().unwrap_or("").to_owned();
    let text = text.lines().map(without_comments).collect::<Vec<_>>().join("\n");
    Some(Source { name, module, text })
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
