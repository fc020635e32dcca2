use super::*;
use crate::message::User;

fn ann() -> Principal {
    Principal::User(User::new("ann", vec!["staff".into()], Vec::new()))
}

fn grant(allow: bool, operations: &[Operation], destinations: &[&str]) -> Grant {
    let destinations = destinations.iter().map(|text| (*text).into()).collect();
    Grant { allow, operations: operations.into(), destinations }
}

fn rule(allow: bool, operations: &[Operation], destinations: &[&str]) -> Rule {
    Rule { users: vec![], roles: vec![], anonymous: false, grant: grant(allow, operations, destinations) }
}

fn decide(acl: &Acl, principal: &Principal, operation: Operation, name: &str) -> (bool, Because) {
    let destination = Destination::parse(name).unwrap();
    let Decision { allowed, by } = acl.decide(principal, operation, &destination, Separators::Both);
    (allowed, by)
}

fn allows(acl: &Acl, principal: &Principal, operation: Operation, name: &str) -> bool {
    decide(acl, principal, operation, name).0
}

const SUBSCRIBE: Operation = Operation::Subscribe;
const SEND: Operation = Operation::Send;

#[test]
fn without_rules_sending_to_a_topic_is_open_only_without_authentication() {
    for open in [true, false] {
        let acl = Acl { open, rules: vec![] };
        assert!(allows(&acl, &Principal::Anonymous, SUBSCRIBE, "/topic/a"));
        assert!(allows(&acl, &Principal::Anonymous, SEND, "/app/a"));
        assert_eq!(decide(&acl, &ann(), SEND, "/topic/a"), (open, Because::Default));
        assert_eq!(allows(&acl, &Principal::Anonymous, SEND, "/queue/a"), open);
        assert!(allows(&acl, &ann(), SEND, "/queue/a") && allows(&acl, &ann(), SEND, "/user/bob/queue/a"));
    }
}

#[test]
fn what_is_the_brokers_to_say_nobody_else_says_whatever_the_rules_are() {
    let everything = Acl { open: true, rules: vec![rule(true, &Operation::ALL, &["/**", "/topic/$sys/**"])] };
    for name in ["/topic/$sys/broker", "/topic/$sys.broker", "/topic/$sys", "/user/ann/queue/$auth"] {
        assert_eq!(decide(&everything, &ann(), SEND, name), (false, Because::Always), "{name}");
    }
    for name in ["/topic/sys", "/user/ann/queue/auth"] {
        assert!(allows(&everything, &ann(), SEND, name), "{name}");
    }
    let nothing = Acl { open: false, rules: vec![rule(false, &Operation::ALL, &["/**"])] };
    assert!(allows(&nothing, &ann(), SUBSCRIBE, "/user/ann/queue/$auth"));
    assert!(!allows(&nothing, &ann(), SUBSCRIBE, "/user/bob/queue/$auth"));
    assert!(allows(&nothing, &ann(), SEND, "/temp-queue/k/a"));
    assert!(!allows(&everything, &Principal::Anonymous, SUBSCRIBE, "/user/ann/queue/a"));
}

#[test]
fn the_first_rule_that_fits_decides_and_without_one_nothing_is_allowed() {
    let rules = vec![
        rule(false, &[SUBSCRIBE], &["/topic/a/secret"]),
        rule(true, &[SUBSCRIBE], &["/topic/a/*", "/topic/b"]),
        rule(false, &[SUBSCRIBE], &["/topic/b"]),
    ];
    let acl = Acl { open: false, rules };
    assert_eq!(decide(&acl, &ann(), SUBSCRIBE, "/topic/a/x"), (true, Because::Rule(1)));
    assert_eq!(decide(&acl, &ann(), SUBSCRIBE, "/topic/a/secret"), (false, Because::Rule(0)));
    assert_eq!(decide(&acl, &ann(), SUBSCRIBE, "/topic/b"), (true, Because::Rule(1)));
    assert_eq!(decide(&acl, &ann(), SUBSCRIBE, "/topic/c"), (false, Because::NoRule));
    assert_eq!(decide(&acl, &ann(), SEND, "/topic/b"), (false, Because::NoRule));
}

#[test]
fn a_rule_is_about_users_roles_those_without_a_name_or_everybody() {
    let bob = Principal::User("bob".into());
    let of = |users: &[&str], roles: &[&str], anonymous| Rule {
        users: users.iter().map(ToString::to_string).collect(),
        roles: roles.iter().map(ToString::to_string).collect(),
        anonymous,
        ..rule(true, &[SUBSCRIBE], &["/topic/a"])
    };
    for (rule, about_ann, about_bob, about_nobody) in [
        (of(&[], &[], false), true, true, true),
        (of(&["ann"], &[], false), true, false, false),
        (of(&["*"], &[], false), true, true, false),
        (of(&[], &["staff"], false), true, false, false),
        (of(&["bob"], &["staff"], false), true, true, false),
        (of(&[], &[], true), false, false, true),
        (of(&["bob"], &[], true), false, true, true),
    ] {
        let acl = Acl { open: false, rules: vec![rule] };
        let is = |principal: &Principal| allows(&acl, principal, SUBSCRIBE, "/topic/a");
        assert_eq!((is(&ann()), is(&bob), is(&Principal::Anonymous)), (about_ann, about_bob, about_nobody), "{acl:?}");
    }
}

