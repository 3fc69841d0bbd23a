//! Certificates and keys as scripts hold them: OpenSSL's own objects, so that Lua libraries that know OpenSSL can share
//! them.

use core::ffi::{c_int, c_long, c_void};
use core::ptr::{self, NonNull};

use ::ngx::ffi::{self, BIO, EVP_PKEY, SSL, X509};

use super::TlsError;

/// A `STACK_OF(X509)` at an address that a script holds.
pub struct Chain(ffi::stack_st_X509);

/// An `EVP_PKEY` at an address that a script holds.
pub struct Key(EVP_PKEY);

/// An `X509` at an address that a script holds.
pub struct Certificate(X509);

impl Certificate {
    /// Ends a script's hold, once.
    pub fn give_back(&self) {
        // SAFETY: the prelude gives back, once, what it was given a reference to.
        unsafe { ffi::X509_free(ptr::from_ref(&self.0).cast_mut()) };
    }
}

/// An `SSL` at an address that a script has from `ngx.ssl` or some library.
pub struct RawConnection(SSL);

impl RawConnection {
    /// Whether its handshake went on with an earlier session.
    pub fn is_reused(&self) -> bool {
        // SAFETY: the script vouches for the connection.
        unsafe { ffi::SSL_session_reused(&raw const self.0) == 1 }
    }
}

/// An `X509_STORE` at an address that a script has from some library.
pub struct RawStore(ffi::X509_STORE);

/// A client's certificates, its own first, with the key of that one.
pub struct Identity {
    chain: NonNull<ffi::stack_st_X509>,
    key: NonNull<EVP_PKEY>,
}

/// Certificates that are trusted in place of a context's.
pub struct Store {
    store: NonNull<ffi::X509_STORE>,
    /// Whether chains may be as long as OpenSSL allows, and not as the context says.
    any_depth: bool,
}

/// What is wrong with the files of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    Certificate,
    Key,
}

/// How long chains may be that OpenSSL verifies by default.
const ANY_DEPTH: c_int = 100;

const NO_MEMORY: &str = "no memory";

impl Chain {
    /// Reads certificates in PEM format.
    pub fn from_pem(pem: &[u8]) -> Result<NonNull<Chain>, &'static str> {
        let chain = Chain::read_pem(pem);
        clear_errors();
        chain
    }

    fn read_pem(pem: &[u8]) -> Result<NonNull<Chain>, &'static str> {
        let bio = Bio::new(pem)?;
        let stack = Stack::new()?;
        // SAFETY: the BIO is live; nothing asks for a password.
        let first =
            unsafe { ffi::PEM_read_bio_X509_AUX(bio.0.as_ptr(), ptr::null_mut(), None, ptr::null_mut()) };
        stack.push(NonNull::new(first).ok_or("PEM_read_bio_X509_AUX() failed")?)?;
        loop {
            // SAFETY: as above.
            let next =
                unsafe { ffi::PEM_read_bio_X509(bio.0.as_ptr(), ptr::null_mut(), None, ptr::null_mut()) };
            let Some(next) = NonNull::new(next) else { break };
            stack.push(next)?;
        }
        if !is_at_end() {
            return Err("PEM_read_bio_X509() failed");
        }
        Ok(stack.into_chain())
    }

    /// Reads certificates in DER format, one after the other.
    pub fn from_der(der: &[u8]) -> Result<NonNull<Chain>, &'static str> {
        let stack = Stack::new()?;
        let mut rest = der;
        loop {
            let mut at = rest.as_ptr();
            let len = c_long::try_from(rest.len()).unwrap_or(c_long::MAX);
            // SAFETY: OpenSSL reads within the length, and moves the pointer behind what it has read.
            let one = unsafe { ffi::d2i_X509(ptr::null_mut(), &raw mut at, len) };
            let Some(one) = NonNull::new(one) else {
                clear_errors();
                return Err("d2i_X509_bio() failed");
            };
            stack.push(one)?;
            rest = &rest[at as usize - rest.as_ptr() as usize..];
            if rest.is_empty() {
                return Ok(stack.into_chain());
            }
        }
    }

    fn raw(&self) -> *mut ffi::stack_st_X509 {
        ptr::from_ref(&self.0).cast_mut()
    }

    pub(super) fn certificates(&self) -> impl Iterator<Item = *mut X509> {
        certificates(self.raw())
    }

    /// Writes the certificates to `out` in DER format, one after the other.
    pub fn write_der(&self, out: &mut Vec<u8>) -> bool {
        for x509 in certificates(self.raw()) {
            // SAFETY: the chain holds live certificates; without a buffer the length is told, then as much is written.
            let written = unsafe {
                let len = ffi::i2d_X509(x509, ptr::null_mut());
                let from = out.len();
                out.resize(from + usize::try_from(len).unwrap_or(0), 0);
                let mut at = out[from..].as_mut_ptr();
                len > 0 && ffi::i2d_X509(x509, &raw mut at) == len
            };
            if !written {
                clear_errors();
                return false;
            }
        }
        true
    }

    /// Ends a script's hold, once.
    pub fn give_back(&self) {
        // SAFETY: the prelude gives back, once, what `from_pem` or `from_der` made.
        drop(Stack(unsafe { NonNull::new_unchecked(self.raw().cast()) }));
    }
}

