use proptest::prelude::*;

use super::*;
use crate::message::{Destination, MessageId, Publication};

#[test]
fn comparisons_follow_what_stands_beside_them() {
    for (selector, truth) in [
        ("colour = 'red'", true),
        ("colour <> 'red'", false),
        ("colour = 'blue'", false),
        ("colour > 'a'", false),
        ("size > 9", true),
        ("size = 10.0", true),
        ("size >= 10 AND size <= 10", true),
        ("size < 10 OR size > 10", false),
        ("size = '10'", true),
        ("active", true),
        ("active = TRUE", true),
        ("NOT active", false),
        ("active > FALSE", false),
        ("big = 9007199254740993", true),
        ("big = 9007199254740992", false),
        ("\"content-type\" = 'text/plain'", true),
        ("content-type = 'text/plain'", false),
        ("destination = '/topic/a'", true),
        ("\"message-id\" = 7", true),
        ("'it''s' = 'it''s'", true),
        ("1e3 = 1000 AND .5 = 0.5", true),
    ] {
        assert_eq!(matches(selector), truth, "{selector}");
    }
}

#[test]
fn arithmetic_binds_as_in_sql_and_never_fails() {
    for (selector, truth) in [
        ("1 + 2 * 3 = 7", true),
        ("(1 + 2) * 3 = 9", true),
        ("10 - 3 - 2 = 5", true),
        ("-size = -10", true),
        ("- -size = 10", true),
        ("size / 4 = 2", true),
        ("size / 4.0 = 2.5", true),
        ("size / 0 = 1", false),
        ("NOT size / 0 = 1", false),
        ("size / 0.0 > 1", false),
        ("9223372036854775807 + 1 > 9223372036854775807", false),
        ("9223372036854775807 * 2 > 9223372036854775807", true),
        ("colour + 1 IS NULL", true),
    ] {
        assert_eq!(matches(selector), truth, "{selector}");
    }
}

#[test]
fn a_missing_header_makes_a_test_unknown_and_unknown_is_not_true() {
    for (selector, truth) in [
        ("missing = 1", false),
        ("NOT missing = 1", false),
        ("missing = 1 OR TRUE", true),
        ("missing = 1 OR FALSE", false),
        ("missing = 1 AND FALSE", false),
        ("NOT (missing = 1 AND FALSE)", true),
        ("NOT (missing = 1 AND TRUE)", false),
        ("missing IS NULL", true),
        ("missing IS NOT NULL", false),
        ("colour IS NOT NULL", true),
        ("missing IN ('a')", false),
        ("missing NOT IN ('a')", false),
        ("missing NOT LIKE 'a'", false),
        ("missing NOT BETWEEN 1 AND 2", false),
        ("size NOT BETWEEN missing AND 2", true),
        ("NULL = NULL", false),
    ] {
        assert_eq!(matches(selector), truth, "{selector}");
    }
}

#[test]
fn between_in_and_like_with_escape() {
    for (selector, truth) in [
        ("size BETWEEN 10 AND 10", true),
        ("size BETWEEN 11 AND 20", false),
        ("size not between 11 and 20", true),
        ("colour IN ('blue', 'red')", true),
        ("colour NOT IN ('blue', 'red')", false),
        ("colour LIKE 'r%'", true),
        ("colour LIKE 'r_d'", true),
        ("colour LIKE 'r_'", false),
        ("colour LIKE '%'", true),
        ("colour LIKE '%e%d%'", true),
        ("colour LIKE ''", false),
        ("share LIKE '50!%' ESCAPE '!'", true),
        ("share LIKE '5!%' ESCAPE '!'", false),
        ("share LIKE '5%'", true),
        ("colour NOT LIKE 'b%'", true),
        ("size LIKE '1_'", true),
    ] {
        assert_eq!(matches(selector), truth, "{selector}");
    }
}

