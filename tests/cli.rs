//! The program as its users meet it: what `check` and `serve` print and how they end.

#![expect(clippy::expect_used, reason = "a test stops where its own tools fail")]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// What a run of the program left behind.
struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

#[test]
fn the_version_is_printed() {
    let run = stompbox(&["--version"], &[]);
    assert_eq!((run.code, run.out), (Some(0), format!("stompbox {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn check_prints_the_settings_in_effect() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/stompbox.toml");
    let with_file = stompbox(&["check", sample], &[]);
    let without = stompbox(&["check"], &[]);
    assert_eq!((with_file.code, with_file.err.as_str()), (Some(0), ""));
    assert_eq!(with_file.out, without.out);
    assert!(with_file.out.contains("\n[server]\nlisten = \"127.0.0.1:8080\"\n"), "{}", with_file.out);
}

#[test]
fn check_masks_secrets() {
    let file = file(
        "secrets",
        "[auth]\nusers = [{ name = \"ann\", passcode = \"s3cret\" }]\ntokens = [{ name = \"ci\", token = \"t0ken\" }]",
    );
    let run = stompbox(&["check", file.arg()], &[]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.out.contains("name = \"ann\"\npasscode = \"***\"\n"), "{}", run.out);
    assert!(run.out.contains("name = \"ci\"\ntoken = \"***\"\n"), "{}", run.out);
    assert!(!run.out.contains("s3cret") && !run.out.contains("t0ken"));
}

#[test]
fn check_masks_the_password_of_a_url() {
    for (url, shown) in [
        ("https://ann:s3cret@id.example/keys?a=@b", "https://***@id.example/keys?a=@b"),
        ("https://id.example/@keys", "https://id.example/@keys"),
    ] {
        let run = stompbox(&["check"], &[("STOMPBOX_AUTH__JWT__JWKS_URL", url)]);
        assert!(run.out.contains(&format!("jwks_url = \"{shown}\"\n")), "{} {}", run.out, run.err);
    }
}

#[test]
fn a_secret_is_hashed_from_standard_input_and_never_from_the_command_line() {
    let run = stompbox_with(&["hash-password"], "correct horse\n");
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    assert!(run.out.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && run.out.ends_with('\n'), "{}", run.out);
    let file = file("hash", &format!("auth.users = [{{ name = \"ann\", password_hash = '{}' }}]", run.out.trim_end()));
    let check = stompbox(&["check", file.arg()], &[]);
    assert_eq!(check.code, Some(0), "{}", check.err);
    assert!(!check.out.contains("argon2id"), "a hash is a secret: {}", check.out);
    let digest = stompbox_with(&["hash-password", "--token"], "abc");
    assert_eq!(digest.out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n");
    let nothing = stompbox_with(&["hash-password"], "\n");
    assert_eq!(nothing.code, Some(2));
    assert_eq!(nothing.err, "stompbox: there is nothing to hash: write the secret on standard input\n");
    assert_eq!(stompbox_with(&["hash-password", "s3cret"], "").code, Some(2));
}

#[test]
fn check_says_what_the_rules_of_the_example_say_and_which() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/rules.toml");
    for (asked, answer) in [
        (&["--as", "ann", "send", "/topic/notices"][..], "ann (roles: staff) may send /topic/notices: auth.rules[6]\n"),
        (&["--as", "bob", "send", "/topic/notices"], "bob may not send /topic/notices: no rule fits\n"),
        (
            &["--as", "bob", "--role", "guest", "subscribe", "/topic/internal/a"],
            "bob (roles: guest) may not subscribe /topic/internal/a: auth.rules[0]\n",
        ),
        (
            &["--as", "bob", "subscribe", "/user/queue/inbox"],
            "bob may subscribe /user/bob/queue/inbox: auth.rules[3]\n",
        ),
        (&["--anonymous", "subscribe", "/topic/**"], "anonymous may not subscribe /topic/**: no rule fits\n"),
        (&["--anonymous", "app", "/app/subscribe"], "anonymous may app /app/subscribe: auth.rules[2]\n"),
        (
            &["--as", "ann", "send", "/topic/$sys/broker"],
            "ann (roles: staff) may not send /topic/$sys/broker: what holds whatever the rules say\n",
        ),
    ] {
        let run = stompbox(&[&["check", example], asked].concat(), &[]);
        assert_eq!((run.code, run.out.as_str()), (Some(0), answer), "{}", run.err);
    }
    let run = stompbox(&["check", "--as", "ann", "subscribe", "/topic/a"], &[]);
    assert_eq!(run.out, "ann may subscribe /topic/a: the default without rules\n", "{}", run.err);
    let run = stompbox(&["check", "--as", "ann"], &[]);
    assert_eq!(run.code, Some(2));
    assert!(run.err.contains("--as and --anonymous take an operation"), "{}", run.err);
}

#[test]
fn check_answers_apart_for_each_kind_of_proof_where_the_roles_of_one_name_differ() {
    let settings = |token_roles: &str| {
        format!(
            "[auth]\nusers = [{{ name = \"ann\", passcode = \"p\", roles = [\"staff\"] }}]\n\
             tokens = [{{ name = \"ann\", token = \"t\", roles = [{token_roles}] }}]\n\
             rules = [{{ roles = [\"staff\"], operations = [\"send\"], destinations = [\"/topic/a\"] }}]"
        )
    };
    let ask = |settings: &str| {
        let file = file("proofs", settings);
        stompbox(&["check", file.arg(), "--as", "ann", "send", "/topic/a"], &[]).out
    };
    assert_eq!(ask(&settings("\"staff\"")), "ann (roles: staff) may send /topic/a: auth.rules[0]\n");
    assert_eq!(
        ask(&settings("")),
        "ann with a password (roles: staff) may send /topic/a: auth.rules[0]\n\
         ann with a token may not send /topic/a: no rule fits\n"
    );
}

#[test]
fn the_environment_overrides_the_file() {
    let file = file("override", "[server]\nlisten = \"127.0.0.1:1\"\nshards = 2\n");
    let variables = [("STOMPBOX_SERVER__LISTEN", "127.0.0.1:2"), ("STOMPBOX_STOMP__HOSTS", "[\"a\"]")];
    let run = stompbox(&["check", file.arg()], &variables);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.out.contains("listen = \"127.0.0.1:2\"\n") && run.out.contains("\nshards = 2\n"), "{}", run.out);
    assert!(run.out.contains("hosts = [\"a\"]\n"), "{}", run.out);
}

#[test]
fn each_kind_of_mistake_is_one_line_and_exit_code_2() {
    let place = |line: usize, column: usize| format!("FILE, line {line}, column {column}: ");
    for (text, expected) in [
        ("[log]\nlevel = info", place(2, 9) + "not valid TOML: "),
        ("[log]\nlevl = \"info\"", place(2, 1) + "there is no setting log.levl; allowed here: level, format"),
        (
            "[stomp.limits]\n\nheaders = \"many\"",
            place(3, 1) + "stomp.limits.headers = \"many\" is refused: it must be a whole number from 8 to 10000",
        ),
        (
            "[metrics]\nperiod = \"2h\"",
            place(2, 1) + "metrics.period = \"2h\" is refused: it must be a duration from 100ms to 1h",
        ),
        (
            "[mailbox]\nbytes = \"1 MB\"",
            place(2, 1) + "mailbox.bytes = \"1 MB\" is refused: it must be a size from 1KiB to 1GiB",
        ),
        (
            "[[schedule]]\nname = \"a\"",
            place(1, 1) + "schedule[0].cron is missing; it must be a cron pattern of six fields",
        ),
        (
            "[server]\nlisten = \"0.0.0.0:80\"",
            place(2, 1) + "server.listen = \"0.0.0.0:80\" is refused: it must be a loopback address",
        ),
    ] {
        let file = file("mistake", text);
        for command in [&["check", file.arg()][..], &["serve", "--config", file.arg()]] {
            let run = stompbox(command, &[]);
            let expected = format!("stompbox: {}", expected.replace("FILE", file.arg()));
            assert_eq!((run.code, run.out.as_str()), (Some(2), ""));
            assert!(run.err.starts_with(&expected), "{}\n{expected}", run.err);
            assert_eq!(run.err.matches('\n').count(), 1, "{}", run.err);
        }
    }
}

#[test]
fn mistakes_in_variables_and_flags_end_alike() {
    for (args, variables, expected) in [
        (
            &["check"][..],
            &[("STOMPBOX_SERVER__SHARDS", "65")][..],
            "stompbox: environment variable STOMPBOX_SERVER__SHARDS: server.shards = 65 is refused: \
             it must be a whole number from 0 to 64\n",
        ),
        (
            &["check"],
            &[("STOMPBOX_LOG__COLOUR", "on")],
            "stompbox: environment variable STOMPBOX_LOG__COLOUR: there is no setting log.colour; \
             allowed here: STOMPBOX_LOG__LEVEL, STOMPBOX_LOG__FORMAT\n",
        ),
        (
            &["serve", "--listen", "here"],
            &[],
            "stompbox: flag --listen: server.listen = \"here\" is refused: \
             it must be an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080\n",
        ),
        (
            &["serve", "--log-level", "loud"],
            &[("STOMPBOX_LOG__LEVEL", "info")],
            "stompbox: flag --log-level: log.level = \"loud\" is refused: \
             it must be off, error, warn, info, debug or trace, or a list such as info,stompbox::stomp=debug\n",
        ),
        (
            &["check", "no-such-file.toml"],
            &[],
            "stompbox: no-such-file.toml: cannot be read: No such file or directory (os error 2)\n",
        ),
    ] {
        let run = stompbox(args, variables);
        assert_eq!((run.code, run.err.as_str(), run.out.as_str()), (Some(2), expected, ""));
    }
}

#[test]
fn an_unknown_flag_or_command_ends_with_2_and_help_with_0() {
    assert_eq!(stompbox(&["serve", "--lissen"], &[]).code, Some(2));
    assert_eq!(stompbox(&["swerve"], &[]).code, Some(2));
    assert_eq!(stompbox(&[], &[]).code, Some(2));
    let help = stompbox(&["serve", "--help"], &[]);
    assert_eq!(help.code, Some(0));
    for flag in
        ["--config", "--listen", "--tcp-listen", "--shards", "--allow-open", "--log-level", "--log-format", "--demo"]
    {
        assert!(help.out.contains(flag), "{flag}");
    }
}

fn stompbox(args: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stompbox"));
    command.args(args).env_clear().envs(variables.iter().copied());
    let Output { status, stdout, stderr } = command.output().expect("the program runs");
    let text = |octets| String::from_utf8(octets).expect("what is printed is UTF-8");
    Run { code: status.code(), out: text(stdout), err: text(stderr) }
}

fn stompbox_with(args: &[&str], input: &str) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stompbox"));
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    // One that refuses its arguments reads nothing
    let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().expect("the program ends");
    let text = |octets| String::from_utf8(octets).expect("what is printed is UTF-8");
    Run { code: status.code(), out: text(stdout), err: text(stderr) }
}

/// A file that is gone when the test is.
struct File(PathBuf);

fn file(name: &str, text: &str) -> File {
    let path = std::env::temp_dir().join(format!("stompbox-cli-{}-{name}.toml", std::process::id()));
    std::fs::write(&path, text).expect("the file can be written");
    File(path)
}

impl File {
    fn arg(&self) -> &str {
        self.0.to_str().expect("the path is UTF-8")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