impl Key {
    /// Reads a private key in PEM format. Without the passphrase it needs it is refused: nobody is asked.
    pub fn from_pem(pem: &[u8], passphrase: &[u8]) -> Result<NonNull<Key>, &'static str> {
        let bio = Bio::new(pem)?;
        let mut passphrase = passphrase;
        let given = (&raw mut passphrase).cast::<c_void>();
        // SAFETY: the BIO is live; `answer` reads the passphrase during the call.
        let key =
            unsafe { ffi::PEM_read_bio_PrivateKey(bio.0.as_ptr(), ptr::null_mut(), Some(answer), given) };
        clear_errors();
        NonNull::new(key).map(NonNull::cast).ok_or("PEM_read_bio_PrivateKey() failed")
    }

    pub fn from_der(der: &[u8]) -> Result<NonNull<Key>, &'static str> {
        let mut at = der.as_ptr();
        let len = c_long::try_from(der.len()).unwrap_or(c_long::MAX);
        // SAFETY: OpenSSL reads within the length.
        let key = unsafe { ffi::d2i_AutoPrivateKey(ptr::null_mut(), &raw mut at, len) };
        clear_errors();
        NonNull::new(key).map(NonNull::cast).ok_or("d2i_PrivateKey_bio() failed")
    }

    pub(super) fn raw(&self) -> *mut EVP_PKEY {
        ptr::from_ref(&self.0).cast_mut()
    }

    pub fn write_der(&self, out: &mut Vec<u8>) -> bool {
        // SAFETY: the key is live; without a buffer the length is told, then as much is written.
        unsafe {
            let len = ffi::i2d_PrivateKey(self.raw(), ptr::null_mut());
            let from = out.len();
            out.resize(from + usize::try_from(len).unwrap_or(0), 0);
            let mut at = out[from..].as_mut_ptr();
            let written = len > 0 && ffi::i2d_PrivateKey(self.raw(), &raw mut at) == len;
            clear_errors();
            written
        }
    }

    /// Ends a script's hold, once.
    pub fn give_back(&self) {
        // SAFETY: the prelude gives back, once, what `from_pem` or `from_der` made.
        unsafe { ffi::EVP_PKEY_free(self.raw()) };
    }
}

impl Identity {
    pub fn new(chain: &Chain, key: &Key) -> Option<Identity> {
        // SAFETY: both are live; OpenSSL counts references.
        unsafe {
            let chain = NonNull::new(ffi::X509_chain_up_ref(chain.raw()))?;
            ffi::EVP_PKEY_up_ref(key.raw());
            Some(Identity { chain, key: NonNull::new_unchecked(key.raw()) })
        }
    }

