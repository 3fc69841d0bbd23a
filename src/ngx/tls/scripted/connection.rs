//! A client's connection as `ngx.ssl` sees it, in its handshake or in a request.

use core::ffi::{c_int, c_long, c_void, CStr};
use core::ptr::{self, NonNull};
use core::slice;
use std::rc::Rc;

use ::ngx::ffi::{self, ngx_connection_t, SSL, X509_STORE_CTX};

use super::super::keys::{clear_errors, Chain, Key};
use super::{connection, hello, install, options, Handshake};
use crate::ngx::Request;

/// As valid as the script's call that it is made for.
pub struct Connection {
    ssl: NonNull<SSL>,
    connection: NonNull<ngx_connection_t>,
}

type Result<T = ()> = core::result::Result<T, &'static str>;

/// The kinds of addresses, as `ngx.ssl` numbers them.
const UNIX: i32 = 0;
const INET: i32 = 1;
const INET6: i32 = 2;

impl Handshake {
    pub fn connection(&self) -> Connection {
        Connection { ssl: self.ssl, connection: self.connection }
    }
}

impl Request {
    /// The client's connection, if it speaks TLS.
    pub fn tls(&self) -> Option<Connection> {
        // SAFETY: the request's connection is live.
        unsafe { Connection::of((*self.raw()).connection) }
    }

    /// The connection with the upstream, if it speaks TLS.
    pub fn upstream_tls(&self) -> Option<Connection> {
        // SAFETY: a live request's upstream is null or live, and so is its connection.
        unsafe {
            let upstream = (*self.raw()).upstream.as_ref()?;
            Connection::of(upstream.peer.connection)
        }
    }
}

impl Connection {
    /// # Safety
    /// `c` must be null or live.
    unsafe fn of(c: *mut ngx_connection_t) -> Option<Connection> {
        // SAFETY: the caller vouches for the connection. That of a stream of HTTP/2 or QUIC shares OpenSSL's object with the
        // real one, which is what OpenSSL knows.
        unsafe {
            let tls = c.as_ref()?.ssl.as_ref()?;
            let ssl = NonNull::new(tls.connection)?;
            Some(Connection { ssl, connection: NonNull::new(connection(ssl.as_ptr()))? })
        }
    }

    fn raw(&self) -> *mut SSL {
        self.ssl.as_ptr()
    }

    /// The address of OpenSSL's object.
    pub fn address_of_ssl(&self) -> usize {
        self.raw() as usize
    }

    pub fn clear_certificates(&self) {
        // SAFETY: the connection is live.
        unsafe { ffi::SSL_certs_clear(self.raw()) };
    }

    /// Has the connection show `chain`, its own certificate first.
    pub fn show(&self, chain: &Chain) -> Result {
        let result = self.show_each(chain);
        clear_errors();
        result
    }

    fn show_each(&self, chain: &Chain) -> Result {
        let mut all = chain.certificates();
        let first = all.next().ok_or("invalid certificate chain")?;
        // SAFETY: the connection and the certificates are live; OpenSSL counts references.
        unsafe {
            if ffi::SSL_use_certificate(self.raw(), first) == 0 {
                return Err("SSL_use_certificate() failed");
            }
            for x509 in all {
                if ffi::SSL_ctrl(self.raw(), ffi::SSL_CTRL_CHAIN_CERT as c_int, 1, x509.cast()) == 0 {
                    return Err("SSL_add1_chain_cert() failed");
                }
            }
        }
        Ok(())
    }

    pub fn prove_by(&self, key: &Key) -> Result {
        // SAFETY: the connection and the key are live; OpenSSL counts references.
        let rc = unsafe { ffi::SSL_use_PrivateKey(self.raw(), key.raw()) };
        clear_errors();
        if rc == 0 {
            return Err("SSL_use_PrivateKey() failed");
        }
        Ok(())
    }

