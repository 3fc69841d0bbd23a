//! One signal, asked for by name. What is unknown, stale or without a sample is an error: whoever scales by it must not take it for a
//! number.

use logic::autoscale::expose::keda;
use logic::autoscale::expose::kubernetes::selector::Selector;
use logic::autoscale::expose::kubernetes::{self as api, name, Asked, Reason};
use logic::autoscale::policy::Watched;
use logic::autoscale::read::Reading;
use logic::autoscale::signal::{Scope, Signal, Window};
use logic::text::args::Args;
use logic::text::uri::unescape_uri;

use super::super::signals;
use super::{Answer, Shell};
use crate::ngx::{clock, Request};

/// A signal, and what it says now.
struct Said {
    signal: Signal,
    reading: Reading,
    value: f64,
}

/// Why there is no value.
struct Silent {
    reason: Reason,
    why: String,
}

impl Silent {
    fn new(reason: Reason, why: impl Into<String>) -> Silent {
        Silent { reason, why: why.into() }
    }
}

/// `?signal=TEXT`
pub fn keda(request: Request, shell: &Shell) -> Answer {
    let said = match argument(request, b"signal") {
        Some(text) if !text.is_empty() => read(request, shell, &text),
        _ => Err(Silent::new(Reason::BadRequest, "which signal? write ?signal=upstream.NAME.rate@1m")),
    };
    match said {
        Ok(said) => Answer::json(200, &keda::value(&said.signal, &said.reading, said.value)),
        Err(silent) => Answer::json(silent.reason.code(), &keda::error(&silent.why)),
    }
}

/// `/apis/external.metrics.k8s.io/v1beta1/…`
pub fn external_metrics(request: Request, shell: &Shell) -> Answer {
    let asked = core::str::from_utf8(request.uri()).ok().and_then(Asked::of);
    let answer = match asked {
        _ if !request.only_reads() => {
            Err(Silent::new(Reason::MethodNotAllowed, "external metrics can only be read"))
        }
        _ if !is_acceptable(request) => {
            Err(Silent::new(Reason::NotAcceptable, "objects are served as they are, in application/json"))
        }
        None => Err(Silent::new(
            Reason::NotFound,
            "the server could not find the requested resource: this is the external metrics API",
        )),
        Some(Asked::Groups) => Ok(api::groups()),
        Some(Asked::Group) => Ok(api::group()),
        Some(Asked::Resources) => Ok(api::resources(&shell.zone)),
        Some(Asked::Metric { name, .. }) => metric(request, shell, name),
    };
    match answer {
        Ok(value) => Answer::json(200, &value),
        Err(silent) => Answer::json(silent.reason.code(), &api::status(silent.reason, &silent.why)),
    }
}

/// Whether the client takes what we have.
fn is_acceptable(request: Request) -> bool {
    let mut accepts = request.headers_in().filter(|header| header.lower_name == b"accept").peekable();
    accepts.peek().is_none()
        || accepts.any(|header| api::is_acceptable(&String::from_utf8_lossy(header.value)))
}

fn metric(request: Request, shell: &Shell, name: &str) -> Result<api::Value, Silent> {
    let bad = |why: String| Silent::new(Reason::BadRequest, why);
    let selector = argument(request, b"labelSelector").unwrap_or_default();
    let selector = core::str::from_utf8(&selector)
        .map_err(|e| bad(e.to_string()))
        .and_then(|text| Selector::parse(text).map_err(|e| bad(e.to_string())))?;
    let signal = name::to_signal(name)
        .map_err(|escape| bad(format!("the name \"{name}\" has \"{escape}\", which is no escape")))?;
    let said = read(request, shell, signal.as_bytes())?;
    let unix_s = clock::wall_clock().0;
    Ok(api::values(name, &said.signal, &said.reading, said.value, &selector, unix_s))
}

fn read(request: Request, shell: &Shell, text: &[u8]) -> Result<Said, Silent> {
    let zone = &shell.zone;
    let bad = |why: String| Silent::new(Reason::BadRequest, why);
    let number = shell.signals.number(zone, text).map_err(bad)?;
    let reading = match shell.signals.read(zone, number, clock::monotonic()) {
        signals::Answer::Value(reading) => reading,
        signals::Answer::Unknown(why) => return Err(Silent::new(Reason::NotFound, why)),
        signals::Answer::Stale => return Err(Silent::new(Reason::InternalError, "the signal is lost")),
    };
    let text = String::from_utf8_lossy(text);
    let signal = text.parse::<Signal>().map_err(|e| Silent::new(Reason::BadRequest, e.to_string()))?;
    let watched = watched(request, signal);
    let unavailable = |why| Err(Silent::new(Reason::ServiceUnavailable, why));
    match reading.value {
        Some(value) if !watched.is_stale(&reading) => Ok(Said { signal: watched.signal, reading, value }),
        Some(_) => unavailable(format!(
            "signal \"{text}\" is stale: it is {:.1} s old, and {} s is the most",
            reading.age, watched.stale_s
        )),
        None if watched.signal.window == Window::Now => {
            unavailable(format!("signal \"{text}\" has no value yet"))
        }
        None => unavailable(format!("signal \"{text}\" has no value: nothing was sampled in its window")),
    }
}

/// The signal, and from which age on it is stale.
fn watched(request: Request, signal: Signal) -> Watched {
    let mut watched = Watched::new(signal);
    if let Scope::Ext { name, .. } = &watched.signal.scope {
        let polled = request.main_conf().autoscale.settings();
        let polled = polled.and_then(|settings| settings.signals.iter().find(|polled| polled.name == *name));
        watched.stale_s = polled.map_or(watched.stale_s, |polled| polled.stale_s);
    }
    watched
}

/// The first argument of that name, unescaped.
fn argument(request: Request, name: &[u8]) -> Option<Vec<u8>> {
    let unescaped = |text: &[u8]| {
        let mut plain = Vec::with_capacity(text.len());
        unescape_uri(text, &mut plain);
        plain
    };
    let found = Args::of_uri(request.args(), 0).find(|arg| unescaped(arg.key) == name)?;
    Some(unescaped(found.value.unwrap_or_default()))
}
