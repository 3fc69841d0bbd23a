//! OCSP (RFC 6960): asking whether a certificate is still valid, and reading the answer.

use core::ffi::{c_int, c_long, CStr};
use core::ptr::{self, NonNull};

use ::ngx::ffi::{self, OCSP_BASICRESP, OCSP_CERTID, OCSP_REQUEST, OCSP_RESPONSE, X509};

use super::super::keys::clear_errors;

/// Why an answer is not to be believed; the text is what scripts are told.
#[derive(Debug, thiserror::Error)]
pub enum OcspError {
    #[error("{0}")]
    Malformed(&'static str),
    #[error("OCSP response not successful ({0}: {1})")]
    Unsuccessful(i32, String),
    #[error("certificate status \"{0}\" in the OCSP response")]
    NotGood(String),
}

impl From<&'static str> for OcspError {
    fn from(e: &'static str) -> OcspError {
        OcspError::Malformed(e)
    }
}

/// How far clocks may differ, in seconds.
const SKEW: c_long = 300;

/// Something of OpenSSL's that is freed by one of its functions.
macro_rules! owned {
    ($($name:ident($t:ty) $free:ident;)*) => { $(
        struct $name(NonNull<$t>);

        impl $name {
            fn new(raw: *mut $t, or: &'static str) -> Result<$name, &'static str> {
                NonNull::new(raw).map($name).ok_or(or)
            }

            fn raw(&self) -> *mut $t {
                self.0.as_ptr()
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: it is ours.
                unsafe { ffi::$free(self.raw()) };
            }
        }
    )* };
}

owned! {
    Certificate(X509) X509_free;
    CertId(OCSP_CERTID) OCSP_CERTID_free;
    Question(OCSP_REQUEST) OCSP_REQUEST_free;
    Answer(OCSP_RESPONSE) OCSP_RESPONSE_free;
    Basic(OCSP_BASICRESP) OCSP_BASICRESP_free;
}

/// A certificate and the one that has issued it.
struct Pair {
    own: Certificate,
    issuer: Certificate,
}

/// The first certificate in DER format, and what is behind it.
fn certificate(der: &[u8]) -> Result<(Certificate, &[u8]), &'static str> {
    let mut at = der.as_ptr();
    let len = c_long::try_from(der.len()).unwrap_or(c_long::MAX);
    // SAFETY: OpenSSL reads within the length, and moves the pointer behind what it has read.
    let one = unsafe { ffi::d2i_X509(ptr::null_mut(), &raw mut at, len) };
    let one = Certificate::new(one, "d2i_X509_bio() failed")?;
    Ok((one, &der[at as usize - der.as_ptr() as usize..]))
}

impl Pair {
    fn read(chain: &[u8]) -> Result<Pair, &'static str> {
        let (own, rest) = certificate(chain)?;
        if rest.is_empty() {
            return Err("no issuer certificate in chain");
        }
        Ok(Pair { own, issuer: certificate(rest)?.0 })
    }

    fn id(&self) -> Result<CertId, &'static str> {
        // SAFETY: both are live.
        let id = unsafe { ffi::OCSP_cert_to_id(ptr::null(), self.own.raw(), self.issuer.raw()) };
        CertId::new(id, "OCSP_cert_to_id() failed")
    }
}

/// Where to ask about certificates.
pub struct Responder;

impl Responder {
    /// Writes the address that the first certificate of `chain` names; `false` if it names none.
    pub fn of_chain(chain: &[u8], out: &mut Vec<u8>) -> Result<bool, &'static str> {
        let found = Responder::read(chain, out);
        clear_errors();
        found
    }

    fn read(chain: &[u8], out: &mut Vec<u8>) -> Result<bool, &'static str> {
        let (own, rest) = certificate(chain)?;
        // SAFETY: the certificate is live; the list of texts is ours to free.
        unsafe {
            let list = ffi::X509_get1_ocsp(own.raw());
            if list.is_null() {
                return Ok(false);
            }
            let first = ffi::OPENSSL_sk_value(list.cast(), 0);
            if !first.is_null() {
                out.extend_from_slice(CStr::from_ptr(first.cast()).to_bytes());
            }
            ffi::X509_email_free(list);
            if first.is_null() {
                return Ok(false);
            }
        }
        if rest.is_empty() {
            return Err("no issuer certificate in chain");
        }
        let issuer = certificate(rest)?.0;
        // SAFETY: both are live.
        if unsafe { ffi::X509_check_issued(issuer.raw(), own.raw()) } != ffi::X509_V_OK as c_int {
            return Err("issuer certificate not next to leaf");
        }
        Ok(true)
    }

    /// Writes the question about the first certificate of `chain`.
    pub fn question(chain: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        let written = Responder::write(chain, out);
        clear_errors();
        written
    }

    fn write(chain: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        let pair = Pair::read(chain)?;
        // SAFETY: no arguments.
        let question = Question::new(unsafe { ffi::OCSP_REQUEST_new() }, "OCSP_REQUEST_new() failed")?;
        let id = pair.id()?;
        // SAFETY: both are live; the question takes the id over if it can. Without a buffer the length is told, then as much
        // is written.
        unsafe {
            if ffi::OCSP_request_add0_id(question.raw(), id.raw()).is_null() {
                return Err("OCSP_request_add0_id() failed");
            }
            core::mem::forget(id);
            let len = usize::try_from(ffi::i2d_OCSP_REQUEST(question.raw(), ptr::null_mut())).unwrap_or(0);
            if len == 0 {
                return Err("i2d_OCSP_REQUEST() failed");
            }
            let from = out.len();
            out.resize(from + len, 0);
            let mut at = out[from..].as_mut_ptr();
            ffi::i2d_OCSP_REQUEST(question.raw(), &raw mut at);
        }
        Ok(())
    }

    /// Whether `answer` says that the first certificate of `chain` is good; until when, as a time of the system, if it does.
    pub fn validate(answer: &[u8], chain: &[u8]) -> Result<Option<i64>, OcspError> {
        let valid = Responder::check(answer, chain);
        clear_errors();
        valid
    }

    fn check(answer: &[u8], chain: &[u8]) -> Result<Option<i64>, OcspError> {
        let mut at = answer.as_ptr();
        let len = c_long::try_from(answer.len()).unwrap_or(c_long::MAX);
        // SAFETY: OpenSSL reads within the length.
        let answer = unsafe { ffi::d2i_OCSP_RESPONSE(ptr::null_mut(), &raw mut at, len) };
        let answer = Answer::new(answer, "d2i_OCSP_RESPONSE() failed")?;
        // SAFETY: the answer is live; texts of numbers are constants.
        let basic = unsafe {
            let status = ffi::OCSP_response_status(answer.raw());
            if status != ffi::OCSP_RESPONSE_STATUS_SUCCESSFUL as c_int {
                let text = CStr::from_ptr(ffi::OCSP_response_status_str(status.into()));
                return Err(OcspError::Unsuccessful(status, text.to_string_lossy().into_owned()));
            }
            ffi::OCSP_response_get1_basic(answer.raw())
        };
        let basic = Basic::new(basic, "OCSP_response_get1_basic() failed")?;
        let pair = Pair::read(chain)?;
        is_signed(&basic, &pair)?;
        status(&basic, &pair.id()?)
    }
}

