//! access_by_lua: lets the request in or refuses it.

use super::Phase;
use crate::ngx::{Rc, Request};
use crate::run::{self, Progress};

/// nginx's handler in the access phase.
pub fn handle(request: Request) -> Rc {
    let Some(handler) = request.loc_conf().handler(Phase::Access) else { return Rc::DECLINED };
    if !request.has_uri() {
        return Rc::DECLINED;
    }
    match run::enter(request, Phase::Access, handler) {
        Progress::Waiting => {
            request.wait_quietly();
            Rc::DONE
        }
        Progress::Ended(end) => {
            // a script that returns without exit has no objection, but with `satisfy any` does not vouch either
            let go_on = if matches!(end, run::End::Exit(Rc::OK)) { Rc::OK } else { Rc::DECLINED };
            super::finish_early(request, end, go_on)
        }
    }
}
