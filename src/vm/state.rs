//! The LuaJIT state.

use core::cell::{Cell, RefCell};
use core::ffi::{c_int, c_void, CStr};
use std::collections::HashMap;

use mlua::ffi::{self, lua_State};

use super::coroutine::{message_at_top, Coroutine};
use super::Stack;

/// How many finished coroutines are kept unless `lua_thread_cache_max_entries` says otherwise.
const MAX_IDLE: usize = 1024;

/// A compiled function, anchored for the life of its VM.
#[derive(Clone, Copy, Debug)]
pub struct Function(c_int);

impl Function {
    pub(super) fn anchor(self) -> c_int {
        self.0
    }
}

/// Why Lua refused: a message, with a traceback where there is one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct VmError(pub String);

/// Why a script file gives no function; the text is what is logged behind the file's name.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot open {path}: {}", reason(cause))]
    Unreadable { path: String, cause: std::io::Error },
    #[error("{0}")]
    Invalid(String),
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// The system's words alone: the standard library adds the number.
fn reason(cause: &std::io::Error) -> String {
    let text = cause.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// One Lua world: globals, loaded modules, compiled scripts.
pub struct Vm {
    l: *mut lua_State,
    pub(super) idle: RefCell<Vec<Coroutine>>,
    pub(super) max_idle: Cell<usize>,
    /// The prelude's table of `ngx.ctx` tables.
    pub(super) ctx_slots: Cell<Option<Function>>,
    /// Where the prelude notes the tracebacks of coroutines that `coroutine.wrap` made.
    pub(super) wrapped: Cell<Option<Function>>,
    /// Script files that were loaded, by path.
    files: RefCell<HashMap<Box<[u8]>, Function>>,
    /// The message handler of protected calls.
    traceback: Function,
}

impl Vm {
    /// A state with the standard libraries; [`Vm::prepare`] makes it useful.
    pub fn new() -> Result<Vm, VmError> {
        // SAFETY: a fresh state; its libraries open on an empty stack.
        unsafe {
            let l = ffi::luaL_newstate();
            if l.is_null() {
                return Err(VmError("out of memory".into()));
            }
            ffi::luaL_openlibs(l);
            ffi::lua_pushcfunction(l, add_traceback);
            let traceback = Function(ffi::luaL_ref(l, ffi::LUA_REGISTRYINDEX));
            Ok(Vm {
                l,
                idle: RefCell::default(),
                max_idle: Cell::new(MAX_IDLE),
                ctx_slots: Cell::new(None),
                wrapped: Cell::new(None),
                files: RefCell::default(),
                traceback,
            })
        }
    }

    pub(crate) fn raw(&self) -> *mut lua_State {
        self.l
    }

    /// Compiles `code`; `name` is what messages call it (`=…` for as it stands, `@…` for a file).
    pub fn load(&self, code: &[u8], name: &CStr) -> Result<Function, VmError> {
        // SAFETY: the state is live; whatever is pushed is popped again.
        unsafe {
            let rc = ffi::luaL_loadbufferx(
                self.l,
                code.as_ptr().cast(),
                code.len(),
                name.as_ptr(),
                core::ptr::null(),
            );
            if rc != ffi::LUA_OK {
                let message = message_at_top(self.l);
                ffi::lua_pop(self.l, 1);
                return Err(VmError(message));
            }
            Ok(self.anchor())
        }
    }

    /// Compiles the script `code` to a function without arguments.
    ///
    /// A Lua chunk takes `...`, and LuaJIT never starts a trace at a vararg function: as it stands, a script without a
    /// loop would stay interpreted for ever. A script that does not use its `...` is made one that takes none.
    pub fn load_script(&self, code: &[u8], name: &CStr) -> Result<Function, VmError> {
        const BYTECODE: &[u8] = b"\x1bLJ";
        let chunk = self.load(code, name)?;
        if code.starts_with(BYTECODE) || self.uses_varargs(code, name) {
            return Ok(chunk);
        }
        let mut dump = Vec::new();
        // SAFETY: the chunk is anchored; the writer only appends to `dump`.
        let rc = unsafe {
            ffi::lua_rawgeti(self.l, ffi::LUA_REGISTRYINDEX, chunk.0.into());
            let rc = lua_dump(self.l, append, (&raw mut dump).cast());
            ffi::lua_pop(self.l, 1);
            rc
        };
        if rc != 0 || logic::bytecode::fix_arguments(&mut dump).is_none() {
            return Ok(chunk);
        }
        let fixed = self.load(&dump, name)?;
        self.forget(chunk);
        Ok(fixed)
    }

    /// Whether the chunk refers to its `...`: then it does not compile as the body of a function that has none.
    fn uses_varargs(&self, code: &[u8], name: &CStr) -> bool {
        match self.load(&[b"return function() ", code, b"\nend"].concat(), name) {
            Ok(probe) => {
                self.forget(probe);
                false
            }
            Err(_) => true,
        }
    }

    /// Leaves a function to the collector.
    fn forget(&self, function: Function) {
        // SAFETY: the anchor is this function's alone.
        unsafe { ffi::luaL_unref(self.l, ffi::LUA_REGISTRYINDEX, function.0) }
    }

    /// Anchors the value on top of the main stack, and pops it.
    pub(super) fn anchor(&self) -> Function {
        // SAFETY: the caller has pushed a value.
        Function(unsafe { ffi::luaL_ref(self.l, ffi::LUA_REGISTRYINDEX) })
    }

    /// The function of script file `path`, which is read on first use; `fresh` reads it anew each time.
    pub fn file(&self, path: &[u8], fresh: bool) -> Result<Function, FileError> {
        use std::os::unix::ffi::OsStrExt;
        if let Some(f) = self.files.borrow().get(path).filter(|_| !fresh) {
            return Ok(*f);
        }
        let unreadable = |cause| FileError::Unreadable { path: shown(path), cause };
        let code = std::fs::read(std::ffi::OsStr::from_bytes(path)).map_err(unreadable)?;
        let mut name = Vec::with_capacity(path.len() + 2);
        name.push(b'@');
        name.extend_from_slice(path);
        let name = std::ffi::CString::new(name).map_err(|e| unreadable(e.into()))?;
        // a first line that starts with # is for the shell
        let code = match code.first() {
            Some(b'#') => &code[code.iter().position(|c| *c == b'\n').unwrap_or(code.len())..],
            _ => &code[..],
        };
        let function = self.load_script(code, &name).map_err(|e| FileError::Invalid(e.0))?;
        if !fresh {
            self.files.borrow_mut().insert(path.into(), function);
        }
        Ok(function)
    }

    /// A full collection: for the time before workers are forked.
    pub fn collect_garbage(&self) {
        // SAFETY: the state is live and at rest.
        unsafe { ffi::lua_gc(self.l, ffi::LUA_GCCOLLECT, 0) };
    }

    /// Calls `function` on the main stack; `push` leaves its arguments there and `take` reads its `results` values.
    ///
    /// For the phases that cannot wait: a yield inside is an error.
    pub fn call<T>(
        &self,
        function: Function,
        results: c_int,
        push: impl FnOnce(&mut Stack<'_>) -> c_int,
        take: impl FnOnce(&Stack<'_>) -> T,
    ) -> Result<T, VmError> {
        // SAFETY: the state is live, and what is pushed here is popped here.
        unsafe {
            let base = ffi::lua_gettop(self.l);
            ffi::lua_rawgeti(self.l, ffi::LUA_REGISTRYINDEX, self.traceback.0.into());
            ffi::lua_rawgeti(self.l, ffi::LUA_REGISTRYINDEX, function.0.into());
            let mut stack = Stack::new(self.l);
            let args = push(&mut stack);
            let rc = ffi::lua_pcall(self.l, args, results, base + 1);
            let out = if rc == ffi::LUA_OK { Ok(take(&stack)) } else { Err(VmError(message_at_top(self.l))) };
            ffi::lua_settop(self.l, base);
            out
        }
    }

    /// Gives the `ngx.ctx` table in `slot` up, and the slot back.
    pub fn release_ctx(&self, slot: i32) {
        let Some(slots) = self.ctx_slots.get() else { return };
        // SAFETY: raw accesses to the prelude's table: index 0 is the head of the list of free slots.
        unsafe {
            ffi::lua_rawgeti(self.l, ffi::LUA_REGISTRYINDEX, slots.0.into());
            ffi::lua_rawgeti(self.l, -1, 0);
            ffi::lua_rawseti(self.l, -2, slot.into());
            ffi::lua_pushinteger(self.l, slot.into());
            ffi::lua_rawseti(self.l, -2, 0);
            ffi::lua_pop(self.l, 1);
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // SAFETY: nothing runs on the state, and nobody else owns it.
        unsafe { ffi::lua_close(self.l) }
    }
}

extern "C-unwind" {
    /// LuaJIT's own takes three arguments; mlua's declares a fourth.
    fn lua_dump(l: *mut lua_State, writer: Writer, data: *mut c_void) -> c_int;
}

type Writer = unsafe extern "C-unwind" fn(*mut lua_State, *const c_void, usize, *mut c_void) -> c_int;

/// Takes a piece of bytecode.
unsafe extern "C-unwind" fn append(
    _: *mut lua_State,
    piece: *const c_void,
    len: usize,
    data: *mut c_void,
) -> c_int {
    // SAFETY: `data` is the vector of the call that passed this function on; Lua lends the piece.
    unsafe {
        (*data.cast::<Vec<u8>>()).extend_from_slice(core::slice::from_raw_parts(piece.cast(), len));
    }
    0
}

/// Adds a traceback to the error being raised.
unsafe extern "C-unwind" fn add_traceback(l: *mut lua_State) -> c_int {
    extern "C-unwind" {
        fn luaL_traceback(
            l: *mut lua_State,
            of: *mut lua_State,
            message: *const core::ffi::c_char,
            level: c_int,
        );
    }
    // SAFETY: Lua calls message handlers with the error value alone on the stack.
    unsafe {
        let message = ffi::lua_tostring(l, 1);
        if !message.is_null() {
            luaL_traceback(l, l, message, 1);
        }
    }
    1
}
