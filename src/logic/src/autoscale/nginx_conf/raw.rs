//! Where a block ends, found while its text still arrives: nginx hands over the text of its file piece by piece.

use crate::lua_lex::{Feed, LuaBlock};

/// Reads the text of a block whose opening brace is behind it. What stands in it is for [`super::parse`] to say.
pub struct RawBlock {
    state: State,
    /// Blocks within the block.
    depth: usize,
    line: usize,
    /// The first word of the statement, for Lua blocks.
    name: Vec<u8>,
    /// Whether the first word of the statement is complete.
    named: bool,
    opened: usize,
}

enum State {
    /// Between words.
    Between,
    Word {
        escaped: bool,
        dollar: bool,
    },
    Quoted {
        quote: u8,
        escaped: bool,
    },
    Comment,
    Lua(LuaBlock),
}

impl RawBlock {
    /// `line` is that of the opening brace.
    pub fn new(line: usize) -> Self {
        Self { state: State::Between, depth: 0, line, name: Vec::new(), named: false, opened: line }
    }

    /// Takes the next piece of text.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Feed, String> {
        let mut at = 0;
        while at < chunk.len() {
            if let State::Lua(lua) = &mut self.state {
                match lua.feed(&chunk[at..]).map_err(|e| e.to_string())? {
                    Feed::More => return Ok(Feed::More),
                    Feed::Done { consumed } => {
                        self.line = lua.line();
                        at += consumed;
                        self.statement();
                        continue;
                    }
                }
            }
            let byte = chunk[at];
            at += 1;
            self.line += usize::from(byte == b'\n');
            if self.step(byte) {
                return Ok(Feed::Done { consumed: at });
            }
        }
        Ok(Feed::More)
    }

    /// What to say when the text ends before the block does.
    pub fn finish(&self) -> String {
        match &self.state {
            State::Lua(lua) => lua.finish().to_string(),
            _ => format!("the block that begins in line {} is not closed by \"}}\"", self.opened),
        }
    }

    /// Takes a byte; true when it closes the block.
    fn step(&mut self, byte: u8) -> bool {
        match &mut self.state {
            State::Quoted { escaped: escaped @ true, .. } | State::Word { escaped: escaped @ true, .. } => {
                *escaped = false;
            }
            State::Quoted { escaped, .. } if byte == b'\\' => *escaped = true,
            State::Quoted { quote, .. } if byte == *quote => self.word_ends(),
            State::Comment if byte == b'\n' => self.state = State::Between,
            State::Quoted { .. } | State::Comment | State::Lua(_) => {}
            State::Word { escaped, .. } if byte == b'\\' => *escaped = true,
            State::Word { dollar: true, .. } if byte == b'{' => self.keep(byte),
            State::Word { .. } => match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.word_ends(),
                b';' => self.statement(),
                b'{' => self.open(),
                _ => self.keep(byte),
            },
            State::Between => match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {}
                b';' => self.statement(),
                b'#' => self.state = State::Comment,
                b'{' => self.open(),
                b'}' if self.depth == 0 => return true,
                b'}' => {
                    self.depth -= 1;
                    self.statement();
                }
                b'"' | b'\'' => self.state = State::Quoted { quote: byte, escaped: false },
                _ => {
                    self.state = State::Word { escaped: byte == b'\\', dollar: false };
                    self.keep(byte);
                }
            },
        }
        false
    }

    /// Keeps a byte of a word.
    fn keep(&mut self, byte: u8) {
        if !self.named && self.name.len() < 64 {
            self.name.push(byte);
        }
        if let State::Word { dollar, .. } = &mut self.state {
            *dollar = byte == b'$';
        }
    }

    fn word_ends(&mut self) {
        self.named = true;
        self.state = State::Between;
    }

    fn statement(&mut self) {
        (self.named, self.state) = (false, State::Between);
        self.name.clear();
    }

    fn open(&mut self) {
        if self.name.ends_with(b"by_lua_block") {
            self.state = State::Lua(LuaBlock::new(self.line));
        } else {
            self.depth += 1;
            self.statement();
        }
    }
}