#[test]
fn an_error_names_its_column_and_what_was_expected() {
    let primary = "expected a header, a text, a number, TRUE, FALSE, NULL or (";
    for (selector, column, reason) in [
        ("", 1, primary),
        ("a =", 4, primary),
        ("a = = 1", 5, primary),
        ("a = 1 b", 7, "expected AND, OR or the end"),
        ("(a = 1", 7, "expected AND, OR or )"),
        ("a = 'x", 5, "the ' is not closed"),
        ("\"a", 1, "the \" is not closed"),
        ("a NOT 1", 7, "expected BETWEEN, IN or LIKE"),
        ("a IN 'x'", 6, "expected ("),
        ("a IN ('x' 'y')", 11, "expected , or )"),
        ("a IN (1)", 7, "expected a text in single quotes"),
        ("a LIKE b", 8, "expected a text in single quotes"),
        ("a LIKE 'x' ESCAPE 'yz'", 19, "ESCAPE takes one character"),
        ("a LIKE 'x!' ESCAPE '!'", 8, "the pattern ends with its escape character '!'"),
        ("a BETWEEN 1 OR 2", 13, "expected AND"),
        ("a IS 1", 6, "expected NULL"),
        ("foo.bar = 1", 4, "'.' has no meaning here; a name with other characters stands in double quotes"),
        ("é = ?", 5, "'?' has no meaning here"),
        ("a = 1x", 5, "1 is followed by a letter"),
        ("a = 1e999", 5, "1e999 is too large a number"),
    ] {
        let error = Selector::parse(selector).unwrap_err();
        assert_eq!((error.column, error.reason.as_str()), (column, reason), "{selector}");
    }
    assert_eq!(Selector::parse("a =").unwrap_err().to_string(), format!("selector, column 4: {primary}"));
}

#[test]
fn a_selector_of_1024_octets_is_taken_and_one_of_1025_is_not() {
    let text = |size: usize| format!("a = '{}'", "x".repeat(size - 6));
    assert!(Selector::parse(&text(1024)).is_ok());
    let error = Selector::parse(&text(1025)).unwrap_err();
    assert_eq!(error.to_string(), "selector, column 1: the selector is 1025 octets long; at most 1024 are allowed");
}

#[test]
fn a_selector_32_levels_deep_is_taken_and_one_of_33_is_not() {
    for (open, close) in [("(", ")"), ("NOT ", ""), ("-", "")] {
        let text = |depth: usize| format!("{}a{}", open.repeat(depth), close.repeat(depth));
        assert!(Selector::parse(&text(32)).is_ok(), "{open}");
        let error = Selector::parse(&text(33)).unwrap_err();
        assert_eq!(error.reason, "nested more than 32 levels deep", "{open}");
    }
}

#[test]
fn a_long_chain_is_not_deep() {
    let text = format!("a{}", "+a".repeat(500));
    assert!(matches(&format!("NOT ({text} = 1) OR TRUE")));
}

proptest! {
    #[test]
    fn parse_of_display_is_the_same(expression in expression()) {
        let selector = Selector(expression);
        let text = selector.to_string();
        prop_assume!(text.len() <= MAX_SELECTOR_BYTES);
        prop_assert_eq!(Selector::parse(&text), Ok(selector), "{}", text);
    }

    #[test]
    fn garbage_never_panics(text in "\\PC{0,60}") {
        if let Ok(selector) = Selector::parse(&text) {
            selector.matches(&message());
        }
    }

    #[test]
    fn words_of_the_grammar_in_any_order_never_panic(
        words in proptest::collection::vec(proptest::sample::select(WORDS), 0..24)
    ) {
        if let Ok(selector) = Selector::parse(&words.join(" ")) {
            selector.matches(&message());
            prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
        }
    }

    #[test]
    fn like_agrees_with_a_plain_definition(pattern in "[ab%_]{0,8}", text in "[ab]{0,8}") {
        fn plain(pattern: &[u8], text: &[u8]) -> bool {
            match pattern.split_first() {
                None => text.is_empty(),
                Some((b'%', rest)) => (0..=text.len()).any(|n| plain(rest, &text[n..])),
                Some((b'_', rest)) => !text.is_empty() && plain(rest, &text[1..]),
                Some((c, rest)) => text.first() == Some(c) && plain(rest, &text[1..]),
            }
        }
        let selector = Selector::parse(&format!("'{text}' LIKE '{pattern}'")).unwrap();
        prop_assert_eq!(selector.matches(&message()), plain(pattern.as_bytes(), text.as_bytes()));
    }
}

