//! System calls: `bind(3, ..., ...) = 0`, with all the shapes of arguments.

use super::ast::{Expr, SystemCall};
use super::parser::{Parsed, Parser};
use super::token::Token;

/// Deepest nesting of arguments.
const DEEPEST: usize = 24;

impl Parser {
    pub(super) fn call(&mut self) -> Parsed<SystemCall> {
        let end = if self.peek().token == Token::Ellipsis {
            self.next();
            Some(self.time("the time at which the call returns")?)
        } else {
            None
        };
        let place = self.place();
        let Token::Word(name) = self.peek().token.clone() else {
            return Err(self.unexpected("the name of a system call"));
        };
        self.next();
        self.need('(')?;
        let arguments = self.list(')', 0)?;
        self.need('=')?;
        let result = self.expr(0)?;
        let errno = match self.peek().token.clone() {
            // An event never begins with a word, so one here is the error's name.
            Token::Word(word) => {
                self.next();
                Some(word)
            }
            _ => None,
        };
        self.note()?;
        Ok(SystemCall { place, end, name, arguments, result, errno })
    }

    /// `(what strace would say)`: kept by nobody.
    fn note(&mut self) -> Parsed<()> {
        if !self.eat('(') {
            return Ok(());
        }
        let mut depth = 1;
        while depth > 0 {
            match self.next().token {
                Token::Sign('(') => depth += 1,
                Token::Sign(')') => depth -= 1,
                Token::End => return Err(self.unexpected("')' after the note")),
                _ => {}
            }
        }
        Ok(())
    }

    /// Expressions with commas between, up to and with `close`.
    fn list(&mut self, close: char, depth: usize) -> Parsed<Vec<Expr>> {
        let mut list = Vec::new();
        if self.eat(close) {
            return Ok(list);
        }
        loop {
            list.push(self.expr(depth)?);
            if !self.eat(',') {
                self.need(close)?;
                return Ok(list);
            }
        }
    }

    fn expr(&mut self, depth: usize) -> Parsed<Expr> {
        if depth > DEEPEST {
            return Err(self.unexpected("arguments that are not nested so deeply"));
        }
        let first = self.term(depth)?;
        if !self.is_sign('|') {
            return Ok(first);
        }
        let mut alternatives = vec![first];
        while self.eat('|') {
            alternatives.push(self.term(depth)?);
        }
        Ok(Expr::Or(alternatives))
    }

    fn term(&mut self, depth: usize) -> Parsed<Expr> {
        let token = self.peek().token.clone();
        let expr = match token {
            Token::Ellipsis => Expr::Ellipsis,
            Token::Number(n, _) | Token::Hex(n) => Expr::Number(n),
            Token::Address(a) => Expr::Address(a),
            Token::Text(text) => return Ok(self.text(text)),
            Token::Word(word) => {
                self.next();
                return self.named(word, depth);
            }
            Token::Sign('[') => {
                self.next();
                return Ok(Expr::List(self.list(']', depth + 1)?));
            }
            Token::Sign('{') => {
                self.next();
                return Ok(Expr::Struct(self.list('}', depth + 1)?));
            }
            _ => return Err(self.unexpected("a number, a name, a string, '...', '[' or '{'")),
        };
        self.next();
        Ok(expr)
    }

    /// Strings in a row are one; dots after it change nothing.
    fn text(&mut self, first: String) -> Expr {
        self.next();
        let mut whole = first;
        while let Token::Text(more) = self.peek().token.clone() {
            whole.push_str(&more);
            self.next();
        }
        if self.peek().token == Token::Ellipsis {
            self.next();
        }
        Expr::Text(whole)
    }

    /// After a word: `name`, `name = value`, `name(arguments)` or `name(n) = value`.
    fn named(&mut self, word: String, depth: usize) -> Parsed<Expr> {
        if self.eat('(') {
            let arguments = self.list(')', depth + 1)?;
            if depth > 0 && self.eat('=') {
                return Ok(Expr::Field(word, Box::new(self.expr(depth + 1)?)));
            }
            return Ok(Expr::Apply(word, arguments));
        }
        // Fields are in braces: a `=` after a bare argument is a forgotten `)`.
        if depth > 0 && self.eat('=') {
            return Ok(Expr::Field(word, Box::new(self.expr(depth + 1)?)));
        }
        Ok(Expr::Word(word))
    }
}
