//! What a directive sees of nginx's configuration parser.

use core::ptr::{self, NonNull};

use ::ngx::ffi::{self, ngx_conf_t, ngx_http_complex_value_t, ngx_str_t};

use super::log::Level;
use super::module;
use super::request::Request;
use super::text::{bytes, to_pool};
use crate::conf::MainConf;

/// Why a directive was refused; the text is the log line, nginx adds file and line.
#[derive(Debug)]
pub struct ConfError(pub String);

impl<T: core::fmt::Display> From<T> for ConfError {
    fn from(e: T) -> Self {
        ConfError(e.to_string())
    }
}

/// A line of a file of the configuration.
#[derive(Clone, Copy)]
pub struct Place {
    file: ngx_str_t,
    pub line: usize,
}

/// nginx's parser, while it stands at one of our directives.
pub struct Cf(pub(super) NonNull<ngx_conf_t>);

impl Cf {
    /// # Safety
    /// `cf` must be the live parser state nginx passed to the calling callback.
    pub(super) unsafe fn new(cf: *mut ngx_conf_t) -> Cf {
        // SAFETY: nginx never passes a null parser.
        Cf(unsafe { NonNull::new_unchecked(cf) })
    }

    pub(super) fn raw(&self) -> *mut ngx_conf_t {
        self.0.as_ptr()
    }

    /// The directive's words, its name first.
    pub fn args(&self) -> impl Iterator<Item = &[u8]> {
        // SAFETY: while a directive is set, `args` is the array of its words, which live in the cycle's pool.
        let words = unsafe { (*(*self.raw()).args).as_slice::<ngx_str_t>() };
        // SAFETY: as above.
        words.iter().map(|w| unsafe { bytes(*w) })
    }

    /// Word `i`; empty when there is none.
    pub fn arg(&self, i: usize) -> &[u8] {
        self.args().nth(i).unwrap_or_default()
    }

    /// Word `i` as text.
    pub fn text(&self, i: usize) -> Result<&str, ConfError> {
        core::str::from_utf8(self.arg(i)).map_err(|_| ConfError(format!("argument {i} is not valid UTF-8")))
    }

    /// Word `i` as a time, such as `500ms`, `10s` or `1m`, in milliseconds.
    pub fn milliseconds(&self, i: usize) -> Option<u64> {
        let word = self.arg(i);
        let mut word = ngx_str_t { len: word.len(), data: word.as_ptr().cast_mut() };
        // SAFETY: nginx only reads the word.
        u64::try_from(unsafe { ffi::ngx_parse_time(&raw mut word, 0) }).ok()
    }

    /// `FILE:LINE` of the parser's position, the file as the user wrote it.
    pub fn position(&self) -> (String, usize) {
        // SAFETY: `conf_file` is set while directives are parsed, and its name lives in the cycle's pool.
        let (name, line, prefix) = unsafe {
            let file = (*self.raw()).conf_file;
            ((*file).file.name, (*file).line, (*(*self.raw()).cycle).conf_prefix)
        };
        // SAFETY: both strings live in the cycle's pool.
        let (name, prefix) = unsafe { (bytes(name), bytes(prefix)) };
        let short = name.strip_prefix(prefix).unwrap_or(name);
        (String::from_utf8_lossy(short).into_owned(), line)
    }

    /// Where the parser is, to come back to with [`Cf::stand_at`].
    pub fn place(&self) -> Place {
        // SAFETY: as in `position`.
        unsafe {
            let file = (*self.raw()).conf_file;
            Place { file: (*file).file.name, line: (*file).line }
        }
    }

    /// Makes messages name a place that was read before. The configuration is refused then: nothing is parsed from there.
    pub fn stand_at(&mut self, place: &Place) {
        // SAFETY: as in `position`; the name is that of a file of this configuration, in the cycle's pool.
        unsafe {
            let file = (*self.raw()).conf_file;
            (*file).file.name = place.file;
            (*file).line = place.line;
        }
    }

    /// Our main configuration; it exists from the opening brace of `http` on.
    pub fn main_conf(&self) -> &MainConf {
        // SAFETY: inside `http {}` the context is a `ngx_http_conf_ctx_t`, whose slot for us `create_main_conf` filled.
        unsafe {
            let ctx = (*self.raw()).ctx.cast::<ffi::ngx_http_conf_ctx_t>();
            &*(*(*ctx).main_conf.add(module::ctx_index())).cast::<MainConf>()
        }
    }

