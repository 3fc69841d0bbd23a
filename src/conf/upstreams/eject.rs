//! `autoscale_eject`

use logic::autoscale::eject::Settings;

use super::{words, Result};
use crate::ngx::{tls, Cf, ConfError};

/// When an upstream's peers are left alone.
pub struct Eject(pub Settings);

impl Eject {
    pub(super) fn read(cf: &mut Cf) -> Result<Option<Self>> {
        let Some(settings) = Settings::parse(&words(cf)?)? else { return Ok(None) };
        if settings.check.as_ref().is_some_and(|check| check.tls) && !tls::AVAILABLE {
            return Err(ConfError("this nginx has no TLS: write check=/uri, without \"https:\"".into()));
        }
        Ok(Some(Self(settings)))
    }
}
