//! Statements and their blocks.

use super::tokens::{End, Tokens, Words};
use super::FileError;
use std::rc::Rc;

/// How deep blocks and includes may nest.
const DEEPEST: usize = 64;

/// Where the text of included files comes from: the files that a pattern means, in their order, by name and text.
pub trait Files {
    fn open(&self, pattern: &str) -> Result<Vec<(String, String)>, String>;
}

/// A directive.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    pub words: Vec<String>,
    pub file: Rc<str>,
    pub line: usize,
    pub block: Option<Block>,
}

/// What stands between braces.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    Statements(Vec<Statement>),
    Lua(String),
}

impl Statement {
    pub fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The words after the name.
    pub fn args(&self) -> Vec<&str> {
        self.words.iter().skip(1).map(String::as_str).collect()
    }

    pub fn statements(&self) -> &[Statement] {
        match &self.block {
            Some(Block::Statements(list)) => list,
            _ => &[],
        }
    }

    pub(super) fn error(&self, what: impl ToString) -> FileError {
        FileError { file: self.file.to_string(), line: self.line, what: what.to_string() }
    }
}

/// The statements of a file and of those it includes.
pub fn parse(file: &str, text: &str, files: &dyn Files) -> Result<Vec<Statement>, FileError> {
    Reader { file: file.into(), tokens: Tokens::new(text), files }.statements(0, false)
}

struct Reader<'a> {
    file: Rc<str>,
    tokens: Tokens<'a>,
    files: &'a dyn Files,
}

impl Reader<'_> {
    fn statements(&mut self, depth: usize, inside: bool) -> Result<Vec<Statement>, FileError> {
        let mut list = Vec::new();
        loop {
            let Words { words, line, end } =
                self.tokens.words().map_err(|what| self.error(self.tokens.line, what))?;
            let name = words.first().cloned().unwrap_or_default();
            let block = match end {
                End::File if !words.is_empty() => {
                    return Err(self.error(line, format!("\"{name}\" is not ended by \";\"")))
                }
                End::Close if !words.is_empty() => {
                    return Err(self.error(line, format!("\"{name}\" is not ended by \";\"")))
                }
                End::File if inside => return Err(self.error(line, "a block is not closed by \"}\"".into())),
                End::Close if !inside => return Err(self.error(line, "unexpected \"}\"".into())),
                End::File | End::Close => return Ok(list),
                _ if words.is_empty() => return Err(self.error(line, "a directive without a name".into())),
                End::Semicolon => None,
                End::Open if name.ends_with("by_lua_block") => {
                    Some(Block::Lua(self.tokens.lua().map_err(|what| self.error(line, what))?))
                }
                End::Open if depth >= DEEPEST => return Err(self.error(line, "blocks nest too deep".into())),
                End::Open => Some(Block::Statements(self.statements(depth + 1, true)?)),
            };
            let statement = Statement { words, file: Rc::clone(&self.file), line, block };
            match (&statement.block, &statement.words[..]) {
                (None, [name, pattern]) if name == "include" => {
                    self.include(&statement, pattern, depth, &mut list)?
                }
                _ => list.push(statement),
            }
        }
    }

    fn include(
        &self,
        statement: &Statement,
        pattern: &str,
        depth: usize,
        list: &mut Vec<Statement>,
    ) -> Result<(), FileError> {
        if depth >= DEEPEST {
            return Err(statement.error("files include each other"));
        }
        for (file, text) in self.files.open(pattern).map_err(|why| statement.error(why))? {
            let mut reader = Reader { file: file.into(), tokens: Tokens::new(&text), files: self.files };
            // an include costs a step of depth, so that a circle ends
            list.extend(reader.statements(depth + 1, false)?);
        }
        Ok(())
    }

    fn error(&self, line: usize, what: String) -> FileError {
        FileError { file: self.file.to_string(), line, what }
    }
}
