//! precontent_by_lua: the last word before the content is made, when nobody refuses the request any more.

use super::Phase;
use crate::ngx::{Rc, Request};
use crate::run::{self, Progress};

/// nginx's handler in the precontent phase.
pub fn handle(request: Request) -> Rc {
    let Some(handler) = request.loc_conf().handler(Phase::Precontent) else { return Rc::DECLINED };
    super::entered(request, "precontent");
    match run::enter(request, Phase::Precontent, handler) {
        Progress::Waiting => {
            request.keep_sending();
            Rc::DONE
        }
        // OK would pass over the phase's other handlers
        Progress::Ended(end) => super::finish_early(request, end, Rc::DECLINED),
    }
}
