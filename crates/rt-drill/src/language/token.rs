//! Text to words. The longest reading wins, as in the original's lexer: `0x1f` is one number, `1.2.3.4` one address, `4a`
//! one word, and `0...0.2` is `0`, `...` and `0.2`.

use std::net::Ipv4Addr;

use rt_base::text::{excerpt, visible};

use super::{Mistake, Place};

/// So much of a word stands in a message, in characters.
const SHOWN: usize = 40;

/// A word of the language.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Token {
    /// `--name` or `--name=value`.
    Option(String, Option<String>),
    /// A name.
    Word(String),
    /// A number; its digits stand beside it, because `FO 0123` is a cookie.
    Number(i64, String),
    /// `0x...`.
    Hex(i64),
    /// A number with a point, as it was written.
    Float(String),
    /// `"..."`, without the quotes and with escapes replaced.
    Text(String),
    /// `` `...` ``.
    Shell(String),
    /// `%{ ... }%`.
    Code(String),
    /// `a.b.c.d`.
    Address(Ipv4Addr),
    /// `...`.
    Ellipsis,
    /// Any other sign.
    Sign(char),
    /// The end of the text.
    End,
}

impl Token {
    /// How a message names it.
    pub(super) fn say(&self) -> String {
        match self {
            Token::Option(name, _) => format!("'--{}'", excerpt(name, SHOWN)),
            Token::Word(word) => format!("'{}'", excerpt(word, SHOWN)),
            Token::Number(_, text) | Token::Float(text) => format!("'{}'", excerpt(text, SHOWN)),
            Token::Hex(n) => format!("'{n:#x}'"),
            Token::Text(_) => "a string".into(),
            Token::Shell(_) => "a shell line".into(),
            Token::Code(_) => "a %{ }% block".into(),
            Token::Address(a) => format!("'{a}'"),
            Token::Ellipsis => "'...'".into(),
            Token::Sign(c) => format!("'{}'", visible(*c)),
            Token::End => "the end of the script".into(),
        }
    }
}

/// A word and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Lexeme {
    pub(super) token: Token,
    pub(super) place: Place,
    /// Nothing but white space stands before it on its line.
    pub(super) first: bool,
}

/// Splits the text. Always ends with [`Token::End`].
///
/// Stops at `most` mistakes: what a text without end does to the reader is bounded by that.
pub(super) fn lex(text: &str, mistakes: &mut Vec<Mistake>, most: usize) -> Vec<Lexeme> {
    let mut lexer = Lexer { rest: text, place: Place::START, first: true };
    let mut lexemes = Vec::new();
    loop {
        if let Err(mistake) = lexer.skip_blank() {
            mistakes.push(mistake);
        }
        let (place, first) = (lexer.place, lexer.first);
        match lexer.next() {
            Ok(token) => {
                let end = token == Token::End;
                lexemes.push(Lexeme { token, place, first });
                if end {
                    return lexemes;
                }
            }
            Err(mistake) => mistakes.push(mistake),
        }
        if mistakes.len() >= most {
            lexer.take(lexer.rest.len());
        }
        lexer.first = lexer.place.line != place.line;
    }
}

struct Lexer<'a> {
    rest: &'a str,
    place: Place,
    first: bool,
}

