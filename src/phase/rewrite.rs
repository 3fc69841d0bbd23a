//! server_rewrite_by_lua and rewrite_by_lua: change the request before its content is made.

use super::Phase;
use crate::ngx::{Rc, Request};
use crate::run::{self, End, Progress};

/// nginx's handler in either rewrite phase.
pub fn handle(request: Request, phase: Phase) -> Rc {
    let Some(handler) = request.loc_conf().handler(phase) else { return Rc::DECLINED };
    if !request.has_uri() || request.uri_changed() {
        return Rc::DECLINED;
    }
    match run::enter(request, phase, handler) {
        Progress::Waiting => {
            request.wait_quietly();
            Rc::DONE
        }
        Progress::Ended(end) => super::finish_early(request, end, Rc::DECLINED),
    }
}

/// Whether the exit code lets the request go on: `ngx.exit(ngx.OK)` or `ngx.exit(ngx.DECLINED)`.
pub fn goes_on(end: &End) -> bool {
    matches!(end, End::Returned | End::Jump | End::Exit(Rc::OK | Rc::DECLINED))
}
