//! Expressions over messages, in three-valued logic: `None` is unknown.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::{Comparison, Expression, Scale, Sign};
use crate::message::Message;

pub(super) fn truth(expression: &Expression, message: &Message) -> Option<bool> {
    match expression {
        Expression::Or(all) => any(all, message),
        Expression::And(all) => every(all, message),
        Expression::Not(of) => truth(of, message).map(|truth| !truth),
        Expression::Compare(left, comparison, right) => {
            compare(*comparison, &value(left, message), &value(right, message))
        }
        Expression::Between { value: of, is_negated, low, high } => {
            let of = value(of, message);
            let above = compare(Comparison::GreaterOrEqual, &of, &value(low, message));
            let below = compare(Comparison::LessOrEqual, &of, &value(high, message));
            negated(both(above, below), *is_negated)
        }
        Expression::In { value: of, is_negated, list } => {
            let text = value(of, message).into_text()?;
            Some(list.iter().any(|one| *one == *text) != *is_negated)
        }
        Expression::Like { value: of, is_negated, like } => {
            let text = value(of, message).into_text()?;
            Some(like.matches(&text) != *is_negated)
        }
        Expression::IsNull { value: of, is_negated } => Some(matches!(value(of, message), Value::Null) != *is_negated),
        Expression::Sum(..)
        | Expression::Product(..)
        | Expression::Signed(..)
        | Expression::Text(_)
        | Expression::Integer(_)
        | Expression::Decimal(_)
        | Expression::Truth(_)
        | Expression::Null
        | Expression::Header(_) => value(expression, message).truth(),
    }
}

fn any(all: &[Expression], message: &Message) -> Option<bool> {
    let mut outcome = Some(false);
    for one in all {
        match truth(one, message) {
            Some(true) => return Some(true),
            Some(false) => {}
            None => outcome = None,
        }
    }
    outcome
}

fn every(all: &[Expression], message: &Message) -> Option<bool> {
    let mut outcome = Some(true);
    for one in all {
        match truth(one, message) {
            Some(false) => return Some(false),
            Some(true) => {}
            None => outcome = None,
        }
    }
    outcome
}

fn both(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match (left, right) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        (None, _) | (_, None) => None,
    }
}

fn negated(truth: Option<bool>, is_negated: bool) -> Option<bool> {
    truth.map(|truth| truth != is_negated)
}

#[derive(Debug, Clone)]
enum Value<'a> {
    Null,
    Truth(bool),
    Number(Number),
    Text(Cow<'a, str>),
}

#[derive(Debug, Clone, Copy)]
enum Number {
    Integer(i64),
    Decimal(f64),
}

fn value<'a>(expression: &'a Expression, message: &'a Message) -> Value<'a> {
    match expression {
        Expression::Text(text) => Value::Text(Cow::Borrowed(text)),
        Expression::Integer(number) => Value::Number(Number::Integer(*number)),
        Expression::Decimal(number) => Value::Number(Number::Decimal(*number)),
        Expression::Truth(truth) => Value::Truth(*truth),
        Expression::Null => Value::Null,
        Expression::Header(name) => header(message, name),
        Expression::Signed(sign, of) => {
            let zero = Number::Integer(0);
            number(of, message).and_then(|number| zero.plus(*sign, number)).map_or(Value::Null, Value::Number)
        }
        Expression::Sum(first, rest) => {
            let sum = rest
                .iter()
                .try_fold(number(first, message), |sum, (sign, of)| Some(sum?.plus(*sign, number(of, message)?)));
            sum.flatten().map_or(Value::Null, Value::Number)
        }
        Expression::Product(first, rest) => {
            let product = rest.iter().try_fold(number(first, message), |product, (scale, of)| {
                Some(product?.times(*scale, number(of, message)?))
            });
            product.flatten().map_or(Value::Null, Value::Number)
        }
        Expression::Or(_)
        | Expression::And(_)
        | Expression::Not(_)
        | Expression::Compare(..)
        | Expression::Between { .. }
        | Expression::In { .. }
        | Expression::Like { .. }
        | Expression::IsNull { .. } => truth(expression, message).map_or(Value::Null, Value::Truth),
    }
}