    /// A chain, the own certificate first, and its key, both in PEM format.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Identity, Wrong> {
        let chain = Chain::from_pem(chain).map_err(|_| Wrong::Certificate)?;
        // freed with its certificates, unless the identity takes it over
        let chain = Stack(chain.cast());
        let key = Key::from_pem(key, b"").map_err(|_| Wrong::Key)?;
        Ok(Identity { chain: chain.into_chain().cast(), key: key.cast() })
    }

    /// Has a connection show the certificates when it is asked for one.
    ///
    /// # Safety
    /// `ssl` must be live.
    pub(super) unsafe fn use_by(&self, ssl: *mut SSL) -> Result<(), TlsError> {
        let mut all = certificates(self.chain.as_ptr());
        let first = all.next().ok_or(TlsError::Refused("ssl fetch client certificate from chain failed"))?;
        // SAFETY: the caller vouches for the connection, which takes references of its own.
        unsafe {
            if ffi::SSL_use_certificate(ssl, first) == 0 {
                return Err(refused("ssl set client certificate failed"));
            }
            for x509 in all {
                if ffi::SSL_ctrl(ssl, ffi::SSL_CTRL_CHAIN_CERT as c_int, 1, x509.cast()) == 0 {
                    return Err(refused("ssl set client intermediate certificate failed"));
                }
            }
            if ffi::SSL_use_PrivateKey(ssl, self.key.as_ptr()) == 0 {
                return Err(refused("ssl set client private key failed"));
            }
        }
        Ok(())
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        drop(Stack(self.chain.cast()));
        // SAFETY: the reference is ours.
        unsafe { ffi::EVP_PKEY_free(self.key.as_ptr()) };
    }
}

impl Store {
    pub fn new(store: &RawStore) -> Option<Store> {
        let store = NonNull::from(&store.0);
        // SAFETY: the prelude passes a store that the script vouches for.
        (unsafe { ffi::X509_STORE_up_ref(store.as_ptr()) } == 1).then_some(Store { store, any_depth: false })
    }

    fn empty() -> Option<Store> {
        // SAFETY: no arguments; the reference is ours.
        NonNull::new(unsafe { ffi::X509_STORE_new() }).map(|store| Store { store, any_depth: true })
    }

    /// Trusts certificates in PEM format.
    pub fn from_pem(pem: &[u8]) -> Option<Store> {
        let chain = Stack(Chain::from_pem(pem).ok()?.cast());
        let store = Store::empty()?;
        let added = certificates(chain.0.as_ptr().cast()).all(|x509| {
            // SAFETY: both are live; the store takes a reference of its own. One that it has already is no error.
            unsafe { ffi::X509_STORE_add_cert(store.store.as_ptr(), x509) == 1 }
        });
        clear_errors();
        added.then_some(store)
    }

    /// Trusts what OpenSSL finds where the system keeps certificates.
    pub fn of_system() -> Option<Store> {
        let store = Store::empty()?;
        // SAFETY: the store is live.
        let found = unsafe { ffi::X509_STORE_set_default_paths(store.store.as_ptr()) } == 1;
        clear_errors();
        found.then_some(store)
    }

    /// Has a connection trust these certificates instead of its context's.
    ///
    /// # Safety
    /// `ssl` must be live.
    pub(super) unsafe fn use_by(&self, ssl: *mut SSL) -> Result<(), TlsError> {
        let command = ffi::SSL_CTRL_SET_VERIFY_CERT_STORE as c_int;
        if self.any_depth {
            // SAFETY: the caller vouches for the connection.
            unsafe { ffi::SSL_set_verify_depth(ssl, ANY_DEPTH) };
        }
        // SAFETY: the caller vouches for the connection; 1 has it take a reference of its own.
        match unsafe { ffi::SSL_ctrl(ssl, command, 1, self.store.as_ptr().cast()) } {
            0 => Err(refused("ssl set trusted store failed")),
            _ => Ok(()),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: the reference is ours.
        unsafe { ffi::X509_STORE_free(self.store.as_ptr()) };
    }
}

fn certificates(chain: *mut ffi::stack_st_X509) -> impl Iterator<Item = *mut X509> {
    // SAFETY: callers pass a live chain; each element is a certificate.
    let n = unsafe { ffi::OPENSSL_sk_num(chain.cast()) };
    // SAFETY: as above.
    (0..n).map(move |i| unsafe { ffi::OPENSSL_sk_value(chain.cast(), i) }.cast())
}

/// A stack of certificates that is freed with them.
struct Stack(NonNull<ffi::OPENSSL_STACK>);

impl Stack {
    fn new() -> Result<Stack, &'static str> {
        // SAFETY: no arguments.
        NonNull::new(unsafe { ffi::OPENSSL_sk_new_null() }).map(Stack).ok_or(NO_MEMORY)
    }

