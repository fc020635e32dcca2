//! Text to expression, by recursive descent with bounded depth.

use super::{Comparison, Expression, Like, MAX_DEPTH, MAX_SELECTOR_BYTES, Scale, SelectorError, Sign};

pub(super) fn selector(text: &str) -> Result<Expression, SelectorError> {
    if text.len() > MAX_SELECTOR_BYTES {
        let reason = format!("the selector is {} octets long; at most {MAX_SELECTOR_BYTES} are allowed", text.len());
        return Err(SelectorError { column: 1, reason });
    }
    let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0 };
    let expression = parser.or()?;
    if *parser.peek() == Token::End { Ok(expression) } else { Err(parser.expected("AND, OR or the end")) }
}

/// Whether a header's name can stand without quotes.
pub(super) fn is_plain(name: &str) -> bool {
    name.starts_with(begins_name)
        && name.chars().all(continues_name)
        && !KEYWORDS.iter().any(|word| word.eq_ignore_ascii_case(name))
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Keyword(&'static str),
    Header(String),
    Text(String),
    Integer(i64),
    Decimal(f64),
    Compare(Comparison),
    Sign(char),
    End,
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, SelectorError> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        while chars.get(at).is_some_and(|c| c.is_ascii_whitespace()) {
            at += 1;
        }
        let column = at + 1;
        let Some(&first) = chars.get(at) else {
            tokens.push((column, Token::End));
            return Ok(tokens);
        };
        if let Some((comparison, len)) = comparison(&chars[at..]) {
            tokens.push((column, Token::Compare(comparison)));
            at += len;
            continue;
        }
        let (token, end) = match first {
            '\'' => quoted(&chars, at, '\'').map(|(text, end)| (Token::Text(text), end))?,
            '"' => quoted(&chars, at, '"').map(|(name, end)| (Token::Header(name), end))?,
            '+' | '-' | '*' | '/' | '(' | ')' | ',' => (Token::Sign(first), at + 1),
            c if c.is_ascii_digit() || (c == '.' && chars.get(at + 1).is_some_and(char::is_ascii_digit)) => {
                number(&chars, at)?
            }
            c if begins_name(c) => word(&chars, at),
            c @ ('.' | ':') => {
                let reason = format!("{c:?} has no meaning here; a name with other characters stands in double quotes");
                return Err(SelectorError { column, reason });
            }
            c => return Err(SelectorError { column, reason: format!("{c:?} has no meaning here") }),
        };
        tokens.push((column, token));
        at = end;
    }
}

fn comparison(rest: &[char]) -> Option<(Comparison, usize)> {
    let found = Comparison::ALL.iter().find(|(sign, _)| rest.iter().copied().take(sign.len()).eq(sign.chars()));
    found.map(|(sign, comparison)| (*comparison, sign.len()))
}

fn quoted(chars: &[char], begin: usize, quote: char) -> Result<(String, usize), SelectorError> {
    let mut text = String::new();
    let mut at = begin + 1;
    while let Some(&c) = chars.get(at) {
        if c != quote {
            text.push(c);
        } else if chars.get(at + 1) == Some(&quote) {
            // A quote within quotes is written twice.
            text.push(c);
            at += 1;
        } else {
            return Ok((text, at + 1));
        }
        at += 1;
    }
    Err(SelectorError { column: begin + 1, reason: format!("the {quote} is not closed") })
}

