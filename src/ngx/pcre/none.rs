//! No PCRE in this nginx: nothing compiles. The prelude says so before it gets here.

use std::rc::Rc;

use super::{BadPattern, Limits, Mode, Names, ReOpts};

/// A compiled pattern, which there cannot be.
pub enum Code {}

/// Where nothing matches.
#[derive(Default)]
pub struct Workplace;

impl Code {
    pub fn work_at(&mut self, _: Rc<Workplace>) {
        match *self {}
    }

    pub fn compile(_: &[u8], _: &ReOpts) -> Result<Code, BadPattern> {
        Err(BadPattern { message: "nginx was built without PCRE".into(), offset: 0 })
    }

    pub fn prepare(&mut self, _: bool, _: Limits) -> bool {
        match *self {}
    }

    pub fn captures(&self) -> usize {
        match *self {}
    }

    pub fn names(&self) -> Names<'_> {
        match *self {}
    }

    pub fn exec(&self, _: &[u8], _: usize, _: Mode, _: bool, _: &mut [i32]) -> i32 {
        match *self {}
    }
}

pub fn free_buffers() {}

pub fn allocate(_: Limits) -> bool {
    false
}