    /// The address of this side of the connection, or the other's, and its kind.
    pub fn address(&self, own: bool) -> Result<(&[u8], i32)> {
        let c = self.connection.as_ptr();
        // SAFETY: the connection is live; addresses are as long as their families say, which nginx has from the system.
        unsafe {
            if own && ffi::ngx_connection_local_sockaddr(c, ptr::null_mut(), 0) != ffi::NGX_OK as isize {
                return Err("cannot find out the address");
            }
            let (address, len) =
                if own { ((*c).local_sockaddr, (*c).local_socklen) } else { ((*c).sockaddr, (*c).socklen) };
            // nginx keeps an upstream's address elsewhere
            if address.is_null() {
                return Err("no address");
            }
            match c_int::from((*address).sa_family) {
                libc::AF_UNIX => {
                    let offset = core::mem::offset_of!(libc::sockaddr_un, sun_path);
                    if len as usize <= offset {
                        return Ok((&[], UNIX));
                    }
                    let path = address.cast::<u8>().add(offset);
                    let path = slice::from_raw_parts(path, len as usize - offset);
                    Ok((path.split(|byte| *byte == 0).next().unwrap_or_default(), UNIX))
                }
                libc::AF_INET6 => {
                    let v6 = &*address.cast::<libc::sockaddr_in6>();
                    Ok((&v6.sin6_addr.s6_addr, INET6))
                }
                _ => {
                    let v4 = &*address.cast::<libc::sockaddr_in>();
                    Ok((slice::from_raw_parts((&raw const v4.sin_addr.s_addr).cast(), 4), INET))
                }
            }
        }
    }

    pub fn port(&self) -> Result<u16> {
        if self.address(true)?.1 == UNIX {
            return Err("unix domain has no port");
        }
        // SAFETY: the connection is live and has an address by now.
        Ok(unsafe { ffi::ngx_inet_get_port((*self.connection.as_ptr()).local_sockaddr) })
    }

    /// The name of the server that the client asks for.
    pub fn server_name(&self) -> Option<&[u8]> {
        // SAFETY: the connection is live, and what it shows lives on until the script goes on. While OpenSSL has not read the
        // message to its end, it is read here; otherwise there is none.
        unsafe {
            let name = ffi::SSL_get_servername(self.raw(), ffi::TLSEXT_NAMETYPE_host_name as c_int);
            if name.is_null() {
                return hello::server_name(self.raw()).ok().flatten();
            }
            Some(CStr::from_ptr(name).to_bytes())
        }
    }

    /// The version of the protocol, as on the wire.
    pub fn version(&self) -> i32 {
        // SAFETY: the connection is live.
        unsafe { ffi::SSL_version(self.raw()) }
    }

    /// A secret or random of the handshake, cut to the room there is in `out`; how many bytes there are if that is none.
    pub fn random(&self, which: Random, out: &mut [u8]) -> usize {
        let room = if out.is_empty() { ptr::null_mut() } else { out.as_mut_ptr() };
        // SAFETY: the connection is live; OpenSSL writes within the length.
        unsafe {
            match which {
                Random::Client => ffi::SSL_get_client_random(self.raw(), room, out.len()),
                Random::Server => ffi::SSL_get_server_random(self.raw(), room, out.len()),
                Random::MasterKey => {
                    let session = ffi::SSL_get_session(self.raw());
                    if session.is_null() {
                        return 0;
                    }
                    ffi::SSL_SESSION_get_master_key(session, room, out.len())
                }
            }
        }
    }

    /// Keys that both sides can derive (RFC 5705, RFC 8446 section 7.5); `early` those of early data.
    pub fn export(&self, early: bool, label: &[u8], context: Option<&[u8]>, out: &mut [u8]) -> bool {
        let given = context.unwrap_or_default();
        let (label, label_len) = (label.as_ptr().cast(), label.len());
        // SAFETY: the connection is live; OpenSSL reads and writes within the lengths.
        let rc = unsafe {
            if early {
                ffi::SSL_export_keying_material_early(
                    self.raw(),
                    out.as_mut_ptr(),
                    out.len(),
                    label,
                    label_len,
                    given.as_ptr(),
                    given.len(),
                )
            } else {
                ffi::SSL_export_keying_material(
                    self.raw(),
                    out.as_mut_ptr(),
                    out.len(),
                    label,
                    label_len,
                    given.as_ptr(),
                    given.len(),
                    c_int::from(context.is_some()),
                )
            }
        };
        clear_errors();
        rc == 1
    }

