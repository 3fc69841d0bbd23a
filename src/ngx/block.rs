//! Reads the body of a block straight from the parser's buffer: Lua is not nginx syntax, and the lines of a policy are not directives.

use core::cell::RefCell;

use ::ngx::ffi;

use super::conf::{Cf, ConfError};
use logic::autoscale::nginx_conf::RawBlock;
use logic::lua_lex::{Feed, LuaBlock};

impl Cf {
    /// The Lua text up to the block's closing brace, which is consumed.
    pub fn lua_block(&mut self) -> Result<Vec<u8>, ConfError> {
        let reader = RefCell::new(LuaBlock::new(self.position().1));
        self.block(|chunk| Ok(reader.borrow_mut().feed(chunk)?), || reader.borrow().finish().into())
    }

    /// The text up to the closing brace of a block of statements, which is consumed.
    pub fn raw_block(&mut self) -> Result<Vec<u8>, ConfError> {
        let reader = RefCell::new(RawBlock::new(self.position().1));
        self.block(|chunk| Ok(reader.borrow_mut().feed(chunk)?), || reader.borrow().finish().into())
    }

    fn block(
        &mut self,
        feed: impl Fn(&[u8]) -> Result<Feed, ConfError>,
        unfinished: impl Fn() -> ConfError,
    ) -> Result<Vec<u8>, ConfError> {
        let mut text = Vec::new();
        loop {
            let chunk = self.unread();
            if chunk.is_empty() {
                if !self.refill()? {
                    return Err(unfinished());
                }
                continue;
            }
            match feed(chunk)? {
                Feed::More => {
                    text.extend_from_slice(chunk);
                    let n = chunk.len();
                    self.consume(n);
                }
                Feed::Done { consumed } => {
                    text.extend_from_slice(&chunk[..consumed - 1]);
                    self.consume(consumed);
                    return Ok(text);
                }
            }
        }
    }

    /// What the parser has read from the file and not yet looked at.
    fn unread(&self) -> &[u8] {
        // SAFETY: `pos..last` of the parser's buffer is what it has read and not parsed.
        unsafe {
            let b = (*(*self.raw()).conf_file).buffer;
            core::slice::from_raw_parts((*b).pos, (*b).last.offset_from_unsigned((*b).pos))
        }
    }

    fn consume(&mut self, n: usize) {
        let lines = self.unread()[..n].iter().filter(|c| **c == b'\n').count();
        // SAFETY: `n` is at most the length of `unread`.
        unsafe {
            let file = (*self.raw()).conf_file;
            (*(*file).buffer).pos = (*(*file).buffer).pos.add(n);
            (*file).line += lines;
        }
    }

    /// Reads the next part of the file into the parser's buffer; `false` at its end.
    fn refill(&mut self) -> Result<bool, ConfError> {
        // SAFETY: the buffer and the open file belong to the parser that called us; everything in it was consumed.
        unsafe {
            let conf = (*self.raw()).conf_file;
            let (b, file) = ((*conf).buffer, &raw mut (*conf).file);
            if (*file).fd == -1 {
                return Ok(false);
            }
            let room = (*b).end.offset_from_unsigned((*b).start);
            let left = usize::try_from((*file).info.st_size - (*file).offset).unwrap_or(0);
            if left == 0 {
                return Ok(false);
            }
            let n = ffi::ngx_read_file(file, (*b).start, room.min(left), (*file).offset);
            let n = usize::try_from(n).map_err(|_| "cannot read the configuration file")?;
            (*b).pos = (*b).start;
            (*b).last = (*b).start.add(n);
            Ok(n > 0)
        }
    }
}
