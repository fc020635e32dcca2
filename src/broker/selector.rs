//! [`Selector`]: a condition on a message's headers, the SQL-92 subset of JMS.
//!
//! ```text
//! or      = and { OR and }             sum     = product { (+ | -) product }
//! and     = not { AND not }            product = unary { (* | /) unary }
//! not     = NOT not | test             unary   = (+ | -) unary | primary
//! test    = sum [ (= | <> | < | <= | > | >=) sum | [NOT] BETWEEN sum AND sum
//!               | [NOT] IN ( 'text' {, 'text'} ) | [NOT] LIKE 'text' [ESCAPE 'c'] | IS [NOT] NULL ]
//! primary = 'text' | number | TRUE | FALSE | NULL | header | "header" | ( or )
//! ```
//!
//! Headers are text. Beside a number a header counts as a number, beside TRUE or FALSE as a
//! truth value; one that does not read as such, or is not there, makes the test unknown, and
//! only what is true is delivered. A header whose name is no identifier, or a word of the
//! grammar, stands in double quotes: `"content-type" = 'text/plain'`.

mod evaluate;
mod like;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display as _, Write as _};

use self::like::Like;
use crate::condition::Condition;
use crate::message::Message;

/// A condition on messages, parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector(Expression);

/// Why a selector was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("selector, column {column}: {reason}")]
pub struct SelectorError {
    /// Where, in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub reason: String,
}

impl Selector {
    /// Reads a selector of at most [`MAX_SELECTOR_BYTES`] octets and [`MAX_DEPTH`] levels.
    ///
    /// # Errors
    /// The first place that does not follow the grammar.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::selector(text).map(Self)
    }

    /// Whether the condition is true of the message; unknown is not true.
    pub fn matches(&self, message: &Message) -> bool {
        evaluate::truth(&self.0, message) == Some(true)
    }
}