/// Whether the issuer has signed an answer, itself or by whom it has charged with that (RFC 6960, section 4.2.2.2). OpenSSL
/// alone, told not to look for a trusted root, would take the signature of anybody whose certificate is in the answer.
fn is_signed(basic: &Basic, pair: &Pair) -> Result<(), &'static str> {
    // SAFETY: the list holds the issuer without a reference of its own, and is freed alone; the signer belongs to one of
    // the two.
    let well = unsafe {
        let list = NonNull::new(ffi::OPENSSL_sk_new_null()).ok_or("sk_X509_new_null() failed")?.as_ptr();
        ffi::OPENSSL_sk_push(list, pair.issuer.raw().cast());
        let rc = ffi::OCSP_basic_verify(basic.raw(), list.cast(), ptr::null_mut(), ffi::OCSP_NOVERIFY.into());
        let mut signer = ptr::null_mut();
        let known = rc == 1 && ffi::OCSP_resp_get0_signer(basic.raw(), &raw mut signer, list.cast()) == 1;
        ffi::OPENSSL_sk_free(list);
        known && may_sign(signer, pair.issuer.raw())
    };
    well.then_some(()).ok_or("OCSP_basic_verify() failed")
}

/// Whether `signer` is the issuer, or has a certificate of it for this purpose.
///
/// # Safety
/// Both must be live.
unsafe fn may_sign(signer: *mut X509, issuer: *mut X509) -> bool {
    // SAFETY: the caller vouches for both; the key and the times belong to them.
    unsafe {
        if ffi::X509_cmp(signer, issuer) == 0 {
            return true;
        }
        ffi::X509_check_issued(issuer, signer) == ffi::X509_V_OK as c_int
            && ffi::X509_verify(signer, ffi::X509_get0_pubkey(issuer)) == 1
            && ffi::X509_get_extension_flags(signer) & ffi::EXFLAG_XKUSAGE != 0
            && ffi::X509_get_extended_key_usage(signer) & ffi::XKU_OCSP_SIGN != 0
            && ffi::X509_cmp_current_time(ffi::X509_get0_notBefore(signer)) < 0
            && ffi::X509_cmp_current_time(ffi::X509_get0_notAfter(signer)) > 0
    }
}

fn status(basic: &Basic, id: &CertId) -> Result<Option<i64>, OcspError> {
    let (mut status, mut this, mut next) = (0, ptr::null_mut(), ptr::null_mut());
    // SAFETY: both are live; the times belong to the answer.
    unsafe {
        let found = ffi::OCSP_resp_find_status(
            basic.raw(),
            id.raw(),
            &raw mut status,
            ptr::null_mut(),
            ptr::null_mut(),
            &raw mut this,
            &raw mut next,
        );
        if found != 1 {
            return Err("certificate status not found in the OCSP response".into());
        }
        if status != ffi::V_OCSP_CERTSTATUS_GOOD as c_int {
            let text = CStr::from_ptr(ffi::OCSP_cert_status_str(status.into()));
            return Err(OcspError::NotGood(text.to_string_lossy().into_owned()));
        }
        if ffi::OCSP_check_validity(this, next, SKEW, -1) != 1 {
            return Err("OCSP_check_validity() failed".into());
        }
        if next.is_null() {
            return Ok(None);
        }
        let mut tm: ffi::tm = core::mem::zeroed();
        if ffi::ASN1_TIME_to_tm(next.cast(), &raw mut tm) != 1 {
            return Ok(None);
        }
        // OpenSSL's times are in UTC
        Ok(Some(libc::timegm((&raw mut tm).cast())))
    }
}
