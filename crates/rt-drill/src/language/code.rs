//! The Python in `%{ }%` blocks, as far as scripts use it: assertions about the numbers of a TCP_INFO snapshot.
//!
//! `assert tcpi_snd_cwnd == 10, tcpi_snd_cwnd` and the like: comparison, `and`/`or`/`not`, arithmetic and bit operators,
//! parentheses, `abs`, `min`, `max`, assignments to names of one's own; `print` is passed over. Whatever else stands there
//! becomes [`Statement::Unknown`].
//!
//! # Simplifications
//!
//! Numbers are 64-bit integers; one with a point is rounded towards zero, and `/` divides like `//`.

use std::collections::BTreeMap;

use super::Place;

/// A block.
#[derive(Clone, PartialEq, Debug)]
pub struct Code {
    /// Where it begins.
    pub place: Place,
    /// Its statements.
    pub statements: Vec<(u32, Statement)>,
}

/// A statement.
#[derive(Clone, PartialEq, Debug)]
pub enum Statement {
    /// `assert condition`, with the text of the condition.
    Assert(Value, String),
    /// `name = value`.
    Assign(String, Value),
    /// Something that is not an assertion; its text.
    Unknown(String),
}

/// An expression.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// A number.
    Number(i64),
    /// A name.
    Name(String),
    /// An operator before its operand.
    Unary(&'static str, Box<Value>),
    /// An operator between two.
    Binary(&'static str, Box<Value>, Box<Value>),
    /// Comparisons in a chain: `a < b <= c`.
    Compare(Box<Value>, Vec<(&'static str, Value)>),
    /// `min(...)`, `max(...)`, `abs(...)`, `int(...)`.
    Apply(String, Vec<Value>),
}

/// Why an expression has no value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unknown {
    /// Nobody knows this name.
    Name(String),
    /// Something is divided by 0.
    DivisionByZero,
}

/// Deepest nesting of an expression.
const DEEPEST: usize = 48;
/// Longest statement that is read, in bytes: a tree of operators is as deep as the text is long.
const LONGEST: usize = 4_096;
/// Operators between two numbers, loosest first.
const LEVELS: [&[&str]; 6] = [&["|"], &["^"], &["&"], &["<<", ">>"], &["+", "-"], &["*", "//", "/", "%"]];
/// Comparisons.
const COMPARISONS: [&str; 6] = ["==", "!=", "<=", ">=", "<", ">"];

/// Reads a block; never fails, see [`Statement::Unknown`].
pub(super) fn read(text: &str, place: Place) -> Code {
    let mut statements = Vec::new();
    let mut line = place.line;
    let (mut open, mut depth) = (String::new(), 0i64);
    for raw in text.split('\n') {
        let cut = raw.split('#').next().unwrap_or_default();
        open.push_str(cut);
        let count = |bracket| cut.matches(bracket).count() as i64;
        depth += count('(') - count(')');
        // A line goes on while a bracket is open or it ends in a backslash; not for ever.
        let goes_on = open.len() <= LONGEST;
        if goes_on && open.trim_end().ends_with('\\') {
            open.truncate(open.trim_end().trim_end_matches('\\').len());
            open.push(' ');
        } else if !goes_on || depth <= 0 {
            for part in open.split(';') {
                statements.extend(statement(part.trim()).map(|s| (line, s)));
            }
            open.clear();
            depth = 0;
        }
        line += 1;
    }
    statements.extend(statement(open.trim()).map(|s| (line, s)));
    Code { place, statements }
}

fn statement(text: &str) -> Option<Statement> {
    let keyword = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
    match keyword {
        "" if text.is_empty() => return None,
        _ if text.len() > LONGEST => {}
        "print" | "pass" | "import" => return None,
        "assert" => {
            let rest = text["assert".len()..].trim();
            let mut reader = Reader::new(rest);
            if let Some(value) = reader.value(0) {
                let used = rest[..reader.offset()].trim().to_owned();
                // What follows a comma is only the message.
                if reader.done() || reader.is(",") {
                    return Some(Statement::Assert(value, used));
                }
            }
        }
        _ => {
            let mut reader = Reader::new(text);
            if reader.take_word().is_some()
                && reader.eat("=")
                && let Some(value) = reader.value(0).filter(|_| reader.done())
            {
                return Some(Statement::Assign(keyword.to_owned(), value));
            }
        }
    }
    Some(Statement::Unknown(text.to_owned()))
}

struct Reader<'a> {
    whole: &'a str,
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Reader<'a> {
        Reader { whole: text, rest: text.trim_start() }
    }

    fn offset(&self) -> usize {
        self.whole.len() - self.rest.len()
    }

    fn done(&self) -> bool {
        self.rest.is_empty()
    }

    fn is(&self, sign: &str) -> bool {
        self.rest.starts_with(sign)
    }

    fn eat(&mut self, sign: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(sign) else { return false };
        // `=` is not the beginning of `==`.
        if sign == "=" && rest.starts_with('=') {
            return false;
        }
        self.rest = rest.trim_start();
        true
    }

    fn take_word(&mut self) -> Option<&'a str> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let begins = word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if begins {
            self.rest = rest.trim_start();
        }
        begins.then_some(word)
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let mut copy = Reader { whole: self.whole, rest: self.rest };
        let there = copy.take_word() == Some(word);
        if there {
            self.rest = copy.rest;
        }
        there
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEEPEST {
            return None;
        }
        let mut left = self.conjunction(depth)?;
        while self.eat_word("or") {
            left = Value::Binary("or", Box::new(left), Box::new(self.conjunction(depth)?));
        }
        Some(left)
    }

    fn conjunction(&mut self, depth: usize) -> Option<Value> {
        let mut left = self.negation(depth)?;
        while self.eat_word("and") {
            left = Value::Binary("and", Box::new(left), Box::new(self.negation(depth)?));
        }
        Some(left)
    }

    fn negation(&mut self, depth: usize) -> Option<Value> {
        if depth > DEEPEST {
            return None;
        }
        if self.eat_word("not") {
            return Some(Value::Unary("not", Box::new(self.negation(depth + 1)?)));
        }
        let left = self.level(0, depth)?;
        let mut chain = Vec::new();
        while let Some(sign) =
            COMPARISONS.into_iter().find(|s| self.is(s) && !self.is("<<") && !self.is(">>"))
        {
            self.eat(sign);
            chain.push((sign, self.level(0, depth)?));
        }
        Some(if chain.is_empty() { left } else { Value::Compare(Box::new(left), chain) })
    }

    fn level(&mut self, level: usize, depth: usize) -> Option<Value> {
        let Some(signs) = LEVELS.get(level) else { return self.unary(depth) };
        let mut left = self.level(level + 1, depth)?;
        while let Some(sign) = signs.iter().find(|s| self.is(s)) {
            self.eat(sign);
            left = Value::Binary(sign, Box::new(left), Box::new(self.level(level + 1, depth)?));
        }
        Some(left)
    }

    fn unary(&mut self, depth: usize) -> Option<Value> {
        if depth > DEEPEST {
            return None;
        }
        for sign in ["-", "~", "+"] {
            if self.eat(sign) {
                return Some(Value::Unary(sign, Box::new(self.unary(depth + 1)?)));
            }
        }
        if self.eat("(") {
            let value = self.value(depth + 1)?;
            return self.eat(")").then_some(value);
        }
        if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            return self.number();
        }
        let word = self.take_word()?;
        if word == "True" || word == "False" {
            return Some(Value::Number(i64::from(word == "True")));
        }
        if !self.eat("(") {
            return Some(Value::Name(word.to_owned()));
        }
        let mut arguments = vec![self.value(depth + 1)?];
        while self.eat(",") {
            arguments.push(self.value(depth + 1)?);
        }
        let known = matches!(word, "min" | "max" | "abs" | "int");
        (self.eat(")") && known).then(|| Value::Apply(word.to_owned(), arguments))
    }

    fn number(&mut self) -> Option<Value> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_')
            .unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        let number = if let Some(hex) = digits.strip_prefix("0x") {
            i64::from_str_radix(hex, 16).ok()?
        } else {
            match digits.parse::<i64>() {
                Ok(n) => n,
                Err(_) => digits.parse::<f64>().ok().filter(|f| f.is_finite())? as i64,
            }
        };
        self.rest = rest.trim_start();
        Some(Value::Number(number))
    }
}

