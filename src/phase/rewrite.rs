//! server_rewrite_by_lua and rewrite_by_lua: change the request before its content is made.

use super::Phase;
use crate::ngx::{Rc, Request};
use crate::run::{self, Progress};

/// nginx's handler in either rewrite phase.
pub fn handle(request: Request, phase: Phase) -> Rc {
    let Some(handler) = request.loc_conf().handler(phase) else { return Rc::DECLINED };
    // a `rewrite` before us has chosen another location, whose own script runs
    if !request.has_uri() || request.uri_changed() {
        return Rc::DECLINED;
    }
    super::entered(request, phase.name());
    match run::enter(request, phase, handler) {
        Progress::Waiting => {
            request.keep_sending();
            Rc::DONE
        }
        Progress::Ended(end) => super::finish_early(request, end, Rc::DECLINED),
    }
}