    /// Asks the client for a certificate. Whatever it shows, the handshake goes on: nginx's variables tell what it was.
    /// `named` are those whose names it is told, and who are trusted; `trusted` are further ones.
    pub fn verify_client(
        &self,
        named: Option<&Chain>,
        trusted: Option<&Chain>,
        depth: Option<i32>,
    ) -> Result {
        // SAFETY: the connection is live; the server's configurations are there while it shakes hands.
        unsafe {
            ffi::SSL_set_verify(self.raw(), ffi::SSL_VERIFY_PEER as c_int, Some(accept_any));
            let depth = depth.unwrap_or_else(|| {
                let hc = (*self.connection.as_ptr()).data.cast::<ffi::ngx_http_connection_t>();
                let depth = (*install::tls((*(*hc).conf_ctx).srv_conf)).verify_depth;
                i32::try_from(depth).unwrap_or(1)
            });
            ffi::SSL_set_verify_depth(self.raw(), depth);
        }
        let result = self.trust(named, trusted);
        clear_errors();
        result
    }

    fn trust(&self, named: Option<&Chain>, trusted: Option<&Chain>) -> Result {
        if named.is_none() && trusted.is_none() {
            return Ok(());
        }
        let names = named.map(Names::of).transpose()?;
        // SAFETY: the connection and the certificates are live; OpenSSL counts references, and takes the names over.
        unsafe {
            let store = NonNull::new(ffi::X509_STORE_new()).ok_or("X509_STORE_new() failed")?.as_ptr();
            for x509 in named.into_iter().chain(trusted).flat_map(Chain::certificates) {
                if ffi::X509_STORE_add_cert(store, x509) == 0 {
                    ffi::X509_STORE_free(store);
                    return Err("X509_STORE_add_cert() failed");
                }
            }
            let command = ffi::SSL_CTRL_SET_VERIFY_CERT_STORE as c_int;
            if ffi::SSL_ctrl(self.raw(), command, 0, store.cast()) == 0 {
                ffi::X509_STORE_free(store);
                return Err("SSL_set0_verify_cert_store() failed");
            }
            if let Some(names) = names {
                ffi::SSL_set_client_CA_list(self.raw(), names.give_away());
            }
        }
        Ok(())
    }

    /// Allows the protocols of these bits of nginx's, and no others.
    pub fn set_protocols(&self, bits: u32) {
        const OPTIONS: [(u32, u64); 5] = [
            (4, options::NO_SSL_3),
            (8, options::NO_TLS_1),
            (16, options::NO_TLS_1_1),
            (32, options::NO_TLS_1_2),
            (64, options::NO_TLS_1_3),
        ];
        for (bit, option) in OPTIONS {
            // SAFETY: the connection is live.
            unsafe {
                if bits & bit == 0 {
                    ffi::SSL_set_options(self.raw(), option);
                } else {
                    ffi::SSL_clear_options(self.raw(), option);
                }
            }
        }
    }

    /// The ciphers that both sides know, by their numbers, in the client's order.
    pub fn shared_ciphers(&self, out: &mut Vec<u16>) -> Result {
        // SAFETY: the connection is live; OpenSSL's lists live as long, and their elements are constants.
        unsafe {
            let theirs = ffi::SSL_get_client_ciphers(self.raw());
            let ours = ffi::SSL_get_ciphers(self.raw());
            if theirs.is_null() || ours.is_null() {
                return Err("failed to get ssl ciphers");
            }
            let all = |list: *const ffi::stack_st_SSL_CIPHER| {
                (0..ffi::OPENSSL_sk_num(list.cast())).map(move |i| ffi::OPENSSL_sk_value(list.cast(), i))
            };
            for cipher in all(theirs).filter(|cipher| all(ours).any(|own| own == *cipher)) {
                out.push(ffi::SSL_CIPHER_get_protocol_id(cipher.cast()));
            }
        }
        Ok(())
    }

