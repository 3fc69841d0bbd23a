//! What `autoscale_balance`, `autoscale_eject` and their neighbours say of an `upstream {}`.

use crate::ngx::Directive;

pub const DIRECTIVES: &[Directive] = &[];

/// Of one upstream. Each field is `None` where its directive is not written: such an upstream pays nothing for it.
#[derive(Default)]
pub struct UpstreamConf {}
