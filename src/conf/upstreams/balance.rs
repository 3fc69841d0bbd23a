//! `autoscale_balance`

use super::Result;
use crate::ngx::Cf;

/// What the directive says of an upstream.
pub enum Balance {}

impl Balance {
    pub(super) fn read(_: &mut Cf) -> Result<Option<Self>> {
        Err("this build has no \"autoscale_balance\"".into())
    }
}