impl Value {
    /// What it comes to, with names as in `names`.
    ///
    /// # Errors
    /// See [`Unknown`].
    pub fn evaluate(&self, names: &BTreeMap<String, i64>) -> Result<i64, Unknown> {
        match self {
            Value::Number(n) => Ok(*n),
            Value::Name(name) => names.get(name).copied().ok_or_else(|| Unknown::Name(name.clone())),
            Value::Unary(sign, value) => {
                let n = value.evaluate(names)?;
                Ok(match *sign {
                    "-" => n.wrapping_neg(),
                    "~" => !n,
                    "not" => i64::from(n == 0),
                    _ => n,
                })
            }
            Value::Binary("and", left, right) => match left.evaluate(names)? {
                0 => Ok(0),
                _ => right.evaluate(names),
            },
            Value::Binary("or", left, right) => match left.evaluate(names)? {
                0 => right.evaluate(names),
                n => Ok(n),
            },
            Value::Binary(sign, left, right) => binary(sign, left.evaluate(names)?, right.evaluate(names)?),
            Value::Compare(first, chain) => {
                let mut left = first.evaluate(names)?;
                for (sign, value) in chain {
                    let right = value.evaluate(names)?;
                    if !compare(sign, left, right) {
                        return Ok(0);
                    }
                    left = right;
                }
                Ok(1)
            }
            Value::Apply(name, arguments) => {
                let numbers: Vec<i64> =
                    arguments.iter().map(|a| a.evaluate(names)).collect::<Result<_, _>>()?;
                let first = numbers.first().copied().unwrap_or(0);
                Ok(match name.as_str() {
                    "min" => numbers.into_iter().min().unwrap_or(0),
                    "max" => numbers.into_iter().max().unwrap_or(0),
                    "abs" => first.wrapping_abs(),
                    _ => first,
                })
            }
        }
    }