#[test]
fn operations_are_told_apart_and_a_call_of_a_handler_is_one_of_its_own() {
    for allowed in Operation::ALL {
        let acl = Acl { open: false, rules: vec![rule(true, &[allowed], &["/topic/a", "/app/a"])] };
        assert_eq!(allows(&acl, &ann(), SUBSCRIBE, "/topic/a"), allowed == SUBSCRIBE);
        assert_eq!(allows(&acl, &ann(), SEND, "/topic/a"), allowed == SEND);
        for way in [SUBSCRIBE, SEND, Operation::App] {
            assert_eq!(allows(&acl, &ann(), way, "/app/a"), allowed == Operation::App);
        }
    }
}

#[test]
fn user_in_a_rule_is_the_name_as_one_word_whatever_it_is() {
    let acl =
        Acl { open: false, rules: vec![rule(true, &[SUBSCRIBE], &["/topic/of/{user}/**", "/user/{user}/queue/**"])] };
    assert!(allows(&acl, &ann(), SUBSCRIBE, "/topic/of/ann/x") && allows(&acl, &ann(), SUBSCRIBE, "/user/ann/queue/x"));
    assert!(!allows(&acl, &ann(), SUBSCRIBE, "/topic/of/bob/x") && !allows(&acl, &ann(), SUBSCRIBE, "/topic/of/*/x"));
    for name in ["*", "**", "#", ">", "ann/x", "ann.x"] {
        let principal = Principal::User(name.into());
        assert!(!allows(&acl, &principal, SUBSCRIBE, "/topic/of/ann/x"), "{name}");
        assert!(!allows(&acl, &principal, SUBSCRIBE, "/topic/of/*/x"), "{name}");
    }
    assert!(!allows(&acl, &Principal::Anonymous, SUBSCRIBE, "/topic/of//x"));
}

#[test]
fn a_pattern_is_allowed_only_where_a_rule_covers_all_of_it_and_none_before_refuses_any() {
    let rules = vec![rule(false, &[SUBSCRIBE], &["/topic/*/secret"]), rule(true, &[SUBSCRIBE], &["/topic/a/**"])];
    let acl = Acl { open: false, rules };
    for (pattern, expected) in [
        ("/topic/a/b", true),
        ("/topic/a/b/**", true),
        ("/topic/a/*/c", true),
        ("/topic/a", true),
        ("/topic/a/secret", false),
        ("/topic/a/*", false),
        ("/topic/a/**", false),
        ("/topic/**", false),
        ("/topic/*/b", false),
        ("/topic/a/>", false),
        ("/topic/a.#", false),
    ] {
        assert_eq!(allows(&acl, &ann(), SUBSCRIBE, pattern), expected, "{pattern}");
    }
}

#[test]
fn a_wildcard_that_allows_leaves_out_what_begins_with_a_dollar_and_one_that_refuses_does_not() {
    let allow = Acl { open: false, rules: vec![rule(true, &[SUBSCRIBE], &["/topic/**"])] };
    assert!(!allows(&allow, &ann(), SUBSCRIBE, "/topic/$sys/broker"));
    assert!(allows(&allow, &ann(), SUBSCRIBE, "/topic/**"), "whose own wildcards leave it out, too");
    let rules = vec![rule(false, &[SUBSCRIBE], &["/topic/**"]), rule(true, &[SUBSCRIBE], &["/topic/$sys/**"])];
    assert!(!allows(&Acl { open: false, rules }, &ann(), SUBSCRIBE, "/topic/$sys/broker"));
}

#[test]
fn the_rules_of_a_token_come_first_and_are_its_own_alone() {
    let own = vec![grant(false, &[SEND], &["/topic/a"]), grant(true, &[SUBSCRIBE], &["/topic/b"])];
    let with_token = Principal::User(User::new("ann", vec![], own));
    let acl = Acl { open: false, rules: vec![rule(true, &[SEND], &["/topic/**"])] };
    assert_eq!(decide(&acl, &with_token, SEND, "/topic/a"), (false, Because::TokenRule(0)));
    assert_eq!(decide(&acl, &with_token, SEND, "/topic/c"), (true, Because::Rule(0)));
    assert_eq!(decide(&acl, &with_token, SUBSCRIBE, "/topic/b"), (true, Because::TokenRule(1)));
    assert_eq!(decide(&Acl::default(), &with_token, SUBSCRIBE, "/topic/c"), (false, Because::NoRule));
}

#[test]
fn the_longest_patterns_cost_no_more_than_their_lengths() {
    let many = format!("/topic/{}x", "**/".repeat(80));
    let acl = Acl { open: false, rules: vec![rule(true, &[SUBSCRIBE], &[&many])] };
    let asked = format!("/topic/{}y", "a/".repeat(120));
    assert!(!allows(&acl, &ann(), SUBSCRIBE, &asked));
}
