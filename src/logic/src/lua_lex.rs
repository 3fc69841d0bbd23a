//! Finds the brace that closes a `*_by_lua_block { … }`.
//!
//! Such a body is not nginx syntax: a quote, a `;` or a `}` in it means what Lua says it means. nginx reads its
//! configuration through a small buffer, so the body arrives in chunks cut anywhere. The reader keeps a state of a few
//! words and never looks back, which lets a body be of any length. Only what can hide a brace is understood: short
//! strings, long brackets and comments (Lua 5.1 reference manual, section 2.1, and LuaJIT's `\z`); whether the rest is
//! good Lua is for the Lua compiler to say.

use memchr::{memchr, memchr2, memchr3, memchr_iter};

/// What a chunk led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// The whole chunk belongs to the body; the next one is wanted.
    More,
    /// The block ended inside the chunk: `consumed` bytes of it were taken, the last of which is the closing brace.
    Done { consumed: usize },
}

/// Why a block has no end. Lines are those of the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LexError {
    /// A quoted string met the end of its line, or of the file.
    #[error("unfinished string in Lua code block, it starts with {} at line {line}", *quote as char)]
    String { quote: u8, line: usize },
    /// The file ended inside a long string or long comment.
    #[error(
        "Lua code block missing the closing long bracket \"]{:=<1$}]\" of the {2} that starts at line {line}",
        "", *level as usize, if *comment { "comment" } else { "string" }
    )]
    LongBracket { level: u32, comment: bool, line: usize },
    /// The file ended before the closing brace.
    #[error("unexpected end of file, expecting \"}}\" to end the Lua code block that starts at line {line}")]
    Block { line: usize },
}

/// Reads one block, from the byte after its opening brace.
#[derive(Clone, Debug)]
pub struct LuaBlock {
    state: State,
    /// Open braces, the block's own among them.
    depth: usize,
    line: usize,
    start: usize,
    /// Where the string or long bracket being read was opened.
    opened: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Code,
    /// `-`
    Dash,
    /// `[` and so many `=`; in a comment if `--` came right before.
    Open {
        level: u32,
        comment: bool,
    },
    /// `--`
    Comment,
    LineComment,
    Short(u8),
    /// `\` in a short string.
    Escape(u8),
    /// `\` and a line end; its other half may follow.
    EscapedEol {
        quote: u8,
        first: u8,
    },
    /// `\z`: blanks are skipped, line ends too.
    Blanks(u8),
    Long {
        level: u32,
        comment: bool,
    },
    /// In a long bracket: `]` and so many `=`.
    Close {
        level: u32,
        comment: bool,
        seen: u32,
    },
    Done,
    Failed(LexError),
}

impl LuaBlock {
    /// `line` is the configuration line of the opening brace.
    pub fn new(line: usize) -> Self {
        Self { state: State::Code, depth: 1, line, start: line, opened: line }
    }

