//! Files of secrets and certificates: looked at when the configuration is read, and read when they are used.
//!
//! A token is read for each call, so that one that was rotated is used at once: it is small, and calls are few. It must be readable for
//! the workers' user. Nothing of its content is ever part of an error.

use std::path::PathBuf;

use logic::wire::login::Login;

use super::Failure;
use crate::http::words;
use crate::ngx::full_path;
use crate::ngx::tls::Store;

/// Nothing that is a secret is longer.
const MAX_SIZE: u64 = 64 * 1024;

fn path(name: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(full_path(name.as_bytes())).into()
}

fn read(name: &str, max: u64) -> Result<Vec<u8>, String> {
    let path = path(name);
    let wrong = |why: String| format!("\"{}\": {why}", path.display());
    // asked first: to open a pipe would wait for its writer
    let about = std::fs::metadata(&path).map_err(|e| wrong(words(&e)))?;
    if !about.is_file() || about.len() > max {
        return Err(wrong("this is no file of a sensible size".into()));
    }
    std::fs::read(&path).map_err(|e| wrong(words(&e)))
}

/// The content of a `secret_file`.
pub fn secret(name: &str) -> Result<Vec<u8>, Failure> {
    read_secret(name).map_err(Failure::never)
}

fn read_secret(name: &str) -> Result<Vec<u8>, String> {
    let secret = read(name, MAX_SIZE)?;
    match secret.trim_ascii_end() {
        [] => Err(format!("\"{name}\" is empty")),
        _ => Ok(secret),
    }
}

/// The login in a `secret_file`: `USER:PASSWORD` or `PASSWORD`.
pub fn login(name: &str) -> Result<Login, Failure> {
    let wrong = |why| Failure::never(format!("\"{name}\": {why}"));
    Login::parse(&secret(name)?).map_err(wrong)
}

/// The content of a `token_file`, as a header takes it.
pub fn token(name: &str) -> Result<String, Failure> {
    read_token(name).map_err(Failure::never)
}

fn read_token(name: &str) -> Result<String, String> {
    let secret = read_secret(name)?;
    let token = secret.trim_ascii();
    if !token.iter().all(u8::is_ascii_graphic) {
        return Err(format!("\"{name}\" holds no token: it is to be one word"));
    }
    Ok(String::from_utf8_lossy(token).into_owned())
}

/// Whether all files that are named can be used.
pub fn check(ca: Option<&str>, token: Option<&str>, secret: Option<&str>) -> Result<(), String> {
    if let Some(name) = ca {
        let pem = read(name, 16 * 1024 * 1024).map_err(|e| format!("ca_file {e}"))?;
        if Store::from_pem(&pem).is_none() {
            return Err(format!("ca_file \"{name}\" has no certificate in PEM format"));
        }
    }
    if let Some(name) = token {
        read_token(name).map_err(|e| format!("token_file {e}"))?;
    }
    if let Some(name) = secret {
        read_secret(name).map_err(|e| format!("secret_file {e}"))?;
    }
    Ok(())
}
