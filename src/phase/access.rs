//! access_by_lua: lets the request in or refuses it.

use super::Phase;
use crate::ngx::{Rc, Request};
use crate::run::{self, End, Progress};

/// nginx's handler in the access phase.
pub fn handle(request: Request) -> Rc {
    let Some(handler) = request.loc_conf().handler(Phase::Access) else { return Rc::DECLINED };
    if !request.has_uri() {
        return Rc::DECLINED;
    }
    super::entered(request, "access");
    match run::enter(request, Phase::Access, handler) {
        Progress::Waiting => {
            request.keep_sending();
            Rc::DONE
        }
        Progress::Ended(end) => {
            // with `satisfy any`, a script that has no objection lets the request in
            let go_on = if matches!(end, End::Exit(Rc::DECLINED)) { Rc::DECLINED } else { Rc::OK };
            super::finish_early(request, end, go_on)
        }
    }
}