    /// Makes our content handler the handler of the location being parsed.
    pub fn handle_content(&mut self) {
        self.handle_by(module::content_handler);
    }

    /// Makes the status page the handler of the location being parsed.
    pub fn handle_status(&mut self) {
        self.handle_by(module::status_handler);
    }

    fn handle_by(&mut self, handler: unsafe extern "C" fn(*mut ffi::ngx_http_request_t) -> ffi::ngx_int_t) {
        // SAFETY: location directives are only parsed where the core module has a location configuration.
        unsafe {
            let ctx = (*self.raw()).ctx.cast::<ffi::ngx_http_conf_ctx_t>();
            let core = *(*ctx).loc_conf.add((*ptr::addr_of!(ffi::ngx_http_core_module)).ctx_index);
            (*core.cast::<ffi::ngx_http_core_loc_conf_t>()).handler = Some(handler);
        }
    }

    /// Compiles word `i` as text with variables in it.
    pub fn path(&mut self, i: usize) -> Result<Path, ConfError> {
        let word = self.arg(i).to_vec();
        self.compile(&word)
    }

    /// Compiles a text with variables in it.
    pub fn compile(&mut self, text: &[u8]) -> Result<Path, ConfError> {
        // SAFETY: the pool is the cycle's; the compiler fills `value`, which lives in that pool.
        unsafe {
            let pool = (*self.raw()).pool;
            let mut source = to_pool(pool, text).ok_or("out of memory")?;
            let value = ffi::ngx_pcalloc(pool, size_of::<ngx_http_complex_value_t>());
            let value = NonNull::new(value.cast::<ngx_http_complex_value_t>()).ok_or("out of memory")?;
            let mut ccv: ffi::ngx_http_compile_complex_value_t = core::mem::zeroed();
            ccv.cf = self.raw();
            ccv.value = &raw mut source;
            ccv.complex_value = value.as_ptr();
            if ffi::ngx_http_compile_complex_value(&raw mut ccv) != ffi::NGX_OK as isize {
                return Err(ConfError(format!("cannot compile \"{}\"", text.escape_ascii())));
            }
            Ok(Path { value, constant: (*value.as_ptr()).lengths.is_null() })
        }
    }

    /// Logs `message` with file and line; the configuration test fails.
    pub fn emerg(&self, message: &str) {
        self.log(Level::Emerg, message);
    }

    /// Logs `message` with file and line as something that ought to be changed.
    pub fn alert(&self, message: &str) {
        self.log(Level::Alert, message);
    }

    /// Logs `message` with file and line as a warning.
    pub fn warn(&self, message: &str) {
        self.log(Level::Warn, message);
    }

    fn log(&self, level: Level, message: &str) {
        let s = ngx_str_t { len: message.len(), data: message.as_ptr().cast_mut() };
        // SAFETY: `%V` reads one `ngx_str_t` by pointer.
        unsafe {
            ffi::ngx_conf_log_error(level as usize, self.raw(), 0, c"%V".as_ptr(), &raw const s);
        }
    }
}

/// A text with variables, evaluated per request.
pub struct Path {
    value: NonNull<ngx_http_complex_value_t>,
    /// Whether it has no variables: one result for all requests.
    pub constant: bool,
}

impl Path {
    /// The text as it was written: all there is to a constant one.
    pub fn text(&self) -> &[u8] {
        // SAFETY: the value and its text live in the cycle's pool.
        unsafe { bytes((*self.value.as_ptr()).value) }
    }

    /// The text for `request`; `None` when memory is out.
    pub fn eval<'r>(&self, request: &'r Request) -> Option<&'r [u8]> {
        let mut out = ngx_str_t { len: 0, data: ptr::null_mut() };
        // SAFETY: the value was compiled by nginx and lives as long as the configuration the request holds.
        let rc = unsafe { ffi::ngx_http_complex_value(request.raw(), self.value.as_ptr(), &raw mut out) };
        // SAFETY: the result lives in the request's pool or in the configuration.
        (rc == ffi::NGX_OK as isize).then(|| unsafe { bytes(out) })
    }
}
