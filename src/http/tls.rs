//! TLS with servers: whom to trust, who we are, and the handshake.

use core::cell::RefCell;
use core::time::Duration;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::SystemTime;

use super::request::TlsOptions;
use super::HttpError;
use crate::ngx::tls::{self, Context, Identity, Store, TlsError, Wish, Wrong};
use crate::ngx::{full_path, Location, Stream};

/// What HTTP/1.1 is called in ALPN (RFC 7301), with its length.
pub const HTTP_1_1: &[u8] = b"\x08http/1.1";

/// How many files are kept.
const MAX_FILES: usize = 64;

/// Files of certificates, read again when they change.
#[derive(Default)]
pub struct Files {
    stores: RefCell<Kept<Store>>,
    identities: RefCell<Kept<Identity>>,
    system: RefCell<Option<Rc<Store>>>,
}

/// By the names of the files.
type Kept<T> = HashMap<[Vec<u8>; 2], Loaded<T>>;

struct Loaded<T> {
    what: Rc<T>,
    /// Of the files when they were read.
    stamps: [Stamp; 2],
}

/// What tells a file that has changed: when that was, and its size.
type Stamp = Option<(SystemTime, u64)>;

/// Shakes hands on a connected stream; `host` is the URL's. `alpn` may be empty.
pub async fn shake_hands(
    stream: &Rc<Stream>,
    options: &TlsOptions,
    host: &str,
    alpn: &[u8],
    location: &Location,
    files: &Files,
) -> Result<(), HttpError> {
    let settings = &location.conf().tls;
    let context: &Context =
        settings.context().ok_or(TlsError::Refused("this nginx was built without TLS"))?;
    let name = options.server_name.as_deref().unwrap_or(host).as_bytes();
    let trusted = match &options.ca {
        _ if !options.verify => None,
        Some(ca) => Some(files.store(ca)?),
        None if settings.trusts_some() => None,
        None => Some(files.system()?),
    };
    let identity = match &options.identity {
        Some((chain, key)) => Some(files.identity(chain, key)?),
        None => None,
    };
    let wish = Wish {
        server_name: name,
        identity: identity.as_deref(),
        trusted: trusted.as_deref(),
        alpn,
        ..Wish::default()
    };
    stream.begin_tls(context, &wish)?;
    // how long it may take is the caller's to say
    tls::handshake(Rc::clone(stream), Duration::ZERO).await?;
    if options.verify {
        stream.verify_peer(name)?;
    }
    Ok(())
}

impl Files {
    fn store(&self, ca: &[u8]) -> Result<Rc<Store>, HttpError> {
        load(&self.stores, [ca.to_vec(), Vec::new()], [stamp(ca), None], || {
            Store::from_pem(&read(ca)?).ok_or_else(|| unusable(ca, "no certificate in PEM format"))
        })
    }

    /// What the system trusts.
    fn system(&self) -> Result<Rc<Store>, HttpError> {
        let mut system = self.system.borrow_mut();
        if let Some(store) = &*system {
            return Ok(Rc::clone(store));
        }
        let store = Store::of_system().ok_or(TlsError::Refused("no certificates of the system"))?;
        Ok(Rc::clone(system.insert(Rc::new(store))))
    }

    fn identity(&self, chain: &[u8], key: &[u8]) -> Result<Rc<Identity>, HttpError> {
        let names = [chain.to_vec(), key.to_vec()];
        load(&self.identities, names, [stamp(chain), stamp(key)], || {
            let (certificates, secret) = (read(chain)?, read(key)?);
            Identity::from_pem(&certificates, &secret).map_err(|wrong| match wrong {
                Wrong::Certificate => unusable(chain, "no certificate in PEM format"),
                Wrong::Key => unusable(key, "no private key in PEM format"),
            })
        })
    }
}

/// What was loaded, unless a file has changed since.
fn load<T>(
    all: &RefCell<Kept<T>>,
    names: [Vec<u8>; 2],
    stamps: [Stamp; 2],
    make: impl FnOnce() -> Result<T, HttpError>,
) -> Result<Rc<T>, HttpError> {
    let mut all = all.borrow_mut();
    if let Some(loaded) = all.get(&names).filter(|loaded| loaded.stamps == stamps) {
        return Ok(Rc::clone(&loaded.what));
    }
    let what = Rc::new(make()?);
    if all.len() >= MAX_FILES {
        all.clear();
    }
    all.insert(names, Loaded { what: Rc::clone(&what), stamps });
    Ok(what)
}

fn path(name: &[u8]) -> std::path::PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(full_path(name)).into()
}

fn stamp(name: &[u8]) -> Stamp {
    let file = std::fs::metadata(path(name)).ok()?;
    Some((file.modified().ok()?, file.len()))
}

fn read(name: &[u8]) -> Result<Vec<u8>, HttpError> {
    std::fs::read(path(name)).map_err(|e| unusable(name, super::error::words(&e)))
}

fn unusable(name: &[u8], why: impl Into<String>) -> HttpError {
    HttpError::TlsFile(name.escape_ascii().to_string(), why.into())
}