impl Condition for Selector {
    fn matches(&self, message: &Message) -> bool {
        Self::matches(self, message)
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Chains are lists, so that only what is nested in the text is nested here.
#[derive(Debug, Clone, PartialEq)]
enum Expression {
    Or(Vec<Self>),
    And(Vec<Self>),
    Not(Box<Self>),
    Compare(Box<Self>, Comparison, Box<Self>),
    Between { value: Box<Self>, is_negated: bool, low: Box<Self>, high: Box<Self> },
    In { value: Box<Self>, is_negated: bool, list: Vec<String> },
    Like { value: Box<Self>, is_negated: bool, like: Like },
    IsNull { value: Box<Self>, is_negated: bool },
    Sum(Box<Self>, Vec<(Sign, Self)>),
    Product(Box<Self>, Vec<(Scale, Self)>),
    Signed(Sign, Box<Self>),
    Text(String),
    Integer(i64),
    Decimal(f64),
    Truth(bool),
    Null,
    Header(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    const ALL: [(&'static str, Self); 6] = [
        ("=", Self::Equal),
        ("<>", Self::NotEqual),
        ("<=", Self::LessOrEqual),
        (">=", Self::GreaterOrEqual),
        ("<", Self::Less),
        (">", Self::Greater),
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Plus,
    Minus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    Times,
    Over,
}

impl Expression {
    /// How tightly it binds: an operand must bind at least as tightly as its place asks.
    fn level(&self) -> u8 {
        match self {
            Self::Or(_) => 0,
            Self::And(_) => 1,
            Self::Not(_) => 2,
            Self::Compare(..) | Self::Between { .. } | Self::In { .. } | Self::Like { .. } | Self::IsNull { .. } => 3,
            Self::Sum(..) => SUM,
            Self::Product(..) => PRODUCT,
            Self::Signed(..) => UNARY,
            Self::Text(_) | Self::Integer(_) | Self::Decimal(_) | Self::Truth(_) | Self::Null | Self::Header(_) => 7,
        }
    }

    fn at(&self, level: u8) -> At<'_> {
        At { expression: self, level }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = |is_negated: &bool| if *is_negated { "NOT " } else { "" };
        match self {
            Self::Or(all) => write_chain(f, all, " OR ", 1),
            Self::And(all) => write_chain(f, all, " AND ", 2),
            Self::Not(of) => write!(f, "NOT {}", of.at(2)),
            Self::Compare(left, comparison, right) => {
                let sign = Comparison::ALL.iter().find(|(_, other)| other == comparison).map_or("", |(sign, _)| sign);
                write!(f, "{} {sign} {}", left.at(SUM), right.at(SUM))
            }
            Self::Between { value, is_negated, low, high } => {
                write!(f, "{} {}BETWEEN {} AND {}", value.at(SUM), not(is_negated), low.at(SUM), high.at(SUM))
            }
            Self::In { value, is_negated, list } => {
                write!(f, "{} {}IN (", value.at(SUM), not(is_negated))?;
                for (n, text) in list.iter().enumerate() {
                    f.write_str(if n == 0 { "" } else { ", " })?;
                    write_quoted(f, text, '\'')?;
                }
                f.write_char(')')
            }
            Self::Like { value, is_negated, like } => {
                write!(f, "{} {}LIKE ", value.at(SUM), not(is_negated))?;
                write_quoted(f, like.pattern(), '\'')?;
                let Some(escape) = like.escape() else { return Ok(()) };
                f.write_str(" ESCAPE ")?;
                write_quoted(f, escape.encode_utf8(&mut [0; 4]), '\'')
            }
            Self::IsNull { value, is_negated } => write!(f, "{} IS {}NULL", value.at(SUM), not(is_negated)),
            Self::Sum(first, rest) => {
                first.at(PRODUCT).fmt(f)?;
                rest.iter().try_for_each(|(sign, of)| write!(f, " {} {}", sign.as_char(), of.at(PRODUCT)))
            }
            Self::Product(first, rest) => {
                first.at(UNARY).fmt(f)?;
                rest.iter().try_for_each(|(scale, of)| write!(f, " {} {}", scale.as_char(), of.at(UNARY)))
            }
            Self::Signed(sign, of) => write!(f, "{}{}", sign.as_char(), of.at(UNARY)),
            Self::Text(text) => write_quoted(f, text, '\''),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Decimal(number) => write!(f, "{number:?}"),
            Self::Truth(truth) => f.write_str(if *truth { "TRUE" } else { "FALSE" }),
            Self::Null => f.write_str("NULL"),
            Self::Header(name) if parse::is_plain(name) => f.write_str(name),
            Self::Header(name) => write_quoted(f, name, '"'),
        }
    }
}

impl Sign {
    fn as_char(self) -> char {
        match self {
            Self::Plus => '+',
            Self::Minus => '-',
        }
    }
}

impl Scale {
    fn as_char(self) -> char {
        match self {
            Self::Times => '*',
            Self::Over => '/',
        }
    }
}

/// An operand, in parentheses where it binds less tightly than its place asks.
struct At<'a> {
    expression: &'a Expression,
    level: u8,
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.expression.level() < self.level { write!(f, "({})", self.expression) } else { self.expression.fmt(f) }
    }
}

fn write_chain(f: &mut fmt::Formatter<'_>, all: &[Expression], between: &str, level: u8) -> fmt::Result {
    for (n, one) in all.iter().enumerate() {
        f.write_str(if n == 0 { "" } else { between })?;
        one.at(level).fmt(f)?;
    }
    Ok(())
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str, quote: char) -> fmt::Result {
    f.write_char(quote)?;
    for c in text.chars() {
        f.write_char(c)?;
        if c == quote {
            f.write_char(c)?;
        }
    }
    f.write_char(quote)
}

/// The longest selector, in octets. A LIKE costs at most its pattern's length times the
/// header's, so this bounds what one subscriber's condition costs a message.
pub const MAX_SELECTOR_BYTES: usize = 1024;

/// How deeply parentheses, NOTs and signs may nest.
pub const MAX_DEPTH: usize = 32;

const SUM: u8 = 4;
const PRODUCT: u8 = 5;
const UNARY: u8 = 6;
