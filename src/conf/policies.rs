//! `autoscale` and its neighbours: what to scale, by which signals, and who may.
//!
//! Their words mean the same here and in the replay program: [`logic::autoscale::conf`] reads them.

use core::cell::{OnceCell, RefCell};
use std::path::Path;
use std::rc::Rc;

use logic::autoscale::conf::{mode, External, Leader, Log, Settings, Sink, Subject, Target};
use logic::autoscale::nginx_conf::{parse, policy as read_policy, FileError, Files};
use logic::autoscale::policy::Mode;

use super::{LocConf, MainConf};
use crate::ngx::{Args, Cf, ConfError, Directive, LineLog, Place, Setter, LOC, MAIN, SRV};
use crate::scale::outward::{check, check_leader};
use crate::scale::script::Scripts;

type Result<T = ()> = core::result::Result<T, ConfError>;

/// Where the system keeps its time zones.
const ZONEINFO: &str = "/usr/share/zoneinfo";

pub const DIRECTIVES: &[Directive] = &[
    Directive {
        name: c"autoscale",
        contexts: MAIN | SRV | LOC,
        args: Args::One,
        set: Setter::Loc(autoscale),
        doc: "`on | observe | off`: with `observe` everything is decided and logged, and nothing is changed. The default is `on`.",
    },
    Directive {
        name: c"autoscale_signal",
        contexts: MAIN,
        args: Args::TwoOrMore,
        set: Setter::Main(signal),
        doc: "`NAME URL [every=5s] [stale=30s] [metric=a,b | path=/json/pointer]`: polls a signal, `ext.NAME`, in Prometheus' text format or JSON.",
    },
    Directive {
        name: c"autoscale_target",
        contexts: MAIN,
        args: Args::TwoOrMore,
        set: Setter::Main(target),
        doc: "`NAME KIND:ADDRESS [min=N] [max=N] [options]`: what a policy may scale or notify; a pool of this nginx, a Kubernetes scale, a webhook, a message.",
    },
    Directive {
        name: c"autoscale_policy",
        contexts: MAIN,
        args: Args::BlockOneOrMore,
        set: Setter::Main(policy),
        doc: "`NAME [target=TARGET] { lines }`: when to scale, how fast, within which bounds.",
    },
    Directive {
        name: c"autoscale_leader",
        contexts: MAIN,
        args: Args::OneOrMore,
        set: Setter::Main(leader),
        doc: "`local | kubernetes:NAMESPACE/LEASE | redis:HOST[:PORT]/KEY [ttl=15s] [api=https://HOST:PORT] [ca_file=FILE] [token_file=FILE] [secret_file=FILE]`: which worker of which gateway writes to targets.",
    },
    Directive {
        name: c"autoscale_log",
        contexts: MAIN,
        args: Args::OneOrMore,
        set: Setter::Main(log),
        doc: "`FILE | syslog:SETTINGS [level=acted|held|all]`: the decision log, one JSON object a line.",
    },
];

/// What `http {}` says about scaling.
#[derive(Default)]
pub struct Autoscale {
    /// While the configuration is read.
    parsed: RefCell<Settings>,
    /// Complete and checked.
    settings: OnceCell<Settings>,
    /// Where targets and policies stand, for what only the whole can tell.
    places: RefCell<Vec<(Subject, Place)>>,
    leader: bool,
    /// Where the first signal stands.
    polls: Option<Place>,
    /// Where decisions are logged.
    log: Option<Rc<LineLog>>,
    scripts: Vec<Scripts>,
}

impl Autoscale {
    /// What the configuration says, once all of it was read.
    pub fn settings(&self) -> Option<&Settings> {
        self.settings.get()
    }

    /// Where `autoscale_log` sends decisions.
    pub fn log(&self) -> Option<&Rc<LineLog>> {
        self.log.as_ref()
    }

    /// The compiled `by_lua_block` lines, by policy.
    pub fn scripts(&self) -> &[Scripts] {
        &self.scripts
    }
}

fn words(cf: &Cf) -> Result<Vec<String>> {
    (1..cf.args().count()).map(|i| cf.text(i).map(str::to_owned)).collect()
}

/// Reads the directive's words with one of the readers of [`logic::autoscale::conf`].
fn read<T>(
    cf: &Cf,
    reader: fn(&[&str]) -> core::result::Result<T, logic::autoscale::conf::ConfError>,
) -> Result<T> {
    let words = words(cf)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(reader(&words)?)
}

fn autoscale(cf: &mut Cf, conf: &mut LocConf) -> Result {
    let mode = read(cf, mode)?;
    if conf.mode.replace(mode).is_some() {
        return Err("is duplicate".into());
    }
    Ok(())
}

fn signal(cf: &mut Cf, conf: &mut MainConf) -> Result {
    conf.autoscale.parsed.get_mut().add_signal(read(cf, External::parse)?)?;
    conf.autoscale.polls.get_or_insert_with(|| cf.place());
    Ok(())
}

