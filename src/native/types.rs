//! What may cross to Lua, and the macro that writes natives.

use core::ffi::c_void;

/// A type with a C name.
pub trait CType {
    const C: &'static str;
}

macro_rules! c_types {
    ($($t:ty = $c:literal),*) => { $(impl CType for $t { const C: &'static str = $c; })* };
}

c_types!(
    i32 = "int32_t",
    u32 = "uint32_t",
    i64 = "int64_t",
    u64 = "uint64_t",
    usize = "size_t",
    f64 = "double",
    u8 = "unsigned char",
    () = "void",
    Str = "as_str",
    Pair = "as_pair",
    crate::ngx::dict::Dict = "as_dict",
    DictValue = "as_dict_value",
    Handle = "as_handle",
    std::rc::Rc<crate::ngx::tls::Session> = "as_tls_session",
    crate::ngx::tls::Chain = "void",
    crate::ngx::tls::Key = "void",
    crate::ngx::tls::Certificate = "void",
    crate::ngx::tls::RawConnection = "void",
    crate::ngx::tls::RawStore = "void"
);

/// What a native returns; `PANIC` is what Lua gets if it panicked.
pub trait Ret: CType {
    const PANIC: Self;
}

impl Ret for i32 {
    const PANIC: i32 = -128;
}
impl Ret for f64 {
    const PANIC: f64 = f64::NAN;
}
impl Ret for () {
    const PANIC: () = ();
}

/// A text on its way to Lua. The bytes must stay put until the calling Lua code has copied them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Str {
    data: *const u8,
    len: usize,
}

impl Str {
    pub fn lend(&mut self, s: &[u8]) {
        (self.data, self.len) = (s.as_ptr(), s.len());
    }
}

/// A name and a value on their way to Lua; a value without data is one that was not given (`?a`).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Pair {
    key: Str,
    value: Str,
}

impl Pair {
    pub fn lend(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.key.lend(key);
        match value {
            Some(v) => self.value.lend(v),
            None => self.value = Str { data: core::ptr::null(), len: 0 },
        }
    }
}

/// Something on its way to Lua.
#[repr(C)]
pub struct Handle {
    object: *mut c_void,
}

impl Handle {
    /// The address of something of another library.
    pub fn point(&mut self, address: usize) {
        self.object = address as *mut c_void;
    }
}

/// A value of a shared dictionary on its way to Lua.
#[repr(C)]
pub struct DictValue {
    pub number: f64,
    pub text: Str,
    pub flags: u32,
    pub stale: u32,
}

/// The structures' definitions for `ffi.cdef`.
pub fn c_definitions() -> &'static str {
    "typedef struct { const char *data; size_t len; } as_str;
     typedef struct { as_str key; as_str value; } as_pair;
     typedef struct { int32_t ctx_slot; int32_t started; } as_req;
     typedef struct { uint32_t phase; uint32_t threads; as_req *req; as_req *host; } as_cur;
     typedef struct { void *object; } as_handle;
      typedef struct as_tls_session as_tls_session;
     typedef struct as_dict as_dict;
     typedef struct { double number; as_str text; uint32_t flags; uint32_t stale; } as_dict_value;
     typedef struct { volatile long sec; volatile uintptr_t msec; volatile intptr_t gmtoff; } as_time;
     typedef struct as_regex as_regex;
     typedef struct as_template as_template;
     typedef struct { as_regex *regex; const int32_t *offsets; as_str names; int32_t name_entry; int32_t captures;
                      int32_t once; int32_t lists; int32_t utf; } as_regex_info;
     typedef struct { uint32_t backtracking; uint32_t jit_stack; } as_regex_limits;
     typedef struct { as_template *template; } as_template_slot;"
}

/// One C parameter.
#[derive(Clone, Copy)]
pub struct Param {
    pub c: &'static str,
    pub pointer: bool,
    pub constant: bool,
}

/// A native as the VM hands it to the prelude.
pub struct Native {
    pub name: &'static str,
    pub ret: &'static str,
    pub params: &'static [Param],
    pub pointer: *const c_void,
}

// SAFETY: the pointer is to a function.
unsafe impl Sync for Native {}

impl Native {
    /// `int32_t (*)(const unsigned char *, size_t)`
    pub fn prototype(&self) -> String {
        let params: Vec<String> = self
            .params
            .iter()
            .map(|p| {
                let (constant, star) =
                    (if p.constant { "const " } else { "" }, if p.pointer { " *" } else { "" });
                // `char`, so that Lua strings convert
                let c = if p.pointer && p.c == "unsigned char" { "char" } else { p.c };
                format!("{constant}{c}{star}")
            })
            .collect();
        let params = if params.is_empty() { "void".to_owned() } else { params.join(", ") };
        format!("{} (*)({params})", self.ret)
    }
}