const WORDS: &[&str] = &[
    "a", "size", "\"x-y\"", "'t%'", "1", "2.5", "AND", "OR", "NOT", "BETWEEN", "IN", "LIKE", "ESCAPE", "'!'", "IS",
    "NULL", "TRUE", "(", ")", ",", "+", "-", "*", "/", "=", "<>", "<", ">=",
];

fn expression() -> impl Strategy<Value = Expression> {
    let leaf = prop_oneof![
        "[a-z']{0,4}".prop_map(Expression::Text),
        (0..=i64::MAX).prop_map(Expression::Integer),
        (0.0..1e300).prop_map(Expression::Decimal),
        any::<bool>().prop_map(Expression::Truth),
        Just(Expression::Null),
        "[a-z\"-]{0,4}|AND|not".prop_map(Expression::Header),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        let many = || proptest::collection::vec(inner.clone(), 2..4);
        let sign = || prop_oneof![Just(Sign::Plus), Just(Sign::Minus)];
        let comparison = proptest::sample::select(Comparison::ALL.map(|(_, comparison)| comparison).to_vec());
        let terms = proptest::collection::vec((sign(), inner.clone()), 1..3);
        let scale = prop_oneof![Just(Scale::Times), Just(Scale::Over)];
        let factors = proptest::collection::vec((scale, inner.clone()), 1..3);
        let list = proptest::collection::vec("[a-z']{0,3}", 1..3);
        let like = ("[a%_]{0,4}", proptest::option::of(Just('!')));
        prop_oneof![
            many().prop_map(Expression::Or),
            many().prop_map(Expression::And),
            boxed().prop_map(Expression::Not),
            (boxed(), comparison, boxed()).prop_map(|(left, by, right)| Expression::Compare(left, by, right)),
            (boxed(), any::<bool>(), boxed(), boxed())
                .prop_map(|(value, is_negated, low, high)| { Expression::Between { value, is_negated, low, high } }),
            (boxed(), any::<bool>(), list).prop_map(|(value, is_negated, list)| Expression::In {
                value,
                is_negated,
                list
            }),
            (boxed(), any::<bool>(), like).prop_map(|(value, is_negated, (pattern, escape))| {
                Expression::Like { value, is_negated, like: Like::parse(pattern, escape).unwrap() }
            }),
            (boxed(), any::<bool>()).prop_map(|(value, is_negated)| Expression::IsNull { value, is_negated }),
            (boxed(), terms).prop_map(|(first, rest)| Expression::Sum(first, rest)),
            (boxed(), factors).prop_map(|(first, rest)| Expression::Product(first, rest)),
            (sign(), boxed()).prop_map(|(sign, of)| Expression::Signed(sign, of)),
        ]
    })
}

fn matches(selector: &str) -> bool {
    Selector::parse(selector).unwrap_or_else(|error| panic!("{selector}: {error}")).matches(&message())
}

fn message() -> Message {
    let headers = [
        ("colour", "red"),
        ("size", "10"),
        ("active", "true"),
        ("big", "9007199254740993"),
        ("share", "50%"),
        ("content-type", "text/plain"),
    ];
    let publication = Publication {
        destination: Destination::parse("/topic/a").unwrap(),
        headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        body: "body".into(),
    };
    Message::new(MessageId(7), publication, 1234, None)
}