fn number(chars: &[char], begin: usize) -> Result<(Token, usize), SelectorError> {
    let digits = |from: usize| from + chars[from..].iter().take_while(|c| c.is_ascii_digit()).count();
    let mut end = digits(begin);
    let mut is_decimal = false;
    if chars.get(end) == Some(&'.') {
        is_decimal = true;
        end = digits(end + 1);
    }
    if matches!(chars.get(end), Some('e' | 'E')) {
        let sign = usize::from(matches!(chars.get(end + 1), Some('+' | '-')));
        let exponent = digits((end + 1 + sign).min(chars.len()));
        if exponent > end + 1 + sign {
            is_decimal = true;
            end = exponent;
        }
    }
    let text: String = chars[begin..end].iter().collect();
    let error = |reason: &str| SelectorError { column: begin + 1, reason: format!("{text} {reason}") };
    if chars.get(end).copied().is_some_and(continues_name) {
        return Err(error("is followed by a letter"));
    }
    if !is_decimal && let Ok(number) = text.parse() {
        return Ok((Token::Integer(number), end));
    }
    match text.parse() {
        Ok(number) if f64::is_finite(number) => Ok((Token::Decimal(number), end)),
        _ => Err(error("is too large a number")),
    }
}

fn word(chars: &[char], begin: usize) -> (Token, usize) {
    let end = begin + chars[begin..].iter().take_while(|c| continues_name(**c)).count();
    let word: String = chars[begin..end].iter().collect();
    let keyword = KEYWORDS.iter().find(|keyword| keyword.eq_ignore_ascii_case(&word));
    (keyword.map_or(Token::Header(word), |keyword| Token::Keyword(keyword)), end)
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

type Parsed = Result<Expression, SelectorError>;

impl Parser {
    fn or(&mut self) -> Parsed {
        let mut all = vec![self.and()?];
        while self.takes("OR") {
            all.push(self.and()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Expression::Or(all) })
    }

    fn and(&mut self) -> Parsed {
        let mut all = vec![self.not()?];
        while self.takes("AND") {
            all.push(self.not()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Expression::And(all) })
    }

    fn not(&mut self) -> Parsed {
        if self.takes("NOT") {
            let of = self.nested(Self::not)?;
            return Ok(Expression::Not(Box::new(of)));
        }
        self.test()
    }

    fn test(&mut self) -> Parsed {
        let value = Box::new(self.sum()?);
        if let Token::Compare(comparison) = *self.peek() {
            self.next += 1;
            return Ok(Expression::Compare(value, comparison, Box::new(self.sum()?)));
        }
        if self.takes("IS") {
            let is_negated = self.takes("NOT");
            self.expects("NULL")?;
            return Ok(Expression::IsNull { value, is_negated });
        }
        let is_negated = self.takes("NOT");
        if self.takes("BETWEEN") {
            let low = Box::new(self.sum()?);
            self.expects("AND")?;
            let high = Box::new(self.sum()?);
            return Ok(Expression::Between { value, is_negated, low, high });
        }
        if self.takes("IN") {
            let list = self.list()?;
            return Ok(Expression::In { value, is_negated, list });
        }
        if self.takes("LIKE") {
            let like = self.like()?;
            return Ok(Expression::Like { value, is_negated, like });
        }
        if is_negated { Err(self.expected("BETWEEN, IN or LIKE")) } else { Ok(*value) }
    }

    fn list(&mut self) -> Result<Vec<String>, SelectorError> {
        if !self.takes_sign('(') {
            return Err(self.expected("("));
        }
        let mut list = vec![self.text()?];
        while self.takes_sign(',') {
            list.push(self.text()?);
        }
        if self.takes_sign(')') { Ok(list) } else { Err(self.expected(", or )")) }
    }

    fn like(&mut self) -> Result<Like, SelectorError> {
        let at = self.next;
        let pattern = self.text()?;
        let mut escape = None;
        if self.takes("ESCAPE") {
            let column = self.column();
            let text = self.text()?;
            let mut chars = text.chars();
            escape = chars.next().filter(|_| chars.next().is_none());
            if escape.is_none() {
                return Err(SelectorError { column, reason: "ESCAPE takes one character".into() });
            }
        }
        Like::parse(pattern, escape).map_err(|reason| SelectorError { column: self.tokens[at].0, reason })
    }

    fn sum(&mut self) -> Parsed {
        let first = self.product()?;
        let mut rest = Vec::new();
        while let Some(sign) = self.takes_plus_or_minus() {
            rest.push((sign, self.product()?));
        }
        Ok(if rest.is_empty() { first } else { Expression::Sum(Box::new(first), rest) })
    }

    fn product(&mut self) -> Parsed {
        let first = self.unary()?;
        let mut rest = Vec::new();
        loop {
            let scale = if self.takes_sign('*') {
                Scale::Times
            } else if self.takes_sign('/') {
                Scale::Over
            } else {
                break;
            };
            rest.push((scale, self.unary()?));
        }
        Ok(if rest.is_empty() { first } else { Expression::Product(Box::new(first), rest) })
    }

    fn unary(&mut self) -> Parsed {
        match self.takes_plus_or_minus() {
            Some(sign) => Ok(Expression::Signed(sign, Box::new(self.nested(Self::unary)?))),
            None => self.primary(),
        }
    }

    fn primary(&mut self) -> Parsed {
        let expression = match self.peek().clone() {
            Token::Text(text) => Expression::Text(text),
            Token::Integer(number) => Expression::Integer(number),
            Token::Decimal(number) => Expression::Decimal(number),
            Token::Header(name) => Expression::Header(name),
            Token::Keyword("TRUE") => Expression::Truth(true),
            Token::Keyword("FALSE") => Expression::Truth(false),
            Token::Keyword("NULL") => Expression::Null,
            Token::Sign('(') => {
                self.next += 1;
                let inner = self.nested(Self::or)?;
                if !matches!(self.peek(), Token::Sign(')')) {
                    return Err(self.expected("AND, OR or )"));
                }
                inner
            }
            Token::Keyword(_) | Token::Compare(_) | Token::Sign(_) | Token::End => {
                return Err(self.expected("a header, a text, a number, TRUE, FALSE, NULL or ("));
            }
        };
        self.next += 1;
        Ok(expression)
    }

    fn nested(&mut self, parse: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        if self.depth >= MAX_DEPTH {
            let reason = format!("nested more than {MAX_DEPTH} levels deep");
            return Err(SelectorError { column: self.column(), reason });
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn text(&mut self) -> Result<String, SelectorError> {
        let Token::Text(text) = self.peek() else { return Err(self.expected("a text in single quotes")) };
        let text = text.clone();
        self.next += 1;
        Ok(text)
    }

    fn takes(&mut self, keyword: &str) -> bool {
        let is_next = matches!(self.peek(), Token::Keyword(word) if *word == keyword);
        self.next += usize::from(is_next);
        is_next
    }

    fn takes_sign(&mut self, sign: char) -> bool {
        let is_next = matches!(self.peek(), Token::Sign(next) if *next == sign);
        self.next += usize::from(is_next);
        is_next
    }

    fn takes_plus_or_minus(&mut self) -> Option<Sign> {
        if self.takes_sign('+') {
            return Some(Sign::Plus);
        }
        self.takes_sign('-').then_some(Sign::Minus)
    }

    fn expects(&mut self, keyword: &str) -> Result<(), SelectorError> {
        if self.takes(keyword) { Ok(()) } else { Err(self.expected(keyword)) }
    }

    fn expected(&self, what: &str) -> SelectorError {
        SelectorError { column: self.column(), reason: format!("expected {what}") }
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    fn column(&self) -> usize {
        self.tokens.get(self.next).or(self.tokens.last()).map_or(1, |(column, _)| *column)
    }
}

fn begins_name(c: char) -> bool {
    c.is_alphabetic() || c == '_' || c == '$'
}

// JMS 3.8.1.1: a name is written as in Java, so without a dot.
fn continues_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

const KEYWORDS: [&str; 11] = ["AND", "OR", "NOT", "BETWEEN", "IN", "LIKE", "ESCAPE", "IS", "NULL", "TRUE", "FALSE"];
