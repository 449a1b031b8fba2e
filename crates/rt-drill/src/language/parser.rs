//! Words to tree: the script, its events and their times. Packets are in `packet`, calls in `call`, Python in `code`.

use std::collections::BTreeMap;

use super::ast::{Action, Direction, Event, Script, Setting, Shell, When};
use super::token::{Lexeme, Token, lex};
use super::{Mistake, Place, code};

/// More mistakes than this are not listed.
const MOST: usize = 100;

/// What the grammar's functions give.
pub(super) type Parsed<T> = Result<T, Mistake>;

pub(super) fn script(text: &str, defines: &[(String, String)]) -> Result<Script, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let lexemes = lex(text, &mut mistakes, MOST);
    let mut parser = Parser { lexemes, at: 0, defines: BTreeMap::new() };
    parser.defined(defines.iter().cloned());
    let mut script = Script::default();
    parser.options(&mut script);
    parser.define();
    if let Token::Shell(command) = &parser.peek().token {
        script.init = Some(Shell { place: parser.place(), command: command.clone() });
        parser.at += 1;
    }
    while parser.peek().token != Token::End && mistakes.len() < MOST {
        if let Token::Shell(command) = &parser.peek().token {
            // Without a time: the clean-up line, so it must be the last.
            script.cleanup = Some(Shell { place: parser.place(), command: command.clone() });
            parser.at += 1;
            if parser.peek().token != Token::End {
                mistakes.push(parser.unexpected("the end of the script after the clean-up line"));
                parser.skip_to_event();
            }
            continue;
        }
        match parser.event() {
            Ok(event) => script.events.push(event),
            Err(mistake) => {
                mistakes.push(mistake);
                parser.skip_to_event();
            }
        }
    }
    if mistakes.is_empty() && script.events.is_empty() {
        mistakes.push(parser.unexpected("an event, such as '0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3'"));
    }
    mistakes.extend(out_of_order(&script));
    mistakes.sort_by_key(|m| m.place);
    mistakes.truncate(MOST);
    if mistakes.is_empty() { Ok(script) } else { Err(mistakes) }
}

/// The first event is at 0, and absolute times do not go back.
fn out_of_order(script: &Script) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut before = None;
    for (i, event) in script.events.iter().enumerate() {
        let time = match event.when {
            When::At(t) | When::Between(t, _) => Some(t),
            When::After(t) if i == 0 => Some(t),
            _ => None,
        };
        if i == 0 && time != Some(0) {
            mistakes.push(Mistake::new(event.place, "the first event at time 0", "another time"));
        }
        if time.zip(before).is_some_and(|(time, before)| time < before) {
            mistakes.push(Mistake::new(event.place, "a time not before the event above", "an earlier one"));
        }
        before = time;
    }
    mistakes
}

pub(super) struct Parser {
    lexemes: Vec<Lexeme>,
    at: usize,
    /// What each defined word stands for; the first definition counts.
    defines: BTreeMap<String, String>,
}

impl Parser {
    pub(super) fn peek(&self) -> &Lexeme {
        &self.lexemes[self.at.min(self.lexemes.len() - 1)]
    }

    pub(super) fn peek_second(&self) -> &Token {
        &self.lexemes[(self.at + 1).min(self.lexemes.len() - 1)].token
    }

    pub(super) fn place(&self) -> Place {
        self.peek().place
    }

    pub(super) fn next(&mut self) -> Lexeme {
        let lexeme = self.peek().clone();
        self.at = (self.at + 1).min(self.lexemes.len() - 1);
        lexeme
    }

    pub(super) fn unexpected(&self, expected: &str) -> Mistake {
        Mistake::new(self.place(), expected, self.peek().token.say())
    }

    pub(super) fn is_sign(&self, sign: char) -> bool {
        self.peek().token == Token::Sign(sign)
    }

    pub(super) fn eat(&mut self, sign: char) -> bool {
        let there = self.is_sign(sign);
        self.at += usize::from(there);
        there
    }

