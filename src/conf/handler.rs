//! A script in the configuration, and the function it was compiled to.

use core::cell::Cell;
use std::ffi::CString;

use crate::ngx::{Cf, ConfError, Path};
use crate::phase::Phase;
use crate::vm::{Function, VmError};

const NO_CODE: &str = "invalid location config: no runnable Lua code";

/// Longest chunk name that Lua shows whole.
const CHUNK_NAME_MAX: usize = 59;

/// Where a script's text is.
pub enum Source {
    /// In the configuration; `name` is what error messages call it.
    Inline { code: Box<[u8]>, name: CString },
    /// In a file, whose path may have variables.
    File(Path),
}

/// A script of one phase.
pub struct Handler {
    pub phase: Phase,
    pub source: Source,
    /// The compiled function, once there is one that serves all requests.
    pub function: Cell<Option<Function>>,
}

impl Handler {
    /// A script written in the configuration, compiled at once so that a mistake fails the configuration test.
    pub fn inline(cf: &Cf, phase: Phase, code: Vec<u8>, line: usize) -> Result<Handler, ConfError> {
        if code.is_empty() {
            return Err(NO_CODE.into());
        }
        let name = chunk_name(phase, &cf.position().0, line);
        let main = cf.main_conf();
        let function =
            main.start_vm()?.load_script(&code, &name).map_err(|e| ConfError(not_loaded(phase, &e)))?;
        let source = Source::Inline { code: code.into(), name };
        Ok(Handler { phase, source, function: Cell::new(Some(function)) })
    }

    /// The directive as the user wrote it, for messages; both inline forms count as one.
    pub fn directive(&self) -> String {
        match self.source {
            Source::Inline { .. } => self.phase.to_string(),
            Source::File(_) => format!("{}_file", self.phase),
        }
    }

    /// A script in a file, read on its first use.
    pub fn file(cf: &mut Cf, phase: Phase, word: usize) -> Result<Handler, ConfError> {
        if cf.arg(word).is_empty() {
            return Err(NO_CODE.into());
        }
        cf.main_conf().start_vm()?;
        Ok(Handler { phase, source: Source::File(cf.path(word)?), function: Cell::new(None) })
    }
}

/// What is said of code that does not compile.
fn not_loaded(phase: Phase, why: &VmError) -> String {
    match phase {
        Phase::Init | Phase::InitWorker | Phase::ExitWorker => format!("{phase} error: {why}"),
        _ => format!("failed to load inlined Lua code: {why}"),
    }
}

/// `=content_by_lua(nginx.conf:42)`, with the front of a long file name cut off so that the line stays readable.
fn chunk_name(phase: Phase, file: &str, line: usize) -> CString {
    let (head, tail) = (format!("{phase}("), format!(":{line})"));
    let room = CHUNK_NAME_MAX.saturating_sub(head.len() + tail.len());
    let file = if file.len() > room {
        let mut from = file.len() - room.saturating_sub(3);
        while !file.is_char_boundary(from) {
            from += 1;
        }
        format!("...{}", &file[from..])
    } else {
        file.to_owned()
    };
    let name = format!("={head}{file}{tail}").replace('\0', "?");
    CString::new(name).unwrap_or_default()
}
