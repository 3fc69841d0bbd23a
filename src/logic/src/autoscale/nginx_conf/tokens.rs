//! Words and what ends them.

use crate::lua_lex::{Feed, LuaBlock};

/// What ends a list of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Semicolon,
    Open,
    Close,
    File,
}

/// Reads a text statement by statement.
pub(super) struct Tokens<'a> {
    text: &'a str,
    at: usize,
    pub line: usize,
}

/// The words up to an end, and the line of the first.
pub(super) struct Words {
    pub words: Vec<String>,
    pub line: usize,
    pub end: End,
}

impl<'a> Tokens<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text: text.strip_prefix('\u{feff}').unwrap_or(text), at: 0, line: 1 }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        self.line += usize::from(c == '\n');
        Some(c)
    }

    /// The next words, and what ended them.
    pub fn words(&mut self) -> Result<Words, String> {
        let mut words = Vec::new();
        let mut line = self.line;
        loop {
            while self.peek().is_some_and(|c| matches!(c, ' ' | '\t' | '\r' | '\n')) {
                self.bump();
            }
            if words.is_empty() {
                line = self.line;
            }
            let end = match self.peek() {
                None => End::File,
                Some(';') => End::Semicolon,
                Some('{') => End::Open,
                Some('}') => End::Close,
                Some('#') => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.bump();
                    }
                    continue;
                }
                Some(quote @ ('"' | '\'')) => {
                    words.push(self.quoted(quote)?);
                    continue;
                }
                Some(_) => {
                    words.push(self.bare());
                    continue;
                }
            };
            self.bump();
            return Ok(Words { words, line, end });
        }
    }

    /// A word up to a blank, `;` or `{`; `${` is a variable's, not a block's.
    fn bare(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' => break,
                '{' if !word.ends_with('$') => break,
                '\\' => self.escaped(&mut word),
                _ => word.extend(self.bump()),
            }
        }
        word
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let opened = self.line;
        self.bump();
        let mut word = String::new();
        loop {
            match self.peek() {
                None => return Err(format!("the {quote} of line {opened} is not closed")),
                Some('\\') => self.escaped(&mut word),
                Some(c) if c == quote => break,
                Some(_) => word.extend(self.bump()),
            }
        }
        self.bump();
        match self.peek() {
            None | Some(' ' | '\t' | '\r' | '\n' | ';' | '{' | ')') => Ok(word),
            Some(c) => Err(format!("unexpected \"{c}\" after a closing {quote}")),
        }
    }

    /// `\"`, `\'` and `\\` lose their backslash, `\t`, `\r`, `\n` are what C makes of them, all else keeps both characters.
    fn escaped(&mut self, word: &mut String) {
        self.bump();
        match self.bump() {
            Some(c @ ('"' | '\'' | '\\')) => word.push(c),
            Some('t') => word.push('\t'),
            Some('r') => word.push('\r'),
            Some('n') => word.push('\n'),
            Some(c) => word.extend(['\\', c]),
            None => word.push('\\'),
        }
    }

    /// The code of a Lua block whose brace was just read.
    pub fn lua(&mut self) -> Result<String, String> {
        let mut lexer = LuaBlock::new(self.line);
        let rest = &self.text[self.at..];
        match lexer.feed(rest.as_bytes()) {
            Ok(Feed::Done { consumed }) => {
                let code = rest[..consumed - 1].to_string();
                self.at += consumed;
                self.line = lexer.line();
                Ok(code)
            }
            Ok(Feed::More) => Err(lexer.finish().to_string()),
            Err(e) => Err(e.to_string()),
        }
    }
}
