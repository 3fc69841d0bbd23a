//! `autoscale_status`: everything that the zone knows, on a page.

use logic::autoscale::expose;

use crate::ngx::{clock, Level, Rc, Request};

/// What the page is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Prometheus,
}

impl Format {
    fn media_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Prometheus => expose::PROMETHEUS_TYPE,
        }
    }
}

/// nginx's content handler of a location with `autoscale_status`.
pub fn handle(request: Request) -> Rc {
    let Some(format) = request.loc_conf().status else { return Rc::DECLINED };
    if !request.only_reads() {
        return Rc::NOT_ALLOWED;
    }
    let Some(shell) = request.main_conf().shell() else { return Rc::INTERNAL_SERVER_ERROR };
    let mut page = Vec::new();
    match format {
        Format::Json => {
            if let Err(e) = expose::json(&shell.zone, clock::monotonic(), &mut page) {
                request.log(Level::Error, &format!("the status page: {e}"));
                return Rc::INTERNAL_SERVER_ERROR;
            }
            page.push(b'\n');
        }
        Format::Prometheus => expose::prometheus(&shell.zone, clock::monotonic(), &mut page),
    }
    send(request, format, &page)
}

fn send(request: Request, format: Format, page: &[u8]) -> Rc {
    let Some(ctx) = request.ctx() else { return Rc::INTERNAL_SERVER_ERROR };
    let out = &ctx.output;
    let fields = [(&b"Content-Type"[..], format.media_type()), (b"Cache-Control", "no-store")];
    if fields.iter().any(|(name, value)| request.set_field(name, value.as_bytes(), false).is_err()) {
        return Rc::INTERNAL_SERVER_ERROR;
    }
    out.keep_type();
    out.keep_fields();
    request.set_content_length(page.len());
    if request.append_output(out, page, false).is_none() {
        return Rc::INTERNAL_SERVER_ERROR;
    }
    request.send_output(out, true, false)
}
