//! `autoscale_protect`

use super::Result;
use crate::ngx::Cf;

/// What the directive says of an upstream.
pub enum Protect {}

impl Protect {
    pub(super) fn read(_: &mut Cf) -> Result<Option<Self>> {
        Err("this build has no \"autoscale_protect\"".into())
    }
}