    /// The line reached: that of the next byte, or of the closing brace once it was found.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Takes the next chunk. After `Done` nothing more is consumed; an error is final and repeats.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Feed, LexError> {
        let mut at = 0;
        let mut counted = 0;
        while at < chunk.len() {
            match self.state {
                State::Done => break,
                State::Failed(error) => return Err(error),
                _ => {}
            }
            // a token's first byte: lines up to here, for what may open
            if self.state == State::Code {
                at += chunk[at..].iter().position(|&b| IS_TOKEN[b as usize]).unwrap_or(chunk.len() - at);
                self.line += newlines(&chunk[counted..at]);
                counted = at;
            }
            if let Some(rest) = chunk.get(at..).filter(|rest| !rest.is_empty()) {
                at += self.step(rest);
            }
        }
        self.line += newlines(&chunk[counted..at]);
        match self.state {
            State::Done => Ok(Feed::Done { consumed: at }),
            State::Failed(error) => Err(error),
            _ => Ok(Feed::More),
        }
    }

    /// The error to report when the file has no more chunks.
    pub fn finish(&self) -> LexError {
        match self.state {
            State::Failed(error) => error,
            State::Long { level, comment } | State::Close { level, comment, .. } => {
                LexError::LongBracket { level, comment, line: self.opened }
            }
            State::Short(quote)
            | State::Escape(quote)
            | State::Blanks(quote)
            | State::EscapedEol { quote, .. } => LexError::String { quote, line: self.opened },
            _ => LexError::Block { line: self.start },
        }
    }

    /// Advances over at least one byte, or changes state so that the next call does. `rest` is not empty.
    fn step(&mut self, rest: &[u8]) -> usize {
        let byte = rest[0];
        let (state, taken) = match self.state {
            State::Code => (self.code(byte), 1),
            State::Dash if byte == b'-' => (State::Comment, 1),
            State::Dash => (State::Code, 0),
            State::Comment if byte == b'[' => (State::Open { level: 0, comment: true }, 1),
            State::Comment => (State::LineComment, 0),
            State::Open { level, comment } => match byte {
                b'=' => (State::Open { level: level.saturating_add(1), comment }, 1),
                b'[' => (State::Long { level, comment }, 1),
                _ if comment => (State::LineComment, 0),
                _ => (State::Code, 0),
            },
            State::LineComment => match memchr2(b'\n', b'\r', rest) {
                Some(eol) => (State::Code, eol),
                None => (State::LineComment, rest.len()),
            },
            State::Short(quote) => self.short(quote, rest),
            State::Escape(quote) => match byte {
                b'\n' | b'\r' => (State::EscapedEol { quote, first: byte }, 1),
                b'z' => (State::Blanks(quote), 1),
                _ => (State::Short(quote), 1),
            },
            State::EscapedEol { quote, first } => {
                let pair = matches!(byte, b'\n' | b'\r') && byte != first;
                (State::Short(quote), usize::from(pair))
            }
            State::Blanks(quote) => match rest.iter().position(|b| !b.is_ascii_whitespace() && *b != 0x0b) {
                Some(end) => (State::Short(quote), end),
                None => (State::Blanks(quote), rest.len()),
            },
            State::Long { level, comment } => match memchr(b']', rest) {
                Some(i) => (State::Close { level, comment, seen: 0 }, i + 1),
                None => (State::Long { level, comment }, rest.len()),
            },
            State::Close { level, comment, seen } => match byte {
                b'=' if seen < level => (State::Close { level, comment, seen: seen + 1 }, 1),
                b']' if seen == level => (State::Code, 1),
                _ => (State::Long { level, comment }, 0),
            },
            state @ (State::Done | State::Failed(_)) => (state, rest.len()),
        };
        self.state = state;
        taken
    }

    fn code(&mut self, byte: u8) -> State {
        match byte {
            b'{' => self.depth += 1,
            b'}' => {
                self.depth -= 1;
                if self.depth == 0 {
                    return State::Done;
                }
            }
            b'-' => {
                self.opened = self.line;
                return State::Dash;
            }
            b'[' => {
                self.opened = self.line;
                return State::Open { level: 0, comment: false };
            }
            b'"' | b'\'' => {
                self.opened = self.line;
                return State::Short(byte);
            }
            _ => {}
        }
        State::Code
    }

    fn short(&self, quote: u8, rest: &[u8]) -> (State, usize) {
        // three needles at once, and the rarest, a lone CR, in what they leave
        let stop = memchr3(quote, b'\\', b'\n', rest).unwrap_or(rest.len());
        let unfinished = State::Failed(LexError::String { quote, line: self.opened });
        if memchr(b'\r', &rest[..stop]).is_some() {
            return (unfinished, stop);
        }
        match rest.get(stop) {
            None => (State::Short(quote), stop),
            Some(b'\\') => (State::Escape(quote), stop + 1),
            Some(b'\n') => (unfinished, stop),
            Some(_) => (State::Code, stop + 1),
        }
    }
}

/// The bytes that may begin something in plain code.
const IS_TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let tokens = b"{}\"'[-";
    let mut i = 0;
    while i < tokens.len() {
        table[tokens[i] as usize] = true;
        i += 1;
    }
    table
};

/// nginx counts line feeds, so a lone CR does not make a line here either.
fn newlines(bytes: &[u8]) -> usize {
    memchr_iter(b'\n', bytes).count()
}

#[cfg(test)]
mod tests;