    fn push(&self, x509: NonNull<X509>) -> Result<(), &'static str> {
        // SAFETY: stack and certificate are live; the stack takes the certificate over if it can.
        unsafe {
            if ffi::OPENSSL_sk_push(self.0.as_ptr(), x509.as_ptr().cast()) == 0 {
                ffi::X509_free(x509.as_ptr());
                return Err(NO_MEMORY);
            }
        }
        Ok(())
    }

    fn into_chain(self) -> NonNull<Chain> {
        core::mem::ManuallyDrop::new(self).0.cast()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        unsafe extern "C" fn free(x509: *mut c_void) {
            // SAFETY: the stack holds certificates.
            unsafe { ffi::X509_free(x509.cast()) }
        }
        // SAFETY: the stack is ours.
        unsafe { ffi::OPENSSL_sk_pop_free(self.0.as_ptr(), Some(free)) };
    }
}

struct Bio(NonNull<BIO>);

impl Bio {
    /// Reads from `text`, which must outlive it.
    fn new(text: &[u8]) -> Result<Bio, &'static str> {
        let len = c_int::try_from(text.len()).map_err(|_| "BIO_new_mem_buf() failed")?;
        // SAFETY: OpenSSL only reads the text, within its length.
        let bio = unsafe { ffi::BIO_new_mem_buf(text.as_ptr().cast(), len) };
        NonNull::new(bio).map(Bio).ok_or("BIO_new_mem_buf() failed")
    }
}

impl Drop for Bio {
    fn drop(&mut self) {
        // SAFETY: the BIO is ours.
        unsafe { ffi::BIO_free(self.0.as_ptr()) };
    }
}

/// Answers OpenSSL's question for a passphrase.
unsafe extern "C" fn answer(buf: *mut core::ffi::c_char, size: c_int, _: c_int, given: *mut c_void) -> c_int {
    // SAFETY: `given` is what `Key::from_pem` passed; the buffer has `size` bytes.
    unsafe {
        let passphrase = &*given.cast::<&[u8]>();
        if passphrase.is_empty() || passphrase.len() > size as usize {
            return -1;
        }
        ptr::copy_nonoverlapping(passphrase.as_ptr(), buf.cast(), passphrase.len());
        passphrase.len() as c_int
    }
}

fn refused(why: &'static str) -> TlsError {
    clear_errors();
    TlsError::Refused(why)
}

/// OpenSSL's errors of this thread are in a queue; what is left there would be taken for the next call's.
pub(super) fn clear_errors() {
    // SAFETY: no arguments.
    unsafe { ffi::ERR_clear_error() };
}

/// Whether the last error is that there is no further certificate.
fn is_at_end() -> bool {
    // from <openssl/pemerr.h> and <openssl/err.h>: the library's number and the reason's
    const ERR_LIB_PEM: u64 = 9;
    const PEM_R_NO_START_LINE: u64 = 108;
    // SAFETY: no arguments.
    let error = unsafe { ffi::ERR_peek_last_error() } as u64;
    // OpenSSL 3 has the library at bit 23, 1.1.1 at bit 24; both have the reason in the low bits
    let reason = error & 0xfff;
    reason == PEM_R_NO_START_LINE && (error >> 23 & 0xff == ERR_LIB_PEM || error >> 24 & 0xff == ERR_LIB_PEM)
}
