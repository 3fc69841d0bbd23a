//! `autoscale_protect`

use logic::autoscale::queue::Settings;

use super::{words, Result};
use crate::ngx::{Cf, ConfError, Path};

/// What the directive says of an upstream.
pub struct Protect {
    pub settings: Settings,
    /// `priority=` and `fair=`, compiled.
    pub priority: Option<Path>,
    pub fair: Option<Path>,
}

impl Protect {
    pub(super) fn read(cf: &mut Cf) -> Result<Option<Self>> {
        let parsed = Settings::parse(&words(cf)?).map_err(|e| ConfError(e.to_string()))?;
        let Some(settings) = parsed else { return Ok(None) };
        let mut compile =
            |text: &Option<String>| text.as_ref().map(|text| cf.compile(text.as_bytes())).transpose();
        let (priority, fair) = (compile(&settings.priority)?, compile(&settings.fair)?);
        Ok(Some(Self { settings, priority, fair }))
    }
}