impl<'a> Lexer<'a> {
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        for c in taken.chars() {
            if c == '\n' {
                self.place = Place { line: self.place.line + 1, column: 1 };
                self.first = true;
            } else {
                self.place.column += 1;
            }
        }
        self.rest = rest;
        taken
    }

    fn skip_blank(&mut self) -> Result<(), Mistake> {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            if blank > 0 {
                self.take(blank);
            } else if self.rest.starts_with("//") {
                self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("/*") {
                let place = self.place;
                let Some(end) = self.rest[2..].find("*/") else {
                    self.take(self.rest.len());
                    return Err(Mistake::new(place, "'*/' to end this comment", "the end of the script"));
                };
                self.take(end + 4);
            } else {
                return Ok(());
            }
        }
    }

    fn next(&mut self) -> Result<Token, Mistake> {
        let Some(c) = self.rest.chars().next() else { return Ok(Token::End) };
        if self.rest.starts_with("...") {
            self.take(3);
            return Ok(Token::Ellipsis);
        }
        if self.rest.starts_with("%{") {
            return self.code();
        }
        if self.rest.starts_with("--") && self.rest[2..].starts_with(is_word) {
            return Ok(self.option());
        }
        match c {
            '"' => self.quoted('"').map(|s| Token::Text(unescaped(s))),
            '`' => self.quoted('`').map(|s| Token::Shell(s.to_owned())),
            '-' | '.' if self.number_follows(c) => self.number(),
            c if is_word(c) => self.number_or_word(),
            c => {
                self.take(c.len_utf8());
                Ok(Token::Sign(c))
            }
        }
    }

    fn number_follows(&self, sign: char) -> bool {
        let rest = &self.rest[1..];
        let digit = |s: &str| s.starts_with(|c: char| c.is_ascii_digit());
        digit(rest) || (sign == '-' && rest.strip_prefix('.').is_some_and(digit))
    }

    fn code(&mut self) -> Result<Token, Mistake> {
        let place = self.place;
        let Some(end) = self.rest.find("}%") else {
            self.take(self.rest.len());
            return Err(Mistake::new(place, "'}%' to end this block", "the end of the script"));
        };
        let whole = self.take(end + 2);
        Ok(Token::Code(whole[2..whole.len() - 2].to_owned()))
    }

    fn option(&mut self) -> Token {
        self.take(2);
        let name = self.take(length(self.rest, is_word)).to_owned();
        if !self.rest.starts_with('=') {
            return Token::Option(name, None);
        }
        self.take(1);
        // A value ends at white space, except inside quotes: `--define=CC="reno"`.
        let mut quote = None;
        let mut end = self.rest.len();
        for (at, c) in self.rest.char_indices() {
            match quote {
                Some(q) if c == q => quote = None,
                None if c == '"' || c == '`' => quote = Some(c),
                None if c.is_whitespace() => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
        Token::Option(name, Some(self.take(end).to_owned()))
    }

    fn quoted(&mut self, quote: char) -> Result<&'a str, Mistake> {
        let place = self.place;
        let mut escaped = false;
        for (at, c) in self.rest.char_indices().skip(1) {
            if escaped {
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == quote {
                let whole = self.take(at + 1);
                return Ok(&whole[1..whole.len() - 1]);
            }
        }
        // Go on at the next line, so that one forgotten quote hides one line and not the rest of the script.
        self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
        Err(Mistake::new(place, format!("a closing {quote}"), "the end of the script"))
    }

    fn number_or_word(&mut self) -> Result<Token, Mistake> {
        let word = length(self.rest, is_word);
        let digits = length(self.rest, |c| c.is_ascii_digit());
        if digits == word && word > 0 {
            return self.number();
        }
        let text = self.take(word);
        if let Some(hex) = text.strip_prefix("0x")
            && !hex.is_empty()
            && hex.chars().all(|c| c.is_ascii_hexdigit())
        {
            return u64::from_str_radix(hex, 16).map(|n| Token::Hex(n as i64)).map_err(|_| {
                Mistake::new(self.place, "a number of at most 64 bits", format!("'{}'", excerpt(text, SHOWN)))
            });
        }
        Ok(Token::Word(text.to_owned()))
    }

    fn number(&mut self) -> Result<Token, Mistake> {
        let place = self.place;
        let dotted = length(self.rest, |c| c.is_ascii_digit() || c == '.');
        let address = self.rest[..dotted].trim_end_matches('.');
        if address.matches('.').count() == 3
            && let Ok(parsed) = address.parse::<Ipv4Addr>()
        {
            self.take(address.len());
            return Ok(Token::Address(parsed));
        }
        let sign = usize::from(self.rest.starts_with('-'));
        let whole = sign + length(&self.rest[sign..], |c| c.is_ascii_digit());
        let fraction = match self.rest[whole..].strip_prefix('.') {
            Some(rest) => length(rest, |c| c.is_ascii_digit()),
            None => 0,
        };
        if fraction > 0 {
            return Ok(Token::Float(self.take(whole + 1 + fraction).to_owned()));
        }
        let text = self.take(whole).to_owned();
        // Digits that are no number may still be a cookie (`FO 00112233445566778899`).
        match text.parse() {
            Ok(n) => Ok(Token::Number(n, text)),
            Err(_) if text.len() <= 64 && sign == 0 => Ok(Token::Word(text)),
            Err(_) => {
                Err(Mistake::new(place, "a number of at most 64 bits", format!("{} digits", text.len())))
            }
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn length(text: &str, of: impl Fn(char) -> bool) -> usize {
    text.find(|c| !of(c)).unwrap_or(text.len())
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('0') => out.push('\0'),
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out
}