    /// Has the connection show what an OCSP responder has said of its certificate; `false` if the client does not care.
    pub fn staple(&self, response: &[u8]) -> Result<bool> {
        let ssl = self.raw();
        // SAFETY: the connection is live, and takes over the copy, which OpenSSL has allocated.
        unsafe {
            let command = ffi::SSL_CTRL_GET_TLSEXT_STATUS_REQ_TYPE as c_int;
            if ffi::SSL_ctrl(ssl, command, 0, ptr::null_mut()) == -1 {
                return Ok(false);
            }
            let copy = NonNull::new(ffi::CRYPTO_malloc(response.len(), ptr::null(), 0))
                .ok_or("OPENSSL_malloc() failed")?;
            ptr::copy_nonoverlapping(response.as_ptr(), copy.as_ptr().cast(), response.len());
            let len = c_long::try_from(response.len()).unwrap_or(c_long::MAX);
            let command = ffi::SSL_CTRL_SET_TLSEXT_STATUS_REQ_OCSP_RESP as c_int;
            ffi::SSL_ctrl(ssl, command, len, copy.as_ptr());
            if let Some(handshake) = Handshake::known(ssl) {
                handshake.staples.set(true);
            }
        }
        Ok(true)
    }

    /// What the client's first message has: its extension `kind`, if it has one.
    pub fn hello_extension(&self, kind: u32) -> Option<&[u8]> {
        // SAFETY: the connection is live; OpenSSL has the message, or says that it has not.
        unsafe { hello::extension(self.raw(), kind) }
    }

    pub fn hello_server_name(&self) -> Result<Option<&[u8]>> {
        // SAFETY: as above.
        unsafe { hello::server_name(self.raw()) }
    }

    pub fn hello_extensions(&self, out: &mut Vec<u16>) -> bool {
        // SAFETY: as above.
        unsafe { hello::extensions(self.raw(), out) }
    }

    pub fn hello_ciphers(&self, out: &mut Vec<u16>) {
        // SAFETY: as above.
        unsafe { hello::ciphers(self.raw(), out) }
    }
}

#[derive(Clone, Copy)]
pub enum Random {
    Client,
    Server,
    MasterKey,
}

/// Names of certificates.
struct Names(NonNull<ffi::stack_st_X509_NAME>);

impl Names {
    fn of(chain: &Chain) -> Result<Names> {
        // SAFETY: no arguments.
        let names = unsafe { ffi::OPENSSL_sk_new_null() };
        let names = Names(NonNull::new(names).ok_or("sk_X509_NAME_new_null() failed")?.cast());
        for x509 in chain.certificates() {
            // SAFETY: the certificate is live; its name is copied, and the list takes the copy over if it can.
            unsafe {
                let name = NonNull::new(ffi::X509_NAME_dup(ffi::X509_get_subject_name(x509)))
                    .ok_or("X509_get_subject_name() failed")?;
                if ffi::OPENSSL_sk_push(names.0.as_ptr().cast(), name.as_ptr().cast()) == 0 {
                    ffi::X509_NAME_free(name.as_ptr());
                    return Err("sk_X509_NAME_push() failed");
                }
            }
        }
        Ok(names)
    }

    fn give_away(self) -> *mut ffi::stack_st_X509_NAME {
        core::mem::ManuallyDrop::new(self).0.as_ptr()
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        unsafe extern "C" fn free(name: *mut c_void) {
            // SAFETY: the elements are names.
            unsafe { ffi::X509_NAME_free(name.cast()) };
        }
        // SAFETY: the list and its names are ours.
        unsafe { ffi::OPENSSL_sk_pop_free(self.0.as_ptr().cast(), Some(free)) };
    }
}

/// As nginx's own: what was wrong is kept, and told by variables.
unsafe extern "C" fn accept_any(_: c_int, _: *mut X509_STORE_CTX) -> c_int {
    1
}

/// Whether an OCSP response goes with the certificate: what a script has given does; else nginx decides.
pub unsafe extern "C" fn status(ssl: *mut SSL, given: *mut c_void) -> c_int {
    let staples = crate::native::guard(|| {
        // SAFETY: OpenSSL passes its live connection.
        unsafe { Handshake::known(ssl) }.is_some_and(|handshake: Rc<Handshake>| handshake.staples.get())
    });
    if staples == Some(true) {
        return ffi::SSL_TLSEXT_ERR_OK as c_int;
    }
    // SAFETY: the context is one of ours; nginx's function gets what was given for it.
    unsafe {
        match install::originals(ffi::SSL_get_SSL_CTX(ssl)).and_then(|o| o.status) {
            Some(status) => status(ssl, given),
            None => ffi::SSL_TLSEXT_ERR_NOACK as c_int,
        }
    }
}