    pub(super) fn need(&mut self, sign: char) -> Parsed<()> {
        if self.eat(sign) { Ok(()) } else { Err(self.unexpected(&format!("'{sign}'"))) }
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(&self.peek().token, Token::Word(w) if w == word)
    }

    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let there = self.is_word(word);
        self.at += usize::from(there);
        there
    }

    /// A number within `0..=most`; `what` names it.
    pub(super) fn number(&mut self, what: &str, most: u64) -> Parsed<u64> {
        let (Token::Number(n, _) | Token::Hex(n)) = self.peek().token else {
            return Err(self.unexpected(what));
        };
        let in_range = u64::try_from(n).ok().filter(|n| *n <= most);
        let Some(n) = in_range else {
            return Err(self.unexpected(&format!("{what} of at most {most}")));
        };
        self.at += 1;
        Ok(n)
    }

    pub(super) fn number16(&mut self, what: &str) -> Parsed<u16> {
        Ok(self.number(what, u64::from(u16::MAX))? as u16)
    }

    pub(super) fn number32(&mut self, what: &str) -> Parsed<u32> {
        Ok(self.number(what, u64::from(u32::MAX))? as u32)
    }

    fn defined(&mut self, pairs: impl IntoIterator<Item = (String, String)>) {
        for (name, value) in pairs {
            self.defines.entry(name).or_insert(value);
        }
    }

    fn options(&mut self, script: &mut Script) {
        while let Token::Option(name, value) = &self.peek().token {
            let (name, value) = (name.clone(), value.clone());
            if name == "define" {
                let pair = value.as_deref().and_then(|v| v.split_once('='));
                self.defined(pair.map(|(k, v)| (k.to_owned(), v.to_owned())));
            }
            script.options.push(Setting { place: self.place(), name, value });
            self.at += 1;
        }
    }

    /// Replaces defined words, once: what a definition says is not looked up again.
    fn define(&mut self) {
        if self.defines.is_empty() {
            return;
        }
        for lexeme in &mut self.lexemes[self.at..] {
            let Token::Word(word) = &lexeme.token else { continue };
            let Some(value) = self.defines.get(word) else { continue };
            let inside = |quote: char| value.strip_prefix(quote).and_then(|v| v.strip_suffix(quote));
            lexeme.token = match (inside('"'), inside('`'), value.parse()) {
                (Some(text), _, _) => Token::Text(text.to_owned()),
                (_, Some(command), _) => Token::Shell(command.to_owned()),
                (_, _, Ok(n)) => Token::Number(n, value.clone()),
                _ => Token::Word(value.clone()),
            };
        }
    }

    /// After a mistake: goes to the next line that begins as an event does.
    fn skip_to_event(&mut self) {
        self.at += usize::from(self.peek().first && self.peek().token != Token::End);
        loop {
            let Lexeme { token, first, .. } = self.peek();
            let begins = match token {
                Token::End => return,
                Token::Number(..) | Token::Float(_) | Token::Shell(_) => true,
                Token::Sign(c) => matches!(c, '+' | '*'),
                _ => false,
            };
            if begins && *first {
                return;
            }
            self.at += 1;
        }
    }

    fn event(&mut self) -> Parsed<Event> {
        let place = self.place();
        let when = self.when()?;
        let action = self.action()?;
        let last_line = self.lexemes[self.at.saturating_sub(1)].place.line;
        let out = matches!(&action, Action::Packet(p) if p.direction == Direction::Out);
        let wants_out = matches!(when, When::Any | When::Between(..) | When::AfterBetween(..));
        if wants_out && !out {
            return Err(Mistake::new(
                place,
                "a fixed time (ranges and '*' are for outbound packets)",
                "a range or '*'",
            ));
        }
        Ok(Event { place, last_line, when, action })
    }

    fn when(&mut self) -> Parsed<When> {
        if self.eat('*') {
            return Ok(When::Any);
        }
        let relative = self.eat('+');
        let place = self.place();
        let from = self.time("a time, such as 0.1, +0.1 or *")?;
        if !self.eat('~') {
            return Ok(if relative { When::After(from) } else { When::At(from) });
        }
        if relative {
            self.need('+')?;
        }
        let to = self.time("the end of a range")?;
        if to < from {
            return Err(Mistake::new(place, "a range that goes forward", "one that goes back"));
        }
        Ok(if relative { When::AfterBetween(from, to) } else { When::Between(from, to) })
    }

    /// A time in microseconds; digits after the sixth are cut off.
    pub(super) fn time(&mut self, what: &str) -> Parsed<u64> {
        let text = match &self.peek().token {
            Token::Number(_, text) | Token::Float(text) => text.clone(),
            _ => return Err(self.unexpected(what)),
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let fraction: String = fraction.chars().chain("000000".chars()).take(6).collect();
        let whole = if whole.is_empty() { Some(0) } else { whole.parse::<u64>().ok() };
        // A thousand years are enough.
        let Some(whole) = whole.filter(|w| *w < 32_000_000_000) else {
            return Err(self.unexpected("a time that is neither negative nor after a thousand years"));
        };
        self.at += 1;
        Ok(whole * 1_000_000 + fraction.parse::<u64>().unwrap_or(0))
    }

    fn action(&mut self) -> Parsed<Action> {
        match &self.peek().token {
            Token::Sign('<' | '>') => Ok(Action::Packet(self.packet()?)),
            Token::Shell(command) => {
                let shell = Shell { place: self.place(), command: command.clone() };
                self.at += 1;
                Ok(Action::Shell(shell))
            }
            Token::Code(text) => {
                let read = code::read(text, self.place());
                self.at += 1;
                Ok(Action::Code(read))
            }
            Token::Word(_) | Token::Ellipsis => Ok(Action::Call(self.call()?)),
            _ => Err(self.unexpected("'<' or '>' and a packet, a system call, a `shell line` or %{ code }%")),
        }
    }
}