fn target(cf: &mut Cf, conf: &mut MainConf) -> Result {
    let mut target = read(cf, Target::parse)?;
    if let Some(warning) = check(&mut target)? {
        cf.warn(&format!("autoscale_target \"{}\": {warning}", target.name));
    }
    let subject = Subject::Target(target.name.clone());
    conf.autoscale.parsed.get_mut().add_target(target)?;
    conf.autoscale.places.borrow_mut().push((subject, cf.place()));
    Ok(())
}

fn leader(cf: &mut Cf, conf: &mut MainConf) -> Result {
    if core::mem::replace(&mut conf.autoscale.leader, true) {
        return Err("is duplicate".into());
    }
    let mut leader = read(cf, Leader::parse)?;
    if let Some(warning) = check_leader(&mut leader)? {
        cf.warn(&format!("autoscale_leader: {warning}"));
    }
    conf.autoscale.parsed.get_mut().leader = leader;
    Ok(())
}

fn log(cf: &mut Cf, conf: &mut MainConf) -> Result {
    let log = read(cf, Log::parse)?;
    let lines = match &log.sink {
        Sink::File(path) => cf.line_log_file(path)?,
        Sink::Syslog(_) => cf.line_log_syslog()?,
    };
    if conf.autoscale.parsed.get_mut().log.replace(log).is_some() {
        return Err("is duplicate".into());
    }
    conf.autoscale.log = Some(Rc::new(lines));
    Ok(())
}

fn policy(cf: &mut Cf, conf: &mut MainConf) -> Result {
    let (place, (file, _), words) = (cf.place(), cf.position(), words(cf)?);
    let block = cf.raw_block().inspect_err(|_| cf.stand_at(&place))?;
    let text = String::from_utf8(block);
    let text = text.map_err(|_| ConfError("the lines of a policy are text in UTF-8".into()))?;
    // so that lines have the numbers they have in the file
    let text = format!("{}autoscale_policy {{{text}}}", "\n".repeat(place.line.saturating_sub(1)));
    let found = parse(&file, &text, &NoFiles).and_then(|mut statements| {
        let mut statement = statements.swap_remove(0);
        statement.words.extend(words);
        read_policy(&statement, &zone)
    });
    let found = found.map_err(|FileError { line, what, .. }| {
        let mut at = place;
        at.line = line;
        cf.stand_at(&at);
        ConfError(what)
    })?;
    let subject = Subject::Policy(found.policy.name.clone());
    let scripts = Scripts::compile(cf, &found.policy.name, &found.scripts).map_err(|(n, e)| {
        let mut at = place;
        at.line = found.scripts[n].line;
        cf.stand_at(&at);
        e
    })?;
    conf.autoscale.scripts.push(scripts);
    if let Err(e) = conf.autoscale.parsed.get_mut().add_policy(found) {
        cf.stand_at(&place);
        return Err(e.into());
    }
    conf.autoscale.places.borrow_mut().push((subject, place));
    Ok(())
}

/// The zoneinfo file of a time zone.
fn zone(name: &str) -> core::result::Result<Vec<u8>, String> {
    let path = Path::new(ZONEINFO).join(name);
    std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))
}

/// A policy is one piece.
pub(super) struct NoFiles;

impl Files for NoFiles {
    fn open(&self, _: &str) -> core::result::Result<Vec<(String, String)>, String> {
        Err("a policy includes no file: include one that holds the whole policy".into())
    }
}

impl MainConf {
    /// Checks what only the whole configuration can tell. `mode` is that of `http {}`.
    pub fn finish_autoscale(&self, cf: &mut Cf, mode: Mode) -> Result {
        let (mut settings, places) = (self.autoscale.parsed.take(), self.autoscale.places.borrow());
        settings.mode = mode;
        let polls = self.autoscale.polls.as_ref().map(|place| ("autoscale_signal", place));
        let first = places.first().map(|(subject, place)| match subject {
            Subject::Target(_) => ("autoscale_target", place),
            Subject::Policy(_) => ("autoscale_policy", place),
        });
        if let (None, Some((directive, place))) = (&self.zone, first.or(polls)) {
            cf.stand_at(place);
            let right = "write \"autoscale_zone main:8m;\" in http {}";
            return Err(ConfError(format!(
                "\"{directive}\" needs the memory that all workers share: {right}"
            )));
        }
        let upstreams: Vec<&str> = self.observed().iter().map(|o| &*o.name).collect();
        let keys = self.keys.borrow();
        let keys: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
        settings.finish(&upstreams, &keys).map_err(|misfit| {
            if let Some((_, place)) = places.iter().find(|(subject, _)| *subject == misfit.subject) {
                cf.stand_at(place);
            }
            ConfError(misfit.to_string())
        })?;
        // a second set could only come from a second postconfiguration
        let _ = self.autoscale.settings.set(settings);
        Ok(())
    }
}
