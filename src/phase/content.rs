//! content_by_lua: produces the response.

use super::Phase;
use crate::ngx::{Rc, Request};
use crate::run::{self, End, Progress};

/// nginx's content handler of a location with a script.
pub fn handle(request: Request) -> Rc {
    let Some(handler) = request.loc_conf().handler(Phase::Content) else { return Rc::DECLINED };
    super::entered(request, "content");
    match run::enter(request, Phase::Content, handler) {
        Progress::Waiting => {
            request.retain();
            request.keep_sending();
            Rc::DONE
        }
        Progress::Ended(end) => finish(request, end),
    }
}

/// What nginx is told once the script ended.
pub fn finish(request: Request, end: End) -> Rc {
    if let End::NotLoaded(rc) = end {
        return rc;
    }
    let Some(ctx) = request.ctx() else { return Rc::ERROR };
    match end {
        End::Returned | End::Jump => super::end_response(request, ctx),
        // nothing comes after the content
        End::Exit(Rc::DECLINED) => Rc::ERROR,
        End::Exit(code) => super::exit(request, ctx, code, Rc::OK),
        End::Exec { uri, args } => super::exec(request, ctx, &uri, args.as_deref()),
        End::NotLoaded(_) | End::Failed => super::fail(request, ctx),
    }
}