fn number(expression: &Expression, message: &Message) -> Option<Number> {
    value(expression, message).number()
}

/// The headers that the subscriber sees on the MESSAGE.
fn header<'a>(message: &'a Message, name: &str) -> Value<'a> {
    let text = match name {
        "destination" => message.destination.shown(),
        "message-id" => message.id.0.to_string().into(),
        "timestamp" => message.timestamp_ms.to_string().into(),
        "content-length" => message.body.len().to_string().into(),
        _ => match message.header(name) {
            Some(value) => value.into(),
            None => return Value::Null,
        },
    };
    Value::Text(text)
}

impl<'a> Value<'a> {
    fn truth(&self) -> Option<bool> {
        match self {
            Self::Truth(truth) => Some(*truth),
            Self::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Self::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
            Self::Null | Self::Number(_) | Self::Text(_) => None,
        }
    }

    fn number(&self) -> Option<Number> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => match text.trim().parse() {
                Ok(number) => Some(Number::Integer(number)),
                Err(_) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()).map(Number::Decimal),
            },
            Self::Null | Self::Truth(_) => None,
        }
    }

    fn into_text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Truth(_) | Self::Number(_) => None,
        }
    }
}

fn compare(comparison: Comparison, left: &Value<'_>, right: &Value<'_>) -> Option<bool> {
    let is_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
    let ordering = match (left, right) {
        (Value::Null, _) | (_, Value::Null) => return None,
        // JMS: texts are compared for equality only; headers that read as numbers are numbers.
        (Value::Text(left), Value::Text(right)) if is_equality => left.cmp(right),
        (Value::Truth(_), _) | (_, Value::Truth(_)) if is_equality => left.truth()?.cmp(&right.truth()?),
        (Value::Truth(_), _) | (_, Value::Truth(_)) => return None,
        (Value::Text(_) | Value::Number(_), Value::Text(_) | Value::Number(_)) => {
            left.number()?.compare(right.number()?)?
        }
    };
    Some(match comparison {
        Comparison::Equal => ordering.is_eq(),
        Comparison::NotEqual => ordering.is_ne(),
        Comparison::Less => ordering.is_lt(),
        Comparison::LessOrEqual => ordering.is_le(),
        Comparison::Greater => ordering.is_gt(),
        Comparison::GreaterOrEqual => ordering.is_ge(),
    })
}

impl Number {
    #[expect(clippy::cast_precision_loss, reason = "as SQL does where a whole number meets a decimal one")]
    fn decimal(self) -> f64 {
        match self {
            Self::Integer(number) => number as f64,
            Self::Decimal(number) => number,
        }
    }

    fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => Some(left.cmp(&right)),
            _ => self.decimal().partial_cmp(&other.decimal()),
        }
    }

    /// Unknown where the result is no number; whole numbers that overflow become decimal.
    fn plus(self, sign: Sign, other: Self) -> Option<Self> {
        let whole = match (self, other, sign) {
            (Self::Integer(left), Self::Integer(right), Sign::Plus) => left.checked_add(right),
            (Self::Integer(left), Self::Integer(right), Sign::Minus) => left.checked_sub(right),
            _ => None,
        };
        whole.map(Self::Integer).or_else(|| match sign {
            Sign::Plus => finite(self.decimal() + other.decimal()),
            Sign::Minus => finite(self.decimal() - other.decimal()),
        })
    }

    fn times(self, scale: Scale, other: Self) -> Option<Self> {
        let whole = match (self, other, scale) {
            (Self::Integer(left), Self::Integer(right), Scale::Times) => left.checked_mul(right),
            (Self::Integer(_), Self::Integer(0), Scale::Over) => return None,
            (Self::Integer(left), Self::Integer(right), Scale::Over) => left.checked_div(right),
            _ => None,
        };
        whole.map(Self::Integer).or_else(|| match scale {
            Scale::Times => finite(self.decimal() * other.decimal()),
            Scale::Over => finite(self.decimal() / other.decimal()),
        })
    }
}

fn finite(number: f64) -> Option<Number> {
    number.is_finite().then_some(Number::Decimal(number))
}