/// Writes natives: for each function a guarded `extern "C"` one, and `NATIVES`, the rows for the VM.
///
/// ```ignore
/// natives! {
///     /// What Lua's `ngx.sleep` would say.
///     fn name(cx, text: bytes, n: val<f64>, result: out<Str>, pairs: slice<Pair>) -> i32 { … }
/// }
/// ```
/// Kinds of arguments: `bytes` is `&[u8]` (two C parameters: `s, #s`), `val<T>` a number, `out<T>` a `&mut T` (a
/// structure that Lua allocated), `slice<T>` a `&mut [T]` (two C parameters: array, count), `our<T>` a `&T` (something of
/// ours whose address the prelude was given), `maybe<T>` the same or `None` for nil, `held<T>` a `&mut T` that a native made and Lua keeps, `own<T>` the
/// `Box<T>` that Lua gives back.
macro_rules! natives {
    ($( $(#[$meta:meta])* fn $name:ident($cx:ident $(, $arg:ident : $kind:ident $(<$t:ty>)?)* $(,)?) $(-> $ret:ty)? $body:block )*) => {
        $( $crate::native::native_fn! {
            @ $(#[$meta])* $name $cx [] [] [] ($($arg $kind $(<$t>)?,)*) [$($ret)?] $body
        } )*
        /// The natives of this file.
        pub const NATIVES: &[$crate::native::Native] = &[ $( $name::NATIVE ),* ];
    };
}

/// One step of [`natives!`]: takes an argument apart into C parameters, their C types, and the Rust value.
macro_rules! native_fn {
    (@ $(#[$m:meta])* $n:ident $cx:ident [$($p:tt)*] [$($c:expr,)*] [$($b:tt)*] ($a:ident bytes, $($rest:tt)*) $ret:tt $body:block) => {
        $crate::native::native_fn! { @ $(#[$m])* $n $cx
            [$($p)* $a: *const u8, len: usize,]
            [$($c,)* $crate::native::Param { c: "unsigned char", pointer: true, constant: true },
             $crate::native::Param { c: "size_t", pointer: false, constant: false },]
            // SAFETY: the prelude passes a Lua string and its length, or a buffer and how much of it is filled.
            [$($b)* let $a: &[u8] = if len == 0 { &[] } else { unsafe { core::slice::from_raw_parts($a, len) } };]
            ($($rest)*) $ret $body }
    };
    (@ $(#[$m:meta])* $n:ident $cx:ident [$($p:tt)*] [$($c:expr,)*] [$($b:tt)*] ($a:ident val<$t:ty>, $($rest:tt)*) $ret:tt $body:block) => {
        $crate::native::native_fn! { @ $(#[$m])* $n $cx
            [$($p)* $a: $t,]
            [$($c,)* $crate::native::Param { c: <$t as $crate::native::CType>::C, pointer: false, constant: false },]
            [$($b)*]
            ($($rest)*) $ret $body }
    };
    (@ $(#[$m:meta])* $n:ident $cx:ident [$($p:tt)*] [$($c:expr,)*] [$($b:tt)*] ($a:ident out<$t:ty>, $($rest:tt)*) $ret:tt $body:block) => {
        $crate::native::native_fn! { @ $(#[$m])* $n $cx
            [$($p)* $a: *mut $t,]
            [$($c,)* $crate::native::Param { c: <$t as $crate::native::CType>::C, pointer: true, constant: false },]
            // SAFETY: the prelude passes a structure of this type that it allocated and nobody else uses meanwhile.
            [$($b)* let $a: &mut $t = unsafe { &mut *$a };]
            ($($rest)*) $ret $body }
    };
    (@ $(#[$m:meta])* $n:ident $cx:ident [$($p:tt)*] [$($c:expr,)*] [$($b:tt)*] ($a:ident our<$t:ty>, $($rest:tt)*) $ret:tt $body:block) => {
        $crate::native::native_fn! { @ $(#[$m])* $n $cx
            [$($p)* $a: *const $t,]
            [$($c,)* $crate::native::Param { c: <$t as $crate::native::CType>::C, pointer: true, constant: false },]
            // SAFETY: the prelude passes an address that it was given at start, of something that lives as long as the VM.
            [$($b)* let Some($a): Option<&$t> = (unsafe { $a.as_ref() }) else { return $crate::native::Ret::PANIC };]
            ($($rest)*) $ret $body }
    };
    (@ $(#[$m:meta])* $n:ident $cx:ident [$($p:tt)*] [$($c:expr,)*] [$($b:tt)*] ($a:ident maybe<$t:ty>, $($rest:tt)*) $ret:tt $body:block) => {
        $crate::native::native_fn! { @ $(#[$m])* $n $cx
            [$($p)* $a: *const $t,]
            [$($c,)* $crate::native::Param { c: <$t as $crate::native::CType>::C, pointer: true, constant: true },]
            // SAFETY: as for `our`; nil is null.
            [$($b)* let $a: Option<&$t> = unsafe { $a.as_ref() };]
            ($($rest)*) $ret $body }
    };
    (@ $(#[$m:meta])* $n:ident $cx:ident [$($p:tt)*] [$($c:expr,)*] [$($b:tt)*] ($a:ident held<$t:ty>, $($rest:tt)*) $ret:tt $body:block) => {
        $crate::native::native_fn! { @ $(#[$m])* $n $cx
            [$($p)* $a: *mut $t,]
            [$($c,)* $crate::native::Param { c: <$t as $crate::native::CType>::C, pointer: true, constant: false },]
            // SAFETY: the prelude passes what a native made for it by `Box::into_raw` and it has not given back.
            [$($b)* let $a: &mut $t = unsafe { &mut *$a };]
            ($($rest)*) $ret $body }
    };
    (@ $(#[$m:meta])* $n:ident $cx:ident [$($p:tt)*] [$($c:expr,)*] [$($b:tt)*] ($a:ident own<$t:ty>, $($rest:tt)*) $ret:tt $body:block) => {
        $crate::native::native_fn! { @ $(#[$m])* $n $cx
            [$($p)* $a: *mut $t,]
            [$($c,)* $crate::native::Param { c: <$t as $crate::native::CType>::C, pointer: true, constant: false },]
            // SAFETY: the prelude gives back, once, what a native made for it by `Box::into_raw`.
            [$($b)* let $a: Box<$t> = unsafe { Box::from_raw($a) };]
            ($($rest)*) $ret $body }
    };
    (@ $(#[$m:meta])* $n:ident $cx:ident [$($p:tt)*] [$($c:expr,)*] [$($b:tt)*] ($a:ident slice<$t:ty>, $($rest:tt)*) $ret:tt $body:block) => {
        $crate::native::native_fn! { @ $(#[$m])* $n $cx
            [$($p)* $a: *mut $t, len: usize,]
            [$($c,)* $crate::native::Param { c: <$t as $crate::native::CType>::C, pointer: true, constant: false },
             $crate::native::Param { c: "size_t", pointer: false, constant: false },]
            // SAFETY: the prelude passes an array of this type and its length, which nobody else uses meanwhile.
            [$($b)* let $a: &mut [$t] = if len == 0 { &mut [] } else { unsafe { core::slice::from_raw_parts_mut($a, len) } };]
            ($($rest)*) $ret $body }
    };
    (@ $(#[$m:meta])* $n:ident $cx:ident [$($p:tt)*] [$($c:expr,)*] [$($b:tt)*] () [] $body:block) => {
        $crate::native::native_fn! { @ $(#[$m])* $n $cx [$($p)*] [$($c,)*] [$($b)*] () [()] $body }
    };
    (@ $(#[$m:meta])* $n:ident $cx:ident [$($p:tt)*] [$($c:expr,)*] [$($b:tt)*] () [$ret:ty] $body:block) => {
        $(#[$m])*
        #[allow(unsafe_code, unused_variables, unused_imports, non_snake_case, clippy::unused_unit)]
        mod $n {
            use super::*;
            extern "C" fn native($($p)*) -> $ret {
                match $crate::native::guard(|| {
                    let $cx = $crate::native::Cx::current();
                    $($b)*
                    $body
                }) {
                    Some(value) => value,
                    None => <$ret as $crate::native::Ret>::PANIC,
                }
            }
            pub const NATIVE: $crate::native::Native = $crate::native::Native {
                name: stringify!($n),
                ret: <$ret as $crate::native::CType>::C,
                params: &[$($c,)*],
                pointer: native as *const core::ffi::c_void,
            };
        }
    };
}

pub(crate) use {native_fn, natives};