    /// Every name in it, in order, each once.
    pub fn names<'a>(&'a self, into: &mut Vec<&'a str>) {
        match self {
            Value::Number(_) => {}
            Value::Name(name) if into.contains(&name.as_str()) => {}
            Value::Name(name) => into.push(name),
            Value::Unary(_, value) => value.names(into),
            Value::Binary(_, left, right) => {
                left.names(into);
                right.names(into);
            }
            Value::Compare(first, chain) => {
                first.names(into);
                chain.iter().for_each(|(_, value)| value.names(into));
            }
            Value::Apply(_, arguments) => arguments.iter().for_each(|a| a.names(into)),
        }
    }
}

fn binary(sign: &str, left: i64, right: i64) -> Result<i64, Unknown> {
    let shift = u32::try_from(right).unwrap_or(u32::MAX);
    Ok(match sign {
        "|" => left | right,
        "^" => left ^ right,
        "&" => left & right,
        "<<" => left.checked_shl(shift).unwrap_or(0),
        ">>" => left.checked_shr(shift).unwrap_or(0),
        "+" => left.wrapping_add(right),
        "-" => left.wrapping_sub(right),
        "*" => left.wrapping_mul(right),
        _ if right == 0 => return Err(Unknown::DivisionByZero),
        "%" => left.wrapping_rem_euclid(right),
        _ => left.wrapping_div_euclid(right),
    })
}

fn compare(sign: &str, left: i64, right: i64) -> bool {
    match sign {
        "==" => left == right,
        "!=" => left != right,
        "<=" => left <= right,
        ">=" => left >= right,
        "<" => left < right,
        _ => left > right,
    }
}
