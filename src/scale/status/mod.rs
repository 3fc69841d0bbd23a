//! `autoscale_status`: what the zone knows, on a page; and single signals for the autoscalers of others.

mod ask;

use logic::autoscale::conf::Settings;
use logic::autoscale::decisions::Decisions;
use logic::autoscale::expose;
use logic::autoscale::expose::html::{self, Loop, PolicyRow};
use logic::autoscale::policy::Mode;

use super::Shell;
use crate::ngx::{clock, Level, Rc, Request};

/// Decisions on the page.
const DECISIONS: usize = 30;

/// What the location answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Prometheus,
    Html,
    /// The external metrics API of Kubernetes.
    ExternalMetrics,
    /// One signal, as KEDA's `metrics-api` scaler reads it.
    Keda,
}

impl Format {
    pub const ALL: [(&'static str, Format); 5] = [
        ("json", Format::Json),
        ("prometheus", Format::Prometheus),
        ("html", Format::Html),
        ("external_metrics", Format::ExternalMetrics),
        ("keda", Format::Keda),
    ];

    fn media_type(self) -> &'static str {
        match self {
            Format::Json | Format::ExternalMetrics | Format::Keda => "application/json",
            Format::Prometheus => expose::PROMETHEUS_TYPE,
            Format::Html => "text/html; charset=utf-8",
        }
    }
}

/// An answer in the making.
struct Answer {
    /// 200 unless something is wrong.
    status: u16,
    body: Vec<u8>,
}

impl Answer {
    fn json(status: u16, value: &impl core::fmt::Display) -> Answer {
        Answer { status, body: format!("{value}\n").into_bytes() }
    }
}

/// nginx's content handler of a location with `autoscale_status`.
pub fn handle(request: Request) -> Rc {
    let Some(format) = request.loc_conf().status else { return Rc::DECLINED };
    let Some(shell) = request.main_conf().shell() else { return Rc::INTERNAL_SERVER_ERROR };
    let answer = match format {
        Format::ExternalMetrics => ask::external_metrics(request, shell),
        _ if !request.only_reads() => return Rc::NOT_ALLOWED,
        Format::Keda => ask::keda(request, shell),
        Format::Json | Format::Prometheus | Format::Html => match page(format, request, shell) {
            Ok(body) => Answer { status: 200, body },
            Err(e) => {
                request.log(Level::Error, &format!("the status page: {e}"));
                return Rc::INTERNAL_SERVER_ERROR;
            }
        },
    };
    send(request, format, &answer)
}

fn page(format: Format, request: Request, shell: &Shell) -> Result<Vec<u8>, String> {
    let (zone, now) = (&shell.zone, clock::monotonic());
    let scaling = || shell.engine().map(|engine| engine.scaling()).unwrap_or_default();
    let mut page = Vec::new();
    match format {
        Format::Html => {
            page = {
                let settings = request.main_conf().autoscale.settings();
                let policies = settings.map(|settings| policies(settings, shell)).unwrap_or_default();
                let decisions = Decisions::new(zone.decisions()).newest(None, false, DECISIONS);
                let decisions: Vec<_> = decisions.into_iter().map(|entry| entry.decision).collect();
                let beyond = Loop { policies: &policies, decisions: &decisions, down: &down(shell) };
                html::page(zone, now, &beyond).into_bytes()
            }
        }
        Format::Prometheus => expose::prometheus(zone, now, &scaling(), &mut page),
        _ => {
            expose::json(zone, now, &scaling(), &mut page).map_err(|e| e.to_string())?;
            page.push(b'\n');
        }
    }
    Ok(page)
}

/// The policies as they were written, and what is known of their targets.
fn policies(settings: &Settings, shell: &Shell) -> Vec<PolicyRow> {
    let board = shell.zone.board();
    let row = |conf: &logic::autoscale::conf::PolicyConf| {
        let policy = &conf.policy;
        let mode = match settings.mode {
            Mode::Off => "off",
            Mode::On if !policy.observe => "on",
            _ => "observe",
        };
        let rules = policy.rules.iter().map(|rule| rule.text.clone()).collect();
        let (name, target) = (policy.name.clone(), policy.target.clone());
        let place = board.find(&name);
        let replicas = place.and_then(|place| place.known()).map(|known| known.replicas.wanted);
        let last = place.and_then(|place| place.last().get()).map(|entry| entry.decision);
        PolicyRow { name, target, mode, replicas, rules, last }
    };
    settings.policies.iter().map(row).collect()
}

/// Upstream and address of the peers that nginx's balancers leave out.
fn down(shell: &Shell) -> Vec<(String, String)> {
    let (zone, now) = (&shell.zone, clock::monotonic());
    let mut down = Vec::new();
    for fleet in (0..).map_while(|number| shell.fleet(number)) {
        let rows = (0..fleet.list(zone, now)).filter_map(|i| fleet.row(zone, i, now));
        let addrs = rows.filter(|row| row.down).map(|row| String::from_utf8_lossy(&row.addr).into_owned());
        down.extend(addrs.map(|addr| (fleet.name.to_string(), addr)));
    }
    down
}

fn send(request: Request, format: Format, answer: &Answer) -> Rc {
    let Some(ctx) = request.ctx() else { return Rc::INTERNAL_SERVER_ERROR };
    let out = &ctx.output;
    let mut fields = vec![(&b"Content-Type"[..], format.media_type()), (b"Cache-Control", "no-store")];
    if format == Format::Html {
        fields.push((b"Content-Security-Policy", html::SECURITY_POLICY));
    }
    if fields.iter().any(|(name, value)| request.set_field(name, value.as_bytes(), false).is_err()) {
        return Rc::INTERNAL_SERVER_ERROR;
    }
    if answer.status != 200 {
        request.set_status(answer.status.into());
    }
    out.keep_type();
    out.keep_fields();
    request.set_content_length(answer.body.len());
    if request.append_output(out, &answer.body, false).is_none() {
        return Rc::INTERNAL_SERVER_ERROR;
    }
    request.send_output(out, true, false)
}
